/* change.c - changes of the tree: create, mkdir, unlink, rmdir, symlink, rename.
 *
 * What has an identity at the server is changed there before the call returns; a new file is only a draft until it is sent. Each
 * change then tells the node table what it did, with a time stamp: an answer that was asked for before says nothing of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

/* A directory that may be changed, as it is now. */
static int enter_dir(struct fs *fs, struct node *dir, struct object *ret)
{
	if (!dir->dir)
		return -ENOTDIR;
	if (dir->control)
		return -EPERM;
	return fs_can_write(fs) ? node_object(dir, ret) : -EROFS;
}

/* What `name` would be in `dir`: the raw name. */
static int plan(struct fs *fs, const struct object *dir, const char *name, enum object_kind kind, char **ret_raw, struct object *ret)
{
	int r = strcmp(name, FS_CONTROL_NAME) == 0 ? -EPERM : strlen(name) > FS_NAME_MAX ? -ENAMETOOLONG : name_new(fs->config.names, name, ret_raw);

	return r < 0 ? r : backend_plan_create(fs->session, dir, *ret_raw, kind, ret);
}

/* The directory's own time moves with its content, whatever was set of it before. */
static void touch_dir(struct fs *fs, struct node *dir)
{
	struct kept_attr k;
	_cleanup_free_ char *id = NULL;

	WITH_LOCK(&fs->lock) {
		dir->object.mtime = clock_wall();
		(void)str_dup(dir->object.id, &id);
	}
	if (!id || !kept_get(fs->spool, id, &k))
		return;
	if (k.mtime.tv_nsec >= 0) {
		k.mtime.tv_nsec = -1;
		(void)kept_set(fs->spool, id, &k);      /* a time that is shown a little too old */
	}
	kept_attr_done(&k);
}

/* What the server made stands at `name`. Takes `o` over. */
static int enter_made(struct fs *fs, struct node *dir, const char *name, struct object *o, struct node **ret)
{
	struct node *n = NULL;
	int r;

	WITH_LOCK(&fs->lock) {
		r = node_enter_locked(fs, dir, name, o, clock_mono_ms(), &n);
		if (r == 0) {
			n->kind_at = n->object_at;
			n->listed_size = n->object.size;
			r = node_place_locked(n, dir, name);
		}
		if (r < 0 && n)
			node_unref_locked(n);
	}
	object_done(o);
	if (r == 0) {
		*ret = n;
		touch_dir(fs, dir);
	}
	return r;
}

/* ---- files ---- */

static int draw_ino(struct fs *fs, uint64_t *ret)
{
	for (unsigned i = 0; i < 16; i++) {
		bool taken = false;

		if (getrandom(ret, sizeof(*ret), 0) != sizeof(*ret))
			return -EIO;
		WITH_LOCK(&fs->lock)
			taken = *ret <= 1 || map64_get(fs->by_ino, *ret);
		if (!taken)
			return 0;
	}
	return -EEXIST;
}

/* A new file: a draft, and a node that has it. */
static int make_file(struct fs *fs, struct node *dir, const char *name, mode_t mode, struct node **ret)
{
	_cleanup_free_ char *raw = NULL, *key = NULL;
	struct object in = {0}, o = {0};
	struct draft *d = NULL;
	struct node *n = NULL;
	uint64_t ino = 0;
	int r = enter_dir(fs, dir, &in);

	if (r == 0)
		r = plan(fs, &in, name, OBJECT_FILE, &raw, &o);
	if (r == 0)
		r = draw_ino(fs, &ino);
	if (r == 0)
		r = draft_new(fs->spool, &in, raw, NULL, ino, &d);
	if (r == 0)
		r = draft_key(d, &key);
	if (r == 0)
		r = draft_set_mode(d, S_IFREG | (mode & 07777));
	if (r == 0) {
		free(o.id);
		o.id = TAKE(key);
		o.kind = OBJECT_FILE;
		o.size = 0;
		WITH_LOCK(&fs->lock) {
			r = node_enter_at_locked(fs, dir, name, &o, clock_mono_ms(), ino, &n);
			if (r == 0) {
				node_set_draft_locked(n, d);
				r = node_place_locked(n, dir, name);
			}
			if (r < 0 && n)
				node_unref_locked(n);
		}
	}
	if (r < 0 && d)
		(void)draft_give_up(d, NULL);   /* it never had a row */
	draft_unref(d);
	object_done(&in);
	object_done(&o);
	if (r < 0)
		return r;
	touch_dir(fs, dir);
	*ret = n;
	return 0;
}

