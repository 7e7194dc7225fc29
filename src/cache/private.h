/* private.h - what the files of cache share. */
#ifndef SCIFS_CACHE_PRIVATE_H
#define SCIFS_CACHE_PRIVATE_H

#include <pthread.h>

#include "base/list.h"
#include "base/map.h"
#include "base/thread.h"
#include "base/vec.h"
#include "cache/cache.h"

#define SUBS (CACHE_BLOCK / CACHE_SUB)

/* A block in memory. One bit a sub-block. */
struct block {
	struct list lru;                /* in cache->lru while nobody pins it, oldest first */
	struct list owed;               /* in cache->owed while it waits for the disk's writer to have room */
	struct cache_file *file;
	uint64_t index;
	char *data;                     /* CACHE_BLOCK bytes of address space, of which touched pages only cost memory; of a small
	                                 * content as many as it has */
	uint32_t present;               /* its bytes are here */
	uint32_t claimed;               /* a fetch is bringing them */
	uint32_t loading;               /* a disk thread is bringing them */
	uint32_t unsaved;               /* came from a fetch and is not on disk yet */
	unsigned pins;
	bool gone;                      /* forgotten: not in file->blocks any more, freed with its last pin */
};

enum disk_state {
	DISK_NONE,              /* no disk cache for this file */
	DISK_LOOKING,           /* a disk thread is finding out what it has */
	DISK_READY,
};

struct cache_file {
	struct cache *cache;
	char *key;
	uint64_t size;
	unsigned refs;                  /* opens, fetches, waiters, jobs and blocks */
	struct map64 *blocks;           /* index + 1 -> struct block * */
	struct list waiters;            /* struct cache_waiter, by its private words */
	unsigned generation;            /* one more with each cache_forget() */
	bool listed;                    /* in cache->files */
	bool forgotten;                 /* wrong bytes: the disk is not asked any more */
	enum disk_state disk;
	bool awaited;                   /* somebody waits until that is no longer DISK_LOOKING */
	uint32_t *on_disk;              /* a word a block: what the disk was seen to have. A hint: the map file decides */
	struct disk_files *open;        /* disk.c's, under its own lock: what is open of it */
};

#define SPARE_MAX 8

struct cache {
	struct cache_config config;
	pthread_mutex_t lock;           /* guards everything here and below, and in files and blocks */
	pthread_cond_t looked;          /* with lock: what the disk has of some file is known now */
	struct map *files;              /* key -> struct cache_file * */
	struct list lru, owed;
	char *spare[SPARE_MAX];         /* memory of full blocks that left, for new ones that are to be full: no page is touched anew */
	unsigned spares;                /* beside the budget */
	uint64_t used;                  /* bytes of sub-blocks that are present, claimed or loading */
	struct cache_stats stats;
	struct disk *disk;              /* NULL: memory only */
	struct documents *documents;    /* NULL: none */
};

/* For tests: do the parts fit each other? Walks everything. */
bool cache_consistent(struct cache *c);

/* ---- table.c, for disk.c ---- */
void cache_file_unref_locked(struct cache_file *f);
void cache_file_ref_locked(struct cache_file *f);
/* The disk was looked at: a word a block says what it has; it is taken. NULL: no disk cache for this file. No lock. */
void table_looked(struct cache_file *f, uint32_t *on_disk);
/* A load of `bits` of a block ended; `good` of them have right bytes. The job's pin goes. No lock. */
void table_loaded(struct block *b, uint32_t bits, uint32_t good);
/* Was it not forgotten while its save waited? No lock. */
bool table_worth_saving(struct block *b);
/* A save ended, well or not. The job's pin goes. No lock. */
void table_saved(struct block *b, uint32_t bits, bool on_disk);

/* ---- disk.c: its own threads; none of these blocks but new, drain and free. Lock order: cache->lock, then disk's ---- */
int disk_new(struct cache *c, struct disk **ret);
void disk_drain(struct disk *d);                /* what waits is done, then nothing is taken any more */
void disk_free(struct disk *d);                 /* NULL is fine */
void disk_look(struct cache_file *f);           /* lock held; holds a reference until table_looked() */
/* Read `bits` of a pinned block: table_loaded() follows. False: it cannot now. Lock held. */
bool disk_load(struct block *b, uint32_t bits);
/* Write `bits` of a pinned block. 1: table_saved() follows. 0: too much is waiting; after the next table_saved() there may be
 * room. -1: it cannot be written. Lock held. */
int disk_save(struct block *b, uint32_t bits);
/* Nothing that the disk has of it now is ever given out again, though it is removed later. Lock held. */
void disk_forget(struct cache_file *f);
void disk_file_done(struct cache_file *f);      /* lock held; the file is being freed */
void disk_get_stats(struct disk *d, struct cache_stats *ret);

