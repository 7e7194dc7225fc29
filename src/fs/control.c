/* control.c - `.scifs`: which names there are below it, and texts about a directory and the mount.
 *
 * Its links are made in links.c, saved.c keeps expressions under names, and what the backend has of its own is in papers.c. Of what can be written, document.c tells what
 * happens to documents, verb.c to `action`, call.c to a backend's own questions, scratch.c keeps what editors put beside a
 * document; here is decided which of them a name is.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "fs/private.h"

static const struct entry {
	const char *name;
	enum control_kind kind;
	bool root_only;
	unsigned can;           /* what the backend must be able to do */
} entries[] = {
	{"metadata.json", C_DOCUMENT, false, 0}, {"meta", C_META, false, 0}, {"errors", C_ERRORS, false, 0},
	{"search", C_SEARCH, false, CAN_SEARCH}, {"by-id", C_BY_ID, true, CAN_BYID}, {"by-url", C_BY_URL, true, CAN_BYID},
	{"events", C_EVENTS, true, 0}, {"status.json", C_STATUS, true, 0}, {"stats", C_STATS, true, 0},
	{"config.json", C_CONFIG, true, 0}, {"server.json", C_SERVER, true, 0}, {"uploads.json", C_UPLOADS, true, 0},
	{"action", C_ACTION, true, 0},
};
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

int control_init(struct fs *fs)
{
	int r = scratches_new(&fs->scratches);

	if (r == 0)
		r = scratches_new_forgetting(&fs->saved);
	if (r == 0)
		r = scratches_new(&fs->replies);
	return r < 0 ? r : texts_new(&fs->texts);
}

void control_done(struct fs *fs)
{
	scratches_free(fs->scratches);
	scratches_free(fs->saved);
	texts_free(fs->texts);
	scratches_free(fs->replies);
	fs->scratches = NULL;
	fs->saved = NULL;
	fs->texts = NULL;
	fs->replies = NULL;
}

static bool is_dir(enum control_kind kind)
{
	return kind == C_ROOT || kind == C_META || kind == C_SEARCH || kind == C_QUERY || kind == C_BY_ID || kind == C_BY_URL || kind == C_PAPERS;
}

void control_free(struct control *c)
{
	/* The reference of `about` is dropped by the caller, who holds the lock: see node.c. */
	if (c) {
		links_free(c);
		scratch_unref(c->scratch);
		paper_free(c->paper);
	}
	free(c);
}

struct node *control_about(struct control *c)
{
	return c->about;
}

struct node *control_about_ref(struct node *n)
{
	struct node *about;

	WITH_LOCK(&n->fs->lock)
		about = node_ref_locked(n->control->about);
	return about;
}

int control_enter(struct fs *fs, struct node *parent, const char *name, enum control_kind kind, struct node *about,
                  const char *text, struct node **ret)
{
	return control_enter_scratch(fs, parent, name, kind, about, text, NULL, ret);
}

int control_enter_scratch(struct fs *fs, struct node *parent, const char *name, enum control_kind kind, struct node *about,
                          const char *text, struct scratch *x, struct node **ret)
{
	struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c || str_dup(text, &c->text) < 0) {
		free(c);
		scratch_unref(x);
		return -ENOMEM;
	}
	c->kind = kind;
	WITH_LOCK(&fs->lock) {
		c->about = node_ref_locked(about);
		r = node_enter_control_locked(fs, parent, name, c, is_dir(kind), ret);
		c = r == 0 ? (*ret)->control : NULL;
		if (c && c->about != about) {
			/* Another thing has the name of the one that it was about. */
			struct node *was = c->about;

			c->about = node_ref_locked(about);
			node_unref_locked(was);
		}
		if (c && text && strcmp(c->text, text) != 0) {
			/* The kernel knows a control of this name, but it was about another thing. */
			char *copy = strdup(text);

			if (copy) {
				free(c->text);
				c->text = copy;
				c->target_at = 0;
			} else {
				node_unref_locked(*ret);
				r = -ENOMEM;
			}
		}
		if (r == 0) {
			/* The kernel may know a node of this name whose file was removed: handles of it keep that. */
			struct scratch *was = c->scratch;

			c->scratch = x;
			x = was;
		}
	}
	scratch_unref(x);
	return r;
}

int control_root(struct fs *fs, struct node *dir, struct node **ret)
{
	return control_enter(fs, dir, FS_CONTROL_NAME, C_ROOT, dir, NULL, ret);
}

static bool shown(struct fs *fs, const struct control *c, const struct entry *e)
{
	if (e->kind == C_ACTION && c->about != fs->root)
		return papers_verb(fs, c->about, NULL, 0);
	return (!e->root_only || c->about == fs->root) && (fs->session->backend->can & e->can) == e->can;
}

