/* engine.c - the one thread that turns curl_multi.
 *
 * A transfer is queued -> running -> (sleeping -> running)* -> done. Other threads only append to the inbox and set flags
 * (cancelled, resumed, hurried), then wake the engine; everything else in a transfer belongs to the engine thread. Callbacks
 * run here without locks.
 *
 * A host is silent when several requests in a row got no answer at all. New requests for it fail at once; those that were
 * under way keep their deadlines and go on at once when the probe, asked in the background, is answered.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "http/private.h"

#define ENGINE_TICK_MS 250

struct redirect {
	char *target;
	uint64_t until;
};

struct http {
	struct http_config config;
	char *ca_file, *proxy, *user_agent;
	CURLM *multi;
	pthread_t thread;
	pthread_mutex_t lock;           /* guards inbox, stopping, hosts (the map and `silent`, `probe_url`), stats */
	struct list inbox;
	unsigned queued;
	bool stopping;
	struct map *hosts;              /* origin -> struct host, never removed; bounded by the origins that exist in data */
	void (*changed)(void *arg, const char *origin, bool silent);
	void *changed_arg;
	struct http_stats stats;

	/* the engine's own */
	struct list all;
	struct map *redirects;          /* url -> struct redirect */
	uint64_t random;

	pthread_mutex_t call_lock;
	pthread_cond_t call_cond;
};

static __thread const int *thread_cancelled;

void http_set_cancel(const int *cancelled)
{
	thread_cancelled = cancelled;
}

/* ---- small things ---- */

static unsigned dice(struct http *h)
{
	h->random = h->random * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(h->random >> 33) & 1023;
}

int http_origin(const char *url, char **ret)
{
	char *scheme = NULL, *host = NULL, *port = NULL;
	CURLU *u = curl_url();
	bool standard;
	int r = -EINVAL;

	if (!u)
		return -ENOMEM;
	if (curl_url_set(u, CURLUPART_URL, url, CURLU_URLENCODE) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
	    (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0)) {
		for (char *p = host; *p; p++)
			if (*p >= 'A' && *p <= 'Z')
				*p += 32;
		standard = strcmp(port, strcasecmp(scheme, "http") == 0 ? "80" : "443") == 0;
		r = str_fmt(ret, "%s://%s%s%s", strcasecmp(scheme, "http") == 0 ? "http" : "https", host, standard ? "" : ":",
		            standard ? "" : port);
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(u);
	return r;
}

/* Where a Location leads from here, with blanks and the like escaped; http and https only. */
static int resolve(const char *base, const char *location, char **ret)
{
	CURLU *u = curl_url();
	char *url = NULL;
	int r = -EPROTO;

	if (!u)
		return -ENOMEM;
	if (curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_URL, location, CURLU_URLENCODE) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK &&
	    (strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0))
		r = str_dup(url, ret);
	curl_free(url);
	curl_url_cleanup(u);
	return r;
}

static void transfer_free(struct http_transfer *t)
{
	if (!t)
		return;
	request_drop_easy(t);
	free(t->method);
	free(t->url);
	free(t->at);
	free(t->auth_header);
	free(t->auth_prefix);
	free(t->content_type);
	for (size_t i = 0; t->headers && t->headers[i]; i++)
		free(t->headers[i]);
	free(t->headers);
	secret_unref(t->auth);
	http_reply_done(&t->reply);
	free(t);
}
DEFINE_CLEANUP(struct http_transfer *, transfer_free)

static int copy_headers(const char *const *from, char ***ret)
{
	size_t n = 0;
	char **list;

	while (from && from[n])
		n++;
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	*ret = list;
	for (size_t i = 0; i < n; i++)
		if (!(list[i] = strdup(from[i])))
			return -ENOMEM;
	return 0;
}

void http_reply_init(struct http_reply *r)
{
	memset(r, 0, sizeof(*r));
}

void http_reply_done(struct http_reply *r)
{
	buf_done(&r->body);
	buf_done(&r->headers);
	free(r->url);
	http_reply_init(r);
}

int http_header(const struct http_reply *r, const char *name, char *ret, size_t room)
{
	size_t n = strlen(name);

	for (const char *line = buf_str(&r->headers); *line; ) {
		size_t len = strcspn(line, "\n");

		if (len > n && line[n] == ':' && strncasecmp(line, name, n) == 0) {
			const char *v = line + n + 1;
			size_t l;

			while (*v == ' ' || *v == '\t')
				v++;
			l = (size_t)(line + len - v);
			while (l && (v[l - 1] == ' ' || v[l - 1] == '\r' || v[l - 1] == '\t'))
				l--;
			if (l >= room)
				return -EMSGSIZE;
			memcpy(ret, v, l);
			ret[l] = 0;
			return 0;
		}
		line += len + (line[len] == '\n');
	}
	return -ENOENT;
}

