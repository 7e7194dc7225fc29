/* json.h - the only door to cJSON: what comes from a server is hostile. Getters name the wrong field.
 *
 * A NUL escape (u0000) in a text becomes an underscore: C strings would end there. An escape of half a surrogate pair, which
 * is no character, becomes U+FFFD. Numbers are doubles: what must keep all its digits is read with json_raw_*(), which gives
 * the server's own bytes.
 */
#ifndef SCIFS_BASE_JSON_H
#define SCIFS_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"

struct json;    /* a value; those inside of another belong to it */

#define JSON_DEPTH_MAX 64
#define JSON_LENGTH_MAX (256u << 20)
#define JSON_VALUES_MAX (4u << 20)      /* each is some 100 bytes in memory, however short its text */

/* -EBADMSG (json_error() says what), -EMSGSIZE (more than JSON_LENGTH_MAX or JSON_VALUES_MAX), -ENOMEM. */
int json_parse(const char *text, size_t n, struct json **ret);
void json_free(struct json *j);         /* of the outermost value only; NULL is fine */
DEFINE_CLEANUP(struct json *, json_free)
/* What was wrong with the last value that this thread refused: "field size: not a number". */
const char *json_error(void);

bool json_is_object(const struct json *j);      /* NULL is none of these */
bool json_is_array(const struct json *j);
bool json_is_string(const struct json *j);
bool json_is_null(const struct json *j);
const char *json_text(const struct json *j);    /* of a string; else NULL */
const struct json *json_get(const struct json *object, const char *key);        /* NULL: absent, or not an object */
const struct json *json_first(const struct json *j);    /* of an array or an object; NULL: empty */
const struct json *json_next(const struct json *j);
const char *json_key(const struct json *j);             /* of an object's member */

/* Members: -EBADMSG when absent or of another type. The strings are borrowed from the value. */
int json_str(const struct json *object, const char *key, const char **ret);
int json_u64(const struct json *object, const char *key, uint64_t *ret);        /* whole, 0 .. 2^63 */
/* Absent or null: 0 and *ret untouched. Another type: -EBADMSG. */
int json_str_opt(const struct json *object, const char *key, const char **ret);
int json_u64_opt(const struct json *object, const char *key, uint64_t *ret);
int json_i64_opt(const struct json *object, const char *key, int64_t *ret);
int json_bool_opt(const struct json *object, const char *key, bool *ret);
int json_time_opt(const struct json *object, const char *key, struct timespec *ret);    /* ISO 8601 */

/* Write a string with its quotes; broken UTF-8 becomes U+FFFD. */
int json_write_str(struct buf *b, const char *s);
/* Print a value again (numbers as doubles): malloc'ed. */
int json_print(const struct json *j, char **ret);

/* Slices of a text, without a copy; within a value, what json_parse() refuses may pass. The value of a member of the outermost object (-ENOENT), and the members or
 * elements of the outermost object or array one after the other: *pos begins at 0; 1 while there is one, 0 at the end,
 * -EBADMSG. *key (may be NULL) is the raw text between the quotes, empty for an element. */
int json_raw_member(const char *text, size_t n, const char *key, const char **ret, size_t *ret_n);
int json_raw_next(const char *text, size_t n, size_t *pos, const char **ret_key, size_t *ret_key_n, const char **ret,
                  size_t *ret_n);
/* The text of a raw string (with or without its quotes): malloc'ed. -EBADMSG. */
int json_raw_text(const char *text, size_t n, char **ret);
/* May this be sent as JSON? 0; -EBADMSG: it is none, by the letter (json_parse() is kinder); -ERANGE: a number that no double or no
 * 64-bit integer holds, half a surrogate pair, a NUL in a name. */
int json_check(const char *text, size_t n);
/* Do two texts say the same, whatever the blanks and the order of members? Numbers are compared as they are written. 1, 0, -errno. */
int json_same(const char *a, size_t a_n, const char *b, size_t b_n);

#endif
