/* content.c - the bytes of records.
 *
 * A record of up to policy.whole_below comes whole, as any request. The server ignores Range there, so a larger one is a stream:
 * a plain GET that stands still while nobody reads (the server does not mind), and whose bytes go straight to who waits for
 * the next ones; a skip forward reads past what lies between. A read that is far from every stream goes by a query link, which
 * knows ranges but costs the server 30 to 60 ms each, whatever its size: large pieces, few of them. What cannot be asked for by
 * itself (record_is_sendable()) comes as a batch of one.
 *
 * states of a stream: running <-> paused (no job can go on) -> ended (all was given, it broke, or it was closed). It stays in the list for
 * a while, so that removals next to its record are remembered against it. It is freed when it is `dead`, ended, and nobody uses it.
 *
 * A removal moves the records beside it in the server's files, and who reads one of them by a request from before gets other bytes from
 * then on. For one of our own the entry is held: what is under way is closed before the request goes out, so that all that was given is
 * right, and nothing new begins before its answer has come. One of somebody else's is noticed later, by a count that fell by more than
 * ours can explain; then what was read in between is believed no more.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/reduct/private.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

#define NEAR (16ull << 20)              /* a skip forward that costs less than a link */
#define STREAMS_MAX 64
#define STREAMS_RECORD 8
#define IDLE_MS 60000                   /* how long a stream waits for another reader */
#define GAP_MS 30                       /* who asks for what lies a little further waits so long for who asks for what is before, */
#define LATE_MS 300                     /* and so long where all was read in order so far: a busy machine mixes up what a reader asks ahead, */
#define LATE_BYTES (1u << 20)           /* within so many bytes */
#define LINKS_MAX 64
#define LINKS_BUSY 8
#define LINKS_RECORD 4
#define LINK_LIFE_S 3600                /* as the server is told */
#define LINK_IDLE_MS (5 * 60 * 1000)
#define LINK_PAUSE_MS 100               /* between two requests by links: each is work for the server */
#define MINOR_LINKS 19                  /* before, their answers do not tell which part they are */
#define TRIES 4                         /* without a byte in between */
#define TURNED_MAX 1000
#define LOOK_MS 100                     /* how often who waits looks whether he was cancelled */
#define ACTIVE_MS 1000                  /* who has asked for bytes of a stream so lately will ask for the next */
#define HOLDS_MAX 64                    /* removals of ours that no figures have shown yet */

/* Somebody who waits for bytes of a stream; on his stack. */
struct job {
	struct list link;               /* in stream.jobs, by `at` */
	uint64_t at, end;
	content_sink sink;
	void *arg;
	bool may_skip, done;
	int err;
};

struct stream {
	struct list link;               /* in reduct.streams; all of it is guarded by stream_lock */
	struct reduct *r;
	struct place place;
	struct http_transfer *transfer; /* NULL: not begun, or ended */
	struct list jobs;
	unsigned users;
	uint64_t pos;                   /* of the record: what was given or passed over */
	uint64_t taken;                 /* what the engine need not bring again: behind pos while a piece of it was used in part */
	bool giving, paused, ended, dead;
	bool closed;                    /* to end: nothing of it is given any more */
	bool skipped;                   /* something was passed over */
	int err;
	uint64_t used_at;
	char words[200];
};

struct link {
	struct list link;               /* in reduct.links; guarded by stream_lock */
	struct place place;
	char *url;                      /* NULL: to be made by who has it */
	bool busy, dead;
	bool spent;                     /* it leads to other bytes by now */
	uint64_t used_at;
};

/* Another request that brings bytes of an entry. */
struct reading {
	struct list link;               /* in reduct.readings; guarded by stream_lock */
	struct reduct *r;
	char *bucket, *entry;
	int stopped;                    /* atomic: what comes now is not given any more */
};

/* A removal of ours: under way, or not seen in the figures of the entry yet. */
struct hold {
	struct list link;               /* in reduct.holds; guarded by stream_lock */
	char *bucket, *entry;
	uint64_t n;                     /* records that it may remove, less those that the figures have shown */
	uint64_t over_at;               /* monotonic ms; 0: it is under way */
};

void reduct_content_init(struct reduct *r)
{
	pthread_mutex_init(&r->stream_lock, NULL);
	thread_cond_init(&r->stream_moved);
	list_init(&r->streams);
	list_init(&r->links);
	list_init(&r->readings);
	list_init(&r->holds);
}

static void wait_locked(struct reduct *r, unsigned ms)
{
	struct timespec until = clock_until(ms);

	(void)pthread_cond_timedwait(&r->stream_moved, &r->stream_lock, &until);
}

static bool is_cancelled(const int *cancelled)
{
	return cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED);
}

static int copy_place(const struct place *from, struct place *ret)
{
	*ret = *from;
	ret->bucket = ret->entry = NULL;
	return str_dup(from->bucket, &ret->bucket) < 0 || str_dup(from->entry, &ret->entry) < 0 ? -ENOMEM : 0;
}

