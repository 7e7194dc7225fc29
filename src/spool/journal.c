/* journal.c - what is owed and how far each upload got (SQLite, each commit on the disk before it returns).
 *
 *   DIR/journal.db, version 2, shared by all living processes of one origin and identity, each of which sees to its own rows:
 *     upload   (id, owner; state; dir, name, base: where it goes; landed: what it became, while attributes are still owed; attrs; ino, size,
 *               mtime, mode, gen: which data file; progress, sent, begun, attempts: of the upload; error, why, since)
 *     content  (id; bytes): of a small one: its file may be lost in a power cut, the row is not
 *     ended    (id): landed or dropped, so that a side file that a power cut brings back is known for a remnant
 *     removal  (id; owner; dir, object; number, since; error, why): what is to be removed at the server; an error: it was refused
 *     kept     (seq; id; ino, version, mtime, mode, digest): kept.c's; a changed one gets a new seq
 *   Objects and attributes are JSON as in the side files (side.c).
 *
 * Changes that come while another is being written wait for it and go into one transaction together: the disk is waited for once. So do
 * the notes of a batch of uploads, and its landings, which the uploader hands over in one call.
 * When the file turns out to be damaged it is set aside, and a fresh one takes the change; spool.c then writes down anew what
 * memory knows. Rows carry their owner, a process that holds the lock of owners/OWNER as long as it lives (recover.c).
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/db.h"
#include "base/str.h"
#include "spool/private.h"

#define BUSY_TIMES 6                    /* of 5 s each (base/db.c), while another process writes */
#define WAL_BYTES "16777216"            /* what SQLite's own journal keeps after a large commit */

static const char *const steps[] = {
	"CREATE TABLE upload (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, state INTEGER NOT NULL, dir TEXT NOT NULL, name TEXT NOT NULL,"
	" base TEXT, landed TEXT, attrs TEXT, ino INTEGER NOT NULL, size INTEGER NOT NULL, sent INTEGER NOT NULL,"
	" mtime_s INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, mtime_set INTEGER NOT NULL, mode INTEGER NOT NULL, gen INTEGER NOT NULL,"
	" attempts INTEGER NOT NULL, progress TEXT, begun INTEGER NOT NULL, error INTEGER NOT NULL, why TEXT,"
	" since_s INTEGER NOT NULL, since_ns INTEGER NOT NULL);"
	"CREATE INDEX upload_owner ON upload (owner);"
	"CREATE TABLE content (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"
	"CREATE TABLE ended (id INTEGER PRIMARY KEY);"
	"CREATE TABLE removal (id TEXT PRIMARY KEY, owner TEXT NOT NULL, dir TEXT NOT NULL, object TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE kept (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, ino INTEGER NOT NULL, version TEXT,"
	" mtime_s INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, mode INTEGER NOT NULL, digest TEXT NOT NULL);",
	"ALTER TABLE removal ADD COLUMN number INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE removal ADD COLUMN since_s INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE removal ADD COLUMN since_ns INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE removal ADD COLUMN error INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE removal ADD COLUMN why TEXT;",
	NULL,
};

enum query {
	BEGIN, COMMIT, ROLLBACK, PUT, PUT_CONTENT, DROP_CONTENT, DROP, END, UNEND, META, NOTE, ENDED, HAS, OWNERS, ADOPT, ADOPT_REMOVALS, ROWS, CONTENT,
	REMOVAL_PUT, REMOVAL_NOTE, REMOVAL_DROP, REMOVALS, KEPT, KEPT_PUT, KEPT_DROP, KEPT_TRIM, ALL_ENDED, QUERIES
};

#define ROW_COLUMNS "state, dir, name, base, landed, attrs, ino, size, sent, mtime_s, mtime_ns, mtime_set, mode, gen, attempts, progress," \
	" begun, error, why, since_s, since_ns"

