/* redirect.c - URLs: as they go on the wire, their origin, where a Location leads, and where one led before. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "http/private.h"

struct redirect {
	char *target;
	uint64_t until;
};

DEFINE_CLEANUP(CURLU *, curl_url_cleanup)
#define _cleanup_url_ _cleanup_(curl_url_cleanupp)

static bool is_http(const char *url)
{
	return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

static int text_of(CURLU *u, int err, char **ret)
{
	char *url = NULL;
	int r = err;

	if (curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK &&
	    is_http(url))
		r = str_dup(url, ret);
	curl_free(url);
	return r;
}

int url_clean(const char *url, char **ret)
{
	_cleanup_url_ CURLU *u = curl_url();

	if (!u)
		return -ENOMEM;
	if (!url || curl_url_set(u, CURLUPART_URL, url, CURLU_URLENCODE) != CURLUE_OK)
		return -EINVAL;
	return text_of(u, -EINVAL, ret);
}

int url_resolve(const char *base, const char *location, char **ret)
{
	_cleanup_url_ CURLU *u = curl_url();

	if (!u)
		return -ENOMEM;
	/* A name and password in it would be sent along, by whoever wrote the Location. */
	if (curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK ||
	    curl_url_set(u, CURLUPART_URL, location, CURLU_URLENCODE) != CURLUE_OK ||
	    curl_url_set(u, CURLUPART_USER, NULL, 0) != CURLUE_OK || curl_url_set(u, CURLUPART_PASSWORD, NULL, 0) != CURLUE_OK)
		return -EPROTO;
	return text_of(u, -EPROTO, ret);
}

int http_origin(const char *url, char **ret)
{
	_cleanup_url_ CURLU *u = curl_url();
	char *scheme = NULL, *host = NULL, *port = NULL;
	int r = -EINVAL;

	if (!u)
		return -ENOMEM;
	if (is_http(url) && curl_url_set(u, CURLUPART_URL, url, CURLU_URLENCODE) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK) {
		bool tls = strcasecmp(scheme, "https") == 0, standard = strcmp(port, tls ? "443" : "80") == 0;

		for (char *p = host; *p; p++)
			if (*p >= 'A' && *p <= 'Z')
				*p += 'a' - 'A';
		r = str_fmt(ret, "%s://%s%s%s", tls ? "https" : "http", host, standard ? "" : ":", standard ? "" : port);
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	return r;
}

static void redirect_free(struct redirect *r)
{
	if (r)
		free(r->target);
	free(r);
}

/* Those past their time, or all of them when that is too few. */
static void sweep(struct http *h, uint64_t now)
{
	struct map_iter it = {0};
	struct map *kept = map_new();
	const char *url;
	void *value;

	while (map_next(h->redirects, &it, &url, &value)) {
		struct redirect *r = value;

		if (r->until <= now || !kept || map_count(kept) >= HTTP_REDIRECTS_MAX / 2 || map_set(kept, url, r) < 0)
			redirect_free(r);
	}
	if (kept) {
		map_free(h->redirects);
		h->redirects = kept;
	} else {
		map_clear(h->redirects);
	}
}

void redirect_remember(struct http *h, const char *url, const char *target)
{
	uint64_t now = clock_mono_ms();
	struct redirect *r;

	redirect_forget(h, url);
	if (map_count(h->redirects) >= HTTP_REDIRECTS_MAX)
		sweep(h, now);
	r = calloc(1, sizeof(*r));
	if (r)
		r->target = strdup(target);
	/* Without memory the next one asks again: that is all. */
	if (!r || !r->target || map_set(h->redirects, url, r) < 0) {
		redirect_free(r);
		return;
	}
	r->until = now + HTTP_REDIRECT_KEEP_MS;
}

const char *redirect_known(struct http *h, const char *url)
{
	struct redirect *r = map_get(h->redirects, url);

	return r && r->until > clock_mono_ms() ? r->target : NULL;
}

void redirect_forget(struct http *h, const char *url)
{
	redirect_free(map_remove(h->redirects, url));
}

void redirects_free(struct http *h)
{
	struct map_iter it = {0};
	const char *url;
	void *value;

	while (h->redirects && map_next(h->redirects, &it, &url, &value))
		redirect_free(value);
	map_free(h->redirects);
}