static bool same_record(const struct place *a, const struct place *b)
{
	return a->ts == b->ts && strcmp(a->entry, b->entry) == 0 && strcmp(a->bucket, b->bucket) == 0;
}

static bool is_in(const char *bucket, const char *entry, const char *of_bucket, const char *of_entry)
{
	return strcmp(entry, of_entry) == 0 && strcmp(bucket, of_bucket) == 0;
}

/* ---- what else is read ---- */

static bool is_held_locked(struct reduct *r, const char *bucket, const char *entry)
{
	struct hold *h;

	list_for_each_safe(h, &r->holds, struct hold, link)
		if (!h->over_at && is_in(h->bucket, h->entry, bucket, entry))
			return true;
	return false;
}

/* -EINTR. */
static int wait_for_release_locked(struct reduct *r, const char *bucket, const char *entry, const int *cancelled)
{
	while (is_held_locked(r, bucket, entry)) {
		if (is_cancelled(cancelled))
			return -EINTR;
		wait_locked(r, LOOK_MS);
	}
	return 0;
}

static void reading_free(struct reading *x)
{
	if (!x)
		return;
	free(x->bucket);
	free(x->entry);
	free(x);
}

static int reading_new(struct reduct *r, const char *bucket, const char *entry, struct reading **ret)
{
	struct reading *x = calloc(1, sizeof(*x));

	if (!x || str_dup(bucket, &x->bucket) < 0 || str_dup(entry, &x->entry) < 0) {
		reading_free(x);
		return -ENOMEM;
	}
	x->r = r;
	list_init(&x->link);
	*ret = x;
	return 0;
}

int reading_begin(struct reduct *r, const char *bucket, const char *entry, const int *cancelled, struct reading **ret)
{
	struct reading *x;
	int e = reading_new(r, bucket, entry, &x);

	if (e < 0)
		return e;
	WITH_LOCK(&r->stream_lock) {
		e = wait_for_release_locked(r, bucket, entry, cancelled);
		if (e == 0)
			list_append(&r->readings, &x->link);
	}
	if (e < 0)
		reading_free(x);
	else
		*ret = x;
	return e;
}

bool reading_is_stopped(const struct reading *x)
{
	return __atomic_load_n(&x->stopped, __ATOMIC_ACQUIRE);
}

void reading_end(struct reading *x)
{
	struct reduct *r = x->r;

	WITH_LOCK(&r->stream_lock)
		list_remove(&x->link);
	reading_free(x);
}

static int record_url(struct reduct *r, const struct place *p, const char *what, char **ret)
{
	_cleanup_free_ char *bucket = NULL, *entry = NULL;
	int e = name_encode_path(p->bucket, &bucket);

	if (e == 0)
		e = name_encode_path(p->entry, &entry);
	return e < 0 ? e : str_fmt(ret, "%s/b/%s/%s%s", r->api, bucket, entry, what);
}

static int record_at(struct reduct *r, const struct place *p, char **ret)
{
	char what[40];

	snprintf(what, sizeof(what), "?ts=%" PRIu64, p->ts);
	return record_url(r, p, what, ret);
}

/* The server's own words of a failure, and its errno. */
static int judge(int err, const struct http_reply *reply, char words[200])
{
	char value[1024];

	snprintf(words, 200, "%s", reply->message);
	if (reply->status < 400)
		return err;
	if (http_header(reply, "x-reduct-error", value, sizeof(value)) == 0) {
		_cleanup_free_ char *safe = str_printable(value, 190);

		snprintf(words, 200, "%s", safe ? safe : "");
	}
	return reduct_errno(reply->status, words);
}

/* ---- streams ---- */

static void stream_free(struct stream *s)
{
	place_done(&s->place);
	free(s);
}

/* Engine thread. The same bytes come again after a pause, perhaps in other pieces. */
static int stream_data(void *arg, const void *data, size_t n)
{
	struct stream *s = arg;
	struct reduct *r = s->r;

	pthread_mutex_lock(&r->stream_lock);
	for (;;) {
		struct job *j = list_empty(&s->jobs) ? NULL : container_of(s->jobs.next, struct job, link);
		size_t used = (size_t)(s->pos - s->taken < n ? s->pos - s->taken : n), give = n - used;
		int e;

		if (s->dead || s->closed) {
			pthread_mutex_unlock(&r->stream_lock);
			return -ECANCELED;
		}
		if (!give) {
			s->taken += n;
			pthread_mutex_unlock(&r->stream_lock);
			return 0;
		}
		if (!j || (j->at > s->pos && !j->may_skip)) {
			s->paused = true;
			pthread_mutex_unlock(&r->stream_lock);
			return HTTP_PAUSE;
		}
		if (j->at > s->pos) {
			s->skipped = true;
			s->pos += j->at - s->pos < give ? j->at - s->pos : give;
			continue;
		}
		if (give > j->end - j->at)
			give = (size_t)(j->end - j->at);
		s->giving = true;
		pthread_mutex_unlock(&r->stream_lock);
		e = j->sink(j->arg, (const char *)data + used, give);
		pthread_mutex_lock(&r->stream_lock);
		s->giving = false;
		s->pos += give;
		j->at += give;
		if (e < 0 || j->at == j->end) {
			j->err = e < 0 ? e : 0;
			j->done = true;
			list_remove(&j->link);
		}
		/* Not for each piece: all wake, and most wait for a later one. */
		if (j->done || s->dead || s->closed)
			pthread_cond_broadcast(&r->stream_moved);
	}
}

