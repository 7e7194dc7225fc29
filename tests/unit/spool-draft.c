/* A draft: its bytes, what is missing of them, the room they take, and what committing costs. */
#include "spool-world.h"

#include <sys/mount.h>

#define SPACE (300u << 10)              /* the largest of the random files */
#define ROUNDS 12
#define STEPS 120

/* ---- content ---- */

/* What the draft should be: the bytes, and whether each is still base's and not here. */
struct model {
	unsigned char *bytes, *base;
	bool *missing;
	size_t size;
};

static void read_is_like(struct draft *d, const struct model *m, size_t at, size_t n)
{
	unsigned char *got = malloc(n + 1);
	size_t got_n = 0, end = at + n < m->size ? at + n : m->size;
	bool missing = false;
	int r = draft_read(d, got, n, at, &got_n);

	for (size_t i = at; i < end; i++)
		missing |= m->missing[i];
	assert_int_equal(r, missing ? -EAGAIN : 0);
	if (r == 0) {
		assert_int_equal(got_n, at < end ? end - at : 0);
		for (size_t i = at; i < end; i++)
			if (got[i - at] != m->bytes[i])
				fail_msg("byte %zu", i);
	}
	free(got);
}

static void fill_all(struct draft *d, const struct model *m)
{
	struct range x;

	while (draft_missing(d, 0, UINT64_MAX, &x) == 1) {
		for (uint64_t i = x.first; i < x.first + x.count; i++)
			assert_true(m->missing[i]);
		assert_int_equal(draft_fill(d, x.first, m->base + x.first, x.count), 0);
		memset(m->missing + x.first, 0, x.count);
	}
	for (size_t i = 0; i < m->size; i++)
		assert_false(m->missing[i]);
}

static void one_step(struct draft *d, struct model *m, unsigned *seed)
{
	size_t at = (unsigned)rand_r(seed) % SPACE, n = (unsigned)rand_r(seed) % (rand_r(seed) % 4 ? 5000 : 60000);
	unsigned char *p;

	if (at + n > SPACE)
		n = SPACE - at;
	switch (rand_r(seed) % 8) {
	case 0:         /* truncate, either way */
		assert_int_equal(draft_truncate(d, at), 0);
		if (at > m->size)
			memset(m->bytes + m->size, 0, at - m->size);
		for (size_t i = at; i < SPACE; i++)
			m->missing[i] = false;
		m->size = at;
		break;
	case 1:         /* fill a part */
		assert_int_equal(draft_fill(d, at, m->base + at, n), 0);
		memset(m->missing + at, 0, n);
		break;
	case 2:
		assert_int_equal(draft_allocate(d, at), 0);
		if (at > m->size) {
			memset(m->bytes + m->size, 0, at - m->size);
			m->size = at;
		}
		break;
	case 3: case 4:
		read_is_like(d, m, at, n);
		break;
	default:
		p = bytes_of((unsigned)rand_r(seed), n);
		assert_int_equal(draft_write(d, p, n, at), 0);
		if (n && at > m->size)
			memset(m->bytes + m->size, 0, at - m->size);
		memcpy(m->bytes + at, p, n);
		memset(m->missing + at, 0, n);
		if (n && at + n > m->size)
			m->size = at + n;
		free(p);
	}
}

static void it_holds_what_was_written_and_knows_what_is_missing(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	unsigned seed = 7;

	for (int round = 0; round < ROUNDS; round++) {
		size_t base_size = round % 3 ? (unsigned)rand_r(&seed) % SPACE : 0;
		struct model m = {.bytes = calloc(1, SPACE), .base = bytes_of(99, SPACE), .missing = calloc(1, SPACE), .size = base_size};
		struct object base = {.kind = OBJECT_FILE, .id = TEXT("file/1"), .name = TEXT("x"), .size = base_size, .version = TEXT("v0")};
		struct draft *d = new_draft(s, "x", base_size ? &base : NULL);
		struct draft_info i;

		memcpy(m.bytes, m.base, base_size);
		memset(m.missing, true, base_size);
		for (int step = 0; step < STEPS; step++)
			one_step(d, &m, &seed);
		draft_info(d, &i);
		assert_int_equal(i.size, m.size);
		fill_all(d, &m);
		read_is_like(d, &m, 0, SPACE);
		assert_int_equal(draft_commit(d), 0);
		draft_due(d, false);
		/* There is no such base at the server any more: it goes beside. */
		assert_int_equal(draft_wait(d, 60000, NULL), base_size ? -EBUSY : 0);
		WITH_LOCK(&w->lock) {
			struct thing *t = &w->things[w->n - 1];

			assert_int_equal(t->size, m.size);
			assert_memory_equal(t->bytes, m.bytes, m.size);
			thing_done(t);
			w->n--;
		}
		draft_unref(d);
		free(m.bytes);
		free(m.base);
		free(m.missing);
	}
	spool_free(s);
}

