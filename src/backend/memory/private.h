/* private.h - what the files of the memory backend share.
 *
 * The sample, or the tree made by formula, never changes; what was made, changed or removed lies over it, as entries under one
 * lock: overlay_begin() takes it, overlay_end() gives it back. Nothing waits for anything but the local disk in between.
 */
#ifndef SCIFS_BACKEND_MEMORY_PRIVATE_H
#define SCIFS_BACKEND_MEMORY_PRIVATE_H

#include <stdatomic.h>

#include "backend/memory/memory.h"
#include "base/cleanup.h"
#include "base/list.h"
#include "base/map.h"
#include "base/str.h"

/* ---- source.c: what follows "memory:"; pure ---- */
#define FILES_MAX 1000000u
#define DIRS_MAX 100000u
#define SIZE_MAX_MADE (1ull << 40)
#define PAGE_MAX 1000000u
#define PAGE_DEFAULT 10000u
#define DELAY_MAX_MS 60000u             /* umount waits for calls that sleep */
#define FAILS_MAX 16
#define REFUSALS_MAX 16
#define ROOM_DEFAULT (256u << 20)
#define ROOM_MAX (1ull << 40)
#define STORE_MAX 1000u                 /* bytes of its path */

struct fail {
	char *name;                     /* of the thing that a call is about; "*": any */
	int err;                        /* -errno */
	uint64_t after_ms;              /* since the mount */
};

struct refusal {
	char *name;                     /* of the thing that is to be made or changed; "*": any */
	int err;                        /* -errno */
	uint64_t times;                 /* so often; UINT64_MAX: always */
};

