/* disk.c - blocks on disk: a sparse data file and a map file for each version of a content, and the threads that use them.
 *
 *   DIR/blocks/HH/HASH.data   block i at i * 1 MiB, sparse
 *   DIR/blocks/HH/HASH.map    0      "scifsmap" | u32 format = 1 | u32 key length | u64 size of the content | key ... 0
 *                             4096   block 0: u64 sum[32] | u64 last use (s) | u64 times read again
 *                             4368   block 1 ...
 *   DIR/blocks/HH/HASH.small  a content of one sub-block, with others: drawn in small.c
 *   DIR/blocks/usage, alive   drawn in usage.c
 *
 * HASH is 32 digits made of key and size, HH its first two. Numbers are in the machine's own order. A file of another format
 * (or another machine's) is not what it should be: it is removed and begun anew. Before there was small.c, small contents had
 * a map too: what is found of that is read, and leaves by eviction.
 *
 * A sum is xxh3 of the sub-block's bytes mixed with the key and its place, 0 for absent; it is checked at each read. Nothing
 * is ever fsynced: after a crash a sum does not fit its bytes and the sub-block counts as absent. Several processes share the
 * files by pread and pwrite alone (a mapping would turn a failing disk into SIGBUS). Who has a content open holds a shared
 * flock of its map file, which keeps others from removing it, though not from punching blocks out. Who writes a block or
 * punches it out holds a lock of that part of the data file.
 *
 * Threads: some read, one writes, so that a slow write delays no reader. Reading and writing each have their health: a disk
 * that fails a few times in one of them is left alone in that for a while, and reads go on from memory and network.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "cache/private.h"

#define READERS 4
#define JOBS_MAX 8192                   /* jobs waiting for a disk thread */
#define OPEN_MAX 64                     /* contents whose two files are open at once */
#define DOOMED_MAX 4096                 /* contents that were forgotten and could not be removed yet */
#define FAULTS_MAX 3                    /* errors in a row until the disk is left alone */
#define REST_MS 60000                   /* for so long */
#define USED_GRAIN_S 60                 /* a last use is written again after so long */
#define GRAIN_MAX (64u << 10)           /* the largest unit of a file system that is believed */
#define ENTRIES 64                      /* of a map, read at once */

/* The two files of a content while they are open. */
struct disk_files {
	struct list link;               /* in disk->open, least recently used first; or in disk->closing */
	struct cache_file *owner;       /* whose `open` this is; NULL: nobody's any more */
	unsigned refs;                  /* the owner's and each user's */
	int map_fd, data_fd;
	bool readonly;
};

struct health {
	const char *doing;
	_Atomic unsigned faults;
	_Atomic uint64_t rest_until;
};

struct job {
	struct cache_file *file;
	struct block *block;
	uint32_t bits;
	uint64_t pinned;                /* bytes that a save keeps in memory */
};

struct disk {
	struct cache *cache;
	char *dir;                      /* DIR/blocks */
	struct thread_pool *reader, *writer;
	struct usage *usage;            /* the writer's; NULL: readonly */
	struct job *small[SMALL_BATCH]; /* the writer's: small contents that are going to be one file */
	size_t n_small;
	bool no_links;                  /* the writer's: each is a file of its own */
	uint64_t limit;
	size_t grain;                   /* the file system's unit */
	struct health reading, writing;
	_Atomic uint64_t bad, errors, hits;
	_Atomic uint64_t saving;        /* bytes of memory pinned by saves that wait */
	uint64_t saving_max;
	atomic_bool closed;             /* nothing of it is used any more */

	pthread_mutex_t lock;           /* guards what follows and every cache_file's `open`; nothing is done on disk under it */
	struct list open, closing;
	unsigned n_open;
	struct map *doomed;             /* path without its end -> anything: to be removed before it is looked at again */
	pthread_mutex_t removing;       /* for disk threads only: one removes what is doomed at a time */
};

/* ---- health ---- */

static void fault(struct disk *d, struct health *h, int err)
{
	atomic_fetch_add(&d->errors, 1);
	if (atomic_fetch_add(&h->faults, 1) + 1 < FAULTS_MAX)
		return;
	atomic_store(&h->faults, 0);
	atomic_store(&h->rest_until, clock_mono_ms() + REST_MS);
	log_warn("cache: %s: %s: %s; it is left alone for a while", d->dir, h->doing, strerror(-err));
}

static void fine(struct health *h)
{
	atomic_store(&h->faults, 0);
}

