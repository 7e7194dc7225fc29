/* xattr.c - user.scifs.* answered on the spot, and the metadata document as attributes, read and set.
 *
 * Documents are kept in memory for as long as attributes are believed, a bounded number of them, the oldest leave. What the
 * server said last is kept over a restart too, and answers while the server cannot be asked. An answer that was asked for before a
 * change is not kept.
 *
 * Three kinds of names: the backend's own (user.SCHEME...), which are set at the server at once, or wait in the draft of what is not
 * there yet; computed ones (user.scifs.*, and what the table below has), which are accepted and left alone, so that copies of
 * everything succeed; and all others, of which the server would know nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "fs/private.h"

#define DOCUMENTS_MAX 512
#define VALUE_MAX 65536         /* the kernel's: a longer value cannot be read as an attribute */
#define LIST_MAX 65536
#define KIND "doc"              /* under which cache/documents.c keeps them */
#define LONGEST_KEPT (4u << 20) /* a longer document is not kept over a restart */
#define REFUSALS_MAX 256

struct kept {
	struct list link;               /* oldest first */
	uint64_t ino, at;
	struct doc doc;
	struct timespec moved;          /* the object's ctime then: a newer one ends it */
};

/* What the server said when it refused a change. */
struct refusal {
	struct list link;               /* oldest first */
	uint64_t ino;
	char *words;
};

struct documents {
	pthread_mutex_t lock;
	struct list order;
	struct map64 *by_ino;
	uint64_t changes;               /* goes up with each change of ours: answers asked for before are not kept */
	struct list refusals;
	unsigned refusals_n;
};

int documents_init(struct fs *fs)
{
	struct documents *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	fs->documents = d;
	pthread_mutex_init(&d->lock, NULL);
	list_init(&d->order);
	list_init(&d->refusals);
	d->by_ino = map64_new();
	return d->by_ino ? 0 : -ENOMEM;
}

static void drop_locked(struct documents *d, struct kept *k)
{
	list_remove(&k->link);
	map64_remove(d->by_ino, k->ino);
	doc_done(&k->doc);
	free(k);
}

static struct refusal *refusal_locked(struct documents *d, uint64_t ino)
{
	struct refusal *x;

	list_for_each_safe(x, &d->refusals, struct refusal, link)
		if (x->ino == ino)
			return x;
	return NULL;
}

static void refusal_drop_locked(struct documents *d, struct refusal *x)
{
	list_remove(&x->link);
	d->refusals_n--;
	free(x->words);
	free(x);
}

void refusal_note(struct fs *fs, struct node *n, const char *words)
{
	struct documents *d = fs->documents;
	struct refusal *x = words ? calloc(1, sizeof(*x)) : NULL;

	if (x)
		x->words = strdup(words);
	WITH_LOCK(&d->lock) {
		struct refusal *was = refusal_locked(d, n->ino);

		if (was)
			refusal_drop_locked(d, was);
		if (!x)
			break;
		if (d->refusals_n >= REFUSALS_MAX)
			refusal_drop_locked(d, list_first(&d->refusals, struct refusal, link));
		x->ino = n->ino;
		list_init(&x->link);
		list_append(&d->refusals, &x->link);
		d->refusals_n++;
	}
}

void documents_done(struct fs *fs)
{
	struct documents *d = fs->documents;

	if (!d)
		return;
	while (!list_empty(&d->order))
		drop_locked(d, list_first(&d->order, struct kept, link));
	while (!list_empty(&d->refusals))
		refusal_drop_locked(d, list_first(&d->refusals, struct refusal, link));
	map64_free(d->by_ino);
	pthread_mutex_destroy(&d->lock);
	free(d);
	fs->documents = NULL;
}

