/* Expressions of .scifs/search/ on a ReductStore: what they say, what the server is asked for, which labels match. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/reduct/private.h"

static int parse(const char *expr, struct search *ret)
{
	char *why = NULL;
	int e = parse_search(expr, ret, &why);

	/* It says why, or it is nobody's question. */
	assert_true((e == -EINVAL) == (why && *why));
	free(why);
	return e;
}

static void what_has_no_operator_is_no_expression(void **state)
{
	static const char *const names[] = {".git", "HEAD", "plain words", "a;b", "a,b", "limit", "x!y", ""};
	struct search s;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(parse(names[i], &s), -ENOENT);
}

static void what_is_wrong_says_why(void **state)
{
	static const char *const wrong[] = {
		"=", "a=1,b", "a!1=", "a b=1", "from=", "from=1969-01-01", "to=9223372036854775808", "limit=0", "limit=100001", "each_n=x",
		"each_t=0s", "a=1;b=2", "{", "{}}", "{\"#batch_size\": 1}", "{\"when\": 1}", "{\"when\": {\"#batch_size\": 1}}", "{\"when\": {}, \"a\": 1}",
		"{\"$and\": [], \"limit\": 1}", "{\"limit\": {}}", "{\"limit\": 1.5}", "{\"from\": \"soon\"}", "{\"to\": null}", "{\"each_t\": []}",
		"{\"limit\": 1}{}", "{\"limit\": 1};x=1",
"{\"a\": 9223372036854775808}", "{\"a\": -9223372036854775808}", "{};x=1",
	};
	struct search s;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(parse(wrong[i], &s), -EINVAL);
}

static void times_and_counts_are_taken(void **state)
{
	struct search s;

	(void)state;
	assert_int_equal(parse("from=1970-01-01T00:00:01.5Z,to=7000000,each_n=3,each_t=2s;limit=9", &s), 0);
	assert_int_equal(s.from, 1500000);
	assert_int_equal(s.to, 7000000);
	assert_int_equal(s.each_n, 3);
	assert_int_equal(s.each_us, 2000000);
	assert_int_equal(s.limit, 9);
	assert_int_equal(s.terms.n, 0);
	search_done(&s);
}

static void an_object_may_have_the_words_as_members(void **state)
{
	struct search s;

	(void)state;
	assert_int_equal(parse("{\"from\": \"1970-01-01T00:00:01.5Z\", \"to\": 7000000, \"each_n\": \"3\",\n \"each_t\": \"2s\", \"limit\" : 9 ,"
	                       "\"when\": {\"&a\": {\"$eq\": \"}\"}} }\n", &s), 0);
	assert_int_equal(s.from, 1500000);
	assert_int_equal(s.to, 7000000);
	assert_int_equal(s.each_n, 3);
	assert_int_equal(s.each_us, 2000000);
	assert_int_equal(s.limit, 9);
	assert_string_equal(s.when, "\"&a\": {\"$eq\": \"}\"}");
	search_done(&s);
	/* Those behind it go on; of two members of a name the last one stands. */
	assert_int_equal(parse("{\"when\": {\"$a\": 1}, \"when\": {}};limit=2", &s), 0);
	assert_int_equal(s.limit, 2);
	assert_string_equal(s.when, "");
	search_done(&s);
	/* Deeper they are a matter of the server's. */
	assert_int_equal(parse("{\"$and\": [{\"when\": 1}]}", &s), 0);
	assert_string_equal(s.when, "\"$and\": [{\"when\": 1}]");
	search_done(&s);
}

static void assert_asks(const char *expr, const char *want)
{
	char *when;
	struct search s;

	assert_int_equal(parse(expr, &s), 0);
	assert_int_equal(search_when(&s, &when), 0);
	if (want)
		assert_string_equal(when, want);
	else
		assert_null(when);
	free(when);
	search_done(&s);
}

static void the_server_narrows_only_what_it_reads_as_we_do(void **state)
{
	(void)state;
	assert_asks("from=1", NULL);
	assert_asks("a=cat", "\"$and\": [{\"&a\": {\"$eq\": \"cat\"}}]");
	assert_asks("a>1.5,b=x1", "\"$and\": [{\"$gt\": [\"&a\", 1.5]}, {\"&b\": {\"$eq\": \"x1\"}}]");
	/* A number, a duration, a reference, a text that is compared, a number that JSON does not know. */
	assert_asks("a=7,b=s1,c=&x,d>abc,e!=1,f>=007,has=g",
	            "\"$and\": [{\"$has\": [\"a\"]}, {\"$has\": [\"b\"]}, {\"$has\": [\"c\"]}, {\"$has\": [\"d\"]}, {\"$has\": [\"e\"]}, {\"$has\": [\"f\"]}, "
	            "{\"$has\": [\"g\"]}]");
	assert_asks("{ \"$x\": \"}\" };limit=2", " \"$x\": \"}\" ");
	assert_asks("{\"a\": \";limit=3\"}", "\"a\": \";limit=3\"");
	assert_asks("{}", NULL);
	assert_asks("{\"when\": {\"&a\": {\"$gt\": 1}}}", "\"&a\": {\"$gt\": 1}");
	assert_asks("{\"limit\": 2}", NULL);
}