static void stream_done(void *arg, int err, const struct http_reply *reply)
{
	struct stream *s = arg;
	struct reduct *r = s->r;
	bool last;

	pthread_mutex_lock(&r->stream_lock);
	s->transfer = NULL;
	s->ended = true;
	s->err = judge(err, reply, s->words);
	last = s->dead && !s->users;
	pthread_cond_broadcast(&r->stream_moved);
	pthread_mutex_unlock(&r->stream_lock);
	if (last)
		stream_free(s);
}

/* Out of the list; the end of its transfer, or its last user, frees it. */
static void stream_drop_locked(struct stream *s)
{
	if (!s->dead)
		list_remove(&s->link);
	s->dead = true;
	if (s->transfer)
		http_cancel(s->r->session.http, s->transfer);
	else if (s->ended && !s->users)
		stream_free(s);
}

/* Nothing of it is given from now on; it stays in the list. */
static void stream_close_locked(struct stream *s)
{
	if (s->ended || s->closed)
		return;
	s->closed = true;
	if (s->transfer)
		http_cancel(s->r->session.http, s->transfer);
}

static uint64_t tail_locked(const struct stream *s)
{
	const struct job *last = list_empty(&s->jobs) ? NULL : container_of(s->jobs.prev, struct job, link);

	return last && last->end > s->pos ? last->end : s->pos;
}

/* The one that will be here soonest. */
static struct stream *stream_find_locked(struct reduct *r, const struct place *p, uint64_t at, uint64_t near)
{
	struct stream *best = NULL;

	for (struct list *l = r->streams.next; l != &r->streams; l = l->next) {
		struct stream *s = container_of(l, struct stream, link);
		const struct job *now = list_empty(&s->jobs) ? NULL : container_of(s->jobs.next, struct job, link);
		uint64_t from = now && now->at <= s->pos ? now->end : s->pos, tail = tail_locked(s);

		if (s->ended || s->closed || !same_record(&s->place, p) || at < from || (at > tail && at - tail >= near))
			continue;
		if (!best || s->pos > best->pos)
			best = s;
	}
	return best;
}

/* Room for one more: those that nobody uses leave, the longest unused first. */
static bool make_room_locked(struct reduct *r, const struct place *p)
{
	for (;;) {
		struct stream *mine = NULL, *any = NULL;
		unsigned n = 0, n_mine = 0;

		for (struct list *l = r->streams.next; l != &r->streams; l = l->next) {
			struct stream *s = container_of(l, struct stream, link);
			bool is_mine = same_record(&s->place, p);

			n++;
			n_mine += is_mine;
			if (s->users)
				continue;
			if (!any || s->used_at < any->used_at)
				any = s;
			if (is_mine && (!mine || s->used_at < mine->used_at))
				mine = s;
		}
		if (n < STREAMS_MAX && n_mine < STREAMS_RECORD)
			return true;
		if (n_mine >= STREAMS_RECORD)
			any = mine;
		if (!any)
			return false;
		stream_drop_locked(any);
	}
}

static int stream_begin(struct reduct *r, const struct place *p, uint64_t size, const int *cancelled, struct stream **ret)
{
	_cleanup_free_ char *url = NULL;
	struct stream *s = calloc(1, sizeof(*s));
	struct http_request q = {.auth_header = "Authorization", .auth_prefix = "Bearer ", .auth = r->token, .expect_length = true,
	                         .total = size, .priority = HTTP_READ, .on_data = stream_data, .on_done = stream_done};
	int e = s ? record_at(r, p, &url) : -ENOMEM;

	if (e == 0)
		e = copy_place(p, &s->place);
	if (e < 0) {
		if (s)
			stream_free(s);
		return e;
	}
	s->r = r;
	list_init(&s->link);
	list_init(&s->jobs);
	s->users = 1;
	q.url = url;
	q.arg = s;
	/* Under the lock: the end cannot come before the transfer is noted. */
	pthread_mutex_lock(&r->stream_lock);
	e = wait_for_release_locked(r, p->bucket, p->entry, cancelled);
	if (e == 0)
		e = make_room_locked(r, p) ? http_submit(r->session.http, &q, &s->transfer) : -EAGAIN;
	if (e == 0)
		list_append(&r->streams, &s->link);
	pthread_mutex_unlock(&r->stream_lock);
	if (e < 0) {
		stream_free(s);
		return e;
	}
	*ret = s;
	return 0;
}

static void insert_locked(struct stream *s, struct job *j)
{
	struct list *before = s->jobs.next;

	while (before != &s->jobs && container_of(before, struct job, link)->at <= j->at)
		before = before->next;
	list_append(before, &j->link);          /* in front of it */
}

