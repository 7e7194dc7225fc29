/* waiting.h - somebody waits for a mount: what is left is shown, and Ctrl-C ends the waiting, not what is waited for. */
#ifndef SCIFS_CLI_WAITING_H
#define SCIFS_CLI_WAITING_H

#include <stdbool.h>

/* From here to waiting_end() SIGINT, SIGTERM and SIGHUP are noted only. */
void waiting_begin(void);
bool waiting_stopped(void);
/* A line on standard error: on a terminal each second, in the place of the one before; else every ten seconds. In between it is
 * nothing. */
void waiting_show(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Takes the line away. What was noted stays known to waiting_stopped(). */
void waiting_end(void);

#endif
