/* overlay.c - what was made, changed or removed, over a base that never changes.
 *
 * Each thing that is not as the sample or the formula says has an entry, found by its id and by its place. A thing of the base
 * gets its entry with the first change, and keeps it when it is removed: the entry then says that it is not there. Entries lie
 * in one list in the order of their serials, along which listings and searches go.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "backend/memory/private.h"
#include "base/clock.h"
#include "base/digest.h"

/* ---- bytes ---- */

struct bytes *bytes_new(size_t n)
{
	struct bytes *b = malloc(sizeof(*b) + n);

	if (!b)
		return NULL;
	atomic_init(&b->refs, 1);
	b->n = n;
	return b;
}

struct bytes *bytes_ref(struct bytes *b)
{
	atomic_fetch_add(&b->refs, 1);
	return b;
}

void bytes_unref(struct bytes *b)
{
	if (b && atomic_fetch_sub(&b->refs, 1) == 1)
		free(b);
}

static int bytes_digest(const struct bytes *b, const char *kind, char ret[DIGEST_HEX_MAX])
{
	struct digest *d;
	int r = digest_new(kind, &d);

	if (r < 0)
		return r;
	r = digest_add(d, b->data, b->n);
	if (r == 0)
		r = digest_hex(d, ret);
	digest_free(d);
	return r;
}

/* ---- entries ---- */

uint64_t memory_random(void)
{
	uint64_t n = 0;

	/* Without the kernel's, the time must do: two processes would have to ask within one nanosecond. */
	if (getrandom(&n, sizeof(n), 0) != sizeof(n))
		n = clock_mono_ns();
	return n ? n : 1;
}

void overlay_free(struct entry *e)
{
	if (!e)
		return;
	object_done(&e->o);
	bytes_unref(e->bytes);
	free(e->parent);
	free(e->meta);
	free(e->upload);
	free(e->over);
	free(e);
}

struct entry *overlay_get(const struct memory *m, const char *id)
{
	return map_get(m->overlay.by_id, id);
}

struct entry *overlay_of_upload(const struct memory *m, const char *upload)
{
	struct entry *e;

	list_for_each_safe(e, &m->overlay.things, struct entry, link)
		if (!e->removed && str_eq(e->upload, upload))
			return e;
	return NULL;
}

static int place_key(const char *parent, const char *name, char **ret)
{
	return str_fmt(ret, "%s\n%s", parent, name);
}

static int place_add(struct overlay *v, struct entry *e)
{
	_cleanup_free_ char *key = NULL;
	int r = place_key(e->parent, e->o.name, &key);

	return r < 0 ? r : map_set(v->by_place, key, e);
}

static void place_remove(struct overlay *v, const struct entry *e)
{
	_cleanup_free_ char *key = NULL;

	if (place_key(e->parent, e->o.name, &key) == 0 && map_get(v->by_place, key) == e)
		(void)map_remove(v->by_place, key);
}

struct entry *overlay_at(const struct memory *m, const char *parent, const char *name)
{
	_cleanup_free_ char *key = NULL;

	return place_key(parent, name, &key) < 0 ? NULL : map_get(m->overlay.by_place, key);
}

int overlay_enter(struct memory *m, struct entry *e)
{
	struct overlay *v = &m->overlay;
	int r;

	if (v->n_things >= THINGS_MAX)
		return -ENOSPC;
	if (!e->serial)
		e->serial = v->next_serial;
	r = map_set(v->by_id, e->o.id, e);
	if (r == 0 && !e->removed)
		r = place_add(v, e);
	if (r < 0) {
		(void)map_remove(v->by_id, e->o.id);
		return r;
	}
	list_append(&v->things, &e->link);
	v->n_things++;
	if (v->next_serial <= e->serial)
		v->next_serial = e->serial + 1;
	if (e->own && !e->removed)
		v->used += e->o.size;
	return 0;
}

