/* file.c - files whole or not at all. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

int file_pread_all(int fd, void *p, size_t n, off_t at)
{
	while (n) {
		ssize_t r = pread(fd, p, n, at);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -ENODATA;
		p = (char *)p + r;
		n -= (size_t)r;
		at += r;
	}
	return 0;
}

int file_pwrite_all(int fd, const void *p, size_t n, off_t at)
{
	while (n) {
		ssize_t r = pwrite(fd, p, n, at);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			return -EIO;    /* some file systems answer so; asking for ever would not help */
		p = (const char *)p + r;
		n -= (size_t)r;
		at += r;
	}
	return 0;
}

int file_read_whole(const char *path, struct buf *ret)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char chunk[16384];

	if (fd < 0)
		return -errno;
	buf_clear(ret);
	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		r = buf_add(ret, chunk, (size_t)n);
		if (r < 0)
			return r;
	}
}

int file_fsync_dir(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

int file_create(const char *path, const void *data, size_t n, mode_t mode)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	int r;

	if (fd < 0)
		return -errno;
	r = file_pwrite_all(fd, data, n, 0);
	if (r < 0)
		(void)unlink(path);     /* half-written; the error is reported anyway */
	return r;
}

/* Beside it, then over it. */
static int replace(const char *path, const void *data, size_t n, mode_t mode, bool sync)
{
	_cleanup_free_ char *tmp = NULL;
	_cleanup_close_ int fd = -1;
	int r = str_fmt(&tmp, "%s.tmp-XXXXXX", path);

	if (r < 0)
		return r;
	fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = file_pwrite_all(fd, data, n, 0);
	if (r == 0 && (fchmod(fd, mode) < 0 || (sync && fsync(fd) < 0) || rename(tmp, path) < 0))
		r = -errno;
	if (r < 0)
		(void)unlink(tmp);      /* half-written; the error is reported anyway */
	return r;
}

int file_replace(const char *path, const void *data, size_t n, mode_t mode)
{
	return replace(path, data, n, mode, false);
}

int file_write_atomic(const char *path, const void *data, size_t n, mode_t mode)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
	int r;

	if (!dir)
		return -ENOMEM;
	r = replace(path, data, n, mode, true);
	return r < 0 ? r : file_fsync_dir(dir);
}

int file_mkdirs(const char *path, mode_t mode)
{
	_cleanup_free_ char *copy = strdup(path);
	struct stat st;

	if (!copy)
		return -ENOMEM;
	if (!*copy)
		return -ENOENT;
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (mkdir(copy, mode) < 0 && errno != EEXIST)
		return -errno;
	if (stat(copy, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int file_lock(int fd, bool exclusive, bool wait)
{
	while (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | (wait ? 0 : LOCK_NB)) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}
