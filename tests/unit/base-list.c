/* The words that are headers only: cleanup.h, list.h, vec.h. */
#include "test.h"

#include <fcntl.h>
#include <stdbool.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "base/vec.h"

struct thing {
	struct list link;
	int n;
};

static int freed;

static void thing_free(struct thing *t)
{
	freed++;
	free(t);
}
DEFINE_CLEANUP(struct thing *, thing_free)

static struct thing *thing_new(int n)
{
	struct thing *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->n = n;
	list_init(&t->link);
	return t;
}

static void test_cleanup_frees_what_was_not_taken(void **state)
{
	struct thing *kept;

	freed = 0;
	{
		_cleanup_(thing_freep) struct thing *a = thing_new(1), *b = thing_new(2), *none = NULL;

		kept = TAKE(b);
		assert_null(b);
		assert_int_equal(a->n, 1);
		assert_null(none);
	}
	assert_int_equal(freed, 1);
	assert_int_equal(kept->n, 2);
	thing_free(kept);
}

static void test_cleanup_closes_what_was_not_taken(void **state)
{
	int gone, kept;

	{
		_cleanup_close_ int a = open("/dev/null", O_RDONLY), b = dup(a), none = -1;

		gone = a;
		kept = TAKE_FD(b);
		assert_int_equal(b, -1);
		assert_int_equal(none, -1);
	}
	assert_int_equal(fcntl(gone, F_GETFD), -1);
	assert_int_not_equal(fcntl(kept, F_GETFD), -1);
	close(kept);
}

static int leave(pthread_mutex_t *a, pthread_mutex_t *b)
{
	WITH_LOCK(a) {
		WITH_LOCK(b)
			return pthread_mutex_trylock(a) + pthread_mutex_trylock(b);
	}
	return 0;
}

static void test_lock_is_held_in_the_block_only(void **state)
{
	pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;
	int turns = 0;

	WITH_LOCK(&a) {
		turns++;
		assert_int_equal(pthread_mutex_trylock(&a), EBUSY);
	}
	WITH_LOCK(&a)
		break;
	assert_int_equal(turns, 1);
	assert_int_equal(leave(&a, &b), 2 * EBUSY);
	assert_int_equal(pthread_mutex_trylock(&a), 0);
	assert_int_equal(pthread_mutex_trylock(&b), 0);
	pthread_mutex_unlock(&a);
	pthread_mutex_unlock(&b);
}

static void test_list_keeps_its_order(void **state)
{
	struct list head;
	struct thing *t;
	int want = 0;

	list_init(&head);
	assert_true(list_empty(&head));
	assert_null(list_first(&head, struct thing, link));
	assert_null(list_last(&head, struct thing, link));
	list_append(&head, &thing_new(1)->link);
	list_append(&head, &thing_new(2)->link);
	list_prepend(&head, &thing_new(0)->link);
	assert_int_equal(list_first(&head, struct thing, link)->n, 0);
	assert_int_equal(list_last(&head, struct thing, link)->n, 2);
	list_for_each_safe(t, &head, struct thing, link) {
		assert_int_equal(t->n, want++);
		list_remove(&t->link);
		list_remove(&t->link);          /* a second time is fine */
		free(t);
	}
	assert_int_equal(want, 3);
	assert_true(list_empty(&head));
}

static void test_list_walks_may_be_nested(void **state)
{
	struct thing a = {.n = 1}, b = {.n = 2}, *i, *j;
	struct list head;
	int sum = 0;

	list_init(&head);
	list_append(&head, &a.link);
	list_append(&head, &b.link);
	list_for_each_safe(i, &head, struct thing, link) {
		list_for_each_safe(j, &head, struct thing, link)
			sum += i->n * j->n;
	}
	assert_int_equal(sum, 9);
}

static void test_vec_grows(void **state)
{
	struct pair { int a, b; };
	VEC(struct pair) v = {0};

	for (int i = 0; i < 1000; i++)
		assert_int_equal(vec_push(&v, (struct pair){i, -i}), 0);
	assert_int_equal(v.n, 1000);
	for (int i = 0; i < 1000; i++)
		assert_true(v.at[i].a == i && v.at[i].b == -i);
	vec_done(&v);
	assert_true(!v.at && v.n == 0 && v.room == 0);
	assert_int_equal(vec_push(&v, (struct pair){1, 2}), 0);
	vec_done(&v);
}

static void test_vec_that_cannot_grow_is_unchanged(void **state)
{
	volatile size_t huge = SIZE_MAX / sizeof(uint64_t) - 1;         /* volatile: the compiler would warn of it */
	VEC(uint64_t) v = {0};
	uint64_t *at;

	assert_int_equal(vec_push(&v, 7), 0);
	at = v.at;
	v.n = v.room = huge;
	assert_int_equal(vec_push(&v, 8), -ENOMEM);
	assert_ptr_equal(v.at, at);
	assert_int_equal(v.n, huge);
	vec_done(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cleanup_frees_what_was_not_taken),
		cmocka_unit_test(test_cleanup_closes_what_was_not_taken),
		cmocka_unit_test(test_lock_is_held_in_the_block_only),
		cmocka_unit_test(test_list_keeps_its_order),
		cmocka_unit_test(test_list_walks_may_be_nested),
		cmocka_unit_test(test_vec_grows),
		cmocka_unit_test(test_vec_that_cannot_grow_is_unchanged),
	};

	return cmocka_run_group_tests_name("base-list", tests, NULL, NULL);
}
