/* evict.c - decider: who leaves the disk first. Pure.
 *
 * A scan through a large file must not push out what is used again and again: a block that was read again since it was
 * written is kept longer than any that was not, for a week after its last use.
 */
#include <stdlib.h>

#include "cache/private.h"

#define KEPT_S (7 * 24 * 3600)
#define CLOCK_SLACK_S 3600              /* machines that share a folder may differ so much */

static uint64_t used_of(const struct evict_block *b, uint64_t now)
{
	return b->used > now + CLOCK_SLACK_S ? 0 : b->used;
}

static int compare(const void *pa, const void *pb, void *arg)
{
	const struct evict_block *a = pa, *b = pb;
	uint64_t now = *(const uint64_t *)arg, ua = used_of(a, now), ub = used_of(b, now);
	bool again_a = a->hits && ua + KEPT_S > now, again_b = b->hits && ub + KEPT_S > now;

	if (again_a != again_b)
		return again_a ? 1 : -1;
	if (ua != ub)
		return ua < ub ? -1 : 1;
	if (a->file != b->file)
		return a->file < b->file ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

void evict_order(struct evict_block *b, size_t n, uint64_t now)
{
	if (n)
		qsort_r(b, n, sizeof(*b), compare, &now);
}
