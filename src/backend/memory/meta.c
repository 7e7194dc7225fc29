/* meta.c - documents, written as a server would, the extended attributes made from them, and how both are changed. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/private.h"
#include "base/clock.h"
#include "base/json.h"

static const char *kind_name(const struct object *o)
{
	return o->kind == OBJECT_DIR ? "directory" : o->kind == OBJECT_LINK ? "link" : "file";
}

static int add_text(struct buf *b, const char *name, const char *value)
{
	int r;

	if (!value)
		return 0;
	r = buf_addf(b, ", \"%s\": ", name);
	return r < 0 ? r : json_write_str(b, value);
}

int memory_meta(const struct memory *m, const char *id, char **ret)
{
	const struct entry *e = overlay_get(m, id);
	struct ref ref;

	if (e && e->meta)
		return str_dup(e->meta, ret);
	if (memory_find(m, id, &ref) < 0)
		return str_dup("{}", ret);
	if (ref.what == REF_FILE)
		return str_fmt(ret, "{\"number\": %" PRIu64 ", \"even\": %s}", ref.n, ref.n % 2 ? "false" : "true");
	return str_dup(ref.what == REF_THING && m->things[ref.n].row->meta ? m->things[ref.n].row->meta : "{}", ret);
}

int memory_set_time(const char *meta, struct object *io)
{
	const char *value;
	char *text;
	size_t n;
	int r;

	if (!meta || json_raw_member(meta, strlen(meta), MEMORY_MTIME_KEY, &value, &n) < 0 || *value != '"' || n > SET_TIME_MAX)
		return 0;
	r = json_raw_text(value, n, &text);
	if (r == 0)
		io->set_time = text;
	if (r == -ENOMEM)
		object_done(io);
	return r == -ENOMEM ? r : 0;
}

static int write_doc(const struct memory *m, const char *id, struct buf *b)
{
	_cleanup_free_ char *meta = NULL;
	struct object now = {0};
	char updated[CLOCK_ISO_MAX];
	int r = memory_meta(m, id, &meta);

	if (r == 0)
		r = overlay_describe(m, id, &now);
	if (r < 0)
		return r;
	clock_format_iso(now.mtime, updated);
	r = buf_addf(b, "{\"id\": \"%s\", \"type\": \"%s\"", now.id, kind_name(&now));
	if (r == 0)
		r = add_text(b, "name", now.name);
	if (r == 0 && now.kind == OBJECT_FILE)
		r = buf_addf(b, ", \"size\": %" PRIu64, now.size);
	if (r == 0)
		r = add_text(b, "updated", updated);
	if (r == 0)
		r = add_text(b, "version", now.version);
	if (r == 0)
		r = add_text(b, "digest", now.digest);
	if (r == 0)
		r = add_text(b, "mimeType", now.mime);
	if (r == 0)
		r = add_text(b, "target", now.target);
	if (r == 0)
		r = buf_addf(b, ", \"meta\": %s}", meta);
	object_done(&now);
	return r;
}

int memory_get_doc(struct session *s, const struct object *o, struct doc *ret)
{
	struct memory *m = memory_of(s);
	_cleanup_buf_ struct buf b = BUF_MAX(1u << 20);
	int r = memory_gate(m, o->name, NULL);

	if (r == 0)
		r = overlay_begin(m);
	if (r < 0)
		return r;
	r = write_doc(m, o->id, &b);
	overlay_end(m);
	if (r < 0)
		return r;
	ret->len = b.len;
	ret->text = buf_take(&b);
	return ret->text ? 0 : -ENOMEM;
}

/* The computed ones, and of which member of the document they are. */
static const struct {
	const char *field, *attr;
} fields[] = {
	{"id", "memory.id"}, {"type", "memory.type"}, {"name", "memory.name"}, {"updated", "memory.updated"},
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))
#define META MEMORY_META

int memory_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret)
{
	const char *value;
	size_t n;
	int r = 0;

	for (size_t i = 0; r == 0 && i < FIELDS; i++)
		if (json_raw_member(d->text, d->len, fields[i].field, &value, &n) == 0)
			r = attrs_flatten(ret, fields[i].attr, value, n);
	if (r == 0 && json_raw_member(d->text, d->len, "meta", &value, &n) == 0) {
		r = attrs_add(ret, META, value, n);
		if (r == 0)
			r = attrs_flatten(ret, META, value, n);
	}
	return r;
}

/* ---- changing it: on the text, so that what is not touched stays as it was written, digit by digit ---- */

struct slice {
	const char *p;
	size_t n;
};

