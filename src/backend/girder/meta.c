/* meta.c - documents as the server writes them, and the extended attributes made from them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/girder/private.h"

/* An item's document with the documents of its files as one more member, "files": the server's own bytes of both. */
static int item_doc(struct girder *g, const struct object *o, struct buf *ret)
{
	_cleanup_buf_ struct buf files = {0};
	size_t end;
	int r = girder_get(g, ret, "item/%s", girder_id(o->id));

	if (r == 0)
		r = girder_get(g, &files, "item/%s/files?limit=0&sort=name", girder_id(o->id));
	if (r < 0)
		return r;
	end = ret->len;
	while (end && strchr(" \t\r\n", ret->data[end - 1]))
		end--;
	if (!end || ret->data[end - 1] != '}' || !files.len || files.data[0] != '[')
		return -EBADMSG;
	ret->len = end - 1;
	r = buf_adds(ret, ret->len > 1 ? ", \"files\": " : "\"files\": ");
	if (r == 0)
		r = buf_add(ret, files.data, files.len);
	return r < 0 ? r : buf_addc(ret, '}');
}

int girder_get_doc(struct session *s, const struct object *o, struct doc *ret)
{
	struct girder *g = girder_of(s);
	_cleanup_buf_ struct buf b = {0};
	_cleanup_(json_freep) struct json *j = NULL;
	int r;

	if (!strchr(o->id, '/'))
		r = buf_addf(&b, "{\"_modelType\": \"%s\"}", o->id);
	else if (girder_is(o->id, "item") || girder_is(o->id, "item-dir"))
		r = item_doc(g, o, &b);
	else if (girder_is(o->id, "items"))
		r = girder_get(g, &b, "folder/%s", girder_id(o->id));
	else
		r = girder_get(g, &b, "%s", o->id);
	if (r == 0)
		r = json_parse(buf_str(&b), b.len, &j);
	if (r == 0 && !json_is_object(j))
		r = -EBADMSG;
	if (r < 0)
		return r;
	ret->len = b.len;
	ret->text = buf_take(&b);
	return ret->text ? 0 : -ENOMEM;
}

/* The server's field, and the attribute that shows it. */
static const struct {
	const char *field, *attr;
} fields[] = {
	{"_id", "girder.id"}, {"_modelType", "girder.type"}, {"parentId", "girder.parent_id"}, {"folderId", "girder.parent_id"},
	{"baseParentId", "girder.base_parent_id"}, {"baseParentType", "girder.base_parent_type"}, {"name", "girder.name"},
	{"login", "girder.name"}, {"description", "girder.description"}, {"created", "girder.created"},
	{"updated", "girder.updated"}, {"creatorId", "girder.creator_id"}, {"copyOfItem", "girder.copy_of"},
	{"public", "girder.public"}, {"_accessLevel", "girder.access_level"}, {"itemId", "girder.item_id"},
}, file_fields[] = {
	{"_id", "girder.file_id"}, {"mimeType", "girder.mime_type"}, {"linkUrl", "girder.link_url"}, {"exts", "girder.exts"},
	{"sha512", "girder.sha512"}, {"assetstoreId", "girder.assetstore_id"},
};

static int add_field(struct attrs *ret, const char *text, size_t n, const char *field, const char *attr)
{
	const char *value;
	size_t value_n;
	int r = json_raw_member(text, n, field, &value, &value_n);

	if (r == -ENOENT || (r == 0 && value_n == 4 && memcmp(value, "null", 4) == 0))
		return 0;
	return r < 0 ? r : attrs_flatten(ret, attr, value, value_n);
}

static int add_file(struct attrs *ret, const char *text, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(file_fields) / sizeof(file_fields[0]); i++)
		r = add_field(ret, text, n, file_fields[i].field, file_fields[i].attr);
	return r;
}

int girder_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret)
{
	const char *meta, *files, *file;
	size_t meta_n, files_n, file_n, pos = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(fields) / sizeof(fields[0]); i++)
		r = add_field(ret, d->text, d->len, fields[i].field, fields[i].attr);
	if (r == 0 && json_raw_member(d->text, d->len, "meta", &meta, &meta_n) == 0 && *meta == '{') {
		r = attrs_add(ret, "girder.meta", meta, meta_n);
		if (r == 0)
			r = attrs_flatten(ret, "girder.meta", meta, meta_n);
	}
	if (r == 0 && girder_is(o->id, "file"))
		r = add_file(ret, d->text, d->len);
	/* An item shown as a file: its file's fields too. */
	if (r == 0 && o->kind == OBJECT_FILE && json_raw_member(d->text, d->len, "files", &files, &files_n) == 0)
		while (r == 0 && json_raw_next(files, files_n, &pos, NULL, NULL, &file, &file_n) == 1)
			if (o->content && memmem(file, file_n, girder_id(girder_file(o->content)), strlen(girder_id(girder_file(o->content)))))
				r = add_file(ret, file, file_n);
	return r;
}
