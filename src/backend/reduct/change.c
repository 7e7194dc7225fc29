/* change.c - buckets, entries and records: made, moved, removed.
 *
 * In one entry only one request that changes records is under way at a time (entry_enter()): with two at once the server loses some.
 * Records are removed by batches that name each of them: the same request without its query would remove the whole entry.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backend/reduct/private.h"
#include "base/clock.h"
#include "base/thread.h"

#define MOMENTS_MAX 4096
#define MADE_MAX 4096
#define MINOR_NESTED 19                 /* entries in entries, and attachments */
#define SLICE_MS 100
#define GOING_MS 10000                  /* how long something that is being deleted may keep what holds it */

/* ---- what this mount did ---- */

void reduct_change_init(struct reduct *r)
{
	thread_cond_init(&r->not_busy);
	r->given_first = UINT64_MAX;
	r->touched = map_new();
	r->used = map_new();
	r->made = map_new();
	r->busy = map_new();
	r->layouts = map_new();
}

static void free_moments(struct map *m)
{
	struct map_iter it = {0};
	const char *key;
	void *value;

	while (map_next(m, &it, &key, &value))
		free(value);
	map_clear(m);
}

void reduct_change_done(struct reduct *r)
{
	if (r->touched)
		free_moments(r->touched);
	if (r->used)
		free_moments(r->used);
	map_free(r->touched);
	map_free(r->used);
	map_free(r->made);
	map_free(r->busy);
	found_forget_locked(r);
	map_free(r->found);
	map_free(r->layouts);
	pthread_cond_destroy(&r->not_busy);
}

uint64_t reduct_touched_locked(const struct reduct *r, const char *bucket)
{
	const struct moment *m = map_get(r->touched, bucket);

	return m ? m->at : 0;
}

void reduct_touch(struct reduct *r, const char *bucket, const char *entry, bool moved)
{
	WITH_LOCK(&r->lock) {
		struct moment *m = map_get(r->touched, bucket);

		if (moved)
			found_forget_locked(r);
		if (!m) {
			if (map_count(r->touched) >= MOMENTS_MAX)
				free_moments(r->touched);
			m = calloc(1, sizeof(*m));
			if (!m || map_set(r->touched, bucket, m) < 0) {
				free(m);        /* then it is believed a second longer */
				break;
			}
		}
		m->at = clock_mono_ms();
	}
	if (moved && entry)
		series_forget(r, bucket, entry);
	else if (entry)
		series_landed(r, bucket, entry);
}

static int key_of(const char *bucket, const char *entry, char **ret)
{
	return str_fmt(ret, "%s/%s", bucket, entry);
}

bool reduct_is_made(struct reduct *r, const char *bucket, const char *entry)
{
	_cleanup_free_ char *key = NULL;
	bool is = false;

	if (key_of(bucket, entry, &key) == 0)
		WITH_LOCK(&r->lock)
			is = map_get(r->made, key) != NULL;
	return is;
}

/* What only we know of in this bucket, or this entry, is there no more, or under the other name. Was there any? */
static bool made_went(struct reduct *r, const struct place *p, const struct place *to)
{
	VEC(char *) keys = {0};
	size_t n = strlen(p->bucket);
	bool any;

	WITH_LOCK(&r->lock) {
		struct map_iter it = {0};
		const char *key;
		void *value;

		while (map_next(r->made, &it, &key, &value)) {
			char *own = NULL;

			if (strncmp(key, p->bucket, n) == 0 && key[n] == '/' && (p->what == IS_BUCKET || strcmp(key + n + 1, p->entry) == 0) &&
			    str_dup(key, &own) == 0 && vec_push(&keys, own) < 0)
				free(own);
		}
		for (size_t i = 0; i < keys.n; i++) {
			_cleanup_free_ char *now = NULL;

			(void)map_remove(r->made, keys.at[i]);
			if (to && key_of(to->bucket, p->what == IS_BUCKET ? keys.at[i] + n + 1 : to->entry, &now) == 0)
				(void)map_set(r->made, now, r);
			free(keys.at[i]);
		}
	}
	any = keys.n > 0;
	vec_done(&keys);
	return any;
}

int entry_enter(struct reduct *r, const char *bucket, const char *entry, const int *cancelled)
{
	_cleanup_free_ char *key = NULL;
	int e = key_of(bucket, entry, &key);

	if (e < 0)
		return e;
	WITH_LOCK(&r->lock) {
		while (map_get(r->busy, key) && e == 0) {
			struct timespec t = clock_until(SLICE_MS);

			pthread_cond_timedwait(&r->not_busy, &r->lock, &t);     /* who is at it leaves within the deadlines of its requests */
			if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
				e = -EINTR;
		}
		if (e == 0)
			e = map_set(r->busy, key, r);
	}
	return e;
}

