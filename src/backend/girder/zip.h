/* zip.h - one file out of a zip as Girder streams it. */
#ifndef SCIFS_BACKEND_GIRDER_ZIP_H
#define SCIFS_BACKEND_GIRDER_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZIP_NAME_MAX 65535

struct zip {
	/* Set by the owner, the rest zeroed. A file in the zip: 1 it is the wanted one, 0 another, -errno unknown; *ret_size: its
	 * bytes, since the zip tells them too late. */
	int (*pick)(void *arg, const char *name, size_t n, uint64_t *ret_size);
	int (*give)(void *arg, const void *data, size_t n);     /* bytes of the wanted one, in order; -errno ends it */
	void *arg;
	const char *error;              /* why zip_feed() failed, a static string */
	/* private */
	int state;
	size_t have;
	unsigned name_n, extra_n;
	bool described, wanted;
	uint64_t size, left, told;
	uint32_t crc;
	unsigned char part[ZIP_NAME_MAX];
};

/* The next bytes. 1: the wanted file has come whole and its checksum holds; 0: more; -EBADMSG no such zip, -ENOENT it is not in
 * it, -ESTALE another size, -EIO other bytes, or what pick and give returned. */
int zip_feed(struct zip *z, const void *data, size_t n);

#endif
