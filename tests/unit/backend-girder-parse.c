/* Girder's documents, errors, expressions and addresses: every shape, and what a hostile server makes of it. */
#include "test.h"

#include "backend/girder/private.h"

#define ID1 "5f0c00000000000000000001"
#define MADE_THEN "695735a5aaaaaaaaaaaaaaaa"    /* in the second of 2026-01-02T03:04:05Z */
#define ID2 "5f0c00000000000000000002"
#define ID3 "5f0c00000000000000000003"
#define SHA "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"

static struct json *parsed(const char *text)
{
	struct json *j = NULL;

	if (json_parse(text, strlen(text), &j) < 0)
		fail_msg("%s: %s", text, json_error());
	return j;
}

static int folder(const char *text, struct object *o)
{
	struct json *j = parsed(text);
	int r = parse_folder(j, o);

	json_free(j);
	return r;
}

static int item(const char *text, enum items items, struct object *o)
{
	struct json *j = parsed(text);
	int r = parse_item(j, items, RIGHT_READ, o);

	json_free(j);
	return r;
}

static int file(const char *text, struct object *o)
{
	struct json *j = parsed(text);
	int r = parse_file(j, RIGHT_READ, o);

	json_free(j);
	return r;
}

/* ---- documents ---- */

static void test_each_kind_of_directory_is_read(void **state)
{
	static const struct {
		const char *text, *id, *name;
		unsigned rights;
	} cases[] = {
		{"{\"_id\": \"" ID1 "\", \"_modelType\": \"collection\", \"name\": \"C\", \"description\": null, \"public\": true, \"_accessLevel\": 0, "
		 "\"created\": \"2026-01-02T03:04:05.678000+00:00\", \"updated\": \"2026-01-02T03:04:06+00:00\"}", "collection/" ID1, "C",
		 RIGHT_READ | RIGHT_PUBLIC},
		{"{\"_id\": \"" ID1 "\", \"_modelType\": \"user\", \"login\": \"ada\", \"public\": false, \"_accessLevel\": 2, "
		 "\"created\": \"2026-01-02T03:04:05+00:00\"}", "user/" ID1, "ada", RIGHT_READ | RIGHT_WRITE | RIGHT_ADMIN},
		{"{\"_id\": \"" ID1 "\", \"_modelType\": \"folder\", \"name\": \"F\", \"public\": true, \"_accessLevel\": -1, \"creatorId\": null}",
		 "folder/" ID1, "F", RIGHT_READ | RIGHT_PUBLIC},
		{"{\"_id\": \"" ID1 "\", \"name\": \"no type\", \"_accessLevel\": 1}", "folder/" ID1, "no type", RIGHT_READ | RIGHT_WRITE},
		{"{\"_id\": \"" ID1 "\", \"name\": \"closed\", \"public\": false, \"_accessLevel\": -1}", "folder/" ID1, "closed", 0},
		{"{\"_id\": \"" ID1 "\", \"name\": \"no level\"}", "folder/" ID1, "no level", RIGHT_READ},
		{"{\"_id\": \"" ID1 "\", \"name\": \"strange\", \"public\": \"yes\", \"_accessLevel\": \"2\"}", "folder/" ID1, "strange", 0},
		{"{\"_id\": \"" ID1 "\", \"name\": \"site admin\", \"_accessLevel\": 100}", "folder/" ID1, "site admin",
		 RIGHT_READ | RIGHT_WRITE | RIGHT_ADMIN},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct object o = {0};

		assert_int_equal(folder(cases[i].text, &o), 0);
		assert_int_equal(o.kind, OBJECT_DIR);
		assert_string_equal(o.id, cases[i].id);
		assert_string_equal(o.name, cases[i].name);
		if (o.rights != cases[i].rights)
			fail_msg("%s: %u", cases[i].name, o.rights);
		object_done(&o);
	}
}

