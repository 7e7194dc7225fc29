/* The engine against a server of the test's own: what is asked, what is believed, what is repeated, what is given up. */
#include "test.h"

#include "http-world.h"

#include <sys/mman.h>

#include "base/clock.h"
#include "base/log.h"

static void test_calls(void **state)
{
	_cleanup_world_ struct world w = world_new(good, &quick);
	struct http_request q = {.url = url_of(&w, "/a b?c d")};
	struct http_reply r;
	struct asked a;
	char value[8];
	int first = 0;

	assert_int_equal(http_call(w.h, &q, &r), 0);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.body.len, CONTENT);
	assert_memory_equal(r.body.data, content, CONTENT);
	http_reply_done(&r);
	/* On a very slow machine the host is asked first whether it is there. */
	do
		a = server_log(w.s, first++);
	while (strcmp(a.path, "/") == 0);
	assert_string_equal(a.path, "/a%20b?c+d");
	assert_null(asked_header(&a, "Accept-Encoding"));
	assert_null(asked_header(&a, "Expect"));
	assert_null(asked_header(&a, "Content-Type"));
	assert_non_null(strstr(asked_header(&a, "User-Agent"), "scifs/"));

	q = (struct http_request){.url = url_of(&w, "/missing")};
	assert_int_equal(http_call(w.h, &q, &r), -ENOENT);
	assert_int_equal(r.status, 404);
	assert_string_equal(buf_str(&r.body), "no such file");
	assert_string_equal(r.message, "HTTP 404");
	assert_string_equal(r.url, url_of(&w, "/missing"));
	assert_int_equal(http_header(&r, "x-why", value, sizeof(value)), 0);
	assert_string_equal(value, "it");
	http_reply_done(&r);

	q = (struct http_request){.url = url_of(&w, "/"), .method = "HEAD"};
	assert_int_equal(http_call(w.h, &q, &r), 0);
	assert_int_equal(r.body.len, 0);
	http_reply_done(&r);

	q = (struct http_request){.url = url_of(&w, "/"), .max_body = CONTENT - 1};
	assert_int_equal(http_call(w.h, &q, &r), -EMSGSIZE);
	http_reply_done(&r);
}

static void test_methods_with_and_without_a_body(void **state)
{
	_cleanup_world_ struct world w = world_new(good, &quick);
	static const char *const headers[] = {"Accept: application/json", NULL};
	static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE"};
	struct http_reply r;

	for (unsigned i = 0; i < COUNT(methods); i++) {
		struct http_request q = {.url = url_of(&w, "/m"), .method = methods[i], .headers = headers, .body = "{}", .body_len = 2,
		                         .content_type = "application/json"};
		struct asked a;

		assert_int_equal(http_call(w.h, &q, &r), 0);
		assert_string_equal(buf_str(&r.body), "{}");
		http_reply_done(&r);
		a = server_log(w.s, 2 * i);
		assert_string_equal(a.method, methods[i]);
		assert_string_equal(asked_header(&a, "Content-Type"), "application/json");
		assert_string_equal(asked_header(&a, "Content-Length"), "2");
		assert_string_equal(asked_header(&a, "Accept"), "application/json");
		assert_null(strstr(strstr(a.head, "Accept:") + 1, "Accept:"));
		q.body = NULL;
		assert_int_equal(http_call(w.h, &q, &r), 0);
		http_reply_done(&r);
		a = server_log(w.s, 2 * i + 1);
		assert_string_equal(a.method, methods[i]);
		assert_null(asked_header(&a, "Content-Type"));
		if (i < 3)
			assert_string_equal(asked_header(&a, "Content-Length"), "0");
	}
	assert_int_equal(w.s->connections, 1);  /* kept and used again */
}

/* A nameless file with these bytes. */
static int file_with(const char *bytes, size_t n)
{
	int fd = memfd_create("body", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, 0), (ssize_t)n);
	return fd;
}

static bool drop_the_first(struct server *s, int fd, const struct asked *q)
{
	return atomic_fetch_add(&s->step, 1) == 0 ? false : good(s, fd, q);
}

static void test_a_body_comes_from_a_file(void **state)
{
	_cleanup_world_ struct world w = world_new(drop_the_first, &quick);
	_cleanup_close_ int fd = file_with("0123456789", 10);
	struct http_request q = {.url = url_of(&w, "/m"), .method = "PUT", .body_is_file = true, .body_fd = fd, .body_at = 3, .body_len = 5,
	                         .idempotent = true};
	struct http_reply r;

	/* The first attempt is dropped after it was read: the second begins at the same byte. */
	assert_int_equal(http_call(w.h, &q, &r), 0);
	assert_int_equal(r.attempts, 2);
	assert_true(r.sent_whole);
	http_reply_done(&r);
	for (unsigned i = 0; i < 2; i++) {
		struct asked a = server_log(w.s, i);

		assert_string_equal(a.body, "34567");
		assert_string_equal(asked_header(&a, "Content-Length"), "5");
		assert_string_equal(asked_header(&a, "Content-Type"), "application/octet-stream");
	}
}

static void test_a_file_that_became_too_short_ends_it(void **state)
{
	_cleanup_world_ struct world w = world_new(good, &quick);
	_cleanup_close_ int fd = file_with("0123456789", 10);
	struct http_request q = {.url = url_of(&w, "/m"), .method = "POST", .body_is_file = true, .body_fd = fd, .body_at = 3, .body_len = 50};
	struct http_reply r;

	assert_int_equal(http_call(w.h, &q, &r), -ENODATA);
	assert_int_equal(r.attempts, 1);
	assert_false(r.sent_whole);
	assert_non_null(strstr(r.message, "cannot be read"));
	http_reply_done(&r);
	q.body = "x";
	assert_int_equal(http_call(w.h, &q, &r), -EINVAL);      /* one or the other */
	http_reply_done(&r);
}

