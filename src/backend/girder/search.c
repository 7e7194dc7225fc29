/* search.c - what a query finds, and where a thing is in the tree. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/girder/private.h"
#include "base/log.h"

#define ID_LENGTH 24

static const char *const types[] = {"collection", "folder", "item", "file", "user"};
#define TYPES (sizeof(types) / sizeof(types[0]))

static int type_index(const char *name, size_t n)
{
	for (size_t i = 0; i < TYPES; i++)
		if (strlen(types[i]) == n && strncmp(types[i], name, n) == 0)
			return (int)i;
	return -1;
}

/* ---- an expression: WORDS;mode=text|prefix;types=item,folder;limit=N ---- */

static int parse_types(const char *list, struct girder_query *q, char **why)
{
	q->types = 0;
	while (*list) {
		size_t n = strcspn(list, ",");
		int i = type_index(list, n);

		if (i < 0) {
			(void)str_fmt(why, "types=: \"%.*s\" is none of collection, folder, item, file, user", (int)n, list);
			return -EINVAL;
		}
		q->types |= 1u << i;
		list += n + (list[n] == ',');
	}
	return 0;
}

static int parse_suffix(char *s, struct girder_query *q, char **why)
{
	char *value = strchr(s, '=');
	uint64_t n;

	*value++ = 0;
	if (strcmp(s, "mode") == 0) {
		q->prefix = strcmp(value, "prefix") == 0;
		if (q->prefix || strcmp(value, "text") == 0)
			return 0;
		(void)str_fmt(why, "mode=%s: one of text, prefix", value);
	} else if (strcmp(s, "types") == 0) {
		return parse_types(value, q, why);
	} else if (strcmp(s, "limit") == 0) {
		if (str_parse_u64(value, &n) == 0 && n > 0 && n <= GIRDER_QUERY_MAX) {
			q->limit = (unsigned)n;
			return 0;
		}
		(void)str_fmt(why, "limit=%s: a number from 1 to %d", value, GIRDER_QUERY_MAX);
	} else {
		(void)str_fmt(why, ";%s=: one of mode, types, limit", s);
	}
	return -EINVAL;
}

static bool is_suffix(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz");

	return n && s[n] == '=';
}

int girder_parse_query(const char *expr, struct girder_query *ret, char **why)
{
	struct girder_query q = {.limit = GIRDER_QUERY_MAX, .types = 1u << 0 | 1u << 1 | 1u << 2 | 1u << 4};
	char *semicolon;
	int r = str_dup(expr, &q.words);

	if (r < 0)
		return r;
	while ((semicolon = strrchr(q.words, ';')) && is_suffix(semicolon + 1)) {
		*semicolon = 0;
		r = parse_suffix(semicolon + 1, &q, why);
		if (r < 0) {
			str_make_printable(why);        /* it quotes what somebody typed */
			free(q.words);
			return r;
		}
	}
	if (!*q.words || (!q.prefix && !q.words[strspn(q.words, " \t.,:;!?*+-_/\\'\"()[]{}")])) {
		(void)str_dup("nothing to search for: words are wanted", why);
		free(q.words);
		return -EINVAL;
	}
	*ret = q;
	return 0;
}

/* ---- the answers ---- */

/* Does a found document lie where was searched? `in` is a collection, a user, a folder, an item, or all of the first two. */
static bool lies_in(const struct json *j, const char *in)
{
	static const struct {
		const char *type, *field;
	} fields[] = {
		{"collection", "baseParentId"}, {"user", "baseParentId"}, {"folder", "parentId"}, {"folder", "folderId"}, {"item", "itemId"},
	};
	const char *id = girder_id(in), *type = NULL;

	if (!strchr(in, '/')) {
		if (json_str_opt(j, "baseParentType", &type) < 0 || (!type && json_str_opt(j, "_modelType", &type) < 0) || !type)
			return false;
		return strncmp(in, type, strlen(type)) == 0;    /* "collections" holds what is a collection or in one */
	}
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const char *v = NULL;

		if (girder_is(in, fields[i].type) && json_str_opt(j, fields[i].field, &v) == 0 && v && strcmp(v, id) == 0)
			return true;
	}
	return false;
}

