/* usage.c - the limit on disk, kept before each write by all mounts that share a folder.
 *
 *   DIR/usage   0   "scifsuse" | u32 format = 1 | u32 drawn when it was begun anew
 *               16  u64 used: bytes on disk and reserved | u64 pending: of these, reserved by writes under way
 *               32  u64 xxh3 of the bytes before
 *   DIR/alive   nothing; a shared lock for the life of a mount
 *
 * `used` changes under an exclusive lock of DIR/usage and is never less than what is there: bytes are added before they are
 * written and taken off by a count of all files only, which happens when the limit seems to be reached, or when the record
 * is not what it should be. So a mount starts without a look at what an old cache holds. A mount reserves for several small
 * writes at once and gives back at its end what it had no use for. What a killed mount left pending goes when a mount finds
 * itself alone.
 *
 * Eviction takes blocks, not files: it clears their sums, then punches the data out. That is safe while others read them,
 * since what has no fitting sum is not there. A content of which nothing is left is removed unless somebody has it open.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
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

#define MAGIC "scifsuse"
#define FORMAT 1
#define EVICT_TO_PERCENT 90
#define FREE_MORE (64ull << 20)         /* evict so much more, at most, when it is the file system that is full */
#define LOCK_WAIT_MS 1000               /* for the others; then the block is not kept */
#define FULL_REST_MS 5000               /* after nothing could be evicted */
#define FRESH_S 60                      /* what looks like a leftover may be a write under way for so long */
#define STOP_MS 2000                    /* how long a count may still take when we are to end */
#define TMP_S 3600                      /* a temporary file of a mount that was killed */
#define CONTENTS_MAX (1u << 18)         /* contents, and blocks, that one eviction looks at */
#define NAME_LEN 32
#define AHEAD_MAX (1u << 20)            /* reserved beyond what is wanted now, */
#define AHEAD_PART 64                   /* and at most this part of the limit */

struct record {
	char magic[8];
	uint32_t format, begun;
	uint64_t used, pending, sum;
};

struct usage {
	const char *dir;
	uint64_t limit, free_min;
	int fd, alive_fd;
	uint64_t full_until;            /* monotonic ms */
	uint64_t ahead;                 /* in the record's `used` and `pending`, and not given to any write yet */
	uint64_t settled;               /* in its `pending` still, and written */
	uint32_t begun;                 /* which record's */
	_Atomic uint64_t used, evicted;
	_Atomic uint64_t stop_at;       /* monotonic ms; 0: go on */
};

static bool stopping(const struct usage *u)
{
	uint64_t at = atomic_load(&u->stop_at);

	return at && clock_mono_ms() > at;
}

/* ---- the record ---- */

static int open_in(const struct usage *u, const char *name)
{
	_cleanup_free_ char *path = NULL;
	int fd;

	if (str_fmt(&path, "%s/%s", u->dir, name) < 0)
		return -ENOMEM;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	return fd < 0 ? -errno : fd;
}

/* Somebody who was stopped while he held the lock must not stop us. */
static int lock_patiently(int fd)
{
	uint64_t until = clock_mono_ms() + LOCK_WAIT_MS;
	int r;

	while ((r = file_lock(fd, true, false)) == -EWOULDBLOCK && clock_mono_ms() < until)
		usleep(500);
	return r;
}

static int lock(struct usage *u)
{
	for (int i = 0; i < 3; i++) {
		struct stat st;
		int r;

		if (u->fd < 0)
			u->fd = open_in(u, "usage");
		if (u->fd == -ENOENT && file_mkdirs(u->dir, 0700) == 0)
			u->fd = open_in(u, "usage");
		if (u->fd < 0)
			return u->fd;
		r = lock_patiently(u->fd);
		if (r < 0)
			return r;
		if (fstat(u->fd, &st) == 0 && st.st_nlink)
			return 0;
		close(u->fd);           /* the folder was removed: the others count in a new one */
		u->fd = -1;
	}
	return -ENOENT;
}

static void unlock(struct usage *u)
{
	if (u->fd >= 0)
		(void)flock(u->fd, LOCK_UN);
}

