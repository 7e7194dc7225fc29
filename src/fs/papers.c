/* papers.c - what a backend has of its own below .scifs: documents, texts that act, links, and directories of these.
 *
 * A paper's node carries its path below `.scifs`, in file names; the backend is asked with the raw ones. What it said is believed for
 * a second, and not after anything was written here. A document that was created and has no text yet is only ours: an empty
 * scratch file of its name stands for it until it is closed with a text, which makes it at the server, or is removed. What was
 * refused stands beside it, as with other documents (document.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/str.h"
#include "fs/private.h"

#define BELIEVED_MS 1000
#define WORD_MAX (64u << 10)            /* bytes of a text that acts in write(2) */

struct paper_state {                    /* fields are all (L) */
	bool writable, secret;
	bool made;                      /* here only: it has no text yet */
	struct doc text;                /* what it said at text_at, when fs->papers was `stamp` */
	uint64_t text_at;
	struct papers known;            /* a directory's: what it held at known_at */
	uint64_t known_at;
	unsigned stamp;
	uint64_t hash;                  /* of the text that was read last, whose time is mtime; 0: none was */
	struct timespec mtime;
};

void paper_free(struct paper_state *p)
{
	if (!p)
		return;
	doc_done(&p->text);
	papers_done(&p->known);
	free(p);
}

bool papers_act(const struct fs *fs)
{
	return fs->config.acts && backend_has_papers(fs->session);
}

/* ---- paths ---- */

struct path {
	char *names[PAPERS_DEPTH + 1];
};

static void path_done(struct path *p)
{
	for (size_t i = 0; i < PAPERS_DEPTH; i++)
		free(p->names[i]);
}

static const char *const *names_of(const struct path *p)
{
	return (const char *const *)p->names;
}

/* `text`: file names with slashes between. -ENOENT: no raw names are shown so. */
static int path_parse(const char *text, struct path *ret)
{
	_cleanup_(cleanup_freep) char **parts = NULL;
	int r = str_split(text, '/', &parts);

	*ret = (struct path){0};
	for (size_t i = 0; r == 0 && parts[i]; i++)
		r = i < PAPERS_DEPTH ? name_raw(FS_NAMES_SCIFS, parts[i], &ret->names[i]) : -ENOENT;
	if (r < 0)
		path_done(ret);
	return r == -EINVAL ? -ENOENT : r;
}

/* The path of a name in a control directory: that of `.scifs` itself is empty. */
static int path_text(struct node *parent, const char *name, char **ret)
{
	int r = 0;

	WITH_LOCK(&parent->fs->lock)
		r = parent->control->kind == C_PAPERS ? str_fmt(ret, "%s/%s", parent->control->text, name) : str_dup(name, ret);
	return r;
}

/* What the backend is asked with, of a paper's node, or of a name in a directory of them. */
struct asked {
	struct path path;
	struct object about;
};

static void asked_done(struct asked *a)
{
	path_done(&a->path);
	object_done(&a->about);
}

static int ask_path(struct node *n, const char *text, struct asked *ret)
{
	_cleanup_(node_unrefp) struct node *about = control_about_ref(n);
	int r;

	*ret = (struct asked){0};
	r = path_parse(text, &ret->path);
	if (r == 0)
		r = node_object(about, &ret->about);
	if (r < 0)
		asked_done(ret);
	return r;
}

static int ask_node(struct node *n, struct asked *ret)
{
	_cleanup_free_ char *text = NULL;
	int r = 0;

	WITH_LOCK(&n->fs->lock)
		r = str_dup(n->control->text, &text);
	return r < 0 ? r : ask_path(n, text, ret);
}

static int ask_name(struct node *parent, const char *name, struct asked *ret)
{
	_cleanup_free_ char *text = NULL;
	int r = path_text(parent, name, &text);

	return r < 0 ? r : ask_path(parent, text, ret);
}

/* ---- what there is ---- */

static struct paper_state *state_locked(struct node *n)
{
	struct control *c = n->control;

	if (!c->paper) {
		c->paper = calloc(1, sizeof(*c->paper));
		if (c->paper)
			c->paper->mtime.tv_sec = n->fs->mounted_at;
	}
	return c->paper;
}

