/* load.c - the loads that a shell cannot make: many small questions to one file system, a second of wall time told.
 *
 *   load stat FILE COUNT   statx(AT_STATX_FORCE_SYNC): each one reaches the file system, whatever the kernel remembers
 *   load read FILE COUNT   pread of 4 KiB at page boundaries, each page once and in no order, no readahead. The kernel's own
 *                          pages are dropped first, so each one reaches the file system too
 *
 * Prints operations a second.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int bad(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	return 1;
}

static int do_stat(int fd, long count)
{
	struct statx x;
	double begun = now();

	for (long i = 0; i < count; i++)
		if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &x) < 0)
			return bad("statx");
	printf("%.1f\n", (double)count / (now() - begun));
	return 0;
}

static int do_read(int fd, long count)
{
	char page[PAGE];
	struct stat st;
	uint64_t pages, step, at = 0;
	double begun;

	if (fstat(fd, &st) < 0)
		return bad("fstat");
	pages = (uint64_t)st.st_size / PAGE;
	if ((uint64_t)count > pages) {
		errno = EFBIG;
		return bad("more reads than pages");
	}
	/* A step that has no factor in common with the number of pages meets each page once. */
	for (step = pages * 5 / 8 | 1;; step += 2) {
		uint64_t a = pages, b = step;

		while (b) {
			uint64_t c = a % b;

			a = b;
			b = c;
		}
		if (a == 1)
			break;
	}
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	begun = now();
	for (long i = 0; i < count; i++, at = (at + step) % pages)
		if (pread(fd, page, PAGE, (off_t)(at * PAGE)) != PAGE)
			return bad("pread");
	printf("%.1f\n", (double)count / (now() - begun));
	return 0;
}

int main(int argc, char **argv)
{
	long count = argc == 4 ? atol(argv[3]) : 0;
	int fd;

	if (count <= 0 || (strcmp(argv[1], "stat") && strcmp(argv[1], "read"))) {
		fprintf(stderr, "usage: load stat|read FILE COUNT\n");
		return 2;
	}
	fd = open(argv[2], O_RDONLY);
	if (fd < 0)
		return bad(argv[2]);
	return strcmp(argv[1], "stat") == 0 ? do_stat(fd, count) : do_read(fd, count);
}