static bool resting(struct disk *d, struct health *h)
{
	return atomic_load(&d->closed) || atomic_load(&h->rest_until) > clock_mono_ms();
}

/* ---- names, sums, locks ---- */

static uint64_t key_hash(const struct cache_file *f)
{
	return digest_xxh3_64(f->key, strlen(f->key));
}

/* Without ".map" or ".data". */
static int base_of(const struct disk *d, const struct cache_file *f, char **ret)
{
	char size[24];
	uint64_t a = key_hash(f), b;

	snprintf(size, sizeof(size), "%llu", (unsigned long long)f->size);
	b = digest_hash64((const char *const[]){f->key, size, NULL});
	return str_fmt(ret, "%s/%02x/%016llx%016llx", d->dir, (unsigned)(a >> 56), (unsigned long long)a, (unsigned long long)b);
}

static uint64_t sum_of(uint64_t key, uint64_t index, unsigned sub, const void *p, size_t n)
{
	uint64_t h = digest_xxh3_64(p, n) ^ (key + (index * SUBS + sub) * 0x9e3779b97f4a7c15ull);

	return h ? h : 1;
}

static size_t sub_length(const struct cache_file *f, uint64_t index, unsigned sub)
{
	uint64_t at = index * CACHE_BLOCK + (uint64_t)sub * CACHE_SUB;

	if (at >= f->size)
		return 0;
	return f->size - at < CACHE_SUB ? (size_t)(f->size - at) : CACHE_SUB;
}

uint64_t disk_sum(const struct cache_file *f, uint64_t index, unsigned sub, const void *bytes)
{
	return sum_of(key_hash(f), index, sub, bytes, sub_length(f, index, sub));
}

bool disk_used_is_old(uint64_t used, uint64_t hits, uint64_t now)
{
	return used + USED_GRAIN_S < now || used > now || !hits;
}

static uint64_t blocks_of(const struct cache_file *f)
{
	return (f->size + CACHE_BLOCK - 1) / CACHE_BLOCK;
}

static bool lock_block(int fd, uint64_t index, short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)(index * CACHE_BLOCK), .l_len = CACHE_BLOCK};

	/* Where a file system has no such locks, a lost race costs a sub-block, not a wrong byte. */
	return fcntl(fd, F_OFD_SETLK, &l) == 0 || (errno != EAGAIN && errno != EACCES);
}

bool disk_lock_block(int data_fd, uint64_t index)
{
	return lock_block(data_fd, index, F_WRLCK);
}

void disk_unlock_block(int data_fd, uint64_t index)
{
	(void)lock_block(data_fd, index, F_UNLCK);
}

/* ---- the files of a content ---- */

int disk_open_kind(const char *base, const char *kind, int flags)
{
	_cleanup_free_ char *path = NULL;
	struct stat st;
	int fd;

	if (str_fmt(&path, "%s.%s", base, kind) < 0)
		return -ENOMEM;
	fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EBADMSG;
	}
	return fd;
}

static void unlink_kind(const char *base, const char *kind)
{
	_cleanup_free_ char *path = NULL;

	if (str_fmt(&path, "%s.%s", base, kind) == 0)
		(void)unlink(path);
}

static bool is_there(const char *base, const char *kind)
{
	_cleanup_free_ char *path = NULL;

	return str_fmt(&path, "%s.%s", base, kind) < 0 || access(path, F_OK) == 0;
}

/* 0: it is the map of this content. -EBADMSG: of another, or of nothing. */
static int check_header(const struct cache_file *f, int fd)
{
	struct map_header h;
	int r = file_pread_all(fd, &h, sizeof(h), 0);

	if (r < 0)
		return r == -ENODATA ? -EBADMSG : r;
	if (memcmp(h.magic, MAP_MAGIC, 8) != 0 || h.format != MAP_FORMAT || h.size != f->size || h.key_len != strlen(f->key) ||
	    h.key_len > KEY_MAX || memcmp(h.key, f->key, h.key_len) != 0)
		return -EBADMSG;
	return 0;
}

static void files_free(struct disk_files *x)
{
	if (!x)
		return;
	if (x->map_fd >= 0)
		close(x->map_fd);
	if (x->data_fd >= 0)
		close(x->data_fd);
	free(x);
}
DEFINE_CLEANUP(struct disk_files *, files_free)

static struct disk_files *files_new(void)
{
	struct disk_files *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	list_init(&x->link);
	x->map_fd = x->data_fd = -1;
	return x;
}

