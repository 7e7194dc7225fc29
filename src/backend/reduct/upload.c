/* upload.c - files that become records: alone, streamed from the draft, or many small ones as one batch.
 *
 * A record cannot be replaced, and one that is sent twice is there twice if its time was drawn anew. So the time is drawn here, written
 * down (note()) before anything is sent, and an attempt that comes after one without an answer looks at that time first. Times of
 * one entry ascend, and one request at a time writes to it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/reduct/private.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#define MINOR_EMPTY 18                  /* since then a batch may end with an empty record */
#define MINOR_NESTED 19
#define LIES_FROM 18                    /* servers of these versions may lose what they have acknowledged */
#define LIES_TO 20
#define TRIES 4
#define NEIGHBOURS 16                   /* records behind a late one that are looked for again */
#define EARLY_MS 4000                   /* so long records that are still being written are waited for, all of one request together */
#define EARLY_LOOK_MS 500
#define COMPARED_MAX (16u << 20)        /* a content that may be ours is held against it up to this size */
#define USED_MAX 4096
#define BATCH_LINE_MAX 6000             /* bytes of a record's header in a batch: the server takes 512,000 in all */

/* ---- what may be where; pure ---- */

int target_of(const struct place *in, const char *name, struct target *ret, const char **ret_why)
{
	size_t digits = strspn(name, "0123456789");
	struct target t = {0};
	struct window w;

	*ret_why = "versions are only looked at";
	if (place_is_of_versions(in))
		return -EPERM;
	*ret_why = "";
	if (in->what == IS_ROOT || in->what == IS_BUCKET) {
		*ret_why = in->what == IS_ROOT ? "files are in entries, entries in buckets" : "files are in entries: make a directory first";
		return -EPERM;
	}
	if (in->what == IS_TIME) {
		_cleanup_free_ char *own = NULL;

		*ret_why = "days and hours hold records of their time only, named by microseconds since 1970 and their type's extension; "
		           "other names are in the entry itself";
		if (!name_parse_record(name, &t.ts) || t.ts < in->window.start || t.ts >= in->window.end)
			return -EINVAL;
		if (name_of_record(t.ts, name_type(name), &own) < 0)
			return -ENOMEM;
		if (name[digits] && strcmp(own, name) != 0)
			return -EINVAL;
		t.by_time = true;
	} else {
		*ret_why = "that is the name of a day";
		if (window_parse(&in->window, name, &w))
			return -EINVAL;
		/* With a second dot it is a name: a copy that was put beside another's record must not be of its time. */
		t.by_time = digits == 16 && (!name[16] || (name[16] == '.' && name[17] && !strchr(name + 17, '.'))) && name_parse_record(name, &t.ts);
		t.named = !t.by_time;
		if (t.by_time && name[16]) {
			_cleanup_free_ char *own = NULL;

			if (name_of_record(t.ts, name_type(name), &own) < 0)
				return -ENOMEM;
			t.named = strcmp(own, name) != 0;
		}
	}
	*ret = t;
	return 0;
}

static bool may_lie(const struct reduct *r)
{
	return r->minor >= LIES_FROM && r->minor <= LIES_TO;
}

int reduct_check_late(const struct reduct *r, const struct entry_info *e, uint64_t ts)
{
	if (!e || !e->count || !may_lie(r) || r->late_verify || ts >= e->latest || ts < e->oldest)
		return 0;
	backend_note_fault(0, NULL, "it is older than the entry's latest record, and servers of versions 1.18 to 1.20 may lose such (late=verify tries)",
	                   NULL);
	return -EPERM;
}

static int check_dir_name(const struct reduct *r, const struct place *in, const char *name, const char **ret_why)
{
	*ret_why = "versions are only looked at";
	if (place_is_of_versions(in))
		return -EPERM;
	*ret_why = "names of buckets and entries have letters, digits, '_' and '-' only";
	if (in->what == IS_TIME) {
		*ret_why = "days and hours come with the records of their time";
		return -EPERM;
	}
	if (!name_is_segment(name))
		return -EINVAL;
	if (in->what == IS_BUCKET && strcmp(name, "rename") == 0) {
		*ret_why = "no entry can be called so: the server takes it for one of its own words";
		return -EINVAL;
	}
	if (in->what != IS_ENTRY)
		return 0;
	*ret_why = "servers before 1.19 have no entries in entries";
	if (r->minor < MINOR_NESTED)
		return -EPERM;
	*ret_why = "no entry in an entry can be called so: the server takes it for one of its own words";
	return strcmp(name, "rename") == 0 || strcmp(name, "q") == 0 || strcmp(name, "batch") == 0 ? -EINVAL : 0;
}

static int check_file_name(const struct reduct *r, const struct place *in, const char *name, const char **ret_why)
{
	struct target t;
	struct bucket *b;
	int e = target_of(in, name, &t, ret_why);

	if (e < 0 || !t.by_time)
		return e;
	*ret_why = NULL;
	b = reduct_bucket_known((struct reduct *)r, in->bucket, UINT32_MAX);
	if (b) {
		e = reduct_check_late(r, bucket_entry(b, in->entry), t.ts);
		reduct_bucket_unref((struct reduct *)r, b);
	}
	return e;
}

