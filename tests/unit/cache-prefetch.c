/* How far to read ahead: reads in, ranges out; and whole readers played over a model of what was fetched. */
#include "cache-reader.h"

#include "base/policy.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SHARE (64 * MIB)

static const struct policy usual = {.fetch_min = 64 * KIB, .fetch_long = 16 * MIB, .whole_below = MIB};

/* ---- single steps ---- */

struct step {
	uint64_t offset, n;
	bool stalled;
	uint64_t first, count;          /* what must come out */
};

static void steps_are(const struct policy *p, uint64_t size, uint64_t share, const struct step *steps, size_t n)
{
	struct cache_cursors c = {0};

	for (size_t i = 0; i < n; i++) {
		uint64_t first = 1, count = 1;

		cache_prefetch(&c, p, size, steps[i].offset, steps[i].n, steps[i].stalled, share, &first, &count);
		if (count != steps[i].count || (count && first != steps[i].first))
			fail_msg("step %zu: %llu + %llu instead of %llu + %llu", i, (unsigned long long)first, (unsigned long long)count,
			         (unsigned long long)steps[i].first, (unsigned long long)steps[i].count);
	}
}

static void the_first_read_from_the_beginning_gets_a_window(void **state)
{
	const struct step steps[] = {{0, 4 * KIB, true, 0, MIB}};

	steps_are(&usual, GIB, SHARE, steps, COUNT(steps));
}

static void the_window_doubles_with_each_stall_up_to_the_share(void **state)
{
	const struct step steps[] = {
		{0, MIB, true, 0, MIB},
		{MIB, MIB, true, MIB, 3 * MIB},                 /* the read and 2 behind it */
		{2 * MIB, MIB, true, 2 * MIB, 5 * MIB},
		{3 * MIB, MIB, true, 3 * MIB, 9 * MIB},
		{4 * MIB, MIB, true, 4 * MIB, 13 * MIB},        /* the share is 12 */
		{5 * MIB, MIB, true, 5 * MIB, 13 * MIB},
	};

	steps_are(&usual, GIB, 12 * MIB, steps, COUNT(steps));
}

static void what_is_read_ahead_is_never_more_than_four_times_what_was_read(void **state)
{
	const struct step steps[] = {
		{0, 4 * KIB, true, 0, MIB},
		{MIB, 4 * KIB, true, MIB, MIB + 4 * KIB},
		{2 * MIB + 4 * KIB, 4 * KIB, true, 2 * MIB + 4 * KIB, MIB + 4 * KIB},
	};

	steps_are(&usual, GIB, SHARE, steps, COUNT(steps));
}

static void a_reader_that_never_stalls_is_refilled_when_half_is_used(void **state)
{
	const struct step steps[] = {
		{0, 128 * KIB, true, 0, MIB},
		{128 * KIB, 128 * KIB, false, 0, 0},
		{256 * KIB, 128 * KIB, false, 0, 0},
		{384 * KIB, 256 * KIB, false, MIB, MIB},
		{640 * KIB, 128 * KIB, false, 0, 0},
	};

	steps_are(&usual, GIB, SHARE, steps, COUNT(steps));
}

static void the_end_of_the_file_ends_the_window(void **state)
{
	const struct step steps[] = {
		{0, MIB, true, 0, MIB},
		{MIB, 512 * KIB, false, MIB + 512 * KIB, 512 * KIB + 7},
		{MIB + 512 * KIB, 512 * KIB, false, 0, 0},
		{2 * MIB, 7, false, 0, 0},
	};

	steps_are(&usual, 2 * MIB + 7, SHARE, steps, COUNT(steps));
}

static void a_read_of_the_last_byte_is_a_piece_that_ends_there(void **state)
{
	const struct step steps[] = {{GIB - 1, 1, true, GIB - 1, 1}, {GIB - 40 * KIB, 10, true, GIB - 64 * KIB - 40 * KIB + 10, 64 * KIB}};

	steps_are(&usual, GIB, SHARE, steps, 1);
	steps_are(&usual, GIB, SHARE, steps, COUNT(steps));
}

