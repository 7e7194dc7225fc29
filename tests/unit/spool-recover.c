/* What an earlier process left, whose it is, and what a damaged or foreign journal costs: nothing. */
#include "spool-world.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "base/db.h"

#define LARGE 200000

static char *path_in(const struct spool *s, const char *name)
{
	char *path = NULL;

	assert_int_equal(str_fmt(&path, "%s/%s", s->dir, name), 0);
	return path;
}

static void run(const char *format, const char *a, const char *b)
{
	char *command = NULL;

	assert_int_equal(str_fmt(&command, format, a, b ? b : ""), 0);
	assert_int_equal(system(command), 0);
	free(command);
}

static struct draft *find(struct spool *s, const char *name)
{
	struct draft *found = NULL;
	struct drafts all;

	assert_int_equal(spool_drafts(s, NULL, &all), 0);
	for (size_t i = 0; i < all.list.n; i++) {
		char *text = NULL;

		assert_int_equal(draft_name(all.list.at[i], &text), 0);
		if (strcmp(text, name) == 0)
			found = draft_ref(all.list.at[i]);
		free(text);
	}
	drafts_done(&all);
	return found;
}

static unsigned owed(struct spool *s)
{
	unsigned n, refused;
	uint64_t bytes;

	spool_owed(s, &n, &bytes, &refused);
	return n;
}

static struct spool *unstarted(struct world *w)
{
	struct spool_config c = quick(w);

	return open_with(w, &c);
}

static bool is_not_there(void *arg, uint64_t id)
{
	return false;
}

static void what_was_committed_survives_a_crash(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	struct draft *d = written(s, "small", 1, 1000), *large = written(s, "large", 2, LARGE), *empty = written(s, "empty", 3, 0),
	             *open = new_draft(s, "open", NULL), *moved = written(s, "m", 4, 10);
	struct object landed = {0}, o = {0};
	struct draft_info i, before;
	struct attrs a = {0};

	assert_int_equal(draft_set_mtime(d, (struct timespec){12345, 678}), 0);
	assert_int_equal(draft_set_mode(d, S_IFREG | 0600), 0);
	assert_int_equal(draft_set_attr(d, "x.y", "a\0b", 3), 0);
	assert_int_equal(draft_set_attr(d, "z", NULL, 0), 0);
	assert_int_equal(draft_retarget(moved, &other_dir, "n\xff", &(struct object){.kind = OBJECT_FILE, .id = TEXT("file/7"), .name = TEXT("q"),
	                                .version = TEXT("v1")}, &landed, NULL), 0);
	assert_int_equal(draft_write(open, "never closed", 12, 0), 0);
	draft_info(d, &before);
	draft_unref(d);
	draft_unref(large);
	draft_unref(empty);
	draft_unref(open);
	draft_unref(moved);
	crash(s);

	s = unstarted(w);
	assert_int_equal(owed(s), 4);
	d = find(s, "small");
	assert_non_null(d);
	draft_info(d, &i);
	assert_true(i.id == before.id && i.size == 1000 && i.committed && !i.dirty && i.state == DRAFT_QUEUED);
	assert_true(i.mtime.tv_sec == 12345 && i.mtime.tv_nsec == 678 && i.mtime_set && i.mode == (S_IFREG | 0600));
	assert_true(i.since.tv_sec == before.since.tv_sec && i.since.tv_nsec == before.since.tv_nsec);
	assert_int_equal(draft_ino(d), 77);
	assert_int_equal(draft_attrs(d, &a), 0);
	assert_int_equal(a.list.n, 2);
	assert_memory_equal(a.list.at[0].value, "a\0b", 4);
	assert_null(a.list.at[1].value);
	attrs_done(&a);
	draft_unref(d);
	d = find(s, "n\xff");
	assert_non_null(d);
	assert_int_equal(draft_dir(d, &o), 0);
	assert_string_equal(o.id, "dir/2");
	object_done(&o);
	assert_int_equal(draft_base(d, &o), 0);
	assert_string_equal(o.id, "file/7");
	object_done(&o);
	assert_int_equal(draft_drop(d, &o, NULL), 0);
	draft_unref(d);
	start(w, s);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "small", 1, 1000) && server_has(w, "large", 2, LARGE) && server_has(w, "empty", 3, 0));
	assert_true(SEEN(w, last_again));
	spool_free(s);
	/* And nothing is sent twice. */
	s = unstarted(w);
	assert_int_equal(owed(s), 0);
	assert_int_equal(SEEN(w, uploads), 3);
	spool_free(s);
}