static const char *const queries[QUERIES] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[PUT] = "INSERT OR REPLACE INTO upload (id, owner, " ROW_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[PUT_CONTENT] = "INSERT OR REPLACE INTO content (id, bytes) VALUES (?, ?)",
	[DROP_CONTENT] = "DELETE FROM content WHERE id = ?",
	[DROP] = "DELETE FROM upload WHERE id = ?",
	[END] = "INSERT OR REPLACE INTO ended (id) VALUES (?)",
	[UNEND] = "DELETE FROM ended WHERE id = ?",
	[META] = "UPDATE upload SET state = ?2, dir = ?3, name = ?4, base = ?5, landed = ?6, attrs = ?7, mtime_s = ?8, mtime_ns = ?9,"
		" mtime_set = ?10, mode = ?11, attempts = ?12, progress = ?13, sent = ?14, begun = ?15, error = ?16, why = ?17 WHERE id = ?1",
	[NOTE] = "UPDATE upload SET progress = ?2, sent = ?3, begun = ?4, attempts = ?5 WHERE id = ?1",
	[ENDED] = "SELECT 1 FROM ended WHERE id = ?",
	[HAS] = "SELECT 1 FROM upload WHERE id = ?",
	[OWNERS] = "SELECT owner FROM upload UNION SELECT owner FROM removal",
	[ADOPT] = "UPDATE upload SET owner = ?1 WHERE owner = ?2",
	[ADOPT_REMOVALS] = "UPDATE removal SET owner = ?1 WHERE owner = ?2",
	[ROWS] = "SELECT u.id, " ROW_COLUMNS ", c.id FROM upload u LEFT JOIN content c ON c.id = u.id WHERE owner = ? ORDER BY since_s, since_ns",
	[CONTENT] = "SELECT bytes FROM content WHERE id = ?",
	[REMOVAL_PUT] = "INSERT OR REPLACE INTO removal (id, owner, dir, object, number, since_s, since_ns, error, why) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[REMOVAL_NOTE] = "UPDATE removal SET error = ?2, why = ?3 WHERE id = ?1",
	[REMOVAL_DROP] = "DELETE FROM removal WHERE id = ?",
	[REMOVALS] = "SELECT id, dir, object, number, since_s, since_ns, error, why FROM removal WHERE owner = ?",
	[KEPT] = "SELECT seq, id, ino, version, mtime_s, mtime_ns, mode, digest FROM kept WHERE seq > ? ORDER BY seq",
	[KEPT_PUT] = "INSERT OR REPLACE INTO kept (id, ino, version, mtime_s, mtime_ns, mode, digest) VALUES (?, ?, ?, ?, ?, ?, ?)",
	[KEPT_DROP] = "DELETE FROM kept WHERE id = ?",
	[KEPT_TRIM] = "DELETE FROM kept WHERE seq <= (SELECT seq FROM kept ORDER BY seq DESC LIMIT 1 OFFSET ?)",
	[ALL_ENDED] = "SELECT id FROM ended",
};

/* A change that waits for its transaction. */
struct change {
	struct list link;
	int (*make)(struct journal *j, void *arg);
	void *arg;
	int result;
	bool done;
};

struct journal {
	char *path, *owner;
	pthread_mutex_t queue_lock;
	struct list queue;              /* struct change; guarded by queue_lock */
	pthread_mutex_t lock;           /* the connection, and `done` of each change */
	struct db *db;
	struct db_stmt *q[QUERIES];
	dev_t dev;                      /* of the file that is open */
	ino_t ino;
	bool stopped;
	uint64_t commits;
	atomic_bool lost;
};

static void shut(struct journal *j)
{
	for (int i = 0; i < QUERIES; i++) {
		db_stmt_done(j->q[i]);
		j->q[i] = NULL;
	}
	db_close(j->db);
	j->db = NULL;
}

static int come_up(struct journal *j)
{
	struct stat st;
	int r = db_open(j->path, true, steps, &j->db);

	if (r == 0)
		r = db_exec(j->db, "PRAGMA journal_size_limit=" WAL_BYTES);
	for (int i = 0; r == 0 && i < QUERIES; i++)
		r = db_prepare(j->db, queries[i], &j->q[i]);
	if (r == 0 && stat(j->path, &st) < 0)
		r = -errno;
	if (r < 0) {
		shut(j);
		return r;
	}
	j->dev = st.st_dev;
	j->ino = st.st_ino;
	return 0;
}

/* It may have failed to come up again. */
static int ready(struct journal *j)
{
	return j->stopped ? -ESHUTDOWN : j->db ? 0 : come_up(j);
}

