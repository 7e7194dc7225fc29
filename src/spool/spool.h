/* spool.h - what we owe: drafts, the journal of uploads, the uploader that pays, and what is kept of things beside the server.
 *
 * A draft holds what was written of one thing and not yet handed over, in a local file, or in memory as long as it is small. It is committed (on
 * the disk, with a row in the journal) before close returns; from there a crash loses nothing: the next spool of the same state directory
 * sends it. A state directory belongs to one origin and one identity: drafts never go out under another.
 *
 * States of a draft, and who moves it:
 *
 *     OPEN ──draft_commit──► OPEN (committed: a crash sends it) ──draft_due──► QUEUED ──uploader──► UPLOADING ──► DONE
 *       ▲                        HELD: due, but its name is a temporary one       │                      │
 *       └─ draft_begin (a write comes: the upload is stopped, if it has not landed) ┘          REFUSED, CONFLICT: shown, kept
 *
 * draft_due_open() goes from OPEN to QUEUED too; then a copy is sent, and what is written meanwhile leads back to OPEN.
 *
 * A DONE draft has no row any more; its file lives while somebody holds a reference, and a new write makes it OPEN again, over
 * what the server has now.
 *
 * Threads: everything may be called from any thread; what may block on the network or on the queue says so; the rest blocks on
 * the local disk only; draft_ref(), draft_unref(), draft_info() and the copies below it, lists and numbers (but spool_room()) take
 * not even that. Locks: a draft's own, then the spool's, taken in here only and never over a callback.
 */
#ifndef SCIFS_SPOOL_SPOOL_H
#define SCIFS_SPOOL_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "backend/backend.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/vec.h"

struct spool;
struct draft;

/* Strings are copied. Zero means the default in brackets. */
struct spool_config {
	const char *state;              /* $XDG_STATE_HOME/scifs: below it machine id, origin and identity have their own folder */
	uint64_t limit;                 /* bytes of all drafts [half of what is free on that disk now] */
	unsigned quiet_ms;              /* [1000] a due draft rests so long before it is sent; a small one that others will follow by the same request a little longer */
	unsigned parallel;              /* [policy's upload_parallel, else 8] */
	unsigned held_ms;               /* [600000] a temporary name is local so long */
	unsigned full_wait_ms;          /* [60000] a write waits so long for room while nothing moves */
	unsigned retry_ms, retry_max_ms;/* [1000, 60000] pause before an upload that failed for a passing reason is tried again */
	unsigned takeover_ms;           /* [90000] how long to wait for an earlier process of ours to let go of its drafts */
	bool mtime_meta;                /* a time that was set goes along, as backend->mtime_attr */
};

/* Called without locks, on the uploader's threads unless said otherwise; must not block on the network. */
struct spool_hooks {
	/* It landed: `o` is what the server has now. Called before anybody can see the state DONE. Also when what was set of it (times,
	 * attributes) went along. */
	void (*uploaded)(void *arg, struct draft *d, const struct object *o);
	void (*changed)(void *arg, struct draft *d);    /* its state, name or error changed otherwise */
	/* A draft got another name, since somebody else's change was not to be overwritten. */
	void (*conflict)(void *arg, struct draft *d, const char *old_name);
	/* What was to be removed from `dir` was refused (`error`, in the server's words `why` or NULL), so that it shows again; or a user has
	 * said of one (error 0) that it is owed again, or not any more: what shows of the directory is to be looked at again. */
	void (*removal)(void *arg, const struct object *dir, const struct object *o, int error, const char *why);
	void *arg;
};

/* Open the state directory of this session and read its journal: what an earlier process left (also of one that has died) is ours,
 * what another living mount owes stays its own; one that is only finishing lets go after the chunk in flight. A damaged
 * journal is set aside and rebuilt from the side files; a draft without a row is taken up again by its side file, a row without a
 * draft is shown as refused; nothing is deleted. -EPROTONOSUPPORT: a newer program's journal; -ENOSPC, -EROFS, -EACCES,
 * -EIO; one line in *why (malloc'ed). Nothing is sent yet. Blocks on the disk, and up to takeover_ms on an earlier process. */
int spool_open(const struct spool_config *c, struct session *session, struct spool **ret, char **why);
/* Begin to pay. Once. */
int spool_start(struct spool *s, const struct spool_hooks *hooks);
/* Held drafts become due, and removals that wait for others. */
void spool_release_held(struct spool *s);
/* Wait until nothing is owed that can be sent (refused and conflicting ones are not waited for), ms at most. 0: all sent; -ETIMEDOUT: not
 * all; -EINTR: *cancelled became nonzero, or another mount of this directory asked for the drafts. `tell` (may be NULL) is called every second. Blocks. */