/* 1: *ret is a copy of a fresh one; 0: *ret may be a copy of a stale one (text NULL: none). */
static int kept_doc(struct fs *fs, struct node *n, const struct object *o, struct doc *ret)
{
	struct documents *d = fs->documents;
	int fresh = 0;

	WITH_LOCK(&d->lock) {
		struct kept *k = map64_get(d->by_ino, n->ino);

		if (!k || doc_copy(&k->doc, ret) < 0)
			break;
		fresh = fs_now_age(k->at) <= fs->attr_ttl_ms && k->moved.tv_sec == o->ctime.tv_sec &&
		        k->moved.tv_nsec == o->ctime.tv_nsec;
	}
	return fresh;
}

/* `changes`: as it was when the question was asked. False: something was changed since, and this may be from before. */
static bool keep_doc(struct fs *fs, struct node *n, const struct object *o, const struct doc *doc, uint64_t changes)
{
	bool current;

	struct documents *d = fs->documents;
	struct kept *k = calloc(1, sizeof(*k));

	if (!k || doc_copy(doc, &k->doc) < 0) {
		free(k);
		return false;
	}
	k->ino = n->ino;
	k->at = clock_mono_ms();
	k->moved = o->ctime;
	list_init(&k->link);
	WITH_LOCK(&d->lock) {
		struct kept *old = map64_get(d->by_ino, n->ino);

		current = d->changes == changes;
		if (!current)
			break;
		if (old)
			drop_locked(d, old);
		if (map64_count(d->by_ino) >= DOCUMENTS_MAX)
			drop_locked(d, list_first(&d->order, struct kept, link));
		if (map64_set(d->by_ino, k->ino, k) == 0) {
			list_append(&d->order, &k->link);
			k = NULL;
		}
	}
	if (k) {
		doc_done(&k->doc);
		free(k);
	}
	return current;
}

struct doc_question {
	struct question question;
	struct node *node;              /* a reference */
	struct object object;
	struct doc doc;
	int r;
};

static void doc_ask(struct question *q)
{
	struct doc_question *x = container_of(q, struct doc_question, question);
	struct fs *fs = q->fs;
	uint64_t changes;

	WITH_LOCK(&fs->documents->lock)
		changes = fs->documents->changes;
	x->r = backend_get_doc(fs->session, &x->object, &x->doc);
	fs_answered(fs, x->r);
	if (x->r < 0)
		return;
	if (keep_doc(fs, x->node, &x->object, &x->doc, changes) && x->doc.len <= LONGEST_KEPT)
		cache_doc_store(fs->cache, fs->space, KIND, x->object.id, x->doc.text, x->doc.len);
}

static void doc_question_done(struct question *q)
{
	struct doc_question *x = container_of(q, struct doc_question, question);

	node_unref(x->node);
	object_done(&x->object);
	doc_done(&x->doc);
	free(x);
}

int documents_get(struct fs *fs, struct node *n, struct doc *ret)
{
	struct doc_question *x = calloc(1, sizeof(*x));
	struct doc kept = {0};
	struct timespec stored;
	bool local;
	int r;

	WITH_LOCK(&fs->lock)
		local = node_is_local_locked(n);
	if (local) {
		free(x);
		return -ENODATA;        /* the server has none yet */
	}
	if (!x)
		return -ENOMEM;
	x->question = (struct question){.fs = fs, .ask = doc_ask, .done = doc_question_done, .holders = 1};
	x->node = node_ref(n);
	r = node_object(n, &x->object);
	if (r == 0 && kept_doc(fs, n, &x->object, &kept) == 1) {
		*ret = kept;
		question_put(&x->question);
		return 0;
	}
	if (r == 0 && !kept.text)
		(void)cache_doc_load(fs->cache, fs->space, KIND, x->object.id, &kept.text, &kept.len, &stored);
	if (r == 0)
		r = question_ask(&x->question, kept.text != NULL) ? x->r : -EAGAIN;
	if (r == 0) {
		*ret = x->doc;
		x->doc = (struct doc){0};
	} else if (kept.text && fs_error_is_unreachable(r)) {
		*ret = kept;
		kept = (struct doc){0};
		r = 0;
	}
	doc_done(&kept);
	question_put(&x->question);
	return r;
}

