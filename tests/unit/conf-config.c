/* conf-config.c - which lines of a configuration file count for which source, and what a bad line is told. */
#include "test.h"

#include <sys/stat.h>

#include "base/file.h"
#include "base/str.h"
#include "conf/conf.h"

struct outcome {
	int error;
	char *why, *source, *ttl;
};

static struct outcome read_text(const char *text, const char *source, mode_t mode)
{
	char *dir = test_dir_new(), *path = NULL;
	struct outcome out = {0};
	struct conf *c = NULL;
	FILE *f;

	assert_true(asprintf(&path, "%s/scifs.conf", dir) > 0);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
	assert_int_equal(conf_new(&c), 0);
	out.source = strdup(source);
	out.error = conf_read_file(c, CONF_USER, path, &out.source, &out.why);
	if (conf_string(c, "ttl"))
		out.ttl = strdup(conf_string(c, "ttl"));
	conf_free(c);
	test_dir_done(dir);
	free(path);
	return out;
}

static void outcome_done(struct outcome *o)
{
	free(o->why);
	free(o->source);
	free(o->ttl);
}

#define LONG_60 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static void test_sections_count_for_what_they_name(void **state)
{
	static const struct {
		const char *text, *source, *ttl, *becomes;
	} cases[] = {
		{"ttl = 1s\n", "https://h", "1s", NULL},
		{"ttl = 1s\n[https://h]\nttl = 2s\n", "https://h", "2s", NULL},
		{"ttl = 1s\n[https://h]\nttl = 2s\n", "https://h/c/d", "2s", NULL},
		{"[https://h/]\nttl = 2s\n", "https://h/c/d", "2s", NULL},
		/* Another host whose name begins alike is another host. */
		{"[https://h]\nttl = 2s\n", "https://h.example.org", NULL, NULL},
		{"[https://h]\nttl = 2s\n", "https://h:81/", NULL, NULL},
		{"[https://h/c]\nttl = 2s\n", "https://h/cc", NULL, NULL},
		/* A profile: its own section, those of its source, and what stands before any. */
		{"ttl = 1s\n[kw]\nsource = https://h/c\nttl = 3s\n", "kw", "3s", "https://h/c"},
		{"[https://h]\nttl = 2s\n[kw]\nsource = https://h/c\n", "kw", "2s", "https://h/c"},
		{"[kw]\nttl = 3s\nsource = https://h/c\n[other]\nttl = 4s\n", "kw", "3s", "https://h/c"},
		/* A section may leave the kind out, not name another one. */
		{"[https://h]\nttl = 2s\n", "girder+https://h/c", "2s", NULL},
		{"[girder+https://h]\nttl = 2s\n", "girder+https://h/c", "2s", NULL},
		{"[girder+https://h]\nttl = 2s\n", "https://h/c", NULL, NULL},
		{"ttl = 1s ; as long as that\n", "https://h", "1s", NULL},
		/* Indented lines are lines. */
		{"[kw]\n  source = https://h/c\n  ttl = 3s\n", "kw", "3s", "https://h/c"},
		{"# " LONG_60 LONG_60 LONG_60 LONG_60 LONG_60 "\nttl = 1s\n", "https://h", "1s", NULL},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct outcome o = read_text(cases[i].text, cases[i].source, 0644);

		assert_int_equal(o.error, 0);
		assert_string_equal(o.source, cases[i].becomes ? cases[i].becomes : cases[i].source);
		assert_string_equal(o.ttl ? o.ttl : "none", cases[i].ttl ? cases[i].ttl : "none");
		outcome_done(&o);
	}
}

static void test_a_bad_line_is_named(void **state)
{
	static const struct {
		const char *text, *line;
	} cases[] = {
		{"ttl = 1s\n\nnonsense\n", ":3: "},
		{"[https://h]\ntttl = 1s\n", ":2: "},
		{"ttl = soon\n", ":1: "},
		{"ttl = 1s\ntoken = abcdefgh\n", ":2: "},     /* for whom? */
		{"ca = ca.pem\n", ":1: "},
		{"\nca = " LONG_60 LONG_60 LONG_60 LONG_60 "\nttl = 1s\n", ":2: "},
		{"[https://" LONG_60 "/]\nttl = 1s\n", ":1: "},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct outcome o = read_text(cases[i].text, "https://h", 0644);

		assert_int_equal(o.error, -EINVAL);
		assert_non_null(o.why);
		assert_non_null(strstr(o.why, cases[i].line));
		outcome_done(&o);
	}
}

static void test_a_secret_that_others_may_read_is_refused(void **state)
{
	struct outcome o = read_text("[https://elsewhere]\ntoken = abcdefgh\n", "https://h", 0644);

	assert_int_equal(o.error, -EACCES);
	outcome_done(&o);
	o = read_text("[https://elsewhere]\ntoken = abcdefgh\n", "https://h", 0600);
	assert_int_equal(o.error, 0);
	outcome_done(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sections_count_for_what_they_name),
		cmocka_unit_test(test_a_bad_line_is_named),
		cmocka_unit_test(test_a_secret_that_others_may_read_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
