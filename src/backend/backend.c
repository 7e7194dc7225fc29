/* backend.c - scheme to backend, and the wrapper each call passes: it traces, checks what came back, notes faults, and
 * answers for members that a backend leaves out. */
#include "backend/backend.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/girder/girder.h"
#include "backend/memory/memory.h"
#include "backend/reduct/reduct.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

const struct backend *const backends[] = {
	&backend_girder,
	&backend_memory,
	&backend_reduct,
	NULL,
};

#define WORDS_MAX 500
#define KEY_MAX 1000            /* bytes of a document's key, escapes counted, that may become an attribute */
#define EMPTY_PAGES_MAX 100     /* pages in a row that bring nothing */

/* ---- values ---- */

static void page_clear(struct page *p)
{
	for (size_t i = 0; i < p->objects.n; i++)
		object_done(&p->objects.at[i]);
	p->objects.n = 0;
}

void page_done(struct page *p)
{
	page_clear(p);
	vec_done(&p->objects);
	free(p->cursor);
	p->cursor = NULL;
}

void doc_done(struct doc *d)
{
	free(d->text);
	*d = (struct doc){0};
}

int doc_copy(const struct doc *from, struct doc *ret)
{
	char *p = malloc(from->len + 1);

	if (!p)
		return -ENOMEM;
	memcpy(p, from->text, from->len);
	p[from->len] = 0;
	*ret = (struct doc){p, from->len};
	return 0;
}

void paper_done(struct paper *p)
{
	free(p->name);
	free(p->target);
	free(p->below);
	*p = (struct paper){0};
}

void papers_done(struct papers *p)
{
	for (size_t i = 0; i < p->list.n; i++)
		paper_done(&p->list.at[i]);
	vec_done(&p->list);
}

int paper_say(struct paper *ret, enum control_act act, const char *name, bool writable)
{
	*ret = (struct paper){.act = act, .writable = writable};
	return str_dup(name, &ret->name);
}

int papers_add(struct papers *p, enum control_act act, const char *name, bool writable)
{
	struct paper x;

	if (paper_say(&x, act, name, writable) < 0 || vec_push(&p->list, x) < 0) {
		paper_done(&x);
		return -ENOMEM;
	}
	return 0;
}

int attrs_add(struct attrs *a, const char *name, const char *value, size_t len)
{
	struct attr x = {.name = strdup(name), .value = malloc(len + 1), .len = len};

	if (a->list.n >= ATTRS_MAX) {
		free(x.name);
		free(x.value);
		return -E2BIG;
	}
	if (!x.name || !x.value || vec_push(&a->list, x) < 0) {
		free(x.name);
		free(x.value);
		return -ENOMEM;
	}
	memcpy(x.value, value, len);
	x.value[len] = 0;
	return 0;
}

void attrs_done(struct attrs *a)
{
	for (size_t i = 0; i < a->list.n; i++) {
		free(a->list.at[i].name);
		free(a->list.at[i].value);
	}
	vec_done(&a->list);
}

/* A JSON string's own text; what cannot be read stays as it is written. */
static int unquote(const char *json, size_t len, char **ret)
{
	_cleanup_(json_freep) struct json *j = NULL;

	if (json_parse(json, len, &j) == 0 && json_text(j))
		return str_dup(json_text(j), ret);
	*ret = strndup(json, len);
	return *ret ? 0 : -ENOMEM;
}

/* Control characters and broken UTF-8 would break listings of names. */
static int key_as_name(const char *key, char **ret)
{
	_cleanup_buf_ struct buf b = BUF_MAX(4096);
	size_t n = strlen(key);
	int r = 0;

	while (n && r == 0) {
		size_t l = str_plain_char(key, n);

		r = l ? buf_add(&b, key, l) : buf_addf(&b, "%%%02X", (unsigned char)*key);
		key += l ? l : 1;
		n -= l ? l : 1;
	}
	if (r < 0)
		return r;
	*ret = buf_take(&b);
	return *ret ? 0 : -ENOMEM;
}

int attrs_key(const char *key, size_t n, char **ret)
{
	_cleanup_free_ char *quoted = NULL, *text = NULL;

	if (n > KEY_MAX)
		return -ENAMETOOLONG;   /* no name of an attribute is as long */
	if (str_fmt(&quoted, "\"%.*s\"", (int)n, key) < 0 || unquote(quoted, n + 2, &text) < 0)
		return -ENOMEM;
	return key_as_name(text, ret);
}

