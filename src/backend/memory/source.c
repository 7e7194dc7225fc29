/* source.c - what follows "memory:": words that say what the tree is like and how its calls behave. Pure. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/private.h"

static const struct word {
	const char *name;
	int (*parse)(const char *s, uint64_t *ret);
	uint64_t least, most;
	size_t at;
	const char *want;
	bool shapes;                    /* it asks for a made tree */
} words[] = {
	{"files", str_parse_u64, 0, FILES_MAX, offsetof(struct shape, files), "a number up to 1000000", true},
	{"dirs", str_parse_u64, 0, DIRS_MAX, offsetof(struct shape, dirs), "a number up to 100000", true},
	{"size", str_parse_size, 0, SIZE_MAX_MADE, offsetof(struct shape, size), "a size up to 1T, as 4k", true},
	{"page", str_parse_u64, 1, PAGE_MAX, offsetof(struct shape, page), "a number from 1 to 1000000", false},
	{"delay", str_parse_duration, 0, DELAY_MAX_MS, offsetof(struct shape, delay_ms), "a time up to 60s, as 50ms", false},
	{"changes", str_parse_duration, 10, 86400000, offsetof(struct shape, changes_ms), "a time from 10ms to a day, as 5s", false},
	{"unknown", str_parse_u64, 0, 1, offsetof(struct shape, unknown), "0 or 1", false},
	{"readonly", str_parse_u64, 0, 1, offsetof(struct shape, readonly), "0 or 1", false},
	{"papers", str_parse_u64, 0, 1, offsetof(struct shape, papers), "0 or 1", false},
	{"lanes", str_parse_u64, 0, 1, offsetof(struct shape, lanes), "0 or 1", false},
	{"batch", str_parse_u64, 1, 256, offsetof(struct shape, batch), "a number from 1 to 256", false},
	{"room", str_parse_size, 0, ROOM_MAX, offsetof(struct shape, room), "a size up to 1T, as 256M", false},
	{"quota", str_parse_size, 1, ROOM_MAX, offsetof(struct shape, quota), "a size from 1 to 1T, as 100M", false},
	{"updelay", str_parse_duration, 0, DELAY_MAX_MS, offsetof(struct shape, updelay_ms), "a time up to 60s, as 50ms", false},
	{"cut", str_parse_u64, 1, UINT32_MAX, offsetof(struct shape, cut), "a number from 1 on", false},
};
#define WORDS (sizeof(words) / sizeof(words[0]))

static const struct {
	const char *name;
	int err;
} errors[] = {
	{"EACCES", EACCES}, {"EAGAIN", EAGAIN}, {"EBADMSG", EBADMSG}, {"ECONNREFUSED", ECONNREFUSED}, {"ECONNRESET", ECONNRESET},
	{"EHOSTDOWN", EHOSTDOWN}, {"EINVAL", EINVAL}, {"EIO", EIO}, {"ENOENT", ENOENT}, {"ENOMEM", ENOMEM}, {"EPERM", EPERM},
	{"EPROTO", EPROTO}, {"ESTALE", ESTALE}, {"ETIMEDOUT", ETIMEDOUT}, {"EBUSY", EBUSY}, {"EDQUOT", EDQUOT}, {"EEXIST", EEXIST},
	{"EFBIG", EFBIG}, {"ENOSPC", ENOSPC}, {"ENOTEMPTY", ENOTEMPTY}, {"EROFS", EROFS},
};

static int error_of(const char *name)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (strcmp(errors[i].name, name) == 0)
			return -errors[i].err;
	return 0;
}

static int bad(const char *name, const char *value, const char *want, char **why)
{
	(void)str_fmt(why, "memory: %s is not %s but should be %s", name, value, want);
	return -EINVAL;
}

/* A number is a percentage of calls; NAME:ERRNO[:TIME] what calls about one name give, from so long after the mount on. */
static int parse_fail(char *value, struct shape *s, char **why)
{
	static const char want[] = "a percentage, or NAME:ERRNO, or NAME:ERRNO:TIME, as a.txt:EACCES or *:EHOSTDOWN:10s";
	_cleanup_(cleanup_freep) char **parts = NULL;
	struct fail f = {0};
	int r;

	if (str_parse_u64(value, &s->fail_percent) == 0)
		return s->fail_percent <= 100 ? 0 : bad("fail", value, want, why);
	r = str_split(value, ':', &parts);
	if (r < 0)
		return r;
	f.err = parts[0] && parts[1] ? error_of(parts[1]) : 0;
	if (!f.err || (parts[2] && (parts[3] || str_parse_duration(parts[2], &f.after_ms) < 0)))
		return bad("fail", value, want, why);
	if (s->n_fails == FAILS_MAX) {
		(void)str_fmt(why, "memory: more than %d times fail=", FAILS_MAX);
		return -EINVAL;
	}
	r = str_dup(parts[0], &f.name);
	if (r == 0)
		s->fails[s->n_fails++] = f;
	return r;
}

