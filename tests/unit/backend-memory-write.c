/* The memory backend, written to: uploads and what goes wrong with them, the tree, metadata, and the store. */
#include "test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "backend/memory/private.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

#define BEFORE_ALL 1000000000   /* seconds: an upload that was begun then */

static struct session *open_with(const char *source, uint64_t chunk)
{
	struct policy policy = {.upload_chunk = chunk};
	struct login who = {.url = source, .path = "", .override = &policy};
	struct session *s = NULL;
	char *why = NULL;

	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(backend_memory.open(&who, NULL, &s, &why), 0);
	assert_null(why);
	s->policy.upload_chunk = chunk;
	return s;
}

static struct session *open_source(const char *source)
{
	return open_with(source, 1000);
}

static void close_it(struct session *s)
{
	s->backend->close(s);
}

/* The thing at a path of raw names; false: there is none. */
static bool look(struct session *s, const char *path, struct object *ret)
{
	_cleanup_(cleanup_freep) char **parts = NULL;

	assert_int_equal(str_split(path, '/', &parts), 0);
	assert_int_equal(backend_root(s, ret), 0);
	for (size_t i = 0; parts[i]; i++) {
		struct page p = {0};

		if (!*parts[i])
			continue;
		assert_int_equal(backend_lookup(s, ret, parts[i], &p), 0);
		object_done(ret);
		if (!p.objects.n) {
			page_done(&p);
			return false;
		}
		assert_int_equal(p.objects.n, 1);
		*ret = p.objects.at[0];
		memset(&p.objects.at[0], 0, sizeof(struct object));
		page_done(&p);
	}
	return true;
}

static void find(struct session *s, const char *path, struct object *ret)
{
	if (!look(s, path, ret))
		fail_msg("%s is not there", path);
}

static bool is_there(struct session *s, const char *path)
{
	struct object o;
	bool there = look(s, path, &o);

	if (there)
		object_done(&o);
	return there;
}

/* The names in a directory, sorted as they come, in pages; and the search for a part of a name. */
static char *names_in(struct session *s, const char *path, const char *part)
{
	_cleanup_buf_ struct buf b = BUF_MAX(65536);
	struct object dir;
	struct page p = {0};

	find(s, path, &dir);
	do {
		assert_int_equal(part ? backend_query(s, &dir, part, &p, NULL) : backend_list(s, &dir, &p), 0);
		for (size_t i = 0; i < p.objects.n; i++)
			assert_int_equal(buf_addf(&b, "%s%s", b.len ? " " : "", p.objects.at[i].name), 0);
	} while (p.cursor);
	page_done(&p);
	object_done(&dir);
	return buf_take(&b);
}

static void assert_names(struct session *s, const char *path, const char *part, const char *want)
{
	_cleanup_free_ char *got = names_in(s, path, part);

	assert_string_equal(got, want);
}

static int collect(void *arg, const void *data, size_t n)
{
	return buf_add(arg, data, n);
}

static int read_all(struct session *s, const struct object *o, struct buf *ret)
{
	struct read_plan p = {.range = {0, o->size}};
	int cancelled = 0, r = backend_prepare_read(s, o, &p);

	buf_clear(ret);
	if (r == 0)
		r = backend_fill(s, o, &p, collect, ret, &cancelled);
	read_plan_done(&p);
	return r;
}

static void assert_content(struct session *s, const char *path, const char *want)
{
	_cleanup_buf_ struct buf b = BUF_MAX(1u << 20);
	struct object o;

	find(s, path, &o);
	assert_int_equal(read_all(s, &o, &b), 0);
	assert_string_equal(buf_str(&b), want);
	assert_int_equal(o.size, strlen(want));
	object_done(&o);
}

/* ---- uploading ---- */

static struct {
	char progress[100];
	uint64_t sent;
	unsigned notes;
	int result;
} noted;

static int note(struct upload *u, const char *progress, uint64_t sent)
{
	snprintf(noted.progress, sizeof(noted.progress), "%s", progress);
	noted.sent = sent;
	noted.notes++;
	return noted.result;
}

static int file_of(const char *text)
{
	FILE *f = tmpfile();
	int fd;

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fflush(f);
	fd = dup(fileno(f));
	fclose(f);
	return fd;
}

static void sha512_of(const char *text, char ret[150])
{
	char hex[DIGEST_HEX_MAX];
	struct digest *d;

	assert_int_equal(digest_new("sha512", &d), 0);
	assert_int_equal(digest_add(d, text, strlen(text)), 0);
	assert_int_equal(digest_hex(d, hex), 0);
	digest_free(d);
	snprintf(ret, 150, "sha512:%s", hex);
}

struct what {
	const char *dir, *name, *text;
	const struct object *base;
	const char *progress;
	bool again, no_digest;
	int cancelled;
	time_t begun;
};

/* ret may be NULL. */
static int upload(struct session *s, struct what w, struct object *ret)
{
	struct object dir;
	char digest[150];
	struct upload u = {.dir = &dir, .name = w.name, .base = w.base, .size = strlen(w.text), .begun = w.begun ? w.begun : BEFORE_ALL,
	                   .again = w.again, .progress = w.progress, .note = note, .cancelled = &w.cancelled, .fd = file_of(w.text),
	                   .digest = w.no_digest ? NULL : digest};
	int r;

	sha512_of(w.text, digest);
	find(s, w.dir, &dir);
	r = backend_upload(s, &u);
	assert_true(r == 0 || !u.object.id);
	if (r == 0 && ret)
		*ret = u.object;
	else
		object_done(&u.object);
	free(u.why);
	close(u.fd);
	object_done(&dir);
	return r;
}

static void put(struct session *s, const char *dir, const char *name, const char *text)
{
	assert_int_equal(upload(s, (struct what){.dir = dir, .name = name, .text = text}, NULL), 0);
}

/* n bytes, each chunk of which is different. */
static char *long_text(size_t n)
{
	char *text = malloc(n + 1);

	assert_non_null(text);
	for (size_t i = 0; i < n; i++)
		text[i] = (char)('a' + (i / 100 + i) % 26);
	text[n] = 0;
	return text;
}

static int setup(void **state)
{
	memset(&noted, 0, sizeof(noted));
	return 0;
}

