/* umount.c - wait for what a mount owes, ask the kernel to let go, and wait until the mount's process has ended. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/mountpoint.h"
#include "cli/owed.h"
#include "cli/waiting.h"

#define WAIT_MS 90000           /* a mount whose server is silent ends its last requests within this time */
#define QUIET_MS 1000           /* so long nobody needs to be told what is waited for */
#define LOOK_MS 100             /* between two looks in the first seconds, */
#define SLOW_LOOK_MS 500        /* and later */
#define SLOW_MS 3000
#define DRAIN_DEFAULT_MS 600000 /* of a mount that does not say */

/* One that ended and that nobody has asked after yet (a zombie) counts as ended. */
static bool has_ended(uint64_t pid)
{
	_cleanup_buf_ struct buf stat = BUF_MAX(4096);
	char path[40];
	const char *after;

	snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)pid);
	if (file_read_whole(path, &stat) < 0)
		return true;
	after = strrchr(buf_str(&stat), ')');
	return after && (after[2] == 'Z' || after[2] == 'X');
}

static int complain(const char *dir, int r)
{
	_cleanup_free_ char *users = r == -EBUSY ? mountpoint_users(dir) : NULL;

	if (r == -EBUSY)
		cli_complain("%s: it is in use by %s: end that, then again", dir, users ? users : "somebody (fuser -m tells who)");
	else
		cli_complain("%s: it cannot be unmounted: %s", dir, r == -ENOEXEC ? "fusermount3 is missing: install fuse3" : strerror(-r));
	return EXIT_MOUNT;
}

/* How long what is owed is waited for when the user does not say: as long as the mount itself would. And where it lies. */
static void read_config(const char *dir, unsigned *io_drain_ms, char **ret_state)
{
	_cleanup_(json_freep) struct json *j = NULL;
	const char *drain = NULL, *state = NULL;
	uint64_t ms;

	if (owed_ask(dir, "config.json", &j) < 0)
		return;
	if (json_str_opt(j, "drain", &drain) == 0 && drain && str_parse_duration(drain, &ms) == 0 && ms <= UINT32_MAX)
		*io_drain_ms = (unsigned)ms;
	if (json_str_opt(j, "state", &state) == 0)
		(void)str_dup(state, ret_state);        /* without memory it is not named */
}

/* What is left is named, under one line that says why. */
static void name_owed(const char *dir, const char *why, bool refused_only)
{
	char count[OWED_COUNT_MAX];
	struct owed_list l;

	if (owed_list(dir, "", &l) < 0)
		l = (struct owed_list){0};
	if (refused_only)
		cli_complain("%s: %llu refused %s", dir, (unsigned long long)l.refused, why);
	else
		cli_complain("%s: %s %s", dir, owed_count(l.rows.n, l.bytes, count), why);
	owed_name(dir, &l, refused_only);
	owed_list_done(&l);
}

static void tell_drain(const char *dir, unsigned seconds)
{
	char verb[32];

	snprintf(verb, sizeof(verb), "drain %u", seconds);
	if (owed_say(dir, verb, OWED_ANSWER_MS) < 0)
		log_debug("%s: it cannot be told how long to wait", dir);
}

/* Has somebody a file open that is being written? Then it is owed until it is closed, and waiting for it leads nowhere. */
static bool is_written(const char *dir, const char *users)
{
	struct owed_list l;
	bool found = false;

	if (!users || owed_list(dir, "", &l) < 0)
		return false;
	for (size_t i = 0; i < l.rows.n && !found; i++)
		found = strcmp(l.rows.at[i].state, "draft") == 0;
	owed_list_done(&l);
	return found;
}

/* See that what is owed is sent. 0: all is, but for what was refused; -ETIMEDOUT: not within the time; -EINTR: no longer waited for;
 * -EBUSY: somebody writes; others: it does not say. *io is what it owed last. */
static int drain(const char *dir, unsigned ms, struct owed *io)
{
	_cleanup_free_ char *users = mountpoint_users(dir);
	uint64_t since = clock_mono_ms();
	/* Who does not want to wait wants nothing sent on the way out either. */
	int r = ms ? owed_say(dir, "flush", OWED_ANSWER_MS) : 0;

	if (r < 0)
		return r;
	if (is_written(dir, users))
		return -EBUSY;
	if (users)
		cli_complain("%s: it is in use by %s: it can be unmounted only when that has ended", dir, users);
	waiting_begin();
	for (;;) {
		char count[OWED_COUNT_MAX];

		r = owed_status(dir, io);
		if (r == -EINTR || waiting_stopped())
			r = -EINTR;
		else if (r == 0 && io->files > io->refused && clock_mono_ms() - since >= ms)
			r = -ETIMEDOUT;
		if (r < 0 || io->files <= io->refused)
			break;
		waiting_show("%s: %s left to send", dir, owed_count(io->files - io->refused, io->bytes, count));
		/* What was begun meanwhile under the name of a half-finished file. */
		if (io->held)
			(void)owed_say(dir, "flush", OWED_ANSWER_MS);   /* the next round says it again */
		usleep((clock_mono_ms() - since < SLOW_MS ? LOOK_MS : SLOW_LOOK_MS) * 1000);
	}
	waiting_end();
	return r;
}

