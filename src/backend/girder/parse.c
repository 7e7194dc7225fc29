/* parse.c - Girder's JSON to objects. Pure; every field may be absent, null or of another type. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/girder/private.h"

/* ---- errors ---- */

int girder_errno(int status, const char *body, size_t n, char message[200])
{
	_cleanup_(json_freep) struct json *j = NULL;
	const char *words = "", *type = "", *field = "";
	_cleanup_free_ char *safe = NULL;

	message[0] = 0;
	if (json_parse(body, n, &j) == 0) {
		(void)json_str_opt(j, "message", &words);       /* absent or strange: then without words */
		(void)json_str_opt(j, "type", &type);
		(void)json_str_opt(j, "field", &field);
	}
	safe = str_printable(words, 190);
	snprintf(message, 200, "%s", safe ? safe : "");
	if (status == 400) {
		/* Girder says 400 where others say 404. */
		if (str_starts(words, "No such ") || str_starts(words, "Path not found") || strstr(words, " not found:") ||
		    (str_starts(words, "Invalid ") && strstr(words, " id (")) || strcmp(field, "id") == 0)
			return -ENOENT;
		if (str_starts(words, "No matching route"))
			return -ENOTSUP;
		if (strstr(words, "already exists"))
			return -EEXIST;
		if (strstr(words, "storage quota"))
			return -EDQUOT;
		if (strstr(words, "insufficient free space"))
			return -ENOSPC;
		return -EINVAL;
	}
	if (status == 500 && strstr(words, "No current assetstore"))
		return -ENOSPC;
	return http_status_errno(status);
}

/* ---- small things ---- */

bool girder_is_array(const struct buf *text)
{
	const char *p = buf_str(text);

	return p[strspn(p, " \t\r\n")] == '[';
}

const char *girder_id(const char *id)
{
	const char *slash = strchr(id, '/');

	return slash ? slash + 1 : id;
}

const char *girder_file(const char *content)
{
	const char *file = strstr(content, "file/");

	return file ? file : content;
}

bool girder_is(const char *id, const char *type)
{
	size_t n = strlen(type);

	return strncmp(id, type, n) == 0 && (id[n] == '/' || !id[n]);
}

static bool is_object_id(const char *s)
{
	return strlen(s) == 24 && strspn(s, "0123456789abcdef") == 24;
}

unsigned parse_rights(const struct json *j)
{
	int64_t level = -1;
	bool public = false;
	unsigned rights = 0;

	(void)json_i64_opt(j, "_accessLevel", &level);  /* strange: as if not said */
	(void)json_bool_opt(j, "public", &public);
	if (public)
		rights |= RIGHT_PUBLIC | RIGHT_READ;
	/* A listing shows only what may be read; -1 is what people without an entry of their own see on public folders. */
	if (level >= 0 || !json_get(j, "_accessLevel"))
		rights |= RIGHT_READ;
	if (level >= 1)
		rights |= RIGHT_WRITE;
	if (level >= 2)
		rights |= RIGHT_ADMIN;
	return rights;
}

static int start(const struct json *j, const char *type, struct object *o)
{
	const char *id;
	int r = json_str(j, "_id", &id);

	if (r < 0)
		return r;
	if (!is_object_id(id))
		return -EBADMSG;
	return str_fmt(&o->id, "%s/%s", type, id);
}

static struct timespec later(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec) ? a : b;
}

/* The answer to a change has microseconds, whoever reads later gets milliseconds. */
static void cut(struct timespec *t)
{
	t->tv_nsec -= t->tv_nsec % 1000000;
}

static int times(const struct json *j, struct timespec *created, struct timespec *updated)
{
	int r = json_time_opt(j, "created", created);

	*updated = *created;
	if (r == 0)
		r = json_time_opt(j, "updated", updated);
	cut(created);
	cut(updated);
	return r;
}