/* How long who asks for what begins at `at` waits for who asks for what is before. */
static unsigned gap_ms_locked(const struct stream *s, uint64_t at)
{
	return !s->skipped && s->pos >= LATE_BYTES && at - s->pos <= LATE_BYTES ? LATE_MS : GAP_MS;
}

/* Wait until the stream has brought what the job wants. 0; 1: the stream has ended before; -errno. j->at tells how far it came. */
static int stream_serve(struct stream *s, struct job *j, const int *cancelled)
{
	struct reduct *r = s->r;
	uint64_t since = clock_mono_ms();
	int e = 0;

	pthread_mutex_lock(&r->stream_lock);
	insert_locked(s, j);
	while (!j->done) {
		struct job *first = container_of(s->jobs.next, struct job, link);
		unsigned ms = LOOK_MS;

		if (s->ended || s->closed || s->dead || is_cancelled(cancelled)) {
			if (s->giving) {        /* it may be to us */
				wait_locked(r, LOOK_MS);
				continue;
			}
			list_remove(&j->link);
			e = is_cancelled(cancelled) ? -EINTR : 1;
			break;
		}
		if (!j->may_skip) {
			uint64_t now = clock_mono_ms(), until = since + gap_ms_locked(s, j->at);

			j->may_skip = j->at <= s->pos || now >= until;
			ms = now < until ? (unsigned)(until - now) + 1 : ms;
		}
		if (s->paused && s->transfer && first == j && (j->at <= s->pos || j->may_skip)) {
			s->paused = false;
			http_resume(r->session.http, s->transfer);
		}
		wait_locked(r, ms);
	}
	if (j->done)
		e = j->err;
	s->used_at = clock_mono_ms();
	s->users--;
	if (e == 1)
		backend_note_fault(0, NULL, s->words, NULL);
	if (e == 1 && s->err < 0 && s->err != -ECANCELED)
		e = s->err == -ENOENT || s->err == -EACCES ? s->err : 1;
	if (s->dead && s->ended && !s->users)
		stream_free(s);
	/* Who comes next goes on with it. */
	pthread_cond_broadcast(&r->stream_moved);
	pthread_mutex_unlock(&r->stream_lock);
	return e;
}

/* Bytes from a stream that is near, or from a new one: as stream_serve(); 1 also: there is none, and none is worth it. */
static int from_stream(struct reduct *r, const struct object *o, const struct place *p, uint64_t near, struct job *j,
                       const int *cancelled)
{
	struct stream *s;
	struct bucket *b;
	int e;

	WITH_LOCK(&r->stream_lock) {
		s = stream_find_locked(r, p, j->at, near);
		if (s)
			s->users++;
	}
	log_debug("reduct: bytes %" PRIu64 "-%" PRIu64 " of %s/%s?ts=%" PRIu64 ": %s", j->at, j->end - 1, p->bucket, p->entry, p->ts,
	          s ? "from a stream" : j->at < near ? "from a new stream" : "by a link");
	if (!s && j->at >= near)
		return 1;
	if (!s) {
		/* Against these figures it will be seen whether its neighbours were moved meanwhile. */
		e = reduct_bucket(r, p->bucket, BUCKET_FRESH_MS, &b);
		if (e < 0)
			return e;
		reduct_bucket_unref(r, b);
		e = stream_begin(r, p, o->size, cancelled, &s);
		if (e < 0)
			return e == -EAGAIN ? 1 : e;
	}
	return stream_serve(s, j, cancelled);
}

/* ---- one answer, to its end ---- */

struct pull {
	struct reduct *r;
	struct reading *reading;
	struct job *job;
	uint64_t skip;
	bool done;
	int err, status;
	char words[200];
};

static int pull_data(void *arg, const void *data, size_t n)
{
	struct pull *x = arg;
	struct job *j = x->job;
	size_t skip = x->skip < n ? (size_t)x->skip : n;
	int e;

	if (reading_is_stopped(x->reading))
		return -ECANCELED;
	x->skip -= skip;
	n -= skip;
	if (n > j->end - j->at)
		n = (size_t)(j->end - j->at);
	if (!n)
		return j->at == j->end ? -ECANCELED : 0;        /* no more of it is wanted */
	e = j->sink(j->arg, (const char *)data + skip, n);
	j->at += n;
	return e;
}

static void pull_done(void *arg, int err, const struct http_reply *reply)
{
	struct pull *x = arg;

	WITH_LOCK(&x->r->stream_lock) {
		x->err = judge(err, reply, x->words);
		x->status = reply->status;
		x->done = true;
		pthread_cond_broadcast(&x->r->stream_moved);
	}
}

