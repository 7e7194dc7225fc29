/* disk.c - blocks on disk: a sparse data file and a map file for each version of a content, and the threads that use them.
 *
 *   DIR/blocks/HH/HASH.data   block i at i * 1 MiB, sparse
 *   DIR/blocks/HH/HASH.map    0      "scifsmap" | u32 format = 1 | u32 key length | u64 size of the content | key ...
 *                             4096   block 0: u64 sum[32] | u64 last use (s) | u64 times read again
 *                             4368   block 1 ...
 *   DIR/blocks/usage          u64 bytes reserved, of all mounts; changed under an exclusive lock of this file
 *   DIR/blocks/alive          shared lock while a mount lives; who gets it alone counts `usage` anew
 *
 * A sum is xxh3 of the sub-block's bytes mixed with the key and its place, 0 for absent. Nothing is ever fsynced: after a
 * crash a sum does not fit its bytes and the sub-block counts as absent. Several processes share the files by pread and
 * pwrite alone (a mapping would turn a failing disk into SIGBUS). Who has a content open holds a shared lock of its map file;
 * the evictor punches blocks out of files that are in use and removes those that are not.
 *
 * Threads: one reads, one writes, so that a slow write delays no reader. A disk that fails a few times is left alone for a
 * while; reads then go on from memory and network.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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

#define MAP_MAGIC "scifsmap"
#define MAP_FORMAT 1
#define MAP_HEADER 4096
#define KEY_MAX (MAP_HEADER - 24)
#define FILE_MAX (1ull << 40)           /* a longer content is kept in memory only */
#define JOBS_MAX 8192                   /* jobs waiting for a disk thread */
#define FAULTS_MAX 3                    /* errors in a row until the disk is left alone */
#define REST_MS 60000                   /* for so long */
#define USED_GRAIN_S 60                 /* a last use is written again after so long */
#define EVICT_TO_PERCENT 90

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

struct disk {
	struct cache *cache;
	char *dir;                      /* DIR/blocks */
	struct thread_pool *reader, *writer;
	int usage_fd, alive_fd;
	uint64_t limit, free_min;
	_Atomic unsigned faults;
	_Atomic uint64_t rest_until;
	_Atomic uint64_t used;          /* as last seen */
	_Atomic uint64_t bad, errors, hits, evicted;
	_Atomic unsigned saving;        /* blocks pinned by saves that wait */
	unsigned saving_max;
	bool readonly;
};

struct job {
	struct cache_file *file;
	struct block *block;
	uint32_t bits;
};

/* ---- health ---- */

static void fault(struct disk *d, int err, const char *doing)
{
	atomic_fetch_add(&d->errors, 1);
	if (atomic_fetch_add(&d->faults, 1) + 1 < FAULTS_MAX)
		return;
	atomic_store(&d->faults, 0);
	atomic_store(&d->rest_until, clock_mono_ms() + REST_MS);
	log_warn("cache: %s: %s: %s; the disk is left alone for a while", d->dir, doing, strerror(-err));
}

static void fine(struct disk *d)
{
	atomic_store(&d->faults, 0);
}

static bool resting(struct disk *d)
{
	return atomic_load(&d->rest_until) > clock_mono_ms();
}

/* ---- files ---- */

static uint64_t key_hash(const struct cache_file *f)
{
	return digest_xxh3_64(f->key, strlen(f->key));
}

static int path_of(struct disk *d, const struct cache_file *f, const char *kind, char **ret)
{
	char size[24];
	uint64_t a = key_hash(f), b;

	snprintf(size, sizeof(size), "%llu", (unsigned long long)f->size);
	b = digest_hash64((const char *const[]){f->key, size, NULL});
	return str_fmt(ret, "%s/%02x/%016llx%016llx.%s", d->dir, (unsigned)(a & 255), (unsigned long long)a,
	               (unsigned long long)b, kind);
}

