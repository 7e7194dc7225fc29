/* clock.c - monotonic and wall time, ISO 8601. */
#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static _Atomic int64_t turned_ms;

uint64_t clock_mono_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)((int64_t)t.tv_sec * 1000000000 + t.tv_nsec + atomic_load(&turned_ms) * 1000000);
}

uint64_t clock_mono_ms(void)
{
	uint64_t ms = clock_mono_ns() / 1000000;

	return ms ? ms : 1;
}

struct timespec clock_wall(void)
{
	struct timespec t;
	int64_t turned = atomic_load(&turned_ms);

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += turned / 1000;
	t.tv_nsec += turned % 1000 * 1000000;
	if (t.tv_nsec < 0 || t.tv_nsec >= 1000000000) {
		int carry = t.tv_nsec < 0 ? -1 : 1;

		t.tv_sec += carry;
		t.tv_nsec -= carry * 1000000000;
	}
	return t;
}

struct timespec clock_until(uint64_t ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(ms / 1000);
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

void clock_turn(int64_t ms)
{
	atomic_fetch_add(&turned_ms, ms);
}

static int digits(const char **p, int n, int *ret)
{
	int v = 0;

	for (int i = 0; i < n; i++, (*p)++) {
		if (!isdigit((unsigned char)**p))
			return -EINVAL;
		v = v * 10 + (**p - '0');
	}
	*ret = v;
	return 0;
}

static int days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

int clock_parse_iso(const char *s, struct timespec *ret)
{
	struct tm tm = {0};
	long ns = 0, unit = 100000000;
	int y, mo, d, h = 0, mi = 0, sec = 0, zh = 0, zm = 0, sign = 0;
	time_t t;

	if (digits(&s, 4, &y) < 0 || *s++ != '-' || digits(&s, 2, &mo) < 0 || *s++ != '-' || digits(&s, 2, &d) < 0)
		return -EINVAL;
	if (*s) {
		if (*s != 'T' && *s != 't' && *s != ' ')
			return -EINVAL;
		s++;
		if (digits(&s, 2, &h) < 0 || *s++ != ':' || digits(&s, 2, &mi) < 0)
			return -EINVAL;
		if (*s == ':') {
			s++;
			if (digits(&s, 2, &sec) < 0)
				return -EINVAL;
		}
		if (*s == '.' || *s == ',') {
			s++;
			if (!isdigit((unsigned char)*s))
				return -EINVAL;
			for (; isdigit((unsigned char)*s); s++, unit /= 10)
				ns += (*s - '0') * unit;
		}
	}
	if (*s == 'Z' || *s == 'z') {
		s++;
	} else if (*s == '+' || *s == '-') {
		sign = *s++ == '+' ? 1 : -1;
		if (digits(&s, 2, &zh) < 0)
			return -EINVAL;
		if (*s == ':')
			s++;
		if (digits(&s, 2, &zm) < 0)
			return -EINVAL;
	}
	if (*s || mo < 1 || mo > 12 || d < 1 || d > days_in(y, mo) || h > 23 || mi > 59 || sec > 60 || zh > 23 || zm > 59)
		return -EINVAL;
	tm.tm_year = y - 1900;
	tm.tm_mon = mo - 1;
	tm.tm_mday = d;
	tm.tm_hour = h;
	tm.tm_min = mi;
	tm.tm_sec = sec;
	t = timegm(&tm);
	ret->tv_sec = t - sign * (zh * 3600 + zm * 60);
	ret->tv_nsec = ns;
	return 0;
}

void clock_format_iso(struct timespec t, char ret[CLOCK_ISO_MAX])
{
	struct tm tm;

	if (!gmtime_r(&t.tv_sec, &tm))
		memset(&tm, 0, sizeof(tm));
	snprintf(ret, CLOCK_ISO_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday,
	         tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(t.tv_nsec / 1000000) % 1000);
}
