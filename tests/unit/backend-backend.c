/* The wrapper each backend's answers pass, sources, attributes and faults. */
#include "test.h"

#include "backend/backend.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"

/* ---- a backend that says what a test wants ---- */

static struct {
	int result;
	struct object objects[4];       /* borrowed strings: copied into the answer */
	size_t n;
	const char *cursor;             /* of the page it gives; NULL: the last one */
	const char *words, *why;
	struct range gives;
	unsigned calls;
} say;

static int answer_page(struct page *io)
{
	say.calls++;
	if (say.words)
		backend_note_fault(418, "TeapotError", say.words, "GET http://h/x?token=secret");
	if (say.result < 0)
		return say.result;
	for (size_t i = 0; i < say.n; i++) {
		struct object o;

		assert_int_equal(object_copy(&say.objects[i], &o), 0);
		assert_int_equal(vec_push(&io->objects, o), 0);
	}
	free(io->cursor);
	io->cursor = say.cursor ? strdup(say.cursor) : NULL;
	return 0;
}

static int fake_root(struct session *s, struct object *ret)
{
	return say.result < 0 ? say.result : object_copy(&say.objects[0], ret);
}

static int fake_lookup(struct session *s, const struct object *dir, const char *name, struct page *io)
{
	return answer_page(io);
}

static int fake_list(struct session *s, const struct object *dir, struct page *io)
{
	return answer_page(io);
}

static int fake_stat(struct session *s, const struct object *o, struct object *ret)
{
	return fake_root(s, ret);
}

static int fake_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why)
{
	if (say.why)
		*why = strdup(say.why);
	return answer_page(io);
}

static int fake_prepare(struct session *s, const struct object *o, struct read_plan *io)
{
	io->range = say.gives;
	return 0;
}

/* ---- its writing part ---- */

static int answer(struct object *ret)
{
	say.calls++;
	if (say.words)
		backend_note_fault(418, "TeapotError", say.words, NULL);
	return say.result < 0 ? say.result : ret ? object_copy(&say.objects[0], ret) : 0;
}

static int fake_plan(const struct session *s, const struct object *in, const char *name, enum object_kind kind, struct object *ret)
{
	return answer(ret);
}

static int fake_lane(const struct session *s, const struct object *in, const char *name, const struct object *base, char **ret)
{
	return str_dup("the lane", ret);
}

static int fake_upload(struct session *s, struct upload *u)
{
	if (say.why)
		u->why = strdup(say.why);
	return answer(&u->object);
}

static int fake_drop(struct session *s, const char *progress)
{
	return answer(NULL);
}

static int fake_mkdir(struct session *s, const struct object *in, const char *name, struct object *ret)
{
	return answer(ret);
}

static int fake_symlink(struct session *s, const struct object *in, const char *name, const char *target, struct object *ret)
{
	return answer(ret);
}

static int fake_remove(struct session *s, const struct object *in, const struct object *o)
{
	return answer(NULL);
}

static int fake_rename(struct session *s, const struct object *o, const struct object *from, const struct object *to, const char *name,
                       const struct object *over, struct object *ret)
{
	return answer(ret);
}

static int fake_copy(struct session *s, const struct object *o, const struct object *in, const char *name, struct object *ret)
{
	return answer(ret);
}

static int fake_set_attrs(struct session *s, const struct object *o, const struct attrs *a)
{
	return answer(NULL);
}

static int fake_check_attr(const struct session *s, const struct object *o, const char *name)
{
	return answer(NULL);
}

static int fake_set_doc(struct session *s, const struct object *o, const struct doc *base, const struct doc *now)
{
	return answer(NULL);
}

static int fake_control_object(struct session *s, const struct object *about, const char *name, struct object *ret)
{
	return answer(ret);
}

static int fake_control_call(struct session *s, const struct object *about, const char *name, const struct buf *question, struct buf *ret)
{
	return answer(NULL);
}

/* ---- its papers ---- */

static int fake_paper_stat(struct session *s, const struct object *about, const char *const *path, struct paper *ret)
{
	*ret = (struct paper){.act = CONTROL_LINK, .name = say.words ? strdup(say.words) : NULL};
	return say.result;
}

static int fake_paper_list(struct session *s, const struct object *about, const char *const *path, struct papers *ret)
{
	for (unsigned i = 0; i < say.calls; i++)
		assert_int_equal(papers_add(ret, CONTROL_DOC, i % 2 ? "" : "x", true), 0);
	return say.result;
}

static int fake_paper_write(struct session *s, const struct object *about, const char *const *path, const struct buf *text, struct buf *reply)
{
	return answer(NULL);
}

static const struct backend with_papers = {.scheme = "papers", .root = fake_root, .lookup = fake_lookup, .list = fake_list,
                                           .paper_stat = fake_paper_stat, .paper_list = fake_paper_list, .paper_write = fake_paper_write};

#define WRITING_MEMBERS .plan_create = fake_plan, .lane = fake_lane, .upload = fake_upload, .upload_drop = fake_drop, .mkdir = fake_mkdir, \
	.symlink = fake_symlink, .remove = fake_remove, .rename = fake_rename, .copy = fake_copy, .set_attrs = fake_set_attrs, \
	.check_attr = fake_check_attr, .set_doc = fake_set_doc, .control_object = fake_control_object, .control_call = fake_control_call
