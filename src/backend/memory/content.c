/* content.c - bytes: of the sample's texts, of a formula, of the file that changes, and what was written.
 *
 * Noise is splitmix64: the 8 bytes at offset 8*i, little-endian, are mix(seed + (i + 1) * 0x9e3779b97f4a7c15). Any part of any
 * size is made where it is wanted, and a test can make the same bytes.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/private.h"
#include "base/clock.h"
#include "base/digest.h"

#define CHUNK 32768u
#define LINE 32u                /* bytes of a line of changing.dat */
#define LINE_FORMAT "version %010" PRIu64 " line %07" PRIu64 "\n"

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static uint64_t word_at(uint64_t seed, uint64_t i)
{
	return htole64(mix(seed + (i + 1) * 0x9e3779b97f4a7c15ull));
}

void noise_fill(uint64_t seed, uint64_t first, void *to, size_t n)
{
	unsigned char *p = to;

	while (n) {
		uint64_t w = word_at(seed, first / 8);
		size_t skip = first % 8, part = 8 - skip < n ? 8 - skip : n;

		if (part == 8)
			memcpy(p, &w, 8);       /* nearly always: one store */
		else
			memcpy(p, (unsigned char *)&w + skip, part);
		p += part;
		first += part;
		n -= part;
	}
}

static void lines_fill(uint64_t revision, uint64_t first, char *to, size_t n)
{
	while (n) {
		char line[64];
		size_t skip = first % LINE, part = LINE - skip < n ? LINE - skip : n;

		snprintf(line, sizeof(line), LINE_FORMAT, revision, first / LINE);
		memcpy(to, line + skip, part);
		to += part;
		first += part;
		n -= part;
	}
}

uint64_t memory_revision(const struct memory *m)
{
	struct timespec now = clock_wall();

	return ((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000) / m->shape.changes_ms;
}

uint64_t memory_row_size(const struct row *row)
{
	return row->text ? strlen(row->text) : row->noise;
}

static void row_fill(const struct row *row, uint64_t first, void *to, size_t n)
{
	if (row->text)
		memcpy(to, row->text + first, n);
	else
		noise_fill(row->seed, first, to, n);
}

int memory_digest_row(const struct row *row, const char *kind, char **ret_hex)
{
	struct digest *d;
	char chunk[CHUNK], hex[DIGEST_HEX_MAX];
	uint64_t size = memory_row_size(row), at = 0;
	int r = digest_new(kind, &d);

	if (r < 0)
		return r;
	while (r == 0 && at < size) {
		size_t n = size - at < CHUNK ? (size_t)(size - at) : CHUNK;

		row_fill(row, at, chunk, n);
		r = digest_add(d, chunk, n);
		at += n;
	}
	if (r == 0)
		r = digest_hex(d, hex);
	digest_free(d);
	return r < 0 ? r : str_dup(hex, ret_hex);
}

/* Which one is there now: only that can be had. */
static int revision_of(const struct memory *m, const struct object *o, uint64_t *ret)
{
	struct object now = {0};
	int r = memory_describe(m, (struct ref){REF_CHANGING, 0}, &now);

	if (r == 0 && !str_eq(now.version, o->version))
		r = -ESTALE;
	object_done(&now);
	if (r == 0 && sscanf(o->version, "changing:%" SCNu64, ret) != 1)
		r = -EINVAL;
	return r;
}

/* Where bytes come from: `own`, or else a thing of the base. */
struct source {
	struct bytes *own;
	struct ref ref;
	uint64_t revision;      /* of changing.dat */
};

/* Find that of an object. Between overlay_begin() and its end. */
static int source_find(struct memory *m, const struct object *o, struct source *ret)
{
	struct entry *e = overlay_get(m, o->id);
	int r;

	if (e && e->removed)
		return -ENOENT;
	/* As a server that keeps only the newest: an older version cannot be had any more. */
	if (e && e->own)
		return o->version && !str_eq(o->version, e->o.version) ? -ESTALE : overlay_bytes(m, e, &ret->own);
	r = memory_find(m, o->id, &ret->ref);
	return r == 0 && ret->ref.what == REF_CHANGING ? revision_of(m, o, &ret->revision) : r;
}

static void source_read(const struct memory *m, const struct source *f, uint64_t first, void *to, size_t n)
{
	if (f->own)
		memcpy(to, f->own->data + first, n);
	else if (f->ref.what == REF_CHANGING)
		lines_fill(f->revision, first, to, n);
	else if (f->ref.what == REF_FILE)
		noise_fill(f->ref.n, first, to, n);
	else
		row_fill(m->things[f->ref.n].row, first, to, n);
}

int memory_whole(struct memory *m, const struct object *o, struct bytes **ret)
{
	struct source from = {0};
	int r = source_find(m, o, &from);

	if (r < 0 || from.own) {
		*ret = from.own;
		return r;
	}
	*ret = bytes_new(o->size);
	if (!*ret)
		return -ENOMEM;
	source_read(m, &from, 0, (*ret)->data, (*ret)->n);
	return 0;
}

static int give(const struct memory *m, const struct source *from, struct range r, content_sink sink, void *arg, const int *cancelled)
{
	char chunk[CHUNK];
	int e = 0;

	if (from->own && (r.first > from->own->n || r.count > from->own->n - r.first))
		return -ESTALE;
	while (r.count && e == 0) {
		size_t n = r.count < CHUNK ? (size_t)r.count : CHUNK;

		if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
			return -EINTR;
		source_read(m, from, r.first, chunk, n);
		e = sink(arg, chunk, n);
		r.first += n;
		r.count -= n;
	}
	return e;
}

static int fill(struct session *s, const struct object *o, struct range r, content_sink sink, void *arg, const int *cancelled)
{
	struct memory *m = memory_of(s);
	struct source from = {0};
	int e = memory_gate(m, o->name, cancelled);

	if (e == 0)
		e = overlay_begin(m);
	if (e < 0)
		return e;
	e = source_find(m, o, &from);
	overlay_end(m);
	if (e == 0)
		e = give(m, &from, r, sink, arg, cancelled);
	bytes_unref(from.own);
	return e;
}

int memory_prepare_read(struct session *s, const struct object *o, struct read_plan *io)
{
	if (o->kind != OBJECT_FILE || io->range.first > o->size || io->range.count > o->size - io->range.first)
		return -EINVAL;
	io->kind = PLAN_FILL;
	io->fill = fill;
	return 0;
}