int reduct_plan_create(const struct session *s, const struct object *dir, const char *name, enum object_kind kind, struct object *ret)
{
	const struct reduct *r = (const struct reduct *)s;
	struct object o = {.kind = kind, .rights = dir->rights};
	const char *why = NULL;
	struct place in;
	int e = place_parse(dir->id, &in);

	if (e < 0)
		return e;
	if (kind == OBJECT_LINK) {
		why = "there are no links";
		e = -EPERM;
	} else {
		e = kind == OBJECT_DIR ? check_dir_name(r, &in, name, &why) : check_file_name(r, &in, name, &why);
	}
	if (e < 0 && why)
		backend_note_fault(0, NULL, why, NULL);
	if (e == 0 && !(dir->rights & RIGHT_WRITE)) {
		backend_note_fault(0, NULL, in.what == IS_ROOT ? "only a token with full access may make buckets" : "the token gives no right to write here",
		                   NULL);
		e = -EACCES;
	}
	place_done(&in);
	if (e == 0)
		e = str_dup(name, &o.name);
	if (e == 0 && kind == OBJECT_FILE) {
		o.rights |= RIGHT_READ;         /* while it is only here */
		e = str_dup(name_type(name), &o.mime);
	}
	if (e < 0) {
		object_done(&o);
		return e;
	}
	*ret = o;
	return 0;
}

/* Is it a file with a name, or one that its time names? */
static bool is_by_time(const struct object *o, const struct place *p)
{
	uint64_t ts;

	return name_parse_record(o->name, &ts) && ts == p->ts;
}

static int check_base(const struct reduct *r, const struct object *o, const struct place *p)
{
	if (r->overwrite == OVERWRITE_NO) {
		backend_note_fault(0, NULL, "with overwrite=no no file is written over", NULL);
		return -EPERM;
	}
	if (is_by_time(o, p) && r->overwrite != OVERWRITE_REPLACE) {
		backend_note_fault(0, NULL, "a record is not written over, but with overwrite=replace", NULL);
		return -EPERM;
	}
	return 0;
}

int reduct_check_write(const struct session *s, const struct object *o)
{
	struct place p;
	int e;

	if (place_parse(o->id, &p) < 0)
		return 0;       /* not at the server yet */
	e = p.what == IS_RECORD ? check_base((const struct reduct *)s, o, &p) : 0;
	place_done(&p);
	return e;
}

int reduct_lane(const struct session *s, const struct object *dir, const char *name, const struct object *base, char **ret)
{
	struct place in;
	int e = place_parse(dir->id, &in);

	(void)s, (void)name, (void)base;
	if (e < 0)
		return e;
	e = in.entry ? str_fmt(ret, "%s/%s", in.bucket, in.entry) : -EINVAL;
	place_done(&in);
	return e;
}

/* ---- one record ---- */

struct item {
	struct upload *u;
	struct place in;
	struct target t;
	uint64_t ts;
	const char *type;               /* borrowed */
	VEC(struct label) labels;
	bool tried;                     /* it may be there */
	bool late;                      /* older than the entry's latest, and with `inside` not older than all */
	bool inside;
	bool took_attrs, took_mtime;
	uint64_t *early_until;          /* shared by those that are sent together; 0: none was early yet */
	/* Of one in a batch: */
	int result;
	bool there;
};

static void item_done(struct item *it)
{
	place_done(&it->in);
	for (size_t i = 0; i < it->labels.n; i++)
		label_done(&it->labels.at[i]);
	vec_done(&it->labels);
}

static int add_label(struct item *it, const char *name, char *value)
{
	struct label l = {.value = value};
	int e = str_dup(name, &l.name);

	if (e == 0)
		e = vec_push(&it->labels, l);
	if (e < 0)
		label_done(&l);
	return e;
}

/* What was set of it goes along, if all of that can. */
static int take_attrs(struct item *it)
{
	const struct attrs *a = it->u->attrs;
	size_t before = it->labels.n, bytes = 0;
	int e = 1;

	for (size_t i = 0; a && e >= 0 && i < a->list.n; i++) {
		struct label l = {0};

		if (strcmp(a->list.at[i].name, "reduct.content_type") == 0 && a->list.at[i].value) {
			it->type = a->list.at[i].value;
			for (const char *p = it->type; *p; p++)
				if (*p < 0x20 || *p > 0x7e)
					e = -EINVAL;
			continue;
		}
		e = label_of_attr(&a->list.at[i], &l);
		bytes += l.name ? strlen(l.name) + strlen(l.value) : 0;
		if (e == 1 && a->list.at[i].value && *l.value && strcmp(l.name, "mtime") != 0) {
			/* The later one stands. */
			for (size_t k = before; k < it->labels.n; k++)
				if (strcmp(it->labels.at[k].name, l.name) == 0) {
					label_done(&it->labels.at[k]);
					it->labels.at[k] = it->labels.at[--it->labels.n];
					break;
				}
			e = vec_push(&it->labels, l) < 0 ? -ENOMEM : 1;
			if (e == -ENOMEM)
				label_done(&l);
		} else {
			label_done(&l);
		}
	}
	if (e == -ENOMEM)
		return e;
	it->took_attrs = e >= 0 && it->labels.n <= LABELS_MAX && bytes <= LABELS_BYTES;
	if (!it->took_attrs) {
		/* It is refused when its turn has come, by set_attrs(). */
		while (it->labels.n > before)
			label_done(&it->labels.at[--it->labels.n]);
	}
	return 0;
}

