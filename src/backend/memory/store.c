/* store.c - the overlay in a folder on the disk: a memory that outlives its process, and that several share.
 *
 *     DIR/lock                    whoever reads or changes anything holds it (flock)
 *     DIR/stamp                   another number after each change: who knows an older one reads everything again
 *     DIR/ID.json                 an entry (format 1), '/' of the id as '-'
 *     DIR/ID.VERSION.data         its content
 *     DIR/ID.part                 what has come of an upload
 *
 * An entry is replaced whole and its content has a name of its own, so that a process may be killed anywhere: the stamp is
 * written first, then the content, then the entry, and what that replaced is removed last. A rename over something is one entry
 * that names the other ("over"), which whoever reads it next removes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/memory/private.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

#define FORMAT 1
#define ENTRY_MAX (1u << 20)

static int path_of(const struct memory *m, const char *id, const char *tail, char **ret)
{
	_cleanup_free_ char *flat = strdup(id);

	if (!flat)
		return -ENOMEM;
	for (char *p = flat; *p; p++)
		if (*p == '/')
			*p = '-';
	return str_fmt(ret, "%s/%s%s", m->shape.store, flat, tail);
}

static int content_path(const struct memory *m, const char *id, const char *version, char **ret)
{
	_cleanup_free_ char *tail = NULL;
	int r = str_fmt(&tail, ".%s.data", version);

	return r < 0 ? r : path_of(m, id, tail, ret);
}

/* ---- reading ---- */

/* Names and targets may be any bytes, which JSON cannot hold: they are percent-encoded there. */
static int decode(char **io)
{
	char *plain = NULL;
	int r = *io ? str_percent_decode(*io, &plain) : 0;

	if (r == 0 && *io) {
		free(*io);
		*io = plain;
	}
	return r;
}

static int encode(char **io)
{
	char *coded = NULL;
	int r = *io ? str_percent_encode(*io, strlen(*io), "", &coded) : 0;

	if (r == 0 && *io) {
		free(*io);
		*io = coded;
	}
	return r;
}

static int read_entry(const struct json *j, struct entry *e)
{
	const char *parent, *meta = NULL, *upload = NULL, *over = NULL;
	uint64_t format = 0;
	int r = json_u64(j, "format", &format);

	if (r == 0 && format != FORMAT)
		r = -EPROTONOSUPPORT;
	if (r == 0)
		r = json_u64(j, "serial", &e->serial);
	if (r == 0)
		r = json_str(j, "parent", &parent);
	if (r == 0)
		r = json_str_opt(j, "meta", &meta);
	if (r == 0)
		r = json_str_opt(j, "upload", &upload);
	if (r == 0)
		r = json_str_opt(j, "over", &over);
	if (r == 0)
		r = json_bool_opt(j, "own", &e->own);
	if (r == 0)
		r = json_bool_opt(j, "based", &e->based);
	if (r == 0)
		r = json_bool_opt(j, "removed", &e->removed);
	if (r == 0)
		r = object_read_json(json_get(j, "object"), &e->o);
	if (r == 0)
		r = decode(&e->o.name);
	if (r == 0)
		r = decode(&e->o.target);
	if (r == 0 && (str_dup(parent, &e->parent) < 0 || str_dup(meta, &e->meta) < 0 || str_dup(upload, &e->upload) < 0 ||
	               str_dup(over, &e->over) < 0))
		r = -ENOMEM;
	return r;
}

static int load_one(struct memory *m, const char *name, struct entry **ret)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_buf_ struct buf text = BUF_MAX(ENTRY_MAX);
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_(overlay_freep) struct entry *e = calloc(1, sizeof(*e));
	int r = e ? str_fmt(&path, "%s/%s", m->shape.store, name) : -ENOMEM;

	if (r == 0)
		r = file_read_whole(path, &text);
	if (r == 0)
		r = json_parse(buf_str(&text), text.len, &j);
	if (r == 0)
		r = read_entry(j, e);
	if (r < 0)
		log_error("%s/%s: not an entry of this store: %s", m->shape.store, name, strerror(-r));
	else
		*ret = TAKE(e);
	return r;
}

static int by_serial(const void *a, const void *b)
{
	const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;

	return x->serial < y->serial ? -1 : x->serial > y->serial;
}

struct loaded {
	VEC(struct entry *) list;
};

