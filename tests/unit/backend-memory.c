/* The memory backend: its sample, its made trees, and what its words do. */
#include "test.h"

#include <inttypes.h>

#include "backend/memory/private.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"

static struct session *open_source(const char *source)
{
	struct login who = {.url = source, .path = ""};
	struct session *s = NULL;
	char *why = NULL;

	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(backend_memory.open(&who, NULL, &s, &why), 0);
	assert_null(why);
	return s;
}

static void close_it(struct session *s)
{
	s->backend->close(s);
}

/* All children, however many pages they come in. */
static size_t children(struct session *s, const struct object *dir, struct object **ret, unsigned *ret_pages)
{
	VEC(struct object) all = {0};
	struct page p = {0};
	unsigned pages = 0;

	do {
		assert_int_equal(backend_list(s, dir, &p), 0);
		pages++;
		for (size_t i = 0; i < p.objects.n; i++) {
			assert_int_equal(vec_push(&all, p.objects.at[i]), 0);
			memset(&p.objects.at[i], 0, sizeof(struct object));
		}
	} while (p.cursor);
	page_done(&p);
	*ret = all.at;
	if (ret_pages)
		*ret_pages = pages;
	return all.n;
}

static void free_all(struct object *o, size_t n)
{
	for (size_t i = 0; i < n; i++)
		object_done(&o[i]);
	free(o);
}

static void root_of(struct session *s, struct object *ret)
{
	assert_int_equal(backend_root(s, ret), 0);
	assert_int_equal(ret->kind, OBJECT_DIR);
}

/* The child at the end of a path of raw names, without '/' in them. */
static void find(struct session *s, const char *path, struct object *ret)
{
	_cleanup_(cleanup_freep) char **parts = NULL;

	assert_int_equal(str_split(path, '/', &parts), 0);
	root_of(s, ret);
	for (size_t i = 0; parts[i]; i++) {
		struct page p = {0};

		assert_int_equal(backend_lookup(s, ret, parts[i], &p), 0);
		if (!p.objects.n)
			fail_msg("%s is not there", path);
		object_done(ret);
		*ret = p.objects.at[0];
		memset(&p.objects.at[0], 0, sizeof(struct object));
		page_done(&p);
	}
}

struct sink {
	struct buf buf;
	size_t stop_at;
	int *cancel;
};

static int take(void *arg, const void *data, size_t n)
{
	struct sink *k = arg;

	if (k->cancel)
		*k->cancel = 1;
	if (k->stop_at && k->buf.len >= k->stop_at)
		return -ENOSPC;
	return buf_add(&k->buf, data, n);
}

static int read_range(struct session *s, const struct object *o, uint64_t first, uint64_t count, struct sink *k)
{
	struct read_plan p = {.range = {first, count}};
	int cancelled = 0, r = backend_prepare_read(s, o, &p);

	if (r == 0) {
		assert_int_equal(p.kind, PLAN_FILL);
		if (k->cancel)
			k->cancel = &cancelled;
		r = p.fill(s, o, p.range, take, k, &cancelled);
	}
	read_plan_done(&p);
	return r;
}

/* ---- the sample ---- */

static void check_bytes(struct session *s, const struct object *o)
{
	struct sink whole = {0}, part = {0};
	char hex[DIGEST_HEX_MAX];
	struct digest *d;

	assert_int_equal(read_range(s, o, 0, o->size, &whole), 0);
	assert_int_equal(whole.buf.len, o->size);
	if (o->digest) {
		_cleanup_free_ char *kind = strndup(o->digest, strcspn(o->digest, ":"));

		assert_int_equal(digest_new(kind, &d), 0);
		assert_int_equal(digest_add(d, whole.buf.data ? whole.buf.data : "", whole.buf.len), 0);
		assert_int_equal(digest_hex(d, hex), 0);
		digest_free(d);
		assert_string_equal(hex, strchr(o->digest, ':') + 1);
	}
	if (o->size > 10) {
		uint64_t first = o->size / 3 + 1, count = o->size - first - 1;

		assert_int_equal(read_range(s, o, first, count, &part), 0);
		assert_int_equal(part.buf.len, count);
		assert_memory_equal(part.buf.data, whole.buf.data + first, count);
	}
	buf_done(&whole.buf);
	buf_done(&part.buf);
}

