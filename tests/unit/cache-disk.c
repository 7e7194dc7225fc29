/* Blocks on disk: kept over a restart, never a wrong byte, never more than the limit, reads go on without it. */
#include "cache-reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define SUB CACHE_SUB
#define LIMIT (64 * MIB)

/* In libc's place: a file system without hard links. */
static atomic_bool no_links;

int link(const char *from, const char *to)
{
	if (atomic_load(&no_links)) {
		errno = EPERM;
		return -1;
	}
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int setup(void **state)
{
	*state = test_dir_new();
	return log_open("/dev/null");
}

static int teardown(void **state)
{
	atomic_store(&no_links, false);
	(void)umount2(*state, MNT_DETACH);      /* of a test that failed */
	test_dir_done(*state);
	return log_open(NULL);
}

static char *in_dir(const char *dir, const char *name)
{
	char *path = NULL;

	assert_int_equal(str_fmt(&path, "%s/%s", dir, name), 0);
	return path;
}

/* Fill a content and end the cache, so that all of it is on disk. */
static void fill(const char *dir, const char *key, unsigned salt, uint64_t size, uint64_t disk)
{
	struct cache *c = cache_in(dir, 64 * MIB, disk);
	struct cache_file *f = file_in(c, key, size);
	uint64_t none = 0;

	if (size)
		assert_int_equal(read_through(f, salt, 0, 1, &none), -1);       /* until the disk was looked at */
	fetch(f, salt, 0, size);
	cache_close(f);
	cache_free(c);
}

/* Read all of it in a new cache. Returns the bytes that had to be fetched; each byte must be right. */
static uint64_t read_all(const char *dir, const char *key, unsigned salt, uint64_t size, uint64_t *bad)
{
	struct cache *c = cache_in(dir, 64 * MIB, LIMIT);
	struct cache_file *f = file_in(c, key, size);
	uint64_t fetched = 0;

	for (uint64_t at = 0; at < size; at += 500 * KIB)
		assert_int_equal(read_through(f, salt, at, size - at < 500 * KIB ? size - at : 500 * KIB, &fetched), -1);
	if (bad)
		*bad = stats_of(c).disk_bad;
	cache_close(f);
	cache_free(c);
	return fetched;
}

/* Each file below dir, by a callback. */
static struct {
	char *paths[4096];
	int n;
} walk;

static int walked(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (type == FTW_F && walk.n < (int)COUNT(walk.paths))
		walk.paths[walk.n++] = strdup(path);
	return 0;
}

static void walk_done(void)
{
	while (walk.n)
		free(walk.paths[--walk.n]);
}

static void walk_dir(const char *dir)
{
	walk_done();
	assert_int_equal(nftw(dir, walked, 16, FTW_PHYS), 0);
}

static char *file_ending(const char *dir, const char *end)
{
	char *found = NULL;

	walk_dir(dir);
	for (int i = 0; i < walk.n; i++)
		if (str_ends(walk.paths[i], end)) {
			assert_null(found);
			found = strdup(walk.paths[i]);
		}
	walk_done();
	assert_non_null(found);
	return found;
}

static uint64_t bytes_below(const char *dir)
{
	uint64_t bytes = 0;

	walk_dir(dir);
	for (int i = 0; i < walk.n; i++) {
		struct stat st;

		if (stat(walk.paths[i], &st) == 0)
			bytes += (uint64_t)st.st_blocks * 512 / st.st_nlink;    /* small contents may share a file */
	}
	walk_done();
	return bytes;
}

static void flip(const char *path, off_t at, int bit)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	unsigned char byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= (unsigned char)(1u << bit);
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

/* ---- round trips ---- */

static void what_was_read_is_read_from_disk_after_a_restart(void **state)
{
	static const uint64_t sizes[] = {1, 4095, SUB, SUB + 1, MIB, MIB + 1, 5 * MIB + 777};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		char key[20];
		uint64_t bad;

		snprintf(key, sizeof(key), "key %zu", i);
		fill(*state, key, (unsigned)i, sizes[i], LIMIT);
		assert_int_equal(read_all(*state, key, (unsigned)i, sizes[i], &bad), 0);
		assert_int_equal(bad, 0);
	}
}

static void single_sub_blocks_are_kept_and_only_the_others_fetched(void **state)
{
	struct cache *c = cache_in(*state, 8 * MIB, LIMIT);
	struct cache_file *f = file_in(c, "k", 3 * MIB);
	uint64_t fetched = 0;

	assert_int_equal(read_through(f, 1, 5 * SUB, SUB, &fetched), -1);
	assert_int_equal(read_through(f, 1, 2 * MIB + 100, 100, &fetched), -1);
	assert_int_equal(fetched, 2 * SUB);
	cache_close(f);
	cache_free(c);
	assert_int_equal(read_all(*state, "k", 1, 3 * MIB, NULL), 3 * MIB - 2 * SUB);
}

static void what_a_failed_fetch_brought_is_kept(void **state)
{
	struct cache *c = cache_in(*state, 8 * MIB, LIMIT);
	struct cache_file *f = file_in(c, "k", MIB);
	unsigned char bytes[2 * SUB];
	uint64_t first, count, none = 0;
	struct cache_fetch *x;

	assert_int_equal(read_through(f, 1, MIB - 1, 1, &none), -1);
	fill_bytes(1, 0, bytes, sizeof(bytes));
	assert_int_equal(cache_claim(f, 0, 10 * SUB, true, &x, &first, &count), 1);
	assert_int_equal(cache_fill(x, bytes, sizeof(bytes)), 0);
	cache_fetched(x, -ECONNRESET);
	cache_close(f);
	cache_free(c);
	assert_int_equal(read_all(*state, "k", 1, MIB, NULL), MIB - 3 * SUB);
}

static void memory_that_is_evicted_comes_back_from_disk(void **state)
{
	struct cache *c = cache_in(*state, 2 * MIB, LIMIT);
	struct cache_file *f = file_in(c, "k", 20 * MIB);
	uint64_t fetched = 0;

	/* The writer may be slower than this, so that blocks are evicted before; they are fetched in a later round. */
	for (time_t end = time(NULL) + PATIENCE_S; time(NULL) < end && stats_of(c).disk_hits < 40; usleep(1000))
		for (uint64_t at = 0; at < 20 * MIB; at += MIB)
			assert_int_equal(read_through(f, 1, at, MIB, &fetched), -1);
	assert_true(stats_of(c).evicted_memory > 20);
	assert_true(stats_of(c).disk_hits >= 40);
	assert_int_equal(stats_of(c).disk_bad, 0);
	cache_close(f);
	cache_free(c);
}

static void another_version_finds_nothing_of_the_old_one(void **state)
{
	fill(*state, "id version 1", 1, MIB, LIMIT);
	assert_int_equal(read_all(*state, "id version 2", 2, MIB, NULL), MIB);
	assert_int_equal(read_all(*state, "id version 1", 3, MIB - 1, NULL), MIB - 1);
}

static void a_key_too_long_for_the_header_is_kept_in_memory(void **state)
{
	char key[5000];
	uint64_t fetched = 0;

	memset(key, 'k', sizeof(key));
	key[sizeof(key) - 1] = 0;
	fill(*state, key, 1, MIB, LIMIT);
	assert_int_equal(read_all(*state, key, 1, MIB, NULL), MIB);
	key[KEY_MAX] = 0;
	fill(*state, key, 1, MIB, LIMIT);
	assert_int_equal(read_all(*state, key, 1, MIB, &fetched), 0);
}

/* ---- damage ---- */

#define DAMAGED_SIZE (2 * MIB + 5000)