static int take_one(struct girder *g, const struct json *j, const char *type, const char *in, struct page *io)
{
	struct object o = {0};
	int r;

	if (in && !lies_in(j, in))
		return 0;
	if (strcmp(type, "item") == 0)
		r = parse_item(j, g->items, RIGHT_READ, &o);
	else if (strcmp(type, "file") == 0)
		r = parse_file(j, RIGHT_READ, &o);
	else
		r = parse_folder(j, &o);
	if (r == -EBADMSG) {
		log_warn("%s: a hit that cannot be read is left out: %s", g->session.origin, json_error());
		return 0;
	}
	if (r < 0)
		return r;
	r = vec_push(&io->objects, o);
	if (r < 0)
		object_done(&o);
	return r;
}

static int take_hits(struct girder *g, const char *text, size_t len, const char *type, const char *in, struct page *io)
{
	const char *at;
	size_t pos = 0, n;
	int r;

	while ((r = json_raw_next(text, len, &pos, NULL, NULL, &at, &n)) == 1) {
		_cleanup_(json_freep) struct json *j = NULL;

		r = json_parse(at, n, &j);
		if (r == 0)
			r = take_one(g, j, type, in, io);
		if (r < 0 && r != -EBADMSG)
			return r;
	}
	return r;
}

/* The site's own search; `in` (or NULL) is where hits must lie. */
static int search_site(struct girder *g, const struct girder_query *q, const char *in, struct page *io)
{
	_cleanup_buf_ struct buf list = BUF_MAX(200), text = {0};
	_cleanup_free_ char *words = NULL, *encoded = NULL;
	unsigned limit = in ? GIRDER_QUERY_WIDE : q->limit;
	int r = buf_addc(&list, '[');

	for (size_t i = 0; r == 0 && i < TYPES; i++)
		if (q->types & 1u << i)
			r = buf_addf(&list, "%s\"%s\"", list.len > 1 ? "," : "", types[i]);
	if (r == 0)
		r = buf_addc(&list, ']');
	if (r == 0)
		r = girder_encode(buf_str(&list), &encoded);
	if (r == 0)
		r = girder_encode(q->words, &words);
	if (r == 0)
		r = girder_get(g, &text, "resource/search?q=%s&mode=%s&types=%s&limit=%u", words, q->prefix ? "prefix" : "text", encoded,
		               limit);
	for (size_t i = 0; r == 0 && i < TYPES; i++) {
		const char *at;
		size_t n;

		r = json_raw_member(buf_str(&text), text.len, types[i], &at, &n);
		if (r == 0)
			r = take_hits(g, at, n, types[i], in, io);
		else if (r == -ENOENT)
			r = 0;
	}
	return r;
}

/* A folder's own search: its items and its folders, each by one request. */
static int search_folder(struct girder *g, const struct girder_query *q, const char *folder, struct page *io)
{
	_cleanup_buf_ struct buf text = {0};
	_cleanup_free_ char *words = NULL;
	int r = girder_encode(q->words, &words);

	if (r == 0 && q->types & 1u << type_index("folder", 6)) {
		r = girder_get(g, &text, "folder?parentType=folder&parentId=%s&text=%s&limit=%u&sort=name", girder_id(folder), words, q->limit);
		if (r == 0)
			r = girder_is_array(&text) ? take_hits(g, buf_str(&text), text.len, "folder", NULL, io) : -EBADMSG;
	}
	if (r == 0 && q->types & 1u << type_index("item", 4)) {
		r = girder_get(g, &text, "item?folderId=%s&text=%s&limit=%u&sort=name", girder_id(folder), words, q->limit);
		if (r == 0)
			r = girder_is_array(&text) ? take_hits(g, buf_str(&text), text.len, "item", NULL, io) : -EBADMSG;
	}
	return r;
}

/* Of a mount of a part of the site: what lies elsewhere is left out. */
static int keep_what_is_mounted(struct girder *g, struct page *io)
{
	size_t k = 0;
	int r = 0;

	for (size_t i = 0; i < io->objects.n; i++) {
		_cleanup_(page_done) struct page way = {0};
		struct object *o = &io->objects.at[i];

		if (r == 0)
			r = girder_locate(&g->session, o->id, &way);
		if (r == 0) {
			struct object kept = *o;

			memset(o, 0, sizeof(*o));
			io->objects.at[k++] = kept;
			continue;
		}
		if (r == -EXDEV || r == -ENOENT || r == -EACCES)
			r = 0;
		object_done(o);
	}
	io->objects.n = k;
	return r;
}

