/* dir.c - the children of directories: listings, single lookups, and what is believed of both for how long.
 *
 * A listing is made by one caller at a time; others wait for it, briefly when an older one can answer. The first lookup in a
 * directory that was not listed asks for that one name; the second lists, since for most servers both cost the same.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

#define COLD_LOOKUPS 1          /* single lookups before a listing */
#define COLD_LOOKUPS_LARGE 64   /* in a directory that is known to be large */
#define COLD_LOOKUPS_ASKED 2    /* in a large one of which the server says cheaply whether it has changed */
#define LARGE 5000
#define FINGERPRINT_FROM 500    /* entries from which asking "has it changed" is cheaper than listing again */
#define ABSENT_MAX 1000

struct listing {
	VEC(struct object) objects;
	char **names;
	char *fingerprint;
};

static void listing_done(struct listing *l)
{
	for (size_t i = 0; i < l->objects.n; i++)
		object_done(&l->objects.at[i]);
	for (size_t i = 0; l->names && i < l->objects.n; i++)
		free(l->names[i]);
	free(l->names);
	free(l->fingerprint);
	vec_done(&l->objects);
}

static int fetch_listing(struct fs *fs, const struct object *o, struct listing *l)
{
	_cleanup_(page_done) struct page page = {0};
	int r;

	do {
		r = backend_list(fs->session, o, &page);
		if (r < 0)
			return r;
		for (size_t i = 0; i < page.objects.n; i++) {
			if (l->objects.n >= FS_CHILDREN_MAX) {
				log_warn("%s: more than %u entries below %s, the rest is not shown", fs->config.source,
				         FS_CHILDREN_MAX, o->id);
				return 0;
			}
			if (vec_push(&l->objects, page.objects.at[i]) < 0)
				return -ENOMEM;
			memset(&page.objects.at[i], 0, sizeof(struct object));
		}
	} while (page.cursor);
	return 0;
}

static int give_names(struct fs *fs, struct listing *l)
{
	l->names = calloc(l->objects.n + 1, sizeof(*l->names));
	if (!l->names)
		return -ENOMEM;
	return name_assign(fs->config.names, l->objects.at, l->objects.n, l->names);
}

/* Does the listing name something that is not to be shown: what was removed here since it was asked for; what somebody else has
 * under the name of a new thing of ours, which may be ours on its way. */
static bool hidden_locked(struct fs *fs, const struct node *dir, const char *name, const struct object *o, uint64_t at)
{
	const struct node *mine = map_get(dir->dir->by_name, name);

	return node_gone_locked(fs, o->id, at) || (mine && node_is_local_locked(mine));
}

/* A directory that is found by its name alone: that a listing leaves it out says nothing of it. */
static bool beside_listing_locked(struct fs *fs, const struct node *dir, const struct node *n)
{
	return n->dir && n->object_at && dir->object.id && backend_unlisted(fs->session, &dir->object, n->name);
}

