/* tree.c - collections, users, folders, items, files: lookup, list, stat. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/girder/private.h"
#include "base/log.h"

#define PAGE_LARGE 20000        /* entries asked for at once: one request for nearly every folder */
#define LOGIN_TRUST_MS 1000     /* a login that was seen to stand so lately is not looked at again */
#define LOGIN_TRUST_LOOKUP_MS 60000     /* names that are not there are looked up all the time */
#define PAGE_SMALL 500          /* when their metadata makes such a page too long */

static int virtual_dir(const char *id, const char *name, struct object *ret)
{
	struct object o = {.kind = OBJECT_DIR, .rights = RIGHT_READ | RIGHT_PUBLIC};

	if (str_dup(id, &o.id) < 0 || str_dup(name, &o.name) < 0) {
		object_done(&o);
		return -ENOMEM;
	}
	*ret = o;
	return 0;
}

static int push(struct page *io, struct object *o)
{
	int r = vec_push(&io->objects, *o);

	if (r < 0)
		object_done(o);
	return r;
}

enum what { FOLDERS, ITEMS, FILES, ITEM_DIRS };

static int parse_one(struct girder *g, enum what what, const struct json *j, unsigned rights, struct object *ret)
{
	if (what == ITEM_DIRS)
		return parse_item_dir(j, rights, ret);
	return what == FOLDERS ? parse_folder(j, ret) : what == ITEMS ? parse_item(j, g->items, rights, ret)
	                                                                : parse_file(j, rights, ret);
}

/* An array of documents, one at a time: a tree of all of them would cost ten times their text. */
static int take_array(struct girder *g, enum what what, const struct buf *text, unsigned rights, struct page *io, size_t *ret_n)
{
	const char *at;
	size_t pos = 0, n, count = 0;
	int r;

	if (!girder_is_array(text)) {
		backend_note_fault(0, NULL, "the listing is not an array", NULL);
		return -EBADMSG;
	}
	while ((r = json_raw_next(buf_str(text), text->len, &pos, NULL, NULL, &at, &n)) == 1) {
		_cleanup_(json_freep) struct json *j = NULL;
		struct object o = {0};

		count++;
		r = json_parse(at, n, &j);
		if (r == 0)
			r = parse_one(g, what, j, rights, &o);
		if (r == 0 && what == FOLDERS && str_starts(o.name, g->own_names) && !atomic_load(&g->own_shown)) {
			object_done(&o);        /* there for the moment of a rename of ours */
			continue;
		}
		if (r == -EBADMSG) {
			log_warn("%s: an entry that cannot be read is left out: %s", g->session.origin, json_error());
			continue;
		}
		if (r == 0)
			r = push(io, &o);
		if (r < 0)
			return r;
	}
	if (r < 0)
		backend_note_fault(0, NULL, json_error(), NULL);
	*ret_n = count;
	return r;
}

static const char *type_of(const char *id, char ret[16])
{
	size_t n = strcspn(id, "/");

	snprintf(ret, 16, "%.*s", (int)(n < 15 ? n : 15), id);
	return ret;
}

int girder_list(struct session *s, const struct object *dir, struct page *io)
{
	struct girder *g = girder_of(s);
	_cleanup_buf_ struct buf text = {0};
	unsigned offset = 0, limit = PAGE_LARGE;
	char type[16], phase = 'f';
	enum what what;
	size_t n = 0;
	int r;

	type_of(dir->id, type);
	if (strcmp(type, "root") == 0) {
		struct object o;

		r = virtual_dir("collections", "collection", &o);
		if (r == 0)
			r = push(io, &o);
		if (r == 0)
			r = virtual_dir("users", "user", &o);
		return r < 0 ? r : push(io, &o);
	}
	if (girder_item_of(dir))
		phase = 'x';
	else if (strcmp(type, "items") == 0)
		phase = 'd';
	if (io->cursor && sscanf(io->cursor, "%c:%u:%u", &phase, &offset, &limit) != 3)
		return -EINVAL;
again:
	what = phase == 'i' ? ITEMS : phase == 'd' ? ITEM_DIRS : phase == 'x' ? FILES : FOLDERS;
	if (strcmp(type, "collections") == 0)
		r = girder_get(g, &text, "collection?limit=%u&offset=%u&sort=name", limit, offset);
	else if (strcmp(type, "users") == 0)
		r = girder_get(g, &text, "user?limit=%u&offset=%u&sort=login", limit, offset);
	else if (phase == 'x')
		r = girder_get(g, &text, "item/%s/files?limit=%u&offset=%u&sort=name", girder_id(dir->id), limit, offset);
	else if (phase == 'i' || phase == 'd')
		r = girder_get(g, &text, "item?folderId=%s&limit=%u&offset=%u&sort=name", girder_id(dir->id), limit, offset);
	else
		r = girder_get(g, &text, "folder?parentType=%s&parentId=%s&limit=%u&offset=%u&sort=name", type, girder_id(dir->id),
		               limit, offset);
	if (r == -EMSGSIZE && limit != PAGE_SMALL) {
		limit = PAGE_SMALL;
		goto again;
	}
	if (r == 0)
		r = take_array(g, what, &text, dir->rights, io, &n);
	if (r < 0)
		return r;
	free(io->cursor);
	io->cursor = NULL;
	if (n >= limit)
		return str_fmt(&io->cursor, "%c:%u:%u", phase, offset + limit, limit);
	if (phase == 'f' && strcmp(type, "folder") == 0)
		return str_fmt(&io->cursor, "i:0:%u", limit);
	return 0;
}

