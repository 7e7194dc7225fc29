/* siblings.c - small files that are read one after the other are fetched some ahead.
 *
 * cp -r, rsync, tar and md5sum * read a directory's files in turn: each small one costs a round trip or two, and nothing
 * within a file tells of the next. So opens are watched: in the order of the listing (rsync, tar, the shell) and in that of
 * the inode numbers (cp -r sorts by them). Once a few went up in one of the two orders, the next small files in it are
 * fetched into the cache, more as they are used, none any more when they are not.
 *
 * siblings_opened() notes an open and hands the files that are worth it to the askers; siblings_watch() is the decider.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/private.h"

#define RUN 3                   /* opens upwards in a row before anything is fetched ahead */
#define WINDOW_FIRST 4
#define WINDOW_MAX 16           /* files ahead of the reader */
#define MISSES_MAX 3            /* opens in a row of what was not fetched, until the window closes */

unsigned siblings_watch(struct siblings *s, size_t at, uint64_t ino, bool was_ahead)
{
	s->up_listing = at > s->last_at ? s->up_listing + 1 : 0;
	s->up_ino = ino > s->last_ino ? s->up_ino + 1 : 0;
	s->last_at = at;
	s->last_ino = ino;
	if (s->window) {
		s->misses = was_ahead ? 0 : s->misses + 1;
		if (was_ahead && s->window < WINDOW_MAX)
			s->window *= 2;
		if (s->misses < MISSES_MAX && (s->by_ino ? s->up_ino : s->up_listing))
			return s->window;
		s->window = s->misses = 0;
		return 0;
	}
	if (s->up_listing < RUN && s->up_ino < RUN)
		return 0;
	s->by_ino = s->up_ino > s->up_listing;
	s->window = WINDOW_FIRST;
	return s->window;
}

static int by_ino(const void *a, const void *b)
{
	const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* The directory's children by inode number: made once a listing, when somebody reads them so. */
static bool sort_locked(struct dir *d)
{
	if (d->sorted.n == d->order.n && d->sorted_serial == d->serial)
		return true;
	d->sorted.n = 0;
	for (size_t i = 0; i < d->order.n; i++)
		if (vec_push(&d->sorted, d->order.at[i]) < 0)
			return false;
	qsort(d->sorted.at, d->sorted.n, sizeof(*d->sorted.at), by_ino);
	d->sorted_serial = d->serial;
	return true;
}

static size_t place_by_ino(const struct dir *d, uint64_t ino)
{
	size_t low = 0, high = d->sorted.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (d->sorted.at[mid]->ino < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* A small file that may be read, or what may turn out to be one. */
static bool is_small_locked(const struct fs *fs, const struct node *n)
{
	const struct object *o = &n->object;

	return !n->control && (o->kind == OBJECT_FILE || o->kind == OBJECT_UNKNOWN) && o->size &&
	       o->size <= fs->session->policy.whole_below && (o->rights & (RIGHT_READ | RIGHT_PUBLIC));
}

static void fetch_run(void *arg)
{
	struct node *n = arg;
	struct fs *fs = n->fs;
	struct handle *h = NULL;

	/* What open() would ask, open() finds asked. */
	if (node_refresh_now(fs, n, fs->attr_ttl_ms) == 0 && file_handle(fs, n, &h) == 0) {
		read_whole(h, fs);
		handle_unref(h);        /* its fetches hold it until they have ended */
	}
	atomic_fetch_sub(&fs->siblings, 1);
	node_unref(n);
}

/* Where it stands in its directory's listing, or order.n. */
static size_t place_locked(struct node *n, struct dir *d)
{
	if (n->place < d->order.n && d->order.at[n->place] == n)
		return n->place;
	for (size_t i = 0; i < d->order.n; i++)
		d->order.at[i]->place = i;
	return n->place < d->order.n && d->order.at[n->place] == n ? n->place : d->order.n;
}

void siblings_opened(struct fs *fs, struct node *n)
{
	struct node *next[WINDOW_MAX];
	unsigned found = 0;
	uint64_t share = read_share(fs), bytes = 0;

	WITH_LOCK(&fs->lock) {
		struct dir *d = n->parent ? n->parent->dir : NULL;
		bool was_ahead = n->fetched_ahead;
		struct node **order;
		unsigned window;
		size_t at;

		n->fetched_ahead = false;
		if (!d || !d->listed || n->replaced || !is_small_locked(fs, n) || (at = place_locked(n, d)) == d->order.n)
			break;
		window = siblings_watch(&d->siblings, at, n->ino, was_ahead);
		if (!window || (d->siblings.by_ino && !sort_locked(d)))
			break;
		order = d->siblings.by_ino ? d->sorted.at : d->order.at;
		at = d->siblings.by_ino ? place_by_ino(d, n->ino) : at;
		/* The next `window` small files: those of them that nobody has opened or fetched. */
		for (size_t i = at + 1; i < d->order.n && window; i++) {
			struct node *c = order[i];

			if (!is_small_locked(fs, c))
				continue;
			window--;
			bytes += c->object.size;
			if (bytes > share || atomic_load(&fs->siblings) + found >= WINDOW_MAX)
				break;
			if (c->fetched_ahead || c->opens || c->replaced)
				continue;
			c->fetched_ahead = true;
			next[found++] = node_ref_locked(c);
		}
	}
	for (unsigned i = 0; i < found; i++) {
		atomic_fetch_add(&fs->siblings, 1);
		if (pool_add(fs->askers, fetch_run, next[i]) == 0)
			continue;
		atomic_fetch_sub(&fs->siblings, 1);
		node_unref(next[i]);
	}
}