static void test_what_was_uploaded_can_be_looked_at(void **state)
{
	struct session *s = open_source("memory:");
	struct object up, now;
	struct timespec before = clock_wall();
	char digest[150];

	assert_int_equal(upload(s, (struct what){.dir = "", .name = "new.csv", .text = "1,2\n"}, &up), 0);
	find(s, "new.csv", &now);
	assert_string_equal(now.id, up.id);
	assert_string_equal(now.version, up.version);
	assert_string_equal(now.mime, "text/csv");
	sha512_of("1,2\n", digest);
	assert_string_equal(now.digest, digest);
	assert_int_equal(now.kind, OBJECT_FILE);
	assert_int_equal(now.size, 4);
	assert_true(now.mtime.tv_sec >= before.tv_sec && now.listed.tv_sec == now.mtime.tv_sec);
	assert_true(now.mtime.tv_nsec == up.mtime.tv_nsec && now.listed.tv_nsec == up.listed.tv_nsec);
	assert_int_equal(now.rights, RIGHT_READ | RIGHT_WRITE | RIGHT_PUBLIC);
	assert_content(s, "new.csv", "1,2\n");
	object_done(&up);
	object_done(&now);
	put(s, "", "nothing.dat", "");
	assert_content(s, "nothing.dat", "");
	/* Where not everybody may read, a new thing is not public either. */
	put(s, "nested/not public", "mine.txt", "x");
	find(s, "nested/not public/mine.txt", &now);
	assert_int_equal(now.rights, RIGHT_READ | RIGHT_WRITE);
	object_done(&now);
	close_it(s);
}

static void test_a_long_content_goes_in_chunks_that_are_noted_first(void **state)
{
	struct session *s = open_source("memory:");
	_cleanup_free_ char *text = long_text(2500);

	put(s, "", "long.txt", text);
	assert_int_equal(noted.notes, 3);
	assert_int_equal(noted.sent, 2000);
	assert_content(s, "long.txt", text);
	/* What cannot be written down is not sent. */
	noted.result = -EIO;
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "other.txt", .text = text}, NULL), -EIO);
	assert_false(is_there(s, "other.txt"));
	close_it(s);
}

static void test_a_new_content_is_a_new_version_of_the_same_thing(void **state)
{
	struct session *s = open_source("memory:");
	struct object first, second, third;
	struct buf b = {0};

	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a.txt", .text = "one"}, &first), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a.txt", .text = "two", .base = &first}, &second), 0);
	assert_string_equal(first.id, second.id);
	assert_string_not_equal(first.version, second.version);
	assert_content(s, "a.txt", "two");
	assert_int_equal(read_all(s, &first, &b), -ESTALE);
	/* Back to the old content is the old version: equal ones have equal bytes. */
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a.txt", .text = "one", .base = &second}, &third), 0);
	assert_string_equal(third.version, first.version);
	assert_int_equal(read_all(s, &first, &b), 0);
	buf_done(&b);
	object_done(&first);
	object_done(&second);
	object_done(&third);
	close_it(s);
}

static void test_a_thing_of_the_sample_can_be_replaced_where_it_may(void **state)
{
	struct session *s = open_source("memory:");
	struct object notes, now, readme;

	find(s, "nested/not public/notes.txt", &notes);
	assert_int_equal(upload(s, (struct what){.dir = "nested/not public", .name = "notes.txt", .text = "mine", .base = &notes}, &now), 0);
	assert_string_equal(now.id, notes.id);
	assert_string_equal(now.mime, notes.mime);
	assert_content(s, "nested/not public/notes.txt", "mine");
	assert_names(s, "nested/not public", NULL, "notes.txt");
	find(s, "README.txt", &readme);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "README.txt", .text = "x", .base = &readme}, NULL), -EACCES);
	assert_int_equal(upload(s, (struct what){.dir = "tables", .name = "x", .text = "x"}, NULL), -EACCES);
	object_done(&notes);
	object_done(&now);
	object_done(&readme);
	close_it(s);
}

static void test_what_somebody_else_did_is_not_overwritten(void **state)
{
	struct session *s = open_source("memory:");
	struct object old, now, dir;

	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "1"}, &old), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "2"}, NULL), -EEXIST);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "2", .base = &old}, &now), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "3", .base = &old}, NULL), -ESTALE);
	assert_content(s, "a", "2");
	find(s, "", &dir);
	assert_int_equal(backend_remove(s, &dir, &now, NULL), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "3", .base = &now}, NULL), -ESTALE);
	assert_false(is_there(s, "a"));
	object_done(&old);
	object_done(&now);
	object_done(&dir);
	close_it(s);
}

static void test_an_upload_into_what_is_gone_finds_nothing(void **state)
{
	struct session *s = open_source("memory:");
	struct object root, dir;
	struct upload u = {.dir = &dir, .name = "x", .begun = BEFORE_ALL, .note = note, .fd = file_of("")};

	find(s, "", &root);
	assert_int_equal(backend_mkdir(s, &root, "d", &dir), 0);
	assert_int_equal(backend_remove(s, &root, &dir, NULL), 0);
	assert_int_equal(backend_upload(s, &u), -ENOENT);
	free(u.why);
	close(u.fd);
	object_done(&root);
	object_done(&dir);
	close_it(s);
}

static void test_an_upload_goes_on_where_it_was_cut(void **state)
{
	struct session *s = open_source("memory:?cut=2");
	_cleanup_free_ char *text = long_text(3500), *progress = NULL;

	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = text}, NULL), -ECONNRESET);
	assert_int_equal(noted.sent, 1000);
	assert_false(is_there(s, "a"));
	progress = strdup(noted.progress);
	noted.notes = 0;
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = text, .progress = progress, .again = true}, NULL), 0);
	assert_int_equal(noted.notes, 2);       /* the chunk that was cut off had come */
	assert_content(s, "a", text);
	close_it(s);
}

static void test_a_lost_answer_is_found_when_it_is_asked_again(void **state)
{
	struct session *s = open_source("memory:?cut=1");
	struct what w = {.dir = "", .name = "a", .text = "short"};
	_cleanup_free_ char *progress = NULL;
	struct object o, now;

	assert_int_equal(upload(s, w, NULL), -ECONNRESET);
	progress = strdup(noted.progress);
	find(s, "a", &now);                     /* it had landed */
	noted.notes = 0;
	w.again = true;
	w.progress = progress;
	assert_int_equal(upload(s, w, &o), 0);
	assert_int_equal(noted.notes, 0);       /* nothing was sent */
	assert_string_equal(o.id, now.id);
	object_done(&o);
	/* Also who has lost its notes, by content and time. */
	w.progress = NULL;
	assert_int_equal(upload(s, w, &o), 0);
	assert_int_equal(noted.notes, 0);
	object_done(&o);
	w.begun = clock_wall().tv_sec + 10;
	assert_int_equal(upload(s, w, NULL), -EEXIST);
	w.begun = 0;
	w.text = "other";
	assert_int_equal(upload(s, w, NULL), -EEXIST);
	object_done(&now);
	close_it(s);
}

