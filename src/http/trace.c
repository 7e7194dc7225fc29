/* trace.c - the wire in the debug log, a line an attempt, without secrets. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/private.h"

static bool is_secret(const char *name, size_t n)
{
	static const char *const words[] = {"token", "key", "password", "passwd", "secret", "signature", "credential", "auth"};
	static const char *const whole[] = {"sig", "code", "pass", "jwt", "session"};
	char lower[64];
	size_t len = 0;

	if (n >= sizeof(lower))
		return true;
	for (size_t i = 0; i < n; i++, len++) {
		char c = name[i], code[3] = {0};

		/* A server takes an escaped letter for the letter. */
		if (c == '%' && i + 2 < n && isxdigit((unsigned char)name[i + 1]) && isxdigit((unsigned char)name[i + 2])) {
			memcpy(code, name + i + 1, 2);
			c = (char)strtoul(code, NULL, 16);
			i += 2;
		}
		lower[len] = (char)tolower((unsigned char)c);
	}
	lower[len] = 0;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(lower, words[i]))
			return true;
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		if (strcmp(lower, whole[i]) == 0)
			return true;
	return false;
}

char *http_shown_url(const char *url)
{
	struct buf b = BUF_MAX(8192);
	const char *query = strchr(url, '?'), *scheme = strstr(url, "://"), *at = NULL;

	if (scheme)     /* the last one: a password may hold one too */
		at = memrchr(scheme + 3, '@', strcspn(scheme + 3, "/?#"));
	if (at) {
		(void)buf_add(&b, url, (size_t)(scheme + 3 - url));
		url = at + 1;
	}
	/* A URL that does not fit is cut: this is a log line. */
	(void)buf_add(&b, url, query && query > url ? (size_t)(query - url) : strlen(url));
	while (query && *query) {
		size_t n = 1 + strcspn(query + 1, "&"), name = strcspn(query + 1, "=&");

		if (buf_add(&b, query, 1 + name) < 0)
			break;
		if (1 + name < n && buf_adds(&b, is_secret(query + 1, name) ? "=***" : "") == 0 && !is_secret(query + 1, name))
			(void)buf_add(&b, query + 1 + name, n - 1 - name);
		query += n;
	}
	return buf_take(&b);
}

void trace_attempt(const struct http_transfer *t, int err)
{
	_cleanup_free_ char *url = NULL;
	uint64_t ms = clock_mono_ms() - t->attempt_at;

	if (!log_enabled(LOG_LEVEL_DEBUG))
		return;
	url = http_shown_url(t->at ? t->at : t->url);
	if (t->has_range)
		log_debug("http: %s %s bytes=%llu-%llu -> %d, %llu bytes, %llu ms, attempt %u%s%s", t->method, url ? url : "?",
		          (unsigned long long)(t->first + t->done_bytes), (unsigned long long)t->last, t->reply.status,
		          (unsigned long long)t->attempt_bytes, (unsigned long long)ms, t->reply.attempts, err ? ", " : "",
		          err ? strerror(-err) : "");
	else
		log_debug("http: %s %s -> %d, %llu bytes, %llu ms, attempt %u%s%s", t->method, url ? url : "?", t->reply.status,
		          (unsigned long long)t->attempt_bytes, (unsigned long long)ms, t->reply.attempts, err ? ", " : "",
		          err ? strerror(-err) : "");
}
