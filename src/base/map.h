/* map.h - hash maps: from strings, and from 64-bit numbers, to pointers. No locks; values are the caller's. */
#ifndef SCIFS_BASE_MAP_H
#define SCIFS_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map;     /* keys are copied */
struct map_iter { size_t at; };

struct map *map_new(void);                      /* NULL: no memory */
void map_free(struct map *m);                   /* NULL is fine; values are left alone */
void *map_get(const struct map *m, const char *key);    /* NULL: not there; m may be NULL */
int map_set(struct map *m, const char *key, void *value);       /* replaces; -ENOMEM. value not NULL */
void *map_remove(struct map *m, const char *key);       /* the value that was there */
size_t map_count(const struct map *m);
void map_clear(struct map *m);
/* Zero the iterator first. True while there is one more; the map must not change in between. *key is the map's own. */
int map_next(const struct map *m, struct map_iter *it, const char **key, void **value);

struct map64;
struct map64_iter { size_t at; };

struct map64 *map64_new(void);
void map64_free(struct map64 *m);
void *map64_get(const struct map64 *m, uint64_t key);
int map64_set(struct map64 *m, uint64_t key, void *value);
void *map64_remove(struct map64 *m, uint64_t key);
size_t map64_count(const struct map64 *m);
void map64_clear(struct map64 *m);
int map64_next(const struct map64 *m, struct map64_iter *it, uint64_t *key, void **value);

#endif
