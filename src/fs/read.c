/* read.c - one whole story: ask the cache, fetch what is missing, park, reply.
 *
 * (1) A FUSE worker asks the cache for the range. (2) All there: reply from the pinned blocks. (3) Something is missing: the
 * request is parked as a waiter; what nobody fetches is claimed, together with what prefetch wants beyond it, and becomes one
 * request. (4) The engine thread brings the bytes, the cache wakes the waiter, the waiter replies.
 *
 * A handle that has been open for a while makes sure that its version still stands before it fetches more: a server without
 * validators would give the new bytes under the old name. A fetch belongs to the handle that began it; when that handle is
 * released and nobody waits for the fetch, it is cancelled.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/thread.h"
#include "fs/private.h"

#define ASK_AGAIN_MAX 8         /* times a parked read asks anew after its bytes were lost again */
#define CLAIMS_MAX 64           /* runs that one read or window may be torn into */

struct read_op {
	struct op *op;
	struct cache_waiter waiter;
	uint64_t offset;
	size_t n;
	unsigned asked;
	struct cache_hit hit;
};

struct fetch {
	struct list link;               /* in handle->fetches */
	struct handle *handle;          /* a reference */
	struct fs *fs;
	struct cache_fetch *claim;
	struct http_transfer *transfer; /* under handle->lock; NULL once done */
	struct read_plan plan;
	uint64_t first, count;          /* what was claimed */
	uint64_t skip;                  /* bytes of the plan in front of it */
	uint64_t left;
	int cancelled;
	bool demand;
};

/* ---- replies ---- */

static int reader_errno(int err)
{
	switch (-err) {
	case EACCES: case EPERM: case ESTALE: case EINTR:
		return err;
	case ENOENT:
		return -ESTALE;         /* it was there when it was opened */
	default:
		return -EIO;
	}
}

static void reply_hit(struct read_op *r, int verdict)
{
	struct op *op = r->op;
	struct cache_file *f = op->handle->file;

	if (op_claim(op)) {
		if (verdict < 0) {
			fuse_reply_err(op->req, -verdict);
		} else {
			/* Before it is answered: who has read it may ask at once. */
			atomic_fetch_add(&op->fs->count_read_bytes, r->n);
			fuse_reply_iov(op->req, r->hit.parts, r->hit.n);
		}
	}
	cache_put(f, &r->hit);
	op_free(op);
	free(r);
}

static void drop_pages(struct node *n)
{
	WITH_LOCK(&n->fs->lock)
		node_drop_pages_locked(n);
}

static void verified(void *arg, int verdict)
{
	struct read_op *r = arg;

	if (verdict < 0)
		drop_pages(r->op->handle->node);
	reply_hit(r, verdict);
}

/* On an asker: the end of a content that came in parts is given out when they are known to be of one version. */
static void end_run(void *arg)
{
	struct read_op *r = arg;
	int err = pin_check(r->op->fs, r->op->handle);

	/* A server that cannot be asked now takes nothing back of what it gave. */
	if (err < 0 && fs_error_is_unreachable(err))
		err = 0;
	if (err < 0)
		drop_pages(r->op->handle->node);
	reply_hit(r, err < 0 ? reader_errno(err) : 0);
}

static void answer(struct read_op *r)
{
	struct handle *h = handle_ref(r->op->handle);   /* the hasher may have replied before the lock is dropped */
	bool taken = false, failed = false;

	if (h->verify)
		WITH_LOCK(&h->lock) {
			/* After a failed readahead the kernel asks for each page once more. */
			failed = verify_failed(h->verify);
			taken = !failed && verify_feed(h->verify, h->file, r->offset, r->n, &r->hit, verified, r);
		}
	if (!taken && !failed && r->offset + r->n == h->object.size && pin_in_doubt(r->op->fs, h) &&
	    pool_add(r->op->fs->askers, end_run, r) == 0)
		taken = true;
	if (!taken)
		reply_hit(r, failed ? -EIO : 0);
	handle_unref(h);
}

static void fail(struct read_op *r, int err)
{
	struct op *op = r->op;

	op_reply_err(op, reader_errno(err));
	free(r);
}

/* ---- fetching ---- */

