/* draft.c - the life of a draft: made, committed, due, retargeted, dropped. The bytes are content.c's, sending them uploader.c's.
 *
 * Committing makes what was written safe, in this order: the content (a small one goes into the side file and into the journal with its row, a
 * larger one is synced), the side file, the row: for a small one a file is made, and the disk waited for once. Only the row makes it owed. When it has landed or was dropped, the side file goes first and the
 * row last, and the journal remembers the id: a side file that a power cut brings back is then no draft.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/str.h"
#include "spool/private.h"

#define ID_BITS 48                      /* a number that JSON readers keep, and people can type */

struct draft *draft_alloc(struct spool *s, uint64_t id, uint64_t ino)
{
	struct draft *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->spool = s;
	d->id = id;
	d->ino = ino;
	d->fd = -1;
	d->shown.id = id;
	snprintf(d->hex, sizeof(d->hex), "%012llx", (unsigned long long)id);
	pthread_mutex_init(&d->lock, NULL);
	list_init(&d->link);
	list_init(&d->queue_link);
	list_init(&d->file_link);
	return d;
}

/* Nobody knows it any more. */
void draft_free(struct draft *d)
{
	if (!d)
		return;
	draft_close_file(d);
	draft_free_bytes(d);
	if (d->file && (d->state == DRAFT_DONE || d->state == DRAFT_DROPPED))
		(void)unlink(d->file);  /* nobody needs it; a remnant goes at the next start */
	object_done(&d->dir);
	object_done(&d->base);
	object_done(&d->landed);
	attrs_done(&d->attrs);
	extents_done(&d->missing);
	pthread_mutex_destroy(&d->lock);
	free(d->name);
	free(d->file);
	free(d->old_file);
	free(d->progress);
	free(d->why);
	free(d->lane_name);
	free(d);
}

struct draft *draft_ref(struct draft *d)
{
	WITH_LOCK(&d->spool->lock)
		d->refs++;
	return d;
}

static void free_later(void *arg)
{
	draft_free(arg);
}

void draft_unref(struct draft *d)
{
	struct spool *s;
	bool last = false;

	if (!d)
		return;
	s = d->spool;
	WITH_LOCK(&s->lock) {
		last = --d->refs == 0;
		if (last) {
			(void)map64_remove(s->by_id, d->id);
			s->used -= d->used;
			s->moved_at = clock_mono_ms();
			pthread_cond_broadcast(&s->changed);
		}
	}
	if (!last)
		return;
	/* Who lets go may hold a lock, or be the kernel's worker: the disk is not for them. */
	if ((d->file || d->fd >= 0) && pool_add(s->payers, free_later, d) == 0)
		return;
	draft_free(d);
}

/* ---- states ---- */

const char *draft_state_name(enum draft_state s)
{
	static const char *const names[] = {
		[DRAFT_OPEN] = "draft", [DRAFT_HELD] = "held", [DRAFT_QUEUED] = "queued", [DRAFT_UPLOADING] = "uploading", [DRAFT_DONE] = "clean",
		[DRAFT_REFUSED] = "refused", [DRAFT_CONFLICT] = "conflict", [DRAFT_DROPPED] = "dropped",
	};

	return names[s];
}

bool draft_is_in_table(const struct draft *d)
{
	return d->state != DRAFT_DONE && d->state != DRAFT_DROPPED;
}

void draft_fail_locked(struct draft *d, int error, const char *why)
{
	char *copy = NULL;

	(void)str_dup(why, &copy);      /* without memory the number has to do */
	free(d->why);
	d->why = copy;
	d->error = error;
}

void draft_open_locked(struct draft *d)
{
	if (!draft_is_in_table(d)) {
		d->refs++;
		list_append(&d->spool->drafts, &d->link);
	}
	list_remove(&d->queue_link);
	d->state = DRAFT_OPEN;
	d->delayed = d->urgent = d->apart = false;
	d->failures = 0;
	draft_fail_locked(d, 0, NULL);
	spool_changed_locked(d->spool);
}

