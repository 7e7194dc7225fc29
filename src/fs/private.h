/* private.h - what the files of fs share: nodes, handles, parked requests.
 *
 * One lock, fs->lock, guards the tree: every field of a node marked (L), the number table, the children of directories.
 * It is never held over a network call, a disk access, a callback or a reply to FUSE (the reply may be what lets the
 * kernel forget the node).
 */
#ifndef SCIFS_FS_PRIVATE_H
#define SCIFS_FS_PRIVATE_H

#define FUSE_USE_VERSION 35     /* 3.10: the oldest libfuse that is supported */

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "backend/backend.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/thread.h"
#include "base/vec.h"
#include "cache/cache.h"
#include "fs/fs.h"
#include "spool/spool.h"

#define FS_CONTROL_NAME ".scifs"
#define FS_NAME_MAX 255
#define FS_CHILDREN_MAX 10000000u       /* entries of one directory that are believed */
#define NODE_LONG_AGO 1                 /* node->object_at: known, and older than anything */

struct documents;       /* xattr.c's own: the documents kept in memory */
struct paper_state;     /* papers.c's own: what is known of one */
struct scratch;         /* scratch.c's own: a file of a moment in .scifs */
struct scratches;       /* and all of them */
struct texts;           /* texts.c's own: the texts of documents that were given out */
struct journal;         /* events.c's own: errors and events as lines */

enum control_kind {
	C_ROOT,                 /* .scifs itself */
	C_META,                 /* meta/ */
	C_DOCUMENT,             /* metadata.json, meta/NAME.json */
	C_STATUS, C_STATS, C_ERRORS, C_EVENTS, C_CONFIG, C_SERVER, C_UPLOADS,
	C_ACTION,               /* action: verbs */
	C_CALL,                 /* a backend's own: a question is written, its answer read */
	C_SCRATCH,              /* an editor's own name beside a document */
	C_SEARCH,               /* search/ */
	C_QUERY,                /* search/EXPR/, search/NAME/ */
	C_SAVED,                /* search/NAME.json: an expression's text */
	C_BY_ID,                /* by-id/ and what ids begin with below it */
	C_BY_URL,               /* by-url/ */
	C_LINK,                 /* a symbolic link into the tree */
	C_PAPERS,               /* a backend's own directory */
	C_PAPER,                /* its document: acts when it is closed */
	C_WORD,                 /* its short text: acts in write(2) */
};

/* A name below .scifs. */
struct control {
	enum control_kind kind;
	struct node *about;     /* the directory or child it speaks of; a reference */
	size_t size;            /* (L) what the last open or readlink gave */
	char *text;             /* (L) C_QUERY the expression, if it has no `scratch`; C_BY_ID what the ids begin with; C_LINK whose place it shows;
	                         * papers their path */
	struct hits *hits;      /* (L) C_QUERY: links.c's */
	bool below;             /* (L) C_LINK: the text is the way from the directory, in raw names */
	char *target;           /* (L) C_LINK: where it led */
	uint64_t target_at;     /* (L) when */
	struct scratch *scratch;/* (L) C_SCRATCH; C_SAVED, C_QUERY: the text, of fs->saved; a reference, or NULL */
	struct paper_state *paper;      /* (L) papers.c's, or NULL */
	bool cut;               /* (L) documents: it was truncated by its path; who opens it for writing next finds it empty */
};

/* How a directory's small files are opened: siblings.c's. */
struct siblings {
	size_t last_at;                 /* the last one's place in the listing */
	uint64_t last_ino;
	unsigned up_listing, up_ino;    /* opens in a row that went upwards in either order */
	unsigned window, misses;        /* files to have ahead, 0: none; opens in a row of what was not fetched */
	bool by_ino;                    /* in which order they are fetched */
};

/* A directory's children. */
struct dir {
	struct map *by_name;            /* (L) display name -> struct node *, each holding a reference */
	VEC(struct node *) order;       /* (L) the same in listing order, without partial finds */
	bool listed;                    /* (L) `order` is a whole listing (perhaps a stale one) */
	bool listing;                   /* (L) somebody is listing it now; fs->changed tells when that ends */
	uint64_t listing_since;         /* (L) monotonic ms */
	uint64_t listed_at;             /* (L) monotonic ms at which `order` was true */
	uint64_t serial;                /* (L) goes up with each change of the listing */
	int error;                      /* (L) -errno of the last try, 0 */
	unsigned cold_lookups;          /* (L) single lookups answered by the server since the last listing */
	struct map *absent;             /* (L) display name -> time in ms at which it was not there; bounded; or NULL */
	char *fingerprint;              /* (L) of backend_changed(), or NULL */
	size_t ahead_hint;              /* (L) where in `order` the last undecided child was asked for */
	bool drafts_shown;              /* (L) the drafts that go into it are among its children */
	struct siblings siblings;       /* (L) */
	VEC(struct node *) sorted;      /* (L) `order` by inode number, of the listing `sorted_serial`; no references */
	uint64_t sorted_serial;         /* (L) */
	struct node *of;                /* whose children these are */
	enum { KEPT_UNREAD, KEPT_LOADING, KEPT_LOADED } kept;   /* (L) keep.c: was what is kept of it brought back? */
	struct list unkept;             /* (L) in fs->unkept while something is to be written down; a reference of `of` then */
	uint64_t unkept_since, kept_at; /* (L) monotonic ms */
};