static void test_times_are_the_servers(void **state)
{
	struct object o = {0};

	assert_int_equal(folder("{\"_id\": \"" ID1 "\", \"name\": \"F\", \"created\": \"2026-01-02T03:04:05.678000+00:00\", "
	                        "\"updated\": \"2026-01-02T03:04:06+00:00\"}", &o), 0);
	assert_int_equal(o.mtime.tv_sec, 1767323046);
	assert_int_equal(o.mtime.tv_nsec, 0);
	object_done(&o);
	assert_int_equal(folder("{\"_id\": \"" ID1 "\", \"name\": \"F\", \"created\": \"2026-01-02T03:04:05.678000+00:00\"}", &o), 0);
	assert_int_equal(o.mtime.tv_sec, 1767323045);
	assert_int_equal(o.mtime.tv_nsec, 678000000);
	object_done(&o);
	/* A file's bytes are as old as its `created`, which moves when they are replaced; what else moved is ctime. */
	assert_int_equal(file("{\"_id\": \"" ID1 "\", \"name\": \"f\", \"size\": 1, \"created\": \"2026-01-02T03:04:05+00:00\", "
	                      "\"updated\": \"2026-01-02T03:04:06+00:00\"}", &o), 0);
	assert_int_equal(o.mtime.tv_sec, 1767323045);
	assert_int_equal(o.ctime.tv_sec, 1767323046);
	object_done(&o);
}

static void test_a_time_that_was_set_is_a_text_in_the_metadata(void **state)
{
#define WITH_META(meta) "{\"_id\": \"" ID1 "\", \"name\": \"n\", \"meta\": " meta "}"
	static const char *const none[] = {
		WITH_META("null"), WITH_META("[]"), WITH_META("{}"), WITH_META("\"scifs_mtime\""), WITH_META("{\"scifs_mtime\": 5}"),
		WITH_META("{\"scifs_mtime\": null}"), WITH_META("{\"scifs_mtime\": {}}"),
	};
	struct object o = {0};
	char text[2048], *p;

	assert_int_equal(item(WITH_META("{\"scifs_mtime\": \"5.0 item v\"}"), ITEMS_AUTO, &o), 0);
	assert_string_equal(o.set_time, "5.0 item v");
	object_done(&o);
	assert_int_equal(folder(WITH_META("{\"scifs_mtime\": \"5.0 folder -\"}"), &o), 0);
	assert_string_equal(o.set_time, "5.0 folder -");
	object_done(&o);
	for (size_t i = 0; i < COUNT(none); i++) {
		assert_int_equal(item(none[i], ITEMS_AUTO, &o), 0);
		assert_null(o.set_time);
		object_done(&o);
	}
	/* What is longer than we write is none of ours. */
	p = text + sprintf(text, "{\"_id\": \"" ID1 "\", \"name\": \"n\", \"meta\": {\"scifs_mtime\": \"");
	memset(p, '1', SET_TIME_MAX + 1);
	strcpy(p + SET_TIME_MAX + 1, "\"}}");
	assert_int_equal(item(text, ITEMS_AUTO, &o), 0);
	assert_null(o.set_time);
	object_done(&o);
}

static void test_what_cannot_be_a_directory_is_refused(void **state)
{
	static const char *const cases[] = {
		"{}", "[]", "null", "1", "\"x\"", "{\"_id\": null, \"name\": \"F\"}", "{\"_id\": 1, \"name\": \"F\"}", "{\"_id\": \"" ID1 "\"}",
		"{\"_id\": \"" ID1 "\", \"name\": null}", "{\"_id\": \"" ID1 "\", \"name\": [\"F\"]}", "{\"_id\": \"../../user/me\", \"name\": \"F\"}",
		"{\"_id\": \"5f0c\", \"name\": \"F\"}", "{\"_id\": \"" ID1 "0\", \"name\": \"F\"}", "{\"_id\": \"5F0C00000000000000000001\", \"name\": \"F\"}",
		"{\"_id\": \"" ID1 "\", \"_modelType\": \"group\", \"name\": \"F\"}", "{\"_id\": \"" ID1 "\", \"_modelType\": 7, \"name\": \"F\"}",
		"{\"_id\": \"" ID1 "\", \"name\": \"F\", \"created\": 5}", "{\"_id\": \"" ID1 "\", \"name\": \"F\", \"updated\": \"yesterday\"}",
		"{\"_id\": \"" ID1 "\", \"_modelType\": \"user\", \"name\": \"users have a login\"}",
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct object o = {0};

		if (folder(cases[i], &o) != -EBADMSG)
			fail_msg("%s was taken", cases[i]);
		assert_null(o.id);
	}
}

