/* mountpoint.h - what the kernel says is mounted where. */
#ifndef SCIFS_CLI_MOUNTPOINT_H
#define SCIFS_CLI_MOUNTPOINT_H

#include <stdbool.h>
#include <sys/types.h>

enum mounted { MOUNTED_NOTHING, MOUNTED_SCIFS, MOUNTED_OTHER };

/* What is mounted exactly there, on top of all else, and by whom? `dir` is absolute and without links. Asks the kernel's own
 * list, so a mount that answers nothing any more is no trap. */
enum mounted mountpoint_look(const char *dir, uid_t *ret_owner);
/* Is this file or directory in a scifs mount? -errno when it cannot be looked at; else 0 or 1. */
int mountpoint_holds(const char *path);
/* In which scifs mount is it? Its mount point, and the path from there on ("" or "/a/b"); both malloc'ed. An exit status; it has
 * complained then. */
int mountpoint_find(const char *path, char **ret_dir, char **ret_below);
/* Does this errno say that the process of a mount has died? */
bool mountpoint_is_dead(int err);
/* An absolute path without links, also of a mount that is dead: its folder is asked, not it. -errno. */
int mountpoint_path(const char *dir, char **ret);
/* Let go of a mount: as root by ourselves, else through fusermount3. `lazy`: also of a busy or dead one. -EBUSY; -ENOEXEC: no
 * fusermount3; -EPERM: it is somebody else's. */
int mountpoint_let_go(const char *dir, bool lazy);
/* May a mount be made here, for others too if `allow_other`? Detaches what a killed scifs left behind. *io_dir is made whole.
 * An exit status; it has complained then. */
int mountpoint_check(char **io_dir, bool allow_other);
/* Who keeps it busy: "12 (bash), 40 (less)", malloc'ed; NULL when nobody can be seen. Never looks into the mount. */
char *mountpoint_users(const char *dir);

#endif