static void check_one(struct session *s, const struct object *dir, const struct object *o)
{
	_cleanup_(json_freep) struct json *j = NULL;
	struct page p = {0};
	struct object again = {0};
	struct doc d = {0};
	struct attrs a = {0};
	bool found = false;

	assert_int_equal(backend_lookup(s, dir, o->name, &p), 0);
	for (size_t i = 0; i < p.objects.n; i++)
		found |= strcmp(p.objects.at[i].id, o->id) == 0;
	assert_true(found);
	page_done(&p);
	assert_int_equal(backend_stat(s, o, &again), 0);
	assert_string_equal(again.id, o->id);
	assert_true(str_eq(again.version, o->version));
	assert_int_equal(again.kind, o->kind);
	object_done(&again);
	assert_int_equal(backend_get_doc(s, o, &d), 0);
	assert_int_equal(json_parse(d.text, d.len, &j), 0);
	assert_true(json_is_object(json_get(j, "meta")));
	assert_int_equal(backend_attrs(s, o, &d, &a), 0);
	assert_true(a.list.n >= 4);
	attrs_done(&a);
	doc_done(&d);
	if (o->kind == OBJECT_FILE) {
		assert_non_null(o->version);
		check_bytes(s, o);
	}
}

static size_t check_tree(struct session *s, const struct object *dir, unsigned depth)
{
	struct object *o;
	size_t n = children(s, dir, &o, NULL), sum = n;

	assert_true(depth < 20);
	for (size_t i = 0; i < n; i++) {
		check_one(s, dir, &o[i]);
		if (o[i].kind == OBJECT_DIR)
			sum += check_tree(s, &o[i], depth + 1);
	}
	free_all(o, n);
	return sum;
}

static void test_everything_in_the_sample_can_be_looked_at(void **state)
{
	struct session *s = open_source("memory:");
	struct object root;

	root_of(s, &root);
	assert_int_equal(check_tree(s, &root, 0), sample_rows);
	object_done(&root);
	close_it(s);
}

static void test_ids_and_keys_are_unique(void **state)
{
	struct session *s = open_source("memory:");
	struct memory *m = memory_of(s);

	for (size_t i = 0; i < sample_rows; i++)
		for (size_t k = 0; k < i; k++) {
			assert_string_not_equal(sample[i].key, sample[k].key);
			assert_string_not_equal(m->things[i].id, m->things[k].id);
		}
	for (size_t i = 0; i < sample_rows; i++)        /* whoever is in something is in a directory */
		assert_true(!sample[i].in || (m->things[i].parent >= 0 && sample[m->things[i].parent].kind == OBJECT_DIR));
	close_it(s);
}

static void test_the_sample_has_what_tests_need(void **state)
{
	bool slash = false, longer = false, percent = false, twins = false, empty = false, large = false;

	for (size_t i = 0; i < sample_rows; i++) {
		const struct row *r = &sample[i];

		slash |= strchr(r->name, '/') != NULL;
		longer |= strlen(r->name) == 300;
		percent |= strchr(r->name, '%') != NULL;
		empty |= r->kind == OBJECT_FILE && memory_row_size(r) == 0;
		large |= memory_row_size(r) > (4u << 20);
		for (size_t k = 0; k < i; k++)
			twins |= str_eq(r->in, sample[k].in) && strcmp(r->name, sample[k].name) == 0 && r->kind == sample[k].kind;
	}
	assert_true(slash && longer && percent && twins && empty && large);
}

static void test_numbers_keep_their_digits(void **state)
{
	struct session *s = open_source("memory:");
	struct object o;
	struct doc d = {0};
	struct attrs a = {0};
	unsigned seen = 0;

	find(s, "tables/elements.tsv", &o);
	assert_int_equal(backend_get_doc(s, &o, &d), 0);
	assert_int_equal(backend_attrs(s, &o, &d, &a), 0);
	for (size_t i = 0; i < a.list.n; i++) {
		if (strcmp(a.list.at[i].name, "memory.meta.beyond_double") == 0)
			seen += strcmp(a.list.at[i].value, "9007199254740993") == 0;
		if (strcmp(a.list.at[i].name, "memory.meta.int64_min") == 0)
			seen += strcmp(a.list.at[i].value, "-9223372036854775808") == 0;
	}
	assert_int_equal(seen, 2);
	attrs_done(&a);
	doc_done(&d);
	object_done(&o);
	close_it(s);
}

