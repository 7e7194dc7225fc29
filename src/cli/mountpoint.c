/* mountpoint.c - what the kernel says is mounted where, and whether a mount can be made or ended there. */
#include "cli/mountpoint.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/str.h"
#include "cli/cli.h"

#define USERS_SHOWN 5
#define FUSE_MAJOR 10           /* of the kernel's list of devices */
#define FUSE_MINOR 229

/* The kernel writes blanks, tabs, newlines and backslashes of a path as \ooo. */
static void unescape(char *s)
{
	char *o = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*o++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*o++ = *s;
		}
	}
	*o = 0;
}

struct mount_line {
	unsigned major, minor;
	char *at;
	bool scifs;
	uid_t owner;
};

/* "36 35 98:0 /root /at rw,noatime master:1 - fuse.scifs source options" */
static bool read_line(char *line, struct mount_line *ret)
{
	char *dash = strstr(line, " - "), *at, *owner;
	int n = 0;

	if (!dash || sscanf(line, "%*s %*s %u:%u %*s %n", &ret->major, &ret->minor, &n) != 2 || !n)
		return false;
	at = line + n;
	at[strcspn(at, " ")] = 0;
	unescape(at);
	ret->at = at;
	ret->scifs = str_starts(dash + 3, "fuse.scifs ");
	owner = strstr(dash + 3, "user_id=");
	ret->owner = owner ? (uid_t)strtoul(owner + strlen("user_id="), NULL, 10) : 0;
	return true;
}

enum mounted mountpoint_look(const char *dir, uid_t *ret_owner)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	enum mounted found = MOUNTED_NOTHING;
	_cleanup_free_ char *line = NULL;
	struct mount_line m;
	size_t room = 0;

	/* The last one lies on top. */
	while (f && getline(&line, &room, f) > 0)
		if (read_line(line, &m) && strcmp(m.at, dir) == 0) {
			found = m.scifs ? MOUNTED_SCIFS : MOUNTED_OTHER;
			*ret_owner = m.owner;
		}
	if (f)
		fclose(f);
	return found;
}

int mountpoint_holds(const char *path)
{
	_cleanup_free_ char *line = NULL;
	struct mount_line m;
	struct stat st;
	size_t room = 0;
	int found = 0;
	FILE *f;

	if (lstat(path, &st) < 0)
		return -errno;
	f = fopen("/proc/self/mountinfo", "re");
	while (f && getline(&line, &room, f) > 0)
		if (read_line(line, &m) && m.scifs && makedev(m.major, m.minor) == st.st_dev)
			found = 1;
	if (f)
		fclose(f);
	return found;
}

/* A link of /proc may end with " (deleted)". */
static bool is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (!path[n] || path[n] == '/' || path[n] == ' ');
}

int mountpoint_find(const char *path, char **ret_dir, char **ret_below)
{
	_cleanup_free_ char *real = realpath(path, NULL), *line = NULL, *dir = NULL;
	struct mount_line m;
	struct stat st;
	size_t room = 0;
	FILE *f;

	if (!real || stat(real, &st) < 0) {
		cli_complain("%s: %s", path, mountpoint_is_dead(errno) ? "the mount is dead: scifs umount it" : strerror(errno));
		return EXIT_MOUNT;
	}
	f = fopen("/proc/self/mountinfo", "re");
	while (f && getline(&line, &room, f) > 0)
		if (read_line(line, &m) && m.scifs && makedev(m.major, m.minor) == st.st_dev && is_below(real, m.at)) {
			free(dir);
			dir = strdup(m.at);
		}
	if (f)
		fclose(f);
	if (!dir) {
		cli_complain("%s: it is not in a scifs mount", path);
		return EXIT_MOUNT;
	}
	if (str_dup(real + strlen(dir), ret_below) < 0)
		return EXIT_OTHER;
	*ret_dir = TAKE(dir);
	return EXIT_DONE;
}

bool mountpoint_is_dead(int err)
{
	return err == ENOTCONN || err == ECONNABORTED;  /* the second while the kernel is still at it */
}

