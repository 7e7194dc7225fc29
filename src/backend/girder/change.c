/* change.c - the tree changed: made, removed, renamed, copied.
 *
 * Girder checks names where things are made and renamed (folders: refused; items: silently given another name), but not where they are
 * moved to; it has no request that replaces one thing by another, and no condition on any request. So names are asked for
 * first, the name in each answer is held against what was wanted, and what went wrong half-way is undone. An answer that did not
 * come is replaced by a look at what is there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/girder/private.h"
#include "base/log.h"

#define CLOCK_SLACK_S 2

static bool is_folder(const struct object *o)
{
	return girder_is(o->id, "folder");
}

/* An item, also as the directory that `.scifs/items` makes of it. */
static bool is_item(const struct object *o)
{
	return girder_is(o->id, "item") || girder_is(o->id, "item-dir");
}

/* The folder whose names are those of this directory, or NULL. */
static const char *folder_of(const struct object *dir)
{
	return is_folder(dir) || girder_is(dir->id, "items") ? girder_id(dir->id) : NULL;
}

static int taken(void)
{
	backend_note_fault(0, NULL, "something of this name is there already", NULL);
	return -EEXIST;
}

static int forbidden(const char *words)
{
	backend_note_fault(0, NULL, words, NULL);
	return -EACCES;
}

static int may_name(const struct object *dir, const char *name)
{
	int r = girder_check_name(name);

	if (r < 0) {
		backend_note_fault(0, NULL, r == -EILSEQ ? "the name is not UTF-8" : "the server cuts blanks at both ends of a name", NULL);
		return r;
	}
	return dir->rights & RIGHT_WRITE ? 0 : forbidden("you may not write here");
}

/* Was this made by us since then? */
static bool is_fresh(struct girder *g, const struct json *document, time_t since)
{
	struct timespec created = {0};

	return girder_created_by_us(g, document) && json_time_opt(document, "created", &created) == 0 &&
	       created.tv_sec + CLOCK_SLACK_S >= since;
}

static bool has_name(const struct json *document, const char *name)
{
	const char *is = "";

	return json_str_opt(document, "name", &is) == 0 && strcmp(is, name) == 0;
}

/* ---- making ---- */

/* What somebody asked to be made since then: a document of this type and name among those that the question lists. */
struct making {
	time_t since;
	const char *name, *type, *question;
};

static int look_made(struct girder *g, const void *what, struct json **ret)
{
	const struct making *m = what;
	_cleanup_(json_freep) struct json *list = NULL;
	int r = girder_get_json(g, &list, "%s", m->question);

	for (const struct json *one = json_first(list); r == 0 && one; one = json_next(one)) {
		const char *id;

		if (!is_fresh(g, one, m->since) || !has_name(one, m->name))
			continue;
		r = json_str(one, "_id", &id);
		if (r == 0)
			r = girder_get_json(g, ret, "%s/%s", m->type, id);
		return r < 0 ? r : 1;
	}
	return r;
}

static int look_gone(struct girder *g, const void *what, struct json **ret)
{
	int r = girder_get_json(g, ret, "%s", (const char *)what);

	return r == -ENOENT ? 1 : r;
}

static int delete(struct girder *g, const char *type, const char *id)
{
	_cleanup_free_ char *path = NULL;
	struct girder_send q = {.method = "DELETE", .slow = true};
	int r = str_fmt(&path, "%s/%s", type, id);

	return r < 0 ? r : girder_change(g, &q, look_gone, path, NULL, "%s", path);
}

/* An item that was asked for has the name that it was to have, or it goes again: -EEXIST. */
static int keep_named(struct girder *g, const struct girder_send *q, const struct making *m, struct json **io)
{
	const char *id;
	int r;

	if (has_name(*io, m->name))
		return 0;
	r = json_str(*io, "_id", &id);
	if (r == 0)
		r = delete(g, "item", id);
	if (r < 0)
		return r;
	/* The name may be that of the first one that was asked for. */
	json_free(TAKE(*io));
	r = q->asked_again ? look_made(g, m, io) : 0;
	return r < 0 ? r : r == 1 ? 0 : taken();
}

/* Is the name free in the folder (-EEXIST)? It as it stands in a query, and the question that lists the items which have it. */
static int free_name(struct girder *g, const char *folder, const char *name, char **ret_encoded, char **ret_question)
{
	int r = girder_name_taken(g, folder, name, NULL);

	if (r == 1)
		return taken();
	if (r == 0)
		r = girder_encode(name, ret_encoded);
	return r < 0 ? r : str_fmt(ret_question, "item?folderId=%s&name=%s&limit=50", folder, *ret_encoded);
}

/* An item in a folder, without files. */
static int make_item(struct girder *g, const char *folder, const char *name, struct json **ret)
{
	_cleanup_free_ char *encoded = NULL, *question = NULL;
	struct girder_send q = {.method = "POST"};
	struct making m = {girder_now(g), name, "item", NULL};
	int r = free_name(g, folder, name, &encoded, &question);

	if (r < 0)
		return r;
	m.question = question;
	r = girder_change(g, &q, look_made, &m, ret, "item?folderId=%s&name=%s", folder, encoded);
	return r < 0 ? r : keep_named(g, &q, &m, ret);
}

struct file_copy {
	const char *item;
	const struct json *before;      /* the files that it held */
};