int attrs_flatten(struct attrs *a, const char *prefix, const char *json, size_t len)
{
	const char *key, *value;
	size_t pos = 0, key_n, value_n;
	int r;

	if (len && *json == '"') {
		_cleanup_free_ char *text = NULL;

		r = unquote(json, len, &text);
		return r < 0 ? r : attrs_add(a, prefix, text, strlen(text));
	}
	if (!len || *json != '{')
		return attrs_add(a, prefix, json, len);
	while ((r = json_raw_next(json, len, &pos, &key, &key_n, &value, &value_n)) == 1) {
		_cleanup_free_ char *safe = NULL, *name = NULL;

		r = attrs_key(key, key_n, &safe);
		if (r == -ENAMETOOLONG)
			continue;               /* it is in the document */
		if (r < 0 || str_fmt(&name, "%s.%s", prefix, safe) < 0)
			return -ENOMEM;
		r = attrs_flatten(a, name, value, value_n);
		if (r < 0)
			return r == -E2BIG ? 0 : r;     /* what does not fit is in the document */
	}
	return r;
}

void read_plan_done(struct read_plan *p)
{
	free(p->url);
	for (size_t i = 0; i < sizeof(p->headers) / sizeof(p->headers[0]); i++)
		free(p->headers[i]);
	secret_unref(p->auth);
	if (p->ended)
		p->ended(p->arg);
	memset(p, 0, sizeof(*p));
}

/* ---- sources ---- */

void backend_override(struct policy *p, const struct policy *o)
{
	if (!o)
		return;
	if (o->fetch_long)
		p->fetch_long = o->fetch_long;
	if (o->streams_file)
		p->streams_file = o->streams_file;
	if (o->streams_host)
		p->streams_host = o->streams_host;
	if (o->attr_ttl_ms)
		p->attr_ttl_ms = o->attr_ttl_ms;
	if (o->list_ttl_ms)
		p->list_ttl_ms = o->list_ttl_ms;
	if (o->timeout_ms)
		p->timeout_ms = o->timeout_ms;
	if (o->slow_ms)
		p->slow_ms = o->slow_ms;
	if (o->upload_chunk)
		p->upload_chunk = o->upload_chunk;
	if (o->upload_parallel)
		p->upload_parallel = o->upload_parallel;
	if (o->upload_batch)
		p->upload_batch = o->upload_batch;
}

int backend_parse_source(const char *source, const struct backend **ret_backend, char **ret_url, char **ret_path, char **why)
{
	const struct backend *b = NULL;
	const char *at = source, *plus, *rest, *path;
	size_t n;

	plus = strpbrk(source, "+:/");
	if (plus && *plus == '+') {
		for (size_t i = 0; backends[i]; i++)
			if (strlen(backends[i]->scheme) == (size_t)(plus - source) &&
			    strncmp(backends[i]->scheme, source, (size_t)(plus - source)) == 0)
				b = backends[i];
		if (!b) {
			(void)str_fmt(why, "%s: no kind of repository is called \"%.*s\"", source, (int)(plus - source), source);
			return -EINVAL;
		}
		if (b->check_source) {
			(void)str_fmt(why, "%s: %s has no host: write %s:", source, b->scheme, b->scheme);
			return -EINVAL;
		}
		at = plus + 1;
	} else if (plus && *plus == ':' && strncmp(plus, "://", 3) != 0) {
		for (size_t i = 0; backends[i]; i++)
			if (strlen(backends[i]->scheme) == (size_t)(plus - source) &&
			    strncmp(backends[i]->scheme, source, (size_t)(plus - source)) == 0)
				b = backends[i];
		if (b && b->check_source) {
			int r = b->check_source(source, why);

			if (r < 0)
				return r;
			*ret_backend = b;
			if (str_dup(source, ret_url) < 0 || str_dup("", ret_path) < 0)
				return -ENOMEM;
			return 0;
		}
	}
	if (!str_starts(at, "http://") && !str_starts(at, "https://")) {
		(void)str_fmt(why, "%s: not a source: write girder+https://host/, https://host/ or a profile of the configuration", source);
		return -EINVAL;
	}
	rest = strstr(at, "://") + 3;
	n = strcspn(rest, "/?#");
	path = rest + n;
	if (!n || memchr(rest, '@', n)) {
		/* What stands in front of the host may be a secret: it is not repeated. */
		if (n)
			(void)str_fmt(why, "%s: a name and password do not belong in a source: use -o credentials=FILE",
			              (const char *)memrchr(rest, '@', n) + 1);
		else
			(void)str_fmt(why, "%s: the host is missing", source);
		return -EINVAL;
	}
	if (strpbrk(path, "?#")) {
		(void)str_fmt(why, "%s: a source has no query and no fragment", source);
		return -EINVAL;
	}
	*ret_backend = b;
	if (str_fmt(ret_url, "%.*s", (int)(path - at), at) < 0)
		return -ENOMEM;
	if (str_dup(path, ret_path) < 0) {
		free(*ret_url);
		return -ENOMEM;
	}
	return 0;
}