static void test_noise_is_splitmix64(void **state)
{
	static const unsigned char first[8] = {0xaf, 0xcd, 0x1d, 0x7b, 0x39, 0xa8, 0x20, 0xe2};
	unsigned char whole[1000], part[1000];

	noise_fill(0, 0, whole, 1000);
	assert_memory_equal(whole, first, 8);
	for (size_t at = 0; at < 20; at++)
		for (size_t n = 0; n < 40; n++) {
			noise_fill(0, at, part, n);
			assert_memory_equal(part, whole + at, n);
		}
}

static void test_what_is_not_there(void **state)
{
	struct session *s = open_source("memory:");
	struct object root, ghost = {.kind = OBJECT_FILE, .id = TEXT("item/0"), .name = TEXT("x")};
	struct page p = {0};

	root_of(s, &root);
	assert_int_equal(backend_lookup(s, &root, "nobody", &p), 0);
	assert_int_equal(p.objects.n, 0);
	assert_int_equal(backend_lookup(s, &root, "", &p), 0);
	assert_int_equal(p.objects.n, 0);
	assert_int_equal(backend_stat(s, &ghost, &ghost), -ENOENT);
	ghost.id = TEXT("file/0");
	assert_int_equal(backend_stat(s, &ghost, &ghost), -ENOENT);
	ghost.id = TEXT("changing");
	assert_int_equal(backend_list(s, &ghost, &p), -ENOENT);
	object_done(&root);
	page_done(&p);
	close_it(s);
}

/* ---- made trees ---- */

static size_t count_files(struct session *s, uint64_t *ret_dirs)
{
	struct object root, *o, *in;
	size_t n, files = 0;

	root_of(s, &root);
	n = children(s, &root, &o, NULL);
	*ret_dirs = 0;
	for (size_t i = 0; i < n; i++) {
		if (o[i].kind == OBJECT_FILE) {
			files++;
			continue;
		}
		size_t k = children(s, &o[i], &in, NULL);

		for (size_t j = 0; j < k; j++)
			assert_int_equal(in[j].kind, OBJECT_FILE);
		files += k;
		++*ret_dirs;
		free_all(in, k);
	}
	free_all(o, n);
	object_done(&root);
	return files;
}

static void test_a_made_tree_has_all_its_files(void **state)
{
	static const struct {
		const char *source;
		size_t files, dirs;
	} cases[] = {
		{"memory:?files=0", 0, 0}, {"memory:?size=1M", 1, 0}, {"memory:?files=1000", 1000, 0},
		{"memory:?files=1000&page=7", 1000, 0}, {"memory:?files=1000&dirs=10", 1000, 10},
		{"memory:?files=1000&dirs=7&page=10", 1000, 7}, {"memory:?files=3&dirs=10", 3, 10}, {"memory:?dirs=5&files=0", 0, 5},
		{"memory:?files=10&dirs=4", 10, 4},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct session *s = open_source(cases[i].source);
		uint64_t dirs;

		assert_int_equal(count_files(s, &dirs), cases[i].files);
		assert_int_equal(dirs, cases[i].dirs);
		close_it(s);
	}
}

static void test_pages_are_as_long_as_asked(void **state)
{
	struct session *s = open_source("memory:?files=100&page=30");
	struct object root, *o;
	unsigned pages;
	size_t n;

	root_of(s, &root);
	n = children(s, &root, &o, &pages);
	assert_int_equal(n, 100);
	assert_int_equal(pages, 4);
	assert_string_equal(o[99].name, "file-000099.dat");
	free_all(o, n);
	object_done(&root);
	close_it(s);
}

