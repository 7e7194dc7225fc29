/* small.c - a content of one sub-block on disk: header and bytes together in one file.
 *
 *   DIR/blocks/HH/HASH.small   0    "scifsone" | u32 format = 1 | u32 key length | u64 size of the content
 *                              24   u64 sum | u64 last use (s) | u64 times read again
 *                              48   key | bytes
 *
 * A folder of small files is read a few thousand times a second, and what a file system takes longest for is making a file: so
 * there is one, where larger contents have two (disk.c, which says what HASH and the sum are). It is written under another
 * name and renamed, and never changed afterwards but for its last use. So nobody locks it or keeps it open: who evicts or
 * forgets it takes its name away, who reads it meanwhile has all of it. Whose bytes do not fit their sum is not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "cache/private.h"

/* *ret_readonly: it can only be read. */
static int open_small(const char *base, bool *ret_readonly)
{
	int fd = disk_open_kind(base, SMALL_KIND, O_RDWR);

	*ret_readonly = fd == -EROFS || fd == -EACCES;
	if (*ret_readonly)
		fd = disk_open_kind(base, SMALL_KIND, O_RDONLY);
	return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd;
}

bool small_is_header(const struct small_header *h)
{
	return memcmp(h->magic, SMALL_MAGIC, 8) == 0 && h->format == SMALL_FORMAT && h->size && h->size <= CACHE_SUB && h->key_len <= KEY_MAX;
}

static bool is_of(const struct cache_file *f, const struct small_header *h, const char *key)
{
	return small_is_header(h) && h->size == f->size && h->key_len == strlen(f->key) && memcmp(key, f->key, h->key_len) == 0;
}

/* Header, key and, with `to`, bytes: in one call. -EBADMSG: it ends too early. */
static int read_parts(const struct cache_file *f, int fd, struct small_header *h, char *key, char *to)
{
	struct iovec parts[] = {{h, sizeof(*h)}, {key, strlen(f->key)}, {to, to ? (size_t)f->size : 0}};
	size_t want = parts[0].iov_len + parts[1].iov_len + parts[2].iov_len;
	ssize_t n;

	do
		n = preadv(fd, parts, 3, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (size_t)n == want ? 0 : -EBADMSG;
}

int small_look(const struct cache_file *f, const char *base)
{
	bool readonly;
	_cleanup_close_ int fd = open_small(base, &readonly);
	struct small_header h;
	char key[KEY_MAX];
	int r = fd < 0 ? fd : read_parts(f, fd, &h, key, NULL);

	return r == 0 && !is_of(f, &h, key) ? -EBADMSG : r;
}

int small_load(const struct cache_file *f, const char *base, char *to)
{
	bool readonly;
	_cleanup_close_ int fd = open_small(base, &readonly);
	uint64_t now = (uint64_t)clock_wall().tv_sec;
	struct small_header h;
	char key[KEY_MAX];
	int r = fd < 0 ? fd : read_parts(f, fd, &h, key, to);

	if (r == 0 && (!is_of(f, &h, key) || disk_sum(f, 0, 0, to) != h.sum))
		r = -EBADMSG;
	if (r == 0 && !readonly && disk_used_is_old(h.used, h.hits, now)) {
		uint64_t used[2] = {now, h.hits + 1};

		/* Only for the evictor's order; if it fails it looks older. */
		(void)file_pwrite_all(fd, used, sizeof(used), offsetof(struct small_header, used));
	}
	return r;
}

static int make(const char *base, char **ret)
{
	_cleanup_free_ char *tmp = NULL, *folder = NULL;
	int fd;

	if (str_fmt(&tmp, "%s.tmp-XXXXXX", base) < 0)
		return -ENOMEM;
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) {
		int r = str_fmt(&folder, "%.*s", (int)(strrchr(base, '/') - base), base);

		if (r == 0)
			r = file_mkdirs(folder, 0700);
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

int small_write(const struct cache_file *f, const char *base, const char *data, char **ret)
{
	_cleanup_free_ char *tmp = NULL;
	_cleanup_close_ int fd = make(base, &tmp);
	struct small_header h = {.format = SMALL_FORMAT, .key_len = (uint32_t)strlen(f->key), .size = f->size};
	_cleanup_free_ char *all = malloc(sizeof(h) + h.key_len + (size_t)f->size);
	int r = fd < 0 ? fd : all ? 0 : -ENOMEM;

	if (r == 0) {
		memcpy(h.magic, SMALL_MAGIC, 8);
		h.sum = disk_sum(f, 0, 0, data);
		h.used = (uint64_t)clock_wall().tv_sec;
		memcpy(all, &h, sizeof(h));
		memcpy(all + sizeof(h), f->key, h.key_len);
		memcpy(all + sizeof(h) + h.key_len, data, (size_t)f->size);
		r = file_pwrite_all(fd, all, sizeof(h) + h.key_len + (size_t)f->size, 0);
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
	return rename(tmp, path) < 0 ? -errno : 0;
}
