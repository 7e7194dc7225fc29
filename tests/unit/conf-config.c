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
		{"proxy = http://" LONG_60 LONG_60 LONG_60 "abc\nttl = 1s\n", "https://h", "1s", NULL},        /* 198 bytes */
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
		/* The first one, whatever follows. */
		{"tttl = 1s\nttl = 1s\nmemroy = 1M\n", ":1: there is no option \"tttl\""},
		{"nonsense\ntttl = 1s\n", ":1: this line cannot be read"},
		{"tttl = 1s\nnonsense\n", ":1: there is no option"},
		{"token = abcdefgh\nttl = 1s\n", ":1: token belongs into a section"},
		{"ttl = 1s\ntoken = abcdefgh\n", ":2: "},     /* for whom? */
		{"ca = ca.pem\n", ":1: "},
		{"proxy = http://" LONG_60 LONG_60 LONG_60 "abcd\n", ":1: this line is too long"},
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

/* Pieces that mean something to a reader of such files, put together by chance (always the same chance). */
static void test_whatever_stands_in_a_file_is_read_or_named(void **state)
{
	static const char *const pieces[] = {
		"[", "]", "=", ":", "\n", "\r\n", ";", "#", " ", "\t", "\\", ",", "\"", "source", "ttl", "1s", "ca", "/x", "~/", "https://h", "girder+",
		"token", "header", "X: y", "\xef\xbb\xbf", "\xff", "\x1b[31m", "memory", "9999999999999999999G", "-1", LONG_60 LONG_60, "log_level",
		"info|warn", "%s%n",
	};
	uint64_t dice = 1;

	for (int round = 0; round < 400; round++) {
		char text[4096] = "";
		struct outcome o;

		for (int i = 0; i < 24; i++) {
			dice = dice * 6364136223846793005u + 1442695040888963407u;
			strcat(text, pieces[(dice >> 33) % COUNT(pieces)]);
		}
		o = read_text(text, "https://h", 0600);
		assert_true(o.error == 0 || o.error == -EINVAL);
		assert_true((o.error < 0) == (o.why != NULL));
		outcome_done(&o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sections_count_for_what_they_name),
		cmocka_unit_test(test_a_bad_line_is_named),
		cmocka_unit_test(test_a_secret_that_others_may_read_is_refused),
		cmocka_unit_test(test_whatever_stands_in_a_file_is_read_or_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