/* The first bit and the last of each field, and some of the data's. After each flip: every byte right. */
static void flips_of(const char *dir, const char *end, uint64_t size, const off_t *places, size_t n, uint64_t least_fetched)
{
	for (size_t i = 0; i < n; i++)
		for (int bit = 0; bit < 8; bit += 7) {
			_cleanup_free_ char *path = NULL;

			fill(dir, "k", 1, size, LIMIT);
			path = file_ending(dir, end);
			flip(path, places[i], bit);
			assert_true(read_all(dir, "k", 1, size, NULL) >= least_fetched);
			assert_int_equal(read_all(dir, "k", 1, size, NULL), 0);         /* and it is mended */
		}
}

static void flips(const char *dir, const char *end, const off_t *places, size_t n, uint64_t least_fetched)
{
	flips_of(dir, end, DAMAGED_SIZE, places, n, least_fetched);
}

static void a_flipped_bit_of_the_header_makes_the_content_begin_anew(void **state)
{
	static const off_t places[] = {0, 7, 8, 11, 12, 15, 16, 23, 24};

	flips(*state, ".map", places, COUNT(places), DAMAGED_SIZE);
}

static void a_flipped_bit_behind_the_key_does_no_harm(void **state)
{
	_cleanup_free_ char *path = NULL;

	fill(*state, "k", 1, DAMAGED_SIZE, LIMIT);
	path = file_ending(*state, ".map");
	flip(path, 25, 0);
	flip(path, 4095, 7);
	assert_int_equal(read_all(*state, "k", 1, DAMAGED_SIZE, NULL), 0);
}

static void a_flipped_bit_of_a_sum_makes_its_sub_block_come_again(void **state)
{
	static const off_t places[] = {4096, 4096 + 7, 4096 + 31 * 8 + 3, 4096 + 272, 4096 + 2 * 272, 4096 + 2 * 272 + 7};

	flips(*state, ".map", places, COUNT(places), 5000);
}

static void a_flipped_bit_of_a_sum_that_is_not_there_shows_no_hole(void **state)
{
	_cleanup_free_ char *path = NULL;
	struct cache *c = cache_in(*state, 8 * MIB, LIMIT);
	struct cache_file *f = file_in(c, "k", DAMAGED_SIZE);
	uint64_t fetched = 0;

	assert_int_equal(read_through(f, 1, 0, 10, &fetched), -1);
	cache_close(f);
	cache_free(c);
	path = file_ending(*state, ".map");
	flip(path, 4096 + 8, 0);        /* of sub-block 1, of which nothing was ever written */
	assert_int_equal(read_all(*state, "k", 1, DAMAGED_SIZE, NULL), DAMAGED_SIZE - SUB);
}

static void a_flipped_bit_of_the_last_use_does_no_harm(void **state)
{
	_cleanup_free_ char *path = NULL;

	for (off_t at = 4096 + 256; at < 4096 + 272; at++) {
		fill(*state, "k", 1, DAMAGED_SIZE, LIMIT);
		free(path);
		path = file_ending(*state, ".map");
		flip(path, at, 7);
		assert_int_equal(read_all(*state, "k", 1, DAMAGED_SIZE, NULL), 0);
	}
}

static void a_flipped_bit_of_the_data_makes_its_sub_block_come_again(void **state)
{
	static const off_t places[] = {0, SUB - 1, SUB, MIB - 1, MIB, MIB + 12345, 2 * MIB, 2 * MIB + 4999};
	_cleanup_free_ char *path = NULL;
	uint64_t bad;

	flips(*state, ".data", places, COUNT(places), 5000);
	path = file_ending(*state, ".data");
	flip(path, 10, 3);
	assert_int_equal(read_all(*state, "k", 1, DAMAGED_SIZE, &bad), SUB);
	assert_int_equal(bad, 1);
}

#define SMALL_SIZE 4000                 /* of a content that may share its file */
#define SMALL_RECORD (16 + 40)          /* where the record of one that shares it with none begins */
#define SMALL_BYTES (SMALL_RECORD + (off_t)sizeof(struct small_header) + 1)     /* and its bytes: keys are one letter */

static void a_flipped_bit_of_a_small_content_makes_it_come_again(void **state)
{
	static const off_t places[] = {0, 7, 8, 11, 12, 15, 16, 47, 48, 51, SMALL_RECORD, SMALL_RECORD + 7, SMALL_RECORD + 8, SMALL_RECORD + 15,
	                               SMALL_RECORD + 32, SMALL_RECORD + 35, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 2000,
	                               SMALL_BYTES + SMALL_SIZE - 1};
	_cleanup_free_ char *path = NULL;
	uint64_t bad;

	flips_of(*state, ".small", SMALL_SIZE, places, COUNT(places), SMALL_SIZE);
	path = file_ending(*state, ".small");
	flip(path, SMALL_BYTES + 10, 3);
	assert_int_equal(read_all(*state, "k", 1, SMALL_SIZE, &bad), SMALL_SIZE);
	assert_int_equal(bad, 1);
}

static void a_flipped_bit_of_a_small_contents_last_use_does_no_harm(void **state)
{
	for (off_t at = SMALL_RECORD + 16; at < SMALL_RECORD + 32; at++) {
		_cleanup_free_ char *path = NULL;

		fill(*state, "k", 1, SMALL_SIZE, LIMIT);
		path = file_ending(*state, ".small");
		flip(path, at, 7);
		assert_int_equal(read_all(*state, "k", 1, SMALL_SIZE, NULL), 0);
	}
}

static void a_flipped_bit_of_the_usage_record_is_counted_anew(void **state)
{
	_cleanup_free_ char *path = in_dir(*state, "blocks/usage");

	for (off_t at = 0; at < 40; at++) {
		struct cache *c;
		struct cache_file *f;
		uint64_t used;

		fill(*state, "k", 1, MIB, LIMIT);
		flip(path, at, (int)at % 8);
		fill(*state, "other", 1, MIB + (uint64_t)at, LIMIT);
		c = cache_in(*state, MIB, LIMIT);
		f = file_in(c, "k", MIB);
		used = stats_of(c).disk_used;
		assert_true(used <= LIMIT && used >= 2 * MIB);
		cache_close(f);
		cache_free(c);
	}
	assert_true(bytes_below(*state) < LIMIT);
}

/* Bytes of one kind of file are replaced by something else; reads stay right, and then the cache works again. */
static void spoil(const char *dir, const char *end, void (*how)(const char *path))
{
	_cleanup_free_ char *path = NULL;
	uint64_t size = str_eq(end, ".small") ? SMALL_SIZE : DAMAGED_SIZE;

	fill(dir, "k", 1, size, LIMIT);
	path = file_ending(dir, end);
	how(path);
	assert_true(read_all(dir, "k", 1, size, NULL) > 0);
	assert_int_equal(read_all(dir, "k", 1, size, NULL), 0);
}

static void cut(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size / 2 + 13), 0);
}

static void empty(const char *path)
{
	assert_int_equal(truncate(path, 0), 0);
}

static void garbage(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
	unsigned char bytes[4096];

	for (unsigned i = 0; i < 2000; i++) {
		for (size_t k = 0; k < sizeof(bytes); k++)
			bytes[k] = byte_at(99, i * sizeof(bytes) + k);
		assert_int_equal(pwrite(fd, bytes, sizeof(bytes), (off_t)(i * sizeof(bytes))), sizeof(bytes));
	}
}

