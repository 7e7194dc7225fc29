/* query.c - the records of an entry, asked for by a query whose pages are the heads of answers.
 *
 * A query is made (POST), and each page of it is given once (HEAD): sizes, types and labels of up to 3,000 records. A page whose
 * answer got lost is gone, a query that nobody asks for a minute is forgotten, and after a restart its number may be somebody
 * else's. So pages are never asked for twice, what comes is held against where the query stands, and in doubt a new one
 * goes on from there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/reduct/private.h"

#define PAGE_RECORDS 3000
#define QUERY_TTL_S 60
#define FAILURES_MAX 3                  /* queries made anew without a page between */
#define VERSIONS_MAX 100000             /* records of one name */
#define BODY_MAX (128u << 10)           /* of a question: a condition may have 64 KiB */
#define EMPTY_MAX 50                    /* pages in a row that bring nothing and are not the last */

const char query_named[] = "\"$has\": [\"filename\"]";
static const char query_unnamed[] = "\"$not\": [{\"$has\": [\"filename\"]}]";

/* Since when a server knows what: see README. */
#define MINOR_DIRECTIVES 17
#define MINOR_LIMIT 15

unsigned query_page(const struct reduct *r)
{
	return r->batch_told ? r->batch_told : PAGE_RECORDS;
}

static int body_of(const struct reduct *r, const struct query *q, struct buf *b)
{
	unsigned page = query_page(r);
	const char *comma = "";
	int e = buf_addf(b, "{\"query_type\": \"QUERY\", \"start\": %" PRIu64 ", \"stop\": %" PRIu64 ", \"only_metadata\": true, \"ttl\": %d",
	                 q->start, q->stop, QUERY_TTL_S);

	if (e == 0 && q->limit && r->minor < MINOR_LIMIT)
		e = buf_addf(b, ", \"limit\": %u", q->limit);
	if (e == 0)
		e = buf_adds(b, ", \"when\": {");
	if (e == 0 && r->minor >= MINOR_DIRECTIVES) {
		e = buf_addf(b, "\"#batch_records\": %u, \"#batch_metadata_size\": %d", q->limit && q->limit < page ? q->limit : page, QUERY_HEAD_BYTES);
		comma = ", ";
	}
	if (e == 0 && q->when) {
		e = buf_addf(b, "%s%s", comma, q->when);
		comma = ", ";
	}
	/* The last of all: before the others it would count what they leave out. */
	if (e == 0 && q->limit && r->minor >= MINOR_LIMIT)
		e = buf_addf(b, "%s\"$limit\": %u", comma, q->limit);
	return e < 0 ? e : buf_adds(b, "}}");
}

int query_make(struct reduct *r, const char *family, const char *path, const char *body, uint64_t *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	struct ask a = {.method = "POST", .body = body};
	int e = reduct_ask(r, &a, "%s/%s/q", family, path);

	if (e == 0)
		e = json_parse(buf_str(&a.text), a.text.len, &j);
	if (e == 0)
		e = json_u64(j, "id", ret);
	if (e == -EBADMSG)
		backend_note_fault(a.status, NULL, json_error(), path);
	ask_done(&a);
	return e;
}

static int begin(struct reduct *r, struct query *q, const char *path)
{
	_cleanup_buf_ struct buf body = BUF_MAX(BODY_MAX);
	int e = body_of(r, q, &body);

	if (e == 0)
		e = query_make(r, "b", path, buf_str(&body), &q->id);
	q->asked = e == 0;
	return e == -EBUSY ? -ENOENT : e;       /* it is being deleted */
}

/* 1: a page; 0: the query has to be made anew; -errno. */
static int page(struct reduct *r, struct query *q, const char *path, struct records *io)
{
	struct ask a = {.method = "HEAD", .once = true, .max_headers = QUERY_HEAD_MAX};
	bool last = false;
	int e = reduct_ask(r, &a, "b/%s/batch?q=%" PRIu64, path, q->id);

	if (e == 0 && a.status == 204)
		last = true;
	else if (e == 0)
		e = parse_batch(buf_str(&a.head), a.head.len, io, &last);
	if (e == -EBADMSG)
		backend_note_fault(a.status, NULL, "the head of a batch cannot be read", path);
	/* Forgotten; or the answer got lost; or a block of it was evicted while it was read. */
	if (e < 0 && (a.status == 404 || a.in_doubt || (a.status == 500 && q->failures < FAILURES_MAX)))
		e = 1;
	else if (e == 0)
		q->ended = last;
	ask_done(&a);
	if (e != 0)
		return e > 0 ? 0 : e;
	for (size_t i = 0; i < io->list.n; i++)
		if (io->list.at[i].ts < q->start || io->list.at[i].ts >= q->stop)
			return 0;       /* the answer to somebody else's question */
	return 1;
}

