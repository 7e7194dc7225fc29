/* private.h - what the files of cache share. */
#ifndef SCIFS_CACHE_PRIVATE_H
#define SCIFS_CACHE_PRIVATE_H

#include <pthread.h>

#include "base/list.h"
#include "base/map.h"
#include "cache/cache.h"

#define SUBS (CACHE_BLOCK / CACHE_SUB)

/* A block in memory. `present`, `claimed`: one bit a sub-block. */
struct block {
	struct list lru;                /* in cache->lru while nobody pins it, oldest first */
	struct cache_file *file;
	uint64_t index;
	char *data;                     /* CACHE_BLOCK bytes of address space; touched pages only cost memory */
	uint32_t present, claimed;
	unsigned pins;
};

struct cache_file {
	struct cache *cache;
	char *key;
	uint64_t size;
	unsigned refs;                  /* opens, fetches and blocks */
	struct map64 *blocks;           /* index + 1 -> struct block * */
	struct list waiters;            /* struct waiter */
	bool forgotten;                 /* wrong bytes: not in cache->files any more */
};

struct cache {
	struct cache_config config;
	pthread_mutex_t lock;           /* guards everything here and below */
	struct map *files;              /* key -> struct cache_file * */
	struct list lru;
	uint64_t used;                  /* bytes of touched sub-blocks */
	struct cache_stats stats;
};

#endif