static void fetch_done(struct fetch *x, int err)
{
	struct handle *h = x->handle;

	WITH_LOCK(&h->lock) {
		list_remove(&x->link);
		h->fetching--;
		x->transfer = NULL;
	}
	if (err == -ESTALE || err == -ENOENT)
		WITH_LOCK(&x->fs->lock) {
			h->node->object_at = h->node->object_at ? NODE_LONG_AGO : 0;        /* look again before anything is believed */
			h->node->version_at = NODE_LONG_AGO;
		}
	if (err == -EAGAIN)
		err = -EIO;             /* the server's 429 or 503: its patience was had already */
	if (err == -ECANCELED)
		err = -EAGAIN;          /* nobody waited; whoever came in between asks anew */
	cache_fetched(x->claim, err);
	read_plan_done(&x->plan);
	handle_unref(h);
	free(x);
}

static int fetch_data(void *arg, const void *data, size_t n)
{
	struct fetch *x = arg;
	const char *p = data;
	size_t skip = x->skip < n ? (size_t)x->skip : n;
	int r = 0;

	if (x->plan.stopped && __atomic_load_n(x->plan.stopped, __ATOMIC_ACQUIRE))
		return -ECANCELED;      /* whoever waits asks anew */
	x->skip -= skip;
	p += skip;
	n -= skip;
	if (n > x->left)
		n = (size_t)x->left;
	if (n)
		r = cache_fill(x->claim, p, n);
	x->left -= n;
	return r;
}

static void fetch_http_done(void *arg, int err, const struct http_reply *reply)
{
	struct fetch *x = arg;

	if (err < 0 && err != -ECANCELED) {
		const char *name = x->handle->object.name ? x->handle->object.name : x->handle->object.id;

		log_warn("%s: reading bytes %llu-%llu failed: %s", name, (unsigned long long)x->first,
		         (unsigned long long)(x->first + x->count - 1), reply->message);
		backend_report_fault("read", x->handle->object.id, -err, reply->status, reply->message, reply->url);
	}
	fetch_done(x, err);
}

/* The whole of open and read is to end within the time that the user was promised: open may have waited for news. */
static unsigned read_deadline(const struct fs *fs)
{
	unsigned all = fs->session->policy.timeout_ms, before = 2 * fs->config.soft_wait_ms;

	return all > 2 * before ? all - before : all;
}

static int fetch_submit(struct fetch *x)
{
	struct http_request q = {
		.url = x->plan.url,
		.headers = (const char *const *)x->plan.headers,
		.auth_header = x->plan.auth_header,
		.auth_prefix = x->plan.auth_prefix,
		.auth = x->plan.auth,
		.cache_redirect = x->plan.cache_redirect,
		.total = x->handle->object.size,
		.priority = x->demand ? HTTP_READ : HTTP_PREFETCH,
		.slow_ms = x->fs->session->policy.slow_ms,
		.deadline_ms = read_deadline(x->fs),
		.on_data = fetch_data,
		.on_done = fetch_http_done,
		.arg = x,
	};
	struct http_transfer *t;
	struct handle *h = x->handle;
	int r;

	if (x->plan.range.first == 0 && x->plan.range.count == x->handle->object.size) {
		q.expect_length = true;
	} else {
		q.has_range = true;
		q.first = x->plan.range.first;
		q.last = x->plan.range.first + x->plan.range.count - 1;
	}
	/* Under the lock, so that the end cannot come before the transfer is noted. */
	WITH_LOCK(&h->lock) {
		r = http_submit(x->fs->http, &q, &t);
		if (r == 0)
			x->transfer = t;
	}
	return r;
}

static void fill_run(void *arg)
{
	struct fetch *x = arg;
	int r;

	(void)http_set_cancel(&x->cancelled);
	r = backend_fill(x->fs->session, &x->handle->object, &x->plan, fetch_data, x, &x->cancelled);
	(void)http_set_cancel(NULL);
	if (r == 0 && x->left) {
		r = -EIO;
		log_warn("%s: the content ends %llu bytes too early", x->handle->object.name, (unsigned long long)x->left);
		backend_report_fault("read", x->handle->object.id, EIO, 0, "the content ends too early", NULL);
	}
	fetch_done(x, r == -EINTR ? -ECANCELED : r);
}

static void fetch_go(struct fetch *x)
{
	int r;

	x->plan.range = (struct range){x->first, x->count};
	r = backend_prepare_read(x->fs->session, &x->handle->object, &x->plan);
	if (r == 0) {
		x->skip = x->first - x->plan.range.first;
		if (x->plan.range.first || x->plan.range.count < x->handle->object.size)
			pin_part_fetched(x->fs, x->handle);
		if (x->plan.kind == PLAN_REQUEST)
			r = fetch_submit(x);
		else
			r = pool_add(x->fs->fillers, fill_run, x);
	}
	if (r < 0)
		fetch_done(x, r == -EAGAIN ? -ECANCELED : r);   /* a queue is full */
}