static int load_all(struct memory *m, struct loaded *to)
{
	DIR *d = opendir(m->shape.store);
	struct dirent *entry;
	int r = d ? 0 : -errno;

	while (r == 0 && (entry = readdir(d))) {
		struct entry *e = NULL;

		if (!str_ends(entry->d_name, ".json"))
			continue;
		r = load_one(m, entry->d_name, &e);
		if (r == 0 && vec_push(&to->list, e) < 0) {
			overlay_free(e);
			r = -ENOMEM;
		}
	}
	if (d)
		closedir(d);
	if (to->list.n)
		qsort(to->list.at, to->list.n, sizeof(*to->list.at), by_serial);
	return r;
}

static struct entry *unfinished(const struct memory *m)
{
	struct entry *e;

	list_for_each_safe(e, &m->overlay.things, struct entry, link)
		if (e->over)
			return e;
	return NULL;
}

/* A rename over something was broken off between its two halves: do the second one. */
static int finish_rename(struct memory *m, struct entry *e)
{
	int r = overlay_remove(m, e->over);

	if (r < 0 && r != -ENOENT)
		return r;
	free(TAKE(e->over));
	r = overlay_move(m, e, e->parent, e->o.name);
	return r < 0 ? r : overlay_save(m, e);
}

static int load(struct memory *m)
{
	struct loaded all = {0};
	struct entry *e;
	size_t i = 0;
	int r = load_all(m, &all);

	overlay_clear(m);
	for (; r == 0 && i < all.list.n; i++)
		r = overlay_enter(m, all.list.at[i]);
	for (i = r < 0 && i ? i - 1 : i; i < all.list.n; i++)
		overlay_free(all.list.at[i]);
	vec_done(&all.list);
	while (r == 0 && (e = unfinished(m)))
		r = finish_rename(m, e);
	return r;
}

/* ---- the lock and the stamp ---- */

static int read_stamp(const struct memory *m, uint64_t *ret)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_buf_ struct buf text = BUF_MAX(64);
	int r = str_fmt(&path, "%s/stamp", m->shape.store);

	if (r == 0)
		r = file_read_whole(path, &text);
	*ret = r == 0 ? strtoull(buf_str(&text), NULL, 16) : 0;
	return r == -ENOENT ? 0 : r;
}

static int write_stamp(struct memory *m)
{
	_cleanup_free_ char *path = NULL;
	char text[24];
	int n = snprintf(text, sizeof(text), "%016" PRIx64, m->overlay.stamp), r = str_fmt(&path, "%s/stamp", m->shape.store);

	return r < 0 ? r : file_write_atomic(path, text, (size_t)n, 0600);
}

int store_lock(struct memory *m)
{
	uint64_t stamp;
	int r;

	if (!m->shape.store)
		return 0;
	r = file_lock(m->overlay.lock_fd, true, true);
	if (r < 0)
		return r;
	r = read_stamp(m, &stamp);
	if (r == 0 && (stamp != m->overlay.stamp || m->overlay.reread)) {
		m->overlay.stamp = stamp;
		r = load(m);
		m->overlay.reread = r < 0;
	}
	if (r < 0)
		store_unlock(m);
	return r;
}

void store_unlock(struct memory *m)
{
	if (m->shape.store)
		(void)flock(m->overlay.lock_fd, LOCK_UN);
}

int store_open(struct memory *m, char **why)
{
	_cleanup_free_ char *path = NULL;
	int r;

	if (!m->shape.store)
		return 0;
	r = file_mkdirs(m->shape.store, 0700);
	if (r == 0)
		r = str_fmt(&path, "%s/lock", m->shape.store);
	if (r == 0) {
		m->overlay.lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		r = m->overlay.lock_fd < 0 ? -errno : 0;
	}
	m->overlay.reread = true;
	if (r == 0)
		r = overlay_begin(m);
	if (r == 0)
		overlay_end(m);
	else
		(void)str_fmt(why, "%s: cannot be a store: %s", m->shape.store, strerror(-r));
	return r;
}

void store_close(struct memory *m)
{
	if (m->overlay.lock_fd >= 0)
		close(m->overlay.lock_fd);
	m->overlay.lock_fd = -1;
}

/* ---- writing ---- */