static void committing_waits_until_nothing_is_missing(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct object base = {.kind = OBJECT_FILE, .id = TEXT("file/1"), .name = TEXT("x"), .size = 10};
	struct draft *d = new_draft(s, "x", &base);
	struct range m;

	assert_int_equal(draft_write(d, "AB", 2, 4), 0);
	assert_int_equal(draft_commit(d), -EAGAIN);
	assert_int_equal(draft_missing(d, 0, 10, &m), 1);
	assert_int_equal(m.first, 0);
	assert_int_equal(m.count, 4);
	assert_int_equal(draft_missing(d, 4, 100, &m), 1);
	assert_int_equal(m.first, 6);
	assert_int_equal(m.count, 4);
	assert_int_equal(draft_fill(d, 0, "0123456789", 10), 0);
	assert_int_equal(draft_missing(d, 0, 10, &m), 0);
	assert_int_equal(draft_commit(d), 0);
	draft_unref(d);
	spool_free(s);
}

static void holes_and_data_are_told_apart(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct object base = {.kind = OBJECT_FILE, .id = TEXT("file/1"), .name = TEXT("x"), .size = 100};
	struct draft *d = new_draft(s, "x", &base), *empty = new_draft(s, "y", NULL);
	uint64_t at;

	assert_int_equal(draft_seek(empty, 0, true, &at), -ENXIO);
	assert_int_equal(draft_truncate(empty, 1 << 20), 0);
	assert_int_equal(draft_seek(empty, 10, true, &at), -ENXIO);
	assert_int_equal(draft_seek(empty, 10, false, &at), 0);
	assert_int_equal(at, 10);
	/* What is missing is base's, so data. */
	assert_int_equal(draft_seek(d, 10, true, &at), 0);
	assert_int_equal(at, 10);
	assert_int_equal(draft_seek(d, 10, false, &at), 0);
	assert_int_equal(at, 100);
	assert_int_equal(draft_write(d, "x", 1, 1 << 20), 0);
	assert_int_equal(draft_seek(d, 0, false, &at), 0);
	assert_in_range(at, 100, 65536);
	assert_int_equal(draft_seek(d, at + 65536, true, &at), 0);
	assert_in_range(at, (1 << 20) - 65536, 1 << 20);
	assert_int_equal(draft_seek(d, (1 << 20) + 1, true, &at), -ENXIO);
	draft_unref(d);
	draft_unref(empty);
	spool_free(s);
}

/* More drafts than files that may be open. */
static void many_drafts_share_few_open_files(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d[FILES_MAX * 2];
	char name[32], c;
	size_t n;

	for (unsigned i = 0; i < COUNT(d); i++) {
		snprintf(name, sizeof(name), "%u", i);
		d[i] = new_draft(s, name, NULL);
		assert_int_equal(draft_write(d[i], name, strlen(name), SMALL_MAX), 0);
	}
	WITH_LOCK(&s->lock)
		assert_in_range(s->n_files, 1, FILES_MAX);
	for (unsigned i = 0; i < COUNT(d); i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_int_equal(draft_read(d[i], &c, 1, SMALL_MAX, &n), 0);
		assert_int_equal(c, name[0]);
		draft_unref(d[i]);
	}
	spool_free(s);
}

