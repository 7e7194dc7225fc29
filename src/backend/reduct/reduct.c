/* reduct.c - the ReductStore backend: its table, finding the API, logging in, and the one way that requests go out. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/reduct/private.h"
#include "base/clock.h"
#include "base/log.h"

#define MINOR_MIN 13                    /* the oldest API that has what is asked for */
#define ANSWER_MAX (128u << 20)
#define BUCKETS_KEPT 32
#define LOCK_WORDS "lock within timeout"        /* the server's own deadlock: worth one more try */
#define EARLY_TRIES 3                   /* of a record that is being written */
#define EARLY_MS 500
#define TIDY_S 30
#define SPACE_MS 60000
#define EXPECT_ABOVE (1u << 20)         /* bytes; without being asked first the server reads all of them before it refuses */

static void reduct_close(struct session *s);

/* ---- requests ---- */

void ask_done(struct ask *a)
{
	buf_done(&a->head);
	buf_done(&a->text);
}

/* The words of an answer that is an error: its own header, else its body. */
static void words_of(const struct http_reply *reply, char ret[200])
{
	char value[1024];

	ret[0] = 0;
	if (http_header(reply, "x-reduct-error", value, sizeof(value)) == 0) {
		_cleanup_free_ char *safe = str_printable(value, 190);

		snprintf(ret, 200, "%s", safe ? safe : "");
	}
	if (!*ret || strcmp(ret, "Unparsable message") == 0)
		parse_detail(buf_str(&reply->body), reply->body.len, ret);
}

static int ask_once(struct reduct *r, struct ask *a, const char *url, char words[200])
{
	struct http_request q = {
		.method = a->method,
		.url = url,
		.auth_header = "Authorization",
		.auth_prefix = "Bearer ",
		.auth = r->token,
		.headers = a->headers,
		.body = a->body,
		.body_len = a->body_n || !a->body ? a->body_n : strlen(a->body),
		.body_is_file = a->is_file,
		.body_fd = a->fd,
		.expect = a->body_n > EXPECT_ABOVE,
		.content_type = a->type ? a->type : a->body ? "application/json" : NULL,
		.priority = a->type ? HTTP_UPLOAD : HTTP_META,
		.idempotent = !a->acts,         /* a query or a link made twice does no harm */
		.once = a->once,
		.deadline_ms = a->patience_ms ? a->patience_ms : r->session.policy.timeout_ms,
		.slow_ms = a->patience_ms ? a->patience_ms : r->session.policy.slow_ms,
		.first_contact = a->patience_ms,
		.max_body = ANSWER_MAX,
		.max_headers = a->max_headers,
		.cancelled = a->cancelled,
	};
	struct http_reply reply;
	int e = http_call(r->session.http, &q, &reply);

	words[0] = 0;
	a->status = reply.status;
	a->attempts = reply.attempts;
	a->in_doubt = reply.in_doubt;
	if (reply.status >= 400) {
		words_of(&reply, words);
		e = reduct_errno(reply.status, words);
	}
	if (e < 0)
		backend_note_fault(reply.status, reply.status >= 400 ? "ReductError" : NULL, *words ? words : reply.message,
		                   reply.url ? reply.url : url);
	buf_done(&a->head);
	buf_done(&a->text);
	a->head = reply.headers;
	a->text = reply.body;
	buf_init(&reply.headers, 0);
	buf_init(&reply.body, 0);
	http_reply_done(&reply);
	return e;
}

static int ask_again(struct reduct *r, struct ask *a, const char *url)
{
	char words[200];
	bool locked = false;
	int e;

	for (int early = 0;; ) {
		e = ask_once(r, a, url, words);
		if (a->status == 425 && !a->early && ++early < EARLY_TRIES) {
			struct timespec t = {0, EARLY_MS * 1000000l};

			nanosleep(&t, NULL);    /* somebody is writing it this very moment */
		} else if (a->status == 500 && strstr(words, LOCK_WORDS) && !locked) {
			locked = true;
		} else {
			return a->status == 425 ? -EIO : e;
		}
	}
}