void documents_drop(struct fs *fs, struct node *n)
{
	struct documents *d = fs->documents;

	WITH_LOCK(&d->lock) {
		struct kept *k = map64_get(d->by_ino, n->ino);

		if (k)
			drop_locked(d, k);
	}
}

void documents_drop_all(struct fs *fs)
{
	struct documents *d = fs->documents;

	WITH_LOCK(&d->lock) {
		d->changes++;
		while (!list_empty(&d->order))
			drop_locked(d, list_first(&d->order, struct kept, link));
	}
}

void documents_changed(struct fs *fs, struct node *n)
{
	struct documents *d = fs->documents;
	struct object o = {0};

	WITH_LOCK(&d->lock)
		d->changes++;
	documents_drop(fs, n);
	if (node_object(n, &o) == 0 && o.id)
		cache_doc_remove(fs->cache, fs->space, KIND, o.id);
	object_done(&o);
}

/* ---- our own words ---- */

static bool is_local(struct fs *fs, struct node *n)
{
	bool local;

	WITH_LOCK(&fs->lock)
		local = node_is_local_locked(n);
	return local;
}

/* What is owed of n: 1 and a reference, or 0. */
static int owed(struct node *n, struct draft **ret, struct draft_info *info)
{
	struct draft *d = node_draft(n);

	if (!d)
		return 0;
	draft_info(d, info);
	if (info->state == DRAFT_DONE || info->state == DRAFT_DROPPED) {
		draft_unref(d);
		return 0;
	}
	*ret = d;
	return 1;
}

static bool is_owed(struct node *n, struct draft_info *info)
{
	struct draft *d = NULL;

	if (!owed(n, &d, info))
		return false;
	draft_unref(d);
	return true;
}

static int or_nodata(const char *s, struct buf *b)
{
	return s ? buf_adds(b, s) : -ENODATA;
}

static int own_id(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	return or_nodata(is_local(fs, n) ? NULL : o->id, b);
}

static int own_url(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	_cleanup_free_ char *url = NULL;
	int r = is_local(fs, n) ? -ENODATA : backend_url(fs->session, o, &url);

	return r < 0 ? -ENODATA : buf_adds(b, url);
}

static int own_name(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	return or_nodata(o->name, b);
}

/* The server's, or ours of just this version. Of what was written since, there is none. */
static int own_digest(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	struct draft_info info;
	struct kept_attr k;
	int r;

	if (is_owed(n, &info))
		return -ENODATA;
	if (o->digest || !o->id || !o->version || !fs->spool || kept_get(fs->spool, o->id, &k) != 1)
		return or_nodata(o->digest, b);
	r = *k.digest && str_eq(k.version, o->version) ? buf_adds(b, k.digest) : -ENODATA;
	kept_attr_done(&k);
	return r;
}

static int own_version(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	struct draft_info info;

	return or_nodata(is_owed(n, &info) ? NULL : o->version, b);
}

static int own_state(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	struct draft_info info;
	bool stale;

	if (is_owed(n, &info))
		return buf_adds(b, draft_state_name(info.state));
	WITH_LOCK(&fs->lock)
		stale = n->stale;
	return buf_adds(b, stale ? "offline" : "clean");
}

static int own_progress(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	struct draft_info info;

	if (!is_owed(n, &info) || (info.state != DRAFT_UPLOADING && !info.sent))
		return -ENODATA;
	return buf_addf(b, "%llu/%llu", (unsigned long long)info.sent, (unsigned long long)info.size);
}

static int own_stale(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	bool stale;

	WITH_LOCK(&fs->lock)
		stale = n->stale;
	return buf_adds(b, stale ? "1" : "0");
}

