/* small.c - contents of one sub-block on disk: some of them in one file, which has a name for each.
 *
 *   DIR/blocks/HH/HASH.small   0    "scifspak" | u32 format = 1 | u32 how many
 *                              16   of each: HASH, 32 digits | u32 where its record begins | u32 how long it is
 *     records, the first one   ...  u64 size of the content | u64 sum | u64 last use (s) | u64 times read again |
 *     behind the list, others       u32 key length | u32 0 | key | bytes
 *     where a page begins
 *
 * A folder of small files is read a few thousand times a second, and what a file system takes longest for is making a file, above
 * all where many have just been removed: so what waits to be written becomes one file (SMALL_BATCH at most), and its names are
 * hard links. HASH and the sum are those of disk.c.
 *
 * A file has its names when it is whole, and changes no more but for the last uses. So nobody locks it or keeps it open. Who evicts or
 * forgets a content takes its name away, and may give its pages back; a file goes with its last name. Each name answers for its
 * share of the file's space. Whose bytes do not fit their sum is not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "cache/private.h"

#define MAGIC "scifspak"
#define FORMAT 1

struct list_head {
	char magic[8];
	uint32_t format, count;
};

struct entry {
	char hash[SMALL_HASH];
	uint32_t begin, length;
};

/* ---- reading ---- */

/* *ret_readonly: it can only be read. */
static int open_small(const char *base, bool *ret_readonly)
{
	int fd = disk_open_kind(base, SMALL_KIND, O_RDWR);

	*ret_readonly = fd == -EROFS || fd == -EACCES;
	if (*ret_readonly)
		fd = disk_open_kind(base, SMALL_KIND, O_RDONLY);
	return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
}

/* Exactly so many bytes; -EBADMSG: it ends too early. */
static int read_parts(int fd, const struct iovec *parts, int n, off_t at)
{
	size_t want = 0;
	ssize_t got;

	for (int i = 0; i < n; i++)
		want += parts[i].iov_len;
	do
		got = preadv(fd, parts, n, at);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : (size_t)got == want ? 0 : -EBADMSG;
}

/* Where the record of HASH lies. -EBADMSG: nowhere. */
static int find(int fd, const char *hash, struct entry *ret)
{
	struct {
		struct list_head head;
		struct entry entries[SMALL_BATCH];
	} all;
	ssize_t n;

	do
		n = pread(fd, &all, sizeof(all), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(all.head) || memcmp(all.head.magic, MAGIC, 8) != 0 || all.head.format != FORMAT ||
	    all.head.count > SMALL_BATCH || (size_t)n < sizeof(all.head) + all.head.count * sizeof(struct entry))
		return -EBADMSG;
	for (uint32_t i = 0; i < all.head.count; i++)
		if (memcmp(all.entries[i].hash, hash, SMALL_HASH) == 0) {
			*ret = all.entries[i];
			return 0;
		}
	return -EBADMSG;
}

static const char *hash_of(const char *base)
{
	return strrchr(base, '/') + 1;
}

/* Header, key and, with `to`, bytes of a content. */
static int read_record(const struct cache_file *f, const char *base, int fd, struct small_header *h, off_t *ret_at, char *to)
{
	size_t key_len = strlen(f->key);
	char key[KEY_MAX];
	struct iovec parts[] = {{h, sizeof(*h)}, {key, key_len}, {to, (size_t)f->size}};
	struct entry e;
	int r = find(fd, hash_of(base), &e);

	if (r == 0)
		r = read_parts(fd, parts, to ? 3 : 2, e.begin);
	if (r == 0 && (h->size != f->size || h->key_len != key_len || memcmp(key, f->key, key_len) != 0))
		r = -EBADMSG;
	*ret_at = r == 0 ? e.begin : 0;
	return r;
}

int small_look(const struct cache_file *f, const char *base)
{
	bool readonly;
	_cleanup_close_ int fd = open_small(base, &readonly);
	struct small_header h;
	off_t at;

	return fd < 0 ? fd : read_record(f, base, fd, &h, &at, NULL);
}

int small_load(const struct cache_file *f, const char *base, char *to)
{
	bool readonly;
	_cleanup_close_ int fd = open_small(base, &readonly);
	uint64_t now = (uint64_t)clock_wall().tv_sec;
	struct small_header h;
	off_t at;
	int r = fd < 0 ? fd : read_record(f, base, fd, &h, &at, to);

	if (r == 0 && disk_sum(f, 0, 0, to) != h.sum)
		r = -EBADMSG;
	if (r == 0 && !readonly && disk_used_is_old(h.used, h.hits, now)) {
		uint64_t used[2] = {now, h.hits + 1};

		/* Only for the evictor's order; if it fails it looks older. */
		(void)file_pwrite_all(fd, used, sizeof(used), at + (off_t)offsetof(struct small_header, used));
	}
	return r;
}

/* ---- writing ---- */

