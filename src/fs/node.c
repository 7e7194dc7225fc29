/* node.c - the node table: numbers, counts, freshness, what the kernel is told.
 *
 * A node lives while the kernel counts lookups of it or anybody here holds a reference. The children table of a directory
 * holds one, a child holds one of its parent. `by_ino` finds a living node by its st_ino, so that a listing that names a
 * thing again meets the node that the kernel already knows.
 *
 * A node's state: entered (in by_ino, in its parent's table) -> dropped from the table (gone on the server, or the listing
 * was let go) -> freed. A file that is open and has a new version is `replaced`: it leaves by_ino and the table, serves its
 * handles from its pinned version, and a new node with the same st_ino takes its place. (The kernel's pages belong to the
 * node, not to the handle: one node cannot show two versions.)
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/str.h"
#include "base/thread.h"
#include "fs/private.h"

/* A kind that was asked for is believed so long while a listing shows the same times and size: adding an empty file to an
 * item or renaming its file moves none of them on Girder. */
#define KIND_KEPT_MS (10 * 60 * 1000)
#define ID_COUNTED_MAX 1024     /* bytes: a longer identity's number is a hash of all of it */
#define NUMBER_DIGITS_MAX 18    /* no more fit into 63 bits */
#define INO_TRIES 16            /* numbers tried for one identity before giving up: each try is a 64-bit hash */

int node_table_init(struct fs *fs)
{

	fs->by_ino = map64_new();
	fs->replaced = map64_new();
	fs->by_draft = map64_new();
	fs->gone = map_new();
	if (!fs->by_ino || !fs->replaced || !fs->by_draft || !fs->gone) {
		map64_free(fs->by_draft);
		map64_free(fs->by_ino);
		map64_free(fs->replaced);
		map_free(fs->gone);
		return -ENOMEM;
	}
	list_init(&fs->unkept);
	list_init(&fs->handles);
	pthread_mutex_init(&fs->lock, NULL);
	thread_cond_init(&fs->changed);
	return 0;
}

static void dir_free_locked(struct dir *d)
{
	if (!d)
		return;
	list_remove(&d->unkept);
	for (size_t i = 0; i < d->order.n; i++)
		d->order.at[i] = NULL;
	vec_done(&d->order);
	vec_done(&d->sorted);
	map_free(d->by_name);
	map_free(d->absent);
	free(d->fingerprint);
	free(d);
}

/* The kernel is gone and sends no FORGET: everything that is left is freed without regard to counts. */
static void free_all(struct map64 *nodes)
{
	struct map64_iter it = {0};
	uint64_t key;
	void *value;

	while (map64_next(nodes, &it, &key, &value)) {
		struct node *n = value;

		dir_free_locked(n->dir);
		control_free(n->control);
		draft_unref(n->draft);
		object_done(&n->object);
		free(n->name);
		free(n);
	}
	map64_free(nodes);
}

void node_table_done(struct fs *fs)
{
	if (!fs->by_ino)
		return;
	free_all(fs->by_ino);
	free_all(fs->replaced);
	fs->by_ino = fs->replaced = NULL;
	map_free(fs->gone);
	map64_free(fs->by_draft);
	pthread_cond_destroy(&fs->changed);
	pthread_mutex_destroy(&fs->lock);
}

struct node *node_of(struct fs *fs, fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? fs->root : (struct node *)(uintptr_t)ino;
}

fuse_ino_t node_number(const struct node *n)
{
	return n == n->fs->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n;
}

struct node *node_ref_locked(struct node *n)
{
	n->refs++;
	return n;
}

struct node *node_ref(struct node *n)
{
	WITH_LOCK(&n->fs->lock)
		n->refs++;
	return n;
}

static void leave_table_locked(struct node *n)
{
	if (n->replaced)
		map64_remove(n->fs->replaced, (uintptr_t)n);
	if (map64_get(n->fs->by_ino, n->ino) == n)
		map64_remove(n->fs->by_ino, n->ino);
}

static void control_drop_locked(struct control *c)
{
	struct node *about = control_about(c);

	control_free(c);
	node_unref_locked(about);       /* never a control itself, so this goes one level deep */
}

