/* table.c - blocks in memory: states, waiters, LRU.
 *
 *      absent --cache_claim()--> claimed --cache_fill()--> present --eviction--> absent
 *        |                          '--cache_fetched(err)--> absent
 *        '--load_range()--> loading --table_loaded()--> present, or absent when its bytes on disk are bad
 *
 * A block is in the LRU list while nobody pins it; only such blocks are evicted. It is pinned by each hit, each waiter (so
 * that what came for it is still there when it is told), once while anything in it is claimed, and by each job of a disk
 * thread. cache_forget() takes all blocks out of the file's map: those that somebody pins live on as `gone` ones, with the
 * bytes they had, until the last pin goes; fetches that were claimed before are of an older generation and fill nothing.
 *
 * One lock, cache->lock, guards all of it. Bytes are copied and read without it, where a pin and a bit say whose they are.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "cache/private.h"

#define OWED_WAIT_MS 5000               /* for the disk, when the cache ends */

struct cache_fetch {
	struct cache_file *file;
	uint64_t first, end, at;        /* bytes; at: where the next byte goes. Changed by its filler, under the lock */
	unsigned generation;            /* of the file when it was claimed */
};

_Static_assert(sizeof(struct list) <= sizeof(((struct cache_waiter *)0)->priv), "a waiter's words hold its link");

static struct list *link_of(struct cache_waiter *w)
{
	return (struct list *)w->priv;
}

static struct cache_waiter *waiter_of(struct list *l)
{
	return container_of((void **)l, struct cache_waiter, priv[0]);
}

static uint64_t sub_bytes(uint32_t bits)
{
	return (uint64_t)__builtin_popcount(bits) * CACHE_SUB;
}

void cache_file_ref_locked(struct cache_file *f)
{
	f->refs++;
}

void cache_file_unref_locked(struct cache_file *f)
{
	if (--f->refs)
		return;
	if (f->listed)
		map_remove(f->cache->files, f->key);
	disk_file_done(f);
	map64_free(f->blocks);
	free(f->key);
	free(f);
}

/* What must be true of a block whenever the lock is free. Cheap, so each operation on one checks it. */
static void check_block(const struct block *b)
{
	assert(!(b->present & (b->claimed | b->loading)) && !(b->claimed & b->loading));
	assert(!(b->unsaved & ~b->present) && (b->unsaved || list_empty(&b->owed)));
	assert(b->pins || !(b->claimed | b->loading));
	assert(!b->pins == !list_empty(&b->lru));
	assert(!b->gone || (b->pins && !b->claimed));
}

bool cache_consistent(struct cache *c)
{
	uint64_t used = 0;
	size_t in_lru = 0, unpinned = 0;
	bool gone = false;

	WITH_LOCK(&c->lock) {
		struct map_iter it = {0};
		const char *key;
		void *file, *block;

		for (struct list *l = c->lru.next; l != &c->lru; l = l->next)
			in_lru++;
		while (map_next(c->files, &it, &key, &file)) {
			struct map64_iter at = {0};
			uint64_t index;

			while (map64_next(((struct cache_file *)file)->blocks, &at, &index, &block)) {
				struct block *b = block;

				check_block(b);
				gone |= b->gone || b->index + 1 != index || b->file != file;
				used += sub_bytes(b->present | b->claimed | b->loading);
				unpinned += !b->pins;
			}
		}
		gone |= used > c->used || unpinned > in_lru;
	}
	return !gone;
}

/* A block of a content that is no longer than a sub-block has memory for that, not the address space of a megabyte: mapping it
 * would cost more than all else that is done to it. */
static bool is_small(const struct cache_file *f)
{
	return f->size <= CACHE_SUB;
}

/* Touching the pages of a new megabyte costs more than all else that is done to it: a steady stream takes the memory of the
 * blocks that make room for it. `whole`: all of it is going to be filled. NULL: none. */
