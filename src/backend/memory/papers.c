/* papers.c - with the word papers=1: controls of the backend's own below `.scifs/`, one of each kind, so that the core can be tried
 * without a server. README.md tells what they are. They live as long as the process, in one list under a lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/memory/private.h"
#include "base/buf.h"
#include "base/json.h"

#define TITLE "title"

struct kept_paper {
	struct list link;
	char *name;                     /* without ".json"; of a note its directory's id */
	char *text;
	char *secret;                   /* given out once; or NULL */
	bool off, note;
};

void memory_papers_init(struct memory *m)
{
	pthread_mutex_init(&m->papers_lock, NULL);
	list_init(&m->papers);
}

static void drop(struct memory *m, struct kept_paper *p)
{
	list_remove(&p->link);
	m->n_papers--;
	free(p->name);
	free(p->text);
	free(p->secret);
	free(p);
}

void memory_papers_done(struct memory *m)
{
	while (!list_empty(&m->papers))
		drop(m, list_first(&m->papers, struct kept_paper, link));
	pthread_mutex_destroy(&m->papers_lock);
}

static struct kept_paper *find(struct memory *m, const char *name, bool note)
{
	struct kept_paper *p;

	list_for_each_safe(p, &m->papers, struct kept_paper, link)
		if (p->note == note && strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

static int make(struct memory *m, const char *name, bool note, struct kept_paper **ret)
{
	struct kept_paper *p;

	if (m->n_papers >= KEPT_PAPERS_MAX)
		return -ENOSPC;
	p = calloc(1, sizeof(*p));
	if (!p || str_dup(name, &p->name) < 0) {
		free(p);
		return -ENOMEM;
	}
	p->note = note;
	list_append(&m->papers, &p->link);
	m->n_papers++;
	*ret = p;
	return 0;
}

/* ---- links: to what lies in the directory ---- */

/* Calls back for each child; 1 ends it. */
static int each_child(struct session *s, const struct object *about, int (*f)(void *arg, const struct object *o), void *arg)
{
	_cleanup_(page_done) struct page page = {0};
	int r;

	do {
		r = memory_list(s, about, &page);
		for (size_t i = 0; r == 0 && i < page.objects.n; i++)
			r = f(arg, &page.objects.at[i]);
		for (size_t i = 0; i < page.objects.n; i++)
			object_done(&page.objects.at[i]);
		page.objects.n = 0;
	} while (r == 0 && page.cursor);
	return r < 0 ? r : 0;
}

struct newest {
	struct timespec at;
	char *id;
};

static int is_newer(void *arg, const struct object *o)
{
	struct newest *n = arg;

	if (o->kind == OBJECT_DIR ||
	    (n->id && (o->mtime.tv_sec < n->at.tv_sec || (o->mtime.tv_sec == n->at.tv_sec && o->mtime.tv_nsec < n->at.tv_nsec))))
		return 0;
	free(TAKE(n->id));
	n->at = o->mtime;
	return str_dup(o->id, &n->id);
}

struct kind {
	bool dirs;
	const char *name;               /* one, or NULL: all */
	struct papers *all;
	struct paper *one;
};

static int add_link(void *arg, const struct object *o)
{
	struct kind *k = arg;
	struct paper p = {.act = CONTROL_LINK};
	int r;

	if ((o->kind == OBJECT_DIR) != k->dirs || (k->name && strcmp(k->name, o->name) != 0))
		return 0;
	r = str_dup(o->name, &p.name) < 0 || str_dup(o->id, &p.target) < 0 ? -ENOMEM : 0;
	if (r == 0 && k->one)
		*k->one = p;
	else if (r == 0)
		r = vec_push(&k->all->list, p);
	if (r < 0)
		paper_done(&p);
	return r < 0 ? r : k->one ? 1 : 0;
}

/* ---- the members ---- */

static int stat_in_papers(struct memory *m, const char *name, struct paper *ret)
{
	_cleanup_free_ char *key = NULL;
	const struct kept_paper *p;
	int r = -ENOENT;

	WITH_LOCK(&m->papers_lock) {
		if (str_stem(name, ".json", &key) && find(m, key, false))
			r = paper_say(ret, CONTROL_DOC, name, true);
		else if (str_stem(name, ".mode", &key) && find(m, key, false))
			r = paper_say(ret, CONTROL_TEXT, name, true);
		else if (str_stem(name, ".secret", &key) && (p = find(m, key, false)) && p->secret)
			r = paper_say(ret, CONTROL_DOC, name, false);
	}
	if (r == 0)
		ret->secret = str_ends(name, ".secret");
	return r;
}

int memory_paper_stat(struct session *s, const struct object *about, const char *const *path, struct paper *ret)
{
	struct memory *m = memory_of(s);
	const char *name = path[0];
	struct newest n = {0};
	int r;

	if (!m->shape.papers)
		return -ENOENT;
	if (!path[1]) {
		for (const struct backend_control *b = memory_controls; b->name; b++)
			if (strcmp(b->name, name) == 0 && b->act != CONTROL_LINK)
				return paper_say(ret, b->act, name, strcmp(name, "papers.json") != 0 && strcmp(name, "links") != 0);
		r = each_child(s, about, is_newer, &n);
		if (r == 0)
			r = n.id ? paper_say(ret, CONTROL_LINK, name, false) : -ENOENT;
		ret->target = r == 0 ? TAKE(n.id) : NULL;
		free(n.id);
		return r;
	}
	r = memory_gate(m, path[1], NULL);
	if (r < 0)
		return r;
	if (strcmp(name, "sealed") == 0)
		return -EACCES;
	if (strcmp(name, "papers") == 0 && !path[2])
		return stat_in_papers(m, path[1], ret);
	if (strcmp(name, "links") != 0 || (strcmp(path[1], "files") != 0 && strcmp(path[1], "dirs") != 0))
		return -ENOENT;
	if (!path[2])
		return paper_say(ret, CONTROL_PAPERS, path[1], false);
	if (path[3])
		return -ENOENT;
	r = each_child(s, about, add_link, &(struct kind){.dirs = path[1][0] == 'd', .name = path[2], .one = ret});
	return r < 0 ? r : ret->name ? 0 : -ENOENT;
}

static int list_papers(struct memory *m, struct papers *ret)
{
	struct kept_paper *p;
	int r = 0;

	WITH_LOCK(&m->papers_lock)
		list_for_each_safe(p, &m->papers, struct kept_paper, link) {
			_cleanup_free_ char *doc = NULL, *mode = NULL, *secret = NULL;

			if (p->note || r < 0)
				continue;
			if (str_fmt(&doc, "%s.json", p->name) < 0 || str_fmt(&mode, "%s.mode", p->name) < 0 ||
			    str_fmt(&secret, "%s.secret", p->name) < 0)
				r = -ENOMEM;
			if (r == 0)
				r = papers_add(ret, CONTROL_DOC, doc, true);
			if (r == 0)
				r = papers_add(ret, CONTROL_TEXT, mode, true);
			if (r == 0 && p->secret) {
				r = papers_add(ret, CONTROL_DOC, secret, false);
				if (r == 0)
					ret->list.at[ret->list.n - 1].secret = true;
			}
		}
	return r;
}

int memory_paper_list(struct session *s, const struct object *about, const char *const *path, struct papers *ret)
{
	struct memory *m = memory_of(s);
	int r = memory_gate(m, path[0], NULL);

	if (r < 0)
		return r;
	if (strcmp(path[0], "sealed") == 0) {
		backend_note_fault(403, "Sealed", "it is sealed", NULL);
		return -EACCES;
	}
	if (strcmp(path[0], "papers") == 0)
		return list_papers(m, ret);
	if (path[1])
		return each_child(s, about, add_link, &(struct kind){.dirs = path[1][0] == 'd', .all = ret});
	r = papers_add(ret, CONTROL_PAPERS, "files", false);
	return r < 0 ? r : papers_add(ret, CONTROL_PAPERS, "dirs", false);
}

static int read_list(struct memory *m, struct buf *ret)
{
	struct kept_paper *p;
	bool first = true;
	int r = buf_adds(ret, "{\"papers\": [");

	WITH_LOCK(&m->papers_lock)
		list_for_each_safe(p, &m->papers, struct kept_paper, link)
			if (!p->note && r == 0) {
				r = first ? 0 : buf_adds(ret, ", ");
				first = false;
				if (r == 0)
					r = json_write_str(ret, p->name);
			}
	return r < 0 ? r : buf_adds(ret, "]}");
}

static int read_kept(struct memory *m, const char *name, struct buf *ret)
{
	_cleanup_free_ char *key = NULL;
	int r = -ENOENT;

	WITH_LOCK(&m->papers_lock) {
		struct kept_paper *p;

		if (str_stem(name, ".json", &key) && (p = find(m, key, false))) {
			r = buf_adds(ret, p->text);
		} else if (str_stem(name, ".mode", &key) && (p = find(m, key, false))) {
			r = buf_adds(ret, p->off ? "off" : "on");
		} else if (str_stem(name, ".secret", &key) && (p = find(m, key, false)) && p->secret) {
			r = buf_adds(ret, p->secret);
			explicit_bzero(p->secret, strlen(p->secret));
			free(TAKE(p->secret));
		}
	}
	return r;
}

int memory_paper_read(struct session *s, const struct object *about, const char *const *path, struct buf *ret)
{
	struct memory *m = memory_of(s);
	const char *name = path[0];
	int r = memory_gate(m, path[1] ? path[1] : name, NULL);

	if (r < 0)
		return r;
	if (strcmp(name, "papers.json") == 0)
		return read_list(m, ret);
	if (strcmp(name, "note.json") == 0) {
		WITH_LOCK(&m->papers_lock) {
			const struct kept_paper *p = find(m, about->id, true);

			r = buf_adds(ret, p ? p->text : "{}");
		}
		return r;
	}
	return strcmp(name, "papers") == 0 && path[1] ? read_kept(m, path[1], ret) : -ENODATA;
}

static int refuse(int err, const char *words)
{
	backend_note_fault(err == EACCES ? 403 : 400, "Paper", words, NULL);
	return -err;
}

int memory_paper_check(struct session *s, const struct object *about, const char *const *path, enum paper_act act)
{
	struct memory *m = memory_of(s);
	const char *name = path[0];

	(void)about;
	if (m->shape.readonly || strcmp(name, "sealed") == 0)
		return refuse(EACCES, "it is sealed");
	if (strcmp(name, "links") == 0 || strcmp(name, "papers.json") == 0)
		return refuse(EPERM, "it follows from what there is");
	if (act == PAPER_REMOVE && (!path[1] || str_ends(path[1], ".mode")))
		return refuse(EPERM, "this is always there");
	if (path[1] && strchr(path[1], '!'))
		return refuse(EINVAL, "no ! may be in a name");
	return 0;
}

static int write_doc(struct memory *m, const char *name, bool note, const struct buf *text, struct buf *reply)
{
	struct kept_paper *p = find(m, name, note);
	_cleanup_free_ char *copy = strndup(buf_str(text), text->len), *secret = NULL;
	bool new = !p;
	int r = copy ? 0 : -ENOMEM;

	if (r == 0 && new && !note)
		r = str_fmt(&secret, "secret-of-%s-%llx", name, (unsigned long long)memory_random());
	if (r == 0 && new)
		r = make(m, name, note, &p);
	if (r < 0)
		return r;
	free(p->text);
	p->text = TAKE(copy);
	if (secret)
		p->secret = TAKE(secret);
	return note ? 0 : buf_addf(reply, "{\"made\": %s}", new ? "true" : "false");
}

static int write_kept(struct memory *m, const char *name, const struct buf *text, struct buf *reply)
{
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *key = NULL;
	struct kept_paper *p;
	int r = -ENOENT;

	if (str_stem(name, ".json", &key)) {
		r = json_parse(buf_str(text), text->len, &j);
		if (r == 0 && !json_text(json_get(j, TITLE)))
			return refuse(EINVAL, "a paper has a title");
		if (r == 0)
			WITH_LOCK(&m->papers_lock)
				r = write_doc(m, key, false, text, reply);
	} else if (str_stem(name, ".mode", &key)) {
		bool on = strcmp(buf_str(text), "on") == 0;

		if (!on && strcmp(buf_str(text), "off") != 0)
			return refuse(EINVAL, "a mode is on or off");
		WITH_LOCK(&m->papers_lock) {
			p = find(m, key, false);
			if (p) {
				p->off = !on;
				r = 0;
			}
		}
	}
	return r;
}

int memory_paper_write(struct session *s, const struct object *about, const char *const *path, const struct buf *text, struct buf *reply)
{
	struct memory *m = memory_of(s);
	const char *name = path[0];
	int r = memory_gate_change(m, path[1] ? path[1] : name, NULL);

	if (r < 0)
		return r;
	if (strcmp(name, "papers") == 0 && path[1])
		return memory_answer(m, write_kept(m, path[1], text, reply));
	if (strcmp(name, "note.json") == 0) {
		WITH_LOCK(&m->papers_lock)
			r = write_doc(m, about->id, true, text, reply);
		return r;
	}
	if (strcmp(name, "turn") != 0 && strcmp(name, "mark") != 0)
		return -ENOENT;
	r = buf_addf(reply, "{\"%s\": ", name);
	if (r == 0)
		r = json_write_str(reply, buf_str(text));
	return r < 0 ? r : buf_adds(reply, "}");
}

int memory_paper_remove(struct session *s, const struct object *about, const char *const *path)
{
	struct memory *m = memory_of(s);
	_cleanup_free_ char *key = NULL;
	int r = memory_gate_change(m, path[1], NULL);

	(void)about;
	if (r < 0)
		return r;
	r = -ENOENT;
	WITH_LOCK(&m->papers_lock) {
		struct kept_paper *p;

		if (str_stem(path[1], ".json", &key) && (p = find(m, key, false))) {
			drop(m, p);
			r = 0;
		} else if (str_stem(path[1], ".secret", &key) && (p = find(m, key, false)) && p->secret) {
			free(TAKE(p->secret));
			r = 0;
		}
	}
	return memory_answer(m, r);
}