static int look_copied(struct girder *g, const void *what, struct json **ret)
{
	const struct file_copy *c = what;
	_cleanup_(json_freep) struct json *now = NULL;
	int r = girder_get_json(g, &now, "item/%s/files?limit=0", c->item);

	for (const struct json *f = json_first(now); r == 0 && f; f = json_next(f)) {
		const char *id, *old = "";
		bool known = false;

		if (json_str(f, "_id", &id) < 0)
			return -EBADMSG;
		for (const struct json *b = json_first(c->before); b; b = json_next(b))
			known |= json_str_opt(b, "_id", &old) == 0 && strcmp(old, id) == 0;
		if (!known && girder_created_by_us(g, f)) {
			r = girder_get_json(g, ret, "file/%s", id);
			return r < 0 ? r : 1;
		}
	}
	return r;
}

/* A copy of a file in an item, which held `before` (its files' documents). *ret: its document; it has the name of the original. */
static int copy_file(struct girder *g, const char *file, const char *item, const struct json *before, struct json **ret)
{
	struct girder_send q = {.method = "POST", .slow = true};
	struct file_copy c = {item, before};

	return girder_change(g, &q, look_copied, &c, ret, "file/%s/copy?itemId=%s", file, item);
}

static int make_folder(struct girder *g, const struct object *dir, const char *name, struct json **ret)
{
	_cleanup_free_ char *encoded = NULL, *question = NULL, *parent = NULL;
	struct girder_send q = {.method = "POST"};
	struct making m = {girder_now(g), name, "folder", NULL};
	bool items = girder_is(dir->id, "items");
	int r = girder_encode(name, &encoded);

	if (r == 0)
		r = str_fmt(&parent, "parentType=%.*s&parentId=%s", items ? 6 : (int)strcspn(dir->id, "/"), items ? "folder" : dir->id,
		            girder_id(dir->id));
	if (r == 0)
		r = str_fmt(&question, "folder?%s&name=%s&limit=50", parent, encoded);
	if (r < 0)
		return r;
	m.question = question;
	r = girder_change(g, &q, look_made, &m, ret, "folder?%s&name=%s", parent, encoded);
	/* A clash is refused; another name than was asked for nobody has seen. */
	return r == 0 && !has_name(*ret, name) ? -EINVAL : r;
}

int girder_mkdir(struct session *s, const struct object *dir, const char *name, struct object *ret)
{
	struct girder *g = girder_of(s);
	_cleanup_(json_freep) struct json *made = NULL;
	struct object plan = {0};
	int r = girder_plan_create(s, dir, name, OBJECT_DIR, &plan);

	object_done(&plan);
	if (r < 0)
		return r;
	if (girder_is(dir->id, "items")) {
		r = make_item(g, girder_id(dir->id), name, &made);
		return r < 0 ? r : parse_item_dir(made, dir->rights, ret);
	}
	r = make_folder(g, dir, name, &made);
	return r < 0 ? r : parse_folder(made, ret);
}

/* An item's object, from its document and those of its files. */
static int show_item(struct girder *g, const struct json *item, unsigned rights, struct object *ret)
{
	_cleanup_(json_freep) struct json *files = NULL;
	struct object o = {0};
	int r = parse_item(item, g->items, rights, &o);

	if (r == 0 && g->items != ITEMS_DIR) {
		r = girder_get_json(g, &files, "item/%s/files?limit=%d&sort=name", girder_id(o.id), g->items == ITEMS_FILE ? 0 : 2);
		if (r == 0)
			r = parse_classify(files, g->items, &o);
	}
	if (r < 0) {
		object_done(&o);
		return r;
	}
	*ret = o;
	return 0;
}

int girder_symlink(struct session *s, const struct object *dir, const char *name, const char *target, struct object *ret)
{
	struct girder *g = girder_of(s);
	_cleanup_(json_freep) struct json *made = NULL, *item = NULL;
	_cleanup_free_ char *encoded = NULL, *url = NULL, *question = NULL;
	struct girder_send q = {.method = "POST"};
	const char *into = girder_item_of(dir), *id;
	struct making m = {girder_now(g), name, into ? "file" : "item", NULL};
	struct object plan = {0};
	int r;

	if (!str_starts(target, "http://") && !str_starts(target, "https://")) {
		backend_note_fault(0, NULL, "a link leads to http:// or https:// addresses only", NULL);
		return -EPERM;
	}
	r = girder_plan_create(s, dir, name, OBJECT_LINK, &plan);
	object_done(&plan);
	if (r < 0)
		return r;
	if (!into) {
		r = girder_name_taken(g, girder_id(dir->id), name, NULL);
		if (r == 1)
			return taken();
	}
	if (r < 0 || girder_encode(name, &encoded) < 0 || girder_encode(target, &url) < 0 ||
	    (into ? str_fmt(&question, "item/%s/files?limit=0", into)
	          : str_fmt(&question, "item?folderId=%s&name=%s&limit=50", girder_id(dir->id), encoded)) < 0)
		return r < 0 ? r : -ENOMEM;
	m.question = question;
	r = girder_change(g, &q, look_made, &m, &made, "file?parentType=%s&parentId=%s&name=%s&linkUrl=%s", into ? "item" : "folder",
	                  girder_id(dir->id), encoded, url);
	if (r < 0 || into)
		return r < 0 ? r : parse_file(made, dir->rights, ret);
	/* The answer is the file's document; what was found in its place is the item's. */
	if (json_str(made, "itemId", &id) == 0)
		r = girder_get_json(g, &item, "item/%s", id);
	else
		item = TAKE(made);
	if (r == 0)
		r = keep_named(g, &q, &m, &item);
	return r < 0 ? r : show_item(g, item, dir->rights, ret);
}

/* ---- removing ---- */

/* At most `most` files. */
static int count_files(struct girder *g, const char *item, unsigned most)
{
	_cleanup_(json_freep) struct json *files = NULL;
	int r = girder_get_json(g, &files, "item/%s/files?limit=%u", item, most + 1), n = 0;

	for (const struct json *f = json_first(files); f; f = json_next(f))
		n++;
	return r < 0 ? r : n;
}