static size_t record_length(const struct cache_file *f)
{
	return sizeof(struct small_header) + strlen(f->key) + (size_t)f->size;
}

static size_t next_page(size_t n)
{
	return (n + SMALL_PAGE - 1) / SMALL_PAGE * SMALL_PAGE;
}

size_t small_length(const struct small_item items[], size_t n)
{
	size_t length = sizeof(struct list_head) + n * sizeof(struct entry);

	for (size_t i = 0; i < n; i++)
		length = (i ? next_page(length) : length) + record_length(items[i].file);
	return length;
}

/* The bytes of a file, small_length() of them, zeroed. */
static void lay_out(const struct small_item items[], size_t n, char *all)
{
	struct list_head head = {.format = FORMAT, .count = (uint32_t)n};
	size_t at = sizeof(head) + n * sizeof(struct entry);

	memcpy(head.magic, MAGIC, 8);
	memcpy(all, &head, sizeof(head));
	for (size_t i = 0; i < n; i++) {
		const struct cache_file *f = items[i].file;
		struct small_header h = {.size = f->size, .sum = disk_sum(f, 0, 0, items[i].data), .key_len = (uint32_t)strlen(f->key),
		                         .used = (uint64_t)clock_wall().tv_sec};
		struct entry e = {.length = (uint32_t)record_length(f)};

		at = i ? next_page(at) : at;
		e.begin = (uint32_t)at;
		memcpy(e.hash, hash_of(items[i].base), SMALL_HASH);
		memcpy(all + sizeof(head) + i * sizeof(e), &e, sizeof(e));
		memcpy(all + at, &h, sizeof(h));
		memcpy(all + at + sizeof(h), f->key, h.key_len);
		memcpy(all + at + sizeof(h) + h.key_len, items[i].data, (size_t)f->size);
		at += e.length;
	}
}

static int make_folder(const char *base)
{
	_cleanup_free_ char *folder = NULL;
	int r = str_fmt(&folder, "%.*s", (int)(strrchr(base, '/') - base), base);

	return r < 0 ? r : file_mkdirs(folder, 0700);
}

static int make(const char *base, char **ret)
{
	_cleanup_free_ char *tmp = NULL;
	int fd, r;

	if (str_fmt(&tmp, "%s.tmp-XXXXXX", base) < 0)
		return -ENOMEM;
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		r = make_folder(base);
		if (r < 0)
			return r;
		memcpy(tmp + strlen(tmp) - 6, "XXXXXX", 6);
		fd = mkostemp(tmp, O_CLOEXEC);
	}
	if (fd < 0)
		return -errno;
	*ret = TAKE(tmp);
	return fd;
}

int small_write(const struct small_item items[], size_t n, char **ret)
{
	_cleanup_free_ char *tmp = NULL;
	_cleanup_close_ int fd = make(items[0].base, &tmp);
	size_t length = small_length(items, n);
	_cleanup_free_ char *all = calloc(1, length);
	int r = fd < 0 ? fd : all ? 0 : -ENOMEM;

	if (r == 0) {
		lay_out(items, n, all);
		r = file_pwrite_all(fd, all, length, 0);
	}
	if (r < 0 && tmp)
		(void)unlink(tmp);
	if (r == 0)
		*ret = TAKE(tmp);
	return r;
}

int small_name(const char *tmp, const char *base)
{
	_cleanup_free_ char *path = NULL;

	if (str_fmt(&path, "%s." SMALL_KIND, base) < 0)
		return -ENOMEM;
	for (int i = 0; i < 3; i++) {
		int r;

		if (link(tmp, path) == 0)
			return 0;
		switch (errno) {
		case EEXIST:            /* a damaged one, or another mount was quicker: ours is right */
			if (unlink(path) < 0 && errno != ENOENT)
				return -errno;
			break;
		case ENOENT:
			r = make_folder(base);
			if (r < 0)
				return r;
			break;
		case EPERM: case EOPNOTSUPP: case ENOSYS: case EMLINK:
			/* A file system without links: one of them has the file. */
			return rename(tmp, path) < 0 ? -errno : 1;
		default:
			return -errno;
		}
	}
	return -EEXIST;
}

/* ---- what usage.c asks ---- */

int small_find(int fd, const char *hash, struct small_header *ret, off_t *ret_begin, off_t *ret_end)
{
	struct entry e;
	int r = find(fd, hash, &e);

	if (r == 0)
		r = file_pread_all(fd, ret, sizeof(*ret), e.begin);
	if (r == -ENODATA || (r == 0 && (!ret->size || ret->size > CACHE_SUB || ret->key_len > KEY_MAX ||
	                                 e.length != sizeof(*ret) + ret->key_len + ret->size)))
		r = -EBADMSG;
	if (r == 0) {
		*ret_begin = e.begin;
		*ret_end = (off_t)e.begin + e.length;
	}
	return r;
}
