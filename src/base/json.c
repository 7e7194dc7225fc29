/* json.c - the only door to cJSON. struct json is cJSON's own item under another name. */
#include "base/json.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

static __thread char wrong[200];

static const cJSON *in(const struct json *j)
{
	return (const cJSON *)j;
}

static const struct json *out(const cJSON *c)
{
	return (const struct json *)c;
}

static int refuse(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(wrong, sizeof(wrong), format, ap);
	va_end(ap);
	return -EBADMSG;
}

const char *json_error(void)
{
	return wrong;
}

/* The number in the escape at s ("\\u" and four digits), n bytes long at most; -1: none stands there. */
static int escape_at(const char *s, size_t n)
{
	int v = 0;

	if (n < 6 || s[0] != '\\' || s[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		if (!isxdigit((unsigned char)s[i]))
			return -1;
		v = v * 16 + (isdigit((unsigned char)s[i]) ? s[i] - '0' : tolower((unsigned char)s[i]) - 'a' + 10);
	}
	return v;
}

/* Make the escape at s, which a backslash begins, one that cJSON can keep; returns how many bytes are settled, 0: it is none
 * (cJSON takes digits that are not hexadecimal for a zero, and would put a NUL into the text). */
static size_t mend_escape(char *s, size_t n)
{
	int v = escape_at(s, n), low;

	if (v < 0 && n > 1 && s[1] == 'u')
		return 0;
	if (v == 0)
		memcpy(s, "\\u005f", 6);
	if (v < 0xd800 || v > 0xdfff)
		return 2;
	low = v < 0xdc00 ? escape_at(s + 6, n - 6) : -1;
	if (low >= 0xdc00 && low <= 0xdfff)
		return 12;
	memcpy(s, "\\ufffd", 6);
	return 6;
}

/* One pass before cJSON sees the text: depth, count, NUL bytes, and the escapes to mend in the copy. */
static int clean(char *s, size_t n)
{
	size_t depth = 0, values = 0;
	bool quoted = false;

	if (memchr(s, 0, n))
		return refuse("a NUL byte");
	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (quoted) {
			if (c == '\\') {
				size_t settled = mend_escape(s + i, n - i);

				if (!settled)
					return refuse("a wrong escape at %zu", i);
				i += settled - 1;
			} else if (c == '"') {
				quoted = false;
			}
		} else if (c == '"') {
			quoted = true;
		} else if (c == ',' || c == '{' || c == '[') {
			if (++values > JSON_VALUES_MAX) {
				(void)refuse("more than %u values", JSON_VALUES_MAX);
				return -EMSGSIZE;
			}
			if (c == ',')
				continue;
			if (++depth > JSON_DEPTH_MAX)
				return refuse("nested deeper than %d", JSON_DEPTH_MAX);
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return 0;
}

int json_parse(const char *text, size_t n, struct json **ret)
{
	_cleanup_free_ char *copy = NULL;
	const char *end = NULL;
	cJSON *c;
	int r;

	if (n > JSON_LENGTH_MAX)
		return -EMSGSIZE;
	copy = malloc(n + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, n);
	copy[n] = 0;
	r = clean(copy, n);
	if (r < 0)
		return r;
	if (!str_utf8_valid(copy, n))
		return refuse("not UTF-8");
	c = cJSON_ParseWithLengthOpts(copy, n + 1, &end, 0);
	if (!c)
		return refuse("not JSON%s", n && copy[0] == '<' ? ", but a page of HTML" : "");
	for (; end < copy + n; end++)
		if ((unsigned char)*end > ' ') {
			cJSON_Delete(c);
			return refuse("something follows the JSON value");
		}
	*ret = (struct json *)c;
	return 0;
}

void json_free(struct json *j)
{
	cJSON_Delete((cJSON *)j);
}

bool json_is_object(const struct json *j)
{
	return cJSON_IsObject(in(j));
}

bool json_is_array(const struct json *j)
{
	return cJSON_IsArray(in(j));
}

bool json_is_string(const struct json *j)
{
	return cJSON_IsString(in(j));
}

bool json_is_null(const struct json *j)
{
	return cJSON_IsNull(in(j));
}

const char *json_text(const struct json *j)
{
	return cJSON_IsString(in(j)) ? in(j)->valuestring : NULL;
}

const struct json *json_get(const struct json *object, const char *key)
{
	return cJSON_IsObject(in(object)) ? out(cJSON_GetObjectItemCaseSensitive(in(object), key)) : NULL;
}

const struct json *json_first(const struct json *j)
{
	return j ? out(in(j)->child) : NULL;
}

const struct json *json_next(const struct json *j)
{
	return out(in(j)->next);
}

const char *json_key(const struct json *j)
{
	return in(j)->string ? in(j)->string : "";
}

static const cJSON *present(const struct json *object, const char *key)
{
	const cJSON *c = in(json_get(object, key));

	return !c || cJSON_IsNull(c) ? NULL : c;
}

static int whole(const cJSON *c, const char *key, double low, double *ret)
{
	double v = c->valuedouble;

	if (!cJSON_IsNumber(c))
		return refuse("field %s: not a number", key);
	if (!isfinite(v) || v != floor(v) || v < low || v > 9223372036854774784.0)
		return refuse("field %s: %g is no whole number that can be", key, v);
	*ret = v;
	return 0;
}

int json_str_opt(const struct json *object, const char *key, const char **ret)
{
	const cJSON *c = present(object, key);

	if (!c)
		return 0;
	if (!cJSON_IsString(c))
		return refuse("field %s: not a string", key);
	*ret = c->valuestring;
	return 0;
}

int json_str(const struct json *object, const char *key, const char **ret)
{
	if (!present(object, key))
		return refuse("field %s: absent", key);
	return json_str_opt(object, key, ret);
}

int json_u64_opt(const struct json *object, const char *key, uint64_t *ret)
{
	const cJSON *c = present(object, key);
	double v;

	if (!c)
		return 0;
	if (whole(c, key, 0, &v) < 0)
		return -EBADMSG;
	*ret = (uint64_t)v;
	return 0;
}

int json_u64(const struct json *object, const char *key, uint64_t *ret)
{
	if (!present(object, key))
		return refuse("field %s: absent", key);
	return json_u64_opt(object, key, ret);
}

int json_i64_opt(const struct json *object, const char *key, int64_t *ret)
{
	const cJSON *c = present(object, key);
	double v;

	if (!c)
		return 0;
	if (whole(c, key, -9223372036854774784.0, &v) < 0)
		return -EBADMSG;
	*ret = (int64_t)v;
	return 0;
}

int json_bool_opt(const struct json *object, const char *key, bool *ret)
{
	const cJSON *c = present(object, key);

	if (!c)
		return 0;
	if (!cJSON_IsBool(c))
		return refuse("field %s: neither true nor false", key);
	*ret = cJSON_IsTrue(c);
	return 0;
}

int json_time_opt(const struct json *object, const char *key, struct timespec *ret)
{
	const char *text = NULL;
	int r = json_str_opt(object, key, &text);

	if (r < 0 || !text)
		return r;
	return clock_parse_iso(text, ret) < 0 ? refuse("field %s: not a time", key) : 0;
}

int json_write_str(struct buf *b, const char *s)
{
	size_t n = strlen(s);
	int r = buf_addc(b, '"');

	while (n && r == 0) {
		size_t l = str_utf8_char(s, n);
		unsigned char c = (unsigned char)*s;

		if (!l) {
			r = buf_adds(b, "\xef\xbf\xbd");
			l = 1;
		} else if (c == '"' || c == '\\') {
			r = buf_addf(b, "\\%c", c);
		} else if (c == '\n') {
			r = buf_adds(b, "\\n");
		} else if (c < 32 || c == 127) {
			r = buf_addf(b, "\\u%04x", c);
		} else {
			r = buf_add(b, s, l);
		}
		s += l;
		n -= l;
	}
	return r ? r : buf_addc(b, '"');
}

int json_print(const struct json *j, char **ret)
{
	char *p = cJSON_PrintUnformatted(in(j));

	if (!p)
		return -ENOMEM;
	*ret = p;
	return 0;
}

/* ---- raw slices: a small scanner; every step checks the end ---- */

/* What cJSON takes for blanks, so that both doors agree: every control character, and a byte order mark in front. */
static size_t blanks(const char *t, size_t n, size_t i)
{
	if (i == 0 && n >= 3 && memcmp(t, "\xef\xbb\xbf", 3) == 0)
		i = 3;
	while (i < n && (unsigned char)t[i] <= ' ')
		i++;
	return i;
}

/* Behind the string that begins at i; 0: none ends there. */
static size_t skip_string(const char *t, size_t n, size_t i)
{
	if (i >= n || t[i] != '"')
		return 0;
	for (i++; i < n; i++) {
		if (t[i] == '\\')
			i++;
		else if (t[i] == '"')
			return i + 1;
	}
	return 0;
}

static size_t skip_value(const char *t, size_t n, size_t i)
{
	size_t depth = 0;

	if (i >= n)
		return 0;
	if (t[i] == '"')
		return skip_string(t, n, i);
	if (t[i] != '{' && t[i] != '[') {
		size_t from = i;

		while (i < n && (unsigned char)t[i] > ' ' && !strchr(",]}", t[i]))
			i++;
		return i == from ? 0 : i;
	}
	while (i < n) {
		if (t[i] == '"') {
			i = skip_string(t, n, i);
			if (!i)
				return 0;
			continue;
		}
		if (t[i] == '{' || t[i] == '[')
			depth++;
		else if ((t[i] == '}' || t[i] == ']') && --depth == 0)
			return i + 1;
		i++;
	}
	return 0;
}

int json_raw_next(const char *t, size_t n, size_t *pos, const char **ret_key, size_t *ret_key_n, const char **ret,
                  size_t *ret_n)
{
	size_t i = *pos, end;
	bool object, first = i == 0;

	if (first) {
		i = blanks(t, n, 0);
		if (i >= n || (t[i] != '{' && t[i] != '['))
			return refuse("neither an object nor an array");
		i++;
	}
	object = t[blanks(t, n, 0)] == '{';
	i = blanks(t, n, i);
	if (i < n && t[i] == (object ? '}' : ']'))
		return blanks(t, n, i + 1) == n ? 0 : refuse("something stands behind its end");
	if (i < n && !first && t[i] != ',')
		return refuse("two values without a comma");
	if (i < n && !first)
		i = blanks(t, n, i + 1);
	if (i >= n)
		return refuse("it ends too early");
	if (object) {
		end = skip_string(t, n, i);
		if (!end)
			return refuse("a member without a name");
		if (ret_key) {
			*ret_key = t + i + 1;
			*ret_key_n = end - i - 2;
		}
		i = blanks(t, n, end);
		if (i >= n || t[i] != ':')
			return refuse("a member without a value");
		i = blanks(t, n, i + 1);
	}
	end = skip_value(t, n, i);
	if (!end)
		return refuse("a value that does not end");
	*ret = t + i;
	*ret_n = end - i;
	*pos = end;
	return 1;
}

int json_raw_member(const char *text, size_t n, const char *key, const char **ret, size_t *ret_n)
{
	size_t pos = 0, key_n, value_n;
	const char *name, *value;
	int r;

	if (blanks(text, n, 0) >= n || text[blanks(text, n, 0)] != '{')
		return refuse("not an object");
	while ((r = json_raw_next(text, n, &pos, &name, &key_n, &value, &value_n)) == 1)
		if (key_n == strlen(key) && memcmp(name, key, key_n) == 0) {
			*ret = value;
			*ret_n = value_n;
			return 0;
		}
	return r < 0 ? r : -ENOENT;
}
