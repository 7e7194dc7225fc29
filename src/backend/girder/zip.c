/* zip.c - one file out of a zip as Girder streams it: stored, sizes behind the data. Pure.
 *
 *     local header   PK\3\4 .. 26 bytes: flags at 6, method at 8, name length at 26, extra length at 28; name; extra
 *     data           as many bytes as the file's document says: the header does not know
 *     descriptor     PK\7\8 crc size size, 4 bytes each; the sizes 8 bytes for large ones
 *     ... the next local header; at the end the directory, PK\1\2
 *
 * states: HEADER -> NAME -> EXTRA -> DATA -> DESCRIPTOR -> HEADER ... until the wanted file has ended (DONE).
 */
#include <errno.h>
#include <string.h>

#include "backend/girder/zip.h"

#define HEADER 30
#define DESCRIPTOR 16
#define DESCRIPTOR_LONG 24

enum { AT_HEADER, AT_NAME, AT_EXTRA, AT_DATA, AT_DESCRIPTOR, AT_END };

static unsigned u16(const unsigned char *p)
{
	return p[0] | (unsigned)p[1] << 8;
}

static uint32_t u32(const unsigned char *p)
{
	return u16(p) | (uint32_t)u16(p + 2) << 16;
}

static uint64_t u64(const unsigned char *p)
{
	return u32(p) | (uint64_t)u32(p + 4) << 32;
}

static uint32_t crc_add(uint32_t crc, const unsigned char *p, size_t n)
{
	static const uint32_t nibble[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};

	for (crc = ~crc; n--; p++) {
		crc = nibble[(crc ^ *p) & 15] ^ crc >> 4;
		crc = nibble[(crc ^ *p >> 4) & 15] ^ crc >> 4;
	}
	return ~crc;
}

static int fault(struct zip *z, int err, const char *words)
{
	z->error = words;
	return err;
}

/* Bytes that must be together before they can be read. 1: they are. */
static int gather(struct zip *z, const unsigned char **p, size_t *n, size_t want)
{
	size_t take = want - z->have < *n ? want - z->have : *n;

	memcpy(z->part + z->have, *p, take);
	z->have += take;
	*p += take;
	*n -= take;
	return z->have == want;
}

static int read_header(struct zip *z)
{
	const unsigned char *h = z->part;

	if (memcmp(h, "PK\1\2", 4) == 0 || memcmp(h, "PK\5\6", 4) == 0)
		return fault(z, -ENOENT, "the zip does not hold the file");
	if (memcmp(h, "PK\3\4", 4) != 0)
		return fault(z, -EBADMSG, "the answer is no zip");
	if (u16(h + 8) != 0 || u16(h + 6) & 1)
		return fault(z, -EBADMSG, "the zip is compressed or encrypted");
	z->name_n = u16(h + 26);
	z->extra_n = u16(h + 28);
	z->described = u16(h + 6) & 8;
	z->told = z->described ? UINT64_MAX : u32(h + 22);
	return 0;
}

static int read_name(struct zip *z)
{
	int r = z->pick(z->arg, (const char *)z->part, z->name_n, &z->size);

	if (r < 0)
		return fault(z, r, "the zip holds what its item does not");
	if (z->told != UINT64_MAX && z->told != z->size)
		return fault(z, -ESTALE, "the file in the zip has another size");
	z->wanted = r == 1;
	z->left = z->size;
	z->crc = 0;
	return 0;
}

static int read_descriptor(struct zip *z, bool is_long)
{
	const unsigned char *d = z->part;
	uint64_t stored = is_long ? u64(d + 8) : u32(d + 8), size = is_long ? u64(d + 16) : u32(d + 12);

	if (memcmp(d, "PK\7\10", 4) != 0 || stored != z->size || size != z->size)
		return fault(z, -ESTALE, "the file in the zip has another size");
	if (z->wanted && u32(d + 4) != z->crc)
		return fault(z, -EIO, "the bytes in the zip do not match their checksum");
	return 0;
}

/* The short form cannot say a size of 4 GiB or more, and Girder writes the long one from 2 GiB on. */
static bool needs_long(const struct zip *z)
{
	return z->size > UINT32_MAX || u32(z->part + 8) != z->size || u32(z->part + 12) != z->size;
}

static void next(struct zip *z, int state)
{
	z->state = state;
	z->have = 0;
}

int zip_feed(struct zip *z, const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t n = len, take;
	int r = 0;

	while (r == 0 && z->state != AT_END) {
		switch (z->state) {
		case AT_HEADER:
			if (!gather(z, &p, &n, HEADER))
				return 0;
			r = read_header(z);
			next(z, AT_NAME);
			break;
		case AT_NAME:
			if (!gather(z, &p, &n, z->name_n))
				return 0;
			r = read_name(z);
			next(z, AT_EXTRA);
			break;
		case AT_EXTRA:
			take = z->extra_n < n ? z->extra_n : n;
			p += take;
			n -= take;
			z->extra_n -= (unsigned)take;
			if (z->extra_n)
				return 0;
			next(z, AT_DATA);
			break;
		case AT_DATA:
			take = z->left < n ? (size_t)z->left : n;
			if (z->wanted && take) {
				z->crc = crc_add(z->crc, p, take);
				r = z->give(z->arg, p, take);
			}
			p += take;
			n -= take;
			z->left -= take;
			if (r == 0 && z->left)
				return 0;
			next(z, z->described ? AT_DESCRIPTOR : z->wanted ? AT_END : AT_HEADER);
			break;
		case AT_DESCRIPTOR:
			if (z->have < DESCRIPTOR && !gather(z, &p, &n, DESCRIPTOR))
				return 0;
			if (needs_long(z) && !gather(z, &p, &n, DESCRIPTOR_LONG))
				return 0;
			r = read_descriptor(z, needs_long(z));
			next(z, z->wanted ? AT_END : AT_HEADER);
			break;
		}
	}
	return r < 0 ? r : z->state == AT_END;
}
