/* private.h - what the files of http share: the engine's state, a transfer, a host, the deciders.
 *
 * Unless it says otherwise, everything here is called on the engine thread, without locks, and never waits.
 */
#ifndef SCIFS_HTTP_PRIVATE_H
#define SCIFS_HTTP_PRIVATE_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/list.h"
#include "base/map.h"
#include "http/http.h"

#define HTTP_PRIORITIES (HTTP_UPLOAD + 1)
#define HTTP_HOPS_MAX 8
#define HTTP_QUEUE_MAX 4096
#define HTTP_HOSTS_MAX 1024
#define HTTP_REDIRECTS_MAX 1024
#define HTTP_REDIRECT_KEEP_MS (5 * 60 * 1000)
#define HTTP_LOCATION_MAX (8u << 10)
#define HTTP_ERROR_BODY_MAX (64u << 10)
#define HTTP_HEADERS_MAX (64u << 10)
#define HTTP_BODY_MAX (64u << 20)
#define HTTP_VALIDATOR_MAX 128
#define HTTP_SKIP_MAX (64u << 20)       /* read and dropped in front of a part, at most */
#define HTTP_STALL_BYTES 1024           /* fewer bytes a second than this is standing still */
#define HTTP_LONG_BODY (64u << 10)      /* a request with more than this is a stream: its deadline moves with it */
#define HTTP_PROBE_TIMEOUT_MS 5000

/* One origin. Made by the first request for it, forgotten when it is idle and many others came. */
struct host {
	char *origin;
	/* under the engine's lock */
	char *probe_url;                /* NULL: the origin's root */
	unsigned refs;
	bool silent;                    /* only the engine writes it */
	_Atomic bool http1;             /* nothing newer than HTTP/1.1 is spoken with it */
	/* the engine's own */
	struct list queue[HTTP_PRIORITIES];
	struct list busy;               /* in http.busy while anything is queued */
	struct list ill;                /* in http.ill while silent or suspect */
	unsigned running, paused;
	unsigned failures;              /* requests in a row that got no answer */
	uint64_t failing_since, heard_at, back_at;
	bool suspect;                   /* one stood still: ask before more of them do */
	bool probing;
	uint64_t probe_at;
	uint64_t closed_at, closed_until;       /* the host asked for patience (429, 503, RateLimit) */
	bool closed_stated;             /* and said how long */
	unsigned throttles;             /* such answers in a row */
};

enum transfer_state { T_NEW, T_QUEUED, T_RUNNING, T_SLEEPING };

#define NOTE_CANCEL 1u
#define NOTE_RESUME 2u
#define NOTE_HURRY 4u

struct http_transfer {
	struct list link;               /* in the inbox, its host's queue, http.running or http.sleeping */
	struct http *http;
	struct host *home, *host;       /* of its URL; of where it goes now. Counted. */
	enum transfer_state state;
	uint64_t serial;                /* what the caller holds: see handle_of() */
	struct list noted;              /* in http.noted, under the lock, as is `notes` */
	unsigned notes;
	bool probe;                     /* the engine's own question whether a host answers again */

	/* the request, copied */
	char *method, *url, *auth_header, *auth_prefix, *content_type;
	char **headers;
	struct secret *auth;
	const void *body;
	size_t body_len, max_body, max_headers;
	int body_fd;                    /* -1: it is no file */
	uint64_t body_at;
	bool keep_once_sent, slow_named;        /* slow_ms is the caller's own */
	bool has_range, expect, expect_length, idempotent, once, first_contact, cache_redirect;
	uint64_t first, last, total;
	enum http_priority priority;
	unsigned deadline_ms, slow_ms;
	int (*on_data)(void *arg, const void *data, size_t n);
	void (*on_done)(void *arg, int err, const struct http_reply *reply);
	void *arg, *done_arg;

	/* this attempt */
	CURL *easy;
	struct curl_slist *slist;
	char error[CURL_ERROR_SIZE];
	bool fresh;                     /* not on a connection that was there before */
	unsigned sent_times;            /* how often curl sent it in this one attempt */
	bool ranged;                    /* it asked for a part, that begins at `from` */
	uint64_t from;
	uint64_t body_done, body_most;  /* of a body that is a file: bytes curl has taken, now and at most */
	bool answered;                  /* a status line came */
	bool judged;                    /* the head of the answer was looked at */
	bool wanted;                    /* its body is what was asked for */
	bool complete;                  /* all wanted bytes came; what follows is not read */
	bool enough;                    /* an error's page is long enough */
	bool paused;
	uint64_t skip;                  /* bytes of the body in front of what is wanted */
	uint64_t named;                 /* bytes still to come by its Content-Range; UINT64_MAX: it has none */
	int stop;                       /* -errno: end the attempt with it */
	bool retryable;                 /* the fault is of the way, not of the thing */
	bool final;                     /* the fault is of our side: nothing else is tried */
	uint64_t attempt_at, sent_at;
	uint64_t mark_at, mark_bytes;   /* stall watch */
	uint64_t attempt_bytes;

