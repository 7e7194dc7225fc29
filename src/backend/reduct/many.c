/* many.c - small records of one entry by one query and, mostly, one answer: their heads in its head, their bodies one behind the other. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "backend/reduct/private.h"

#define MINOR_TIMES 15                  /* since when conditions know $timestamp */
#define MINOR_DIRECTIVES 17

/* Which one of the list this record is, as its object says: else n. */
static size_t which(const struct place *p, const struct object *const list[], size_t n, const struct record *x)
{
	for (size_t i = 0; i < n; i++) {
		size_t type;

		if (p[i].ts != x->ts || !list[i]->version || list[i]->size != x->size || strchr(list[i]->version, '~'))
			continue;
		type = strcspn(list[i]->version, ":");
		if (list[i]->version[type] && strcmp(list[i]->version + type + 1, x->type) == 0)
			return i;
	}
	return n;
}

static int ask_for(struct reduct *r, const struct place *p, size_t n, const char *path, uint64_t *ret_id)
{
	_cleanup_buf_ struct buf b = BUF_MAX(1u << 20);
	uint64_t first = UINT64_MAX, last = 0;
	int e;

	for (size_t i = 0; i < n; i++) {
		first = p[i].ts < first ? p[i].ts : first;
		last = p[i].ts > last ? p[i].ts : last;
	}
	e = buf_addf(&b, "{\"query_type\": \"QUERY\", \"start\": %" PRIu64 ", \"stop\": %" PRIu64 ", \"ttl\": 60, \"when\": {", first, last + 1);
	if (e == 0 && r->minor >= MINOR_DIRECTIVES)
		e = buf_addf(&b, "\"#batch_records\": %zu, \"#batch_size\": %" PRIu32 ", \"#batch_metadata_size\": %d, ",
		             r->batch_told && r->batch_told <= n ? r->batch_told : n + 1,
		             2 * r->session.policy.batch_bytes, QUERY_HEAD_BYTES);
	if (e == 0)
		e = buf_adds(&b, "\"$in\": [{\"$timestamp\": []}");
	for (size_t i = 0; e == 0 && i < n; i++)
		e = buf_addf(&b, ", %" PRIu64, p[i].ts);
	if (e == 0)
		e = buf_adds(&b, "]}}");
	return e < 0 ? e : query_make(r, "b", path, buf_str(&b), ret_id);
}

/* 1: there is more. */
static int take_answer(struct reduct *r, const struct reading *reading, const struct place *p, const struct object *const list[], size_t n,
                       const char *path, uint64_t id, content_many_sink give, void *arg)
{
	struct ask a = {.once = true, .max_headers = QUERY_HEAD_MAX};
	struct records records = {0};
	bool last = true;
	size_t at = 0;
	int e = reduct_ask(r, &a, "b/%s/batch?q=%" PRIu64, path, id);

	if (e == 0 && reading_is_stopped(reading))
		e = -EAGAIN;            /* they are asked for one by one */
	if (e == 0 && a.status != 204)
		e = parse_batch(buf_str(&a.head), a.head.len, &records, &last);
	for (size_t i = 0; e == 0 && i < records.list.n; i++) {
		const struct record *x = &records.list.at[i];
		size_t k;

		if (x->size > a.text.len - at) {
			e = -EBADMSG;           /* the body is shorter than its head says */
			break;
		}
		k = which(p, list, n, x);
		if (k < n)
			e = give(arg, k, a.text.data + at, (size_t)x->size);
		at += (size_t)x->size;
	}
	records_done(&records);
	ask_done(&a);
	return e < 0 ? e : !last;
}

int reduct_read_many(struct session *s, const struct object *const list[], size_t n, content_many_sink give, void *arg)
{
	struct reduct *r = reduct_of(s);
	_cleanup_free_ char *bucket = NULL, *entry = NULL, *path = NULL;
	struct place *p = calloc(n, sizeof(*p));
	struct reading *reading = NULL;
	uint64_t id = 0;
	size_t k = 0;
	int e = p ? 0 : -ENOMEM;

	if (e == 0 && r->minor < MINOR_TIMES)
		e = -ENOTSUP;
	for (; e == 0 && k < n; k++) {
		e = place_parse(list[k]->id, &p[k]);
		if (e == 0 && (!place_is_record(&p[k]) || strcmp(p[k].entry, p[0].entry) != 0 || strcmp(p[k].bucket, p[0].bucket) != 0))
			e = -EINVAL;
	}
	if (e == 0)
		e = name_encode_path(p[0].bucket, &bucket);
	if (e == 0)
		e = name_encode_path(p[0].entry, &entry);
	if (e == 0)
		e = str_fmt(&path, "%s/%s", bucket, entry);
	if (e == 0)
		e = reading_begin(r, p[0].bucket, p[0].entry, NULL, &reading);
	if (e == 0)
		e = ask_for(r, p, n, path, &id);
	if (e == 0)
		e = 1;
	for (size_t answers = 0; e == 1; answers++)
		e = answers > n ? -EBADMSG : take_answer(r, reading, p, list, n, path, id, give, arg);
	if (reading)
		reading_end(reading);
	for (size_t i = 0; p && i < k; i++)
		place_done(&p[i]);
	free(p);
	return e;
}