/* resource/lookup's own escapes within a component. */
static int escape_component(const char *name, struct buf *b)
{
	int r = 0;

	for (; *name && r == 0; name++)
		r = *name == '\\' ? buf_adds(b, "\\\\") : *name == '/' ? buf_adds(b, "\\-") : buf_addc(b, *name);
	return r;
}

static int by_path(struct girder *g, const char *path, struct object *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *encoded = NULL;
	const char *type = "folder";
	int r = girder_encode(path, &encoded);

	if (r == 0)
		r = girder_get_json(g, &j, "resource/lookup?path=%s", encoded);
	if (r == 0)
		r = json_str_opt(j, "_modelType", &type);
	if (r < 0)
		return r;
	if (strcmp(type, "item") == 0) {
		_cleanup_(json_freep) struct json *folder = NULL;
		const char *id = NULL;

		/* Its rights are its folder's. */
		r = json_str(j, "folderId", &id);
		if (r == 0)
			r = girder_get_json(g, &folder, "folder/%s", id);
		return r < 0 ? r : parse_item(j, ITEMS_DIR, parse_rights(folder), ret);
	}
	return strcmp(type, "file") == 0 ? -ENOTDIR : parse_folder(j, ret);
}

int girder_resolve(struct girder *g, const char *path, struct object *ret)
{
	_cleanup_free_ char *whole = NULL;
	size_t n = strlen(path);

	while (n && path[n - 1] == '/')
		n--;
	if (!n)
		return virtual_dir("root", "", ret);
	if (n == 10 && strncmp(path, "collection", n) == 0)
		return virtual_dir("collections", "collection", ret);
	if (n == 4 && strncmp(path, "user", n) == 0)
		return virtual_dir("users", "user", ret);
	if (!str_starts(path, "collection/") && !str_starts(path, "user/"))
		return -ENOENT;
	if (str_fmt(&whole, "/%.*s", (int)n, path) < 0)
		return -ENOMEM;
	return by_path(g, whole, ret);
}

static int lookup_root(struct girder *g, const char *top, const char *name, struct page *io)
{
	_cleanup_buf_ struct buf path = BUF_MAX(65536);
	struct object o;
	int r = buf_addf(&path, "/%s/", top);

	if (r == 0)
		r = escape_component(name, &path);
	if (r == 0)
		r = by_path(g, buf_str(&path), &o);
	if (r == -ENOENT || r == -EINVAL)
		return 0;
	return r < 0 ? r : push(io, &o);
}

static int lookup(struct session *s, const struct object *dir, const char *name, struct page *io)
{
	struct girder *g = girder_of(s);
	_cleanup_buf_ struct buf text = {0};
	_cleanup_free_ char *encoded = NULL;
	char type[16];
	size_t n, k = 0;
	int r;

	type_of(dir->id, type);
	if (strcmp(type, "root") == 0) {
		struct object o;

		if (strcmp(name, "collection") != 0 && strcmp(name, "user") != 0)
			return 0;
		r = virtual_dir(*name == 'c' ? "collections" : "users", name, &o);
		return r < 0 ? r : push(io, &o);
	}
	if (!*name)
		return 0;       /* an empty filter would be none */
	if (strcmp(type, "collections") == 0)
		return lookup_root(g, "collection", name, io);
	if (strcmp(type, "users") == 0)
		return lookup_root(g, "user", name, io);
	if (girder_item_of(dir)) {
		r = girder_get(g, &text, "item/%s/files?limit=0", girder_id(dir->id));
		if (r == 0)
			r = take_array(g, FILES, &text, dir->rights, io, &n);
		if (r < 0)
			return r;
		for (size_t i = 0; i < io->objects.n; i++) {
			struct object *o = &io->objects.at[i];

			if (strcmp(o->name, name) == 0)
				io->objects.at[k++] = *o;
			else
				object_done(o);
		}
		io->objects.n = k;
		return 0;
	}
	r = girder_encode(name, &encoded);
	if (r == 0 && strcmp(type, "items") == 0) {
		r = girder_get(g, &text, "item?folderId=%s&name=%s&limit=50", girder_id(dir->id), encoded);
		return r < 0 ? r : take_array(g, ITEM_DIRS, &text, dir->rights, io, &n);
	}
	if (r == 0)
		r = girder_get(g, &text, "folder?parentType=%s&parentId=%s&name=%s&limit=50", type, girder_id(dir->id), encoded);
	if (r == 0)
		r = take_array(g, FOLDERS, &text, dir->rights, io, &n);
	/* A folder keeps the name before an item that has it too (after a move); that one is met by its decorated name. */
	if (r < 0 || io->objects.n || strcmp(type, "folder") != 0)
		return r;
	r = girder_get(g, &text, "item?folderId=%s&name=%s&limit=50", girder_id(dir->id), encoded);
	return r < 0 ? r : take_array(g, ITEMS, &text, dir->rights, io, &n);
}