static int learn(struct reduct *r)
{
	struct ask a = {0};
	_cleanup_free_ char *url = NULL;
	struct me me = {0};
	int e = str_fmt(&url, "%s/me", r->api);

	if (e == 0)
		e = ask_again(r, &a, url);
	if (e == 0) {
		e = parse_me(buf_str(&a.text), a.text.len, &me);
		if (e == -EBADMSG)
			backend_note_fault(a.status, NULL, json_error(), url);
	}
	ask_done(&a);
	if (e < 0)
		return e;
	WITH_LOCK(&r->lock) {
		struct me was = r->me;

		r->me = me;
		me = was;
	}
	me_done(&me);
	return 0;
}

static int identity(struct reduct *r, char **ret)
{
	int e = 0;

	WITH_LOCK(&r->lock)
		e = str_fmt(ret, "token/%s", r->me.name);
	return e;
}

/* A session that came up without the server logs in before its first request; what is kept of one is not shown to another. */
int reduct_verify(struct reduct *r)
{
	_cleanup_free_ char *now = NULL;
	bool unverified;
	int e;

	WITH_LOCK(&r->lock)
		unverified = r->unverified;
	if (!unverified)
		return 0;
	e = learn(r);
	if (e == 0)
		e = identity(r, &now);
	if (e < 0)
		return e;
	if (strcmp(now, r->session.identity) != 0) {
		backend_note_fault(401, NULL, "the server does not know the login that this was mounted with: mount it again", NULL);
		return -EACCES;
	}
	WITH_LOCK(&r->lock)
		r->unverified = false;
	return 0;
}

int reduct_ask(struct reduct *r, struct ask *a, const char *format, ...)
{
	_cleanup_free_ char *path = NULL, *url = NULL;
	va_list ap;
	int e;

	va_start(ap, format);
	e = str_vfmt(&path, format, ap);
	va_end(ap);
	if (e == 0)
		e = reduct_verify(r);
	if (e == 0)
		e = str_fmt(&url, "%s/%s", r->api, path);
	return e < 0 ? e : ask_again(r, a, url);
}

unsigned reduct_rights(struct reduct *r, const char *bucket)
{
	unsigned rights;

	WITH_LOCK(&r->lock)
		rights = me_rights(&r->me, bucket);
	return rights;
}

unsigned reduct_rights_root(struct reduct *r)
{
	bool full;

	WITH_LOCK(&r->lock)
		full = r->me.full;
	return full ? RIGHT_WRITE | RIGHT_ADMIN : 0;
}

/* ---- buckets, kept for a moment: one answer speaks of all entries ---- */

static void bucket_unref_locked(struct bucket *b)
{
	if (b && --b->refs == 0)
		bucket_free(b);
}

void reduct_bucket_unref(struct reduct *r, struct bucket *b)
{
	WITH_LOCK(&r->lock)
		bucket_unref_locked(b);
}

static struct bucket *kept_locked(struct reduct *r, const char *name, size_t *ret_at)
{
	for (size_t i = 0; i < r->buckets.n; i++)
		if (strcmp(r->buckets.at[i]->name, name) == 0) {
			*ret_at = i;
			return r->buckets.at[i];
		}
	return NULL;
}

struct bucket *reduct_bucket_known(struct reduct *r, const char *name, unsigned max_age_ms)
{
	struct bucket *b = NULL;

	WITH_LOCK(&r->lock) {
		size_t at;

		b = kept_locked(r, name, &at);
		if (b && clock_mono_ms() - b->asked_at > max_age_ms)
			b = NULL;
		if (b)
			b->refs++;
	}
	return b;
}

/* The newest answer of each bucket; the oldest leaves. */
static int keep_bucket(struct reduct *r, struct bucket *b, struct bucket **ret_was)
{
	int e = 0;

	*ret_was = NULL;
	WITH_LOCK(&r->lock) {
		size_t at = 0;

		b->refs++;
		if (kept_locked(r, b->name, &at)) {
			*ret_was = r->buckets.at[at];   /* the caller has its reference now */
			r->buckets.at[at] = b;
			break;
		}
		if (r->buckets.n < BUCKETS_KEPT) {
			e = vec_push(&r->buckets, b);
			if (e < 0)
				b->refs--;
			break;
		}
		for (size_t i = 1; i < r->buckets.n; i++)
			if (r->buckets.at[i]->asked_at < r->buckets.at[at]->asked_at)
				at = i;
		bucket_unref_locked(r->buckets.at[at]);
		r->buckets.at[at] = b;
	}
	return e;
}

