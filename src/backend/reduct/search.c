/* search.c - expressions of .scifs/search/ and what they find.
 *
 *   TERM,TERM,...;limit=N       LABEL=V LABEL!=V LABEL<V LABEL>V LABEL<=V LABEL>=V has=LABEL from=TIME to=TIME each_n=N each_t=DURATION limit=N
 *   {"&label": {"$gt": 1}}      a condition of the server's own, as `when`
 *   {"when": {...}, "from": TIME, "limit": N}       the same, with the words as members
 *
 * The server narrows terms where its conditions are known to be right; each record that it gives is held against the others here. For to the server
 * a label is a number or a duration where it looks like one, and some texts cannot be said in a condition at all.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/reduct/private.h"
#include "base/clock.h"

#define TERMS_MAX 64
#define MINOR_TOGETHER 18               /* queries of several entries */
#define CHECKED_BUCKETS_MAX 8           /* in which an entry is looked for, to ask the server whether a condition is one */
#define TOGETHER_EMPTY_MAX 60           /* answers without a record while it still looks: 5 s each */
#define FOUND_KEPT REDUCT_HITS_MAX      /* ways that are remembered: those of one search */

void search_done(struct search *s)
{
	for (size_t i = 0; i < s->terms.n; i++) {
		free(s->terms.at[i].label);
		free(s->terms.at[i].value);
	}
	vec_done(&s->terms);
	free(s->when);
}

/* ---- an expression; pure ---- */

