/* Girder's answers: documents, errors, searches and zips. The first byte says as what the others are read. */
#include "fuzz.h"

#include "backend/girder/private.h"
#include "backend/girder/zip.h"

static void must_be_an_object(const struct object *o)
{
	must(o->id && *o->id && strlen(o->id) < 64 && !strpbrk(o->id, "?#%. \n") && strchr(o->id, '/') == strrchr(o->id, '/'));
	must(o->name);
	must(o->kind != OBJECT_DIR || o->size == 0);
	must(o->size == OBJECT_SIZE_UNKNOWN || o->size <= 1ull << 63);
	must(!o->digest || strchr(o->digest, ':'));
	must(o->mtime.tv_nsec >= 0 && o->mtime.tv_nsec < 1000000000 && o->ctime.tv_nsec >= 0 && o->ctime.tv_nsec < 1000000000);
}

static void documents(unsigned what, const char *text, size_t n)
{
	enum items items = (enum items)(what >> 3 & 3);
	struct json *j = NULL;
	struct object o = {0};
	int r;

	if (json_parse(text, n, &j) < 0)
		return;
	(void)parse_rights(j);
	switch (what & 3) {
	case 0:
		r = parse_folder(j, &o);
		break;
	case 1:
		r = parse_item(j, items, RIGHT_READ, &o);
		break;
	case 2:
		r = parse_file(j, RIGHT_READ, &o);
		break;
	default:
		o.kind = OBJECT_UNKNOWN;
		must(str_dup("item/000000000000000000000001", &o.id) == 0 && str_dup("name", &o.name) == 0);
		r = parse_classify(j, items, &o);
		if (r < 0)
			object_done(&o);
		else
			must(o.kind == OBJECT_FILE || o.kind == OBJECT_DIR);
		break;
	}
	if (r == 0)
		must_be_an_object(&o);
	if (r == 0)
		object_done(&o);
	json_free(j);
}

static void errors(const char *text, size_t n)
{
	static const int statuses[] = {400, 401, 403, 404, 405, 413, 429, 500, 502, 503, 504, 599};
	char message[200];

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		must(girder_errno(statuses[i], text, n, message) < 0);
		must(strlen(message) < sizeof(message) && !strchr(message, '\n'));
	}
}

/* A member of hostile metadata set, and taken away: what comes out is an object still. */
static void metadata(const char *text, size_t n)
{
	static const char *const paths[] = {"a", "a.b.c", "100%", "%41"};
	struct json *j = NULL;

	if (json_parse(text, n, &j) == 0 && json_is_object(j))
		for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
			struct buf with = BUF_MAX(1u << 20), without = BUF_MAX(1u << 20);
			struct json *k = NULL;

			if (girder_edit_meta(text, n, paths[i], "1", 1, &with) == 0) {
				must(json_parse(buf_str(&with), with.len, &k) == 0 && json_is_object(k));
				must(girder_edit_meta(buf_str(&with), with.len, paths[i], NULL, 0, &without) == 0);
			}
			json_free(k);
			buf_done(&with);
			buf_done(&without);
		}
	json_free(j);
}

static int pick(void *arg, const char *name, size_t n, uint64_t *ret_size)
{
	*ret_size = 5;
	return n == 1 && *name == 'a';
}

static int give(void *arg, const void *data, size_t n)
{
	size_t *sum = arg;

	*sum += n;
	must(data && *sum <= 5);
	return 0;
}

static void zips(const uint8_t *data, size_t n, size_t step)
{
	size_t sum = 0;
	struct zip *z = calloc(1, sizeof(*z));
	int r = 0;

	must(z);
	*z = (struct zip){.pick = pick, .give = give, .arg = &sum};
	for (size_t i = 0; r == 0 && i < n; i += step)
		r = zip_feed(z, data + i, n - i < step ? n - i : step);
	must(r != 1 || sum == 5);
	must(r >= 0 || z->error || r != -EBADMSG);
	free(z);
}

static void queries(const char *text)
{
	struct girder_query q = {0};
	char *why = NULL, *id = NULL;

	if (girder_parse_query(text, &q, &why) < 0)
		must(why && !strchr(why, '\n'));
	else
		must(q.words && q.limit && q.limit <= GIRDER_QUERY_MAX);
	free(q.words);
	free(why);
	if (girder_id_of_url(text, &id) == 0)
		must(id && strchr(id, '/'));
	free(id);
	(void)girder_name_unservable(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text;

	if (!n)
		return 0;
	text = fuzz_text(data + 1, n - 1);
	if (*data & 0x40) {
		zips(data + 1, n - 1, 1 + (*data & 7));
	} else if (*data & 0x20) {
		queries(text);
	} else {
		documents(*data, text, n - 1);
		errors(text, n - 1);
		metadata(text, n - 1);
	}
	free(text);
	return 0;
}
