/* tree.c - buckets, entries, the time tree and its records: lookup, list, stat, changed. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/reduct/private.h"
#include "base/clock.h"
#include "base/digest.h"

#define CROWDED 10000u                  /* more records than this in one directory are listed by smaller windows */
#define MINUTES_BY_SCAN 90000u          /* with so many records, a look at all costs less than asking for each minute's first */
#define CHILDREN_MAX 60                 /* windows in one below the days */
#define LIKELY_FROM 100000000000000u    /* 1973: numbers of up to 14 digits, which files are called by, are older times */
#define AHEAD_US (86400 * UINT64_C(1000000))    /* how far others' clocks may be ahead of ours */

/* ---- objects ---- */

static struct timespec time_of(uint64_t us)
{
	return (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
}

/* Takes what `o` owns. */
static int push(struct page *io, struct object *o)
{
	int e = vec_push(&io->objects, *o);

	if (e < 0)
		object_done(o);
	return e;
}

int dir_object(struct reduct *r, const struct place *p, const char *name, uint64_t us, struct object *ret)
{
	struct object o = {.kind = OBJECT_DIR, .rights = p->bucket ? reduct_rights(r, p->bucket) : RIGHT_READ | reduct_rights_root(r), .mtime = time_of(us)};
	int e = place_id(p, &o.id);

	if (place_is_of_versions(p))
		o.rights &= RIGHT_READ;
	o.ctime = o.mtime;
	if (e == 0)
		e = str_dup(name, &o.name);
	if (e < 0) {
		object_done(&o);
		return e;
	}
	*ret = o;
	return 0;
}

static int push_dir(struct reduct *r, const struct place *p, const char *name, uint64_t us, struct page *io)
{
	struct object o;
	int e = dir_object(r, p, name, us, &o);

	return e < 0 ? e : push(io, &o);
}

static int push_window(struct reduct *r, const struct place *of, const struct window *w, struct page *io)
{
	struct place p = {.what = IS_TIME, .bucket = of->bucket, .entry = of->entry, .window = *w};
	char name[WINDOW_NAME_MAX];

	window_name(w, name);
	return push_dir(r, &p, name, w->start, io);
}

int record_object(struct reduct *r, const struct place *in, const struct record *x, const char *name, struct object *ret)
{
	struct object o = {.kind = OBJECT_FILE, .size = x->size, .mtime = time_of(x->ts), .ctime = time_of(x->ts)};
	bool version = in->what == IS_NAME || in->what == IS_VERSION;
	struct place p = {.what = version ? IS_VERSION : IS_RECORD, .bucket = in->bucket, .entry = in->entry, .ts = x->ts};
	const char *label = record_label(x, "mtime"), *digest = record_label(x, "xxh3");
	unsigned turns = reduct_content_turns(r, in->bucket, in->entry, x->ts);
	int e = place_id(&p, &o.id);

	o.rights = reduct_rights(r, in->bucket) & (version ? RIGHT_READ : ~0u);
	if (label)
		(void)parse_mtime(label, &o.mtime);
	if (e == 0)
		e = name ? str_dup(name, &o.name) : record_is_named(x) && !version ? name_from_label(record_label(x, "filename"), &o.name)
		                                                : name_of_record(x->ts, x->type, &o.name);
	/* A body never changes; only removing and writing it anew makes another one, of which this is all that is told. */
	if (e == 0)
		e = turns ? str_fmt(&o.version, "%" PRIu64 ":%s~%u", x->size, x->type, turns)
		          : str_fmt(&o.version, "%" PRIu64 ":%s", x->size, x->type);
	if (e == 0)
		e = str_dup(record_is_sendable(x) ? "single" : "query", &o.content);
	if (e == 0)
		e = str_dup(x->type, &o.mime);
	if (e == 0 && digest && strlen(digest) == 16 && strspn(digest, "0123456789abcdef") == 16)
		e = str_fmt(&o.digest, "xxh3:%s", digest);
	if (e < 0) {
		object_done(&o);
		return e;
	}
	*ret = o;
	return 0;
}

static int push_record(struct reduct *r, const struct place *in, const struct record *x, const char *name, struct page *io)
{
	struct object o;
	int e = record_object(r, in, x, name, &o);

	return e < 0 ? e : push(io, &o);
}

/* ---- lists ---- */

static int list_root(struct reduct *r, struct page *io)
{
	struct ask a = {0};
	struct bucket **list = NULL;
	size_t n = 0;
	int e = reduct_ask(r, &a, "list");

	if (e == 0) {
		e = parse_buckets(buf_str(&a.text), a.text.len, &list, &n);
		if (e == -EBADMSG)
			backend_note_fault(a.status, NULL, json_error(), "list");
	}
	ask_done(&a);
	for (size_t i = 0; e == 0 && i < n; i++) {
		struct place p = {.what = IS_BUCKET, .bucket = list[i]->name};

		e = push_dir(r, &p, list[i]->name, list[i]->latest, io);
	}
	buckets_free(list, n);
	return e;
}

static int child_path(const struct place *p, const char *name, char **ret)
{
	return p->entry ? str_fmt(ret, "%s/%s", p->entry, name) : str_dup(name, ret);
}

/* The first parts of the names below. They are ordered as bytes, so "a" and "a/b" may have "a-b" between them. */
static int list_children(struct reduct *r, const struct bucket *b, const struct place *of, struct page *io)
{
	size_t skip = of->entry ? strlen(of->entry) + 1 : 0;
	struct map *seen = map_new();
	int e = seen ? 0 : -ENOMEM;

	for (size_t i = 0; e == 0 && i < b->entries.n; i++) {
		const struct entry_info *x = &b->entries.at[i];
		_cleanup_free_ char *name = NULL, *path = NULL;
		const struct entry_info *own;
		struct place p = {.what = IS_ENTRY, .bucket = of->bucket};

		if (x->deleting || (skip && (strncmp(x->name, of->entry, skip - 1) != 0 || x->name[skip - 1] != '/')) || !x->name[skip])
			continue;
		if (str_fmt(&name, "%.*s", (int)strcspn(x->name + skip, "/"), x->name + skip) < 0 || child_path(of, name, &path) < 0)
			e = -ENOMEM;
		/* "$meta" and the like are no entries. */
		if (e < 0 || !*name || *name == '$' || map_get(seen, name))
			continue;
		own = bucket_entry(b, path);
		p.entry = path;
		e = map_set(seen, name, seen);
		if (e == 0)
			e = push_dir(r, &p, name, own ? own->latest : 0, io);
	}
	map_free(seen);
	return e;
}

/* Windows of one level in another, that have something: from what is known of an entry. */
static int list_known(struct reduct *r, const struct place *of, const struct series *s, enum level level, struct page *io)
{
	uint64_t next = of->window.start;
	int e = 0;

	for (size_t i = 0; e == 0 && i < s->hours.n; i++) {
		struct window w = window_of(level, s->hours.at[i].start);

		if (w.start < next || w.start >= of->window.end)
			continue;
		next = w.end;
		e = push_window(r, of, &w, io);
	}
	return e;
}

/* The same by asking for the first record of each: two requests a window. */
static int list_asked(struct reduct *r, const struct place *of, enum level level, uint64_t from, struct page *io)
{
	while (from < of->window.end) {
		struct record x = {0};
		struct window w;
		int e = query_first(r, of->bucket, of->entry, from, of->window.end, &x);

		if (e != 1)
			return e;
		w = window_of(level, x.ts);
		record_done(&x);
		e = push_window(r, of, &w, io);
		if (e < 0)
			return e;
		from = w.end;
	}
	return 0;
}

static void clear(struct page *io)
{
	for (size_t i = 0; i < io->objects.n; i++)
		object_done(&io->objects.at[i]);
	io->objects.n = 0;
}

/* The records of a window; of more than it should hold (`crowded`: it is known to), the smaller windows that have some. */
static int list_leaf(struct reduct *r, const struct place *of, bool crowded, bool large, struct page *io)
{
	struct query q = {.bucket = of->bucket, .entry = of->entry, .start = of->window.start, .stop = of->window.end};
	enum level below = of->window.level + 1;
	struct window last = {0};
	struct records list = {0};
	VEC(struct window) windows = {0};
	uint64_t n = 0;
	int e;

	while ((e = query_next(r, &q, &list)) == 0 && list.list.n) {
		for (size_t i = 0; e == 0 && i < list.list.n; i++) {
			const struct record *x = &list.list.at[i];

			if (record_is_named(x))
				continue;
			if (++n > CROWDED && !crowded) {
				crowded = true;
				clear(io);
			}
			if (last.end <= x->ts) {
				last = window_of(below, x->ts);
				e = windows.n >= CHILDREN_MAX ? -EBADMSG : vec_push(&windows, last);
			}
			if (e == 0 && !crowded)
				e = push_record(r, of, x, NULL, io);
		}
		if (e < 0 || (crowded && large))
			break;
	}
	records_done(&list);
	for (size_t i = 0; e == 0 && crowded && i < windows.n; i++)
		e = push_window(r, of, &windows.at[i], io);
	vec_done(&windows);
	/* Of very many, those that are left cost less by asking for each window's first. */
	if (e == 0 && crowded && large && !q.ended)
		e = list_asked(r, of, below, last.end, io);
	return e;
}

/* However many there are, a page at a time: the cursor is the query's number and where it stands. */
static int list_pages(struct reduct *r, const struct place *of, struct page *io)
{
	struct query q = {.bucket = of->bucket, .entry = of->entry, .start = of->window.start, .stop = of->window.end};
	struct records list = {0};
	int e;

	if (io->cursor) {
		if (sscanf(io->cursor, "%" SCNu64 ":%" SCNu64, &q.id, &q.start) != 2)
			return -EINVAL;
		q.asked = q.id > 0;
	}
	e = query_next(r, &q, &list);
	for (size_t i = 0; e == 0 && i < list.list.n; i++)
		if (!record_is_named(&list.list.at[i]))
			e = push_record(r, of, &list.list.at[i], NULL, io);
	free(io->cursor);
	io->cursor = NULL;
	if (e == 0 && list.list.n && !q.ended)
		e = str_fmt(&io->cursor, "%" PRIu64 ":%" PRIu64, q.id, q.start);
	records_done(&list);
	return e;
}

static int list_entry(struct reduct *r, const struct place *of, const struct bucket *b, struct page *io)
{
	struct series *s = NULL;
	enum level layout = LEVEL_ENTRY;
	int e = list_children(r, b, of, io);

	if (e == 0)
		e = series_get(r, b, of->entry, &s);
	if (e < 0)      /* the beginning of others' names only */
		return e == -ENOENT ? bucket_has_path(b, of->entry) || reduct_is_made(r, of->bucket, of->entry) ? 0 : -ENOENT : e;
	for (size_t i = 0; e == 0 && i < s->named.n; i++)
		e = push_record(r, of, &s->named.at[i].record, s->named.at[i].name, io);
	if (e == 0 && s->hours.n) {
		e = layout_of(r, of->bucket, of->entry, &layout);
		if (e == 0)
			e = layout == LEVEL_ENTRY ? str_dup("0:0", &io->cursor) : list_known(r, of, s, LEVEL_DAY, io);
	}
	series_put(r, s);
	return e;
}

static int list_time(struct reduct *r, const struct place *of, const struct bucket *b, struct page *io)
{
	enum level level = of->window.level, layout;
	struct series *s = NULL;
	uint64_t count;
	bool leaf;
	int e;

	if (level == LEVEL_SECOND)
		return list_pages(r, of, io);
	e = layout_of(r, of->bucket, of->entry, &layout);
	if (e < 0)
		return e;
	leaf = level >= layout;
	/* To list records, what is known of the others helps, but is not worth a request. */
	if (leaf)
		s = series_peek(r, b, of->entry);
	else
		e = series_get(r, b, of->entry, &s);
	if (e < 0)
		return e;
	count = s ? series_count(s, &of->window) : COUNT_UNKNOWN;
	if (!s && !bucket_entry(b, of->entry))
		e = -ENOENT;
	else if (!count)
		;
	else if (leaf)
		e = list_leaf(r, of, count != COUNT_UNKNOWN && count > CROWDED, bucket_entry(b, of->entry)->count > SERIES_LARGE, io);
	else if (level == LEVEL_DAY && !s->large)
		e = list_known(r, of, s, LEVEL_HOUR, io);
	else if (count < MINUTES_BY_SCAN)
		e = list_leaf(r, of, true, false, io);
	else
		e = list_asked(r, of, level + 1, of->window.start, io);
	if (s)
		series_put(r, s);
	return e;
}

/* ---- all records of one name ---- */

static int list_versions(struct reduct *r, const struct place *of, const struct bucket *b, struct page *io)
{
	struct series *s;
	int e = series_get(r, b, of->entry, &s);

	if (e < 0)
		return e;
	for (size_t i = 0; e == 0 && i < s->named.n; i++) {
		struct place p = {.what = IS_NAME, .bucket = of->bucket, .entry = of->entry, .name = s->named.at[i].name};

		e = push_dir(r, &p, p.name, s->named.at[i].record.ts, io);
	}
	series_put(r, s);
	return e;
}

static int list_name(struct reduct *r, const struct place *of, struct page *io)
{
	struct records list = {0};
	int e = query_versions(r, of->bucket, of->entry, of->name, true, &list);

	for (size_t i = 0; e == 0 && i < list.list.n; i++)
		e = push_record(r, of, &list.list.at[i], NULL, io);
	records_done(&list);
	return e;
}

static int lookup_versions(struct reduct *r, const struct place *in, const char *name, struct page *io)
{
	struct place p = {.what = IS_NAME, .bucket = in->bucket, .entry = in->entry, .name = (char *)name};
	struct record x = {0};
	int e = query_file(r, in->bucket, in->entry, name, &x);

	if (e == 1)
		e = push_dir(r, &p, name, x.ts, io);
	record_done(&x);
	return e == -ENOENT ? 0 : e;
}

static int lookup_name(struct reduct *r, const struct place *in, const char *name, struct page *io)
{
	_cleanup_free_ char *is = NULL;
	struct record x = {0};
	uint64_t ts;
	int e;

	if (!name_parse_record(name, &ts))
		return 0;
	e = query_one(r, in->bucket, in->entry, ts, &x);
	if (e == 0 && record_is_named(&x))
		e = name_from_label(record_label(&x, "filename"), &is);
	if (e == 0 && str_eq(is, in->name))
		e = push_record(r, in, &x, name, io);
	record_done(&x);
	return e == -ENOENT ? 0 : e;
}

int reduct_control_object(struct session *s, const struct object *about, const char *name, struct object *ret)
{
	struct place p;
	int e = place_parse(about->id, &p);

	if (e < 0)
		return e;
	if (p.what != IS_ENTRY || strcmp(name, "versions") != 0) {
		e = -ENOENT;
	} else {
		p.what = IS_VERSIONS;
		e = dir_object(reduct_of(s), &p, name, 0, ret);
	}
	place_done(&p);
	return e;
}

static int list_place(struct reduct *r, const struct place *of, struct page *io)
{
	struct bucket *b;
	int e;

	if (of->what == IS_ROOT)
		return list_root(r, io);
	if (place_is_record(of))
		return -ENOTDIR;
	if (of->what == IS_NAME)
		return list_name(r, of, io);
	if (io->cursor)
		return list_pages(r, of, io);
	e = reduct_bucket(r, of->bucket, BUCKET_FRESH_MS, &b);
	if (e < 0)
		return e;
	if (of->what == IS_BUCKET)
		e = list_children(r, b, of, io);
	else if (of->what == IS_ENTRY)
		e = list_entry(r, of, b, io);
	else if (of->what == IS_VERSIONS)
		e = list_versions(r, of, b, io);
	else
		e = list_time(r, of, b, io);
	reduct_bucket_unref(r, b);
	return e;
}

int reduct_list(struct session *s, const struct object *dir, struct page *io)
{
	struct place p;
	int e = place_parse(dir->id, &p);

	if (e == 0) {
		e = list_place(reduct_of(s), &p, io);
		place_done(&p);
	}
	return e;
}

/* ---- lookups ---- */

/* A bucket that may be written to but not read shows nothing of itself but that it is there. */
static int bucket_object(struct reduct *r, const char *name, struct object *ret)
{
	struct place p = {.what = IS_BUCKET, .bucket = (char *)name};
	struct bucket *b = NULL;
	int e = reduct_bucket(r, name, BUCKET_FRESH_MS, &b);

	if (e == -EACCES && !(reduct_rights(r, name) & RIGHT_READ)) {
		_cleanup_free_ char *path = NULL;
		struct ask a = {.method = "HEAD"};

		e = name_encode_path(name, &path);
		if (e == 0)
			e = reduct_ask(r, &a, "b/%s", path);
		ask_done(&a);
		if (e == -EBUSY)
			e = -ENOENT;
		return e < 0 ? e : dir_object(r, &p, name, 0, ret);
	}
	if (e == 0) {
		e = dir_object(r, &p, name, b->latest, ret);
		reduct_bucket_unref(r, b);
	}
	return e;
}

int window_exists(struct reduct *r, const struct place *in, const struct bucket *b, const struct window *w)
{
	const struct entry_info *info = bucket_entry(b, in->entry);
	struct series *s = series_peek(r, b, in->entry);
	uint64_t count = COUNT_UNKNOWN;
	struct record x = {0};
	int e;

	if (s) {
		count = series_count(s, w);
		series_put(r, s);
	}
	if (!info || !info->count || !count)
		return 0;
	if (count != COUNT_UNKNOWN)
		return 1;
	e = query_first(r, in->bucket, in->entry, w->start, w->end, &x);
	record_done(&x);
	return e;
}

static int lookup_window(struct reduct *r, const struct place *in, const struct bucket *b, const char *name, struct page *io)
{
	struct window w;
	int e;

	if (!window_parse(&in->window, name, &w))
		return 0;
	e = window_exists(r, in, b, &w);
	return e < 0 ? e : e ? push_window(r, in, &w, io) : 0;
}

static int lookup_time(struct reduct *r, const struct place *in, const char *name, struct page *io)
{
	struct record x = {0};
	uint64_t ts;
	int e;

	if (!name_parse_record(name, &ts) || ts < in->window.start || ts >= in->window.end)
		return 0;
	e = query_one(r, in->bucket, in->entry, ts, &x);
	if (e == -ENOENT)
		return 0;
	if (e == 0 && !record_is_named(&x))
		e = push_record(r, in, &x, name, io);
	record_done(&x);
	return e;
}

static int lookup_file(struct reduct *r, const struct place *in, const struct bucket *b, const char *name, struct page *io)
{
	struct series *s = series_peek(r, b, in->entry);
	struct record x = {0};
	int e;

	if (s) {
		const struct named *n = series_find(s, name);

		e = n ? push_record(r, in, &n->record, name, io) : 0;
		series_put(r, s);
		return e;
	}
	e = query_file(r, in->bucket, in->entry, name, &x);
	if (e == 1)
		e = push_record(r, in, &x, name, io);
	record_done(&x);
	return e;
}

/* What may be written to and not read holds, as far as we know, what this mount has made. */
static bool is_drop_box(struct reduct *r, const char *bucket)
{
	return (reduct_rights(r, bucket) & (RIGHT_READ | RIGHT_WRITE)) == RIGHT_WRITE;
}

static int lookup_made(struct reduct *r, const struct place *in, const char *name, struct page *io)
{
	_cleanup_free_ char *path = NULL;
	struct place p = {.what = IS_ENTRY, .bucket = in->bucket};
	int e = in->what == IS_TIME ? 0 : child_path(in, name, &path);

	p.entry = path;
	return e < 0 || !path || !reduct_is_made(r, in->bucket, path) ? e : push_dir(r, &p, name, 0, io);
}

static int lookup_below(struct reduct *r, const struct place *in, const char *name, struct page *io)
{
	struct bucket *b;
	const struct entry_info *info;
	/* With a second dot it is a file's name: see target_of(). */
	bool long_digits = strspn(name, "0123456789") == 16 && (!name[16] || (name[16] == '.' && name[17] && !strchr(name + 17, '.')));
	int e = reduct_bucket(r, in->bucket, BUCKET_FRESH_MS, &b);

	if (e == -EACCES && is_drop_box(r, in->bucket))
		return lookup_made(r, in, name, io);
	if (e < 0)
		return e;
	if (in->what != IS_TIME) {
		_cleanup_free_ char *path = NULL;
		struct place p = {.what = IS_ENTRY, .bucket = in->bucket};

		e = child_path(in, name, &path);
		p.entry = path;
		if (e == 0 && *name && *name != '$' && !strchr(name, '/') &&
		    (bucket_has_path(b, path) || reduct_is_made(r, in->bucket, path))) {
			info = bucket_entry(b, path);
			e = push_dir(r, &p, name, info ? info->latest : 0, io);
		}
	}
	info = in->entry ? bucket_entry(b, in->entry) : NULL;
	if (e == 0 && !io->objects.n && info && info->count) {
		e = lookup_window(r, in, b, name, io);
		if (e == 0 && !io->objects.n && in->what == IS_ENTRY && !long_digits)
			e = lookup_file(r, in, b, name, io);
		if (e == 0 && !io->objects.n)
			e = lookup_time(r, in, name, io);
		if (e == 0 && !io->objects.n && in->what == IS_ENTRY && long_digits)
			e = lookup_file(r, in, b, name, io);
	}
	reduct_bucket_unref(r, b);
	return e;
}

int reduct_lookup(struct session *s, const struct object *dir, const char *name, struct page *io)
{
	struct reduct *r = reduct_of(s);
	struct place p;
	int e = place_parse(dir->id, &p);

	if (e < 0)
		return e;
	if (p.what == IS_ROOT) {
		struct object o;

		e = name_is_bucket(name) ? bucket_object(r, name, &o) : -ENOENT;
		e = e == 0 ? push(io, &o) : e == -ENOENT ? 0 : e;
	} else if (p.what == IS_VERSIONS) {
		e = lookup_versions(r, &p, name, io);
	} else if (p.what == IS_NAME) {
		e = lookup_name(r, &p, name, io);
	} else {
		e = lookup_below(r, &p, name, io);
	}
	place_done(&p);
	return e;
}

/* A number that is no likely time is one of a record only where such are known. Whoever writes thousands of files that are called by
 * numbers must not pay a request for each of them. */
static bool may_be_record(struct reduct *r, const struct place *in, const char *name, uint64_t ts)
{
	uint64_t now = (uint64_t)clock_wall().tv_sec * 1000000;
	const struct entry_info *e;
	struct bucket *b;
	bool may = false;

	if (strcspn(name, ".") == 16 || (ts >= LIKELY_FROM && ts < now + AHEAD_US))
		return true;
	WITH_LOCK(&r->lock)
		may = ts >= r->given_first && ts <= r->given_last;
	if (may)
		return true;
	b = reduct_bucket_known(r, in->bucket, UINT32_MAX);
	if (!b)
		return true;            /* who asks knows afterwards */
	e = bucket_entry(b, in->entry);
	may = e && e->count && ts >= e->oldest && ts <= e->latest;
	reduct_bucket_unref(r, b);
	return may;
}

/* A record is found in every directory whose time holds its own, under any extension, and is listed in one of them. */
bool reduct_unlisted(const struct session *s, const struct object *dir, const char *name)
{
	struct place p;
	uint64_t ts;
	bool is;

	if (strcmp(dir->id, "root") == 0)       /* the server's own, and those that are only written to */
		return name_is_bucket(name) && (name[0] == '$' || is_drop_box(reduct_of((struct session *)s), name));
	if (!name_parse_record(name, &ts) || strcspn(name, ".") < 3 || place_parse(dir->id, &p) < 0)
		return false;
	is = (p.what == IS_ENTRY || p.what == IS_TIME) && ts >= p.window.start && ts < p.window.end &&
	     may_be_record(reduct_of((struct session *)s), &p, name, ts);
	place_done(&p);
	return is;
}

int reduct_resolve(struct reduct *r, const char *path, struct object *ret)
{
	_cleanup_free_ char *whole = NULL;
	struct place p = {.what = IS_ROOT};
	struct bucket *b;
	size_t n = strlen(path);
	char *slash;
	int e;

	while (n && path[n - 1] == '/')
		n--;
	if (!n)
		return dir_object(r, &p, "", 0, ret);
	if (str_fmt(&whole, "%.*s", (int)n, path) < 0)
		return -ENOMEM;
	slash = strchr(whole, '/');
	if (!slash)
		return name_is_bucket(whole) ? bucket_object(r, whole, ret) : -ENOENT;
	*slash = 0;
	p = (struct place){.what = IS_ENTRY, .bucket = whole, .entry = slash + 1};
	if (!name_is_bucket(whole))
		return -ENOENT;
	e = reduct_bucket(r, whole, BUCKET_FRESH_MS, &b);
	if (e < 0)
		return e;
	if (!bucket_has_path(b, p.entry)) {
		e = -ENOENT;
	} else {
		const struct entry_info *info = bucket_entry(b, p.entry);

		e = dir_object(r, &p, strrchr(p.entry, '/') ? strrchr(p.entry, '/') + 1 : p.entry, info ? info->latest : 0, ret);
	}
	reduct_bucket_unref(r, b);
	return e;
}

/* ---- looking again ---- */

static int stat_dir(struct reduct *r, const struct place *p, const struct object *o, struct object *ret)
{
	const struct entry_info *info;
	struct bucket *b;
	int e = reduct_bucket(r, p->bucket, BUCKET_FRESH_MS, &b);

	if (e == -EACCES && is_drop_box(r, p->bucket) && reduct_is_made(r, p->bucket, p->entry))
		return object_copy(o, ret);
	if (e < 0)
		return e;
	info = bucket_entry(b, p->entry);
	if (!bucket_has_path(b, p->entry) && !reduct_is_made(r, p->bucket, p->entry))
		e = -ENOENT;
	else if (p->what == IS_ENTRY)
		e = dir_object(r, p, o->name, info ? info->latest : 0, ret);
	else
		e = p->what == IS_TIME ? window_exists(r, p, b, &p->window) : 1;
	reduct_bucket_unref(r, b);
	if (e < 0 || p->what == IS_ENTRY)
		return e;
	return e ? object_copy(o, ret) : -ENOENT;
}

/* By itself where that is safe, else by a query. */
int record_now(struct reduct *r, const struct place *p, bool single, struct record *ret)
{
	_cleanup_free_ char *bucket = NULL, *entry = NULL;
	struct ask a = {.method = "HEAD", .max_headers = 128u << 10};
	int e;

	if (!single)
		return query_one(r, p->bucket, p->entry, p->ts, ret);
	e = name_encode_path(p->bucket, &bucket);
	if (e == 0)
		e = name_encode_path(p->entry, &entry);
	if (e == 0)
		e = reduct_ask(r, &a, "b/%s/%s?ts=%" PRIu64, bucket, entry, p->ts);
	if (e == 0)
		e = parse_single(buf_str(&a.head), a.head.len, ret);
	ask_done(&a);
	if (e == 0 && ret->ts != p->ts) {
		record_done(ret);
		e = -EBADMSG;
	}
	return e == -EBUSY ? -ENOENT : e;
}

static int stat_record(struct reduct *r, const struct place *p, const struct object *o, struct object *ret)
{
	struct record x = {0};
	struct bucket *b;
	int e = 0;

	/* Of what comes in parts: were records of this entry removed since? Then its parts may be of two places. */
	if (o->size > r->session.policy.whole_below) {
		e = reduct_bucket(r, p->bucket, 0, &b);
		if (e < 0)
			return e;
		reduct_bucket_unref(r, b);
	}
	e = record_now(r, p, str_eq(o->content, "single"), &x);
	if (e == 0) {
		e = record_object(r, p, &x, NULL, ret);
		record_done(&x);
	}
	/* It keeps the name under which it was found, while it is one of its own. */
	if (e == 0 && o->name) {
		uint64_t ts;

		if (name_parse_record(o->name, &ts) && ts == p->ts) {
			free(ret->name);
			ret->name = NULL;
			e = str_dup(o->name, &ret->name);
			if (e < 0)
				object_done(ret);
		}
	}
	return e;
}

int reduct_stat(struct session *s, const struct object *o, struct object *ret)
{
	struct reduct *r = reduct_of(s);
	struct place p;
	int e = place_parse(o->id, &p);

	if (e < 0)
		return e;
	if (p.what == IS_ROOT)
		e = object_copy(o, ret);
	else if (p.what == IS_BUCKET)
		e = bucket_object(r, p.bucket, ret);
	else if (place_is_record(&p))
		e = stat_record(r, &p, o, ret);
	else
		e = stat_dir(r, &p, o, ret);
	place_done(&p);
	return e;
}

/* A bucket's names and figures as one number. */
static uint64_t names_hash(const struct bucket *b)
{
	uint64_t h = 0;

	for (size_t i = 0; i < b->entries.n; i++) {
		char figures[64];

		snprintf(figures, sizeof(figures), "%d:%" PRIu64 ":%" PRIx64, b->entries.at[i].deleting, b->entries.at[i].latest, h);
		h = digest_hash64((const char *const[]){b->entries.at[i].name, figures, NULL});
	}
	return h;
}

/* A record that is being written is in the figures already: only when the newest can be found do they stand for all. */
static int newest_is_there(struct reduct *r, const struct place *p, const struct entry_info *info)
{
	struct record x = {0};
	int e = query_one(r, p->bucket, p->entry, info->latest, &x);

	record_done(&x);
	return e == 0 ? 1 : e == -ENOENT ? 0 : e;
}

/* Of a window in which nothing can have changed, though the entry has grown elsewhere, the fingerprint stays. */
static int fingerprint(struct reduct *r, const struct place *p, const struct bucket *b, char **ret)
{
	const struct entry_info *info = p->entry ? bucket_entry(b, p->entry) : NULL;
	uint64_t n = COUNT_UNKNOWN, generation = 0, more = 0;
	enum level layout;
	struct series *s;
	int e;

	if (p->what == IS_BUCKET || !info)
		return str_fmt(ret, "names:%" PRIx64, names_hash(b));
	e = layout_of(r, b->name, p->entry, &layout);
	if (e < 0)
		return e;
	/* What is kept is brought up to date by a request or two; to begin it would cost a look at all records. */
	e = series_is_kept(r, b->name, p->entry) ? series_get(r, b, p->entry, &s) : -ENOTSUP;
	if (e == 0) {
		n = p->what == IS_TIME ? series_count(s, &p->window) : COUNT_UNKNOWN;
		generation = s->generation;
		more = s->seen;
		series_put(r, s);
	} else if (info->count && info->latest >= p->window.start && info->latest < p->window.end) {
		e = newest_is_there(r, p, info);
		if (e < 0)
			return e;
		more = e ? 0 : clock_mono_ms();
	}
	if (n != COUNT_UNKNOWN)
		return str_fmt(ret, "times:%d:%" PRIu64 ":%" PRIu64, layout, generation, n);
	return str_fmt(ret, "stamp:%d:%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":%" PRIu64 ":%" PRIx64, layout, info->count, info->size,
	               info->latest, info->blocks, more, p->what == IS_ENTRY ? names_hash(b) : 0);
}

int reduct_changed(struct session *s, const struct object *dir, char **io)
{
	struct reduct *r = reduct_of(s);
	_cleanup_free_ char *now = NULL;
	struct bucket *b;
	struct place p;
	int e = place_parse(dir->id, &p);

	if (e < 0)
		return e;
	if (p.what == IS_ROOT || p.what >= IS_RECORD) {
		place_done(&p);
		return 1;
	}
	e = reduct_bucket(r, p.bucket, BUCKET_FRESH_MS, &b);
	if (e == 0) {
		e = fingerprint(r, &p, b, &now);
		reduct_bucket_unref(r, b);
	}
	place_done(&p);
	if (e < 0)
		return e;
	e = !str_eq(now, *io);
	free(*io);
	*io = TAKE(now);
	return e;
}
