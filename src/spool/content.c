/* content.c - the bytes of a draft: memory or a sparse file, and which parts of its base are not here yet.
 *
 * A small one is in memory, as long as there is room for it (MEMORY_MAX): making a file, naming it and removing it costs more than 4 KiB do.
 * What is committed of it is in the journal and in the side file; what is not goes with the process. It gets a file when it grows, and when an
 * earlier process has left it.
 *
 * As long as a draft is not owed its file is called HEX.open-OWNER, once it is owed HEX, and when it is at the server or dropped
 * HEX.done-OWNER, until the last reference goes: so a crash leaves no file of which nobody knows what it is. When what was
 * committed is only in the file and is truncated to nothing, a new file HEX.GEN is begun beside it: a crash before the next commit
 * falls back to the old one. Files are closed again when too many are open: thousands of drafts may be queued.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/str.h"
#include "spool/private.h"

#define DISK_BLOCK 4096ull

int draft_path(const struct draft *d, unsigned gen, const char *tail, char **ret)
{
	char number[16] = "";

	if (gen)
		snprintf(number, sizeof(number), ".%u", gen);
	return tail ? str_fmt(ret, "%s/%s%s.%s-%s", d->spool->drafts_dir, d->hex, number, tail, d->spool->owner)
	            : str_fmt(ret, "%s/%s%s", d->spool->drafts_dir, d->hex, number);
}

int draft_set_file(struct draft *d, const char *tail)
{
	_cleanup_free_ char *path = NULL;
	int r;

	if (!d->file)
		return 0;
	r = draft_path(d, d->gen, tail, &path);
	if (r < 0 || strcmp(path, d->file) == 0)
		return r;
	if (rename(d->file, path) < 0)
		return -errno;
	free(d->file);
	d->file = TAKE(path);
	return 0;
}

/* ---- in memory ---- */

bool draft_in_memory(const struct draft *d)
{
	return !d->file && (d->bytes || !d->size);
}

void draft_free_bytes(struct draft *d)
{
	if (!d->bytes)
		return;
	free(TAKE(d->bytes));
	WITH_LOCK(&d->spool->lock)
		d->spool->in_memory -= d->bytes_room;
	d->bytes_room = 0;
}

static bool disk_is_filling(const struct spool *s)
{
	struct statvfs v;

	return statvfs(s->drafts_dir, &v) < 0 || (uint64_t)v.f_bavail * v.f_frsize < MEMORY_DISK_MIN;
}

