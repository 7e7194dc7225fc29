/* set.c - attributes and documents written back: metadata, descriptions, types.
 *
 * Girder merges the members of what it is sent into `meta`, null taking one away. A nested key is changed within its topmost one, whose
 * other members are sent back as the server wrote them, byte for byte. What the server would store and then choke on (1e999) or
 * refuse with a crash (an integer beyond 64 bits) is refused here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/girder/private.h"

#define DOCUMENT_MAX (15u << 20)        /* the database takes 16 MB in all */
#define META_DEPTH_MAX (JSON_DEPTH_MAX - 8)     /* it is read within a document within a list */

static int refuse(const char *format, const char *what)
{
	_cleanup_free_ char *words = NULL;

	if (str_fmt(&words, format, what) == 0)
		backend_note_fault(0, NULL, words, NULL);
	return -EINVAL;
}

/* ---- an object's text, one member of it changed: pure ---- */

static int add_member(struct buf *b, const char *key, size_t key_n, const char *value, size_t n)
{
	int r = b->len > 1 ? buf_adds(b, ", ") : 0;

	if (r == 0)
		r = buf_addf(b, "\"%.*s\": ", (int)key_n, key);
	return r ? r : buf_add(b, value, n);
}

/* The member that `path` speaks of: its name in full, or its name and a dot, and the member an object. The longest such. 1: *ret_rest
 * is what is left of the path ("" for the member itself); 0: none; -ENOTDIR: one, that has no members. */
static int find_member(const char *text, size_t n, const char *path, size_t *ret_pos, const char **ret_rest)
{
	const char *key, *value;
	size_t pos = 0, from, key_n, value_n, longest = 0;
	bool blocked = false;
	int r;

	for (from = 0; (r = json_raw_next(text, n, &pos, &key, &key_n, &value, &value_n)) == 1; from = pos) {
		_cleanup_free_ char *name = NULL;
		size_t l;

		r = attrs_key(key, key_n, &name);
		if (r == -ENAMETOOLONG)
			continue;
		if (r < 0)
			return r;
		l = strlen(name);
		if (strcmp(name, path) == 0) {
			*ret_pos = from;
			*ret_rest = path + l;
			return 1;
		}
		if (l && str_starts(path, name) && path[l] == '.' && path[l + 1]) {
			if (*value != '{') {
				blocked = true;
			} else if (l > longest) {
				longest = l;
				*ret_pos = from;
				*ret_rest = path + l + 1;
			}
		}
	}
	return r < 0 ? r : longest ? 1 : blocked ? -ENOTDIR : 0;
}

/* {"b": {"c": VALUE}} for the path "b.c", without the outer braces' own name; a name as the user wrote it, escapes undone. */
static int new_members(struct buf *b, const char *path, const char *value, size_t n)
{
	_cleanup_free_ char *part = NULL, *name = NULL, *shown = NULL;
	_cleanup_buf_ struct buf inner = BUF_MAX(DOCUMENT_MAX), quoted = BUF_MAX(DOCUMENT_MAX);
	const char *dot = strchr(path, '.');
	int r = str_fmt(&part, "%.*s", (int)(dot ? dot - path : (long)strlen(path)), path);

	if (r == 0 && (!*part || (dot && !dot[1])))
		return refuse("%s: a key has no name", path);
	if (r == 0)
		r = str_percent_decode(part, &name) == 0 ? 0 : str_dup(part, &name);
	if (r == 0)
		r = json_write_str(&quoted, name);
	/* Only what an attribute's name cannot hold was escaped: "%41" is not how it shows an A. */
	if (r == 0)
		r = attrs_key(quoted.data + 1, quoted.len - 2, &shown);
	if (r == -ENAMETOOLONG || (r == 0 && strcmp(shown, part) != 0)) {
		buf_clear(&quoted);
		r = json_write_str(&quoted, part);
	}
	if (r == 0 && dot) {
		r = buf_addc(&inner, '{');
		if (r == 0)
			r = new_members(&inner, dot + 1, value, n);
		if (r == 0)
			r = buf_addc(&inner, '}');
		value = buf_str(&inner);
		n = inner.len;
	}
	return r < 0 ? r : add_member(b, quoted.data + 1, quoted.len - 2, value, n);
}