/* Is this the key that stands, escaped, between the quotes of a text? */
static bool is_key(const char *raw, size_t raw_n, const char *key, size_t key_n)
{
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *quoted = NULL;

	if (!memchr(raw, '\\', raw_n))
		return raw_n == key_n && memcmp(raw, key, key_n) == 0;
	return str_fmt(&quoted, "\"%.*s\"", (int)raw_n, raw) == 0 && json_parse(quoted, raw_n + 2, &j) == 0 && json_text(j) &&
	       strlen(json_text(j)) == key_n && memcmp(json_text(j), key, key_n) == 0;
}

/* The member of an object to which a dotted name leads: one of that whole key, or of a beginning of it up to a dot whose value is an
 * object again. *ret_n: how much of the name its key is; 0: there is none. */
static void find_member(struct slice object, const char *name, size_t *ret_n)
{
	const char *key, *value;
	size_t pos = 0, key_n, value_n, name_n = strlen(name);

	*ret_n = 0;
	while (json_raw_next(object.p, object.n, &pos, &key, &key_n, &value, &value_n) == 1) {
		if (is_key(key, key_n, name, name_n)) {
			*ret_n = name_n;
			return;
		}
		for (const char *dot = strchr(name, '.'); dot && *value == '{'; dot = strchr(dot + 1, '.'))
			if (is_key(key, key_n, name, (size_t)(dot - name)))
				*ret_n = (size_t)(dot - name);
	}
}

static int add_key(struct buf *b, bool first, const char *name, size_t n)
{
	_cleanup_free_ char *key = strndup(name, n);
	int r = key ? buf_adds(b, first ? "" : ", ") : -ENOMEM;

	if (r == 0)
		r = json_write_str(b, key);
	return r < 0 ? r : buf_adds(b, ": ");
}

static int set_member(struct slice object, const char *name, const struct slice *value, struct buf *b);

/* A new member: nested objects, one for each dot. */
static int add_member(const char *name, const struct slice *value, bool first, struct buf *b)
{
	const char *dot = strchr(name, '.');
	size_t n = dot && dot != name && dot[1] ? (size_t)(dot - name) : strlen(name);
	int r = add_key(b, first, name, n);

	if (r < 0)
		return r;
	return name[n] ? set_member((struct slice){"{}", 2}, name + n + 1, value, b) : buf_add(b, value->p, value->n);
}

/* The object with this member set, or removed when `value` is NULL (-ENODATA: it has none), added to `b`. */
static int set_member(struct slice object, const char *name, const struct slice *value, struct buf *b)
{
	const char *key;
	struct slice old;
	size_t pos = 0, key_n, match;
	bool first = true;
	int r, e = buf_addc(b, '{');

	find_member(object, name, &match);
	if (!match && !value)
		return -ENODATA;
	while (e == 0 && (r = json_raw_next(object.p, object.n, &pos, &key, &key_n, &old.p, &old.n)) == 1) {
		bool here = match && is_key(key, key_n, name, match);

		if (here && !name[match] && !value)
			continue;
		e = buf_addf(b, "%s\"%.*s\": ", first ? "" : ", ", (int)key_n, key);
		first = false;
		if (e == 0 && here && name[match])
			e = set_member(old, name + match + 1, value, b);
		else if (e == 0 && here)
			e = buf_add(b, value->p, value->n);
		else if (e == 0)
			e = buf_add(b, old.p, old.n);
	}
	if (e == 0 && r < 0)
		e = -EINVAL;
	if (e == 0 && !match)
		e = add_member(name, value, first, b);
	return e == 0 ? buf_addc(b, '}') : e;
}

/* What a user gave, as JSON: what is JSON is taken so, all else is a text. */
static int as_json(const char *value, size_t n, struct buf *b)
{
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *text = NULL;

	if (n && json_parse(value, n, &j) == 0)
		return buf_add(b, value, n);
	text = strndup(value, n);
	return text ? json_write_str(b, text) : -ENOMEM;
}

/* Of what is given null takes away what is there, as a Girder does it. */
static bool is_null(struct slice value)
{
	return value.n == 4 && memcmp(value.p, "null", 4) == 0;
}