/* It is gone for good. */
static void leave(struct memory *m, struct entry *e)
{
	struct overlay *v = &m->overlay;

	place_remove(v, e);
	(void)map_remove(v->by_id, e->o.id);
	list_remove(&e->link);
	v->n_things--;
	overlay_free(e);
}

void overlay_clear(struct memory *m)
{
	struct overlay *v = &m->overlay;
	struct entry *e;
	struct part *p;

	map_clear(v->by_id);
	map_clear(v->by_place);
	list_for_each_safe(e, &v->things, struct entry, link) {
		list_remove(&e->link);
		overlay_free(e);
	}
	v->n_things = 0;
	v->used = 0;
	list_for_each_safe(p, &v->parts, struct part, link)
		v->used += p->bytes->n;
}

int overlay_init(struct memory *m, char **why)
{
	struct overlay *v = &m->overlay;

	v->by_id = map_new();
	v->by_place = map_new();
	if (!v->by_id || !v->by_place)
		return -ENOMEM;
	return store_open(m, why);
}

void overlay_done(struct memory *m)
{
	struct overlay *v = &m->overlay;
	struct part *p;

	overlay_clear(m);
	list_for_each_safe(p, &v->parts, struct part, link)
		part_free(m, p);
	store_close(m);
	map_free(v->by_id);
	map_free(v->by_place);
	pthread_mutex_destroy(&v->lock);
}

int overlay_begin(struct memory *m)
{
	int r;

	pthread_mutex_lock(&m->overlay.lock);
	r = store_lock(m);
	if (r < 0)
		pthread_mutex_unlock(&m->overlay.lock);
	return r;
}

void overlay_end(struct memory *m)
{
	store_unlock(m);
	pthread_mutex_unlock(&m->overlay.lock);
}

/* ---- what is where ---- */

int overlay_describe(const struct memory *m, const char *id, struct object *ret)
{
	const struct entry *e = overlay_get(m, id);
	struct ref ref;
	int r;

	if (e) {
		r = e->removed ? -ENOENT : object_copy(&e->o, ret);
		if (r == 0)
			r = memory_set_time(e->meta, ret);
	} else {
		r = memory_find(m, id, &ref);
		if (r == 0)
			r = memory_describe(m, ref, ret);
	}
	if (r == 0 && m->shape.readonly)
		ret->rights &= ~RIGHT_WRITE;
	return r;
}

int overlay_parent(const struct memory *m, const char *id, char room[ID_MAX], const char **ret)
{
	const struct entry *e = overlay_get(m, id);
	struct ref ref;
	int r;

	if (e) {
		*ret = e->parent;
		return e->removed ? -ENOENT : 0;
	}
	r = memory_find(m, id, &ref);
	if (r == 0)
		*ret = memory_parent(m, ref, room);
	return r;
}

bool overlay_is_below(const struct memory *m, const char *id, const char *dir)
{
	char rooms[2][ID_MAX];
	const char *at = id;

	/* No thing is below itself: moving one there is refused. The count is for a store that somebody edited. */
	for (unsigned i = 0; i < DEPTH_MAX && overlay_parent(m, at, rooms[i % 2], &at) == 0 && *at; i++)
		if (strcmp(at, dir) == 0)
			return true;
	return false;
}

/* ---- changes ---- */

void overlay_touch(struct entry *e, bool content)
{
	e->o.ctime = e->o.listed = clock_wall();
	if (content)
		e->o.mtime = e->o.ctime;
}

static void changed(struct memory *m)
{
	m->overlay.stamp = memory_random();
}

int overlay_edit(struct memory *m, const char *id, struct entry **ret)
{
	_cleanup_(overlay_freep) struct entry *e = NULL;
	char room[ID_MAX];
	const char *parent;
	int r = overlay_parent(m, id, room, &parent);

	if (r < 0)
		return r;
	*ret = overlay_get(m, id);
	if (*ret)
		return 0;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->based = true;
	r = overlay_describe(m, id, &e->o);
	if (r == 0)
		r = str_dup(parent, &e->parent);
	if (r == 0)
		r = overlay_enter(m, e);
	if (r == 0)
		*ret = TAKE(e);
	return r;
}