/* ---- hosts ---- */

static struct host *host_of_locked(struct http *h, const char *origin)
{
	struct host *o = map_get(h->hosts, origin);

	if (o)
		return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->origin = strdup(origin);
	if (!o->origin || map_set(h->hosts, origin, o) < 0) {
		free(o->origin);
		free(o);
		return NULL;
	}
	return o;
}

static void host_silence(struct http *h, struct host *o, bool silent)
{
	void (*changed)(void *arg, const char *origin, bool silent);
	void *changed_arg;
	bool moved;

	pthread_mutex_lock(&h->lock);
	changed = h->changed;
	changed_arg = h->changed_arg;
	moved = o->silent != silent;
	o->silent = silent;
	pthread_mutex_unlock(&h->lock);
	if (!moved)
		return;
	if (silent) {
		o->probe_at = clock_mono_ms() + h->config.probe_ms;
		log_warn("%s does not answer: calls fail at once until it does", o->origin);
	} else {
		log_info("%s answers again", o->origin);
	}
	if (changed)
		changed(changed_arg, o->origin, silent);
}

static void host_answered(struct http *h, struct host *o)
{
	o->failures = 0;
	if (!o->silent)
		return;
	host_silence(h, o, false);
	/* Everything that waits goes at once, without the rest of its delay. */
	struct http_transfer *t;

	list_for_each_safe(t, &h->all, struct http_transfer, link)
		if (t->host == o && t->state == T_SLEEPING)
			t->wake_at = 0;
}

static void host_failed(struct http *h, struct host *o)
{
	if (++o->failures >= h->config.breaker_failures)
		host_silence(h, o, true);
}

/* ---- curl's callbacks: engine thread ---- */

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct http_transfer *t = arg;
	size_t len = size * n;

	/* Each status line begins the headers of another answer (100 Continue, a proxy's). */
	if (len >= 5 && memcmp(p, "HTTP/", 5) == 0)
		buf_clear(&t->reply.headers);
	while (len && (p[len - 1] == '\n' || p[len - 1] == '\r'))
		len--;
	if (len && (buf_add(&t->reply.headers, p, len) < 0 || buf_addc(&t->reply.headers, '\n') < 0)) {
		t->stop = -EMSGSIZE;
		snprintf(t->reply.message, sizeof(t->reply.message), "the headers of the answer are too long");
		return 0;
	}
	return size * n;
}

static void fault(struct http_transfer *t, int err, bool retryable, const char *message)
{
	t->stop = err;
	t->retryable = retryable;
	snprintf(t->reply.message, sizeof(t->reply.message), "%s", message);
}

static bool is_redirect(const struct http_transfer *t)
{
	int s = t->reply.status;

	return (s == 301 || s == 302 || s == 303 || s == 307 || s == 308) &&
	       (strcmp(t->method, "GET") == 0 || strcmp(t->method, "HEAD") == 0);
}

/* Look at the head of an answer once: is its body what was asked for? 0, or a fault was noted. */
static int judge(struct http_transfer *t)
{
	long status = 0;
	curl_off_t length = -1;
	char value[200];
	uint64_t first, last, total, want = t->first + t->done_bytes;

	if (t->judged)
		return t->stop;
	t->judged = true;
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	t->reply.status = (int)status;
	if (status != 200 && status != 206 && !(status >= 200 && status < 300 && !t->has_range))
		return 0;
	t->wanted = true;
	if (!t->has_range) {
		if (status == 206) {
			fault(t, -EPROTO, false, "a part was sent where the whole was asked for");
		} else if (t->expect_length && t->total != UINT64_MAX && length >= 0 && (uint64_t)length != t->total) {
			fault(t, -ESTALE, false, "the length of the content is not what it was");
		}
		t->skip = t->done_bytes;
		return t->stop;
	}
	if (status == 206) {
		if (http_header(&t->reply, "Content-Range", value, sizeof(value)) < 0 ||
		    range_parse_content(value, &first, &last, &total) < 0) {
			fault(t, -EPROTO, false, "a part was sent without a Content-Range that can be read");
		} else if (t->total != UINT64_MAX && total != UINT64_MAX && total != t->total) {
			fault(t, -ESTALE, false, "the length of the content is not what it was");
		} else if (first != want) {
			fault(t, -EPROTO, false, "another part was sent than the one asked for");
		}
		t->skip = 0;
		return t->stop;
	}
	if (t->total != UINT64_MAX && length >= 0 && (uint64_t)length != t->total)
		fault(t, -ESTALE, false, "the length of the content is not what it was");
	if (t->stop == 0 && want > HTTP_SKIP_MAX)
		fault(t, -EPROTO, false, "the server sends no parts of its content, and this part lies too far in");
	t->skip = want;         /* a server without ranges: the whole comes, the part is cut out of it */
	return t->stop;
}