static void a_killed_process_is_gone_on_for(void **state)
{
	struct world *w = *state;
	struct spool *s;
	char c;
	int ready[2];
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 3; i++) {
			char name[8];

			if (!i)
				s = spool_in(w);
			SET(w, stalled, true);
			snprintf(name, sizeof(name), "%d", i);
			draft_due(written(s, name, (unsigned)i, i == 1 ? LARGE : 100), true);
		}
		WAIT_FOR(SEEN(w, running) == 3);
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	/* While it lives what it owes is its own. */
	s = spool_in(w);
	assert_int_equal(owed(s), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	/* And a living mount takes it over by itself. */
	spool_look_around(s);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "0", 0, 100) && server_has(w, "1", 1, LARGE) && server_has(w, "2", 2, 100));
	assert_true(SEEN(w, changes) >= 3);
	assert_int_equal(files_in(s->owners_dir), 1);
	spool_free(s);
	close(ready[0]);
	close(ready[1]);
}

static void a_small_one_needs_no_file(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	struct draft *d = written(s, "a", 1, 1000), *e = written(s, "b", 2, 1000);
	char *drafts = path_in(s, "drafts");

	/* Written over, and not closed again: what was closed is what is owed. */
	assert_int_equal(draft_write(e, "xxxx", 4, 0), 0);
	draft_unref(d);
	draft_unref(e);
	crash(s);
	run("cd '%s' && for f in *.json; do test -e \"${f%%.json}\" && : > \"${f%%.json}\"; rm \"$f\"; done", drafts, NULL);
	free(drafts);
	s = spool_in(w);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 1, 1000) && server_has(w, "b", 2, 1000));
	spool_free(s);
}

/* What a process that was killed has half written beside a draft. `cut`: so many bytes are left of each side file. */
static void torn(struct world *w, bool row, const char *cut)
{
	struct spool *s = unstarted(w);
	char *drafts = path_in(s, "drafts");
	struct draft *d = written(s, "a", 1, 1000);
	struct draft_info i;
	char *command = NULL;

	draft_info(d, &i);
	if (!row)
		assert_int_equal(journal_drop(s->journal, i.id), 0);
	if (!row)       /* and as if it had never been */
		assert_int_equal(journal_forget_ended(s->journal, is_not_there, NULL), 0);
	draft_unref(d);
	crash(s);
	assert_int_equal(str_fmt(&command, "cd '%s' && truncate -s %s *.json", drafts, cut), 0);
	assert_int_equal(system(command), 0);
	free(command);
	s = spool_in(w);
	assert_int_equal(owed(s), row);
	assert_true(files_in(drafts) >= 1);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 1, 1000) == row);
	assert_int_equal(SEEN(w, uploads), row);
	WAIT_FOR(files_in(drafts) == !row);             /* nothing is removed because it is damaged */
	spool_free(s);
	free(drafts);
}

static void a_torn_side_file_beside_a_row_costs_nothing(void **state)
{
	struct world *w = *state;

	torn(w, true, "-10");
}

static void a_side_file_that_lost_all_costs_nothing_beside_a_row(void **state)
{
	torn(*state, true, "0");
}

static void a_torn_side_file_without_a_row_stays_and_is_not_sent(void **state)
{
	torn(*state, false, "100");
}

static void a_side_file_that_lacks_a_part_of_its_content_stays_and_is_not_sent(void **state)
{
	torn(*state, false, "-1");
}