static char *data_get_locked(struct cache_file *f, bool whole)
{
	struct cache *c = f->cache;
	char *data;

	if (is_small(f))
		return malloc((size_t)f->size);
	if (whole && c->spares)
		return c->spare[--c->spares];
	data = mmap(NULL, CACHE_BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (data == MAP_FAILED)
		return NULL;
	/* Neighbours in the address space would become one huge page, of which one touched byte costs 2 MiB. */
	(void)madvise(data, CACHE_BLOCK, MADV_NOHUGEPAGE);
	return data;
}

static void data_put_locked(struct cache_file *f, char *data, bool whole)
{
	struct cache *c = f->cache;

	if (is_small(f))
		free(data);
	else if (whole && c->spares < SPARE_MAX)
		c->spare[c->spares++] = data;
	else
		munmap(data, CACHE_BLOCK);
}

static void block_free_locked(struct block *b)
{
	struct cache_file *f = b->file;

	list_remove(&b->lru);
	list_remove(&b->owed);
	f->cache->used -= sub_bytes(b->present | b->claimed | b->loading);
	if (!b->gone)
		map64_remove(f->blocks, b->index + 1);
	data_put_locked(f, b->data, b->present == UINT32_MAX);
	free(b);
	cache_file_unref_locked(f);
}

static void make_room_locked(struct cache *c, uint64_t want)
{
	while (c->used + want > c->config.memory) {
		struct block *b = list_first(&c->lru, struct block, lru);

		if (!b)
			return;
		c->stats.evicted_memory++;
		block_free_locked(b);
	}
}

static struct block *block_get_locked(struct cache_file *f, uint64_t index, bool whole)
{
	struct block *b = map64_get(f->blocks, index + 1);

	if (b)
		return b;
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->data = data_get_locked(f, whole);
	if (!b->data || map64_set(f->blocks, index + 1, b) < 0) {
		if (b->data)
			data_put_locked(f, b->data, whole);
		free(b);
		return NULL;
	}
	b->file = f;
	b->index = index;
	f->refs++;
	list_init(&b->lru);
	list_init(&b->owed);
	list_append(&f->cache->lru, &b->lru);
	return b;
}

static void pin_locked(struct block *b)
{
	if (b->pins++ == 0)
		list_remove(&b->lru);
}

static void unpin_locked(struct block *b)
{
	struct cache *c = b->file->cache;

	if (--b->pins)
		return;
	if (!b->present || b->gone) {
		block_free_locked(b);
		return;
	}
	list_append(&c->lru, &b->lru);
	check_block(b);
	make_room_locked(c, 0);
}

int cache_new(const struct cache_config *config, struct cache **ret)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->config = *config;
	c->files = map_new();
	if (!c->files) {
		free(c);
		return -ENOMEM;
	}
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->looked, NULL);
	list_init(&c->lru);
	list_init(&c->owed);
	if (config->dir && config->disk) {
		uint64_t documents = config->disk / 8 < CACHE_DOCUMENTS_MAX ? config->disk / 8 : CACHE_DOCUMENTS_MAX;
		int r = file_mkdirs(config->dir, 0700);

		c->config.disk -= documents;

		if (r == 0)
			r = disk_new(c, &c->disk);
		if (r < 0)
			log_warn("cache: %s cannot be used: %s; memory only", config->dir, strerror(-r));
		if (r == 0)
			r = documents_new(config->dir, documents, &c->documents);
		if (r < 0 && c->disk)
			log_warn("cache: %s: listings and metadata are not kept over a restart: %s", config->dir, strerror(-r));
	}
	*ret = c;
	return 0;
}

