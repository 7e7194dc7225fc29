/* document.c - metadata documents written: opened, edited, handed to the server when they are closed.
 *
 * A handle keeps the document as it was when it was opened. From that and the texts that were read before, the one is found that the
 * writer's was made from (texts.c), so that the server's side can tell what the writer changed from what somebody else did. An empty text is never sent: it is what programs make on their way to a new one. What was refused stands
 * beside the document, as NAME.json.refused, until a later text is taken.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "fs/private.h"

#define DOCUMENT_MAX (32u << 20)        /* bytes of a document that is written: Girder's own limit is 16 MB */

bool document_is_writable_locked(const struct node *n)
{
	const struct control *c = n->control;

	return fs_can_write(n->fs) && n->fs->session->backend->set_doc && c->about->object.rights & RIGHT_WRITE;
}

/* What is written here is asked of the server at close, so the thing must be there. */
static int bring_to_server(struct fs *fs, struct node *about)
{
	bool local;

	WITH_LOCK(&fs->lock)
		local = node_is_local_locked(about);
	return local ? write_sync(fs, about, op_cancelled()) : 0;
}

int document_open_write(struct fs *fs, struct node *n, int flags, struct handle *h)
{
	_cleanup_(node_unrefp) struct node *about = control_about_ref(n);
	bool empty = flags & O_TRUNC, writable;
	int r;

	if (!fs_can_write(fs))
		return -EROFS;
	WITH_LOCK(&fs->lock)
		writable = document_is_writable_locked(n);
	if (!writable) {
		errors_add(fs, "open", n, -EACCES, fs->session->backend->set_doc ? "the server gives no right to change it" :
		           "documents of this repository cannot be written");
		return -EACCES;
	}
	r = bring_to_server(fs, about);
	if (r == 0)
		r = documents_get(fs, about, &h->base);
	if (r < 0)
		return r;
	WITH_LOCK(&fs->lock) {
		empty |= n->control->cut;
		n->control->cut = false;
	}
	buf_init(&h->text, DOCUMENT_MAX);
	if (empty)
		return 0;
	texts_given(fs->texts, about->ino, &h->base);
	r = buf_add(&h->text, h->base.text, h->base.len);
	if (r == 0 && h->base.len && h->base.text[h->base.len - 1] != '\n')
		r = buf_addc(&h->text, '\n');
	return r == -EMSGSIZE ? -EFBIG : r;
}

static int refused_name(struct node *n, char **ret)
{
	int r = 0;

	WITH_LOCK(&n->fs->lock)
		r = str_fmt(ret, "%s" SCRATCH_REFUSED, n->name);
	return r;
}

void document_keep_refused(struct fs *fs, struct node *n, const struct doc *text)
{
	_cleanup_free_ char *name = NULL;
	int r = refused_name(n, &name);

	if (r == 0 && strlen(name) > FS_NAME_MAX)
		r = -ENAMETOOLONG;
	if (r == 0)
		r = scratch_put(fs->scratches, n->parent->ino, name, text->text, text->len);
	if (r < 0)
		log_warn("%s: what was refused is not kept: %s", name ? name : "", strerror(-r));
}

void document_drop_refused(struct fs *fs, struct node *n)
{
	_cleanup_free_ char *name = NULL;

	if (refused_name(n, &name) == 0)
		(void)scratch_remove(fs->scratches, n->parent->ino, name);      /* there may be none */
}

static int check(struct fs *fs, struct node *n, const struct doc *now)
{
	_cleanup_(json_freep) struct json *j = NULL;
	int r = json_parse(now->text, now->len, &j);

	if (r == 0 && json_is_object(j))
		return 0;
	if (r == -ENOMEM)
		return r;
	errors_add(fs, "set_doc", n, -EINVAL, r == 0 ? "a document is a JSON object" : json_error());
	return -EINVAL;
}

static size_t trimmed(const struct doc *d)
{
	size_t n = d->len;

	while (n && (d->text[n - 1] == '\n' || d->text[n - 1] == ' '))
		n--;
	return n;
}

static bool same(const struct doc *a, const struct doc *b)
{
	size_t n = trimmed(a);

	return n == trimmed(b) && memcmp(a->text, b->text, n) == 0;
}

/* `fresh`: what the server had when it was opened. */
static int set(struct fs *fs, struct node *n, const struct doc *fresh, const struct doc *now)
{
	_cleanup_(node_unrefp) struct node *about = control_about_ref(n);
	_cleanup_free_ char *why = NULL;
	struct doc base = {0};
	struct object o = {0};
	int r = check(fs, n, now);

	if (r < 0) {
		document_keep_refused(fs, n, now);
		return r;
	}
	if (same(fresh, now)) {
		document_drop_refused(fs, n);
		return 0;
	}
	r = texts_base(fs->texts, about->ino, fresh, now, &base);
	if (r == 0)
		r = node_object(about, &o);
	if (r == 0)
		r = backend_set_doc(fs->session, &o, &base, now, &why);
	object_done(&o);
	doc_done(&base);
	if (r == 0)
		texts_written(fs->texts, about->ino, now);
	if (r == 0)
		document_drop_refused(fs, n);
	else
		document_keep_refused(fs, n, now);
	if (r == 0 || why)
		refusal_note(fs, about, r == 0 ? NULL : why);
	/* Also after a failure: what the server has now, only the server can tell. */
	documents_changed(fs, about);
	node_stale(fs, about);
	return r == -ESTALE ? -EBUSY : r;
}

int document_flush(struct fs *fs, struct handle *h)
{
	struct doc base = {0}, now = {0};
	int r = 0;

	WITH_LOCK(&h->lock) {
		if (!h->written || !h->text.len)
			return 0;
		h->written = false;
		now = (struct doc){.text = malloc(h->text.len + 1), .len = h->text.len};
		if (!now.text)
			return -ENOMEM;
		memcpy(now.text, h->text.data, now.len + 1);
		base = h->base;
		h->base = (struct doc){0};
	}
	if (!base.text) {
		/* Written once more through the same handle: over what the first time left. */
		_cleanup_(node_unrefp) struct node *about = control_about_ref(h->node);

		r = documents_get(fs, about, &base);
	}
	if (r == 0)
		r = set(fs, h->node, &base, &now);
	if (r < 0)
		WITH_LOCK(&h->lock)
			if (!h->base.text) {
				h->base = base;
				base = (struct doc){0};
			}
	doc_done(&base);
	doc_done(&now);
	return r;
}

int document_replace(struct fs *fs, struct node *n, const char *text, size_t len)
{
	struct handle h = {.node = n};
	struct doc now = {.text = (char *)text, .len = len};
	int r = len ? document_open_write(fs, n, O_TRUNC, &h) : -EINVAL;

	if (r == 0)
		r = set(fs, n, &h.base, &now);
	buf_done(&h.text);
	doc_done(&h.base);
	return r;
}