static void test_refuses_what_is_no_request(void **state)
{
	_cleanup_world_ struct world w = world_new(good, &quick);
	struct http_request q = {.url = "ftp://127.0.0.1/"};
	struct http_reply r;

	assert_int_equal(http_call(w.h, &q, &r), -EINVAL);
	http_reply_done(&r);
	q.url = NULL;
	assert_int_equal(http_submit(w.h, &q, NULL), -EINVAL);
	q = part(url_of(&w, "/"), 5, 4);
	assert_int_equal(http_submit(w.h, &q, NULL), -EINVAL);
}

static void test_parts(void **state)
{
	static const size_t cases[][2] = {{0, 0}, {0, CONTENT - 1}, {10, 19}, {CONTENT - 1, CONTENT - 1}, {70000, 99998}};
	_cleanup_world_ struct world w = world_new(good, &quick);

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_got_ struct got *g = got_new();
		struct http_request q = part(url_of(&w, "/f"), cases[i][0], cases[i][1]);

		fetch(&w, &q, g);
		assert_bytes(g, cases[i][0], cases[i][1] - cases[i][0] + 1);
		assert_int_equal(g->attempts, 1);
	}
}

/* ---- answers that are not what was asked: a table ---- */

static bool odd(struct server *s, int fd, const struct asked *q)
{
	size_t first, last, n;

	wanted_range(q, &first, &last);
	n = last - first + 1;
	switch (q->path[1]) {
	case 'a':       /* the whole, under the name of a part: Girder past the end */
		return say_part_head(fd, 0, CONTENT - 1) && say_bytes(fd, content, CONTENT);
	case 'b':       /* the whole where a part was asked for, as by servers without ranges */
		return say(fd, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", CONTENT) && say_bytes(fd, content, CONTENT);
	case 'c':       /* of something else */
		say(fd, "HTTP/1.1 206 P\r\nContent-Length: %zu\r\nContent-Range: bytes %zu-%zu/%d\r\n\r\n", n, first, last, CONTENT + 1);
		return say_bytes(fd, content + first, n);
	case 'd':       /* without a word */
		return say(fd, "HTTP/1.1 206 P\r\nContent-Length: %zu\r\n\r\n", n) && say_bytes(fd, content + first, n);
	case 'e':       /* more than asked for */
		return say_part_head(fd, first, CONTENT - 1) && say_bytes(fd, content + first, CONTENT - first);
	case 'f':       /* less than announced, always at the same place */
		(void)(say_part_head(fd, first, last) && say_bytes(fd, content + first, first < 50 ? 5 : 0));
		return false;
	case 'g':       /* no content at all */
		return say(fd, "HTTP/1.1 204 No Content\r\n\r\n");
	case 'h':       /* the whole, of another length */
		return say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789");
	case 'i':       /* out of range */
		return say(fd, "HTTP/1.1 416 No\r\nContent-Length: 0\r\nContent-Range: bytes */5\r\n\r\n");
	case 'j':       /* a shorter part than asked for, honestly: what is missing is asked for again */
		if (last > first + 9)
			last = first + 9;
		return say_part_head(fd, first, last) && say_bytes(fd, content + first, last - first + 1);
	case 'k':       /* nonsense */
		(void)say(fd, "SSH-2.0-OpenSSH_9.2\r\n");
		return false;
	case 'l':       /* an error without an end */
		say(fd, "HTTP/1.1 500 Oops\r\n\r\n");
		while (say_bytes(fd, content, CONTENT))
			;
		return false;
	case 'm':       /* the length is not told */
		say(fd, "HTTP/1.1 206 P\r\nContent-Length: %zu\r\nContent-Range: bytes %zu-%zu/*\r\n\r\n", n, first, last);
		return say_bytes(fd, content + first, n);
	default:
		return false;
	}
}

static void test_odd_answers(void **state)
{
	static const struct {
		const char *path;
		int err;
		size_t n;
	} cases[] = {
		{"/a", -EPROTO, 0}, {"/b", 0, 50}, {"/c", -ESTALE, 0}, {"/d", -EPROTO, 0}, {"/e", 0, 50}, {"/g", -EPROTO, 0},
		{"/h", -ESTALE, 0}, {"/i", -ESTALE, 0}, {"/j", 0, 50}, {"/k", -EPROTO, 0}, {"/l", -EIO, 0}, {"/m", 0, 50},
	};
	struct http_config c = quick;
	c.deadline_ms = 1000;
	_cleanup_world_ struct world w = world_new(odd, &c);

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_got_ struct got *g = got_new();
		struct http_request q = part(url_of(&w, cases[i].path), 40, 89);

		fetch(&w, &q, g);
		if (g->err != cases[i].err || g->n != cases[i].n)
			fail_msg("%s: %d (%s), %zu bytes", cases[i].path, g->err, g->message, g->n);
		if (!g->err)
			assert_bytes(g, 40, 50);
		else
			assert_true(g->message[0]);
	}
}

static void test_a_body_that_never_comes_whole_is_an_error(void **state)
{
	struct http_config c = quick;
	c.deadline_ms = 2000;
	c.stall_ms = 20000;
	_cleanup_world_ struct world w = world_new(odd, &c);
	_cleanup_got_ struct got *g = got_new();
	struct http_request q = part(url_of(&w, "/f"), 40, 89);

	fetch(&w, &q, g);
	assert_int_equal(g->err, -EIO);
	assert_true(g->attempts > 1);
	assert_true(g->n < 50);
	assert_memory_equal(g->data, content + 40, g->n);
}

static bool lengths(struct server *s, int fd, const struct asked *q)
{
	switch (q->path[1]) {
	case 's':       /* shorter than expected, chunked */
		return say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
	case 'l':       /* longer than expected, chunked */
		return say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n");
	case 'm':       /* longer, in the same chunk */
		return say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabcdefghi\r\n0\r\n\r\n");
	case 'n':       /* as announced, but that is not as expected */
		return say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef");
	case 'z':
		return say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	default:
		return say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde");
	}
}

