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
#include "base/map.h"
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

/* Where offset `at` is, as an editor tells it. */
static int refuse_at(const char *what, const char *text, size_t at)
{
	size_t line = 1, column = 1;

	for (size_t i = 0; i < at; i++, column++)
		if (text[i] == '\n') {
			line++;
			column = 0;
		}
	return refuse("%s at line %zu, column %zu", what, line, column);
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
					return refuse_at("a wrong escape", s, i);
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
		return n && copy[0] == '<' ? refuse("not JSON, but a page of HTML") :
		       refuse_at("not JSON", copy, end && end <= copy + n ? (size_t)(end - copy) : n);
	for (; end < copy + n; end++)
		if ((unsigned char)*end > ' ') {
			cJSON_Delete(c);
			return refuse_at("something follows the JSON value", copy, (size_t)(end - copy));
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
	} else if (ret_key) {
		*ret_key = "";
		*ret_key_n = 0;
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

int json_raw_text(const char *text, size_t n, char **ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *quoted = NULL;
	int r;

	if (n < 2 || *text != '"') {
		r = str_fmt(&quoted, "\"%.*s\"", (int)n, text);
		if (r < 0)
			return r;
		text = quoted;
		n += 2;
	}
	r = json_parse(text, n, &j);
	if (r < 0)
		return r;
	return json_text(j) ? str_dup(json_text(j), ret) : refuse("not a string");
}

/* ---- what may be sent ---- */

/* [-] 0 or 123, .5, e+5: its length; 0: it is none. *whole: without fraction and exponent. */
static size_t number_length(const char *t, size_t n, bool *ret_whole)
{
	size_t i = 0, from;

	*ret_whole = true;
	if (i < n && t[i] == '-')
		i++;
	from = i;
	while (i < n && isdigit((unsigned char)t[i]))
		i++;
	if (i == from || (t[from] == '0' && i > from + 1))
		return 0;
	if (i < n && t[i] == '.') {
		*ret_whole = false;
		from = ++i;
		while (i < n && isdigit((unsigned char)t[i]))
			i++;
		if (i == from)
			return 0;
	}
	if (i < n && (t[i] == 'e' || t[i] == 'E')) {
		*ret_whole = false;
		i++;
		if (i < n && (t[i] == '+' || t[i] == '-'))
			i++;
		from = i;
		while (i < n && isdigit((unsigned char)t[i]))
			i++;
		if (i == from)
			return 0;
	}
	return i;
}

static int check_number(const char *t, size_t n, size_t *ret_n)
{
	char copy[400], *end;
	bool whole;
	size_t l = number_length(t, n, &whole);

	*ret_n = l;
	if (!l)
		return refuse("not a number");
	if (l >= sizeof(copy))
		return -ERANGE;
	memcpy(copy, t, l);
	copy[l] = 0;
	errno = 0;
	if (whole)
		(void)strtoll(copy, &end, 10);
	return (whole && errno == ERANGE) || !isfinite(strtod(copy, &end)) ? -ERANGE : 0;
}

static int check_string(const char *t, size_t n, bool name, size_t *ret_n)
{
	size_t i = 1;

	for (; i < n && t[i] != '"'; i++) {
		int v, low;

		if ((unsigned char)t[i] < ' ')
			return refuse("a control character in a string");
		if (t[i] != '\\')
			continue;
		v = escape_at(t + i, n - i);
		if (v < 0) {
			if (++i >= n || !strchr("\"\\/bfnrt", t[i]))
				return refuse("a wrong escape");
			continue;
		}
		if (v == 0 && name)
			return -ERANGE;
		i += 5;
		if (v < 0xd800 || v > 0xdfff)
			continue;
		low = v < 0xdc00 ? escape_at(t + i + 1, n - i - 1) : -1;
		if (low < 0xdc00 || low > 0xdfff)
			return -ERANGE;
		i += 6;
	}
	*ret_n = i + 1;
	return i < n ? 0 : refuse("a string that does not end");
}

/* Token by token; that they stand in the right order, json_parse() has seen. */
int json_check(const char *t, size_t n)
{
	_cleanup_(json_freep) struct json *j = NULL;
	size_t l = 0;
	int r = json_parse(t, n, &j), range = 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i += l) {
		l = 1;
		if (t[i] == '"') {
			size_t k = skip_string(t, n, i), ignored;

			l = k - i;
			while (k < n && (unsigned char)t[k] <= ' ')
				k++;
			r = check_string(t + i, n - i, k < n && t[k] == ':', &ignored);
		} else if (t[i] == '-' || isdigit((unsigned char)t[i])) {
			r = check_number(t + i, n - i, &l);
			if (r != -EBADMSG && i + l < n && !strchr(" \t\r\n,]}", t[i + l]))
				r = refuse("not a number");
		} else if (strncmp(t + i, "true", n - i < 4 ? n - i : 4) == 0 || strncmp(t + i, "null", n - i < 4 ? n - i : 4) == 0) {
			l = 4;
		} else if (strncmp(t + i, "false", n - i < 5 ? n - i : 5) == 0) {
			l = 5;
		} else if (!strchr(" \t\r\n{}[]:,", t[i])) {
			return refuse("\"%c\" stands where it cannot", t[i]);
		}
		if (r == -ERANGE)
			range = r;      /* unless it is no JSON at all, which counts more */
		else if (r < 0)
			return r;
		if (!l)
			l = 1;
	}
	return range;
}

/* ---- two texts ---- */

struct slice {
	const char *at;
	size_t n;
};

static int same_objects(const char *a, size_t a_n, const char *b, size_t b_n)
{
	struct map *names = map_new();
	struct slice *all = NULL;
	size_t count = 0, room = 0, pos = 0, key_n, n;
	const char *key, *at;
	int r = names ? 0 : -ENOMEM;

	while (r == 0 && (r = json_raw_next(a, a_n, &pos, &key, &key_n, &at, &n)) == 1) {
		if (count == room) {
			struct slice *more = realloc(all, (room = room * 2 + 16) * sizeof(*all));

			if (!more)
				r = -ENOMEM;
			else
				all = more;
		}
		if (r == 1) {
			all[count++] = (struct slice){at, n};
			r = 0;
		}
	}
	/* By index: the array has moved while it grew. */
	pos = count = 0;
	while (r == 0 && (r = json_raw_next(a, a_n, &pos, &key, &key_n, &at, &n)) == 1) {
		_cleanup_free_ char *name = NULL;

		r = json_raw_text(key, key_n, &name);
		if (r == 0)
			r = map_set(names, name, &all[count++]);
	}
	pos = 0;
	while (r == 0 && (r = json_raw_next(b, b_n, &pos, &key, &key_n, &at, &n)) == 1) {
		_cleanup_free_ char *name = NULL;
		struct slice *other = NULL;

		r = json_raw_text(key, key_n, &name);
		if (r == 0 && !(other = map_remove(names, name)))
			r = -ENODATA;
		if (r == 0) {
			r = json_same(other->at, other->n, at, n);
			r = r == 1 ? 0 : r == 0 ? -ENODATA : r;
		}
	}
	if (r == 0 && map_count(names))
		r = -ENODATA;
	map_free(names);
	free(all);
	return r == 0 ? 1 : r == -ENODATA ? 0 : r;
}

static int same_arrays(const char *a, size_t a_n, const char *b, size_t b_n)
{
	size_t at_a = 0, at_b = 0, n, m;
	const char *one, *other;
	int r, s;

	for (;;) {
		r = json_raw_next(a, a_n, &at_a, NULL, NULL, &one, &n);
		s = json_raw_next(b, b_n, &at_b, NULL, NULL, &other, &m);
		if (r < 0 || s < 0)
			return r < 0 ? r : s;
		if (r != s)
			return 0;
		if (!r)
			return 1;
		r = json_same(one, n, other, m);
		if (r != 1)
			return r;
	}
}

static void cut_blanks(const char **at, size_t *n)
{
	while (*n && (unsigned char)**at <= ' ') {
		++*at;
		--*n;
	}
	while (*n && (unsigned char)(*at)[*n - 1] <= ' ')
		--*n;
}

/* Both have passed json_parse(), so the depth has an end. */
int json_same(const char *a, size_t a_n, const char *b, size_t b_n)
{
	_cleanup_free_ char *one = NULL, *other = NULL;
	int r;

	cut_blanks(&a, &a_n);
	cut_blanks(&b, &b_n);
	if (a_n == b_n && memcmp(a, b, a_n) == 0)
		return 1;
	if (!a_n || !b_n || *a != *b)
		return 0;
	if (*a == '{')
		return same_objects(a, a_n, b, b_n);
	if (*a == '[')
		return same_arrays(a, a_n, b, b_n);
	if (*a != '"')
		return 0;
	r = json_raw_text(a, a_n, &one);
	if (r == 0)
		r = json_raw_text(b, b_n, &other);
	return r < 0 ? r : strcmp(one, other) == 0;
}