/* Does a value show as this text? */
static bool shows_as(const char *value, size_t n, const char *text, size_t len)
{
	_cleanup_free_ char *own = NULL;

	if (n && *value == '"')
		return json_raw_text(value, n, &own) == 0 && strlen(own) == len && memcmp(own, text, len) == 0;
	return n == len && memcmp(value, text, n) == 0;
}

/* *ret = the object `text` with the member at `path` set to the attribute's text, or (NULL) taken away. -ENODATA: it was not there. */
static int edit(const char *text, size_t n, const char *path, const char *attr, size_t len, const char *value, size_t value_n,
                unsigned depth, struct buf *ret)
{
	const char *key, *old, *rest = NULL;
	size_t pos = 0, from = 0, at = SIZE_MAX, key_n, old_n;
	int found, r;

	if (depth > META_DEPTH_MAX)
		return refuse("%s: nested too deeply", path);
	found = find_member(text, n, path, &at, &rest);
	if (found == -ENOTDIR)
		return attr ? refuse("%s: what it is to be in is no object", path) : -ENODATA;
	if (found < 0)
		return found;
	if (!found && !attr)
		return -ENODATA;
	r = buf_addc(ret, '{');
	for (; r == 0 && (r = json_raw_next(text, n, &pos, &key, &key_n, &old, &old_n)) == 1; from = pos) {
		r = 0;
		if (!found || from != at) {
			r = add_member(ret, key, key_n, old, old_n);
		} else if (!*rest) {
			if (attr && shows_as(old, old_n, attr, len))
				r = add_member(ret, key, key_n, old, old_n);
			else if (attr)
				r = add_member(ret, key, key_n, value, value_n);
		} else {
			_cleanup_buf_ struct buf inner = BUF_MAX(DOCUMENT_MAX);

			r = edit(old, old_n, rest, attr, len, value, value_n, depth + 1, &inner);
			if (r == 0)
				r = add_member(ret, key, key_n, buf_str(&inner), inner.len);
		}
	}
	if (r == 0 && !found)
		r = new_members(ret, path, value, value_n);
	return r < 0 ? r : buf_addc(ret, '}');
}

/* The text of an attribute as JSON: as it is where it is some, else as a string. */
static int as_json(const char *path, const char *text, size_t len, struct buf *ret)
{
	static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
	int r = json_check(text, len);

	if (r == 0)
		return buf_add(ret, text, len);
	if (r == -ERANGE)
		return refuse("%s: a number that the server cannot keep", path);
	if (r != -EBADMSG)
		return r;
	for (size_t i = 0; i < 3; i++)
		if (strcmp(text, words[i]) == 0)
			return refuse("%s: the server keeps no such number", path);
	if (memchr(text, 0, len) || !str_utf8_valid(text, len))
		return refuse("%s: a value is JSON or UTF-8 text", path);
	return json_write_str(ret, text);
}

/* The members of one JSON object put into another; null takes away. */
static int merge(const char *text, size_t n, const char *more, size_t more_n, struct buf *ret)
{
	_cleanup_buf_ struct buf now = BUF_MAX(DOCUMENT_MAX);
	const char *key, *value, *k, *v;
	size_t pos = 0, key_n, value_n, k_n, v_n;
	int r = buf_add(&now, text, n);

	while (r == 0 && (r = json_raw_next(more, more_n, &pos, &key, &key_n, &value, &value_n)) == 1) {
		_cleanup_buf_ struct buf next = BUF_MAX(DOCUMENT_MAX);
		_cleanup_free_ char *name = NULL;
		size_t at = 0;
		bool done = value_n == 4 && memcmp(value, "null", 4) == 0;

		r = json_raw_text(key, key_n, &name);
		if (r == 0)
			r = buf_addc(&next, '{');
		while (r == 0 && (r = json_raw_next(buf_str(&now), now.len, &at, &k, &k_n, &v, &v_n)) == 1) {
			_cleanup_free_ char *other = NULL;

			r = json_raw_text(k, k_n, &other);
			if (r < 0)
				break;
			if (strcmp(other, name) != 0) {
				r = add_member(&next, k, k_n, v, v_n);
			} else if (!done) {
				r = add_member(&next, k, k_n, value, value_n);
				done = true;
			}
		}
		if (r == 0 && !done)
			r = add_member(&next, key, key_n, value, value_n);
		if (r == 0)
			r = buf_addc(&next, '}');
		if (r == 0) {
			buf_done(&now);
			now = next;
			next = BUF_MAX(DOCUMENT_MAX);
		}
	}
	return r < 0 ? r : buf_add(ret, buf_str(&now), now.len);
}

