/* Strings, a table of cases for each reader and writer. */
#include "test.h"

#include "base/cleanup.h"
#include "base/str.h"

static void test_compare(void **state)
{
	assert_true(str_eq("a", "a") && str_eq(NULL, NULL));
	assert_false(str_eq("a", "A") || str_eq("a", NULL) || str_eq(NULL, ""));
	assert_true(str_starts("abc", "ab") && str_starts("abc", ""));
	assert_false(str_starts("ab", "abc"));
	assert_true(str_ends("abc", "bc") && str_ends("abc", "") && str_ends("abc", "abc"));
	assert_false(str_ends("bc", "abc") || str_ends("abc", "ab"));
}

static void test_make(void **state)
{
	_cleanup_free_ char *a = NULL, *b = NULL;
	char *none = a;

	assert_int_equal(str_fmt(&a, "%s-%d", "x", 7), 0);
	assert_string_equal(a, "x-7");
	assert_int_equal(str_dup(a, &b), 0);
	assert_string_equal(b, "x-7");
	assert_int_equal(str_dup(NULL, &none), 0);
	assert_null(none);
}

static void test_trim(void **state)
{
	char a[] = " \t a b \r\n", b[] = "   ", c[] = "";

	assert_string_equal(str_trim(a), "a b");
	assert_string_equal(str_trim(b), "");
	assert_string_equal(str_trim(c), "");
}

static void test_split(void **state)
{
	static const struct { const char *text; const char *pieces[5]; } cases[] = {
		{"", {""}}, {"a", {"a"}}, {"a/b", {"a", "b"}}, {"/a//b", {"", "a", "", "b"}}, {"a/", {"a", ""}},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_free_ char **list = NULL;
		size_t n = 0;

		assert_int_equal(str_split(cases[i].text, '/', &list), 0);
		for (; cases[i].pieces[n]; n++)
			assert_string_equal(list[n], cases[i].pieces[n]);
		assert_null(list[n]);
	}
}

static void test_percent(void **state)
{
	static const struct { const char *plain, *keep, *coded; } cases[] = {
		{"", NULL, ""}, {"aZ09-._~", NULL, "aZ09-._~"}, {"a b", NULL, "a%20b"}, {"a/b", "/", "a/b"}, {"a/b", NULL, "a%2Fb"},
		{"100%+&=?#", NULL, "100%25%2B%26%3D%3F%23"}, {"\xc3\xa9\xff\x01", NULL, "%C3%A9%FF%01"},
	};
	static const char *const bad[] = {"%", "%4", "%zz", "a%0", "%00", "%-1", "% 1", "%4g"};
	_cleanup_free_ char *nul = NULL, *lower = NULL;
	char *none = NULL;

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_free_ char *coded = NULL, *plain = NULL;

		assert_int_equal(str_percent_encode(cases[i].plain, strlen(cases[i].plain), cases[i].keep, &coded), 0);
		assert_string_equal(coded, cases[i].coded);
		assert_int_equal(str_percent_decode(coded, &plain), 0);
		assert_string_equal(plain, cases[i].plain);
	}
	assert_int_equal(str_percent_encode("\0a", 2, "", &nul), 0);
	assert_string_equal(nul, "%00a");
	assert_int_equal(str_percent_decode("%c3%A9", &lower), 0);
	assert_string_equal(lower, "\xc3\xa9");
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(str_percent_decode(bad[i], &none), -EINVAL);
	assert_null(none);
}

