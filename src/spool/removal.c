/* removal.c - what is to be removed at the server, and waits: until nobody has it open any more, or for others of its directory.
 *
 *   open somewhere ──spool_remove_now──► due ──► busy ──► gone, and its row with it
 *                                         ▲        ├─── a passing failure: a pause, then due again
 *                                         │        └─── REFUSED: its name shows again
 *                                         └──────────────────┘ the user's word, or removed once more
 *
 * Each is a row of the journal until it is over. What is owed hides the thing from listings (spool_is_removed()), what is refused
 * does not. One that is busy belongs to the thread that is at it; others wait until it is not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "spool/private.h"

#define ALONE_MS 1000                   /* until there is a thread again */
#define READERS_MS 30000                /* so long a removal waits for who reads beside it, and would be interrupted */
#define READERS_LOOK_MS 200

void removal_free(struct removal *m)
{
	object_done(&m->dir);
	object_done(&m->object);
	free(m->why);
	free(m);
}

/* ---- made, ended ---- */

static int write_row(struct spool *s, const struct removal *m)
{
	_cleanup_buf_ struct buf dir = {0}, object = {0};
	int r = side_write_object(&m->dir, &dir);

	if (r == 0)
		r = side_write_object(&m->object, &object);
	if (r == 0)
		r = journal_removal_put(s->journal, &(struct removal_row){.id = m->object.id, .dir = buf_str(&dir), .object = buf_str(&object),
		                        .number = m->number, .since = m->since, .error = m->refused ? m->error : 0,
		                        .why = m->refused ? m->why : NULL});
	return r;
}

/* S held. */
static int enter_locked(struct spool *s, struct removal *m)
{
	int r = map64_set(s->by_number, m->number, m);

	if (r == 0)
		r = map_set(s->removed, m->object.id, m);
	if (r < 0) {
		(void)map64_remove(s->by_number, m->number);
		return r;
	}
	list_append(&s->removals, &m->link);
	return 0;
}

/* S held: it is owed (again). */
static void owe_locked(struct removal *m, bool now, uint64_t due_at)
{
	free(TAKE(m->why));
	m->refused = m->hurry = false;
	m->beside_since = 0;
	m->error = 0;
	m->failures = 0;
	m->now = now;
	m->due_at = due_at;
}

/* S held: somebody else is not to touch it. False: somebody is at it. */
static bool take_locked(struct removal *m)
{
	bool mine = !m->busy;

	m->busy = true;
	return mine;
}

static void give_back_locked(struct spool *s, struct removal *m)
{
	m->busy = false;
	spool_changed_locked(s);
	pthread_cond_signal(&s->work);
}

/* It is ours: it is not owed any more, and gone when this returns 0. */
static int forget(struct spool *s, struct removal *m)
{
	int r = journal_removal_drop(s->journal, m->object.id);

	if (r < 0)
		return r;
	WITH_LOCK(&s->lock) {
		(void)map_remove(s->removed, m->object.id);
		(void)map64_remove(s->by_number, m->number);
		list_remove(&m->link);
		spool_changed_locked(s);
	}
	removal_free(m);
	return 0;
}

static int forget_or_give_back(struct spool *s, struct removal *m)
{
	int r = forget(s, m);

	if (r < 0)
		WITH_LOCK(&s->lock)
			give_back_locked(s, m);
	return r;
}

static void tell(struct spool *s, const struct removal *m, int error)
{
	if (s->hooks.removal)
		s->hooks.removal(s->hooks.arg, &m->dir, &m->object, error, m->why);
}