/* By due time; most come last. */
void draft_queue_locked(struct draft *d, enum draft_state state, uint64_t due_at)
{
	struct list *at = d->spool->queue.prev;

	list_remove(&d->queue_link);
	at = d->spool->queue.prev;
	while (at != &d->spool->queue && container_of(at, struct draft, queue_link)->due_at > due_at)
		at = at->prev;
	list_insert_after(at, &d->queue_link);
	d->state = state;
	d->due_at = due_at;
	d->at_once = false;
	spool_changed_locked(d->spool);
	/* Behind one that is not due yet: the scheduler looks by then anyway. */
	if (at == &d->spool->queue || container_of(at, struct draft, queue_link)->due_at <= clock_mono_ms())
		pthread_cond_signal(&d->spool->work);
}

void draft_release_locked(struct spool *s, bool (*which)(const struct draft *d))
{
	uint64_t now = clock_mono_ms();
	struct list due, rest;
	struct draft *d;

	list_init(&due);
	list_init(&rest);
	list_for_each_safe(d, &s->queue, struct draft, queue_link) {
		bool yes = which(d);

		list_remove(&d->queue_link);
		list_append(yes ? &due : &rest, &d->queue_link);
		if (!yes)
			continue;
		d->state = DRAFT_QUEUED;
		d->due_at = now;
		d->at_once = true;
	}
	list_for_each_safe(d, &due, struct draft, queue_link) {
		list_remove(&d->queue_link);
		list_append(&s->queue, &d->queue_link);
	}
	list_for_each_safe(d, &rest, struct draft, queue_link) {
		list_remove(&d->queue_link);
		list_append(&s->queue, &d->queue_link);
	}
	spool_changed_locked(s);
	pthread_cond_signal(&s->work);
}

void draft_place_locked(struct draft *d, bool now)
{
	struct spool *s = d->spool;
	enum name_fate fate = spool_name_fate(d->name);
	uint64_t at = clock_mono_ms();

	d->urgent = now;
	now |= s->finishing;
	d->delayed = false;
	if (fate == NAME_NEVER)
		draft_queue_locked(d, DRAFT_HELD, NEVER);
	else if (fate == NAME_HELD && !now)
		draft_queue_locked(d, DRAFT_HELD, at + s->config.held_ms);
	else
		draft_queue_locked(d, DRAFT_QUEUED, now ? at : at + s->config.quiet_ms);
}

void draft_end_locked(struct draft *d, enum draft_state state)
{
	list_remove(&d->queue_link);
	list_remove(&d->link);
	d->state = state;
	d->delayed = false;
	d->failures = 0;
	draft_fail_locked(d, 0, NULL);
	spool_changed_locked(d->spool);
}

void draft_shown(struct draft *d)
{
	WITH_LOCK(&d->spool->lock) {
		d->shown.committed = d->committed;
		d->shown.dirty = d->dirty || !d->committed;
		d->shown.size = d->size;
		d->shown.mtime = d->mtime;
		d->shown.mtime_set = d->mtime_set;
		d->shown.mode = d->mode;
		d->shown_row = d->row;
	}
}

void draft_info(struct draft *d, struct draft_info *ret)
{
	WITH_LOCK(&d->spool->lock) {
		*ret = d->shown;
		ret->state = d->state;
		ret->sent = d->sent;
		ret->error = d->error;
		ret->attempts = d->attempts;
	}
}

bool draft_is_owed(struct draft *d)
{
	bool owed;

	WITH_LOCK(&d->spool->lock)
		owed = draft_is_in_table(d) && spool_name_fate(d->name) != NAME_NEVER;
	return owed;
}

int draft_name(struct draft *d, char **ret)
{
	int r = 0;

	WITH_LOCK(&d->spool->lock)
		r = str_dup(d->name, ret);
	return r;
}

int draft_why(struct draft *d, char **ret)
{
	int r = 0;

	WITH_LOCK(&d->spool->lock)
		r = str_dup(d->why, ret);
	return r;
}

int draft_dir(struct draft *d, struct object *ret)
{
	int r = 0;

	WITH_LOCK(&d->spool->lock)
		r = object_copy(&d->dir, ret);
	return r;
}

