/* parse.c - the server's words: errors, buckets, heads of batches. Pure. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backend/reduct/private.h"

/* ---- errors ---- */

static const struct {
	int status;
	const char *words;              /* what they contain; NULL: whatever they are */
	int err;
} errors[] = {
	{400, "Quota of", ENOSPC}, {400, "uthentication is disabled", ENOTSUP}, {400, NULL, EIO},
	{401, NULL, EACCES}, {403, "read-only mode", EROFS}, {403, NULL, EACCES},
	{404, NULL, ENOENT}, {405, NULL, ENOTSUP},
	{409, "being deleted", EBUSY}, {409, "provisioned", EPERM}, {409, "Provisioned", EPERM}, {409, NULL, EEXIST},
	{416, NULL, ESTALE}, {422, NULL, EINVAL}, {425, NULL, EAGAIN}, {429, NULL, EAGAIN}, {431, NULL, E2BIG},
	{500, "keep quota", ENOSPC}, {500, "storage limit", ENOSPC}, {500, "No space left", ENOSPC}, {500, NULL, EIO},
	{503, NULL, EAGAIN}, {507, NULL, ENOSPC},
};

int reduct_errno(int status, const char *words)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i].status == status && (!errors[i].words || strstr(words, errors[i].words)))
			return -errors[i].err;
	return status >= 400 && status < 500 ? -EINVAL : -EIO;
}

void parse_detail(const char *body, size_t n, char ret[200])
{
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *safe = NULL;
	const char *text = NULL;

	ret[0] = 0;
	if (n && json_parse(body, n, &j) == 0 && json_str_opt(j, "detail", &text) == 0 && text)
		safe = str_printable(text, 190);
	if (safe)
		snprintf(ret, 200, "%s", safe);
}

int parse_api_version(const char *text, unsigned *ret_minor)
{
	unsigned major, minor;
	int end = 0;

	if (!isdigit((unsigned char)*text) || sscanf(text, "%5u.%5u%n", &major, &minor, &end) != 2 || (text[end] && text[end] != '.'))
		return -EBADMSG;
	if (major != 1)
		return -EPROTONOSUPPORT;
	*ret_minor = minor;
	return 0;
}

/* ---- buckets ---- */

void bucket_free(struct bucket *b)
{
	if (!b)
		return;
	for (size_t i = 0; i < b->entries.n; i++)
		free(b->entries.at[i].name);
	vec_done(&b->entries);
	free(b->name);
	free(b);
}
DEFINE_CLEANUP(struct bucket *, bucket_free)

static bool is_deleting(const struct json *j)
{
	const char *status = NULL;

	return json_str_opt(j, "status", &status) == 0 && str_eq(status, "DELETING");
}

static int parse_entry(const struct json *j, struct entry_info *ret)
{
	struct entry_info e = {.deleting = is_deleting(j)};
	const char *name = NULL;
	int r = json_str(j, "name", &name);

	if (r == 0)
		r = json_u64(j, "record_count", &e.count);
	if (r == 0)
		r = json_u64(j, "size", &e.size);
	if (r == 0)
		r = json_u64(j, "latest_record", &e.latest);
	if (r == 0)
		r = json_u64_opt(j, "block_count", &e.blocks);
	(void)json_u64_opt(j, "oldest_record", &e.oldest);
	if (r == 0 && !*name)
		r = -EBADMSG;
	if (r == 0)
		r = str_dup(name, &e.name);
	if (r == 0)
		*ret = e;
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry_info *)a)->name, ((const struct entry_info *)b)->name);
}

/* What is told of a bucket itself, here and in the list of all. */
static int parse_info(const struct json *j, struct bucket *b)
{
	const char *name = NULL;
	int r = json_str(j, "name", &name);

	if (r == 0)
		r = json_u64_opt(j, "size", &b->size);
	(void)json_u64_opt(j, "latest_record", &b->latest);     /* of an empty one it may be 2^64-1 */
	b->deleting = is_deleting(j);
	return r < 0 ? r : *name ? str_dup(name, &b->name) : -EBADMSG;
}