/* Which lies under the new name whole, without what the old one had behind its end. */
static void a_side_file_that_is_used_again_is_the_new_drafts_own(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "long", 1, 9000);
	char *spare = path_in(s, "spare"), *journal = path_in(s, "journal.db");

	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	draft_unref(d);
	assert_int_equal(files_in(spare), 1);
	draft_unref(written(s, "short", 2, 100));
	assert_int_equal(files_in(spare), 0);
	assert_int_equal(files_in(s->drafts_dir), 1);
	crash(s);
	run("rm -f '%s'*", journal, NULL);
	s = spool_in(w);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "short", 2, 100) && server_has(w, "long", 1, 9000));
	assert_int_equal(SEEN(w, uploads), 2);
	spool_free(s);
	free(spare);
	free(journal);
}

static void spare_side_files_go_with_their_process(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w), *living = spool_in(w);
	struct draft *d = written(s, "a", 1, 10), *e = written(living, "b", 2, 10), *large = written(s, "large", 3, SPARE_BYTES + 1);
	char *spare = path_in(s, "spare"), *name = NULL;

	draft_due(d, true);
	draft_due(e, true);
	draft_due(large, true);
	assert_true(comes_to(d, DRAFT_DONE) && comes_to(e, DRAFT_DONE) && comes_to(large, DRAFT_DONE));
	draft_unref(d);
	draft_unref(e);
	draft_unref(large);
	assert_int_equal(files_in(spare), 2);
	/* What a killed one leaves, the next removes; not what is a living one's. */
	assert_int_equal(str_fmt(&name, "%s/%032x.7", spare, 7), 0);
	run("touch '%s'", name, NULL);
	free(name);
	spool_free(s);
	assert_int_equal(files_in(spare), 2);
	s = spool_in(w);
	assert_int_equal(files_in(spare), 1);
	spool_free(living);
	assert_int_equal(files_in(spare), 0);
	spool_free(s);
	free(spare);
}

static void an_empty_side_file_goes_when_it_is_old(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	char *drafts = path_in(s, "drafts");

	spool_free(s);
	run("touch -d '3 days ago' '%s/0123456789ab.json'; touch '%s/0123456789ac.json'", drafts, drafts);
	s = unstarted(w);
	assert_int_equal(files_in(drafts), 1);
	spool_free(s);
	free(drafts);
}

/* It grows out of memory, and is not closed again: what was closed is what is owed. */
static void grown_and_not_closed_leaves_the_old_content(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	struct draft *d = written(s, "a", 1, 1000);

	assert_int_equal(draft_write(d, "x", 1, SMALL_MAX), 0);
	draft_unref(d);
	crash(s);
	s = spool_in(w);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 1, 1000));
	spool_free(s);
}

static void truncated_and_not_closed_leaves_the_old_content(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	struct draft *d = written(s, "a", 1, LARGE), *e = written(s, "b", 2, LARGE);
	void *p = bytes_of(3, LARGE);

	assert_int_equal(draft_truncate(d, 0), 0);
	assert_int_equal(draft_write(d, "new", 3, SMALL_MAX), 0);
	/* This one is closed. */
	assert_int_equal(draft_truncate(e, 0), 0);
	assert_int_equal(draft_write(e, p, LARGE, 0), 0);
	assert_int_equal(draft_commit(e), 0);
	free(p);
	draft_unref(d);
	draft_unref(e);
	crash(s);
	s = spool_in(w);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 1, LARGE) && server_has(w, "b", 3, LARGE));
	WAIT_FOR(files_in(s->drafts_dir) == 1);         /* what was never closed is left to the user */
	spool_free(s);
}

