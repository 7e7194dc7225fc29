/* str.h - strings: make, split, escape, read sizes and durations. No locks; what is returned by `ret` is malloc'ed. */
#ifndef SCIFS_BASE_STR_H
#define SCIFS_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool str_eq(const char *a, const char *b);              /* two NULLs are equal */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* What stands before this end: true and a copy in *ret (what was there is freed), when s ends so and is more than that. */
bool str_stem(const char *s, const char *end, char **ret);
/* printf into a new string. -ENOMEM. */
int str_fmt(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
int str_vfmt(char **ret, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));
/* strdup that keeps NULL: -ENOMEM. */
int str_dup(const char *s, char **ret);
/* Cut blanks at both ends, in place; returns where it begins. */
char *str_trim(char *s);
/* Split at each `sep`: *ret is a NULL-terminated array, one block to free(). Empty pieces are kept. */
int str_split(const char *s, char sep, char ***ret);

/* %XX for every byte but letters, digits and "-._~" and those in `keep`. */
int str_percent_encode(const char *s, size_t n, const char *keep, char **ret);
/* -EINVAL: a bad escape, or %00. */
int str_percent_decode(const char *s, char **ret);

/* "10G", "64KiB", "1.5M", "123": powers of 1024. -EINVAL, -ERANGE. */
int str_parse_size(const char *s, uint64_t *ret);
/* "500ms", "5s", "10m", "2h", "1d", "5" (seconds), "0.5s": milliseconds. -EINVAL, -ERANGE. */
int str_parse_duration(const char *s, uint64_t *ret_ms);
int str_parse_u64(const char *s, uint64_t *ret);        /* decimal digits only */
int str_parse_bool(const char *s, bool *ret);           /* yes no true false on off 1 0 */
#define STR_SIZE_MAX 24
const char *str_format_size(uint64_t n, char ret[STR_SIZE_MAX]);        /* "1.5 MiB" */

/* How many single letters apart two words are (Levenshtein), for "did you mean"; UINT_MAX when one has 64 bytes or more. */
unsigned str_distance(const char *a, const char *b);

bool str_utf8_valid(const char *s, size_t n);
/* Length of the longest prefix of at most max bytes that ends at a character's border. */
size_t str_utf8_cut(const char *s, size_t max);
/* Length of the valid UTF-8 character at s (of n bytes), 0 when it is none. */
size_t str_utf8_char(const char *s, size_t n);
/* The same, but 0 for control characters as well. */
size_t str_plain_char(const char *s, size_t n);
/* A copy fit for a person's eyes: control characters and broken UTF-8 as \xXX, cut at about max bytes. NULL: no memory. */
char *str_printable(const char *s, size_t max);
/* The same in its place, 500 bytes at most; NULL stays NULL, and without memory the text stays as it is. */
void str_make_printable(char **io);

#endif
