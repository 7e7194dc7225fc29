/* mount-helper.c - mount(8)'s words to those of scifs mount. */
#include "test.h"

#include "mount-helpers/translate.h"

#define WORDS_MAX 12

static int translate(const char *const words[], struct helper *ret, const char **why, const char **what)
{
	char *argv[WORDS_MAX + 1] = {(char *)"mount.scifs"};
	int argc = 1;

	for (size_t i = 0; words[i]; i++)
		argv[argc++] = (char *)words[i];
	return helper_translate(argc, argv, ret, why, what);
}

static void test_words_become_those_of_scifs(void **state)
{
	static const struct {
		const char *words[WORDS_MAX], *options;
		bool fake, verbose;
	} cases[] = {
		{{"S", "D"}, NULL, false, false},
		{{"S", "D", "-o", "rw"}, NULL, false, false},
		{{"S", "D", "-o", "defaults,noauto,nofail,_netdev"}, NULL, false, false},
		{{"S", "D", "-o", "rw,ro,allow_other,uid=1000"}, "ro,allow_other,uid=1000", false, false},
		{{"S", "D", "-o", "x-systemd.automount,X-mount.mkdir,comment=a b,ttl=1m"}, "ttl=1m", false, false},
		{{"S", "D", "-o", "user=alice,noexec,nosuid,nodev,credentials=/etc/k"}, "credentials=/etc/k", false, false},
		{{"-o", "memory=64M", "S", "D", "-o", "ttl=9s"}, "memory=64M,ttl=9s", false, false},
		{{"-sn", "S", "-v", "D", "-oro"}, "ro", false, true},
		{{"S", "D", "-sfnvo", "ro", "-t", "scifs"}, "ro", true, true},
		{{"S", "D", "-o", ",,ro,,"}, "ro", false, false},
		/* A comma in a value stays in it, and its word stays whole. */
		{{"S", "D", "-o", "ca=/a\\,rw,rw"}, "ca=/a\\,rw", false, false},
		/* Only whole words are dropped. */
		{{"S", "D", "-o", "rwx,autofs,users2"}, "rwx,autofs,users2", false, false},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *why, *what;
		struct helper h;

		assert_int_equal(translate(cases[i].words, &h, &why, &what), 0);
		assert_string_equal(h.source, "S");
		assert_string_equal(h.dir, "D");
		if (cases[i].options)
			assert_string_equal(h.options, cases[i].options);
		else
			assert_null(h.options);
		assert_int_equal(h.fake, cases[i].fake);
		assert_int_equal(h.verbose, cases[i].verbose);
		helper_done(&h);
	}
}

static void test_what_cannot_be_is_named(void **state)
{
	static const struct {
		const char *words[WORDS_MAX], *what;
	} cases[] = {
		{{"S"}, NULL},
		{{NULL}, NULL},
		{{"S", "D", "E"}, "E"},
		{{"S", "D", "-o"}, "-o"},
		{{"S", "D", "-q"}, "-q"},
		{{"S", "D", "--help"}, "--help"},
		{{"S", "D", "-o", "allow_other,remount,ro"}, "remount"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *why, *what;
		struct helper h;

		assert_int_equal(translate(cases[i].words, &h, &why, &what), -EINVAL);
		assert_non_null(why);
		if (cases[i].what)
			assert_string_equal(what, cases[i].what);
		else
			assert_null(what);
	}
}

static void test_a_status_is_one_that_mount_knows(void **state)
{
	static const int cases[][2] = {{0, 0}, {1, 1}, {2, 32}, {3, 32}, {4, 2}, {5, 2}, {127, 2}};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(helper_status(cases[i][0]), cases[i][1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_become_those_of_scifs),
		cmocka_unit_test(test_what_cannot_be_is_named),
		cmocka_unit_test(test_a_status_is_one_that_mount_knows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