static void test_a_made_name_is_looked_up_by_arithmetic(void **state)
{
	static const struct {
		const char *dir, *name;
		size_t n;
	} cases[] = {
		{"", "dir-00000", 1}, {"", "dir-00009", 1}, {"", "dir-00010", 0}, {"", "dir-0000", 0}, {"", "dir-000001", 0},
		{"", "file-000000.dat", 0}, {"dir-00000", "file-000000.dat", 1}, {"dir-00000", "file-000009.dat", 1},
		{"dir-00000", "file-000010.dat", 0}, {"dir-00009", "file-000099.dat", 1}, {"dir-00009", "file-000100.dat", 0},
		{"dir-00009", "file-000099.da", 0}, {"dir-00009", "file-000099.dat.bak", 0}, {"dir-00009", "file-18446744073709551615.dat", 0},
		{"dir-00000", "dir-00000", 0}, {"dir-00000", "", 0}, {"dir-00000", "file--00001.dat", 0},
	};
	struct session *s = open_source("memory:?files=100&dirs=10");

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct object dir;
		struct page p = {0};

		if (*cases[i].dir)
			find(s, cases[i].dir, &dir);
		else
			root_of(s, &dir);
		assert_int_equal(backend_lookup(s, &dir, cases[i].name, &p), 0);
		if (p.objects.n != cases[i].n)
			fail_msg("%s/%s: %zu", cases[i].dir, cases[i].name, p.objects.n);
		page_done(&p);
		object_done(&dir);
	}
	close_it(s);
}

static void test_a_made_file_is_noise_of_its_number(void **state)
{
	struct session *s = open_source("memory:?files=10&size=1T");
	struct object o;
	struct sink k = {0};
	unsigned char want[100];

	find(s, "file-000007.dat", &o);
	assert_true(o.size == 1ull << 40);
	assert_int_equal(read_range(s, &o, (1ull << 40) - 100, 100, &k), 0);
	noise_fill(7, (1ull << 40) - 100, want, 100);
	assert_int_equal(k.buf.len, 100);
	assert_memory_equal(k.buf.data, want, 100);
	assert_int_equal(read_range(s, &o, (1ull << 40) - 100, 101, &k), -EINVAL);
	assert_int_equal(read_range(s, &o, UINT64_MAX, 2, &k), -EINVAL);
	buf_done(&k.buf);
	object_done(&o);
	close_it(s);
}

/* ---- search and places ---- */

static void test_a_search_finds_parts_of_names_below(void **state)
{
	struct session *s = open_source("memory:?page=1");
	struct object root, dir;
	struct page p = {0};
	size_t n = 0;

	root_of(s, &root);
	do {
		assert_int_equal(backend_query(s, &root, "noise-", &p, NULL), 0);
		for (size_t i = 0; i < p.objects.n; i++)
			assert_non_null(strstr(p.objects.at[i].name, "noise-"));
		n += p.objects.n;
	} while (p.cursor);
	assert_int_equal(n, 4);
	find(s, "nested", &dir);
	assert_int_equal(backend_query(s, &dir, "deep", &p, NULL), 0);
	assert_int_equal(p.objects.n, 1);
	object_done(&dir);
	find(s, "tables", &dir);
	assert_int_equal(backend_query(s, &dir, "deep", &p, NULL), 0);
	assert_int_equal(p.objects.n, 0);
	object_done(&dir);
	page_done(&p);
	object_done(&root);
	close_it(s);
}

static void test_an_empty_search_is_refused_with_a_reason(void **state)
{
	struct session *s = open_source("memory:");
	_cleanup_free_ char *why = NULL;
	struct object root;
	struct page p = {0};

	root_of(s, &root);
	assert_int_equal(backend_query(s, &root, "", &p, &why), -EINVAL);
	assert_non_null(why);
	page_done(&p);
	object_done(&root);
	close_it(s);
}

static void test_each_thing_knows_its_place(void **state)
{
	struct session *s = open_source("memory:");
	static const char *const names[] = {"nested", "a", "b", "c", "deep.txt"};
	struct page p = {0};
	struct object o;

	find(s, "nested/a/b/c/deep.txt", &o);
	assert_int_equal(backend_locate(s, o.id, &p), 0);
	assert_int_equal(p.objects.n, COUNT(names));
	for (size_t i = 0; i < COUNT(names); i++)
		assert_string_equal(p.objects.at[i].name, names[i]);
	assert_string_equal(p.objects.at[4].id, o.id);
	object_done(&o);
	assert_int_equal(backend_locate(s, "root", &p), 0);
	assert_int_equal(p.objects.n, 0);
	assert_int_equal(backend_locate(s, "item", &p), -EISDIR);
	assert_int_equal(backend_locate(s, "item/nothing", &p), -ENOENT);
	close_it(s);
	s = open_source("memory:?files=100&dirs=10");
	assert_int_equal(backend_locate(s, "file/57", &p), 0);
	assert_int_equal(p.objects.n, 2);
	assert_string_equal(p.objects.at[0].name, "dir-00005");
	assert_string_equal(p.objects.at[1].name, "file-000057.dat");
	page_done(&p);
	close_it(s);
}

