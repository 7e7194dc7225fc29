/* uploader.c - who pays: one scheduler, which never waits for the network, and up to `parallel` threads, each with one upload.
 *
 *   QUEUED ──due, and its lane is free──► UPLOADING ──► content landed ──► attributes ──► one transaction: row gone, kept ──► DONE
 *      ▲                                      │                 │
 *      ├──── a passing failure: a pause ──────┤                 └─ attributes refused: REFUSED, and the content is not sent again
 *      ├──── somebody else's change: a new name, sent at once; only where that cannot be: CONFLICT
 *      ├──── draft_begin() and the like: back to OPEN           refused: REFUSED
 *
 * Where the server takes several small ones by one request, those of one lane that are due go together, and the first of them waits a moment
 * for others that will be due by then. They are noted together and land together, each by a transaction or two; whatever is otherwise about
 * one of them is its own again. A lane is left when the server has all, and the next goes while the disk hears of it.
 *
 * What is to be seen only once it is true is told last: the hook first, then the state. Nothing is sent before the journal has what
 * it needs to go on after a crash: the row since the commit, the chunk in flight by note().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/str.h"
#include "spool/private.h"

#define CONFLICT_NAMES 5                /* tries, each with the name of the next second */
#define READ_BYTES (256u << 10)
#define ALONE_MS 1000                   /* until there is a thread again */
#define IDLE_MS 5000
#define LAND_MAX 48                     /* of a batch land by one transaction, each draft locked meanwhile */
#define BATCH_SHARE 8                   /* none of them has more than this part of what all may have */
#define GATHER_MS 300                   /* so long the first of a batch that is not full waits for those that will be due by then */
#define GATHER_LOOK 256                 /* drafts of the queue that are looked at for them */
#define GATHER_LANES 8                  /* lanes that wait so at a time */

/* One upload under way. */
struct job {
	struct upload u;                /* first: note() is given it */
	struct draft *d;
	struct object dir, base, landed;
	char *name;
	char *progress;                 /* as it was when it began; d's own moves on */
	struct attrs attrs;             /* those of the draft when it was looked at last */
	struct attrs there;             /* and those that the server has */
	struct timespec time;           /* with `timed`: the time that the server has been told of */
	bool timed;
	char digest[140];
	unsigned commits;
	unsigned attempts;
	bool apart;                     /* what is sent is a copy, in no file that anybody else knows */
	uint64_t room;                  /* which it takes of the limit */
	char *noted;                    /* with apart: how far its upload is, which nobody else is told of */
	bool conflict;                  /* it has got a new name */
	bool local;                     /* what failed is here, not there */
	bool attrs_only;                /* what failed was what goes along */
	bool in_batch;                  /* one of several that count as one */
};

static void job_done(struct job *j)
{
	object_done(&j->dir);
	object_done(&j->base);
	object_done(&j->landed);
	object_done(&j->u.object);
	attrs_done(&j->attrs);
	attrs_done(&j->there);
	free(j->u.why);
	free(j->name);
	free(j->progress);
	free(j->noted);
	if (j->u.fd >= 0)
		close(j->u.fd);
}

static bool is_cancelled(const struct job *j)
{
	return __atomic_load_n(&j->d->cancel, __ATOMIC_RELAXED);
}

/* ---- looking ---- */

/* All digests of a content that are asked for in one go. */
static int hash(int fd, uint64_t size, const char *other, char ret[140], char ret_other[DIGEST_HEX_MAX], const int *cancelled)
{
	_cleanup_free_ char *buf = malloc(size && size < READ_BYTES ? (size_t)size : READ_BYTES);     /* one of READ_BYTES is mapped, and unmapped again */
	_cleanup_(digest_freep) struct digest *sum = NULL, *second = NULL;
	char hex[DIGEST_HEX_MAX];
	int r = digest_new("sha512", &sum);

	ret[0] = ret_other[0] = 0;
	if (r < 0 || !buf)
		return r < 0 ? r : -ENOMEM;
	if (other && digest_new(other, &second) < 0)
		second = NULL;                  /* one that we cannot make: not equal, then */
	for (uint64_t at = 0; r == 0 && at < size;) {
		size_t n = size - at < READ_BYTES ? (size_t)(size - at) : READ_BYTES;

		if (__atomic_load_n(cancelled, __ATOMIC_RELAXED))
			return -EINTR;
		r = file_pread_all(fd, buf, n, (off_t)at);
		if (r == 0)
			r = digest_add(sum, buf, n);
		if (r == 0 && second)
			r = digest_add(second, buf, n);
		at += n;
	}
	if (r == 0)
		r = digest_hex(sum, hex);
	if (r == 0)
		snprintf(ret, 140, "sha512:%s", hex);
	if (r == 0 && second)
		r = digest_hex(second, ret_other);
	return r;
}

/* A digest that is made ahead of the upload. */
struct hashing {
	struct draft *d;
	int fd;
	uint64_t size;
	unsigned commits;               /* of d once what is hashed is committed */
};

static void hash_ahead(void *arg)
{
	struct hashing *h = arg;
	struct draft *d = h->d;
	char digest[140], none[DIGEST_HEX_MAX];
	int r = hash(h->fd, h->size, NULL, digest, none, &d->hash_stop);

	close(h->fd);
	WITH_LOCK(&d->lock)
		if (r == 0 && !d->dirty && d->commits == h->commits)
			memcpy(d->digest, digest, sizeof(d->digest));
	WITH_LOCK(&d->spool->lock) {
		d->hashing = false;
		spool_changed_locked(d->spool);
	}
	draft_unref(d);
	free(h);
}

