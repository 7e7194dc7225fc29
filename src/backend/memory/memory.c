/* memory.c - the memory backend: its table, opening, and the gate where calls are delayed and fail on demand. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/memory/private.h"
#include "base/clock.h"
#include "base/digest.h"

#define NAP_MS 20               /* how soon a cancelled read is noticed */

static void memory_close(struct session *s);

/* ---- the gate ---- */

static int nap(uint64_t ms, const int *cancelled)
{
	uint64_t end = clock_mono_ms() + ms, now;

	while ((now = clock_mono_ms()) < end) {
		uint64_t left = end - now < NAP_MS ? end - now : NAP_MS;
		struct timespec t = {0, (long)left * 1000000};

		if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
			return -EINTR;
		nanosleep(&t, NULL);
	}
	return 0;
}

/* The n-th call fails or not, the same in each run. Never the first: that one decides whether there is a mount. */
static bool unlucky(unsigned long n, uint64_t percent)
{
	char number[24];

	snprintf(number, sizeof(number), "%lu", n);
	return n && digest_hash64((const char *const[]){"fail", number, NULL}) % 100 < percent;
}

int memory_gate(struct memory *m, const char *name, const int *cancelled)
{
	const struct shape *s = &m->shape;
	unsigned long n = atomic_fetch_add(&m->calls, 1);
	int r = nap(s->delay_ms, cancelled);

	if (r == 0 && unlucky(n, s->fail_percent))
		r = -EIO;
	for (size_t i = 0; i < s->n_fails && r == 0; i++) {
		const struct fail *f = &s->fails[i];

		if ((strcmp(f->name, "*") == 0 || str_eq(f->name, name)) && clock_mono_ms() - m->opened_at >= f->after_ms)
			r = f->err;
	}
	if (r < 0 && r != -EINTR)
		backend_note_fault(0, "Demanded", "failing on demand", m->session.origin);
	return r;
}

/* ---- open ---- */

static int check_source(const char *url, char **why)
{
	struct shape s = {0};
	int r = shape_parse(url, &s, why);

	shape_done(&s);
	return r;
}

static int index_of(const char *key)
{
	for (size_t i = 0; key && i < sample_rows; i++)
		if (strcmp(sample[i].key, key) == 0)
			return (int)i;
	return -1;
}

static int thing_init(struct thing *t, const struct row *row)
{
	_cleanup_free_ char *hex = NULL, *version = NULL;
	int r = 0;

	t->row = row;
	t->parent = index_of(row->in);
	snprintf(t->id, sizeof(t->id), "item/%016llx", (unsigned long long)digest_hash64((const char *const[]){row->key, NULL}));
	if (row->kind != OBJECT_FILE)
		return 0;
	/* The version is the content's own hash: no later sample can give other bytes under it. */
	r = memory_digest_row(row, "xxh3", &version);
	if (r < 0)
		return r;
	snprintf(t->version, sizeof(t->version), "%s", version);
	if (row->digest)
		r = memory_digest_row(row, row->digest, &hex);
	if (r == -ENOTSUP)
		return 0;       /* no md5 on this machine: then none is told */
	return r < 0 || !hex ? r : str_fmt(&t->digest, "%s:%s", row->digest, hex);
}

static int fill_sample(struct memory *m)
{
	int r = 0;

	m->things = calloc(sample_rows, sizeof(*m->things));
	if (!m->things)
		return -ENOMEM;
	for (size_t i = 0; i < sample_rows && r == 0; i++)
		r = thing_init(&m->things[i], &sample[i]);
	return r;
}

/* What is kept of this repository over a restart belongs to its shape; delays and failures are no part of that. */
static int name_origin(const struct shape *s, char **ret)
{
	_cleanup_buf_ struct buf b = BUF_MAX(4096);
	int r = buf_adds(&b, "memory:");

	if (r == 0 && s->made)
		r = buf_addf(&b, "?files=%llu&dirs=%llu&size=%llu", (unsigned long long)s->files, (unsigned long long)s->dirs,
		             (unsigned long long)s->size);
	if (r == 0 && (s->unknown || s->changes_ms))
		r = buf_addf(&b, "%s%s%s", s->made ? "&" : "?", s->unknown ? "unknown=1" : "",
		             s->unknown && s->changes_ms ? "&" : "");
	if (r == 0 && s->changes_ms)
		r = buf_addf(&b, "changes=%llums", (unsigned long long)s->changes_ms);
	if (r < 0)
		return r;
	*ret = buf_take(&b);
	return *ret ? 0 : -ENOMEM;
}

static int memory_open(const struct login *who, struct http *http, struct session **ret, char **why)
{
	struct memory *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->session.backend = &backend_memory;
	m->session.policy = backend_memory.policy;
	backend_override(&m->session.policy, who->override);
	m->opened_at = clock_mono_ms();
	r = shape_parse(who->url, &m->shape, why);
	if (r == 0)
		r = name_origin(&m->shape, &m->session.origin);
	if (r == 0)
		r = str_dup("anonymous", &m->session.identity);
	if (r == 0)
		r = str_fmt(&m->session.server_json, "{\"kind\": \"memory\", \"source\": \"%s\", \"identity\": \"anonymous\"}\n",
		            m->session.origin);
	if (r == 0 && !m->shape.made)
		r = fill_sample(m);
	if (r < 0) {
		memory_close(&m->session);
		return r;
	}
	*ret = &m->session;
	return 0;
}

static void memory_close(struct session *s)
{
	struct memory *m = memory_of(s);

	for (size_t i = 0; m->things && i < sample_rows; i++)
		free(m->things[i].digest);
	free(m->things);
	shape_done(&m->shape);
	free(m->session.origin);
	free(m->session.identity);
	free(m->session.server_json);
	free(m);
}

const struct backend backend_memory = {
	.scheme = "memory",
	.can = CAN_RANGE | CAN_SEARCH | CAN_BYID,
	.policy = {
		.fetch_min = 64u << 10,
		.fetch_long = 16u << 20,
		.whole_below = 1u << 20,
		.streams_file = 2,
		.streams_host = 8,
		.pause_safe = true,
		.stat_parallel = 8,
		.attr_ttl_ms = 5000,
		.list_ttl_ms = 30000,
		.timeout_ms = 60000,
	},
	.check_source = check_source,
	.open = memory_open,
	.close = memory_close,
	.root = memory_root,
	.lookup = memory_lookup,
	.list = memory_list,
	.stat = memory_stat,
	.changed = memory_changed,
	.prepare_read = memory_prepare_read,
	.get_doc = memory_get_doc,
	.attrs = memory_attrs,
	.query = memory_query,
	.locate = memory_locate,
};
