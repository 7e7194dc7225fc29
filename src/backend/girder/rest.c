/* rest.c - `.scifs/rest`: any request of the API, for what no path of the tree expresses.
 *
 * The question is a JSON object {"method", "path", "parameters", "data" | "file", "multipart", "type"}, the answer
 * {"status", "url", "body"}. A file goes out as it is, or as the field `multipart` of a form. What lies in a FUSE mount, perhaps in
 * this very one, is copied first: the engine that sends it must not wait for itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backend/girder/private.h"
#include "base/file.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif
#define PIECE (256u << 10)
#define BOUNDARY "scifs-7c1f5e0b9d3a48a2"

static int refuse(const char *format, const char *what)
{
	_cleanup_free_ char *words = NULL;

	if (str_fmt(&words, format, what) == 0)
		backend_note_fault(0, NULL, words, NULL);
	return -EINVAL;
}

/* ---- the address: pure ---- */

static int add_parameter(struct buf *b, const char *name, const char *value)
{
	_cleanup_free_ char *n = NULL, *v = NULL;
	int r = girder_encode(name, &n);

	if (r == 0)
		r = girder_encode(value, &v);
	return r < 0 ? r : buf_addf(b, "%c%s=%s", memchr(buf_str(b), '?', b->len) ? '&' : '?', n, v);
}

int girder_rest_path(const char *path, const char *parameters, size_t n, struct buf *ret)
{
	const char *key, *value;
	size_t pos = 0, key_n, value_n;
	int r;

	while (*path == '/')
		path++;
	/* It stays below the API, and what is in it stays in it. */
	if (!*path || strchr(path, '#') || strstr(path, "..") || strstr(path, "://"))
		return refuse("path: \"%s\" is none of the API", path);
	for (const char *p = path; *p; p++)
		if ((unsigned char)*p <= ' ' || *p == 127)
			return refuse("path: \"%s\" is to be percent-encoded", path);
	r = buf_adds(ret, path);
	while (r == 0 && parameters && (r = json_raw_next(parameters, n, &pos, &key, &key_n, &value, &value_n)) == 1) {
		_cleanup_free_ char *name = NULL, *text = NULL;

		r = json_raw_text(key, key_n, &name);
		if (r == 0)
			r = *value == '"' ? json_raw_text(value, value_n, &text) : str_fmt(&text, "%.*s", (int)value_n, value);
		if (r == 0)
			r = add_parameter(ret, name, text);
	}
	return r;
}

/* ---- a body out of a file ---- */

static int nameless(int *ret)
{
	const char *dir = getenv("TMPDIR");

	*ret = open(dir && *dir ? dir : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return *ret < 0 ? -errno : 0;
}

static int copy_all(int from, int to, off_t *io_at)
{
	_cleanup_free_ char *piece = malloc(PIECE);
	off_t at = 0;
	int r = piece ? 0 : -ENOMEM;

	while (r == 0) {
		ssize_t n = pread(from, piece, PIECE, at);

		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = file_pwrite_all(to, piece, (size_t)n, *io_at);
		at += n;
		*io_at += n;
	}
	return r;
}

static bool is_fuse(int fd)
{
	struct statfs st;

	return fstatfs(fd, &st) == 0 && (unsigned long)st.f_type == FUSE_SUPER_MAGIC;
}

/* *ret: a descriptor of the body, *ret_n its length. multipart (may be NULL): the name of its field in a form. */
static int open_body(const char *path, const char *multipart, int *ret, uint64_t *ret_n)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), copy = -1;
	const char *name = strrchr(path, '/');
	struct stat st;
	off_t at = 0;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return refuse("file: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return refuse("file: %s is no ordinary file", path);
	if (!multipart && !is_fuse(fd)) {
		*ret_n = (uint64_t)st.st_size;
		*ret = TAKE_FD(fd);
		return 0;
	}
	r = nameless(&copy);
	if (r == 0 && multipart) {
		_cleanup_buf_ struct buf head = BUF_MAX(65536);

		name = name ? name + 1 : path;
		if (strpbrk(multipart, "\"\r\n\\") || strpbrk(name, "\"\r\n\\"))
			return refuse("multipart: %s cannot stand in a form", multipart);
		r = buf_addf(&head, "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"%s\"; filename=\"%s\"\r\n"
		             "Content-Type: application/octet-stream\r\n\r\n", multipart, name);
		if (r == 0)
			r = file_pwrite_all(copy, head.data, head.len, 0);
		at = (off_t)head.len;
	}
	if (r == 0)
		r = copy_all(fd, copy, &at);
	if (r == 0 && multipart) {
		static const char tail[] = "\r\n--" BOUNDARY "--\r\n";

		r = file_pwrite_all(copy, tail, sizeof(tail) - 1, at);
		at += (off_t)sizeof(tail) - 1;
	}
	if (r < 0)
		return r;
	*ret_n = (uint64_t)at;
	*ret = TAKE_FD(copy);
	return 0;
}

