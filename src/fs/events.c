/* events.c - the lines of .scifs/errors and .scifs/events: JSON objects, the oldest leave when there are too many. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/str.h"
#include "fs/private.h"

#define JOURNAL_MAX (1u << 20)
#define JOURNAL_CUT (JOURNAL_MAX / 4)   /* what leaves at once when it is full */

struct journal {
	pthread_mutex_t lock;
	struct buf text;
	uint64_t gone;                  /* bytes that left before text.data[0] */
};

static struct journal *journal_new(void)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (j) {
		pthread_mutex_init(&j->lock, NULL);
		buf_init(&j->text, JOURNAL_MAX);
	}
	return j;
}

static void journal_free(struct journal *j)
{
	if (!j)
		return;
	buf_done(&j->text);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

static void journal_line(struct journal *j, const struct buf *line)
{
	WITH_LOCK(&j->lock) {
		if (j->text.len + line->len > JOURNAL_MAX) {
			char *cut = j->text.len > JOURNAL_CUT ? strchr(j->text.data + JOURNAL_CUT, '\n') : NULL;
			size_t gone = cut ? (size_t)(cut + 1 - j->text.data) : j->text.len;

			memmove(j->text.data, j->text.data + gone, j->text.len - gone + 1);
			j->text.len -= gone;
			j->gone += gone;
		}
		(void)buf_add(&j->text, line->data, line->len);         /* a line that does not fit is dropped */
	}
}

static int member(struct buf *b, const char *key, const char *value)
{
	int r;

	if (!value)
		return 0;
	r = buf_addf(b, ", \"%s\": ", key);
	return r < 0 ? r : json_write_str(b, value);
}

static int begin(struct buf *b)
{
	char when[CLOCK_ISO_MAX];

	clock_format_iso(clock_wall(), when);
	return buf_addf(b, "{\"time\": \"%s\"", when);
}

/* Of something that has no name here any more, as it waits to be removed. Without a request. */
static char *path_of_removed(struct fs *fs, const char *id)
{
	_cleanup_free_ char *dir = NULL, *raw = NULL, *name = NULL, *in = NULL;
	_cleanup_(node_unrefp) struct node *parent = NULL;
	char *path = NULL;

	if (!fs->spool || spool_removal_of(fs->spool, id, &dir, &raw) < 0 || name_display(fs->config.names, raw, id, &name) < 0)
		return NULL;
	parent = node_by_id(fs, dir);
	if (parent && node_path(parent, &in) == 0)
		(void)str_fmt(&path, "%s/%s", strcmp(in, "/") == 0 ? "" : in, name);
	return path;
}

static void on_fault(void *arg, const struct fault *f)
{
	struct fs *fs = arg;
	_cleanup_buf_ struct buf b = BUF_MAX(16384);
	_cleanup_free_ char *path = NULL;
	struct node *n = f->id ? node_by_id(fs, f->id) : NULL;
	int r = begin(&b);

	if (n && node_path(n, &path) < 0)
		path = NULL;
	else if (!n && f->id)
		path = path_of_removed(fs, f->id);
	node_unref(n);
	atomic_fetch_add(&fs->count_errors, 1);
	if (r == 0)
		r = member(&b, "path", path);
	if (r == 0)
		r = member(&b, "id", f->id);
	if (r == 0)
		r = member(&b, "op", f->op);
	if (r == 0)
		r = buf_addf(&b, ", \"errno\": %d", f->err);
	if (r == 0 && f->status)
		r = buf_addf(&b, ", \"status\": %d", f->status);
	if (r == 0)
		r = member(&b, "class", f->class_);
	if (r == 0)
		r = member(&b, "message", f->message);
	if (r == 0)
		r = member(&b, "request", f->request);
	if (r == 0 && buf_adds(&b, "}\n") == 0)
		journal_line(fs->errors, &b);
}

void errors_add(struct fs *fs, const char *op, struct node *n, int err, const char *message)
{
	_cleanup_buf_ struct buf b = BUF_MAX(16384);
	_cleanup_free_ char *path = NULL;
	int r = begin(&b);

	if (n && node_path(n, &path) < 0)
		path = NULL;
	atomic_fetch_add(&fs->count_errors, 1);
	log_warn("%s: %s %s: %s: %s", fs->config.source, op, path ? path : "", strerror(-err), message);
	if (r == 0)
		r = member(&b, "path", path);
	if (r == 0)
		r = member(&b, "op", op);
	if (r == 0)
		r = buf_addf(&b, ", \"errno\": %d", -err);
	if (r == 0)
		r = member(&b, "message", message);
	if (r == 0 && buf_adds(&b, "}\n") == 0)
		journal_line(fs->errors, &b);
}

static void wake(void *arg)
{
	struct fs *fs = arg;

	spool_wake(fs->spool);
}

/* On the engine's thread: what may wait for a lock that is held over the disk is done elsewhere. */
static void on_host(void *arg, const char *origin, bool silent)
{
	struct fs *fs = arg;

	events_add(fs, silent ? "silent" : "answers", NULL, origin);
	if (!silent && fs->spool)
		(void)pool_add(fs->askers, wake, fs);   /* else it goes when its delay is over */
}

int events_init(struct fs *fs)
{
	fs->errors = journal_new();
	fs->events = journal_new();
	if (!fs->errors || !fs->events)
		return -ENOMEM;
	backend_set_fault_hook(on_fault, fs);
	if (fs->http)
		http_set_host_callback(fs->http, on_host, fs);
	return 0;
}

void events_done(struct fs *fs)
{
	backend_set_fault_hook(NULL, NULL);
	if (fs->http)
		http_set_host_callback(fs->http, NULL, NULL);
	journal_free(fs->errors);
	journal_free(fs->events);
	fs->errors = fs->events = NULL;
}

void events_add(struct fs *fs, const char *what, struct node *n, const char *detail)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_buf_ struct buf b = BUF_MAX(16384);
	int r = begin(&b);

	if (n && node_path(n, &path) < 0)
		path = NULL;
	if (r == 0)
		r = member(&b, "event", what);
	if (r == 0)
		r = member(&b, "path", path);
	if (r == 0)
		r = member(&b, "detail", detail);
	if (r == 0 && buf_adds(&b, "}\n") == 0)
		journal_line(fs->events, &b);
}

