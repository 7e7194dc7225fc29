/* outcome.c - the deciders of an upload that ended: is it there, was it refused, or is it tried again, and when? Pure. */
#include "spool/private.h"

enum outcome outcome_of(int r)
{
	if (r >= 0)
		return OUTCOME_LANDED;
	switch (-r) {
	case ESTALE: case EEXIST:
		return OUTCOME_CONFLICT;
	case EACCES: case EPERM: case EROFS:                            /* no right */
	case EINVAL: case ENAMETOOLONG: case EISDIR: case ENOTDIR:      /* no such thing can be there */
	case ELOOP: case EXDEV: case EMLINK: case ENOTEMPTY:
	case EDQUOT: case ENOSPC: case EFBIG: case E2BIG:               /* too much */
	case ENOENT:                                                    /* where it was to go is gone */
	case ENOTSUP: case ENOSYS:
		return OUTCOME_REFUSED;
	default:
		return OUTCOME_AGAIN;
	}
}

bool outcome_is_silence(int r)
{
	switch (-r) {
	case EHOSTDOWN: case EHOSTUNREACH: case ENETUNREACH: case ENETDOWN: case ECONNREFUSED:
		return true;
	default:
		return false;
	}
}

unsigned outcome_delay(unsigned failures, unsigned first_ms, unsigned max_ms, uint32_t chance)
{
	uint64_t ms = first_ms ? first_ms : 1;

	for (unsigned i = 1; i < failures && ms < max_ms; i++)
		ms *= 2;
	if (ms > max_ms)
		ms = max_ms;
	ms = ms - ms / 4 + ms / 2 * chance / UINT32_MAX;
	return ms > max_ms ? max_ms : ms ? (unsigned)ms : 1;
}
