/* verb.c - .scifs/action: a line written is an act of the mount, done before write(2) returns.
 *
 * Shells do not look at what close(2) says, so the act and its error belong to the write. What came of the last one is read from the
 * same file, as one JSON object.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "fs/private.h"

#define LINE_MAX_BYTES 8192             /* of a verb and its words: a path of 4 KiB, and some */

/* Each gets what follows the verb, and puts one line for a person into `said`, whatever came of it. */
static int verb_sync(struct fs *fs, const char *path, struct buf *said)
{
	_cleanup_(node_unrefp) struct node *n = NULL;
	int r = dir_walk(fs, path, &n);

	if (r < 0)
		(void)buf_addf(said, "%s: %s", path, strerror(-r));
	else if (fs->spool)
		r = write_sync(fs, n, op_cancelled());
	if (r == 0)
		(void)buf_adds(said, "all is at the server");
	else if (!said->len)
		(void)buf_adds(said, r == -EINTR ? "not all is at the server yet" : "not all could be brought to the server: see .scifs/uploads.json");
	return r;
}

static int verb_flush(struct fs *fs, const char *none, struct buf *said)
{
	if (fs->spool)
		spool_release_held(fs->spool);
	return buf_adds(said, "what was held back is sent now");
}

static int verb_remove(struct fs *fs, const char *path, struct buf *said)
{
	_cleanup_(node_unrefp) struct node *n = NULL;
	_cleanup_free_ char *why = NULL;
	int r = dir_walk(fs, path, &n);

	if (r == 0)
		r = change_remove_all(fs, n, op_cancelled(), &why);
	if (r < 0)
		(void)buf_addf(said, "%s: %s", path, why ? why : r == -ENOTSUP ? "this server has no such request: rm -r removes one by one" : strerror(-r));
	else
		(void)buf_adds(said, "it is removed, with all that was in it");
	return r;
}

static int verb_refresh(struct fs *fs, const char *path, struct buf *said)
{
	_cleanup_(node_unrefp) struct node *n = NULL;
	int r = dir_walk(fs, path, &n);

	if (r < 0) {
		(void)buf_addf(said, "%s: %s", path, strerror(-r));
		return r;
	}
	documents_drop(fs, n);
	dir_drop(fs, n);
	return buf_adds(said, "the next look asks the server");
}

static int no_such(const char *id, struct buf *said)
{
	(void)buf_addf(said, "no upload has the id %s: see .scifs/uploads.json", id);
	return -ENOENT;
}

static bool is_shelved(struct draft *d)
{
	struct draft_info i;

	draft_info(d, &i);
	return i.state == DRAFT_REFUSED || i.state == DRAFT_CONFLICT;
}

static int retry_all(struct fs *fs, struct buf *said)
{
	struct drafts all = {0};
	unsigned n = 0;
	struct removals gone = {0};
	int r = fs->spool ? spool_drafts(fs->spool, NULL, &all) : 0;

	if (r == 0 && fs->spool)
		r = spool_removals(fs->spool, &gone);
	for (size_t i = 0; r == 0 && i < all.list.n; i++)
		if (is_shelved(all.list.at[i])) {
			r = draft_retry(all.list.at[i]);
			n += r == 0;
		}
	for (size_t i = 0; r == 0 && i < gone.list.n; i++)
		if (gone.list.at[i].state == REMOVAL_REFUSED) {
			r = spool_removal_retry(fs->spool, gone.list.at[i].id);
			n += r == 0;
			r = r == -ENOENT ? 0 : r;       /* over meanwhile */
		}
	drafts_done(&all);
	removals_done(&gone);
	(void)buf_addf(said, "%u %s tried again", n, n == 1 ? "upload is" : "uploads are");
	return r;
}

static int verb_retry(struct fs *fs, const char *id, struct buf *said)
{
	struct draft *d;
	uint64_t n;
	int r;

	if (strcmp(id, "all") == 0)
		return retry_all(fs, said);
	if (!fs->spool || str_parse_u64(id, &n) < 0)
		return no_such(id, said);
	d = spool_draft(fs->spool, n);
	r = d ? draft_retry(d) : spool_removal_retry(fs->spool, n);
	if (!d && r == -ENOENT)
		return no_such(id, said);
	draft_unref(d);
	(void)buf_addf(said, "upload %s %s", id, r == 0 ? "is tried again" : "cannot be tried again");
	return r;
}

static int verb_drop(struct fs *fs, const char *id, struct buf *said)
{
	struct draft *d;
	uint64_t n;
	int r;

	if (!fs->spool || str_parse_u64(id, &n) < 0)
		return no_such(id, said);
	d = spool_draft(fs->spool, n);
	r = d ? draft_give_up(d, op_cancelled()) : spool_removal_drop(fs->spool, n, op_cancelled());
	if (!d && r == -ENOENT)
		return no_such(id, said);
	(void)buf_addf(said, "upload %s %s", id, r < 0 ? "cannot be given up" : d ? "is given up, its content is deleted" : "is given up: the file stays");
	draft_unref(d);
	return r;
}

