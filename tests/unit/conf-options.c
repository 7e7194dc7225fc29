/* conf-options.c - the one table: which values are taken, who wins, and what a bad one is told. */
#include "test.h"

#include "base/cleanup.h"
#include "conf/conf.h"

static void test_the_nearest_source_wins_in_any_order(void **state)
{
	static const enum conf_from all[] = {CONF_SYSTEM, CONF_USER, CONF_ENVIRONMENT, CONF_COMMAND};
	static const char *const values[] = {"1s", "2s", "3s", "4s"};
	char *why = NULL;

	for (unsigned set = 1; set < 16; set++)
		for (int backwards = 0; backwards < 2; backwards++) {
			_cleanup_(conf_freep) struct conf *c = NULL;
			int best = -1;

			assert_int_equal(conf_new(&c), 0);
			for (int k = 0; k < 4; k++) {
				int i = backwards ? 3 - k : k;

				if (!(set & 1u << i))
					continue;
				assert_int_equal(conf_set(c, all[i], "here", "ttl", values[i], &why), 0);
				best = i > best ? i : best;
			}
			assert_string_equal(conf_string(c, "ttl"), values[best]);
			assert_true(conf_given_from(c, "ttl", all[best]));
		}
}

static void test_the_last_word_of_one_source_counts(void **state)
{
	_cleanup_(conf_freep) struct conf *c = NULL;
	char *why = NULL;

	assert_int_equal(conf_new(&c), 0);
	assert_int_equal(conf_set_list(c, CONF_COMMAND, "-o", "ttl=1s,ttl=2s", &why), 0);
	assert_int_equal(conf_ms(c, "ttl"), 2000);
}

static void test_lists_are_taken_apart_at_plain_commas(void **state)
{
	_cleanup_(conf_freep) struct conf *c = NULL;
	char *why = NULL;

	assert_int_equal(conf_new(&c), 0);
	assert_int_equal(conf_set_list(c, CONF_COMMAND, "-o", ",insecure,,proxy=http://a\\,b=c,memory=64M,online=no,", &why), 0);
	assert_true(conf_bool(c, "insecure"));
	assert_string_equal(conf_string(c, "proxy"), "http://a,b=c");
	assert_int_equal(conf_size(c, "memory"), 64 << 20);
	assert_false(conf_bool(c, "online"));
}

static void test_what_is_not_said_is_the_default(void **state)
{
	_cleanup_(conf_freep) struct conf *c = NULL;

	assert_int_equal(conf_new(&c), 0);
	assert_int_equal(conf_ms(c, "timeout"), 60000);
	assert_int_equal(conf_size(c, "connections"), 8);
	assert_false(conf_bool(c, "ro"));
	assert_string_equal(conf_string(c, "close"), "local");
	assert_string_equal(conf_string(c, "fsync"), "remote");
	assert_int_equal(conf_ms(c, "drain"), 600000);
	assert_int_equal(conf_size(c, "spool_limit"), 0);       /* the spool knows better */
	assert_null(conf_string(c, "api"));
	assert_false(conf_given(c, "timeout"));
}

static void test_every_default_is_a_value_that_is_taken(void **state)
{
	_cleanup_(conf_freep) struct conf *c = NULL;
	const struct option *o;
	size_t n = 0;

	assert_int_equal(conf_new(&c), 0);
	for (; (o = conf_option_at(n, NULL)); n++) {
		char *why = NULL;

		assert_true(o->help && *o->help);
		assert_ptr_equal(conf_option(o->name, NULL), o);        /* no name twice */
		if (o->fallback && conf_set(c, CONF_COMMAND, "default", o->name, o->fallback, &why) < 0)
			fail_msg("%s", why);
		assert_true(o->type != OPTION_CHOICE || o->choices);
	}
	assert_true(n > 30);
}

