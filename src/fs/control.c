/* control.c - `.scifs`: documents and texts about a directory and the mount; its links are made in links.c. */
#include <errno.h>
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
	{"config.json", C_CONFIG, true, 0}, {"server.json", C_SERVER, true, 0},
};
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

static bool is_dir(enum control_kind kind)
{
	return kind == C_ROOT || kind == C_META || kind == C_SEARCH || kind == C_QUERY || kind == C_BY_ID || kind == C_BY_URL;
}

void control_free(struct control *c)
{
	/* The reference of `about` is dropped by the caller, who holds the lock: see node.c. */
	if (c)
		links_free(c);
	free(c);
}

struct node *control_about(struct control *c)
{
	return c->about;
}

int control_enter(struct fs *fs, struct node *parent, const char *name, enum control_kind kind, struct node *about,
                  const char *text, struct node **ret)
{
	struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c || str_dup(text, &c->text) < 0) {
		free(c);
		return -ENOMEM;
	}
	c->kind = kind;
	WITH_LOCK(&fs->lock) {
		c->about = node_ref_locked(about);
		r = node_enter_control_locked(fs, parent, name, c, is_dir(kind), ret);
		c = r == 0 ? (*ret)->control : NULL;
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
	}
	return r;
}

int control_root(struct fs *fs, struct node *dir, struct node **ret)
{
	return control_enter(fs, dir, FS_CONTROL_NAME, C_ROOT, dir, NULL, ret);
}

static bool shown(struct fs *fs, const struct control *c, const struct entry *e)
{
	return (!e->root_only || c->about == fs->root) && (fs->session->backend->can & e->can) == e->can;
}

int control_lookup(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	struct control *c = parent->control;
	_cleanup_free_ char *child = NULL;
	struct node *n;
	int r;

	if (c->kind == C_ROOT) {
		for (size_t i = 0; i < ENTRIES; i++)
			if (strcmp(entries[i].name, name) == 0 && shown(fs, c, &entries[i]))
				return control_enter(fs, parent, name, entries[i].kind, c->about,
				                     entries[i].kind == C_BY_ID ? "" : NULL, ret);
		return -ENOENT;
	}
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

int control_list(struct fs *fs, struct node *n, struct handle *h)
{
	struct control *c = n->control;
	VEC(struct node *) children = {0};
	int r = 0;

	if (c->kind == C_ROOT) {
		for (size_t i = 0; r == 0 && i < ENTRIES; i++) {
			struct node *e;

			if (!shown(fs, c, &entries[i]))
				continue;
			r = control_lookup(fs, n, entries[i].name, &e);
			if (r == 0)
				r = control_list_add(h, e, entries[i].name);
		}
		return r;
	}
	if (!is_dir(c->kind))
		return -ENOTDIR;
	if (c->kind != C_META)
		return links_list(fs, n, h);
	r = dir_load(fs, c->about, fs->list_ttl_ms);
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

static int status_text(struct fs *fs, struct buf *b)
{
	struct cache_stats cs = {0};
	struct http_stats hs = {0};
	bool silent = fs->http && http_host_silent(fs->http, fs->session->origin);
	char since[CLOCK_ISO_MAX];
	int r;

	cache_get_stats(fs->cache, &cs);
	if (fs->http)
		http_get_stats(fs->http, &hs);
	clock_format_iso((struct timespec){.tv_sec = fs->mounted_at}, since);
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
		r = buf_addf(b, "\"memory_used\": %llu, \"memory_limit\": %llu, \"requests\": %llu, \"repeats\": %llu, "
		             "\"failures\": %llu, \"bytes_in\": %llu, \"reads\": %llu, \"read_bytes\": %llu, \"errors\": %llu}\n",
		             (unsigned long long)cs.memory_used, (unsigned long long)cs.memory_limit, (unsigned long long)hs.requests,
		             (unsigned long long)hs.repeats, (unsigned long long)hs.failures, (unsigned long long)hs.bytes_in,
		             (unsigned long long)atomic_load(&fs->count_reads), (unsigned long long)atomic_load(&fs->count_read_bytes),
		             (unsigned long long)atomic_load(&fs->count_errors));
	return r;
}

static int stats_text(struct fs *fs, struct buf *b)
{
	struct cache_stats cs = {0};
	struct http_stats hs = {0};
	const struct { const char *name, *type; uint64_t v; } rows[] = {
		{"scifs_lookups_total", "counter", atomic_load(&fs->count_lookups)},
		{"scifs_getattrs_total", "counter", atomic_load(&fs->count_getattrs)},
		{"scifs_listings_total", "counter", atomic_load(&fs->count_listings)},
		{"scifs_reads_total", "counter", atomic_load(&fs->count_reads)},
		{"scifs_read_bytes_total", "counter", atomic_load(&fs->count_read_bytes)},
		{"scifs_errors_total", "counter", atomic_load(&fs->count_errors)},
		{"scifs_read_waits", "gauge", atomic_load(&fs->read_waits)},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(rows) / sizeof(rows[0]); i++)
		r = buf_addf(b, "# TYPE %s %s\n%s %llu\n", rows[i].name, rows[i].type, rows[i].name, (unsigned long long)rows[i].v);
	cache_get_stats(fs->cache, &cs);
	if (fs->http)
		http_get_stats(fs->http, &hs);
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

int control_open(struct fs *fs, struct node *n, struct handle *h)
{
	struct control *c = n->control;
	struct doc d = {0};
	int r;

	buf_init(&h->text, 256u << 20);
	switch (c->kind) {
	case C_DOCUMENT:
		r = documents_get(fs, c->about, &d);
		if (r == 0)
			r = buf_add(&h->text, d.text, d.len);
		if (r == 0 && d.len && d.text[d.len - 1] != '\n')
			r = buf_addc(&h->text, '\n');
		doc_done(&d);
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
	default:
		r = -EISDIR;
	}
	WITH_LOCK(&fs->lock)
		c->size = h->text.len;
	return r;
}

int control_readlink(struct fs *fs, struct node *n, char **ret)
{
	return n->control->kind == C_LINK ? links_readlink(fs, n, ret) : -EINVAL;
}

void control_stat_locked(const struct node *n, struct stat *st)
{
	const struct control *c = n->control;
	struct timespec now = clock_wall();

	st->st_mode = n->dir ? S_IFDIR | 0555 : c->kind == C_LINK ? S_IFLNK | 0777 : S_IFREG | 0444;
	st->st_nlink = n->dir ? 2 : 1;
	st->st_size = n->dir ? 0 : (off_t)c->size;
	if (c->kind == C_EVENTS)
		st->st_size = (off_t)journal_size(n->fs->events);
	if (c->kind == C_ERRORS && c->about == n->fs->root)
		st->st_size = (off_t)journal_size(n->fs->errors);
	st->st_mtim = st->st_ctim = st->st_atim = c->kind == C_DOCUMENT ? c->about->object.mtime : now;
}
