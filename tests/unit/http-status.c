/* Outcomes to errno, URLs to origins, URLs fit for a log: tables. */
#include "test.h"

#include "base/cleanup.h"
#include "http/private.h"

static void test_statuses(void **state)
{
	static const struct {
		int status, err;
	} cases[] = {
		{200, 0}, {201, 0}, {204, 0}, {206, 0}, {299, 0}, {302, EPROTO}, {304, EPROTO}, {400, EINVAL}, {401, EACCES},
		{403, EACCES}, {404, ENOENT}, {410, ENOENT}, {408, ETIMEDOUT}, {412, ESTALE}, {413, EFBIG}, {416, ESTALE}, {418, EINVAL},
		{429, EAGAIN}, {500, EIO}, {501, ENOTSUP}, {502, EIO}, {503, EAGAIN}, {504, ETIMEDOUT}, {507, ENOSPC}, {599, EIO},
		{0, EIO}, {-1, EIO}, {1000, EIO},
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(http_status_errno(cases[i].status), -cases[i].err);
}

static void test_origins(void **state)
{
	static const struct {
		const char *url, *origin;
	} cases[] = {
		{"http://example.org", "http://example.org"},
		{"http://example.org/", "http://example.org"},
		{"HTTP://Example.ORG:80/a?b#c", "http://example.org"},
		{"https://example.org:443/", "https://example.org"},
		{"https://example.org:80/", "https://example.org:80"},
		{"http://example.org:8080/a b", "http://example.org:8080"},
		{"http://user:word@example.org/", "http://example.org"},
		{"http://example.org@evil.net/", "http://evil.net"},
		{"http://[::1]:8080/", "http://[::1]:8080"},
		{"ftp://example.org/", NULL}, {"file:///etc/passwd", NULL}, {"/a/b", NULL}, {"", NULL}, {"http://", NULL},
		{"http://a b/", NULL}, {"javascript:alert(1)", NULL},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_free_ char *origin = NULL;
		int r = http_origin(cases[i].url, &origin);

		if (cases[i].origin)
			assert_string_equal(origin, cases[i].origin);
		else if (r != -EINVAL || origin)
			fail_msg("%s: %d %s", cases[i].url, r, origin ? origin : "");
	}
}

static void test_headers_of_a_reply(void **state)
{
	struct http_reply r;
	char value[16];

	http_reply_init(&r);
	assert_int_equal(http_header(&r, "A", value, sizeof(value)), -ENOENT);
	assert_int_equal(buf_adds(&r.headers, "HTTP/1.1 200 OK\nContent-Type: a/b\nX:\ncontent-Length:  12 \nLong: 0123456789abcdef\n"), 0);
	assert_int_equal(http_header(&r, "content-type", value, sizeof(value)), 0);
	assert_string_equal(value, "a/b");
	assert_int_equal(http_header(&r, "Content-Length", value, sizeof(value)), 0);
	assert_string_equal(value, "12");
	assert_int_equal(http_header(&r, "X", value, sizeof(value)), 0);
	assert_string_equal(value, "");
	assert_int_equal(http_header(&r, "Content", value, sizeof(value)), -ENOENT);
	assert_int_equal(http_header(&r, "Long", value, sizeof(value)), -EMSGSIZE);
	http_reply_done(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_origins),
		cmocka_unit_test(test_headers_of_a_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