/* The listing becomes the directory's children. */
static int install(struct fs *fs, struct node *dir, struct listing *l, uint64_t at)
{
	struct map *by_name = map_new();
	VEC(struct node *) order = {0};
	struct dir *d = dir->dir;
	struct map_iter it = {0};
	const char *name;
	void *value;
	bool changed = false, first;
	int r = by_name ? 0 : -ENOMEM;

	pthread_mutex_lock(&fs->lock);
	first = !d->listed;
	for (size_t i = 0; r == 0 && i < l->objects.n; i++) {
		struct node *n;

		if (hidden_locked(fs, dir, l->names[i], &l->objects.at[i], at))
			continue;
		r = node_enter_locked(fs, dir, l->names[i], &l->objects.at[i], at, &n);
		if (r == -ELOOP) {
			r = 0;
			continue;
		}
		if (r < 0)
			break;
		if (n->parent != dir || strcmp(n->name, l->names[i]) != 0) {
			/* Moved here since the listing was asked for. */
			node_unref_locked(n);
			continue;
		}
		if (vec_push(&order, n) < 0 || map_set(by_name, l->names[i], n) < 0) {
			if (order.n && order.at[order.n - 1] == n)
				order.n--;
			node_unref_locked(n);
			r = -ENOMEM;
		}
	}
	/* What came here since, or is not there yet, stays. */
	while (r == 0 && map_next(d->by_name, &it, &name, &value)) {
		struct node *n = value;
		bool stays = node_has_owed_locked(n) || (n->local_at && n->local_at >= at);

		if (n->parent != dir || map_get(by_name, name) || (!stays && !beside_listing_locked(fs, dir, n)))
			continue;
		r = map_set(by_name, name, n);
		if (r == 0) {
			node_ref_locked(n);
			r = stays ? vec_push(&order, n) : 0;
		}
	}
	it = (struct map_iter){0};
	if (r < 0) {
		while (map_next(by_name, &it, &name, &value))
			node_unref_locked(value);
		pthread_mutex_unlock(&fs->lock);
		vec_done(&order);
		map_free(by_name);
		return r;
	}
	while (map_next(d->by_name, &it, &name, &value)) {
		struct node *was = value;

		if (map_get(by_name, name) != was) {
			changed = true;
			if (was->nlookup)
				node_notify_entry(fs, dir, name);
		}
	}
	for (size_t i = 0; i < order.n && d->absent && !first; i++)
		if (map_get(d->absent, order.at[i]->name))
			node_notify_entry(fs, dir, order.at[i]->name);
	if (map_count(by_name) != map_count(d->by_name))
		changed = true;
	it.at = 0;
	while (map_next(d->by_name, &it, &name, &value))
		node_unref_locked(value);
	map_free(d->by_name);
	map_free(d->absent);
	vec_done(&d->order);
	d->absent = NULL;
	d->by_name = by_name;
	d->order.at = order.at;
	d->order.n = order.n;
	d->order.room = order.room;
	d->listed = true;
	d->listed_at = at;
	d->cold_lookups = 0;
	free(d->fingerprint);
	d->fingerprint = TAKE(l->fingerprint);
	if (changed) {
		d->serial++;
		node_notify_inode(fs, dir, true);
	}
	keep_changed_locked(dir);
	pthread_mutex_unlock(&fs->lock);
	if (changed && !first)
		events_add(fs, "changed", dir, NULL);
	return 0;
}

/* A known child that the new listing leaves out: a copy of it. */
static bool find_missing(struct fs *fs, struct node *dir, const struct listing *l, uint64_t at, struct object *ret)
{
	struct map_iter it = {0};
	struct map *ids;
	const char *name;
	void *value;
	bool found = false, known;

	WITH_LOCK(&fs->lock)
		known = map_count(dir->dir->by_name) > 0;
	ids = known ? map_new() : NULL; /* nothing can be missing where nothing was known */
	for (size_t i = 0; ids && i < l->objects.n; i++)
		if (map_set(ids, l->objects.at[i].id, dir) < 0)
			break;
	WITH_LOCK(&fs->lock)
		while (ids && !found && map_next(dir->dir->by_name, &it, &name, &value)) {
			const struct node *n = value;

			found = n->object_at && n->object.id && !map_get(ids, n->object.id) && !node_has_owed_locked(n) &&
			        !(n->local_at && n->local_at >= at) && !beside_listing_locked(fs, dir, n) && object_copy(&n->object, ret) == 0;
		}
	map_free(ids);
	return found;
}

/* Before something is believed to have vanished it is looked at by its id: a server may show less to somebody whose login has
 * ended, without a word. That look makes the backend notice; then the listing is made once more. */
static int confirm(struct fs *fs, struct node *dir, const struct object *o, struct listing *l, uint64_t at)
{
	struct object missing = {0}, now = {0};
	struct listing again = {0};
	int r;

	if (!fs->session->backend->stat || !find_missing(fs, dir, l, at, &missing))
		return 0;
	r = backend_stat(fs->session, &missing, &now);
	object_done(&missing);
	object_done(&now);
	if (r == -ENOENT)
		return 0;
	if (r < 0 && r != -EACCES)
		return r;
	r = fetch_listing(fs, o, &again);
	if (r == 0)
		r = give_names(fs, &again);
	if (r < 0) {
		listing_done(&again);
		return r;
	}
	again.fingerprint = TAKE(l->fingerprint);
	listing_done(l);
	*l = again;
	return 0;
}