void node_unref_locked(struct node *n)
{
	/* Up the parents in a loop: a deep tree must not recurse. */
	while (n) {
		struct node *parent = n->parent;

		if (n->refs)
			n->refs--;
		if (n->refs || n->nlookup || n == n->fs->root)
			return;
		leave_table_locked(n);
		if (n->dir) {
			/* Children hold a reference of their parent, so a directory without references has none that live. */
			dir_free_locked(n->dir);
		}
		if (n->control)
			control_drop_locked(n->control);
		/* One that is owed: spool holds it too, and it is shown again when it is wanted. */
		if (n->draft)
			draft_unref(node_take_draft_locked(n));
		object_done(&n->object);
		free(n->name);
		free(n);
		n = parent;
	}
}

void node_unref(struct node *n)
{
	if (!n)
		return;
	WITH_LOCK(&n->fs->lock)
		node_unref_locked(n);
}

void node_unrefp(struct node **n)
{
	node_unref(*n);
}

void node_forget(struct fs *fs, struct node *n, uint64_t nlookup)
{
	WITH_LOCK(&fs->lock) {
		n->nlookup -= nlookup < n->nlookup ? nlookup : n->nlookup;
		n->refs++;
		node_unref_locked(n);
	}
}

int node_object(struct node *n, struct object *ret)
{
	int r = 0;

	WITH_LOCK(&n->fs->lock)
		r = object_copy(&n->object, ret);
	return r;
}

static struct node *node_alloc(struct fs *fs, struct node *parent, const char *name)
{
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->fs = fs;
	n->refs = 1;
	n->generation = ++fs->generation;
	n->pages_clean = true;  /* the kernel has none of it yet */
	n->name = strdup(name);
	if (!n->name) {
		free(n);
		return NULL;
	}
	if (parent)
		n->parent = node_ref_locked(parent);
	return n;
}

static int node_make_dir(struct node *n)
{
	n->dir = calloc(1, sizeof(*n->dir));
	if (!n->dir)
		return -ENOMEM;
	n->dir->of = n;
	list_init(&n->dir->unkept);
	n->dir->by_name = map_new();
	return n->dir->by_name ? 0 : -ENOMEM;
}

static void node_discard_locked(struct node *n)
{
	n->refs = 1;
	node_unref_locked(n);
}

/* 1 is the root's and 0 means none to readdir. */
static uint64_t ino_of(const char *a, const char *b, unsigned attempt)
{
	char n[16];
	uint64_t h;

	snprintf(n, sizeof(n), "%u", attempt);
	h = digest_hash64((const char *const[]){a, b, attempt ? n : "", NULL});
	return h > 1 ? h : h + 2;
}

/* An identity's own. What is numbered in order (records of a series, by their time) has inode numbers in that order too: cp -r
 * reads by them, and neighbours are found quicker than what lies anywhere. The number counts from a hash of what stands before
 * it, leading zeros with that, so that two identities are as unlikely to meet as by a hash of all. */
static uint64_t ino_of_id(const char *id)
{
	char before[ID_COUNTED_MAX];
	size_t n = strlen(id), digits = 0;
	uint64_t ino;

	while (digits < n && isdigit((unsigned char)id[n - digits - 1]))
		digits++;
	while (digits && id[n - digits] == '0')
		digits--;
	if (!digits || digits > NUMBER_DIGITS_MAX || n - digits >= sizeof(before))
		return ino_of(id, "", 0);
	memcpy(before, id, n - digits);
	before[n - digits] = 0;
	ino = ino_of(before, "", 0) + strtoull(id + n - digits, NULL, 10);
	return ino > 1 ? ino : ino + 2;
}

static bool same_identity(const struct node *n, const struct object *o)
{
	return !n->control && n->object.id && strcmp(n->object.id, o->id) == 0;
}

/* The first number to try for an identity: the one that was kept of it (a file made here has one before it has an identity), else
 * its hash. */
static uint64_t first_ino(struct fs *fs, const char *id)
{
	struct kept_attr k;
	uint64_t ino = 0;

	if (fs->spool && kept_get(fs->spool, id, &k)) {
		ino = k.ino;
		kept_attr_done(&k);
	}
	return ino > 1 ? ino : ino_of_id(id);
}

struct node *node_by_id(struct fs *fs, const char *id)
{
	struct node *n = NULL;

	const uint64_t tries[] = {first_ino(fs, id), ino_of_id(id)};

	WITH_LOCK(&fs->lock)
		for (size_t i = 0; i < 2 && !n; i++) {
			n = map64_get(fs->by_ino, tries[i]);
			n = n && !n->control && str_eq(n->object.id, id) ? node_ref_locked(n) : NULL;
		}
	if (!n && fs->root && str_eq(fs->root->object.id, id))
		n = node_ref(fs->root);         /* its number is the kernel's own */
	return n;
}