void uploader_hash(struct draft *d)
{
	struct spool *s = d->spool;
	struct hashing *h = malloc(sizeof(*h));
	bool busy = false;

	if (!h)
		return;
	*h = (struct hashing){d, open(d->file, O_RDONLY | O_CLOEXEC), d->size, d->commits + 1};
	WITH_LOCK(&s->lock) {
		busy = h->fd < 0 || d->hashing || s->stopping;
		if (busy)
			break;
		d->hashing = true;
		d->refs++;
		__atomic_store_n(&d->hash_stop, 0, __ATOMIC_RELAXED);
		/* Before its upload, in the order of adding: that may wait for this. */
		busy = pool_add(s->payers, hash_ahead, h) < 0;
		if (busy) {
			d->hashing = false;
			d->refs--;      /* not the last: the caller has one */
		}
	}
	if (!busy)
		return;
	if (h->fd >= 0)
		close(h->fd);
	free(h);
}

/* Has the server this very content already? */
static bool is_unchanged(struct job *j, const char *other, const char *other_hex)
{
	struct kept_attr k;
	bool same = false;

	if (!j->base.id || j->base.size != j->u.size)
		return false;
	if (j->base.digest && (strcasecmp(j->base.digest, j->digest) == 0 ||
	                       (other && other_hex[0] && strcasecmp(j->base.digest + strlen(other) + 1, other_hex) == 0)))
		return true;
	if (kept_get(j->d->spool, j->base.id, &k) != 1)
		return false;
	same = k.digest[0] && k.version && str_eq(k.version, j->base.version) && strcmp(k.digest, j->digest) == 0;
	kept_attr_done(&k);
	return same;
}

/* After a crash there is no copy that its upload could go on with: what is noted is only that there was one. */
static struct note note_of(const struct job *j, const char *progress, uint64_t sent)
{
	return (struct note){j->d->id, sent, j->apart ? NULL : progress, j->u.begun, j->attempts};
}

/* It is in the journal; `copy` is taken over. */
static void noted(struct job *j, char *copy, uint64_t sent)
{
	struct draft *d = j->d;

	if (j->apart) {
		free(j->noted);
		j->noted = copy;
	} else WITH_LOCK(&d->lock) {
		free(d->progress);
		d->progress = copy;
	}
	WITH_LOCK(&d->spool->lock) {
		if (sent > d->sent) {
			d->moved_at = d->spool->moved_at = clock_mono_ms();
			d->failures = 0;
			pthread_cond_broadcast(&d->spool->changed);
		}
		d->sent = sent;
	}
}

static int note_many(struct upload *const u[], const char *const progress[], size_t n)
{
	struct spool *s = ((struct job *)u[0])->d->spool;
	struct note *notes = calloc(n, sizeof(*notes));
	char **copies = calloc(n, sizeof(*copies));
	int r = notes && copies ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < n; i++) {
		notes[i] = note_of((struct job *)u[i], progress[i], 0);
		r = str_dup(progress[i], &copies[i]);
	}
	FAILPOINT("spool.note.before");
	if (r == 0)
		r = journal_note(s->journal, notes, n);
	FAILPOINT("spool.note.after");
	for (size_t i = 0; i < n; i++) {
		struct job *j = (struct job *)u[i];

		if (r == 0)
			noted(j, TAKE(copies[i]), 0);
		else
			j->local = true;
		if (copies)
			free(copies[i]);
	}
	free(copies);
	free(notes);
	return r;
}

static int note(struct upload *u, const char *progress, uint64_t sent)
{
	struct job *j = (struct job *)u;
	struct note one = note_of(j, progress, sent);
	char *copy = NULL;
	int r = str_dup(progress, &copy);

	FAILPOINT("spool.note.before");
	if (r == 0)
		r = journal_note(j->d->spool->journal, &one, 1);
	FAILPOINT("spool.note.after");
	if (r < 0) {
		free(copy);
		j->local = true;
		return r;
	}
	noted(j, copy, sent);
	return 0;
}

/* (D) held: a copy of its file, which goes when it is closed. Shares its blocks where the disk can. */
static int copy_content(struct job *j, int *ret)
{
	struct draft *d = j->d;
	struct spool *s = d->spool;
	_cleanup_free_ char *path = NULL, *buf = NULL;
	_cleanup_close_ int to = -1;
	off_t in = 0, out = 0;
	int from, r = 0;

	WITH_LOCK(&s->lock) {
		if (s->used + d->size > s->limit)
			r = -ENOSPC;
		else
			s->used += j->room = d->size;
	}
	from = r == 0 ? draft_file(d, false) : r;
	if (from >= 0)
		r = str_fmt(&path, "%s/%s.tmp-%s", s->drafts_dir, d->hex, s->owner);
	if (from < 0 || r < 0)
		return from < 0 ? from : r;
	to = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (to < 0 || unlink(path) < 0)
		return -errno;
	while (r == 0 && (uint64_t)in < d->size) {
		ssize_t n = copy_file_range(from, &in, to, &out, d->size - (uint64_t)in, 0);

		if (n < 0 && errno != EINTR)
			break;
		if (n == 0)
			r = -ENODATA;
	}
	while (r == 0 && (uint64_t)in < d->size) {
		size_t n = d->size - (uint64_t)in < READ_BYTES ? (size_t)(d->size - (uint64_t)in) : READ_BYTES;

		if (!buf)
			buf = malloc(READ_BYTES);
		r = buf ? file_pread_all(from, buf, n, in) : -ENOMEM;
		if (r == 0)
			r = file_pwrite_all(to, buf, n, in);
		in += (off_t)n;
	}
	if (r == 0)
		*ret = TAKE_FD(to);
	return r == -ENODATA ? -ENOENT : r;
}

