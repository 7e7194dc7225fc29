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
	struct cache_file *file;
	uint64_t index;
	char *data;                     /* CACHE_BLOCK bytes of address space; touched pages only cost memory */
	uint32_t present;               /* its bytes are here */
	uint32_t claimed;               /* a fetch or the disk thread is bringing them */
	uint32_t unsaved;               /* came from a fetch and is not on disk yet */
	unsigned pins;
};

enum disk_state {
	DISK_NONE,              /* no disk cache for this file */
	DISK_LOOKING,           /* the disk thread is finding out what it has */
	DISK_READY,
};

struct cache_file {
	struct cache *cache;
	char *key;
	uint64_t size;
	unsigned refs;                  /* opens, fetches, waiters, jobs and blocks */
	struct map64 *blocks;           /* index + 1 -> struct block * */
	struct list waiters;            /* struct cache_waiter, by its private words */
	bool forgotten;                 /* wrong bytes: not in cache->files any more */
	enum disk_state disk;
	uint32_t *on_disk;              /* a word a block: what the disk was seen to have. A hint: the map file decides */
	int map_fd, data_fd;            /* used by the disk threads only; -1: not made yet */
	bool disk_readonly;
};

struct cache {
	struct cache_config config;
	pthread_mutex_t lock;           /* guards everything here and below */
	struct map *files;              /* key -> struct cache_file * */
	struct list lru;
	uint64_t used;                  /* bytes of touched sub-blocks */
	struct cache_stats stats;
	struct disk *disk;              /* NULL: memory only */
	struct documents *documents;    /* NULL: none */
};

/* ---- table.c, for disk.c ---- */
void cache_file_unref_locked(struct cache_file *f);
void cache_file_ref_locked(struct cache_file *f);
/* The disk was looked at (on_disk is filled): waiters go on. Any thread, no lock. */
void table_looked(struct cache_file *f);
/* A load of `bits` of a block ended; `good` of them have right bytes. No lock. */
void table_loaded(struct block *b, uint32_t bits, uint32_t good);
/* A save ended, well or not: the pin goes. No lock. */
void table_saved(struct block *b, uint32_t bits, bool on_disk);

/* ---- disk.c: its own threads; none of these blocks but new and free ---- */
int disk_new(struct cache *c, struct disk **ret);
void disk_drain(struct disk *d);                /* what waits is done, then nothing is taken any more */
void disk_free(struct disk *d);
void disk_look(struct cache_file *f);           /* lock held; holds a reference until table_looked() */
/* Read `bits` of a pinned block: table_loaded() follows. False: it cannot now. Lock held. */
bool disk_load(struct block *b, uint32_t bits);
/* Write `bits` of a pinned block: table_saved() follows. False: too much is waiting; then it is not written. Lock held. */
bool disk_save(struct block *b, uint32_t bits);
void disk_forget(struct cache_file *f);         /* lock held */
void disk_file_done(struct cache_file *f);      /* lock held; the file is being freed */
void disk_get_stats(struct disk *d, struct cache_stats *ret);

/* ---- evict.c: pure ---- */
struct evict_block {
	uint64_t file, index;           /* what the caller calls it */
	uint64_t used;                  /* seconds: last use */
	uint64_t hits;                  /* reads of it since it was written */
	uint64_t bytes;
};
/* Order blocks so that the first ones leave first: those that were read only once (a scan's) before those that were read
 * again, older ones before newer. */
void evict_order(struct evict_block *b, size_t n, uint64_t now);

/* ---- documents.c ---- */
int documents_new(const char *dir, struct documents **ret);
void documents_free(struct documents *d);

#endif