static __thread struct {
	int status;
	char class_[60], message[WORDS_MAX + 1], request[WORDS_MAX + 1];
} noted;                                /* backend_note_fault() */

void backend_unreachable(const char *url, int err, const char *words, char **why)
{
	const char *remedy = err == -EHOSTUNREACH ? ": is the host's name right, and the network up?" :
	                     err == -ECONNREFUSED ? ": is the port right, and does the server run?" :
	                     err == -EACCES ? ": -o ca=FILE trusts its issuer" :
	                     err == -EPROTO && str_starts(url, "https:") ? ": does this port speak https?" : "";

	(void)str_fmt(why, "%s: cannot be reached: %s%s", url, words && *words ? words : strerror(-err), remedy);
}

int backend_probe(struct http *http, const char *url, const char *path, const struct backend **ret, char **why)
{
	for (size_t i = 0; backends[i]; i++) {
		int r;

		if (!backends[i]->probe)
			continue;
		backend_note_fault(0, NULL, NULL, NULL);
		r = backends[i]->probe(http, url, path);
		if (r == 1) {
			log_info("%s: this is a %s server", url, backends[i]->scheme);
			*ret = backends[i];
			return 0;
		}
		if (r < 0) {
			/* Nobody is there: the next one would only wait as long again. */
			backend_unreachable(url, r, noted.message, why);
			return r;
		}
	}
	(void)str_fmt(why, "%s: no repository of a known kind answers there: girder+%s says that it is a Girder", url, url);
	return -EPROTO;
}

/* ---- faults ---- */

static void (*fault_hook)(void *arg, const struct fault *f);
static void *fault_arg;
static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;

void backend_set_fault_hook(void (*hook)(void *arg, const struct fault *f), void *arg)
{
	WITH_LOCK(&fault_lock) {
		fault_hook = hook;
		fault_arg = arg;
	}
}

static void copy_words(char *to, size_t room, const char *from)
{
	_cleanup_free_ char *safe = from ? str_printable(from, room - 8) : NULL;

	snprintf(to, room, "%s", safe ? safe : "");
}

void backend_note_fault(int status, const char *class_, const char *message, const char *request)
{
	_cleanup_free_ char *shown = request ? http_shown_url(request) : NULL;

	noted.status = status;
	copy_words(noted.class_, sizeof(noted.class_), class_);
	copy_words(noted.message, sizeof(noted.message), message);
	copy_words(noted.request, sizeof(noted.request), shown);
}

static const char *or_null(const char *s)
{
	return *s ? s : NULL;
}

static void report(const struct fault *f)
{
	WITH_LOCK(&fault_lock)
		if (fault_hook)
			fault_hook(fault_arg, f);
}

void backend_report_fault(const char *op, const char *id, int err, int status, const char *message, const char *request)
{
	_cleanup_free_ char *shown = request ? http_shown_url(request) : NULL;

	report(&(struct fault){.op = op, .id = id, .err = err, .status = status, .message = message, .request = shown});
}

static void before(const struct session *s, const char *op, const char *id)
{
	memset(&noted, 0, sizeof(noted));
	log_debug("%s: %s %s", s->backend->scheme, op, id ? id : "");
}

static int fault(const struct session *s, const char *op, const char *id, int r, char **why)
{
	log_warn("%s: %s %s: %s%s%s", s->origin, op, id ? id : "", strerror(-r), noted.message[0] ? ": " : "", noted.message);
	report(&(struct fault){.op = op, .id = id, .class_ = or_null(noted.class_), .message = noted.message[0] ? noted.message : strerror(-r),
	                       .request = or_null(noted.request), .err = -r, .status = noted.status});
	if (why && noted.message[0])
		(void)str_dup(noted.message, why);
	return r;
}