/* What a mount with -o mtime=meta keeps in the metadata. */
static int set_time(const struct json *j, struct object *o)
{
	const struct json *meta = json_get(j, "meta");
	const char *text = json_is_object(meta) ? json_text(json_get(meta, GIRDER_MTIME_KEY)) : NULL;

	return text && strlen(text) <= SET_TIME_MAX ? str_dup(text, &o->set_time) : 0;
}

static int end(int r, struct object *o, struct object *ret)
{
	if (r < 0) {
		object_done(o);
		return r;
	}
	*ret = *o;
	return 0;
}

/* ---- documents ---- */

int parse_folder(const struct json *j, struct object *ret)
{
	struct object o = {.kind = OBJECT_DIR};
	const char *type = "folder", *name = NULL;
	struct timespec created = {0};
	int r = json_str_opt(j, "_modelType", &type);

	if (r == 0 && strcmp(type, "collection") != 0 && strcmp(type, "user") != 0 && strcmp(type, "folder") != 0)
		return -EBADMSG;
	if (r == 0)
		r = start(j, type, &o);
	if (r == 0)
		r = json_str(j, strcmp(type, "user") == 0 ? "login" : "name", &name);
	if (r == 0)
		r = str_dup(name, &o.name);
	if (r == 0)
		r = times(j, &created, &o.mtime);
	if (r == 0)
		r = set_time(j, &o);
	o.ctime = o.listed = o.mtime;
	o.rights = parse_rights(j);
	return end(r, &o, ret);
}

int parse_item(const struct json *j, enum items items, unsigned rights, struct object *ret)
{
	struct object o = {.kind = OBJECT_UNKNOWN, .rights = rights};
	const char *name = NULL;
	int r = start(j, "item", &o);

	if (r == 0)
		r = json_str(j, "name", &name);
	if (r == 0)
		r = str_dup(name, &o.name);
	if (r == 0)
		r = json_u64_opt(j, "size", &o.size);
	if (r == 0)
		r = times(j, &o.mtime, &o.listed);
	if (r == 0)
		r = set_time(j, &o);
	o.ctime = o.listed;
	if (items == ITEMS_DIR) {
		o.kind = OBJECT_DIR;
		o.mtime = o.listed;
		o.size = 0;
	} else if (items == ITEMS_ASSUME_SINGLE || items == ITEMS_FILE) {
		o.kind = OBJECT_FILE;
	}
	return end(r, &o, ret);
}

int parse_item_dir(const struct json *j, unsigned rights, struct object *ret)
{
	struct object o = {0};
	char *id;
	int r = parse_item(j, ITEMS_DIR, rights, &o);

	if (r == 0)
		r = str_fmt(&id, "item-dir/%s", girder_id(o.id));
	if (r == 0) {
		free(o.id);
		o.id = id;
	}
	return end(r, &o, ret);
}

/* Was the content replaced since the file was made? A replacement moves `created`; the seconds of the making stand in the id. */
static bool was_replaced(const char *id, struct timespec created)
{
	char seconds[9] = {0};

	memcpy(seconds, girder_id(id), 8);
	return created.tv_sec > (time_t)strtoul(seconds, NULL, 16) + 1;
}

