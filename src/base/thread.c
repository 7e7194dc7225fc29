/* thread.c - threads with a queue. */
#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/list.h"

#define STACK_BYTES (1u << 20)

struct piece {
	struct list link;
	void (*fn)(void *arg);
	void *arg;
};

struct thread_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list queue;
	size_t queued, queue_max;
	pthread_t *threads;
	unsigned n, max, idle;
	bool stopping;
	char name[16];
};

void thread_block_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	/* What a fault raises must stay deliverable, or the fault kills without a trace. */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGABRT);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
}

void thread_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* Born with its signals blocked: one that came between birth and thread_block_signals() would be lost on it. */
static int born(pthread_t *t, struct thread_pool *p, void *(*fn)(void *))
{
	pthread_attr_t attr;
	sigset_t before;
	int r;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	thread_block_signals();
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	r = pthread_create(t, &attr, fn, p);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int pool_new(const char *name, unsigned threads, size_t queue_max, struct thread_pool **ret)
{
	struct thread_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->threads = calloc(threads ? threads : 1, sizeof(*p->threads));
	if (!p->threads) {
		free(p);
		return -ENOMEM;
	}
	p->max = threads ? threads : 1;
	p->queue_max = queue_max;
	strncpy(p->name, name, sizeof(p->name) - 1);
	list_init(&p->queue);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	*ret = p;
	return 0;
}

static void *turn(void *arg)
{
	struct thread_pool *p = arg;

	pthread_mutex_lock(&p->lock);
	pthread_setname_np(pthread_self(), p->name);
	for (;;) {
		struct piece *piece = list_first(&p->queue, struct piece, link);

		if (!piece) {
			if (p->stopping)
				break;
			p->idle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->idle--;
			continue;
		}
		list_remove(&piece->link);
		p->queued--;
		pthread_mutex_unlock(&p->lock);
		piece->fn(piece->arg);
		free(piece);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int pool_add(struct thread_pool *p, void (*fn)(void *arg), void *arg)
{
	struct piece *piece = malloc(sizeof(*piece));
	int r = 0;

	if (!piece)
		return -EAGAIN;
	*piece = (struct piece){.fn = fn, .arg = arg};
	pthread_mutex_lock(&p->lock);
	if (p->stopping) {
		r = -ESHUTDOWN;
	} else if (p->queued >= p->queue_max) {
		r = -EAGAIN;
	} else if (p->idle <= p->queued && p->n < p->max) {
		if (born(&p->threads[p->n], p, turn) == 0)
			p->n++;
		else if (p->n == 0)
			r = -EAGAIN;
	}
	if (r == 0) {
		list_append(&p->queue, &piece->link);
		p->queued++;
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
	if (r < 0)
		free(piece);
	return r;
}

size_t pool_waiting(struct thread_pool *p)
{
	size_t n = 0;

	WITH_LOCK(&p->lock)
		n = p->queued;
	return n;
}

void pool_stop(struct thread_pool *p)
{
	unsigned n = 0;

	if (!p)
		return;
	WITH_LOCK(&p->lock) {
		if (!p->stopping)
			n = p->n;
		p->stopping = true;
		pthread_cond_broadcast(&p->work);
	}
	/* No thread is made once `stopping` stands, so n does not move any more. */
	for (unsigned i = 0; i < n; i++)
		pthread_join(p->threads[i], NULL);
}

void pool_free(struct thread_pool *p)
{
	if (!p)
		return;
	pool_stop(p);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p->threads);
	free(p);
}