struct node {
	struct fs *fs;
	uint64_t ino;                   /* st_ino; unique among live nodes, but for replaced ones */
	uint64_t nlookup;               /* (L) the kernel's count */
	unsigned refs;                  /* (L) everybody else's */
	unsigned opens;                 /* (L) open handles */
	struct node *parent;            /* holds a reference; NULL for the root */
	char *name;                     /* (L) display name in parent */
	struct object object;           /* (L) copy it out (node_object) before calling a backend */
	uint64_t object_at;             /* (L) monotonic ms at which `object` was true; 0: not any more */
	uint64_t version_at;            /* (L) when the server was last heard to say object.version: many a listing does not */
	uint64_t part_at;               /* (L) pin.c: when a part of this version was last asked for; 0: never */
	bool lost;                      /* (L) pin.c: this version is gone, and what was read of it may be of two */
	uint64_t kind_at;               /* (L) when stat() told the kind that a listing leaves open */
	uint64_t listed_size;           /* (L) what that listing said of the size */
	bool stale;                     /* (L) the server could not be asked when it should have been */
	bool replaced;                  /* (L) a newer version has a node of its own; this one serves old handles */
	bool refreshing;                /* (L) somebody asks the server about it */
	uint64_t refreshing_since;      /* (L) */
	bool fetched_ahead;             /* (L) siblings.c: its content was asked for, and nobody has opened it since */
	size_t place;                   /* (L) its index in parent->dir->order; a guess */
	bool pages_clean;               /* (L) the kernel's pages are of object.version: keep_cache */
	bool dropping;                  /* (L) it is being told that they are not */
	unsigned drops;                 /* (L) how many times, and not yet */
	struct draft *draft;            /* (L) a reference: what was written of it here. Size, times and bytes are its own as long as it stays */
	unsigned writers;               /* (L) handles open for writing */
	uint64_t unsent_at;             /* (L) with upload_open: since when it is open and written and not sent; 0: not yet known to be */
	uint64_t local_at;              /* (L) when a change made here put it where it is, or made it what it is: older answers say nothing of that */
	bool unlinked;                  /* (L) it has no name any more: it lives for its handles */
	uint32_t mode;                  /* (L) the mode that a user chose, with S_IFMT; 0: none */
	uint64_t generation;
	struct dir *dir;                /* of directories, else NULL */
	struct control *control;        /* of names below .scifs, else NULL; owned, control_free() */
};

struct verify;          /* verify.c */

struct handle {
	struct list link;               /* (L) in fs->handles while it is open */
	struct node *node;              /* reference */
	struct cache_file *file;        /* of an open file; NULL for size 0 */
	struct object object;           /* as it was at open: the version is pinned */
	atomic_uint refs;               /* the kernel's one, and one of each fetch and parked read */
	pthread_mutex_t lock;           /* guards what follows */
	struct list fetches;            /* read.c's: downloads on behalf of this handle */
	unsigned fetching;
	bool closed;                    /* released: nobody reads any more */
	struct cache_cursors cursors;
	struct verify *verify;          /* or NULL */
	struct buf text;                /* content of a control, read with direct_io */
	struct journal *follows;        /* or a control that grows while it is open: read live, from follows_at */
	uint64_t follows_at;
	VEC(struct node *) entries;     /* a directory's snapshot, references */
	VEC(char *) names;              /* and the names under which they were listed */
	bool begun;                     /* its beginning was read; the kernel lets one read at a time */
	bool is_control, is_dir;
	bool writable, append;          /* open for writing; O_APPEND */
	bool written;                   /* a control's: it acts when it is closed */
	struct doc base;                /* a document's: as it was when it was opened for writing */
	struct handle *old;             /* under lock: reads what a draft has not of its base; made when wanted, or NULL */
	struct scratch *scratch;        /* a scratch file's, or that which gets the text of a C_SAVED: a reference */
	struct buf question;            /* C_CALL: what was written and is not answered yet; the answer is `text` */
	uint64_t question_at;           /* the offset that the question began at */
	uint64_t answer_at;             /* the offset that the answer begins at for who reads on where it stopped writing */
	uint64_t shift;                 /* what is subtracted from the offsets of reads: 0 or answer_at, told by the first read */
	bool unread;                    /* the answer was not read yet */
};

struct fs {
	struct fs_config config;
	struct session *session;
	struct http *http;
	struct cache *cache;
	struct spool *spool;            /* NULL: nothing is written */
	struct fuse_session *se;
	bool mounted;
	pthread_mutex_t lock;           /* the tree */
	pthread_cond_t changed;         /* with lock: a listing or a refresh ended (monotonic clock) */
	struct map64 *by_ino;           /* (L) ino -> struct node * */
	struct map64 *replaced;         /* (L) nodes that left by_ino and live on: themselves -> themselves */
	struct map64 *by_draft;         /* (L) a draft's id -> the node that has it */
	struct map *gone;               /* (L) identities that a change made here removed -> when, in ms: older answers may still name them */
	struct node *root;
	char *space;                    /* keep_space(): under which listings and documents are kept over a restart */
	struct list handles;            /* (L) open ones: the kernel releases none when it is cut off */
	struct list unkept;             /* (L) struct dir: what keep_write() will write down */
	uint64_t generation;            /* (L) */
	unsigned attr_ttl_ms, list_ttl_ms;
	struct thread_pool *callers;    /* parked requests: what waits there for news waits briefly when something is known */
	struct thread_pool *askers;     /* questions to the server that nobody's thread waits for: refreshes, listings */
	struct thread_pool *fillers;    /* contents that a backend brings itself, or waits for: long, and no question behind them */
	struct thread_pool *notifier;   /* one thread: the only sender of kernel notifications */
	struct thread_pool *hasher;     /* one thread: whole-read verification */
	struct documents *documents;
	struct scratches *scratches;
	struct scratches *saved;        /* expressions under a name: search/NAME.json */
	struct scratches *replies;      /* what writing a control answered last, by its inode number */
	_Atomic unsigned papers_stamp;  /* goes up with each paper that is written: what was known before is not believed */
	struct texts *texts;
	struct journal *errors, *events;
	time_t mounted_at;
	_Atomic uint64_t count_reads, count_read_bytes, count_lookups, count_getattrs, count_listings, count_errors,
	        count_opens, count_flushes;
	_Atomic unsigned readers;       /* open files, for their share of memory */
	_Atomic unsigned read_waits;    /* reads that wait for the network now */
	_Atomic bool space_known;
	_Atomic uint64_t space_used, space_total;
	pthread_t housekeeper;
	bool housekeeping;              /* (L) */
	pthread_cond_t house_wake;      /* with lock */
	_Atomic bool quiet;             /* a soft wait ended without an answer, and none has come since */
	_Atomic unsigned asking;        /* refreshes and listings under way at the askers */
	_Atomic unsigned siblings;      /* small files being fetched ahead */
	_Atomic bool no_many;           /* the server cannot be asked for several at once */
	_Atomic unsigned aheads;        /* undecided children being asked about ahead of time */
	unsigned closings;              /* (L) closes that are made safe now */
	bool closing;                   /* (L) there are some */
	_Atomic int stops;              /* fs_stop()s so far; the second one ends the drain (drained with it as `cancelled`) */
	int hurried;                    /* what is owed is not waited for any more */
	_Atomic unsigned drain_ms;      /* how long it is, after the unmount: config's, or the user's word */
	_Atomic bool greeted;           /* the answer to the kernel's INIT was written */
};