static void the_first_random_reads_get_the_least_fetch_later_ones_what_they_touch(void **state)
{
	const struct step steps[] = {
		{100 * MIB, 4 * KIB, true, 100 * MIB, 64 * KIB},
		{700 * MIB + 8 * KIB, 4 * KIB, true, 700 * MIB + 8 * KIB, 56 * KIB},    /* two sub-blocks in all */
		{300 * MIB, 4 * KIB, true, 300 * MIB, 64 * KIB},
		{900 * MIB, 4 * KIB, true, 900 * MIB, 64 * KIB},
		{500 * MIB, 4 * KIB, true, 500 * MIB, 4 * KIB},
		{200 * MIB, 4 * KIB, true, 200 * MIB, 4 * KIB},
	};

	steps_are(&usual, GIB, SHARE, steps, COUNT(steps));
}

static void a_long_random_read_is_fetched_as_it_is(void **state)
{
	const struct step steps[] = {{100 * MIB, MIB, true, 100 * MIB, MIB}};

	steps_are(&usual, GIB, SHARE, steps, COUNT(steps));
}

static void nothing_is_fetched_for_a_random_read_that_was_there(void **state)
{
	const struct step steps[] = {{100 * MIB, 4 * KIB, false, 0, 0}, {0, 4 * KIB, false, 0, 0}};

	steps_are(&usual, GIB, SHARE, steps, COUNT(steps));
}

static void a_small_file_is_fetched_whole(void **state)
{
	const struct step steps[] = {{500 * KIB, 10, true, 0, MIB}, {0, 10, false, 0, 0}};

	steps_are(&usual, MIB, SHARE, steps, COUNT(steps));
}

static void where_a_range_is_as_dear_as_the_whole_the_whole_is_fetched(void **state)
{
	const struct policy dear = {.fetch_min = 64 * KIB, .fetch_long = 0, .range_dear = true};
	const struct step fits[] = {{20 * MIB, 10, true, 0, 50 * MIB}, {30 * MIB, 10, false, 0, 0}};
	const struct step does_not[] = {{20 * MIB, 10, true, 20 * MIB, 64 * MIB}, {20 * MIB + 10, 10, false, 0, 0}};

	steps_are(&dear, 50 * MIB, SHARE, fits, COUNT(fits));
	steps_are(&dear, 500 * MIB, SHARE, does_not, COUNT(does_not));
}

static void pieces_are_aligned_where_that_is_asked_for(void **state)
{
	const struct policy aligned = {.fetch_min = 64 * KIB, .fetch_align = 8 * MIB, .fetch_long = 16 * MIB, .whole_below = 16 * MIB};
	const struct step steps[] = {
		{0, 4 * KIB, true, 0, 8 * MIB},
		{100 * MIB, 4 * KIB, true, 96 * MIB, 8 * MIB},
		{304 * MIB - 5, 10, true, 296 * MIB, 16 * MIB},
		{200 * MIB, 10, true, 200 * MIB, 8 * MIB},
		{400 * MIB, 10, true, 400 * MIB, 8 * MIB},
		{500 * MIB, 10, true, 496 * MIB, 8 * MIB},
		{600 * MIB + 5, 10, true, 600 * MIB, 8 * MIB},          /* one of many: no less */
		{606 * MIB, 10, false, 0, 0},
		{GIB - 5, 5, true, GIB - 8 * MIB, 8 * MIB},
	};

	const struct step little_room[] = {
		{0, 4 * KIB, true, 0, 8 * MIB},
		{7 * MIB, MIB, false, 0, 0},
		{8 * MIB, MIB, true, 8 * MIB, 4 * MIB},
		{500 * MIB, 10, true, 496 * MIB, 8 * MIB},
	};

	steps_are(&aligned, GIB, SHARE, steps, COUNT(steps));
	steps_are(&aligned, GIB, 4 * MIB, little_room, COUNT(little_room));
}

