/* girder.c - the Girder backend: its table, logging in and staying so, and the one way that requests go out. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "backend/girder/private.h"
#include "base/clock.h"
#include "base/log.h"

#define RENEW_BEFORE_S (24 * 3600)      /* a token that ends within a day is exchanged */
#define LOGIN_AGAIN_MS 5000             /* not twice within this, whatever the clocks say */
#define CHECK_LOGIN_S 240               /* an expired token makes nobody of us without a word: look now and then */

static void girder_close(struct session *s);

int girder_encode(const char *s, char **ret)
{
	return str_percent_encode(s, strlen(s), NULL, ret);
}

struct secret *girder_token(struct girder *g)
{
	struct secret *t;

	pthread_mutex_lock(&g->lock);
	t = secret_ref(g->token);
	pthread_mutex_unlock(&g->lock);
	return t;
}

bool girder_unverified(struct girder *g)
{
	bool is;

	WITH_LOCK(&g->lock)
		is = g->unverified;
	return is;
}

/* ---- logging in ---- */

/* A token is exchanged in the last quarter of its life, or in its last day. */
static void set_end_locked(struct girder *g, time_t ends)
{
	time_t now = clock_wall().tv_sec, early = ends > now ? (ends - now) / 4 : 0;

	g->token_ends = ends;
	g->renew_at = ends ? ends - (early < RENEW_BEFORE_S ? early : RENEW_BEFORE_S) : 0;
}

/* What a token of this scope may do. The server tells an admin that all is his, and answers a key for reading with 401. */
static void note_scope(struct girder *g, const struct json *scope)
{
	bool writes = false, owns = false;

	for (const struct json *s = json_first(scope); s; s = json_next(s)) {
		bool all = str_eq(json_text(s), "core.user_auth");

		writes |= all || str_eq(json_text(s), "core.data.write");
		owns |= all || str_eq(json_text(s), "core.data.own");
	}
	if (!json_is_array(scope))
		writes = owns = true;   /* not said */
	g->session.reads_only = !writes;
	g->keeps_folders = !owns;
}

static int take_token(struct girder *g, const struct json *answer)
{
	const struct json *token = json_get(answer, "authToken");
	const char *text = NULL;
	struct timespec ends = {0};
	struct secret *s;
	int r = json_str(token, "token", &text);

	if (r < 0)
		return r;
	(void)json_time_opt(token, "expires", &ends);   /* not said: then it is found out by using it */
	r = secret_new(g->session.origin, text, &s);
	if (r < 0)
		return r;
	WITH_LOCK(&g->lock) {
		secret_unref(g->token);
		g->token = s;
		set_end_locked(g, ends.tv_sec);
		g->login_seen = clock_mono_ms();
		g->login_serial++;
	}
	note_scope(g, json_get(token, "scope"));
	return 0;
}

/* What time it is there: an upload's own work is told from what was there before by it, and the two clocks may differ. */
static void note_time(struct girder *g, const struct http_reply *reply)
{
	char value[64];
	struct tm tm = {0};

	if (http_header(reply, "Date", value, sizeof(value)) == 0 && strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm))
		atomic_store(&g->ahead_s, (long long)timegm(&tm) - clock_wall().tv_sec);
}

time_t girder_now(struct girder *g)
{
	return clock_wall().tv_sec + (time_t)atomic_load(&g->ahead_s);
}

static int call(struct girder *g, const struct http_request *q, struct http_reply *reply, char message[200])
{
	int r = http_call(g->session.http, q, reply);

	note_time(g, reply);
	message[0] = 0;
	if (reply->status >= 400)
		r = girder_errno(reply->status, buf_str(&reply->body), reply->body.len, message);
	if (r < 0)
		backend_note_fault(reply->status, NULL, message[0] ? message : reply->message, reply->url ? reply->url : q->url);
	return r;
}

static int base64(const char *s, char **ret)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = strlen(s);
	char *p = malloc((n + 2) / 3 * 4 + 1), *o = p;

	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < n; i += 3) {
		unsigned v = (unsigned char)s[i] << 16 | (i + 1 < n ? (unsigned char)s[i + 1] << 8 : 0) |
		             (i + 2 < n ? (unsigned char)s[i + 2] : 0);

		*o++ = digits[v >> 18];
		*o++ = digits[v >> 12 & 63];
		*o++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
		*o++ = i + 2 < n ? digits[v & 63] : '=';
	}
	*o = 0;
	*ret = p;
	return 0;
}

