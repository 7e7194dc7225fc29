/* names.c - names, times and places: the time tree's directories, records' file names, what ids say. Pure. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "backend/reduct/private.h"

#define SECOND_US 1000000ull

static const uint64_t spans[] = {0, 86400 * SECOND_US, 3600 * SECOND_US, 60 * SECOND_US, SECOND_US};    /* by level */

/* ---- windows ---- */

struct window window_of(enum level level, uint64_t ts)
{
	struct window w = {level, 0, REDUCT_TS_MAX};

	if (level == LEVEL_ENTRY)
		return WINDOW_ALL;
	w.start = ts - ts % spans[level];
	if (REDUCT_TS_MAX - w.start > spans[level])
		w.end = w.start + spans[level];
	return w;
}

void window_name(const struct window *w, char ret[WINDOW_NAME_MAX])
{
	time_t t = (time_t)(w->start / SECOND_US);
	struct tm tm = {0};

	gmtime_r(&t, &tm);
	switch (w->level) {
	case LEVEL_ENTRY:
		ret[0] = 0;
		break;
	case LEVEL_DAY:
		snprintf(ret, WINDOW_NAME_MAX, "%04lld.%02d.%02d", tm.tm_year + 1900ll, tm.tm_mon + 1, tm.tm_mday);
		break;
	case LEVEL_HOUR:
		snprintf(ret, WINDOW_NAME_MAX, "%02d", tm.tm_hour);
		break;
	case LEVEL_MINUTE:
		snprintf(ret, WINDOW_NAME_MAX, "%02d.m", tm.tm_min);
		break;
	case LEVEL_SECOND:
		snprintf(ret, WINDOW_NAME_MAX, "%02d.s", tm.tm_sec);
		break;
	}
}

bool window_parse(const struct window *in, const char *name, struct window *ret)
{
	char canonical[WINDOW_NAME_MAX];
	struct window w;
	int end = 0;

	if (in->level == LEVEL_SECOND || strlen(name) >= WINDOW_NAME_MAX || !isdigit((unsigned char)*name))
		return false;
	if (in->level == LEVEL_ENTRY) {
		unsigned year, month, day;
		struct tm tm = {0};
		time_t t;

		if (sscanf(name, "%6u.%2u.%2u%n", &year, &month, &day, &end) != 3 || name[end] || year < 1970 || year > 200000)
			return false;
		tm.tm_year = (int)year - 1900;
		tm.tm_mon = (int)month - 1;
		tm.tm_mday = (int)day;
		t = timegm(&tm);
		if (t < 0)
			return false;
		w = window_of(LEVEL_DAY, (uint64_t)t * SECOND_US);
	} else {
		enum level level = in->level + 1;
		unsigned n;

		if (sscanf(name, "%2u", &n) != 1 || n >= (level == LEVEL_HOUR ? 24u : 60u))
			return false;
		w = window_of(level, in->start + n * spans[level]);
	}
	window_name(&w, canonical);
	if (strcmp(canonical, name) != 0)
		return false;   /* the 31st of June, "1.m" */
	*ret = w;
	return true;
}

/* ---- places ---- */

void place_done(struct place *p)
{
	free(p->bucket);
	free(p->entry);
	free(p->name);
	p->bucket = p->entry = p->name = NULL;
}

static int parse_rest(const char *rest, struct place *p)
{
	_cleanup_(cleanup_freep) char **parts = NULL;
	int r;

	if (p->what == IS_NAME)
		return *rest ? str_percent_decode(rest, &p->name) : -EINVAL;
	if (place_is_record(p))
		return str_parse_u64(rest, &p->ts) < 0 || p->ts > REDUCT_TS_MAX ? -EINVAL : 0;
	r = str_split(rest, '/', &parts);
	for (size_t i = 0; r == 0 && parts[i]; i++)
		if (!window_parse(&p->window, parts[i], &p->window))
			r = -EINVAL;
	return r;
}