void change_create(struct op *op)
{
	struct fs *fs = op->fs;
	struct node *n = NULL;
	int r;

	if (op->node->control) {
		r = control_create(fs, op->node, op->name, &n);
	} else if (!fs_can_write(fs)) {
		r = -EROFS;
	} else {
		r = dir_lookup(fs, op->node, op->name, &n);
		if (r == 0 && op->fi.flags & O_EXCL) {
			node_unref(n);
			r = -EEXIST;
		} else if (r == -ENOENT) {
			r = make_file(fs, op->node, op->name, op->mode, &n);
			op->fi.flags &= ~O_TRUNC;       /* there is nothing to cut, and a draft that nobody wrote to is worth something */
		}
	}
	if (r < 0)
		op_reply_err(op, r);
	else
		file_open_run(op, n, true);
}

void change_mknod(struct op *op)
{
	struct fs *fs = op->fs;
	struct node *n = NULL;
	struct draft *d;
	int r = S_ISREG(op->mode) ? 0 : fs_can_write(fs) ? -EPERM : -EROFS;

	if (r == 0 && op->node->control)
		r = control_create(fs, op->node, op->name, &n);
	else if (r == 0)
		r = make_file(fs, op->node, op->name, op->mode, &n);
	if (r == 0 && !op->node->control) {
		d = node_draft(n);
		r = d ? draft_commit(d) : 0;
		if (r == 0 && d)
			write_due(fs, n, d);
		draft_unref(d);
	}
	if (r < 0) {
		node_unref(n);
		op_reply_err(op, r);
	} else {
		op_reply_entry(op, n);
	}
}

/* ---- directories and links ---- */

/* `once`: it is something else at the next look. */
static void reply_made(struct op *op, int r, struct object *made, bool once)
{
	struct node *n = NULL;

	if (r == 0)
		r = enter_made(op->fs, op->node, op->name, made, &n);
	if (r == 0 && once)
		WITH_LOCK(&op->fs->lock) {
			n->object_at = NODE_LONG_AGO;
			op->node->dir->listed_at = 0;
		}
	if (r < 0)
		op_reply_err(op, r);
	else
		op_reply_entry(op, n);
}

void change_mkdir(struct op *op)
{
	struct fs *fs = op->fs;
	_cleanup_free_ char *raw = NULL;
	struct object in = {0}, o = {0}, made = {0};
	struct node *n = NULL;
	int r = enter_dir(fs, op->node, &in);

	if (r == 0)
		r = plan(fs, &in, op->name, OBJECT_DIR, &raw, &o);
	if (r == 0)
		r = spool_clear_name(fs->spool, in.id, raw, &op->cancelled);
	if (r == 0)
		r = backend_mkdir(fs->session, &in, raw, &made);
	object_done(&in);
	object_done(&o);
	if (r == -EEXIST)
		WITH_LOCK(&fs->lock)
			op->node->dir->listed_at = 0;   /* somebody else made it, and nobody here has heard of it */
	if (r == 0)
		r = enter_made(fs, op->node, op->name, &made, &n);
	if (r < 0) {
		op_reply_err(op, r);
		return;
	}
	/* It is empty, and that is known: nobody asks the server for it, which may be gone when the first file is made. */
	WITH_LOCK(&fs->lock)
		if (n->dir && !n->dir->listed && !n->dir->listing) {
			n->dir->listed = n->dir->drafts_shown = true;
			n->dir->listed_at = clock_mono_ms();
			n->dir->kept = KEPT_LOADED;
		}
	op_reply_entry(op, n);
}

void change_symlink(struct op *op)
{
	struct fs *fs = op->fs;
	_cleanup_free_ char *raw = NULL;
	struct object in = {0}, o = {0}, made = {0};
	bool once;
	int r = enter_dir(fs, op->node, &in);

	if (r == 0)
		r = plan(fs, &in, op->name, OBJECT_LINK, &raw, &o);
	if (r == 0)
		r = spool_clear_name(fs->spool, in.id, raw, &op->cancelled);
	if (r == 0)
		r = backend_symlink(fs->session, &in, raw, op->new_name, &made);
	object_done(&in);
	object_done(&o);
	/* The kernel asks for a link; what the server makes of it shows at the next look. */
	once = r == 0 && made.kind != OBJECT_LINK;
	if (once) {
		made.kind = OBJECT_LINK;
		if (!made.target)
			r = str_dup(op->new_name, &made.target);
	}
	reply_made(op, r, &made, once);
}

