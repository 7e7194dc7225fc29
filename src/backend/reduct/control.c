/* control.c - what stands below `.scifs/` of a ReductStore: documents of server, buckets and entries, and what it administers: tokens,
 * replications, lifecycles, buckets with their settings, attachments, the newest record. README.md has the table.
 *
 * Users' JSON goes out byte for byte as it was written, but for a masked dst_token, which the server shows in place of the real
 * one and which must never be written back. A token's value comes once, in the answer that makes it: it is kept here, in memory
 * that is in no core file, until it is read once.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backend/reduct/private.h"
#include "base/clock.h"

#define MINOR_MODES 18          /* of replications */
#define MINOR_ATTACHMENTS 19
#define MINOR_ROTATE 19
#define MINOR_PERMISSIONS 19    /* tokens are made of {"permissions": ...}, too */
#define MINOR_LIFECYCLES 20
#define MINOR_NO_FILTERS 21     /* include, exclude, each_n and each_s of a replication are ignored: everything goes */
#define MINOR_KEEPS_TOKEN 17    /* a replication that is changed without dst_token keeps its own */
#define KEY_MAX 200             /* bytes of an attachment's key */
#define HEALTH_MS 5000          /* who does not answer for so long is not alive */
#define SECRETS_MAX 64

const struct backend_control reduct_controls[] = {
	{.name = "info.json", .act = CONTROL_DOC},
	{.name = "list.json", .act = CONTROL_DOC, .root_only = true},
	{.name = "me.json", .act = CONTROL_DOC, .root_only = true},
	{.name = "alive", .act = CONTROL_DOC, .root_only = true},
	{.name = "ready", .act = CONTROL_DOC, .root_only = true},
	{.name = "tokens", .act = CONTROL_PAPERS, .root_only = true},
	{.name = "tokens.json", .act = CONTROL_DOC, .root_only = true},
	{.name = "replications", .act = CONTROL_PAPERS, .root_only = true},
	{.name = "replications.json", .act = CONTROL_DOC, .root_only = true},
	{.name = "lifecycles", .act = CONTROL_PAPERS, .root_only = true},
	{.name = "lifecycles.json", .act = CONTROL_DOC, .root_only = true},
	{.name = "buckets", .act = CONTROL_PAPERS, .root_only = true},
	{.name = "settings.json", .act = CONTROL_DOC},
	{.name = "entries.json", .act = CONTROL_DOC},
	{.name = "attachments", .act = CONTROL_PAPERS},
	{.name = "latest", .act = CONTROL_LINK},
	{.name = "versions", .act = CONTROL_TREE},
	{.name = "delete", .act = CONTROL_VERB, .same_as = "remove"},
	{0},
};

static int refuse(int err, const char *words)
{
	backend_note_fault(0, NULL, words, NULL);
	return -err;
}

/* ---- secrets ---- */

struct shown_once {
	struct list link;
	char *name;                     /* of the token */
	struct secret *value;
};

void reduct_control_init(struct reduct *r)
{
	list_init(&r->secrets);
}

static void forget_locked(struct reduct *r, struct shown_once *x)
{
	list_remove(&x->link);
	r->n_secrets--;
	secret_unref(x->value);
	free(x->name);
	free(x);
}

void reduct_control_done(struct reduct *r)
{
	while (!list_empty(&r->secrets))
		forget_locked(r, list_first(&r->secrets, struct shown_once, link));
}

static struct shown_once *secret_locked(struct reduct *r, const char *name)
{
	struct shown_once *x;

	list_for_each_safe(x, &r->secrets, struct shown_once, link)
		if (strcmp(x->name, name) == 0)
			return x;
	return NULL;
}

static bool has_secret(struct reduct *r, const char *name)
{
	bool has;

	WITH_LOCK(&r->lock)
		has = secret_locked(r, name);
	return has;
}

static void forget_secret(struct reduct *r, const char *name)
{
	WITH_LOCK(&r->lock) {
		struct shown_once *x = secret_locked(r, name);

		if (x)
			forget_locked(r, x);
	}
}

static int keep_secret(struct reduct *r, const char *name, const char *value)
{
	struct shown_once *x = calloc(1, sizeof(*x));
	int e = !x ? -ENOMEM : str_dup(name, &x->name);

	if (e == 0)
		e = secret_new(r->session.origin, value, &x->value);
	if (e < 0) {
		if (x)
			free(x->name);
		free(x);
		return e;
	}
	forget_secret(r, name);
	WITH_LOCK(&r->lock) {
		if (r->n_secrets >= SECRETS_MAX)
			forget_locked(r, list_first(&r->secrets, struct shown_once, link));
		list_append(&r->secrets, &x->link);
		r->n_secrets++;
	}
	return 0;
}

/* Given out once. */
static int take_secret(struct reduct *r, const char *name, struct buf *ret)
{
	int e = -ENOENT;

	WITH_LOCK(&r->lock) {
		struct shown_once *x = secret_locked(r, name);
		const char *text = x ? secret_text(x->value, r->session.origin) : NULL;

		if (!text)
			break;
		e = buf_adds(ret, text);
		if (e == 0)
			forget_locked(r, x);
	}
	return e;
}