static uint64_t sum_of(const struct record *r)
{
	return digest_xxh3_64(r, offsetof(struct record, sum));
}

static bool record_read(struct usage *u, struct record *ret)
{
	return file_pread_all(u->fd, ret, sizeof(*ret), 0) == 0 && memcmp(ret->magic, MAGIC, 8) == 0 && ret->format == FORMAT &&
	       ret->sum == sum_of(ret) && ret->pending <= ret->used;
}

static int record_write(struct usage *u, struct record *r)
{
	memcpy(r->magic, MAGIC, 8);
	r->format = FORMAT;
	r->sum = sum_of(r);
	atomic_store(&u->used, r->used);
	return file_pwrite_all(u->fd, r, sizeof(*r), 0);
}

/* ---- what is there ---- */

struct content {
	char name[NAME_LEN];            /* in the folder of its first two digits */
	uint32_t blocks, gone;
	bool small;                     /* a name of one of small.c's files */
};

struct finds {
	VEC(struct content) contents;
	VEC(struct evict_block) blocks;
	uint64_t bytes;
};

static uint64_t bytes_of(const struct stat *st)
{
	return (uint64_t)st->st_blocks * 512;
}

static int open_content(const struct usage *u, const char *name, const char *kind)
{
	_cleanup_free_ char *path = NULL;
	int fd;

	if (str_fmt(&path, "%s/%.2s/%.*s.%s", u->dir, name, NAME_LEN, name, kind) < 0)
		return -ENOMEM;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static void unlink_content(const struct usage *u, const char *name, const char *kind)
{
	_cleanup_free_ char *path = NULL;

	if (str_fmt(&path, "%s/%.2s/%.*s.%s", u->dir, name, NAME_LEN, name, kind) == 0)
		(void)unlink(path);
}

static void found(struct finds *x, struct content *c, uint64_t index, uint64_t used, uint64_t hits)
{
	struct evict_block b = {(uint32_t)x->contents.n, (uint32_t)index, used, hits};

	if (x->blocks.n < CONTENTS_MAX && vec_push(&x->blocks, b) == 0)
		c->blocks++;
}

/* The blocks of a content: those with sums; and those that hold space without, which a crash or a lost race left: they go
 * first. */
static void find_blocks(struct finds *x, struct content *c, int map_fd, int data_fd, const struct stat *data, bool fresh)
{
	struct map_entry e[64];
	uint64_t end = data_fd < 0 ? 0 : ((uint64_t)data->st_size + CACHE_BLOCK - 1) / CACHE_BLOCK;
	uint64_t index = 0;
	ssize_t n;

	for (;;) {
		n = pread(map_fd, e, sizeof(e), entry_at(index));
		if (n < (ssize_t)sizeof(e[0]) || index >= FILE_MAX / CACHE_BLOCK)
			break;
		for (size_t i = 0; i < (size_t)n / sizeof(e[0]); i++, index++) {
			uint64_t any = 0;

			for (unsigned s = 0; s < SUBS; s++)
				any |= e[i].sum[s];
			if (any)
				found(x, c, index, e[i].used, e[i].hits);
			else if (!fresh && index < end && lseek(data_fd, (off_t)(index * CACHE_BLOCK), SEEK_DATA) <
			                                          (off_t)((index + 1) * CACHE_BLOCK) && bytes_of(data))
				found(x, c, index, 0, 0);
		}
	}
	for (; !fresh && index < end && index < FILE_MAX / CACHE_BLOCK; index++) {
		off_t at = lseek(data_fd, (off_t)(index * CACHE_BLOCK), SEEK_DATA);

		if (at < 0)
			break;
		index = (uint64_t)at / CACHE_BLOCK;
		found(x, c, index, 0, 0);
	}
	if (!c->blocks && !fresh)
		found(x, c, 0, 0, 0);   /* an empty shell */
}

static void find_content(struct usage *u, struct finds *x, const char *name, bool blocks)
{
	_cleanup_close_ int map_fd = open_content(u, name, "map"), data_fd = open_content(u, name, "data");
	struct content c = {0};
	struct stat map = {0}, data = {0};
	uint64_t now = (uint64_t)clock_wall().tv_sec;

	if (map_fd < 0 || fstat(map_fd, &map) < 0 || !S_ISREG(map.st_mode))
		return;
	if (data_fd >= 0 && (fstat(data_fd, &data) < 0 || !S_ISREG(data.st_mode)))
		return;
	x->bytes += bytes_of(&map) + bytes_of(&data);
	if (!blocks || x->contents.n >= CONTENTS_MAX || x->blocks.n >= CONTENTS_MAX)
		return;
	memcpy(c.name, name, NAME_LEN);
	find_blocks(x, &c, map_fd, data_fd, &data,
	            (uint64_t)map.st_mtime + FRESH_S > now || (uint64_t)data.st_mtime + FRESH_S > now);
	if (c.blocks && vec_push(&x->contents, c) < 0)
		x->blocks.n -= c.blocks;
}

/* Of what a file takes, what each of its names answers for. */
static uint64_t share_of(const struct stat *st)
{
	return st->st_nlink > 1 ? (bytes_of(st) + st->st_nlink - 1) / st->st_nlink : bytes_of(st);
}

static void find_small(struct usage *u, struct finds *x, const char *name, bool blocks)
{
	_cleanup_close_ int fd = open_content(u, name, SMALL_KIND);
	struct content c = {.small = true};
	struct small_header h;
	struct stat st;
	off_t begin, end;
	bool is;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	x->bytes += share_of(&st);
	if (!blocks || x->contents.n >= CONTENTS_MAX || x->blocks.n >= CONTENTS_MAX)
		return;
	memcpy(c.name, name, NAME_LEN);
	/* It got its name when it was whole: what is not so is damaged. */
	is = small_find(fd, name, &h, &begin, &end) == 0;
	found(x, &c, 0, is ? h.used : 0, is ? h.hits : 0);
	if (c.blocks && vec_push(&x->contents, c) < 0)
		x->blocks.n -= c.blocks;
}

static bool is_name(const char *s, const char *kind)
{
	for (int i = 0; i < NAME_LEN; i++)
		if (!isxdigit((unsigned char)s[i]))
			return false;
	return str_eq(s + NAME_LEN, kind);
}

static void scan_folder(struct usage *u, struct finds *x, unsigned h, bool blocks)
{
	_cleanup_free_ char *dir = NULL;
	struct dirent *e;
	DIR *list;

	if (str_fmt(&dir, "%s/%02x", u->dir, h) < 0 || !(list = opendir(dir)))
		return;
	while ((e = readdir(list)) && !stopping(u)) {
		struct stat st;

		if (is_name(e->d_name, ".map")) {
			find_content(u, x, e->d_name, blocks);
		} else if (is_name(e->d_name, "." SMALL_KIND)) {
			find_small(u, x, e->d_name, blocks);
		} else if (is_name(e->d_name, ".data")) {
			char map[NAME_LEN + 8];

			snprintf(map, sizeof(map), "%.*s.map", NAME_LEN, e->d_name);
			if (faccessat(dirfd(list), map, F_OK, 0) < 0 && errno == ENOENT)
				(void)unlinkat(dirfd(list), e->d_name, 0);      /* nobody will find it again */
		} else if (strstr(e->d_name, ".tmp-") && fstatat(dirfd(list), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		           st.st_mtime + TMP_S < clock_wall().tv_sec) {
			(void)unlinkat(dirfd(list), e->d_name, 0);
		}
	}
	closedir(list);
}

static void scan(struct usage *u, struct finds *x, bool blocks)
{
	unsigned first = (unsigned)clock_mono_ms();     /* when there are too many, not always the same ones */

	for (unsigned h = 0; h < 256; h++)
		scan_folder(u, x, (first + h) & 255, blocks);
}

/* ---- eviction ---- */

static uint64_t room_on_disk(const struct usage *u)
{
	struct statvfs st;

	if (fstatvfs(u->fd, &st) < 0)
		return 0;
	return (uint64_t)st.f_bavail * st.f_frsize;
}

/* Unless somebody has it open. Bytes that came free. */
static uint64_t remove_unused(const struct usage *u, const struct content *c, int map_fd, int data_fd)
{
	struct stat map = {0}, data = {0};

	if (file_lock(map_fd, true, false) < 0)
		return 0;
	(void)fstat(map_fd, &map);
	if (data_fd >= 0)
		(void)fstat(data_fd, &data);
	unlink_content(u, c->name, "data");
	unlink_content(u, c->name, "map");
	return bytes_of(&map) + bytes_of(&data);
}

/* Who reads it now has all of it. Bytes that came free. */
static uint64_t drop_small(struct usage *u, const struct content *c)
{
	_cleanup_close_ int fd = open_content(u, c->name, SMALL_KIND);
	struct stat before, after;
	struct small_header h;
	off_t begin, end;

	if (fd < 0 || fstat(fd, &before) < 0)
		return 0;
	unlink_content(u, c->name, SMALL_KIND);
	atomic_fetch_add(&u->evicted, 1);
	if (fstat(fd, &after) == 0 && after.st_nlink && small_find(fd, c->name, &h, &begin, &end) == 0) {
		/* Its own pages; the first one of a file is everybody's. */
		begin = (begin + SMALL_PAGE - 1) / SMALL_PAGE * SMALL_PAGE;
		end = (end + SMALL_PAGE - 1) / SMALL_PAGE * SMALL_PAGE;
		if (begin < end)
			(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, begin, end - begin);
	}
	if (fstat(fd, &after) < 0)
		return 0;
	return !after.st_nlink ? bytes_of(&before) : before.st_blocks > after.st_blocks ? bytes_of(&before) - bytes_of(&after) : 0;
}

/* Bytes that came free. */
static uint64_t drop_block(struct usage *u, struct content *c, uint64_t index)
{
	static const struct map_entry none;
	_cleanup_close_ int map_fd = open_content(u, c->name, "map"), data_fd = open_content(u, c->name, "data");
	struct stat before = {0}, after = {0}, map;
	uint64_t freed = 0;

	if (c->small)
		return drop_small(u, c);
	c->gone++;
	if (map_fd < 0)
		return 0;
	if (data_fd >= 0) {
		if (!disk_lock_block(data_fd, index))
			return 0;       /* it is being written */
		/* The sums first: what has no sum is not there, whatever its bytes. */
		if (fstat(data_fd, &before) < 0 || fstat(map_fd, &map) < 0 ||
		    (map.st_size > entry_at(index) && file_pwrite_all(map_fd, &none, sizeof(none), entry_at(index)) < 0))
			return 0;
		if (fallocate(data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(index * CACHE_BLOCK), CACHE_BLOCK) < 0) {
			/* A file system without holes: all of it goes. */
			if (ftruncate(map_fd, MAP_HEADER) < 0 || ftruncate(data_fd, 0) < 0)
				return 0;
			c->gone = c->blocks;
		}
		if (fstat(data_fd, &after) == 0 && before.st_blocks > after.st_blocks)
			freed = bytes_of(&before) - bytes_of(&after);
		atomic_fetch_add(&u->evicted, 1);
	}
	if (c->gone >= c->blocks)
		freed += remove_unused(u, c, map_fd, data_fd);
	return freed;
}

/* Alone in this folder? Ours is shared again afterwards; a lock that is lost for a moment is asked for again next time. */
static bool alone(struct usage *u)
{
	bool yes = u->alive_fd >= 0 && file_lock(u->alive_fd, true, false) == 0;

	if (u->alive_fd >= 0)
		(void)file_lock(u->alive_fd, false, false);
	return yes;
}

static bool fits(const struct usage *u, const struct record *r, uint64_t want)
{
	return r->used + want <= u->limit && room_on_disk(u) >= u->free_min + want;
}

/* Count all, then evict what is too much. The record's lock is held. */
static void make_room(struct usage *u, struct record *r, uint64_t want)
{
	struct finds x = {0};
	uint64_t target = u->limit / 100 * EVICT_TO_PERCENT, more = u->limit / 10 < FREE_MORE ? u->limit / 10 : FREE_MORE;

	scan(u, &x, true);
	if (stopping(u)) {
		r->used = u->limit;     /* not counted to the end */
	} else {
		if (alone(u))
			r->pending = 0;
		r->used = x.bytes + r->pending;
		if (!fits(u, r, want)) {
			target = target > want ? target - want : 0;
			evict_order(x.blocks.at, x.blocks.n, (uint64_t)clock_wall().tv_sec);
			for (size_t i = 0; i < x.blocks.n && !stopping(u); i++) {
				uint64_t freed;

				/* What nobody can read any more goes in any case, and comes first. */
				if (x.blocks.at[i].used && r->used <= target && room_on_disk(u) >= u->free_min + want + more)
					break;
				freed = drop_block(u, &x.contents.at[x.blocks.at[i].file], x.blocks.at[i].index);
				r->used -= freed < r->used ? freed : r->used;
			}
		}
	}
	vec_done(&x.contents);
	vec_done(&x.blocks);
}

/* What this mount has no use for any more. */
static void take_back(struct usage *u, struct record *r)
{
	uint64_t over = u->ahead + u->settled;

	if (r->begun == u->begun) {
		r->used -= u->ahead < r->used ? u->ahead : r->used;
		r->pending -= over < r->pending ? over : r->pending;
	}
	u->ahead = u->settled = 0;
}

bool usage_reserve(struct usage *u, uint64_t want)
{
	struct record r = {0};
	uint64_t more = u->limit / AHEAD_PART < AHEAD_MAX ? u->limit / AHEAD_PART : AHEAD_MAX;
	bool ok = false, known;

	if (want <= u->ahead) {
		u->ahead -= want;
		return true;
	}
	if (want > u->limit || clock_mono_ms() < u->full_until || lock(u) < 0)
		return false;
	known = record_read(u, &r);
	if (!known)
		r = (struct record){.begun = (uint32_t)clock_mono_ms()};
	take_back(u, &r);
	u->begun = r.begun;
	if (!known || !fits(u, &r, want))
		make_room(u, &r, want);
	if (!fits(u, &r, want + more) || want > more)
		more = 0;
	if (fits(u, &r, want)) {
		r.used += want + more;
		r.pending += want + more;
		u->ahead = more;
		ok = true;
	} else {
		u->full_until = clock_mono_ms() + FULL_REST_MS;
	}
	if (record_write(u, &r) < 0) {
		u->ahead = 0;
		ok = false;
	}
	unlock(u);
	return ok;
}

/* If this fails, or a new folder is counted, then too much stays pending: that errs on the safe side. */
static void give_back(struct usage *u)
{
	struct record r;

	if (!(u->ahead + u->settled) || lock(u) < 0)
		return;
	if (record_read(u, &r)) {
		take_back(u, &r);
		(void)record_write(u, &r);
	}
	unlock(u);
}

void usage_settle(struct usage *u, uint64_t want)
{
	/* Small ones together, when the next is reserved or at the end. */
	u->settled += want;
	if (!u->ahead)
		give_back(u);
}

uint64_t usage_bytes(const struct usage *u)
{
	return atomic_load(&u->used);
}

uint64_t usage_evicted(const struct usage *u)
{
	return atomic_load(&u->evicted);
}

void usage_stop(struct usage *u)
{
	atomic_store(&u->stop_at, clock_mono_ms() + STOP_MS);
}

int usage_new(const char *dir, uint64_t limit, uint64_t free_min, struct usage **ret)
{
	struct usage *u = calloc(1, sizeof(*u));
	struct record r;

	if (!u)
		return -ENOMEM;
	*u = (struct usage){.dir = dir, .limit = limit, .free_min = free_min};
	u->alive_fd = open_in(u, "alive");
	u->fd = open_in(u, "usage");
	if (u->fd < 0 || u->alive_fd < 0) {
		int err = u->fd < 0 ? u->fd : u->alive_fd;

		usage_free(u);
		return err;
	}
	(void)file_lock(u->alive_fd, false, false);
	if (record_read(u, &r))         /* without its lock: only to be shown */
		atomic_store(&u->used, r.used);
	*ret = u;
	return 0;
}

void usage_free(struct usage *u)
{
	if (!u)
		return;
	give_back(u);
	if (u->fd >= 0)
		close(u->fd);
	if (u->alive_fd >= 0)
		close(u->alive_fd);
	free(u);
}