/* ENOENT and the like are answers, not faults. */
static int after(const struct session *s, const char *op, const char *id, int r, char **why)
{
	return r >= 0 || r == -ENOENT || r == -ENOTSUP || r == -EINTR || r == -EXDEV || r == -EISDIR ? r : fault(s, op, id, r, why);
}

static bool sound(const struct session *s, struct object *o)
{
	if (!o->id || !*o->id || !o->name || (o->kind == OBJECT_LINK && !o->target)) {
		log_warn("%s: something without an id or a name was left out", s->origin);
		return false;
	}
	if (o->size > OBJECT_SIZE_MAX && o->size != OBJECT_SIZE_UNKNOWN) {
		o->size = OBJECT_SIZE_UNKNOWN;  /* it stays visible, and cannot be opened */
		if (!o->error)
			(void)str_dup("the server tells a size that cannot be", &o->error);
	}
	if (s->reads_only)
		o->rights &= ~(unsigned)(RIGHT_WRITE | RIGHT_ADMIN);
	return true;
}

/* Entries that cannot be are left out; the others stay. A listing that leads nowhere ends: -EBADMSG, or -EFBIG. */
static int sift(const struct session *s, struct page *p)
{
	uint64_t seen = p->seen, first = p->first;
	size_t k = 0;

	for (size_t i = 0; i < p->objects.n; i++) {
		struct object *o = &p->objects.at[i];

		if (!sound(s, o)) {
			object_done(o);
			continue;
		}
		if (k != i) {
			p->objects.at[k] = *o;
			memset(o, 0, sizeof(*o));
		}
		k++;
	}
	p->objects.n = k;
	p->count += k;
	if (p->count > LISTING_MAX) {
		backend_note_fault(0, NULL, "it lists more things than a directory can hold (1000000)", NULL);
		return -EFBIG;
	}
	if (!p->cursor) {
		p->seen = p->empty = 0;
		p->first = p->count = 0;
		return 0;
	}
	p->first = k ? digest_hash64((const char *const[]){p->objects.at[0].id, NULL}) : first;
	p->empty = k ? 0 : p->empty + 1;
	p->seen = digest_hash64((const char *const[]){p->cursor, NULL});
	if (p->seen != seen && (!k || p->first != first) && p->empty <= EMPTY_PAGES_MAX)
		return 0;
	backend_note_fault(0, NULL, "its pages do not end", NULL);
	return -EBADMSG;
}

int backend_root(struct session *s, struct object *ret)
{
	int r;

	before(s, "root", NULL);
	r = s->backend->root(s, ret);
	if (r == 0 && !sound(s, ret)) {
		object_done(ret);
		r = -EBADMSG;
	}
	return after(s, "root", NULL, r, NULL);
}

int backend_lookup(struct session *s, const struct object *dir, const char *name, struct page *io)
{
	int r;

	before(s, "lookup", dir->id);
	page_clear(io);
	r = s->backend->lookup(s, dir, name, io);
	if (r == 0)
		r = sift(s, io);
	return after(s, "lookup", dir->id, r, NULL);
}

bool backend_unlisted(const struct session *s, const struct object *dir, const char *name)
{
	return s->backend->unlisted && s->backend->unlisted(s, dir, name);
}

int backend_list(struct session *s, const struct object *dir, struct page *io)
{
	int r;

	before(s, "list", dir->id);
	page_clear(io);
	r = s->backend->list(s, dir, io);
	if (r == 0)
		r = sift(s, io);
	return after(s, "list", dir->id, r, NULL);
}

int backend_stat(struct session *s, const struct object *o, struct object *ret)
{
	int r;

	if (!s->backend->stat)
		return -ENOTSUP;
	before(s, "stat", o->id);
	r = s->backend->stat(s, o, ret);
	if (r == 0 && !sound(s, ret)) {
		object_done(ret);
		r = -EBADMSG;
	}
	return after(s, "stat", o->id, r, NULL);
}

int backend_changed(struct session *s, const struct object *dir, char **fingerprint)
{
	if (!s->backend->changed)
		return 1;
	before(s, "changed", dir->id);
	return after(s, "changed", dir->id, s->backend->changed(s, dir, fingerprint), NULL);
}