/* Fewer records than before: some were removed, and the server has moved their neighbours. */
static void notice_removals(struct reduct *r, const struct bucket *was, const struct bucket *now)
{
	for (size_t i = 0; i < was->entries.n; i++) {
		const struct entry_info *before = &was->entries.at[i], *e = bucket_entry(now, before->name);
		uint64_t fell = e && e->count < before->count ? before->count - e->count : 0;
		uint64_t ours = reduct_content_ours(r, now->name, before->name, fell, now->asked_at);

		/* Whole blocks that a quota takes from the beginning leave all others where they are. */
		if (!e || e->deleting || (fell > ours && e->oldest <= before->oldest))
			reduct_content_moved(r, now->name, before->name);
	}
}

/* Directories that only we know of are among the server's entries. What the server has by now is its own. */
static int add_made(struct reduct *r, struct bucket *b)
{
	size_t n = strlen(b->name);
	int e = 0;

	WITH_LOCK(&r->lock) {
		struct map_iter it = {0};
		const char *key;
		void *value;

		for (size_t i = 0; e == 0 && i < b->entries.n && map_count(r->made); i++) {
			_cleanup_free_ char *own = NULL;

			e = b->entries.at[i].deleting ? 0 : str_fmt(&own, "%s/%s", b->name, b->entries.at[i].name);
			if (own)
				(void)map_remove(r->made, own);
		}
		while (e == 0 && map_next(r->made, &it, &key, &value)) {
			struct entry_info made = {0};

			if (strncmp(key, b->name, n) != 0 || key[n] != '/' || bucket_entry(b, key + n + 1))
				continue;
			e = str_dup(key + n + 1, &made.name);
			if (e == 0 && (e = vec_push(&b->entries, made)) < 0)
				free(made.name);
			for (size_t i = b->entries.n - 1; e == 0 && i > 0 && strcmp(b->entries.at[i].name, b->entries.at[i - 1].name) < 0; i--) {
				b->entries.at[i] = b->entries.at[i - 1];
				b->entries.at[i - 1] = made;
			}
		}
	}
	return e;
}

int reduct_bucket(struct reduct *r, const char *name, unsigned max_age_ms, struct bucket **ret)
{
	struct ask a = {0};
	struct bucket *b = NULL, *was;
	_cleanup_free_ char *path = NULL;
	uint64_t now = clock_mono_ms();
	int e;

	WITH_LOCK(&r->lock) {
		size_t at;

		b = kept_locked(r, name, &at);
		if (b && (now - b->asked_at > max_age_ms || b->asked_at <= reduct_touched_locked(r, name)))
			b = NULL;
		if (b)
			b->refs++;
	}
	if (b) {
		*ret = b;
		return 0;
	}
	e = name_encode_path(name, &path);
	if (e == 0)
		e = reduct_ask(r, &a, "b/%s", path);
	if (e == 0) {
		e = parse_bucket(buf_str(&a.text), a.text.len, &b);
		if (e == -EBADMSG)
			backend_note_fault(a.status, NULL, json_error(), path);
	}
	ask_done(&a);
	/* What is being deleted is gone for us. */
	if (e == -EBUSY || (e == 0 && b->deleting))
		e = -ENOENT;
	if (e == 0 && strcmp(b->name, name) != 0) {
		backend_note_fault(0, NULL, "it answers for another bucket", path);
		e = -EBADMSG;
	}
	if (e == 0)
		e = add_made(r, b);
	if (e < 0) {
		bucket_free(b);
		return e;
	}
	b->refs = 1;
	b->asked_at = now;
	if (keep_bucket(r, b, &was) == 0 && was) {
		notice_removals(r, was, b);
		reduct_bucket_unref(r, was);
	}
	*ret = b;
	return 0;
}

