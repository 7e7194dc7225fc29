/* Headers and URLs of a server: parts, patience, redirects. */
#include "fuzz.h"

#include "http/private.h"

static void urls(const char *text)
{
	char *a = NULL, *b = NULL, *origin = NULL, *shown = http_shown_url(text);

	must(shown);
	free(shown);
	if (url_clean(text, &a) == 0) {
		must(strncasecmp(a, "http://", 7) == 0 || strncasecmp(a, "https://", 8) == 0);
		for (const char *p = a; *p; p++)
			must((unsigned char)*p > 32 && *p != 127);
		must(http_origin(a, &origin) == 0);
		must(strchr(origin + 8, '/') == NULL && !strchr(origin, '@'));
	}
	if (url_resolve("https://user:word@home.example:8443/api/v1/file/5/download?x=1", text, &b) == 0) {
		must(strncasecmp(b, "http://", 7) == 0 || strncasecmp(b, "https://", 8) == 0);
		must(!strstr(b, "user:word@") || strstr(text, "user:word@"));   /* in a path it is only text */
		for (const char *p = b; *p; p++)
			must((unsigned char)*p > 32 && *p != 127);
	}
	free(a);
	free(b);
	free(origin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = fuzz_text(data, n), *second = strchr(text, '\n'), range[RANGE_TEXT_MAX], value[64];
	uint64_t first, last, total;
	struct http_reply reply;

	if (range_parse_content(text, &first, &last, &total) == 0) {
		must(first <= last && last <= INT64_MAX && (total == UINT64_MAX || last < total));
		range_format(first, last, range);
		must(strlen(range) < sizeof(range));
	}
	must(range_parse_retry_after(text, 1000000000) >= -1);
	must(range_parse_limit(text, second ? second + 1 : "", 1000000000) <= 1000000000);
	urls(text);
	http_reply_init(&reply);
	buf_init(&reply.headers, HTTP_HEADERS_MAX);
	if (buf_add(&reply.headers, (const char *)data, n) == 0 && http_header(&reply, "Location", value, sizeof(value)) == 0)
		must(strlen(value) < sizeof(value) && !strchr(value, '\n'));
	http_reply_done(&reply);
	free(text);
	return 0;
}
