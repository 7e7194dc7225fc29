/* where.c - where a thing stands: from an id or an address to the names that lead to it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/reduct/private.h"

static int add(struct page *io, const struct place *p, const char *name)
{
	struct object o = {.kind = place_is_record(p) ? OBJECT_FILE : OBJECT_DIR};
	int e = place_id(p, &o.id);

	if (e == 0)
		e = str_dup(name, &o.name);
	if (e == 0)
		e = vec_push(&io->objects, o);
	if (e < 0)
		object_done(&o);
	return e;
}

/* The entry's parts: "a", then "a/b". */
static int add_entry(struct page *io, const struct place *of, size_t skip)
{
	_cleanup_free_ char *path = NULL;
	int e = str_dup(of->entry, &path);

	for (char *at = path ? path + skip : NULL; e == 0 && at; ) {
		struct place p = {.what = IS_ENTRY, .bucket = of->bucket, .entry = path};
		char *slash = strchr(at, '/');

		if (slash)
			*slash = 0;
		e = add(io, &p, at);
		if (slash)
			*slash = '/';
		at = slash ? slash + 1 : NULL;
	}
	return e;
}

static int add_windows(struct page *io, const struct place *of, enum level to, uint64_t ts)
{
	int e = 0;

	for (enum level l = LEVEL_DAY; e == 0 && l <= to; l++) {
		struct place p = {.what = IS_TIME, .bucket = of->bucket, .entry = of->entry, .window = window_of(l, ts)};
		char name[WINDOW_NAME_MAX];

		window_name(&p.window, name);
		e = add(io, &p, name);
	}
	return e;
}

/* What the file of this record is called: a name of its own, or its time. */
static int name_of(struct reduct *r, const struct place *p, char **ret, bool *ret_named)
{
	_cleanup_free_ char *id = NULL;
	struct record x = {0};
	int e = place_id(p, &id);

	if (e < 0 || found_get(r, id, ret, ret_named) == 0)
		return e;
	e = query_one(r, p->bucket, p->entry, p->ts, &x);
	if (e < 0)
		return e;
	*ret_named = record_is_named(&x);
	e = *ret_named ? name_from_label(record_label(&x, "filename"), ret) : name_of_record(x.ts, x.type, ret);
	record_done(&x);
	return e;
}

static int add_record(struct reduct *r, struct page *io, const struct place *p)
{
	_cleanup_free_ char *name = NULL;
	enum level layout;
	bool named;
	int e = name_of(r, p, &name, &named);

	if (e == 0 && !named)
		e = layout_of(r, p->bucket, p->entry, &layout);
	if (e == 0 && !named)
		e = add_windows(io, p, layout, p->ts);
	return e < 0 ? e : add(io, p, name);
}

/* What of its way lies in front of the mount: -EXDEV when the mount does not lead to it. *ret_skip: bytes of the entry's name. */
static int below_root(struct reduct *r, const struct place *p, enum what *ret_root, size_t *ret_skip)
{
	struct place root;
	int e = place_parse(r->root.id, &root);

	if (e < 0)
		return e;
	*ret_root = root.what;
	*ret_skip = 0;
	if (root.what != IS_ROOT && (!p->bucket || strcmp(p->bucket, root.bucket) != 0)) {
		e = -EXDEV;
	} else if (root.what == IS_ENTRY) {
		size_t n = strlen(root.entry);

		if (!p->entry || strncmp(p->entry, root.entry, n) != 0 || (p->entry[n] && p->entry[n] != '/'))
			e = -EXDEV;
		*ret_skip = n;
	}
	place_done(&root);
	return e;
}