int parse_file(const struct json *j, unsigned rights, struct object *ret)
{
	struct object o = {.kind = OBJECT_FILE, .rights = rights, .size = OBJECT_SIZE_UNKNOWN};
	const char *name = NULL, *mime = NULL, *sha = NULL, *link = NULL, *item = NULL;
	struct timespec created = {0}, updated = {0};
	bool whole;
	int r = start(j, "file", &o);

	if (r == 0)
		r = json_str(j, "name", &name);
	if (r == 0)
		r = str_dup(name, &o.name);
	if (r == 0)
		r = json_u64_opt(j, "size", &o.size);
	if (r == 0)
		r = json_str_opt(j, "mimeType", &mime);
	if (r == 0)
		r = json_str_opt(j, "linkUrl", &link);
	if (r == 0)
		r = json_str_opt(j, "sha512", &sha);
	if (r == 0)
		r = times(j, &created, &updated);
	if (r == 0 && o.size == OBJECT_SIZE_UNKNOWN && !link)
		r = -EBADMSG;
	if (r == 0)
		r = str_dup(mime, &o.mime);
	if (link)
		o.rights &= ~RIGHT_WRITE;       /* what it leads to is nobody's to write here */
	whole = r == 0 && !link && o.size && girder_name_unservable(name);
	if (whole)
		r = json_str(j, "itemId", &item);
	if (whole && r == 0 && !is_object_id(item))
		r = -EBADMSG;
	if (whole && r == 0)
		r = str_fmt(&o.content, "zip-item/%s/%s", item, o.id);
	else if (r == 0)
		r = str_fmt(&o.content, "%s%s", link ? "link-" : "", o.id);
	/* In an S3 store a replaced content keeps the sha512 of the old one, and nothing tells which store it is: the digest of
	 * a replaced content vouches for nothing. */
	if (r == 0 && sha && strlen(sha) == 128 && strspn(sha, "0123456789abcdefABCDEF") == 128 && !link && !was_replaced(o.id, created))
		r = str_fmt(&o.digest, "sha512:%s", sha);
	/* The official client's download cache keys on id and created too: a replaced content has a new `created`. */
	if (r == 0 && o.size != OBJECT_SIZE_UNKNOWN)
		r = str_fmt(&o.version, "%s:%lld.%03ld:%llu", girder_id(o.id), (long long)created.tv_sec,
		            created.tv_nsec / 1000000, (unsigned long long)o.size);
	if (r == 0 && whole)
		r = str_dup("the server cannot send a file of this name: it is read through a whole download of its item", &o.error);
	o.mtime = o.listed = created;
	o.ctime = later(created, updated);
	return end(r, &o, ret);
}

/* ---- what an item is shown as ---- */

/* Python's str.strip() on what people type: ASCII blanks and the no-break and wide spaces. */
void parse_trimmed(const char *s, const char **ret, size_t *ret_n)
{
	static const char *const blanks[] = {" ", "\t", "\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x1f", "\xc2\x85", "\xc2\xa0",
	                                     "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85",
	                                     "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
	                                     "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80", "\xe1\x9a\x80"};
	size_t n = strlen(s), count = sizeof(blanks) / sizeof(blanks[0]);

	for (size_t i = 0; i < count; i++)
		if (str_starts(s, blanks[i])) {
			s += strlen(blanks[i]);
			n -= strlen(blanks[i]);
			i = (size_t)-1;
		}
	for (size_t i = 0; i < count; i++) {
		size_t l = strlen(blanks[i]);

		if (n >= l && memcmp(s + n - l, blanks[i], l) == 0) {
			n -= l;
			i = (size_t)-1;
		}
	}
	*ret = s;
	*ret_n = n;
}

static bool same_name(const char *item, const char *file)
{
	const char *a, *b;
	size_t n, m;

	parse_trimmed(item, &a, &n);
	parse_trimmed(file, &b, &m);
	return n == m && memcmp(a, b, n) == 0;
}

static void become_file(struct object *io, struct object *file)
{
	struct timespec item_ctime = io->listed;

	io->kind = OBJECT_FILE;
	io->size = file->size;
	io->mtime = file->mtime;
	io->ctime = later(file->ctime, item_ctime);
	free(io->version);
	free(io->content);
	free(io->digest);
	free(io->mime);
	free(io->error);
	io->version = TAKE(file->version);
	io->content = TAKE(file->content);
	io->digest = TAKE(file->digest);
	io->mime = TAKE(file->mime);
	io->error = TAKE(file->error);
	io->rights = file->rights;
}

