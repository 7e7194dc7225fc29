/* buf.h - growing bytes with a stated maximum. Always NUL-terminated behind `len`. No locks. */
#ifndef SCIFS_BASE_BUF_H
#define SCIFS_BASE_BUF_H

#include <stddef.h>

struct buf {
	char *data;             /* NULL while empty and never grown */
	size_t len, room, max;  /* max 0: 1 GiB */
};

#define BUF_MAX(n) ((struct buf){.max = (n)})
#define _cleanup_buf_ __attribute__((cleanup(buf_done)))

void buf_init(struct buf *b, size_t max);
/* 0, -ENOMEM, -EMSGSIZE (it would be longer than max): b is unchanged then. */
int buf_add(struct buf *b, const void *p, size_t n);
int buf_adds(struct buf *b, const char *s);
int buf_addc(struct buf *b, char c);
int buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* n bytes at an offset, over what is there; up to the offset zeros. */
int buf_write(struct buf *b, size_t at, const void *p, size_t n);
/* This long from now on: with zeros at the end, or the end cut off. */
int buf_resize(struct buf *b, size_t len);
/* The text as a string ("" when empty), valid until b changes. */
const char *buf_str(const struct buf *b);
/* Hand the memory over (malloc'ed, never NULL but without memory); b is empty then. */
char *buf_take(struct buf *b);
void buf_clear(struct buf *b);          /* empty, memory kept */
void buf_done(struct buf *b);           /* empty, memory freed, may be used again */

#endif
