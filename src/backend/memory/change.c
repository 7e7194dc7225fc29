/* change.c - making, removing and moving things; each in one step under the lock. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/private.h"

/* ---- what may be ---- */

/* Is there a directory `dir` that may get a child of this name? */
int memory_check_place(const struct memory *m, const char *dir, const char *name)
{
	struct object in = {0};
	struct page p = {0};
	int r = overlay_describe(m, dir, &in);

	if (r == 0 && in.kind != OBJECT_DIR)
		r = -ENOTDIR;
	if (r == 0 && !(in.rights & RIGHT_WRITE))
		r = -EACCES;
	if (r == 0)
		r = memory_children_named(m, dir, name, &p);
	if (r == 0 && p.objects.n)
		r = -EEXIST;
	page_done(&p);
	object_done(&in);
	return r;
}

/* Is there a thing of this id, in this directory, that may be changed? *ret: it. */
static int check_thing(const struct memory *m, const char *id, const char *in, struct object *ret)
{
	struct object dir = {0}, o = {0};
	char room[ID_MAX];
	const char *parent;
	int r = overlay_parent(m, id, room, &parent);

	if (r == 0 && strcmp(parent, in) != 0)
		r = -ENOENT;            /* somebody else has moved it */
	if (r == 0)
		r = overlay_describe(m, in, &dir);
	if (r == 0)
		r = overlay_describe(m, id, &o);
	if (r == 0 && !(dir.rights & o.rights & RIGHT_WRITE))
		r = -EACCES;
	object_done(&dir);
	if (r < 0) {
		object_done(&o);
		return r;
	}
	*ret = o;
	return 0;
}

int memory_plan(const struct memory *m, const struct object *dir, const char *name, enum object_kind kind, struct object *ret)
{
	struct object o = {.kind = kind, .rights = RIGHT_READ | RIGHT_WRITE | (dir->rights & RIGHT_PUBLIC)};
	int r = str_dup(name, &o.name);

	if (r == 0 && kind == OBJECT_FILE)
		r = str_dup("application/octet-stream", &o.mime);
	if (r == 0 && (m->shape.readonly || !(dir->rights & RIGHT_WRITE)))
		r = -EACCES;
	if (r == 0 && (!*name || strlen(name) > NAME_MAX_RAW))
		r = -EPERM;
	if (r < 0) {
		object_done(&o);
		return r;
	}
	*ret = o;
	return 0;
}

int memory_plan_create(const struct session *s, const struct object *dir, const char *name, enum object_kind kind, struct object *ret)
{
	return memory_plan(memory_of(s), dir, name, kind, ret);
}

int memory_lane(const struct session *s, const struct object *dir, const char *name, const struct object *base, char **ret)
{
	return memory_of(s)->shape.lanes ? str_dup(dir->id, ret) : 0;
}

/* ---- making ---- */

static int make(struct memory *m, const struct object *dir, const char *name, enum object_kind kind, const char *target,
                struct object *ret)
{
	struct object plan = {0};
	struct entry *e = NULL;
	int r = memory_check_place(m, dir->id, name);

	if (r == 0)
		r = memory_plan(m, dir, name, kind, &plan);
	if (r == 0)
		r = str_dup(target, &plan.target);
	if (r == 0)
		r = overlay_new(m, dir->id, &plan, &e);
	if (r == 0)
		r = overlay_add(m, e);
	if (r == 0)
		r = overlay_describe(m, e->o.id, ret);
	object_done(&plan);
	return r;
}

static int make_one(struct memory *m, const struct object *dir, const char *name, enum object_kind kind, const char *target,
                    struct object *ret)
{
	int r = memory_gate_change(m, name, NULL);

	if (r == 0)
		r = overlay_begin(m);
	if (r < 0)
		return r;
	r = make(m, dir, name, kind, target, ret);
	overlay_end(m);
	return memory_answer_object(m, r, ret);
}

int memory_mkdir(struct session *s, const struct object *dir, const char *name, struct object *ret)
{
	return make_one(memory_of(s), dir, name, OBJECT_DIR, NULL, ret);
}

int memory_symlink(struct session *s, const struct object *dir, const char *name, const char *target, struct object *ret)
{
	return *target ? make_one(memory_of(s), dir, name, OBJECT_LINK, target, ret) : -EINVAL;
}

/* ---- removing ---- */

