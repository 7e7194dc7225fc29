/* JSON from a stranger: what is taken, what is refused and how it is named, and slices that keep the server's own bytes. */
#include "test.h"

#include "base/json.h"

static struct json *parsed(const char *text)
{
	struct json *j = NULL;

	assert_int_equal(json_parse(text, strlen(text), &j), 0);
	assert_non_null(j);
	return j;
}

static int refused(const char *text, size_t n)
{
	struct json *j = NULL;
	int r = json_parse(text, n, &j);

	assert_true(r < 0);
	assert_null(j);
	return r;
}

static void test_values(void **state)
{
	_cleanup_(json_freep) struct json *j = parsed(" {\"a\": [1, \"x\", null, {}], \"A\": true, \"t\": \"\\u00e9\"}\r\n");
	const struct json *a = json_get(j, "a"), *i;

	assert_true(json_is_object(j) && json_is_array(a) && !json_is_array(j));
	assert_true(!json_is_object(NULL) && !json_is_array(NULL) && !json_is_string(NULL) && !json_is_null(NULL));
	assert_null(json_get(j, "T"));
	assert_null(json_get(a, "a"));
	assert_null(json_get(NULL, "a"));
	assert_null(json_first(NULL));
	assert_string_equal(json_text(json_get(j, "t")), "\xc3\xa9");
	assert_null(json_text(a));
	assert_null(json_text(NULL));
	i = json_next(json_first(a));
	assert_true(json_is_string(i));
	assert_string_equal(json_text(i), "x");
	assert_string_equal(json_key(i), "");
	assert_true(json_is_null(json_next(i)));
	i = json_next(json_next(i));
	assert_null(json_first(i));
	assert_null(json_next(i));
	assert_string_equal(json_key(json_first(j)), "a");
	json_free(NULL);
}

static void test_what_is_refused(void **state)
{
	static const char *const cases[] = {
		"", " ", "{", "[1,]", "{\"a\":}", "{'a':1}", "nul", "[1] x", "{} {}", "[1]]", "<html>", "\"open", "\"\\", "\"\\u12", "\"\\q\"",
		"[\"\xff\"]", "[NaN]", "[\"\xed\xa0\x80\"]", "-", "{1:2}", "\"\\u00g0\"",
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(refused(cases[i], strlen(cases[i])), -EBADMSG);
		assert_int_not_equal(json_error()[0], 0);
	}
	assert_int_equal(refused("[1\0]", 4), -EBADMSG);
	assert_int_equal(refused("[1]\0", 4), -EBADMSG);
	assert_int_equal(refused("[1]", 2), -EBADMSG);          /* n rules, not the NUL */
	assert_int_equal(refused("<html>", 6), -EBADMSG);
	assert_non_null(strstr(json_error(), "HTML"));
}