/* ---- the files of a content, drawn at the head of disk.c ---- */
#define MAP_MAGIC "scifsmap"
#define MAP_FORMAT 1
#define MAP_HEADER 4096
#define KEY_MAX (MAP_HEADER - 24)
#define FILE_MAX (1ull << 40)           /* a longer content is kept in memory only */

struct map_header {
	char magic[8];
	uint32_t format, key_len;
	uint64_t size;
	char key[KEY_MAX];
};
_Static_assert(sizeof(struct map_header) == MAP_HEADER, "the header is a page");

struct map_entry {
	uint64_t sum[SUBS];
	uint64_t used, hits;
};

static inline off_t entry_at(uint64_t index)
{
	return MAP_HEADER + (off_t)(index * sizeof(struct map_entry));
}

/* Who changes an entry or its bytes holds this lock of the data file; who does not get it at once leaves them alone. It goes
 * with disk_unlock_block() or with the descriptor. */
bool disk_lock_block(int data_fd, uint64_t index);
void disk_unlock_block(int data_fd, uint64_t index);

/* ---- what small.c needs of disk.c. `base`: the path of a content's files without what tells their kind ---- */
/* Open a regular file; -errno, -EBADMSG: it is something else. */
int disk_open_kind(const char *base, const char *kind, int flags);
/* Of a sub-block's bytes. Never 0. */
uint64_t disk_sum(const struct cache_file *f, uint64_t index, unsigned sub, const void *bytes);
/* Is a last use so old that it is written again? */
bool disk_used_is_old(uint64_t used, uint64_t hits, uint64_t now);

/* ---- small.c: contents of one sub-block, some of them in one file (drawn there). For disk threads: each call may block ---- */
#define SMALL_KIND "small"
#define SMALL_BATCH 16                  /* contents of one file, at most */
#define SMALL_PAGE 4096
#define SMALL_HASH 32

struct small_header {                   /* of a record */
	uint64_t size, sum, used, hits;
	uint32_t key_len, zero;
};

static inline bool small_is(const struct cache_file *f)
{
	return f->size && f->size <= CACHE_SUB;
}

struct small_item {
	const struct cache_file *file;
	const char *base, *data;
};

/* Is this content there? -ENOENT: no. -EBADMSG: something else is in its place. */
int small_look(const struct cache_file *f, const char *base);
/* All its bytes, f->size of them. -ENOENT, -EBADMSG: none that are right. */
int small_load(const struct cache_file *f, const char *base, char *to);
/* How many bytes a file of these has. */
size_t small_length(const struct small_item items[], size_t n);
/* That file, under a name of its own (malloc'ed) that the caller unlinks in the end. */
int small_write(const struct small_item items[], size_t n, char **ret);
/* Give the file a content's name too. 1: it has that one only, since there are no links here. */
int small_name(const char *tmp, const char *base);
/* The record of HASH in a file, and where it lies. -EBADMSG: it has none. */
int small_find(int fd, const char *hash, struct small_header *ret, off_t *ret_begin, off_t *ret_end);

/* ---- usage.c: the limit that all mounts of a folder keep together. For disk threads: each call may block ---- */
struct usage;
/* `dir` is borrowed. -errno: the folder cannot be written. */
int usage_new(const char *dir, uint64_t limit, uint64_t free_min, struct usage **ret);
void usage_free(struct usage *u);
/* Before `want` bytes are written: do they fit below the limit, and stay `free_min` bytes free? Makes room if it must. After
 * true, usage_settle() says that the write is over. One thread only. */
bool usage_reserve(struct usage *u, uint64_t want);
void usage_settle(struct usage *u, uint64_t want);
/* As last seen; these two do not block. */
uint64_t usage_bytes(const struct usage *u);
uint64_t usage_evicted(const struct usage *u);
void usage_stop(struct usage *u);       /* from any thread: what takes long ends early */

/* ---- evict.c: pure ---- */
struct evict_block {
	uint32_t file, index;           /* what the caller calls it */
	uint64_t used;                  /* seconds: last use */
	uint64_t hits;                  /* reads of it since it was written */
};
/* Order blocks so that the first ones leave first: those that were read only once (a scan's) before those that were read
 * again within a week, older ones before newer. A last use that lies in the future is damage: it counts as the oldest. */
void evict_order(struct evict_block *b, size_t n, uint64_t now);

/* ---- documents.c ---- */
/* Reads and writes DIR/documents.db; holds no more than about `max` bytes. */
int documents_new(const char *dir, uint64_t max, struct documents **ret);
void documents_free(struct documents *d);       /* writes what waits; NULL is fine */

#endif
