/* side.c - what is written beside a draft, so that a damaged journal never causes it to lose its name.
 *
 *   DIR/drafts/HEX.json, one JSON object, version 1, or 2 when it has a content:
 *     {"version":1,"owner":"32 hex digits","name":"a.dat","raw_name":"a%FF.dat" (only where the name is no UTF-8: percent-encoded),
 *      "dir":{object},"base":{object},"landed":{object},"attrs":{"girder.meta.x":"percent-encoded" or null},"ino":"18446744073709551615",
 *      "mtime":1732622400,"mtime_ns":0,"mtime_set":true,"mode":33188,"gen":0,"since":1732622400,"since_ns":0,
 *      "content":4096}, a NUL, and so many bytes: all of a draft that is small and has no file of its own
 *   Objects are written as object_write_json() does. A row of the journal, where there is one, is believed instead.
 *
 * That of a small draft is made in its place: nothing is promised before there is a row, and once there is one the side file is whole, but for
 * a power cut, after which the row is there too. What a process that died has half written has no row. It is replaced by a new one, never
 * written over.
 *
 *   DIR/spare/OWNER.NUMBER, side files of small drafts that have ended: taken again for the next, written there and then renamed. A file
 *   system takes longer to make files and to remove them than for all else that is done for a small draft. A dead owner's are removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "spool/private.h"

#define SIDE_VERSION 1
#define SIDE_VERSION_CONTENT 2
#define SIDE_MAX (16u << 20)

static int spare_path(struct spool *s, uint64_t number, char **ret)
{
	return str_fmt(ret, "%s/%s.%llu", s->spare_dir, s->owner, (unsigned long long)number);
}

/* The file is not of use under this name any more; whether it is kept does not matter. */
static void put_aside(struct spool *s, const char *path)
{
	_cleanup_free_ char *spare = NULL;
	uint64_t number = 0;
	bool room = false;

	WITH_LOCK(&s->lock) {
		room = s->n_spares < SPARES_MAX && !s->stopping;
		number = s->spares_made++;
	}
	if (!room || spare_path(s, number, &spare) < 0 || rename(path, spare) < 0) {
		(void)unlink(path);     /* the journal knows that it has ended */
		return;
	}
	WITH_LOCK(&s->lock) {
		room = s->n_spares < SPARES_MAX;
		if (room)
			s->spares[s->n_spares++] = number;
	}
	if (!room)
		(void)unlink(spare);    /* others were quicker */
}

/* -ENOENT: there is none, or none that can be used. */
static int write_spare(struct spool *s, const char *path, const struct buf *b)
{
	_cleanup_free_ char *spare = NULL;
	_cleanup_close_ int fd = -1;
	uint64_t number = 0;
	bool found = false;

	WITH_LOCK(&s->lock) {
		found = s->n_spares;
		if (found)
			number = s->spares[--s->n_spares];
	}
	if (!found || spare_path(s, number, &spare) < 0)
		return -ENOENT;
	fd = open(spare, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && file_pwrite_all(fd, b->data, b->len, 0) == 0 && ftruncate(fd, (off_t)b->len) == 0 && rename(spare, path) == 0)
		return 0;
	(void)unlink(spare);            /* a new file hears of what is wrong */
	return -ENOENT;
}

void side_drop_spares(struct spool *s)
{
	_cleanup_free_ char *spare = NULL;
	uint64_t number = 0;
	bool found = true;

	while (found) {
		WITH_LOCK(&s->lock) {
			found = s->n_spares;
			if (found)
				number = s->spares[--s->n_spares];
		}
		free(TAKE(spare));
		if (found && spare_path(s, number, &spare) == 0)
			(void)unlink(spare);    /* else the next start does it */
	}
}

int side_path(struct spool *s, const char *hex, char **ret)
{
	return str_fmt(ret, "%s/%s.json", s->drafts_dir, hex);
}

int side_write_object(const struct object *o, struct buf *b)
{
	int r = 0;

	if (!o->id)
		return 0;
	r = buf_addc(b, '{');
	if (r == 0)
		r = object_write_json(o, b);
	return r < 0 ? r : buf_addc(b, '}');
}

int side_read_object(const char *text, struct object *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	int r;

	memset(ret, 0, sizeof(*ret));
	if (!text || !*text)
		return 0;
	r = json_parse(text, strlen(text), &j);
	return r < 0 ? r : object_read_json(j, ret);
}

int side_write_attrs(const struct attrs *a, struct buf *b)
{
	int r = buf_addc(b, '{');

	for (size_t i = 0; r == 0 && i < a->list.n; i++) {
		const struct attr *one = &a->list.at[i];
		_cleanup_free_ char *text = NULL;

		if (i)
			r = buf_addc(b, ',');
		if (r == 0)
			r = json_write_str(b, one->name);
		if (r == 0 && one->value)
			r = str_percent_encode(one->value, one->len, " {}\"[]:,", &text);
		if (r == 0)
			r = buf_addc(b, ':');
		if (r == 0)
			r = text ? json_write_str(b, text) : buf_adds(b, "null");
	}
	return r < 0 ? r : buf_addc(b, '}');
}

