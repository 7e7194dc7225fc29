/* Documents kept over a restart: what was stored comes back whole or not at all, within bounds, without waiting for others. */
#include "cache-reader.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#define MIB (1024ull * 1024)
#define DISK (80 * MIB)                 /* of which documents may have 10 */

static int setup(void **state)
{
	*state = test_dir_new();
	return log_open("/dev/null");
}

static int teardown(void **state)
{
	(void)umount2(*state, MNT_DETACH);      /* of a test that failed */
	test_dir_done(*state);
	return log_open(NULL);
}

static char *db_path(const char *dir)
{
	char *path = NULL;

	assert_int_equal(str_fmt(&path, "%s/documents.db", dir), 0);
	return path;
}

static void store(struct cache *c, const char *key, const char *text)
{
	cache_doc_store(c, "space", "doc", key, text, strlen(text));
}

/* "(none)" when it is not there. */
static char *loaded(struct cache *c, const char *key)
{
	struct timespec stored;
	char *text = NULL;
	size_t n = 0;
	int r = cache_doc_load(c, "space", "doc", key, &text, &n, &stored);

	if (r == -ENOENT)
		return strdup("(none)");
	assert_int_equal(r, 0);
	assert_int_equal(strlen(text), n);
	return text;
}

static void holds(struct cache *c, const char *key, const char *want)
{
	_cleanup_free_ char *text = loaded(c, key);

	assert_string_equal(text, want);
}

static void what_was_stored_comes_back_after_a_restart(void **state)
{
	struct cache *c = cache_in(*state, MIB, DISK);
	struct timespec before = clock_wall(), stored;
	char bytes[3] = {0, 'x', 0}, *got;
	size_t n;

	store(c, "a", "one");
	cache_doc_store(c, "space", "doc", "bytes", bytes, sizeof(bytes));
	cache_doc_store(c, "space", "doc", "empty", "", 0);
	cache_free(c);
	c = cache_in(*state, MIB, DISK);
	holds(c, "a", "one");
	holds(c, "empty", "");
	assert_int_equal(cache_doc_load(c, "space", "doc", "bytes", &got, &n, &stored), 0);
	assert_int_equal(n, sizeof(bytes));
	assert_memory_equal(got, bytes, sizeof(bytes));
	assert_true(stored.tv_sec >= before.tv_sec - 1 && stored.tv_sec <= clock_wall().tv_sec + 1);
	free(got);
	cache_free(c);
}

static void what_was_stored_is_loaded_before_it_is_written(void **state)
{
	struct cache *c = cache_in(*state, MIB, DISK);
	char text[20];

	for (int i = 0; i < 500; i++) {
		snprintf(text, sizeof(text), "text %d", i);
		store(c, "a", text);
		holds(c, "a", text);
	}
	cache_doc_remove(c, "space", "doc", "a");
	holds(c, "a", "(none)");
	cache_free(c);
	c = cache_in(*state, MIB, DISK);
	holds(c, "a", "(none)");
	cache_free(c);
}

static void space_kind_and_key_are_kept_apart(void **state)
{
	struct cache *c = cache_in(*state, MIB, DISK);
	struct timespec stored;
	char *got;
	size_t n;

	store(c, "a", "one");
	cache_free(c);
	c = cache_in(*state, MIB, DISK);
	assert_int_equal(cache_doc_load(c, "other", "doc", "a", &got, &n, &stored), -ENOENT);
	assert_int_equal(cache_doc_load(c, "space", "list", "a", &got, &n, &stored), -ENOENT);
	assert_int_equal(cache_doc_load(c, "space", "doc", "A", &got, &n, &stored), -ENOENT);
	holds(c, "a", "one");
	cache_free(c);
}

static void the_newest_of_many_stores_stays(void **state)
{
	struct cache *c = cache_in(*state, MIB, DISK);
	char key[20], text[20];

	for (int round = 0; round < 5; round++)
		for (int i = 0; i < 300; i++) {
			snprintf(key, sizeof(key), "%d", i);
			snprintf(text, sizeof(text), "%d in %d", i, round);
			store(c, key, text);
		}
	cache_free(c);
	c = cache_in(*state, MIB, DISK);
	for (int i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "%d", i);
		snprintf(text, sizeof(text), "%d in 4", i);
		holds(c, key, text);
	}
	cache_free(c);
}