int draft_base(struct draft *d, struct object *ret)
{
	int r = 0;

	WITH_LOCK(&d->spool->lock)
		r = d->base.id ? object_copy(&d->base, ret) : -ENOENT;
	return r;
}

uint64_t draft_ino(struct draft *d)
{
	return d->ino;
}

int draft_key(struct draft *d, char **ret)
{
	return str_fmt(ret, "draft/%s", d->hex);
}

/* ---- making ---- */

/* One after the other, from where chance has put this process: rows that come together lie together in the journal, and a transaction
 * writes half as many pages. */
int draft_draw_id(struct spool *s, uint64_t *ret)
{
	for (;;) {
		_cleanup_free_ char *path = NULL, *side = NULL;
		uint64_t id = 0;
		bool taken = false;
		int r;

		WITH_LOCK(&s->lock) {
			if (!s->last_id && getrandom(&s->last_id, sizeof(s->last_id), 0) != sizeof(s->last_id))
				return -EIO;
			id = s->last_id = (s->last_id + 1) & ((1ull << ID_BITS) - 1);
			taken = !id || map64_get(s->by_id, id) || map64_get(s->by_number, id);
		}
		if (taken)
			continue;
		r = str_fmt(&path, "%s/%012llx", s->drafts_dir, (unsigned long long)id);
		if (r == 0)
			r = str_fmt(&side, "%s.json", path);
		if (r < 0)
			return r;
		if (access(path, F_OK) < 0 && access(side, F_OK) < 0) {
			*ret = id;
			return 0;
		}
	}
}

int draft_new(struct spool *s, const struct object *dir, const char *name, const struct object *base, uint64_t ino, struct draft **ret)
{
	_cleanup_(draft_freep) struct draft *d = NULL;
	uint64_t id;
	int r = draft_draw_id(s, &id);

	if (r < 0)
		return r;
	d = draft_alloc(s, id, ino);
	if (!d)
		return -ENOMEM;
	r = object_copy(dir, &d->dir);
	if (r == 0)
		r = str_dup(name, &d->name);
	if (r == 0 && base)
		r = object_copy(base, &d->base);
	if (r == 0 && base) {
		d->size = base->size == OBJECT_SIZE_UNKNOWN ? 0 : base->size;
		d->mtime = base->mtime;
		r = extents_add(&d->missing, 0, d->size);
	} else if (r == 0) {
		d->mtime = clock_wall();
	}
	if (r < 0)
		return r;
	draft_shown(d);
	r = spool_enter(s, d);
	if (r < 0)
		return r;
	*ret = draft_ref(TAKE(d));
	return 0;
}

/* ---- the journal's row ---- */

void texts_done(struct texts *t)
{
	buf_done(&t->dir);
	buf_done(&t->base);
	buf_done(&t->landed);
	buf_done(&t->attrs);
}

static const char *text_or_null(const struct buf *b)
{
	return b->len ? b->data : NULL;
}

int draft_row(struct draft *d, struct texts *t, struct row *ret)
{
	int r;

	memset(t, 0, sizeof(*t));
	r = side_write_object(&d->dir, &t->dir);
	if (r == 0)
		r = side_write_object(&d->base, &t->base);
	if (r == 0)
		r = side_write_object(&d->landed, &t->landed);
	if (r == 0 && d->attrs.list.n)
		r = side_write_attrs(&d->attrs, &t->attrs);
	if (r < 0)
		return r;
	*ret = (struct row){.id = d->id, .dir = buf_str(&t->dir), .name = d->name, .base = text_or_null(&t->base),
	                    .landed = text_or_null(&t->landed), .attrs = text_or_null(&t->attrs), .ino = d->ino, .size = d->size,
	                    .mtime = d->mtime, .mtime_set = d->mtime_set, .mode = d->mode, .gen = d->gen, .progress = d->progress,
	                    .begun = d->begun};
	WITH_LOCK(&d->spool->lock) {
		ret->state = d->state == DRAFT_REFUSED ? ROW_REFUSED : d->state == DRAFT_CONFLICT ? ROW_CONFLICT : ROW_OWED;
		ret->sent = d->sent;
		ret->attempts = d->attempts;
		ret->error = d->error;
		ret->why = d->why;      /* changed with (D) held too, unless all is well again */
		ret->since = d->shown.since;
	}
	return 0;
}

