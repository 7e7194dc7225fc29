/* thread.h - threads with a queue, stopped and joined. */
#ifndef SCIFS_BASE_THREAD_H
#define SCIFS_BASE_THREAD_H

#include <pthread.h>
#include <stddef.h>

struct thread_pool;

/* Up to `threads` threads, made when work waits, and a queue of up to `queue_max` pieces. `name`: at most 15 bytes, as
 * ps shows it. Signals are blocked in them. -ENOMEM. */
int pool_new(const char *name, unsigned threads, size_t queue_max, struct thread_pool **ret);
/* Have fn(arg) called once, on one of the pool's threads, in the order of adding. Never blocks. -EAGAIN: the queue is
 * full, or no thread can be made; -ESHUTDOWN: the pool is being freed. */
int pool_add(struct thread_pool *p, void (*fn)(void *arg), void *arg);
size_t pool_waiting(struct thread_pool *p);
/* Wait for everything that was added, then end the threads; what is added from now on gets -ESHUTDOWN. Blocks. NULL is fine. */
void pool_stop(struct thread_pool *p);
/* pool_stop(), then free: nobody may add any more. NULL is fine. */
void pool_free(struct thread_pool *p);
/* A condition whose timed waits go by clock_until(). */
void thread_cond_init(pthread_cond_t *cond);
/* No signal is delivered to this thread. */
void thread_block_signals(void);

#endif
