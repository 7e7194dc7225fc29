/* The log and the secrets: one event a line, nothing hostile and nothing secret in it. */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/str.h"
#include "base/thread.h"

#define ORIGIN "https://data.example.org:443"

struct place {
	char *dir, *path;
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->dir = test_dir_new();
	assert_int_equal(str_fmt(&p->path, "%s/log", p->dir), 0);
	assert_int_equal(log_open(p->path), 0);
	log_set_level(LOG_LEVEL_INFO);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	assert_int_equal(log_open(NULL), 0);
	test_dir_done(p->dir);
	free(p->path);
	free(p);
	return 0;
}

/* What was logged since the last call, without the time in front of its first line. */
static void logged(struct place *p, struct buf *ret)
{
	assert_int_equal(file_read_whole(p->path, ret), 0);
	assert_int_equal(truncate(p->path, 0), 0);
}

static void logs(void **state, const char *want)
{
	_cleanup_buf_ struct buf b = {0};

	logged(*state, &b);
	if (*want)
		assert_string_equal(buf_str(&b) + strlen("2026-11-24T13:00:00.123Z "), want);
	else
		assert_int_equal(b.len, 0);
}

static void test_a_line_an_event(void **state)
{
	struct place *p = *state;
	struct stat st;

	log_info("mounted %s", "here");
	logs(state, "info: mounted here\n");
	log_error("%d", 5);
	logs(state, "error: 5\n");
	log_warn("w");
	logs(state, "warn: w\n");
	assert_int_equal(stat(p->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_levels(void **state)
{
	enum log_level l = LOG_LEVEL_ERROR;

	log_debug("not now");
	logs(state, "");
	assert_false(log_enabled(LOG_LEVEL_DEBUG));
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("now");
	logs(state, "debug: now\n");
	log_set_level(LOG_LEVEL_ERROR);
	log_warn("not now");
	logs(state, "");
	assert_int_equal(log_parse_level("debug", &l), 0);
	assert_int_equal(l, LOG_LEVEL_DEBUG);
	assert_int_equal(log_parse_level("verbose", &l), -EINVAL);
	assert_int_equal(l, LOG_LEVEL_DEBUG);
}

static void test_a_name_cannot_forge_a_line(void **state)
{
	log_info("file %s", "a\n2026-11-24T13:00:00.000Z error: forged\x1b[2J\r\xc2\x9b\xff\x7f.");
	logs(state, "info: file a\\x0a2026-11-24T13:00:00.000Z error: forged\\x1b[2J\\x0d\\xc2\\x9b\\xff\\x7f.\n");
	log_info("%s", "\xc3\xa9\xe2\x82\xac");
	logs(state, "info: \xc3\xa9\xe2\x82\xac\n");
}

static void test_a_long_line_is_cut(void **state)
{
	_cleanup_buf_ struct buf b = {0};
	char text[10000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	log_info("%s", text);
	logged(*state, &b);
	assert_in_range(b.len, 4000, 4200);
	assert_int_equal(b.data[b.len - 1], '\n');
	memset(text, '\n', sizeof(text) - 1);           /* four bytes for each */
	log_info("%s", text);
	logged(*state, &b);
	assert_in_range(b.len, 4000, 4200);
	assert_ptr_equal(strchr(b.data, '\n'), b.data + b.len - 1);
}

static void test_a_secret_is_blotted(void **state)
{
	struct secret *s = NULL;

	log_info("before: hunter2hunter2");
	logs(state, "info: before: hunter2hunter2\n");
	assert_int_equal(secret_new(ORIGIN, "hunter2", &s), 0);
	log_info("Girder-Token: %s, again hunter2hunter2", "hunter2");
	logs(state, "info: Girder-Token: ***, again ******\n");
	secret_unref(s);
	log_info("after: hunter2");
	logs(state, "info: after: hunter2\n");
}

static void test_a_cut_does_not_show_half_a_secret(void **state)
{
	struct secret *s = NULL;
	char text[5000];

	assert_int_equal(secret_new(ORIGIN, "0123456789abcdefghijklmnop", &s), 0);
	for (size_t at = 4060; at < 4100; at++) {
		_cleanup_buf_ struct buf b = {0};

		memset(text, 'x', sizeof(text));
		strcpy(text + at, "0123456789abcdefghijklmnop and more");
		log_info("%s", text);
		logged(*state, &b);
		assert_null(strstr(buf_str(&b), "012345"));
	}
	secret_unref(s);
}

static void test_the_log_leaves_errno_alone(void **state)
{
	errno = ENOTTY;
	log_info("x");
	assert_int_equal(errno, ENOTTY);
}

static void test_a_place_that_cannot_be_leaves_the_old_one(void **state)
{
	assert_int_equal(log_open("/no/such/folder/log"), -ENOENT);
	log_info("still here");
	logs(state, "info: still here\n");
}

static void say(void *arg)
{
	for (int i = 0; i < 200; i++)
		log_info("thread %s says something of some length", (char *)arg);
}

static void test_lines_of_threads_do_not_mix(void **state)
{
	static char a[] = "a", b[] = "b", c[] = "c";
	_cleanup_buf_ struct buf all = {0};
	_cleanup_free_ char **lines = NULL;
	struct thread_pool *pool = NULL;
	int n = 0;

	assert_int_equal(pool_new("log", 3, 3, &pool), 0);
	assert_int_equal(pool_add(pool, say, a), 0);
	assert_int_equal(pool_add(pool, say, b), 0);
	assert_int_equal(pool_add(pool, say, c), 0);
	pool_free(pool);
	logged(*state, &all);
	assert_int_equal(str_split(buf_str(&all), '\n', &lines), 0);
	for (; lines[n] && *lines[n]; n++)
		assert_true(str_ends(lines[n], " says something of some length") && strlen(lines[n]) == strlen(lines[0]));
	assert_int_equal(n, 600);
}

static void test_a_secret_goes_to_its_origin_only(void **state)
{
	struct secret *s = NULL, *other;

	assert_int_equal(secret_new(ORIGIN, "hunter2", &s), 0);
	assert_string_equal(secret_text(s, ORIGIN), "hunter2");
	assert_null(secret_text(s, "http://data.example.org:443"));
	assert_null(secret_text(s, "https://data.example.org:4433"));
	assert_null(secret_text(s, "https://evil.example.org:443"));
	assert_null(secret_text(NULL, ORIGIN));
	other = secret_ref(s);
	secret_unref(s);
	assert_string_equal(secret_text(other, ORIGIN), "hunter2");
	secret_unref(other);
	secret_unref(NULL);
	assert_null(secret_ref(NULL));
}

static void test_secrets_have_a_longest(void **state)
{
	struct secret *s = NULL;
	char *text = calloc(1, (64 << 10) + 1);

	memset(text, 'x', 64 << 10);
	assert_int_equal(secret_new(ORIGIN, text, &s), -EINVAL);
	assert_null(s);
	text[(64 << 10) - 1] = 0;
	assert_int_equal(secret_new(ORIGIN, text, &s), 0);
	secret_unref(s);
	assert_int_equal(secret_new(ORIGIN, "", &s), 0);
	assert_string_equal(secret_text(s, ORIGIN), "");
	secret_unref(s);
	free(text);
}

/* The flags of the memory that holds p, from /proc/self/smaps; false: not found. */
static bool memory_flags(const void *p, char *ret, size_t n)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long from, to;
	bool here = false, found = false;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (here && str_starts(line, "VmFlags:"))
			found = snprintf(ret, n, "%s", line) > 0;
	}
	if (f)
		fclose(f);
	return found;
}

static void test_a_secret_is_in_no_core_file(void **state)
{
	struct secret *s = NULL;
	char flags[512];
	bool found;

	assert_int_equal(secret_new(ORIGIN, "hunter2", &s), 0);
	found = memory_flags(secret_text(s, ORIGIN), flags, sizeof(flags));
	secret_unref(s);
	if (!found) {
		print_message("skipped: this kernel tells no VmFlags\n");
		skip();
	}
	assert_non_null(strstr(flags, " dd"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_line_an_event, setup, teardown),
		cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_name_cannot_forge_a_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_long_line_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_secret_is_blotted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_cut_does_not_show_half_a_secret, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_log_leaves_errno_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_place_that_cannot_be_leaves_the_old_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lines_of_threads_do_not_mix, setup, teardown),
		cmocka_unit_test(test_a_secret_goes_to_its_origin_only),
		cmocka_unit_test(test_secrets_have_a_longest),
		cmocka_unit_test(test_a_secret_is_in_no_core_file),
	};

	return cmocka_run_group_tests_name("base-log", tests, NULL, NULL);
}