static int refuse(char **why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(char **why, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	if (!*why && str_vfmt(why, format, ap) == 0)
		str_make_printable(why);        /* it quotes what somebody typed */
	va_end(ap);
	return -EINVAL;
}

static int parse_moment(const char *text, uint64_t *ret)
{
	struct timespec t;

	if (*text && strspn(text, "0123456789") == strlen(text))
		return str_parse_u64(text, ret) == 0 && *ret <= REDUCT_TS_MAX ? 0 : -EINVAL;
	if (clock_parse_iso(text, &t) < 0 || t.tv_sec < 0 || (uint64_t)t.tv_sec >= REDUCT_TS_MAX / 1000000)
		return -EINVAL;
	*ret = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
	return 0;
}

/* A word of our own: 1 it was one, 0 it is a label, -EINVAL. */
static int parse_word(const char *key, const char *value, struct search *s, char **why)
{
	uint64_t n;

	if (strcmp(key, "from") == 0 || strcmp(key, "to") == 0) {
		if (parse_moment(value, *key == 'f' ? &s->from : &s->to) < 0)
			return refuse(why, "%s=%s: a time is wanted, 2026-11-22T13:00:00Z or microseconds since 1970", key, value);
	} else if (strcmp(key, "each_t") == 0) {
		if (str_parse_duration(value, &n) < 0 || !n || n > UINT32_MAX)
			return refuse(why, "each_t=%s: a time between two is wanted, as 10s", value);
		s->each_us = n * 1000;
	} else if (strcmp(key, "each_n") == 0) {
		if (str_parse_u64(value, &s->each_n) < 0 || !s->each_n)
			return refuse(why, "each_n=%s: a number from 1 on is wanted", value);
	} else if (strcmp(key, "limit") == 0) {
		if (str_parse_u64(value, &n) < 0 || !n || n > REDUCT_HITS_MAX)
			return refuse(why, "limit=%s: a number from 1 to %u is wanted", value, REDUCT_HITS_MAX);
		s->limit = n;
	} else {
		return 0;
	}
	return 1;
}

static int add_term(struct search *s, enum term_op op, const char *label, const char *value, char **why)
{
	/* A text that is plain to the server: it knows better than the head of a batch, where quotes are lost. */
	struct term t = {.op = op, .exact = op == TERM_IS && *value && !strchr("&@$#", *value) && !name_is_typed(value)};
	int e = 0;

	if (!*label || !label_is_sendable(label))
		return refuse(why, "\"%s\": no label can be called so", label);
	if (s->terms.n >= TERMS_MAX)
		return refuse(why, "more than %d terms", TERMS_MAX);
	e = str_dup(label, &t.label);
	if (e == 0)
		e = str_dup(value, &t.value);
	if (e == 0)
		e = vec_push(&s->terms, t);
	if (e < 0) {
		free(t.label);
		free(t.value);
	}
	return e;
}

static int parse_term(char *text, struct search *s, char **why)
{
	size_t n = strcspn(text, "=!<>");
	char *value = text + n, sign = *value;
	enum term_op op = sign == '!' ? TERM_IS_NOT : sign == '<' ? TERM_LESS : sign == '>' ? TERM_MORE : TERM_IS;
	int e;

	if (!sign)
		return refuse(why, "\"%s\": LABEL=VALUE is wanted, or !=, <, >, <=, >=", text);
	*value++ = 0;
	if (sign == '!' && *value++ != '=')
		return refuse(why, "\"%s!\": != is wanted", text);
	if ((sign == '<' || sign == '>') && *value == '=') {
		op = sign == '<' ? TERM_AT_MOST : TERM_AT_LEAST;
		value++;
	}
	e = op == TERM_IS ? parse_word(text, value, s, why) : 0;
	if (e != 0)
		return e < 0 ? e : 0;
	if (op == TERM_IS && strcmp(text, "has") == 0)
		return add_term(s, TERM_HAS, value, "", why);
	return add_term(s, op, text, value, why);
}

/* The last ";word=value", if there is one. */
static char *last_suffix(char *text)
{
	char *p = strrchr(text, ';');
	size_t n = p ? strspn(p + 1, "abcdefghijklmnopqrstuvwxyz_") : 0;

	return n && p[1 + n] == '=' ? p : NULL;
}

static int parse_suffix(char *text, struct search *s, char **why)
{
	char *value = strchr(text, '=');
	int e;

	*value++ = 0;
	e = parse_word(text, value, s, why);
	return e == 0 ? refuse(why, ";%s=: one of from, to, each_n, each_t, limit", text) : e < 0 ? e : 0;
}

/* Whole numbers beyond 2^63-1 end the server, wherever they stand in a condition. */
static bool has_large_number(const char *p)
{
	static const char most[] = "9223372036854775807";

	while (*p) {
		size_t n = strspn(p, "0123456789");

		if (*p == '"') {
			for (p++; *p && *p != '"'; p++)
				p += *p == '\\' && p[1];
			p += *p == '"';
			continue;
		}
		if (n > strlen(most) || (n == strlen(most) && strncmp(p, most, n) > 0))
			return true;
		p += n ? n : 1;
	}
	return false;
}

/* A condition, from its first brace to its last. Directives are ours, but those that ask for neighbours. */
static int parse_condition(const char *text, size_t n, struct search *s, char **why)
{
	const char *key, *value;
	size_t pos = 0, key_n, value_n;
	int e;

	while ((e = json_raw_next(text, n, &pos, &key, &key_n, &value, &value_n)) == 1)
		if (key_n && *key == '#' && strncmp(key, "#ctx_", 5) != 0)
			return refuse(why, "\"%.*s\" is not for a search", (int)key_n, key);
	if (e < 0 || *text != '{' || text[n - 1] != '}')
		return refuse(why, "a condition is a JSON object");
	free(s->when);
	s->when = NULL;
	return str_fmt(&s->when, "%.*s", (int)n - 2, text + 1);
}

/* No condition of the server's begins with such a name: its operators have a $, its labels an &, its directives a #. */
static bool is_member(const char *key, size_t n)
{
	static const char *const members[] = {"when", "from", "to", "each_n", "each_t", "limit"};

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		if (strlen(members[i]) == n && strncmp(members[i], key, n) == 0)
			return true;
	return false;
}

static int parse_member(const char *key, size_t key_n, const char *value, size_t n, struct search *s, char **why)
{
	_cleanup_free_ char *word = NULL, *text = NULL;
	int e;

	if (!is_member(key, key_n))
		return refuse(why, "\"%.*s\" is none of when, from, to, each_n, each_t, limit", (int)key_n, key);
	if (*key == 'w')
		return *value == '{' ? parse_condition(value, n, s, why) : refuse(why, "when: a condition is a JSON object");
	e = str_fmt(&word, "%.*s", (int)key_n, key);
	if (e == 0)
		e = *value == '"' ? json_raw_text(value, n, &text) : str_fmt(&text, "%.*s", (int)n, value);
	if (e == 0)
		e = parse_word(word, text, s, why);
	return e < 0 ? e : 0;
}

static int parse_json(const char *text, struct search *s, char **why)
{
	const char *key, *value;
	size_t n = strlen(text), pos = 0, key_n, value_n;
	bool members = false;
	int e;

	while (n && text[n - 1] != '}')
		n--;
	while (!members && (e = json_raw_next(text, n, &pos, &key, &key_n, &value, &value_n)) == 1)
		members = is_member(key, key_n);
	if (!members)
		return n ? parse_condition(text, n, s, why) : refuse(why, "a condition is a JSON object");
	pos = 0;
	while ((e = json_raw_next(text, n, &pos, &key, &key_n, &value, &value_n)) == 1) {
		e = parse_member(key, key_n, value, value_n, s, why);
		if (e < 0)
			return e == -EBADMSG ? refuse(why, "\"%.*s\" cannot be read", (int)key_n, key) : e;
	}
	return e;
}

int parse_search(const char *expr, struct search *ret, char **why)
{
	struct search s = {.to = REDUCT_TS_MAX, .limit = 0};
	_cleanup_free_ char *text = NULL;
	bool json = *expr == '{';
	char *suffix;
	int e = str_dup(expr, &text);

	/* What programs look for everywhere, and plain words, are nobody's question. */
	if (e == 0 && !json && !strpbrk(expr, "=<>"))
		return -ENOENT;
	while (e == 0 && (suffix = last_suffix(text)) && !(json && json_check(text, strlen(text)) == 0)) {
		*suffix = 0;
		e = parse_suffix(suffix + 1, &s, why);
	}
	if (e == 0 && json) {
		if (has_large_number(text))
			e = refuse(why, "a number is larger than the server can take");
		else if (json_check(text, strlen(text)) < 0)
			e = refuse(why, "the condition is no JSON: %s", json_error());
		if (e == 0)
			e = parse_json(text, &s, why);
	} else if (e == 0) {
		for (char *at = text, *comma; e == 0 && at && *at; at = comma ? comma + 1 : NULL) {
			comma = strchr(at, ',');
			if (comma)
				*comma = 0;
			e = parse_term(at, &s, why);
		}
	}
	if (e < 0) {
		search_done(&s);
		return e;
	}
	*ret = s;
	return 0;
}

/* Plain decimal, as JSON writes it and the server reads it. */
static bool is_number(const char *text, double *ret)
{
	const char *p = text + (*text == '-');
	size_t n = strspn(p, "0123456789");
	char *end;

	if (!n || n > 18 || (p[n] && p[n] != '.') || (p[n] == '.' && (!p[n + 1] || strspn(p + n + 1, "0123456789") != strlen(p + n + 1))))
		return false;
	*ret = strtod(text, &end);
	return !*end && isfinite(*ret);
}

/* 010 is a number, and not the same as 10. */
static bool has_zero(const char *text)
{
	text += *text == '-';
	return text[0] == '0' && isdigit((unsigned char)text[1]);
}

static bool term_matches(const struct term *t, const char *label)
{
	bool equal = t->op == TERM_IS || t->op == TERM_IS_NOT, numbers;
	double a = 0, b = 0;
	int order;

	if (!label || t->op == TERM_HAS || t->exact)
		return label;
	numbers = is_number(label, &a) && is_number(t->value, &b) && !(equal && (has_zero(label) || has_zero(t->value)));
	/* A text is neither more nor less than a number. */
	if (!numbers && !equal && is_number(t->value, &b))
		return false;
	order = numbers ? (a > b) - (a < b) : strcmp(label, t->value);
	switch (t->op) {
	case TERM_IS:       return order == 0;
	case TERM_IS_NOT:   return order != 0;
	case TERM_LESS:     return order < 0;
	case TERM_MORE:     return order > 0;
	case TERM_AT_MOST:  return order <= 0;
	default:            return order >= 0;
	}
}

bool search_matches(const struct search *s, const struct record *x)
{
	for (size_t i = 0; i < s->terms.n; i++)
		if (!term_matches(&s->terms.at[i], record_label(x, s->terms.at[i].label)))
			return false;
	return true;
}

/* What the server is asked: all that matches, and perhaps more. */
static int narrow_by(const struct term *t, struct buf *b)
{
	static const char *const ops[] = {[TERM_LESS] = "$lt", [TERM_MORE] = "$gt", [TERM_AT_MOST] = "$lte", [TERM_AT_LEAST] = "$gte"};
	_cleanup_free_ char *name = NULL;
	double any;
	int e = str_fmt(&name, "&%s", t->label);

	if (e == 0)
		e = buf_adds(b, "{");
	if (e == 0 && t->exact) {
		e = json_write_str(b, name);
		if (e == 0)
			e = buf_adds(b, ": {\"$eq\": ");
		if (e == 0)
			e = json_write_str(b, t->value);
		if (e == 0)
			e = buf_adds(b, "}");
	} else if (e == 0 && t->op >= TERM_LESS && is_number(t->value, &any) && !has_zero(t->value)) {
		e = buf_addf(b, "\"%s\": [", ops[t->op]);
		if (e == 0)
			e = json_write_str(b, name);
		if (e == 0)
			e = buf_addf(b, ", %s]", t->value);
	} else if (e == 0) {
		e = buf_adds(b, "\"$has\": [");
		if (e == 0)
			e = json_write_str(b, t->label);
		if (e == 0)
			e = buf_adds(b, "]");
	}
	return e < 0 ? e : buf_adds(b, "}");
}

int search_when(const struct search *s, char **ret)
{
	_cleanup_buf_ struct buf b = BUF_MAX(60000);
	int e = 0;

	*ret = NULL;
	if (s->when || !s->terms.n)
		return s->when && *s->when ? str_dup(s->when, ret) : 0;
	e = buf_adds(&b, "\"$and\": [");
	for (size_t i = 0; e == 0 && i < s->terms.n; i++) {
		if (i)
			e = buf_adds(&b, ", ");
		if (e == 0)
			e = narrow_by(&s->terms.at[i], &b);
	}
	if (e == 0)
		e = buf_adds(&b, "]");
	return e < 0 ? e : str_dup(buf_str(&b), ret);
}

/* ---- the ways to what was found last: whoever lists links asks for each of them ---- */

void found_forget_locked(struct reduct *r)
{
	struct map_iter it = {0};
	const char *key;
	void *value;

	if (!r->found)
		return;
	while (map_next(r->found, &it, &key, &value))
		free(value);
	map_clear(r->found);
}

static void found_note(struct reduct *r, const char *id, const char *name, bool named)
{
	char *x = NULL;

	if (str_fmt(&x, "%c%s", named ? 'n' : 't', name) < 0)
		return;         /* then it is asked for */
	WITH_LOCK(&r->lock) {
		if (!r->found)
			r->found = map_new();
		if (r->found && map_count(r->found) < FOUND_KEPT && !map_get(r->found, id) && map_set(r->found, id, x) == 0)
			x = NULL;
	}
	free(x);
}

int found_get(struct reduct *r, const char *id, char **ret_name, bool *ret_named)
{
	int e = -ENOENT;

	WITH_LOCK(&r->lock) {
		const char *x = map_get(r->found, id);

		if (!x)
			break;
		*ret_named = *x == 'n';
		e = str_dup(x + 1, ret_name);
	}
	return e;
}

/* ---- the answers ---- */

/* Is this the record that the file of its name is? */
static int is_the_file(struct reduct *r, const struct bucket *b, const char *entry, const char *name, const struct record *x, struct series **io)
{
	const struct named *n;
	int e = *io ? 0 : series_get(r, b, entry, io);

	if (e < 0)
		return e;
	n = series_find(*io, name);
	return n && n->record.ts == x->ts;
}

static int take(struct reduct *r, const struct place *p, const struct record *x, const char *prefix, const char *name, struct page *io)
{
	_cleanup_free_ char *own = NULL, *path = NULL;
	struct object o = {0};
	int e = name ? 0 : name_of_record(x->ts, x->type, &own);

	if (e == 0)
		e = str_fmt(&path, "%s%s", prefix, name ? name : own);
	if (e == 0)
		e = record_object(r, p, x, path, &o);
	if (e < 0)
		return e;
	found_note(r, o.id, name ? name : own, name);
	e = vec_push(&io->objects, o);
	if (e < 0)
		object_done(&o);
	return e;
}

/* A search in one bucket. */
struct hunt {
	struct reduct *r;
	const struct search *s;
	const struct bucket *b;
	const char *when;
	struct page *io;
};

/* How far it is in one of its entries. */
struct trail {
	const char *entry;              /* borrowed from the bucket */
	char *prefix;                   /* of the names of what is found there */
	struct series *series;          /* once it was needed: a reference */
	uint64_t seen, next;            /* matches so far; the time before which none is taken */
};

static bool is_full(const struct hunt *h)
{
	return h->s->limit && h->io->objects.n >= h->s->limit;
}

static int consider(struct hunt *h, struct trail *t, const struct record *x)
{
	struct place p = {.what = IS_ENTRY, .bucket = h->b->name, .entry = (char *)t->entry, .window = WINDOW_ALL};
	_cleanup_free_ char *name = NULL;
	int e = 0;

	if (is_full(h) || !search_matches(h->s, x))
		return 0;
	if (record_is_named(x)) {
		e = name_from_label(record_label(x, "filename"), &name);
		if (e == 0)
			e = is_the_file(h->r, h->b, t->entry, name, x, &t->series);
		if (e <= 0)
			return e;       /* 0: an older version, or of a name that no file can have */
	}
	if ((h->s->each_n && t->seen++ % h->s->each_n != 0) || (h->s->each_us && x->ts < t->next))
		return 0;
	t->next = x->ts + h->s->each_us;
	return h->io->objects.n >= REDUCT_HITS_MAX ? -EFBIG : take(h->r, &p, x, t->prefix, name, h->io);
}

static int search_entry(struct hunt *h, struct trail *t)
{
	struct query q = {.bucket = h->b->name, .entry = t->entry, .start = h->s->from, .stop = h->s->to, .when = h->when};
	struct records list = {0};
	int e = 0;

	while (e == 0 && !is_full(h) && (e = query_next(h->r, &q, &list)) == 0 && list.list.n)
		for (size_t i = 0; e == 0 && i < list.list.n; i++)
			e = consider(h, t, &list.list.at[i]);
	records_done(&list);
	return e == -ENOENT ? 0 : e;    /* it went meanwhile */
}

/* ---- several entries by one query, where the server can ---- */

static int begin_together(struct hunt *h, const struct trail *t, size_t n, const char *bucket, uint64_t *ret_id)
{
	_cleanup_buf_ struct buf b = BUF_MAX(16u << 20);
	int e = buf_addf(&b, "{\"query_type\": \"QUERY\", \"start\": %" PRIu64 ", \"stop\": %" PRIu64 ", \"only_metadata\": true, \"ttl\": 60, \"entries\": [",
	                 h->s->from, h->s->to);

	for (size_t i = 0; e == 0 && i < n; i++) {
		if (i)
			e = buf_adds(&b, ", ");
		if (e == 0)
			e = json_write_str(&b, t[i].entry);
	}
	if (e == 0)
		e = buf_addf(&b, "], \"when\": {\"#batch_records\": %u, \"#batch_metadata_size\": %d%s%s}}", query_page(h->r), QUERY_HEAD_BYTES,
		             h->when ? ", " : "", h->when ? h->when : "");
	return e < 0 ? e : query_make(h->r, "io", bucket, buf_str(&b), ret_id);
}

static struct trail *trail_of(struct trail *t, size_t n, const char *entry)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(t[i].entry, entry) == 0)
			return &t[i];
	return NULL;
}

