/* whole.c - contents that the server sends only whole: fetched once, kept in a file without a name, read from there.
 *
 * A file whose name the server cannot put into a header comes by resource/download alone: a zip of its item. Whoever asks first
 * downloads it, in one stream; others meanwhile wait for the bytes they want. A large one is handed on as it comes. The
 * engine thread only copies into a bounded buffer (and pauses the stream when it is full), this thread writes the file.
 *
 * states of a kept content: RUNNING (somebody downloads it; `have` bytes can be read) -> DONE | FAILED (out of the list, freed
 * by who leaves it last).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backend/girder/private.h"
#include "backend/girder/zip.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/thread.h"

#define KEPT_MAX 8                      /* contents kept */
#define KEPT_IDLE_MS (10 * 60 * 1000)
#define DISK_LEFT (256ull << 20)        /* what a kept content leaves free on its disk */
#define CHECKED_FIRST (64ull << 20)     /* contents so small are held against their checksum before a byte of them is given */
#define STREAM_MAX (2u << 20)           /* bytes between the engine and the file */
#define PIECE (256u << 10)
#define LOOK_MS 500                     /* how often who waits looks whether he was cancelled */

struct whole {
	struct list link;               /* in girder.wholes; the rest is guarded by girder.whole_lock too */
	char *key;
	enum { RUNNING, DONE, FAILED } state;
	int err;
	int fd;                         /* -1: no room for a file: only the downloader is served */
	uint64_t have;
	unsigned refs;
	uint64_t used_at;
};

/* ---- the stream: engine thread -> this thread ---- */

struct stream {
	struct http *http;
	struct http_transfer *transfer; /* NULL: ended */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	struct buf buf;
	bool paused, ended;
	int err;
	char message[200];
};

static int stream_data(void *arg, const void *data, size_t n)
{
	struct stream *s = arg;
	int r = 0;

	WITH_LOCK(&s->lock) {
		if (s->buf.len && s->buf.len + n > STREAM_MAX) {
			s->paused = true;
			r = HTTP_PAUSE;
		} else {
			r = buf_add(&s->buf, data, n);
		}
		pthread_cond_signal(&s->moved);
	}
	return r;
}

static void stream_done(void *arg, int err, const struct http_reply *reply)
{
	struct stream *s = arg;

	WITH_LOCK(&s->lock) {
		s->ended = true;
		s->err = err;
		s->transfer = NULL;
		snprintf(s->message, sizeof(s->message), "%s", reply->message);
		if (reply->status >= 400)
			s->err = girder_errno(reply->status, buf_str(&reply->body), reply->body.len, s->message);
		pthread_cond_signal(&s->moved);
	}
}

static void wait_a_moment(pthread_cond_t *cond, pthread_mutex_t *lock)
{
	struct timespec until = clock_until(LOOK_MS);

	(void)pthread_cond_timedwait(cond, lock, &until);
}

