/* file.c - open, opendir, release: handles and the version that they pin. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"


static struct handle *handle_new(struct node *n)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	atomic_init(&h->refs, 1);
	list_init(&h->link);
	pthread_mutex_init(&h->lock, NULL);
	list_init(&h->fetches);
	h->node = node_ref(n);
	return h;
}

struct handle *handle_ref(struct handle *h)
{
	atomic_fetch_add(&h->refs, 1);
	return h;
}

void handle_unref(struct handle *h)
{
	if (atomic_fetch_sub(&h->refs, 1) != 1)
		return;
	if (h->old)
		handle_unref(h->old);
	verify_free(h->verify);
	doc_done(&h->base);
	cache_close(h->file);
	object_done(&h->object);
	control_handle_done(h);
	buf_done(&h->text);
	for (size_t i = 0; i < h->entries.n; i++)
		node_unref(h->entries.at[i]);
	for (size_t i = 0; i < h->names.n; i++)
		free(h->names.at[i]);
	vec_done(&h->entries);
	vec_done(&h->names);
	node_unref(h->node);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void file_release(struct fs *fs, struct handle *h)
{
	_cleanup_free_ char *removed = NULL;

	WITH_LOCK(&fs->lock) {
		list_remove(&h->link);
		if (h->node->opens)
			h->node->opens--;
		if (h->writable && h->node->writers)
			h->node->writers--;
		if (h->node->unlinked && !h->node->opens && fs->spool && h->node->object.id)
			(void)str_dup(h->node->object.id, &removed);
	}
	if (!h->is_dir && !h->is_control) {
		atomic_fetch_sub(&fs->readers, 1);
		read_release(h);
		if (fs->spool)
			write_released(fs, h);
		if (removed)
			spool_remove_now(fs->spool, removed);
	}
	handle_unref(h);
}

void file_release_all(struct fs *fs)
{
	for (;;) {
		struct handle *h;

		WITH_LOCK(&fs->lock) {
			h = list_first(&fs->handles, struct handle, link);
			/* What was never closed was never promised: half of a file is not sent in its name. */
			if (h && h->writable) {
				h->writable = false;
				h->node->writers--;
			}
		}
		if (!h)
			return;
		file_release(fs, h);
	}
}

int file_cache_key(struct fs *fs, const struct object *o, char **ret)
{
	if (o->version)
		return str_fmt(ret, "%s\n%s\n%s\n%s", fs->session->origin, fs->session->identity, o->id, o->version);
	return str_fmt(ret, "%s\n%s\n%s\n%lld.%ld\n%llu", fs->session->origin, fs->session->identity, o->id,
	               (long long)o->mtime.tv_sec, o->mtime.tv_nsec, (unsigned long long)o->size);
}

/* Its close has nothing to make safe (write_flush() agrees): the kernel need not ask, and close need not wait for the answer. */
static void never_flush(struct op *op, const struct handle *h)
{
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 11)
	op->fi.noflush = !h->is_dir && !h->writable;
#endif
}

/* Answer with the handle: the kernel's from here on, unless the open was interrupted. `made` (a reference that is consumed, or NULL):
 * with this entry too. */
static void reply_open(struct op *op, struct handle *h, struct node *made)
{
	struct fs *fs = op->fs;
	struct fuse_entry_param e;
	int r;

	WITH_LOCK(&fs->lock) {
		if (h->is_dir || h->is_control)
			h->node->opens++;
		if (h->writable)
			h->node->writers++;
		list_append(&fs->handles, &h->link);
	}
	op->fi.fh = (uintptr_t)h;
	never_flush(op, h);
	if (!op_claim(op)) {
		node_unref(made);
		file_release(fs, h);
		op_free(op);
		return;
	}
	if (made)
		WITH_LOCK(&fs->lock)
			fs_entry_locked(fs, made, &e);
	r = made ? fuse_reply_create(op->req, &e, &op->fi) : fuse_reply_open(op->req, &op->fi);
	if (r == -ENOENT) {
		if (made)
			node_forget(fs, made, 1);
		file_release(fs, h);
	}
	node_unref(made);
	op_free(op);
}

int file_handle_of(struct fs *fs, struct node *n, const struct object *o, struct handle **ret)
{
	_cleanup_free_ char *key = NULL;
	struct handle *h = handle_new(n);
	int r = h ? object_copy(o, &h->object) : -ENOMEM;

	if (r == 0)
		r = file_cache_key(fs, &h->object, &key);
	if (r == 0 && h->object.size)
		r = cache_open(fs->cache, key, h->object.size, &h->file);
	if (r < 0) {
		if (h)
			handle_unref(h);
		return r;
	}
	*ret = h;
	return 0;
}

