/* http-world.h - an engine and a server for it: what the tests of http ask, and what came of it. */
#ifndef SCIFS_TESTS_UNIT_HTTP_WORLD_H
#define SCIFS_TESTS_UNIT_HTTP_WORLD_H

#include "http-server.h"

#include "base/cleanup.h"
#include "http/http.h"

#define CONTENT 100000
#define WAIT_MS 20000

static char content[CONTENT];

/* One transfer and what came of it. */
struct got {
	pthread_mutex_t lock;
	struct http_transfer *t;
	char *data;
	size_t n, room;
	int calls, done, err, status, pause_after, fail_with;
	unsigned attempts;
	bool in_doubt, paused;
	char message[160];
};

static inline __attribute__((unused)) int take(void *arg, const void *data, size_t n)
{
	struct got *g = arg;
	int r = 0;

	pthread_mutex_lock(&g->lock);
	g->calls++;
	if (g->fail_with) {
		r = g->fail_with;
	} else if (g->pause_after && g->n >= (size_t)g->pause_after) {
		g->paused = true;
		r = HTTP_PAUSE;
	} else {
		if (g->n + n > g->room)
			g->data = realloc(g->data, g->room = g->n + n);
		memcpy(g->data + g->n, data, n);
		g->n += n;
	}
	pthread_mutex_unlock(&g->lock);
	return r;
}

static inline __attribute__((unused)) void done(void *arg, int err, const struct http_reply *reply)
{
	struct got *g = arg;

	pthread_mutex_lock(&g->lock);
	g->err = err;
	g->status = reply->status;
	g->attempts = reply->attempts;
	g->in_doubt = reply->in_doubt;
	snprintf(g->message, sizeof(g->message), "%s", reply->message);
	g->done++;
	pthread_mutex_unlock(&g->lock);
}

static inline __attribute__((unused)) struct got *got_new(void)
{
	struct got *g = calloc(1, sizeof(*g));

	pthread_mutex_init(&g->lock, NULL);
	return g;
}

static inline __attribute__((unused)) void got_free(struct got *g)
{
	pthread_mutex_destroy(&g->lock);
	free(g->data);
	free(g);
}
DEFINE_CLEANUP(struct got *, got_free)
#define _cleanup_got_ _cleanup_(got_freep)

#define WAIT_FOR(condition)                                        \
	do {                                                       \
		int _left = WAIT_MS;                               \
		while (!(condition) && _left-- > 0)                \
			nap(1);                                    \
		if (_left <= 0)                                    \
			fail_msg("never came: %s", #condition);    \
	} while (0)

static inline __attribute__((unused)) int locked_int(struct got *g, const int *v)
{
	int n;

	pthread_mutex_lock(&g->lock);
	n = *v;
	pthread_mutex_unlock(&g->lock);
	return n;
}

static inline __attribute__((unused)) bool is_paused(struct got *g)
{
	bool v;

	pthread_mutex_lock(&g->lock);
	v = g->paused;
	pthread_mutex_unlock(&g->lock);
	return v;
}

static inline __attribute__((unused)) void got_wait(struct got *g)
{
	WAIT_FOR(locked_int(g, &g->done));
	assert_int_equal(g->done, 1);
}

static const struct http_config quick = {
	.connect_ms = 2000, .stall_ms = 300, .deadline_ms = 4000, .retry_ms = 10, .throttle_ms = 50, .throttle_max_ms = 3000,
	.probe_ms = 50,
};

struct world {
	struct server *s;
	struct http *h;
};

static inline __attribute__((unused)) struct world
world_new(bool (*answer)(struct server *s, int fd, const struct asked *q), const struct http_config *c)
{
	struct world w = {.s = server_new(answer)};

	assert_int_equal(http_new(c, &w.h), 0);
	return w;
}

static inline __attribute__((unused)) void world_done(struct world *w)
{
	http_free(w->h);
	server_free(w->s);
}
#define _cleanup_world_ _cleanup_(world_done)

static inline __attribute__((unused)) char *url_of(struct world *w, const char *path)
{
	static __thread char url[512];

	snprintf(url, sizeof(url), "%s%s", w->s->url, path);
	return url;
}

static inline __attribute__((unused)) struct http_request part(const char *url, uint64_t first, uint64_t last)
{
	return (struct http_request){
		.url = url, .has_range = true, .first = first, .last = last, .total = CONTENT, .on_data = take, .on_done = done,
	};
}

static inline __attribute__((unused)) void fetch(struct world *w, struct http_request *q, struct got *g)
{
	q->arg = g;
	assert_int_equal(http_submit(w->h, q, &g->t), 0);
	got_wait(g);
}

static inline __attribute__((unused)) void assert_bytes(const struct got *g, size_t first, size_t n)
{
	if (g->err)
		fail_msg("%d: %s", g->err, g->message);
	assert_int_equal(g->n, n);
	assert_memory_equal(g->data, content + first, n);
}

/* ---- a server that does as it should ---- */

static inline __attribute__((unused)) void content_fill(void)
{
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (char)(i * 2654435761u >> 13);
}

static inline __attribute__((unused)) bool wanted_range(const struct asked *q, size_t *first, size_t *last)
{
	const char *range = asked_header(q, "Range");

	*first = 0;
	*last = CONTENT - 1;
	if (!range)
		return false;
	if (sscanf(range, "bytes=%zu-%zu", first, last) < 1)
		return false;
	if (*last >= CONTENT)
		*last = CONTENT - 1;
	return true;
}

static inline __attribute__((unused)) bool say_part_head(int fd, size_t first, size_t last)
{
	return say(fd, "HTTP/1.1 206 Partial Content\r\nContent-Length: %zu\r\nContent-Range: bytes %zu-%zu/%d\r\n\r\n",
	           last - first + 1, first, last, CONTENT);
}

static inline __attribute__((unused)) bool good(struct server *s, int fd, const struct asked *q)
{
	size_t first, last;

	if (strcmp(q->method, "GET") != 0 && strcmp(q->method, "HEAD") != 0)
		return say(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(q->body), q->body);
	if (strcmp(q->path, "/missing") == 0)
		return say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\nX-Why: it\r\n\r\nno such file");
	if (wanted_range(q, &first, &last)) {
		if (!say_part_head(fd, first, last))
			return false;
	} else if (!say(fd, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", CONTENT)) {
		return false;
	}
	return strcmp(q->method, "HEAD") == 0 || say_bytes(fd, content + first, last - first + 1);
}

#endif
