/* write.c - one whole story: what is written goes into a draft, close makes the draft safe, the spool sends it.
 *
 * (1) A write puts its bytes into the node's draft and is answered; the draft is made at the first one. It needs nothing of the old
 * content. (2) flush brings what is missing of the old content and commits the draft; from there a crash loses nothing. (3) The
 * last writing close, or fsync, makes it due. (4) spool sends it and calls uploaded(): the node gets its new object.
 *
 * While a node has a draft, its size, times and bytes are the draft's, for every handle: the kernel's pages belong to the node.
 * A draft that was handed over stays with the node until its last handle is closed: it is the one place that has the bytes.
 *
 * What waits only for the local disk is done on the FUSE worker; what may wait for the network (old content, an upload that must
 * let go, room in the spool) is parked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

bool fs_can_write(const struct fs *fs)
{
	return fs->spool && !fs->config.read_only && backend_can_write(fs->session);
}

struct draft *node_draft(struct node *n)
{
	struct draft *d;

	WITH_LOCK(&n->fs->lock)
		d = n->draft ? draft_ref(n->draft) : NULL;
	return d;
}

/* ---- drafts of nodes ---- */

int write_draft(struct fs *fs, struct node *n, struct draft **ret)
{
	struct object base = {0}, dir = {0};
	struct draft *d = NULL;
	uint64_t ino;
	int r = 0;

	WITH_LOCK(&fs->lock) {
		if (n->draft)
			d = draft_ref(n->draft);
		else if ((n->replaced && !n->unlinked) || n->lost)
			r = -EBUSY;
		else
			r = object_copy(&n->object, &base);
		if (!d && r == 0)
			r = n->parent ? object_copy(&n->parent->object, &dir) : -EISDIR;
		ino = n->ino;
	}
	if (!d && r == 0)
		r = draft_new(fs->spool, &dir, base.name, &base, ino, &d);
	object_done(&base);
	object_done(&dir);
	if (r < 0)
		return r;
	WITH_LOCK(&fs->lock) {
		if (!n->draft) {
			node_set_draft_locked(n, d);
			if (n->mode)
				(void)draft_set_mode(d, n->mode);       /* in memory: it is not committed */
		} else if (n->draft != d) {
			/* Somebody was quicker. */
			draft_unref(d);
			d = draft_ref(n->draft);
		}
	}
	*ret = d;
	return 0;
}

static bool is_unlinked(struct node *n)
{
	bool yes;

	WITH_LOCK(&n->fs->lock)
		yes = n->unlinked;
	return yes;
}

void write_due(struct fs *fs, struct node *n, struct draft *d)
{
	bool open;

	WITH_LOCK(&fs->lock)
		open = n->writers > 0 || n->unlinked;
	if (!open)
		draft_due(d, false);
}

/* Handed over and read by nobody: the node goes on with what the server has. Its draft, for the caller to end without the lock. */
static struct draft *let_go_locked(struct node *n)
{
	struct draft_info i;
	struct draft *d = n->draft;

	if (!d || n->opens)
		return NULL;
	draft_info(d, &i);
	if (i.state != DRAFT_DONE && i.state != DRAFT_DROPPED)
		return NULL;
	return node_take_draft_locked(n);
}

/* The draft of what has no name any more, when nobody has it open either; *ret_mine: it is nobody else's (after a conflict it goes on
 * as another file). */
static struct draft *orphan_locked(struct node *n, bool *ret_mine)
{
	struct draft_info i;

	if (!n->draft || !n->unlinked || n->opens)
		return NULL;
	draft_info(n->draft, &i);
	*ret_mine = map64_get(n->fs->by_draft, i.id) == n;
	return node_take_draft_locked(n);
}

void write_let_go(struct fs *fs, struct node *n)
{
	struct object landed = {0};
	struct draft *d, *orphan = NULL;
	bool mine = false;

	WITH_LOCK(&fs->lock) {
		d = let_go_locked(n);
		if (!d)
			orphan = orphan_locked(n, &mine);
	}
	draft_unref(d);
	/* It was never due: nothing is sent, and nothing has to be waited for. */
	if (orphan && mine && draft_drop(orphan, &landed, NULL) < 0)
		log_warn("what was written of a removed file is still kept");
	object_done(&landed);
	draft_unref(orphan);
}

