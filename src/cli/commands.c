/* commands.c - umount, status, refresh, version: they read control files and ask the kernel, as any user could. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/cli.h"

static int one_argument(int argc, char **argv, const char *what)
{
	if (argc == 2 && *argv[1] != '-')
		return EXIT_DONE;
	cli_complain("%s: one %s is wanted", argv[0], what);
	return EXIT_USAGE;
}

static int read_status(const char *dir, struct buf *ret)
{
	_cleanup_free_ char *path = NULL;
	int r = str_fmt(&path, "%s/.scifs/status.json", dir);

	return r < 0 ? r : file_read_whole(path, ret);
}

/* ---- umount ---- */

#define UMOUNT_WAIT_MS 60000

static int let_go(const char *dir)
{
	int status;
	pid_t pid;

	if (geteuid() == 0)
		return umount2(dir, UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
	pid = fork();
	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", dir, (char *)NULL);
		execlp("fusermount", "fusermount", "-u", dir, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : WEXITSTATUS(status) == 127 ? -ENOEXEC : -EBUSY;
}

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

static int umount_run(int argc, char **argv)
{
	_cleanup_buf_ struct buf status = BUF_MAX(1u << 20);
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *dir = NULL;
	uint64_t pid = 0;
	int r = one_argument(argc, argv, "DIR");

	if (r)
		return r;
	dir = realpath(argv[1], NULL);
	if (!dir && (errno != ENOTCONN || !(dir = strdup(argv[1])))) {
		cli_complain("%s: %s", argv[1], strerror(errno));
		return EXIT_MOUNT;
	}
	if (read_status(dir, &status) == 0 && json_parse(buf_str(&status), status.len, &j) == 0)
		(void)json_u64_opt(j, "pid", &pid);
	r = let_go(dir);
	if (r < 0) {
		cli_complain("%s: %s", dir, r == -EBUSY ? "it is in use: close what is open there (lsof, fuser -m), then again" :
		             r == -EINVAL ? "nothing is mounted there" : r == -ENOEXEC ? "fusermount3 is missing: install fuse3"
		                                                                        : strerror(-r));
		return EXIT_MOUNT;
	}
	/* Gone from the tree; wait for the process, so that what follows finds it ended. */
	for (int i = 0; pid && !has_ended(pid) && i < UMOUNT_WAIT_MS / 10; i++)
		usleep(10000);
	return EXIT_DONE;
}

const struct command cmd_umount = {"umount", "umount DIR", "end a mount", umount_run};

/* ---- status ---- */

static int status_run(int argc, char **argv)
{
	_cleanup_buf_ struct buf text = BUF_MAX(1u << 20);
	_cleanup_(json_freep) struct json *j = NULL;
	bool json = argc == 3 && strcmp(argv[1], "--json") == 0;
	int r;

	if (json) {
		argv[1] = argv[2];
		argc = 2;
	}
	r = one_argument(argc, argv, "DIR");
	if (r)
		return r;
	r = read_status(argv[1], &text);
	if (r < 0) {
		cli_complain("%s: %s", argv[1], r == -ENOENT ? "no scifs is mounted there" : strerror(-r));
		return EXIT_MOUNT;
	}
	if (json) {
		fputs(buf_str(&text), stdout);
		return EXIT_DONE;
	}
	r = json_parse(buf_str(&text), text.len, &j);
	if (r < 0) {
		cli_complain("%s: its status cannot be read: %s", argv[1], json_error());
		return EXIT_OTHER;
	}
	for (const struct json *m = json_first(j); m; m = json_next(m)) {
		_cleanup_free_ char *value = NULL;

		if (json_text(m))
			printf("%-14s %s\n", json_key(m), json_text(m));
		else if (json_print(m, &value) == 0)
			printf("%-14s %s\n", json_key(m), value);
	}
	return EXIT_DONE;
}

const struct command cmd_status = {"status", "status [--json] DIR", "what a mount does", status_run};

/* ---- refresh ---- */

static int refresh_run(int argc, char **argv)
{
	int r = one_argument(argc, argv, "PATH");

	if (r)
		return r;
	if (lsetxattr(argv[1], "user.scifs.refresh", "", 0, 0) < 0) {
		cli_complain("%s: %s", argv[1], errno == ENOTSUP || errno == EROFS ? "it is not in a scifs mount" : strerror(errno));
		return EXIT_OTHER;
	}
	return EXIT_DONE;
}

const struct command cmd_refresh = {"refresh", "refresh PATH", "look at the server again", refresh_run};

/* ---- version ---- */

static int version_run(int argc, char **argv)
{
	puts("scifs " SCIFS_VERSION);
	return EXIT_DONE;
}

const struct command cmd_version = {"version", "version", "which release this is", version_run};
