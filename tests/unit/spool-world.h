/* spool-world.h - for the spool's tests: a state directory, and a repository in memory that refuses, stalls and forgets on demand. */
#ifndef SCIFS_TESTS_UNIT_SPOOL_WORLD_H
#define SCIFS_TESTS_UNIT_SPOOL_WORLD_H

#include "test.h"

#include <dirent.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include "backend/backend.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "spool/private.h"
#include "spool/spool.h"

#define MAYBE __attribute__((unused))
#define PATIENCE_S 60
#define THINGS_MAX 512
#define NO_WHY ((char **)&(char *){NULL})

static const struct object the_dir MAYBE = {.kind = OBJECT_DIR, .rights = RIGHT_READ | RIGHT_WRITE, .id = TEXT("dir/1"), .name = TEXT("d")};

/* A file at the server. */
struct thing {
	char *dir, *name, *id;
	unsigned version;
	unsigned char *bytes;
	size_t size;
	char attrs[256];                /* "name=value;" as they were set */
};

struct world {
	struct session session;         /* first */
	char *state;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct thing things[THINGS_MAX];
	unsigned n, ids;
	/* What the server does. */
	int refuse, refuse_times;       /* the next uploads come to this; -1: all */
	bool refuse_late;               /* ... and land nevertheless */
	bool stalled;                   /* uploads wait until it is false, or they are cancelled */
	bool deaf;                      /* stalled ones do not look at `cancelled` */
	size_t chunk;                   /* 0: in one go; else noted before each, and cut by `cut_after` of them */
	int cut_after, stall_at;        /* stall_at: `stalled` becomes true behind so many notes */
	unsigned fail_aside;            /* so many uploads under a conflict's name get no answer */
	int attrs_error, attrs_times, remove_error, remove_times;
	int together_error;             /* of remove_many() */
	bool remove_stalled;
	bool read;                      /* somebody reads there */
	bool attrs_stalled;             /* set_attrs() waits until it is false, what it was given is at the server by then */
	bool lanes;                     /* one lane for each directory */
	const char *refuse_name;        /* of a batch this one is refused */
	bool note_together;             /* a batch is noted before anything of it is sent */
	int noted_to;                   /* what that came to */
	bool no_digest;
	/* What it saw. */
	unsigned batches, most_together, removed_together;
	unsigned uploads, attrs_calls, removals, drops, running, most_running;
	uint64_t bytes;
	char last_progress[64], last_drop[64], last_digest[140];
	bool last_again;
	time_t last_begun;
	/* What the hooks heard. */
	unsigned landed, changes, conflicts;
	enum draft_state state_when_landed;
	bool kept_when_landed;
	size_t attrs_when_landed;       /* how many the draft still showed */
	char conflict_of[256];
	unsigned refused_removals, other_removals;
	char removal_words[64];
};

/* A member of the world, read under its lock. */
#define SEEN(w, member)                               \
	({                                            \
		__typeof__((w)->member) _v;           \
		pthread_mutex_lock(&(w)->lock);       \
		_v = (w)->member;                     \
		pthread_mutex_unlock(&(w)->lock);     \
		_v;                                   \
	})
#define SET(w, member, value)                         \
	do {                                          \
		pthread_mutex_lock(&(w)->lock);       \
		(w)->member = (value);                \
		pthread_mutex_unlock(&(w)->lock);     \
	} while (0)

static MAYBE struct world *world_of(const struct session *s)
{
	return (struct world *)s;
}

static MAYBE struct thing *find_thing(struct world *w, const char *dir, const char *name, const char *id)
{
	for (unsigned i = 0; i < w->n; i++)
		if (w->things[i].id && (id ? strcmp(id, w->things[i].id) == 0
		                           : strcmp(dir, w->things[i].dir) == 0 && strcmp(name, w->things[i].name) == 0))
			return &w->things[i];
	return NULL;
}

