/* fs-scratch.c - an editor's files beside a document: bounded, found by name, living while somebody holds them. */
#include "fs/private.h"
#include "test.h"

static int setup(void **state)
{
	struct scratches *s = NULL;

	assert_int_equal(scratches_new(&s), 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	scratches_free(*state);
	return 0;
}

static void text_is(struct scratch *x, const char *want)
{
	_cleanup_buf_ struct buf b = BUF_MAX(SCRATCH_MAX);

	assert_int_equal(scratch_read(x, 0, SCRATCH_MAX, &b), 0);
	assert_string_equal(buf_str(&b), want);
}

static void test_it_is_found_in_its_directory_only(void **state)
{
	struct scratch *x = NULL, *again;

	assert_int_equal(scratch_make(*state, 7, "a~", &x), 0);
	assert_int_equal(scratch_write(x, "text", 4, 0), 4);
	assert_null(scratch_find(*state, 8, "a~"));
	assert_null(scratch_find(*state, 7, "a"));
	again = scratch_find(*state, 7, "a~");
	assert_ptr_equal(again, x);
	scratch_unref(again);
	assert_int_equal(scratch_make(*state, 7, "a~", &again), 0);
	assert_ptr_equal(again, x);
	scratch_unref(again);
	scratch_unref(x);
}

static void test_writes_stand_where_they_were_put(void **state)
{
	struct scratch *x = NULL;
	struct timespec t;

	assert_int_equal(scratch_make(*state, 1, "x", &x), 0);
	assert_int_equal(scratch_write(x, "abc", 3, 0), 3);
	assert_int_equal(scratch_write(x, "Z", 1, 1), 1);
	assert_int_equal(scratch_write(x, "end", 3, UINT64_MAX), 3);
	text_is(x, "aZcend");
	assert_int_equal(scratch_truncate(x, 2), 0);
	text_is(x, "aZ");
	assert_int_equal(scratch_truncate(x, 5), 0);
	assert_int_equal(scratch_size(x, &t), 5);
	scratch_unref(x);
}

static void test_none_grows_beyond_its_limit(void **state)
{
	struct scratch *x = NULL;
	struct timespec t;
	char *big = calloc(1, SCRATCH_MAX + 1);

	assert_int_equal(scratch_make(*state, 1, "x", &x), 0);
	assert_int_equal(scratch_write(x, "12", 2, SCRATCH_MAX - 1), -EFBIG);
	assert_int_equal(scratch_write(x, "1", 1, UINT64_MAX - 1), -EFBIG);
	assert_int_equal(scratch_truncate(x, SCRATCH_MAX + 1), -EFBIG);
	assert_int_equal(scratch_size(x, &t), 0);
	assert_int_equal(scratch_write(x, "1", 1, SCRATCH_MAX - 1), 1);
	assert_int_equal(scratch_put(*state, 1, "y", big, SCRATCH_MAX + 1), -EFBIG);
	assert_null(scratch_find(*state, 1, "y"));
	scratch_unref(x);
	free(big);
}

static void test_there_are_only_so_many(void **state)
{
	struct scratch *x = NULL, *held = NULL;
	char name[16];

	for (int i = 0; i < SCRATCH_COUNT; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(scratch_put(*state, 1, name, "x", 1), 0);
	}
	assert_int_equal(scratch_make(*state, 1, "more", &x), -ENOSPC);
	assert_int_equal(scratch_put(*state, 1, "0", "over it", 7), 0);
	/* One that is removed and still open counts. */
	held = scratch_find(*state, 1, "1");
	assert_int_equal(scratch_remove(*state, 1, "1"), 0);
	assert_int_equal(scratch_make(*state, 1, "more", &x), -ENOSPC);
	scratch_unref(held);
	assert_int_equal(scratch_make(*state, 1, "more", &x), 0);
	scratch_unref(x);
}

static void test_the_oldest_refused_text_makes_way(void **state)
{
	struct scratch *x = NULL;
	char name[24];

	for (int i = 0; i < SCRATCH_COUNT; i++) {
		snprintf(name, sizeof(name), "%d%s", i, i == 5 || i == 9 ? SCRATCH_REFUSED : "");
		assert_int_equal(scratch_put(*state, 1, name, "x", 1), 0);
	}
	assert_int_equal(scratch_make(*state, 1, "more", &x), 0);
	scratch_unref(x);
	assert_null(scratch_find(*state, 1, "5.refused"));
	x = scratch_find(*state, 1, "9.refused");
	assert_non_null(x);
	assert_int_equal(scratch_put(*state, 1, "again", "x", 1), -ENOSPC);     /* somebody reads it */
	scratch_unref(x);
	assert_int_equal(scratch_put(*state, 1, "again", "x", 1), 0);
}

static void test_a_removed_one_lives_on_for_who_holds_it(void **state)
{
	struct scratch *old = NULL, *new_one = NULL;

	assert_int_equal(scratch_make(*state, 1, "x", &old), 0);
	assert_int_equal(scratch_write(old, "old", 3, 0), 3);
	assert_int_equal(scratch_remove(*state, 1, "x"), 0);
	assert_int_equal(scratch_remove(*state, 1, "x"), -ENOENT);
	assert_int_equal(scratch_make(*state, 1, "x", &new_one), 0);
	assert_ptr_not_equal(old, new_one);
	text_is(old, "old");
	text_is(new_one, "");
	scratch_unref(old);
	scratch_unref(new_one);
}

static void test_renaming_takes_the_others_place(void **state)
{
	struct scratch *x;
	char *names[SCRATCH_COUNT];
	size_t n;

	assert_int_equal(scratch_put(*state, 1, "from", "new", 3), 0);
	assert_int_equal(scratch_put(*state, 2, "to", "old", 3), 0);
	assert_int_equal(scratch_rename(*state, 1, "nothing", 2, "to"), -ENOENT);
	assert_int_equal(scratch_rename(*state, 1, "from", 2, "to"), 0);
	assert_int_equal(scratch_rename(*state, 2, "to", 2, "to"), 0);
	assert_null(scratch_find(*state, 1, "from"));
	x = scratch_find(*state, 2, "to");
	text_is(x, "new");
	scratch_unref(x);
	n = scratch_names(*state, 2, names);
	assert_int_equal(n, 1);
	assert_string_equal(names[0], "to");
	free(names[0]);
	assert_int_equal(scratch_names(*state, 1, names), 0);
}

static void test_each_text_that_is_set_is_an_edition(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(SCRATCH_MAX);
	struct scratch *x = NULL, *y = NULL;
	uint64_t first, edition;
	char *big = calloc(1, SCRATCH_MAX + 1);

	assert_int_equal(scratch_make(*state, 1, "x", &x), 0);
	assert_int_equal(scratch_make(*state, 1, "y", &y), 0);
	assert_int_equal(scratch_edition(x), 0);
	assert_int_equal(scratch_set(x, "one", 3), 0);
	first = scratch_edition(x);
	assert_int_equal(scratch_set(y, "one", 3), 0);
	assert_true(first && scratch_edition(y) > first && scratch_edition(x) == first);
	assert_int_equal(scratch_set(x, "one", 3), 0);
	assert_true(scratch_edition(x) > scratch_edition(y));
	assert_int_equal(scratch_set(x, big, SCRATCH_MAX + 1), -EFBIG);
	assert_int_equal(scratch_get(x, &b, &edition), 0);
	assert_string_equal(buf_str(&b), "one");
	assert_int_equal(edition, scratch_edition(x));
	scratch_unref(x);
	scratch_unref(y);
	free(big);
}

static void test_where_removed_ones_are_forgotten_they_take_no_room(void **state)
{
	struct scratches *s = NULL;
	struct scratch *x = NULL, *held[SCRATCH_COUNT];
	struct timespec t;
	char name[16];

	(void)state;
	assert_int_equal(scratches_new_forgetting(&s), 0);
	for (int i = 0; i < SCRATCH_COUNT; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(scratch_make(s, 1, name, &held[i]), 0);
		assert_int_equal(scratch_set(held[i], "text", 4), 0);
	}
	assert_int_equal(scratch_make(s, 1, "more", &x), -ENOSPC);
	assert_int_equal(scratch_remove(s, 1, "0"), 0);
	assert_int_equal(scratch_rename(s, 1, "1", 1, "2"), 0);
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "more %d", i);
		assert_int_equal(scratch_make(s, 1, name, &x), 0);
		scratch_unref(x);
	}
	assert_int_equal(scratch_make(s, 1, "more", &x), -ENOSPC);
	text_is(held[0], "");
	text_is(held[1], "text");
	text_is(held[2], "");
	assert_int_equal(scratch_set(held[0], "late", 4), 0);
	assert_int_equal(scratch_size(held[0], &t), 0);
	assert_true(!scratch_edition(held[0]) && scratch_edition(held[1]));
	for (int i = 0; i < SCRATCH_COUNT; i++)
		scratch_unref(held[i]);
	assert_int_equal(scratch_make(s, 1, "more", &x), -ENOSPC);
	scratches_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_it_is_found_in_its_directory_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writes_stand_where_they_were_put, setup, teardown),
		cmocka_unit_test_setup_teardown(test_none_grows_beyond_its_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_there_are_only_so_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_oldest_refused_text_makes_way, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_removed_one_lives_on_for_who_holds_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_renaming_takes_the_others_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_text_that_is_set_is_an_edition, setup, teardown),
		cmocka_unit_test(test_where_removed_ones_are_forgotten_they_take_no_room),
	};

	return cmocka_run_group_tests_name("fs-scratch", tests, NULL, NULL);
}
