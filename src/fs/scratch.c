/* scratch.c - what editors put beside a document: backups, swap files, the new text that is renamed over the old one.
 *
 * They live in memory and for this mount only, a bounded number of them, each of a bounded size; the server never sees one. A
 * scratch file is found by the directory's inode number and its name; removed ones live on while somebody holds a reference.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

struct scratches {
	pthread_mutex_t lock;           /* taken after fs->lock; guards everything in here */
	struct list named;
	unsigned count;                 /* of all that live */
	uint64_t editions;              /* given out */
	bool forgets;                   /* what is removed is empty for who holds it still, and counts no more */
};

struct scratch {
	struct scratches *of;
	struct list link;               /* in `named`; empty: it was removed */
	unsigned refs;                  /* the list's own is one */
	uint64_t dir;
	char *name;
	struct buf text;
	struct timespec mtime;
	uint64_t edition;               /* of the text that scratch_set() gave it; 0: none yet, or none any more */
	bool forgotten;
};

int scratches_new(struct scratches **ret)
{
	struct scratches *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->named);
	*ret = s;
	return 0;
}

int scratches_new_forgetting(struct scratches **ret)
{
	int r = scratches_new(ret);

	if (r == 0)
		(*ret)->forgets = true;
	return r;
}

static void unref_locked(struct scratch *x)
{
	if (--x->refs)
		return;
	if (!x->forgotten)
		x->of->count--;
	buf_done(&x->text);
	free(x->name);
	free(x);
}

static void leave_locked(struct scratch *x)
{
	list_remove(&x->link);
	if (x->of->forgets) {
		buf_done(&x->text);
		x->edition = 0;
		x->forgotten = true;
		x->of->count--;
	}
	unref_locked(x);
}