int spool_drain(struct spool *s, unsigned ms, const int *cancelled, void (*tell)(void *arg, unsigned left, uint64_t bytes), void *arg);
/* Stop paying after the request in flight (it is broken off where that is safe), let go of the journal. Drafts must be unreferenced. */
void spool_stop(struct spool *s);
void spool_free(struct spool *s);       /* spool_stop(); NULL is fine */
DEFINE_CLEANUP(struct spool *, spool_free)

/* What is owed, uploads and removals, refused ones included. */
void spool_owed(struct spool *s, unsigned *ret_owed, uint64_t *ret_bytes, unsigned *ret_refused);
/* What may still be written: the limit less all drafts, and not more than is free on the disk. */
uint64_t spool_room(struct spool *s);
/* The host of the session is reachable again: what waits for it goes at once. */
void spool_wake(struct spool *s);

/* ---- names: pure ---- */
enum name_fate {
	NAME_SENT,                      /* an ordinary one */
	NAME_HELD,                      /* a half-finished file of a known program: local until it gets its real name, or held_ms pass */
	NAME_FSYNC_LOCAL,               /* an ordinary one whose fsync never waits for the server: *-journal, *-wal, *.lock */
	NAME_NEVER,                     /* ._* and .DS_Store: never leaves the machine */
};
enum name_fate spool_name_fate(const char *name);
/* STEM.conflict-HOST-YYYYMMDDTHHMMSS.EXT of 255 bytes at most. */
int spool_conflict_name(const char *name, const char *host, time_t when, char **ret);

/* ---- drafts ---- */
enum draft_state { DRAFT_OPEN, DRAFT_HELD, DRAFT_QUEUED, DRAFT_UPLOADING, DRAFT_DONE, DRAFT_REFUSED, DRAFT_CONFLICT, DRAFT_DROPPED };
const char *draft_state_name(enum draft_state s);       /* as user.scifs.state shows it: "draft", "held", "queued", ... */

struct draft_info {
	uint64_t id;                    /* the journal's; the same after a restart */
	enum draft_state state;
	bool committed;                 /* what was written last is safe */
	bool dirty;                     /* something was written since the last commit, or never committed */
	uint64_t size, sent;
	struct timespec mtime;
	bool mtime_set;                 /* by a user, not by a write */
	uint32_t mode;                  /* 0: not set; else 07777 bits a user chose */
	int error;                      /* -errno of the last attempt; 0 */
	unsigned attempts;
	struct timespec since;          /* when it was first committed */
};
struct draft *draft_ref(struct draft *d);
void draft_unref(struct draft *d);      /* NULL is fine; the last one of a DONE or DROPPED draft deletes its file */
void draft_info(struct draft *d, struct draft_info *ret);
/* Is it to be at the server some time? Not what has a name that never leaves the machine. */
bool draft_is_owed(struct draft *d);
/* Copies; malloc'ed. `name` is raw; `why` are the server's words of the last error or NULL. */
int draft_name(struct draft *d, char **ret);
int draft_why(struct draft *d, char **ret);
int draft_dir(struct draft *d, struct object *ret);     /* the directory it goes to */
int draft_base(struct draft *d, struct object *ret);    /* 0, or -ENOENT: it is new */
uint64_t draft_ino(struct draft *d);                    /* the inode number it was made with */
int draft_key(struct draft *d, char **ret);             /* "draft/HEX": stands for an object's id until it has one */

/* A draft of a new thing (`base` NULL, size 0) or of changes to `base` (of its size; nothing of it is here yet). `dir`, `name`: where
 * it goes, raw. Nothing durable yet. Takes no part of the limit. -ENOSPC, -EIO, -ENOMEM. */
int draft_new(struct spool *s, const struct object *dir, const char *name, const struct object *base, uint64_t ino, struct draft **ret);

/* Content. Bytes of `base` that were not written over are "missing" until draft_fill() brings them; a file's end moved outwards
 * gives zeros, which are never missing. */
/* Before a write or truncation: is it being sent? Then the upload is stopped, and this waits until it has let go; should it land after
 * all, the draft goes on over what the server has now. May block as long as a request takes: not on a FUSE worker unless
 * draft_is_busy() says no. 0; -EINTR (*cancelled). */