static void test_lost_answers_lose_nothing(void **state)
{
	static const char *const sources[] = {"memory:?lose=1", "memory:?lose=2", "memory:?lose=50%25"};
	_cleanup_free_ char *text = long_text(7100);

	for (size_t i = 0; i < COUNT(sources); i++) {
		struct session *s = open_source(sources[i]);
		struct what w = {.dir = "", .name = "a", .text = text};
		unsigned tries = 1;
		char progress[100];
		int r;

		for (; (r = upload(s, w, NULL)) == -EIO; tries++) {
			snprintf(progress, sizeof(progress), "%s", noted.progress);
			w.progress = progress;
			w.again = true;
			assert_true(tries < 20);
		}
		assert_int_equal(r, 0);
		assert_true(tries > 1);
		assert_content(s, "a", text);
		close_it(s);
	}
}

static void test_a_change_whose_answer_is_lost_was_made(void **state)
{
	struct session *s = open_source("memory:?lose=1");
	struct object root, dir;

	find(s, "", &root);
	assert_int_equal(backend_mkdir(s, &root, "d", &dir), -EIO);
	assert_true(is_there(s, "d"));
	assert_int_equal(backend_mkdir(s, &root, "d", &dir), -EEXIST);
	find(s, "d", &dir);
	assert_int_equal(backend_remove(s, &root, &dir, NULL), -EIO);
	assert_false(is_there(s, "d"));
	object_done(&root);
	object_done(&dir);
	close_it(s);
}

static void test_somebody_else_comes_first_once(void **state)
{
	struct session *s = open_source("memory:?taken=a&moved=b");
	struct object b, now;

	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "mine"}, NULL), -EEXIST);
	assert_content(s, "a", "somebody else was here\n");
	put(s, "", "a.conflict", "mine");
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "b", .text = "1"}, &b), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "b", .text = "2", .base = &b}, NULL), -ESTALE);
	assert_content(s, "b", "somebody else was here\n");
	find(s, "b", &now);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "b", .text = "2", .base = &now}, NULL), 0);
	object_done(&b);
	object_done(&now);
	close_it(s);
}

static void test_uploads_are_refused_as_asked(void **state)
{
	struct session *s = open_source("memory:?refuse=a:EACCES&refuse=b:EDQUOT:2");
	struct object root, dir;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "1"}, NULL), -EACCES);
		assert_int_equal(upload(s, (struct what){.dir = "", .name = "b", .text = "1"}, NULL), i < 2 ? -EDQUOT : 0);
	}
	find(s, "", &root);
	assert_int_equal(backend_mkdir(s, &root, "a", &dir), -EACCES);
	find(s, "b", &dir);
	assert_int_equal(backend_rename(s, &dir, &root, &root, "a", NULL, &dir), -EACCES);
	object_done(&root);
	object_done(&dir);
	close_it(s);
}

static void test_room_and_quota_are_limits(void **state)
{
	struct session *s = open_source("memory:?room=1000&quota=600");
	_cleanup_free_ char *most = long_text(600), *half = long_text(500), *more = long_text(101);
	struct object o, root;
	uint64_t used, total;

	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = most}, &o), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "b", .text = "1"}, NULL), -EDQUOT);
	/* In the place of the old content there is quota for a new one, but both must be held for a moment. */
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = half, .base = &o}, NULL), -ENOSPC);
	find(s, "", &root);
	assert_int_equal(backend_remove(s, &root, &o, NULL), 0);
	object_done(&o);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = half}, &o), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "b", .text = more}, NULL), -EDQUOT);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = more, .base = &o}, NULL), 0);
	assert_int_equal(backend_space(s, &used, &total), 0);
	assert_int_equal(used, 101);
	assert_int_equal(total, 600);
	object_done(&o);
	object_done(&root);
	close_it(s);
}

static void test_a_dropped_upload_gives_its_room_back(void **state)
{
	struct session *s = open_source("memory:?cut=1");
	_cleanup_free_ char *text = long_text(3000);
	uint64_t used, total;

	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = text}, NULL), -ECONNRESET);
	assert_int_equal(backend_space(s, &used, &total), 0);
	assert_int_equal(used, 3000);
	assert_int_equal(total, ROOM_DEFAULT);
	assert_int_equal(backend_upload_drop(s, noted.progress), 0);
	assert_int_equal(backend_upload_drop(s, noted.progress), 0);
	assert_int_equal(backend_space(s, &used, &total), 0);
	assert_int_equal(used, 0);
	close_it(s);
}

static void test_a_cancelled_upload_ends_between_chunks(void **state)
{
	struct session *s = open_source("memory:?updelay=30s");
	uint64_t at = clock_mono_ms();

	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "x", .cancelled = 1}, NULL), -EINTR);
	assert_true(clock_mono_ms() - at < 5000);
	assert_false(is_there(s, "a"));
	close_it(s);
}

static void test_lanes_are_directories(void **state)
{
	struct session *s = open_source("memory:?lanes=1");
	struct object root;
	char *lane;

	find(s, "", &root);
	assert_int_equal(backend_lane(s, &root, "a", NULL, &lane), 0);
	assert_string_equal(lane, root.id);
	free(lane);
	close_it(s);
	s = open_source("memory:");
	assert_int_equal(backend_lane(s, &root, "a", NULL, &lane), 0);
	assert_null(lane);
	object_done(&root);
	close_it(s);
}

/* ---- the tree ---- */

static void test_directories_and_links_are_made_and_removed(void **state)
{
	struct session *s = open_source("memory:");
	struct object root, d, l, tables, o;

	find(s, "", &root);
	find(s, "tables", &tables);
	assert_int_equal(backend_mkdir(s, &root, "d", &d), 0);
	assert_int_equal(d.kind, OBJECT_DIR);
	assert_int_equal(backend_mkdir(s, &root, "d", &o), -EEXIST);
	assert_int_equal(backend_mkdir(s, &root, "tables", &o), -EEXIST);
	assert_int_equal(backend_mkdir(s, &tables, "d", &o), -EACCES);
	assert_int_equal(backend_symlink(s, &d, "l", "../any where\n", &l), 0);
	assert_string_equal(l.target, "../any where\n");
	assert_int_equal(l.kind, OBJECT_LINK);
	assert_int_equal(backend_symlink(s, &d, "m", "", &o), -EINVAL);
	assert_names(s, "d", NULL, "l");
	assert_int_equal(backend_remove(s, &root, &d, NULL), -ENOTEMPTY);
	assert_int_equal(backend_remove(s, &root, &l, NULL), -ENOENT);          /* it is not there */
	assert_int_equal(backend_remove(s, &d, &l, NULL), 0);
	assert_int_equal(backend_stat(s, &l, &o), -ENOENT);
	assert_int_equal(backend_remove(s, &root, &d, NULL), 0);
	assert_int_equal(backend_remove(s, &root, &d, NULL), -ENOENT);
	assert_int_equal(backend_remove(s, &root, &tables, NULL), -EACCES);
	object_done(&root);
	object_done(&d);
	object_done(&l);
	object_done(&tables);
	close_it(s);
}

