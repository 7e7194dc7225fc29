/* mount-scifs.c - /sbin/mount.scifs: mount(8)'s calling convention to `scifs mount`, so that fstab, systemd and autofs work. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount-helpers/translate.h"

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "mount.scifs: %s%s%s\n", what ? what : "", what ? ": " : "", why);
	return HELPER_USAGE;
}

/* A child, since what scifs leaves with is not what mount(8) reads. */
static int run(char *const words[])
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execv(SCIFS_PROGRAM, words);
		execvp("scifs", words);
		complain(SCIFS_PROGRAM, strerror(errno));
		_exit(127);
	}
	if (pid < 0)
		return HELPER_SYSTEM;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return HELPER_SYSTEM;
	return WIFEXITED(status) ? helper_status(WEXITSTATUS(status)) : HELPER_SYSTEM;
}

int main(int argc, char **argv)
{
	const char *why, *what;
	struct helper h;
	int r = helper_translate(argc, argv, &h, &why, &what);

	if (r < 0)
		return why ? complain(what, why) : HELPER_SYSTEM;

	char *words[] = {(char *)"scifs", (char *)"mount", (char *)h.source, (char *)h.dir, h.options ? (char *)"-o" : NULL,
	                 h.options, NULL};

	if (h.verbose) {
		fputs("mount.scifs:", stdout);
		for (size_t i = 0; words[i]; i++)
			printf(" %s", words[i]);
		putchar('\n');
		fflush(stdout);
	}
	r = h.fake ? HELPER_DONE : run(words);
	helper_done(&h);
	return r;
}
