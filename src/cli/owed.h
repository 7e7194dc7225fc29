/* owed.h - what a mount says that it owes, read from its control files and moved by its verbs, as any user could: no private
 * protocol. Nothing here waits longer than it says, whatever has become of the mount's process.
 */
#ifndef SCIFS_CLI_OWED_H
#define SCIFS_CLI_OWED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/vec.h"

#define OWED_ANSWER_MS 5000     /* a mount that lives answers at once, on the most loaded machine within this */

struct json;

/* A control file of the mount's root, parsed; json_free() it. -ETIMEDOUT: it does not answer. -EINTR: a signal came, see waiting.h.
 * Others: it cannot be read. `dir` is the mount point. */
int owed_ask(const char *dir, const char *name, struct json **ret);

/* .scifs/status.json */
struct owed {
	uint64_t pid;
	uint64_t files, bytes;          /* all that is not at the server, what follows included */
	uint64_t refused;               /* what waits for the user's word */
	uint64_t held;                  /* what has the name of a half-finished file */
	uint64_t room;                  /* for what may still be written */
};
int owed_status(const char *dir, struct owed *ret);
/* The member `uploads` of a status; a mount that is read only has none. */
void owed_read(const struct json *status, struct owed *ret);

/* A row of .scifs/uploads.json. */
struct owed_upload {
	uint64_t id, size, sent;
	char *path;                     /* from the mount's root, "/a/b"; where that is not known, the name alone */
	char *state, *error;            /* error: the server's words, or NULL */
	bool removal;                   /* no upload: it is to be removed there */
	bool refused;                   /* it waits for the user's word */
};
struct owed_list {
	VEC(struct owed_upload) rows;
	uint64_t bytes;                 /* of them together, not sent */
	uint64_t refused;
};
/* Those below this path of the mount ("/a/b", "" for all), and those of which the mount does not know where they are yet. Errors as
 * owed_ask(). */
int owed_list(const char *dir, const char *below, struct owed_list *ret);
void owed_list_done(struct owed_list *l);

/* Say a verb to .scifs/action and wait for its end, ms at most: its error, or those of owed_ask(). */
int owed_say(const char *dir, const char *verb, unsigned ms);
/* One line on standard error for each, the first ones only. Of all, or of those that wait for the user's word. */
void owed_name(const char *dir, const struct owed_list *l, bool refused_only);
/* "3 files (1.5 GiB)" */
#define OWED_COUNT_MAX 64
const char *owed_count(uint64_t files, uint64_t bytes, char ret[OWED_COUNT_MAX]);

#endif