int draft_write_row(struct draft *d)
{
	_cleanup_free_ char *why = NULL;
	struct texts t;
	struct row row;
	int r;

	if (!d->row)
		return 0;
	r = draft_row(d, &t, &row);
	if (r == 0)
		r = journal_meta(d->spool->journal, &row, 1);
	if (r == 0)
		r = side_write(d, !d->small);
	texts_done(&t);
	return r;
}

/* D held: the content of a small one. *ret_own, where it is not in memory, is malloc'ed. */
static int small_content(struct draft *d, const void **ret, char **ret_own)
{
	int fd, r = 0;

	*ret = d->bytes;
	if (d->bytes)
		return 0;
	*ret = *ret_own = calloc(1, d->size + 1);
	if (!*ret_own)
		return -ENOMEM;
	if (d->file) {
		fd = draft_file(d, false);
		r = fd < 0 ? fd : file_pread_all(fd, *ret_own, d->size, 0);
	}
	return r;
}

int draft_put_row(struct draft *d)
{
	_cleanup_free_ char *bytes = NULL;
	struct texts t;
	struct row row;
	int r = draft_row(d, &t, &row);

	if (r == 0 && d->size <= SMALL_MAX) {
		r = small_content(d, &row.blob, &bytes);
		row.blob_n = d->size;
	}
	if (r == 0)
		r = journal_put(d->spool->journal, &row);
	texts_done(&t);
	return r;
}

/* (D) held; nothing is missing. */
static int commit(struct draft *d)
{
	bool small = d->size <= SMALL_MAX;
	int fd, r = 0;

	WITH_LOCK(&d->spool->lock)
		if (!d->row)
			d->shown.since = clock_wall();
	FAILPOINT("spool.commit.begin");
	if (!draft_in_memory(d) && !draft_to_memory(d, d->size)) {
		fd = draft_file(d, true);
		if (fd >= 0 && d->size >= HASH_EARLY)
			uploader_hash(d);       /* it takes as long as the disk: both at once */
		r = fd < 0 ? fd : !small && fdatasync(fd) < 0 ? -errno : 0;
	}
	FAILPOINT("spool.commit.data");
	if (r == 0)
		r = draft_set_file(d, NULL);
	if (r == 0)
		r = side_write(d, !small);
	FAILPOINT("spool.commit.side");
	if (r == 0)
		r = draft_put_row(d);
	FAILPOINT("spool.commit.row");
	if (r < 0)
		return r == -EDQUOT ? -ENOSPC : r;
	if (d->old_file)
		(void)unlink(d->old_file);      /* replaced; a remnant goes at the next start */
	free(TAKE(d->old_file));
	d->row = d->committed = true;
	d->small = small;
	d->dirty = false;
	d->commits++;
	draft_measure(d);
	draft_shown(d);
	return 0;
}

int draft_commit(struct draft *d)
{
	struct extent e;
	int r = 0;

	WITH_LOCK(&d->lock) {
		if (d->dropped || (d->committed && !d->dirty))
			break;
		if (draft_is_busy(d)) {
			r = -EBUSY;
			break;
		}
		r = extents_first(&d->missing, 0, UINT64_MAX, &e) ? -EAGAIN : commit(d);
	}
	return r;
}

void draft_update_lane(struct draft *d)
{
	char *lane = NULL;

	(void)backend_lane(d->spool->session, &d->dir, d->name, d->base.id ? &d->base : NULL, &lane);  /* none: alone */
	WITH_LOCK(&d->spool->lock) {
		free(d->lane_name);
		d->lane_name = lane;
	}
}

