/* reduct.h - the ReductStore backend, for the table in backend.c. */
#ifndef SCIFS_BACKEND_REDUCT_REDUCT_H
#define SCIFS_BACKEND_REDUCT_REDUCT_H

#include "backend/backend.h"

extern const struct backend backend_reduct;

#endif