/* Gone from the tree; wait for the process, so that what follows finds it ended. */
static int wait_for_process(const char *dir, uint64_t pid, unsigned ms)
{
	bool told = false;

	for (uint64_t since = clock_mono_ms(); pid && !has_ended(pid); usleep(10000)) {
		uint64_t waited = clock_mono_ms() - since;

		if (waited > QUIET_MS && !told) {
			fprintf(stderr, "scifs: %s is unmounted; waiting for process %llu, which ends what it has begun\n", dir,
			        (unsigned long long)pid);
			told = true;
		}
		if (waited > ms) {
			cli_complain("%s: process %llu has not ended within %u s", dir, (unsigned long long)pid, ms / 1000);
			return EXIT_PART;
		}
	}
	return EXIT_DONE;
}

static int end(const char *dir, bool given, unsigned wait_ms)
{
	_cleanup_free_ char *state = NULL, *kept = NULL;
	unsigned drain_ms = DRAIN_DEFAULT_MS;
	struct owed o = {0};
	int status = EXIT_DONE, r = owed_status(dir, &o);
	uint64_t pid = o.pid;
	bool left = false;

	if (r < 0 && !mountpoint_is_dead(-r))
		cli_complain("%s: %s: what it owes is not known", dir, r == -ETIMEDOUT ? "its process does not answer" : strerror(-r));
	if (r == 0 && o.files) {
		read_config(dir, &drain_ms, &state);
		if (o.files > o.refused)
			r = drain(dir, given ? wait_ms : drain_ms, &o);
		if (r == -EINTR) {
			name_owed(dir, "still owed: it stays mounted, and goes on sending", false);
			return EXIT_PART;
		}
		if (r == -EBUSY)
			return complain(dir, r);
		left = r == -ETIMEDOUT;
	}
	if (left || o.refused) {
		(void)str_fmt(&kept, left ? "not sent, kept in %s: the next mount of this source sends them" :
		              "and kept in %s: after the next mount scifs uploads shows them", state ? state : "its state directory");
		name_owed(dir, kept ? kept : "", !left);
		status = EXIT_PART;
	}
	if (left)
		tell_drain(dir, 0);
	r = mountpoint_let_go(dir, false);
	if (r < 0) {
		if (left)
			tell_drain(dir, (drain_ms + 999) / 1000);
		return complain(dir, r);
	}
	r = wait_for_process(dir, pid, WAIT_MS);
	return r ? r : status;
}

static int run(int argc, char **argv)
{
	_cleanup_free_ char *dir = NULL;
	uint64_t wait_ms = 0;
	bool given = false;
	uid_t owner = 0;
	int r;

	if (argc > 1 && str_starts(argv[1], "--wait=")) {
		given = true;
		if (str_parse_duration(argv[1] + strlen("--wait="), &wait_ms) < 0 || wait_ms > UINT32_MAX) {
			cli_complain("umount: --wait= needs a time, as 30s or 10m");
			return EXIT_USAGE;
		}
		argv++;
		argc--;
	}
	if (!cli_one_argument(&cmd_umount, argc, argv, &r))
		return r;
	r = mountpoint_path(argv[1], &dir);
	if (r < 0) {
		cli_complain("%s: %s", argv[1], strerror(-r));
		return EXIT_MOUNT;
	}
	switch (mountpoint_look(dir, &owner)) {
	case MOUNTED_NOTHING:
		cli_complain("%s: nothing is mounted there", dir);
		return EXIT_MOUNT;
	case MOUNTED_OTHER:
		cli_complain("%s: what is mounted there is no scifs: umount(8) ends it", dir);
		return EXIT_MOUNT;
	default:
		break;
	}
	if (geteuid() != 0 && owner != geteuid()) {
		cli_complain("%s: it is the mount of user %u: only that user and root may end it", dir, (unsigned)owner);
		return EXIT_MOUNT;
	}
	return end(dir, given, (unsigned)wait_ms);
}

const struct command cmd_umount = {
	.name = "umount",
	.usage = "umount [--wait=TIME] DIR",
	.help = "end a mount",
	.more = "What is owed is sent first, for TIME at most (else the mount's option drain), and what is left is shown; Ctrl-C ends\n"
	        "the waiting and leaves the mount as it is. What could not be sent is kept for the next mount, and the status is 4.\n"
	        "umount(8) and fusermount3 -u end a mount as well, and do not wait: its process sends what is owed in the background.\n",
	.run = run,
};
