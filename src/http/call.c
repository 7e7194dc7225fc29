/* call.c - a request as a straight line: submit and wait; and what a reply is to those who hold one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "http/private.h"

static __thread const int *thread_cancelled;

struct call {
	struct http *h;
	bool done;
	int err;
	struct http_reply *reply;
};

const int *http_set_cancel(const int *cancelled)
{
	const int *before = thread_cancelled;

	thread_cancelled = cancelled;
	return before;
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
			/* Past the end of the line when the value is empty. */
			l = v < line + len ? (size_t)(line + len - v) : 0;
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

/* Engine thread. */
static void call_done(void *arg, int err, const struct http_reply *reply)
{
	struct call *c = arg;
	/* The engine frees its reply after this: what it owns is taken over. */
	struct http_reply *from = (struct http_reply *)reply;

	WITH_LOCK(&c->h->call_lock) {
		*c->reply = *from;
		http_reply_init(from);
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
	r = engine_submit(h, &q, &c, &t);
	if (r < 0) {
		snprintf(ret->message, sizeof(ret->message), "%s", strerror(-r));
		return r;
	}
	WITH_LOCK(&h->call_lock)
		while (!c.done) {
			if (cancelled && !told && __atomic_load_n(cancelled, __ATOMIC_RELAXED)) {
				http_cancel(h, t);
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
