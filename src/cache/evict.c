/* evict.c - decider: who leaves the disk first. Pure.
 *
 * A scan through a large file must not push out what is used again and again: a block that was read again since it was
 * written is kept longer than any that was not, for a week after its last use.
 */
#include <stdlib.h>

#include "cache/private.h"

#define KEPT_S (7 * 24 * 3600)

struct ranked {
	struct evict_block b;
	bool used_again;
};

static int compare(const void *pa, const void *pb)
{
	const struct ranked *a = pa, *b = pb;

	if (a->used_again != b->used_again)
		return a->used_again ? 1 : -1;
	if (a->b.used != b->b.used)
		return a->b.used < b->b.used ? -1 : 1;
	return a->b.index < b->b.index ? -1 : a->b.index > b->b.index;
}

void evict_order(struct evict_block *b, size_t n, uint64_t now)
{
	struct ranked *r = calloc(n ? n : 1, sizeof(*r));

	if (!r)
		return;         /* then in the order in which they were found */
	for (size_t i = 0; i < n; i++)
		r[i] = (struct ranked){b[i], b[i].hits && b[i].used + KEPT_S > now};
	qsort(r, n, sizeof(*r), compare);
	for (size_t i = 0; i < n; i++)
		b[i] = r[i].b;
	free(r);
}