/* What has come so far, handed over in *ret. 1 there was something or is to come; 0 the end; -errno. */
static int stream_take(struct stream *s, struct buf *ret)
{
	struct http_transfer *resume = NULL;
	int r;

	buf_clear(ret);
	pthread_mutex_lock(&s->lock);
	if (!s->buf.len && !s->ended)
		wait_a_moment(&s->moved, &s->lock);
	if (s->buf.len) {
		struct buf swap = s->buf;

		s->buf = *ret;
		*ret = swap;
		r = 1;
	} else {
		r = s->ended ? s->err : 1;
	}
	if (s->paused && s->transfer) {
		s->paused = false;
		resume = s->transfer;
		http_resume(s->http, resume);   /* under the lock: the end cannot come before */
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void stream_end(struct stream *s)
{
	WITH_LOCK(&s->lock) {
		if (s->transfer)
			http_cancel(s->http, s->transfer);
		while (!s->ended)
			pthread_cond_wait(&s->moved, &s->lock);
	}
	buf_done(&s->buf);
	pthread_cond_destroy(&s->moved);
	pthread_mutex_destroy(&s->lock);
}

/* ---- kept contents ---- */

void girder_wholes_init(struct girder *g)
{
	list_init(&g->wholes);
	pthread_mutex_init(&g->whole_lock, NULL);
	thread_cond_init(&g->whole_moved);
}

static void whole_free(struct whole *w)
{
	if (w->fd >= 0)
		close(w->fd);
	free(w->key);
	free(w);
}

static void leave_locked(struct whole *w)
{
	w->used_at = clock_mono_ms();
	if (--w->refs == 0 && w->state == FAILED)
		whole_free(w);
}

/* Of those nobody reads: the idle ones, and the oldest when there are too many. */
static void tidy_locked(struct girder *g, uint64_t idle_ms, unsigned most)
{
	uint64_t now = clock_mono_ms();
	struct list *l = g->wholes.next;        /* in the order in which they began */
	unsigned n = 0;

	for (struct list *i = l; i != &g->wholes; i = i->next)
		n++;
	while (l != &g->wholes) {
		struct whole *w = container_of(l, struct whole, link);

		l = l->next;
		if (w->refs || (now - w->used_at < idle_ms && n <= most))
			continue;
		list_remove(&w->link);
		whole_free(w);
		n--;
	}
}

void girder_wholes_tidy(struct girder *g)
{
	WITH_LOCK(&g->whole_lock)
		tidy_locked(g, KEPT_IDLE_MS, KEPT_MAX);
}

void girder_wholes_done(struct girder *g)
{
	WITH_LOCK(&g->whole_lock)
		tidy_locked(g, 0, 0);
	pthread_cond_destroy(&g->whole_moved);
	pthread_mutex_destroy(&g->whole_lock);
}

/* A file without a name, on a disk with room for it; -1: none. */
static int nameless(uint64_t size)
{
	const char *tmp = getenv("TMPDIR");
	struct statvfs st;
	int fd;

	if (!tmp || !*tmp)
		tmp = "/var/tmp";       /* /tmp is often memory */
	fd = open(tmp, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		_cleanup_free_ char *path = NULL;

		if (str_fmt(&path, "%s/scifs-XXXXXX", tmp) < 0)
			return -1;
		fd = mkostemp(path, O_CLOEXEC);
		if (fd >= 0)
			(void)unlink(path);     /* it has no other use */
	}
	if (fd >= 0 && (fstatvfs(fd, &st) < 0 || (uint64_t)st.f_bavail * st.f_frsize < size + DISK_LEFT)) {
		close(fd);
		fd = -1;
	}
	if (fd < 0)
		log_warn("%s: no room to keep a content that comes only whole: each read of it fetches all", tmp);
	return fd;
}

static struct whole *find_locked(struct girder *g, const char *key)
{
	for (struct list *l = g->wholes.next; l != &g->wholes; l = l->next) {
		struct whole *w = container_of(l, struct whole, link);

		if (strcmp(w->key, key) == 0) {
			w->refs++;
			return w;
		}
	}
	return NULL;
}

static int whole_new(const char *key, uint64_t size, struct whole **ret)
{
	struct whole *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	list_init(&w->link);
	w->refs = 1;
	w->fd = -1;
	if (str_dup(key, &w->key) < 0) {
		whole_free(w);
		return -ENOMEM;
	}
	w->fd = nameless(size);
	*ret = w;
	return 0;
}

/* *mine: it is new, and the caller downloads it. One that cannot be kept is nobody else's. */
static int enter(struct girder *g, const char *key, uint64_t size, struct whole **ret, bool *mine)
{
	struct whole *fresh, *w;
	int r;

	*mine = false;
	WITH_LOCK(&g->whole_lock)
		w = find_locked(g, key);
	if (w) {
		*ret = w;
		return 0;
	}
	r = whole_new(key, size, &fresh);
	if (r < 0)
		return r;
	WITH_LOCK(&g->whole_lock) {
		w = find_locked(g, key);        /* somebody was faster */
		if (!w && fresh->fd >= 0) {
			tidy_locked(g, KEPT_IDLE_MS, KEPT_MAX - 1);
			list_append(&g->wholes, &fresh->link);
		}
	}
	*mine = !w;
	*ret = w ? w : fresh;
	if (w)
		whole_free(fresh);
	return 0;
}

/* ---- downloading ---- */

struct entry {
	char *name;
	uint64_t size;
	bool wanted, seen;
};

struct download {
	struct girder *g;
	struct whole *whole;
	VEC(struct entry) entries;      /* the item's files: the zip tells no sizes in front */
	uint64_t at;                    /* bytes of the content that came */
	bool at_once;                   /* hand them on before the checksum, which comes last, has shown them to be right */
	struct range range;
	content_sink sink;
	void *arg;
};

static void entries_done(struct download *d)
{
	for (size_t i = 0; i < d->entries.n; i++)
		free(d->entries.at[i].name);
	vec_done(&d->entries);
}

/* Names in the zip have their item's in front, unless it is the item's only file and named so. */
static bool names_match(const char *in_zip, size_t n, const char *file)
{
	size_t m = strlen(file);

	return n >= m && memcmp(in_zip + n - m, file, m) == 0 && (n == m || in_zip[n - m - 1] == '/');
}

static int pick(void *arg, const char *name, size_t n, uint64_t *ret_size)
{
	struct download *d = arg;
	struct entry *best = NULL;

	/* Of names that end alike ("b" and "a/b") the longest is meant. */
	for (size_t i = 0; i < d->entries.n; i++) {
		struct entry *e = &d->entries.at[i];

		if (!e->seen && names_match(name, n, e->name) && (!best || strlen(e->name) > strlen(best->name)))
			best = e;
	}
	if (!best)
		return -EBADMSG;
	best->seen = true;
	*ret_size = best->size;
	return best->wanted;
}

/* The part of these bytes that was asked for. */
static int hand_on(struct download *d, uint64_t at, const char *p, size_t n)
{
	uint64_t end = d->range.first + d->range.count, from = at > d->range.first ? at : d->range.first;
	uint64_t to = at + n < end ? at + n : end;

	return from < to ? d->sink(d->arg, p + (from - at), (size_t)(to - from)) : 0;
}

/* So many bytes can be read by everybody. */
static void show(struct download *d, uint64_t have)
{
	WITH_LOCK(&d->g->whole_lock) {
		d->whole->have = have;
		pthread_cond_broadcast(&d->g->whole_moved);
	}
}

static int give(void *arg, const void *data, size_t n)
{
	struct download *d = arg;
	int r = 0;

	if (d->whole->fd >= 0)
		r = file_pwrite_all(d->whole->fd, data, n, (off_t)d->at);
	if (r == 0 && d->at_once) {
		show(d, d->at + n);
		r = hand_on(d, d->at, data, n);
	}
	d->at += n;
	return r;
}

static int list_files(struct download *d, const char *item, const char *file, const char *version)
{
	_cleanup_(json_freep) struct json *j = NULL;
	bool found = false;
	int r = girder_get_json(d->g, &j, "item/%s/files?limit=0&sort=name", item);

	for (const struct json *f = json_first(j); f && r == 0; f = json_next(f)) {
		struct object o = {0};
		struct entry e;
		const char *link = NULL;

		r = parse_file(f, RIGHT_READ, &o);
		if (r == 0)
			r = json_str_opt(f, "linkUrl", &link);
		if (r < 0)
			break;
		e = (struct entry){.name = TAKE(o.name), .size = link ? strlen(link) : o.size, .wanted = strcmp(o.id, file) == 0};
		if (e.wanted && !str_eq(o.version, version))
			r = -ESTALE;
		found |= e.wanted;
		object_done(&o);
		if (r < 0 || vec_push(&d->entries, e) < 0) {
			free(e.name);
			r = r < 0 ? r : -ENOMEM;
		}
	}
	return r < 0 ? r : found ? 0 : -ENOENT;
}

static bool abandoned(struct download *d, const int *cancelled)
{
	bool alone;

	if (!__atomic_load_n(cancelled, __ATOMIC_RELAXED))
		return false;
	WITH_LOCK(&d->g->whole_lock)
		alone = d->whole->refs == 1;
	return alone;
}

static int stream_zip(struct download *d, const char *item, const int *cancelled)
{
	_cleanup_free_ char *url = NULL, *encoded = NULL, *resources = NULL;
	_cleanup_free_ struct zip *z = calloc(1, sizeof(*z));
	_cleanup_buf_ struct buf piece = BUF_MAX(64u << 20);
	struct secret *token = girder_token(d->g);
	struct http_request q = {.auth_header = "Girder-Token", .auth = token, .priority = HTTP_READ, .on_data = stream_data,
	                         .on_done = stream_done, .slow_ms = d->g->session.policy.slow_ms,
	                         .deadline_ms = d->g->session.policy.timeout_ms};
	struct stream s = {.http = d->g->session.http, .buf = BUF_MAX(64u << 20)};
	int r = z ? str_fmt(&resources, "{\"item\":[\"%s\"]}", item) : -ENOMEM;

	if (r == 0)
		r = girder_encode(resources, &encoded);
	if (r == 0)
		r = str_fmt(&url, "%s/resource/download?resources=%s", d->g->api, encoded);
	if (r < 0) {
		secret_unref(token);
		return r;
	}
	z->pick = pick;
	z->give = give;
	z->arg = d;
	q.url = url;
	q.arg = &s;
	pthread_mutex_init(&s.lock, NULL);
	thread_cond_init(&s.moved);
	WITH_LOCK(&s.lock) {
		r = http_submit(s.http, &q, &s.transfer);
		s.ended = r < 0;
	}
	while (r == 0) {
		r = stream_take(&s, &piece);
		if (r == 0) {
			r = -EIO;       /* it ended before the file did */
			snprintf(s.message, sizeof(s.message), "the zip ended too early");
		}
		if (r == 1)
			r = piece.len ? zip_feed(z, piece.data, piece.len) : 0;
		if (r == -ENOENT)
			r = -EIO;       /* its document is there: that is no reason to call it gone */
		if (r == 0 && abandoned(d, cancelled))
			r = -EINTR;
		if (r == 0 && d->whole->fd < 0 && d->at >= d->range.first + d->range.count)
			r = 1;          /* nothing is kept: the rest is of no use */
	}
	if (r < 0 && r != -EINTR)
		log_warn("%s: %s", url, z->error ? z->error : s.message);
	stream_end(&s);
	secret_unref(token);
	return r < 0 ? r : 0;
}

/* Wait until bytes from `at` on are there. How many; 0: the download was given up; -EINTR, or what it failed with. */
static int64_t wait_for(struct girder *g, struct whole *w, uint64_t at, const int *cancelled)
{
	int64_t r = 0;

	WITH_LOCK(&g->whole_lock) {
		while (w->state == RUNNING && w->have <= at && !__atomic_load_n(cancelled, __ATOMIC_RELAXED))
			wait_a_moment(&g->whole_moved, &g->whole_lock);
		if (w->have > at)
			r = (int64_t)(w->have - at);
		else if (w->state == RUNNING)
			r = -EINTR;
		else
			r = w->err == -EINTR ? 0 : w->err;      /* DONE has all that can be asked for */
	}
	return r;
}

/* From *at on; it moves with what was handed on. 1: all came; 0: the rest must be had otherwise. */
static int read_kept(struct girder *g, struct whole *w, struct range range, uint64_t *at, content_sink sink, void *arg,
                     const int *cancelled)
{
	_cleanup_free_ char *piece = malloc(PIECE);
	uint64_t end = range.first + range.count;
	int r = piece ? 0 : -ENOMEM;

	while (r == 0 && *at < end) {
		int64_t there = wait_for(g, w, *at, cancelled);
		size_t n = end - *at < PIECE ? (size_t)(end - *at) : PIECE;

		if (there <= 0)
			return (int)there;
		if ((uint64_t)there < n)
			n = (size_t)there;
		if (__atomic_load_n(cancelled, __ATOMIC_RELAXED))
			return -EINTR;
		r = file_pread_all(w->fd, piece, n, (off_t)*at);
		if (r == 0)
			r = sink(arg, piece, n);
		*at += n;
	}
	return r < 0 ? r : 1;
}

static int download(struct girder *g, struct whole *w, const struct object *o, struct range range, content_sink sink, void *arg,
                    const int *cancelled)
{
	struct download d = {.g = g, .whole = w, .range = range, .sink = sink, .arg = arg};
	_cleanup_free_ char *item = strndup(o->content + strlen("zip-item/"), strcspn(o->content + strlen("zip-item/"), "/"));
	uint64_t at = range.first;
	int r = item ? list_files(&d, item, girder_file(o->content), o->version) : -ENOMEM;

	d.at_once = w->fd < 0 || o->size > CHECKED_FIRST;
	if (r == 0)
		r = stream_zip(&d, item, cancelled);
	entries_done(&d);
	WITH_LOCK(&g->whole_lock) {
		w->err = r;
		w->state = r < 0 || w->fd < 0 ? FAILED : DONE;
		if (w->state == FAILED)
			list_remove(&w->link);
		else
			w->have = d.at;
		pthread_cond_broadcast(&g->whole_moved);
	}
	if (r == 0 && !d.at_once)
		r = read_kept(g, w, range, &at, sink, arg, cancelled);
	WITH_LOCK(&g->whole_lock)
		leave_locked(w);
	return r < 0 ? r : 0;
}

/* ---- for content.c ---- */

int girder_fill_whole(struct session *s, const struct object *o, struct range range, content_sink sink, void *arg,
                      const int *cancelled)
{
	struct girder *g = girder_of(s);
	_cleanup_free_ char *key = NULL;
	uint64_t at = range.first, end = range.first + range.count;
	int r = str_fmt(&key, "%s %s", o->content, o->version ? o->version : "");

	while (r == 0 && at < end) {
		struct whole *w;
		bool mine;

		r = enter(g, key, o->size, &w, &mine);
		if (r < 0)
			return r;
		if (mine)
			return download(g, w, o, (struct range){at, end - at}, sink, arg, cancelled);
		r = read_kept(g, w, (struct range){at, end - at}, &at, sink, arg, cancelled);
		WITH_LOCK(&g->whole_lock)
			leave_locked(w);
	}
	return r < 0 ? r : 0;
}