static void a_row_without_its_content_is_shown_as_refused(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	struct draft *d = written(s, "a", 1, LARGE);
	char *drafts = path_in(s, "drafts"), *why = NULL;

	draft_unref(d);
	crash(s);
	run("cd '%s' && rm $(ls | grep -v json)", drafts, NULL);
	s = spool_in(w);
	d = find(s, "a");
	assert_non_null(d);
	assert_int_equal(state_of(d), DRAFT_REFUSED);
	assert_int_equal(draft_why(d, &why), 0);
	assert_true(strstr(why, "its content is missing") && strstr(why, drafts));
	free(why);
	assert_int_equal(draft_retry(d), 0);
	assert_true(comes_to(d, DRAFT_REFUSED));
	assert_int_equal(SEEN(w, uploads), 0);
	assert_int_equal(draft_give_up(d, NULL), 0);
	draft_unref(d);
	assert_int_equal(owed(s), 0);
	free(drafts);
	spool_free(s);
}

static void a_file_that_nobody_knows_is_left_alone(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	struct draft *d = new_draft(s, "a", NULL);
	char *drafts = path_in(s, "drafts");

	assert_int_equal(draft_write(d, "never closed", 12, SMALL_MAX), 0);
	draft_unref(d);
	crash(s);
	run("echo data > '%s/0123456789ab'; echo '{' > '%s/0123456789ac.json'", drafts, drafts);
	s = spool_in(w);
	assert_int_equal(owed(s), 0);
	assert_int_equal(files_in(drafts), 3);
	spool_free(s);
	free(drafts);
}

static void of_a_landed_one_nothing_comes_back(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, LARGE), *e = written(s, "b", 2, 100);
	struct object landed = {0};
	char *drafts = path_in(s, "drafts"), *copy = path_in(s, "copy");

	/* What a power cut may bring back: the files as they were. One that nobody needs any more may go while it is copied. */
	run("cd '%s' && to='%s' && mkdir \"$to\" && { cp -a . \"$to\" || cp -a . \"$to\"; }", drafts, copy);
	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(draft_drop(e, &landed, NULL), 0);
	draft_unref(d);
	draft_unref(e);
	crash(s);
	run("cp -a '%s'/* '%s'", copy, drafts);
	assert_true(files_in(drafts) >= 3);
	s = spool_in(w);
	assert_int_equal(owed(s), 0);
	assert_int_equal(files_in(drafts), 0);
	assert_int_equal(SEEN(w, uploads), 1);
	spool_free(s);
	free(drafts);
	free(copy);
}

static void what_a_reader_still_had_goes_at_the_next_start(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct draft *d = written(s, "a", 1, LARGE);
	char *drafts = path_in(s, "drafts");

	draft_due(d, true);
	assert_true(comes_to(d, DRAFT_DONE));
	assert_int_equal(files_in(drafts), 1);
	run("cp -a '%s' '%s.kept'", drafts, drafts);
	draft_unref(d);
	crash(s);
	run("cp -a '%s.kept'/* '%s'", drafts, drafts);
	s = spool_in(w);
	assert_int_equal(files_in(drafts), 0);
	spool_free(s);
	free(drafts);
}

/* ---- the journal ---- */

static void a_damaged_journal_is_rebuilt_from_what_lies_beside(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	struct draft *d = written(s, "small", 1, 1000), *large = written(s, "lar\"ge", 2, LARGE), *odd = written(s, "n\xff", 3, 10);
	char *journal = path_in(s, "journal.db"), *dir = strdup(s->dir);
	struct attrs a = {0};

	assert_int_equal(draft_set_attr(d, "x", "1", 1), 0);
	draft_unref(d);
	draft_unref(large);
	draft_unref(odd);
	crash(s);
	run("rm -f '%s'-*; dd if=/dev/urandom of='%s' bs=4096 count=8 conv=notrunc 2>/dev/null", journal, journal);
	s = unstarted(w);
	assert_int_equal(owed(s), 3);
	run("ls '%s' | grep -q journal.db.damaged-", dir, NULL);
	d = find(s, "small");
	assert_non_null(d);
	assert_int_equal(draft_attrs(d, &a), 0);
	assert_int_equal(a.list.n, 1);
	attrs_done(&a);
	draft_unref(d);
	start(w, s);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "small", 1, 1000) && server_has(w, "lar\"ge", 2, LARGE) && server_has(w, "n\xff", 3, 10));
	spool_free(s);
	free(journal);
	free(dir);
}