/* What lies deeper than json_parse() goes would make the whole document unreadable to us. */
static bool is_too_deep(const struct buf *b)
{
	size_t depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < b->len; i++) {
		char c = b->data[i];

		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && (c == '{' || c == '['))
			depth++;
		else if (!quoted && (c == '}' || c == ']'))
			depth--;
		if (depth > META_DEPTH_MAX)
			return true;
	}
	return false;
}

static int edit_meta(const char *text, size_t n, const char *path, const char *attr, size_t len, struct buf *ret)
{
	_cleanup_buf_ struct buf value = BUF_MAX(DOCUMENT_MAX);
	int r;

	if (!path) {
		r = json_check(attr, len);
		if (r == 0 && attr[strspn(attr, " \t\r\n")] != '{')
			r = -EBADMSG;
		if (r == -EBADMSG || r == -ERANGE)
			return refuse("%s", r == -ERANGE ? "girder.meta: a number that the server cannot keep" : "girder.meta: a JSON object is wanted");
		return r < 0 ? r : merge(text, n, attr, len, ret);
	}
	if (!*path)
		return refuse("%s", "girder.meta.: a key has no name");
	if (attr) {
		r = as_json(path, attr, len, &value);
		if (r < 0)
			return r;
	}
	return edit(text, n, path, attr, len, buf_str(&value), value.len, 0, ret);
}

int girder_edit_meta(const char *text, size_t n, const char *path, const char *attr, size_t len, struct buf *ret)
{
	int r = edit_meta(text, n, path, attr, len, ret);

	return r == 0 && is_too_deep(ret) ? refuse("%s: nested too deeply", path ? path : "girder.meta") : r;
}

/* ---- what has changed, as the server wants to hear it ---- */

static int find(const char *text, size_t n, const char *name, const char **ret, size_t *ret_n)
{
	const char *key, *value;
	size_t pos = 0, key_n, value_n;
	int r;

	while ((r = json_raw_next(text, n, &pos, &key, &key_n, &value, &value_n)) == 1) {
		_cleanup_free_ char *other = NULL;

		r = json_raw_text(key, key_n, &other);
		if (r < 0)
			return r;
		if (strcmp(other, name) == 0) {
			*ret = value;
			*ret_n = value_n;
			return 1;
		}
	}
	return r;
}

static int check_key(const char *name)
{
	if (!*name || *name == '$' || strchr(name, '.'))
		return refuse("%s: the server takes no key that is empty, begins with $ or has a dot in it", name);
	return 0;
}

int girder_diff_meta(const char *was, size_t was_n, const char *now, size_t now_n, struct meta_change *ret)
{
	const char *key, *value, *other;
	size_t pos = 0, key_n, value_n, other_n;
	int r = buf_addc(&ret->set, '{');

	if (r == 0)
		r = buf_addc(&ret->removed, '[');
	while (r == 0 && (r = json_raw_next(now, now_n, &pos, &key, &key_n, &value, &value_n)) == 1) {
		_cleanup_free_ char *name = NULL;

		r = json_raw_text(key, key_n, &name);
		if (r == 0)
			r = find(was, was_n, name, &other, &other_n);
		if (r == 1)
			r = json_same(value, value_n, other, other_n) == 1 ? 2 : 0;
		if (r == 0)
			r = check_key(name);
		if (r == 0) {
			ret->nulls |= value_n == 4 && memcmp(value, "null", 4) == 0;
			r = add_member(&ret->set, key, key_n, value, value_n);
		}
		if (r == 2)
			r = 0;
	}
	pos = 0;
	while (r == 0 && (r = json_raw_next(was, was_n, &pos, &key, &key_n, &value, &value_n)) == 1) {
		_cleanup_free_ char *name = NULL;

		r = json_raw_text(key, key_n, &name);
		if (r == 0)
			r = find(now, now_n, name, &other, &other_n);
		if (r == 0)
			r = buf_addf(&ret->removed, "%s\"%.*s\"", ret->removed.len > 1 ? ", " : "", (int)key_n, key);
		else if (r == 1)
			r = 0;
	}
	if (r == 0)
		r = buf_addc(&ret->set, '}');
	if (r == 0)
		r = buf_addc(&ret->removed, ']');
	return r < 0 ? r : 0;
}

