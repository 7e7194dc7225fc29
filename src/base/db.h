/* db.h - the only door to SQLite. One connection is used by one thread at a time (the caller's lock). Blocks on the disk. */
#ifndef SCIFS_BASE_DB_H
#define SCIFS_BASE_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;
struct db_stmt;

/* Open or make it. `steps`: SQL of each version, NULL-terminated; a file of version v is brought up by steps[v], steps[v+1],
 * … in one transaction. `full`: each commit is on the disk before it returns; else a power cut may lose the last ones.
 * A damaged file is renamed to NAME.damaged-TIME with a line in the log, and a fresh one is made. A file of a newer
 * program is left alone: -EPROTONOSUPPORT. Others: -ENOENT (its folder), -ENOSPC, -EROFS, -EIO, -EACCES, -ENOMEM, -EBUSY
 * (somebody else was writing for 5 seconds; a file that is of the newest version is opened without waiting for writers). A new
 * file is 0600. */
int db_open(const char *path, bool full, const char *const steps[], struct db **ret);
/* What db_open() does with a damaged file, for damage that shows later: connections that are open end with the old one. */
int db_set_aside(const char *path);
void db_close(struct db *d);            /* NULL is fine; statements must be done */

/* Damage may show later than db_open(): any of these may answer -EBADMSG. What SQLite says of an error is logged once. */
int db_exec(struct db *d, const char *sql);
int db_prepare(struct db *d, const char *sql, struct db_stmt **ret);
void db_stmt_done(struct db_stmt *s);   /* NULL is fine */
/* Parameters count from 1; text and blobs must stay until the step. */
int db_bind_text(struct db_stmt *s, int i, const char *text);
int db_bind_blob(struct db_stmt *s, int i, const void *p, size_t n);
int db_bind_int(struct db_stmt *s, int i, int64_t v);
/* 1: a row, 0: done (and ready to be bound again), -errno (reset too). */
int db_step(struct db_stmt *s);
void db_reset(struct db_stmt *s);
/* Columns count from 0; valid until the next step. */
int64_t db_int(struct db_stmt *s, int i);
const char *db_text(struct db_stmt *s, int i);
const void *db_blob(struct db_stmt *s, int i, size_t *ret_n);

#endif