static void the_database_stays_within_its_part_and_the_oldest_leave(void **state)
{
	struct cache *c = cache_in(*state, MIB, DISK);
	_cleanup_free_ char *path = db_path(*state), *big = malloc(MIB);
	struct stat st;
	char key[20];
	int kept = 0;

	memset(big, 'x', MIB);
	for (int i = 0; i < 60; i++) {
		struct timespec stored;
		char *got;
		size_t n;

		snprintf(key, sizeof(key), "%d", i);
		/* Each has a time of its own. One that the disk is too slow for is stored again. */
		do {
			cache_doc_store(c, "space", "doc", key, big, MIB);
			usleep(2000);
		} while (cache_doc_load(c, "space", "doc", key, &got, &n, &stored) == -ENOENT);
		free(got);
	}
	cache_free(c);
	assert_int_equal(stat(path, &st), 0);
	assert_true((uint64_t)st.st_size <= DISK / 8 + MIB / 4);
	c = cache_in(*state, MIB, DISK);
	for (int i = 0; i < 60; i++) {
		_cleanup_free_ char *text = NULL;

		snprintf(key, sizeof(key), "%d", i);
		text = loaded(c, key);
		assert_true(strlen(text) == MIB || strcmp(text, "(none)") == 0);
		assert_true(!kept || strlen(text) == MIB);      /* the older, not the newer, left */
		kept += strlen(text) == MIB;
	}
	assert_true(kept >= 4 && kept <= 10);
	cache_free(c);
}

static void many_small_documents_stay_within_it_too(void **state)
{
	struct cache *c = cache_in(*state, MIB, 8 * MIB);       /* documents: 1 MiB */
	_cleanup_free_ char *path = db_path(*state);
	struct stat st;
	char key[20];

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 1000; i++) {
			snprintf(key, sizeof(key), "%d", round * 1000 + i);
			store(c, key, "a document of some sixty bytes, as an object of a listing is it");
		}
		cache_free(c);
		c = cache_in(*state, MIB, 8 * MIB);
	}
	assert_int_equal(stat(path, &st), 0);
	assert_true((uint64_t)st.st_size <= MIB + MIB / 4);
	assert_true((uint64_t)st.st_size > MIB / 2);
	holds(c, "19999", "a document of some sixty bytes, as an object of a listing is it");
	cache_free(c);
}

static void a_document_that_is_too_long_is_not_kept(void **state)
{
	struct cache *c = cache_in(*state, MIB, DISK);
	_cleanup_free_ char *big = calloc(1, CACHE_DOCUMENT_MAX + 1);

	cache_doc_store(c, "space", "doc", "a", big, CACHE_DOCUMENT_MAX + 1);
	holds(c, "a", "(none)");
	cache_doc_store(c, "space", "doc", "a", big, DISK / 8 / 2 + 1);
	holds(c, "a", "(none)");
	cache_free(c);
}

/* ---- damage ---- */

static bool any_damaged(const char *dir)
{
	char *command = NULL;
	int r;

	assert_true(asprintf(&command, "ls '%s' | grep -q damaged", dir) > 0);
	r = system(command);
	free(command);
	return r == 0;
}