int backend_prepare_read(struct session *s, const struct object *o, struct read_plan *io)
{
	struct range want = io->range;
	int r;

	if (!s->backend->prepare_read)
		return -ENOTSUP;
	r = s->backend->prepare_read(s, o, io);
	if (r == 0 && (io->range.first > want.first || io->range.first + io->range.count < want.first + want.count))
		r = -EIO;
	return r;
}

int backend_fill(struct session *s, const struct object *o, const struct read_plan *p, content_sink sink, void *arg,
                 const int *cancelled)
{
	int r;

	before(s, "read", o->id);
	r = p->fill(s, o, p->range, sink, arg, cancelled);
	return r == -ECANCELED ? r : after(s, "read", o->id, r, NULL);
}

int backend_read_many(struct session *s, const struct object *const list[], size_t n, content_many_sink give, void *arg)
{
	int r;

	if (!s->backend->read_many)
		return -ENOTSUP;
	if (!n)
		return 0;
	before(s, "read_many", list[0]->id);
	r = s->backend->read_many(s, list, n, give, arg);
	return r == -ECANCELED ? r : after(s, "read_many", list[0]->id, r, NULL);
}

int backend_get_doc(struct session *s, const struct object *o, struct doc *ret)
{
	if (!s->backend->get_doc)
		return -ENOTSUP;
	before(s, "get_doc", o->id);
	return after(s, "get_doc", o->id, s->backend->get_doc(s, o, ret), NULL);
}

int backend_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret)
{
	return s->backend->attrs ? s->backend->attrs(s, o, d, ret) : 0;
}

static int after_query(const struct session *s, const char *id, int r, char **why)
{
	if (r < 0 && why && *why && !noted.message[0])
		backend_note_fault(0, NULL, *why, NULL);
	return after(s, "query", id, r, why && !*why ? why : NULL);
}

int backend_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why)
{
	int r;

	if (!s->backend->query)
		return -ENOTSUP;
	before(s, "query", dir->id);
	page_clear(io);
	r = s->backend->query(s, dir, expr, io, why);
	if (r == 0)
		r = sift(s, io);
	return after_query(s, dir->id, r, why);
}

int backend_check_query(struct session *s, const struct object *dir, const char *expr, char **why)
{
	if (!s->backend->check_query)
		return 0;
	before(s, "query", dir->id);
	return after_query(s, dir->id, s->backend->check_query(s, dir, expr, why), why);
}

int backend_locate(struct session *s, const char *id, struct page *io)
{
	size_t n;
	int r;

	if (!s->backend->locate)
		return -ENOTSUP;
	before(s, "locate", id);
	page_clear(io);
	r = s->backend->locate(s, id, io);
	n = io->objects.n;
	if (r == 0)
		r = sift(s, io);
	if (r == 0 && io->objects.n != n)
		r = -EBADMSG;   /* a way with a gap leads nowhere */
	return after(s, "locate", id, r, NULL);
}

int backend_url(const struct session *s, const struct object *o, char **ret)
{
	return s->backend->url ? s->backend->url(s, o, ret) : -ENOTSUP;
}

int backend_work(struct session *s, unsigned *ret_next_s)
{
	if (!s->backend->work)
		return 0;
	before(s, "work", NULL);
	return after(s, "work", NULL, s->backend->work(s, ret_next_s), NULL);
}

int backend_space(struct session *s, uint64_t *ret_used, uint64_t *ret_total)
{
	return s->backend->space ? s->backend->space(s, ret_used, ret_total) : -ENOTSUP;
}

/* ---- writing ---- */

bool backend_can_write(const struct session *s)
{
	return s->backend->can & CAN_WRITE;
}

/* Why a member cannot be called: 0 when it can. */
static int may_write(const struct session *s, bool has_member, int without)
{
	return !backend_can_write(s) ? -EROFS : has_member ? 0 : without;
}

/* What a change answered: the object as it is now is held to the same rules as any other. */
static int after_change(const struct session *s, const char *op, const char *id, int r, struct object *ret)
{
	if (r == 0 && !sound(s, ret)) {
		object_done(ret);
		r = -EBADMSG;
	}
	return after(s, op, id, r, NULL);
}