/* ---- node.c ---- */
int node_table_init(struct fs *fs);
void node_table_done(struct fs *fs);
struct node *node_of(struct fs *fs, fuse_ino_t ino);            /* a kernel's number to our node; no reference taken */
fuse_ino_t node_number(const struct node *n);                   /* what the kernel calls it */
struct node *node_ref(struct node *n);                          /* takes fs->lock */
void node_unref(struct node *n);                                /* takes fs->lock; NULL is fine */
void node_unrefp(struct node **n);
struct node *node_ref_locked(struct node *n);
void node_unref_locked(struct node *n);
/* The node for this object below this parent: a living one of the same identity (its object renewed; a file that is
 * open and has a new version gets a new node), or a new one. Takes over `o` (zeroed). Lock held. Returns a reference. */
int node_enter_locked(struct fs *fs, struct node *parent, const char *name, struct object *o, uint64_t at, struct node **ret);
/* The same with a number to try first; 0: what belongs to the identity. */
int node_enter_at_locked(struct fs *fs, struct node *parent, const char *name, struct object *o, uint64_t at, uint64_t ino,
                         struct node **ret);
void node_set_draft_locked(struct node *n, struct draft *d);     /* which has none; takes a reference */
struct draft *node_take_draft_locked(struct node *n);           /* and is without it: the reference is the caller's */
/* A control's node: takes over `c`. ino is derived from parent and name. Lock held. Returns a reference. */
int node_enter_control_locked(struct fs *fs, struct node *parent, const char *name, struct control *c, bool is_dir,
                              struct node **ret);
void node_forget(struct fs *fs, struct node *n, uint64_t nlookup);
struct node *node_by_id(struct fs *fs, const char *id);         /* the living node of this identity, a reference, or NULL */
int node_object(struct node *n, struct object *ret);            /* a copy; takes fs->lock; object_done() it */
void node_stat_locked(const struct node *n, struct stat *ret);
/* Path from the mount's root by display names, "/" first; malloc'ed. Takes fs->lock. For logs, links and errors. */
int node_path(struct node *n, char **ret);
/* Look again at n if it is older than max_age_ms. On a caller; waits at most soft_wait when something is known. 0: fresh, or
 * stale but usable (n->stale says so); -ENOENT gone; -errno. */
int node_refresh(struct fs *fs, struct node *n, unsigned max_age_ms);
/* The same for who wants its bytes: a file whose version no answer has told yet is one of which nothing is known. */
int node_refresh_version(struct fs *fs, struct node *n, unsigned max_age_ms);
/* The same on an asker: to the end, not softly. */
int node_refresh_now(struct fs *fs, struct node *n, unsigned max_age_ms);
void node_notify_entry(struct fs *fs, struct node *parent, const char *name);   /* queued for the notifier */
void node_notify_inode(struct fs *fs, struct node *n, bool data);
#define NOTIFY_MAX_MS 1000      /* is waited for it: it may be held up behind a page that is still being fetched */
/* The lock is held. The kernel's pages of its content are of no use any more: they go, and open waits a moment until they have. Were an
 * open itself to drop them (no keep_cache), the kernel would wait for those that another open is reading by then, where no
 * signal reaches it. */
void node_drop_pages_locked(struct node *n);

/* Did a change made here remove this identity at `at` or later? Then an answer asked for at `at` may still name it. Lock held. */
bool node_gone_locked(struct fs *fs, const char *id, uint64_t at);
void node_gone_set_locked(struct fs *fs, const char *id);
/* n has a draft that is not handed over yet: what the server says of its content is not what it is. Lock held. */
bool node_has_owed_locked(const struct node *n);
/* Take its name from it: out of its directory's table, and of the number table when it goes on without one (`unlinked`). Lock held. */
void node_unlink_locked(struct node *n);
/* Give it another place, for a change made here. What has that name is unlinked. Lock held. -ENOMEM: nothing has changed. */
int node_place_locked(struct node *n, struct node *dir, const char *name);
/* It leaves the number table and lives for who holds it; a new node may take its identity. Lock held. */
void node_replace_locked(struct node *n);
/* What is kept of n's object beside the server is put over it: times, mode. Lock held. */
void node_keep_locked(struct node *n);
/* Bits of a mode that the server's rights allow. Pure. */
mode_t node_allowed_mode(const struct fs *fs, const struct object *o);

