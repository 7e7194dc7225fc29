/* table.c - blocks in memory: states, waiters, LRU.
 *
 * A sub-block is absent -> claimed (a fetch fills it) -> present -> absent again when its block is evicted. A block is in the
 * LRU list while nobody pins it and no fetch fills it; only such blocks are evicted. A waiter pins the blocks of its range
 * when it is parked, so what came for it is still there when it is told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "cache/private.h"

struct cache_fetch {
	struct cache_file *file;
	uint64_t first, end, at;        /* bytes; at: where the next byte goes */
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
	if (!f->forgotten)
		map_remove(f->cache->files, f->key);
	disk_file_done(f);
	map64_free(f->blocks);
	free(f->key);
	free(f);
}

static void block_free_locked(struct block *b)
{
	struct cache_file *f = b->file;

	list_remove(&b->lru);
	f->cache->used -= sub_bytes(b->present | b->claimed);
	map64_remove(f->blocks, b->index + 1);
	munmap(b->data, CACHE_BLOCK);
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

static struct block *block_get_locked(struct cache_file *f, uint64_t index, bool make)
{
	struct block *b = map64_get(f->blocks, index + 1);

	if (b || !make)
		return b;
	b = calloc(1, sizeof(*b));
	if (!b)
		return NULL;
	b->data = mmap(NULL, CACHE_BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->data == MAP_FAILED || map64_set(f->blocks, index + 1, b) < 0) {
		if (b->data != MAP_FAILED)
			munmap(b->data, CACHE_BLOCK);
		free(b);
		return NULL;
	}
	b->file = f;
	b->index = index;
	f->refs++;
	list_init(&b->lru);
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
	if (!(b->present | b->claimed) || b->file->forgotten) {
		block_free_locked(b);
		return;
	}
	list_append(&c->lru, &b->lru);
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
	list_init(&c->lru);
	if (config->dir && config->disk) {
		int r = file_mkdirs(config->dir, 0700);

		if (r == 0)
			r = disk_new(c, &c->disk);
		if (r < 0)
			log_warn("cache: %s cannot be used: %s; memory only", config->dir, strerror(-r));
		else if (documents_new(config->dir, &c->documents) < 0)
			log_warn("cache: %s: listings and metadata are not kept over a restart", config->dir);
	}
	*ret = c;
	return 0;
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	/* Its threads may still hold blocks: they end first. */
	if (c->disk)
		disk_drain(c->disk);
	while (!list_empty(&c->lru))
		block_free_locked(list_first(&c->lru, struct block, lru));
	map_free(c->files);
	disk_free(c->disk);
	documents_free(c->documents);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int cache_open(struct cache *c, const char *key, uint64_t size, struct cache_file **ret)
{
	struct cache_file *f;
	int r = 0;

	WITH_LOCK(&c->lock) {
		f = map_get(c->files, key);
		if (f && f->size == size) {
			f->refs++;
			*ret = f;
			return 0;
		}
		if (f) {
			/* The same key with another size is a version that lied: its bytes are not these. */
			f->forgotten = true;
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
		f->map_fd = f->data_fd = -1;
		if (!f->key || !f->blocks || map_set(c->files, key, f) < 0) {
			map64_free(f->blocks);
			free(f->key);
			free(f);
			r = -ENOMEM;
		} else {
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

void cache_forget(struct cache_file *f)
{
	struct cache *c = f->cache;

	WITH_LOCK(&c->lock) {
		if (!f->forgotten) {
			f->forgotten = true;
			map_remove(c->files, f->key);
		}
		f->refs++;
		for (uint64_t i = 0; i * CACHE_BLOCK < f->size; i++) {
			struct block *b = map64_get(f->blocks, i + 1);

			if (!b)
				continue;
			c->used -= sub_bytes(b->present & ~b->claimed);
			b->present = 0;
			b->unsaved = 0;
			if (!b->pins)
				block_free_locked(b);
		}
		disk_forget(f);
		cache_file_unref_locked(f);
	}
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

		if (!b || (want & ~(b->present | b->claimed))) {
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

/* Have the disk bring what it has of [first, end) and memory lacks. */
static void load_range_locked(struct cache_file *f, uint64_t first, uint64_t end)
{
	struct cache *c = f->cache;

	if (f->disk != DISK_READY)
		return;
	for (uint64_t i = first / CACHE_BLOCK; i * CACHE_BLOCK < end; i++) {
		uint32_t bits = f->on_disk[i] & sub_mask(i, first, end);
		struct block *b;

		if (!bits)
			continue;
		b = block_get_locked(f, i, true);
		if (!b)
			return;
		bits &= ~(b->present | b->claimed);
		if (!bits)
			continue;
		if (!b->claimed)
			pin_locked(b);
		b->claimed |= bits;
		c->used += sub_bytes(bits);
		make_room_locked(c, 0);
		if (!disk_load(b, bits)) {
			b->claimed &= ~bits;
			c->used -= sub_bytes(bits);
			f->on_disk[i] &= ~bits;
			if (!b->claimed)
				unpin_locked(b);
		}
	}
}

static int pin_range_locked(struct cache_file *f, uint64_t first, uint64_t end, struct cache_hit *hit)
{
	memset(hit, 0, sizeof(*hit));
	for (uint64_t i = first / CACHE_BLOCK; i * CACHE_BLOCK < end; i++) {
		struct block *b = block_get_locked(f, i, true);
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
			load_range_locked(f, offset, offset + n);
			state = state_locked(f, offset, offset + n);
		}
		if (state == 1 && pin_range_locked(f, offset, offset + n, ret) == 0) {
			c->stats.hits++;
			answer = CACHE_HIT;
			break;
		}
		c->stats.misses++;
		answer = state == 0 ? CACHE_PARKED : CACHE_FETCH;
		if (!w)
			break;
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

		next = l->next;
		if (w->first >= end || w->first + w->count <= first)
			continue;
		if (!err && (state_locked(f, w->first, w->first + w->count) != 1 || !w->hit.n))
			continue;
		if (err && state_locked(f, w->first, w->first + w->count) == 1 && w->hit.n)
			continue;       /* its part came before the fetch failed */
		list_remove(l);
		if (err)
			put_locked(&w->hit);
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

int cache_claim(struct cache_file *f, uint64_t first, uint64_t count, bool demand, struct cache_fetch **ret,
                uint64_t *ret_first, uint64_t *ret_count)
{
	struct cache *c = f->cache;
	uint64_t end = first + count, at, stop;
	struct cache_fetch *x;

	if (end > f->size)
		end = f->size;
	x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	WITH_LOCK(&c->lock) {
		/* What the disk has is read ahead too. */
		load_range_locked(f, first, end);
		for (at = first / CACHE_SUB * CACHE_SUB; at < end; at += CACHE_SUB) {
			struct block *b = map64_get(f->blocks, at / CACHE_BLOCK + 1);
			uint32_t bit = 1u << (at % CACHE_BLOCK / CACHE_SUB);

			if (!b || !((b->present | b->claimed) & bit))
				break;
		}
		for (stop = at; stop < end; stop += CACHE_SUB) {
			struct block *b = map64_get(f->blocks, stop / CACHE_BLOCK + 1);
			uint32_t bit = 1u << (stop % CACHE_BLOCK / CACHE_SUB);

			if (b && ((b->present | b->claimed) & bit))
				break;
			make_room_locked(c, CACHE_SUB);
			if (!demand && c->used + CACHE_SUB > c->config.memory)
				break;
			b = block_get_locked(f, stop / CACHE_BLOCK, true);
			if (!b)
				break;
			if (!b->claimed)
				pin_locked(b);  /* one pin as long as anything in it is claimed */
			b->claimed |= bit;
			c->used += CACHE_SUB;
		}
		if (stop == at || at >= end)
			break;
		x->file = f;
		f->refs++;
		x->first = x->at = at;
		x->end = stop < f->size ? stop : f->size;
	}
	if (!x->file) {
		free(x);
		return 0;
	}
	*ret_first = x->first;
	*ret_count = x->end - x->first;
	*ret = x;
	return 1;
}

/* A block's new bytes go to the disk once, when its run is whole. */
static void save_locked(struct block *b)
{
	uint32_t bits = b->unsaved & b->present;

	b->unsaved = 0;
	if (!bits || !b->file->cache->disk || b->file->forgotten)
		return;
	pin_locked(b);
	if (!disk_save(b, bits))
		unpin_locked(b);        /* too much waits already: it is fetched again one day */
}

void table_looked(struct cache_file *f)
{
	struct cache *c = f->cache;
	struct list ripe;

	list_init(&ripe);
	WITH_LOCK(&c->lock) {
		f->disk = DISK_READY;
		/* Everybody asks anew: from disk, or by a fetch. */
		while (!list_empty(&f->waiters)) {
			struct list *l = f->waiters.next;

			list_remove(l);
			put_locked(&waiter_of(l)->hit);
			list_append(&ripe, l);
		}
	}
	tell(f, &ripe, -EAGAIN);
	WITH_LOCK(&c->lock)
		cache_file_unref_locked(f);
}

static void bits_range(const struct block *b, uint64_t *first, uint64_t *end)
{
	*first = b->index * CACHE_BLOCK;
	*end = *first + CACHE_BLOCK;
}

void table_loaded(struct block *b, uint32_t bits, uint32_t good)
{
	struct cache_file *f = b->file;
	struct cache *c = f->cache;
	struct list ripe, lost;
	uint64_t first, end;

	list_init(&ripe);
	list_init(&lost);
	bits_range(b, &first, &end);
	WITH_LOCK(&c->lock) {
		uint32_t bad = bits & ~good;

		f->refs++;
		b->claimed &= ~bits;
		b->present |= good;
		c->used -= sub_bytes(bad);
		f->on_disk[b->index] &= ~bad;
		ripe_locked(f, first, end, 0, &ripe);
		for (unsigned s = 0; s < SUBS; s++)
			if (bad & 1u << s)
				ripe_locked(f, first + (uint64_t)s * CACHE_SUB, first + (uint64_t)(s + 1) * CACHE_SUB, -EAGAIN, &lost);
		if (!b->claimed)
			unpin_locked(b);
	}
	tell(f, &ripe, 0);
	tell(f, &lost, -EAGAIN);
	WITH_LOCK(&c->lock)
		cache_file_unref_locked(f);
}

void table_saved(struct block *b, uint32_t bits, bool on_disk)
{
	struct cache_file *f = b->file;
	struct cache *c = f->cache;

	WITH_LOCK(&c->lock) {
		if (on_disk && f->on_disk && !f->forgotten)
			f->on_disk[b->index] |= bits;
		unpin_locked(b);
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
		struct block *b;
		uint64_t from = x->at;

		WITH_LOCK(&c->lock)
			b = map64_get(f->blocks, index + 1);
		memcpy(b->data + within, p, now);       /* ours: claimed and pinned */
		p += now;
		n -= now;
		x->at += now;
		WITH_LOCK(&c->lock) {
			uint64_t done = x->at == x->end ? x->at : x->at / CACHE_SUB * CACHE_SUB;
			uint64_t begin = from / CACHE_SUB * CACHE_SUB;

			if (done > begin) {
				uint32_t bits = sub_mask(index, begin, done) & b->claimed;

				b->present |= bits;
				b->claimed &= ~bits;
				b->unsaved |= bits;
				ripe_locked(f, begin, done, 0, &ripe);
				if (x->at == x->end || x->at % CACHE_BLOCK == 0)
					save_locked(b);
				if (bits && !b->claimed)
					unpin_locked(b);
			}
		}
	}
	tell(f, &ripe, 0);
	return 0;
}

void cache_fetched(struct cache_fetch *x, int err)
{
	struct cache_file *f = x->file;
	struct cache *c = f->cache;
	struct list ripe;
	uint64_t from = x->at / CACHE_SUB * CACHE_SUB;

	list_init(&ripe);
	if (!err && x->at < x->end)
		err = -EAGAIN;
	WITH_LOCK(&c->lock) {
		for (uint64_t i = from / CACHE_BLOCK; x->at < x->end && i * CACHE_BLOCK < x->end; i++) {
			struct block *b = map64_get(f->blocks, i + 1);
			uint32_t bits = sub_mask(i, from, x->end) & b->claimed;

			b->claimed &= ~bits;
			c->used -= sub_bytes(bits);
			(void)madvise(b->data, CACHE_BLOCK, b->present ? MADV_NORMAL : MADV_DONTNEED);
			if (bits && !b->claimed)
				unpin_locked(b);
		}
		if (x->at < x->end)
			ripe_locked(f, from, x->end, err, &ripe);
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

			wanted = w->first < x->end && w->first + w->count > x->at;
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

		while (map64_next(f->blocks, &it, &key, &value))
			have += sub_bytes(((struct block *)value)->present & ~(f->on_disk ? f->on_disk[((struct block *)value)->index] : 0));
		for (uint64_t i = 0; f->on_disk && i * CACHE_BLOCK < f->size; i++)
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
