/* kept.c - what users set of things that the server has no field for, and our own digests: all of it in memory, as the journal has it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/str.h"
#include "spool/private.h"

#define SUM_BYTES 64                    /* a sha512 */
#define TRIM_PART 16                    /* when there are too many, so large a part leaves at a time */

/* As small as can be: there may be a million. */
struct entry {
	struct list link;               /* in kept->all, the oldest first */
	uint64_t ino;
	struct timespec mtime;
	uint32_t mode;
	bool has_sum, has_version;
	unsigned char sum[SUM_BYTES];
	char text[];                    /* the id, a NUL, the version */
};

struct kept {
	pthread_mutex_t lock;
	struct map *by_id;
	struct list all;
	size_t max;
	int64_t seq;                    /* of the journal's newest row that is known here */
};

struct kept *kept_new(size_t max)
{
	struct kept *k = calloc(1, sizeof(*k));

	if (!k)
		return NULL;
	k->by_id = map_new();
	if (!k->by_id) {
		free(k);
		return NULL;
	}
	pthread_mutex_init(&k->lock, NULL);
	list_init(&k->all);
	k->max = max;
	return k;
}

void kept_free(struct kept *k)
{
	struct entry *e;

	if (!k)
		return;
	list_for_each_safe(e, &k->all, struct entry, link)
		free(e);
	map_free(k->by_id);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_sum(const char *digest, unsigned char ret[SUM_BYTES])
{
	if (!str_starts(digest, "sha512:") || strlen(digest) != 7 + 2 * SUM_BYTES)
		return false;
	digest += 7;
	for (int i = 0; i < SUM_BYTES; i++) {
		int high = hex_digit(digest[2 * i]), low = hex_digit(digest[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		ret[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

static void forget(struct kept *k, struct entry *e)
{
	map_remove(k->by_id, e->text);
	list_remove(&e->link);
	free(e);
}

int kept_note(struct spool *s, const char *id, const struct kept_attr *a)
{
	size_t n = strlen(id) + 1, version_n = a->version ? strlen(a->version) + 1 : 0;
	struct entry *e = malloc(sizeof(*e) + n + version_n), *old;
	struct kept *k = s->kept;
	int r = 0;

	if (!e)
		return -ENOMEM;
	e->ino = a->ino;
	e->mtime = a->mtime;
	e->mode = a->mode;
	e->has_version = a->version;
	e->has_sum = read_sum(a->digest, e->sum);
	memcpy(e->text, id, n);
	if (a->version)
		memcpy(e->text + n, a->version, version_n);
	WITH_LOCK(&k->lock) {
		old = map_get(k->by_id, id);
		if (old)
			forget(k, old);
		r = map_set(k->by_id, id, e);
		if (r < 0)
			break;
		list_append(&k->all, &e->link);
		while (map_count(k->by_id) > k->max)
			forget(k, list_first(&k->all, struct entry, link));
	}
	if (r < 0)
		free(e);
	return r;
}

int kept_get(struct spool *s, const char *id, struct kept_attr *ret)
{
	struct kept *k = s->kept;
	int r = 0;

	WITH_LOCK(&k->lock) {
		const struct entry *e = map_get(k->by_id, id);

		if (!e)
			break;
		*ret = (struct kept_attr){.ino = e->ino, .mtime = e->mtime, .mode = e->mode};
		r = e->has_version ? str_dup(e->text + strlen(e->text) + 1, &ret->version) : 0;
		if (r < 0)
			break;
		if (e->has_sum) {
			strcpy(ret->digest, "sha512:");
			for (int i = 0; i < SUM_BYTES; i++)
				snprintf(ret->digest + 7 + 2 * i, 3, "%02x", e->sum[i]);
		}
		r = 1;
	}
	return r;
}

void kept_attr_done(struct kept_attr *k)
{
	free(TAKE(k->version));
}

void kept_trim(struct spool *s)
{
	struct kept *k = s->kept;
	size_t left = k->max - k->max / TRIM_PART;
	bool full = false;

	WITH_LOCK(&k->lock)
		full = map_count(k->by_id) >= k->max;
	if (!full)
		return;
	/* Rarely, and many at once. */
	(void)journal_kept_trim(s->journal, left);      /* too many rows only take room */
	WITH_LOCK(&k->lock)
		while (map_count(k->by_id) > left)
			forget(k, list_first(&k->all, struct entry, link));
}

int kept_set(struct spool *s, const char *id, const struct kept_attr *a)
{
	int r = journal_kept_put(s->journal, id, a);

	if (r == 0)
		r = kept_note(s, id, a);
	if (r == 0)
		kept_trim(s);
	return r;
}

int kept_forget(struct spool *s, const char *id)
{
	int r = journal_kept_drop(s->journal, id);

	if (r < 0)
		return r;
	WITH_LOCK(&s->kept->lock) {
		struct entry *e = map_get(s->kept->by_id, id);

		if (e)
			forget(s->kept, e);
	}
	return 0;
}

static int one(void *arg, const char *id, const struct kept_attr *k)
{
	return kept_note(arg, id, k);
}

int kept_load(struct spool *s)
{
	int64_t seq;
	int r;

	WITH_LOCK(&s->kept->lock)
		seq = s->kept->seq;
	r = journal_kept(s->journal, &seq, one, s);
	WITH_LOCK(&s->kept->lock)
		s->kept->seq = seq;
	return r;
}

int kept_write_all(struct spool *s)
{
	struct map_iter it = {0};
	struct kept_attr k;
	VEC(char *) ids = {0};
	const char *id;
	void *value;
	int r = 0;

	WITH_LOCK(&s->kept->lock) {
		s->kept->seq = 0;
		while (r == 0 && map_next(s->kept->by_id, &it, &id, &value)) {
			char *copy = strdup(id);

			r = copy ? vec_push(&ids, copy) : -ENOMEM;
		}
	}
	for (size_t i = 0; r == 0 && i < ids.n; i++) {
		if (kept_get(s, ids.at[i], &k) != 1)
			continue;
		r = journal_kept_put(s->journal, ids.at[i], &k);
		kept_attr_done(&k);
	}
	for (size_t i = 0; i < ids.n; i++)
		free(ids.at[i]);
	vec_done(&ids);
	return r;
}