/* ---- what the words do ---- */

static void test_unknown_is_told_by_stat_only(void **state)
{
	struct session *s = open_source("memory:?unknown=1");
	struct object root, *o, now;
	size_t n;

	root_of(s, &root);
	n = children(s, &root, &o, NULL);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(o[i].kind, OBJECT_UNKNOWN);
		assert_true(o[i].size == OBJECT_SIZE_UNKNOWN);
		assert_null(o[i].version);
		assert_int_equal(backend_stat(s, &o[i], &now), 0);
		assert_true(now.kind == OBJECT_DIR || (now.kind == OBJECT_FILE && now.version && now.size != OBJECT_SIZE_UNKNOWN));
		assert_int_equal(now.listed.tv_sec, o[i].listed.tv_sec);
		object_done(&now);
	}
	free_all(o, n);
	object_done(&root);
	close_it(s);
}

static void test_calls_about_a_name_fail_as_asked(void **state)
{
	struct session *s = open_source("memory:?fail=tables:EACCES&fail=two%20%20words.txt:ETIMEDOUT&fail=*:EHOSTDOWN:1h");
	struct object tables, words, other, now;
	struct sink k = {0};
	struct page p = {0};
	struct doc d;

	find(s, "tables", &tables);
	find(s, "names/two  words.txt", &words);
	find(s, "README.txt", &other);
	assert_int_equal(backend_list(s, &tables, &p), -EACCES);
	assert_int_equal(backend_lookup(s, &tables, "planets.csv", &p), -EACCES);
	assert_int_equal(backend_stat(s, &words, &now), -ETIMEDOUT);
	assert_int_equal(backend_get_doc(s, &words, &d), -ETIMEDOUT);
	assert_int_equal(read_range(s, &words, 0, 1, &k), -ETIMEDOUT);
	assert_int_equal(read_range(s, &other, 0, 1, &k), 0);
	clock_turn(3600 * 1000);
	assert_int_equal(read_range(s, &other, 0, 1, &k), -EHOSTDOWN);
	clock_turn(-3600 * 1000);
	buf_done(&k.buf);
	page_done(&p);
	object_done(&tables);
	object_done(&words);
	object_done(&other);
	close_it(s);
}

static unsigned fails_of_1000(const char *source, char pattern[1001])
{
	struct session *s = open_source(source);
	struct object root;
	struct page p = {0};
	unsigned n = 0;

	root_of(s, &root);
	for (int i = 0; i < 1000; i++) {
		int r = backend_lookup(s, &root, "x", &p);

		assert_true(r == 0 || r == -EIO);
		n += r < 0;
		pattern[i] = r < 0 ? 'x' : '.';
	}
	pattern[1000] = 0;
	page_done(&p);
	object_done(&root);
	close_it(s);
	return n;
}

static void test_a_percentage_of_calls_fails_the_same_in_each_run(void **state)
{
	char one[1001], two[1001];

	assert_int_equal(fails_of_1000("memory:?fail=0", one), 0);
	assert_int_equal(fails_of_1000("memory:?fail=100", one), 999);
	assert_int_equal(one[0], '.');          /* the first decides whether there is a mount */
	assert_in_range(fails_of_1000("memory:?fail=20", one), 150, 250);
	(void)fails_of_1000("memory:?fail=20", two);
	assert_string_equal(one, two);
}

static void test_a_delayed_call_takes_so_long(void **state)
{
	struct session *s = open_source("memory:?delay=60ms");
	struct object root;
	struct page p = {0};
	uint64_t at = clock_mono_ms();

	root_of(s, &root);
	assert_true(clock_mono_ms() - at < 50); /* the root is known */
	at = clock_mono_ms();
	assert_int_equal(backend_list(s, &root, &p), 0);
	assert_true(clock_mono_ms() - at >= 60);
	page_done(&p);
	object_done(&root);
	close_it(s);
}

