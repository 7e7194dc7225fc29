/* SQLite behind its door: versions, damage set aside, errors as numbers. */
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/db.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"

static const char *const v1[] = {"CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB, n INTEGER)", NULL};
static const char *const v2[] = {"CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB, n INTEGER)",
                                 "ALTER TABLE t ADD COLUMN late INTEGER DEFAULT 42; CREATE INDEX i ON t (n)", NULL};
static const char *const bad[] = {"CREATE TABLE t (k TEXT)", "CREATE GARBAGE", NULL};

static int setup(void **state)
{
	*state = test_dir_new();
	return log_open("/dev/null");
}

static int teardown(void **state)
{
	test_dir_done(*state);
	return log_open(NULL);
}

static char *path_in(const char *dir)
{
	char *path = NULL;

	assert_int_equal(str_fmt(&path, "%s/x.db", dir), 0);
	return path;
}

static int damaged_in(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strncmp(e->d_name, "x.db.damaged-", 13) == 0 && strlen(e->d_name) == 13 + 15;
	closedir(d);
	return n;
}

static int64_t number(struct db *d, const char *sql)
{
	struct db_stmt *s = NULL;
	int64_t n = -1;

	assert_int_equal(db_prepare(d, sql, &s), 0);
	if (db_step(s) == 1)
		n = db_int(s, 0);
	db_stmt_done(s);
	return n;
}

static void fill(const char *path, const char *const steps[], int rows)
{
	struct db *d = NULL;
	struct db_stmt *s = NULL;
	char key[20];

	assert_int_equal(db_open(path, false, steps, &d), 0);
	assert_int_equal(db_exec(d, "BEGIN"), 0);
	assert_int_equal(db_prepare(d, "INSERT INTO t (k, v, n) VALUES (?1, ?2, ?3)", &s), 0);
	for (int i = 0; i < rows; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		assert_int_equal(db_bind_text(s, 1, key), 0);
		assert_int_equal(db_bind_blob(s, 2, "a\0b", 3), 0);
		assert_int_equal(db_bind_int(s, 3, INT64_MAX - i), 0);
		assert_int_equal(db_step(s), 0);
	}
	db_stmt_done(s);
	assert_int_equal(db_exec(d, "COMMIT"), 0);
	db_close(d);
}

static void test_values_come_back(void **state)
{
	_cleanup_free_ char *path = path_in(*state);
	struct db_stmt *s = NULL;
	struct db *d = NULL;
	struct stat st;
	size_t n = 0;

	fill(path, v1, 3);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(db_open(path, true, v1, &d), 0);
	assert_int_equal(number(d, "PRAGMA synchronous"), 2);
	assert_int_equal(db_prepare(d, "SELECT k, v, n FROM t WHERE k = ?1", &s), 0);
	for (int turn = 0; turn < 2; turn++) {
		assert_int_equal(db_bind_text(s, 1, "key 1"), 0);
		assert_int_equal(db_step(s), 1);
		assert_string_equal(db_text(s, 0), "key 1");
		assert_memory_equal(db_blob(s, 1, &n), "a\0b", 3);
		assert_int_equal(n, 3);
		assert_true(db_int(s, 2) == INT64_MAX - 1);
		assert_int_equal(db_step(s), 0);
	}
	assert_int_equal(db_bind_text(s, 1, "no such"), 0);
	assert_int_equal(db_step(s), 0);
	assert_int_equal(db_bind_int(s, 9, 1), -EIO);
	db_stmt_done(s);
	db_stmt_done(NULL);
	assert_int_equal(db_prepare(d, "SELECT nonsense", &s), -EIO);
	assert_int_equal(db_exec(d, "INSERT INTO t (k) VALUES ('key 1')"), -EIO);
	db_close(d);
	db_close(NULL);
}

static void test_an_old_file_is_brought_up(void **state)
{
	_cleanup_free_ char *path = path_in(*state);
	struct db *d = NULL;

	fill(path, v1, 2);
	assert_int_equal(db_open(path, false, v2, &d), 0);
	assert_int_equal(number(d, "PRAGMA user_version"), 2);
	assert_int_equal(number(d, "SELECT sum(late) FROM t"), 84);
	db_close(d);
	assert_int_equal(damaged_in(*state), 0);
}

