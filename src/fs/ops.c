/* ops.c - the table of FUSE operations, the session's life, and parked requests.
 *
 * A FUSE worker never waits for the network: what memory can answer is answered on the spot, anything else becomes a
 * struct op that a caller runs. libfuse has few workers; were they to wait, one silent directory would stop df.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

#define CALLERS_DEFAULT 32
#define CALLERS_QUEUE 65536
#define SOFT_WAIT_DEFAULT_MS 1000
#define NEGATIVE_TTL_DEFAULT_MS 5000
#define NOTIFY_QUEUE 200000
#define SPACE_UNKNOWN (1ull << 50)      /* what df shows when the server does not tell */
#define HOUSE_TICK_MS 1000
#define XATTR_MAX 65536

/* ---- parked requests ---- */

struct op *op_new(struct fs *fs, fuse_req_t req, struct node *node)
{
	struct op *op = calloc(1, sizeof(*op));

	if (!op) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	op->fs = fs;
	op->req = req;
	op->node = node ? node_ref(node) : NULL;
	pthread_mutex_init(&op->lock, NULL);
	return op;
}

void op_free(struct op *op)
{
	node_unref(op->node);
	if (op->handle)
		handle_unref(op->handle);
	free(op->name);
	pthread_mutex_destroy(&op->lock);
	free(op);
}

/* Called by libfuse with the request's own lock held; answering here is allowed, the request lives until we return. */
void op_interrupted(fuse_req_t req, void *arg)
{
	struct op *op = arg;
	bool mine = false;

	WITH_LOCK(&op->lock) {
		if (!op->answered) {
			op->answered = mine = true;
			__atomic_store_n(&op->cancelled, 1, __ATOMIC_RELAXED);
			fuse_reply_err(req, EINTR);
		}
	}
	if (mine && op->fs->http)
		http_wake(op->fs->http);
}

bool op_claim(struct op *op)
{
	bool mine = false;

	WITH_LOCK(&op->lock)
		if (!op->answered)
			op->answered = mine = true;
	/* Ours now: wait until no interrupt is inside op_interrupted() any more, and let none come. */
	if (mine)
		fuse_req_interrupt_func(op->req, NULL, NULL);
	return mine;
}

static void op_run(void *arg)
{
	struct op *op = arg;

	http_set_cancel(&op->cancelled);
	op->run(op);
	http_set_cancel(NULL);
}

void op_park(struct op *op, void (*run)(struct op *op))
{
	op->run = run;
	fuse_req_interrupt_func(op->req, op_interrupted, op);
	if (pool_add(op->fs->callers, op_run, op) < 0)
		op_reply_err(op, -EBUSY);
}

void op_reply_err(struct op *op, int err)
{
	if (op_claim(op))
		fuse_reply_err(op->req, -err);
	op_free(op);
}

static double remaining(unsigned ttl, uint64_t at)
{
	unsigned age = fs_now_age(at);

	return age >= ttl ? 0 : (ttl - age) / 1000.0;
}

/* How long the kernel may believe what it is told of n: as long as we would. */
static double attr_time_locked(struct fs *fs, const struct node *n)
{
	double own = remaining(fs->attr_ttl_ms, n->object_at);
	double listed = n->parent && n->parent->dir ? remaining(fs->list_ttl_ms, n->parent->dir->listed_at) : 0;

	if (n->control || n->stale)
		return 0;
	if (n->object.kind == OBJECT_UNKNOWN)
		return 0;
	return own > listed ? own : listed;
}

void fs_entry_locked(struct fs *fs, struct node *n, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = node_number(n);
	e->generation = n->generation;
	node_stat_locked(n, &e->attr);
	e->attr_timeout = attr_time_locked(fs, n);
	e->entry_timeout = n->control ? 1.0 : e->attr_timeout;
	n->nlookup++;
}