static void test_a_plan_tells_what_may_be(void **state)
{
	struct session *s = open_source("memory:");
	_cleanup_free_ char *name = long_text(NAME_MAX_RAW + 1);
	struct object root, tables, o;

	find(s, "", &root);
	find(s, "tables", &tables);
	assert_int_equal(backend_plan_create(s, &root, "x", OBJECT_FILE, &o), 0);
	assert_null(o.id);
	assert_string_equal(o.name, "x");
	assert_int_equal(o.kind, OBJECT_FILE);
	assert_int_equal(o.rights, RIGHT_READ | RIGHT_WRITE | RIGHT_PUBLIC);
	object_done(&o);
	assert_int_equal(backend_plan_create(s, &tables, "x", OBJECT_FILE, &o), -EACCES);
	assert_int_equal(backend_plan_create(s, &root, "", OBJECT_DIR, &o), -EPERM);
	assert_int_equal(backend_plan_create(s, &root, name, OBJECT_DIR, &o), -EPERM);
	name[NAME_MAX_RAW] = 0;
	assert_int_equal(backend_plan_create(s, &root, name, OBJECT_DIR, &o), 0);
	object_done(&o);
	object_done(&root);
	object_done(&tables);
	close_it(s);
}

static void test_readonly_refuses_everything(void **state)
{
	struct session *s = open_source("memory:?readonly=1&files=2");
	struct object root, f, o;
	struct attrs a = {0};

	find(s, "", &root);
	find(s, "file-000000.dat", &f);
	assert_int_equal((root.rights | f.rights) & RIGHT_WRITE, 0);
	root.rights |= RIGHT_WRITE;             /* as one who was told so before */
	f.rights |= RIGHT_WRITE;
	assert_int_equal(backend_plan_create(s, &root, "x", OBJECT_FILE, &o), -EACCES);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "x", .text = ""}, NULL), -EACCES);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "x", .text = "", .base = &f}, NULL), -EACCES);
	assert_int_equal(backend_mkdir(s, &root, "x", &o), -EACCES);
	assert_int_equal(backend_symlink(s, &root, "x", "y", &o), -EACCES);
	assert_int_equal(backend_copy(s, &f, &root, "x", &o), -EACCES);
	assert_int_equal(backend_remove(s, &root, &f, NULL), -EACCES);
	assert_int_equal(backend_rename(s, &f, &root, &root, "x", NULL, &o), -EACCES);
	assert_int_equal(backend_check_attr(s, &f, "memory.meta.x"), -EACCES);
	assert_int_equal(backend_set_attrs(s, &f, &a, NULL), -EACCES);
	object_done(&root);
	object_done(&f);
	close_it(s);
}

static void test_a_renamed_thing_keeps_its_identity(void **state)
{
	struct session *s = open_source("memory:?files=4&dirs=2&size=10");
	struct object root, from, to, f, now;
	struct buf b = {0}, was = {0};

	find(s, "", &root);
	find(s, "dir-00000", &from);
	find(s, "dir-00001", &to);
	find(s, "dir-00000/file-000001.dat", &f);
	assert_int_equal(read_all(s, &f, &was), 0);
	assert_int_equal(backend_rename(s, &f, &from, &to, "new name", NULL, &now), 0);
	assert_string_equal(now.id, f.id);
	assert_string_equal(now.version, f.version);
	assert_string_equal(now.name, "new name");
	assert_int_equal(now.mtime.tv_sec, f.mtime.tv_sec);
	assert_true(now.listed.tv_sec > f.listed.tv_sec);
	assert_int_equal(read_all(s, &now, &b), 0);
	assert_memory_equal(b.data, was.data, 10);
	assert_names(s, "dir-00000", NULL, "file-000000.dat");
	assert_names(s, "dir-00001", NULL, "file-000002.dat file-000003.dat new name");
	/* A directory takes along what is in it, and what is in it is found there. */
	object_done(&now);
	assert_int_equal(backend_rename(s, &to, &root, &from, "sub", NULL, &now), 0);
	assert_names(s, "dir-00000/sub", NULL, "file-000002.dat file-000003.dat new name");
	assert_names(s, "dir-00000", "e-00000", "file-000000.dat file-000002.dat file-000003.dat");
	assert_names(s, "", NULL, "dir-00000");
	assert_int_equal(backend_rename(s, &f, &from, &root, "x", NULL, &now), -ENOENT);        /* it is not there any more */
	buf_done(&b);
	buf_done(&was);
	object_done(&root);
	object_done(&from);
	object_done(&to);
	object_done(&f);
	object_done(&now);
	close_it(s);
}

static void test_a_directory_does_not_go_into_itself(void **state)
{
	struct session *s = open_source("memory:");
	struct object root, a, b, c, now;

	find(s, "", &root);
	assert_int_equal(backend_mkdir(s, &root, "a", &a), 0);
	assert_int_equal(backend_mkdir(s, &a, "b", &b), 0);
	assert_int_equal(backend_mkdir(s, &b, "c", &c), 0);
	assert_int_equal(backend_rename(s, &a, &root, &c, "x", NULL, &now), -EINVAL);
	assert_int_equal(backend_rename(s, &a, &root, &a, "x", NULL, &now), -EINVAL);
	assert_int_equal(backend_rename(s, &c, &b, &root, "c", NULL, &now), 0);
	object_done(&now);
	assert_int_equal(backend_rename(s, &a, &root, &c, "a", NULL, &now), 0);
	assert_true(is_there(s, "c/a/b"));
	object_done(&now);
	object_done(&root);
	object_done(&a);
	object_done(&b);
	object_done(&c);
	close_it(s);
}

static void test_rename_replaces_only_what_it_was_told_of(void **state)
{
	struct session *s = open_source("memory:");
	struct object root, a, b, d, e, now;

	find(s, "", &root);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "1"}, &a), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "b", .text = "2"}, &b), 0);
	assert_int_equal(backend_mkdir(s, &root, "d", &d), 0);
	assert_int_equal(backend_mkdir(s, &root, "e", &e), 0);
	put(s, "e", "in", "x");
	assert_int_equal(backend_rename(s, &a, &root, &root, "b", NULL, &now), -EEXIST);
	assert_int_equal(backend_rename(s, &a, &root, &root, "d", &b, &now), -EEXIST);
	assert_int_equal(backend_rename(s, &a, &root, &root, "d", &d, &now), -EISDIR);
	assert_int_equal(backend_rename(s, &d, &root, &root, "a", &a, &now), -ENOTDIR);
	assert_int_equal(backend_rename(s, &d, &root, &root, "e", &e, &now), -ENOTEMPTY);
	assert_int_equal(backend_rename(s, &e, &root, &root, "d", &d, &now), 0);
	object_done(&now);
	assert_content(s, "d/in", "x");
	assert_int_equal(backend_rename(s, &a, &root, &root, "b", &b, &now), 0);
	assert_string_equal(now.id, a.id);
	object_done(&now);
	assert_content(s, "b", "1");
	assert_int_equal(backend_stat(s, &b, &now), -ENOENT);
	assert_false(is_there(s, "a"));
	/* Onto its own name nothing happens; what was over is gone already. */
	assert_int_equal(backend_rename(s, &a, &root, &root, "b", &a, &now), 0);
	object_done(&now);
	assert_int_equal(backend_rename(s, &a, &root, &root, "c", &b, &now), 0);
	object_done(&now);
	assert_content(s, "c", "1");
	object_done(&root);
	object_done(&a);
	object_done(&b);
	object_done(&d);
	object_done(&e);
	close_it(s);
}