void node_keep_locked(struct node *n)
{
	struct fs *fs = n->fs;
	struct object *o = &n->object;
	struct kept_attr k;
	/* Everybody's: this machine may have kept an older one. */
	bool there = fs->session->backend->mtime_own ? o->kind == OBJECT_FILE : fs->config.mtime_meta && object_set_time(o, &o->mtime);

	if (!fs->spool || !o->id || !kept_get(fs->spool, o->id, &k))
		return;
	/* What was set of another content says nothing of this one. */
	if (o->kind == OBJECT_DIR || (o->version && str_eq(k.version, o->version))) {
		if (k.mtime.tv_nsec >= 0 && !there)
			o->mtime = k.mtime;
	}
	n->mode = k.mode;
	kept_attr_done(&k);
}

#define GONE_MAX 100000

bool node_gone_locked(struct fs *fs, const char *id, uint64_t at)
{
	uint64_t when = (uint64_t)(uintptr_t)map_get(fs->gone, id);

	return (when && when >= at) || (fs->spool && spool_is_removed(fs->spool, id));
}

void node_gone_set_locked(struct fs *fs, const char *id)
{
	if (map_count(fs->gone) >= GONE_MAX)
		map_clear(fs->gone);
	(void)map_set(fs->gone, id, (void *)(uintptr_t)clock_mono_ms());        /* else an old listing may show it for a moment */
}

bool node_has_owed_locked(const struct node *n)
{
	struct draft_info i;

	if (!n->draft)
		return false;
	draft_info(n->draft, &i);
	return i.state != DRAFT_DONE;
}

bool node_is_local_locked(const struct node *n)
{
	return !n->control && n->object.id && str_starts(n->object.id, "draft/");
}

