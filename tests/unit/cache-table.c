/* Blocks in memory: one fetch for one byte whoever waits, waiters told once, pins, the budget. */
#include <sys/mman.h>
#include <unistd.h>

#include "cache-reader.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define SUB CACHE_SUB

/* ---- single flight ---- */

#define READERS 16
#define FLIGHT_SIZE (5 * MIB + 12345)

struct flight {
	struct cache_file *f;
	unsigned seed;
	_Atomic uint64_t *fetched;
	int64_t wrong;
};

static void *flight_read(void *arg)
{
	struct flight *x = arg;
	uint64_t mine = 0, step = 96 * KIB;

	x->wrong = -1;
	for (uint64_t i = 0; i * step < FLIGHT_SIZE && x->wrong == -1; i++) {
		uint64_t at = (i + x->seed * 7) * step % (FLIGHT_SIZE / step * step);
		size_t n = FLIGHT_SIZE - at < step ? (size_t)(FLIGHT_SIZE - at) : (size_t)step;

		x->wrong = read_through(x->f, 1, at, n, &mine);
	}
	if (x->wrong == -1)
		x->wrong = read_through(x->f, 1, FLIGHT_SIZE / step * step, FLIGHT_SIZE % step, &mine);
	atomic_fetch_add(x->fetched, mine);
	return NULL;
}

static void each_byte_is_fetched_once_by_many_threads(void **state)
{
	struct cache *c = cache_in(NULL, 64 * MIB, 0);
	struct cache_file *f = file_in(c, "k", FLIGHT_SIZE);
	struct flight flights[READERS];
	pthread_t threads[READERS];
	_Atomic uint64_t fetched = 0;

	for (unsigned i = 0; i < READERS; i++) {
		flights[i] = (struct flight){f, i, &fetched, 0};
		assert_int_equal(pthread_create(&threads[i], NULL, flight_read, &flights[i]), 0);
	}
	for (unsigned i = 0; i < READERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(flights[i].wrong, -1);
	}
	assert_int_equal(fetched, FLIGHT_SIZE);
	assert_true(cache_consistent(c));
	cache_close(f);
	cache_free(c);
}

static void a_waiter_is_told_once_when_the_last_of_its_bytes_came(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", 3 * MIB);
	struct cache_fetch *x = NULL, *y = NULL;
	uint64_t first, count;
	unsigned char bytes[2 * SUB];
	struct cache_hit hit;
	struct waiting w;

	waiting_init(&w);
	assert_int_equal(cache_ask(f, 0, 2 * SUB, &w.w, &hit), CACHE_FETCH);
	assert_int_equal(cache_claim(f, 0, SUB, true, &x, &first, &count), 1);
	assert_int_equal(cache_claim(f, 0, 2 * SUB, true, &y, &first, &count), 1);
	assert_int_equal(first, SUB);
	fill_bytes(1, 0, bytes, sizeof(bytes));
	assert_int_equal(cache_fill(y, bytes + SUB, SUB), 0);
	assert_int_equal(waiting_calls(&w), 0);
	assert_int_equal(cache_fill(x, bytes, SUB - 1), 0);
	assert_int_equal(waiting_calls(&w), 0);
	assert_int_equal(cache_fill(x, bytes + SUB - 1, 1), 0);
	assert_int_equal(waiting_end(&w), 0);
	cache_fetched(x, 0);
	cache_fetched(y, 0);
	assert_int_equal(waiting_calls(&w), 1);
	assert_int_equal(hit_differs(&w.w.hit, 1, 0, 2 * SUB), -1);
	cache_put(f, &w.w.hit);
	cache_close(f);
	cache_free(c);
}

static void a_waiter_that_left_is_never_told(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB);
	struct cache_fetch *x;
	uint64_t first, count;
	struct cache_hit hit;
	struct waiting w;

	waiting_init(&w);
	assert_int_equal(cache_ask(f, 0, SUB, &w.w, &hit), CACHE_FETCH);
	assert_int_equal(cache_claim(f, 0, SUB, true, &x, &first, &count), 1);
	assert_true(cache_wanted(x));
	assert_true(cache_unwait(f, &w.w));
	assert_false(cache_wanted(x));
	bring(x, 1, first, count, SUB);
	assert_int_equal(waiting_calls(&w), 0);
	assert_false(cache_unwait(f, &w.w));
	cache_close(f);
	cache_free(c);
}