static void test_rename_over_a_thing_of_the_base(void **state)
{
	struct session *s = open_source("memory:?files=3&size=5");
	struct object root, a, b, now;

	find(s, "", &root);
	find(s, "file-000001.dat", &b);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "1"}, &a), 0);
	assert_int_equal(backend_rename(s, &a, &root, &root, "file-000001.dat", &b, &now), 0);
	assert_content(s, "file-000001.dat", "1");
	assert_names(s, "", NULL, "file-000000.dat file-000002.dat file-000001.dat");
	assert_int_equal(backend_stat(s, &b, &root), -ENOENT);
	object_done(&a);
	object_done(&b);
	object_done(&now);
	object_done(&root);
	close_it(s);
}

static void test_a_copy_is_a_thing_of_its_own(void **state)
{
	struct session *s = open_source("memory:");
	struct object root, planets, o, dir;
	struct doc d = {0};
	struct buf b = {0};
	struct attrs a = {0};

	find(s, "", &root);
	find(s, "tables", &dir);
	find(s, "tables/planets.csv", &planets);
	assert_int_equal(backend_copy(s, &planets, &root, "mine.csv", &o), 0);
	assert_string_not_equal(o.id, planets.id);
	assert_string_equal(o.digest, planets.digest);
	assert_string_equal(o.mime, "text/csv");
	assert_int_equal(read_all(s, &o, &b), 0);
	assert_int_equal(b.len, planets.size);
	assert_int_equal(backend_get_doc(s, &o, &d), 0);
	assert_non_null(strstr(d.text, "The planets"));
	assert_int_equal(backend_copy(s, &planets, &root, "mine.csv", &dir), -EEXIST);
	assert_int_equal(backend_copy(s, &dir, &root, "no.csv", &o), -EINVAL);
	assert_int_equal(attrs_add(&a, "memory.meta.rows", "9", 1), 0);
	object_done(&o);
	find(s, "mine.csv", &o);
	assert_int_equal(backend_set_attrs(s, &o, &a, NULL), 0);
	attrs_done(&a);
	buf_done(&b);
	doc_done(&d);
	object_done(&root);
	object_done(&dir);
	object_done(&planets);
	object_done(&o);
	close_it(s);
}

static void test_pages_hold_together_while_things_are_made(void **state)
{
	struct session *s = open_source("memory:?files=5&page=2");
	struct object root, f;

	put(s, "", "x1", "");
	put(s, "", "x2", "");
	put(s, "", "x3", "");
	find(s, "", &root);
	find(s, "file-000002.dat", &f);
	assert_int_equal(backend_remove(s, &root, &f, NULL), 0);
	assert_names(s, "", NULL, "file-000000.dat file-000001.dat file-000003.dat file-000004.dat x1 x2 x3");
	assert_names(s, "", "x", "x1 x2 x3");
	object_done(&root);
	object_done(&f);
	close_it(s);
}

static void test_a_change_is_told_by_the_fingerprint(void **state)
{
	struct session *s = open_source("memory:"), *t = open_source("memory:");
	char *fingerprint = NULL;
	struct object root;

	find(s, "", &root);
	assert_int_equal(backend_changed(s, &root, &fingerprint), 1);
	assert_int_equal(backend_changed(t, &root, &fingerprint), 0);
	put(s, "", "a", "x");
	assert_int_equal(backend_changed(s, &root, &fingerprint), 1);
	assert_int_equal(backend_changed(s, &root, &fingerprint), 0);
	put(t, "", "b", "x");                   /* as many changes, and others */
	assert_int_equal(backend_changed(t, &root, &fingerprint), 1);
	free(fingerprint);
	object_done(&root);
	close_it(s);
	close_it(t);
}

static void test_what_was_made_knows_its_place(void **state)
{
	struct session *s = open_source("memory:");
	struct object root, d, f;
	struct page p = {0};

	find(s, "", &root);
	assert_int_equal(backend_mkdir(s, &root, "d", &d), 0);
	put(s, "d", "f", "x");
	find(s, "d/f", &f);
	assert_int_equal(backend_locate(s, f.id, &p), 0);
	assert_int_equal(p.objects.n, 2);
	assert_string_equal(p.objects.at[0].name, "d");
	assert_string_equal(p.objects.at[1].id, f.id);
	assert_int_equal(backend_locate(s, "made", &p), -EISDIR);
	assert_int_equal(backend_locate(s, "made/0123456789abcdef", &p), -ENOENT);
	page_done(&p);
	object_done(&root);
	object_done(&d);
	object_done(&f);
	close_it(s);
}

/* ---- metadata ---- */

static void meta_of(struct session *s, const struct object *o, char ret[2000])
{
	struct doc d = {0};
	const char *meta;
	size_t n;

	assert_int_equal(backend_get_doc(s, o, &d), 0);
	assert_int_equal(json_raw_member(d.text, d.len, "meta", &meta, &n), 0);
	snprintf(ret, 2000, "%.*s", (int)n, meta);
	doc_done(&d);
}

static int set(struct session *s, const struct object *o, const char *name, const char *value)
{
	struct attrs a = {0};
	int r;

	assert_int_equal(attrs_add(&a, name, value ? value : "", value ? strlen(value) : 0), 0);
	if (!value)
		free(TAKE(a.list.at[0].value));
	r = backend_set_attrs(s, o, &a, NULL);
	attrs_done(&a);
	return r;
}