/* (D) held: a descriptor that reads what is in memory. */
static int open_bytes(const struct draft *d)
{
	_cleanup_close_ int fd = memfd_create("scifs-draft", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : file_pwrite_all(fd, d->bytes, d->size, 0);

	return r < 0 ? r : TAKE_FD(fd);
}

/* Copy what is needed of the draft, so that it may be renamed and looked at meanwhile. */
static int prepare(struct job *j)
{
	struct draft *d = j->d;
	struct spool *s = d->spool;
	int r = 0;

	WITH_LOCK(&s->lock)
		j->apart = d->apart;
	WITH_LOCK(&d->lock) {
		if (j->apart) {
			r = draft_forget_progress(d);
			j->local = r < 0;
		}
		if (r == 0)
			r = object_copy(&d->dir, &j->dir);
		if (r == 0)
			r = object_copy(&d->base, &j->base);
		if (r == 0)
			r = object_copy(&d->landed, &j->landed);
		if (r == 0)
			r = str_dup(d->name, &j->name);
		if (r == 0)
			r = str_dup(d->progress, &j->progress);
		if (r == 0)
			r = draft_attrs(d, &j->attrs);
		if (r < 0)
			break;
		j->u.mtime = d->mtime;
		j->u.mtime_set = d->mtime_set;
		memcpy(j->digest, d->digest, sizeof(j->digest));
		j->conflict = d->aside;
		j->commits = d->commits;
		j->u.size = d->size;
		j->u.begun = d->begun;
		j->u.again = d->again;
		if (!d->begun)
			j->u.begun = d->begun = clock_wall().tv_sec;
		d->again = true;
		if (d->file && j->apart && !j->landed.id) {
			r = copy_content(j, &j->u.fd);
		} else if (d->file) {
			j->u.fd = open(d->file, O_RDONLY | O_CLOEXEC);
			if (j->u.fd < 0)
				r = -errno;
		} else if (d->size == 0) {
			j->u.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
			if (j->u.fd < 0)
				r = -errno;
		} else if (d->bytes) {
			j->u.fd = open_bytes(d);
			r = j->u.fd < 0 ? j->u.fd : 0;
		} else {
			r = -ENOENT;
		}
		if (r == -ENOENT && !j->landed.id)
			(void)str_fmt(&j->u.why, "its content is missing: there is no file %s/%s", s->drafts_dir, d->hex);
		else if (r < 0)
			j->local = true;
		if (r == -ENOENT && j->landed.id)
			r = 0;
	}
	WITH_LOCK(&s->lock)
		j->attempts = ++d->attempts;
	return r;
}

/* ---- sending ---- */

static int find_digest(struct job *j, bool *ret_unchanged)
{
	const char *colon = j->base.digest ? strchr(j->base.digest, ':') : NULL;
	_cleanup_free_ char *other = NULL;
	char other_hex[DIGEST_HEX_MAX] = "";
	int r = 0;

	WITH_LOCK(&j->d->spool->lock)
		while (j->d->hashing && !is_cancelled(j))
			spool_sleep(j->d->spool, &j->d->spool->changed, SLICE_MS);
	WITH_LOCK(&j->d->lock)
		memcpy(j->digest, j->d->digest, sizeof(j->digest));
	if (j->base.size == j->u.size && colon && !str_starts(j->base.digest, "sha512:"))
		other = strndup(j->base.digest, (size_t)(colon - j->base.digest));
	if (!j->digest[0] || other)
		r = hash(j->u.fd, j->u.size, other, j->digest, other_hex, &j->d->cancel);
	if (r == -ENODATA) {
		(void)str_fmt(&j->u.why, "its content was cut off: the file %s/%s", j->d->spool->drafts_dir, j->d->hex);
		return -ENOENT;
	}
	if (r < 0) {
		j->local = true;
		return r;
	}
	WITH_LOCK(&j->d->lock)
		if (!j->d->dirty && j->d->commits == j->commits)
			memcpy(j->d->digest, j->digest, sizeof(j->digest));
	*ret_unchanged = is_unchanged(j, other, other_hex);
	return 0;
}

/* What the server has of what goes along, now that the content is there. */
static void went_along(struct job *j)
{
	if (j->u.took_attrs) {
		attrs_done(&j->there);
		j->there = j->attrs;
		j->attrs = (struct attrs){0};
	}
	if (j->u.took_mtime) {
		j->time = j->u.mtime;
		j->timed = true;
	}
}

/* What the backend is told. */
static int fill_upload(struct job *j)
{
	int r = j->base.id ? 0 : spool_clear_name(j->d->spool, j->dir.id, j->name, &j->d->cancel);

	if (r < 0)
		return r;
	if (j->base.id)
		spool_forget_refusal(j->d->spool, j->base.id);
	j->u.dir = &j->dir;
	j->u.name = j->name;
	j->u.base = j->base.id ? &j->base : NULL;
	j->u.mime = j->base.id ? j->base.mime : NULL;
	j->u.digest = j->digest;
	j->u.attrs = j->attrs.list.n ? &j->attrs : NULL;
	j->u.took_attrs = j->u.took_mtime = false;
	j->u.progress = j->progress;
	j->u.note = note;
	j->u.note_many = note_many;
	j->u.cancelled = &j->d->cancel;
	free(TAKE(j->u.why));
	return 0;
}

static int send_once(struct job *j)
{
	int r = fill_upload(j);

	if (r < 0)
		return r;
	FAILPOINT("spool.upload.before");
	r = backend_upload(j->d->spool->session, &j->u);
	FAILPOINT("spool.upload.after");
	if (r == 0)
		went_along(j);
	return r;
}

/* Somebody else has changed what was to be replaced, or taken the name: it gets another one, beside. */
static int rename_aside(struct job *j, const char *first, time_t when)
{
	struct draft *d = j->d;
	struct spool *s = d->spool;
	char host[256] = "";
	_cleanup_free_ char *old_name = NULL;
	_cleanup_(object_done) struct object old_base = {0};
	char *name = NULL, *copy = NULL;
	int r;

	(void)gethostname(host, sizeof(host) - 1);      /* without one the time has to do */
	r = spool_conflict_name(first, host, when, &name);
	if (r == 0)
		r = str_dup(name, &copy);
	if (r < 0) {
		free(name);
		return r;
	}
	WITH_LOCK(&d->lock) {
		WITH_LOCK(&s->lock) {
			old_name = d->name;
			d->name = copy;
			old_base = d->base;
			memset(&d->base, 0, sizeof(d->base));
		}
		uploader_drop(s, TAKE(d->progress));
		d->aside = true;
		d->begun = clock_wall().tv_sec;
		j->u.begun = d->begun;
		r = draft_write_row(d);
	}
	log_warn("%s was changed by somebody else: what was written here goes beside, as %s", old_name, name);
	free(j->name);
	j->name = name;
	object_done(&j->base);
	free(TAKE(j->progress));
	j->u.again = false;
	j->conflict = true;
	if (s->hooks.conflict)
		s->hooks.conflict(s->hooks.arg, d, old_name);
	return r;
}

/* It came to r: where somebody else was quicker it is sent again, under names beside that one. */
static int send_aside(struct job *j, int r)
{
	_cleanup_free_ char *first = NULL;
	time_t now = clock_wall().tv_sec;

	if (outcome_of(r) != OUTCOME_CONFLICT)
		return r;
	if (str_dup(j->name, &first) < 0)
		return -ENOMEM;
	for (int i = 0; outcome_of(r) == OUTCOME_CONFLICT && !j->local && !is_cancelled(j) && i < CONFLICT_NAMES; i++) {
		int e = rename_aside(j, first, now + i);

		if (e < 0) {
			j->local = true;
			return e;
		}
		r = send_once(j);
	}
	return r;
}

/* 1: there is something to send; 0: the server has this content. */
static int begin(struct job *j)
{
	bool unchanged = false;
	int r = find_digest(j, &unchanged);

	if (r == 0 && unchanged)
		return object_copy(&j->base, &j->u.object);
	return r < 0 ? r : is_cancelled(j) ? -EINTR : 1;
}

static int send(struct job *j)
{
	int r = begin(j);

	return r == 1 ? send_aside(j, send_once(j)) : r;
}

/* ---- lanes ---- */

static bool enter_lane_locked(struct spool *s, struct draft *d)
{
	struct lane *lane;

	if (!d->lane_name)
		return true;
	lane = map_get(s->lanes, d->lane_name);
	if (lane) {
		list_append(&lane->waiting, &d->queue_link);
		return false;
	}
	lane = calloc(1, sizeof(*lane));
	if (!lane || str_dup(d->lane_name, &lane->name) < 0 || map_set(s->lanes, lane->name, lane) < 0) {
		if (lane)
			free(lane->name);
		free(lane);
		draft_queue_locked(d, DRAFT_QUEUED, clock_mono_ms() + ALONE_MS);
		return false;
	}
	list_init(&lane->waiting);
	lane->in = 1;
	d->lane = lane;
	return true;
}

static void leave_lane_locked(struct spool *s, struct draft *d)
{
	struct lane *lane = TAKE(d->lane);
	struct draft *i;

	if (!lane || --lane->in)
		return;
	/* Those that waited are due, in this order, before all others. */
	while ((i = list_last(&lane->waiting, struct draft, queue_link))) {
		list_remove(&i->queue_link);
		list_prepend(&s->queue, &i->queue_link);
	}
	(void)map_remove(s->lanes, lane->name);
	free(lane->name);
	free(lane);
}

/* Nothing more is asked of the server about it: the next need not wait for our disk. */
static void leave_lane_early(struct job *const jobs[], size_t n)
{
	struct spool *s = jobs[0]->d->spool;

	WITH_LOCK(&s->lock) {
		for (size_t i = 0; i < n; i++)
			leave_lane_locked(s, jobs[i]->d);
		pthread_cond_signal(&s->work);
	}
}

/* ---- after the content ---- */

static bool same_attr(const struct attr *a, const struct attr *b)
{
	return strcmp(a->name, b->name) == 0 && !a->value == !b->value && a->len == b->len &&
	       (!a->value || memcmp(a->value, b->value, a->len) == 0);
}

/* How many both begin with. In order: of two names one may be part of the other, and the later one stands over it. */
static size_t in_common(const struct attrs *a, const struct attrs *b)
{
	size_t n = 0;

	while (n < a->list.n && n < b->list.n && same_attr(&a->list.at[n], &b->list.at[n]))
		n++;
	return n;
}

/* (S) held. */
static void drop_first_attrs(struct draft *d, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(d->attrs.list.at[i].name);
		free(d->attrs.list.at[i].value);
	}
	d->attrs.list.n -= n;
	if (d->attrs.list.n)
		memmove(d->attrs.list.at, d->attrs.list.at + n, d->attrs.list.n * sizeof(*d->attrs.list.at));
	else
		vec_done(&d->attrs.list);
}