static void a_folder(const char *path)
{
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void a_fifo(const char *path)
{
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
}

static void gone(const char *path)
{
	assert_int_equal(unlink(path), 0);
}

static void a_cut_file_is_no_wrong_byte(void **state)
{
	spoil(*state, ".map", cut);
	spoil(*state, ".data", cut);
	spoil(*state, ".small", cut);
}

static void an_empty_file_is_no_wrong_byte(void **state)
{
	spoil(*state, ".map", empty);
	spoil(*state, ".data", empty);
	spoil(*state, ".small", empty);
}

static void garbage_is_no_wrong_byte(void **state)
{
	spoil(*state, ".map", garbage);
	spoil(*state, ".data", garbage);
	spoil(*state, ".small", garbage);
}

static void a_missing_file_is_no_wrong_byte(void **state)
{
	spoil(*state, ".map", gone);
	spoil(*state, ".data", gone);
	spoil(*state, ".small", gone);
}

static void a_fifo_in_a_files_place_stops_nobody(void **state)
{
	spoil(*state, ".map", a_fifo);
	spoil(*state, ".data", a_fifo);
	spoil(*state, ".small", a_fifo);
}

static void a_folder_in_a_files_place_only_costs_the_disk(void **state)
{
	static const char *const kinds[] = {".map", ".data", ".small"};

	for (size_t i = 0; i < COUNT(kinds); i++) {
		_cleanup_free_ char *path = NULL;
		char key[2] = {(char)('a' + i), 0};
		uint64_t size = i == 2 ? SMALL_SIZE : DAMAGED_SIZE;
		char *command = NULL;

		fill(*state, key, 1, size, LIMIT);
		path = file_ending(*state, kinds[i]);
		a_folder(path);
		assert_int_equal(read_all(*state, key, 1, size, NULL), size);
		assert_true(asprintf(&command, "rm -rf '%s'/blocks/??", (char *)*state) > 0);
		assert_int_equal(system(command), 0);
		free(command);
	}
}

static void a_grown_file_does_no_harm(void **state)
{
	_cleanup_free_ char *map = NULL, *data = NULL, *small = NULL;

	fill(*state, "k", 1, DAMAGED_SIZE, LIMIT);
	map = file_ending(*state, ".map");
	data = file_ending(*state, ".data");
	assert_int_equal(truncate(map, 1ll << 40), 0);
	assert_int_equal(truncate(data, 1ll << 41), 0);
	assert_int_equal(read_all(*state, "k", 1, DAMAGED_SIZE, NULL), 0);
	fill(*state, "s", 1, SMALL_SIZE, LIMIT);
	small = file_ending(*state, ".small");
	assert_int_equal(truncate(small, 1ll << 41), 0);
	assert_int_equal(read_all(*state, "s", 1, SMALL_SIZE, NULL), 0);
}

static void another_format_is_not_believed(void **state)
{
	_cleanup_free_ char *map = NULL;
	_cleanup_close_ int fd = -1;
	uint32_t format = MAP_FORMAT + 1;

	fill(*state, "k", 1, MIB, LIMIT);
	map = file_ending(*state, ".map");
	fd = open(map, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, &format, sizeof(format), 8), sizeof(format));
	assert_int_equal(read_all(*state, "k", 1, MIB, NULL), MIB);
	assert_int_equal(read_all(*state, "k", 1, MIB, NULL), 0);
}

static void the_map_of_one_content_never_answers_for_another(void **state)
{
	static const char *const kinds[] = {"map", "data"};
	_cleanup_free_ char *base = NULL;
	char *kept[2], *path;

	fill(*state, "a", 1, MIB, LIMIT);
	for (int i = 0; i < 2; i++) {
		path = file_ending(*state, kinds[i]);
		kept[i] = in_dir(*state, kinds[i]);
		assert_int_equal(rename(path, kept[i]), 0);
		free(path);
	}
	fill(*state, "b", 2, MIB, LIMIT);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(str_fmt(&base, ".%s", kinds[i]), 0);
		path = file_ending(*state, base);
		free(base);
		base = NULL;
		assert_int_equal(rename(kept[i], path), 0);
		free(path);
		free(kept[i]);
	}
	assert_int_equal(read_all(*state, "b", 2, MIB, NULL), MIB);
}

static void the_file_of_one_small_content_never_answers_for_another(void **state)
{
	_cleanup_free_ char *a = NULL, *kept = in_dir(*state, "kept"), *b = NULL;

	fill(*state, "a", 1, SMALL_SIZE, LIMIT);
	a = file_ending(*state, ".small");
	assert_int_equal(rename(a, kept), 0);
	fill(*state, "b", 2, SMALL_SIZE, LIMIT);
	b = file_ending(*state, ".small");
	assert_int_equal(rename(kept, b), 0);
	assert_int_equal(read_all(*state, "b", 2, SMALL_SIZE, NULL), SMALL_SIZE);
	assert_int_equal(read_all(*state, "b", 2, SMALL_SIZE, NULL), 0);
}

/* A file that some contents of `size` bytes share: their keys are "a", "b" ..., their salts 0, 1 ... */
static void make_shared(const char *dir, size_t n, uint64_t size)
{
	struct cache *c = cache_in(NULL, 8 * MIB, 0);
	struct small_item items[SMALL_BATCH];
	_cleanup_free_ char *tmp = NULL;

	for (size_t i = 0; i < n; i++) {
		char key[2] = {(char)('a' + i), 0}, *base, *data = malloc(size);

		fill(dir, key, (unsigned)i, size, LIMIT);
		base = file_ending(dir, ".small");
		assert_int_equal(unlink(base), 0);
		*strrchr(base, '.') = 0;
		fill_bytes((unsigned)i, 0, (unsigned char *)data, size);
		items[i] = (struct small_item){file_in(c, key, size), base, data};
	}
	assert_int_equal(small_write(items, n, &tmp), 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(small_name(tmp, items[i].base), 0);
		cache_close((struct cache_file *)items[i].file);
		free((char *)items[i].base);
		free((char *)items[i].data);
	}
	assert_int_equal(unlink(tmp), 0);
	cache_free(c);
}

/* How many of them had to be fetched; each byte must be right. */
static size_t shared_that_are_lost(const char *dir, size_t n, uint64_t size)
{
	size_t lost = 0;

	for (size_t i = 0; i < n; i++) {
		char key[2] = {(char)('a' + i), 0};

		lost += read_all(dir, key, (unsigned)i, size, NULL) != 0;
	}
	return lost;
}

static void small_contents_that_share_a_file_are_all_read(void **state)
{
	static const uint64_t sizes[] = {1, SMALL_SIZE, SUB};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		make_shared(*state, SMALL_BATCH, sizes[i]);
		assert_int_equal(shared_that_are_lost(*state, SMALL_BATCH, sizes[i]), 0);
		walk_dir(*state);
		for (int k = 0; k < walk.n; k++)
			if (str_ends(walk.paths[k], ".small"))
				assert_int_equal(unlink(walk.paths[k]), 0);
		walk_done();
	}
}

/* Any one of the names. */
static char *a_name_of_it(const char *dir)
{
	char *found = NULL;

	walk_dir(dir);
	for (int i = 0; i < walk.n && !found; i++)
		if (str_ends(walk.paths[i], ".small"))
			found = strdup(walk.paths[i]);
	walk_done();
	assert_non_null(found);
	return found;
}

