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

#define FS_CONTROL_NAME ".scifs"
#define FS_NAME_MAX 255
#define FS_CHILDREN_MAX 10000000u       /* entries of one directory that are believed */
#define NODE_LONG_AGO 1                 /* node->object_at: known, and older than anything */

struct documents;       /* xattr.c's own: the documents kept in memory */
struct journal;         /* events.c's own: errors and events as lines */

enum control_kind {
	C_ROOT,                 /* .scifs itself */
	C_META,                 /* meta/ */
	C_DOCUMENT,             /* metadata.json, meta/NAME.json */
	C_STATUS, C_STATS, C_ERRORS, C_EVENTS, C_CONFIG, C_SERVER,
	C_SEARCH,               /* search/ */
	C_QUERY,                /* search/EXPR/ */
	C_BY_ID,                /* by-id/ and what ids begin with below it */
	C_BY_URL,               /* by-url/ */
	C_LINK,                 /* a symbolic link into the tree */
};

/* A name below .scifs. */
struct control {
	enum control_kind kind;
	struct node *about;     /* the directory or child it speaks of; a reference */
	size_t size;            /* (L) what the last open or readlink gave */
	char *text;             /* (L) C_QUERY the expression; C_BY_ID what the ids begin with; C_LINK whose place it shows */
	struct hits *hits;      /* (L) C_QUERY: links.c's */
	char *target;           /* (L) C_LINK: where it led */
	uint64_t target_at;     /* (L) when */
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
	bool is_control, is_dir;
};

struct fs {
	struct fs_config config;
	struct session *session;
	struct http *http;
	struct cache *cache;
	struct fuse_session *se;
	bool mounted;
	pthread_mutex_t lock;           /* the tree */
	pthread_cond_t changed;         /* with lock: a listing or a refresh ended (monotonic clock) */
	struct map64 *by_ino;           /* (L) ino -> struct node * */
	struct map64 *replaced;         /* (L) nodes that left by_ino and live on: themselves -> themselves */
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
	struct journal *errors, *events;
	time_t mounted_at;
	_Atomic uint64_t count_reads, count_read_bytes, count_lookups, count_getattrs, count_listings, count_errors;
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
	_Atomic unsigned aheads;        /* undecided children being asked about ahead of time */
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
/* A control's node: takes over `c`. ino is derived from parent and name. Lock held. Returns a reference. */
int node_enter_control_locked(struct fs *fs, struct node *parent, const char *name, struct control *c, bool is_dir,
                              struct node **ret);
void node_forget(struct fs *fs, struct node *n, uint64_t nlookup);
struct node *node_by_id(struct fs *fs, const char *id);         /* the living node of this identity, a reference, or NULL */
int node_object(struct node *n, struct object *ret);            /* a copy; takes fs->lock; object_done() it */
bool node_is_dir(const struct node *n);
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
};
struct op *op_new(struct fs *fs, fuse_req_t req, struct node *node);     /* NULL: ENOMEM was replied */
/* Hand op to a caller; run() must end with one of the op_reply functions. */
void op_park(struct op *op, void (*run)(struct op *op));
/* True: the caller of this function must reply to op->req now and then call op_free(). False: it was interrupted and
 * answered already; just op_free(). */
bool op_claim(struct op *op);
void op_interrupted(fuse_req_t req, void *arg);          /* libfuse's callback; op_park() sets it */
void op_free(struct op *op);
void op_reply_err(struct op *op, int err);              /* err: -errno or 0; frees op */
void op_reply_entry(struct op *op, struct node *n);     /* consumes a reference of n; frees op */
void op_reply_attr(struct op *op, struct node *n);      /* frees op */
void op_reply_attr_now(struct fs *fs, fuse_req_t req, struct node *n);  /* of a request that was not parked */
void op_reply_buf(struct op *op, const void *p, size_t n);      /* frees op */
void op_reply_xattr(struct op *op, const void *p, size_t n);    /* size 0 asks: replies length or ERANGE; frees op */
void fs_entry_locked(struct fs *fs, struct node *n, struct fuse_entry_param *ret);
unsigned fs_now_age(uint64_t at);                       /* ms since; UINT_MAX for 0, which is never */
void fs_wait_until(struct timespec *ret, unsigned ms);  /* that long from now on the monotonic clock */

/* ---- xattr.c: blocking, on a caller ---- */
int documents_init(struct fs *fs);
void documents_done(struct fs *fs);
/* The document of a node: kept if fresh, else asked for, else (unreachable) the kept stale one. */
int documents_get(struct fs *fs, struct node *n, struct doc *ret);
void documents_drop(struct fs *fs, struct node *n);
bool xattr_is_quick(struct node *n, const char *name);  /* can be answered without the network (also by an error) */
int xattr_get(struct fs *fs, struct node *n, const char *name, struct buf *ret);        /* -ENODATA, -E2BIG, -ENOTSUP */
int xattr_list(struct fs *fs, struct node *n, struct buf *ret);         /* names, each ended by NUL */
int xattr_set(struct fs *fs, struct node *n, const char *name, const void *value, size_t size);

/* ---- control.c: blocking, on a caller, unless said otherwise ---- */
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
int control_list_add(struct handle *h, struct node *n, const char *name);       /* consumes the reference */
void control_stat_locked(const struct node *n, struct stat *st);                /* mode, size, times */
void control_free(struct control *c);           /* without what it is about: that reference is the caller's */
struct node *control_about(struct control *c);

/* ---- links.c: search/, by-id/, by-url/: links into the tree. As control_*, for their kinds. ---- */
int links_lookup(struct fs *fs, struct node *parent, const char *name, struct node **ret);
int links_list(struct fs *fs, struct node *n, struct handle *h);
int links_readlink(struct fs *fs, struct node *n, char **ret);
void links_free(struct control *c);

/* ---- events.c: lines for .scifs/errors and .scifs/events; any thread, never blocks ---- */
int events_init(struct fs *fs);         /* also sets backend's fault hook */
void events_done(struct fs *fs);
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

/* ---- read.c ---- */
void read_start(struct op *op);         /* a FUSE read: never blocks; answers op */
uint64_t read_share(struct fs *fs);     /* bytes that may be fetched ahead for one reader now */
void read_whole(struct handle *h, struct fs *fs);       /* fetch what is missing of it, behind all readers; never blocks */
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
/* Pure: a small file at this place of the listing was opened; `was_ahead`: it had been fetched. How many to have ahead now. */
unsigned siblings_watch(struct siblings *s, size_t at, uint64_t ino, bool was_ahead);

/* ---- file.c ---- */
struct handle *handle_ref(struct handle *h);
void handle_unref(struct handle *h);
/* Under which the cache keeps its content: origin, who looks, what, which version. Equal keys have equal bytes. malloc'ed. */
int file_cache_key(struct fs *fs, const struct object *o, char **ret);
/* What opening n now gives: its version pinned, its content at hand in the cache. -EISDIR, -EACCES, -ESTALE, -EIO. Never blocks. */
int file_handle(struct fs *fs, struct node *n, struct handle **ret);
void file_open(struct op *op);          /* on a FUSE worker: never blocks; answers op now or later */
void file_opendir(struct op *op);
void file_release(struct fs *fs, struct handle *h);
void file_release_all(struct fs *fs);   /* at the end, when nobody reads any more */

#endif