/* ---- dir.c ---- */
/* See that dir's listing is no older than max_age_ms (UINT_MAX: any). On a caller; one listing at a time, others wait for
 * it. As node_refresh: stale is better than nothing. */
int dir_load(struct fs *fs, struct node *dir, unsigned max_age_ms);
/* The child of this display name, a reference. On a caller: may list or look up. -ENOENT. */
int dir_lookup(struct fs *fs, struct node *dir, const char *name, struct node **ret);
/* Walk a display path ("/a/b") from the root. On a caller. */
int dir_walk(struct fs *fs, const char *path, struct node **ret);
/* Drop what is believed of this directory (and of its children's attributes): the next look asks the server. Tells the kernel. */
void dir_drop(struct fs *fs, struct node *dir);

/* ---- ops.c, house.c ---- */
extern const struct fuse_lowlevel_ops fs_ops;
void house_start(struct fs *fs);
void house_stop(struct fs *fs);         /* joins it; what it asks of the server should have ended (http_stop) */

/* ---- ask.c: questions that nobody's thread waits for to the end ---- */
/* How much longer something known waits for news that were asked for at `since`; what is known answers then. Once a wait was
 * in vain the next ones are short, until the server answers anything. */
unsigned fs_soft_wait(struct fs *fs, uint64_t since);
/* The server says nothing and enough questions are under way: one more would only wait behind them. Never blocks. */
bool fs_is_quiet(struct fs *fs);
/* A question came to r: does the server speak again? */
void fs_answered(struct fs *fs, int r);
/* Wait for *waiting (L) to become false, which fs->changed tells, so many ms at most. Lock held. False: it did not. */
bool fs_wait_changed_locked(struct fs *fs, const bool *waiting, unsigned ms);
/* First member of a struct of one's own. */
struct question {
	struct fs *fs;
	void (*ask)(struct question *q);        /* blocks; on an asker, or on the caller itself; ends with fs_answered() */
	void (*done)(struct question *q);       /* frees it */
	bool waiting;                           /* (L) */
	unsigned holders;                       /* (L) */
};
/* Ask, on a caller. `usable`: something that is known can answer: wait for news softly only. True: it was answered; false: not
 * yet, what is known must do. question_put() in either case. */
bool question_ask(struct question *q, bool usable);
void question_put(struct question *q);

/* ---- keep.c: listings over a restart ---- */
/* Origin, identity, view and names: equal ones show equal trees. malloc'ed. */
int keep_space(struct fs *fs, char **ret);
/* Something of this directory's children moved: write it down some time. Lock held; NULL is fine. */
void keep_changed_locked(struct node *dir);
/* Write down what has rested for a moment, or all of it. The housekeeper's; takes the lock, never over a disk access. */
void keep_write(struct fs *fs, bool all);
/* Once for each directory: bring back what was kept of it, as known long ago. On a caller; reads the local disk. */
void keep_load(struct fs *fs, struct node *dir);

/* ---- name.c: pure ---- */
/* The display name of a raw name: escapes what POSIX cannot hold, cuts what is too long (id goes into the cut). */
int name_display(enum fs_names mode, const char *raw, const char *id, char **ret);
/* The raw name of a display name (not of twins and cut ones). -EINVAL: no raw name gives this. */
int name_raw(enum fs_names mode, const char *display, char **ret);
/* The raw name that a new thing gets whose display name is to be this. -EINVAL: no raw name is shown so. */
int name_new(enum fs_names mode, const char *display, char **ret);
/* NAME~ID8.EXT */
int name_twin(const char *display, const char *id, char **ret);
/* Does it look like a twin's or a cut name, which only a listing can resolve? */
bool name_may_be_twin(const char *display);
/* Display names of a whole directory's objects: ret[i] malloc'ed. Of equal ones a directory keeps the name, else the lowest
 * id; independent of the order of objects. */
int name_assign(enum fs_names mode, const struct object *objects, size_t n, char **ret);

/* ---- op.c: parked requests ---- */
/* A FUSE request that is answered later. An interrupt answers EINTR at once and sets `cancelled`; whoever finishes the
 * work afterwards finds it answered. */
struct op {
	struct fs *fs;
	fuse_req_t req;
	struct node *node;              /* reference, may be NULL */
	struct handle *handle;
	int cancelled;
	bool answered;                  /* under lock */
	pthread_mutex_t lock;
	void (*run)(struct op *op);     /* on a caller */
	char *name;                     /* owned */
	size_t size;
	off_t offset;
	int flags;
	bool plus;
	struct fuse_file_info fi;
	/* of changes: */
	void *data;                     /* owned: what is to be written, or an attribute's value */
	struct stat attr;
	int to_set;
	mode_t mode;
	struct node *new_node;          /* reference: rename's new parent, copy_file_range's target */
	struct handle *new_handle;      /* reference */
	off_t new_offset;
	char *new_name;                 /* owned; of a symlink its target */
	bool page;                      /* written from the page cache */
};
struct op *op_new(struct fs *fs, fuse_req_t req, struct node *node);     /* NULL: ENOMEM was replied */
/* Hand op to a caller; run() must end with one of the op_reply functions. */
void op_park(struct op *op, void (*run)(struct op *op));
/* True: the caller of this function must reply to op->req now and then call op_free(). False: it was interrupted and
 * answered already; just op_free(). */
