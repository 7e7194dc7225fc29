/* extents.c - which parts of a draft are missing: sorted, apart from each other. Pure. */
#include <string.h>

#include "spool/private.h"

int extents_add(struct extents *e, uint64_t first, uint64_t end)
{
	return first < end ? vec_push(&e->list, (struct extent){first, end}) : 0;
}

/* The first one that ends behind `at`. */
static size_t find(const struct extents *e, uint64_t at)
{
	size_t low = 0, high = e->list.n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (e->list.at[middle].end > at)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

int extents_remove(struct extents *e, uint64_t first, uint64_t end)
{
	size_t i = find(e, first), k;
	struct extent *at = e->list.at;

	if (first >= end || i == e->list.n || at[i].first >= end)
		return 0;
	if (at[i].first < first && at[i].end > end) {
		if (e->list.n >= EXTENTS_MAX)
			return -EFBIG;
		if (vec_push(&e->list, (struct extent){0, 0}) < 0)
			return -ENOMEM;
		at = e->list.at;
		memmove(&at[i + 1], &at[i], (e->list.n - 1 - i) * sizeof(*at));
		at[i].end = first;
		at[i + 1].first = end;
		return 0;
	}
	if (at[i].first < first)
		at[i++].end = first;
	for (k = i; k < e->list.n && at[k].end <= end; k++)
		;
	if (k < e->list.n && at[k].first < end)
		at[k].first = end;
	if (k > i) {
		memmove(&at[i], &at[k], (e->list.n - k) * sizeof(*at));
		e->list.n -= k - i;
	}
	return 0;
}

bool extents_first(const struct extents *e, uint64_t first, uint64_t end, struct extent *ret)
{
	size_t i = find(e, first);

	if (first >= end || i == e->list.n || e->list.at[i].first >= end)
		return false;
	ret->first = e->list.at[i].first > first ? e->list.at[i].first : first;
	ret->end = e->list.at[i].end < end ? e->list.at[i].end : end;
	return true;
}

void extents_done(struct extents *e)
{
	vec_done(&e->list);
}