static void damage_to_one_content_costs_no_other_that_shares_its_file(void **state)
{
	/* In the list the fourth one's hash, and where the fifth one begins; bytes of the third. */
	static const off_t places[] = {16 + 3 * 40 + 5, 16 + 4 * 40 + 32, 2 * 2 * SMALL_PAGE + 1000};

	for (size_t i = 0; i < COUNT(places); i++) {
		_cleanup_free_ char *path = NULL;

		make_shared(*state, 8, SMALL_SIZE + 1000);
		path = a_name_of_it(*state);
		flip(path, places[i], 4);
		assert_int_equal(shared_that_are_lost(*state, 8, SMALL_SIZE + 1000), 1);
		assert_int_equal(shared_that_are_lost(*state, 8, SMALL_SIZE + 1000), 0);
		walk_dir(*state);
		for (int k = 0; k < walk.n; k++)
			if (str_ends(walk.paths[k], ".small"))
				assert_int_equal(unlink(walk.paths[k]), 0);
		walk_done();
	}
}

static void a_content_that_leaves_gives_its_space_back_and_the_others_stay(void **state)
{
	_cleanup_free_ char *blocks = in_dir(*state, "blocks");
	_cleanup_free_ char *path = NULL;
	uint64_t limit = 800 * KIB;             /* of which an eighth is for documents */
	size_t lost;

	make_shared(*state, SMALL_BATCH, SUB);  /* 9 pages each */
	path = a_name_of_it(*state);
	for (off_t i = 0; i < SMALL_BATCH; i++) {
		uint64_t used = (uint64_t)time(NULL) - 1000;    /* older than what comes */
		int fd = open(path, O_WRONLY | O_CLOEXEC);

		assert_int_equal(pwrite(fd, &used, sizeof(used), (i ? i * 9 * SMALL_PAGE : 16 + SMALL_BATCH * 40) + 16), sizeof(used));
		close(fd);
	}
	fill(*state, "large", 3, 256 * KIB, limit);
	assert_true(bytes_below(blocks) <= limit / 8 * 7);
	assert_int_equal(read_all(*state, "large", 3, 256 * KIB, NULL), 0);
	lost = shared_that_are_lost(*state, SMALL_BATCH, SUB);
	assert_true(lost > 0 && lost < SMALL_BATCH);
}

static void without_hard_links_each_small_content_is_a_file_of_its_own(void **state)
{
	struct cache *c = cache_in(*state, 64 * MIB, LIMIT);
	uint64_t fetched = 0;

	atomic_store(&no_links, true);
	for (int round = 0; round < 2; round++) {
		fetched = 0;
		for (unsigned i = 0; i < 200; i++) {
			char key[20];
			struct cache_file *f;

			snprintf(key, sizeof(key), "k%u", i);
			f = file_in(c, key, SMALL_SIZE);
			assert_int_equal(read_through(f, i, 0, SMALL_SIZE, &fetched), -1);
			cache_close(f);
		}
		assert_int_equal(stats_of(c).disk_errors, 0);
		cache_free(c);
		c = cache_in(*state, 64 * MIB, LIMIT);
	}
	/* Those that were to share the first file, before it was known, are fetched once more. */
	assert_true(fetched < SMALL_BATCH * SMALL_SIZE);
	cache_free(c);
	walk_dir(*state);
	for (int k = 0; k < walk.n; k++)
		assert_null(strstr(walk.paths[k], ".tmp-"));
	walk_done();
}

static void a_name_that_a_crash_left_to_small_contents_goes_in_time(void **state)
{
	struct timespec old[2] = {{1000000, 0}, {1000000, 0}};
	_cleanup_free_ char *path = NULL, *left = NULL;

	make_shared(*state, 4, SMALL_SIZE);
	path = a_name_of_it(*state);
	assert_int_equal(str_fmt(&left, "%.*s.tmp-aBcDeF", (int)(strlen(path) - strlen(".small")), path), 0);
	assert_int_equal(link(path, left), 0);
	assert_int_equal(utimensat(AT_FDCWD, left, old, 0), 0);
	assert_int_equal(shared_that_are_lost(*state, 4, SMALL_SIZE), 0);       /* which tells that they were used now */
	assert_int_equal(utimensat(AT_FDCWD, left, old, 0), 0);
	fill(*state, "large", 1, 5 * MIB, 4 * MIB);     /* more than there is room for: all is counted */
	assert_int_equal(access(left, F_OK), -1);
}

static void what_waits_to_be_written_shares_files(void **state)
{
	bool shared = false;

	/* Where the writer is quicker than this, each has a file of its own. */
	for (time_t end = time(NULL) + PATIENCE_S; !shared && time(NULL) < end; ) {
		struct cache *c = cache_in(*state, 64 * MIB, LIMIT);

		for (unsigned i = 0; i < 200; i++) {
			char key[20];
			struct cache_file *f;
			uint64_t fetched = 0;

			snprintf(key, sizeof(key), "%lu.%u", (unsigned long)clock_mono_ms(), i);
			f = file_in(c, key, SMALL_SIZE);
			assert_int_equal(read_through(f, i, 0, SMALL_SIZE, &fetched), -1);
			cache_close(f);
		}
		cache_free(c);
		walk_dir(*state);
		for (int k = 0; k < walk.n; k++) {
			struct stat st;

			assert_null(strstr(walk.paths[k], ".tmp-"));
			shared |= stat(walk.paths[k], &st) == 0 && st.st_nlink > 1;
		}
		walk_done();
	}
	assert_true(shared);
}

static void a_small_content_is_one_file_and_a_longer_one_two(void **state)
{
	_cleanup_free_ char *blocks = in_dir(*state, "blocks");

	fill(*state, "small", 1, SUB, LIMIT);
	walk_dir(blocks);
	assert_int_equal(walk.n, 3);            /* and alive, and usage */
	fill(*state, "longer", 1, SUB + 1, LIMIT);
	walk_dir(blocks);
	assert_int_equal(walk.n, 5);
	walk_done();
}