/* 1: there may be more. -EAGAIN: what came is not to be trusted, and cannot be asked for again. */
static int page_together(struct hunt *h, struct trail *t, size_t n, const char *bucket, uint64_t id, bool *ret_empty)
{
	struct ask a = {.method = "HEAD", .once = true, .max_headers = QUERY_HEAD_MAX};
	_cleanup_free_ char *header = NULL;
	struct trail *own = NULL;
	struct many m = {0};
	bool last = false;
	int e = str_fmt(&header, "x-reduct-query-id: %" PRIu64, id);

	a.headers = (const char *const[]){header, NULL};
	if (e == 0)
		e = reduct_ask(h->r, &a, "io/%s/read", bucket);
	a.headers = NULL;
	if (e == 0 && a.status == 204)
		last = true;
	else if (e == 0)
		e = parse_many(buf_str(&a.head), a.head.len, &m, &last);
	/* Forgotten, or its answer got lost; or after a restart it is somebody else's. */
	if (e < 0 && e != -ENOMEM && (a.status == 404 || a.status == 500 || a.in_doubt || e == -EBADMSG))
		e = -EAGAIN;
	for (size_t i = 0; e == 0 && i < m.list.n; i++) {
		struct many_record *x = &m.list.at[i];

		if (!i || x->entry != m.list.at[i - 1].entry)
			own = trail_of(t, n, m.entries.at[x->entry]);
		e = !own || x->record.ts < h->s->from || x->record.ts >= h->s->to ? -EAGAIN : consider(h, own, &x->record);
	}
	*ret_empty = m.list.n == 0;
	many_done(&m);
	ask_done(&a);
	return e < 0 ? e : !last;
}