static int list_now(struct fs *fs, struct node *dir)
{
	struct object o = {0};
	struct listing l = {0};
	char *fingerprint = NULL;
	uint64_t at = clock_mono_ms();
	bool large;
	int r = node_object(dir, &o);

	if (r < 0)
		return r;
	atomic_fetch_add(&fs->count_listings, 1);
	WITH_LOCK(&fs->lock) {
		large = dir->dir->listed && dir->dir->order.n >= FINGERPRINT_FROM && (dir->dir->listed_at || dir->dir->fingerprint);
		if (large && dir->dir->fingerprint)
			fingerprint = strdup(dir->dir->fingerprint);
	}
	if (large && fs->session->backend->changed) {
		bool had = fingerprint != NULL;

		r = backend_changed(fs->session, &o, &fingerprint);
		if (r == 0 && had) {
			WITH_LOCK(&fs->lock) {
				dir->dir->listed_at = at;
				for (size_t i = 0; i < dir->dir->order.n; i++)
					if (dir->dir->order.at[i]->object_at)
						dir->dir->order.at[i]->object_at = at;
			}
			free(fingerprint);
			object_done(&o);
			return 0;
		}
		l.fingerprint = fingerprint;
		fingerprint = NULL;
	}
	free(fingerprint);
	r = fetch_listing(fs, &o, &l);
	if (r == 0)
		r = give_names(fs, &l);
	if (r == 0)
		r = confirm(fs, dir, &o, &l, at);
	if (r == 0)
		r = install(fs, dir, &l, at);
	listing_done(&l);
	object_done(&o);
	return r;
}

struct list_job {
	struct fs *fs;
	struct node *dir;
};

static void list_run(void *arg)
{
	struct list_job *job = arg;
	struct dir *d = job->dir->dir;
	int r = list_now(job->fs, job->dir);

	fs_answered(job->fs, r);
	WITH_LOCK(&job->fs->lock) {
		d->listing = false;
		d->error = r;
		job->dir->stale = r < 0 && d->listed;
		pthread_cond_broadcast(&job->fs->changed);
	}
	node_unref(job->dir);
	free(job);
}

static void list_asked(void *arg)
{
	struct fs *fs = ((struct list_job *)arg)->fs;

	list_run(arg);
	atomic_fetch_sub(&fs->asking, 1);
}

/* `usable`: what the caller looks for is known, whether the directory was listed or not. */
static int load(struct fs *fs, struct node *dir, unsigned max_age_ms, bool usable)
{
	struct dir *d = dir->dir;
	struct list_job *job;
	int r;

	if (!d)
		return -ENOTDIR;
	if (dir->control)
		return 0;
	keep_load(fs, dir);
	write_show_drafts(fs, dir);
	pthread_mutex_lock(&fs->lock);
	if (d->listed && d->listed_at && fs_now_age(d->listed_at) <= max_age_ms) {
		pthread_mutex_unlock(&fs->lock);
		return 0;
	}
	usable |= d->listed;
	if (usable && fs_is_quiet(fs)) {
		dir->stale = true;
		pthread_mutex_unlock(&fs->lock);
		return 0;
	}
	if (!d->listing) {
		job = malloc(sizeof(*job));
		if (!job) {
			pthread_mutex_unlock(&fs->lock);
			return -ENOMEM;
		}
		*job = (struct list_job){fs, node_ref_locked(dir)};
		d->listing = true;
		d->listing_since = clock_mono_ms();
		pthread_mutex_unlock(&fs->lock);
		atomic_fetch_add(&fs->asking, 1);
		if (!usable || pool_add(fs->askers, list_asked, job) < 0)
			list_asked(job);
		pthread_mutex_lock(&fs->lock);
	}
	if (!fs_wait_changed_locked(fs, &d->listing, usable ? fs_soft_wait(fs, d->listing_since) : fs->session->policy.timeout_ms * 2))
		atomic_store(&fs->quiet, true);
	if (d->listing)
		r = usable ? 0 : -ETIMEDOUT;
	else if (d->error < 0 && usable && fs_error_is_unreachable(d->error))
		r = 0;          /* what is known is still worth showing: unreachable is not deleted */
	else
		r = d->error;
	if (r == 0 && (d->listing || d->error < 0))
		dir->stale = true;
	pthread_mutex_unlock(&fs->lock);
	return r;
}

int dir_load(struct fs *fs, struct node *dir, unsigned max_age_ms)
{
	return load(fs, dir, max_age_ms, false);
}

static bool believed_locked(struct fs *fs, const struct node *dir)
{
	return dir->dir->listed && dir->dir->listed_at && fs_now_age(dir->dir->listed_at) <= fs->list_ttl_ms;
}

static struct node *child_locked(struct node *dir, const char *name)
{
	struct node *n = map_get(dir->dir->by_name, name);

	return n ? node_ref_locked(n) : NULL;
}

static void absent_locked(struct dir *d, const char *name)
{
	if (!d->absent)
		d->absent = map_new();
	if (d->absent && map_count(d->absent) >= ABSENT_MAX)
		map_clear(d->absent);
	if (d->absent)
		(void)map_set(d->absent, name, (void *)(uintptr_t)clock_mono_ms());     /* only a wish to save a request */
}