/* Damage that shows only now. */
static int begin_anew(struct journal *j)
{
	int r;

	shut(j);
	r = db_set_aside(j->path);
	if (r == 0)
		r = come_up(j);
	atomic_store(&j->lost, true);
	return r;
}

int journal_open(const char *path, const char *owner, struct journal **ret)
{
	struct journal *j = calloc(1, sizeof(*j));
	int r;

	if (!j)
		return -ENOMEM;
	pthread_mutex_init(&j->lock, NULL);
	pthread_mutex_init(&j->queue_lock, NULL);
	list_init(&j->queue);
	r = str_dup(path, &j->path);
	if (r == 0)
		r = str_dup(owner, &j->owner);
	if (r == 0)
		r = come_up(j);
	if (r == -EBADMSG)
		r = begin_anew(j);
	if (r < 0) {
		journal_close(j);
		return r;
	}
	*ret = j;
	return 0;
}

void journal_stop(struct journal *j)
{
	WITH_LOCK(&j->lock) {
		shut(j);
		j->stopped = true;
	}
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	shut(j);
	pthread_mutex_destroy(&j->lock);
	pthread_mutex_destroy(&j->queue_lock);
	free(j->path);
	free(j->owner);
	free(j);
}

bool journal_was_lost(struct journal *j)
{
	struct stat st;

	WITH_LOCK(&j->lock) {
		/* Another process may have found it damaged: what we write now, nobody would find. */
		bool there = stat(j->path, &st) == 0;

		if (j->db && (there ? st.st_dev != j->dev || st.st_ino != j->ino : errno == ENOENT)) {
			shut(j);
			(void)come_up(j);       /* if that fails, the next change says so */
			atomic_store(&j->lost, true);
		}
	}
	return atomic_exchange(&j->lost, false);
}

uint64_t journal_commits(struct journal *j)
{
	uint64_t n = 0;

	WITH_LOCK(&j->lock)
		n = j->commits;
	return n;
}

/* ---- transactions ---- */

static int run(struct journal *j, enum query q)
{
	int r = db_step(j->q[q]);

	return r == 1 ? 0 : r;
}

static int begin(struct journal *j)
{
	int r = ready(j);

	if (r < 0)
		return r;
	r = -EBUSY;
	for (int i = 0; r == -EBUSY && i < BUSY_TIMES; i++)
		r = run(j, BEGIN);
	return r;
}

/* So many changes of the list, all or none; the result of each is set. */
static int try_together(struct journal *j, struct list *changes)
{
	struct change *c;
	int r = begin(j), one = 0;

	if (r < 0)
		return r;
	list_for_each_safe(c, changes, struct change, link) {
		one = c->make(j, c->arg);
		if (one < 0)
			break;
	}
	if (one == 0)
		one = run(j, COMMIT);
	j->commits += one == 0;
	if (one < 0 && j->db)
		(void)run(j, ROLLBACK);         /* SQLite may have done so by itself; it says so in the log then */
	return one;
}

static int together(struct journal *j, struct list *changes)
{
	int r = try_together(j, changes);

	if (r == -EBADMSG && begin_anew(j) == 0)
		r = try_together(j, changes);
	return r;
}

/* Write down what waits. When that fails together, each alone: only those that are at fault are to feel it. */
static void write_queue(struct journal *j)
{
	struct list batch, single;
	struct change *c;
	int n = 0, r;

	list_init(&batch);
	list_init(&single);
	WITH_LOCK(&j->queue_lock) {
		list_for_each_safe(c, &j->queue, struct change, link) {
			if (n++ == TOGETHER_MAX)
				break;
			list_remove(&c->link);
			list_append(&batch, &c->link);
		}
	}
	r = list_empty(&batch) ? 0 : together(j, &batch);
	list_for_each_safe(c, &batch, struct change, link) {
		list_remove(&c->link);
		if (r < 0 && n > 1) {
			list_append(&single, &c->link);
			c->result = together(j, &single);
			list_remove(&c->link);
		} else {
			c->result = r;
		}
		c->done = true;
	}
}

static int change(struct journal *j, int (*make)(struct journal *j, void *arg), void *arg)
{
	struct change c = {.make = make, .arg = arg};

	list_init(&c.link);
	WITH_LOCK(&j->queue_lock)
		list_append(&j->queue, &c.link);
	WITH_LOCK(&j->lock)
		while (!c.done)
			write_queue(j);
	return c.result;
}