static const struct backend writing = {.scheme = "writing", .can = CAN_WRITE, .root = fake_root, .lookup = fake_lookup, .list = fake_list,
                                       WRITING_MEMBERS};
/* It has the members, and says that it does not write. */
static const struct backend reading = {.scheme = "reading", .root = fake_root, .lookup = fake_lookup, .list = fake_list, WRITING_MEMBERS};
/* It writes, and leaves everything out. */
static const struct backend lame = {.scheme = "lame", .can = CAN_WRITE, .root = fake_root, .lookup = fake_lookup, .list = fake_list};

static const struct backend full = {.scheme = "fake", .root = fake_root, .lookup = fake_lookup, .list = fake_list,
                                    .stat = fake_stat, .query = fake_query, .prepare_read = fake_prepare};
static const struct backend bare = {.scheme = "bare", .root = fake_root, .lookup = fake_lookup, .list = fake_list};
static char origin[] = "http://h:1";
static struct session session = {.backend = &full, .origin = origin};
static const struct object dir = {.kind = OBJECT_DIR, .id = TEXT("dir/1"), .name = TEXT("d")};

static int setup(void **state)
{
	memset(&say, 0, sizeof(say));
	log_set_level(LOG_LEVEL_ERROR);
	session.backend = &full;
	return 0;
}

/* ---- what came back ---- */

static void test_a_page_keeps_only_what_can_be(void **state)
{
	struct page p = {0};

	say.objects[0] = (struct object){.kind = OBJECT_FILE, .name = TEXT("no id"), .size = 1};
	say.objects[1] = (struct object){.kind = OBJECT_FILE, .id = TEXT("f/1"), .name = TEXT("good"), .size = 1};
	say.objects[2] = (struct object){.kind = OBJECT_FILE, .id = TEXT("f/2"), .size = 1};
	say.objects[3] = (struct object){.kind = OBJECT_LINK, .id = TEXT("l/1"), .name = TEXT("a link to nowhere")};
	say.n = 4;
	assert_int_equal(backend_list(&session, &dir, &p), 0);
	assert_int_equal(p.objects.n, 1);
	assert_string_equal(p.objects.at[0].name, "good");
	/* The next page replaces it. */
	say.objects[3].target = TEXT("somewhere");
	assert_int_equal(backend_lookup(&session, &dir, "x", &p), 0);
	assert_int_equal(p.objects.n, 2);
	assert_string_equal(p.objects.at[1].target, "somewhere");
	assert_int_equal(backend_query(&session, &dir, "x", &p, NULL), 0);
	assert_int_equal(p.objects.n, 2);
	page_done(&p);
}

static const char *const doc_path[] = {"d", "a.json", NULL}, *const text_path[] = {"mode", NULL};

static void test_a_paper_without_a_name_or_a_link_to_nothing_is_none(void **state)
{
	struct paper p = {0};
	struct papers all = {0};

	session.backend = &with_papers;
	assert_int_equal(backend_paper_stat(&session, &dir, doc_path, &p), -EBADMSG);
	say.words = "named";
	assert_int_equal(backend_paper_stat(&session, &dir, doc_path, &p), -EBADMSG);
	say.calls = 5;
	assert_int_equal(backend_paper_list(&session, &dir, doc_path, &all), 0);
	assert_int_equal(all.list.n, 3);
	papers_done(&all);
	say.result = -EACCES;
	assert_int_equal(backend_paper_list(&session, &dir, doc_path, &all), -EACCES);
	assert_int_equal(all.list.n, 0);
	papers_done(&all);
}

static void test_a_directory_of_papers_has_an_end(void **state)
{
	struct papers all = {0};

	session.backend = &with_papers;
	say.calls = 2 * PAPERS_MAX;
	assert_int_equal(backend_paper_list(&session, &dir, doc_path, &all), 0);
	assert_int_equal(all.list.n, PAPERS_MAX);
	papers_done(&all);
	say.calls = 2 * PAPERS_MAX + 1;
	assert_int_equal(backend_paper_list(&session, &dir, doc_path, &all), -EFBIG);
	papers_done(&all);
}

static void test_a_paper_that_is_no_json_never_reaches_the_backend(void **state)
{
	static const struct {
		const char *text;
		int r;
	} cases[] = {
		{"{\"a\": 1}", 0}, {"[]", 0}, {"{\"a\": 123456789012345678901234567890}", 0}, {"{\"a\": }", -EINVAL}, {"", -EINVAL}, {"no", -EINVAL},
	};
	_cleanup_buf_ struct buf reply = BUF_MAX(100), much = BUF_MAX(2 * PAPER_MAX);

	session.backend = &with_papers;
	for (size_t i = 0; i < COUNT(cases); i++) {
		_cleanup_buf_ struct buf text = BUF_MAX(100);
		_cleanup_free_ char *why = NULL;

		say.calls = 0;
		assert_int_equal(buf_adds(&text, cases[i].text), 0);
		assert_int_equal(backend_paper_write(&session, &dir, doc_path, &text, &reply, &why), cases[i].r);
		assert_int_equal(say.calls, cases[i].r == 0);
		assert_true(cases[i].r == 0 || why);
		assert_int_equal(backend_paper_write(&session, &dir, text_path, &text, &reply, NULL), 0);
	}
	assert_int_equal(buf_resize(&much, PAPER_MAX + 1), 0);
	assert_int_equal(backend_paper_write(&session, &dir, text_path, &much, &reply, NULL), -EFBIG);
}