/* What is known already, where it is listed: another name for it does not move it there. */
static struct node *known_elsewhere(struct fs *fs, const struct page *page, char *const *names, const char *name)
{
	for (size_t i = 0; i < page->objects.n; i++)
		if (names[i] && strcmp(names[i], name) == 0 && page->objects.at[i].kind == OBJECT_FILE)
			return node_by_id(fs, page->objects.at[i].id);
	return NULL;
}

/* One name from the server, perhaps one that no listing shows. 1: *ret; 0: list instead; -ENOENT and others. */
static int lookup_one(struct fs *fs, struct node *dir, const char *name, bool unlisted, struct node **ret)
{
	_cleanup_(page_done) struct page page = {0};
	_cleanup_free_ char *raw = NULL;
	struct object o = {0};
	char **names = NULL;
	uint64_t at = clock_mono_ms();
	int r;

	if (name_may_be_twin(name) || name_raw(fs->config.names, name, &raw) < 0)
		return 0;
	r = node_object(dir, &o);
	if (r == 0)
		r = backend_lookup(fs->session, &o, raw, &page);
	object_done(&o);
	if (r < 0)
		return r == -ENOENT ? 0 : r;    /* the directory itself: the listing will tell */
	names = calloc(page.objects.n + 1, sizeof(*names));
	r = names ? name_assign(fs->config.names, page.objects.at, page.objects.n, names) : -ENOMEM;
	if (r == 0 && unlisted && (*ret = known_elsewhere(fs, &page, names, name)))
		r = 1;
	WITH_LOCK(&fs->lock) {
		for (size_t i = 0; r == 0 && i < page.objects.n; i++) {
			struct node *n, *was;

			if (strcmp(names[i], name) != 0 || hidden_locked(fs, dir, name, &page.objects.at[i], at))
				continue;
			r = node_enter_locked(fs, dir, name, &page.objects.at[i], at, &n);
			if (r < 0)
				break;
			if (n->parent != dir || strcmp(n->name, name) != 0) {
				node_unref_locked(n);
				continue;
			}
			was = map_get(dir->dir->by_name, name);
			if (was != n && map_set(dir->dir->by_name, name, n) == 0) {
				node_ref_locked(n);
				if (was)
					node_unref_locked(was);
			}
			keep_changed_locked(dir);
			*ret = n;
			r = 1;
			break;
		}
		if (r == 0) {
			absent_locked(dir->dir, name);
			r = -ENOENT;
		}
		dir->dir->cold_lookups++;
	}
	for (size_t i = 0; names && i < page.objects.n; i++)
		free(names[i]);
	free(names);
	return r;
}

struct lookup {
	struct question question;
	struct node *dir, *found;       /* references */
	char *name;
	bool unlisted;
	int r;                          /* lookup_one()'s */
};

static void lookup_ask(struct question *q)
{
	struct lookup *x = container_of(q, struct lookup, question);

	x->r = lookup_one(q->fs, x->dir, x->name, x->unlisted, &x->found);
	fs_answered(q->fs, x->r);
}

static void lookup_done(struct question *q)
{
	struct lookup *x = container_of(q, struct lookup, question);

	node_unref(x->dir);
	node_unref(x->found);
	free(x->name);
	free(x);
}

/* lookup_one(); or -EAGAIN soon, when something is known already and the server takes its time. */
static int lookup_softly(struct fs *fs, struct node *dir, const char *name, bool usable, bool unlisted, struct node **ret)
{
	struct lookup *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return -ENOMEM;
	x->question = (struct question){.fs = fs, .ask = lookup_ask, .done = lookup_done, .holders = 1};
	x->dir = node_ref(dir);
	x->name = strdup(name);
	x->unlisted = unlisted;
	r = !x->name ? -ENOMEM : question_ask(&x->question, usable) ? x->r : -EAGAIN;
	if (r == 1)
		*ret = TAKE(x->found);
	question_put(&x->question);
	return r;
}

/* As confirm(), of one name. */
static bool is_alive(struct fs *fs, struct node *n)
{
	struct object o = {0}, now = {0};
	int r = -ENOTSUP;

	if (fs->session->backend->stat && node_object(n, &o) == 0)
		r = backend_stat(fs->session, &o, &now);
	object_done(&o);
	object_done(&now);
	return r == 0;
}

static unsigned large_lookups(const struct fs *fs)
{
	return fs->session->backend->changed ? COLD_LOOKUPS_ASKED : COLD_LOOKUPS_LARGE;
}