/* ---- rows ---- */

static int bind_int(struct db_stmt *q, int *i, int64_t v, int r)
{
	return r < 0 ? r : db_bind_int(q, (*i)++, v);
}

static int bind_text(struct db_stmt *q, int *i, const char *text, int r)
{
	return r < 0 ? r : db_bind_text(q, (*i)++, text);
}

static int with_id(struct journal *j, enum query q, uint64_t id)
{
	int r = db_bind_int(j->q[q], 1, (int64_t)id);

	return r < 0 ? r : run(j, q);
}

static int make_put(struct journal *j, void *arg)
{
	const struct row *w = arg;
	struct db_stmt *q = j->q[PUT];
	int i = 1, r = 0;

	r = bind_int(q, &i, (int64_t)w->id, r);
	r = bind_text(q, &i, j->owner, r);
	r = bind_int(q, &i, w->state, r);
	r = bind_text(q, &i, w->dir, r);
	r = bind_text(q, &i, w->name, r);
	r = bind_text(q, &i, w->base, r);
	r = bind_text(q, &i, w->landed, r);
	r = bind_text(q, &i, w->attrs, r);
	r = bind_int(q, &i, (int64_t)w->ino, r);
	r = bind_int(q, &i, (int64_t)w->size, r);
	r = bind_int(q, &i, (int64_t)w->sent, r);
	r = bind_int(q, &i, w->mtime.tv_sec, r);
	r = bind_int(q, &i, w->mtime.tv_nsec, r);
	r = bind_int(q, &i, w->mtime_set, r);
	r = bind_int(q, &i, w->mode, r);
	r = bind_int(q, &i, w->gen, r);
	r = bind_int(q, &i, w->attempts, r);
	r = bind_text(q, &i, w->progress, r);
	r = bind_int(q, &i, w->begun, r);
	r = bind_int(q, &i, w->error, r);
	r = bind_text(q, &i, w->why, r);
	r = bind_int(q, &i, w->since.tv_sec, r);
	r = bind_int(q, &i, w->since.tv_nsec, r);
	if (r == 0)
		r = run(j, PUT);
	if (r == 0)
		r = with_id(j, UNEND, w->id);
	if (r == 0 && !w->blob)
		return with_id(j, DROP_CONTENT, w->id);
	if (r == 0)
		r = db_bind_int(j->q[PUT_CONTENT], 1, (int64_t)w->id);
	if (r == 0)
		r = db_bind_blob(j->q[PUT_CONTENT], 2, w->blob, w->blob_n);
	return r < 0 ? r : run(j, PUT_CONTENT);
}

int journal_put(struct journal *j, const struct row *r)
{
	return change(j, make_put, (void *)r);
}

struct rows {
	const struct row *at;
	size_t n;
};

static int make_meta(struct journal *j, void *arg)
{
	const struct rows *rows = arg;
	struct db_stmt *q = j->q[META];

	for (size_t k = 0; k < rows->n; k++) {
		const struct row *w = &rows->at[k];
		int i = 1, r = 0;

		r = bind_int(q, &i, (int64_t)w->id, r);
		r = bind_int(q, &i, w->state, r);
		r = bind_text(q, &i, w->dir, r);
		r = bind_text(q, &i, w->name, r);
		r = bind_text(q, &i, w->base, r);
		r = bind_text(q, &i, w->landed, r);
		r = bind_text(q, &i, w->attrs, r);
		r = bind_int(q, &i, w->mtime.tv_sec, r);
		r = bind_int(q, &i, w->mtime.tv_nsec, r);
		r = bind_int(q, &i, w->mtime_set, r);
		r = bind_int(q, &i, w->mode, r);
		r = bind_int(q, &i, w->attempts, r);
		r = bind_text(q, &i, w->progress, r);
		r = bind_int(q, &i, (int64_t)w->sent, r);
		r = bind_int(q, &i, w->begun, r);
		r = bind_int(q, &i, w->error, r);
		r = bind_text(q, &i, w->why, r);
		if (r == 0)
			r = run(j, META);
		if (r < 0)
			return r;
	}
	return 0;
}

int journal_meta(struct journal *j, const struct row *rows, size_t n)
{
	return change(j, make_meta, &(struct rows){rows, n});
}

