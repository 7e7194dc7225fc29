/* host.c - what is known of each origin: whether it answers, and how long it wants to be left alone.
 *
 * answering -> suspect (a request stood still: it is asked in the background at once) -> silent (several requests in a row
 * got nothing, for longer than a moment) -> answering again with the first byte. A silent host is asked every probe_ms; what
 * was under way for it sleeps until it answers or until its own deadline, what is new fails at once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/private.h"

/* A server that restarts refuses some requests at the same moment: that alone is no silence. */
#define SILENT_AFTER_RETRIES 4

static void host_free(struct host *o)
{
	free(o->origin);
	free(o->probe_url);
	free(o);
}

struct host *host_ref_locked(struct http *h, const char *origin)
{
	struct host *o = map_get(h->hosts, origin);

	if (!o) {
		if (map_count(h->hosts) >= HTTP_HOSTS_MAX || !(o = calloc(1, sizeof(*o))))
			return NULL;
		list_init(&o->busy);
		list_init(&o->ill);
		for (int p = 0; p < HTTP_PRIORITIES; p++)
			list_init(&o->queue[p]);
		o->origin = strdup(origin);
		if (!o->origin || map_set(h->hosts, origin, o) < 0) {
			host_free(o);
			return NULL;
		}
	}
	o->refs++;
	return o;
}

void host_unref(struct http *h, struct host *o)
{
	if (o)
		WITH_LOCK(&h->lock)
			o->refs--;
}

/* One idle host, or NULL. */
static struct host *idle_locked(struct http *h, uint64_t now)
{
	struct map_iter it = {0};
	const char *origin;
	void *value;

	while (map_next(h->hosts, &it, &origin, &value)) {
		struct host *o = value;

		if (!o->refs && !o->probe_url && !o->http1 && !o->silent && list_empty(&o->ill) && o->closed_until <= now)
			return o;
	}
	return NULL;
}

void hosts_sweep(struct http *h)
{
	uint64_t now = clock_mono_ms();
	struct host *o;

	WITH_LOCK(&h->lock)
		while (map_count(h->hosts) > HTTP_HOSTS_MAX / 2 && (o = idle_locked(h, now))) {
			map_remove(h->hosts, o->origin);
			host_free(o);
		}
}

void hosts_free(struct http *h)
{
	struct map_iter it = {0};
	const char *origin;
	void *value;

	while (h->hosts && map_next(h->hosts, &it, &origin, &value))
		host_free(value);
	map_free(h->hosts);
}

static void set_silent(struct http *h, struct host *o, bool silent)
{
	void (*changed)(void *arg, const char *origin, bool silent) = NULL;
	void *arg = NULL;

	WITH_LOCK(&h->lock) {
		o->silent = silent;
		changed = h->changed;
		arg = h->changed_arg;
	}
	if (silent)
		log_warn("%s does not answer: calls fail at once until it does", o->origin);
	else
		log_info("%s answers again", o->origin);
	if (changed)
		changed(arg, o->origin, silent);
}

static void watch_closely(struct http *h, struct host *o, uint64_t at)
{
	if (list_empty(&o->ill)) {
		list_append(&h->ill, &o->ill);
		o->probe_at = at;
	}
}

void host_heard(struct http *h, struct host *o)
{
	o->heard_at = clock_mono_ms();
	if (!o->failures && !o->silent)
		return;
	o->failures = 0;
	o->failing_since = 0;
	/* What connections there are may have died with the silence. */
	if (o->suspect || o->silent)
		o->back_at = o->heard_at;
	o->suspect = false;
	list_remove(&o->ill);
	if (o->silent)
		set_silent(h, o, false);
	queue_wake_host(h, o);
}

void host_failed(struct http *h, struct host *o, uint64_t since, bool stood_still)
{
	uint64_t now = clock_mono_ms();

	if (o->heard_at > since)
		return;         /* it speaks to others: this was the request's own trouble */
	o->failures++;
	if (!o->failing_since || since < o->failing_since)
		o->failing_since = since;
	if (stood_still) {
		o->suspect = true;
		watch_closely(h, o, now);
	}
	if (o->silent || o->failures < h->config.breaker_failures ||
	    now - o->failing_since < (uint64_t)SILENT_AFTER_RETRIES * h->config.retry_ms)
		return;
	watch_closely(h, o, now + h->config.probe_ms);
	set_silent(h, o, true);
}

void host_close(struct host *o, uint64_t now, uint64_t until, bool stated)
{
	/* Answers to what was under way already are no further sign. */
	if (o->closed_until <= now) {
		o->closed_at = now;
		o->closed_stated = stated;
	}
	if (o->closed_until < until) {
		o->closed_until = until;
		o->closed_stated = stated;
	}
}

struct host *host_to_probe(struct http *h, uint64_t now)
{
	struct host *o;

	list_for_each_safe(o, &h->ill, struct host, ill) {
		uint64_t every = h->config.probe_ms;

		if (o->probing || o->probe_at > now)
			continue;
		o->probing = true;
		o->probe_at = now + every + every * engine_dice(h) / 4096;
		return o;
	}
	return NULL;
}

uint64_t host_probe_at(const struct http *h)
{
	uint64_t at = UINT64_MAX;
	struct host *o;

	list_for_each_safe(o, &h->ill, struct host, ill)
		if (!o->probing && o->probe_at < at)
			at = o->probe_at;
	return at;
}
