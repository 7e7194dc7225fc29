/* map.c - open addressing with linear probing; removal shifts back, so that no tombstones gather. One table serves both
 * kinds: a string map keeps the key's text beside its hash, a number map has the number as its hash (mixed). */
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"

struct slot {
	uint64_t hash;
	char *key;              /* NULL in a number map */
	void *value;            /* NULL: free slot */
};

struct table {
	struct slot *slots;
	size_t room, n;         /* room is a power of two or 0 */
};

struct map { struct table t; };
struct map64 { struct table t; };

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	return x;
}

static size_t find(const struct table *t, uint64_t hash, const char *key)
{
	size_t i;

	if (!t->room)
		return SIZE_MAX;
	for (i = mix(hash) & (t->room - 1); t->slots[i].value; i = (i + 1) & (t->room - 1))
		if (t->slots[i].hash == hash && (!key || strcmp(t->slots[i].key, key) == 0))
			return i;
	return SIZE_MAX;
}

static void put(struct table *t, struct slot s)
{
	size_t i;

	for (i = mix(s.hash) & (t->room - 1); t->slots[i].value; i = (i + 1) & (t->room - 1))
		;
	t->slots[i] = s;
	t->n++;
}

static int grow(struct table *t)
{
	struct table bigger = {0};

	if (t->n + 1 <= t->room / 4 * 3)
		return 0;
	bigger.room = t->room ? t->room * 2 : 16;
	bigger.slots = calloc(bigger.room, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; i < t->room; i++)
		if (t->slots[i].value)
			put(&bigger, t->slots[i]);
	free(t->slots);
	*t = bigger;
	return 0;
}

static void *take(struct table *t, size_t i)
{
	void *value = t->slots[i].value;
	size_t hole = i;

	free(t->slots[i].key);
	t->slots[i].value = NULL;
	t->n--;
	for (i = (i + 1) & (t->room - 1); t->slots[i].value; i = (i + 1) & (t->room - 1)) {
		size_t home = mix(t->slots[i].hash) & (t->room - 1);

		if (((i - home) & (t->room - 1)) >= ((i - hole) & (t->room - 1))) {
			t->slots[hole] = t->slots[i];
			t->slots[i].value = NULL;
			hole = i;
		}
	}
	return value;
}

static uint64_t hash_text(const char *key)
{
	return digest_xxh3_64(key, strlen(key));
}

struct map *map_new(void)
{
	return calloc(1, sizeof(struct map));
}

void map_clear(struct map *m)
{
	for (size_t i = 0; i < m->t.room; i++)
		if (m->t.slots[i].value)
			free(m->t.slots[i].key);
	free(m->t.slots);
	m->t = (struct table){0};
}

void map_free(struct map *m)
{
	if (!m)
		return;
	map_clear(m);
	free(m);
}

void *map_get(const struct map *m, const char *key)
{
	size_t i = m ? find(&m->t, hash_text(key), key) : SIZE_MAX;

	return i == SIZE_MAX ? NULL : m->t.slots[i].value;
}

int map_set(struct map *m, const char *key, void *value)
{
	uint64_t hash = hash_text(key);
	size_t i = find(&m->t, hash, key);
	char *copy;

	if (!value)
		return -EINVAL;
	if (i != SIZE_MAX) {
		m->t.slots[i].value = value;
		return 0;
	}
	copy = strdup(key);
	if (!copy || grow(&m->t) < 0) {
		free(copy);
		return -ENOMEM;
	}
	put(&m->t, (struct slot){hash, copy, value});
	return 0;
}

void *map_remove(struct map *m, const char *key)
{
	size_t i = m ? find(&m->t, hash_text(key), key) : SIZE_MAX;

	return i == SIZE_MAX ? NULL : take(&m->t, i);
}

size_t map_count(const struct map *m)
{
	return m ? m->t.n : 0;
}

int map_next(const struct map *m, struct map_iter *it, const char **key, void **value)
{
	while (m && it->at < m->t.room) {
		const struct slot *s = &m->t.slots[it->at++];

		if (s->value) {
			*key = s->key;
			*value = s->value;
			return 1;
		}
	}
	return 0;
}

struct map64 *map64_new(void)
{
	return calloc(1, sizeof(struct map64));
}

void map64_free(struct map64 *m)
{
	if (!m)
		return;
	free(m->t.slots);
	free(m);
}

void *map64_get(const struct map64 *m, uint64_t key)
{
	size_t i = find(&m->t, key, NULL);

	return i == SIZE_MAX ? NULL : m->t.slots[i].value;
}

int map64_set(struct map64 *m, uint64_t key, void *value)
{
	size_t i = find(&m->t, key, NULL);

	if (!value)
		return -EINVAL;
	if (i != SIZE_MAX) {
		m->t.slots[i].value = value;
		return 0;
	}
	if (grow(&m->t) < 0)
		return -ENOMEM;
	put(&m->t, (struct slot){key, NULL, value});
	return 0;
}

void *map64_remove(struct map64 *m, uint64_t key)
{
	size_t i = find(&m->t, key, NULL);

	return i == SIZE_MAX ? NULL : take(&m->t, i);
}

size_t map64_count(const struct map64 *m)
{
	return m->t.n;
}

void map64_clear(struct map64 *m)
{
	free(m->t.slots);
	m->t = (struct table){0};
}

int map64_next(const struct map64 *m, struct map64_iter *it, uint64_t *key, void **value)
{
	while (it->at < m->t.room) {
		const struct slot *s = &m->t.slots[it->at++];

		if (s->value) {
			*key = s->hash;
			*value = s->value;
			return 1;
		}
	}
	return 0;
}