	/* over all attempts */
	char *at;                       /* where it goes now: url or a redirect's target; NULL: not known yet */
	bool at_cached;                 /* `at` came from the redirect cache */
	bool dropped_cached;            /* a remembered redirect failed once already */
	unsigned hops;
	unsigned failures;              /* attempts without success since the last progress */
	int last_err;
	uint64_t done_bytes;            /* bytes of what is wanted that on_data took */
	uint64_t moved_bytes;           /* of them, those for which patience was renewed */
	uint64_t seen_total;            /* of the content, as the first answer said; UINT64_MAX: it did not */
	char validator[HTTP_VALIDATOR_MAX];     /* its ETag or Last-Modified */
	uint64_t queued_at, deadline_at, wake_at;
	uint64_t excused_ms;            /* time the server asked for, which does not count */
	struct http_reply reply;
};

struct counters {
	_Atomic uint64_t requests, repeats, failures, bytes_in, bytes_out, throttled;
	_Atomic unsigned running;
};

struct http {
	struct http_config config;      /* with its defaults filled in; never changes */
	char *ca_file, *proxy, *user_agent;
	CURLM *multi;
	pthread_t thread;
	bool has_thread;
	struct counters counters;

	pthread_mutex_t lock;           /* guards what follows; taken last, held for moments */
	struct list inbox;
	struct list noted;              /* transfers that somebody cancelled, resumed or hurried */
	struct map64 *live;             /* serial -> transfer that has not ended */
	uint64_t serial;
	bool stopping;
	struct map *hosts;              /* origin -> struct host; only the engine takes out */
	void (*changed)(void *arg, const char *origin, bool silent);
	void *changed_arg;

	/* the engine's own */
	struct list running, sleeping;  /* sleeping: by wake_at */
	struct list busy, ill;
	struct map *redirects;          /* url -> struct redirect */
	uint64_t random, watch_at;

	pthread_mutex_t call_lock;      /* of call.c */
	pthread_cond_t call_cond;
};

/* ---- engine.c ---- */
/* 0..1023 */
unsigned engine_dice(struct http *h);
/* http_submit() with an on_done argument of its own. Any thread. */
int engine_submit(struct http *h, const struct http_request *q, void *done_arg, struct http_transfer **ret);
/* Tell the owner and free. t is in no list any more. */
void engine_finish(struct http *h, struct http_transfer *t, int err);

/* ---- transfer.c: any thread ---- */
/* Copies what a request says; home, host and the engine's lists are left to the caller. -EINVAL, -ENOMEM. */
int transfer_new(const struct http_request *q, const struct http_config *c, struct http_transfer **ret);
/* NULL is fine. Its hosts were given back before. */
void transfer_free(struct http_transfer *t);
bool transfer_is(const struct http_transfer *t, const char *method);
bool transfer_repeatable(const struct http_transfer *t);
bool transfer_has_body(const struct http_transfer *t);
/* Its deadline moves on while its bytes do. */
bool transfer_streams(const struct http_transfer *t);
/* Note why it fails. The message is cut to what fits. */
void transfer_fault(struct http_transfer *t, int err, bool retryable, const char *message);

/* ---- host.c ---- */
/* Find or make, counted. NULL: no memory, or HTTP_HOSTS_MAX are known. Under the lock, any thread. */
struct host *host_ref_locked(struct http *h, const char *origin);
void host_unref(struct http *h, struct host *o);
/* Forget idle ones when they have become many. */
void hosts_sweep(struct http *h);
void hosts_free(struct http *h);
/* A byte came from it. */
void host_heard(struct http *h, struct host *o);
/* A request that last moved at `since` got no answer; `stood_still`: it was connected, as far as anybody knows. */
void host_failed(struct http *h, struct host *o, uint64_t since, bool stood_still);
/* Nobody asks it anything until then. */
void host_close(struct host *o, uint64_t now, uint64_t until, bool stated);
/* The next host that is to be asked whether it answers, or NULL; it counts as being asked then. */
struct host *host_to_probe(struct http *h, uint64_t now);
/* When that will be: UINT64_MAX for never. */
uint64_t host_probe_at(const struct http *h);