/* The shared lock, and the certainty that it is one of a file that can still be found. */
static int hold(int map_fd)
{
	struct stat st;
	int r = file_lock(map_fd, false, false);

	/* -EWOULDBLOCK: somebody is removing it. Others: no such locks there; the evictor gets none either. */
	if (r == -EWOULDBLOCK)
		return -ENOENT;
	return fstat(map_fd, &st) < 0 ? -errno : st.st_nlink ? 0 : -ENOENT;
}

/* Open what is there. -ENOENT: nothing. */
static int open_existing(const struct cache_file *f, const char *base, struct disk_files **ret)
{
	_cleanup_(files_freep) struct disk_files *x = files_new();
	int flags = O_RDWR, r;

	if (!x)
		return -ENOMEM;
	x->map_fd = disk_open_kind(base, "map", flags);
	if (x->map_fd == -EROFS || x->map_fd == -EACCES) {
		flags = O_RDONLY;
		x->readonly = true;
		x->map_fd = disk_open_kind(base, "map", flags);
	}
	r = x->map_fd < 0 ? x->map_fd : hold(x->map_fd);
	if (r == 0)
		r = check_header(f, x->map_fd);
	if (r == 0) {
		x->data_fd = disk_open_kind(base, "data", flags);
		r = x->data_fd < 0 ? x->data_fd == -ENOENT ? -EBADMSG : x->data_fd : 0;
	}
	if (r == -EBADMSG) {
		log_info("cache: %s.map: not what it should be: removed", base);
		unlink_kind(base, "map");       /* if it cannot go, it is found again and ignored again */
		unlink_kind(base, "data");
		r = -ENOENT;
	}
	if (r == -ENOTDIR || r == -ELOOP)
		r = -ENOENT;
	if (r == 0)
		*ret = TAKE(x);
	return r;
}

/* A map with a header and no sums, under its name unless another mount was quicker. */
static int make_map(const struct cache_file *f, const char *base)
{
	_cleanup_free_ char *path = NULL, *tmp = NULL;
	_cleanup_free_ struct map_header *h = calloc(1, sizeof(*h));
	_cleanup_close_ int fd = -1;
	int r;

	if (!h || str_fmt(&path, "%s.map", base) < 0 || str_fmt(&tmp, "%s.tmp-XXXXXX", base) < 0)
		return -ENOMEM;
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	memcpy(h->magic, MAP_MAGIC, 8);
	h->format = MAP_FORMAT;
	h->key_len = (uint32_t)strlen(f->key);
	h->size = f->size;
	memcpy(h->key, f->key, h->key_len);
	r = file_pwrite_all(fd, h, sizeof(*h), 0);
	/* link, not rename: another mount may have made it in between, and its sums stand. Not every file system has links. */
	if (r == 0 && link(tmp, path) < 0 && errno != EEXIST && rename(tmp, path) < 0)
		r = -errno;
	(void)unlink(tmp);
	return r;
}

static int make_files(const struct cache_file *f, const char *base, struct disk_files **ret)
{
	_cleanup_free_ char *folder = strdup(base);
	_cleanup_(files_freep) struct disk_files *x = files_new();
	int r;

	if (!folder || !x)
		return -ENOMEM;
	*strrchr(folder, '/') = 0;
	r = file_mkdirs(folder, 0700);
	if (r == 0)
		r = make_map(f, base);
	if (r < 0)
		return r;
	x->map_fd = disk_open_kind(base, "map", O_RDWR);
	r = x->map_fd < 0 ? x->map_fd : hold(x->map_fd);
	if (r == 0)
		r = check_header(f, x->map_fd);
	if (r == 0) {
		x->data_fd = disk_open_kind(base, "data", O_RDWR | O_CREAT);
		r = x->data_fd < 0 ? x->data_fd : 0;
	}
	if (r == 0)
		*ret = TAKE(x);
	return r;
}

static bool is_doomed(struct disk *d, const char *base)
{
	bool doomed;

	WITH_LOCK(&d->lock)
		doomed = map_get(d->doomed, base) != NULL;
	return doomed;
}

