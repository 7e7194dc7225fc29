/* tree.c - which things there are and where: lookup, list, stat, query, locate.
 *
 * Nothing of a tree by formula is stored: directory d holds the files d*share .. d*share+share-1, without directories the root
 * holds them all. Names and ids carry the number, so that each question is answered by arithmetic. Over it lie the entries of
 * overlay.c: a thing that has one is where and what that says.
 *
 *     root                    of both trees
 *     shelf                   a directory beside it, which .scifs/shelf shows
 *     item/HASH               a row of the sample
 *     dir/NUMBER file/NUMBER  of a tree by formula
 *     changing                changing.dat in the root, with changes=
 *     made/HEX                what was made here
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/private.h"

#define EPOCH 1767225600                /* all times lie behind this, and are the same in each mount */
#define NAME_ROOM 32
#define DIR_FORMAT "dir-%05" PRIu64
#define FILE_FORMAT "file-%06" PRIu64 ".dat"

/* ---- arithmetic ---- */

static uint64_t share(const struct shape *s)
{
	return s->dirs ? (s->files + s->dirs - 1) / s->dirs : s->files;
}

/* Every thing but the root has a place in one row: 0 .. total-1. */
static uint64_t total(const struct memory *m)
{
	return (m->things ? sample_rows : m->shape.dirs + m->shape.files) + (m->shape.changes_ms != 0);
}

static struct ref nth(const struct memory *m, uint64_t i)
{
	if (m->things)
		return i < sample_rows ? (struct ref){REF_THING, i} : (struct ref){REF_CHANGING, 0};
	if (i < m->shape.dirs)
		return (struct ref){REF_DIR, i};
	i -= m->shape.dirs;
	return i < m->shape.files ? (struct ref){REF_FILE, i} : (struct ref){REF_CHANGING, 0};
}

static struct ref parent_of(const struct memory *m, struct ref r)
{
	if (r.what == REF_THING && m->things[r.n].parent >= 0)
		return (struct ref){REF_THING, (uint64_t)m->things[r.n].parent};
	if (r.what == REF_FILE && m->shape.dirs)
		return (struct ref){REF_DIR, r.n / share(&m->shape)};
	return (struct ref){REF_ROOT, 0};
}

static bool same(struct ref a, struct ref b)
{
	return a.what == b.what && a.n == b.n;
}

/* Where in the row the children of dir can be: begin .. end-1. Of the sample, everywhere. */
static void span(const struct memory *m, struct ref dir, uint64_t *begin, uint64_t *end)
{
	const struct shape *s = &m->shape;

	*begin = 0;
	*end = total(m);
	if (dir.what == REF_DIR) {
		*begin = dir.n * share(s) < s->files ? dir.n * share(s) : s->files;
		*end = *begin + share(s) < s->files ? *begin + share(s) : s->files;
		*begin += s->dirs;
		*end += s->dirs;
	}
}

static const char *name_of(const struct memory *m, struct ref r, char room[NAME_ROOM])
{
	switch (r.what) {
	case REF_THING:
		return m->things[r.n].row->name;
	case REF_DIR:
		snprintf(room, NAME_ROOM, DIR_FORMAT, r.n);
		return room;
	case REF_FILE:
		snprintf(room, NAME_ROOM, FILE_FORMAT, r.n);
		return room;
	case REF_CHANGING:
		return "changing.dat";
	case REF_SHELF:
		return "shelf";
	default:
		return "";
	}
}

static const char *id_of(const struct memory *m, struct ref r, char room[ID_MAX])
{
	switch (r.what) {
	case REF_THING:
		return m->things[r.n].id;
	case REF_DIR:
		snprintf(room, ID_MAX, "dir/%" PRIu64, r.n);
		return room;
	case REF_FILE:
		snprintf(room, ID_MAX, "file/%" PRIu64, r.n);
		return room;
	case REF_CHANGING:
		return "changing";
	case REF_SHELF:
		return "shelf";
	default:
		return "root";
	}
}

const char *memory_parent(const struct memory *m, struct ref ref, char room[ID_MAX])
{
	return ref.what == REF_ROOT || ref.what == REF_SHELF ? "" : id_of(m, parent_of(m, ref), room);
}

/* ---- objects ---- */