static void a_failed_fetch_tells_who_waits_its_error(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB);
	struct cache_fetch *x;
	uint64_t first, count;
	struct cache_hit hit;
	struct waiting w[3];

	for (int i = 0; i < 3; i++) {
		waiting_init(&w[i]);
		assert_int_equal(cache_ask(f, (uint64_t)i * 2 * SUB, 2 * SUB, &w[i].w, &hit), CACHE_FETCH);
	}
	assert_int_equal(cache_claim(f, 0, 6 * SUB, true, &x, &first, &count), 1);
	{
		unsigned char bytes[3 * SUB];

		fill_bytes(1, 0, bytes, sizeof(bytes));
		assert_int_equal(cache_fill(x, bytes, sizeof(bytes)), 0);
	}
	cache_fetched(x, -EACCES);
	assert_int_equal(waiting_end(&w[0]), 0);
	assert_int_equal(waiting_end(&w[1]), -EACCES);
	assert_int_equal(waiting_end(&w[2]), -EACCES);
	cache_put(f, &w[0].w.hit);
	cache_close(f);
	cache_free(c);
}

static void after_a_failed_fetch_the_next_asks_anew(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB);
	struct cache_fetch *x;
	uint64_t first, count, fetched = 0;

	assert_int_equal(cache_claim(f, 0, MIB, true, &x, &first, &count), 1);
	cache_fetched(x, -EIO);
	assert_int_equal(read_through(f, 1, 0, 100 * KIB, &fetched), -1);
	assert_int_equal(fetched, 128 * KIB);
	assert_int_equal(stats_of(c).memory_used, 128 * KIB);
	cache_close(f);
	cache_free(c);
}

static void a_fetch_that_ends_short_without_an_error_says_ask_anew(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB);
	struct cache_fetch *x;
	uint64_t first, count;
	struct cache_hit hit;
	struct waiting w;

	waiting_init(&w);
	assert_int_equal(cache_ask(f, 0, 2 * SUB, &w.w, &hit), CACHE_FETCH);
	assert_int_equal(cache_claim(f, 0, 2 * SUB, true, &x, &first, &count), 1);
	assert_int_equal(cache_fill(x, "abc", 3), 0);
	cache_fetched(x, 0);
	assert_int_equal(waiting_end(&w), -EAGAIN);
	cache_close(f);
	cache_free(c);
}

static void a_fetch_that_fails_leaves_its_neighbours_half_filled_bytes_alone(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB);
	struct cache_fetch *x, *y;
	uint64_t first, count;
	unsigned char bytes[SUB];
	struct cache_hit hit;

	fill_bytes(1, 0, bytes, sizeof(bytes));
	assert_int_equal(cache_claim(f, 0, SUB, true, &x, &first, &count), 1);
	assert_int_equal(cache_claim(f, SUB, SUB, true, &y, &first, &count), 1);
	assert_int_equal(cache_fill(x, bytes, SUB / 2), 0);
	cache_fetched(y, -EIO);         /* the same block, of which nothing is whole yet */
	assert_int_equal(cache_fill(x, bytes + SUB / 2, SUB / 2), 0);
	cache_fetched(x, 0);
	assert_int_equal(cache_ask(f, 0, SUB, NULL, &hit), CACHE_HIT);
	assert_int_equal(hit_differs(&hit, 1, 0, SUB), -1);
	cache_put(f, &hit);
	cache_close(f);
	cache_free(c);
}

/* ---- claims ---- */

static void a_claim_takes_the_first_run_that_nobody_has_or_fetches(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", 4 * MIB);
	struct cache_fetch *x, *y;
	uint64_t first, count;

	assert_int_equal(fetch(f, 1, 0, 2 * SUB), 2 * SUB);                     /* there: 0, 1 */
	assert_int_equal(cache_claim(f, 4 * SUB, SUB, true, &x, &first, &count), 1);    /* fetched: 4 */
	assert_int_equal(cache_claim(f, 100, MIB, true, &y, &first, &count), 1);
	assert_int_equal(first, 2 * SUB);
	assert_int_equal(count, 2 * SUB);
	cache_fetched(y, -EIO);
	cache_fetched(x, -EIO);
	cache_close(f);
	cache_free(c);
}