bool op_claim(struct op *op);
/* The `cancelled` of the parked request that this thread runs; NULL: none. */
const int *op_cancelled(void);
void op_interrupted(fuse_req_t req, void *arg);          /* libfuse's callback; op_park() sets it */
void op_free(struct op *op);
void op_reply_err(struct op *op, int err);              /* err: -errno or 0; frees op */
void op_reply_entry(struct op *op, struct node *n);     /* consumes a reference of n; frees op */
void op_reply_attr(struct op *op, struct node *n);      /* frees op */
void op_reply_attr_now(struct fs *fs, fuse_req_t req, struct node *n);  /* of a request that was not parked */
void op_reply_buf(struct op *op, const void *p, size_t n);      /* frees op */
void op_reply_xattr(struct op *op, const void *p, size_t n);    /* size 0 asks: replies length or ERANGE; frees op */
void ops_reply_dir(fuse_req_t req, struct handle *h, size_t size, off_t offset, bool plus);    /* from its snapshot */
void fs_entry_locked(struct fs *fs, struct node *n, struct fuse_entry_param *ret);
unsigned fs_now_age(uint64_t at);                       /* ms since; UINT_MAX for 0, which is never */

/* ---- xattr.c: blocking, on a caller ---- */
int documents_init(struct fs *fs);
void documents_done(struct fs *fs);
/* The document of a node: kept if fresh, else asked for, else (unreachable) the kept stale one. */
int documents_get(struct fs *fs, struct node *n, struct doc *ret);
void documents_drop(struct fs *fs, struct node *n);     /* the next look asks the server, the kept one answers while it is silent */
void documents_drop_all(struct fs *fs);
/* The server's document has changed by our doing: no older one may answer any more, not even while the server is silent. */
void documents_changed(struct fs *fs, struct node *n);
/* The server's words of a change of n that it refused: n's user.scifs.error until one succeeds (NULL). Bounded: the oldest leave. */
void refusal_note(struct fs *fs, struct node *n, const char *words);
bool xattr_is_quick(struct node *n, const char *name);  /* can be answered without the network (also by an error) */
int xattr_get(struct fs *fs, struct node *n, const char *name, struct buf *ret);        /* -ENODATA, -E2BIG, -ENOTSUP */
int xattr_list(struct fs *fs, struct node *n, struct buf *ret);         /* names, each ended by NUL */
/* Blocking, on a caller. A thing that is not at the server yet keeps them in its draft. setxattr(2)'s errors, and the server's. */
int xattr_set(struct fs *fs, struct node *n, const char *name, const void *value, size_t size, int flags);
int xattr_remove(struct fs *fs, struct node *n, const char *name);

/* ---- control.c: blocking, on a caller, unless said otherwise ---- */
int control_init(struct fs *fs);
void control_done(struct fs *fs);       /* when no control lives any more */
/* `.scifs` in a directory, or a name below a control directory. Returns a reference. */
int control_root(struct fs *fs, struct node *dir, struct node **ret);           /* does not block */
int control_lookup(struct fs *fs, struct node *parent, const char *name, struct node **ret);
/* Names of a control directory, for readdir: nodes and names are appended (references, malloc'ed). */
int control_list(struct fs *fs, struct node *n, struct handle *h);
int control_open(struct fs *fs, struct node *n, struct handle *h);              /* fills h->text */
int control_readlink(struct fs *fs, struct node *n, char **ret);
/* A control of this kind below `parent`; `text` (may be NULL) is copied. Returns a reference. */
int control_enter(struct fs *fs, struct node *parent, const char *name, enum control_kind kind, struct node *about,
                  const char *text, struct node **ret);
/* The same with what it shows of a scratches: takes over the reference; NULL is fine. */
int control_enter_scratch(struct fs *fs, struct node *parent, const char *name, enum control_kind kind, struct node *about,
                          const char *text, struct scratch *x, struct node **ret);
int control_list_add(struct handle *h, struct node *n, const char *name);       /* consumes the reference */
/* A read of a control's handle: answers op, on a caller when the answer to a question is still to be made. Never blocks. */
void control_read(struct op *op);
uint64_t control_length(struct handle *h);              /* bytes that can be read through it now; never blocks */
double control_entry_time(const struct node *n);        /* seconds that the kernel may believe its name */
void control_handle_done(struct handle *h);             /* frees what a control keeps in a handle */
/* ---- writing below .scifs (ops.c calls these on a caller; they may block) ---- */
/* An editor's own name beside a control: a scratch file in memory, or the control that has this name. -EPERM where none can be;
 * -ENOENT: it would be the document of a thing that is not there; -ENOSPC: too many. Returns a reference. */
int control_create(struct fs *fs, struct node *parent, const char *name, struct node **ret);
/* Fills h->text with what is there (nothing with O_TRUNC) and h->base. -EACCES: it cannot be written. */
int control_open_write(struct fs *fs, struct node *n, int flags, struct handle *h);
/* n bytes at an offset (at the end when h->append). A verb acts here, others at control_flush(). Returns n, or its error. */
int control_write(struct fs *fs, struct handle *h, const void *p, size_t n, uint64_t at);
int control_truncate(struct fs *fs, struct node *n, struct handle *h, uint64_t size);   /* h NULL: by path */
int control_flush(struct fs *fs, struct handle *h);     /* close: what was written acts; its refusal */
int control_rename(struct fs *fs, struct node *from, const char *name, struct node *to, const char *new_name);  /* both below .scifs, else -EXDEV */
int control_unlink(struct fs *fs, struct node *parent, const char *name);
void control_stat_locked(const struct node *n, struct stat *st);                /* mode, size, times */
/* Has the thing that it tells of been listed only, whose time is another one then? control_look() looks at it. */
bool control_is_vague_locked(const struct node *n);
void control_look(struct fs *fs, struct node *n);
/* A name that looks like a document's, and not like an editor's passing one. Pure. */
bool control_is_document(const char *name);
void control_reply_set(struct fs *fs, struct node *n, const char *text, size_t len);     /* what a write to n answered; empty: nothing is kept */
int control_reply(struct fs *fs, struct node *n, struct buf *ret);                       /* the last one: -ENODATA */
void control_free(struct control *c);           /* without what it is about: that reference is the caller's */
struct node *control_about(struct control *c);
struct node *control_about_ref(struct node *control);   /* what it is about, a reference. Takes fs->lock */