void op_reply_entry(struct op *op, struct node *n)
{
	struct fs *fs = op->fs;
	struct fuse_entry_param e;

	if (!op_claim(op)) {
		node_unref(n);
		op_free(op);
		return;
	}
	WITH_LOCK(&fs->lock)
		fs_entry_locked(fs, n, &e);
	/* On -ENOENT the request was aborted and the kernel does not count the lookup. */
	if (fuse_reply_entry(op->req, &e) == -ENOENT)
		node_forget(fs, n, 1);
	node_unref(n);
	op_free(op);
}

static void reply_attr(struct fs *fs, fuse_req_t req, struct node *n)
{
	struct stat st;
	double timeout;

	WITH_LOCK(&fs->lock) {
		node_stat_locked(n, &st);
		timeout = attr_time_locked(fs, n);
	}
	fuse_reply_attr(req, &st, timeout);
}

void op_reply_attr(struct op *op, struct node *n)
{
	if (op_claim(op))
		reply_attr(op->fs, op->req, n);
	op_free(op);
}

void op_reply_buf(struct op *op, const void *p, size_t n)
{
	if (op_claim(op))
		fuse_reply_buf(op->req, p, n);
	op_free(op);
}

void op_reply_xattr(struct op *op, const void *p, size_t n)
{
	if (op_claim(op)) {
		if (op->size == 0)
			fuse_reply_xattr(op->req, n);
		else if (n > op->size)
			fuse_reply_err(op->req, ERANGE);
		else
			fuse_reply_buf(op->req, p, n);
	}
	op_free(op);
}

/* ---- lookup, forget ---- */

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* What one caller found out of a directory's undecided children is soon asked of the next ones too: ask ahead. */
struct ahead {
	struct fs *fs;
	struct node *node;
};

static void ahead_run(void *arg)
{
	struct ahead *a = arg;

	(void)node_refresh(a->fs, a->node, UINT_MAX - 1);       /* only to know it sooner */
	atomic_fetch_sub(&a->fs->aheads, 1);
	node_unref(a->node);
	free(a);
}

static void look_ahead(struct fs *fs, struct node *n)
{
	unsigned most = fs->session->policy.stat_parallel, found = 0;
	struct node *next[64];

	if (most > 64)
		most = 64;
	WITH_LOCK(&fs->lock) {
		struct dir *d = n->parent ? n->parent->dir : NULL;
		size_t at;

		if (!d || !d->listed || !d->order.n)
			break;
		/* Where this one stands: the hint of the last time is nearly always right. */
		for (at = d->ahead_hint; at < d->order.n && d->order.at[at] != n; at++)
			;
		if (at == d->order.n)
			for (at = 0; at < d->ahead_hint && d->order.at[at] != n; at++)
				;
		d->ahead_hint = at < d->order.n ? at : 0;
		for (size_t i = d->ahead_hint + 1; i < d->order.n && i < d->ahead_hint + 4 * most && found < most; i++) {
			struct node *c = d->order.at[i];

			if (c->object.kind == OBJECT_UNKNOWN && !c->refreshing &&
			    atomic_load(&fs->aheads) + found < most)
				next[found++] = node_ref_locked(c);
		}
	}
	for (unsigned i = 0; i < found; i++) {
		struct ahead *a = malloc(sizeof(*a));

		if (a) {
			*a = (struct ahead){fs, next[i]};
			atomic_fetch_add(&fs->aheads, 1);
			if (pool_add(fs->askers, ahead_run, a) == 0)
				continue;
			atomic_fetch_sub(&fs->aheads, 1);
			free(a);
		}
		node_unref(next[i]);
	}
}

