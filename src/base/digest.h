/* digest.h - the only door to xxhash and to OpenSSL's checksums. */
#ifndef SCIFS_BASE_DIGEST_H
#define SCIFS_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

uint64_t digest_xxh3_64(const void *data, size_t n);
/* One number for a NULL-terminated list of strings (their borders count): inode numbers. Never changes between releases. */
uint64_t digest_hash64(const char *const parts[]);

struct digest;
/* "xxh3", "md5", "sha256", "sha512", names without regard to case. -EINVAL: another name.
 * -ENOTSUP: this machine's OpenSSL refuses it (md5 where FIPS is in force). -ENOMEM. */
int digest_new(const char *name, struct digest **ret);
int digest_add(struct digest *d, const void *data, size_t n);
#define DIGEST_HEX_MAX 129
/* Lower case hexadecimal with a final NUL. Ends the stream. */
int digest_hex(struct digest *d, char ret[DIGEST_HEX_MAX]);
void digest_free(struct digest *d);     /* NULL is fine */
DEFINE_CLEANUP(struct digest *, digest_free)

#endif
