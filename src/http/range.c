/* range.c - the headers of parts and of patience: Content-Range, Retry-After. */
#include <curl/curl.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "http/private.h"

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