/* How many of its bytes are here. */
static int own_cached(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	_cleanup_free_ char *key = NULL;
	struct cache_file *f;
	int r;

	struct draft_info info;

	if (o->kind != OBJECT_FILE || o->size > OBJECT_SIZE_MAX || is_owed(n, &info))
		return -ENODATA;
	if (!o->size)
		return buf_adds(b, "0");
	r = file_cache_key(fs, o, &key);
	if (r == 0)
		r = cache_open(fs->cache, key, o->size, &f);
	if (r < 0)
		return r;
	r = buf_addf(b, "%llu", (unsigned long long)cache_have(f));
	cache_close(f);
	return r;
}

/* Why what is owed was not taken, else why the last change was not, else what is wrong with the thing itself. */
static int own_error(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	struct draft *d = NULL;
	struct draft_info info;
	int r = -ENODATA;

	if (owed(n, &d, &info)) {
		_cleanup_free_ char *why = NULL;

		if (draft_why(d, &why) == 0 && (why || info.error))
			r = buf_adds(b, why ? why : strerror(-info.error));
		draft_unref(d);
	}
	WITH_LOCK(&fs->documents->lock) {
		struct refusal *x = r == -ENODATA ? refusal_locked(fs->documents, n->ino) : NULL;

		if (x)
			r = or_nodata(x->words, b);
	}
	return r == -ENODATA ? or_nodata(o->error, b) : r;
}

static int own_mime(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	return or_nodata(o->mime, b);
}

static const struct {
	const char *name;
	int (*get)(struct fs *fs, struct node *n, const struct object *o, struct buf *b);
} own[] = {
	{"user.scifs.id", own_id}, {"user.scifs.url", own_url}, {"user.scifs.name", own_name}, {"user.scifs.digest", own_digest},
	{"user.scifs.version", own_version}, {"user.scifs.state", own_state}, {"user.scifs.stale", own_stale},
	{"user.scifs.progress", own_progress}, {"user.scifs.cached", own_cached}, {"user.scifs.error", own_error}, {"user.mime_type", own_mime}, {"user.xdg.origin.url", own_url},
};
#define OWN (sizeof(own) / sizeof(own[0]))

/* "user.SCHEME" and "user.SCHEME.*". */
static bool is_backends(struct fs *fs, const char *name)
{
	const char *scheme = fs->session->backend->scheme;
	size_t n = strlen(scheme);

	return str_starts(name, "user.") && strncmp(name + 5, scheme, n) == 0 && (!name[5 + n] || name[5 + n] == '.');
}

static bool is_computed(const char *name)
{
	bool own_word = str_starts(name, "user.scifs.");

	for (size_t i = 0; i < OWN && !own_word; i++)
		own_word = strcmp(own[i].name, name) == 0;
	return own_word;
}

bool xattr_is_quick(struct node *n, const char *name)
{
	return n->control || (!is_backends(n->fs, name) && strcmp(name, "user.scifs.cached") != 0);
}

/* One that waits in the draft, as it will be seen: a JSON object as its members too. */
static int flatten(const struct attr *x, struct attrs *ret)
{
	int r = 0;

	if (x->len && *x->value == '{')
		r = attrs_add(ret, x->name, x->value, x->len);
	if (r == 0)
		r = attrs_flatten(ret, x->name, x->value, x->len);
	return r == -EBADMSG || r == -E2BIG ? 0 : r;    /* the server will tell what is wrong with it */
}

static const struct attr *find_attr(const struct attrs *a, const char *name)
{
	for (size_t i = 0; i < a->list.n; i++)
		if (strcmp(a->list.at[i].name, name) == 0)
			return &a->list.at[i];
	return NULL;
}

static bool is_below(const char *name, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(name, prefix, n) == 0 && name[n] == '.';
}

static bool is_removed(const struct attrs *gone, const char *name)
{
	for (size_t i = 0; i < gone->list.n; i++)
		if (strcmp(name, gone->list.at[i].name) == 0 || is_below(name, gone->list.at[i].name))
			return true;
	return false;
}

