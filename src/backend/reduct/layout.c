/* layout.c - which directories below an entry hold its records: as the mount was told, else as the entry remembers it.
 *
 * The layout that somebody has chosen for an entry lies at the server, in its attachment `scifs`: {"layout": "day"}. It is asked for once,
 * when the entry's times are first looked into, and stands as long as the mount: paths must not change under those who
 * use them. A mount that was told a layout (-o layout=) asks for none, and leaves its word there for others, if it may write.
 * Anybody may have written such a document, so what cannot be understood says nothing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/reduct/private.h"
#include "base/log.h"

#define MINOR_ATTACHMENTS 19
#define KNOWN_MAX 16384                 /* entries whose layout is remembered; then all are asked for anew */
#define DOCUMENT_MAX 4096
#define DOCUMENT_MIN (sizeof("{}\n"))   /* bytes: what mkdir leaves is shorter, says nothing, and is not fetched */

static const char *const words[] = {"flat", "day", "hour", "minute"};
static const enum level levels[] = {LEVEL_ENTRY, LEVEL_DAY, LEVEL_HOUR, LEVEL_MINUTE};
#define LAYOUTS (sizeof(words) / sizeof(words[0]))

bool layout_of_word(const char *word, enum level *ret)
{
	for (size_t i = 0; i < LAYOUTS; i++)
		if (strcmp(words[i], word) == 0) {
			*ret = levels[i];
			return true;
		}
	return false;
}

const char *layout_word(enum level level)
{
	return words[level];
}

/* ---- the document; pure ---- */

int layout_parse(const char *text, size_t n, enum level *ret)
{
	_cleanup_(json_freep) struct json *j = NULL;
	const char *word = NULL;
	int e = n > DOCUMENT_MAX ? -EMSGSIZE : json_parse(text, n, &j);

	if (e == 0 && !json_is_object(j))
		e = -EBADMSG;
	if (e == 0)
		e = json_str_opt(j, "layout", &word);
	if (e < 0 || !word)
		return e;
	return layout_of_word(word, ret) ? 1 : -EBADMSG;
}

int layout_write(const char *was, size_t n, enum level level, struct buf *ret)
{
	const char *key, *value;
	size_t key_n, value_n, pos = 0;
	int e = buf_addf(ret, "{\"layout\": \"%s\"", words[level]);

	while (e == 0 && n && (e = json_raw_next(was, n, &pos, &key, &key_n, &value, &value_n)) == 1) {
		_cleanup_free_ char *name = NULL;

		e = json_raw_text(key, key_n, &name);
		if (e == 0 && strcmp(name, "layout") != 0)
			e = buf_addf(ret, ", \"%.*s\": %.*s", (int)key_n, key, (int)value_n, value);
	}
	return e < 0 ? e : buf_adds(ret, "}\n");
}

/* ---- what is known ---- */

static void remember(struct reduct *r, const char *key, enum level level)
{
	WITH_LOCK(&r->lock) {
		if (map_count(r->layouts) >= KNOWN_MAX)
			map_clear(r->layouts);
		(void)map_set(r->layouts, key, (void *)&levels[level]); /* else it is asked for again */
	}
}

static bool is_known(struct reduct *r, const char *key, enum level *ret)
{
	const enum level *l;

	WITH_LOCK(&r->lock) {
		l = map_get(r->layouts, key);
		if (l)
			*ret = *l;
	}
	return l;
}

void layout_made(struct reduct *r, const char *bucket, const char *entry)
{
	_cleanup_free_ char *key = NULL;

	if (str_fmt(&key, "%s/%s", bucket, entry) == 0)
		remember(r, key, r->layout);
}

/* ---- at the server ---- */

/* The newest attachment `scifs`: 1, 0 there is none. */
static int find_document(struct reduct *r, const char *bucket, const char *meta, uint64_t *ret_ts, uint64_t *ret_size)
{
	struct query q = {.bucket = bucket, .entry = meta, .stop = REDUCT_TS_MAX, .when = "\"&key\": {\"$eq\": \"" ATTACHMENT_OWN "\"}"};
	struct records page = {0};
	int e, found = 0;

	while ((e = query_next(r, &q, &page)) == 0 && page.list.n)
		for (size_t i = 0; i < page.list.n; i++) {
			const struct record *x = &page.list.at[i];

			found = !str_eq(record_label(x, "remove"), "true");
			*ret_ts = x->ts;
			*ret_size = x->size;
		}
	records_done(&page);
	return e == -ENOENT ? 0 : e < 0 ? e : found;
}