static void a_flipped_bit_anywhere_gives_the_document_or_nothing(void **state)
{
	_cleanup_free_ char *path = db_path(*state);
	struct cache *c = cache_in(*state, MIB, DISK);
	_cleanup_free_ char *want = malloc(3001);
	unsigned char *whole;
	unsigned lost = 0, flips = 0;
	struct stat st;
	char key[20];
	int fd;

	memset(want, 'w', 3000);
	want[3000] = 0;
	for (int i = 0; i < 6; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		store(c, key, want);
	}
	cache_free(c);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	whole = malloc((size_t)st.st_size);
	assert_int_equal(file_pread_all(fd, whole, (size_t)st.st_size, 0), 0);
	close(fd);
	for (off_t at = 0; at < st.st_size; at += at < 200 ? 7 : 211) {
		char *command = NULL;

		/* The whole file anew, with one bit wrong. */
		assert_true(asprintf(&command, "rm -f '%s'*", path) > 0);
		assert_int_equal(system(command), 0);
		free(command);
		whole[at] ^= (unsigned char)(1u << (at % 8));
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_int_equal(file_pwrite_all(fd, whole, (size_t)st.st_size, 0), 0);
		close(fd);
		whole[at] ^= (unsigned char)(1u << (at % 8));
		flips++;
		c = cache_in(*state, MIB, DISK);
		for (int i = 0; i < 6; i++) {
			_cleanup_free_ char *text = NULL;

			snprintf(key, sizeof(key), "key %d", i);
			text = loaded(c, key);
			if (strcmp(text, want) != 0) {
				assert_string_equal(text, "(none)");
				lost++;
			}
		}
		/* The version (bytes 60 to 63) of a newer program: the file is left alone, and nothing is kept. */
		store(c, "key 0", "mended");
		if (at < 60 || at > 63)
			holds(c, "key 0", "mended");
		cache_free(c);
	}
	free(whole);
	assert_true(flips > 100);
	assert_true(lost > flips / 2 && lost < flips * 6);
}

static void a_database_of_garbage_is_set_aside(void **state)
{
	_cleanup_free_ char *path = db_path(*state), *bytes = malloc(20000);
	struct cache *c;

	memset(bytes, 0x5a, 20000);
	assert_int_equal(file_write_atomic(path, bytes, 20000, 0600), 0);
	c = cache_in(*state, MIB, DISK);
	store(c, "a", "one");
	cache_free(c);
	assert_true(any_damaged(*state));
	c = cache_in(*state, MIB, DISK);
	holds(c, "a", "one");
	cache_free(c);
}

static void damage_that_shows_while_it_is_open_ends_with_a_fresh_one(void **state)
{
	_cleanup_free_ char *path = db_path(*state), *big = malloc(MIB), *text = NULL;
	struct cache *c = cache_in(*state, MIB, DISK);
	unsigned char zeros[4096] = {0};
	struct stat st;
	int fd;

	memset(big, 'x', MIB - 1);
	big[MIB - 1] = 0;
	for (int i = 0; i < 4; i++) {
		char key[20];

		snprintf(key, sizeof(key), "%d", i);
		store(c, key, big);
	}
	cache_free(c);
	/* All but the first pages, so that it opens well. */
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 4096; at + 4096 <= st.st_size; at += 4096)
		assert_int_equal(pwrite(fd, zeros, 4096, at), 4096);
	close(fd);
	c = cache_in(*state, MIB, DISK);
	for (int i = 0; i < 60000 && !any_damaged(*state); i += 100) {
		free(loaded(c, "2"));
		store(c, "2", "new");
		usleep(100000);
	}
	assert_true(any_damaged(*state));
	store(c, "2", "newer");
	cache_free(c);
	c = cache_in(*state, MIB, DISK);
	holds(c, "2", "newer");
	cache_free(c);
}

/* ---- others ---- */