/* (D) and (S) held: those that were to be removed by `sent`, and are so still, do not wait any more. */
static void forget_removals(struct draft *d, const struct attrs *sent)
{
	for (size_t i = 0; i < sent->list.n; i++) {
		const struct attr *a = &sent->list.at[i];

		for (size_t k = 0; !a->value && k < d->attrs.list.n; k++) {
			struct attr *b = &d->attrs.list.at[k];

			if (!same_attr(a, b))
				continue;
			free(b->name);
			memmove(b, b + 1, (d->attrs.list.n - k - 1) * sizeof(*b));
			d->attrs.list.n--;
			break;
		}
	}
}

/* (D) held: what is kept of it when its row goes. */
static void before_landing(struct job *j, struct landing *ret)
{
	struct draft *d = j->d;
	struct kept_attr before = {0};

	*ret = (struct landing){d->id, j->u.object.id, {.ino = d->ino, .version = j->u.object.version, .mtime = d->mtime, .mode = d->mode}};
	if (!ret->kept.mode && kept_get(d->spool, ret->object_id, &before) == 1)
		ret->kept.mode = before.mode;
	kept_attr_done(&before);
	if (ret->kept.version)
		memcpy(ret->kept.digest, j->digest, sizeof(ret->kept.digest));
	side_remove(d);
}