/* One element at a time: a tree of all of them would cost ten times their text. */
static void parse_quota(const char *text, size_t n, struct bucket *b)
{
	_cleanup_(json_freep) struct json *j = NULL;
	const char *type = NULL;

	if (json_parse(text, n, &j) < 0 || json_str_opt(j, "quota_type", &type) < 0 || (!str_eq(type, "FIFO") && !str_eq(type, "HARD")))
		return;         /* the server will say what it does not take */
	b->fifo = json_u64_opt(j, "quota_size", &b->quota) == 0 && str_eq(type, "FIFO");
}

int parse_bucket(const char *text, size_t n, struct bucket **ret)
{
	_cleanup_(bucket_freep) struct bucket *b = calloc(1, sizeof(*b));
	_cleanup_(json_freep) struct json *info = NULL;
	const char *at, *list;
	size_t at_n, list_n, pos = 0, k = 0;
	int r;

	if (!b)
		return -ENOMEM;
	r = json_raw_member(text, n, "info", &at, &at_n);
	if (r == 0)
		r = json_parse(at, at_n, &info);
	if (r == 0)
		r = parse_info(info, b);
	if (r == 0 && json_raw_member(text, n, "settings", &at, &at_n) == 0)
		parse_quota(at, at_n, b);
	if (r == 0)
		r = json_raw_member(text, n, "entries", &list, &list_n);
	if (r == 0 && *list != '[')
		r = -EBADMSG;
	if (r < 0)
		return r == -ENOENT ? -EBADMSG : r;
	while ((r = json_raw_next(list, list_n, &pos, NULL, NULL, &at, &at_n)) == 1) {
		_cleanup_(json_freep) struct json *j = NULL;
		struct entry_info e;

		r = json_parse(at, at_n, &j);
		if (r == 0)
			r = parse_entry(j, &e);
		if (r < 0)
			return r;
		if (vec_push(&b->entries, e) < 0) {
			free(e.name);
			return -ENOMEM;
		}
	}
	if (r < 0)
		return r;
	if (b->entries.n)
		qsort(b->entries.at, b->entries.n, sizeof(*b->entries.at), by_name);
	for (size_t i = 0; i < b->entries.n; i++) {
		if (k && strcmp(b->entries.at[k - 1].name, b->entries.at[i].name) == 0)
			free(b->entries.at[i].name);
		else
			b->entries.at[k++] = b->entries.at[i];
	}
	b->entries.n = k;
	*ret = TAKE(b);
	return 0;
}

void buckets_free(struct bucket **list, size_t n)
{
	for (size_t i = 0; list && i < n; i++)
		bucket_free(list[i]);
	free(list);
}

int parse_buckets(const char *text, size_t n, struct bucket ***ret, size_t *ret_n)
{
	VEC(struct bucket *) all = {0};
	const char *at, *list;
	size_t at_n, list_n, pos = 0;
	int r = json_raw_member(text, n, "buckets", &list, &list_n);

	if (r < 0 || *list != '[')
		return r == -ENOMEM ? r : -EBADMSG;
	while ((r = json_raw_next(list, list_n, &pos, NULL, NULL, &at, &at_n)) == 1) {
		_cleanup_(json_freep) struct json *j = NULL;
		_cleanup_(bucket_freep) struct bucket *b = calloc(1, sizeof(*b));

		r = b ? json_parse(at, at_n, &j) : -ENOMEM;
		if (r == 0)
			r = parse_info(j, b);
		if (r < 0)
			break;
		/* What is going, and what is the server's own. */
		if (b->deleting || b->name[0] == '$')
			continue;
		if (vec_push(&all, b) < 0) {
			r = -ENOMEM;
			break;
		}
		b = NULL;
	}
	if (r < 0) {
		buckets_free(all.at, all.n);
		return r;
	}
	*ret = all.at;
	*ret_n = all.n;
	return 0;
}

/* ---- who we are ---- */

