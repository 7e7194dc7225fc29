/* ask.c - questions to the server that nobody's thread waits for to the end.
 *
 * What is known answers after a short wait for news; the question goes on by itself, and its answer is found by whoever looks
 * next. While the server says nothing at all a few questions are kept under way, to learn of its return; more would only pile up.
 */
#include <errno.h>

#include "base/clock.h"
#include "fs/private.h"

#define QUIET_ASKING 4          /* questions that are kept under way while the server says nothing */
#define QUIET_WAIT_MS 20        /* the soft wait then */

unsigned fs_soft_wait(struct fs *fs, uint64_t since)
{
	unsigned whole = atomic_load(&fs->quiet) ? QUIET_WAIT_MS : fs->config.soft_wait_ms, gone = fs_now_age(since);

	return gone < whole ? whole - gone : 0;
}

bool fs_is_quiet(struct fs *fs)
{
	return atomic_load(&fs->quiet) && atomic_load(&fs->asking) >= QUIET_ASKING;
}

void fs_answered(struct fs *fs, int r)
{
	if (!fs_error_is_unreachable(r))
		atomic_store(&fs->quiet, false);
}

bool fs_wait_changed_locked(struct fs *fs, const bool *waiting, unsigned ms)
{
	struct timespec until = clock_until(ms);

	while (*waiting)
		if (pthread_cond_timedwait(&fs->changed, &fs->lock, &until) == ETIMEDOUT)
			return !*waiting;
	return true;
}

static void ask_run(void *arg)
{
	struct question *q = arg;
	struct fs *fs = q->fs;

	q->ask(q);
	WITH_LOCK(&fs->lock) {
		q->waiting = false;
		pthread_cond_broadcast(&fs->changed);
	}
	atomic_fetch_sub(&fs->asking, 1);
	question_put(q);
}

bool question_ask(struct question *q, bool usable)
{
	struct fs *fs = q->fs;
	bool answered = false;

	q->holders = 1;
	if (!usable) {
		q->ask(q);
		return true;
	}
	if (fs_is_quiet(fs))
		return false;
	q->holders = 2;
	q->waiting = true;
	atomic_fetch_add(&fs->asking, 1);
	if (pool_add(fs->askers, ask_run, q) < 0) {
		atomic_fetch_sub(&fs->asking, 1);
		q->holders = 1;
		return false;
	}
	WITH_LOCK(&fs->lock) {
		answered = fs_wait_changed_locked(fs, &q->waiting, fs_soft_wait(fs, clock_mono_ms()));
		if (!answered)
			atomic_store(&fs->quiet, true);
	}
	return answered;
}

void question_put(struct question *q)
{
	bool last;

	WITH_LOCK(&q->fs->lock)
		last = --q->holders == 0;
	if (last)
		q->done(q);
}
