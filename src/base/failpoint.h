/* failpoint.h - places at which a crash test may have the process killed. Nothing at all without -Dfailpoints=true.
 *
 * SCIFS_FAILPOINT=NAME in the environment of the process kills it (SIGKILL, as kill -9 would) when it comes to that place;
 * NAME:N at the N-th time.
 */
#ifndef SCIFS_BASE_FAILPOINT_H
#define SCIFS_BASE_FAILPOINT_H

#ifdef SCIFS_FAILPOINTS
void failpoint(const char *name);
#define FAILPOINT(name) failpoint(name)
#else
#define FAILPOINT(name) ((void)0)
#endif

#endif