static size_t take_wanted(struct http_transfer *t, const char *p, size_t len)
{
	uint64_t left = t->has_range ? t->last - t->first + 1 - t->done_bytes : UINT64_MAX;
	size_t skip = t->skip < len ? (size_t)t->skip : len, n = len - skip;
	int r = 0;

	if (!t->has_range && t->expect_length && t->total != UINT64_MAX)
		left = t->total - t->done_bytes;
	if (n > left)
		n = (size_t)left;
	if (n) {
		if (t->on_data)
			r = t->on_data(t->arg, p + skip, n);
		else if (n > t->max_body - t->reply.body.len)
			r = -EMSGSIZE;
		else
			r = buf_add(&t->reply.body, p + skip, n);
	}
	if (r == HTTP_PAUSE) {
		t->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (r < 0) {
		fault(t, r, false, r == -EMSGSIZE ? "the answer is longer than expected" : "the reader gave up");
		return 0;
	}
	t->skip -= skip;
	t->done_bytes += n;
	if (n == left && len - skip > n) {
		if (!t->has_range) {
			fault(t, -EPROTO, false, "the content is longer than announced");
			return 0;
		}
		t->complete = true;     /* all that was wanted is here; what follows is not read */
		return 0;
	}
	return len;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct http_transfer *t = arg;
	size_t len = size * n;

	if (judge(t) < 0)
		return 0;
	if (t->wanted) {
		size_t took = take_wanted(t, p, len);

		if (took != CURL_WRITEFUNC_PAUSE)       /* the same bytes come again */
			t->attempt_bytes += len;
		return took;
	}
	t->attempt_bytes += len;
	/* An error's page, kept for its words up to the buffer's maximum; the rest is read and dropped. */
	size_t room = HTTP_ERROR_BODY_MAX - t->reply.body.len;

	(void)buf_add(&t->reply.body, p, len < room ? len : room);
	return len;
}

/* ---- an attempt's beginning and end ---- */

static void finish(struct http *h, struct http_transfer *t, int err)
{
	list_remove(&t->link);
	WITH_LOCK(&h->lock) {
		h->queued--;
		if (err < 0)
			h->stats.failures++;
	}
	if (err < 0 && !t->reply.message[0])
		snprintf(t->reply.message, sizeof(t->reply.message), "%s", strerror(-err));
	if (t->reply.status && err < 0 && !strstr(t->reply.message, "HTTP"))
		snprintf(t->reply.message + strlen(t->reply.message), sizeof(t->reply.message) - strlen(t->reply.message),
		         " (HTTP %d)", t->reply.status);
	free(t->reply.url);
	t->reply.url = t->at ? strdup(t->at) : NULL;
	if (t->on_done)
		t->on_done(t->done_arg, err, &t->reply);
	transfer_free(t);
}

static int start(struct http *h, struct http_transfer *t)
{
	struct redirect *known;
	uint64_t now = clock_mono_ms();
	int r;

	if (!t->at) {
		known = t->cache_redirect && !t->dropped_cached ? map_get(h->redirects, t->url) : NULL;
		t->at_cached = known && known->until > now;
		t->at = strdup(t->at_cached ? known->target : t->url);
		if (!t->at)
			return -ENOMEM;
	}
	buf_done(&t->reply.body);
	buf_done(&t->reply.headers);
	buf_init(&t->reply.headers, HTTP_HEADERS_MAX);
	buf_init(&t->reply.body, t->max_body > HTTP_ERROR_BODY_MAX ? t->max_body : HTTP_ERROR_BODY_MAX);
	t->reply.status = 0;
	t->reply.message[0] = 0;
	t->judged = t->wanted = t->complete = t->paused = false;
	t->stop = 0;
	t->skip = 0;
	if (!t->on_data)
		t->done_bytes = 0;
	r = request_make_easy(t, &h->config, h->user_agent);
	if (r < 0)
		return r;
	curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	if (curl_multi_add_handle(h->multi, t->easy) != CURLM_OK) {
		request_drop_easy(t);
		return -ENOMEM;
	}
	t->reply.attempts++;
	t->state = T_RUNNING;
	t->host->running++;
	t->attempt_at = t->mark_at = now;
	t->mark_bytes = t->attempt_bytes = 0;
	return 0;
}

static void stop_easy(struct http *h, struct http_transfer *t)
{
	curl_multi_remove_handle(h->multi, t->easy);
	request_drop_easy(t);
	t->host->running--;
}

static void remember_redirect(struct http *h, const char *url, const char *target)
{
	struct redirect *r = map_get(h->redirects, url);
	char *copy = strdup(target);

	if (!r && map_count(h->redirects) < HTTP_REDIRECTS_MAX) {
		r = calloc(1, sizeof(*r));
		if (r && map_set(h->redirects, url, r) < 0) {
			free(r);
			r = NULL;
		}
	}
	if (!r || !copy) {
		free(copy);
		return;
	}
	free(r->target);
	r->target = copy;
	r->until = clock_mono_ms() + HTTP_REDIRECT_KEEP_MS;
}

/* 1: another hop was set up and waits for its turn. 0 or -errno: this is the answer. */
static int follow(struct http *h, struct http_transfer *t)
{
	char location[8192], *target, *origin;
	struct host *o;
	int r;

	if (t->probe || !is_redirect(t) || http_header(&t->reply, "Location", location, sizeof(location)) < 0)
		return 0;
	if (++t->hops > HTTP_HOPS_MAX) {
		fault(t, -ELOOP, false, "too many redirects");
		return -ELOOP;
	}
	r = resolve(t->at, location, &target);
	if (r < 0) {
		fault(t, r, false, "a redirect to something that is not http");
		return r;
	}
	r = http_origin(target, &origin);
	if (r < 0) {
		free(target);
		return r;
	}
	WITH_LOCK(&h->lock)
		o = host_of_locked(h, origin);
	free(origin);
	if (!o) {
		free(target);
		return -ENOMEM;
	}
	if (t->cache_redirect && t->hops == 1)
		remember_redirect(h, t->url, target);
	free(t->at);
	t->at = target;
	t->host = o;
	t->state = T_QUEUED;
	return 1;
}

static void sleep_until(struct http_transfer *t, uint64_t at)
{
	t->state = T_SLEEPING;
	t->wake_at = at;
}

static struct host *home(struct http *h, struct http_transfer *t)
{
	_cleanup_free_ char *origin = NULL;
	struct host *o = NULL;

	if (http_origin(t->url, &origin) < 0)
		return t->host;
	WITH_LOCK(&h->lock)
		o = host_of_locked(h, origin);
	return o ? o : t->host;
}

/* After an attempt: the answer, or one more. */
static void settle(struct http *h, struct http_transfer *t, int err, bool sent)
{
	struct retry_in in = {.err = err, .status = t->reply.status, .retryable = t->retryable, .sent = sent,
	                      .attempt = t->reply.attempts, .retry_after_ms = -1, .throttles = t->host->throttles,
	                      .random = dice(h)};
	struct retry_out out;
	uint64_t now = clock_mono_ms();
	char value[100];

	trace_attempt(t, err);
	if (t->reply.status || t->attempt_bytes)
		host_answered(h, t->host);
	else if (err < 0 && err != -ECANCELED && t->retryable)
		host_failed(h, t->host);
	if (err == 0) {
		t->host->throttles = 0;
		finish(h, t, 0);
		return;
	}
	/* A remembered redirect whose target is gone or forbidden: ask the first address once more. */
	if (t->at_cached && (t->reply.status == 403 || t->reply.status == 404 || t->reply.status == 410)) {
		t->dropped_cached = true;
		t->at_cached = false;
		free(t->at);
		t->at = NULL;
		t->hops = 0;
		t->host = home(h, t);
		t->state = T_QUEUED;
		return;
	}
	if (t->attempt_bytes && t->on_data)
		t->deadline_at = now + t->deadline_ms;  /* a stream that moves is not late */
	in.excused_ms = t->excused_ms;
	in.left_ms = t->deadline_at > now ? t->deadline_at - now : 0;
	in.idempotent = t->idempotent || strcmp(t->method, "GET") == 0 || strcmp(t->method, "HEAD") == 0;
	if (http_header(&t->reply, "Retry-After", value, sizeof(value)) == 0)
		in.retry_after_ms = range_parse_retry_after(value, clock_wall().tv_sec);
	out = retry_decide(&in, &h->config);
	t->reply.in_doubt = out.in_doubt;
	if (!out.again || t->probe || err == -ECANCELED) {
		finish(h, t, err);
		return;
	}
	WITH_LOCK(&h->lock) {
		h->stats.repeats++;
		h->stats.throttled += out.throttle;
	}
	if (out.throttle) {
		t->host->throttles++;
		if (t->host->closed_until < now + out.delay_ms)
			t->host->closed_until = now + out.delay_ms;
		if (out.excused) {
			t->deadline_at += out.delay_ms;
			t->excused_ms += out.delay_ms;
		}
		log_info("%s asks for patience (HTTP %d): waiting %llu ms", t->host->origin, t->reply.status,
		         (unsigned long long)out.delay_ms);
	}
	free(t->at);            /* a redirect may lead elsewhere next time */
	t->at = NULL;
	t->hops = 0;
	t->host = home(h, t);
	sleep_until(t, now + out.delay_ms);
}

static bool short_body(const struct http_transfer *t)
{
	if (strcmp(t->method, "HEAD") == 0)
		return false;
	if (t->reply.status == 206 || (t->reply.status == 200 && t->has_range))
		return t->done_bytes < t->last - t->first + 1;
	return t->expect_length && t->total != UINT64_MAX && t->done_bytes < t->total;
}

/* RateLimit headers: nothing left means nobody may ask before the reset. */
static void heed_limits(struct http_transfer *t)
{
	char remaining[24], reset[24];
	uint64_t n, when;
	time_t now = clock_wall().tv_sec;

	if (http_header(&t->reply, "X-RateLimit-Remaining", remaining, sizeof(remaining)) < 0 ||
	    http_header(&t->reply, "X-RateLimit-Reset", reset, sizeof(reset)) < 0 ||
	    str_parse_u64(remaining, &n) < 0 || str_parse_u64(reset, &when) < 0 || n > 0)
		return;
	if (when > (uint64_t)now)
		when -= (uint64_t)now;  /* a time of day; small numbers are seconds from now */
	if (when <= 900)
		t->host->closed_until = clock_mono_ms() + when * 1000;
}

static void ended(struct http *h, struct http_transfer *t, CURLcode rc)
{
	long sent_bytes = 0;
	bool sent, retryable = false;
	int err;

	curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &sent_bytes);
	sent = sent_bytes > 0;
	if (rc == CURLE_OK && t->stop == 0)
		(void)judge(t); /* an answer without a body */
	else if (!t->judged) {
		long status = 0;

		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
		t->reply.status = (int)status;
	}
	WITH_LOCK(&h->lock) {
		h->stats.bytes_in += t->attempt_bytes;
		h->stats.bytes_out += t->body_len;
		h->stats.running--;
	}
	stop_easy(h, t);
	if (t->stop) {
		err = t->stop;
	} else if (t->complete) {
		err = 0;
	} else if (rc != CURLE_OK) {
		err = http_curl_errno(rc, &retryable);
		t->retryable = retryable;
		/* What curl calls a cut body is not an answer, whatever its status was. */
		if (!t->reply.message[0])
			snprintf(t->reply.message, sizeof(t->reply.message), "%s", curl_easy_strerror(rc));
		if (t->reply.status >= 200 && t->reply.status < 300)
			t->reply.status = 0;
	} else {
		int r = follow(h, t);

		if (r == 1)
			return;
		t->retryable = false;
		err = r < 0 ? r : http_status_errno(t->reply.status);
		heed_limits(t);
		if (err == 0 && short_body(t)) {
			fault(t, -EIO, true, "the body is shorter than announced");
			err = t->stop;
			t->reply.status = 0;
		}
	}
	settle(h, t, err, sent);
}

