/* fs-texts.c - the text that a written document was made from is found among those that were given out. */
#include "fs/private.h"
#include "test.h"

#define DOC(literal) (&(struct doc){TEXT(literal), sizeof(literal) - 1})

static int setup(void **state)
{
	struct texts *t = NULL;

	assert_int_equal(texts_new(&t), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	texts_free(*state);
	return 0;
}

static void base_is(struct texts *t, uint64_t ino, const struct doc *fresh, const struct doc *now, const struct doc *want)
{
	struct doc base = {0};

	assert_int_equal(texts_base(t, ino, fresh, now, &base), 0);
	assert_string_equal(base.text, want->text);
	assert_int_equal(base.len, want->len);
	doc_done(&base);
}

static void test_likeness_counts_equal_members(void **state)
{
	assert_int_equal(text_likeness(DOC("{\"a\": 1, \"b\": {\"c\": 2}, \"d\": \"x\"}"), DOC("{\"d\":\"x\",\"a\":1,\"b\":{\"c\": 3}}")), 2);
	assert_int_equal(text_likeness(DOC("{}"), DOC("{\"a\": 1}")), 0);
	assert_int_equal(text_likeness(DOC("[1]"), DOC("{\"a\": 1}")), 0);
	assert_int_equal(text_likeness(DOC("{\"a\": 1"), DOC("")), 0);
}

static void test_what_was_read_before_the_server_moved_on_is_the_base(void **state)
{
	const struct doc *read = DOC("{\"id\": 1, \"updated\": 5, \"meta\": {}}"), *fresh = DOC("{\"id\": 1, \"updated\": 6, \"meta\": {\"b\": 1}}"),
	                 *now = DOC("{\"id\": 1, \"updated\": 5, \"meta\": {\"a\": 1}}");

	base_is(*state, 7, fresh, now, fresh);
	texts_given(*state, 7, read);
	base_is(*state, 7, fresh, now, read);
	base_is(*state, 8, fresh, now, fresh);
}

static void test_a_second_write_goes_on_from_the_first(void **state)
{
	const struct doc *read = DOC("{\"updated\": 5, \"meta\": {}}"), *first = DOC("{\"updated\": 5, \"meta\": {\"a\": 1}}"),
	                 *fresh = DOC("{\"updated\": 6, \"meta\": {\"a\": 1}}"), *second = DOC("{\"updated\": 5, \"meta\": {\"a\": 2}}");

	texts_given(*state, 7, read);
	texts_written(*state, 7, first);
	base_is(*state, 7, fresh, second, first);
	/* And one that undoes the first: what was read before that is not the base any more. */
	base_is(*state, 7, fresh, read, first);
}

static void test_where_nothing_is_more_like_it_the_servers_is_the_base(void **state)
{
	const struct doc *read = DOC("{\"updated\": 5}"), *fresh = DOC("{\"updated\": 6}");

	texts_given(*state, 7, read);
	base_is(*state, 7, fresh, DOC("{\"meta\": {}}"), fresh);
	base_is(*state, 7, fresh, DOC("{\"updated\": 6}"), fresh);
}

static void test_few_are_kept_of_each_and_in_all(void **state)
{
	char text[64];
	const struct doc *fresh = DOC("{}");

	for (int i = 0; i < 6; i++) {
		snprintf(text, sizeof(text), "{\"n\": %d}", i);
		texts_given(*state, 1, &(struct doc){text, strlen(text)});
	}
	base_is(*state, 1, fresh, DOC("{\"n\": 5}"), DOC("{\"n\": 5}"));
	base_is(*state, 1, fresh, DOC("{\"n\": 2}"), DOC("{\"n\": 2}"));
	base_is(*state, 1, fresh, DOC("{\"n\": 1}"), fresh);
	for (uint64_t i = 2; i < 400; i++)
		texts_given(*state, i, DOC("{\"m\": 1}"));
	base_is(*state, 1, fresh, DOC("{\"n\": 5}"), fresh);
	base_is(*state, 399, fresh, DOC("{\"m\": 1}"), DOC("{\"m\": 1}"));
}

static void test_long_ones_are_not_kept(void **state)
{
	size_t n = (2u << 20) + 1;
	char *long_one = malloc(n + 1);
	struct doc d = {long_one, n}, base = {0};

	memset(long_one, ' ', n);
	long_one[n] = 0;
	memcpy(long_one, "{\"n\":1}", 7);
	texts_given(*state, 1, DOC("{\"n\": 1}"));
	texts_given(*state, 1, &d);
	assert_int_equal(texts_base(*state, 1, DOC("{}"), &d, &base), 0);
	assert_string_not_equal(base.text, long_one);
	doc_done(&base);
	/* What was written is what one goes on from: older ones go, though it is not kept. */
	texts_written(*state, 1, &d);
	base_is(*state, 1, DOC("{}"), DOC("{\"n\": 1}"), DOC("{}"));
	free(long_one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_likeness_counts_equal_members),
		cmocka_unit_test_setup_teardown(test_what_was_read_before_the_server_moved_on_is_the_base, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_second_write_goes_on_from_the_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_where_nothing_is_more_like_it_the_servers_is_the_base, setup, teardown),
		cmocka_unit_test_setup_teardown(test_few_are_kept_of_each_and_in_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_ones_are_not_kept, setup, teardown),
	};

	return cmocka_run_group_tests_name("fs-texts", tests, NULL, NULL);
}