static int item_init(struct reduct *r, struct upload *u, uint64_t *early_until, struct item *it)
{
	const char *why = NULL;
	char *text = NULL;
	int e = place_parse(u->dir->id, &it->in);

	it->u = u;
	it->early_until = early_until;
	if (e == 0)
		e = target_of(&it->in, u->name, &it->t, &why);
	if (e < 0) {
		if (why)
			backend_note_fault(0, NULL, why, NULL);
		return e;
	}
	if (!(reduct_rights(r, it->in.bucket) & RIGHT_WRITE)) {
		backend_note_fault(0, NULL, "the token gives no right to write here", NULL);
		return -EACCES;
	}
	it->type = u->mime ? u->mime : name_type(u->name);
	if (it->t.by_time && !it->t.named) {
		/* What is known of the entry may be older than this record. */
		WITH_LOCK(&r->lock) {
			r->given_first = it->t.ts < r->given_first ? it->t.ts : r->given_first;
			r->given_last = it->t.ts > r->given_last ? it->t.ts : r->given_last;
		}
	}
	if (it->t.named) {
		e = name_to_label(u->name, &text);
		if (e == 0)
			e = add_label(it, "filename", text);
	}
	if (e == 0 && (it->t.named || u->mtime_set)) {
		struct object any = {0};

		e = backend_write_time(&r->session, &any, u->mtime, &text);
		if (e == 0)
			e = add_label(it, "mtime", text);
		it->took_mtime = e == 0;
	}
	return e < 0 ? e : take_attrs(it);
}

static const char *item_label(const struct item *it, const char *name)
{
	for (size_t i = 0; i < it->labels.n; i++)
		if (strcmp(it->labels.at[i].name, name) == 0)
			return it->labels.at[i].value;
	return NULL;
}

/* ---- times ---- */

static int used_key(const struct item *it, char **ret)
{
	return str_fmt(ret, "%s/%s", it->in.bucket, it->in.entry);
}

