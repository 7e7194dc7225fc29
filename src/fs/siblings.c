/* siblings.c - small files that are read one after the other are fetched some ahead.
 *
 * cp -r, rsync, tar and md5sum * read a directory's files in turn: each small one costs a round trip or two, and nothing
 * within a file tells of the next. So opens are watched: in the order of the listing (rsync, tar, the shell) and in that of
 * the inode numbers (cp -r sorts by them). Once a few went up in one of the two orders, the next small files in it are
 * fetched into the cache, more as they are used, none any more when they are not.
 *
 * A backend that can bring several by one request (read_many, policy.batch_files) is asked for many more, half a window at a time and
 * that by two requests: a reader of files that lie in memory is quicker than the server is with one.
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

unsigned siblings_watch(struct siblings *s, size_t at, uint64_t ino, bool was_ahead, unsigned most)
{
	if (!most)
		most = WINDOW_MAX;
	s->up_listing = at > s->last_at ? s->up_listing + 1 : 0;
	s->up_ino = ino > s->last_ino ? s->up_ino + 1 : 0;
	s->last_at = at;
	s->last_ino = ino;
	if (s->window) {
		s->misses = was_ahead ? 0 : s->misses + 1;
		if (was_ahead && s->window < most)
			s->window = s->window * 2 < most ? s->window * 2 : most;
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

struct together {
	struct fs *fs;
	size_t n;
	struct node *nodes[];           /* references */
};

static void together_run(void *arg)
{
	struct together *t = arg;

	if (read_many(t->fs, t->nodes, t->n) == -ENOTSUP)
		atomic_store(&t->fs->no_many, true);
	atomic_fetch_sub(&t->fs->siblings, (unsigned)t->n);
	for (size_t i = 0; i < t->n; i++)
		node_unref(t->nodes[i]);
	free(t);
}

/* How many small files one request can bring here; 0: one. */
static unsigned batch_of(struct fs *fs)
{
	return fs->session->backend->read_many && !atomic_load(&fs->no_many) ? fs->session->policy.batch_files : 0;
}

struct chosen {
	VEC(struct node *) list;
};

/* The small files behind `at` that are worth fetching now. */
static void choose_locked(struct fs *fs, struct dir *d, struct node **order, size_t at, unsigned window, unsigned batch, struct chosen *ret)
{
	unsigned most = batch ? 2 * batch : WINDOW_MAX, ahead = 0;
	uint64_t room = read_share(fs), bytes = 0;

	if (batch && fs->session->policy.batch_bytes < room)
		room = fs->session->policy.batch_bytes;
	for (size_t i = at + 1; i < d->order.n && window; i++) {
		struct node *c = order[i];

		if (!is_small_locked(fs, c))
			continue;
		window--;
		/* Those on their way have had their room, where they came together. */
		if (!batch || !c->fetched_ahead)
			bytes += c->object.size;
		if (bytes > room && batch && !ret->list.n && !ahead)
			window = 0;             /* too large to come with others: then by itself */
		else if (bytes > room || atomic_load(&fs->siblings) + ret->list.n >= most)
			break;
		ahead += c->fetched_ahead;
		if (c->fetched_ahead || c->opens || c->replaced || c->object.size > read_share(fs))
			continue;
		if (vec_push(&ret->list, c) < 0)
			break;
	}
	/* A request for each file that is used up would be one for each file. */
	if (batch && ahead > ret->list.n)
		ret->list.n = 0;
	for (size_t i = 0; i < ret->list.n; i++) {
		ret->list.at[i]->fetched_ahead = true;
		node_ref_locked(ret->list.at[i]);
	}
}

/* By one request. The references are taken over by true. */
static bool fetch_together(struct fs *fs, struct node *const nodes[], size_t n)
{
	struct together *t = malloc(sizeof(*t) + n * sizeof(t->nodes[0]));

	if (!t)
		return false;
	*t = (struct together){fs, n};
	memcpy(t->nodes, nodes, n * sizeof(t->nodes[0]));
	atomic_fetch_add(&fs->siblings, (unsigned)n);
	if (pool_add(fs->askers, together_run, t) == 0)
		return true;
	atomic_fetch_sub(&fs->siblings, (unsigned)n);
	free(t);
	return false;
}

static void fetch_alone(struct fs *fs, struct node *n)
{
	atomic_fetch_add(&fs->siblings, 1);
	if (pool_add(fs->askers, fetch_run, n) == 0)
		return;
	atomic_fetch_sub(&fs->siblings, 1);
	node_unref(n);
}

void siblings_opened(struct fs *fs, struct node *n)
{
	unsigned batch = batch_of(fs);
	struct chosen next = {0};

	WITH_LOCK(&fs->lock) {
		struct dir *d = n->parent ? n->parent->dir : NULL;
		bool was_ahead = n->fetched_ahead;
		unsigned window;
		size_t at;

		n->fetched_ahead = false;
		if (!d || !d->listed || n->replaced || !is_small_locked(fs, n) || (at = place_locked(n, d)) == d->order.n)
			break;
		window = siblings_watch(&d->siblings, at, n->ino, was_ahead, 2 * batch);
		if (!window || (d->siblings.by_ino && !sort_locked(d)))
			break;
		at = d->siblings.by_ino ? place_by_ino(d, n->ino) : at;
		choose_locked(fs, d, d->siblings.by_ino ? d->sorted.at : d->order.at, at, window, batch, &next);
	}
	for (size_t i = 0, part; i < next.list.n; i += part) {
		part = next.list.n > batch / 2 ? (next.list.n + 1) / 2 : next.list.n;
		if (part > next.list.n - i)
			part = next.list.n - i;
		if (batch && part > 1 && fetch_together(fs, next.list.at + i, part))
			continue;
		part = 1;
		fetch_alone(fs, next.list.at[i]);
	}
	vec_done(&next.list);
}