static void test_sizes_read(void **state)
{
	static const struct { const char *text; uint64_t value; int r; } cases[] = {
		{"0", 0, 0}, {"123", 123, 0}, {"1k", 1024, 0}, {"64KiB", 65536, 0}, {"64 KiB", 65536, 0}, {"1.5M", 1572864, 0},
		{"10G", 10737418240, 0}, {"2TB", 2199023255552, 0}, {"1P", 1125899906842624, 0}, {"7B", 7, 0}, {"3Mi", 3145728, 0},
		{"", 0, -EINVAL}, {"-1", 0, -EINVAL}, {"+1", 0, -EINVAL}, {" 1", 0, -EINVAL}, {"1x", 0, -EINVAL}, {"G", 0, -EINVAL},
		{"0x10", 0, -EINVAL}, {"inf", 0, -EINVAL}, {"nan", 0, -EINVAL}, {"1GiBs", 0, -EINVAL}, {"1iB", 0, -EINVAL},
		{"1 2", 0, -EINVAL}, {"9999999P", 0, -ERANGE}, {"1e999", 0, -EINVAL},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		uint64_t v = 0;

		assert_int_equal(str_parse_size(cases[i].text, &v), cases[i].r);
		assert_int_equal(v, cases[i].value);
	}
}

static void test_durations_read(void **state)
{
	static const struct { const char *text; uint64_t ms; int r; } cases[] = {
		{"500ms", 500, 0}, {"5s", 5000, 0}, {"5", 5000, 0}, {"0", 0, 0}, {"0.5s", 500, 0}, {"10m", 600000, 0}, {"10min", 600000, 0},
		{"2h", 7200000, 0}, {"1d", 86400000, 0}, {"0.29s", 290, 0},
		{"", 0, -EINVAL}, {"s", 0, -EINVAL}, {"-5s", 0, -EINVAL}, {"5 s", 0, -EINVAL}, {"5S", 0, -EINVAL}, {"5sec", 0, -EINVAL},
		{"1e9d", 0, -ERANGE},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		uint64_t ms = 0;

		assert_int_equal(str_parse_duration(cases[i].text, &ms), cases[i].r);
		assert_int_equal(ms, cases[i].ms);
	}
}

static void test_numbers_and_truths_read(void **state)
{
	static const struct { const char *text; uint64_t value; int r; } cases[] = {
		{"0", 0, 0}, {"007", 7, 0}, {"18446744073709551615", UINT64_MAX, 0}, {"18446744073709551616", 0, -ERANGE},
		{"99999999999999999999999", 0, -ERANGE}, {"", 0, -EINVAL}, {"-1", 0, -EINVAL}, {" 1", 0, -EINVAL}, {"1a", 0, -EINVAL},
	};
	static const char *const yes[] = {"yes", "True", "ON", "1"}, *const no[] = {"no", "FALSE", "off", "0"};
	static const char *const neither[] = {"", "y", "2", "enabled", " yes"};
	bool b = false;

	for (size_t i = 0; i < COUNT(cases); i++) {
		uint64_t v = 0;

		assert_int_equal(str_parse_u64(cases[i].text, &v), cases[i].r);
		assert_true(v == cases[i].value);
	}
	for (size_t i = 0; i < COUNT(yes); i++) {
		assert_int_equal(str_parse_bool(yes[i], &b), 0);
		assert_true(b);
		assert_int_equal(str_parse_bool(no[i], &b), 0);
		assert_false(b);
	}
	for (size_t i = 0; i < COUNT(neither); i++)
		assert_int_equal(str_parse_bool(neither[i], &b), -EINVAL);
}

static void test_sizes_written(void **state)
{
	static const struct { uint64_t n; const char *text; } cases[] = {
		{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"}, {1048575, "1.0 MiB"}, {1047552, "1023.0 KiB"},
		{10737418240, "10.0 GiB"}, {UINT64_MAX, "16.0 EiB"},
	};
	char text[STR_SIZE_MAX];

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_string_equal(str_format_size(cases[i].n, text), cases[i].text);
}

static void test_distance(void **state)
{
	static const struct {
		const char *a, *b;
		unsigned n;
	} cases[] = {{"", "", 0}, {"ttl", "ttl", 0}, {"tll", "ttl", 1}, {"tl", "ttl", 1}, {"", "abc", 3}, {"proxi", "proxy", 1},
	             {"umont", "umount", 1}, {"kitten", "sitting", 3},
	             {"0123456789012345678901234567890123456789012345678901234567890123", "a", UINT32_MAX}};

	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(str_distance(cases[i].a, cases[i].b), cases[i].n);
		assert_int_equal(str_distance(cases[i].b, cases[i].a), cases[i].n);
	}
}