/* ---- the old content ---- */

static int base_handle(struct fs *fs, struct node *n, struct draft *d, struct handle **ret)
{
	struct object base = {0};
	int r = draft_base(d, &base);

	if (r == 0)
		r = file_handle_of(fs, n, &base, ret);
	object_done(&base);
	return r;
}

/* The one of h, which goes on where it was; a reference. */
static int old_handle(struct fs *fs, struct node *n, struct draft *d, struct handle *h, struct handle **ret)
{
	struct handle *made = NULL;
	int r = 0;

	if (h)
		WITH_LOCK(&h->lock)
			*ret = h->old ? handle_ref(h->old) : NULL;
	if (h && *ret)
		return 0;
	r = base_handle(fs, n, d, &made);
	if (r < 0)
		return r;
	*ret = made;
	if (!h)
		return 0;
	WITH_LOCK(&h->lock) {
		if (!h->old)
			h->old = handle_ref(made);
	}
	return 0;
}

int write_fill(struct fs *fs, struct node *n, struct draft *d, struct handle *h, uint64_t at, uint64_t n_bytes, const int *cancelled)
{
	struct handle *old = NULL;
	struct range m;
	char *buf = NULL;
	int r = 0;

	while (draft_missing(d, at, n_bytes, &m) == 1) {
		size_t part = m.count < CACHE_READ_MAX ? (size_t)m.count : CACHE_READ_MAX;

		if (!old)
			r = old_handle(fs, n, d, h, &old);
		if (r == 0 && !buf) {
			buf = malloc(CACHE_READ_MAX);
			r = buf ? 0 : -ENOMEM;
		}
		/* Where its base is shorter than the draft believes, the server's content is another one. */
		if (r == 0 && (m.first > old->object.size || part > old->object.size - m.first))
			r = -EBUSY;
		if (r == 0)
			r = read_blocking(old, fs, m.first, part, buf, cancelled);
		if (r == 0)
			r = draft_fill(d, m.first, buf, part);
		if (r < 0)
			break;
	}
	free(buf);
	if (old) {
		if (!h)
			read_release(old);
		handle_unref(old);
	}
	return r == -ESTALE || r == -ENOENT ? -EBUSY : r;
}

/* ---- reading what has a draft ---- */

/* -EAGAIN: something is missing. Else op is answered. */
static int read_now(struct op *op, struct draft *d)
{
	size_t want = op->size < CACHE_READ_MAX ? op->size : CACHE_READ_MAX, got = 0;
	char *buf = malloc(want ? want : 1);
	int r = buf ? draft_read(d, buf, want, (uint64_t)op->offset, &got) : -ENOMEM;

	if (r == -EAGAIN) {
		free(buf);
		return r;
	}
	atomic_fetch_add(&op->fs->count_read_bytes, got);
	if (r < 0)
		op_reply_err(op, r);
	else
		op_reply_buf(op, buf, got);
	free(buf);
	return 0;
}

static void read_run(struct op *op)
{
	struct draft *d = node_draft(op->handle->node);
	int r = d ? 0 : -EIO;

	/* What is filled may be truncated and written over meanwhile: then it is looked for again. */
	while (r == 0) {
		r = write_fill(op->fs, op->handle->node, d, op->handle, (uint64_t)op->offset, op->size, &op->cancelled);
		if (r == 0 && read_now(op, d) == 0) {
			draft_unref(d);
			return;
		}
	}
	if (d)
		draft_unref(d);
	op_reply_err(op, r == -EBUSY ? -ESTALE : r);
}

void write_read(struct op *op, struct draft *d)
{
	if (read_now(op, d) == -EAGAIN)
		op_park(op, read_run);
	draft_unref(d);
}

/* ---- write ---- */

