/* fs-call.c - a question and its answer through one handle: where either begins. (What the backend says is put in by hand.) */
#include "fs/private.h"
#include "test.h"

static int setup(void **state)
{
	struct handle *h = calloc(1, sizeof(*h));

	pthread_mutex_init(&h->lock, NULL);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	struct handle *h = *state;

	buf_done(&h->question);
	buf_done(&h->text);
	pthread_mutex_destroy(&h->lock);
	free(h);
	return 0;
}

/* As call_answer() does it. */
static void answer(struct handle *h, const char *text)
{
	buf_done(&h->question);
	buf_clear(&h->text);
	assert_int_equal(buf_adds(&h->text, text), 0);
	h->shift = 0;
	h->unread = true;
}

static void reads(struct handle *h, uint64_t at, size_t n, const char *want)
{
	_cleanup_buf_ struct buf b = BUF_MAX(100);

	assert_int_equal(call_read(h, at, n, &b), 0);
	assert_string_equal(buf_str(&b), want);
}

static void test_who_reads_on_where_it_wrote_gets_the_whole_answer(void **state)
{
	assert_int_equal(call_write(*state, "ques", 4, 0), 4);
	assert_int_equal(call_write(*state, "tion", 4, 4), 4);
	assert_true(call_is_asked(*state));
	answer(*state, "0123456789abcdef");
	assert_false(call_is_asked(*state));
	reads(*state, 8, 4, "0123");
	reads(*state, 12, 100, "456789abcdef");
	reads(*state, 24, 100, "");
}

static void test_who_goes_back_to_the_beginning_gets_it_too(void **state)
{
	assert_int_equal(call_write(*state, "question", 8, 0), 8);
	answer(*state, "0123456789abcdef");
	reads(*state, 0, 8, "01234567");
	reads(*state, 8, 8, "89abcdef");
	reads(*state, 16, 8, "");
	/* And who read on first, and then once more from the beginning. */
	answer(*state, "0123456789abcdef");
	reads(*state, 8, 100, "0123456789abcdef");
	reads(*state, 0, 100, "0123456789abcdef");
}

static void test_the_next_question_begins_where_the_answer_ended(void **state)
{
	assert_int_equal(call_write(*state, "one", 3, 0), 3);
	answer(*state, "first");
	reads(*state, 3, 100, "first");
	assert_int_equal(call_write(*state, "two", 3, 8), 3);
	answer(*state, "second");
	reads(*state, 11, 100, "second");
}

static void test_a_question_has_no_holes(void **state)
{
	assert_int_equal(call_write(*state, "abc", 3, 0), 3);
	assert_int_equal(call_write(*state, "x", 1, 7), -EINVAL);
	assert_int_equal(call_write(*state, "x", 1, 0), -EINVAL);
}

static void test_a_question_is_bounded(void **state)
{
	char *big = calloc(1, 1u << 20);

	assert_int_equal(call_write(*state, big, 1u << 20, 0), 1 << 20);
	assert_int_equal(call_write(*state, "x", 1, 1u << 20), -EFBIG);
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_who_reads_on_where_it_wrote_gets_the_whole_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_goes_back_to_the_beginning_gets_it_too, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_next_question_begins_where_the_answer_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_question_has_no_holes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_question_is_bounded, setup, teardown),
	};

	return cmocka_run_group_tests_name("fs-call", tests, NULL, NULL);
}