int girder_lookup(struct session *s, const struct object *dir, const char *name, struct page *io)
{
	int r = lookup(s, dir, name, io);

	if (r == 0 && !io->objects.n && *name && strcmp(dir->id, "root") != 0) {
		r = girder_login_ended(girder_of(s), LOGIN_TRUST_LOOKUP_MS);
		if (r == 1)
			r = lookup(s, dir, name, io);
	}
	return r;
}

/* A link's size is known only to where it leads. */
static int probe_size(struct girder *g, struct object *o)
{
	_cleanup_free_ char *url = NULL;
	const char *file = girder_file(o->content);
	struct secret *token = girder_token(g);
	struct http_request q = {.auth_header = "Girder-Token", .auth = token, .has_range = true, .first = 0, .last = 0,
	                         .total = UINT64_MAX, .priority = HTTP_META, .max_body = 4096};
	struct http_reply reply;
	char value[100];
	uint64_t size;
	const char *total;
	int r = str_fmt(&url, "%s/%s/download", g->api, file);

	if (r < 0) {
		secret_unref(token);
		return r;
	}
	q.url = url;
	r = http_call(g->session.http, &q, &reply);
	if (r == 0 && reply.status == 206 && http_header(&reply, "Content-Range", value, sizeof(value)) == 0 &&
	    (total = strrchr(value, '/')) && str_parse_u64(total + 1, &size) == 0)
		o->size = size;
	else if (r == 0 && reply.status == 200 && http_header(&reply, "Content-Length", value, sizeof(value)) == 0 &&
	         str_parse_u64(value, &size) == 0)
		o->size = size;
	http_reply_done(&reply);
	secret_unref(token);
	if (o->size == OBJECT_SIZE_UNKNOWN) {
		/* It stays a file that cannot be opened; the listing around it is not to fail. */
		free(o->error);
		return str_dup("where the link leads does not tell the size", &o->error);
	}
	return str_fmt(&o->version, "%s:%lld.%03ld:%llu", girder_id(o->id), (long long)o->mtime.tv_sec, o->mtime.tv_nsec / 1000000,
	               (unsigned long long)o->size);
}

static int stat_item(struct girder *g, const struct object *o, struct object *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	struct object now = {0};
	int r;

	/* A file that is known: its own document tells whether its bytes stand. */
	if (o->kind == OBJECT_FILE && o->content && !str_starts(o->content, "link-")) {
		struct object file = {0};

		r = girder_get_json(g, &j, "%s", girder_file(o->content));
		if (r == 0)
			r = parse_file(j, o->rights, &file);
		if (r == 0)
			r = object_copy(o, &now);
		if (r == 0 && str_eq(file.version, o->version)) {
			object_done(&file);
			*ret = now;
			return 0;
		}
		object_done(&file);
		object_done(&now);
		json_free(TAKE(j));
		if (r < 0 && r != -ENOENT)
			return r;
	}
	r = girder_get_json(g, &j, "item/%s/files?limit=%d&sort=name", girder_id(o->id), g->items == ITEMS_FILE ? 0 : 2);
	if (r == 0)
		r = object_copy(o, &now);
	if (r == 0)
		r = g->items == ITEMS_DIR ? 0 : parse_classify(j, g->items, &now);
	if (r == 0 && now.kind == OBJECT_FILE && now.size == OBJECT_SIZE_UNKNOWN)
		r = probe_size(g, &now);
	if (r < 0) {
		object_done(&now);
		return r;
	}
	*ret = now;
	return 0;
}