/* ---- document.c: metadata documents written. As control_*, for C_DOCUMENT ---- */
bool document_is_writable_locked(const struct node *control);
int document_open_write(struct fs *fs, struct node *n, int flags, struct handle *h);
int document_flush(struct fs *fs, struct handle *h);
/* The text that was refused stands beside the document, also a backend's own, until a later one is taken. */
void document_keep_refused(struct fs *fs, struct node *n, const struct doc *text);
void document_drop_refused(struct fs *fs, struct node *n);
/* This text becomes the document: that of a scratch file renamed over it. */
int document_replace(struct fs *fs, struct node *n, const char *text, size_t len);

/* ---- papers.c: what a backend has of its own below .scifs. As control_*, for C_PAPERS, C_PAPER and C_WORD ---- */
void paper_free(struct paper_state *p);
bool papers_act(const struct fs *fs);           /* they may be written */
/* A row of the backend's in a C_ROOT, or a name in a C_PAPERS. */
int papers_lookup(struct fs *fs, struct node *parent, const char *name, struct node **ret);
int papers_list(struct fs *fs, struct node *n, struct handle *h);
bool papers_hold_scratch(struct node *dir);     /* may editors put their own files there? */
bool paper_is_secret(struct node *n);
int paper_text(struct fs *fs, struct node *n, struct buf *ret);
int paper_open_write(struct fs *fs, struct node *n, int flags, struct handle *h);
int paper_flush(struct fs *fs, struct handle *h);
int paper_word(struct fs *fs, struct node *n, const char *text, size_t len);     /* a C_WORD acts. 0, or its error */
int paper_replace(struct fs *fs, struct node *n, const char *text, size_t len);
/* A document of this name, which is there for us alone until it has a text. */
int paper_create(struct fs *fs, struct node *parent, const char *name, struct node **ret);
int paper_remove(struct fs *fs, struct node *n);
void paper_stat_locked(const struct node *n, struct stat *st);
/* The backend's verb of this name (any, if NULL) for this directory, or NULL; and what it does. */
const struct backend_control *papers_verb(struct fs *fs, struct node *about, const char *name, size_t n);
int papers_run_verb(struct fs *fs, struct node *n, const struct backend_control *verb, const char *words, struct buf *said);

/* ---- texts.c: which text a written document was made from. Any thread, never blocks ---- */
int texts_new(struct texts **ret);
void texts_free(struct texts *t);                       /* NULL is fine */
/* Somebody has this text of the thing's document in his hands. */
void texts_given(struct texts *t, uint64_t ino, const struct doc *d);
/* The server has taken this one: whoever goes on, goes on from here. */
void texts_written(struct texts *t, uint64_t ino, const struct doc *d);
/* A copy of the one that `now` was made from; `fresh`, what the server has, if no other is more like it. -ENOMEM. */
int texts_base(struct texts *t, uint64_t ino, const struct doc *fresh, const struct doc *now, struct doc *ret);
unsigned text_likeness(const struct doc *a, const struct doc *b);      /* how many members are the same, byte for byte; pure */

/* ---- verb.c: .scifs/action ---- */
int verb_write(struct fs *fs, struct node *n, const char *text, size_t len);    /* 0, or the verb's error */

/* ---- call.c: the backend's own questions and answers. As control_*, for C_CALL ---- */
int call_write(struct handle *h, const void *p, size_t n, uint64_t at);
bool call_is_asked(struct handle *h);                   /* a question waits for its answer */
int call_answer(struct fs *fs, struct handle *h);       /* asks the backend; what it may have changed is looked at anew */
int call_read(struct handle *h, uint64_t at, size_t n, struct buf *ret);

/* ---- scratch.c: an editor's files beside a document. In memory; any thread, never blocks ---- */
#define SCRATCH_COUNT 64                /* of a mount */
#define SCRATCH_MAX (1u << 20)          /* bytes of each */
#define SCRATCH_REFUSED ".refused"      /* names that end so leave, the oldest first, when there are too many */
int scratches_new(struct scratches **ret);
int scratches_new_forgetting(struct scratches **ret);   /* what is removed is empty for who holds it still, whatever he sets it to */
void scratches_free(struct scratches *s);               /* nobody holds one any more; NULL is fine */
/* `dir`: the inode number of the control directory. They return references. */
struct scratch *scratch_find(struct scratches *s, uint64_t dir, const char *name);      /* or NULL */
int scratch_make(struct scratches *s, uint64_t dir, const char *name, struct scratch **ret);    /* or that which is there; -ENOSPC */
/* With this content; what was there under the name goes. -EFBIG, -ENOSPC. */
int scratch_put(struct scratches *s, uint64_t dir, const char *name, const void *p, size_t n);
int scratch_remove(struct scratches *s, uint64_t dir, const char *name);                /* -ENOENT */
int scratch_rename(struct scratches *s, uint64_t dir, const char *name, uint64_t to, const char *new_name);     /* -ENOENT */
/* The names in a directory: malloc'ed, appended to `ret`, at most SCRATCH_COUNT. Returns how many. */
size_t scratch_names(struct scratches *s, uint64_t dir, char *ret[SCRATCH_COUNT]);
struct scratch *scratch_ref(struct scratch *x);
void scratch_unref(struct scratch *x);                  /* NULL is fine */
int scratch_read(struct scratch *x, uint64_t at, size_t n, struct buf *ret);
int scratch_write(struct scratch *x, const void *p, size_t n, uint64_t at);             /* UINT64_MAX: at the end. n, or -EFBIG */
int scratch_truncate(struct scratch *x, uint64_t size);
size_t scratch_size(struct scratch *x, struct timespec *ret_mtime);
/* Another text in one step: an edition, whose number no other of the same scratches has. */
int scratch_set(struct scratch *x, const void *p, size_t n);                            /* -EFBIG */
int scratch_get(struct scratch *x, struct buf *ret, uint64_t *ret_edition);             /* appended */
uint64_t scratch_edition(struct scratch *x);            /* 0: scratch_set() was never called */

