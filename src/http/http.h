/* http.h - the wire: requests in, bytes and outcomes out. The only room that knows curl.
 *
 * One engine thread per struct http turns all transfers. It keeps connections, follows redirects, repeats what may be
 * repeated (see retry.c), obeys Retry-After, holds the limits of each host, and never waits for anything but the
 * network. A secret is sent to its own origin only, on every hop anew.
 */
#ifndef SCIFS_HTTP_HTTP_H
#define SCIFS_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/secret.h"

struct http;
struct http_transfer;
struct http_reply;

/* Who goes first when connections are scarce, in this order. */
enum http_priority { HTTP_READ, HTTP_META, HTTP_PREFETCH, HTTP_UPLOAD };

/* A header of the user's own. Like any secret it goes to its own origin only, on whatever request leads there. */
struct http_own_header {
	const char *name;
	struct secret *value;
};
#define HTTP_OWN_HEADERS_MAX 16

/* All times in milliseconds; 0 means the default in brackets. Strings are copied. */
struct http_config {
	unsigned connect_ms;        /* to a usable connection [5000] */
	unsigned stall_ms;          /* less than 1 KiB/s for so long is a stall [20000] */
	unsigned deadline_ms;       /* from submission to the last error, repeats included [60000] */
	unsigned retry_ms;          /* the first delay before a repeat, doubling, with jitter [250] */
	unsigned throttle_ms;       /* 429 or 503 without Retry-After: first delay, doubling [5000] */
	unsigned throttle_max_ms;   /* the longest Retry-After that is obeyed; longer ones fail at once [900000] */
	unsigned probe_ms;          /* how often a silent host is tried in the background [2000] */
	unsigned breaker_failures;  /* requests in a row without any answer until a host counts as silent [3] */
	unsigned connections_host;  /* connections to one host, at most [8] */
	bool insecure;              /* do not verify TLS certificates */
	const char *ca_file;        /* NULL: curl's and OpenSSL's own */
	const char *proxy;          /* NULL: curl's own environment variables */
	struct http_own_header headers[HTTP_OWN_HEADERS_MAX];   /* up to the first without a name; values referenced inside */
};

/* A request. The caller fills it (zeroed first); http_submit and http_call copy what they need before they return,
 * except `body`, `on_*` and `arg`, which must stay valid until on_done was called or http_call returned. */
struct http_request {
	const char *method;             /* NULL: GET */
	const char *url;                /* absolute */
	const char *const *headers;     /* "Name: value", NULL-terminated; NULL for none. No secrets here. */
	const char *auth_header;        /* name of the header that carries `auth`, or NULL */
	const char *auth_prefix;        /* in front of the secret in that header ("Bearer "), or NULL */
	struct secret *auth;            /* sent only to the origin it is bound to; borrowed, referenced inside */
	const void *body;               /* NULL: none. A POST or PUT without one sends Content-Length: 0 */
	size_t body_len;
	/* Or: the body are body_len bytes of a local file from body_at on, read with pread() as they are sent (on the engine thread:
	 * a file written a while ago may cost it a moment). The file must not be of a mount of ours, the descriptor must stay open. */
	bool body_is_file;
	int body_fd;
	uint64_t body_at;
	const char *content_type;       /* NULL: application/octet-stream when there is a body */
	bool expect;                    /* a refusal may come before the body is sent: ask first (Expect: 100-continue) */
	bool has_range;                 /* ask for bytes first..last, inclusive, of an object of `total` bytes */
	uint64_t first, last, total;    /* total: UINT64_MAX when unknown */
	bool expect_length;             /* without a range: the whole object must have `total` bytes */
	enum http_priority priority;
	bool idempotent;                /* may be repeated after silence (GET and HEAD always may) */
	bool once;                      /* may not, though it is a GET or HEAD: it takes something away that is given only once */
	bool first_contact;             /* a person waits to hear that nobody is there: three attempts, not until the deadline */
	bool cache_redirect;            /* remember where this URL led for a few minutes (a read of content) */
	unsigned deadline_ms;           /* 0: the config's */
	unsigned slow_ms;               /* silence allowed after the request was sent whole, beyond the deadline too; 0: stall_ms */
	size_t max_body;                /* http_call: longest answer kept [64 MiB]; more is -EMSGSIZE */
	size_t max_headers;             /* longest head of an answer [64 KiB]; more is -EMSGSIZE. libcurl takes no more than 300 KiB */
	const int *cancelled;           /* http_call: polled through http_wake(); nonzero ends it with -EINTR. May be NULL */
	bool keep_once_sent;            /* once all of it was sent it is waited for: http_cancel() and `cancelled` come too late */

