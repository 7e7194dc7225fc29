/* girder.h - the Girder backend, for the table in backend.c. */
#ifndef SCIFS_BACKEND_GIRDER_GIRDER_H
#define SCIFS_BACKEND_GIRDER_GIRDER_H

#include "backend/backend.h"

extern const struct backend backend_girder;

#endif