static int check_removable(const struct memory *m, const char *id, const char *in, struct object *ret)
{
	int r = check_thing(m, id, in, ret);

	if (r == 0 && ret->kind == OBJECT_DIR && !memory_is_empty(m, id)) {
		object_done(ret);
		r = -ENOTEMPTY;
	}
	return r;
}

int memory_remove(struct session *s, const struct object *dir, const struct object *o)
{
	struct memory *m = memory_of(s);
	struct object now = {0};
	int r = memory_gate_change(m, o->name, NULL);

	if (r == 0)
		r = overlay_begin(m);
	if (r < 0)
		return r;
	r = check_removable(m, o->id, dir->id, &now);
	if (r == 0)
		r = overlay_remove(m, o->id);
	object_done(&now);
	overlay_end(m);
	return memory_answer(m, r);
}

/* ---- moving ---- */

/* Is the new place free, but for `over` and the thing itself? *ret_over: something of over's id is there. */
static int check_goal(const struct memory *m, const struct object *o, const char *to, const char *name, const struct object *over,
                      bool *ret_over)
{
	struct object dir = {0};
	struct page p = {0};
	int r = overlay_describe(m, to, &dir);

	*ret_over = false;
	if (r == 0 && dir.kind != OBJECT_DIR)
		r = -ENOTDIR;
	if (r == 0 && !(dir.rights & RIGHT_WRITE))
		r = -EACCES;
	if (r == 0 && (strcmp(to, o->id) == 0 || overlay_is_below(m, to, o->id)))
		r = -EINVAL;
	if (r == 0)
		r = memory_children_named(m, to, name, &p);
	for (size_t i = 0; i < p.objects.n && r == 0; i++) {
		if (over && strcmp(p.objects.at[i].id, over->id) == 0)
			*ret_over = true;
		else if (strcmp(p.objects.at[i].id, o->id) != 0)
			r = -EEXIST;
	}
	page_done(&p);
	object_done(&dir);
	return r;
}

/* What goes for it must be of the same kind. */
static int check_over(const struct memory *m, const struct object *o, const char *to, const struct object *over)
{
	struct object victim = {0};
	int r = check_removable(m, over->id, to, &victim);

	if (r == 0 && o->kind == OBJECT_DIR && victim.kind != OBJECT_DIR)
		r = -ENOTDIR;
	if (r == 0 && o->kind != OBJECT_DIR && victim.kind == OBJECT_DIR)
		r = -EISDIR;
	object_done(&victim);
	return r;
}

static int move_over(struct memory *m, struct entry *e, const char *to, const char *name, const char *over)
{
	struct entry *victim;
	int r = overlay_edit(m, over, &victim);

	if (r == 0)
		r = str_dup(over, &e->over);
	if (r == 0)
		r = overlay_move(m, e, to, name);
	if (r == 0)
		r = overlay_save(m, e);
	if (r == 0)
		r = overlay_remove(m, over);
	free(TAKE(e->over));
	return r < 0 || !m->shape.store ? r : overlay_save(m, e);
}

static int move(struct memory *m, const struct object *o, const char *from, const char *to, const char *name, const struct object *over,
                struct object *ret)
{
	struct object now = {0};
	struct entry *e;
	bool is_over = false;
	int r = check_thing(m, o->id, from, &now);

	if (r == 0)
		r = check_goal(m, &now, to, name, over, &is_over);
	if (r == 0 && is_over)
		r = check_over(m, &now, to, over);
	if (r == 0 && (!*name || strlen(name) > NAME_MAX_RAW))
		r = -EPERM;
	if (r == 0)
		r = overlay_edit(m, o->id, &e);
	if (r == 0 && is_over) {
		r = move_over(m, e, to, name, over->id);
	} else if (r == 0) {
		r = overlay_move(m, e, to, name);
		if (r == 0)
			r = overlay_save(m, e);
	}
	object_done(&now);
	return r < 0 ? r : overlay_describe(m, o->id, ret);
}

int memory_rename(struct session *s, const struct object *o, const struct object *from, const struct object *to, const char *name,
                  const struct object *over, struct object *ret)
{
	struct memory *m = memory_of(s);
	int r = memory_gate_change(m, o->name, NULL);

	if (r == 0)
		r = memory_refused(m, name);
	if (r == 0)
		r = overlay_begin(m);
	if (r < 0)
		return r;
	r = move(m, o, from->id, to->id, name, over && strcmp(over->id, o->id) != 0 ? over : NULL, ret);
	overlay_end(m);
	return memory_answer_object(m, r, ret);
}