/* ---- requests ---- */

static int encode(const char *name, char **ret)
{
	return str_percent_encode(name, strlen(name), "", ret);
}

/* One request about DIR/NAME and what is behind it; `a` is for the caller to end. */
static int about_one(struct reduct *r, struct ask *a, const char *dir, const char *name, const char *behind)
{
	_cleanup_free_ char *path = NULL;
	int e = encode(name, &path);

	return e < 0 ? e : reduct_ask(r, a, "%s/%s%s", dir, path, behind);
}

static int read_path(struct reduct *r, const char *path, struct buf *ret)
{
	struct ask a = {0};
	int e = reduct_ask(r, &a, "%s", path);

	if (e == 0)
		e = buf_add(ret, buf_str(&a.text), a.text.len);
	ask_done(&a);
	return e;
}

/* The value of a member of what a path answers, or all of it. */
static int read_member(struct reduct *r, const char *dir, const char *name, const char *member, struct buf *ret)
{
	struct ask a = {0};
	const char *part = NULL;
	size_t n = 0;
	int e = about_one(r, &a, dir, name, "");

	if (e == 0 && member)
		e = json_raw_member(buf_str(&a.text), a.text.len, member, &part, &n) < 0 ? -EBADMSG : buf_add(ret, part, n);
	else if (e == 0)
		e = buf_add(ret, buf_str(&a.text), a.text.len);
	ask_done(&a);
	return e;
}

/* Is there one? 1, 0. */
static int exists(struct reduct *r, const char *dir, const char *name)
{
	struct ask a = {.method = strcmp(dir, "b") == 0 ? "HEAD" : NULL};
	int e = about_one(r, &a, dir, name, "");

	ask_done(&a);
	return e == 0 ? 1 : e == -ENOENT ? 0 : e;
}

static int send_json(struct reduct *r, const char *method, const char *dir, const char *name, const char *behind, const char *body,
                     struct buf *ret)
{
	struct ask a = {.method = method, .body = body, .acts = strcmp(method, "POST") == 0};
	int e = about_one(r, &a, dir, name, behind);

	if (e == 0 && ret)
		e = buf_add(ret, buf_str(&a.text), a.text.len);
	if (a.text.data)
		explicit_bzero(a.text.data, a.text.room);       /* a token's value may be in it */
	/* No answer came: what the server has decides. */
	if (e < 0 && a.in_doubt && strcmp(method, "POST") == 0 && !*behind) {
		int there = exists(r, dir, name);

		if (there == 1 && strcmp(dir, "tokens") == 0)
			(void)refuse(EIO, "it was made, but the answer with its value was lost: rotate it, or remove it and make it again");
		else if (there == 1)
			e = 0;
	}
	ask_done(&a);
	return e;
}

/* ---- who may ---- */

static bool lacks_full(struct reduct *r)
{
	bool lacks;

	WITH_LOCK(&r->lock)
		lacks = !r->me.full && !r->unverified;
	return lacks;
}

/* Who has come up without the server does not know yet. */
static bool lacks_write(struct reduct *r, const char *bucket)
{
	bool lacks;

	WITH_LOCK(&r->lock)
		lacks = !(me_rights(&r->me, bucket) & RIGHT_WRITE) && !r->unverified;
	return lacks;
}

static bool is_one_of(const char *name, const char *const *words)
{
	while (*words && strcmp(*words, name) != 0)
		words++;
	return *words;
}

static const char *const full_dirs[] = {"tokens", "replications", "lifecycles", "buckets", NULL};
static const char *const of_server[] = {"list.json", "me.json", "alive", "ready", "tokens.json", "replications.json", "lifecycles.json", NULL};

static int check_in_dir(struct reduct *r, const char *dir, const char *name, enum paper_act act)
{
	_cleanup_free_ char *key = NULL;
	bool document = str_stem(name, ".json", &key);

	if (lacks_full(r))
		return refuse(EACCES, "the token has not full access");
	if (strcmp(dir, "buckets") == 0) {
		if (act == PAPER_REMOVE)
			return refuse(EPERM, "rmdir removes a bucket that is empty, rm -r any");
		if (document && (!name_is_bucket(key) || *key == '$'))
			return refuse(EINVAL, "a bucket's name has letters, digits, - and _ only");
	}
	if (strcmp(dir, "tokens") == 0) {
		if (act == PAPER_WRITE && document)
			return refuse(EPERM, "a token cannot be changed: remove it and make it anew, or write its name into tokens/rotate");
		if (act == PAPER_WRITE && strcmp(name, "rotate") != 0)
			return refuse(EPERM, "the server alone gives it");
		if (act == PAPER_REMOVE && str_ends(name, ".secret"))
			return 0;
	}
	return act == PAPER_REMOVE && !document ? refuse(EPERM, "it goes with what it is about") : 0;
}

