/* private.h - what the files of conf share. */
#ifndef SCIFS_CONF_PRIVATE_H
#define SCIFS_CONF_PRIVATE_H

#include "base/map.h"
#include "base/vec.h"
#include "conf/conf.h"

#define CONF_HEADERS_MAX HTTP_OWN_HEADERS_MAX

struct conf {
	struct map *values;     /* option -> its text, malloc'ed */
	struct map *from;       /* option -> enum conf_from + 1 */
	VEC(char *) headers;    /* "Name: value", nearest source first; at most CONF_HEADERS_MAX */
};

/* What belongs into files and the environment and nowhere on a command line. */
bool conf_is_secret(const char *name);

#endif
