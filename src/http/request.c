/* request.c - a request as a curl handle: every curl_easy_setopt there is. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "http/private.h"

#define CONTENT_BUFFER (512L << 10)     /* curl's largest: fewer turns of the engine for a byte */
#define ANSWER_BUFFER (32L << 10)
#define SEND_BUFFER (256L << 10)

static int add(struct curl_slist **list, const char *line)
{
	struct curl_slist *more = curl_slist_append(*list, line);

	if (!more)
		return -ENOMEM;
	*list = more;
	return 0;
}

static int add_secret(struct http_transfer *t, const char *origin, const char *name, const char *prefix, const struct secret *secret)
{
	/* NULL on a hop to another origin: nothing of ours goes there. */
	const char *text = secret_text(secret, origin);
	char *line;
	int r;

	if (!text)
		return 0;
	r = str_fmt(&line, "%s: %s%s", name, prefix ? prefix : "", text);
	if (r < 0)
		return r;
	r = add(&t->slist, line);
	explicit_bzero(line, strlen(line));
	free(line);
	return r;
}

static int add_secrets(struct http_transfer *t, const struct http_config *c)
{
	_cleanup_free_ char *origin = NULL;
	int r = http_origin(t->at, &origin);

	if (r == 0 && t->auth && t->auth_header)
		r = add_secret(t, origin, t->auth_header, t->auth_prefix, t->auth);
	for (const struct http_own_header *o = c->headers; r == 0 && o < c->headers + HTTP_OWN_HEADERS_MAX && o->name; o++)
		r = add_secret(t, origin, o->name, NULL, o->value);
	return r;
}

/* curl repeats by itself what got no answer on a connection that was open before. What may not be sent twice must not be. */
#if LIBCURL_VERSION_NUM >= 0x075000
static int sending(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	struct http_transfer *t = arg;

	(void)ip, (void)local_ip, (void)port, (void)local_port;
	return t->sent_times++ && !transfer_repeatable(t) ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static void set_once(struct http_transfer *t, CURL *e)
{
	t->sent_times = 0;
	curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, sending);
	curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
}
#else
static void set_once(struct http_transfer *t, CURL *e)
{
	if (!transfer_repeatable(t))
		curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
}
#endif

/* Connections from before a silence may be dead without anybody having said so. */
static void set_freshness(struct http_transfer *t, CURL *e)
{
	if (t->fresh || t->probe)
		curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
#if LIBCURL_VERSION_NUM >= 0x075000
	if (t->host->back_at)
		curl_easy_setopt(e, CURLOPT_MAXLIFETIME_CONN, (long)((clock_mono_ms() - t->host->back_at) / 1000 + 1));
#endif
}

static void set_range(struct http_transfer *t, CURL *e)
{
	char range[RANGE_TEXT_MAX];

	t->from = t->has_range ? t->first + t->done_bytes : t->done_bytes;
	t->ranged = t->has_range || t->from;
	if (!t->ranged)
		return;
	range_format(t->from, t->has_range ? t->last : UINT64_MAX, range);
	curl_easy_setopt(e, CURLOPT_RANGE, range);
}

static int set_protocols(CURL *e)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	return curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") ? -ENOMEM : 0;
#else
	return curl_easy_setopt(e, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS) ? -ENOMEM : 0;
#endif
}

static size_t read_body(char *to, size_t size, size_t n, void *arg)
{
	struct http_transfer *t = arg;
	size_t want = size * n;
	ssize_t got;

	if (want > t->body_len - t->body_done)
		want = t->body_len - t->body_done;
	if (!want)
		return 0;
	do
		got = pread(t->body_fd, to, want, (off_t)(t->body_at + t->body_done));
	while (got < 0 && errno == EINTR);
	if (got <= 0) {
		transfer_fault(t, got < 0 ? -errno : -ENODATA, false, "what is to be sent cannot be read");
		t->final = true;
		return CURL_READFUNC_ABORT;
	}
	t->body_done += (uint64_t)got;
	if (t->body_done > t->body_most)
		t->body_most = t->body_done;
	return (size_t)got;
}