/* ---- removal ---- */

/* What the server holds of n goes, now or when nobody has it open any more. */
static int remove_there(struct fs *fs, const struct object *in, struct node *n, const struct object *o)
{
	bool open;
	int r;

	WITH_LOCK(&fs->lock)
		open = n->opens > 0;
	r = open ? spool_remove_later(fs->spool, in, o)
	    : fs->session->policy.remove_defer_ms ? spool_remove_soon(fs->spool, in, o) : backend_remove(fs->session, in, o, NULL);
	return r == -ENOENT ? 0 : r;
}

/* n lost its name here; the server was told. */
static void forget(struct fs *fs, struct node *dir, struct node *n, const char *id)
{
	WITH_LOCK(&fs->lock) {
		if (id)
			node_gone_set_locked(fs, id);
		node_unlink_locked(n);
		if (dir->dir)
			keep_changed_locked(dir);
	}
	if (id && !spool_is_removed(fs->spool, id))
		(void)kept_forget(fs->spool, id);       /* a row that says nothing any more */
	documents_drop(fs, n);
	touch_dir(fs, dir);
}

static int unlink_file(struct fs *fs, struct node *dir, struct node *n, const int *cancelled)
{
	struct object in = {0}, o = {0}, landed = {0};
	struct draft *d = node_draft(n);
	bool there = false;
	int r = enter_dir(fs, dir, &in);

	if (r == 0 && !(in.rights & RIGHT_WRITE))
		r = -EACCES;
	if (r == 0 && d)
		r = draft_begin(d, cancelled);  /* from here on it does not land any more */
	if (r == 0)
		WITH_LOCK(&fs->lock) {
			there = !node_is_local_locked(n);
			r = object_copy(&n->object, &o);
		}
	if (r == 0 && there)
		r = remove_there(fs, &in, n, &o);
	if (r == 0 && d) {
		/* It may have landed just before. */
		int dropped = draft_drop(d, &landed, cancelled);

		if (dropped == 0 && !there && draft_base(d, &landed) == 0)
			dropped = 1;    /* a copy of it, which was sent while it was open */
		if (dropped == 1 && !there)
			r = remove_there(fs, &in, n, &landed);
		else if (dropped < 0)
			r = dropped;
	}
	if (r == 0)
		forget(fs, dir, n, landed.id ? landed.id : there ? o.id : NULL);
	else if (d)
		write_due(fs, n, d);
	draft_unref(d);
	object_done(&in);
	object_done(&o);
	object_done(&landed);
	return r;
}

void change_unlink(struct op *op)
{
	struct fs *fs = op->fs;
	struct node *n = NULL;
	int r;

	if (op->node->control) {
		op_reply_err(op, control_unlink(fs, op->node, op->name));
		return;
	}
	r = dir_lookup(fs, op->node, op->name, &n);
	if (r == 0 && n->control)
		r = -EPERM;
	if (r == 0)
		r = node_refresh(fs, n, UINT32_MAX - 1);
	if (r == 0 && n->dir)
		r = -EISDIR;
	if (r == 0)
		r = unlink_file(fs, op->node, n, &op->cancelled);
	node_unref(n);
	op_reply_err(op, r);
}

static bool holds_drafts(struct fs *fs, const char *dir_id)
{
	struct drafts all = {0};
	bool some = spool_drafts(fs->spool, dir_id, &all) < 0 || all.list.n > 0;

	drafts_done(&all);
	return some;
}

void change_rmdir(struct op *op)
{
	struct fs *fs = op->fs;
	struct object in = {0}, o = {0};
	struct node *n = NULL;
	int r = enter_dir(fs, op->node, &in);

	if (r == 0 && !(in.rights & RIGHT_WRITE))
		r = -EACCES;
	if (r == 0)
		r = dir_lookup(fs, op->node, op->name, &n);
	if (r == 0 && n->control)
		r = -EPERM;
	if (r == 0)
		r = node_refresh(fs, n, UINT32_MAX - 1);
	if (r == 0 && !n->dir)
		r = -ENOTDIR;
	if (r == 0)
		r = node_object(n, &o);
	if (r == 0 && holds_drafts(fs, o.id))
		r = -ENOTEMPTY;
	if (r == 0)
		r = spool_clear_removals(fs->spool, o.id, &op->cancelled);
	if (r == 0)
		r = backend_remove(fs->session, &in, &o, NULL);
	if (r == 0 || r == -ENOENT)
		forget(fs, op->node, n, o.id);
	object_done(&in);
	object_done(&o);
	node_unref(n);
	op_reply_err(op, r == -ENOENT && n ? 0 : r);
}

