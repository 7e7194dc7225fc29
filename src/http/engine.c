/* engine.c - the one thread that turns curl_multi.
 *
 * A transfer is new -> queued -> running -> (sleeping -> queued -> running)* -> done; a redirect leads from running to queued
 * again, at another host. Other threads only add to the inbox and leave notes (cancel, resume, hurry), then wake the engine;
 * everything else in a transfer belongs to the engine thread. Callbacks run here without locks.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/thread.h"
#include "http/private.h"

#define WATCH_MS_MIN 10
#define WATCH_MS_MAX 250
#define IDLE_MS 60000
#define IDLE_CONNECTIONS 64L
#define PARK_JITTER 4           /* in milliseconds, 1024 / 4 at most */

DEFINE_CLEANUP(struct http_transfer *, transfer_free)

/* What callers hold is a number in a pointer's clothes, looked up when it comes back: one that ended names nothing. */
static struct http_transfer *handle_of(const struct http_transfer *t)
{
	return (struct http_transfer *)(uintptr_t)t->serial;
}

unsigned engine_dice(struct http *h)
{
	h->random = h->random * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(h->random >> 33) & 1023;
}

static void count(_Atomic uint64_t *n)
{
	atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
}

/* ---- a transfer's way ---- */

void engine_finish(struct http *h, struct http_transfer *t, int err)
{
	struct http_reply *r = &t->reply;
	size_t n;

	WITH_LOCK(&h->lock) {
		map64_remove(h->live, t->serial);
		list_remove(&t->noted);
	}
	if (err < 0) {
		count(&h->counters.failures);
		n = strlen(r->message);
		if (r->status)
			snprintf(r->message + n, sizeof(r->message) - n, n ? " (HTTP %d)" : "HTTP %d", r->status);
		else if (!n)
			snprintf(r->message, sizeof(r->message), "%s", strerror(-err));
	}
	free(r->url);
	r->url = TAKE(t->at);
	if (t->on_done)
		t->on_done(t->done_arg, err, r);
	host_unref(h, t->host);
	host_unref(h, t->home);
	transfer_free(t);
}

/* From now on it goes to this URL. 0, -ENOMEM, -EAGAIN (too many hosts). */
static int go_to(struct http *h, struct http_transfer *t, const char *url)
{
	_cleanup_free_ char *origin = NULL, *at = NULL;
	struct host *o = NULL;
	int r = http_origin(url, &origin);

	if (r == 0)
		r = str_dup(url, &at);
	if (r < 0)
		return r;
	WITH_LOCK(&h->lock)
		o = host_ref_locked(h, origin);
	if (!o)
		return -EAGAIN;
	host_unref(h, t->host);
	t->host = o;
	free(t->at);
	t->at = TAKE(at);
	return 0;
}

/* To its first address, or to where that led a moment ago. */
static int aim(struct http *h, struct http_transfer *t)
{
	const char *known = t->cache_redirect && !t->dropped_cached ? redirect_known(h, t->url) : NULL;

	t->hops = 0;
	t->at_cached = known && go_to(h, t, known) == 0;
	return t->at_cached ? 0 : go_to(h, t, t->url);
}

static int begin(struct http *h, struct http_transfer *t)
{
	uint64_t now = clock_mono_ms();
	int r;

	if (!t->on_data)
		t->done_bytes = 0;
	r = request_make_easy(t, &h->config, h->user_agent);
	if (r < 0)
		return r;
	answer_attach(t);
	if (curl_multi_add_handle(h->multi, t->easy) != CURLM_OK) {
		request_drop_easy(t);
		return -ENOMEM;
	}
	/* Waiting for a place that readers have is no fault of the server's. */
	if (t->priority >= HTTP_PREFETCH)
		t->deadline_at += now - t->queued_at;
	t->reply.attempts++;
	t->state = T_RUNNING;
	list_append(&h->running, &t->link);
	t->host->running++;
	t->attempt_at = t->mark_at = now;
	t->sent_at = t->mark_bytes = t->attempt_bytes = 0;
	count(&h->counters.requests);
	atomic_fetch_add(&h->counters.running, 1);
	return 0;
}

