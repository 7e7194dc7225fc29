/* cache.h - what we have: blocks of content in memory and on disk, and documents kept over a restart.
 *
 * Knows no network, no FUSE and no repository: bytes, keys and waiters. Blocks are 1 MiB of one version of a content,
 * filled in sub-blocks of 32 KiB. Memory is held under one budget; disk under a limit that is kept before a write. A
 * sub-block read from disk is checked against its xxh3 each time; a bad one counts as absent and is fetched again.
 */
#ifndef SCIFS_CACHE_CACHE_H
#define SCIFS_CACHE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <time.h>

#define CACHE_BLOCK (1u << 20)
#define CACHE_SUB   (32u << 10)
#define CACHE_READ_MAX (1u << 20)               /* longest single ask */
#define CACHE_HIT_PARTS 3                       /* an ask touches at most two blocks; one spare */

struct cache;
struct cache_file;                              /* one version of one content */
struct cache_fetch;                             /* a claimed run of sub-blocks that somebody is filling */

struct cache_config {
	const char *dir;                        /* folder for blocks and documents; NULL: memory only */
	uint64_t memory;                        /* bytes of blocks, at most; only what somebody waits for or has pinned exceeds it */
	uint64_t disk;                          /* bytes on disk, of all mounts that share the folder; 0: no disk. Documents may have
	                                         * a part of it, blocks never exceed the rest */
	uint64_t disk_free_min;                 /* bytes that must stay free on that file system: blocks leave for that too */
};

/* Make the folders, open the documents: blocks on the local disk, but not for longer because an old cache is large. A folder
 * that cannot be used (full, read-only, corrupt, on a failing disk) is a warning in the log and a cache in memory only, or
 * one to which nothing is added, not an error; nor is one that fails, fills or is removed later. `config->dir` is borrowed
 * for this call. -ENOMEM. */
int cache_new(const struct cache_config *config, struct cache **ret);
/* All files must be closed. Writes what is still owed to the disk (for some seconds at most), stops the threads. */
void cache_free(struct cache *c);

/* The content named `key` (origin, identity, id and version: equal keys have equal bytes), of `size` bytes. Counted: the
 * same key opened twice is the same file; with another size it is another content. Never blocks: what the disk has of it is
 * learnt on a disk thread, and asks park until then. A key longer than 4,072 bytes or a content longer than 1 TiB is kept in
 * memory only. -EFBIG: no file can be so long. -ENOMEM. */
int cache_open(struct cache *c, const char *key, uint64_t size, struct cache_file **ret);
void cache_close(struct cache_file *f);
/* Forget every byte of this content, in memory and on disk: it was found to be wrong. Fetches under way go on and are
 * thrown away; who waits is told -EAGAIN; pinned hits keep their bytes. Whoever opens the key afterwards finds nothing, even
 * before the disk thread has removed it. Any thread, never blocks. */
void cache_forget(struct cache_file *f);

/* Bytes that are there, pinned until cache_put(). */
struct cache_hit {
	struct iovec parts[CACHE_HIT_PARTS];
	int n;
	void *pins[CACHE_HIT_PARTS];
};

/* Somebody who waits. Zeroed by its owner, then owned by the cache until ready() was called or cache_unwait()
 * returned true. ready() is called once, on any thread, without locks; it must not block. err 0: `hit` is filled and
 * pinned. -EAGAIN: it was lost again (a bad sub-block on disk, a fetch that was given up without an error): ask anew.
 * Other -errno: the fetch failed. */
struct cache_waiter {
	void (*ready)(struct cache_waiter *w, int err);
	struct cache_hit hit;
	/* private to the cache */
	void *priv[8];
	uint64_t first, count;
};

enum cache_answer {
	CACHE_HIT,      /* *ret filled and pinned */
	CACHE_PARKED,   /* all that is missing is being fetched or read from disk: w->ready() will be called once */
	CACHE_FETCH,    /* parked too, and some of it nobody fetches: claim it with cache_claim(), or cache_unwait() */
};
/* Ask for bytes offset .. offset+n-1 (n <= CACHE_READ_MAX, inside the file). Any thread, never blocks. w may be NULL
 * (only look: then nothing is parked, and CACHE_FETCH may also mean that the disk has it). */
enum cache_answer cache_ask(struct cache_file *f, uint64_t offset, size_t n, struct cache_waiter *w, struct cache_hit *ret);
/* Take w out of the queue: true when ready() was not and will not be called. */
bool cache_unwait(struct cache_file *f, struct cache_waiter *w);
void cache_put(struct cache_file *f, struct cache_hit *hit);

