/* The uploader: when a draft goes, what becomes of it, and who may stop it. */
#include "spool-world.h"

#include <sqlite3.h>

static void what_was_closed_is_at_the_server(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *small = written(s, "a.dat", 1, 1000), *large = written(s, "b.dat", 2, 200000), *empty = written(s, "c.dat", 3, 0);
	struct object o = {0};
	struct kept_attr k;
	struct draft_info i;

	assert_int_equal(draft_set_mtime(small, (struct timespec){12345, 678}), 0);
	assert_int_equal(draft_set_mode(small, S_IFREG | 0600), 0);
	draft_due(small, false);
	draft_due(large, true);
	draft_due(empty, false);
	assert_int_equal(draft_wait(small, 60000, NULL), 0);
	assert_int_equal(draft_wait(large, 60000, NULL), 0);
	assert_int_equal(draft_wait(empty, 60000, NULL), 0);
	assert_true(comes_to(small, DRAFT_DONE) && comes_to(large, DRAFT_DONE) && comes_to(empty, DRAFT_DONE));
	assert_true(server_has(w, "a.dat", 1, 1000) && server_has(w, "b.dat", 2, 200000) && server_has(w, "c.dat", 3, 0));
	/* The hook came first, when what is kept could be seen and nobody could see the state. */
	assert_int_equal(SEEN(w, landed), 3);
	assert_int_equal(SEEN(w, state_when_landed), DRAFT_UPLOADING);
	assert_true(SEEN(w, kept_when_landed));
	assert_true(str_starts(w->last_digest, "sha512:") && strlen(w->last_digest) == 7 + 128);
	draft_info(small, &i);
	assert_true(i.committed && !i.dirty && i.sent == 1000);
	assert_int_equal(draft_base(small, &o), 0);
	assert_int_equal(kept_get(s, o.id, &k), 1);
	assert_true(k.ino == 77 && k.mtime.tv_sec == 12345 && k.mtime.tv_nsec == 678 && k.mode == (S_IFREG | 0600));
	assert_string_equal(k.version, o.version);
	assert_true(str_starts(k.digest, "sha512:"));
	kept_attr_done(&k);
	object_done(&o);
	assert_false(journal_has(s->journal, i.id));
	draft_unref(small);
	draft_unref(large);
	draft_unref(empty);
	WAIT_FOR(files_in(s->drafts_dir) == 0);
	spool_free(s);
}

static void it_rests_a_quiet_second_first(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s;
	struct draft *d, *other;

	c.quiet_ms = 3600000;
	s = open_with(w, &c);
	start(w, s);
	d = written(s, "a", 1, 10);
	draft_due(d, false);
	assert_int_equal(state_of(d), DRAFT_QUEUED);
	other = written(s, "b", 2, 10);
	draft_due(other, true);
	assert_true(comes_to(other, DRAFT_DONE));
	assert_int_equal(state_of(d), DRAFT_QUEUED);
	/* A clock that goes back a little changes nothing; an hour later it is sent. */
	clock_turn(-1000);
	spool_wake(s);
	pause_ms(20);
	assert_int_equal(state_of(d), DRAFT_QUEUED);
	clock_turn(1000 + 3600000 + 1000);
	spool_wake(s);
	assert_true(comes_to(d, DRAFT_DONE));
	clock_turn(-3601000);
	draft_unref(d);
	draft_unref(other);
	spool_free(s);
}

static void a_written_one_is_not_sent_before_it_is_due(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10);

	assert_int_equal(draft_write(d, "x", 1, 0), 0);
	draft_due(d, true);             /* dirty: its next commit comes first */
	pause_ms(20);
	assert_int_equal(state_of(d), DRAFT_OPEN);
	assert_int_equal(SEEN(w, uploads), 0);
	assert_int_equal(draft_wait(d, 10, NULL), -ETIMEDOUT);
	assert_int_equal(draft_wait(d, 60000, &(int){1}), -EINTR);
	draft_unref(d);
	spool_free(s);
}

static void a_held_name_waits_for_its_real_one(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, ".a.dat.Xy12Zq", 1, 10), *e = written(s, "b~", 2, 10);
	struct object landed = {0};

	draft_due(d, false);
	draft_due(e, false);
	assert_int_equal(state_of(d), DRAFT_HELD);
	assert_int_equal(draft_wait(d, 60000, NULL), 0);
	assert_int_equal(draft_retarget(d, &the_dir, "a.dat", NULL, &landed, NULL), 0);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_has(w, "a.dat", 1, 10));
	assert_int_equal(state_of(e), DRAFT_HELD);
	spool_release_held(s);
	assert_true(comes_to(e, DRAFT_DONE));
	assert_true(server_has(w, "b~", 2, 10));
	draft_unref(d);
	draft_unref(e);
	spool_free(s);
}

static void at_most_so_many_at_once(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s;
	struct draft *d[12];
	char name[16];

	c.parallel = 3;
	s = open_with(w, &c);
	start(w, s);
	SET(w, stalled, true);
	for (unsigned i = 0; i < COUNT(d); i++) {
		snprintf(name, sizeof(name), "%u", i);
		d[i] = written(s, name, i, 10);
		draft_due(d[i], true);
	}
	WAIT_FOR(SEEN(w, running) == 3);
	pause_ms(20);
	assert_int_equal(SEEN(w, running), 3);
	/* In the order in which they became due. */
	for (unsigned i = 0; i < COUNT(d); i++)
		assert_int_equal(state_of(d[i]), i < 3 ? DRAFT_UPLOADING : DRAFT_QUEUED);
	SET(w, stalled, false);
	for (unsigned i = 0; i < COUNT(d); i++) {
		assert_true(comes_to(d[i], DRAFT_DONE));
		draft_unref(d[i]);
	}
	assert_int_equal(SEEN(w, most_running), 3);
	spool_free(s);
}

static void one_lane_is_one_after_the_other(void **state)
{
	struct world *w = *state;
	struct spool *s;
	struct draft *d[6], *other = NULL;
	char name[16];

	w->lanes = true;
	s = spool_in(w);
	SET(w, stalled, true);
	for (unsigned i = 0; i < COUNT(d); i++) {
		snprintf(name, sizeof(name), "%u", i);
		d[i] = written(s, name, i, 10);
		draft_due(d[i], true);
	}
	assert_int_equal(draft_new(s, &other_dir, "other", NULL, 1, &other), 0);
	assert_int_equal(draft_commit(other), 0);
	draft_due(other, true);
	WAIT_FOR(SEEN(w, running) == 2);
	pause_ms(20);
	assert_int_equal(SEEN(w, running), 2);
	assert_true(comes_to(other, DRAFT_UPLOADING));
	/* One that waits may be taken out of the lane, and a place before it may fall vacant. */
	assert_int_equal(draft_begin(d[1], NULL), 0);
	assert_int_equal(draft_begin(d[0], NULL), 0);
	assert_true(comes_to(d[2], DRAFT_UPLOADING));
	SET(w, stalled, false);
	draft_due(d[0], true);
	draft_due(d[1], true);
	for (unsigned i = 0; i < COUNT(d); i++) {
		assert_true(comes_to(d[i], DRAFT_DONE));
		draft_unref(d[i]);
	}
	assert_true(comes_to(other, DRAFT_DONE));
	assert_int_equal(SEEN(w, most_running), 2);
	draft_unref(other);
	spool_free(s);
}

static void small_ones_of_a_lane_go_together(void **state)
{
	struct world *w = *state;
	struct spool *s;
	struct draft *d[11];
	char name[16];

	w->lanes = true;
	w->session.policy.upload_batch = 4;
	w->session.policy.upload_batch_bytes = 8000;
	s = spool_in(w);
	SET(w, stalled, true);
	for (unsigned i = 0; i < COUNT(d); i++) {
		snprintf(name, sizeof(name), "%u", i);
		d[i] = written(s, name, i, i == 6 ? 5000 : 10);         /* one is too large to go along */
		draft_due(d[i], true);
		if (i == 0)
			WAIT_FOR(SEEN(w, running) == 1);
	}
	/* Whoever is written again leaves its place. */
	assert_int_equal(draft_begin(d[2], NULL), 0);
	draft_due(d[2], true);
	SET(w, refuse_name, "3");
	SET(w, stalled, false);
	for (unsigned i = 0; i < COUNT(d); i++)
		assert_true(comes_to(d[i], i == 3 ? DRAFT_REFUSED : DRAFT_DONE));
	assert_int_equal(SEEN(w, most_running), 1);
	assert_int_equal(SEEN(w, most_together), 4);
	assert_true(SEEN(w, batches) >= 2 && SEEN(w, batches) <= 4);
	for (unsigned i = 0; i < COUNT(d); i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_true(server_has(w, name, i, i == 6 ? 5000 : 10) == (i != 3));
	}
	SET(w, refuse_name, NULL);
	assert_int_equal(draft_retry(d[3]), 0);
	for (unsigned i = 0; i < COUNT(d); i++) {
		assert_true(comes_to(d[i], DRAFT_DONE));
		draft_unref(d[i]);
	}
	assert_int_equal(SEEN(w, uploads), 11);
	spool_free(s);
}

