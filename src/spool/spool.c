/* spool.c - a state directory: opened, run, drained, let go; what is owed, as lists and numbers.
 *
 *   STATE/MACHINE-ID/HOST-HASH/      HASH: of origin and identity, which stand in `identity` beside
 *     journal.db                     journal.c
 *     drafts/HEX, HEX.json ...       content.c, side.c
 *     owners/                        recover.c
 *     spare/                         side.c
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "base/thread.h"
#include "spool/private.h"

#define QUIET_MS 1000
#define PARALLEL 8
#define HELD_MS 600000
#define FULL_WAIT_MS 60000
#define RETRY_MS 1000
#define RETRY_MAX_MS 60000
#define TAKEOVER_MS 90000
#define HOST_BYTES_MAX 60
#define PIECES_MAX 4096                 /* uploads, removals and progress to be dropped that wait for a thread */
#define TELL_MS 1000

/* ---- waiting ---- */

void spool_sleep(struct spool *s, pthread_cond_t *cond, uint64_t ms)
{
	struct timespec until = clock_until(ms > ADOPT_MS ? ADOPT_MS : ms);

	(void)pthread_cond_timedwait(cond, &s->lock, &until);
}

void spool_changed_locked(struct spool *s)
{
	pthread_cond_broadcast(&s->changed);
}

size_t spool_together(const struct spool *s, bool can)
{
	size_t n = can ? s->session->policy.upload_batch : 1;

	return n < 1 ? 1 : n < TOGETHER_MAX ? n : TOGETHER_MAX;
}

/* ---- the folder ---- */

static bool is_machine_id(const char *text)
{
	return strspn(text, "0123456789abcdef") >= 32;
}

/* /etc/machine-id, else one that is made and kept: a state directory may be shared by several machines. */
static int machine_id(const char *state, char ret[33])
{
	_cleanup_buf_ struct buf b = BUF_MAX(256);
	_cleanup_free_ char *path = NULL;
	unsigned char bytes[16];
	int r;

	if (file_read_whole("/etc/machine-id", &b) < 0 || !is_machine_id(buf_str(&b))) {
		r = str_fmt(&path, "%s/machine-id", state);
		if (r < 0)
			return r;
		if (file_read_whole(path, &b) < 0 || !is_machine_id(buf_str(&b))) {
			buf_clear(&b);
			if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
				return -EIO;
			for (size_t i = 0; r == 0 && i < sizeof(bytes); i++)
				r = buf_addf(&b, "%02x", bytes[i]);
			if (r == 0)
				r = file_write_atomic(path, b.data, b.len, 0600);
			if (r < 0)
				return r;
		}
	}
	memcpy(ret, b.data, 32);
	ret[32] = 0;
	return 0;
}

/* The host, as far as it can stand in a file's name, and a hash that nobody else has. */
static int folder_name(const struct session *session, char **ret)
{
	const char *host = strstr(session->origin, "://");
	char clean[HOST_BYTES_MAX + 1];
	size_t n = 0;

	for (host = host ? host + 3 : session->origin; host[n] && n < HOST_BYTES_MAX; n++)
		clean[n] = isalnum((unsigned char)host[n]) || (n && strchr(".-", host[n])) ? host[n] : '_';
	clean[n] = 0;
	return str_fmt(ret, "%s-%016llx", n ? clean : "host",
	               (unsigned long long)digest_hash64((const char *const[]){session->origin, session->identity ? session->identity : "", NULL}));
}

/* Nothing goes out under another identity, not even if two hashes were equal. */
static int check_identity(struct spool *s)
{
	_cleanup_buf_ struct buf b = BUF_MAX(64 << 10);
	_cleanup_free_ char *path = NULL, *want = NULL;
	int r = str_fmt(&path, "%s/identity", s->dir);

	if (r == 0)
		r = str_fmt(&want, "%s\n%s\n", s->session->origin, s->session->identity ? s->session->identity : "");
	if (r < 0)
		return r;
	r = file_read_whole(path, &b);
	if (r == -ENOENT)
		return file_write_atomic(path, want, strlen(want), 0600);
	return r < 0 ? r : strcmp(buf_str(&b), want) == 0 ? 0 : -EEXIST;
}