/* One try: the bytes written, or -EBUSY, -EAGAIN where something must be waited for. */
static int write_once(struct op *op, struct draft *d)
{
	uint64_t at = (uint64_t)op->offset;
	struct draft_info i;

	/* The kernel's idea of the end may be old; within one mount it keeps writers apart. */
	if (op->handle->append && !op->page) {
		draft_info(d, &i);
		at = i.size;
	}
	return draft_write(d, op->data, op->size, at);
}

static void write_reply(struct op *op, int r)
{
	if (r < 0) {
		op_reply_err(op, r);
		return;
	}
	if (op_claim(op))
		fuse_reply_write(op->req, op->size);
	op_free(op);
}

static void write_run(struct op *op)
{
	struct draft *d = NULL;
	int r = write_draft(op->fs, op->handle->node, &d);

	while (r == 0) {
		r = write_once(op, d);
		if (r == -EBUSY)
			r = draft_begin(d, &op->cancelled);
		else if (r == -EAGAIN)
			r = draft_wait_room(d, op->size, &op->cancelled);
		else
			break;
	}
	if (d)
		draft_unref(d);
	write_reply(op, r);
}

static void control_write_run(struct op *op)
{
	int r = control_write(op->fs, op->handle, op->data, op->size, (uint64_t)op->offset);

	write_reply(op, r < 0 ? r : 0);
}

void write_start(struct op *op)
{
	struct draft *d = NULL;
	int r;

	if (op->handle->is_control) {
		op_park(op, control_write_run);
		return;
	}
	r = write_draft(op->fs, op->handle->node, &d);
	if (r == 0)
		r = write_once(op, d);
	if (d)
		draft_unref(d);
	if (r == -EBUSY || r == -EAGAIN)
		op_park(op, write_run);
	else
		write_reply(op, r);
}

/* ---- making it safe ---- */

/* Everything of it here, and on the disk. */
static int commit(struct fs *fs, struct node *n, struct draft *d, struct handle *h, const int *cancelled)
{
	int r;

	do {
		r = write_fill(fs, n, d, h, 0, UINT64_MAX, cancelled);
		if (r == 0)
			r = draft_commit(d);
		/* A copy of it is being sent: that ends, or lands. */
		if (r == -EBUSY && draft_is_busy(d))
			r = draft_begin(d, cancelled) == -EINTR ? -EINTR : -EAGAIN;
	} while (r == -EAGAIN);
	return r;
}

static bool is_dirty(struct draft *d)
{
	struct draft_info i;

	draft_info(d, &i);
	return i.dirty;
}

/* How long a server that cannot be reached is waited for by who wants to hear from it. */
static unsigned patience(const struct fs *fs)
{
	return fs->session->policy.timeout_ms;
}

/* The same when something else came to r: a server that cannot be reached is waited for once, not once for each file. */
static unsigned patience_after(const struct fs *fs, int r)
{
	return fs_error_is_unreachable(r) ? 0 : patience(fs);
}

/* What is committed goes now, and is waited for. */
static int hand_over(struct fs *fs, struct draft *d, const int *cancelled)
{
	draft_due(d, true);
	return draft_wait(d, patience(fs), cancelled);
}

static void flush_run(struct op *op)
{
	struct node *n = op->handle->node;
	struct draft *d;
	int r = 0;

	if (op->handle->is_control) {
		op_reply_err(op, control_flush(op->fs, op->handle));
		return;
	}
	d = node_draft(n);
	if (d && !is_unlinked(n)) {
		r = commit(op->fs, n, d, op->handle, &op->cancelled);
		if (r == 0 && op->fs->config.close_remote)
			r = hand_over(op->fs, d, &op->cancelled);
	}
	if (d)
		draft_unref(d);
	op_reply_err(op, r);
}

void write_flush(struct op *op)
{
	struct handle *h = op->handle;
	struct draft *d;
	bool work = h->is_control && h->writable;

	if (!h->is_control && h->writable && (d = node_draft(h->node))) {
		work = is_dirty(d) || op->fs->config.close_remote;
		draft_unref(d);
	}
	if (work)
		op_park(op, flush_run);
	else
		op_reply_err(op, 0);
}

