/* series.c - what is known of an entry's times: in which hours there are records, and which records are files with a name.
 *
 * Kept in memory for some entries, each as of one stamp (figures of the bucket's document that move with every change). An entry
 * of up to 100,000 records is listed whole, of a larger one only the days are looked for. When the stamp has moved and as many
 * records came behind the last one as the count grew, the new ones are added; in any other case all is looked at anew.
 *
 * A record that is being written is in the stamp from its first byte on, in a query only after its last, and the stamp does not move
 * again then (1.20.11). So what was found is held against the stamp, and what lacks a record is looked at again after a
 * while, or when something of ours has landed. A record that a killed server left half written is lacking for ever.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/reduct/private.h"
#include "base/clock.h"

#define GROWTH_MAX 10000u               /* new records of a large one that are looked at one by one */
#define SERIES_MAX 16
#define NAMED_MAX LISTING_MAX           /* files with a name in one entry: more is -EFBIG */
#define DAYS_MAX 100000u
#define PAUSE_MS 500u                   /* before what lacks a record is looked at again; doubled each time that was in vain */
#define PAUSE_TAIL_MS 60000u            /* at most, where it is the newest: that costs a query of what came behind the last known */
#define PAUSE_WHOLE_MS 600000u          /* where all must be looked at */

static void series_free(struct series *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->named.n; i++) {
		free(s->named.at[i].name);
		record_done(&s->named.at[i].record);
	}
	vec_done(&s->named);
	vec_done(&s->hours);
	free(s->bucket);
	free(s->entry);
	free(s);
}

static void put_locked(struct series *s)
{
	if (s && --s->refs == 0)
		series_free(s);
}

void series_put(struct reduct *r, struct series *s)
{
	WITH_LOCK(&r->series_lock)
		put_locked(s);
}

void series_done(struct reduct *r)
{
	WITH_LOCK(&r->series_lock)
		while (!list_empty(&r->series)) {
			struct series *s = container_of(r->series.next, struct series, link);

			list_remove(&s->link);
			put_locked(s);
		}
}

static bool same_stamp(const struct entry_info *a, const struct entry_info *b)
{
	return a->count == b->count && a->size == b->size && a->latest == b->latest && a->blocks == b->blocks;
}

/* ---- loading ---- */

static enum level unit(const struct series *s)
{
	return s->large ? LEVEL_DAY : LEVEL_HOUR;
}

/* Times come in ascending order. */
static int add_time(struct series *s, uint64_t ts)
{
	struct window w = window_of(unit(s), ts);
	struct hour *last = s->hours.n ? &s->hours.at[s->hours.n - 1] : NULL;

	if (last && last->start == w.start) {
		if (!s->large && last->count < UINT32_MAX - 1)
			last->count++;
		return 0;
	}
	return vec_push(&s->hours, (struct hour){w.start, s->large ? UINT32_MAX : 1});
}

static int add_named(struct series *s, struct record *x)
{
	struct named n = {0};
	int e = name_from_label(record_label(x, "filename"), &n.name);

	if (e < 0)
		return e;
	n.record = *x;
	*x = (struct record){0};
	e = s->named.n >= NAMED_MAX ? -EFBIG : vec_push(&s->named, n);
	if (e < 0) {
		free(n.name);
		record_done(&n.record);
	}
	return e;
}

/* All of a query's records. */
static int scan(struct reduct *r, struct series *s, struct query *q)
{
	struct records list = {0};
	int e;

	while ((e = query_next(r, q, &list)) == 0 && list.list.n) {
		s->seen += list.list.n;
		s->last = list.list.at[list.list.n - 1].ts;
		for (size_t i = 0; e == 0 && i < list.list.n; i++)
			e = record_is_named(&list.list.at[i]) ? add_named(s, &list.list.at[i]) : add_time(s, list.list.at[i].ts);
		if (e < 0)
			break;
	}
	records_done(&list);
	return e;
}