static void test_an_empty_id_is_none(void **state)
{
	struct object o = {0};

	say.objects[0] = (struct object){.kind = OBJECT_DIR, .id = TEXT(""), .name = TEXT("x")};
	assert_int_equal(backend_root(&session, &o), -EBADMSG);
	assert_null(o.id);
	assert_int_equal(backend_stat(&session, &dir, &o), -EBADMSG);
	assert_null(o.name);
	say.objects[0].id = TEXT("x/1");
	assert_int_equal(backend_root(&session, &o), 0);
	object_done(&o);
	assert_int_equal(backend_stat(&session, &dir, &o), 0);
	object_done(&o);
}

static void test_a_size_that_cannot_be_is_unknown(void **state)
{
	static const uint64_t absurd[] = {OBJECT_SIZE_MAX + 1, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 1};
	struct object o = {0};

	for (size_t i = 0; i < COUNT(absurd); i++) {
		say.objects[0] = (struct object){.kind = OBJECT_FILE, .id = TEXT("f/1"), .name = TEXT("x"), .size = absurd[i]};
		assert_int_equal(backend_stat(&session, &dir, &o), 0);
		assert_true(o.size == OBJECT_SIZE_UNKNOWN);
		assert_non_null(o.error);
		object_done(&o);
	}
	say.objects[0].size = OBJECT_SIZE_MAX;
	assert_int_equal(backend_stat(&session, &dir, &o), 0);
	assert_true(o.size == OBJECT_SIZE_MAX);
	assert_null(o.error);
	object_done(&o);
}

static void test_pages_that_lead_to_themselves_end(void **state)
{
	struct page p = {0};

	say.objects[0] = (struct object){.kind = OBJECT_FILE, .id = TEXT("f/1"), .name = TEXT("x"), .size = 1};
	say.n = 1;
	say.cursor = "again";
	assert_int_equal(backend_list(&session, &dir, &p), 0);
	assert_int_equal(backend_list(&session, &dir, &p), -EBADMSG);
	page_done(&p);
	assert_int_equal(say.calls, 2);
}

static void test_empty_pages_without_end_end(void **state)
{
	struct page p = {0};
	char cursor[16];
	int r = 0;

	for (int i = 0; r == 0 && i < 100000; i++) {
		snprintf(cursor, sizeof(cursor), "%d", i);
		say.cursor = cursor;
		r = backend_list(&session, &dir, &p);
	}
	assert_int_equal(r, -EBADMSG);
	assert_in_range(say.calls, 3, 1000);    /* one or two are honest: a phase without anything */
	page_done(&p);
}

/* The same page under one cursor after another, and then others and others. */
static void test_full_pages_without_end_end(void **state)
{
	char cursor[16], id[24];
	int r = 0;

	for (int new_ids = 0; new_ids < 2; new_ids++) {
		struct page p = {0};
		int i = 0;

		say.n = 4;
		for (r = 0; r == 0 && i < LISTING_MAX; i++) {
			snprintf(cursor, sizeof(cursor), "%d", i);
			snprintf(id, sizeof(id), "f/%d", new_ids ? i : 0);
			for (size_t k = 0; k < say.n; k++)
				say.objects[k] = (struct object){.kind = OBJECT_FILE, .id = id, .name = TEXT("x")};
			say.cursor = cursor;
			r = backend_list(&session, &dir, &p);
		}
		assert_int_equal(r, new_ids ? -EFBIG : -EBADMSG);
		assert_int_equal(i, new_ids ? LISTING_MAX / 4 + 1 : 2);
		page_done(&p);
	}
}

static void test_a_plan_covers_what_was_wanted(void **state)
{
	static const struct {
		struct range gives;
		int result;
	} cases[] = {
		{{100, 50}, 0}, {{0, 1000}, 0}, {{100, 49}, -EIO}, {{101, 49}, -EIO}, {{101, 1000}, -EIO}, {{0, 149}, -EIO},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct read_plan p = {.range = {100, 50}};

		say.gives = cases[i].gives;
		assert_int_equal(backend_prepare_read(&session, &dir, &p), cases[i].result);
		read_plan_done(&p);
	}
}

static void test_missing_members_are_answered_for(void **state)
{
	struct object o = {0};
	struct page p = {0};
	struct read_plan plan = {0};
	struct doc d = {0};
	struct attrs a = {0};
	char *text = NULL;
	uint64_t used, total;
	unsigned next = 7;

	session.backend = &bare;
	assert_int_equal(backend_stat(&session, &dir, &o), -ENOTSUP);
	assert_int_equal(backend_changed(&session, &dir, &text), 1);
	assert_int_equal(backend_prepare_read(&session, &dir, &plan), -ENOTSUP);
	assert_int_equal(backend_get_doc(&session, &dir, &d), -ENOTSUP);
	assert_int_equal(backend_attrs(&session, &dir, &d, &a), 0);
	assert_int_equal(a.list.n, 0);
	assert_int_equal(backend_query(&session, &dir, "x", &p, &text), -ENOTSUP);
	assert_int_equal(backend_locate(&session, "x", &p), -ENOTSUP);
	assert_false(backend_has_papers(&session));
	assert_int_equal(backend_paper_stat(&session, &dir, doc_path, &(struct paper){0}), -ENOENT);
	assert_int_equal(backend_paper_remove(&session, &dir, doc_path, NULL), -EPERM);
	assert_int_equal(backend_url(&session, &dir, &text), -ENOTSUP);
	assert_int_equal(backend_work(&session, &next), 0);
	assert_int_equal(next, 7);
	assert_int_equal(backend_space(&session, &used, &total), -ENOTSUP);
	assert_null(text);
}