static void test_the_whole_has_the_length_it_should(void **state)
{
	static const struct {
		const char *path;
		uint64_t total;
		int err;
	} cases[] = {{"/g", 5, 0}, {"/s", 5, -EIO}, {"/l", 5, -EPROTO}, {"/m", 5, -EPROTO}, {"/n", 5, -ESTALE}, {"/z", 0, 0},
	             {"/z", 5, -ESTALE}, {"/g", UINT64_MAX, 0}, {"/s", UINT64_MAX, 0}};
	struct http_config c = quick;
	c.deadline_ms = 2000;
	c.stall_ms = 20000;
	_cleanup_world_ struct world w = world_new(lengths, &c);

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_got_ struct got *g = got_new();
		struct http_request q = {.url = url_of(&w, cases[i].path), .expect_length = true, .total = cases[i].total,
		                         .on_data = take, .on_done = done};

		fetch(&w, &q, g);
		if (g->err != cases[i].err)
			fail_msg("%s of %d: %d %s", cases[i].path, (int)cases[i].total, g->err, g->message);
		if (cases[i].total != UINT64_MAX)
			assert_true(g->n <= cases[i].total);
	}
}

/* ---- redirects and secrets ---- */

static struct server *other;

static bool redirecting(struct server *s, int fd, const struct asked *q)
{
	if (strcmp(q->path, "/away") == 0)
		return say(fd, "HTTP/1.1 303 See Other\r\nLocation: %s/a file?x=1#part\r\nContent-Length: 3\r\n\r\nbye", other->url);
	if (strcmp(q->path, "/near") == 0)
		return say(fd, "HTTP/1.1 302 Found\r\nLocation: deeper/f\r\nContent-Length: 0\r\n\r\n");
	if (strcmp(q->path, "/round") == 0)
		return say(fd, "HTTP/1.1 302 Found\r\nLocation: /round\r\nContent-Length: 0\r\n\r\n");
	if (strcmp(q->path, "/file") == 0)
		return say(fd, "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n");
	if (strcmp(q->path, "/none") == 0)
		return say(fd, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n");
	return good(s, fd, q);
}

static bool back_home(struct server *s, int fd, const struct asked *q)
{
	return say(fd, "HTTP/1.1 307 T\r\nLocation: http://user:word@127.0.0.1:%d/f\r\nContent-Length: 0\r\n\r\n", atomic_load(&s->step));
}

static void test_a_redirect_never_carries_the_secret(void **state)
{
	_cleanup_world_ struct world w = world_new(redirecting, &quick);
	_cleanup_got_ struct got *g = got_new(), *near = got_new(), *back = got_new();
	static const char *const headers[] = {"X-Own: mine-alone", NULL};
	struct http_request q = part(url_of(&w, "/away"), 10, 19);
	struct secret *token;
	struct asked a;

	assert_int_equal(secret_new(w.s->url, "s3cret-token", &token), 0);
	other = server_new(good);
	q.auth = token;
	q.auth_header = "Girder-Token";
	q.headers = headers;
	fetch(&w, &q, g);
	assert_bytes(g, 10, 10);
	a = server_log(w.s, 0);
	assert_string_equal(asked_header(&a, "Girder-Token"), "s3cret-token");
	assert_string_equal(asked_header(&a, "X-Own"), "mine-alone");
	a = server_log(other, 0);
	assert_string_equal(a.path, "/a%20file?x=1");
	assert_null(strstr(a.head, "s3cret"));
	assert_null(strstr(a.head, "mine"));
	assert_string_equal(asked_header(&a, "Range"), "bytes=10-19");

	/* On its own origin it goes along, and also when the way leads back there. */
	q = part(url_of(&w, "/near"), 10, 19);
	q.auth = token;
	q.auth_header = "Authorization";
	q.auth_prefix = "Bearer ";
	fetch(&w, &q, near);
	assert_bytes(near, 10, 10);
	a = server_log(w.s, server_asked(w.s) - 1);
	assert_string_equal(a.path, "/deeper/f");
	assert_string_equal(asked_header(&a, "Authorization"), "Bearer s3cret-token");

	atomic_store(&other->step, w.s->port);
	atomic_store(&other->answer, back_home);
	q = part(url_of(&w, "/away"), 10, 19);
	q.auth = token;
	q.auth_header = "Girder-Token";
	fetch(&w, &q, back);
	assert_bytes(back, 10, 10);
	a = server_log(w.s, server_asked(w.s) - 1);
	assert_string_equal(asked_header(&a, "Girder-Token"), "s3cret-token");
	assert_null(asked_header(&a, "Authorization"));
	secret_unref(token);
	server_free(other);
}

static void test_a_header_of_the_users_own_stays_at_its_origin(void **state)
{
	struct http_config config = quick;
	_cleanup_got_ struct got *g = got_new();
	struct http_request q;
	struct secret *value;
	struct world w;
	struct asked a;

	/* The origin must be known before the engine starts: the server comes first. */
	w.s = server_new(redirecting);
	assert_int_equal(secret_new(w.s->url, "for-us-alone", &value), 0);
	config.headers[0] = (struct http_own_header){"X-Gate", value};
	assert_int_equal(http_new(&config, &w.h), 0);
	secret_unref(value);
	other = server_new(good);
	q = part(url_of(&w, "/away"), 10, 19);
	fetch(&w, &q, g);
	assert_bytes(g, 10, 10);
	a = server_log(w.s, 0);
	assert_string_equal(asked_header(&a, "X-Gate"), "for-us-alone");
	a = server_log(other, 0);
	assert_string_equal(asked_header(&a, "Range"), "bytes=10-19");
	assert_null(strstr(a.head, "for-us"));
	world_done(&w);
	server_free(other);
}

static void test_bad_redirects(void **state)
{
	static const struct {
		const char *path, *method;
		int err;
	} cases[] = {{"/round", "GET", -ELOOP}, {"/file", "GET", -EPROTO}, {"/none", "GET", -EPROTO}};
	_cleanup_world_ struct world w = world_new(redirecting, &quick);

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct http_request q = {.url = url_of(&w, cases[i].path), .method = cases[i].method};
		struct http_reply r;

		assert_int_equal(http_call(w.h, &q, &r), cases[i].err);
		http_reply_done(&r);
	}
	assert_int_equal(server_asked(w.s), 9 + 1 + 1);
	atomic_store(&w.s->step, w.s->port);
	atomic_store(&w.s->answer, back_home);
	struct http_request q = {.url = url_of(&w, "/x"), .method = "POST"};
	struct http_reply r;

	assert_int_equal(http_call(w.h, &q, &r), -EPROTO);
	assert_int_equal(r.status, 307);
	http_reply_done(&r);
}

