/* documents.c - listings, objects and metadata kept over a restart (SQLite), for a quick remount and for offline use.
 *
 *   DIR/documents.db, version 2, shared by all mounts of a user:
 *     document (space, kind, key; stored: ms since 1970; sum; data)
 *
 * The sum is xxh3 of everything else in the row: SQLite keeps none, and a flipped bit must not be taken for the server's
 * word. Stores go to a thread of their own, which commits what has gathered at once; until then they are answered from the
 * queue. Reads have a connection of their own, so that none of them waits for a writer, ours or another process's. The
 * database is a cache: a damaged one is set aside and begun anew, a failing one is a line in the log.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/db.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/str.h"
#include "cache/private.h"

#define QUEUE_BYTES_MAX CACHE_DOCUMENT_MAX      /* stores that wait or are being written; more are dropped */
#define STORE_COST 256                          /* what a store costs beside its bytes, in memory and in the database */
#define WAL_BYTES "16777216"                    /* what the journal's file keeps after a large commit */
#define TRIM_PARTS 8                            /* when there is too much, an eighth of the documents leaves at a time */

struct store {
	struct list link;               /* in documents->queue, or in a batch */
	char *id;                       /* space, kind and key in one */
	char *space, *kind, *key;
	struct timespec stored;
	void *data;                     /* NULL: remove */
	size_t n;
	bool queued;                    /* not in a batch yet */
};

/* A connection and its statements; used under its lock. */
struct door {
	pthread_mutex_t lock;
	struct db *db;
	struct db_stmt *put, *drop, *get, *size, *trim;
};

struct documents {
	pthread_mutex_t lock;           /* guards what is up to `thread` */
	pthread_cond_t work;
	struct list queue;
	struct map *waiting;            /* id -> the newest struct store that is not committed yet */
	uint64_t queued;                /* bytes of them */
	bool stopping;
	pthread_t thread;
	bool started;
	char *path;
	uint64_t max;
	struct door in, out;            /* the thread writes by `in`; anybody reads by `out` */
	bool failing;                   /* the thread's: the last commit failed, and was told of */
};

static const char *const steps[] = {
	"CREATE TABLE document (space TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, stored INTEGER NOT NULL, data BLOB NOT NULL,"
	" PRIMARY KEY (space, kind, key)) WITHOUT ROWID;"
	"CREATE INDEX document_stored ON document (stored);",
	"DROP TABLE document;"
	"CREATE TABLE document (space TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, stored INTEGER NOT NULL,"
	" sum INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (space, kind, key)) WITHOUT ROWID;"
	"CREATE INDEX document_stored ON document (stored);",
	NULL,
};

/* What a store takes in memory and, nearly, in the database. */
static uint64_t weight(const struct store *s)
{
	return s->n + s->n / 32 + 2 * strlen(s->id) + STORE_COST;
}

/* ---- the database ---- */

static void door_close(struct door *o)
{
	db_stmt_done(o->put);
	db_stmt_done(o->drop);
	db_stmt_done(o->get);
	db_stmt_done(o->size);
	db_stmt_done(o->trim);
	db_close(o->db);
	o->db = NULL;
	o->put = o->drop = o->get = o->size = o->trim = NULL;
}

static int door_open(const char *path, struct door *o)
{
	int r = db_open(path, false, steps, &o->db);

	if (r == 0)
		r = db_exec(o->db, "PRAGMA journal_size_limit=" WAL_BYTES);
	if (r == 0)
		r = db_prepare(o->db, "INSERT OR REPLACE INTO document (space, kind, key, stored, sum, data) VALUES (?, ?, ?, ?, ?, ?)",
		               &o->put);
	if (r == 0)
		r = db_prepare(o->db, "DELETE FROM document WHERE space = ? AND kind = ? AND key = ?", &o->drop);
	if (r == 0)
		r = db_prepare(o->db, "SELECT data, stored, sum FROM document WHERE space = ? AND kind = ? AND key = ?", &o->get);
	if (r == 0)
		r = db_prepare(o->db, "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count(), "
		               "pragma_freelist_count(), pragma_page_size()", &o->size);
	if (r == 0)
		r = db_prepare(o->db, "DELETE FROM document WHERE stored <= (SELECT stored FROM document ORDER BY stored LIMIT 1 "
		               "OFFSET (SELECT count(*) / ? FROM document))", &o->trim);
	if (r < 0)
		door_close(o);
	return r;
}

/* Damage that shows only now: begin anew. Others who have the file open end with it. */
static void begin_anew(struct documents *d)
{
	int r = db_set_aside(d->path);

	for (int i = 0; r == 0 && i < 2; i++) {
		struct door *o = i ? &d->out : &d->in;

		WITH_LOCK(&o->lock) {
			door_close(o);
			r = door_open(d->path, o);
		}
	}
	if (r < 0)
		log_warn("cache: %s: %s; documents are not kept any more", d->path, strerror(-r));
}

