/* house.c - the housekeeper: a thread for what is done now and then.
 *
 * Writes down what directories hold (keep.c), has files sent that stay open, lets go of listings that the kernel has forgotten and has it
 * forget where it remembers too many, has the backend do its work (looking after the login) and asks how much space there is, so that df never waits.
 */
#include <malloc.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"
#include "fs/private.h"

#define HOUSE_TICK_MS 1000
#define LET_GO_MS 10000         /* between two looks for listings to let go */
#define NODES_MAX 100000        /* things that the kernel may remember, of those that nobody uses: some 100 MiB here and there */
#define TELL_MAX 50000          /* that it is told to forget at a time */
#define TRIM_NODES 10000
#define WORK_FIRST_MS 30000     /* after the mount: the login was looked at just now */
#define WORK_MIN_S 5

/* Nobody has anything to do with it but its directory, and perhaps the kernel's memory. */
static bool is_unused_locked(const struct node *n)
{
	return !n->dir && !n->control && !n->opens && n->refs == 1 && !n->draft && !n->refreshing;
}

/* The listing of a directory is as if it had never been. What is in use stays as what was found by its name; with `all` nothing is. */
static void let_go_locked(struct dir *d, bool all)
{
	struct map_iter names = {0};
	VEC(struct node *) children = {0};
	const char *name;
	void *value;

	while (map_next(d->by_name, &names, &name, &value)) {
		struct node *n = value;

		if (all || (is_unused_locked(n) && !n->nlookup))
			(void)vec_push(&children, n);   /* without memory it stays */
	}
	d->order.n = d->sorted.n = 0;
	d->serial++;
	d->listed = false;
	d->listed_at = 0;               /* what is kept on disk may be older, and has its own fingerprint */
	free(TAKE(d->fingerprint));
	d->kept = KEPT_UNREAD;
	d->drafts_shown = false;
	for (size_t i = 0; i < children.n; i++)
		if (map_remove(d->by_name, children.at[i]->name))
			node_unref_locked(children.at[i]);
	vec_done(&children);
}

static bool is_idle_locked(const struct node *n, unsigned age)
{
	return n->dir && !n->opens && !n->dir->listing && n->dir->kept != KEPT_LOADING && list_empty(&n->dir->unkept) &&
	       map_count(n->dir->by_name) && fs_now_age(n->dir->listed_at) > age;
}

typedef VEC(struct node *) nodes_t;

/* With a reference each. */
static void idle_dirs_locked(struct fs *fs, unsigned age, bool forgotten, nodes_t *ret)
{
	struct map64_iter it = {0};
	uint64_t key;
	void *value;

	while (map64_next(fs->by_ino, &it, &key, &value)) {
		struct node *n = value;

		if (is_idle_locked(n, age) && !(forgotten && (n == fs->root || n->nlookup)) && vec_push(ret, n) == 0)
			node_ref_locked(n);
	}
}

/* Directories that the kernel has forgotten let their listings go. */
static void let_go(struct fs *fs)
{
	nodes_t idle = {0};

	WITH_LOCK(&fs->lock) {
		idle_dirs_locked(fs, 2 * fs->list_ttl_ms, true, &idle);
		for (size_t i = 0; i < idle.n; i++) {
			let_go_locked(idle.at[i]->dir, true);
			node_unref_locked(idle.at[i]);
		}
	}
	vec_done(&idle);
}

/* The kernel remembers what it has seen until its memory runs short, and what it remembers we must know. Beyond a number it is told to forget files,
 * and then their directories' listings go. Directories are left alone: somebody may stand in them. */
static void bound_nodes(struct fs *fs)
{
	size_t told = 0, freed = 0;
	nodes_t idle = {0};

	WITH_LOCK(&fs->lock) {
		size_t before = map64_count(fs->by_ino);

		if (before <= NODES_MAX)
			break;
		idle_dirs_locked(fs, fs->list_ttl_ms, false, &idle);
		for (size_t i = 0; i < idle.n; i++) {
			struct dir *d = idle.at[i]->dir;
			struct map_iter names = {0};
			size_t remembered = 0;
			const char *name;
			void *value;

			while (map_next(d->by_name, &names, &name, &value)) {
				struct node *n = value;

				if (!is_unused_locked(n) || !n->nlookup)
					continue;
				remembered++;
				if (told < TELL_MAX && fs->notifier && pool_waiting(fs->notifier) < TELL_MAX) {
					node_notify_entry(fs, idle.at[i], name);
					told++;
				}
			}
			if (!remembered)
				let_go_locked(d, false);
			node_unref_locked(idle.at[i]);
		}
		freed = before - map64_count(fs->by_ino);
	}
	vec_done(&idle);
#ifdef __GLIBC__
	if (freed >= TRIM_NODES)
		malloc_trim(0);         /* else what was freed stays with the process */
#endif
}

static void ask_space(struct fs *fs)
{
	uint64_t used, total;

	if (backend_space(fs->session, &used, &total) < 0)
		return;                 /* what was told before stands */
	atomic_store(&fs->space_used, used);
	atomic_store(&fs->space_total, total);
	atomic_store(&fs->space_known, true);
}

static void *house(void *arg)
{
	struct fs *fs = arg;
	uint64_t work_at = clock_mono_ms() + WORK_FIRST_MS, let_go_at = work_at;
	unsigned open_ms = fs->config.upload_open_ms;
	unsigned tick = open_ms && open_ms < 2 * HOUSE_TICK_MS ? open_ms / 2 + 1 : HOUSE_TICK_MS;

	thread_block_signals();
	pthread_setname_np(pthread_self(), "scifs-house");
	ask_space(fs);
	for (;;) {
		struct timespec until = clock_until(tick);
		bool stop;

		WITH_LOCK(&fs->lock) {
			if (fs->housekeeping)
				pthread_cond_timedwait(&fs->house_wake, &fs->lock, &until);
			stop = !fs->housekeeping;
		}
		if (stop)
			return NULL;
		keep_write(fs, false);
		if (open_ms && fs->spool)
			write_send_open(fs);
		if (clock_mono_ms() >= let_go_at) {
			let_go(fs);
			let_go_at = clock_mono_ms() + LET_GO_MS;
		}
		bound_nodes(fs);
		if (clock_mono_ms() >= work_at) {
			unsigned next_s = 60;

			(void)backend_work(fs->session, &next_s);       /* logged where it failed; tried again later */
			ask_space(fs);
			work_at = clock_mono_ms() + 1000ull * (next_s < WORK_MIN_S ? WORK_MIN_S : next_s);
		}
	}
}

void house_start(struct fs *fs)
{
	thread_cond_init(&fs->house_wake);
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