int backend_plan_create(const struct session *s, const struct object *dir, const char *name, enum object_kind kind, struct object *ret)
{
	int r = may_write(s, s->backend->plan_create, -EPERM);

	if (r < 0)
		return r;
	before(s, "create", dir->id);
	return after(s, "create", name, s->backend->plan_create(s, dir, name, kind, ret), NULL);
}

int backend_check_write(const struct session *s, const struct object *o)
{
	return s->backend->check_write ? s->backend->check_write(s, o) : 0;
}

int backend_write_time(const struct session *s, const struct object *o, struct timespec t, char **ret)
{
	if (!s->backend->mtime_own)
		return object_write_set_time(o, t, ret);
	/* Before 1970 the seconds are rounded towards zero: "-0.5". */
	if (t.tv_sec < 0 && t.tv_nsec)
		return str_fmt(ret, "-%lld.%09ld", -(long long)t.tv_sec - 1, 1000000000 - t.tv_nsec);
	return str_fmt(ret, "%lld.%09ld", (long long)t.tv_sec, t.tv_nsec);
}

int backend_lane(const struct session *s, const struct object *dir, const char *name, const struct object *base, char **ret)
{
	*ret = NULL;
	return s->backend->lane ? s->backend->lane(s, dir, name, base, ret) : 0;
}

int backend_upload(struct session *s, struct upload *u)
{
	int r = may_write(s, s->backend->upload, -ENOTSUP);

	if (r < 0)
		return r;
	before(s, "upload", u->name);
	r = s->backend->upload(s, u);
	if (r == 0 && !sound(s, &u->object)) {
		object_done(&u->object);
		r = -EBADMSG;
	}
	if (r < 0 && noted.message[0] && !u->why)
		(void)str_dup(noted.message, &u->why);
	/* Where it was to go is gone: nobody asked whether it is there. */
	return r == -ENOENT ? fault(s, "upload", u->name, r, NULL) : after(s, "upload", u->name, r, NULL);
}

void backend_blame(struct upload *u)
{
	if (noted.message[0] && !u->why)
		(void)str_dup(noted.message, &u->why);
	memset(&noted, 0, sizeof(noted));
}

int backend_note_many(struct upload *const u[], const char *const progress[], size_t n)
{
	int r = 0;

	if (n > 1 && u[0]->note_many)
		return u[0]->note_many(u, progress, n);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = u[i]->note(u[i], progress[i], 0);
	return r;
}

void backend_upload_many(struct session *s, struct upload *const u[], size_t n, int ret[])
{
	int r = may_write(s, s->backend->upload, -ENOTSUP);

	if (r < 0 || n < 2 || !s->backend->upload_many) {
		for (size_t i = 0; i < n; i++)
			ret[i] = r < 0 ? r : backend_upload(s, u[i]);
		return;
	}
	before(s, "upload", u[0]->name);
	s->backend->upload_many(s, u, n, ret);
	for (size_t i = 0; i < n; i++) {
		memset(&noted, 0, sizeof(noted));
		if (ret[i] == 0 && !sound(s, &u[i]->object)) {
			object_done(&u[i]->object);
			ret[i] = -EBADMSG;
		}
		if (ret[i] < 0 && u[i]->why)
			backend_note_fault(0, NULL, u[i]->why, NULL);
		ret[i] = ret[i] == -ENOENT ? fault(s, "upload", u[i]->name, ret[i], NULL) : after(s, "upload", u[i]->name, ret[i], NULL);
	}
}

int backend_upload_drop(struct session *s, const char *progress)
{
	if (!s->backend->upload_drop)
		return 0;
	before(s, "upload_drop", NULL);
	return after(s, "upload_drop", NULL, s->backend->upload_drop(s, progress), NULL);
}

int backend_mkdir(struct session *s, const struct object *dir, const char *name, struct object *ret)
{
	int r = may_write(s, s->backend->mkdir, -EPERM);

	if (r < 0)
		return r;
	before(s, "mkdir", dir->id);
	return after_change(s, "mkdir", name, s->backend->mkdir(s, dir, name, ret), ret);
}

int backend_symlink(struct session *s, const struct object *dir, const char *name, const char *target, struct object *ret)
{
	int r = may_write(s, s->backend->symlink, -EPERM);

	if (r < 0)
		return r;
	before(s, "symlink", dir->id);
	return after_change(s, "symlink", name, s->backend->symlink(s, dir, name, target, ret), ret);
}