static struct spool *in_batches(struct world *w, unsigned most)
{
	w->lanes = true;
	w->session.policy.upload_batch = most;
	w->session.policy.upload_batch_bytes = 80000;
	return spool_in(w);
}

/* n drafts that will be due one after the other; when the first is. */
static uint64_t one_after_the_other(struct spool *s, struct draft *d[], unsigned n, unsigned apart_ms)
{
	static unsigned salt;
	uint64_t at = clock_mono_ms() + 3600000;
	char name[16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%u", ++salt);
		d[i] = written(s, name, salt, 10);
		WITH_LOCK(&d[i]->lock)
			draft_update_lane(d[i]);
		WITH_LOCK(&s->lock)
			draft_queue_locked(d[i], DRAFT_QUEUED, at + i * apart_ms);
	}
	return at;
}

static void turn_to(struct spool *s, uint64_t at)
{
	clock_turn((int64_t)(at - clock_mono_ms()));
	spool_wake(s);
}

static void all_land(struct draft *d[], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		assert_true(comes_to(d[i], DRAFT_DONE));
		draft_unref(d[i]);
	}
}

static void small_ones_that_come_within_a_moment_go_together(void **state)
{
	struct world *w = *state;
	struct spool *s = in_batches(w, 80);
	struct draft *d[6];

	turn_to(s, one_after_the_other(s, d, COUNT(d), 50));
	all_land(d, COUNT(d));
	assert_int_equal(SEEN(w, batches), 1);
	assert_int_equal(SEEN(w, most_together), 6);
	spool_free(s);
}

static void small_ones_that_come_in_turn_fill_their_batches(void **state)
{
	struct world *w = *state;
	struct spool *s = in_batches(w, 4);
	struct draft *d[8];

	turn_to(s, one_after_the_other(s, d, COUNT(d), 30));
	all_land(d, COUNT(d));
	assert_int_equal(SEEN(w, batches), 2);
	assert_int_equal(SEEN(w, most_together), 4);
	spool_free(s);
}

static void a_batch_waits_for_the_disk_a_few_times_and_not_for_each(void **state)
{
	struct world *w = *state;
	struct spool *s = in_batches(w, 80);
	struct draft *d[60];
	uint64_t before, at;

	w->note_together = true;
	at = one_after_the_other(s, d, COUNT(d), 0);
	before = journal_commits(s->journal);
	turn_to(s, at);
	all_land(d, COUNT(d));
	assert_int_equal(SEEN(w, most_together), COUNT(d));
	assert_int_equal(SEEN(w, noted_to), 0);
	assert_in_range(journal_commits(s->journal) - before, 2, 3);
	for (unsigned i = 0; i < COUNT(d); i++) {
		struct kept_attr k;
		char id[16];

		snprintf(id, sizeof(id), "file/%u", i + 1);
		assert_int_equal(kept_get(s, id, &k), 1);
		assert_true(k.ino == 77 && k.digest[0]);
		kept_attr_done(&k);
	}
	spool_free(s);
}