static void test_attributes_are_set_and_removed(void **state)
{
	static const struct {
		const char *name, *value;       /* NULL: removed */
		int result;
		const char *meta;
	} steps[] = {
		{"memory.meta.a", "text", 0, "{\"a\": \"text\"}"},
		{"memory.meta.n", "9007199254740993", 0, "{\"a\": \"text\", \"n\": 9007199254740993}"},
		{"memory.meta.n", "1.50e+3", 0, "{\"a\": \"text\", \"n\": 1.50e+3}"},
		{"memory.meta.in.ner", "[1, 2]", 0, "{\"a\": \"text\", \"n\": 1.50e+3, \"in\": {\"ner\": [1, 2]}}"},
		{"memory.meta.in.most", "{\"x\": null}", 0, "{\"a\": \"text\", \"n\": 1.50e+3, \"in\": {\"ner\": [1, 2], \"most\": {\"x\": null}}}"},
		{"memory.meta.n", NULL, 0, "{\"a\": \"text\", \"in\": {\"ner\": [1, 2], \"most\": {\"x\": null}}}"},
		{"memory.meta.n", NULL, -ENODATA, NULL},
		{"memory.meta.in.no", NULL, -ENODATA, NULL},
		{"memory.meta.in.most.x", NULL, 0, "{\"a\": \"text\", \"in\": {\"ner\": [1, 2], \"most\": {}}}"},
		{"memory.meta", "{\"a\": 1, \"d.o.t\": \"\\u00e9\"}", 0,
		 "{\"a\": 1, \"in\": {\"ner\": [1, 2], \"most\": {}}, \"d.o.t\": \"\\u00e9\"}"},
		{"memory.meta.d.o.t", "2", 0, "{\"a\": 1, \"in\": {\"ner\": [1, 2], \"most\": {}}, \"d.o.t\": 2}"},
		{"memory.meta.d.o.t", NULL, 0, "{\"a\": 1, \"in\": {\"ner\": [1, 2], \"most\": {}}}"},
		{"memory.meta.b", "null", 0, "{\"a\": 1, \"in\": {\"ner\": [1, 2], \"most\": {}}}"},
		{"memory.meta.b", "1", 0, NULL},
		{"memory.meta.c", "2", 0, NULL},
		{"memory.meta.c", "null", 0, "{\"a\": 1, \"in\": {\"ner\": [1, 2], \"most\": {}}, \"b\": 1}"},
		{"memory.meta", "{\"b\": null, \"none\": null}", 0, "{\"a\": 1, \"in\": {\"ner\": [1, 2], \"most\": {}}}"},
		{"memory.meta", "[]", -EINVAL, NULL},
		{"memory.meta", "{", -EINVAL, NULL},
		{"memory.meta.", "x", -ENOTSUP, NULL},
		{"memory.id", "x", 0, NULL},
		{"memory.size", "x", -ENOTSUP, NULL},
		{"own", "x", -ENOTSUP, NULL},
		{"memory.meta.broken", "{\"x\": ", 0, "{\"a\": 1, \"in\": {\"ner\": [1, 2], \"most\": {}}, \"broken\": \"{\\\"x\\\": \"}"},
		{"memory.meta.empty", "", 0, NULL},
		{"memory.meta", NULL, 0, "{}"},
		{"memory.meta.quo\"te\n", "x", 0, "{\"quo\\\"te\\n\": \"x\"}"},
		{"memory.meta.quo\"te\n", "y", 0, "{\"quo\\\"te\\n\": \"y\"}"},
		{"memory.meta.quo\"te\n", NULL, 0, "{}"},
		{"memory.meta..x.", "1", 0, "{\".x.\": 1}"},
	};
	struct session *s = open_source("memory:");
	char before[2000] = "{}", now[2000];
	struct object o;

	put(s, "", "a", "x");
	find(s, "a", &o);
	for (size_t i = 0; i < COUNT(steps); i++) {
		int r = set(s, &o, steps[i].name, steps[i].value);

		meta_of(s, &o, now);
		if (r != steps[i].result || (steps[i].meta && strcmp(now, steps[i].meta) != 0))
			fail_msg("%s: %d: %s", steps[i].name, r, now);
		if (r < 0)
			assert_string_equal(now, before);
		strcpy(before, now);
	}
	object_done(&o);
	close_it(s);
}

static void test_several_attributes_are_all_set_or_none(void **state)
{
	struct session *s = open_source("memory:");
	struct object o, link, dir, tables;
	struct attrs a = {0};
	char now[2000];

	put(s, "", "a", "x");
	find(s, "a", &o);
	assert_int_equal(attrs_add(&a, "memory.meta.one", "1", 1), 0);
	assert_int_equal(attrs_add(&a, "memory.meta", "no", 2), 0);
	assert_int_equal(backend_set_attrs(s, &o, &a, NULL), -EINVAL);
	meta_of(s, &o, now);
	assert_string_equal(now, "{}");
	attrs_done(&a);
	assert_int_equal(attrs_add(&a, "memory.meta.one", "1", 1), 0);
	assert_int_equal(attrs_add(&a, "memory.meta.two", "2", 1), 0);
	assert_int_equal(backend_set_attrs(s, &o, &a, NULL), 0);
	meta_of(s, &o, now);
	assert_string_equal(now, "{\"one\": 1, \"two\": 2}");
	attrs_done(&a);
	find(s, "", &dir);
	assert_int_equal(set(s, &dir, "memory.meta.title", "of the root"), 0);
	meta_of(s, &dir, now);
	assert_string_equal(now, "{\"title\": \"of the root\"}");
	find(s, "links/website", &link);
	assert_int_equal(backend_check_attr(s, &link, "memory.meta.x"), -ENOTSUP);
	find(s, "tables", &tables);
	assert_int_equal(set(s, &tables, "memory.meta.x", "1"), -EACCES);
	object_done(&o);
	object_done(&dir);
	object_done(&link);
	object_done(&tables);
	close_it(s);
}

static void test_metadata_has_a_limit(void **state)
{
	struct session *s = open_source("memory:");
	_cleanup_free_ char *text = long_text(META_MAX);
	struct object o;

	put(s, "", "a", "x");
	find(s, "a", &o);
	assert_int_equal(set(s, &o, "memory.meta.x", text), -EINVAL);
	text[META_MAX - 100] = 0;
	assert_int_equal(set(s, &o, "memory.meta.x", text), 0);
	object_done(&o);
	close_it(s);
}

static int write_doc(struct session *s, const struct object *o, const struct doc *base, const char *find_, const char *replace)
{
	_cleanup_buf_ struct buf b = BUF_MAX(10000);
	const char *at = strstr(base->text, find_);
	struct doc now;

	assert_non_null(at);
	assert_int_equal(buf_add(&b, base->text, (size_t)(at - base->text)), 0);
	assert_int_equal(buf_addf(&b, "%s%s", replace, at + strlen(find_)), 0);
	now = (struct doc){b.data, b.len};
	return backend_memory.set_doc(s, o, base, &now);
}