/* `.scifs/items` of a folder: the folder by another name. */
static int stat_items(struct girder *g, const struct object *o, struct object *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	struct object folder = {0};
	char *id;
	int r = girder_get_json(g, &j, "folder/%s", girder_id(o->id));

	if (r == 0)
		r = parse_folder(j, &folder);
	if (r == 0)
		r = str_dup(o->id, &id);
	if (r < 0) {
		object_done(&folder);
		return r;
	}
	free(folder.id);
	folder.id = id;
	*ret = folder;
	return 0;
}

int girder_control_object(struct session *s, const struct object *about, const char *name, struct object *ret)
{
	struct object o = {0};
	char *id;
	int r;

	(void)s;
	if (strcmp(name, "items") != 0 || !girder_is(about->id, "folder"))
		return -ENOENT;
	r = object_copy(about, &o);
	if (r == 0)
		r = str_fmt(&id, "items/%s", girder_id(about->id));
	if (r < 0) {
		object_done(&o);
		return r;
	}
	free(o.id);
	o.id = id;
	free(o.name);
	o.name = NULL;
	r = str_dup(name, &o.name);
	if (r < 0) {
		object_done(&o);
		return r;
	}
	*ret = o;
	return 0;
}

static int look_at(struct girder *g, const struct object *o, struct object *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	int r;

	if (girder_is(o->id, "item"))
		return stat_item(g, o, ret);
	if (girder_is(o->id, "items"))
		return stat_items(g, o, ret);
	if (girder_is(o->id, "item-dir")) {
		r = girder_get_json(g, &j, "item/%s", girder_id(o->id));
		return r < 0 ? r : parse_item_dir(j, o->rights, ret);
	}
	r = girder_get_json(g, &j, "%s", o->id);
	if (r < 0)
		return r;
	if (!girder_is(o->id, "file"))
		return parse_folder(j, ret);
	r = parse_file(j, o->rights, ret);
	if (r == 0 && ret->size == OBJECT_SIZE_UNKNOWN)
		r = probe_size(g, ret);
	if (r < 0)
		object_done(ret);
	return r;
}

int girder_stat(struct session *s, const struct object *o, struct object *ret)
{
	struct girder *g = girder_of(s);
	int r;

	if (!strchr(o->id, '/'))
		return object_copy(o, ret);
	r = look_at(g, o, ret);
	if (r == -ENOENT) {
		/* Gone, or hidden from somebody who is not logged in any more. */
		r = girder_login_ended(g, LOGIN_TRUST_MS);
		r = r == 1 ? look_at(g, o, ret) : r < 0 ? r : -ENOENT;
	}
	return r;
}

/* Three small requests tell whether a folder's listing may have moved: its own time and size, its newest item and their
 * number, its newest subfolder and their number. A content replaced by one of equal size is not seen, open() sees that. */
int girder_changed(struct session *s, const struct object *dir, char **fingerprint)
{
	struct girder *g = girder_of(s);
	_cleanup_(json_freep) struct json *folder = NULL, *items = NULL, *folders = NULL, *details = NULL;
	_cleanup_free_ char *now = NULL;
	const char *updated = "", *item = "", *sub = "";
	uint64_t size = 0, n_items = 0, n_folders = 0;
	int r;

	if (!girder_is(dir->id, "folder"))
		return 1;
	r = girder_get_json(g, &folder, "%s", dir->id);
	if (r == 0)
		r = girder_get_json(g, &details, "%s/details", dir->id);
	if (r == 0)
		r = girder_get_json(g, &items, "item?folderId=%s&limit=1&sort=updated&sortdir=-1", girder_id(dir->id));
	if (r == 0)
		r = girder_get_json(g, &folders, "folder?parentType=folder&parentId=%s&limit=1&sort=updated&sortdir=-1",
		                    girder_id(dir->id));
	if (r == 0)
		r = json_str_opt(folder, "updated", &updated);
	if (r == 0)
		r = json_u64_opt(folder, "size", &size);
	if (r == 0)
		r = json_u64_opt(details, "nItems", &n_items);
	if (r == 0)
		r = json_u64_opt(details, "nFolders", &n_folders);
	if (r == 0 && json_first(items))
		r = json_str_opt(json_first(items), "updated", &item);
	if (r == 0 && json_first(folders))
		r = json_str_opt(json_first(folders), "updated", &sub);
	if (r == 0)
		r = str_fmt(&now, "%s|%llu|%llu|%llu|%s|%s", updated, (unsigned long long)size, (unsigned long long)n_items,
		            (unsigned long long)n_folders, item, sub);
	if (r < 0)
		return r;
	r = !str_eq(now, *fingerprint);
	free(*fingerprint);
	*fingerprint = TAKE(now);
	return r;
}
