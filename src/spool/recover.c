/* recover.c - whose drafts are whose, and what an earlier process left.
 *
 *   DIR/owners/OWNER          32 hex digits, drawn by each process: locked while it lives; says "mounted" or "finishing"
 *   DIR/owners/OWNER.wanted   made by a newcomer: the one that is only finishing is to let go
 *   DIR/lock                  locked by who is adopting
 *
 * Rows of the journal and files of drafts name their owner. A free lock means that he is dead, however it came about; then what he
 * owed belongs to the first who looks. Two living mounts of one origin and identity each pay their own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/str.h"
#include "spool/private.h"

#define POLL_MS 100
#define REMNANT_S 86400                 /* a half-written side file of a process that died is so old */

static int owner_path(struct spool *s, const char *owner, const char *tail, char **ret)
{
	return str_fmt(ret, "%s/%s%s", s->owners_dir, owner, tail);
}

static bool is_owner(const char *name)
{
	return strlen(name) == OWNER_MAX - 1 && strspn(name, "0123456789abcdef") == OWNER_MAX - 1;
}

static int say(struct spool *s, const char *what)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "%s %d\n", what, (int)getpid());

	if (ftruncate(s->owner_fd, 0) < 0)
		return -errno;
	return file_pwrite_all(s->owner_fd, text, (size_t)n, 0);
}

