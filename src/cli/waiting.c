/* waiting.c - progress on standard error, and signals that end a wait. */
#include "cli/waiting.h"

#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"

#define TERMINAL_MS 1000
#define PLAIN_MS 10000
#define LINE_MAX_ 1024

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

static volatile sig_atomic_t stopped;
static struct sigaction before[SIGNALS];
static uint64_t shown_at;
static bool shown;              /* a line stands on the terminal, and the cursor behind it */

static void on_signal(int sig)
{
	stopped = 1;
}

void waiting_begin(void)
{
	struct sigaction note = {.sa_handler = on_signal};      /* without SA_RESTART: what waits hears of it */

	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &note, &before[i]);
	shown_at = clock_mono_ms();
}

bool waiting_stopped(void)
{
	return stopped;
}

/* So many columns that a line does not go on in the next one, from where nothing could take it away. */
static size_t columns(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? (size_t)w.ws_col - 1 : 79;
}

void waiting_show(const char *format, ...)
{
	_cleanup_free_ char *safe = NULL;
	bool terminal = isatty(STDERR_FILENO);
	char line[LINE_MAX_];
	va_list ap;

	if (clock_mono_ms() - shown_at < (terminal ? TERMINAL_MS : PLAIN_MS))
		return;
	shown_at = clock_mono_ms();
	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	safe = str_printable(line, LINE_MAX_);
	if (!safe)
		return;
	if (terminal) {
		safe[str_utf8_cut(safe, columns())] = 0;
		fprintf(stderr, "\r\033[K%s", safe);
		shown = true;
	} else {
		fprintf(stderr, "scifs: %s\n", safe);
	}
	fflush(stderr);
}

void waiting_end(void)
{
	if (shown)
		fputs("\r\033[K", stderr);
	shown = false;
	for (size_t i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &before[i], NULL);
}
