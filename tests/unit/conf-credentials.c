/* conf-credentials.c - where a login comes from, what wins, and which file is not believed. */
#include "test.h"

#include <sys/stat.h>

#include "base/cleanup.h"
#include "conf/conf.h"

#define ORIGIN "https://h"

struct world {
	char *dir, *file;
	struct conf *conf;
};

static void world_new(struct world *w, const char *text, mode_t mode)
{
	char *why = NULL;

	w->dir = test_dir_new();
	assert_true(asprintf(&w->file, "%s/keys", w->dir) > 0);
	assert_int_equal(conf_new(&w->conf), 0);
	for (const char *const *v = (const char *const[]){"SCIFS_TOKEN", "SCIFS_API_KEY", "SCIFS_USER", "SCIFS_PASSWORD", NULL}; *v; v++)
		unsetenv(*v);
	if (text) {
		FILE *f = fopen(w->file, "w");

		assert_non_null(f);
		fputs(text, f);
		fclose(f);
		assert_int_equal(chmod(w->file, mode), 0);
		assert_int_equal(conf_set(w->conf, CONF_COMMAND, "-o", "credentials", w->file, &why), 0);
	}
}

static void world_done(struct world *w)
{
	conf_free(w->conf);
	free(w->file);
	test_dir_done(w->dir);
}

static const char *text_of(const struct secret *s)
{
	const char *t = secret_text(s, ORIGIN);

	return t ? t : "none";
}

static void test_a_file_is_read(void **state)
{
	struct credentials k = {0};
	struct world w;
	char *why = NULL;

	world_new(&w, "# mine\n\n  api_key = the-key \nuser=me\nheader = X-Gate: open sesame\n", 0600);
	assert_int_equal(conf_credentials(w.conf, ORIGIN, &k, &why), 0);
	assert_string_equal(text_of(k.api_key), "the-key");
	assert_string_equal(k.user, "me");
	assert_null(k.token);
	assert_string_equal(k.headers[0].name, "X-Gate");
	assert_string_equal(text_of(k.headers[0].value), "open sesame");
	assert_null(k.headers[1].name);
	assert_null(secret_text(k.api_key, "https://elsewhere"));
	credentials_done(&k);
	world_done(&w);
}

static void test_a_file_that_others_may_read_is_refused(void **state)
{
	static const mode_t modes[] = {0644, 0640, 0604, 0610, 0606};

	for (size_t i = 0; i < COUNT(modes); i++) {
		_cleanup_free_ char *why = NULL;
		struct credentials k = {0};
		struct world w;

		world_new(&w, "token = abcdefgh\n", modes[i]);
		assert_int_equal(conf_credentials(w.conf, ORIGIN, &k, &why), -EACCES);
		assert_non_null(strstr(why, "chmod 600"));
		assert_null(k.token);
		world_done(&w);
	}
}

static void test_what_is_no_file_of_credentials_is_named(void **state)
{
	static const struct {
		const char *text, *says;
		int error;
	} cases[] = {
		{"token = abcdefgh\nnonsense\n", "keys:2: ", -EINVAL},
		{"ttl = 5s\n", "keys:1: ", -EINVAL},
		{"token =\n", "keys:1: option token needs a value", -EINVAL},
		{"header = no colon\n", "keys:1: option header should be NAME: VALUE", -EINVAL},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_free_ char *why = NULL;
		struct credentials k = {0};
		struct world w;

		world_new(&w, cases[i].text, 0600);
		assert_int_equal(conf_credentials(w.conf, ORIGIN, &k, &why), cases[i].error);
		assert_non_null(strstr(why, cases[i].says));
		assert_null(strstr(why, "abcdefgh"));
		world_done(&w);
	}
}

static void test_a_file_that_is_missing_is_named(void **state)
{
	_cleanup_free_ char *why = NULL;
	struct credentials k = {0};
	struct world w;

	world_new(&w, "token = abcdefgh\n", 0600);
	assert_int_equal(unlink(w.file), 0);
	assert_int_equal(conf_credentials(w.conf, ORIGIN, &k, &why), -EACCES);
	assert_non_null(strstr(why, "keys: the credentials cannot be read: No such file"));
	world_done(&w);
}

static void test_the_environment_wins_and_is_wiped(void **state)
{
	struct credentials k = {0};
	struct world w;
	char *why = NULL, *stood;

	world_new(&w, "api_key = of-the-file\n", 0600);
	assert_int_equal(conf_set(w.conf, CONF_USER, "f:1", "password", "of-the-section", &why), 0);
	setenv("SCIFS_TOKEN", "of-the-environment", 1);
	stood = getenv("SCIFS_TOKEN");
	assert_int_equal(conf_credentials(w.conf, ORIGIN, &k, &why), 0);
	assert_string_equal(text_of(k.token), "of-the-environment");
	assert_null(k.api_key);
	assert_null(k.password);
	assert_null(getenv("SCIFS_TOKEN"));
	assert_int_equal(stood[0], 0);          /* where /proc/PID/environ looks */
	credentials_done(&k);
	world_done(&w);
}

static void test_the_file_wins_over_the_section_and_ways_are_not_mixed(void **state)
{
	struct credentials k = {0};
	struct world w;
	char *why = NULL;

	world_new(&w, "api_key = of-the-file\nheader = X-A: file\n", 0600);
	assert_int_equal(conf_set(w.conf, CONF_USER, "f:1", "token", "of-the-section", &why), 0);
	assert_int_equal(conf_set(w.conf, CONF_USER, "f:2", "user", "me", &why), 0);
	assert_int_equal(conf_set(w.conf, CONF_USER, "f:3", "header", "x-a: section", &why), 0);
	assert_int_equal(conf_set(w.conf, CONF_USER, "f:4", "header", "X-B: section", &why), 0);
	assert_int_equal(conf_credentials(w.conf, ORIGIN, &k, &why), 0);
	assert_string_equal(text_of(k.api_key), "of-the-file");
	assert_null(k.token);
	assert_string_equal(k.user, "me");
	assert_string_equal(text_of(k.headers[0].value), "file");
	assert_string_equal(k.headers[1].name, "X-B");
	assert_null(k.headers[2].name);
	credentials_done(&k);
	world_done(&w);
}

static void test_the_section_is_the_last_resort_and_leaves_conf(void **state)
{
	struct credentials k = {0};
	struct world w;
	char *why = NULL;

	world_new(&w, NULL, 0);
	assert_int_equal(conf_set(w.conf, CONF_SYSTEM, "f:1", "token", "of-the-system", &why), 0);
	assert_int_equal(conf_credentials(w.conf, ORIGIN, &k, &why), 0);
	assert_string_equal(text_of(k.token), "of-the-system");
	assert_null(conf_string(w.conf, "token"));
	credentials_done(&k);
	world_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_file_is_read),
		cmocka_unit_test(test_a_file_that_others_may_read_is_refused),
		cmocka_unit_test(test_what_is_no_file_of_credentials_is_named),
		cmocka_unit_test(test_a_file_that_is_missing_is_named),
		cmocka_unit_test(test_the_environment_wins_and_is_wiped),
		cmocka_unit_test(test_the_file_wins_over_the_section_and_ways_are_not_mixed),
		cmocka_unit_test(test_the_section_is_the_last_resort_and_leaves_conf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