/* What each change comes to, in the order of WRITING; an object that came back is ended. */
enum { W_PLAN, W_UPLOAD, W_MKDIR, W_SYMLINK, W_RENAME, W_COPY, W_REMOVE, W_SET_ATTRS, W_CHECK_ATTR, W_SET_DOC, W_CALL, WRITING };
#define W_OBJECTS (W_COPY + 1)          /* those in front give an object */

static void change_all(int ret[WRITING], char **why)
{
	struct object o[W_OBJECTS] = {0};
	struct upload u = {.dir = &dir, .name = "x", .fd = -1};
	struct doc d = {0};
	struct attrs a = {0};
	struct buf question = {0}, answer_ = {0};

	ret[W_PLAN] = backend_plan_create(&session, &dir, "x", OBJECT_FILE, &o[W_PLAN]);
	ret[W_UPLOAD] = backend_upload(&session, &u);
	o[W_UPLOAD] = u.object;
	ret[W_MKDIR] = backend_mkdir(&session, &dir, "x", &o[W_MKDIR]);
	ret[W_SYMLINK] = backend_symlink(&session, &dir, "x", "y", &o[W_SYMLINK]);
	ret[W_RENAME] = backend_rename(&session, &dir, &dir, &dir, "x", NULL, &o[W_RENAME]);
	ret[W_COPY] = backend_copy(&session, &dir, &dir, "x", &o[W_COPY]);
	ret[W_REMOVE] = backend_remove(&session, &dir, &dir, NULL);
	ret[W_SET_ATTRS] = backend_set_attrs(&session, &dir, &a, NULL);
	ret[W_CHECK_ATTR] = backend_check_attr(&session, &dir, "x");
	ret[W_SET_DOC] = backend_set_doc(&session, &dir, &d, &d, NULL);
	ret[W_CALL] = backend_control_call(&session, &dir, "x", &question, &answer_);
	for (size_t i = 0; i < W_OBJECTS; i++) {
		assert_true((ret[i] == 0) == (o[i].name != NULL));      /* untouched, or ended, when it failed */
		object_done(&o[i]);
	}
	if (why)
		*why = u.why;
	else
		free(u.why);
}

static void test_who_does_not_write_answers_erofs(void **state)
{
	int r[WRITING];

	session.backend = &reading;
	assert_false(backend_can_write(&session));
	change_all(r, NULL);
	for (size_t i = 0; i < WRITING; i++)
		assert_int_equal(r[i], -EROFS);
	assert_int_equal(say.calls, 0);
}

static void test_what_a_writer_leaves_out_is_answered_for(void **state)
{
	static const int want[WRITING] = {-EPERM, -ENOTSUP, -EPERM, -EPERM, -EPERM, -ENOTSUP, -ENOTSUP, -ENOTSUP, -ENOTSUP, -ENOTSUP, -ENOTSUP};
	struct object o = {0};
	char *lane = TEXT("x");
	int r[WRITING];

	session.backend = &lame;
	assert_true(backend_can_write(&session));
	change_all(r, NULL);
	for (size_t i = 0; i < WRITING; i++)
		assert_int_equal(r[i], want[i]);
	assert_int_equal(backend_lane(&session, &dir, "x", NULL, &lane), 0);
	assert_null(lane);                      /* alone in its lane */
	assert_int_equal(backend_upload_drop(&session, "x"), 0);
	assert_int_equal(backend_control_object(&session, &dir, "x", &o), -ENOENT);
}

static void test_what_a_change_gives_is_held_to_the_rules(void **state)
{
	struct object o = {0};
	char *lane = NULL;
	int r[WRITING];

	session.backend = &writing;
	say.objects[0] = (struct object){.kind = OBJECT_FILE, .id = TEXT("f/1"), .name = TEXT("x"), .size = 1};
	change_all(r, NULL);
	for (size_t i = 0; i < WRITING; i++)
		assert_int_equal(r[i], 0);
	assert_int_equal(say.calls, WRITING);
	assert_int_equal(backend_lane(&session, &dir, "x", NULL, &lane), 0);
	assert_string_equal(lane, "the lane");
	free(lane);
	say.objects[0].id = NULL;               /* of a plan that is so: nothing is at the server yet */
	change_all(r, NULL);
	assert_int_equal(r[W_PLAN], 0);
	for (size_t i = W_UPLOAD; i < W_OBJECTS; i++)
		assert_int_equal(r[i], -EBADMSG);
	assert_int_equal(backend_control_object(&session, &dir, "x", &o), -EBADMSG);
}