static void lookup_run(struct op *op)
{
	struct fs *fs = op->fs;
	struct node *n;
	bool unknown = false;
	int r = dir_lookup(fs, op->node, op->name, &n);

	if (r == -ENOENT && op_claim(op)) {
		/* A name that is not there is remembered by the kernel for a moment too. */
		struct fuse_entry_param e = {.ino = 0, .entry_timeout = fs->config.negative_ttl_ms / 1000.0};

		fuse_reply_entry(op->req, &e);
		op_free(op);
		return;
	}
	if (r < 0) {
		op_reply_err(op, r);
		return;
	}
	WITH_LOCK(&fs->lock)
		unknown = !n->control && n->object.kind == OBJECT_UNKNOWN;
	if (unknown) {
		look_ahead(fs, n);
		r = node_refresh(fs, n, UINT_MAX - 1);
		if (r == -ESTALE) {
			/* It became a directory: another node stands in its place. */
			node_unref(n);
			r = dir_lookup(fs, op->node, op->name, &n);
			if (r < 0) {
				op_reply_err(op, r);
				return;
			}
		}
		if (r < 0) {
			node_unref(n);
			op_reply_err(op, r);
			return;
		}
	}
	op_reply_entry(op, n);
}

static void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct node *p = node_of(fs, parent), *n = NULL;
	struct fuse_entry_param e;
	struct op *op;
	bool answered = false, absent = false;

	atomic_fetch_add(&fs->count_lookups, 1);
	/* The kernel itself passes on what is longer than a name may be here. */
	if (strlen(name) > FS_NAME_MAX) {
		fuse_reply_err(req, ENAMETOOLONG);
		return;
	}
	if (p->dir && !p->control && strcmp(name, FS_CONTROL_NAME) != 0) {
		WITH_LOCK(&fs->lock) {
			struct dir *d = p->dir;
			bool fresh = d->listed && d->listed_at && fs_now_age(d->listed_at) <= fs->list_ttl_ms;

			n = map_get(d->by_name, name);
			if (n && n->object.kind != OBJECT_UNKNOWN && n->object_at &&
			    (fresh || fs_now_age(n->object_at) <= fs->attr_ttl_ms || (n->stale && fs_is_quiet(fs)))) {
				fs_entry_locked(fs, n, &e);
				node_ref_locked(n);
				answered = true;
			} else {
				absent = fresh && !n;
				n = NULL;
			}
		}
	}
	if (answered) {
		if (fuse_reply_entry(req, &e) == -ENOENT)
			node_forget(fs, n, 1);
		node_unref(n);
		return;
	}
	if (absent) {
		e = (struct fuse_entry_param){.ino = 0, .entry_timeout = fs->config.negative_ttl_ms / 1000.0};
		fuse_reply_entry(req, &e);
		return;
	}
	op = op_new(fs, req, p);
	if (!op)
		return;
	op->name = strdup(name);
	if (!op->name) {
		op_reply_err(op, -ENOMEM);
		return;
	}
	op_park(op, lookup_run);
}

static void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	struct fs *fs = fs_of(req);

	if (ino != FUSE_ROOT_ID)
		node_forget(fs, node_of(fs, ino), nlookup);
	fuse_reply_none(req);
}

static void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fs *fs = fs_of(req);

	for (size_t i = 0; i < count; i++)
		if (forgets[i].ino != FUSE_ROOT_ID)
			node_forget(fs, node_of(fs, forgets[i].ino), forgets[i].nlookup);
	fuse_reply_none(req);
}

/* ---- attributes ---- */

static void getattr_run(struct op *op)
{
	int r = op->node->control ? 0 : node_refresh(op->fs, op->node, op->fs->attr_ttl_ms);

	if (r < 0)
		op_reply_err(op, r);
	else
		op_reply_attr(op, op->node);
}

static void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct node *n = node_of(fs, ino);
	bool fresh = false;
	struct op *op;

	atomic_fetch_add(&fs->count_getattrs, 1);
	WITH_LOCK(&fs->lock) {
		unsigned age = fs_now_age(n->object_at);

		fresh = n->control || n->replaced || n == fs->root || age <= fs->attr_ttl_ms || (n->stale && fs_is_quiet(fs)) ||
		        (n->object.kind != OBJECT_UNKNOWN && age <= fs->list_ttl_ms && n->parent && n->parent->dir &&
		         fs_now_age(n->parent->dir->listed_at) <= fs->list_ttl_ms);
	}
	if (fresh) {
		reply_attr(fs, req, n);
		return;
	}
	op = op_new(fs, req, n);
	if (op)
		op_park(op, getattr_run);
}

