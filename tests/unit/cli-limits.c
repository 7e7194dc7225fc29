/* cli-limits.c - where what is written is kept when the user does not say. */
#include "test.h"

#include "base/cleanup.h"
#include "cli/limits.h"

static void test_the_state_lies_where_the_user_says_else_at_home_else_with_the_system(void **state)
{
	static const struct {
		const char *given, *xdg, *home, *becomes;
	} cases[] = {
		{"/data/state", "/x", "/home/me", "/data/state"},
		{NULL, "/x", "/home/me", "/x/scifs"},
		{NULL, "", "/home/me", "/home/me/.local/state/scifs"},
		{NULL, "relative", "/home/me", "/home/me/.local/state/scifs"},
		{NULL, NULL, NULL, "/var/lib/scifs"},
		{NULL, NULL, "", "/var/lib/scifs"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_free_ char *dir = NULL;

		unsetenv("XDG_STATE_HOME");
		unsetenv("HOME");
		if (cases[i].xdg)
			setenv("XDG_STATE_HOME", cases[i].xdg, 1);
		if (cases[i].home)
			setenv("HOME", cases[i].home, 1);
		assert_int_equal(limit_state(cases[i].given, &dir), 0);
		assert_string_equal(dir, cases[i].becomes);
	}
}

static void test_a_folder_of_this_machine_is_not_of_the_network(void **state)
{
	assert_false(limit_is_remote("/proc"));
	assert_false(limit_is_remote("/nowhere/at/all"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_state_lies_where_the_user_says_else_at_home_else_with_the_system),
		cmocka_unit_test(test_a_folder_of_this_machine_is_not_of_the_network),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