static int sync_draft(struct fs *fs, struct node *n, struct draft *d, bool remote, const int *cancelled)
{
	_cleanup_free_ char *name = NULL;
	int r;

	if (is_unlinked(n))
		return 0;
	r = commit(fs, n, d, NULL, cancelled);
	if (r == 0)
		r = draft_name(d, &name);
	if (r < 0 || is_unlinked(n) || !remote || spool_name_fate(name) != NAME_SENT)
		return r;
	return hand_over(fs, d, cancelled);
}

/* Is the directory of this id n or below it? `unknown`: what is said of one that nobody has looked at since the mount. */
static bool lies_below(struct fs *fs, const char *dir_id, const struct node *n, bool unknown)
{
	struct node *dir = node_by_id(fs, dir_id);
	bool below = !dir && unknown;

	WITH_LOCK(&fs->lock)
		for (const struct node *i = dir; i && !below; i = i->parent)
			below = i == n;
	node_unref(dir);
	return below;
}

int write_below(struct fs *fs, struct node *n, bool unknown, struct drafts *ret)
{
	struct drafts all = {0};
	size_t k = 0;
	int r = spool_drafts(fs->spool, NULL, &all);

	if (r < 0)
		return r;
	for (size_t i = 0; i < all.list.n; i++) {
		struct draft *d = all.list.at[i];
		struct object dir = {0};

		if (draft_dir(d, &dir) == 0 && lies_below(fs, dir.id, n, unknown))
			all.list.at[k++] = d;
		else
			draft_unref(d);
		object_done(&dir);
	}
	all.list.n = k;
	*ret = all;
	return 0;
}

static bool can_be_sent(struct draft *d)
{
	_cleanup_free_ char *name = NULL;
	struct draft_info info;

	draft_info(d, &info);
	return info.committed && draft_name(d, &name) == 0 && spool_name_fate(name) != NAME_NEVER;
}

static int sync_below(struct fs *fs, struct node *n, const int *cancelled)
{
	struct removals gone = {0};
	struct drafts all = {0};
	int r = write_below(fs, n, true, &all), first = 0;

	if (r == 0)
		r = spool_removals(fs->spool, &gone);
	/* All of them on their way before any is waited for. */
	for (size_t i = 0; i < all.list.n; i++)
		if (can_be_sent(all.list.at[i]))
			draft_due(all.list.at[i], true);
	for (size_t i = 0; i < gone.list.n; i++)
		if (lies_below(fs, gone.list.at[i].dir, n, true))
			spool_removal_due(fs->spool, gone.list.at[i].id);
		else
			gone.list.at[i].id = 0;
	for (size_t i = 0; i < all.list.n && first != -EINTR; i++) {
		int e = 0;

		if (can_be_sent(all.list.at[i]))
			e = draft_wait(all.list.at[i], patience_after(fs, first), cancelled);
		first = e == -EINTR || !first ? e : first;
	}
	for (size_t i = 0; i < gone.list.n && first != -EINTR; i++) {
		int e = 0;

		if (gone.list.at[i].id)
			e = spool_removal_wait(fs->spool, gone.list.at[i].id, patience_after(fs, first), cancelled);
		first = e == -EINTR || !first ? e : first;
	}
	drafts_done(&all);
	removals_done(&gone);
	return r < 0 ? r : first;
}

int write_sync(struct fs *fs, struct node *n, const int *cancelled)
{
	struct draft *d;
	int r = 0;

	if (!fs->spool || n->control)
		return 0;
	if (n->dir)
		return sync_below(fs, n, cancelled);
	d = node_draft(n);
	if (d) {
		r = commit(fs, n, d, NULL, cancelled);
		if (r == 0)
			r = hand_over(fs, d, cancelled);
		draft_unref(d);
	}
	return r;
}

static void fsync_run(struct op *op)
{
	struct node *n = op->handle->node;
	struct fs *fs = op->fs;
	struct draft *d;
	int r = 0;

	if (op->handle->is_control) {
		r = op->handle->writable ? control_flush(fs, op->handle) : 0;
	} else if (n->dir) {
		r = fs->config.fsync_local || !fs->spool ? 0 : sync_below(fs, n, &op->cancelled);
	} else {
		d = node_draft(n);
		if (d) {
			r = sync_draft(fs, n, d, !fs->config.fsync_local, &op->cancelled);
			draft_unref(d);
		}
	}
	op_reply_err(op, r);
}

