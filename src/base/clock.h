/* clock.h - monotonic and wall time. Tests may turn the hands. Any thread. */
#ifndef SCIFS_BASE_CLOCK_H
#define SCIFS_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

uint64_t clock_mono_ms(void);   /* never 0 */
uint64_t clock_mono_ns(void);
struct timespec clock_wall(void);
/* That long from now, for pthread_cond_timedwait() on a thread_cond_init() condition: the real hands, which tests do not turn. */
struct timespec clock_until(uint64_t ms);
/* Add this to what all three say from now on. For tests. */
void clock_turn(int64_t ms);

/* "2026-11-24T13:00:00.123456+00:00": fraction and zone optional (none: UTC; a space may stand for T). -EINVAL. */
int clock_parse_iso(const char *text, struct timespec *ret);
#define CLOCK_ISO_MAX 40
/* "2026-11-24T13:00:00.123Z" */
void clock_format_iso(struct timespec t, char ret[CLOCK_ISO_MAX]);

#endif