/* Into the job, from its `at` on. 0: all came. */
static int pull(struct reading *reading, struct http_request *q, struct job *j, uint64_t skip, const int *cancelled)
{
	struct reduct *r = reading->r;
	struct pull x = {.r = r, .reading = reading, .job = j, .skip = skip};
	struct http_transfer *t;
	bool told = false;
	int e;

	q->priority = HTTP_READ;
	q->on_data = pull_data;
	q->on_done = pull_done;
	q->arg = &x;
	pthread_mutex_lock(&r->stream_lock);
	e = http_submit(r->session.http, q, &t);
	while (e == 0 && !x.done) {
		if (is_cancelled(cancelled) && !told) {
			http_cancel(r->session.http, t);
			told = true;
		}
		wait_locked(r, LOOK_MS);
	}
	pthread_mutex_unlock(&r->stream_lock);
	if (e < 0)
		return e;
	if (j->at == j->end)
		return 0;
	if (told)
		return -EINTR;
	if (reading_is_stopped(reading))
		return -EAGAIN;
	if (x.err < 0)
		backend_note_fault(x.status, x.status >= 400 ? "ReductError" : NULL, x.words, q->url);
	return x.err < 0 ? x.err : -EIO;
}

/* ---- links ---- */

static void link_free(struct link *l)
{
	place_done(&l->place);
	free(l->url);
	free(l);
}

static void link_drop_locked(struct link *l)
{
	if (!l->dead)
		list_remove(&l->link);
	l->dead = true;
	if (!l->busy)
		link_free(l);
}

static void tidy_links_locked(struct reduct *r)
{
	struct link *oldest = NULL;
	unsigned n = 0;

	for (struct list *l = r->links.next, *next; l != &r->links; l = next) {
		struct link *x = container_of(l, struct link, link);

		next = l->next;
		if (!x->busy && clock_mono_ms() - x->used_at > LINK_IDLE_MS) {
			link_drop_locked(x);
			continue;
		}
		n++;
		if (!x->busy && (!oldest || x->used_at < oldest->used_at))
			oldest = x;
	}
	if (n > LINKS_MAX && oldest)
		link_drop_locked(oldest);
}

/* One of our own for a while: two transfers on one link spoil each other. */
static int link_take(struct reduct *r, const struct place *p, const int *cancelled, struct link **ret)
{
	uint64_t now, at = 0;
	struct link *l = NULL;
	int e = 0;

	pthread_mutex_lock(&r->stream_lock);
	for (;;) {
		unsigned mine = 0;

		l = NULL;
		for (struct list *k = r->links.next; k != &r->links; k = k->next) {
			struct link *x = container_of(k, struct link, link);

			if (!same_record(&x->place, p))
				continue;
			mine += x->busy;
			l = x->busy || x->spent ? l : x;
		}
		if (r->links_busy < LINKS_BUSY && mine < LINKS_RECORD)
			break;
		if (is_cancelled(cancelled)) {
			e = -EINTR;
			break;
		}
		wait_locked(r, LOOK_MS);
	}
	if (e == 0 && !l) {
		l = calloc(1, sizeof(*l));
		e = l ? copy_place(p, &l->place) : -ENOMEM;
		if (e < 0 && l)
			link_free(l);
		if (e == 0)
			list_append(&r->links, &l->link);
	}
	if (e == 0) {
		l->busy = true;
		r->links_busy++;
		now = clock_mono_ms();
		at = r->link_at > now ? r->link_at : now;
		r->link_at = at + LINK_PAUSE_MS;
		*ret = l;
	}
	pthread_mutex_unlock(&r->stream_lock);
	now = clock_mono_ms();
	if (e == 0 && at > now) {
		struct timespec t = {(time_t)((at - now) / 1000), (long)((at - now) % 1000) * 1000000l};

		nanosleep(&t, NULL);
	}
	return e;
}

static void link_put(struct reduct *r, struct link *l, bool good)
{
	WITH_LOCK(&r->stream_lock) {
		l->busy = false;
		l->used_at = clock_mono_ms();
		r->links_busy--;
		if (l->dead)
			link_free(l);
		else if (!good)
			link_drop_locked(l);
		tidy_links_locked(r);
		pthread_cond_broadcast(&r->stream_moved);
	}
}

static int link_make(struct reduct *r, const struct place *p, char **ret)
{
	_cleanup_buf_ struct buf b = BUF_MAX(65536);
	_cleanup_(json_freep) struct json *j = NULL;
	struct ask a = {.method = "POST"};
	struct bucket *bucket;
	const char *url = NULL, *path;
	int e = reduct_bucket(r, p->bucket, BUCKET_FRESH_MS, &bucket);  /* as from_stream() */

	if (e < 0)
		return e;
	reduct_bucket_unref(r, bucket);
	e = buf_adds(&b, "{\"bucket\": ");
	if (e == 0)
		e = json_write_str(&b, p->bucket);
	if (e == 0)
		e = buf_adds(&b, ", \"entry\": ");
	if (e == 0)
		e = json_write_str(&b, p->entry);
	if (e == 0)
		e = buf_adds(&b, ", \"index\": 0, \"record_entry\": ");
	if (e == 0)
		e = json_write_str(&b, p->entry);
	if (e == 0)
		e = buf_addf(&b, ", \"record_timestamp\": %" PRIu64 ", \"query\": {\"query_type\": \"QUERY\", \"start\": %" PRIu64 ", \"stop\": %" PRIu64
		             "}, \"expire_at\": %lld, \"base_url\": ", p->ts, p->ts, p->ts + 1, (long long)clock_wall().tv_sec + LINK_LIFE_S);
	if (e == 0) {
		_cleanup_free_ char *base = NULL;

		e = str_fmt(&base, "%.*s/", (int)(strlen(r->api) - strlen("/api/v1")), r->api);
		if (e == 0)
			e = json_write_str(&b, base);
	}
	if (e == 0)
		e = buf_adds(&b, "}");
	a.body = buf_str(&b);
	if (e == 0)
		e = reduct_ask(r, &a, "links/scifs-%" PRIu64, p->ts);
	if (e == 0)
		e = json_parse(buf_str(&a.text), a.text.len, &j);
	if (e == 0)
		e = json_str(j, "link", &url);
	ask_done(&a);
	/* Its host may be the server's idea of itself; ours is known to answer. */
	if (e == 0) {
		path = strstr(url, "/links/");
		e = path ? str_fmt(ret, "%s%s", r->api, path) : -EBADMSG;
	}
	return e;
}