/* ---- faults ---- */

static struct {
	int n, err, status;
	char op[20], id[20], class_[80], message[600], request[600];
} got;

static void keep(char *to, size_t room, const char *from)
{
	snprintf(to, room, "%s", from ? from : "(null)");
}

static void on_fault(void *arg, const struct fault *f)
{
	assert_ptr_equal(arg, &got);
	got.n++;
	got.err = f->err;
	got.status = f->status;
	keep(got.op, sizeof(got.op), f->op);
	keep(got.id, sizeof(got.id), f->id);
	keep(got.class_, sizeof(got.class_), f->class_);
	keep(got.message, sizeof(got.message), f->message);
	keep(got.request, sizeof(got.request), f->request);
}

static int hook_setup(void **state)
{
	memset(&got, 0, sizeof(got));
	backend_set_fault_hook(on_fault, &got);
	return setup(state);
}

static int hook_done(void **state)
{
	backend_set_fault_hook(NULL, NULL);
	return 0;
}

static void test_a_fault_reaches_the_hook_with_the_servers_words(void **state)
{
	struct page p = {0};

	say.result = -EIO;
	say.words = "I am\na teapot";
	assert_int_equal(backend_list(&session, &dir, &p), -EIO);
	assert_int_equal(got.n, 1);
	assert_int_equal(got.err, EIO);
	assert_int_equal(got.status, 418);
	assert_string_equal(got.op, "list");
	assert_string_equal(got.id, "dir/1");
	assert_string_equal(got.class_, "TeapotError");
	assert_string_equal(got.message, "I am\\x0aa teapot");
	assert_string_equal(got.request, "GET http://h/x?token=***");
	/* The next failure does not bear the words of this one. */
	say.words = NULL;
	assert_int_equal(backend_list(&session, &dir, &p), -EIO);
	assert_int_equal(got.n, 2);
	assert_int_equal(got.status, 0);
	assert_string_equal(got.class_, "(null)");
	assert_string_equal(got.message, strerror(EIO));
	page_done(&p);
}

static void test_an_answer_is_no_fault(void **state)
{
	static const int answers[] = {-ENOENT, -ENOTSUP, -EINTR, 0};
	struct page p = {0};

	for (size_t i = 0; i < COUNT(answers); i++) {
		say.result = answers[i];
		say.words = "said in passing";
		assert_int_equal(backend_lookup(&session, &dir, "x", &p), answers[i]);
	}
	assert_int_equal(got.n, 0);
	page_done(&p);
}

static void test_a_refused_change_says_why(void **state)
{
	_cleanup_free_ char *why = NULL;
	struct attrs a = {0};
	int r[WRITING];

	session.backend = &writing;
	say.result = -EDQUOT;
	say.words = "the quota is used up";
	change_all(r, &why);
	for (size_t i = 0; i < WRITING; i++)
		assert_int_equal(r[i], -EDQUOT);
	assert_string_equal(why, "the quota is used up");
	assert_int_equal(got.n, WRITING - 1);   /* to ask whether an attribute can be set is no request */
	free(TAKE(why));
	say.why = "the backend's own words";
	change_all(r, &why);
	assert_string_equal(why, "the backend's own words");
	free(TAKE(why));
	assert_int_equal(backend_remove(&session, &dir, &dir, &why), -EDQUOT);
	assert_string_equal(why, "the quota is used up");
	free(TAKE(why));
	assert_int_equal(backend_set_attrs(&session, &dir, &a, &why), -EDQUOT);
	assert_string_equal(why, "the quota is used up");
	assert_int_equal(backend_upload_drop(&session, "x"), -EDQUOT);
	assert_string_equal(got.op, "upload_drop");
}

static void test_long_words_are_cut(void **state)
{
	_cleanup_free_ char *words = malloc(5001);
	struct page p = {0};

	memset(words, 'w', 5000);
	words[5000] = 0;
	say.result = -EACCES;
	say.words = words;
	assert_int_equal(backend_list(&session, &dir, &p), -EACCES);
	assert_in_range(strlen(got.message), 400, 500);
	/* Each byte of these becomes four. */
	memset(words, 1, 5000);
	assert_int_equal(backend_list(&session, &dir, &p), -EACCES);
	assert_in_range(strlen(got.message), 400, 500);
	page_done(&p);
}

static void test_a_refused_query_says_why(void **state)
{
	_cleanup_free_ char *why = NULL;
	struct page p = {0};

	say.result = -EINVAL;
	say.words = "no such operator";
	assert_int_equal(backend_query(&session, &dir, "x", &p, &why), -EINVAL);
	assert_string_equal(why, "no such operator");
	free(TAKE(why));
	say.why = "the backend's own words";
	assert_int_equal(backend_query(&session, &dir, "x", &p, &why), -EINVAL);
	assert_string_equal(why, "the backend's own words");
	page_done(&p);
}

static void test_a_read_can_be_reported_by_who_made_it(void **state)
{
	backend_report_fault("read", "f/1", EIO, 502, "bad gateway", "GET x");
	assert_int_equal(got.n, 1);
	assert_int_equal(got.status, 502);
	assert_string_equal(got.op, "read");
	assert_string_equal(got.message, "bad gateway");
}