/* The object that the server tells of a thing. */
static MAYBE void tell(const struct world *w, const struct thing *t, struct object *ret)
{
	struct digest *d;
	char hex[DIGEST_HEX_MAX];

	*ret = (struct object){.kind = OBJECT_FILE, .rights = RIGHT_READ | RIGHT_WRITE, .size = t->size, .mtime = {1000 + t->version, 0}};
	assert_int_equal(str_dup(t->id, &ret->id), 0);
	assert_int_equal(str_dup(t->name, &ret->name), 0);
	assert_int_equal(str_fmt(&ret->version, "v%u", t->version), 0);
	if (w->no_digest)
		return;
	assert_int_equal(digest_new("md5", &d), 0);
	assert_int_equal(digest_add(d, t->bytes, t->size), 0);
	assert_int_equal(digest_hex(d, hex), 0);
	digest_free(d);
	assert_int_equal(str_fmt(&ret->digest, "md5:%s", hex), 0);
}

static MAYBE void thing_done(struct thing *t)
{
	free(t->dir);
	free(t->name);
	free(t->id);
	free(t->bytes);
	memset(t, 0, sizeof(*t));
}

static MAYBE struct thing *put_thing(struct world *w, const char *dir, const char *name, const void *p, size_t n)
{
	struct thing *t = find_thing(w, dir, name, NULL);

	if (!t) {
		assert_true(w->n < THINGS_MAX);
		t = &w->things[w->n++];
		memset(t, 0, sizeof(*t));
		t->dir = strdup(dir);
		t->name = strdup(name);
		assert_int_equal(str_fmt(&t->id, "file/%u", ++w->ids), 0);
	}
	free(t->bytes);
	t->bytes = malloc(n + 1);
	memcpy(t->bytes, p, n);
	t->size = n;
	t->version++;
	return t;
}

static MAYBE void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static MAYBE int fake_lookup(struct session *s, const struct object *dir, const char *name, struct page *io)
{
	return 0;
}

static MAYBE int fake_plan_create(const struct session *s, const struct object *dir, const char *name, enum object_kind kind, struct object *ret)
{
	*ret = (struct object){.kind = kind, .rights = RIGHT_READ | RIGHT_WRITE};
	return 0;
}

static MAYBE int fake_lane(const struct session *s, const struct object *dir, const char *name, const struct object *base, char **ret)
{
	return world_of(s)->lanes ? str_dup(dir->id, ret) : 0;
}

static MAYBE int wait_while_stalled(struct world *w, const struct upload *u)
{
	int r = 0;

	while (w->stalled && r == 0) {
		if (!w->deaf && u->cancelled && __atomic_load_n(u->cancelled, __ATOMIC_RELAXED))
			r = -EINTR;
		pthread_mutex_unlock(&w->lock);
		pause_ms(2);
		pthread_mutex_lock(&w->lock);
	}
	return r;
}

static MAYBE int fake_upload(struct session *s, struct upload *u)
{
	struct world *w = world_of(s);
	unsigned char *bytes = malloc(u->size + 1);
	size_t at = 0;
	struct thing *t;
	int r = 0;

	assert_int_equal(file_pread_all(u->fd, bytes, u->size, 0), 0);
	pthread_mutex_lock(&w->lock);
	w->uploads++;
	w->running++;
	if (w->running > w->most_running)
		w->most_running = w->running;
	snprintf(w->last_progress, sizeof(w->last_progress), "%s", u->progress ? u->progress : "");
	snprintf(w->last_digest, sizeof(w->last_digest), "%s", u->digest ? u->digest : "");
	w->last_again = u->again;
	w->last_begun = u->begun;
	if (u->progress)
		at = strtoul(u->progress, NULL, 10);
	r = wait_while_stalled(w, u);
	if (r == 0 && w->refuse && w->refuse_times && !w->refuse_late)
		r = w->refuse;
	if (r == 0 && w->fail_aside && strstr(u->name, ".conflict-")) {
		w->fail_aside--;
		r = -ETIMEDOUT;
	}
	while (r == 0 && w->chunk && at < u->size) {
		char text[32];

		snprintf(text, sizeof(text), "%zu", at);
		pthread_mutex_unlock(&w->lock);
		r = u->note(u, text, at);
		pthread_mutex_lock(&w->lock);
		if (w->stall_at && --w->stall_at == 0)
			w->stalled = true;
		if (r == 0)
			r = wait_while_stalled(w, u);
		if (r == 0 && w->cut_after && --w->cut_after == 0)
			r = -ECONNRESET;
		if (r == 0) {
			size_t n = u->size - at < w->chunk ? u->size - at : w->chunk;

			w->bytes += n;
			at += n;
		}
	}
	if (r == 0 && !w->chunk)
		w->bytes += u->size;
	t = find_thing(w, u->dir->id, u->name, NULL);
	if (r == 0 && t && u->again && !u->base && t->size == u->size && memcmp(t->bytes, bytes, u->size) == 0) {
		tell(w, t, &u->object);         /* an earlier attempt has landed */
		goto out;
	}
	if (r == 0 && !u->base && t)
		r = -EEXIST;
	if (r == 0 && u->base) {
		char version[16];

		t = find_thing(w, NULL, NULL, u->base->id);
		snprintf(version, sizeof(version), "v%u", t ? t->version : 0);
		if (!t || strcmp(version, u->base->version) != 0)
			r = -ESTALE;
	}
	if (r == 0) {
		t = put_thing(w, u->dir->id, u->base ? t->name : u->name, bytes, u->size);
		tell(w, t, &u->object);
	}
	if (r == 0 && w->refuse && w->refuse_times && w->refuse_late) {
		r = w->refuse;
		object_done(&u->object);
	}
	if (r < 0 && r == w->refuse) {
		if (w->refuse_times > 0)
			w->refuse_times--;
		u->why = strdup("the server's words");
	}
out:
	w->running--;
	pthread_cond_broadcast(&w->changed);
	pthread_mutex_unlock(&w->lock);
	free(bytes);
	return r;
}

