/* keep.c - what directories were seen to hold, kept over a restart: for a quick remount, and for a server that is silent.
 *
 * A directory whose children or their attributes moved is marked; the housekeeper writes the marked ones down, one document
 * each, in cache/documents.c. The first look into a directory that was not listed yet brings its document back: its children
 * are known then, and old, so the server is asked as for any listing that is too old, and what was kept answers when the
 * server cannot.
 *
 *     {"scifs":1,"whole":true,"fingerprint":"..."}\n           what backend_changed() said then, if it was asked
 *     {"as":"b.dat","known":1764105000000,"listed_size":7,"kind":2,...}\n     a child: the name it had here, when stat() told its
 *                                                              kind (wall time, ms), then backend/object.c's members
 *
 * A line that cannot be read is left out with all that follow: the document is a cache.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "fs/private.h"

#define KIND "list"
#define FORMAT 1
#define SETTLE_MS 2000          /* a directory rests so long before it is written: listing and classifying come in bursts */
#define AGAIN_MS 10000          /* and is not written again before this */
#define TEXT_MAX (24u << 20)    /* a larger directory (some 80,000 entries) is not kept */
#define PART 256                /* children for which the lock is held at once */

static uint64_t wall_ms(void)
{
	struct timespec t = clock_wall();

	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int keep_space(struct fs *fs, char **ret)
{
	const struct session *s = fs->session;

	return str_fmt(ret, "%s\n%s\n%s\n%d", s->origin, s->identity, s->view ? s->view : "", (int)fs->config.names);
}

void keep_changed_locked(struct node *dir)
{
	struct dir *d = dir ? dir->dir : NULL;

	if (!d || dir->control || !list_empty(&d->unkept))
		return;
	d->unkept_since = clock_mono_ms();
	list_append(&dir->fs->unkept, &d->unkept);
	node_ref_locked(dir);
}

static int write_child_locked(const struct node *n, const char *as, uint64_t wall, struct buf *b)
{
	int r = buf_adds(b, "{\"as\":");

	if (r == 0)
		r = json_write_str(b, as);
	if (r == 0 && n->kind_at)
		r = buf_addf(b, ",\"known\":%llu,\"listed_size\":%llu", (unsigned long long)(wall - fs_now_age(n->kind_at)),
		             (unsigned long long)(n->listed_size > OBJECT_SIZE_MAX ? 0 : n->listed_size));
	if (r == 0)
		r = buf_addc(b, ',');
	if (r == 0)
		r = object_write_json(&n->object, b);
	return r < 0 ? r : buf_adds(b, "}\n");
}

struct children {
	VEC(struct node *) nodes;       /* references */
};

static int collect_locked(struct dir *d, struct children *c)
{
	struct map_iter it = {0};
	const char *name;
	void *value;
	int r = 0;

	if (d->listed) {
		for (size_t i = 0; r == 0 && i < d->order.n; i++) {
			r = vec_push(&c->nodes, d->order.at[i]);
			if (r == 0)
				node_ref_locked(d->order.at[i]);
		}
		return r;
	}
	while (r == 0 && map_next(d->by_name, &it, &name, &value)) {
		r = vec_push(&c->nodes, value);
		if (r == 0)
			node_ref_locked(value);
	}
	return r;
}

static int header_locked(const struct dir *d, struct buf *b)
{
	int r = buf_addf(b, "{\"scifs\":%d,\"whole\":%s", FORMAT, d->listed ? "true" : "false");

	if (r == 0 && d->fingerprint) {
		r = buf_adds(b, ",\"fingerprint\":");
		if (r == 0)
			r = json_write_str(b, d->fingerprint);
	}
	return r < 0 ? r : buf_adds(b, "}\n");
}

static void write_dir(struct fs *fs, struct node *dir)
{
	_cleanup_buf_ struct buf b = BUF_MAX(TEXT_MAX);
	_cleanup_free_ char *id = NULL;
	struct children c = {0};
	uint64_t wall = wall_ms();
	int r = 0;

	WITH_LOCK(&fs->lock) {
		r = dir->object.id ? str_dup(dir->object.id, &id) : -ENOENT;
		if (r == 0)
			r = header_locked(dir->dir, &b);
		if (r == 0)
			r = collect_locked(dir->dir, &c);
	}
	for (size_t i = 0; i < c.nodes.n; i += PART) {
		WITH_LOCK(&fs->lock) {
			for (size_t k = i; k < c.nodes.n && k < i + PART; k++) {
				struct node *n = c.nodes.at[k];

				/* What went away in between is not written, nor what the spool keeps. */
				if (r == 0 && n->parent == dir && !n->replaced && n->object_at && !node_is_local_locked(n))
					r = write_child_locked(n, n->name, wall, &b);
				node_unref_locked(n);
			}
		}
	}
	if (r == 0)
		cache_doc_store(fs->cache, fs->space, KIND, id, b.data, b.len);
	else if (id)
		cache_doc_remove(fs->cache, fs->space, KIND, id);       /* too large: better none than an old one */
	vec_done(&c.nodes);
}

void keep_write(struct fs *fs, bool all)
{
	for (;;) {
		struct node *dir = NULL;

		WITH_LOCK(&fs->lock) {
			for (struct list *l = fs->unkept.next; l != &fs->unkept && !dir; l = l->next) {
				struct dir *d = container_of(l, struct dir, unkept);

				if (!all && (fs_now_age(d->unkept_since) < SETTLE_MS || fs_now_age(d->kept_at) < AGAIN_MS || d->listing))
					continue;
				list_remove(&d->unkept);
				d->kept_at = clock_mono_ms();
				dir = d->of;
			}
		}
		if (!dir)
			return;
		write_dir(fs, dir);
		node_unref(dir);
	}
}

/* ---- and back ---- */

struct kept_child {
	char *as;
	struct object object;
	uint64_t known, listed_size;
};

static int read_child(const char *line, size_t n, struct kept_child *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	const char *as = NULL;
	int r = json_parse(line, n, &j);

	if (r == 0)
		r = json_str(j, "as", &as);
	if (r == 0 && (!*as || strlen(as) > FS_NAME_MAX || strchr(as, '/')))
		r = -EBADMSG;
	if (r == 0)
		r = json_u64_opt(j, "known", &ret->known);
	if (r == 0)
		r = json_u64_opt(j, "listed_size", &ret->listed_size);
	if (r == 0)
		r = object_read_json(j, &ret->object);
	if (r == 0)
		r = str_dup(as, &ret->as);
	if (r < 0)
		object_done(&ret->object);
	return r;
}

static void enter_child_locked(struct fs *fs, struct node *dir, struct kept_child *c, bool whole, uint64_t wall)
{
	struct dir *d = dir->dir;
	uint64_t age = wall > c->known ? wall - c->known : 0, now = clock_mono_ms();
	struct node *n;

	if (map_get(d->by_name, c->as) || node_enter_locked(fs, dir, c->as, &c->object, NODE_LONG_AGO, &n) < 0)
		return;
	if (n->object_at == NODE_LONG_AGO && c->known && age < now) {
		n->kind_at = now - age;
		n->listed_size = c->listed_size;
	}
	if (map_set(d->by_name, c->as, n) < 0) {
		node_unref_locked(n);
		return;
	}
	if (whole && vec_push(&d->order, n) < 0)
		log_debug("%s: no memory to list it", c->as);
}

static void enter_part(struct fs *fs, struct node *dir, struct kept_child *part, size_t n, bool whole)
{
	uint64_t wall = wall_ms();

	WITH_LOCK(&fs->lock)
		for (size_t i = 0; i < n; i++)
			enter_child_locked(fs, dir, &part[i], whole, wall);
	for (size_t i = 0; i < n; i++) {
		object_done(&part[i].object);
		free(part[i].as);
		part[i] = (struct kept_child){0};
	}
}

/* Returns the fingerprint's text, malloc'ed, or NULL. */
static int read_header(const char *line, size_t n, bool *ret_whole, char **ret_fingerprint)
{
	_cleanup_(json_freep) struct json *j = NULL;
	const char *fingerprint = NULL;
	uint64_t format = 0;
	int r = json_parse(line, n, &j);

	if (r == 0)
		r = json_u64(j, "scifs", &format);
	if (r == 0 && format != FORMAT)
		r = -EPROTONOSUPPORT;
	if (r == 0)
		r = json_bool_opt(j, "whole", ret_whole);
	if (r == 0)
		r = json_str_opt(j, "fingerprint", &fingerprint);
	return r < 0 ? r : str_dup(fingerprint, ret_fingerprint);
}

static int load_now(struct fs *fs, struct node *dir)
{
	_cleanup_free_ char *text = NULL, *id = NULL, *fingerprint = NULL;
	struct kept_child part[PART] = {{0}};
	const char *line, *end;
	struct timespec stored;
	size_t n = 0, filled = 0;
	bool whole = false;
	int r;

	WITH_LOCK(&fs->lock)
		r = dir->object.id ? str_dup(dir->object.id, &id) : -ENOENT;
	if (r == 0)
		r = cache_doc_load(fs->cache, fs->space, KIND, id, &text, &n, &stored);
	if (r < 0)
		return r;
	end = text + n;
	line = memchr(text, '\n', n);
	r = line ? read_header(text, (size_t)(line - text), &whole, &fingerprint) : -EBADMSG;
	while (r == 0 && ++line < end) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));

		r = stop ? read_child(line, (size_t)(stop - line), &part[filled]) : -EBADMSG;
		if (r == 0)
			filled++;
		if (filled == PART || (r < 0 && filled)) {
			enter_part(fs, dir, part, filled, whole);
			filled = 0;
		}
		line = stop;
	}
	if (filled)
		enter_part(fs, dir, part, filled, whole);
	if (r < 0) {
		log_debug("%s: the kept listing cannot be read: %s", id, strerror(-r));
		cache_doc_remove(fs->cache, fs->space, KIND, id);
		whole = false;
	}
	WITH_LOCK(&fs->lock) {
		/* What a part of a listing left in `order` is none. */
		if (!whole)
			dir->dir->order.n = 0;
		dir->dir->listed = whole;
		if (whole && !dir->dir->fingerprint)
			dir->dir->fingerprint = TAKE(fingerprint);
	}
	return r;
}

void keep_load(struct fs *fs, struct node *dir)
{
	struct dir *d = dir->dir;

	WITH_LOCK(&fs->lock) {
		while (d->kept == KEPT_LOADING)
			pthread_cond_wait(&fs->changed, &fs->lock);
		if (d->kept == KEPT_LOADED || d->listed || d->listing) {
			d->kept = KEPT_LOADED;
			return;
		}
		d->kept = KEPT_LOADING;
	}
	(void)load_now(fs, dir);        /* none, or none that can be read: the server will say */
	WITH_LOCK(&fs->lock) {
		d->kept = KEPT_LOADED;
		pthread_cond_broadcast(&fs->changed);
	}
}