/* Directories in which editors may put their own files. */
static bool holds_scratch(const struct control *c)
{
	return c && (c->kind == C_ROOT || c->kind == C_META || c->kind == C_SEARCH || c->kind == C_PAPERS);
}

/* Takes over the reference of x. */
static int enter_scratch(struct fs *fs, struct node *parent, const char *name, struct scratch *x, struct node **ret)
{
	return control_enter_scratch(fs, parent, name, C_SCRATCH, parent->control->about, NULL, x, ret);
}

static const struct backend_control *backends_own(struct fs *fs, const struct control *c, const char *name)
{
	const struct backend_control *b = fs->session->backend->controls;

	for (; b && b->name; b++)
		if (b->act != CONTROL_VERB && strcmp(b->name, name) == 0 && (!b->root_only || c->about == fs->root))
			return b;
	return NULL;
}

/* A directory of ordinary things: from here on the tree is the ordinary one. */
static int enter_tree(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	struct object about = {0}, o = {0};
	uint64_t at = clock_mono_ms();
	int r = node_object(parent->control->about, &about);

	if (r == 0)
		r = backend_control_object(fs->session, &about, name, &o);
	if (r == 0)
		WITH_LOCK(&fs->lock)
			r = node_enter_locked(fs, parent, name, &o, at, ret);
	object_done(&about);
	object_done(&o);
	return r;
}

static int lookup_in_root(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	struct control *c = parent->control;
	const struct backend_control *b;

	for (size_t i = 0; i < ENTRIES; i++)
		if (strcmp(entries[i].name, name) == 0 && shown(fs, c, &entries[i]))
			return control_enter(fs, parent, name, entries[i].kind, c->about, entries[i].kind == C_BY_ID ? "" : NULL, ret);
	b = backends_own(fs, c, name);
	if (!b)
		return -ENOENT;
	if (b->act == CONTROL_TREE)
		return enter_tree(fs, parent, name, ret);
	return b->act == CONTROL_CALL ? control_enter(fs, parent, name, C_CALL, c->about, NULL, ret) : papers_lookup(fs, parent, name, ret);
}

int control_lookup(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	struct control *c = parent->control;
	struct scratch *x;
	_cleanup_free_ char *child = NULL;
	struct node *n;
	int r = c->kind == C_SEARCH ? saved_lookup(fs, parent, name, ret) : -ENOENT;

	if (r != -ENOENT)
		return r;
	/* In a backend's directory a document that has no text yet lies among them, see papers.c. */
	x = holds_scratch(c) && !(c->kind == C_PAPERS && control_is_document(name)) ? scratch_find(fs->scratches, parent->ino, name) : NULL;
	if (x)
		return enter_scratch(fs, parent, name, x, ret);
	if (c->kind == C_ROOT)
		return lookup_in_root(fs, parent, name, ret);
	if (c->kind == C_PAPERS)
		return papers_lookup(fs, parent, name, ret);
	if (c->kind == C_SEARCH && !saved_is_expression(name))
		return -ENOENT;
	if (is_dir(c->kind) && c->kind != C_META)
		return links_lookup(fs, parent, name, ret);
	if (c->kind != C_META || !str_ends(name, ".json"))
		return -ENOENT;
	child = strndup(name, strlen(name) - strlen(".json"));
	if (!child)
		return -ENOMEM;
	if (strcmp(child, FS_CONTROL_NAME) == 0)
		return -ENOENT;
	r = dir_lookup(fs, c->about, child, &n);
	if (r < 0)
		return r;
	r = control_enter(fs, parent, name, C_DOCUMENT, n, NULL, ret);
	node_unref(n);
	return r;
}

int control_list_add(struct handle *h, struct node *n, const char *name)
{
	char *copy = strdup(name);

	if (!copy || vec_push(&h->entries, n) < 0) {
		free(copy);
		node_unref(n);
		return -ENOMEM;
	}
	if (vec_push(&h->names, copy) < 0) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

static int list_scratch(struct fs *fs, struct node *n, struct handle *h)
{
	char *names[SCRATCH_COUNT];
	size_t count = scratch_names(fs->scratches, n->ino, names);
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		struct node *e;

		if (r == 0 && control_lookup(fs, n, names[i], &e) == 0) {
			if (e->control && e->control->kind == C_QUERY)
				node_unref(e);  /* an expression of this name was kept meanwhile, and is listed */
			else
				r = control_list_add(h, e, names[i]);
		}
		free(names[i]);
	}
	return r;
}

static int list_root(struct fs *fs, struct node *n, struct handle *h)
{
	const struct backend_control *b = fs->session->backend->controls;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ENTRIES; i++) {
		struct node *e;

		if (!shown(fs, n->control, &entries[i]))
			continue;
		r = control_lookup(fs, n, entries[i].name, &e);
		if (r == 0)
			r = control_list_add(h, e, entries[i].name);
	}
	for (; r == 0 && b && b->name; b++) {
		struct node *e;

		if (backends_own(fs, n->control, b->name) != b || control_lookup(fs, n, b->name, &e) < 0)
			continue;       /* not of this directory, or it cannot be asked now */
		r = control_list_add(h, e, b->name);
	}
	return r;
}