static int check_attachment(struct reduct *r, const struct place *p, const char *name)
{
	_cleanup_free_ char *key = NULL;

	if (lacks_write(r, p->bucket))
		return refuse(EACCES, "the token has no right to write to the bucket");
	if (!str_stem(name, ".json", &key))
		return refuse(EINVAL, "an attachment's name ends with .json");
	if (strlen(key) > KEY_MAX || *key == ' ' || key[strlen(key) - 1] == ' ' || *key == '$' || strcmp(key, ATTACHMENT_OWN) == 0)
		return refuse(EINVAL, "the key of an attachment has at most 200 bytes, no blanks at its ends, no $ in front, and is not scifs");
	for (const char *c = key; *c; c++)
		if (*c < ' ' || *c > '~')
			return refuse(EINVAL, "the key of an attachment is of printable ASCII");
	return 0;
}

static int check(struct reduct *r, const struct place *p, const char *const *path, enum paper_act act)
{
	const char *name = path[0];

	if (path[1] && is_one_of(name, full_dirs))
		return check_in_dir(r, name, path[1], act);
	if (p->bucket && *p->bucket == '$' && strcmp(name, "info.json") != 0 && strcmp(name, "entries.json") != 0 &&
	    !is_one_of(name, of_server))
		return refuse(EPERM, "this bucket is the server's own");
	if (path[1])
		return check_attachment(r, p, path[1]);
	if (act == PAPER_REMOVE || is_one_of(name, of_server) || strcmp(name, "info.json") == 0 || strcmp(name, "entries.json") == 0)
		return refuse(EPERM, act == PAPER_REMOVE ? "this is always there" : "this can only be read");
	if (strcmp(name, "delete") == 0 && p->what == IS_ENTRY)
		return lacks_write(r, p->bucket) ? refuse(EACCES, "the token has no right to write to the bucket") : 0;
	if ((strcmp(name, "settings.json") == 0 || strcmp(name, "delete") == 0) && lacks_full(r))
		return refuse(EACCES, "the token has not full access");
	return 0;
}

int reduct_paper_check(struct session *s, const struct object *about, const char *const *path, enum paper_act act)
{
	struct place p;
	int e = place_parse(about->id, &p);

	if (e < 0)
		return e;
	e = check(reduct_of(s), &p, path, act);
	place_done(&p);
	return e;
}

/* ---- attachments ---- */

struct attachment {
	char *key;
	uint64_t ts;
};
struct attachments {
	VEC(struct attachment) list;
	uint64_t newest;
};

static void attachments_done(struct attachments *a)
{
	for (size_t i = 0; i < a->list.n; i++)
		free(a->list.at[i].key);
	vec_done(&a->list);
}

static int add_attachment(struct attachments *a, const struct record *x)
{
	const char *key = record_label(x, "key"), *gone = record_label(x, "remove");
	struct attachment one = {.ts = x->ts};

	if (x->ts > a->newest)
		a->newest = x->ts;
	if (!key || !*key || (gone && strcmp(gone, "true") == 0))
		return 0;
	/* The newest of a key is it. */
	for (size_t i = 0; i < a->list.n; i++)
		if (strcmp(a->list.at[i].key, key) == 0) {
			if (x->ts > a->list.at[i].ts)
				a->list.at[i].ts = x->ts;
			return 0;
		}
	if (a->list.n >= PAPERS_MAX)
		return -EFBIG;
	if (str_dup(key, &one.key) < 0 || vec_push(&a->list, one) < 0) {
		free(one.key);
		return -ENOMEM;
	}
	return 0;
}

static int attachments_get(struct reduct *r, const struct place *p, struct attachments *ret)
{
	_cleanup_free_ char *entry = NULL;
	struct records page = {0};
	struct query q = {.bucket = p->bucket, .stop = REDUCT_TS_MAX};
	int e = str_fmt(&entry, "%s/$meta", p->entry);

	*ret = (struct attachments){0};
	q.entry = entry;
	while (e == 0 && (e = query_next(r, &q, &page)) == 0 && page.list.n)
		for (size_t i = 0; i < page.list.n && e == 0; i++)
			e = add_attachment(ret, &page.list.at[i]);
	records_done(&page);
	if (e == -ENOENT)
		e = 0;                  /* none was ever made */
	if (e < 0)
		attachments_done(ret);
	return e;
}

static const struct attachment *attachment_of(const struct attachments *a, const char *key)
{
	for (size_t i = 0; i < a->list.n; i++)
		if (strcmp(a->list.at[i].key, key) == 0)
			return &a->list.at[i];
	return NULL;
}

/* "b/BUCKET/ENTRY/$meta?ts=TS": the time is always there, without it a DELETE or a PATCH would be about all of it. */
static int attachment_path(const struct place *p, uint64_t ts, char **ret)
{
	_cleanup_free_ char *bucket = NULL, *entry = NULL;
	int e = name_encode_path(p->bucket, &bucket);

	if (e == 0)
		e = name_encode_path(p->entry, &entry);
	return e < 0 ? e : str_fmt(ret, "b/%s/%s/$meta?ts=%" PRIu64, bucket, entry, ts);
}