static void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = FS_NAME_MAX, .f_files = 1000000000,
	                     .f_ffree = 1000000000, .f_favail = 1000000000};
	bool known = atomic_load(&fs->space_known);
	uint64_t total = known ? atomic_load(&fs->space_total) : SPACE_UNKNOWN;
	uint64_t used = known ? atomic_load(&fs->space_used) : 0;

	if (total < used)
		total = used;
	st.f_blocks = total / 4096;
	st.f_bfree = st.f_bavail = (total - used) / 4096;
	fuse_reply_statfs(req, &st);
}

/* ---- links and extended attributes ---- */

static void readlink_run(struct op *op)
{
	_cleanup_free_ char *target = NULL;
	int r = control_readlink(op->fs, op->node, &target);

	if (r < 0) {
		op_reply_err(op, r);
		return;
	}
	if (op_claim(op))
		fuse_reply_readlink(op->req, target);
	op_free(op);
}

static void fs_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	struct node *n = node_of(fs, ino);
	_cleanup_free_ char *target = NULL;
	struct op *op;

	if (n->control) {
		op = op_new(fs, req, n);
		if (op)
			op_park(op, readlink_run);
		return;
	}
	WITH_LOCK(&fs->lock)
		target = n->object.target ? strdup(n->object.target) : NULL;
	if (target)
		fuse_reply_readlink(req, target);
	else
		fuse_reply_err(req, EINVAL);
}

static void getxattr_run(struct op *op)
{
	struct buf b = BUF_MAX(16u << 20);
	int r = xattr_get(op->fs, op->node, op->name, &b);

	if (r == 0 && b.len > XATTR_MAX && op->size)
		r = -E2BIG;
	if (r < 0)
		op_reply_err(op, r);
	else
		op_reply_xattr(op, buf_str(&b), b.len);
	buf_done(&b);
}

static void fs_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *fs = fs_of(req);
	struct node *n = node_of(fs, ino);
	struct op *op;

	/* ls -l asks for these of every file. */
	if (strncmp(name, "user.", 5) != 0) {
		fuse_reply_err(req, ENODATA);
		return;
	}
	op = op_new(fs, req, n);
	if (!op)
		return;
	op->size = size;
	op->name = strdup(name);
	if (!op->name)
		op_reply_err(op, -ENOMEM);
	else if (xattr_is_quick(n, name))
		getxattr_run(op);
	else
		op_park(op, getxattr_run);
}

static void listxattr_run(struct op *op)
{
	struct buf b = BUF_MAX(1u << 20);
	int r = xattr_list(op->fs, op->node, &b);

	if (r < 0)
		op_reply_err(op, r);
	else
		op_reply_xattr(op, buf_str(&b), b.len);
	buf_done(&b);
}

static void fs_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *fs = fs_of(req);
	struct op *op = op_new(fs, req, node_of(fs, ino));

	if (!op)
		return;
	op->size = size;
	op_park(op, listxattr_run);
}

static void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct fs *fs = fs_of(req);
	int r = xattr_set(fs, node_of(fs, ino), name, value, size);

	fuse_reply_err(req, -r);
}

/* ---- what a read-only mount refuses ---- */

static void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	fuse_reply_err(req, EROFS);
}

static void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	fuse_reply_err(req, EROFS);
}

static void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	fuse_reply_err(req, EROFS);
}

static void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EROFS);
}

static void fs_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EROFS);
}

static void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
                      unsigned int flags)
{
	fuse_reply_err(req, EROFS);
}

static void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	fuse_reply_err(req, EROFS);
}