/* It is ours, and came to r: `why` is taken over. 0: it is over, and m is gone; else why it is not. */
static int end(struct spool *s, struct removal *m, int r, char *why)
{
	bool refused = r < 0 && r != -ENOENT && outcome_of(r) != OUTCOME_AGAIN;

	if (r == 0 || r == -ENOENT) {
		free(why);
		(void)kept_forget(s, m->object.id);     /* a row that says nothing any more */
		r = forget(s, m);
		if (r == 0)
			return 0;
		why = NULL;
		refused = false;
	}
	if (refused) {
		log_warn("%s is not removed: %s", m->object.name, why ? why : strerror(-r));
		(void)journal_removal_note(s->journal, m->object.id, r, why);   /* without it the next start tries once more, and is refused again */
	}
	WITH_LOCK(&s->lock) {
		free(m->why);
		m->why = why;
		m->error = r;
		m->attempts++;
		m->refused = refused;
		m->failures++;
		m->due_at = clock_mono_ms() + outcome_delay(m->failures, s->config.retry_ms, s->config.retry_max_ms, 0);
	}
	if (refused)
		tell(s, m, r);
	WITH_LOCK(&s->lock)
		give_back_locked(s, m);
	return r;
}

/* It is ours. */
static int remove_alone(struct spool *s, struct removal *m)
{
	char *why = NULL;
	int r = backend_remove(s->session, &m->dir, &m->object, &why);

	return end(s, m, r, why);
}

/* ---- asked for ---- */

int spool_remove_later(struct spool *s, const struct object *dir, const struct object *o)
{
	struct removal *m = calloc(1, sizeof(*m)), *known = NULL;
	int r = m ? object_copy(dir, &m->dir) : -ENOMEM;

	if (r == 0)
		r = object_copy(o, &m->object);
	if (r == 0)
		r = draft_draw_id(s, &m->number);
	if (r == 0) {
		m->since = clock_wall();
		WITH_LOCK(&s->lock) {
			known = map_get(s->removed, o->id);
			if (known)
				m->number = known->number;
		}
		r = write_row(s, m);
	}
	if (r == 0)
		WITH_LOCK(&s->lock) {
			known = map_get(s->removed, o->id);
			if (!known)
				r = enter_locked(s, m);
			else if (known->refused)
				owe_locked(known, false, 0);    /* once more: that is a user's word too */
		}
	if (m && (r < 0 || known))
		removal_free(m);
	return r;
}

void spool_remove_now(struct spool *s, const char *id)
{
	WITH_LOCK(&s->lock) {
		struct removal *m = map_get(s->removed, id);

		if (!m)
			break;
		m->now = true;
		pthread_cond_signal(&s->work);
	}
}

int spool_remove_soon(struct spool *s, const struct object *dir, const struct object *o)
{
	int r = spool_remove_later(s, dir, o);

	if (r == 0)
		WITH_LOCK(&s->lock) {
			struct removal *m = map_get(s->removed, o->id);

			if (!m || m->now)
				break;
			m->now = true;
			m->due_at = clock_mono_ms() + s->session->policy.remove_defer_ms;
			pthread_cond_signal(&s->work);
		}
	return r;
}

bool spool_is_removed(struct spool *s, const char *id)
{
	bool yes = false;

	WITH_LOCK(&s->lock) {
		const struct removal *m = map_get(s->removed, id);

		yes = m && !m->refused;
	}
	return yes;
}

int removal_adopt(struct spool *s, const struct removal_row *w)
{
	struct removal *m = calloc(1, sizeof(*m));
	bool known = false;
	int r = m ? side_read_object(w->dir, &m->dir) : -ENOMEM;

	if (r == 0)
		r = side_read_object(w->object, &m->object);
	if (r == 0 && (!m->dir.id || !m->object.id))
		r = -EBADMSG;
	if (r == 0) {
		m->now = true;
		m->number = w->number;
		m->since = w->since;
		m->refused = w->error;
		m->error = w->error;
		r = str_dup(w->why, &m->why);
	}
	if (r == 0 && !m->number)
		r = draft_draw_id(s, &m->number);       /* noted before they had one */
	if (r == 0)
		WITH_LOCK(&s->lock) {
			known = map_get(s->removed, m->object.id);
			r = known ? 0 : enter_locked(s, m);
			pthread_cond_signal(&s->work);
		}
	if (m && (r < 0 || known))
		removal_free(m);
	return r == -EBADMSG ? 0 : r;
}