int memory_find(const struct memory *m, const char *id, struct ref *ret)
{
	const char *number = strchr(id, '/');
	uint64_t n = 0;

	if (strcmp(id, "root") == 0) {
		*ret = (struct ref){REF_ROOT, 0};
		return 0;
	}
	if (strcmp(id, "shelf") == 0) {
		*ret = (struct ref){REF_SHELF, 0};
		return 0;
	}
	if (strcmp(id, "changing") == 0 && m->shape.changes_ms) {
		*ret = (struct ref){REF_CHANGING, 0};
		return 0;
	}
	for (size_t i = 0; m->things && i < sample_rows; i++)
		if (strcmp(m->things[i].id, id) == 0) {
			*ret = (struct ref){REF_THING, i};
			return 0;
		}
	if (m->things || !number || str_parse_u64(number + 1, &n) < 0)
		return -ENOENT;
	if (str_starts(id, "dir/") && n < m->shape.dirs)
		*ret = (struct ref){REF_DIR, n};
	else if (str_starts(id, "file/") && n < m->shape.files)
		*ret = (struct ref){REF_FILE, n};
	else
		return -ENOENT;
	return 0;
}

static int describe_row(const struct thing *t, struct object *o)
{
	const struct row *row = t->row;

	o->kind = row->kind;
	o->rights = row->rights;
	o->mtime = (struct timespec){EPOCH + 86400 * (time_t)(strlen(row->key) % 300) + 3661, 123456000};
	if (str_dup(row->mime, &o->mime) < 0)
		return -ENOMEM;
	if (row->kind == OBJECT_LINK)
		return str_dup(row->text, &o->target);
	if (row->kind != OBJECT_FILE)
		return 0;
	o->size = memory_row_size(row);
	if (str_dup(t->version, &o->version) < 0)
		return -ENOMEM;
	return str_dup(t->digest, &o->digest);
}

static int describe_file(const struct memory *m, uint64_t n, struct object *o)
{
	o->kind = OBJECT_FILE;
	o->size = m->shape.size;
	o->mtime.tv_sec = EPOCH + (time_t)n;
	if (str_fmt(&o->version, "noise1:%" PRIu64, o->size) < 0)
		return -ENOMEM;
	return str_dup("application/octet-stream", &o->mime);
}

