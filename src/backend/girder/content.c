/* content.c - how the bytes of a file are asked for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/girder/private.h"

int girder_prepare_read(struct session *s, const struct object *o, struct read_plan *io)
{
	struct girder *g = girder_of(s);

	if (!o->content)
		return -EIO;
	if (girder_unverified(g))
		return -EHOSTDOWN;      /* without a login yet; fs looks at the thing first, which makes one */
	if (str_starts(o->content, "zip-")) {
		io->kind = PLAN_FILL;
		io->fill = girder_fill_whole;
		return 0;
	}
	/* A link, or a file in an S3 store, answers with a redirect; it is followed without the token. */
	io->kind = PLAN_REQUEST;
	io->cache_redirect = true;
	io->auth_header = "Girder-Token";
	io->auth = girder_token(g);
	return str_fmt(&io->url, "%s/%s/download", g->api, girder_file(o->content));
}
