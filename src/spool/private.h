/* private.h - what the files of spool share.
 *
 * Two locks, taken in this order. A draft's own guards what is marked (D): its content and what the disk says of it; it is held
 * over accesses to the local disk. The spool's guards what is marked (S): states, the queue, all counts; it is never held over
 * the disk. What is marked (DS) is changed with both held, and read with either. Neither is held over the network or a hook. The
 * journal and the kept have a lock of their own, taken last.
 */
#ifndef SCIFS_SPOOL_PRIVATE_H
#define SCIFS_SPOOL_PRIVATE_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "backend/backend.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/thread.h"
#include "base/vec.h"
#include "spool/spool.h"

#define HASH_EARLY (8u << 20)           /* the digest of a draft of so many bytes is made while it goes to the disk */
#define SMALL_MAX (64u << 10)           /* a draft of at most so many bytes lives in the journal */
#define MEMORY_MAX (32u << 20)          /* so much of small ones is in memory, and in no file of its own */
#define MEMORY_DISK_MIN (256u << 20)    /* ... while so much of the disk is free: a disk that is full is to be heard of by write */
#define TOGETHER_MAX 256                /* uploads or removals that go by one request, changes in one transaction */
#define SPARES_MAX 1024                 /* side files that are kept to be used again */
#define SPARE_BYTES (16u << 10)         /* ... of drafts that are not larger */
#define OWNER_MAX 33                    /* 32 hexadecimal digits */
#define HEX_MAX 17
#define FILES_MAX 128                   /* open files of drafts that nobody is writing to the network */
#define ADOPT_MS 5000                   /* how often a living mount looks for what a dead one left */
#define SLICE_MS 100                    /* the longest sleep of who also looks at a `cancelled` */
#define NEVER UINT64_MAX

/* ---- extents.c: which parts, pure ---- */
struct extent { uint64_t first, end; };
struct extents {
	VEC(struct extent) list;        /* sorted, apart from each other, none empty */
};
#define EXTENTS_MAX (1u << 20)
int extents_add(struct extents *e, uint64_t first, uint64_t end);       /* behind all others; -ENOMEM */
int extents_remove(struct extents *e, uint64_t first, uint64_t end);    /* -ENOMEM, -EFBIG (EXTENTS_MAX): unchanged then */
bool extents_first(const struct extents *e, uint64_t first, uint64_t end, struct extent *ret);  /* the first part inside */
void extents_done(struct extents *e);

/* ---- outcome.c: deciders, pure ---- */
enum outcome { OUTCOME_LANDED, OUTCOME_CONFLICT, OUTCOME_REFUSED, OUTCOME_AGAIN };
/* What an upload that came to r (0 or -errno) means. Only what the server decided is a refusal. */
enum outcome outcome_of(int r);
/* Nobody answered at all: the next upload would hear the same. */
bool outcome_is_silence(int r);
/* The pause before the next attempt after so many failures in a row: doubling, at most `max`, a quarter more or less by `chance`. */
unsigned outcome_delay(unsigned failures, unsigned first_ms, unsigned max_ms, uint32_t chance);

/* ---- draft ---- */
enum row_state { ROW_OWED, ROW_REFUSED, ROW_CONFLICT };

struct draft {
	struct spool *spool;
	uint64_t id;
	char hex[HEX_MAX];              /* of the id: how its files are called */
	uint64_t ino;

	pthread_mutex_t lock;           /* guards (D) */
	struct object dir, base;        /* (DS) base.id NULL: it is new */
	char *name;                     /* (DS) */
	struct attrs attrs;             /* (DS) those that wait */
	struct object landed;           /* (DS) id not NULL: the content is at the server, of what goes along something is still owed */
	struct timespec mtime;          /* (D) */
	bool mtime_set;                 /* (D) */
	uint32_t mode;                  /* (D) */
	uint64_t size;                  /* (D) */
	struct extents missing;         /* (D) what belongs to base and is not here */
	int fd;                         /* (D) -1: not open now */
	char *file;                     /* (D) its path; NULL: there is no file yet: `bytes`, or all of it zeros or missing */
	char *bytes;                    /* (D) the content of a small one that has no file; behind its size zeros */
	size_t bytes_room;              /* (D) */
	char *old_file;                 /* (D) what a crash falls back to since it was truncated; or NULL */
	unsigned gen;                   /* (D) which of its files holds the content */
	bool committed, dirty, row;     /* (D) row: the journal has one of it */
	bool small;                     /* (D) what was committed is in the journal */
	bool dropped;                   /* (D) nobody will ever want it sent */
	bool aside;                     /* (D) it has got a name beside somebody else's, and has not landed since */
	char *progress;                 /* (D) of the upload that was begun, or NULL */
	time_t begun;                   /* (D) */
	bool again;                     /* (D) something may have reached the server */
	char digest[140];               /* (D) "sha512:HEX" of what was committed, or "" */
	unsigned commits;               /* (D) */