/* As str_percent_decode(), but a value may hold any byte. */
static int decode(const char *text, char **ret, size_t *ret_n)
{
	char *p = malloc(strlen(text) + 1);
	size_t n = 0;

	if (!p)
		return -ENOMEM;
	for (; *text; text++) {
		unsigned byte;

		if (*text != '%') {
			p[n++] = *text;
		} else if (text[1] && text[2] && sscanf(text + 1, "%2x", &byte) == 1) {
			p[n++] = (char)byte;
			text += 2;
		} else {
			free(p);
			return -EBADMSG;
		}
	}
	p[n] = 0;
	*ret = p;
	*ret_n = n;
	return 0;
}

int side_read_attrs(const char *text, struct attrs *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	struct attrs a = {0};
	int r;

	memset(ret, 0, sizeof(*ret));
	if (!text || !*text)
		return 0;
	r = json_parse(text, strlen(text), &j);
	if (r == 0 && !json_is_object(j))
		r = -EBADMSG;
	for (const struct json *i = r == 0 ? json_first(j) : NULL; r == 0 && i; i = json_next(i)) {
		struct attr one = {0};

		if (!json_is_null(i))
			r = json_text(i) ? decode(json_text(i), &one.value, &one.len) : -EBADMSG;
		if (r == 0)
			r = str_dup(json_key(i), &one.name);
		if (r == 0)
			r = vec_push(&a.list, one);
		if (r < 0) {
			free(one.name);
			free(one.value);
		}
	}
	if (r < 0) {
		attrs_done(&a);
		return r;
	}
	*ret = a;
	return 0;
}

static int add_object(struct buf *b, const char *name, const struct object *o)
{
	int r;

	if (!o->id)
		return 0;
	r = buf_addf(b, ",\n \"%s\":", name);
	return r < 0 ? r : side_write_object(o, b);
}

static int add_name(struct buf *b, const char *name)
{
	_cleanup_free_ char *raw = NULL;
	int r = buf_adds(b, ",\n \"name\":");

	if (r == 0)
		r = json_write_str(b, name);
	if (r < 0 || str_utf8_valid(name, strlen(name)))
		return r;
	r = str_percent_encode(name, strlen(name), "", &raw);
	return r < 0 ? r : buf_addf(b, ",\n \"raw_name\":\"%s\"", raw);
}

int side_write(struct draft *d, bool durable)
{
	_cleanup_buf_ struct buf b = BUF_MAX(SIDE_MAX);
	_cleanup_free_ char *path = NULL;
	bool content = draft_in_memory(d);
	struct timespec since;
	int r;

	WITH_LOCK(&d->spool->lock)
		since = d->shown.since;
	r = buf_addf(&b, "{\"version\":%d,\"owner\":\"%s\"", content ? SIDE_VERSION_CONTENT : SIDE_VERSION, d->spool->owner);
	if (r == 0)
		r = add_name(&b, d->name);
	if (r == 0)
		r = add_object(&b, "dir", &d->dir);
	if (r == 0)
		r = add_object(&b, "base", &d->base);
	if (r == 0)
		r = add_object(&b, "landed", &d->landed);
	if (r == 0)
		r = buf_adds(&b, ",\n \"attrs\":");
	if (r == 0)
		r = side_write_attrs(&d->attrs, &b);
	if (r == 0)
		r = buf_addf(&b, ",\n \"ino\":\"%llu\",\"mtime\":%lld,\"mtime_ns\":%ld,\"mtime_set\":%s,\"mode\":%u,\"gen\":%u,\"since\":%lld,"
		             "\"since_ns\":%ld", (unsigned long long)d->ino, (long long)d->mtime.tv_sec, d->mtime.tv_nsec,
		             d->mtime_set ? "true" : "false", d->mode, d->gen, (long long)since.tv_sec, since.tv_nsec);
	if (r == 0)
		r = content ? buf_addf(&b, ",\n \"content\":%llu}\n", (unsigned long long)d->size) : buf_adds(&b, "}\n");
	if (r == 0 && content)
		r = buf_addc(&b, 0);
	if (r == 0 && d->bytes)
		r = buf_add(&b, d->bytes, d->size);
	if (r == 0)
		r = side_path(d->spool, d->hex, &path);
	if (r < 0)
		return r;
	if (!durable && !d->row) {
		r = content && d->size <= SPARE_BYTES ? write_spare(d->spool, path, &b) : -ENOENT;
		if (r == 0)
			return 0;
		r = file_create(path, b.data, b.len, 0600);
		if (r != -EEXIST)
			return r;
	}
	return durable ? file_write_atomic(path, b.data, b.len, 0600) : file_replace(path, b.data, b.len, 0600);
}

