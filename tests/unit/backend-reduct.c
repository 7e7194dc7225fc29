/* ReductStore's times, names, documents and heads of batches: every shape, and what a hostile server makes of it. */
#include "test.h"

#include "backend/reduct/private.h"

#define T 1795353600000000ull           /* 2026-11-22T13:20:00Z */

/* ---- times ---- */

static void test_windows_have_names(void **state)
{
	static const struct {
		enum level level;
		uint64_t ts, start, end;
		const char *name;
	} cases[] = {
		{LEVEL_ENTRY, T, 0, REDUCT_TS_MAX, ""},
		{LEVEL_DAY, T, 1795305600000000, 1795392000000000, "2026.11.22"},
		{LEVEL_HOUR, T, 1795352400000000, 1795356000000000, "13"},
		{LEVEL_MINUTE, T, 1795353600000000, 1795353660000000, "20.m"},
		{LEVEL_SECOND, T + 5999999, T + 5000000, T + 6000000, "05.s"},
		{LEVEL_DAY, 0, 0, 86400000000, "1970.01.01"},
		{LEVEL_DAY, 1000, 0, 86400000000, "1970.01.01"},
		{LEVEL_DAY, 951782400000000, 951782400000000, 951868800000000, "2000.02.29"},
		{LEVEL_DAY, 253402300800000000, 253402300800000000, 253402387200000000, "10000.01.01"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct window w = window_of(cases[i].level, cases[i].ts);
		char name[WINDOW_NAME_MAX];

		window_name(&w, name);
		assert_string_equal(name, cases[i].name);
		assert_int_equal(w.start, cases[i].start);
		assert_int_equal(w.end, cases[i].end);
	}
}

static void test_the_last_window_ends_where_time_does(void **state)
{
	for (enum level l = LEVEL_DAY; l <= LEVEL_SECOND; l++) {
		struct window w = window_of(l, REDUCT_TS_MAX - 1);

		assert_int_equal(w.end, REDUCT_TS_MAX);
		assert_true(w.start < w.end);
	}
}

static void test_a_name_is_a_window_only_in_its_own_form(void **state)
{
	static const struct {
		enum level in;
		const char *name;
		bool is;
	} cases[] = {
		{LEVEL_ENTRY, "2026.11.22", true}, {LEVEL_ENTRY, "1970.01.01", true}, {LEVEL_ENTRY, "10000.01.01", true},
		{LEVEL_ENTRY, "1969.12.31", false}, {LEVEL_ENTRY, "2026.06.31", false}, {LEVEL_ENTRY, "2026.6.1", false},
		{LEVEL_ENTRY, "2026.11.22.", false}, {LEVEL_ENTRY, "2026", false}, {LEVEL_ENTRY, "02026.11.22", false},
		{LEVEL_ENTRY, "2026.00.10", false}, {LEVEL_ENTRY, " 2026.11.22", false}, {LEVEL_ENTRY, "+2026.11.22", false},
		{LEVEL_ENTRY, "13", false}, {LEVEL_ENTRY, "", false}, {LEVEL_ENTRY, "999999.01.01", false},
		{LEVEL_DAY, "00", true}, {LEVEL_DAY, "23", true}, {LEVEL_DAY, "24", false}, {LEVEL_DAY, "7", false}, {LEVEL_DAY, "07.m", false},
		{LEVEL_HOUR, "00.m", true}, {LEVEL_HOUR, "59.m", true}, {LEVEL_HOUR, "60.m", false}, {LEVEL_HOUR, "07", false},
		{LEVEL_MINUTE, "59.s", true}, {LEVEL_MINUTE, "07.m", false}, {LEVEL_SECOND, "07.s", false},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct window in = window_of(cases[i].in, T), w;

		if (window_parse(&in, cases[i].name, &w) != cases[i].is)
			fail_msg("%s", cases[i].name);
		if (cases[i].is) {
			assert_int_equal(w.level, cases[i].in + 1);
			assert_true(w.start >= in.start && w.end <= in.end);
		}
	}
}

static void test_an_id_tells_its_place(void **state)
{
	static const char *const good[] = {
		"root", "bucket:sensors", "bucket:$system", "entry:sensors/camera", "entry:b/a/b/c", "time:b/e:2026.11.22", "time:b/a/b:2026.11.22/13",
		"time:b/e:2026.11.22/13/20.m/05.s", "record:b/e:0", "record:b/a/b:1795353600000000", "entry:b/an old: name", "record:b/x:y:17",
		"versions:b/a/b", "name:b/a/b:two%20words%3A%2F%25.txt", "version:b/a/b:17",
	};
	static const char *const bad[] = {
		"", "roots", "bucket:", "entry:", "entry:b", "entry:/e", "entry:b/", "time:b/e", "time:b/e:13", "time:b/e:2026.11.22/", "record:b/e",
		"record:b/e:", "record:b/e:x", "record:b/:1", "record:b/e:18446744073709551615", "item/5f", "time:/e:2026.11.22",
		"versions:b", "name:b/e", "name:b/e:", "name:b/e:%zz", "version:b/e:x",
	};

	for (size_t i = 0; i < COUNT(good); i++) {
		struct place p;
		char *id = NULL;

		assert_int_equal(place_parse(good[i], &p), 0);
		assert_int_equal(place_id(&p, &id), 0);
		assert_string_equal(id, good[i]);
		free(id);
		place_done(&p);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct place p;

		if (place_parse(bad[i], &p) != -EINVAL)
			fail_msg("%s", bad[i]);
	}
}

/* ---- names ---- */

static void test_a_record_is_named_by_its_time_and_type(void **state)
{
	static const struct {
		const char *type, *name;
	} cases[] = {
		{"image/jpeg", "17.jpg"}, {"application/octet-stream", "17.bin"}, {"", "17.bin"}, {"never/heard-of", "17.bin"},
		{"text/plain; charset=utf-8", "17.txt"}, {"Application/JSON", "17.json"}, {"image/jpegs", "17.bin"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char *name = NULL;

		assert_int_equal(name_of_record(17, cases[i].type, &name), 0);
		assert_string_equal(name, cases[i].name);
		free(name);
	}
}

static void test_a_record_is_found_by_the_digits_in_front(void **state)
{
	static const struct {
		const char *name;
		uint64_t ts;
	} good[] = {{"17", 17}, {"17.bin", 17}, {"0017.tar.gz", 17}, {"0", 0}, {"000", 0}, {"1795353600000000.jpg", T}, {"17.", 17}};
	static const char *const bad[] = {"", "x", "17x", ".17", "17 .bin", "-17.bin", "9223372036854775807.bin", "99999999999999999999.bin"};
	uint64_t ts;

	for (size_t i = 0; i < COUNT(good); i++) {
		assert_true(name_parse_record(good[i].name, &ts));
		assert_int_equal(ts, good[i].ts);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(name_parse_record(bad[i], &ts));
}

static void test_a_file_name_as_a_label_is_always_text(void **state)
{
	static const struct {
		const char *name, *label;
	} cases[] = {
		{"foo.bin", "foo.bin"}, {"a b", "a%20b"}, {"100%", "100%25"}, {"a,\"b\"", "a%2C%22b%22"}, {"\xc3\xa9t\xc3\xa9", "%C3%A9t%C3%A9"},
		{"2024", "%32024"}, {"true", "%74rue"}, {"nan", "%6Ean"}, {"1e5", "%31e5"}, {"-5", "%2D5"}, {"5m", "%35m"}, {"s1", "%731"},
		{"d-2", "%64-2"}, {"us9", "%75s9"}, {"&x", "%26x"}, {"@x", "%40x"}, {"$x", "%24x"}, {"x1", "x1"}, {"det1", "det1"}, {"h", "h"},
		{"2024-01-01", "2024-01-01"}, {"inf", "%69nf"}, {"\n", "%0A"}, {"1.5", "%31.5"}, {"ms.5", "%6Ds.5"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char *label = NULL, *name = NULL;

		assert_int_equal(name_to_label(cases[i].name, &label), 0);
		assert_string_equal(label, cases[i].label);
		assert_int_equal(name_from_label(label, &name), 0);
		assert_string_equal(name, cases[i].name);
		free(label);
		free(name);
	}
}

static void test_what_others_wrote_as_a_file_name_stays(void **state)
{
	static const char *const cases[] = {"100%", "%zz", "a%00b", "s1"};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char *name = NULL;

		assert_int_equal(name_from_label(cases[i], &name), 0);
		assert_string_equal(name, cases[i]);
		free(name);
	}
}

static void test_names_that_the_server_allows(void **state)
{
	assert_true(name_is_bucket("a-Z_9") && name_is_bucket("$system") && name_is_bucket("-x"));
	assert_false(name_is_bucket("") || name_is_bucket("a.b") || name_is_bucket("a/b") || name_is_bucket("$") || name_is_bucket("\xc3\xa9"));
	assert_false(name_is_segment("$meta"));
}

/* ---- documents ---- */

static void test_each_answer_has_its_errno(void **state)
{
	static const struct {
		int status;
		const char *words;
		int err;
	} cases[] = {
		{400, "Quota of 'b' exceeded", ENOSPC}, {400, "Authentication is disabled", ENOTSUP}, {400, "", EIO}, {401, "", EACCES},
		{403, "Token 'x' doesn't have full access", EACCES}, {403, "Cannot perform this operation in read-only mode", EROFS},
		{404, "", ENOENT}, {405, "", ENOTSUP}, {409, "A record with timestamp 1 already exists", EEXIST},
		{409, "Bucket 'b' is being deleted", EBUSY}, {409, "Can't remove provisioned bucket 'b'", EPERM}, {422, "", EINVAL},
		{425, "", EAGAIN}, {429, "", EAGAIN}, {431, "", E2BIG}, {418, "", EINVAL}, {500, "Record 1 is broken", EIO},
		{500, "Failed to keep quota of 'b'", ENOSPC}, {503, "", EAGAIN}, {507, "", ENOSPC}, {599, "", EIO},
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(reduct_errno(cases[i].status, cases[i].words), -cases[i].err);
}

static void test_the_words_of_an_error(void **state)
{
	char words[200];
	static const char good[] = "{\"detail\":\"No such 'thing'\"}", odd[] = "{\"detail\":17}", html[] = "<html>";

	parse_detail(good, sizeof(good) - 1, words);
	assert_string_equal(words, "No such 'thing'");
	parse_detail(odd, sizeof(odd) - 1, words);
	assert_string_equal(words, "");
	parse_detail(html, sizeof(html) - 1, words);
	assert_string_equal(words, "");
}

static void test_the_version_of_the_api(void **state)
{
	unsigned minor = 0;

	assert_int_equal(parse_api_version("1.20", &minor), 0);
	assert_int_equal(minor, 20);
	assert_int_equal(parse_api_version("1.7.3", &minor), 0);
	assert_int_equal(parse_api_version("2.0", &minor), -EPROTONOSUPPORT);
	assert_int_equal(parse_api_version("", &minor), -EBADMSG);
	assert_int_equal(parse_api_version("1", &minor), -EBADMSG);
	assert_int_equal(parse_api_version("1.x", &minor), -EBADMSG);
	assert_int_equal(parse_api_version(" 1.2", &minor), -EBADMSG);
}

static void test_a_bucket_and_its_entries(void **state)
{
	static const char text[] =
		"{\"info\":{\"name\":\"b\",\"entry_count\":3,\"size\":10,\"oldest_record\":18446744073709551615,\"latest_record\":7,"
		"\"is_provisioned\":false,\"status\":\"READY\"},\"settings\":{},\"entries\":["
		"{\"name\":\"x/y\",\"size\":5,\"record_count\":2,\"block_count\":1,\"oldest_record\":3,\"latest_record\":7,\"status\":\"READY\"},"
		"{\"name\":\"a\",\"size\":0,\"record_count\":0,\"block_count\":0,\"oldest_record\":0,\"latest_record\":0},"
		"{\"name\":\"gone/z\",\"size\":0,\"record_count\":1,\"block_count\":0,\"oldest_record\":0,\"latest_record\":0,\"status\":\"DELETING\"},"
		"{\"name\":\"x-y\",\"size\":0,\"record_count\":0,\"block_count\":0,\"oldest_record\":0,\"latest_record\":0},"
		"{\"name\":\"a\",\"size\":9,\"record_count\":9,\"block_count\":0,\"oldest_record\":0,\"latest_record\":0}]}";
	struct bucket *b = NULL;

	assert_int_equal(parse_bucket(text, sizeof(text) - 1, &b), 0);
	assert_string_equal(b->name, "b");
	assert_int_equal(b->entries.n, 4);
	assert_int_equal(bucket_entry(b, "x/y")->count, 2);
	assert_null(bucket_entry(b, "x"));
	assert_true(bucket_has_path(b, "x") && bucket_has_path(b, "x/y") && bucket_has_path(b, "a"));
	assert_false(bucket_has_path(b, "x/") || bucket_has_path(b, "gone") || bucket_has_path(b, "y") || bucket_has_path(b, ""));
	bucket_free(b);
}

static void test_a_bucket_that_cannot_be_is_refused(void **state)
{
	static const char *const cases[] = {
		"", "[]", "{}", "{\"info\":{\"name\":\"b\"}}", "{\"info\":{\"name\":\"b\"},\"entries\":{}}", "{\"info\":{},\"entries\":[]}",
		"{\"info\":{\"name\":\"b\"},\"entries\":[{}]}", "{\"info\":{\"name\":\"b\"},\"entries\":[{\"name\":\"e\",\"size\":-1}]}",
		"{\"info\":{\"name\":\"b\"},\"entries\":[{\"name\":\"\",\"size\":1,\"record_count\":1,\"latest_record\":1}]}",
		"{\"info\":{\"name\":\"b\"},\"entries\":[17]}",
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct bucket *b = NULL;

		if (parse_bucket(cases[i], strlen(cases[i]), &b) != -EBADMSG)
			fail_msg("%s", cases[i]);
	}
}

static void test_what_goes_and_what_is_the_servers_own_is_not_listed(void **state)
{
	static const char text[] = "{\"buckets\":[{\"name\":\"a\",\"size\":1},{\"name\":\"$system\"},{\"name\":\"b\",\"status\":\"DELETING\"},{\"name\":\"c\"}]}";
	struct bucket **list = NULL;
	size_t n = 0;

	assert_int_equal(parse_buckets(text, sizeof(text) - 1, &list, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(list[1]->name, "c");
	buckets_free(list, n);
	assert_int_equal(parse_buckets("{}", 2, &list, &n), -EBADMSG);
	assert_int_equal(parse_buckets("{\"buckets\":[1]}", 15, &list, &n), -EBADMSG);
}

static void test_rights_are_those_of_the_token(void **state)
{
	static const char text[] = "{\"name\":\"t\",\"permissions\":{\"full_access\":false,\"read\":[\"a\",\"sens*\"],\"write\":[\"*\"]}}";
	static const char full[] = "{\"name\":\"t\",\"permissions\":{\"full_access\":true,\"read\":[],\"write\":[]}}";
	struct me m = {0};

	assert_int_equal(parse_me(text, sizeof(text) - 1, &m), 0);
	assert_int_equal(me_rights(&m, "a"), RIGHT_READ | RIGHT_WRITE);
	assert_int_equal(me_rights(&m, "sensors"), RIGHT_READ | RIGHT_WRITE);
	assert_int_equal(me_rights(&m, "b"), RIGHT_WRITE);
	assert_int_equal(me_rights(&m, "$system"), 0);
	me_done(&m);
	assert_int_equal(parse_me(full, sizeof(full) - 1, &m), 0);
	assert_int_equal(me_rights(&m, "b"), RIGHT_READ | RIGHT_WRITE | RIGHT_ADMIN);
	assert_int_equal(me_rights(&m, "$system"), RIGHT_READ);
	me_done(&m);
	assert_int_equal(parse_me("{}", 2, &m), -EBADMSG);
}

/* ---- batches ---- */

static void test_a_line_of_a_batch(void **state)
{
	static const struct {
		const char *line;
		uint64_t size;
		const char *type, *labels[6];
	} cases[] = {
		{"10,text/plain", 10, "text/plain", {NULL}},
		{"0,", 0, "application/octet-stream", {NULL}},
		{"7", 7, "application/octet-stream", {NULL}},
		{"7,a/b,x=1,y=two words", 7, "a/b", {"x", "1", "y", "two words"}},
		{"7,a/b,x=\"1,2\",y=3", 7, "a/b", {"x", "1,2", "y", "3"}},
		{"7,a/b,x=\"say \"no\", or\",y=", 7, "a/b", {"x", "say \"no\", or", "y", ""}},
		{"7,a/b,x=\"\"a\",\"b\"\",y=1", 7, "a/b", {"x", "\"a\",\"b\"", "y", "1"}},
		{"7,a/b,x=\"1,2\",bad name=3", 7, "a/b", {"x", "1,2", "bad name", "3"}},
		{"7,a/b,x=\"1,2\",@y=3", 7, "a/b", {"x", "1,2", "@y", "3"}},
		{"7,a/b,x=\"say \"no\"\"", 7, "a/b", {"x", "say \"no\""}},
		{"7,a/b,x=a=b", 7, "a/b", {"x", "a=b"}},
		{"7,a/b,x=\"unfinished", 7, "a/b", {"x", "unfinished"}},
		{"7,text/plain; charset=\"a,b\"", 7, "text/plain; charset=\"a", {"b\"", ""}},
		{"7,a/b,,@y=2", 7, "a/b", {"@y", "2"}},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct record r = {0};
		size_t n = 0;

		assert_int_equal(parse_batch_line(cases[i].line, strlen(cases[i].line), &r), 0);
		assert_int_equal(r.size, cases[i].size);
		assert_string_equal(r.type, cases[i].type);
		while (n < 6 && cases[i].labels[n])
			n += 2;
		assert_int_equal(r.labels.n, n / 2);
		for (size_t k = 0; k < r.labels.n; k++) {
			assert_string_equal(r.labels.at[k].name, cases[i].labels[2 * k]);
			assert_string_equal(r.labels.at[k].value, cases[i].labels[2 * k + 1]);
		}
		record_done(&r);
	}
}

static void test_a_line_of_two_meanings_is_not_trusted(void **state)
{
	static const struct {
		const char *line;
		bool sendable;
	} cases[] = {
		{"7,a/b,x=1,y=\"2,3\"", true}, {"7,a/b,x=\"1,2\",y=3", true}, {"7,a/b,x=\"1,2\",bad name=3", false},
		{"7,a/b,x=\"1,2\",bad name=3,y=\"4,5\",z=6", false}, {"7,a/b,x=\"say \"no\", or\",y=", false}, {"7,a/b,@x=1", false},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct record r = {0};

		assert_int_equal(parse_batch_line(cases[i].line, strlen(cases[i].line), &r), 0);
		if (record_is_sendable(&r) != cases[i].sendable)
			fail_msg("%s", cases[i].line);
		record_done(&r);
	}
}

static void test_a_line_that_is_none(void **state)
{
	static const char *const cases[] = {"", "x", "-1,", ",a/b", "1x,a/b", "99999999999999999999,a/b"};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct record r = {0};

		if (parse_batch_line(cases[i], strlen(cases[i]), &r) != -EBADMSG)
			fail_msg("%s", cases[i]);
		record_done(&r);
	}
}

static int batch(const char *head, struct records *ret, bool *last)
{
	return parse_batch(head, strlen(head), ret, last);
}

static void test_a_batch_is_in_the_order_of_time(void **state)
{
	struct records r = {0};
	bool last = true;

	assert_int_equal(batch("HTTP/1.1 200 OK\nx-reduct-time-1000: 1,a/b\nX-Reduct-Time-999: 2,a/b\ncontent-length: 3\n", &r, &last), 0);
	assert_false(last);
	assert_int_equal(r.list.n, 2);
	assert_int_equal(r.list.at[0].ts, 999);
	records_clear(&r);
	assert_int_equal(batch("x-reduct-last: true\n", &r, &last), 0);
	assert_true(last && !r.list.n);
	/* What cannot be read is not left out: it would be believed gone. */
	assert_int_equal(batch("x-reduct-time-x: 1,\n", &r, &last), -EBADMSG);
	assert_int_equal(batch("x-reduct-time-1: x\n", &r, &last), -EBADMSG);
	assert_int_equal(batch("x-reduct-time-1: 1,\nx-reduct-time-1: 2,\n", &r, &last), -EBADMSG);
	records_done(&r);
}

static void test_a_single_head(void **state)
{
	static const char good[] = "HTTP/1.1 200 OK\ncontent-length: 5\ncontent-type: a/b\nx-reduct-time: 17\nx-reduct-label-x: y, z\nX-Reduct-Label-E:\n";
	static const char lacking[] = "content-length: 5\n";
	struct record r = {0};

	assert_int_equal(parse_single(good, sizeof(good) - 1, &r), 0);
	assert_int_equal(r.size, 5);
	assert_int_equal(r.ts, 17);
	assert_string_equal(r.type, "a/b");
	assert_string_equal(record_label(&r, "x"), "y, z");
	assert_string_equal(record_label(&r, "E"), "");
	assert_null(record_label(&r, "nope"));
	record_done(&r);
	assert_int_equal(parse_single(lacking, sizeof(lacking) - 1, &r), -EBADMSG);
}

static void test_labels_that_end_the_server_are_known(void **state)
{
	static const char *const good[] = {"x", "my-label", "a.b_c", "X9"}, *const bad[] = {"", "a b", "a/b", "a:b", "\xc3\xa9", "@x", "a\""};

	for (size_t i = 0; i < COUNT(good); i++)
		assert_true(label_is_sendable(good[i]));
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(label_is_sendable(bad[i]));
}

static void test_the_label_of_a_time(void **state)
{
	static const struct {
		const char *label;
		long long s;
		long ns;
	} good[] = {{"17", 17, 0}, {"17.5", 17, 500000000}, {"17.000000001", 17, 1}, {"-1.25", -2, 750000000}, {"-3", -3, 0}};
	static const char *const bad[] = {"", "x", "17.", "17.1234567890", "1.2.3", ".5", "99999999999999999999", "17 "};
	struct timespec t;

	for (size_t i = 0; i < COUNT(good); i++) {
		assert_true(parse_mtime(good[i].label, &t));
		assert_int_equal(t.tv_sec, good[i].s);
		assert_int_equal(t.tv_nsec, good[i].ns);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(parse_mtime(bad[i], &t));
}

static void test_settings_go_as_they_are_written_but_for_a_mask(void **state)
{
	static const struct {
		unsigned minor;
		const char *text, *sent;        /* NULL: -EINVAL */
		bool masked, token;
	} cases[] = {
		{20, "{\"quota_size\" : 18446744073709551615}", "{\"quota_size\" : 18446744073709551615}", false, false},
		{20, "\n {\"a\":1}\n", "{\"a\":1}\n", false, false},
		{20, "{}", "{}", false, false},
		{20, "{\"info\": {}, \"settings\": {\"a\":  1}, \"diagnostics\": {}}", "{\"a\":  1}", false, false},
		{20, "{\"settings\": 7}", "{\"settings\": 7}", false, false},
		{20, "{\"dst_token\": \"real\", \"a\": [1,  2]}", "{\"dst_token\": \"real\", \"a\": [1,  2]}", false, true},
		{20, "{\"dst_token\": null}", "{\"dst_token\": null}", false, false},
		{20, "{\"a\": 1.0, \"dst_token\": \"***\", \"b\": {\"x\":1e5}}", "{\"a\": 1.0, \"b\": {\"x\":1e5}}", true, false},
		{20, "{\"dst_\\u0074oken\": \"**\\u002a\"}", "{}", true, false},
		{20, "{\"settings\": {\"dst_token\": \"***\"}}", "{}", true, false},
		{20, "{\"include\": {\"a\": \"b\"}}", "{\"include\": {\"a\": \"b\"}}", false, false},
		{21, "{\"include\": {\"a\": \"b\"}}", NULL, false, false},
		{21, "{\"each_n\": 2}", NULL, false, false},
		{21, "{\"include\": {}, \"exclude\": null, \"each_n\": null}", "{\"include\": {}, \"exclude\": null, \"each_n\": null}", false, false},
		{20, "[1]", NULL, false, false}, {20, "7", NULL, false, false}, {20, "  ", NULL, false, false}, {20, "", NULL, false, false},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_buf_ struct buf b = BUF_MAX(1000);
		bool masked = true, token = true;
		int e = reduct_settings(cases[i].minor, cases[i].text, strlen(cases[i].text), &b, &masked, &token);

		assert_int_equal(e, cases[i].sent ? 0 : -EINVAL);
		if (!cases[i].sent)
			continue;
		assert_string_equal(buf_str(&b), cases[i].sent);
		assert_int_equal(masked, cases[i].masked);
		assert_int_equal(token, cases[i].token);
	}
}

/* ---- writing ---- */

static void test_what_a_file_of_a_name_is(void **state)
{
	static const struct {
		enum what in;
		const char *name;
		int err;
		bool by_time, named;
	} cases[] = {
		{IS_ENTRY, "foo.bin", 0, false, true}, {IS_ENTRY, "2024.csv", 0, false, true}, {IS_ENTRY, "1795353600000000.jpg", 0, true, false},
		{IS_ENTRY, "1795353600000000", 0, true, false}, {IS_ENTRY, "1795353600000000.odd", 0, true, true},
		{IS_ENTRY, "1795353600000000.conflict-host-20261122.jpg", 0, false, true}, {IS_ENTRY, "1795353600000000.", 0, false, true},
		{IS_ENTRY, "17953536000000001.jpg", 0, false, true}, {IS_ENTRY, "2026.11.22", -EINVAL, false, false},
		{IS_ENTRY, "2026.11.32", 0, false, true}, {IS_TIME, "1795353600000000.jpg", 0, true, false},
		{IS_TIME, "1795353600000000.odd", -EINVAL, false, false}, {IS_TIME, "foo", -EINVAL, false, false},
		{IS_TIME, "1795453600000000.jpg", -EINVAL, false, false}, {IS_BUCKET, "foo", -EPERM, false, false}, {IS_ROOT, "foo", -EPERM, false, false},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct place in = {.what = cases[i].in, .window = cases[i].in == IS_TIME ? window_of(LEVEL_HOUR, 1795353600000000) : WINDOW_ALL};
		struct target t = {0};
		const char *why;

		if (target_of(&in, cases[i].name, &t, &why) != cases[i].err || t.by_time != cases[i].by_time || t.named != cases[i].named)
			fail_msg("%s", cases[i].name);
		assert_true(!t.by_time || t.ts == 1795353600000000);
		assert_true(!cases[i].err || *why);
	}
}

static void test_types_come_from_extensions(void **state)
{
	assert_string_equal(name_type("a.b.JPG"), "image/jpeg");
	assert_string_equal(name_type("a.jpeg"), "image/jpeg");
	assert_string_equal(name_type("a.csv"), "text/csv");
	assert_string_equal(name_type("csv"), NAME_TYPE_UNKNOWN);
	assert_string_equal(name_type("a."), NAME_TYPE_UNKNOWN);
}

static void test_ids_move_with_what_holds_them(void **state)
{
	static const struct {
		const char *was, *now, *id, *want;
	} cases[] = {
		{"entry:b/a", "entry:b/c", "record:b/a:7", "record:b/c:7"}, {"entry:b/a", "entry:b/x/c", "entry:b/a/d", "entry:b/x/c/d"},
		{"entry:b/a", "entry:b/c", "time:b/a/d:2026.11.22/13", "time:b/c/d:2026.11.22/13"}, {"entry:b/a", "entry:b/c", "entry:b/ab", NULL},
		{"entry:b/a", "entry:b/c", "entry:x/a", NULL}, {"bucket:b", "bucket:c", "record:b/a:7", "record:c/a:7"},
		{"bucket:b", "bucket:c", "record:bb/a:7", NULL}, {"bucket:b", "bucket:c", "draft/7", NULL},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_free_ char *id = NULL;
		int r = reduct_moved_id(cases[i].was, cases[i].now, cases[i].id, &id);

		assert_int_equal(r, cases[i].want ? 0 : -ENOENT);
		assert_true(str_eq(id, cases[i].want));
	}
}

static void test_attributes_that_are_labels(void **state)
{
	static const struct {
		const char *name, *value;
		int r;
		const char *label, *want;
	} cases[] = {
		{"reduct.label.class", " cat ", 1, "class", "cat"}, {"reduct.label.class", "", 1, "class", ""}, {"reduct.label.class", NULL, 1, "class", ""},
		{"reduct.label.filename", "x", 0, NULL, NULL}, {"reduct.ts", "7", 0, NULL, NULL}, {"reduct.label.Class", "x", -EINVAL, NULL, NULL},
		{"reduct.label.7", "x", -EINVAL, NULL, NULL}, {"reduct.label.", "x", -EINVAL, NULL, NULL}, {"reduct.label.a b", "x", -EINVAL, NULL, NULL},
		{"reduct.label.a", "x\ny", -EINVAL, NULL, NULL}, {"reduct.label.mtime", "1.5", 1, "mtime", "1.5"},
		{"reduct.label.mtime", "now", -EINVAL, NULL, NULL}, {REDUCT_MTIME_ATTR, "-0.500000000", 1, "mtime", "-0.500000000"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct attr a = {(char *)cases[i].name, (char *)cases[i].value, cases[i].value ? strlen(cases[i].value) : 0};
		struct label l = {0};

		assert_int_equal(label_of_attr(&a, &l), cases[i].r);
		assert_true(str_eq(l.name, cases[i].label) && str_eq(l.value, cases[i].want));
		label_done(&l);
	}
}

/* ---- layouts ---- */

static void test_an_entrys_document_says_its_layout_or_nothing(void **state)
{
	static const struct {
		const char *text;
		int result;
		enum level level;
	} cases[] = {
		{"{\"layout\": \"flat\"}", 1, LEVEL_ENTRY}, {"{\"layout\": \"day\"}\n", 1, LEVEL_DAY}, {"{\"a\": 1, \"layout\": \"hour\"}", 1, LEVEL_HOUR},
		{"{\"layout\": \"minute\", \"layout2\": 5}", 1, LEVEL_MINUTE},
		{"{}", 0}, {"{\"layout\": null}", 0}, {"{\"other\": \"day\"}", 0}, {"{\"more\": {\"layout\": \"day\"}}", 0},
		{"", -EBADMSG}, {"day", -EBADMSG}, {"\"day\"", -EBADMSG}, {"[\"day\"]", -EBADMSG}, {"{\"layout\": \"week\"}", -EBADMSG},
		{"{\"layout\": \"Day\"}", -EBADMSG}, {"{\"layout\": \"\"}", -EBADMSG}, {"{\"layout\": 1}", -EBADMSG}, {"{\"layout\": [\"day\"]}", -EBADMSG},
		{"{\"layout\": \"day\"", -EBADMSG}, {"{\"layout\": \"second\"}", -EBADMSG},
	};
	char large[5000];

	for (size_t i = 0; i < COUNT(cases); i++) {
		enum level level = LEVEL_SECOND;

		if (layout_parse(cases[i].text, strlen(cases[i].text), &level) != cases[i].result)
			fail_msg("%s", cases[i].text);
		assert_int_equal(level, cases[i].result == 1 ? cases[i].level : LEVEL_SECOND);
	}
	memset(large, ' ', sizeof(large));
	memcpy(large, "{\"layout\": \"day\"}", 17);
	assert_int_equal(layout_parse(large, sizeof(large), &(enum level){0}), -EMSGSIZE);
}

static void test_a_layout_is_written_beside_what_was_there(void **state)
{
	static const struct {
		const char *was, *now;
	} cases[] = {
		{"", "{\"layout\": \"day\"}\n"},
		{"{}\n", "{\"layout\": \"day\"}\n"},
		{"{\"layout\": \"hour\"}", "{\"layout\": \"day\"}\n"},
		{"{ \"a\" : 18446744073709551615, \"l\\u0061yout\": {\"x\": [1, 2]}, \"b\":\"\\u00e9\" }",
		 "{\"layout\": \"day\", \"a\": 18446744073709551615, \"b\": \"\\u00e9\"}\n"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_buf_ struct buf b = BUF_MAX(1000);

		assert_int_equal(layout_write(cases[i].was, strlen(cases[i].was), LEVEL_DAY, &b), 0);
		assert_string_equal(buf_str(&b), cases[i].now);
	}
}

static void test_a_batch_tells_of_each_record(void **state)
{
	_cleanup_buf_ struct buf head = BUF_MAX(4096);
	char words[200];

	assert_int_equal(buf_adds(&head, "Server: x\nX-Reduct-Error-17: 409,A record with timestamp 17 already exists\nx-reduct-error-18: 400,Quota of 'b' exceeded\n"), 0);
	assert_int_equal(batch_result(&head, 17, words), -EEXIST);
	assert_string_equal(words, "A record with timestamp 17 already exists");
	assert_int_equal(batch_result(&head, 18, words), -ENOSPC);
	assert_int_equal(batch_result(&head, 1, words), 0);
	assert_int_equal(batch_result(&head, 19, words), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_windows_have_names),
		cmocka_unit_test(test_the_last_window_ends_where_time_does),
		cmocka_unit_test(test_a_name_is_a_window_only_in_its_own_form),
		cmocka_unit_test(test_an_id_tells_its_place),
		cmocka_unit_test(test_a_record_is_named_by_its_time_and_type),
		cmocka_unit_test(test_a_record_is_found_by_the_digits_in_front),
		cmocka_unit_test(test_a_file_name_as_a_label_is_always_text),
		cmocka_unit_test(test_what_others_wrote_as_a_file_name_stays),
		cmocka_unit_test(test_names_that_the_server_allows),
		cmocka_unit_test(test_each_answer_has_its_errno),
		cmocka_unit_test(test_the_words_of_an_error),
		cmocka_unit_test(test_the_version_of_the_api),
		cmocka_unit_test(test_a_bucket_and_its_entries),
		cmocka_unit_test(test_a_bucket_that_cannot_be_is_refused),
		cmocka_unit_test(test_what_goes_and_what_is_the_servers_own_is_not_listed),
		cmocka_unit_test(test_rights_are_those_of_the_token),
		cmocka_unit_test(test_a_line_of_a_batch),
		cmocka_unit_test(test_a_line_of_two_meanings_is_not_trusted),
		cmocka_unit_test(test_a_line_that_is_none),
		cmocka_unit_test(test_a_batch_is_in_the_order_of_time),
		cmocka_unit_test(test_a_single_head),
		cmocka_unit_test(test_labels_that_end_the_server_are_known),
		cmocka_unit_test(test_the_label_of_a_time),
		cmocka_unit_test(test_settings_go_as_they_are_written_but_for_a_mask),
		cmocka_unit_test(test_what_a_file_of_a_name_is),
		cmocka_unit_test(test_types_come_from_extensions),
		cmocka_unit_test(test_ids_move_with_what_holds_them),
		cmocka_unit_test(test_attributes_that_are_labels),
		cmocka_unit_test(test_an_entrys_document_says_its_layout_or_nothing),
		cmocka_unit_test(test_a_layout_is_written_beside_what_was_there),
		cmocka_unit_test(test_a_batch_tells_of_each_record),
	};

	return cmocka_run_group_tests_name("backend-reduct", tests, NULL, NULL);
}
