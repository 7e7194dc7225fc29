/* pin.c - does the version that a handle pinned still stand?
 *
 * A server without validators gives new bytes under the old address, and says nothing of it. So the version is looked at when it
 * was told too long ago, before more is fetched; and, of a content that came in parts, once more before its end is given
 * out, if any part came after the last look: what a reader has read to the end is of one version, or the end is ESTALE. What
 * lies in the cache of a version that turned out to be gone is forgotten. Whole contents that came in one answer need none
 * of this, and what has a digest is held against that instead (verify.c).
 */
#include <errno.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

bool pin_can_check(const struct fs *fs)
{
	return fs->session->backend->stat && fs->http;
}

bool pin_is_old(struct fs *fs, struct handle *h)
{
	bool old = false;

	/* Something newer is known under its name: its own bytes may be gone, however fresh the last look was. */
	WITH_LOCK(&fs->lock)
		old = h->node->replaced || fs_now_age(h->node->version_at) > fs->attr_ttl_ms;
	return old && pin_can_check(fs);
}

void pin_part_fetched(struct fs *fs, struct handle *h)
{
	WITH_LOCK(&fs->lock)
		h->node->part_at = clock_mono_ms();
}

static bool in_doubt_locked(const struct node *n)
{
	return n->part_at && n->part_at >= n->version_at;
}

bool pin_in_doubt(struct fs *fs, struct handle *h)
{
	bool doubt;

	WITH_LOCK(&fs->lock)
		doubt = in_doubt_locked(h->node);
	return doubt && pin_can_check(fs);
}

bool pin_is_lost(struct fs *fs, struct handle *h)
{
	bool lost;

	WITH_LOCK(&fs->lock)
		lost = h->node->lost || (h->node->replaced && in_doubt_locked(h->node) && pin_can_check(fs));
	return lost;
}

static void lose(struct fs *fs, struct handle *h)
{
	bool first;

	WITH_LOCK(&fs->lock) {
		first = !h->node->lost;
		h->node->lost = true;
		/* Look again before anything is believed, and before anybody opens it. */
		h->node->object_at = h->node->object_at ? NODE_LONG_AGO : 0;
		h->node->version_at = NODE_LONG_AGO;
	}
	if (!first)
		return;
	log_info("%s: changed on the server while it was open", h->object.name ? h->object.name : h->object.id);
	events_add(fs, "changed", h->node, NULL);
	cache_forget(h->file);
}

int pin_check(struct fs *fs, struct handle *h)
{
	struct object now = {0};
	uint64_t at = clock_mono_ms();
	int r = backend_stat(fs->session, &h->object, &now);

	if (r == 0 && (!str_eq(now.version, h->object.version) || now.size != h->object.size))
		r = -ESTALE;
	object_done(&now);
	if (r == 0)
		WITH_LOCK(&fs->lock)
			if (str_eq(h->node->object.version, h->object.version))
				h->node->version_at = at;
	if (r == -ESTALE || r == -ENOENT)
		lose(fs, h);
	return r;
}