static void a_claim_ends_with_the_file(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB + 5);
	struct cache_fetch *x;
	uint64_t first, count, fetched = 0;

	assert_int_equal(cache_claim(f, MIB - SUB, UINT64_MAX, true, &x, &first, &count), 1);
	assert_int_equal(first, MIB - SUB);
	assert_int_equal(count, SUB + 5);
	assert_int_equal(cache_fill(x, "123456", 6), 0);
	bring(x, 1, first + 6, count - 6, SUB);
	assert_int_equal(cache_claim(f, MIB, 5, true, &x, &first, &count), 0);
	assert_int_equal(read_through(f, 1, MIB, 5, &fetched), -1);
	assert_int_equal(fetched, 0);
	cache_close(f);
	cache_free(c);
}

static void more_bytes_than_were_claimed_are_refused(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB);
	unsigned char bytes[SUB + 1] = {0};
	struct cache_fetch *x;
	uint64_t first, count;

	assert_int_equal(cache_claim(f, 0, SUB, true, &x, &first, &count), 1);
	assert_int_equal(cache_fill(x, bytes, SUB + 1), -EMSGSIZE);
	assert_int_equal(cache_fill(x, bytes, SUB), 0);
	assert_int_equal(cache_fill(x, bytes, 1), -EMSGSIZE);
	cache_fetched(x, 0);
	cache_close(f);
	cache_free(c);
}

static void bytes_may_come_in_pieces_of_any_size(void **state)
{
	static const size_t steps[] = {1, 7, 4095, SUB - 1, SUB, SUB + 1, MIB + 3, 3 * MIB};

	for (size_t i = 0; i < COUNT(steps); i++) {
		struct cache *c = cache_in(NULL, 8 * MIB, 0);
		uint64_t size = steps[i] < 100 ? 3 * SUB + 11 : 2 * MIB + 77, first, count, none = 0;
		struct cache_file *f = file_in(c, "k", size);
		struct cache_fetch *x;

		assert_int_equal(cache_claim(f, 0, size, true, &x, &first, &count), 1);
		assert_int_equal(count, size);
		bring(x, 1, 0, size, steps[i]);
		for (uint64_t at = 0; at < size; at += 700000)
			assert_int_equal(read_through(f, 1, at, size - at < MIB ? size - at : MIB, &none), -1);
		assert_int_equal(none, 0);
		cache_close(f);
		cache_free(c);
	}
}

static void a_size_that_no_file_can_have_is_refused(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = NULL;

	assert_int_equal(cache_open(c, "k", UINT64_MAX, &f), -EFBIG);
	assert_null(f);
	cache_free(c);
}

static void the_longest_file_is_read_and_forgotten_at_once(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", INT64_MAX);
	uint64_t fetched = 0;

	assert_int_equal(read_through(f, 1, INT64_MAX - 1000, 1000, &fetched), -1);
	assert_int_equal(cache_have(f), SUB);
	cache_forget(f);        /* not a loop over each block that it might have */
	assert_int_equal(cache_have(f), 0);
	cache_close(f);
	cache_free(c);
}

/* ---- pins and the budget ---- */

static void eviction_takes_the_least_recently_used_and_never_a_pinned_block(void **state)
{
	struct cache *c = cache_in(NULL, 4 * MIB, 0);
	struct cache_file *f = file_in(c, "k", 64 * MIB);
	struct cache_hit pinned, hit;

	assert_int_equal(fetch(f, 1, 0, MIB), MIB);
	assert_int_equal(cache_ask(f, 100, 1000, NULL, &pinned), CACHE_HIT);
	assert_int_equal(fetch(f, 1, MIB, MIB), MIB);
	assert_int_equal(fetch(f, 1, 2 * MIB, MIB), MIB);
	assert_int_equal(cache_ask(f, MIB, 1, NULL, &hit), CACHE_HIT);          /* block 1 is younger than 2 now */
	cache_put(f, &hit);
	assert_int_equal(fetch(f, 1, 3 * MIB, 2 * MIB), 2 * MIB);
	assert_int_equal(cache_ask(f, 2 * MIB, 1, NULL, &hit), CACHE_FETCH);
	assert_int_equal(cache_ask(f, MIB, 1, NULL, &hit), CACHE_HIT);
	cache_put(f, &hit);
	for (uint64_t at = 5 * MIB; at < 40 * MIB; at += MIB)
		assert_int_equal(fetch(f, 1, at, MIB), MIB);
	assert_int_equal(hit_differs(&pinned, 1, 100, 1000), -1);
	assert_true(stats_of(c).memory_used <= 4 * MIB);
	assert_true(stats_of(c).evicted_memory > 30);
	cache_put(f, &pinned);
	assert_true(cache_consistent(c));
	cache_close(f);
	cache_free(c);
}