void entry_leave(struct reduct *r, const char *bucket, const char *entry)
{
	_cleanup_free_ char *key = NULL;

	while (key_of(bucket, entry, &key) < 0)
		;               /* nothing may be held for ever */
	WITH_LOCK(&r->lock) {
		(void)map_remove(r->busy, key);
		pthread_cond_broadcast(&r->not_busy);
	}
}

/* ---- requests ---- */

int path_of(const char *bucket, const char *entry, char **ret)
{
	_cleanup_free_ char *b = NULL, *e = NULL;
	int r = name_encode_path(bucket, &b);

	if (r == 0 && entry)
		r = name_encode_path(entry, &e);
	return r < 0 ? r : entry ? str_fmt(ret, "%s/%s", b, e) : str_dup(b, ret);
}

int headers_add(struct headers *h, const char *format, ...)
{
	char *line;
	va_list ap;
	int n;

	va_start(ap, format);
	n = str_vfmt(&line, format, ap);
	va_end(ap);
	if (n < 0)
		return n;
	n = vec_push(&h->list, line);
	if (n < 0)
		free(line);
	return n;
}

int headers_end(struct headers *h)
{
	return vec_push(&h->list, NULL);
}

void headers_done(struct headers *h)
{
	for (size_t i = 0; i < h->list.n; i++)
		free(h->list.at[i]);
	vec_done(&h->list);
}

unsigned batch_most(struct reduct *r, unsigned too_many)
{
	unsigned now = r->batch ? r->batch : BATCH_RECORDS;

	if (too_many && too_many / 2 < now)
		r->batch = now = too_many > 1 ? too_many / 2 : 1;
	return now;
}

int batch_result(const struct buf *head, uint64_t ts, char *ret_words)
{
	char name[64], text[400];
	struct http_reply reply = {.headers = *head};
	_cleanup_free_ char *safe = NULL;
	char *words;

	ret_words[0] = 0;
	snprintf(name, sizeof(name), "x-reduct-error-%" PRIu64, ts);
	if (http_header(&reply, name, text, sizeof(text)) < 0)
		return 0;
	words = strchr(text, ',');
	safe = str_printable(words ? words + 1 : text, 190);
	snprintf(ret_words, 200, "%s", safe ? safe : "");
	return reduct_errno(atoi(text), ret_words);
}

/* What a batch says of single records: the first that is an error and not "it is not there". */
static int batch_error(const struct buf *head, const char *what)
{
	int e = 0;

	for (const char *line = buf_str(head); *line && e == 0; ) {
		size_t n = strcspn(line, "\n");

		if (n > 15 && strncasecmp(line, "x-reduct-error-", 15) == 0) {
			_cleanup_free_ char *text = strndup(line, n), *safe = NULL;
			char *value = text ? strchr(text, ':') : NULL;
			char *words = value ? strchr(value, ',') : NULL;
			int status = value ? atoi(value + 1) : 0;

			if (words && status != 404) {
				safe = str_printable(str_trim(words + 1), 190);
				e = reduct_errno(status, words + 1);
				backend_note_fault(status, "ReductError", safe, what);
			}
		}
		line += n + (line[n] == '\n');
	}
	return e;
}

/* Did the server carry out all that it was told, and nothing else is on its way to it? */
static bool is_sure(const struct ask *a)
{
	return !a->attempts || (a->attempts == 1 && a->status);
}

static int change_batch(struct reduct *r, const char *method, const char *bucket, const char *entry, const uint64_t *ts, size_t n,
                        const char *value, bool *sure)
{
	struct ask a = {.method = method, .max_headers = 256u << 10};
	struct headers h = {0};
	_cleanup_free_ char *path = NULL;
	int e = path_of(bucket, entry, &path);

	for (size_t i = 0; e == 0 && i < n; i++)
		e = headers_add(&h, "x-reduct-time-%" PRIu64 ": %s", ts[i], value);
	if (e == 0)
		e = headers_end(&h);
	a.headers = (const char *const *)h.list.at;
	if (e == 0)
		e = reduct_ask(r, &a, "b/%s/batch", path);
	if (e == 0)
		e = batch_error(&a.head, path);
	*sure &= is_sure(&a);
	ask_done(&a);
	headers_done(&h);
	return e;
}