static void a_reader_of_a_long_file_with_dear_ranges_needs_few_requests(void **state)
{
	const struct policy dear = {.fetch_min = 64 * KIB, .fetch_long = 0, .range_dear = true};
	uint64_t requests = 0, first, count;
	struct cache_cursors c = {0};

	for (uint64_t at = 0; at < 512 * MIB; at += MIB) {
		cache_prefetch(&c, &dear, 512 * MIB, at, MIB, at == 0, SHARE, &first, &count);
		assert_true(!count || count >= 16 * MIB || first + count == 512 * MIB);
		requests += count > 0;
	}
	assert_true(requests <= 512 / 32 + 2);
}

static void a_steady_reader_without_a_longest_request_gets_half_the_share_at_once(void **state)
{
	const struct policy open_ended = {.fetch_min = 64 * KIB, .fetch_long = 0};
	struct cache_cursors c = {0};
	uint64_t first, count, longest = 0;

	for (uint64_t at = 0; at < 200 * MIB; at += MIB) {
		cache_prefetch(&c, &open_ended, GIB, at, MIB, at == 0, SHARE, &first, &count);
		longest = count > longest ? count : longest;
	}
	assert_true(longest >= SHARE / 2);
}

static void a_reader_that_skips_within_its_window_loses_it(void **state)
{
	struct cache_cursors c = {0};
	uint64_t first, count;

	for (uint64_t at = 0; at < 100 * MIB; at += MIB)
		cache_prefetch(&c, &usual, GIB, at, MIB, at % (4 * MIB) == 0, SHARE, &first, &count);
	assert_int_equal(c.at[0].window, SHARE);
	cache_prefetch(&c, &usual, GIB, 117 * MIB, 4 * KIB, false, SHARE, &first, &count);
	assert_int_equal(count, 0);
	cache_prefetch(&c, &usual, GIB, 134 * MIB, 4 * KIB, true, SHARE, &first, &count);
	assert_int_equal(count, 64 * KIB);
}

/* ---- whole readers ---- */

struct world {
	const struct policy *p;
	uint64_t size, share;
	struct cache_cursors c;
	unsigned char *there;           /* a byte a sub-block */
	uint64_t fetched, used, stalls, requests, longest;
};

static void world_init(struct world *w, const struct policy *p, uint64_t size, uint64_t share)
{
	*w = (struct world){.p = p, .size = size, .share = share};
	w->there = calloc((size_t)(size / CACHE_SUB) + 2, 1);
	assert_non_null(w->there);
}

static void world_read(struct world *w, uint64_t offset, uint64_t n)
{
	uint64_t first, count, got = 0;
	bool stalled = false;

	for (uint64_t s = offset / CACHE_SUB; s * CACHE_SUB < offset + n; s++)
		stalled |= !w->there[s];
	cache_prefetch(&w->c, w->p, w->size, offset, n, stalled, w->share, &first, &count);
	assert_true(first <= w->size && count <= w->size - first);
	assert_true(!stalled || (first <= offset && first + count >= offset + n));
	for (uint64_t s = first / CACHE_SUB; s * CACHE_SUB < first + count; s++)
		if (!w->there[s]) {
			w->there[s] = 1;
			got += CACHE_SUB;
		}
	w->fetched += got;
	w->requests += got > 0;
	w->longest = got > w->longest ? got : w->longest;
	w->stalls += stalled;
	w->used += n;
}

static void a_sequential_reader_is_ahead_of_itself_in_long_requests(void **state)
{
	static const uint64_t pieces[] = {4 * KIB, 128 * KIB, MIB};

	for (size_t i = 0; i < COUNT(pieces); i++) {
		struct world w;

		world_init(&w, &usual, 512 * MIB, SHARE);
		for (uint64_t at = 0; at < 512 * MIB; at += pieces[i])
			world_read(&w, at, pieces[i]);
		assert_int_equal(w.fetched, 512 * MIB);
		assert_true(w.stalls <= 2);     /* a first read may be as long as the first window */
		assert_true(w.longest >= 16 * MIB);
		assert_true(w.requests <= 512 / 16 + 12);
		free(w.there);
	}
}