/* (D) held: its row has gone, or not. */
static int after_landing(struct job *j, const struct landing *l, int r)
{
	struct draft *d = j->d;
	struct spool *s = d->spool;
	struct object copy = {0}, old;

	if (r == 0)
		r = object_copy(&j->u.object, &copy);
	if (r == 0)
		r = kept_note(s, copy.id, &l->kept);
	if (r < 0) {
		object_done(&copy);
		(void)side_write(d, !d->small); /* it is owed as before */
		return r;
	}
	d->row = d->small = d->again = d->aside = false;
	d->begun = 0;
	free(TAKE(d->progress));
	if (d->old_file)
		(void)unlink(d->old_file);      /* what a crash would have sent is there */
	free(TAKE(d->old_file));
	(void)draft_set_file(d, d->dirty ? "open" : "done");    /* a remnant without a row is told of, not sent */
	WITH_LOCK(&s->lock) {
		old = d->base;
		d->base = copy;
		copy = d->landed;
		memset(&d->landed, 0, sizeof(d->landed));
	}
	object_done(&old);
	object_done(&copy);
	draft_shown(d);
	return 0;
}

/* (D) of each held: the rows go, what was set of them is kept; ret[i] is what became of the i-th. */
static void land(struct job *const jobs[], size_t n, int ret[])
{
	struct spool *s = jobs[0]->d->spool;
	struct landing l[LAND_MAX] = {0};
	int r;

	for (size_t i = 0; i < n; i++)
		before_landing(jobs[i], &l[i]);
	FAILPOINT("spool.land.before");
	r = journal_land(s->journal, l, n);
	FAILPOINT("spool.land.after");
	for (size_t i = 0; i < n; i++)
		ret[i] = after_landing(jobs[i], &l[i], r);
	kept_trim(s);
}

/* (D) held: a time was set that the server is to have, and has not. */
static bool owes_time(const struct job *j)
{
	const struct draft *d = j->d;
	const struct backend *b = d->spool->session->backend;

	return d->spool->config.mtime_meta && d->mtime_set && !(j->timed && j->time.tv_sec == d->mtime.tv_sec && j->time.tv_nsec == d->mtime.tv_nsec) &&
	       backend_check_attr(d->spool->session, &j->u.object, b->mtime_attr) == 0;
}

/* (D) held: the last one of j->attrs is the time. What has no version has no time there either. */
static int add_time(struct job *j)
{
	_cleanup_free_ char *text = NULL;
	int r = backend_write_time(j->d->spool->session, &j->u.object, j->d->mtime, &text);

	j->time = j->d->mtime;
	j->timed = true;
	if (r == -ENODATA)
		return 0;
	if (r == 0)
		r = attrs_add(&j->attrs, j->d->spool->session->backend->mtime_attr, text, strlen(text));
	return r < 0 ? r : 1;
}

/* The server has it: so does the object that is told of. */
static void told_time(struct job *j)
{
	struct attr *last = &j->attrs.list.at[--j->attrs.list.n];

	free(j->u.object.set_time);
	j->u.object.set_time = last->value;
	if (j->d->spool->session->backend->mtime_own)
		j->u.object.mtime = j->time;
	free(last->name);
}

/* (D) held: nothing that goes along is owed any more. */
static bool is_settled(struct job *j)
{
	return in_common(&j->d->attrs, &j->there) == j->d->attrs.list.n && !owes_time(j);
}

/* The content is at the server: u.object. What goes along follows, and then it is over. The draft shows it until then: whoever looks
 * finds it there or, once the hook has told of the object, at the server. */
