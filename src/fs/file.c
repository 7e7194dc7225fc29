/* file.c - open, opendir, release: handles and the version that they pin. */
#include <errno.h>
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
	verify_free(h->verify);
	cache_close(h->file);
	object_done(&h->object);
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
	WITH_LOCK(&fs->lock) {
		list_remove(&h->link);
		if (h->node->opens)
			h->node->opens--;
	}
	if (!h->is_dir && !h->is_control) {
		atomic_fetch_sub(&fs->readers, 1);
		read_release(h);
	}
	handle_unref(h);
}

void file_release_all(struct fs *fs)
{
	for (;;) {
		struct handle *h;

		WITH_LOCK(&fs->lock)
			h = list_first(&fs->handles, struct handle, link);
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

/* Answer with the handle: the kernel's from here on, unless the open was interrupted. */
static void reply_open(struct op *op, struct handle *h)
{
	struct fs *fs = op->fs;

	WITH_LOCK(&fs->lock) {
		h->node->opens++;
		list_append(&fs->handles, &h->link);
	}
	op->fi.fh = (uintptr_t)h;
	if (!op_claim(op)) {
		file_release(fs, h);
		op_free(op);
		return;
	}
	if (fuse_reply_open(op->req, &op->fi) == -ENOENT)
		file_release(fs, h);
	op_free(op);
}

int file_handle(struct fs *fs, struct node *n, struct handle **ret)
{
	_cleanup_free_ char *key = NULL;
	struct handle *h = handle_new(n);
	int r = h ? 0 : -ENOMEM;

	if (r == 0)
		r = node_object(n, &h->object);
	WITH_LOCK(&fs->lock)
		if (r == 0 && n->replaced)
			r = -ESTALE;    /* the kernel looks the name up again and finds the new node */
	if (r == 0 && h->object.kind == OBJECT_DIR)
		r = -EISDIR;
	if (r == 0 && h->object.kind != OBJECT_FILE)
		r = -EIO;
	if (r == 0 && !(h->object.rights & (RIGHT_READ | RIGHT_PUBLIC)))
		r = -EACCES;
	if (r == 0 && h->object.size == OBJECT_SIZE_UNKNOWN) {
		log_warn("%s: the server does not tell its size: it cannot be read", h->object.name);
		r = -EIO;
	}
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

static void open_now(struct op *op)
{
	struct fs *fs = op->fs;
	struct node *n = op->node;
	struct handle *h = NULL;
	int r = file_handle(fs, n, &h);

	if (r < 0) {
		op_reply_err(op, r);
		return;
	}
	WITH_LOCK(&fs->lock) {
		op->fi.keep_cache = n->pages_clean;
		n->pages_clean = true;
	}
	atomic_fetch_add(&fs->readers, 1);
	h->verify = verify_new(fs, &h->object);
	siblings_opened(fs, n);
	reply_open(op, h);
}

static void open_run(struct op *op)
{
	int r = node_refresh_version(op->fs, op->node, op->fs->attr_ttl_ms);

	if (r < 0)
		op_reply_err(op, r);
	else
		open_now(op);
}

static void open_control_run(struct op *op)
{
	struct handle *h = handle_new(op->node);
	int r = h ? control_open(op->fs, op->node, h) : -ENOMEM;

	if (r < 0) {
		if (h)
			handle_unref(h);
		op_reply_err(op, r);
		return;
	}
	h->is_control = true;
	op->fi.direct_io = 1;
	reply_open(op, h);
}

void file_open(struct op *op)
{
	struct fs *fs = op->fs;
	struct node *n = op->node;
	bool fresh;

	if (n->control) {
		op_park(op, open_control_run);
		return;
	}
	WITH_LOCK(&fs->lock)
		fresh = n->replaced || (n->object.kind == OBJECT_FILE && n->object.version &&
		                        (fs_now_age(n->version_at) <= fs->attr_ttl_ms || (n->stale && fs_is_quiet(fs))));
	if (fresh)
		open_now(op);
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
	reply_open(op, h);
}

static void opendir_run(struct op *op)
{
	int r = dir_load(op->fs, op->node, op->fs->list_ttl_ms);

	if (r < 0)
		op_reply_err(op, r);
	else
		opendir_now(op);
}

void file_opendir(struct op *op)
{
	struct fs *fs = op->fs;
	struct dir *d = op->node->dir;
	bool fresh = false;

	/* A fresh listing is answered on the spot: df opens the directory that it is asked about, and must not wait behind
	 * callers that are all busy. */
	WITH_LOCK(&fs->lock)
		fresh = !op->node->control && d && d->listed &&
		        ((d->listed_at && fs_now_age(d->listed_at) <= fs->list_ttl_ms) || (op->node->stale && fs_is_quiet(fs)));
	if (fresh)
		opendir_now(op);
	else
		op_park(op, opendir_run);
}
