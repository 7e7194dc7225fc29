/* range.c - the headers of parts and of patience: Range, Content-Range, Retry-After, X-RateLimit. */
#include <curl/curl.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/private.h"

void range_format(uint64_t first, uint64_t last, char ret[RANGE_TEXT_MAX])
{
	if (last == UINT64_MAX)
		snprintf(ret, RANGE_TEXT_MAX, "%" PRIu64 "-", first);
	else
		snprintf(ret, RANGE_TEXT_MAX, "%" PRIu64 "-%" PRIu64, first, last);
}

static int number(const char **p, uint64_t *ret)
{
	uint64_t v = 0;

	if (!isdigit((unsigned char)**p))
		return -EPROTO;
	for (; isdigit((unsigned char)**p); (*p)++) {
		if (v > (INT64_MAX - 9) / 10)
			return -EPROTO;
		v = v * 10 + (uint64_t)(**p - '0');
	}
	*ret = v;
	return 0;
}

int range_parse_content(const char *p, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total)
{
	uint64_t first, last, total = UINT64_MAX;

	if (strncasecmp(p, "bytes", 5) != 0)
		return -EPROTO;
	p += 5;
	while (*p == ' ' || *p == '=')
		p++;
	if (number(&p, &first) < 0 || *p++ != '-' || number(&p, &last) < 0 || *p++ != '/')
		return -EPROTO;
	if (*p == '*')
		p++;
	else if (number(&p, &total) < 0)
		return -EPROTO;
	while (*p == ' ')
		p++;
	if (*p || last < first || (total != UINT64_MAX && last >= total))
		return -EPROTO;
	*ret_first = first;
	*ret_last = last;
	*ret_total = total;
	return 0;
}

int64_t range_parse_retry_after(const char *p, time_t now)
{
	uint64_t seconds;
	const char *e = p;
	time_t when;

	if (number(&e, &seconds) == 0 && !*e)
		return seconds > 1000000 ? 1000000000 : (int64_t)seconds * 1000;
	when = curl_getdate(p, NULL);
	if (when < 0)
		return -1;
	return when <= now ? 0 : (int64_t)(when - now) * 1000;
}

uint64_t range_parse_limit(const char *remaining, const char *reset, time_t now)
{
	uint64_t left, when;

	if (number(&remaining, &left) < 0 || *remaining || left > 0 || number(&reset, &when) < 0 || *reset)
		return 0;
	/* No server's window began in 1970: a large number is a time of day. */
	if (when > 1000000000)
		when = when > (uint64_t)now ? when - (uint64_t)now : 0;
	return when > 1000000 ? 1000000000 : when * 1000;
}