static bool reads(struct draft *d, unsigned salt, size_t n)
{
	unsigned char *want = bytes_of(salt, n), *got = malloc(n + 1);
	size_t got_n = 0;
	bool same = draft_read(d, got, n + 1, 0, &got_n) == 0 && got_n == n && memcmp(want, got, n) == 0;

	free(want);
	free(got);
	return same;
}

static void a_small_one_costs_one_file_and_one_transaction(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	uint64_t before = journal_commits(s->journal);
	struct draft *d = written(s, "a", 1, 4096);

	assert_int_equal(journal_commits(s->journal) - before, 1);
	assert_int_equal(files_in(s->drafts_dir), 1);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_has(w, "a", 1, 4096));
	/* Who has it open reads it still, and may go on. */
	assert_int_equal(files_in(s->drafts_dir), 0);
	assert_true(reads(d, 1, 4096));
	assert_int_equal(draft_truncate(d, 100), 0);
	assert_true(reads(d, 1, 100));
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_has(w, "a", 1, 100));
	draft_unref(d);
	assert_int_equal(s->in_memory, 0);
	spool_free(s);
}

/* What was cut off does not come back, in memory and in a file. */
static void a_small_one_that_grows_moves_into_a_file(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 3000);
	unsigned char got[SMALL_MAX + 1], want[SMALL_MAX + 1] = {0};
	void *p = bytes_of(1, 1000);
	size_t n;

	memcpy(want, p, 1000);
	free(p);
	want[SMALL_MAX] = 'x';
	assert_int_equal(draft_truncate(d, 1000), 0);
	assert_int_equal(draft_truncate(d, 5000), 0);
	assert_int_equal(draft_read(d, got, sizeof(got), 0, &n), 0);
	assert_int_equal(n, 5000);
	assert_memory_equal(got, want, 5000);
	assert_true(s->in_memory);
	assert_int_equal(draft_write(d, "x", 1, SMALL_MAX), 0);
	assert_int_equal(s->in_memory, 0);
	assert_int_equal(draft_read(d, got, sizeof(got), 0, &n), 0);
	assert_int_equal(n, sizeof(got));
	assert_memory_equal(got, want, sizeof(got));
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	draft_unref(d);
	spool_free(s);
}

static void so_many_side_files_are_kept_and_no_more(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10);

	WITH_LOCK(&s->lock)
		s->n_spares = SPARES_MAX;
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(files_in(s->spare_dir), 0);
	assert_int_equal(files_in(s->drafts_dir), 0);
	draft_unref(d);
	/* One that is not there after all costs nothing either. */
	d = written(s, "b", 2, 10);
	assert_int_equal(files_in(s->drafts_dir), 1);
	WITH_LOCK(&s->lock)
		s->n_spares = 0;
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(files_in(s->spare_dir), 1);
	draft_unref(d);
	spool_free(s);
}

static void memory_for_small_ones_has_an_end(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d, *e;

	WITH_LOCK(&s->lock)
		s->in_memory = MEMORY_MAX - 8192;
	d = written(s, "a", 1, 8192);
	e = written(s, "b", 2, 8192);
	WITH_LOCK(&s->lock)
		assert_int_equal(s->in_memory, MEMORY_MAX);
	assert_int_equal(files_in(s->drafts_dir), 3);   /* two side files, and what had no room */
	assert_int_equal(draft_write(d, "x", 1, 8192), 0);
	WITH_LOCK(&s->lock)
		assert_int_equal(s->in_memory, MEMORY_MAX - 8192);
	assert_true(reads(e, 2, 8192));
	assert_int_equal(draft_truncate(d, 8192), 0);
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	draft_due(e, true);
	assert_true(comes_to(d, DRAFT_DONE) && comes_to(e, DRAFT_DONE));
	assert_true(server_has(w, "a", 1, 8192) && server_has(w, "b", 2, 8192));
	draft_unref(d);
	draft_unref(e);
	spool_free(s);
}

/* ---- room ---- */