static void cut(struct page *io, unsigned most)
{
	while (io->objects.n > most)
		object_done(&io->objects.at[--io->objects.n]);
}

int girder_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why)
{
	struct girder *g = girder_of(s);
	struct girder_query q;
	bool top = strcmp(dir->id, g->root.id) == 0;
	int r = girder_parse_query(expr, &q, why);

	if (r < 0)
		return r;
	if (strcmp(dir->id, "root") == 0)
		r = search_site(g, &q, NULL, io);
	else if (girder_is(dir->id, "folder") && !top && !q.prefix && !(q.types & 1u << type_index("file", 4)))
		r = search_folder(g, &q, dir->id, io);
	else
		r = search_site(g, &q, top && girder_is(dir->id, "folder") ? NULL : dir->id, io);
	if (r == 0)
		cut(io, q.limit);
	if (r == 0 && top && girder_is(dir->id, "folder"))
		r = keep_what_is_mounted(g, io);
	free(q.words);
	return r;
}

int girder_check_query(struct session *s, const struct object *dir, const char *expr, char **why)
{
	struct girder_query q;
	int r = girder_parse_query(expr, &q, why);

	if (r == 0)
		free(q.words);
	return r;
}

/* ---- where a thing is ---- */

static bool is_object_id(const char *s)
{
	return strspn(s, "0123456789abcdef") == ID_LENGTH && !s[ID_LENGTH];
}

/* The last "TYPE/ID" of an address: the web pages' "#item/ID", "#collection/ID/folder/ID", the API's "file/ID/download". */
int girder_id_of_url(const char *url, char **ret)
{
	const char *best = NULL;

	for (size_t i = 0; i < TYPES; i++) {
		size_t n = strlen(types[i]);

		for (const char *p = strstr(url, types[i]); p; p = strstr(p + 1, types[i]))
			if (p > url && (p[-1] == '/' || p[-1] == '#') && p[n] == '/' && p > best &&
			    strspn(p + n + 1, "0123456789abcdef") == ID_LENGTH && (!p[n + 1 + ID_LENGTH] || strchr("/?#", p[n + 1 + ID_LENGTH])))
				best = p;
	}
	return best ? str_fmt(ret, "%.*s", (int)(strcspn(best, "/") + 1 + ID_LENGTH), best) : -ENOENT;
}

static int virtual_top(const char *type, struct page *io)
{
	struct object o = {.kind = OBJECT_DIR, .rights = RIGHT_READ | RIGHT_PUBLIC};

	if (str_fmt(&o.id, "%ss", type) < 0 || str_dup(type, &o.name) < 0 || vec_push(&io->objects, o) < 0) {
		object_done(&o);
		return -ENOMEM;
	}
	return 0;
}

static int push_doc(const struct json *j, struct page *io)
{
	struct object o;
	int r = parse_folder(j, &o);

	if (r == 0) {
		r = vec_push(&io->objects, o);
		if (r < 0)
			object_done(&o);
	}
	return r;
}

/* What is above a folder or an item, from /collection or /user on. */
static int parents(struct girder *g, const char *id, struct page *io)
{
	_cleanup_(json_freep) struct json *j = NULL;
	const char *type = NULL;
	int r = girder_get_json(g, &j, "%s/rootpath", id);

	if (r == -EACCES)
		return -EXDEV;  /* it can be read, what holds it cannot: the tree does not show it */
	if (r == 0 && !json_is_array(j))
		r = -EBADMSG;
	for (const struct json *e = json_first(j); e && r == 0; e = json_next(e)) {
		const struct json *doc = json_get(e, "object");

		r = json_str(e, "type", &type);
		if (r == 0 && !io->objects.n)
			r = virtual_top(type, io);
		if (r == 0)
			r = push_doc(doc, io);
	}
	return r;
}

static int locate_item(struct girder *g, const char *id, struct page *io)
{
	_cleanup_(json_freep) struct json *j = NULL;
	struct object o;
	int r = girder_get_json(g, &j, "%s", id);

	if (r == 0)
		r = parents(g, id, io);
	if (r == 0)
		r = parse_item(j, g->items, RIGHT_READ, &o);
	if (r == 0) {
		r = vec_push(&io->objects, o);
		if (r < 0)
			object_done(&o);
	}
	return r;
}

