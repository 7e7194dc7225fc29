/* errand.h - a child process that does what may never return: who asks a mount whose process hangs, hangs with it. */
#ifndef SCIFS_CLI_ERRAND_H
#define SCIFS_CLI_ERRAND_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/buf.h"

#define ERRAND_MAX (256u << 20)         /* of what it brings home */

struct errand {
	pid_t pid;
	int fd;
	struct buf answer;
};

/* Run `go` in a child: its return value (0 or -errno) and what it puts into the buffer come home. The child shares no terminal
 * with us. -errno: there is no child. */
int errand_start(struct errand *e, int (*go)(const void *arg, struct buf *answer), const void *arg);
/* Wait for it, ms at most. 0: it is home: *ret is what `go` returned (-EIO: the child died), e->answer what it brought. -ETIMEDOUT: not
 * yet, wait again. -EINTR: a signal came. */
int errand_wait(struct errand *e, unsigned ms, int *ret);
/* Whatever it is at, it is ended, or left behind when the kernel does not let it go. False: it was left behind. */
bool errand_end(struct errand *e);

#endif
