/* fs-siblings.c - the decider: which opens make the next small files worth fetching, and how many. */
#include "fs/private.h"
#include "test.h"

static void test_nothing_is_fetched_for_a_single_file(void **state)
{
	struct siblings s = {0};

	assert_int_equal(siblings_watch(&s, 5, 500, false, 0), 0);
}

static void test_a_walk_through_the_listing_opens_a_window_that_grows_while_it_is_used(void **state)
{
	struct siblings s = {0};
	unsigned most = 0, last = 0;

	for (size_t i = 1; i <= 12; i++) {
		/* Inode numbers are hashes: here they go down and up. */
		unsigned w = siblings_watch(&s, i, i % 2 ? 1000 - i : 10 + i, last > 0, 0);

		assert_true(i >= 3 || w == 0);
		assert_true(i < 3 || w >= last);
		last = w;
		most = w > most ? w : most;
	}
	assert_false(s.by_ino);
	assert_int_equal(most, 16);
}

static void test_where_many_come_together_the_window_grows_further(void **state)
{
	struct siblings s = {0};
	unsigned most = 0;

	for (size_t i = 1; i <= 14; i++) {
		unsigned w = siblings_watch(&s, i, i % 2 ? 1000 - i : 10 + i, i > 3, 200);

		most = w > most ? w : most;
	}
	assert_int_equal(most, 200);
}

static void test_a_walk_by_inode_number_is_told_from_the_listing(void **state)
{
	static const size_t places[] = {70, 3, 55, 9, 80, 1, 44};
	struct siblings s = {0};
	unsigned w = 0;

	for (size_t i = 0; i < COUNT(places); i++)
		w = siblings_watch(&s, places[i], 100 * (i + 1), w > 0, 0);
	assert_true(w > 0);
	assert_true(s.by_ino);
}

static void test_the_same_file_again_and_again_opens_no_window(void **state)
{
	struct siblings s = {0};

	for (int i = 0; i < 20; i++)
		assert_int_equal(siblings_watch(&s, 7, 700, false, 0), 0);
}

static void test_opens_that_jump_back_close_the_window(void **state)
{
	struct siblings s = {0};

	for (size_t i = 1; i <= 6; i++)
		(void)siblings_watch(&s, i, i, i > 3, 0);
	assert_true(s.window > 0);
	assert_int_equal(siblings_watch(&s, 2, 2, true, 0), 0);
	assert_int_equal(siblings_watch(&s, 1, 1, false, 0), 0);
}

static void test_what_is_fetched_and_not_opened_closes_the_window(void **state)
{
	struct siblings s = {0};
	unsigned w = 1;

	for (size_t i = 1; i <= 3; i++)
		(void)siblings_watch(&s, i, i, false, 0);
	assert_true(s.window > 0);
	/* Every hundredth: upwards, but never one that was fetched. */
	for (size_t i = 1; i <= 3; i++)
		w = siblings_watch(&s, 100 * i, 100 * i, false, 0);
	assert_int_equal(w, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_fetched_for_a_single_file),
		cmocka_unit_test(test_a_walk_through_the_listing_opens_a_window_that_grows_while_it_is_used),
		cmocka_unit_test(test_where_many_come_together_the_window_grows_further),
		cmocka_unit_test(test_a_walk_by_inode_number_is_told_from_the_listing),
		cmocka_unit_test(test_the_same_file_again_and_again_opens_no_window),
		cmocka_unit_test(test_opens_that_jump_back_close_the_window),
		cmocka_unit_test(test_what_is_fetched_and_not_opened_closes_the_window),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