static void the_next_of_a_lane_does_not_wait_for_the_disk(void **state)
{
	struct world *w = *state;
	struct spool *s = in_batches(w, 2);
	struct draft *d[4];
	struct draft_info i;
	char *path = NULL;
	sqlite3 *db;

	SET(w, stalled, true);
	turn_to(s, one_after_the_other(s, d, COUNT(d), 0));
	WAIT_FOR(SEEN(w, running) == 1);
	assert_int_equal(str_fmt(&path, "%s/journal.db", s->dir), 0);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	free(path);
	assert_int_equal(sqlite3_busy_timeout(db, PATIENCE_S * 1000), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	SET(w, stalled, false);
	WAIT_FOR(SEEN(w, uploads) == COUNT(d));
	assert_int_equal(SEEN(w, most_running), 1);
	assert_int_equal(SEEN(w, landed), 0);
	draft_info(d[0], &i);
	assert_true(i.state == DRAFT_UPLOADING && i.attempts == 1);
	assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	all_land(d, COUNT(d));
	spool_free(s);
}

/* In a batch too, what is set of one while the others land is at the server in the end. */
static void of_a_batch_each_goes_on_by_itself(void **state)
{
	struct world *w = *state;
	struct spool *s = in_batches(w, 80);
	struct draft *d[4];
	uint64_t at = one_after_the_other(s, d, COUNT(d), 0);
	struct kept_attr k;
	struct thing *t;

	w->note_together = true;
	assert_int_equal(draft_set_attr(d[1], "x", "1", 1), 0);
	assert_int_equal(draft_set_mode(d[2], S_IFREG | 0600), 0);
	turn_to(s, at);
	for (unsigned i = 0; i < COUNT(d); i++)
		assert_true(comes_to(d[i], DRAFT_DONE));
	assert_int_equal(SEEN(w, batches), 1);
	assert_int_equal(SEEN(w, attrs_calls), 1);
	WITH_LOCK(&w->lock) {
		t = &w->things[1];
		assert_string_equal(t->attrs, "x=1;");
	}
	assert_int_equal(kept_get(s, "file/3", &k), 1);
	assert_int_equal(k.mode, S_IFREG | 0600);
	kept_attr_done(&k);
	all_land(d, COUNT(d));
	spool_free(s);
}

static void a_single_small_one_does_not_wait(void **state)
{
	struct world *w = *state;
	struct spool *s = in_batches(w, 80);
	struct draft *d[2];
	uint64_t at, took = UINT64_MAX;

	/* A slow machine may take its time once. */
	for (unsigned i = 0; i < 50 && took >= 250; i++) {
		at = one_after_the_other(s, d, 2, 1000000);
		turn_to(s, at);
		assert_true(comes_to(d[0], DRAFT_DONE));
		took = clock_mono_ms() - at;
		turn_to(s, at + 1000000);
		all_land(d, 2);
	}
	assert_true(took < 250);
	assert_int_equal(SEEN(w, batches), 0);
	spool_free(s);
}

static bool is_not_never(const struct draft *d)
{
	return d->due_at != NEVER;
}

static void what_somebody_waits_for_does_not_wait_for_others(void **state)
{
	struct world *w = *state;
	struct spool *s = in_batches(w, 80);
	struct draft *d[2];

	for (unsigned sync = 0; sync < 2; sync++) {
		unsigned batches = 0, i = 0;

		/* It goes alone, unless the machine takes longer than until the other one is due. */
		do {
			batches = SEEN(w, batches);
			(void)one_after_the_other(s, d, 2, 0);
			WITH_LOCK(&s->lock) {
				draft_queue_locked(d[1], DRAFT_HELD, NEVER);
				if (sync)
					draft_release_locked(s, is_not_never);
				draft_queue_locked(d[1], DRAFT_QUEUED, clock_mono_ms() + 250);
			}
			if (!sync)
				draft_due(d[0], true);
			all_land(d, 2);
		} while (SEEN(w, batches) > batches && ++i < 50);
		assert_int_equal(SEEN(w, batches), batches);
	}
	spool_free(s);
}

/* ---- failures ---- */

static void a_passing_failure_is_tried_again(void **state)
{
	static const int passing[] = {-ECONNRESET, -EHOSTDOWN, -ETIMEDOUT, -EAGAIN, -EIO, -EBUSY, -EINTR};
	struct world *w = *state;
	struct spool *s = spool_in(w);
	char name[16];

	for (unsigned i = 0; i < COUNT(passing); i++) {
		struct draft *d;

		SET(w, refuse, passing[i]);
		SET(w, refuse_times, 3);
		snprintf(name, sizeof(name), "%u", i);
		d = written(s, name, i, 10);
		draft_due(d, true);
		assert_int_equal(draft_wait(d, 60000, NULL), 0);
		assert_true(server_has(w, name, i, 10));
		assert_true(SEEN(w, last_again));
		draft_unref(d);
	}
	assert_int_equal(SEEN(w, uploads), 4 * COUNT(passing));
	spool_free(s);
}

static void waiting_for_a_silent_server_ends_with_its_error(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d;
	struct draft_info i;
	char *why = NULL;

	SET(w, refuse, -EHOSTDOWN);
	SET(w, refuse_times, -1);
	d = written(s, "a", 1, 10);
	draft_due(d, true);
	assert_int_equal(draft_wait(d, 50, NULL), -EHOSTDOWN);
	draft_info(d, &i);
	assert_true(i.error == -EHOSTDOWN && i.attempts > 0);
	assert_true(i.state == DRAFT_QUEUED || i.state == DRAFT_UPLOADING);
	assert_int_equal(draft_why(d, &why), 0);
	assert_string_equal(why, "the server's words");
	free(why);
	SET(w, refuse_times, 0);
	assert_true(comes_to(d, DRAFT_DONE));
	draft_info(d, &i);
	assert_int_equal(i.error, 0);
	draft_unref(d);
	spool_free(s);
}

static void a_host_that_is_back_ends_all_pauses(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s;
	struct draft *d;

	c.retry_ms = c.retry_max_ms = 3600000;
	s = open_with(w, &c);
	start(w, s);
	SET(w, refuse, -EHOSTDOWN);
	SET(w, refuse_times, 1);
	d = written(s, "a", 1, 10);
	draft_due(d, true);
	WAIT_FOR(SEEN(w, uploads) == 1 && state_of(d) == DRAFT_QUEUED);
	pause_ms(20);
	assert_int_equal(SEEN(w, uploads), 1);
	spool_wake(s);
	assert_true(comes_to(d, DRAFT_DONE));
	draft_unref(d);
	spool_free(s);
}

static void a_silent_server_is_not_asked_once_for_each(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s;
	struct draft *d[20], *urgent;
	char name[16];

	c.parallel = 2;
	c.retry_ms = c.retry_max_ms = 3600000;
	s = open_with(w, &c);
	SET(w, refuse, -EHOSTDOWN);
	SET(w, refuse_times, -1);
	for (unsigned i = 0; i < COUNT(d); i++) {
		snprintf(name, sizeof(name), "%u", i);
		d[i] = written(s, name, i, 10);
		draft_due(d[i], false);
	}
	start(w, s);
	WAIT_FOR(SEEN(w, uploads) > 0 && SEEN(w, running) == 0);
	pause_ms(30);
	assert_in_range(SEEN(w, uploads), 1, 2);
	/* But at once for who waits for it. */
	urgent = written(s, "urgent", 1, 10);
	draft_due(urgent, true);
	assert_int_equal(draft_wait(urgent, 1, NULL), -EHOSTDOWN);
	assert_in_range(SEEN(w, uploads), 2, 3);
	SET(w, refuse_times, 0);
	spool_wake(s);
	for (unsigned i = 0; i < COUNT(d); i++) {
		assert_true(comes_to(d[i], DRAFT_DONE));
		draft_unref(d[i]);
	}
	assert_true(comes_to(urgent, DRAFT_DONE));
	draft_unref(urgent);
	spool_free(s);
}

static void a_refusal_is_shown_and_kept_until_the_user_decides(void **state)
{
	static const int refusals[] = {-EACCES, -EDQUOT, -EINVAL, -ENOENT, -EFBIG, -ENOSPC};
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d[COUNT(refusals)];
	unsigned n, refused;
	uint64_t bytes;
	char name[16], *why = NULL;

	for (unsigned i = 0; i < COUNT(d); i++) {
		SET(w, refuse, refusals[i]);
		SET(w, refuse_times, 1);
		snprintf(name, sizeof(name), "%u", i);
		d[i] = written(s, name, i, 10);
		draft_due(d[i], true);
		assert_int_equal(draft_wait(d[i], 60000, NULL), refusals[i]);
		assert_true(comes_to(d[i], DRAFT_REFUSED));
		draft_due(d[i], true);
		assert_int_equal(state_of(d[i]), DRAFT_REFUSED);
	}
	assert_int_equal(draft_why(d[0], &why), 0);
	assert_string_equal(why, "the server's words");
	free(why);
	spool_owed(s, &n, &bytes, &refused);
	assert_true(n == COUNT(d) && refused == COUNT(d) && bytes == 10 * COUNT(d));
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_int_equal(SEEN(w, uploads), COUNT(d));
	/* Again; given up; written anew. */
	assert_int_equal(draft_retry(d[0]), 0);
	assert_true(comes_to(d[0], DRAFT_DONE));
	assert_true(server_has(w, "0", 0, 10));
	assert_int_equal(draft_retry(d[0]), -EINVAL);
	assert_int_equal(draft_give_up(d[1], NULL), 0);
	assert_int_equal(state_of(d[1]), DRAFT_DROPPED);
	assert_int_equal(draft_begin(d[2], NULL), 0);
	assert_int_equal(draft_write(d[2], "x", 1, 10), 0);
	assert_int_equal(draft_commit(d[2]), 0);
	draft_due(d[2], true);
	assert_true(comes_to(d[2], DRAFT_DONE));
	spool_owed(s, &n, &bytes, &refused);
	assert_true(n == COUNT(d) - 3 && refused == COUNT(d) - 3);
	for (unsigned i = 0; i < COUNT(d); i++)
		draft_unref(d[i]);
	spool_free(s);
	assert_null(find_thing(w, the_dir.id, "1", NULL));
}

static void somebody_elses_change_is_not_overwritten(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct object base;
	struct draft *d, *e;
	char *name = NULL;

	put_thing(w, the_dir.id, "a.dat", "old", 3);
	put_thing(w, the_dir.id, "b", "theirs", 6);
	tell(w, find_thing(w, the_dir.id, "a.dat", NULL), &base);
	d = new_draft(s, "a.dat", &base);
	put_thing(w, the_dir.id, "a.dat", "theirs", 6);
	assert_int_equal(draft_write(d, "ours", 4, 0), 0);
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_int_equal(draft_wait(d, 60000, NULL), -EBUSY);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(SEEN(w, conflicts), 1);
	assert_string_equal(w->conflict_of, "a.dat");
	assert_int_equal(draft_name(d, &name), 0);
	assert_true(str_starts(name, "a.conflict-") && str_ends(name, ".dat"));
	WITH_LOCK(&w->lock) {
		assert_int_equal(find_thing(w, the_dir.id, "a.dat", NULL)->size, 6);
		assert_int_equal(find_thing(w, the_dir.id, name, NULL)->size, 4);
	}
	/* A new thing whose name is taken. */
	e = written(s, "b", 1, 10);
	draft_due(e, true);
	assert_int_equal(draft_wait(e, 60000, NULL), -EBUSY);
	assert_true(comes_to(e, DRAFT_DONE));
	assert_false(server_has(w, "b", 1, 10));
	/* What is written of it after that goes over what it became. */
	assert_int_equal(draft_begin(d, NULL), 0);
	assert_int_equal(draft_write(d, "more", 4, 4), 0);
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_int_equal(draft_wait(d, 60000, NULL), 0);
	WITH_LOCK(&w->lock)
		assert_int_equal(find_thing(w, the_dir.id, name, NULL)->size, 8);
	free(name);
	object_done(&base);
	draft_unref(d);
	draft_unref(e);
	spool_free(s);
}

static void a_copy_beside_that_is_tried_again_is_still_one(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d;

	put_thing(w, the_dir.id, "a", "theirs", 6);
	/* Taken, then nothing comes back. */
	w->fail_aside = 2;
	d = written(s, "a", 1, 10);
	draft_due(d, true);
	assert_int_equal(draft_wait(d, 60000, NULL), -EBUSY);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(SEEN(w, conflicts), 1);
	assert_int_equal(SEEN(w, uploads), 4);
	draft_unref(d);
	spool_free(s);
}

static void where_no_copy_can_be_made_the_conflict_stays(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d;
	unsigned n, refused;
	uint64_t bytes;

	put_thing(w, the_dir.id, "a", "theirs", 6);
	d = written(s, "a", 1, 10);
	SET(w, refuse, -EEXIST);
	SET(w, refuse_times, -1);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_CONFLICT));
	assert_int_equal(draft_wait(d, 60000, NULL), -EEXIST);
	spool_owed(s, &n, &bytes, &refused);
	assert_true(n == 1 && refused == 1);
	SET(w, refuse_times, 0);
	assert_int_equal(draft_retry(d), 0);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_false(server_has(w, "a", 1, 10));
	draft_unref(d);
	spool_free(s);
}

/* ---- what goes along ---- */

