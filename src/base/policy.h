/* policy.h - what a request costs on a server: data that a backend states, that cache and fs obey.
 *
 * Pure data. The costs of one request differ by a factor of a thousand between servers, and nobody above the
 * backends may ask which server it is: they read these fields. A user's option overwrites a field when the
 * session is opened.
 */
#ifndef SCIFS_BASE_POLICY_H
#define SCIFS_BASE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

struct policy {
	uint32_t fetch_min;       /* bytes: the smallest fetch that is worth a request */
	uint32_t fetch_long;      /* bytes: one request of a steady reader; 0: to the end of the object */
	uint64_t whole_below;     /* bytes: an object of this size or less is fetched whole */
	unsigned streams_file;    /* requests under way for one object, at most */
	unsigned streams_host;    /* connections to one host, at most */
	bool pause_safe;          /* a download may stand still while nobody reads */
	bool range_dear;          /* a range costs the server as much as the whole object */
	unsigned stat_parallel;   /* stat() calls that may be under way at once, for what a listing left open */
	unsigned attr_ttl_ms;     /* how long an object's attributes are believed */
	unsigned list_ttl_ms;     /* how long a listing is believed */
	unsigned timeout_ms;      /* one metadata request, repeats included */
	unsigned slow_ms;         /* silence allowed to a server that works on a request it has received whole */
};

#endif