/* Each member of an object, over those that are there. */
static int merge(const char *json, size_t n, struct buf *io)
{
	_cleanup_(json_freep) struct json *j = NULL;
	const char *key;
	struct slice value;
	size_t pos = 0, key_n;
	int r = json_parse(json, n, &j) == 0 && json_is_object(j) ? 0 : -EINVAL, more = 0;

	while (r == 0 && (more = json_raw_next(json, n, &pos, &key, &key_n, &value.p, &value.n)) == 1) {
		_cleanup_buf_ struct buf b = BUF_MAX(META_MAX);
		struct slice old;
		size_t at = 0, old_n;
		const char *old_key;
		bool done = false, first = true;

		r = buf_addc(&b, '{');
		while (r == 0 && json_raw_next(io->data, io->len, &at, &old_key, &old_n, &old.p, &old.n) == 1) {
			bool same = old_n == key_n && memcmp(old_key, key, key_n) == 0;

			done |= same;
			if (same && is_null(value))
				continue;
			r = buf_addf(&b, "%s\"%.*s\": %.*s", first ? "" : ", ", (int)old_n, old_key, (int)(same ? value.n : old.n),
			             same ? value.p : old.p);
			first = false;
		}
		if (r == 0 && !done && !is_null(value))
			r = buf_addf(&b, "%s\"%.*s\": %.*s", first ? "" : ", ", (int)key_n, key, (int)value.n, value.p);
		if (r == 0)
			r = buf_addc(&b, '}');
		if (r == 0) {
			buf_clear(io);
			r = buf_add(io, b.data, b.len);
		}
	}
	return r < 0 ? r : more < 0 ? -EINVAL : 0;
}

/* One attribute, on the metadata in `io`. */
static int apply(const struct attr *a, struct buf *io)
{
	_cleanup_buf_ struct buf value = BUF_MAX(META_MAX), b = BUF_MAX(META_MAX);
	struct slice v;
	int r;

	if (strcmp(a->name, META) == 0 && a->value)
		return merge(a->value, a->len, io);
	if (strcmp(a->name, META) == 0) {
		buf_clear(io);
		return buf_adds(io, "{}");
	}
	if (!str_starts(a->name, META "."))
		return 0;               /* a computed one */
	r = a->value ? as_json(a->value, a->len, &value) : 0;
	v = (struct slice){buf_str(&value), value.len};
	if (r == 0)
		r = set_member((struct slice){io->data, io->len}, a->name + strlen(META "."), a->value && !is_null(v) ? &v : NULL, &b);
	if (r == -ENODATA && a->value)
		return 0;
	if (r < 0)
		return r;
	buf_clear(io);
	return buf_add(io, b.data, b.len);
}

int memory_check_attr(const struct session *s, const struct object *o, const char *name)
{
	if (o->kind == OBJECT_LINK || !str_starts(name, "memory."))
		return -ENOTSUP;
	if (strcmp(name, META) == 0 || (str_starts(name, META ".") && name[strlen(META ".")]))
		return memory_of(s)->shape.readonly || !(o->rights & RIGHT_WRITE) ? -EACCES : 0;
	for (size_t i = 0; i < FIELDS; i++)
		if (strcmp(fields[i].attr, name) == 0)
			return 0;
	return -ENOTSUP;
}

static int replace_meta(struct memory *m, const char *id, const char *meta)
{
	struct entry *e;
	char *text;
	int r = overlay_edit(m, id, &e);

	if (r == 0)
		r = str_dup(meta, &text);
	if (r < 0)
		return r;
	free(e->meta);
	e->meta = text;
	overlay_touch(e, false);
	return overlay_save(m, e);
}

static int set_attrs(struct memory *m, const struct object *o, const struct attrs *a)
{
	_cleanup_free_ char *old = NULL;
	_cleanup_buf_ struct buf meta = BUF_MAX(META_MAX);
	struct object now = {0};
	int r = overlay_describe(m, o->id, &now);

	for (size_t i = 0; i < a->list.n && r == 0; i++)
		r = memory_check_attr(&m->session, &now, a->list.at[i].name);
	object_done(&now);
	if (r == 0)
		r = memory_meta(m, o->id, &old);
	if (r == 0)
		r = buf_adds(&meta, old);
	for (size_t i = 0; i < a->list.n && r == 0; i++)
		r = apply(&a->list.at[i], &meta);
	if (r == -EMSGSIZE) {
		backend_note_fault(0, "TooLong", "the metadata of one thing may have 256 KiB", NULL);
		r = -EINVAL;
	}
	return r < 0 || strcmp(meta.data, old) == 0 ? r : replace_meta(m, o->id, meta.data);
}

int memory_set_attrs(struct session *s, const struct object *o, const struct attrs *a)
{
	struct memory *m = memory_of(s);
	int r = memory_gate_change(m, o->name, NULL);

	if (r == 0)
		r = overlay_begin(m);
	if (r < 0)
		return r;
	r = set_attrs(m, o, a);
	overlay_end(m);
	return memory_answer(m, r);
}

/* ---- the document as a whole ---- */

/* Is the member the same in both, however it is written? */
static bool same_member(const struct json *a, const struct json *b, const char *key)
{
	_cleanup_free_ char *x = NULL, *y = NULL;

	return (!json_get(a, key) && !json_get(b, key)) ||
	       (json_get(a, key) && json_get(b, key) && json_print(json_get(a, key), &x) == 0 && json_print(json_get(b, key), &y) == 0 &&
	        strcmp(x, y) == 0);
}