void draft_due(struct draft *d, bool now)
{
	struct spool *s = d->spool;
	bool ended = false;

	WITH_LOCK(&d->lock) {
		if (!d->committed || d->dirty)
			break;
		draft_close_file(d);
		draft_update_lane(d);
		WITH_LOCK(&s->lock) {
			if (d->state == DRAFT_OPEN && !d->row) {
				draft_end_locked(d, DRAFT_DONE);        /* it was opened again, and nothing was written */
				ended = true;
			} else if (d->state == DRAFT_OPEN || (now && (d->state == DRAFT_QUEUED || d->state == DRAFT_HELD))) {
				d->moved_at = clock_mono_ms();
				d->apart = false;
				draft_place_locked(d, now);
			} else if (d->state == DRAFT_QUEUED || d->state == DRAFT_UPLOADING) {
				d->apart = false;       /* nobody writes to it any more: the next attempt needs no copy */
			}
		}
	}
	if (ended)
		draft_unref(d);
}

void draft_due_open(struct draft *d)
{
	WITH_LOCK(&d->lock) {
		if (!d->committed || d->dirty || !d->row)
			break;
		draft_update_lane(d);
		WITH_LOCK(&d->spool->lock) {
			if (d->state != DRAFT_OPEN || spool_name_fate(d->name) == NAME_HELD || spool_name_fate(d->name) == NAME_NEVER)
				break;
			d->moved_at = clock_mono_ms();
			draft_place_locked(d, true);
			d->apart = true;
			d->urgent = false;
		}
	}
}

/* ---- stopping its upload ---- */

bool draft_is_busy(struct draft *d)
{
	bool busy = false;

	WITH_LOCK(&d->spool->lock)
		busy = d->state == DRAFT_UPLOADING;
	return busy;
}

/* Until its upload has let go. */
static int stop_upload(struct draft *d, const int *cancelled)
{
	struct spool *s = d->spool;
	bool busy = true;
	int r = 0;

	WITH_LOCK(&s->lock) {
		d->holds++;
		busy = d->state == DRAFT_UPLOADING;
		if (busy)
			__atomic_store_n(&d->cancel, 1, __ATOMIC_RELAXED);
	}
	if (busy && s->session->http)
		http_wake(s->session->http);
	WITH_LOCK(&s->lock) {
		while (r == 0 && d->state == DRAFT_UPLOADING) {
			if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
				r = -EINTR;
			else
				spool_sleep(s, &s->changed, SLICE_MS);
		}
		d->holds--;
	}
	return r;
}

int draft_begin(struct draft *d, const int *cancelled)
{
	for (;;) {
		int r = stop_upload(d, cancelled);

		if (r < 0)
			return r;
		WITH_LOCK(&d->lock) {
			WITH_LOCK(&d->spool->lock) {
				if (d->state == DRAFT_UPLOADING)
					break;
				if (d->state != DRAFT_OPEN && d->state != DRAFT_DROPPED)
					draft_open_locked(d);
				return 0;
			}
		}
	}
}

/* It belongs to us alone: 0 with (D) held and its state OPEN, unless it was DONE or DROPPED. */
static int seize(struct draft *d, const int *cancelled, enum draft_state *ret_was)
{
	struct spool *s = d->spool;
	bool was_busy = draft_is_busy(d);

	for (;;) {
		int r = stop_upload(d, cancelled);

		if (r < 0)
			return r;
		pthread_mutex_lock(&d->lock);
		WITH_LOCK(&s->lock) {
			if (d->state != DRAFT_UPLOADING) {
				*ret_was = was_busy && d->state == DRAFT_OPEN && !d->dirty ? DRAFT_QUEUED : d->state;
				if (draft_is_in_table(d) && d->state != DRAFT_OPEN)
					draft_open_locked(d);
				return 0;
			}
		}
		pthread_mutex_unlock(&d->lock);
	}
}

int draft_forget_progress(struct draft *d)
{
	char *old = TAKE(d->progress);
	unsigned attempts;
	int r;

	if (!old)
		return 0;
	WITH_LOCK(&d->spool->lock) {
		d->sent = 0;
		attempts = d->attempts;
	}
	r = d->row ? journal_note(d->spool->journal, &(struct note){.id = d->id, .begun = d->begun, .attempts = attempts}, 1) : 0;
	if (r < 0) {
		d->progress = old;      /* the next change tries again */
		return r;
	}
	uploader_drop(d->spool, old);
	return 0;
}