void write_fsync(struct op *op)
{
	op_park(op, fsync_run);
}

/* ---- close ---- */

struct closing {
	struct fs *fs;
	struct handle *handle;          /* a reference */
	struct draft *draft;
};

static void closing_free(struct closing *c)
{
	draft_unref(c->draft);
	WITH_LOCK(&c->fs->lock) {
		c->fs->closing = --c->fs->closings > 0;
		pthread_cond_broadcast(&c->fs->changed);
	}
	handle_unref(c->handle);
	free(c);
}

/* What came after the last flush (pages of a mapping) is made safe too; nobody hears of a failure but the log. */
static void closing_run(void *arg)
{
	struct closing *c = arg;
	struct node *n = c->handle->node;
	int r = commit(c->fs, n, c->draft, c->handle, NULL);

	if (r < 0) {
		log_warn("%s: what was written last is not safe: %s", n->object.name ? n->object.name : "a file", strerror(-r));
		events_add(c->fs, "unsafe", n, strerror(-r));
	} else {
		write_due(c->fs, n, c->draft);
	}
	closing_free(c);
}

void write_released(struct fs *fs, struct handle *h)
{
	struct node *n = h->node;
	struct draft *d = NULL;
	struct draft_info i;

	WITH_LOCK(&fs->lock)
		if (h->writable && n->writers == 0 && !n->unlinked && n->draft)
			d = draft_ref(n->draft);
	write_let_go(fs, n);
	if (!d)
		return;
	draft_info(d, &i);
	if (i.dirty) {
		struct closing *c = malloc(sizeof(*c));

		if (c) {
			*c = (struct closing){fs, handle_ref(h), draft_ref(d)};
			WITH_LOCK(&fs->lock) {
				fs->closings++;
				fs->closing = true;
			}
			if (pool_add(fs->callers, closing_run, c) < 0)
				closing_run(c);
		}
	} else if (i.committed) {
		draft_due(d, false);
	}
	draft_unref(d);
}

/* ---- files that stay open ---- */

static void send_open_run(void *arg)
{
	struct closing *c = arg;
	int r = commit(c->fs, c->handle->node, c->draft, c->handle, NULL);

	if (r == 0)
		draft_due_open(c->draft);
	else
		log_info("%s cannot be sent while it is open: %s", c->handle->node->object.name, strerror(-r));
	closing_free(c);
}

/* Lock held: is it to be sent now? */
static bool is_unsent_for_long_locked(struct node *n)
{
	struct draft_info i;

	if (!n->draft || n->unlinked)
		return false;
	draft_info(n->draft, &i);
	if (i.state != DRAFT_OPEN) {
		n->unsent_at = 0;
		return false;
	}
	if (n->unsent_at && fs_now_age(n->unsent_at) < n->fs->config.upload_open_ms)
		return false;
	if (!n->unsent_at) {
		n->unsent_at = clock_mono_ms();
		return false;
	}
	n->unsent_at = clock_mono_ms();
	return true;
}

void write_send_open(struct fs *fs)
{
	VEC(struct closing *) due = {0};
	struct handle *h;

	WITH_LOCK(&fs->lock) {
		list_for_each_safe(h, &fs->handles, struct handle, link) {
			struct closing *c;

			if (h->is_control || h->is_dir || !h->writable || !is_unsent_for_long_locked(h->node))
				continue;
			c = malloc(sizeof(*c));
			if (!c || vec_push(&due, c) < 0) {
				free(c);
				continue;       /* the next time */
			}
			*c = (struct closing){fs, handle_ref(h), draft_ref(h->node->draft)};
			fs->closings++;
			fs->closing = true;
		}
	}
	for (size_t i = 0; i < due.n; i++)
		if (pool_add(fs->callers, send_open_run, due.at[i]) < 0)
			closing_free(due.at[i]);
	vec_done(&due);
}

/* ---- truncate, fallocate, lseek ---- */