/* ---- the turn ---- */

static unsigned connections_for(const struct http *h, enum http_priority p)
{
	unsigned n = h->config.connections_host;

	/* What nobody waits for leaves a connection free for a reader. */
	return p >= HTTP_PREFETCH && n > 1 ? n - 1 : n;
}

static void start_what_may(struct http *h)
{
	uint64_t now = clock_mono_ms();
	struct http_transfer *t;

	for (int p = HTTP_READ; p <= HTTP_UPLOAD; p++)
		list_for_each_safe(t, &h->all, struct http_transfer, link) {
			int r;

			if ((int)t->priority != p || t->state == T_RUNNING)
				continue;
			if (t->state == T_SLEEPING) {
				if (t->wake_at > now)
					continue;
				t->state = T_QUEUED;
			}
			if (!t->probe && t->host->closed_until > now) {
				/* Time in a stated pause is no fault of anybody. */
				uint64_t wait = t->host->closed_until - now;

				t->deadline_at += wait;
				sleep_until(t, t->host->closed_until);
				continue;
			}
			if (!t->probe && t->host->silent && t->reply.attempts == 0) {
				fault(t, -EHOSTDOWN, false, "the server does not answer");
				finish(h, t, -EHOSTDOWN);
				continue;
			}
			if (t->host->running >= connections_for(h, t->priority) && !t->probe)
				continue;
			r = start(h, t);
			if (r < 0) {
				finish(h, t, r);
				continue;
			}
			WITH_LOCK(&h->lock) {
				h->stats.requests++;
				h->stats.running++;
			}
		}
}