static int add_new(const struct attrs *from, const struct attrs *gone, struct attrs *ret)
{
	int r = 0;

	for (size_t i = 0; i < from->list.n && r == 0; i++) {
		const struct attr *x = &from->list.at[i];

		if (!find_attr(ret, x->name) && !is_removed(gone, x->name))
			r = attrs_add(ret, x->name, x->value, x->len);
	}
	return r == -E2BIG ? 0 : r;
}

/* What was set, in this order, and what that leaves of what is there. Those without a value were removed. */
static int merge(const struct attrs *there, const struct attrs *set, struct attrs *ret)
{
	struct attrs gone = {0};
	int r = 0;

	for (size_t i = set->list.n; i-- > 0 && r == 0; ) {     /* the later one wins */
		const struct attr *x = &set->list.at[i];
		struct attrs flat = {0};

		if (!x->value) {
			r = attrs_add(&gone, x->name, "", 0);
			continue;
		}
		r = flatten(x, &flat);
		if (r == 0)
			r = add_new(&flat, &gone, ret);
		attrs_done(&flat);
	}
	if (r == 0)
		r = add_new(there, &gone, ret);
	attrs_done(&gone);
	return r;
}

/* The backend's attributes of n: the server's, and over them those that wait to be set. */
static int backends_attrs(struct fs *fs, struct node *n, const struct object *o, struct attrs *ret)
{
	struct attrs pending = {0}, there = {0};
	struct draft_info info;
	struct draft *draft = NULL;
	struct doc d = {0};
	int r = 0;

	if (owed(n, &draft, &info)) {
		r = draft_attrs(draft, &pending);
		draft_unref(draft);
	}
	if (r == 0 && !is_local(fs, n)) {
		r = documents_get(fs, n, &d);
		if (r == 0)
			r = backend_attrs(fs->session, o, &d, pending.list.n ? &there : ret);
	}
	if (r == 0 && pending.list.n)
		r = merge(&there, &pending, ret);
	doc_done(&d);
	attrs_done(&pending);
	attrs_done(&there);
	return r;
}

static int get_of_control(struct fs *fs, struct node *n, const char *name, struct buf *ret)
{
	return strcmp(name, "user.scifs.result") == 0 ? control_reply(fs, n, ret) : -ENODATA;
}

int xattr_get(struct fs *fs, struct node *n, const char *name, struct buf *ret)
{
	struct object o = {0};
	struct attrs a = {0};
	int r;

	if (n->control)
		return get_of_control(fs, n, name, ret);
	if (!str_starts(name, "user."))
		return -ENODATA;
	r = node_object(n, &o);
	if (r < 0)
		return r;
	r = -ENODATA;
	for (size_t i = 0; i < OWN; i++)
		if (strcmp(own[i].name, name) == 0)
			r = own[i].get(fs, n, &o, ret);
	if (is_backends(fs, name)) {
		r = backends_attrs(fs, n, &o, &a);
		if (r == 0) {
			const struct attr *x = find_attr(&a, name + 5);

			r = x ? buf_add(ret, x->value, x->len) : -ENODATA;
		}
	}
	attrs_done(&a);
	object_done(&o);
	return r;
}

static int add_name(struct buf *b, const char *prefix, const char *name)
{
	if (strlen(prefix) + strlen(name) > 255)
		return 0;       /* the kernel's limit of a name; the document has it */
	if (b->len + strlen(prefix) + strlen(name) + 1 > LIST_MAX)
		return -E2BIG;
	if (buf_adds(b, prefix) < 0)
		return -ENOMEM;
	return buf_add(b, name, strlen(name) + 1);
}