static int write_entry(const struct entry *e, struct buf *b)
{
	struct object o = {0};
	int r = object_copy(&e->o, &o);

	if (r == 0)
		r = encode(&o.name);
	if (r == 0)
		r = encode(&o.target);
	if (r == 0)
		r = buf_addf(b, "{\"format\":%d,\"serial\":%" PRIu64 ",\"own\":%s,\"based\":%s,\"removed\":%s,\"parent\":\"%s\"", FORMAT, e->serial,
		             e->own ? "true" : "false", e->based ? "true" : "false", e->removed ? "true" : "false", e->parent);
	if (r == 0 && e->upload)
		r = buf_addf(b, ",\"upload\":\"%s\"", e->upload);
	if (r == 0 && e->over)
		r = buf_addf(b, ",\"over\":\"%s\"", e->over);
	if (r == 0 && e->meta) {
		r = buf_adds(b, ",\"meta\":");
		if (r == 0)
			r = json_write_str(b, e->meta);
	}
	if (r == 0)
		r = buf_adds(b, ",\"object\":{");
	if (r == 0)
		r = object_write_json(&o, b);
	if (r == 0)
		r = buf_adds(b, "}}\n");
	object_done(&o);
	return r;
}

/* What is here is not what is there any more: the next call reads it again. */
static int failed(struct memory *m, int r)
{
	if (r < 0)
		m->overlay.reread = true;
	return r;
}

int store_save(struct memory *m, const struct entry *e)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_buf_ struct buf b = BUF_MAX(ENTRY_MAX);
	int r;

	if (!m->shape.store)
		return 0;
	r = path_of(m, e->o.id, ".json", &path);
	if (r == 0)
		r = write_entry(e, &b);
	if (r == 0)
		r = write_stamp(m);
	if (r == 0)
		r = file_write_atomic(path, b.data, b.len, 0600);
	return failed(m, r);
}

int store_drop(struct memory *m, const struct entry *e)
{
	_cleanup_free_ char *path = NULL;
	int r;

	if (!m->shape.store)
		return 0;
	r = path_of(m, e->o.id, ".json", &path);
	if (r == 0)
		r = write_stamp(m);
	if (r == 0 && unlink(path) < 0)
		r = -errno;
	if (r == 0 && e->own)
		store_drop_content(m, e->o.id, e->o.version);
	return failed(m, r);
}

int store_read_content(struct memory *m, const struct entry *e, struct bytes **ret)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	_cleanup_(bytes_unrefp) struct bytes *b = NULL;
	int r = content_path(m, e->o.id, e->o.version, &path);

	if (r < 0)
		return r;
	b = bytes_new(e->o.size);
	if (!b)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : file_pread_all(fd, b->data, b->n, 0);
	if (r < 0) {
		log_error("%s: %s", path, strerror(-r));
		return -EIO;
	}
	*ret = TAKE(b);
	return 0;
}

int store_write_content(struct memory *m, const char *id, const char *version, const struct bytes *b, const char *part)
{
	_cleanup_free_ char *path = NULL, *from = NULL;
	int r;

	if (!m->shape.store)
		return 0;
	r = content_path(m, id, version, &path);
	if (r < 0 || !part)
		return r < 0 ? r : file_write_atomic(path, b->data, b->n, 0600);
	r = path_of(m, part, ".part", &from);
	if (r == 0 && rename(from, path) < 0)
		r = -errno;
	return r;
}

/* What is left behind is in nobody's way: no entry names it. */
void store_drop_content(struct memory *m, const char *id, const char *version)
{
	_cleanup_free_ char *path = NULL;

	if (m->shape.store && content_path(m, id, version, &path) == 0)
		(void)unlink(path);
}

/* ---- parts ---- */

int store_part_write(struct memory *m, const char *part, const void *p, size_t n, size_t at)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (!m->shape.store)
		return 0;
	r = path_of(m, part, ".part", &path);
	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : file_pwrite_all(fd, p, n, (off_t)at);
}

int store_part_read(struct memory *m, const char *part, struct bytes *b, size_t *ret_got)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	if (!m->shape.store)
		return -ENOENT;
	r = path_of(m, part, ".part", &path);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size > b->n)
		return -EINVAL;
	r = file_pread_all(fd, b->data, (size_t)st.st_size, 0);
	if (r == 0)
		*ret_got = (size_t)st.st_size;
	return r;
}

void store_part_drop(struct memory *m, const char *part)
{
	_cleanup_free_ char *path = NULL;

	if (m->shape.store && path_of(m, part, ".part", &path) == 0)
		(void)unlink(path);
}
