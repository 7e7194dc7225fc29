/* cache-reader.h - for the cache's tests: bytes that can be told by their place, a reader that waits, a fetcher. */
#ifndef SCIFS_TESTS_UNIT_CACHE_READER_H
#define SCIFS_TESTS_UNIT_CACHE_READER_H

#include "test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "base/log.h"
#include "cache/cache.h"
#include "cache/private.h"

#define MAYBE __attribute__((unused))
#define PATIENCE_S 60

/* The byte of content `salt` at `at`: each place differs from its neighbours, each block from the others. */
static inline MAYBE unsigned char byte_at(unsigned salt, uint64_t at)
{
	return (unsigned char)((at * 0x9e3779b97f4a7c15ull >> 56) ^ (at >> 20) * 7 ^ salt * 31);
}

static inline MAYBE void fill_bytes(unsigned salt, uint64_t at, unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = byte_at(salt, at + i);
}

/* The first byte of a hit that is not what it should be; -1: all right. */
static inline MAYBE int64_t hit_differs(const struct cache_hit *h, unsigned salt, uint64_t at, size_t n)
{
	uint64_t begin = at;

	for (int i = 0; i < h->n; i++)
		for (size_t k = 0; k < h->parts[i].iov_len; k++, at++)
			if (((unsigned char *)h->parts[i].iov_base)[k] != byte_at(salt, at))
				return (int64_t)at;
	return at == begin + n ? -1 : (int64_t)at;
}

struct waiting {
	struct cache_waiter w;
	pthread_mutex_t lock;
	pthread_cond_t told;
	int calls, err;
};

static inline MAYBE void waiting_ready(struct cache_waiter *w, int err)
{
	struct waiting *x = (struct waiting *)w;

	pthread_mutex_lock(&x->lock);
	x->calls++;
	x->err = err;
	pthread_cond_broadcast(&x->told);
	pthread_mutex_unlock(&x->lock);
}

static inline MAYBE void waiting_init(struct waiting *x)
{
	memset(x, 0, sizeof(*x));
	pthread_mutex_init(&x->lock, NULL);
	pthread_cond_init(&x->told, NULL);
	x->w.ready = waiting_ready;
}

/* What it was told; -ETIMEDOUT: nothing for a minute. */
static inline MAYBE int waiting_end(struct waiting *x)
{
	struct timespec until;
	int r = 0, err;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&x->lock);
	while (!x->calls && r == 0)
		r = pthread_cond_timedwait(&x->told, &x->lock, &until);
	err = x->calls ? x->err : -ETIMEDOUT;
	pthread_mutex_unlock(&x->lock);
	return err;
}

static inline MAYBE int waiting_calls(struct waiting *x)
{
	int n;

	pthread_mutex_lock(&x->lock);
	n = x->calls;
	pthread_mutex_unlock(&x->lock);
	return n;
}

static inline MAYBE struct cache *cache_in(const char *dir, uint64_t memory, uint64_t disk)
{
	struct cache_config config = {.dir = dir, .memory = memory, .disk = disk};
	struct cache *c = NULL;

	assert_int_equal(cache_new(&config, &c), 0);
	return c;
}

static inline MAYBE struct cache_file *file_in(struct cache *c, const char *key, uint64_t size)
{
	struct cache_file *f = NULL;

	assert_int_equal(cache_open(c, key, size, &f), 0);
	return f;
}

/* Bring the bytes of a claim, `step` at a time, and end it. */
static inline MAYBE void bring(struct cache_fetch *x, unsigned salt, uint64_t first, uint64_t count, size_t step)
{
	unsigned char *p = malloc(step);

	assert_non_null(p);
	for (uint64_t at = first; at < first + count; ) {
		size_t n = first + count - at < step ? (size_t)(first + count - at) : step;

		fill_bytes(salt, at, p, n);
		assert_int_equal(cache_fill(x, p, n), 0);
		at += n;
	}
	cache_fetched(x, 0);
	free(p);
}

/* Fetch what is missing of [first, first + count). Returns the bytes that were fetched. */
static inline MAYBE uint64_t fetch(struct cache_file *f, unsigned salt, uint64_t first, uint64_t count)
{
	uint64_t fetched = 0, end = first + count, got_first, got_count;
	struct cache_fetch *x;

	while (first < end && cache_claim(f, first, end - first, true, &x, &got_first, &got_count) == 1) {
		bring(x, salt, got_first, got_count, 100000);
		fetched += got_count;
		first = got_first + got_count;
	}
	return fetched;
}

/* Read as fs does: ask, fetch what nobody has, wait, ask anew when it was lost. Returns the first wrong place, -1 when all is
 * right, or fails. *fetched: bytes that had to be fetched are added. */
static inline MAYBE int64_t read_through(struct cache_file *f, unsigned salt, uint64_t at, size_t n, uint64_t *fetched)
{
	for (int i = 0; i < 100; i++) {
		struct cache_hit hit;
		struct waiting x;
		enum cache_answer a;
		int64_t differs;
		int err;

		waiting_init(&x);
		a = cache_ask(f, at, n, &x.w, &hit);
		if (a == CACHE_HIT) {
			differs = hit_differs(&hit, salt, at, n);
			cache_put(f, &hit);
			return differs;
		}
		if (a == CACHE_FETCH)
			*fetched += fetch(f, salt, at, n);
		err = waiting_end(&x);
		if (err == 0) {
			differs = hit_differs(&x.w.hit, salt, at, n);
			cache_put(f, &x.w.hit);
			return differs;
		}
		if (err != -EAGAIN)
			return err < 0 ? -2 + err : -2;
	}
	return -2;
}

static inline MAYBE struct cache_stats stats_of(struct cache *c)
{
	struct cache_stats s;

	cache_get_stats(c, &s);
	return s;
}

#endif