/* ---- sources ---- */

static void test_sources(void **state)
{
	static const struct {
		const char *source, *scheme, *url, *path;
	} good[] = {
		{"girder+https://h", "girder", "https://h", ""},
		{"girder+https://h/", "girder", "https://h", "/"},
		{"girder+http://h:8080/collection/a b/c", "girder", "http://h:8080", "/collection/a b/c"},
		{"girder+http://[::1]:80/x", "girder", "http://[::1]:80", "/x"},
		{"https://h/p", NULL, "https://h", "/p"},
		{"http://h", NULL, "http://h", ""},
		{"https://h/a@b", NULL, "https://h", "/a@b"},
		{"memory:", "memory", "memory:", ""},
		{"memory:?files=10&size=4k", "memory", "memory:?files=10&size=4k", ""},
	};
	static const struct {
		const char *source, *says;
	} bad[] = {
		{"", "not a source"}, {"nonsense", "not a source"}, {"/a/b", "not a source"}, {"ftp://h/x", "not a source"},
		{"girder:", "not a source"}, {"girder:h/x", "not a source"}, {"girder+ftp://h", "not a source"},
		{"girder+", "not a source"}, {"gopher+https://h", "no kind of repository is called \"gopher\""},
		{"girde+https://h", "\"girde\""}, {"girderr+https://h", "\"girderr\""}, {"+https://h", "\"\""},
		{"https://", "host is missing"}, {"girder+https:///x", "host is missing"}, {"https://h/x?y", "no query"},
		{"https://h#f", "no query"}, {"https://u:hush@h/x", "credentials="}, {"girder+https://hush@h", "credentials="},
		{"memory+https://h", "has no host"}, {"memory:?nonsense=1", "nonsense"}, {"memory:/x", "memory:/x"},
		{"memory://x", "not a source"},
	};

	for (size_t i = 0; i < COUNT(good); i++) {
		const struct backend *b = NULL;
		_cleanup_free_ char *url = NULL, *path = NULL, *why = NULL;

		assert_int_equal(backend_parse_source(good[i].source, &b, &url, &path, &why), 0);
		assert_true(str_eq(b ? b->scheme : NULL, good[i].scheme));
		assert_string_equal(url, good[i].url);
		assert_string_equal(path, good[i].path);
		assert_null(why);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		const struct backend *b = NULL;
		_cleanup_free_ char *url = NULL, *path = NULL, *why = NULL;

		assert_int_equal(backend_parse_source(bad[i].source, &b, &url, &path, &why), -EINVAL);
		assert_null(url);
		assert_null(path);
		assert_non_null(why);
		if (!strstr(why, bad[i].says))
			fail_msg("%s: %s", bad[i].source, why);
		assert_null(strchr(why, '\n'));
		assert_null(strstr(why, "hush"));       /* a password is not repeated */
	}
}

static void test_the_table_is_sound(void **state)
{
	size_t n = 0;

	for (; backends[n]; n++) {
		const struct backend *b = backends[n];

		assert_true(b->scheme && b->open && b->close && b->root && b->lookup && b->list);
		assert_true(strlen(b->scheme) == strspn(b->scheme, "abcdefghijklmnopqrstuvwxyz-"));
		assert_true(b->policy.timeout_ms && b->policy.list_ttl_ms && b->policy.attr_ttl_ms && b->policy.streams_file);
		assert_true(!b->query || b->can & CAN_SEARCH);
		assert_true(!b->locate || b->can & CAN_BYID);
		assert_true(!(b->can & CAN_WRITE) || (b->plan_create && b->upload && b->remove && b->rename && b->mkdir && b->stat));
		assert_true(!(b->can & CAN_WRITE) || (b->policy.upload_chunk && b->policy.upload_parallel));
		assert_true(!b->set_attrs == !b->check_attr);
		for (size_t k = 0; k < n; k++)
			assert_string_not_equal(b->scheme, backends[k]->scheme);
		for (const struct option *o = b->options; o && o->name; o++)
			assert_non_null(o->help);
	}
	assert_true(n >= 2);
}

static void test_a_users_policy_wins_where_it_is_set(void **state)
{
	struct policy p = {.fetch_min = 1, .fetch_long = 2, .streams_file = 3, .attr_ttl_ms = 4, .list_ttl_ms = 5, .timeout_ms = 6};

	backend_override(&p, NULL);
	backend_override(&p, &(struct policy){.fetch_long = 20, .list_ttl_ms = 50});
	assert_int_equal(p.fetch_min, 1);
	assert_int_equal(p.fetch_long, 20);
	assert_int_equal(p.streams_file, 3);
	assert_int_equal(p.attr_ttl_ms, 4);
	assert_int_equal(p.list_ttl_ms, 50);
	assert_int_equal(p.timeout_ms, 6);
}

/* ---- values ---- */