int overlay_new(struct memory *m, const char *parent, const struct object *plan, struct entry **ret)
{
	_cleanup_(overlay_freep) struct entry *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	r = object_copy(plan, &e->o);
	if (r == 0)
		r = str_dup(parent, &e->parent);
	if (r == 0)
		r = str_fmt(&e->o.id, "made/%016llx", (unsigned long long)memory_random());
	if (r < 0)
		return r;
	overlay_touch(e, true);
	*ret = TAKE(e);
	return 0;
}

int overlay_save(struct memory *m, struct entry *e)
{
	changed(m);
	return store_save(m, e);
}

int overlay_add(struct memory *m, struct entry *e)
{
	int r = overlay_enter(m, e);

	if (r < 0) {
		overlay_free(e);
		return r;
	}
	return overlay_save(m, e);
}

int overlay_move(struct memory *m, struct entry *e, const char *parent, const char *name)
{
	_cleanup_free_ char *p = NULL, *n = NULL, *key = NULL;
	int r = str_dup(parent, &p);

	if (r == 0)
		r = str_dup(name, &n);
	if (r == 0)
		r = place_key(parent, name, &key);
	if (r < 0)
		return r;
	place_remove(&m->overlay, e);
	free(e->parent);
	free(e->o.name);
	e->parent = TAKE(p);
	e->o.name = TAKE(n);
	overlay_touch(e, false);
	return map_set(m->overlay.by_place, key, e);
}

int overlay_remove(struct memory *m, const char *id)
{
	struct entry *e;
	int r = overlay_edit(m, id, &e);

	if (r < 0)
		return r;
	changed(m);
	if (e->own) {
		m->overlay.used -= e->o.size;
		bytes_unref(TAKE(e->bytes));
	}
	if (!e->based) {
		r = store_drop(m, e);
		leave(m, e);
		return r;
	}
	place_remove(&m->overlay, e);
	e->removed = true;
	r = store_save(m, e);
	if (e->own)
		store_drop_content(m, e->o.id, e->o.version);
	return r;
}

/* ---- contents ---- */

int overlay_bytes(struct memory *m, struct entry *e, struct bytes **ret)
{
	int r = e->bytes ? 0 : store_read_content(m, e, &e->bytes);

	if (r == 0)
		*ret = bytes_ref(e->bytes);
	return r;
}

int overlay_set_content(struct memory *m, struct entry *e, struct bytes *b, const char *part, struct content *ret_before)
{
	_cleanup_free_ char *version = NULL, *digest = NULL;
	char hex[DIGEST_HEX_MAX];
	int r = bytes_digest(b, "xxh3", hex);

	if (r == 0)
		r = str_dup(hex, &version);
	if (r == 0)
		r = bytes_digest(b, "sha512", hex);
	if (r == 0)
		r = str_fmt(&digest, "sha512:%s", hex);
	if (r == 0)
		r = store_write_content(m, e->o.id, version, b, part);
	if (r < 0)
		return r;
	*ret_before = (struct content){.bytes = e->bytes, .version = TAKE(e->o.version), .own = e->own};
	free(e->o.digest);
	e->o.version = TAKE(version);
	e->o.digest = TAKE(digest);
	if (overlay_get(m, e->o.id) == e)
		m->overlay.used += b->n - (e->own ? e->o.size : 0);
	e->o.size = b->n;
	e->bytes = bytes_ref(b);
	e->own = true;
	overlay_touch(e, true);
	return 0;
}

void overlay_forget(struct memory *m, const struct entry *e, struct content *before)
{
	bytes_unref(before->bytes);
	if (before->own && !str_eq(before->version, e->o.version))
		store_drop_content(m, e->o.id, before->version);
	free(before->version);
	*before = (struct content){0};
}