/* d->removing held. */
static int settle_doomed_locked(struct disk *d, const char *base)
{
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (!is_doomed(d, base))
		return 0;
	/* Other mounts that have it open: without sums there is nothing in it. */
	fd = disk_open_kind(base, "map", O_RDWR);
	if (fd >= 0 && ftruncate(fd, MAP_HEADER) < 0)
		r = -errno;
	unlink_kind(base, "data");
	unlink_kind(base, "map");
	unlink_kind(base, SMALL_KIND);
	if (!is_there(base, "map"))
		r = 0;
	else if (r == 0 && fd < 0)
		r = fd;
	if (r == 0 && is_there(base, SMALL_KIND))
		r = -EROFS;
	if (r == 0)
		WITH_LOCK(&d->lock)
			map_remove(d->doomed, base);
	return r;
}

/* Remove what is doomed under this name, before anybody looks at it. -errno: it cannot be removed; it must not be used. */
static int settle_doomed(struct disk *d, const char *base)
{
	int r = 0;

	/* What is not doomed (any more) needs not wait for others' removals. */
	if (is_doomed(d, base))
		WITH_LOCK(&d->removing)
			r = settle_doomed_locked(d, base);
	return r;
}

/* ---- which are open ---- */

static void close_queued(struct disk *d)
{
	struct list queued;

	list_init(&queued);
	WITH_LOCK(&d->lock)
		while (!list_empty(&d->closing)) {
			struct list *l = d->closing.next;

			list_remove(l);
			list_append(&queued, l);
		}
	while (!list_empty(&queued)) {
		struct disk_files *x = list_first(&queued, struct disk_files, link);

		list_remove(&x->link);
		files_free(x);
	}
}

/* d->lock held. The owner's reference goes; with the last one the files are closed by the next disk thread that passes. */
static void disown_locked(struct disk *d, struct disk_files *x)
{
	if (!x->owner)
		return;
	x->owner->open = NULL;
	x->owner = NULL;
	d->n_open--;
	list_remove(&x->link);
	if (--x->refs == 0)
		list_append(&d->closing, &x->link);
}

static void files_put(struct disk *d, struct disk_files *x)
{
	if (!x)
		return;
	WITH_LOCK(&d->lock)
		if (--x->refs == 0)
			list_append(&d->closing, &x->link);
	close_queued(d);
}

/* On a disk thread; the file must stay meanwhile. -ENOENT: there are none (never with `make`). */
static int files_get(struct disk *d, struct cache_file *f, bool make, struct disk_files **ret)
{
	_cleanup_free_ char *base = NULL;
	_cleanup_(files_freep) struct disk_files *x = NULL;
	struct disk_files *have = NULL;
	int r;

	WITH_LOCK(&d->lock)
		if (f->open) {
			have = f->open;
			have->refs++;
			list_remove(&have->link);
			list_append(&d->open, &have->link);
		}
	if (have) {
		*ret = have;
		return 0;
	}
	r = base_of(d, f, &base);
	if (r == 0)
		r = settle_doomed(d, base);
	if (r == 0)
		r = open_existing(f, base, &x);
	/* Again, if it was being removed at that moment. */
	for (int i = 0; make && r == -ENOENT && i < 3; i++)
		r = make_files(f, base, &x);
	if (r < 0)
		return r;
	WITH_LOCK(&d->lock) {
		if (!f->open) {
			f->open = TAKE(x);
			f->open->owner = f;
			f->open->refs = 1;
			d->n_open++;
		} else {
			list_remove(&f->open->link);    /* another thread was quicker */
		}
		list_append(&d->open, &f->open->link);
		f->open->refs++;
		*ret = f->open;
		while (d->n_open > OPEN_MAX)
			disown_locked(d, list_first(&d->open, struct disk_files, link));
	}
	close_queued(d);
	return 0;
}

void disk_file_done(struct cache_file *f)
{
	struct disk *d = f->cache->disk;

	free(f->on_disk);
	if (d)
		WITH_LOCK(&d->lock)
			if (f->open)
				disown_locked(d, f->open);
}

/* ---- small contents ---- */

/* -ENOENT: there is none. -errno else: what is there must not be used. */
static int small_base(struct disk *d, const struct cache_file *f, char **ret)
{
	int r = base_of(d, f, ret);

	return r < 0 ? r : settle_doomed(d, *ret);
}

static int look_small(struct disk *d, const struct cache_file *f)
{
	_cleanup_free_ char *base = NULL;
	int r = small_base(d, f, &base);

	if (r == 0)
		r = small_look(f, base);
	if (r == -EBADMSG) {
		log_info("cache: %s." SMALL_KIND ": not what it should be: removed", base);
		unlink_kind(base, SMALL_KIND);
		r = -ENOENT;
	}
	return r;
}