static void what_is_read_ahead_stays_in_the_budget_while_all_is_pinned(void **state)
{
	struct cache *c = cache_in(NULL, 4 * MIB, 0);
	struct cache_file *f = file_in(c, "k", 64 * MIB);
	struct cache_hit hits[4];
	struct cache_fetch *x;
	uint64_t first, count;

	for (uint64_t i = 0; i < 4; i++) {
		assert_int_equal(fetch(f, 1, i * MIB, MIB), MIB);
		assert_int_equal(cache_ask(f, i * MIB, MIB, NULL, &hits[i]), CACHE_HIT);
	}
	assert_int_equal(cache_claim(f, 4 * MIB, 16 * MIB, false, &x, &first, &count), 0);
	assert_int_equal(stats_of(c).memory_used, 4 * MIB);
	cache_put(f, &hits[0]);
	assert_int_equal(cache_claim(f, 4 * MIB, 16 * MIB, false, &x, &first, &count), 1);
	assert_int_equal(count, MIB);
	cache_fetched(x, -EIO);
	for (uint64_t i = 1; i < 4; i++)
		cache_put(f, &hits[i]);
	cache_close(f);
	cache_free(c);
}

static void only_what_somebody_waits_for_goes_beyond_the_budget(void **state)
{
	struct cache *c = cache_in(NULL, MIB, 0);
	struct cache_file *f = file_in(c, "k", 64 * MIB);
	struct cache_hit pinned, hit;
	struct cache_fetch *x;
	struct waiting w;
	uint64_t first, count;

	assert_int_equal(fetch(f, 1, 0, MIB), MIB);
	assert_int_equal(cache_ask(f, 0, MIB, NULL, &pinned), CACHE_HIT);
	waiting_init(&w);
	assert_int_equal(cache_ask(f, 10 * MIB, 3 * SUB, &w.w, &hit), CACHE_FETCH);
	assert_int_equal(cache_claim(f, 9 * MIB, 16 * MIB, true, &x, &first, &count), 1);
	assert_int_equal(first, 10 * MIB);
	assert_int_equal(count, 3 * SUB);
	bring(x, 1, first, count, SUB);
	assert_int_equal(waiting_end(&w), 0);
	assert_int_equal(hit_differs(&w.w.hit, 1, 10 * MIB, 3 * SUB), -1);
	cache_put(f, &w.w.hit);
	cache_put(f, &pinned);
	assert_true(stats_of(c).memory_used <= MIB);
	cache_close(f);
	cache_free(c);
}

static void a_sub_block_costs_its_own_memory_and_not_its_blocks(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", 200 * MIB);
	uint64_t fetched = 0;

	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(read_through(f, 1, i * MIB + 5000, 100, &fetched), -1);
	assert_int_equal(stats_of(c).memory_used, 200 * SUB);
	assert_int_equal(stats_of(c).evicted_memory, 0);
	cache_close(f);
	cache_free(c);
}

/* Pages of the block around a hit that cost memory. */
static size_t resident_around(const struct cache_hit *hit, uint64_t at)
{
	unsigned char pages[CACHE_BLOCK / 4096];
	size_t n = 0;

	assert_int_equal(sysconf(_SC_PAGESIZE), 4096);
	assert_int_equal(mincore((char *)hit->parts[0].iov_base - at % CACHE_BLOCK, CACHE_BLOCK, pages), 0);
	for (size_t i = 0; i < sizeof(pages); i++)
		n += pages[i] & 1;
	return n;
}