static void wipe(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

/* From the API key, else the password. -ENOKEY: there is nothing to log in with. */
static int login(struct girder *g)
{
	_cleanup_free_ char *url = NULL;
	_cleanup_(json_freep) struct json *j = NULL;
	struct http_request q = {.priority = HTTP_META, .idempotent = true, .deadline_ms = g->session.policy.timeout_ms};
	struct http_reply reply;
	struct secret *basic = NULL;
	char *body = NULL, *pair = NULL, *encoded = NULL, message[200];
	const char *text;
	int r;

	if (g->api_key) {
		text = secret_text(g->api_key, g->session.origin);
		if (!text || girder_encode(text, &encoded) < 0 || str_fmt(&body, "key=%s", encoded) < 0 ||
		    str_fmt(&url, "%s/api_key/token", g->api) < 0) {
			wipe(encoded);
			return text ? -ENOMEM : -ENOKEY;
		}
		q.method = "POST";
		q.body = body;          /* in the body: an address would stand in the server's log */
		q.body_len = strlen(body);
		q.content_type = "application/x-www-form-urlencoded";
	} else if (g->password && g->user) {
		text = secret_text(g->password, g->session.origin);
		if (!text || str_fmt(&pair, "%s:%s", g->user, text) < 0 || base64(pair, &encoded) < 0 ||
		    secret_new(g->session.origin, encoded, &basic) < 0 || str_fmt(&url, "%s/user/authentication", g->api) < 0) {
			wipe(pair);
			wipe(encoded);
			return text ? -ENOMEM : -ENOKEY;
		}
		q.auth_header = "Authorization";
		q.auth_prefix = "Basic ";
		q.auth = basic;
	} else {
		return -ENOKEY;
	}
	q.url = url;
	r = call(g, &q, &reply, message);
	/* A bad key is a 400. */
	if (reply.status == 400 || reply.status == 401 || reply.status == 403)
		r = -EACCES;
	if (r == 0)
		r = json_parse(buf_str(&reply.body), reply.body.len, &j);
	if (r == 0)
		r = take_token(g, j);
	http_reply_done(&reply);
	secret_unref(basic);
	wipe(body);
	wipe(pair);
	wipe(encoded);
	return r;
}

/* ---- requests ---- */

#define SLOW_MS (10 * 60 * 1000)        /* moving a large folder to another collection, or storing a chunk on a slow disk */

static unsigned slow_ms(const struct girder *g)
{
	return g->session.policy.slow_ms ? g->session.policy.slow_ms : SLOW_MS;
}

/* A request as struct girder_send says, or (send NULL) a GET of `path`. *shown (may be NULL): where the answer came from. */
static int ask(struct girder *g, struct buf *ret, const char *path, struct girder_send *send, char **shown)
{
	_cleanup_free_ char *url = NULL;
	int r = str_fmt(&url, "%s/%s", g->api, path);

	for (int turn = 0; r == 0 && turn < 2; turn++) {
		struct secret *token;
		unsigned serial;
		struct http_request q = {.url = url, .priority = HTTP_META, .deadline_ms = g->session.policy.timeout_ms,
		                         .auth_header = "Girder-Token", .max_body = ret->max};
		struct http_reply reply;
		char message[200];

		if (send) {
			q.method = send->method;
			q.body = send->body;
			q.body_len = send->len;
			q.content_type = send->type;
			q.body_is_file = send->is_file;
			q.body_fd = send->fd;
			q.body_at = send->at;
			q.slow_ms = send->slow ? slow_ms(g) : 0;
			if (send->most_ms) {
				q.deadline_ms = send->most_ms < q.deadline_ms ? send->most_ms : q.deadline_ms;
				q.slow_ms = send->most_ms < q.slow_ms ? send->most_ms : q.slow_ms;
			}
			q.cancelled = send->cancelled;
			q.keep_once_sent = send->cancelled && strcmp(send->method, "GET") != 0;
			q.priority = send->is_file ? HTTP_UPLOAD : HTTP_META;
		}
		WITH_LOCK(&g->lock) {
			token = secret_ref(g->token);
			serial = g->login_serial;
		}
		q.auth = token;
		r = call(g, &q, &reply, message);
		secret_unref(token);
		if (send) {
			send->status = reply.status;
			send->in_doubt = reply.in_doubt;
			send->sent_whole = reply.sent_whole;
			snprintf(send->words, sizeof(send->words), "%s", message);
		}
		if (shown && reply.url) {
			free(*shown);
			*shown = http_shown_url(reply.url);
		}
		if (r == 0 || (send && send->any_status && reply.status))
			r = buf_add(ret, buf_str(&reply.body), reply.body.len);
		if (reply.status == 401 && turn == 0) {
			bool mine;

			WITH_LOCK(&g->lock)
				mine = serial == g->login_serial;
			http_reply_done(&reply);
			if (mine && login(g) < 0) {
				if (strcmp(path, "user/me") != 0 && strcmp(path, "token/current") != 0)
					(void)girder_login_ended(g, 0); /* or the scope is too small: then it stands */
				return send && send->any_status ? 0 : -EACCES;
			}
			buf_clear(ret);
			r = 0;
			continue;       /* once: a key whose scope is too small stays a 401 */
		}
		http_reply_done(&reply);
		return r;
	}
	return r;
}

#define GIRDER_ANSWER_MAX (128u << 20)

static int ask_json(struct girder *g, struct json **ret, const char *path)
{
	_cleanup_buf_ struct buf b = BUF_MAX(1u << 20);
	int r = ask(g, &b, path, NULL, NULL);

	if (r == 0)
		r = json_parse(buf_str(&b), b.len, ret);
	if (r == -EBADMSG)
		backend_note_fault(0, NULL, json_error(), path);
	return r;
}

/* Who we are to the server: "user/5f0c...", "anonymous". A token that may read data but not who its owner is gets null from
 * user/me, as nobody does: its own document tells. */
static int who_am_i(struct girder *g, char **ret)
{
	_cleanup_(json_freep) struct json *me = NULL, *token = NULL;
	struct timespec ends = {0};
	const char *id = NULL;
	bool have_token, ends_known;
	int r = ask_json(g, &me, "user/me");

	WITH_LOCK(&g->lock) {
		have_token = g->token;
		ends_known = g->token_ends;
	}
	if (r == 0 && have_token && (json_is_null(me) || !ends_known))
		r = ask_json(g, &token, "token/current");
	if (r < 0)
		return r;
	if (json_is_object(token) && json_time_opt(token, "expires", &ends) == 0 && ends.tv_sec)
		WITH_LOCK(&g->lock)
			set_end_locked(g, ends.tv_sec);
	if (!json_is_null(me))
		r = json_str(me, "_id", &id);
	else if (json_is_object(token))
		r = json_str_opt(token, "userId", &id);
	if (r < 0)
		return r;
	WITH_LOCK(&g->lock)
		g->login_seen = clock_mono_ms();
	return id ? str_fmt(ret, "user/%s", id) : str_dup("anonymous", ret);
}

/* When the clock says that the token is about to end, one of those who ask exchanges it. */
static void renew_when_due(struct girder *g)
{
	time_t now = clock_wall().tv_sec;
	bool due;

	WITH_LOCK(&g->lock) {
		due = g->renew_at && now >= g->renew_at && !g->renewing && (g->api_key || g->password) &&
		      clock_mono_ms() - g->login_seen > LOGIN_AGAIN_MS;
		g->renewing |= due;
	}
	if (!due)
		return;
	(void)login(g);         /* logged where it failed; the old one is good until it is refused */
	WITH_LOCK(&g->lock)
		g->renewing = false;
}

int girder_login_ended(struct girder *g, unsigned trust_ms)
{
	_cleanup_free_ char *now = NULL;
	unsigned serial;
	bool sure, mine;
	int r;

	if (strcmp(g->session.identity, "anonymous") == 0)
		return 0;
	WITH_LOCK(&g->lock) {
		serial = g->login_serial;
		sure = g->unverified || clock_mono_ms() - g->login_seen < trust_ms;
	}
	if (sure)
		return 0;
	r = who_am_i(g, &now);
	if (r < 0)
		return r;
	if (strcmp(now, g->session.identity) == 0)
		return 0;
	WITH_LOCK(&g->lock)
		mine = serial == g->login_serial;
	if (!mine)
		return 1;       /* somebody else has logged in meanwhile */
	log_warn("%s: the login has ended: logging in again", g->session.origin);
	r = login(g);
	if (r == 0)
		return 1;
	if (r == -ENOKEY || r == -EACCES)
		WITH_LOCK(&g->lock)
			g->unverified = true;   /* nothing more is asked as somebody else: verify() stands before each request */
	backend_note_fault(401, NULL, "the login has ended and cannot be renewed", NULL);
	return r == -ENOKEY ? -EACCES : r;
}

/* A session that came up without the server logs in before its first request; what is kept of one person is not shown to
 * another. */
static int verify(struct girder *g)
{
	_cleanup_free_ char *now = NULL;
	bool unverified, have_token;
	int r = 0;

	WITH_LOCK(&g->lock) {
		unverified = g->unverified;
		have_token = g->token;
	}
	if (!unverified)
		return 0;
	if (!have_token)
		r = login(g);
	if (r == -ENOKEY)
		r = 0;          /* anonymous */
	if (r == 0)
		r = who_am_i(g, &now);
	if (r < 0)
		return r;
	if (strcmp(now, g->session.identity) != 0) {
		backend_note_fault(401, NULL, "the server does not know the login that this was mounted with: mount it again", NULL);
		return -EACCES;
	}
	WITH_LOCK(&g->lock)
		g->unverified = false;
	return 0;
}

static int get(struct girder *g, struct buf *ret, const char *path)
{
	int r = verify(g);

	if (r < 0)
		return r;
	renew_when_due(g);
	return ask(g, ret, path, NULL, NULL);
}

int girder_send_raw(struct girder *g, struct girder_send *send, struct buf *ret, char **shown, const char *path)
{
	int r;

	send->status = 0;
	send->in_doubt = send->sent_whole = false;
	send->words[0] = 0;
	buf_clear(ret);
	if (!ret->max)
		ret->max = GIRDER_ANSWER_MAX;
	if (send->cancelled && __atomic_load_n(send->cancelled, __ATOMIC_RELAXED))
		return -EINTR;
	r = verify(g);
	if (r < 0)
		return r;
	renew_when_due(g);
	r = ask(g, ret, path, send, shown);
	/* Gone, or hidden from somebody who is not logged in any more: such a request has done nothing, and may be made again. */
	if (r == -ENOENT && girder_login_ended(g, LOGIN_AGAIN_MS) == 1) {
		buf_clear(ret);
		r = ask(g, ret, path, send, shown);
	}
	return r;
}

int girder_send(struct girder *g, struct girder_send *send, struct json **ret, const char *format, ...)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_buf_ struct buf b = BUF_MAX(GIRDER_ANSWER_MAX);
	va_list ap;
	int r;

	va_start(ap, format);
	r = str_vfmt(&path, format, ap);
	va_end(ap);
	if (r < 0)
		return r;
	r = girder_send_raw(g, send, &b, NULL, path);
	if (r < 0 || !ret)
		return r;
	json_free(TAKE(*ret));
	r = json_parse(buf_str(&b), b.len, ret);
	if (r < 0) {
		/* Something was done, but nobody says what. */
		send->in_doubt = send->sent_whole = true;
		backend_note_fault(send->status, NULL, json_error(), path);
	}
	return r;
}