static void attributes_follow_the_content(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10), *gone = written(s, "b", 2, 10);

	assert_int_equal(draft_set_attr(d, "x", "1", 1), 0);
	assert_int_equal(draft_set_attr(d, "y", NULL, 0), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	WITH_LOCK(&w->lock)
		assert_string_equal(find_thing(w, the_dir.id, "a", NULL)->attrs, "x=1;y=(none);");
	assert_int_equal(draft_set_attr(d, "x", "2", 1), -ESTALE);
	/* What was to be removed and is not there is no refusal; what is to be set is set. */
	SET(w, attrs_error, -ENODATA);
	SET(w, attrs_times, 1);
	assert_int_equal(draft_set_attr(gone, "x", "1", 1), 0);
	assert_int_equal(draft_set_attr(gone, "y", NULL, 0), 0);
	draft_due(gone, true);
	assert_true(comes_to(gone, DRAFT_DONE));
	WITH_LOCK(&w->lock)
		assert_string_equal(find_thing(w, the_dir.id, "b", NULL)->attrs, "x=1;");
	draft_unref(d);
	draft_unref(gone);
	spool_free(s);
}

static size_t attrs_of(struct draft *d)
{
	struct attrs a = {0};
	size_t n;

	assert_int_equal(draft_attrs(d, &a), 0);
	n = a.list.n;
	attrs_done(&a);
	return n;
}

/* Whoever looks finds them in the draft until the object is told of that has them. */
static void attributes_are_shown_until_all_is_over(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10);

	SET(w, attrs_stalled, true);
	assert_int_equal(draft_set_attr(d, "x", "1", 1), 0);
	assert_int_equal(draft_set_attr(d, "y", "2", 1), 0);
	draft_due(d, true);
	WAIT_FOR(SEEN(w, attrs_calls) == 1);
	assert_int_equal(attrs_of(d), 2);
	/* What is set meanwhile follows alone. */
	assert_int_equal(draft_set_attr(d, "z", "3", 1), 0);
	SET(w, attrs_stalled, false);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(SEEN(w, attrs_when_landed), 3);
	assert_int_equal(attrs_of(d), 0);
	WITH_LOCK(&w->lock)
		assert_string_equal(find_thing(w, the_dir.id, "a", NULL)->attrs, "x=1;y=2;z=3;");
	/* A value that is set while it is on its way follows too, and what was set after it stands over it again. */
	draft_unref(d);
	d = written(s, "b", 1, 10);
	SET(w, attrs_stalled, true);
	assert_int_equal(draft_set_attr(d, "x", "1", 1), 0);
	assert_int_equal(draft_set_attr(d, "y", "2", 1), 0);
	draft_due(d, true);
	WAIT_FOR(SEEN(w, attrs_calls) == 3);
	assert_int_equal(draft_set_attr(d, "x", "9", 1), 0);
	SET(w, attrs_stalled, false);
	assert_true(comes_to(d, DRAFT_DONE));
	WITH_LOCK(&w->lock)
		assert_string_equal(find_thing(w, the_dir.id, "b", NULL)->attrs, "x=1;y=2;y=2;x=9;");
	draft_unref(d);
	spool_free(s);
}

static void a_time_that_was_set_goes_along(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s;
	struct draft *d;
	struct object base;

	c.mtime_meta = true;
	s = open_with(w, &c);
	start(w, s);
	/* One request, with the attributes or alone; a time that a write leaves is none that was set. */
	d = written(s, "a", 1, 10);
	assert_int_equal(draft_set_attr(d, "x", "1", 1), 0);
	assert_int_equal(draft_set_mtime(d, (struct timespec){5, 6}), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(SEEN(w, attrs_calls), 1);
	WITH_LOCK(&w->lock)
		assert_string_equal(find_thing(w, the_dir.id, "a", NULL)->attrs, "x=1;time=5.000000006 file/1 v1;");
	assert_int_equal(draft_base(d, &base), 0);
	assert_string_equal(base.set_time, "5.000000006 file/1 v1");
	object_done(&base);
	assert_int_equal(draft_set_mtime(d, (struct timespec){7, 0}), 1);       /* now it is the caller's */
	draft_unref(d);
	d = written(s, "b", 2, 10);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(SEEN(w, attrs_calls), 1);
	draft_unref(d);
	/* Set while another one is on its way. */
	d = written(s, "c", 3, 10);
	assert_int_equal(draft_set_mtime(d, (struct timespec){1, 0}), 0);
	SET(w, attrs_stalled, true);
	draft_due(d, true);
	WAIT_FOR(SEEN(w, attrs_calls) == 2);
	assert_int_equal(draft_set_mtime(d, (struct timespec){2, 0}), 0);
	SET(w, attrs_stalled, false);
	assert_true(comes_to(d, DRAFT_DONE));
	WITH_LOCK(&w->lock)
		assert_string_equal(find_thing(w, the_dir.id, "c", NULL)->attrs, "time=1.000000000 file/3 v1;time=2.000000000 file/3 v1;");
	draft_unref(d);
	/* No answer: again. A refusal of nothing but the time is not one of the file. */
	SET(w, attrs_error, -ETIMEDOUT);
	SET(w, attrs_times, 2);
	d = written(s, "d", 4, 10);
	assert_int_equal(draft_set_mtime(d, (struct timespec){3, 0}), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	WITH_LOCK(&w->lock)
		assert_string_equal(find_thing(w, the_dir.id, "d", NULL)->attrs, "time=3.000000000 file/4 v1;");
	draft_unref(d);
	SET(w, attrs_error, -EACCES);
	SET(w, attrs_times, -1);
	d = written(s, "e", 5, 10);
	assert_int_equal(draft_set_mtime(d, (struct timespec){4, 0}), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_has(w, "e", 5, 10));
	draft_unref(d);
	spool_free(s);
}

static void refused_attributes_do_not_send_the_content_again(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10), *e;
	struct object landed = {0};

	SET(w, attrs_error, -EINVAL);
	SET(w, attrs_times, 2);
	assert_int_equal(draft_set_attr(d, "x", "1", 1), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_REFUSED));
	assert_true(server_has(w, "a", 1, 10));
	assert_int_equal(draft_retry(d), 0);
	WAIT_FOR(SEEN(w, attrs_calls) == 2 && state_of(d) == DRAFT_REFUSED);
	assert_int_equal(draft_retry(d), 0);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(SEEN(w, uploads), 1);
	draft_unref(d);
	/* Given up: the content stays, and it goes without. Dropped: the caller learns what is there. */
	SET(w, attrs_times, -1);
	e = written(s, "b", 2, 10);
	d = written(s, "c", 3, 10);
	assert_int_equal(draft_set_attr(e, "x", "1", 1), 0);
	assert_int_equal(draft_set_attr(d, "x", "1", 1), 0);
	draft_due(e, true);
	draft_due(d, true);
	assert_true(comes_to(e, DRAFT_REFUSED) && comes_to(d, DRAFT_REFUSED));
	assert_int_equal(draft_give_up(e, NULL), 0);
	assert_true(comes_to(e, DRAFT_DONE));
	assert_int_equal(draft_drop(d, &landed, NULL), 1);
	assert_string_equal(landed.name, "c");
	object_done(&landed);
	assert_int_equal(SEEN(w, uploads), 3);
	draft_unref(e);
	draft_unref(d);
	spool_free(s);
}

static void put(struct draft *d, const char *text, uint64_t at)
{
	assert_int_equal(draft_write(d, text, strlen(text), at), 0);
}

static bool server_says(struct world *w, const char *name, const char *text)
{
	bool yes = false;

	WITH_LOCK(&w->lock) {
		struct thing *t = find_thing(w, the_dir.id, name, NULL);

		yes = t && t->size == strlen(text) && memcmp(t->bytes, text, t->size) == 0;
	}
	return yes;
}