static int list_meta(struct fs *fs, struct node *n, struct handle *h)
{
	struct control *c = n->control;
	VEC(struct node *) children = {0};
	int r = dir_load(fs, c->about, fs->list_ttl_ms);

	if (r < 0)
		return r;
	WITH_LOCK(&fs->lock) {
		struct dir *d = c->about->dir;

		for (size_t i = 0; i < d->order.n; i++)
			if (vec_push(&children, d->order.at[i]) == 0)
				node_ref_locked(d->order.at[i]);
	}
	for (size_t i = 0; i < children.n; i++) {
		_cleanup_free_ char *name = NULL;
		struct node *e = NULL;

		WITH_LOCK(&fs->lock)
			if (str_fmt(&name, "%s.json", children.at[i]->name) < 0)
				name = NULL;
		if (r == 0 && name && strlen(name) <= FS_NAME_MAX) {
			r = control_enter(fs, n, name, C_DOCUMENT, children.at[i], NULL, &e);
			if (r == 0)
				r = control_list_add(h, e, name);
		}
		node_unref(children.at[i]);
	}
	vec_done(&children);
	return r;
}

int control_list(struct fs *fs, struct node *n, struct handle *h)
{
	struct control *c = n->control;
	int r;

	if (!is_dir(c->kind))
		return -ENOTDIR;
	if (!holds_scratch(c))
		return links_list(fs, n, h);
	switch (c->kind) {
	case C_ROOT:
		r = list_root(fs, n, h);
		break;
	case C_META:
		r = list_meta(fs, n, h);
		break;
	case C_SEARCH:
		r = saved_list(fs, n, h);
		break;
	default:
		r = papers_list(fs, n, h);
	}
	return r < 0 ? r : list_scratch(fs, n, h);
}

struct owed {
	unsigned drafts, refused, held;
	uint64_t bytes, room;
};

static void owed_now(struct fs *fs, struct owed *ret)
{
	struct drafts all = {0};

	*ret = (struct owed){0};
	if (!fs->spool)
		return;
	spool_owed(fs->spool, &ret->drafts, &ret->bytes, &ret->refused);
	ret->room = spool_room(fs->spool);
	if (spool_drafts(fs->spool, NULL, &all) == 0)
		for (size_t i = 0; i < all.list.n; i++) {
			struct draft_info info;

			draft_info(all.list.at[i], &info);
			ret->held += info.state == DRAFT_HELD && draft_is_owed(all.list.at[i]);
		}
	drafts_done(&all);
}

static int status_text(struct fs *fs, struct buf *b)
{
	struct cache_stats cs = {0};
	struct http_stats hs = {0};
	struct owed owed;
	bool silent = fs->http && http_host_silent(fs->http, fs->session->origin);
	char since[CLOCK_ISO_MAX];
	int r;

	cache_get_stats(fs->cache, &cs);
	if (fs->http)
		http_get_stats(fs->http, &hs);
	clock_format_iso((struct timespec){.tv_sec = fs->mounted_at}, since);
	owed_now(fs, &owed);
	r = buf_adds(b, "{\"source\": ");
	if (r == 0)
		r = json_write_str(b, fs->config.source);
	if (r == 0)
		r = buf_adds(b, ", \"mountpoint\": ");
	if (r == 0)
		r = json_write_str(b, fs->config.mountpoint);
	if (r == 0)
		r = buf_addf(b, ", \"backend\": \"%s\", \"identity\": ", fs->session->backend->scheme);
	if (r == 0)
		r = json_write_str(b, fs->session->identity);
	if (r == 0)
		r = buf_addf(b, ", \"state\": \"%s\", \"pid\": %d, \"version\": \"%s\", \"since\": \"%s\", ",
		             silent ? "silent" : "connected", (int)getpid(), SCIFS_VERSION, since);
	if (r == 0)
		r = buf_addf(b, "\"writable\": %s, \"uploads\": {\"owed\": %u, \"bytes\": %llu, \"refused\": %u, \"held\": %u, \"room\": %llu}, ",
		             fs_can_write(fs) ? "true" : "false", owed.drafts, (unsigned long long)owed.bytes, owed.refused, owed.held,
		             (unsigned long long)owed.room);
	if (r == 0)
		r = buf_addf(b, "\"memory_used\": %llu, \"memory_limit\": %llu, \"requests\": %llu, \"repeats\": %llu, "
		             "\"failures\": %llu, \"bytes_in\": %llu, \"reads\": %llu, \"read_bytes\": %llu, \"errors\": %llu}\n",
		             (unsigned long long)cs.memory_used, (unsigned long long)cs.memory_limit, (unsigned long long)hs.requests,
		             (unsigned long long)hs.repeats, (unsigned long long)hs.failures, (unsigned long long)hs.bytes_in,
		             (unsigned long long)atomic_load(&fs->count_reads), (unsigned long long)atomic_load(&fs->count_read_bytes),
		             (unsigned long long)atomic_load(&fs->count_errors));
	return r;
}