static int settle(struct job *j)
{
	struct draft *d = j->d;
	struct spool *s = d->spool;

	attrs_done(&j->attrs);
	for (;;) {
		struct attrs rest;
		size_t done = 0;
		int r = 0, time = 0;
		bool landed = false;

		WITH_LOCK(&d->lock) {
			done = in_common(&d->attrs, &j->there);
			if (is_settled(j)) {
				leave_lane_early(&j, 1);
				land(&j, 1, &r);
				landed = true;
				break;
			}
			if (!d->landed.id) {
				struct object copy;

				r = object_copy(&j->u.object, &copy);
				if (r < 0)
					break;
				WITH_LOCK(&s->lock)
					d->landed = copy;
				r = draft_write_row(d);
			}
			if (r == 0)
				r = draft_attrs(d, &j->attrs);
			if (r == 0 && owes_time(j))
				time = add_time(j);
			if (time < 0)
				r = time;
		}
		if (r < 0 || landed) {
			j->local = r < 0;
			return r;
		}
		rest = (struct attrs){.list = {.at = j->attrs.list.at + done, .n = j->attrs.list.n - done}};
		if (!rest.list.n) {
			attrs_done(&j->attrs);
			continue;
		}
		FAILPOINT("spool.attrs.before");
		r = backend_set_attrs(s->session, &j->u.object, &rest, &j->u.why);
		FAILPOINT("spool.attrs.after");
		if (r < 0 && time && rest.list.n == 1 && outcome_of(r) != OUTCOME_AGAIN) {
			/* A file does not wait for its time alone. */
			log_warn("%s: its time is kept on this machine only: %s", j->name, j->u.why ? j->u.why : strerror(-r));
			attrs_done(&j->attrs);
			free(TAKE(j->u.why));
			continue;
		}
		if (r < 0 && r != -ENODATA) {
			j->attrs_only = true;
			return r;
		}
		if (r < 0)
			j->timed = false;
		if (r == 0) {
			if (time)
				told_time(j);
			attrs_done(&j->there);
			j->there = j->attrs;
			j->attrs = (struct attrs){0};
		} else WITH_LOCK(&d->lock) {
			WITH_LOCK(&s->lock) {
				size_t before = d->attrs.list.n;

				/* Something that was to be removed is not there, and nothing was done. */
				forget_removals(d, &rest);
				j->attrs_only = d->attrs.list.n == before;
			}
		}
		attrs_done(&j->attrs);
		if (j->attrs_only)
			return -EINVAL;         /* it removes nothing, and is told that nothing was there */
		free(TAKE(j->u.why));
	}
}

/* ---- one upload ---- */

static void tell_changed(struct spool *s, struct draft *d)
{
	if (s->hooks.changed)
		s->hooks.changed(s->hooks.arg, d);
}

static void leave(struct job *j, int r)
{
	struct draft *d = j->d;
	struct spool *s = d->spool;
	enum outcome o = j->local ? OUTCOME_AGAIN : outcome_of(r);
	struct object old = {0};
	uint32_t chance = 0;
	bool landed = r == 0, refused = false, open = false;

	if (!landed)
		(void)getrandom(&chance, sizeof(chance), 0);    /* none: no jitter */
	if (j->apart && !landed)
		uploader_drop(s, TAKE(j->noted));
	if (landed && s->hooks.uploaded)
		s->hooks.uploaded(s->hooks.arg, d, &j->u.object);
	WITH_LOCK(&d->lock) {
		WITH_LOCK(&s->lock) {
			uint64_t now = clock_mono_ms();

			s->used -= j->room;
			if (!landed && d->dirty && d->landed.id) {
				/* The copy's content is there, of what goes along something is not; what comes now goes over that. */
				old = d->base;
				d->base = d->landed;
				memset(&d->landed, 0, sizeof(d->landed));
			}
			if (landed) {
				d->landed_commits = j->commits;
				if (j->conflict)
					d->conflict_commits = j->commits;
				d->sent = j->u.size;
				d->attempts = 0;
				d->moved_at = s->moved_at = now;
				s->silences = 0;
				s->silent_until = 0;
				drop_first_attrs(d, in_common(&d->attrs, &j->there));   /* the object has them, and is told of */
				d->apart = false;
				open = d->dirty;
				if (open)
					draft_open_locked(d);   /* a copy: what was written since is not there */
				else
					draft_end_locked(d, DRAFT_DONE);
			} else if (is_cancelled(j) || d->dirty) {
				if (!is_cancelled(j))
					log_info("%s could not be sent while it is open: %s", j->name ? j->name : d->hex, j->u.why ? j->u.why : strerror(-r));
				draft_open_locked(d);
				if (!d->holds && !d->dirty)
					draft_place_locked(d, true);
			} else if (o == OUTCOME_AGAIN) {
				d->failures++;
				draft_fail_locked(d, r, j->u.why);
				d->delayed = true;
				d->urgent = false;
				if (!j->local && outcome_is_silence(r) && now >= s->silent_until)
					s->silent_until = now + outcome_delay(++s->silences, s->config.retry_ms, s->config.retry_max_ms, chance);
				draft_queue_locked(d, DRAFT_QUEUED, now + outcome_delay(d->failures, s->config.retry_ms, s->config.retry_max_ms, chance));
			} else {
				refused = true;
				d->state = j->conflict ? DRAFT_CONFLICT : DRAFT_REFUSED;
				draft_fail_locked(d, r, j->u.why);
			}
			leave_lane_locked(s, d);
			s->running -= !j->in_batch;
			spool_changed_locked(s);
			pthread_cond_signal(&s->work);
		}
		if (refused)
			(void)draft_write_row(d);       /* without it the next start tries once more, and is refused again */
	}
	object_done(&old);
	if (refused)
		log_warn("%s is not taken: %s", j->name ? j->name : d->hex, j->u.why ? j->u.why : strerror(-r));
	tell_changed(s, d);
	if (landed && !open)
		draft_unref(d);         /* the table's */
	draft_unref(d);
}