void meta_change_done(struct meta_change *c)
{
	buf_done(&c->set);
	buf_done(&c->removed);
}

/* ---- sending ---- */

/* The type and id of the document that has the metadata: an item also for the directory of its files. */
static const char *kind_of(const struct object *o)
{
	static const char *const kinds[] = {"item", "folder", "collection"};

	if (girder_is(o->id, "item-dir"))
		return "item";
	if (girder_is(o->id, "items"))
		return "folder";
	for (size_t i = 0; i < 3; i++)
		if (girder_is(o->id, kinds[i]))
			return kinds[i];
	return NULL;
}

/* A document as it is to be, and what makes it of the one that was there. description NULL: as it is. */
struct wanted {
	const char *kind, *id;
	const struct meta_change *change;
	const char *meta;
	size_t n;
	const char *description;
};

static void ask_for(struct girder_send *send, const char *method, const char *type, const struct buf *body)
{
	send->method = method;
	send->type = type;
	send->body = body ? body->data : NULL;
	send->len = body ? body->len : 0;
}

/* Both in one request where they fit into one; there the server would read {"$date": ...} as more than text. */
static int send_both(struct girder *g, struct girder_send *send, const struct wanted *w, const char *meta)
{
	_cleanup_buf_ struct buf form = BUF_MAX(4 * DOCUMENT_MAX);
	_cleanup_free_ char *one = NULL, *other = NULL;
	int r = girder_encode(w->description, &one);

	if (r == 0)
		r = girder_encode(meta, &other);
	if (r == 0)
		r = buf_addf(&form, "description=%s&metadata=%s", one, other);
	if (r < 0)
		return r;
	ask_for(send, "PUT", "application/x-www-form-urlencoded", &form);
	return girder_send(g, send, NULL, "%s/%s", w->kind, w->id);
}

static int send_changes(struct girder *g, struct girder_send *send, const void *what)
{
	const struct wanted *w = what;
	const struct meta_change *c = w->change;
	bool set = c->set.len > 2, removed = c->removed.len > 2;
	_cleanup_buf_ struct buf body = BUF_MAX(2 * DOCUMENT_MAX);
	_cleanup_free_ char *encoded = NULL;
	const char *key;
	size_t pos = 0, n;
	int r;

	send->in_doubt = false;
	if (c->set.len > DOCUMENT_MAX)
		return -E2BIG;
	r = buf_add(&body, buf_str(&c->set), c->set.len);
	if (r == 0 && removed && !c->nulls) {
		/* Taking away is setting to null. */
		body.len--;
		while (r == 0 && (r = json_raw_next(buf_str(&c->removed), c->removed.len, &pos, NULL, NULL, &key, &n)) == 1)
			r = add_member(&body, key + 1, n - 2, "null", 4);
		if (r == 0)
			r = buf_addc(&body, '}');
	}
	if (r < 0)
		return r;
	if ((set || removed) && w->description && !c->nulls && !strchr(buf_str(&body), '$'))
		return send_both(g, send, w, buf_str(&body));
	if (set || (removed && !c->nulls)) {
		ask_for(send, "PUT", "application/json", &body);
		r = girder_send(g, send, NULL, "%s/%s/metadata%s", w->kind, w->id, c->nulls ? "?allowNull=true" : "");
	}
	if (r == 0 && removed && c->nulls) {
		ask_for(send, "DELETE", "application/json", &c->removed);
		r = girder_send(g, send, NULL, "%s/%s/metadata", w->kind, w->id);
	}
	if (r < 0 || !w->description)
		return r;
	ask_for(send, "PUT", NULL, NULL);
	r = girder_encode(w->description, &encoded);
	return r < 0 ? r : girder_send(g, send, NULL, "%s/%s?description=%s", w->kind, w->id, encoded);
}