/* With all that is in it. {"folder":["ID"]}: the only way that is done when the answer comes, with and without the server's workers. */
static int delete_folder(struct girder *g, const char *id)
{
	_cleanup_free_ char *path = NULL;
	struct girder_send q = {.method = "DELETE", .slow = true};
	int r = str_fmt(&path, "folder/%s", id);

	return r < 0 ? r : girder_change(g, &q, look_gone, path, NULL, "resource?resources=%%7B%%22folder%%22%%3A%%5B%%22%s%%22%%5D%%7D", id);
}

/* -ENOTEMPTY: something is in this folder. */
static int see_empty(struct girder *g, const char *id)
{
	_cleanup_(json_freep) struct json *details = NULL;
	uint64_t items, folders;
	int r = girder_get_json(g, &details, "folder/%s/details", id);

	if (r == 0)
		r = json_u64(details, "nItems", &items);
	if (r == 0)
		r = json_u64(details, "nFolders", &folders);
	return r == 0 && (items || folders) ? -ENOTEMPTY : r;
}

/* `all`: with what is in it. */
static int remove_folder(struct girder *g, const struct object *o, bool all)
{
	_cleanup_(json_freep) struct json *folder = NULL;
	uint64_t size = 0;
	const char *id = girder_id(o->id);
	int r = girder_get_json(g, &folder, "folder/%s", id);

	if (r == 0 && !all)
		r = see_empty(g, id);
	if (r == 0 && !all)
		r = json_u64_opt(folder, "size", &size);
	if (r < 0)
		return r;
	/* Subfolders that are hidden from us are not counted, and would go too; what they hold may show in the size. */
	if (size)
		return -ENOTEMPTY;
	if (!(parse_rights(folder) & RIGHT_ADMIN))
		return forbidden("to delete a folder one must have the right to administer it");
	return delete_folder(g, id);
}

static int remove_thing(struct girder *g, const struct object *o, bool all)
{
	const char *id = girder_id(o->id);
	int n;

	if (is_folder(o))
		return remove_folder(g, o, all);
	if (girder_is(o->id, "file"))
		return delete(g, "file", id);
	if (!is_item(o)) {
		backend_note_fault(0, NULL, "collections and users are not removed here", NULL);
		return -EPERM;
	}
	/* Not more than what it is seen as: somebody may have put a file into it meanwhile. */
	if (!all && (o->kind == OBJECT_DIR || g->items != ITEMS_FILE)) {
		n = count_files(g, id, 1);
		if (n < 0)
			return n;
		if (o->kind == OBJECT_DIR ? n > 0 : n > 1) {
			backend_note_fault(0, NULL, o->kind == OBJECT_DIR ? "the item has files" : "the item has other files meanwhile", NULL);
			return o->kind == OBJECT_DIR ? -ENOTEMPTY : -EBUSY;
		}
	}
	return delete(g, "item", id);
}

static int remove_held(struct session *s, const struct object *dir, const struct object *o, bool all)
{
	struct girder *g = girder_of(s);
	const char *const held[] = {girder_is(o->id, "file") && girder_item_of(dir) ? girder_item_of(dir) : girder_id(o->id), NULL};
	int r;

	/* A folder's own level decides over it; everything else has its folder's. */
	if (!is_folder(o) && !(dir->rights & RIGHT_WRITE))
		return forbidden("you may not write here");
	r = girder_hold(g, held);
	if (r < 0)
		return r;
	r = remove_thing(g, o, all);
	girder_release(g, held);
	return r;
}

int girder_remove(struct session *s, const struct object *dir, const struct object *o)
{
	return remove_held(s, dir, o, false);
}

int girder_remove_all(struct session *s, const struct object *dir, const struct object *o)
{
	return remove_held(s, dir, o, true);
}

/* ---- renaming: single steps ---- */

/* What a document is to say. NULL: whatever it says. */
struct state {
	const char *path, *name, *mime, *parent_key, *parent;
};

static int look_state(struct girder *g, const void *what, struct json **ret)
{
	const struct state *s = what;
	const char *parent = "", *mime = "";
	int r = girder_get_json(g, ret, "%s", s->path);

	if (r < 0)
		return r;
	return (!s->name || has_name(*ret, s->name)) &&
	       (!s->mime || (json_str_opt(*ret, "mimeType", &mime) == 0 && str_eq(mime, s->mime))) &&
	       (!s->parent || (json_str_opt(*ret, s->parent_key, &parent) == 0 && str_eq(parent, s->parent)));
}

/* Give an item another name (or NULL) and another folder (or NULL). -EEXIST: it is done, but the server gave it another name. */
static int put_item(struct girder *g, const char *id, const char *name, const char *folder, struct json **ret)
{
	_cleanup_free_ char *encoded = NULL, *path = NULL;
	struct girder_send q = {.method = "PUT", .slow = folder != NULL};
	struct state to_be = {.name = name, .parent_key = "folderId", .parent = folder};
	int r = girder_encode(name ? name : "", &encoded);

	if (r == 0)
		r = str_fmt(&path, "item/%s", id);
	if (r < 0)
		return r;
	to_be.path = path;
	r = girder_change(g, &q, look_state, &to_be, ret, "%s?%s%s%s%s%s", path, name ? "name=" : "", encoded, name && folder ? "&" : "",
	                  folder ? "folderId=" : "", folder ? folder : "");
	return r == 0 && name && !has_name(*ret, name) ? -EEXIST : r;
}

