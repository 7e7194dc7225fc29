/* texts.c - which text of a document a new one was made from.
 *
 * Whoever edits a document has read it at some time, and writes it later, perhaps several times without reading it again. What he
 * means to change is the difference to the text that he had in his hands, not to the one that the server has by now. So the
 * texts that were given out lately are kept, a bounded number of bounded size, and so is what was written last. The one that has the
 * most members in common with the new text is the one that it was made from.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "fs/private.h"

#define TEXTS_MAX 256                   /* of a mount */
#define TEXTS_EACH 4                    /* of a thing */
#define TEXTS_BYTES (16u << 20)
#define TEXT_LONGEST (2u << 20)         /* a longer one is not kept: what the server has then is taken for what was read */

struct text {
	struct list link;               /* oldest first */
	uint64_t ino;
	struct doc doc;
};

struct texts {
	pthread_mutex_t lock;
	struct list order;
	unsigned n;
	size_t bytes;
};

int texts_new(struct texts **ret)
{
	struct texts *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	list_init(&t->order);
	*ret = t;
	return 0;
}

static void drop_locked(struct texts *t, struct text *x)
{
	list_remove(&x->link);
	t->n--;
	t->bytes -= x->doc.len;
	doc_done(&x->doc);
	free(x);
}

void texts_free(struct texts *t)
{
	if (!t)
		return;
	while (!list_empty(&t->order))
		drop_locked(t, list_first(&t->order, struct text, link));
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static bool is_same(const struct doc *a, const struct doc *b)
{
	return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

/* Those of `ino` that this one replaces: itself, the oldest beyond their number, or all of them. */
static void make_way_locked(struct texts *t, uint64_t ino, const struct doc *d, bool alone)
{
	struct text *x;
	unsigned of_it = 0;

	list_for_each_safe(x, &t->order, struct text, link)
		if (x->ino == ino && (alone || is_same(&x->doc, d)))
			drop_locked(t, x);
	list_for_each_safe(x, &t->order, struct text, link)
		of_it += x->ino == ino;
	list_for_each_safe(x, &t->order, struct text, link)
		if (x->ino == ino && of_it >= TEXTS_EACH) {
			drop_locked(t, x);
			of_it--;
		}
	while (t->n && (t->n >= TEXTS_MAX || t->bytes > TEXTS_BYTES - d->len))
		drop_locked(t, list_first(&t->order, struct text, link));
}

static void note(struct texts *t, uint64_t ino, const struct doc *d, bool alone)
{
	struct text *x = d->len <= TEXT_LONGEST ? calloc(1, sizeof(*x)) : NULL;

	if (x && doc_copy(d, &x->doc) < 0) {
		free(x);
		x = NULL;               /* as if it were too long */
	}
	WITH_LOCK(&t->lock) {
		make_way_locked(t, ino, d->len <= TEXT_LONGEST ? d : &(struct doc){.text = (char *)""}, alone);
		if (!x)
			break;
		x->ino = ino;
		list_append(&t->order, &x->link);
		t->n++;
		t->bytes += d->len;
	}
}

void texts_given(struct texts *t, uint64_t ino, const struct doc *d)
{
	note(t, ino, d, false);
}

void texts_written(struct texts *t, uint64_t ino, const struct doc *d)
{
	note(t, ino, d, true);
}

unsigned text_likeness(const struct doc *a, const struct doc *b)
{
	const char *key, *value, *other;
	size_t pos = 0, key_n, value_n, other_n;
	unsigned n = 0;

	while (json_raw_next(a->text, a->len, &pos, &key, &key_n, &value, &value_n) == 1) {
		_cleanup_free_ char *name = strndup(key, key_n);

		if (name && json_raw_member(b->text, b->len, name, &other, &other_n) == 0 && value_n == other_n &&
		    memcmp(value, other, value_n) == 0)
			n++;
	}
	return n;
}

int texts_base(struct texts *t, uint64_t ino, const struct doc *fresh, const struct doc *now, struct doc *ret)
{
	struct doc mine[TEXTS_EACH] = {{0}};
	const struct doc *best = fresh;
	unsigned most = text_likeness(now, fresh);
	size_t n = 0;
	int r = 0;

	WITH_LOCK(&t->lock) {
		struct text *x;

		list_for_each_safe(x, &t->order, struct text, link)
			if (x->ino == ino && n < TEXTS_EACH && r == 0) {
				r = doc_copy(&x->doc, &mine[n]);
				n += r == 0;
			}
	}
	for (size_t i = n; i-- > 0; ) {         /* of equally like ones the newest */
		unsigned like = text_likeness(now, &mine[i]);

		if (like > most) {
			most = like;
			best = &mine[i];
		}
	}
	if (r == 0)
		r = doc_copy(best, ret);
	for (size_t i = 0; i < n; i++)
		doc_done(&mine[i]);
	return r;
}