/* ---- what goes along ---- */

/* It has landed, and was not changed since: what is set now is kept beside the server's object. */
static bool has_landed(const struct draft *d)
{
	return d->committed && !d->dirty && !d->row && !d->dropped && d->base.id;
}

static int keep(struct draft *d)
{
	struct kept_attr k;
	int r;

	if (kept_get(d->spool, d->base.id, &k) <= 0) {
		k = (struct kept_attr){.ino = d->ino};
		r = str_dup(d->base.version, &k.version);
		if (r < 0)
			return r;
	}
	k.mtime = d->mtime;
	k.mode = d->mode;
	r = kept_set(d->spool, d->base.id, &k);
	kept_attr_done(&k);
	return r;
}

int draft_set_mtime(struct draft *d, struct timespec t)
{
	int r = 0;

	WITH_LOCK(&d->lock) {
		d->mtime = t;
		d->mtime_set = true;
		draft_shown(d);
		if (!has_landed(d)) {
			r = draft_write_row(d);
			break;
		}
		r = keep(d);
		if (r == 0)
			r = 1;
	}
	return r;
}

int draft_set_mode(struct draft *d, uint32_t mode)
{
	int r = 0;

	WITH_LOCK(&d->lock) {
		d->mode = mode;
		draft_shown(d);
		r = has_landed(d) ? keep(d) : draft_write_row(d);
	}
	return r;
}

/* A NULL value is kept as one. What was set last stands last: of two names one may be part of the other. (D) and (S) held. */
static int put_attr(struct attrs *a, const char *name, const void *value, size_t len)
{
	size_t before = a->list.n;
	int r = attrs_add(a, name, value ? value : "", value ? len : 0);

	if (r < 0)
		return r;
	if (!value)
		free(TAKE(a->list.at[before].value));
	for (size_t i = 0; i < before; i++) {
		struct attr *one = &a->list.at[i];

		if (strcmp(one->name, name) != 0)
			continue;
		free(one->name);
		free(one->value);
		memmove(one, one + 1, (a->list.n - i - 1) * sizeof(*one));
		a->list.n--;
		break;
	}
	return 0;
}

int draft_set_attr(struct draft *d, const char *name, const void *value, size_t len)
{
	int r = 0;

	WITH_LOCK(&d->lock) {
		if (has_landed(d)) {
			r = -ESTALE;
			break;
		}
		WITH_LOCK(&d->spool->lock)
			r = put_attr(&d->attrs, name, value, len);
		if (r == 0)
			r = draft_write_row(d);
	}
	return r;
}

int draft_attrs(struct draft *d, struct attrs *ret)
{
	struct attrs a = {0};
	int r = 0;

	WITH_LOCK(&d->spool->lock) {
		for (size_t i = 0; r == 0 && i < d->attrs.list.n; i++) {
			struct attr *one = &d->attrs.list.at[i];

			r = put_attr(&a, one->name, one->value, one->len);
		}
	}
	if (r < 0) {
		attrs_done(&a);
		return r;
	}
	*ret = a;
	return 0;
}

/* ---- another place, or the end ---- */

/* (D) held. All or nothing. */
static int set_target(struct draft *d, const struct object *dir, const char *name, const struct object *base)
{
	struct object new_dir = {0}, new_base = {0};
	char *new_name = NULL;
	int r = object_copy(dir, &new_dir);

	if (r == 0)
		r = str_dup(name, &new_name);
	if (r == 0 && base)
		r = object_copy(base, &new_base);
	if (r < 0) {
		object_done(&new_dir);
		free(new_name);
		return r;
	}
	WITH_LOCK(&d->spool->lock) {
		struct object o = d->dir;

		d->dir = new_dir;
		new_dir = o;
		o = d->base;
		d->base = new_base;
		new_base = o;
		free(d->name);
		d->name = new_name;
	}
	object_done(&new_dir);
	object_done(&new_base);
	return 0;
}

