/* Who leaves the disk first: numbers in, an order out. */
#include "cache-reader.h"

#define NOW 1000000000ull
#define WEEK (7ull * 24 * 3600)

static void order_is(const struct evict_block *blocks, size_t n, const char *want)
{
	struct evict_block copy[16];
	char got[17] = {0};

	assert_true(n <= COUNT(copy));
	memcpy(copy, blocks, n * sizeof(*blocks));
	evict_order(copy, n, NOW);
	for (size_t i = 0; i < n; i++)
		got[i] = (char)copy[i].file;
	assert_string_equal(got, want);
}

static void older_ones_leave_before_newer(void **state)
{
	const struct evict_block blocks[] = {{'c', 0, NOW - 1, 0}, {'a', 0, NOW - 500, 0}, {'b', 0, NOW - 20, 0}};

	order_is(blocks, COUNT(blocks), "abc");
}

static void what_was_read_once_leaves_before_what_was_read_again(void **state)
{
	const struct evict_block blocks[] = {{'z', 0, NOW - 9000, 1}, {'a', 0, NOW, 0}, {'y', 0, NOW - 9999, 5}, {'b', 0, NOW, 0}};

	order_is(blocks, COUNT(blocks), "abyz");
}

static void what_was_read_again_is_kept_for_a_week_only(void **state)
{
	const struct evict_block blocks[] = {{'c', 0, NOW - WEEK + 1, 9}, {'a', 0, NOW - WEEK - 1, 9}, {'b', 0, NOW - 5, 0}};

	order_is(blocks, COUNT(blocks), "abc");
}

static void a_last_use_in_the_future_is_damage_and_leaves_first(void **state)
{
	const struct evict_block blocks[] = {{'b', 0, NOW - 5, 0}, {'a', 0, UINT64_MAX, 3}, {'c', 0, NOW + 60, 0}};

	order_is(blocks, COUNT(blocks), "abc");
}

static void equals_leave_in_the_order_of_their_places(void **state)
{
	struct evict_block blocks[] = {{1, 3, NOW, 0}, {1, 1, NOW, 0}, {0, 9, NOW, 0}, {1, 2, NOW, 0}};

	evict_order(blocks, COUNT(blocks), NOW);
	assert_int_equal(blocks[0].index, 9);
	assert_int_equal(blocks[1].index, 1);
	assert_int_equal(blocks[2].index, 2);
	assert_int_equal(blocks[3].index, 3);
}

static void none_is_fine(void **state)
{
	evict_order(NULL, 0, NOW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(older_ones_leave_before_newer),
		cmocka_unit_test(what_was_read_once_leaves_before_what_was_read_again),
		cmocka_unit_test(what_was_read_again_is_kept_for_a_week_only),
		cmocka_unit_test(a_last_use_in_the_future_is_damage_and_leaves_first),
		cmocka_unit_test(equals_leave_in_the_order_of_their_places),
		cmocka_unit_test(none_is_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
