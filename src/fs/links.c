/* links.c - the directories of links below .scifs: search/EXPR/, by-id/ID, by-url/URL.
 *
 * What was found carries the server's id. Where that is in the tree is asked for when somebody follows the link (readlink),
 * by the ids on the way: of two things of one name the right one is met. Targets are relative, so that a link works from
 * wherever the mount, or a part of it, is seen.
 */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

#define HITS_MAX 200             /* unless the backend's policy says more */
#define HITS_TTL_MS 60000
#define DEPTH_MAX 1000          /* directories on the way to a thing: more are no tree */

struct hit {
	char *name, *id;
};

struct hits {                    /* never changed once it is made */
	atomic_uint refs;
	uint64_t at;                    /* monotonic ms */
	uint64_t edition;               /* of the text that was asked; 0: an expression that was typed as a name */
	VEC(struct hit) list;           /* at most hits_max() */
	struct map *ids;                /* name -> id, of the list */
};

static void hits_unref(struct hits *h)
{
	if (!h || atomic_fetch_sub(&h->refs, 1) > 1)
		return;
	for (size_t i = 0; i < h->list.n; i++) {
		free(h->list.at[i].name);
		free(h->list.at[i].id);
	}
	vec_done(&h->list);
	map_free(h->ids);
	free(h);
}
DEFINE_CLEANUP(struct hits *, hits_unref)

void links_free(struct control *c)
{
	free(c->text);
	free(c->target);
	hits_unref(c->hits);
}

/* ---- what a search finds ---- */

static size_t hits_max(const struct fs *fs)
{
	return fs->session->policy.hits_max ? fs->session->policy.hits_max : HITS_MAX;
}

static int collect(struct fs *fs, const struct object *dir, const char *expr, struct page *ret)
{
	_cleanup_(page_done) struct page page = {0};
	_cleanup_free_ char *why = NULL;        /* the wrapper put it into the errors */
	int r;

	do {
		r = backend_query(fs->session, dir, expr, &page, &why);
		if (r < 0)
			return r;
		for (size_t i = 0; i < page.objects.n && ret->objects.n < hits_max(fs); i++) {
			if (vec_push(&ret->objects, page.objects.at[i]) < 0)
				return -ENOMEM;
			memset(&page.objects.at[i], 0, sizeof(struct object));
		}
	} while (page.cursor && ret->objects.n < hits_max(fs));
	return 0;
}

static int hits_new(struct fs *fs, const struct page *found, uint64_t at, uint64_t edition, struct hits **ret)
{
	_cleanup_(hits_unrefp) struct hits *h = calloc(1, sizeof(*h));
	size_t n = found->objects.n;
	char **names = calloc(n + 1, sizeof(*names));
	int r = h && names ? name_assign(fs->config.names, found->objects.at, n, names) : -ENOMEM;

	if (h)
		atomic_init(&h->refs, 1);
	if (r == 0) {
		h->ids = map_new();
		r = h->ids ? 0 : -ENOMEM;
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct hit x = {.name = TAKE(names[i])};

		r = str_dup(found->objects.at[i].id, &x.id);
		if (r == 0)
			r = vec_push(&h->list, x);
		if (r < 0) {
			free(x.name);
			free(x.id);
		} else {
			r = map_set(h->ids, x.name, x.id);
		}
	}
	for (size_t i = 0; names && i < n; i++)
		free(names[i]);
	free(names);
	if (r < 0)
		return r;
	h->at = at;
	h->edition = edition;
	*ret = TAKE(h);
	return 0;
}

/* A saved text as it is now: malloc'ed, with its edition. */
static int expression_of(struct scratch *x, char **ret, uint64_t *ret_edition)
{
	_cleanup_buf_ struct buf text = BUF_MAX(SAVED_MAX);
	const char *why;
	int r = scratch_get(x, &text, ret_edition);

	if (r == 0 && !*ret_edition)
		r = -ENOENT;            /* it was removed meanwhile */
	return r < 0 ? r : saved_expression(buf_str(&text), text.len, ret, &why);
}