/* NAME:ERRNO[:TIMES] */
static int parse_refuse(char *value, struct shape *s, char **why)
{
	static const char want[] = "NAME:ERRNO, or NAME:ERRNO:TIMES, as a.txt:EDQUOT or *:EACCES:2";
	_cleanup_(cleanup_freep) char **parts = NULL;
	struct refusal f = {.times = UINT64_MAX};
	int r = str_split(value, ':', &parts);

	if (r < 0)
		return r;
	f.err = parts[0] && parts[1] ? error_of(parts[1]) : 0;
	if (!f.err || (parts[2] && (parts[3] || str_parse_u64(parts[2], &f.times) < 0)))
		return bad("refuse", value, want, why);
	if (s->n_refusals == REFUSALS_MAX) {
		(void)str_fmt(why, "memory: more than %d times refuse=", REFUSALS_MAX);
		return -EINVAL;
	}
	r = str_dup(parts[0], &f.name);
	if (r == 0)
		s->refusals[s->n_refusals++] = f;
	return r;
}

/* "20%": of a hundred answers; "3": each third one. */
static int parse_lose(char *value, struct shape *s, char **why)
{
	bool percent = str_ends(value, "%");
	uint64_t n;

	if (percent)
		value[strlen(value) - 1] = 0;
	if (str_parse_u64(value, &n) < 0 || n < 1 || n > (percent ? 100u : UINT32_MAX))
		return bad("lose", value, "a percentage, written as 20%25, or a number as 3, for each third answer", why);
	if (percent)
		s->lose_percent = n;
	else
		s->lose_each = n;
	return 0;
}

static int parse_text(const char *name, const char *value, char **to, char **why)
{
	if (!*value)
		return bad(name, value, "a name", why);
	free(TAKE(*to));
	return str_dup(value, to);
}

static int parse_store(const char *value, struct shape *s, char **why)
{
	if (*value != '/' || strlen(value) > STORE_MAX)
		return bad("store", value, "the whole path of a folder", why);
	return parse_text("store", value, &s->store, why);
}

static int parse_word(const char *name, char *value, struct shape *s, char **why)
{
	if (strcmp(name, "fail") == 0)
		return parse_fail(value, s, why);
	if (strcmp(name, "refuse") == 0)
		return parse_refuse(value, s, why);
	if (strcmp(name, "lose") == 0)
		return parse_lose(value, s, why);
	if (strcmp(name, "store") == 0)
		return parse_store(value, s, why);
	if (strcmp(name, "taken") == 0)
		return parse_text(name, value, &s->taken, why);
	if (strcmp(name, "moved") == 0)
		return parse_text(name, value, &s->moved, why);
	for (size_t i = 0; i < WORDS; i++) {
		const struct word *w = &words[i];
		uint64_t n;

		if (strcmp(w->name, name) != 0)
			continue;
		if (w->parse(value, &n) < 0 || n < w->least || n > w->most)
			return bad(name, value, w->want, why);
		memcpy((char *)s + w->at, &n, sizeof(n));
		s->made |= w->shapes;
		return 0;
	}
	(void)str_fmt(why, "memory: there is no word \"%s\": files, dirs, size, page, delay, fail, unknown, changes, readonly, room, quota, "
	              "store, papers, lanes, batch, updelay, refuse, lose, cut, taken and moved are known", name);
	return -EINVAL;
}

static int parse_query(const char *query, struct shape *s, char **why)
{
	_cleanup_(cleanup_freep) char **parts = NULL;
	int r = str_split(query, '&', &parts);

	for (size_t i = 0; r == 0 && parts[i]; i++) {
		_cleanup_free_ char *plain = NULL;
		char *value = strchr(parts[i], '=');

		if (!*parts[i])
			continue;
		if (value)
			*value++ = 0;
		if (str_percent_decode(value ? value : "1", &plain) < 0)
			return bad(parts[i], value ? value : "", "percent-encoded rightly", why);
		r = parse_word(parts[i], plain, s, why);
	}
	return r;
}

int shape_parse(const char *source, struct shape *ret, char **why)
{
	struct shape s = {.files = 1, .size = 4096, .page = PAGE_DEFAULT, .room = ROOM_DEFAULT};
	const char *rest = source + strlen("memory:");
	int r = 0;

	if (*rest == '?') {
		r = parse_query(rest + 1, &s, why);
	} else if (*rest) {
		(void)str_fmt(why, "%s: behind memory: only ?WORD=VALUE&... can stand", source);
		r = -EINVAL;
	}
	if (r < 0) {
		shape_done(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void shape_done(struct shape *s)
{
	for (size_t i = 0; i < s->n_fails; i++)
		free(s->fails[i].name);
	for (size_t i = 0; i < s->n_refusals; i++)
		free(s->refusals[i].name);
	s->n_fails = s->n_refusals = 0;
	free(TAKE(s->store));
	free(TAKE(s->taken));
	free(TAKE(s->moved));
}
