/* saved.c - expressions kept under a name: search/NAME.json is the text of one, search/NAME/ what it finds.
 *
 * For what is longer than a name can be, or is edited. The texts are a store of scratch files (scratch.c) of their own: in memory and for
 * this mount only. One is handed over whole when it is closed, once the backend has found no fault with it; until then the last one stands. Each
 * is an edition with a number of its own, and what was found (links.c) is of one edition: so a new text is asked anew.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "fs/private.h"

#define EXTENSION ".json"
#define OPERATORS "=<>;{"
#define BLANKS " \t\r\n\v\f"

/* ---- names; pure ---- */

/* Text tools make a name of a fixed beginning and letters that are drawn: one without a capital, digit or underscore is a word. */
static bool is_drawn(const char *name)
{
	static const struct { const char *begin; size_t n; } tools[] = {{"sed", 6}, {"tmp", 8}, {".goutputstream-", 6}};

	for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
		const char *p = name + strlen(tools[i].begin);
		bool drawn = false;

		if (!str_starts(name, tools[i].begin) || strlen(p) != tools[i].n)
			continue;
		for (; isalnum((unsigned char)*p) || *p == '_'; p++)
			drawn |= !islower((unsigned char)*p);
		if (drawn && !*p)
			return true;
	}
	return false;
}

bool saved_is_name(const char *name)
{
	size_t n = strlen(name), stem = n - strlen(EXTENSION);

	return n > strlen(EXTENSION) && control_is_document(name) && *name != '.' && !strpbrk(name, OPERATORS BLANKS) &&
	       !(stem > strlen(EXTENSION) && strncmp(name + stem - strlen(EXTENSION), EXTENSION, strlen(EXTENSION)) == 0);
}

bool saved_is_expression(const char *name)
{
	enum name_fate fate = spool_name_fate(name);

	if (strpbrk(name, OPERATORS))
		return fate != NAME_NEVER;
	return fate != NAME_NEVER && fate != NAME_HELD && !is_drawn(name) && (!strstr(name, EXTENSION) || strpbrk(name, BLANKS));
}

int saved_expression(const char *text, size_t n, char **ret, const char **why)
{
	if (memchr(text, 0, n)) {
		*why = "a zero byte is in it";
		return -EINVAL;
	}
	while (n && strchr(BLANKS, text[n - 1]))
		n--;
	while (n && strchr(BLANKS, *text)) {
		text++;
		n--;
	}
	if (!n) {
		*why = "nothing to search for: the text is blank";
		return -EINVAL;
	}
	*ret = strndup(text, n);
	return *ret ? 0 : -ENOMEM;
}

/* ---- what there is ---- */

/* Takes over the reference of x. */
static int enter(struct fs *fs, struct node *parent, const char *name, struct scratch *x, struct node **ret)
{
	return control_enter_scratch(fs, parent, name, C_SAVED, parent->control->about, NULL, x, ret);
}

static bool has_text(struct scratch *x)
{
	return scratch_edition(x);
}

static int document_name(const char *name, char **ret)
{
	return str_fmt(ret, "%s" EXTENSION, name);
}

int saved_lookup(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	_cleanup_free_ char *document = NULL;
	struct scratch *x;
	int r;

	if (saved_is_name(name)) {
		x = scratch_find(fs->saved, parent->ino, name);
		return x ? enter(fs, parent, name, x, ret) : -ENOENT;
	}
	r = document_name(name, &document);
	if (r < 0)
		return r;
	x = saved_is_name(document) ? scratch_find(fs->saved, parent->ino, document) : NULL;
	if (x && has_text(x))
		return control_enter_scratch(fs, parent, name, C_QUERY, parent->control->about, "", x, ret);
	scratch_unref(x);
	return -ENOENT;
}

/* NAME.json is there, or is not, or has another text: the kernel may still know the directory that NAME/ was. */
static void renew(struct fs *fs, struct node *dir, const char *document)
{
	_cleanup_free_ char *name = strndup(document, strlen(document) - strlen(EXTENSION));
	struct node *n;

	if (name && (saved_lookup(fs, dir, name, &n) == 0 || links_enter_typed(fs, dir, name, &n) == 0))
		node_unref(n);
}

int saved_remove(struct fs *fs, struct node *parent, const char *name)
{
	int r = scratch_remove(fs->saved, parent->ino, name);

	if (r == 0)
		renew(fs, parent, name);
	return r;
}

int saved_list(struct fs *fs, struct node *n, struct handle *h)
{
	char *names[SCRATCH_COUNT];
	size_t count = scratch_names(fs->saved, n->ino, names);
	int r = 0;

	for (size_t i = 0; i < count; i++) {
		struct node *e;

		if (r == 0 && saved_lookup(fs, n, names[i], &e) == 0)
			r = control_list_add(h, e, names[i]);
		names[i][strlen(names[i]) - strlen(EXTENSION)] = 0;
		if (r == 0 && saved_lookup(fs, n, names[i], &e) == 0)
			r = control_list_add(h, e, names[i]);
		free(names[i]);
	}
	return r;
}

