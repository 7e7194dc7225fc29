/* private.h - what the files of conf share. */
#ifndef SCIFS_CONF_PRIVATE_H
#define SCIFS_CONF_PRIVATE_H

#include "base/map.h"
#include "conf/conf.h"

struct conf {
	struct map *values;     /* option -> its text, malloc'ed */
	struct map *from;       /* option -> enum conf_from + 1 */
};

bool conf_is_secret(const char *name);

#endif