static void test_items_are_shown_as_the_option_says(void **state)
{
	static const struct {
		enum items items;
		enum object_kind kind;
		uint64_t size;
	} cases[] = {
		{ITEMS_AUTO, OBJECT_UNKNOWN, 12}, {ITEMS_DIR, OBJECT_DIR, 0}, {ITEMS_FILE, OBJECT_FILE, 12}, {ITEMS_ASSUME_SINGLE, OBJECT_FILE, 12},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct object o = {0};

		assert_int_equal(item("{\"_id\": \"" ID1 "\", \"name\": \"a\", \"size\": 12, \"meta\": {}}", cases[i].items, &o), 0);
		assert_int_equal(o.kind, cases[i].kind);
		assert_int_equal(o.size, cases[i].size);
		assert_null(o.version);         /* what stat() must find out before anything is read */
		object_done(&o);
	}
}

static void test_hostile_sizes_are_refused(void **state)
{
	static const char *const sizes[] = {"-1", "1e30", "1.5", "\"7\"", "true", "[]", "1e999"};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct object o = {0};
		char text[300];

		snprintf(text, sizeof(text), "{\"_id\": \"" ID1 "\", \"name\": \"a\", \"size\": %s}", sizes[i]);
		if (item(text, ITEMS_AUTO, &o) != -EBADMSG || file(text, &o) != -EBADMSG)
			fail_msg("size %s was taken", sizes[i]);
	}
}

static void test_a_file_tells_its_version_and_digest(void **state)
{
	struct object o = {0};

	assert_int_equal(file("{\"_id\": \"" MADE_THEN "\", \"name\": \"f\", \"size\": 10737418240, \"mimeType\": \"text/csv\", \"exts\": [\"csv\"], "
	                      "\"sha512\": \"" SHA "\", \"created\": \"2026-01-02T03:04:05.678000+00:00\", \"itemId\": \"" ID2 "\"}", &o), 0);
	assert_int_equal(o.kind, OBJECT_FILE);
	assert_true(o.size == 10737418240u);
	assert_string_equal(o.content, "file/" MADE_THEN);
	assert_string_equal(o.version, MADE_THEN ":1767323045.678:10737418240");
	assert_string_equal(o.digest, "sha512:" SHA);
	assert_string_equal(o.mime, "text/csv");
	assert_null(o.error);
	object_done(&o);
	/* A digest that is none is left out. */
	assert_int_equal(file("{\"_id\": \"" ID1 "\", \"name\": \"f\", \"size\": 1, \"sha512\": \"abc\"}", &o), 0);
	assert_null(o.digest);
	object_done(&o);
}

static void test_the_digest_of_a_replaced_content_is_not_believed(void **state)
{
	static const struct {
		const char *created;
		bool believed;
	} cases[] = {
		{"2026-01-02T03:04:05.678000+00:00", true}, {"2026-01-02T03:04:06.999000+00:00", true}, /* the id's seconds are cut */
		{"2026-01-02T03:04:07.000000+00:00", false}, {"2027-01-01T00:00:00+00:00", false},
		{"2020-01-01T00:00:00+00:00", true},    /* a copy keeps the time of what it is a copy of, and its bytes */
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct object o = {0};
		char text[500];

		snprintf(text, sizeof(text), "{\"_id\": \"" MADE_THEN "\", \"name\": \"f\", \"size\": 1, \"sha512\": \"" SHA "\", \"created\": \"%s\"}",
		         cases[i].created);
		assert_int_equal(file(text, &o), 0);
		if ((o.digest != NULL) != cases[i].believed)
			fail_msg("%s", cases[i].created);
		object_done(&o);
	}
}