static void test_an_object_is_copied_deep(void **state)
{
	struct object o = {.kind = OBJECT_FILE, .rights = RIGHT_READ, .size = 5, .mtime = {1, 2}, .id = TEXT("i"), .name = TEXT("n"),
	                   .version = TEXT("v"), .content = TEXT("c"), .digest = TEXT("d"), .mime = TEXT("m"), .target = TEXT("t"), .error = TEXT("e")}, copy;

	assert_int_equal(object_copy(&o, &copy), 0);
	assert_true(copy.id != o.id && copy.error != o.error);
	assert_string_equal(copy.id, "i");
	assert_string_equal(copy.name, "n");
	assert_string_equal(copy.version, "v");
	assert_string_equal(copy.content, "c");
	assert_string_equal(copy.digest, "d");
	assert_string_equal(copy.mime, "m");
	assert_string_equal(copy.target, "t");
	assert_string_equal(copy.error, "e");
	assert_int_equal(copy.size, 5);
	assert_int_equal(copy.mtime.tv_nsec, 2);
	object_done(&copy);
	assert_null(copy.id);
	object_done(&copy);
	assert_int_equal(object_copy(&(struct object){0}, &copy), 0);
	assert_null(copy.name);
}

static const char *attr_of(const struct attrs *a, const char *name)
{
	for (size_t i = 0; i < a->list.n; i++)
		if (strcmp(a->list.at[i].name, name) == 0)
			return a->list.at[i].value;
	return NULL;
}

static void test_json_becomes_attributes(void **state)
{
	static const char json[] =
		"{\"text\": \"a \\\"b\\\" \\u00e9\", \"big\": 9007199254740993, \"float\": 1.50e+3, \"yes\": true, \"nothing\": null, "
		"\"list\": [1, {\"a\": 2}], \"in\": {\"ner\": {\"most\": \"x\"}}, \"empty\": \"\", \"hole\": {}, "
		"\"a.b\": 1, \"a b=c\": 2, \"tab\\there\": 3, \"c1\\u0085\": 4, \"bad\xff\": 5, \"\": 6, \"gr\\u00fcn\": 7}";
	static const struct {
		const char *name, *value;
	} want[] = {
		{"p.text", "a \"b\" \303\251"}, {"p.big", "9007199254740993"}, {"p.float", "1.50e+3"}, {"p.yes", "true"},
		{"p.nothing", "null"}, {"p.list", "[1, {\"a\": 2}]"}, {"p.in.ner.most", "x"}, {"p.empty", ""}, {"p.a.b", "1"},
		{"p.a b=c", "2"}, {"p.tab%09here", "3"}, {"p.c1%C2%85", "4"}, {"p.", "6"}, {"p.gr\303\274n", "7"},
	};
	struct attrs a = {0};

	assert_int_equal(attrs_flatten(&a, "p", json, strlen(json)), 0);
	for (size_t i = 0; i < COUNT(want); i++) {
		const char *v = attr_of(&a, want[i].name);

		if (!v)
			fail_msg("%s is missing", want[i].name);
		assert_string_equal(v, want[i].value);
	}
	for (size_t i = 0; i < a.list.n; i++)
		assert_true(str_utf8_valid(a.list.at[i].name, strlen(a.list.at[i].name)));
	attrs_done(&a);
}

static void test_scalars_become_one_attribute(void **state)
{
	static const struct {
		const char *json, *value;
	} cases[] = {{"\"x\"", "x"}, {"12", "12"}, {"null", "null"}, {"[1, 2]", "[1, 2]"}, {"\"\"", ""}};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct attrs a = {0};

		assert_int_equal(attrs_flatten(&a, "p", cases[i].json, strlen(cases[i].json)), 0);
		assert_int_equal(a.list.n, 1);
		assert_string_equal(a.list.at[0].name, "p");
		assert_string_equal(a.list.at[0].value, cases[i].value);
		assert_int_equal(a.list.at[0].len, strlen(cases[i].value));
		attrs_done(&a);
	}
}

static void test_attributes_are_bounded(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(1u << 20);
	_cleanup_free_ char *key = malloc(3001);
	struct attrs a = {0};

	memset(key, 'k', 3000);
	key[3000] = 0;
	assert_int_equal(buf_addf(&b, "{\"%s\": 1, \"short\": 2", key), 0);
	for (int i = 0; i < 2 * ATTRS_MAX; i++)
		assert_int_equal(buf_addf(&b, ", \"k%d\": %d", i, i), 0);
	assert_int_equal(buf_addc(&b, '}'), 0);
	assert_int_equal(attrs_flatten(&a, "p", b.data, b.len), 0);
	assert_int_equal(a.list.n, ATTRS_MAX);
	assert_string_equal(a.list.at[0].name, "p.short");      /* the other can be no name */
	assert_int_equal(attrs_add(&a, "one.more", "", 0), -E2BIG);
	attrs_done(&a);
	assert_int_equal(attrs_add(&a, "bytes", "a\0b", 3), 0);
	assert_int_equal(a.list.at[0].len, 3);
	assert_memory_equal(a.list.at[0].value, "a\0b", 4);
	attrs_done(&a);
}

#define HOOKED(test) cmocka_unit_test_setup_teardown(test, hook_setup, hook_done)
#define PLAIN(test) cmocka_unit_test_setup(test, setup)

/* ---- opening ---- */

struct sought {
	const char *at;                 /* the API that is there */
	unsigned asked;
};

static int is_there(void *arg, const char *api)
{
	struct sought *s = arg;

	s->asked++;
	return s->at ? strcmp(api, s->at) == 0 : -ECONNREFUSED;
}

