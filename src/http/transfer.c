/* transfer.c - a request as the engine keeps it: copied, freed, asked about. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "http/private.h"

DEFINE_CLEANUP(struct http_transfer *, transfer_free)

void transfer_free(struct http_transfer *t)
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

static int copy_headers(const char *const *from, char ***ret)
{
	size_t n = 0;
	char **list;

	while (from && from[n])
		n++;
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	*ret = list;            /* the transfer frees it, half filled or not */
	for (size_t i = 0; i < n; i++)
		if (!(list[i] = strdup(from[i])))
			return -ENOMEM;
	return 0;
}

int transfer_new(const struct http_request *q, const struct http_config *c, struct http_transfer **ret)
{
	_cleanup_(transfer_freep) struct http_transfer *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	list_init(&t->link);
	list_init(&t->noted);
	if (q->body_is_file && (q->body || q->body_fd < 0 || q->body_at > INT64_MAX - q->body_len))
		return -EINVAL;
	if (q->has_range && (q->last < q->first || q->last == UINT64_MAX))
		return -EINVAL;
	r = url_clean(q->url, &t->url);
	if (r < 0)
		return r;
	if (str_dup(q->method ? q->method : "GET", &t->method) < 0 || str_dup(q->auth_header, &t->auth_header) < 0 ||
	    str_dup(q->auth_prefix, &t->auth_prefix) < 0 || str_dup(q->content_type, &t->content_type) < 0 ||
	    copy_headers(q->headers, &t->headers) < 0)
		return -ENOMEM;
	t->auth = secret_ref(q->auth);
	t->body = q->body;
	t->body_fd = q->body_is_file ? q->body_fd : -1;
	t->body_at = q->body_at;
	t->body_len = transfer_has_body(t) ? q->body_len : 0;
	t->keep_once_sent = q->keep_once_sent;
	t->max_body = q->max_body ? q->max_body : HTTP_BODY_MAX;
	t->max_headers = q->max_headers ? q->max_headers : HTTP_HEADERS_MAX;
	t->has_range = q->has_range;
	t->expect_length = q->expect_length;
	t->expect = q->expect;
	t->idempotent = q->idempotent;
	t->once = q->once;
	t->cache_redirect = q->cache_redirect;
	t->first_contact = q->first_contact;
	t->first = q->first;
	t->last = q->last;
	t->total = q->has_range || q->expect_length ? q->total : UINT64_MAX;
	t->seen_total = UINT64_MAX;
	t->priority = q->priority <= HTTP_UPLOAD ? q->priority : HTTP_META;
	t->deadline_ms = q->deadline_ms ? q->deadline_ms : c->deadline_ms;
	t->slow_named = q->slow_ms;
	t->slow_ms = q->slow_ms ? q->slow_ms : c->stall_ms;
	t->on_data = q->on_data;
	t->on_done = q->on_done;
	t->arg = q->arg;
	t->queued_at = clock_mono_ms();
	t->deadline_at = t->queued_at + t->deadline_ms;
	*ret = TAKE(t);
	return 0;
}

bool transfer_is(const struct http_transfer *t, const char *method)
{
	return strcmp(t->method, method) == 0;
}

bool transfer_repeatable(const struct http_transfer *t)
{
	return !t->once && (t->idempotent || transfer_is(t, "GET") || transfer_is(t, "HEAD"));
}

bool transfer_has_body(const struct http_transfer *t)
{
	return t->body || t->body_fd >= 0;
}

bool transfer_streams(const struct http_transfer *t)
{
	return t->on_data || t->body_len > HTTP_LONG_BODY;
}

void transfer_fault(struct http_transfer *t, int err, bool retryable, const char *message)
{
	size_t n;

	t->stop = err;
	t->retryable = retryable;
	snprintf(t->reply.message, sizeof(t->reply.message), "%s", message);
	/* Some of curl's words quote what the server sent. */
	for (n = 0; t->reply.message[n]; n++)
		if ((unsigned char)t->reply.message[n] < 32 || (unsigned char)t->reply.message[n] > 126)
			t->reply.message[n] = '?';
}