static int search(struct fs *fs, struct node *query, const char *expr, uint64_t edition, struct hits **ret)
{
	_cleanup_(node_unrefp) struct node *about = control_about_ref(query);
	_cleanup_(page_done) struct page found = {0};
	struct object dir = {0};
	uint64_t at = clock_mono_ms();
	int r = node_object(about, &dir);

	if (r == 0)
		r = collect(fs, &dir, expr, &found);
	if (r == 0)
		r = hits_new(fs, &found, at, edition, ret);
	object_done(&dir);
	return r;
}

static struct hits *hits_ref(struct hits *h)
{
	if (h)
		atomic_fetch_add(&h->refs, 1);
	return h;
}

/* What it finds, no older than its time to live: a reference. What is known is better than nothing. */
static int hits_get(struct fs *fs, struct node *n, struct hits **ret)
{
	_cleanup_(hits_unrefp) struct hits *known = NULL, *h = NULL;
	_cleanup_free_ char *expr = NULL;
	struct control *c = n->control;
	struct scratch *x = NULL;
	uint64_t edition = 0;
	bool fresh = false;
	int r = 0;

	WITH_LOCK(&fs->lock) {
		x = c->scratch ? scratch_ref(c->scratch) : NULL;
		if (c->hits && c->hits->edition == (x ? scratch_edition(x) : 0))
			known = hits_ref(c->hits);
		fresh = known && fs_now_age(known->at) <= HITS_TTL_MS;
		if (!fresh && !x)
			r = str_dup(c->text, &expr);
	}
	if (!fresh && x)
		r = expression_of(x, &expr, &edition);
	scratch_unref(x);
	if (r == 0 && !fresh)
		r = search(fs, n, expr, edition, &h);
	if (fresh || (r < 0 && known && known->edition == edition && fs_error_is_unreachable(r))) {
		*ret = TAKE(known);
		return 0;
	}
	if (r < 0)
		return r;
	*ret = hits_ref(h);
	WITH_LOCK(&fs->lock) {
		struct hits *was = c->hits;

		c->hits = h;
		h = was;
	}
	return 0;
}

int links_enter_typed(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	_cleanup_free_ char *expr = NULL;
	int r = name_raw(FS_NAMES_SCIFS, name, &expr);         /* as in a name: %2F is a slash */

	if (r == -EINVAL)
		r = str_dup(name, &expr);
	return r < 0 ? r : control_enter(fs, parent, name, C_QUERY, parent->control->about, expr, ret);
}

static int enter_query(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	_cleanup_(node_unrefp) struct node *n = NULL;
	_cleanup_(hits_unrefp) struct hits *hits = NULL;
	int r = links_enter_typed(fs, parent, name, &n);

	if (r == 0)
		r = hits_get(fs, n, &hits);
	if (r < 0)
		return r == -ENOTSUP ? -ENOENT : r;
	*ret = TAKE(n);
	return 0;
}

static int enter_hit(struct fs *fs, struct node *query, const char *name, const char *id, struct node **ret)
{
	return control_enter(fs, query, name, C_LINK, query->control->about, id, ret);
}

static int lookup_hit(struct fs *fs, struct node *query, const char *name, struct node **ret)
{
	_cleanup_(hits_unrefp) struct hits *hits = NULL;
	int r = hits_get(fs, query, &hits);
	const char *id = r == 0 ? map_get(hits->ids, name) : NULL;

	if (r < 0)
		return r;
	return id ? enter_hit(fs, query, name, id, ret) : -ENOENT;
}

static int list_hits(struct fs *fs, struct node *query, struct handle *h)
{
	_cleanup_(hits_unrefp) struct hits *hits = NULL;
	int r = hits_get(fs, query, &hits);

	for (size_t i = 0; r == 0 && i < hits->list.n; i++) {
		const struct hit *x = &hits->list.at[i];
		struct node *n;

		if (enter_hit(fs, query, x->name, x->id, &n) == 0)
			r = control_list_add(h, n, x->name);
	}
	return r;
}

/* ---- where a thing is ---- */

static bool is_object(struct fs *fs, struct node *n, const char *id)
{
	bool same;

	WITH_LOCK(&fs->lock)
		same = n->object.id && strcmp(n->object.id, id) == 0;
	return same;
}

static int child_named(struct fs *fs, struct node *dir, const char *name, const char *id, struct node **ret)
{
	struct node *n;
	int r = dir_lookup(fs, dir, name, &n);

	if (r < 0)
		return r;
	if (!is_object(fs, n, id)) {
		node_unref(n);
		return -ENOENT;
	}
	*ret = n;
	return 0;
}