int place_parse(const char *id, struct place *ret)
{
	static const char *const words[] = {[IS_ROOT] = "root", [IS_BUCKET] = "bucket:", [IS_ENTRY] = "entry:", [IS_TIME] = "time:",
	                                    [IS_RECORD] = "record:", [IS_VERSIONS] = "versions:", [IS_NAME] = "name:",
	                                    [IS_VERSION] = "version:"};
	struct place p = {.window = WINDOW_ALL};
	const char *rest = NULL, *slash, *end;
	int r = 0;

	if (strcmp(id, "root") == 0) {
		*ret = p;
		return 0;
	}
	for (p.what = IS_BUCKET; p.what <= IS_VERSION && !str_starts(id, words[p.what]); p.what++)
		;
	if (p.what > IS_VERSION)
		return -EINVAL;
	id += strlen(words[p.what]);
	if (p.what == IS_BUCKET) {
		r = *id ? str_dup(id, &p.bucket) : -EINVAL;
		if (r == 0)
			*ret = p;
		return r;
	}
	slash = strchr(id, '/');
	end = id + strlen(id);
	if (p.what != IS_ENTRY && p.what != IS_VERSIONS) {
		rest = strrchr(id, ':');
		end = rest;
	}
	if (!slash || slash == id || !end || slash + 1 >= end)
		return -EINVAL;
	if (str_fmt(&p.bucket, "%.*s", (int)(slash - id), id) < 0 || str_fmt(&p.entry, "%.*s", (int)(end - slash - 1), slash + 1) < 0)
		r = -ENOMEM;
	if (r == 0 && rest)
		r = parse_rest(rest + 1, &p);
	if (r < 0) {
		place_done(&p);
		return r;
	}
	*ret = p;
	return 0;
}

static int name_id(const struct place *p, char **ret)
{
	_cleanup_free_ char *name = NULL;
	int r = str_percent_encode(p->name, strlen(p->name), NULL, &name);

	return r < 0 ? r : str_fmt(ret, "name:%s/%s:%s", p->bucket, p->entry, name);
}

int place_id(const struct place *p, char **ret)
{
	char path[4 * WINDOW_NAME_MAX] = "";

	switch (p->what) {
	case IS_ROOT:
		return str_dup("root", ret);
	case IS_BUCKET:
		return str_fmt(ret, "bucket:%s", p->bucket);
	case IS_ENTRY:
		return str_fmt(ret, "entry:%s/%s", p->bucket, p->entry);
	case IS_RECORD:
	case IS_VERSION:
		return str_fmt(ret, "%s:%s/%s:%" PRIu64, p->what == IS_RECORD ? "record" : "version", p->bucket, p->entry, p->ts);
	case IS_VERSIONS:
		return str_fmt(ret, "versions:%s/%s", p->bucket, p->entry);
	case IS_NAME:
		return name_id(p, ret);
	case IS_TIME:
		break;
	}
	for (enum level l = LEVEL_DAY; l <= p->window.level; l++) {
		struct window w = window_of(l, p->window.start);
		size_t n = strlen(path);

		if (n)
			path[n++] = '/';
		window_name(&w, path + n);
	}
	return str_fmt(ret, "time:%s/%s:%s", p->bucket, p->entry, path);
}

/* ---- names ---- */

bool name_is_segment(const char *name)
{
	if (!*name || strlen(name) > 255)
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && *name != '_' && *name != '-')
			return false;
	return true;
}

bool name_is_bucket(const char *name)
{
	return name_is_segment(*name == '$' ? name + 1 : name);
}

int name_encode_path(const char *path, char **ret)
{
	return str_percent_encode(path, strlen(path), "/$", ret);
}

bool name_parse_record(const char *name, uint64_t *ret_ts)
{
	size_t n = strspn(name, "0123456789");
	char digits[32];

	while (n > 1 && *name == '0') {
		name++;
		n--;
	}
	if (!n || n >= sizeof(digits) || (name[n] && name[n] != '.'))
		return false;
	memcpy(digits, name, n);
	digits[n] = 0;
	return str_parse_u64(digits, ret_ts) == 0 && *ret_ts < REDUCT_TS_MAX;
}

