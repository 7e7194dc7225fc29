/* house.c - the housekeeper: a thread for what is done now and then.
 *
 * Writes down what directories hold (keep.c), lets go of listings that the kernel has forgotten, has the backend do its work
 * (looking after the login) and asks how much space there is, so that df never waits.
 */
#include <string.h>

#include "base/clock.h"
#include "fs/private.h"

#define HOUSE_TICK_MS 1000
#define LET_GO_MS 10000         /* between two looks for listings to let go */
#define WORK_FIRST_MS 30000     /* after the mount: the login was looked at just now */
#define WORK_MIN_S 5

/* Directories that the kernel has forgotten let their listings go. */
static void let_go(struct fs *fs)
{
	VEC(struct node *) idle = {0};

	WITH_LOCK(&fs->lock) {
		struct map64_iter it = {0};
		uint64_t key;
		void *value;

		while (map64_next(fs->by_ino, &it, &key, &value)) {
			struct node *n = value;

			if (n->dir && n != fs->root && !n->nlookup && !n->opens && !n->dir->listing && list_empty(&n->dir->unkept) &&
			    fs_now_age(n->dir->listed_at) > 2 * fs->list_ttl_ms && map_count(n->dir->by_name) &&
			    vec_push(&idle, n) == 0)
				node_ref_locked(n);
		}
		for (size_t i = 0; i < idle.n; i++) {
			struct dir *d = idle.at[i]->dir;
			struct map_iter names = {0};
			VEC(struct node *) children = {0};
			const char *name;

			while (map_next(d->by_name, &names, &name, &value))
				(void)vec_push(&children, value);
			if (children.n == map_count(d->by_name)) {
				map_clear(d->by_name);
				d->order.n = 0;
				d->listed = false;
				d->kept = KEPT_UNREAD;
				for (size_t k = 0; k < children.n; k++)
					node_unref_locked(children.at[k]);
			}
			vec_done(&children);
			node_unref_locked(idle.at[i]);
		}
	}
	vec_done(&idle);
}

static void *house(void *arg)
{
	struct fs *fs = arg;
	uint64_t work_at = clock_mono_ms() + WORK_FIRST_MS, let_go_at = work_at;

	thread_block_signals();
	pthread_setname_np(pthread_self(), "scifs-house");
	for (;;) {
		struct timespec until;
		bool stop;

		WITH_LOCK(&fs->lock) {
			fs_wait_until(&until, HOUSE_TICK_MS);
			if (fs->housekeeping)
				pthread_cond_timedwait(&fs->house_wake, &fs->lock, &until);
			stop = !fs->housekeeping;
		}
		if (stop)
			return NULL;
		keep_write(fs, false);
		if (clock_mono_ms() >= let_go_at) {
			let_go(fs);
			let_go_at = clock_mono_ms() + LET_GO_MS;
		}
		if (clock_mono_ms() >= work_at) {
			uint64_t used, total;
			unsigned next_s = 60;

			(void)backend_work(fs->session, &next_s);       /* logged where it failed; tried again later */
			if (backend_space(fs->session, &used, &total) == 0) {
				atomic_store(&fs->space_used, used);
				atomic_store(&fs->space_total, total);
				atomic_store(&fs->space_known, true);
			}
			work_at = clock_mono_ms() + 1000ull * (next_s < WORK_MIN_S ? WORK_MIN_S : next_s);
		}
	}
}

void house_start(struct fs *fs)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&fs->house_wake, &attr);
	pthread_condattr_destroy(&attr);
	fs->housekeeping = true;
	if (pthread_create(&fs->housekeeper, NULL, house, fs) != 0)
		fs->housekeeping = false;
}

void house_stop(struct fs *fs)
{
	if (fs->housekeeping) {
		WITH_LOCK(&fs->lock) {
			fs->housekeeping = false;
			pthread_cond_broadcast(&fs->house_wake);
		}
		pthread_join(fs->housekeeper, NULL);
	}
	pthread_cond_destroy(&fs->house_wake);
}