static void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	fuse_reply_err(req, EROFS);
}

static void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	fuse_reply_err(req, EROFS);
}

/* ---- files and directories: file.c ---- */

static void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct op *op;

	if ((fi->flags & O_ACCMODE) != O_RDONLY || fi->flags & O_TRUNC) {
		fuse_reply_err(req, EROFS);
		return;
	}
	op = op_new(fs, req, node_of(fs, ino));
	if (!op)
		return;
	op->fi = *fi;
	file_open(op);
}

static void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct op *op = op_new(fs, req, node_of(fs, ino));

	if (!op)
		return;
	op->fi = *fi;
	file_opendir(op);
}

static struct handle *handle_of(struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

static void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct op *op = op_new(fs, req, NULL);

	if (!op)
		return;
	op->handle = handle_ref(handle_of(fi));
	op->size = size;
	op->offset = offset;
	read_start(op);
}

static void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	file_release(fs_of(req), handle_of(fi));
	fuse_reply_err(req, 0);
}

/* Entry i of a directory handle: its name, what is known of it, and whether that is enough for readdirplus. */
static void readdir_reply(fuse_req_t req, struct handle *h, size_t size, off_t offset, bool plus)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e;
	char *buf = malloc(size);
	size_t used = 0, total = h->entries.n + 2;
	/* The kernel counts a lookup of every entry it is given with a number: take them back if the reply fails. */
	VEC(struct node *) counted = {0};

	if (!buf) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	for (size_t i = (size_t)offset; i < total; i++) {
		_cleanup_free_ char *name = NULL;
		struct node *n = i >= 2 ? h->entries.at[i - 2] : h->node;
		bool count = false;
		size_t need;

		memset(&e, 0, sizeof(e));
		WITH_LOCK(&fs->lock) {
			if (i == 1 && n->parent)
				n = n->parent;
			name = i < 2 ? strdup(i ? ".." : ".") : i - 2 < h->names.n && h->names.at[i - 2] ? strdup(h->names.at[i - 2])
			                                                                             : strdup(n->name);
			node_stat_locked(n, &e.attr);
			if (!n->control && n->object.kind == OBJECT_UNKNOWN)
				e.attr.st_mode = 0;     /* DT_UNKNOWN: whoever needs to know asks */
			else if (plus && i >= 2 && !n->replaced)
				count = true;
		}
		if (!name)
			break;
		need = plus ? fuse_add_direntry_plus(req, NULL, 0, name, NULL, 0) : fuse_add_direntry(req, NULL, 0, name, NULL, 0);
		if (used + need > size)
			break;
		if (count && vec_push(&counted, n) == 0)
			WITH_LOCK(&fs->lock)
				fs_entry_locked(fs, n, &e);
		used += plus ? fuse_add_direntry_plus(req, buf + used, size - used, name, &e, (off_t)i + 1)
		             : fuse_add_direntry(req, buf + used, size - used, name, &e.attr, (off_t)i + 1);
	}
	if (fuse_reply_buf(req, buf, used) < 0)
		for (size_t i = 0; i < counted.n; i++)
			node_forget(fs, counted.at[i], 1);
	vec_done(&counted);
	free(buf);
}

static void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	readdir_reply(req, handle_of(fi), size, offset, false);
}

static void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	readdir_reply(req, handle_of(fi), size, offset, true);
}

/* ---- the session ---- */

static void fs_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	/* FUSE_CAP_CACHE_SYMLINKS is left out: the kernel would keep a link's target for as long as its inode, and what a search
	 * found may have moved. */
	conn->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_AUTO_INVAL_DATA);
	conn->want |= conn->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
	                               FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_EXPLICIT_INVAL_DATA);
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->max_readahead = CACHE_READ_MAX;
	conn->max_write = CACHE_READ_MAX;       /* libfuse derives the pages of a request from it, reads too */
	fs->mounted = true;
}