/* A file is in its item, or the item is shown as that file. */
static int locate_file(struct girder *g, const char *id, struct page *io)
{
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *item = NULL;
	struct object file = {0}, now = {0}, *shown;
	const char *in = NULL;
	int r = girder_get_json(g, &j, "%s", id);

	if (r == 0)
		r = json_str(j, "itemId", &in);
	if (r == 0)
		r = is_object_id(in) ? str_fmt(&item, "item/%s", in) : -EBADMSG;
	if (r == 0)
		r = locate_item(g, item, io);
	if (r == 0 && !io->objects.n)
		r = -EBADMSG;
	if (r < 0)
		return r;
	shown = &io->objects.at[io->objects.n - 1];
	r = girder_stat(&g->session, shown, &now);
	if (r == 0 && now.kind == OBJECT_DIR)
		r = parse_file(j, RIGHT_READ, &file);
	if (r == 0 && now.kind == OBJECT_DIR)
		r = vec_push(&io->objects, file);
	else if (r == 0 && now.content && strcmp(girder_file(now.content), id) != 0)
		r = -EXDEV;     /* items=file shows another one of its files */
	if (r < 0)
		object_done(&file);
	object_done(&now);
	return r;
}

static int locate_known(struct girder *g, const char *id, struct page *io)
{
	_cleanup_(json_freep) struct json *j = NULL;
	int r;

	if (girder_is(id, "item"))
		return locate_item(g, id, io);
	if (girder_is(id, "file"))
		return locate_file(g, id, io);
	r = girder_get_json(g, &j, "%s", id);
	if (r == 0)
		r = girder_is(id, "folder") ? parents(g, id, io) : virtual_top(girder_is(id, "user") ? "user" : "collection", io);
	return r < 0 ? r : push_doc(j, io);
}

/* A bare id does not say of what: the kinds are tried. */
static int locate_bare(struct girder *g, const char *bare, struct page *io)
{
	static const char *const order[] = {"item", "folder", "file", "collection", "user"};
	int r = -ENOENT;

	for (size_t i = 0; r == -ENOENT && i < TYPES; i++) {
		_cleanup_free_ char *id = NULL;

		r = str_fmt(&id, "%s/%s", order[i], bare);
		if (r == 0)
			r = locate_known(g, id, io);
	}
	return r;
}

/* From the site's root to the mount's. */
static int below_root(struct girder *g, struct page *io)
{
	size_t cut_to = 0, n = io->objects.n;

	if (strcmp(g->root.id, "root") == 0)
		return 0;
	while (cut_to < n && strcmp(io->objects.at[cut_to].id, g->root.id) != 0)
		cut_to++;
	if (cut_to++ == n)
		return -EXDEV;
	for (size_t i = 0; i < cut_to; i++)
		object_done(&io->objects.at[i]);
	memmove(io->objects.at, io->objects.at + cut_to, (n - cut_to) * sizeof(io->objects.at[0]));
	io->objects.n = n - cut_to;
	return 0;
}

int girder_locate(struct session *s, const char *id, struct page *io)
{
	struct girder *g = girder_of(s);
	_cleanup_free_ char *known = NULL;
	size_t n = strcspn(id, "/");
	int r = 0;

	if (strstr(id, "://")) {
		r = str_starts(id, g->session.origin) ? girder_id_of_url(id, &known) : -ENOENT;
		id = known;
	} else if (type_index(id, n) >= 0 && !id[n]) {
		return -EISDIR;
	} else if (strcmp(id, "root") == 0) {
		return strcmp(g->root.id, "root") == 0 ? 0 : -EXDEV;
	} else if (strcmp(id, "collections") == 0 || strcmp(id, "users") == 0) {
		r = virtual_top(*id == 'c' ? "collection" : "user", io);
		return r < 0 ? r : below_root(g, io);
	}
	if (r == 0 && is_object_id(id))
		r = locate_bare(g, id, io);
	else if (r == 0)
		r = type_index(id, strcspn(id, "/")) >= 0 && is_object_id(girder_id(id)) ? locate_known(g, id, io) : -ENOENT;
	return r < 0 ? r : below_root(g, io);
}
