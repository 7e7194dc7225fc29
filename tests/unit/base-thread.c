/* A pool: its order, its limits, and that its end waits for what was added. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/thread.h"

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;        /* held by a test: the work waits behind it */
static _Atomic int begun, done;
static int order[100];

static void through_the_gate(void *arg)
{
	begun++;
	WITH_LOCK(&gate)
		;
	done++;
}

static void note(void *arg)
{
	order[done++] = (int)(intptr_t)arg;
}

static void until(_Atomic int *what, int value)
{
	for (int i = 0; *what != value && i < 5000; i++)
		usleep(1000);
	assert_int_equal(*what, value);
}

static int setup(void **state)
{
	begun = done = 0;
	return 0;
}

static void test_one_thread_keeps_the_order(void **state)
{
	struct thread_pool *p = NULL;

	assert_int_equal(pool_new("order", 1, 100, &p), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(pool_add(p, note, (void *)(intptr_t)i), 0);
	pool_free(p);
	assert_int_equal(done, 100);
	for (int i = 0; i < 100; i++)
		assert_int_equal(order[i], i);
}

static void test_threads_are_made_up_to_the_limit(void **state)
{
	struct thread_pool *p = NULL;

	assert_int_equal(pool_new("limit", 3, 10, &p), 0);
	WITH_LOCK(&gate) {
		for (int i = 0; i < 3; i++)
			assert_int_equal(pool_add(p, through_the_gate, NULL), 0);
		until(&begun, 3);
		assert_int_equal(pool_add(p, through_the_gate, NULL), 0);
		usleep(20000);
		assert_int_equal(begun, 3);
		assert_int_equal(pool_waiting(p), 1);
	}
	pool_free(p);
	assert_int_equal(done, 4);
}

static void test_a_full_queue_says_so(void **state)
{
	struct thread_pool *p = NULL;

	assert_int_equal(pool_new("full", 1, 2, &p), 0);
	WITH_LOCK(&gate) {
		assert_int_equal(pool_add(p, through_the_gate, NULL), 0);
		until(&begun, 1);
		assert_int_equal(pool_add(p, through_the_gate, NULL), 0);
		assert_int_equal(pool_add(p, through_the_gate, NULL), 0);
		assert_int_equal(pool_add(p, through_the_gate, NULL), -EAGAIN);
	}
	until(&done, 3);
	assert_int_equal(pool_add(p, through_the_gate, NULL), 0);
	pool_free(p);
	assert_int_equal(done, 4);
}

static int said;

static void add_more(void *arg)
{
	begun++;
	WITH_LOCK(&gate)
		;
	while ((said = pool_add(arg, note, NULL)) == 0)
		usleep(1000);
}

static void test_the_end_refuses_more(void **state)
{
	struct thread_pool *p = NULL;

	assert_int_equal(pool_new("end", 2, 100, &p), 0);
	assert_int_equal(pool_add(p, add_more, p), 0);
	until(&begun, 1);
	pool_free(p);
	assert_int_equal(said, -ESHUTDOWN);
	pool_free(NULL);
}

static sigset_t seen;
static char name[16];

static void look(void *arg)
{
	pthread_sigmask(SIG_SETMASK, NULL, &seen);
	pthread_getname_np(pthread_self(), name, sizeof(name));
	done++;
}

static void test_signals_are_for_others(void **state)
{
	struct thread_pool *p = NULL;
	sigset_t mine;

	assert_int_equal(pool_new("a name longer than fits", 1, 1, &p), 0);
	assert_int_equal(pool_add(p, look, NULL), 0);
	pool_free(p);
	assert_int_equal(done, 1);
	assert_true(sigismember(&seen, SIGTERM) == 1 && sigismember(&seen, SIGINT) == 1 && sigismember(&seen, SIGHUP) == 1);
	assert_true(sigismember(&seen, SIGSEGV) == 0 && sigismember(&seen, SIGBUS) == 0);
	assert_string_equal(name, "a name longer t");
	pthread_sigmask(SIG_SETMASK, NULL, &mine);      /* who added it has its own back */
	assert_int_equal(sigismember(&mine, SIGTERM), 0);
}

static void test_an_idle_pool_ends(void **state)
{
	struct thread_pool *p = NULL;

	assert_int_equal(pool_new("idle", 4, 4, &p), 0);
	pool_free(p);
	assert_int_equal(pool_new("idle", 4, 4, &p), 0);
	for (int turn = 1; turn <= 50; turn++) {
		assert_int_equal(pool_add(p, through_the_gate, NULL), 0);
		until(&done, turn);
	}
	assert_int_equal(pool_waiting(p), 0);
	pool_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_one_thread_keeps_the_order, setup),
		cmocka_unit_test_setup(test_threads_are_made_up_to_the_limit, setup),
		cmocka_unit_test_setup(test_a_full_queue_says_so, setup),
		cmocka_unit_test_setup(test_the_end_refuses_more, setup),
		cmocka_unit_test_setup(test_signals_are_for_others, setup),
		cmocka_unit_test_setup(test_an_idle_pool_ends, setup),
	};

	return cmocka_run_group_tests_name("base-thread", tests, NULL, NULL);
}