static void test_utf8(void **state)
{
	static const char *const good[] = {"", "ascii", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x94\xac", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf",
	                                   "\xed\x9f\xbf", "\xc2\x80"};
	static const char *const bad[] = {"\x80", "\xff", "\xc3", "a\xc3", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
	                                  "\xf0\x80\x80\x80", "\xe2\x82", "\xe2\x28\xa1", "\xf8\x88\x80\x80\x80"};

	for (size_t i = 0; i < COUNT(good); i++)
		assert_true(str_utf8_valid(good[i], strlen(good[i])));
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(str_utf8_valid(bad[i], strlen(bad[i])));
	assert_true(str_utf8_valid("a\0b", 3));
	assert_int_equal(str_utf8_char("", 0), 0);
	assert_int_equal(str_utf8_char("\xe2\x82\xac", 2), 0);
}

static void test_cut_at_a_character(void **state)
{
	static const struct { const char *text; size_t max, cut; } cases[] = {
		{"abc", 5, 3}, {"abc", 3, 3}, {"abc", 2, 2}, {"abc", 0, 0}, {"a\xc3\xa9", 3, 3}, {"a\xc3\xa9", 2, 1},
		{"\xf0\x9f\x94\xac", 3, 0}, {"x\xf0\x9f\x94\xac", 4, 1}, {"x\xf0\x9f\x94\xacy", 5, 5}, {"\x80\x80\x80\x80\x80\x80", 5, 5},
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(str_utf8_cut(cases[i].text, cases[i].max), cases[i].cut);
}

static void test_printable(void **state)
{
	static const struct { const char *text, *shown; } cases[] = {
		{"plain \xc3\xa9", "plain \xc3\xa9"}, {"a\nb\t", "a\\x0ab\\x09"}, {"\x1b[31m", "\\x1b[31m"}, {"\x7f", "\\x7f"},
		{"\xff\xc3", "\\xff\\xc3"}, {"\xc2\x9b" "31m", "\\xc2\\x9b31m"}, {"\xc2\xa0", "\xc2\xa0"},
	};
	_cleanup_free_ char *cut = NULL;

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_free_ char *shown = str_printable(cases[i].text, 100);

		assert_string_equal(shown, cases[i].shown);
	}
	cut = str_printable("\n\n\n\n\n\n\n\n", 10);
	assert_string_equal(cut, "\\x0a\\x0a\\x0a");
}

static void test_a_stem_is_what_stands_before_an_end(void **state)
{
	_cleanup_free_ char *stem = NULL;

	assert_true(str_stem("ci.json", ".json", &stem));
	assert_string_equal(stem, "ci");
	assert_true(str_stem("ci.json.json", ".json", &stem));
	assert_string_equal(stem, "ci.json");
	assert_false(str_stem(".json", ".json", &stem));
	assert_false(str_stem("", ".json", &stem));
	assert_false(str_stem("ci.jso", ".json", &stem));
	assert_string_equal(stem, "ci.json");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_make),
		cmocka_unit_test(test_trim),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_percent),
		cmocka_unit_test(test_sizes_read),
		cmocka_unit_test(test_durations_read),
		cmocka_unit_test(test_numbers_and_truths_read),
		cmocka_unit_test(test_sizes_written),
		cmocka_unit_test(test_distance),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_cut_at_a_character),
		cmocka_unit_test(test_printable),
		cmocka_unit_test(test_a_stem_is_what_stands_before_an_end),
	};

	return cmocka_run_group_tests_name("base-str", tests, NULL, NULL);
}
