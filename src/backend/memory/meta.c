/* meta.c - documents, written as a server would, and the extended attributes made from them. */
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

static int add_meta(const struct memory *m, struct ref ref, struct buf *b)
{
	const char *meta = ref.what == REF_THING ? m->things[ref.n].row->meta : NULL;

	if (ref.what == REF_FILE)
		return buf_addf(b, "{\"number\": %" PRIu64 ", \"even\": %s}", ref.n, ref.n % 2 ? "false" : "true");
	return buf_adds(b, meta ? meta : "{}");
}

int memory_get_doc(struct session *s, const struct object *o, struct doc *ret)
{
	struct memory *m = memory_of(s);
	_cleanup_buf_ struct buf b = BUF_MAX(1u << 20);
	struct object now = {0};
	char updated[CLOCK_ISO_MAX];
	struct ref ref;
	int r = memory_gate(m, o->name, NULL);

	if (r == 0)
		r = memory_find(m, o->id, &ref);
	if (r == 0)
		r = memory_describe(m, ref, &now);
	if (r < 0)
		return r;
	clock_format_iso(now.mtime, updated);
	r = buf_addf(&b, "{\"id\": \"%s\", \"type\": \"%s\"", now.id, kind_name(&now));
	if (r == 0)
		r = add_text(&b, "name", now.name);
	if (r == 0 && now.kind == OBJECT_FILE)
		r = buf_addf(&b, ", \"size\": %" PRIu64, now.size);
	if (r == 0)
		r = add_text(&b, "updated", updated);
	if (r == 0)
		r = add_text(&b, "version", now.version);
	if (r == 0)
		r = add_text(&b, "digest", now.digest);
	if (r == 0)
		r = add_text(&b, "mimeType", now.mime);
	if (r == 0)
		r = add_text(&b, "target", now.target);
	if (r == 0)
		r = buf_adds(&b, ", \"meta\": ");
	if (r == 0)
		r = add_meta(m, ref, &b);
	if (r == 0)
		r = buf_addc(&b, '}');
	object_done(&now);
	if (r < 0)
		return r;
	ret->len = b.len;
	ret->text = buf_take(&b);
	return ret->text ? 0 : -ENOMEM;
}

int memory_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret)
{
	static const struct {
		const char *field, *attr;
	} fields[] = {
		{"id", "memory.id"}, {"type", "memory.type"}, {"name", "memory.name"}, {"updated", "memory.updated"},
	};
	const char *value;
	size_t n;
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(fields) / sizeof(fields[0]); i++)
		if (json_raw_member(d->text, d->len, fields[i].field, &value, &n) == 0)
			r = attrs_flatten(ret, fields[i].attr, value, n);
	if (r == 0 && json_raw_member(d->text, d->len, "meta", &value, &n) == 0) {
		r = attrs_add(ret, "memory.meta", value, n);
		if (r == 0)
			r = attrs_flatten(ret, "memory.meta", value, n);
	}
	return r;
}