/* NULL mime: as it is. */
static int put_file(struct girder *g, const char *id, const char *name, const char *mime, struct json **ret)
{
	_cleanup_free_ char *encoded = NULL, *type = NULL, *path = NULL;
	struct girder_send q = {.method = "PUT", .slow = true};
	struct state to_be = {.name = name, .mime = mime};
	int r = girder_encode(name, &encoded);

	if (r == 0)
		r = girder_encode(mime ? mime : "", &type);
	if (r == 0)
		r = str_fmt(&path, "file/%s", id);
	if (r < 0)
		return r;
	to_be.path = path;
	return girder_change(g, &q, look_state, &to_be, ret, "%s?name=%s%s%s", path, encoded, mime ? "&mimeType=" : "", type);
}

static int put_folder(struct girder *g, const struct object *o, const char *name, const struct object *parent, struct json **ret)
{
	_cleanup_free_ char *encoded = NULL;
	struct girder_send q = {.method = "PUT", .slow = parent != NULL};
	struct state to_be = {.path = o->id, .name = name, .parent_key = "parentId", .parent = parent ? girder_id(parent->id) : NULL};
	int r = girder_encode(name ? name : "", &encoded);

	if (r < 0)
		return r;
	if (!parent)
		return girder_change(g, &q, look_state, &to_be, ret, "%s?name=%s", o->id, encoded);
	return girder_change(g, &q, look_state, &to_be, ret, "%s?%s%s%sparentType=%.*s&parentId=%s", o->id, name ? "name=" : "", encoded,
	                     name ? "&" : "", (int)strcspn(parent->id, "/"), parent->id, girder_id(parent->id));
}

/* Either, an item or a folder. */
static int put_thing(struct girder *g, const struct object *o, const char *name, const struct object *parent, struct json **ret)
{
	return is_folder(o) ? put_folder(g, o, name, parent, ret) : put_item(g, girder_id(o->id), name, parent ? folder_of(parent) : NULL, ret);
}

/* The type that goes with the new name, if the old one went with the old name; else NULL: a person chose it. */
static const char *new_mime(const char *old_name, const char *mime, const char *name)
{
	const char *before = girder_mime_of(old_name), *after = girder_mime_of(name);

	return strcmp(before, after) != 0 && (!mime || strcmp(mime, before) == 0 || strcmp(mime, "application/octet-stream") == 0) ? after
	                                                                                                                     : NULL;
}

/* ---- renaming: whole ---- */

struct move {
	struct girder *g;
	const struct object *o, *from, *to, *over;
	const char *name;
	bool across;                    /* from and to are two directories */
};

/* Is the name taken in this directory by somebody who is neither of the two? 1, 0. */
static int is_taken(struct move *m, const struct object *dir)
{
	_cleanup_free_ char *id = NULL, *encoded = NULL;
	_cleanup_(json_freep) struct json *list = NULL;
	const char *one;
	int r;

	if (folder_of(dir)) {
		r = girder_name_taken(m->g, folder_of(dir), m->name, &id);
	} else {
		r = girder_encode(m->name, &encoded);
		if (r == 0)
			r = girder_get_json(m->g, &list, "folder?parentType=%.*s&parentId=%s&name=%s&limit=1", (int)strcspn(dir->id, "/"),
			                    dir->id, girder_id(dir->id), encoded);
		if (r == 0 && json_first(list)) {
			r = json_str(json_first(list), "_id", &one);
			if (r == 0)
				r = str_fmt(&id, "folder/%s", one);
			if (r == 0)
				r = 1;
		}
	}
	if (r != 1)
		return r;
	return strcmp(girder_id(id), girder_id(m->o->id)) != 0 && !(m->over && strcmp(girder_id(id), girder_id(m->over->id)) == 0);
}

static int scratch_name(const struct object *o, const char *what, char **ret)
{
	return str_fmt(ret, ".scifs-%s-%s", what, girder_id(o->id));
}

/* An item to its place, whose name nobody has there. Undone on error. */
static int place_item(struct move *m, struct json **ret)
{
	const char *id = girder_id(m->o->id), *folder = m->across ? folder_of(m->to) : NULL;
	const char *name = strcmp(m->name, m->o->name) != 0 ? m->name : NULL;
	_cleanup_(json_freep) struct json *undone = NULL;
	_cleanup_free_ char *scratch = NULL;
	int r = 0;

	if (!folder && !name)
		return girder_get_json(m->g, ret, "item/%s", id);
	/* The server holds the new name against the folder that it leaves. */
	if (folder && name)
		r = is_taken(m, m->from);
	if (r < 0)
		return r;
	if (r == 0) {
		r = put_item(m->g, id, name, folder, ret);
		if (r == -EEXIST && name) {
			(void)(folder && put_item(m->g, id, NULL, folder_of(m->from), &undone));
			(void)put_item(m->g, id, m->o->name, NULL, &undone);
			return taken();
		}
		return r;
	}
	r = scratch_name(m->o, "new", &scratch);
	if (r == 0)
		r = put_item(m->g, id, scratch, folder, ret);
	if (r == 0)
		r = put_item(m->g, id, name, NULL, ret);
	if (r < 0) {
		(void)put_item(m->g, id, scratch, NULL, &undone);
		(void)put_item(m->g, id, NULL, folder_of(m->from), &undone);
		(void)put_item(m->g, id, m->o->name, NULL, &undone);
		return r == -EEXIST ? taken() : r;
	}
	return 0;
}

static void unplace_item(struct move *m)
{
	_cleanup_(json_freep) struct json *undone = NULL;
	const char *id = girder_id(m->o->id);
	_cleanup_free_ char *scratch = NULL;

	if (!m->across) {
		if (put_item(m->g, id, m->o->name, NULL, &undone) < 0)
			log_warn("%s: %s keeps the name %s: it could not be given back", m->g->session.origin, m->o->name, m->name);
		return;
	}
	if (scratch_name(m->o, "new", &scratch) < 0 || put_item(m->g, id, scratch, folder_of(m->from), &undone) < 0 ||
	    put_item(m->g, id, m->o->name, NULL, &undone) < 0)
		log_warn("%s: %s could not be given back its place", m->g->session.origin, m->o->name);
}