/* From the first record of each day to the next day's: two requests a day. */
static int skip_scan(struct reduct *r, struct series *s)
{
	struct query q = {.bucket = s->bucket, .entry = s->entry, .stop = REDUCT_TS_MAX, .when = query_named};
	uint64_t at = 0;
	struct record newest = {0};
	int e = scan(r, s, &q);

	for (unsigned days = 0; e == 0 && at < REDUCT_TS_MAX; days++) {
		struct record x = {0};

		if (days >= DAYS_MAX)
			return -EFBIG;
		e = query_first(r, s->bucket, s->entry, at, REDUCT_TS_MAX, &x);
		if (e != 1)
			break;
		e = add_time(s, x.ts);
		at = window_of(LEVEL_DAY, x.ts).end;
		record_done(&x);
	}
	if (e < 0)
		return e;
	/* They were not counted: whether all are there is told by the newest. */
	e = query_one(r, s->bucket, s->entry, s->stamp.latest, &newest);
	record_done(&newest);
	s->outdated |= e == -ENOENT;
	s->seen = s->stamp.count;
	s->last = s->stamp.latest;
	return e == -ENOENT ? 0 : e;
}

static int copy_record(const struct record *from, struct record *ret)
{
	struct record x = {.ts = from->ts, .size = from->size, .doubtful = from->doubtful};
	int e = str_dup(from->type, &x.type);

	for (size_t i = 0; e == 0 && i < from->labels.n; i++) {
		struct label l = {strdup(from->labels.at[i].name), strdup(from->labels.at[i].value)};

		e = l.name && l.value ? vec_push(&x.labels, l) : -ENOMEM;
		if (e < 0) {
			free(l.name);
			free(l.value);
		}
	}
	if (e < 0) {
		record_done(&x);
		return e;
	}
	*ret = x;
	return 0;
}

static int copy_known(const struct series *from, struct series *s)
{
	int e = 0;

	for (size_t i = 0; e == 0 && i < from->hours.n; i++)
		e = vec_push(&s->hours, from->hours.at[i]);
	for (size_t i = 0; e == 0 && i < from->named.n; i++) {
		struct named n = {0};

		e = str_dup(from->named.at[i].name, &n.name);
		if (e == 0)
			e = copy_record(&from->named.at[i].record, &n.record);
		if (e == 0)
			e = vec_push(&s->named, n);
		if (e < 0) {
			free(n.name);
			record_done(&n.record);
		}
	}
	return e;
}

static void forget_known(struct series *s)
{
	for (size_t i = 0; i < s->named.n; i++) {
		free(s->named.at[i].name);
		record_done(&s->named.at[i].record);
	}
	s->named.n = s->hours.n = 0;
	s->seen = s->last = 0;
}

/* How many records of the stamp were not found. */
static uint64_t lacking(const struct series *s)
{
	return s->stamp.count > s->seen ? s->stamp.count - s->seen : 0;
}

/* What lacks records is looked at again; what was in vain before waits longer. */
static void look_again(struct series *s, const struct series *old, unsigned max_ms)
{
	bool vain = old && old->pause_ms && old->seen == s->seen;

	s->pause_ms = vain ? old->pause_ms * 2 : PAUSE_MS;
	if (s->pause_ms > max_ms)
		s->pause_ms = max_ms;
}