static MAYBE void fake_upload_many(struct session *s, struct upload *const u[], size_t n, int ret[])
{
	struct world *w = world_of(s);

	WITH_LOCK(&w->lock) {
		w->batches++;
		w->most_together = n > w->most_together ? (unsigned)n : w->most_together;
	}
	if (w->note_together) {
		const char *texts[THINGS_MAX];
		int r;

		for (size_t i = 0; i < n; i++)
			texts[i] = u[i]->name;
		r = backend_note_many(u, texts, n);
		SET(w, noted_to, r);
		for (size_t i = 0; r < 0 && i < n; i++)
			ret[i] = r;
		if (r < 0)
			return;
	}
	for (size_t i = 0; i < n; i++)
		ret[i] = w->refuse_name && strcmp(u[i]->name, w->refuse_name) == 0 ? -ENOSPC : fake_upload(s, u[i]);
}

static MAYBE int fake_upload_drop(struct session *s, const char *progress)
{
	struct world *w = world_of(s);

	WITH_LOCK(&w->lock) {
		w->drops++;
		snprintf(w->last_drop, sizeof(w->last_drop), "%s", progress);
	}
	return 0;
}

static MAYBE int fake_set_attrs(struct session *s, const struct object *o, const struct attrs *a)
{
	struct world *w = world_of(s);
	int r = 0;

	WITH_LOCK(&w->lock) {
		struct thing *t = find_thing(w, NULL, NULL, o->id);

		w->attrs_calls++;
		if (w->attrs_error && w->attrs_times) {
			r = w->attrs_error;
			if (w->attrs_times > 0)
				w->attrs_times--;
			break;
		}
		for (size_t i = 0; t && i < a->list.n; i++) {
			size_t n = strlen(t->attrs);

			snprintf(t->attrs + n, sizeof(t->attrs) - n, "%s=%s;", a->list.at[i].name, a->list.at[i].value ? a->list.at[i].value : "(none)");
		}
		while (w->attrs_stalled) {
			pthread_mutex_unlock(&w->lock);
			pause_ms(2);
			pthread_mutex_lock(&w->lock);
		}
	}
	return r;
}

static MAYBE int fake_check_attr(const struct session *s, const struct object *o, const char *name)
{
	return 0;
}

static MAYBE int fake_remove(struct session *s, const struct object *dir, const struct object *o)
{
	struct world *w = world_of(s);
	int r = 0;

	WITH_LOCK(&w->lock) {
		struct thing *t = find_thing(w, NULL, NULL, o->id);

		w->removals++;
		while (w->remove_stalled) {
			pthread_mutex_unlock(&w->lock);
			pause_ms(2);
			pthread_mutex_lock(&w->lock);
			t = find_thing(w, NULL, NULL, o->id);
		}
		if (w->remove_error && w->remove_times) {
			w->remove_times--;
			r = w->remove_error;
			backend_note_fault(403, NULL, "the server's words", NULL);
		} else if (t) {
			thing_done(t);
		} else {
			r = -ENOENT;
		}
	}
	return r;
}

