/* xattr.c - user.scifs.* answered on the spot, and the metadata document as attributes.
 *
 * Documents are kept in memory for as long as attributes are believed, a bounded number of them, the oldest leave. What the
 * server said last is kept over a restart too, and answers while the server cannot be asked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

#define DOCUMENTS_MAX 512
#define VALUE_MAX 65536         /* the kernel's: a longer value cannot be read as an attribute */
#define LIST_MAX 65536
#define KIND "doc"              /* under which cache/documents.c keeps them */
#define KEPT_MAX (4u << 20)     /* a longer document is not kept over a restart */

struct kept {
	struct list link;               /* oldest first */
	uint64_t ino, at;
	struct doc doc;
	struct timespec moved;          /* the object's ctime then: a newer one ends it */
};

struct documents {
	pthread_mutex_t lock;
	struct list order;
	struct map64 *by_ino;
};

int documents_init(struct fs *fs)
{
	struct documents *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	fs->documents = d;
	pthread_mutex_init(&d->lock, NULL);
	list_init(&d->order);
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

void documents_done(struct fs *fs)
{
	struct documents *d = fs->documents;

	if (!d)
		return;
	while (!list_empty(&d->order))
		drop_locked(d, list_first(&d->order, struct kept, link));
	map64_free(d->by_ino);
	pthread_mutex_destroy(&d->lock);
	free(d);
	fs->documents = NULL;
}

static int copy_doc(const struct doc *from, struct doc *ret)
{
	char *p = malloc(from->len + 1);

	if (!p)
		return -ENOMEM;
	memcpy(p, from->text, from->len);
	p[from->len] = 0;
	*ret = (struct doc){p, from->len};
	return 0;
}

/* 1: *ret is a copy of a fresh one; 0: *ret may be a copy of a stale one (text NULL: none). */
static int kept_doc(struct fs *fs, struct node *n, const struct object *o, struct doc *ret)
{
	struct documents *d = fs->documents;
	int fresh = 0;

	WITH_LOCK(&d->lock) {
		struct kept *k = map64_get(d->by_ino, n->ino);

		if (!k || copy_doc(&k->doc, ret) < 0)
			break;
		fresh = fs_now_age(k->at) <= fs->attr_ttl_ms && k->moved.tv_sec == o->ctime.tv_sec &&
		        k->moved.tv_nsec == o->ctime.tv_nsec;
	}
	return fresh;
}

static void keep_doc(struct fs *fs, struct node *n, const struct object *o, const struct doc *doc)
{
	struct documents *d = fs->documents;
	struct kept *k = calloc(1, sizeof(*k));

	if (!k || copy_doc(doc, &k->doc) < 0) {
		free(k);
		return;
	}
	k->ino = n->ino;
	k->at = clock_mono_ms();
	k->moved = o->ctime;
	list_init(&k->link);
	WITH_LOCK(&d->lock) {
		struct kept *old = map64_get(d->by_ino, n->ino);

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

	x->r = backend_get_doc(fs->session, &x->object, &x->doc);
	fs_answered(fs, x->r);
	if (x->r < 0)
		return;
	keep_doc(fs, x->node, &x->object, &x->doc);
	if (x->doc.len <= KEPT_MAX)
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
	int r;

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

/* ---- our own words ---- */

static int own_id(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	return buf_adds(b, o->id);
}

static int own_url(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	_cleanup_free_ char *url = NULL;
	int r = backend_url(fs->session, o, &url);

	return r < 0 ? -ENODATA : buf_adds(b, url);
}

static int or_nodata(const char *s, struct buf *b)
{
	return s ? buf_adds(b, s) : -ENODATA;
}

static int own_name(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	return or_nodata(o->name, b);
}

static int own_digest(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	return or_nodata(o->digest, b);
}

static int own_version(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	return or_nodata(o->version, b);
}

static int own_state(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	bool stale;

	WITH_LOCK(&fs->lock)
		stale = n->stale;
	return buf_adds(b, stale ? "offline" : "clean");
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

	if (o->kind != OBJECT_FILE || o->size > OBJECT_SIZE_MAX)
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

static int own_error(struct fs *fs, struct node *n, const struct object *o, struct buf *b)
{
	return or_nodata(o->error, b);
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
	{"user.scifs.cached", own_cached}, {"user.scifs.error", own_error}, {"user.mime_type", own_mime}, {"user.xdg.origin.url", own_url},
};
#define OWN (sizeof(own) / sizeof(own[0]))

static bool is_backends(struct fs *fs, const char *name)
{
	const char *scheme = fs->session->backend->scheme;
	size_t n = strlen(scheme);

	return str_starts(name, "user.") && strncmp(name + 5, scheme, n) == 0 && name[5 + n] == '.';
}

bool xattr_is_quick(struct node *n, const char *name)
{
	return n->control || (!is_backends(n->fs, name) && strcmp(name, "user.scifs.cached") != 0);
}

static int document_attrs(struct fs *fs, struct node *n, const struct object *o, struct attrs *ret)
{
	struct doc d = {0};
	int r = documents_get(fs, n, &d);

	if (r == 0)
		r = backend_attrs(fs->session, o, &d, ret);
	doc_done(&d);
	return r;
}

int xattr_get(struct fs *fs, struct node *n, const char *name, struct buf *ret)
{
	struct object o = {0};
	struct attrs a = {0};
	int r;

	if (n->control || !str_starts(name, "user."))
		return -ENODATA;
	r = node_object(n, &o);
	if (r < 0)
		return r;
	r = -ENODATA;
	for (size_t i = 0; i < OWN; i++)
		if (strcmp(own[i].name, name) == 0)
			r = own[i].get(fs, n, &o, ret);
	if (is_backends(fs, name)) {
		r = document_attrs(fs, n, &o, &a);
		if (r == 0)
			r = -ENODATA;
		for (size_t i = 0; i < a.list.n && r == -ENODATA; i++)
			if (strcmp(a.list.at[i].name, name + 5) == 0)
				r = buf_add(ret, a.list.at[i].value, a.list.at[i].len);
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

	if (n->control)
		return 0;
	r = node_object(n, &o);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < OWN; i++) {
		_cleanup_buf_ struct buf v = BUF_MAX(1u << 20);

		if (own[i].get(fs, n, &o, &v) == 0)
			r = add_name(ret, "", own[i].name);
	}
	if (r == 0)
		r = document_attrs(fs, n, &o, &a);
	for (size_t i = 0; r == 0 && i < a.list.n; i++)
		if (a.list.at[i].len <= VALUE_MAX)
			r = add_name(ret, "user.", a.list.at[i].name);
	if (r == -E2BIG)
		r = 0;          /* what does not fit into 64 KiB of names stands in the document */
	attrs_done(&a);
	object_done(&o);
	return r;
}

int xattr_set(struct fs *fs, struct node *n, const char *name, const void *value, size_t size)
{
	if (strcmp(name, "user.scifs.refresh") == 0 && !n->control) {
		documents_drop(fs, n);
		dir_drop(fs, n);
		return 0;
	}
	return -EROFS;
}