/* Does a line speak of this directory or of something below it? `start` is `"path": "/DIR` as member() writes it. */
static bool speaks_of(const char *line, size_t n, const char *start)
{
	const char *at = memmem(line, n, start, strlen(start));

	return at && (at[strlen(start)] == '/' || at[strlen(start)] == '"');
}

int journal_text(struct journal *j, const char *below, struct buf *ret)
{
	_cleanup_buf_ struct buf start = BUF_MAX(65536);
	int r = *below ? member(&start, "path", below) : 0;

	if (start.len)
		start.data[--start.len] = 0;    /* the quote that closes it */
	WITH_LOCK(&j->lock) {
		const char *p = buf_str(&j->text);

		while (*p && r == 0) {
			size_t n = strcspn(p, "\n") + 1;

			if (!*below || speaks_of(p, n, buf_str(&start)))
				r = buf_add(ret, p, n);
			p += n;
		}
	}
	return r;
}

uint64_t journal_begin(struct journal *j)
{
	uint64_t at = 0;

	WITH_LOCK(&j->lock)
		at = j->gone;
	return at;
}

int journal_read(struct journal *j, uint64_t begin, uint64_t offset, size_t n, struct buf *ret)
{
	int r = 0;

	WITH_LOCK(&j->lock) {
		uint64_t at = begin + offset;

		/* What left meanwhile is skipped: the reader was slower than a mebibyte of events. */
		at = at > j->gone ? at - j->gone : 0;
		if (at < j->text.len)
			r = buf_add(ret, j->text.data + at, n < j->text.len - at ? n : (size_t)(j->text.len - at));
	}
	return r;
}

size_t journal_size(struct journal *j)
{
	size_t n = 0;

	WITH_LOCK(&j->lock)
		n = j->text.len;
	return n;
}