void side_remove(struct draft *d)
{
	_cleanup_free_ char *path = NULL;

	if (side_path(d->spool, d->hex, &path) < 0)
		return;                 /* the journal knows that it has ended */
	if (draft_in_memory(d) && d->size <= SPARE_BYTES)
		put_aside(d->spool, path);
	else
		(void)unlink(path);     /* the same */
}

/* A member that is an object, as its own text; "" when it is not there. */
static int read_part(const char *text, size_t n, const char *key, struct buf *ret)
{
	const char *at;
	size_t len;
	int r = json_raw_member(text, n, key, &at, &len);

	buf_init(ret, SIDE_MAX);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : buf_add(ret, at, len);
}

static int read_times(const struct json *j, struct row *ret)
{
	int64_t mtime = 0, mtime_ns = 0, since = 0, since_ns = 0;
	uint64_t mode = 0, gen = 0;
	int r = json_i64_opt(j, "mtime", &mtime);

	if (r == 0)
		r = json_i64_opt(j, "mtime_ns", &mtime_ns);
	if (r == 0)
		r = json_i64_opt(j, "since", &since);
	if (r == 0)
		r = json_i64_opt(j, "since_ns", &since_ns);
	if (r == 0)
		r = json_bool_opt(j, "mtime_set", &ret->mtime_set);
	if (r == 0)
		r = json_u64_opt(j, "mode", &mode);
	if (r == 0)
		r = json_u64_opt(j, "gen", &gen);
	if (r == 0 && (mtime_ns < 0 || mtime_ns > 999999999 || since_ns < 0 || since_ns > 999999999 || mode > UINT32_MAX || gen > UINT32_MAX))
		r = -EBADMSG;
	ret->mtime = (struct timespec){mtime, mtime_ns};
	ret->since = (struct timespec){since, since_ns};
	ret->mode = (uint32_t)mode;
	ret->gen = (unsigned)gen;
	return r;
}

int side_read(const char *path, struct side *ret_side, struct row *ret)
{
	_cleanup_buf_ struct buf b = BUF_MAX(SIDE_MAX);
	const char *owner = NULL, *name = NULL, *raw = NULL, *ino = NULL;
	uint64_t version = 0;
	uint64_t content = 0;
	const char *nul;
	size_t n = 0;
	int r = file_read_whole(path, &b);

	memset(ret_side, 0, sizeof(*ret_side));
	memset(ret, 0, sizeof(*ret));
	if (r == 0) {
		nul = memchr(buf_str(&b), 0, b.len);
		n = nul ? (size_t)(nul - b.data) : b.len;
		r = json_parse(buf_str(&b), n, &ret_side->json);
	}
	if (r == 0)
		r = json_u64(ret_side->json, "version", &version);
	if (r == 0 && version != SIDE_VERSION && version != SIDE_VERSION_CONTENT)
		r = -EPROTONOSUPPORT;
	if (r == 0 && version == SIDE_VERSION_CONTENT)
		r = json_u64(ret_side->json, "content", &content);
	if (r == 0 && version == SIDE_VERSION_CONTENT && n < b.len && b.len - n - 1 == content) {
		ret_side->has_content = true;
		buf_init(&ret_side->content, SIDE_MAX);
		r = buf_add(&ret_side->content, b.data + n + 1, content);
	}
	if (r == 0)
		r = json_str(ret_side->json, "owner", &owner);
	if (r == 0)
		r = json_str(ret_side->json, "name", &name);
	if (r == 0)
		r = json_str_opt(ret_side->json, "raw_name", &raw);
	if (r == 0)
		r = json_str(ret_side->json, "ino", &ino);
	if (r == 0 && (strlen(owner) != OWNER_MAX - 1 || str_parse_u64(ino, &ret->ino) < 0))
		r = -EBADMSG;
	if (r == 0)
		r = raw ? str_percent_decode(raw, &ret_side->name) : str_dup(name, &ret_side->name);
	if (r == 0)
		r = read_times(ret_side->json, ret);
	if (r == 0)
		r = read_part(buf_str(&b), n, "dir", &ret_side->dir);
	if (r == 0)
		r = read_part(buf_str(&b), n, "base", &ret_side->base);
	if (r == 0)
		r = read_part(buf_str(&b), n, "landed", &ret_side->landed);
	if (r == 0)
		r = read_part(buf_str(&b), n, "attrs", &ret_side->attrs);
	if (r < 0) {
		side_done(ret_side);
		return r;
	}
	memcpy(ret_side->owner, owner, OWNER_MAX);
	ret->name = ret_side->name;
	ret->dir = buf_str(&ret_side->dir);
	ret->base = buf_str(&ret_side->base);
	ret->landed = buf_str(&ret_side->landed);
	ret->attrs = buf_str(&ret_side->attrs);
	return 0;
}

void side_done(struct side *s)
{
	json_free(s->json);
	buf_done(&s->dir);
	buf_done(&s->base);
	buf_done(&s->landed);
	buf_done(&s->attrs);
	buf_done(&s->content);
	free(s->name);
	memset(s, 0, sizeof(*s));
}