static int read_attachment(struct reduct *r, const struct place *p, const char *key, struct buf *ret)
{
	_cleanup_free_ char *path = NULL;
	struct attachments all;
	const struct attachment *x;
	int e = attachments_get(r, p, &all);

	if (e < 0)
		return e;
	x = strcmp(key, ATTACHMENT_OWN) == 0 ? NULL : attachment_of(&all, key);
	e = x ? attachment_path(p, x->ts, &path) : -ENOENT;
	if (e == 0)
		e = read_path(r, path, ret);
	attachments_done(&all);
	return e;
}

int attachment_write(struct reduct *r, const struct place *p, const char *key, const char *text)
{
	_cleanup_free_ char *path = NULL, *label = NULL;
	struct attachments all;
	struct timespec now = clock_wall();
	uint64_t ts = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	const char *headers[2] = {NULL, NULL};
	struct ask a = {.method = "POST", .body = text, .acts = true, .headers = headers};
	int e = attachments_get(r, p, &all);

	if (e < 0)
		return e;
	/* Never between others: older servers lose what is written late. */
	if (ts <= all.newest)
		ts = all.newest + 1;
	attachments_done(&all);
	e = str_fmt(&label, "x-reduct-label-key: %s", key);
	if (e == 0)
		e = attachment_path(p, ts, &path);
	headers[0] = label;
	if (e == 0)
		e = reduct_ask(r, &a, "%s", path);
	if (e < 0 && a.in_doubt && attachments_get(r, p, &all) == 0) {
		const struct attachment *x = attachment_of(&all, key);

		if (x && x->ts == ts)
			e = 0;
		attachments_done(&all);
	}
	ask_done(&a);
	return e;
}

static int remove_attachment(struct reduct *r, const struct place *p, const char *key)
{
	_cleanup_free_ char *path = NULL;
	static const char *const headers[] = {"x-reduct-label-remove: true", NULL};
	struct ask a = {.method = "PATCH", .headers = headers};
	struct attachments all;
	const struct attachment *x;
	int e = attachments_get(r, p, &all);

	if (e < 0)
		return e;
	x = attachment_of(&all, key);
	e = x ? attachment_path(p, x->ts, &path) : -ENOENT;
	if (e == 0)
		e = reduct_ask(r, &a, "%s", path);
	ask_done(&a);
	attachments_done(&all);
	return e;
}

/* ---- the newest record ---- */

/* Where it stands, below its entry: "2026.11.22/13/TS.EXT", or its name. */
static int way_to(enum level layout, const struct record *x, char **ret)
{
	_cleanup_buf_ struct buf b = BUF_MAX(4096);
	_cleanup_free_ char *name = NULL;
	char window[WINDOW_NAME_MAX];
	int e = 0;

	if (record_is_named(x))
		return name_from_label(record_label(x, "filename"), ret);
	for (enum level l = LEVEL_DAY; l <= layout && e == 0; l++) {
		struct window w = window_of(l, x->ts);

		window_name(&w, window);
		e = buf_addf(&b, "%s/", window);
	}
	if (e == 0)
		e = name_of_record(x->ts, x->type, &name);
	if (e == 0)
		e = buf_adds(&b, name);
	if (e < 0)
		return e;
	*ret = buf_take(&b);
	return *ret ? 0 : -ENOMEM;
}

/* The last of a span of time. 1, 0 none. */
static int last_of(struct reduct *r, const struct place *p, uint64_t start, struct record *ret)
{
	struct records page = {0};
	struct query q = {.bucket = p->bucket, .entry = p->entry, .start = start, .stop = REDUCT_TS_MAX};
	int e, found = 0;

	while ((e = query_next(r, &q, &page)) == 0 && page.list.n) {
		struct record *last = &page.list.at[page.list.n - 1];

		if (found)
			record_done(ret);
		*ret = *last;
		*last = (struct record){0};
		found = 1;
	}
	records_done(&page);
	if (e < 0 && found)
		record_done(ret);
	return e < 0 ? e : found;
}

/* The server's own word for the newest may be too old after late writes, and name one that cannot be read: so it is where the search
 * begins, and ever longer spans before it are looked at when nothing is there. */
static int latest(struct reduct *r, const struct place *p, char **ret)
{
	const struct entry_info *info;
	struct bucket *b;
	struct record x = {0};
	enum level layout = LEVEL_ENTRY;
	uint64_t start = 0, oldest = 0, span = 1000000;
	int e = reduct_bucket(r, p->bucket, BUCKET_FRESH_MS, &b);

	if (e < 0)
		return e;
	info = bucket_entry(b, p->entry);
	e = info && info->count ? 0 : -ENOENT;
	if (e == 0) {
		start = info->latest;
		oldest = info->oldest;
	}
	reduct_bucket_unref(r, b);
	while (e == 0) {
		e = last_of(r, p, start, &x);
		if (e == 0 && start <= oldest)
			e = -ENOENT;
		start = start > span && start - span > oldest ? start - span : oldest;
		span *= 60;
	}
	if (e < 0)
		return e;
	if (!record_is_named(&x))
		e = layout_of(r, p->bucket, p->entry, &layout);
	if (e >= 0)
		e = way_to(layout, &x, ret);
	record_done(&x);
	return e;
}

