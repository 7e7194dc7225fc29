/* upload.c - contents handed over: whole in one request, or in chunks that are resumed.
 *
 * What may have reached the server is looked for before anything is sent again. `progress` is a JSON object:
 *
 *     {"kind": "once", "since": T}                     the whole is on its way in one request; T: the server's clock before it
 *     {"kind": "chunks", "since": T, "id": ID, "at": N, "flight": M, "chunk": C}   N bytes were acknowledged, M more may be on their way
 *
 * A chunk that is worked on twice at once damages an upload for good. So nothing is sent at a new offset before the server has said
 * where it stands, and that place can be: acknowledged <= place <= acknowledged + what was on its way. Its record of what it received
 * comes with the refusal of a chunk at an offset that cannot be, and moves, together with its checksum, when it has done with what it
 * got of a cut chunk. `file/offset` (asked twice, until it says the same) tells of bytes whose checksum it may never make: it writes that
 * length into the record and leaves the checksum behind. So it is asked last, and more than was acknowledged is
 * no place to go on from then. Anything else: the upload is given up and begun anew. The server ends an upload by itself with its last byte; one whose last
 * answer is lost is "Invalid upload id" then, and what it became is looked for where it was to be.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/girder/private.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"

#define CHUNK_MIN (5ull << 20)          /* what a server takes by default, and what an S3 store does */
#define ONCE_MAX (64ull << 20)          /* in one request */
#define S3_PARTS 900                    /* a thousand parts at most are put together */
#define UNCHECKED_MAX (1u << 20)        /* a new file of so much is sent before anybody looks whether its name is free */
#define CLOCK_SLACK_S 2                 /* the server's clock is known to a second */
#define DOUBTS_MAX 4                    /* in a row without a byte more, then it is tried again later */
#define RESTARTS_MAX 2
#define LOOKS 5                         /* for what may land a moment later */
#define LOOK_MS 100                     /* the first pause; it doubles */
#define RECORD_LOOKS 4                  /* for a cut chunk that the server has not done with */
#define READ_PIECE (4u << 20)

struct job {
	struct girder *g;
	struct upload *u;
	const char *item;               /* into this item's directory: a hex id, or NULL */
	const char *folder;             /* into this folder, or NULL */
	const char *file;               /* the file whose content is replaced, or NULL: a new one */
	char *replaces;                 /* the version it must have before */
	char *old_sha;                  /* its sha512 then, as the server showed it */
	char *name;                     /* encoded for a query */
	uint64_t chunk;
	time_t since;
	bool careful;                   /* an attempt is in doubt: only what can be resumed from now on */
	bool again;                     /* the content came out wrong once */
	bool s3, single;                /* the store takes a thousand chunks at most; or one */
	char *id;                       /* the upload under way at the server, or NULL */
	uint64_t at, flight;
	unsigned doubts, restarts;
};

static void job_done(struct job *j)
{
	free(j->replaces);
	free(j->old_sha);
	free(j->name);
	free(j->id);
}

/* ---- where things can be made: pure ---- */

const char *girder_item_of(const struct object *dir)
{
	return girder_is(dir->id, "item") || girder_is(dir->id, "item-dir") ? girder_id(dir->id) : NULL;
}

bool girder_takes_files(const struct girder *g, const struct object *dir)
{
	/* Where every item is a directory, a new file is one in an item. */
	return girder_item_of(dir) || (girder_is(dir->id, "folder") && g->items != ITEMS_DIR);
}

int girder_plan_create(const struct session *s, const struct object *dir, const char *name, enum object_kind kind, struct object *ret)
{
	const struct girder *g = (const struct girder *)s;
	struct object o = {.kind = kind, .rights = dir->rights};
	bool can;
	int r;

	if (kind == OBJECT_DIR)
		can = girder_is(dir->id, "folder") || girder_is(dir->id, "collection") || girder_is(dir->id, "user") ||
		      girder_is(dir->id, "items");
	else
		can = girder_takes_files(g, dir);
	if (!can) {
		backend_note_fault(0, NULL, kind == OBJECT_DIR ? "no folder can be made here" : "files are in folders and in items only", NULL);
		return -EPERM;
	}
	r = girder_check_name(name);
	if (r < 0) {
		backend_note_fault(0, NULL, r == -EILSEQ ? "the name is not UTF-8" : "the server cuts blanks at both ends of a name", NULL);
		return r;
	}
	if (!(dir->rights & RIGHT_WRITE)) {
		backend_note_fault(0, NULL, "you may not write here", NULL);
		return -EACCES;
	}
	if (str_dup(name, &o.name) < 0 ||
	    (kind == OBJECT_FILE && (str_dup(girder_mime_of(name), &o.mime) < 0 ||
	                             str_dup(girder_item_of(dir) ? GIRDER_NEW_FILE : GIRDER_NEW_ITEM, &o.content) < 0))) {
		object_done(&o);
		return -ENOMEM;
	}
	*ret = o;
	return 0;
}

