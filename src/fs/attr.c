/* attr.c - setattr: size, times, mode and owner.
 *
 * A size is written, like any content (write.c). Times and mode have no field at most servers: they go with the draft while there is
 * one, else they are kept beside the server (spool's kept), and no content is ever sent for their sake. With mtime=meta a time is
 * kept at the server too, in the metadata (backend->mtime_attr), where there is a place for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

/* The owner is the mounter, for all: only what changes nothing is granted. */
static int check_owner(const struct fs *fs, const struct op *op)
{
	if (op->to_set & FUSE_SET_ATTR_UID && op->attr.st_uid != fs->config.uid)
		return -EPERM;
	return op->to_set & FUSE_SET_ATTR_GID && op->attr.st_gid != fs->config.gid ? -EPERM : 0;
}

struct wish {
	bool time;
	struct timespec mtime;
	uint32_t mode;                  /* 0: not */
};

/* 1: it is at the server, and a time was set. */
static int set_on_draft(struct draft *d, const struct wish *w)
{
	int r = w->time ? draft_set_mtime(d, w->mtime) : 0;
	int e = r >= 0 && w->mode ? draft_set_mode(d, w->mode) : 0;

	return e < 0 ? e : r;
}

/* Into the metadata at the server. What has no place there, or may not be changed, has its time here alone. */
static int set_at_server(struct fs *fs, struct node *n, const struct object *o, struct timespec t)
{
	_cleanup_free_ char *text = NULL, *why = NULL;
	struct attr one = {.name = (char *)fs->session->backend->mtime_attr};
	struct attrs a = {.list = {.at = &one, .n = 1}};
	int r;

	if (!fs->config.mtime_meta || !(o->rights & RIGHT_WRITE) || backend_check_attr(fs->session, o, one.name) < 0)
		return 0;
	r = backend_write_time(fs->session, o, t, &text);
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	one.value = text;
	one.len = strlen(text);
	r = backend_set_attrs(fs->session, o, &a, &why);
	if (r == 0 || why)
		refusal_note(fs, n, r == 0 ? NULL : why);
	documents_changed(fs, n);
	if (r < 0)
		return r == -ENOTSUP || r == -EACCES ? 0 : r;
	WITH_LOCK(&fs->lock) {
		/* Answers that were asked for before speak of the old one. */
		if (!str_eq(n->object.id, o->id) || !str_eq(n->object.version, o->version))
			break;
		free(n->object.set_time);
		n->object.set_time = TAKE(text);
		if (fs->session->backend->mtime_own)
			n->object.mtime = t;
		n->local_at = clock_mono_ms();
	}
	return 0;
}

/* Beside the server, under its identity and version. */
static int set_kept(struct fs *fs, struct node *n, const struct wish *w)
{
	_cleanup_(kept_attr_done) struct kept_attr k = {.mtime = {.tv_nsec = -1}};
	struct object o = {0};
	int r = node_refresh_version(fs, n, UINT32_MAX - 1);

	if (r == 0)
		r = node_object(n, &o);
	if (r == 0 && w->time)
		r = set_at_server(fs, n, &o, w->mtime);
	if (r < 0) {
		object_done(&o);
		return r;
	}
	/* What was kept of another version is over, but for its number and mode. */
	if (kept_get(fs->spool, o.id, &k) && !str_eq(k.version, o.version)) {
		k.mtime.tv_nsec = -1;
		k.digest[0] = 0;
	}
	free(TAKE(k.version));
	r = str_dup(o.version, &k.version);
	if (w->time)
		k.mtime = w->mtime;
	if (w->mode)
		k.mode = w->mode;
	if (r == 0)
		r = kept_set(fs->spool, o.id, &k);
	if (r == 0)
		WITH_LOCK(&fs->lock) {
			node_keep_locked(n);
			keep_changed_locked(n->parent);
		}
	object_done(&o);
	return r;
}

/* The draft stands for what the server has: as soon as the node knows what that is. */
static int tell_landed(struct fs *fs, struct node *n, struct draft *d, struct timespec t)
{
	struct object o = {0};
	bool local;
	int r;

	if (!fs->config.mtime_meta)
		return 0;
	(void)draft_wait(d, fs->session->policy.timeout_ms, NULL);
	WITH_LOCK(&fs->lock)
		local = node_is_local_locked(n);
	r = local ? -EAGAIN : node_object(n, &o);
	if (r == 0)
		r = set_at_server(fs, n, &o, t);
	object_done(&o);
	return r;
}

static int set_wish(struct fs *fs, struct node *n, const struct wish *w)
{
	struct draft *d;
	int r;

	if (!w->time && !w->mode)
		return 0;
	/* As long as a draft stays it is what shows; one that has landed keeps what is set of it beside the server by itself. */
	d = node_draft(n);
	if (!d)
		return set_kept(fs, n, w);
	r = set_on_draft(d, w);
	if (r == 1)
		r = tell_landed(fs, n, d, w->mtime);
	draft_unref(d);
	/* It may be landing just now, and have told of what was kept before. */
	if (r == 0)
		WITH_LOCK(&fs->lock) {
			node_keep_locked(n);
			keep_changed_locked(n->parent);
		}
	return r;
}

static int set_size(struct op *op)
{
	struct node *n = op->node;
	struct fs *fs = op->fs;
	struct object o = {0};
	int r = node_refresh_version(fs, n, fs->attr_ttl_ms);

	if (r == 0)
		r = node_object(n, &o);
	if (r == 0 && o.kind == OBJECT_DIR)
		r = -EISDIR;
	if (r == 0 && !(o.rights & RIGHT_WRITE) && !op->handle)
		r = -EACCES;
	if (r == 0 && !op->handle)
		r = backend_check_write(fs->session, &o);
	if (r == 0 && op->attr.st_size < 0)
		r = -EINVAL;
	if (r == 0 && (uint64_t)op->attr.st_size > OBJECT_SIZE_MAX)
		r = -EFBIG;
	object_done(&o);
	return r < 0 ? r : write_truncate(fs, n, (uint64_t)op->attr.st_size, op->handle != NULL, &op->cancelled);
}

void attr_set(struct op *op)
{
	struct fs *fs = op->fs;
	struct node *n = op->node;
	struct wish w = {0};
	int r = 0;

	if (n->control) {
		r = op->to_set & FUSE_SET_ATTR_SIZE ? control_truncate(fs, n, op->handle, (uint64_t)op->attr.st_size) : 0;
	} else if (!fs_can_write(fs)) {
		r = -EROFS;
	} else {
		r = check_owner(fs, op);
		if (r == 0 && op->to_set & FUSE_SET_ATTR_SIZE)
			r = set_size(op);
		if (op->to_set & FUSE_SET_ATTR_MTIME_NOW)
			w = (struct wish){.time = true, .mtime = clock_wall()};
		else if (op->to_set & FUSE_SET_ATTR_MTIME)
			w = (struct wish){.time = true, .mtime = op->attr.st_mtim};
		if (op->to_set & FUSE_SET_ATTR_MODE)
			w.mode = op->attr.st_mode;
		if (r == 0)
			r = set_wish(fs, n, &w);
	}
	if (r < 0)
		op_reply_err(op, r);
	else
		op_reply_attr(op, n);
}