int xattr_list(struct fs *fs, struct node *n, struct buf *ret)
{
	struct object o = {0};
	struct attrs a = {0};
	int r = 0;

	if (n->control) {
		_cleanup_buf_ struct buf v = BUF_MAX(1u << 20);

		return get_of_control(fs, n, "user.scifs.result", &v) == 0 ? add_name(ret, "", "user.scifs.result") : 0;
	}
	r = node_object(n, &o);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < OWN; i++) {
		_cleanup_buf_ struct buf v = BUF_MAX(1u << 20);

		if (own[i].get(fs, n, &o, &v) == 0)
			r = add_name(ret, "", own[i].name);
	}
	if (r == 0)
		r = backends_attrs(fs, n, &o, &a);
	for (size_t i = 0; r == 0 && i < a.list.n; i++)
		if (a.list.at[i].len <= VALUE_MAX)
			r = add_name(ret, "user.", a.list.at[i].name);
	if (r == -E2BIG)
		r = 0;          /* what does not fit into 64 KiB of names stands in the document */
	attrs_done(&a);
	object_done(&o);
	return r;
}

/* ---- setting ---- */

static int exists(struct fs *fs, struct node *n, const char *name)
{
	_cleanup_buf_ struct buf b = BUF_MAX(16u << 20);
	int r = xattr_get(fs, n, name, &b);

	return r == 0 ? 1 : r == -ENODATA ? 0 : r;
}

/* Are the caller's conditions met? `value` NULL: it is to be removed. */
static int check_flags(struct fs *fs, struct node *n, const char *name, const void *value, int flags)
{
	int r;

	if (value && !(flags & (XATTR_CREATE | XATTR_REPLACE)))
		return 0;
	r = exists(fs, n, name);
	if (r < 0)
		return r;
	if (r == 1)
		return flags & XATTR_CREATE ? -EEXIST : 0;
	return value && !(flags & XATTR_REPLACE) ? 0 : -ENODATA;
}

/* Is this what the server has, in the same words? Asked anew: what was kept may be old. */
static bool is_there(struct fs *fs, const struct object *o, const char *name, const void *value, size_t size)
{
	struct attrs a = {0};
	struct doc d = {0};
	const struct attr *x = NULL;
	bool same;

	if (backend_get_doc(fs->session, o, &d) == 0 && backend_attrs(fs->session, o, &d, &a) == 0)
		x = find_attr(&a, name);
	same = x && x->len == size && memcmp(x->value, value, size) == 0;
	attrs_done(&a);
	doc_done(&d);
	return same;
}

/* Would this text be stored as something else than a text? */
static bool reads_as_json(const void *value, size_t size)
{
	_cleanup_(json_freep) struct json *j = NULL;

	return json_parse(value, size, &j) == 0;
}

/* Is it shown in these words already? Whoever copies all attributes sets the whole metadata first and then each key once more, by a
 * text that does not tell a string from a number: to set it again would change its type. */
static bool is_shown(struct fs *fs, struct node *n, const char *name, const void *value, size_t size)
{
	_cleanup_buf_ struct buf b = BUF_MAX(16u << 20);

	return reads_as_json(value, size) && xattr_get(fs, n, name, &b) == 0 && b.len == size && memcmp(buf_str(&b), value, size) == 0;
}

static int set_at_server(struct fs *fs, struct node *n, const struct object *o, const char *name, const void *value, size_t size)
{
	_cleanup_free_ char *why = NULL, *copy = value ? malloc(size + 1) : NULL;
	struct attr one = {.name = (char *)name, .value = copy, .len = size};
	struct attrs a = {.list = {.at = &one, .n = 1}};
	int r;

	if (value && !copy)
		return -ENOMEM;
	if (copy) {
		/* With a NUL behind it, as all values of attributes have. */
		memcpy(copy, value, size);
		copy[size] = 0;
	}
	r = backend_set_attrs(fs->session, o, &a, &why);
	if (r == 0 || why)
		refusal_note(fs, n, r == 0 ? NULL : why);
	/* Also after a failure: what the server has now, only the server can tell. */
	documents_changed(fs, n);
	node_stale(fs, n);
	return r == -ESTALE ? -EBUSY : r;
}