int write_truncate(struct fs *fs, struct node *n, uint64_t size, bool open, const int *cancelled)
{
	struct draft *d = NULL;
	struct draft_info i;
	bool same = false;
	int r;

	/* As an open file, so that a draft that lands meanwhile stays the node's. */
	WITH_LOCK(&fs->lock)
		n->opens++;
	r = write_draft(fs, n, &d);
	if (r == 0) {
		draft_info(d, &i);
		same = i.size == size && !open && !i.dirty;
	}
	if (r == 0 && !same)
		r = draft_begin(d, cancelled);
	if (r == 0 && !same)
		r = draft_truncate(d, size);
	if (r == 0 && !same && !open && !is_unlinked(n)) {
		r = commit(fs, n, d, NULL, cancelled);
		if (r == 0)
			write_due(fs, n, d);
	}
	if (d)
		draft_unref(d);
	WITH_LOCK(&fs->lock)
		n->opens--;
	write_let_go(fs, n);
	return r;
}

static void allocate_run(struct op *op)
{
	struct draft *d = NULL;
	int r = write_draft(op->fs, op->handle->node, &d);

	if (r == 0)
		r = draft_begin(d, &op->cancelled);
	if (r == 0)
		r = draft_allocate(d, (uint64_t)op->offset + op->size);
	if (d)
		draft_unref(d);
	op_reply_err(op, r == -EAGAIN ? -ENOSPC : r);
}

void write_allocate(struct op *op)
{
	op_park(op, allocate_run);
}

void write_seek(struct op *op, int whence)
{
	struct node *n = op->handle->node;
	struct draft *d = node_draft(n);
	uint64_t at = (uint64_t)op->offset, size = 0;
	int r = 0;

	if (d) {
		r = draft_seek(d, at, whence == SEEK_DATA, &at);
		draft_unref(d);
	} else {
		WITH_LOCK(&op->fs->lock)
			size = n->object.size;
		if (op->handle->is_control)
			size = control_length(op->handle);      /* cp asks, and would take it for one hole */
		if (size == OBJECT_SIZE_UNKNOWN || at >= size)
			r = -ENXIO;
		else if (whence == SEEK_HOLE)
			at = size;
	}
	if (r < 0) {
		op_reply_err(op, r);
		return;
	}
	if (op_claim(op))
		fuse_reply_lseek(op->req, (off_t)at);
	op_free(op);
}

/* ---- copy_file_range: a whole file, copied by the server ---- */

/* 0: done. -EOPNOTSUPP: the kernel copies. */
static int copy_whole(struct op *op, struct node *from, struct node *to, uint64_t *ret_size)
{
	struct fs *fs = op->fs;
	struct object o = {0}, dir = {0}, made = {0};
	_cleanup_free_ char *name = NULL;
	struct draft *d = node_draft(to);
	struct draft_info i;
	bool fits = false;
	int r = d ? 0 : -EOPNOTSUPP;

	if (r == 0)
		draft_info(d, &i);
	WITH_LOCK(&fs->lock)
		fits = r == 0 && !from->draft && !from->replaced && from->object.kind == OBJECT_FILE && from->object.size &&
		       from->object.size <= op->size && from->object.size != OBJECT_SIZE_UNKNOWN && node_is_local_locked(to) &&
		       to->writers == 1 && !to->unlinked && object_copy(&from->object, &o) == 0;
	if (!fits || op->offset || op->new_offset || i.size || i.committed || i.attempts)
		r = -EOPNOTSUPP;
	if (r == 0)
		r = draft_name(d, &name);
	if (r == 0 && spool_name_fate(name) != NAME_SENT)
		r = -EOPNOTSUPP;
	if (r == 0)
		r = draft_dir(d, &dir);
	if (r == 0)
		r = backend_copy(fs->session, &o, &dir, name, &made);
	if (r == 0) {
		*ret_size = made.size;
		r = draft_landed(d, &made);
	}
	if (d)
		draft_unref(d);
	object_done(&o);
	object_done(&dir);
	object_done(&made);
	return r;
}