struct notes {
	const struct note *at;
	size_t n;
};

static int make_notes(struct journal *j, void *arg)
{
	const struct notes *notes = arg;
	struct db_stmt *q = j->q[NOTE];
	int r = 0;

	for (size_t k = 0; r == 0 && k < notes->n; k++) {
		const struct note *n = &notes->at[k];
		int i = 1;

		r = bind_int(q, &i, (int64_t)n->id, r);
		r = bind_text(q, &i, n->progress, r);
		r = bind_int(q, &i, (int64_t)n->sent, r);
		r = bind_int(q, &i, n->begun, r);
		r = bind_int(q, &i, n->attempts, r);
		if (r == 0)
			r = run(j, NOTE);
	}
	return r;
}

int journal_note(struct journal *j, const struct note *notes, size_t n)
{
	return change(j, make_notes, &(struct notes){notes, n});
}

static int make_drop(struct journal *j, void *arg)
{
	uint64_t id = *(const uint64_t *)arg;
	int r = with_id(j, DROP, id);

	if (r == 0)
		r = with_id(j, DROP_CONTENT, id);
	return r < 0 ? r : with_id(j, END, id);
}

int journal_drop(struct journal *j, uint64_t id)
{
	return change(j, make_drop, &id);
}

struct kept_change {
	const char *id;
	const struct kept_attr *k;
};

static int make_kept(struct journal *j, void *arg)
{
	const struct kept_change *c = arg;
	struct db_stmt *q = j->q[KEPT_PUT];
	int i = 1, r = 0;

	r = bind_text(q, &i, c->id, r);
	r = bind_int(q, &i, (int64_t)c->k->ino, r);
	r = bind_text(q, &i, c->k->version, r);
	r = bind_int(q, &i, c->k->mtime.tv_sec, r);
	r = bind_int(q, &i, c->k->mtime.tv_nsec, r);
	r = bind_int(q, &i, c->k->mode, r);
	r = bind_text(q, &i, c->k->digest, r);
	return r < 0 ? r : run(j, KEPT_PUT);
}

int journal_kept_put(struct journal *j, const char *id, const struct kept_attr *k)
{
	return change(j, make_kept, &(struct kept_change){id, k});
}

struct landings {
	const struct landing *at;
	size_t n;
};

static int make_landings(struct journal *j, void *arg)
{
	const struct landings *all = arg;
	int r = 0;

	for (size_t i = 0; r == 0 && i < all->n; i++) {
		const struct landing *l = &all->at[i];

		r = make_drop(j, (void *)&l->id);
		if (r == 0)
			r = make_kept(j, &(struct kept_change){l->object_id, &l->kept});
	}
	return r;
}

int journal_land(struct journal *j, const struct landing *l, size_t n)
{
	return change(j, make_landings, &(struct landings){l, n});
}

static int make_text_drop(struct journal *j, enum query q, const char *id)
{
	int r = db_bind_text(j->q[q], 1, id);

	return r < 0 ? r : run(j, q);
}

static int make_kept_drop(struct journal *j, void *arg)
{
	return make_text_drop(j, KEPT_DROP, arg);
}

int journal_kept_drop(struct journal *j, const char *id)
{
	return change(j, make_kept_drop, (void *)id);
}

static int make_kept_trim(struct journal *j, void *arg)
{
	int r = db_bind_int(j->q[KEPT_TRIM], 1, (int64_t)*(uint64_t *)arg);

	return r < 0 ? r : run(j, KEPT_TRIM);
}

int journal_kept_trim(struct journal *j, uint64_t keep)
{
	return change(j, make_kept_trim, &keep);
}

static int make_removal(struct journal *j, void *arg)
{
	const struct removal_row *c = arg;
	struct db_stmt *q = j->q[REMOVAL_PUT];
	int i = 1, r = 0;

	r = bind_text(q, &i, c->id, r);
	r = bind_text(q, &i, j->owner, r);
	r = bind_text(q, &i, c->dir, r);
	r = bind_text(q, &i, c->object, r);
	r = bind_int(q, &i, (int64_t)c->number, r);
	r = bind_int(q, &i, c->since.tv_sec, r);
	r = bind_int(q, &i, c->since.tv_nsec, r);
	r = bind_int(q, &i, c->error, r);
	r = bind_text(q, &i, c->why, r);
	return r < 0 ? r : run(j, REMOVAL_PUT);
}

