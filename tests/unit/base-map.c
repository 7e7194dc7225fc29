/* Hash maps against what they ought to hold: many keys, removals that shift, iteration. */
#include "test.h"

#include "base/map.h"

#define MANY 100000

static int values[MANY];        /* their addresses are the values */

static void test_empty(void **state)
{
	struct map *m = map_new();
	struct map_iter it = {0};
	const char *key;
	void *value;

	assert_null(map_get(NULL, "a"));
	assert_null(map_get(m, "a"));
	assert_null(map_remove(m, "a"));
	assert_int_equal(map_count(m), 0);
	assert_int_equal(map_next(m, &it, &key, &value), 0);
	assert_int_equal(map_set(m, "a", NULL), -EINVAL);
	map_clear(m);
	map_free(m);
	map_free(NULL);
	map64_free(NULL);
}

static void test_set_replaces_and_copies_the_key(void **state)
{
	struct map *m = map_new();
	char key[] = "key";

	assert_int_equal(map_set(m, key, &values[1]), 0);
	key[0] = 'K';
	assert_null(map_get(m, key));
	assert_ptr_equal(map_get(m, "key"), &values[1]);
	assert_int_equal(map_set(m, "key", &values[2]), 0);
	assert_int_equal(map_set(m, "", &values[3]), 0);
	assert_int_equal(map_count(m), 2);
	assert_ptr_equal(map_get(m, ""), &values[3]);
	assert_ptr_equal(map_remove(m, "key"), &values[2]);
	assert_null(map_get(m, "key"));
	map_clear(m);
	assert_int_equal(map_count(m), 0);
	assert_int_equal(map_set(m, "after clear", &values[4]), 0);
	map_free(m);
}

static void test_many_strings(void **state)
{
	struct map *m = map_new();
	struct map_iter it = {0};
	const char *key;
	size_t seen = 0;
	char name[32];
	void *value;

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "file %d.dat", i);
		assert_int_equal(map_set(m, name, &values[i]), 0);
	}
	assert_int_equal(map_count(m), MANY);
	for (int i = 0; i < MANY; i += 3) {
		snprintf(name, sizeof(name), "file %d.dat", i);
		assert_ptr_equal(map_remove(m, name), &values[i]);
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "file %d.dat", i);
		assert_ptr_equal(map_get(m, name), i % 3 ? &values[i] : NULL);
	}
	while (map_next(m, &it, &key, &value)) {
		snprintf(name, sizeof(name), "file %d.dat", (int)((int *)value - values));
		assert_string_equal(key, name);
		seen++;
	}
	assert_int_equal(seen, map_count(m));
	map_free(m);
}

/* A small range of keys, so that runs of neighbours form, break and close again; held against a plain array. */
static void test_numbers_against_an_array(void **state)
{
	struct map64 *m = map64_new();
	struct map64_iter it = {0};
	void *want[64] = {0}, *value;
	uint64_t x = 1, key;
	size_t count = 0;

	for (int turn = 0; turn < 200000; turn++) {
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		key = x >> 58;
		if (x >> 40 & 1) {
			assert_int_equal(map64_set(m, key, &values[turn % MANY]), 0);
			want[key] = &values[turn % MANY];
		} else {
			assert_ptr_equal(map64_remove(m, key), want[key]);
			want[key] = NULL;
		}
		key = x >> 50 & 63;
		assert_ptr_equal(map64_get(m, key), want[key]);
	}
	for (int i = 0; i < 64; i++)
		count += want[i] != NULL;
	assert_int_equal(map64_count(m), count);
	while (map64_next(m, &it, &key, &value)) {
		assert_ptr_equal(value, want[key]);
		count--;
	}
	assert_int_equal(count, 0);
	map64_free(m);
}

static void test_numbers_of_every_kind(void **state)
{
	static const uint64_t keys[] = {0, 1, UINT64_MAX, 1ull << 63, 1ull << 32, 16, 32, 48, 64};
	struct map64 *m = map64_new();

	for (size_t i = 0; i < COUNT(keys); i++)
		assert_int_equal(map64_set(m, keys[i], &values[i]), 0);
	for (size_t i = 0; i < COUNT(keys); i++)
		assert_ptr_equal(map64_get(m, keys[i]), &values[i]);
	assert_int_equal(map64_set(m, 5, NULL), -EINVAL);
	assert_int_equal(map64_count(m), COUNT(keys));
	map64_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_set_replaces_and_copies_the_key),
		cmocka_unit_test(test_many_strings),
		cmocka_unit_test(test_numbers_against_an_array),
		cmocka_unit_test(test_numbers_of_every_kind),
	};

	return cmocka_run_group_tests_name("base-map", tests, NULL, NULL);
}