/* 1: its content is to be sent; 0: it is there, u.object tells of it. */
static int open_job(struct job *j)
{
	int r;

	tell_changed(j->d->spool, j->d);
	r = prepare(j);
	if (r < 0 || !j->landed.id)
		return r < 0 ? r : 1;
	if (!j->digest[0] && j->u.fd >= 0) {
		char none[DIGEST_HEX_MAX];

		(void)hash(j->u.fd, j->u.size, NULL, j->digest, none, &j->d->cancel);   /* without it the kept row has none */
	}
	return object_copy(&j->landed, &j->u.object);
}

static void close_job(struct job *j, int r)
{
	if (r == 0)
		r = settle(j);
	leave(j, r);
	job_done(j);
}

static void pay(void *arg)
{
	struct job j = {.d = arg, .u.fd = -1};
	int r = open_job(&j);

	close_job(&j, r == 1 ? send(&j) : r);
}

struct batch {
	size_t n;
	struct draft *drafts[TOGETHER_MAX];
};

/* Their contents are at the server. Those of which that is all leave together, the others one by one. Their locks are held together, which nobody
 * else does: who holds one waits for no other. */
static void close_together(struct job *const all[], size_t n)
{
	struct job *jobs[LAND_MAX];
	int ret[LAND_MAX];
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&all[i]->d->lock);
		if (is_settled(all[i]))
			jobs[k++] = all[i];
		else
			pthread_mutex_unlock(&all[i]->d->lock);
	}
	if (k)
		land(jobs, k, ret);
	for (size_t i = 0; i < k; i++)
		pthread_mutex_unlock(&jobs[i]->d->lock);
	for (size_t i = 0, at = 0; i < n; i++) {
		struct job *j = all[i];

		if (at == k || j != jobs[at]) {
			close_job(j, 0);
			continue;
		}
		j->local = ret[at] < 0;
		leave(j, ret[at++]);
		job_done(j);
	}
}

/* Those of which nothing is to be sent leave at once; what became of the others is told of each by itself. */
static void pay_many(void *arg)
{
	struct batch *b = arg;
	struct spool *s = b->drafts[0]->spool;
	struct job *jobs = calloc(b->n, sizeof(*jobs));
	struct upload *u[TOGETHER_MAX];
	struct job *there[TOGETHER_MAX];
	int ret[TOGETHER_MAX];
	size_t n = 0, k = 0;

	for (size_t i = 0; i < b->n; i++) {
		struct job alone = {.d = b->drafts[i], .u.fd = -1, .in_batch = true}, *j = jobs ? &jobs[n] : &alone;
		int r;

		*j = alone;
		r = open_job(j);
		if (r == 1)
			r = jobs ? begin(j) : send(j);
		if (r == 1) {
			r = fill_upload(j);
			r = r < 0 ? r : 1;
		}
		if (r == 1)
			u[n++] = &j->u;
		else
			close_job(j, r);
	}
	FAILPOINT("spool.upload.before");
	if (n)
		backend_upload_many(s->session, u, n, ret);
	FAILPOINT("spool.upload.after");
	for (size_t i = 0; i < n; i++) {
		struct job *j = &jobs[i];
		bool settled = false;

		if (ret[i] < 0)
			continue;
		went_along(j);
		WITH_LOCK(&j->d->lock)
			settled = is_settled(j);
		if (settled)
			there[k++] = j;
	}
	if (k)
		leave_lane_early(there, k);
	k = 0;
	for (size_t i = 0; i < n; i++)
		if (ret[i] == 0)
			there[k++] = &jobs[i];
	for (size_t i = 0; i < k; i += LAND_MAX)
		close_together(there + i, k - i < LAND_MAX ? k - i : LAND_MAX);
	for (size_t i = 0; i < n; i++)
		if (ret[i] < 0)
			close_job(&jobs[i], send_aside(&jobs[i], ret[i]));
	WITH_LOCK(&s->lock) {
		s->running--;
		pthread_cond_signal(&s->work);
		spool_changed_locked(s);
	}
	free(jobs);
	free(b);
}

/* ---- smaller debts ---- */

struct dropping {
	struct spool *spool;
	char *progress;
};

static void drop_progress(void *arg)
{
	struct dropping *x = arg;
	bool stopping = false;

	WITH_LOCK(&x->spool->lock)
		stopping = x->spool->stopping;
	if (!stopping)
		(void)backend_upload_drop(x->spool->session, x->progress);      /* best effort */
	free(x->progress);
	free(x);
}

void uploader_drop(struct spool *s, char *progress)
{
	struct dropping *x = progress ? malloc(sizeof(*x)) : NULL;

	if (!x) {
		free(progress);
		return;
	}
	*x = (struct dropping){s, progress};
	if (pool_add(s->payers, drop_progress, x) < 0) {
		free(progress);
		free(x);
	}
}

/* ---- the scheduler ---- */

static bool is_small(const struct spool *s, const struct draft *d)
{
	return d->lane_name && !d->apart && d->shown.size <= s->session->policy.upload_batch_bytes / BATCH_SHARE;
}

/* How many go together. */
static size_t batch_most(const struct spool *s)
{
	return spool_together(s, s->session->backend->upload_many);
}

/* Nobody waits for it, and no attempt of it has failed. */
static bool may_gather(const struct spool *s, const struct draft *d)
{
	return d->state == DRAFT_QUEUED && is_small(s, d) && !d->urgent && !d->at_once && !d->delayed;
}