static int load_small(struct disk *d, const struct cache_file *f, struct block *b)
{
	_cleanup_free_ char *base = NULL;
	int r = small_base(d, f, &base);

	if (r == 0)
		r = small_load(f, base, b->data);
	/* It is damage unless somebody evicted it meanwhile. */
	if (r == -EBADMSG && is_there(base, SMALL_KIND))
		atomic_fetch_add(&d->bad, 1);
	return r;
}

/* ---- looking ---- */

static void look_at_map(const struct cache_file *f, int fd, uint32_t *on_disk)
{
	struct map_entry e[ENTRIES];
	uint64_t n = blocks_of(f), i = 0;

	while (i < n) {
		ssize_t got = pread(fd, e, sizeof(e), entry_at(i));
		size_t whole = got < 0 ? 0 : (size_t)got / sizeof(e[0]);

		if (!whole)
			return;
		for (size_t k = 0; k < whole && i < n; k++, i++)
			for (unsigned s = 0; s < SUBS; s++)
				if (e[k].sum[s])
					on_disk[i] |= 1u << s;
	}
}

static void look_run(void *arg)
{
	struct cache_file *f = arg;
	struct disk *d = f->cache->disk;
	uint32_t *on_disk = calloc(blocks_of(f), sizeof(*on_disk));
	struct disk_files *x = NULL;
	int r = resting(d, &d->reading) ? -EAGAIN : small_is(f) ? look_small(d, f) : -ENOENT;

	if (r == 0 && on_disk)
		on_disk[0] = 1;
	if (r == -ENOENT) {
		r = files_get(d, f, false, &x);
		if (r == 0 && on_disk)
			look_at_map(f, x->map_fd, on_disk);
	}
	if (r == 0) {
		fine(&d->reading);
	} else if (r != -ENOENT && r != -EAGAIN) {
		fault(d, &d->reading, r);
	}
	files_put(d, x);
	table_looked(f, on_disk);
}

void disk_look(struct cache_file *f)
{
	struct disk *d = f->cache->disk;

	if (f->size > FILE_MAX || strlen(f->key) > KEY_MAX || !f->size)
		return;
	cache_file_ref_locked(f);
	f->disk = DISK_LOOKING;
	if (pool_add(d->reader, look_run, f) < 0) {
		f->disk = DISK_NONE;
		cache_file_unref_locked(f);
	}
}

/* ---- reading ---- */

/* Sub-blocks first .. end-1 into the block. */
static int read_run(const struct disk_files *x, const struct block *b, unsigned first, unsigned end)
{
	size_t n = 0;

	for (unsigned k = first; k < end; k++)
		n += sub_length(b->file, b->index, k);
	return file_pread_all(x->data_fd, b->data + (size_t)first * CACHE_SUB, n,
	                      (off_t)(b->index * CACHE_BLOCK + (uint64_t)first * CACHE_SUB));
}

/* Which of `bits` have right bytes on disk, read into the block. */
static uint32_t load_from(struct disk *d, struct disk_files *x, struct block *b, uint32_t bits)
{
	const struct cache_file *f = b->file;
	uint64_t key = key_hash(f), now = (uint64_t)clock_wall().tv_sec;
	struct map_entry e, again;
	uint32_t good = 0, wrong = 0;
	int err = 0, r = file_pread_all(x->map_fd, &e, sizeof(e), entry_at(b->index));

	if (r < 0) {
		if (r != -ENODATA)
			fault(d, &d->reading, r);
		return 0;
	}
	for (unsigned s = 0; s < SUBS; ) {
		unsigned end = s;

		while (end < SUBS && bits & 1u << end && e.sum[end])
			end++;
		if (end == s) {
			s++;
			continue;
		}
		r = read_run(x, b, s, end);
		for (unsigned k = s; k < end; k++) {
			/* One bad place does not cost the others. */
			int one = r < 0 && end - s > 1 ? read_run(x, b, k, k + 1) : r;

			if (one == 0 && sum_of(key, b->index, k, b->data + (size_t)k * CACHE_SUB, sub_length(f, b->index, k)) == e.sum[k])
				good |= 1u << k;
			else if (one == 0 || one == -ENODATA)
				wrong |= 1u << k;
			else
				err = one;
		}
		s = end;
	}
	if (err < 0)
		fault(d, &d->reading, err);
	/* It is damage unless somebody wrote or evicted it meanwhile. */
	if (wrong && file_pread_all(x->map_fd, &again, sizeof(again), entry_at(b->index)) == 0)
		for (unsigned k = 0; k < SUBS; k++)
			if (wrong & 1u << k && again.sum[k] == e.sum[k])
				atomic_fetch_add(&d->bad, 1);
	if (good && !x->readonly && disk_used_is_old(e.used, e.hits, now)) {
		uint64_t used[2] = {now, e.hits + 1};

		/* Only for the evictor's order; if it fails the block looks older. */
		(void)file_pwrite_all(x->map_fd, used, sizeof(used), entry_at(b->index) + (off_t)offsetof(struct map_entry, used));
	}
	if (good && err == 0)
		fine(&d->reading);
	return good;
}