/* 0: where it leads; 1: gone from there; */
static bool signed_url(struct server *s, int fd, const struct asked *q)
{
	if (strcmp(q->path, "/download") == 0)
		return say(fd, "HTTP/1.1 303 See\r\nLocation: /signed?v=%d\r\nContent-Length: 0\r\n\r\n", atomic_load(&s->step));
	if (strstr(q->path, "/signed?v=") && atoi(q->path + 10) == atomic_load(&s->step))
		return good(s, fd, q);
	return say(fd, "HTTP/1.1 403 Expired\r\nContent-Length: 0\r\n\r\n");
}

static void test_a_redirect_is_remembered_until_it_fails(void **state)
{
	_cleanup_world_ struct world w = world_new(signed_url, &quick);
	static const unsigned asked_then[] = {2, 3, 6, 7};

	for (int i = 0; i < 4; i++) {
		_cleanup_got_ struct got *g = got_new();
		struct http_request q = part(url_of(&w, "/download"), 10, 19);

		if (i == 2)
			atomic_store(&w.s->step, 1);
		q.cache_redirect = true;
		fetch(&w, &q, g);
		assert_bytes(g, 10, 10);
		assert_int_equal(server_asked(w.s), asked_then[i]);
	}
}

/* ---- broken streams ---- */

static bool dropping(struct server *s, int fd, const struct asked *q)
{
	size_t first, last;
	int step = atomic_fetch_add(&s->step, 1);

	if (!wanted_range(q, &first, &last))
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: \"one\"\r\n\r\n", CONTENT);
	else
		say(fd, "HTTP/1.1 206 P\r\nContent-Length: %zu\r\nContent-Range: bytes %zu-%zu/%d\r\nETag: \"%s\"\r\n\r\n",
		    last - first + 1, first, last, CONTENT, strcmp(q->path, "/changes") == 0 ? "two" : "one");
	if (step < 3) {
		(void)say_bytes(fd, content + first, (last - first + 1) / 2);
		nap(5);
		return false;
	}
	return say_bytes(fd, content + first, last - first + 1);
}

static void test_read_survives_a_dropped_connection(void **state)
{
	_cleanup_world_ struct world w = world_new(dropping, &quick);
	_cleanup_got_ struct got *g = got_new(), *whole = got_new(), *changed = got_new();
	struct http_request q = part(url_of(&w, "/f"), 1000, 80999);
	struct asked a;

	fetch(&w, &q, g);
	assert_bytes(g, 1000, 80000);
	assert_int_equal(g->attempts, 4);
	a = server_log(w.s, 1);
	assert_string_equal(asked_header(&a, "Range"), "bytes=41000-80999");

	/* A stream of the whole is continued as a part. */
	atomic_store(&w.s->step, 0);
	q = (struct http_request){.url = url_of(&w, "/f"), .on_data = take, .on_done = done};
	fetch(&w, &q, whole);
	assert_bytes(whole, 0, CONTENT);
	a = server_log(w.s, 5);
	assert_string_equal(asked_header(&a, "Range"), "bytes=50000-");

	/* But not with another version's bytes. */
	atomic_store(&w.s->step, 0);
	q = (struct http_request){.url = url_of(&w, "/changes"), .on_data = take, .on_done = done};
	fetch(&w, &q, changed);
	assert_int_equal(changed->err, -ESTALE);
	assert_int_equal(changed->n, 50000);
}

static bool unnamed(struct server *s, int fd, const struct asked *q)
{
	(void)say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n");
	nap(5);
	return false;
}

static void test_a_stream_of_no_known_version_is_not_continued(void **state)
{
	_cleanup_world_ struct world w = world_new(unnamed, &quick);
	_cleanup_got_ struct got *g = got_new();
	struct http_request q = {.url = url_of(&w, "/zip"), .on_data = take, .on_done = done};

	fetch(&w, &q, g);
	assert_true(g->err < 0);
	assert_int_equal(g->n, 5);
	assert_int_equal(g->attempts, 1);
}

/* ---- patience ---- */

static bool busy(struct server *s, int fd, const struct asked *q)
{
	if (atomic_fetch_add(&s->step, 1) < 2)
		return say(fd, "HTTP/1.1 %d Busy\r\nContent-Length: 0\r\n%s\r\n", q->path[1] == '4' ? 429 : 503,
		           q->path[2] == 'r' ? "Retry-After: 1\r\n" : "");
	return good(s, fd, q);
}

static void test_patience_is_obeyed(void **state)
{
	static const struct {
		const char *path;
		unsigned least;
	} cases[] = {{"/4r", 2000}, {"/5", 150}};
	struct http_config c = quick;
	c.deadline_ms = 1900;   /* the time that the server names does not count */
	_cleanup_world_ struct world w = world_new(busy, &c);

	for (size_t i = 0; i < COUNT(cases); i++) {
		/* Not even what may not be repeated was carried out. */
		struct http_request q = {.url = url_of(&w, cases[i].path), .method = "POST", .body = "x", .body_len = 1};
		uint64_t then = clock_mono_ms();
		struct http_stats stats;
		struct http_reply r;

		atomic_store(&w.s->step, 0);
		assert_int_equal(http_call(w.h, &q, &r), 0);
		assert_int_equal(r.attempts, 3);
		assert_true(clock_mono_ms() - then >= cases[i].least);
		http_reply_done(&r);
		http_get_stats(w.h, &stats);
		assert_int_equal(stats.throttled, 2 * (i + 1));
		assert_int_equal(stats.running, 0);
		assert_int_equal(stats.queued, 0);
	}
}