/* The next time of a record in this entry: now, or behind all that are known. */
static int draw_ts(struct reduct *r, struct item *it, const struct entry_info *info)
{
	_cleanup_free_ char *key = NULL;
	struct timespec t = r->ts_mtime ? it->u->mtime : clock_wall();
	uint64_t ts = t.tv_sec < 0 ? 0 : (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
	int e = used_key(it, &key);

	if (e < 0)
		return e;
	/* With their own times only equal ones move aside. */
	if (!r->ts_mtime && info && info->count && ts <= info->latest)
		ts = info->latest + 1;
	WITH_LOCK(&r->lock) {
		struct moment *m = map_get(r->used, key);

		if (!m && map_count(r->used) >= USED_MAX) {
			struct map_iter at = {0};
			const char *name;
			void *value;

			/* The server knows its latest too. */
			while (map_next(r->used, &at, &name, &value))
				free(value);
			map_clear(r->used);
		}
		if (!m) {
			m = calloc(1, sizeof(*m));
			if (!m || map_set(r->used, key, m) < 0) {
				free(m);
				e = -ENOMEM;
				break;
			}
		}
		if (m->at == ts || (!r->ts_mtime && ts < m->at))
			ts = m->at + 1;
		m->at = ts;
	}
	if (e == 0 && ts >= REDUCT_TS_MAX)
		e = -EINVAL;
	it->ts = ts;
	return e;
}

/* What the server says of this bucket, a second old at most. NULL and 0: we may write there, and not look. */
static int know_bucket(struct reduct *r, const char *name, struct bucket **ret)
{
	int e = 0;

	*ret = reduct_bucket_known(r, name, BUCKET_FRESH_MS);
	if (!*ret)
		e = reduct_bucket(r, name, BUCKET_FRESH_MS, ret);
	if (e == -EACCES && !(reduct_rights(r, name) & RIGHT_READ))
		e = 0;
	return e;
}

/* "TIME BUCKET/ENTRY" */
static int write_note(const struct item *it, char **ret)
{
	return str_fmt(ret, "%" PRIu64 " %s/%s", it->ts, it->in.bucket, it->in.entry);
}

static int note_ts(struct item *it)
{
	_cleanup_free_ char *text = NULL;
	int e = write_note(it, &text);

	return e < 0 ? e : it->u->note(it->u, text, 0);
}

/* Those of which nothing is wrong so far; the result of each is set. */
static void note_all(struct item *const its[], size_t n)
{
	struct upload **u = calloc(n, sizeof(*u));
	char **texts = calloc(n, sizeof(*texts));
	size_t k = 0;
	int e = u && texts ? 0 : -ENOMEM;

	for (size_t i = 0; e == 0 && i < n; i++) {
		if (its[i]->result < 0)
			continue;
		u[k] = its[i]->u;
		e = write_note(its[i], &texts[k++]);
	}
	if (e == 0)
		e = backend_note_many(u, (const char *const *)texts, k);
	for (size_t i = 0; e < 0 && i < n; i++)
		if (its[i]->result == 0)
			its[i]->result = e;
	for (size_t i = 0; i < k; i++)
		free(texts[i]);
	free(texts);
	free(u);
}

static bool noted_ts(const struct item *it, uint64_t *ret)
{
	const char *p = it->u->progress;
	_cleanup_free_ char *key = NULL;
	int end = 0;

	return p && sscanf(p, "%" SCNu64 " %n", ret, &end) == 1 && end && used_key(it, &key) == 0 && strcmp(p + end, key) == 0;
}

static int plan_ts(struct reduct *r, struct item *it, const struct bucket *b)
{
	const struct entry_info *info = b ? bucket_entry(b, it->in.entry) : NULL;
	int e = 0;

	if (it->t.by_time)
		it->ts = it->t.ts;
	else
		e = draw_ts(r, it, info);
	if (e == 0 && (it->t.by_time || r->ts_mtime))
		e = reduct_check_late(r, info, it->ts);
	it->late = info && info->count && it->ts < info->latest;
	it->inside = it->late && it->ts >= info->oldest;
	return e;
}

/* ---- looking ---- */

enum found { FOUND_NONE, FOUND_OURS, FOUND_OTHER, FOUND_BROKEN, FOUND_EARLY };

static int compare_content(struct reduct *r, const struct item *it, const char *path)
{
	struct ask a = {0};
	_cleanup_free_ char *own = malloc(it->u->size + 1);
	int e = own ? file_pread_all(it->u->fd, own, it->u->size, 0) : -ENOMEM;

	if (e == 0)
		e = reduct_ask(r, &a, "b/%s?ts=%" PRIu64, path, it->ts);
	if (e == 0)
		e = a.text.len == it->u->size && memcmp(buf_str(&a.text), own, it->u->size) == 0;
	ask_done(&a);
	return e;
}

/* What is at its time? */
static int look(struct reduct *r, const struct item *it, enum found *ret)
{
	struct ask a = {.method = "HEAD", .early = true, .max_headers = 128u << 10};
	_cleanup_free_ char *path = NULL;
	struct record x = {0};
	int e = path_of(it->in.bucket, it->in.entry, &path);

	if (e == 0)
		e = reduct_ask(r, &a, "b/%s?ts=%" PRIu64, path, it->ts);
	if (a.status == 404 || a.status == 425 || a.status == 500) {
		*ret = a.status == 404 ? FOUND_NONE : a.status == 425 ? FOUND_EARLY : FOUND_BROKEN;
		e = 0;
	} else if (e == 0) {
		e = parse_single(buf_str(&a.head), a.head.len, &x);
		*ret = e == 0 && x.size == it->u->size && str_eq(record_label(&x, "filename"), item_label(it, "filename")) ? FOUND_OURS : FOUND_OTHER;
		/* Somebody else may have drawn the time that this one has by its name. */
		if (e == 0 && *ret == FOUND_OURS && it->t.by_time && x.size && x.size <= COMPARED_MAX) {
			e = compare_content(r, it, path);
			*ret = e == 1 ? FOUND_OURS : FOUND_OTHER;
			e = e > 0 ? 0 : e;
		}
	} else if (e == -EACCES && !(reduct_rights(r, it->in.bucket) & RIGHT_READ)) {
		*ret = it->tried ? FOUND_OURS : FOUND_OTHER;    /* one may not look: that its time is taken tells it */
		e = 0;
	}
	ask_done(&a);
	record_done(&x);
	return e;
}

static int rest(const int *cancelled, unsigned ms)
{
	for (; ms > 0; ms -= ms < 100 ? ms : 100) {
		struct timespec t = {0, 100 * 1000000l};

		if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
			return -EINTR;
		nanosleep(&t, NULL);
	}
	return 0;
}

/* After an attempt without an answer: what came of it? A record whose server was stopped in the middle stays "early" for ever, and with it all of
 * its batch: they are waited for once, not each. */
static int look_after(struct reduct *r, const struct item *it, uint64_t *until, enum found *ret)
{
	int e = look(r, it, ret);

	if (e == 0 && *ret == FOUND_EARLY && !*until)
		*until = clock_mono_ms() + EARLY_MS;
	while (e == 0 && *ret == FOUND_EARLY && clock_mono_ms() < *until) {
		e = rest(it->u->cancelled, EARLY_LOOK_MS);
		if (e == 0)
			e = look(r, it, ret);
	}
	if (e == 0 && *ret == FOUND_EARLY) {
		e = records_remove(r, it->in.bucket, it->in.entry, &it->ts, 1);
		*ret = FOUND_NONE;
	}
	return e;
}

/* ---- sending one ---- */

static int post(struct reduct *r, struct item *it, struct ask *a)
{
	struct headers h = {0};
	_cleanup_free_ char *path = NULL;
	int e = path_of(it->in.bucket, it->in.entry, &path);

	*a = (struct ask){.method = "POST", .acts = true, .type = it->type, .cancelled = it->u->cancelled};
	if (it->u->size) {
		a->is_file = true;
		a->fd = it->u->fd;
		a->body_n = it->u->size;
	} else {
		a->body = "";
	}
	for (size_t i = 0; e == 0 && i < it->labels.n; i++)
		e = headers_add(&h, "x-reduct-label-%s: %s", it->labels.at[i].name, it->labels.at[i].value);
	if (e == 0)
		e = headers_end(&h);
	a->headers = (const char *const *)h.list.at;
	if (e == 0)
		e = reduct_ask(r, a, "b/%s?ts=%" PRIu64, path, it->ts);
	a->headers = NULL;
	headers_done(&h);
	return e;
}

/* It was acknowledged: is it there? Some servers say so of what they have lost, on a full disk or by a late time. */
static int check_there(struct reduct *r, struct item *it)
{
	enum found found = FOUND_OURS;
	uint64_t until = 0;     /* it is younger than those that were early */
	int e;

	if (!may_lie(r) || !(reduct_rights(r, it->in.bucket) & RIGHT_READ))
		return 0;
	e = look_after(r, it, &until, &found);
	if (e < 0 || found == FOUND_OURS)
		return e;
	backend_note_fault(0, NULL, found == FOUND_BROKEN ? "the server acknowledged it and then could not keep it"
	                                                  : "the server acknowledged it and does not find it any more", NULL);
	return it->late && found == FOUND_NONE ? -EPERM : -EIO;
}

/* Another time for it: its own is taken. */
static int move_on(struct reduct *r, struct item *it)
{
	struct bucket *b = NULL;
	int e;

	if (it->t.by_time) {
		backend_note_fault(409, NULL, "there is another record of this time", NULL);
		return -EEXIST;
	}
	e = reduct_bucket(r, it->in.bucket, 0, &b);
	if (e == -EACCES)
		e = 0;
	if (e == 0)
		e = plan_ts(r, it, b);
	if (b)
		reduct_bucket_unref(r, b);
	it->tried = false;
	return e < 0 ? e : note_ts(it);
}

/* Its time is drawn and noted. The entry is entered. */
static int send_now(struct reduct *r, struct item *it)
{
	for (int i = 0; i < TRIES; i++) {
		enum found found = FOUND_NONE;
		struct ask a;
		int e = it->tried ? look_after(r, it, it->early_until, &found) : 0;

		if (e < 0)
			return e;
		if (found == FOUND_OURS)
			return 0;
		if (found == FOUND_OTHER) {
			e = move_on(r, it);
			if (e < 0)
				return e;
		}
		/* What is broken may be written again if it has the same size, and only then. */
		if (found == FOUND_BROKEN && i) {
			e = records_remove(r, it->in.bucket, it->in.entry, &it->ts, 1);
			if (e < 0)
				return e;
		}
		e = post(r, it, &a);
		ask_done(&a);
		if (e == 0) {
			it->tried = true;
			e = check_there(r, it);
			if (e != -EIO || i + 1 == TRIES)
				return e;
			continue;
		}
		if (a.status == 409 && e == -EEXIST) {
			if (it->tried)
				continue;
			e = move_on(r, it);
			if (e < 0)
				return e;
			continue;
		}
		it->tried = true;
		if (!a.in_doubt && e != -EIO)
			return e;
	}
	return -EIO;
}

/* ---- late ones ---- */

/* May writing it hide others? Then what is behind its time is looked at before and afterwards. */
static bool may_hide(struct reduct *r, const struct item *it)
{
	return it->inside && may_lie(r) && reduct_rights(r, it->in.bucket) & RIGHT_READ;
}

static void tell_of_loss(struct reduct *r, const struct item *it, uint64_t ts, size_t n, bool more)
{
	_cleanup_free_ char *words = NULL;

	if (str_fmt(&words, "%s%zu of the records behind %" PRIu64 " in %s/%s cannot be found at the server any more since this late one was written: "
	            "servers of versions 1.18 to 1.20 hide them so, and newer ones find them again", more ? "at least " : "", n, ts, it->in.bucket,
	            it->in.entry) < 0)
		return;
	log_error("%s: %s: %s", r->session.origin, it->u->name, words);
	backend_report_fault("upload", it->u->dir->id, EIO, 0, words, NULL);
}

/* A late record that opens a block of its own within a full one hides what that has behind it, the next ones first. Nothing undoes that, but
 * whoever wrote it must know. Its time is drawn and noted, the entry is entered. */
static int send_alone(struct reduct *r, struct item *it)
{
	struct query q = {.bucket = it->in.bucket, .entry = it->in.entry, .start = it->ts + 1, .stop = REDUCT_TS_MAX, .limit = NEIGHBOURS};
	struct records was = {0}, is = {0};
	uint64_t ts = it->ts;
	size_t lost = 0, at = 0;
	int e = may_hide(r, it) ? query_next(r, &q, &was) : 0;

	if (e == 0)
		e = send_now(r, it);
	if (was.list.n && it->tried) {
		int looked;

		q = (struct query){.bucket = it->in.bucket, .entry = it->in.entry, .start = ts + 1, .stop = was.list.at[was.list.n - 1].ts + 1};
		looked = query_next(r, &q, &is);
		for (size_t i = 0; looked == 0 && i < was.list.n; i++) {
			while (at < is.list.n && is.list.at[at].ts < was.list.at[i].ts)
				at++;
			lost += at >= is.list.n || is.list.at[at].ts != was.list.at[i].ts;
		}
		if (lost)
			tell_of_loss(r, it, ts, lost, lost == NEIGHBOURS);
		else if (looked < 0)
			log_warn("%s: %s is late, and whether it hides others could not be looked at: %s", r->session.origin, it->u->name, strerror(-looked));
	}
	records_done(&was);
	records_done(&is);
	return e;
}

/* Its entry is the server's now, and is there as long as that says so: where we may look. */
static void let_go_of_made(struct reduct *r, const struct item *it)
{
	_cleanup_free_ char *key = NULL;

	if (reduct_rights(r, it->in.bucket) & RIGHT_READ && used_key(it, &key) == 0)
		WITH_LOCK(&r->lock)
			(void)map_remove(r->made, key);
}

static int show(struct reduct *r, struct item *it, struct object *ret)
{
	struct record x = {.ts = it->ts, .size = it->u->size};
	int e = str_dup(it->type, &x.type);

	if (e == 0) {
		x.labels.at = it->labels.at;
		x.labels.n = it->labels.n;
		e = record_object(r, &it->in, &x, it->u->name, ret);
		x.labels.at = NULL;
		x.labels.n = 0;
	}
	record_done(&x);
	let_go_of_made(r, it);
	if (e == 0) {
		it->u->took_attrs = it->took_attrs;
		it->u->took_mtime = it->took_mtime;
	}
	return e;
}

/* Is what is to be replaced still what the server has? */
static int check_before(struct reduct *r, struct item *it)
{
	const struct object *base = it->u->base;
	struct record x = {0};
	struct place p;
	uint64_t noted;
	int e = place_parse(base->id, &p);

	if (e < 0)
		return e;
	e = p.what != IS_RECORD ? -ESTALE : check_base(r, base, &p);
	if (e == 0 && is_by_time(base, &p)) {
		e = record_now(r, &p, str_eq(base->content, "single"), &x);
		if (e == 0) {
			_cleanup_free_ char *version = NULL;

			e = str_fmt(&version, "%" PRIu64 ":%s", x.size, x.type);
			if (e == 0 && !(str_starts(base->version ? base->version : "", version)))
				e = -ESTALE;
		}
		if (e == 0)     /* the draft has all of it until the new one is there */
			e = records_remove(r, p.bucket, p.entry, &p.ts, 1);
		if (e == -ENOENT)
			e = it->u->again ? 0 : -ESTALE;
	} else if (e == 0 && reduct_rights(r, p.bucket) & RIGHT_READ) {
		e = query_file(r, p.bucket, p.entry, it->u->name, &x);
		if (e == 0 || (e == 1 && x.ts != p.ts && !(noted_ts(it, &noted) && noted == x.ts)))
			e = -ESTALE;
		else if (e == 1)
			e = 0;
	}
	if (e == -ESTALE)
		backend_note_fault(0, NULL, "it was changed at the server meanwhile", NULL);
	record_done(&x);
	place_done(&p);
	return e;
}

static int drop_older(struct reduct *r, struct item *it)
{
	uint64_t *ts = NULL;
	size_t n = 0, k = 0;
	int e = records_named(r, it->in.bucket, it->in.entry, it->u->name, &ts, &n);

	for (size_t i = 0; e == 0 && i < n; i++)
		if (ts[i] != it->ts)
			ts[k++] = ts[i];
	if (e == 0)
		e = records_remove(r, it->in.bucket, it->in.entry, ts, k);
	free(ts);
	return e;
}

static int check_fifo(const struct item *it, const struct bucket *b)
{
	if (!b || !b->fifo || it->u->size <= b->quota)
		return 0;
	backend_note_fault(0, NULL, "it is larger than its bucket may be: the server would remove all that is there, and refuse it then", NULL);
	return -EFBIG;
}

/* The entry is entered. */
static int upload_alone(struct reduct *r, struct item *it)
{
	struct bucket *b = NULL;
	int e = know_bucket(r, it->in.bucket, &b);

	if (e == 0)
		e = check_fifo(it, b);
	if (e == 0 && noted_ts(it, &it->ts)) {
		it->tried = true;
	} else if (e == 0) {
		if (it->u->base)
			e = check_before(r, it);
		if (e == 0)
			e = plan_ts(r, it, b);
		if (e == 0)
			e = note_ts(it);
	}
	if (b)
		reduct_bucket_unref(r, b);
	if (e == 0)
		e = send_alone(r, it);
	reduct_touch(r, it->in.bucket, it->in.entry, it->late);
	if (e == 0 && r->overwrite == OVERWRITE_REPLACE && it->u->base && it->t.named && drop_older(r, it) < 0)
		log_warn("%s: older records of %s are left", r->session.origin, it->u->name);
	return e;
}

int reduct_upload(struct session *s, struct upload *u)
{
	struct reduct *r = reduct_of(s);
	_cleanup_(item_done) struct item it = {0};
	uint64_t early_until = 0;
	int e = item_init(r, u, &early_until, &it);

	if (e == 0)
		e = entry_enter(r, it.in.bucket, it.in.entry, u->cancelled);
	if (e < 0)
		return e;
	e = upload_alone(r, &it);
	entry_leave(r, it.in.bucket, it.in.entry);
	return e < 0 ? e : show(r, &it, &u->object);
}

/* ---- many at once ---- */

/* In a batch's header quotes are not escaped, and a comma in a type makes a label of its rest that ends the server. */
static bool fits_batch(const struct reduct *r, const struct item *it)
{
	size_t n = strlen(it->type);

	if (!it->u->size && r->minor < MINOR_EMPTY)
		return false;
	if (strpbrk(it->type, ",\"") || it->u->base || it->u->progress)
		return false;
	for (size_t i = 0; i < it->labels.n; i++) {
		const char *v = it->labels.at[i].value;

		n += strlen(it->labels.at[i].name) + strlen(v) + 4;
		if (*v == '"' || (strchr(v, '"') && strchr(v, ',')) || !*v)
			return false;
	}
	return n <= BATCH_LINE_MAX;
}

static int by_ts(const void *a, const void *b)
{
	const struct item *const *x = a, *const *y = b;

	return (*x)->ts < (*y)->ts ? -1 : (*x)->ts > (*y)->ts;
}

static int add_line(struct headers *h, const struct item *it)
{
	_cleanup_buf_ struct buf b = BUF_MAX(2 * BATCH_LINE_MAX);
	int e = buf_addf(&b, "x-reduct-time-%" PRIu64 ": %" PRIu64 ",%s", it->ts, it->u->size, it->type);

	for (size_t i = 0; e == 0 && i < it->labels.n; i++) {
		const char *quote = strchr(it->labels.at[i].value, ',') ? "\"" : "";

		e = buf_addf(&b, ",%s=%s%s%s", it->labels.at[i].name, quote, it->labels.at[i].value, quote);
	}
	return e < 0 ? e : headers_add(h, "%s", buf_str(&b));
}

static int add_content(struct buf *b, const struct item *it)
{
	size_t at = b->len;
	int e = buf_resize(b, at + it->u->size);

	return e < 0 || !it->u->size ? e : file_pread_all(it->u->fd, b->data + at, it->u->size, 0);
}

/* Which of them does the server have? Those that it has not are to be looked at one by one. */
static int check_all_there(struct reduct *r, struct item *const its[], size_t n)
{
	struct query q = {.bucket = its[0]->in.bucket, .entry = its[0]->in.entry, .start = its[0]->ts, .stop = its[n - 1]->ts + 1};
	struct records list = {0};
	size_t at = 0;
	int e;

	while ((e = query_next(r, &q, &list)) == 0 && list.list.n)
		for (size_t i = 0; i < list.list.n; i++) {
			while (at < n && its[at]->ts < list.list.at[i].ts)
				at++;
			if (at < n && its[at]->ts == list.list.at[i].ts && its[at]->u->size == list.list.at[i].size)
				its[at]->there = true;
		}
	records_done(&list);
	return e;
}

/* Ascending and noted. 0: each is `there`, or has its error in `result`, or is to be sent alone; -errno: nobody knows. */
static int post_batch(struct reduct *r, struct item *const its[], size_t n)
{
	_cleanup_buf_ struct buf body = BUF_MAX(64u << 20);
	struct ask a = {.method = "POST", .acts = true, .type = NAME_TYPE_UNKNOWN, .max_headers = 256u << 10};
	struct headers h = {0};
	_cleanup_free_ char *path = NULL;
	int e = path_of(its[0]->in.bucket, its[0]->in.entry, &path);

	for (size_t i = 0; e == 0 && i < n; i++) {
		e = add_line(&h, its[i]);
		if (e == 0)
			e = add_content(&body, its[i]);
	}
	if (e == 0)
		e = headers_end(&h);
	a.headers = (const char *const *)h.list.at;
	a.body = buf_str(&body);
	a.body_n = body.len;
	if (e == 0)
		e = reduct_ask(r, &a, "b/%s/batch", path);
	for (size_t i = 0; i < n; i++)
		/* 400: it broke off, behind some that are there. */
		its[i]->tried = a.in_doubt || a.status == 500 || a.status == 400 || e == 0;
	for (size_t i = 0; e == 0 && i < n; i++) {
		char words[200];

		its[i]->result = batch_result(&a.head, its[i]->ts, words);
		if (its[i]->result < 0)
			(void)str_dup(words, &its[i]->u->why);
		its[i]->there = its[i]->result == 0 && !(may_lie(r) && reduct_rights(r, its[i]->in.bucket) & RIGHT_READ);
		/* Its time is taken, by somebody else. */
		if (its[i]->result == -EEXIST)
			its[i]->tried = false;
	}
	if (e == -E2BIG)
		(void)batch_most(r, (unsigned)n);
	a.headers = NULL;
	ask_done(&a);
	headers_done(&h);
	if (e == 0 && may_lie(r) && reduct_rights(r, its[0]->in.bucket) & RIGHT_READ)
		(void)check_all_there(r, its, n);       /* what it does not find is looked at again */
	return e;
}

/* Draw and note the times of those that may go together; the others are left. *ret_n: how many, ascending. */
static void plan_batch(struct reduct *r, struct item *items, size_t n, const struct bucket *b, struct item **ret, size_t *ret_n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		struct item *it = &items[i];

		if (it->result < 0 || !fits_batch(r, it))
			continue;
		it->result = check_fifo(it, b);
		if (it->result == 0)
			it->result = plan_ts(r, it, b);
		if (it->result == 0 && may_hide(r, it))
			it->result = note_ts(it);       /* alone, and what is behind it is looked at */
		else if (it->result == 0)
			ret[k++] = it;
		else
			backend_blame(it->u);
	}
	qsort(ret, k, sizeof(*ret), by_ts);
	/* Two of one time, and what cannot be noted, go alone, or not. */
	for (size_t i = 1; i < k; i++)
		if (ret[i]->ts == ret[i - 1]->ts)
			ret[i]->result = -EAGAIN;
	note_all(ret, k);
	*ret_n = 0;
	for (size_t i = 0; i < k; i++)
		if (ret[i]->result == 0)
			ret[(*ret_n)++] = ret[i];
}