/* Its file's name follows its own. *ret: the file's document. */
static int follow_name(struct move *m, struct json **ret)
{
	const char *file = girder_id(girder_file(m->o->content)), *name = "", *mime = NULL;
	int r = girder_get_json(m->g, ret, "file/%s", file);

	if (r == 0)
		r = json_str(*ret, "name", &name);
	if (r == 0)
		r = json_str_opt(*ret, "mimeType", &mime);
	if (r < 0 || strcmp(name, m->name) == 0)
		return r;
	return put_file(m->g, file, m->name, new_mime(name, mime, m->name), ret);
}

/* What an item has become, from its document and, where it is shown as its file, that one's. */
static int show_moved(struct move *m, const struct json *item, const struct json *file, struct object *ret)
{
	int r;

	if (girder_is(m->o->id, "item-dir"))
		return parse_item_dir(item, m->to->rights, ret);
	if (!file)
		return show_item(m->g, item, m->to->rights, ret);
	r = parse_item(item, m->g->items, m->to->rights, ret);
	if (r == 0) {
		r = parse_merge(file, ret);
		if (r < 0)
			object_done(ret);
	}
	return r;
}

static bool is_one_file(const struct object *o)
{
	return is_item(o) && o->kind == OBJECT_FILE && o->content;
}

static int place(struct move *m, struct object *ret)
{
	_cleanup_(json_freep) struct json *item = NULL, *file = NULL;
	int r;

	if (is_folder(m->o)) {
		const char *name = strcmp(m->name, m->o->name) != 0 ? m->name : NULL;
		_cleanup_(json_freep) struct json *folder = NULL, *undone = NULL;
		_cleanup_free_ char *scratch = NULL;
		bool detour = false;

		if (m->across && name) {
			r = is_taken(m, m->from);
			if (r < 0)
				return r;
			detour = r == 1;
		}
		if (detour) {
			r = scratch_name(m->o, "new", &scratch);
			if (r == 0)
				r = put_folder(m->g, m->o, scratch, m->to, &folder);
			if (r == 0)
				r = put_folder(m->g, m->o, name, NULL, &folder);
			if (r < 0) {
				(void)put_folder(m->g, m->o, NULL, m->from, &undone);
				(void)put_folder(m->g, m->o, m->o->name, NULL, &undone);
			}
		} else if (m->across || name) {
			r = put_folder(m->g, m->o, name, m->across ? m->to : NULL, &folder);
			if (r < 0 && m->across && name)         /* the name is saved before the move is tried */
				(void)put_folder(m->g, m->o, m->o->name, NULL, &undone);
		} else {
			r = girder_get_json(m->g, &folder, "%s", m->o->id);
		}
		return r < 0 ? r : parse_folder(folder, ret);
	}
	r = place_item(m, &item);
	if (r == 0 && is_one_file(m->o)) {
		r = follow_name(m, &file);
		if (r < 0)
			unplace_item(m);
	}
	return r < 0 ? r : show_moved(m, item, file, ret);
}

/* ---- renaming: over another ---- */

/* A name changes hands without a moment in which nobody, or half a thing, has it. Where names are given Girder holds them against what is
 * there, where things are moved to it does not. So what comes gets its name in a folder of ours, is moved beside the old one from
 * there, and the old one is moved into that folder, where it is deleted. Each step but the last can be taken back, again without a
 * gap. */
struct takeover {
	struct move *m;
	struct object aside;            /* the folder */
	enum { NOTHING, AWAY, NOTED, NAMED, BESIDE, OLD_AWAY, DELETED } tried;
	bool noted;                     /* it was given the notes of the old one */
	struct json *item, *file;       /* documents of what comes, at its new place */
};

static bool is_empty(const struct json *j)
{
	return !json_first(j);
}

static int look_described(struct girder *g, const void *what, struct json **ret)
{
	const char *const *path_and_text = what, *is = "";
	int r = girder_get_json(g, ret, "%s", path_and_text[0]);

	if (r == 0)
		r = json_str_opt(*ret, "description", &is);
	return r < 0 ? r : str_eq(is, path_and_text[1]);
}

static int describe(struct girder *g, const char *item, const char *text)
{
	_cleanup_free_ char *encoded = NULL, *path = NULL;
	struct girder_send q = {.method = "PUT"};
	int r = girder_encode(text, &encoded);

	if (r == 0)
		r = str_fmt(&path, "item/%s", item);
	return r < 0 ? r : girder_change(g, &q, look_described, (const char *const[]){path, text}, NULL, "%s?description=%s", path, encoded);
}

static int look_noted(struct girder *g, const void *what, struct json **ret)
{
	int r = girder_get_json(g, ret, "item/%s", (const char *)what);

	return r < 0 ? r : !is_empty(json_get(*ret, "meta"));
}

static int look_not_noted(struct girder *g, const void *what, struct json **ret)
{
	int r = look_noted(g, what, ret);

	return r < 0 ? r : !r;
}

/* A new content that takes a name over takes over what people noted of the old one, if it has no notes of its own: *noted. `back`: what
 * it took is taken from it. */