/* ---- queue.c ---- */
void queue_add(struct http *h, struct http_transfer *t);
/* In front of the others of its priority: it had its turn before. */
void queue_add_front(struct http *h, struct http_transfer *t);
void queue_take(struct http_transfer *t);
void queue_sleep(struct http *h, struct http_transfer *t, uint64_t at);
/* The next one of this host that may start, taken out; NULL: none. */
struct http_transfer *queue_pick(struct http *h, struct host *o);
/* Sleepers of this host sleep no longer. */
void queue_wake_host(struct http *h, struct host *o);
/* A sleeper whose time has come, taken out; NULL: none. */
struct http_transfer *queue_pick_awake(struct http *h, uint64_t now);

/* ---- redirect.c ---- */
/* The URL as it goes on the wire: blanks and the like escaped, no fragment. http and https only. -EINVAL. Any thread. */
int url_clean(const char *url, char **ret);
/* Where a Location leads from here, without a user name. -EPROTO. */
int url_resolve(const char *base, const char *location, char **ret);
void redirect_remember(struct http *h, const char *url, const char *target);
const char *redirect_known(struct http *h, const char *url);    /* NULL: not known; valid until the next call */
void redirect_forget(struct http *h, const char *url);
void redirects_free(struct http *h);

/* ---- answer.c ---- */
/* Let the attempt's bytes be looked at and handed over. */
void answer_attach(struct http_transfer *t);
/* Look at the head of the answer, once. 0, or the fault's -errno. */
int answer_judge(struct http_transfer *t);
/* After a body that curl thinks whole: is it what was wanted? 0, or the fault's -errno. */
int answer_finished(struct http_transfer *t);
/* Did all of the wanted bytes come, however the connection ended? */
bool answer_has_all(const struct http_transfer *t);
/* May what broke be continued without mixing two versions? */
bool answer_can_continue(const struct http_transfer *t);

/* ---- request.c ---- */
int request_make_easy(struct http_transfer *t, const struct http_config *c, const char *user_agent);
void request_drop_easy(struct http_transfer *t);

/* ---- retry.c: pure ---- */
struct retry_in {
	int err;                /* -errno of this attempt */
	int status;             /* 0: no answer */
	bool retryable;         /* a fault of the way: transport, stall, short body */
	bool sent;              /* the request may have reached the server */
	bool idempotent;
	unsigned attempt;       /* from 1, since the last progress */
	int64_t retry_after_ms; /* -1: not said */
	unsigned throttles;     /* 429 and 503 of this host in a row, before this one */
	uint64_t excused_ms;    /* patience asked for so far, not counted in the deadline */
	uint64_t left_ms;       /* until the deadline */
	unsigned random;        /* 0..1023 */
	bool first_contact;     /* see http.h */
};
struct retry_out {
	bool again;
	uint64_t delay_ms;
	bool throttle;          /* the whole host waits */
	bool excused;           /* the server named the time: it does not count */
	bool in_doubt;
};
struct retry_out retry_decide(const struct retry_in *in, const struct http_config *c);

/* ---- status.c: pure ---- */
/* *ret_repeats: how often it is worth while to try again; 0 for what will not change. */
int http_curl_errno(CURLcode rc, unsigned *ret_repeats);

/* ---- range.c: pure ---- */
#define RANGE_TEXT_MAX 48
/* "10-19", or "10-" when last is UINT64_MAX. */
void range_format(uint64_t first, uint64_t last, char ret[RANGE_TEXT_MAX]);
/* "bytes 10-19/2048"; a star for the total gives UINT64_MAX. -EPROTO. */
int range_parse_content(const char *value, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total);
/* Retry-After: seconds or an HTTP date, as milliseconds from now; -1: unreadable. */
int64_t range_parse_retry_after(const char *value, time_t now);
/* X-RateLimit-Remaining and -Reset: milliseconds to wait, 0 for none. Reset is a time of day or seconds from now. */
uint64_t range_parse_limit(const char *remaining, const char *reset, time_t now);

/* ---- trace.c: any thread ---- */
void trace_attempt(const struct http_transfer *t, int err);

#endif
