/* private.h - what the files of the memory backend share.
 *
 * Nothing here changes after memory_open() but the count of calls, so there is no lock.
 */
#ifndef SCIFS_BACKEND_MEMORY_PRIVATE_H
#define SCIFS_BACKEND_MEMORY_PRIVATE_H

#include <stdatomic.h>

#include "backend/memory/memory.h"
#include "base/cleanup.h"
#include "base/str.h"

/* ---- source.c: what follows "memory:"; pure ---- */
#define FILES_MAX 1000000u
#define DIRS_MAX 100000u
#define SIZE_MAX_MADE (1ull << 40)
#define PAGE_MAX 1000000u
#define PAGE_DEFAULT 10000u
#define DELAY_MAX_MS 60000u             /* umount waits for calls that sleep */
#define FAILS_MAX 16

struct fail {
	char *name;                     /* of the thing that a call is about; "*": any */
	int err;                        /* -errno */
	uint64_t after_ms;              /* since the mount */
};

struct shape {
	uint64_t files, dirs, size;     /* the tree made by formula */
	bool made;                      /* it stands in the sample's place */
	uint64_t page, delay_ms, changes_ms, unknown, fail_percent;
	struct fail fails[FAILS_MAX];
	size_t n_fails;
};
/* "memory:?files=10&size=4k" -> *ret. -EINVAL with one line in *why. */
int shape_parse(const char *source, struct shape *ret, char **why);
void shape_done(struct shape *s);

/* ---- sample.c: the sample repository, a table ---- */
struct row {
	const char *key;                /* the thing's identity, which outlives its name and place */
	const char *in;                 /* key of the directory that holds it; NULL: the root */
	const char *name;
	enum object_kind kind;
	unsigned rights;
	const char *text;               /* the content; or NULL: `noise` bytes by formula. Of a link where it leads */
	uint64_t noise, seed;
	const char *mime;
	const char *digest;             /* which kind the repository tells: "sha512", "md5", NULL */
	const char *meta;               /* a JSON object; NULL: {} */
};
extern const struct row sample[];
extern const size_t sample_rows;

/* ---- memory.c ---- */
struct thing {                          /* a row and what was computed of it at open */
	const struct row *row;
	int parent;                     /* index of the directory that holds it; -1: the root */
	char id[32], version[24];
	char *digest;
};

struct memory {
	struct session session;
	struct shape shape;
	struct thing *things;           /* one for each row; NULL for a made tree */
	uint64_t opened_at;
	atomic_ulong calls;
};

static inline struct memory *memory_of(const struct session *s)
{
	return (struct memory *)s;
}
/* Each call but root() passes here: it takes as long, and fails as often, as the source says. `name`: of the thing it is about. */
int memory_gate(struct memory *m, const char *name, const int *cancelled);

/* ---- tree.c ---- */
/* Which thing: a number of its kind. */
struct ref {
	enum { REF_ROOT, REF_THING, REF_DIR, REF_FILE, REF_CHANGING } what;
	uint64_t n;
};
int memory_find(const struct memory *m, const char *id, struct ref *ret);       /* -ENOENT */
int memory_describe(const struct memory *m, struct ref ref, struct object *ret);
int memory_root(struct session *s, struct object *ret);
int memory_lookup(struct session *s, const struct object *dir, const char *name, struct page *io);
int memory_list(struct session *s, const struct object *dir, struct page *io);
int memory_stat(struct session *s, const struct object *o, struct object *ret);
int memory_changed(struct session *s, const struct object *dir, char **fingerprint);
int memory_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why);
int memory_locate(struct session *s, const char *id, struct page *io);

/* ---- content.c ---- */
#define CHANGING_SIZE (16ull << 20)
/* Bytes first .. first+n-1 of the noise that a seed gives. */
void noise_fill(uint64_t seed, uint64_t first, void *to, size_t n);
uint64_t memory_revision(const struct memory *m);       /* of changing.dat, now */
int memory_digest_row(const struct row *row, const char *kind, char **ret_hex);
uint64_t memory_row_size(const struct row *row);
int memory_prepare_read(struct session *s, const struct object *o, struct read_plan *io);

/* ---- meta.c ---- */
int memory_get_doc(struct session *s, const struct object *o, struct doc *ret);
int memory_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret);

#endif