static int seek_body(void *arg, curl_off_t to, int whence)
{
	struct http_transfer *t = arg;

	if (whence != SEEK_SET || to < 0 || (uint64_t)to > t->body_len)
		return CURL_SEEKFUNC_FAIL;
	t->body_done = (uint64_t)to;
	return CURL_SEEKFUNC_OK;
}

static void set_body(struct http_transfer *t, CURL *e)
{
	bool says_length = transfer_is(t, "POST") || transfer_is(t, "PUT") || transfer_is(t, "PATCH");

	if (transfer_is(t, "GET") && !transfer_has_body(t))
		return;
	if (transfer_is(t, "HEAD")) {
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
		return;
	}
	if (!transfer_has_body(t) && !says_length) {
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, t->method);
		return;
	}
	/* POSTFIELDS for every method with a body, or that must say Content-Length: 0. */
	curl_easy_setopt(e, CURLOPT_POST, 1L);
	curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body_len);
	if (t->body_fd >= 0) {
		t->body_done = t->body_most = 0;
		curl_easy_setopt(e, CURLOPT_READFUNCTION, read_body);
		curl_easy_setopt(e, CURLOPT_READDATA, t);
		curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, seek_body);
		curl_easy_setopt(e, CURLOPT_SEEKDATA, t);
		if (t->body_len > HTTP_LONG_BODY)
			curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BUFFER);
	} else {
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, t->body ? t->body : "");
	}
	curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, t->method);
}

int request_make_easy(struct http_transfer *t, const struct http_config *c, const char *user_agent)
{
	CURL *e = curl_easy_init();
	int r = 0;

	if (!e)
		return -ENOMEM;
	t->easy = e;
	t->error[0] = 0;
	curl_easy_setopt(e, CURLOPT_URL, t->at);
	curl_easy_setopt(e, CURLOPT_PRIVATE, t);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);        /* we follow, and add secrets per hop */
	curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(e, CURLOPT_USERAGENT, user_agent);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)c->connect_ms);
	curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, t->on_data ? CONTENT_BUFFER : ANSWER_BUFFER);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
	curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);      /* a proxy's word is not the host's */
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)(t->host->http1 ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS));
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, c->insecure ? 0L : 1L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, c->insecure ? 0L : 2L);
	if (c->ca_file)
		curl_easy_setopt(e, CURLOPT_CAINFO, c->ca_file);
	if (c->proxy)
		curl_easy_setopt(e, CURLOPT_PROXY, c->proxy);
	r = set_protocols(e);
	set_body(t, e);
	set_range(t, e);
	set_once(t, e);
	set_freshness(t, e);
	/* A user's own headers may carry what only the first origin may know. */
	for (size_t i = 0; r == 0 && t->host == t->home && t->headers && t->headers[i]; i++)
		r = add(&t->slist, t->headers[i]);
	if (r == 0)
		r = add(&t->slist, t->expect ? "Expect: 100-continue" : "Expect:");
	if (r == 0 && transfer_has_body(t)) {
		_cleanup_free_ char *line = NULL;

		r = str_fmt(&line, "Content-Type: %s", t->content_type ? t->content_type : "application/octet-stream");
		if (r == 0)
			r = add(&t->slist, line);
	} else if (r == 0) {
		/* curl would say "form" by itself for a POST without a body. */
		r = add(&t->slist, "Content-Type:");
	}
	if (r == 0)
		r = add_secrets(t, c);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, t->slist);
	if (r < 0)
		request_drop_easy(t);
	return r;
}

void request_drop_easy(struct http_transfer *t)
{
	if (t->easy)
		curl_easy_cleanup(t->easy);
	t->easy = NULL;
	/* The list holds the secret's line. */
	for (struct curl_slist *l = t->slist; l; l = l->next)
		explicit_bzero(l->data, strlen(l->data));
	curl_slist_free_all(t->slist);
	t->slist = NULL;
}
