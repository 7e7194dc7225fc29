/* buf.c - growing bytes with a stated maximum. */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_DEFAULT_MAX (1ul << 30)

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

static int reserve(struct buf *b, size_t n)
{
	size_t max = b->max ? b->max : BUF_DEFAULT_MAX, want;
	char *p;

	if (n > max || b->len > max - n)
		return -EMSGSIZE;
	if (b->data && b->len + n < b->room)
		return 0;
	want = b->room ? b->room * 2 : 64;
	if (want < b->len + n + 1)
		want = b->len + n + 1;
	if (want - 1 > max)
		want = max + 1;
	p = realloc(b->data, want);
	if (!p)
		return -ENOMEM;
	b->data = p;
	b->room = want;
	return 0;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
	int r = reserve(b, n);

	if (r < 0)
		return r;
	if (n)
		memcpy(b->data + b->len, p, n);
	b->len += n;
	b->data[b->len] = 0;
	return 0;
}

int buf_adds(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

int buf_addc(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

int buf_addf(struct buf *b, const char *format, ...)
{
	va_list ap;
	int n, r;

	va_start(ap, format);
	n = vsnprintf(NULL, 0, format, ap);
	va_end(ap);
	if (n < 0)
		return -EINVAL;
	r = reserve(b, (size_t)n);
	if (r < 0)
		return r;
	va_start(ap, format);
	vsnprintf(b->data + b->len, (size_t)n + 1, format, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

int buf_resize(struct buf *b, size_t len)
{
	int r = len > b->len ? reserve(b, len - b->len) : 0;

	if (r < 0)
		return r;
	if (len > b->len)
		memset(b->data + b->len, 0, len - b->len);
	b->len = len;
	if (b->data)
		b->data[len] = 0;
	return 0;
}

int buf_write(struct buf *b, size_t at, const void *p, size_t n)
{
	int r = 0;

	if (n > SIZE_MAX - at)
		return -EMSGSIZE;
	if (at + n > b->len)
		r = buf_resize(b, at + n);
	if (r == 0 && n)
		memcpy(b->data + at, p, n);
	return r;
}

const char *buf_str(const struct buf *b)
{
	return b->data ? b->data : "";
}

char *buf_take(struct buf *b)
{
	char *p = b->data ? b->data : calloc(1, 1);

	*b = (struct buf){.max = b->max};
	return p;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->data)
		b->data[0] = 0;
}

void buf_done(struct buf *b)
{
	free(b->data);
	*b = (struct buf){.max = b->max};
}