/* What stays open is sent as a copy, and written meanwhile. */
static void a_copy_of_what_stays_open_is_sent(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = new_draft(s, "a", NULL);
	struct object base;
	size_t got;
	char text[32] = "";

	put(d, "one", 0);
	assert_int_equal(draft_commit(d), 0);
	SET(w, stalled, true);
	draft_due_open(d);
	WAIT_FOR(SEEN(w, uploads) == 1);
	assert_int_equal(state_of(d), DRAFT_UPLOADING);
	put(d, "ONE and two", 0);
	assert_int_equal(state_of(d), DRAFT_UPLOADING);
	assert_int_equal(draft_commit(d), -EBUSY);
	SET(w, stalled, false);
	assert_true(comes_to(d, DRAFT_OPEN));
	assert_true(server_says(w, "a", "one"));
	assert_int_equal(draft_base(d, &base), 0);
	assert_string_equal(base.version, "v1");
	object_done(&base);
	/* What comes next goes over it. */
	put(d, ", three", 11);
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_says(w, "a", "ONE and two, three"));
	assert_int_equal(SEEN(w, conflicts), 0);
	/* Not written meanwhile, it is DONE, and may be written again. */
	put(d, "!", 18);
	assert_int_equal(draft_commit(d), 0);
	draft_due_open(d);
	assert_true(comes_to(d, DRAFT_DONE));
	put(d, "?", 19);
	assert_int_equal(state_of(d), DRAFT_OPEN);
	/* Stopped: nothing is lost, and nothing is sent that was not committed. */
	assert_int_equal(draft_commit(d), 0);
	SET(w, stalled, true);
	draft_due_open(d);
	WAIT_FOR(SEEN(w, uploads) == 4);
	put(d, "#", 20);
	assert_int_equal(draft_begin(d, NULL), 0);
	assert_int_equal(state_of(d), DRAFT_OPEN);
	SET(w, stalled, false);
	pause_ms(50);
	assert_true(server_says(w, "a", "ONE and two, three!"));
	/* It fails, and was written meanwhile: the writer goes on. */
	assert_int_equal(draft_commit(d), 0);
	SET(w, stalled, true);
	SET(w, refuse, -EACCES);
	SET(w, refuse_times, 1);
	draft_due_open(d);
	WAIT_FOR(SEEN(w, uploads) == 5);
	put(d, "+", 21);
	SET(w, stalled, false);
	assert_true(comes_to(d, DRAFT_OPEN));
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_says(w, "a", "ONE and two, three!?#+"));
	assert_int_equal(draft_read(d, text, sizeof(text) - 1, 0, &got), 0);
	assert_string_equal(text, "ONE and two, three!?#+");
	draft_unref(d);
	spool_free(s);
}

/* There is no room for a copy: it goes when it is closed, which takes none. */
static void what_has_no_room_for_a_copy_is_sent_when_it_is_closed(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s;
	struct draft *d;
	struct draft_info i;
	size_t n = 300000;

	c.limit = 500000;
	s = open_with(w, &c);
	start(w, s);
	d = written(s, "a", 1, n);
	draft_due_open(d);
	WAIT_FOR((draft_info(d, &i), i.attempts > 1));
	assert_int_equal(SEEN(w, uploads), 0);
	draft_due(d, false);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_has(w, "a", 1, n));
	draft_unref(d);
	spool_free(s);
}

/* Also where the copy has landed and what goes along has not: what was written meanwhile is not taken for that. */
static void a_copy_that_lacks_its_attributes_is_no_whole_file(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = new_draft(s, "a", NULL);

	put(d, "one", 0);
	assert_int_equal(draft_set_attr(d, "x", "1", 1), 0);
	assert_int_equal(draft_commit(d), 0);
	SET(w, attrs_error, -EINVAL);
	SET(w, attrs_times, 1);
	SET(w, stalled, true);
	draft_due_open(d);
	WAIT_FOR(SEEN(w, uploads) == 1);
	put(d, "two", 0);
	SET(w, stalled, false);
	assert_true(comes_to(d, DRAFT_OPEN));
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_says(w, "a", "two"));
	WITH_LOCK(&w->lock)
		assert_string_equal(find_thing(w, the_dir.id, "a", NULL)->attrs, "x=1;");
	draft_unref(d);
	spool_free(s);
}

/* A crash sends what was committed, whatever of a copy had been noted. */
static void a_crash_while_a_copy_is_sent_loses_nothing(void **state)
{
	struct world *w = *state;
	struct spool *s;
	struct draft *d;
	size_t n = 3 * SMALL_MAX;

	w->chunk = SMALL_MAX;
	w->stall_at = 2;
	s = spool_in(w);
	d = written(s, "a", 1, n);
	draft_due_open(d);
	WAIT_FOR(SEEN(w, stalled));
	assert_true(find_thing(w, the_dir.id, "a", NULL) == NULL);
	draft_unref(d);
	crash(s);
	SET(w, stalled, false);
	s = spool_in(w);
	assert_int_equal(spool_drain(s, 20000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 1, n));
	assert_int_equal(SEEN(w, conflicts), 0);
	WITH_LOCK(&w->lock)
		assert_string_equal(w->last_progress, "");      /* there is no copy any more to go on with */
	spool_free(s);
}

static void unchanged_content_is_not_sent(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d;
	struct object base;
	struct kept_attr k;
	void *p = bytes_of(1, 1000);

	for (int turn = 0; turn < 2; turn++) {
		/* First the server's own digest says so, then the one that we have kept. */
		w->no_digest = turn;
		if (!turn)
			put_thing(w, the_dir.id, "a", p, 1000);
		tell(w, find_thing(w, the_dir.id, "a", NULL), &base);
		d = new_draft(s, "a", &base);
		assert_int_equal(draft_write(d, p, 1000, 0), 0);
		assert_int_equal(draft_set_mtime(d, (struct timespec){5 + turn, 0}), 0);
		assert_int_equal(draft_set_attr(d, "x", "1", 1), 0);
		assert_int_equal(draft_commit(d), 0);
		draft_due(d, true);
		assert_true(comes_to(d, DRAFT_DONE));
		assert_int_equal(SEEN(w, uploads), 0);
		assert_int_equal(SEEN(w, attrs_calls), turn + 1);
		assert_int_equal(kept_get(s, base.id, &k), 1);
		assert_int_equal(k.mtime.tv_sec, 5 + turn);
		kept_attr_done(&k);
		draft_unref(d);
		object_done(&base);
	}
	/* A change of one byte is sent. */
	tell(w, find_thing(w, the_dir.id, "a", NULL), &base);
	d = new_draft(s, "a", &base);
	assert_int_equal(draft_write(d, p, 1000, 0), 0);
	assert_int_equal(draft_write(d, "#", 1, 500), 0);
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(SEEN(w, uploads), 1);
	draft_unref(d);
	object_done(&base);
	free(p);
	spool_free(s);
}

static void digest_of(const void *p, size_t n, char ret[140])
{
	struct digest *d;
	char hex[DIGEST_HEX_MAX];

	assert_int_equal(digest_new("sha512", &d), 0);
	assert_int_equal(digest_add(d, p, n), 0);
	assert_int_equal(digest_hex(d, hex), 0);
	digest_free(d);
	snprintf(ret, 140, "sha512:%s", hex);
}

static bool has_digest(struct draft *d, const char *want)
{
	bool yes = false;

	WITH_LOCK(&d->lock)
		yes = strcmp(d->digest, want) == 0;
	return yes;
}

static void the_digest_is_that_of_what_is_sent(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	unsigned char *p = bytes_of(1, HASH_EARLY);
	struct draft *d = new_draft(s, "a", NULL);
	char want[140];

	/* It is made as soon as what was written is committed, */
	assert_int_equal(draft_write(d, p, HASH_EARLY, 0), 0);
	assert_int_equal(draft_commit(d), 0);
	digest_of(p, HASH_EARLY, want);
	WAIT_FOR(has_digest(d, want));
	/* and what is written while it is made, or behind that, makes it nought. */
	for (int i = 0; i < 4; i++) {
		p[100 + i]++;
		assert_int_equal(draft_write(d, p + 100, 10, 100), 0);
		assert_int_equal(draft_commit(d), 0);
	}
	digest_of(p, HASH_EARLY, want);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_string_equal(w->last_digest, want);
	/* One that ends while it is made leaves nothing behind. */
	assert_int_equal(draft_begin(d, NULL), 0);
	assert_int_equal(draft_write(d, "x", 1, 5), 0);
	assert_int_equal(draft_commit(d), 0);
	draft_unref(d);
	free(p);
	spool_free(s);
}

/* ---- chunks ---- */

static void it_goes_on_where_it_was_cut_off(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d;

	w->chunk = 1000;
	w->cut_after = 5;
	d = written(s, "a", 1, 10000);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_has(w, "a", 1, 10000));
	assert_int_equal(SEEN(w, uploads), 2);
	assert_int_equal(SEEN(w, bytes), 10000);        /* the one that was cut off had not come */
	assert_string_equal(w->last_progress, "4000");
	draft_unref(d);
	spool_free(s);
}

struct noted {
	uint64_t id;
	char progress[32];
	uint64_t sent;
};

static int look_for(void *arg, const struct row *r)
{
	struct noted *n = arg;

	if (r->id == n->id) {
		snprintf(n->progress, sizeof(n->progress), "%s", r->progress ? r->progress : "");
		n->sent = r->sent;
	}
	return 0;
}