/* Until the writer has taken what is owed, if it can. */
static void wait_for_owed(struct cache *c)
{
	uint64_t until = clock_mono_ms() + OWED_WAIT_MS;
	bool owed = true;

	while (owed && clock_mono_ms() < until) {
		WITH_LOCK(&c->lock)
			owed = !list_empty(&c->owed);
		if (owed)
			usleep(1000);
	}
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	/* Its threads may still hold blocks: they end first. */
	if (c->disk) {
		wait_for_owed(c);
		disk_drain(c->disk);
	}
	while (!list_empty(&c->lru))
		block_free_locked(list_first(&c->lru, struct block, lru));
	while (c->spares)
		munmap(c->spare[--c->spares], CACHE_BLOCK);
	map_free(c->files);
	disk_free(c->disk);
	documents_free(c->documents);
	pthread_cond_destroy(&c->looked);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int cache_open(struct cache *c, const char *key, uint64_t size, struct cache_file **ret)
{
	struct cache_file *f;
	int r = 0;

	if (size > INT64_MAX)
		return -EFBIG;
	WITH_LOCK(&c->lock) {
		f = map_get(c->files, key);
		if (f && f->size == size) {
			f->refs++;
			*ret = f;
			return 0;
		}
		if (f) {
			/* The same key with another size is a version that lied: its bytes are not these. Who has it open keeps it. */
			f->listed = false;
			map_remove(c->files, key);
		}
		f = calloc(1, sizeof(*f));
		if (!f)
			return -ENOMEM;
		f->cache = c;
		f->size = size;
		f->refs = 1;
		list_init(&f->waiters);
		f->key = strdup(key);
		f->blocks = map64_new();
		if (!f->key || !f->blocks || map_set(c->files, key, f) < 0) {
			map64_free(f->blocks);
			free(f->key);
			free(f);
			r = -ENOMEM;
		} else {
			f->listed = true;
			if (c->disk)
				disk_look(f);
			*ret = f;
		}
	}
	return r;
}

void cache_close(struct cache_file *f)
{
	struct cache *c;

	if (!f)
		return;
	c = f->cache;
	WITH_LOCK(&c->lock)
		cache_file_unref_locked(f);
}

static uint32_t sub_mask(uint64_t index, uint64_t first, uint64_t end)
{
	uint64_t base = index * CACHE_BLOCK;
	uint64_t a = first > base ? (first - base) / CACHE_SUB : 0;
	uint64_t b = end < base + CACHE_BLOCK ? (end - base + CACHE_SUB - 1) / CACHE_SUB : SUBS;

	return (uint32_t)((b >= 32 ? ~0ull : (1ull << b) - 1) & ~((1ull << a) - 1));
}

/* All of [first, end) present? -1: some of it nobody has or fetches; 0: some is being fetched, read from disk, or not known
 * yet; 1: all there. */
static int state_locked(struct cache_file *f, uint64_t first, uint64_t end)
{
	int state = 1;

	for (uint64_t i = first / CACHE_BLOCK; i * CACHE_BLOCK < end; i++) {
		struct block *b = map64_get(f->blocks, i + 1);
		uint32_t want = sub_mask(i, first, end);

		if (!b || (want & ~(b->present | b->claimed | b->loading))) {
			if (f->disk != DISK_LOOKING)
				return -1;
		} else if (want & ~b->present) {
			state = 0;
		} else {
			continue;
		}
		state = 0;
	}
	return state;
}

/* Have the disk bring what it has of [first, end) and memory lacks; not beyond the budget unless somebody waits for it. */
static void load_range_locked(struct cache_file *f, uint64_t first, uint64_t end, bool waited)
{
	struct cache *c = f->cache;

	if (f->disk != DISK_READY)
		return;
	for (uint64_t i = first / CACHE_BLOCK; i * CACHE_BLOCK < end; i++) {
		uint32_t bits = f->on_disk[i] & sub_mask(i, first, end);
		struct block *b;
		bool room;

		if (!bits)
			continue;
		b = block_get_locked(f, i, bits == UINT32_MAX);
		if (!b)
			return;
		pin_locked(b);          /* the job's; before room is made, which might take it */
		bits &= ~(b->present | b->claimed | b->loading);
		make_room_locked(c, sub_bytes(bits));
		room = waited || c->used + sub_bytes(bits) <= c->config.memory;
		if (bits && room) {
			b->loading |= bits;
			c->used += sub_bytes(bits);
			if (disk_load(b, bits))
				continue;
			b->loading &= ~bits;
			c->used -= sub_bytes(bits);
			f->on_disk[i] &= ~bits;
		}
		unpin_locked(b);
		if (!room)
			return;
	}
}

static int pin_range_locked(struct cache_file *f, uint64_t first, uint64_t end, struct cache_hit *hit)
{
	memset(hit, 0, sizeof(*hit));
	for (uint64_t i = first / CACHE_BLOCK; i * CACHE_BLOCK < end; i++) {
		struct block *b = block_get_locked(f, i, false);
		uint64_t from = first > i * CACHE_BLOCK ? first - i * CACHE_BLOCK : 0;
		uint64_t to = end - i * CACHE_BLOCK < CACHE_BLOCK ? end - i * CACHE_BLOCK : CACHE_BLOCK;

		if (!b || hit->n == CACHE_HIT_PARTS) {
			while (hit->n)
				unpin_locked(hit->pins[--hit->n]);
			return -ENOMEM;
		}
		pin_locked(b);
		hit->pins[hit->n] = b;
		hit->parts[hit->n].iov_base = b->data + from;
		hit->parts[hit->n++].iov_len = to - from;
	}
	return 0;
}

static void put_locked(struct cache_hit *hit)
{
	while (hit->n)
		unpin_locked(hit->pins[--hit->n]);
}

enum cache_answer cache_ask(struct cache_file *f, uint64_t offset, size_t n, struct cache_waiter *w, struct cache_hit *ret)
{
	struct cache *c = f->cache;
	enum cache_answer answer = CACHE_FETCH;

	WITH_LOCK(&c->lock) {
		int state = state_locked(f, offset, offset + n);

		if (state == -1 && w) {
			load_range_locked(f, offset, offset + n, true);
			state = state_locked(f, offset, offset + n);
		}
		if (state == 1 && pin_range_locked(f, offset, offset + n, ret) == 0) {
			c->stats.hits += w != NULL;
			answer = CACHE_HIT;
			break;
		}
		answer = state == 0 ? CACHE_PARKED : CACHE_FETCH;
		if (!w)
			break;
		c->stats.misses++;
		w->first = offset;
		w->count = n;
		if (pin_range_locked(f, offset, offset + n, &w->hit) < 0)
			memset(&w->hit, 0, sizeof(w->hit));     /* without pins it is told to ask anew */
		list_append(&f->waiters, link_of(w));
		f->refs++;
	}
	return answer;
}

bool cache_unwait(struct cache_file *f, struct cache_waiter *w)
{
	struct cache *c = f->cache;
	bool was = false;

	WITH_LOCK(&c->lock)
		for (struct list *l = f->waiters.next; l != &f->waiters; l = l->next)
			if (waiter_of(l) == w) {
				list_remove(l);
				put_locked(&w->hit);
				cache_file_unref_locked(f);
				was = true;
				break;
			}
	return was;
}

void cache_put(struct cache_file *f, struct cache_hit *hit)
{
	struct cache *c = f->cache;

	WITH_LOCK(&c->lock)
		put_locked(hit);
}

/* Take the waiters out whose range is whole, or lies in [first, end) when err says that this will not come. They are told
 * after the lock is gone. */
static void ripe_locked(struct cache_file *f, uint64_t first, uint64_t end, int err, struct list *ret)
{
	for (struct list *l = f->waiters.next, *next; l != &f->waiters; l = next) {
		struct cache_waiter *w = waiter_of(l);
		bool whole;

		next = l->next;
		if (w->first >= end || w->first + w->count <= first)
			continue;
		whole = state_locked(f, w->first, w->first + w->count) == 1;
		if (whole == (err != 0))        /* still parked; or its part came before the fetch failed */
			continue;
		list_remove(l);
		if (err)
			put_locked(&w->hit);
		list_append(ret, l);
	}
}

static void ripe_all_locked(struct cache_file *f, struct list *ret)
{
	while (!list_empty(&f->waiters)) {
		struct list *l = f->waiters.next;

		list_remove(l);
		put_locked(&waiter_of(l)->hit);
		list_append(ret, l);
	}
}

static void tell(struct cache_file *f, struct list *ripe, int err)
{
	struct cache *c = f->cache;

	while (!list_empty(ripe)) {
		struct list *l = ripe->next;
		struct cache_waiter *w = waiter_of(l);

		list_remove(l);
		w->ready(w, err);
		WITH_LOCK(&c->lock)
			cache_file_unref_locked(f);   /* the waiter's; the caller holds one more */
	}
}

void cache_forget(struct cache_file *f)
{
	struct cache *c = f->cache;
	struct list told;

	list_init(&told);
	WITH_LOCK(&c->lock) {
		struct map64_iter it = {0};
		uint64_t key;
		void *value;

		f->refs++;
		f->generation++;
		f->forgotten = true;
		if (f->listed)
			map_remove(c->files, f->key);
		f->listed = false;
		while (map64_next(f->blocks, &it, &key, &value)) {
			struct block *b = value;
			uint32_t claimed = b->claimed;

			b->gone = true;
			b->claimed = b->unsaved = 0;
			list_remove(&b->owed);
			c->used -= sub_bytes(claimed);
			if (claimed)
				unpin_locked(b);
			else if (!b->pins)
				block_free_locked(b);
		}
		map64_clear(f->blocks);
		ripe_all_locked(f, &told);
		disk_forget(f);
	}
	tell(f, &told, -EAGAIN);
	WITH_LOCK(&c->lock)
		cache_file_unref_locked(f);
}

/* Does anybody wait for the sub-block at `at`? */
static bool waited_locked(struct cache_file *f, uint64_t at)
{
	for (struct list *l = f->waiters.next; l != &f->waiters; l = l->next) {
		struct cache_waiter *w = waiter_of(l);

		if (w->first < at + CACHE_SUB && w->first + w->count > at)
			return true;
	}
	return false;
}

/* May the sub-block at `at`, which is absent, be claimed? */
static bool room_locked(struct cache_file *f, uint64_t at, bool demand)
{
	struct cache *c = f->cache;

	make_room_locked(c, CACHE_SUB);
	return c->used + CACHE_SUB <= c->config.memory || (demand && waited_locked(f, at));
}

static bool absent_locked(struct cache_file *f, uint64_t at)
{
	struct block *b = map64_get(f->blocks, at / CACHE_BLOCK + 1);

	return !b || !((b->present | b->claimed | b->loading) & 1u << (at % CACHE_BLOCK / CACHE_SUB));
}

/* The memory of these only: beside them others are filling theirs. That of a small content goes with its block. */
static void give_back_locked(struct block *b, uint32_t bits)
{
	for (unsigned s = 0, end; s < SUBS && !is_small(b->file); s = end + 1) {
		for (end = s; end < SUBS && bits & 1u << end; end++)
			;
		if (end > s)
			(void)madvise(b->data + (size_t)s * CACHE_SUB, (size_t)(end - s) * CACHE_SUB, MADV_DONTNEED);
	}
}

int cache_claim(struct cache_file *f, uint64_t first, uint64_t count, bool demand, struct cache_fetch **ret,
                uint64_t *ret_first, uint64_t *ret_count)
{
	struct cache *c = f->cache;
	uint64_t end = count < f->size && first < f->size - count ? first + count : f->size, at, stop;
	struct cache_fetch *x = calloc(1, sizeof(*x));
	struct list lost;
	bool memory = x != NULL;
	struct block *last = NULL;

	list_init(&lost);
	WITH_LOCK(&c->lock) {
		if (f->disk == DISK_LOOKING)
			break;          /* perhaps it is there: who asked is parked until that is known */
		/* What the disk has is read ahead too. */
		load_range_locked(f, first, end, false);
		at = first / CACHE_SUB * CACHE_SUB;
		while (at < end && !(absent_locked(f, at) && room_locked(f, at, demand)))
			at += CACHE_SUB;
		for (stop = at; memory && stop < end && absent_locked(f, stop) && room_locked(f, stop, demand); stop += CACHE_SUB) {
			struct block *b = block_get_locked(f, stop / CACHE_BLOCK, stop % CACHE_BLOCK == 0 && end - stop >= CACHE_BLOCK);

			if (!b) {
				memory = false;
				break;
			}
			if (!b->claimed)
				pin_locked(b);  /* one pin as long as anything in it is claimed */
			b->claimed |= 1u << (stop % CACHE_BLOCK / CACHE_SUB);
			c->used += CACHE_SUB;
			last = b;
		}
		/* It was to be whole, but there was no room: its memory is not to stay beyond what is counted. */
		if (last && stop < end)
			give_back_locked(last, ~(last->present | last->claimed | last->loading));
		if (stop > at) {
			x->file = f;
			f->refs++;
			x->generation = f->generation;
			x->first = x->at = at;
			x->end = stop < f->size ? stop : f->size;
		} else if (!memory && at < end) {
			f->refs++;
			ripe_locked(f, at, end, -ENOMEM, &lost);
		}
	}
	if (x && x->file) {
		*ret_first = x->first;
		*ret_count = x->end - x->first;
		*ret = x;
		return 1;
	}
	free(x);
	if (memory)
		return 0;
	tell(f, &lost, -ENOMEM);
	return -ENOMEM;
}

/* A block's new bytes go to the disk once, when its run is whole. While too much waits for the writer the block is owed: it
 * is taken later, unless it is evicted before. */
static void save_locked(struct block *b)
{
	struct cache *c = b->file->cache;
	int r;

	if (!b->unsaved)
		return;
	pin_locked(b);
	r = c->disk && !b->gone ? disk_save(b, b->unsaved) : -1;
	if (r == 0 && list_empty(&b->owed))
		list_append(&c->owed, &b->owed);
	if (r == 0) {
		unpin_locked(b);
		return;
	}
	b->unsaved = 0;
	list_remove(&b->owed);
	if (r < 0)
		unpin_locked(b);
}

static void save_owed_locked(struct cache *c)
{
	struct block *b, *before = NULL;

	while ((b = list_first(&c->owed, struct block, owed)) && b != before) {
		before = b;
		save_locked(b);
	}
}

void table_looked(struct cache_file *f, uint32_t *on_disk)
{
	struct cache *c = f->cache;
	struct list whole, lost;

	list_init(&whole);
	list_init(&lost);
	WITH_LOCK(&c->lock) {
		if (f->forgotten) {
			free(on_disk);
			on_disk = NULL;
		}
		f->on_disk = on_disk;
		f->disk = on_disk ? DISK_READY : DISK_NONE;
		if (f->awaited)
			pthread_cond_broadcast(&c->looked);
		/* Who waits goes on: from disk, or by a fetch of its own. */
		for (struct list *l = f->waiters.next, *next; l != &f->waiters; l = next) {
			struct cache_waiter *w = waiter_of(l);
			uint64_t end = w->first + w->count;
			int state;

			next = l->next;
			load_range_locked(f, w->first, end, true);
			state = state_locked(f, w->first, end);
			if (state == 0)
				continue;
			list_remove(l);
			if (state < 0)
				put_locked(&w->hit);
			list_append(state < 0 ? &lost : &whole, l);
		}
	}
	tell(f, &whole, 0);
	tell(f, &lost, -EAGAIN);
	WITH_LOCK(&c->lock)
		cache_file_unref_locked(f);
}

void table_loaded(struct block *b, uint32_t bits, uint32_t good)
{
	struct cache_file *f = b->file;
	struct cache *c = f->cache;
	struct list ripe, lost;
	uint64_t first = b->index * CACHE_BLOCK;

	list_init(&ripe);
	list_init(&lost);
	WITH_LOCK(&c->lock) {
		uint32_t bad = bits & ~good;

		f->refs++;
		b->loading &= ~bits;
		if (b->gone) {
			c->used -= sub_bytes(bits);
		} else {
			b->present |= good;
			c->used -= sub_bytes(bad);
			f->on_disk[b->index] &= ~bad;
			ripe_locked(f, first, first + CACHE_BLOCK, 0, &ripe);
			for (unsigned s = 0; s < SUBS; s++)
				if (bad & 1u << s)
					ripe_locked(f, first + (uint64_t)s * CACHE_SUB, first + (uint64_t)(s + 1) * CACHE_SUB,
					            -EAGAIN, &lost);
		}
		unpin_locked(b);
	}
	tell(f, &ripe, 0);
	tell(f, &lost, -EAGAIN);
	WITH_LOCK(&c->lock)
		cache_file_unref_locked(f);
}

bool table_worth_saving(struct block *b)
{
	bool worth;

	WITH_LOCK(&b->file->cache->lock)
		worth = !b->gone;
	return worth;
}

void table_saved(struct block *b, uint32_t bits, bool on_disk)
{
	struct cache_file *f = b->file;
	struct cache *c = f->cache;

	WITH_LOCK(&c->lock) {
		if (on_disk && !b->gone && f->on_disk)
			f->on_disk[b->index] |= bits;
		unpin_locked(b);
		save_owed_locked(c);
	}
}

int cache_fill(struct cache_fetch *x, const void *data, size_t n)
{
	struct cache_file *f = x->file;
	struct cache *c = f->cache;
	const char *p = data;
	struct list ripe;

	if (n > x->end - x->at)
		return -EMSGSIZE;
	list_init(&ripe);
	while (n) {
		uint64_t index = x->at / CACHE_BLOCK, within = x->at % CACHE_BLOCK;
		size_t now = CACHE_BLOCK - within < n ? (size_t)(CACHE_BLOCK - within) : n;
		struct block *b = NULL;

		WITH_LOCK(&c->lock)
			if (x->generation == f->generation) {
				b = map64_get(f->blocks, index + 1);
				pin_locked(b);  /* cache_forget() may take the claim's pin */
			}
		if (b)
			memcpy(b->data + within, p, now);       /* ours: claimed */
		p += now;
		n -= now;
		WITH_LOCK(&c->lock) {
			uint64_t begin = x->at / CACHE_SUB * CACHE_SUB, done;

			x->at += now;
			done = x->at == x->end ? x->at : x->at / CACHE_SUB * CACHE_SUB;
			if (!b)
				break;
			if (!b->gone && done > begin) {
				uint32_t bits = sub_mask(index, begin, done);

				assert((b->claimed & bits) == bits);
				b->present |= bits;
				b->claimed &= ~bits;
				b->unsaved |= bits;
				ripe_locked(f, begin, done, 0, &ripe);
				if (x->at == x->end || x->at % CACHE_BLOCK == 0)
					save_locked(b);
				if (!b->claimed)
					unpin_locked(b);
			}
			unpin_locked(b);
		}
	}
	tell(f, &ripe, 0);
	return 0;
}

/* Of a run that will not come whole: what is claimed for it becomes absent again. */
static void unclaim_locked(struct cache_fetch *x)
{
	struct cache_file *f = x->file;
	uint64_t from = x->at / CACHE_SUB * CACHE_SUB;

	for (uint64_t i = from / CACHE_BLOCK; i * CACHE_BLOCK < x->end; i++) {
		struct block *b = map64_get(f->blocks, i + 1);
		uint32_t bits = sub_mask(i, from, x->end);

		assert((b->claimed & bits) == bits);
		b->claimed &= ~bits;
		f->cache->used -= sub_bytes(bits);
		give_back_locked(b, bits);
		save_locked(b);         /* what came before the end */
		if (!b->claimed)
			unpin_locked(b);
	}
}

void cache_fetched(struct cache_fetch *x, int err)
{
	struct cache_file *f = x->file;
	struct cache *c = f->cache;
	struct list ripe;

	list_init(&ripe);
	if (!err)
		err = -EAGAIN;
	WITH_LOCK(&c->lock)
		if (x->at < x->end && x->generation == f->generation) {
			unclaim_locked(x);
			ripe_locked(f, x->at / CACHE_SUB * CACHE_SUB, x->end, err, &ripe);
		}
	tell(f, &ripe, err);
	WITH_LOCK(&c->lock)
		cache_file_unref_locked(f);
	free(x);
}

bool cache_wanted(struct cache_fetch *x)
{
	struct cache_file *f = x->file;
	bool wanted = false;

	WITH_LOCK(&f->cache->lock)
		for (struct list *l = f->waiters.next; l != &f->waiters && !wanted; l = l->next) {
			struct cache_waiter *w = waiter_of(l);

			wanted = x->generation == f->generation && w->first < x->end && w->first + w->count > x->at;
		}
	return wanted;
}

uint64_t cache_have(struct cache_file *f)
{
	uint64_t have = 0;

	WITH_LOCK(&f->cache->lock) {
		struct map64_iter it = {0};
		uint64_t key;
		void *value;

		f->awaited |= f->disk == DISK_LOOKING;
		while (f->disk == DISK_LOOKING)
			pthread_cond_wait(&f->cache->looked, &f->cache->lock);
		while (map64_next(f->blocks, &it, &key, &value))
			have += sub_bytes(((struct block *)value)->present & ~(f->on_disk ? f->on_disk[((struct block *)value)->index] : 0));
		for (uint64_t i = 0; f->on_disk && i * CACHE_BLOCK < f->size; i++)      /* at most FILE_MAX long */
			have += sub_bytes(f->on_disk[i]);
	}
	return have < f->size ? have : f->size;
}

void cache_get_stats(struct cache *c, struct cache_stats *ret)
{
	WITH_LOCK(&c->lock) {
		*ret = c->stats;
		ret->memory_used = c->used;
		ret->memory_limit = c->config.memory;
	}
	if (c->disk)
		disk_get_stats(c->disk, ret);
}