static const struct fuse_lowlevel_ops ops = {
	.init = fs_init,
	.lookup = fs_lookup,
	.forget = fs_forget,
	.forget_multi = fs_forget_multi,
	.getattr = fs_getattr,
	.setattr = fs_setattr,
	.readlink = fs_readlink,
	.mknod = fs_mknod,
	.mkdir = fs_mkdir,
	.unlink = fs_unlink,
	.rmdir = fs_unlink,
	.symlink = fs_symlink,
	.rename = fs_rename,
	.link = fs_link,
	.open = fs_open,
	.read = fs_read,
	.release = fs_release,
	.opendir = fs_opendir,
	.readdir = fs_readdir,
	.readdirplus = fs_readdirplus,
	.releasedir = fs_release,
	.statfs = fs_statfs,
	.setxattr = fs_setxattr,
	.getxattr = fs_getxattr,
	.listxattr = fs_listxattr,
	.removexattr = fs_removexattr,
	.create = fs_create,
};

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 13)
#include <linux/fuse.h>

/* libfuse up to 3.14 asks the kernel for parallel directory operations and then forgets the flag in its answer: the first
 * thing that is written to the kernel is that answer, so it is mended here. */
static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fs *fs = userdata;

	if (!atomic_exchange(&fs->greeted, true) && count == 2 && iov[1].iov_len >= offsetof(struct fuse_init_out, max_background))
		((struct fuse_init_out *)iov[1].iov_base)->flags |= FUSE_PARALLEL_DIROPS;
	return writev(fd, iov, count);
}

static ssize_t io_read(int fd, void *buf, size_t n, void *userdata)
{
	return read(fd, buf, n);
}

static void mend_io(struct fs *fs)
{
	static const struct fuse_custom_io io = {.writev = io_writev, .read = io_read};

	if (fuse_session_custom_io(fs->se, &io, fuse_session_fd(fs->se)) != 0)
		log_debug("parallel directory operations stay off");
}
#else
static void mend_io(struct fs *fs)
{
}
#endif

static unsigned or_default(unsigned v, unsigned fallback)
{
	return v ? v : fallback;
}

int fs_new(const struct fs_config *config, struct session *session, struct http *http, struct cache *cache, struct fs **ret)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	struct fs_config *c;
	int r;

	if (!fs)
		return -ENOMEM;
	fs->config = *config;
	c = &fs->config;
	fs->session = session;
	fs->http = http;
	fs->cache = cache;
	fs->mounted_at = clock_wall().tv_sec;
	c->soft_wait_ms = or_default(c->soft_wait_ms, SOFT_WAIT_DEFAULT_MS);
	c->negative_ttl_ms = or_default(c->negative_ttl_ms, NEGATIVE_TTL_DEFAULT_MS);
	c->callers = or_default(c->callers, CALLERS_DEFAULT);
	fs->attr_ttl_ms = or_default(c->attr_ttl_ms, session->policy.attr_ttl_ms);
	fs->list_ttl_ms = or_default(c->list_ttl_ms, session->policy.list_ttl_ms);
	c->source = c->mountpoint = c->fuse_options = c->config_json = NULL;
	r = node_table_init(fs);
	if (r < 0) {
		free(fs);
		return r;
	}
	r = keep_space(fs, &fs->space);
	if (r < 0 || str_dup(config->source, (char **)&c->source) < 0 || str_dup(config->mountpoint, (char **)&c->mountpoint) < 0 ||
	    str_dup(config->fuse_options, (char **)&c->fuse_options) < 0 ||
	    str_dup(config->config_json, (char **)&c->config_json) < 0 ||
	    pool_new("scifs-caller", c->callers, CALLERS_QUEUE, &fs->callers) < 0 ||
	    pool_new("scifs-asker", c->callers, CALLERS_QUEUE, &fs->askers) < 0 ||
	    pool_new("scifs-filler", c->callers, CALLERS_QUEUE, &fs->fillers) < 0 ||
	    pool_new("scifs-notify", 1, NOTIFY_QUEUE, &fs->notifier) < 0 ||
	    pool_new("scifs-hash", 1, 4096, &fs->hasher) < 0 || documents_init(fs) < 0 || events_init(fs) < 0) {
		fs_free(fs);
		return -ENOMEM;
	}
	*ret = fs;
	return 0;
}