static void what_can_never_fit_is_said_at_once(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s;
	struct draft *d;
	void *p = bytes_of(1, 1 << 20);
	uint64_t at = 0;
	int r;

	c.limit = 4 << 20;
	s = open_with(w, &c);
	start(w, s);
	d = new_draft(s, "a", NULL);
	while ((r = draft_write(d, p, 1 << 20, at)) == 0)
		at += 1 << 20;
	assert_int_equal(r, -ENOSPC);
	assert_in_range(at, 3 << 20, 4 << 20);
	assert_int_equal(draft_wait_room(d, 2 << 20, NULL), -ENOSPC);
	assert_in_range(spool_room(s), 0, 1 << 20);
	/* Over what is there already one may write. */
	assert_int_equal(draft_write(d, p, 1 << 20, 0), 0);
	assert_int_equal(draft_truncate(d, 0), 0);
	assert_int_equal(draft_write(d, p, 1 << 20, 0), 0);
	draft_unref(d);
	free(p);
	spool_free(s);
}

static void a_write_waits_while_the_queue_moves(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct draft *d, *other;
	struct spool *s;
	void *p = bytes_of(1, 3 << 20);

	c.limit = 4 << 20;
	s = open_with(w, &c);
	start(w, s);
	SET(w, stalled, true);
	other = written(s, "other", 1, 3 << 20);
	draft_due(other, true);
	draft_unref(other);
	d = new_draft(s, "a", NULL);
	assert_int_equal(draft_write(d, p, 3 << 20, 0), -EAGAIN);
	/* Nothing moves. */
	assert_int_equal(draft_wait_room(d, 3 << 20, NULL), -ENOSPC);
	assert_int_equal(draft_wait_room(d, 3 << 20, &(int){1}), -EINTR);
	SET(w, stalled, false);
	WAIT_FOR(draft_wait_room(d, 3 << 20, NULL) == 0);
	assert_int_equal(draft_write(d, p, 3 << 20, 0), 0);
	draft_unref(d);
	free(p);
	spool_free(s);
}

static void a_full_disk_is_enospc_and_loses_nothing(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s;
	struct draft *d, *small;
	void *p = bytes_of(2, 100000);
	uint64_t at = 0;
	int r;

	if (mount("tmpfs", w->state, "tmpfs", 0, "size=3m") < 0)
		skip();
	s = open_with(w, &c);
	d = new_draft(s, "a", NULL);
	while ((r = draft_write(d, p, 100000, at)) == 0)
		at += 100000;
	assert_int_equal(r, -ENOSPC);
	/* Whatever fits no more is refused, and can be tried again once there is room. */
	small = new_draft(s, "b", NULL);
	r = draft_write(small, p, 60000, 0);
	if (r == 0)
		r = draft_commit(small);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(draft_truncate(d, 100000), 0);
	assert_int_equal(draft_write(small, p, 60000, 0), 0);
	assert_int_equal(draft_commit(small), 0);
	assert_int_equal(draft_commit(d), 0);
	draft_unref(small);
	draft_unref(d);
	start(w, s);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 2, 100000) && server_has(w, "b", 2, 60000));
	spool_free(s);
	assert_int_equal(umount2(w->state, 0), 0);
	free(p);
}

static void no_file_is_larger_than_a_repository_can_hold(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10);
	struct draft_info i;

	assert_int_equal(draft_write(d, "xy", 2, OBJECT_SIZE_MAX - 1), -EFBIG);
	assert_int_equal(draft_write(d, "xy", 2, UINT64_MAX), -EFBIG);
	assert_int_equal(draft_truncate(d, OBJECT_SIZE_MAX + 1), -EFBIG);
	assert_int_equal(draft_allocate(d, OBJECT_SIZE_MAX + 1), -EFBIG);
	draft_info(d, &i);
	assert_true(i.size == 10 && !i.dirty);
	draft_unref(d);
	spool_free(s);
}

/* ---- commit ---- */

static off_t journal_bytes(struct spool *s)
{
	char *path = NULL;
	struct stat st = {0};

	assert_int_equal(str_fmt(&path, "%s/journal.db-wal", s->dir), 0);
	assert_int_equal(stat(path, &st), 0);
	free(path);
	return st.st_size;
}