/* Where `name` is, or would be. */
static size_t entry_place(const struct bucket *b, const char *name)
{
	size_t low = 0, high = b->entries.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(b->entries.at[mid].name, name) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

const struct entry_info *bucket_entry(const struct bucket *b, const char *name)
{
	size_t at = entry_place(b, name);

	return at < b->entries.n && strcmp(b->entries.at[at].name, name) == 0 ? &b->entries.at[at] : NULL;
}

bool bucket_has_path(const struct bucket *b, const char *path)
{
	size_t n = strlen(path);

	for (size_t i = entry_place(b, path); i < b->entries.n && strncmp(b->entries.at[i].name, path, n) == 0; i++) {
		const struct entry_info *e = &b->entries.at[i];

		if ((!e->name[n] || e->name[n] == '/') && !e->deleting)
			return true;
	}
	return false;
}

/* ---- open ---- */

struct found {
	struct http *http;
	unsigned timeout_ms;
	char *api, *version, *server;
	char *words;                    /* the wire's, when it fails */
	size_t used;                    /* of the path */
};

static void found_done(struct found *f)
{
	free(f->api);
	free(f->version);
	free(f->server);
	free(f->words);
}

/* Is there a ReductStore at this API? */
static int is_reduct(void *arg, const char *api)
{
	struct found *f = arg;
	_cleanup_free_ char *url = NULL;
	struct http_request q = {.method = "HEAD", .priority = HTTP_META, .deadline_ms = f->timeout_ms, .first_contact = true};
	struct http_reply reply;
	char value[200];
	int e = str_fmt(&url, "%s/alive", api);

	if (e < 0)
		return e;
	q.url = url;
	e = http_call(f->http, &q, &reply);
	if (e < 0 && (!reply.status || (reply.status >= 500 && reply.status != 501))) {
		(void)str_dup(reply.message, &f->words);        /* nobody there, or a proxy without a server; 501: a server that knows no HEAD */
	} else if (e < 0 || http_header(&reply, "x-reduct-api", value, sizeof(value)) < 0) {
		e = 0;          /* an answer, but not ReductStore's */
	} else {
		e = str_dup(value, &f->version);
		if (e == 0 && http_header(&reply, "Server", value, sizeof(value)) == 0)
			e = str_dup(value, &f->server);
		if (e == 0)
			e = 1;
	}
	http_reply_done(&reply);
	return e;
}

static int find_api(struct found *f, const char *url, const char *path, const char *given)
{
	int e = http_set_http1(f->http, url);

	return e < 0 ? e : backend_find_api(url, path, given, is_reduct, f, &f->api, &f->used);
}

static int reduct_probe(struct http *http, const char *url, const char *path)
{
	_cleanup_(found_done) struct found f = {.http = http, .timeout_ms = 10000};
	int e = find_api(&f, url, path, NULL);

	if (e < 0)
		backend_note_fault(0, NULL, f.words, url);
	return e;
}

static int set_layout(struct reduct *r, const struct login *who)
{
	const char *v = who->option ? who->option(who->config, "layout") : NULL;

	r->layout = LEVEL_HOUR;
	r->layout_told = v && layout_of_word(v, &r->layout);
	r->layout_noted = r->layout_told && !who->read_only;
	return str_fmt(&r->session.view, "layout=%s", r->layout_told ? layout_word(r->layout) : "each its own");
}

/* For a proxy that allows only short heads: what is sent together, and what is asked for together. */
static int set_batch(struct reduct *r, const struct login *who, char **why)
{
	const char *v = who->option ? who->option(who->config, "reduct_batch_records") : NULL;
	struct policy *p = &r->session.policy;
	uint64_t n;

	if (!v)
		return 0;
	if (str_parse_u64(v, &n) < 0 || n < 1 || n > BATCH_RECORDS) {
		(void)str_fmt(why, "option reduct_batch_records is %s but should be from 1 to %d", v, BATCH_RECORDS);
		return -ENOPROTOOPT;
	}
	r->batch = r->batch_told = (unsigned)n;
	if (p->upload_batch > n)
		p->upload_batch = (unsigned)n;
	if (p->batch_files > n)
		p->batch_files = (unsigned)n;
	return 0;
}

static bool chosen(const struct login *who, const char *option, const char *word)
{
	const char *v = who->option ? who->option(who->config, option) : NULL;

	return v && strcmp(v, word) == 0;
}

static void set_writing(struct reduct *r, const struct login *who)
{
	r->overwrite = chosen(who, "overwrite", "replace") ? OVERWRITE_REPLACE : chosen(who, "overwrite", "no") ? OVERWRITE_NO : OVERWRITE_VERSION;
	r->ts_mtime = chosen(who, "ts", "mtime");
	r->late_verify = chosen(who, "late", "verify");
}

static int parse_usage(struct reduct *r, const struct buf *info)
{
	_cleanup_(json_freep) struct json *j = NULL;
	int e = json_parse(buf_str(info), info->len, &j);

	if (e == 0)
		e = json_u64(j, "usage", &r->space_used);
	if (e == 0)
		r->space_at = clock_mono_ms();
	return e;
}

static int describe(struct reduct *r)
{
	_cleanup_buf_ struct buf b = BUF_MAX(1u << 20);
	struct ask a = {0};
	int e = reduct_ask(r, &a, "info");

	if (e == 0)
		e = json_check(buf_str(&a.text), a.text.len);
	if (e == -ERANGE)
		e = 0;          /* "oldest_record" of an empty server is beyond our 64 bits */
	if (e == 0)
		e = buf_adds(&b, "{\"kind\": \"reduct\", \"api\": ");
	if (e == 0)
		e = json_write_str(&b, r->api);
	if (e == 0)
		e = buf_addf(&b, ", \"api_version\": \"1.%u\", \"identity\": ", r->minor);
	if (e == 0)
		e = json_write_str(&b, r->session.identity);
	if (e == 0)
		e = buf_adds(&b, ", \"info\": ");
	if (e == 0)
		e = buf_add(&b, buf_str(&a.text), a.text.len);
	if (e == 0)
		e = buf_adds(&b, "}\n");
	if (e == 0)
		(void)parse_usage(r, &a.text);  /* else df asks for itself */
	ask_done(&a);
	if (e == 0)
		r->session.server_json = buf_take(&b);
	return e;
}

static int keep(struct reduct *r)
{
	char more[32];

	snprintf(more, sizeof(more), ", \"minor\": %u", r->minor);
	return backend_write_kept(&r->session, r->api, more, &r->root);
}

static int come_up(struct reduct *r, const char *kept)
{
	_cleanup_(json_freep) struct json *j = NULL;
	uint64_t minor = 0;
	int e = backend_read_kept(&r->session, kept, &r->api, &r->root, &j);

	if (e == 0)
		e = json_u64(j, "minor", &minor);
	r->minor = (unsigned)minor;
	r->unverified = true;
	return e;
}

static int set_api(struct reduct *r)
{
	_cleanup_free_ char *probe = NULL;
	int e = str_fmt(&probe, "%s/alive", r->api);

	if (e == 0)
		e = http_set_http1(r->session.http, r->api);
	return e < 0 ? e : http_set_probe(r->session.http, probe);
}

static int log_in(struct reduct *r, const struct login *who, char **why)
{
	struct ask a = {0};
	_cleanup_free_ char *url = NULL, *safe = NULL;
	char words[200];
	int e = str_fmt(&url, "%s/me", r->api);

	/* The first time by hand: its words are for a person. */
	if (e == 0)
		e = ask_once(r, &a, url, words);
	ask_done(&a);
	if (e == -EACCES)
		(void)str_fmt(why, "%s: the login was refused: %s%s", who->url, *words ? words : "no reason was given",
		              who->token ? "" : " (no token was given: SCIFS_TOKEN, or scifs login)");
	else if (e < 0)
		(void)str_fmt(why, "%s: cannot log in: %s", who->url, *words ? words : strerror(-e));
	if (e == 0)
		e = learn(r);
	if (e == 0)
		e = identity(r, &r->session.identity);
	return e;
}

static int find(struct reduct *r, const struct login *who, struct found *f, char **why)
{
	int e;

	f->http = r->session.http;
	f->timeout_ms = r->session.policy.timeout_ms;
	e = find_api(f, who->url, who->path, who->api);
	if (e == 0) {
		(void)str_fmt(why, "%s: no ReductStore answers there (its API would be at %s/api/v1; -o api=PATH says where it is)",
		              who->url, who->url);
		return -EPROTO;
	}
	if (e < 0) {
		backend_unreachable(who->url, e, f->words, why);
		return e;
	}
	e = parse_api_version(f->version, &r->minor);
	if (e == -EPROTONOSUPPORT || e == -EBADMSG || r->minor < MINOR_MIN) {
		_cleanup_free_ char *safe = str_printable(f->version, 40);

		(void)str_fmt(why, "%s: its API is of version %s: versions from 1.%d to below 2 are understood", who->url,
		              safe ? safe : "", MINOR_MIN);
		return -EPROTO;
	}
	r->api = TAKE(f->api);
	r->version = TAKE(f->server);
	return set_api(r);
}

static int reduct_open(const struct login *who, struct http *http, struct session **ret, char **why)
{
	struct reduct *r = calloc(1, sizeof(*r));
	_cleanup_(found_done) struct found f = {0};
	_cleanup_free_ char *subtree = NULL;
	unsigned timeout_ms;
	int e;

	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	pthread_mutex_init(&r->series_lock, NULL);
	pthread_cond_init(&r->series_moved, NULL);
	list_init(&r->series);
	reduct_content_init(r);
	reduct_control_init(r);
	reduct_change_init(r);
	r->session.backend = &backend_reduct;
	r->session.policy = backend_reduct.policy;
	backend_override(&r->session.policy, who->override);
	timeout_ms = r->session.policy.timeout_ms;
	if (who->patience_ms && who->patience_ms < timeout_ms)
		r->session.policy.timeout_ms = who->patience_ms;
	r->session.http = http;
	r->token = secret_ref(who->token);
	e = http_origin(who->url, &r->session.origin);
	if (e == 0)
		e = set_layout(r, who);
	if (e == 0)
		e = set_batch(r, who, why);
	set_writing(r, who);
	if (e == 0 && who->kept) {
		e = come_up(r, who->kept);
		if (e == 0)
			e = set_api(r);
		goto end;
	}
	if (e == 0)
		e = find(r, who, &f, why);
	if (e == 0)
		e = log_in(r, who, why);
	if (e == 0)
		e = describe(r);
	if (e == 0) {
		const char *path = who->path + f.used;

		while (*path == '/')
			path++;
		if (str_percent_decode(path, &subtree) < 0)
			e = str_dup(path, &subtree);
		if (e == 0)
			e = reduct_resolve(r, subtree, &r->root);
		if (e < 0)
			(void)str_fmt(why, "%s: there is no /%s that you may read", who->url, subtree ? subtree : "");
	}
	if (e == 0)
		e = keep(r);
end:
	if (e < 0) {
		reduct_close(&r->session);
		return e;
	}
	r->session.policy.timeout_ms = timeout_ms;
	*ret = &r->session;
	return 0;
}

static void reduct_close(struct session *s)
{
	struct reduct *r = reduct_of(s);

	reduct_content_done(r);
	reduct_control_done(r);
	reduct_change_done(r);
	series_done(r);
	for (size_t i = 0; i < r->buckets.n; i++)
		bucket_free(r->buckets.at[i]);
	vec_done(&r->buckets);
	me_done(&r->me);
	object_done(&r->root);
	secret_unref(r->token);
	free(r->api);
	free(r->version);
	free(r->session.origin);
	free(r->session.identity);
	free(r->session.view);
	free(r->session.kept);
	free(r->session.server_json);
	pthread_cond_destroy(&r->series_moved);
	pthread_mutex_destroy(&r->series_lock);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

int reduct_root(struct session *s, struct object *ret)
{
	return object_copy(&reduct_of(s)->root, ret);
}

static int reduct_work(struct session *s, unsigned *ret_next_s)
{
	struct reduct *r = reduct_of(s);
	bool unverified;

	reduct_content_tidy(r);
	WITH_LOCK(&r->lock)
		unverified = r->unverified;
	*ret_next_s = unverified ? 5 : TIDY_S;
	return reduct_verify(r);
}

/* Of one bucket its quota is what there may be; of a whole server nobody knows. What open() was told is not asked for again, and an unused mount
 * asks seldom. On one thread. */
static int reduct_space(struct session *s, uint64_t *ret_used, uint64_t *ret_total)
{
	struct reduct *r = reduct_of(s);
	struct ask a = {0};
	struct bucket *b;
	struct place p;
	int e = place_parse(r->root.id, &p);

	if (e < 0)
		return e;
	if (p.bucket) {
		e = reduct_bucket(r, p.bucket, SPACE_MS, &b);
		if (e == 0) {
			*ret_used = b->size;
			*ret_total = b->quota;
			reduct_bucket_unref(r, b);
		}
	} else {
		if (!r->space_at || clock_mono_ms() - r->space_at >= SPACE_MS) {
			e = reduct_ask(r, &a, "info");
			if (e == 0)
				e = parse_usage(r, &a.text);
			ask_done(&a);
		}
		*ret_used = r->space_used;
		*ret_total = 0;
	}
	place_done(&p);
	return e;
}

static const struct option options[] = {
	{"layout", OPTION_CHOICE, NULL, "flat|day|hour|minute",
	 "which directories below an entry hold its records: the entry itself, one a day, one an hour, one a minute; it is noted at the entries "
	 "that are used, for other mounts; default: as it is noted there, else hour"},
	{"overwrite", OPTION_CHOICE, "version", "version|replace|no",
	 "writing over a file: adds a record of its name, removes the older ones too, or is refused"},
	{"ts", OPTION_CHOICE, "now", "now|mtime", "the time of a new file's record, unless its name is one: when it is sent, or its own"},
	{"late", OPTION_CHOICE, "refuse", "refuse|verify",
	 "records older than an entry's latest, which servers 1.18 to 1.20 may lose: refuse them there, or write them and look again"},
	{"reduct_batch_records", OPTION_UINT, NULL, NULL,
	 "records in one request or in the head of one answer, 1 to 80, for proxies that allow only short heads; default: 80, and 3000 in an answer"},
	{NULL},
};

const struct backend backend_reduct = {
	.scheme = "reduct",
	.can = CAN_RANGE | CAN_SEARCH | CAN_BYID | CAN_WRITE,
	.policy = {
		.hits_max = REDUCT_HITS_MAX,
		.fetch_min = 64u << 10,
		.fetch_align = 8u << 20,        /* a part costs 30 to 60 ms of the server, whatever its size */
		.fetch_long = 16u << 20,
		.whole_below = 16u << 20,
		.streams_file = 3,
		.streams_host = 8,
		.pause_safe = true,
		.batch_files = 256,
		.batch_bytes = 4u << 20,
		.stat_parallel = 8,
		.attr_ttl_ms = 30000,           /* a record does not change */
		.list_ttl_ms = 5000,
		.timeout_ms = 60000,
		.upload_chunk = 1ull << 30,     /* a record is sent in one request, however large it is */
		.upload_parallel = 8,
		.upload_batch = BATCH_RECORDS,
		.upload_batch_bytes = 8000000,
		.remove_defer_ms = 500,         /* each removal copies a block of up to 64 MB */
		.slow_ms = 65000,               /* the server gives up a lock of its own after 60 s */
	},
	.options = options,
	.open = reduct_open,
	.close = reduct_close,
	.probe = reduct_probe,
	.root = reduct_root,
	.lookup = reduct_lookup,
	.list = reduct_list,
	.unlisted = reduct_unlisted,
	.query = reduct_query,
	.check_query = reduct_check_query,
	.locate = reduct_locate,
	.url = reduct_url,
	.stat = reduct_stat,
	.changed = reduct_changed,
	.prepare_read = reduct_prepare_read,
	.read_many = reduct_read_many,
	.get_doc = reduct_get_doc,
	.attrs = reduct_attrs,
	.work = reduct_work,
	.space = reduct_space,
	.controls = reduct_controls,
	.control_object = reduct_control_object,
	.paper_stat = reduct_paper_stat,
	.paper_list = reduct_paper_list,
	.paper_read = reduct_paper_read,
	.paper_check = reduct_paper_check,
	.paper_write = reduct_paper_write,
	.paper_remove = reduct_paper_remove,
	.plan_create = reduct_plan_create,
	.check_write = reduct_check_write,
	.lane = reduct_lane,
	.upload = reduct_upload,
	.upload_many = reduct_upload_many,
	.upload_drop = reduct_upload_drop,
	.mkdir = reduct_mkdir,
	.remove = reduct_remove,
	.remove_many = reduct_remove_many,
	.is_read = reduct_is_read,
	.remove_all = reduct_remove_all,
	.rename = reduct_rename,
	.moved_id = reduct_moved_id,
	.set_attrs = reduct_set_attrs,
	.check_attr = reduct_check_attr,
	.mtime_attr = REDUCT_MTIME_ATTR,
	.mtime_own = true,
};