static void test_a_read_ends_when_it_is_cancelled_or_refused(void **state)
{
	struct session *s = open_source("memory:");
	int cancelled = 0;
	struct object o;
	struct sink k = {.cancel = &cancelled};

	find(s, "images/noise-5m.dat", &o);
	assert_int_equal(read_range(s, &o, 0, o.size, &k), -EINTR);
	assert_true(k.buf.len < o.size);
	buf_done(&k.buf);
	k = (struct sink){.stop_at = 100000};
	assert_int_equal(read_range(s, &o, 0, o.size, &k), -ENOSPC);
	buf_done(&k.buf);
	object_done(&o);
	close_it(s);
}

static void test_a_delayed_read_is_cancelled_at_once(void **state)
{
	struct session *s = open_source("memory:?files=1&delay=30s");
	struct object o = {.kind = OBJECT_FILE, .id = TEXT("file/0"), .name = TEXT("file-000000.dat"), .size = 4096};
	struct read_plan p = {.range = {0, 10}};
	uint64_t at = clock_mono_ms();
	struct sink k = {0};
	int cancelled = 1;

	assert_int_equal(backend_prepare_read(s, &o, &p), 0);
	assert_int_equal(p.fill(s, &o, p.range, take, &k, &cancelled), -EINTR);
	assert_true(clock_mono_ms() - at < 5000);
	close_it(s);
}

#define TEN_HOURS_MS (10ll * 3600 * 1000)        /* a step that does not come by itself while the test runs */

static void test_a_version_that_is_over_cannot_be_read(void **state)
{
	struct session *s = open_source("memory:?changes=10h");
	struct object o, now, root;
	char *fingerprint = NULL;
	struct sink old = {0}, new = {0};
	char first[40];

	root_of(s, &root);
	find(s, "changing.dat", &o);
	assert_int_equal(backend_changed(s, &root, &fingerprint), 1);
	assert_int_equal(backend_changed(s, &root, &fingerprint), 0);
	assert_int_equal(read_range(s, &o, 5, 1000, &old), 0);
	clock_turn(TEN_HOURS_MS);
	assert_int_equal(backend_changed(s, &root, &fingerprint), 1);
	assert_int_equal(read_range(s, &o, 5, 1000, &new), -ESTALE);
	assert_int_equal(backend_stat(s, &o, &now), 0);
	assert_string_not_equal(now.version, o.version);
	assert_int_equal(now.size, o.size);     /* only the version tells */
	assert_true(now.mtime.tv_sec > o.mtime.tv_sec);
	assert_int_equal(read_range(s, &now, 5, 1000, &new), 0);
	assert_true(memcmp(old.buf.data, new.buf.data, 1000) != 0);
	buf_done(&new.buf);
	assert_int_equal(read_range(s, &now, CHANGING_SIZE - 32, 32, &new), 0);
	snprintf(first, sizeof(first), "version %010" PRIu64 " line %07" PRIu64 "\n", memory_revision(memory_of(s)),
	         (uint64_t)CHANGING_SIZE / 32 - 1);
	assert_memory_equal(new.buf.data, first, 32);
	clock_turn(-TEN_HOURS_MS);
	free(fingerprint);
	buf_done(&old.buf);
	buf_done(&new.buf);
	object_done(&o);
	object_done(&now);
	object_done(&root);
	close_it(s);
}

