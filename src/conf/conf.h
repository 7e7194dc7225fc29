/* conf.h - what the user asked: options from the command line, the environment and files become the rooms' own structs. */
#ifndef SCIFS_CONF_CONF_H
#define SCIFS_CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/backend.h"
#include "base/buf.h"
#include "base/cleanup.h"

struct conf;

/* Where a value comes from; a higher one wins over a lower one. */
enum conf_from { CONF_SYSTEM, CONF_USER, CONF_ENVIRONMENT, CONF_COMMAND };

int conf_new(struct conf **ret);
void conf_free(struct conf *c);         /* wipes credentials; NULL is fine */
DEFINE_CLEANUP(struct conf *, conf_free)

/* The row of an option: the core's or any backend's. NULL: there is none. *ret_scheme (may be NULL): whose, NULL the core's. */
const struct option *conf_option(const char *name, const char **ret_scheme);
/* Rows one after the other, for --help and the manual: i from 0; NULL at the end. */
const struct option *conf_option_at(size_t i, const char **ret_scheme);

/* Set one option. `value` NULL: a switch given without one. -EINVAL with one line in *why: unknown name (the nearest one is
 * named), a value that cannot be, a secret where none belongs. `where` is named in it ("-o", "FILE:12"). A path is made
 * whole: from the current directory on a command line or in the environment, "~/" anywhere. A nearer source's value stays. */
int conf_set(struct conf *c, enum conf_from from, const char *where, const char *name, const char *value, char **why);
/* "a=b,c,d=e" of -o. A comma in a value is written as "\,". */
int conf_set_list(struct conf *c, enum conf_from from, const char *where, const char *list, char **why);
/* SCIFS_NAME of each option, but for secrets: see conf_credentials(). */
int conf_set_environment(struct conf *c, char **why);
/* The configuration file: [NAME] sections are profiles (with `source = URL`), others apply to sources that are or lie below
 * the section's name, which may leave the kind's prefix ("girder+") out; what stands before any section is for all, and no
 * secret may. A missing file is fine. *io_source is replaced (malloc'ed) when it names a profile. -EINVAL, -EACCES with one
 * line in *why, that begins with FILE:LINE where a line is at fault. */
int conf_read_file(struct conf *c, enum conf_from from, const char *path, char **io_source, char **why);

/* Values as set, else the option's default. */
const char *conf_string(const struct conf *c, const char *name);        /* NULL: none */
bool conf_bool(const struct conf *c, const char *name);
uint64_t conf_size(const struct conf *c, const char *name);             /* also of OPTION_UINT */
unsigned conf_ms(const struct conf *c, const char *name);
/* Was it set at all? */
bool conf_given(const struct conf *c, const char *name);
/* All options in force as a JSON object, without secrets. */
int conf_json(const struct conf *c, struct buf *ret);

/* Was it set there? */
bool conf_given_from(const struct conf *c, const char *name, enum conf_from from);

/* Who logs in at this origin: the environment (wiped there), else the file of -o credentials=, else the configuration; and
 * the headers of the latter two. Each may be NULL. What conf held of it is wiped. -EACCES with *why: a file that others may
 * read, or that cannot be read; -EINVAL: a line of it. */
struct credentials {
	struct secret *token, *api_key, *password;
	char *user;
	struct http_own_header headers[HTTP_OWN_HEADERS_MAX];
};
int conf_credentials(struct conf *c, const char *origin, struct credentials *ret, char **why);
void credentials_done(struct credentials *k);

#endif
