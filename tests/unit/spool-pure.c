/* The spool's deciders: what is missing, which names stay here, what an outcome means, when it is tried again. */
#include "spool-world.h"

#define PLACES 300

static void names_have_their_fate(void **state)
{
	static const struct { const char *name; enum name_fate fate; } cases[] = {
		{"a.dat", NAME_SENT}, {".hidden", NAME_SENT}, {"~", NAME_SENT}, {".", NAME_SENT}, {"", NAME_SENT}, {"4914", NAME_SENT},
		{"part", NAME_SENT}, {".part", NAME_SENT}, {"a.part", NAME_HELD}, {"a~", NAME_HELD}, {"4913", NAME_HELD},
		{".a.dat.swp", NAME_HELD}, {".a.dat.swo", NAME_HELD}, {".swp", NAME_SENT}, {"a.swp", NAME_SENT}, {".a.sw1", NAME_SENT},
		{".a.dat.Xy12Zq", NAME_HELD}, {".a.dat.aB3dEf", NAME_HELD}, {".config.backup", NAME_SENT}, {"a.dat.Xy12Zq", NAME_SENT},
		{".a.dat.Xy12Z", NAME_SENT}, {".a.dat.Xy-2Zq", NAME_SENT}, {"..Xy12Zq", NAME_SENT}, {".~lock.a.odt#", NAME_HELD},
		{".~lock.#", NAME_SENT}, {"._a.dat", NAME_NEVER}, {"._", NAME_SENT}, {".DS_Store", NAME_NEVER}, {"DS_Store", NAME_SENT},
		{"a.db-journal", NAME_FSYNC_LOCAL}, {"a.db-wal", NAME_FSYNC_LOCAL}, {"index.lock", NAME_FSYNC_LOCAL}, {"a.lockx", NAME_SENT},
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		if (spool_name_fate(cases[i].name) != cases[i].fate)
			fail_msg("%s: %d", cases[i].name, spool_name_fate(cases[i].name));
}

static void a_copy_that_lost_a_race_says_where_and_when(void **state)
{
	static const struct { const char *name, *host, *want; } cases[] = {
		{"a.dat", "node1.example.org", "a.conflict-node1-20010909T014640.dat"},
		{"a", "node1", "a.conflict-node1-20010909T014640"},
		{".bashrc", "h", ".bashrc.conflict-h-20010909T014640"},
		{"a.tar.gz", "h", "a.tar.conflict-h-20010909T014640.gz"},
		{"a.", "h", "a..conflict-h-20010909T014640"},
		{"a.dat", "", "a.conflict-here-20010909T014640.dat"},
		{"a.dat", NULL, "a.conflict-here-20010909T014640.dat"},
		{"a.dat", "x/y z", "a.conflict-x-y-z-20010909T014640.dat"},
	};
	char long_name[256], *got;

	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(spool_conflict_name(cases[i].name, cases[i].host, 1000000000, &got), 0);
		assert_string_equal(got, cases[i].want);
		free(got);
	}
	/* Cut at a character's border, the extension kept. */
	memset(long_name, 'x', 255);
	memcpy(long_name + 251, ".dat", 5);
	for (int i = 0; i < 124; i++)
		memcpy(long_name + 2 * i, "\xc3\xa4", 2);
	assert_int_equal(spool_conflict_name(long_name, "host", 1000000000, &got), 0);
	assert_in_range(strlen(got), 252, 255);
	assert_true(str_utf8_valid(got, strlen(got)) && str_ends(got, ".conflict-host-20010909T014640.dat"));
	free(got);
}

static void only_what_the_server_decided_is_a_refusal(void **state)
{
	static const int refused[] = {EACCES, EPERM, EROFS, EINVAL, ENAMETOOLONG, EDQUOT, ENOSPC, EFBIG, E2BIG, ENOENT, ENOTSUP, EISDIR, ENOTDIR};
	static const int again[] = {EHOSTDOWN, EHOSTUNREACH, ENETUNREACH, ENETDOWN, ETIMEDOUT, ECONNREFUSED, ECONNRESET, EPIPE, EAGAIN, EIO, EINTR,
	                            ECANCELED, EPROTO, EBADMSG, ENOTCONN, ENOMEM, ESHUTDOWN, EBUSY, EMFILE};

	assert_int_equal(outcome_of(0), OUTCOME_LANDED);
	assert_int_equal(outcome_of(-ESTALE), OUTCOME_CONFLICT);
	assert_int_equal(outcome_of(-EEXIST), OUTCOME_CONFLICT);
	for (size_t i = 0; i < COUNT(refused); i++)
		assert_int_equal(outcome_of(-refused[i]), OUTCOME_REFUSED);
	for (size_t i = 0; i < COUNT(again); i++)
		assert_int_equal(outcome_of(-again[i]), OUTCOME_AGAIN);
}