/* Take it off the wire. Was anything of it sent? */
static bool stop(struct http *h, struct http_transfer *t)
{
	curl_off_t up = 0;
	long sent = 0;

	curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &sent);
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &up);
	/* When curl wanted to send it a second time, what it says of the first is gone. */
	t->reply.sent_whole = sent > 0 && (t->body_fd >= 0 ? t->body_most >= t->body_len : t->sent_times > 1 || (uint64_t)up >= t->body_len);
	if (!t->judged && t->answered) {
		long status = 0;

		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
		t->reply.status = (int)status;
	}
	curl_multi_remove_handle(h->multi, t->easy);
	request_drop_easy(t);
	list_remove(&t->link);
	t->host->running--;
	t->host->paused -= t->paused;
	t->paused = false;
	atomic_fetch_sub(&h->counters.running, 1);
	atomic_fetch_add_explicit(&h->counters.bytes_out, (uint64_t)up, memory_order_relaxed);
	return sent > 0;
}

/* 1: it goes on, to where the answer points. 0: the answer is the answer. -errno: so bad a redirect is none. */
static int follow(struct http *h, struct http_transfer *t)
{
	_cleanup_free_ char *target = NULL;
	char location[HTTP_LOCATION_MAX];
	int s = t->reply.status, r;

	if (t->probe || (s != 301 && s != 302 && s != 303 && s != 307 && s != 308))
		return 0;
	/* What changes something is not sent on to an address that somebody else chose. */
	if (!transfer_is(t, "GET") && !transfer_is(t, "HEAD")) {
		transfer_fault(t, -EPROTO, false, "the server sends this request to another address");
		return t->stop;
	}
	if (http_header(&t->reply, "Location", location, sizeof(location)) < 0) {
		transfer_fault(t, -EPROTO, false, "a redirect without a Location that can be read");
		return t->stop;
	}
	if (++t->hops > HTTP_HOPS_MAX) {
		transfer_fault(t, -ELOOP, false, "too many redirects");
		return t->stop;
	}
	r = url_resolve(t->at, location, &target);
	if (r < 0) {
		transfer_fault(t, r, false, "a redirect to something that is not http");
		return r;
	}
	if (t->cache_redirect && t->hops == 1 && !t->at_cached)
		redirect_remember(h, t->url, target);
	r = go_to(h, t, target);
	if (r < 0)
		return r;
	queue_add_front(h, t);
	return 1;
}

/* X-RateLimit: when nothing is left, nobody may ask before the reset. */
static void heed_limits(struct http *h, struct http_transfer *t)
{
	char remaining[24], reset[24];
	uint64_t now = clock_mono_ms(), wait;

	if (http_header(&t->reply, "X-RateLimit-Remaining", remaining, sizeof(remaining)) < 0 ||
	    http_header(&t->reply, "X-RateLimit-Reset", reset, sizeof(reset)) < 0)
		return;
	wait = range_parse_limit(remaining, reset, clock_wall().tv_sec);
	if (wait && wait <= h->config.throttle_max_ms)
		host_close(t->host, now, now + wait, true);
}

/* The host asked for patience: everybody waits. */
static void throttle(struct http *h, struct http_transfer *t, const struct retry_out *out, uint64_t now)
{
	struct host *o = t->host;

	count(&h->counters.throttled);
	/* Of answers to what was sent before the host closed only the first tells something. */
	if (t->attempt_at >= o->closed_at)
		o->throttles++;
	host_close(o, now, now + out->delay_ms, out->excused);
	if (out->excused) {
		t->deadline_at += out->delay_ms;
		t->excused_ms += out->delay_ms;
	}
	log_info("%s asks for patience (HTTP %d): waiting %llu ms", o->origin, t->reply.status, (unsigned long long)out->delay_ms);
}