static bool always_busy(struct server *s, int fd, const struct asked *q)
{
	return say(fd, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n%s\r\nwhy?", q->path[1] == 'l' ? "Retry-After: 900\r\n" : "");
}

static void test_patience_ends(void **state)
{
	_cleanup_world_ struct world w = world_new(always_busy, &quick);
	struct http_request q = {.url = url_of(&w, "/s"), .deadline_ms = 300};
	struct http_reply r;

	assert_int_equal(http_call(w.h, &q, &r), -EAGAIN);
	assert_int_equal(r.status, 503);
	assert_string_equal(buf_str(&r.body), "why?");
	assert_true(r.attempts > 1);
	http_reply_done(&r);
	/* Longer than anybody waits. */
	q.url = url_of(&w, "/l");
	assert_int_equal(http_call(w.h, &q, &r), -EAGAIN);
	http_reply_done(&r);
}

static bool limited(struct server *s, int fd, const struct asked *q)
{
	return say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-RateLimit-Remaining: %d\r\nX-RateLimit-Reset: 1\r\n\r\n",
	           atomic_fetch_sub(&s->step, 1));
}

static void test_a_stated_limit_is_kept(void **state)
{
	_cleanup_world_ struct world w = world_new(limited, &quick);
	struct http_request q = {.url = url_of(&w, "/")};
	uint64_t then = clock_mono_ms();

	atomic_store(&w.s->step, 1);
	for (int i = 0; i < 3; i++) {
		struct http_reply r;

		assert_int_equal(http_call(w.h, &q, &r), 0);
		assert_int_equal(r.attempts, 1);
		http_reply_done(&r);
	}
	assert_true(clock_mono_ms() - then >= 1000);
}

/* ---- silence ---- */

static void host_changed(void *arg, const char *origin, bool silent)
{
	atomic_store((_Atomic int *)arg, silent ? 1 : 2);
}

static void test_a_silent_host_fails_fast_and_comes_back(void **state)
{
	_cleanup_world_ struct world w = world_new(good, &quick);
	_cleanup_got_ struct got *g = got_new();
	_Atomic int told = 0;
	struct http_request q = part(url_of(&w, "/f"), 0, 9);
	struct http_reply r;
	uint64_t then;

	http_set_host_callback(w.h, host_changed, &told);
	assert_int_equal(http_set_probe(w.h, url_of(&w, "/version")), 0);
	/* Accepts, reads, and says nothing: as a stopped process does. */
	atomic_store(&w.s->hold, true);
	q.arg = g;
	q.deadline_ms = 15000;
	assert_int_equal(http_submit(w.h, &q, &g->t), 0);
	WAIT_FOR(http_host_silent(w.h, w.s->url));
	WAIT_FOR(atomic_load(&told) == 1);
	assert_int_equal(locked_int(g, &g->done), 0);   /* it was under way: it goes on waiting */

	then = clock_mono_ms();
	q = (struct http_request){.url = url_of(&w, "/f")};
	assert_int_equal(http_call(w.h, &q, &r), -EHOSTDOWN);
	assert_true(clock_mono_ms() - then < quick.deadline_ms);
	assert_int_equal(r.status, 0);
	http_reply_done(&r);

	atomic_store(&w.s->hold, false);
	then = clock_mono_ms();
	got_wait(g);
	assert_bytes(g, 0, 10);
	assert_true(clock_mono_ms() - then < 14000);
	assert_int_equal(atomic_load(&told), 2);
	assert_false(http_host_silent(w.h, w.s->url));
	assert_int_equal(http_call(w.h, &q, &r), 0);
	http_reply_done(&r);

	bool probed = false;

	for (unsigned i = 0; i < server_asked(w.s); i++) {
		struct asked a = server_log(w.s, i);

		probed |= strcmp(a.path, "/version") == 0;
	}
	assert_true(probed);
}

static void test_a_refused_port_ends_by_the_deadline(void **state)
{
	_cleanup_world_ struct world w = world_new(good, &quick);
	struct server *gone = server_new(good);
	struct http_request q = {.deadline_ms = 500};
	struct http_reply r;
	char url[80];
	uint64_t then = clock_mono_ms();

	snprintf(url, sizeof(url), "%s/", gone->url);
	server_free(gone);
	q.url = url;
	assert_int_equal(http_call(w.h, &q, &r), -ECONNREFUSED);
	assert_true(clock_mono_ms() - then >= 300 && clock_mono_ms() - then < 20000);
	assert_true(r.attempts > 1);
	assert_false(r.in_doubt);
	http_reply_done(&r);
}

static bool silent_for_posts(struct server *s, int fd, const struct asked *q)
{
	if (q->path[1] == 'd' && atomic_fetch_add(&s->step, 1) >= 1)
		return false;   /* reads it, and dies */
	if (q->path[1] == 'n') {
		nap(600);
		return false;
	}
	if (q->path[1] == 's') {
		nap(450);       /* longer than a stall, shorter than it is allowed */
		return good(s, fd, q);
	}
	return good(s, fd, q);
}

static void test_silence_after_a_change_is_doubt(void **state)
{
	_cleanup_world_ struct world w = world_new(silent_for_posts, &quick);
	struct http_request q = {.url = url_of(&w, "/n"), .method = "POST", .body = "x", .body_len = 1};
	struct http_reply r;

	assert_int_equal(http_call(w.h, &q, &r), -ETIMEDOUT);
	assert_true(r.in_doubt);
	assert_int_equal(r.attempts, 1);
	http_reply_done(&r);

	/* It has the body and is at work: `slow_ms` holds. */
	q.url = url_of(&w, "/s");
	q.slow_ms = 2000;
	assert_int_equal(http_call(w.h, &q, &r), 0);
	assert_int_equal(r.attempts, 1);
	http_reply_done(&r);
}

