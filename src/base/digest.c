/* digest.c - xxh3 and the checksums that servers use, as one kind of stream. */
#include "base/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

struct digest {
	EVP_MD_CTX *evp;
	XXH3_state_t *xxh;
};

uint64_t digest_xxh3_64(const void *data, size_t n)
{
	return XXH3_64bits(data, n);
}

uint64_t digest_hash64(const char *const parts[])
{
	uint64_t h = 0x7363696673ull;   /* any constant, but this one for ever */

	for (size_t i = 0; parts[i]; i++)
		h = XXH3_64bits_withSeed(parts[i], strlen(parts[i]), h + i);
	return h;
}

int digest_new(const char *name, struct digest **ret)
{
	struct digest *d = calloc(1, sizeof(*d));
	const EVP_MD *md;

	if (!d)
		return -ENOMEM;
	if (strcasecmp(name, "xxh3") == 0) {
		d->xxh = XXH3_createState();
		if (!d->xxh || XXH3_64bits_reset(d->xxh) != XXH_OK) {
			digest_free(d);
			return -ENOMEM;
		}
		*ret = d;
		return 0;
	}
	md = strcasecmp(name, "md5") == 0 ? EVP_md5() : strcasecmp(name, "sha256") == 0 ? EVP_sha256()
	   : strcasecmp(name, "sha512") == 0 ? EVP_sha512() : NULL;
	if (!md) {
		digest_free(d);
		return -EINVAL;
	}
	d->evp = EVP_MD_CTX_new();
	if (!d->evp || EVP_DigestInit_ex(d->evp, md, NULL) != 1) {
		int r = d->evp ? -ENOTSUP : -ENOMEM;

		digest_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

int digest_add(struct digest *d, const void *data, size_t n)
{
	if (d->xxh)
		return XXH3_64bits_update(d->xxh, data, n) == XXH_OK ? 0 : -EIO;
	return EVP_DigestUpdate(d->evp, data, n) == 1 ? 0 : -EIO;
}

int digest_hex(struct digest *d, char ret[DIGEST_HEX_MAX])
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (d->xxh) {
		snprintf(ret, DIGEST_HEX_MAX, "%016llx", (unsigned long long)XXH3_64bits_digest(d->xxh));
		return 0;
	}
	if (EVP_DigestFinal_ex(d->evp, raw, &n) != 1 || 2 * n + 1 > DIGEST_HEX_MAX)
		return -EIO;
	for (unsigned i = 0; i < n; i++)
		snprintf(ret + 2 * i, 3, "%02x", raw[i]);
	return 0;
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->evp);
	XXH3_freeState(d->xxh);
	free(d);
}