/* The folders are to be there after a power cut, else nothing in them is. `at_least`: the length of the one that is the last. */
static int sync_up(const char *path, size_t at_least)
{
	_cleanup_free_ char *up = strdup(path);
	int r = up ? 0 : -ENOMEM;

	for (char *slash = up; r == 0 && slash && strlen(up) >= at_least; slash = strrchr(up, '/')) {
		if (slash != up)
			*slash = 0;
		r = file_fsync_dir(*up ? up : "/");
	}
	return r == -EACCES ? 0 : r;    /* one that is not ours to read was there before */
}

static int make_folders(struct spool *s, const char *state)
{
	_cleanup_free_ char *name = NULL;
	char machine[33];
	int r = file_mkdirs(state, 0700);

	if (r == 0)
		r = machine_id(state, machine);
	if (r == 0)
		r = folder_name(s->session, &name);
	if (r == 0)
		r = str_fmt(&s->dir, "%s/%s/%s", state, machine, name);
	if (r == 0)
		r = str_fmt(&s->drafts_dir, "%s/drafts", s->dir);
	if (r == 0)
		r = str_fmt(&s->owners_dir, "%s/owners", s->dir);
	if (r == 0)
		r = str_fmt(&s->spare_dir, "%s/spare", s->dir);
	if (r == 0)
		r = file_mkdirs(s->drafts_dir, 0700);
	if (r == 0)
		r = file_mkdirs(s->owners_dir, 0700);
	if (r == 0)
		r = file_mkdirs(s->spare_dir, 0700);
	if (r == 0)
		r = sync_up(s->dir, strlen(state));
	return r < 0 ? r : check_identity(s);
}

/* ---- open and close ---- */

