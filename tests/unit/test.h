/* test.h - what every unit test includes: cmocka, and the headers it wants in front of it. */
#ifndef SCIFS_TESTS_UNIT_TEST_H
#define SCIFS_TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A literal where a struct owns its strings elsewhere: nobody may free or change it. */
#define TEXT(literal) ((char *)(literal))
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* A folder of the test's own under $TMPDIR or /tmp; test_dir_done() removes it with all that is in it. */
static inline __attribute__((unused)) char *test_dir_new(void)
{
	const char *tmp = getenv("TMPDIR");
	char *path = NULL;

	assert_true(asprintf(&path, "%s/scifs-unit-XXXXXX", tmp ? tmp : "/tmp") > 0);
	assert_non_null(mkdtemp(path));
	return path;
}

static inline __attribute__((unused)) void test_dir_done(char *path)
{
	char *command = NULL;

	assert_true(asprintf(&command, "rm -rf '%s'", path) > 0);
	assert_int_equal(system(command), 0);
	free(command);
	free(path);
}

#endif