static bool is_ancestor(const struct node *n, const struct node *of)
{
	for (; of; of = of->parent)
		if (of == n)
			return true;
	return false;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* A listing may know less than stat() did (OBJECT_UNKNOWN): what was learnt stands while the listing says the same as then. */
static bool still_known(const struct node *n, const struct object *o)
{
	return o->kind == OBJECT_UNKNOWN && n->object.kind != OBJECT_UNKNOWN && fs_now_age(n->kind_at) < KIND_KEPT_MS &&
	       n->object.listed.tv_sec == o->listed.tv_sec && n->object.listed.tv_nsec == o->listed.tv_nsec &&
	       n->listed_size == o->size && same_text(n->object.name, o->name);
}

static bool kinds_agree(const struct node *n, const struct object *o)
{
	if (still_known(n, o))
		return true;
	if (o->kind == OBJECT_DIR)
		return n->dir != NULL;
	return n->dir == NULL;
}

/* Does `o` show, or leave open, another content than the one that is being read from this node? Its size must not grow over the
 * old bytes: the kernel would fill up with zeros. */
static bool is_other_version(const struct node *n, const struct object *o)
{
	if (!n->opens || n->object.kind != OBJECT_FILE)
		return false;
	if (o->kind == OBJECT_UNKNOWN)
		return !still_known(n, o);
	return o->kind == OBJECT_FILE && (!same_text(n->object.version, o->version) || n->object.size != o->size);
}

/* Renew what a living node says. True: there was something new in it. */
static bool renew_locked(struct node *n, struct object *o, uint64_t at)
{
	bool content_moved, times_moved, kind_moved = n->object.kind != o->kind;
	struct timespec before;

	if (still_known(n, o)) {
		object_done(o);
		n->object_at = at;
		n->stale = false;
		return false;
	}
	if (node_has_owed_locked(n)) {
		/* What is shown is the draft's; this is what the server holds meanwhile. */
		if (o->kind == OBJECT_FILE) {
			object_done(&n->object);
			n->object = *o;
			memset(o, 0, sizeof(*o));
		} else {
			object_done(o);
		}
		n->object_at = at;
		n->stale = false;
		return false;
	}
	content_moved = !same_text(n->object.version, o->version) || n->object.size != o->size;
	before = n->object.mtime;
	if (o->kind == OBJECT_UNKNOWN)
		n->listed_size = o->size;
	object_done(&n->object);
	n->object = *o;
	memset(o, 0, sizeof(*o));
	node_keep_locked(n);
	times_moved = n->object.mtime.tv_sec != before.tv_sec || n->object.mtime.tv_nsec != before.tv_nsec;
	n->object_at = at;
	if (n->object.version)
		n->version_at = at;
	if (content_moved) {
		n->part_at = 0;
		n->lost = false;
	}
	n->stale = false;
	if (content_moved && n->object.kind != OBJECT_DIR) {
		node_drop_pages_locked(n);
	} else if (times_moved && n->nlookup) {
		node_notify_inode(n->fs, n, false);
	}
	return content_moved || times_moved || kind_moved;
}

void node_set_draft_locked(struct node *n, struct draft *d)
{
	struct draft_info i;

	draft_info(d, &i);
	n->draft = draft_ref(d);
	if (map64_set(n->fs->by_draft, i.id, n) < 0)
		log_debug("%s: no memory to find it by its draft", n->name);    /* it is looked at again when it has landed */
}

struct draft *node_take_draft_locked(struct node *n)
{
	struct draft *d = TAKE(n->draft);
	struct draft_info i;

	draft_info(d, &i);
	if (map64_get(n->fs->by_draft, i.id) == n)
		map64_remove(n->fs->by_draft, i.id);
	return d;
}

void node_replace_locked(struct node *n)
{
	if (n->replaced)
		return;
	n->replaced = true;
	leave_table_locked(n);
	(void)map64_set(n->fs->replaced, (uintptr_t)n, n);      /* only to be freed at the end, if the kernel keeps it */
}

/* Where in its parent's listing it stands, and out of it. */
static void leave_dir_locked(struct node *n)
{
	struct dir *d = n->parent ? n->parent->dir : NULL;

	if (!d || map_get(d->by_name, n->name) != n)
		return;
	map_remove(d->by_name, n->name);
	for (size_t i = d->order.n; i-- > 0;)
		if (d->order.at[i] == n) {
			memmove(&d->order.at[i], &d->order.at[i + 1], (d->order.n - i - 1) * sizeof(*d->order.at));
			d->order.n--;
			break;
		}
	d->serial++;
	d->ahead_hint = 0;
	keep_changed_locked(n->parent);
	node_unref_locked(n);
}

void node_unlink_locked(struct node *n)
{
	node_ref_locked(n);
	leave_dir_locked(n);
	n->unlinked = true;
	n->local_at = clock_mono_ms();
	node_replace_locked(n);
	node_unref_locked(n);
}

int node_place_locked(struct node *n, struct node *dir, const char *name)
{
	char *copy = strdup(name);
	struct dir *d = dir->dir;
	struct node *was = map_get(d->by_name, name), *before = n->parent;
	bool here = before == dir && map_get(d->by_name, n->name) == n;
	int r = copy ? 0 : -ENOMEM;

	/* The new entry first: were there no memory for it, the old one stands. */
	if (r == 0 && !here && d->listed)
		r = vec_push(&d->order, n);
	if (r < 0) {
		free(copy);
		return r;
	}
	if (was && was != n)
		node_unlink_locked(was);
	node_ref_locked(n);     /* the table's */
	if (here) {
		map_remove(d->by_name, n->name);
		node_unref_locked(n);
	} else if (before && before != dir) {
		leave_dir_locked(n);
	}
	r = map_set(d->by_name, name, n);
	if (r < 0) {
		/* Nameless until the next listing names it. */
		d->listed_at = 0;
		if (d->order.n && d->order.at[d->order.n - 1] == n)
			d->order.n--;
		free(copy);
		node_unref_locked(n);
		return r;
	}
	free(n->name);
	n->name = copy;
	if (before != dir) {
		n->parent = node_ref_locked(dir);
		if (before)
			node_unref_locked(before);
	}
	if (d->absent)
		map_remove(d->absent, name);
	n->local_at = clock_mono_ms();
	d->serial++;
	keep_changed_locked(dir);
	return 0;
}

int node_enter_locked(struct fs *fs, struct node *parent, const char *name, struct object *o, uint64_t at, struct node **ret)
{
	return node_enter_at_locked(fs, parent, name, o, at, 0, ret);
}

int node_enter_at_locked(struct fs *fs, struct node *parent, const char *name, struct object *o, uint64_t at, uint64_t wanted,
                         struct node **ret)
{
	struct node *old = NULL, *n;
	uint64_t ino = 0;
	unsigned attempt;
	const char *where = "";

	for (attempt = 0; attempt < INO_TRIES; attempt++) {
		ino = !parent ? 1 : attempt || *where ? ino_of(o->id, where, attempt) : wanted > 1 ? wanted : first_ino(fs, o->id);
		old = map64_get(fs->by_ino, ino);
		if (!old)
			break;
		if (!same_identity(old, o)) {
			old = NULL;     /* a collision: the next number */
			continue;
		}
		if (old->dir && old->parent != parent && parent) {
			/* A directory below a second parent gets a number of its own there (the kernel allows one only). */
			if (is_ancestor(old, parent)) {
				log_warn("%s: \"%s\" is its own ancestor on the server", fs->config.source, name);
				return -ELOOP;
			}
			if (!*where && old->parent) {
				where = parent->object.id ? parent->object.id : "";
				attempt = (unsigned)-1;
				old = NULL;
				continue;
			}
		}
		break;
	}
	if (attempt >= INO_TRIES)
		return -EEXIST;
	if (old) {
		bool older = at < old->object_at;       /* what is known is newer: only the place counts */
		bool owed = node_has_owed_locked(old);
		bool new_version = !older && !owed && is_other_version(old, o);

		/* What was done here since is newer than this answer, about its place too. */
		if ((older && at == NODE_LONG_AGO) || (old->local_at && at <= old->local_at)) {
			object_done(o);
			*ret = node_ref_locked(old);
			return 0;
		}
		if (older || owed || (kinds_agree(old, o) && !new_version)) {
			if (old->parent != parent && parent) {
				/* Moved on the server: the node follows. */
				struct node *before = old->parent;

				old->parent = node_ref_locked(parent);
				node_unref_locked(before);
			}
			if (strcmp(old->name, name) != 0) {
				char *copy = strdup(name);

				if (!copy)
					return -ENOMEM;
				free(old->name);
				old->name = copy;
			}
			if (older)
				object_done(o);
			else
				renew_locked(old, o, at);
			*ret = node_ref_locked(old);
			return 0;
		}
		/* It became something else, or its old version is being read: the old node stays with who holds it. */
		node_replace_locked(old);
		if (old->parent)
			node_notify_entry(fs, old->parent, old->name);
	}
	n = node_alloc(fs, parent, name);
	if (!n)
		return -ENOMEM;
	n->ino = ino;
	if (o->kind == OBJECT_DIR && node_make_dir(n) < 0) {
		node_discard_locked(n);
		return -ENOMEM;
	}
	if (map64_set(fs->by_ino, ino, n) < 0) {
		node_discard_locked(n);
		return -ENOMEM;
	}
	if (o->kind == OBJECT_UNKNOWN)
		n->listed_size = o->size;
	n->object = *o;
	memset(o, 0, sizeof(*o));
	n->object_at = at;
	if (n->object.version)
		n->version_at = at;
	node_keep_locked(n);
	*ret = n;
	return 0;
}

int node_enter_control_locked(struct fs *fs, struct node *parent, const char *name, struct control *c, bool is_dir,
                              struct node **ret)
{
	char parent_ino[24];
	struct node *n = NULL, *old;
	uint64_t ino = 0;

	snprintf(parent_ino, sizeof(parent_ino), "%llx", (unsigned long long)parent->ino);
	for (unsigned attempt = 0; attempt < INO_TRIES; attempt++) {
		ino = ino_of(parent_ino, name, attempt);
		old = map64_get(fs->by_ino, ino);
		if (!old)
			break;
		if (old->control && old->control->kind == c->kind && old->parent == parent && strcmp(old->name, name) == 0 &&
		    (old->dir != NULL) == is_dir) {
			control_drop_locked(c);
			*ret = node_ref_locked(old);
			return 0;
		}
		if (old->control && old->parent && map64_get(fs->by_ino, old->parent->ino) != old->parent) {
			node_replace_locked(old);       /* of a directory that was removed and made again: it stays with who holds it */
			break;
		}
		ino = 0;
	}
	if (ino)
		n = node_alloc(fs, parent, name);
	if (!n || (is_dir && node_make_dir(n) < 0)) {
		control_drop_locked(c);
		if (n)
			node_discard_locked(n);
		return ino ? -ENOMEM : -EEXIST;
	}
	n->ino = ino;
	n->control = c;
	n->object_at = clock_mono_ms();
	if (map64_set(fs->by_ino, ino, n) < 0) {
		node_discard_locked(n);
		return -ENOMEM;
	}
	*ret = n;
	return 0;
}

mode_t node_allowed_mode(const struct fs *fs, const struct object *o)
{
	mode_t bits = o->rights & (RIGHT_READ | RIGHT_PUBLIC) ? 0400 : 0;

	if (o->rights & RIGHT_PUBLIC)
		bits |= 0044;
	if (o->rights & RIGHT_WRITE && fs_can_write(fs))
		bits |= 0200;
	return bits;
}

void node_stat_locked(const struct node *n, struct stat *ret)
{
	const struct object *o = &n->object;
	struct draft_info draft;
	unsigned bits, mode;

	memset(ret, 0, sizeof(*ret));
	ret->st_ino = n->ino;
	ret->st_uid = n->fs->config.uid;
	ret->st_gid = n->fs->config.gid;
	ret->st_blksize = CACHE_BLOCK;
	ret->st_nlink = 1;
	if (n->control) {
		control_stat_locked(n, ret);
		return;
	}
	bits = node_allowed_mode(n->fs, o);
	if (n->draft)
		draft_info(n->draft, &draft);
	mode = n->draft ? draft.mode : n->mode;
	if (mode)
		bits = mode & (bits | (bits & 0444) >> 2) & 0777;
	if (o->kind == OBJECT_DIR) {
		ret->st_mode = S_IFDIR | bits | (mode ? 0 : (bits & 0444) >> 2);
		ret->st_nlink = 2;
	} else if (o->kind == OBJECT_LINK) {
		ret->st_mode = S_IFLNK | 0777;
		ret->st_size = o->target ? (off_t)strlen(o->target) : 0;
	} else {
		uint64_t size = n->draft ? draft.size : o->size;

		ret->st_mode = S_IFREG | bits;
		ret->st_size = size > INT64_MAX ? 0 : (off_t)size;
		ret->st_blocks = (ret->st_size + 511) / 512;
	}
	ret->st_mtim = n->draft ? draft.mtime : o->mtime;
	ret->st_ctim = !n->draft && (o->ctime.tv_sec || o->ctime.tv_nsec) ? o->ctime : ret->st_mtim;
	ret->st_atim = ret->st_mtim;
	if (n->unlinked)
		ret->st_nlink = 0;
}

int node_path(struct node *n, char **ret)
{
	size_t len = 1;
	char *path, *at;

	pthread_mutex_lock(&n->fs->lock);
	for (struct node *i = n; i && i->parent; i = i->parent)
		len += 1 + strlen(i->name);
	path = malloc(len + 1);
	if (!path) {
		pthread_mutex_unlock(&n->fs->lock);
		return -ENOMEM;
	}
	at = path + len;
	*at = 0;
	for (struct node *i = n; i && i->parent; i = i->parent) {
		size_t l = strlen(i->name);

		at -= l;
		memcpy(at, i->name, l);
		*--at = '/';
	}
	if (at == path + len)
		*--at = '/';
	memmove(path, at, strlen(at) + 1);
	pthread_mutex_unlock(&n->fs->lock);
	*ret = path;
	return 0;
}

/* ---- freshness ---- */

bool fs_error_is_unreachable(int err)
{
	switch (-err) {
	case EHOSTDOWN: case EHOSTUNREACH: case ENETUNREACH: case ENETDOWN: case ETIMEDOUT: case ECONNREFUSED:
	case ECONNRESET: case EPIPE: case EAGAIN: case EIO: case EINTR: case ECANCELED: case EPROTO: case EBADMSG:
	case ENOTCONN: case ENOMEM: case ESHUTDOWN:
		return true;
	default:
		return false;
	}
}

unsigned fs_now_age(uint64_t at)
{
	uint64_t now = clock_mono_ms();

	if (!at)
		return UINT_MAX;
	return now - at > UINT_MAX - 1 ? UINT_MAX - 1 : (unsigned)(now - at);
}

/* What the server said of n just now. */
static void refreshed(struct fs *fs, struct node *n, int r, struct object *o)
{
	struct node *parent = NULL, *entered = NULL;
	bool gone = false, news = true;

	fs_answered(fs, r);
	pthread_mutex_lock(&fs->lock);
	n->refreshing = false;
	if (n->local_at && n->refreshing_since <= n->local_at) {
		/* It was changed here after this was asked. */
	} else if (r == 0) {
		bool moved = !node_has_owed_locked(n) && (!kinds_agree(n, o) || (n->opens && o->kind == OBJECT_FILE && n->object.kind == OBJECT_FILE &&
		             (!same_text(n->object.version, o->version) || n->object.size != o->size)));

		if (moved && n->parent && !n->replaced) {
			/* Another node takes its place in the parent's table. */
			struct dir *d = n->parent->dir;

			if (node_enter_locked(fs, n->parent, n->name, o, clock_mono_ms(), &entered) == 0 && d) {
				struct node *was = map_get(d->by_name, entered->name);

				if (was == n) {
					if (map_set(d->by_name, entered->name, entered) == 0) {
						for (size_t i = 0; i < d->order.n; i++)
							if (d->order.at[i] == n)
								d->order.at[i] = entered;
						node_unref_locked(n);
						node_ref_locked(entered);
						d->serial++;
					}
				}
				entered->kind_at = entered->object_at;
				entered->listed_size = n->listed_size;
				node_unref_locked(entered);
			}
		} else {
			news = renew_locked(n, o, clock_mono_ms());
			n->kind_at = n->object_at;
			if (n->version_at)
				n->version_at = n->refreshing_since;    /* what came after the question is not answered by it */
		}
		if (news)
			keep_changed_locked(n->parent);
	} else if (r == -ENOENT && !node_has_owed_locked(n)) {
		gone = true;
		if (n->parent && n->parent->dir && map_get(n->parent->dir->by_name, n->name) == n) {
			parent = node_ref_locked(n->parent);
			parent->dir->listed_at = 0;     /* the listing that still names it is not true any more */
		}
		n->object_at = 0;
	} else {
		n->stale = true;
	}
	pthread_cond_broadcast(&fs->changed);
	pthread_mutex_unlock(&fs->lock);
	if (gone)
		events_add(fs, "gone", n, NULL);
	if (parent) {
		node_notify_entry(fs, parent, n->name);
		node_unref(parent);
	}
}

struct refresh {
	struct fs *fs;
	struct node *node;
	int result;
};

static void refresh_run(void *arg)
{
	struct refresh *x = arg;
	struct object o = {0}, now = {0};
	int r = node_object(x->node, &o);

	if (r == 0)
		r = backend_stat(x->fs->session, &o, &now);
	refreshed(x->fs, x->node, r, &now);
	object_done(&now);
	object_done(&o);
	node_unref(x->node);
	free(x);
}

static void refresh_asked(void *arg)
{
	struct fs *fs = ((struct refresh *)arg)->fs;

	refresh_run(arg);
	atomic_fetch_sub(&fs->asking, 1);
}

/* Is enough known of it to answer meanwhile? */
static bool is_known(const struct node *n, bool version)
{
	return n->object.kind != OBJECT_UNKNOWN && (!version || n->object.kind != OBJECT_FILE || n->object.version);
}

/* `version`: of a file it must be known too. `inline_`: this thread asks. */
static int refresh(struct fs *fs, struct node *n, unsigned max_age_ms, bool version, bool inline_)
{
	struct refresh *x;
	bool usable;
	int r = 0;

	if (n->control || !fs->session->backend->stat)
		return 0;
	pthread_mutex_lock(&fs->lock);
	if (node_has_owed_locked(n) || n->unlinked) {
		pthread_mutex_unlock(&fs->lock);
		return 0;       /* it is what was written here, whatever the server has */
	}
	if (is_known(n, version) &&
	    fs_now_age(version && n->object.kind == OBJECT_FILE ? n->version_at : n->object_at) <= max_age_ms) {
		pthread_mutex_unlock(&fs->lock);
		return 0;
	}
	usable = is_known(n, version);
	if (usable && n->object_at && fs_is_quiet(fs)) {
		n->stale = true;
		pthread_mutex_unlock(&fs->lock);
		return 0;
	}
	if (!n->refreshing) {
		x = calloc(1, sizeof(*x));
		if (!x) {
			pthread_mutex_unlock(&fs->lock);
			return -ENOMEM;
		}
		x->fs = fs;
		x->node = node_ref_locked(n);
		n->refreshing = true;
		n->refreshing_since = clock_mono_ms();
		n->stale = false;
		if (!usable || inline_) {
			/* Nothing to answer with meanwhile: this caller does the work itself. */
			pthread_mutex_unlock(&fs->lock);
			refresh_run(x);
			pthread_mutex_lock(&fs->lock);
			goto look;
		}
		pthread_mutex_unlock(&fs->lock);
		atomic_fetch_add(&fs->asking, 1);
		r = pool_add(fs->askers, refresh_asked, x);
		pthread_mutex_lock(&fs->lock);
		if (r < 0) {
			atomic_fetch_sub(&fs->asking, 1);
			n->refreshing = false;
			pthread_cond_broadcast(&fs->changed);
			node_unref_locked(n);
			free(x);
			n->stale = true;
			pthread_mutex_unlock(&fs->lock);
			return 0;
		}
	}
	/* A host that has been thinking for longer than the soft wait is not waited for again. */
	if (!fs_wait_changed_locked(fs, &n->refreshing, usable ? fs_soft_wait(fs, n->refreshing_since)
	                                                       : fs->session->policy.timeout_ms + 1000))
		atomic_store(&fs->quiet, true);
look:
	if (n->object_at == 0 && !n->unlinked && !node_has_owed_locked(n))
		r = -ENOENT;
	else if (!is_known(n, version))
		r = n->replaced ? -ESTALE : -EIO;
	else
		r = 0;
	if (n->refreshing && r == 0)
		n->stale = true;
	pthread_mutex_unlock(&fs->lock);
	return r;
}

int node_refresh(struct fs *fs, struct node *n, unsigned max_age_ms)
{
	return refresh(fs, n, max_age_ms, false, false);
}

int node_refresh_version(struct fs *fs, struct node *n, unsigned max_age_ms)
{
	return refresh(fs, n, max_age_ms, true, false);
}

int node_refresh_now(struct fs *fs, struct node *n, unsigned max_age_ms)
{
	return refresh(fs, n, max_age_ms, true, true);
}

/* ---- notifications: sent by one thread, since they may block behind a handler that waits for us ---- */

struct notification {
	struct fs *fs;
	fuse_ino_t parent, ino;
	char *name;
	bool data;
	struct node *dropped;           /* a reference: its pages go with this, and the kernel's are clean when that is done */
};

static void notification_free(struct notification *x)
{
	free(x->name);
	free(x);
}

/* The lock is held. */
static void dropped_locked(struct node *n, bool done)
{
	if (--n->drops == 0) {
		n->dropping = false;
		n->pages_clean = done;
		pthread_cond_broadcast(&n->fs->changed);
	}
	node_unref_locked(n);
}

static void notify_run(void *arg)
{
	struct notification *x = arg;

	if (x->name)
		(void)fuse_lowlevel_notify_inval_entry(x->fs->se, x->parent, x->name, strlen(x->name));
	else
		(void)fuse_lowlevel_notify_inval_inode(x->fs->se, x->ino, x->data ? 0 : -1, 0);
	/* The kernel may not know it (any more): that is what was wanted. */
	if (x->dropped)
		WITH_LOCK(&x->fs->lock)
			dropped_locked(x->dropped, true);
	notification_free(x);
}

static void notify_add(struct fs *fs, struct notification *x)
{
	if (!x)
		return;
	if (!fs->mounted || !fs->notifier || pool_add(fs->notifier, notify_run, x) < 0) {
		if (x->dropped)
			dropped_locked(x->dropped, false);
		notification_free(x);
	}
}

void node_notify_entry(struct fs *fs, struct node *parent, const char *name)
{
	struct notification *x = calloc(1, sizeof(*x));

	if (!x)
		return;
	x->fs = fs;
	x->parent = node_number(parent);
	x->name = strdup(name);
	if (!x->name) {
		free(x);
		return;
	}
	notify_add(fs, x);
}

/* NULL: the kernel does not know it, or there is no memory. */
static struct notification *of_inode(struct node *n, bool data)
{
	struct notification *x = n->nlookup || n == n->fs->root ? calloc(1, sizeof(*x)) : NULL;

	if (x)
		*x = (struct notification){.fs = n->fs, .ino = node_number(n), .data = data};
	return x;
}

void node_notify_inode(struct fs *fs, struct node *n, bool data)
{
	notify_add(fs, of_inode(n, data));
}

void node_drop_pages_locked(struct node *n)
{
	struct notification *x = of_inode(n, true);

	n->pages_clean = !n->nlookup;
	if (!x)
		return;
	x->dropped = node_ref_locked(n);
	n->drops++;
	n->dropping = true;
	notify_add(n->fs, x);
}
