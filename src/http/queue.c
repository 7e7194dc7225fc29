/* queue.c - who goes next.
 *
 * A transfer waits in its host's queue for its priority, or sleeps until a time. Reads go before what only asks, that before
 * what is fetched ahead, that before uploads; the last two leave one connection of each host to the first two. A paused stream
 * holds no place in the count, or a few idle readers would stop everybody, but there is an end to that too.
 */
#include "base/clock.h"
#include "http/private.h"

#define PAUSED_FACTOR 4         /* connections in all, paused ones counted, by the limit */

static void add(struct http *h, struct http_transfer *t, bool front)
{
	struct host *o = t->host;

	t->state = T_QUEUED;
	t->queued_at = clock_mono_ms();
	if (front)
		list_prepend(&o->queue[t->priority], &t->link);
	else
		list_append(&o->queue[t->priority], &t->link);
	if (list_empty(&o->busy))
		list_append(&h->busy, &o->busy);
}

void queue_add(struct http *h, struct http_transfer *t)
{
	add(h, t, false);
}

void queue_add_front(struct http *h, struct http_transfer *t)
{
	add(h, t, true);
}

void queue_take(struct http_transfer *t)
{
	struct host *o = t->host;

	list_remove(&t->link);
	for (int p = 0; p < HTTP_PRIORITIES; p++)
		if (!list_empty(&o->queue[p]))
			return;
	list_remove(&o->busy);
}

void queue_sleep(struct http *h, struct http_transfer *t, uint64_t at)
{
	struct list *after = h->sleeping.prev;

	t->state = T_SLEEPING;
	t->wake_at = at < t->deadline_at ? at : t->deadline_at;
	while (after != &h->sleeping && container_of(after, struct http_transfer, link)->wake_at > t->wake_at)
		after = after->prev;
	list_insert_after(after, &t->link);
}

static bool may_start(const struct http *h, const struct host *o, enum http_priority p)
{
	unsigned limit = h->config.connections_host, active = o->running - o->paused;

	if (o->running >= PAUSED_FACTOR * limit)
		return false;
	/* What nobody waits for leaves a connection free for a reader. */
	return active < (p >= HTTP_PREFETCH && limit > 1 ? limit - 1 : limit);
}

struct http_transfer *queue_pick(struct http *h, struct host *o)
{
	for (int p = 0; p < HTTP_PRIORITIES; p++) {
		struct http_transfer *t = list_first(&o->queue[p], struct http_transfer, link);

		if (!t)
			continue;
		if (!may_start(h, o, t->priority))
			return NULL;
		queue_take(t);
		return t;
	}
	return NULL;
}

void queue_wake_host(struct http *h, struct host *o)
{
	struct http_transfer *t;

	list_for_each_safe(t, &h->sleeping, struct http_transfer, link)
		if (t->host == o) {
			list_remove(&t->link);
			queue_add(h, t);
		}
}

struct http_transfer *queue_pick_awake(struct http *h, uint64_t now)
{
	struct http_transfer *t = list_first(&h->sleeping, struct http_transfer, link);

	if (!t || t->wake_at > now)
		return NULL;
	list_remove(&t->link);
	return t;
}
