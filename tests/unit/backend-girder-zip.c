/* One file out of a zip as Girder streams it: whatever pieces it comes in, and whatever is wrong with it. */
#include "test.h"

#include "backend/girder/zip.h"
#include "base/buf.h"

struct file {
	const char *name, *text;
};

static void le(struct buf *b, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		assert_int_equal(buf_addc(b, (char)(v >> 8 * i)), 0);
}

/* The slow way, a bit at a time. */
static uint32_t crc32_of(const char *p)
{
	uint32_t crc = 0xffffffff;

	for (; *p; p++) {
		crc ^= (unsigned char)*p;
		for (int i = 0; i < 8; i++)
			crc = crc & 1 ? 0xedb88320 ^ crc >> 1 : crc >> 1;
	}
	return ~crc;
}

enum { F_LONG = 1, F_EXTRA = 2, F_SIZES = 4, F_DEFLATED = 8, F_CRYPT = 16, F_BAD_CRC = 32, F_BAD_SIZE = 64, F_NO_SIGNATURE = 128 };

static void add_file(struct buf *b, const struct file *f, unsigned how)
{
	size_t n = strlen(f->text);

	assert_int_equal(buf_add(b, how & F_NO_SIGNATURE ? "XX\3\4" : "PK\3\4", 4), 0);
	le(b, 20, 2);
	le(b, (how & F_SIZES ? 0 : 8) | (how & F_CRYPT ? 1 : 0), 2);
	le(b, how & F_DEFLATED ? 8 : 0, 2);
	le(b, 0, 4);
	le(b, how & F_SIZES ? crc32_of(f->text) : 0, 4);
	le(b, how & F_SIZES ? n + (how & F_BAD_SIZE ? 1 : 0) : 0, 4);
	le(b, how & F_SIZES ? n + (how & F_BAD_SIZE ? 1 : 0) : 0, 4);
	le(b, strlen(f->name), 2);
	le(b, how & F_EXTRA ? 7 : 0, 2);
	assert_int_equal(buf_adds(b, f->name), 0);
	if (how & F_EXTRA)
		assert_int_equal(buf_add(b, "PK\3\4xyz", 7), 0);
	assert_int_equal(buf_adds(b, f->text), 0);
	if (how & F_SIZES)
		return;
	assert_int_equal(buf_add(b, "PK\7\10", 4), 0);
	le(b, crc32_of(f->text) ^ (how & F_BAD_CRC ? 1 : 0), 4);
	le(b, n + (how & F_BAD_SIZE ? 1 : 0), how & F_LONG ? 8 : 4);
	le(b, n + (how & F_BAD_SIZE ? 1 : 0), how & F_LONG ? 8 : 4);
}

struct reader {
	const struct file *files;
	size_t n;
	const char *wanted;
	struct buf got;
	int give_error;
};

static int pick(void *arg, const char *name, size_t n, uint64_t *ret_size)
{
	struct reader *k = arg;

	for (size_t i = 0; i < k->n; i++)
		if (strlen(k->files[i].name) == n && memcmp(k->files[i].name, name, n) == 0) {
			*ret_size = strlen(k->files[i].text);
			return strcmp(k->files[i].name, k->wanted) == 0;
		}
	return -EBADMSG;
}

static int give(void *arg, const void *data, size_t n)
{
	struct reader *k = arg;

	return k->give_error ? k->give_error : buf_add(&k->got, data, n);
}

/* The end of feeding it `piece` bytes at a time. */
static int read_zip(const struct buf *zip, struct reader *k, size_t piece)
{
	struct zip *z = calloc(1, sizeof(*z));
	int r = 0;

	z->pick = pick;
	z->give = give;
	z->arg = k;
	for (size_t at = 0; at < zip->len && r == 0; at += piece)
		r = zip_feed(z, zip->data + at, zip->len - at < piece ? zip->len - at : piece);
	if (r < 0 && !k->give_error)
		assert_non_null(z->error);
	free(z);
	return r;
}

static const struct file three[] = {
	{"item/first.txt", "PK\3\4 looks like a header"}, {"item/20\xc2\xb0""C.dat", "the wanted bytes"}, {"item/empty", ""},
};