static void test_a_link_may_lack_size_and_type(void **state)
{
	struct object o = {0};

	assert_int_equal(file("{\"_id\": \"" ID1 "\", \"name\": \"f\", \"linkUrl\": \"https://x/y\", \"size\": null, \"mimeType\": null, "
	                      "\"assetstoreId\": null}", &o), 0);
	assert_true(o.size == OBJECT_SIZE_UNKNOWN);
	assert_string_equal(o.content, "link-file/" ID1);
	assert_string_equal(girder_file(o.content), "file/" ID1);
	assert_null(o.version);
	object_done(&o);
	assert_int_equal(file("{\"_id\": \"" ID1 "\", \"name\": \"no link, no size\"}", &o), -EBADMSG);
	/* The digest would be of the link's own text. */
	assert_int_equal(file("{\"_id\": \"" ID1 "\", \"name\": \"f\", \"size\": 5, \"linkUrl\": \"https://x\", \"sha512\": \"" SHA "\"}", &o), 0);
	assert_null(o.digest);
	object_done(&o);
}

static void test_a_name_that_cannot_be_served_is_read_through_its_item(void **state)
{
	struct object o = {0};

	assert_int_equal(file("{\"_id\": \"" ID1 "\", \"name\": \"20\\u00b0C.dat\", \"size\": 5, \"itemId\": \"" ID2 "\"}", &o), 0);
	assert_string_equal(o.content, "zip-item/" ID2 "/file/" ID1);
	assert_string_equal(girder_file(o.content), "file/" ID1);
	assert_non_null(o.error);
	object_done(&o);
	assert_int_equal(file("{\"_id\": \"" ID1 "\", \"name\": \"\\u00b0\", \"size\": 5, \"itemId\": \"../x\"}", &o), -EBADMSG);
	assert_int_equal(file("{\"_id\": \"" ID1 "\", \"name\": \"\\u00b0\", \"size\": 5}", &o), -EBADMSG);
	/* Nothing is sent of an empty one, and a link only redirects. */
	assert_int_equal(file("{\"_id\": \"" ID1 "\", \"name\": \"\\u00b0\", \"size\": 0}", &o), 0);
	assert_string_equal(o.content, "file/" ID1);
	object_done(&o);
	assert_int_equal(file("{\"_id\": \"" ID1 "\", \"name\": \"\\u00b0\", \"size\": 9, \"linkUrl\": \"http://x\"}", &o), 0);
	assert_string_equal(o.content, "link-file/" ID1);
	object_done(&o);
}

static void test_names_that_the_server_cannot_send(void **state)
{
	static const char *const bad[] = {"20°C", "Größe", "Æ", "a ø b", "±", "©", "c1\xc2\x85", "£", "ﬁ×", "℃", "℉", "Ŀ", "ǣ", "·", "￥", "\xc2\xad"};
	static const char *const good[] = {"", "plain", "été", "ü", "å", "ñ", "²", "µ", "Ω", "日本", "😀", "¨", "´", "¸", "¯", "ª", "º", "¼", "™", "broken \xc2"};

	for (size_t i = 0; i < COUNT(bad); i++)
		if (!girder_name_unservable(bad[i]))
			fail_msg("%s", bad[i]);
	for (size_t i = 0; i < COUNT(good); i++)
		if (girder_name_unservable(good[i]))
			fail_msg("%s", good[i]);
}