int draft_retarget(struct draft *d, const struct object *dir, const char *name, const struct object *base, struct object *ret_landed,
                   const int *cancelled)
{
	struct spool *s = d->spool;
	_cleanup_(object_done) struct object old_dir = {0}, old_base = {0};
	_cleanup_free_ char *old_name = NULL;
	enum draft_state was;
	struct extent e;
	int r = seize(d, cancelled, &was);

	if (r < 0)
		return r;
	if (was == DRAFT_DONE || (was == DRAFT_OPEN && d->base.id && !base && !extents_first(&d->missing, 0, UINT64_MAX, &e))) {
		/* The second: a copy of it has landed, and it is written on. */
		r = object_copy(&d->base, ret_landed);
		pthread_mutex_unlock(&d->lock);
		return r < 0 ? r : 1;
	}
	if (extents_first(&d->missing, 0, UINT64_MAX, &e) && (!base || !d->base.id || strcmp(base->id, d->base.id) != 0))
		r = -EAGAIN;    /* what is missing is of the base that it had */
	if (r == 0)
		r = draft_forget_progress(d);
	if (r == 0)
		r = object_copy(&d->dir, &old_dir);
	if (r == 0)
		r = object_copy(&d->base, &old_base);
	if (r == 0)
		r = str_dup(d->name, &old_name);
	if (r == 0)
		r = set_target(d, dir, name, base);
	if (r == 0) {
		r = draft_write_row(d);
		if (r < 0)
			(void)set_target(d, &old_dir, old_name, old_base.id ? &old_base : NULL);
	}
	FAILPOINT("spool.retarget");
	draft_update_lane(d);
	WITH_LOCK(&s->lock)
		if (was != DRAFT_OPEN && was != DRAFT_DROPPED)
			draft_place_locked(d, false);
	pthread_mutex_unlock(&d->lock);
	return r;
}

int draft_drop(struct draft *d, struct object *ret_landed, const int *cancelled)
{
	struct spool *s = d->spool;
	enum draft_state was;
	bool landed = false;
	int r = seize(d, cancelled, &was);

	if (r < 0)
		return r;
	if (was == DRAFT_DROPPED || was == DRAFT_DONE) {
		r = was == DRAFT_DONE ? object_copy(&d->base, ret_landed) : 0;
		pthread_mutex_unlock(&d->lock);
		return r < 0 ? r : was == DRAFT_DONE;
	}
	landed = d->landed.id;
	if (landed)
		r = object_copy(&d->landed, ret_landed);
	side_remove(d);
	if (r == 0 && d->row)
		r = journal_drop(s->journal, d->id);
	FAILPOINT("spool.drop.row");
	if (r == 0) {
		d->row = false;
		d->dropped = true;
		__atomic_store_n(&d->hash_stop, 1, __ATOMIC_RELAXED);
		draft_shown(d);
		(void)draft_set_file(d, "done");        /* a remnant without a row is told of, not sent */
		if (d->old_file)
			(void)unlink(d->old_file);
		free(TAKE(d->old_file));
		uploader_drop(s, TAKE(d->progress));
		WITH_LOCK(&s->lock)
			draft_end_locked(d, DRAFT_DROPPED);
	} else {
		if (d->row)
			(void)side_write(d, !d->small); /* it is owed as before */
		if (landed)
			object_done(ret_landed);
		WITH_LOCK(&s->lock)
			if (was != DRAFT_OPEN)
				draft_place_locked(d, false);
	}
	pthread_mutex_unlock(&d->lock);
	if (r < 0)
		return r;
	draft_unref(d);         /* the table's */
	return landed;
}