static void test_the_api_is_found_below_the_prefixes_of_the_path(void **state)
{
	static const struct {
		const char *path, *given, *at;
		int is;
		size_t used;
		unsigned asked;
	} cases[] = {
		{"", NULL, "http://h/api/v1", 1, 0, 1},
		{"/", NULL, "http://h/api/v1", 1, 0, 1},
		{"/a/b/", NULL, "http://h/api/v1", 1, 0, 3},
		{"/a/b", NULL, "http://h/a/api/v1", 1, 2, 2},
		{"/a/b", NULL, "http://h/a/b/api/v1", 1, 4, 1},
		{"/a//b", NULL, "http://h/a/api/v1", 1, 2, 2},
		{"/a/api/v1/c", NULL, "http://h/a/api/v1", 1, 9, 1},
		{"/a/b", NULL, "http://h/other", 0, 0, 3},
		{"/a/b", NULL, NULL, -ECONNREFUSED, 0, 1},
		{"/a/b", "/a", "http://h/a/api/v1", 1, 2, 1},
		{"/a/b", "/a/", "http://h/a/api/v1", 1, 3, 1},
		{"/a/b", "x", "http://h/x/api/v1", 1, 0, 1},
		{"/a/b", "/x/api/v2", "http://h/x/api/v2", 1, 0, 1},
		{"/a/b", "/x", "http://h/a/api/v1", 0, 0, 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sought s = {.at = cases[i].at};
		_cleanup_free_ char *api = NULL;
		size_t used = 0;

		assert_int_equal(backend_find_api("http://h", cases[i].path, cases[i].given, is_there, &s, &api, &used), cases[i].is);
		assert_int_equal(s.asked, cases[i].asked);
		if (cases[i].is == 1) {
			assert_string_equal(api, cases[i].at);
			assert_int_equal(used, cases[i].used);
		}
	}
}

static void test_what_is_kept_comes_back_and_only_of_its_own_origin(void **state)
{
	struct session s = {.origin = (char *)"http://h", .identity = (char *)"user/\"x", .server_json = (char *)"{\"kind\": 1}\n"};
	struct session again = {.origin = (char *)"http://h"}, other = {.origin = (char *)"http://other"};
	struct object root = {.kind = OBJECT_DIR, .id = (char *)"root", .name = (char *)"r"}, back = {0}, none = {0};
	_cleanup_(json_freep) struct json *j = NULL, *no = NULL;
	_cleanup_free_ char *api = NULL, *nowhere = NULL;
	uint64_t n = 0;

	assert_int_equal(backend_write_kept(&s, "http://h/p/api/v1", ", \"minor\": 20", &root), 0);
	assert_int_equal(backend_read_kept(&again, s.kept, &api, &back, &j), 0);
	assert_string_equal(api, "http://h/p/api/v1");
	assert_string_equal(again.identity, s.identity);
	assert_string_equal(again.server_json, s.server_json);
	assert_string_equal(back.id, "root");
	assert_int_equal(json_u64(j, "minor", &n), 0);
	assert_int_equal(n, 20);
	assert_int_equal(backend_read_kept(&other, s.kept, &nowhere, &none, &no), -EBADMSG);
	assert_null(nowhere);
	assert_int_equal(backend_read_kept(&other, "{\"api\": 1}", &nowhere, &none, &no), -EBADMSG);
	object_done(&back);
	object_done(&none);
	free(again.identity);
	free(again.server_json);
	free(s.kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PLAIN(test_the_api_is_found_below_the_prefixes_of_the_path),
		PLAIN(test_what_is_kept_comes_back_and_only_of_its_own_origin),
		PLAIN(test_a_page_keeps_only_what_can_be),
		PLAIN(test_a_paper_without_a_name_or_a_link_to_nothing_is_none),
		PLAIN(test_a_directory_of_papers_has_an_end),
		PLAIN(test_a_paper_that_is_no_json_never_reaches_the_backend),
		PLAIN(test_an_empty_id_is_none),
		PLAIN(test_a_size_that_cannot_be_is_unknown),
		PLAIN(test_pages_that_lead_to_themselves_end),
		PLAIN(test_full_pages_without_end_end),
		PLAIN(test_empty_pages_without_end_end),
		PLAIN(test_a_plan_covers_what_was_wanted),
		PLAIN(test_missing_members_are_answered_for),
		PLAIN(test_who_does_not_write_answers_erofs),
		PLAIN(test_what_a_writer_leaves_out_is_answered_for),
		PLAIN(test_what_a_change_gives_is_held_to_the_rules),
		HOOKED(test_a_fault_reaches_the_hook_with_the_servers_words),
		HOOKED(test_an_answer_is_no_fault),
		HOOKED(test_a_refused_change_says_why),
		HOOKED(test_long_words_are_cut),
		HOOKED(test_a_refused_query_says_why),
		HOOKED(test_a_read_can_be_reported_by_who_made_it),
		PLAIN(test_sources),
		PLAIN(test_the_table_is_sound),
		PLAIN(test_a_users_policy_wins_where_it_is_set),
		PLAIN(test_an_object_is_copied_deep),
		PLAIN(test_json_becomes_attributes),
		PLAIN(test_scalars_become_one_attribute),
		PLAIN(test_attributes_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