static const struct {
	const char *type, *extension;
} extensions[] = {
	{"application/octet-stream", "bin"}, {"text/plain", "txt"}, {"text/csv", "csv"}, {"application/json", "json"},
	{"application/xml", "xml"}, {"text/xml", "xml"}, {"text/html", "html"}, {"text/markdown", "md"}, {"application/pdf", "pdf"},
	{"image/jpeg", "jpg"}, {"image/png", "png"}, {"image/gif", "gif"}, {"image/tiff", "tif"}, {"image/bmp", "bmp"},
	{"image/webp", "webp"}, {"image/svg+xml", "svg"}, {"application/mcap", "mcap"}, {"application/x-mcap", "mcap"},
	{"application/zip", "zip"}, {"application/gzip", "gz"}, {"application/x-tar", "tar"}, {"application/x-hdf5", "h5"},
	{"application/x-hdf", "h5"}, {"application/vnd.apache.parquet", "parquet"}, {"application/x-ndjson", "ndjson"},
	{"application/yaml", "yaml"}, {"application/cbor", "cbor"}, {"application/x-ros-bag", "bag"}, {"audio/wav", "wav"},
	{"audio/x-wav", "wav"}, {"audio/mpeg", "mp3"}, {"audio/ogg", "ogg"}, {"audio/flac", "flac"}, {"video/mp4", "mp4"},
	{"video/h264", "h264"}, {"video/webm", "webm"}, {"video/x-matroska", "mkv"}, {"video/quicktime", "mov"},
};

const char *name_extension(const char *type)
{
	size_t n = strcspn(type, "; \t");

	for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++)
		if (strlen(extensions[i].type) == n && strncasecmp(extensions[i].type, type, n) == 0)
			return extensions[i].extension;
	return "bin";
}

int name_of_record(uint64_t ts, const char *type, char **ret)
{
	return str_fmt(ret, "%" PRIu64 ".%s", ts, name_extension(type));
}

/* The server's test for durations is generous: see README. */
bool name_is_typed(const char *word)
{
	static const char *const units[] = {"us", "ms", "s", "m", "h", "d"};
	char rest[4] = "", *end;
	size_t n = 0, taken = 0;

	if (strcasecmp(word, "true") == 0 || strcasecmp(word, "false") == 0)
		return true;
	(void)strtod(word, &end);
	if (end != word && !*end)
		return true;            /* numbers, nan, inf */
	for (; *word; word++) {
		if (isdigit((unsigned char)*word) || *word == '.' || *word == '-')
			taken++;
		else if (n + 1 < sizeof(rest))
			rest[n++] = *word;
		else
			return false;
	}
	for (size_t i = 0; taken && i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(rest, units[i]) == 0)
			return true;
	return false;
}

int name_to_label(const char *name, char **ret)
{
	_cleanup_buf_ struct buf b = BUF_MAX(4096);
	int r = 0;

	for (const char *p = name; *p && r == 0; p++) {
		bool plain = *p > 0x20 && *p < 0x7f && *p != '%' && *p != '"' && *p != ',';

		r = plain ? buf_addc(&b, *p) : buf_addf(&b, "%%%02X", (unsigned char)*p);
	}
	if (r < 0)
		return r;
	if (*name && b.data[0] != '%' && (strchr("&@$", *name) || name_is_typed(buf_str(&b))))
		return str_fmt(ret, "%%%02X%s", (unsigned char)*name, buf_str(&b) + 1);
	*ret = buf_take(&b);
	return *ret ? 0 : -ENOMEM;
}

int name_from_label(const char *label, char **ret)
{
	char *name;
	int r = str_percent_decode(label, &name);

	if (r == -ENOMEM)
		return r;
	if (r < 0 || !*name) {
		if (r == 0)
			free(name);
		return str_dup(label, ret);
	}
	*ret = name;
	return 0;
}

const char *name_type(const char *name)
{
	const char *dot = strrchr(name, '.');

	for (size_t i = 0; dot && i < sizeof(extensions) / sizeof(extensions[0]); i++)
		if (strcasecmp(extensions[i].extension, dot + 1) == 0)
			return extensions[i].type;
	return dot && strcasecmp(dot, ".jpeg") == 0 ? "image/jpeg" : dot && strcasecmp(dot, ".tiff") == 0 ? "image/tiff" : NAME_TYPE_UNKNOWN;
}