/* ---- links.c: search/, by-id/, by-url/: links into the tree. As control_*, for their kinds. ---- */
int links_lookup(struct fs *fs, struct node *parent, const char *name, struct node **ret);
/* search/NAME/ as the expression that its name is, without asking. */
int links_enter_typed(struct fs *fs, struct node *parent, const char *name, struct node **ret);
int links_list(struct fs *fs, struct node *n, struct handle *h);
int links_readlink(struct fs *fs, struct node *n, char **ret);
/* Where in the mount the thing of this id is: malloc'ed. Waits only a moment: -EAGAIN then; -ENOENT. */
int links_place(struct fs *fs, const char *id, char **ret);
void links_free(struct control *c);

/* ---- saved.c: expressions kept under a name in search/. As control_*, for C_SAVED ---- */
#define SAVED_MAX (64u << 10)           /* bytes of a text */
bool saved_is_name(const char *name);           /* NAME.json of one. Pure */
/* Can it be an expression that is typed as a name, and no document, no file that a program puts beside one? Pure. */
bool saved_is_expression(const char *name);
/* search/NAME.json, or search/NAME/ while that has a text. -ENOENT. */
int saved_lookup(struct fs *fs, struct node *parent, const char *name, struct node **ret);
int saved_list(struct fs *fs, struct node *n, struct handle *h);
int saved_remove(struct fs *fs, struct node *parent, const char *name);         /* -ENOENT */
int saved_create(struct fs *fs, struct node *parent, const char *name, struct node **ret);      /* empty. -ENOSPC */
int saved_open(struct fs *fs, struct node *n, struct handle *h);                /* fills h->text */
int saved_flush(struct fs *fs, struct handle *h);
/* `n`, one or a scratch file, takes the new name, of which at least one is an expression's. `over` has it now, or is NULL. */
int saved_rename(struct fs *fs, struct node *from, const char *name, struct node *n, struct node *to, const char *new_name, struct node *over);
/* The expression in a text: without the blanks around it. malloc'ed. -EINVAL: there is none, as *why says. Pure. */
int saved_expression(const char *text, size_t n, char **ret, const char **why);

/* ---- events.c: lines for .scifs/errors and .scifs/events; any thread, never blocks ---- */
int events_init(struct fs *fs);         /* also sets backend's fault hook */
void events_done(struct fs *fs);
/* A line for .scifs/errors of a failure that no backend reported; err: -errno. */
void errors_add(struct fs *fs, const char *op, struct node *n, int err, const char *message);
void events_add(struct fs *fs, const char *what, struct node *n, const char *detail);   /* "changed", "gone", "silent", ... */
int journal_text(struct journal *j, const char *below, struct buf *ret);        /* lines of this path or something in it; "" all */
size_t journal_size(struct journal *j);
/* For a reader that follows: where the journal begins now (what it opens at), and n bytes at an offset from there: fewer at
 * the present end, more later. */
uint64_t journal_begin(struct journal *j);
int journal_read(struct journal *j, uint64_t begin, uint64_t offset, size_t n, struct buf *ret);

/* ---- verify.c: whole reads held against the server's digest. Called under handle->lock. ---- */
struct verify *verify_new(struct fs *fs, const struct object *o);       /* NULL: nothing to verify by */
void verify_free(struct verify *v);
/* Was the content found to be wrong? Then no read of the handle is answered any more. */
bool verify_failed(const struct verify *v);
/* A read [offset, +n) is about to be answered from `hit`. True: it was the last one; verify took the hit and will call
 * answer(arg, verdict) (0 or -EIO) on the hasher thread, when it may be replied. False: reply now, the hit stays the caller's. */
bool verify_feed(struct verify *v, struct cache_file *f, uint64_t offset, size_t n, struct cache_hit *hit,
                 void (*answer)(void *arg, int verdict), void *arg);