/* ---- what there is ---- */

static int stat_row(struct reduct *r, const struct place *p, const char *name, struct paper *ret)
{
	bool container = p->what == IS_BUCKET || p->what == IS_ENTRY;
	int e;

	if (strncmp(name, "lifecycles", 10) == 0 && r->minor < MINOR_LIFECYCLES)
		return -ENOENT;
	if (is_one_of(name, full_dirs))
		return paper_say(ret, CONTROL_PAPERS, name, true);
	if (is_one_of(name, of_server) || (strcmp(name, "info.json") == 0 && (container || p->what == IS_ROOT)) ||
	    (strcmp(name, "entries.json") == 0 && p->what == IS_BUCKET))
		return paper_say(ret, CONTROL_DOC, name, false);
	if (strcmp(name, "settings.json") == 0 && p->what == IS_BUCKET)
		return paper_say(ret, CONTROL_DOC, name, true);
	if (strcmp(name, "delete") == 0 && container)
		return paper_say(ret, CONTROL_VERB, name, true);
	if (p->what != IS_ENTRY)
		return -ENOENT;
	if (strcmp(name, "attachments") == 0 && r->minor >= MINOR_ATTACHMENTS)
		return paper_say(ret, CONTROL_PAPERS, name, true);
	if (strcmp(name, "latest") != 0)
		return -ENOENT;
	e = paper_say(ret, CONTROL_LINK, name, false);
	if (e == 0)
		e = latest(r, p, &ret->below);
	if (e < 0)
		paper_done(ret);
	return e;
}

static unsigned minor_of_modes(const char *dir)
{
	return strcmp(dir, "replications") == 0 ? MINOR_MODES : strcmp(dir, "lifecycles") == 0 ? MINOR_LIFECYCLES : 1000;
}

static int stat_in_dir(struct reduct *r, const char *dir, const char *name, struct paper *ret)
{
	_cleanup_free_ char *key = NULL;
	bool tokens = strcmp(dir, "tokens") == 0, mode = false;
	int e;

	if (tokens && strcmp(name, "rotate") == 0)
		return r->minor >= MINOR_ROTATE ? paper_say(ret, CONTROL_TEXT, name, true) : -ENOENT;
	if (tokens && str_stem(name, ".secret", &key)) {
		e = has_secret(r, key) ? paper_say(ret, CONTROL_DOC, name, false) : -ENOENT;
		if (e == 0)
			ret->secret = true;
		return e;
	}
	mode = r->minor >= minor_of_modes(dir) && str_stem(name, ".mode", &key);
	if (!mode && !str_stem(name, ".json", &key))
		return -ENOENT;
	if (strcmp(dir, "buckets") == 0 && !name_is_bucket(key))
		return -ENOENT;
	e = exists(r, strcmp(dir, "buckets") == 0 ? "b" : dir, key);
	return e < 0 ? e : e ? paper_say(ret, mode ? CONTROL_TEXT : CONTROL_DOC, name, true) : -ENOENT;
}

static int stat_attachment(struct reduct *r, const struct place *p, const char *name, struct paper *ret)
{
	_cleanup_free_ char *key = NULL;
	struct attachments all;
	int e;

	if (!str_stem(name, ".json", &key) || strcmp(key, ATTACHMENT_OWN) == 0)
		return -ENOENT;
	e = attachments_get(r, p, &all);
	if (e < 0)
		return e;
	e = attachment_of(&all, key) ? paper_say(ret, CONTROL_DOC, name, true) : -ENOENT;
	attachments_done(&all);
	return e;
}

int reduct_paper_stat(struct session *s, const struct object *about, const char *const *path, struct paper *ret)
{
	struct reduct *r = reduct_of(s);
	struct place p;
	int e = place_parse(about->id, &p);

	if (e < 0)
		return e;
	if (!path[1])
		e = stat_row(r, &p, path[0], ret);
	else if (path[2])
		e = -ENOENT;
	else if (strcmp(path[0], "attachments") == 0)
		e = stat_attachment(r, &p, path[1], ret);
	else
		e = stat_in_dir(r, path[0], path[1], ret);
	place_done(&p);
	return e;
}

static int add_named(struct papers *ret, const char *name, const char *end, enum control_act act)
{
	_cleanup_free_ char *whole = NULL;
	int e = str_fmt(&whole, "%s%s", name, end);

	return e < 0 ? e : papers_add(ret, act, whole, true);
}