static uint32_t load(struct disk *d, struct cache_file *f, struct block *b, uint32_t bits)
{
	struct disk_files *x = NULL;
	uint32_t good = 0;
	int r = resting(d, &d->reading) ? -EAGAIN : small_is(f) ? load_small(d, f, b) : -ENOENT;

	if (r == 0) {
		good = bits;
		fine(&d->reading);
	} else if (r == -ENOENT) {
		r = files_get(d, f, false, &x);
		if (r == 0)
			good = load_from(d, x, b, bits);
	}
	if (r < 0 && r != -ENOENT && r != -EAGAIN && r != -EBADMSG)
		fault(d, &d->reading, r);
	files_put(d, x);
	if (good)
		atomic_fetch_add(&d->hits, 1);
	return good;
}

static void load_run(void *arg)
{
	struct job *j = arg;

	table_loaded(j->block, j->bits, load(j->file->cache->disk, j->file, j->block, j->bits));
	free(j);
}

bool disk_load(struct block *b, uint32_t bits)
{
	struct disk *d = b->file->cache->disk;
	struct job *j = malloc(sizeof(*j));

	if (!j)
		return false;
	*j = (struct job){.file = b->file, .block = b, .bits = bits};
	if (pool_add(d->reader, load_run, j) < 0) {
		free(j);
		return false;
	}
	return true;
}

/* ---- writing ---- */

/* What a save may add to the disk: whole units of the file system, its part of the map, and a new content's files. */
static uint64_t cost(const struct disk *d, const struct block *b, uint32_t bits)
{
	uint64_t n = 3 * d->grain + MAP_HEADER;

	for (unsigned s = 0; s < SUBS; s++)
		if (bits & 1u << s)
			n += (sub_length(b->file, b->index, s) + d->grain - 1) / d->grain * d->grain;
	return n;
}

static int save_to(const struct disk_files *x, struct block *b, uint32_t bits)
{
	uint64_t key = key_hash(b->file);
	struct map_entry e;
	int r = file_pread_all(x->map_fd, &e, sizeof(e), entry_at(b->index));

	if (r == -ENODATA) {
		memset(&e, 0, sizeof(e));
		r = 0;
	}
	for (unsigned s = 0; r == 0 && s < SUBS; ) {
		unsigned end = s;
		size_t n = 0;

		while (end < SUBS && bits & 1u << end)
			n += sub_length(b->file, b->index, end++);
		if (end == s) {
			s++;
			continue;
		}
		r = file_pwrite_all(x->data_fd, b->data + (size_t)s * CACHE_SUB, n,
		                    (off_t)(b->index * CACHE_BLOCK + (uint64_t)s * CACHE_SUB));
		for (unsigned k = s; k < end; k++)
			e.sum[k] = sum_of(key, b->index, k, b->data + (size_t)k * CACHE_SUB, sub_length(b->file, b->index, k));
		s = end;
	}
	e.used = (uint64_t)clock_wall().tv_sec;
	return r < 0 ? r : file_pwrite_all(x->map_fd, &e, sizeof(e), entry_at(b->index));
}

/* Can the files still be found? Otherwise what is written to them is lost, and takes space that nobody counts. */
static bool findable(const struct disk_files *x)
{
	struct stat map, data;

	return fstat(x->map_fd, &map) == 0 && fstat(x->data_fd, &data) == 0 && map.st_nlink && data.st_nlink;
}

static int get_to_write(struct disk *d, struct cache_file *f, struct disk_files **ret)
{
	int r = files_get(d, f, true, ret);

	if (r < 0 || findable(*ret))
		return r;
	WITH_LOCK(&d->lock)
		disown_locked(d, *ret);
	files_put(d, *ret);
	*ret = NULL;
	return files_get(d, f, true, ret);
}