void me_done(struct me *m)
{
	free(m->name);
	for (size_t i = 0; m->read && m->read[i]; i++)
		free(m->read[i]);
	for (size_t i = 0; m->write && m->write[i]; i++)
		free(m->write[i]);
	free(m->read);
	free(m->write);
	*m = (struct me){0};
}

static int names_of(const struct json *j, char ***ret)
{
	size_t n = 0, i = 0;

	for (const struct json *x = json_is_array(j) ? json_first(j) : NULL; x; x = json_next(x))
		n++;
	*ret = calloc(n + 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (const struct json *x = json_is_array(j) ? json_first(j) : NULL; x; x = json_next(x))
		if (json_text(x) && str_dup(json_text(x), &(*ret)[i++]) < 0)
			return -ENOMEM;
	return 0;
}

int parse_me(const char *text, size_t n, struct me *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	struct me m = {0};
	const char *name = NULL;
	const struct json *p;
	int r = json_parse(text, n, &j);

	if (r == 0)
		r = json_str(j, "name", &name);
	if (r == 0)
		r = *name ? str_dup(name, &m.name) : -EBADMSG;
	p = json_get(j, "permissions");
	if (r == 0)
		r = json_bool_opt(p, "full_access", &m.full);
	if (r == 0)
		r = names_of(json_get(p, "read"), &m.read);
	if (r == 0)
		r = names_of(json_get(p, "write"), &m.write);
	if (r < 0) {
		me_done(&m);
		return r;
	}
	*ret = m;
	return 0;
}

/* A star at the end stands for any end, but never for a bucket of the server's own. */
static bool names_have(char *const *list, const char *bucket)
{
	for (size_t i = 0; list && list[i]; i++) {
		size_t n = strlen(list[i]);

		if (strcmp(list[i], bucket) == 0)
			return true;
		if (n && list[i][n - 1] == '*' && bucket[0] != '$' && strncmp(list[i], bucket, n - 1) == 0)
			return true;
	}
	return false;
}

unsigned me_rights(const struct me *m, const char *bucket)
{
	unsigned rights = 0;

	if (m->full || names_have(m->read, bucket))
		rights |= RIGHT_READ;
	if ((m->full || names_have(m->write, bucket)) && bucket[0] != '$')
		rights |= RIGHT_WRITE;
	if (m->full && bucket[0] != '$')
		rights |= RIGHT_ADMIN;
	return rights;
}

/* ---- records ---- */

void label_done(struct label *l)
{
	free(l->name);
	free(l->value);
	*l = (struct label){0};
}

void record_done(struct record *r)
{
	for (size_t i = 0; i < r->labels.n; i++)
		label_done(&r->labels.at[i]);
	vec_done(&r->labels);
	free(r->type);
	*r = (struct record){0};
}

void records_clear(struct records *r)
{
	for (size_t i = 0; i < r->list.n; i++)
		record_done(&r->list.at[i]);
	r->list.n = 0;
}

void records_done(struct records *r)
{
	records_clear(r);
	vec_done(&r->list);
}

static int add_label(struct record *r, const char *name, size_t name_n, const char *value, size_t value_n)
{
	struct label l = {strndup(name, name_n), strndup(value, value_n)};

	if (l.name && l.value && vec_push(&r->labels, l) == 0)
		return 0;
	free(l.name);
	free(l.value);
	return -ENOMEM;
}

static bool is_token(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Behind a quote: the end, or another label whose name could stand in a header. */
static bool is_end(const char *p, const char *end)
{
	const char *name = ++p + 1;

	if (p == end)
		return true;
	if (*p != ',')
		return false;
	for (p++; p < end && (is_token(*p) || (*p == '@' && p == name)); p++)
		;
	return p > name && p < end && *p == '=';
}

/* Where a quoted value ends: quotes within are not escaped. *ret_doubt: it may also have ended before. */
static const char *quoted_end(const char *p, const char *end, bool *ret_doubt)
{
	const char *first = NULL;

	for (; p < end; p++) {
		if (*p != '"' || (p + 1 < end && p[1] != ','))
			continue;
		if (!first)
			first = p;
		if (!is_end(p, end))
			continue;
		*ret_doubt |= p != first;
		return p;
	}
	return first ? first : end;
}

/* A label's value, quoted or up to the next comma; returns what is behind it. */
static const char *take_value(const char *p, const char *end, const char **ret, const char **ret_end, bool *ret_doubt)
{
	bool quoted = p < end && *p == '"';

	*ret = p += quoted;
	if (quoted) {
		*ret_end = quoted_end(p, end, ret_doubt);
		return *ret_end + (*ret_end < end);
	}
	while (p < end && *p != ',')
		p++;
	return *ret_end = p;
}

/* The length that a line begins with, and the comma behind it. */
static int take_size(const char **io, const char *end, uint64_t *ret)
{
	const char *p = *io;

	if (p == end || !isdigit((unsigned char)*p))
		return -EBADMSG;
	for (*ret = 0; p < end && isdigit((unsigned char)*p); p++) {
		if (*ret > OBJECT_SIZE_MAX)
			return -EBADMSG;
		*ret = *ret * 10 + (uint64_t)(*p - '0');
	}
	if (p < end && *p++ != ',')
		return -EBADMSG;
	*io = p;
	return 0;
}

int parse_batch_line(const char *value, size_t n, struct record *io)
{
	const char *end = value + n, *p = value;
	int r = 0;

	r = take_size(&p, end, &io->size);
	if (r < 0)
		return r;
	value = p;
	while (p < end && *p != ',')
		p++;
	io->type = p > value ? strndup(value, (size_t)(p - value)) : strdup("application/octet-stream");
	if (!io->type)
		return -ENOMEM;
	while (r == 0 && p < end) {
		const char *name = ++p, *name_end, *text, *text_end;

		while (p < end && *p != '=' && *p != ',')
			p++;
		name_end = p;
		if (p == end || *p == ',') {
			/* No label at all: the second half of a content type with a comma in it. */
			if (name_end > name)
				r = add_label(io, name, (size_t)(name_end - name), "", 0);
			continue;
		}
		p = take_value(p + 1, end, &text, &text_end, &io->doubtful);
		r = add_label(io, name, (size_t)(name_end - name), text, (size_t)(text_end - text));
	}
	return r;
}

/* The next line of a head: its name and its value without blanks around it. */
static bool next_line(const char **io, const char *end, const char **name, size_t *name_n, const char **value, size_t *value_n)
{
	while (*io < end) {
		const char *line = *io, *stop = memchr(line, '\n', (size_t)(end - line)), *colon;

		if (!stop)
			stop = end;
		*io = stop + (stop < end);
		colon = memchr(line, ':', (size_t)(stop - line));
		if (!colon)
			continue;
		*name = line;
		*name_n = (size_t)(colon - line);
		for (colon++; colon < stop && (*colon == ' ' || *colon == '\t'); colon++)
			;
		while (stop > colon && strchr(" \t\r", stop[-1]))
			stop--;
		*value = colon;
		*value_n = (size_t)(stop - colon);
		return true;
	}
	return false;
}

static bool is_name(const char *name, size_t n, const char *wanted)
{
	return strlen(wanted) == n && strncasecmp(name, wanted, n) == 0;
}

static bool has_prefix(const char *name, size_t n, const char *prefix)
{
	return n > strlen(prefix) && strncasecmp(name, prefix, strlen(prefix)) == 0;
}

static int parse_ts(const char *p, size_t n, uint64_t *ret)
{
	char digits[24];

	if (!n || n >= sizeof(digits))
		return -EBADMSG;
	memcpy(digits, p, n);
	digits[n] = 0;
	return str_parse_u64(digits, ret) < 0 || *ret > REDUCT_TS_MAX ? -EBADMSG : 0;
}

static int by_time(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

int parse_batch(const char *head, size_t n, struct records *ret, bool *ret_last)
{
	const char *at = head, *end = head + n, *name, *value;
	size_t name_n, value_n;
	static const char prefix[] = "x-reduct-time-";

	*ret_last = false;
	while (next_line(&at, end, &name, &name_n, &value, &value_n)) {
		struct record r = {0};
		int e;

		if (is_name(name, name_n, "x-reduct-last")) {
			*ret_last = is_name(value, value_n, "true");
			continue;
		}
		if (!has_prefix(name, name_n, prefix))
			continue;
		e = parse_ts(name + sizeof(prefix) - 1, name_n - (sizeof(prefix) - 1), &r.ts);
		if (e == 0)
			e = parse_batch_line(value, value_n, &r);
		if (e == 0)
			e = vec_push(&ret->list, r);
		if (e < 0) {
			record_done(&r);
			return e;
		}
	}
	if (ret->list.n)
		qsort(ret->list.at, ret->list.n, sizeof(*ret->list.at), by_time);
	for (size_t i = 1; i < ret->list.n; i++)
		if (ret->list.at[i].ts == ret->list.at[i - 1].ts)
			return -EBADMSG;
	return 0;
}

/* ---- the records of several entries ---- */

void many_done(struct many *m)
{
	for (size_t i = 0; i < m->list.n; i++)
		record_done(&m->list.at[i].record);
	vec_done(&m->list);
	for (size_t i = 0; i < m->entries.n; i++)
		free(m->entries.at[i]);
	vec_done(&m->entries);
}

typedef VEC(char *) names_t;

/* "a,b%2Fc" */
static int parse_names(const char *p, size_t n, names_t *ret)
{
	const char *end = p + n;
	int e = 0;

	while (e == 0 && p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		_cleanup_free_ char *raw = strndup(p, (size_t)((comma ? comma : end) - p));
		char *name = NULL;

		e = raw ? str_percent_decode(raw, &name) : -ENOMEM;
		if (e == 0)
			e = vec_push(ret, name);
		if (e < 0)
			free(name);
		p = comma ? comma + 1 : end;
	}
	return e < 0 && e != -ENOMEM ? -EBADMSG : e;
}

static void names_done(names_t *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->at[i]);
	vec_done(l);
}

static int set_label(struct record *r, const char *name, size_t name_n, const char *value, size_t value_n)
{
	for (size_t i = 0; i < r->labels.n; i++)
		if (strlen(r->labels.at[i].name) == name_n && strncmp(r->labels.at[i].name, name, name_n) == 0) {
			label_done(&r->labels.at[i]);
			r->labels.at[i] = r->labels.at[--r->labels.n];
			break;
		}
	return value_n ? add_label(r, name, name_n, value, value_n) : 0;
}

/* "IDX=VALUE,NAME=\"a,b\",IDX=": set, or with nothing taken away. */
static int parse_delta(const char *p, const char *end, const names_t *labels, struct record *io)
{
	int e = 0;

	while (e == 0 && p < end) {
		const char *name = p, *text, *text_end, *eq = memchr(p, '=', (size_t)(end - p));
		size_t name_n, digits;

		if (!eq)
			return -EBADMSG;
		name_n = (size_t)(eq - name);
		for (digits = 0; digits < name_n && isdigit((unsigned char)name[digits]); digits++)
			;
		if (name_n && digits == name_n) {
			uint64_t at;

			if (parse_ts(name, name_n, &at) < 0 || at >= labels->n)
				return -EBADMSG;
			name = labels->at[at];
			name_n = strlen(name);
		}
		p = take_value(eq + 1, end, &text, &text_end, &io->doubtful);
		if (p < end && *p++ != ',')
			return -EBADMSG;
		e = name_n ? set_label(io, name, name_n, text, (size_t)(text_end - text)) : -EBADMSG;
	}
	return e;
}

/* "LEN[,[TYPE][,LABELS]]": what it does not say is as of the record before, of the same entry. */
static int parse_many_line(const char *p, size_t n, const names_t *labels, const struct record *before, struct record *io)
{
	const char *end = p + n, *type;
	int e = 0;

	e = take_size(&p, end, &io->size);
	if (e < 0)
		return e;
	for (type = p; p < end && *p != ','; p++)
		;
	io->type = p > type ? strndup(type, (size_t)(p - type)) : strdup(before ? before->type : "application/octet-stream");
	if (!io->type)
		return -ENOMEM;
	for (size_t i = 0; e == 0 && before && i < before->labels.n; i++)
		e = add_label(io, before->labels.at[i].name, strlen(before->labels.at[i].name), before->labels.at[i].value,
		              strlen(before->labels.at[i].value));
	io->doubtful = before && before->doubtful;
	return e == 0 && p < end ? parse_delta(p + 1, end, labels, io) : e;
}

struct many_line {
	uint64_t entry, delta;
	const char *value;
	size_t n;
};

static int by_entry_and_time(const void *a, const void *b)
{
	const struct many_line *x = a, *y = b;

	return x->entry != y->entry ? (x->entry < y->entry ? -1 : 1) : x->delta < y->delta ? -1 : x->delta > y->delta;
}

int parse_many(const char *head, size_t n, struct many *ret, bool *ret_last)
{
	static const char prefix[] = "x-reduct-";
	const char *at = head, *end = head + n, *name, *value;
	VEC(struct many_line) lines = {0};
	names_t entries = {0}, labels = {0};
	size_t name_n, value_n;
	uint64_t start = 0;
	int e = 0;

	*ret_last = false;
	while (e == 0 && next_line(&at, end, &name, &name_n, &value, &value_n)) {
		struct many_line l = {.value = value, .n = value_n};
		const char *dash;

		if (is_name(name, name_n, "x-reduct-last")) {
			*ret_last = is_name(value, value_n, "true");
		} else if (is_name(name, name_n, "x-reduct-start-ts")) {
			e = parse_ts(value, value_n, &start);
		} else if (is_name(name, name_n, "x-reduct-entries")) {
			e = parse_names(value, value_n, &entries);
		} else if (is_name(name, name_n, "x-reduct-labels")) {
			e = parse_names(value, value_n, &labels);
		} else if (has_prefix(name, name_n, prefix) && isdigit((unsigned char)name[sizeof(prefix) - 1])) {
			name += sizeof(prefix) - 1;
			name_n -= sizeof(prefix) - 1;
			dash = memchr(name, '-', name_n);
			e = dash ? parse_ts(name, (size_t)(dash - name), &l.entry) : -EBADMSG;
			if (e == 0)
				e = parse_ts(dash + 1, name_n - (size_t)(dash + 1 - name), &l.delta);
			if (e == 0)
				e = vec_push(&lines, l);
		}
	}
	if (lines.n)
		qsort(lines.at, lines.n, sizeof(*lines.at), by_entry_and_time);
	for (size_t i = 0; e == 0 && i < lines.n; i++) {
		const struct many_line *l = &lines.at[i];
		bool goes_on = i && lines.at[i - 1].entry == l->entry;
		struct many_record x = {.entry = l->entry, .record.ts = start + l->delta};

		/* A line that is left out would change those behind it. */
		if (l->entry >= entries.n || x.record.ts > REDUCT_TS_MAX || (goes_on && lines.at[i - 1].delta == l->delta))
			e = -EBADMSG;
		if (e == 0)
			e = parse_many_line(l->value, l->n, &labels, goes_on ? &ret->list.at[ret->list.n - 1].record : NULL, &x.record);
		if (e == 0)
			e = vec_push(&ret->list, x);
		if (e < 0)
			record_done(&x.record);
	}
	for (size_t i = 0; e == 0 && i < entries.n; i++) {
		e = vec_push(&ret->entries, entries.at[i]);
		if (e == 0)
			entries.at[i] = NULL;
	}
	vec_done(&lines);
	names_done(&entries);
	names_done(&labels);
	return e;
}

int parse_single(const char *head, size_t n, struct record *ret)
{
	static const char prefix[] = "x-reduct-label-";
	const char *at = head, *end = head + n, *name, *value;
	size_t name_n, value_n;
	struct record r = {.size = OBJECT_SIZE_UNKNOWN};
	bool timed = false;
	int e = 0;

	while (e == 0 && next_line(&at, end, &name, &name_n, &value, &value_n)) {
		if (is_name(name, name_n, "content-length")) {
			e = parse_ts(value, value_n, &r.size);
		} else if (is_name(name, name_n, "x-reduct-time")) {
			e = parse_ts(value, value_n, &r.ts);
			timed = true;
		} else if (is_name(name, name_n, "content-type") && value_n) {
			free(r.type);
			r.type = strndup(value, value_n);
			e = r.type ? 0 : -ENOMEM;
		} else if (has_prefix(name, name_n, prefix)) {
			e = add_label(&r, name + sizeof(prefix) - 1, name_n - (sizeof(prefix) - 1), value, value_n);
		}
	}
	if (e == 0 && (!timed || r.size == OBJECT_SIZE_UNKNOWN))
		e = -EBADMSG;
	if (e == 0 && !r.type)
		e = str_dup("application/octet-stream", &r.type);
	if (e < 0) {
		record_done(&r);
		return e;
	}
	*ret = r;
	return 0;
}

const char *record_label(const struct record *r, const char *name)
{
	for (size_t i = 0; i < r->labels.n; i++)
		if (strcmp(r->labels.at[i].name, name) == 0)
			return r->labels.at[i].value;
	return NULL;
}

bool record_is_named(const struct record *r)
{
	const char *label = record_label(r, "filename");

	return label && *label;
}

bool label_is_sendable(const char *name)
{
	if (!*name)
		return false;
	for (; *name; name++)
		if (!is_token(*name))
			return false;
	return true;
}

bool record_is_sendable(const struct record *r)
{
	if (r->doubtful)
		return false;
	for (size_t i = 0; i < r->labels.n; i++)
		if (!label_is_sendable(r->labels.at[i].name))
			return false;
	for (const char *p = r->type; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			return false;
	return true;
}

bool parse_mtime(const char *label, struct timespec *ret)
{
	bool negative = *label == '-';
	size_t n = strspn(label + negative, "0123456789"), m;
	const char *dot = label + negative + n;
	long long s;
	long ns = 0;

	if (!n || n > 15 || (*dot && *dot != '.'))
		return false;
	s = strtoll(label + negative, NULL, 10);
	m = *dot ? strspn(dot + 1, "0123456789") : 0;
	if (*dot && (!m || m > 9 || dot[1 + m]))
		return false;
	for (size_t i = 0; i < 9; i++)
		ns = ns * 10 + (i < m ? dot[1 + i] - '0' : 0);
	*ret = (struct timespec){negative ? -s : s, ns};
	if (negative && ns)
		*ret = (struct timespec){-s - 1, 1000000000 - ns};
	return true;
}

int record_write_json(const struct record *r, const char *bucket, const char *entry, struct buf *b)
{
	int e = buf_adds(b, "{\"bucket\": ");

	if (e == 0)
		e = json_write_str(b, bucket);
	if (e == 0)
		e = buf_adds(b, ", \"entry\": ");
	if (e == 0)
		e = json_write_str(b, entry);
	if (e == 0)
		e = buf_addf(b, ", \"timestamp\": %" PRIu64 ", \"size\": %" PRIu64 ", \"content_type\": ", r->ts, r->size);
	if (e == 0)
		e = json_write_str(b, r->type);
	if (e == 0)
		e = buf_adds(b, ", \"labels\": {");
	for (size_t i = 0; e == 0 && i < r->labels.n; i++) {
		e = i ? buf_adds(b, ", ") : 0;
		if (e == 0)
			e = json_write_str(b, r->labels.at[i].name);
		if (e == 0)
			e = buf_adds(b, ": ");
		if (e == 0)
			e = json_write_str(b, r->labels.at[i].value);
	}
	return e < 0 ? e : buf_adds(b, "}}\n");
}
