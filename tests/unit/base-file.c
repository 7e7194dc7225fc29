/* Files whole or not at all. */
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"

static char *dir;

static int setup(void **state)
{
	dir = test_dir_new();
	return 0;
}

static int teardown(void **state)
{
	test_dir_done(dir);
	return 0;
}

static char *in_dir(const char *name)
{
	char *path = NULL;

	assert_int_equal(str_fmt(&path, "%s/%s", dir, name), 0);
	return path;
}

static int names_in(const char *path)
{
	DIR *d = opendir(path);
	int n = -2;     /* . and .. */

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_ranges_written_and_read(void **state)
{
	_cleanup_free_ char *path = in_dir("ranges");
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char got[4] = {0};

	assert_int_equal(file_pwrite_all(fd, "abcd", 4, 100000), 0);
	assert_int_equal(file_pread_all(fd, got, 4, 100000), 0);
	assert_memory_equal(got, "abcd", 4);
	assert_int_equal(file_pread_all(fd, got, 4, 100001), -ENODATA);
	assert_int_equal(file_pread_all(fd, got, 0, 200000), 0);
	assert_int_equal(file_pread_all(-1, got, 1, 0), -EBADF);
	assert_int_equal(file_pwrite_all(-1, got, 1, 0), -EBADF);
}

static void test_written_whole(void **state)
{
	_cleanup_free_ char *path = in_dir("whole"), *nowhere = in_dir("no/such");
	_cleanup_buf_ struct buf b = BUF_MAX(100), small = BUF_MAX(3);
	struct stat st;

	assert_int_equal(file_write_atomic(path, "first", 5, 0640), 0);
	assert_int_equal(file_write_atomic(path, "second", 6, 0600), 0);
	assert_int_equal(file_read_whole(path, &b), 0);
	assert_string_equal(buf_str(&b), "second");
	assert_int_equal(file_read_whole(path, &b), 0);         /* not added to what was there */
	assert_int_equal(b.len, 6);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(file_read_whole(path, &small), -EMSGSIZE);
	assert_int_equal(file_write_atomic(path, NULL, 0, 0600), 0);
	assert_int_equal(file_read_whole(path, &b), 0);
	assert_int_equal(b.len, 0);
	assert_int_equal(file_read_whole(nowhere, &b), -ENOENT);
	assert_int_equal(file_read_whole(dir, &b), -EISDIR);
	assert_int_equal(file_write_atomic(nowhere, "x", 1, 0600), -ENOENT);
	assert_int_equal(file_write_atomic(dir, "x", 1, 0600), -EISDIR);
}

static void test_created_only_where_there_is_nothing(void **state)
{
	_cleanup_free_ char *path = in_dir("made");
	_cleanup_buf_ struct buf b = {0};
	struct stat st;

	assert_int_equal(file_create(path, "one\0two", 7, 0600), 0);
	assert_int_equal(file_read_whole(path, &b), 0);
	assert_int_equal(b.len, 7);
	assert_memory_equal(b.data, "one\0two", 7);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(file_create(path, "other", 5, 0600), -EEXIST);
	assert_int_equal(file_read_whole(path, &b), 0);
	assert_int_equal(b.len, 7);
}

static void test_a_write_that_fails_leaves_no_trace(void **state)
{
	_cleanup_free_ char *sub = in_dir("sub"), *target = in_dir("sub/target"), *inside = in_dir("sub/target/inside");

	assert_int_equal(file_mkdirs(inside, 0700), 0);
	assert_true(file_write_atomic(target, "x", 1, 0600) < 0);       /* a folder stands there */
	assert_int_equal(names_in(sub), 1);
}

static void test_folders_made(void **state)
{
	_cleanup_free_ char *deep = in_dir("a/b//c/"), *file = in_dir("file"), *below = in_dir("file/x");
	struct stat st;

	assert_int_equal(file_mkdirs(deep, 0700), 0);
	assert_int_equal(file_mkdirs(deep, 0700), 0);
	assert_int_equal(stat(deep, &st), 0);
	assert_true(S_ISDIR(st.st_mode) && (st.st_mode & 0777) == 0700);
	assert_int_equal(file_write_atomic(file, "", 0, 0600), 0);
	assert_int_equal(file_mkdirs(file, 0700), -ENOTDIR);
	assert_int_equal(file_mkdirs(below, 0700), -ENOTDIR);
	assert_int_equal(file_mkdirs("", 0700), -ENOENT);
	assert_int_equal(file_mkdirs("/", 0700), 0);
	assert_int_equal(file_fsync_dir(deep), 0);
	assert_int_equal(file_fsync_dir(file), -ENOTDIR);
}

static void test_lock_keeps_others_out(void **state)
{
	_cleanup_free_ char *path = in_dir("lock");
	_cleanup_close_ int a = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), b = open(path, O_RDWR | O_CLOEXEC);

	assert_int_equal(file_lock(a, false, false), 0);
	assert_int_equal(file_lock(b, false, false), 0);
	assert_int_equal(file_lock(a, true, false), -EWOULDBLOCK);
	close(b);
	b = -1;
	assert_int_equal(file_lock(a, true, true), 0);
	b = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(file_lock(b, false, false), -EWOULDBLOCK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges_written_and_read),
		cmocka_unit_test(test_written_whole),
		cmocka_unit_test(test_created_only_where_there_is_nothing),
		cmocka_unit_test(test_a_write_that_fails_leaves_no_trace),
		cmocka_unit_test(test_folders_made),
		cmocka_unit_test(test_lock_keeps_others_out),
	};

	return cmocka_run_group_tests_name("base-file", tests, setup, teardown);
}
