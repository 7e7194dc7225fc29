/* driver.c - a backend without a mount, for tests: a JSON command a line on standard input, a JSON answer a line on standard output.
 *
 *     driver URL [items=dir] [upload_chunk=BYTES] [timeout_ms=N] [slow_ms=N] [stall_ms=N]        login from SCIFS_API_KEY
 *
 * Commands are objects with "do"; things are given as the objects of earlier answers. An upload prints a line {"note": ..., "sent": N}
 * for each note first. SIGUSR1 cancels the command that is running. A failure answers {"error": "ENOENT", "words": "..."}.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/girder/girder.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

static int cancelled;
static struct http *http;
static char words[600];
static char *const *words_of_options;

static const char *option(const void *config, const char *name)
{
	size_t n = strlen(name);

	(void)config;
	for (char *const *w = words_of_options; *w; w++)
		if (strncmp(*w, name, n) == 0 && (*w)[n] == '=')
			return *w + n + 1;
	return NULL;
}

static uint64_t number(const char *name)
{
	const char *v = option(NULL, name);

	return v ? strtoull(v, NULL, 10) : 0;
}

static void fault(void *arg, const struct fault *f)
{
	(void)arg;
	snprintf(words, sizeof(words), "%s", f->message ? f->message : "");
}

static void *wait_for_signal(void *arg)
{
	const sigset_t *set = arg;
	int n;

	while (sigwait(set, &n) == 0) {
		__atomic_store_n(&cancelled, 1, __ATOMIC_RELAXED);
		http_wake(http);
	}
	return NULL;
}

static void say(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

static int add_object(struct buf *b, const char *name, const struct object *o)
{
	int r = buf_addf(b, "%s{", name);

	if (r == 0)
		r = object_write_json(o, b);
	return r ? r : buf_adds(b, "}");
}

static int thing(const struct json *c, const char *name, struct object *ret)
{
	return json_is_object(json_get(c, name)) ? object_read_json(json_get(c, name), ret) : -EINVAL;
}

static int note(struct upload *u, const char *progress, uint64_t sent)
{
	_cleanup_buf_ struct buf b = BUF_MAX(65536);

	(void)u;
	if (buf_adds(&b, "{\"note\": ") < 0 || json_write_str(&b, progress) < 0 ||
	    buf_addf(&b, ", \"sent\": %llu}", (unsigned long long)sent) < 0)
		return -ENOMEM;
	say(buf_str(&b));
	return 0;
}

static int hash(int fd, uint64_t size, char **ret)
{
	static char piece[1 << 20];
	char hex[DIGEST_HEX_MAX];
	struct digest *d;
	int r = digest_new("sha512", &d);

	for (uint64_t at = 0; r == 0 && at < size; ) {
		ssize_t n = pread(fd, piece, sizeof(piece), (off_t)at);

		r = n > 0 ? digest_add(d, piece, (size_t)n) : -EIO;
		at += n > 0 ? (uint64_t)n : 0;
	}
	if (r == 0)
		r = digest_hex(d, hex);
	digest_free(d);
	return r < 0 ? r : str_fmt(ret, "sha512:%s", hex);
}

static int upload(struct session *s, const struct json *c, struct buf *ret)
{
	struct object dir = {0}, base = {0};
	_cleanup_free_ char *digest = NULL;
	_cleanup_close_ int fd = -1;
	struct upload u = {.dir = &dir, .note = note, .cancelled = &cancelled, .begun = time(NULL)};
	const char *file = NULL;
	struct stat st;
	int64_t begun = 0;
	int r = thing(c, "dir", &dir);

	if (r == 0 && json_get(c, "base")) {
		r = thing(c, "base", &base);
		u.base = &base;
	}
	if (r == 0)
		r = json_str(c, "name", &u.name);
	if (r == 0)
		r = json_str(c, "file", &file);
	if (r == 0)
		r = json_str_opt(c, "progress", &u.progress);
	if (r == 0)
		r = json_str_opt(c, "mime", &u.mime);
	if (r == 0)
		r = json_bool_opt(c, "again", &u.again);
	if (r == 0)
		r = json_i64_opt(c, "begun", &begun);
	if (begun)
		u.begun = (time_t)begun;
	if (r == 0 && ((fd = open(file, O_RDONLY | O_CLOEXEC)) < 0 || fstat(fd, &st) < 0))
		r = -errno;
	if (r == 0) {
		u.fd = fd;
		u.size = (uint64_t)st.st_size;
		r = hash(fd, u.size, &digest);
		u.digest = digest;
	}
	if (r == 0)
		r = backend_upload(s, &u);
	if (r == 0)
		r = add_object(ret, "\"object\": ", &u.object);
	if (u.why && !words[0])
		snprintf(words, sizeof(words), "%s", u.why);
	free(u.why);
	object_done(&u.object);
	object_done(&dir);
	object_done(&base);
	return r;
}

static int page(struct session *s, const struct object *dir, const char *name, struct buf *ret)
{
	struct page p = {0};
	bool any = false;
	int r = buf_adds(ret, "\"objects\": [");

	do {
		if (r == 0)
			r = name ? backend_lookup(s, dir, name, &p) : backend_list(s, dir, &p);
		for (size_t i = 0; r == 0 && i < p.objects.n; i++, any = true)
			r = add_object(ret, any ? ", " : "", &p.objects.at[i]);
	} while (r == 0 && p.cursor);
	page_done(&p);
	return r ? r : buf_adds(ret, "]");
}

static int show_attrs(struct session *s, const struct object *o, struct buf *ret)
{
	struct doc d = {0};
	struct attrs a = {0};
	int r = backend_get_doc(s, o, &d);

	if (r == 0)
		r = backend_attrs(s, o, &d, &a);
	if (r == 0)
		r = buf_adds(ret, "\"attrs\": {");
	for (size_t i = 0; r == 0 && i < a.list.n; i++) {
		r = i ? buf_adds(ret, ", ") : 0;
		if (r == 0)
			r = json_write_str(ret, a.list.at[i].name);
		if (r == 0)
			r = buf_adds(ret, ": ");
		if (r == 0)
			r = json_write_str(ret, a.list.at[i].value);
	}
	attrs_done(&a);
	doc_done(&d);
	return r ? r : buf_adds(ret, "}");
}

static int set_attrs(struct session *s, const struct object *o, const struct json *c)
{
	struct attrs a = {0};
	int r = 0;

	for (const struct json *x = json_first(json_get(c, "attrs")); r == 0 && x; x = json_next(x)) {
		r = attrs_add(&a, json_key(x), json_text(x) ? json_text(x) : "", json_text(x) ? strlen(json_text(x)) : 0);
		if (r == 0 && !json_text(x)) {
			free(a.list.at[a.list.n - 1].value);
			a.list.at[a.list.n - 1].value = NULL;
		}
	}
	if (r == 0)
		r = backend_set_attrs(s, o, &a, NULL);
	attrs_done(&a);
	return r;
}

static struct doc doc_of(const struct json *c, const char *name)
{
	const char *text = json_text(json_get(c, name));

	return (struct doc){(char *)(text ? text : ""), text ? strlen(text) : 0};
}

static int command(struct session *s, const struct json *c, const char *what, struct buf *ret)
{
	struct object dir = {0}, of = {0}, from = {0}, to = {0}, over = {0}, made = {0};
	const char *name = NULL, *text = NULL;
	int r = 0;

	(void)json_str_opt(c, "name", &name);
	(void)thing(c, "dir", &dir);
	(void)thing(c, "of", &of);
	(void)thing(c, "from", &from);
	(void)thing(c, "to", &to);
	(void)thing(c, "over", &over);
	if (strcmp(what, "root") == 0) {
		r = backend_root(s, &made);
	} else if (strcmp(what, "lookup") == 0) {
		r = page(s, &dir, name, ret);
	} else if (strcmp(what, "list") == 0) {
		r = page(s, &dir, NULL, ret);
	} else if (strcmp(what, "stat") == 0) {
		r = backend_stat(s, &of, &made);
	} else if (strcmp(what, "plan") == 0) {
		r = backend_plan_create(s, &dir, name, json_get(c, "directory") ? OBJECT_DIR : OBJECT_FILE, &made);
	} else if (strcmp(what, "mkdir") == 0) {
		r = backend_mkdir(s, &dir, name, &made);
	} else if (strcmp(what, "symlink") == 0) {
		r = json_str(c, "target", &text);
		if (r == 0)
			r = backend_symlink(s, &dir, name, text, &made);
	} else if (strcmp(what, "upload") == 0) {
		r = upload(s, c, ret);
	} else if (strcmp(what, "drop") == 0) {
		r = json_str(c, "progress", &text);
		if (r == 0)
			r = backend_upload_drop(s, text);
	} else if (strcmp(what, "remove") == 0) {
		r = backend_remove(s, &dir, &of, NULL);
	} else if (strcmp(what, "rename") == 0) {
		r = backend_rename(s, &of, &from, &to, name, over.id ? &over : NULL, &made);
	} else if (strcmp(what, "copy") == 0) {
		r = backend_copy(s, &of, &dir, name, &made);
	} else if (strcmp(what, "attrs") == 0) {
		r = show_attrs(s, &of, ret);
	} else if (strcmp(what, "check_attr") == 0) {
		r = backend_check_attr(s, &of, name);
	} else if (strcmp(what, "set_attrs") == 0) {
		r = set_attrs(s, &of, c);
	} else if (strcmp(what, "doc") == 0) {
		struct doc d = {0};

		r = backend_get_doc(s, &of, &d);
		if (r == 0)
			r = buf_adds(ret, "\"doc\": ");
		if (r == 0)
			r = json_write_str(ret, d.text);
		doc_done(&d);
	} else if (strcmp(what, "set_doc") == 0) {
		struct doc base = doc_of(c, "base"), now = doc_of(c, "now");

		r = backend_set_doc(s, &of, &base, &now, NULL);
	} else if (strcmp(what, "control") == 0) {
		r = backend_control_object(s, &of, name, &made);
	} else if (strcmp(what, "call") == 0) {
		_cleanup_buf_ struct buf question = {0}, answer = {0};

		r = json_str(c, "question", &text);
		if (r == 0)
			r = buf_adds(&question, text);
		if (r == 0)
			r = backend_control_call(s, &of, name, &question, &answer);
		if (r == 0)
			r = buf_adds(ret, "\"answer\": ");
		if (r == 0)
			r = buf_add(ret, answer.data, answer.len);
		while (ret->len && ret->data[ret->len - 1] == '\n')
			ret->data[--ret->len] = 0;
	} else {
		r = -ENOSYS;
	}
	if (r == 0 && made.name)
		r = add_object(ret, "\"object\": ", &made);
	object_done(&dir);
	object_done(&of);
	object_done(&from);
	object_done(&to);
	object_done(&over);
	object_done(&made);
	return r;
}

static void obey(struct session *s, const char *line)
{
	_cleanup_(json_freep) struct json *c = NULL;
	_cleanup_buf_ struct buf b = {0}, ret = {0};
	const char *what = NULL;
	int r = json_parse(line, strlen(line), &c);

	words[0] = 0;
	__atomic_store_n(&cancelled, 0, __ATOMIC_RELAXED);
	if (r == 0)
		r = json_str(c, "do", &what);
	if (r == 0)
		r = command(s, c, what, &ret);
	if (r < 0) {
		(void)buf_addf(&b, "{\"error\": \"%s\", \"words\": ", strerrorname_np(-r));
		(void)json_write_str(&b, words);
		(void)buf_adds(&b, "}");
	} else {
		(void)buf_addf(&b, "{%s}", buf_str(&ret));
	}
	say(buf_str(&b));
}

int main(int argc, char **argv)
{
	static sigset_t set;
	struct http_config config = {.retry_ms = 50};
	struct policy override = {0};
	struct login login = {.path = "", .option = option, .override = &override};
	const char *key = getenv("SCIFS_API_KEY");
	_cleanup_free_ char *why = NULL, *line = NULL, *origin = NULL;
	struct secret *secret = NULL;
	struct session *s = NULL;
	pthread_t thread;
	size_t room = 0;
	int r;

	if (argc < 2)
		return 1;
	words_of_options = argv + 2;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	log_set_level(getenv("DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	config.stall_ms = (unsigned)number("stall_ms");
	override.upload_chunk = number("upload_chunk");
	override.timeout_ms = (unsigned)number("timeout_ms");
	override.slow_ms = (unsigned)number("slow_ms");
	login.url = argv[1];
	r = http_origin(argv[1], &origin);
	if (r == 0 && key)
		r = secret_new(origin, key, &secret);
	login.api_key = secret;
	if (r == 0)
		r = http_new(&config, &http);
	if (r == 0)
		r = backend_girder.open(&login, http, &s, &why);
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", why ? why : argv[1], strerror(-r));
		return 2;
	}
	pthread_create(&thread, NULL, wait_for_signal, &set);
	pthread_detach(thread);
	backend_set_fault_hook(fault, NULL);
	while (getline(&line, &room, stdin) > 0)
		obey(s, line);
	backend_girder.close(s);
	http_free(http);
	secret_unref(secret);
	return 0;
}