/* ---- the call ---- */

static int answer(const struct girder_send *q, const char *url, const struct buf *body, struct buf *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	int r = buf_addf(ret, "{\"status\": %d, \"url\": ", q->status);

	if (r == 0)
		r = json_write_str(ret, url ? url : "");
	if (r == 0)
		r = buf_adds(ret, ", \"body\": ");
	if (r == 0) {
		/* JSON as it came, anything else as a text. */
		if (json_parse(buf_str(body), body->len, &j) == 0)
			r = buf_add(ret, buf_str(body), body->len);
		else
			r = json_write_str(ret, buf_str(body));
	}
	return r < 0 ? r : buf_adds(ret, "}\n");
}

static int ask(struct girder *g, const struct json *question, const struct buf *text, struct buf *ret)
{
	static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"};
	_cleanup_buf_ struct buf path = BUF_MAX(1u << 20), body = {0};
	_cleanup_free_ char *url = NULL;
	_cleanup_close_ int fd = -1;
	struct girder_send q = {.slow = true, .any_status = true};
	const char *method = "GET", *where = NULL, *file = NULL, *multipart = NULL, *type = NULL, *parameters = NULL, *data = NULL;
	size_t parameters_n = 0, n = 0;
	uint64_t len = 0;
	int r = json_str_opt(question, "method", &method);

	if (r == 0)
		r = json_str(question, "path", &where);
	if (r == 0)
		r = json_str_opt(question, "file", &file);
	if (r == 0)
		r = json_str_opt(question, "multipart", &multipart);
	if (r == 0)
		r = json_str_opt(question, "type", &type);
	if (r < 0)
		return refuse("%s", json_error());
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcasecmp(methods[i], method) == 0)
			q.method = methods[i];
	if (!q.method)
		return refuse("method: \"%s\" is none of GET, HEAD, POST, PUT, DELETE, PATCH", method);
	if (type && strpbrk(type, "\r\n"))
		return refuse("%s", "type: no media type");
	if (json_get(question, "parameters") && !json_is_null(json_get(question, "parameters"))) {
		if (!json_is_object(json_get(question, "parameters")))
			return refuse("%s", "parameters: an object is wanted");
		r = json_raw_member(buf_str(text), text->len, "parameters", &parameters, &parameters_n);
		if (r < 0)
			return r;
	}
	r = girder_rest_path(where, parameters, parameters_n, &path);
	if (r < 0)
		return r;
	if (file) {
		if (json_get(question, "data"))
			return refuse("%s", "either data or file");
		r = open_body(file, multipart, &fd, &len);
		if (r < 0)
			return r;
		q.is_file = true;
		q.fd = fd;
		q.len = len;
		q.type = multipart ? "multipart/form-data; boundary=" BOUNDARY : type ? type : "application/octet-stream";
	} else if (json_get(question, "data")) {
		const struct json *value = json_get(question, "data");

		r = json_raw_member(buf_str(text), text->len, "data", &data, &n);
		if (r < 0)
			return r;
		q.body = json_is_string(value) ? json_text(value) : data;
		q.len = json_is_string(value) ? strlen(json_text(value)) : n;
		q.type = type ? type : json_is_string(value) ? "application/octet-stream" : "application/json";
	}
	r = girder_send_raw(g, &q, &body, &url, buf_str(&path));
	if (!q.status && r < 0)
		return r;
	return answer(&q, url, &body, ret);
}

int girder_control_call(struct session *s, const struct object *about, const char *name, const struct buf *question, struct buf *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;

	(void)about;
	if (strcmp(name, "rest") != 0)
		return -EINVAL;
	if (json_parse(buf_str(question), question->len, &j) < 0)
		return refuse("%s", json_error());
	if (!json_is_object(j))
		return refuse("%s", "a JSON object is wanted");
	return ask(girder_of(s), j, question, ret);
}
