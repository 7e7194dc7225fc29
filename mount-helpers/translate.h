/* translate.h - mount(8)'s words to those of scifs mount. Pure. */
#ifndef SCIFS_MOUNT_HELPERS_TRANSLATE_H
#define SCIFS_MOUNT_HELPERS_TRANSLATE_H

#include <stdbool.h>

/* What mount(8) expects of a helper. */
enum helper_status { HELPER_DONE = 0, HELPER_USAGE = 1, HELPER_SYSTEM = 2, HELPER_FAILED = 32 };

struct helper {
	const char *source, *dir;       /* borrowed from argv */
	char *options;                  /* for -o of scifs mount, malloc'ed; NULL: none are left */
	bool fake;                      /* -f: do all but the mount */
	bool verbose;                   /* -v */
};

void helper_done(struct helper *h);

/* mount.scifs SOURCE DIR [-sfnv] [-t TYPE] [-o LIST], in any order. -o may come more than once. -EINVAL with one line in
 * *why (static or borrowed from argv; *what is the word it speaks of, or NULL); -ENOMEM. */
int helper_translate(int argc, char **argv, struct helper *ret, const char **why, const char **what);

/* The exit status of scifs mount as mount(8) reads it. */
int helper_status(int scifs_status);

#endif