static int inherit(struct move *m, bool back, bool *noted)
{
	_cleanup_buf_ struct buf old = {0};
	_cleanup_(json_freep) struct json *was = NULL, *is = NULL;
	_cleanup_(meta_change_done) struct meta_change change = {BUF_MAX(1u << 24), BUF_MAX(1u << 24), false};
	const char *meta, *description = "", *own = "", *id = girder_id(m->o->id);
	struct girder_send q = {.method = back ? "DELETE" : "PUT", .type = "application/json"};
	size_t n;
	int r = girder_get(m->g, &old, "item/%s", girder_id(m->over->id));

	if (r == 0)
		r = json_parse(buf_str(&old), old.len, &was);
	if (r == 0)
		r = girder_get_json(m->g, &is, "item/%s", id);
	if (r == 0)
		r = json_str_opt(was, "description", &description);
	if (r == 0)
		r = json_str_opt(is, "description", &own);
	if (r < 0 || (!back && (!is_empty(json_get(is, "meta")) || *own)))
		return r;
	*noted = true;
	if (!is_empty(json_get(was, "meta")) && json_raw_member(buf_str(&old), old.len, "meta", &meta, &n) == 0) {
		q.body = meta;
		q.len = n;
		if (back) {
			r = girder_diff_meta(meta, n, "{}", 2, &change);
			q.body = change.removed.data;
			q.len = change.removed.len;
		}
		if (r == 0)
			r = girder_change(m->g, &q, back ? look_not_noted : look_noted, id, NULL, "item/%s/metadata%s", id,
			                  back ? "" : "?allowNull=true");
	}
	return r < 0 || !*description ? r : describe(m->g, id, back ? "" : description);
}

/* Are both of a kind that keeps notes? */
static bool may_inherit(const struct move *m)
{
	return is_item(m->o) && is_item(m->over) && m->o->kind == OBJECT_FILE && m->over->kind == OBJECT_FILE;
}

/* Directories take the place of empty ones only. Looked at before anything is moved; remove_thing() looks again. */
static int may_be_replaced(struct girder *g, const struct object *over)
{
	int r;

	if (over->kind != OBJECT_DIR)
		return 0;
	if (!is_folder(over)) {
		r = count_files(g, girder_id(over->id), 1);
		return r > 0 ? -ENOTEMPTY : r;
	}
	r = see_empty(g, girder_id(over->id));
	if (r == 0 && !(over->rights & RIGHT_ADMIN))
		r = forbidden("to delete a folder one must have the right to administer it");
	return r;
}

static int make_aside(struct takeover *t)
{
	struct girder *g = t->m->g;
	_cleanup_(json_freep) struct json *made = NULL;
	_cleanup_free_ char *name = NULL;
	int r = str_fmt(&name, "%s%u", g->own_names, atomic_fetch_add(&g->own_folders, 1));

	if (r == 0)
		r = make_folder(g, t->m->to, name, &made);
	return r < 0 ? r : parse_folder(made, &t->aside);
}

/* It is deleted with all that is in it, so nothing may be. `unsure`: something may still come. */
static void drop_aside(struct takeover *t, bool unsure)
{
	struct girder *g = t->m->g;
	int r = unsure ? -EBUSY : see_empty(g, girder_id(t->aside.id));

	if (r == 0)
		r = delete_folder(g, girder_id(t->aside.id));
	if (r < 0) {
		g->own_shown = true;
		log_warn("%s: %s, in which %s was renamed, is left: %s", g->session.origin, t->aside.name, t->m->o->name, strerror(-r));
	}
}

static int take_over(struct takeover *t)
{
	struct move *m = t->m;
	_cleanup_(json_freep) struct json *j = NULL;
	const char *name = strcmp(m->name, m->o->name) != 0 ? m->name : NULL;
	int r;

	t->tried = AWAY;
	r = put_thing(m->g, m->o, NULL, &t->aside, &j);
	if (r == 0 && may_inherit(m)) {
		t->tried = NOTED;
		r = inherit(m, false, &t->noted);
	}
	if (r == 0 && is_one_file(m->o)) {
		t->tried = NAMED;
		r = follow_name(m, &t->file);
	}
	if (r < 0)
		return r;
	t->tried = BESIDE;
	r = put_thing(m->g, m->o, name, m->to, &t->item);
	if (r == 0) {
		t->tried = OLD_AWAY;
		r = put_thing(m->g, m->over, NULL, &t->aside, &j);
	}
	if (r < 0)
		return r;
	t->tried = DELETED;
	return remove_thing(m->g, m->over, false);
}

/* All as it was. Of a step that was tried nobody knows whether it was done: each can be taken back either way. */
static int give_back(struct takeover *t)
{
	struct move *m = t->m;
	_cleanup_(json_freep) struct json *j = NULL;
	const char *file = is_one_file(m->o) ? girder_id(girder_file(m->o->content)) : NULL;
	int r = 0, s;

	if (t->tried >= OLD_AWAY)
		r = put_thing(m->g, m->over, NULL, m->to, &j);
	if (t->tried >= BESIDE) {
		s = put_thing(m->g, m->o, NULL, &t->aside, &j);
		r = r < 0 ? r : s;
	}
	if (t->tried >= NAMED && file) {
		s = put_file(m->g, file, m->o->name, new_mime(m->o->name, m->o->mime, m->name) ? m->o->mime : NULL, &j);
		r = r < 0 ? r : s;
	}
	if (t->tried >= NOTED && t->noted) {
		s = inherit(m, true, &t->noted);
		r = r < 0 ? r : s;
	}
	s = put_thing(m->g, m->o, m->o->name, m->from, &j);
	r = r < 0 ? r : s;
	if (r < 0)
		log_warn("%s: %s and what it was to replace could not be given back all of their places and names: %s", m->g->session.origin,
		         m->o->name, strerror(-r));
	return r;
}

/* The old one under another name beside its own, and back. */
static int set_aside(struct move *m, bool back)
{
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *scratch = NULL;
	int r = scratch_name(m->over, "old", &scratch);

	if (r == 0)
		r = put_thing(m->g, m->over, back ? m->over->name : scratch, NULL, &j);
	if (r < 0 && back)
		log_warn("%s: %s is called %s now: it could not be given back its name", m->g->session.origin, m->over->name, scratch);
	return r;
}