static void a_lost_journal_is_rebuilt_as_well(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	char *journal = path_in(s, "journal.db");

	draft_unref(written(s, "a", 1, 1000));
	crash(s);
	run("rm -f '%s'*", journal, NULL);
	s = spool_in(w);
	assert_int_equal(owed(s), 1);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 1, 1000));
	spool_free(s);
	free(journal);
}

static void damage_that_shows_later_costs_nothing_either(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	struct draft *d = written(s, "a", 1, 1000), *e;
	struct kept_attr k = {.ino = 5, .mtime = {1, 2}}, got;
	struct draft_info i;
	char *journal = path_in(s, "journal.db");

	assert_int_equal(kept_set(s, "dir/9", &k), 0);
	/* As another process does when it finds it damaged. */
	assert_int_equal(db_set_aside(journal), 0);
	spool_look_around(s);
	draft_info(d, &i);
	assert_true(journal_has(s->journal, i.id));
	e = written(s, "b", 2, 1000);
	draft_unref(d);
	draft_unref(e);
	crash(s);
	s = spool_in(w);
	assert_int_equal(kept_get(s, "dir/9", &got), 1);
	assert_true(got.ino == 5 && got.mtime.tv_nsec == 2);
	kept_attr_done(&got);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 1, 1000) && server_has(w, "b", 2, 1000));
	spool_free(s);
	free(journal);
}

