/* cleanup.h - what a function owns is freed when it returns, whichever way it returns. */
#ifndef SCIFS_BASE_CLEANUP_H
#define SCIFS_BASE_CLEANUP_H

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* A name that no other line of the file makes: for macros that declare a variable and may be nested. */
#define UNIQUE_JOINED(a, b) a##b
#define UNIQUE_AT(name, line) UNIQUE_JOINED(name, line)
#define UNIQUE(name) UNIQUE_AT(name, __LINE__)

/* Defines fnp(T **): what _cleanup_(fnp) calls for a local pointer. fn must accept NULL. */
#define DEFINE_CLEANUP(type, fn)                     \
	static inline __attribute__((unused)) void fn##p(type *p) \
	{                                            \
		if (*p)                              \
			fn(*p);                      \
	}

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define _cleanup_free_ _cleanup_(cleanup_freep)
#define _cleanup_close_ _cleanup_(cleanup_closep)

/* Hand over what a local owns: its value, and the local forgets it. */
#define TAKE(p)                              \
	({                                   \
		__typeof__(p) *_at = &(p);   \
		__typeof__(p) _v = *_at;     \
		*_at = NULL;                 \
		_v;                          \
	})
#define TAKE_FD(fd)              \
	({                       \
		int *_at = &(fd); \
		int _v = *_at;   \
		*_at = -1;       \
		_v;              \
	})

struct scoped_lock {
	pthread_mutex_t *m;
	int once;
};

static inline struct scoped_lock scoped_lock_take(pthread_mutex_t *m)
{
	pthread_mutex_lock(m);
	return (struct scoped_lock){m, 1};
}

static inline void scoped_lock_drop(struct scoped_lock *l)
{
	pthread_mutex_unlock(l->m);
}

/* WITH_LOCK(&m) { ... }: held in the block, also when it is left by return or break (break leaves the block). One may stand
 * in another: each line has its own variable. */
#define WITH_LOCK(mutex) WITH_LOCK_AS(mutex, UNIQUE(_held))
#define WITH_LOCK_AS(mutex, held) \
	for (struct scoped_lock _cleanup_(scoped_lock_drop) held = scoped_lock_take(mutex); held.once; held.once = 0)

#endif