/* On an asker. */
static void check_run(void *arg)
{
	struct fetch *x = arg;
	int r = pin_check(x->fs, x->handle);

	if (r < 0)
		fetch_done(x, r);
	else
		fetch_go(x);
}

static void fetch_start(struct handle *h, struct fs *fs, struct cache_fetch *claim, uint64_t first, uint64_t count, bool demand)
{
	struct fetch *x = calloc(1, sizeof(*x));
	bool check = pin_is_old(fs, h);

	if (!x) {
		cache_fetched(claim, -ENOMEM);
		return;
	}
	list_init(&x->link);
	x->handle = handle_ref(h);
	x->fs = fs;
	x->claim = claim;
	x->first = first;
	x->count = x->left = count;
	x->demand = demand;
	WITH_LOCK(&h->lock) {
		list_append(&h->fetches, &x->link);
		h->fetching++;
	}
	if (!check)
		fetch_go(x);
	else if (pool_add(fs->askers, check_run, x) < 0)
		fetch_done(x, -ECANCELED);
}

uint64_t read_share(struct fs *fs)
{
	uint64_t memory = fs->config.memory ? fs->config.memory : 64u << 20;
	unsigned readers = atomic_load(&fs->readers);

	memory /= 4ull * (readers ? readers : 1);
	return memory < CACHE_BLOCK ? CACHE_BLOCK : memory;
}

/* Fetch [first, first+count) as far as nobody has or fetches it. */
static void fetch_range(struct handle *h, struct fs *fs, uint64_t first, uint64_t count, bool demand)
{
	uint64_t end = first + count;

	for (unsigned i = 0; i < CLAIMS_MAX && first < end; i++) {
		struct cache_fetch *claim;
		uint64_t got_first, got_count;

		if (cache_claim(h->file, first, end - first, demand, &claim, &got_first, &got_count) != 1)
			return;
		fetch_start(h, fs, claim, got_first, got_count, demand);
		first = got_first + got_count;
	}
}

static void read_ahead(struct handle *h, struct fs *fs, uint64_t offset, uint64_t n, bool stalled)
{
	const struct policy *p = &fs->session->policy;
	uint64_t first, count;
	bool room;

	WITH_LOCK(&h->lock) {
		cache_prefetch(&h->cursors, p, h->object.size, offset, n, stalled, read_share(fs), &first, &count);
		room = h->fetching < (p->streams_file ? p->streams_file : 1);
	}
	if (stalled) {
		/* What is waited for in any case; what lies beyond as one request with it. */
		if (first <= offset && first + count >= offset + n)
			fetch_range(h, fs, first, count, true);
		else
			fetch_range(h, fs, offset, n, true);
	} else if (count && room) {
		fetch_range(h, fs, first, count, false);
	}
}

/* ---- the read ---- */

static void ask(struct read_op *r);

static void ask_later(void *arg)
{
	ask(arg);
}

static void ready(struct cache_waiter *w, int err)
{
	struct read_op *r = container_of(w, struct read_op, waiter);
	struct fs *fs = r->op->fs;

	atomic_fetch_sub(&fs->read_waits, 1);
	if (err == 0) {
		r->hit = w->hit;
		answer(r);
	} else if (err == -EAGAIN && r->asked < ASK_AGAIN_MAX) {
		/* Not from here: this may be the engine, in the middle of a transfer's end. */
		if (pool_add(fs->callers, ask_later, r) < 0)
			fail(r, -EIO);
	} else {
		fail(r, err);
	}
}

static void ask(struct read_op *r)
{
	struct handle *h = r->op->handle;
	struct fs *fs = r->op->fs;
	enum cache_answer a;
	uint64_t offset = r->offset, n = r->n;

	r->asked++;
	memset(&r->waiter, 0, sizeof(r->waiter));
	r->waiter.ready = ready;
	atomic_fetch_add(&fs->read_waits, 1);
	handle_ref(h);          /* the reply may release it */
	a = cache_ask(h->file, offset, n, &r->waiter, &r->hit);
	if (a == CACHE_HIT) {
		atomic_fetch_sub(&fs->read_waits, 1);
		answer(r);
	}
	/* r may be gone from here on. */
	read_ahead(h, fs, offset, n, a == CACHE_FETCH);
	handle_unref(h);
}

/* ---- a small file, before anybody reads it ---- */