/* For a login that may make folders and not delete them. The name is missing for the time of a request. */
static int rename_over_in_place(struct move *m, struct object *ret)
{
	bool noted = false, placed = false;
	int r = may_inherit(m) ? inherit(m, false, &noted) : 0;

	if (r == 0)
		r = set_aside(m, false);
	if (r == 0) {
		r = place(m, ret);
		placed = r == 0;
		if (r == 0)
			r = remove_thing(m->g, m->over, false);
		if (r < 0 && placed) {
			struct move back = {.g = m->g, .o = ret, .from = m->to, .to = m->from, .name = m->o->name, .across = m->across};
			struct object was = {0};

			if (place(&back, &was) < 0)
				log_warn("%s: %s could not be given back its place", m->g->session.origin, m->o->name);
			object_done(&was);
			object_done(ret);
		}
		if (r < 0)
			(void)set_aside(m, true);
	}
	if (r < 0 && noted)
		(void)inherit(m, true, &noted);         /* what is left of it does no harm */
	return r;
}

/* In the place of what has this name. */
static int rename_over(struct move *m, struct object *ret)
{
	struct takeover t = {.m = m};
	int r = may_be_replaced(m->g, m->over), undone = 0;
	bool unsure;

	if (r == 0 && m->g->keeps_folders)
		return rename_over_in_place(m, ret);
	if (r == 0)
		r = make_aside(&t);
	if (r < 0)
		return r;
	r = take_over(&t);
	unsure = r == -ETIMEDOUT;
	/* The name has changed hands when it is only unknown whether the old one is deleted. */
	if (unsure && t.tried == DELETED)
		r = 0;
	if (r < 0)
		undone = give_back(&t);
	drop_aside(&t, unsure || undone < 0);
	if (r == 0)
		r = is_folder(m->o) ? parse_folder(t.item, ret) : show_moved(m, t.item, t.file, ret);
	object_done(&t.aside);
	json_free(t.item);
	json_free(t.file);
	return r;
}

/* A file within items' directories. */
static int rename_file(struct move *m, struct object *ret)
{
	const char *to = girder_item_of(m->to), *id = girder_id(m->o->id);
	_cleanup_(json_freep) struct json *files = NULL, *doc = NULL, *undone = NULL;
	const char *mime = NULL, *copy = NULL;
	_cleanup_free_ char *copy_id = NULL;
	int r;

	if (!to)
		return -EXDEV;          /* it becomes an item: by a copy */
	r = girder_get_json(m->g, &files, "item/%s/files?limit=0", to);
	for (const struct json *f = json_first(files); r == 0 && f && !m->over; f = json_next(f)) {
		const char *other = "";

		if (has_name(f, m->name) && json_str(f, "_id", &other) == 0 && strcmp(other, id) != 0)
			r = taken();
	}
	if (r < 0)
		return r;
	if (m->across) {
		/* There is no move: a copy that shares the bytes. */
		r = copy_file(m->g, id, to, files, &doc);
		if (r == 0)
			r = json_str(doc, "_id", &copy);
		if (r == 0)
			r = str_dup(copy, &copy_id);
		if (r < 0)
			return r;
		r = put_file(m->g, copy_id, m->name, new_mime(m->o->name, m->o->mime, m->name), &doc);
		if (r == 0 && m->over)
			r = remove_thing(m->g, m->over, false);
		if (r == 0)
			r = remove_thing(m->g, m->o, false);
		if (r < 0) {
			(void)delete(m->g, "file", copy_id);
			return r;
		}
		return parse_file(doc, m->to->rights, ret);
	}
	/* Two files may have one name: it is never missing. */
	mime = new_mime(m->o->name, m->o->mime, m->name);
	r = put_file(m->g, id, m->name, mime, &doc);
	if (r == 0 && m->over) {
		r = remove_thing(m->g, m->over, false);
		if (r < 0)
			(void)put_file(m->g, id, m->o->name, mime ? m->o->mime : NULL, &undone);
	}
	return r < 0 ? r : parse_file(doc, m->to->rights, ret);
}

static int rename_collection(struct move *m, struct object *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	int r;

	if (m->across || m->over || !girder_is(m->o->id, "collection")) {
		backend_note_fault(0, NULL, "collections and users stay where they are, and users keep their names", NULL);
		return -EPERM;
	}
	if (!(m->o->rights & RIGHT_WRITE))
		return forbidden("you may not write here");
	r = put_folder(m->g, m->o, m->name, NULL, &j);
	return r < 0 ? r : parse_folder(j, ret);
}

static int rename_held(struct move *m, struct object *ret)
{
	int r;

	if (girder_is(m->o->id, "file"))
		return rename_file(m, ret);
	if (is_item(m->o) && (!folder_of(m->to) || !folder_of(m->from)))
		return girder_item_of(m->to) ? -EXDEV : -EPERM;         /* items are in folders only */
	if (is_folder(m->o) && (!strchr(m->to->id, '/') || girder_item_of(m->to) || girder_is(m->to->id, "items")))
		return -EPERM;
	if (m->over)
		return rename_over(m, ret);
	r = is_taken(m, m->to);
	if (r < 0)
		return r;
	return r ? taken() : place(m, ret);
}