static void what_did_not_change_costs_nothing(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s = open_with(w, &c);
	struct draft *d = written(s, "a", 1, 1000);
	struct draft_info i;
	off_t before = journal_bytes(s);

	draft_info(d, &i);
	assert_true(i.committed && !i.dirty);
	assert_int_equal(draft_commit(d), 0);
	assert_int_equal(draft_commit(d), 0);
	assert_int_equal(journal_bytes(s), before);
	assert_int_equal(draft_write(d, "x", 1, 0), 0);
	draft_info(d, &i);
	assert_true(i.committed && i.dirty);
	assert_int_equal(draft_commit(d), 0);
	assert_true(journal_bytes(s) > before);
	draft_unref(d);
	spool_free(s);
}

static void *commit_one(void *arg)
{
	return (void *)(intptr_t)draft_commit(arg);
}

static void committing_at_once_is_one_transaction(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s = open_with(w, &c);
	struct draft *d[16];
	pthread_t t[COUNT(d)];
	struct draft_info i;

	for (unsigned k = 0; k < COUNT(d); k++) {
		d[k] = new_draft(s, "a", NULL);
		assert_int_equal(draft_write(d[k], "x", 1, 0), 0);
		assert_int_equal(pthread_create(&t[k], NULL, commit_one, d[k]), 0);
	}
	for (unsigned k = 0; k < COUNT(d); k++) {
		void *r;

		assert_int_equal(pthread_join(t[k], &r), 0);
		assert_int_equal((int)(intptr_t)r, 0);
		draft_info(d[k], &i);
		assert_true(i.committed && !i.dirty);
		assert_true(journal_has(s->journal, i.id));
		draft_unref(d[k]);
	}
	spool_free(s);
}

static void it_shows_what_it_is(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s = open_with(w, &c);
	struct object base = {.kind = OBJECT_FILE, .id = TEXT("file/9"), .name = TEXT("b"), .size = 3, .version = TEXT("v1")};
	struct draft *d = new_draft(s, "a.dat", NULL), *b = new_draft(s, "b", &base);
	struct object o = {0};
	struct attrs a = {0};
	struct draft_info i;
	char *text = NULL, *key = NULL;

	assert_int_equal(draft_name(d, &text), 0);
	assert_string_equal(text, "a.dat");
	free(TAKE(text));
	assert_int_equal(draft_dir(d, &o), 0);
	assert_string_equal(o.id, "dir/1");
	object_done(&o);
	assert_int_equal(draft_base(d, &o), -ENOENT);
	assert_int_equal(draft_base(b, &o), 0);
	assert_string_equal(o.id, "file/9");
	object_done(&o);
	assert_int_equal(draft_why(d, &text), 0);
	assert_null(text);
	assert_int_equal(draft_ino(d), 77);
	draft_info(d, &i);
	assert_true(!i.committed && i.dirty && i.size == 0 && i.state == DRAFT_OPEN && i.id);
	assert_int_equal(draft_key(d, &key), 0);
	assert_true(str_starts(key, "draft/"));
	free(key);
	draft_info(b, &i);
	assert_int_equal(i.size, 3);
	assert_int_equal(draft_set_mtime(d, (struct timespec){5, 6}), 0);
	assert_int_equal(draft_set_mode(d, S_IFREG | 0640), 0);
	assert_int_equal(draft_set_attr(d, "x", "1", 1), 0);
	assert_int_equal(draft_set_attr(d, "y", NULL, 0), 0);
	assert_int_equal(draft_set_attr(d, "x", "22", 2), 0);
	draft_info(d, &i);
	assert_true(i.mtime.tv_sec == 5 && i.mtime.tv_nsec == 6 && i.mtime_set && i.mode == (S_IFREG | 0640));
	assert_int_equal(draft_attrs(d, &a), 0);
	assert_int_equal(a.list.n, 2);
	/* In the order in which they were set last. */
	assert_null(a.list.at[0].value);
	assert_string_equal(a.list.at[1].value, "22");
	attrs_done(&a);
	assert_int_equal(draft_write(d, "x", 1, 0), 0);
	draft_info(d, &i);
	assert_true(i.mtime.tv_sec > 5 && !i.mtime_set);
	draft_unref(d);
	draft_unref(b);
	spool_free(s);
}

