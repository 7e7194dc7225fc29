/* str.c - strings: make, split, escape, read sizes and durations. */
#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool str_eq(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
	size_t a = strlen(s), b = strlen(suffix);

	return a >= b && memcmp(s + a - b, suffix, b) == 0;
}

bool str_stem(const char *s, const char *end, char **ret)
{
	if (!str_ends(s, end) || strlen(s) == strlen(end))
		return false;
	free(*ret);
	*ret = strndup(s, strlen(s) - strlen(end));
	return *ret;
}

int str_vfmt(char **ret, const char *format, va_list ap)
{
	char *p;

	if (vasprintf(&p, format, ap) < 0)
		return -ENOMEM;
	*ret = p;
	return 0;
}

int str_fmt(char **ret, const char *format, ...)
{
	va_list ap;
	int r;

	va_start(ap, format);
	r = str_vfmt(ret, format, ap);
	va_end(ap);
	return r;
}

int str_dup(const char *s, char **ret)
{
	char *p = NULL;

	if (s) {
		p = strdup(s);
		if (!p)
			return -ENOMEM;
	}
	*ret = p;
	return 0;
}

char *str_trim(char *s)
{
	size_t n;

	while (isspace((unsigned char)*s))
		s++;
	n = strlen(s);
	while (n && isspace((unsigned char)s[n - 1]))
		s[--n] = 0;
	return s;
}

int str_split(const char *s, char sep, char ***ret)
{
	size_t n = 1, len = strlen(s), i = 0;
	char **list, *text;

	for (const char *p = s; *p; p++)
		n += *p == sep;
	list = malloc((n + 1) * sizeof(*list) + len + 1);
	if (!list)
		return -ENOMEM;
	text = (char *)(list + n + 1);
	memcpy(text, s, len + 1);
	list[i++] = text;
	for (char *p = text; *p; p++)
		if (*p == sep) {
			*p = 0;
			list[i++] = p + 1;
		}
	list[i] = NULL;
	*ret = list;
	return 0;
}

int str_percent_encode(const char *s, size_t n, const char *keep, char **ret)
{
	static const char hex[] = "0123456789ABCDEF";
	char *p = malloc(3 * n + 1), *o = p;

	if (!p)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if ((c < 128 && isalnum(c)) || (c && strchr("-._~", c)) || (c && keep && strchr(keep, c))) {
			*o++ = (char)c;
		} else {
			*o++ = '%';
			*o++ = hex[c >> 4];
			*o++ = hex[c & 15];
		}
	}
	*o = 0;
	*ret = p;
	return 0;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int str_percent_decode(const char *s, char **ret)
{
	char *p = malloc(strlen(s) + 1), *o = p;

	if (!p)
		return -ENOMEM;
	for (; *s; s++) {
		int a, b;

		if (*s != '%') {
			*o++ = *s;
			continue;
		}
		a = nibble(s[1]);
		b = a < 0 ? -1 : nibble(s[2]);
		if (b < 0 || a * 16 + b == 0) {
			free(p);
			return -EINVAL;
		}
		*o++ = (char)(a * 16 + b);
		s += 2;
	}
	*o = 0;
	*ret = p;
	return 0;
}

static int number(const char *s, const char **end, double *ret)
{
	char *e;
	double v;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;         /* no sign, no blank, no "inf" */
	errno = 0;
	v = strtod(s, &e);
	if (errno || !isfinite(v) || memchr(s, 'x', (size_t)(e - s)) || memchr(s, 'X', (size_t)(e - s)))
		return -EINVAL;
	*end = e;
	*ret = v;
	return 0;
}

int str_parse_size(const char *s, uint64_t *ret)
{
	static const char units[] = "KMGTP";
	const char *e, *u;
	double v;

	if (number(s, &e, &v) < 0)
		return -EINVAL;
	while (*e == ' ')
		e++;
	if (*e && (u = strchr(units, toupper((unsigned char)*e)))) {
		for (const char *i = units; i <= u; i++)
			v *= 1024;
		e++;
		if (*e == 'i')
			e++;
	}
	if (*e == 'B' || *e == 'b')
		e++;
	if (*e)
		return -EINVAL;
	if (v >= 9.2e18)
		return -ERANGE;
	*ret = (uint64_t)v;
	return 0;
}

int str_parse_duration(const char *s, uint64_t *ret_ms)
{
	static const struct { const char *unit; double ms; } units[] = {
		{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000},
	};
	const char *e;
	double v;

	if (number(s, &e, &v) < 0)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(e, units[i].unit) == 0) {
			v *= units[i].ms;
			if (v > 1e13)
				return -ERANGE;
			*ret_ms = (uint64_t)(v + 0.5);
			return 0;
		}
	return -EINVAL;
}