static int change_batches(struct reduct *r, const char *method, const char *bucket, const char *entry, const uint64_t *ts, size_t n,
                          const char *value, bool *sure)
{
	int e = 0;

	for (size_t i = 0; e == 0 && i < n; ) {
		size_t some = batch_most(r, 0);

		some = n - i < some ? n - i : some;
		e = change_batch(r, method, bucket, entry, ts + i, some, value, sure);
		if (e == -E2BIG && some > 1) {
			(void)batch_most(r, (unsigned)some);
			e = 0;
		} else {
			i += some;
		}
	}
	return e;
}

/* The end of what began with reduct_content_hold(). */
static void removed(struct reduct *r, const char *bucket, const char *entry, bool sure)
{
	if (!sure)
		reduct_content_moved(r, bucket, entry);
	reduct_touch(r, bucket, entry, true);
	reduct_content_release(r, bucket, entry, sure);
}

int records_remove(struct reduct *r, const char *bucket, const char *entry, const uint64_t *ts, size_t n)
{
	bool sure = true;
	int e;

	if (!n)
		return 0;
	/* Their neighbours move in the server's files: whoever reads one of them must not get other bytes. */
	e = reduct_content_hold(r, bucket, entry, n);
	if (e < 0)
		return e;
	e = change_batches(r, "DELETE", bucket, entry, ts, n, "0,", &sure);
	removed(r, bucket, entry, sure);
	return e;
}

int records_named(struct reduct *r, const char *bucket, const char *entry, const char *name, uint64_t **ret, size_t *ret_n)
{
	struct records list = {0};
	uint64_t *found;
	int e = query_versions(r, bucket, entry, name, true, &list);

	found = e == 0 ? calloc(list.list.n + 1, sizeof(*found)) : NULL;
	for (size_t i = 0; found && i < list.list.n; i++)
		found[i] = list.list.at[i].ts;
	*ret_n = list.list.n;
	records_done(&list);
	if (e < 0 || !found)
		return e < 0 ? e : -ENOMEM;
	*ret = found;
	return 0;
}

/* ---- making ---- */

static int mkdir_bucket(struct reduct *r, const char *name)
{
	struct ask a = {.method = "POST", .acts = true};
	_cleanup_free_ char *path = NULL;
	int e = path_of(name, NULL, &path);

	if (e == 0)
		e = reduct_ask(r, &a, "b/%s", path);
	if (e < 0 && a.in_doubt) {
		struct ask look = {.method = "HEAD"};

		e = reduct_ask(r, &look, "b/%s", path);
		ask_done(&look);
	}
	ask_done(&a);
	reduct_touch(r, name, NULL, false);
	return e;
}

