/* The headers of parts and of patience, as tables. */
#include "test.h"

#include "http/private.h"

static void test_content_range(void **state)
{
	static const struct {
		const char *value;
		int r;
		uint64_t first, last, total;
	} cases[] = {
		{"bytes 10-19/2048", 0, 10, 19, 2048},
		{"bytes 0-0/1", 0, 0, 0, 1},
		{"bytes 0-2047/*", 0, 0, 2047, UINT64_MAX},
		{"BYTES 0-2047/2048 ", 0, 0, 2047, 2048},
		{"bytes=0-9/10", 0, 0, 9, 10},
		{"bytes  5-6/7", 0, 5, 6, 7},
		{"bytes 4611686018427387904-4611686018427387905/4611686018427387906", 0, 1ull << 62, (1ull << 62) + 1, (1ull << 62) + 2},
		{"", -EPROTO}, {"bytes", -EPROTO}, {"bytes ", -EPROTO}, {"10-19/2048", -EPROTO},
		{"bytes */2048", -EPROTO},              /* of a 416 */
		{"bytes 5000-2047/2048", -EPROTO},      /* Girder's answer to an offset past the end */
		{"bytes 10-19/19", -EPROTO}, {"bytes 10-19/", -EPROTO}, {"bytes 10-19", -EPROTO}, {"bytes -5/10", -EPROTO},
		{"bytes 10-/20", -EPROTO}, {"bytes +1-2/3", -EPROTO}, {"bytes 1-2/3x", -EPROTO}, {"bytes 1-2/3, 4-5/6", -EPROTO},
		{"bytes 99999999999999999999-99999999999999999999/*", -EPROTO}, {"items 1-2/3", -EPROTO},
		{"bytes 0x1-2/3", -EPROTO}, {"bytes 1--2/3", -EPROTO},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		uint64_t first = 77, last = 77, total = 77;

		assert_int_equal(range_parse_content(cases[i].value, &first, &last, &total), cases[i].r);
		assert_int_equal(first, cases[i].r ? 77 : cases[i].first);
		assert_int_equal(last, cases[i].r ? 77 : cases[i].last);
		assert_int_equal(total, cases[i].r ? 77 : cases[i].total);
	}
}

static void test_retry_after(void **state)
{
	const time_t now = 1793541600;  /* Sun, 01 Nov 2026 14:00:00 GMT */
	static const struct {
		const char *value;
		int64_t ms;
	} cases[] = {
		{"0", 0}, {"1", 1000}, {"120", 120000}, {"0120", 120000},
		{"Sun, 01 Nov 2026 14:00:30 GMT", 30000}, {"Sunday, 01-Nov-26 14:01:00 GMT", 60000}, {"Sun Nov  1 14:00:05 2026", 5000},
		{"Sun, 01 Nov 2026 13:59:00 GMT", 0},
		{"soon", -1}, {"", -1}, {"-5", -1},
		{"99999999", 1000000000},       /* longer than anybody waits, and no overflow */
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(range_parse_retry_after(cases[i].value, now), cases[i].ms);
	assert_true(range_parse_retry_after("99999999999999999999999", now) != 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content_range),
		cmocka_unit_test(test_retry_after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