static int64_t in_ms(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t sum_of(const char *space, const char *kind, const char *key, int64_t stored, const void *data, size_t n)
{
	uint64_t parts[] = {digest_hash64((const char *const[]){space, kind, key, NULL}), (uint64_t)stored, n, digest_xxh3_64(data, n)};

	return (int64_t)digest_xxh3_64(parts, sizeof(parts));
}

static int bind_name(struct db_stmt *q, const char *space, const char *kind, const char *key)
{
	int r = db_bind_text(q, 1, space);

	if (r == 0)
		r = db_bind_text(q, 2, kind);
	return r < 0 ? r : db_bind_text(q, 3, key);
}

static int write_one(struct door *o, const struct store *s)
{
	struct db_stmt *q = s->data ? o->put : o->drop;
	int64_t stored = in_ms(s->stored);
	int r = bind_name(q, s->space, s->kind, s->key);

	if (r == 0 && s->data)
		r = db_bind_int(q, 4, stored);
	if (r == 0 && s->data)
		r = db_bind_int(q, 5, sum_of(s->space, s->kind, s->key, stored, s->data, s->n));
	if (r == 0 && s->data)
		r = db_bind_blob(q, 6, s->data, s->n);
	return r < 0 ? r : db_step(q);
}

/* Before `want` bytes come in: the least recently stored leave, until there is room. */
static int make_room(struct documents *d, uint64_t want)
{
	struct door *o = &d->in;
	int64_t before = -1;

	for (;;) {
		int r = db_step(o->size);
		int64_t have = r == 1 ? db_int(o->size, 0) : 0;

		db_reset(o->size);
		if (r < 0 || (uint64_t)have + want <= d->max || have == before)
			return r < 0 ? r : 0;
		before = have;
		r = db_bind_int(o->trim, 1, TRIM_PARTS);
		if (r == 0)
			r = db_step(o->trim);
		if (r < 0)
			return r;
	}
}

static int write_batch(struct documents *d, struct list *batch)
{
	struct door *o = &d->in;
	struct store *s;
	uint64_t want = 0;
	int r;

	if (!o->db)
		return -EBADF;
	list_for_each_safe(s, batch, struct store, link)
		want += s->data ? weight(s) : 0;
	r = db_exec(o->db, "BEGIN IMMEDIATE");
	if (r == 0)
		r = make_room(d, want);
	list_for_each_safe(s, batch, struct store, link)
		if (r >= 0)
			r = write_one(o, s);
	if (r >= 0)
		r = db_exec(o->db, "COMMIT");
	if (r < 0)
		(void)db_exec(o->db, "ROLLBACK");
	return r;
}

/* ---- the queue ---- */

static void store_free(struct store *s)
{
	if (!s)
		return;
	free(s->id);
	free(s->space);
	free(s->kind);
	free(s->key);
	free(s->data);
	free(s);
}
DEFINE_CLEANUP(struct store *, store_free)

static int id_of(const char *space, const char *kind, const char *key, char **ret)
{
	return str_fmt(ret, "%s\x1f%s\x1f%s", space, kind, key);
}

static void turn_once(struct documents *d, struct list *batch)
{
	int r = 0;

	for (int i = 0; i < 2; i++) {
		WITH_LOCK(&d->in.lock)
			r = write_batch(d, batch);
		if (r != -EBADMSG)
			break;
		begin_anew(d);
	}
	if (r < 0 && !d->failing)
		log_warn("cache: %s: %s; documents are not kept until it can be written again", d->path, strerror(-r));
	d->failing = r < 0;
	WITH_LOCK(&d->lock)
		while (!list_empty(batch)) {
			struct store *s = list_first(batch, struct store, link);

			list_remove(&s->link);
			if (map_get(d->waiting, s->id) == s)
				map_remove(d->waiting, s->id);
			d->queued -= weight(s);
			store_free(s);
		}
}

static void *turn(void *arg)
{
	struct documents *d = arg;
	bool stop = false;

	thread_block_signals();
	pthread_setname_np(pthread_self(), "scifs-docs");
	while (!stop) {
		struct list batch;

		list_init(&batch);
		WITH_LOCK(&d->lock) {
			while (list_empty(&d->queue) && !d->stopping)
				pthread_cond_wait(&d->work, &d->lock);
			for (uint64_t bytes = 0; !list_empty(&d->queue) && (!bytes || bytes < d->max / 8); ) {
				struct store *s = list_first(&d->queue, struct store, link);

				bytes += weight(s);
				s->queued = false;
				list_remove(&s->link);
				list_append(&batch, &s->link);
			}
			stop = d->stopping && list_empty(&d->queue);
		}
		if (!list_empty(&batch))
			turn_once(d, &batch);
	}
	return NULL;
}

int documents_new(const char *dir, uint64_t max, struct documents **ret)
{
	struct documents *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->in.lock, NULL);
	pthread_mutex_init(&d->out.lock, NULL);
	pthread_cond_init(&d->work, NULL);
	list_init(&d->queue);
	d->max = max;
	d->waiting = map_new();
	r = d->waiting ? str_fmt(&d->path, "%s/documents.db", dir) : -ENOMEM;
	if (r == 0)
		r = door_open(d->path, &d->in);
	if (r == 0)
		r = door_open(d->path, &d->out);
	if (r == 0) {
		r = -pthread_create(&d->thread, NULL, turn, d);
		d->started = r == 0;
	}
	if (r < 0) {
		documents_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void documents_free(struct documents *d)
{
	if (!d)
		return;
	if (d->started) {
		WITH_LOCK(&d->lock) {
			d->stopping = true;
			pthread_cond_signal(&d->work);
		}
		pthread_join(d->thread, NULL);
	}
	door_close(&d->in);
	door_close(&d->out);
	map_free(d->waiting);
	free(d->path);
	pthread_cond_destroy(&d->work);
	pthread_mutex_destroy(&d->in.lock);
	pthread_mutex_destroy(&d->out.lock);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static void add(struct documents *d, const char *space, const char *kind, const char *key, const void *data, size_t n)
{
	_cleanup_(store_freep) struct store *s = calloc(1, sizeof(*s));
	bool full = false;

	if (!s)
		return;
	list_init(&s->link);
	s->n = n;
	s->stored = clock_wall();
	if (id_of(space, kind, key, &s->id) < 0 || str_dup(space, &s->space) < 0 || str_dup(kind, &s->kind) < 0 ||
	    str_dup(key, &s->key) < 0)
		return;
	if (data) {
		s->data = n <= CACHE_DOCUMENT_MAX && n <= d->max / 2 ? malloc(n + 1) : NULL;
		if (!s->data) {
			log_info("cache: a document of %zu bytes is not kept", n);
			return;
		}
		memcpy(s->data, data, n);
	}
	WITH_LOCK(&d->lock) {
		struct store *old = map_get(d->waiting, s->id);

		/* A removal is never dropped: what it removes would be taken for true. */
		full = data && d->queued && d->queued + weight(s) > QUEUE_BYTES_MAX;
		if (full || map_set(d->waiting, s->id, s) < 0)
			break;
		d->queued += weight(s);
		if (old && old->queued) {
			/* The same once more: the old one need not be written. One that is being written comes before this. */
			list_remove(&old->link);
			d->queued -= weight(old);
			store_free(old);
		}
		list_append(&d->queue, &s->link);
		s->queued = true;
		s = NULL;
		pthread_cond_signal(&d->work);
	}
	if (full)
		log_debug("cache: too many documents wait for the disk: one is not kept");
}

void cache_doc_store(struct cache *c, const char *space, const char *kind, const char *key, const void *data, size_t n)
{
	if (c->documents)
		add(c->documents, space, kind, key, data ? data : "", n);
}

void cache_doc_remove(struct cache *c, const char *space, const char *kind, const char *key)
{
	if (c->documents)
		add(c->documents, space, kind, key, NULL, 0);
}

/* ---- reading ---- */

static int copy(const void *data, size_t n, struct timespec stored, char **ret, size_t *ret_n, struct timespec *ret_stored)
{
	char *p = malloc(n + 1);

	if (!p)
		return -ENOMEM;
	if (n)
		memcpy(p, data, n);
	p[n] = 0;
	*ret = p;
	*ret_n = n;
	*ret_stored = stored;
	return 0;
}

static int load(struct door *o, const char *space, const char *kind, const char *key, char **ret, size_t *ret_n,
                struct timespec *ret_stored)
{
	int r;

	if (!o->db)
		return -ENOENT;
	r = bind_name(o->get, space, kind, key);
	if (r == 0)
		r = db_step(o->get);
	if (r == 0)
		r = -ENOENT;
	if (r == 1) {
		size_t n;
		const void *data = db_blob(o->get, 0, &n);
		int64_t stored = db_int(o->get, 1);

		if (db_int(o->get, 2) == sum_of(space, kind, key, stored, n ? data : "", n) && stored >= 0)
			r = copy(data, n, (struct timespec){stored / 1000, stored % 1000 * 1000000}, ret, ret_n, ret_stored);
		else
			r = -EUCLEAN;
	}
	db_reset(o->get);
	return r;
}

int cache_doc_load(struct cache *c, const char *space, const char *kind, const char *key, char **ret, size_t *ret_n,
                   struct timespec *ret_stored)
{
	struct documents *d = c->documents;
	_cleanup_free_ char *id = NULL;
	bool waits = false;
	int r;

	if (!d)
		return -ENOENT;
	r = id_of(space, kind, key, &id);
	if (r < 0)
		return r;
	WITH_LOCK(&d->lock) {
		const struct store *s = map_get(d->waiting, id);

		waits = s != NULL;
		if (s)
			r = s->data ? copy(s->data, s->n, s->stored, ret, ret_n, ret_stored) : -ENOENT;
	}
	if (waits)
		return r;
	WITH_LOCK(&d->out.lock)
		r = load(&d->out, space, kind, key, ret, ret_n, ret_stored);
	if (r == -EUCLEAN || r == -EBADMSG) {
		log_warn("cache: %s: a document is damaged: it is fetched again", d->path);
		cache_doc_remove(c, space, kind, key);
		r = -ENOENT;
	}
	return r;
}