static int enter(struct fs *fs, struct node *parent, const char *name, const struct paper *p, bool made, struct node **ret)
{
	static const enum control_kind kinds[] = {
		[CONTROL_DOC] = C_PAPER, [CONTROL_TEXT] = C_WORD, [CONTROL_PAPERS] = C_PAPERS, [CONTROL_LINK] = C_LINK,
	};
	_cleanup_free_ char *text = NULL;
	int r;

	if (p->act > CONTROL_LINK || p->act < CONTROL_DOC)
		return -ENOENT;
	r = p->act == CONTROL_LINK ? str_dup(p->below ? p->below : p->target, &text) : path_text(parent, name, &text);
	if (r == 0)
		r = control_enter(fs, parent, name, kinds[p->act], parent->control->about, text, ret);
	if (r == 0 && p->act == CONTROL_LINK)
		WITH_LOCK(&fs->lock)
			(*ret)->control->below = p->below;
	if (r < 0 || p->act == CONTROL_LINK)
		return r;
	WITH_LOCK(&fs->lock) {
		struct paper_state *s = state_locked(*ret);

		if (!s) {
			r = -ENOMEM;
			break;
		}
		s->writable = p->writable;
		s->secret = p->secret;
		s->made = made;
	}
	if (r < 0)
		node_unref(*ret);
	return r;
}

static bool believed_locked(const struct fs *fs, const struct paper_state *s, uint64_t at)
{
	return at && s->stamp == atomic_load(&fs->papers_stamp) && fs_now_age(at) <= BELIEVED_MS;
}

/* From what the directory held a moment ago: 1 and a copy, -ENOENT, or 0: that is not known. */
static int find_known(struct fs *fs, struct node *parent, const char *raw, struct paper *ret)
{
	int r = 0;

	WITH_LOCK(&fs->lock) {
		struct paper_state *s = parent->control->paper;

		if (!s || !believed_locked(fs, s, s->known_at))
			break;
		r = -ENOENT;
		for (size_t i = 0; i < s->known.list.n && r == -ENOENT; i++) {
			const struct paper *p = &s->known.list.at[i];

			if (strcmp(p->name, raw) != 0)
				continue;
			*ret = *p;
			ret->name = ret->target = ret->below = NULL;
			r = str_dup(p->name, &ret->name) < 0 || str_dup(p->target, &ret->target) < 0 ||
			    str_dup(p->below, &ret->below) < 0 ? -ENOMEM : 1;
		}
	}
	return r;
}

static const char *last_name(const struct path *p)
{
	size_t i = 0;

	while (p->names[i + 1])
		i++;
	return p->names[i];
}

static bool has_placeholder(struct fs *fs, struct node *parent, const char *name)
{
	struct scratch *x = scratch_find(fs->scratches, parent->ino, name);

	scratch_unref(x);
	return x;
}

int papers_lookup(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	struct asked a;
	struct paper p = {0};
	int r = ask_name(parent, name, &a);

	if (r < 0)
		return r;
	r = parent->control->kind == C_PAPERS ? find_known(fs, parent, last_name(&a.path), &p) : 0;
	if (r == 0)
		r = backend_paper_stat(fs->session, &a.about, names_of(&a.path), &p);
	if (r >= 0) {
		if (control_is_document(name))
			(void)scratch_remove(fs->scratches, parent->ino, name); /* it is there now, by whomsoever */
		r = enter(fs, parent, name, &p, false, ret);
	} else if (r == -ENOENT && control_is_document(name) && has_placeholder(fs, parent, name)) {
		r = enter(fs, parent, name, &(struct paper){.act = CONTROL_DOC, .writable = true}, true, ret);
	}
	paper_done(&p);
	asked_done(&a);
	return r;
}

/* One entry of a listing; what an editor has put there under the same name hides it. */
static int list_one(struct fs *fs, struct node *n, const struct paper *p, struct handle *h)
{
	_cleanup_free_ char *name = NULL, *raw = NULL;
	struct node *e;
	int r = name_display(FS_NAMES_SCIFS, p->name, "", &name);

	if (r < 0)
		return r;
	/* One that was cut could not be asked for again. */
	if (strlen(name) > FS_NAME_MAX || name_raw(FS_NAMES_SCIFS, name, &raw) < 0 || strcmp(raw, p->name) != 0) {
		log_warn("%s: a control of too long a name is not listed", fs->session->origin);
		return 0;
	}
	if (control_is_document(name))
		(void)scratch_remove(fs->scratches, n->ino, name);
	else if (has_placeholder(fs, n, name))
		return 0;
	r = enter(fs, n, name, p, false, &e);
	return r < 0 ? r : control_list_add(h, e, name);
}