static int save(struct disk *d, struct cache_file *f, struct block *b, uint32_t bits)
{
	struct disk_files *x = NULL;
	uint64_t want = cost(d, b, bits);
	int r;

	if (resting(d, &d->writing) || !table_worth_saving(b))
		return -EROFS;
	if (!usage_reserve(d->usage, want))
		return -EDQUOT;
	r = get_to_write(d, f, &x);
	if (r == 0 && (x->readonly || !table_worth_saving(b) || !disk_lock_block(x->data_fd, b->index))) {
		r = -EROFS;     /* or forgotten meanwhile, or another mount is writing it */
	} else if (r == 0) {
		r = save_to(x, b, bits);
		disk_unlock_block(x->data_fd, b->index);
		if (r == 0)
			fine(&d->writing);
	}
	if (r < 0 && r != -EROFS)
		fault(d, &d->writing, r);
	files_put(d, x);
	usage_settle(d->usage, want);
	return r;
}

static void saved(struct disk *d, struct job *j, bool well)
{
	atomic_fetch_sub(&d->saving, j->pinned);
	table_saved(j->block, j->bits, well);
	free(j);
}

/* Those of the small contents that were not forgotten. */
static size_t worth_saving(struct disk *d, struct small_item items[], char *bases[])
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_small; i++) {
		struct job *j = d->small[i];

		if (table_worth_saving(j->block) && base_of(d, j->file, &bases[n]) == 0) {
			items[n] = (struct small_item){j->file, bases[n], j->block->data};
			d->small[i] = d->small[n];
			d->small[n++] = j;
		}
	}
	return n;
}

/* Names for the first n of d->small; how many of them have one then. */
static int name_small(struct disk *d, const struct small_item items[], size_t n, const char *tmp, size_t *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		/* What is forgotten from here on is doomed, and waits to be removed until it has its name. */
		WITH_LOCK(&d->removing) {
			r = settle_doomed_locked(d, items[i].base);
			if (r == 0 && table_worth_saving(d->small[i]->block))
				r = small_name(tmp, items[i].base);
		}
		if (r >= 0)
			*ret = i + 1;
		if (r > 0)
			d->no_links = true;
	}
	return r < 0 ? r : 0;
}

/* What was gathered. */
static void save_small(struct disk *d)
{
	struct small_item items[SMALL_BATCH];
	char *bases[SMALL_BATCH] = {0};
	_cleanup_free_ char *tmp = NULL;
	size_t all = d->n_small, n = resting(d, &d->writing) ? 0 : worth_saving(d, items, bases), named = 0;
	uint64_t want = n ? (small_length(items, n) + 2 * d->grain - 1) / d->grain * d->grain : 0;
	bool reserved = n && usage_reserve(d->usage, want);
	int r = reserved ? small_write(items, n, &tmp) : 0;

	if (reserved && r == 0)
		r = name_small(d, items, n, tmp, &named);
	if (tmp)
		(void)unlink(tmp);
	if (r < 0)
		fault(d, &d->writing, r);
	else if (named)
		fine(&d->writing);
	if (reserved)
		usage_settle(d->usage, want);
	d->n_small = 0;
	for (size_t i = 0; i < n; i++)
		free(bases[i]);
	for (size_t i = 0; i < all; i++)
		saved(d, d->small[i], i < named);
}

/* On the writer, after each of its jobs: small contents are gathered while more waits behind them. */
static void save_gathered(struct disk *d)
{
	if (d->n_small == SMALL_BATCH || (d->n_small && (d->no_links || !pool_waiting(d->writer))))
		save_small(d);
}

static void save_run(void *arg)
{
	struct job *j = arg;
	struct disk *d = j->file->cache->disk;

	if (small_is(j->file))
		d->small[d->n_small++] = j;
	else
		saved(d, j, save(d, j->file, j->block, j->bits) == 0);
	save_gathered(d);
}

int disk_save(struct block *b, uint32_t bits)
{
	struct disk *d = b->file->cache->disk;
	uint64_t pinned = (uint64_t)__builtin_popcount(b->present) * CACHE_SUB, waiting = atomic_load(&d->saving);
	struct job *j;

	if (!d->usage || b->file->disk != DISK_READY || resting(d, &d->writing))
		return -1;
	if (waiting && waiting + pinned > d->saving_max)
		return 0;
	j = malloc(sizeof(*j));
	if (!j)
		return -1;
	*j = (struct job){b->file, b, bits, pinned};
	atomic_fetch_add(&d->saving, pinned);
	if (pool_add(d->writer, save_run, j) < 0) {
		atomic_fetch_sub(&d->saving, pinned);
		free(j);
		return -1;
	}
	return 1;
}

