/* ops.c - the table of FUSE operations.
 *
 * A FUSE worker never waits for the network: what memory can answer is answered on the spot, anything else becomes a
 * struct op (op.c) that a caller runs. libfuse has few workers; were they to wait, one silent directory would stop df.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

#define XATTR_MAX 65536         /* of the kernel: longer values are not for attributes */
#define SPACE_UNKNOWN (1ull << 50)      /* what df shows when the server does not tell */

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
		/* A name that is not there is remembered by the kernel for a moment too; not below .scifs, where names come by
		 * themselves. */
		struct fuse_entry_param e = {.ino = 0, .entry_timeout = op->node->control ? 0 : fs->config.negative_ttl_ms / 1000.0};

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
	if (n->control)
		control_look(fs, n);
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
			    (fresh || node_has_owed_locked(n) || fs_now_age(n->object_at) <= fs->attr_ttl_ms || (n->stale && fs_is_quiet(fs)))) {
				fs_entry_locked(fs, n, &e);
				node_ref_locked(n);
				answered = true;
			} else {
				absent = fresh && !n && !(p->object.id && backend_unlisted(fs->session, &p->object, name));
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
	int r = 0;

	if (op->node->control)
		control_look(op->fs, op->node);
	else
		r = node_refresh(op->fs, op->node, op->fs->attr_ttl_ms);
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

		fresh = (n->control && !control_is_vague_locked(n)) || n->replaced || n == fs->root || node_has_owed_locked(n) || age <= fs->attr_ttl_ms || (n->stale && fs_is_quiet(fs)) ||
		        (n->object.kind != OBJECT_UNKNOWN && age <= fs->list_ttl_ms && n->parent && n->parent->dir &&
		         fs_now_age(n->parent->dir->listed_at) <= fs->list_ttl_ms);
	}
	if (fresh) {
		op_reply_attr_now(fs, req, n);
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
	uint64_t total = known ? atomic_load(&fs->space_total) : 0;
	uint64_t used = known ? atomic_load(&fs->space_used) : 0, room;

	if (!total)
		total = used + SPACE_UNKNOWN;
	if (total < used)
		total = used;
	room = total - used;
	/* What is written lies here first. Never 0: programs would not even try. */
	if (fs_can_write(fs) && spool_room(fs->spool) < room)
		room = spool_room(fs->spool);
	if (room < st.f_frsize)
		room = st.f_frsize;
	st.f_blocks = (used + room) / 4096;
	st.f_bfree = st.f_bavail = room / 4096;
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

/* An op with a name and perhaps a value; NULL: replied. */
static struct op *named_op(fuse_req_t req, struct node *n, const char *name, const void *value, size_t size)
{
	struct op *op = op_new(fs_of(req), req, n);

	if (!op)
		return NULL;
	op->name = strdup(name);
	op->data = size ? malloc(size) : NULL;
	if (!op->name || (size && !op->data)) {
		op_reply_err(op, -ENOMEM);
		return NULL;
	}
	if (size)
		memcpy(op->data, value, size);
	op->size = size;
	return op;
}

static void setxattr_run(struct op *op)
{
	op_reply_err(op, xattr_set(op->fs, op->node, op->name, op->data ? op->data : "", op->size, op->flags));
}

static void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct op *op = named_op(req, node_of(fs_of(req), ino), name, value, size);

	if (!op)
		return;
	op->flags = flags;
	op_park(op, setxattr_run);
}

static void removexattr_run(struct op *op)
{
	op_reply_err(op, xattr_remove(op->fs, op->node, op->name));
}

static void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct op *op = named_op(req, node_of(fs_of(req), ino), name, NULL, 0);

	if (op)
		op_park(op, removexattr_run);
}

/* ---- changes of the tree: attr.c, change.c ---- */

static struct handle *handle_of(struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

static void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct op *op = op_new(fs, req, node_of(fs, ino));

	if (!op)
		return;
	op->attr = *attr;
	op->to_set = to_set;
	op->handle = fi ? handle_ref(handle_of(fi)) : NULL;
	op_park(op, attr_set);
}

static void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct op *op = named_op(req, node_of(fs_of(req), parent), name, NULL, 0);

	if (!op)
		return;
	op->mode = mode;
	op_park(op, change_mknod);
}

static void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct op *op = named_op(req, node_of(fs_of(req), parent), name, NULL, 0);

	if (op)
		op_park(op, change_mkdir);
}

static void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct op *op = named_op(req, node_of(fs_of(req), parent), name, NULL, 0);

	if (op)
		op_park(op, change_unlink);
}

static void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct op *op = named_op(req, node_of(fs_of(req), parent), name, NULL, 0);

	if (op)
		op_park(op, change_rmdir);
}

/* A second name, for a link's target or a new place. */
static bool add_name(struct op *op, const char *name)
{
	op->new_name = strdup(name);
	if (!op->new_name)
		op_reply_err(op, -ENOMEM);
	return op->new_name;
}