/* What was set of the members of one that is removed. */
static int remove_below(struct draft *d, const char *name)
{
	struct attrs pending = {0};
	int r = draft_attrs(d, &pending);

	for (size_t i = 0; i < pending.list.n && r == 0; i++)
		if (pending.list.at[i].value && is_below(pending.list.at[i].name, name))
			r = draft_set_attr(d, pending.list.at[i].name, NULL, 0);
	attrs_done(&pending);
	return r;
}

/* It goes along when the thing comes to be. 1: it has come to be meanwhile. */
static int set_in_draft(struct fs *fs, struct node *n, const char *name, const void *value, size_t size)
{
	struct draft *d = NULL;
	struct draft_info info;
	int r;

	if (!owed(n, &d, &info))
		return 1;
	r = value ? 0 : remove_below(d, name);
	if (r == 0)
		r = draft_set_attr(d, name, value, size);
	if (r == -ESTALE)
		(void)draft_wait(d, fs->session->policy.timeout_ms, NULL);      /* it lands just now: until that is told of */
	draft_info(d, &info);
	draft_unref(d);
	return r < 0 && (info.state == DRAFT_DONE || info.state == DRAFT_DROPPED) ? 1 : r;
}

/* One of the backend's attributes; `value` NULL: removed. `name` is without "user.". `shown`: it is shown with this value already. */
static int change(struct fs *fs, struct node *n, const char *name, const void *value, size_t size, bool shown)
{
	struct object o = {0};
	int r = 1;

	if (is_local(fs, n))
		r = shown ? 0 : set_in_draft(fs, n, name, value, size);
	if (r != 1)
		return r;
	r = node_object(n, &o);
	if (r == 0 && is_local(fs, n))
		r = -EAGAIN;
	if (r == 0 && !(shown && is_there(fs, &o, name, value, size)))
		r = set_at_server(fs, n, &o, name, value, size);
	object_done(&o);
	return r;
}

/* May this attribute be set, and is it for the backend? 1: yes; 0: it is accepted and left alone; or its error. */
static int settable(struct fs *fs, struct node *n, const char *name)
{
	struct object o = {0};
	unsigned rights;
	int r;

	if (n->control || !str_starts(name, "user."))
		return -ENOTSUP;
	if (!fs_can_write(fs))
		return -EROFS;
	if (!is_backends(fs, name) && !is_computed(name))
		return -ENOTSUP;
	r = node_object(n, &o);
	if (r < 0)
		return r;
	rights = o.rights;
	r = backend_check_attr(fs->session, &o, name + 5);
	object_done(&o);
	if (r < 0 && is_computed(name)) {
		log_debug("%s: %s is computed: left alone", fs->config.source, name);
		return 0;
	}
	if (r == 0 && !(rights & RIGHT_WRITE))
		r = -EACCES;
	if (r == -EACCES)
		errors_add(fs, "setxattr", n, r, "the server gives no right to change it");
	return r < 0 ? r : 1;
}

int xattr_set(struct fs *fs, struct node *n, const char *name, const void *value, size_t size, int flags)
{
	int r;

	if (strcmp(name, "user.scifs.refresh") == 0 && !n->control) {
		documents_drop(fs, n);
		dir_drop(fs, n);
		return 0;
	}
	r = settable(fs, n, name);
	if (r <= 0)
		return r;
	if (!value)
		value = "";
	r = check_flags(fs, n, name, value, flags);
	return r < 0 ? r : change(fs, n, name + 5, value, size, is_shown(fs, n, name, value, size));
}

int xattr_remove(struct fs *fs, struct node *n, const char *name)
{
	int r = settable(fs, n, name);

	if (r == -ENOTSUP && str_starts(name, "user."))
		return -ENODATA;        /* it cannot be there */
	if (r <= 0)
		return r;
	if (is_local(fs, n))
		r = check_flags(fs, n, name, NULL, 0);          /* the server says it by itself */
	return r < 0 ? r : change(fs, n, name + 5, NULL, 0, false);
}
