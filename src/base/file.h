/* file.h - files whole or not at all. All of it blocks on the local disk. */
#ifndef SCIFS_BASE_FILE_H
#define SCIFS_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"

/* n bytes or -errno; the end of the file before that is -ENODATA. */
int file_pread_all(int fd, void *p, size_t n, off_t at);
int file_pwrite_all(int fd, const void *p, size_t n, off_t at);
/* The whole file; longer than ret->max is -EMSGSIZE. */
int file_read_whole(const char *path, struct buf *ret);
/* A new file: -EEXIST. Nothing is waited for: whoever dies meanwhile leaves a part of it, and so may a power cut. */
int file_create(const char *path, const void *data, size_t n, mode_t mode);
/* Write beside it, fsync, rename over it, fsync the folder: the old content or the new one, never a part. */
int file_write_atomic(const char *path, const void *data, size_t n, mode_t mode);
/* The same without waiting for the disk: a killed process leaves the old content or the new one, a power cut perhaps neither. */
int file_replace(const char *path, const void *data, size_t n, mode_t mode);
int file_mkdirs(const char *path, mode_t mode);         /* and its parents; 0 when it is there already */
int file_fsync_dir(const char *path);
/* flock(); -EWOULDBLOCK when `wait` is false and somebody else holds it. */
int file_lock(int fd, bool exclusive, bool wait);

#endif