static int from_link(struct reduct *r, const struct object *o, const struct place *p, struct job *j, const int *cancelled)
{
	struct http_request q = {.has_range = true, .first = j->at, .last = j->end - 1, .total = o->size, .once = true};
	struct reading *reading = NULL;
	struct link *l;
	int e = link_take(r, p, cancelled, &l);

	if (e < 0)
		return e;
	e = reading_begin(r, p->bucket, p->entry, cancelled, &reading);
	if (e == 0 && l->spent)
		e = -EAGAIN;            /* by what was waited for */
	if (e == 0 && !l->url)
		e = link_make(r, p, &l->url);
	if (e == 0) {
		q.url = l->url;
		e = pull(reading, &q, j, 0, cancelled);
	}
	link_put(r, l, e == 0);
	if (reading)
		reading_end(reading);
	return e;
}

/* ---- a record that is asked for by a query ---- */

static int from_query(struct reduct *r, const struct object *o, const struct place *p, struct job *j, const int *cancelled)
{
	_cleanup_free_ char *path = NULL, *bucket = NULL, *entry = NULL, *body = NULL, *url = NULL;
	_cleanup_(json_freep) struct json *json = NULL;
	struct http_request q = {.auth_header = "Authorization", .auth_prefix = "Bearer ", .auth = r->token, .expect_length = true,
	                         .total = o->size, .once = true, .max_headers = 128u << 10};
	struct ask a = {.method = "POST"};
	struct reading *reading = NULL;
	uint64_t id = 0;
	int e = name_encode_path(p->bucket, &bucket);

	if (e == 0)
		e = name_encode_path(p->entry, &entry);
	if (e == 0)
		e = str_fmt(&path, "b/%s/%s", bucket, entry);
	if (e == 0)
		e = reading_begin(r, p->bucket, p->entry, cancelled, &reading);
	if (e == 0)
		e = str_fmt(&body, "{\"query_type\": \"QUERY\", \"start\": %" PRIu64 ", \"stop\": %" PRIu64 ", \"ttl\": 60}", p->ts, p->ts + 1);
	a.body = body;
	if (e == 0)
		e = reduct_ask(r, &a, "%s/q", path);
	if (e == 0)
		e = json_parse(buf_str(&a.text), a.text.len, &json);
	if (e == 0)
		e = json_u64(json, "id", &id);
	ask_done(&a);
	if (e == 0)
		e = str_fmt(&url, "%s/%s/batch?q=%" PRIu64, r->api, path, id);
	q.url = url;
	if (e == 0)
		e = pull(reading, &q, j, j->at, cancelled);
	if (reading)
		reading_end(reading);
	return e;
}

/* ---- the members ---- */

static bool is_final(int e)
{
	return e == -EINTR || e == -ECANCELED || e == -ENOENT || e == -EACCES || e == -ENOMEM || e == -EMSGSIZE;
}

/* The bytes of a large record, wherever they come from; what was cut is gone on with. */
static int give(struct reduct *r, const struct object *o, const struct place *p, struct job *j, const int *cancelled)
{
	bool links = r->minor >= MINOR_LINKS, query = !str_eq(o->content, "single");
	unsigned idle = 0;
	int e = 0;

	while (j->at < j->end) {
		unsigned holds = r->holds_made;
		uint64_t was = j->at;

		if (is_cancelled(cancelled))
			return -EINTR;
		j->done = false;
		j->err = 0;
		if (query) {
			e = from_query(r, o, p, j, cancelled);
		} else {
			/* A stream that breaks is not begun anew for what lies far in. */
			e = from_stream(r, o, p, links ? NEAR : UINT64_MAX, j, cancelled);
			if (e == 1 && links && holds == r->holds_made)
				e = from_link(r, o, p, j, cancelled);
		}
		if (is_final(e))
			return e;
		/* What a removal of ours broke off is no fault of the server's. */
		idle = j->at > was || holds != r->holds_made ? 0 : idle + 1;
		if (idle >= TRIES)
			return e < 0 ? e : -EIO;
	}
	return 0;
}