static void test_a_document_is_replaced(void **state)
{
	struct session *s = open_source("memory:");
	struct doc base = {0};
	struct object o;
	char now[2000];

	put(s, "", "a", "x");
	find(s, "a", &o);
	assert_int_equal(set(s, &o, "memory.meta.old", "1"), 0);
	assert_int_equal(backend_get_doc(s, &o, &base), 0);
	assert_int_equal(write_doc(s, &o, &base, "{\"old\": 1}", "{\"new\":\n 9007199254740993}"), 0);
	meta_of(s, &o, now);
	assert_string_equal(now, "{\"new\":\n 9007199254740993}");
	assert_int_equal(write_doc(s, &o, &base, "{\"old\": 1}", "{}"), -ESTALE);
	doc_done(&base);
	assert_int_equal(backend_get_doc(s, &o, &base), 0);
	assert_int_equal(write_doc(s, &o, &base, "\"size\": 1", "\"size\": 2"), -EINVAL);
	assert_int_equal(write_doc(s, &o, &base, "\"size\": 1, ", ""), -EINVAL);
	assert_int_equal(write_doc(s, &o, &base, "\"size\"", "\"more\": 1, \"size\""), -EINVAL);
	assert_int_equal(write_doc(s, &o, &base, "\"size\": 1", "\"size\"   :   1.0"), 0);
	assert_int_equal(write_doc(s, &o, &base, "9007199254740993}", "9007199254740993"), -EINVAL);
	doc_done(&base);
	object_done(&o);
	close_it(s);
}

static void test_controls(void **state)
{
	struct session *s = open_source("memory:");
	_cleanup_buf_ struct buf question = BUF_MAX(100), answer = BUF_MAX(1000);
	struct object root, shelf, o;
	struct page p = {0};

	find(s, "", &root);
	assert_int_equal(buf_adds(&question, " who \"is\" there?\n"), 0);
	assert_int_equal(backend_control_call(s, &root, "call", &question, &answer), 0);
	assert_string_equal(answer.data, "{\"about\": \"root\", \"question\": \"who \\\"is\\\" there?\"}\n");
	buf_clear(&question);
	assert_int_equal(backend_control_call(s, &root, "call", &question, &answer), -EINVAL);
	assert_int_equal(backend_control_object(s, &root, "nothing", &o), -ENOENT);
	assert_int_equal(backend_control_object(s, &root, "shelf", &shelf), 0);
	assert_int_equal(backend_mkdir(s, &shelf, "on it", &o), 0);
	assert_int_equal(backend_list(s, &shelf, &p), 0);
	assert_int_equal(p.objects.n, 1);
	assert_int_equal(backend_locate(s, o.id, &p), -EXDEV);
	assert_int_equal(backend_query(s, &root, "on it", &p, NULL), 0);
	assert_int_equal(p.objects.n, 0);
	assert_int_equal(backend_remove(s, &shelf, &o, NULL), 0);
	object_done(&o);
	object_done(&root);
	object_done(&shelf);
	page_done(&p);
	close_it(s);
}

/* ---- the store ---- */

static struct session *open_store(const char *dir, const char *words)
{
	_cleanup_free_ char *source = NULL;

	assert_int_equal(str_fmt(&source, "memory:?store=%s%s", dir, words), 0);
	return open_source(source);
}

static void test_a_store_outlives_its_process(void **state)
{
	char *dir = test_dir_new();
	struct session *s = open_store(dir, "");
	struct object root, d, f, g, old, now;
	char meta[2000];

	find(s, "", &root);
	assert_int_equal(backend_mkdir(s, &root, "d\n\377", &d), 0);
	assert_int_equal(upload(s, (struct what){.dir = "d\n\377", .name = "f", .text = "one"}, &old), 0);
	assert_int_equal(upload(s, (struct what){.dir = "d\n\377", .name = "f", .text = "two", .base = &old}, &f), 0);
	assert_int_equal(set(s, &f, "memory.meta.big", "9007199254740993"), 0);
	put(s, "", "gone", "x");
	put(s, "", "empty", "");
	find(s, "gone", &g);
	assert_int_equal(backend_remove(s, &root, &g, NULL), 0);
	assert_int_equal(backend_symlink(s, &root, "l", "to \376", &now), 0);
	object_done(&now);
	close_it(s);
	s = open_store(dir, "");
	find(s, "d\n\377/f", &now);
	assert_string_equal(now.id, f.id);
	assert_string_equal(now.version, f.version);
	assert_string_equal(now.digest, f.digest);
	assert_true(now.mtime.tv_sec == f.mtime.tv_sec && now.mtime.tv_nsec == f.mtime.tv_nsec);
	assert_content(s, "d\n\377/f", "two");
	assert_content(s, "empty", "");
	meta_of(s, &now, meta);
	assert_string_equal(meta, "{\"big\": 9007199254740993}");
	assert_false(is_there(s, "gone"));
	object_done(&now);
	find(s, "l", &now);
	assert_string_equal(now.target, "to \376");
	close_it(s);
	object_done(&root);
	object_done(&d);
	object_done(&old);
	object_done(&f);
	object_done(&g);
	object_done(&now);
	test_dir_done(dir);
}

static void test_a_store_keeps_what_became_of_the_base(void **state)
{
	char *dir = test_dir_new();
	struct session *s = open_store(dir, "&files=3");
	struct object root, f, now;

	find(s, "", &root);
	find(s, "file-000000.dat", &f);
	assert_int_equal(backend_remove(s, &root, &f, NULL), 0);
	object_done(&f);
	find(s, "file-000001.dat", &f);
	assert_int_equal(backend_rename(s, &f, &root, &root, "other", NULL, &now), 0);
	close_it(s);
	s = open_store(dir, "&files=3");
	assert_names(s, "", NULL, "file-000002.dat other");
	close_it(s);
	object_done(&root);
	object_done(&f);
	object_done(&now);
	test_dir_done(dir);
}

static void test_two_share_a_store(void **state)
{
	char *dir = test_dir_new();
	struct session *s = open_store(dir, ""), *t = open_store(dir, "");
	char *fingerprint = NULL;
	struct object root, o;

	find(t, "", &root);
	assert_int_equal(backend_changed(t, &root, &fingerprint), 1);
	put(s, "", "a", "from s");
	assert_int_equal(backend_changed(t, &root, &fingerprint), 1);
	assert_content(t, "a", "from s");
	find(t, "a", &o);
	assert_int_equal(upload(t, (struct what){.dir = "", .name = "a", .text = "from t", .base = &o}, NULL), 0);
	assert_content(s, "a", "from t");
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "from s again", .base = &o}, NULL), -ESTALE);
	object_done(&o);
	find(s, "a", &o);
	assert_int_equal(backend_remove(s, &root, &o, NULL), 0);
	assert_false(is_there(t, "a"));
	free(fingerprint);
	object_done(&o);
	object_done(&root);
	close_it(s);
	close_it(t);
	test_dir_done(dir);
}