	struct list link;               /* (S) in spool->drafts */
	struct list queue_link;         /* (S) in spool->queue, or a lane's */
	struct list file_link;          /* (S) in spool->files while fd is open */
	unsigned refs;                  /* (S) one is the table's as long as it is neither DONE nor DROPPED */
	enum draft_state state;         /* (S) */
	uint64_t due_at;                /* (S) monotonic ms */
	bool delayed;                   /* (S) it waits since an attempt failed */
	unsigned failures, attempts;    /* (S) in a row; in all */
	unsigned holds;                 /* (S) draft_begin() and the like wait for it: it comes back to them */
	int cancel;                     /* atomic: the upload under way is to end */
	bool apart;                     /* (S) a copy of it is sent, or to be: it may be written meanwhile */
	bool hashing;                   /* (S) its digest is being made, from before it is due */
	int hash_stop;                  /* atomic: of what is not its content any more */
	int error;                      /* (S) */
	char *why;                      /* (DS) */
	uint64_t sent;                  /* (S) */
	uint64_t used;                  /* (S) bytes on the disk; changed with (D) held too */
	uint64_t moved_at;              /* (S) monotonic ms at which it last got on */
	unsigned landed_commits, conflict_commits;      /* (S) how much of it is at the server; under another name */
	struct lane *lane;              /* (S) while it is in it */
	char *lane_name;                /* (S) */
	bool at_once;                   /* (S) it does not wait for others that could go along */
	struct draft_info shown;        /* (S) what draft_info() says of (D) */
	bool shown_row;                 /* (S) as `row` */
	bool urgent;                    /* (S) somebody waits for it: a silent server does not keep it from being tried */
};

/* Uploads of which only one may be under way. */
struct lane {
	char *name;
	unsigned in;                    /* drafts that are under way in it: one, or a batch */
	struct list waiting;
};

/* What is to be removed at the server. All of it (S), but for who is busy with it. */
struct removal {
	struct list link;               /* in spool->removals */
	uint64_t number;                /* by which users call it, as a draft's id */
	struct object dir, object;
	struct timespec since;
	bool now;                       /* nobody has it open any more */
	bool busy;
	bool refused;                   /* the server does not want it: its name shows again, and it waits for the user's word */
	bool hurry;                     /* it does not wait for who reads beside it */
	uint64_t due_at;
	uint64_t beside_since;          /* since when it could go but for them; 0: not yet */
	unsigned failures, attempts;
	int error;                      /* of the last attempt, or 0 */
	char *why;
};

struct spool {
	struct spool_config config;     /* strings are not kept */
	struct session *session;
	struct spool_hooks hooks;
	char *dir, *drafts_dir, *owners_dir, *spare_dir;
	char owner[OWNER_MAX];
	int owner_fd;                   /* locked while we live */
	struct journal *journal;
	struct kept *kept;

	pthread_mutex_t lock;           /* guards all that follows */
	pthread_cond_t work;            /* the scheduler has something to look at */
	pthread_cond_t changed;         /* a state, the room or progress changed */
	struct map64 *by_id;            /* id -> struct draft *, no references */
	uint64_t last_id;               /* that was drawn */
	struct list drafts;             /* in the order in which they became owed; neither DONE nor DROPPED */
	struct list queue;              /* QUEUED and HELD ones by due_at */
	struct list files;              /* those with an open file, least recently used first */
	unsigned n_files;
	struct map *lanes;              /* name -> struct lane * that is busy */
	struct map *removed;            /* id -> struct removal * */
	struct map64 *by_number;        /* number -> struct removal * */
	struct list removals;
	uint64_t spares[SPARES_MAX];    /* the numbers of those that there are */
	unsigned n_spares;
	uint64_t spares_made;
	uint64_t used, limit;
	uint64_t in_memory;             /* all drafts' bytes_room */
	uint64_t moved_at;
	unsigned running;
	unsigned silences;              /* how often in a row nobody answered */
	uint64_t silent_until;          /* nothing is sent before, but for what is urgent */
	bool started, stopping, adopting, finishing;
	struct thread_pool *payers;
	pthread_t scheduler;
};

