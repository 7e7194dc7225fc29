/* What may be shown of a request: never a secret. */
#include "test.h"

#include <fcntl.h>

#include "http-world.h"

#include "base/log.h"

static void test_shown_urls(void **state)
{
	static const char *const cases[][2] = {
		{"http://h/a", "http://h/a"},
		{"http://h/a?x=1&y=2", "http://h/a?x=1&y=2"},
		{"http://user:pa@ss@h:1/a", "http://h:1/a"},
		{"http://h/a@b?c=d@e", "http://h/a@b?c=d@e"},
		{"http://h/a?token=abc&x=1", "http://h/a?token=***&x=1"},
		{"http://h/a?TOKEN=abc", "http://h/a?TOKEN=***"},
		{"http://h/a?x=1&X-Amz-Signature=abc&X-Amz-Credential=k/2&X-Amz-Security-Token=t",
		 "http://h/a?x=1&X-Amz-Signature=***&X-Amz-Credential=***&X-Amz-Security-Token=***"},
		{"http://h/a?AWSAccessKeyId=k&Signature=s&Expires=1", "http://h/a?AWSAccessKeyId=***&Signature=***&Expires=1"},
		{"http://h/a?sig=abc&se=2030", "http://h/a?sig=***&se=2030"},
		{"http://h/a?key=abc&password=p&passwd=p&api_key=k&client_secret=s",
		 "http://h/a?key=***&password=***&passwd=***&api_key=***&client_secret=***"},
		{"http://h/a?code=1&jwt=2&session=3", "http://h/a?code=***&jwt=***&session=***"},
		{"http://h/a?", "http://h/a?"},
		{"http://h/a?&&=x&token", "http://h/a?&&=x&token"},
		{"http://h/a?token=a?b=c", "http://h/a?token=***"},
		{"http://h/a?a;token=b", "http://h/a?a;token=***"},
		{"http://h/a?t%6fken=b&%74oken=c", "http://h/a?t%6fken=***&%74oken=***"},
		{"http://h?token", "http://h?token"},
		{"http://u:p@h?a=b", "http://h?a=b"},
		{"http://u@h", "http://h"},
		{"http://h?x=u@v", "http://h?x=u@v"},
		{"http://h/a?api_key=&x=1", "http://h/a?api_key=***&x=1"},
		{"file", "file"},
		{"", ""},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_free_ char *shown = http_shown_url(cases[i][0]);

		assert_string_equal(shown, cases[i][1]);
	}
}

static void test_a_long_url_is_cut(void **state)
{
	char *url = calloc(1, 100001), *shown;

	memset(url, 'a', 100000);
	memcpy(url, "http://h/?", 10);
	shown = http_shown_url(url);
	assert_true(strlen(shown) < 10000);
	free(shown);
	free(url);
}

static bool to_signed(struct server *s, int fd, const struct asked *q)
{
	if (strncmp(q->path, "/signed", 7) == 0)
		return say(fd, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
	return say(fd, "HTTP/1.1 302 F\r\nLocation: /signed?X-Amz-Signature=hidden2\r\nContent-Length: 0\r\n\r\n");
}

static void test_the_debug_log_has_no_secret(void **state)
{
	_cleanup_world_ struct world w = world_new(to_signed, &quick);
	static const char *const headers[] = {"X-Own: hidden3", NULL};
	char *dir = test_dir_new(), *path = NULL, *url = NULL, text[16384] = "";
	struct http_request q = {.auth_header = "Girder-Token", .headers = headers, .method = "GET"};
	struct secret *token;
	struct http_reply r;
	int fd;

	assert_true(asprintf(&path, "%s/log", dir) > 0);
	assert_true(asprintf(&url, "http://user:hidden4@127.0.0.1:%d/a?token=hidden5", w.s->port) > 0);
	assert_int_equal(secret_new(w.s->url, "hidden1", &token), 0);
	q.auth = token;
	q.url = url;
	assert_int_equal(log_open(path), 0);
	log_set_level(LOG_LEVEL_DEBUG);
	assert_int_equal(http_call(w.h, &q, &r), -EACCES);
	assert_null(strstr(r.message, "hidden"));
	http_reply_done(&r);
	q.method = "POST";
	q.body = "hidden6";
	q.body_len = 7;
	assert_int_equal(http_call(w.h, &q, &r), -EPROTO);
	assert_null(strstr(r.message, "hidden"));
	http_reply_done(&r);
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(log_open("-"), 0);
	fd = open(path, O_RDONLY);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	/* It says what was asked, and nothing that is nobody's business. */
	assert_non_null(strstr(text, "/a?token=***"));
	assert_non_null(strstr(text, "-> 403"));
	assert_null(strstr(text, "hidden"));
	secret_unref(token);
	free(path);
	free(url);
	test_dir_done(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shown_urls),
		cmocka_unit_test(test_a_long_url_is_cut),
		cmocka_unit_test(test_the_debug_log_has_no_secret),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