static void test_the_wanted_file_comes_whole_in_whatever_pieces(void **state)
{
	static const unsigned ways[] = {0, F_LONG, F_EXTRA, F_SIZES, F_EXTRA | F_LONG};

	for (size_t w = 0; w < COUNT(ways); w++)
		for (size_t which = 0; which < COUNT(three); which++)
			for (size_t piece = 1; piece < 300; piece += piece < 40 ? 1 : 61) {
				struct reader k = {.files = three, .n = COUNT(three), .wanted = three[which].name};
				struct buf zip = {0};

				for (size_t i = 0; i < COUNT(three); i++)
					add_file(&zip, &three[i], ways[w]);
				assert_int_equal(buf_add(&zip, "PK\1\2 and so on, the directory of the whole zip", 46), 0);
				assert_int_equal(read_zip(&zip, &k, piece), 1);
				assert_string_equal(buf_str(&k.got), three[which].text);
				buf_done(&zip);
				buf_done(&k.got);
			}
}

static void fails(unsigned how, int want)
{
	struct reader k = {.files = three, .n = COUNT(three), .wanted = three[1].name};
	struct buf zip = {0};

	add_file(&zip, &three[0], 0);
	add_file(&zip, &three[1], how);
	assert_int_equal(buf_add(&zip, "PK\1\2 and so on, the directory of the whole zip", 46), 0);
	assert_int_equal(read_zip(&zip, &k, 1000), want);
	buf_done(&zip);
	buf_done(&k.got);
}

static void test_what_is_wrong_with_it_is_told(void **state)
{
	fails(0, 1);
	fails(F_NO_SIGNATURE, -EBADMSG);
	fails(F_DEFLATED, -EBADMSG);
	fails(F_CRYPT, -EBADMSG);
	fails(F_BAD_CRC, -EIO);
	fails(F_BAD_SIZE, -ESTALE);
	fails(F_BAD_SIZE | F_LONG, -ESTALE);
	fails(F_BAD_SIZE | F_SIZES, -ESTALE);
}

static void test_a_zip_without_the_file_says_so(void **state)
{
	struct reader k = {.files = three, .n = COUNT(three), .wanted = "nothing"};
	struct buf zip = {0};

	add_file(&zip, &three[0], 0);
	assert_int_equal(buf_add(&zip, "PK\1\2 and so on, the directory of the whole zip", 46), 0);
	assert_int_equal(read_zip(&zip, &k, 7), -ENOENT);
	buf_done(&zip);
	zip = (struct buf){0};
	assert_int_equal(buf_add(&zip, "PK\5\6 an empty zip has only this in it....", 42), 0);
	assert_int_equal(read_zip(&zip, &k, 7), -ENOENT);
	buf_done(&zip);
}

static void test_a_zip_that_ends_too_early_is_not_whole(void **state)
{
	struct buf zip = {0};

	add_file(&zip, &three[1], 0);
	for (; zip.len; zip.len--) {
		struct reader k = {.files = three, .n = COUNT(three), .wanted = three[1].name};

		if (zip.len < 30 + strlen(three[1].name) + strlen(three[1].text) + 16)
			assert_int_equal(read_zip(&zip, &k, 1000), 0);
		buf_done(&k.got);
	}
	buf_done(&zip);
}

static void test_an_answer_that_is_no_zip_is_refused(void **state)
{
	static const char page[] = "<html><head><title>500 Internal Server Error</title></head><body>no</body></html>";
	struct reader k = {.files = three, .n = COUNT(three), .wanted = three[1].name};
	struct buf zip = {0};

	assert_int_equal(buf_adds(&zip, page), 0);
	assert_int_equal(read_zip(&zip, &k, 13), -EBADMSG);
	buf_done(&zip);
}

static void test_an_unknown_name_and_a_reader_that_gives_up_end_it(void **state)
{
	static const struct file other = {"item/unknown", "x"};
	struct reader k = {.files = three, .n = COUNT(three), .wanted = three[1].name};
	struct buf zip = {0};

	add_file(&zip, &other, 0);
	assert_int_equal(read_zip(&zip, &k, 13), -EBADMSG);
	buf_done(&zip);
	zip = (struct buf){0};
	add_file(&zip, &three[1], 0);
	k.give_error = -ENOSPC;
	assert_int_equal(read_zip(&zip, &k, 13), -ENOSPC);
	buf_done(&zip);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_wanted_file_comes_whole_in_whatever_pieces),
		cmocka_unit_test(test_what_is_wrong_with_it_is_told),
		cmocka_unit_test(test_a_zip_without_the_file_says_so),
		cmocka_unit_test(test_a_zip_that_ends_too_early_is_not_whole),
		cmocka_unit_test(test_an_answer_that_is_no_zip_is_refused),
		cmocka_unit_test(test_an_unknown_name_and_a_reader_that_gives_up_end_it),
	};

	return cmocka_run_group_tests_name("backend-girder-zip", tests, NULL, NULL);
}
