/* cli-owed.c - what a mount says it owes, read from files that need no mount. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "cli/owed.h"

static char *dir;

static void path_of(const char *name, char ret[128])
{
	snprintf(ret, 128, "%s/.scifs/%s", dir, name);
}

static void say(const char *name, const char *text)
{
	char path[128];

	path_of(name, path);
	assert_int_equal(file_write_atomic(path, text, strlen(text), 0600), 0);
}

static int set_up(void **state)
{
	char control[80];

	dir = test_dir_new();
	snprintf(control, sizeof(control), "%s/.scifs", dir);
	return mkdir(control, 0700);
}

static int tear_down(void **state)
{
	test_dir_done(dir);
	return 0;
}

#define ROWS \
	"[{\"id\": 1, \"path\": \"/a/b\", \"name\": \"b\", \"size\": 100, \"sent\": 40, \"state\": \"uploading\", \"error\": null}," \
	" {\"id\": 2, \"path\": \"/a\", \"name\": \"a\", \"size\": 7, \"sent\": 0, \"state\": \"refused\", \"error\": \"no room\"}," \
	" {\"id\": 3, \"path\": \"/a/bc\", \"name\": \"bc\", \"size\": 1, \"sent\": 0, \"state\": \"conflict\", \"error\": null}," \
	" {\"id\": 4, \"path\": null, \"name\": \"lost\", \"size\": 3, \"sent\": 0, \"state\": \"queued\", \"error\": null, \"more\": []}]"

static void test_rows_are_those_below_a_path(void **state)
{
	static const struct {
		const char *below;
		size_t rows;
		uint64_t bytes, refused;
	} cases[] = {{"", 4, 60 + 7 + 1 + 3, 2}, {"/a", 4, 71, 2}, {"/a/b", 2, 63, 0}, {"/b", 1, 3, 0}};

	say("uploads.json", ROWS);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct owed_list l;

		assert_int_equal(owed_list(dir, cases[i].below, &l), 0);
		assert_int_equal(l.rows.n, cases[i].rows);
		assert_int_equal(l.bytes, cases[i].bytes);
		assert_int_equal(l.refused, cases[i].refused);
		owed_list_done(&l);
	}
}

static void test_a_row_tells_what_a_person_wants_to_know(void **state)
{
	struct owed_list l;

	say("uploads.json", ROWS);
	assert_int_equal(owed_list(dir, "", &l), 0);
	assert_int_equal(l.rows.at[1].id, 2);
	assert_string_equal(l.rows.at[1].path, "/a");
	assert_string_equal(l.rows.at[1].state, "refused");
	assert_string_equal(l.rows.at[1].error, "no room");
	assert_true(l.rows.at[1].refused && l.rows.at[2].refused && !l.rows.at[0].refused);
	assert_string_equal(l.rows.at[3].path, "lost");
	assert_null(l.rows.at[3].error);
	owed_list_done(&l);
}

static void test_a_mount_that_has_no_list_owes_nothing(void **state)
{
	struct owed_list l;

	assert_int_equal(owed_list(dir, "", &l), 0);
	assert_int_equal(l.rows.n, 0);
	owed_list_done(&l);
}

static void test_nonsense_is_an_error_and_no_empty_list(void **state)
{
	static const char *const nonsense[] = {"", "[{\"id\": \"one\"}]", "[{\"id\": 1, \"path\": 2}]", "[{\"id\": 1, \"size\": -1}]", "[{]"};

	for (size_t i = 0; i < COUNT(nonsense); i++) {
		struct owed_list l;

		say("uploads.json", nonsense[i]);
		assert_int_equal(owed_list(dir, "", &l), -EBADMSG);
	}
}

static void test_the_status_counts(void **state)
{
	struct owed o;

	say("status.json", "{\"pid\": 12, \"uploads\": {\"owed\": 5, \"bytes\": 1000, \"refused\": 2, \"held\": 1, \"room\": 9}}");
	assert_int_equal(owed_status(dir, &o), 0);
	assert_int_equal(o.pid, 12);
	assert_int_equal(o.files, 5);
	assert_int_equal(o.bytes, 1000);
	assert_int_equal(o.refused, 2);
	assert_int_equal(o.held, 1);
	assert_int_equal(o.room, 9);
	say("status.json", "{\"pid\": 12}");            /* read only */
	assert_int_equal(owed_status(dir, &o), 0);
	assert_int_equal(o.files, 0);
}

static void test_a_verb_is_one_line_and_its_refusal_comes_back(void **state)
{
	_cleanup_buf_ struct buf said = BUF_MAX(100);
	char path[128];

	assert_int_equal(owed_say(dir, "retry 12", 60000), -ENOENT);
	say("action", "");
	assert_int_equal(owed_say(dir, "retry 12", 60000), 0);
	path_of("action", path);
	assert_int_equal(file_read_whole(path, &said), 0);
	assert_string_equal(buf_str(&said), "retry 12\n");
}

static void test_who_takes_no_verb_is_not_waited_for_long(void **state)
{
	char path[128];

	path_of("action", path);
	assert_int_equal(mkfifo(path, 0600), 0);        /* opening it waits for a reader, who never comes */
	assert_int_equal(owed_say(dir, "flush", 30), -ETIMEDOUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rows_are_those_below_a_path, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_row_tells_what_a_person_wants_to_know, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_mount_that_has_no_list_owes_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nonsense_is_an_error_and_no_empty_list, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_status_counts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_verb_is_one_line_and_its_refusal_comes_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_takes_no_verb_is_not_waited_for_long, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
