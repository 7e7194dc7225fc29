/* owed.c - what a mount owes: its control files, read and written through a child that may be left behind. */
#include "cli/owed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/errand.h"

#define NAMED_MAX 10            /* rows that are named */

/* ---- asking ---- */

static int fetch(const void *arg, struct buf *answer)
{
	return file_read_whole(arg, answer);
}

int owed_ask(const char *dir, const char *name, struct json **ret)
{
	_cleanup_free_ char *path = NULL;
	struct errand e;
	int r = str_fmt(&path, "%s/.scifs/%s", dir, name), what = 0;

	if (r == 0)
		r = errand_start(&e, fetch, path);
	if (r < 0)
		return r;
	r = errand_wait(&e, OWED_ANSWER_MS, &what);
	if (r == 0)
		r = what;
	if (r == 0)
		r = json_parse(buf_str(&e.answer), e.answer.len, ret);
	(void)errand_end(&e);   /* one that was left behind costs nothing */
	return r;
}

struct saying {
	const char *path, *verb;
};

static int speak(const void *arg, struct buf *answer)
{
	const struct saying *s = arg;
	_cleanup_close_ int fd = open(s->path, O_WRONLY | O_CLOEXEC);

	/* In one piece: a verb acts in write(2), and fails there. */
	return fd < 0 || write(fd, s->verb, strlen(s->verb)) < 0 ? -errno : 0;
}

int owed_say(const char *dir, const char *verb, unsigned ms)
{
	_cleanup_free_ char *path = NULL, *line = NULL;
	struct saying s;
	struct errand e;
	int r = str_fmt(&path, "%s/.scifs/action", dir), what = 0;

	if (r == 0)
		r = str_fmt(&line, "%s\n", verb);
	if (r < 0)
		return r;
	s = (struct saying){path, line};
	r = errand_start(&e, speak, &s);
	if (r < 0)
		return r;
	r = errand_wait(&e, ms, &what);
	(void)errand_end(&e);
	return r < 0 ? r : what;
}

/* ---- reading ---- */

void owed_read(const struct json *status, struct owed *ret)
{
	const struct json *u = json_get(status, "uploads");

	(void)json_u64_opt(status, "pid", &ret->pid);
	(void)json_u64_opt(u, "owed", &ret->files);
	(void)json_u64_opt(u, "bytes", &ret->bytes);
	(void)json_u64_opt(u, "refused", &ret->refused);
	(void)json_u64_opt(u, "held", &ret->held);
	(void)json_u64_opt(u, "room", &ret->room);
}

int owed_status(const char *dir, struct owed *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	int r = owed_ask(dir, "status.json", &j);

	*ret = (struct owed){0};
	if (r == 0)
		owed_read(j, ret);
	return r;
}

static void upload_done(struct owed_upload *u)
{
	free(u->path);
	free(u->state);
	free(u->error);
}

void owed_list_done(struct owed_list *l)
{
	for (size_t i = 0; i < l->rows.n; i++)
		upload_done(&l->rows.at[i]);
	vec_done(&l->rows);
	l->bytes = l->refused = 0;
}

/* One whose place nobody has looked at since the mount may be anywhere: fs waits for it, too. */
static bool is_below(const char *path, const char *below)
{
	size_t n = strlen(below);

	return !path || (strncmp(path, below, n) == 0 && (!path[n] || path[n] == '/'));
}

static int add_row(struct owed_list *l, const struct json *row, const char *below)
{
	struct owed_upload u = {0};
	const char *path = NULL, *name = NULL, *state = "", *error = NULL, *op = "upload";
	int r;

	if (json_u64_opt(row, "id", &u.id) < 0 || json_u64_opt(row, "size", &u.size) < 0 || json_u64_opt(row, "sent", &u.sent) < 0 ||
	    json_str_opt(row, "path", &path) < 0 || json_str_opt(row, "name", &name) < 0 || json_str_opt(row, "state", &state) < 0 ||
	    json_str_opt(row, "error", &error) < 0 || json_str_opt(row, "op", &op) < 0)
		return -EBADMSG;
	if (!is_below(path, below))
		return 0;
	u.removal = strcmp(op, "remove") == 0;
	u.refused = strcmp(state, "refused") == 0 || strcmp(state, "conflict") == 0;
	r = str_dup(path ? path : name ? name : "?", &u.path);
	if (r == 0)
		r = str_dup(state, &u.state);
	if (r == 0)
		r = str_dup(error, &u.error);
	if (r == 0)
		r = vec_push(&l->rows, u);
	if (r < 0) {
		upload_done(&u);
		return r;
	}
	l->bytes += u.size > u.sent ? u.size - u.sent : 0;
	l->refused += u.refused;
	return 0;
}

int owed_list(const char *dir, const char *below, struct owed_list *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	int r = owed_ask(dir, "uploads.json", &j);

	*ret = (struct owed_list){0};
	if (r == -ENOENT)
		return 0;       /* read only: it owes nothing */
	for (const struct json *row = r == 0 ? json_first(j) : NULL; row && r == 0; row = json_next(row))
		r = add_row(ret, row, below);
	if (r < 0)
		owed_list_done(ret);
	return r;
}

/* ---- telling ---- */

const char *owed_count(uint64_t files, uint64_t bytes, char ret[OWED_COUNT_MAX])
{
	char size[STR_SIZE_MAX];

	snprintf(ret, OWED_COUNT_MAX, "%llu file%s (%s)", (unsigned long long)files, files == 1 ? "" : "s", str_format_size(bytes, size));
	return ret;
}

void owed_name(const char *dir, const struct owed_list *l, bool refused_only)
{
	size_t named = 0, all = refused_only ? l->refused : l->rows.n;

	for (size_t i = 0; i < l->rows.n && named < NAMED_MAX; i++) {
		const struct owed_upload *u = &l->rows.at[i];
		char size[STR_SIZE_MAX];

		if (refused_only && !u->refused)
			continue;
		named++;
		cli_complain("  %s: %s, %s%s%s", u->path, u->state, u->removal ? "to be removed" : str_format_size(u->size, size),
		             u->error ? ": " : "", u->error ? u->error : "");
	}
	if (all > named)
		cli_complain("  and %zu more: scifs uploads %s", all - named, dir);
}
