/* prefetch.c - decider: how far to read ahead of a handle. Pure: numbers in, a range out.
 *
 * Up to four readers of one handle are told apart by where they are expected next. One that goes on where it was expected
 * has a window in front of it: 1 MiB at first, doubled when it had to wait for the network all the same, refilled when half
 * of it is used, never more than four times what it has read. A read that no cursor expected is a random one until others
 * follow it: it gets the smallest worthwhile fetch. The kernel's own readahead comes in pieces slightly out of order, so
 * "expected" is a neighbourhood.
 */
#include <string.h>

#include "base/policy.h"
#include "cache/cache.h"

#define WINDOW_FIRST (1u << 20)
#define STEADY 8                        /* expected reads in a row that make a reader steady */
#define NEAR (1u << 20)                 /* a reader may look back so far, or skip so much, and stay the same reader */
#define READ_TIMES 4                    /* a window is at most so many times what was read */
#define RANDOM_FEW 4                    /* random reads in a row whose neighbours are fetched too */
#define ACTIVE 64                       /* a cursor that was not used in so many reads has no share */

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* The nearest of those that may be the one that reads here. */
static struct cache_cursor *find(struct cache_cursors *c, uint64_t offset)
{
	struct cache_cursor *found = NULL;
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < CACHE_CURSORS; i++) {
		struct cache_cursor *k = &c->at[i];
		uint64_t far = offset > k->next ? offset - k->next : k->next - offset;

		if (k->used && far < best && offset + NEAR >= least(k->begin, k->next) && offset <= most(k->next, k->ahead) + NEAR) {
			found = k;
			best = far;
		}
	}
	return found;
}

static struct cache_cursor *oldest(struct cache_cursors *c)
{
	struct cache_cursor *k = &c->at[0];

	for (int i = 1; i < CACHE_CURSORS; i++)
		if (c->at[i].used < k->used)
			k = &c->at[i];
	return k;
}

/* Readers of one handle have its share together. */
static uint64_t part_of(const struct cache_cursors *c, uint64_t share)
{
	unsigned n = 0;

	for (int i = 0; i < CACHE_CURSORS; i++)
		n += c->at[i].used && c->at[i].window && c->at[i].used + ACTIVE > c->tick;
	return most(n > 1 ? share / n : share, CACHE_SUB);
}

struct wanted {
	uint64_t first, end;
};

/* At least `piece` bytes, counted from the sub-block in which the read begins. */
static struct wanted a_piece(struct cache_cursor *k, uint64_t offset, uint64_t end, uint64_t piece, uint64_t size)
{
	uint64_t to = most(end, least(offset / CACHE_SUB * CACHE_SUB + piece, size));

	k->ahead = most(k->ahead, to);
	return (struct wanted){offset, to};
}

/* A reader that goes backward: what lies before it, a little more with each step. */
static struct wanted before(struct cache_cursor *k, const struct policy *p, uint64_t offset, uint64_t end)
{
	uint64_t piece = most(p->fetch_min, CACHE_SUB) << least(k->hits, 4);
	uint64_t from = least(offset, end > least(piece, WINDOW_FIRST) ? end - least(piece, WINDOW_FIRST) : 0);

	k->hits++;
	k->begin = from;
	k->next = offset;
	k->window = k->read = 0;
	return (struct wanted){from, end};
}

static struct wanted begin(struct cache_cursors *c, const struct policy *p, uint64_t size, uint64_t offset, uint64_t end,
                           uint64_t share)
{
	struct cache_cursor *k = oldest(c);

	*k = (struct cache_cursor){.begin = offset, .next = end, .read = end - offset, .used = c->tick};
	if (offset == 0) {
		/* From the beginning: most likely the first of many. */
		c->random = 0;
		k->window = least(WINDOW_FIRST, share);
		k->ahead = least(most(end, k->window), size);
		return (struct wanted){0, k->ahead};
	}
	c->random++;
	return a_piece(k, offset, end, c->random > RANDOM_FEW ? 0 : p->fetch_min, size);
}