/* The last of them only after silence: the server may have been busy with it when it was given up. */
static const unsigned pauses_ms[] = {0, 100, 200, 400, 800, 1600};
#define PAUSES (sizeof(pauses_ms) / sizeof(pauses_ms[0]))

/* As a look says, at the end of `looks` of them. */
static int settle(struct girder *g, size_t looks, girder_look look, const void *what, struct json **ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < looks; i++) {
		struct timespec t = {pauses_ms[i] / 1000, pauses_ms[i] % 1000 * 1000000l};

		(void)nanosleep(&t, NULL);
		json_free(TAKE(*ret));
		r = look(g, what, ret);
	}
	return r;
}

/* A change, and how it is asked for: by a path, or by somebody's `go`. */
struct asking {
	const char *path;
	int (*go)(struct girder *g, struct girder_send *send, const void *what);
	girder_look look;
	const void *what;
};

static int change_on(struct girder *g, struct girder_send *send, const struct asking *a, struct json **ret)
{
	uint64_t most = g->session.policy.timeout_ms, begun = clock_mono_ms(), spent;
	_cleanup_(json_freep) struct json *unwanted = NULL;

	if (send->slow && most < slow_ms(g))
		most = slow_ms(g);
	if (!ret)
		ret = &unwanted;
	send->asked_again = false;
	for (;;) {
		int r = a->go ? a->go(g, send, a->what) : girder_send(g, send, ret, "%s", a->path), seen;
		bool silent = r == -ETIMEDOUT;

		/* A second one may be refused because the first was carried out after all. */
		if (r == 0 || (!send->in_doubt && !send->asked_again))
			return r;
		seen = settle(g, !send->in_doubt || !send->sent_whole ? 1 : silent ? PAUSES : PAUSES - 1, a->look, a->what, ret);
		if (seen == 1 || (seen == 0 && !silent))
			send->in_doubt = false;
		if (seen == 1)
			return 0;
		spent = clock_mono_ms() - begun;
		if (seen < 0 || silent || send->asked_again || spent >= most)
			return r;
		send->asked_again = true;
		send->most_ms = (unsigned)(most - spent);
	}
}