static MAYBE void fake_remove_many(struct session *s, const struct object *dir, const struct object *const o[], size_t n, int ret[])
{
	struct world *w = world_of(s);

	for (size_t i = 0; i < n; i++) {
		WITH_LOCK(&w->lock)
			ret[i] = w->together_error;
		if (ret[i] == 0)
			ret[i] = fake_remove(s, dir, o[i]);
	}
	WITH_LOCK(&w->lock)
		w->removed_together += (unsigned)n;
}

static MAYBE bool fake_is_read(struct session *s, const struct object *dir)
{
	struct world *w = world_of(s);
	bool yes = false;

	WITH_LOCK(&w->lock)
		yes = w->read && strcmp(dir->id, the_dir.id) == 0;
	return yes;
}

static const struct backend fake MAYBE = {
	.scheme = "fake",
	.can = CAN_WRITE,
	.lookup = fake_lookup,
	.plan_create = fake_plan_create,
	.lane = fake_lane,
	.upload = fake_upload,
	.upload_many = fake_upload_many,
	.upload_drop = fake_upload_drop,
	.set_attrs = fake_set_attrs,
	.check_attr = fake_check_attr,
	.mtime_attr = "time",
	.remove = fake_remove,
	.remove_many = fake_remove_many,
	.is_read = fake_is_read,
};

static MAYBE struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;

	assert_non_null(w);
	w->session.backend = &fake;
	w->session.origin = strdup("https://data.example.org:8443");
	w->session.identity = strdup("user/1");
	w->state = test_dir_new();
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->changed, &attr);
	pthread_condattr_destroy(&attr);
	return w;
}

static MAYBE void world_free(struct world *w)
{
	for (unsigned i = 0; i < w->n; i++)
		thing_done(&w->things[i]);
	(void)umount2(w->state, MNT_DETACH);    /* of a test that failed */
	test_dir_done(w->state);
	free(w->session.origin);
	free(w->session.identity);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->changed);
	free(w);
}

static MAYBE int world_setup(void **state)
{
	*state = world_new();
	return log_open("/dev/null");
}

static MAYBE int world_teardown(void **state)
{
	world_free(*state);
	return log_open(NULL);
}

/* ---- hooks ---- */

static MAYBE void on_uploaded(void *arg, struct draft *d, const struct object *o)
{
	struct world *w = arg;
	struct draft_info i;
	struct kept_attr k = {0};
	struct attrs a = {0};
	int found = kept_get(d->spool, o->id, &k);

	draft_info(d, &i);
	kept_attr_done(&k);
	assert_int_equal(draft_attrs(d, &a), 0);
	WITH_LOCK(&w->lock) {
		w->landed++;
		w->state_when_landed = i.state;
		w->kept_when_landed = found == 1;
		w->attrs_when_landed = a.list.n;
	}
	attrs_done(&a);
}

static MAYBE void on_changed(void *arg, struct draft *d)
{
	struct world *w = arg;

	WITH_LOCK(&w->lock)
		w->changes++;
}

static MAYBE void on_conflict(void *arg, struct draft *d, const char *old_name)
{
	struct world *w = arg;

	WITH_LOCK(&w->lock) {
		w->conflicts++;
		snprintf(w->conflict_of, sizeof(w->conflict_of), "%s", old_name);
	}
}

static MAYBE void on_removal(void *arg, const struct object *dir, const struct object *o, int error, const char *why)
{
	struct world *w = arg;

	WITH_LOCK(&w->lock) {
		w->refused_removals += error != 0;
		w->other_removals += error == 0;
		snprintf(w->removal_words, sizeof(w->removal_words), "%s", why ? why : "");
	}
}

/* ---- a spool ---- */

static MAYBE struct spool_config quick(const struct world *w)
{
	return (struct spool_config){.state = w->state, .limit = 64u << 20, .quiet_ms = 1, .parallel = 4, .held_ms = 600000,
	                             .full_wait_ms = 200, .retry_ms = 5, .retry_max_ms = 20, .takeover_ms = 20000};
}

