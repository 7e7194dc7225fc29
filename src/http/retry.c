/* retry.c - decider: what one attempt came to gives a delay, or an end.
 *
 * Faults of the way (no connection, silence, a body cut short, 502, 504) are repeated with doubling, jittered delays while
 * the deadline allows, if the request may be sent twice or cannot have reached the server. 429 and 503 are obeyed: the host
 * rests as long as it says, and a time it named does not count. A request that may have been carried out and may not be repeated
 * ends in doubt. Everything else is an answer.
 */
#include <errno.h>

#include "http/private.h"

#define RETRY_DELAY_MAX_MS 8000
#define FIRST_CONTACTS 3

static uint64_t doubled(uint64_t first, unsigned times, uint64_t max)
{
	while (times-- && first < max)
		first *= 2;
	return first < max ? first : max;
}

struct retry_out retry_decide(const struct retry_in *in, const struct http_config *c)
{
	struct retry_out out = {0};
	bool throttled = in->status == 429 || in->status == 503;

	if (throttled) {
		bool stated = in->retry_after_ms > 0;
		uint64_t delay = stated ? (uint64_t)in->retry_after_ms : doubled(c->throttle_ms, in->throttles, c->throttle_max_ms);

		/* "At once", as some say each time: then as after any other fault. */
		if (in->retry_after_ms == 0)
			delay = doubled(c->retry_ms, in->throttles, RETRY_DELAY_MAX_MS);
		if (delay > c->throttle_max_ms)
			return out;
		/* Not before the time that the host named; a little after it, not all at once. */
		delay += delay * in->random / 8192;
		/* A host may not keep us for ever by naming a short time again and again. */
		out.excused = stated && in->excused_ms + delay <= c->throttle_max_ms + c->throttle_max_ms / 8;
		if (!out.excused && delay >= in->left_ms)
			return out;
		out.again = true;
		out.throttle = true;
		out.delay_ms = delay;
		return out;
	}
	if (!in->retryable && in->status != 502 && in->status != 504 && in->status != 408)
		return out;
	if (!in->idempotent && in->sent) {
		out.in_doubt = true;
		return out;
	}
	if (in->first_contact && !in->status && in->attempt >= FIRST_CONTACTS)
		return out;
	out.delay_ms = doubled(c->retry_ms, in->attempt - 1, RETRY_DELAY_MAX_MS);
	out.delay_ms = out.delay_ms / 2 + out.delay_ms * in->random / 1024;
	out.again = out.delay_ms < in->left_ms;
	return out;
}