int backend_remove(struct session *s, const struct object *dir, const struct object *o, char **why)
{
	int r = may_write(s, s->backend->remove, -ENOTSUP);

	if (r < 0)
		return r;
	before(s, "remove", o->id);
	return after(s, "remove", o->id, s->backend->remove(s, dir, o), why);
}

void backend_remove_many(struct session *s, const struct object *dir, const struct object *const o[], size_t n, int ret[])
{
	int r = may_write(s, s->backend->remove_many, -ENOTSUP);

	for (size_t i = 0; i < n; i++)
		ret[i] = r;
	if (r < 0)
		return;
	before(s, "remove", dir->id);
	s->backend->remove_many(s, dir, o, n, ret);
}

bool backend_is_read(struct session *s, const struct object *dir)
{
	return s->backend->is_read && s->backend->is_read(s, dir);
}

int backend_remove_all(struct session *s, const struct object *dir, const struct object *o, char **why)
{
	int r = may_write(s, s->backend->remove_all, -ENOTSUP);

	if (r < 0)
		return r;
	before(s, "remove_all", o->id);
	return after(s, "remove_all", o->id, s->backend->remove_all(s, dir, o), why);
}

int backend_rename(struct session *s, const struct object *o, const struct object *from, const struct object *to, const char *name,
                   const struct object *over, struct object *ret)
{
	int r = may_write(s, s->backend->rename, -EPERM);

	if (r < 0)
		return r;
	before(s, "rename", o->id);
	return after_change(s, "rename", o->id, s->backend->rename(s, o, from, to, name, over, ret), ret);
}

int backend_moved_id(const struct session *s, const char *was, const char *now, const char *id, char **ret)
{
	return s->backend->moved_id ? s->backend->moved_id(was, now, id, ret) : -ENOENT;
}

int backend_copy(struct session *s, const struct object *o, const struct object *dir, const char *name, struct object *ret)
{
	int r = may_write(s, s->backend->copy, -ENOTSUP);

	if (r < 0)
		return r;
	before(s, "copy", o->id);
	return after_change(s, "copy", o->id, s->backend->copy(s, o, dir, name, ret), ret);
}

int backend_set_attrs(struct session *s, const struct object *o, const struct attrs *a, char **why)
{
	int r = may_write(s, s->backend->set_attrs, -ENOTSUP);

	if (r < 0)
		return r;
	before(s, "set_attrs", o->id);
	return after(s, "set_attrs", o->id, s->backend->set_attrs(s, o, a), why);
}

int backend_check_attr(const struct session *s, const struct object *o, const char *name)
{
	int r = may_write(s, s->backend->check_attr, -ENOTSUP);

	return r < 0 ? r : s->backend->check_attr(s, o, name);
}

int backend_set_doc(struct session *s, const struct object *o, const struct doc *base, const struct doc *now, char **why)
{
	int r = may_write(s, s->backend->set_doc, -ENOTSUP);

	if (r < 0)
		return r;
	before(s, "set_doc", o->id);
	return after(s, "set_doc", o->id, s->backend->set_doc(s, o, base, now), why);
}

int backend_control_object(struct session *s, const struct object *about, const char *name, struct object *ret)
{
	if (!s->backend->control_object)
		return -ENOENT;
	before(s, "control", name);
	return after_change(s, "control", name, s->backend->control_object(s, about, name, ret), ret);
}

int backend_control_call(struct session *s, const struct object *about, const char *name, const struct buf *question, struct buf *ret)
{
	int r = may_write(s, s->backend->control_call, -ENOTSUP);

	if (r < 0)
		return r;
	before(s, "call", name);
	return after(s, "call", name, s->backend->control_call(s, about, name, question, ret), NULL);
}

/* ---- papers ---- */

bool backend_has_papers(const struct session *s)
{
	return s->backend->paper_stat;
}

/* For logs and errors: the names of a path, with slashes. */
static const char *shown_path(const char *const *path, char ret[300])
{
	size_t n = 0;

	ret[0] = 0;
	for (; *path && n < 300; path++)
		n += (size_t)snprintf(ret + n, 300 - n, "%s%s", n ? "/" : "", *path);
	return ret;
}

/* A fault is told of the directory that it is about. */
static int after_paper(const struct session *s, const char *op, const struct object *about, const char *const *path, int r, char **why)
{
	char shown[300], what[320];

	if (r >= 0 || r == -EINTR)
		return r;
	snprintf(what, sizeof(what), "%s %s", op, shown_path(path, shown));
	return fault(s, what, about->id, r, why);
}