static int fill(struct session *s, const struct object *o, struct range range, content_sink sink, void *arg, const int *cancelled)
{
	struct reduct *r = reduct_of(s);
	struct job j = {.at = range.first, .end = range.first + range.count, .sink = sink, .arg = arg};
	struct place p;
	int e = place_parse(o->id, &p);

	if (e < 0)
		return e;
	list_init(&j.link);
	e = reduct_verify(r);
	/* The server sends other records' bytes for what lies past the end. */
	if (e == 0 && (j.end > o->size || j.at >= j.end))
		e = -EINVAL;
	if (e == 0)
		e = give(r, o, &p, &j, cancelled);
	place_done(&p);
	return e;
}

static void whole_ended(void *arg)
{
	reading_end(arg);
}

int reduct_prepare_read(struct session *s, const struct object *o, struct read_plan *io)
{
	struct reduct *r = reduct_of(s);
	struct reading *x = NULL;
	struct place p;
	bool unverified, held = false;
	int e;

	if (o->kind != OBJECT_FILE || !o->content)
		return -EIO;
	WITH_LOCK(&r->lock)
		unverified = r->unverified;
	if (unverified)
		return -EHOSTDOWN;      /* without a login yet; fs looks at the thing first, which makes one */
	if (o->size > s->policy.whole_below || strcmp(o->content, "single") != 0) {
		io->kind = PLAN_FILL;
		io->fill = fill;
		return 0;
	}
	e = place_parse(o->id, &p);
	if (e < 0)
		return e;
	e = reading_new(r, p.bucket, p.entry, &x);
	if (e == 0)
		WITH_LOCK(&r->stream_lock) {
			held = is_held_locked(r, p.bucket, p.entry);
			if (!held)
				list_append(&r->readings, &x->link);
		}
	if (e < 0 || held) {
		reading_free(x);
		place_done(&p);
		if (e < 0)
			return e;
		io->kind = PLAN_FILL;   /* it waits, which is not to be done here */
		io->fill = fill;
		return 0;
	}
	io->stopped = &x->stopped;
	io->ended = whole_ended;
	io->arg = x;
	io->kind = PLAN_REQUEST;
	io->range = (struct range){0, o->size};         /* a part is not to be had */
	io->auth_header = "Authorization";
	io->auth_prefix = "Bearer ";
	io->auth = secret_ref(r->token);
	e = record_at(r, &p, &io->url);
	place_done(&p);
	return e;
}

/* ---- what is kept ---- */

void reduct_content_tidy(struct reduct *r)
{
	uint64_t now = clock_mono_ms();

	WITH_LOCK(&r->stream_lock) {
		for (struct list *l = r->streams.next, *next; l != &r->streams; l = next) {
			struct stream *s = container_of(l, struct stream, link);

			next = l->next;
			if (!s->users && now - s->used_at > IDLE_MS)
				stream_drop_locked(s);
		}
		tidy_links_locked(r);
	}
}

static char *turned_key(const char *bucket, const char *entry, uint64_t ts)
{
	struct place p = {.what = IS_RECORD, .bucket = (char *)bucket, .entry = (char *)entry, .ts = ts};
	char *key;

	return place_id(&p, &key) < 0 ? NULL : key;
}

static struct turned *turned_locked(struct reduct *r, const char *key)
{
	for (size_t i = 0; i < r->turned.n; i++)
		if (strcmp(r->turned.at[i].key, key) == 0)
			return &r->turned.at[i];
	return NULL;
}

static void turn_locked(struct reduct *r, const struct place *p)
{
	char *key = turned_key(p->bucket, p->entry, p->ts);
	struct turned *t = key ? turned_locked(r, key) : NULL;

	if (t) {
		t->times++;
	} else if (key) {
		if (r->turned.n >= TURNED_MAX) {
			free(r->turned.at[0].key);
			r->turned.at[0] = r->turned.at[--r->turned.n];
		}
		if (vec_push(&r->turned, (struct turned){key, 1}) == 0)
			key = NULL;
	}
	free(key);
}

/* ---- removals ---- */

bool reduct_is_read(struct session *s, const struct object *dir)
{
	struct reduct *r = reduct_of(s);
	uint64_t now = clock_mono_ms();
	struct place p;
	bool yes = false;

	if (place_parse(dir->id, &p) < 0)
		return false;
	if (p.entry)
		WITH_LOCK(&r->stream_lock) {
			struct reading *x;
			struct stream *t;

			list_for_each_safe(t, &r->streams, struct stream, link)
				yes |= !t->ended && !t->closed && is_in(t->place.bucket, t->place.entry, p.bucket, p.entry) &&
				       (t->users || now - t->used_at <= ACTIVE_MS);
			list_for_each_safe(x, &r->readings, struct reading, link)
				yes |= is_in(x->bucket, x->entry, p.bucket, p.entry);
		}
	place_done(&p);
	return yes;
}

static void hold_free(struct hold *h)
{
	list_remove(&h->link);
	free(h->bucket);
	free(h->entry);
	free(h);
}