static void lists_are_of_one_directory_or_of_all(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s = open_with(w, &c);
	struct draft *a = written(s, "a \"quoted\"", 1, 10), *b = NULL, *same;
	struct drafts all;
	struct buf text = {0};
	struct draft_info i;
	struct json *j = NULL;
	unsigned n, refused;
	uint64_t bytes;

	assert_int_equal(draft_new(s, &other_dir, "b", NULL, 1, &b), 0);
	assert_int_equal(spool_drafts(s, NULL, &all), 0);
	assert_int_equal(all.list.n, 2);
	drafts_done(&all);
	assert_int_equal(spool_drafts(s, "dir/2", &all), 0);
	assert_int_equal(all.list.n, 1);
	assert_ptr_equal(all.list.at[0], b);
	drafts_done(&all);
	draft_info(a, &i);
	same = spool_draft(s, i.id);
	assert_ptr_equal(same, a);
	draft_unref(same);
	assert_null(spool_draft(s, 12345));
	spool_owed(s, &n, &bytes, &refused);
	assert_true(n == 2 && bytes == 10 && refused == 0);
	assert_int_equal(spool_write_json(s, NULL, NULL, &text), 0);
	assert_int_equal(json_parse(text.data, text.len, &j), 0);
	assert_true(json_is_array(j));
	assert_string_equal(json_text(json_get(json_first(j), "name")), "a \"quoted\"");
	assert_string_equal(json_text(json_get(json_first(j), "directory")), "dir/1");
	assert_string_equal(json_text(json_get(json_first(j), "state")), "draft");
	assert_true(json_is_null(json_get(json_first(j), "error")) && json_is_string(json_get(json_first(j), "since")));
	json_free(j);
	buf_done(&text);
	draft_unref(a);
	draft_unref(b);
	spool_free(s);
}

static void a_name_that_never_leaves_ends_with_the_process(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "._a.dat", 1, 10);
	unsigned n, refused;
	uint64_t bytes;

	draft_due(d, true);
	spool_release_held(s);
	assert_int_equal(state_of(d), DRAFT_HELD);
	assert_int_equal(draft_wait(d, 60000, NULL), 0);
	spool_owed(s, &n, &bytes, &refused);
	assert_int_equal(n, 0);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	draft_unref(d);
	spool_free(s);
	s = spool_in(w);
	assert_int_equal(files_in(s->drafts_dir), 0);
	assert_int_equal(SEEN(w, uploads), 0);
	spool_free(s);
}

static void a_dropped_one_can_still_be_written_and_leaves_nothing(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 100);
	struct object landed = {0};
	char got[4];
	size_t n;

	assert_int_equal(draft_drop(d, &landed, NULL), 0);
	assert_int_equal(state_of(d), DRAFT_DROPPED);
	assert_int_equal(draft_begin(d, NULL), 0);
	assert_int_equal(draft_write(d, "abc", 3, 0), 0);
	assert_int_equal(draft_read(d, got, 3, 0, &n), 0);
	assert_memory_equal(got, "abc", 3);
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_int_equal(state_of(d), DRAFT_DROPPED);
	assert_int_equal(draft_drop(d, &landed, NULL), 0);
	draft_unref(d);
	WAIT_FOR(files_in(s->drafts_dir) == 0);
	assert_int_equal(spool_room(s) > 0, 1);
	assert_int_equal(SEEN(w, uploads), 0);
	spool_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_holds_what_was_written_and_knows_what_is_missing, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(committing_waits_until_nothing_is_missing, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(holes_and_data_are_told_apart, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(many_drafts_share_few_open_files, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(a_small_one_costs_one_file_and_one_transaction, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(a_small_one_that_grows_moves_into_a_file, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(so_many_side_files_are_kept_and_no_more, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(memory_for_small_ones_has_an_end, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(what_can_never_fit_is_said_at_once, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(a_write_waits_while_the_queue_moves, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_is_enospc_and_loses_nothing, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(no_file_is_larger_than_a_repository_can_hold, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(what_did_not_change_costs_nothing, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(committing_at_once_is_one_transaction, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(it_shows_what_it_is, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(lists_are_of_one_directory_or_of_all, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(a_name_that_never_leaves_ends_with_the_process, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(a_dropped_one_can_still_be_written_and_leaves_nothing, world_setup, world_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