static uint64_t free_bytes(struct spool *s)
{
	struct statvfs v;

	return statvfs(s->dir, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : 0;
}

static unsigned or_default(unsigned value, unsigned fallback)
{
	return value ? value : fallback;
}

static struct spool *spool_alloc(const struct spool_config *c, struct session *session)
{
	struct spool *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->config = *c;
	s->config.state = NULL;
	s->config.quiet_ms = or_default(c->quiet_ms, QUIET_MS);
	s->config.parallel = or_default(or_default(c->parallel, session->policy.upload_parallel), PARALLEL);
	s->config.held_ms = or_default(c->held_ms, HELD_MS);
	s->config.full_wait_ms = or_default(c->full_wait_ms, FULL_WAIT_MS);
	s->config.retry_ms = or_default(c->retry_ms, RETRY_MS);
	s->config.retry_max_ms = or_default(c->retry_max_ms, RETRY_MAX_MS);
	s->config.takeover_ms = or_default(c->takeover_ms, TAKEOVER_MS);
	s->session = session;
	s->owner_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	thread_cond_init(&s->work);
	thread_cond_init(&s->changed);
	list_init(&s->drafts);
	list_init(&s->queue);
	list_init(&s->files);
	list_init(&s->removals);
	s->moved_at = clock_mono_ms();
	s->by_id = map64_new();
	s->lanes = map_new();
	s->removed = map_new();
	s->by_number = map64_new();
	s->kept = kept_new(KEPT_ATTRS_MAX);
	/* One more than uploads: smaller debts never wait for a long one. */
	if (!s->by_id || !s->lanes || !s->removed || !s->by_number || !s->kept || pool_new("scifs-upload", s->config.parallel + 1, PIECES_MAX, &s->payers) < 0) {
		spool_free(s);
		return NULL;
	}
	return s;
}

int spool_open(const struct spool_config *c, struct session *session, struct spool **ret, char **why)
{
	_cleanup_(spool_freep) struct spool *s = spool_alloc(c, session);
	_cleanup_free_ char *path = NULL;
	int r;

	if (!s) {
		(void)str_dup("no memory", why);
		return -ENOMEM;
	}
	r = make_folders(s, c->state);
	if (r == 0)
		r = recover_lock(s);
	if (r < 0) {
		(void)str_fmt(why, "%s: %s", s->dir ? s->dir : c->state, r == -EEXIST ? "it belongs to another login" : strerror(-r));
		return r == -EEXIST ? -EIO : r;
	}
	r = str_fmt(&path, "%s/journal.db", s->dir);
	if (r == 0)
		r = journal_open(path, s->owner, &s->journal);
	if (r < 0) {
		(void)str_fmt(why, "%s: %s", path ? path : s->dir,
		              r == -EPROTONOSUPPORT ? "it was written by a newer scifs" : strerror(-r));
		return r;
	}
	s->limit = UINT64_MAX;
	r = recover_take_over(s);
	if (r == 0)
		r = kept_load(s);
	if (r == 0)
		r = recover_adopt(s, true);
	if (r < 0) {
		(void)str_fmt(why, "%s: what an earlier mount left cannot be read: %s", s->dir, strerror(-r));
		return r;
	}
	s->limit = c->limit ? c->limit : s->used + free_bytes(s) / 2;
	*ret = TAKE(s);
	return 0;
}

int spool_start(struct spool *s, const struct spool_hooks *hooks)
{
	sigset_t before;
	int r = 0;

	/* Born with its signals blocked, as those of base/thread.c. */
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	thread_block_signals();
	WITH_LOCK(&s->lock) {
		if (hooks)
			s->hooks = *hooks;
		r = -pthread_create(&s->scheduler, NULL, uploader_schedule, s);
		s->started = r == 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}

/* Such names end with the process. */
static void end_what_never_leaves(struct spool *s)
{
	struct drafts all;

	if (spool_drafts(s, NULL, &all) < 0)
		return;                 /* the next start does it */
	for (size_t i = 0; i < all.list.n; i++) {
		struct object none = {0};

		if (spool_name_fate(all.list.at[i]->name) == NAME_NEVER && draft_drop(all.list.at[i], &none, NULL) == 1)
			object_done(&none);
	}
	drafts_done(&all);
}

void spool_stop(struct spool *s)
{
	struct draft *d;
	bool started = false;

	WITH_LOCK(&s->lock) {
		started = s->started;
		s->started = false;
		s->stopping = true;
		list_for_each_safe(d, &s->drafts, struct draft, link) {
			__atomic_store_n(&d->hash_stop, 1, __ATOMIC_RELAXED);
			if (d->state == DRAFT_UPLOADING)
				__atomic_store_n(&d->cancel, 1, __ATOMIC_RELAXED);
		}
		pthread_cond_broadcast(&s->work);
		spool_changed_locked(s);
	}
	if (s->session->http)
		http_wake(s->session->http);
	if (started)
		pthread_join(s->scheduler, NULL);
	pool_stop(s->payers);
	if (s->journal) {
		end_what_never_leaves(s);
		journal_stop(s->journal);
	}
	side_drop_spares(s);
	recover_unlock(s);
}

void spool_free(struct spool *s)
{
	struct removal *m;
	struct draft *d;

	if (!s)
		return;
	spool_stop(s);
	list_for_each_safe(d, &s->drafts, struct draft, link) {
		list_remove(&d->link);
		if (!d->size && !d->row && d->file)
			(void)unlink(d->file);  /* empty, and never owed; what has bytes is left to the user */
		draft_free(d);
	}
	list_for_each_safe(m, &s->removals, struct removal, link)
		removal_free(m);
	pool_free(s->payers);
	journal_close(s->journal);
	map64_free(s->by_id);
	map_free(s->lanes);
	map_free(s->removed);
	map64_free(s->by_number);
	kept_free(s->kept);
	pthread_cond_destroy(&s->work);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s->dir);
	free(s->drafts_dir);
	free(s->owners_dir);
	free(s->spare_dir);
	free(s);
}

int spool_enter(struct spool *s, struct draft *d)
{
	int r = 0;

	WITH_LOCK(&s->lock) {
		r = map64_set(s->by_id, d->id, d);
		if (r < 0)
			break;
		d->refs = 1;
		list_append(&s->drafts, &d->link);
	}
	return r;
}

/* ---- every few seconds ---- */

/* The journal was begun anew: what memory knows is written down again. */
static void write_down_again(struct spool *s)
{
	struct drafts all;
	int r = spool_drafts(s, NULL, &all);

	for (size_t i = 0; r == 0 && i < all.list.n; i++) {
		struct draft *d = all.list.at[i];

		/* What is dirty is written by its next commit; its file is of two minds now. */
		WITH_LOCK(&d->lock)
			if (d->row && !d->dirty)
				r = draft_put_row(d);
	}
	if (r == 0)
		r = removal_write_all(s);
	if (r == 0)
		r = kept_write_all(s);
	drafts_done(&all);
	if (r < 0)
		log_error("spool: the new journal could not be filled: %s; the side files have what is missing", strerror(-r));
}

void spool_look_around(struct spool *s)
{
	bool finishing = false;
	int r = 0;

	WITH_LOCK(&s->lock)
		finishing = s->finishing;
	/* One that only finishes takes nothing on. */
	if (!finishing)
		r = recover_adopt(s, false);

	if (r < 0)
		log_debug("spool: looking for what others left: %s", strerror(-r));
	if (journal_was_lost(s->journal))
		write_down_again(s);
	(void)kept_load(s);             /* what another mount of ours has kept meanwhile; it comes again */
}

static bool is_delayed(const struct draft *d)
{
	return d->delayed;
}

/* It rests, or has a name of the moment. */
static bool is_resting(const struct draft *d)
{
	return !d->delayed && d->due_at != NEVER;
}

void spool_wake(struct spool *s)
{
	WITH_LOCK(&s->lock) {
		uint64_t now = clock_mono_ms();
		struct removal *m;

		s->silences = 0;
		s->silent_until = 0;
		draft_release_locked(s, is_delayed);
		list_for_each_safe(m, &s->removals, struct removal, link)
			m->due_at = now;
		pthread_cond_signal(&s->work);
	}
}

void spool_release_held(struct spool *s)
{
	WITH_LOCK(&s->lock) {
		draft_release_locked(s, is_resting);
		removal_hurry_locked(s);
	}
}

/* ---- draining ---- */

/* S held: is it owed, and can it be sent? */
static bool is_payable(const struct draft *d)
{
	return d->state == DRAFT_QUEUED || d->state == DRAFT_UPLOADING || (d->state == DRAFT_HELD && d->due_at != NEVER);
}

static void count_payable(struct spool *s, unsigned *ret, uint64_t *ret_bytes)
{
	struct removal *m;
	struct draft *d;

	*ret = 0;
	*ret_bytes = 0;
	list_for_each_safe(d, &s->drafts, struct draft, link) {
		if (!is_payable(d))
			continue;
		(*ret)++;
		*ret_bytes += d->shown.size > d->sent ? d->shown.size - d->sent : 0;
	}
	list_for_each_safe(m, &s->removals, struct removal, link)
		*ret += m->now && !m->refused;
}

int spool_drain(struct spool *s, unsigned ms, const int *cancelled, void (*tell)(void *arg, unsigned left, uint64_t bytes), void *arg)
{
	uint64_t start = clock_mono_ms(), told = start;
	int r = -EAGAIN;

	recover_finishing(s);
	WITH_LOCK(&s->lock) {
		struct draft *d;

		s->finishing = true;
		draft_release_locked(s, is_resting);
		removal_hurry_locked(s);
		list_for_each_safe(d, &s->drafts, struct draft, link)
			if (d->state == DRAFT_OPEN && d->shown_row && !d->shown.dirty)
				draft_place_locked(d, true);
	}
	while (r == -EAGAIN) {
		uint64_t bytes = 0;
		unsigned left = 0;
		bool wanted = recover_is_wanted(s);

		WITH_LOCK(&s->lock) {
			uint64_t now = clock_mono_ms();

			count_payable(s, &left, &bytes);
			if (!left)
				r = 0;
			else if (wanted || (cancelled && __atomic_load_n(cancelled, __ATOMIC_RELAXED)))
				r = -EINTR;
			else if (now >= start + ms)
				r = -ETIMEDOUT;
			else
				spool_sleep(s, &s->changed, SLICE_MS);
		}
		if (r == -EAGAIN && tell && clock_mono_ms() >= told + TELL_MS) {
			told = clock_mono_ms();
			tell(arg, left, bytes);
		}
	}
	return r;
}

/* ---- numbers and lists ---- */

void spool_owed(struct spool *s, unsigned *ret_owed, uint64_t *ret_bytes, unsigned *ret_refused)
{
	WITH_LOCK(&s->lock) {
		struct removal *m;
		struct draft *d;

		*ret_owed = *ret_refused = 0;
		*ret_bytes = 0;
		list_for_each_safe(d, &s->drafts, struct draft, link) {
			bool refused = d->state == DRAFT_REFUSED || d->state == DRAFT_CONFLICT;

			/* What never leaves, and what has landed and was only opened again. */
			if ((d->state == DRAFT_HELD && d->due_at == NEVER) || (d->state == DRAFT_OPEN && !d->shown_row && !d->shown.dirty))
				continue;
			(*ret_owed)++;
			*ret_refused += refused;
			*ret_bytes += d->shown.size > d->sent ? d->shown.size - d->sent : 0;
		}
		list_for_each_safe(m, &s->removals, struct removal, link) {
			*ret_owed += m->now;
			*ret_refused += m->now && m->refused;
		}
	}
}

uint64_t spool_room(struct spool *s)
{
	uint64_t disk = free_bytes(s), room = 0;

	WITH_LOCK(&s->lock)
		room = s->limit > s->used ? s->limit - s->used : 0;
	return room < disk ? room : disk;
}

int spool_drafts(struct spool *s, const char *dir_id, struct drafts *ret)
{
	int r = 0;

	memset(ret, 0, sizeof(*ret));
	WITH_LOCK(&s->lock) {
		struct draft *d;

		list_for_each_safe(d, &s->drafts, struct draft, link) {
			if (dir_id && strcmp(d->dir.id, dir_id) != 0)
				continue;
			r = vec_push(&ret->list, d);
			if (r < 0)
				break;
			d->refs++;
		}
	}
	if (r < 0)
		drafts_done(ret);
	return r;
}

void drafts_done(struct drafts *d)
{
	for (size_t i = 0; i < d->list.n; i++)
		draft_unref(d->list.at[i]);
	vec_done(&d->list);
}

struct draft *spool_draft(struct spool *s, uint64_t id)
{
	struct draft *d = NULL;

	WITH_LOCK(&s->lock) {
		d = map64_get(s->by_id, id);
		if (d && !draft_is_in_table(d))
			d = NULL;
		if (d)
			d->refs++;
	}
	return d;
}

/* Each of them by itself: a crash in between leaves some that go to the directory's old id, and are refused there. */
int spool_moved(struct spool *s, const char *dir_id, const struct object *dir)
{
	struct drafts all;
	int r = spool_drafts(s, dir_id, &all);

	for (size_t i = 0; r == 0 && i < all.list.n; i++) {
		struct draft *d = all.list.at[i];

		WITH_LOCK(&d->lock) {
			struct object copy, old;

			r = object_copy(dir, &copy);
			if (r < 0)
				break;
			WITH_LOCK(&s->lock) {
				old = d->dir;
				d->dir = copy;
				/* Where it goes now there is nothing any more. */
				if (d->state == DRAFT_UPLOADING && strcmp(dir_id, dir->id) != 0)
					__atomic_store_n(&d->cancel, 1, __ATOMIC_RELAXED);
			}
			object_done(&old);
			r = draft_write_row(d);
			draft_update_lane(d);
		}
	}
	drafts_done(&all);
	if (s->session->http)
		http_wake(s->session->http);
	return r;
}

static int write_text(struct buf *b, const char *name, const char *text)
{
	int r = buf_addf(b, ",\"%s\":", name);

	return r < 0 ? r : json_write_str(b, text);
}

/* An upload or a removal, as users see it. */
struct shown {
	uint64_t id, size, sent;
	const char *op, *dir, *name, *state, *why;
	unsigned attempts;
	int error;
	struct timespec since;
};

static int write_shown(const struct shown *x, const char *path, bool first, struct buf *b)
{
	char since[CLOCK_ISO_MAX];
	int r = buf_addf(b, "%s{\"id\":%llu,\"op\":\"%s\"", first ? "" : ",\n ", (unsigned long long)x->id, x->op);

	if (r == 0)
		r = write_text(b, "name", x->name);
	if (r == 0)
		r = write_text(b, "directory", x->dir);
	if (r == 0)
		r = path ? write_text(b, "path", path) : buf_adds(b, ",\"path\":null");
	if (r == 0)
		r = buf_addf(b, ",\"size\":%llu,\"sent\":%llu,\"state\":\"%s\",\"attempts\":%u,\"errno\":%d", (unsigned long long)x->size,
		             (unsigned long long)x->sent, x->state, x->attempts, -x->error);
	if (r == 0)
		r = x->error ? write_text(b, "error", x->why ? x->why : strerror(-x->error)) : buf_adds(b, ",\"error\":null");
	clock_format_iso(x->since, since);
	if (r == 0)
		r = x->since.tv_sec ? write_text(b, "since", since) : buf_adds(b, ",\"since\":null");
	return r < 0 ? r : buf_addc(b, '}');
}

int spool_write_json(struct spool *s, char *(*path_of)(void *arg, const char *dir_id, const char *name), void *arg, struct buf *ret)
{
	struct removals gone = {0};
	struct drafts all;
	bool first = true;
	int r = spool_drafts(s, NULL, &all);

	if (r == 0)
		r = spool_removals(s, &gone);
	if (r == 0)
		r = buf_addc(ret, '[');
	for (size_t i = 0; r == 0 && i < all.list.n; i++) {
		struct draft *d = all.list.at[i];
		_cleanup_(object_done) struct object dir = {0};
		_cleanup_free_ char *name = NULL, *why = NULL, *path = NULL;
		struct draft_info n;

		if (!draft_is_owed(d))
			continue;
		r = draft_name(d, &name);
		if (r == 0)
			r = draft_dir(d, &dir);
		if (r == 0)
			r = draft_why(d, &why);
		draft_info(d, &n);
		path = r == 0 && path_of ? path_of(arg, dir.id, name) : NULL;
		if (r == 0)
			r = write_shown(&(struct shown){.id = n.id, .size = n.size, .sent = n.sent, .op = "upload", .dir = dir.id, .name = name,
			                .state = draft_state_name(n.state), .why = why, .attempts = n.attempts, .error = n.error,
			                .since = n.since}, path, first, ret);
		first = false;
	}
	for (size_t i = 0; r == 0 && i < gone.list.n; i++) {
		static const char *const states[] = {[REMOVAL_QUEUED] = "queued", [REMOVAL_UNDER_WAY] = "removing", [REMOVAL_REFUSED] = "refused"};
		const struct removal_info *m = &gone.list.at[i];
		_cleanup_free_ char *path = path_of ? path_of(arg, m->dir, m->name) : NULL;

		r = write_shown(&(struct shown){.id = m->id, .op = "remove", .dir = m->dir, .name = m->name, .state = states[m->state],
		                .why = m->why, .attempts = m->attempts, .error = m->error, .since = m->since}, path, first, ret);
		first = false;
	}
	drafts_done(&all);
	removals_done(&gone);
	return r < 0 ? r : buf_adds(ret, "]\n");
}