static uint64_t count_nodes(struct fs *fs)
{
	uint64_t n;

	WITH_LOCK(&fs->lock)
		n = map64_count(fs->by_ino);
	return n;
}

static int stats_text(struct fs *fs, struct buf *b)
{
	struct cache_stats cs = {0};
	struct http_stats hs = {0};
	struct owed owed;
	uint64_t nodes = count_nodes(fs);
	const struct { const char *name, *type; uint64_t v; } rows[] = {
		{"scifs_lookups_total", "counter", atomic_load(&fs->count_lookups)},
		{"scifs_getattrs_total", "counter", atomic_load(&fs->count_getattrs)},
		{"scifs_listings_total", "counter", atomic_load(&fs->count_listings)},
		{"scifs_opens_total", "counter", atomic_load(&fs->count_opens)},
		{"scifs_flushes_total", "counter", atomic_load(&fs->count_flushes)},
		{"scifs_reads_total", "counter", atomic_load(&fs->count_reads)},
		{"scifs_read_bytes_total", "counter", atomic_load(&fs->count_read_bytes)},
		{"scifs_errors_total", "counter", atomic_load(&fs->count_errors)},
		{"scifs_read_waits", "gauge", atomic_load(&fs->read_waits)},
		{"scifs_nodes", "gauge", nodes},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(rows) / sizeof(rows[0]); i++)
		r = buf_addf(b, "# TYPE %s %s\n%s %llu\n", rows[i].name, rows[i].type, rows[i].name, (unsigned long long)rows[i].v);
	cache_get_stats(fs->cache, &cs);
	owed_now(fs, &owed);
	if (fs->http)
		http_get_stats(fs->http, &hs);
	if (r == 0)
		r = buf_addf(b, "# TYPE scifs_uploads gauge\nscifs_uploads %u\n# TYPE scifs_upload_bytes gauge\nscifs_upload_bytes %llu\n"
		             "# TYPE scifs_uploads_refused gauge\nscifs_uploads_refused %u\n# TYPE scifs_uploads_held gauge\nscifs_uploads_held %u\n"
		             "# TYPE scifs_spool_room_bytes gauge\nscifs_spool_room_bytes %llu\n",
		             owed.drafts, (unsigned long long)owed.bytes, owed.refused, owed.held, (unsigned long long)owed.room);
	if (r == 0)
		r = buf_addf(b, "# TYPE scifs_cache_memory_bytes gauge\nscifs_cache_memory_bytes %llu\n"
		             "# TYPE scifs_cache_hits_total counter\nscifs_cache_hits_total %llu\n"
		             "# TYPE scifs_cache_misses_total counter\nscifs_cache_misses_total %llu\n"
		             "# TYPE scifs_cache_disk_bytes gauge\nscifs_cache_disk_bytes %llu\n"
		             "# TYPE scifs_cache_disk_hits_total counter\nscifs_cache_disk_hits_total %llu\n"
		             "# TYPE scifs_cache_disk_damaged_total counter\nscifs_cache_disk_damaged_total %llu\n"
		             "# TYPE scifs_cache_disk_errors_total counter\nscifs_cache_disk_errors_total %llu\n"
		             "# TYPE scifs_http_requests_total counter\nscifs_http_requests_total %llu\n"
		             "# TYPE scifs_http_repeats_total counter\nscifs_http_repeats_total %llu\n"
		             "# TYPE scifs_http_received_bytes_total counter\nscifs_http_received_bytes_total %llu\n",
		             (unsigned long long)cs.memory_used, (unsigned long long)cs.hits, (unsigned long long)cs.misses,
		             (unsigned long long)cs.disk_used, (unsigned long long)cs.disk_hits, (unsigned long long)cs.disk_bad,
		             (unsigned long long)cs.disk_errors, (unsigned long long)hs.requests, (unsigned long long)hs.repeats, (unsigned long long)hs.bytes_in);
	return r;
}

static int errors_text(struct fs *fs, struct node *about, struct buf *b)
{
	_cleanup_free_ char *path = NULL;

	if (about == fs->root)
		return journal_text(fs->errors, "", b);
	if (node_path(about, &path) < 0)
		return -ENOMEM;
	return journal_text(fs->errors, path, b);
}

struct places {
	struct fs *fs;
	bool unasked;                   /* the server has not answered in time: no more waiting */
};