struct whole {
	struct cache_waiter waiter;
	struct handle *handle;          /* a reference */
	struct fs *fs;
	unsigned asked;
};

static void whole_end(struct whole *x)
{
	handle_unref(x->handle);
	free(x);
}

static void whole_ask(void *arg);

static void whole_ready(struct cache_waiter *w, int err)
{
	struct whole *x = container_of(w, struct whole, waiter);

	if (err == 0)
		cache_put(x->handle->file, &w->hit);
	else if (err == -EAGAIN && x->asked < ASK_AGAIN_MAX && pool_add(x->fs->askers, whole_ask, x) == 0)
		return;
	whole_end(x);
}

/* Through an ask, not only a claim: what the disk has is not known at once, and is not fetched again. */
static void whole_ask(void *arg)
{
	struct whole *x = arg;
	struct cache_file *f = x->handle->file;
	uint64_t n = x->handle->object.size < CACHE_READ_MAX ? x->handle->object.size : CACHE_READ_MAX;
	struct cache_hit hit;

	x->asked++;
	memset(&x->waiter, 0, sizeof(x->waiter));
	x->waiter.ready = whole_ready;
	switch (cache_ask(f, 0, n, &x->waiter, &hit)) {
	case CACHE_HIT:
		cache_put(f, &hit);
		whole_end(x);
		break;
	case CACHE_FETCH:
		if (cache_unwait(f, &x->waiter)) {
			fetch_range(x->handle, x->fs, 0, x->handle->object.size, false);
			whole_end(x);
		}
		break;
	case CACHE_PARKED:
		break;
	}
}

void read_whole(struct handle *h, struct fs *fs)
{
	struct whole *x = h->file ? calloc(1, sizeof(*x)) : NULL;

	if (!x)
		return;
	x->handle = handle_ref(h);
	x->fs = fs;
	whole_ask(x);
}

/* ---- several small files at once ---- */

struct many {
	struct fs *fs;
	size_t n;
	struct part {
		struct handle *handle;
		struct cache_fetch *claim;
		bool came;
	} *parts;
};

static int many_give(void *arg, size_t which, const void *data, size_t n)
{
	struct many *x = arg;
	struct part *p = &x->parts[which];
	int r;

	if (p->came || n != p->handle->object.size)
		return 0;
	r = cache_fill(p->claim, data, n);
	p->came = r == 0;
	return r;
}

/* A file of which nothing is here: all of it is claimed. Else its handle goes. */
static bool many_claim(struct part *p)
{
	struct handle *h = p->handle;
	uint64_t first, count;

	if (h->file && !cache_have(h->file) && cache_claim(h->file, 0, h->object.size, false, &p->claim, &first, &count) == 1) {
		if (!first && count == h->object.size)
			return true;
		cache_fetched(p->claim, -EAGAIN);
	}
	handle_unref(h);
	return false;
}

int read_many(struct fs *fs, struct node *const nodes[], size_t n)
{
	struct many x = {.fs = fs, .parts = calloc(n, sizeof(*x.parts))};
	const struct object **list = calloc(n, sizeof(*list));
	uint64_t at = clock_mono_ms();
	size_t opened = 0;
	int r = x.parts && list ? 0 : -ENOMEM;

	/* All are opened before any is waited for, the last one first: the disk's threads have looked for the others then. */
	for (size_t i = 0; r == 0 && i < n; i++)
		opened += file_handle(fs, nodes[i], &x.parts[opened].handle) == 0;
	if (opened && x.parts[opened - 1].handle->file)
		(void)cache_have(x.parts[opened - 1].handle->file);
	for (size_t i = 0; i < opened; i++)
		if (many_claim(&x.parts[i])) {
			x.parts[x.n] = x.parts[i];
			list[x.n] = &x.parts[x.n].handle->object;
			x.n++;
		}
	if (x.n)
		r = backend_read_many(fs->session, list, x.n, many_give, &x);
	for (size_t i = 0; i < x.n; i++) {
		struct handle *h = x.parts[i].handle;

		/* Who waits for one that did not come asks for it by itself. */
		cache_fetched(x.parts[i].claim, x.parts[i].came ? 0 : -EAGAIN);
		/* It came as it was said to be: that needs not be asked again when it is opened. */
		WITH_LOCK(&fs->lock)
			if (x.parts[i].came && str_eq(h->node->object.version, h->object.version) && h->node->object_at && at > h->node->object_at)
				h->node->object_at = h->node->version_at = at;
		handle_unref(h);
	}
	free(list);
	free(x.parts);
	return r;
}

