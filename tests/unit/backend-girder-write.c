/* Girder's writing, what of it is pure: names, places, types, metadata as text, addresses of requests, refusals. */
#include "test.h"

#include "backend/girder/private.h"

#define ID1 "5f0c00000000000000000001"
#define ID2 "5f0c00000000000000000002"
#define ALL (RIGHT_READ | RIGHT_WRITE)

static void test_names_that_the_server_would_change(void **state)
{
	static const char *const good[] = {"a", "a b", "a\u2003b", ".hidden", "...", "\u00e9", "a\n b", "%20"};
	static const char *const bad[] = {"", " ", "\t", " a", "a ", "a\n", "\u00a0a", "a\u2003", "\u3000", "a\u200a", "\x1c" "a", "a\xc2\x85", "a\u2029",
	                                  ".", ".."};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(girder_check_name(good[i]), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(girder_check_name(bad[i]), -EINVAL);
	assert_int_equal(girder_check_name("a\xff"), -EILSEQ);
}

static void test_types_by_extension(void **state)
{
	static const struct {
		const char *name, *mime;
	} cases[] = {
		{"a.csv", "text/csv"}, {"a.b.CSV", "text/csv"}, {"brain.nii.gz", "application/x-nifti"}, {"x.tar.gz", "application/gzip"},
		{"x.gz", "application/gzip"}, {"data.h5", "application/x-hdf5"}, {"a.nc", "application/x-netcdf"}, {"i.tiff", "image/tiff"},
		{".csv", "application/octet-stream"}, {"csv", "application/octet-stream"}, {"a.", "application/octet-stream"},
		{"a.unknown", "application/octet-stream"}, {"", "application/octet-stream"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(girder_mime_of(cases[i].name), cases[i].mime);
}

static void test_what_can_be_made_where(void **state)
{
	static const struct {
		const char *dir;
		int file, directory;
	} cases[] = {
		{"root", -EPERM, -EPERM}, {"collections", -EPERM, -EPERM}, {"users", -EPERM, -EPERM}, {"collection/" ID1, -EPERM, 0},
		{"user/" ID1, -EPERM, 0}, {"folder/" ID1, 0, 0}, {"item/" ID1, 0, -EPERM}, {"item-dir/" ID1, 0, -EPERM},
		{"items/" ID1, -EPERM, 0},
	};
	struct girder g = {0}, dirs = {.items = ITEMS_DIR};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct object dir = {.kind = OBJECT_DIR, .id = (char *)cases[i].dir, .rights = ALL}, o = {0};

		assert_int_equal(girder_plan_create(&g.session, &dir, "a.csv", OBJECT_FILE, &o), cases[i].file);
		if (cases[i].file == 0) {
			assert_int_equal(o.kind, OBJECT_FILE);
			assert_int_equal(o.rights, ALL);
			assert_string_equal(o.name, "a.csv");
			assert_string_equal(o.mime, "text/csv");
			assert_null(o.id);
		}
		object_done(&o);
		assert_int_equal(girder_plan_create(&g.session, &dir, "d", OBJECT_DIR, &o), cases[i].directory);
		object_done(&o);
		dir.rights = RIGHT_READ;
		assert_int_equal(girder_plan_create(&g.session, &dir, "d", OBJECT_DIR, &o), cases[i].directory ? cases[i].directory : -EACCES);
	}
	/* Where every item is a directory, a file can only be in one. */
	struct object folder = {.kind = OBJECT_DIR, .id = (char *)"folder/" ID1, .rights = ALL}, o = {0};

	assert_int_equal(girder_plan_create(&dirs.session, &folder, "a", OBJECT_FILE, &o), -EPERM);
	assert_int_equal(girder_plan_create(&dirs.session, &folder, " a", OBJECT_DIR, &o), -EINVAL);
}

static char *lane(const char *dir, const char *base)
{
	struct girder g = {0};
	struct object d = {.id = (char *)dir}, b = {.id = (char *)base};
	char *ret = (char *)"";

	assert_int_equal(girder_lane(&g.session, &d, "n", base ? &b : NULL, &ret), 0);
	return ret;
}

static void test_lanes_are_items(void **state)
{
	_cleanup_free_ char *in_item = lane("item/" ID1, NULL), *in_view = lane("item-dir/" ID1, "file/" ID2),
	                     *replaced = lane("folder/" ID1, "item/" ID2);

	assert_null(lane("folder/" ID1, NULL));
	assert_string_equal(in_item, "item/" ID1);
	assert_string_equal(in_view, in_item);
	assert_string_equal(replaced, "item/" ID2);
}

/* ---- metadata as text ---- */

static void edited(const char *text, const char *path, const char *attr, int want, const char *result)
{
	_cleanup_buf_ struct buf b = BUF_MAX(65536);
	int r = girder_edit_meta(text, strlen(text), path, attr, attr ? strlen(attr) : 0, &b);

	if (r != want || (want == 0 && strcmp(buf_str(&b), result) != 0))
		fail_msg("%s: %s = %s: %d %s, not %d %s", text, path ? path : "(all)", attr ? attr : "(removed)", r, buf_str(&b), want, result);
}

static void test_values_are_json_or_text(void **state)
{
	edited("{}", "a", "6", 0, "{\"a\": 6}");
	edited("{}", "a", "1.50", 0, "{\"a\": 1.50}");
	edited("{}", "a", "-9223372036854775808", 0, "{\"a\": -9223372036854775808}");
	edited("{}", "a", "true", 0, "{\"a\": true}");
	edited("{}", "a", "\"6\"", 0, "{\"a\": \"6\"}");
	edited("{}", "a", "[1, {\"b\": null}]", 0, "{\"a\": [1, {\"b\": null}]}");
	/* By the letter no JSON: text. */
	edited("{}", "a", "007", 0, "{\"a\": \"007\"}");
	edited("{}", "a", "1.", 0, "{\"a\": \"1.\"}");
	edited("{}", "a", "+1", 0, "{\"a\": \"+1\"}");
	edited("{}", "a", "12:30", 0, "{\"a\": \"12:30\"}");
	edited("{}", "a", "say \"x\"\n", 0, "{\"a\": \"say \\\"x\\\"\\n\"}");
	edited("{}", "a", "", 0, "{\"a\": \"\"}");
	edited("{}", "a", "Infinity and more", 0, "{\"a\": \"Infinity and more\"}");
	/* What the server would store and choke on. */
	edited("{}", "a", "1e999", -EINVAL, "");
	edited("{}", "a", "[-1e999]", -EINVAL, "");
	edited("{}", "a", "9223372036854775808", -EINVAL, "");
	edited("{}", "a", "NaN", -EINVAL, "");
	edited("{}", "a", "-Infinity", -EINVAL, "");
	edited("{}", "a", "\"\\ud800\"", -EINVAL, "");
	edited("{}", "a", "{\"\\u0000\": 1}", -EINVAL, "");
	edited("{}", "a", "\xff", -EINVAL, "");
}

static void test_one_member_of_many_is_changed(void **state)
{
	static const char text[] = "{\"big\": 9007199254740993, \"half\": 0.50, \"n\": {\"a.b\": 1, \"c\": {\"d\": 2}}, \"s\": \"6\"}";

	edited(text, "half", "1", 0, "{\"big\": 9007199254740993, \"half\": 1, \"n\": {\"a.b\": 1, \"c\": {\"d\": 2}}, \"s\": \"6\"}");
	edited(text, "n.c.d", "x", 0, "{\"big\": 9007199254740993, \"half\": 0.50, \"n\": {\"a.b\": 1, \"c\": {\"d\": \"x\"}}, \"s\": \"6\"}");
	/* A name with a dot in it, as it is there. */
	edited(text, "n.a.b", NULL, 0, "{\"big\": 9007199254740993, \"half\": 0.50, \"n\": {\"c\": {\"d\": 2}}, \"s\": \"6\"}");
	edited(text, "n.e.f", "1", 0,
	       "{\"big\": 9007199254740993, \"half\": 0.50, \"n\": {\"a.b\": 1, \"c\": {\"d\": 2}, \"e\": {\"f\": 1}}, \"s\": \"6\"}");
	/* It shows as this already: its type stays. */
	edited(text, "s", "6", 0, text);
	edited(text, "s", NULL, 0, "{\"big\": 9007199254740993, \"half\": 0.50, \"n\": {\"a.b\": 1, \"c\": {\"d\": 2}}}");
	edited(text, "gone", NULL, -ENODATA, "");
	edited(text, "n.gone", NULL, -ENODATA, "");
	edited(text, "s.deeper", NULL, -ENODATA, "");
	edited(text, "s.deeper", "1", -EINVAL, "");
	edited(text, "", "1", -EINVAL, "");
	edited(text, "x..y", "1", -EINVAL, "");
	edited(text, "x.", "1", -EINVAL, "");
	edited("{}", "a%0Ab", "1", 0, "{\"a\\nb\": 1}");
	edited("{\"a\\nb\": 1}", "a%0Ab", "2", 0, "{\"a\\nb\": 2}");
	edited("{\"a%0Ab\": 1}", "a%0Ab", "2", 0, "{\"a%0Ab\": 2}");
	edited("{}", "100%", "1", 0, "{\"100%\": 1}");
	edited("{}", "%41", "1", 0, "{\"%41\": 1}");
	/* What nobody could read any more. */
	edited("{}", "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a", "1",
	       -EINVAL, "");
}

static void test_an_object_is_merged(void **state)
{
	edited("{\"a\": 1, \"b\": 2}", NULL, "{\"b\": {\"x\": 1.0}, \"c\": null}", 0, "{\"a\": 1, \"b\": {\"x\": 1.0}}");
	edited("{\"a\": 1, \"b\": 2}", NULL, " {\"a\": null} ", 0, "{\"b\": 2}");
	edited("{\"a\": 1}", NULL, "{}", 0, "{\"a\": 1}");
	edited("{\"\\u0061\": 1}", NULL, "{\"a\": 2}", 0, "{\"\\u0061\": 2}");
	edited("{}", NULL, "[]", -EINVAL, "");
	edited("{}", NULL, "x", -EINVAL, "");
	edited("{}", NULL, "{\"a\": 1e999}", -EINVAL, "");
}

static void differs(const char *was, const char *now, int want, const char *set, const char *removed, bool nulls)
{
	_cleanup_(meta_change_done) struct meta_change c = {0};

	assert_int_equal(girder_diff_meta(was, strlen(was), now, strlen(now), &c), want);
	if (want < 0)
		return;
	assert_string_equal(buf_str(&c.set), set);
	assert_string_equal(buf_str(&c.removed), removed);
	assert_int_equal(c.nulls, nulls);
}

static void test_what_has_changed_is_sent_alone(void **state)
{
	differs("{\"a\": 1, \"b\": {\"x\": [1,2], \"y\": 0}}", "{\"b\":{\"y\":0,\"x\":[1, 2]},\"a\":1}", 0, "{}", "[]", false);
	differs("{\"a\": 1, \"b\": 2}", "{\"a\": 1.0, \"c\": 3}", 0, "{\"a\": 1.0, \"c\": 3}", "[\"b\"]", false);
	differs("{\"a\": 1}", "{\"a\": null}", 0, "{\"a\": null}", "[]", true);
	differs("{\"a\": null}", "{\"a\": null}", 0, "{}", "[]", false);
	/* Names that the server refuses, unless they are there already. */
	differs("{}", "{\"a.b\": 1}", -EINVAL, "", "", false);
	differs("{}", "{\"$a\": 1}", -EINVAL, "", "", false);
	differs("{}", "{\"\": 1}", -EINVAL, "", "", false);
	differs("{\"a.b\": 1}", "{\"a.b\": 1}", 0, "{}", "[]", false);
}

static void test_attributes_that_can_be_set(void **state)
{
	static const struct {
		const char *id, *name;
		enum object_kind kind;
		int want;
		const char *content;
	} cases[] = {
		{"item/" ID1, "girder.meta", OBJECT_FILE, 0}, {"item/" ID1, "girder.meta.a.b", OBJECT_FILE, 0}, {"folder/" ID1, "girder.meta.a", OBJECT_DIR, 0},
		{"collection/" ID1, "girder.description", OBJECT_DIR, 0}, {"item-dir/" ID1, "girder.meta.a", OBJECT_DIR, 0},
		{"file/" ID1, "girder.meta.a", OBJECT_FILE, -ENOTSUP}, {"user/" ID1, "girder.meta.a", OBJECT_DIR, -ENOTSUP},
		{"root", "girder.meta.a", OBJECT_DIR, -ENOTSUP}, {"item/" ID1, "girder.metamorphosis", OBJECT_FILE, -ENOTSUP},
		{"item/" ID1, "girder.mime_type", OBJECT_FILE, 0}, {"file/" ID1, "mime_type", OBJECT_FILE, 0},
		{"folder/" ID1, "girder.mime_type", OBJECT_DIR, -ENOTSUP}, {"file/" ID1, "girder.sha512", OBJECT_FILE, 0},
		{"item/" ID1, "girder.id", OBJECT_FILE, 0}, {"item/" ID1, "girder.identity", OBJECT_FILE, -ENOTSUP},
		{"item/" ID1, "own", OBJECT_FILE, -ENOTSUP},
		/* What is not there yet becomes an item, or one more file of an item. */
		{"draft/1", "girder.meta.a", OBJECT_FILE, 0, GIRDER_NEW_ITEM}, {"draft/1", "girder.description", OBJECT_FILE, 0, GIRDER_NEW_ITEM},
		{"draft/1", "girder.meta.a", OBJECT_FILE, -ENOTSUP, GIRDER_NEW_FILE}, {"draft/1", "girder.mime_type", OBJECT_FILE, 0, GIRDER_NEW_FILE},
	};
	struct girder g = {0};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct object o = {.id = (char *)cases[i].id, .kind = cases[i].kind,
		                   .content = (char *)(cases[i].content ? cases[i].content : "file/" ID2)};

		if (girder_check_attr(&g.session, &o, cases[i].name) != cases[i].want)
			fail_msg("%s of %s", cases[i].name, cases[i].id);
	}
}

/* ---- requests of the user's own ---- */

static void path_of(const char *path, const char *parameters, int want, const char *result)
{
	_cleanup_buf_ struct buf b = BUF_MAX(4096);

	assert_int_equal(girder_rest_path(path, parameters, parameters ? strlen(parameters) : 0, &b), want);
	if (want == 0)
		assert_string_equal(buf_str(&b), result);
}

static void test_addresses_stay_below_the_api(void **state)
{
	path_of("/item", NULL, 0, "item");
	path_of("item/x?a=1", "{\"b\": \"\u00e4 &\", \"c\": 2, \"d\": {\"e\": [1]}}", 0, "item/x?a=1&b=%C3%A4%20%26&c=2&d=%7B%22e%22%3A%20%5B1%5D%7D");
	path_of("item", "{\"a\": true}", 0, "item?a=true");
	path_of("", NULL, -EINVAL, "");
	path_of("///", NULL, -EINVAL, "");
	path_of("../../admin", NULL, -EINVAL, "");
	path_of("http://elsewhere/", NULL, -EINVAL, "");
	path_of("item#x", NULL, -EINVAL, "");
	path_of("item x", NULL, -EINVAL, "");
	path_of("item\r\nHost: x", NULL, -EINVAL, "");
}

/* ---- what a server says ---- */

static void test_refusals_of_writing(void **state)
{
	static const struct {
		int status, err;
		const char *body;
	} cases[] = {
		{400, -EDQUOT, "{\"type\": \"validation\", \"field\": \"size\", \"message\": \"Upload exceeds file storage quota (need 5 B, only 1 B available)\"}"},
		{400, -ENOSPC, "{\"type\": \"validation\", \"message\": \"Assetstore is unavailable or has insufficient free space.\"}"},
		{500, -ENOSPC, "{\"type\": \"girder\", \"message\": \"No current assetstore is set.\"}"},
		{400, -EEXIST, "{\"type\": \"validation\", \"field\": \"name\", \"message\": \"A folder with that name already exists here.\"}"},
		{400, -EINVAL, "{\"type\": \"validation\", \"message\": \"You may not move a folder underneath itself.\"}"},
		{400, -ENOENT, "{\"type\": \"rest\", \"message\": \"Invalid upload id (5f0c00000000000000000001).\"}"},
		{413, -EFBIG, "too large"}, {500, -EIO, "{\"message\": \"Upload failed (bad gateway)\"}"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char message[200];

		if (girder_errno(cases[i].status, cases[i].body, strlen(cases[i].body), message) != cases[i].err)
			fail_msg("%s", cases[i].body);
	}
}

static void test_the_answer_to_a_change_tells_what_a_later_reader_sees(void **state)
{
	static const char change[] = "{\"_id\": \"" ID1 "\", \"itemId\": \"" ID2 "\", \"name\": \"n\", \"size\": 3, \"created\": \"2026-01-02T03:04:05.678901+00:00\"}";
	static const char later[] = "{\"_id\": \"" ID1 "\", \"itemId\": \"" ID2 "\", \"name\": \"n\", \"size\": 3, \"created\": \"2026-01-02T03:04:05.678000+00:00\"}";
	struct object a = {0}, b = {0};
	struct json *j = NULL;

	assert_int_equal(json_parse(change, strlen(change), &j), 0);
	assert_int_equal(parse_file(j, ALL, &a), 0);
	json_free(j);
	assert_int_equal(json_parse(later, strlen(later), &j), 0);
	assert_int_equal(parse_file(j, ALL, &b), 0);
	json_free(j);
	assert_string_equal(a.version, b.version);
	assert_int_equal(a.mtime.tv_nsec, b.mtime.tv_nsec);
	assert_int_equal(a.listed.tv_nsec, b.listed.tv_nsec);
	object_done(&a);
	object_done(&b);
}

static void test_a_link_cannot_be_written(void **state)
{
	static const char text[] = "[{\"_id\": \"" ID1 "\", \"itemId\": \"" ID2 "\", \"name\": \"n\", \"linkUrl\": \"http://h/\", \"size\": 3}]";
	struct object o = {.id = strdup("item/" ID2), .name = strdup("n"), .rights = ALL | RIGHT_ADMIN};
	struct json *j = NULL;

	assert_int_equal(json_parse(text, strlen(text), &j), 0);
	assert_int_equal(parse_classify(j, ITEMS_AUTO, &o), 0);
	assert_int_equal(o.rights, RIGHT_READ | RIGHT_ADMIN);
	json_free(j);
	object_done(&o);
}

static void test_items_as_directories(void **state)
{
	static const char text[] = "{\"_id\": \"" ID1 "\", \"name\": \"n\", \"size\": 3, \"created\": \"2026-01-02T03:04:05+00:00\"}";
	struct object o = {0}, folder = {.kind = OBJECT_DIR, .id = (char *)"folder/" ID2, .name = (char *)"f", .rights = ALL}, view = {0};
	struct json *j = NULL;

	assert_int_equal(json_parse(text, strlen(text), &j), 0);
	assert_int_equal(parse_item_dir(j, ALL, &o), 0);
	json_free(j);
	assert_string_equal(o.id, "item-dir/" ID1);
	assert_int_equal(o.kind, OBJECT_DIR);
	assert_string_equal(girder_item_of(&o), ID1);
	object_done(&o);
	assert_int_equal(girder_control_object(NULL, &folder, "items", &view), 0);
	assert_string_equal(view.id, "items/" ID2);
	assert_string_equal(view.name, "items");
	assert_null(girder_item_of(&view));
	object_done(&view);
	assert_int_equal(girder_control_object(NULL, &folder, "others", &view), -ENOENT);
	folder.id = (char *)"collection/" ID2;
	assert_int_equal(girder_control_object(NULL, &folder, "items", &view), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_that_the_server_would_change),
		cmocka_unit_test(test_types_by_extension),
		cmocka_unit_test(test_what_can_be_made_where),
		cmocka_unit_test(test_lanes_are_items),
		cmocka_unit_test(test_values_are_json_or_text),
		cmocka_unit_test(test_one_member_of_many_is_changed),
		cmocka_unit_test(test_an_object_is_merged),
		cmocka_unit_test(test_what_has_changed_is_sent_alone),
		cmocka_unit_test(test_attributes_that_can_be_set),
		cmocka_unit_test(test_addresses_stay_below_the_api),
		cmocka_unit_test(test_refusals_of_writing),
		cmocka_unit_test(test_the_answer_to_a_change_tells_what_a_later_reader_sees),
		cmocka_unit_test(test_a_link_cannot_be_written),
		cmocka_unit_test(test_items_as_directories),
	};

	return cmocka_run_group_tests_name("backend-girder-write", tests, NULL, NULL);
}