/* ---- spool.c ---- */
/* In the table and under its id; refs is 1, the table's. */
int spool_enter(struct spool *s, struct draft *d);
/* Sleep until something changed, `ms` at most. The lock is held. */
void spool_sleep(struct spool *s, pthread_cond_t *cond, uint64_t ms);
void spool_changed_locked(struct spool *s);     /* tell all who wait */
size_t spool_together(const struct spool *s, bool can);  /* how many go by one request, where the server `can` take more than one */
bool draft_is_in_table(const struct draft *d);  /* (S) */
void spool_look_around(struct spool *s);        /* every few seconds: what a dead process left, what became of the journal */

/* ---- recover.c: whose drafts are whose, and what an earlier process left ---- */
int recover_lock(struct spool *s);              /* make and lock our owner's file */
int recover_take_over(struct spool *s);         /* wait for those that are only finishing, takeover_ms at most */
/* Rows of dead owners become ours and drafts; `files`: look at what lies beside the journal too. New drafts are entered, placed
 * if we have started, and told of. */
int recover_adopt(struct spool *s, bool files);
void recover_finishing(struct spool *s);        /* say that we only finish */
bool recover_is_wanted(struct spool *s);        /* does a newcomer wait for us? */
void recover_unlock(struct spool *s);

/* ---- side.c: what is written beside a draft, so that it keeps its target without a journal ---- */
int side_write(struct draft *d, bool durable);  /* D held */
void side_remove(struct draft *d);              /* D held, or nobody knows it */
void side_drop_spares(struct spool *s);
int side_path(struct spool *s, const char *hex, char **ret);
struct row;
/* Owns what row points to. */
struct side {
	struct json *json;
	struct buf dir, base, landed, attrs;
	struct buf content;
	bool has_content;               /* ... is all of a small one's */
	char *name;
	char owner[OWNER_MAX];
};
int side_read(const char *path, struct side *ret_side, struct row *ret);
void side_done(struct side *s);
int side_write_attrs(const struct attrs *a, struct buf *b);             /* as a JSON object; NULL values are null */
int side_read_attrs(const char *json, struct attrs *ret);
int side_write_object(const struct object *o, struct buf *b);           /* as a JSON object; "" for one without id */
int side_read_object(const char *json, struct object *ret);             /* NULL and "": zeroed */

/* ---- draft.c, content.c ---- */
int draft_draw_id(struct spool *s, uint64_t *ret);      /* one that neither a draft, nor a file, nor a removal has */
struct draft *draft_alloc(struct spool *s, uint64_t id, uint64_t ino);
void draft_free(struct draft *d);
DEFINE_CLEANUP(struct draft *, draft_free)
int draft_path(const struct draft *d, unsigned gen, const char *tail, char **ret);      /* tail: NULL, "open" or "done" */
void draft_shown(struct draft *d);              /* D held: tell S what (D) says */
/* D held: a descriptor to read and write by; made if there is no file and `make`; -ENOENT: there is none. Good until D is let go. */
int draft_file(struct draft *d, bool make);
void draft_close_file(struct draft *d);         /* D held */
/* D held: what it has, and what is to be written up to `end`, fits into d->bytes, which there is now. False: it goes into a file. */
bool draft_to_memory(struct draft *d, uint64_t end);
bool draft_in_memory(const struct draft *d);    /* D held: there is no file, and none is needed to have all of it */
void draft_free_bytes(struct draft *d);         /* D held, or nobody knows it */
int draft_set_file(struct draft *d, const char *tail);  /* D held: give the file this tail, if there is one */
void draft_measure(struct draft *d);            /* D held: how much of the disk it takes now */
int draft_before_change(struct draft *d);       /* D held: -EBUSY: it is being sent; else it is OPEN and its content may change */
int draft_forget_progress(struct draft *d);     /* D held: what an upload left at the server is of no use any more; durable */
/* S held. */
void draft_open_locked(struct draft *d);        /* it is being written: out of the queue */
void draft_place_locked(struct draft *d, bool now);     /* OPEN and committed: into the queue, as its name demands */
void draft_queue_locked(struct draft *d, enum draft_state state, uint64_t due_at);
/* Those of the queue of which this is true are due now, in their order. */
void draft_release_locked(struct spool *s, bool (*which)(const struct draft *d));
void draft_end_locked(struct draft *d, enum draft_state state);         /* DONE or DROPPED: the table's reference goes to the caller */
void draft_fail_locked(struct draft *d, int error, const char *why);    /* 0, NULL: all is well */
struct row;
/* D held: what the journal is told. */
struct texts {
	struct buf dir, base, landed, attrs;
};
int draft_row(struct draft *d, struct texts *t, struct row *ret);
void texts_done(struct texts *t);
int draft_put_row(struct draft *d);             /* D held: all of it */
int draft_write_row(struct draft *d);           /* D held: all but the content, if there is a row */
void draft_update_lane(struct draft *d);        /* D held */