bool draft_is_busy(struct draft *d);
int draft_begin(struct draft *d, const int *cancelled);
/* n bytes at an offset; sets mtime to now. -ENOSPC: the limit (see spool_room), or the disk; -EAGAIN: no room now, but the queue moves:
 * draft_wait_room() on a caller, then again; -EBUSY: draft_begin() first. */
int draft_write(struct draft *d, const void *p, size_t n, uint64_t at);
int draft_wait_room(struct draft *d, size_t n, const int *cancelled);   /* 0; -ENOSPC after full_wait_ms without movement, or it can never fit */
int draft_truncate(struct draft *d, uint64_t size);
int draft_allocate(struct draft *d, uint64_t end);      /* fallocate mode 0: the file ends there at least, and has the room */
/* The first missing part of [at, at+n): 1 and *ret, or 0. */
int draft_missing(struct draft *d, uint64_t at, uint64_t n, struct range *ret);
/* Bytes of base; what was written since is kept. Errors as draft_write(), but never -EBUSY. */
int draft_fill(struct draft *d, uint64_t at, const void *p, size_t n);
/* Up to n bytes; *ret_n short at the end. -EAGAIN: a part is missing. */
int draft_read(struct draft *d, void *p, size_t n, uint64_t at, size_t *ret_n);
/* The first place from `at` that is data or a hole: lseek's SEEK_DATA (or SEEK_HOLE); -ENXIO. */
int draft_seek(struct draft *d, uint64_t at, bool data, uint64_t *ret);

/* What is set of it, and goes along: durable when this returns once the draft was committed. 1: it is at the server, and the time is
 * kept beside it; what goes along has gone. */
int draft_set_mtime(struct draft *d, struct timespec t);
int draft_set_mode(struct draft *d, uint32_t mode);
/* Attributes (names without "user.") that the server is to have when the content is there, in the order in which they were set
 * last; value NULL: removed. -ESTALE: it has landed, set it there. */
int draft_set_attr(struct draft *d, const char *name, const void *value, size_t len);
int draft_attrs(struct draft *d, struct attrs *ret);    /* those that wait; removed ones have value NULL */

/* Make what was written safe: on the disk with a row in the journal when it returns. Nothing may be missing (-EAGAIN). What did not
 * change since the last commit costs nothing. -ENOSPC, -EIO; -EBUSY: a copy of it is being sent, draft_begin() first. */
int draft_commit(struct draft *d);
/* It is whole: send it after the quiet time (`now`: at once). Committed drafts only: what was written since stays OPEN. A held name
 * stays held unless `now`. One that was DONE, and was opened again and not written, is DONE again. */
void draft_due(struct draft *d, bool now);
/* It stays open: send a copy of what was committed, now. It may be written meanwhile without waiting for anything, and is OPEN again
 * when the copy has landed and it was; draft_commit() is -EBUSY until then or draft_begin(). Not what has a held name, nor
 * what is refused or waits already. */
void draft_due_open(struct draft *d);
/* Wait until what was committed is at the server: 0, or why it is not (the refusal's -errno; -EINTR; -EBUSY: it lost a race, and is
 * there under another name). Passing failures are waited out for up to `ms`, then the last error. A held one is not waited for. Blocks. */
int draft_wait(struct draft *d, unsigned ms, const int *cancelled);
/* Another place or name, durably; `base`: what has that name and whose content it becomes, or NULL. Stops an upload as draft_begin().
 * 1: it has landed meanwhile: *ret_landed (object_done() it) is at the server under its old name, rename that instead.
 * -EAGAIN: something is missing, and it is not of this `base`: draft_fill() first.
 * May block like draft_begin(). */
int draft_retarget(struct draft *d, const struct object *dir, const char *name, const struct object *base, struct object *ret_landed,
                   const int *cancelled);
/* Its directory is now this (the server gave the parent a new id or name). Durable. */
int spool_moved(struct spool *s, const char *dir_id, const struct object *dir);
/* It is not wanted any more: 0, its row is gone; 1 and *ret_landed: it is at the server already, remove it there. May block as above. */
int draft_drop(struct draft *d, struct object *ret_landed, const int *cancelled);
/* The content came to be at the server otherwise (a copy made there): DONE, with all of it missing here. Only of a new, untouched draft. */
int draft_landed(struct draft *d, const struct object *o);