static void what_was_noted_is_in_the_journal_before_it_is_sent(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct noted n = {0};
	struct draft_info i;
	struct draft *d;

	w->chunk = 1000;
	w->stall_at = 2;
	d = written(s, "a", 1, 3000);
	draft_info(d, &i);
	n.id = i.id;
	draft_due(d, true);
	WAIT_FOR(SEEN(w, stalled));
	assert_int_equal(SEEN(w, bytes), 1000);
	assert_int_equal(journal_rows(s->journal, look_for, &n), 0);
	assert_string_equal(n.progress, "1000");
	assert_int_equal(n.sent, 1000);
	draft_info(d, &i);
	assert_int_equal(i.sent, 1000);
	SET(w, stalled, false);
	assert_true(comes_to(d, DRAFT_DONE));
	draft_unref(d);
	spool_free(s);
}

static void after_a_change_no_progress_is_resumed(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s;
	struct noted n = {0};
	struct draft_info i;
	struct draft *d;

	c.retry_ms = c.retry_max_ms = 3600000;
	s = open_with(w, &c);
	start(w, s);
	w->chunk = 1000;
	w->cut_after = 3;
	d = written(s, "a", 1, 5000);
	draft_info(d, &i);
	n.id = i.id;
	draft_due(d, true);
	WAIT_FOR(SEEN(w, uploads) == 1 && state_of(d) == DRAFT_QUEUED);
	assert_int_equal(journal_rows(s->journal, look_for, &n), 0);
	assert_string_equal(n.progress, "2000");
	assert_int_equal(n.sent, 2000);
	assert_int_equal(draft_begin(d, NULL), 0);
	assert_int_equal(draft_write(d, "x", 1, 0), 0);
	assert_int_equal(journal_rows(s->journal, look_for, &n), 0);
	assert_string_equal(n.progress, "");
	WAIT_FOR(SEEN(w, drops) == 1);
	assert_string_equal(w->last_drop, "2000");
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_string_equal(w->last_progress, "");
	draft_unref(d);
	spool_free(s);
}

/* ---- stopping ---- */

static void a_write_stops_the_upload(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10);

	SET(w, stalled, true);
	draft_due(d, true);
	WAIT_FOR(SEEN(w, running) == 1);
	assert_true(draft_is_busy(d));
	assert_int_equal(draft_write(d, "x", 1, 0), -EBUSY);
	assert_int_equal(draft_truncate(d, 0), -EBUSY);
	assert_int_equal(draft_begin(d, NULL), 0);
	assert_int_equal(state_of(d), DRAFT_OPEN);
	assert_false(draft_is_busy(d));
	assert_int_equal(draft_truncate(d, 0), 0);
	assert_int_equal(draft_commit(d), 0);
	SET(w, stalled, false);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_has(w, "a", 1, 0));
	draft_unref(d);
	spool_free(s);
}

static void *let_it_land(void *arg)
{
	struct world *w = arg;

	pause_ms(30);
	SET(w, stalled, false);
	return NULL;
}

static void an_upload_that_lands_all_the_same_is_gone_on_from(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10);
	struct object base = {0}, landed = {0};
	pthread_t t;

	SET(w, deaf, true);
	SET(w, stalled, true);
	draft_due(d, true);
	WAIT_FOR(SEEN(w, running) == 1);
	assert_int_equal(draft_begin(d, &(int){1}), -EINTR);
	assert_int_equal(pthread_create(&t, NULL, let_it_land, w), 0);
	assert_int_equal(draft_begin(d, NULL), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(state_of(d), DRAFT_OPEN);
	assert_int_equal(SEEN(w, landed), 1);
	assert_int_equal(draft_base(d, &base), 0);
	assert_string_equal(base.version, "v1");
	object_done(&base);
	assert_int_equal(draft_write(d, "x", 1, 20), 0);
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_int_equal(draft_wait(d, 60000, NULL), 0);
	assert_int_equal(draft_base(d, &base), 0);
	assert_string_equal(base.version, "v2");
	assert_int_equal(base.size, 21);
	object_done(&base);
	/* Of one that has landed the caller sees to the rest. */
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(draft_retarget(d, &the_dir, "b", NULL, &landed, NULL), 1);
	assert_string_equal(landed.version, "v2");
	object_done(&landed);
	assert_int_equal(draft_drop(d, &landed, NULL), 1);
	assert_string_equal(landed.version, "v2");
	object_done(&landed);
	draft_unref(d);
	spool_free(s);
}

static void opened_again_and_not_written_it_stays_done(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10);
	struct drafts all;
	struct object base = {0};
	struct kept_attr k;

	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(draft_begin(d, NULL), 0);
	assert_int_equal(state_of(d), DRAFT_OPEN);
	assert_int_equal(draft_set_mtime(d, (struct timespec){99, 0}), 1);
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_int_equal(state_of(d), DRAFT_DONE);
	assert_int_equal(SEEN(w, uploads), 1);
	assert_int_equal(spool_drafts(s, NULL, &all), 0);
	assert_int_equal(all.list.n, 0);
	drafts_done(&all);
	/* The time that was set of it is kept all the same. */
	assert_int_equal(draft_base(d, &base), 0);
	assert_int_equal(kept_get(s, base.id, &k), 1);
	assert_int_equal(k.mtime.tv_sec, 99);
	kept_attr_done(&k);
	object_done(&base);
	draft_unref(d);
	spool_free(s);
}

static void a_rename_stops_the_upload_and_sends_it_there(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d;
	struct object landed = {0}, over;

	w->chunk = 1000;
	d = written(s, "a", 1, 3000);
	SET(w, stalled, true);
	draft_due(d, true);
	WAIT_FOR(SEEN(w, running) == 1);
	assert_int_equal(draft_retarget(d, &the_dir, "b", NULL, &landed, NULL), 0);
	SET(w, stalled, false);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_has(w, "b", 1, 3000));
	assert_string_equal(w->last_progress, "");
	assert_null(find_thing(w, the_dir.id, "a", NULL));
	draft_unref(d);
	/* Over a file that is there: it becomes its new content. */
	tell(w, find_thing(w, the_dir.id, "b", NULL), &over);
	d = written(s, "b.part", 2, 500);
	draft_due(d, false);
	assert_int_equal(draft_retarget(d, &the_dir, "b", &over, &landed, NULL), 0);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_true(server_has(w, "b", 2, 500));
	WITH_LOCK(&w->lock)
		assert_string_equal(find_thing(w, the_dir.id, "b", NULL)->id, over.id);
	object_done(&over);
	draft_unref(d);
	spool_free(s);
}

static void what_is_missing_cannot_go_over_another_base(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct object base = {.kind = OBJECT_FILE, .id = TEXT("file/1"), .name = TEXT("x"), .size = 10},
	              other = {.kind = OBJECT_FILE, .id = TEXT("file/2"), .name = TEXT("y"), .size = 10}, landed = {0};
	struct draft *d = new_draft(s, "x", &base);

	assert_int_equal(draft_write(d, "a", 1, 0), 0);
	assert_int_equal(draft_retarget(d, &the_dir, "y", &other, &landed, NULL), -EAGAIN);
	assert_int_equal(draft_retarget(d, &the_dir, "z", NULL, &landed, NULL), -EAGAIN);
	assert_int_equal(draft_retarget(d, &other_dir, "z", &base, &landed, NULL), 0);
	draft_unref(d);
	spool_free(s);
}

static void a_moved_directory_takes_along_what_is_owed_to_it(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10), *e = written(s, "b", 2, 10);
	struct object o = {0};

	SET(w, stalled, true);
	draft_due(d, true);
	WAIT_FOR(SEEN(w, running) == 1);
	assert_int_equal(spool_moved(s, "dir/1", &other_dir), 0);
	WAIT_FOR(SEEN(w, uploads) == 2);
	SET(w, stalled, false);
	draft_due(e, true);
	assert_true(comes_to(d, DRAFT_DONE) && comes_to(e, DRAFT_DONE));
	assert_int_equal(draft_dir(d, &o), 0);
	assert_string_equal(o.id, "dir/2");
	object_done(&o);
	WITH_LOCK(&w->lock) {
		assert_null(find_thing(w, "dir/1", "a", NULL));
		assert_non_null(find_thing(w, "dir/2", "a", NULL));
		assert_non_null(find_thing(w, "dir/2", "b", NULL));
	}
	draft_unref(d);
	draft_unref(e);
	spool_free(s);
}

