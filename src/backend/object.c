/* object.c - the plain value: free it, copy it, write it down as JSON and read it back. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/str.h"

void object_done(struct object *o)
{
	free(o->id);
	free(o->name);
	free(o->version);
	free(o->content);
	free(o->digest);
	free(o->mime);
	free(o->target);
	free(o->error);
	free(o->set_time);
	memset(o, 0, sizeof(*o));
}

int object_copy(const struct object *from, struct object *ret)
{
	struct object o = *from;

	o.id = o.name = o.version = o.content = o.digest = o.mime = o.target = o.error = o.set_time = NULL;
	if (str_dup(from->id, &o.id) < 0 || str_dup(from->name, &o.name) < 0 || str_dup(from->version, &o.version) < 0 ||
	    str_dup(from->content, &o.content) < 0 || str_dup(from->digest, &o.digest) < 0 ||
	    str_dup(from->mime, &o.mime) < 0 || str_dup(from->target, &o.target) < 0 || str_dup(from->error, &o.error) < 0 ||
	    str_dup(from->set_time, &o.set_time) < 0) {
		object_done(&o);
		return -ENOMEM;
	}
	*ret = o;
	return 0;
}

/* The strings, by the names under which they are written down. */
static const struct {
	const char *name;
	size_t at;
} texts[] = {
	{"id", offsetof(struct object, id)}, {"name", offsetof(struct object, name)}, {"version", offsetof(struct object, version)},
	{"content", offsetof(struct object, content)}, {"digest", offsetof(struct object, digest)}, {"mime", offsetof(struct object, mime)},
	{"target", offsetof(struct object, target)}, {"error", offsetof(struct object, error)},
	{"set_time", offsetof(struct object, set_time)},
};
#define TEXTS (sizeof(texts) / sizeof(texts[0]))

static char **text_of(struct object *o, size_t i)
{
	return (char **)((char *)o + texts[i].at);
}

static int write_time(struct buf *b, const char *name, struct timespec t)
{
	return t.tv_sec || t.tv_nsec ? buf_addf(b, ",\"%s\":%lld,\"%s_ns\":%ld", name, (long long)t.tv_sec, name, t.tv_nsec) : 0;
}

int object_write_json(const struct object *o, struct buf *b)
{
	int r = buf_addf(b, "\"kind\":%d,\"rights\":%u", (int)o->kind, o->rights);

	if (r == 0 && o->size != OBJECT_SIZE_UNKNOWN)
		r = buf_addf(b, ",\"size\":%llu", (unsigned long long)o->size);
	if (r == 0)
		r = write_time(b, "mtime", o->mtime);
	if (r == 0)
		r = write_time(b, "ctime", o->ctime);
	if (r == 0)
		r = write_time(b, "listed", o->listed);
	for (size_t i = 0; r == 0 && i < TEXTS; i++) {
		const char *text = *text_of((struct object *)o, i);

		if (!text)
			continue;
		r = buf_addf(b, ",\"%s\":", texts[i].name);
		if (r == 0)
			r = json_write_str(b, text);
	}
	return r;
}

static int read_time(const struct json *j, const char *name, struct timespec *ret)
{
	char fraction[16];
	int64_t s = 0, ns = 0;
	int r = json_i64_opt(j, name, &s);

	snprintf(fraction, sizeof(fraction), "%s_ns", name);
	if (r == 0)
		r = json_i64_opt(j, fraction, &ns);
	if (r == 0 && (ns < 0 || ns > 999999999))
		r = -EBADMSG;
	if (r == 0)
		*ret = (struct timespec){s, ns};
	return r;
}

int object_read_json(const struct json *j, struct object *ret)
{
	struct object o = {.size = OBJECT_SIZE_UNKNOWN};
	uint64_t kind = 0, rights = 0;
	int r = json_u64(j, "kind", &kind);

	if (r == 0)
		r = json_u64(j, "rights", &rights);
	if (r == 0 && (kind > OBJECT_LINK || rights > UINT16_MAX))
		r = -EBADMSG;
	o.kind = (enum object_kind)kind;
	o.rights = (unsigned)rights;
	if (r == 0)
		r = json_u64_opt(j, "size", &o.size);
	if (r == 0)
		r = read_time(j, "mtime", &o.mtime);
	if (r == 0)
		r = read_time(j, "ctime", &o.ctime);
	if (r == 0)
		r = read_time(j, "listed", &o.listed);
	for (size_t i = 0; r == 0 && i < TEXTS; i++) {
		const char *text = NULL;

		r = json_str_opt(j, texts[i].name, &text);
		if (r == 0)
			r = str_dup(text, text_of(&o, i));
	}
	if (r == 0 && (!o.id || !*o.id || !o.name || (o.kind == OBJECT_LINK && !o.target)))
		r = -EBADMSG;
	if (r < 0) {
		object_done(&o);
		return r;
	}
	*ret = o;
	return 0;
}

/* ---- a time kept in metadata ---- */

#define SECONDS_MAX (1ll << 40)         /* 35,000 years */

static const char *what_it_is_for(const struct object *o)
{
	return o->kind == OBJECT_DIR ? "-" : o->version;
}

int object_write_set_time(const struct object *o, struct timespec t, char **ret)
{
	const char *version = what_it_is_for(o);

	if (!version || !o->id || strlen(o->id) + strlen(version) > SET_TIME_MAX / 2)
		return -ENODATA;
	return str_fmt(ret, "%lld.%09ld %s %s", (long long)t.tv_sec, t.tv_nsec, o->id, version);
}

bool object_set_time(const struct object *o, struct timespec *ret)
{
	const char *text = o->set_time, *version = what_it_is_for(o), *p;
	size_t id = o->id ? strlen(o->id) : 0;
	char *end;
	long long s;
	long ns = 0;

	if (!text || !version || !id || !((*text >= '0' && *text <= '9') || (*text == '-' && text[1] >= '0' && text[1] <= '9')))
		return false;
	errno = 0;
	s = strtoll(text, &end, 10);
	if (errno || s > SECONDS_MAX || s < -SECONDS_MAX || *end != '.')
		return false;
	for (p = end + 1; *p >= '0' && *p <= '9' && p - end <= 9; p++)
		ns = ns * 10 + (*p - '0');
	if (p - end != 10 || *p != ' ' || strncmp(p + 1, o->id, id) != 0 || p[1 + id] != ' ' || strcmp(p + id + 2, version) != 0)
		return false;
	*ret = (struct timespec){s, ns};
	return true;
}
