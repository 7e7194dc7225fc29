/* log.c - one event a line: time, level, message. The line is made in a buffer and leaves in one write, so that lines of
 * several threads do not mix. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

#define LINE_MAX_BYTES 4096
#define MASKS_MAX 64
#define MASK_MIN 6              /* shorter texts would blot out ordinary words */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int fd = STDERR_FILENO;
static bool to_syslog;
static _Atomic int level_now = LOG_LEVEL_INFO;
static const char *masks[MASKS_MAX];

int log_open(const char *where)
{
	int new_fd = -1;

	if (where && strcmp(where, "-") != 0 && strcmp(where, "syslog") != 0 && strcmp(where, "journal") != 0) {
		new_fd = open(where, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
		if (new_fd < 0)
			return -errno;
	}
	pthread_mutex_lock(&lock);
	if (fd > STDERR_FILENO)
		close(fd);
	to_syslog = where && new_fd < 0 && strcmp(where, "-") != 0;
	fd = new_fd >= 0 ? new_fd : STDERR_FILENO;
	if (to_syslog)
		openlog("scifs", LOG_PID | LOG_CONS, LOG_DAEMON);
	pthread_mutex_unlock(&lock);
	return 0;
}

void log_set_level(enum log_level level)
{
	atomic_store(&level_now, (int)level);
}

int log_parse_level(const char *name, enum log_level *ret)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};

	for (int i = 0; i < 4; i++)
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	return -EINVAL;
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&level_now, memory_order_relaxed);
}

/* A line cut short may end in the first part of a secret. */
static void blot_cut(char *line, size_t n)
{
	for (int i = 0; i < MASKS_MAX; i++) {
		size_t k = masks[i] ? strlen(masks[i]) : 0;

		for (k = k < n ? k : n; k >= MASK_MIN; k--)
			if (memcmp(line + n - k, masks[i], k) == 0) {
				memcpy(line + n - k, "***", 4);
				return;
			}
	}
}

static void blot(char *line)
{
	for (int i = 0; i < MASKS_MAX; i++) {
		char *at;
		size_t n;

		if (!masks[i])
			continue;
		n = strlen(masks[i]);
		while ((at = strstr(line, masks[i]))) {
			memcpy(at, "***", 3);
			memmove(at + 3, at + n, strlen(at + n) + 1);
		}
	}
}

/* `raw` without control characters, at line[n] and on; returns the new end, where a NUL stands, below `room`. */
static size_t escape(const char *raw, char *line, size_t n, size_t room)
{
	size_t left = strlen(raw);

	while (left && n + 5 < room) {
		size_t l = str_plain_char(raw, left);

		if (l) {
			memcpy(line + n, raw, l);
			n += l;
		} else {
			l = 1;
			n += (size_t)snprintf(line + n, 5, "\\x%02x", (unsigned char)*raw);
		}
		raw += l;
		left -= l;
	}
	line[n] = 0;
	return n;
}

void log_line(enum log_level level, const char *format, ...)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	char raw[LINE_MAX_BYTES], line[LINE_MAX_BYTES + CLOCK_ISO_MAX + 16], when[CLOCK_ISO_MAX];
	int errno_before = errno, made;
	va_list ap;
	size_t n, head;

	if (!log_enabled(level))
		return;
	va_start(ap, format);
	made = vsnprintf(raw, sizeof(raw), format, ap);
	va_end(ap);
	if (made < 0)
		return;
	clock_format_iso(clock_wall(), when);
	head = (size_t)snprintf(line, sizeof(line), "%s %s: ", when, names[level]);
	pthread_mutex_lock(&lock);
	if ((size_t)made >= sizeof(raw))
		blot_cut(raw, sizeof(raw) - 1);
	blot(raw);
	n = escape(raw, line, head, sizeof(line) - 1);
	if (to_syslog) {
		syslog(priorities[level], "%s", line + head);
	} else {
		ssize_t r;

		line[n++] = '\n';
		r = write(fd, line, n);
		(void)r;        /* there is nowhere to tell that the log cannot be written */
	}
	pthread_mutex_unlock(&lock);
	errno = errno_before;
}

void log_mask(const char *text)
{
	if (strlen(text) < MASK_MIN)
		return;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MASKS_MAX; i++)
		if (!masks[i]) {
			masks[i] = text;
			break;
		}
	pthread_mutex_unlock(&lock);
}

void log_unmask(const char *text)
{
	pthread_mutex_lock(&lock);
	for (int i = 0; i < MASKS_MAX; i++)
		if (masks[i] == text)
			masks[i] = NULL;
	pthread_mutex_unlock(&lock);
}