static int change(struct girder *g, struct girder_send *send, const struct asking *a, struct json **ret)
{
	const int *cancelled = http_set_cancel(NULL);
	int r = change_on(g, send, a, ret);

	(void)http_set_cancel(cancelled);
	return r;
}

int girder_change(struct girder *g, struct girder_send *send, girder_look look, const void *what, struct json **ret,
                  const char *format, ...)
{
	_cleanup_free_ char *path = NULL;
	va_list ap;
	int r;

	va_start(ap, format);
	r = str_vfmt(&path, format, ap);
	va_end(ap);
	return r < 0 ? r : change(g, send, &(const struct asking){.path = path, .look = look, .what = what}, ret);
}

int girder_change_by(struct girder *g, struct girder_send *send, int (*go)(struct girder *g, struct girder_send *send, const void *what),
                     girder_look look, const void *what)
{
	return change(g, send, &(const struct asking){.go = go, .look = look, .what = what}, NULL);
}

/* ---- one change at a time of each thing: the server saves whole documents, and the last one wins ---- */

static bool is_held(const struct girder *g, const char *const ids[])
{
	for (size_t i = 0; ids[i]; i++)
		for (size_t k = 0; k < g->held.n; k++)
			if (strcmp(g->held.at[k], ids[i]) == 0)
				return true;
	return false;
}