static int list_dir(struct reduct *r, const char *dir, struct papers *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	bool tokens = strcmp(dir, "tokens") == 0, buckets = strcmp(dir, "buckets") == 0;
	struct ask a = {0};
	int e = buckets && lacks_full(r) ? refuse(EACCES, "the token has not full access") : reduct_ask(r, &a, "%s", buckets ? "list" : dir);

	if (e == 0)
		e = json_parse(buf_str(&a.text), a.text.len, &j);
	if (e == 0 && !json_is_array(json_get(j, dir)))
		e = -EBADMSG;
	if (e == -EBADMSG)
		backend_note_fault(a.status, NULL, "a list that cannot be read", dir);
	ask_done(&a);
	for (const struct json *x = e == 0 ? json_first(json_get(j, dir)) : NULL; x && e == 0; x = json_next(x)) {
		const char *name = json_text(json_get(x, "name")), *status = json_text(json_get(x, "status"));

		if (!name || !*name || (buckets && (*name == '$' || str_eq(status, "DELETING"))))
			continue;
		e = add_named(ret, name, ".json", CONTROL_DOC);
		if (e == 0 && r->minor >= minor_of_modes(dir))
			e = add_named(ret, name, ".mode", CONTROL_TEXT);
		if (e == 0 && tokens && has_secret(r, name)) {
			e = add_named(ret, name, ".secret", CONTROL_DOC);
			if (e == 0) {
				ret->list.at[ret->list.n - 1].secret = true;
				ret->list.at[ret->list.n - 1].writable = false;
			}
		}
	}
	if (e == 0 && tokens && r->minor >= MINOR_ROTATE)
		e = papers_add(ret, CONTROL_TEXT, "rotate", true);
	return e;
}

static int list_attachments(struct reduct *r, const struct place *p, struct papers *ret)
{
	struct attachments all;
	int e = attachments_get(r, p, &all);

	if (e < 0)
		return e;
	for (size_t i = 0; i < all.list.n && e == 0; i++)
		if (strcmp(all.list.at[i].key, ATTACHMENT_OWN) != 0)
			e = add_named(ret, all.list.at[i].key, ".json", CONTROL_DOC);
	attachments_done(&all);
	return e;
}

int reduct_paper_list(struct session *s, const struct object *about, const char *const *path, struct papers *ret)
{
	struct reduct *r = reduct_of(s);
	struct place p;
	int e = place_parse(about->id, &p);

	if (e < 0)
		return e;
	e = strcmp(path[0], "attachments") == 0 ? list_attachments(r, &p, ret) : list_dir(r, path[0], ret);
	place_done(&p);
	return e;
}

/* ---- reading ---- */

/* "1", "0": does it answer so? */
static int read_health(struct reduct *r, const char *path, struct buf *ret)
{
	struct ask a = {.method = "HEAD", .patience_ms = HEALTH_MS};
	int e = reduct_ask(r, &a, "%s", path);
	bool good = e == 0;

	ask_done(&a);
	return buf_adds(ret, good ? "1" : "0");
}

static int read_entry(struct reduct *r, const struct place *p, struct buf *ret)
{
	_cleanup_free_ char *path = NULL;
	struct ask a = {0};
	const char *at;
	size_t n;
	int e = name_encode_path(p->bucket, &path);

	if (e == 0)
		e = reduct_ask(r, &a, "b/%s", path);
	if (e == 0)
		e = parse_entry_slice(buf_str(&a.text), a.text.len, p->entry, &at, &n);
	if (e == 0)
		e = buf_add(ret, at, n);
	else if (e == -ENOENT && a.status == 200)
		e = buf_adds(ret, "{}");        /* the beginning of others' names */
	ask_done(&a);
	return e;
}

static int read_row(struct reduct *r, const struct place *p, const char *name, struct buf *ret)
{
	_cleanup_free_ char *path = NULL;

	if (strcmp(name, "alive") == 0 || strcmp(name, "ready") == 0)
		return read_health(r, name, ret);
	if (p->what == IS_ENTRY && strcmp(name, "info.json") == 0)
		return read_entry(r, p, ret);
	if (!str_stem(name, ".json", &path))
		return -ENODATA;
	if (p->what == IS_BUCKET && (strcmp(path, "info") == 0 || strcmp(path, "settings") == 0 || strcmp(path, "entries") == 0))
		return read_member(r, "b", p->bucket, path, ret);
	return read_path(r, path, ret);
}

/* The mode is one of the settings, or of the list's own figures on a server that shows it there only. */
static int read_mode(struct reduct *r, const char *dir, const char *name, struct buf *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	struct ask a = {0};
	const char *mode = NULL;
	int e = about_one(r, &a, dir, name, "");

	if (e == 0)
		e = json_parse(buf_str(&a.text), a.text.len, &j);
	ask_done(&a);
	if (e < 0)
		return e;
	mode = json_text(json_get(json_get(j, "settings"), "mode"));
	if (!mode)
		mode = json_text(json_get(json_get(j, "info"), "mode"));
	if (!mode)
		return refuse(EBADMSG, "the answer has no mode");
	return buf_adds(ret, mode);
}