int reduct_content_hold(struct reduct *r, const char *bucket, const char *entry, uint64_t n)
{
	struct hold *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	*h = (struct hold){.n = n};
	list_init(&h->link);
	if (str_dup(bucket, &h->bucket) < 0 || str_dup(entry, &h->entry) < 0) {
		hold_free(h);
		return -ENOMEM;
	}
	WITH_LOCK(&r->stream_lock) {
		struct hold *i, *oldest = NULL;
		struct reading *x;
		struct stream *s;
		struct link *l;
		unsigned k = 0;

		list_for_each_safe(i, &r->holds, struct hold, link) {
			k++;
			oldest = i->over_at && !oldest ? i : oldest;
		}
		if (k >= HOLDS_MAX && oldest)
			hold_free(oldest);      /* then it is taken for somebody else's */
		list_append(&r->holds, &h->link);
		r->holds_made++;
		list_for_each_safe(s, &r->streams, struct stream, link)
			if (is_in(s->place.bucket, s->place.entry, bucket, entry))
				stream_close_locked(s);
		list_for_each_safe(l, &r->links, struct link, link)
			l->spent |= is_in(l->place.bucket, l->place.entry, bucket, entry);
		list_for_each_safe(x, &r->readings, struct reading, link)
			if (is_in(x->bucket, x->entry, bucket, entry))
				__atomic_store_n(&x->stopped, 1, __ATOMIC_RELEASE);
		pthread_cond_broadcast(&r->stream_moved);
	}
	return 0;
}

void reduct_content_release(struct reduct *r, const char *bucket, const char *entry, bool sure)
{
	WITH_LOCK(&r->stream_lock) {
		struct hold *h;

		list_for_each_safe(h, &r->holds, struct hold, link)
			if (!h->over_at && is_in(h->bucket, h->entry, bucket, entry)) {
				h->over_at = clock_mono_ms();
				h->n = sure ? h->n : 0;         /* it may be carried out at any time: that is noticed like anybody's */
			}
		pthread_cond_broadcast(&r->stream_moved);
	}
}

uint64_t reduct_content_ours(struct reduct *r, const char *bucket, const char *entry, uint64_t fell, uint64_t asked_at)
{
	uint64_t ours = 0;

	WITH_LOCK(&r->stream_lock) {
		struct hold *h;

		list_for_each_safe(h, &r->holds, struct hold, link) {
			uint64_t n;

			if (!is_in(h->bucket, h->entry, bucket, entry))
				continue;
			n = fell - ours < h->n ? fell - ours : h->n;
			ours += n;
			h->n -= n;
			/* The next figures are compared with these, which have it in them. */
			if (h->over_at && asked_at > h->over_at)
				hold_free(h);
		}
	}
	return ours;
}

void reduct_content_moved(struct reduct *r, const char *bucket, const char *entry)
{
	WITH_LOCK(&r->stream_lock) {
		for (struct list *l = r->streams.next, *next; l != &r->streams; l = next) {
			struct stream *s = container_of(l, struct stream, link);

			next = l->next;
			if (strcmp(s->place.entry, entry) != 0 || strcmp(s->place.bucket, bucket) != 0)
				continue;
			turn_locked(r, &s->place);
			stream_drop_locked(s);
		}
		for (struct list *l = r->links.next, *next; l != &r->links; l = next) {
			struct link *x = container_of(l, struct link, link);

			next = l->next;
			if (strcmp(x->place.entry, entry) != 0 || strcmp(x->place.bucket, bucket) != 0)
				continue;
			turn_locked(r, &x->place);
			link_drop_locked(x);
		}
		pthread_cond_broadcast(&r->stream_moved);
	}
}

unsigned reduct_content_turns(struct reduct *r, const char *bucket, const char *entry, uint64_t ts)
{
	char *key = NULL;
	unsigned times = 0;

	WITH_LOCK(&r->stream_lock) {
		const struct turned *t;

		if (!r->turned.n)
			break;
		key = turned_key(bucket, entry, ts);
		t = key ? turned_locked(r, key) : NULL;
		times = t ? t->times : 0;
	}
	free(key);
	return times;
}

void reduct_content_done(struct reduct *r)
{
	pthread_mutex_lock(&r->stream_lock);
	while (!list_empty(&r->streams)) {
		struct stream *s = container_of(r->streams.next, struct stream, link);

		/* Nobody uses it any more: its end frees it, and is waited for. */
		s->users++;
		stream_drop_locked(s);
		while (!s->ended)
			wait_locked(r, LOOK_MS);
		stream_free(s);
	}
	while (!list_empty(&r->links))
		link_drop_locked(container_of(r->links.next, struct link, link));
	while (!list_empty(&r->holds))
		hold_free(container_of(r->holds.next, struct hold, link));
	pthread_mutex_unlock(&r->stream_lock);
	for (size_t i = 0; i < r->turned.n; i++)
		free(r->turned.at[i].key);
	vec_done(&r->turned);
	pthread_cond_destroy(&r->stream_moved);
	pthread_mutex_destroy(&r->stream_lock);
}