int draft_landed(struct draft *d, const struct object *o)
{
	struct spool *s = d->spool;
	struct object copy;
	bool yes = false;
	int r = object_copy(o, &copy);

	if (r < 0)
		return r;
	WITH_LOCK(&d->lock) {
		if (d->committed || d->dirty || d->base.id || d->dropped)
			r = -EINVAL;
		if (r == 0)
			r = extents_add(&d->missing, 0, o->size == OBJECT_SIZE_UNKNOWN ? 0 : o->size);
		if (r < 0)
			break;
		d->size = o->size == OBJECT_SIZE_UNKNOWN ? 0 : o->size;
		d->committed = true;
		draft_shown(d);
		WITH_LOCK(&s->lock)
			d->base = copy;
		r = kept_set(s, o->id, &(struct kept_attr){.ino = d->ino, .version = o->version, .mtime = d->mtime, .mode = d->mode});
		if (r < 0)
			log_warn("spool: number and time of %s are not kept: %s", o->id, strerror(-r));
		r = 1;
	}
	if (r < 0) {
		object_done(&copy);
		return r;
	}
	if (s->hooks.uploaded)
		s->hooks.uploaded(s->hooks.arg, d, o);
	WITH_LOCK(&s->lock) {
		yes = d->state == DRAFT_OPEN;
		if (yes)
			draft_end_locked(d, DRAFT_DONE);
	}
	if (yes)
		draft_unref(d);         /* the table's */
	return 0;
}

int draft_retry(struct draft *d)
{
	int r = 0;

	WITH_LOCK(&d->lock) {
		bool refused = false;

		WITH_LOCK(&d->spool->lock) {
			refused = d->state == DRAFT_REFUSED || d->state == DRAFT_CONFLICT;
			if (!refused)
				r = d->state == DRAFT_QUEUED ? 0 : -EINVAL;
			else
				draft_open_locked(d);
			if (d->state == DRAFT_QUEUED || refused)
				draft_place_locked(d, true);
		}
		if (refused)
			r = draft_write_row(d);
	}
	return r;
}

int draft_give_up(struct draft *d, const int *cancelled)
{
	struct object landed = {0};
	bool at_server = false;
	int r;

	/* The content is there, only what goes along was refused: it goes without. */
	WITH_LOCK(&d->lock) {
		WITH_LOCK(&d->spool->lock) {
			at_server = d->landed.id && d->state == DRAFT_REFUSED;
			if (at_server) {
				attrs_done(&d->attrs);
				draft_open_locked(d);
			}
		}
		if (at_server) {
			r = draft_write_row(d);
			WITH_LOCK(&d->spool->lock)
				draft_place_locked(d, true);
			return r;
		}
	}
	r = draft_drop(d, &landed, cancelled);
	if (r == 1)
		object_done(&landed);
	/* It was nobody's act on the file: who shows it must hear of it. */
	if (r >= 0 && d->spool->hooks.changed)
		d->spool->hooks.changed(d->spool->hooks.arg, d);
	return r < 0 ? r : 0;
}

int draft_wait(struct draft *d, unsigned ms, const int *cancelled)
{
	struct spool *s = d->spool;
	uint64_t start = clock_mono_ms();
	unsigned want = 0;
	int r = -EAGAIN;

	WITH_LOCK(&d->lock)
		want = d->commits;
	WITH_LOCK(&s->lock) {
		while (r == -EAGAIN) {
			uint64_t since = d->moved_at > start ? d->moved_at : start;

			/* Behind others, which get on. */
			if (d->state == DRAFT_QUEUED && !d->delayed && s->moved_at > since)
				since = s->moved_at;
			if (d->conflict_commits >= want && want)
				r = -EBUSY;     /* what is there under this name is somebody else's */
			else if (d->landed_commits >= want || !draft_is_in_table(d) || d->state == DRAFT_HELD)
				r = 0;
			else if (d->state == DRAFT_REFUSED || d->state == DRAFT_CONFLICT)
				r = d->error ? d->error : -EIO;
			else if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
				r = -EINTR;
			else if (s->stopping)
				r = -ESHUTDOWN;
			else if ((d->state != DRAFT_UPLOADING || d->failures) && clock_mono_ms() >= since + ms)
				r = d->error ? d->error : -ETIMEDOUT;
			else
				spool_sleep(s, &s->changed, SLICE_MS);
		}
	}
	return r;
}