int removal_write_all(struct spool *s)
{
	VEC(struct removal *) mine = {0};
	struct removal *m;
	int r = 0;

	WITH_LOCK(&s->lock)
		list_for_each_safe(m, &s->removals, struct removal, link)
			if (!m->busy && vec_push(&mine, m) == 0)
				m->busy = true;         /* who is busy is over soon, or writes when it is refused */
	for (size_t i = 0; i < mine.n; i++) {
		if (r == 0)
			r = write_row(s, mine.at[i]);
		WITH_LOCK(&s->lock)
			give_back_locked(s, mine.at[i]);
	}
	vec_done(&mine);
	return r;
}

/* ---- waited for ---- */

int spool_clear_removals(struct spool *s, const char *dir_id, const int *cancelled)
{
	int r = 1;

	while (r == 1) {
		if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
			return -EINTR;
		WITH_LOCK(&s->lock) {
			struct removal *m;

			r = 0;
			list_for_each_safe(m, &s->removals, struct removal, link) {
				if (!m->now || m->refused || (dir_id && !str_eq(m->dir.id, dir_id)))
					continue;
				r = m->failures && !m->busy ? -EAGAIN : 1;
				if (r < 0)
					break;
				m->hurry = true;        /* its caller may hold up others */
				if (!m->busy)
					m->due_at = 0;
			}
			if (r == 1) {
				pthread_cond_signal(&s->work);
				spool_sleep(s, &s->changed, SLICE_MS);
			}
		}
	}
	return r;
}

static struct removal *in_the_way_locked(struct spool *s, const char *dir_id, const char *name)
{
	struct removal *m;

	list_for_each_safe(m, &s->removals, struct removal, link)
		if (str_eq(m->dir.id, dir_id) && str_eq(m->object.name, name))
			return m;
	return NULL;
}

/* What was refused is of no interest any more when something else takes the name; whether it can, the server says then. */
int spool_clear_name(struct spool *s, const char *dir_id, const char *name, const int *cancelled)
{
	int r = 0;

	while (r == 0) {
		struct removal *m = NULL;
		bool mine = false, refused = false;

		WITH_LOCK(&s->lock) {
			m = in_the_way_locked(s, dir_id, name);
			mine = m && take_locked(m);
			refused = mine && m->refused;
			if (mine)
				m->now = true;
			else if (m)
				spool_sleep(s, &s->changed, SLICE_MS);
		}
		if (!m)
			break;
		if (mine) {
			r = refused ? forget_or_give_back(s, m) : remove_alone(s, m);
			r = r < 0 && outcome_of(r) != OUTCOME_AGAIN ? 0 : r;    /* the next round forgets it */
		} else if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED)) {
			r = -EINTR;
		}
	}
	return r;
}

void spool_forget_refusal(struct spool *s, const char *id)
{
	struct removal *m = NULL;

	WITH_LOCK(&s->lock) {
		m = map_get(s->removed, id);
		if (!m || !m->refused || !take_locked(m))
			m = NULL;
	}
	if (m)
		(void)forget_or_give_back(s, m);        /* else it stays listed until somebody drops it */
}

void removal_hurry_locked(struct spool *s)
{
	struct removal *m;

	list_for_each_safe(m, &s->removals, struct removal, link)
		if (!m->failures)
			m->due_at = 0;
	pthread_cond_signal(&s->work);
}

/* ---- for users ---- */