int journal_removal_put(struct journal *j, const struct removal_row *r)
{
	return change(j, make_removal, (void *)r);
}

static int make_removal_note(struct journal *j, void *arg)
{
	const struct removal_row *c = arg;
	struct db_stmt *q = j->q[REMOVAL_NOTE];
	int i = 1, r = 0;

	r = bind_text(q, &i, c->id, r);
	r = bind_int(q, &i, c->error, r);
	r = bind_text(q, &i, c->why, r);
	return r < 0 ? r : run(j, REMOVAL_NOTE);
}

int journal_removal_note(struct journal *j, const char *id, int error, const char *why)
{
	return change(j, make_removal_note, &(struct removal_row){.id = id, .error = error, .why = why});
}

static int make_removal_drop(struct journal *j, void *arg)
{
	return make_text_drop(j, REMOVAL_DROP, arg);
}

int journal_removal_drop(struct journal *j, const char *id)
{
	return change(j, make_removal_drop, (void *)id);
}

static int make_adopt(struct journal *j, void *arg)
{
	for (enum query q = ADOPT; q <= ADOPT_REMOVALS; q++) {
		int r = db_bind_text(j->q[q], 1, j->owner);

		if (r == 0)
			r = db_bind_text(j->q[q], 2, arg);
		if (r == 0)
			r = run(j, q);
		if (r < 0)
			return r;
	}
	return 0;
}

int journal_adopt(struct journal *j, const char *from)
{
	return change(j, make_adopt, (void *)from);
}

/* ---- questions ---- */

/* Damage found by a question: the journal is begun anew, and the question is answered by an empty one. */
static int asked(struct journal *j, int r)
{
	return r == -EBADMSG ? begin_anew(j) : r;
}

static bool is_there(struct journal *j, enum query q, uint64_t id)
{
	bool yes = false;

	WITH_LOCK(&j->lock) {
		int r = ready(j);

		if (r == 0)
			r = db_bind_int(j->q[q], 1, (int64_t)id);

		if (r == 0) {
			r = db_step(j->q[q]);
			yes = r == 1;
			db_reset(j->q[q]);
		}
		(void)asked(j, r);      /* not there, then */
	}
	return yes;
}

bool journal_has(struct journal *j, uint64_t id)
{
	return is_there(j, HAS, id);
}

bool journal_ended(struct journal *j, uint64_t id)
{
	return is_there(j, ENDED, id);
}

/* Each row of a question. `text`, `number`: what its parameter is, if it has one, or NULL. */
static int each_row(struct journal *j, enum query q, const char *text, const int64_t *number, int (*row)(void *arg, struct db_stmt *s),
                    void *arg)
{
	int r = 0;

	WITH_LOCK(&j->lock) {
		r = ready(j);
		if (r == 0 && text)
			r = db_bind_text(j->q[q], 1, text);
		if (r == 0 && number)
			r = db_bind_int(j->q[q], 1, *number);
		while (r == 0) {
			r = db_step(j->q[q]);
			if (r <= 0)
				break;
			r = row(arg, j->q[q]);
			if (r < 0)
				db_reset(j->q[q]);
			else
				r = 0;
		}
		r = asked(j, r);
	}
	return r;
}

struct asking {
	void *arg;
	int (*text)(void *arg, const char *text);
	int (*removal)(void *arg, const struct removal_row *r);
	int (*row)(void *arg, const struct row *r);
	int (*kept)(void *arg, const char *id, const struct kept_attr *k);
	int64_t *seq;
};

static int one_owner(void *arg, struct db_stmt *s)
{
	struct asking *a = arg;
	const char *text = db_text(s, 0);

	return text ? a->text(a->arg, text) : 0;
}

int journal_owners(struct journal *j, int (*each)(void *arg, const char *owner), void *arg)
{
	return each_row(j, OWNERS, NULL, NULL, one_owner, &(struct asking){.arg = arg, .text = each});
}

