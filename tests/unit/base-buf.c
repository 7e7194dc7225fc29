/* Growing bytes: what is in them, the maximum, who owns the memory. */
#include "test.h"

#include "base/buf.h"
#include "base/cleanup.h"

static void test_empty_is_a_string(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(10);

	assert_string_equal(buf_str(&b), "");
	buf_clear(&b);
	assert_int_equal(buf_add(&b, NULL, 0), 0);
	assert_string_equal(b.data, "");
}

static void test_adds_in_order(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(0);

	assert_int_equal(buf_adds(&b, "one "), 0);
	assert_int_equal(buf_addc(&b, 't'), 0);
	assert_int_equal(buf_add(&b, "wo\0!", 4), 0);
	assert_int_equal(buf_addf(&b, "%d%s", 3, ""), 0);
	assert_int_equal(b.len, 10);
	assert_memory_equal(b.data, "one two\0!3", 11);
}

static void test_grows_past_every_border(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(5000);

	for (int i = 0; i < 5000; i++) {
		assert_int_equal(buf_addc(&b, (char)('a' + i % 26)), 0);
		assert_int_equal(b.data[b.len], 0);
	}
	for (int i = 0; i < 5000; i++)
		assert_int_equal(b.data[i], 'a' + i % 26);
	assert_true(b.room <= 5001);
}

static void test_over_the_maximum_changes_nothing(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(5);

	assert_int_equal(buf_adds(&b, "123456"), -EMSGSIZE);
	assert_int_equal(buf_adds(&b, "1234"), 0);
	assert_int_equal(buf_adds(&b, "56"), -EMSGSIZE);
	assert_int_equal(buf_addf(&b, "%d", 56), -EMSGSIZE);
	assert_int_equal(buf_add(&b, "x", SIZE_MAX), -EMSGSIZE);
	assert_string_equal(buf_str(&b), "1234");
	assert_int_equal(buf_addc(&b, '5'), 0);
	assert_int_equal(buf_addc(&b, '6'), -EMSGSIZE);
	assert_string_equal(buf_str(&b), "12345");
}

static void test_a_maximum_of_everything(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(SIZE_MAX);

	assert_int_equal(buf_adds(&b, "abc"), 0);
	assert_string_equal(buf_str(&b), "abc");
}

static void test_take_hands_over(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(9);
	_cleanup_free_ char *text = NULL, *none = NULL;

	assert_int_equal(buf_adds(&b, "text"), 0);
	text = buf_take(&b);
	none = buf_take(&b);
	assert_string_equal(text, "text");
	assert_string_equal(none, "");
	assert_int_equal(b.len, 0);
	assert_int_equal(buf_adds(&b, "0123456789"), -EMSGSIZE);        /* the maximum stays */
	assert_int_equal(buf_adds(&b, "again"), 0);
	buf_clear(&b);
	assert_string_equal(buf_str(&b), "");
	buf_done(&b);
	assert_int_equal(buf_adds(&b, "and again"), 0);
}

static void test_writes_at_any_offset(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(8);

	assert_int_equal(buf_write(&b, 0, "abcd", 4), 0);
	assert_int_equal(buf_write(&b, 1, "XY", 2), 0);
	assert_string_equal(buf_str(&b), "aXYd");
	assert_int_equal(buf_write(&b, 6, "z", 1), 0);
	assert_int_equal(b.len, 7);
	assert_memory_equal(b.data, "aXYd\0\0z", 8);
	assert_int_equal(buf_write(&b, 7, "12", 2), -EMSGSIZE);
	assert_int_equal(buf_write(&b, SIZE_MAX, "12", 2), -EMSGSIZE);
	assert_int_equal(b.len, 7);
}

static void test_what_was_cut_off_does_not_come_back(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(8);

	assert_int_equal(buf_resize(&b, 0), 0);
	assert_int_equal(buf_adds(&b, "abcdef"), 0);
	assert_int_equal(buf_resize(&b, 2), 0);
	assert_string_equal(buf_str(&b), "ab");
	assert_int_equal(buf_resize(&b, 8), 0);
	assert_memory_equal(b.data, "ab\0\0\0\0\0\0", 9);
	assert_int_equal(buf_resize(&b, 9), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_is_a_string),
		cmocka_unit_test(test_adds_in_order),
		cmocka_unit_test(test_grows_past_every_border),
		cmocka_unit_test(test_over_the_maximum_changes_nothing),
		cmocka_unit_test(test_a_maximum_of_everything),
		cmocka_unit_test(test_take_hands_over),
		cmocka_unit_test(test_writes_at_any_offset),
		cmocka_unit_test(test_what_was_cut_off_does_not_come_back),
	};

	return cmocka_run_group_tests_name("base-buf", tests, NULL, NULL);
}
