/* Names from a server become file names and come back. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fs/private.h"

static void display_is(const char *raw, const char *want)
{
	char *got = NULL;

	assert_int_equal(name_display(FS_NAMES_SCIFS, raw, "item/0123456789abcdef", &got), 0);
	assert_string_equal(got, want);
	free(got);
}

static void test_what_posix_cannot_hold_is_escaped(void **state)
{
	display_is("a/b", "a%2Fb");
	display_is("..", "%2E.");
	display_is(".", "%2E");
	display_is(".scifs", "%2Escifs");
	display_is("", "%00");
	display_is("tab\there", "tab%09here");
	display_is("bad\xff", "bad%FF");
}

static void test_a_users_own_name_stays_as_given(void **state)
{
	display_is("100%", "100%");
	display_is("50%41", "50%41");
	display_is(".hidden", ".hidden");
	display_is("b\xc3\xa9", "b\xc3\xa9");
	display_is("...", "...");
}

static void test_a_literal_escape_is_escaped(void **state)
{
	display_is("a%2Fb", "a%252Fb");
	display_is("a%25", "a%2525");
}

static void test_every_name_comes_back(void **state)
{
	uint64_t seed = 1;

	for (int i = 0; i < 20000; i++) {
		static const char alphabet[] = "a%2F5E./\n\xc3\xa9\xff" "Bc0~";
		char raw[24], *shown = NULL, *back = NULL;
		size_t n;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		n = seed >> 60;
		for (size_t k = 0; k < n; k++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			raw[k] = alphabet[(seed >> 40) % (sizeof(alphabet) - 1)];
		}
		raw[n] = 0;
		assert_int_equal(name_display(FS_NAMES_SCIFS, raw, "x", &shown), 0);
		assert_null(strchr(shown, '/'));
		assert_int_equal(name_raw(FS_NAMES_SCIFS, shown, &back), 0);
		assert_string_equal(back, raw);
		free(shown);
		free(back);
	}
}

static void test_a_long_name_is_cut_and_keeps_id_and_extension(void **state)
{
	char raw[400], *shown = NULL;

	memset(raw, 'x', 300);
	strcpy(raw + 300, ".dat");
	assert_int_equal(name_display(FS_NAMES_SCIFS, raw, "item/0123456789abcdef", &shown), 0);
	assert_int_equal(strlen(shown), 255);
	assert_string_equal(shown + 255 - 13, "~89abcdef.dat");
	free(shown);
}

static void test_twins_stay_both_reachable_whatever_their_order(void **state)
{
	struct object a[3] = {{.kind = OBJECT_FILE, .id = (char *)"item/00000000000000bb", .name = (char *)"n.txt"},
	                      {.kind = OBJECT_FILE, .id = (char *)"item/00000000000000aa", .name = (char *)"n.txt"},
	                      {.kind = OBJECT_DIR, .id = (char *)"folder/00000000000000cc", .name = (char *)"n.txt"}};
	struct object b[3] = {a[2], a[0], a[1]};
	char *x[3] = {0}, *y[3] = {0};

	assert_int_equal(name_assign(FS_NAMES_SCIFS, a, 3, x), 0);
	assert_int_equal(name_assign(FS_NAMES_SCIFS, b, 3, y), 0);
	assert_string_equal(x[2], "n.txt");
	assert_string_equal(x[0], "n~000000bb.txt");
	assert_string_equal(x[1], "n~000000aa.txt");
	assert_string_equal(y[0], x[2]);
	assert_string_equal(y[1], x[0]);
	assert_string_equal(y[2], x[1]);
	for (int i = 0; i < 3; i++) {
		free(x[i]);
		free(y[i]);
	}
}

static void test_a_thing_that_bears_a_twins_name_is_not_hidden(void **state)
{
	struct object o[3] = {{.kind = OBJECT_FILE, .id = (char *)"item/00000000000000aa", .name = (char *)"n"},
	                      {.kind = OBJECT_FILE, .id = (char *)"item/00000000000000bb", .name = (char *)"n"},
	                      {.kind = OBJECT_FILE, .id = (char *)"item/00000000000000cc", .name = (char *)"n~000000bb"}};
	char *x[3] = {0};

	assert_int_equal(name_assign(FS_NAMES_SCIFS, o, 3, x), 0);
	assert_string_not_equal(x[1], x[2]);
	assert_string_not_equal(x[0], x[1]);
	for (int i = 0; i < 3; i++)
		free(x[i]);
}

static int new_name(enum fs_names mode, const char *display, const char *want)
{
	char *got = NULL;
	int r = name_new(mode, display, &got);

	if (r == 0)
		assert_string_equal(got, want);
	free(got);
	return r;
}

static void test_a_new_thing_is_called_what_it_is_then_shown_as(void **state)
{
	assert_int_equal(new_name(FS_NAMES_SCIFS, "a%2Fb", "a/b"), 0);
	assert_int_equal(new_name(FS_NAMES_SCIFS, "50%", "50%"), 0);
	assert_int_equal(new_name(FS_NAMES_GIRDER, "a_b", "a_b"), 0);
	assert_int_equal(new_name(FS_NAMES_GIRDER, "a%2Fb", "a%2Fb"), 0);
	assert_int_equal(new_name(FS_NAMES_GIRDER, "\\x", ""), -EINVAL);       /* it would be shown as _x */
	/* A lookup must not take the name for a raw one: a/b is shown as a_b, too. */
	assert_int_equal(name_raw(FS_NAMES_GIRDER, "a_b", &(char *){NULL}), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_posix_cannot_hold_is_escaped),
		cmocka_unit_test(test_a_users_own_name_stays_as_given),
		cmocka_unit_test(test_a_literal_escape_is_escaped),
		cmocka_unit_test(test_every_name_comes_back),
		cmocka_unit_test(test_a_long_name_is_cut_and_keeps_id_and_extension),
		cmocka_unit_test(test_twins_stay_both_reachable_whatever_their_order),
		cmocka_unit_test(test_a_thing_that_bears_a_twins_name_is_not_hidden),
		cmocka_unit_test(test_a_new_thing_is_called_what_it_is_then_shown_as),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