static struct retry_out decide(struct http *h, const struct http_transfer *t, int err, bool sent, uint64_t now)
{
	struct retry_in in = {
		.err = err,
		.status = t->reply.status,
		.retryable = t->retryable && answer_can_continue(t),
		.sent = sent,
		.idempotent = transfer_repeatable(t),
		.first_contact = t->first_contact,
		.attempt = t->failures,
		.retry_after_ms = -1,
		.throttles = t->host->throttles,
		.excused_ms = t->excused_ms,
		.left_ms = t->deadline_at > now ? t->deadline_at - now : 0,
		.random = engine_dice(h),
	};
	char value[100];

	if (http_header(&t->reply, "Retry-After", value, sizeof(value)) == 0)
		in.retry_after_ms = range_parse_retry_after(value, clock_wall().tv_sec);
	return retry_decide(&in, &h->config);
}

/* A remembered redirect failed: it is forgotten, and the first address asked again at once. True: that was done. */
static bool ask_home(struct http *h, struct http_transfer *t)
{
	if (!t->at_cached)
		return false;
	redirect_forget(h, t->url);
	t->dropped_cached = true;
	if (aim(h, t) < 0)
		return false;
	queue_add_front(h, t);
	return true;
}

/* Fewer bytes than these within stall_ms are no progress. */
static uint64_t stall_bytes(const struct http *h)
{
	uint64_t n = (uint64_t)HTTP_STALL_BYTES * h->config.stall_ms / 1000;

	return n ? n : 1;
}

/* An attempt is over, and off the wire: that was the answer, or there is one more. */
static void settle(struct http *h, struct http_transfer *t, int err, bool sent)
{
	uint64_t now = clock_mono_ms();
	struct retry_out out;

	trace_attempt(t, err);
	if (err == 0)
		t->host->throttles = 0;
	if (err == 0 || t->probe || t->final) {
		engine_finish(h, t, err);
		return;
	}
	/* A byte for each connection is standing still too. */
	if (t->done_bytes - t->moved_bytes >= stall_bytes(h)) {
		t->moved_bytes = t->done_bytes;
		t->failures = 0;
		if (transfer_streams(t))
			t->deadline_at = now + t->deadline_ms;
	}
	t->failures++;
	t->last_err = err;
	if (ask_home(h, t))
		return;
	out = decide(h, t, err, sent, now);
	t->reply.in_doubt = out.in_doubt;
	if (!out.again) {
		engine_finish(h, t, err);
		return;
	}
	count(&h->counters.repeats);
	if (out.throttle)
		throttle(h, t, &out, now);
	/* A redirect may lead elsewhere next time. */
	err = aim(h, t);
	if (err < 0) {
		engine_finish(h, t, err);
		return;
	}
	queue_sleep(h, t, now + out.delay_ms);
}

/* The outcome of what curl has ended: 1 when it goes on to a redirect's target, else 0 or -errno. */
static int outcome(struct http *h, struct http_transfer *t, CURLcode rc)
{
	unsigned repeats = 0;
	int r;

	if (t->stop)
		return t->stop;
	if (t->complete || (rc != CURLE_OK && answer_has_all(t)))
		return 0;
	if (rc == CURLE_OK || t->enough) {
		r = follow(h, t);
		if (r)
			return r;
		heed_limits(h, t);
		r = http_status_errno(t->reply.status);
		if (r == 0)
			r = answer_finished(t);
		if (r < 0 && t->reply.status < 300)
			t->reply.status = 0;    /* no answer worth the name */
		return r;
	}
	r = http_curl_errno(rc, &repeats);
	transfer_fault(t, r, t->failures < repeats, t->error[0] ? t->error : curl_easy_strerror(rc));
	t->reply.status = 0;
	if (repeats)
		host_failed(h, t->host, t->attempt_at, rc == CURLE_OPERATION_TIMEDOUT);
	return r;
}

static void ended(struct http *h, struct http_transfer *t, CURLcode rc)
{
	bool sent;
	int r;

	if (rc == CURLE_OK && t->stop == 0)
		(void)answer_judge(t);  /* there was no body; a fault stays in t->stop */
	sent = stop(h, t);
	r = outcome(h, t, rc);
	if (r <= 0)
		settle(h, t, r, sent);
}