int girder_hold(struct girder *g, const char *const ids[])
{
	int r = 0;

	WITH_LOCK(&g->hold_lock) {
		while (is_held(g, ids))
			pthread_cond_wait(&g->hold_moved, &g->hold_lock);
		for (size_t i = 0; r == 0 && ids[i]; i++)
			r = vec_push(&g->held, ids[i]);
	}
	if (r < 0)
		girder_release(g, ids);
	return r;
}

void girder_release(struct girder *g, const char *const ids[])
{
	WITH_LOCK(&g->hold_lock) {
		for (size_t i = 0; ids[i]; i++)
			for (size_t k = 0; k < g->held.n; k++)
				if (g->held.at[k] == ids[i]) {
					g->held.at[k] = g->held.at[--g->held.n];
					break;
				}
		pthread_cond_broadcast(&g->hold_moved);
	}
}

int girder_get(struct girder *g, struct buf *ret, const char *format, ...)
{
	_cleanup_free_ char *path = NULL;
	va_list ap;
	int r;

	va_start(ap, format);
	r = str_vfmt(&path, format, ap);
	va_end(ap);
	if (r < 0)
		return r;
	buf_clear(ret);
	if (!ret->max)
		ret->max = GIRDER_ANSWER_MAX;
	return get(g, ret, path);
}