static bool matches(const char *expr, const char *label)
{
	struct label l = {.name = (char *)"a", .value = (char *)label};
	struct record x = {.labels = {.at = &l, .n = label ? 1 : 0}};
	struct search s;
	bool is;

	assert_int_equal(parse(expr, &s), 0);
	is = search_matches(&s, &x);
	search_done(&s);
	return is;
}

static void labels_are_compared_as_numbers_if_both_are(void **state)
{
	(void)state;
	assert_true(matches("a=7", "7") && matches("a=7", "7.0") && !matches("a=007", "7") && matches("a=007", "007") && !matches("a=7", "7a"));
	assert_true(matches("a>9", "10") && !matches("a>9", "9") && matches("a>=9", "9") && matches("a<-1", "-1.5") && matches("a>9", "010"));
	assert_true(!matches("a>9", "abc") && !matches("a<9", "abc") && !matches("a>9", "1e5") && !matches("a>9", "0x10"));
	assert_true(matches("a>b", "c") && matches("a<2026-02", "2026-01") && !matches("a>b", "a"));
	assert_true(matches("a=s1", "s1") && !matches("a=s1", "s2") && matches("a!=b", "c") && !matches("a!=b", "b") && !matches("a!=b", NULL));
	assert_true(matches("has=a", "") && !matches("has=a", NULL) && matches("a=", ""));
}

static const char *of(const struct many *m, size_t i, const char *label)
{
	const char *v = record_label(&m->list.at[i].record, label);

	return v ? v : "none";
}

static void records_of_several_entries_go_on_from_each_other(void **state)
{
	static const char head[] = "x-reduct-1-3: 0\nX-Reduct-0-5: 2,,0=\nx-reduct-entries: a,b%2Fc\nx-reduct-start-ts: 1000\nx-reduct-labels: n,pl%61ce\n"
		"x-reduct-0-0: 1,text/plain,0=1,1=\"a,b\",odd=x=y\nx-reduct-0-10: 7,image/png,1=c\nx-reduct-0-9: 2\nx-reduct-last: true\n";
	struct many m = {0};
	bool last;

	(void)state;
	assert_int_equal(parse_many(head, strlen(head), &m, &last), 0);
	assert_true(last && m.entries.n == 2 && m.list.n == 5);
	assert_string_equal(m.entries.at[1], "b/c");
	assert_true(m.list.at[0].record.ts == 1000 && m.list.at[1].record.ts == 1005 && m.list.at[2].record.ts == 1009 && m.list.at[3].record.ts == 1010);
	assert_string_equal(of(&m, 0, "place"), "a,b");
	assert_string_equal(of(&m, 0, "odd"), "x=y");
	assert_string_equal(of(&m, 1, "n"), "none");
	assert_string_equal(of(&m, 2, "place"), "a,b");
	assert_string_equal(m.list.at[2].record.type, "text/plain");
	assert_string_equal(of(&m, 3, "place"), "c");
	assert_string_equal(m.list.at[3].record.type, "image/png");
	/* Another entry goes on from nothing. */
	assert_true(m.list.at[4].entry == 1 && m.list.at[4].record.ts == 1003 && m.list.at[4].record.labels.n == 0);
	assert_string_equal(m.list.at[4].record.type, "application/octet-stream");
	many_done(&m);
}

static void a_head_of_several_entries_that_says_nonsense_is_refused_whole(void **state)
{
	static const char *const wrong[] = {
		"x-reduct-entries: a\nx-reduct-1-0: 1\n", "x-reduct-entries: a\nx-reduct-0-0: one\n", "x-reduct-entries: a\nx-reduct-0-0: 1,,5=x\n",
		"x-reduct-entries: a\nx-reduct-0-0: 1,,x\n", "x-reduct-entries: a\nx-reduct-0-x: 1\n", "x-reduct-entries: a\nx-reduct-start-ts: soon\n",
		"x-reduct-entries: a\nx-reduct-0-0: 1\nx-reduct-0-00: 1\n", "x-reduct-entries: a%\nx-reduct-0-0: 1\n",
		"x-reduct-entries: a\nx-reduct-start-ts: 9223372036854775807\nx-reduct-0-1: 1\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct many m = {0};
		bool last;

		assert_int_equal(parse_many(wrong[i], strlen(wrong[i]), &m, &last), -EBADMSG);
		many_done(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_has_no_operator_is_no_expression),
		cmocka_unit_test(what_is_wrong_says_why),
		cmocka_unit_test(times_and_counts_are_taken),
		cmocka_unit_test(an_object_may_have_the_words_as_members),
		cmocka_unit_test(the_server_narrows_only_what_it_reads_as_we_do),
		cmocka_unit_test(labels_are_compared_as_numbers_if_both_are),
		cmocka_unit_test(records_of_several_entries_go_on_from_each_other),
		cmocka_unit_test(a_head_of_several_entries_that_says_nonsense_is_refused_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
