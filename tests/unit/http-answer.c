/* Answers made to hurt: heads that are no heads, lengths and parts that lie, patience without an end. Each ends soon, with an
 * error and a reason, and gives no byte that was not asked for. */
#include "test.h"

#include "http-world.h"

#include "base/clock.h"
#include "base/log.h"

#define SMALL 50

static bool say_zeros(int fd, size_t n)
{
	char some[4096];

	memset(some, 'x', sizeof(some));
	for (; n; n -= n < sizeof(some) ? n : sizeof(some))
		if (!say_bytes(fd, some, n < sizeof(some) ? n : sizeof(some)))
			return false;
	return true;
}

/* Asked are always the bytes 40 to 89. */
static bool hurting(struct server *s, int fd, const struct asked *q)
{
	static const char nul[] = "HTTP/1.1 206 P\r\nX-One: a\0b\r\nContent-Range: bytes 40-89/100000\r\nContent-Length: 50\r\n\r\n";
	const char *path = q->path + 1;

	if (strcmp(path, "nul") == 0)
		return say_bytes(fd, nul, sizeof(nul) - 1) && say_bytes(fd, content + 40, SMALL);
	if (strcmp(path, "long-line") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nX-Long: ") && say_zeros(fd, 200000) && say(fd, "\r\n\r\n");
	if (strcmp(path, "many-lines") == 0) {
		(void)say(fd, "HTTP/1.1 206 P\r\n");
		for (int i = 0; i < 100000 && say(fd, "X-%d: y\r\n", i); i++)
			;
		return false;
	}
	if (strcmp(path, "words-on-the-way") == 0) {
		for (int i = 0; i < 100; i++)
			(void)say(fd, "HTTP/1.1 103 Early\r\nContent-Range: bytes 0-9/10\r\n\r\n");
		return say_part_head(fd, 40, 89) && say_bytes(fd, content + 40, SMALL);
	}
	if (strcmp(path, "negative") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nContent-Length: -1\r\nContent-Range: bytes 40-89/100000\r\n\r\n") && false;
	if (strcmp(path, "absurd") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nContent-Length: 99999999999999999999999\r\nContent-Range: bytes 40-89/100000\r\n\r\n") &&
		       say_bytes(fd, content + 40, SMALL) && false;   /* curl may take it for a body to the end */
	/* The head names fewer bytes than the body has: nobody knows what the others are. */
	if (strcmp(path, "more-than-its-range") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nContent-Length: 50\r\nContent-Range: bytes 40-49/100000\r\n\r\n") && say_zeros(fd, 50);
	if (strcmp(path, "more-in-chunks") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 40-49/100000\r\n\r\n32\r\n") &&
		       say_zeros(fd, 50) && say(fd, "\r\n0\r\n\r\n");
	if (strcmp(path, "range-of-nonsense") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nContent-Length: 50\r\nContent-Range: bytes 40-99999999999999999999999/x\r\n\r\n") &&
		       say_zeros(fd, 50);
	if (strcmp(path, "parts") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 50\r\n\r\n") &&
		       say_zeros(fd, 50);
	if (strcmp(path, "trailer") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 40-89/100000\r\n\r\n32\r\n") &&
		       say_bytes(fd, content + 40, SMALL) &&
		       say(fd, "\r\n0\r\nContent-Range: bytes 0-9/10\r\nHTTP/1.1 500 Gotcha\r\n\r\n");
	if (strcmp(path, "gzip") == 0)  /* of the content itself: those are its bytes */
		return say(fd, "HTTP/1.1 206 P\r\nContent-Encoding: gzip\r\nContent-Length: 50\r\nContent-Range: bytes 40-89/100000\r\n\r\n") &&
		       say_bytes(fd, content + 40, SMALL);
	if (strcmp(path, "chunk-of-nonsense") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 40-89/100000\r\n\r\nzz\r\n");
	if (strcmp(path, "chunk-absurd") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 40-89/100000\r\n\r\n"
		               "fffffffffffffffffffff\r\n");
	if (strcmp(path, "no-end-of-head") == 0)
		return say(fd, "HTTP/1.1 206 P\r\nContent-Length: 50\r\n");
	if (strcmp(path, "first-version") == 0)
		return say_bytes(fd, content + 40, SMALL) && false;
	if (strcmp(path, "status-of-nonsense") == 0)
		return say(fd, "HTTP/1.1 banana\r\n\r\n") && false;
	if (strcmp(path, "switching") == 0)
		return say(fd, "HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n") && say_zeros(fd, 50) && false;
	return false;
}

static void test_hurting_answers(void **state)
{
	enum { GOOD, BAD, EITHER };
	/* err 0: whichever. */
	static const struct {
		const char *path;
		int want, err;
	} cases[] = {
		{"/nul", BAD, 0}, {"/long-line", BAD, 0}, {"/many-lines", BAD, -EMSGSIZE}, {"/words-on-the-way", GOOD, 0},
		{"/negative", BAD, 0}, {"/absurd", EITHER, 0}, {"/more-than-its-range", BAD, -EPROTO}, {"/more-in-chunks", BAD, -EPROTO},
		{"/range-of-nonsense", BAD, -EPROTO}, {"/parts", BAD, -EPROTO}, {"/trailer", GOOD, 0}, {"/gzip", GOOD, 0},
		{"/chunk-of-nonsense", BAD, 0}, {"/chunk-absurd", BAD, 0}, {"/no-end-of-head", BAD, 0}, {"/first-version", BAD, -EPROTO},
		{"/status-of-nonsense", BAD, 0}, {"/switching", BAD, 0},
	};
	struct http_config c = quick;
	c.stall_ms = 60000;
	c.breaker_failures = 1000000;   /* one that stands still is not to speak for the next */
	_cleanup_world_ struct world w = world_new(hurting, &c);

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_got_ struct got *g = got_new();
		struct http_request q = part(url_of(&w, cases[i].path), 40, 89);

		/* What comes has all the time that a slow machine wants; what does not come takes all it is given. */
		q.deadline_ms = cases[i].want == GOOD || cases[i].err ? 60000 : 1500;
		fetch(&w, &q, g);
		if ((cases[i].want != EITHER && (g->err < 0) != (cases[i].want == BAD)) || (cases[i].err && g->err != cases[i].err))
			fail_msg("%s: %d (%s), %zu bytes", cases[i].path, g->err, g->message, g->n);
		/* Whatever was handed over is of the content. */
		assert_true(g->n <= SMALL);
		assert_memory_equal(g->data ? g->data : "", content + 40, g->n);
		if (g->err)
			assert_true(g->message[0]);
		for (const char *p = g->message; *p; p++)
			assert_in_range(*p, 32, 126);
	}
}

/* ---- progress that is none ---- */

static bool a_byte_at_a_time(struct server *s, int fd, const struct asked *q)
{
	size_t first, last;

	if (wanted_range(q, &first, &last) && say_part_head(fd, first, last))
		(void)say_bytes(fd, content + first, 1);
	nap(2);
	return false;
}

static void test_a_byte_for_each_connection_is_no_progress(void **state)
{
	struct http_config c = quick;
	c.deadline_ms = 1500;
	_cleanup_world_ struct world w = world_new(a_byte_at_a_time, &c);
	_cleanup_got_ struct got *g = got_new();
	struct http_request q = part(url_of(&w, "/f"), 0, CONTENT - 1);

	fetch(&w, &q, g);
	assert_true(g->err < 0);
	assert_true(g->attempts > 1 && g->n > 1);
	assert_true(g->n < 300);
	assert_memory_equal(g->data, content, g->n);
}

static bool at_once(struct server *s, int fd, const struct asked *q)
{
	return say(fd, "HTTP/1.1 503 Busy\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n",
	           q->path[1] == 'd' ? "Thu, 01 Jan 1970 00:00:00 GMT" : "0");
}

static void test_patience_of_no_time_is_not_hammered(void **state)
{
	struct http_config c = quick;
	c.deadline_ms = 2000;
	_cleanup_world_ struct world w = world_new(at_once, &c);
	static const char *const paths[] = {"/0", "/d"};

	for (size_t i = 0; i < COUNT(paths); i++) {
		struct http_request q = {.url = url_of(&w, paths[i])};
		unsigned before = server_asked(w.s);
		struct http_reply r;

		assert_int_equal(http_call(w.h, &q, &r), -EAGAIN);
		assert_int_equal(r.status, 503);
		http_reply_done(&r);
		assert_in_range(server_asked(w.s) - before, 2, 12);
	}
}

/* ---- what waited unseen is not late when somebody comes for it ---- */

static void test_hurried_after_its_time_is_fetched(void **state)
{
	struct http_config c = quick;
	c.connections_host = 1;
	c.deadline_ms = 2000;
	c.stall_ms = 20000;
	_cleanup_world_ struct world w = world_new(good, &c);
	_cleanup_got_ struct got *paused = got_new(), *ahead = got_new();
	struct http_request q = part(url_of(&w, "/first"), 0, 9);

	/* The only connection is taken for longer than a deadline. */
	atomic_store(&w.s->hold, true);
	q.deadline_ms = 20000;
	q.arg = paused;
	assert_int_equal(http_submit(w.h, &q, &paused->t), 0);
	WAIT_FOR(server_asked(w.s) == 1);
	q = part(url_of(&w, "/ahead"), 10, 19);
	q.priority = HTTP_PREFETCH;
	q.arg = ahead;
	assert_int_equal(http_submit(w.h, &q, &ahead->t), 0);
	nap(2200);
	http_hurry(w.h, ahead->t);
	nap(100);
	assert_int_equal(locked_int(ahead, &ahead->done), 0);
	atomic_store(&w.s->hold, false);
	http_cancel(w.h, paused->t);
	got_wait(ahead);
	assert_bytes(ahead, 10, 10);
	got_wait(paused);
}

/* ---- what is kept between requests ---- */

static struct server *elsewhere;

static bool baking(struct server *s, int fd, const struct asked *q)
{
	if (strcmp(q->path, "/away") == 0)
		return say(fd, "HTTP/1.1 302 F\r\nSet-Cookie: girderToken=secret; Path=/\r\nLocation: %s/f\r\nContent-Length: 0\r\n\r\n",
		           elsewhere->url);
	return say(fd, "HTTP/1.1 200 OK\r\nSet-Cookie: girderToken=secret; Path=/\r\nContent-Length: 0\r\n\r\n");
}

static void test_cookies_are_not_kept(void **state)
{
	_cleanup_world_ struct world w = world_new(baking, &quick);
	struct http_request q = {.url = url_of(&w, "/away")};
	struct http_reply r;

	elsewhere = server_new(good);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(http_call(w.h, &q, &r), 0);
		http_reply_done(&r);
	}
	q.url = url_of(&w, "/near");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(http_call(w.h, &q, &r), 0);
		http_reply_done(&r);
	}
	for (unsigned i = 0; i < server_asked(w.s); i++) {
		struct asked a = server_log(w.s, i);

		assert_null(asked_header(&a, "Cookie"));
	}
	assert_int_equal(server_asked(elsewhere), 2);
	for (unsigned i = 0; i < 2; i++) {
		struct asked a = server_log(elsewhere, i);

		assert_null(asked_header(&a, "Cookie"));
		assert_null(strstr(a.head, "secret"));
	}
	server_free(elsewhere);
}

/* ---- a link that leads nowhere ---- */

static bool to_nowhere(struct server *s, int fd, const struct asked *q)
{
	return say(fd, "HTTP/1.1 303 S\r\nLocation: http://127.0.0.1:%d/gone\r\nContent-Length: 0\r\n\r\n", atomic_load(&s->step));
}

static void test_a_question_sent_on_to_a_dead_host_ends_with_its_silence(void **state)
{
	_cleanup_world_ struct world w = world_new(to_nowhere, &quick);
	struct server *gone = server_new(good);
	struct http_request q = {.url = url_of(&w, "/"), .deadline_ms = 60000};
	uint64_t then = clock_mono_ms();
	struct http_reply r;

	atomic_store(&w.s->step, gone->port);
	server_free(gone);
	assert_int_equal(http_call(w.h, &q, &r), -EHOSTDOWN);
	assert_true(clock_mono_ms() - then < 30000);
	assert_string_equal(r.message, "where this leads to, no server answers");
	assert_false(http_host_silent(w.h, w.s->url));
	http_reply_done(&r);
}

/* ---- room for readers ---- */

static void test_what_nobody_waits_for_leaves_a_connection(void **state)
{
	struct http_config c = quick;
	c.connections_host = 3;
	c.stall_ms = 20000;
	_cleanup_world_ struct world w = world_new(good, &c);
	struct got *g[7];

	atomic_store(&w.s->hold, true);
	for (size_t i = 0; i < COUNT(g); i++) {
		struct http_request q = part(url_of(&w, i < 6 ? "/ahead" : "/read"), 0, 9);

		q.priority = i == 6 ? HTTP_READ : i % 2 ? HTTP_PREFETCH : HTTP_UPLOAD;
		q.arg = g[i] = got_new();
		if (i == 6) {
			WAIT_FOR(server_asked(w.s) == 2);
			nap(50);
			assert_int_equal(server_asked(w.s), 2);
		}
		assert_int_equal(http_submit(w.h, &q, &g[i]->t), 0);
	}
	WAIT_FOR(server_asked(w.s) == 3);
	assert_string_equal(server_log(w.s, 2).path, "/read");
	http_free(w.h);
	w.h = NULL;
	for (size_t i = 0; i < COUNT(g); i++)
		got_free(g[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hurting_answers),
		cmocka_unit_test(test_a_byte_for_each_connection_is_no_progress),
		cmocka_unit_test(test_patience_of_no_time_is_not_hammered),
		cmocka_unit_test(test_hurried_after_its_time_is_fetched),
		cmocka_unit_test(test_cookies_are_not_kept),
		cmocka_unit_test(test_a_question_sent_on_to_a_dead_host_ends_with_its_silence),
		cmocka_unit_test(test_what_nobody_waits_for_leaves_a_connection),
	};

	content_fill();
	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