int girder_get_json(struct girder *g, struct json **ret, const char *format, ...)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_buf_ struct buf b = BUF_MAX(GIRDER_ANSWER_MAX);
	va_list ap;
	int r;

	va_start(ap, format);
	r = str_vfmt(&path, format, ap);
	va_end(ap);
	if (r < 0)
		return r;
	r = get(g, &b, path);
	if (r == 0)
		r = json_parse(buf_str(&b), b.len, ret);
	if (r == -EBADMSG)
		backend_note_fault(0, NULL, json_error(), path);
	return r;
}

/* ---- open ---- */

struct finding {
	struct http *http;
	unsigned timeout_ms;
	char *words;                    /* the wire's, when it fails */
};

/* Is there a Girder at this API? */
static int is_girder(void *arg, const char *api)
{
	struct finding *f = arg;
	_cleanup_free_ char *url = NULL;
	_cleanup_(json_freep) struct json *j = NULL;
	struct http_request q = {.priority = HTTP_META, .deadline_ms = f->timeout_ms, .max_body = 65536, .first_contact = true};
	struct http_reply reply;
	int r = str_fmt(&url, "%s/system/version", api);

	if (r < 0)
		return r;
	q.url = url;
	r = http_call(f->http, &q, &reply);
	if (r < 0 && (!reply.status || reply.status >= 500))
		(void)str_dup(reply.message, &f->words);        /* nobody there, or a proxy without a server */
	else if (r < 0)
		r = 0;          /* an answer, but not Girder's */
	else
		r = json_parse(buf_str(&reply.body), reply.body.len, &j) == 0 &&
		    (json_get(j, "release") || json_get(j, "apiVersion"));
	http_reply_done(&reply);
	return r;
}

static int find_api(struct finding *f, const char *url, const char *path, const char *given, char **ret_api, size_t *ret_used)
{
	/* Most sites have it at the top and most subtrees begin so: one request. */
	bool top = !strstr(path, "/api/v1") && (str_starts(path, "/collection") || str_starts(path, "/user"));

	return backend_find_api(url, top && !given ? "" : path, given, is_girder, f, ret_api, ret_used);
}

static int girder_probe(struct http *http, const char *url, const char *path)
{
	struct finding f = {.http = http, .timeout_ms = 10000};
	_cleanup_free_ char *api = NULL;
	size_t used;
	int r = find_api(&f, url, path, NULL, &api, &used);

	if (r < 0)
		backend_note_fault(0, NULL, f.words, url);
	free(f.words);
	return r;
}

static int set_items(struct girder *g, const struct login *who)
{
	static const char *const names[] = {"auto", "dir", "file", "assume-single"};
	const char *v = who->option ? who->option(who->config, "items") : NULL;

	for (int i = 0; v && i < 4; i++)
		if (strcmp(v, names[i]) == 0)
			g->items = (enum items)i;
	return str_fmt(&g->session.view, "items=%s", names[g->items]);
}

static int describe(struct girder *g, const char *source_api)
{
	_cleanup_buf_ struct buf b = BUF_MAX(65536), version = BUF_MAX(65536);
	int r = girder_get(g, &version, "system/version");

	if (r == 0)
		r = buf_adds(&b, "{\"kind\": \"girder\", \"api\": ");
	if (r == 0)
		r = json_write_str(&b, source_api);
	if (r == 0)
		r = buf_addf(&b, ", \"identity\": \"%s\", \"version\": %s}\n", g->session.identity, buf_str(&version));
	if (r == 0)
		g->session.server_json = buf_take(&b);
	return r;
}

static int set_api(struct girder *g)
{
	_cleanup_free_ char *probe = NULL;
	int r = str_fmt(&probe, "%s/system/version", g->api);

	if (r == 0)
		r = http_set_probe(g->session.http, probe);
	if (r == 0)
		r = str_fmt(&g->web, "%.*s", (int)(strlen(g->api) - strlen("/api/v1")), g->api);
	return r;
}