static int search_together(struct hunt *h, struct trail *t, size_t n)
{
	_cleanup_free_ char *bucket = NULL;
	unsigned empty = 0;
	uint64_t id = 0;
	int e = name_encode_path(h->b->name, &bucket);

	if (e == 0)
		e = begin_together(h, t, n, bucket, &id);
	if (e == 0)
		e = 1;
	while (e == 1 && !is_full(h)) {
		bool none;

		e = page_together(h, t, n, bucket, id, &none);
		if (e == 1 && none && ++empty > TOGETHER_EMPTY_MAX)
			e = -EAGAIN;
	}
	return e > 0 ? 0 : e;
}

static int search_trails(struct hunt *h, struct trail *t, size_t n)
{
	size_t before = h->io->objects.n;
	int e = -EAGAIN;

	if (n > 1 && h->r->minor >= MINOR_TOGETHER)
		e = search_together(h, t, n);
	if (e != -EAGAIN && e != -ENOENT)
		return e;
	/* One by one, from the beginning: the pages of such a query are in no order that one could go on from. */
	while (h->io->objects.n > before)
		object_done(&h->io->objects.at[--h->io->objects.n]);
	e = 0;
	for (size_t i = 0; e == 0 && i < n; i++) {
		t[i].seen = t[i].next = 0;
		e = search_entry(h, &t[i]);
	}
	return e;
}

