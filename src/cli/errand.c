/* errand.c - a child process for what may never return.
 *
 * A request that a mount's process has taken and does not answer holds its caller, and no signal frees it: not even the
 * end of our own process would come then. A child can be left behind.
 */
#include "cli/errand.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define END_MS 1000             /* a child that was killed is gone within this time, or the kernel holds it */
#define PIECE 65536

static int write_all(int fd, const void *p, size_t n)
{
	const char *at = p;

	while (n) {
		ssize_t k = write(fd, at, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return -EIO;
		at += k;
		n -= (size_t)k;
	}
	return 0;
}

/* The child: it keeps nothing of ours open, so that nobody waits for it in our place. */
static void run(int fd, int (*go)(const void *arg, struct buf *answer), const void *arg)
{
	struct buf answer = BUF_MAX(ERRAND_MAX);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), r;

	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	for (int i = 0; i < 3 && null >= 0; i++)
		dup2(null, i);
	r = go(arg, &answer);
	if (write_all(fd, &r, sizeof(r)) == 0)
		(void)write_all(fd, buf_str(&answer), answer.len);      /* who does not get it all, sees that it is short */
	_exit(0);
}

int errand_start(struct errand *e, int (*go)(const void *arg, struct buf *answer), const void *arg)
{
	int fd[2];

	*e = (struct errand){.fd = -1, .answer = BUF_MAX(ERRAND_MAX + sizeof(int))};
	if (pipe2(fd, O_CLOEXEC) < 0)
		return -errno;
	e->pid = fork();
	if (e->pid < 0) {
		int err = -errno;

		close(fd[0]);
		close(fd[1]);
		return err;
	}
	if (e->pid == 0) {
		close(fd[0]);
		run(fd[1], go, arg);
	}
	close(fd[1]);
	e->fd = fd[0];
	return 0;
}

int errand_wait(struct errand *e, unsigned ms, int *ret)
{
	uint64_t end = clock_mono_ms() + ms;
	char piece[PIECE];

	for (;;) {
		uint64_t now = clock_mono_ms();
		struct pollfd p = {.fd = e->fd, .events = POLLIN};
		int n = poll(&p, 1, now < end ? (int)(end - now) : 0);
		ssize_t k;

		if (n < 0)
			return -errno;
		if (n == 0)
			return -ETIMEDOUT;
		k = read(e->fd, piece, sizeof(piece));
		if (k < 0)
			return -errno;
		if (k > 0) {
			n = buf_add(&e->answer, piece, (size_t)k);
			if (n < 0)
				return n;
			continue;
		}
		*ret = -EIO;
		if (e->answer.len >= sizeof(*ret)) {
			memcpy(ret, e->answer.data, sizeof(*ret));
			e->answer.len -= sizeof(*ret);
			memmove(e->answer.data, e->answer.data + sizeof(*ret), e->answer.len + 1);
		}
		return 0;
	}
}

bool errand_end(struct errand *e)
{
	uint64_t since = clock_mono_ms();
	bool gone = true;

	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
	if (e->pid > 0) {
		kill(e->pid, SIGKILL);
		while ((gone = waitpid(e->pid, NULL, WNOHANG) == e->pid) == false && clock_mono_ms() - since < END_MS)
			usleep(1000);
	}
	e->pid = 0;
	buf_done(&e->answer);
	return gone;
}