int saved_create(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	struct scratch *x;
	int r = scratch_make(fs->saved, parent->ino, name, &x);

	return r < 0 ? r : enter(fs, parent, name, x, ret);
}

static struct scratch *text_of(struct fs *fs, struct node *n)
{
	struct scratch *x;

	WITH_LOCK(&fs->lock)
		x = scratch_ref(n->control->scratch);
	return x;
}

int saved_open(struct fs *fs, struct node *n, struct handle *h)
{
	h->scratch = text_of(fs, n);
	return scratch_read(h->scratch, 0, SAVED_MAX, &h->text);
}

/* ---- a text is handed over ---- */

static int check(struct fs *fs, struct node *n, const void *text, size_t len)
{
	_cleanup_(node_unrefp) struct node *about = control_about_ref(n);
	_cleanup_free_ char *expr = NULL, *words = NULL;
	const char *why = NULL;
	struct object o = {0};
	int r = saved_expression(text, len, &expr, &why);

	if (r == -EINVAL)
		errors_add(fs, "query", n, r, why);
	if (r == 0)
		r = node_object(about, &o);
	if (r == 0)
		r = backend_check_query(fs->session, &o, expr, &words);
	object_done(&o);
	if (r != -ENOENT)
		return r;
	errors_add(fs, "query", n, -EINVAL, words ? words : "it is no expression");
	return -EINVAL;
}

/* One that has never had a text is only what programs make on their way to it. */
static void drop_if_empty(struct fs *fs, struct node *n, struct scratch *x)
{
	struct scratch *there = NULL;

	if (!has_text(x) && (there = scratch_find(fs->saved, n->parent->ino, n->name)) == x)
		(void)scratch_remove(fs->saved, n->parent->ino, n->name);       /* else somebody was quicker */
	scratch_unref(there);
}

static int hand_over(struct fs *fs, struct node *n, struct scratch *x, const void *text, size_t len)
{
	int r = check(fs, n, text, len);

	if (r == 0)
		r = scratch_set(x, text, len);
	if (r < 0) {
		drop_if_empty(fs, n, x);
		return r;
	}
	renew(fs, n->parent, n->name);
	document_drop_refused(fs, n);
	return 0;
}

int saved_flush(struct fs *fs, struct handle *h)
{
	_cleanup_buf_ struct buf text = BUF_MAX(SAVED_MAX);
	int r = 0;

	WITH_LOCK(&h->lock) {
		if (h->written)
			r = buf_add(&text, buf_str(&h->text), h->text.len);
		if (r == 0)
			h->written = false;
	}
	if (r < 0 || !text.len)
		return r;
	r = hand_over(fs, h->node, h->scratch, text.data, text.len);
	if (r < 0)
		document_keep_refused(fs, h->node, &(struct doc){.text = text.data, .len = text.len});
	return r;
}

/* ---- rename ---- */

static int take_scratch(struct fs *fs, struct node *from, const char *name, struct node *n, struct node *to, const char *new_name, struct node *over)
{
	_cleanup_(node_unrefp) struct node *made = NULL;
	_cleanup_buf_ struct buf text = BUF_MAX(SAVED_MAX);
	struct scratch *x = text_of(fs, n);
	int r = scratch_read(x, 0, SCRATCH_MAX, &text);

	scratch_unref(x);
	if (r == 0 && !text.len)
		r = -EINVAL;
	if (r == 0 && !over)
		r = saved_create(fs, to, new_name, &made);
	if (r < 0)
		return r == -EMSGSIZE ? -EFBIG : r;
	if (!over)
		over = made;
	x = text_of(fs, over);
	r = hand_over(fs, over, x, text.data, text.len);
	scratch_unref(x);
	if (r == 0)
		(void)scratch_remove(fs->scratches, from->ino, name);
	return r;
}

int saved_rename(struct fs *fs, struct node *from, const char *name, struct node *n, struct node *to, const char *new_name, struct node *over)
{
	bool is = to->control->kind == C_SEARCH && saved_is_name(new_name);
	_cleanup_buf_ struct buf text = BUF_MAX(SAVED_MAX);
	struct scratch *x;
	int r;

	if (n->control->kind == C_SCRATCH)
		return is ? take_scratch(fs, from, name, n, to, new_name, over) : -EPERM;
	if (n->control->kind != C_SAVED || (over && over->control->kind != (is ? C_SAVED : C_SCRATCH)))
		return -EPERM;
	if (is) {
		r = scratch_rename(fs->saved, from->ino, name, to->ino, new_name);
		if (r == 0) {
			renew(fs, from, name);
			renew(fs, to, new_name);
		}
		return r;
	}
	/* It becomes a file beside the others: what an editor keeps of it. */
	x = text_of(fs, n);
	r = scratch_read(x, 0, SAVED_MAX, &text);
	scratch_unref(x);
	if (r == 0)
		r = scratch_put(fs->scratches, to->ino, new_name, buf_str(&text), text.len);
	return r < 0 ? r : saved_remove(fs, from, name);
}
