/* search/, by-id/, by-url/: over the memory backend, without a kernel. */
#include "test.h"

#include <fcntl.h>

#include "backend/memory/memory.h"
#include "base/log.h"
#include "base/str.h"
#include "fs/private.h"

struct mount {
	struct session *session;
	struct cache *cache;
	struct fs *fs;
};

static void start(struct mount *m, const char *source)
{
	struct login who = {.url = source, .path = ""};
	struct cache_config cc = {.memory = 8u << 20};
	struct fs_config fc = {.source = source, .mountpoint = "/nowhere"};
	char *why = NULL;

	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(backend_memory.open(&who, NULL, &m->session, &why), 0);
	assert_int_equal(cache_new(&cc, &m->cache), 0);
	assert_int_equal(fs_new(&fc, m->session, NULL, m->cache, NULL, &m->fs), 0);
	assert_int_equal(fs_check(m->fs, &why), 0);
}

static void stop(struct mount *m)
{
	fs_free(m->fs);
	cache_free(m->cache);
	m->session->backend->close(m->session);
}

/* The node at a path whose pieces are divided by NUL, so that they may hold slashes; -errno. */
static int walk(struct mount *m, const char *path, struct node **ret)
{
	struct node *n = node_ref(m->fs->root), *next;
	int r = 0;

	for (; *path && r == 0; path += strlen(path) + 1) {
		r = dir_lookup(m->fs, n, path, &next);
		if (r == 0) {
			node_unref(n);
			n = next;
		}
	}
	if (r < 0)
		node_unref(n);
	else
		*ret = n;
	return r;
}

static void leads_to(struct mount *m, const char *path, const char *want)
{
	_cleanup_free_ char *target = NULL;
	struct node *n;

	assert_int_equal(walk(m, path, &n), 0);
	assert_int_equal(control_readlink(m->fs, n, &target), 0);
	assert_string_equal(target, want);
	node_unref(n);
}

static size_t list(struct mount *m, const char *path, char ***ret_names)
{
	struct handle h = {0};
	struct node *n;
	size_t count;

	assert_int_equal(walk(m, path, &n), 0);
	assert_int_equal(control_list(m->fs, n, &h), 0);
	count = h.entries.n;
	assert_int_equal(h.names.n, count);
	for (size_t i = 0; i < count; i++) {
		struct stat st = {0};

		WITH_LOCK(&m->fs->lock)
			node_stat_locked(h.entries.at[i], &st);
		if (strstr(path, "search"))
			assert_true(S_ISLNK(st.st_mode));
		node_unref(h.entries.at[i]);
	}
	vec_done(&h.entries);
	*ret_names = h.names.at;
	node_unref(n);
	return count;
}