/* "http://.../api/v1/b/BUCKET/a/b?ts=TS" */
static int place_of_url(const struct reduct *r, const char *url, struct place *ret)
{
	_cleanup_free_ char *path = NULL, *plain = NULL;
	struct place p = {.window = WINDOW_ALL};
	const char *query = strchr(url, '?');
	char *slash;
	int e = 0;

	url += strlen(r->api) + strlen("/b/");
	if (str_fmt(&path, "%.*s", (int)(query ? (size_t)(query - url) : strlen(url)), url) < 0)
		return -ENOMEM;
	e = str_percent_decode(path, &plain);
	if (e < 0)
		return e == -ENOMEM ? e : -ENOENT;
	slash = strchr(plain, '/');
	if (slash)
		*slash++ = 0;
	p.what = slash && *slash ? IS_ENTRY : IS_BUCKET;
	if (p.what == IS_ENTRY && query && str_starts(query, "?ts="))
		p.what = str_parse_u64(query + 4, &p.ts) == 0 && p.ts < REDUCT_TS_MAX ? IS_RECORD : IS_ROOT;
	if (!*plain || p.what == IS_ROOT)
		return -ENOENT;
	e = str_dup(plain, &p.bucket);
	if (e == 0 && p.what != IS_BUCKET)
		e = str_dup(slash, &p.entry);
	if (e < 0) {
		place_done(&p);
		return e;
	}
	*ret = p;
	return 0;
}

static int find_place(const struct reduct *r, const char *id, struct place *ret)
{
	static const char *const beginnings[] = {"entry:", "time:", "record:"};
	size_t n = strlen(r->api);
	int e;

	if (strncmp(id, r->api, n) == 0 && str_starts(id + n, "/b/"))
		return place_of_url(r, id, ret);
	e = place_parse(id, ret);
	if (e == 0 && ret->what <= IS_RECORD)
		return 0;
	if (e == 0)
		place_done(ret);        /* it has no place in the tree */
	for (size_t i = 0; e == -EINVAL && i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
		if (str_starts(id, beginnings[i]) && id[strlen(beginnings[i])] && !strchr(id + strlen(beginnings[i]), ':'))
			return -EISDIR; /* of an entry's name */
	return e == -ENOMEM ? e : -ENOENT;
}

static int lead_to(struct reduct *r, const struct place *p, struct page *io)
{
	struct bucket *b;
	enum what root;
	size_t skip;
	int e = below_root(r, p, &root, &skip);

	if (e < 0 || p->what == IS_ROOT)
		return e;
	e = reduct_bucket(r, p->bucket, BUCKET_FRESH_MS, &b);
	if (e < 0)
		return e;
	if (p->entry && !bucket_has_path(b, p->entry))
		e = -ENOENT;
	reduct_bucket_unref(r, b);
	if (e == 0 && root == IS_ROOT)
		e = add(io, &(struct place){.what = IS_BUCKET, .bucket = p->bucket}, p->bucket);
	if (e == 0 && p->entry && p->entry[skip])
		e = add_entry(io, p, skip ? skip + 1 : 0);
	if (e == 0 && p->what == IS_TIME)
		e = add_windows(io, p, p->window.level, p->window.start);
	if (e == 0 && p->what == IS_RECORD)
		e = add_record(r, io, p);
	return e;
}

int reduct_locate(struct session *s, const char *id, struct page *io)
{
	struct reduct *r = reduct_of(s);
	struct place p;
	int e = find_place(r, id, &p);

	if (e < 0)
		return e;
	e = lead_to(r, &p, io);
	place_done(&p);
	return e;
}

/* What gives it to who has a token: there is no page of the server's for a single record. */
int reduct_url(const struct session *s, const struct object *o, char **ret)
{
	const struct reduct *r = (const struct reduct *)s;
	_cleanup_free_ char *bucket = NULL, *entry = NULL;
	struct place p;
	int e = place_parse(o->id, &p);

	if (e < 0)
		return e;
	e = p.bucket ? name_encode_path(p.bucket, &bucket) : 0;
	if (e == 0 && p.entry)
		e = name_encode_path(p.entry, &entry);
	if (e == 0)
		e = !p.bucket ? str_dup(r->api, ret) : !p.entry ? str_fmt(ret, "%s/b/%s", r->api, bucket)
		    : place_is_record(&p) ? str_fmt(ret, "%s/b/%s/%s?ts=%llu", r->api, bucket, entry, (unsigned long long)p.ts)
		                          : str_fmt(ret, "%s/b/%s/%s", r->api, bucket, entry);
	place_done(&p);
	return e;
}