int girder_lane(const struct session *s, const struct object *dir, const char *name, const struct object *base, char **ret)
{
	const char *item = girder_item_of(dir);

	(void)s, (void)name;
	*ret = NULL;
	if (item)
		return str_fmt(ret, "item/%s", item);
	return base ? str_dup(base->id, ret) : 0;
}

/* ---- what is there ---- */

int girder_name_taken(struct girder *g, const char *folder, const char *name, char **ret_id)
{
	static const char *const questions[] = {"item?folderId=%s&name=%s&limit=1&sort=name",
	                                        "folder?parentType=folder&parentId=%s&name=%s&limit=1&sort=name"};
	_cleanup_free_ char *encoded = NULL;
	int r = girder_encode(name, &encoded);

	for (int i = 0; r == 0 && i < 2; i++) {
		_cleanup_(json_freep) struct json *j = NULL;
		const char *id;

		r = girder_get_json(g, &j, questions[i], folder, encoded);
		if (r == 0 && !json_is_array(j))
			r = -EBADMSG;
		if (r == 0 && json_first(j)) {
			r = json_str(json_first(j), "_id", &id);
			if (r == 0 && ret_id)
				r = str_fmt(ret_id, "%s/%s", i ? "folder" : "item", id);
			return r < 0 ? r : 1;
		}
	}
	return r;
}

bool girder_created_by_us(const struct girder *g, const struct json *document)
{
	const char *creator = NULL;

	return json_str_opt(document, "creatorId", &creator) == 0 && creator && girder_is(g->session.identity, "user") &&
	       strcmp(creator, girder_id(g->session.identity)) == 0;
}

static const char *sha_of(const struct json *file)
{
	const char *sha = NULL;

	return json_str_opt(file, "sha512", &sha) == 0 && sha && strlen(sha) == 128 ? sha : NULL;
}

static bool digest_is(const char *digest, const char *sha)
{
	return digest && str_starts(digest, "sha512:") && strcasecmp(digest + 7, sha) == 0;
}

/* Do the server's bytes have this digest? For what may be ours and whose checksum the server does not show. 1, 0, -errno. */
static int read_back(struct job *j, const char *file)
{
	_cleanup_free_ char *url = NULL;
	struct digest *d = NULL;
	struct secret *token = girder_token(j->g);
	char hex[DIGEST_HEX_MAX];
	int r = str_fmt(&url, "%s/file/%s/download", j->g->api, file);

	if (r == 0)
		r = digest_new("sha512", &d);
	for (uint64_t at = 0; r == 0 && at < j->u->size; at += READ_PIECE) {
		uint64_t n = j->u->size - at < READ_PIECE ? j->u->size - at : READ_PIECE;
		struct http_request q = {.url = url, .auth_header = "Girder-Token", .auth = token, .has_range = true, .first = at,
		                         .last = at + n - 1, .total = j->u->size, .priority = HTTP_UPLOAD, .max_body = READ_PIECE,
		                         .deadline_ms = j->g->session.policy.timeout_ms, .cancelled = j->u->cancelled};
		struct http_reply reply;

		r = http_call(j->g->session.http, &q, &reply);
		if (r == 0)
			r = reply.body.len == n ? digest_add(d, reply.body.data, n) : -EIO;
		http_reply_done(&reply);
	}
	secret_unref(token);
	if (r == 0)
		r = digest_hex(d, hex);
	digest_free(d);
	return r < 0 ? r : digest_is(j->u->digest, hex);
}

/* Is this file what we sent? 1, 0, -errno. */
static int is_ours(struct job *j, const struct json *file)
{
	const char *sha = sha_of(file), *id = NULL, *name = "";
	struct timespec created = {0};
	uint64_t size = 0;

	if (json_u64_opt(file, "size", &size) < 0 || size != j->u->size || json_time_opt(file, "created", &created) < 0 ||
	    created.tv_sec + CLOCK_SLACK_S < j->since || !girder_created_by_us(j->g, file) || json_str(file, "_id", &id) < 0 ||
	    json_str_opt(file, "name", &name) < 0)
		return 0;
	if (sha && j->u->digest && digest_is(j->u->digest, sha))
		return 1;
	/* An S3 store goes on showing the checksum of what was replaced. */
	if (sha && j->u->digest && !(j->file && j->old_sha && strcasecmp(sha, j->old_sha) == 0))
		return 0;
	if (!j->u->digest || !size || girder_name_unservable(name))
		return 1;
	return read_back(j, id);
}