static void cut(struct http *h, struct http_transfer *t, int err, bool retryable, const char *message)
{
	fault(t, err, retryable, message);
	if (t->state != T_RUNNING) {
		finish(h, t, err);
		return;
	}
	WITH_LOCK(&h->lock)
		h->stats.running--;
	stop_easy(h, t);
	settle(h, t, err, true);
}

static void watch(struct http *h, struct http_transfer *t, uint64_t now)
{
	curl_off_t down = 0, up = 0;
	unsigned stall = h->config.stall_ms;
	uint64_t bytes;

	if (t->state != T_RUNNING) {
		if (now >= t->deadline_at)
			cut(h, t, -ETIMEDOUT, false, "no answer in time");
		return;
	}
	if (t->paused) {
		t->mark_at = now;
		return;
	}
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &up);
	bytes = (uint64_t)down + (uint64_t)up;
	if (t->slow_ms > stall && down == 0 && (uint64_t)up >= t->body_len)
		stall = t->slow_ms;     /* it has everything and is at work */
	if (t->probe)
		stall = h->config.stall_ms < HTTP_PROBE_TIMEOUT_MS ? h->config.stall_ms : HTTP_PROBE_TIMEOUT_MS;
	if (bytes - t->mark_bytes >= (uint64_t)HTTP_STALL_BYTES * stall / 1000) {
		t->mark_at = now;
		t->mark_bytes = bytes;
		if (t->on_data)
			t->deadline_at = now + t->deadline_ms;
	}
	if (now - t->mark_at >= stall)
		cut(h, t, -ETIMEDOUT, true, "the transfer stood still");
	else if (now >= t->deadline_at)
		cut(h, t, -ETIMEDOUT, true, "no answer in time");
}