int spool_removals(struct spool *s, struct removals *ret)
{
	int r = 0;

	*ret = (struct removals){0};
	WITH_LOCK(&s->lock) {
		struct removal *m;

		list_for_each_safe(m, &s->removals, struct removal, link) {
			struct removal_info i = {.id = m->number, .state = m->refused ? REMOVAL_REFUSED : m->busy ? REMOVAL_UNDER_WAY : REMOVAL_QUEUED,
			                         .error = m->error, .attempts = m->attempts, .since = m->since};

			if (!m->now)
				continue;
			r = str_dup(m->dir.id, &i.dir);
			if (r == 0)
				r = str_dup(m->object.name, &i.name);
			if (r == 0)
				r = str_dup(m->why, &i.why);
			if (r == 0)
				r = vec_push(&ret->list, i);
			if (r < 0) {
				free(i.dir);
				free(i.name);
				free(i.why);
				break;
			}
		}
	}
	if (r < 0)
		removals_done(ret);
	return r;
}

void removals_done(struct removals *r)
{
	for (size_t i = 0; i < r->list.n; i++) {
		free(r->list.at[i].dir);
		free(r->list.at[i].name);
		free(r->list.at[i].why);
	}
	vec_done(&r->list);
}

int spool_removal_of(struct spool *s, const char *id, char **ret_dir, char **ret_name)
{
	int r = -ENOENT;

	WITH_LOCK(&s->lock) {
		const struct removal *m = map_get(s->removed, id);
		char *dir = NULL;

		if (!m)
			break;
		r = str_dup(m->dir.id, &dir);
		if (r == 0)
			r = str_dup(m->object.name, ret_name);
		if (r == 0)
			*ret_dir = dir;
		else
			free(dir);
	}
	return r;
}

int spool_removal_retry(struct spool *s, uint64_t id)
{
	struct removal *m = NULL;
	int r;

	WITH_LOCK(&s->lock) {
		m = map64_get(s->by_number, id);
		if (m && m->now && !m->refused && !m->busy)
			m->due_at = 0;          /* it waits anyway: now */
		r = !m || !m->now ? -ENOENT : m->refused && take_locked(m) ? 1 : 0;
		pthread_cond_signal(&s->work);
	}
	if (r <= 0)
		return r;
	WITH_LOCK(&s->lock)
		owe_locked(m, true, 0);
	r = write_row(s, m);
	tell(s, m, 0);
	WITH_LOCK(&s->lock)
		give_back_locked(s, m);
	return r;
}

int spool_removal_drop(struct spool *s, uint64_t id, const int *cancelled)
{
	_cleanup_(object_done) struct object dir = {0}, o = {0};
	struct removal *m;
	bool mine = false, hidden = false;
	int r = 0;

	while (r == 0 && !mine) {
		WITH_LOCK(&s->lock) {
			m = map64_get(s->by_number, id);
			r = m && m->now ? 0 : -ENOENT;
			if (r < 0)
				break;
			mine = take_locked(m);
			if (!mine) {
				spool_sleep(s, &s->changed, SLICE_MS);
				break;
			}
			hidden = !m->refused;
			r = object_copy(&m->dir, &dir);
			if (r == 0)
				r = object_copy(&m->object, &o);
			if (r < 0)
				give_back_locked(s, m);
		}
		if (r == 0 && !mine && cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
			r = -EINTR;
	}
	if (r == 0)
		r = forget_or_give_back(s, m);
	if (r == 0 && hidden && s->hooks.removal)
		s->hooks.removal(s->hooks.arg, &dir, &o, 0, NULL);
	return r;
}

void spool_removal_due(struct spool *s, uint64_t id)
{
	WITH_LOCK(&s->lock) {
		struct removal *m = map64_get(s->by_number, id);

		if (!m || !m->now || m->failures)
			break;
		m->due_at = 0;
		pthread_cond_signal(&s->work);
	}
}

int spool_removal_wait(struct spool *s, uint64_t id, unsigned ms, const int *cancelled)
{
	uint64_t until = clock_mono_ms() + ms;
	int r = -EAGAIN;

	WITH_LOCK(&s->lock) {
		while (r == -EAGAIN) {
			struct removal *m = map64_get(s->by_number, id);

			if (!m || !m->now)
				r = 0;
			else if (m->refused)
				r = m->error;
			else if (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED))
				r = -EINTR;
			else if (s->stopping)
				r = -ESHUTDOWN;
			else if (m->failures && clock_mono_ms() >= until)
				r = m->error ? m->error : -ETIMEDOUT;
			else
				spool_sleep(s, &s->changed, SLICE_MS);
		}
	}
	return r;
}

