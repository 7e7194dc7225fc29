/* documents.c - listings, objects and metadata kept over a restart (SQLite), for a quick remount and for offline use.
 *
 * One table, DIR/documents.db, shared by all mounts of a user. Stores go to a thread of their own, which commits what has
 * gathered at once. The database is a cache: a damaged one is set aside and begun anew, a failing one is a line in the log.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/db.h"
#include "base/log.h"
#include "base/str.h"
#include "cache/private.h"

#define QUEUE_BYTES_MAX (32u << 20)     /* stores that wait; more are dropped */
#define TRIM_EVERY 256                  /* stores between two looks at the size */

struct store {
	struct list link;
	char *space, *kind, *key;
	void *data;                     /* NULL: remove */
	size_t n;
};

struct documents {
	pthread_mutex_t lock;           /* guards queue */
	pthread_cond_t work;
	struct list queue;
	size_t queued;
	bool stopping;
	pthread_t thread;
	pthread_mutex_t db_lock;        /* guards db */
	struct db *db;
	struct db_stmt *put, *drop, *get, *size, *trim;
	unsigned stores;
};

static const char *const steps[] = {
	"CREATE TABLE document (space TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, stored INTEGER NOT NULL, data BLOB NOT NULL,"
	" PRIMARY KEY (space, kind, key)) WITHOUT ROWID;"
	"CREATE INDEX document_stored ON document (stored);",
	NULL,
};

static void store_free(struct store *s)
{
	free(s->space);
	free(s->kind);
	free(s->key);
	free(s->data);
	free(s);
}