/* All drafts that are not DONE or DROPPED, or those of one directory (its object's id; NULL: all): references. */
struct drafts {
	VEC(struct draft *) list;
};
int spool_drafts(struct spool *s, const char *dir_id, struct drafts *ret);
void drafts_done(struct drafts *d);     /* unrefs */
struct draft *spool_draft(struct spool *s, uint64_t id);        /* a reference, or NULL */
/* The user's word on a refused or conflicting draft: try again; or give it up: its row goes, its file is deleted. */
int draft_retry(struct draft *d);
int draft_give_up(struct draft *d, const int *cancelled);
/* What is owed as a JSON array, for .scifs/uploads.json: id, op ("upload", "remove"), name, directory (id and, by `path_of`, path), size,
 * sent, state, attempts, errno, error, since. `path_of` (may be NULL) gives the malloc'ed path of a raw name in a directory. */
int spool_write_json(struct spool *s, char *(*path_of)(void *arg, const char *dir_id, const char *name), void *arg, struct buf *ret);

/* ---- removals that wait: for the last close of an open file, or for others of their directory ---- */
/* Remove `o` from `dir` at the server when spool_remove_now() says so, or at the next start. Durable when it returns. One that was
 * refused is owed again. */
int spool_remove_later(struct spool *s, const struct object *dir, const struct object *o);
void spool_remove_now(struct spool *s, const char *id);
/* The same, with others of its directory that are removed within policy.remove_defer_ms. Durable when it returns. */
int spool_remove_soon(struct spool *s, const struct object *dir, const struct object *o);
/* What waits to be removed from this directory (NULL: from any) goes now. 0: nothing waits, though some may have been refused; -EAGAIN: the
 * server did not answer; -EINTR. Blocks. */
int spool_clear_removals(struct spool *s, const char *dir_id, const int *cancelled);
/* This name is wanted for something else: what waits to be removed under it goes now (an upload of a new file does it by itself), and if that
 * is refused it is not owed any more. 0 also when nothing does; a passing error of the server, or -EINTR. Blocks. */
int spool_clear_name(struct spool *s, const char *dir_id, const char *name, const int *cancelled);
bool spool_is_removed(struct spool *s, const char *id);         /* is it owed? Never blocks on the disk */
/* The thing of this id is something else now, has another name or content: a removal of it that was refused is not asked for any more. */
void spool_forget_refusal(struct spool *s, const char *id);

struct removal_info {
	uint64_t id;                    /* like a draft's, and none has the same */
	char *dir, *name;               /* the directory's id, the raw name */
	enum { REMOVAL_QUEUED, REMOVAL_UNDER_WAY, REMOVAL_REFUSED } state;
	int error;                      /* -errno of the last attempt; 0 */
	char *why;                      /* the server's words, or NULL */
	unsigned attempts;
	struct timespec since;
};
struct removals {
	VEC(struct removal_info) list;
};
/* Those that wait for the server, not for a close. */
int spool_removals(struct spool *s, struct removals *ret);
void removals_done(struct removals *r);
/* Where the thing of this id was to be removed, and by which raw name; malloc'ed. -ENOENT. Never blocks on the disk. */
int spool_removal_of(struct spool *s, const char *id, char **ret_dir, char **ret_name);
/* The user's word on one of them: (once more) now; or not at all, so that the thing stays. -ENOENT: there is none. */
int spool_removal_retry(struct spool *s, uint64_t id);
int spool_removal_drop(struct spool *s, uint64_t id, const int *cancelled);
void spool_removal_due(struct spool *s, uint64_t id);   /* it waits for no others of its directory any more */
/* Wait until it is done: 0; the refusal's errno; -EINTR. Passing failures are waited out for up to `ms`. Blocks. */
int spool_removal_wait(struct spool *s, uint64_t id, unsigned ms, const int *cancelled);

/* ---- kept: what users set of things that the server has no field for, and our own digests ---- */
struct kept_attr {
	uint64_t ino;                   /* 0: the hash of the id */
	char *version;                  /* of the content that mtime and digest speak of; NULL: of whatever it is (directories); malloc'ed */
	struct timespec mtime;          /* tv_nsec -1: not set */
	uint32_t mode;                  /* 0: not set */
	char digest[140];               /* "sha512:HEX" of the content, or "" */
};
/* By the object's id. Looked up in memory: never blocks on the disk. 1 (kept_attr_done() it), or 0. */
int kept_get(struct spool *s, const char *id, struct kept_attr *ret);
void kept_attr_done(struct kept_attr *k);
/* Durable when it returns. An upload that lands does it by itself, in the transaction that ends its row: the draft's ino, mtime, mode and
 * digest under the new object's id and version. KEPT_ATTRS_MAX things, the oldest leave. */
#define KEPT_ATTRS_MAX 1000000u
int kept_set(struct spool *s, const char *id, const struct kept_attr *k);
int kept_forget(struct spool *s, const char *id);

#endif