int mountpoint_path(const char *dir, char **ret)
{
	_cleanup_free_ char *copy = strdup(dir), *parent = NULL;
	size_t n = copy ? strlen(copy) : 0;
	char *slash;

	*ret = realpath(dir, NULL);
	if (*ret)
		return 0;
	if (!mountpoint_is_dead(errno) || !copy)
		return -errno;
	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = 0;
	slash = strrchr(copy, '/');
	if (slash)
		*slash = 0;
	parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	if (!parent)
		return -errno;
	return str_fmt(ret, "%s/%s", strcmp(parent, "/") ? parent : "", slash ? slash + 1 : copy);
}

int mountpoint_let_go(const char *dir, bool lazy)
{
	int status;
	pid_t pid;

	if (geteuid() == 0)
		return umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) < 0 ? -errno : 0;
	pid = fork();
	if (pid == 0) {
		/* What it would say, we say. */
		if (freopen("/dev/null", "w", stderr))
			execlp("fusermount3", "fusermount3", lazy ? "-uz" : "-u", "--", dir, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return -ENOEXEC;
	return lazy ? -EPERM : -EBUSY;
}

static bool has_entries(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	bool some = false;

	while (d && !some && (e = readdir(d)))
		some = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	if (d)
		closedir(d);
	return some;
}

static bool find_program(const char *name)
{
	const char *path = getenv("PATH");

	for (const char *at = path ? path : "/bin:/usr/bin"; ; at++) {
		_cleanup_free_ char *file = NULL;
		size_t n = strcspn(at, ":");

		if (str_fmt(&file, "%.*s/%s", (int)n, at, name) == 0 && access(file, X_OK) == 0)
			return true;
		at += n;
		if (!*at)
			return false;
	}
}

/* The kernel still knows the root's attributes, so stat() may go well; statfs asks the process. A live one answers at once. */
static bool is_dead(const char *dir)
{
	struct statfs st;

	return statfs(dir, &st) < 0 && mountpoint_is_dead(errno);
}

static bool is_device(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && major(st->st_rdev) == FUSE_MAJOR && minor(st->st_rdev) == FUSE_MINOR;
}

/* Without root's help the kernel's rules are fusermount3's: it would say so in a line of its own, and too late. */
static int check_unprivileged(const char *dir, bool allow_other)
{
	_cleanup_buf_ struct buf conf = BUF_MAX(1u << 20);
	bool allowed = false;

	if (!find_program("fusermount3")) {
		cli_complain("fusermount3 is missing: install fuse3, or mount as root");
		return EXIT_MOUNT;
	}
	if (access(dir, W_OK) < 0) {
		cli_complain("%s: the mount point must be a directory that you may write to: %s", dir, strerror(errno));
		return EXIT_MOUNT;
	}
	if (!allow_other)
		return EXIT_DONE;
	if (file_read_whole("/etc/fuse.conf", &conf) == 0 && conf.len)
		for (char *at = conf.data, *end; *at && !allowed; at = end) {
			end = at + strcspn(at, "\n");
			if (*end)
				*end++ = 0;
			allowed = strcmp(str_trim(at), "user_allow_other") == 0;
		}
	if (!allowed)
		cli_complain("option allow_other: root must put the line user_allow_other into /etc/fuse.conf first");
	return allowed ? EXIT_DONE : EXIT_MOUNT;
}

int mountpoint_check(char **io_dir, bool allow_other)
{
	_cleanup_free_ char *whole = NULL;
	struct stat st;
	uid_t owner;
	int r;

	if (str_starts(*io_dir, "/dev/fd/")) {
		char *end;
		long fd = strtol(*io_dir + strlen("/dev/fd/"), &end, 10);

		if (!isdigit((unsigned char)(*io_dir)[strlen("/dev/fd/")]) || *end || fd < 0 || fd > INT_MAX || fstat((int)fd, &st) < 0) {
			cli_complain("%s: there is no such descriptor: who calls scifs opens /dev/fuse, mounts it and hands it down", *io_dir);
			return EXIT_MOUNT;
		}
		if (!is_device(&st)) {
			cli_complain("%s: this descriptor is not /dev/fuse", *io_dir);
			return EXIT_MOUNT;
		}
		return EXIT_DONE;
	}
	r = mountpoint_path(*io_dir, &whole);
	if (r < 0) {
		cli_complain(r == -ENOENT ? "%s: the mount point does not exist: mkdir it first" : "%s: the mount point cannot be used: %s",
		             *io_dir, strerror(-r));
		return EXIT_MOUNT;
	}
	free(*io_dir);
	*io_dir = TAKE(whole);
	if (mountpoint_look(*io_dir, &owner) == MOUNTED_SCIFS && is_dead(*io_dir)) {
		/* What a killed scifs left behind: nothing answers there any more. */
		log_info("%s: a dead mount is detached first", *io_dir);
		r = mountpoint_let_go(*io_dir, true);
		if (r < 0) {
			cli_complain("%s: a dead scifs is mounted there and cannot be detached: %s", *io_dir,
			             r == -ENOEXEC ? "fusermount3 is missing: install fuse3" : strerror(-r));
			return EXIT_MOUNT;
		}
	}
	if (stat(*io_dir, &st) < 0) {
		cli_complain("%s: the mount point cannot be used: %s", *io_dir, strerror(errno));
		return EXIT_MOUNT;
	}
	if (!S_ISDIR(st.st_mode)) {
		cli_complain("%s: the mount point is not a directory", *io_dir);
		return EXIT_MOUNT;
	}
	if (mountpoint_look(*io_dir, &owner) == MOUNTED_SCIFS) {
		cli_complain("%s: a scifs is mounted there already: scifs umount %s", *io_dir, *io_dir);
		return EXIT_MOUNT;
	}
	if (has_entries(*io_dir)) {
		cli_complain("%s: the mount point is not empty: choose an empty directory", *io_dir);
		return EXIT_MOUNT;
	}
	/* The node may be there and the driver not: opening tells. */
	r = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (r >= 0 && (fstat(r, &st) < 0 || !is_device(&st))) {
		close(r);
		cli_complain("/dev/fuse: it is not the device of FUSE: ask who runs this machine");
		return EXIT_MOUNT;
	}
	if (r < 0) {
		cli_complain("/dev/fuse: %s: %s", strerror(errno), errno == EACCES || errno == EPERM
		             ? "ask who runs this machine for the right to use it" : "modprobe fuse, or ask who runs this machine");
		return EXIT_MOUNT;
	}
	close(r);
	return geteuid() == 0 ? EXIT_DONE : check_unprivileged(*io_dir, allow_other);
}

/* ---- who is in there ---- */

static bool link_below(int at, const char *name, const char *dir)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(at, name, target, sizeof(target) - 1);

	if (n < 0)
		return false;
	target[n] = 0;
	return is_below(target, dir);
}