/* What a small content was before it had a format of its own: a map and a data file. */
static void make_earlier_format(const char *dir, const char *key, unsigned salt)
{
	_cleanup_free_ char *small = NULL, *map = NULL, *data = NULL;
	struct map_header h = {.magic = MAP_MAGIC, .format = MAP_FORMAT, .key_len = (uint32_t)strlen(key), .size = SMALL_SIZE};
	unsigned char bytes[SMALL_SIZE];
	struct small_header have;
	struct map_entry e = {0};
	int fd;

	fill(dir, key, salt, SMALL_SIZE, LIMIT);
	small = file_ending(dir, ".small");
	fd = open(small, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, &have, sizeof(have), SMALL_RECORD), sizeof(have));
	close(fd);
	assert_int_equal(unlink(small), 0);
	*strrchr(small, '.') = 0;
	assert_int_equal(str_fmt(&map, "%s.map", small), 0);
	assert_int_equal(str_fmt(&data, "%s.data", small), 0);
	memcpy(h.key, key, h.key_len);
	e.sum[0] = have.sum;
	e.used = have.used - 1000;      /* of a day when there was that format */
	fd = open(map, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(pwrite(fd, &e, sizeof(e), MAP_HEADER), sizeof(e));
	close(fd);
	fill_bytes(salt, 0, bytes, sizeof(bytes));
	fd = open(data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	close(fd);
}

static void a_small_content_of_the_earlier_format_is_read(void **state)
{
	_cleanup_free_ char *data = NULL;

	make_earlier_format(*state, "k", 1);
	assert_int_equal(read_all(*state, "k", 1, SMALL_SIZE, NULL), 0);
	data = file_ending(*state, ".data");
	flip(data, 77, 1);
	assert_int_equal(read_all(*state, "k", 1, SMALL_SIZE, NULL), SMALL_SIZE);
	assert_int_equal(read_all(*state, "k", 1, SMALL_SIZE, NULL), 0);
}

static void a_small_content_of_the_earlier_format_is_forgotten_and_evicted_like_any_other(void **state)
{
	_cleanup_free_ char *blocks = in_dir(*state, "blocks");
	uint64_t fetched = 0;
	struct cache_file *f;
	struct cache *c;

	make_earlier_format(*state, "k", 1);
	c = cache_in(*state, MIB, LIMIT);
	f = file_in(c, "k", SMALL_SIZE);
	cache_forget(f);
	cache_close(f);
	f = file_in(c, "k", SMALL_SIZE);
	assert_int_equal(read_through(f, 2, 0, SMALL_SIZE, &fetched), -1);
	assert_int_equal(fetched, SMALL_SIZE);
	cache_close(f);
	cache_free(c);
	make_earlier_format(*state, "k", 2);
	fill(*state, "large", 3, 7 * MIB, 8 * MIB);
	fill(*state, "more", 4, 6 * MIB, 8 * MIB);
	walk_dir(blocks);
	for (int i = 0; i < walk.n; i++)
		if (str_ends(walk.paths[i], ".data")) {
			struct stat st;

			assert_int_equal(stat(walk.paths[i], &st), 0);
			assert_true(st.st_size > SMALL_SIZE);
		}
	walk_done();
}

static void a_bit_that_flips_while_the_cache_is_open_reaches_nobody(void **state)
{
	_cleanup_free_ char *data = NULL;
	uint64_t fetched = 0;
	struct cache_file *f;
	struct cache *c;

	fill(*state, "k", 1, 4 * MIB, LIMIT);
	c = cache_in(*state, MIB, LIMIT);
	f = file_in(c, "k", 4 * MIB);
	for (uint64_t at = 0; at < 4 * MIB; at += MIB)
		assert_int_equal(read_through(f, 1, at, MIB, &fetched), -1);
	assert_int_equal(fetched, 0);
	data = file_ending(*state, ".data");
	for (off_t at = 0; at < (off_t)(3 * MIB); at += SUB)
		flip(data, at + 77, 5);
	for (uint64_t at = 0; at < 4 * MIB; at += MIB)
		assert_int_equal(read_through(f, 1, at, MIB, &fetched), -1);
	assert_int_equal(fetched, 3 * MIB);
	assert_int_equal(stats_of(c).disk_bad, 3 * SUBS);
	cache_close(f);
	cache_free(c);
}

/* ---- forgetting ---- */

static void what_is_forgotten_is_not_found_on_disk_even_at_once(void **state)
{
	fill(*state, "k", 1, 4 * MIB, LIMIT);
	for (int i = 0; i < 50; i++) {
		struct cache *c = cache_in(*state, 8 * MIB, LIMIT);
		struct cache_file *f = file_in(c, "k", 4 * MIB), *again;
		uint64_t fetched = 0;

		cache_forget(f);
		again = file_in(c, "k", 4 * MIB);
		assert_int_equal(read_through(again, 2 + (unsigned)i, 0, MIB, &fetched), -1);
		assert_int_equal(fetched, MIB);
		cache_close(f);
		cache_close(again);
		cache_free(c);
		assert_int_equal(read_all(*state, "k", 2 + (unsigned)i, 4 * MIB, NULL), 3 * MIB);
	}
}

static void what_is_forgotten_of_small_contents_is_not_found_on_disk_even_at_once(void **state)
{
	unsigned salt = 1;
	struct cache *c;

	fill(*state, "k", salt, SMALL_SIZE, LIMIT);
	c = cache_in(*state, 8 * MIB, LIMIT);
	for (int i = 0; i < 500; i++) {
		struct cache_file *f = file_in(c, "k", SMALL_SIZE), *again;
		uint64_t fetched = 0;

		/* Found, or on its way to the disk. */
		assert_int_equal(read_through(f, salt, 0, SMALL_SIZE, &fetched), -1);
		cache_forget(f);
		again = file_in(c, "k", SMALL_SIZE);
		fetched = 0;
		assert_int_equal(read_through(again, ++salt, 0, SMALL_SIZE, &fetched), -1);
		assert_int_equal(fetched, SMALL_SIZE);
		cache_close(f);
		cache_close(again);
	}
	cache_free(c);
	assert_int_equal(read_all(*state, "k", salt, SMALL_SIZE, NULL), 0);
}

static void forgotten_on_a_read_only_disk(void **state, uint64_t size)
{
	struct cache_file *f, *again;
	struct cache *c;
	uint64_t fetched = 0;

	if (geteuid() != 0)
		skip();         /* needs root: a file system that is made read-only */
	assert_int_equal(mount("tmpfs", *state, "tmpfs", 0, "size=64m"), 0);
	fill(*state, "k", 1, size, LIMIT / 2);
	assert_int_equal(mount("tmpfs", *state, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=64m"), 0);
	c = cache_in(*state, 8 * MIB, LIMIT / 2);
	f = file_in(c, "k", size);
	assert_int_equal(read_through(f, 1, 0, size, &fetched), -1);
	assert_int_equal(fetched, 0);
	cache_forget(f);
	again = file_in(c, "k", size);
	assert_int_equal(read_through(again, 2, 0, size, &fetched), -1);
	assert_int_equal(fetched, size);
	cache_close(f);
	cache_close(again);
	cache_free(c);
	assert_int_equal(umount2(*state, MNT_DETACH), 0);
}

static void what_is_forgotten_on_a_read_only_disk_is_not_used_again(void **state)
{
	forgotten_on_a_read_only_disk(state, MIB);
	forgotten_on_a_read_only_disk(state, SMALL_SIZE);
}

/* ---- the limit ---- */

static uint64_t most_below;
static atomic_bool watching;

/* With the record's lock in hand nothing is evicted or reserved, so that a sum over all files is true of one moment. */
static void *watch(void *arg)
{
	_cleanup_free_ char *path = in_dir(arg, "blocks"), *usage = in_dir(arg, "blocks/usage");

	while (atomic_load(&watching)) {
		_cleanup_close_ int fd = open(usage, O_RDWR | O_CLOEXEC);
		uint64_t bytes = 0;

		usleep(2000);
		if (fd < 0 || flock(fd, LOCK_EX) < 0)
			continue;
		for (unsigned h = 0; h < 256; h++) {
			_cleanup_free_ char *dir = NULL;
			struct dirent *e;
			struct stat st;
			DIR *list;

			if (str_fmt(&dir, "%s/%02x", path, h) < 0 || !(list = opendir(dir)))
				continue;
			while ((e = readdir(list)))
				if (e->d_name[0] != '.' && fstatat(dirfd(list), e->d_name, &st, 0) == 0)
					bytes += (uint64_t)st.st_blocks * 512 / st.st_nlink;
			closedir(list);
		}
		if (bytes > most_below)
			most_below = bytes;
	}
	return NULL;
}

/* Fetch one content after the other; each is waited for until it is on disk, or was not taken. */
static void churn(const char *dir, unsigned from, unsigned n, uint64_t size, uint64_t limit)
{
	struct cache *c = cache_in(dir, 16 * MIB, limit);

	for (unsigned i = from; i < from + n; i++) {
		struct cache_file *f;
		char key[20];
		uint64_t fetched = 0;

		snprintf(key, sizeof(key), "k%u", i);
		f = file_in(c, key, size);
		for (uint64_t at = 0; at < size; at += MIB)
			assert_int_equal(read_through(f, i, at, size - at < MIB ? size - at : MIB, &fetched), -1);
		cache_close(f);
	}
	cache_free(c);
}

static void the_disk_never_holds_more_than_the_limit(void **state)
{
	pthread_t thread;
	uint64_t limit = 8 * MIB;

	most_below = 0;
	atomic_store(&watching, true);
	assert_int_equal(pthread_create(&thread, NULL, watch, *state), 0);
	churn(*state, 0, 12, 3 * MIB + 100, limit);
	churn(*state, 100, 600, 5000, limit);
	atomic_store(&watching, false);
	pthread_join(thread, NULL);
	assert_true(most_below <= limit);
	assert_true(most_below > limit / 2);
}

static void small_contents_never_hold_more_than_the_limit(void **state)
{
	uint64_t limit = MIB, size = 5000;      /* 300 of them are more than twice as much */
	struct cache *c;
	pthread_t thread;

	most_below = 0;
	atomic_store(&watching, true);
	assert_int_equal(pthread_create(&thread, NULL, watch, *state), 0);
	churn(*state, 0, 300, size, limit);
	atomic_store(&watching, false);
	pthread_join(thread, NULL);
	assert_true(most_below <= limit);
	assert_true(most_below > limit / 4);
	c = cache_in(*state, MIB, limit);
	assert_true(stats_of(c).disk_used <= limit);
	cache_free(c);
	assert_int_equal(read_all(*state, "k299", 299, size, NULL), 0);
}

static struct usage_record {
	char magic[8];
	uint32_t format, begun;
	uint64_t used, pending, sum;
} usage_record(const char *dir)
{
	_cleanup_free_ char *path = in_dir(dir, "blocks/usage");
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct usage_record r;

	assert_int_equal(pread(fd, &r, sizeof(r), 0), sizeof(r));
	return r;
}

static void what_was_reserved_ahead_is_given_back_at_the_end(void **state)
{
	_cleanup_free_ char *blocks = in_dir(*state, "blocks");
	struct usage_record r;

	churn(*state, 0, 100, SMALL_SIZE, LIMIT);
	r = usage_record(*state);
	assert_int_equal(r.pending, 0);
	assert_true(r.used >= bytes_below(blocks) - 8192);      /* the record is no block, and a page of tmpfs or ext4 */
	assert_true(r.used <= 100 * 3 * 4096);
}

static void a_reservation_ahead_is_no_part_of_a_record_that_was_begun_anew(void **state)
{
	_cleanup_free_ char *dir = in_dir(*state, "blocks"), *path = in_dir(*state, "blocks/usage");
	struct usage_record r;
	struct usage *u;

	assert_int_equal(file_mkdirs(dir, 0700), 0);
	assert_int_equal(usage_new(dir, 64 * MIB, 0, &u), 0);
	assert_true(usage_reserve(u, 1000));            /* and more ahead */
	assert_true(usage_record(*state).used > 100000);
	usleep(2000);                                   /* drawn from the clock */
	flip(path, 20, 0);
	assert_true(usage_reserve(u, 2 * MIB));
	r = usage_record(*state);
	assert_int_equal(r.used, 2 * MIB);
	assert_int_equal(r.pending, 2 * MIB);
	usage_settle(u, 2 * MIB);
	usage_free(u);
	assert_int_equal(usage_record(*state).used, 2 * MIB);
	assert_int_equal(usage_record(*state).pending, 0);
}

static int child(void (*run)(const char *dir, unsigned n), const char *dir, unsigned n)
{
	pid_t pid = fork();

	if (pid == 0) {
		run(dir, n);
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

static void wait_for(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void churn_child(const char *dir, unsigned n)
{
	churn(dir, n * 1000, 30, MIB + 50000, 8 * MIB);
}

static void two_mounts_together_never_hold_more_than_the_limit(void **state)
{
	pid_t pids[2];
	pthread_t thread;

	for (unsigned i = 0; i < 2; i++)
		pids[i] = child(churn_child, *state, i);
	most_below = 0;
	atomic_store(&watching, true);
	assert_int_equal(pthread_create(&thread, NULL, watch, *state), 0);
	for (unsigned i = 0; i < 2; i++)
		wait_for(pids[i]);
	atomic_store(&watching, false);
	pthread_join(thread, NULL);
	assert_true(most_below <= 8 * MIB);
	assert_true(most_below > 4 * MIB);
}

static void share_child(const char *dir, unsigned n)
{
	/* The same contents in both, more than the limit, read again and again: each byte right in each of them. */
	struct cache *c = cache_in(dir, 2 * MIB, 6 * MIB);

	for (unsigned round = 0; round < 6; round++)
		for (unsigned k = 0; k < 5; k++) {
			unsigned which = n ? 4 - k : k;
			char key[20];
			struct cache_file *f;
			uint64_t fetched = 0, size = 2 * MIB + 1000;

			snprintf(key, sizeof(key), "shared %u", which);
			f = file_in(c, key, size);
			for (uint64_t at = 0; at < size; at += 200 * KIB)
				if (read_through(f, which, at, size - at < 200 * KIB ? size - at : 200 * KIB, &fetched) != -1)
					_exit(3);
			cache_close(f);
		}
	if (stats_of(c).disk_bad)
		_exit(4);
	cache_free(c);
}

static void two_mounts_read_and_evict_the_same_contents_at_once(void **state)
{
	pid_t pids[2];

	for (unsigned i = 0; i < 2; i++)
		pids[i] = child(share_child, *state, i);
	for (unsigned i = 0; i < 2; i++)
		wait_for(pids[i]);
	assert_true(bytes_below(*state) <= 7 * MIB);    /* and the documents' database */
}

static void share_small_child(const char *dir, unsigned n)
{
	struct cache *c = cache_in(dir, 64 * 1024, MIB);

	for (unsigned round = 0; round < 6; round++)
		for (unsigned k = 0; k < 150; k++) {
			unsigned which = n ? 149 - k : k;
			char key[20];
			struct cache_file *f;
			uint64_t fetched = 0;

			snprintf(key, sizeof(key), "shared %u", which);
			f = file_in(c, key, 4000 + which);
			if (read_through(f, which, 0, 4000 + which, &fetched) != -1)
				_exit(3);
			cache_close(f);
		}
	if (stats_of(c).disk_bad)
		_exit(4);
	cache_free(c);
}

static void two_mounts_read_and_evict_the_same_small_contents_at_once(void **state)
{
	pid_t pids[2];

	for (unsigned i = 0; i < 2; i++)
		pids[i] = child(share_small_child, *state, i);
	for (unsigned i = 0; i < 2; i++)
		wait_for(pids[i]);
	assert_true(bytes_below(*state) <= 2 * MIB);    /* and the documents' database */
}

static void one_mount_reads_what_another_fetched(void **state)
{
	struct cache *a = cache_in(*state, 8 * MIB, LIMIT), *b = cache_in(*state, 8 * MIB, LIMIT);
	struct cache_file *f = file_in(a, "k", 2 * MIB), *g;
	uint64_t fetched = 0, again = 0;

	for (uint64_t at = 0; at < 2 * MIB; at += MIB)
		assert_int_equal(read_through(f, 1, at, MIB, &fetched), -1);
	cache_close(f);
	cache_free(a);
	g = file_in(b, "k", 2 * MIB);
	for (uint64_t at = 0; at < 2 * MIB; at += MIB)
		assert_int_equal(read_through(g, 1, at, MIB, &again), -1);
	assert_int_equal(again, 0);
	cache_close(g);
	cache_free(b);
}

static void the_least_free_space_is_left_alone(void **state)
{
	struct cache_config config = {.dir = *state, .memory = 8 * MIB, .disk = LIMIT, .disk_free_min = UINT64_MAX / 2};
	struct cache *c;
	struct cache_file *f;
	uint64_t fetched = 0;

	assert_int_equal(cache_new(&config, &c), 0);
	f = file_in(c, "k", MIB);
	assert_int_equal(read_through(f, 1, 0, MIB, &fetched), -1);
	cache_close(f);
	cache_free(c);
	assert_int_equal(read_all(*state, "k", 1, MIB, NULL), MIB);
}

static void what_a_crash_left_without_sums_is_evicted_too(void **state)
{
	struct timespec old[2] = {{1000000, 0}, {1000000, 0}};
	_cleanup_free_ char *map = NULL, *data = NULL;

	fill(*state, "lost", 1, 6 * MIB, 8 * MIB);
	map = file_ending(*state, ".map");
	data = file_ending(*state, ".data");
	assert_int_equal(truncate(map, MAP_HEADER), 0);
	assert_int_equal(utimensat(AT_FDCWD, map, old, 0), 0);
	assert_int_equal(utimensat(AT_FDCWD, data, old, 0), 0);
	fill(*state, "k", 2, 5 * MIB, 8 * MIB);
	assert_int_equal(read_all(*state, "k", 2, 5 * MIB, NULL), 0);
	assert_int_equal(access(map, F_OK), -1);
}

static void what_a_killed_mount_had_reserved_is_given_back(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct usage *u = NULL;
		_cleanup_free_ char *dir = in_dir(*state, "blocks");

		assert_int_equal(file_mkdirs(dir, 0700), 0);
		assert_int_equal(usage_new(dir, 8 * MIB, 0, &u), 0);
		assert_true(usage_reserve(u, 5 * MIB));         /* alone, so what was reserved before is nobody's */
		usage_free(u);                                  /* and no usage_settle() */
	}
}

static void a_reservation_of_a_living_mount_counts(void **state)
{
	_cleanup_free_ char *dir = in_dir(*state, "blocks");
	struct usage *a = NULL, *b = NULL;

	assert_int_equal(file_mkdirs(dir, 0700), 0);
	assert_int_equal(usage_new(dir, 8 * MIB, 0, &a), 0);
	assert_int_equal(usage_new(dir, 8 * MIB, 0, &b), 0);
	assert_true(usage_reserve(a, 5 * MIB));
	assert_false(usage_reserve(b, 5 * MIB));
	assert_false(usage_reserve(b, UINT64_MAX));
	usage_settle(a, 5 * MIB);
	usage_free(b);
	usage_free(a);
}

static void a_mount_that_was_stopped_in_the_middle_holds_nobody_up(void **state)
{
	_cleanup_free_ char *path = in_dir(*state, "blocks/usage");
	_cleanup_close_ int fd = -1;
	uint64_t fetched = 0;

	fill(*state, "k", 1, MIB, LIMIT);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	fetched = read_all(*state, "k", 1, MIB, NULL);
	assert_int_equal(fetched, 0);
	assert_int_equal(read_all(*state, "other", 2, MIB, NULL), MIB);
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(read_all(*state, "other", 2, MIB, NULL), MIB);         /* it was not kept then, and is now */
	assert_int_equal(read_all(*state, "other", 2, MIB, NULL), 0);
}

/* ---- folders that fail ---- */

static void a_full_disk_still_serves_what_it_has(void **state)
{
	struct cache *c;
	struct cache_file *f;
	_cleanup_free_ char *filler = in_dir(*state, "filler");
	char zeros[65536] = {0};
	uint64_t fetched = 0;
	int fd;

	if (geteuid() != 0)
		skip();         /* needs root: a small file system */
	assert_int_equal(mount("tmpfs", *state, "tmpfs", 0, "size=16m"), 0);
	fill(*state, "k", 1, 4 * MIB, LIMIT);
	c = cache_in(*state, 8 * MIB, LIMIT);
	fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	close(fd);
	f = file_in(c, "k", 4 * MIB);
	for (uint64_t at = 0; at < 4 * MIB; at += MIB)
		assert_int_equal(read_through(f, 1, at, MIB, &fetched), -1);
	assert_int_equal(fetched, 0);
	cache_close(f);
	for (unsigned i = 0; i < 8; i++) {
		char key[8];

		snprintf(key, sizeof(key), "n%u", i);
		f = file_in(c, key, 2 * MIB);
		for (uint64_t at = 0; at < 2 * MIB; at += MIB)
			assert_int_equal(read_through(f, i, at, MIB, &fetched), -1);
		cache_close(f);
	}
	assert_int_equal(fetched, 16 * MIB);
	cache_free(c);
	assert_int_equal(umount2(*state, MNT_DETACH), 0);
}

static void a_disk_that_is_full_from_the_first_day_costs_only_the_disk(void **state)
{
	uint64_t fetched = 0;
	struct cache *c;
	struct cache_file *f;

	if (geteuid() != 0)
		skip();         /* needs root: a tiny file system */
	assert_int_equal(mount("tmpfs", *state, "tmpfs", 0, "size=4k"), 0);
	c = cache_in(*state, 8 * MIB, LIMIT);
	f = file_in(c, "k", 4 * MIB);
	for (uint64_t at = 0; at < 4 * MIB; at += MIB)
		assert_int_equal(read_through(f, 1, at, MIB, &fetched), -1);
	assert_int_equal(fetched, 4 * MIB);
	cache_close(f);
	cache_free(c);
	assert_int_equal(umount2(*state, MNT_DETACH), 0);
}

static void a_read_only_folder_serves_what_it_has(void **state)
{
	struct cache *c;
	struct cache_file *f;
	uint64_t fetched = 0;

	if (geteuid() != 0)
		skip();         /* needs root: a file system that is made read-only */
	assert_int_equal(mount("tmpfs", *state, "tmpfs", 0, "size=64m"), 0);
	fill(*state, "k", 1, 2 * MIB, LIMIT);
	assert_int_equal(mount("tmpfs", *state, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=64m"), 0);
	c = cache_in(*state, 8 * MIB, LIMIT);
	f = file_in(c, "k", 2 * MIB);
	assert_int_equal(read_through(f, 1, 0, MIB, &fetched), -1);
	assert_int_equal(fetched, 0);
	cache_close(f);
	f = file_in(c, "new", 2 * MIB);
	assert_int_equal(read_through(f, 2, 0, MIB, &fetched), -1);
	assert_int_equal(fetched, MIB);
	cache_close(f);
	cache_free(c);
	assert_int_equal(umount2(*state, MNT_DETACH), 0);
}

static void a_folder_removed_underneath_is_made_again(void **state)
{
	struct cache *c = cache_in(*state, 2 * MIB, LIMIT);
	struct cache_file *f = file_in(c, "k", 4 * MIB);
	uint64_t fetched = 0, missing = 1;
	char *command = NULL, key[40];
	int tries = 0;

	for (uint64_t at = 0; at < 4 * MIB; at += MIB)
		assert_int_equal(read_through(f, 1, at, MIB, &fetched), -1);
	/* Again, when the writer has made a folder in one that is just being removed. */
	assert_true(asprintf(&command, "for i in 1 2 3 4 5 6 7 8 9; do rm -rf '%s'/* 2>/dev/null && exit; done; exit 1", (char *)*state) > 0);
	assert_int_equal(system(command), 0);
	free(command);
	for (int round = 0; round < 2; round++)
		for (uint64_t at = 0; at < 4 * MIB; at += MIB)
			assert_int_equal(read_through(f, 1, at, MIB, &fetched), -1);
	cache_close(f);
	/* The writer may have met the removal in the middle of its work, and rests for a while then: later contents are kept. */
	for (time_t end = time(NULL) + PATIENCE_S; time(NULL) < end && missing; ) {
		assert_true(snprintf(key, sizeof(key), "later %d", tries++) > 0);
		f = file_in(c, key, 2 * MIB);
		for (uint64_t at = 0; at < 2 * MIB; at += MIB)
			assert_int_equal(read_through(f, 2, at, MIB, &fetched), -1);
		cache_close(f);
		usleep(200000);
		missing = read_all(*state, key, 2, 2 * MIB, NULL);
	}
	assert_int_equal(missing, 0);
	cache_free(c);
}

static void a_file_in_the_folders_place_costs_only_the_disk(void **state)
{
	_cleanup_free_ char *blocks = in_dir(*state, "blocks");
	uint64_t fetched = 0;
	struct cache *c;
	struct cache_file *f;
	char *command = NULL;

	/* Before the start. */
	assert_int_equal(file_write_atomic(blocks, "x", 1, 0600), 0);
	assert_int_equal(read_all(*state, "k", 1, MIB, NULL), MIB);
	assert_int_equal(unlink(blocks), 0);
	/* And while it runs. */
	c = cache_in(*state, 2 * MIB, LIMIT);
	/* Again, when the writer has made a folder in one that is just being removed. */
	assert_true(asprintf(&command, "for i in 1 2 3 4 5 6 7 8 9; do rm -rf '%s'/* 2>/dev/null && exit; done; exit 1", (char *)*state) > 0);
	assert_int_equal(system(command), 0);
	free(command);
	assert_int_equal(file_write_atomic(blocks, "x", 1, 0600), 0);
	f = file_in(c, "k", 8 * MIB);
	for (uint64_t at = 0; at < 8 * MIB; at += MIB)
		assert_int_equal(read_through(f, 1, at, MIB, &fetched), -1);
	assert_int_equal(fetched, 8 * MIB);
	cache_close(f);
	cache_free(c);
}

/* ---- many files ---- */

static void many_small_contents_do_not_use_up_the_descriptors(void **state)
{
	struct rlimit before, low = {100, 100};
	struct cache *c;
	uint64_t fetched = 0;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low.rlim_max = before.rlim_max;
	low.rlim_cur = 200;
	c = cache_in(*state, 64 * MIB, LIMIT);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	for (unsigned i = 0; i < 500; i++) {
		struct cache_file *f;
		char key[20];

		snprintf(key, sizeof(key), "k%u", i);
		f = file_in(c, key, 100);
		assert_int_equal(read_through(f, i, 0, 100, &fetched), -1);
		cache_close(f);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(stats_of(c).disk_errors, 0);
	cache_free(c);
	c = cache_in(*state, 64 * MIB, LIMIT);
	fetched = 0;
	for (unsigned i = 0; i < 500; i++) {
		struct cache_file *f;
		char key[20];

		snprintf(key, sizeof(key), "k%u", i);
		f = file_in(c, key, 100);
		assert_int_equal(read_through(f, i, 0, 100, &fetched), -1);
		cache_close(f);
	}
	assert_int_equal(fetched, 0);
	cache_free(c);
}

static void an_old_cache_is_not_gone_through_at_the_start(void **state)
{
	_cleanup_free_ char *folder = in_dir(*state, "blocks/00");
	struct stat st;
	struct cache *c;

	/* Who goes through the folders reads them, which their time of access tells. */
	fill(*state, "k", 1, MIB, LIMIT);
	(void)mkdir(folder, 0700);
	assert_int_equal(utimensat(AT_FDCWD, folder, (struct timespec[]){{1000, 0}, {1000000000, 0}}, 0), 0);
	c = cache_in(*state, MIB, LIMIT);
	cache_free(c);
	assert_int_equal(read_all(*state, "k", 1, MIB, NULL), 0);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_atim.tv_sec, 1000);
	{
		DIR *list = opendir(folder);

		/* Proof that this file system tells it. */
		assert_non_null(list);
		while (readdir(list))
			;
		closedir(list);
	}
	assert_int_equal(stat(folder, &st), 0);
	if (st.st_atim.tv_sec == 1000)
		skip();         /* mounted with noatime */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(what_was_read_is_read_from_disk_after_a_restart),
		T(single_sub_blocks_are_kept_and_only_the_others_fetched),
		T(what_a_failed_fetch_brought_is_kept),
		T(memory_that_is_evicted_comes_back_from_disk),
		T(another_version_finds_nothing_of_the_old_one),
		T(a_key_too_long_for_the_header_is_kept_in_memory),
		T(a_flipped_bit_of_the_header_makes_the_content_begin_anew),
		T(a_flipped_bit_behind_the_key_does_no_harm),
		T(a_flipped_bit_of_a_sum_makes_its_sub_block_come_again),
		T(a_flipped_bit_of_a_sum_that_is_not_there_shows_no_hole),
		T(a_flipped_bit_of_the_last_use_does_no_harm),
		T(a_flipped_bit_of_the_data_makes_its_sub_block_come_again),
		T(a_flipped_bit_of_a_small_content_makes_it_come_again),
		T(a_flipped_bit_of_a_small_contents_last_use_does_no_harm),
		T(a_flipped_bit_of_the_usage_record_is_counted_anew),
		T(a_cut_file_is_no_wrong_byte),
		T(an_empty_file_is_no_wrong_byte),
		T(garbage_is_no_wrong_byte),
		T(a_missing_file_is_no_wrong_byte),
		T(a_fifo_in_a_files_place_stops_nobody),
		T(a_folder_in_a_files_place_only_costs_the_disk),
		T(a_grown_file_does_no_harm),
		T(another_format_is_not_believed),
		T(the_map_of_one_content_never_answers_for_another),
		T(the_file_of_one_small_content_never_answers_for_another),
		T(small_contents_that_share_a_file_are_all_read),
		T(damage_to_one_content_costs_no_other_that_shares_its_file),
		T(a_content_that_leaves_gives_its_space_back_and_the_others_stay),
		T(what_waits_to_be_written_shares_files),
		T(without_hard_links_each_small_content_is_a_file_of_its_own),
		T(a_name_that_a_crash_left_to_small_contents_goes_in_time),
		T(a_small_content_is_one_file_and_a_longer_one_two),
		T(a_small_content_of_the_earlier_format_is_read),
		T(a_small_content_of_the_earlier_format_is_forgotten_and_evicted_like_any_other),
		T(a_bit_that_flips_while_the_cache_is_open_reaches_nobody),
		T(what_is_forgotten_is_not_found_on_disk_even_at_once),
		T(what_is_forgotten_of_small_contents_is_not_found_on_disk_even_at_once),
		T(what_is_forgotten_on_a_read_only_disk_is_not_used_again),
		T(the_disk_never_holds_more_than_the_limit),
		T(small_contents_never_hold_more_than_the_limit),
		T(what_was_reserved_ahead_is_given_back_at_the_end),
		T(a_reservation_ahead_is_no_part_of_a_record_that_was_begun_anew),
		T(two_mounts_together_never_hold_more_than_the_limit),
		T(two_mounts_read_and_evict_the_same_contents_at_once),
		T(two_mounts_read_and_evict_the_same_small_contents_at_once),
		T(one_mount_reads_what_another_fetched),
		T(the_least_free_space_is_left_alone),
		T(what_a_crash_left_without_sums_is_evicted_too),
		T(what_a_killed_mount_had_reserved_is_given_back),
		T(a_reservation_of_a_living_mount_counts),
		T(a_mount_that_was_stopped_in_the_middle_holds_nobody_up),
		T(a_full_disk_still_serves_what_it_has),
		T(a_disk_that_is_full_from_the_first_day_costs_only_the_disk),
		T(a_read_only_folder_serves_what_it_has),
		T(a_folder_removed_underneath_is_made_again),
		T(a_file_in_the_folders_place_costs_only_the_disk),
		T(many_small_contents_do_not_use_up_the_descriptors),
		T(an_old_cache_is_not_gone_through_at_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