static void a_newer_journal_is_not_touched(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s = unstarted(w), *t = NULL;
	char *journal = path_in(s, "journal.db"), *why = NULL;
	sqlite3 *db;

	draft_unref(written(s, "a", 1, 1000));
	crash(s);
	assert_int_equal(sqlite3_open(journal, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_int_equal(spool_open(&c, &w->session, &t, &why), -EPROTONOSUPPORT);
	assert_null(t);
	assert_non_null(strstr(why, "newer"));
	free(why);
	assert_int_equal(sqlite3_open(journal, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=2", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	s = unstarted(w);
	assert_int_equal(owed(s), 1);
	spool_free(s);
	free(journal);
}

/* Of version 1, whose removals had no number. */
static void removals_of_an_older_journal_go_on(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	char *journal = path_in(s, "journal.db");
	struct removals all;
	struct object o;
	sqlite3 *db;

	tell(w, put_thing(w, the_dir.id, "a", "x", 1), &o);
	assert_int_equal(spool_remove_later(s, &the_dir, &o), 0);
	spool_free(s);
	assert_int_equal(sqlite3_open(journal, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE old (id TEXT PRIMARY KEY, owner TEXT NOT NULL, dir TEXT NOT NULL, object TEXT NOT NULL)"
	                              " WITHOUT ROWID; INSERT INTO old SELECT id, owner, dir, object FROM removal; DROP TABLE removal;"
	                              "ALTER TABLE old RENAME TO removal; PRAGMA user_version=1", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	s = unstarted(w);
	assert_true(spool_is_removed(s, o.id));
	assert_int_equal(spool_removals(s, &all), 0);
	assert_int_equal(all.list.n, 1);
	assert_int_not_equal(all.list.at[0].id, 0);
	removals_done(&all);
	start(w, s);
	WAIT_FOR(!spool_is_removed(s, o.id));
	assert_null(find_thing(w, the_dir.id, "a", NULL));
	object_done(&o);
	spool_free(s);
	free(journal);
}

static bool is_gone(struct world *w, const char *name)
{
	bool gone = false;

	WITH_LOCK(&w->lock)
		gone = find_thing(w, the_dir.id, name, NULL) == NULL;
	return gone;
}

static void a_lost_journal_gets_the_removals_again(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	char *journal = path_in(s, "journal.db");
	struct object o;

	tell(w, put_thing(w, the_dir.id, "a", "x", 1), &o);
	assert_int_equal(spool_remove_later(s, &the_dir, &o), 0);
	run("rm '%s'*", journal, NULL);
	spool_look_around(s);
	crash(s);
	s = spool_in(w);
	WAIT_FOR(is_gone(w, "a"));
	object_done(&o);
	spool_free(s);
	free(journal);
}

static void a_folder_that_cannot_be_written_is_said(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s = NULL;
	char *why = NULL, *file = NULL;

	assert_int_equal(str_fmt(&file, "%s/file", w->state), 0);
	run("touch '%s'", file, NULL);
	c.state = file;
	assert_int_equal(spool_open(&c, &w->session, &s, &why), -ENOTDIR);
	assert_non_null(why);
	free(why);
	free(file);
}

/* ---- owners ---- */

static void each_living_mount_pays_its_own(void **state)
{
	struct world *w = *state;
	struct spool *a = unstarted(w), *b;

	draft_unref(written(a, "a", 1, 100));
	b = unstarted(w);
	assert_int_equal(owed(b), 0);
	draft_unref(written(b, "b", 2, 100));
	spool_look_around(b);
	assert_int_equal(owed(b), 1);
	assert_int_equal(owed(a), 1);
	spool_free(a);
	/* It ended without paying: now the other one does. */
	start(w, b);
	spool_look_around(b);
	assert_int_equal(spool_drain(b, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 1, 100) && server_has(w, "b", 2, 100));
	spool_free(b);
}

static void nothing_goes_out_under_another_identity(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);

	draft_unref(written(s, "a", 1, 100));
	crash(s);
	free(w->session.identity);
	w->session.identity = strdup("user/2");
	s = unstarted(w);
	assert_int_equal(owed(s), 0);
	spool_free(s);
	free(w->session.identity);
	w->session.identity = strdup("user/1");
	s = unstarted(w);
	assert_int_equal(owed(s), 1);
	spool_free(s);
}

struct newcomer {
	struct world *w;
	struct spool *s;
};

static void *come(void *arg)
{
	struct newcomer *n = arg;

	n->s = unstarted(n->w);
	return NULL;
}

static void one_that_only_finishes_hands_over(void **state)
{
	struct world *w = *state;
	struct spool *s = spool_in(w);
	struct newcomer n = {.w = w};
	pthread_t t;

	draft_unref(written(s, "a", 1, LARGE));
	SET(w, stalled, true);
	/* Nobody waits yet. */
	assert_int_equal(spool_drain(s, 50, NULL, NULL, NULL), -ETIMEDOUT);
	assert_int_equal(pthread_create(&t, NULL, come, &n), 0);
	assert_int_equal(spool_drain(s, 60000, NULL, NULL, NULL), -EINTR);
	spool_free(s);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(owed(n.s), 1);
	SET(w, stalled, false);
	start(w, n.s);
	assert_int_equal(spool_drain(n.s, 60000, NULL, NULL, NULL), 0);
	assert_true(server_has(w, "a", 1, LARGE));
	spool_free(n.s);
}

static void an_earlier_one_that_does_not_let_go_is_not_waited_for_for_ever(void **state)
{
	struct world *w = *state;
	struct spool_config c = quick(w);
	struct spool *s = spool_in(w), *t;

	draft_unref(written(s, "a", 1, 10));
	SET(w, stalled, true);
	assert_int_equal(spool_drain(s, 50, NULL, NULL, NULL), -ETIMEDOUT);
	c.takeover_ms = 150;
	t = open_with(w, &c);
	assert_int_equal(owed(t), 0);
	SET(w, stalled, false);
	spool_free(t);
	spool_free(s);
}

/* ---- kept ---- */

static void what_is_kept_comes_back(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w), *other = unstarted(w);
	struct kept_attr k = {.ino = UINT64_MAX, .version = TEXT("v\"1"), .mtime = {-5, 999999999}, .mode = 0100644}, got = {0};
	char sum[140] = "sha512:";

	for (int i = 0; i < 64; i++)
		snprintf(sum + 7 + 2 * i, 3, "%02x", i * 4 & 255);
	strcpy(k.digest, sum);
	assert_int_equal(kept_get(s, "item/1", &got), 0);
	assert_int_equal(kept_set(s, "item/1", &k), 0);
	assert_int_equal(kept_set(s, "item/2", &(struct kept_attr){.ino = 1, .mtime = {0, -1}}), 0);
	assert_int_equal(kept_forget(s, "item/2"), 0);
	assert_int_equal(kept_get(s, "item/2", &got), 0);
	/* Another living mount learns of it. */
	assert_int_equal(kept_get(other, "item/1", &got), 0);
	spool_look_around(other);
	assert_int_equal(kept_get(other, "item/1", &got), 1);
	kept_attr_done(&got);
	spool_free(other);
	crash(s);
	s = unstarted(w);
	assert_int_equal(kept_get(s, "item/1", &got), 1);
	assert_true(got.ino == UINT64_MAX && got.mtime.tv_sec == -5 && got.mtime.tv_nsec == 999999999 && got.mode == 0100644);
	assert_string_equal(got.version, "v\"1");
	assert_string_equal(got.digest, sum);
	kept_attr_done(&got);
	assert_int_equal(kept_get(s, "item/2", &got), 0);
	spool_free(s);
}

static int count_kept(void *arg, const char *id, const struct kept_attr *k)
{
	(*(unsigned *)arg)++;
	return 0;
}

static void of_too_many_kept_the_oldest_leave(void **state)
{
	struct world *w = *state;
	struct spool *s = unstarted(w);
	struct kept_attr k = {.ino = 1, .mtime = {0, -1}}, got = {0};
	unsigned n = 0, rows = 0;
	int64_t seq = 0;
	char id[32];

	kept_free(s->kept);
	s->kept = kept_new(64);
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "item/%d", i);
		assert_int_equal(kept_set(s, id, &k), 0);
	}
	for (int i = 0; i < 100; i++) {
		snprintf(id, sizeof(id), "item/%d", i);
		n += (unsigned)kept_get(s, id, &got);
		if (i < 36)
			assert_int_equal(kept_get(s, id, &got), 0);
	}
	assert_in_range(n, 32, 64);
	assert_int_equal(kept_get(s, "item/99", &got), 1);
	assert_int_equal(journal_kept(s->journal, &seq, count_kept, &rows), 0);
	assert_int_equal(rows, n);
	spool_free(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_committed_survives_a_crash),
		TEST(a_killed_process_is_gone_on_for),
		TEST(a_small_one_needs_no_file),
		TEST(a_torn_side_file_beside_a_row_costs_nothing),
		TEST(a_side_file_that_lost_all_costs_nothing_beside_a_row),
		TEST(a_torn_side_file_without_a_row_stays_and_is_not_sent),
		TEST(a_side_file_that_lacks_a_part_of_its_content_stays_and_is_not_sent),
		TEST(a_side_file_that_is_used_again_is_the_new_drafts_own),
		TEST(spare_side_files_go_with_their_process),
		TEST(an_empty_side_file_goes_when_it_is_old),
		TEST(grown_and_not_closed_leaves_the_old_content),
		TEST(truncated_and_not_closed_leaves_the_old_content),
		TEST(a_row_without_its_content_is_shown_as_refused),
		TEST(a_file_that_nobody_knows_is_left_alone),
		TEST(of_a_landed_one_nothing_comes_back),
		TEST(what_a_reader_still_had_goes_at_the_next_start),
		TEST(a_damaged_journal_is_rebuilt_from_what_lies_beside),
		TEST(a_lost_journal_is_rebuilt_as_well),
		TEST(damage_that_shows_later_costs_nothing_either),
		TEST(a_newer_journal_is_not_touched),
		TEST(removals_of_an_older_journal_go_on),
		TEST(a_lost_journal_gets_the_removals_again),
		TEST(a_folder_that_cannot_be_written_is_said),
		TEST(each_living_mount_pays_its_own),
		TEST(nothing_goes_out_under_another_identity),
		TEST(one_that_only_finishes_hands_over),
		TEST(an_earlier_one_that_does_not_let_go_is_not_waited_for_for_ever),
		TEST(what_is_kept_comes_back),
		TEST(of_too_many_kept_the_oldest_leave),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
