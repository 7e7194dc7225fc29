/* password.c - ask a person at the terminal. Without stdio: its buffers would keep what was typed. */
#include "cli/password.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"

#define PASSWORD_MAX 1024

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

static volatile sig_atomic_t came;

static void on_signal(int sig)
{
	came = sig;
}

/* One line without its end; -ENOKEY for none. */
static int read_line(int fd, char *line, size_t room)
{
	size_t n = 0;
	char c;

	while (!came && read(fd, &c, 1) == 1 && c != '\n')
		if (n + 1 < room)
			line[n++] = c;
	line[n] = 0;
	return n && !came ? 0 : -ENOKEY;
}

int password_ask(const char *user, const char *origin, struct secret **ret)
{
	_cleanup_close_ int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	_cleanup_free_ char *question = NULL;
	struct sigaction note = {.sa_handler = on_signal}, old[SIGNALS];     /* without SA_RESTART: read() ends */
	struct termios was, quiet;
	char line[PASSWORD_MAX];
	int r;

	if (fd < 0 || tcgetattr(fd, &was) < 0 || str_fmt(&question, "Password of %s at %s: ", user, origin) < 0)
		return -ENOKEY;
	came = 0;
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &note, &old[i]);
	quiet = was;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	r = tcsetattr(fd, TCSAFLUSH, &quiet) < 0 || write(fd, question, strlen(question)) < 0 ? -ENOKEY
	                                                                                     : read_line(fd, line, sizeof(line));
	tcsetattr(fd, TCSAFLUSH, &was);
	if (write(fd, "\n", 1) < 0)
		r = -ENOKEY;
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &old[i], NULL);
	if (came)
		raise(came);
	if (r == 0)
		r = secret_new(origin, line, ret);
	explicit_bzero(line, sizeof(line));
	return r;
}
