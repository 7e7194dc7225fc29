/* Times read and written, and hands that turn. */
#include "test.h"

#include "base/clock.h"

static void test_times_read(void **state)
{
	static const struct { const char *text; int64_t sec; long ns; } cases[] = {
		{"1970-01-01T00:00:00Z", 0, 0},
		{"2026-11-24T13:00:00.123456+00:00", 1795525200, 123456000},
		{"2026-11-24T13:00:00+02:00", 1795518000, 0},
		{"2026-11-24T13:00:00-0530", 1795545000, 0},
		{"2026-11-24T13:00:00", 1795525200, 0},
		{"2026-11-24 13:00:00.5z", 1795525200, 500000000},
		{"2026-11-24t13:00", 1795525200, 0},
		{"2026-11-24", 1795478400, 0},
		{"2026-11-24T13:00:00.123456789987654321Z", 1795525200, 123456789},
		{"2026-11-24T13:00:00,25Z", 1795525200, 250000000},
		{"1969-12-31T23:59:59.75Z", -1, 750000000},
		{"2024-02-29T00:00:00Z", 1709164800, 0},
		{"2000-02-29T00:00:00Z", 951782400, 0},
		{"2016-12-31T23:59:60Z", 1483228800, 0},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct timespec t = {0};

		assert_int_equal(clock_parse_iso(cases[i].text, &t), 0);
		assert_int_equal(t.tv_sec, cases[i].sec);
		assert_int_equal(t.tv_nsec, cases[i].ns);
	}
}

static void test_what_is_no_time(void **state)
{
	static const char *const cases[] = {
		"", "now", "2026", "2026-11", "2026-11-24T", "2026-11-24T13", "2026-11-24T13:0", "2026-11-24T13:00:0", "2026-13-01",
		"2026-00-01", "2026-01-00", "2026-02-30", "2023-02-29", "1900-02-29", "2026-11-24T24:00:00Z", "2026-11-24T13:60:00Z",
		"2026-11-24T13:00:61Z", "2026-11-24T13:00:00.Z", "2026-11-24T13:00:00Zx", "2026-11-24T13:00:00+2", "2026-11-24T13:00:00+24:00",
		"2026-11-24T13:00:00+00:60", "+2026-11-24", "2026-11-24T-1:00:00", "26-11-24", " 2026-11-24", "2026/11/24",
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct timespec t = {7, 7};

		assert_int_equal(clock_parse_iso(cases[i], &t), -EINVAL);
		assert_true(t.tv_sec == 7 && t.tv_nsec == 7);
	}
}

static void test_times_written(void **state)
{
	char text[CLOCK_ISO_MAX];
	struct timespec t;

	clock_format_iso((struct timespec){1795525200, 123999999}, text);
	assert_string_equal(text, "2026-11-24T13:00:00.123Z");
	clock_format_iso((struct timespec){0, 0}, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000Z");
	clock_format_iso((struct timespec){INT64_MAX, 999999999}, text);      /* beyond any calendar: just no harm */
	assert_true(strlen(text) < CLOCK_ISO_MAX);
	clock_format_iso((struct timespec){951868799, 5000000}, text);
	assert_int_equal(clock_parse_iso(text, &t), 0);
	assert_true(t.tv_sec == 951868799 && t.tv_nsec == 5000000);
}

static void test_hands_turn(void **state)
{
	uint64_t mono = clock_mono_ms(), ns = clock_mono_ns();
	struct timespec wall = clock_wall(), later;
	int64_t moved;

	assert_true(mono > 0);
	clock_turn(3600500);
	later = clock_wall();
	moved = (later.tv_sec - wall.tv_sec) * 1000 + (later.tv_nsec - wall.tv_nsec) / 1000000;
	assert_in_range(moved, 3600499, 3600500 + 60000);
	assert_in_range(later.tv_nsec, 0, 999999999);
	assert_in_range(clock_mono_ms() - mono, 3600499, 3600500 + 60000);
	assert_true(clock_mono_ns() - ns >= 3600500000000ull);
	clock_turn(-3600500);
	for (int i = 0; i < 20; i++) {          /* whatever the fraction is, it stays one */
		clock_turn(-130);
		assert_in_range(clock_wall().tv_nsec, 0, 999999999);
	}
	clock_turn(2600);
	assert_true(clock_mono_ms() - mono < 60000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_times_read),
		cmocka_unit_test(test_what_is_no_time),
		cmocka_unit_test(test_times_written),
		cmocka_unit_test(test_hands_turn),
	};

	return cmocka_run_group_tests_name("base-clock", tests, NULL, NULL);
}