static int verb_drain(struct fs *fs, const char *seconds, struct buf *said)
{
	uint64_t ms;

	if (str_parse_duration(seconds, &ms) < 0 || ms > UINT_MAX) {
		(void)buf_addf(said, "\"%s\" is no time", seconds);
		return -EINVAL;
	}
	atomic_store(&fs->drain_ms, (unsigned)ms);
	return buf_addf(said, "what is owed is sent for %llu s after the unmount", (unsigned long long)ms / 1000);
}

static const struct verb {
	const char *name, *words;
	bool wants;             /* it needs a word */
	int (*run)(struct fs *fs, const char *rest, struct buf *said);
} verbs[] = {
	{"sync", "[PATH]", false, verb_sync}, {"flush", "", false, verb_flush}, {"retry", "ID|all", true, verb_retry},
	{"drop", "ID", true, verb_drop}, {"refresh", "[PATH]", false, verb_refresh},
	{"remove", "PATH", true, verb_remove}, {"drain", "SECONDS", true, verb_drain},
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct verb *verb_named(const char *name, size_t n)
{
	for (size_t i = 0; i < VERBS; i++)
		if (strlen(verbs[i].name) == n && strncmp(verbs[i].name, name, n) == 0)
			return &verbs[i];
	return NULL;
}

/* A backend's own, of the directory that `action` is about. */
static int run_backends(struct fs *fs, struct node *n, const struct backend_control *b, const char *rest, struct buf *said)
{
	_cleanup_(node_unrefp) struct node *about = control_about_ref(n);
	_cleanup_free_ char *path = NULL;
	int r;

	/* Of a repository whose contents cannot be written nothing is owed that the mount's verb would have to end first. */
	if (!b->same_as || (!fs_can_write(fs) && papers_act(fs)))
		return papers_run_verb(fs, n, b, rest, said);
	if (*rest) {
		(void)buf_addf(said, "write: %s", b->name);
		return -EINVAL;
	}
	r = node_path(about, &path);
	return r < 0 ? r : verb_named(b->same_as, strlen(b->same_as))->run(fs, path, said);
}

static int run(struct fs *fs, struct node *n, const char *line, struct buf *said)
{
	size_t len = strcspn(line, " ");
	const char *rest = line + len + (line[len] == ' ');     /* a path may begin with a blank, and hold newlines */
	bool root = n->control->about == fs->root;
	const struct verb *v = root ? verb_named(line, len) : NULL;
	const struct backend_control *b = v ? NULL : papers_verb(fs, n->control->about, line, len);

	if (b)
		return run_backends(fs, n, b, rest, said);
	if (v && ((v->wants && !*rest) || (!*v->words && *rest))) {
		(void)buf_addf(said, "write: %s %s", v->name, v->words);
		return -EINVAL;
	}
	if (v)
		return v->run(fs, rest, said);
	(void)buf_adds(said, "no such verb; there are:");
	for (size_t i = 0; i < VERBS && root; i++)
		(void)buf_addf(said, " %s", verbs[i].name);
	for (b = fs->session->backend->controls; b && b->name; b++)
		if (papers_verb(fs, n->control->about, b->name, strlen(b->name)) == b)
			(void)buf_addf(said, " %s", b->name);
	return -EINVAL;
}

static void reply(struct fs *fs, struct node *n, const char *line, int r, const char *said)
{
	_cleanup_buf_ struct buf b = BUF_MAX(4 * LINE_MAX_BYTES + 16384);

	if (buf_adds(&b, "{\"verb\": ") < 0 || json_write_str(&b, line) < 0 || buf_addf(&b, ", \"errno\": %d, \"message\": ", -r) < 0 ||
	    json_write_str(&b, said) < 0 || buf_adds(&b, "}\n") < 0)
		return;         /* only the echo of what write(2) has said */
	control_reply_set(fs, n, buf_str(&b), b.len);
}

int verb_write(struct fs *fs, struct node *n, const char *text, size_t len)
{
	_cleanup_buf_ struct buf said = BUF_MAX(2 * LINE_MAX_BYTES);
	_cleanup_free_ char *line = NULL;
	int r;

	if (len > LINE_MAX_BYTES)
		return -EINVAL;
	if (len && text[len - 1] == '\n')
		len--;
	if (!len)
		return 0;       /* echo > action */
	line = strndup(text, len);
	if (!line)
		return -ENOMEM;
	if (strlen(line) != len) {
		(void)buf_adds(&said, "a verb has no NUL");
		r = -EINVAL;
	} else {
		r = run(fs, n, line, &said);
	}
	reply(fs, n, line, r < 0 ? r : 0, buf_str(&said));
	if (r < 0)
		errors_add(fs, "action", n, r, buf_str(&said));
	return r < 0 ? r : 0;
}