/* There is no empty entry but one that has an attachment. */
static int attach(struct reduct *r, const char *bucket, const char *entry)
{
	struct ask a = {.method = "POST"};
	const char *const headers[] = {"x-reduct-label-key: " ATTACHMENT_OWN, NULL};
	_cleanup_buf_ struct buf text = BUF_MAX(4096);
	struct timespec now = clock_wall();
	_cleanup_free_ char *path = NULL;
	int e = path_of(bucket, entry, &path);

	a.headers = headers;
	if (e == 0)
		e = r->layout_noted ? layout_write(NULL, 0, r->layout, &text) : buf_adds(&text, "{}\n");
	a.body = buf_str(&text);
	if (e == 0)
		e = reduct_ask(r, &a, "b/%s/$meta?ts=%" PRIu64, path, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	if (e == -EEXIST)
		e = 0;          /* the first try arrived */
	ask_done(&a);
	if (e == 0)
		layout_made(r, bucket, entry);
	return e;
}

static int mkdir_entry(struct reduct *r, const char *bucket, const char *entry)
{
	struct bucket *b = NULL;
	bool blind;
	int e = reduct_bucket(r, bucket, 0, &b);

	blind = e == -EACCES && !(reduct_rights(r, bucket) & RIGHT_READ);
	if (blind)
		e = 0;          /* one may write there, not look */
	if (e < 0)
		return e;
	if (b && bucket_has_path(b, entry))
		e = -EEXIST;
	if (b)
		reduct_bucket_unref(r, b);
	if (e == 0 && r->minor >= MINOR_NESTED)
		e = attach(r, bucket, entry);
	/* Older servers learn of it by its first record; of others we may not be told that it is there. */
	if (e == 0 && (r->minor < MINOR_NESTED || blind)) {
		_cleanup_free_ char *key = NULL;

		e = key_of(bucket, entry, &key);
		if (e == 0)
			WITH_LOCK(&r->lock)
				e = map_count(r->made) >= MADE_MAX ? -ENOSPC : map_set(r->made, key, r);
	}
	reduct_touch(r, bucket, entry, false);
	return e;
}

int reduct_mkdir(struct session *s, const struct object *dir, const char *name, struct object *ret)
{
	struct reduct *r = reduct_of(s);
	struct timespec now = clock_wall();
	struct object plan = {0};
	struct place p, made = {0};
	int e = reduct_plan_create(s, dir, name, OBJECT_DIR, &plan);

	object_done(&plan);
	if (e < 0)
		return e;
	e = place_parse(dir->id, &p);
	if (e < 0)
		return e;
	if (p.what == IS_ROOT) {
		made = (struct place){.what = IS_BUCKET, .bucket = (char *)name};
		e = mkdir_bucket(r, name);
		if (e == 0)
			e = dir_object(r, &made, name, (uint64_t)now.tv_sec * 1000000, ret);
	} else {
		_cleanup_free_ char *entry = NULL;

		e = p.entry ? str_fmt(&entry, "%s/%s", p.entry, name) : str_dup(name, &entry);
		made = (struct place){.what = IS_ENTRY, .bucket = p.bucket, .entry = entry};
		if (e == 0)
			e = mkdir_entry(r, p.bucket, entry);
		if (e == 0)
			e = dir_object(r, &made, name, (uint64_t)now.tv_sec * 1000000, ret);
	}
	place_done(&p);
	return e;
}

/* ---- removing ---- */

static int check_right(struct reduct *r, const struct place *p)
{
	unsigned need = p->what == IS_BUCKET ? RIGHT_ADMIN : RIGHT_WRITE;

	if (place_is_of_versions(p)) {
		backend_note_fault(0, NULL, "versions are only looked at", NULL);
		return -EPERM;
	}
	if (p->what != IS_ROOT && reduct_rights(r, p->bucket) & need)
		return 0;
	backend_note_fault(0, NULL, p->what == IS_BUCKET ? "only a token with full access may change buckets" : "the token gives no right to write here",
	                   NULL);
	return -EACCES;
}

/* Is it going already, and not only something in it? 1, 0. */
static int is_going(struct reduct *r, const struct place *p)
{
	const struct entry_info *info;
	struct bucket *b;
	int e = reduct_bucket(r, p->bucket, 0, &b);

	if (e < 0)
		return e == -ENOENT ? 1 : e;
	info = p->what == IS_BUCKET ? NULL : bucket_entry(b, p->entry);
	e = p->what != IS_BUCKET && (!info || info->deleting);
	reduct_bucket_unref(r, b);
	return e;
}

/* Is something below it going, or (`self`) the entry itself? 1, 0. */
static int is_going_below(struct reduct *r, const struct place *p, bool self)
{
	size_t n = p->what == IS_BUCKET ? 0 : strlen(p->entry);
	struct bucket *b;
	int e = reduct_bucket(r, p->bucket, 0, &b);
	bool going = false;

	if (e < 0)
		return e == -ENOENT ? 0 : e;
	for (size_t i = 0; i < b->entries.n && !going; i++) {
		const struct entry_info *x = &b->entries.at[i];

		going = x->deleting && (!n || (strncmp(x->name, p->entry, n) == 0 && (x->name[n] == '/' || (self && !x->name[n]))));
	}
	reduct_bucket_unref(r, b);
	return going;
}

/* Are an entry's attachments, which no list shows, still going? */
static bool is_meta_going(struct reduct *r, const char *path)
{
	struct ask a = {0};
	int e = reduct_ask(r, &a, "b/%s/$meta?ts=1", path);

	ask_done(&a);
	return e == -EBUSY;
}

/* Is a bucket that was deleted still there in part, so that none of its name can be made? Whether it is being deleted does not tell: for a
 * moment after the answer it looks as before (1.20.11). */
static bool is_bucket_going(struct reduct *r, const char *path)
{
	struct ask a = {.method = "HEAD"};
	int e = reduct_ask(r, &a, "b/%s", path);

	ask_done(&a);
	return e == 0 || e == -EBUSY;
}

static void wait_slice(unsigned ms)
{
	nanosleep(&(struct timespec){0, ms * 1000000l}, NULL);
}

/* A whole bucket or entry, with all that is in it. The server deletes behind its answer. Asked meanwhile to delete what holds it, it refuses, but has
 * marked the attachments of that one by then, and they stay marked until it is started again (1.20.11). So nothing is asked before all
 * below is gone, and all is gone when this returns. */
static int delete_whole(struct reduct *r, const struct place *p)
{
	uint64_t end = clock_mono_ms() + GOING_MS;
	_cleanup_free_ char *path = NULL;
	int e = path_of(p->bucket, p->what == IS_BUCKET ? NULL : p->entry, &path);

	if (p->what != IS_BUCKET)
		reduct_content_moved(r, p->bucket, p->entry);
	while (e == 0 && (e = is_going_below(r, p, false)) == 1) {
		e = clock_mono_ms() > end ? -EBUSY : 0;
		wait_slice(SLICE_MS / 10);
	}
	while (e == 0) {
		struct ask a = {.method = "DELETE"};

		e = reduct_ask(r, &a, "b/%s", path);
		ask_done(&a);
		if (e != -EBUSY)
			break;
		e = is_going(r, p);
		if (e != 0)
			break;
		if (clock_mono_ms() > end)
			e = -EBUSY;
		else
			wait_slice(SLICE_MS);
	}
	if (e == 1 || e == -ENOENT)
		e = 0;
	if (e == 0)
		(void)made_went(r, p, NULL);
	while (e == 0 && clock_mono_ms() < end &&
	       (p->what == IS_BUCKET ? is_bucket_going(r, path) : is_going_below(r, p, true) == 1 || is_meta_going(r, path)))
		wait_slice(SLICE_MS / 10);
	reduct_touch(r, p->bucket, p->what == IS_BUCKET ? NULL : p->entry, true);
	return e;
}

static int remove_dir(struct reduct *r, const struct place *p)
{
	struct bucket *b;
	int e = reduct_bucket(r, p->bucket, 0, &b);

	if (e < 0)
		return e;
	if (p->what == IS_TIME) {
		e = window_exists(r, p, b, &p->window);
		e = e > 0 ? -ENOTEMPTY : e;     /* without records there is none: nothing is to be done */
	} else {
		size_t n = p->what == IS_BUCKET ? 0 : strlen(p->entry);

		for (size_t i = 0; e == 0 && i < b->entries.n; i++) {
			const struct entry_info *x = &b->entries.at[i];

			if (x->deleting || strstr(x->name, "/$"))
				continue;
			if (!n || (strncmp(x->name, p->entry, n) == 0 && (x->name[n] == '/' || (!x->name[n] && x->count))))
				e = -ENOTEMPTY;
		}
		if (e == 0 && (p->what == IS_BUCKET || bucket_entry(b, p->entry)))
			e = delete_whole(r, p);
		else if (e == 0)
			e = -ENOENT;
	}
	reduct_bucket_unref(r, b);
	return e;
}

static bool name_is_time(const char *name, uint64_t ts)
{
	uint64_t is;

	return name_parse_record(name, &is) && is == ts;
}

static int remove_record(struct reduct *r, const struct place *p, const struct object *o)
{
	uint64_t *ts = NULL, when;
	size_t n = 0;
	int e = entry_enter(r, p->bucket, p->entry, NULL);

	if (e < 0)
		return e;
	/* A file with a name is all records of that name. */
	if (!(name_parse_record(o->name, &when) && when == p->ts) && reduct_rights(r, p->bucket) & RIGHT_READ)
		e = records_named(r, p->bucket, p->entry, o->name, &ts, &n);
	if (e == 0)
		e = n ? records_remove(r, p->bucket, p->entry, ts, n) : records_remove(r, p->bucket, p->entry, &p->ts, 1);
	free(ts);
	entry_leave(r, p->bucket, p->entry);
	return e;
}

int reduct_remove(struct session *s, const struct object *dir, const struct object *o)
{
	struct reduct *r = reduct_of(s);
	struct place p;
	int e = place_parse(o->id, &p);

	(void)dir;
	if (e < 0)
		return e;
	e = check_right(r, &p);
	if (e == 0)
		e = p.what == IS_RECORD ? remove_record(r, &p, o) : remove_dir(r, &p);
	place_done(&p);
	return e;
}

/* The times of all records of these files; freed by the caller. Those whose label others may have written otherwise are not among them. */
static int records_of(struct reduct *r, const struct place *p, const struct object *const o[], size_t n, uint64_t **ret, size_t *ret_n)
{
	VEC(uint64_t) found = {0};
	_cleanup_buf_ struct buf when = BUF_MAX(1u << 20);
	struct map *labels = map_new();
	struct records list = {0};
	int e = labels ? buf_adds(&when, "\"$in\": [\"&filename\"") : -ENOMEM;

	for (size_t i = 0; e == 0 && i < n; i++) {
		_cleanup_free_ char *label = NULL;
		struct place at = {0};

		e = place_parse(o[i]->id, &at);
		if (e == 0 && name_is_time(o[i]->name, at.ts))
			e = vec_push(&found, at.ts);
		else if (e == 0)
			e = name_to_label(o[i]->name, &label);
		if (e == 0 && label)
			e = map_set(labels, label, labels);
		if (e == 0 && label)
			e = buf_adds(&when, ", ");
		if (e == 0 && label)
			e = json_write_str(&when, label);
		place_done(&at);
	}
	if (e == 0)
		e = buf_adds(&when, "]");
	if (e == 0 && map_count(labels)) {
		struct query q = {.bucket = p->bucket, .entry = p->entry, .stop = REDUCT_TS_MAX, .when = buf_str(&when)};

		while ((e = query_next(r, &q, &list)) == 0 && list.list.n)
			for (size_t i = 0; e == 0 && i < list.list.n; i++) {
				const char *is = record_label(&list.list.at[i], "filename");

				if (is && map_get(labels, is))
					e = vec_push(&found, list.list.at[i].ts);
			}
	}
	records_done(&list);
	map_free(labels);
	if (e < 0) {
		vec_done(&found);
		return e;
	}
	*ret = found.at;
	*ret_n = found.n;
	return 0;
}

/* Is this file in what a query by labels finds? Of a name that is stored as it was given by others too. */
static bool is_plain_file(const struct object *o)
{
	_cleanup_free_ char *label = NULL;

	return str_starts(o->id, "record:") && name_to_label(o->name, &label) == 0 && strcmp(label, o->name) == 0;
}

void reduct_remove_many(struct session *s, const struct object *dir, const struct object *const o[], size_t n, int ret[])
{
	struct reduct *r = reduct_of(s);
	const struct object **together = calloc(n, sizeof(*together));
	struct place p = {0};
	uint64_t *ts = NULL;
	size_t k = 0, n_ts = 0;
	int e = together ? place_parse(dir->id, &p) : -ENOMEM;

	for (size_t i = 0; e == 0 && i < n; i++)
		if (is_plain_file(o[i]))
			together[k++] = o[i];
	if (e == 0)
		e = p.entry && k > 1 && reduct_rights(r, p.bucket) & RIGHT_READ ? check_right(r, &p) : -ENOTSUP;
	if (e == 0)
		e = entry_enter(r, p.bucket, p.entry, NULL);
	if (e == 0) {
		e = records_of(r, &p, together, k, &ts, &n_ts);
		if (e == 0)
			e = records_remove(r, p.bucket, p.entry, ts, n_ts);
		entry_leave(r, p.bucket, p.entry);
	}
	for (size_t i = 0; i < n; i++)
		ret[i] = is_plain_file(o[i]) ? e : -ENOTSUP;
	free(ts);
	free(together);
	place_done(&p);
}

/* The records without a name of a window, in one request. */
static int remove_window(struct reduct *r, const struct place *p)
{
	struct ask a = {.method = "POST"};
	_cleanup_buf_ struct buf body = BUF_MAX(4096);
	_cleanup_free_ char *path = NULL;
	int e = path_of(p->bucket, p->entry, &path);

	if (e == 0)
		e = buf_addf(&body, "{\"query_type\": \"REMOVE\", \"start\": %" PRIu64 ", \"stop\": %" PRIu64 ", \"when\": "
		             "{\"$not\": [{\"$has\": [\"filename\"]}]}}", p->window.start, p->window.end);
	a.body = buf_str(&body);
	if (e == 0)
		e = entry_enter(r, p->bucket, p->entry, NULL);
	if (e < 0)
		return e;
	e = reduct_content_hold(r, p->bucket, p->entry, UINT64_MAX);
	if (e == 0) {
		e = reduct_ask(r, &a, "b/%s/q", path);
		removed(r, p->bucket, p->entry, is_sure(&a));
	}
	ask_done(&a);
	entry_leave(r, p->bucket, p->entry);
	return e;
}

int reduct_remove_all(struct session *s, const struct object *dir, const struct object *o)
{
	struct reduct *r = reduct_of(s);
	struct place p;
	int e;

	if (o->kind != OBJECT_DIR)
		return reduct_remove(s, dir, o);
	e = place_parse(o->id, &p);
	if (e < 0)
		return e;
	e = check_right(r, &p);
	if (e == 0)
		e = p.what == IS_TIME ? remove_window(r, &p) : delete_whole(r, &p);
	place_done(&p);
	return e;
}

/* ---- moving ---- */

/* A bucket, or an entry within its bucket, with all that is below. */
static int rename_whole(struct reduct *r, const struct place *p, const struct place *to)
{
	struct ask a = {.method = "PUT", .acts = true};
	_cleanup_buf_ struct buf body = BUF_MAX(4096);
	_cleanup_free_ char *path = NULL;
	bool bucket = p->what == IS_BUCKET;
	int e = path_of(p->bucket, bucket ? NULL : p->entry, &path);

	if (e == 0)
		e = buf_adds(&body, "{\"new_name\": ");
	if (e == 0)
		e = json_write_str(&body, bucket ? to->bucket : to->entry);
	if (e == 0)
		e = buf_adds(&body, "}");
	a.body = buf_str(&body);
	if (!bucket)
		reduct_content_moved(r, p->bucket, p->entry);
	if (e == 0)
		e = reduct_ask(r, &a, "b/%s/rename", path);
	reduct_touch(r, p->bucket, bucket ? NULL : p->entry, true);
	reduct_touch(r, to->bucket, bucket ? NULL : to->entry, true);
	if (e < 0 && a.in_doubt) {
		struct bucket *b = NULL;
		int look = reduct_bucket(r, to->bucket, 0, &b);

		if (look == 0 && (bucket || (bucket_has_path(b, to->entry) && !bucket_has_path(b, p->entry))))
			e = 0;
		if (look == 0)
			reduct_bucket_unref(r, b);
	}
	ask_done(&a);
	/* The server has none of it: it was here only. */
	if ((e == 0 || (e == -ENOENT && !bucket)) && made_went(r, p, to))
		e = 0;
	return e;
}

static int exdev(const char *why)
{
	backend_note_fault(0, NULL, why, NULL);
	return -EXDEV;
}

/* Within its entry a record gets another name by its label; older records of that name go along. */
static int rename_record(struct reduct *r, const struct place *p, const struct place *to, const struct object *o, const char *name,
                         const struct object *over)
{
	_cleanup_free_ char *label = NULL, *value = NULL;
	struct target t;
	const char *why;
	uint64_t *ts = NULL, *old = NULL, when;
	size_t n = 0, n_old = 0;
	bool sure = true;
	int e;

	if (!str_eq(p->bucket, to->bucket) || !str_eq(p->entry, to->entry))
		return exdev("records do not move between entries");
	e = target_of(to, name, &t, &why);
	if (e < 0) {
		backend_note_fault(0, NULL, why, NULL);
		return e;
	}
	if (t.by_time && t.ts != p->ts)
		return exdev("the time of a record cannot be changed");
	if (over) {
		struct place x;

		if (r->overwrite == OVERWRITE_NO)
			return -EPERM;
		e = place_parse(over->id, &x);
		if (e < 0)
			return e;
		/* The newest of a name is the file: an older one cannot take its place without being written anew. */
		if (x.ts > p->ts)
			e = exdev("what has the name is newer");
		place_done(&x);
		if (e < 0)
			return e;
	}
	e = t.named ? name_to_label(name, &label) : 0;
	if (e == 0)
		e = str_fmt(&value, "0,,filename=%s", label ? label : "");
	if (e == 0)
		e = entry_enter(r, p->bucket, p->entry, NULL);
	if (e < 0)
		return e;
	if (!(name_parse_record(o->name, &when) && when == p->ts))
		e = records_named(r, p->bucket, p->entry, o->name, &ts, &n);
	if (e == 0 && over && r->overwrite == OVERWRITE_REPLACE)
		e = records_named(r, p->bucket, p->entry, name, &old, &n_old);
	if (e == 0)
		e = change_batches(r, "PATCH", p->bucket, p->entry, ts, n, value, &sure);
	if (e == 0 && !n)
		e = change_batch(r, "PATCH", p->bucket, p->entry, &p->ts, 1, value, &sure);
	reduct_touch(r, p->bucket, p->entry, true);
	if (e == 0 && n_old)
		e = records_remove(r, p->bucket, p->entry, old, n_old);
	entry_leave(r, p->bucket, p->entry);
	free(ts);
	free(old);
	return e;
}

static int renamed(struct reduct *r, const struct place *p, const struct place *to, const struct object *o, const char *name,
                   struct object *ret)
{
	int e;

	if (p->what != IS_RECORD) {
		struct timespec now = clock_wall();

		return dir_object(r, to, name, (uint64_t)now.tv_sec * 1000000, ret);
	}
	e = object_copy(o, ret);
	if (e < 0)
		return e;
	free(ret->name);
	ret->name = NULL;
	e = str_dup(name, &ret->name);
	if (e < 0)
		object_done(ret);
	return e;
}

static int place_at(const struct place *in, const struct place *what, const char *name, struct place *ret)
{
	struct place p = {.what = what->what, .ts = what->ts, .window = what->window};
	int e;

	if (what->what == IS_BUCKET)
		e = in->what == IS_ROOT ? str_dup(name, &p.bucket) : -EXDEV;
	else if (what->what == IS_ENTRY)
		e = in->what == IS_ROOT || in->what == IS_TIME ? -EXDEV : str_dup(in->bucket, &p.bucket);
	else
		e = in->what == IS_ENTRY || in->what == IS_TIME ? str_dup(in->bucket, &p.bucket) : -EXDEV;
	if (e == 0 && what->what == IS_ENTRY)
		e = in->entry ? str_fmt(&p.entry, "%s/%s", in->entry, name) : str_dup(name, &p.entry);
	if (e == 0 && what->what == IS_RECORD) {
		e = str_dup(in->entry, &p.entry);
		p.what = in->what;
		p.window = in->window;
	}
	if (e < 0)
		place_done(&p);
	else
		*ret = p;
	return e;
}

/* Is `path` this entry, or below it? Then with the other name. */
static int moved_path(const char *was, const char *now, const char *path, char **ret)
{
	size_t n = strlen(was);

	return strncmp(path, was, n) != 0 || (path[n] && path[n] != '/') ? -ENOENT : str_fmt(ret, "%s%s", now, path + n);
}

int reduct_moved_id(const char *was, const char *now, const char *id, char **ret)
{
	struct place from = {0}, to = {0}, p = {0};
	char *path = NULL;
	int e = place_parse(was, &from);

	if (e == 0)
		e = place_parse(now, &to);
	if (e == 0)
		e = place_parse(id, &p);
	if (e == 0 && (!p.entry || !str_eq(p.bucket, from.bucket) || from.what != to.what))
		e = -ENOENT;
	if (e == 0 && from.what == IS_ENTRY)
		e = moved_path(from.entry, to.entry, p.entry, &path);
	if (e == 0 && path) {
		free(p.entry);
		p.entry = path;
	}
	if (e == 0 && from.what == IS_BUCKET) {
		free(p.bucket);
		p.bucket = NULL;
		e = str_dup(to.bucket, &p.bucket);
	}
	if (e == 0)
		e = place_id(&p, ret);
	place_done(&from);
	place_done(&to);
	place_done(&p);
	return e < 0 && e != -ENOMEM ? -ENOENT : e;
}

int reduct_rename(struct session *s, const struct object *o, const struct object *from, const struct object *to, const char *name,
                  const struct object *over, struct object *ret)
{
	struct reduct *r = reduct_of(s);
	struct place p = {0}, in = {0}, at = {0};
	int e = place_parse(o->id, &p);

	(void)from;
	if (e == 0)
		e = check_right(r, &p);
	if (e == 0)
		e = place_parse(to->id, &in);
	if (e == 0 && place_is_of_versions(&in)) {
		backend_note_fault(0, NULL, "versions are only looked at", NULL);
		e = -EPERM;
	}
	if (e == 0 && p.what == IS_TIME) {
		backend_note_fault(0, NULL, "days and hours are where their records' times put them", NULL);
		e = -EPERM;
	}
	if (e == 0)
		e = place_at(&in, &p, name, &at);
	if (e == 0 && p.what != IS_RECORD && over)
		e = -ENOTEMPTY;         /* it would be missing for a moment */
	if (e == 0 && p.what == IS_ENTRY && !str_eq(p.bucket, at.bucket))
		e = exdev("entries do not move between buckets");
	if (e == 0)
		e = p.what == IS_RECORD ? rename_record(r, &p, &at, o, name, over) : rename_whole(r, &p, &at);
	if (e == 0)
		e = renamed(r, &p, &at, o, name, ret);
	place_done(&p);
	place_done(&in);
	place_done(&at);
	return e;
}