static void pauses_double_within_their_bounds(void **state)
{
	static const struct { unsigned failures; uint32_t chance; unsigned want; } cases[] = {
		{1, UINT32_MAX / 2, 999}, {2, UINT32_MAX / 2, 1999}, {3, UINT32_MAX / 2, 3999}, {1, 0, 750}, {1, UINT32_MAX, 1250},
		{7, UINT32_MAX, 60000}, {7, 0, 45000}, {4000000000u, UINT32_MAX, 60000}, {0, 0, 750},
	};

	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(outcome_delay(cases[i].failures, 1000, 60000, cases[i].chance), cases[i].want);
	assert_in_range(outcome_delay(1, 0, 0, 0), 1, 1);
}

static void what_is_missing_is_what_was_never_removed(void **state)
{
	unsigned seed = 42;

	for (int round = 0; round < 200; round++) {
		struct extents e = {0};
		bool plain[PLACES];

		memset(plain, true, sizeof(plain));
		assert_int_equal(extents_add(&e, 0, PLACES), 0);
		for (int i = 0; i < 60; i++) {
			unsigned first = (unsigned)rand_r(&seed) % PLACES, n = (unsigned)rand_r(&seed) % 20, from = (unsigned)rand_r(&seed) % PLACES;
			struct extent found;
			unsigned want = from, end = from + 50 < PLACES ? from + 50 : PLACES;

			assert_int_equal(extents_remove(&e, first, first + n), 0);
			for (unsigned k = first; k < first + n && k < PLACES; k++)
				plain[k] = false;
			while (want < end && !plain[want])
				want++;
			assert_int_equal(extents_first(&e, from, end, &found), want < end);
			if (want < end) {
				unsigned until = want;

				while (until < end && plain[until])
					until++;
				assert_int_equal(found.first, want);
				assert_int_equal(found.end, until);
			}
			for (size_t k = 0; k < e.list.n; k++)
				assert_true(e.list.at[k].first < e.list.at[k].end && (!k || e.list.at[k - 1].end < e.list.at[k].first));
		}
		extents_done(&e);
	}
}

static void pieces_are_bounded(void **state)
{
	struct extents e = {0};

	assert_int_equal(extents_add(&e, 0, 4ull * EXTENTS_MAX), 0);
	/* Upwards, so that only the last piece is split. */
	for (uint64_t i = 1; i < EXTENTS_MAX; i++)
		assert_int_equal(extents_remove(&e, 4 * i, 4 * i + 1), 0);
	assert_int_equal(e.list.n, EXTENTS_MAX);
	assert_int_equal(extents_remove(&e, 1, 2), -EFBIG);
	assert_int_equal(extents_remove(&e, 0, 4), 0);
	assert_int_equal(e.list.n, EXTENTS_MAX - 1);
	extents_done(&e);
}

static void attributes_come_back_from_json(void **state)
{
	struct attrs a = {0}, b;
	struct buf text = {0};

	assert_int_equal(attrs_add(&a, "girder.meta.x", "1 \xff%\"\\", 6), 0);
	assert_int_equal(attrs_add(&a, "empty", "", 0), 0);
	assert_int_equal(attrs_add(&a, "nul", "a\0b", 3), 0);
	assert_int_equal(attrs_add(&a, "gone", "x", 1), 0);
	free(TAKE(a.list.at[3].value));
	assert_int_equal(side_write_attrs(&a, &text), 0);
	assert_int_equal(side_read_attrs(text.data, &b), 0);
	assert_int_equal(b.list.n, 4);
	for (size_t i = 0; i < 4; i++) {
		assert_string_equal(b.list.at[i].name, a.list.at[i].name);
		assert_int_equal(!b.list.at[i].value, !a.list.at[i].value);
		if (a.list.at[i].value) {
			assert_int_equal(b.list.at[i].len, a.list.at[i].len);
			assert_memory_equal(b.list.at[i].value, a.list.at[i].value, a.list.at[i].len);
		}
	}
	attrs_done(&a);
	attrs_done(&b);
	buf_done(&text);
	assert_int_equal(side_read_attrs("{\"a\":\"%zz\"}", &b), -EBADMSG);
	assert_int_equal(side_read_attrs("[1]", &b), -EBADMSG);
	assert_int_equal(side_read_attrs("{\"a\":1}", &b), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_have_their_fate),
		cmocka_unit_test(a_copy_that_lost_a_race_says_where_and_when),
		cmocka_unit_test(only_what_the_server_decided_is_a_refusal),
		cmocka_unit_test(pauses_double_within_their_bounds),
		cmocka_unit_test(what_is_missing_is_what_was_never_removed),
		cmocka_unit_test(pieces_are_bounded),
		cmocka_unit_test(attributes_come_back_from_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
