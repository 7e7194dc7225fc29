/* tree.c - which things there are and where: lookup, list, stat, query, locate.
 *
 * Nothing of a made tree is stored: directory d holds the files d*share .. d*share+share-1, without directories the root holds
 * them all. Names and ids carry the number, so that each question is answered by arithmetic.
 *
 *     root                    of both trees
 *     item/HASH               a row of the sample
 *     dir/NUMBER file/NUMBER  of a made tree
 *     changing                changing.dat in the root, with changes=
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

static bool is_below(const struct memory *m, struct ref r, struct ref dir)
{
	while (r.what != REF_ROOT) {
		r = parent_of(m, r);
		if (same(r, dir))
			return true;
	}
	return false;
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
	default:
		return "";
	}
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
	if (str_dup(t->id, &o->id) < 0 || str_dup(row->mime, &o->mime) < 0)
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
	if (str_fmt(&o->id, "file/%" PRIu64, n) < 0 || str_fmt(&o->version, "noise1:%" PRIu64, o->size) < 0)
		return -ENOMEM;
	return str_dup("application/octet-stream", &o->mime);
}

static int describe_changing(const struct memory *m, struct object *o)
{
	uint64_t revision = memory_revision(m), ms = revision * m->shape.changes_ms;

	o->kind = OBJECT_FILE;
	o->size = CHANGING_SIZE;
	o->mtime = (struct timespec){(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
	if (str_dup("changing", &o->id) < 0 || str_fmt(&o->version, "changing:%" PRIu64, revision) < 0)
		return -ENOMEM;
	return str_dup("text/plain", &o->mime);
}

int memory_describe(const struct memory *m, struct ref ref, struct object *ret)
{
	struct object o = {.kind = OBJECT_DIR, .rights = RIGHT_READ | RIGHT_PUBLIC, .mtime = {.tv_sec = EPOCH}};
	char room[NAME_ROOM];
	int r = str_dup(name_of(m, ref, room), &o.name);

	if (r == 0)
		r = ref.what == REF_THING ? describe_row(&m->things[ref.n], &o) :
		    ref.what == REF_FILE ? describe_file(m, ref.n, &o) :
		    ref.what == REF_CHANGING ? describe_changing(m, &o) :
		    ref.what == REF_DIR ? str_fmt(&o.id, "dir/%" PRIu64, ref.n) : str_dup("root", &o.id);
	if (r < 0) {
		object_done(&o);
		return r;
	}
	o.ctime = o.listed = o.mtime;
	*ret = o;
	return 0;
}

/* What a listing tells: with unknown=1 neither kind nor size, only stat() does. */
static int push(const struct memory *m, struct ref ref, struct page *io)
{
	struct object o;
	int r = memory_describe(m, ref, &o);

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

/* ---- members ---- */

int memory_root(struct session *s, struct object *ret)
{
	return memory_describe(memory_of(s), (struct ref){REF_ROOT, 0}, ret);
}

/* The things from io->cursor on that belong to the answer, a page of them. */
static int walk(const struct memory *m, struct ref dir, const char *part, struct page *io)
{
	uint64_t i, end;
	char room[NAME_ROOM];

	if (part) {
		i = 0;
		end = total(m);
	} else {
		span(m, dir, &i, &end);
	}
	if (io->cursor && str_parse_u64(io->cursor, &i) < 0)
		return -EINVAL;
	free(TAKE(io->cursor));
	for (; i < end; i++) {
		struct ref ref = nth(m, i);
		int r;

		if (part ? !strstr(name_of(m, ref, room), part) || !is_below(m, ref, dir) : !same(parent_of(m, ref), dir))
			continue;
		if (io->objects.n == m->shape.page)
			return str_fmt(&io->cursor, "%" PRIu64, i);
		r = push(m, ref, io);
		if (r < 0)
			return r;
	}
	return 0;
}

static int enter(struct memory *m, const struct object *dir, struct ref *ret)
{
	int r = memory_gate(m, dir->name, NULL);

	return r < 0 ? r : memory_find(m, dir->id, ret);
}

int memory_list(struct session *s, const struct object *dir, struct page *io)
{
	struct ref ref;
	int r = enter(memory_of(s), dir, &ref);

	return r < 0 ? r : walk(memory_of(s), ref, NULL, io);
}

/* The number in a made name, if there is one. */
static uint64_t number_in(const char *name)
{
	const char *digits = strpbrk(name, "0123456789");

	return digits ? strtoull(digits, NULL, 10) : 0;
}

static int offer(const struct memory *m, struct ref ref, struct ref dir, const char *name, struct page *io)
{
	char room[NAME_ROOM];

	if (!same(parent_of(m, ref), dir) || strcmp(name_of(m, ref, room), name) != 0)
		return 0;
	return push(m, ref, io);
}

int memory_lookup(struct session *s, const struct object *dir, const char *name, struct page *io)
{
	struct memory *m = memory_of(s);
	uint64_t n = number_in(name);
	struct ref ref;
	int r = enter(m, dir, &ref);

	for (size_t i = 0; m->things && i < sample_rows && r == 0; i++)
		r = offer(m, (struct ref){REF_THING, i}, ref, name, io);
	if (r == 0 && !m->things && n < m->shape.dirs)
		r = offer(m, (struct ref){REF_DIR, n}, ref, name, io);
	if (r == 0 && !m->things && n < m->shape.files)
		r = offer(m, (struct ref){REF_FILE, n}, ref, name, io);
	if (r == 0 && m->shape.changes_ms)
		r = offer(m, (struct ref){REF_CHANGING, 0}, ref, name, io);
	return r;
}

int memory_stat(struct session *s, const struct object *o, struct object *ret)
{
	struct ref ref;
	int r = enter(memory_of(s), o, &ref);

	return r < 0 ? r : memory_describe(memory_of(s), ref, ret);
}

/* Only the root has a child that ever changes. */
int memory_changed(struct session *s, const struct object *dir, char **fingerprint)
{
	struct memory *m = memory_of(s);
	_cleanup_free_ char *now = NULL;
	struct ref ref;
	int r = enter(m, dir, &ref);

	if (r == 0)
		r = str_fmt(&now, "%" PRIu64, ref.what == REF_ROOT && m->shape.changes_ms ? memory_revision(m) : 0);
	if (r < 0)
		return r;
	r = !str_eq(now, *fingerprint);
	free(*fingerprint);
	*fingerprint = TAKE(now);
	return r;
}

int memory_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why)
{
	struct ref ref;
	int r = enter(memory_of(s), dir, &ref);

	if (r == 0 && !*expr) {
		(void)str_dup("nothing to search for: a part of a name is wanted", why);
		return -EINVAL;
	}
	return r < 0 ? r : walk(memory_of(s), ref, expr, io);
}

int memory_locate(struct session *s, const char *id, struct page *io)
{
	struct memory *m = memory_of(s);
	struct ref chain[64], ref;
	size_t n = 0;
	int r = memory_gate(m, NULL, NULL);

	if (r == 0 && (strcmp(id, "item") == 0 || strcmp(id, "dir") == 0 || strcmp(id, "file") == 0))
		r = -EISDIR;
	if (r == 0)
		r = memory_find(m, id, &ref);
	if (r < 0)
		return r;
	for (; ref.what != REF_ROOT && n < 64; ref = parent_of(m, ref))
		chain[n++] = ref;
	while (r == 0 && n--)
		r = push(m, chain[n], io);
	return r;
}