/* The server has all of it, and carries it out whether we wait or not. */
static bool is_kept(struct http_transfer *t)
{
	curl_off_t up = 0;
	long sent = 0;

	if (!t->keep_once_sent || t->state != T_RUNNING)
		return false;
	curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &sent);
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &up);
	return sent > 0 && (uint64_t)up >= t->body_len;
}

/* Off every list, wherever it is, and told. */
static void end_now(struct http *h, struct http_transfer *t, int err, const char *message)
{
	if (t->state == T_RUNNING)
		t->reply.in_doubt = stop(h, t) && !transfer_repeatable(t);
	else if (t->state == T_QUEUED)
		queue_take(t);
	else
		list_remove(&t->link);
	transfer_fault(t, err, false, message);
	t->reply.status = 0;
	engine_finish(h, t, err);
}

/* ---- patience ---- */

static void stood_still(struct http *h, struct http_transfer *t, const char *message)
{
	uint64_t since = t->mark_at;
	bool sent = stop(h, t);

	transfer_fault(t, -ETIMEDOUT, true, message);
	t->reply.status = 0;
	t->fresh = true;
	host_failed(h, t->host, since, true);
	settle(h, t, -ETIMEDOUT, sent);
}

static void watch_running(struct http *h, struct http_transfer *t, uint64_t now)
{
	uint64_t patience = h->config.stall_ms, bytes;
	curl_off_t down = 0, up = 0, sent = 0;

	if (t->paused) {
		t->mark_at = now;
		t->deadline_at = now + t->deadline_ms;
		return;
	}
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
	curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &up);
	curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
	bytes = (uint64_t)down + (uint64_t)up;
	if (bytes - t->mark_bytes >= stall_bytes(h)) {
		t->mark_at = now;
		t->mark_bytes = bytes;
		if (transfer_streams(t) && t->deadline_at < now + t->deadline_ms)
			t->deadline_at = now + t->deadline_ms;
	}
	if (!t->sent_at && sent && (uint64_t)up >= t->body_len) {
		t->sent_at = now;
		/* It may take its time over it. */
		if (t->slow_named && t->deadline_at < now + t->slow_ms)
			t->deadline_at = now + t->slow_ms;
		if (t->body_len)
			t->mark_at = now;
	}
	/* It has everything and is at work. */
	if (t->sent_at && !t->answered)
		patience = t->slow_ms;
	if (t->probe && patience > HTTP_PROBE_TIMEOUT_MS)
		patience = HTTP_PROBE_TIMEOUT_MS;
	if (now - t->mark_at >= patience)
		stood_still(h, t, "the server stands still");
	else if (now >= t->deadline_at)
		stood_still(h, t, "no answer in time");
}

/* What waits in the line of a host that is at work: only those somebody waits for have a deadline there. */
static void watch_queued(struct http *h, struct host *o, uint64_t now)
{
	struct http_transfer *t;

	for (int p = 0; p < HTTP_PREFETCH; p++)
		list_for_each_safe(t, &o->queue[p], struct http_transfer, link)
			if (now >= t->deadline_at)
				end_now(h, t, t->last_err ? t->last_err : -ETIMEDOUT, "no answer in time");
}

static void watch(struct http *h)
{
	uint64_t now = clock_mono_ms(), every = h->config.stall_ms / 8;
	struct http_transfer *t;
	struct host *o;

	if (now < h->watch_at)
		return;
	h->watch_at = now + (every < WATCH_MS_MIN ? WATCH_MS_MIN : every > WATCH_MS_MAX ? WATCH_MS_MAX : every);
	list_for_each_safe(t, &h->running, struct http_transfer, link)
		watch_running(h, t, now);
	list_for_each_safe(o, &h->busy, struct host, busy)
		watch_queued(h, o, now);
	hosts_sweep(h);
}

/* ---- who goes ---- */