static void a_copy_made_there_is_done_and_missing_here(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = new_draft(s, "copy", NULL), *used = written(s, "u", 1, 3);
	struct object o;
	struct range m;
	struct kept_attr k;
	char got[8];
	size_t n;

	put_thing(w, the_dir.id, "copy", "content", 7);
	tell(w, find_thing(w, the_dir.id, "copy", NULL), &o);
	assert_int_equal(draft_landed(used, &o), -EINVAL);
	assert_int_equal(draft_landed(d, &o), 0);
	assert_int_equal(state_of(d), DRAFT_DONE);
	assert_int_equal(SEEN(w, landed), 1);
	assert_int_equal(draft_read(d, got, 7, 0, &n), -EAGAIN);
	assert_int_equal(draft_missing(d, 0, 100, &m), 1);
	assert_int_equal(m.count, 7);
	assert_int_equal(draft_fill(d, 0, "content", 7), 0);
	assert_int_equal(draft_read(d, got, 8, 0, &n), 0);
	assert_int_equal(n, 7);
	assert_int_equal(kept_get(s, o.id, &k), 1);
	assert_int_equal(k.ino, 77);
	kept_attr_done(&k);
	object_done(&o);
	draft_unref(d);
	draft_unref(used);
	spool_free(s);
}

/* ---- draining ---- */

static void tell_left(void *arg, unsigned left, uint64_t bytes)
{
	*(unsigned *)arg = left;
}

static void draining_sends_what_can_be_sent(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s;
	struct draft *d[3];
	unsigned left = 0;

	c.quiet_ms = 3600000;
	s = open_with(w, &c);
	start(w, s);
	d[0] = written(s, "a", 0, 10);
	d[1] = written(s, "b~", 1, 10);
	d[2] = written(s, "c", 2, 10);          /* committed, and nobody has said that it is due */
	draft_due(d[0], false);
	draft_due(d[1], false);
	SET(w, stalled, true);
	assert_int_equal(spool_drain(s, 1100, NULL, tell_left, &left), -ETIMEDOUT);
	assert_int_equal(left, 3);
	assert_int_equal(spool_drain(s, 60000, &(int){1}, NULL, NULL), -EINTR);
	SET(w, stalled, false);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 0, 10) && server_has(w, "b~", 1, 10) && server_has(w, "c", 2, 10));
	for (unsigned i = 0; i < COUNT(d); i++)
		draft_unref(d[i]);
	spool_free(s);
}

static void stopping_breaks_off_and_keeps_what_is_owed(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, 10);
	char got;
	size_t n;

	SET(w, stalled, true);
	draft_due(d, true);
	WAIT_FOR(SEEN(w, running) == 1);
	spool_stop(s);
	/* Who still has it may read it; nothing is safe any more. */
	assert_int_equal(draft_read(d, &got, 1, 0, &n), 0);
	assert_int_equal(draft_wait(d, 60000, NULL), -ESHUTDOWN);
	assert_int_equal(draft_set_mtime(d, (struct timespec){1, 0}), -ESHUTDOWN);
	draft_unref(d);
	spool_free(s);
	SET(w, stalled, false);
	s = spool_in(w);
	WAIT_FOR(server_has(w, "a", 1, 10));
	assert_true(SEEN(w, last_again));
	spool_free(s);
}

static void removals_wait_for_their_word(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct object o, p;

	put_thing(w, the_dir.id, "a", "x", 1);
	put_thing(w, the_dir.id, "b", "x", 1);
	tell(w, find_thing(w, the_dir.id, "a", NULL), &o);
	tell(w, find_thing(w, the_dir.id, "b", NULL), &p);
	assert_int_equal(spool_remove_later(s, &the_dir, &o), 0);
	assert_int_equal(spool_remove_later(s, &the_dir, &o), 0);
	assert_int_equal(spool_remove_later(s, &the_dir, &p), 0);
	assert_true(spool_is_removed(s, o.id));
	assert_false(spool_is_removed(s, "file/99"));
	pause_ms(20);
	assert_int_equal(SEEN(w, removals), 0);
	/* Two passing failures. */
	SET(w, remove_error, -ECONNRESET);
	SET(w, remove_times, 2);
	spool_remove_now(s, o.id);
	WAIT_FOR(!spool_is_removed(s, o.id));
	assert_int_equal(SEEN(w, removals), 3);
	assert_null(find_thing(w, the_dir.id, "a", NULL));
	spool_free(s);
	/* The other one at the next start. */
	s = spool_in(w);
	WAIT_FOR(!spool_is_removed(s, p.id));
	assert_null(find_thing(w, the_dir.id, "b", NULL));
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	object_done(&o);
	object_done(&p);
	spool_free(s);
}

/* A thing of this name that is to be removed. */
static void doomed(struct world *w, const char *name, struct object *ret)
{
	WITH_LOCK(&w->lock)
		tell(w, put_thing(w, the_dir.id, name, "x", 1), ret);
}

/* The only one that is shown. */
static uint64_t refused_one(struct spool *s)
{
	struct removals all;
	uint64_t id;

	assert_int_equal(spool_removals(s, &all), 0);
	assert_int_equal(all.list.n, 1);
	assert_int_equal(all.list.at[0].state, REMOVAL_REFUSED);
	assert_int_equal(all.list.at[0].error, -EACCES);
	assert_string_equal(all.list.at[0].why, "the server's words");
	assert_string_equal(all.list.at[0].dir, the_dir.id);
	id = all.list.at[0].id;
	removals_done(&all);
	return id;
}

static void a_refused_removal_shows_again_until_a_word_is_said(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	_cleanup_buf_ struct buf b = {0};
	char *dir = NULL, *name = NULL;
	unsigned n, refused;
	struct object o;
	uint64_t bytes, id;

	doomed(w, "a", &o);
	SET(w, remove_error, -EACCES);
	SET(w, remove_times, 2);
	assert_int_equal(spool_remove_soon(s, &the_dir, &o), 0);
	assert_int_equal(spool_removal_of(s, o.id, &dir, &name), 0);
	assert_string_equal(dir, the_dir.id);
	assert_string_equal(name, "a");
	WAIT_FOR(SEEN(w, refused_removals) == 1);
	assert_string_equal(w->removal_words, "the server's words");
	assert_false(spool_is_removed(s, o.id));
	id = refused_one(s);
	spool_owed(s, &n, &bytes, &refused);
	assert_true(n == 1 && refused == 1 && bytes == 0);
	assert_int_equal(spool_write_json(s, NULL, NULL, &b), 0);
	assert_non_null(strstr(buf_str(&b), "\"op\":\"remove\",\"name\":\"a\""));
	assert_non_null(strstr(buf_str(&b), "\"state\":\"refused\",\"attempts\":1,\"errno\":13,\"error\":\"the server's words\""));
	/* It is not tried again by itself, and not waited for. */
	spool_wake(s);
	spool_release_held(s);
	assert_int_equal(spool_clear_removals(s, NULL, NULL), 0);
	assert_int_equal(spool_removal_wait(s, id, 60000, NULL), -EACCES);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_int_equal(SEEN(w, removals), 1);
	/* Nor after a restart. */
	spool_free(s);
	s = spool_in(w);
	pause_ms(20);
	assert_int_equal(refused_one(s), id);
	assert_false(spool_is_removed(s, o.id));
	assert_int_equal(SEEN(w, removals), 1);
	/* Refused once more, then taken. */
	assert_int_equal(spool_removal_retry(s, id), 0);
	WAIT_FOR(SEEN(w, refused_removals) == 2);
	assert_int_equal(refused_one(s), id);
	assert_int_equal(spool_removal_retry(s, id), 0);
	assert_int_equal(spool_removal_wait(s, id, 60000, NULL), 0);
	assert_null(find_thing(w, the_dir.id, "a", NULL));
	assert_int_equal(spool_removal_retry(s, id), -ENOENT);
	assert_int_equal(spool_removal_drop(s, id, NULL), -ENOENT);
	assert_int_equal(spool_removal_of(s, o.id, &dir, &name), -ENOENT);
	spool_owed(s, &n, &bytes, &refused);
	assert_int_equal(n, 0);
	free(dir);
	free(name);
	object_done(&o);
	spool_free(s);
}

static void a_removal_that_is_given_up_leaves_the_thing(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct removals all;
	struct object o, p;
	uint64_t id;

	doomed(w, "a", &o);
	doomed(w, "b", &p);
	SET(w, remove_error, -EACCES);
	SET(w, remove_times, 1);
	assert_int_equal(spool_remove_soon(s, &the_dir, &o), 0);
	WAIT_FOR(SEEN(w, refused_removals) == 1);
	assert_int_equal(spool_removal_drop(s, refused_one(s), NULL), 0);
	/* One that was not tried yet. */
	w->session.policy.remove_defer_ms = 600000;
	assert_int_equal(spool_remove_soon(s, &the_dir, &p), 0);
	assert_true(spool_is_removed(s, p.id));
	assert_int_equal(spool_removals(s, &all), 0);
	assert_int_equal(all.list.n, 1);
	id = all.list.at[0].id;
	removals_done(&all);
	assert_int_equal(spool_removal_drop(s, id, NULL), 0);
	assert_int_equal(SEEN(w, other_removals), 1);
	assert_false(spool_is_removed(s, p.id));
	spool_free(s);
	s = spool_in(w);
	pause_ms(20);
	assert_int_equal(SEEN(w, removals), 1);
	assert_non_null(find_thing(w, the_dir.id, "a", NULL));
	assert_non_null(find_thing(w, the_dir.id, "b", NULL));
	object_done(&o);
	object_done(&p);
	spool_free(s);
}

