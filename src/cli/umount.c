/* umount.c - ask the kernel to let go, and wait until the mount's process has ended. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/mountpoint.h"

#define WAIT_MS 60000           /* a mount that is silent ends its last reads within this time */
#define QUIET_MS 1000           /* so long nobody needs to be told what is waited for */

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

static uint64_t pid_of(const char *dir)
{
	_cleanup_buf_ struct buf text = BUF_MAX(1u << 20);
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *path = NULL;
	uint64_t pid = 0;

	if (str_fmt(&path, "%s/.scifs/status.json", dir) == 0 && file_read_whole(path, &text) == 0 &&
	    json_parse(buf_str(&text), text.len, &j) == 0)
		(void)json_u64_opt(j, "pid", &pid);
	return pid;
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

static int run(int argc, char **argv)
{
	_cleanup_free_ char *dir = NULL;
	uint64_t pid, since;
	uid_t owner = 0;
	bool told = false;
	int r;

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
	pid = pid_of(dir);
	r = mountpoint_let_go(dir, false);
	if (r < 0)
		return complain(dir, r);
	/* Gone from the tree; wait for the process, so that what follows finds it ended. */
	for (since = clock_mono_ms(); pid && !has_ended(pid); usleep(10000)) {
		uint64_t waited = clock_mono_ms() - since;

		if (waited > QUIET_MS && !told) {
			fprintf(stderr, "scifs: %s is unmounted; waiting for process %llu, which ends what it has begun\n", dir,
			        (unsigned long long)pid);
			told = true;
		}
		if (waited > WAIT_MS) {
			cli_complain("%s: process %llu has not ended within %d s", dir, (unsigned long long)pid, WAIT_MS / 1000);
			return EXIT_PART;
		}
	}
	return EXIT_DONE;
}

const struct command cmd_umount = {
	.name = "umount",
	.usage = "umount DIR",
	.help = "end a mount",
	.more = "It returns when the mount's process has ended. umount(8) and fusermount3 -u end a mount as well.\n",
	.run = run,
};
