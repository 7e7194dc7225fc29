/* log.h - one event a line. Any thread; errno is left alone. Control characters and broken UTF-8 in a message are escaped,
 * registered secrets become ***; what is longer than 4 KiB is cut. */
#ifndef SCIFS_BASE_LOG_H
#define SCIFS_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* NULL or "-": standard error (the state before any call); "syslog", "journal" (both: syslog(3)); else a file's path,
 * appended to, made 0600. -errno when it cannot be opened; the old place stays. */
int log_open(const char *where);
void log_set_level(enum log_level level);
int log_parse_level(const char *name, enum log_level *ret);     /* error warn info debug; -EINVAL */
bool log_enabled(enum log_level level);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) \
	do { \
		if (log_enabled(LOG_LEVEL_DEBUG)) \
			log_line(LOG_LEVEL_DEBUG, __VA_ARGS__); \
	} while (0)

/* Used by secret.c: this text never leaves in a line. The text is borrowed until log_unmask. At most 64 at once, and none
 * shorter than 6 bytes: those would blot out ordinary words. */
void log_mask(const char *text);
void log_unmask(const char *text);

#endif
