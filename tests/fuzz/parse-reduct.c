/* ReductStore's documents, heads of batches and our own names of times. The first byte says as what the others are read. */
#include "fuzz.h"

#include "backend/reduct/private.h"

/* What is JSON stays JSON, and a mask never goes out. */
static void settings(const char *text, size_t n)
{
	struct buf b = BUF_MAX(16u << 20);
	bool masked, token;

	if (json_check(text, n) == 0 && reduct_settings(20, text, n, &b, &masked, &token) == 0) {
		struct json *j = NULL;

		must(json_parse(buf_str(&b), b.len, &j) == 0 && json_is_object(j));
		must(!masked || !json_get(j, "dst_token"));
		json_free(j);
	}
	buf_done(&b);
}

static void documents(const char *text, size_t n)
{
	struct bucket *b = NULL, **list = NULL;
	struct me me = {0};
	size_t count = 0;
	char words[200];
	unsigned minor;

	if (parse_bucket(text, n, &b) == 0) {
		must(b->name && *b->name);
		for (size_t i = 0; i < b->entries.n; i++) {
			must(*b->entries.at[i].name);
			must(!i || strcmp(b->entries.at[i - 1].name, b->entries.at[i].name) < 0);
			must(bucket_entry(b, b->entries.at[i].name) == &b->entries.at[i]);
			must(bucket_has_path(b, b->entries.at[i].name) || b->entries.at[i].deleting);
		}
		bucket_free(b);
	}
	if (parse_buckets(text, n, &list, &count) == 0) {
		for (size_t i = 0; i < count; i++)
			must(*list[i]->name && *list[i]->name != '$');
		buckets_free(list, count);
	}
	if (parse_me(text, n, &me) == 0) {
		(void)me_rights(&me, "bucket");
		must(!(me_rights(&me, "$system") & RIGHT_WRITE));
		me_done(&me);
	}
	settings(text, n);
	parse_detail(text, n, words);
	must(strlen(words) < sizeof(words) && !strchr(words, '\n'));
	must(reduct_errno(400 + (int)(n % 200), text) < 0);
	(void)parse_api_version(text, &minor);
}

static void must_be_a_record(const struct record *r)
{
	must(r->type && *r->type);
	must(r->ts <= REDUCT_TS_MAX);
	for (size_t i = 0; i < r->labels.n; i++)
		must(r->labels.at[i].name && r->labels.at[i].value);
	(void)record_is_sendable(r);
}

static void heads(const char *text, size_t n)
{
	struct records list = {0};
	struct record r = {0};
	struct many many = {0};
	bool last;

	if (parse_batch(text, n, &list, &last) == 0)
		for (size_t i = 0; i < list.list.n; i++) {
			struct buf b = BUF_MAX(16u << 20);
			struct json *j = NULL;

			must_be_a_record(&list.list.at[i]);
			must(!i || list.list.at[i - 1].ts < list.list.at[i].ts);
			/* What users see of it is JSON, whatever the labels are. */
			must(record_write_json(&list.list.at[i], "b", "e", &b) == 0);
			must(json_parse(buf_str(&b), b.len, &j) == 0);
			json_free(j);
			buf_done(&b);
		}
	records_done(&list);
	if (parse_many(text, n, &many, &last) == 0)
		for (size_t i = 0; i < many.list.n; i++) {
			must_be_a_record(&many.list.at[i].record);
			must(many.list.at[i].entry < many.entries.n);
		}
	many_done(&many);
	if (parse_single(text, n, &r) == 0)
		must_be_a_record(&r);
	record_done(&r);
}

static void expression(const char *text)
{
	struct search q;
	struct record none = {0};
	char *why = NULL, *when = NULL;
	int r = parse_search(text, &q, &why);

	must(r == 0 || r == -ENOENT || (r == -EINVAL && why && *why));
	free(why);
	if (r < 0)
		return;
	if (search_when(&q, &when) == 0 && when) {
		/* Whatever was typed, the server gets JSON, and no number that ends it. */
		struct buf b = BUF_MAX(16u << 20);
		struct json *j = NULL;

		must(buf_addf(&b, "{%s}", when) == 0 && json_parse(buf_str(&b), b.len, &j) == 0);
		json_free(j);
		buf_done(&b);
	}
	(void)search_matches(&q, &none);
	free(when);
	search_done(&q);
}

static void names(const char *text)
{
	struct window w = WINDOW_ALL;
	struct place p;
	struct timespec t;
	char *s = NULL, *back = NULL;
	uint64_t ts;

	if (window_parse(&w, text, &w)) {
		char name[WINDOW_NAME_MAX];

		window_name(&w, name);
		must(strcmp(name, text) == 0 && w.start < w.end);
	}
	if (place_parse(text, &p) == 0) {
		must(place_id(&p, &s) == 0);
		must(p.what == IS_RECORD || p.what == IS_VERSION || p.what == IS_NAME || strcmp(s, text) == 0);   /* times and names may be written in several ways */
		free(s);
		place_done(&p);
	}
	if (name_parse_record(text, &ts))
		must(ts < REDUCT_TS_MAX);
	if (*text && strlen(text) < 1000) {
		must(name_to_label(text, &s) == 0);
		must(*s && !strpbrk(s, " \",\n") && !strchr("&@$", *s));
		must(name_from_label(s, &back) == 0 && strcmp(back, text) == 0);
		free(s);
		free(back);
		must(name_from_label(text, &back) == 0 && *back);
		free(back);
	}
	if (parse_mtime(text, &t))
		must(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text;

	if (!n)
		return 0;
	text = fuzz_text(data + 1, n - 1);
	if (*data & 0x40) {
		heads(text, strlen(text));
	} else if (*data & 0x20) {
		names(text);
		expression(text);
	} else {
		documents(text, strlen(text));
	}
	free(text);
	return 0;
}