static void heed_flags(struct http *h)
{
	uint64_t now = clock_mono_ms();
	struct http_transfer *t;

	list_for_each_safe(t, &h->all, struct http_transfer, link) {
		if (atomic_load(&t->cancelled)) {
			cut(h, t, -ECANCELED, false, "cancelled");
			continue;
		}
		if (atomic_exchange(&t->hurried, false))
			t->priority = HTTP_READ;
		if (atomic_exchange(&t->resumed, false) && t->paused && t->easy) {
			t->paused = false;
			t->mark_at = now;
			(void)curl_easy_pause(t->easy, CURLPAUSE_CONT);
		}
		watch(h, t, now);
	}
}

static void take_inbox(struct http *h)
{
	struct list taken;

	list_init(&taken);
	WITH_LOCK(&h->lock)
		while (!list_empty(&h->inbox)) {
			struct list *l = h->inbox.next;

			list_remove(l);
			list_append(&taken, l);
		}
	while (!list_empty(&taken)) {
		struct list *l = taken.next;

		list_remove(l);
		list_append(&h->all, l);
	}
}

static void probe_done(void *arg, int err, const struct http_reply *reply)
{
	struct host *o = arg;

	(void)err;              /* any answer at all was noted by settle() */
	(void)reply;
	o->probing = false;
}

static void probe_silent(struct http *h)
{
	struct map_iter it = {0};
	uint64_t now = clock_mono_ms();
	const char *origin;
	void *value;

	/* hosts grows under the lock only; values stay: collect first. */
	pthread_mutex_lock(&h->lock);
	while (map_next(h->hosts, &it, &origin, &value)) {
		struct host *o = value;
		struct http_transfer *t;

		if (!o->silent || o->probing || o->probe_at > now || h->stopping)
			continue;
		t = calloc(1, sizeof(*t));
		if (!t)
			break;
		t->method = strdup("GET");
		if (o->probe_url)
			t->url = strdup(o->probe_url);
		else if (str_fmt(&t->url, "%s/", o->origin) < 0)
			t->url = NULL;
		if (!t->method || !t->url) {
			transfer_free(t);
			break;
		}
		t->http = h;
		t->host = o;
		t->probe = true;
		t->max_body = HTTP_ERROR_BODY_MAX;
		t->priority = HTTP_META;
		t->deadline_at = now + HTTP_PROBE_TIMEOUT_MS;
		t->deadline_ms = HTTP_PROBE_TIMEOUT_MS;
		t->on_done = probe_done;
		t->done_arg = o;
		o->probing = true;
		o->probe_at = now + h->config.probe_ms + h->config.probe_ms * dice(h) / 4096;
		list_append(&h->all, &t->link);
		h->queued++;
	}
	pthread_mutex_unlock(&h->lock);
}

static int next_turn_ms(struct http *h)
{
	uint64_t now = clock_mono_ms(), at = now + ENGINE_TICK_MS;
	struct http_transfer *t;

	list_for_each_safe(t, &h->all, struct http_transfer, link)
		if (t->state == T_SLEEPING && t->wake_at < at)
			at = t->wake_at;
	return at > now ? (int)(at - now) : 0;
}

static void *engine(void *arg)
{
	struct http *h = arg;
	struct http_transfer *t;
	bool stopping = false;

	thread_block_signals();
	pthread_setname_np(pthread_self(), "scifs-engine");
	for (;;) {
		int running, left;
		CURLMsg *m;

		take_inbox(h);
		WITH_LOCK(&h->lock)
			stopping = h->stopping;
		if (stopping)
			break;
		heed_flags(h);
		probe_silent(h);
		start_what_may(h);
		curl_multi_perform(h->multi, &running);
		bool more = false;

		while ((m = curl_multi_info_read(h->multi, &left)))
			if (m->msg == CURLMSG_DONE) {
				CURLcode rc = m->data.result;

				curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
				ended(h, t, rc);
				more = true;
			}
		if (!more)
			curl_multi_poll(h->multi, NULL, 0, next_turn_ms(h), NULL);
	}
	take_inbox(h);
	list_for_each_safe(t, &h->all, struct http_transfer, link)
		cut(h, t, -ECANCELED, false, "the mount is ending");
	return NULL;
}