/* Only `meta` may differ; *ret_meta: its text in `now`. */
static int check_doc(const struct doc *base, const struct doc *now, struct slice *ret_meta)
{
	_cleanup_(json_freep) struct json *old = NULL, *new = NULL;
	_cleanup_free_ char *words = NULL;
	int r = json_parse(base->text, base->len, &old) == 0 && json_parse(now->text, now->len, &new) == 0 ? 0 : -EINVAL;

	if (r < 0 || !json_is_object(new) || !json_is_object(json_get(new, "meta"))) {
		backend_note_fault(0, "Document", "a document is a JSON object with an object \"meta\"", NULL);
		return -EINVAL;
	}
	for (int which = 0; which < 2; which++)
		for (const struct json *j = json_first(which ? new : old); j; j = json_next(j))
			if (strcmp(json_key(j), "meta") != 0 && !same_member(old, new, json_key(j))) {
				(void)str_fmt(&words, "only \"meta\" can be changed, not \"%s\"", json_key(j));
				backend_note_fault(0, "Document", words, NULL);
				return -EINVAL;
			}
	return json_raw_member(now->text, now->len, "meta", &ret_meta->p, &ret_meta->n);
}

static int set_doc(struct memory *m, const struct object *o, const struct doc *base, const struct slice *meta)
{
	_cleanup_(json_freep) struct json *old = NULL, *now = NULL;
	_cleanup_buf_ struct buf text = BUF_MAX(1u << 20);
	_cleanup_free_ char *next = strndup(meta->p, meta->n);
	struct object there = {0};
	int r = next ? overlay_describe(m, o->id, &there) : -ENOMEM;

	if (r == 0)
		r = memory_check_attr(&m->session, &there, META);
	object_done(&there);
	if (r == 0)
		r = write_doc(m, o->id, &text);
	if (r == 0)
		r = json_parse(text.data, text.len, &now);
	if (r == 0)
		r = json_parse(base->text, base->len, &old);
	if (r == 0 && !same_member(old, now, "meta")) {
		backend_note_fault(0, "Changed", "somebody else has changed it since it was opened", NULL);
		r = -ESTALE;
	}
	if (r == 0 && meta->n > META_MAX) {
		backend_note_fault(0, "TooLong", "the metadata of one thing may have 256 KiB", NULL);
		r = -EINVAL;
	}
	return r < 0 ? r : replace_meta(m, o->id, next);
}

int memory_set_doc(struct session *s, const struct object *o, const struct doc *base, const struct doc *now)
{
	struct memory *m = memory_of(s);
	struct slice meta;
	int r = check_doc(base, now, &meta);

	if (r == 0)
		r = memory_gate_change(m, o->name, NULL);
	if (r == 0)
		r = overlay_begin(m);
	if (r < 0)
		return r;
	r = set_doc(m, o, base, &meta);
	overlay_end(m);
	return memory_answer(m, r);
}

/* ---- below .scifs ---- */

const struct backend_control memory_controls[] = {
	{.name = "call", .act = CONTROL_CALL},
	{.name = "shelf", .act = CONTROL_TREE, .root_only = true},
	{.name = "papers", .act = CONTROL_PAPERS, .root_only = true},
	{.name = "papers.json", .act = CONTROL_DOC, .root_only = true},
	{.name = "sealed", .act = CONTROL_PAPERS, .root_only = true},
	{.name = "turn", .act = CONTROL_TEXT, .root_only = true},
	{.name = "note.json", .act = CONTROL_DOC},
	{.name = "latest", .act = CONTROL_LINK},
	{.name = "links", .act = CONTROL_PAPERS},
	{.name = "mark", .act = CONTROL_VERB},
	{.name = "forget", .act = CONTROL_VERB, .same_as = "refresh"},
	{0},
};

int memory_control_object(struct session *s, const struct object *about, const char *name, struct object *ret)
{
	struct memory *m = memory_of(s);
	int r = strcmp(name, "shelf") == 0 ? memory_gate(m, name, NULL) : -ENOENT;

	if (r == 0)
		r = overlay_begin(m);
	if (r < 0)
		return r;
	r = overlay_describe(m, "shelf", ret);
	overlay_end(m);
	return r;
}

int memory_control_call(struct session *s, const struct object *about, const char *name, const struct buf *question, struct buf *ret)
{
	_cleanup_free_ char *text = strdup(buf_str(question));
	int r = !text ? -ENOMEM : strcmp(name, "call") != 0 || !*str_trim(text) ? -EINVAL : memory_gate(memory_of(s), about->name, NULL);

	if (r == 0)
		r = buf_addf(ret, "{\"about\": \"%s\", \"question\": ", about->id);
	if (r == 0)
		r = json_write_str(ret, str_trim(text));
	return r < 0 ? r : buf_adds(ret, "}\n");
}