static void before_paper(const struct session *s, const char *op, const char *const *path)
{
	char shown[300];

	before(s, op, shown_path(path, shown));
}

static bool sound_paper(const struct session *s, const struct paper *p)
{
	bool sound = p->name && *p->name && p->act >= CONTROL_DOC && p->act <= CONTROL_VERB && (p->act != CONTROL_LINK || p->target || p->below);

	if (!sound)
		log_warn("%s: a control without a name was left out", s->origin);
	return sound;
}

int backend_paper_stat(struct session *s, const struct object *about, const char *const *path, struct paper *ret)
{
	int r;

	if (!s->backend->paper_stat)
		return -ENOENT;
	before_paper(s, "control", path);
	r = s->backend->paper_stat(s, about, path, ret);
	if (r == 0 && !sound_paper(s, ret)) {
		paper_done(ret);
		r = -EBADMSG;
	}
	return r == -ENOENT ? r : after_paper(s, "look", about, path, r, NULL);
}

int backend_paper_list(struct session *s, const struct object *about, const char *const *path, struct papers *ret)
{
	size_t k = 0;
	int r;

	if (!s->backend->paper_list)
		return -ENOTSUP;
	before_paper(s, "controls", path);
	r = s->backend->paper_list(s, about, path, ret);
	for (size_t i = 0; i < ret->list.n; i++) {
		if (r == 0 && sound_paper(s, &ret->list.at[i])) {
			struct paper x = ret->list.at[i];

			ret->list.at[i] = (struct paper){0};
			ret->list.at[k++] = x;
		} else {
			paper_done(&ret->list.at[i]);
		}
	}
	ret->list.n = k;
	if (k > PAPERS_MAX) {
		papers_done(ret);
		backend_note_fault(0, NULL, "it lists more than a control directory can hold (10000)", NULL);
		r = -EFBIG;
	}
	return r == -ENOENT ? r : after_paper(s, "list", about, path, r, NULL);
}

int backend_paper_read(struct session *s, const struct object *about, const char *const *path, struct buf *ret)
{
	int r;

	if (!s->backend->paper_read)
		return -ENODATA;
	before_paper(s, "read", path);
	r = s->backend->paper_read(s, about, path, ret);
	return r == -ENOENT || r == -ENODATA ? r : after_paper(s, "read", about, path, r == -EMSGSIZE ? -EFBIG : r, NULL);
}

int backend_paper_check(struct session *s, const struct object *about, const char *const *path, enum paper_act act)
{
	static const char *const words[] = {[PAPER_WRITE] = "write", [PAPER_MAKE] = "make", [PAPER_REMOVE] = "remove"};

	if (!s->backend->paper_check)
		return 0;
	before_paper(s, "check", path);
	return after_paper(s, words[act], about, path, s->backend->paper_check(s, about, path, act), NULL);
}

static int check_text(const char *const *path, const struct buf *text)
{
	const char *name = *path;
	int r;

	while (*path)
		name = *path++;
	if (text->len > PAPER_MAX) {
		backend_note_fault(0, NULL, "a control's text may have 1 MiB", NULL);
		return -EFBIG;
	}
	r = str_ends(name, ".json") ? json_check(buf_str(text), text->len) : 0;
	if (r == 0 || r == -ERANGE || r == -ENOMEM)
		return r == -ENOMEM ? r : 0;    /* a number that we could not hold goes as it is */
	backend_note_fault(0, NULL, json_error(), NULL);
	return -EINVAL;
}

int backend_paper_write(struct session *s, const struct object *about, const char *const *path, const struct buf *text, struct buf *reply,
                        char **why)
{
	int r;

	if (!s->backend->paper_write)
		return -ENOTSUP;
	before_paper(s, "write", path);
	r = check_text(path, text);
	if (r == 0)
		r = s->backend->paper_write(s, about, path, text, reply);
	return after_paper(s, "write", about, path, r, why);
}

int backend_paper_remove(struct session *s, const struct object *about, const char *const *path, char **why)
{
	if (!s->backend->paper_remove)
		return -EPERM;
	before_paper(s, "remove", path);
	return after_paper(s, "remove", about, path, s->backend->paper_remove(s, about, path), why);
}