static int write_one(struct documents *d, const struct store *s)
{
	struct timespec now = clock_wall();
	struct db_stmt *q = s->data ? d->put : d->drop;
	int r = db_bind_text(q, 1, s->space);

	if (r == 0)
		r = db_bind_text(q, 2, s->kind);
	if (r == 0)
		r = db_bind_text(q, 3, s->key);
	if (r == 0 && s->data)
		r = db_bind_int(q, 4, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	if (r == 0 && s->data)
		r = db_bind_blob(q, 5, s->data, s->n);
	return r < 0 ? r : db_step(q);
}

/* The least recently stored leave, a part at a time. */
static int trim(struct documents *d)
{
	int r = db_step(d->size);
	int64_t pages = r == 1 ? db_int(d->size, 0) : 0;

	db_reset(d->size);
	if (r < 0 || pages * 4096 < (int64_t)CACHE_DOCUMENTS_MAX)
		return r < 0 ? r : 0;
	return db_step(d->trim);
}

static void write_all(struct documents *d, struct list *batch)
{
	struct store *s;
	int r;

	pthread_mutex_lock(&d->db_lock);
	r = db_exec(d->db, "BEGIN IMMEDIATE");
	list_for_each_safe(s, batch, struct store, link) {
		if (r >= 0)
			r = write_one(d, s);
		list_remove(&s->link);
		store_free(s);
		d->stores++;
	}
	if (r >= 0 && d->stores >= TRIM_EVERY) {
		d->stores = 0;
		r = trim(d);
	}
	if (r >= 0)
		r = db_exec(d->db, "COMMIT");
	if (r < 0) {
		log_warn("cache: documents are not kept: %s", strerror(-r));
		(void)db_exec(d->db, "ROLLBACK");
	}
	pthread_mutex_unlock(&d->db_lock);
}

static void *turn(void *arg)
{
	struct documents *d = arg;
	bool stop = false;

	pthread_setname_np(pthread_self(), "scifs-docs");
	while (!stop) {
		struct list batch;

		list_init(&batch);
		pthread_mutex_lock(&d->lock);
		while (list_empty(&d->queue) && !d->stopping)
			pthread_cond_wait(&d->work, &d->lock);
		while (!list_empty(&d->queue)) {
			struct list *l = d->queue.next;

			list_remove(l);
			list_append(&batch, l);
		}
		d->queued = 0;
		stop = d->stopping;
		pthread_mutex_unlock(&d->lock);
		if (!list_empty(&batch))
			write_all(d, &batch);
	}
	return NULL;
}

int documents_new(const char *dir, struct documents **ret)
{
	struct documents *d = calloc(1, sizeof(*d));
	_cleanup_free_ char *path = NULL;
	int r;

	if (!d)
		return -ENOMEM;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->db_lock, NULL);
	pthread_cond_init(&d->work, NULL);
	list_init(&d->queue);
	r = str_fmt(&path, "%s/documents.db", dir);
	if (r == 0)
		r = db_open(path, false, steps, &d->db);
	if (r == 0)
		r = db_prepare(d->db, "INSERT OR REPLACE INTO document VALUES (?, ?, ?, ?, ?)", &d->put);
	if (r == 0)
		r = db_prepare(d->db, "DELETE FROM document WHERE space = ? AND kind = ? AND key = ?", &d->drop);
	if (r == 0)
		r = db_prepare(d->db, "SELECT data, stored FROM document WHERE space = ? AND kind = ? AND key = ?", &d->get);
	if (r == 0)
		r = db_prepare(d->db, "SELECT page_count - freelist_count FROM pragma_page_count(), pragma_freelist_count()", &d->size);
	if (r == 0)
		r = db_prepare(d->db, "DELETE FROM document WHERE stored <= (SELECT stored FROM document ORDER BY stored LIMIT 1 "
		               "OFFSET (SELECT count(*) / 8 FROM document))", &d->trim);
	if (r == 0 && pthread_create(&d->thread, NULL, turn, d) != 0) {
		d->thread = 0;
		r = -EAGAIN;
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
	if (d->thread) {
		WITH_LOCK(&d->lock) {
			d->stopping = true;
			pthread_cond_signal(&d->work);
		}
		pthread_join(d->thread, NULL);
	}
	db_stmt_done(d->put);
	db_stmt_done(d->drop);
	db_stmt_done(d->get);
	db_stmt_done(d->size);
	db_stmt_done(d->trim);
	db_close(d->db);
	pthread_cond_destroy(&d->work);
	pthread_mutex_destroy(&d->db_lock);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static void add(struct documents *d, const char *space, const char *kind, const char *key, const void *data, size_t n)
{
	struct store *s = calloc(1, sizeof(*s));
	bool taken = false;

	if (!s)
		return;
	list_init(&s->link);
	s->n = n;
	if (data)
		s->data = malloc(n + 1);
	if (str_dup(space, &s->space) == 0 && str_dup(kind, &s->kind) == 0 && str_dup(key, &s->key) == 0 && (!data || s->data)) {
		if (data)
			memcpy(s->data, data, n);
		WITH_LOCK(&d->lock)
			if (d->queued + n <= QUEUE_BYTES_MAX && !d->stopping) {
				d->queued += n;
				list_append(&d->queue, &s->link);
				pthread_cond_signal(&d->work);
				taken = true;
			}
	}
	if (!taken)
		store_free(s);
}

void cache_doc_store(struct cache *c, const char *space, const char *kind, const char *key, const void *data, size_t n)
{
	if (c->documents)
		add(c->documents, space, kind, key, data, n);
}

void cache_doc_remove(struct cache *c, const char *space, const char *kind, const char *key)
{
	if (c->documents)
		add(c->documents, space, kind, key, NULL, 0);
}

int cache_doc_load(struct cache *c, const char *space, const char *kind, const char *key, char **ret, size_t *ret_n,
                   struct timespec *ret_stored)
{
	struct documents *d = c->documents;
	const void *p;
	size_t n;
	int r;

	if (!d)
		return -ENOENT;
	pthread_mutex_lock(&d->db_lock);
	r = db_bind_text(d->get, 1, space);
	if (r == 0)
		r = db_bind_text(d->get, 2, kind);
	if (r == 0)
		r = db_bind_text(d->get, 3, key);
	if (r == 0)
		r = db_step(d->get);
	if (r == 1) {
		int64_t stored = db_int(d->get, 1);

		p = db_blob(d->get, 0, &n);
		*ret = malloc(n + 1);
		if (*ret) {
			memcpy(*ret, p, n);
			(*ret)[n] = 0;
			*ret_n = n;
			*ret_stored = (struct timespec){stored / 1000, stored % 1000 * 1000000};
		}
		r = *ret ? 1 : -ENOMEM;
	}
	db_reset(d->get);
	pthread_mutex_unlock(&d->db_lock);
	return r == 1 ? 0 : r < 0 ? r : -ENOENT;
}