int girder_rename(struct session *s, const struct object *o, const struct object *from, const struct object *to, const char *name,
                  const struct object *over, struct object *ret)
{
	struct move m = {.g = girder_of(s), .o = o, .from = from, .to = to, .name = name, .over = over,
	                 .across = strcmp(girder_id(from->id), girder_id(to->id)) != 0};
	const char *held[5] = {girder_id(o->id)};
	const int *cancelled;
	size_t n = 1;
	int r;

	if (over && strcmp(over->id, o->id) == 0)
		return girder_stat(s, o, ret);
	if (!girder_is(o->id, "folder") && !is_item(o) && !girder_is(o->id, "file")) {
		r = girder_check_name(name);
		return r < 0 ? r : rename_collection(&m, ret);
	}
	r = may_name(to, name);
	if (r == 0 && !(from->rights & RIGHT_WRITE))
		r = forbidden("you may not write here");
	if (r < 0)
		return r;
	if (over)
		held[n++] = girder_id(over->id);
	if (girder_is(o->id, "file") && girder_item_of(to))
		held[n++] = girder_item_of(to);
	if (girder_is(o->id, "file") && girder_item_of(from) && m.across)
		held[n++] = girder_item_of(from);
	r = girder_hold(m.g, held);
	if (r < 0)
		return r;
	/* An interrupt must not keep half of the steps, or of their undoing, from being made. */
	cancelled = http_set_cancel(NULL);
	r = cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED) ? -EINTR : rename_held(&m, ret);
	(void)http_set_cancel(cancelled);
	girder_release(m.g, held);
	return r;
}

/* ---- copying ---- */

/* The copy's file gets the new name too, else the item would be a directory. */
static int name_copy(struct girder *g, const char *item, const char *name, struct json **ret)
{
	_cleanup_(json_freep) struct json *files = NULL;
	const char *id, *old = "", *mime = NULL;
	int r = girder_get_json(g, &files, "item/%s/files?limit=2", item);

	if (r == 0)
		r = json_str(json_first(files), "_id", &id);
	if (r == 0)
		r = json_str(json_first(files), "name", &old);
	if (r == 0)
		r = json_str_opt(json_first(files), "mimeType", &mime);
	if (r < 0)
		return r;
	if (strcmp(old, name) == 0 || json_next(json_first(files)))
		return girder_get_json(g, ret, "file/%s", id);
	return put_file(g, id, name, new_mime(old, mime, name), ret);
}

static int copy_to_folder(struct girder *g, const struct object *o, const struct object *dir, const char *name, struct object *ret)
{
	_cleanup_(json_freep) struct json *item = NULL, *file = NULL;
	_cleanup_free_ char *encoded = NULL, *question = NULL;
	struct girder_send q = {.method = "POST", .slow = true};
	const char *folder = girder_id(dir->id), *id = NULL;
	struct making m = {girder_now(g), name, "item", NULL};
	int r = free_name(g, folder, name, &encoded, &question);

	if (r < 0)
		return r;
	if (is_item(o)) {
		m.question = question;
		r = girder_change(g, &q, look_made, &m, &item, "item/%s/copy?folderId=%s&name=%s", girder_id(o->id), folder, encoded);
		if (r == 0)
			r = keep_named(g, &q, &m, &item);
		if (r == 0)
			r = json_str(item, "_id", &id);
	} else {
		r = make_item(g, folder, name, &item);
		if (r == 0)
			r = json_str(item, "_id", &id);
		if (r == 0)
			r = copy_file(g, girder_id(girder_file(o->content)), id, NULL, &file);
		json_free(TAKE(file));
	}
	if (r == 0)
		r = name_copy(g, id, name, &file);
	if (r < 0) {
		if (id)
			(void)delete(g, "item", id);
		return r;
	}
	/* The copying wrote the item's size and time after its document was answered. */
	json_free(TAKE(item));
	if (json_str(file, "itemId", &id) < 0)
		return -EBADMSG;
	r = girder_get_json(g, &item, "item/%s", id);
	return r < 0 ? r : show_item(g, item, dir->rights, ret);
}

static int copy_to_item(struct girder *g, const struct object *o, const struct object *dir, const char *name, struct object *ret)
{
	const char *item = girder_item_of(dir), *id;
	_cleanup_(json_freep) struct json *files = NULL, *doc = NULL;
	_cleanup_free_ char *copy = NULL;
	int r = girder_get_json(g, &files, "item/%s/files?limit=0", item);

	for (const struct json *f = json_first(files); r == 0 && f; f = json_next(f))
		if (has_name(f, name))
			r = taken();
	if (r == 0)
		r = copy_file(g, girder_id(girder_file(o->content)), item, files, &doc);
	if (r == 0)
		r = json_str(doc, "_id", &id);
	if (r == 0)
		r = str_dup(id, &copy);
	if (r == 0 && !has_name(doc, name)) {
		r = put_file(g, copy, name, new_mime(o->name, o->mime, name), &doc);
		if (r < 0)
			(void)delete(g, "file", copy);
	}
	return r < 0 ? r : parse_file(doc, dir->rights, ret);
}

int girder_copy(struct session *s, const struct object *o, const struct object *dir, const char *name, struct object *ret)
{
	struct girder *g = girder_of(s);
	const char *const held[] = {girder_item_of(dir) ? girder_item_of(dir) : girder_id(o->id), NULL};
	struct object plan = {0};
	const int *cancelled;
	int r = girder_plan_create(s, dir, name, OBJECT_FILE, &plan);

	object_done(&plan);
	if (r < 0)
		return r;
	if (o->kind != OBJECT_FILE || !o->content)
		return -ENOTSUP;
	r = girder_hold(g, held);
	if (r < 0)
		return r;
	cancelled = http_set_cancel(NULL);
	r = cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED) ? -EINTR :
	    girder_item_of(dir) ? copy_to_item(g, o, dir, name, ret) : copy_to_folder(g, o, dir, name, ret);
	(void)http_set_cancel(cancelled);
	girder_release(g, held);
	return r;
}