/* The child that is this object: it stands there under its own name or, beside a twin, under its decorated one. */
static int child_of(struct fs *fs, struct node *dir, const struct object *o, char **ret_name, struct node **ret)
{
	_cleanup_free_ char *name = NULL, *twin = NULL;
	int r = name_display(fs->config.names, o->name, o->id, &name);

	if (r == 0)
		r = child_named(fs, dir, name, o->id, ret);
	if (r == -ENOENT) {
		r = name_twin(name, o->id, &twin);
		if (r == 0)
			r = child_named(fs, dir, twin, o->id, ret);
		free(name);
		name = TAKE(twin);
	}
	if (r < 0)
		return r;
	*ret_name = TAKE(name);
	return 0;
}

/* A directory of which the listing said too little is looked at before it is entered. */
static int make_known(struct fs *fs, struct node **n, struct node *dir, const char *name, const char *id)
{
	int r = node_refresh(fs, *n, UINT_MAX - 1);

	if (r != -ESTALE)
		return r;
	node_unref(TAKE(*n));
	return child_named(fs, dir, name, id, n);
}

/* The path from the mount's root, "" for the root itself, else "/a/b". */
static int place_of(struct fs *fs, const char *id, struct buf *ret)
{
	_cleanup_(page_done) struct page way = {0};
	_cleanup_(node_unrefp) struct node *dir = node_ref(fs->root);
	int r = backend_locate(fs->session, id, &way);

	if (r == 0 && way.objects.n > DEPTH_MAX)
		r = -ELOOP;
	for (size_t i = 0; r == 0 && i < way.objects.n; i++) {
		const struct object *o = &way.objects.at[i];
		_cleanup_free_ char *name = NULL;
		struct node *n = NULL;

		r = child_of(fs, dir, o, &name, &n);
		if (r == 0 && i + 1 < way.objects.n)
			r = make_known(fs, &n, dir, name, o->id);
		if (r == 0)
			r = buf_addf(ret, "/%s", name);
		if (r == 0) {
			node_unref(dir);
			dir = TAKE(n);
		}
		node_unref(n);
	}
	return r == -EXDEV ? -ENOENT : r;
}

struct place {
	struct question question;
	char *id;
	struct buf path;
	int r;
};

static void place_ask(struct question *q)
{
	struct place *x = container_of(q, struct place, question);

	x->r = place_of(q->fs, x->id, &x->path);
	fs_answered(q->fs, x->r);
}

static void place_done(struct question *q)
{
	struct place *x = container_of(q, struct place, question);

	buf_done(&x->path);
	free(x->id);
	free(x);
}

int links_place(struct fs *fs, const char *id, char **ret)
{
	struct place *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return -ENOMEM;
	x->question = (struct question){.fs = fs, .ask = place_ask, .done = place_done, .holders = 1};
	buf_init(&x->path, PATH_MAX);
	x->id = strdup(id);
	r = !x->id ? -ENOMEM : question_ask(&x->question, true) ? x->r : -EAGAIN;
	if (r == 0) {
		*ret = x->path.len ? buf_take(&x->path) : strdup("/");
		r = *ret ? 0 : -ENOMEM;
	}
	question_put(&x->question);
	return r;
}

/* How many directories below .scifs, that one included, hold this link. */
static unsigned depth_of(const struct node *link)
{
	unsigned n = 0;

	for (link = link->parent; link && link->control; link = link->parent)
		n++;
	return n;
}

/* The relative way from a directory `depth` below `from` to `to`, both absolute paths in the mount. */
static int relative(const char *from, unsigned depth, const char *to, struct buf *ret)
{
	size_t common = 0, i;
	int r = 0;

	if (strcmp(from, "/") == 0)
		from = "";
	for (i = 0; from[i] && from[i] == to[i]; i++)
		if (from[i] == '/')
			common = i;
	if ((!from[i] || from[i] == '/') && (!to[i] || to[i] == '/'))
		common = i;
	for (const char *p = from + common; *p; p++)
		depth += *p == '/';
	for (unsigned k = 0; k < depth && r == 0; k++)
		r = buf_adds(ret, k ? "/.." : "..");
	return r < 0 ? r : buf_adds(ret, to + common);
}