static void a_small_read_after_a_long_one_takes_its_own_memory_only(void **state)
{
	struct cache *c = cache_in(NULL, 4 * MIB, 0);
	struct cache_file *f = file_in(c, "long", 16 * MIB), *g = file_in(c, "small", 4 * MIB);
	struct cache_hit hit;
	uint64_t fetched = 0;

	for (uint64_t at = 0; at < 16 * MIB; at += MIB)
		assert_int_equal(read_through(f, 1, at, MIB, &fetched), -1);
	assert_true(stats_of(c).evicted_memory >= 12);
	assert_int_equal(read_through(g, 2, MIB + 5000, 100, &fetched), -1);
	assert_int_equal(cache_ask(g, MIB + 5000, 100, NULL, &hit), CACHE_HIT);
	assert_int_equal(resident_around(&hit, MIB + 5000), SUB / 4096);
	cache_put(g, &hit);
	cache_close(f);
	cache_close(g);
	cache_free(c);
}

static void a_block_that_gets_no_room_to_be_whole_keeps_no_memory_for_it(void **state)
{
	struct cache *c = cache_in(NULL, 2 * MIB + 512 * KIB, 0);
	struct cache_file *half = file_in(c, "half", MIB), *f = file_in(c, "old", 2 * MIB), *g = file_in(c, "new", 8 * MIB);
	struct cache_fetch *x;
	struct cache_hit hit;
	uint64_t first, count;

	/* In the order in which they leave: the third block of the new one comes when the memory of a full one was left. */
	assert_int_equal(fetch(half, 1, 0, 512 * KIB), 512 * KIB);
	assert_int_equal(fetch(f, 2, 0, 2 * MIB), 2 * MIB);
	assert_int_equal(cache_claim(g, 0, 8 * MIB, false, &x, &first, &count), 1);
	assert_int_equal(count, 2 * MIB + 512 * KIB);
	bring(x, 3, first, count, MIB);
	assert_int_equal(cache_ask(g, 2 * MIB, SUB, NULL, &hit), CACHE_HIT);
	assert_int_equal(hit_differs(&hit, 3, 2 * MIB, SUB), -1);
	assert_int_equal(resident_around(&hit, 2 * MIB), 512 * KIB / 4096);
	cache_put(g, &hit);
	cache_close(half);
	cache_close(f);
	cache_close(g);
	cache_free(c);
}

static void what_was_closed_is_found_again_while_memory_has_room(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB), *other;
	uint64_t fetched = 0;

	assert_int_equal(fetch(f, 1, 0, MIB), MIB);
	cache_close(f);
	f = file_in(c, "k", MIB);
	assert_int_equal(read_through(f, 1, 0, MIB, &fetched), -1);
	assert_int_equal(fetched, 0);
	other = file_in(c, "k", MIB);
	assert_ptr_equal(other, f);
	cache_close(other);
	cache_close(f);
	cache_free(c);
}

static void the_same_key_with_another_size_is_another_content(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB), *other;
	uint64_t fetched = 0, none = 0;

	assert_int_equal(fetch(f, 1, 0, MIB), MIB);
	other = file_in(c, "k", MIB - 1);
	assert_int_equal(read_through(other, 2, 0, 1000, &fetched), -1);
	assert_int_equal(fetched, SUB);
	assert_int_equal(read_through(f, 1, 0, 1000, &none), -1);
	assert_int_equal(none, 0);
	cache_close(f);
	cache_close(other);
	cache_free(c);
}

/* ---- forgetting ---- */

static void what_is_forgotten_is_fetched_again(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB), *again;
	uint64_t fetched = 0;

	assert_int_equal(fetch(f, 1, 0, MIB), MIB);
	cache_forget(f);
	assert_int_equal(stats_of(c).memory_used, 0);
	again = file_in(c, "k", MIB);
	assert_ptr_not_equal(again, f);
	assert_int_equal(read_through(again, 2, 0, SUB, &fetched), -1);
	assert_int_equal(read_through(f, 2, 0, SUB, &fetched), -1);
	assert_int_equal(fetched, 2 * SUB);
	cache_close(again);
	cache_close(f);
	cache_free(c);
}

static void a_pinned_hit_keeps_its_bytes_when_its_file_is_forgotten_and_fetched_again(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB);
	struct cache_hit hit;
	uint64_t fetched = 0;

	assert_int_equal(fetch(f, 1, 0, MIB), MIB);
	assert_int_equal(cache_ask(f, 0, MIB, NULL, &hit), CACHE_HIT);
	cache_forget(f);
	assert_int_equal(read_through(f, 2, 0, MIB, &fetched), -1);
	assert_int_equal(fetched, MIB);
	assert_int_equal(hit_differs(&hit, 1, 0, MIB), -1);
	cache_put(f, &hit);
	assert_true(cache_consistent(c));
	cache_close(f);
	cache_free(c);
}