int recover_lock(struct spool *s)
{
	_cleanup_free_ char *path = NULL, *early = NULL;
	unsigned char bytes[(OWNER_MAX - 1) / 2];
	int r;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(s->owner + 2 * i, 3, "%02x", bytes[i]);
	r = owner_path(s, s->owner, "", &path);
	if (r == 0)
		r = owner_path(s, s->owner, ".new", &early);
	if (r < 0)
		return r;
	/* Locked before it has its name: nobody may find it free. */
	s->owner_fd = open(early, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (s->owner_fd < 0)
		return -errno;
	r = file_lock(s->owner_fd, true, false);
	if (r == 0)
		r = say(s, "mounted");
	if (r == 0 && rename(early, path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlink(early);    /* the error is reported anyway */
	return r;
}

void recover_unlock(struct spool *s)
{
	_cleanup_free_ char *path = NULL, *wanted = NULL;

	if (s->owner_fd < 0)
		return;
	/* What is still owed is then owned by nobody: the next one takes it. */
	if (owner_path(s, s->owner, "", &path) == 0)
		(void)unlink(path);
	if (owner_path(s, s->owner, ".wanted", &wanted) == 0)
		(void)unlink(wanted);
	close(TAKE_FD(s->owner_fd));
}

void recover_finishing(struct spool *s)
{
	int r = say(s, "finishing");

	if (r < 0)
		log_warn("spool: %s/%s: %s; a new mount will not wait for this one", s->owners_dir, s->owner, strerror(-r));
}

bool recover_is_wanted(struct spool *s)
{
	_cleanup_free_ char *path = NULL;

	return owner_path(s, s->owner, ".wanted", &path) == 0 && access(path, F_OK) == 0;
}

enum life { DEAD, MOUNTED, FINISHING };

/* DEAD: *ret_fd (may be NULL) holds his lock. */
static enum life look_at(struct spool *s, const char *owner, int *ret_fd)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	char text[16] = "";

	if (ret_fd)
		*ret_fd = -1;
	if (strcmp(owner, s->owner) == 0 || owner_path(s, owner, "", &path) < 0)
		return MOUNTED;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? DEAD : MOUNTED;
	if (file_lock(fd, true, false) == 0) {
		if (ret_fd)
			*ret_fd = TAKE_FD(fd);
		return DEAD;
	}
	return pread(fd, text, sizeof(text) - 1, 0) > 0 && str_starts(text, "finishing") ? FINISHING : MOUNTED;
}

/* Names in a folder that fit; each is malloc'ed. */
struct names {
	VEC(char *) list;
};

static void names_done(struct names *n)
{
	for (size_t i = 0; i < n->list.n; i++)
		free(n->list.at[i]);
	vec_done(&n->list);
}

static int names_add(struct names *n, const char *name)
{
	char *copy = strdup(name);
	int r = copy ? vec_push(&n->list, copy) : -ENOMEM;

	if (r < 0)
		free(copy);
	return r;
}

static int names_in(const char *path, struct names *ret)
{
	DIR *dir = opendir(path);
	int r = 0;

	if (!dir)
		return -errno;
	for (struct dirent *e; r == 0 && (e = readdir(dir));)
		if (e->d_name[0] != '.')
			r = names_add(ret, e->d_name);
	closedir(dir);
	return r;
}

int recover_take_over(struct spool *s)
{
	uint64_t until = clock_mono_ms() + s->config.takeover_ms;
	_cleanup_(names_done) struct names names = {0};
	int r = names_in(s->owners_dir, &names);
	bool told = false;

	for (size_t i = 0; r == 0 && i < names.list.n; i++) {
		_cleanup_free_ char *wanted = NULL;
		_cleanup_close_ int fd = -1;

		if (!is_owner(names.list.at[i]))
			continue;
		while (look_at(s, names.list.at[i], NULL) == FINISHING && clock_mono_ms() < until) {
			if (!told)
				log_info("an earlier mount still finishes its uploads: waiting for it to hand over");
			told = true;
			if (!wanted) {
				r = owner_path(s, names.list.at[i], ".wanted", &wanted);
				fd = r < 0 ? -1 : open(wanted, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
				if (r < 0)
					break;
			}
			usleep(POLL_MS * 1000);
		}
	}
	return r;
}

/* ---- drafts from rows ---- */

struct found {
	struct spool *spool;
	VEC(struct draft *) list;       /* nobody knows them yet */
};

static int draft_of_row(struct spool *s, const struct row *w, struct draft **ret)
{
	struct draft *d = draft_alloc(s, w->id, w->ino);
	int r = d ? side_read_object(w->dir, &d->dir) : -ENOMEM;

	if (r == 0)
		r = side_read_object(w->base, &d->base);
	if (r == 0)
		r = side_read_object(w->landed, &d->landed);
	if (r == 0)
		r = side_read_attrs(w->attrs, &d->attrs);
	if (r == 0 && (!d->dir.id || !w->name || !*w->name))
		r = -EBADMSG;
	if (r == 0)
		r = str_dup(w->name, &d->name);
	if (r == 0)
		r = str_dup(w->progress, &d->progress);
	if (r == 0)
		r = str_dup(w->why, &d->why);
	if (r < 0) {
		draft_free(d);
		return r;
	}
	d->mtime = w->mtime;
	d->mtime_set = w->mtime_set;
	d->mode = w->mode;
	d->size = w->size;
	d->gen = w->gen;
	d->committed = d->row = d->again = true;
	d->small = w->has_blob;
	d->begun = w->begun ? w->begun : w->since.tv_sec;
	d->commits = 1;
	d->sent = w->sent;
	d->attempts = w->attempts;
	d->error = w->error;
	d->state = w->state == ROW_REFUSED ? DRAFT_REFUSED : w->state == ROW_CONFLICT ? DRAFT_CONFLICT : DRAFT_OPEN;
	d->shown.since = w->since;
	*ret = d;
	return 0;
}

static int one_row(void *arg, const struct row *w)
{
	struct found *f = arg;
	struct draft *d;
	bool known = false;
	int r;

	WITH_LOCK(&f->spool->lock)
		known = map64_get(f->spool->by_id, w->id);
	if (known)
		return 0;
	r = draft_of_row(f->spool, w, &d);
	if (r == -EBADMSG) {
		log_error("spool: the journal's row of draft %012llx cannot be read: it and its file stay where they are",
		          (unsigned long long)w->id);
		return 0;
	}
	if (r == 0)
		r = vec_push(&f->list, d);
	if (r < 0)
		draft_free(d);
	return r;
}

/* Is the file what the journal has? Then it is left alone, since there may be no room to write it again. */
static bool holds(const char *path, const struct buf *content)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *bytes = malloc(content->len + 1);
	struct stat st;

	return fd >= 0 && bytes && fstat(fd, &st) == 0 && (uint64_t)st.st_size == content->len &&
	       file_pread_all(fd, bytes, content->len, 0) == 0 && memcmp(bytes, buf_str(content), content->len) == 0;
}

/* Bring the file of a draft that nobody knows yet to what was committed. */
static int restore_file(struct draft *d)
{
	_cleanup_buf_ struct buf content = BUF_MAX(SMALL_MAX);
	_cleanup_free_ char *path = NULL;
	struct stat st;
	int r = draft_path(d, d->gen, NULL, &path);

	if (r == 0 && d->small) {
		r = journal_content(d->spool->journal, d->id, &content);
		if (r == 0)
			r = -ENOENT;
		if (r == 1)
			r = holds(path, &content) ? 0 : file_replace(path, buf_str(&content), content.len, 0600);
	}
	if (r < 0 && r != -ENOENT)
		return r;
	if (stat(path, &st) < 0) {
		if (d->landed.id)
			return 0;               /* its content is at the server */
		d->state = DRAFT_REFUSED;
		d->error = -ENOENT;
		free(TAKE(d->why));
		log_error("spool: the content of %s is missing: there is no file %s", d->name, path);
		return str_fmt(&d->why, "its content is missing: there is no file %s", path);
	}
	if ((uint64_t)st.st_size != d->size)
		log_warn("spool: %s was being written when an earlier scifs ended: it has %llu bytes, of which %llu were closed", d->name,
		         (unsigned long long)st.st_size, (unsigned long long)d->size);
	d->size = (uint64_t)st.st_size;
	d->file = TAKE(path);
	return 0;
}

/* It is one of ours now. */
static int enter(struct spool *s, struct draft *d)
{
	int r;

	/* Names that never leave live as long as their process. */
	if (spool_name_fate(d->name) == NAME_NEVER) {
		_cleanup_free_ char *path = NULL;

		side_remove(d);
		r = journal_drop(s->journal, d->id);
		if (r == 0)
			r = draft_path(d, d->gen, NULL, &path);
		if (r == 0)
			(void)unlink(path);
		draft_free(d);
		return r;
	}
	r = restore_file(d);
	if (r == 0)
		r = side_write(d, false);       /* its owner */
	if (r == 0)
		r = spool_enter(s, d);
	if (r < 0) {
		draft_free(d);
		return r;
	}
	WITH_LOCK(&d->lock) {
		draft_measure(d);
		draft_shown(d);
		draft_update_lane(d);
		WITH_LOCK(&s->lock)
			if (d->state == DRAFT_OPEN)
				draft_place_locked(d, false);
	}
	if (s->hooks.changed)
		s->hooks.changed(s->hooks.arg, d);
	return 0;
}

static int enter_rows(struct spool *s, unsigned *ret_n)
{
	struct found f = {.spool = s};
	int r = journal_rows(s->journal, one_row, &f);

	*ret_n = 0;
	for (size_t i = 0; i < f.list.n; i++) {
		struct draft *d = f.list.at[i];

		if (r < 0) {
			draft_free(d);
			continue;
		}
		r = enter(s, d);
		if (r < 0)
			continue;
		(*ret_n)++;
	}
	vec_done(&f.list);
	return r;
}

static int one_removal(void *arg, const struct removal_row *w)
{
	return removal_adopt(arg, w);
}

/* ---- what lies beside ---- */

static int take_up(struct spool *s, const char *name)
{
	_cleanup_free_ char *path = NULL, *content = NULL;
	_cleanup_(side_done) struct side side = {0};
	struct draft *d = NULL;
	struct row row;
	uint64_t id = strtoull(name, NULL, 16);
	struct stat st;
	int r;

	if (journal_has(s->journal, id))
		return 0;
	r = str_fmt(&path, "%s/%s", s->drafts_dir, name);
	if (r < 0)
		return r;
	if (journal_ended(s->journal, id)) {
		(void)unlink(path);     /* it has landed, or was dropped: a power cut brought this back */
		return 0;
	}
	r = side_read(path, &side, &row);
	if (r < 0 && stat(path, &st) == 0 && st.st_size == 0 && st.st_mtim.tv_sec + REMNANT_S < clock_wall().tv_sec) {
		(void)unlink(path);     /* of a process that died before it had written anything, and promised anything */
		return 0;
	}
	if (r < 0) {
		log_error("spool: %s cannot be read (%s): it and its draft stay where they are", path, strerror(-r));
		return r == -ENOMEM ? r : 0;
	}
	if (look_at(s, side.owner, NULL) != DEAD)
		return 0;
	row.id = id;
	r = draft_of_row(s, &row, &d);
	if (r == -EBADMSG) {
		log_error("spool: %s does not say where its draft is to go: both stay where they are", path);
		return 0;
	}
	if (r == 0)
		r = draft_path(d, d->gen, NULL, &content);
	if (r < 0) {
		draft_free(d);
		return r;
	}
	if (side.has_content && (stat(content, &st) < 0 || st.st_size == 0)) {
		r = file_replace(content, buf_str(&side.content), side.content.len, 0600);
		if (r < 0) {
			draft_free(d);
			return r;
		}
	}
	if (stat(content, &st) == 0) {
		d->size = (uint64_t)st.st_size;
		d->file = TAKE(content);
	} else if (!d->landed.id) {
		log_warn("spool: %s has no row in the journal and no content: its side file %s stays", d->name, path);
		draft_free(d);
		return 0;
	}
	log_warn("spool: %s is taken up again by its side file", d->name);
	r = draft_put_row(d);
	if (r < 0) {
		draft_close_file(d);
		draft_free(d);
		return r;
	}
	d->small = d->size <= SMALL_MAX;
	draft_close_file(d);
	free(TAKE(d->file));
	return enter(s, d);
}

struct pile {
	unsigned n;
	uint64_t bytes;
};

/* A file that is neither a side file nor known to be a draft's. */
static void look_at_file(struct spool *s, const char *name, struct pile *pile)
{
	_cleanup_free_ char *path = NULL, *side = NULL;
	const char *dot = strchr(name, '.'), *dash = strrchr(name, '-');
	uint64_t id = strtoull(name, NULL, 16);
	struct draft *d;
	struct stat st;
	bool remnant = false, known = false;

	if (str_fmt(&path, "%s/%s", s->drafts_dir, name) < 0 || stat(path, &st) < 0)
		return;
	if (strstr(name, ".tmp-")) {
		if (st.st_mtim.tv_sec + REMNANT_S < clock_wall().tv_sec)
			(void)unlink(path);
		return;
	}
	if (dash && is_owner(dash + 1)) {
		if (look_at(s, dash + 1, NULL) != DEAD)
			return;
		/* At the server, or dropped; an empty one holds nothing. */
		remnant = strstr(name, ".done-") || st.st_size == 0;
	} else {
		WITH_LOCK(&s->lock) {
			d = map64_get(s->by_id, id);
			known = d;
			remnant = d && d->gen != (dot ? strtoul(dot + 1, NULL, 10) : 0);        /* nobody writes to it yet */
		}
		if (known && !remnant)
			return;
		if (!known && journal_has(s->journal, id))
			return;         /* another mount's */
		if (!known && str_fmt(&side, "%s/%.12s.json", s->drafts_dir, name) == 0 && access(side, F_OK) == 0)
			return;         /* told of there */
		remnant |= !known && journal_ended(s->journal, id);
	}
	if (remnant) {
		(void)unlink(path);
		return;
	}
	log_warn("spool: %s belongs to no upload: a program was writing it when scifs ended", path);
	pile->n++;
	pile->bytes += (uint64_t)st.st_size;
}

static bool is_draft_file(const char *name)
{
	return strspn(name, "0123456789abcdef") == 12 && (name[12] == 0 || name[12] == '.');
}

/* Side files that a dead process kept to use them again. */
static void remove_spares(struct spool *s)
{
	_cleanup_(names_done) struct names names = {0};
	int r = names_in(s->spare_dir, &names);
	char owner[OWNER_MAX];

	for (size_t i = 0; r == 0 && i < names.list.n; i++) {
		_cleanup_free_ char *path = NULL;

		snprintf(owner, sizeof(owner), "%s", names.list.at[i]);
		if (is_owner(owner) && look_at(s, owner, NULL) == DEAD && str_fmt(&path, "%s/%s", s->spare_dir, names.list.at[i]) == 0)
			(void)unlink(path);
	}
}

/* Of the ids in the files' names. */
static bool lies_around(void *arg, uint64_t id)
{
	const struct map64 *ids = arg;

	return map64_get(ids, id);
}

static int look_at_files(struct spool *s)
{
	_cleanup_(names_done) struct names names = {0};
	struct map64 *ids = map64_new();
	struct pile pile = {0};
	char size[STR_SIZE_MAX];
	int r = ids ? names_in(s->drafts_dir, &names) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < names.list.n; i++)
		if (is_draft_file(names.list.at[i]) && strcmp(names.list.at[i] + 12, ".json") == 0)
			r = take_up(s, names.list.at[i]);
	for (size_t i = 0; r == 0 && i < names.list.n; i++)
		if (is_draft_file(names.list.at[i]) && strcmp(names.list.at[i] + 12, ".json") != 0)
			look_at_file(s, names.list.at[i], &pile);
	names_done(&names);
	/* What has gone is to stay gone before it is forgotten that it had ended. */
	if (r == 0)
		r = file_fsync_dir(s->drafts_dir);
	if (r == 0)
		r = names_in(s->drafts_dir, &names);
	for (size_t i = 0; r == 0 && i < names.list.n; i++)
		if (is_draft_file(names.list.at[i]))
			r = map64_set(ids, strtoull(names.list.at[i], NULL, 16), s);
	if (r == 0)
		r = journal_forget_ended(s->journal, lies_around, ids);
	map64_free(ids);
	if (pile.n)
		log_warn("spool: %u files (%s) in %s belong to no upload; they can be removed by hand", pile.n,
		         str_format_size(pile.bytes, size), s->drafts_dir);
	return r;
}

/* ---- dead owners ---- */

static int one_owner(void *arg, const char *owner)
{
	return names_add(arg, owner);
}

static int adopt_from(struct spool *s, const char *owner)
{
	_cleanup_free_ char *path = NULL, *wanted = NULL;
	_cleanup_close_ int fd = -1;
	int r;

	if (look_at(s, owner, &fd) != DEAD)
		return 0;
	r = journal_adopt(s->journal, owner);
	if (r == 0)
		r = owner_path(s, owner, "", &path);
	if (r == 0)
		r = owner_path(s, owner, ".wanted", &wanted);
	if (r < 0)
		return r;
	(void)unlink(wanted);
	(void)unlink(path);
	return 0;
}

int recover_adopt(struct spool *s, bool files)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_(names_done) struct names owners = {0};
	_cleanup_close_ int fd = -1;
	unsigned n = 0;
	int r = str_fmt(&path, "%s/lock", s->dir);

	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = file_lock(fd, true, files);         /* at the start: wait for who is just adopting */
	if (r < 0)
		return r == -EWOULDBLOCK ? 0 : r;
	r = journal_owners(s->journal, one_owner, &owners);
	if (r == 0)
		r = names_in(s->owners_dir, &owners);
	for (size_t i = 0; r == 0 && i < owners.list.n; i++)
		if (is_owner(owners.list.at[i]))
			r = adopt_from(s, owners.list.at[i]);
	if (r == 0)
		r = enter_rows(s, &n);
	if (r == 0)
		r = journal_removals(s->journal, one_removal, s);
	if (r == 0 && files)
		r = look_at_files(s);
	if (r == 0 && files)
		remove_spares(s);
	if (n)
		log_info("spool: %u uploads of an earlier mount go on", n);
	return r;
}