/* ---- write.c: drafts of nodes ---- */
bool fs_can_write(const struct fs *fs);
/* The same, made if there is none: nothing of it is here yet. -EBUSY: something newer stands in its place. Blocks on the disk. */
int write_draft(struct fs *fs, struct node *n, struct draft **ret);
/* Of a file operation: on a FUSE worker, answered now or later. */
void write_start(struct op *op);                                /* op->data, size, offset, page */
void write_flush(struct op *op);
void write_fsync(struct op *op);                                /* also of a directory */
void write_allocate(struct op *op);                             /* op->offset + op->size: its end */
void write_seek(struct op *op, int whence);
void write_copy(struct op *op);                                 /* copy_file_range: parks */
/* On a caller: the rest is. */
int write_truncate(struct fs *fs, struct node *n, uint64_t size, bool open, const int *cancelled);   /* `open`: more will come */
/* Bring what is missing of the base in [at, +n) of the draft. `h` (may be NULL): whose reading goes on. */
int write_fill(struct fs *fs, struct node *n, struct draft *d, struct handle *h, uint64_t at, uint64_t n_bytes, const int *cancelled);
void write_read(struct op *op, struct draft *d);                /* a read of what has a draft: never blocks; takes the reference */
/* The last handle open for writing was closed, or the last one at all. Takes fs->lock. Never blocks. */
void write_released(struct fs *fs, struct handle *h);
void write_let_go(struct fs *fs, struct node *n);       /* the draft of what is handed over and read by nobody. Takes fs->lock */
/* What is open for writing, was changed, and not sent for upload_open_ms, goes now as it is. The housekeeper's; never blocks. */
void write_send_open(struct fs *fs);
/* A change by name is whole: due, unless somebody still writes. */
void write_due(struct fs *fs, struct node *n, struct draft *d);
/* Put the drafts that go into this directory among its children. On a caller. */
void write_show_drafts(struct fs *fs, struct node *dir);
/* n's draft, a reference; NULL: nothing was written, or it is handed over and let go. Takes fs->lock. */
struct draft *node_draft(struct node *n);
/* n has no identity at the server yet: what would be asked of the server waits in its draft. Lock held. */
bool node_is_local_locked(const struct node *n);
/* Make all that was written safe, and due now, below n (a directory's: everything below it), and wait for the server. On a caller. */
int write_sync(struct fs *fs, struct node *n, const int *cancelled);
/* The drafts that go into n or below it, references. `unknown`: those too whose directory nobody has looked at since the mount. */
int write_below(struct fs *fs, struct node *n, bool unknown, struct drafts *ret);
/* A change was made at the server by other ways (.scifs/rest, a document): what is known of n is looked at anew. */
void node_stale(struct fs *fs, struct node *n);
/* spool's hooks, and it begins to pay. */
int write_begin(struct fs *fs);

/* ---- attr.c, change.c: changes of the tree. Each on a caller; answers op ---- */
void attr_set(struct op *op);
void change_create(struct op *op);
void change_mknod(struct op *op);
void change_mkdir(struct op *op);
void change_unlink(struct op *op);
void change_rmdir(struct op *op);
void change_symlink(struct op *op);
void change_rename(struct op *op);
/* n and all that is below it, in few requests: what is owed below it is not owed any more. On a caller. -ENOTSUP: the server cannot. */
int change_remove_all(struct fs *fs, struct node *n, const int *cancelled, char **why);

/* ---- read.c ---- */
void read_start(struct op *op);         /* a FUSE read: never blocks; answers op */
uint64_t read_share(struct fs *fs);     /* bytes that may be fetched ahead for one reader now */
void read_whole(struct handle *h, struct fs *fs);       /* fetch what is missing of it, behind all readers; never blocks */
/* Fetch small files of one directory, of which nothing is here, by few requests: on an asker. -ENOTSUP: one by one, then. */
int read_many(struct fs *fs, struct node *const nodes[], size_t n);
/* n bytes of what h pinned, waited for: on a caller. n: CACHE_READ_MAX at most, inside the content. -EINTR. */
int read_blocking(struct handle *h, struct fs *fs, uint64_t at, size_t n, void *to, const int *cancelled);
void read_release(struct handle *h);    /* nobody reads any more: downloads that nobody else waits for end */

/* ---- pin.c: the version that a handle pinned ---- */
bool pin_can_check(const struct fs *fs);
/* Must it be looked at before more is fetched? */
bool pin_is_old(struct fs *fs, struct handle *h);
/* A part of the content, not the whole, is being asked for. */
void pin_part_fetched(struct fs *fs, struct handle *h);
/* Did a part come after the last look? Then pin_check() before the end is given out. */
bool pin_in_doubt(struct fs *fs, struct handle *h);
/* Is it known that what was read may be of two versions? Every read is ESTALE then. */
bool pin_is_lost(struct fs *fs, struct handle *h);
/* Ask the server. 0 it stands; -ESTALE, -ENOENT it does not: the handle is lost, its content forgotten; others: it could not be
 * asked. Blocks: on an asker. */
int pin_check(struct fs *fs, struct handle *h);

/* ---- siblings.c: small files ahead of who reads them in turn ---- */
void siblings_opened(struct fs *fs, struct node *n);    /* never blocks */
/* Pure: a small file at this place of the listing was opened; `was_ahead`: it had been fetched. How many to have ahead now, of
 * `most` (0: the usual). */
unsigned siblings_watch(struct siblings *s, size_t at, uint64_t ino, bool was_ahead, unsigned most);

/* ---- file.c ---- */
struct handle *handle_ref(struct handle *h);
void handle_unref(struct handle *h);
/* Under which the cache keeps its content: origin, who looks, what, which version. Equal keys have equal bytes. malloc'ed. */
int file_cache_key(struct fs *fs, const struct object *o, char **ret);
/* What opening n now gives: its version pinned, its content at hand in the cache. -EISDIR, -EACCES, -ESTALE, -EIO. Never blocks. */
int file_handle(struct fs *fs, struct node *n, struct handle **ret);
/* A handle that reads this content of n, whatever n shows. */
int file_handle_of(struct fs *fs, struct node *n, const struct object *o, struct handle **ret);
/* Open n for what op->fi.flags say, and answer: as an entry too when `entry`. Consumes a reference of n. On a caller. */
void file_open_run(struct op *op, struct node *n, bool entry);
void file_open(struct op *op);          /* on a FUSE worker: never blocks; answers op now or later */
void file_opendir(struct op *op);
void file_rewinddir(struct op *op);     /* an open directory is read from its beginning again: as it is now */
void file_release(struct fs *fs, struct handle *h);
void file_release_all(struct fs *fs);   /* at the end, when nobody reads any more */

#endif