/* Nothing below n is on its way any more. */
static int rest_below(struct drafts *owed, const int *cancelled)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < owed->list.n; i++)
		r = draft_begin(owed->list.at[i], cancelled);
	return r;
}

int change_remove_all(struct fs *fs, struct node *n, const int *cancelled, char **why)
{
	_cleanup_(object_done) struct object in = {0}, o = {0};
	struct drafts owed = {0};
	struct node *dir = NULL;
	int r = 0;

	WITH_LOCK(&fs->lock)
		dir = n->parent ? node_ref_locked(n->parent) : NULL;
	if (!dir || n->control || dir->control)
		r = -EPERM;
	if (r == 0)
		r = enter_dir(fs, dir, &in);
	if (r == 0 && !n->dir) {
		r = unlink_file(fs, dir, n, cancelled);
		node_unref(dir);
		return r;
	}
	if (r == 0 && !(in.rights & RIGHT_WRITE))
		r = -EACCES;
	if (r == 0)
		r = node_object(n, &o);
	if (r == 0)
		r = write_below(fs, n, false, &owed);
	if (r == 0)
		r = rest_below(&owed, cancelled);
	if (r == 0)
		r = backend_remove_all(fs->session, &in, &o, why);
	for (size_t i = 0; i < owed.list.n; i++) {
		_cleanup_(object_done) struct object landed = {0};

		if (r < 0)
			draft_due(owed.list.at[i], false);
		else if (draft_drop(owed.list.at[i], &landed, cancelled) < 0)
			log_warn("what was written below %s is still owed", o.name);
	}
	drafts_done(&owed);
	if (r == 0) {
		forget(fs, dir, n, o.id);
		/* No rmdir(2) tells the kernel: it would say for a moment that the name is taken. The second notice is waited for, as it comes after the first. */
		WITH_LOCK(&fs->lock) {
			node_notify_entry(fs, dir, n->name);
			node_drop_pages_locked(n);
			(void)fs_wait_changed_locked(fs, &n->dropping, NOTIFY_MAX_MS);
		}
	}
	node_unref(dir);
	return r;
}

/* ---- rename ---- */

struct rename {
	struct fs *fs;
	const int *cancelled;
	struct node *from, *to;                 /* directories, borrowed */
	struct node *src, *dst;                 /* references; dst NULL: the name is free */
	const char *name;                       /* display name at its new place */
	char *raw;
	struct object in_from, in_to;
	struct object s, d;                     /* as they were when their drafts had come to rest */
	struct draft *s_draft, *d_draft;        /* what is owed of them, or NULL */
	bool s_local, d_local;                  /* never at the server */
};

static void rename_done(struct rename *x)
{
	draft_unref(x->s_draft);
	draft_unref(x->d_draft);
	node_unref(x->src);
	node_unref(x->dst);
	object_done(&x->in_from);
	object_done(&x->in_to);
	object_done(&x->s);
	object_done(&x->d);
	free(x->raw);
}