static void what_is_removed_once_more_is_owed_again(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct object o;

	doomed(w, "a", &o);
	SET(w, remove_error, -EACCES);
	SET(w, remove_times, 1);
	assert_int_equal(spool_remove_soon(s, &the_dir, &o), 0);
	WAIT_FOR(SEEN(w, refused_removals) == 1);
	/* Somebody has it open this time. */
	assert_int_equal(spool_remove_later(s, &the_dir, &o), 0);
	assert_true(spool_is_removed(s, o.id));
	pause_ms(20);
	assert_int_equal(SEEN(w, removals), 1);
	spool_remove_now(s, o.id);
	WAIT_FOR(!spool_is_removed(s, o.id));
	assert_null(find_thing(w, the_dir.id, "a", NULL));
	object_done(&o);
	spool_free(s);
}

static void a_refused_removal_is_forgotten_with_what_it_was_about(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct object o, p, q;
	struct removals all;
	struct draft *d;

	doomed(w, "a", &o);
	doomed(w, "b", &p);
	doomed(w, "c", &q);
	SET(w, remove_error, -EACCES);
	SET(w, remove_times, 3);
	assert_int_equal(spool_remove_soon(s, &the_dir, &o), 0);
	assert_int_equal(spool_remove_soon(s, &the_dir, &p), 0);
	assert_int_equal(spool_remove_soon(s, &the_dir, &q), 0);
	WAIT_FOR(SEEN(w, refused_removals) == 3);
	/* New content, another name, another thing of its name. */
	d = new_draft(s, "a", &o);
	assert_int_equal(draft_write(d, "new", 3, 0), 0);
	assert_int_equal(draft_commit(d), 0);
	draft_due(d, true);
	assert_int_equal(draft_wait(d, 60000, NULL), 0);
	spool_forget_refusal(s, p.id);
	assert_int_equal(spool_clear_name(s, the_dir.id, "c", NULL), 0);
	assert_int_equal(spool_removals(s, &all), 0);
	assert_int_equal(all.list.n, 0);
	removals_done(&all);
	assert_int_equal(SEEN(w, removals), 3);
	draft_unref(d);
	object_done(&o);
	object_done(&p);
	object_done(&q);
	spool_free(s);
}

static void a_removal_waits_for_who_reads_but_not_for_ever(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct object o, p, q;

	doomed(w, "a", &o);
	doomed(w, "b", &p);
	doomed(w, "c", &q);
	SET(w, read, true);
	assert_int_equal(spool_remove_soon(s, &the_dir, &o), 0);
	assert_int_equal(spool_remove_soon(s, &other_dir, &p), 0);
	/* Elsewhere nobody reads. */
	WAIT_FOR(!spool_is_removed(s, p.id));
	pause_ms(50);
	assert_true(spool_is_removed(s, o.id));
	assert_int_equal(SEEN(w, removals), 1);
	SET(w, read, false);
	WAIT_FOR(!spool_is_removed(s, o.id));
	/* Somebody who never ends. */
	SET(w, read, true);
	assert_int_equal(spool_remove_soon(s, &the_dir, &q), 0);
	pause_ms(50);
	assert_int_equal(SEEN(w, removals), 2);
	clock_turn(31000);
	WAIT_FOR(!spool_is_removed(s, q.id));
	clock_turn(-31000);
	/* Nor when it holds up what may hold up others. */
	object_done(&q);
	doomed(w, "d", &q);
	assert_int_equal(spool_remove_soon(s, &the_dir, &q), 0);
	pause_ms(20);
	assert_int_equal(SEEN(w, removals), 3);
	assert_int_equal(spool_clear_removals(s, the_dir.id, NULL), 0);
	assert_int_equal(SEEN(w, removals), 4);
	object_done(&o);
	object_done(&p);
	object_done(&q);
	spool_free(s);
}

static void of_removals_together_each_hears_its_own_refusal(void **state)
{
	struct world *w = *state;
	struct spool *s;
	struct object o[5];
	struct removals all;

	w->session.policy.remove_defer_ms = 20;
	w->session.policy.upload_batch = 80;
	w->together_error = -EACCES;
	w->remove_error = -EACCES;
	w->remove_times = 2;
	s = spool_in(w);
	for (unsigned i = 0; i < COUNT(o); i++) {
		char name[8];

		snprintf(name, sizeof(name), "%u", i);
		doomed(w, name, &o[i]);
		assert_int_equal(spool_remove_soon(s, &the_dir, &o[i]), 0);
	}
	WAIT_FOR(SEEN(w, refused_removals) == 2);
	assert_int_equal(spool_clear_removals(s, NULL, NULL), 0);
	assert_int_equal(SEEN(w, removals), COUNT(o));
	assert_true(SEEN(w, removed_together) > 1);
	assert_int_equal(spool_removals(s, &all), 0);
	assert_int_equal(all.list.n, 2);
	assert_string_equal(all.list.at[1].why, "the server's words");
	removals_done(&all);
	for (unsigned i = 0; i < COUNT(o); i++)
		object_done(&o[i]);
	spool_free(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_closed_is_at_the_server),
		TEST(it_rests_a_quiet_second_first),
		TEST(a_written_one_is_not_sent_before_it_is_due),
		TEST(a_held_name_waits_for_its_real_one),
		TEST(at_most_so_many_at_once),
		TEST(one_lane_is_one_after_the_other),
		TEST(small_ones_of_a_lane_go_together),
		TEST(small_ones_that_come_within_a_moment_go_together),
		TEST(small_ones_that_come_in_turn_fill_their_batches),
		TEST(a_batch_waits_for_the_disk_a_few_times_and_not_for_each),
		TEST(the_next_of_a_lane_does_not_wait_for_the_disk),
		TEST(of_a_batch_each_goes_on_by_itself),
		TEST(a_single_small_one_does_not_wait),
		TEST(what_somebody_waits_for_does_not_wait_for_others),
		TEST(a_passing_failure_is_tried_again),
		TEST(waiting_for_a_silent_server_ends_with_its_error),
		TEST(a_host_that_is_back_ends_all_pauses),
		TEST(a_silent_server_is_not_asked_once_for_each),
		TEST(a_refusal_is_shown_and_kept_until_the_user_decides),
		TEST(somebody_elses_change_is_not_overwritten),
		TEST(a_copy_beside_that_is_tried_again_is_still_one),
		TEST(where_no_copy_can_be_made_the_conflict_stays),
		TEST(attributes_follow_the_content),
		TEST(attributes_are_shown_until_all_is_over),
		TEST(a_time_that_was_set_goes_along),
		TEST(refused_attributes_do_not_send_the_content_again),
		TEST(a_copy_of_what_stays_open_is_sent),
		TEST(what_has_no_room_for_a_copy_is_sent_when_it_is_closed),
		TEST(a_copy_that_lacks_its_attributes_is_no_whole_file),
		TEST(a_crash_while_a_copy_is_sent_loses_nothing),
		TEST(unchanged_content_is_not_sent),
		TEST(the_digest_is_that_of_what_is_sent),
		TEST(it_goes_on_where_it_was_cut_off),
		TEST(what_was_noted_is_in_the_journal_before_it_is_sent),
		TEST(after_a_change_no_progress_is_resumed),
		TEST(a_write_stops_the_upload),
		TEST(an_upload_that_lands_all_the_same_is_gone_on_from),
		TEST(opened_again_and_not_written_it_stays_done),
		TEST(a_rename_stops_the_upload_and_sends_it_there),
		TEST(what_is_missing_cannot_go_over_another_base),
		TEST(a_moved_directory_takes_along_what_is_owed_to_it),
		TEST(a_copy_made_there_is_done_and_missing_here),
		TEST(draining_sends_what_can_be_sent),
		TEST(stopping_breaks_off_and_keeps_what_is_owed),
		TEST(removals_wait_for_their_word),
		TEST(a_refused_removal_shows_again_until_a_word_is_said),
		TEST(a_removal_that_is_given_up_leaves_the_thing),
		TEST(what_is_removed_once_more_is_owed_again),
		TEST(a_refused_removal_is_forgotten_with_what_it_was_about),
		TEST(a_removal_waits_for_who_reads_but_not_for_ever),
		TEST(of_removals_together_each_hears_its_own_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