struct shape {
	uint64_t files, dirs, size;     /* the tree made by formula */
	bool made;                      /* it stands in the sample's place */
	uint64_t page, delay_ms, changes_ms, unknown, fail_percent;
	struct fail fails[FAILS_MAX];
	size_t n_fails;
	/* Of writing. */
	uint64_t readonly, papers, lanes, batch, room, quota, updelay_ms, cut;
	uint64_t lose_each, lose_percent;       /* answers of changes that get lost: of each n-th, or so many of all; 0: none */
	char *store;                    /* a folder on the disk that keeps what is written, or NULL */
	char *taken, *moved;            /* names that somebody else makes, or changes, just before we do; or NULL */
	struct refusal refusals[REFUSALS_MAX];
	size_t n_refusals;
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

/* ---- overlay.c: what was made, changed or removed ---- */
#define THINGS_MAX 100000u              /* entries of the overlay */
#define PARTS_MAX 1000u                 /* uploads that were begun and not finished */
#define META_MAX (256u << 10)           /* bytes of one thing's metadata */
#define NAME_MAX_RAW 1000u              /* bytes of a name that is given here */
#define ID_MAX 40
#define DEPTH_MAX 10000u                /* directories in directories */

struct bytes {                          /* a content in memory; never changes */
	atomic_uint refs;
	size_t n;
	unsigned char data[];
};
struct bytes *bytes_new(size_t n);      /* to be filled by who made it; NULL: no memory */
struct bytes *bytes_ref(struct bytes *b);
void bytes_unref(struct bytes *b);      /* NULL is fine */
DEFINE_CLEANUP(struct bytes *, bytes_unref)

struct entry {
	struct list link;               /* in overlay->things, by serial */
	uint64_t serial;
	struct object o;                /* the thing as it is now */
	char *parent;                   /* id of the directory that holds it */
	char *meta;                     /* a JSON object; NULL: what the sample or the formula says */
	char *upload;                   /* which upload made its content: for who lost the answer; or NULL */
	char *over;                     /* with a store: the thing whose name it took, until that is removed; or NULL */
	struct bytes *bytes;            /* its content; NULL: not read from the store yet, or none */
	bool own;                       /* the content is the overlay's; false: the sample's or the formula's */
	bool based;                     /* it stands for a thing of the sample or of the formula: its entry outlives its removal */
	bool removed;
};

struct part {                           /* an upload that was begun */
	struct list link;               /* in overlay->parts */
	char *id;
	struct bytes *bytes;
	size_t got;                     /* bytes that came, from the beginning */
};

struct overlay {
	pthread_mutex_t lock;
	struct list things, parts;
	struct map *by_id;              /* removed ones too */
	struct map *by_place;           /* "PARENT\nNAME" -> entry; not the removed ones */
	size_t n_things, n_parts;
	uint64_t next_serial;
	uint64_t used;                  /* bytes of contents and of parts */
	uint64_t stamp;                 /* another number after each change; 0: there was none */
	int lock_fd;                    /* with a store: its lock file, else -1 */
	bool reread;                    /* with a store: what is here is not what it has */
};

struct memory {
	struct session session;
	struct shape shape;
	struct thing *things;           /* one for each row; NULL for a made tree */
	uint64_t opened_at;
	atomic_ulong calls, changes;
	atomic_bool taken_done, moved_done;
	struct overlay overlay;
	pthread_mutex_t papers_lock;    /* papers.c's, with the next two */
	struct list papers;
	size_t n_papers;
};

int overlay_init(struct memory *m, char **why);
void overlay_done(struct memory *m);
/* Take the lock; with a store that of its folder too, and read what other processes changed. 0, then overlay_end() is owed; or the
 * disk's -errno. What stands below, store.c's included, is for in between. */
int overlay_begin(struct memory *m);
void overlay_end(struct memory *m);
int overlay_enter(struct memory *m, struct entry *e);  /* into the maps and the list, not into the store. -ENOSPC; then `e` stays the caller's */
void overlay_clear(struct memory *m);  /* forget all entries */
struct entry *overlay_get(const struct memory *m, const char *id);      /* also a removed one; NULL: as the base says */
struct entry *overlay_of_upload(const struct memory *m, const char *upload);    /* whose content came with it */
struct entry *overlay_at(const struct memory *m, const char *parent, const char *name);
int overlay_describe(const struct memory *m, const char *id, struct object *ret);       /* the thing as it is now; -ENOENT */
/* The directory that holds it, borrowed from `room` or an entry; "": nothing does. -ENOENT. */
int overlay_parent(const struct memory *m, const char *id, char room[ID_MAX], const char **ret);
bool overlay_is_below(const struct memory *m, const char *id, const char *dir);         /* in it, at any depth */
/* The content of an entry that has one of its own, a reference. */
int overlay_bytes(struct memory *m, struct entry *e, struct bytes **ret);
/* An entry to change: that of `id`, made when there is none. -ENOENT; -ENOSPC: too many. */
int overlay_edit(struct memory *m, const char *id, struct entry **ret);
/* An entry for a new thing in `parent`, as plan_create() described it. overlay_add() or overlay_free() is owed. */
int overlay_new(struct memory *m, const char *parent, const struct object *plan, struct entry **ret);
void overlay_free(struct entry *e);     /* NULL is fine */
DEFINE_CLEANUP(struct entry *, overlay_free)
/* It begins to be, or to be different. When the store cannot keep it, everything is read again from there: nothing was changed. */
int overlay_add(struct memory *m, struct entry *e);
int overlay_save(struct memory *m, struct entry *e);
int overlay_move(struct memory *m, struct entry *e, const char *parent, const char *name);      /* to be saved */
/* Give it this content (a reference is taken), which a store has as that of the upload `part` already, unless that is NULL. Before
 * overlay_add() or overlay_save(); the content before it goes with overlay_forget(), after that. */
struct content {
	struct bytes *bytes;
	char *version;
	bool own;
};
int overlay_set_content(struct memory *m, struct entry *e, struct bytes *b, const char *part, struct content *ret_before);
void overlay_forget(struct memory *m, const struct entry *e, struct content *before);
int overlay_remove(struct memory *m, const char *id);
void overlay_touch(struct entry *e, bool content);      /* changed now, by the server's own clock */
uint64_t memory_random(void);           /* never 0 */

/* ---- store.c: the overlay in a folder; each returns 0 at once when there is none ---- */
int store_open(struct memory *m, char **why);
void store_close(struct memory *m);
int store_lock(struct memory *m);       /* and read everything when somebody else changed something */
void store_unlock(struct memory *m);
int store_save(struct memory *m, const struct entry *e);
int store_drop(struct memory *m, const struct entry *e);
int store_read_content(struct memory *m, const struct entry *e, struct bytes **ret);
int store_write_content(struct memory *m, const char *id, const char *version, const struct bytes *b, const char *part);
void store_drop_content(struct memory *m, const char *id, const char *version);
int store_part_write(struct memory *m, const char *part, const void *p, size_t n, size_t at);
int store_part_read(struct memory *m, const char *part, struct bytes *b, size_t *ret_got);      /* -ENOENT */
void store_part_drop(struct memory *m, const char *part);

static inline struct memory *memory_of(const struct session *s)
{
	return (struct memory *)s;
}
/* Each call but root() passes here: it takes as long, and fails as often, as the source says. `name`: of the thing it is about. */
int memory_gate(struct memory *m, const char *name, const int *cancelled);
/* And each change here: it may be refused. Each chunk of an upload passes the other one. */
int memory_gate_change(struct memory *m, const char *name, const int *cancelled);
int memory_gate_upload(struct memory *m, const char *name, const int *cancelled);
int memory_refused(struct memory *m, const char *name);
/* What a change came to is about to be answered: r, or -EIO when it was done and the answer gets lost. */
int memory_answer(struct memory *m, int r);
int memory_answer_object(struct memory *m, int r, struct object *io);   /* which is ended then */

/* ---- tree.c ---- */
/* Which thing: a number of its kind. */
struct ref {
	enum { REF_ROOT, REF_SHELF, REF_THING, REF_DIR, REF_FILE, REF_CHANGING } what;
	uint64_t n;
};
/* Of the base alone: what it says, whatever lies over it. */
int memory_find(const struct memory *m, const char *id, struct ref *ret);       /* -ENOENT */
int memory_describe(const struct memory *m, struct ref ref, struct object *ret);
const char *memory_parent(const struct memory *m, struct ref ref, char room[ID_MAX]);   /* id of the directory that holds it; "": nothing does */
/* The things that a directory holds now under this name, added to io; and does it hold any? Between overlay_begin() and its end. */
int memory_children_named(const struct memory *m, const char *dir, const char *name, struct page *io);
bool memory_is_empty(const struct memory *m, const char *dir);
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
int memory_whole(struct memory *m, const struct object *o, struct bytes **ret);         /* between overlay_begin() and its end */
int memory_prepare_read(struct session *s, const struct object *o, struct read_plan *io);

/* ---- change.c ---- */
int memory_check_place(const struct memory *m, const char *dir, const char *name);      /* -ENOENT, -ENOTDIR, -EACCES, -EEXIST */
int memory_plan(const struct memory *m, const struct object *dir, const char *name, enum object_kind kind, struct object *ret);
int memory_plan_create(const struct session *s, const struct object *dir, const char *name, enum object_kind kind, struct object *ret);
int memory_lane(const struct session *s, const struct object *dir, const char *name, const struct object *base, char **ret);
int memory_mkdir(struct session *s, const struct object *dir, const char *name, struct object *ret);
int memory_symlink(struct session *s, const struct object *dir, const char *name, const char *target, struct object *ret);
int memory_remove(struct session *s, const struct object *dir, const struct object *o);
int memory_rename(struct session *s, const struct object *o, const struct object *from, const struct object *to, const char *name,
                  const struct object *over, struct object *ret);

/* ---- upload.c ---- */
void part_free(struct memory *m, struct part *p);
int memory_upload(struct session *s, struct upload *u);
void memory_upload_many(struct session *s, struct upload *const u[], size_t n, int ret[]);
int memory_upload_drop(struct session *s, const char *progress);
int memory_copy(struct session *s, const struct object *o, const struct object *dir, const char *name, struct object *ret);

/* ---- meta.c ---- */
#define MEMORY_META "memory.meta"
#define MEMORY_MTIME_KEY "scifs_mtime"
int memory_set_time(const char *meta, struct object *io);       /* what -o mtime=meta keeps there; meta NULL: nothing. Ends io when it fails */
int memory_meta(const struct memory *m, const char *id, char **ret);    /* its metadata as text; between overlay_begin() and its end */
int memory_get_doc(struct session *s, const struct object *o, struct doc *ret);
int memory_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret);
int memory_check_attr(const struct session *s, const struct object *o, const char *name);
int memory_set_attrs(struct session *s, const struct object *o, const struct attrs *a);
int memory_set_doc(struct session *s, const struct object *o, const struct doc *base, const struct doc *now);
extern const struct backend_control memory_controls[];
int memory_control_object(struct session *s, const struct object *about, const char *name, struct object *ret);
int memory_control_call(struct session *s, const struct object *about, const char *name, const struct buf *question, struct buf *ret);

/* ---- papers.c ---- */
#define KEPT_PAPERS_MAX 1000u
void memory_papers_init(struct memory *m);
void memory_papers_done(struct memory *m);
int memory_paper_stat(struct session *s, const struct object *about, const char *const *path, struct paper *ret);
int memory_paper_list(struct session *s, const struct object *about, const char *const *path, struct papers *ret);
int memory_paper_read(struct session *s, const struct object *about, const char *const *path, struct buf *ret);
int memory_paper_check(struct session *s, const struct object *about, const char *const *path, enum paper_act act);
int memory_paper_write(struct session *s, const struct object *about, const char *const *path, const struct buf *text, struct buf *reply);
int memory_paper_remove(struct session *s, const struct object *about, const char *const *path);

#endif