/* ---- removal.c ---- */
struct removal_row;
void removal_free(struct removal *m);
int removal_adopt(struct spool *s, const struct removal_row *w);       /* what an earlier process was to remove */
int removal_write_all(struct spool *s);         /* into a journal that was begun anew */
void removal_hurry_locked(struct spool *s);     /* those that wait for others of their directory go now */
/* S held: begin those that are due, on the pool; when to look again. */
uint64_t removal_start_locked(struct spool *s, uint64_t now);

/* ---- uploader.c ---- */
void *uploader_schedule(void *spool);
void uploader_hash(struct draft *d);            /* D held: make its digest, on a thread of its own; it is about to be committed */
void uploader_drop(struct spool *s, char *progress);    /* takes it over; best effort, on a thread of its own */

/* ---- journal.c. Any thread; each call is on the disk when it returns. ---- */
struct journal;
struct row {
	uint64_t id;
	enum row_state state;
	const char *dir, *name, *base, *landed, *attrs; /* JSON, but for the name; base, landed: NULL for none */
	uint64_t ino, size, sent;
	struct timespec mtime, since;
	bool mtime_set;
	uint32_t mode;
	unsigned gen, attempts;
	const char *progress, *why;
	int64_t begun;
	int error;
	const void *blob;               /* to be written: NULL: the content is in a file */
	size_t blob_n;
	bool has_blob;                  /* read: journal_content() has it */
};
int journal_open(const char *path, const char *owner, struct journal **ret);
void journal_stop(struct journal *j);           /* let go of the file: every call is -ESHUTDOWN from now on */
void journal_close(struct journal *j);          /* NULL is fine */
/* Was it damaged, or set aside by another process, since the last call? Then a fresh one lacks what memory knows. */
bool journal_was_lost(struct journal *j);
uint64_t journal_commits(struct journal *j);    /* transactions so far */
int journal_put(struct journal *j, const struct row *r);        /* all of it, the content too */
int journal_meta(struct journal *j, const struct row *rows, size_t n);  /* all but the content and size, in one transaction */
struct note {
	uint64_t id, sent;
	const char *progress;
	int64_t begun;
	unsigned attempts;
};
int journal_note(struct journal *j, const struct note *notes, size_t n);       /* in one transaction */
/* The row goes, what was set of it is kept under the object's id. */
struct landing {
	uint64_t id;
	const char *object_id;
	struct kept_attr kept;
};
int journal_land(struct journal *j, const struct landing *l, size_t n);         /* in one transaction */
int journal_drop(struct journal *j, uint64_t id);
bool journal_has(struct journal *j, uint64_t id);
bool journal_ended(struct journal *j, uint64_t id);             /* it has landed or was dropped: its side file is a remnant */
int journal_owners(struct journal *j, int (*each)(void *arg, const char *owner), void *arg);
int journal_adopt(struct journal *j, const char *from);
int journal_rows(struct journal *j, int (*each)(void *arg, const struct row *r), void *arg);    /* ours */
int journal_content(struct journal *j, uint64_t id, struct buf *ret);  /* 1, or 0: it is in a file */
struct removal_row {
	const char *id, *dir, *object;  /* of the object; and JSON */
	uint64_t number;
	struct timespec since;
	int error;                      /* 0: it is owed; else it was refused with this */
	const char *why;
};
int journal_removals(struct journal *j, int (*each)(void *arg, const struct removal_row *r), void *arg);
int journal_removal_put(struct journal *j, const struct removal_row *r);
int journal_removal_note(struct journal *j, const char *id, int error, const char *why);
int journal_removal_drop(struct journal *j, const char *id);
/* Kept rows newer than *seq, which is moved on. */
int journal_kept(struct journal *j, int64_t *seq, int (*each)(void *arg, const char *id, const struct kept_attr *k), void *arg);
int journal_kept_put(struct journal *j, const char *id, const struct kept_attr *k);
int journal_kept_drop(struct journal *j, const char *id);
int journal_kept_trim(struct journal *j, uint64_t keep);
/* Forget those that have ended and of which no file lies around any more: is_there() says. */
int journal_forget_ended(struct journal *j, bool (*is_there)(void *arg, uint64_t id), void *arg);

/* ---- kept.c ---- */
struct kept *kept_new(size_t max);
void kept_free(struct kept *k);
int kept_load(struct spool *s);                 /* what the journal has and memory not */
int kept_note(struct spool *s, const char *id, const struct kept_attr *a);      /* memory only */
void kept_trim(struct spool *s);                /* the oldest leave when there are too many */
int kept_write_all(struct spool *s);            /* into a journal that was begun anew */

#endif