int dir_lookup(struct fs *fs, struct node *dir, const char *name, struct node **ret)
{
	struct node *n = NULL;
	bool one = false, usable = false, unlisted = false, believed;
	int r = 0;

	if (!dir->dir)
		return -ENOTDIR;
	if (strcmp(name, FS_CONTROL_NAME) == 0 && !dir->control)
		return control_root(fs, dir, ret);
	if (dir->control)
		return control_lookup(fs, dir, name, ret);
	if (strlen(name) > FS_NAME_MAX)
		return -ENAMETOOLONG;
	keep_load(fs, dir);
	write_show_drafts(fs, dir);
	WITH_LOCK(&fs->lock) {
		struct dir *d = dir->dir;
		uint64_t absent_at;

		n = child_locked(dir, name);
		believed = believed_locked(fs, dir);
		/* Also of what is known: the listing that is about to be asked for will leave it out. */
		unlisted = !(n && believed) && dir->object.id && backend_unlisted(fs->session, &dir->object, name);
		if ((believed && !unlisted) || (n && node_has_owed_locked(n)) || (n && fs_now_age(n->object_at) <= fs->attr_ttl_ms)) {
			*ret = n;
			return n ? 0 : -ENOENT;
		}
		usable = n && n->object_at && n->object.kind != OBJECT_UNKNOWN;
		absent_at = (uint64_t)(uintptr_t)map_get(d->absent, name);
		if (!n && absent_at && fs_now_age(absent_at) <= fs->config.negative_ttl_ms)
			return -ENOENT;
		one = (unlisted && believed) ||
		      (!d->listing && (d->listed && d->order.n > LARGE ? d->cold_lookups < large_lookups(fs)
		                                                       : !d->listed && d->cold_lookups < COLD_LOOKUPS));
	}
	if (one) {
		struct node *found = NULL;

		r = lookup_softly(fs, dir, name, usable, unlisted, &found);
		if (r == -ENOENT && n && is_alive(fs, n))
			r = lookup_softly(fs, dir, name, usable, unlisted, &found);
		if (r == 1) {
			node_unref(n);
			*ret = found;
			return 0;
		}
		if (r < 0 && r != -ENOENT && n && fs_error_is_unreachable(r)) {
			WITH_LOCK(&fs->lock)
				n->stale = true;
			*ret = n;
			return 0;
		}
		if (r < 0) {
			node_unref(n);
			return r;
		}
	}
	node_unref(n);
	r = load(fs, dir, fs->list_ttl_ms, usable);
	if (r == -EACCES && !one) {
		/* What may not be listed can have things that whoever knows their names may see. */
		r = lookup_softly(fs, dir, name, false, false, ret);
		return r == 1 ? 0 : r == 0 ? -EACCES : r;
	}
	if (r < 0)
		return r;
	WITH_LOCK(&fs->lock) {
		n = child_locked(dir, name);
		if (n && dir->stale)
			n->stale = true;
	}
	if (!n && unlisted && !one) {
		r = lookup_softly(fs, dir, name, false, true, ret);
		return r == 1 ? 0 : r == 0 ? -ENOENT : r;
	}
	*ret = n;
	return n ? 0 : -ENOENT;
}

int dir_walk(struct fs *fs, const char *path, struct node **ret)
{
	_cleanup_(cleanup_freep) char **parts = NULL;
	struct node *n = node_ref(fs->root);
	int r = str_split(path, '/', &parts);

	for (size_t i = 0; r == 0 && parts[i]; i++) {
		struct node *next;

		if (!*parts[i])
			continue;
		r = dir_lookup(fs, n, parts[i], &next);
		if (r == 0) {
			node_unref(n);
			n = next;
			r = node_refresh(fs, n, UINT_MAX - 1);
		}
	}
	if (r < 0) {
		node_unref(n);
		return r;
	}
	*ret = n;
	return 0;
}

void dir_drop(struct fs *fs, struct node *dir)
{
	WITH_LOCK(&fs->lock) {
		struct dir *d = dir->dir;

		dir->object_at = dir->version_at = NODE_LONG_AGO;
		dir->kind_at = 0;
		node_notify_inode(fs, dir, false);
		if (!d || dir->control)
			break;
		d->listed_at = 0;
		map_free(d->absent);
		d->absent = NULL;
		free(d->fingerprint);
		d->fingerprint = NULL;
		for (size_t i = 0; i < d->order.n; i++) {
			struct node *n = d->order.at[i];

			n->object_at = n->version_at = NODE_LONG_AGO;
			n->kind_at = 0;
			if (n->nlookup)
				node_notify_entry(fs, dir, n->name);
		}
	}
}