static void fs_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	struct op *op = named_op(req, node_of(fs_of(req), parent), name, NULL, 0);

	if (op && add_name(op, link))
		op_park(op, change_symlink);
}

static void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname,
                      unsigned int flags)
{
	struct fs *fs = fs_of(req);
	struct op *op = named_op(req, node_of(fs, parent), name, NULL, 0);

	if (!op)
		return;
	op->new_node = node_ref(node_of(fs, newparent));
	op->flags = (int)flags;
	if (add_name(op, newname))
		op_park(op, change_rename);
}

/* No repository has hard links. */
static void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	fuse_reply_err(req, fs_can_write(fs_of(req)) ? EPERM : EROFS);
}

static void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct op *op = named_op(req, node_of(fs_of(req), parent), name, NULL, 0);

	if (!op)
		return;
	op->mode = mode;
	op->fi = *fi;
	op_park(op, change_create);
}

/* ---- files and directories: file.c ---- */

static void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct op *op = op_new(fs, req, node_of(fs, ino));

	atomic_fetch_add(&fs->count_opens, 1);
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

/* ---- writing: write.c ---- */

static struct op *handle_op(fuse_req_t req, struct fuse_file_info *fi)
{
	struct op *op = op_new(fs_of(req), req, NULL);

	if (op)
		op->handle = handle_ref(handle_of(fi));
	return op;
}

static void fs_write_buf(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *in, off_t offset, struct fuse_file_info *fi)
{
	size_t n = fuse_buf_size(in);
	struct op *op = handle_op(req, fi);
	struct fuse_bufvec to = FUSE_BUFVEC_INIT(n);
	ssize_t got;

	if (!op)
		return;
	op->data = malloc(n ? n : 1);
	if (!op->data) {
		op_reply_err(op, -ENOMEM);
		return;
	}
	to.buf[0].mem = op->data;
	got = fuse_buf_copy(&to, in, 0);
	if (got < 0 || (size_t)got != n) {
		op_reply_err(op, got < 0 ? (int)got : -EIO);
		return;
	}
	op->size = n;
	op->offset = offset;
	op->page = fi->writepage;
	write_start(op);
}

static void fs_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct op *op = handle_op(req, fi);

	atomic_fetch_add(&fs_of(req)->count_flushes, 1);
	if (op)
		write_flush(op);
}

static void fs_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct op *op = handle_op(req, fi);

	if (op)
		write_fsync(op);
}

static void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi)
{
	struct op *op;

	/* Only to make sure of room: what punches holes or keeps the size has no meaning at a server. */
	if (mode != 0) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	op = handle_op(req, fi);
	if (!op)
		return;
	op->offset = offset;
	op->size = (size_t)length;
	write_allocate(op);
}

static void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	struct op *op;

	if ((whence != SEEK_DATA && whence != SEEK_HOLE) || offset < 0) {
		fuse_reply_err(req, offset < 0 ? ENXIO : EINVAL);
		return;
	}
	op = handle_op(req, fi);
	if (!op)
		return;
	op->offset = offset;
	write_seek(op, whence);
}

static void fs_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t ino_out,
                               off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct op *op = handle_op(req, fi_in);

	if (!op)
		return;
	op->new_handle = handle_ref(handle_of(fi_out));
	op->offset = off_in;
	op->new_offset = off_out;
	op->size = len;
	write_copy(op);
}

static void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	file_release(fs_of(req), handle_of(fi));
	fuse_reply_err(req, 0);
}

/* Entry i of a directory handle: its name, what is known of it, and whether that is enough for readdirplus. */
void ops_reply_dir(fuse_req_t req, struct handle *h, size_t size, off_t offset, bool plus)
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

/* rewinddir(3) shows what is there now, as opendir does. */
static void readdir_from(fuse_req_t req, struct handle *h, size_t size, off_t offset, bool plus)
{
	bool anew = !offset && h->begun && !h->node->control;
	struct op *op = anew ? op_new(fs_of(req), req, h->node) : NULL;

	h->begun = true;
	if (op) {
		op->handle = handle_ref(h);
		op->size = size;
		op->plus = plus;
		file_rewinddir(op);
	} else if (!anew) {
		ops_reply_dir(req, h, size, offset, plus);
	}
}

static void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	readdir_from(req, handle_of(fi), size, offset, false);
}

static void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	readdir_from(req, handle_of(fi), size, offset, true);
}

/* ---- the table ---- */

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

const struct fuse_lowlevel_ops fs_ops = {
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
	.rmdir = fs_rmdir,
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
	.write_buf = fs_write_buf,
	.flush = fs_flush,
	.fsync = fs_fsync,
	.fsyncdir = fs_fsync,
	.fallocate = fs_fallocate,
	.lseek = fs_lseek,
	.copy_file_range = fs_copy_file_range,
};