static void test_hostile_names_are_kept_as_they_are(void **state)
{
	static const struct {
		const char *json, *name;
	} cases[] = {
		{"../../etc/passwd", "../../etc/passwd"}, {"a/b", "a/b"}, {"\\u0000", "_"}, {"a\\u0000b", "a_b"}, {"line\\nfeed", "line\nfeed"}, {"..", ".."},
		{"\\ud83d\\ude00", "😀"}, {"\\ud83d", "\xef\xbf\xbd"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct object o = {0};
		char text[300];

		snprintf(text, sizeof(text), "{\"_id\": \"" ID1 "\", \"name\": \"%s\", \"size\": 1}", cases[i].json);
		assert_int_equal(item(text, ITEMS_AUTO, &o), 0);
		assert_string_equal(o.name, cases[i].name);
		object_done(&o);
	}
}

/* ---- what an item is shown as ---- */

static int classify(const char *item_name, const char *files, enum items items, struct object *ret)
{
	struct json *j = parsed(files);
	struct object o = {.kind = OBJECT_UNKNOWN, .rights = RIGHT_READ, .size = 77, .listed = {.tv_sec = 100}};
	int r;

	assert_int_equal(str_dup("item/" ID3, &o.id), 0);
	assert_int_equal(str_dup(item_name, &o.name), 0);
	r = parse_classify(j, items, &o);
	json_free(j);
	*ret = o;
	return r;
}

#define F(id, name) "{\"_id\": \"" id "\", \"name\": \"" name "\", \"size\": 5, \"created\": \"2026-01-02T03:04:05+00:00\"}"

static void test_an_item_is_the_file_that_it_holds(void **state)
{
	static const struct {
		const char *item, *files;
		enum items items;
		enum object_kind kind;
		const char *content;
	} cases[] = {
		{"a.dat", "[" F(ID1, "a.dat") "]", ITEMS_AUTO, OBJECT_FILE, "file/" ID1},
		{"a.dat", "[" F(ID1, "a.dat") "]", ITEMS_ASSUME_SINGLE, OBJECT_FILE, "file/" ID1},
		{"a.dat", "[" F(ID1, "  a.dat\\u00a0 ") "]", ITEMS_AUTO, OBJECT_FILE, "file/" ID1},
		{"a.dat", "[" F(ID1, "b.dat") "]", ITEMS_AUTO, OBJECT_DIR, NULL},
		{"a.dat", "[" F(ID1, "A.DAT") "]", ITEMS_AUTO, OBJECT_DIR, NULL},
		{"a.dat", "[]", ITEMS_AUTO, OBJECT_DIR, NULL},
		{"a.dat", "[" F(ID1, "a.dat") "," F(ID2, "a.dat") "]", ITEMS_AUTO, OBJECT_DIR, NULL},
		{"a.dat", "[{\"_id\": \"" ID1 "\", \"name\": \"other\", \"linkUrl\": \"http://x\"}]", ITEMS_AUTO, OBJECT_FILE, "link-file/" ID1},
		{"a.dat", "[" F(ID2, "b.dat") "," F(ID1, "c.dat") "]", ITEMS_FILE, OBJECT_FILE, NULL},
		{"a.dat", "[" F(ID1, "b.dat") "," F(ID2, "a.dat") "]", ITEMS_FILE, OBJECT_FILE, "file/" ID2},
		{"a.dat", "[]", ITEMS_FILE, OBJECT_FILE, NULL},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct object o;

		assert_int_equal(classify(cases[i].item, cases[i].files, cases[i].items, &o), 0);
		if (o.kind != cases[i].kind || (cases[i].content && strcmp(o.content, cases[i].content) != 0))
			fail_msg("%s in %s: %d %s", cases[i].files, cases[i].item, o.kind, o.content);
		assert_string_equal(o.name, cases[i].item);
		if (o.kind == OBJECT_DIR || strcmp(cases[i].files, "[]") == 0) {
			assert_null(o.content);
			assert_int_equal(o.size, 0);
		}
		object_done(&o);
	}
}

static void test_of_several_files_the_lowest_id_is_shown(void **state)
{
	struct object o;

	assert_int_equal(classify("a", "[" F(ID3, "b") "," F(ID1, "c") "," F(ID2, "d") "]", ITEMS_FILE, &o), 0);
	assert_string_equal(o.content, "file/" ID1);
	object_done(&o);
	assert_int_equal(classify("a", "[" F(ID1, "b") "," F(ID3, "a") "," F(ID2, "a") "]", ITEMS_FILE, &o), 0);
	assert_string_equal(o.content, "file/" ID2);
	object_done(&o);
}

static void test_a_list_of_files_that_is_none_is_refused(void **state)
{
	static const char *const cases[] = {"{}", "null", "7", "[1]", "[{}]", "[{\"_id\": \"" ID1 "\"}]", "[{\"_id\": \"x\", \"name\": \"a\", \"size\": 1}]",
	                                    "[{\"_id\": \"" ID1 "\", \"name\": \"a\", \"size\": -1}]", "[{\"_id\": \"" ID1 "\", \"name\": \"a\", \"linkUrl\": 7}]"};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct object o;

		if (classify("a", cases[i], ITEMS_AUTO, &o) != -EBADMSG)
			fail_msg("%s was taken", cases[i]);
		object_done(&o);
	}
}