static void test_words_are_read(void **state)
{
	struct shape s;
	char *why = NULL;

	assert_int_equal(shape_parse("memory:?files=10&dirs=2&size=4k&page=3&delay=1.5s&changes=5&unknown&fail=7&fail=a%3Ab%26:EIO:2m",
	                             &s, &why), -EINVAL);       /* a colon cannot stand in a name */
	assert_non_null(strstr(why, "fail"));
	free(TAKE(why));
	assert_int_equal(shape_parse("memory:?files=10&dirs=2&size=4k&page=3&delay=1.5s&changes=5&unknown&fail=7&fail=a%26%20b:EIO:2m&",
	                             &s, &why), 0);
	assert_null(why);
	assert_int_equal(s.files, 10);
	assert_int_equal(s.dirs, 2);
	assert_int_equal(s.size, 4096);
	assert_int_equal(s.page, 3);
	assert_int_equal(s.delay_ms, 1500);
	assert_int_equal(s.changes_ms, 5000);
	assert_int_equal(s.unknown, 1);
	assert_int_equal(s.fail_percent, 7);
	assert_true(s.made);
	assert_int_equal(s.n_fails, 1);
	assert_string_equal(s.fails[0].name, "a& b");
	assert_int_equal(s.fails[0].err, -EIO);
	assert_int_equal(s.fails[0].after_ms, 120000);
	shape_done(&s);
	assert_int_equal(shape_parse("memory:?delay=1ms", &s, &why), 0);
	assert_false(s.made);
	assert_int_equal(shape_parse("memory:?", &s, &why), 0);
}

static void test_words_of_writing_are_read(void **state)
{
	struct shape s;
	char *why = NULL;

	assert_int_equal(shape_parse("memory:", &s, &why), 0);
	assert_int_equal(s.room, ROOM_DEFAULT);
	assert_int_equal(s.quota + s.lose_each + s.lose_percent + s.cut + s.readonly + s.lanes, 0);
	assert_int_equal(shape_parse("memory:?readonly&lanes&room=0&quota=5k&updelay=2s&cut=3&lose=7&store=/a%20b&taken=x&moved=y&moved=z"
	                             "&refuse=a%26b:EDQUOT&refuse=*:EBUSY:2", &s, &why), 0);
	assert_false(s.made);
	assert_int_equal(s.readonly + s.lanes, 2);
	assert_int_equal(s.room, 0);
	assert_int_equal(s.quota, 5120);
	assert_int_equal(s.updelay_ms, 2000);
	assert_int_equal(s.cut, 3);
	assert_int_equal(s.lose_each, 7);
	assert_string_equal(s.store, "/a b");
	assert_string_equal(s.taken, "x");
	assert_string_equal(s.moved, "z");
	assert_int_equal(s.n_refusals, 2);
	assert_string_equal(s.refusals[0].name, "a&b");
	assert_int_equal(s.refusals[0].err, -EDQUOT);
	assert_true(s.refusals[0].times == UINT64_MAX);
	assert_int_equal(s.refusals[1].times, 2);
	shape_done(&s);
	assert_int_equal(shape_parse("memory:?lose=20%25", &s, &why), 0);
	assert_int_equal(s.lose_percent, 20);
	assert_int_equal(s.lose_each, 0);
	assert_null(why);
}

static void test_words_that_cannot_be_understood_are_refused(void **state)
{
	static const char *const bad[] = {
		"memory:x", "memory:/", "memory:?x", "memory:?x=1", "memory:?File=1", "memory:?files", "memory:?files=",
		"memory:?files=x", "memory:?files=-1", "memory:?files=1000001", "memory:?dirs=100001", "memory:?size=2T",
		"memory:?size=99999999999999999999", "memory:?page=0", "memory:?delay=61s", "memory:?delay=fast", "memory:?changes=0",
		"memory:?unknown=2", "memory:?fail=101", "memory:?fail=", "memory:?fail=a", "memory:?fail=a:ENOPE", "memory:?fail=a:EIO:x",
		"memory:?fail=a:EIO:1:1", "memory:?fail=:", "memory:?files=%zz", "memory:?files=%00", "memory:?=1", "memory:?files=1&files",
		"memory:?room=2T", "memory:?quota=0", "memory:?readonly=2", "memory:?lanes=x", "memory:?updelay=61s", "memory:?cut=0",
		"memory:?lose=0", "memory:?lose=101%25", "memory:?lose=%25", "memory:?lose=x", "memory:?store=here", "memory:?store=",
		"memory:?taken=", "memory:?moved=", "memory:?refuse=a", "memory:?refuse=a:ENOPE", "memory:?refuse=a:EIO:x",
		"memory:?refuse=a:EIO:1:1",
	};

	for (size_t i = 0; i < COUNT(bad); i++) {
		struct shape s;
		_cleanup_free_ char *why = NULL;

		if (strcmp(bad[i], "memory:?files") == 0 || strcmp(bad[i], "memory:?files=1&files") == 0) {
			assert_int_equal(shape_parse(bad[i], &s, &why), 0);     /* a word alone is 1 */
			continue;
		}
		if (shape_parse(bad[i], &s, &why) != -EINVAL)
			fail_msg("%s was understood", bad[i]);
		assert_non_null(why);
		assert_null(strchr(why, '\n'));
	}
}

