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

int memory_gate_upload(struct memory *m, const char *name, const int *cancelled)
{
	int r = nap(m->shape.updelay_ms, cancelled);

	return r < 0 ? r : memory_gate(m, name, cancelled);
}

int memory_refused(struct memory *m, const char *name)
{
	for (size_t i = 0; i < m->shape.n_refusals; i++) {
		struct refusal *f = &m->shape.refusals[i];
		bool due = false;

		if (strcmp(f->name, "*") != 0 && !str_eq(f->name, name))
			continue;
		WITH_LOCK(&m->overlay.lock) {
			due = f->times != 0;
			if (due && f->times != UINT64_MAX)
				f->times--;
		}
		if (due) {
			backend_note_fault(0, "Demanded", "refused on demand", m->session.origin);
			return f->err;
		}
	}
	return 0;
}

int memory_gate_change(struct memory *m, const char *name, const int *cancelled)
{
	int r = memory_gate(m, name, cancelled);

	return r < 0 ? r : m->shape.readonly ? -EACCES : memory_refused(m, name);
}

int memory_answer(struct memory *m, int r)
{
	unsigned long n;

	if (r < 0)
		return r;
	n = atomic_fetch_add(&m->changes, 1) + 1;
	if (!unlucky(n, m->shape.lose_percent) && (!m->shape.lose_each || n % m->shape.lose_each != 0))
		return 0;
	backend_note_fault(0, "Demanded", "the answer got lost on demand: it may be done", m->session.origin);
	return -EIO;
}

int memory_answer_object(struct memory *m, int r, struct object *io)
{
	int e = memory_answer(m, r);

	if (r == 0 && e < 0)
		object_done(io);
	return e;
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
	_cleanup_buf_ struct buf b = BUF_MAX(8192);
	_cleanup_free_ char *store = NULL;
	int r = s->store ? str_percent_encode(s->store, strlen(s->store), "/", &store) : 0;

	if (r == 0)
		r = buf_adds(&b, "memory:");
	if (r == 0 && s->made)
		r = buf_addf(&b, "&files=%llu&dirs=%llu&size=%llu", (unsigned long long)s->files, (unsigned long long)s->dirs,
		             (unsigned long long)s->size);
	if (r == 0 && s->unknown)
		r = buf_adds(&b, "&unknown=1");
	if (r == 0 && s->readonly)
		r = buf_adds(&b, "&readonly=1");
	if (r == 0 && s->changes_ms)
		r = buf_addf(&b, "&changes=%llums", (unsigned long long)s->changes_ms);
	if (r == 0 && store)
		r = buf_addf(&b, "&store=%s", store);
	if (r < 0)
		return r;
	if (strchr(b.data, '&'))
		*strchr(b.data, '&') = '?';
	*ret = buf_take(&b);
	return *ret ? 0 : -ENOMEM;
}

static int memory_space(struct session *s, uint64_t *ret_used, uint64_t *ret_total)
{
	struct memory *m = memory_of(s);
	int r = overlay_begin(m);

	if (r < 0)
		return r;
	*ret_used = m->overlay.used;
	*ret_total = m->shape.quota && m->shape.quota < m->shape.room ? m->shape.quota : m->shape.room;
	overlay_end(m);
	return 0;
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
	m->overlay.lock_fd = -1;
	m->overlay.next_serial = 1;
	pthread_mutex_init(&m->overlay.lock, NULL);
	list_init(&m->overlay.things);
	list_init(&m->overlay.parts);
	memory_papers_init(m);
	r = shape_parse(who->url, &m->shape, why);
	if (!m->session.policy.upload_batch)
		m->session.policy.upload_batch = (unsigned)m->shape.batch;
	if (r == 0)
		r = name_origin(&m->shape, &m->session.origin);
	if (r == 0)
		r = str_dup("anonymous", &m->session.identity);
	if (r == 0)
		r = str_fmt(&m->session.server_json, "{\"kind\": \"memory\", \"source\": \"%s\", \"identity\": \"anonymous\"}\n",
		            m->session.origin);
	if (r == 0 && !m->shape.made)
		r = fill_sample(m);
	if (r == 0)
		r = overlay_init(m, why);
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

	overlay_done(m);
	memory_papers_done(m);
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
	.can = CAN_RANGE | CAN_SEARCH | CAN_BYID | CAN_WRITE,
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
		.upload_chunk = 4u << 20,
		.upload_parallel = 8,
		.upload_batch_bytes = 8u << 20,
		.slow_ms = 60000,
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
	.space = memory_space,
	.plan_create = memory_plan_create,
	.lane = memory_lane,
	.upload = memory_upload,
	.upload_many = memory_upload_many,
	.upload_drop = memory_upload_drop,
	.mkdir = memory_mkdir,
	.symlink = memory_symlink,
	.remove = memory_remove,
	.rename = memory_rename,
	.copy = memory_copy,
	.set_attrs = memory_set_attrs,
	.check_attr = memory_check_attr,
	.set_doc = memory_set_doc,
	.mtime_attr = MEMORY_META "." MEMORY_MTIME_KEY,
	.controls = memory_controls,
	.control_object = memory_control_object,
	.control_call = memory_control_call,
	.paper_stat = memory_paper_stat,
	.paper_list = memory_paper_list,
	.paper_read = memory_paper_read,
	.paper_check = memory_paper_check,
	.paper_write = memory_paper_write,
	.paper_remove = memory_paper_remove,
};