/* ---- done ---- */

struct removing {
	struct spool *spool;
	size_t n;
	struct removal *removals[TOGETHER_MAX]; /* of one directory, all of them ours */
};

/* Somebody reads there: they wait, for a while, and then they do not. */
static bool wait_for_readers(struct removing *x)
{
	struct spool *s = x->spool;
	bool wait = backend_is_read(s->session, &x->removals[0]->dir);
	uint64_t now = clock_mono_ms();

	if (!wait)
		return false;
	WITH_LOCK(&s->lock) {
		for (size_t i = 0; i < x->n; i++) {
			struct removal *m = x->removals[i];

			m->beside_since = m->beside_since ? m->beside_since : now;
			wait &= !m->hurry && !s->finishing && now - m->beside_since < READERS_MS;
		}
		for (size_t i = 0; wait && i < x->n; i++) {
			x->removals[i]->due_at = now + READERS_LOOK_MS;
			give_back_locked(s, x->removals[i]);
		}
	}
	return wait;
}

static void remove_some(void *arg)
{
	struct removing *x = arg;
	struct spool *s = x->spool;
	const struct object *o[TOGETHER_MAX];
	int ret[TOGETHER_MAX];

	if (wait_for_readers(x)) {
		free(x);
		return;
	}
	if (x->n == 1) {
		(void)remove_alone(s, x->removals[0]);  /* tried again when its time has come */
		free(x);
		return;
	}
	for (size_t i = 0; i < x->n; i++)
		o[i] = &x->removals[i]->object;
	backend_remove_many(s->session, &x->removals[0]->dir, o, x->n, ret);
	for (size_t i = 0; i < x->n; i++) {
		/* What was not taken together goes alone, and hears the server's words about itself. */
		if (ret[i] < 0 && ret[i] != -ENOENT && outcome_of(ret[i]) != OUTCOME_AGAIN)
			(void)remove_alone(s, x->removals[i]);
		else
			(void)end(s, x->removals[i], ret[i], NULL);
	}
	free(x);
}

/* S held: it goes, and with it what waits to be removed from the same directory, due or not. */
static struct removing *collect_locked(struct spool *s, struct removal *m)
{
	size_t most = spool_together(s, s->session->policy.remove_defer_ms);
	struct removing *x = malloc(sizeof(*x));
	struct removal *e;

	if (!x)
		return NULL;
	x->spool = s;
	x->removals[0] = m;
	x->n = 1;
	list_for_each_safe(e, &s->removals, struct removal, link) {
		if (x->n >= most)
			break;
		if (e != m && e->now && !e->busy && !e->refused && !e->failures && str_eq(e->dir.id, m->dir.id))
			x->removals[x->n++] = e;
	}
	return x;
}

uint64_t removal_start_locked(struct spool *s, uint64_t now)
{
	struct removal *m;
	uint64_t next = NEVER;

	list_for_each_safe(m, &s->removals, struct removal, link) {
		struct removing *x;

		if (!m->now || m->busy || m->refused)
			continue;
		if (m->due_at > now) {
			next = m->due_at < next ? m->due_at : next;
			continue;
		}
		x = collect_locked(s, m);
		for (size_t i = 0; x && i < x->n; i++)
			x->removals[i]->busy = true;
		if (x && pool_add(s->payers, remove_some, x) == 0)
			continue;
		for (size_t i = 0; x && i < x->n; i++)
			x->removals[i]->busy = false;
		free(x);
		m->due_at = now + ALONE_MS;
		next = m->due_at < next ? m->due_at : next;
	}
	return next;
}