static void test_an_upload_goes_on_in_the_next_process(void **state)
{
	char *dir = test_dir_new();
	struct session *s = open_store(dir, "&cut=2");
	_cleanup_free_ char *text = long_text(3500), *progress = NULL;
	struct what w = {.dir = "", .name = "a", .text = text};

	assert_int_equal(upload(s, w, NULL), -ECONNRESET);
	close_it(s);
	s = open_store(dir, "&cut=4");
	progress = strdup(noted.progress);
	noted.notes = 0;
	w.progress = progress;
	w.again = true;
	assert_int_equal(upload(s, w, NULL), -ECONNRESET);
	assert_int_equal(noted.notes, 2);
	close_it(s);
	s = open_store(dir, "");
	noted.notes = 0;
	assert_int_equal(upload(s, w, NULL), 0);        /* the answer to the last one was lost */
	assert_int_equal(noted.notes, 0);
	assert_content(s, "a", text);
	close_it(s);
	test_dir_done(dir);
}

/* As a process that was killed between the two halves: the entry says what it is over, and that is still there. */
static void test_a_broken_off_rename_is_finished(void **state)
{
	char *dir = test_dir_new();
	struct session *s = open_store(dir, "");
	struct memory *m = memory_of(s);
	struct object root, a, b, now, moved;
	struct entry *e;

	find(s, "", &root);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "new"}, &a), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "b", .text = "old"}, &b), 0);
	assert_int_equal(overlay_begin(m), 0);
	assert_int_equal(overlay_edit(m, a.id, &e), 0);
	e->over = strdup(b.id);
	assert_int_equal(overlay_move(m, e, "root", "b"), 0);
	assert_int_equal(overlay_save(m, e), 0);
	overlay_end(m);
	close_it(s);
	s = open_store(dir, "");
	assert_content(s, "b", "new");
	assert_int_equal(backend_stat(s, &b, &now), -ENOENT);
	close_it(s);
	s = open_store(dir, "");
	find(s, "b", &now);
	assert_int_equal(backend_rename(s, &now, &root, &root, "c", NULL, &moved), 0);
	assert_false(is_there(s, "b"));         /* what was over does not come back */
	close_it(s);
	object_done(&moved);
	object_done(&root);
	object_done(&a);
	object_done(&b);
	object_done(&now);
	test_dir_done(dir);
}

static void test_a_store_leaves_no_files_behind(void **state)
{
	char *dir = test_dir_new();
	struct session *s = open_store(dir, "");
	_cleanup_free_ char *command = NULL;
	struct object root, a, b, c;

	find(s, "", &root);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "1"}, &a), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "2", .base = &a}, &b), 0);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "2", .base = &b}, &c), 0);
	assert_content(s, "a", "2");
	assert_int_equal(backend_remove(s, &root, &c, NULL), 0);
	assert_int_equal(str_fmt(&command, "test \"$(ls %s | tr '\\n' ' ')\" = 'lock stamp '", dir), 0);
	assert_int_equal(system(command), 0);
	close_it(s);
	object_done(&root);
	object_done(&a);
	object_done(&b);
	object_done(&c);
	test_dir_done(dir);
}

static void test_a_store_that_cannot_keep_a_change_has_not_changed(void **state)
{
	char *dir = test_dir_new();
	struct session *s;
	_cleanup_free_ char *path = NULL;
	struct object root, a, now;

	s = open_store(dir, "");
	find(s, "", &root);
	assert_int_equal(upload(s, (struct what){.dir = "", .name = "a", .text = "1"}, &a), 0);
	assert_int_equal(str_fmt(&path, "%s/stamp", dir), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);         /* rights do not bind root: a folder in the way does */
	assert_true(backend_rename(s, &a, &root, &root, "b", NULL, &now) < 0);
	assert_true(backend_mkdir(s, &root, "d", &now) < 0);
	assert_int_equal(rmdir(path), 0);
	assert_true(is_there(s, "a"));
	assert_false(is_there(s, "b"));
	assert_false(is_there(s, "d"));
	close_it(s);
	object_done(&root);
	object_done(&a);
	test_dir_done(dir);
}

static void test_a_store_that_cannot_be_is_refused(void **state)
{
	struct login who = {.url = "memory:?store=/dev/null/x", .path = ""};
	struct session *s = NULL;
	_cleanup_free_ char *why = NULL;

	log_set_level(LOG_LEVEL_ERROR);
	assert_true(backend_memory.open(&who, NULL, &s, &why) < 0);
	assert_non_null(why);
	assert_non_null(strstr(why, "/dev/null/x"));
}

#define T(test) cmocka_unit_test_setup(test, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_what_was_uploaded_can_be_looked_at),
		T(test_a_long_content_goes_in_chunks_that_are_noted_first),
		T(test_a_new_content_is_a_new_version_of_the_same_thing),
		T(test_a_thing_of_the_sample_can_be_replaced_where_it_may),
		T(test_what_somebody_else_did_is_not_overwritten),
		T(test_an_upload_into_what_is_gone_finds_nothing),
		T(test_an_upload_goes_on_where_it_was_cut),
		T(test_a_lost_answer_is_found_when_it_is_asked_again),
		T(test_lost_answers_lose_nothing),
		T(test_a_change_whose_answer_is_lost_was_made),
		T(test_somebody_else_comes_first_once),
		T(test_uploads_are_refused_as_asked),
		T(test_room_and_quota_are_limits),
		T(test_a_dropped_upload_gives_its_room_back),
		T(test_a_cancelled_upload_ends_between_chunks),
		T(test_lanes_are_directories),
		T(test_directories_and_links_are_made_and_removed),
		T(test_a_plan_tells_what_may_be),
		T(test_readonly_refuses_everything),
		T(test_a_renamed_thing_keeps_its_identity),
		T(test_a_directory_does_not_go_into_itself),
		T(test_rename_replaces_only_what_it_was_told_of),
		T(test_rename_over_a_thing_of_the_base),
		T(test_a_copy_is_a_thing_of_its_own),
		T(test_pages_hold_together_while_things_are_made),
		T(test_a_change_is_told_by_the_fingerprint),
		T(test_what_was_made_knows_its_place),
		T(test_attributes_are_set_and_removed),
		T(test_several_attributes_are_all_set_or_none),
		T(test_metadata_has_a_limit),
		T(test_a_document_is_replaced),
		T(test_controls),
		T(test_a_store_outlives_its_process),
		T(test_a_store_keeps_what_became_of_the_base),
		T(test_two_share_a_store),
		T(test_an_upload_goes_on_in_the_next_process),
		T(test_a_broken_off_rename_is_finished),
		T(test_a_store_leaves_no_files_behind),
		T(test_a_store_that_cannot_keep_a_change_has_not_changed),
		T(test_a_store_that_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