int papers_list(struct fs *fs, struct node *n, struct handle *h)
{
	struct asked a;
	struct papers all = {0};
	unsigned stamp = atomic_load(&fs->papers_stamp);
	uint64_t at = clock_mono_ms();
	int r = ask_node(n, &a);

	if (r < 0)
		return r;
	r = backend_paper_list(fs->session, &a.about, names_of(&a.path), &all);
	asked_done(&a);
	for (size_t i = 0; r == 0 && i < all.list.n; i++)
		r = list_one(fs, n, &all.list.at[i], h);
	WITH_LOCK(&fs->lock) {
		struct paper_state *s = r == 0 ? state_locked(n) : NULL;

		if (s) {
			struct papers was = s->known;

			s->known = all;
			s->known_at = at;
			s->stamp = stamp;
			all = was;
		}
	}
	papers_done(&all);
	return r;
}

/* ---- reading ---- */

/* Its time is that at which its text was seen to be another one: editors look at it. */
static void note_text_locked(struct paper_state *s, const struct buf *text)
{
	uint64_t hash = digest_xxh3_64(buf_str(text), text->len) | 1;

	if (s->hash && s->hash != hash)
		s->mtime = clock_wall();
	s->hash = hash;
}

static int reply_of(struct fs *fs, struct node *n, struct buf *ret)
{
	struct scratch *x = scratch_find(fs->replies, n->ino, SCRATCH_REFUSED);
	int r = x ? scratch_read(x, 0, SCRATCH_MAX, ret) : -ENODATA;

	scratch_unref(x);
	return r;
}

void control_reply_set(struct fs *fs, struct node *n, const char *text, size_t len)
{
	/* The oldest reply leaves when there are many, as what was refused does: hence the name. */
	if (len && scratch_put(fs->replies, n->ino, SCRATCH_REFUSED, text, len) < 0)
		log_debug("an answer is not kept: it is too long");
}

int control_reply(struct fs *fs, struct node *n, struct buf *ret)
{
	return reply_of(fs, n, ret);
}

static int end_line(struct buf *b)
{
	return b->len && b->data[b->len - 1] != '\n' ? buf_addc(b, '\n') : 0;
}

int paper_text(struct fs *fs, struct node *n, struct buf *ret)
{
	struct asked a;
	unsigned stamp = atomic_load(&fs->papers_stamp);
	uint64_t at = clock_mono_ms();
	bool done = false, secret = false, made = false;
	int r = 0;

	buf_init(ret, PAPER_READ_MAX);
	WITH_LOCK(&fs->lock) {
		struct paper_state *s = n->control->paper;

		made = s->made;
		secret = s->secret;
		done = made || believed_locked(fs, s, s->text_at);
		if (done && !made)
			r = buf_add(ret, s->text.text, s->text.len);
	}
	if (done || r < 0)
		return r;
	r = ask_node(n, &a);
	if (r < 0)
		return r;
	r = backend_paper_read(fs->session, &a.about, names_of(&a.path), ret);
	asked_done(&a);
	if (secret)
		atomic_fetch_add(&fs->papers_stamp, 1);         /* it may have been there this once */
	if (r == -ENODATA) {
		buf_clear(ret);
		r = reply_of(fs, n, ret);
		r = r == -ENODATA ? 0 : r;
	}
	if (r == 0)
		r = end_line(ret);
	if (r < 0 || secret)
		return r;
	WITH_LOCK(&fs->lock) {
		struct paper_state *s = n->control->paper;
		struct doc text = {0};

		note_text_locked(s, ret);
		if (ret->len > PAPER_MAX || doc_copy(&(struct doc){.text = (char *)buf_str(ret), .len = ret->len}, &text) < 0)
			break;          /* it is asked for again next time */
		doc_done(&s->text);
		s->text = text;
		s->text_at = at;
		s->stamp = stamp;
	}
	return r;
}

bool paper_is_secret(struct node *n)
{
	bool secret;

	WITH_LOCK(&n->fs->lock)
		secret = n->control->paper->secret;
	return secret;
}

/* ---- writing ---- */

/* The backend's word, before a byte is accepted. */
static int check(struct fs *fs, struct node *n, const struct asked *a, enum paper_act act, bool writable)
{
	int r = papers_act(fs) ? backend_paper_check(fs->session, &a->about, names_of(&a->path), act) : -EROFS;

	if (r == 0 && !writable) {
		errors_add(fs, "open", n, -EACCES, "this cannot be written");
		r = -EACCES;
	}
	return r;
}