static void a_reader_that_stops_early_had_little_too_much(void **state)
{
	for (uint64_t read = MIB; read <= 64 * MIB; read *= 2) {
		struct world w;

		world_init(&w, &usual, GIB, SHARE);
		for (uint64_t at = 0; at < read; at += 128 * KIB)
			world_read(&w, at, 128 * KIB);
		assert_true(w.fetched <= 6 * read);
		free(w.there);
	}
}

static void pieces_out_of_order_are_one_reader(void **state)
{
	struct world w;

	world_init(&w, &usual, 256 * MIB, SHARE);
	/* As the kernel's readahead sends them: pairs swapped. */
	for (uint64_t at = 0; at < 256 * MIB; at += 256 * KIB) {
		world_read(&w, at + 128 * KIB, 128 * KIB);
		world_read(&w, at, 128 * KIB);
	}
	assert_int_equal(w.fetched, 256 * MIB);
	assert_true(w.stalls <= 5);
	assert_true(w.requests <= 256 / 16 + 14);
	free(w.there);
}

static void four_interleaved_readers_fetch_what_they_read(void **state)
{
	struct world w;
	uint64_t each = 128 * MIB;

	world_init(&w, &usual, 8 * GIB, SHARE);
	for (uint64_t at = 0; at < each; at += 128 * KIB)
		for (uint64_t k = 0; k < 4; k++)
			world_read(&w, k * 2 * GIB + at, 128 * KIB);
	assert_true(w.fetched <= w.used + SHARE);
	assert_true(w.fetched * 10 <= w.used * 11);
	assert_true(w.stalls <= 16);
	free(w.there);
}

static void readers_near_each_other_are_told_apart(void **state)
{
	struct world w;

	world_init(&w, &usual, GIB, SHARE);
	for (uint64_t at = 0; at < 40 * MIB; at += 128 * KIB)
		for (uint64_t k = 0; k < 4; k++)
			world_read(&w, k * 40 * MIB + at, 128 * KIB);
	assert_true(w.fetched <= w.used + SHARE);
	assert_true(w.stalls <= 16);
	free(w.there);
}

static void a_fifth_reader_takes_the_cursor_that_was_used_least(void **state)
{
	struct world w;

	world_init(&w, &usual, 8 * GIB, SHARE);
	for (uint64_t at = 0; at < 16 * MIB; at += 128 * KIB)
		for (uint64_t k = 1; k < 5; k++)
			world_read(&w, k * GIB + at, 128 * KIB);
	for (uint64_t at = 0; at < 16 * MIB; at += 128 * KIB)
		world_read(&w, 6 * GIB + at, 128 * KIB);
	assert_true(w.stalls <= 20);
	free(w.there);
}

static void random_reads_fetch_at_most_eight_times_what_they_want(void **state)
{
	struct world w;
	uint64_t seed = 1;

	world_init(&w, &usual, GIB, SHARE);
	for (int i = 0; i < 1000; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		world_read(&w, (seed >> 20) % (GIB / 4096) * 4096, 4 * KIB);
	}
	assert_true(w.fetched <= w.used * 85 / 10);
	assert_true(w.fetched >= w.used);
	free(w.there);
}

static void a_strided_reader_fetches_what_it_reads(void **state)
{
	struct world w;

	/* Read 256 KiB in two pieces, skip 17 MiB, and so on. */
	world_init(&w, &usual, 8 * GIB, SHARE);
	for (uint64_t at = 0; at + 18 * MIB < 4 * GIB; at += 17 * MIB + 256 * KIB) {
		world_read(&w, at, 128 * KIB);
		world_read(&w, at + 128 * KIB, 128 * KIB);
	}
	assert_true(w.fetched * 10 <= w.used * 13);
	free(w.there);
}