static void wake_due(struct http *h)
{
	uint64_t now = clock_mono_ms();
	struct http_transfer *t;

	while ((t = queue_pick_awake(h, now))) {
		if (now >= t->deadline_at) {
			if (!t->reply.message[0])
				transfer_fault(t, -ETIMEDOUT, false, "no answer in time");
			engine_finish(h, t, t->last_err ? t->last_err : -ETIMEDOUT);
		} else if (t->reply.attempts) {
			queue_add_front(h, t);
		} else {
			queue_add(h, t);
		}
	}
}

/* The host does not answer: what is new fails at once, what was under way waits for its return or its own end. A question
 * that was sent on to somebody else's host does not: that one is no part of the repository, and may never have been. */
static void hush(struct http *h, struct host *o)
{
	struct http_transfer *t;

	for (int p = 0; p < HTTP_PRIORITIES; p++)
		while ((t = list_first(&o->queue[p], struct http_transfer, link))) {
			if (!t->failures || (t->host != t->home && t->priority == HTTP_META)) {
				end_now(h, t, -EHOSTDOWN, t->host == t->home ? "the server does not answer" :
				        "where this leads to, no server answers");
				continue;
			}
			queue_take(t);
			queue_sleep(h, t, t->deadline_at);
		}
}

/* The host wants to be left alone. Time that it named does not count, as long as it does not go on for ever. */
static void park(struct http *h, struct host *o, uint64_t now)
{
	uint64_t wait = o->closed_until - now;
	struct http_transfer *t;

	for (int p = 0; p < HTTP_PRIORITIES; p++)
		while ((t = list_first(&o->queue[p], struct http_transfer, link))) {
			queue_take(t);
			if (o->closed_stated && t->excused_ms + wait <= h->config.throttle_max_ms) {
				t->deadline_at += wait;
				t->excused_ms += wait;
			}
			if (!t->last_err) {
				t->last_err = -EAGAIN;
				transfer_fault(t, -EAGAIN, false, "the server asks for patience");
			}
			queue_sleep(h, t, o->closed_until + engine_dice(h) / PARK_JITTER);
		}
}

static void start_what_may(struct http *h)
{
	uint64_t now = clock_mono_ms();
	struct http_transfer *t;
	struct host *o;

	list_for_each_safe(o, &h->busy, struct host, busy) {
		if (o->silent) {
			hush(h, o);
			continue;
		}
		if (o->closed_until > now) {
			park(h, o, now);
			continue;
		}
		while ((t = queue_pick(h, o))) {
			int r = begin(h, t);

			if (r < 0)
				engine_finish(h, t, r);
		}
	}
}

static void probe_done(void *arg, int err, const struct http_reply *reply)
{
	struct host *o = arg;

	(void)err;              /* host.c noted the answer, or its absence */
	(void)reply;
	o->probing = false;
}

/* Ask whether it answers: past its queue and its limits. Without memory it is asked the next time. */
static void probe(struct http *h, struct host *o)
{
	_cleanup_(transfer_freep) struct http_transfer *t = NULL;
	struct http_request q = {.on_done = probe_done, .priority = HTTP_META, .deadline_ms = HTTP_PROBE_TIMEOUT_MS};
	_cleanup_free_ char *url = NULL;

	WITH_LOCK(&h->lock)
		if (o->probe_url)
			url = strdup(o->probe_url);
	if (!url && str_fmt(&url, "%s/", o->origin) < 0)
		url = NULL;
	q.url = url;
	if (!url || transfer_new(&q, &h->config, &t) < 0) {
		o->probing = false;
		return;
	}
	t->http = h;
	t->probe = true;
	t->done_arg = o;
	WITH_LOCK(&h->lock) {
		o->refs += 2;
		t->home = t->host = o;
	}
	t->at = strdup(t->url);
	if (!t->at || begin(h, t) < 0)
		engine_finish(h, TAKE(t), -ENOMEM);
	else
		(void)TAKE(t);
}

/* ---- what others ask of the engine ---- */

static void take_inbox(struct http *h)
{
	struct http_transfer *t;
	struct list taken;
	int r;

	list_init(&taken);
	WITH_LOCK(&h->lock)
		while (!list_empty(&h->inbox)) {
			struct list *l = h->inbox.next;

			list_remove(l);
			list_append(&taken, l);
		}
	while ((t = list_first(&taken, struct http_transfer, link))) {
		list_remove(&t->link);
		r = aim(h, t);
		if (r < 0)
			engine_finish(h, t, r);
		else
			queue_add(h, t);
	}
}