/* A handle of what was written here: it is read from its draft. 1; 0: there is none. */
static int draft_handle(struct fs *fs, struct node *n, struct handle **ret)
{
	struct handle *h = handle_new(n);
	bool has = false;
	int r = h ? 0 : -ENOMEM;

	WITH_LOCK(&fs->lock) {
		has = n->draft;
		if (r == 0 && has)
			r = object_copy(&n->object, &h->object);
	}
	if (r < 0 || !has) {
		if (h)
			handle_unref(h);
		return r;
	}
	*ret = h;
	return 1;
}

int file_handle(struct fs *fs, struct node *n, struct handle **ret)
{
	struct object o = {0};
	int r = node_object(n, &o);

	WITH_LOCK(&fs->lock)
		if (r == 0 && n->replaced && !n->unlinked)
			r = -ESTALE;    /* the kernel looks the name up again and finds the new node */
	if (r == 0 && o.kind == OBJECT_DIR)
		r = -EISDIR;
	if (r == 0 && o.kind != OBJECT_FILE)
		r = -EIO;
	if (r == 0 && !(o.rights & (RIGHT_READ | RIGHT_PUBLIC)))
		r = -EACCES;
	if (r == 0)
		r = draft_handle(fs, n, ret);
	if (r == 0 && o.size == OBJECT_SIZE_UNKNOWN) {
		log_warn("%s: the server does not tell its size: it cannot be read", o.name);
		r = -EIO;
	}
	if (r == 0)
		r = file_handle_of(fs, n, &o, ret);
	object_done(&o);
	return r < 0 ? r : 0;
}

static bool wants_write(const struct op *op)
{
	return (op->fi.flags & O_ACCMODE) != O_RDONLY || op->fi.flags & O_TRUNC;
}

/* On a caller when it truncates, else anywhere. `made`: the entry to answer with (a reference that is consumed), or NULL. */
static void open_now(struct op *op, struct node *n, struct node *made)
{
	struct fs *fs = op->fs;
	struct handle *h = NULL;
	int r;

	/* Counted first: what it is to be read from must not be let go in between. */
	WITH_LOCK(&fs->lock)
		n->opens++;
	r = file_handle(fs, n, &h);
	if (r == 0 && wants_write(op) && !(h->object.rights & RIGHT_WRITE))
		r = -EACCES;
	if (r == 0 && wants_write(op) && !made)
		r = backend_check_write(fs->session, &h->object);
	if (r == 0 && op->fi.flags & O_TRUNC)
		r = write_truncate(fs, n, 0, true, &op->cancelled);
	if (r < 0) {
		WITH_LOCK(&fs->lock)
			n->opens--;
		write_let_go(fs, n);
		if (h)
			handle_unref(h);
		node_unref(made);
		op_reply_err(op, r);
		return;
	}
	/* Who only reads what it has made or cut to nothing has changed it too: its close makes that safe and due. */
	h->writable = wants_write(op) || made;
	h->append = op->fi.flags & O_APPEND;
	WITH_LOCK(&fs->lock) {
		op->fi.keep_cache = n->pages_clean;
		n->pages_clean = true;
	}
	atomic_fetch_add(&fs->readers, 1);
	if (h->file && !h->writable)
		h->verify = verify_new(fs, &h->object);
	if (!made)
		siblings_opened(fs, n);
	reply_open(op, h, made);
}

static void open_control(struct op *op, struct node *n, struct node *made)
{
	struct handle *h = handle_new(n);
	int r = h ? 0 : -ENOMEM;

	if (r == 0) {
		h->is_control = true;
		h->writable = (op->fi.flags & O_ACCMODE) != O_RDONLY;
		h->append = op->fi.flags & O_APPEND;
		r = wants_write(op) ? control_open_write(op->fs, n, op->fi.flags, h) : control_open(op->fs, n, h);
	}
	if (r < 0) {
		if (h)
			handle_unref(h);
		node_unref(made);
		op_reply_err(op, r);
		return;
	}
	op->fi.direct_io = 1;
	reply_open(op, h, made);
}