/* Opened, not started. */
static MAYBE struct spool *open_with(struct world *w, const struct spool_config *c)
{
	struct spool *s = NULL;
	char *why = NULL;
	int r = spool_open(c, &w->session, &s, &why);

	if (r < 0)
		print_message("spool_open: %s\n", why ? why : strerror(-r));
	free(why);
	assert_int_equal(r, 0);
	return s;
}

static MAYBE void start(struct world *w, struct spool *s)
{
	assert_int_equal(spool_start(s, &(struct spool_hooks){on_uploaded, on_changed, on_conflict, on_removal, w}), 0);
}

static MAYBE struct spool *spool_in(struct world *w)
{
	struct spool_config c = quick(w);
	struct spool *s = open_with(w, &c);

	start(w, s);
	return s;
}

/* What a killed process leaves: nothing is ended, only its lock is free. */
static MAYBE void crash(struct spool *s)
{
	char *owner = strdup(s->owner), *from = NULL, *to = NULL;

	/* spool_free() would tidy up what a dead process cannot: keep copies over it. */
	assert_int_equal(str_fmt(&from, "cp -a '%s' '%s.crashed'", s->dir, s->dir), 0);
	assert_int_equal(system(from), 0);
	assert_int_equal(str_fmt(&to, "rm -rf '%s' && mv '%s.crashed' '%s'", s->dir, s->dir, s->dir), 0);
	spool_free(s);
	assert_int_equal(system(to), 0);
	free(owner);
	free(from);
	free(to);
}

static const struct object other_dir MAYBE = {.kind = OBJECT_DIR, .rights = RIGHT_READ | RIGHT_WRITE, .id = TEXT("dir/2"), .name = TEXT("e")};

static MAYBE unsigned char byte_at(unsigned salt, uint64_t at)
{
	return (unsigned char)((at * 0x9e3779b97f4a7c15ull >> 56) ^ (at >> 20) * 7 ^ salt * 31);
}

static MAYBE void *bytes_of(unsigned salt, size_t n)
{
	unsigned char *p = malloc(n + 1);

	for (size_t i = 0; i < n; i++)
		p[i] = byte_at(salt, i);
	return p;
}

static MAYBE struct draft *new_draft(struct spool *s, const char *name, const struct object *base)
{
	struct draft *d = NULL;

	assert_int_equal(draft_new(s, &the_dir, name, base, 77, &d), 0);
	return d;
}

/* A new file of so many bytes, committed. */
static MAYBE struct draft *written(struct spool *s, const char *name, unsigned salt, size_t n)
{
	struct draft *d = new_draft(s, name, NULL);
	void *p = bytes_of(salt, n);

	assert_int_equal(draft_write(d, p, n, 0), 0);
	free(p);
	assert_int_equal(draft_commit(d), 0);
	return d;
}

static MAYBE enum draft_state state_of(struct draft *d)
{
	struct draft_info i;

	draft_info(d, &i);
	return i.state;
}

static MAYBE bool comes_to(struct draft *d, enum draft_state want)
{
	for (int i = 0; i < PATIENCE_S * 500; i++) {
		if (state_of(d) == want)
			return true;
		pause_ms(2);
	}
	print_message("it is %s\n", draft_state_name(state_of(d)));
	return false;
}

#define WAIT_FOR(condition)                                                        \
	do {                                                                       \
		int _left = PATIENCE_S * 500;                                      \
		while (!(condition) && --_left)                                    \
			pause_ms(2);                                               \
		if (!_left)                                                        \
			fail_msg("waited in vain for %s", #condition);             \
	} while (0)

/* Does the server have this, under this name, in the_dir? */
static MAYBE bool server_has(struct world *w, const char *name, unsigned salt, size_t n)
{
	void *p = bytes_of(salt, n);
	bool yes = false;

	WITH_LOCK(&w->lock) {
		struct thing *t = find_thing(w, the_dir.id, name, NULL);

		yes = t && t->size == n && memcmp(t->bytes, p, n) == 0;
	}
	free(p);
	return yes;
}

static MAYBE unsigned files_in(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));)
		n += e->d_name[0] != '.';
	closedir(dir);
	return n;
}

#endif