static void test_too_many_fails_are_refused(void **state)
{
	_cleanup_buf_ struct buf b = BUF_MAX(4096);
	_cleanup_free_ char *why = NULL;
	struct shape s;

	assert_int_equal(buf_adds(&b, "memory:?"), 0);
	for (int i = 0; i < FAILS_MAX; i++)
		assert_int_equal(buf_addf(&b, "fail=n%d:EIO&", i), 0);
	assert_int_equal(shape_parse(b.data, &s, &why), 0);
	shape_done(&s);
	assert_int_equal(buf_adds(&b, "fail=one-more:EIO"), 0);
	assert_int_equal(shape_parse(b.data, &s, &why), -EINVAL);
	free(TAKE(why));
	buf_clear(&b);
	assert_int_equal(buf_adds(&b, "memory:?"), 0);
	for (int i = 0; i <= REFUSALS_MAX; i++)
		assert_int_equal(buf_addf(&b, "refuse=n%d:EIO&", i), 0);
	assert_int_equal(shape_parse(b.data, &s, &why), -EINVAL);
}

static void test_the_origin_is_the_shape_alone(void **state)
{
	static const struct {
		const char *source, *origin;
	} cases[] = {
		{"memory:", "memory:"}, {"memory:?delay=1ms&fail=5&page=3", "memory:"}, {"memory:?unknown=1", "memory:?unknown=1"},
		{"memory:?size=4k", "memory:?files=1&dirs=0&size=4096"}, {"memory:?files=1", "memory:?files=1&dirs=0&size=4096"},
		{"memory:?changes=5&unknown=1", "memory:?unknown=1&changes=5000ms"},
		{"memory:?changes=5&files=2", "memory:?files=2&dirs=0&size=4096&changes=5000ms"},
		{"memory:?room=1k&quota=1k&updelay=1s&cut=1&lose=1&refuse=a:EIO&taken=a&moved=a&lanes=1", "memory:"},
		{"memory:?readonly=1", "memory:?readonly=1"},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct session *s = open_source(cases[i].source);

		assert_string_equal(s->origin, cases[i].origin);
		close_it(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_in_the_sample_can_be_looked_at),
		cmocka_unit_test(test_ids_and_keys_are_unique),
		cmocka_unit_test(test_the_sample_has_what_tests_need),
		cmocka_unit_test(test_numbers_keep_their_digits),
		cmocka_unit_test(test_noise_is_splitmix64),
		cmocka_unit_test(test_what_is_not_there),
		cmocka_unit_test(test_a_made_tree_has_all_its_files),
		cmocka_unit_test(test_pages_are_as_long_as_asked),
		cmocka_unit_test(test_a_made_name_is_looked_up_by_arithmetic),
		cmocka_unit_test(test_a_made_file_is_noise_of_its_number),
		cmocka_unit_test(test_a_search_finds_parts_of_names_below),
		cmocka_unit_test(test_an_empty_search_is_refused_with_a_reason),
		cmocka_unit_test(test_each_thing_knows_its_place),
		cmocka_unit_test(test_unknown_is_told_by_stat_only),
		cmocka_unit_test(test_calls_about_a_name_fail_as_asked),
		cmocka_unit_test(test_a_percentage_of_calls_fails_the_same_in_each_run),
		cmocka_unit_test(test_a_delayed_call_takes_so_long),
		cmocka_unit_test(test_a_read_ends_when_it_is_cancelled_or_refused),
		cmocka_unit_test(test_a_delayed_read_is_cancelled_at_once),
		cmocka_unit_test(test_a_version_that_is_over_cannot_be_read),
		cmocka_unit_test(test_words_are_read),
		cmocka_unit_test(test_words_of_writing_are_read),
		cmocka_unit_test(test_words_that_cannot_be_understood_are_refused),
		cmocka_unit_test(test_too_many_fails_are_refused),
		cmocka_unit_test(test_the_origin_is_the_shape_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