static int read_in_dir(struct reduct *r, const char *dir, const char *name, struct buf *ret)
{
	_cleanup_free_ char *key = NULL;

	if (str_stem(name, ".json", &key))
		return strcmp(dir, "buckets") == 0 ? read_member(r, "b", key, "settings", ret) : read_member(r, dir, key, NULL, ret);
	if (str_stem(name, ".mode", &key))
		return read_mode(r, dir, key, ret);
	if (str_stem(name, ".secret", &key))
		return take_secret(r, key, ret);
	return -ENODATA;
}

int reduct_paper_read(struct session *s, const struct object *about, const char *const *path, struct buf *ret)
{
	struct reduct *r = reduct_of(s);
	_cleanup_free_ char *key = NULL;
	struct place p;
	int e = place_parse(about->id, &p);

	if (e < 0)
		return e;
	if (!path[1])
		e = read_row(r, &p, path[0], ret);
	else if (strcmp(path[0], "attachments") == 0)
		e = str_stem(path[1], ".json", &key) ? read_attachment(r, &p, key, ret) : -ENOENT;
	else
		e = read_in_dir(r, path[0], path[1], ret);
	place_done(&p);
	return e;
}

/* ---- writing ---- */

static bool is_text(const char *at, size_t n, const char *want)
{
	_cleanup_free_ char *text = NULL;

	return *at == '"' && json_raw_text(at, n, &text) == 0 && strcmp(text, want) == 0;
}

static bool is_nothing(const char *at, size_t n)
{
	return (n == 4 && memcmp(at, "null", 4) == 0) || (n == 2 && (memcmp(at, "[]", 2) == 0 || memcmp(at, "{}", 2) == 0));
}

/* Settings as the server takes them: a whole document of the server's is good too, which has them in `settings`. They are
 * handed on byte for byte, or, when a dst_token among them is only its mask, all members but that. *ret_token: a real one was
 * among them. Pure. */
int reduct_settings(unsigned minor, const char *text, size_t n, struct buf *ret, bool *ret_masked, bool *ret_token)
{
	static const char *const gone[] = {"include", "exclude", "each_n", "each_s", NULL};
	const char *at, *key, *value;
	_cleanup_buf_ struct buf some = BUF_MAX(2 * PAPER_MAX);
	size_t at_n, key_n, value_n, pos = 0;
	bool first = true;
	int e;

	*ret_masked = *ret_token = false;
	while (n && isspace((unsigned char)*text)) {
		text++;
		n--;
	}
	if (!n || *text != '{')
		return refuse(EINVAL, "settings are a JSON object");
	if (json_raw_member(text, n, "settings", &at, &at_n) == 0 && *at == '{') {
		text = at;
		n = at_n;
	}
	e = buf_addc(&some, '{');
	while (e == 0 && (e = json_raw_next(text, n, &pos, &key, &key_n, &value, &value_n)) == 1) {
		_cleanup_free_ char *name = NULL;

		e = json_raw_text(key, key_n, &name);
		if (e == 0 && strcmp(name, "dst_token") == 0) {
			*ret_masked |= is_text(value, value_n, "***");
			*ret_token |= *value == '"' && !*ret_masked;
			if (*ret_masked)
				continue;
		}
		if (e == 0 && minor >= MINOR_NO_FILTERS && is_one_of(name, gone) && !is_nothing(value, value_n))
			return refuse(EINVAL, "this server ignores include, exclude, each_n and each_s: it would copy everything; "
			                      "write a condition (when)");
		if (e == 0)
			e = buf_addf(&some, "%s\"%.*s\": ", first ? "" : ", ", (int)key_n, key);
		if (e == 0)
			e = buf_add(&some, value, value_n);
		first = false;
	}
	if (e == 0)
		e = buf_addc(&some, '}');
	return e < 0 ? e : *ret_masked ? buf_add(ret, buf_str(&some), some.len) : buf_add(ret, text, n);
}

static int write_settings(struct reduct *r, const char *dir, const char *name, const struct buf *text)
{
	_cleanup_buf_ struct buf body = BUF_MAX(2 * PAPER_MAX);
	const char *api = strcmp(dir, "buckets") == 0 ? "b" : dir;
	bool replication = strcmp(dir, "replications") == 0, masked, token;
	int there, e = reduct_settings(replication ? r->minor : 0, buf_str(text), text->len, &body, &masked, &token);

	if (e < 0)
		return e;
	there = exists(r, api, name);
	if (there < 0)
		return there;
	if (replication && !token && (there ? r->minor < MINOR_KEEPS_TOKEN : masked))
		return refuse(EINVAL, there ? "this server wants dst_token with every change" : "dst_token is only its mask here");
	return send_json(r, there ? "PUT" : "POST", api, name, "", buf_str(&body), NULL);
}