static void a_fetch_under_way_when_its_file_is_forgotten_gives_nothing(void **state)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct cache_file *f = file_in(c, "k", MIB);
	struct cache_fetch *x;
	uint64_t first, count, fetched = 0;
	struct cache_hit hit;
	struct waiting w;

	waiting_init(&w);
	assert_int_equal(cache_ask(f, 0, MIB, &w.w, &hit), CACHE_FETCH);
	assert_int_equal(cache_claim(f, 0, MIB, true, &x, &first, &count), 1);
	assert_int_equal(cache_fill(x, "wrong", 5), 0);
	cache_forget(f);
	assert_int_equal(waiting_end(&w), -EAGAIN);
	assert_false(cache_wanted(x));
	assert_int_equal(read_through(f, 2, 0, SUB, &fetched), -1);
	bring(x, 1, 5, count - 5, 77777);       /* the old bytes go on to come */
	assert_int_equal(fetched, SUB);
	assert_int_equal(read_through(f, 2, 0, MIB, &fetched), -1);
	assert_int_equal(fetched, MIB);
	cache_close(f);
	cache_free(c);
	assert_int_equal(waiting_calls(&w), 1);
}

/* ---- all of it at random, held against a model ---- */

#define PLAY_FILES 3
#define PLAY_SIZE (3 * MIB + 4321)
#define PLAY_THREADS 6
#define PLAY_ROUNDS 1500

struct play {
	struct cache *c;
	struct cache_file *f[PLAY_FILES];
	unsigned seed;
	int64_t wrong;
};

static uint64_t dice(unsigned *seed, uint64_t n)
{
	*seed = *seed * 1103515245u + 12345u;
	return (uint64_t)(*seed >> 8) % n;
}

/* What is claimed comes whole, comes in part and fails, or does not come. */
static void play_fetch(struct play *x, unsigned salt, struct cache_file *f, uint64_t at, uint64_t n, bool demand)
{
	struct cache_fetch *claim;
	uint64_t first, count, end = at + n;

	while (at < end && cache_claim(f, at, end - at, demand, &claim, &first, &count) == 1) {
		uint64_t part = dice(&x->seed, 8) ? count : dice(&x->seed, count);
		unsigned char bytes[70000];

		for (uint64_t done = 0; done < part; ) {
			size_t step = 1 + (size_t)dice(&x->seed, sizeof(bytes));

			if (step > part - done)
				step = (size_t)(part - done);
			fill_bytes(salt, first + done, bytes, step);
			assert_int_equal(cache_fill(claim, bytes, step), 0);
			done += step;
		}
		cache_fetched(claim, part < count ? -ECONNRESET : 0);
		at = first + count;
	}
}

static void *play_run(void *arg)
{
	struct play *x = arg;

	x->wrong = -1;
	for (int i = 0; i < PLAY_ROUNDS && x->wrong == -1; i++) {
		unsigned salt = (unsigned)dice(&x->seed, PLAY_FILES);
		struct cache_file *f = x->f[salt];
		uint64_t at = dice(&x->seed, PLAY_SIZE), n = 1 + dice(&x->seed, dice(&x->seed, 2) ? 5000 : 300000);
		struct cache_hit hit;
		struct waiting w;

		if (n > PLAY_SIZE - at)
			n = PLAY_SIZE - at;
		if (dice(&x->seed, 6) == 0) {
			play_fetch(x, salt, f, at, n * 4, false);
			continue;
		}
		waiting_init(&w);
		switch (cache_ask(f, at, (size_t)n, &w.w, &hit)) {
		case CACHE_HIT:
			x->wrong = hit_differs(&hit, salt, at, (size_t)n);
			cache_put(f, &hit);
			continue;
		case CACHE_FETCH:
			play_fetch(x, salt, f, at, n, true);
			break;
		case CACHE_PARKED:
			break;
		}
		if (dice(&x->seed, 10) == 0 && cache_unwait(f, &w.w))
			continue;
		switch (waiting_end(&w)) {
		case 0:
			x->wrong = hit_differs(&w.w.hit, salt, at, (size_t)n);
			cache_put(f, &w.w.hit);
			break;
		case -ECONNRESET: case -EAGAIN:
			break;
		default:
			x->wrong = -2;
		}
	}
	return NULL;
}