static int describe_changing(const struct memory *m, struct object *o)
{
	uint64_t revision = memory_revision(m), ms = revision * m->shape.changes_ms;

	o->kind = OBJECT_FILE;
	o->rights &= ~RIGHT_WRITE;      /* the next version would come over it */
	o->size = CHANGING_SIZE;
	o->mtime = (struct timespec){(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
	if (str_fmt(&o->version, "changing:%" PRIu64, revision) < 0)
		return -ENOMEM;
	return str_dup("text/plain", &o->mime);
}

int memory_describe(const struct memory *m, struct ref ref, struct object *ret)
{
	struct object o = {.kind = OBJECT_DIR, .rights = RIGHT_READ | RIGHT_WRITE | RIGHT_PUBLIC, .mtime = {.tv_sec = EPOCH}};
	char room[NAME_ROOM], id[ID_MAX];
	int r = str_dup(name_of(m, ref, room), &o.name);

	if (r == 0)
		r = str_dup(id_of(m, ref, id), &o.id);
	if (r == 0)
		r = ref.what == REF_THING ? describe_row(&m->things[ref.n], &o) :
		    ref.what == REF_FILE ? describe_file(m, ref.n, &o) :
		    ref.what == REF_CHANGING ? describe_changing(m, &o) : 0;
	if (r < 0) {
		object_done(&o);
		return r;
	}
	o.ctime = o.listed = o.mtime;
	*ret = o;
	return 0;
}

/* What a listing tells: with unknown=1 neither kind nor size, only stat() does. */
static int push(const struct memory *m, const char *id, struct page *io)
{
	struct object o;
	int r = overlay_describe(m, id, &o);

	if (r < 0)
		return r;
	if (m->shape.unknown && o.kind != OBJECT_LINK) {
		o.kind = OBJECT_UNKNOWN;
		o.size = OBJECT_SIZE_UNKNOWN;
		free(TAKE(o.version));
		free(TAKE(o.digest));
	}
	r = vec_push(&io->objects, o);
	if (r < 0)
		object_done(&o);
	return r;
}

/* A thing of the base that is where and what the base says. */
static bool is_bare(const struct memory *m, struct ref ref)
{
	char id[ID_MAX];

	return m->overlay.n_things == 0 || !overlay_get(m, id_of(m, ref, id));
}

/* ---- members ---- */

int memory_root(struct session *s, struct object *ret)
{
	struct memory *m = memory_of(s);
	int r = overlay_begin(m);

	if (r < 0)
		return r;
	r = overlay_describe(m, "root", ret);
	overlay_end(m);
	return r;
}

/* Where a walk goes on: "N" in the row of the base, "+SERIAL" among the entries. */
static int read_cursor(const char *cursor, uint64_t *i, uint64_t *serial)
{
	*serial = 0;
	if (!cursor)
		return 0;
	if (*cursor != '+')
		return str_parse_u64(cursor, i);
	*i = UINT64_MAX;
	return str_parse_u64(cursor + 1, serial);
}

static int walk_entries(const struct memory *m, const char *dir, const char *part, uint64_t serial, struct page *io)
{
	struct entry *e;

	list_for_each_safe(e, &m->overlay.things, struct entry, link) {
		int r;

		if (e->removed || e->serial < serial ||
		    (part ? !strstr(e->o.name, part) || !overlay_is_below(m, e->o.id, dir) : strcmp(e->parent, dir) != 0))
			continue;
		if (io->objects.n == m->shape.page)
			return str_fmt(&io->cursor, "+%" PRIu64, e->serial);
		r = push(m, e->o.id, io);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The things from io->cursor on that belong to the answer, a page of them: those of the base, then those of the overlay. */
static int walk(const struct memory *m, const char *dir, const char *part, struct page *io)
{
	uint64_t i = 0, end = 0, serial;
	char room[NAME_ROOM], id[ID_MAX];
	struct ref in = {REF_ROOT, 0};
	bool based = memory_find(m, dir, &in) == 0;

	if (part)
		end = total(m);         /* what lies below may have been moved there from anywhere */
	else if (based)
		span(m, in, &i, &end);
	if (read_cursor(io->cursor, &i, &serial) < 0)
		return -EINVAL;
	free(TAKE(io->cursor));
	for (; i < end; i++) {
		struct ref ref = nth(m, i);
		int r;

		if (!is_bare(m, ref) || (part ? !strstr(name_of(m, ref, room), part) || !overlay_is_below(m, id_of(m, ref, id), dir)
		                              : !same(parent_of(m, ref), in)))
			continue;
		if (io->objects.n == m->shape.page)
			return str_fmt(&io->cursor, "%" PRIu64, i);
		r = push(m, id_of(m, ref, id), io);
		if (r < 0)
			return r;
	}
	return walk_entries(m, dir, part, serial, io);
}

bool memory_is_empty(const struct memory *m, const char *dir)
{
	struct ref in;
	struct entry *e;
	uint64_t i, end;

	if (memory_find(m, dir, &in) == 0)
		for (span(m, in, &i, &end); i < end; i++)
			if (same(parent_of(m, nth(m, i)), in) && is_bare(m, nth(m, i)))
				return false;
	list_for_each_safe(e, &m->overlay.things, struct entry, link)
		if (!e->removed && strcmp(e->parent, dir) == 0)
			return false;
	return true;
}

/* Pass the gate, take the lock; `o` is there. 0: overlay_end() is owed. */
static int enter(struct memory *m, const struct object *o)
{
	char room[ID_MAX];
	const char *parent;
	int r = memory_gate(m, o->name, NULL);

	if (r == 0)
		r = overlay_begin(m);
	if (r < 0)
		return r;
	r = overlay_parent(m, o->id, room, &parent);
	if (r < 0)
		overlay_end(m);
	return r;
}

int memory_list(struct session *s, const struct object *dir, struct page *io)
{
	struct memory *m = memory_of(s);
	int r = enter(m, dir);

	if (r < 0)
		return r;
	r = walk(m, dir->id, NULL, io);
	overlay_end(m);
	return r;
}

/* The number in a made name, if there is one. */
static uint64_t number_in(const char *name)
{
	const char *digits = strpbrk(name, "0123456789");

	return digits ? strtoull(digits, NULL, 10) : 0;
}

static int offer(const struct memory *m, struct ref ref, struct ref dir, const char *name, struct page *io)
{
	char room[NAME_ROOM], id[ID_MAX];

	if (!same(parent_of(m, ref), dir) || strcmp(name_of(m, ref, room), name) != 0 || !is_bare(m, ref))
		return 0;
	return push(m, id_of(m, ref, id), io);
}

int memory_children_named(const struct memory *m, const char *dir, const char *name, struct page *io)
{
	const struct entry *e = overlay_at(m, dir, name);
	uint64_t n = number_in(name);
	struct ref in;
	int r = 0;

	if (memory_find(m, dir, &in) == 0) {
		for (size_t i = 0; m->things && i < sample_rows && r == 0; i++)
			r = offer(m, (struct ref){REF_THING, i}, in, name, io);
		if (r == 0 && !m->things && n < m->shape.dirs)
			r = offer(m, (struct ref){REF_DIR, n}, in, name, io);
		if (r == 0 && !m->things && n < m->shape.files)
			r = offer(m, (struct ref){REF_FILE, n}, in, name, io);
		if (r == 0 && m->shape.changes_ms)
			r = offer(m, (struct ref){REF_CHANGING, 0}, in, name, io);
	}
	return r == 0 && e ? push(m, e->o.id, io) : r;
}

int memory_lookup(struct session *s, const struct object *dir, const char *name, struct page *io)
{
	struct memory *m = memory_of(s);
	int r = enter(m, dir);

	if (r < 0)
		return r;
	r = memory_children_named(m, dir->id, name, io);
	overlay_end(m);
	return r;
}

int memory_stat(struct session *s, const struct object *o, struct object *ret)
{
	struct memory *m = memory_of(s);
	int r = enter(m, o);

	if (r < 0)
		return r;
	r = overlay_describe(m, o->id, ret);
	overlay_end(m);
	return r;
}

/* Of the base only the root has a child that ever changes; of the overlay it is asked whether anything has changed. */
int memory_changed(struct session *s, const struct object *dir, char **fingerprint)
{
	struct memory *m = memory_of(s);
	_cleanup_free_ char *now = NULL;
	int r = enter(m, dir);

	if (r < 0)
		return r;
	r = str_fmt(&now, "%" PRIu64 ":%016" PRIx64, strcmp(dir->id, "root") == 0 && m->shape.changes_ms ? memory_revision(m) : 0,
	            m->overlay.stamp);
	overlay_end(m);
	if (r < 0)
		return r;
	r = !str_eq(now, *fingerprint);
	free(*fingerprint);
	*fingerprint = TAKE(now);
	return r;
}

int memory_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why)
{
	struct memory *m = memory_of(s);
	int r = enter(m, dir);

	if (r < 0)
		return r;
	if (*expr) {
		r = walk(m, dir->id, expr, io);
	} else {
		(void)str_dup("nothing to search for: a part of a name is wanted", why);
		r = -EINVAL;
	}
	overlay_end(m);
	return r;
}

/* From `id` up to the root, and the way back into `io`. */
static int way(const struct memory *m, const char *id, struct page *io)
{
	_cleanup_(cleanup_freep) char **chain = calloc(DEPTH_MAX, sizeof(*chain));
	char rooms[2][ID_MAX];
	const char *at = id;
	size_t n = 0;
	int r = chain ? 0 : -ENOMEM;

	while (r == 0 && strcmp(at, "root") != 0) {
		const char *up;

		r = strcmp(at, "shelf") == 0 ? -EXDEV : n == DEPTH_MAX ? -ELOOP : overlay_parent(m, at, rooms[n % 2], &up);
		if (r == 0)
			r = str_dup(at, &chain[n]);
		if (r == 0) {
			n++;
			at = up;
		}
	}
	for (size_t i = n; i > 0 && r == 0; i--)
		r = push(m, chain[i - 1], io);
	while (n)
		free(chain[--n]);
	return r;
}

int memory_locate(struct session *s, const char *id, struct page *io)
{
	static const char *const beginnings[] = {"item", "dir", "file", "made"};
	struct memory *m = memory_of(s);
	int r = memory_gate(m, NULL, NULL);

	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]) && r == 0; i++)
		if (strcmp(id, beginnings[i]) == 0)
			r = -EISDIR;
	if (r == 0)
		r = overlay_begin(m);
	if (r < 0)
		return r;
	r = way(m, id, io);
	overlay_end(m);
	return r;
}