/* Claim what nobody has or fetches in [first, first+count): the first absent run of sub-blocks in it that neither memory
 * nor disk has. *ret_first, *ret_count: its bytes (the end of the file cuts the last sub-block). What the disk has of the
 * range is read ahead. All of it gets what memory the budget has left; beyond that, with `demand`, only sub-blocks that
 * somebody waits for. 1 claimed, 0 nothing to claim (all is there, on its way, or no room), -ENOMEM: nothing is claimed, and
 * who waits for some of the range is told so. Any thread, never blocks; may call ready(). */
int cache_claim(struct cache_file *f, uint64_t first, uint64_t count, bool demand, struct cache_fetch **ret,
                uint64_t *ret_first, uint64_t *ret_count);
/* Bytes of the run, in order. Each full sub-block wakes who waits for it. Any one thread at a time; never blocks (the
 * disk is written later, on a disk thread, and not at all while it is too slow). More bytes than were claimed: -EMSGSIZE,
 * and none of them is taken. */
int cache_fill(struct cache_fetch *x, const void *data, size_t n);
/* End: err 0 when all came; otherwise who waits for the rest is told err (-EAGAIN: ask anew). Frees x. */
void cache_fetched(struct cache_fetch *x, int err);
/* Does anybody wait for a sub-block of this run that has not come? (A reader that left lets its request be cancelled.) */
bool cache_wanted(struct cache_fetch *x);
/* Bytes of the file that are here (memory or disk), for user.scifs.cached. Waits until it is known what the disk has. */
uint64_t cache_have(struct cache_file *f);

struct cache_stats {
	uint64_t memory_used, memory_limit, disk_used, disk_limit;
	uint64_t hits, misses, disk_hits, disk_bad, disk_errors, evicted_memory, evicted_disk;
	bool disk_ok;                           /* no part of it is being left alone after errors */
};
void cache_get_stats(struct cache *c, struct cache_stats *ret);

/* ---- prefetch.c: how far to read ahead of a handle. Pure deciders, no locks: the handle's owner guards them. ---- */
#define CACHE_CURSORS 4
struct cache_cursors {
	struct cache_cursor {
		uint64_t begin;         /* the first byte that was asked for on its behalf */
		uint64_t next;          /* where this reader is expected next */
		uint64_t ahead;         /* up to where bytes were asked for on its behalf */
		uint64_t window;        /* bytes; 0: not yet known to go on */
		uint64_t read;          /* bytes that it read since it last jumped */
		uint64_t used;          /* tick of its last read; 0: no reader */
		unsigned hits;          /* reads in a row that were expected */
	} at[CACHE_CURSORS];
	uint64_t tick;
	unsigned random;                /* reads in a row that no cursor expected */
};
struct policy;
/* A read of [offset, offset+n), n > 0, of a file of `size` bytes happened; stalled: some of it nobody has. `share`: the most
 * bytes that may be read ahead for this handle, its cursors together. Says what is worth fetching now: [*ret_first,
 * +*ret_count), inside the file; it covers the read when it stalled, and is count 0 when nothing is. Random reads get
 * policy->fetch_min, later only the sub-blocks that they touch; readers that go on a window that doubles when they stall and
 * is refilled when half of it is used, in requests of policy->fetch_long once they are steady; readers that go backward what
 * lies before them. A file of policy->whole_below or less is fetched whole; where a range is as dear as the whole
 * (policy->range_dear), all of it, or as much of the rest as `share` allows. Where policy->fetch_align is set each piece
 * begins and ends at a multiple of it, that of a random read too. */
void cache_prefetch(struct cache_cursors *c, const struct policy *p, uint64_t size, uint64_t offset, uint64_t n, bool stalled,
                    uint64_t share, uint64_t *ret_first, uint64_t *ret_count);

/* ---- documents.c: listings, objects and metadata kept over a restart (SQLite). Its own thread writes. ---- */
/* `kind` is a short word ("list", "doc", "stat"), `key` unique in it, `space` who it belongs to (origin and identity). Bytes
 * are the caller's. Bounded: CACHE_DOCUMENTS_MAX bytes in all, or an eighth of cache_config.disk if that is less; the least
 * recently stored leave. */
#define CACHE_DOCUMENTS_MAX (512u << 20)
#define CACHE_DOCUMENT_MAX (32u << 20)          /* a longer one, or one that is half of what all may have, is not kept */
/* Copies and returns at once; the write happens later, what was stored is loaded all the same. A document that the disk is
 * too slow for, or cannot take, is not kept: a line in the log, not an error. Any thread. */
void cache_doc_store(struct cache *c, const char *space, const char *kind, const char *key, const void *data, size_t n);
void cache_doc_remove(struct cache *c, const char *space, const char *kind, const char *key);
/* Blocks on the local disk, not on writers: not on the engine thread. What was damaged on disk is -ENOENT, like what is not
 * there, and never given out. *ret is malloc'ed, with a NUL behind its *ret_n bytes. */
int cache_doc_load(struct cache *c, const char *space, const char *kind, const char *key, char **ret, size_t *ret_n,
                   struct timespec *ret_stored);

#endif