static void widen(struct cache_cursor *k, const struct policy *p, bool stalled, uint64_t part)
{
	uint64_t most_now = least(most(WINDOW_FIRST, READ_TIMES * k->read), part);

	if (!k->window)
		k->window = WINDOW_FIRST;
	else if (stalled)
		k->window *= 2;
	/* A request costs a server more than its bytes: a steady reader gets long ones. */
	if (k->hits >= STEADY)
		k->window = most(k->window, p->fetch_long ? p->fetch_long : part);
	if (p->range_dear)
		k->window = most_now = part;
	k->window = least(k->window, most_now);
}

static struct wanted go_on(struct cache_cursors *c, struct cache_cursor *k, const struct policy *p, uint64_t size,
                           uint64_t offset, uint64_t end, bool stalled, uint64_t share)
{
	uint64_t part, from, to;

	k->used = c->tick;
	c->random = 0;
	if (stalled && offset < k->begin && offset)
		return before(k, p, offset, end);
	if (offset > k->next + NEAR) {
		k->hits = 0;            /* it reads here and there of what was fetched */
		k->window = k->read = 0;
	}
	k->hits++;
	k->read += end - offset;
	k->begin = least(k->begin, offset);
	k->next = most(k->next, end);
	if (k->hits < 2 && !k->window && !p->range_dear)
		return stalled ? a_piece(k, offset, end, p->fetch_min, size) : (struct wanted){0};
	part = part_of(c, share);
	widen(k, p, stalled, part);
	if (stalled) {
		/* It waits: what it wants, and the window behind that. */
		to = least(most(end, k->next + k->window), size);
		k->ahead = most(k->ahead, to);
		return (struct wanted){offset, to};
	}
	if (k->ahead >= size || k->ahead >= k->next + k->window / 2)
		return (struct wanted){0};
	from = most(k->ahead, k->next);
	to = most(k->next + k->window, from + least(k->window, p->fetch_long ? p->fetch_long : size));
	to = least(least(to, k->next + part), size);
	if (to <= from)
		return (struct wanted){0};
	k->ahead = most(k->ahead, to);
	return (struct wanted){from, to};
}

void cache_prefetch(struct cache_cursors *c, const struct policy *p, uint64_t size, uint64_t offset, uint64_t n, bool stalled,
                    uint64_t share, uint64_t *ret_first, uint64_t *ret_count)
{
	struct cache_cursor *k = find(c, offset);
	uint64_t end = offset + n;
	struct wanted w = {0};

	c->tick++;
	if (size <= p->whole_below || (p->range_dear && size <= share))
		w = stalled ? (struct wanted){0, size} : w;
	else if (k)
		w = go_on(c, k, p, size, offset, end, stalled, share);
	else if (p->range_dear) {
		k = oldest(c);
		*k = (struct cache_cursor){.begin = offset, .next = end, .read = n, .used = c->tick, .window = share};
		k->ahead = least(most(end, offset + part_of(c, share)), size);
		w = stalled ? (struct wanted){offset, k->ahead} : w;
	} else {
		w = begin(c, p, size, offset, end, share);
		if (!stalled)
			w = (struct wanted){0};
	}
	if (w.end && p->fetch_align) {
		/* What a part costs here is mostly the request: all of its piece is had with it. Who goes on has had what is before, and
		 * gets no more behind than there is room for until it is read. */
		uint64_t to = least((w.end + p->fetch_align - 1) / p->fetch_align * p->fetch_align, size);

		w.first -= k ? 0 : w.first % p->fetch_align;
		w.end = k ? most(w.end, least(to, w.first + part_of(c, share))) : to;
		if (k)
			k->ahead = most(k->ahead, w.end);
	}
	*ret_first = w.end ? w.first : offset;
	*ret_count = w.end - w.first;
}