/* ---- errors ---- */

static void test_each_answer_has_its_errno(void **state)
{
	static const struct {
		int status;
		const char *body;
		int want;
	} cases[] = {
		{400, "{\"message\": \"Invalid item id (" ID1 ").\", \"type\": \"rest\"}", -ENOENT},
		{400, "{\"message\": \"No such folder: " ID1 "\", \"type\": \"validation\", \"field\": \"id\"}", -ENOENT},
		{400, "{\"message\": \"Path not found: collection/x\", \"type\": \"validation\"}", -ENOENT},
		{400, "{\"message\": \"Collection not found: x\", \"type\": \"validation\"}", -ENOENT},
		{400, "{\"message\": \"User not found: x\", \"type\": \"validation\"}", -ENOENT},
		{400, "{\"message\": \"No matching route for \\\"GET x\\\"\", \"type\": \"rest\"}", -ENOTSUP},
		{400, "{\"message\": \"A folder with that name already exists here.\", \"type\": \"validation\", \"field\": \"name\"}", -EEXIST},
		{400, "{\"message\": \"Invalid value for integer parameter limit: abc.\", \"type\": \"rest\"}", -EINVAL},
		{400, "{\"message\": 7, \"type\": [], \"field\": {}}", -EINVAL}, {400, "<html>", -EINVAL}, {400, "", -EINVAL}, {400, "null", -EINVAL},
		{401, "{\"message\": \"You must be logged in.\", \"type\": \"access\"}", -EACCES},
		{403, "{\"message\": \"Read access denied for folder\", \"type\": \"access\"}", -EACCES},
		{404, "<!DOCTYPE html><html>404</html>", -ENOENT}, {404, "{\"message\": \"File not found.\", \"type\": \"rest\"}", -ENOENT},
		{500, "<html><title>500 Internal Server Error</title>", -EIO}, {500, "{\"message\": \"KeyError\", \"type\": \"internal\", \"uid\": \"1\"}", -EIO},
		{429, "", -EAGAIN}, {503, "{\"message\": \"No local worker is available\", \"type\": \"rest\"}", -EAGAIN},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char message[200];
		int r = girder_errno(cases[i].status, cases[i].body, strlen(cases[i].body), message);

		if (r != cases[i].want)
			fail_msg("%d %s: %d", cases[i].status, cases[i].body, r);
	}
}