static bool uses(int proc, const char *dir)
{
	struct dirent *e;
	bool found = link_below(proc, "cwd", dir) || link_below(proc, "root", dir) || link_below(proc, "exe", dir);
	int fd = found ? -1 : openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;

	if (fd >= 0 && !d)
		close(fd);
	while (d && !found && (e = readdir(d)))
		found = link_below(dirfd(d), e->d_name, dir);
	if (d)
		closedir(d);
	return found;
}

char *mountpoint_users(const char *dir)
{
	struct buf b = BUF_MAX(4096);
	DIR *d = opendir("/proc");
	unsigned shown = 0;
	struct dirent *e;

	while (d && shown < USERS_SHOWN && (e = readdir(d))) {
		_cleanup_buf_ struct buf name = BUF_MAX(256);
		_cleanup_close_ int proc = -1;
		char path[64];

		if (!isdigit((unsigned char)e->d_name[0]) || strlen(e->d_name) > 20)
			continue;
		proc = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (proc < 0 || !uses(proc, dir))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/comm", e->d_name);
		if (file_read_whole(path, &name) < 0 || !name.len)
			(void)buf_adds(&name, "?");
		if (buf_addf(&b, "%s%s (%s)", shown++ ? ", " : "", e->d_name, str_trim(name.data)) < 0)
			break;
	}
	if (d)
		closedir(d);
	if (!shown) {
		buf_done(&b);
		return NULL;
	}
	return buf_take(&b);
}