static int check_write(struct fs *fs, struct node *n)
{
	bool writable = false, made = false;
	struct asked a;
	int r = ask_node(n, &a);

	if (r < 0)
		return r;
	WITH_LOCK(&fs->lock) {
		writable = n->control->paper->writable;
		made = n->control->paper->made;
	}
	r = check(fs, n, &a, made ? PAPER_MAKE : PAPER_WRITE, writable);
	asked_done(&a);
	return r;
}

int paper_open_write(struct fs *fs, struct node *n, int flags, struct handle *h)
{
	bool empty = flags & O_TRUNC;
	int r = check_write(fs, n);

	if (r < 0)
		return r;
	if (n->control->kind == C_WORD)
		empty |= (flags & O_ACCMODE) == O_WRONLY;
	WITH_LOCK(&fs->lock) {
		empty |= n->control->cut;
		n->control->cut = false;
	}
	if (!empty)
		r = paper_text(fs, n, &h->text);
	h->text.max = PAPER_MAX;
	return r;
}

/* Something was written: what is known of papers, and of what they are about, may have changed. A verb may have moved or removed it. */
static void look_anew(struct fs *fs, struct node *n, bool around)
{
	_cleanup_(node_unrefp) struct node *about = control_about_ref(n), *parent = NULL;

	atomic_fetch_add(&fs->papers_stamp, 1);
	documents_changed(fs, about);
	node_stale(fs, about);
	dir_drop(fs, about);
	WITH_LOCK(&fs->lock)
		parent = around && about->parent ? node_ref_locked(about->parent) : NULL;
	if (parent)
		dir_drop(fs, parent);
}

static int send_text(struct fs *fs, struct node *n, const struct asked *a, const struct buf *text)
{
	_cleanup_buf_ struct buf answer = BUF_MAX(PAPER_MAX);
	int r = backend_paper_write(fs->session, &a->about, names_of(&a->path), text, &answer, NULL);

	if (r == 0)
		control_reply_set(fs, n, buf_str(&answer), answer.len);
	look_anew(fs, n, false);
	return r == -ESTALE ? -EBUSY : r;
}

/* A document whole: what is refused is kept beside it. */
static int send_document(struct fs *fs, struct node *n, const struct buf *text)
{
	_cleanup_free_ char *name = NULL;
	struct doc now = {.text = (char *)buf_str(text), .len = text->len};
	struct asked a;
	bool made = false;
	int r = ask_node(n, &a);

	if (r < 0)
		return r;
	r = send_text(fs, n, &a, text);
	asked_done(&a);
	WITH_LOCK(&fs->lock) {
		struct paper_state *s = n->control->paper;

		(void)str_dup(n->name, &name);
		made = s->made;
		if (r == 0) {
			s->made = false;
			s->mtime = clock_wall();
			s->hash = 0;
		}
	}
	if (made && name)
		(void)scratch_remove(fs->scratches, n->parent->ino, name);
	if (r == 0)
		document_drop_refused(fs, n);
	else
		document_keep_refused(fs, n, &now);
	return r;
}

int paper_flush(struct fs *fs, struct handle *h)
{
	_cleanup_buf_ struct buf text = BUF_MAX(PAPER_MAX);
	bool written = false;
	int r = 0;

	WITH_LOCK(&h->lock) {
		written = h->written && h->text.len;    /* an empty one is what programs make on their way to another */
		if (written)
			r = buf_add(&text, h->text.data, h->text.len);
		if (r == 0 && written)
			h->written = false;
	}
	return r < 0 || !written ? r : send_document(fs, h->node, &text);
}

int paper_replace(struct fs *fs, struct node *n, const char *text, size_t len)
{
	_cleanup_buf_ struct buf b = BUF_MAX(PAPER_MAX);
	int r = len ? check_write(fs, n) : -EINVAL;

	if (r == 0)
		r = buf_add(&b, text, len);
	if (r < 0)
		return r == -EMSGSIZE ? -EFBIG : r;
	return n->control->kind == C_WORD ? paper_word(fs, n, text, len) : send_document(fs, n, &b);
}