/* ---- the contract ---- */

static unsigned or_default(unsigned v, unsigned fallback)
{
	return v ? v : fallback;
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_new(const struct http_config *config, struct http **ret)
{
	struct http *h = calloc(1, sizeof(*h));
	struct http_config *c;
	pthread_condattr_t attr;

	pthread_once(&curl_once, curl_start);
	if (!h)
		return -ENOMEM;
	h->config = *config;
	c = &h->config;
	c->connect_ms = or_default(c->connect_ms, 5000);
	c->stall_ms = or_default(c->stall_ms, 20000);
	c->deadline_ms = or_default(c->deadline_ms, 60000);
	c->retry_ms = or_default(c->retry_ms, 250);
	c->throttle_ms = or_default(c->throttle_ms, 5000);
	c->throttle_max_ms = or_default(c->throttle_max_ms, 900000);
	c->probe_ms = or_default(c->probe_ms, 2000);
	c->breaker_failures = or_default(c->breaker_failures, 3);
	c->connections_host = or_default(c->connections_host, 8);
	h->random = clock_mono_ns() ^ (uint64_t)getpid() << 32;
	list_init(&h->inbox);
	list_init(&h->all);
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->call_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->call_cond, &attr);
	pthread_condattr_destroy(&attr);
	h->hosts = map_new();
	h->redirects = map_new();
	h->multi = curl_multi_init();
	if (!h->hosts || !h->redirects || !h->multi || str_dup(config->ca_file, &h->ca_file) < 0 ||
	    str_dup(config->proxy, &h->proxy) < 0 ||
	    str_fmt(&h->user_agent, "scifs/" SCIFS_VERSION " (libcurl/%s)", curl_version_info(CURLVERSION_NOW)->version) < 0) {
		http_free(h);
		return -ENOMEM;
	}
	c->ca_file = h->ca_file;
	c->proxy = h->proxy;
	curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, 64L);
	curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	if (pthread_create(&h->thread, NULL, engine, h) != 0) {
		h->thread = 0;
		http_free(h);
		return -EAGAIN;
	}
	*ret = h;
	return 0;
}

void http_free(struct http *h)
{
	struct map_iter it = {0};
	const char *key;
	void *value;

	if (!h)
		return;
	if (h->thread) {
		WITH_LOCK(&h->lock)
			h->stopping = true;
		curl_multi_wakeup(h->multi);
		pthread_join(h->thread, NULL);
	}
	while (map_next(h->hosts, &it, &key, &value)) {
		struct host *o = value;

		free(o->origin);
		free(o->probe_url);
		free(o);
	}
	it.at = 0;
	while (map_next(h->redirects, &it, &key, &value)) {
		struct redirect *r = value;

		free(r->target);
		free(r);
	}
	map_free(h->hosts);
	map_free(h->redirects);
	if (h->multi)
		curl_multi_cleanup(h->multi);
	pthread_cond_destroy(&h->call_cond);
	pthread_mutex_destroy(&h->call_lock);
	pthread_mutex_destroy(&h->lock);
	free(h->ca_file);
	free(h->proxy);
	free(h->user_agent);
	free(h);
}

static int submit(struct http *h, const struct http_request *q, void *done_arg, struct http_transfer **ret)
{
	_cleanup_(transfer_freep) struct http_transfer *t = calloc(1, sizeof(*t));
	_cleanup_free_ char *origin = NULL;
	int r;

	if (!t)
		return -ENOMEM;
	list_init(&t->link);
	r = http_origin(q->url, &origin);
	if (r < 0)
		return r;
	if (q->has_range && q->last < q->first)
		return -EINVAL;
	if (str_dup(q->method ? q->method : "GET", &t->method) < 0 || str_dup(q->url, &t->url) < 0 ||
	    str_dup(q->auth_header, &t->auth_header) < 0 || str_dup(q->auth_prefix, &t->auth_prefix) < 0 ||
	    str_dup(q->content_type, &t->content_type) < 0 || copy_headers(q->headers, &t->headers) < 0)
		return -ENOMEM;
	t->http = h;
	t->auth = secret_ref(q->auth);
	t->body = q->body;
	t->body_len = q->body ? q->body_len : 0;
	t->max_body = q->max_body ? q->max_body : HTTP_BODY_MAX;
	t->has_range = q->has_range;
	t->expect_length = q->expect_length;
	t->idempotent = q->idempotent;
	t->cache_redirect = q->cache_redirect;
	t->first = q->first;
	t->last = q->last;
	t->total = q->has_range || q->expect_length ? q->total : UINT64_MAX;
	t->priority = q->priority;
	t->deadline_ms = q->deadline_ms ? q->deadline_ms : h->config.deadline_ms;
	t->slow_ms = q->slow_ms;
	if (t->slow_ms > t->deadline_ms)
		t->deadline_ms = t->slow_ms;
	t->on_data = q->on_data;
	t->on_done = q->on_done;
	t->arg = q->arg;
	t->done_arg = done_arg;
	t->submitted_at = clock_mono_ms();
	t->deadline_at = t->submitted_at + t->deadline_ms;
	pthread_mutex_lock(&h->lock);
	if (h->stopping)
		r = -ESHUTDOWN;
	else if (h->queued >= HTTP_QUEUE_MAX)
		r = -EAGAIN;
	else if (!(t->host = host_of_locked(h, origin)))
		r = -ENOMEM;
	if (r == 0) {
		if (ret)
			*ret = t;
		list_append(&h->inbox, &TAKE(t)->link);
		h->queued++;
	}
	pthread_mutex_unlock(&h->lock);
	if (r == 0)
		curl_multi_wakeup(h->multi);
	return r;
}