int query_next(struct reduct *r, struct query *q, struct records *io)
{
	_cleanup_free_ char *bucket = NULL, *entry = NULL, *path = NULL;
	unsigned empty = 0;
	int e = name_encode_path(q->bucket, &bucket);

	if (e == 0)
		e = name_encode_path(q->entry, &entry);
	if (e == 0)
		e = str_fmt(&path, "%s/%s", bucket, entry);
	while (e == 0) {
		records_clear(io);
		if (q->ended || q->start >= q->stop)
			return 0;
		if (!q->asked)
			e = begin(r, q, path);
		if (e == 0)
			e = page(r, q, path, io);
		if (e < 0)
			return e;
		if (e == 0) {
			q->asked = q->ended = false;
			if (++q->failures > FAILURES_MAX)
				return -EIO;
			continue;
		}
		q->failures = 0;
		if (io->list.n) {
			q->start = io->list.at[io->list.n - 1].ts + 1;
			return 0;
		}
		if (q->ended)
			return 0;
		e = ++empty > EMPTY_MAX ? -EBADMSG : 0;
	}
	return e;
}

static int one_of(struct reduct *r, struct query *q, struct record *ret)
{
	struct records list = {0};
	int e = query_next(r, q, &list);

	if (e == 0 && list.list.n) {
		*ret = list.list.at[0];
		list.list.at[0] = (struct record){0};
		e = 1;
	}
	records_done(&list);
	return e;
}

int query_first(struct reduct *r, const char *bucket, const char *entry, uint64_t start, uint64_t stop, struct record *ret)
{
	struct query q = {.bucket = bucket, .entry = entry, .start = start, .stop = stop, .when = query_unnamed, .limit = 1};

	return one_of(r, &q, ret);
}

int query_one(struct reduct *r, const char *bucket, const char *entry, uint64_t ts, struct record *ret)
{
	struct query q = {.bucket = bucket, .entry = entry, .start = ts, .stop = ts + 1};
	int e = one_of(r, &q, ret);

	return e == 0 ? -ENOENT : e < 0 ? e : 0;
}

/* What a query finds whose label reads as this name, and is not `but`, added to *io. */
static int collect(struct reduct *r, struct query *q, const char *name, const char *but, struct records *io)
{
	struct records page = {0};
	int e;

	while ((e = query_next(r, q, &page)) == 0 && page.list.n)
		for (size_t i = 0; i < page.list.n && e == 0; i++) {
			struct record *x = &page.list.at[i];
			const char *label = record_label(x, "filename");
			_cleanup_free_ char *is = NULL;

			e = label ? name_from_label(label, &is) : 0;
			if (e < 0 || !is || strcmp(is, name) != 0 || str_eq(label, but))
				continue;
			e = io->list.n >= VERSIONS_MAX ? -EFBIG : vec_push(&io->list, *x);
			if (e == 0)
				*x = (struct record){0};
		}
	records_done(&page);
	return e;
}

static int by_time(const void *a, const void *b)
{
	const struct record *x = a, *y = b;

	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

int query_versions(struct reduct *r, const char *bucket, const char *entry, const char *name, bool all, struct records *ret)
{
	_cleanup_free_ char *label = NULL;
	_cleanup_buf_ struct buf when = BUF_MAX(65536);
	struct query q = {.bucket = bucket, .entry = entry, .stop = REDUCT_TS_MAX};
	int e = name_to_label(name, &label);

	if (e == 0)
		e = buf_adds(&when, "\"&filename\": {\"$eq\": ");
	if (e == 0)
		e = json_write_str(&when, label);
	if (e == 0)
		e = buf_adds(&when, "}");
	if (e < 0)
		return e;
	q.when = buf_str(&when);
	e = collect(r, &q, name, NULL, ret);
	if (e < 0 || (ret->list.n && !all) || strcmp(label, name) == 0)
		return e;
	/* Others may have stored it as it is, and then no condition can find it. */
	q = (struct query){.bucket = bucket, .entry = entry, .stop = REDUCT_TS_MAX, .when = query_named};
	e = collect(r, &q, name, label, ret);
	if (e == 0 && ret->list.n)
		qsort(ret->list.at, ret->list.n, sizeof(*ret->list.at), by_time);
	return e;
}

int query_file(struct reduct *r, const char *bucket, const char *entry, const char *name, struct record *ret)
{
	struct records list = {0};
	int e = query_versions(r, bucket, entry, name, false, &list);

	if (e == 0 && list.list.n) {
		*ret = list.list.at[list.list.n - 1];
		list.list.at[list.list.n - 1] = (struct record){0};
		e = 1;
	}
	records_done(&list);
	return e;
}