	/* The following are called on the engine thread, without locks, and must not block, not even for a disk. */
	/* Body bytes of a 200 or 206 that passed the checks, in order, each byte once even if the transfer was repeated
	 * in between. Return 0, HTTP_PAUSE (nothing was taken; the same bytes come again after http_resume) or -errno,
	 * which ends the transfer with that error. */
	int (*on_data)(void *arg, const void *data, size_t n);
	/* Called exactly once, last. err: 0 or -errno (status.c's table). */
	void (*on_done)(void *arg, int err, const struct http_reply *reply);
	void *arg;
};

#define HTTP_PAUSE 1

struct http_reply {
	int status;                 /* of the last answer; 0 when there was none */
	struct buf body;            /* of http_call, or of an answer other than 200/206 (first 64 KiB) */
	struct buf headers;         /* raw lines "Name: value\n" of the last answer, at most max_headers bytes; see http_header() */
	char *url;                  /* where the last answer came from */
	unsigned attempts;
	bool in_doubt;              /* the request was sent, no answer came, and it may not be repeated: look, then decide */
	bool sent_whole;            /* all of the last attempt's body may be there: else it cannot have been carried out */
	char message[160];          /* why it failed, for a log line or a user: no secrets, printable */
};

/* Start the engine. Any thread. 0, -ENOMEM, -EAGAIN (no thread). */
int http_new(const struct http_config *config, struct http **ret);
/* Cancel everything (on_done comes with -ECANCELED) and stop the thread: no callback runs when this returns, and what is
 * submitted from now on is -ESHUTDOWN. Blocks until the thread ended. Not from a callback. NULL is fine. */
void http_stop(struct http *h);
/* http_stop(), then free. NULL is fine. */
void http_free(struct http *h);

/* Queue a transfer. Any thread, never blocks. On success *ret (may be NULL) is valid until on_done returned: who keeps
 * it must forget it there. -ENOMEM, -EINVAL (not an http or https URL), -EAGAIN (4096 are queued already),
 * -ESHUTDOWN. When the request's host is known to be silent on_done comes soon with -EHOSTDOWN. */
int http_submit(struct http *h, const struct http_request *request, struct http_transfer **ret);
/* End a transfer: on_done comes soon with -ECANCELED, unless it is already on its way. Any thread, never blocks. */
void http_cancel(struct http *h, struct http_transfer *t);
/* Let a paused transfer go on. Any thread, never blocks. */
void http_resume(struct http *h, struct http_transfer *t);
/* Raise a queued or running transfer's priority: a reader now waits for what was prefetched. Any thread. */
void http_hurry(struct http *h, struct http_transfer *t);

/* Submit and wait: 0 and *ret filled (also for 4xx and 5xx answers the caller may want to read: then the return value
 * is the -errno of status.c and *ret is filled nevertheless). Not on the engine thread. The caller ends *ret with
 * http_reply_done() in every case. `request->cancelled` is looked at whenever http_wake() was called. */
int http_call(struct http *h, const struct http_request *request, struct http_reply *ret);
/* For every http_call of the calling thread that names no `cancelled` of its own; NULL ends it. Returns what was set before, for who
 * must not be cancelled half-way. */
const int *http_set_cancel(const int *cancelled);
/* Let every http_call look at its `cancelled`. Any thread, never blocks. */
void http_wake(struct http *h);
void http_reply_init(struct http_reply *r);
void http_reply_done(struct http_reply *r);
/* Value of a header, trimmed, in caller's buffer; names compared without case. 0 or -ENOENT, -EMSGSIZE. */
int http_header(const struct http_reply *r, const char *name, char *ret, size_t room);

/* What is asked in the background to learn whether a silent host of this origin answers again. Copied. */
int http_set_probe(struct http *h, const char *url);
/* Speak HTTP/1.1 with the origin of this URL from now on, whatever else it offers. -EINVAL, -ENOMEM. */
int http_set_http1(struct http *h, const char *url);
/* Is the origin of this URL known to be silent? Any thread, never blocks. */
bool http_host_silent(struct http *h, const char *url);
/* Called (engine thread, no locks, must not block) when a host becomes silent or answers again. */
void http_set_host_callback(struct http *h, void (*changed)(void *arg, const char *origin, bool silent), void *arg);

/* Counters since http_new, for .scifs/stats. Any thread. */
struct http_stats {
	uint64_t requests, repeats, failures, bytes_in, bytes_out, throttled;
	unsigned running, queued;
};
void http_get_stats(struct http *h, struct http_stats *ret);

/* scheme://host[:port], lower case, default port left out. 0, -EINVAL, -ENOMEM. */
int http_origin(const char *url, char **ret);

/* The URL as it may be shown: without what could be a secret in its query or user part; malloc'ed, NULL without memory. */
char *http_shown_url(const char *url);

/* status.c: the one table. 0 for 2xx; -EACCES 401 403, -ENOENT 404 410, -EAGAIN 429 503 ... Pure. */
int http_status_errno(int status);

#endif