/* `way`: raw names with slashes between, from the directory at `from` on. */
static int way_below(struct fs *fs, const char *from, const char *way, struct buf *ret)
{
	_cleanup_(cleanup_freep) char **parts = NULL;
	int r = str_split(way, '/', &parts);

	if (r == 0)
		r = buf_adds(ret, strcmp(from, "/") == 0 ? "" : from);
	for (size_t i = 0; r == 0 && parts[i]; i++) {
		_cleanup_free_ char *name = NULL;

		r = name_display(fs->config.names, parts[i], "", &name);
		if (r == 0)
			r = buf_addf(ret, "/%s", name);
	}
	return r;
}

static int resolve(struct fs *fs, struct node *link, char **ret)
{
	_cleanup_buf_ struct buf to = BUF_MAX(PATH_MAX), target = BUF_MAX(PATH_MAX - 1);
	_cleanup_free_ char *from = NULL, *text = NULL;
	bool below = false;
	int r = 0;

	WITH_LOCK(&fs->lock) {
		r = str_dup(link->control->text, &text);
		below = link->control->below;
	}
	if (r == 0)
		r = node_path(link->control->about, &from);
	if (r == 0)
		r = below ? way_below(fs, from, text, &to) : place_of(fs, text, &to);
	if (r == 0)
		r = relative(from, depth_of(link), buf_str(&to), &target);
	if (r == -EMSGSIZE)
		r = -ENAMETOOLONG;
	if (r < 0)
		return r;
	*ret = buf_take(&target);
	return *ret ? 0 : -ENOMEM;
}

int links_readlink(struct fs *fs, struct node *n, char **ret)
{
	struct control *c = n->control;
	_cleanup_free_ char *target = NULL, *kept = NULL;
	int r = 0;

	WITH_LOCK(&fs->lock)
		if (c->target && fs_now_age(c->target_at) <= fs->attr_ttl_ms)
			r = str_dup(c->target, &target);
	if (r < 0)
		return r;
	if (!target) {
		uint64_t at = clock_mono_ms();

		r = resolve(fs, n, &target);
		if (r == 0)
			r = str_dup(target, &kept);
		if (r < 0)
			return r;
		WITH_LOCK(&fs->lock) {
			free(c->target);
			c->target = TAKE(kept);
			c->target_at = at;
			c->size = strlen(target);
		}
	}
	*ret = TAKE(target);
	return 0;
}

/* ---- by what it is known as ---- */

/* A link that leads nowhere is none. */
static int enter_known(struct fs *fs, struct node *parent, const char *name, const char *id, struct node **ret)
{
	_cleanup_(node_unrefp) struct node *n = NULL;
	_cleanup_free_ char *target = NULL;
	int r = control_enter(fs, parent, name, C_LINK, parent->control->about, id, &n);

	if (r == 0)
		r = links_readlink(fs, n, &target);
	if (r < 0)
		return r == -EINVAL || r == -EACCES ? -ENOENT : r;
	*ret = TAKE(n);
	return 0;
}

static int enter_id(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	_cleanup_free_ char *id = NULL, *prefix = NULL;
	int r = str_fmt(&id, "%s%s", parent->control->text, name);

	if (r == 0)
		r = enter_known(fs, parent, name, id, ret);
	if (r != -EISDIR)
		return r;
	r = str_fmt(&prefix, "%s/", id);
	return r < 0 ? r : control_enter(fs, parent, name, C_BY_ID, parent->control->about, prefix, ret);
}

static int enter_url(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	_cleanup_free_ char *url = NULL;

	if (str_percent_decode(name, &url) < 0 || !strstr(url, "://"))
		return -ENOENT;
	return enter_known(fs, parent, name, url, ret);
}

/* ---- for control.c ---- */

int links_lookup(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	switch (parent->control->kind) {
	case C_SEARCH:
		return enter_query(fs, parent, name, ret);
	case C_QUERY:
		return lookup_hit(fs, parent, name, ret);
	case C_BY_ID:
		return enter_id(fs, parent, name, ret);
	case C_BY_URL:
		return enter_url(fs, parent, name, ret);
	default:
		return -ENOENT;
	}
}

int links_list(struct fs *fs, struct node *n, struct handle *h)
{
	/* What could be asked for has no end: only answers can be listed. */
	return n->control->kind == C_QUERY ? list_hits(fs, n, h) : 0;
}