/* A token's value is in the answer, and nowhere else ever again. */
static int make_token(struct reduct *r, const char *name, const char *behind, const char *body, struct buf *reply)
{
	_cleanup_buf_ struct buf answer = BUF_MAX(65536);
	_cleanup_free_ char *value = NULL, *created = NULL;
	const char *at;
	size_t n;
	int e = send_json(r, "POST", "tokens", name, behind, body, &answer);

	if (e == 0)
		e = json_raw_member(buf_str(&answer), answer.len, "value", &at, &n) < 0 ? -EBADMSG : json_raw_text(at, n, &value);
	if (e == 0)
		e = keep_secret(r, name, value);
	if (e == 0 && json_raw_member(buf_str(&answer), answer.len, "created_at", &at, &n) == 0)
		created = strndup(at, n);
	if (answer.data)
		explicit_bzero(answer.data, answer.room);
	if (value)
		explicit_bzero(value, strlen(value));
	if (e == 0)
		e = buf_adds(reply, "{\"name\": ");
	if (e == 0)
		e = json_write_str(reply, name);
	return e < 0 ? e : buf_addf(reply, ", \"created_at\": %s}", created ? created : "null");
}

/* Servers before 1.19 take only the rights by themselves. */
static int write_token(struct reduct *r, const char *name, const struct buf *text, struct buf *reply)
{
	_cleanup_free_ char *rights = NULL;
	const char *at, *body = buf_str(text);
	size_t n;

	if (r->minor < MINOR_PERMISSIONS && json_raw_member(body, text->len, "permissions", &at, &n) == 0 && *at == '{') {
		rights = strndup(at, n);
		if (!rights)
			return -ENOMEM;
		body = rights;
	}
	return make_token(r, name, "", body, reply);
}

static int write_mode(struct reduct *r, const char *dir, const char *name, const char *word)
{
	_cleanup_buf_ struct buf body = BUF_MAX(65536 * 6 + 100);
	int e = buf_adds(&body, "{\"mode\": ");

	if (e == 0)
		e = json_write_str(&body, word);
	if (e == 0)
		e = buf_adds(&body, "}");
	return e < 0 ? e : send_json(r, "PATCH", dir, name, "/mode", buf_str(&body), NULL);
}

static int write_in_dir(struct reduct *r, const char *dir, const char *name, const struct buf *text, struct buf *reply)
{
	_cleanup_free_ char *key = NULL;

	if (strcmp(dir, "tokens") == 0 && strcmp(name, "rotate") == 0)
		return text->len ? make_token(r, buf_str(text), "/rotate", NULL, reply) : refuse(EINVAL, "write the name of a token");
	if (str_stem(name, ".mode", &key))
		return write_mode(r, dir, key, buf_str(text));
	if (!str_stem(name, ".json", &key))
		return -ENOENT;
	return strcmp(dir, "tokens") == 0 ? write_token(r, key, text, reply) : write_settings(r, dir, key, text);
}

int reduct_paper_write(struct session *s, const struct object *about, const char *const *path, const struct buf *text, struct buf *reply)
{
	struct reduct *r = reduct_of(s);
	_cleanup_free_ char *key = NULL;
	struct place p;
	int e = place_parse(about->id, &p);

	if (e < 0)
		return e;
	if (!path[1] && strcmp(path[0], "delete") == 0)
		e = text->len ? refuse(EINVAL, "write: delete") : reduct_remove_all(s, NULL, about);
	else if (!path[1])
		e = strcmp(path[0], "settings.json") == 0 ? write_settings(r, "buckets", p.bucket, text) : -EPERM;
	else if (strcmp(path[0], "attachments") == 0)
		e = str_stem(path[1], ".json", &key) ? attachment_write(r, &p, key, buf_str(text)) : -EINVAL;
	else
		e = write_in_dir(r, path[0], path[1], text, reply);
	place_done(&p);
	return e;
}

static int remove_in_dir(struct reduct *r, const char *dir, const char *name)
{
	_cleanup_free_ char *key = NULL;
	int e;

	if (str_stem(name, ".secret", &key)) {
		forget_secret(r, key);
		return 0;
	}
	if (!str_stem(name, ".json", &key))
		return -EPERM;
	e = send_json(r, "DELETE", dir, key, "", NULL, NULL);
	if (e == 0 && strcmp(dir, "tokens") == 0)
		forget_secret(r, key);
	return e == -EEXIST ? -EPERM : e;       /* a conflict: the last token that may do everything */
}

int reduct_paper_remove(struct session *s, const struct object *about, const char *const *path)
{
	struct reduct *r = reduct_of(s);
	_cleanup_free_ char *key = NULL;
	struct place p;
	int e = place_parse(about->id, &p);

	if (e < 0)
		return e;
	if (!path[1])
		e = -EPERM;
	else if (strcmp(path[0], "attachments") == 0)
		e = str_stem(path[1], ".json", &key) ? remove_attachment(r, &p, key) : -EPERM;
	else
		e = remove_in_dir(r, path[0], path[1]);
	place_done(&p);
	return e;
}
