/* backend-object.c - an object written down as JSON is read back as it was; what is no object is refused. */
#include "backend/backend.h"
#include "base/str.h"
#include "test.h"

static void write_down(const struct object *o, struct buf *b)
{
	assert_int_equal(buf_addc(b, '{'), 0);
	assert_int_equal(object_write_json(o, b), 0);
	assert_int_equal(buf_addc(b, '}'), 0);
}

static int read_back(const char *text, struct object *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	int r = json_parse(text, strlen(text), &j);

	return r < 0 ? r : object_read_json(j, ret);
}

static void test_everything_comes_back(void **state)
{
	struct object o = {.kind = OBJECT_LINK, .rights = RIGHT_READ | RIGHT_PUBLIC, .size = OBJECT_SIZE_MAX,
	                   .mtime = {1764105000, 123456789}, .ctime = {-1, 0}, .listed = {0, 5},
	                   .id = TEXT("file/5f0c"), .name = TEXT("a \"b\"/\n\xc3\xa9"), .version = TEXT("v"), .content = TEXT("c"),
	                   .digest = TEXT("md5:00"), .mime = TEXT("text/plain"), .target = TEXT("../x"), .error = TEXT("e"),
	                   .set_time = TEXT("1.000000000 x y")};
	struct object back = {0};
	_cleanup_buf_ struct buf b = BUF_MAX(65536);

	write_down(&o, &b);
	assert_int_equal(read_back(buf_str(&b), &back), 0);
	assert_int_equal(back.kind, o.kind);
	assert_int_equal(back.rights, o.rights);
	assert_true(back.size == o.size);
	assert_memory_equal(&back.mtime, &o.mtime, sizeof(o.mtime));
	assert_memory_equal(&back.ctime, &o.ctime, sizeof(o.ctime));
	assert_memory_equal(&back.listed, &o.listed, sizeof(o.listed));
	assert_string_equal(back.id, o.id);
	assert_string_equal(back.name, o.name);
	assert_string_equal(back.version, o.version);
	assert_string_equal(back.content, o.content);
	assert_string_equal(back.digest, o.digest);
	assert_string_equal(back.mime, o.mime);
	assert_string_equal(back.target, o.target);
	assert_string_equal(back.error, o.error);
	assert_string_equal(back.set_time, o.set_time);
	object_done(&back);
}

static void test_what_was_not_said_stays_unsaid(void **state)
{
	struct object o = {.kind = OBJECT_UNKNOWN, .size = OBJECT_SIZE_UNKNOWN, .id = TEXT("item/1"), .name = TEXT("")};
	struct object back = {0};
	_cleanup_buf_ struct buf b = BUF_MAX(65536);

	write_down(&o, &b);
	assert_int_equal(read_back(buf_str(&b), &back), 0);
	assert_true(back.size == OBJECT_SIZE_UNKNOWN);
	assert_null(back.version);
	assert_null(back.error);
	assert_int_equal(back.mtime.tv_sec, 0);
	object_done(&back);
}

static void test_what_is_no_object_is_refused(void **state)
{
	static const char *const texts[] = {
		"{}", "[]", "null", "{\"kind\":2,\"rights\":1}", "{\"kind\":9,\"rights\":1,\"id\":\"a\",\"name\":\"b\"}",
		"{\"kind\":-1,\"rights\":1,\"id\":\"a\",\"name\":\"b\"}", "{\"kind\":2,\"rights\":1,\"id\":\"\",\"name\":\"b\"}",
		"{\"kind\":2,\"rights\":1,\"id\":\"a\"}", "{\"kind\":2,\"rights\":70000,\"id\":\"a\",\"name\":\"b\"}",
		"{\"kind\":2,\"rights\":1,\"id\":\"a\",\"name\":\"b\",\"size\":-3}",
		"{\"kind\":2,\"rights\":1,\"id\":\"a\",\"name\":\"b\",\"size\":\"3\"}",
		"{\"kind\":2,\"rights\":1,\"id\":\"a\",\"name\":\"b\",\"mtime_ns\":1000000000}",
		"{\"kind\":2,\"rights\":1,\"id\":\"a\",\"name\":7}",
		"{\"kind\":3,\"rights\":1,\"id\":\"a\",\"name\":\"a link without a target\"}",
	};

	for (size_t i = 0; i < COUNT(texts); i++) {
		struct object o = {.id = TEXT("untouched")};

		assert_int_equal(read_back(texts[i], &o), -EBADMSG);
		assert_string_equal(o.id, "untouched");
	}
}

static void test_a_time_is_of_one_thing_and_content(void **state)
{
	static const struct timespec times[] = {{1400000000, 123456789}, {0, 0}, {-6, 500000000}, {1, 1}};
	static const char *const bad[] = {
		"", "-", "x", "1.000000000", "1.000000000 ", "1.000000000 item/5 v2", "1.000000000 item/6 v1", "1.000000000 item/5  v1",
		"1.00000000 item/5 v1", "1.0000000000 item/5 v1", "1.00000000x item/5 v1", "1,000000000 item/5 v1", " 1.000000000 item/5 v1",
		"+1.000000000 item/5 v1", "1.000000000 item/5 v1 ", "99999999999999999999.000000000 item/5 v1", "1.000000000 item/5 -",
		"1e3.000000000 item/5 v1", "1.000000000 item/5",
	};
	struct object o = {.kind = OBJECT_FILE, .id = TEXT("item/5"), .version = TEXT("v1")}, dir = {.kind = OBJECT_DIR, .id = TEXT("folder/1")};
	struct timespec t = {7, 7};
	char *text;

	for (size_t i = 0; i < COUNT(times); i++) {
		assert_int_equal(object_write_set_time(&o, times[i], &text), 0);
		o.set_time = text;
		assert_true(object_set_time(&o, &t));
		assert_true(t.tv_sec == times[i].tv_sec && t.tv_nsec == times[i].tv_nsec);
		free(text);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		o.set_time = (char *)bad[i];
		t = (struct timespec){7, 7};
		assert_false(object_set_time(&o, &t));
		assert_int_equal(t.tv_sec, 7);
	}
	assert_int_equal(object_write_set_time(&dir, times[0], &text), 0);
	assert_string_equal(text, "1400000000.123456789 folder/1 -");
	dir.set_time = text;
	assert_true(object_set_time(&dir, &t));
	free(text);
	o.version = NULL;
	assert_int_equal(object_write_set_time(&o, times[0], &text), -ENODATA);
	o.set_time = TEXT("1.000000000 item/5 v1");
	assert_false(object_set_time(&o, &t));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_comes_back),
		cmocka_unit_test(test_what_was_not_said_stays_unsaid),
		cmocka_unit_test(test_what_is_no_object_is_refused),
		cmocka_unit_test(test_a_time_is_of_one_thing_and_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