static void random_play_never_shows_a_wrong_byte(void **state)
{
	char *dir = test_dir_new();

	for (int disk = 0; disk < 2; disk++) {
		struct cache *c = cache_in(disk ? dir : NULL, 2 * MIB, disk ? 4 * MIB : 0);
		struct play plays[PLAY_THREADS];
		pthread_t threads[PLAY_THREADS];

		for (unsigned i = 0; i < PLAY_THREADS; i++) {
			plays[i] = (struct play){.c = c, .seed = i + 1 + 100 * (unsigned)disk};
			for (unsigned k = 0; k < PLAY_FILES; k++) {
				char key[2] = {(char)('a' + k), 0};

				plays[i].f[k] = file_in(c, key, PLAY_SIZE);
			}
			assert_int_equal(pthread_create(&threads[i], NULL, play_run, &plays[i]), 0);
		}
		for (unsigned i = 0; i < PLAY_THREADS; i++) {
			pthread_join(threads[i], NULL);
			assert_int_equal(plays[i].wrong, -1);
		}
		assert_true(cache_consistent(c));
		for (unsigned i = 0; i < PLAY_THREADS; i++)
			for (unsigned k = 0; k < PLAY_FILES; k++)
				cache_close(plays[i].f[k]);
		assert_true(stats_of(c).hits > 100 && stats_of(c).evicted_memory > 10);
		assert_true(!disk || stats_of(c).disk_hits > 10);
		assert_int_equal(stats_of(c).disk_bad, 0);
		cache_free(c);
	}
	test_dir_done(dir);
}

static int quiet(void **state)
{
	return log_open("/dev/null");
}

static int loud(void **state)
{
	return log_open(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_byte_is_fetched_once_by_many_threads),
		cmocka_unit_test(a_waiter_is_told_once_when_the_last_of_its_bytes_came),
		cmocka_unit_test(a_waiter_that_left_is_never_told),
		cmocka_unit_test(a_failed_fetch_tells_who_waits_its_error),
		cmocka_unit_test(after_a_failed_fetch_the_next_asks_anew),
		cmocka_unit_test(a_fetch_that_ends_short_without_an_error_says_ask_anew),
		cmocka_unit_test(a_fetch_that_fails_leaves_its_neighbours_half_filled_bytes_alone),
		cmocka_unit_test(a_claim_takes_the_first_run_that_nobody_has_or_fetches),
		cmocka_unit_test(a_claim_ends_with_the_file),
		cmocka_unit_test(more_bytes_than_were_claimed_are_refused),
		cmocka_unit_test(bytes_may_come_in_pieces_of_any_size),
		cmocka_unit_test(a_size_that_no_file_can_have_is_refused),
		cmocka_unit_test(the_longest_file_is_read_and_forgotten_at_once),
		cmocka_unit_test(eviction_takes_the_least_recently_used_and_never_a_pinned_block),
		cmocka_unit_test(what_is_read_ahead_stays_in_the_budget_while_all_is_pinned),
		cmocka_unit_test(only_what_somebody_waits_for_goes_beyond_the_budget),
		cmocka_unit_test(a_sub_block_costs_its_own_memory_and_not_its_blocks),
		cmocka_unit_test(a_small_read_after_a_long_one_takes_its_own_memory_only),
		cmocka_unit_test(a_block_that_gets_no_room_to_be_whole_keeps_no_memory_for_it),
		cmocka_unit_test(what_was_closed_is_found_again_while_memory_has_room),
		cmocka_unit_test(the_same_key_with_another_size_is_another_content),
		cmocka_unit_test(what_is_forgotten_is_fetched_again),
		cmocka_unit_test(a_pinned_hit_keeps_its_bytes_when_its_file_is_forgotten_and_fetched_again),
		cmocka_unit_test(a_fetch_under_way_when_its_file_is_forgotten_gives_nothing),
		cmocka_unit_test(random_play_never_shows_a_wrong_byte),
	};

	return cmocka_run_group_tests(tests, quiet, loud);
}
