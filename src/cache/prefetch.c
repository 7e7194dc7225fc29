/* prefetch.c - decider: how far to read ahead of a handle. Pure: numbers in, a range out.
 *
 * Up to four readers of one handle are told apart by where they are expected next. One that goes on where it was expected
 * has a window in front of it: 1 MiB at first, doubled when it had to wait for the network all the same, refilled when half
 * of it is used. A read that no cursor expected is a random one until a second follows it: it gets the smallest worthwhile
 * fetch. The kernel's own readahead comes in pieces slightly out of order, so "expected" is a neighbourhood.
 */
#include <string.h>

#include "base/policy.h"
#include "cache/cache.h"

#define WINDOW_FIRST (1u << 20)
#define STEADY 8                        /* expected reads in a row that make a reader steady */
#define NEAR_BEHIND (1u << 20)          /* a reader may look back so far and stay the same reader */
#define NEAR_AHEAD (1u << 20)           /* or skip so much, at least */

static struct cache_cursor *find(struct cache_cursors *c, uint64_t offset)
{
	for (int i = 0; i < CACHE_CURSORS; i++) {
		struct cache_cursor *k = &c->at[i];
		uint64_t ahead = k->window > NEAR_AHEAD ? k->window : NEAR_AHEAD;

		if (k->used && offset + NEAR_BEHIND >= k->next && offset <= k->next + ahead)
			return k;
	}
	return NULL;
}

static struct cache_cursor *oldest(struct cache_cursors *c)
{
	struct cache_cursor *k = &c->at[0];

	for (int i = 1; i < CACHE_CURSORS; i++)
		if (c->at[i].used < k->used)
			k = &c->at[i];
	return k;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void cache_prefetch(struct cache_cursors *c, const struct policy *p, uint64_t size, uint64_t offset, uint64_t n, bool stalled,
                    uint64_t share, uint64_t *ret_first, uint64_t *ret_count)
{
	struct cache_cursor *k = find(c, offset);
	uint64_t end = offset + n, from, to;

	*ret_first = offset;
	*ret_count = 0;
	c->tick++;
	if (size <= p->whole_below) {
		*ret_first = 0;
		*ret_count = stalled ? size : 0;
		return;
	}
	if (!k) {
		k = oldest(c);
		*k = (struct cache_cursor){.next = end, .used = c->tick};
		c->random++;
		if (offset == 0) {
			/* From the beginning: most likely the first of many. */
			k->window = least(WINDOW_FIRST, share);
			k->ahead = least(most(end, k->window), size);
			c->random = 0;
			*ret_count = stalled ? k->ahead : 0;
			return;
		}
		/* Pairs of random reads that meet are worth a longer piece, readers that never come back are not. */
		to = most(end, least(offset + (c->random > 16 ? p->fetch_min / 2 : p->fetch_min), size));
		k->ahead = to;
		*ret_count = stalled ? to - offset : 0;
		return;
	}
	k->used = c->tick;
	k->hits++;
	c->random = 0;
	k->next = most(k->next, end);
	if (k->hits < 2 && !k->window) {
		to = most(end, least(offset + p->fetch_min, size));
		k->ahead = most(k->ahead, to);
		*ret_count = stalled ? to - offset : 0;
		return;
	}
	if (!k->window)
		k->window = least(WINDOW_FIRST, share);
	else if (stalled)
		k->window = least(k->window * 2, most(share, WINDOW_FIRST));
	/* A request costs a server more than its bytes: a steady reader gets long ones. */
	if (k->hits >= STEADY && p->fetch_long > k->window)
		k->window = most(k->window, least(p->fetch_long, share));
	if (stalled && (offset < k->ahead || end > k->ahead) && offset + n <= size) {
		/* It waits: what it wants, and the window behind that. */
		from = offset;
		to = least(most(end, k->next + k->window), size);
		k->ahead = most(k->ahead, to);
		*ret_first = from;
		*ret_count = to - from;
		return;
	}
	if (k->ahead < size && k->ahead < k->next + k->window / 2) {
		from = most(k->ahead, k->next);
		to = least(most(k->next + k->window, from + least(k->window, p->fetch_long ? p->fetch_long : size)), size);
		to = least(to, from + share);
		k->ahead = to;
		*ret_first = from;
		*ret_count = to - from;
	}
}
