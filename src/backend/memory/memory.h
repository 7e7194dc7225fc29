/* memory.h - the memory backend, for the table in backend.c. */
#ifndef SCIFS_BACKEND_MEMORY_MEMORY_H
#define SCIFS_BACKEND_MEMORY_MEMORY_H

#include "backend/backend.h"

extern const struct backend backend_memory;

#endif
