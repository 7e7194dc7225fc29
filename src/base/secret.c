/* secret.c - a string bound to one origin. Its pages are its own: MADV_DONTDUMP and mlock work on whole pages. */
#include "base/secret.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"

#define SECRET_MAX (64u << 10)

struct secret {
	_Atomic unsigned refs;
	char *origin;
	char *text;
	size_t room;
};

int secret_new(const char *origin, const char *text, struct secret **ret)
{
	size_t n = strlen(text) + 1;
	struct secret *s;
	void *p;

	if (n > SECRET_MAX)
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	s->origin = strdup(origin);
	if (p == MAP_FAILED || !s->origin) {
		if (p != MAP_FAILED)
			munmap(p, n);
		free(s->origin);
		free(s);
		return -ENOMEM;
	}
	(void)madvise(p, n, MADV_DONTDUMP);     /* best effort: PR_SET_DUMPABLE stands before it */
	(void)mlock(p, n);                      /* best effort: the limit may be small */
	memcpy(p, text, n);
	s->text = p;
	s->room = n;
	atomic_init(&s->refs, 1);
	log_mask(s->text);
	*ret = s;
	return 0;
}

struct secret *secret_ref(struct secret *s)
{
	if (s)
		atomic_fetch_add(&s->refs, 1);
	return s;
}

void secret_unref(struct secret *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	log_unmask(s->text);
	explicit_bzero(s->text, s->room);
	munmap(s->text, s->room);
	free(s->origin);
	free(s);
}

const char *secret_text(const struct secret *s, const char *origin)
{
	return s && strcmp(s->origin, origin) == 0 ? s->text : NULL;
}