/* Nothing of it can be read. */
static void become_empty(struct object *io, enum object_kind kind)
{
	io->kind = kind;
	io->size = 0;
	io->mtime = io->ctime = io->listed;
	free(io->version);
	free(io->content);
	free(io->digest);
	free(io->mime);
	free(io->error);
	io->version = io->content = io->digest = io->mime = io->error = NULL;
}

int parse_merge(const struct json *j, struct object *io)
{
	struct object file = {0};
	int r = parse_file(j, io->rights, &file);

	if (r < 0)
		return r;
	become_file(io, &file);
	object_done(&file);
	return 0;
}

int parse_classify(const struct json *files, enum items items, struct object *io)
{
	const struct json *first = json_first(files), *chosen = NULL, *f;
	const char *name = NULL, *link = NULL, *id = NULL, *lowest = NULL;
	bool named, best = false;
	unsigned n = 0;

	if (!json_is_array(files))
		return -EBADMSG;
	for (f = first; f; f = json_next(f), n++) {
		if (json_str(f, "name", &name) < 0 || json_str(f, "_id", &id) < 0)
			return -EBADMSG;
		/* The one of its own name, else whichever is oldest: the lowest id. */
		named = strcmp(name, io->name) == 0;
		if (items == ITEMS_FILE && (!chosen || named > best || (named == best && strcmp(id, lowest) < 0))) {
			chosen = f;
			lowest = id;
			best = named;
		}
	}
	if (items != ITEMS_FILE && n == 1) {
		if (json_str_opt(first, "linkUrl", &link) < 0 || json_str(first, "name", &name) < 0)
			return -EBADMSG;
		if (link || same_name(io->name, name))
			chosen = first;
	}
	if (!chosen) {
		/* An item without files is no empty file, unless all are to be files. */
		become_empty(io, items == ITEMS_FILE ? OBJECT_FILE : OBJECT_DIR);
		return items == ITEMS_FILE ? str_dup("empty", &io->version) : 0;
	}
	return parse_merge(chosen, io);
}

/* ---- names that the server stores but cannot send ---- */

/* The character at s, UTF-8; 0 for what is none. */
static unsigned code_point(const char *s, size_t n)
{
	unsigned c = (unsigned char)*s;

	if (n < 2)
		return c < 0x80 ? c : 0;
	c &= n == 2 ? 0x1f : n == 3 ? 0x0f : 0x07;
	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)s[i] & 0x3f);
	return c;
}

/* Content-Disposition is made by taking the name apart (NFKD) and dropping what Latin-1 does not have; where something of
 * Latin-1's upper half stays, the header cannot be made. These are the characters of Unicode for which that holds. */
bool girder_name_unservable(const char *name)
{
	static const struct {
		unsigned first, last;
	} bad[] = {
		{0x80, 0x9f}, {0xa1, 0xa7}, {0xa9, 0xa9}, {0xab, 0xae}, {0xb0, 0xb1}, {0xb6, 0xb7}, {0xbb, 0xbb}, {0xbf, 0xbf}, {0xc6, 0xc6},
		{0xd0, 0xd0}, {0xd7, 0xd8}, {0xde, 0xdf}, {0xe6, 0xe6}, {0xf0, 0xf0}, {0xf7, 0xf8}, {0xfe, 0xfe}, {0x13f, 0x140},
		{0x1e2, 0x1e3}, {0x1fc, 0x1ff}, {0x387, 0x387}, {0x1d2d, 0x1d2d}, {0x1d9e, 0x1d9e}, {0x2103, 0x2103}, {0x2109, 0x2109},
		{0xffe0, 0xffe2}, {0xffe4, 0xffe5}, {0x10783, 0x10783}, {0x107a2, 0x107a2},
	};

	for (size_t left = strlen(name), n; left; name += n, left -= n) {
		unsigned c;

		n = str_utf8_char(name, left);
		if (!n)
			n = 1;
		c = code_point(name, n);
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
			if (c >= bad[i].first && c <= bad[i].last)
				return true;
	}
	return false;
}