static void copy_run(struct op *op)
{
	uint64_t n = 0;
	int r = copy_whole(op, op->handle->node, op->new_handle->node, &n);

	/* What the server cannot do, or not now, the kernel does by reading and writing. */
	if (r < 0 && r != -EINTR)
		r = -EOPNOTSUPP;
	if (r < 0) {
		op_reply_err(op, r);
		return;
	}
	if (op_claim(op))
		fuse_reply_write(op->req, n);
	op_free(op);
}

void write_copy(struct op *op)
{
	if (op->handle->is_control || op->new_handle->is_control || !fs_can_write(op->fs) || !op->fs->session->backend->copy)
		op_reply_err(op, -EOPNOTSUPP);
	else
		op_park(op, copy_run);
}

/* ---- what the spool says ---- */

/* The living node that has this draft, a reference; NULL: nobody looks at it. */
static struct node *node_of_draft(struct fs *fs, struct draft *d)
{
	struct node *n;
	struct draft_info i;

	draft_info(d, &i);
	WITH_LOCK(&fs->lock) {
		n = map64_get(fs->by_draft, i.id);
		if (n)
			node_ref_locked(n);
	}
	return n;
}

static void uploaded(void *arg, struct draft *d, const struct object *o)
{
	struct fs *fs = arg;
	struct node *n = node_of_draft(fs, d), *other;
	struct object copy = {0};

	if (!n || object_copy(o, &copy) < 0) {
		node_unref(n);
		return;
	}
	other = node_by_id(fs, o->id);
	WITH_LOCK(&fs->lock) {
		if (other && other != n) {
			/* A listing was quicker to name it: this one is it. */
			node_unlink_locked(other);
			other->unlinked = false;
		}
		object_done(&n->object);
		n->object = copy;
		node_keep_locked(n);
		n->object_at = n->version_at = n->kind_at = n->local_at = clock_mono_ms();
		n->listed_size = n->object.size;
		n->part_at = 0;
		n->lost = n->stale = false;
		keep_changed_locked(n->parent);
		node_notify_inode(fs, n, false);
	}
	node_unref(other);
	documents_drop(fs, n);
	node_unref(n);
}

static void changed(void *arg, struct draft *d)
{
	struct fs *fs = arg;
	struct node *n = node_of_draft(fs, d);
	struct draft_info i;
	_cleanup_free_ char *why = NULL;

	draft_info(d, &i);
	if (n)
		write_let_go(fs, n);
	if (n && i.state == DRAFT_DROPPED) {
		/* Given up: what the server has shows again, or nothing. */
		struct node *parent = NULL;

		WITH_LOCK(&fs->lock) {
			if (n->unlinked)
				break;
			parent = n->parent ? node_ref_locked(n->parent) : NULL;
			if (parent)
				node_notify_entry(fs, parent, n->name);
			node_unlink_locked(n);
			if (parent && parent->dir)
				parent->dir->listed_at = 0;
		}
		node_unref(parent);
	}
	if (i.state == DRAFT_REFUSED) {
		(void)draft_why(d, &why);
		events_add(fs, "refused", n ? n : fs->root, why ? why : strerror(-i.error));
	}
	node_unref(n);
}

/* The draft goes on as another file beside the one that somebody else has changed. */
static void conflict(void *arg, struct draft *d, const char *old_name)
{
	struct fs *fs = arg;
	struct node *n = node_of_draft(fs, d), *parent = NULL;
	_cleanup_free_ char *name = NULL;
	struct draft_info info;

	draft_info(d, &info);
	(void)draft_name(d, &name);
	log_warn("%s was changed on the server meanwhile: what was written here is kept as %s", old_name, name ? name : "a copy");
	if (!n)
		return;
	WITH_LOCK(&fs->lock) {
		parent = n->parent ? node_ref_locked(n->parent) : NULL;
		if (parent)
			node_notify_entry(fs, parent, n->name);
		node_unlink_locked(n);
		map64_remove(fs->by_draft, info.id);    /* it goes on as another file; who has this one open goes on with it */
		if (parent && parent->dir) {
			parent->dir->listed_at = 0;
			parent->dir->drafts_shown = false;
		}
	}
	events_add(fs, "conflict", parent ? parent : fs->root, name);
	node_unref(parent);
	node_unref(n);
}