static void another_process_that_writes_delays_no_load_and_no_start(void **state)
{
	_cleanup_free_ char *path = db_path(*state);
	struct cache *c = cache_in(*state, MIB, DISK);
	int ready[2];
	char byte;
	pid_t pid;

	store(c, "a", "one");
	cache_free(c);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		sqlite3 *db;

		if (sqlite3_open(path, &db) != SQLITE_OK || sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	/* Not timed: while the other lives the lock stands, and these come back. A load that waited for it would find nothing
	 * until the patience of SQLite ends, and then fail. */
	c = cache_in(*state, MIB, DISK);
	holds(c, "a", "one");
	store(c, "b", "two");
	holds(c, "a", "one");
	holds(c, "b", "two");
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	cache_free(c);
	c = cache_in(*state, MIB, DISK);
	holds(c, "b", "two");
	cache_free(c);
}

static void two_mounts_share_the_documents(void **state)
{
	struct cache *a = cache_in(*state, MIB, DISK), *b = cache_in(*state, MIB, DISK);
	int i;

	store(a, "k", "from a");
	for (i = 0; i < 60000; i++) {
		_cleanup_free_ char *text = loaded(b, "k");

		if (strcmp(text, "from a") == 0)
			break;
		usleep(1000);
	}
	assert_true(i < 60000);
	cache_free(a);
	store(b, "k", "from b");
	cache_free(b);
	a = cache_in(*state, MIB, DISK);
	holds(a, "k", "from b");
	cache_free(a);
}

struct many {
	struct cache *c;
	unsigned n;
	bool wrong;
};

static void *store_many(void *arg)
{
	struct many *m = arg;

	for (unsigned i = 0; i < 400; i++) {
		char key[20], text[40];

		snprintf(key, sizeof(key), "%u of %u", i, m->n);
		snprintf(text, sizeof(text), "text %u of %u", i, m->n);
		store(m->c, key, text);
		if (i % 7 == 0) {
			_cleanup_free_ char *got = loaded(m->c, key);

			m->wrong |= strcmp(got, text) != 0;
		}
	}
	return NULL;
}

static void many_threads_may_store_and_load_at_once(void **state)
{
	struct cache *c = cache_in(*state, MIB, DISK);
	struct many many[8];
	pthread_t threads[8];

	for (unsigned i = 0; i < 8; i++) {
		many[i] = (struct many){c, i, false};
		assert_int_equal(pthread_create(&threads[i], NULL, store_many, &many[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++) {
		pthread_join(threads[i], NULL);
		assert_false(many[i].wrong);
	}
	cache_free(c);
	c = cache_in(*state, MIB, DISK);
	holds(c, "399 of 7", "text 399 of 7");
	cache_free(c);
}

static void a_full_disk_keeps_nothing_and_stops_nobody(void **state)
{
	struct cache *c;
	_cleanup_free_ char *big = malloc(MIB), *filler = NULL, *text = NULL;
	char zeros[65536] = {0};
	int fd;

	if (geteuid() != 0)
		skip();         /* needs root: a small file system */
	assert_int_equal(mount("tmpfs", *state, "tmpfs", 0, "size=4m"), 0);
	c = cache_in(*state, MIB, DISK);
	store(c, "small", "kept");
	cache_free(c);
	assert_int_equal(str_fmt(&filler, "%s/filler", (char *)*state), 0);
	fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	close(fd);
	memset(big, 'x', MIB - 1);
	big[MIB - 1] = 0;
	c = cache_in(*state, MIB, DISK);
	for (int i = 0; i < 8; i++) {
		char key[8];

		snprintf(key, sizeof(key), "%d", i);
		store(c, key, big);
	}
	holds(c, "never stored", "(none)");
	cache_free(c);
	assert_int_equal(unlink(filler), 0);
	c = cache_in(*state, MIB, DISK);
	holds(c, "small", "kept");
	holds(c, "7", "(none)");
	cache_free(c);
	assert_int_equal(umount2(*state, MNT_DETACH), 0);
}

static void without_a_folder_nothing_is_kept(void **state)
{
	struct cache *c = cache_in(NULL, MIB, 0);

	store(c, "a", "one");
	holds(c, "a", "(none)");
	cache_doc_remove(c, "space", "doc", "a");
	cache_free(c);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_was_stored_comes_back_after_a_restart),
		T(what_was_stored_is_loaded_before_it_is_written),
		T(space_kind_and_key_are_kept_apart),
		T(the_newest_of_many_stores_stays),
		T(the_database_stays_within_its_part_and_the_oldest_leave),
		T(many_small_documents_stay_within_it_too),
		T(a_document_that_is_too_long_is_not_kept),
		T(a_flipped_bit_anywhere_gives_the_document_or_nothing),
		T(a_database_of_garbage_is_set_aside),
		T(damage_that_shows_while_it_is_open_ends_with_a_fresh_one),
		T(another_process_that_writes_delays_no_load_and_no_start),
		T(two_mounts_share_the_documents),
		T(many_threads_may_store_and_load_at_once),
		T(a_full_disk_keeps_nothing_and_stops_nobody),
		T(without_a_folder_nothing_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