static void test_caps(void **state)
{
	size_t n = 2 * (size_t)JSON_VALUES_MAX + 16, at = 0;
	char deep[2 * JSON_DEPTH_MAX + 3], *many = malloc(n + 2);
	struct json *j = NULL;

	memset(deep, '[', JSON_DEPTH_MAX);
	memset(deep + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	assert_int_equal(json_parse(deep, 2 * JSON_DEPTH_MAX, &j), 0);
	json_free(j);
	j = NULL;
	memset(deep, '[', JSON_DEPTH_MAX + 1);
	memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
	assert_int_equal(refused(deep, 2 * JSON_DEPTH_MAX + 2), -EBADMSG);
	assert_non_null(strstr(json_error(), "deeper"));

	assert_non_null(many);
	many[at++] = '[';
	while (at < n - 2) {
		many[at++] = '0';
		many[at++] = ',';
	}
	many[at++] = '0';
	many[at++] = ']';
	assert_int_equal(refused(many, at), -EMSGSIZE);
	free(many);
	assert_int_equal(refused("[]", (size_t)JSON_LENGTH_MAX + 1), -EMSGSIZE);
}

static void test_escapes_that_c_cannot_keep(void **state)
{
	static const struct { const char *text, *value; } cases[] = {
		{"\"a\\u0000b\"", "a_b"}, {"\"\\\\u0000\"", "\\u0000"}, {"\"\\\\\\u0000\"", "\\_"}, {"\"\\u0000\\u0000\"", "__"},
		{"\"\\ud83d\\udd2c\"", "\xf0\x9f\x94\xac"}, {"\"\\uD83D\\uDD2C!\"", "\xf0\x9f\x94\xac!"},
		{"\"\\ud83d\"", "\xef\xbf\xbd"}, {"\"\\udc80x\"", "\xef\xbf\xbdx"}, {"\"\\ud83d\\ud83d\\udd2c\"", "\xef\xbf\xbd\xf0\x9f\x94\xac"},
		{"\"\\ud83dx\"", "\xef\xbf\xbdx"}, {"\"\\ud83d\\n\"", "\xef\xbf\xbd\n"}, {"\"\\ud83d\\u0000\"", "\xef\xbf\xbd_"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_(json_freep) struct json *j = parsed(cases[i].text);

		assert_string_equal(json_text(j), cases[i].value);
	}
}

static void test_an_escaped_nul_in_a_name_hides_nothing(void **state)
{
	_cleanup_(json_freep) struct json *j = parsed("{\"size\\u0000\": 1, \"size\": 2}");
	uint64_t v = 0;

	assert_int_equal(json_u64(j, "size", &v), 0);
	assert_int_equal(v, 2);
}

static void test_members_must_be_what_they_are(void **state)
{
	_cleanup_(json_freep) struct json *j = parsed("{\"s\": \"text\", \"n\": 5, \"z\": null, \"b\": true, \"o\": {}, \"when\": \"soon\"}");
	const char *s = "before";
	struct timespec t = {7, 7};
	uint64_t u = 7;
	int64_t i = 7;
	bool b = false;

	assert_int_equal(json_str(j, "s", &s), 0);
	assert_string_equal(s, "text");
	s = "before";
	assert_int_equal(json_str(j, "absent", &s), -EBADMSG);
	assert_non_null(strstr(json_error(), "absent"));
	assert_int_equal(json_str(j, "z", &s), -EBADMSG);
	assert_int_equal(json_str(j, "n", &s), -EBADMSG);
	assert_non_null(strstr(json_error(), "field n"));
	assert_int_equal(json_str_opt(j, "z", &s), 0);
	assert_int_equal(json_str_opt(j, "absent", &s), 0);
	assert_int_equal(json_str_opt(j, "o", &s), -EBADMSG);
	assert_int_equal(json_str_opt(NULL, "o", &s), 0);
	assert_string_equal(s, "before");
	assert_int_equal(json_u64(j, "s", &u), -EBADMSG);
	assert_int_equal(json_u64(j, "z", &u), -EBADMSG);
	assert_int_equal(json_u64_opt(j, "z", &u), 0);
	assert_int_equal(json_u64_opt(j, "b", &u), -EBADMSG);
	assert_int_equal(json_i64_opt(j, "absent", &i), 0);
	assert_int_equal(json_i64_opt(j, "s", &i), -EBADMSG);
	assert_true(u == 7 && i == 7);
	assert_int_equal(json_bool_opt(j, "n", &b), -EBADMSG);
	assert_int_equal(json_bool_opt(j, "z", &b), 0);
	assert_false(b);
	assert_int_equal(json_bool_opt(j, "b", &b), 0);
	assert_true(b);
	assert_int_equal(json_time_opt(j, "when", &t), -EBADMSG);
	assert_non_null(strstr(json_error(), "when"));
	assert_int_equal(json_time_opt(j, "n", &t), -EBADMSG);
	assert_int_equal(json_time_opt(j, "z", &t), 0);
	assert_true(t.tv_sec == 7 && t.tv_nsec == 7);
}

static void test_numbers(void **state)
{
	static const struct { const char *text; uint64_t u; int ru; int64_t i; int ri; } cases[] = {
		{"{\"v\": 0}", 0, 0, 0, 0},
		{"{\"v\": -0}", 0, 0, 0, 0},
		{"{\"v\": 9007199254740992}", 9007199254740992, 0, 9007199254740992, 0},
		{"{\"v\": 1e3}", 1000, 0, 1000, 0},
		{"{\"v\": 5.0}", 5, 0, 5, 0},
		{"{\"v\": -5}", 7, -EBADMSG, -5, 0},
		{"{\"v\": 1.5}", 7, -EBADMSG, 7, -EBADMSG},
		{"{\"v\": 9223372036854775808}", 7, -EBADMSG, 7, -EBADMSG},
		{"{\"v\": -9223372036854775809000}", 7, -EBADMSG, 7, -EBADMSG},
		{"{\"v\": 1e999}", 7, -EBADMSG, 7, -EBADMSG},
		{"{\"v\": \"5\"}", 7, -EBADMSG, 7, -EBADMSG},
	};

	for (size_t n = 0; n < COUNT(cases); n++) {
		_cleanup_(json_freep) struct json *j = parsed(cases[n].text);
		uint64_t u = 7;
		int64_t i = 7;

		assert_int_equal(json_u64(j, "v", &u), cases[n].ru);
		assert_int_equal(json_i64_opt(j, "v", &i), cases[n].ri);
		assert_true(u == cases[n].u && i == cases[n].i);
	}
}

static void test_strings_written_come_back(void **state)
{
	static const struct { const char *text, *written; } cases[] = {
		{"", "\"\""}, {"plain", "\"plain\""}, {"a\"b\\c", "\"a\\\"b\\\\c\""}, {"\n\t\x01\x7f", "\"\\n\\u0009\\u0001\\u007f\""},
		{"\xc3\xa9", "\"\xc3\xa9\""}, {"x\xff", "\"x\xef\xbf\xbd\""},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_buf_ struct buf b = BUF_MAX(100), small = BUF_MAX(1);
		_cleanup_(json_freep) struct json *j = NULL;

		assert_int_equal(json_write_str(&b, cases[i].text), 0);
		assert_string_equal(buf_str(&b), cases[i].written);
		assert_int_equal(json_write_str(&small, cases[i].text), -EMSGSIZE);
		j = parsed(buf_str(&b));
		if (i < COUNT(cases) - 1)
			assert_string_equal(json_text(j), cases[i].text);
	}
}

static void test_print(void **state)
{
	_cleanup_(json_freep) struct json *j = parsed("{ \"a\" : [ 1 , \"x\" ] }");
	_cleanup_free_ char *text = NULL;

	assert_int_equal(json_print(j, &text), 0);
	assert_string_equal(text, "{\"a\":[1,\"x\"]}");
}

static void slice_is(const char *text, const char *key, const char *want)
{
	const char *p = NULL;
	size_t n = 0;

	assert_int_equal(json_raw_member(text, strlen(text), key, &p, &n), 0);
	assert_int_equal(n, strlen(want));
	assert_memory_equal(p, want, n);
}

static void test_raw_members_keep_their_bytes(void **state)
{
	const char *text = " {\"meta\" : {\"big\":9223372036854775807, \"s\":\"}\\\"]\"} ,\"n\":1.50,\"l\":[ [1],{}],\n\"t\":true}";
	const char *p;
	size_t n;

	slice_is(text, "meta", "{\"big\":9223372036854775807, \"s\":\"}\\\"]\"}");
	slice_is(text, "n", "1.50");
	slice_is(text, "l", "[ [1],{}]");
	slice_is(text, "t", "true");
	slice_is("\xef\xbb\xbf{\"a\":1}", "a", "1");
	assert_int_equal(json_raw_member(text, strlen(text), "big", &p, &n), -ENOENT);
	assert_int_equal(json_raw_member("{}", 2, "a", &p, &n), -ENOENT);
	assert_int_equal(json_raw_member("[1]", 3, "a", &p, &n), -EBADMSG);
	assert_int_equal(json_raw_member("", 0, "a", &p, &n), -EBADMSG);
}

static void test_raw_elements_in_order(void **state)
{
	static const char *const want[] = {"{\"id\":1}", "\"a,]b\"", "-2.5e3", "null", "[]"};
	const char *text = "[ {\"id\":1}, \"a,]b\" ,-2.5e3,null, [] ]", *p;
	size_t pos = 0, n, i = 0;

	while (json_raw_next(text, strlen(text), &pos, NULL, NULL, &p, &n) == 1) {
		assert_int_equal(n, strlen(want[i]));
		assert_memory_equal(p, want[i], n);
		i++;
	}
	assert_int_equal(i, COUNT(want));
	pos = 0;
	assert_int_equal(json_raw_next(" [ ] ", 5, &pos, NULL, NULL, &p, &n), 0);
	pos = 0;
	assert_int_equal(json_raw_next("5", 1, &pos, NULL, NULL, &p, &n), -EBADMSG);
}

static void test_slices_of_what_is_no_json(void **state)
{
	static const char *const bad[] = {"[1 2]", "[1,]", "[1}", "{\"a\":1]", "[1] []", "[] x", "[,1]", "[1,,2]", "[1", "[1,", "[", "{\"a\" 1}",
	                                  "{\"a\":1,}", "{1:2}", "[}", "{]", ""};

	for (size_t i = 0; i < COUNT(bad); i++) {
		size_t pos = 0, n;
		const char *p;
		int r;

		while ((r = json_raw_next(bad[i], strlen(bad[i]), &pos, NULL, NULL, &p, &n)) == 1)
			;
		if (r != -EBADMSG)
			fail_msg("%s: %d", bad[i], r);
	}
}

/* Every text cut at every place, and with every byte replaced, in memory that ends where the text ends: a sanitizer sees a
 * step too far. What is accepted by the one door must be walked to its end by the other. */
static void walk(const char *from, size_t n)
{
	char *text = malloc(n ? n : 1);
	struct json *j = NULL;
	const char *key, *p;
	size_t pos = 0, key_n, len, members = 0, have = 0;
	int r, rr;

	assert_non_null(text);
	memcpy(text, from, n);
	r = json_parse(text, n, &j);
	while ((rr = json_raw_next(text, n, &pos, &key, &key_n, &p, &len)) == 1) {
		assert_true(p >= text && len > 0 && p + len <= text + n);
		members++;
	}
	if (r == 0 && (json_is_object(j) || json_is_array(j))) {
		assert_int_equal(rr, 0);
		for (const struct json *i = json_first(j); i; i = json_next(i))
			have++;
		assert_int_equal(members, have);
	}
	(void)json_raw_member(text, n, "k", &p, &len);
	json_free(j);
	free(text);
}

static void test_no_text_makes_the_scanner_overrun(void **state)
{
	static const char *const seeds[] = {
		"{\"k\":[1,{\"a\":\"\\u0000\\ud83d\\udd2c\\\\\"}],\"l\":-1.5e+3 , \"m\":null}", "[[],[[]],{\"\":\"\"}, true]", "\"\\\"",
		"\xef\xbb\xbf [ \"\xc3\xa9\" ]\n",
	};
	static const char bytes[] = "{}[]\",:\\u0\x01 \xff" "a";

	for (size_t s = 0; s < COUNT(seeds); s++) {
		size_t n = strlen(seeds[s]);
		char copy[100];

		for (size_t cut = 0; cut <= n; cut++)
			walk(seeds[s], cut);
		for (size_t at = 0; at < n; at++)
			for (size_t b = 0; b < sizeof(bytes); b++) {
				memcpy(copy, seeds[s], n);
				copy[at] = bytes[b];
				walk(copy, n);
			}
	}
}

static void test_a_refusal_tells_the_place(void **state)
{
	static const struct {
		const char *text, *where;
	} cases[] = {
		{"{\n  \"a\": 1,\n  \"b\": tru\n}", "line 3, column"},
		{"{\"a\": 1", "line 1, column"},
		{"{} x", "line 1, column 4"},
		{"{\n\"\\u12\"}", "line 2, column 2"},
		{"", "line 1, column 1"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct json *j = NULL;

		assert_int_equal(json_parse(cases[i].text, strlen(cases[i].text), &j), -EBADMSG);
		assert_non_null(strstr(json_error(), cases[i].where));
	}
}

static void test_what_may_be_sent(void **state)
{
	static const struct {
		const char *text;
		int want;
	} cases[] = {
		{"{\"a\": [1, -0.5e+3, \"x\\n\", true, null, false]}", 0}, {"0", 0}, {"-0", 0}, {"9223372036854775807", 0}, {" 1\t\r\n", 0},
		{"\"\\ud83d\\ude00\"", 0}, {"\"\\u0000\"", 0},
		/* json_parse() takes these. */
		{"01", -EBADMSG}, {"1.", -EBADMSG}, {"-", -EBADMSG}, {"[1.e5]", -EBADMSG}, {"\"a\tb\"", -EBADMSG}, {"[1\x0b]", -EBADMSG},
		{"\xef\xbb\xbf{}", -EBADMSG}, {"1e", -EBADMSG}, {"1x", -EBADMSG},
		/* These are JSON, and no server keeps them. */
		{"1e999", -ERANGE}, {"[-1e999]", -ERANGE}, {"9223372036854775808", -ERANGE}, {"-9223372036854775809", -ERANGE},
		{"{\"\\u0000\": 1}", -ERANGE}, {"\"\\ud800\"", -ERANGE}, {"\"\\udc00\\ud800\"", -ERANGE},
		{"", -EBADMSG}, {"{", -EBADMSG}, {"[1e999", -EBADMSG}, {"[1e999, 01]", -EBADMSG},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (json_check(cases[i].text, strlen(cases[i].text)) != cases[i].want)
			fail_msg("%s: %d", cases[i].text, json_check(cases[i].text, strlen(cases[i].text)));
}

static void test_two_texts_say_the_same(void **state)
{
	static const struct {
		const char *a, *b;
		int want;
	} cases[] = {
		{"{\"a\": 1, \"b\": [1, {}]}", " {\"b\":[1,{ }],\"a\":1}\n", 1}, {"\"a\"", "\"\\u0061\"", 1}, {"{\"a\":1}", "{\"\\u0061\": 1}", 1},
		{"1", "1.0", 0}, {"9007199254740993", "9007199254740992", 0}, {"1", "\"1\"", 0}, {"[1, 2]", "[2, 1]", 0}, {"[1]", "[1, 2]", 0},
		{"[1, 2]", "[1]", 0}, {"{\"a\": 1}", "{}", 0}, {"{}", "{\"a\": 1}", 0}, {"{\"a\": 1}", "{\"b\": 1}", 0}, {"null", "true", 0}, {"{}", "[]", 0},
		{"", "1", 0}, {"{\"a\": {\"b\": 1}}", "{\"a\": {\"b\": 2}}", 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (json_same(cases[i].a, strlen(cases[i].a), cases[i].b, strlen(cases[i].b)) != cases[i].want)
			fail_msg("%s and %s", cases[i].a, cases[i].b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_refusal_tells_the_place),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_escapes_that_c_cannot_keep),
		cmocka_unit_test(test_an_escaped_nul_in_a_name_hides_nothing),
		cmocka_unit_test(test_members_must_be_what_they_are),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_strings_written_come_back),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_raw_members_keep_their_bytes),
		cmocka_unit_test(test_raw_elements_in_order),
		cmocka_unit_test(test_slices_of_what_is_no_json),
		cmocka_unit_test(test_no_text_makes_the_scanner_overrun),
		cmocka_unit_test(test_what_may_be_sent),
		cmocka_unit_test(test_two_texts_say_the_same),
	};

	return cmocka_run_group_tests_name("base-json", tests, NULL, NULL);
}