static int look_set(struct girder *g, const void *what, struct json **ret)
{
	const struct wanted *w = what;
	_cleanup_buf_ struct buf text = {0};
	const char *now, *is = "";
	size_t now_n;
	int r = girder_get(g, &text, "%s/%s", w->kind, w->id);

	if (r == 0)
		r = json_parse(buf_str(&text), text.len, ret);
	if (r == 0)
		r = json_str_opt(*ret, "description", &is);
	if (r < 0 || (w->description && strcmp(is, w->description) != 0))
		return r < 0 ? r : 0;
	r = json_raw_member(buf_str(&text), text.len, "meta", &now, &now_n);
	return r < 0 ? r : json_same(w->meta, w->n, now, now_n);
}

static int send_and_see(struct girder *g, const char *kind, const char *id, const struct meta_change *c, const char *meta, size_t n,
                        const char *description)
{
	struct girder_send q = {0};

	/* Setting the same again does no harm, but nothing else may be set over by it: so it is looked at first. */
	return girder_change_by(g, &q, send_changes, look_set, &(const struct wanted){kind, id, c, meta, n, description});
}

/* ---- attributes ---- */

static const char *const computed[] = {
	"girder.id", "girder.type", "girder.parent_id", "girder.base_parent_id", "girder.base_parent_type", "girder.name", "girder.created",
	"girder.updated", "girder.creator_id", "girder.copy_of", "girder.public", "girder.access_level", "girder.item_id", "girder.file_id",
	"girder.link_url", "girder.exts", "girder.sha512", "girder.assetstore_id",
};

static bool is_computed(const char *name)
{
	for (size_t i = 0; i < sizeof(computed) / sizeof(computed[0]); i++)
		if (str_starts(name, computed[i]) && (!name[strlen(computed[i])] || name[strlen(computed[i])] == '.'))
			return true;
	return false;
}

static bool is_meta(const char *name)
{
	return strcmp(name, "girder.meta") == 0 || str_starts(name, "girder.meta.");
}

static bool is_mime(const char *name)
{
	return strcmp(name, "girder.mime_type") == 0 || strcmp(name, "mime_type") == 0;
}

int girder_check_attr(const struct session *s, const struct object *o, const char *name)
{
	(void)s;
	if (is_computed(name))
		return 0;
	if (is_meta(name) || strcmp(name, "girder.description") == 0)
		return kind_of(o) || str_eq(o->content, GIRDER_NEW_ITEM) ? 0 : -ENOTSUP;
	if (is_mime(name))
		return o->kind == OBJECT_FILE && o->content ? 0 : -ENOTSUP;
	return -ENOTSUP;
}

static int look_mime(struct girder *g, const void *what, struct json **ret)
{
	const char *const *file_and_mime = what, *is = "";
	int r = girder_get_json(g, ret, "%s", file_and_mime[0]);

	if (r == 0)
		r = json_str_opt(*ret, "mimeType", &is);
	return r < 0 ? r : str_eq(is, file_and_mime[1]);
}

static int set_mime(struct girder *g, const struct object *o, const char *mime)
{
	_cleanup_free_ char *encoded = NULL;
	struct girder_send q = {.method = "PUT", .slow = true};
	int r;

	if (!mime)
		mime = girder_mime_of(o->name);
	for (const char *p = mime; *p; p++)
		if (*p < 33 || *p > 126)
			return refuse("%s: no media type", mime);
	r = girder_encode(mime, &encoded);
	if (r < 0)
		return r;
	return girder_change(g, &q, look_mime, (const char *const[]){girder_file(o->content), mime}, NULL, "%s?mimeType=%s",
	                     girder_file(o->content), encoded);
}

/* What the attributes make of the metadata. */
static int apply(const struct attrs *a, const char *meta, size_t n, struct buf *ret)
{
	_cleanup_buf_ struct buf now = BUF_MAX(DOCUMENT_MAX);
	int r = buf_add(&now, meta, n);

	for (size_t i = 0; r == 0 && i < a->list.n; i++) {
		const struct attr *x = &a->list.at[i];
		_cleanup_buf_ struct buf next = BUF_MAX(DOCUMENT_MAX);

		if (!is_meta(x->name))
			continue;
		if (!x->value && !x->name[11])
			r = buf_adds(&next, "{}");      /* all of it is taken away */
		else
			r = girder_edit_meta(buf_str(&now), now.len, x->name[11] ? x->name + 12 : NULL, x->value, x->len, &next);
		if (r == 0) {
			buf_done(&now);
			now = next;
			next = BUF_MAX(DOCUMENT_MAX);
		}
		if (r == -ENODATA && a->list.n > 1)
			r = 0;  /* among others that are to be set, what is gone already is no fault */
	}
	return r < 0 ? r : buf_add(ret, buf_str(&now), now.len);
}