static int path_of_dir(struct places *p, const char *id, char **ret)
{
	_cleanup_(node_unrefp) struct node *n = node_by_id(p->fs, id);
	int r;

	if (n)
		return node_path(n, ret);
	if (p->unasked || !(p->fs->session->backend->can & CAN_BYID))
		return -EAGAIN;
	/* Nobody has looked there since the mount. */
	r = links_place(p->fs, id, ret);
	p->unasked = r < 0 && fs_error_is_unreachable(r);
	return r;
}

/* Where something of this name goes or was, as a path of the mount; NULL where that is not known now. */
static char *path_of(void *arg, const char *dir_id, const char *raw)
{
	struct places *p = arg;
	_cleanup_free_ char *name = NULL, *dir = NULL;
	char *path = NULL;

	if (name_display(p->fs->config.names, raw, "", &name) == 0 && path_of_dir(p, dir_id, &dir) == 0)
		(void)str_fmt(&path, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name);
	return path;
}

static int uploads_text(struct fs *fs, struct buf *b)
{
	struct places places = {.fs = fs};
	int r = fs->spool ? spool_write_json(fs->spool, path_of, &places, b) : buf_adds(b, "[]");

	return r == 0 && b->len && b->data[b->len - 1] != '\n' ? buf_addc(b, '\n') : r;
}

static int document_text(struct fs *fs, struct node *n, struct buf *b)
{
	_cleanup_(node_unrefp) struct node *about = control_about_ref(n);
	struct doc d = {0};
	int r = documents_get(fs, about, &d);

	if (r == 0)
		texts_given(fs->texts, about->ino, &d);
	if (r == 0)
		r = buf_add(b, d.text, d.len);
	if (r == 0 && d.len && d.text[d.len - 1] != '\n')
		r = buf_addc(b, '\n');
	doc_done(&d);
	return r;
}

static int open_scratch(struct fs *fs, struct node *n, struct handle *h)
{
	WITH_LOCK(&fs->lock)
		h->scratch = scratch_ref(n->control->scratch);
	return 0;
}

int control_open(struct fs *fs, struct node *n, struct handle *h)
{
	struct control *c = n->control;
	int r = 0;

	buf_init(&h->text, 256u << 20);
	switch (c->kind) {
	case C_DOCUMENT:
		r = document_text(fs, n, &h->text);
		break;
	case C_STATUS:
		r = status_text(fs, &h->text);
		break;
	case C_STATS:
		r = stats_text(fs, &h->text);
		break;
	case C_ERRORS:
		r = errors_text(fs, c->about, &h->text);
		break;
	case C_EVENTS:
		h->follows = fs->events;
		h->follows_at = journal_begin(fs->events);
		return 0;
	case C_CONFIG:
		r = buf_adds(&h->text, fs->config.config_json ? fs->config.config_json : "{}\n");
		break;
	case C_SERVER:
		r = buf_adds(&h->text, fs->session->server_json ? fs->session->server_json : "{}\n");
		break;
	case C_UPLOADS:
		r = uploads_text(fs, &h->text);
		break;
	case C_ACTION:
		r = control_reply(fs, n, &h->text);
		r = r == -ENODATA ? 0 : r;
		break;
	case C_PAPER:
	case C_WORD:
		r = paper_text(fs, n, &h->text);
		break;
	case C_SAVED:
		r = saved_open(fs, n, h);
		break;
	case C_CALL:
		break;
	case C_SCRATCH:
		return open_scratch(fs, n, h);
	default:
		r = -EISDIR;
	}
	WITH_LOCK(&fs->lock)
		c->size = h->text.len;
	return r;
}

/* ---- reading a handle ---- */

static void reply_text(struct op *op)
{
	struct handle *h = op->handle;
	_cleanup_buf_ struct buf b = BUF_MAX(CACHE_READ_MAX);
	uint64_t at = (uint64_t)op->offset;
	bool wipe = h->node->control->kind == C_PAPER;    /* asked now: who is answered may be gone with the handle */
	int r = 0;

	if (h->follows)
		r = journal_read(h->follows, h->follows_at, at, op->size, &b);
	else if (h->node->control->kind == C_SCRATCH)
		r = scratch_read(h->scratch, at, op->size, &b);
	else if (h->node->control->kind == C_CALL)
		r = call_read(h, at, op->size, &b);
	else
		WITH_LOCK(&h->lock)
			if (at < h->text.len)
				r = buf_add(&b, h->text.data + at, op->size < h->text.len - at ? op->size : h->text.len - (size_t)at);
	if (r < 0)
		op_reply_err(op, r);
	else
		op_reply_buf(op, buf_str(&b), b.len);
	if (wipe && b.data)
		explicit_bzero(b.data, b.room);         /* it may have been a secret */
}

static void answer_run(struct op *op)
{
	int r = call_answer(op->fs, op->handle);

	if (r < 0)
		op_reply_err(op, r);
	else
		reply_text(op);
}

void control_read(struct op *op)
{
	struct handle *h = op->handle;

	if (h->node->control->kind == C_CALL && call_is_asked(h))
		op_park(op, answer_run);
	else
		reply_text(op);
}