static void a_strided_reader_after_a_sequential_one_does_not_fetch_windows(void **state)
{
	struct world w;
	uint64_t before;

	world_init(&w, &usual, 8 * GIB, SHARE);
	for (uint64_t at = 0; at < 256 * MIB; at += MIB)
		world_read(&w, at, MIB);
	before = w.fetched;
	w.used = 0;
	for (uint64_t at = 256 * MIB; at < 2 * GIB; at += 9 * MIB)
		world_read(&w, at, 256 * KIB);
	assert_true(w.fetched - before <= 2 * w.used);
	free(w.there);
}

static void a_backward_reader_is_fetched_for_before_it_comes(void **state)
{
	struct world w;

	world_init(&w, &usual, 256 * MIB, SHARE);
	for (uint64_t at = 256 * MIB; at > 0; at -= 64 * KIB)
		world_read(&w, at - 64 * KIB, 64 * KIB);
	assert_int_equal(w.fetched, 256 * MIB);
	assert_true(w.stalls <= 256 + 8);       /* a MiB at a time */
	free(w.there);
}

static void the_header_of_many_formats_costs_a_window_and_pieces(void **state)
{
	struct world w;

	/* The beginning, the end, and a few places between, as HDF5 does to open a file. */
	world_init(&w, &usual, GIB, SHARE);
	world_read(&w, 0, 4 * KIB);
	world_read(&w, GIB - 4 * KIB, 4 * KIB);
	world_read(&w, 300 * MIB, 8 * KIB);
	world_read(&w, 300 * MIB + 8 * KIB, 8 * KIB);
	world_read(&w, 700 * MIB, 4 * KIB);
	assert_true(w.fetched <= MIB + 4 * 64 * KIB);
	free(w.there);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_read_from_the_beginning_gets_a_window),
		cmocka_unit_test(the_window_doubles_with_each_stall_up_to_the_share),
		cmocka_unit_test(what_is_read_ahead_is_never_more_than_four_times_what_was_read),
		cmocka_unit_test(a_reader_that_never_stalls_is_refilled_when_half_is_used),
		cmocka_unit_test(the_end_of_the_file_ends_the_window),
		cmocka_unit_test(a_read_of_the_last_byte_is_a_piece_that_ends_there),
		cmocka_unit_test(the_first_random_reads_get_the_least_fetch_later_ones_what_they_touch),
		cmocka_unit_test(a_long_random_read_is_fetched_as_it_is),
		cmocka_unit_test(nothing_is_fetched_for_a_random_read_that_was_there),
		cmocka_unit_test(a_small_file_is_fetched_whole),
		cmocka_unit_test(where_a_range_is_as_dear_as_the_whole_the_whole_is_fetched),
		cmocka_unit_test(pieces_are_aligned_where_that_is_asked_for),
		cmocka_unit_test(a_reader_of_a_long_file_with_dear_ranges_needs_few_requests),
		cmocka_unit_test(a_steady_reader_without_a_longest_request_gets_half_the_share_at_once),
		cmocka_unit_test(a_reader_that_skips_within_its_window_loses_it),
		cmocka_unit_test(a_sequential_reader_is_ahead_of_itself_in_long_requests),
		cmocka_unit_test(a_reader_that_stops_early_had_little_too_much),
		cmocka_unit_test(pieces_out_of_order_are_one_reader),
		cmocka_unit_test(four_interleaved_readers_fetch_what_they_read),
		cmocka_unit_test(readers_near_each_other_are_told_apart),
		cmocka_unit_test(a_fifth_reader_takes_the_cursor_that_was_used_least),
		cmocka_unit_test(random_reads_fetch_at_most_eight_times_what_they_want),
		cmocka_unit_test(a_strided_reader_fetches_what_it_reads),
		cmocka_unit_test(a_strided_reader_after_a_sequential_one_does_not_fetch_windows),
		cmocka_unit_test(a_backward_reader_is_fetched_for_before_it_comes),
		cmocka_unit_test(the_header_of_many_formats_costs_a_window_and_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