/* ---- forgetting ---- */

struct forget {
	struct disk *disk;
	char *base;
};

static void forget_run(void *arg)
{
	struct forget *x = arg;

	(void)settle_doomed(x->disk, x->base);  /* if it fails, the name stays doomed */
	save_gathered(x->disk);
	free(x->base);
	free(x);
}

void disk_forget(struct cache_file *f)
{
	struct disk *d = f->cache->disk;
	struct forget *x;
	bool noted = false;

	if (f->disk == DISK_NONE)
		return;
	if (f->disk == DISK_READY) {
		free(f->on_disk);
		f->on_disk = NULL;
		f->disk = DISK_NONE;
	}
	x = calloc(1, sizeof(*x));
	if (x && base_of(d, f, &x->base) == 0)
		WITH_LOCK(&d->lock) {
			noted = map_count(d->doomed) < DOOMED_MAX && map_set(d->doomed, x->base, d) == 0;
			if (f->open)
				disown_locked(d, f->open);
		}
	if (!noted) {
		/* Nobody would know that these bytes are wrong. */
		log_warn("cache: %s: not used any more: what is wrong in it cannot be removed", d->dir);
		atomic_store(&d->closed, true);
	}
	if (noted) {
		x->disk = d;
		if (pool_add(d->writer, forget_run, x) == 0)
			return;         /* otherwise it is removed when it is looked at again */
	}
	if (x)
		free(x->base);
	free(x);
}

/* ---- life ---- */

int disk_new(struct cache *c, struct disk **ret)
{
	struct disk *d = calloc(1, sizeof(*d));
	struct statvfs st;
	int r;

	if (!d)
		return -ENOMEM;
	d->cache = c;
	d->limit = c->config.disk;
	d->saving_max = c->config.memory / 8 > CACHE_BLOCK ? c->config.memory / 8 : CACHE_BLOCK;
	d->reading.doing = "reading";
	d->writing.doing = "writing";
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->removing, NULL);
	list_init(&d->open);
	list_init(&d->closing);
	d->doomed = map_new();
	r = d->doomed ? str_fmt(&d->dir, "%s/blocks", c->config.dir) : -ENOMEM;
	if (r == 0)
		r = file_mkdirs(d->dir, 0700);
	if (r == 0) {
		d->grain = statvfs(d->dir, &st) == 0 && st.f_frsize > 4096 ? st.f_frsize : 4096;
		if (d->grain > GRAIN_MAX)
			d->grain = GRAIN_MAX;
		r = usage_new(d->dir, d->limit, c->config.disk_free_min, &d->usage);
		if (r == -EROFS || r == -EACCES || r == -ENOSPC || r == -EDQUOT) {
			log_warn("cache: %s: %s: what is there is read, nothing is added", d->dir, strerror(-r));
			r = 0;
		}
	}
	if (r == 0)
		r = pool_new("scifs-disk-r", READERS, JOBS_MAX, &d->reader);
	if (r == 0)
		r = pool_new("scifs-disk-w", 1, JOBS_MAX, &d->writer);
	if (r < 0) {
		disk_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void disk_drain(struct disk *d)
{
	if (d->usage)
		usage_stop(d->usage);
	pool_free(d->reader);
	pool_free(d->writer);
	d->reader = d->writer = NULL;
}

void disk_free(struct disk *d)
{
	if (!d)
		return;
	disk_drain(d);
	close_queued(d);
	usage_free(d->usage);
	map_free(d->doomed);
	pthread_mutex_destroy(&d->removing);
	pthread_mutex_destroy(&d->lock);
	free(d->dir);
	free(d);
}

void disk_get_stats(struct disk *d, struct cache_stats *ret)
{
	ret->disk_limit = d->limit;
	ret->disk_used = d->usage ? usage_bytes(d->usage) : 0;
	ret->disk_hits = atomic_load(&d->hits);
	ret->disk_bad = atomic_load(&d->bad);
	ret->disk_errors = atomic_load(&d->errors);
	ret->evicted_disk = d->usage ? usage_evicted(d->usage) : 0;
	ret->disk_ok = !resting(d, &d->reading) && !resting(d, &d->writing);
}