/* ---- bytes that a caller waits for ---- */

#define LOOK_AGAIN_MS 200       /* how often it is seen whether the caller was interrupted */

struct blocking {
	struct cache_waiter waiter;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done;
	int err;
};

static void blocking_ready(struct cache_waiter *w, int err)
{
	struct blocking *b = container_of(w, struct blocking, waiter);

	WITH_LOCK(&b->lock) {
		b->done = true;
		b->err = err;
		pthread_cond_signal(&b->cond);
	}
}

static void copy_hit(const struct cache_hit *hit, void *to)
{
	char *at = to;

	for (int i = 0; i < hit->n; i++) {
		memcpy(at, hit->parts[i].iov_base, hit->parts[i].iov_len);
		at += hit->parts[i].iov_len;
	}
}

/* The waiter was called, or is taken back: -EINTR. */
static int blocking_wait(struct blocking *b, struct cache_file *f, const int *cancelled)
{
	bool done = false;

	while (!done) {
		struct timespec until = clock_until(LOOK_AGAIN_MS);

		WITH_LOCK(&b->lock) {
			if (!b->done)
				pthread_cond_timedwait(&b->cond, &b->lock, &until);
			done = b->done;
		}
		if (!done && cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED) && cache_unwait(f, &b->waiter))
			return -EINTR;
	}
	return b->err;
}

int read_blocking(struct handle *h, struct fs *fs, uint64_t at, size_t n, void *to, const int *cancelled)
{
	struct blocking b = {.waiter = {.ready = blocking_ready}};
	int r = -EAGAIN;

	if (pin_is_lost(fs, h))
		return -ESTALE;
	pthread_mutex_init(&b.lock, NULL);
	thread_cond_init(&b.cond);
	for (unsigned i = 0; r == -EAGAIN && i < ASK_AGAIN_MAX; i++) {
		struct cache_hit hit;
		enum cache_answer a;

		memset(&b.waiter, 0, sizeof(b.waiter));
		b.waiter.ready = blocking_ready;
		b.done = false;
		a = cache_ask(h->file, at, n, &b.waiter, &hit);
		read_ahead(h, fs, at, n, a == CACHE_FETCH);
		r = 0;
		if (a != CACHE_HIT) {
			r = blocking_wait(&b, h->file, cancelled);
			hit = b.waiter.hit;
		}
		if (r == 0) {
			copy_hit(&hit, to);
			cache_put(h->file, &hit);
		}
	}
	pthread_cond_destroy(&b.cond);
	pthread_mutex_destroy(&b.lock);
	return r == -EAGAIN ? -EIO : r == -EINTR ? r : r < 0 ? reader_errno(r) : 0;
}

void read_start(struct op *op)
{
	struct handle *h = op->handle;
	struct fs *fs = op->fs;
	struct draft *d;
	struct read_op *r;

	atomic_fetch_add(&fs->count_reads, 1);
	if (h->is_control) {
		control_read(op);
		return;
	}
	if (op->offset < 0) {
		op_reply_err(op, -EINVAL);
		return;
	}
	d = fs->spool ? node_draft(h->node) : NULL;
	if (d) {
		write_read(op, d);
		return;
	}
	if ((uint64_t)op->offset >= h->object.size || !op->size) {
		op_reply_buf(op, "", 0);
		return;
	}
	if (pin_is_lost(fs, h)) {
		op_reply_err(op, -ESTALE);
		return;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		op_reply_err(op, -ENOMEM);
		return;
	}
	r->op = op;
	r->offset = (uint64_t)op->offset;
	r->n = op->size < CACHE_READ_MAX ? op->size : CACHE_READ_MAX;
	if (r->n > h->object.size - r->offset)
		r->n = (size_t)(h->object.size - r->offset);
	fuse_req_interrupt_func(op->req, op_interrupted, op);
	ask(r);
}

void read_release(struct handle *h)
{
	struct handle *old = NULL;
	struct list *l;

	WITH_LOCK(&h->lock) {
		old = h->old ? handle_ref(h->old) : NULL;
		h->closed = true;
		for (l = h->fetches.next; l != &h->fetches; l = l->next) {
			struct fetch *x = container_of(l, struct fetch, link);

			if (cache_wanted(x->claim))
				continue;
			__atomic_store_n(&x->cancelled, 1, __ATOMIC_RELAXED);
			if (x->transfer)
				http_cancel(x->fs->http, x->transfer);
		}
	}
	if (old) {
		read_release(old);
		handle_unref(old);
	}
}