bool draft_to_memory(struct draft *d, uint64_t end)
{
	struct spool *s = d->spool;
	uint64_t want = end > d->size ? end : d->size;
	bool fits = false;
	char *p;

	if (d->file || want > SMALL_MAX)
		return false;
	want = (want + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
	if (d->bytes && want <= d->bytes_room)
		return true;
	if (!d->bytes && disk_is_filling(s))
		return false;
	WITH_LOCK(&s->lock) {
		fits = s->in_memory + want - d->bytes_room <= MEMORY_MAX;
		if (fits)
			s->in_memory += want - d->bytes_room;
	}
	p = fits ? realloc(d->bytes, want ? want : 1) : NULL;
	if (!p) {
		if (fits)
			WITH_LOCK(&s->lock)
				s->in_memory -= want - d->bytes_room;
		return false;
	}
	memset(p + d->bytes_room, 0, want - d->bytes_room);
	d->bytes = p;
	d->bytes_room = want;
	return true;
}

/* ---- open files ---- */

void draft_close_file(struct draft *d)
{
	int fd = TAKE_FD(d->fd);

	if (fd < 0)
		return;
	WITH_LOCK(&d->spool->lock) {
		list_remove(&d->file_link);
		d->spool->n_files--;
	}
	close(fd);
}

/* Another draft's, if nobody is at it. */
static void close_oldest(struct spool *s, struct draft *keep)
{
	struct draft *i;
	int fd = -1;

	WITH_LOCK(&s->lock) {
		if (s->n_files <= FILES_MAX)
			break;
		list_for_each_safe(i, &s->files, struct draft, file_link) {
			if (i == keep || pthread_mutex_trylock(&i->lock) != 0)
				continue;
			fd = TAKE_FD(i->fd);
			list_remove(&i->file_link);
			s->n_files--;
			pthread_mutex_unlock(&i->lock);
			break;
		}
	}
	if (fd >= 0)
		close(fd);
}

int draft_file(struct draft *d, bool make)
{
	struct spool *s = d->spool;
	_cleanup_free_ char *path = NULL;
	int fd, r;

	if (d->fd >= 0) {
		WITH_LOCK(&s->lock) {
			list_remove(&d->file_link);
			list_append(&s->files, &d->file_link);
		}
		return d->fd;
	}
	if (d->file) {
		fd = open(d->file, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
	} else {
		if (!make && !d->bytes)
			return -ENOENT;
		r = draft_path(d, d->gen, d->dropped ? "done" : "open", &path);
		if (r < 0)
			return r;
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		r = d->bytes ? file_pwrite_all(fd, d->bytes, d->size, 0) : d->size && ftruncate(fd, (off_t)d->size) < 0 ? -errno : 0;
		if (r < 0) {
			close(fd);
			(void)unlink(path);     /* what is in it is in memory too */
			return r;
		}
		draft_free_bytes(d);
		d->file = TAKE(path);
	}
	d->fd = fd;
	WITH_LOCK(&s->lock) {
		list_append(&s->files, &d->file_link);
		s->n_files++;
	}
	close_oldest(s, d);
	return fd;
}

/* ---- room ---- */

void draft_measure(struct draft *d)
{
	struct spool *s = d->spool;
	struct stat st;
	uint64_t used = 0;

	if (d->bytes)           /* it will be, in the side file */
		used = (d->size + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
	else if (d->file && (d->fd >= 0 ? fstat(d->fd, &st) : stat(d->file, &st)) == 0)
		used = (uint64_t)st.st_blocks * 512;
	WITH_LOCK(&s->lock) {
		if (used < d->used) {
			s->moved_at = clock_mono_ms();
			pthread_cond_broadcast(&s->changed);
		}
		s->used += used - d->used;
		d->used = used;
	}
}

/* Of [at, at+n), what is not on the disk yet, in whole blocks. */
static uint64_t count_new(struct draft *d, uint64_t at, uint64_t n)
{
	uint64_t end = (at + n + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK, count = 0;

	at -= at % DISK_BLOCK;
	if (d->bytes)
		return end > d->used ? end - d->used : 0;
	if (d->fd < 0)
		return end - at;
	while (at < end) {
		off_t hole = lseek(d->fd, (off_t)at, SEEK_HOLE), data;
		uint64_t until;

		if (hole < 0)                   /* at the end, or behind it */
			return count + end - at;
		if ((uint64_t)hole >= end)
			break;
		data = lseek(d->fd, hole, SEEK_DATA);
		until = data < 0 || (uint64_t)data > end ? end : (uint64_t)data;
		count += until - (uint64_t)hole;
		at = until;
	}
	return count;
}

/* May room come free without d's doing? By another draft that is sent, or by one that is not owed any more: its file goes when
 * whoever looks at it lets go. */
static bool moves_locked(struct spool *s, struct draft *d)
{
	struct draft *i;
	uint64_t owed = d->used;

	list_for_each_safe(i, &s->drafts, struct draft, link) {
		if (i != d && i->state != DRAFT_REFUSED && i->state != DRAFT_CONFLICT)
			return true;
		owed += i != d ? i->used : 0;
	}
	return s->used > owed;
}

/* How much of the limit is taken for n bytes; *ret is given back by draft_measure() and room_back(). */
static int take_room(struct draft *d, uint64_t at, uint64_t n, uint64_t *ret)
{
	struct spool *s = d->spool;
	bool fits = false;
	int r = 0;

	WITH_LOCK(&s->lock) {
		fits = s->used + n <= s->limit;
		if (fits)
			s->used += n;
	}
	*ret = n;
	if (fits)
		return 0;
	n = count_new(d, at, n);
	WITH_LOCK(&s->lock) {
		if (s->used + n <= s->limit) {
			s->used += n;
			*ret = n;
		} else {
			r = d->used + n > s->limit || !moves_locked(s, d) ? -ENOSPC : -EAGAIN;
		}
	}
	return r;
}

static void room_back(struct draft *d, uint64_t n)
{
	draft_measure(d);
	WITH_LOCK(&d->spool->lock)
		d->spool->used -= n;
}

int draft_wait_room(struct draft *d, size_t n, const int *cancelled)
{
	struct spool *s = d->spool;
	uint64_t start = clock_mono_ms();
	int r = -EAGAIN;

	WITH_LOCK(&s->lock) {
		while (r == -EAGAIN) {
			uint64_t now = clock_mono_ms(), since = s->moved_at > start ? s->moved_at : start;

			if (s->used + n <= s->limit)
				r = 0;
			else if (d->used + n > s->limit || !moves_locked(s, d) || now >= since + s->config.full_wait_ms)
				r = -ENOSPC;
			else if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
				r = -EINTR;
			else
				spool_sleep(s, &s->changed, SLICE_MS);
		}
	}
	return r;
}

/* ---- changes ---- */

int draft_before_change(struct draft *d)
{
	struct spool *s = d->spool;
	bool sent_apart = false;
	int r = 0;

	WITH_LOCK(&s->lock) {
		sent_apart = d->state == DRAFT_UPLOADING && d->apart;
		if (sent_apart)
			break;
		if (d->state == DRAFT_UPLOADING)
			r = -EBUSY;
		else if (d->state != DRAFT_OPEN && d->state != DRAFT_DROPPED)
			draft_open_locked(d);
		if (r == 0 && d->landed.id) {
			/* The content it had is at the server, and what comes now goes over that. */
			object_done(&d->base);
			d->base = d->landed;
			memset(&d->landed, 0, sizeof(d->landed));
		}
	}
	if (r == 0 && !sent_apart)
		r = draft_forget_progress(d);   /* a copy's is not noted */
	if (r < 0 || d->dirty)
		return r;
	if (d->committed && !d->row && !d->dropped) {
		r = draft_set_file(d, "open");
		if (r < 0)
			return r;
	}
	d->dirty = true;
	d->digest[0] = 0;
	__atomic_store_n(&d->hash_stop, 1, __ATOMIC_RELAXED);
	return 0;
}

/* D held: it will be in memory or in a file, which there is now: 0, or its descriptor. */
static int place(struct draft *d, uint64_t end)
{
	return draft_to_memory(d, end) ? 0 : draft_file(d, true);
}

/* ... where place() said. */
static int put(struct draft *d, int fd, const void *p, size_t n, uint64_t at)
{
	if (!d->bytes)
		return file_pwrite_all(fd, p, n, (off_t)at);
	memcpy(d->bytes + at, p, n);
	return 0;
}

static void written_now(struct draft *d)
{
	d->mtime = clock_wall();
	d->mtime_set = false;
	draft_shown(d);
}

/* D held: what is behind its end becomes zeros, as far as there is something. */
static void cut_off(struct draft *d, int fd, uint64_t end)
{
	if (!d->bytes)
		(void)ftruncate(fd, (off_t)d->size);
	else if (end > d->size)
		memset(d->bytes + d->size, 0, end - d->size);
}

int draft_write(struct draft *d, const void *p, size_t n, uint64_t at)
{
	uint64_t taken;
	int fd, r = 0;

	if (n > OBJECT_SIZE_MAX || at > OBJECT_SIZE_MAX - n)
		return -EFBIG;
	if (!n)
		return 0;
	WITH_LOCK(&d->lock) {
		r = draft_before_change(d);
		if (r < 0)
			break;
		fd = place(d, at + n);
		r = fd < 0 ? fd : take_room(d, at, n, &taken);
		if (r < 0) {
			draft_shown(d);
			break;
		}
		r = put(d, fd, p, n, at);
		if (r == 0)
			r = extents_remove(&d->missing, at, at + n);
		if (r == 0 && at + n > d->size)
			d->size = at + n;
		else if (r < 0 && at + n > d->size)
			cut_off(d, fd, at + n); /* what came of it is not to be seen when the file grows */
		written_now(d);
		room_back(d, taken);
	}
	return r == -EDQUOT ? -ENOSPC : r;
}

/* What was committed is in this file alone: keep it until the next commit. */
static void begin_new_file(struct draft *d)
{
	draft_close_file(d);
	d->old_file = TAKE(d->file);
	d->gen++;
}

int draft_truncate(struct draft *d, uint64_t size)
{
	uint64_t was;
	int fd, r = 0;

	if (size > OBJECT_SIZE_MAX)
		return -EFBIG;
	WITH_LOCK(&d->lock) {
		r = draft_before_change(d);
		if (r < 0)
			break;
		if (size == 0 && d->row && !d->small && d->file && !d->old_file) {
			begin_new_file(d);
		} else if (d->file || (d->bytes && !draft_to_memory(d, size))) {
			fd = draft_file(d, false);
			r = fd < 0 ? fd : ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
		}
		if (r < 0)
			break;
		(void)extents_remove(&d->missing, size, UINT64_MAX);    /* at the end there is nothing to split */
		was = d->size;
		d->size = size;
		if (d->bytes)
			cut_off(d, -1, was);
		written_now(d);
		draft_measure(d);
	}
	return r;
}

int draft_allocate(struct draft *d, uint64_t end)
{
	uint64_t taken;
	int fd, r = 0;

	if (end > OBJECT_SIZE_MAX)
		return -EFBIG;
	WITH_LOCK(&d->lock) {
		if (end <= d->size)
			break;
		r = draft_before_change(d);
		if (r < 0)
			break;
		fd = draft_file(d, true);
		r = fd < 0 ? fd : take_room(d, d->size, end - d->size, &taken);
		if (r < 0)
			break;
		if (fallocate(fd, 0, (off_t)d->size, (off_t)(end - d->size)) < 0)
			r = errno == EOPNOTSUPP || errno == ENOSYS ? (ftruncate(fd, (off_t)end) < 0 ? -errno : 0) : -errno;
		if (r == 0)
			d->size = end;
		else
			(void)ftruncate(fd, (off_t)d->size);    /* what came of it is not to be seen when the file grows */
		written_now(d);
		room_back(d, taken);
	}
	return r == -EDQUOT ? -ENOSPC : r;
}

int draft_missing(struct draft *d, uint64_t at, uint64_t n, struct range *ret)
{
	uint64_t end = n > UINT64_MAX - at ? UINT64_MAX : at + n;
	struct extent e;
	bool found = false;

	WITH_LOCK(&d->lock)
		found = extents_first(&d->missing, at, end, &e);
	if (found)
		*ret = (struct range){e.first, e.end - e.first};
	return found;
}

int draft_fill(struct draft *d, uint64_t at, const void *p, size_t n)
{
	struct extent e;
	uint64_t taken;
	int fd, r = 0;

	WITH_LOCK(&d->lock) {
		while (r == 0 && extents_first(&d->missing, at, at + n, &e)) {
			fd = place(d, e.end);
			r = fd < 0 ? fd : take_room(d, e.first, e.end - e.first, &taken);
			if (r < 0)
				break;
			r = put(d, fd, (const char *)p + (e.first - at), e.end - e.first, e.first);
			if (r == 0)
				r = extents_remove(&d->missing, e.first, e.end);
			room_back(d, taken);
		}
	}
	return r == -EDQUOT ? -ENOSPC : r;
}

int draft_read(struct draft *d, void *p, size_t n, uint64_t at, size_t *ret_n)
{
	struct extent e;
	int fd, r = 0;

	*ret_n = 0;
	WITH_LOCK(&d->lock) {
		if (at >= d->size)
			break;
		if (n > d->size - at)
			n = (size_t)(d->size - at);
		if (extents_first(&d->missing, at, at + n, &e)) {
			r = -EAGAIN;
			break;
		}
		if (d->bytes) {
			memcpy(p, d->bytes + at, n);
		} else if (!d->file) {
			memset(p, 0, n);
		} else {
			fd = draft_file(d, false);
			r = fd < 0 ? (fd == -ENOENT ? -EIO : fd) : file_pread_all(fd, p, n, (off_t)at);
		}
		if (r == 0)
			*ret_n = n;
	}
	return r == -ENODATA ? -EIO : r;        /* somebody else has cut the file */
}

/* lseek() on the file, which there may not be; never behind the draft's end. In memory all of it is data. */
static uint64_t seek_in_file(struct draft *d, uint64_t at, int whence)
{
	int fd;
	off_t to;

	if (d->bytes)
		return whence == SEEK_DATA ? at : d->size;
	fd = draft_file(d, false);
	to = fd < 0 ? -1 : lseek(fd, (off_t)at, whence);
	if (to < 0)
		return whence == SEEK_HOLE && fd < 0 ? at : d->size;
	return (uint64_t)to < d->size ? (uint64_t)to : d->size;
}

int draft_seek(struct draft *d, uint64_t at, bool data, uint64_t *ret)
{
	struct extent e;
	uint64_t to = at;
	int r = 0;

	WITH_LOCK(&d->lock) {
		if (at >= d->size) {
			r = -ENXIO;
			break;
		}
		/* What is missing is data: base's. */
		if (data) {
			to = seek_in_file(d, at, SEEK_DATA);
			if (extents_first(&d->missing, at, d->size, &e) && e.first < to)
				to = e.first;
			if (to >= d->size)
				r = -ENXIO;
		} else {
			for (to = at; to < d->size; to = e.end) {
				to = seek_in_file(d, to, SEEK_HOLE);
				if (!extents_first(&d->missing, to, to + 1, &e))
					break;
			}
		}
	}
	if (r == 0)
		*ret = to;
	return r;
}