/* 1: what came behind the last known record is all that is new, or the newest is still being written. */
static int grow(struct reduct *r, const struct series *old, struct series *s)
{
	struct query q = {.bucket = s->bucket, .entry = s->entry, .start = old->last + 1, .stop = s->stamp.latest + 1};
	bool same = same_stamp(&old->stamp, &s->stamp);
	int e;

	if (!same && (s->stamp.count <= old->stamp.count || s->stamp.latest <= old->stamp.latest))
		return 0;
	if (old->lost && (same || clock_mono_ms() >= old->again_at))
		return 0;
	if (old->large != s->large || s->stamp.count < old->seen || (s->large && s->stamp.count - old->seen > GROWTH_MAX))
		return 0;
	e = copy_known(old, s);
	s->seen = old->seen;
	s->last = old->last;
	s->generation = old->generation;
	if (e == 0)
		e = scan(r, s, &q);
	if (e == 0 && s->seen <= s->stamp.count && lacking(s) == old->lost) {
		s->lost = old->lost;
		s->pause_ms = old->lost ? old->pause_ms : 0;
		s->again_at = old->again_at;
		return 1;
	}
	if (e == 0 && s->seen < s->stamp.count && s->last < s->stamp.latest) {
		look_again(s, same ? old : NULL, PAUSE_TAIL_MS);
		return 1;
	}
	forget_known(s);
	return e;
}

static int by_name_and_age(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int c = strcmp(x->name, y->name);

	return c ? c : x->record.ts > y->record.ts ? -1 : x->record.ts < y->record.ts;
}

static void newest_of_each(struct series *s)
{
	size_t k = 0;

	if (s->named.n)
		qsort(s->named.at, s->named.n, sizeof(*s->named.at), by_name_and_age);
	for (size_t i = 0; i < s->named.n; i++) {
		struct named *n = &s->named.at[i];

		if (k && strcmp(s->named.at[k - 1].name, n->name) == 0) {
			free(n->name);
			record_done(&n->record);
		} else {
			s->named.at[k++] = *n;
		}
	}
	s->named.n = k;
}

static int load(struct reduct *r, const struct series *old, struct series *s)
{
	struct query all = {.bucket = s->bucket, .entry = s->entry, .stop = REDUCT_TS_MAX};
	struct timespec now = clock_wall();
	int e;

	s->large = s->stamp.count > SERIES_LARGE;
	e = old && !old->outdated ? grow(r, old, s) : 0;
	if (e == 0) {
		s->generation = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
		e = s->large ? skip_scan(r, s) : scan(r, s, &all);
		if (e == 0 && lacking(s) && s->last < s->stamp.latest) {
			look_again(s, NULL, PAUSE_TAIL_MS);
		} else if (e == 0 && lacking(s)) {
			s->lost = lacking(s);
			look_again(s, old && old->lost ? old : NULL, PAUSE_WHOLE_MS);
		}
	}
	if (e >= 0)
		newest_of_each(s);
	return e < 0 ? e : 0;
}

/* ---- the kept ones ---- */

/* Does it hold, as of this stamp? */
static bool holds_locked(const struct series *s, const struct entry_info *stamp)
{
	return !s->outdated && same_stamp(&s->stamp, stamp) && (!s->pause_ms || clock_mono_ms() < s->again_at);
}

static struct series *find_locked(struct reduct *r, const char *bucket, const char *entry)
{
	for (struct list *l = r->series.next; l != &r->series; l = l->next) {
		struct series *s = container_of(l, struct series, link);

		if (strcmp(s->entry, entry) == 0 && strcmp(s->bucket, bucket) == 0)
			return s;
	}
	return NULL;
}

static void evict_locked(struct reduct *r)
{
	struct series *oldest;
	size_t n;

	do {
		n = 0;
		oldest = NULL;
		for (struct list *l = r->series.next; l != &r->series; l = l->next) {
			struct series *s = container_of(l, struct series, link);

			n++;
			if (!s->loading && (!oldest || s->used_at < oldest->used_at))
				oldest = s;
		}
		if (n <= SERIES_MAX || !oldest)
			return;
		list_remove(&oldest->link);
		put_locked(oldest);
	} while (n > SERIES_MAX);
}

static int make(const struct bucket *b, const struct entry_info *info, struct series **ret)
{
	struct series *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	list_init(&s->link);
	s->refs = 2;            /* the list's and the caller's */
	s->loading = true;
	s->stamp = *info;
	s->stamp.name = NULL;
	if (str_dup(b->name, &s->bucket) < 0 || str_dup(info->name, &s->entry) < 0) {
		series_free(s);
		return -ENOMEM;
	}
	*ret = s;
	return 0;
}