uint64_t control_length(struct handle *h)
{
	struct timespec t;
	size_t n = 0;

	if (h->follows)
		return journal_size(h->follows);
	if (h->node->control->kind == C_SCRATCH)
		return scratch_size(h->scratch, &t);
	WITH_LOCK(&h->lock)
		n = h->text.len;
	return n;
}

void control_handle_done(struct handle *h)
{
	doc_done(&h->base);
	buf_done(&h->question);
	scratch_unref(h->scratch);
	if (h->is_control && h->node->control->kind == C_PAPER && h->text.data)
		explicit_bzero(h->text.data, h->text.room);     /* it may be a secret */
}

int control_readlink(struct fs *fs, struct node *n, char **ret)
{
	return n->control->kind == C_LINK ? links_readlink(fs, n, ret) : -EINVAL;
}

double control_entry_time(const struct node *n)
{
	/* Editors exchange documents and their own files by renaming: who looks next is told what there is then. */
	switch (n->control->kind) {
	case C_DOCUMENT:
	case C_SCRATCH:
	case C_SAVED:
	case C_PAPER:
	case C_WORD:
		return 0;
	case C_QUERY:
		return n->control->scratch ? 0 : 1.0;
	case C_LINK:
		return n->parent->control && n->parent->control->scratch ? 0 : 1.0;
	default:
		return 1.0;
	}
}

/* May anything be written here at all? Where contents cannot, a backend's own controls may. */
static bool may_act(const struct fs *fs)
{
	return fs_can_write(fs) || papers_act(fs);
}

static bool is_writable_locked(const struct node *n)
{
	switch (n->control->kind) {
	case C_ACTION:
	case C_SCRATCH:
	case C_SEARCH:
	case C_SAVED:
		return true;
	case C_ROOT:
		return may_act(n->fs);
	case C_CALL:
	case C_META:
		return fs_can_write(n->fs);
	case C_DOCUMENT:
		return document_is_writable_locked(n);
	default:
		return false;
	}
}

void control_stat_locked(const struct node *n, struct stat *st)
{
	const struct control *c = n->control;
	struct timespec now = clock_wall();
	bool secret = c->kind == C_ACTION || c->kind == C_CALL || c->kind == C_SCRATCH; /* nobody else's business */

	st->st_mode = n->dir ? S_IFDIR | 0555 : c->kind == C_LINK ? S_IFLNK | 0777 : S_IFREG | (secret ? 0400 : 0444);
	if (is_writable_locked(n))
		st->st_mode |= 0200;
	st->st_nlink = n->dir ? 2 : 1;
	st->st_size = n->dir ? 0 : (off_t)c->size;
	if (c->kind == C_EVENTS)
		st->st_size = (off_t)journal_size(n->fs->events);
	if (c->kind == C_ERRORS && c->about == n->fs->root)
		st->st_size = (off_t)journal_size(n->fs->errors);
	if (c->kind == C_DOCUMENT)
		now = c->about->object.mtime;
	if (c->kind == C_SCRATCH || c->kind == C_SAVED)
		st->st_size = (off_t)scratch_size(c->scratch, &now);
	st->st_mtim = now;
	if (c->kind == C_PAPERS || c->kind == C_PAPER || c->kind == C_WORD)
		paper_stat_locked(n, st);
	st->st_ctim = st->st_atim = st->st_mtim;
}

/* A document has its thing's time, and of one that was only listed since it changed a listing may tell another one than a look at it
 * does. Whoever edits a document would take that for somebody else's change. */
bool control_is_vague_locked(const struct node *n)
{
	return n->control->kind == C_DOCUMENT && n->control->about->object.kind == OBJECT_UNKNOWN;
}

void control_look(struct fs *fs, struct node *n)
{
	_cleanup_(node_unrefp) struct node *about = control_about_ref(n);
	bool vague;

	WITH_LOCK(&fs->lock)
		vague = control_is_vague_locked(n);
	if (vague)
		(void)node_refresh(fs, about, UINT_MAX - 1);    /* what is known will do */
}

/* ---- writing ---- */

bool control_is_document(const char *name)
{
	return str_ends(name, ".json") && spool_name_fate(name) == NAME_SENT;
}