/* S held. Is d, which is due, the first of a batch that is not full, while others of its lane will be due soon? Then until when it waits for
 * them: what will be due within a moment stands in the queue already, so that a single one never waits. */
static bool is_gathering(struct spool *s, struct draft *d, uint64_t now, uint64_t *ret_until)
{
	size_t most = batch_most(s), n = 0, looked = 0;
	uint64_t end = d->due_at + GATHER_MS, until = now, bytes = 0;

	if (most < 2 || now >= end || s->finishing || !may_gather(s, d) || map_get(s->lanes, d->lane_name))
		return false;
	for (struct list *l = &d->queue_link; l != &s->queue && n < most && looked < GATHER_LOOK; l = l->next, looked++) {
		struct draft *e = container_of(l, struct draft, queue_link);

		if (e->due_at > end)
			break;
		if (!str_eq(e->lane_name, d->lane_name))
			continue;
		if (!may_gather(s, e)) {
			if (e->due_at <= now)
				return false;           /* it goes now, and d not behind it */
			continue;
		}
		bytes += e->shown.size;
		if (bytes > s->session->policy.upload_batch_bytes)
			break;
		n++;
		until = e->due_at > until ? e->due_at : until;
	}
	*ret_until = until;
	return until > now;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* S held: the next that may go; NULL: none, and when there is one again. A server that is silent is not asked once for each. */
static struct draft *next_due(struct spool *s, uint64_t now, uint64_t *ret_when)
{
	const char *gathering[GATHER_LANES];
	size_t n = 0;
	struct draft *d;

	*ret_when = NEVER;
	list_for_each_safe(d, &s->queue, struct draft, queue_link) {
		uint64_t until;
		size_t i = 0;

		if (d->due_at > now) {
			*ret_when = sooner(*ret_when, d->due_at > s->silent_until ? d->due_at : s->silent_until);
			break;
		}
		if (!d->urgent && now < s->silent_until) {
			*ret_when = sooner(*ret_when, s->silent_until);
			continue;
		}
		while (i < n && !str_eq(d->lane_name, gathering[i]))
			i++;
		if (i < n && may_gather(s, d))
			continue;
		if (i < n || n == GATHER_LANES || !is_gathering(s, d, now, &until))
			return d;
		gathering[n++] = d->lane_name;
		*ret_when = sooner(*ret_when, until);
	}
	return NULL;
}

static void begin_locked(struct draft *d)
{
	d->state = DRAFT_UPLOADING;
	d->delayed = false;
	__atomic_store_n(&d->cancel, 0, __ATOMIC_RELAXED);
	d->refs++;
}

/* S held, d is in its lane: with it all that are due and go there too, as many as may. NULL: it goes alone. */
static struct batch *collect_locked(struct spool *s, struct draft *d, uint64_t now)
{
	uint64_t bytes = d->shown.size, bytes_most = s->session->policy.upload_batch_bytes;
	size_t most = batch_most(s);
	struct batch *b = NULL;
	struct draft *e;

	if (most < 2 || !is_small(s, d))
		return NULL;
	list_for_each_safe(e, &s->queue, struct draft, queue_link) {
		if (e->due_at > now || (b && b->n >= most))
			break;
		if (!is_small(s, e) || strcmp(e->lane_name, d->lane_name) != 0)
			continue;
		if (bytes + e->shown.size > bytes_most)
			break;
		if (!b) {
			b = calloc(1, sizeof(*b));
			if (!b)
				return NULL;
			b->drafts[b->n++] = d;
		}
		bytes += e->shown.size;
		list_remove(&e->queue_link);
		e->lane = d->lane;
		e->lane->in++;
		begin_locked(e);
		b->drafts[b->n++] = e;
	}
	return b;
}

/* S held. Returns when there is something to do again. */
static uint64_t start_due(struct spool *s, uint64_t now)
{
	struct draft *d;
	struct batch *b;
	uint64_t when = NEVER;

	while (s->running < s->config.parallel) {
		d = next_due(s, now, &when);
		if (!d)
			return when;
		list_remove(&d->queue_link);
		d->state = DRAFT_QUEUED;        /* a held one too: its time is over */
		if (!enter_lane_locked(s, d))
			continue;
		begin_locked(d);
		b = collect_locked(s, d, now);
		s->running++;
		if (pool_add(s->payers, b ? pay_many : pay, b ? (void *)b : d) == 0)
			continue;
		s->running--;
		for (size_t i = 0; i < (b ? b->n : 1); i++) {
			struct draft *e = b ? b->drafts[i] : d;

			e->refs--;
			leave_lane_locked(s, e);
			draft_queue_locked(e, DRAFT_QUEUED, now + ALONE_MS);
		}
		free(b);
	}
	return NEVER;
}

void *uploader_schedule(void *arg)
{
	struct spool *s = arg;
	uint64_t look_at = clock_mono_ms() + ADOPT_MS;

	pthread_setname_np(pthread_self(), "scifs-spool");
	pthread_mutex_lock(&s->lock);
	while (!s->stopping) {
		uint64_t now = clock_mono_ms(), next = start_due(s, now), removal = removal_start_locked(s, now);

		if (now >= look_at) {
			pthread_mutex_unlock(&s->lock);
			spool_look_around(s);
			pthread_mutex_lock(&s->lock);
			look_at = now + ADOPT_MS;
			continue;
		}
		next = removal < next ? removal : next;
		next = look_at < next ? look_at : next;
		spool_sleep(s, &s->work, next > now ? next - now : 0);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}
