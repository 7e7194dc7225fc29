/* db.c - the only door to SQLite: versions, errors as errno, a damaged file set aside. */
#include "base/db.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

#define BUSY_MS 5000

struct db {
	sqlite3 *sql;
};

static int error_of(sqlite3 *sql, int rc)
{
	int sys = sqlite3_system_errno(sql);

	switch (rc & 0xff) {
	case SQLITE_OK: case SQLITE_DONE: case SQLITE_ROW:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY: case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CANTOPEN: case SQLITE_PERM: case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_CORRUPT: case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_IOERR:
		return sys == ENOSPC || sys == EDQUOT ? -ENOSPC : -EIO;
	default:
		return -EIO;
	}
}

/* rc as -errno; a failure is logged with SQLite's own words, which say more than the number. */
static int told(sqlite3 *sql, int rc)
{
	int r = error_of(sql, rc);
	const char *name;

	if (r < 0) {
		name = sql ? sqlite3_db_filename(sql, "main") : NULL;
		log_warn("database %s: %s (SQLite %d)", name ? name : "", sql ? sqlite3_errmsg(sql) : sqlite3_errstr(rc), rc);
	}
	return r;
}

int db_exec(struct db *d, const char *sql)
{
	return told(d->sql, sqlite3_exec(d->sql, sql, NULL, NULL, NULL));
}

static int version(struct db *d, int64_t *ret)
{
	struct db_stmt *s;
	int r = db_prepare(d, "PRAGMA user_version", &s);

	if (r < 0)
		return r;
	r = db_step(s);
	if (r == 1)
		*ret = db_int(s, 0);
	db_stmt_done(s);
	if (r == 1 && *ret < 0)
		return -EBADMSG;        /* we never write such a one */
	return r == 1 ? 0 : r < 0 ? r : -EBADMSG;
}

static int64_t newest(const char *const steps[])
{
	int64_t n = 0;

	while (steps[n])
		n++;
	return n;
}

/* Look before anything is written: reads the header and every line of the schema. */
static int look(struct db *d, const char *const steps[], bool *ret_newest)
{
	int64_t have = 0;
	int r = version(d, &have);

	*ret_newest = have == newest(steps);
	if (r == 0 && have > newest(steps))
		return -EPROTONOSUPPORT;
	return r < 0 ? r : db_exec(d, "SELECT count(*) FROM sqlite_master");
}

static int bring_up(struct db *d, const char *const steps[])
{
	char pragma[40];
	int64_t have = 0, want = newest(steps);
	int r = db_exec(d, "BEGIN IMMEDIATE");

	if (r < 0)
		return r;
	r = version(d, &have);  /* perhaps another process was quicker */
	if (r == 0 && have > want)
		r = -EPROTONOSUPPORT;
	for (int64_t v = have; r == 0 && v < want; v++)
		r = db_exec(d, steps[v]);
	if (r == 0 && have < want) {
		snprintf(pragma, sizeof(pragma), "PRAGMA user_version=%d", (int)want);
		r = db_exec(d, pragma);
	}
	if (r == 0)
		return db_exec(d, "COMMIT");
	(void)db_exec(d, "ROLLBACK");   /* r says what went wrong */
	return r;
}

/* The empty file, for its owner only; SQLite gives its helpers the same mode. A file that is there is not touched, since
 * closing it would drop the locks that this process may hold on it. */
static int create(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno == EEXIST ? 0 : -errno;
	close(fd);
	return 0;
}

static int try_open(const char *path, bool full, const char *const steps[], struct db **ret)
{
	struct db *d;
	int r = create(path), rc;
	bool is_newest = false;

	if (r < 0)
		return r;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	rc = sqlite3_open_v2(path, &d->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL);
	r = told(d->sql, rc);
	if (r == 0) {
		sqlite3_busy_timeout(d->sql, BUSY_MS);
		r = look(d, steps, &is_newest);
	}
	if (r == 0)
		r = db_exec(d, "PRAGMA journal_mode=WAL");
	if (r == 0)
		r = db_exec(d, full ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
	if (r == 0 && !is_newest)       /* bringing it up waits for whoever writes */
		r = bring_up(d, steps);
	if (r < 0) {
		db_close(d);
		return r;
	}
	*ret = d;
	return 0;
}

int db_set_aside(const char *path)
{
	static const char *const tails[] = {"", "-wal", "-shm"};
	time_t now = clock_wall().tv_sec;
	char when[20];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y%m%dT%H%M%S", &tm);
	log_warn("%s is damaged: kept as %s.damaged-%s, a fresh one is made", path, path, when);
	for (int i = 0; i < 3; i++) {
		_cleanup_free_ char *from = NULL, *to = NULL;

		if (str_fmt(&from, "%s%s", path, tails[i]) < 0 || str_fmt(&to, "%s.damaged-%s%s", path, when, tails[i]) < 0)
			return -ENOMEM;
		if (rename(from, to) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

int db_open(const char *path, bool full, const char *const steps[], struct db **ret)
{
	int r = try_open(path, full, steps, ret);

	if (r != -EBADMSG)
		return r;
	r = db_set_aside(path);
	return r < 0 ? r : try_open(path, full, steps, ret);
}

void db_close(struct db *d)
{
	if (!d)
		return;
	sqlite3_close_v2(d->sql);
	free(d);
}

/* struct db_stmt is SQLite's own statement under another name. */
static sqlite3_stmt *in(struct db_stmt *s)
{
	return (sqlite3_stmt *)s;
}

int db_prepare(struct db *d, const char *sql, struct db_stmt **ret)
{
	sqlite3_stmt *s = NULL;
	int r = told(d->sql, sqlite3_prepare_v3(d->sql, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL));

	if (r == 0)
		*ret = (struct db_stmt *)s;
	return r;
}

void db_stmt_done(struct db_stmt *s)
{
	sqlite3_finalize(in(s));
}

static int bound(struct db_stmt *s, int rc)
{
	return told(sqlite3_db_handle(in(s)), rc);
}

int db_bind_text(struct db_stmt *s, int i, const char *text)
{
	return bound(s, sqlite3_bind_text(in(s), i, text, -1, SQLITE_STATIC));
}

int db_bind_blob(struct db_stmt *s, int i, const void *p, size_t n)
{
	return bound(s, sqlite3_bind_blob64(in(s), i, n ? p : "", n, SQLITE_STATIC));
}

int db_bind_int(struct db_stmt *s, int i, int64_t v)
{
	return bound(s, sqlite3_bind_int64(in(s), i, v));
}

int db_step(struct db_stmt *s)
{
	int rc = sqlite3_step(in(s)), r;

	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE) {
		sqlite3_reset(in(s));
		return 0;
	}
	r = told(sqlite3_db_handle(in(s)), rc);
	sqlite3_reset(in(s));
	return r;
}

void db_reset(struct db_stmt *s)
{
	sqlite3_reset(in(s));
}

int64_t db_int(struct db_stmt *s, int i)
{
	return sqlite3_column_int64(in(s), i);
}

const char *db_text(struct db_stmt *s, int i)
{
	return (const char *)sqlite3_column_text(in(s), i);
}

const void *db_blob(struct db_stmt *s, int i, size_t *ret_n)
{
	const void *p = sqlite3_column_blob(in(s), i);

	*ret_n = (size_t)sqlite3_column_bytes(in(s), i);
	return p;
}
