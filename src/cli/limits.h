/* limits.h - how much memory and disk a mount may have, and where, when the user does not say. */
#ifndef SCIFS_CLI_LIMITS_H
#define SCIFS_CLI_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* `given` if it is not 0 (at least 16 MiB), else 256 MiB or a quarter of the cgroup's limit. */
uint64_t limit_memory(uint64_t given);
/* The cache's folder (malloc'ed; NULL for "none"), its limit and what must stay free; 0 for what was not given. Makes the
 * folder, so that its disk can be measured; a folder that cannot be made is left to the cache to complain about. */
int limit_cache(const char *dir, uint64_t size, uint64_t free_min, char **ret_dir, uint64_t *ret_size, uint64_t *ret_free);
/* The folder for drafts and the journal, malloc'ed. It is made by who opens it. */
int limit_state(const char *dir, char **ret);
/* Does this folder, which exists, lie on a file system of the network? */
bool limit_is_remote(const char *dir);

#endif
