/* Digests against the published values, in one piece and in many. */
#include "test.h"

#include "base/digest.h"

static void test_known_values(void **state)
{
	static const struct { const char *name, *text, *hex; } cases[] = {
		{"md5", "", "d41d8cd98f00b204e9800998ecf8427e"},
		{"md5", "abc", "900150983cd24fb0d6963f7d28e17f72"},
		{"sha256", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"SHA512", "abc", "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
		                  "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
		{"xxh3", "", "2d06800538d394c2"},
		{"XXH3", "abc", "78af5f94892f3950"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char hex[DIGEST_HEX_MAX];
		struct digest *d = NULL;

		assert_int_equal(digest_new(cases[i].name, &d), 0);
		for (const char *p = cases[i].text; *p; p++)
			assert_int_equal(digest_add(d, p, 1), 0);
		assert_int_equal(digest_add(d, "", 0), 0);
		assert_int_equal(digest_hex(d, hex), 0);
		assert_string_equal(hex, cases[i].hex);
		digest_free(d);
	}
}

static void test_a_stream_equals_one_piece(void **state)
{
	char data[10007], hex[DIGEST_HEX_MAX], whole[17];
	struct digest *d = NULL;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * i);
	assert_int_equal(digest_new("xxh3", &d), 0);
	for (size_t i = 0, n = 1; i < sizeof(data); i += n, n = n * 3 % 1000 + 1)
		assert_int_equal(digest_add(d, data + i, n < sizeof(data) - i ? n : sizeof(data) - i), 0);
	assert_int_equal(digest_hex(d, hex), 0);
	digest_free(d);
	snprintf(whole, sizeof(whole), "%016llx", (unsigned long long)digest_xxh3_64(data, sizeof(data)));
	assert_string_equal(hex, whole);
}

static void test_unknown_names(void **state)
{
	static const char *const names[] = {"", "sha1", "sha-256", "md5 ", "crc32"};
	struct digest *d = NULL;

	for (size_t i = 0; i < COUNT(names); i++)
		assert_int_equal(digest_new(names[i], &d), -EINVAL);
	assert_null(d);
	digest_free(NULL);
}

static uint64_t hash(const char *a, const char *b, const char *c)
{
	const char *parts[] = {a, b, c, NULL};

	return digest_hash64(parts);
}

static void test_inode_numbers_never_change(void **state)
{
	/* From the first release on. If this fails, the code is wrong and not the test. */
	assert_true(hash("https://example.org", "folder", "5f0c") == 0x4f29079e6fc00791ull);
	assert_true(hash("ab", "c", NULL) != hash("a", "bc", NULL));
	assert_true(hash("a", "", NULL) != hash("a", NULL, NULL));
	assert_true(hash("a", "b", NULL) != hash("b", "a", NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_values),
		cmocka_unit_test(test_a_stream_equals_one_piece),
		cmocka_unit_test(test_unknown_names),
		cmocka_unit_test(test_inode_numbers_never_change),
	};

	return cmocka_run_group_tests_name("base-digest", tests, NULL, NULL);
}