int paper_word(struct fs *fs, struct node *n, const char *text, size_t len)
{
	_cleanup_buf_ struct buf b = BUF_MAX(WORD_MAX);
	struct asked a;
	int r;

	if (len && text[len - 1] == '\n')
		len--;
	r = buf_add(&b, text, len);
	if (r < 0)
		return r == -EMSGSIZE ? -EFBIG : r;
	r = ask_node(n, &a);
	if (r < 0)
		return r;
	r = send_text(fs, n, &a, &b);
	asked_done(&a);
	return r;
}

int paper_create(struct fs *fs, struct node *parent, const char *name, struct node **ret)
{
	struct scratch *x = NULL;
	struct asked a;
	bool writable = false;
	int r = ask_name(parent, name, &a);

	if (r < 0)
		return r == -ENOENT ? -EINVAL : r;
	WITH_LOCK(&fs->lock)
		writable = parent->control->paper->writable;
	r = check(fs, parent, &a, PAPER_MAKE, writable);
	asked_done(&a);
	if (r == 0)
		r = scratch_make(fs->scratches, parent->ino, name, &x);
	scratch_unref(x);
	return r < 0 ? r : enter(fs, parent, name, &(struct paper){.act = CONTROL_DOC, .writable = true}, true, ret);
}

bool papers_hold_scratch(struct node *dir)
{
	bool writable;

	WITH_LOCK(&dir->fs->lock)
		writable = dir->control->paper && dir->control->paper->writable;
	return writable;
}

int paper_remove(struct fs *fs, struct node *n)
{
	_cleanup_free_ char *name = NULL;
	struct asked a;
	bool made = false;
	int r = 0;

	WITH_LOCK(&fs->lock) {
		made = n->control->paper->made;
		r = str_dup(n->name, &name);
	}
	if (r < 0)
		return r;
	if (made)
		return scratch_remove(fs->scratches, n->parent->ino, name);
	r = ask_node(n, &a);
	if (r < 0)
		return r;
	r = check(fs, n, &a, PAPER_REMOVE, true);
	if (r == 0) {
		r = backend_paper_remove(fs->session, &a.about, names_of(&a.path), NULL);
		look_anew(fs, n, false);
	}
	asked_done(&a);
	return r;
}

/* ---- verbs ---- */

const struct backend_control *papers_verb(struct fs *fs, struct node *about, const char *name, size_t n)
{
	const struct backend_control *b = fs->session->backend->controls, *found = NULL;
	struct object o = {0};

	if (!b || node_object(about, &o) < 0)
		return NULL;
	for (; b->name && !found; b++) {
		const char *const path[] = {b->name, NULL};
		struct paper p = {0};

		if (b->act != CONTROL_VERB || (b->root_only && about != fs->root) ||
		    (name && (strlen(b->name) != n || strncmp(b->name, name, n) != 0)))
			continue;
		if (backend_paper_stat(fs->session, &o, path, &p) == 0)
			found = b;
		paper_done(&p);
	}
	object_done(&o);
	return found;
}

int papers_run_verb(struct fs *fs, struct node *n, const struct backend_control *verb, const char *words, struct buf *said)
{
	_cleanup_buf_ struct buf text = BUF_MAX(WORD_MAX);
	_cleanup_free_ char *why = NULL;
	struct asked a;
	int r = papers_act(fs) ? ask_path(n, verb->name, &a) : -EROFS;

	if (r < 0)
		return r;
	r = backend_paper_check(fs->session, &a.about, names_of(&a.path), PAPER_WRITE);
	if (r == 0)
		r = buf_adds(&text, words);
	if (r == 0)
		r = backend_paper_write(fs->session, &a.about, names_of(&a.path), &text, said, &why);
	asked_done(&a);
	look_anew(fs, n, true);
	if (r < 0) {
		buf_clear(said);
		(void)buf_adds(said, why ? why : strerror(-r));
	} else if (!said->len) {
		(void)buf_adds(said, "it is done");
	}
	return r;
}

/* ---- what stat(2) shows ---- */

void paper_stat_locked(const struct node *n, struct stat *st)
{
	const struct paper_state *s = n->control->paper;
	bool acts = s && s->writable && papers_act(n->fs);

	if (n->dir)
		st->st_mode = S_IFDIR | 0555;
	else
		st->st_mode = S_IFREG | (s && s->secret ? 0400 : 0444);
	if (acts)
		st->st_mode |= 0200;
	st->st_mtim = s ? s->mtime : (struct timespec){.tv_sec = n->fs->mounted_at};
}