int http_submit(struct http *h, const struct http_request *q, struct http_transfer **ret)
{
	return submit(h, q, q->arg, ret);
}

void http_cancel(struct http *h, struct http_transfer *t)
{
	atomic_store(&t->cancelled, true);
	curl_multi_wakeup(h->multi);
}

void http_resume(struct http *h, struct http_transfer *t)
{
	atomic_store(&t->resumed, true);
	curl_multi_wakeup(h->multi);
}

void http_hurry(struct http *h, struct http_transfer *t)
{
	atomic_store(&t->hurried, true);
	curl_multi_wakeup(h->multi);
}

struct call {
	struct http *h;
	bool done;
	int err;
	struct http_reply *reply;
};

static void call_done(void *arg, int err, const struct http_reply *reply)
{
	struct call *c = arg;

	WITH_LOCK(&c->h->call_lock) {
		/* The engine frees its reply after this: take what it owns. */
		struct http_reply *from = (struct http_reply *)reply;

		*c->reply = *from;
		memset(from, 0, sizeof(*from));
		c->err = err;
		c->done = true;
		pthread_cond_broadcast(&c->h->call_cond);
	}
}

int http_call(struct http *h, const struct http_request *request, struct http_reply *ret)
{
	struct http_request q = *request;
	struct call c = {.h = h, .reply = ret};
	const int *cancelled = request->cancelled ? request->cancelled : thread_cancelled;
	struct http_transfer *t;
	bool told = false;
	int r;

	http_reply_init(ret);
	q.on_done = call_done;
	if (!q.on_data && q.priority == HTTP_READ)
		q.priority = HTTP_META;
	r = submit(h, &q, &c, &t);
	if (r < 0) {
		snprintf(ret->message, sizeof(ret->message), "%s", strerror(-r));
		return r;
	}
	WITH_LOCK(&h->call_lock)
		while (!c.done) {
			if (cancelled && !told && __atomic_load_n(cancelled, __ATOMIC_RELAXED)) {
				http_cancel(h, t);      /* not done, so call_done() has not run, so t lives */
				told = true;
			}
			pthread_cond_wait(&h->call_cond, &h->call_lock);
		}
	return told && c.err == -ECANCELED ? -EINTR : c.err;
}

void http_wake(struct http *h)
{
	WITH_LOCK(&h->call_lock)
		pthread_cond_broadcast(&h->call_cond);
}

int http_set_probe(struct http *h, const char *url)
{
	_cleanup_free_ char *origin = NULL, *copy = strdup(url);
	int r = http_origin(url, &origin);

	if (r < 0 || !copy)
		return r < 0 ? r : -ENOMEM;
	WITH_LOCK(&h->lock) {
		struct host *o = host_of_locked(h, origin);

		if (o) {
			free(o->probe_url);
			o->probe_url = TAKE(copy);
		}
		r = o ? 0 : -ENOMEM;
	}
	return r;
}

bool http_host_silent(struct http *h, const char *url)
{
	_cleanup_free_ char *origin = NULL;
	bool silent = false;

	if (http_origin(url, &origin) < 0)
		return false;
	WITH_LOCK(&h->lock) {
		struct host *o = map_get(h->hosts, origin);

		silent = o && o->silent;
	}
	return silent;
}

void http_set_host_callback(struct http *h, void (*changed)(void *arg, const char *origin, bool silent), void *arg)
{
	WITH_LOCK(&h->lock) {
		h->changed = changed;
		h->changed_arg = arg;
	}
}

void http_get_stats(struct http *h, struct http_stats *ret)
{
	WITH_LOCK(&h->lock) {
		*ret = h->stats;
		ret->queued = h->queued - h->stats.running;
	}
}