/* Is it to be sent alone, after the batch? */
static bool goes_alone(const struct item *it)
{
	return !it->there && (it->result == 0 || it->result == -EEXIST || it->result == -EIO);
}

/* The entry is entered. */
static void upload_batch(struct reduct *r, struct item *items, size_t n)
{
	struct item **some = calloc(n, sizeof(*some));
	struct bucket *b = NULL;
	bool late = false;
	size_t k = 0;
	int e = some ? know_bucket(r, items[0].in.bucket, &b) : -ENOMEM;

	if (e == 0)
		plan_batch(r, items, n, b, some, &k);
	if (b)
		reduct_bucket_unref(r, b);
	for (size_t i = 0; e == 0 && i < k; ) {
		size_t most = batch_most(r, 0), now = k - i < most ? k - i : most;

		e = post_batch(r, some + i, now);
		if (e == -E2BIG && now > 1) {
			e = 0;          /* fewer, next time */
			continue;
		}
		if (e == -EIO || e == -E2BIG)
			e = 0;          /* each for itself will tell */
		if (e < 0)
			for (size_t x = i; x < k; x++) {
				some[x]->result = e;
				backend_blame(some[x]->u);
			}
		i += now;
	}
	for (size_t i = 0; i < n; i++) {
		struct item *it = &items[i];

		if (e < 0 && !it->there && it->result == 0)
			it->result = e;
		if (e < 0 || !goes_alone(it))
			continue;
		free(it->u->why);
		it->u->why = NULL;
		if (it->ts && it->result == -EEXIST)
			it->result = move_on(r, it);
		else
			it->result = 0;
		if (it->result == 0)
			it->result = it->ts ? send_alone(r, it) : upload_alone(r, it);
		if (it->result < 0)
			backend_blame(it->u);
	}
	free(some);
	for (size_t i = 0; i < n; i++)
		late |= items[i].late;
	reduct_touch(r, items[0].in.bucket, items[0].in.entry, late);
}