/* Has what was under way landed? 1: *ret is the file's document. 0: no. */
static int look_once(struct job *j, struct json **ret)
{
	_cleanup_(json_freep) struct json *list = NULL;
	int r;

	if (j->file) {
		r = girder_get_json(j->g, &list, "file/%s", j->file);
		if (r == 0)
			r = is_ours(j, list);
		if (r == 1)
			*ret = TAKE(list);
		return r;
	}
	if (j->item)
		r = girder_get_json(j->g, &list, "item/%s/files?limit=0", j->item);
	else
		r = girder_get_json(j->g, &list, "item?folderId=%s&name=%s&limit=50&sort=name", j->folder, j->name);
	if (r < 0)
		return r;
	for (const struct json *one = json_first(list); one; one = json_next(one)) {
		_cleanup_(json_freep) struct json *files = NULL, *file = NULL;
		const char *name = "", *id;

		if (json_str(one, "_id", &id) < 0)
			return -EBADMSG;
		if (j->item && (json_str(one, "name", &name) < 0 || strcmp(name, j->u->name) != 0))
			continue;
		if (!j->item) {
			if (!girder_created_by_us(j->g, one))
				continue;
			r = girder_get_json(j->g, &files, "item/%s/files?limit=2", id);
			if (r < 0)
				return r;
			if (!json_first(files) || json_next(json_first(files)))
				continue;
		}
		r = is_ours(j, j->item ? one : json_first(files));
		if (r == 1) {
			if (json_str(j->item ? one : json_first(files), "_id", &id) < 0)
				return -EBADMSG;
			r = girder_get_json(j->g, &file, "file/%s", id);
			if (r == 0)
				*ret = TAKE(file);
			return r < 0 ? r : 1;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int pause_ms(struct job *j, unsigned ms)
{
	for (; ms; ms -= ms < 50 ? ms : 50) {
		struct timespec t = {0, (ms < 50 ? ms : 50) * 1000000l};

		if (j->u->cancelled && __atomic_load_n(j->u->cancelled, __ATOMIC_RELAXED))
			return -EINTR;
		(void)nanosleep(&t, NULL);
	}
	return 0;
}

/* A server that died between the two leaves the item that it made for our file, without the file: under its name ours would be taken for
 * somebody else's. Only when nothing has landed for as long as we look. */
static int clear_remnant(struct job *j)
{
	_cleanup_(json_freep) struct json *list = NULL;
	int r = girder_get_json(j->g, &list, "item?folderId=%s&name=%s&limit=50&sort=name", j->folder, j->name);

	for (const struct json *one = json_first(list); r == 0 && one; one = json_next(one)) {
		_cleanup_(json_freep) struct json *files = NULL;
		struct girder_send q = {.method = "DELETE", .slow = true};
		struct timespec created = {0};
		const char *id;

		if (!girder_created_by_us(j->g, one) || json_str(one, "_id", &id) < 0 || json_time_opt(one, "created", &created) < 0 ||
		    created.tv_sec + CLOCK_SLACK_S < j->since)
			continue;
		r = girder_get_json(j->g, &files, "item/%s/files?limit=1", id);
		if (r == 0 && json_is_array(files) && !json_first(files)) {
			log_info("%s: an item %s without its file is left of an upload that was cut off: it is removed", j->g->session.origin, j->u->name);
			r = girder_send(j->g, &q, NULL, "item/%s", id);
		}
	}
	return r;
}

/* The answer was lost, and the server may still be at work. */
static int look(struct job *j, struct json **ret, unsigned looks)
{
	unsigned ms = LOOK_MS;
	int r = look_once(j, ret);

	for (; r == 0 && looks > 1; looks--, ms *= 2) {
		r = pause_ms(j, ms);
		if (r == 0)
			r = look_once(j, ret);
	}
	return r == 0 && !j->file && !j->item ? clear_remnant(j) : r;
}

/* ---- noting ---- */

static int note(struct job *j)
{
	_cleanup_buf_ struct buf b = BUF_MAX(4096);
	int r = j->id ? buf_addf(&b, "{\"kind\": \"chunks\", \"since\": %lld, \"id\": \"%s\", \"at\": %llu, \"flight\": %llu, \"chunk\": %llu}",
	                         (long long)j->since, j->id, (unsigned long long)j->at, (unsigned long long)j->flight,
	                         (unsigned long long)j->chunk)
	              : buf_addf(&b, "{\"kind\": \"once\", \"since\": %lld}", (long long)j->since);

	return r < 0 ? r : j->u->note ? j->u->note(j->u, buf_str(&b), j->id ? j->at : 0) : 0;
}

static bool is_hex_id(const char *s)
{
	return strlen(s) == 24 && strspn(s, "0123456789abcdef") == 24;
}

/* What was noted by us; what cannot be read is as if nothing was, but for doubt. */
static void read_progress(struct job *j, const char *progress)
{
	_cleanup_(json_freep) struct json *p = NULL;
	const char *kind = "", *id = NULL;
	uint64_t chunk = 0;
	int64_t since = 0;

	j->since = j->u->begun + (girder_now(j->g) - clock_wall().tv_sec);
	if (json_parse(progress, strlen(progress), &p) < 0 || json_str_opt(p, "kind", &kind) < 0 || json_i64_opt(p, "since", &since) < 0 ||
	    json_str_opt(p, "id", &id) < 0)
		return;
	if (since)
		j->since = (time_t)since;
	if (strcmp(kind, "chunks") != 0 || !id || !is_hex_id(id) || json_u64(p, "at", &j->at) < 0 || json_u64(p, "flight", &j->flight) < 0)
		return;
	if (json_u64_opt(p, "chunk", &chunk) == 0 && chunk >= j->flight)
		j->chunk = chunk;       /* it may be the store's rule */
	if (str_dup(id, &j->id) < 0)
		j->id = NULL;
}

/* The upload under way is given up. Best effort: one that stays is invisible, and an admin can purge it. */
static void drop(struct job *j)
{
	struct girder_send q = {.method = "DELETE"};

	if (j->id && girder_send(j->g, &q, NULL, "file/upload/%s", j->id) < 0)
		log_debug("%s: the upload %s is left at the server: %s", j->g->session.origin, j->id, q.words);
	free(j->id);
	j->id = NULL;
	j->at = j->flight = 0;
}

/* ---- chunks ---- */

/* How large a chunk may be, now that the store is known. -EFBIG: it would be too many of them. */
static int fit_chunk(struct job *j, const struct json *upload)
{
	const struct json *s3 = json_get(upload, "s3");
	const char *behavior = "";
	bool chunked = true;
	uint64_t least;

	if (json_str_opt(upload, "behavior", &behavior) < 0 || strcmp(behavior, "s3") != 0)
		return 0;
	if (json_bool_opt(s3, "chunked", &chunked) < 0 || !chunked) {
		j->chunk = j->u->size;  /* it must come in one */
		j->single = true;
		return 0;
	}
	j->s3 = true;
	least = (j->u->size + S3_PARTS - 1) / S3_PARTS;
	if (least < CHUNK_MIN)
		least = CHUNK_MIN;
	if (j->chunk < least)
		j->chunk = least;
	return 0;
}

static int take_upload(struct job *j, const struct json *upload)
{
	const char *id = NULL;
	uint64_t received = 0;
	int r = json_str(upload, "_id", &id);

	if (r == 0)
		r = json_u64_opt(upload, "received", &received);
	if (r == 0 && (!is_hex_id(id) || received > j->u->size))
		r = -EBADMSG;
	if (r < 0)
		return r;
	free(j->id);
	j->at = received;
	j->flight = 0;
	r = str_dup(id, &j->id);
	return r < 0 ? r : fit_chunk(j, upload);
}

static bool is_file(const struct json *document)
{
	return json_get(document, "itemId") != NULL;
}

/* What the server has recorded as received: its words when it refuses a chunk behind the end. -ENOTSUP: they do not tell. */
static int recorded(struct job *j, uint64_t *ret)
{
	struct girder_send q = {.method = "POST", .type = "application/octet-stream", .cancelled = j->u->cancelled};
	unsigned long long n;
	int r = girder_send(j->g, &q, NULL, "file/chunk?uploadId=%s&offset=%llu", j->id, (unsigned long long)j->u->size + 1);

	if (r == -EINVAL && sscanf(q.words, "Server has received %llu", &n) == 1) {
		*ret = n;
		return 0;
	}
	return r == 0 || r == -EINVAL ? -ENOTSUP : r;
}

/* What `file/offset` says, twice. */
static int offset_of(struct job *j, uint64_t *ret)
{
	uint64_t before = UINT64_MAX;
	unsigned ms = LOOK_MS;
	int r;

	for (unsigned turn = 0;; turn++) {
		_cleanup_(json_freep) struct json *answer = NULL;
		struct girder_send q = {.method = "GET", .cancelled = j->u->cancelled};
		uint64_t offset = 0;

		r = girder_send(j->g, &q, &answer, "file/offset?uploadId=%s", j->id);
		if (r == -EINVAL && strstr(q.words, "requestOffset"))
			r = 0;  /* an S3 store that has no part yet */
		else if (r == 0)
			r = json_u64(answer, "offset", &offset);
		if (r < 0)
			return r;
		/* All of it is there: then the server is putting it together, and the upload ends. */
		if (offset == before && (offset < j->u->size || turn > LOOKS)) {
			*ret = offset;
			return 0;
		}
		before = offset;
		r = pause_ms(j, ms);
		if (r < 0)
			return r;
		ms = ms < 2000 ? ms * 2 : ms;
	}
}

/* Where does the server stand, if that is possible? 1, go on from j->at. 0: it is gone, or damaged, or was given up; *ret
 * is the file's document if it has landed. */
static int resync(struct job *j, struct json **ret)
{
	uint64_t offset = j->at;
	bool hashed = true;
	int r = 0;

	for (unsigned turn = 0; r == 0 && offset == j->at && turn < RECORD_LOOKS; turn++) {
		if (turn)
			r = pause_ms(j, LOOK_MS << (turn - 1));
		if (r == 0)
			r = recorded(j, &offset);
	}
	if (r == -ENOTSUP || (r == 0 && offset == j->at)) {
		hashed = false;
		r = offset_of(j, &offset);
	} else if (r == 0 && offset == j->u->size) {
		r = offset_of(j, &offset);      /* which waits for its end */
	}
	if (r == -ENOENT) {
		/* It ended by itself, which it does with the last byte; or it was purged. */
		r = look(j, ret, j->at + j->flight == j->u->size ? LOOKS : 1);
		free(j->id);
		j->id = NULL;
		j->at = j->flight = 0;
		return r < 0 ? r : 0;
	}
	if (r < 0)
		return r;
	if (offset < j->at || offset > j->at + j->flight || offset >= j->u->size || (!hashed && !j->s3 && offset > j->at)) {
		log_warn("%s: the upload of %s stands at %llu, from where it cannot go on: it is begun anew", j->g->session.origin, j->u->name,
		         (unsigned long long)offset);
		drop(j);
		return 0;
	}
	if (offset > j->at)
		j->doubts = 0;
	j->at = offset;
	j->flight = 0;
	return 1;
}

/* The item whose size is written along with the last byte. */
static const char *item_to_hold(const struct job *j)
{
	return j->item ? j->item : j->u->base ? girder_id(j->u->base->id) : NULL;
}

static int begin_chunks(struct job *j)
{
	_cleanup_(json_freep) struct json *answer = NULL;
	struct girder_send q = {.method = j->file ? "PUT" : "POST", .cancelled = j->u->cancelled};
	const char *mime = j->u->mime ? j->u->mime : girder_mime_of(j->u->name);
	_cleanup_free_ char *type = NULL;
	int r = girder_encode(mime, &type);

	/* In doubt it is simply asked again: nobody sees an upload without bytes. */
	for (int turn = 0; r == 0 && turn < 2; turn++) {
		if (j->file)
			r = girder_send(j->g, &q, &answer, "file/%s/contents?size=%llu", j->file, (unsigned long long)j->u->size);
		else
			r = girder_send(j->g, &q, &answer, "file?parentType=%s&parentId=%s&name=%s&size=%llu&mimeType=%s",
			                j->item ? "item" : "folder", j->item ? j->item : j->folder, j->name,
			                (unsigned long long)j->u->size, type);
		if (r == 0 || !q.in_doubt)
			break;
		if (turn == 0)
			r = 0;
	}
	if (r == -ENOENT && j->file)
		r = -ESTALE;            /* it went between our look and this */
	if (r == 0)
		r = take_upload(j, answer);
	if (r == 0)
		r = note(j);
	return r;
}

/* One chunk. 1: *ret is the file's document, all is there. 0: go on. -errno. */
static int send_chunk(struct job *j, struct json **ret)
{
	_cleanup_(json_freep) struct json *answer = NULL;
	struct girder_send q = {.method = "POST", .type = "application/octet-stream", .is_file = true, .fd = j->u->fd, .at = j->at,
	                        .slow = true, .cancelled = j->u->cancelled};
	const char *const held[] = {item_to_hold(j), NULL};
	uint64_t received = 0;
	bool last;
	int r;

	j->flight = j->u->size - j->at < j->chunk ? j->u->size - j->at : j->chunk;
	q.len = j->flight;
	last = j->at + j->flight == j->u->size;
	r = note(j);
	if (r == 0 && last)
		r = girder_hold(j->g, held);    /* the item's size is written with it */
	if (r < 0)
		return r;
	r = girder_send(j->g, &q, &answer, "file/chunk?uploadId=%s&offset=%llu", j->id, (unsigned long long)j->at);
	if (last)
		girder_release(j->g, held);
	if (r == 0 && is_file(answer)) {
		*ret = TAKE(answer);
		return 1;
	}
	if (r == 0 && json_u64(answer, "received", &received) == 0 && received == j->at + j->flight && !last) {
		j->at = received;
		j->flight = 0;
		j->doubts = 0;
		return 0;
	}
	if (r == -EFBIG && q.status == 413) {
		/* A proxy's limit. It was refused whole. */
		if (j->chunk <= CHUNK_MIN || j->single || (j->s3 && j->chunk / 2 * S3_PARTS < j->u->size))
			return -EFBIG;
		j->chunk = j->chunk / 2 < CHUNK_MIN ? CHUNK_MIN : j->chunk / 2;
		return 0;
	}
	if (r == -EINVAL && strstr(q.words, "smaller than the minimum") && j->chunk < ONCE_MAX) {
		j->chunk = j->chunk * 2 < CHUNK_MIN ? CHUNK_MIN : j->chunk * 2;
		return 0;
	}
	if (r == -EDQUOT || r == -ENOSPC || r == -EACCES || r == -EINTR)
		return r;
	if (strstr(q.words, "simultaneously modified")) {
		drop(j);
		return 0;
	}
	/* No answer, or one that tells nothing: ask. */
	if (++j->doubts > DOUBTS_MAX)
		return r < 0 ? r : -EIO;
	if (r < 0 && !q.in_doubt && !q.status)
		return r;       /* nothing was sent, and nobody is there to be asked */
	r = resync(j, ret);
	return r < 0 ? r : *ret ? 1 : 0;
}

/* ---- in one request ---- */

/* 1: *ret is the file's document. 0: go on with chunks. */
static int send_once(struct job *j, struct json **ret)
{
	_cleanup_(json_freep) struct json *answer = NULL;
	struct girder_send q = {.method = j->file ? "PUT" : "POST", .type = "application/octet-stream", .is_file = j->u->size > 0,
	                        .fd = j->u->fd, .len = j->u->size, .slow = true, .cancelled = j->u->cancelled};
	const char *mime = j->u->mime ? j->u->mime : girder_mime_of(j->u->name);
	const char *const held[] = {item_to_hold(j), NULL};
	_cleanup_free_ char *type = NULL;
	int r = girder_encode(mime, &type);

	if (r == 0)
		r = note(j);
	if (r == 0)
		r = girder_hold(j->g, held);
	if (r < 0)
		return r;
	if (j->file)
		r = girder_send(j->g, &q, &answer, "file/%s/contents?size=0", j->file);
	else
		r = girder_send(j->g, &q, &answer, "file?parentType=%s&parentId=%s&name=%s&size=%llu&mimeType=%s",
		                j->item ? "item" : "folder", j->item ? j->item : j->folder, j->name, (unsigned long long)j->u->size, type);
	girder_release(j->g, held);
	if (r == 0 && is_file(answer)) {
		*ret = TAKE(answer);
		return 1;
	}
	if (r == 0) {
		r = take_upload(j, answer);     /* it took a part, as the first chunk */
		return r < 0 ? r : note(j);
	}
	if (q.in_doubt && q.sent_whole) {
		r = look(j, ret, LOOKS);
		if (r != 0)
			return r;
	} else if (r == -EFBIG && q.status == 413 && j->u->size > CHUNK_MIN) {
		j->chunk = j->u->size / 2 < CHUNK_MIN ? CHUNK_MIN : j->u->size / 2;
	} else if (!q.in_doubt || r == -EINTR) {
		return r;
	}
	if (++j->doubts > DOUBTS_MAX)
		return r < 0 ? r : -EIO;
	j->careful = true;
	return 0;
}

/* ---- what came of it ---- */

static int remove_file(struct job *j, const struct json *file)
{
	struct girder_send q = {.method = "DELETE", .slow = true};
	const char *id;
	int r = json_str(file, j->item ? "_id" : "itemId", &id);

	return r < 0 ? r : girder_send(j->g, &q, NULL, "%s/%s", j->item ? "file" : "item", id);
}

/* A new item: is it the only one of its name, and does it have that name? 0 yes, *ret_item is its document, or a list of it; -EEXIST: no, and
 * ours is gone again. */
static int check_name(struct job *j, const struct json *file, struct json **ret_item)
{
	_cleanup_(json_freep) struct json *list = NULL, *item = NULL;
	const char *id = NULL, *other = NULL, *name = "";
	bool lowest = true, there = false;
	int r = json_str(file, "itemId", &id);

	if (r == 0)
		r = girder_get_json(j->g, &list, "item?folderId=%s&name=%s&limit=50&sort=name", j->folder, j->name);
	if (r < 0)
		return r;
	for (const struct json *one = json_first(list); one; one = json_next(one)) {
		if (json_str(one, "_id", &other) < 0)
			return -EBADMSG;
		there |= strcmp(other, id) == 0;
		lowest &= strcmp(other, id) >= 0;
	}
	/* Alone, it is the whole answer. */
	if (there && json_first(list) && !json_next(json_first(list))) {
		*ret_item = TAKE(list);
		return 0;
	}
	r = girder_get_json(j->g, &item, "item/%s", id);
	if (r == 0)
		r = json_str(item, "name", &name);
	if (r < 0)
		return r;
	if (strcmp(name, j->u->name) == 0 && (lowest || !there)) {
		*ret_item = TAKE(item);
		return 0;
	}
	log_warn("%s: somebody else made %s meanwhile: ours, %s, is taken away", j->g->session.origin, j->u->name, name);
	r = remove_file(j, file);
	if (r < 0)
		return r;
	backend_note_fault(0, NULL, "somebody else made a thing of this name meanwhile", NULL);
	return -EEXIST;
}

/* 0; -EAGAIN: the server has other bytes than ours. */
static int check_content(struct job *j, const struct json *file)
{
	const char *sha = sha_of(file);
	uint64_t size = 0;
	int r = json_u64_opt(file, "size", &size);

	if (r < 0)
		return r;
	if (size != j->u->size)
		return -EAGAIN;
	if (!sha || !j->u->digest || digest_is(j->u->digest, sha))
		return 0;
	/* An S3 store goes on showing the checksum of what was replaced. */
	return j->file && j->old_sha && strcasecmp(sha, j->old_sha) == 0 ? 0 : -EAGAIN;
}

/* The thing as the core will see it from now on. */
static int show(struct job *j, const struct json *file)
{
	_cleanup_(json_freep) struct json *item = NULL;
	int r = 0;

	if (j->u->base && !girder_is(j->u->base->id, "file")) {
		r = object_copy(j->u->base, &j->u->object);
		return r < 0 ? r : parse_merge(file, &j->u->object);
	}
	if (j->item || j->file)
		return parse_file(file, j->u->dir->rights, &j->u->object);
	r = check_name(j, file, &item);
	if (r == -EEXIST) {
		/* Unless it is our own, that landed late. */
		_cleanup_(json_freep) struct json *ours = NULL;
		const char *id;

		r = j->careful || j->u->again ? look_once(j, &ours) : 0;
		if (r < 1)
			return r < 0 ? r : -EEXIST;
		r = json_str(ours, "itemId", &id);
		if (r == 0)
			r = girder_get_json(j->g, &item, "item/%s", id);
		if (r == 0)
			r = parse_item(item, j->g->items, j->u->dir->rights, &j->u->object);
		return r < 0 ? r : parse_merge(ours, &j->u->object);
	}
	if (r == 0)
		r = parse_item(json_is_array(item) ? json_first(item) : item, j->g->items, j->u->dir->rights, &j->u->object);
	return r < 0 ? r : parse_merge(file, &j->u->object);
}

/* ---- the whole way ---- */

/* May it begin? 1: what is there is what is wanted, *ret is its document. */
static int check_before(struct job *j, struct json **ret)
{
	_cleanup_(json_freep) struct json *now = NULL;
	struct object o = {0};
	const char *link = NULL;
	int r;

	if (!j->file && j->folder) {
		/* Should it be taken, the server gives ours another name, and check_name() takes it away again: two requests less
		 * where thousands of small files are sent. */
		if (j->u->size <= UNCHECKED_MAX && !j->u->again && !j->careful)
			return 0;
		r = girder_name_taken(j->g, j->folder, j->u->name, NULL);
		if (r == 1)
			backend_note_fault(0, NULL, "somebody else made a thing of this name meanwhile", NULL);
		return r == 1 ? -EEXIST : r;
	}
	if (!j->file) {
		r = girder_get_json(j->g, &now, "item/%s/files?limit=0", j->item);
		for (const struct json *f = json_first(now); r == 0 && f; f = json_next(f)) {
			const char *name = "";

			r = json_str(f, "name", &name);
			if (r == 0 && strcmp(name, j->u->name) == 0)
				r = -EEXIST;
		}
		return r;
	}
	r = girder_get_json(j->g, &now, "file/%s", j->file);
	if (r == -ENOENT) {
		backend_note_fault(0, NULL, "it was removed at the server meanwhile", NULL);
		return -ESTALE;
	}
	if (r == 0)
		r = json_str_opt(now, "linkUrl", &link);
	if (r == 0 && link)
		r = -EPERM;
	if (r == 0)
		r = parse_file(now, j->u->dir->rights, &o);
	if (r < 0)
		return r;
	if (!str_eq(o.version, j->replaces)) {
		backend_note_fault(0, NULL, "it was changed at the server meanwhile", NULL);
		r = -ESTALE;
	} else if (!j->again && o.size == j->u->size && j->u->digest && (str_eq(j->u->digest, o.digest) || str_eq(j->u->digest, j->u->base->digest))) {
		*ret = TAKE(now);
		r = 1;
	} else {
		free(j->old_sha);
		r = str_dup(sha_of(now), &j->old_sha);
	}
	object_done(&o);
	return r;
}

static int whole_way(struct job *j, struct json **ret)
{
	int r = 0;

	if (j->u->progress) {
		read_progress(j, j->u->progress);
		if (j->id) {
			r = resync(j, ret);
		} else {
			r = look(j, ret, LOOKS);
			j->careful = true;
		}
		if (r < 0 || *ret)
			return r;
	}
	while (!*ret && r >= 0) {
		if (!j->id) {
			if (++j->restarts > RESTARTS_MAX + 1)
				return -EIO;
			r = check_before(j, ret);
			if ((r == -EEXIST || r == -ESTALE) && (j->careful || j->u->again || j->u->progress)) {
				int ours = look_once(j, ret);   /* that landed late */

				r = ours == 1 ? 1 : ours < 0 ? ours : r;
			}
			if (r != 0)
				return r;
			j->since = girder_now(j->g);
			if (!j->u->size || (!j->file && !j->careful && j->u->size <= j->chunk && j->u->size <= ONCE_MAX))
				r = send_once(j, ret);
			else
				r = begin_chunks(j);
			continue;
		}
		r = send_chunk(j, ret);
	}
	if (r == -EDQUOT || r == -ENOSPC || r == -EFBIG || r == -EACCES || r == -EINVAL)
		drop(j);        /* it is refused */
	return r;
}

static int version_of(const struct json *file, char **ret)
{
	struct object o = {0};
	int r = parse_file(file, 0, &o);

	if (r < 0)
		return r;
	free(*ret);
	*ret = TAKE(o.version);
	object_done(&o);
	return 0;
}

static int prepare(struct job *j)
{
	const struct upload *u = j->u;

	j->chunk = j->g->session.policy.upload_chunk ? j->g->session.policy.upload_chunk : ONCE_MAX;
	if (j->chunk > (1ull << 30))
		j->chunk = 1ull << 30;
	j->item = girder_item_of(u->dir);
	j->folder = girder_is(u->dir->id, "folder") ? girder_id(u->dir->id) : NULL;
	if (u->base && u->base->content) {
		if (str_starts(u->base->content, "link-")) {
			backend_note_fault(0, NULL, "it is a link to another address, whose content is not the server's", NULL);
			return -EPERM;
		}
		j->file = girder_id(girder_file(u->base->content));
		if (str_dup(u->base->version, &j->replaces) < 0)
			return -ENOMEM;
	} else if (u->base && girder_is(u->base->id, "item")) {
		j->item = girder_id(u->base->id);       /* an item without files, shown as an empty one */
	}
	if (!j->file && !j->item && !j->folder)
		return -EPERM;
	if (!(u->dir->rights & RIGHT_WRITE)) {
		backend_note_fault(0, NULL, "you may not write here", NULL);
		return -EACCES;
	}
	return girder_encode(u->name, &j->name);
}

int girder_upload(struct session *s, struct upload *u)
{
	_cleanup_(job_done) struct job j = {.g = girder_of(s), .u = u};
	int r = prepare(&j);

	while (r == 0) {
		_cleanup_(json_freep) struct json *file = NULL;

		r = whole_way(&j, &file);
		if (r < 0)
			return r;
		r = check_content(&j, file);
		if (r == 0) {
			r = show(&j, file);
			if (r < 0)
				object_done(&u->object);
			return r;
		}
		if (r != -EAGAIN)
			return r;
		log_warn("%s: %s did not arrive as it was sent%s", s->origin, u->name, j.again ? "" : ": once again");
		backend_note_fault(0, NULL, "the server's checksum is not that of what was sent", NULL);
		r = j.again ? -EIO : 0;
		/* What is wrong is not left there as if it were right; a replaced content cannot be taken back. */
		if (!j.file && remove_file(&j, file) < 0)
			return -EIO;
		j.again = true;
		j.restarts = j.doubts = 0;
		free(j.id);     /* it ended */
		j.id = NULL;
		j.at = j.flight = 0;
		u->progress = NULL;
		/* What is there now is ours, and may be replaced. */
		if (j.file && r == 0)
			r = version_of(file, &j.replaces);
	}
	return r;
}

int girder_upload_drop(struct session *s, const char *progress)
{
	struct upload u = {.begun = 0};
	_cleanup_(job_done) struct job j = {.g = girder_of(s), .u = &u};

	read_progress(&j, progress);
	drop(&j);
	return 0;
}