void file_open_run(struct op *op, struct node *n, bool entry)
{
	struct fs *fs = op->fs;
	int r = 0;

	if (n->control) {
		open_control(op, n, entry ? n : NULL);
	} else if (wants_write(op) && !fs_can_write(fs)) {
		r = -EROFS;
	} else {
		r = node_refresh_version(fs, n, fs->attr_ttl_ms);
		WITH_LOCK(&fs->lock)
			(void)fs_wait_changed_locked(fs, &n->dropping, NOTIFY_MAX_MS);
		if (r == 0)
			open_now(op, n, entry ? n : NULL);
	}
	if (r < 0) {
		if (entry)
			node_unref(n);
		op_reply_err(op, r);
	}
}

static void open_run(struct op *op)
{
	file_open_run(op, op->node, false);
}

void file_open(struct op *op)
{
	struct fs *fs = op->fs;
	struct node *n = op->node;
	bool fresh;

	if (!n->control && wants_write(op) && !fs_can_write(fs)) {
		op_reply_err(op, -EROFS);
		return;
	}
	WITH_LOCK(&fs->lock)
		fresh = !n->control && !n->dropping && !(op->fi.flags & O_TRUNC) &&
		        (n->replaced || node_has_owed_locked(n) ||
		         (n->object.kind == OBJECT_FILE && n->object.version &&
		          (fs_now_age(n->version_at) <= fs->attr_ttl_ms || (n->stale && fs_is_quiet(fs)))));
	if (fresh)
		open_now(op, n, NULL);
	else
		op_park(op, open_run);
}

/* ---- directories ---- */

static void snapshot(struct fs *fs, struct node *dir, struct handle *h, bool show_control)
{
	struct node *control = NULL;

	if (show_control && control_root(fs, dir, &control) < 0)
		control = NULL;
	WITH_LOCK(&fs->lock) {
		struct dir *d = dir->dir;

		for (size_t i = 0; i < d->order.n; i++)
			if (vec_push(&h->entries, d->order.at[i]) == 0)
				node_ref_locked(d->order.at[i]);
	}
	if (control && vec_push(&h->entries, control) < 0)
		node_unref(control);
}

/* From what is known now. */
static void opendir_now(struct op *op)
{
	struct fs *fs = op->fs;
	struct handle *h = handle_new(op->node);
	int r = h ? 0 : -ENOMEM;

	if (r == 0 && op->node->control)
		r = control_list(fs, op->node, h);
	if (r < 0) {
		if (h)
			handle_unref(h);
		op_reply_err(op, r);
		return;
	}
	h->is_dir = true;
	if (!op->node->control)
		snapshot(fs, op->node, h, fs->config.show_control);
	reply_open(op, h, NULL);
}

static void opendir_run(struct op *op)
{
	int r = dir_load(op->fs, op->node, op->fs->list_ttl_ms);

	if (r < 0)
		op_reply_err(op, r);
	else
		opendir_now(op);
}

/* A fresh listing is answered on the spot: df opens the directory that it is asked about, and must not wait behind callers that are all
 * busy. */
static bool is_fresh(struct fs *fs, const struct node *n)
{
	const struct dir *d = n->dir;
	bool fresh = false;

	WITH_LOCK(&fs->lock)
		fresh = !n->control && d && d->listed &&
		        ((d->listed_at && fs_now_age(d->listed_at) <= fs->list_ttl_ms) || (n->stale && fs_is_quiet(fs)));
	return fresh;
}

void file_opendir(struct op *op)
{
	if (is_fresh(op->fs, op->node))
		opendir_now(op);
	else
		op_park(op, opendir_run);
}

/* Only who answers may change what the handle has: until then an interrupted reader may be back at it. */
static void rewind_now(struct op *op)
{
	struct handle *h = op->handle;

	if (op_claim(op)) {
		for (size_t i = 0; i < h->entries.n; i++)
			node_unref(h->entries.at[i]);
		h->entries.n = 0;
		snapshot(op->fs, h->node, h, op->fs->config.show_control);
		ops_reply_dir(op->req, h, op->size, 0, op->plus);
	}
	op_free(op);
}

static void rewind_run(struct op *op)
{
	int r = dir_load(op->fs, op->node, op->fs->list_ttl_ms);

	if (r < 0)
		op_reply_err(op, r);
	else
		rewind_now(op);
}

void file_rewinddir(struct op *op)
{
	if (is_fresh(op->fs, op->node))
		rewind_now(op);
	else
		op_park(op, rewind_run);
}