static int set_document_attrs(struct girder *g, const char *kind, const char *id, const struct attrs *a)
{
	_cleanup_buf_ struct buf text = {0}, now = BUF_MAX(DOCUMENT_MAX);
	_cleanup_(meta_change_done) struct meta_change change = {BUF_MAX(DOCUMENT_MAX), BUF_MAX(DOCUMENT_MAX), false};
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *description = NULL;
	const char *meta = "{}", *is = "";
	size_t n = 2;
	int r = girder_get(g, &text, "%s/%s", kind, id);

	if (r == 0)
		r = json_parse(buf_str(&text), text.len, &j);
	if (r == 0)
		r = json_str_opt(j, "description", &is);
	if (r == 0 && json_is_object(json_get(j, "meta")))
		r = json_raw_member(buf_str(&text), text.len, "meta", &meta, &n);
	if (r == 0)
		r = apply(a, meta, n, &now);
	if (r == 0)
		r = girder_diff_meta(meta, n, buf_str(&now), now.len, &change);
	for (size_t i = 0; r == 0 && i < a->list.n; i++) {
		const struct attr *x = &a->list.at[i];

		if (strcmp(x->name, "girder.description") != 0)
			continue;
		if (!x->value && !*is)
			return -ENODATA;
		if (x->value && (memchr(x->value, 0, x->len) || !str_utf8_valid(x->value, x->len)))
			return refuse("%s: it is to be UTF-8 text", x->name);
		free(TAKE(description));
		r = str_dup(x->value ? x->value : "", &description);
	}
	if (r == 0 && description && strcmp(description, is) == 0)
		free(TAKE(description));
	return r < 0 ? r : send_and_see(g, kind, id, &change, buf_str(&now), now.len, description);
}

static int look_time(struct girder *g, const void *what, struct json **ret)
{
	const struct wanted *w = what;
	int r = girder_get_json(g, ret, "%s/%s", w->kind, w->id);

	return r < 0 ? r : str_eq(json_text(json_get(json_get(*ret, "meta"), GIRDER_MTIME_KEY)), w->meta);
}

/* A time alone is merged into what is there by one request: nothing has to be read first, and to set it again does no harm. */
static int set_time(struct girder *g, const char *kind, const char *id, const struct attr *a)
{
	_cleanup_(meta_change_done) struct meta_change change = {BUF_MAX(DOCUMENT_MAX), BUF_MAX(DOCUMENT_MAX), false};
	struct girder_send q = {0};
	int r = buf_adds(&change.set, "{\"" GIRDER_MTIME_KEY "\": ");

	if (r == 0)
		r = json_write_str(&change.set, a->value);
	if (r == 0)
		r = buf_addc(&change.set, '}');
	return r < 0 ? r : girder_change_by(g, &q, send_changes, look_time, &(const struct wanted){kind, id, &change, .meta = a->value});
}

static bool is_time_alone(const struct attrs *a)
{
	const struct attr *x = a->list.at;

	return a->list.n == 1 && strcmp(x->name, "girder.meta." GIRDER_MTIME_KEY) == 0 && x->value && !memchr(x->value, 0, x->len) &&
	       str_utf8_valid(x->value, x->len) && json_check(x->value, x->len) == -EBADMSG;
}

int girder_set_attrs(struct session *s, const struct object *o, const struct attrs *a)
{
	struct girder *g = girder_of(s);
	const char *const held[] = {girder_id(o->id), NULL};
	const struct attr *mime = NULL;
	bool document = false;
	int r = 0;

	for (size_t i = 0; i < a->list.n; i++) {
		const struct attr *x = &a->list.at[i];

		r = girder_check_attr(s, o, x->name);
		if (r < 0)
			return r;
		document |= is_meta(x->name) || strcmp(x->name, "girder.description") == 0;
		if (is_mime(x->name))
			mime = x;
	}
	if (!document && !mime)
		return 0;
	r = girder_hold(g, held);
	if (r == 0 && is_time_alone(a)) {
		r = set_time(g, kind_of(o), girder_id(o->id), a->list.at);
		document = r == -ETIMEDOUT || r == -ECONNRESET || r == -EIO;    /* no answer: look, as for any other */
		r = document ? 0 : r;
	}
	if (r == 0 && document)
		r = set_document_attrs(g, kind_of(o), girder_id(o->id), a);
	if (r == 0 && mime)
		r = set_mime(g, o, mime->value);
	girder_release(g, held);
	return r;
}

