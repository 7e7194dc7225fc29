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
	uint32_t fetch_align;     /* bytes: requests for a part begin and end at multiples of it, random ones too; 0: anywhere */
	uint32_t fetch_long;      /* bytes: one request of a steady reader; 0: to the end of the object */
	uint64_t whole_below;     /* bytes: an object of this size or less is fetched whole */
	unsigned streams_file;    /* requests under way for one object, at most */
	unsigned streams_host;    /* connections to one host, at most */
	bool pause_safe;          /* a download may stand still while nobody reads */
	bool range_dear;          /* a range costs the server as much as the whole object */
	unsigned batch_files;     /* small contents that are worth asking for together (backend read_many); 0: none */
	uint32_t batch_bytes;     /* and how many bytes of them */
	unsigned stat_parallel;   /* stat() calls that may be under way at once, for what a listing left open */
	unsigned attr_ttl_ms;     /* how long an object's attributes are believed */
	unsigned list_ttl_ms;     /* how long a listing is believed */
	unsigned hits_max;        /* things that a search shows, at most; 0: 200 */
	unsigned timeout_ms;      /* one metadata request, repeats included */
	uint64_t upload_chunk;    /* bytes of one request of an upload; a backend holds it within its server's rules */
	unsigned upload_parallel; /* uploads under way at once, at most */
	unsigned upload_batch;    /* small uploads of one lane that go together, at most; 0, 1: each alone */
	uint64_t upload_batch_bytes;    /* and what they may have in all */
	unsigned remove_defer_ms; /* a file that is removed waits so long for others, which go by the same request; 0: it goes at once */
	unsigned slow_ms;         /* silence allowed to a server that works on a request it has received whole; 0: as any other */
};

#endif