/* What was removed here shows again, or the other way round: only what the server says now counts. */
static void removal(void *arg, const struct object *in, const struct object *o, int error, const char *why)
{
	struct fs *fs = arg;
	_cleanup_(node_unrefp) struct node *dir = node_by_id(fs, in->id);
	_cleanup_free_ char *name = NULL;

	(void)name_display(fs->config.names, o->name, o->id, &name);
	WITH_LOCK(&fs->lock) {
		struct dir *d = dir ? dir->dir : NULL;

		if (!d)
			break;
		d->listed_at = 0;
		free(TAKE(d->fingerprint));     /* at the server nothing has changed */
		map_free(TAKE(d->absent));
		if (name)
			node_notify_entry(fs, dir, name);
		node_notify_inode(fs, dir, true);
	}
	if (error)
		events_add(fs, "refused", dir, why ? why : strerror(-error));
}

int write_begin(struct fs *fs)
{
	struct spool_hooks hooks = {.uploaded = uploaded, .changed = changed, .conflict = conflict, .removal = removal, .arg = fs};

	return fs->spool ? spool_start(fs->spool, &hooks) : 0;
}

/* ---- drafts that have no node yet: what an earlier mount left ---- */

static void show_locked(struct fs *fs, struct node *dir, struct draft *d, const char *shown, const char *raw, const char *key,
                        struct object *base)
{
	struct node *n = NULL;

	if (base->id) {
		if (node_enter_locked(fs, dir, shown, base, NODE_LONG_AGO, &n) < 0)
			return;
		if (n->parent != dir) {
			node_unref_locked(n);
			return;
		}
	} else {
		struct object o = *base;        /* as it was planned, if it could be */

		memset(base, 0, sizeof(*base));
		o.kind = OBJECT_FILE;
		o.rights = dir->object.rights & (RIGHT_READ | RIGHT_WRITE | RIGHT_PUBLIC);
		if (str_dup(key, &o.id) < 0 || (!o.name && str_dup(raw, &o.name) < 0) ||
		    node_enter_at_locked(fs, dir, shown, &o, clock_mono_ms(), draft_ino(d), &n) < 0) {
			object_done(&o);
			return;
		}
	}
	if (!n->draft)
		node_set_draft_locked(n, d);
	(void)node_place_locked(n, dir, shown);         /* without memory it shows later */
	node_unref_locked(n);
}

void write_show_drafts(struct fs *fs, struct node *dir)
{
	_cleanup_free_ char *id = NULL;
	struct drafts all = {0};
	struct object in = {0};
	bool shown = !fs->spool || dir->control;

	if (shown)
		return;
	WITH_LOCK(&fs->lock) {
		shown = !dir->dir || dir->dir->drafts_shown;
		if (!shown) {
			dir->dir->drafts_shown = true;
			shown = str_dup(dir->object.id, &id) < 0;
		}
	}
	if (shown || spool_drafts(fs->spool, id, &all) < 0)
		return;
	for (size_t i = 0; i < all.list.n; i++) {
		struct draft *d = all.list.at[i];
		_cleanup_free_ char *raw = NULL, *key = NULL, *as = NULL;
		struct node *has = node_of_draft(fs, d);
		struct object base = {0};
		struct draft_info info;

		draft_info(d, &info);
		if (!has && info.committed && draft_name(d, &raw) == 0 && draft_key(d, &key) == 0 &&
		    name_display(fs->config.names, raw, key, &as) == 0) {
			if (draft_base(d, &base) == -ENOENT && (in.id || node_object(dir, &in) == 0))
				(void)backend_plan_create(fs->session, &in, raw, OBJECT_FILE, &base);
			WITH_LOCK(&fs->lock)
				show_locked(fs, dir, d, as, raw, key, &base);
		}
		object_done(&base);
		node_unref(has);
	}
	object_done(&in);
	drafts_done(&all);
}

void node_stale(struct fs *fs, struct node *n)
{
	documents_drop(fs, n);
	dir_drop(fs, n);
}