static void test_the_servers_words_are_made_printable_and_cut(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(10000);
	char message[200];

	assert_int_equal(girder_errno(400, "{\"message\": \"a\\u001b[31mb\"}", 26, message), -EINVAL);
	assert_null(strchr(message, 27));
	assert_int_equal(buf_adds(&b, "{\"message\": \""), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(buf_adds(&b, "words"), 0);
	assert_int_equal(buf_adds(&b, "\"}"), 0);
	assert_int_equal(girder_errno(400, buf_str(&b), b.len, message), -EINVAL);
	assert_true(strlen(message) < 200 && strlen(message) > 100);
}

/* ---- expressions ---- */

static void test_an_expression_is_words_and_suffixes(void **state)
{
	static const struct {
		const char *expr, *words;
		bool prefix;
		unsigned types, limit;
	} cases[] = {
		{"some words", "some words", false, 0x17, 200}, {"x;mode=prefix", "x", true, 0x17, 200}, {"x;mode=text;limit=5", "x", false, 0x17, 5},
		{"x;limit=5;mode=prefix", "x", true, 0x17, 5}, {"x;types=item", "x", false, 4, 200}, {"x;types=folder,file", "x", false, 2 | 8, 200},
		{"x;types=collection,user", "x", false, 1 | 16, 200}, {"a;b", "a;b", false, 0x17, 200}, {"a;B=c", "a;B=c", false, 0x17, 200},
		{"\"a phrase\" -not", "\"a phrase\" -not", false, 0x17, 200}, {"größe 日本", "größe 日本", false, 0x17, 200}, {".;mode=prefix", ".", true, 0x17, 200},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct girder_query q;
		char *why = NULL;

		if (girder_parse_query(cases[i].expr, &q, &why) < 0)
			fail_msg("%s: %s", cases[i].expr, why);
		assert_string_equal(q.words, cases[i].words);
		assert_int_equal(q.prefix, cases[i].prefix);
		assert_int_equal(q.types, cases[i].types);
		assert_int_equal(q.limit, cases[i].limit);
		free(q.words);
	}
}

static void test_an_expression_that_cannot_be_asked_says_why(void **state)
{
	static const struct {
		const char *expr, *why;
	} cases[] = {
		{"", "words"}, {"...", "words"}, {" ", "words"}, {";mode=text", "words"}, {";mode=prefix", "words"}, {"x;mode=regex", "mode=regex"},
		{"x;types=item,group", "group"}, {"x;limit=0", "limit=0"}, {"x;limit=201", "limit=201"}, {"x;limit=-1", "limit=-1"}, {"x;color=red", "color"},
		{"x;mode=", "mode="},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct girder_query q;
		_cleanup_free_ char *why = NULL;

		assert_int_equal(girder_parse_query(cases[i].expr, &q, &why), -EINVAL);
		assert_non_null(why);
		if (!strstr(why, cases[i].why))
			fail_msg("%s: %s", cases[i].expr, why);
	}
}

static void test_an_address_tells_its_id(void **state)
{
	static const struct {
		const char *url, *id;
	} cases[] = {
		{"https://h/#item/" ID1, "item/" ID1}, {"https://h/#collection/" ID1 "/folder/" ID2, "folder/" ID2},
		{"https://h/#user/" ID1 "/folder/" ID2, "folder/" ID2}, {"https://h/girder/#folder/" ID1, "folder/" ID1},
		{"https://h/api/v1/file/" ID1 "/download", "file/" ID1}, {"https://h/api/v1/item/" ID1 "/download?x=1", "item/" ID1},
		{"https://h/#collection/" ID1, "collection/" ID1}, {"https://h/#user/" ID1, "user/" ID1}, {"https://h/#item/" ID1 "#top", "item/" ID1},
		{"https://h/", NULL}, {"https://h/#item/" ID1 "0", NULL}, {"https://h/#items/" ID1, NULL}, {"https://h/#item/5f", NULL},
		{"https://h/#group/" ID1, NULL}, {"https://h/#xitem/" ID1, NULL},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_free_ char *id = NULL;
		int r = girder_id_of_url(cases[i].url, &id);

		assert_int_equal(r, cases[i].id ? 0 : -ENOENT);
		if (cases[i].id)
			assert_string_equal(id, cases[i].id);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_kind_of_directory_is_read),
		cmocka_unit_test(test_times_are_the_servers),
		cmocka_unit_test(test_a_time_that_was_set_is_a_text_in_the_metadata),
		cmocka_unit_test(test_what_cannot_be_a_directory_is_refused),
		cmocka_unit_test(test_items_are_shown_as_the_option_says),
		cmocka_unit_test(test_hostile_sizes_are_refused),
		cmocka_unit_test(test_a_file_tells_its_version_and_digest),
		cmocka_unit_test(test_the_digest_of_a_replaced_content_is_not_believed),
		cmocka_unit_test(test_a_link_may_lack_size_and_type),
		cmocka_unit_test(test_a_name_that_cannot_be_served_is_read_through_its_item),
		cmocka_unit_test(test_names_that_the_server_cannot_send),
		cmocka_unit_test(test_hostile_names_are_kept_as_they_are),
		cmocka_unit_test(test_an_item_is_the_file_that_it_holds),
		cmocka_unit_test(test_of_several_files_the_lowest_id_is_shown),
		cmocka_unit_test(test_a_list_of_files_that_is_none_is_refused),
		cmocka_unit_test(test_each_answer_has_its_errno),
		cmocka_unit_test(test_the_servers_words_are_made_printable_and_cut),
		cmocka_unit_test(test_an_expression_is_words_and_suffixes),
		cmocka_unit_test(test_an_expression_that_cannot_be_asked_says_why),
		cmocka_unit_test(test_an_address_tells_its_id),
	};

	return cmocka_run_group_tests_name("backend-girder-parse", tests, NULL, NULL);
}
