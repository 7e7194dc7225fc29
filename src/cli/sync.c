/* sync.c - wait until all that was written below a path is at the server. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/errand.h"
#include "cli/mountpoint.h"
#include "cli/owed.h"
#include "cli/waiting.h"

#define LOOK_MS 1000

struct what {
	char *dir, *below;
};

static void what_done(struct what *w)
{
	free(w->dir);
	free(w->below);
}

/* In a child: the verb returns when all is sent, or never. */
static int go(const void *arg, struct buf *answer)
{
	const struct what *w = arg;
	_cleanup_free_ char *path = NULL, *verb = NULL;
	_cleanup_close_ int fd = -1;

	if (str_fmt(&path, "%s/.scifs/action", w->dir) < 0 || str_fmt(&verb, "sync%s%s\n", *w->below ? " " : "", w->below) < 0)
		return -ENOMEM;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, verb, strlen(verb)) < 0 ? -errno : 0;
}

/* *ret: what it came to. -EINTR: the waiting was ended. */
static int wait_for(const char *path, const struct what *w, int *ret)
{
	struct errand e;
	int r = errand_start(&e, go, w);

	if (r < 0)
		return r;
	waiting_begin();
	while ((r = errand_wait(&e, LOOK_MS, ret)) == -ETIMEDOUT || (r == -EINTR && !waiting_stopped())) {
		struct owed_list l;
		char count[OWED_COUNT_MAX];

		if (owed_list(w->dir, w->below, &l) == 0) {
			waiting_show("%s: %s left to send", path, owed_count(l.rows.n - l.refused, l.bytes, count));
			owed_list_done(&l);
		}
	}
	waiting_end();
	(void)errand_end(&e);
	return r;
}

static int run(int argc, char **argv)
{
	_cleanup_(what_done) struct what w = {0};
	struct owed_list l = {0};
	char count[OWED_COUNT_MAX];
	int r, result = 0;

	if (!cli_one_argument(&cmd_sync, argc, argv, &r))
		return r;
	r = mountpoint_find(argv[1], &w.dir, &w.below);
	if (r)
		return r;
	r = wait_for(argv[1], &w, &result);
	if (r < 0 && r != -EINTR) {
		cli_complain("%s: %s", argv[1], strerror(-r));
		return EXIT_OTHER;
	}
	if (owed_list(w.dir, w.below, &l) < 0) {
		cli_complain("%s: what is owed cannot be read", argv[1]);
		return EXIT_OTHER;
	}
	if (r == -EINTR && l.rows.n) {
		cli_complain("%s: no longer waited for; %s still owed, and sent as long as the mount lives:", argv[1],
		             owed_count(l.rows.n, l.bytes, count));
		owed_name(w.dir, &l, false);
		r = EXIT_PART;
	} else if (r == 0 && result < 0 && l.rows.n > l.refused) {
		cli_complain("%s: %s; %s still owed, and tried again as long as the mount lives:", argv[1], strerror(-result),
		             owed_count(l.rows.n, l.bytes, count));
		owed_name(w.dir, &l, false);
		r = EXIT_PART;
	} else if (l.refused) {
		cli_complain("%s: %s refused and kept here: scifs uploads retry or drop %s", argv[1], owed_count(l.refused, l.bytes, count), w.dir);
		owed_name(w.dir, &l, true);
		r = EXIT_PART;
	} else if (r == 0 && result < 0) {
		cli_complain("%s: %s", argv[1], strerror(-result));
		r = EXIT_OTHER;
	} else {
		r = EXIT_DONE;
	}
	owed_list_done(&l);
	return r;
}

const struct command cmd_sync = {
	.name = "sync",
	.usage = "sync PATH",
	.help = "wait until all is at the server",
	.more = "PATH is a file or a directory, with all below it. What was refused is named, and the status is 4. Ctrl-C ends the\n"
	        "waiting only; sync(1) without a path does not reach the server.\n",
	.run = run,
};
