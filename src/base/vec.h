/* vec.h - a typed growing array. Zeroed is empty. No locks. */
#ifndef SCIFS_BASE_VEC_H
#define SCIFS_BASE_VEC_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define VEC(type)              \
	struct {               \
		type *at;      \
		size_t n, room; \
	}

/* Where the array is now, with room for one more; NULL: no memory, and the old one stands. */
static inline void *vec_grow(void *at, size_t *room, size_t n, size_t one)
{
	size_t want;
	void *p;

	if (n < *room)
		return at;
	want = *room ? *room + *room / 2 + 1 : 8;
	if (want > SIZE_MAX / one)
		return NULL;
	p = realloc(at, want * one);
	if (p)
		*room = want;
	return p;
}

/* 0 or -ENOMEM, the vector unchanged then. */
#define vec_push(v, ...)                                                                     \
	({                                                                                   \
		void *_grown = vec_grow((v)->at, &(v)->room, (v)->n, sizeof(*(v)->at));       \
		if (_grown) {                                                                \
			(v)->at = _grown;                                                    \
			(v)->at[(v)->n++] = (__VA_ARGS__);                                   \
		}                                                                            \
		_grown ? 0 : -ENOMEM;                                                        \
	})
/* Frees the array, not what its elements own. */
#define vec_done(v)                    \
	do {                           \
		free((v)->at);         \
		(v)->at = NULL;        \
		(v)->n = (v)->room = 0; \
	} while (0)

#endif