struct series *series_peek(struct reduct *r, const struct bucket *b, const char *entry)
{
	const struct entry_info *info = bucket_entry(b, entry);
	struct series *s = NULL;

	WITH_LOCK(&r->series_lock) {
		s = info ? find_locked(r, b->name, entry) : NULL;
		if (s && (s->loading || s->error || !holds_locked(s, info)))
			s = NULL;
		if (s) {
			s->refs++;
			s->used_at = clock_mono_ms();
		}
	}
	return s;
}

bool series_is_kept(struct reduct *r, const char *bucket, const char *entry)
{
	bool is = false;

	WITH_LOCK(&r->series_lock)
		is = find_locked(r, bucket, entry);
	return is;
}

int series_get(struct reduct *r, const struct bucket *b, const char *entry, struct series **ret)
{
	const struct entry_info *info = bucket_entry(b, entry);
	struct series *s, *old = NULL;
	int e = 0;

	if (!info || info->deleting)
		return -ENOENT;
	pthread_mutex_lock(&r->series_lock);
	/* Somebody is at it: its maker leaves within the deadlines of its requests. */
	while ((s = find_locked(r, b->name, entry)) && s->loading)
		pthread_cond_wait(&r->series_moved, &r->series_lock);
	if (s && holds_locked(s, info)) {
		s->refs++;
		s->used_at = clock_mono_ms();
		pthread_mutex_unlock(&r->series_lock);
		*ret = s;
		return 0;
	}
	old = s;                /* the list's reference goes over to us */
	if (old)
		list_remove(&old->link);
	s = NULL;
	e = make(b, info, &s);
	if (e == 0)
		list_append(&r->series, &s->link);
	pthread_mutex_unlock(&r->series_lock);
	if (e == 0)
		e = load(r, old, s);
	pthread_mutex_lock(&r->series_lock);
	put_locked(old);
	if (s) {
		s->loading = false;
		s->error = e;
		s->used_at = clock_mono_ms();
		if (s->landed && !s->lost)
			s->again_at = 0;
		else if (!s->again_at)
			s->again_at = s->used_at + s->pause_ms;
		if (e < 0) {
			list_remove(&s->link);
			put_locked(s);
			put_locked(s);
		}
		pthread_cond_broadcast(&r->series_moved);
		evict_locked(r);
	}
	pthread_mutex_unlock(&r->series_lock);
	if (e == 0)
		*ret = s;
	return e;
}

void series_forget(struct reduct *r, const char *bucket, const char *entry)
{
	WITH_LOCK(&r->series_lock) {
		struct series *s = find_locked(r, bucket, entry);

		if (s)
			s->outdated = true;
	}
}

void series_landed(struct reduct *r, const char *bucket, const char *entry)
{
	WITH_LOCK(&r->series_lock) {
		struct series *s = find_locked(r, bucket, entry);

		if (s && s->loading)
			s->landed = true;
		else if (s && !s->lost)
			s->again_at = 0;
	}
}

/* ---- what is known ---- */

const struct named *series_find(const struct series *s, const char *name)
{
	size_t low = 0, high = s->named.n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(s->named.at[mid].name, name);

		if (c == 0)
			return &s->named.at[mid];
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

uint64_t series_count(const struct series *s, const struct window *w)
{
	struct window whole = window_of(w->level < unit(s) ? w->level : unit(s), w->start);
	size_t low = 0, high = s->hours.n;
	uint64_t n = 0;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->hours.at[mid].start < whole.start)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < s->hours.n && s->hours.at[low].start < whole.end; low++) {
		if (s->hours.at[low].count == UINT32_MAX)
			return COUNT_UNKNOWN;
		n += s->hours.at[low].count;
	}
	/* There are some in the hour around it: where, is not known. */
	return n && w->level > unit(s) ? COUNT_UNKNOWN : n;
}
