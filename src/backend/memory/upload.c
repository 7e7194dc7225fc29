/* upload.c - contents that come, as a server takes them: in chunks, which wait as a part until the last one makes them the content
 * of a thing, all at once.
 *
 * The upload has a name of its own, drawn here and noted before anything is sent: who comes again with it is told how much has
 * come, or, if the answer to the last chunk was lost, what became of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/private.h"
#include "base/file.h"

#define SOMEBODY "somebody else was here\n"

/* ---- parts ---- */

static struct part *part_find(const struct memory *m, const char *id)
{
	struct part *p;

	list_for_each_safe(p, &m->overlay.parts, struct part, link)
		if (strcmp(p->id, id) == 0)
			return p;
	return NULL;
}

void part_free(struct memory *m, struct part *p)
{
	m->overlay.used -= p->bytes->n;
	m->overlay.n_parts--;
	list_remove(&p->link);
	bytes_unref(p->bytes);
	free(p->id);
	free(p);
}

/* Is there room for a content in the place of `before` bytes? */
static int check_room(const struct memory *m, uint64_t size, uint64_t before)
{
	if (m->shape.quota && m->overlay.used - before + size > m->shape.quota) {
		backend_note_fault(0, "Quota", "the quota is used up", NULL);
		return -EDQUOT;
	}
	if (size > m->shape.room || m->overlay.used > m->shape.room - size) {
		backend_note_fault(0, "Room", "there is no room left", NULL);
		return -ENOSPC;
	}
	return 0;
}

static int part_new(struct memory *m, const char *id, uint64_t size, struct part **ret)
{
	struct part *p;

	if (m->overlay.n_parts >= PARTS_MAX)
		return -ENOSPC;
	p = calloc(1, sizeof(*p));
	if (p)
		p->bytes = bytes_new(size);
	if (!p || !p->bytes || str_dup(id, &p->id) < 0) {
		if (p)
			bytes_unref(p->bytes);
		free(p);
		return -ENOMEM;
	}
	list_append(&m->overlay.parts, &p->link);
	m->overlay.n_parts++;
	m->overlay.used += size;
	*ret = p;
	return 0;
}

/* The part of this name: one that is here, or that an earlier process left in the store, or a new one. */
static int part_ask(struct memory *m, const char *id, uint64_t size, uint64_t before, struct part **ret)
{
	int r;

	*ret = part_find(m, id);
	if (*ret)
		return (*ret)->bytes->n == size ? 0 : -EINVAL;
	r = check_room(m, size, before);
	if (r == 0)
		r = part_new(m, id, size, ret);
	if (r < 0)
		return r;
	r = store_part_read(m, id, (*ret)->bytes, &(*ret)->got);
	if (r == -ENOENT || r == -EINVAL) {
		(*ret)->got = 0;
		r = store_part_write(m, id, "", 0, 0);
	}
	if (r < 0)
		part_free(m, *ret);
	return r;
}

/* ---- landing ---- */

