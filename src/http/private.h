/* private.h - what the files of http share: a transfer, a host, the deciders. */
#ifndef SCIFS_HTTP_PRIVATE_H
#define SCIFS_HTTP_PRIVATE_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "http/http.h"

#define HTTP_HOPS_MAX 8
#define HTTP_QUEUE_MAX 4096
#define HTTP_REDIRECTS_MAX 1024
#define HTTP_REDIRECT_KEEP_MS (5 * 60 * 1000)
#define HTTP_ERROR_BODY_MAX (64u << 10)
#define HTTP_HEADERS_MAX (64u << 10)
#define HTTP_BODY_MAX (64u << 20)
#define HTTP_SKIP_MAX (64u << 20)       /* read and dropped in front of a part, at most */
#define HTTP_STALL_BYTES 1024           /* fewer bytes a second than this is standing still */
#define HTTP_PROBE_TIMEOUT_MS 5000

struct host {
	char *origin, *probe_url;       /* probe_url NULL: the origin's root */
	unsigned running;
	unsigned failures;              /* requests in a row that got no answer */
	bool silent;
	bool probing;
	uint64_t probe_at;
	uint64_t closed_until;          /* the host asked for patience (429, 503, RateLimit) */
	unsigned throttles;             /* such answers in a row */
};

enum transfer_state { T_QUEUED, T_RUNNING, T_SLEEPING };

struct http_transfer {
	struct list link;               /* engine's list of all */
	struct http *http;
	struct host *host;
	enum transfer_state state;
	_Atomic bool cancelled, resumed, hurried;
	bool probe;                     /* the engine's own question whether a host answers again */

	/* the request, copied */
	char *method, *url, *auth_header, *auth_prefix, *content_type;
	char **headers;
	struct secret *auth;
	const void *body;
	size_t body_len, max_body;
	bool has_range, expect_length, idempotent, cache_redirect;
	uint64_t first, last, total;
	enum http_priority priority;
	unsigned deadline_ms, slow_ms;
	int (*on_data)(void *arg, const void *data, size_t n);
	void (*on_done)(void *arg, int err, const struct http_reply *reply);
	void *arg, *done_arg;

	/* this attempt */
	CURL *easy;
	struct curl_slist *slist;
	char *at;                       /* where it goes now: url or a redirect's target */
	bool at_cached;                 /* `at` came from the redirect cache */
	unsigned hops;
	bool judged;                    /* the head of the answer was looked at */
	bool wanted;                    /* its body is what was asked for */
	bool complete;                  /* all wanted bytes came; what follows is not read */
	bool paused;
	uint64_t skip;                  /* bytes of the body in front of what is wanted */
	int stop;                       /* -errno: end the attempt with it */
	bool retryable;                 /* `stop` is of the way, not of the thing */
	uint64_t mark_at, mark_bytes;   /* stall watch */
	uint64_t attempt_at;
	uint64_t attempt_bytes;

	/* over all attempts */
	uint64_t done_bytes;            /* bytes of the wanted range that on_data took */
	uint64_t submitted_at, deadline_at, wake_at;
	uint64_t excused_ms;            /* time the server asked for, which does not count */
	bool dropped_cached;            /* a remembered redirect failed once already */
	struct http_reply reply;
};

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
	unsigned attempt;       /* from 1 */
	int64_t retry_after_ms; /* -1: not said */
	unsigned throttles;     /* 429 and 503 of this host in a row */
	uint64_t excused_ms;    /* patience asked for so far, not counted in the deadline */
	uint64_t left_ms;       /* until the deadline */
	unsigned random;        /* 0..1023 */
};
struct retry_out {
	bool again;
	uint64_t delay_ms;
	bool throttle;          /* the whole host waits */
	bool excused;           /* the server named the time: it does not count */
	bool in_doubt;
};
struct retry_out retry_decide(const struct retry_in *in, const struct http_config *c);

/* ---- status.c ---- */
int http_curl_errno(CURLcode rc, bool *ret_retryable);

/* ---- range.c: pure ---- */
/* "bytes 10-19/2048", "bytes 0-0/" with a star for an unknown total (UINT64_MAX then). -EPROTO. */
int range_parse_content(const char *value, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total);
/* Retry-After: seconds or an HTTP date, as milliseconds from now; -1: unreadable. */
int64_t range_parse_retry_after(const char *value, time_t now);

/* ---- trace.c ---- */
/* The URL without what could be a secret in its query or user part; malloc'ed, NULL without memory. */
char *trace_url(const char *url);
void trace_attempt(const struct http_transfer *t, int err);

#endif