void scratches_free(struct scratches *s)
{
	if (!s)
		return;
	while (!list_empty(&s->named))
		leave_locked(list_first(&s->named, struct scratch, link));
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static struct scratch *find_locked(struct scratches *s, uint64_t dir, const char *name)
{
	struct scratch *x;

	list_for_each_safe(x, &s->named, struct scratch, link)
		if (x->dir == dir && strcmp(x->name, name) == 0)
			return x;
	return NULL;
}

/* The oldest refused text makes way for what is being written now. */
static void make_way_locked(struct scratches *s)
{
	struct scratch *x;

	list_for_each_safe(x, &s->named, struct scratch, link)
		if (x->refs == 1 && str_ends(x->name, SCRATCH_REFUSED)) {
			leave_locked(x);
			return;
		}
}

static int make_locked(struct scratches *s, uint64_t dir, const char *name, struct scratch **ret)
{
	struct scratch *x;

	if (s->count >= SCRATCH_COUNT)
		make_way_locked(s);
	if (s->count >= SCRATCH_COUNT)
		return -ENOSPC;
	x = calloc(1, sizeof(*x));
	if (!x || !(x->name = strdup(name))) {
		free(x);
		return -ENOMEM;
	}
	x->of = s;
	x->refs = 1;
	x->dir = dir;
	x->mtime = clock_wall();
	buf_init(&x->text, SCRATCH_MAX);
	list_append(&s->named, &x->link);
	s->count++;
	*ret = x;
	return 0;
}

struct scratch *scratch_find(struct scratches *s, uint64_t dir, const char *name)
{
	struct scratch *x;

	WITH_LOCK(&s->lock) {
		x = find_locked(s, dir, name);
		if (x)
			x->refs++;
	}
	return x;
}

int scratch_make(struct scratches *s, uint64_t dir, const char *name, struct scratch **ret)
{
	int r = 0;

	WITH_LOCK(&s->lock) {
		struct scratch *x = find_locked(s, dir, name);

		if (!x)
			r = make_locked(s, dir, name, &x);
		if (r == 0) {
			x->refs++;
			*ret = x;
		}
	}
	return r;
}

int scratch_put(struct scratches *s, uint64_t dir, const char *name, const void *p, size_t n)
{
	int r = 0;

	if (n > SCRATCH_MAX)
		return -EFBIG;
	WITH_LOCK(&s->lock) {
		struct scratch *was = find_locked(s, dir, name), *x = NULL;

		if (was)
			leave_locked(was);
		r = make_locked(s, dir, name, &x);
		if (r == 0)
			r = buf_add(&x->text, p, n);
		if (r < 0 && x)
			leave_locked(x);
	}
	return r;
}

int scratch_remove(struct scratches *s, uint64_t dir, const char *name)
{
	int r = -ENOENT;

	WITH_LOCK(&s->lock) {
		struct scratch *x = find_locked(s, dir, name);

		if (x) {
			leave_locked(x);
			r = 0;
		}
	}
	return r;
}

int scratch_rename(struct scratches *s, uint64_t dir, const char *name, uint64_t to, const char *new_name)
{
	char *copy = strdup(new_name);
	int r = copy ? -ENOENT : -ENOMEM;

	WITH_LOCK(&s->lock) {
		struct scratch *x = copy ? find_locked(s, dir, name) : NULL, *over = x ? find_locked(s, to, new_name) : NULL;

		if (!x)
			break;
		r = 0;
		if (over == x)
			break;
		if (over)
			leave_locked(over);
		free(x->name);
		x->name = TAKE(copy);
		x->dir = to;
	}
	free(copy);
	return r;
}

size_t scratch_names(struct scratches *s, uint64_t dir, char *ret[SCRATCH_COUNT])
{
	size_t n = 0;

	WITH_LOCK(&s->lock) {
		struct scratch *x;

		list_for_each_safe(x, &s->named, struct scratch, link)
			if (x->dir == dir && n < SCRATCH_COUNT && (ret[n] = strdup(x->name)))
				n++;
	}
	return n;
}

struct scratch *scratch_ref(struct scratch *x)
{
	WITH_LOCK(&x->of->lock)
		x->refs++;
	return x;
}

void scratch_unref(struct scratch *x)
{
	if (!x)
		return;
	WITH_LOCK(&x->of->lock)
		unref_locked(x);
}

int scratch_read(struct scratch *x, uint64_t at, size_t n, struct buf *ret)
{
	int r = 0;

	WITH_LOCK(&x->of->lock)
		if (at < x->text.len)
			r = buf_add(ret, x->text.data + at, n < x->text.len - at ? n : x->text.len - (size_t)at);
	return r;
}

int scratch_set(struct scratch *x, const void *p, size_t n)
{
	struct buf text = BUF_MAX(SCRATCH_MAX);
	int r = n > SCRATCH_MAX ? -EFBIG : buf_add(&text, p, n);

	if (r < 0) {
		buf_done(&text);
		return r;
	}
	WITH_LOCK(&x->of->lock) {
		struct buf was = x->text;

		if (x->forgotten)
			break;
		x->text = text;
		text = was;
		x->mtime = clock_wall();
		x->edition = ++x->of->editions;
	}
	buf_done(&text);
	return 0;
}

int scratch_get(struct scratch *x, struct buf *ret, uint64_t *ret_edition)
{
	int r;

	WITH_LOCK(&x->of->lock) {
		r = buf_add(ret, buf_str(&x->text), x->text.len);
		*ret_edition = x->edition;
	}
	return r;
}

uint64_t scratch_edition(struct scratch *x)
{
	uint64_t edition;

	WITH_LOCK(&x->of->lock)
		edition = x->edition;
	return edition;
}

static int efbig(int r)
{
	return r == -EMSGSIZE ? -EFBIG : r;
}

int scratch_write(struct scratch *x, const void *p, size_t n, uint64_t at)
{
	int r = at > SCRATCH_MAX && at != UINT64_MAX ? -EFBIG : 0;

	WITH_LOCK(&x->of->lock) {
		if (r == 0)
			r = efbig(buf_write(&x->text, at == UINT64_MAX ? x->text.len : (size_t)at, p, n));
		x->mtime = clock_wall();
	}
	return r < 0 ? r : (int)n;
}

int scratch_truncate(struct scratch *x, uint64_t size)
{
	int r = size > SCRATCH_MAX ? -EFBIG : 0;

	WITH_LOCK(&x->of->lock) {
		if (r == 0)
			r = efbig(buf_resize(&x->text, (size_t)size));
		x->mtime = clock_wall();
	}
	return r;
}

size_t scratch_size(struct scratch *x, struct timespec *ret_mtime)
{
	size_t n;

	WITH_LOCK(&x->of->lock) {
		n = x->text.len;
		*ret_mtime = x->mtime;
	}
	return n;
}