void reduct_upload_many(struct session *s, struct upload *const u[], size_t n, int ret[])
{
	struct reduct *r = reduct_of(s);
	struct item *items = calloc(n, sizeof(*items));
	uint64_t early_until = 0;
	size_t first = n;
	int e = items ? 0 : -ENOMEM;

	for (size_t i = 0; i < n; i++)
		ret[i] = e;
	for (size_t i = 0; e == 0 && i < n; i++) {
		items[i].result = item_init(r, u[i], &early_until, &items[i]);
		if (items[i].result < 0)
			backend_blame(u[i]);
		else if (first == n)
			first = i;
	}
	if (e < 0)
		return;
	/* All of one lane: of one entry. */
	if (first < n)
		e = entry_enter(r, items[first].in.bucket, items[first].in.entry, NULL);
	if (first < n && e == 0) {
		size_t k = n;

		/* What cannot be is not in the way. */
		for (size_t i = 0; i < n; i++)
			if (!items[i].in.entry)
				k = i;
		if (k == n)
			upload_batch(r, items, n);
		else
			for (size_t i = 0; i < n; i++)
				if (items[i].result == 0)
					items[i].result = upload_alone(r, &items[i]);
		entry_leave(r, items[first].in.bucket, items[first].in.entry);
	}
	for (size_t i = 0; i < n; i++) {
		ret[i] = e < 0 && items[i].result == 0 ? e : items[i].result;
		if (ret[i] == 0)
			ret[i] = show(r, &items[i], &u[i]->object);
		item_done(&items[i]);
	}
	free(items);
}

/* Half a record keeps its time and its room for ever. A whole one is a version like any other. */
int reduct_upload_drop(struct session *s, const char *progress)
{
	struct reduct *r = reduct_of(s);
	_cleanup_free_ char *bucket = NULL;
	struct ask a = {.method = "HEAD", .early = true};
	const char *slash;
	uint64_t ts;
	int end = 0, e;

	if (sscanf(progress, "%" SCNu64 " %n", &ts, &end) != 1 || !end)
		return 0;
	slash = strchr(progress + end, '/');
	if (!slash || str_fmt(&bucket, "%.*s", (int)(slash - progress - end), progress + end) < 0)
		return 0;
	e = entry_enter(r, bucket, slash + 1, NULL);
	if (e < 0)
		return e;
	{
		_cleanup_free_ char *path = NULL;

		e = path_of(bucket, slash + 1, &path);
		if (e == 0)
			e = reduct_ask(r, &a, "b/%s?ts=%" PRIu64, path, ts);
	}
	ask_done(&a);
	if (a.status == 500 || a.status == 425)
		e = records_remove(r, bucket, slash + 1, &ts, 1);
	entry_leave(r, bucket, slash + 1);
	return e == -ENOENT ? 0 : e;
}
