/* open.c - what opening a session is alike in for all servers: where below a host its API lies, and what is kept so that it comes up
 * again without one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "base/cleanup.h"
#include "base/str.h"

#define API "/api/v1"

int backend_find_api(const char *url, const char *path, const char *given, int (*is_there)(void *arg, const char *api), void *arg,
                     char **ret_api, size_t *ret_used)
{
	const char *api = strstr(path, API);
	size_t n = strlen(given ? given : path);
	int r;

	if (given) {
		*ret_used = str_starts(path, given) ? n : 0;
		while (n && given[n - 1] == '/')
			n--;
		r = str_fmt(ret_api, "%s%s%.*s%s", url, *given == '/' ? "" : "/", (int)n, given, strstr(given, "/api/") ? "" : API);
		return r < 0 ? r : is_there(arg, *ret_api);
	}
	if (api) {
		*ret_used = (size_t)(api - path) + strlen(API);
		r = str_fmt(ret_api, "%s%.*s", url, (int)*ret_used, path);
		return r < 0 ? r : is_there(arg, *ret_api);
	}
	for (;;) {
		_cleanup_free_ char *one = NULL;

		while (n && path[n - 1] == '/')
			n--;
		r = str_fmt(&one, "%s%.*s" API, url, (int)n, path);
		if (r == 0)
			r = is_there(arg, one);
		if (r == 1) {
			*ret_api = TAKE(one);
			*ret_used = n;
		}
		if (r || !n)
			return r;
		while (n && path[n - 1] != '/')
			n--;
	}
}

int backend_write_kept(struct session *s, const char *api, const char *more, const struct object *root)
{
	_cleanup_buf_ struct buf b = BUF_MAX(1u << 20);
	int r = buf_adds(&b, "{\"api\": ");

	if (r == 0)
		r = json_write_str(&b, api);
	if (r == 0)
		r = buf_addf(&b, "%s, \"identity\": ", more);
	if (r == 0)
		r = json_write_str(&b, s->identity);
	if (r == 0)
		r = buf_adds(&b, ", \"server\": ");
	if (r == 0)
		r = json_write_str(&b, s->server_json);
	if (r == 0)
		r = buf_adds(&b, ", \"root\": {");
	if (r == 0)
		r = object_write_json(root, &b);
	if (r == 0)
		r = buf_adds(&b, "}}");
	if (r == 0)
		s->kept = buf_take(&b);
	return r;
}

int backend_read_kept(struct session *s, const char *kept, char **ret_api, struct object *ret_root, struct json **ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *origin = NULL;
	const char *api = NULL, *identity = NULL, *server = NULL;
	int r = json_parse(kept, strlen(kept), &j);

	if (r == 0)
		r = json_str(j, "api", &api);
	if (r == 0)
		r = http_origin(api, &origin);
	if (r == 0 && (!str_eq(origin, s->origin) || !str_ends(api, API)))
		r = -EBADMSG;
	if (r == 0)
		r = json_str(j, "identity", &identity);
	if (r == 0)
		r = json_str(j, "server", &server);
	if (r == 0)
		r = object_read_json(json_get(j, "root"), ret_root);
	if (r == 0 && (str_dup(api, ret_api) < 0 || str_dup(identity, &s->identity) < 0 || str_dup(server, &s->server_json) < 0))
		r = -ENOMEM;
	if (r == 0)
		*ret = TAKE(j);
	return r;
}
