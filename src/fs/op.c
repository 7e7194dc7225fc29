/* op.c - parked requests: FUSE requests that are answered later, by whoever has found the answer.
 *
 * States: made -> parked (a caller will run it) -> claimed by who answers it, or answered with EINTR by an interrupt -> freed.
 * Exactly one of the two answers it; op_claim() tells which.
 */
#include <errno.h>
#include <stdlib.h>

#include "fs/private.h"

struct op *op_new(struct fs *fs, fuse_req_t req, struct node *node)
{
	struct op *op = calloc(1, sizeof(*op));

	if (!op) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	op->fs = fs;
	op->req = req;
	op->node = node ? node_ref(node) : NULL;
	pthread_mutex_init(&op->lock, NULL);
	return op;
}

void op_free(struct op *op)
{
	node_unref(op->node);
	node_unref(op->new_node);
	if (op->handle)
		handle_unref(op->handle);
	if (op->new_handle)
		handle_unref(op->new_handle);
	free(op->name);
	free(op->new_name);
	free(op->data);
	pthread_mutex_destroy(&op->lock);
	free(op);
}

/* Called by libfuse with the request's own lock held; answering here is allowed, the request lives until we return. */
void op_interrupted(fuse_req_t req, void *arg)
{
	struct op *op = arg;
	bool mine = false;

	WITH_LOCK(&op->lock) {
		if (!op->answered) {
			op->answered = mine = true;
			__atomic_store_n(&op->cancelled, 1, __ATOMIC_RELAXED);
			fuse_reply_err(req, EINTR);
		}
	}
	if (mine && op->fs->http)
		http_wake(op->fs->http);
}

bool op_claim(struct op *op)
{
	bool mine = false;

	WITH_LOCK(&op->lock)
		if (!op->answered)
			op->answered = mine = true;
	/* Ours now: wait until no interrupt is inside op_interrupted() any more, and let none come. */
	if (mine)
		fuse_req_interrupt_func(op->req, NULL, NULL);
	return mine;
}

static __thread const int *running;     /* `cancelled` of what this thread runs */

const int *op_cancelled(void)
{
	return running;
}

static void op_run(void *arg)
{
	struct op *op = arg;

	running = &op->cancelled;
	(void)http_set_cancel(running);
	op->run(op);
	(void)http_set_cancel(NULL);
	running = NULL;
}

void op_park(struct op *op, void (*run)(struct op *op))
{
	op->run = run;
	fuse_req_interrupt_func(op->req, op_interrupted, op);
	if (pool_add(op->fs->callers, op_run, op) < 0)
		op_reply_err(op, -EBUSY);
}

void op_reply_err(struct op *op, int err)
{
	if (op_claim(op))
		fuse_reply_err(op->req, -err);
	op_free(op);
}

static double remaining(unsigned ttl, uint64_t at)
{
	unsigned age = fs_now_age(at);

	return age >= ttl ? 0 : (ttl - age) / 1000.0;
}

/* How long the kernel may believe what it is told of n: as long as we would. */
static double attr_time_locked(struct fs *fs, const struct node *n)
{
	double own = remaining(fs->attr_ttl_ms, n->object_at);
	double listed = n->parent && n->parent->dir ? remaining(fs->list_ttl_ms, n->parent->dir->listed_at) : 0;

	if (n->control)
		return 0;
	/* What was written here changes by this kernel's own doing. */
	if (node_has_owed_locked(n))
		return fs->attr_ttl_ms / 1000.0;
	if (n->stale)
		return 0;
	if (n->object.kind == OBJECT_UNKNOWN)
		return 0;
	return own > listed ? own : listed;
}

void fs_entry_locked(struct fs *fs, struct node *n, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = node_number(n);
	e->generation = n->generation;
	node_stat_locked(n, &e->attr);
	e->attr_timeout = attr_time_locked(fs, n);
	e->entry_timeout = n->control ? control_entry_time(n) : e->attr_timeout;
	n->nlookup++;
}

void op_reply_entry(struct op *op, struct node *n)
{
	struct fs *fs = op->fs;
	struct fuse_entry_param e;

	if (!op_claim(op)) {
		node_unref(n);
		op_free(op);
		return;
	}
	WITH_LOCK(&fs->lock)
		fs_entry_locked(fs, n, &e);
	/* On -ENOENT the request was aborted and the kernel does not count the lookup. */
	if (fuse_reply_entry(op->req, &e) == -ENOENT)
		node_forget(fs, n, 1);
	node_unref(n);
	op_free(op);
}

void op_reply_attr_now(struct fs *fs, fuse_req_t req, struct node *n)
{
	struct stat st;
	double timeout;

	WITH_LOCK(&fs->lock) {
		node_stat_locked(n, &st);
		timeout = attr_time_locked(fs, n);
	}
	fuse_reply_attr(req, &st, timeout);
}

void op_reply_attr(struct op *op, struct node *n)
{
	if (op_claim(op))
		op_reply_attr_now(op->fs, op->req, n);
	op_free(op);
}

void op_reply_buf(struct op *op, const void *p, size_t n)
{
	if (op_claim(op))
		fuse_reply_buf(op->req, p, n);
	op_free(op);
}

void op_reply_xattr(struct op *op, const void *p, size_t n)
{
	if (op_claim(op)) {
		if (op->size == 0)
			fuse_reply_xattr(op->req, n);
		else if (n > op->size)
			fuse_reply_err(op->req, ERANGE);
		else
			fuse_reply_buf(op->req, p, n);
	}
	op_free(op);
}
