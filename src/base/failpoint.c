/* failpoint.c - die where a crash test says. */
#include "base/failpoint.h"

#ifdef SCIFS_FAILPOINTS
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char wanted[128];
static atomic_int left;

/* Before main(), since the environment may be wiped later. */
static __attribute__((constructor)) void read_wish(void)
{
	const char *text = getenv("SCIFS_FAILPOINT"), *colon = text ? strchr(text, ':') : NULL;
	size_t n = text ? (colon ? (size_t)(colon - text) : strlen(text)) : 0;

	if (!n || n >= sizeof(wanted))
		return;
	memcpy(wanted, text, n);
	atomic_store(&left, colon ? atoi(colon + 1) : 1);
}

void failpoint(const char *name)
{
	if (!wanted[0] || strcmp(name, wanted) != 0 || atomic_fetch_sub(&left, 1) != 1)
		return;
	(void)kill(getpid(), SIGKILL);
	for (;;)
		pause();
}
#endif
