/* fuzz.h - what every fuzz target includes. A target is one function over bytes: libFuzzer calls it when it is built with clang
 * (tests/fuzz/run), replay.c calls it for the files of corpus/ in every build. What must hold is checked with must(). */
#ifndef SCIFS_TESTS_FUZZ_FUZZ_H
#define SCIFS_TESTS_FUZZ_FUZZ_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define must(condition)                                                                          \
	do {                                                                                     \
		if (!(condition)) {                                                              \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                 \
		}                                                                                \
	} while (0)

/* The bytes as a text; to be freed. A NUL in them ends it, as it would in scifs. */
static inline __attribute__((unused)) char *fuzz_text(const uint8_t *data, size_t n)
{
	char *s = malloc(n + 1);

	must(s);
	if (n)
		memcpy(s, data, n);
	s[n] = 0;
	return s;
}

#endif