static void test_a_get_that_takes_something_away_is_not_repeated(void **state)
{
	_cleanup_world_ struct world w = world_new(silent_for_posts, &quick);
	struct http_request q = {.url = url_of(&w, "/n"), .once = true};
	struct http_reply r;

	assert_int_equal(http_call(w.h, &q, &r), -ETIMEDOUT);
	assert_true(r.in_doubt);
	assert_int_equal(r.attempts, 1);
	http_reply_done(&r);
}

static void test_nor_does_curl_repeat_it_on_an_old_connection(void **state)
{
	_cleanup_world_ struct world w = world_new(silent_for_posts, &quick);
	struct http_request q = {.url = url_of(&w, "/d"), .once = true};
	unsigned before;
	struct http_reply r;

	atomic_store(&w.s->step, 0);
	assert_int_equal(http_call(w.h, &q, &r), 0);
	http_reply_done(&r);
	before = server_asked(w.s);
	assert_int_equal(http_call(w.h, &q, &r), -ECONNRESET);
	assert_true(r.in_doubt);
	http_reply_done(&r);
	assert_int_equal(server_asked(w.s), before + 1);
}

static bool long_head(struct server *s, int fd, const struct asked *q)
{
	char line[1000];

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = 0;
	if (!say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"))
		return false;
	for (int i = 0; i < 200; i++)
		if (!say(fd, "x-%d: %s\r\n", i, line))
			return false;
	return say(fd, "\r\n");
}

static void test_a_long_head_is_taken_by_who_expects_it(void **state)
{
	_cleanup_world_ struct world w = world_new(long_head, &quick);
	struct http_request q = {.url = url_of(&w, "/")};
	struct http_reply r;

	assert_int_equal(http_call(w.h, &q, &r), -EMSGSIZE);
	http_reply_done(&r);
	q.max_headers = 300u << 10;
	assert_int_equal(http_call(w.h, &q, &r), 0);
	assert_true(r.headers.len > 190000);
	http_reply_done(&r);
}

static void test_curl_sends_nothing_twice_by_itself(void **state)
{
	static const char *const methods[] = {"POST", "PUT"};
	_cleanup_world_ struct world w = world_new(silent_for_posts, &quick);

	for (int with_body = 0; with_body < 2; with_body++)
		for (size_t i = 0; i < COUNT(methods); i++) {
			struct http_request q = {.url = url_of(&w, "/d"), .method = methods[i], .body = with_body ? "x" : NULL,
			                         .body_len = (size_t)with_body};
			unsigned before;
			struct http_reply r;

			/* The first opens the connection, on which the second is left without an answer. */
			atomic_store(&w.s->step, 0);
			assert_int_equal(http_call(w.h, &q, &r), 0);
			http_reply_done(&r);
			before = server_asked(w.s);
			assert_int_equal(http_call(w.h, &q, &r), -ECONNRESET);
			assert_true(r.in_doubt);
			http_reply_done(&r);
			assert_int_equal(server_asked(w.s), before + 1);
		}
}

static bool trickle(struct server *s, int fd, const struct asked *q)
{
	(void)say_part_head(fd, 0, CONTENT - 1);
	for (int i = 0; i < 100 && say_bytes(fd, content + i, 1); i++)
		nap(20);
	return false;
}

static void test_less_than_a_trickle_is_a_stall(void **state)
{
	_cleanup_world_ struct world w = world_new(trickle, &quick);
	_cleanup_got_ struct got *g = got_new();
	struct http_request q = part(url_of(&w, "/f"), 0, CONTENT - 1);

	q.arg = g;
	q.deadline_ms = 400;
	assert_int_equal(http_submit(w.h, &q, &g->t), 0);
	WAIT_FOR(server_asked(w.s) >= 2);       /* it was left and asked for again */
	assert_false(http_host_silent(w.h, w.s->url));
	got_wait(g);
	assert_true(g->err < 0);
	assert_memory_equal(g->data, content, g->n < 100 ? g->n : 100);
}

/* ---- cancel, pause, order ---- */

static void test_cancel_in_every_state(void **state)
{
	struct http_config c = quick;
	c.connections_host = 1;
	c.stall_ms = 20000;
	_cleanup_world_ struct world w = world_new(good, &c);
	_cleanup_got_ struct got *running = got_new(), *queued = got_new();
	struct http_request q = part(url_of(&w, "/f"), 0, 9);
	struct http_reply r;
	int flag = 1;

	atomic_store(&w.s->hold, true);
	q.arg = running;
	assert_int_equal(http_submit(w.h, &q, &running->t), 0);
	q.arg = queued;
	assert_int_equal(http_submit(w.h, &q, &queued->t), 0);
	WAIT_FOR(server_asked(w.s) == 1);
	http_cancel(w.h, queued->t);
	got_wait(queued);
	assert_int_equal(queued->err, -ECANCELED);
	assert_int_equal(locked_int(running, &running->done), 0);
	http_cancel(w.h, running->t);
	got_wait(running);
	assert_int_equal(running->err, -ECANCELED);
	/* Of what ended, nothing is meant any more. */
	http_cancel(w.h, running->t);
	http_resume(w.h, running->t);
	http_hurry(w.h, running->t);

	q = (struct http_request){.url = url_of(&w, "/f"), .cancelled = &flag};
	assert_int_equal(http_call(w.h, &q, &r), -EINTR);
	http_reply_done(&r);
	q.cancelled = NULL;
	http_set_cancel(&flag);
	assert_int_equal(http_call(w.h, &q, &r), -EINTR);
	http_reply_done(&r);
	http_set_cancel(NULL);
}

static void *interrupt(void *arg)
{
	struct world *w = arg;

	WAIT_FOR(server_asked(w->s) == 1);
	atomic_store(&w->s->step, 1);
	http_wake(w->h);
	return NULL;
}

static void test_a_call_is_interrupted(void **state)
{
	_cleanup_world_ struct world w = world_new(good, &quick);
	struct http_request q = {.url = url_of(&w, "/f"), .method = "POST", .cancelled = (int *)&w.s->step, .deadline_ms = 60000,
	                         .slow_ms = 60000};
	struct http_reply r;
	pthread_t thread;

	atomic_store(&w.s->hold, true);
	pthread_create(&thread, NULL, interrupt, &w);
	assert_int_equal(http_call(w.h, &q, &r), -EINTR);
	assert_true(r.in_doubt);
	http_reply_done(&r);
	pthread_join(thread, NULL);
}

static void *interrupt_and_answer(void *arg)
{
	struct world *w = arg;

	WAIT_FOR(server_asked(w->s) == 1);
	atomic_store(&w->s->step, 1);
	http_wake(w->h);
	return NULL;
}

static bool good_once_interrupted(struct server *s, int fd, const struct asked *q)
{
	WAIT_FOR(atomic_load(&s->step));
	nap(50);        /* the cancelling is looked at first */
	return good(s, fd, q);
}

static void test_what_was_sent_whole_is_waited_for(void **state)
{
	_cleanup_world_ struct world w = world_new(good_once_interrupted, &quick);
	struct http_request q = {.url = url_of(&w, "/f"), .method = "POST", .cancelled = (int *)&w.s->step, .deadline_ms = 60000,
	                         .slow_ms = 60000, .body = "x", .body_len = 1, .keep_once_sent = true};
	struct http_reply r;
	pthread_t thread;

	pthread_create(&thread, NULL, interrupt_and_answer, &w);
	assert_int_equal(http_call(w.h, &q, &r), 0);
	assert_int_equal(r.status, 200);
	http_reply_done(&r);
	pthread_join(thread, NULL);
}

static void test_freed_with_transfers_in_every_state(void **state)
{
	struct http_config c = quick;
	struct server *s = server_new(good);
	struct got *g[20];
	struct http *h;

	c.connections_host = 2;
	assert_int_equal(http_new(&c, &h), 0);
	atomic_store(&s->hold, true);
	for (size_t i = 0; i < COUNT(g); i++) {
		char url[80];
		struct http_request q;

		snprintf(url, sizeof(url), "%s/f", s->url);
		q = part(url, 0, 9);
		q.arg = g[i] = got_new();
		assert_int_equal(http_submit(h, &q, &g[i]->t), 0);
	}
	WAIT_FOR(server_asked(s) >= 2);
	http_free(h);
	for (size_t i = 0; i < COUNT(g); i++) {
		assert_int_equal(g[i]->done, 1);
		assert_int_equal(g[i]->err, -ECANCELED);
		got_free(g[i]);
	}
	server_free(s);
}

static void test_pause_and_resume(void **state)
{
	_cleanup_world_ struct world w = world_new(good, &quick);
	_cleanup_got_ struct got *g = got_new(), *second = got_new();
	struct http_request q = part(url_of(&w, "/f"), 0, CONTENT - 1);
	size_t n;

	g->pause_after = 1;
	q.arg = g;
	assert_int_equal(http_submit(w.h, &q, &g->t), 0);
	WAIT_FOR(is_paused(g));
	n = g->n;
	/* Standing still by our own will is no stall. */
	nap(700);
	assert_int_equal(g->n, n);
	assert_int_equal(locked_int(g, &g->done), 0);
	q = part(url_of(&w, "/f"), 5, 9);
	fetch(&w, &q, second);
	assert_bytes(second, 5, 5);
	for (int i = 0; !locked_int(g, &g->done) && i < 1000; i++) {
		pthread_mutex_lock(&g->lock);
		g->pause_after = (int)g->n + 1;         /* one piece more */
		g->paused = false;
		pthread_mutex_unlock(&g->lock);
		http_resume(w.h, g->t);
		WAIT_FOR(is_paused(g) || locked_int(g, &g->done));
	}
	assert_bytes(g, 0, CONTENT);
	assert_int_equal(g->attempts, 1);
}

static void test_paused_streams_leave_room(void **state)
{
	struct http_config c = quick;
	c.connections_host = 2;
	_cleanup_world_ struct world w = world_new(good, &c);
	_cleanup_got_ struct got *a = got_new(), *b = got_new(), *reader = got_new();
	struct http_request q = part(url_of(&w, "/f"), 0, CONTENT - 1);

	a->pause_after = b->pause_after = 1;
	q.arg = a;
	assert_int_equal(http_submit(w.h, &q, &a->t), 0);
	q.arg = b;
	assert_int_equal(http_submit(w.h, &q, &b->t), 0);
	WAIT_FOR(is_paused(a) && is_paused(b));
	q = part(url_of(&w, "/f"), 0, 9);
	fetch(&w, &q, reader);
	assert_bytes(reader, 0, 10);
	http_cancel(w.h, a->t);
	http_cancel(w.h, b->t);
	got_wait(a);
	got_wait(b);
}

static void test_the_readers_error_ends_it(void **state)
{
	_cleanup_world_ struct world w = world_new(good, &quick);
	_cleanup_got_ struct got *g = got_new();
	struct http_request q = part(url_of(&w, "/f"), 0, 9);

	g->fail_with = -ENOSPC;
	fetch(&w, &q, g);
	assert_int_equal(g->err, -ENOSPC);
	assert_int_equal(g->calls, 1);
	assert_int_equal(g->attempts, 1);
}

static void test_who_goes_first(void **state)
{
	static const char *const order[] = {"/first", "/read or /hurried", "/read or /hurried", "/meta", "/ahead", "/upload"};
	struct http_config c = quick;
	c.connections_host = 1;
	c.stall_ms = 20000;
	_cleanup_world_ struct world w = world_new(good, &c);
	struct got *g[6];
	static const struct {
		const char *path;
		enum http_priority priority;
	} asked[] = {{"/first", HTTP_READ}, {"/upload", HTTP_UPLOAD}, {"/ahead", HTTP_PREFETCH}, {"/meta", HTTP_META},
	             {"/hurried", HTTP_PREFETCH}, {"/read", HTTP_READ}};

	atomic_store(&w.s->hold, true);
	for (size_t i = 0; i < COUNT(asked); i++) {
		struct http_request q = part(url_of(&w, asked[i].path), 0, 9);

		q.priority = asked[i].priority;
		q.arg = g[i] = got_new();
		assert_int_equal(http_submit(w.h, &q, &g[i]->t), 0);
		if (i == 0)
			WAIT_FOR(server_asked(w.s) == 1);
		if (i == 4)
			http_hurry(w.h, g[i]->t);
	}
	nap(50);
	assert_int_equal(server_asked(w.s), 1);
	atomic_store(&w.s->hold, false);
	http_cancel(w.h, g[0]->t);
	for (size_t i = 0; i < COUNT(asked); i++) {
		got_wait(g[i]);
		got_free(g[i]);
	}
	for (unsigned i = 0; i < COUNT(order); i++) {
		struct asked a = server_log(w.s, i);

		if (!strstr(order[i], a.path))
			fail_msg("%s came where %s should", a.path, order[i]);
	}
}

static bool slowly(struct server *s, int fd, const struct asked *q)
{
	int now = atomic_fetch_add(&s->step, 1) + 1;

	assert_true(now <= 8);
	nap(10);
	atomic_fetch_sub(&s->step, 1);
	return say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static void test_many_small_ones_share_the_connections(void **state)
{
	struct http_config c = quick;
	/* How long 200 of them take is the machine's business. */
	c.stall_ms = c.connect_ms = c.deadline_ms = 120000;
	_cleanup_world_ struct world w = world_new(slowly, &c);
	struct got *g[200];
	uint64_t then = clock_mono_ms();

	for (size_t i = 0; i < COUNT(g); i++) {
		struct http_request q = {.url = url_of(&w, "/s"), .on_data = take, .on_done = done, .priority = HTTP_META};

		q.arg = g[i] = got_new();
		assert_int_equal(http_submit(w.h, &q, &g[i]->t), 0);
	}
	for (size_t i = 0; i < COUNT(g); i++) {
		got_wait(g[i]);
		assert_int_equal(g[i]->err, 0);
		got_free(g[i]);
	}
	assert_int_equal(w.s->connections, 8);
	print_message("%zu requests of 10 ms in %llu ms\n", COUNT(g), (unsigned long long)(clock_mono_ms() - then));
}

static void test_the_queue_has_an_end(void **state)
{
	struct http_config c = quick;
	/* None may end by itself while they are put in, however long that takes: its place would be free again. */
	c.stall_ms = c.deadline_ms = 3600000;
	_cleanup_world_ struct world w = world_new(good, &c);
	_cleanup_got_ struct got *g = got_new();
	struct http_request q = part(url_of(&w, "/f"), 0, 9);
	int n = 0, r;

	atomic_store(&w.s->hold, true);
	q.arg = g;
	while (n <= 4096 && (r = http_submit(w.h, &q, NULL)) == 0)
		n++;
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(n, 4096);
	http_free(w.h);
	w.h = NULL;
	assert_int_equal(g->done, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_methods_with_and_without_a_body),
		cmocka_unit_test(test_a_body_comes_from_a_file),
		cmocka_unit_test(test_a_file_that_became_too_short_ends_it),
		cmocka_unit_test(test_refuses_what_is_no_request),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_odd_answers),
		cmocka_unit_test(test_a_body_that_never_comes_whole_is_an_error),
		cmocka_unit_test(test_the_whole_has_the_length_it_should),
		cmocka_unit_test(test_a_redirect_never_carries_the_secret),
		cmocka_unit_test(test_a_header_of_the_users_own_stays_at_its_origin),
		cmocka_unit_test(test_bad_redirects),
		cmocka_unit_test(test_a_redirect_is_remembered_until_it_fails),
		cmocka_unit_test(test_read_survives_a_dropped_connection),
		cmocka_unit_test(test_a_stream_of_no_known_version_is_not_continued),
		cmocka_unit_test(test_patience_is_obeyed),
		cmocka_unit_test(test_patience_ends),
		cmocka_unit_test(test_a_stated_limit_is_kept),
		cmocka_unit_test(test_a_silent_host_fails_fast_and_comes_back),
		cmocka_unit_test(test_a_refused_port_ends_by_the_deadline),
		cmocka_unit_test(test_silence_after_a_change_is_doubt),
		cmocka_unit_test(test_curl_sends_nothing_twice_by_itself),
		cmocka_unit_test(test_a_get_that_takes_something_away_is_not_repeated),
		cmocka_unit_test(test_nor_does_curl_repeat_it_on_an_old_connection),
		cmocka_unit_test(test_a_long_head_is_taken_by_who_expects_it),
		cmocka_unit_test(test_less_than_a_trickle_is_a_stall),
		cmocka_unit_test(test_cancel_in_every_state),
		cmocka_unit_test(test_a_call_is_interrupted),
		cmocka_unit_test(test_what_was_sent_whole_is_waited_for),
		cmocka_unit_test(test_freed_with_transfers_in_every_state),
		cmocka_unit_test(test_pause_and_resume),
		cmocka_unit_test(test_paused_streams_leave_room),
		cmocka_unit_test(test_the_readers_error_ends_it),
		cmocka_unit_test(test_who_goes_first),
		cmocka_unit_test(test_many_small_ones_share_the_connections),
		cmocka_unit_test(test_the_queue_has_an_end),
	};

	content_fill();
	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
