/* http-server.h - a server of the test's own: a thread a connection on 127.0.0.1, answers made by a function of the test, and
 * a log of what was asked. */
#ifndef SCIFS_TESTS_UNIT_HTTP_SERVER_H
#define SCIFS_TESTS_UNIT_HTTP_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <time.h>

#define SERVER_LOG_MAX 4096
#define SERVER_CONNECTIONS_MAX 256

struct asked {
	unsigned connection;
	char method[8], path[256];
	char head[2048];
	char body[256];
};

struct server {
	int fd, port;
	char url[64];
	/* Answers one request; false: close the connection. Called by several threads. */
	_Atomic(bool (*)(struct server *s, int fd, const struct asked *q)) answer;
	_Atomic int step;               /* the test's own */
	_Atomic bool hold;              /* accept and read, but answer nothing */
	pthread_t acceptor;
	pthread_mutex_t lock;
	struct asked *log;
	unsigned asked, connections;
	int fds[SERVER_CONNECTIONS_MAX];
	pthread_t threads[SERVER_CONNECTIONS_MAX];
};

struct server_connection {
	struct server *s;
	unsigned n;
	int fd;
};

static inline __attribute__((unused)) void nap(int ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&t, NULL);
}

static inline __attribute__((unused)) bool say(int fd, const char *format, ...)
{
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return send(fd, text, (size_t)n, MSG_NOSIGNAL) == n;
}

static inline __attribute__((unused)) bool say_bytes(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n) {
		ssize_t r = send(fd, at, n, MSG_NOSIGNAL);

		if (r <= 0)
			return false;
		at += r;
		n -= (size_t)r;
	}
	return true;
}

/* A header of what was asked, or NULL. */
static inline __attribute__((unused)) const char *asked_header(const struct asked *q, const char *name)
{
	static __thread char value[512];
	size_t n = strlen(name);

	for (const char *line = q->head; *line; line = strchr(line, '\n') + 1)
		if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
			snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + n + 2, "\r\n"), line + n + 2);
			return value;
		}
	return NULL;
}

static inline bool server_read(int fd, struct asked *q)
{
	char text[sizeof(q->head)], *end, *length;
	size_t n = 0, want = 0, have;

	memset(q, 0, sizeof(*q));
	do {
		ssize_t r = recv(fd, text + n, sizeof(text) - 1 - n, 0);

		if (r <= 0)
			return false;
		n += (size_t)r;
		text[n] = 0;
		end = strstr(text, "\r\n\r\n");
	} while (!end && n < sizeof(text) - 1);
	if (!end || sscanf(text, "%7s %255s", q->method, q->path) != 2)
		return false;
	have = n - (size_t)(end + 4 - text);
	memcpy(q->body, end + 4, have < sizeof(q->body) - 1 ? have : sizeof(q->body) - 1);
	end[2] = 0;
	snprintf(q->head, sizeof(q->head), "%s", text);
	length = strcasestr(q->head, "\ncontent-length:");
	if (length)
		want = strtoul(length + 16, NULL, 10);
	while (have < want) {
		char more[4096];
		ssize_t r = recv(fd, more, sizeof(more), 0);

		if (r <= 0)
			return false;
		if (have < sizeof(q->body) - 1)
			memcpy(q->body + have, more,
			       (size_t)r < sizeof(q->body) - 1 - have ? (size_t)r : sizeof(q->body) - 1 - have);
		have += (size_t)r;
	}
	return true;
}

static inline void *server_talk(void *arg)
{
	struct server_connection c = *(struct server_connection *)arg;
	struct server *s = c.s;
	struct asked *q = malloc(sizeof(*q));
	bool more = true;

	free(arg);
	while (more && server_read(c.fd, q)) {
		bool (*answer)(struct server *, int, const struct asked *) = atomic_load(&s->answer);

		q->connection = c.n;
		pthread_mutex_lock(&s->lock);
		if (s->asked < SERVER_LOG_MAX)
			s->log[s->asked++] = *q;
		pthread_mutex_unlock(&s->lock);
		if (!atomic_load(&s->hold))
			more = answer(s, c.fd, q);
	}
	shutdown(c.fd, SHUT_RDWR);
	free(q);
	return NULL;
}

static inline void *server_accept(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		struct server_connection *c = malloc(sizeof(*c));
		int one = 1;

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		pthread_mutex_lock(&s->lock);
		if (s->connections == SERVER_CONNECTIONS_MAX)
			abort();
		*c = (struct server_connection){s, s->connections, fd};
		s->fds[s->connections] = fd;
		pthread_create(&s->threads[s->connections], NULL, server_talk, c);
		s->connections++;
		pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

static inline __attribute__((unused)) struct server *
server_new(bool (*answer)(struct server *s, int fd, const struct asked *q))
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct server *s = calloc(1, sizeof(*s));
	socklen_t n = sizeof(a);

	assert_non_null(s);
	s->log = calloc(SERVER_LOG_MAX, sizeof(*s->log));
	pthread_mutex_init(&s->lock, NULL);
	atomic_store(&s->answer, answer);
	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&a, n), 0);
	assert_int_equal(listen(s->fd, 64), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &n), 0);
	s->port = ntohs(a.sin_port);
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d", s->port);
	assert_int_equal(pthread_create(&s->acceptor, NULL, server_accept, s), 0);
	return s;
}

static inline __attribute__((unused)) void server_free(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->acceptor, NULL);
	for (unsigned i = 0; i < s->connections; i++) {
		shutdown(s->fds[i], SHUT_RDWR);
		pthread_join(s->threads[i], NULL);
		close(s->fds[i]);
	}
	close(s->fd);
	pthread_mutex_destroy(&s->lock);
	free(s->log);
	free(s);
}

static inline __attribute__((unused)) unsigned server_asked(struct server *s)
{
	unsigned n;

	pthread_mutex_lock(&s->lock);
	n = s->asked;
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* The i-th request, from 0. */
static inline __attribute__((unused)) struct asked server_log(struct server *s, unsigned i)
{
	struct asked q;

	pthread_mutex_lock(&s->lock);
	assert_true(i < s->asked);
	q = s->log[i];
	pthread_mutex_unlock(&s->lock);
	return q;
}

#endif