/* Find both ends and see that they fit. */
static int rename_look(struct rename *x, const char *name, unsigned flags)
{
	struct fs *fs = x->fs;
	struct object o = {0};
	int r = enter_dir(fs, x->from, &x->in_from);

	if (r == 0)
		r = enter_dir(fs, x->to, &x->in_to);
	if (r == 0)
		r = dir_lookup(fs, x->from, name, &x->src);
	if (r == 0 && x->src->control)
		r = -EPERM;
	if (r == 0)
		r = node_refresh(fs, x->src, UINT32_MAX - 1);
	if (r == 0) {
		r = dir_lookup(fs, x->to, x->name, &x->dst);
		if (r == 0)
			r = x->dst->control ? -EPERM : x->dst->dir ? node_refresh(fs, x->dst, UINT32_MAX - 1)
			                                           : node_refresh_version(fs, x->dst, fs->attr_ttl_ms);
		else if (r == -ENOENT)
			r = 0;
	}
	if (r < 0 || x->src == x->dst)
		return r;
	if (x->dst && flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (x->dst && x->src->dir && !x->dst->dir)
		return -ENOTDIR;
	if (x->dst && !x->src->dir && x->dst->dir)
		return -EISDIR;
	if (!(x->in_from.rights & RIGHT_WRITE))
		return -EACCES;
	/* A name that only a listing could give belongs to what has it. */
	if (x->dst) {
		WITH_LOCK(&fs->lock)
			r = str_dup(x->dst->object.name, &x->raw);
		if (r == 0 && !(x->in_to.rights & RIGHT_WRITE))
			r = -EACCES;
		return r;
	}
	r = plan(fs, &x->in_to, x->name, x->src->dir ? OBJECT_DIR : OBJECT_FILE, &x->raw, &o);
	object_done(&o);
	return r;
}

/* Nothing of either is on its way any more; what both are now. */
static int rename_rest(struct rename *x)
{
	int r;

	x->s_draft = node_draft(x->src);
	x->d_draft = x->dst ? node_draft(x->dst) : NULL;
	r = x->s_draft ? draft_begin(x->s_draft, x->cancelled) : 0;
	if (r == 0 && x->d_draft)
		r = draft_begin(x->d_draft, x->cancelled);
	WITH_LOCK(&x->fs->lock) {
		x->s_local = node_is_local_locked(x->src);
		if (r == 0)
			r = object_copy(&x->src->object, &x->s);
		if (r == 0 && x->dst) {
			x->d_local = node_is_local_locked(x->dst);
			r = object_copy(&x->dst->object, &x->d);
		}
	}
	if (r == 0 && x->dst && x->dst->dir && holds_drafts(x->fs, x->d.id))
		r = -ENOTEMPTY;
	return r;
}

/* Whatever had the new name is not owed any more. */
static void drop_target(struct rename *x)
{
	struct object landed = {0};

	if (x->d_draft && draft_drop(x->d_draft, &landed, x->cancelled) < 0)
		log_warn("%s: what was written of it before it was replaced is still owed", x->raw);
	object_done(&landed);
}

/* The number that the moved node has is from now on that of this identity. */
static void keep_number(struct fs *fs, struct node *n, const char *id)
{
	struct kept_attr k = {.mtime = {.tv_nsec = -1}};

	(void)kept_get(fs->spool, id, &k);
	k.ino = n->ino;
	(void)kept_set(fs->spool, id, &k);      /* else it has another number after a remount */
	kept_attr_done(&k);
}

/* A new file that nobody but us has seen: only where it will go changes. It becomes the new content of what has the name: that keeps
 * its identity and metadata at the server, and is never missing there. */
static int rename_draft(struct rename *x)
{
	struct fs *fs = x->fs;
	const struct object *over = x->dst && !x->d_local ? &x->d : NULL;
	struct object landed = {0}, copy = {0};
	struct draft_info i;
	int r = draft_retarget(x->s_draft, &x->in_to, x->raw, over, &landed, x->cancelled);

	object_done(&landed);
	if (r == 1)
		return -EAGAIN;         /* at rest it cannot land: it was due again by another's write */
	if (r < 0)
		return r;
	if (x->dst)
		drop_target(x);
	r = object_copy(over ? over : &x->s, &copy);
	if (r == 0 && over)
		keep_number(fs, x->src, over->id);
	if (r == 0 && !over) {
		free(TAKE(copy.name));
		r = str_dup(x->raw, &copy.name);
	}
	WITH_LOCK(&fs->lock) {
		if (r == 0)
			r = node_place_locked(x->src, x->to, x->name);
		if (r == 0) {
			object_done(&x->src->object);
			x->src->object = copy;
			memset(&copy, 0, sizeof(copy));
		}
	}
	object_done(&copy);
	draft_info(x->s_draft, &i);
	if (i.committed && !i.dirty)
		write_due(fs, x->src, x->s_draft);
	return r;
}

/* What is known below a directory that has another id now, where ids tell places. */
static void move_ids_locked(struct fs *fs, struct node *dir, const char *was, const char *now)
{
	struct map_iter it = {0};
	const char *name;
	void *value;

	while (map_next(dir->dir->by_name, &it, &name, &value)) {
		struct node *n = value;
		char *id = NULL;

		if (n->control || n->parent != dir)
			continue;
		if (backend_moved_id(fs->session, was, now, n->object.id, &id) == 0) {
			free(n->object.id);
			n->object.id = id;
		}
		if (n->dir)
			move_ids_locked(fs, n, was, now);
	}
}

static void move_below(struct fs *fs, struct node *dir, const char *was, const struct object *now)
{
	struct drafts all = {0};

	(void)spool_moved(fs->spool, was, now);         /* what is owed below it finds it by its identity */
	if (!fs->session->backend->moved_id || str_eq(was, now->id))
		return;
	WITH_LOCK(&fs->lock)
		move_ids_locked(fs, dir, was, now->id);
	if (spool_drafts(fs->spool, NULL, &all) < 0)
		return;
	for (size_t i = 0; i < all.list.n; i++) {
		struct object in = {0};
		_cleanup_free_ char *old = NULL;
		char *id = NULL;

		if (draft_dir(all.list.at[i], &in) == 0 && backend_moved_id(fs->session, was, now->id, in.id, &id) == 0) {
			old = in.id;
			in.id = id;
			if (spool_moved(fs->spool, old, &in) < 0)
				log_warn("%s: what is owed below it goes to its old place", now->name);
		}
		object_done(&in);
	}
	drafts_done(&all);
}

/* What the server knows is renamed there; what is owed of it goes on over what that made. */
static int rename_there(struct rename *x)
{
	struct fs *fs = x->fs;
	const struct object *over = x->dst && !x->d_local ? &x->d : NULL;
	struct object made = {0}, landed = {0};
	bool open;
	int r = over ? 0 : spool_clear_name(fs->spool, x->in_to.id, x->raw, x->cancelled);

	if (r == 0 && x->src->dir)
		r = spool_clear_removals(fs->spool, NULL, x->cancelled);
	if (r == 0)
		r = backend_rename(fs->session, &x->s, &x->in_from, &x->in_to, x->raw, over, &made);
	if (r < 0)
		return r;
	drop_target(x);
	WITH_LOCK(&fs->lock)
		open = node_has_owed_locked(x->src);
	if (x->s_draft && open) {
		r = draft_retarget(x->s_draft, &x->in_to, x->raw, &made, &landed, x->cancelled);
		object_done(&landed);
		if (r < 0)
			log_warn("%s: it was renamed, what is owed of it goes to its old name: %s", x->raw, strerror(-r));
	}
	if (!str_eq(made.id, x->s.id))
		keep_number(fs, x->src, made.id);
	WITH_LOCK(&fs->lock) {
		if (over)
			node_gone_set_locked(fs, over->id);
		r = node_place_locked(x->src, x->to, x->name);
		object_done(&x->src->object);
		x->src->object = made;
		x->src->object_at = x->src->kind_at = clock_mono_ms();
		x->src->listed_size = made.size;
		if (made.version)
			x->src->version_at = x->src->object_at;
		node_keep_locked(x->src);
		if (over && str_eq(made.id, over->id))
			map_remove(fs->gone, over->id);
	}
	if (over && !str_eq(x->src->object.id, over->id))
		(void)kept_forget(fs->spool, over->id);
	if (x->src->dir) {
		struct object now = {0};

		if (node_object(x->src, &now) == 0)
			move_below(fs, x->src, x->s.id, &now);
		object_done(&now);
	}
	if (x->s_draft)
		write_due(fs, x->src, x->s_draft);
	return r;
}

void change_rename(struct op *op)
{
	struct fs *fs = op->fs;
	struct rename x = {.fs = fs, .cancelled = &op->cancelled, .from = op->node, .to = op->new_node, .name = op->new_name};
	int r;

	if (op->flags & ~RENAME_NOREPLACE) {
		op_reply_err(op, -EINVAL);
		return;
	}
	if (x.from->control || x.to->control) {
		op_reply_err(op, control_rename(fs, x.from, op->name, x.to, op->new_name));
		return;
	}
	r = rename_look(&x, op->name, (unsigned)op->flags);
	if (r == 0 && x.src != x.dst) {
		r = rename_rest(&x);
		if (r == 0)
			r = x.s_local ? rename_draft(&x) : rename_there(&x);
		if (r < 0) {
			/* As they were: what is owed stays owed. */
			if (x.s_draft)
				write_due(fs, x.src, x.s_draft);
			if (x.d_draft)
				write_due(fs, x.dst, x.d_draft);
		} else {
			spool_forget_refusal(fs->spool, x.s.id);
			if (x.dst)
				spool_forget_refusal(fs->spool, x.d.id);
			documents_drop(fs, x.src);
			touch_dir(fs, x.from);
			if (x.to != x.from)
				touch_dir(fs, x.to);
		}
	}
	rename_done(&x);
	op_reply_err(op, r);
}