static void test_a_step_that_fails_leaves_the_old_version(void **state)
{
	_cleanup_free_ char *path = path_in(*state);
	struct db *d = NULL;

	assert_int_equal(db_open(path, false, bad, &d), -EIO);
	assert_null(d);
	assert_int_equal(db_open(path, false, v1, &d), 0);
	assert_int_equal(number(d, "SELECT count(*) FROM t"), 0);
	db_close(d);
}

static void test_a_newer_file_is_left_alone(void **state)
{
	_cleanup_free_ char *path = path_in(*state);
	_cleanup_buf_ struct buf before = {0}, after = {0};
	struct db *d = NULL;

	fill(path, v2, 2);
	assert_int_equal(file_read_whole(path, &before), 0);
	assert_int_equal(db_open(path, false, v1, &d), -EPROTONOSUPPORT);
	assert_null(d);
	assert_int_equal(file_read_whole(path, &after), 0);
	assert_int_equal(before.len, after.len);
	assert_memory_equal(before.data, after.data, before.len);
	assert_int_equal(damaged_in(*state), 0);
}

/* Opened again it is fresh, usable, and what was there is kept beside it. */
static void set_aside(const char *dir, const char *path)
{
	struct db *d = NULL;

	assert_int_equal(db_open(path, false, v1, &d), 0);
	assert_int_equal(number(d, "SELECT count(*) FROM t"), 0);
	db_close(d);
	assert_int_equal(damaged_in(dir), 1);
}

static void test_nonsense_is_set_aside(void **state)
{
	_cleanup_free_ char *path = path_in(*state);
	char nonsense[5000];

	memset(nonsense, 'x', sizeof(nonsense));
	assert_int_equal(file_write_atomic(path, nonsense, sizeof(nonsense), 0600), 0);
	set_aside(*state, path);
}

static void test_a_short_file_is_set_aside(void **state)
{
	_cleanup_free_ char *path = path_in(*state);
	struct stat st;

	fill(path, v1, 2000);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > 16384);
	assert_int_equal(truncate(path, st.st_size / 2), 0);
	set_aside(*state, path);
}

static void test_a_broken_schema_is_set_aside(void **state)
{
	_cleanup_free_ char *path = path_in(*state);
	_cleanup_close_ int fd = -1;
	char zero[3996] = {0};

	fill(path, v1, 2000);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(file_pwrite_all(fd, zero, sizeof(zero), 100), 0);      /* the first page, all but the header */
	set_aside(*state, path);
}

static void test_a_version_below_nothing_is_set_aside(void **state)
{
	_cleanup_free_ char *path = path_in(*state);
	struct db *d = NULL;

	assert_int_equal(db_open(path, false, v1, &d), 0);
	assert_int_equal(db_exec(d, "PRAGMA user_version=-1"), 0);
	db_close(d);
	set_aside(*state, path);
}

static void test_an_empty_file_is_a_new_one(void **state)
{
	_cleanup_free_ char *path = path_in(*state);
	struct db *d = NULL;

	assert_int_equal(file_write_atomic(path, "", 0, 0600), 0);
	assert_int_equal(db_open(path, false, v1, &d), 0);
	db_close(d);
	assert_int_equal(damaged_in(*state), 0);
}

static void test_places_where_none_can_be(void **state)
{
	_cleanup_free_ char *nowhere = NULL;
	struct db *d = NULL;

	assert_int_equal(str_fmt(&nowhere, "%s/no/x.db", (char *)*state), 0);
	assert_int_equal(db_open(nowhere, false, v1, &d), -ENOENT);
	assert_true(db_open(*state, false, v1, &d) < 0);        /* a folder */
	assert_null(d);
}

static void test_a_full_disk_has_its_name(void **state)
{
	_cleanup_free_ char *path = path_in(*state);
	struct db *d = NULL;

	assert_int_equal(db_open(path, false, v1, &d), 0);
	assert_int_equal(db_exec(d, "PRAGMA max_page_count=8"), 0);
	assert_int_equal(db_exec(d, "INSERT INTO t (k, v) VALUES ('big', zeroblob(1000000))"), -ENOSPC);
	assert_int_equal(number(d, "SELECT count(*) FROM t"), 0);
	db_close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_values_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_old_file_is_brought_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_step_that_fails_leaves_the_old_version, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_newer_file_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nonsense_is_set_aside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_short_file_is_set_aside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_broken_schema_is_set_aside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_version_below_nothing_is_set_aside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_empty_file_is_a_new_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_places_where_none_can_be, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_full_disk_has_its_name, setup, teardown),
	};

	return cmocka_run_group_tests_name("base-db", tests, NULL, NULL);
}