int fs_check(struct fs *fs, char **why)
{
	struct object o = {0};
	int r = backend_root(fs->session, &o);

	if (r == 0) {
		WITH_LOCK(&fs->lock)
			r = node_enter_locked(fs, NULL, "", &o, clock_mono_ms(), &fs->root);
	}
	object_done(&o);
	if (r == 0)
		r = dir_load(fs, fs->root, fs->list_ttl_ms);
	if (r < 0)
		(void)str_fmt(why, "%s: cannot list it: %s", fs->config.source, strerror(-r));
	return r;
}

static void escape_option(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			(void)buf_addc(b, '\\');
		(void)buf_addc(b, *s);
	}
}

/* What libfuse says, in our log: its own lines would stand between ours. */
static void on_fuse_log(enum fuse_log_level level, const char *format, va_list ap)
{
	char line[1024];

	vsnprintf(line, sizeof(line), format, ap);
	line[strcspn(line, "\n")] = 0;
	log_line(level <= FUSE_LOG_WARNING ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "%s", line);
}

int fs_mount(struct fs *fs, char **why)
{
	_cleanup_buf_ struct buf o = BUF_MAX(65536);
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int r = -ENOMEM;

	fuse_set_log_func(on_fuse_log);
	(void)buf_adds(&o, "default_permissions,subtype=scifs,fsname=");
	escape_option(&o, fs->config.source);
	if (fs->config.allow_other)
		(void)buf_adds(&o, ",allow_other");
	if (fs->config.fuse_options)
		(void)buf_addf(&o, ",%s", fs->config.fuse_options);
	if (fuse_opt_add_arg(&args, "scifs") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
	    fuse_opt_add_arg(&args, buf_str(&o)) == 0 && (!fs->config.debug_fuse || fuse_opt_add_arg(&args, "-d") == 0))
		fs->se = fuse_session_new(&args, &ops, sizeof(ops), fs);
	fuse_opt_free_args(&args);
	if (!fs->se) {
		(void)str_fmt(why, "the kernel's options were refused: %s", buf_str(&o));
		return r;
	}
	if (fuse_session_mount(fs->se, fs->config.mountpoint) != 0) {
		r = access("/dev/fuse", R_OK | W_OK) < 0 ? -errno : -EPERM;
		(void)str_fmt(why, "%s: cannot mount here%s", fs->config.mountpoint,
		              r == -ENOENT ? ": /dev/fuse is missing (modprobe fuse)" :
		              r == -EACCES ? ": no right to use /dev/fuse" : "");
		return r;
	}
	mend_io(fs);
	return 0;
}

/* ---- the housekeeper: what is done now and then ---- */

/* Directories that the kernel has forgotten let their listings go. */
static void let_go(struct fs *fs)
{
	VEC(struct node *) idle = {0};

	WITH_LOCK(&fs->lock) {
		struct map64_iter it = {0};
		uint64_t key;
		void *value;

		while (map64_next(fs->by_ino, &it, &key, &value)) {
			struct node *n = value;

			if (n->dir && n != fs->root && !n->nlookup && !n->opens && !n->dir->listing && list_empty(&n->dir->unkept) &&
			    fs_now_age(n->dir->listed_at) > 2 * fs->list_ttl_ms && map_count(n->dir->by_name) &&
			    vec_push(&idle, n) == 0)
				node_ref_locked(n);
		}
		for (size_t i = 0; i < idle.n; i++) {
			struct dir *d = idle.at[i]->dir;
			struct map_iter names = {0};
			VEC(struct node *) children = {0};
			const char *name;

			while (map_next(d->by_name, &names, &name, &value))
				(void)vec_push(&children, value);
			if (children.n == map_count(d->by_name)) {
				map_clear(d->by_name);
				d->order.n = 0;
				d->listed = false;
				d->kept = KEPT_UNREAD;
				for (size_t k = 0; k < children.n; k++)
					node_unref_locked(children.at[k]);
			}
			vec_done(&children);
			node_unref_locked(idle.at[i]);
		}
	}
	vec_done(&idle);
}