static void test_a_bad_option_is_named(void **state)
{
	static const struct {
		const char *name, *value, *says;
	} cases[] = {
		{"tll", "1s", "-o: there is no option \"tll\": did you mean \"ttl\"?"},
		{"chache", "none", "did you mean \"cache\"?"},
		{"completely_else", NULL, "there is no option \"completely_else\": scifs mount --help"},
		{"ttl", NULL, "-o: option ttl needs a value"},
		{"ttl", "soon", "option ttl is \"soon\" but should be a time"},
		{"ttl", "-1", "option ttl"},
		{"ttl", "9999999d", "option ttl"},
		{"memory", "much", "option memory is \"much\" but should be a size"},
		{"memory", "99999999999999999999G", "option memory"},
		{"connections", "8.5", "option connections"},
		{"connections", "4294967296", "option connections"},
		{"insecure", "perhaps", "option insecure is \"perhaps\" but should be yes or no"},
		{"close", "soon", "option close is \"soon\" but should be local|remote"},
		{"spool_limit", "half", "option spool_limit is \"half\" but should be a size"},
		{"drain", "for ever", "option drain is \"for ever\" but should be a time"},
		{"log_level", "loud", "should be error|warn|info|debug"},
		{"log_level", "warn|info", "should be error|warn|info|debug"},
		{"log_level", "", "should be error|warn|info|debug"},
		{"ca", "", "option ca is \"\" but should be a path"},
		{"token", "abcdefgh", "token does not belong on a command line, where others can see it: use SCIFS_TOKEN or -o credentials=FILE"},
		{"api_key", "abcdefgh", "use SCIFS_API_KEY"},
		{"password", "abcdefgh", "use SCIFS_PASSWORD"},
		{"header", "X: abcdefgh", "header does not belong on a command line"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_(conf_freep) struct conf *c = NULL;
		_cleanup_free_ char *why = NULL;

		assert_int_equal(conf_new(&c), 0);
		assert_int_equal(conf_set(c, CONF_COMMAND, "-o", cases[i].name, cases[i].value, &why), -EINVAL);
		assert_non_null(why);
		if (!strstr(why, cases[i].says))
			fail_msg("\"%s\" does not say: %s", why, cases[i].says);
		assert_null(strstr(why, "abcdefgh"));
		assert_null(strchr(why, '\n'));
	}
}

static void test_paths_are_made_whole(void **state)
{
	static const struct {
		enum conf_from from;
		const char *name, *value, *becomes;
	} cases[] = {
		{CONF_COMMAND, "ca", "/etc/ca.pem", "/etc/ca.pem"},
		{CONF_COMMAND, "ca", "ca.pem", "/tmp/ca.pem"},
		{CONF_ENVIRONMENT, "ca", "x/ca.pem", "/tmp/x/ca.pem"},
		{CONF_USER, "ca", "~/ca.pem", "/home/of-mine/ca.pem"},
		{CONF_COMMAND, "cache", "none", "none"},
		{CONF_COMMAND, "cache", "nones", "/tmp/nones"},
		{CONF_COMMAND, "log", "syslog", "syslog"},
		{CONF_USER, "log", "-", "-"},
	};
	char was[4096], *why = NULL;

	assert_non_null(getcwd(was, sizeof(was)));
	assert_int_equal(chdir("/tmp"), 0);
	setenv("HOME", "/home/of-mine", 1);
	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_(conf_freep) struct conf *c = NULL;

		assert_int_equal(conf_new(&c), 0);
		assert_int_equal(conf_set(c, cases[i].from, "here", cases[i].name, cases[i].value, &why), 0);
		assert_string_equal(conf_string(c, cases[i].name), cases[i].becomes);
	}
	assert_int_equal(chdir(was), 0);
}

static void test_a_configuration_has_no_current_directory(void **state)
{
	_cleanup_(conf_freep) struct conf *c = NULL;
	_cleanup_free_ char *why = NULL;

	assert_int_equal(conf_new(&c), 0);
	assert_int_equal(conf_set(c, CONF_USER, "f:3", "ca", "ca.pem", &why), -EINVAL);
	assert_string_equal(why, "f:3: option ca is \"ca.pem\" but should be a path from / or ~/ on");
}

static void test_each_option_has_a_variable(void **state)
{
	_cleanup_(conf_freep) struct conf *c = NULL;
	_cleanup_free_ char *why = NULL;

	setenv("SCIFS_READ_PART", "4M", 1);
	setenv("SCIFS_ONLINE", "yes", 1);
	setenv("SCIFS_TTL", "", 1);
	assert_int_equal(conf_new(&c), 0);
	assert_int_equal(conf_set_environment(c, &why), 0);
	assert_int_equal(conf_size(c, "read_part"), 4 << 20);
	assert_true(conf_bool(c, "online"));
	assert_false(conf_given(c, "ttl"));
	setenv("SCIFS_READ_PART", "many", 1);
	assert_int_equal(conf_set_environment(c, &why), -EINVAL);
	assert_non_null(strstr(why, "SCIFS_READ_PART: option read_part is \"many\""));
	unsetenv("SCIFS_READ_PART");
	unsetenv("SCIFS_ONLINE");
	unsetenv("SCIFS_TTL");
}

static void test_what_is_shown_holds_no_secret(void **state)
{
	_cleanup_(conf_freep) struct conf *c = NULL;
	_cleanup_buf_ struct buf b = BUF_MAX(1u << 20);
	char *why = NULL;

	assert_int_equal(conf_new(&c), 0);
	assert_int_equal(conf_set(c, CONF_USER, "f:1", "api_key", "abcdefgh", &why), 0);
	assert_int_equal(conf_set(c, CONF_USER, "f:2", "header", "X-Gate: ijklmnop", &why), 0);
	assert_int_equal(conf_set(c, CONF_USER, "f:3", "ttl", "7s", &why), 0);
	assert_int_equal(conf_json(c, &b), 0);
	assert_non_null(strstr(buf_str(&b), "\"ttl\": \"7s\""));
	assert_null(strstr(buf_str(&b), "abcdefgh"));
	assert_null(strstr(buf_str(&b), "api_key"));
	assert_null(strstr(buf_str(&b), "ijklmnop"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_nearest_source_wins_in_any_order),
		cmocka_unit_test(test_the_last_word_of_one_source_counts),
		cmocka_unit_test(test_lists_are_taken_apart_at_plain_commas),
		cmocka_unit_test(test_what_is_not_said_is_the_default),
		cmocka_unit_test(test_every_default_is_a_value_that_is_taken),
		cmocka_unit_test(test_a_bad_option_is_named),
		cmocka_unit_test(test_paths_are_made_whole),
		cmocka_unit_test(test_a_configuration_has_no_current_directory),
		cmocka_unit_test(test_each_option_has_a_variable),
		cmocka_unit_test(test_what_is_shown_holds_no_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