/* No two mounts, or runs of one, name a folder of theirs alike. */
static int name_own(struct girder *g)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	snprintf(g->own_names, sizeof(g->own_names), ".scifs-%016llx-", (unsigned long long)random);
	return 0;
}

static int girder_open(const struct login *who, struct http *http, struct session **ret, char **why)
{
	struct girder *g = calloc(1, sizeof(*g));
	struct finding f = {.http = http};
	_cleanup_free_ char *subtree = NULL;
	_cleanup_(json_freep) struct json *kept = NULL;
	size_t used = 0;
	unsigned timeout_ms;
	int r;

	if (!g)
		return -ENOMEM;
	pthread_mutex_init(&g->lock, NULL);
	pthread_mutex_init(&g->hold_lock, NULL);
	pthread_cond_init(&g->hold_moved, NULL);
	r = name_own(g);
	girder_wholes_init(g);
	g->session.backend = &backend_girder;
	g->session.policy = backend_girder.policy;
	backend_override(&g->session.policy, who->override);
	timeout_ms = g->session.policy.timeout_ms;
	if (who->patience_ms && who->patience_ms < timeout_ms)
		g->session.policy.timeout_ms = who->patience_ms;
	g->session.http = http;
	g->token = secret_ref(who->token);
	g->api_key = secret_ref(who->api_key);
	g->password = secret_ref(who->password);
	if (r == 0)
		r = http_origin(who->url, &g->session.origin);
	if (r == 0)
		r = str_dup(who->user, &g->user);
	if (r == 0)
		r = set_items(g, who);
	if (r == 0 && who->kept) {
		r = backend_read_kept(&g->session, who->kept, &g->api, &g->root, &kept);
		g->unverified = true;
		if (r == 0)
			r = set_api(g);
		goto end;
	}
	if (r == 0) {
		f.timeout_ms = g->session.policy.timeout_ms;
		r = find_api(&f, who->url, who->path, who->api, &g->api, &used);
		if (r == 0) {
			(void)str_fmt(why, "%s: no Girder answers there (its API would be at %s/api/v1; -o api=PATH says where it is)",
			              who->url, who->url);
			r = -EPROTO;
		} else if (r < 0 && !*why) {
			backend_unreachable(who->url, r, f.words, why);
		} else {
			r = 0;
		}
	}
	if (r == 0)
		r = set_api(g);
	if (r == 0 && !g->token) {
		r = login(g);
		if (r == -ENOKEY)
			r = 0;          /* anonymous */
		else if (r == -EACCES)
			(void)str_fmt(why, "%s: the login was refused: %s", who->url,
			              g->api_key ? "the API key is wrong or disabled" :
			              "the name or the password is wrong (an account with a second factor needs an API key)");
		else if (r < 0)
			(void)str_fmt(why, "%s: cannot log in: %s", who->url, strerror(-r));
	}
	if (r == 0) {
		r = who_am_i(g, &g->session.identity);
		if (r == 0 && who->token && strcmp(g->session.identity, "anonymous") == 0) {
			(void)str_fmt(why, "%s: the token is unknown or has expired", who->url);
			r = -EACCES;
		} else if (r < 0) {
			(void)str_fmt(why, "%s: cannot log in: %s", who->url, strerror(-r));
		}
	}
	if (r == 0)
		r = describe(g, g->api);
	if (r == 0) {
		const char *path = who->path + used;

		while (*path == '/')
			path++;
		if (str_percent_decode(path, &subtree) < 0)
			r = str_dup(path, &subtree);
		if (r == 0)
			r = girder_resolve(g, subtree, &g->root);
		if (r < 0)
			(void)str_fmt(why, "%s: there is no /%s%s", who->url, subtree ? subtree : "",
			              strcmp(g->session.identity, "anonymous") == 0 ? " for somebody who is not logged in" : " that you may read");
	}
	if (r == 0)
		r = backend_write_kept(&g->session, g->api, "", &g->root);
end:
	free(f.words);
	if (r < 0) {
		girder_close(&g->session);
		return r;
	}
	g->session.policy.timeout_ms = timeout_ms;
	*ret = &g->session;
	return 0;
}