/* Its text; empty: there is none, or none that says anything. -EMSGSIZE. */
static int read_document(struct reduct *r, const char *bucket, const char *entry, struct buf *ret)
{
	_cleanup_free_ char *meta = NULL, *path = NULL;
	struct ask a = {0};
	uint64_t ts = 0, size = 0;
	int e = str_fmt(&meta, "%s/$meta", entry);

	if (e == 0)
		e = find_document(r, bucket, meta, &ts, &size);
	if (e < 1 || size < DOCUMENT_MIN)
		return e < 0 ? e : 0;
	if (size > DOCUMENT_MAX)
		return -EMSGSIZE;
	e = path_of(bucket, meta, &path);
	if (e == 0)
		e = reduct_ask(r, &a, "b/%s?ts=%" PRIu64, path, ts);
	if (e == 0)
		e = a.text.len > DOCUMENT_MAX ? -EMSGSIZE : buf_add(ret, buf_str(&a.text), a.text.len);
	ask_done(&a);
	return e == -ENOENT ? 0 : e;
}

/* Nobody knows now, but somebody may soon. Any other error is an answer, and as good as none. */
static bool is_passing(int e)
{
	static const int passing[] = {ETIMEDOUT, ECONNREFUSED, ECONNRESET, EHOSTUNREACH, EPROTO, EAGAIN, EINTR, ENOMEM};

	for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
		if (e == -passing[i])
			return true;
	return false;
}

static int ask_for(struct reduct *r, const char *bucket, const char *entry, enum level *ret)
{
	_cleanup_buf_ struct buf text = BUF_MAX(DOCUMENT_MAX + 1);
	int e = read_document(r, bucket, entry, &text);

	if (e == 0 && text.len)
		e = layout_parse(buf_str(&text), text.len, ret);
	if (is_passing(e))
		return e;
	if (e < 0)
		log_warn("%s: the layout that %s/%s has in its attachment " ATTACHMENT_OWN " says nothing: %s", r->session.origin, bucket, entry,
		         e == -EMSGSIZE ? "it is too large" : e == -EBADMSG ? "it is no JSON object with a layout that is known" : strerror(-e));
	backend_note_fault(0, NULL, NULL, NULL);        /* it is not what the call fails by, if it does */
	return 0;
}

static void leave_word(struct reduct *r, const char *bucket, const char *entry)
{
	_cleanup_buf_ struct buf was = BUF_MAX(DOCUMENT_MAX + 1), now = BUF_MAX(2 * DOCUMENT_MAX);
	const struct place p = {.what = IS_ENTRY, .bucket = (char *)bucket, .entry = (char *)entry};
	enum level there;
	int e = read_document(r, bucket, entry, &was);

	if (e == 0 && was.len)
		e = layout_parse(buf_str(&was), was.len, &there);
	if (e == 1 && there == r->layout)
		return;
	/* One that cannot be read is somebody's nevertheless. */
	if (e >= 0)
		e = layout_write(buf_str(&was), was.len, r->layout, &now);
	if (e == 0)
		e = attachment_write(r, &p, ATTACHMENT_OWN, buf_str(&now));
	if (e < 0)
		log_warn("%s: layout=%s could not be noted at %s/%s: %s", r->session.origin, words[r->layout], bucket, entry, strerror(-e));
	backend_note_fault(0, NULL, NULL, NULL);
}

int layout_of(struct reduct *r, const char *bucket, const char *entry, enum level *ret)
{
	_cleanup_free_ char *key = NULL;
	enum level level = r->layout;
	int e = 0;

	*ret = level;
	if (r->minor < MINOR_ATTACHMENTS || *bucket == '$' || (r->layout_told && !r->layout_noted))
		return 0;
	e = str_fmt(&key, "%s/%s", bucket, entry);
	if (e < 0 || is_known(r, key, ret))
		return e;
	if (!r->layout_told) {
		e = ask_for(r, bucket, entry, &level);
		if (e == 0)
			remember(r, key, level);
	} else if (reduct_rights(r, bucket) & RIGHT_WRITE) {
		remember(r, key, level);        /* before: it is tried once, whatever comes of it */
		leave_word(r, bucket, entry);
	}
	if (e == 0)
		*ret = level;
	return e;
}