int control_create(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	struct control *c = parent->control;
	struct scratch *x;
	int r;

	/* What is searched for is nobody's but ours. */
	bool acts = c->kind == C_SEARCH || (c->kind == C_META ? fs_can_write(fs) : may_act(fs));

	if (!holds_scratch(c) || !acts)
		return acts ? -EPERM : -EROFS;
	if (strlen(name) > FS_NAME_MAX)
		return -ENAMETOOLONG;
	r = control_lookup(fs, parent, name, ret);
	if (r != -ENOENT)
		return r;
	if (c->kind == C_META && control_is_document(name)) {
		errors_add(fs, "create", parent, -ENOENT, "there is nothing of this name to have a document");
		return -ENOENT;
	}
	if (c->kind == C_PAPERS && control_is_document(name))
		return paper_create(fs, parent, name, ret);
	if (c->kind == C_SEARCH && saved_is_name(name))
		return saved_create(fs, parent, name, ret);
	if (c->kind == C_PAPERS && !papers_hold_scratch(parent))
		return -EPERM;
	r = scratch_make(fs->scratches, parent->ino, name, &x);
	return r < 0 ? r : enter_scratch(fs, parent, name, x, ret);
}

static int open_saved(struct fs *fs, struct node *n, int flags, struct handle *h)
{
	bool empty = flags & O_TRUNC;
	int r = control_open(fs, n, h);

	WITH_LOCK(&fs->lock) {
		empty |= n->control->cut;
		n->control->cut = false;
	}
	if (empty)
		buf_clear(&h->text);
	h->text.max = SAVED_MAX;
	return r;
}

int control_open_write(struct fs *fs, struct node *n, int flags, struct handle *h)
{
	switch (n->control->kind) {
	case C_DOCUMENT:
		return document_open_write(fs, n, flags, h);
	case C_ACTION:
		return control_open(fs, n, h);
	case C_CALL:
		return fs_can_write(fs) ? control_open(fs, n, h) : -EROFS;
	case C_PAPER:
	case C_WORD:
		return paper_open_write(fs, n, flags, h);
	case C_SAVED:
		return open_saved(fs, n, flags, h);
	case C_SCRATCH:
		(void)open_scratch(fs, n, h);
		return flags & O_TRUNC ? scratch_truncate(h->scratch, 0) : 0;
	default:
		return -EACCES;
	}
}

static int write_text(struct fs *fs, struct handle *h, const void *p, size_t n, uint64_t at)
{
	size_t size = 0;
	int r = 0;

	WITH_LOCK(&h->lock) {
		if (h->append)
			at = h->text.len;
		r = at > h->text.max ? -EMSGSIZE : buf_write(&h->text, (size_t)at, p, n);
		h->written |= r == 0;
		size = h->text.len;
	}
	if (r < 0)
		return r == -EMSGSIZE ? -EFBIG : r;
	WITH_LOCK(&fs->lock)
		h->node->control->size = size;
	return (int)n;
}

int control_write(struct fs *fs, struct handle *h, const void *p, size_t n, uint64_t at)
{
	int r;

	switch (h->node->control->kind) {
	case C_DOCUMENT:
		return write_text(fs, h, p, n, at);
	case C_PAPER:
	case C_SAVED:
		r = write_text(fs, h, p, n, at);
		if (r == -EFBIG)
			WITH_LOCK(&h->lock) {
				buf_clear(&h->text);    /* close sends no part of it */
				h->written = false;
			}
		return r;
	case C_WORD:
		r = paper_word(fs, h->node, p, n);
		return r < 0 ? r : (int)n;
	case C_ACTION:
		r = verb_write(fs, h->node, p, n);
		return r < 0 ? r : (int)n;
	case C_CALL:
		return call_write(h, p, n, at);
	case C_SCRATCH:
		return scratch_write(h->scratch, p, n, h->append ? UINT64_MAX : at);
	default:
		return -EACCES;
	}
}

/* Of a document, by its path: who opens it next finds it empty, as a shell's > does it on other systems. Nothing is sent. */
static int cut_by_path(struct fs *fs, struct node *n, uint64_t size)
{
	int r = 0;

	WITH_LOCK(&fs->lock) {
		if (!(n->control->kind == C_PAPER ? papers_act(fs) : is_writable_locked(n)))
			r = -EACCES;
		else if (size)
			r = -EINVAL;    /* part of a document is none */
		else
			n->control->cut = true;
	}
	return r;
}

int control_truncate(struct fs *fs, struct node *n, struct handle *h, uint64_t size)
{
	struct scratch *x = NULL;
	int r = 0;

	switch (n->control->kind) {
	case C_ACTION:
	case C_CALL:
	case C_WORD:
		return 0;               /* > .scifs/action */
	case C_SCRATCH:
		WITH_LOCK(&fs->lock)
			x = scratch_ref(h && h->scratch ? h->scratch : n->control->scratch);
		r = scratch_truncate(x, size);
		scratch_unref(x);
		return r;
	case C_DOCUMENT:
	case C_PAPER:
	case C_SAVED:
		if (!h)
			return cut_by_path(fs, n, size);
		if (!h->writable)
			return -EINVAL;
		WITH_LOCK(&h->lock) {
			r = size > h->text.max ? -EMSGSIZE : buf_resize(&h->text, (size_t)size);
			h->written |= r == 0;
		}
		return r == -EMSGSIZE ? -EFBIG : r;
	default:
		return -EACCES;
	}
}