static uint64_t sum_of(uint64_t key, uint64_t index, unsigned sub, const void *p, size_t n)
{
	uint64_t h = digest_xxh3_64(p, n) ^ (key + (index * SUBS + sub) * 0x9e3779b97f4a7c15ull);

	return h ? h : 1;
}

static size_t sub_length(const struct cache_file *f, uint64_t index, unsigned sub)
{
	uint64_t at = index * CACHE_BLOCK + (uint64_t)sub * CACHE_SUB;

	return f->size - at < CACHE_SUB ? (size_t)(f->size - at) : CACHE_SUB;
}

static off_t entry_at(uint64_t index)
{
	return MAP_HEADER + (off_t)(index * sizeof(struct map_entry));
}

static uint64_t blocks_of(const struct cache_file *f)
{
	return (f->size + CACHE_BLOCK - 1) / CACHE_BLOCK;
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

static int open_data(struct disk *d, struct cache_file *f, int flags)
{
	_cleanup_free_ char *path = NULL;
	int r = path_of(d, f, "data", &path);

	if (r < 0)
		return r;
	f->data_fd = open(path, flags | O_CLOEXEC, 0600);
	return f->data_fd < 0 ? -errno : 0;
}

static void close_files(struct cache_file *f)
{
	if (f->map_fd >= 0)
		close(f->map_fd);
	if (f->data_fd >= 0)
		close(f->data_fd);
	f->map_fd = f->data_fd = -1;
}

/* Open what is there. -ENOENT: nothing. */
static int open_existing(struct disk *d, struct cache_file *f)
{
	_cleanup_free_ char *path = NULL;
	int r = path_of(d, f, "map", &path), flags = O_RDWR;

	if (r < 0)
		return r;
	f->map_fd = open(path, flags | O_CLOEXEC);
	if (f->map_fd < 0 && (errno == EROFS || errno == EACCES)) {
		flags = O_RDONLY;
		f->disk_readonly = true;
		f->map_fd = open(path, flags | O_CLOEXEC);
	}
	if (f->map_fd < 0)
		return -errno;
	(void)file_lock(f->map_fd, false, false);       /* it only keeps the evictor from removing the file */
	r = check_header(f, f->map_fd);
	if (r == 0)
		r = open_data(d, f, flags);
	if (r < 0) {
		close_files(f);
		if (r == -EBADMSG || r == -ENOENT) {
			log_info("cache: %s: not what it should be: removed", path);
			(void)unlink(path);     /* if it cannot go, it is found again and ignored again */
			r = -ENOENT;
		}
	}
	return r;
}

static int make_files(struct disk *d, struct cache_file *f)
{
	_cleanup_free_ char *path = NULL, *tmp = NULL;
	_cleanup_free_ struct map_header *h = calloc(1, sizeof(*h));
	char *slash;
	int fd, r;

	if (!h)
		return -ENOMEM;
	r = path_of(d, f, "map", &path);
	if (r < 0)
		return r;
	slash = strrchr(path, '/');
	*slash = 0;
	r = file_mkdirs(path, 0700);
	*slash = '/';
	if (r < 0)
		return r;
	if (str_fmt(&tmp, "%s.tmp-XXXXXX", path) < 0)
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
	/* link, not rename: another mount may have made it in between, and its sums stand. */
	if (r == 0 && link(tmp, path) < 0 && errno != EEXIST)
		r = -errno;
	(void)unlink(tmp);
	close(fd);
	if (r < 0)
		return r;
	f->map_fd = open(path, O_RDWR | O_CLOEXEC);
	if (f->map_fd < 0)
		return -errno;
	(void)file_lock(f->map_fd, false, false);
	r = check_header(f, f->map_fd);
	if (r == 0)
		r = open_data(d, f, O_RDWR | O_CREAT);
	if (r < 0)
		close_files(f);
	return r;
}

/* ---- the limit, shared by all mounts ---- */

static uint64_t file_bytes(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

struct found {
	char *base;             /* path without .map */
	int map_fd;
	uint64_t blocks, gone;
};

struct finds {
	VEC(struct found) files;
	VEC(struct evict_block) blocks;
	uint64_t bytes;
};

static void finds_done(struct finds *x)
{
	for (size_t i = 0; i < x->files.n; i++) {
		close(x->files.at[i].map_fd);
		free(x->files.at[i].base);
	}
	vec_done(&x->files);
	vec_done(&x->blocks);
}

#define FINDS_MAX 512           /* map files that are held open at once while evicting */

static void find_blocks(struct finds *x, size_t file, int fd)
{
	struct map_entry e;

	for (uint64_t i = 0; file_pread_all(fd, &e, sizeof(e), entry_at(i)) == 0; i++) {
		uint64_t bytes = 0;

		for (unsigned s = 0; s < SUBS; s++)
			bytes += e.sum[s] ? CACHE_SUB : 0;
		if (bytes && vec_push(&x->blocks, (struct evict_block){file, i, e.used, e.hits, bytes}) == 0)
			x->files.at[file].blocks++;
	}
}

/* Go through DIR/blocks/HH: count bytes, and for the evictor the blocks of up to FINDS_MAX contents. Leftovers of a crash
 * (data without a map) are removed. */
static void scan(struct disk *d, struct finds *x, bool blocks)
{
	for (unsigned h = 0; h < 256; h++) {
		_cleanup_free_ char *dir = NULL;
		struct dirent *e;
		DIR *list;

		if (str_fmt(&dir, "%s/%02x", d->dir, h) < 0 || !(list = opendir(dir)))
			continue;
		while ((e = readdir(list))) {
			_cleanup_free_ char *path = NULL, *other = NULL;
			struct found f = {0};
			struct stat st;

			if (e->d_name[0] == '.' || str_fmt(&path, "%s/%s", dir, e->d_name) < 0)
				continue;
			if (str_ends(path, ".data")) {
				x->bytes += file_bytes(path);
				if (str_fmt(&other, "%.*s.map", (int)strlen(path) - 5, path) == 0 && access(other, F_OK) < 0)
					(void)unlink(path);
				continue;
			}
			if (!str_ends(path, ".map")) {
				if (strstr(e->d_name, ".tmp-") && stat(path, &st) == 0 && st.st_mtime + 3600 < clock_wall().tv_sec)
					(void)unlink(path);
				continue;
			}
			x->bytes += file_bytes(path);
			if (!blocks || x->files.n >= FINDS_MAX)
				continue;
			f.map_fd = open(path, O_RDWR | O_CLOEXEC);
			f.base = strndup(path, strlen(path) - 4);
			if (f.map_fd < 0 || !f.base || vec_push(&x->files, f) < 0) {
				if (f.map_fd >= 0)
					close(f.map_fd);
				free(f.base);
				continue;
			}
			find_blocks(x, x->files.n - 1, f.map_fd);
		}
		closedir(list);
	}
}

static void punch(const struct found *f, uint64_t index)
{
	static const struct map_entry none;
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;

	/* The sums first: what has no sum is not there, whatever its bytes. */
	if (file_pwrite_all(f->map_fd, &none, sizeof(none), entry_at(index)) < 0 || str_fmt(&path, "%s.data", f->base) < 0)
		return;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(index * CACHE_BLOCK), CACHE_BLOCK);
}

static void remove_if_unused(const struct found *f)
{
	_cleanup_free_ char *map = NULL, *data = NULL;

	if (file_lock(f->map_fd, true, false) < 0)
		return;
	if (str_fmt(&map, "%s.map", f->base) == 0 && str_fmt(&data, "%s.data", f->base) == 0) {
		(void)unlink(data);
		(void)unlink(map);
	}
}

static uint64_t room_on_disk(struct disk *d)
{
	struct statvfs st;

	if (fstatvfs(d->usage_fd, &st) < 0)
		return 0;
	return (uint64_t)st.f_bavail * st.f_frsize;
}

/* Usage's lock is held. Returns the bytes that are used afterwards. */
static uint64_t evict(struct disk *d, uint64_t want)
{
	struct finds x = {0};
	uint64_t target, gone = 0;

	scan(d, &x, true);
	target = d->limit / 100 * EVICT_TO_PERCENT;
	target = target > want ? target - want : 0;
	evict_order(x.blocks.at, x.blocks.n, (uint64_t)clock_wall().tv_sec);
	for (size_t i = 0; i < x.blocks.n; i++) {
		struct evict_block *b = &x.blocks.at[i];
		struct found *f = &x.files.at[b->file];

		if (x.bytes - gone <= target && room_on_disk(d) >= d->free_min + want)
			break;
		punch(f, b->index);
		gone += b->bytes;
		atomic_fetch_add(&d->evicted, 1);
		if (++f->gone == f->blocks)
			remove_if_unused(f);
	}
	finds_done(&x);
	return x.bytes > gone ? x.bytes - gone : 0;
}

/* Before a write: does it fit? Makes room if it must. */
static bool reserve(struct disk *d, uint64_t want)
{
	uint64_t used = 0;
	bool fits;

	if (file_lock(d->usage_fd, true, true) < 0)
		return false;
	if (file_pread_all(d->usage_fd, &used, sizeof(used), 0) < 0)
		used = 0;
	if (used + want > d->limit || room_on_disk(d) < d->free_min + want)
		used = evict(d, want);
	fits = used + want <= d->limit && room_on_disk(d) >= d->free_min + want;
	if (fits)
		used += want;
	if (file_pwrite_all(d->usage_fd, &used, sizeof(used), 0) < 0)
		fits = false;
	(void)flock(d->usage_fd, LOCK_UN);
	atomic_store(&d->used, used);
	return fits;
}

/* Alone in this folder: the count of a mount that was killed may be wrong. */
static void count_run(void *arg)
{
	struct disk *d = arg;
	struct finds x = {0};

	if (file_lock(d->alive_fd, true, false) == 0 && file_lock(d->usage_fd, true, true) == 0) {
		scan(d, &x, false);
		if (file_pwrite_all(d->usage_fd, &x.bytes, sizeof(x.bytes), 0) == 0)
			atomic_store(&d->used, x.bytes);
		(void)flock(d->usage_fd, LOCK_UN);
		finds_done(&x);
	}
	(void)file_lock(d->alive_fd, false, false);
}

/* ---- jobs ---- */

static void look_run(void *arg)
{
	struct cache_file *f = arg;
	struct disk *d = f->cache->disk;
	struct map_entry e;
	int r = resting(d) ? -EAGAIN : open_existing(d, f);

	if (r == 0) {
		uint64_t n = blocks_of(f);

		for (uint64_t i = 0; i < n && file_pread_all(f->map_fd, &e, sizeof(e), entry_at(i)) == 0; i++)
			for (unsigned s = 0; s < SUBS; s++)
				if (e.sum[s])
					f->on_disk[i] |= 1u << s;
		fine(d);
	} else if (r != -ENOENT && r != -EAGAIN) {
		fault(d, r, "opening");
	}
	table_looked(f);
}

void disk_look(struct cache_file *f)
{
	struct disk *d = f->cache->disk;

	f->map_fd = f->data_fd = -1;
	if (!d || f->size > FILE_MAX || strlen(f->key) > KEY_MAX || !f->size)
		return;
	f->on_disk = calloc(blocks_of(f), sizeof(*f->on_disk));
	if (!f->on_disk)
		return;
	cache_file_ref_locked(f);
	f->disk = DISK_LOOKING;
	if (pool_add(d->reader, look_run, f) < 0) {
		f->disk = DISK_NONE;
		cache_file_unref_locked(f);
	}
}

/* Which of `bits` have right bytes on disk, read into the block. */
static uint32_t load(struct disk *d, struct cache_file *f, struct block *b, uint32_t bits)
{
	uint64_t key = key_hash(f), now = (uint64_t)clock_wall().tv_sec;
	struct map_entry e;
	uint32_t good = 0;
	int r;

	if (f->map_fd < 0 || resting(d))
		return 0;
	r = file_pread_all(f->map_fd, &e, sizeof(e), entry_at(b->index));
	if (r < 0) {
		if (r != -ENODATA)
			fault(d, r, "reading");
		return 0;
	}
	for (unsigned s = 0; s < SUBS; ) {
		unsigned end = s;
		size_t n = 0;

		while (end < SUBS && bits & 1u << end && e.sum[end])
			n += sub_length(f, b->index, end++);
		if (end == s) {
			s++;
			continue;
		}
		r = file_pread_all(f->data_fd, b->data + (size_t)s * CACHE_SUB, n,
		                   (off_t)(b->index * CACHE_BLOCK + (uint64_t)s * CACHE_SUB));
		if (r < 0 && r != -ENODATA)
			fault(d, r, "reading");
		for (unsigned k = s; k < end; k++) {
			if (r == 0 && sum_of(key, b->index, k, b->data + (size_t)k * CACHE_SUB, sub_length(f, b->index, k)) == e.sum[k])
				good |= 1u << k;
			else if (r == 0)
				atomic_fetch_add(&d->bad, 1);
		}
		s = end;
	}
	if (good && !f->disk_readonly && (e.used + USED_GRAIN_S < now || !e.hits)) {
		uint64_t used[2] = {now, e.hits + 1};

		/* Only for the evictor's order; if it fails the block looks older. */
		(void)file_pwrite_all(f->map_fd, used, sizeof(used), entry_at(b->index) + (off_t)offsetof(struct map_entry, used));
	}
	if (good)
		fine(d);
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
	*j = (struct job){b->file, b, bits};
	if (pool_add(d->reader, load_run, j) < 0) {
		free(j);
		return false;
	}
	return true;
}

static int save(struct disk *d, struct cache_file *f, struct block *b, uint32_t bits)
{
	uint64_t key = key_hash(f);
	struct map_entry e = {0};
	int r = 0;

	if (resting(d) || f->disk_readonly || f->forgotten)
		return -EROFS;
	if (!reserve(d, (uint64_t)__builtin_popcount(bits) * CACHE_SUB))
		return -EDQUOT;
	if (f->map_fd < 0)
		r = make_files(d, f);
	if (r == 0) {
		r = file_pread_all(f->map_fd, &e, sizeof(e), entry_at(b->index));
		if (r == -ENODATA) {
			memset(&e, 0, sizeof(e));
			r = 0;
		}
	}
	for (unsigned s = 0; r == 0 && s < SUBS; ) {
		unsigned end = s;
		size_t n = 0;

		while (end < SUBS && bits & 1u << end)
			n += sub_length(f, b->index, end++);
		if (end == s) {
			s++;
			continue;
		}
		r = file_pwrite_all(f->data_fd, b->data + (size_t)s * CACHE_SUB, n,
		                    (off_t)(b->index * CACHE_BLOCK + (uint64_t)s * CACHE_SUB));
		for (unsigned k = s; k < end; k++)
			e.sum[k] = sum_of(key, b->index, k, b->data + (size_t)k * CACHE_SUB, sub_length(f, b->index, k));
		s = end;
	}
	e.used = (uint64_t)clock_wall().tv_sec;
	if (r == 0)
		r = file_pwrite_all(f->map_fd, &e, sizeof(e), entry_at(b->index));
	if (r < 0)
		fault(d, r, "writing");
	else
		fine(d);
	return r;
}

static void save_run(void *arg)
{
	struct job *j = arg;
	struct disk *d = j->file->cache->disk;
	int r = save(d, j->file, j->block, j->bits);

	atomic_fetch_sub(&d->saving, 1);
	table_saved(j->block, j->bits, r == 0);
	free(j);
}

bool disk_save(struct block *b, uint32_t bits)
{
	struct disk *d = b->file->cache->disk;
	struct job *j;

	if (d->readonly || b->file->disk != DISK_READY || atomic_load(&d->saving) >= d->saving_max)
		return false;
	j = malloc(sizeof(*j));
	if (!j)
		return false;
	*j = (struct job){b->file, b, bits};
	atomic_fetch_add(&d->saving, 1);
	if (pool_add(d->writer, save_run, j) < 0) {
		atomic_fetch_sub(&d->saving, 1);
		free(j);
		return false;
	}
	return true;
}

static void forget_run(void *arg)
{
	struct cache_file *f = arg;
	struct disk *d = f->cache->disk;
	_cleanup_free_ char *map = NULL, *data = NULL;

	if (f->map_fd >= 0 && !f->disk_readonly)
		(void)!ftruncate(f->map_fd, MAP_HEADER);        /* no sums: nothing is there, for other mounts too */
	if (path_of(d, f, "map", &map) == 0 && path_of(d, f, "data", &data) == 0) {
		(void)unlink(data);
		(void)unlink(map);
	}
	WITH_LOCK(&f->cache->lock)
		cache_file_unref_locked(f);
}

void disk_forget(struct cache_file *f)
{
	if (!f->on_disk)
		return;
	memset(f->on_disk, 0, blocks_of(f) * sizeof(*f->on_disk));
	cache_file_ref_locked(f);
	if (pool_add(f->cache->disk->writer, forget_run, f) < 0)
		cache_file_unref_locked(f);
}

void disk_file_done(struct cache_file *f)
{
	close_files(f);
	free(f->on_disk);
}

/* ---- life ---- */

static int open_in(struct disk *d, const char *name, bool readonly)
{
	_cleanup_free_ char *path = NULL;
	int fd;

	if (str_fmt(&path, "%s/%s", d->dir, name) < 0)
		return -ENOMEM;
	fd = open(path, (readonly ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int disk_new(struct cache *c, struct disk **ret)
{
	struct disk *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->cache = c;
	d->limit = c->config.disk;
	d->free_min = c->config.disk_free_min;
	d->saving_max = (unsigned)(c->config.memory / 8 / CACHE_BLOCK) + 1;
	d->usage_fd = d->alive_fd = -1;
	r = str_fmt(&d->dir, "%s/blocks", c->config.dir);
	if (r == 0)
		r = file_mkdirs(d->dir, 0700);
	if (r == 0) {
		d->usage_fd = open_in(d, "usage", false);
		if (d->usage_fd == -EROFS || d->usage_fd == -EACCES) {
			d->readonly = true;
			log_warn("cache: %s cannot be written: what is there is read, nothing is added", d->dir);
		} else {
			r = d->usage_fd < 0 ? d->usage_fd : 0;
		}
	}
	if (r == 0 && !d->readonly) {
		d->alive_fd = open_in(d, "alive", false);
		r = d->alive_fd < 0 ? d->alive_fd : 0;
	}
	if (r == 0)
		r = pool_new("scifs-disk-r", 1, JOBS_MAX, &d->reader);
	if (r == 0)
		r = pool_new("scifs-disk-w", 1, JOBS_MAX, &d->writer);
	if (r < 0) {
		disk_free(d);
		return r;
	}
	if (!d->readonly && pool_add(d->writer, count_run, d) < 0)
		log_debug("cache: its size is not counted");
	*ret = d;
	return 0;
}

void disk_drain(struct disk *d)
{
	pool_free(d->reader);
	pool_free(d->writer);
	d->reader = d->writer = NULL;
}

void disk_free(struct disk *d)
{
	if (!d)
		return;
	disk_drain(d);
	if (d->usage_fd >= 0)
		close(d->usage_fd);
	if (d->alive_fd >= 0)
		close(d->alive_fd);
	free(d->dir);
	free(d);
}

void disk_get_stats(struct disk *d, struct cache_stats *ret)
{
	ret->disk_limit = d->limit;
	ret->disk_used = atomic_load(&d->used);
	ret->disk_hits = atomic_load(&d->hits);
	ret->disk_bad = atomic_load(&d->bad);
	ret->disk_errors = atomic_load(&d->errors);
	ret->evicted_disk = atomic_load(&d->evicted);
	ret->disk_ok = !resting(d);
}