/* ---- documents ---- */

struct parts {
	const char *meta;
	size_t n;
	char *description;
};

/* The two members that can be written. */
static int take_parts(const struct doc *d, struct json **ret, struct parts *p)
{
	const char *is = "";
	int r = json_parse(d->text, d->len, ret);

	if (r == 0 && !json_is_object(*ret))
		r = -EBADMSG;
	if (r == 0)
		r = json_str_opt(*ret, "description", &is);
	if (r == 0)
		r = str_dup(is, &p->description);
	if (r < 0)
		return r;
	p->meta = "{}";
	p->n = 2;
	if (json_get(*ret, "meta") && !json_is_object(json_get(*ret, "meta")))
		return -EBADMSG;
	return json_get(*ret, "meta") ? json_raw_member(d->text, d->len, "meta", &p->meta, &p->n) : 0;
}

/* Every other member is to be as it was. */
static int compare_others(const struct doc *a, const struct doc *b)
{
	const char *key, *value, *other;
	size_t pos = 0, key_n, value_n, other_n;
	int r;

	while ((r = json_raw_next(a->text, a->len, &pos, &key, &key_n, &value, &value_n)) == 1) {
		_cleanup_free_ char *name = NULL;

		r = json_raw_text(key, key_n, &name);
		if (r < 0)
			return r;
		if (strcmp(name, "meta") == 0 || strcmp(name, "description") == 0)
			continue;
		r = find(b->text, b->len, name, &other, &other_n);
		if (r == 1)
			r = json_same(value, value_n, other, other_n);
		if (r < 0)
			return r;
		if (r == 0)
			return refuse("%s: cannot be changed here", name);
	}
	return r;
}

int girder_set_doc(struct session *s, const struct object *o, const struct doc *base, const struct doc *now)
{
	struct girder *g = girder_of(s);
	const char *kind = kind_of(o), *id = girder_id(o->id);
	const char *const held[] = {id, NULL};
	_cleanup_(json_freep) struct json *was = NULL, *is = NULL, *there = NULL;
	_cleanup_(meta_change_done) struct meta_change change = {BUF_MAX(DOCUMENT_MAX), BUF_MAX(DOCUMENT_MAX), false};
	_cleanup_buf_ struct buf text = {0};
	struct parts old = {0}, new = {0}, current = {0};
	struct doc at_server;
	int r;

	if (!kind) {
		backend_note_fault(0, NULL, "it has no metadata that could be written", NULL);
		return -ENOTSUP;
	}
	r = json_check(now->text, now->len);
	if (r == -EBADMSG || r == -ERANGE)
		return refuse("%s", r == -ERANGE ? "a number that the server cannot keep" : "it is no JSON");
	if (r == 0)
		r = take_parts(base, &was, &old);
	if (r == 0) {
		r = take_parts(now, &is, &new);
		if (r == -EBADMSG)
			r = refuse("%s", "it is to be an object, description a text in it and meta an object");
	}
	if (r == 0)
		r = compare_others(now, base);
	if (r == 0)
		r = compare_others(base, now);
	if (r == 0)
		r = girder_diff_meta(old.meta, old.n, new.meta, new.n, &change);
	if (r == 0)
		r = girder_hold(g, held);
	if (r < 0)
		goto end;
	r = girder_get(g, &text, "%s/%s", kind, id);
	at_server = (struct doc){(char *)buf_str(&text), text.len};
	if (r == 0)
		r = take_parts(&at_server, &there, &current);
	if (r == 0 && (json_same(current.meta, current.n, old.meta, old.n) != 1 || strcmp(current.description, old.description) != 0)) {
		backend_note_fault(0, NULL, "somebody else changed it meanwhile", NULL);
		r = -ESTALE;
	}
	if (r == 0)
		r = send_and_see(g, kind, id, &change, new.meta, new.n,
		                 strcmp(new.description, old.description) != 0 ? new.description : NULL);
	girder_release(g, held);
end:
	free(old.description);
	free(new.description);
	free(current.description);
	return r;
}
