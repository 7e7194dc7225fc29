/* cli-errand.c - a child that does what may never return. */
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/errand.h"

#define MUCH (3u << 20)

static int bring(const void *arg, struct buf *answer)
{
	for (unsigned i = 0; i < MUCH; i++)
		if (buf_addc(answer, (char)('a' + i % 26)) < 0)
			return -ENOMEM;
	return *(const int *)arg;
}

static int stay(const void *arg, struct buf *answer)
{
	while (pause() < 0)
		;
	return 0;
}

static int die(const void *arg, struct buf *answer)
{
	raise(SIGKILL);
	return 0;
}

static void test_it_brings_home_what_it_found_and_how_it_ended(void **state)
{
	static const int ends[] = {0, -ENOENT};

	for (size_t i = 0; i < COUNT(ends); i++) {
		struct errand e;
		int r = 1;

		assert_int_equal(errand_start(&e, bring, &ends[i]), 0);
		assert_int_equal(errand_wait(&e, 60000, &r), 0);
		assert_int_equal(r, ends[i]);
		assert_int_equal(e.answer.len, MUCH);
		assert_memory_equal(e.answer.data, "abcdefghijklmnopqrstuvwxyza", 27);
		assert_int_equal(e.answer.data[MUCH - 1], 'a' + (MUCH - 1) % 26);
		assert_true(errand_end(&e));
	}
}

static void test_one_that_stays_away_is_waited_for_so_long_and_ended(void **state)
{
	struct errand e;
	uint64_t since = clock_mono_ms();
	pid_t pid;
	int r;

	assert_int_equal(errand_start(&e, stay, NULL), 0);
	pid = e.pid;
	assert_int_equal(errand_wait(&e, 20, &r), -ETIMEDOUT);
	assert_int_equal(errand_wait(&e, 20, &r), -ETIMEDOUT);
	assert_true(clock_mono_ms() - since >= 40);
	assert_true(errand_end(&e));
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

static void test_one_that_dies_is_an_error(void **state)
{
	struct errand e;
	int r = 1;

	assert_int_equal(errand_start(&e, die, NULL), 0);
	assert_int_equal(errand_wait(&e, 60000, &r), 0);
	assert_int_equal(r, -EIO);
	assert_true(errand_end(&e));
}

static void on_signal(int sig)
{
}

static void test_a_signal_ends_the_waiting_and_not_the_errand(void **state)
{
	struct sigaction note = {.sa_handler = on_signal}, old;
	struct errand e;
	int r;

	sigaction(SIGALRM, &note, &old);
	assert_int_equal(errand_start(&e, stay, NULL), 0);
	alarm(1);
	assert_int_equal(errand_wait(&e, 60000, &r), -EINTR);
	assert_int_equal(kill(e.pid, 0), 0);
	assert_int_equal(errand_wait(&e, 20, &r), -ETIMEDOUT);
	assert_true(errand_end(&e));
	sigaction(SIGALRM, &old, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_it_brings_home_what_it_found_and_how_it_ended),
		cmocka_unit_test(test_one_that_stays_away_is_waited_for_so_long_and_ended),
		cmocka_unit_test(test_one_that_dies_is_an_error),
		cmocka_unit_test(test_a_signal_ends_the_waiting_and_not_the_errand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