static int one_upload(void *arg, struct db_stmt *s)
{
	struct asking *a = arg;
	struct row w = {.id = (uint64_t)db_int(s, 0), .state = (enum row_state)db_int(s, 1), .dir = db_text(s, 2), .name = db_text(s, 3),
	                .base = db_text(s, 4), .landed = db_text(s, 5), .attrs = db_text(s, 6), .ino = (uint64_t)db_int(s, 7),
	                .size = (uint64_t)db_int(s, 8), .sent = (uint64_t)db_int(s, 9), .mtime = {db_int(s, 10), db_int(s, 11)},
	                .mtime_set = db_int(s, 12), .mode = (uint32_t)db_int(s, 13), .gen = (unsigned)db_int(s, 14),
	                .attempts = (unsigned)db_int(s, 15), .progress = db_text(s, 16), .begun = db_int(s, 17), .error = (int)db_int(s, 18),
	                .why = db_text(s, 19), .since = {db_int(s, 20), db_int(s, 21)}};

	w.has_blob = db_int(s, 22) != 0;
	return a->row(a->arg, &w);
}

int journal_rows(struct journal *j, int (*each)(void *arg, const struct row *r), void *arg)
{
	return each_row(j, ROWS, j->owner, NULL, one_upload, &(struct asking){.arg = arg, .row = each});
}

static int one_content(void *arg, struct db_stmt *s)
{
	struct asking *a = arg;
	size_t n;
	const void *p = db_blob(s, 0, &n);
	int r = buf_add(a->arg, n ? p : "", n);

	*a->seq = 1;
	return r;
}

int journal_content(struct journal *j, uint64_t id, struct buf *ret)
{
	int64_t found = 0, number = (int64_t)id;
	int r = each_row(j, CONTENT, NULL, &number, one_content, &(struct asking){.arg = ret, .seq = &found});

	return r < 0 ? r : (int)found;
}

static int one_removal(void *arg, struct db_stmt *s)
{
	struct asking *a = arg;
	struct removal_row w = {.id = db_text(s, 0), .dir = db_text(s, 1), .object = db_text(s, 2), .number = (uint64_t)db_int(s, 3),
	                        .since = {db_int(s, 4), db_int(s, 5)}, .error = (int)db_int(s, 6), .why = db_text(s, 7)};

	return a->removal(a->arg, &w);
}

int journal_removals(struct journal *j, int (*each)(void *arg, const struct removal_row *r), void *arg)
{
	return each_row(j, REMOVALS, j->owner, NULL, one_removal, &(struct asking){.arg = arg, .removal = each});
}

static int one_kept(void *arg, struct db_stmt *s)
{
	struct asking *a = arg;
	struct kept_attr k = {.ino = (uint64_t)db_int(s, 2), .version = (char *)db_text(s, 3), .mtime = {db_int(s, 4), db_int(s, 5)},
	                      .mode = (uint32_t)db_int(s, 6)};
	const char *id = db_text(s, 1), *digest = db_text(s, 7);

	*a->seq = db_int(s, 0);
	snprintf(k.digest, sizeof(k.digest), "%s", digest ? digest : "");
	return id ? a->kept(a->arg, id, &k) : 0;
}

int journal_kept(struct journal *j, int64_t *seq, int (*each)(void *arg, const char *id, const struct kept_attr *k), void *arg)
{
	int64_t from = *seq;

	return each_row(j, KEPT, NULL, &from, one_kept, &(struct asking){.arg = arg, .kept = each, .seq = seq});
}

struct ended {
	VEC(uint64_t) ids;
};

static int one_ended(void *arg, struct db_stmt *s)
{
	struct ended *e = arg;

	return vec_push(&e->ids, (uint64_t)db_int(s, 0));
}

static int make_forget(struct journal *j, void *arg)
{
	struct ended *e = arg;
	int r = 0;

	for (size_t i = 0; r == 0 && i < e->ids.n; i++)
		r = with_id(j, UNEND, e->ids.at[i]);
	return r;
}

int journal_forget_ended(struct journal *j, bool (*still_there)(void *arg, uint64_t id), void *arg)
{
	struct ended e = {0};
	size_t n = 0;
	int r = each_row(j, ALL_ENDED, NULL, NULL, one_ended, &e);

	for (size_t i = 0; i < e.ids.n; i++)
		if (!still_there(arg, e.ids.at[i]))
			e.ids.at[n++] = e.ids.at[i];
	e.ids.n = n;
	if (r == 0 && n)
		r = change(j, make_forget, &e);
	vec_done(&e.ids);
	return r;
}