static const char *guess_mime(const char *name)
{
	static const struct {
		const char *tail, *mime;
	} known[] = {
		{".txt", "text/plain"}, {".csv", "text/csv"}, {".json", "application/json"}, {".png", "image/png"}, {".html", "text/html"},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (str_ends(name, known[i].tail))
			return known[i].mime;
	return "application/octet-stream";
}

/* Can it land, as things are? *ret_before: the size of what it replaces, as far as that is the overlay's. */
static int check_target(const struct memory *m, const struct upload *u, uint64_t *ret_before)
{
	struct object now = {0};
	int r;

	*ret_before = 0;
	if (!u->base) {
		r = memory_check_place(m, u->dir->id, u->name);
		if (r == -EEXIST)
			backend_note_fault(0, "Exists", "somebody else has made something of this name", NULL);
		return r;
	}
	r = overlay_describe(m, u->base->id, &now);
	if (r == 0 && !(now.rights & RIGHT_WRITE))
		r = -EACCES;
	if (r == -ENOENT || (r == 0 && u->base->version && !str_eq(u->base->version, now.version))) {
		backend_note_fault(0, "Changed", r < 0 ? "somebody else has removed it" : "somebody else has changed it", NULL);
		r = -ESTALE;
	}
	if (r == 0 && overlay_get(m, u->base->id) && overlay_get(m, u->base->id)->own)
		*ret_before = now.size;
	object_done(&now);
	return r;
}

static int entry_for(struct memory *m, const struct upload *u, struct entry **ret)
{
	struct object plan = {0};
	int r;

	if (u->base)
		return overlay_edit(m, u->base->id, ret);
	r = memory_plan(m, u->dir, u->name, OBJECT_FILE, &plan);
	if (r == 0) {
		free(plan.mime);
		r = str_dup(u->mime ? u->mime : guess_mime(u->name), &plan.mime);
	}
	if (r == 0)
		r = overlay_new(m, u->dir->id, &plan, ret);
	object_done(&plan);
	return r;
}

/* This is the content now. `part`: the upload that a store has it of, or NULL. */
static int land(struct memory *m, const struct upload *u, struct bytes *b, const char *part, struct object *ret)
{
	struct content before = {0};
	struct entry *e;
	int r = entry_for(m, u, &e);

	if (r < 0)
		return r;
	r = overlay_set_content(m, e, b, part, &before);
	if (r < 0) {
		if (!u->base)
			overlay_free(e);
		return r;
	}
	free(e->upload);
	e->upload = part ? strdup(part) : NULL;
	r = u->base ? overlay_save(m, e) : overlay_add(m, e);
	if (r < 0) {
		bytes_unref(before.bytes);
		free(before.version);
		return r;
	}
	overlay_forget(m, e, &before);
	return ret ? overlay_describe(m, e->o.id, ret) : 0;
}

/* What taken= and moved= ask for: somebody else is there first, once. */
static int interfere(struct memory *m, const struct upload *u, uint64_t *before)
{
	_cleanup_(bytes_unrefp) struct bytes *b = NULL;
	bool demanded = u->base ? str_eq(m->shape.moved, u->name) && !atomic_exchange(&m->moved_done, true)
	                        : str_eq(m->shape.taken, u->name) && !atomic_exchange(&m->taken_done, true);
	int r;

	if (!demanded)
		return 0;
	b = bytes_new(strlen(SOMEBODY));
	if (!b)
		return -ENOMEM;
	memcpy(b->data, SOMEBODY, b->n);
	r = land(m, u, b, NULL, NULL);
	return r < 0 ? r : check_target(m, u, before);
}

/* ---- members ---- */

/* An earlier attempt may have landed: 1 and u->object, or 0. Without a name of its upload, what stands there since and is the
 * same is it. */
static int landed(struct memory *m, struct upload *u, const char *id)
{
	struct entry *e = *id ? overlay_of_upload(m, id) : u->base ? overlay_get(m, u->base->id) : overlay_at(m, u->dir->id, u->name);
	int r;

	if (!e || e->removed || !e->own)
		return 0;
	if (!*id && (e->o.size != u->size || !u->digest || !str_eq(e->o.digest, u->digest) || e->o.mtime.tv_sec < u->begun))
		return 0;
	r = overlay_describe(m, e->o.id, &u->object);
	return r < 0 ? r : 1;
}

/* Where to go on: *ret bytes have come. 1: nothing is left to do. */
static int begin(struct memory *m, struct upload *u, const char *id, uint64_t *ret)
{
	struct part *p;
	uint64_t before;
	int r = overlay_begin(m);

	if (r < 0)
		return r;
	r = u->again ? landed(m, u, id) : 0;
	if (r == 0)
		r = check_target(m, u, &before);
	if (r == 0)
		r = interfere(m, u, &before);
	if (r == 0 && *id) {
		r = part_ask(m, id, u->size, before, &p);
		if (r == 0)
			*ret = p->got;
	}
	overlay_end(m);
	return r;
}

/* The server's side of one chunk. 1: it was the last one, and has landed. */
static int take_chunk(struct memory *m, struct upload *u, const char *id, const void *data, size_t n, uint64_t at)
{
	_cleanup_(bytes_unrefp) struct bytes *b = NULL;
	struct part *p = NULL;
	uint64_t before;
	int r = overlay_begin(m);

	if (r < 0)
		return r;
	r = check_target(m, u, &before);
	if (r == 0)
		r = part_ask(m, id, u->size, before, &p);
	if (r == 0 && (p->got != at || n > p->bytes->n - at))
		r = -EIO;               /* somebody else sends it too: ask again how much has come */
	if (r == 0)
		r = store_part_write(m, id, data, n, at);
	if (r == 0) {
		memcpy(p->bytes->data + at, data, n);
		p->got += n;
	}
	if (r == 0 && p->got == p->bytes->n) {
		b = bytes_ref(p->bytes);
		part_free(m, p);
		r = land(m, u, b, id, &u->object);
		if (r == 0)
			r = 1;
	}
	overlay_end(m);
	return r;
}

/* `along`: in a request that is on its way already. */
static int send_chunk(struct memory *m, struct upload *u, const char *id, void *room, uint64_t at, bool along)
{
	uint64_t chunk = m->session.policy.upload_chunk;
	size_t n = u->size - at < chunk ? (size_t)(u->size - at) : (size_t)chunk;
	int lost, r = u->note(u, id, at);

	if (r == 0)
		r = file_pread_all(u->fd, room, n, (off_t)at);
	if (r == 0 && !along)
		r = memory_gate_upload(m, u->name, u->cancelled);
	if (r == 0)
		r = take_chunk(m, u, id, room, n, at);
	if (r < 0)
		return r;
	lost = memory_answer(m, 0);
	if (lost == 0 && m->shape.cut && at / chunk + 1 == m->shape.cut) {
		backend_note_fault(0, "Demanded", "the connection breaks on demand", NULL);
		lost = -ECONNRESET;
	}
	if (lost < 0 && r == 1)
		object_done(&u->object);
	return lost < 0 ? lost : r;
}

static int upload(struct session *s, struct upload *u, bool along)
{
	struct memory *m = memory_of(s);
	_cleanup_free_ void *room = NULL;
	char id[ID_MAX];
	uint64_t at = 0;
	int r = along ? memory_refused(m, u->name) : memory_gate_change(m, u->name, u->cancelled);

	snprintf(id, sizeof(id), "%s", u->progress && str_starts(u->progress, "upload/") ? u->progress : "");
	if (r == 0)
		r = begin(m, u, id, &at);
	if (r != 0)
		return r < 0 ? r : 0;
	if (!*id)
		snprintf(id, sizeof(id), "upload/%016" PRIx64, memory_random());
	room = malloc(u->size < s->policy.upload_chunk ? u->size + 1 : s->policy.upload_chunk);
	if (!room)
		return -ENOMEM;
	do {
		r = u->cancelled && __atomic_load_n(u->cancelled, __ATOMIC_RELAXED) ? -EINTR : send_chunk(m, u, id, room, at, along);
		at += s->policy.upload_chunk;
	} while (r == 0);
	return r < 0 ? r : 0;
}

int memory_upload(struct session *s, struct upload *u)
{
	return upload(s, u, false);
}

/* They take as long as one. */
void memory_upload_many(struct session *s, struct upload *const u[], size_t n, int ret[])
{
	for (size_t i = 0; i < n; i++) {
		ret[i] = upload(s, u[i], i > 0);
		backend_blame(u[i]);
	}
}

int memory_upload_drop(struct session *s, const char *progress)
{
	struct memory *m = memory_of(s);
	struct part *p;
	int r = str_starts(progress, "upload/") ? overlay_begin(m) : -EINVAL;

	if (r < 0)
		return r;
	p = part_find(m, progress);
	if (p)
		part_free(m, p);
	store_part_drop(m, progress);
	overlay_end(m);
	return 0;
}

/* A copy made by the server: of what is there now, with its metadata. */
static int copy(struct memory *m, const struct object *o, const struct object *dir, const char *name, struct object *ret)
{
	_cleanup_(bytes_unrefp) struct bytes *b = NULL;
	struct upload u = {.dir = dir, .name = name};
	struct object now = {0};
	struct entry *e;
	int r = memory_check_place(m, dir->id, name);

	if (r == 0)
		r = overlay_describe(m, o->id, &now);
	if (r == 0 && now.kind != OBJECT_FILE)
		r = -EINVAL;
	if (r == 0)
		r = check_room(m, now.size, 0);
	if (r == 0)
		r = memory_whole(m, &now, &b);
	u.mime = now.mime;
	if (r == 0)
		r = land(m, &u, b, NULL, ret);
	object_done(&now);
	e = r == 0 ? overlay_get(m, ret->id) : NULL;
	if (!e)
		return r;
	r = memory_meta(m, o->id, &e->meta);
	return r < 0 ? r : overlay_save(m, e);
}

int memory_copy(struct session *s, const struct object *o, const struct object *dir, const char *name, struct object *ret)
{
	struct memory *m = memory_of(s);
	int r = memory_gate_change(m, name, NULL);

	if (r == 0)
		r = overlay_begin(m);
	if (r < 0)
		return r;
	r = copy(m, o, dir, name, ret);
	overlay_end(m);
	return memory_answer_object(m, r, ret);
}
