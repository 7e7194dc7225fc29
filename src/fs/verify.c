/* verify.c - whole reads held against the server's digest.
 *
 * A handle that reads every byte forward from 0 has its content hashed, in order, on the hasher thread; the reply to the read
 * that brings the last byte waits for the verdict. The kernel's readahead comes slightly out of order: a few reads are held,
 * pinned, until the gap before them closes. They are answered at once all the same; only the last one waits. What does not
 * read forward is not verified: a range alone has only its length to vouch for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/digest.h"
#include "base/str.h"
#include "fs/private.h"

#define HELD_MAX 16

struct piece {
	struct verify *v;
	uint64_t offset;
	size_t n;
	struct cache_hit hit;
	void (*answer)(void *arg, int verdict);         /* of the last piece */
	void *arg;
};

struct verify {
	struct fs *fs;
	struct digest *digest;
	char *want, *what;
	uint64_t size, next;            /* next: the byte that goes to the hasher next */
	struct piece held[HELD_MAX];
	unsigned n;
	bool given_up;
	atomic_bool failed;             /* it was not what it should be: nothing more of it is given out */
	struct cache_file *file;
	atomic_uint refs;               /* the handle's and one of each piece at the hasher */
};

struct verify *verify_new(struct fs *fs, const struct object *o)
{
	_cleanup_free_ char *kind = o->digest ? strdup(o->digest) : NULL;
	char *colon = kind ? strchr(kind, ':') : NULL;
	struct verify *v;

	if (!colon || !o->size)
		return NULL;
	*colon = 0;
	v = calloc(1, sizeof(*v));
	if (!v)
		return NULL;
	v->fs = fs;
	v->size = o->size;
	atomic_init(&v->refs, 1);
	if (digest_new(kind, &v->digest) < 0 || str_dup(colon + 1, &v->want) < 0 || str_dup(o->name, &v->what) < 0) {
		verify_free(v);
		return NULL;
	}
	return v;
}

static void unref(struct verify *v)
{
	if (atomic_fetch_sub(&v->refs, 1) != 1)
		return;
	digest_free(v->digest);
	free(v->want);
	free(v->what);
	free(v);
}

static void give_up(struct verify *v)
{
	while (v->n)
		cache_put(v->file, &v->held[--v->n].hit);
	v->given_up = true;
}

void verify_free(struct verify *v)
{
	if (!v)
		return;
	give_up(v);
	unref(v);
}

static int verdict(struct verify *v)
{
	char hex[DIGEST_HEX_MAX];

	if (digest_hex(v->digest, hex) < 0)
		return 0;
	if (strcasecmp(hex, v->want) == 0)
		return 0;
	log_error("%s: the content is not what the server's digest says: it is not given out", v->what);
	backend_report_fault("read", v->what, EIO, 0, "the content does not match the server's digest", NULL);
	cache_forget(v->file);
	atomic_store(&v->failed, true);
	return -EIO;
}

static void hash_run(void *arg)
{
	struct piece *p = arg;
	struct verify *v = p->v;

	for (int i = 0; i < p->hit.n; i++)
		(void)digest_add(v->digest, p->hit.parts[i].iov_base, p->hit.parts[i].iov_len);
	if (p->answer)
		p->answer(p->arg, verdict(v));  /* the hit is the answerer's */
	else
		cache_put(v->file, &p->hit);
	unref(v);
	free(p);
}

static bool hand_over(struct verify *v, const struct piece *from)
{
	struct piece *p = malloc(sizeof(*p));

	if (!p)
		return false;
	*p = *from;
	p->v = v;
	atomic_fetch_add(&v->refs, 1);
	/* Before: once it is handed over the piece is gone, and perhaps the reader with v. */
	v->next = from->offset + from->n;
	if (pool_add(v->fs->hasher, hash_run, p) < 0) {
		atomic_fetch_sub(&v->refs, 1);
		v->next = from->offset;
		free(p);
		return false;
	}
	return true;
}

/* A second pin of the same bytes, since the reply needs the first. */
static bool pin_again(struct verify *v, uint64_t offset, size_t n, struct cache_hit *ret)
{
	return cache_ask(v->file, offset, n, NULL, ret) == CACHE_HIT;
}

static void drain(struct verify *v)
{
	for (unsigned i = 0; i < v->n; ) {
		struct piece p = v->held[i];

		if (p.offset != v->next) {
			i++;
			continue;
		}
		v->held[i] = v->held[--v->n];
		if (!hand_over(v, &p)) {
			cache_put(v->file, &p.hit);
			give_up(v);
			return;
		}
		i = 0;
	}
}

bool verify_failed(const struct verify *v)
{
	return atomic_load(&v->failed);
}

bool verify_feed(struct verify *v, struct cache_file *f, uint64_t offset, size_t n, struct cache_hit *hit,
                 void (*answer)(void *arg, int verdict), void *arg)
{
	struct piece p = {.offset = offset, .n = n};

	if (!v->file)           /* once: the hasher reads it */
		v->file = f;
	if (v->given_up || offset < v->next)
		return false;
	if (offset == v->next && offset + n == v->size) {
		p.hit = *hit;
		p.answer = answer;
		p.arg = arg;
		if (hand_over(v, &p))
			return true;
		give_up(v);
		return false;
	}
	/* The tail before what leads to it, or too far ahead: this is no forward reader. */
	if (offset + n == v->size || v->n == HELD_MAX || !pin_again(v, offset, n, &p.hit)) {
		give_up(v);
		return false;
	}
	v->held[v->n++] = p;
	drain(v);
	return false;
}
