/* meta.c - documents, and the extended attributes made from them. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/reduct/private.h"

int parse_entry_slice(const char *text, size_t n, const char *name, const char **ret, size_t *ret_n)
{
	const char *list, *at;
	size_t list_n, at_n, pos = 0;
	int e = json_raw_member(text, n, "entries", &list, &list_n);

	if (e < 0)
		return e;
	while ((e = json_raw_next(list, list_n, &pos, NULL, NULL, &at, &at_n)) == 1) {
		_cleanup_(json_freep) struct json *j = NULL;
		const char *is = NULL;

		if (json_parse(at, at_n, &j) == 0 && json_str(j, "name", &is) == 0 && strcmp(is, name) == 0) {
			*ret = at;
			*ret_n = at_n;
			return 0;
		}
	}
	return e < 0 ? e : -ENOENT;
}

static int container_doc(struct reduct *r, const struct place *p, struct buf *ret)
{
	_cleanup_free_ char *path = NULL;
	struct ask a = {0};
	const char *at = "", *part;
	size_t n = 0, part_n;
	int e = name_encode_path(p->bucket, &path);

	if (e == 0)
		e = reduct_ask(r, &a, "b/%s", path);
	if (e == 0 && p->what != IS_BUCKET) {
		e = parse_entry_slice(buf_str(&a.text), a.text.len, p->entry, &at, &n);
		if (e == 0)
			e = buf_add(ret, at, n);
		else if (e == -ENOENT)          /* the beginning of others' names */
			e = buf_adds(ret, "{}");
	} else if (e == 0) {
		/* Without its entries: they have documents of their own. */
		e = json_raw_member(buf_str(&a.text), a.text.len, "info", &part, &part_n);
		if (e == 0)
			e = buf_adds(ret, "{\"info\": ");
		if (e == 0)
			e = buf_add(ret, part, part_n);
		if (e == 0 && json_raw_member(buf_str(&a.text), a.text.len, "settings", &part, &part_n) == 0) {
			e = buf_adds(ret, ", \"settings\": ");
			if (e == 0)
				e = buf_add(ret, part, part_n);
		}
		if (e == 0)
			e = buf_adds(ret, "}");
	}
	if (e == 0)
		e = buf_addc(ret, '\n');
	ask_done(&a);
	return e == -EBUSY ? -ENOENT : e;
}

static int record_doc(struct reduct *r, const struct place *p, const struct object *o, struct buf *ret)
{
	struct record x = {0};
	int e = record_now(r, p, str_eq(o->content, "single"), &x);

	if (e == 0)
		e = record_write_json(&x, p->bucket, p->entry, ret);
	record_done(&x);
	return e;
}

int reduct_get_doc(struct session *s, const struct object *o, struct doc *ret)
{
	struct reduct *r = reduct_of(s);
	_cleanup_buf_ struct buf b = BUF_MAX(16u << 20);
	struct place p;
	int e = place_parse(o->id, &p);

	if (e < 0)
		return e;
	if (p.what == IS_ROOT)
		e = buf_adds(&b, s->server_json ? s->server_json : "{}\n");
	else if (place_is_record(&p))
		e = record_doc(r, &p, o, &b);
	else
		e = container_doc(r, &p, &b);
	place_done(&p);
	if (e < 0)
		return e;
	ret->len = b.len;
	ret->text = buf_take(&b);
	return ret->text ? 0 : -ENOMEM;
}

static int add_members(struct attrs *ret, const char *prefix, const char *text, size_t n)
{
	const char *key, *value;
	size_t key_n, value_n, pos = 0;
	int e;

	while ((e = json_raw_next(text, n, &pos, &key, &key_n, &value, &value_n)) == 1) {
		_cleanup_free_ char *safe = NULL, *name = NULL;

		if (value_n == 4 && memcmp(value, "null", 4) == 0)
			continue;
		e = attrs_key(key, key_n, &safe);
		if (e == -ENAMETOOLONG)
			continue;
		if (e == 0)
			e = str_fmt(&name, "%s.%s", prefix, safe);
		if (e == 0)
			e = attrs_flatten(ret, name, value, value_n);
		if (e < 0)
			return e == -E2BIG ? 0 : e;     /* what does not fit is in the document */
	}
	return e;
}

static int add_member(struct attrs *ret, const char *text, size_t n, const char *member, const char *attr)
{
	const char *value;
	size_t value_n;
	int e = json_raw_member(text, n, member, &value, &value_n);

	return e == -ENOENT ? 0 : e < 0 ? e : attrs_flatten(ret, attr, value, value_n);
}

int reduct_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret)
{
	const char *part;
	size_t n;
	struct place p;
	int e = place_parse(o->id, &p);

	if (e < 0)
		return e;
	if (place_is_record(&p)) {
		e = add_member(ret, d->text, d->len, "timestamp", "reduct.ts");
		if (e == 0)
			e = add_member(ret, d->text, d->len, "content_type", "reduct.content_type");
		if (e == 0)
			e = add_member(ret, d->text, d->len, "entry", "reduct.entry");
		if (e == 0)
			e = add_member(ret, d->text, d->len, "bucket", "reduct.bucket");
		if (e == 0 && json_raw_member(d->text, d->len, "labels", &part, &n) == 0)
			e = add_members(ret, "reduct.label", part, n);
	} else if (p.what == IS_BUCKET) {
		if (json_raw_member(d->text, d->len, "info", &part, &n) == 0)
			e = add_members(ret, "reduct", part, n);
		if (e == 0 && json_raw_member(d->text, d->len, "settings", &part, &n) == 0)
			e = add_members(ret, "reduct", part, n);
	} else if (p.what != IS_ROOT) {
		e = add_members(ret, "reduct", d->text, d->len);
	}
	place_done(&p);
	return e;
}