static void free_names(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

static void test_a_hit_leads_into_the_tree_from_where_it_stands(void **state)
{
	struct mount m;

	start(&m, "memory:");
	leads_to(&m, ".scifs\0search\0README\0README.txt\0", "../../../README.txt");
	leads_to(&m, ".scifs\0search\0deep\0deep.txt\0", "../../../nested/a/b/c/deep.txt");
	leads_to(&m, "nested\0.scifs\0search\0deep\0deep.txt\0", "../../../a/b/c/deep.txt");
	leads_to(&m, "nested\0a\0b\0.scifs\0search\0deep\0deep.txt\0", "../../../c/deep.txt");
	stop(&m);
}

static void test_a_search_finds_only_below_its_directory(void **state)
{
	struct mount m;
	char **names;
	size_t n;

	start(&m, "memory:");
	n = list(&m, "tables\0.scifs\0search\0deep\0", &names);
	assert_int_equal(n, 0);
	free_names(names, n);
	n = list(&m, ".scifs\0search\0noise-\0", &names);
	assert_int_equal(n, 4);
	free_names(names, n);
	stop(&m);
}

static void test_the_search_directory_itself_lists_nothing(void **state)
{
	struct mount m;
	char **names;

	start(&m, "memory:");
	assert_int_equal(list(&m, ".scifs\0search\0", &names), 0);
	free_names(names, 0);
	assert_int_equal(list(&m, ".scifs\0by-id\0", &names), 0);
	free_names(names, 0);
	stop(&m);
}

static void test_hits_are_bounded(void **state)
{
	struct mount m;
	char **names;
	size_t n;

	start(&m, "memory:?files=1000&page=30");
	n = list(&m, ".scifs\0search\0file\0", &names);
	assert_int_equal(n, 200);
	free_names(names, n);
	stop(&m);
}

static void test_hits_of_one_name_are_told_apart(void **state)
{
	struct mount m;
	char **names;
	size_t n, plain = 0, decorated = 0;

	start(&m, "memory:");
	n = list(&m, ".scifs\0search\0twin\0", &names);
	for (size_t i = 0; i < n; i++) {
		plain += strcmp(names[i], "twin.txt") == 0;
		decorated += str_starts(names[i], "twin~") && str_ends(names[i], ".txt");
	}
	assert_int_equal(plain, 1);
	assert_int_equal(decorated, n - 1);
	assert_true(n >= 2);
	free_names(names, n);
	stop(&m);
}

static void follow(struct mount *m, const char *query, const char *name)
{
	_cleanup_buf_ struct buf path = BUF_MAX(4096), real = BUF_MAX(4096);
	_cleanup_free_ char *target = NULL, *id = NULL;
	_cleanup_(cleanup_freep) char **parts = NULL;
	struct node *link, *n;

	assert_int_equal(buf_addf(&path, ".scifs%csearch%c%s%c%s%c%c", 0, 0, query, 0, name, 0, 0), 0);
	assert_int_equal(walk(m, buf_str(&path), &link), 0);
	assert_int_equal(control_readlink(m->fs, link, &target), 0);
	assert_true(str_starts(target, "../../../"));
	assert_int_equal(str_split(target + 9, '/', &parts), 0);
	for (size_t i = 0; parts[i]; i++)
		assert_int_equal(buf_add(&real, parts[i], strlen(parts[i]) + 1), 0);
	assert_int_equal(buf_addc(&real, 0), 0);
	assert_int_equal(walk(m, buf_str(&real), &n), 0);
	assert_string_equal(n->object.id, link->control->text);
	node_unref(n);
	node_unref(link);
}

static void test_each_of_two_twins_is_met_by_its_own_link(void **state)
{
	struct mount m;
	char **names;
	size_t n;

	start(&m, "memory:");
	n = list(&m, ".scifs\0search\0twin\0", &names);
	for (size_t i = 0; i < n; i++)
		follow(&m, "twin", names[i]);
	assert_true(n >= 2);
	free_names(names, n);
	stop(&m);
}

static void test_what_nobody_asks_for_is_not_there(void **state)
{
	struct mount m;
	struct node *n;

	start(&m, "memory:");
	assert_int_equal(walk(&m, ".scifs\0search\0._README.txt\0", &n), -ENOENT);
	assert_int_equal(walk(&m, ".scifs\0search\0.DS_Store\0", &n), -ENOENT);
	assert_int_equal(walk(&m, ".scifs\0search\0README\0nothing\0", &n), -ENOENT);
	assert_int_equal(walk(&m, "nested\0.scifs\0by-id\0", &n), -ENOENT);
	assert_int_equal(walk(&m, ".scifs\0by-id\0nothing\0", &n), -ENOENT);
	assert_int_equal(walk(&m, ".scifs\0by-id\0item\0nothing\0", &n), -ENOENT);
	assert_int_equal(walk(&m, ".scifs\0by-url\0README.txt\0", &n), -ENOENT);
	assert_int_equal(walk(&m, ".scifs\0by-url\0http%3A%2F%2Fexample.org%2F\0", &n), -ENOENT);
	stop(&m);
}

static void test_an_id_leads_to_its_thing(void **state)
{
	_cleanup_buf_ struct buf path = BUF_MAX(4096);
	struct mount m;
	struct node *n;
	const char *id;

	start(&m, "memory:");
	assert_int_equal(walk(&m, "nested\0a\0b\0c\0deep.txt\0", &n), 0);
	id = strchr(n->object.id, '/') + 1;
	assert_int_equal(buf_addf(&path, ".scifs%cby-id%citem%c%s%c%c", 0, 0, 0, id, 0, 0), 0);
	node_unref(n);
	leads_to(&m, buf_str(&path), "../../../nested/a/b/c/deep.txt");
	leads_to(&m, ".scifs\0by-id\0root\0", "../..");
	stop(&m);
}

static void test_a_failing_server_is_not_an_empty_search(void **state)
{
	struct mount m;
	struct node *n;

	start(&m, "memory:?fail=tables:EACCES");
	assert_int_equal(walk(&m, "tables\0.scifs\0search\0planets\0", &n), -EACCES);
	stop(&m);
}

/* ---- expressions under a name ---- */

static void test_names_are_of_expressions_or_documents_or_of_programs(void **state)
{
	static const struct { const char *name; char is; } rows[] = {
		{"mine.json", 'd'}, {"a.b.json", 'd'}, {"x-y_z.json", 'd'}, {"sedan.json", 'd'},
		{".json", 'p'}, {".mine.json", 'p'}, {"mine.json.json", 'p'}, {"mine.json~", 'p'}, {"mine.json.tmp", 'p'}, {".mine.json.swp", 'p'},
		{"#mine.json#", 'p'}, {".#mine.json", 'p'}, {"mine.json.refused", 'p'}, {"4913", 'p'}, {"sedXy12ab", 'p'}, {"tmpab_12xyz", 'p'},
		{".goutputstream-AB12CD", 'p'}, {"mine.part", 'p'}, {"._mine.json", 'p'}, {".DS_Store", 'p'}, {"._a=b", 'p'},
		{"mine", 'e'}, {"sediments", 'e'}, {"tmpfilebase", 'e'}, {"two words.json", 'e'}, {"a=b.json", 'e'}, {"a.json;limit=1", 'e'},
		{"{\"a\": 1}", 'e'}, {"a<b~", 'e'}, {"mine.jso", 'e'}, {"poetry.lock", 'e'}, {".git", 'e'}, {"json", 'e'},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char is = saved_is_name(rows[i].name) ? 'd' : saved_is_expression(rows[i].name) ? 'e' : 'p';

		if (is != rows[i].is)
			fail_msg("%s: %c", rows[i].name, is);
		assert_false(saved_is_name(rows[i].name) && saved_is_expression(rows[i].name));
	}
}

static void test_a_text_is_an_expression_without_the_blanks_around_it(void **state)
{
	const char *why = NULL;
	char *expr;

	(void)state;
	assert_int_equal(saved_expression(" \n a b\t\r\n", 9, &expr, &why), 0);
	assert_string_equal(expr, "a b");
	free(expr);
	assert_int_equal(saved_expression("\n", 1, &expr, &why), -EINVAL);
	assert_non_null(strstr(why, "blank"));
	assert_int_equal(saved_expression("", 0, &expr, &why), -EINVAL);
	assert_int_equal(saved_expression("a\0b", 3, &expr, &why), -EINVAL);
	assert_non_null(strstr(why, "zero byte"));
}

static void save(struct mount *m, const char *text)
{
	struct node *search, *n;
	struct handle h = {0};

	assert_int_equal(walk(m, ".scifs\0search\0", &search), 0);
	assert_int_equal(control_create(m->fs, search, "mine.json", &n), 0);
	pthread_mutex_init(&h.lock, NULL);
	h.node = n;
	assert_int_equal(control_open_write(m->fs, n, O_TRUNC, &h), 0);
	assert_int_equal(control_write(m->fs, &h, text, strlen(text), 0), (int)strlen(text));
	assert_int_equal(control_flush(m->fs, &h), 0);
	control_handle_done(&h);
	buf_done(&h.text);
	pthread_mutex_destroy(&h.lock);
	node_unref(n);
	node_unref(search);
}

static void test_a_directory_that_is_held_finds_what_the_text_says_now(void **state)
{
	struct node *search, *n, *hit;
	struct mount m;

	(void)state;
	start(&m, "memory:");
	assert_int_equal(walk(&m, ".scifs\0search\0", &search), 0);
	assert_int_equal(walk(&m, ".scifs\0search\0mine\0", &n), 0);            /* typed: it finds nothing */
	assert_int_equal(control_lookup(m.fs, n, "deep.txt", &hit), -ENOENT);
	save(&m, "deep\n");
	assert_int_equal(control_lookup(m.fs, n, "deep.txt", &hit), 0);
	node_unref(hit);
	save(&m, "README");
	assert_int_equal(control_lookup(m.fs, n, "deep.txt", &hit), -ENOENT);
	assert_int_equal(control_lookup(m.fs, n, "README.txt", &hit), 0);
	node_unref(hit);
	assert_int_equal(control_unlink(m.fs, search, "mine.json"), 0);
	assert_int_equal(control_lookup(m.fs, n, "README.txt", &hit), -ENOENT);         /* typed again */
	assert_int_equal(control_unlink(m.fs, search, "mine.json"), -ENOENT);
	node_unref(n);
	node_unref(search);
	stop(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_hit_leads_into_the_tree_from_where_it_stands),
		cmocka_unit_test(test_a_search_finds_only_below_its_directory),
		cmocka_unit_test(test_the_search_directory_itself_lists_nothing),
		cmocka_unit_test(test_hits_are_bounded),
		cmocka_unit_test(test_hits_of_one_name_are_told_apart),
		cmocka_unit_test(test_each_of_two_twins_is_met_by_its_own_link),
		cmocka_unit_test(test_what_nobody_asks_for_is_not_there),
		cmocka_unit_test(test_an_id_leads_to_its_thing),
		cmocka_unit_test(test_a_failing_server_is_not_an_empty_search),
		cmocka_unit_test(test_names_are_of_expressions_or_documents_or_of_programs),
		cmocka_unit_test(test_a_text_is_an_expression_without_the_blanks_around_it),
		cmocka_unit_test(test_a_directory_that_is_held_finds_what_the_text_says_now),
	};

	return cmocka_run_group_tests_name("fs-links", tests, NULL, NULL);
}
