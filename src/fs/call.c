/* call.c - a backend's own questions and answers below .scifs: what is written through a handle is a question, what is read from the
 * same handle is its answer. Handles do not see each other's.
 *
 * A question is whole when it is read after, or at close. Programs share one position between writing and reading, so that who
 * writes and reads on begins behind its question: the first read of an answer tells where it begins.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"
#include "fs/private.h"

#define QUESTION_MAX (1u << 20)
#define ANSWER_MAX (64u << 20)
#define WORD_MIN 4                      /* letters of a word that may be an id's last part */
#define WORDS_MAX 1000

int call_write(struct handle *h, const void *p, size_t n, uint64_t at)
{
	int r = 0;

	WITH_LOCK(&h->lock) {
		if (!h->question.len) {
			buf_init(&h->question, QUESTION_MAX);
			h->question_at = at;
		} else if (!h->append && at != h->question_at + h->question.len) {
			r = -EINVAL;    /* a question has no holes, and is not mended */
			break;
		}
		r = buf_add(&h->question, p, n);
		h->answer_at = h->question_at + h->question.len;
	}
	return r == -EMSGSIZE ? -EFBIG : r < 0 ? r : (int)n;
}

bool call_is_asked(struct handle *h)
{
	bool asked;

	WITH_LOCK(&h->lock)
		asked = h->question.len > 0;
	return asked;
}

/* Does the question only look? One that says nothing of it does not. */
static bool only_looks(const struct json *q)
{
	const char *method = NULL;

	return json_str_opt(q, "method", &method) == 0 && method && (strcasecmp(method, "GET") == 0 || strcasecmp(method, "HEAD") == 0);
}

static bool in_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

/* All words of a question: the ids of what it is about are among them. */
static struct map *words_of(const struct buf *q)
{
	struct map *words = map_new();

	for (const char *p = buf_str(q); words && *p && map_count(words) < WORDS_MAX; ) {
		size_t n = 0;
		char word[64];

		while (in_word(p[n]))
			n++;
		if (n >= WORD_MIN && n < sizeof(word)) {
			memcpy(word, p, n);
			word[n] = 0;
			(void)map_set(words, word, words);      /* without it everything is looked at anew */
		}
		p += n ? n : 1;
	}
	return words;
}

static const char *last_part(const char *id)
{
	const char *slash = strrchr(id, '/');

	return slash ? slash + 1 : id;
}

/* What the question names, and the directories that hold it, are looked at anew; when it names nothing that is known: all. */
static void look_anew(struct fs *fs, const struct buf *q)
{
	struct map *words = words_of(q);
	VEC(struct node *) named = {0}, dirs = {0};

	WITH_LOCK(&fs->lock) {
		struct map64_iter it = {0};
		uint64_t ino;
		void *value;

		while (map64_next(fs->by_ino, &it, &ino, &value)) {
			struct node *n = value;

			if (n->control)
				continue;
			if (words && n->object.id && map_get(words, last_part(n->object.id)) && vec_push(&named, n) == 0)
				node_ref_locked(n);
			if (n->dir && vec_push(&dirs, n) == 0)
				node_ref_locked(n);
		}
		for (size_t i = 0, all = named.n; i < all; i++) {
			struct node *parent = named.at[i]->parent;

			if (parent && !parent->control && vec_push(&named, parent) == 0)
				node_ref_locked(parent);
		}
	}
	for (size_t i = 0; i < named.n; i++) {
		documents_changed(fs, named.at[i]);
		node_stale(fs, named.at[i]);
		dir_drop(fs, named.at[i]);
		node_unref(named.at[i]);
	}
	if (!named.n)
		documents_drop_all(fs);
	for (size_t i = 0; i < dirs.n; i++) {
		if (!named.n)
			dir_drop(fs, dirs.at[i]);
		node_unref(dirs.at[i]);
	}
	vec_done(&named);
	vec_done(&dirs);
	map_free(words);
}

int call_answer(struct fs *fs, struct handle *h)
{
	_cleanup_(node_unrefp) struct node *about = control_about_ref(h->node);
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_buf_ struct buf question = BUF_MAX(QUESTION_MAX), answer = BUF_MAX(ANSWER_MAX);
	struct object o = {0};
	int r;

	WITH_LOCK(&h->lock) {
		question = h->question;
		h->question = (struct buf){0};
		buf_clear(&h->text);
	}
	if (!question.len)
		return 0;
	r = node_object(about, &o);
	if (r == 0)
		r = backend_control_call(fs->session, &o, h->node->name, &question, &answer);
	object_done(&o);
	/* Also after a failure: what it has changed is not known. */
	if (r != -EINVAL && !(json_parse(question.data, question.len, &j) == 0 && only_looks(j)))
		look_anew(fs, &question);
	if (r < 0)
		return r;
	WITH_LOCK(&h->lock) {
		struct buf was = h->text;

		h->text = answer;
		answer = was;
		h->shift = 0;
		h->unread = true;
	}
	return 0;
}

int call_read(struct handle *h, uint64_t at, size_t n, struct buf *ret)
{
	int r = 0;

	WITH_LOCK(&h->lock) {
		if (h->unread)
			h->shift = at == h->answer_at ? at : 0;
		h->unread = false;
		if (at < h->shift)
			h->shift = 0;   /* it went back to the beginning */
		at -= h->shift;
		if (at < h->text.len)
			r = buf_add(ret, h->text.data + at, n < h->text.len - at ? n : h->text.len - (size_t)at);
	}
	return r;
}