static void girder_close(struct session *s)
{
	struct girder *g = girder_of(s);

	girder_wholes_done(g);
	object_done(&g->root);
	secret_unref(g->token);
	secret_unref(g->api_key);
	secret_unref(g->password);
	free(g->user);
	free(g->api);
	free(g->web);
	free(g->session.origin);
	free(g->session.identity);
	free(g->session.view);
	free(g->session.kept);
	free(g->session.server_json);
	vec_done(&g->held);
	pthread_cond_destroy(&g->hold_moved);
	pthread_mutex_destroy(&g->hold_lock);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static int girder_root(struct session *s, struct object *ret)
{
	return object_copy(&girder_of(s)->root, ret);
}

static int girder_work(struct session *s, unsigned *ret_next_s)
{
	struct girder *g = girder_of(s);
	time_t in;
	int r;

	girder_wholes_tidy(g);
	WITH_LOCK(&g->lock) {
		in = g->renew_at - clock_wall().tv_sec;
		*ret_next_s = g->unverified ? 5 : g->renew_at && in > 0 && in < CHECK_LOGIN_S ? (unsigned)in + 1 : CHECK_LOGIN_S;
	}
	r = verify(g);
	if (r < 0)
		return r;
	renew_when_due(g);
	r = girder_login_ended(g, 0);
	return r < 0 ? r : 0;
}

static int girder_url(const struct session *s, const struct object *o, char **ret)
{
	const struct girder *g = (const struct girder *)s;

	if (girder_is(o->id, "file"))
		return str_fmt(ret, "%s/%s/download", g->api, o->id);
	if (girder_is(o->id, "item-dir") || girder_is(o->id, "items"))
		return str_fmt(ret, "%s/#%s/%s", g->web, girder_is(o->id, "items") ? "folder" : "item", girder_id(o->id));
	if (!strchr(o->id, '/'))
		return str_fmt(ret, "%s/#%s", g->web, strcmp(o->id, "root") == 0 ? "" : o->id);
	return str_fmt(ret, "%s/#%s", g->web, o->id);
}

static const struct option options[] = {
	{"items", OPTION_CHOICE, "auto", "auto|dir|file|assume-single",
	 "how an item is shown: as a file when it holds one of its own name, always as a directory, always as a file, or as a file until it is opened"},
	{NULL},
};

static const struct backend_control controls[] = {
	{"items", CONTROL_TREE, false},
	{"rest", CONTROL_CALL, true},
	{NULL},
};

const struct backend backend_girder = {
	.scheme = "girder",
	.can = CAN_RANGE | CAN_SEARCH | CAN_BYID | CAN_WRITE,
	.policy = {
		.fetch_min = 64u << 10,
		.fetch_long = 16u << 20,
		.whole_below = 1u << 20,
		.streams_file = 2,
		.streams_host = 8,
		.pause_safe = true,
		.stat_parallel = 8,
		.attr_ttl_ms = 5000,
		.list_ttl_ms = 30000,
		.timeout_ms = 60000,
		.upload_chunk = 64u << 20,
		.upload_parallel = 8,
	},
	.options = options,
	.open = girder_open,
	.close = girder_close,
	.probe = girder_probe,
	.root = girder_root,
	.lookup = girder_lookup,
	.list = girder_list,
	.stat = girder_stat,
	.changed = girder_changed,
	.prepare_read = girder_prepare_read,
	.get_doc = girder_get_doc,
	.attrs = girder_attrs,
	.query = girder_query,
	.check_query = girder_check_query,
	.locate = girder_locate,
	.url = girder_url,
	.work = girder_work,
	.plan_create = girder_plan_create,
	.lane = girder_lane,
	.upload = girder_upload,
	.upload_drop = girder_upload_drop,
	.mkdir = girder_mkdir,
	.symlink = girder_symlink,
	.remove = girder_remove,
	.remove_all = girder_remove_all,
	.rename = girder_rename,
	.copy = girder_copy,
	.set_attrs = girder_set_attrs,
	.check_attr = girder_check_attr,
	.set_doc = girder_set_doc,
	.mtime_attr = "girder.meta." GIRDER_MTIME_KEY,
	.controls = controls,
	.control_object = girder_control_object,
	.control_call = girder_control_call,
};