static void hurry(struct http *h, struct http_transfer *t)
{
	bool queued = t->state == T_QUEUED;

	if (t->priority == HTTP_READ)
		return;
	if (queued) {
		queue_take(t);
		/* Until now nobody waited for it. */
		if (t->priority >= HTTP_PREFETCH)
			t->deadline_at += clock_mono_ms() - t->queued_at;
	}
	t->priority = HTTP_READ;
	if (queued)
		queue_add(h, t);
}

static void resume(struct http_transfer *t)
{
	if (t->state != T_RUNNING || !t->paused)
		return;
	t->paused = false;
	t->host->paused--;
	t->mark_at = clock_mono_ms();
	/* The bytes kept back may come, and pause it again, inside of this call. */
	(void)curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

static void heed_notes(struct http *h)
{
	struct http_transfer *t, *i;
	unsigned notes = 0;

	for (;;) {
		t = NULL;
		WITH_LOCK(&h->lock) {
			/* What is still in the inbox is seen to on the next turn. */
			list_for_each_safe(i, &h->noted, struct http_transfer, noted)
				if (!t && i->state != T_NEW)
					t = i;
			if (t) {
				list_remove(&t->noted);
				notes = t->notes;
				t->notes = 0;
			}
		}
		if (!t)
			return;
		if ((notes & NOTE_CANCEL) && !is_kept(t)) {
			end_now(h, t, -ECANCELED, "cancelled");
			continue;
		}
		if (notes & NOTE_HURRY)
			hurry(h, t);
		if (notes & NOTE_RESUME)
			resume(t);
	}
}

static int next_turn_ms(const struct http *h)
{
	uint64_t now = clock_mono_ms(), at = now + IDLE_MS, probe_at = host_probe_at(h);
	const struct http_transfer *first = list_first(&h->sleeping, struct http_transfer, link);

	if ((!list_empty(&h->running) || !list_empty(&h->busy)) && h->watch_at < at)
		at = h->watch_at;
	if (first && first->wake_at < at)
		at = first->wake_at;
	if (probe_at < at)
		at = probe_at;
	return at > now ? (int)(at - now) : 0;
}

/* One turn of the wire. True: something ended, look around before waiting. */
static bool turn_wire(struct http *h)
{
	int running, left;
	bool some = false;
	CURLMsg *m;

	curl_multi_perform(h->multi, &running);
	while ((m = curl_multi_info_read(h->multi, &left)))
		if (m->msg == CURLMSG_DONE) {
			CURLcode rc = m->data.result;   /* m dies with its handle */
			char *t;

			curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
			ended(h, (struct http_transfer *)(void *)t, rc);
			some = true;
		}
	return some;
}

static void cancel_all(struct http *h)
{
	struct http_transfer *t;
	struct host *o;

	take_inbox(h);
	list_for_each_safe(t, &h->running, struct http_transfer, link)
		end_now(h, t, -ECANCELED, "the mount is ending");
	list_for_each_safe(t, &h->sleeping, struct http_transfer, link)
		end_now(h, t, -ECANCELED, "the mount is ending");
	list_for_each_safe(o, &h->busy, struct host, busy)
		for (int p = 0; p < HTTP_PRIORITIES; p++)
			list_for_each_safe(t, &o->queue[p], struct http_transfer, link)
				end_now(h, t, -ECANCELED, "the mount is ending");
}

static void *engine(void *arg)
{
	struct http *h = arg;
	bool stopping = false;
	struct host *o;

	pthread_setname_np(pthread_self(), "scifs-engine");
	for (;;) {
		WITH_LOCK(&h->lock)
			stopping = h->stopping;
		if (stopping)
			break;
		take_inbox(h);
		heed_notes(h);
		watch(h);
		while ((o = host_to_probe(h, clock_mono_ms())))
			probe(h, o);
		wake_due(h);
		start_what_may(h);
		if (!turn_wire(h))
			curl_multi_poll(h->multi, NULL, 0, next_turn_ms(h), NULL);
	}
	cancel_all(h);
	return NULL;
}

/* ---- the contract ---- */

static unsigned or_default(unsigned v, unsigned fallback)
{
	return v ? v : fallback;
}

static void fill_defaults(struct http_config *c)
{
	c->connect_ms = or_default(c->connect_ms, 5000);
	c->stall_ms = or_default(c->stall_ms, 20000);
	c->deadline_ms = or_default(c->deadline_ms, 60000);
	c->retry_ms = or_default(c->retry_ms, 250);
	c->throttle_ms = or_default(c->throttle_ms, 5000);
	c->throttle_max_ms = or_default(c->throttle_max_ms, 900000);
	c->probe_ms = or_default(c->probe_ms, 2000);
	c->breaker_failures = or_default(c->breaker_failures, 3);
	c->connections_host = or_default(c->connections_host, 8);
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Born with its signals blocked: one that came before it blocks them itself would be lost on it. */
static int start_thread(struct http *h)
{
	sigset_t before;
	int r;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	thread_block_signals();
	r = pthread_create(&h->thread, NULL, engine, h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	h->has_thread = r == 0;
	return r == 0 ? 0 : -EAGAIN;
}

static void init_members(struct http *h)
{
	list_init(&h->inbox);
	list_init(&h->noted);
	list_init(&h->running);
	list_init(&h->sleeping);
	list_init(&h->busy);
	list_init(&h->ill);
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->call_lock, NULL);
	pthread_cond_init(&h->call_cond, NULL);
	h->random = clock_mono_ns() ^ (uint64_t)getpid() << 32;
	h->hosts = map_new();
	h->redirects = map_new();
	h->live = map64_new();
	h->multi = curl_multi_init();
}

DEFINE_CLEANUP(struct http *, http_free)

int http_new(const struct http_config *config, struct http **ret)
{
	_cleanup_(http_freep) struct http *h = NULL;
	int r;

	pthread_once(&curl_once, curl_start);
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	init_members(h);
	h->config = *config;
	h->config.ca_file = h->config.proxy = NULL;
	memset(h->config.headers, 0, sizeof(h->config.headers));
	fill_defaults(&h->config);
	if (!h->hosts || !h->redirects || !h->live || !h->multi || str_dup(config->ca_file, &h->ca_file) < 0 ||
	    str_dup(config->proxy, &h->proxy) < 0 ||
	    str_fmt(&h->user_agent, "scifs/" SCIFS_VERSION " (+libcurl/%s)", curl_version_info(CURLVERSION_NOW)->version) < 0)
		return -ENOMEM;
	h->config.ca_file = h->ca_file;
	h->config.proxy = h->proxy;
	for (size_t i = 0; i < HTTP_OWN_HEADERS_MAX && config->headers[i].name; i++) {
		if (str_dup(config->headers[i].name, (char **)&h->config.headers[i].name) < 0)
			return -ENOMEM;
		h->config.headers[i].value = secret_ref(config->headers[i].value);
	}
	curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, IDLE_CONNECTIONS);
	curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	r = start_thread(h);
	if (r < 0)
		return r;
	*ret = TAKE(h);
	return 0;
}

void http_stop(struct http *h)
{
	bool join = false;

	if (!h || !h->has_thread)
		return;
	WITH_LOCK(&h->lock) {
		join = !h->stopping;
		h->stopping = true;
	}
	if (!join)
		return;
	curl_multi_wakeup(h->multi);
	pthread_join(h->thread, NULL);
	h->has_thread = false;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	http_stop(h);
	redirects_free(h);
	hosts_free(h);
	map64_free(h->live);
	if (h->multi)
		curl_multi_cleanup(h->multi);
	pthread_cond_destroy(&h->call_cond);
	pthread_mutex_destroy(&h->call_lock);
	pthread_mutex_destroy(&h->lock);
	for (size_t i = 0; i < HTTP_OWN_HEADERS_MAX; i++) {
		free((char *)h->config.headers[i].name);
		secret_unref(h->config.headers[i].value);
	}
	free(h->ca_file);
	free(h->proxy);
	free(h->user_agent);
	free(h);
}

static int post_locked(struct http *h, struct http_transfer *t, const char *origin)
{
	int r;

	if (h->stopping)
		return -ESHUTDOWN;
	if (map64_count(h->live) >= HTTP_QUEUE_MAX)
		return -EAGAIN;
	t->serial = ++h->serial;
	r = map64_set(h->live, t->serial, t);
	if (r < 0)
		return r;
	t->home = host_ref_locked(h, origin);
	if (!t->home) {
		map64_remove(h->live, t->serial);
		return -EAGAIN;
	}
	list_append(&h->inbox, &t->link);
	return 0;
}

int engine_submit(struct http *h, const struct http_request *q, void *done_arg, struct http_transfer **ret)
{
	_cleanup_(transfer_freep) struct http_transfer *t = NULL;
	_cleanup_free_ char *origin = NULL;
	int r = transfer_new(q, &h->config, &t);

	if (r == 0)
		r = http_origin(t->url, &origin);
	if (r < 0)
		return r;
	t->http = h;
	t->done_arg = done_arg;
	WITH_LOCK(&h->lock) {
		r = post_locked(h, t, origin);
		if (r < 0)
			return r;
		/* Before the engine can see it, for on_done may come before this returns. */
		if (ret)
			*ret = handle_of(t);
		(void)TAKE(t);
	}
	curl_multi_wakeup(h->multi);
	return 0;
}

int http_submit(struct http *h, const struct http_request *request, struct http_transfer **ret)
{
	return engine_submit(h, request, request->arg, ret);
}

static void note(struct http *h, struct http_transfer *handle, unsigned what)
{
	WITH_LOCK(&h->lock) {
		struct http_transfer *t = map64_get(h->live, (uintptr_t)handle);

		if (!t)
			return;
		t->notes |= what;
		list_remove(&t->noted);
		list_append(&h->noted, &t->noted);
	}
	curl_multi_wakeup(h->multi);
}

void http_cancel(struct http *h, struct http_transfer *t)
{
	note(h, t, NOTE_CANCEL);
}

void http_resume(struct http *h, struct http_transfer *t)
{
	note(h, t, NOTE_RESUME);
}

void http_hurry(struct http *h, struct http_transfer *t)
{
	note(h, t, NOTE_HURRY);
}

int http_set_probe(struct http *h, const char *url)
{
	_cleanup_free_ char *origin = NULL, *copy = NULL;
	int r = url_clean(url, &copy);

	if (r == 0)
		r = http_origin(copy, &origin);
	if (r < 0)
		return r;
	WITH_LOCK(&h->lock) {
		struct host *o = host_ref_locked(h, origin);

		if (!o)
			return -ENOMEM;
		o->refs--;      /* its probe_url keeps it */
		free(o->probe_url);
		o->probe_url = TAKE(copy);
	}
	return 0;
}

int http_set_http1(struct http *h, const char *url)
{
	_cleanup_free_ char *origin = NULL;
	int r = http_origin(url, &origin);

	if (r < 0)
		return r;
	WITH_LOCK(&h->lock) {
		struct host *o = host_ref_locked(h, origin);

		if (!o)
			return -ENOMEM;
		o->http1 = true;
		o->refs--;      /* idle_locked() spares it */
	}
	return 0;
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
	unsigned running = atomic_load(&h->counters.running);
	size_t live = 0;

	WITH_LOCK(&h->lock)
		live = map64_count(h->live);
	*ret = (struct http_stats){
		.requests = atomic_load(&h->counters.requests),
		.repeats = atomic_load(&h->counters.repeats),
		.failures = atomic_load(&h->counters.failures),
		.bytes_in = atomic_load(&h->counters.bytes_in),
		.bytes_out = atomic_load(&h->counters.bytes_out),
		.throttled = atomic_load(&h->counters.throttled),
		.running = running,
		.queued = live > running ? (unsigned)live - running : 0,
	};
}
