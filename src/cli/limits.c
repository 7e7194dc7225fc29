/* limits.c - how much memory and disk a mount may have, and where, when the user does not say. */
#include "cli/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/cleanup.h"
#include "base/str.h"

#define MEMORY_DEFAULT (256ull << 20)
#define MEMORY_LEAST (16ull << 20)
#define CACHE_DEFAULT (10ull << 30)
#define FREE_DEFAULT (1ull << 30)

static uint64_t number_in(const char *path)
{
	_cleanup_buf_ struct buf b = BUF_MAX(4096);
	uint64_t n;

	if (file_read_whole(path, &b) < 0 || !b.len)
		return UINT64_MAX;
	return str_parse_u64(str_trim(b.data), &n) < 0 ? UINT64_MAX : n;       /* "max": no limit */
}

/* The least limit of our cgroup and those above it (version 2), or of version 1's memory controller. */
static uint64_t cgroup_limit(void)
{
	_cleanup_buf_ struct buf b = BUF_MAX(65536);
	uint64_t least = number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes");
	char *at;

	if (file_read_whole("/proc/self/cgroup", &b) < 0 || !(at = strstr(buf_str(&b), "0::")))
		return least;
	at += 3;
	at[strcspn(at, "\n")] = 0;
	for (;;) {
		_cleanup_free_ char *path = NULL;
		char *slash;
		uint64_t n;

		if (str_fmt(&path, "/sys/fs/cgroup%s/memory.max", strcmp(at, "/") ? at : "") < 0)
			return least;
		n = number_in(path);
		if (n < least)
			least = n;
		slash = strrchr(at, '/');
		if (!slash || !at[1])
			return least;
		slash[slash == at] = 0;
	}
}

uint64_t limit_memory(uint64_t given)
{
	uint64_t quarter = cgroup_limit() / 4;

	if (!given)
		given = quarter < MEMORY_DEFAULT ? quarter : MEMORY_DEFAULT;
	return given < MEMORY_LEAST ? MEMORY_LEAST : given;
}

static int default_dir(const char *variable, const char *in_home, const char *of_system, char **ret)
{
	const char *xdg = getenv(variable), *home = getenv("HOME");

	if (xdg && *xdg == '/')
		return str_fmt(ret, "%s/scifs", xdg);
	if (home && *home == '/')
		return str_fmt(ret, "%s/%s/scifs", home, in_home);
	return str_dup(of_system, ret);         /* at boot there is no home */
}

int limit_cache(const char *dir, uint64_t size, uint64_t free_min, char **ret_dir, uint64_t *ret_size, uint64_t *ret_free)
{
	struct statvfs st = {0};
	uint64_t all;
	int r;

	*ret_size = *ret_free = 0;
	if (dir && strcmp(dir, "none") == 0)
		return 0;
	r = dir ? str_dup(dir, ret_dir) : default_dir("XDG_CACHE_HOME", ".cache", "/var/cache/scifs", ret_dir);
	if (r < 0)
		return r;
	if (file_mkdirs(*ret_dir, 0700) < 0 || statvfs(*ret_dir, &st) < 0) {
		*ret_size = size ? size : 1;    /* the cache says what is wrong with it */
		return 0;
	}
	all = (uint64_t)st.f_blocks * st.f_frsize;
	*ret_size = size ? size : all / 10 < CACHE_DEFAULT ? all / 10 : CACHE_DEFAULT;
	*ret_free = free_min ? free_min : all / 20 < FREE_DEFAULT ? all / 20 : FREE_DEFAULT;
	return 0;
}

int limit_state(const char *dir, char **ret)
{
	return dir ? str_dup(dir, ret) : default_dir("XDG_STATE_HOME", ".local/state", "/var/lib/scifs", ret);
}

bool limit_is_remote(const char *dir)
{
	/* linux/magic.h has not all of them: NFS, SMB, SMB2, CIFS, AFS (two), Ceph, 9P, FUSE, Lustre, GPFS, PanFS. */
	static const unsigned long remote[] = {0x6969, 0x517b, 0xfe534d42, 0xff534d42, 0x5346414f, 0x6b414653, 0x00c36400,
	                                       0x01021997, 0x65735546, 0x0bd00bd0, 0x47504653, 0xaad7aaea};
	struct statfs st;

	if (statfs(dir, &st) < 0)
		return false;
	for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
		if (((unsigned long)st.f_type & 0xffffffffu) == remote[i])
			return true;
	return false;
}