static int by_name(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* All entries of a bucket that lie in `in` (NULL: all), or with `alone` that one only; named by paths from there. */
static int search_bucket(struct reduct *r, const struct search *s, const char *bucket, const char *in, bool alone, const char *when, const char *prefix,
                         struct page *io)
{
	struct hunt h = {.r = r, .s = s, .when = when, .io = io};
	size_t n = in ? strlen(in) : 0, before = io->objects.n;
	VEC(struct trail) trails = {0};
	struct bucket *b;
	int e = reduct_bucket(r, bucket, BUCKET_FRESH_MS, &b);

	if (e < 0)
		return e;
	h.b = b;
	for (size_t i = 0; e == 0 && i < b->entries.n; i++) {
		const struct entry_info *x = &b->entries.at[i];
		struct trail t = {.entry = x->name};
		const char *rest = x->name + n;

		if (x->deleting || strchr(x->name, '$') || !x->count || (n && (strncmp(x->name, in, n) != 0 || (*rest && *rest != '/'))) || (alone && *rest))
			continue;
		rest += n && *rest;
		e = str_fmt(&t.prefix, "%s%s%s", prefix, rest, *rest ? "/" : "");
		if (e == 0)
			e = vec_push(&trails, t);
		if (e < 0)
			free(t.prefix);
	}
	if (e == 0)
		e = search_trails(&h, trails.at, trails.n);
	if (io->objects.n > before)
		qsort(io->objects.at + before, io->objects.n - before, sizeof(struct object), by_name);
	for (size_t i = 0; i < trails.n; i++) {
		free(trails.at[i].prefix);
		if (trails.at[i].series)
			series_put(r, trails.at[i].series);
	}
	vec_done(&trails);
	reduct_bucket_unref(r, b);
	return e;
}

static int search_all(struct reduct *r, const struct search *s, const char *when, struct page *io)
{
	struct object root = {.id = (char *)"root"};
	_cleanup_(page_done) struct page buckets = {0};
	int e;

	do {
		e = reduct_list(&r->session, &root, &buckets);
		for (size_t i = 0; e == 0 && i < buckets.objects.n && !(s->limit && io->objects.n >= s->limit); i++) {
			_cleanup_free_ char *prefix = NULL;

			e = str_fmt(&prefix, "%s/", buckets.objects.at[i].name);
			if (e == 0)
				e = search_bucket(r, s, buckets.objects.at[i].name, NULL, false, when, prefix, io);
			if (e == -EACCES || e == -ENOENT)
				e = 0;          /* one may not look into it, or it went */
		}
	} while (e == 0 && buckets.cursor);
	return e;
}

/* The server is asked for none of the records of one entry: whether this is a condition is the same in all of them. 1: it was told. */
static int check_in(struct reduct *r, const char *bucket, const char *when)
{
	_cleanup_free_ char *in = NULL, *entry = NULL, *path = NULL;
	_cleanup_buf_ struct buf body = BUF_MAX(128u << 10);
	struct bucket *b;
	uint64_t id;
	int e = reduct_bucket(r, bucket, BUCKET_FRESH_MS, &b);

	if (e < 0)
		return e;
	for (size_t i = 0; e == 0 && !entry && i < b->entries.n; i++)
		if (!b->entries.at[i].deleting && !strchr(b->entries.at[i].name, '$'))
			e = name_encode_path(b->entries.at[i].name, &entry);
	reduct_bucket_unref(r, b);
	if (e < 0 || !entry)
		return e;
	e = name_encode_path(bucket, &in);
	if (e == 0)
		e = str_fmt(&path, "%s/%s", in, entry);
	if (e == 0)
		e = buf_addf(&body, "{\"query_type\": \"QUERY\", \"start\": 0, \"stop\": 0, \"only_metadata\": true, \"ttl\": 1, \"when\": {%s}}", when);
	if (e == 0)
		e = query_make(r, "b", path, buf_str(&body), &id);
	return e < 0 ? e : 1;
}

static int check_anywhere(struct reduct *r, const char *when)
{
	struct object root = {.id = (char *)"root"};
	_cleanup_(page_done) struct page buckets = {0};
	int e = reduct_list(&r->session, &root, &buckets);

	for (size_t i = 0; e == 0 && i < buckets.objects.n && i < CHECKED_BUCKETS_MAX; i++) {
		e = check_in(r, buckets.objects.at[i].name, when);
		if (e == -EACCES || e == -ENOENT)
			e = 0;
	}
	return e;
}

int reduct_check_query(struct session *s, const struct object *dir, const char *expr, char **why)
{
	struct reduct *r = reduct_of(s);
	struct search q = {0};
	struct place p;
	int e = place_parse(dir->id, &p);

	if (e < 0)
		return e;
	e = p.what > IS_TIME ? -ENOENT : parse_search(expr, &q, why);
	if (e == -ENOENT)
		(void)str_dup("no expression: it has no operator, and no { at its beginning", why);
	if (e == 0 && q.when && *q.when) {
		e = p.what == IS_ROOT ? check_anywhere(r, q.when) : check_in(r, p.bucket, q.when);
		if (e != -EINVAL && e != -ENOMEM)
			e = 0;          /* whoever looks what it finds is told */
	}
	search_done(&q);
	place_done(&p);
	return e;
}

int reduct_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why)
{
	struct reduct *r = reduct_of(s);
	_cleanup_free_ char *when = NULL;
	struct search q = {0};
	struct place p;
	int e = place_parse(dir->id, &p);

	if (e < 0)
		return e;
	e = p.what > IS_TIME ? -ENOENT : parse_search(expr, &q, why);
	if (e == 0)
		e = search_when(&q, &when);
	if (e == 0) {
		WITH_LOCK(&r->lock)
			found_forget_locked(r);
		if (p.what == IS_TIME) {
			q.from = q.from > p.window.start ? q.from : p.window.start;
			q.to = q.to < p.window.end ? q.to : p.window.end;
		}
		if (p.what == IS_ROOT)
			e = search_all(r, &q, when, io);
		else
			e = search_bucket(r, &q, p.bucket, p.entry, p.what == IS_TIME, when, "", io);
	}
	if (e == -EFBIG)
		(void)refuse(why, "it finds more than %u: ask for less, by from=, to= or limit=", REDUCT_HITS_MAX);
	search_done(&q);
	place_done(&p);
	return e;
}