static void *house(void *arg)
{
	struct fs *fs = arg;
	uint64_t work_at = clock_mono_ms() + 30000, let_go_at = work_at;

	thread_block_signals();
	pthread_setname_np(pthread_self(), "scifs-house");
	for (;;) {
		struct timespec until;
		bool stop;

		WITH_LOCK(&fs->lock) {
			fs_wait_until(&until, HOUSE_TICK_MS);
			if (fs->housekeeping)
				pthread_cond_timedwait(&fs->house_wake, &fs->lock, &until);
			stop = !fs->housekeeping;
		}
		if (stop)
			return NULL;
		keep_write(fs, false);
		if (clock_mono_ms() >= let_go_at) {
			let_go(fs);
			let_go_at = clock_mono_ms() + 10000;
		}
		if (clock_mono_ms() >= work_at) {
			uint64_t used, total;
			unsigned next_s = 60;

			(void)backend_work(fs->session, &next_s);       /* logged where it failed; tried again later */
			if (backend_space(fs->session, &used, &total) == 0) {
				atomic_store(&fs->space_used, used);
				atomic_store(&fs->space_total, total);
				atomic_store(&fs->space_known, true);
			}
			work_at = clock_mono_ms() + 1000ull * (next_s < 5 ? 5 : next_s);
		}
	}
}

int fs_run(struct fs *fs)
{
	struct fuse_loop_config loop = {.clone_fd = 0, .max_idle_threads = 10};
	pthread_condattr_t attr;
	int r;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&fs->house_wake, &attr);
	pthread_condattr_destroy(&attr);
	fs->housekeeping = true;
	if (pthread_create(&fs->housekeeper, NULL, house, fs) != 0)
		fs->housekeeping = false;
	r = fuse_session_loop_mt(fs->se, &loop);
	/* Nobody is left to answer: whoever still waits for a server, waits no longer. */
	if (fs->http)
		http_stop(fs->http);
	if (fs->housekeeping) {
		WITH_LOCK(&fs->lock) {
			fs->housekeeping = false;
			pthread_cond_broadcast(&fs->house_wake);
		}
		pthread_join(fs->housekeeper, NULL);
	}
	pthread_cond_destroy(&fs->house_wake);
	return r > 0 ? 0 : r;
}

void fs_stop(struct fs *fs)
{
	if (fs->se)
		fuse_session_exit(fs->se);
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	if (fs->se)
		fuse_session_unmount(fs->se);
	if (fs->http)
		http_stop(fs->http);    /* no transfer may end in what is freed here */
	/* They hand work to each other: all of them stop before any is freed. */
	pool_stop(fs->callers);
	pool_stop(fs->askers);
	pool_stop(fs->fillers);
	pool_stop(fs->hasher);
	if (fs->root) {
		file_release_all(fs);
		keep_write(fs, true);
	}
	fs->mounted = false;
	pool_free(fs->callers);
	pool_free(fs->askers);
	pool_free(fs->fillers);
	pool_free(fs->hasher);
	pool_free(fs->notifier);
	events_done(fs);
	documents_done(fs);
	if (fs->se)
		fuse_session_destroy(fs->se);
	node_table_done(fs);
	free(fs->space);
	free((char *)fs->config.source);
	free((char *)fs->config.mountpoint);
	free((char *)fs->config.fuse_options);
	free((char *)fs->config.config_json);
	free(fs);
}