int str_parse_u64(const char *s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (!isdigit((unsigned char)*s))
			return -EINVAL;
		if (v > (UINT64_MAX - (uint64_t)(*s - '0')) / 10)
			return -ERANGE;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	*ret = v;
	return 0;
}

int str_parse_bool(const char *s, bool *ret)
{
	static const char *const yes[] = {"yes", "true", "on", "1"}, *const no[] = {"no", "false", "off", "0"};

	for (size_t i = 0; i < 4; i++) {
		if (strcasecmp(s, yes[i]) == 0) {
			*ret = true;
			return 0;
		}
		if (strcasecmp(s, no[i]) == 0) {
			*ret = false;
			return 0;
		}
	}
	return -EINVAL;
}

const char *str_format_size(uint64_t n, char ret[STR_SIZE_MAX])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)n;
	size_t u = 0;

	while (v >= (u ? 1023.95 : 1024) && u < 6) {   /* 1023.95 would be printed as 1024.0 */
		v /= 1024;
		u++;
	}
	snprintf(ret, STR_SIZE_MAX, u ? "%.1f %s" : "%.0f %s", v, units[u]);
	return ret;
}

size_t str_utf8_char(const char *s, size_t n)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t len;
	uint32_t c;

	if (!n)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] < 0xe0) {
		len = 2;
		c = p[0] & 0x1f;
	} else if (p[0] >= 0xe0 && p[0] < 0xf0) {
		len = 3;
		c = p[0] & 0x0f;
	} else if (p[0] >= 0xf0 && p[0] < 0xf5) {
		len = 4;
		c = p[0] & 0x07;
	} else {
		return 0;
	}
	if (n < len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if ((len == 3 && c < 0x800) || (len == 4 && (c < 0x10000 || c > 0x10ffff)) || (c >= 0xd800 && c < 0xe000))
		return 0;
	return len;
}

#define DISTANCE_MAX 64

unsigned str_distance(const char *a, const char *b)
{
	size_t n = strlen(b);
	unsigned row[DISTANCE_MAX];

	if (n >= DISTANCE_MAX || strlen(a) >= DISTANCE_MAX)
		return UINT_MAX;
	for (size_t i = 0; i <= n; i++)
		row[i] = (unsigned)i;
	for (size_t k = 1; a[k - 1]; k++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)k;
		for (size_t i = 1; i <= n; i++) {
			unsigned best = diagonal + (a[k - 1] != b[i - 1]);

			diagonal = row[i];
			if (row[i] + 1 < best)
				best = row[i] + 1;
			if (row[i - 1] + 1 < best)
				best = row[i - 1] + 1;
			row[i] = best;
		}
	}
	return row[n];
}

bool str_utf8_valid(const char *s, size_t n)
{
	while (n) {
		size_t l = str_utf8_char(s, n);

		if (!l)
			return false;
		s += l;
		n -= l;
	}
	return true;
}

size_t str_utf8_cut(const char *s, size_t max)
{
	size_t n = strlen(s), cut = max;

	if (n <= max)
		return n;
	/* Back over at most three continuation bytes. */
	for (int i = 0; i < 3 && cut && ((unsigned char)s[cut] & 0xc0) == 0x80; i++)
		cut--;
	return ((unsigned char)s[cut] & 0xc0) == 0x80 ? max : cut;
}

size_t str_plain_char(const char *s, size_t n)
{
	size_t l = str_utf8_char(s, n);
	unsigned char c = (unsigned char)*s;

	if (l == 1 && (c < 32 || c == 127))
		return 0;
	if (l == 2 && c == 0xc2 && (unsigned char)s[1] < 0xa0)  /* U+0080 .. U+009F */
		return 0;
	return l;
}

char *str_printable(const char *s, size_t max)
{
	size_t n = strlen(s);
	char *p = malloc(max + 8), *o = p;

	if (!p)
		return NULL;
	while (n && (size_t)(o - p) < max) {
		size_t l = str_plain_char(s, n);

		if (l) {
			memcpy(o, s, l);
			o += l;
		} else {
			l = 1;
			o += sprintf(o, "\\x%02x", (unsigned char)*s);
		}
		s += l;
		n -= l;
	}
	*o = 0;
	return p;
}

void str_make_printable(char **io)
{
	char *s = *io ? str_printable(*io, 500) : NULL;

	if (!s)
		return;
	free(*io);
	*io = s;
}