int control_flush(struct fs *fs, struct handle *h)
{
	switch (h->node->control->kind) {
	case C_DOCUMENT:
		return document_flush(fs, h);
	case C_PAPER:
		return paper_flush(fs, h);
	case C_SAVED:
		return saved_flush(fs, h);
	case C_CALL:
		return call_is_asked(h) ? call_answer(fs, h) : 0;
	default:
		return 0;
	}
}

/* What stands under the name now: of a control that can be written and read back, else -EPERM. */
static int text_of(struct fs *fs, struct node *n, struct buf *ret)
{
	struct scratch *x;
	int r;

	switch (n->control->kind) {
	case C_DOCUMENT:
		return document_text(fs, n, ret);
	case C_PAPER:
		return paper_is_secret(n) ? -EPERM : paper_text(fs, n, ret);
	case C_SCRATCH:
		WITH_LOCK(&fs->lock)
			x = scratch_ref(n->control->scratch);
		r = scratch_read(x, 0, SCRATCH_MAX, ret);
		scratch_unref(x);
		return r;
	default:
		return -EPERM;
	}
}

/* The scratch file's text is written to the control that has the new name. */
static int replace(struct fs *fs, struct node *from, const char *name, struct node *over, const char *text, size_t len)
{
	int r;

	if (over->control->kind == C_DOCUMENT)
		r = document_replace(fs, over, text, len);
	else if (over->control->kind == C_PAPER || over->control->kind == C_WORD)
		r = paper_replace(fs, over, text, len);
	else if (over->control->kind == C_ACTION)
		r = verb_write(fs, over, text, len);
	else
		r = -EPERM;
	if (r == 0)
		(void)scratch_remove(fs->scratches, from->ino, name);
	return r;
}

int control_rename(struct fs *fs, struct node *from, const char *name, struct node *to, const char *new_name)
{
	_cleanup_(node_unrefp) struct node *n = NULL, *over = NULL;
	_cleanup_buf_ struct buf text = BUF_MAX(256u << 20);
	bool moves;
	int r;

	if (!from->control || !to->control)
		return -EXDEV;
	if (!holds_scratch(from->control) || !holds_scratch(to->control))
		return -EPERM;
	if (strlen(new_name) > FS_NAME_MAX)
		return -ENAMETOOLONG;
	r = control_lookup(fs, from, name, &n);
	if (r == 0 && !n->control)
		r = -EPERM;
	if (r < 0)
		return r;
	r = control_lookup(fs, to, new_name, &over);
	if (r < 0 && r != -ENOENT)
		return r;
	if (over == n)
		return 0;
	if (over && !over->control)
		return -EPERM;
	moves = n->control->kind == C_SCRATCH;
	if (!over && to->control->kind == C_META && control_is_document(new_name))
		return -ENOENT;
	if (!over && to->control->kind == C_PAPERS && !control_is_document(new_name) && !papers_hold_scratch(to))
		return -EPERM;
	if (!over && to->control->kind == C_PAPERS && control_is_document(new_name)) {
		/* What was prepared beside it becomes a document of the backend's. */
		if (!moves)
			return -EPERM;
		r = paper_create(fs, to, new_name, &over);
		if (r < 0)
			return r;
	}
	if (n->control->kind == C_SAVED || (to->control->kind == C_SEARCH && saved_is_name(new_name)))
		return saved_rename(fs, from, name, n, to, new_name, over);
	if (moves && (!over || over->control->kind == C_SCRATCH))
		return scratch_rename(fs->scratches, from->ino, name, to->ino, new_name);
	r = text_of(fs, n, &text);
	if (r < 0)
		return r;
	if (over && over->control->kind != C_SCRATCH)
		return moves ? replace(fs, from, name, over, buf_str(&text), text.len) : -EPERM;
	/* A document is not moved: its text is copied, which is what an editor's backup wants; it will write a new one. */
	r = scratch_put(fs->scratches, to->ino, new_name, buf_str(&text), text.len);
	if (r == 0)
		WITH_LOCK(&fs->lock)
			n->control->cut = true;
	return r;
}

int control_unlink(struct fs *fs, struct node *parent, const char *name)
{
	_cleanup_(node_unrefp) struct node *n = NULL;
	bool own = parent->control->kind == C_PAPERS && control_is_document(name);      /* papers.c takes care of it */
	int r = parent->control->kind == C_SEARCH ? saved_remove(fs, parent, name) : -ENOENT;

	if (r == -ENOENT && holds_scratch(parent->control) && !own)
		r = scratch_remove(fs->scratches, parent->ino, name);
	if (r != -ENOENT)
		return r;
	r = control_lookup(fs, parent, name, &n);
	if (r == 0 && n->control && (n->control->kind == C_PAPER || n->control->kind == C_WORD))
		return paper_remove(fs, n);
	return r < 0 ? r : -EPERM;
}
