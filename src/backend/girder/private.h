/* private.h - what the files of the Girder backend share. */
#ifndef SCIFS_BACKEND_GIRDER_PRIVATE_H
#define SCIFS_BACKEND_GIRDER_PRIVATE_H

#include <pthread.h>

#include "backend/girder/girder.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/list.h"
#include "base/str.h"

enum items { ITEMS_AUTO, ITEMS_DIR, ITEMS_FILE, ITEMS_ASSUME_SINGLE };

struct girder {
	struct session session;
	char *api;                      /* ".../api/v1" */
	char *web;                      /* what a person opens, without the hash */
	enum items items;
	struct object root;
	pthread_mutex_t lock;           /* guards what follows */
	struct secret *token;           /* NULL: anonymous */
	struct secret *api_key, *password;
	char *user;
	bool unverified;                /* it came up without the server: who is logged in is believed, not known */
	time_t token_ends;              /* 0: not said */
	time_t renew_at;                /* 0: when it fails */
	bool renewing;
	uint64_t login_seen;            /* monotonic ms at which the server knew us */
	unsigned login_serial;          /* goes up with each login, so that ten failed calls make one */
	pthread_mutex_t whole_lock;     /* whole.c's: guards its contents; taken alone */
	pthread_cond_t whole_moved;
	struct list wholes;
};

/* ---- girder.c ---- */
static inline struct girder *girder_of(struct session *s)
{
	return (struct girder *)s;
}
/* GET below the API: a printf path with its query, already encoded. The answer's bytes in *ret. Logs in again once on 401.
 * -errno of girder.md's table; the server's words are noted. */
int girder_get(struct girder *g, struct buf *ret, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same, parsed. */
int girder_get_json(struct girder *g, struct json **ret, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool girder_unverified(struct girder *g);               /* nothing may be asked before the login was looked at: girder_get does it */
struct secret *girder_token(struct girder *g);          /* a reference, or NULL */
/* Something is missing. The server answers an expired token without a word, as if nobody had logged in: has that happened? 1: it
 * had, we are logged in again and the question is worth asking again. 0: no (or it was looked at within trust_ms). -EACCES: it
 * cannot be renewed. */
int girder_login_ended(struct girder *g, unsigned trust_ms);
int girder_encode(const char *s, char **ret);           /* for a query's value */

/* ---- parse.c: pure ---- */
/* errno of an answer that is not 2xx; body may be HTML. *message (200 bytes) gets the server's words. */
int girder_errno(int status, const char *body, size_t n, char message[200]);
bool girder_is_array(const struct buf *text);           /* an answer that begins as a list does */
int parse_folder(const struct json *j, struct object *ret);             /* also collections and users, by _modelType */
int parse_item(const struct json *j, enum items items, unsigned rights, struct object *ret);
int parse_file(const struct json *j, unsigned rights, struct object *ret);
/* What an item is shown as, from its files: fills kind and content of *io (an item's object). */
int parse_classify(const struct json *files, enum items items, struct object *io);
/* The rights that a document tells by _accessLevel and public. */
unsigned parse_rights(const struct json *j);
const char *girder_id(const char *id);                  /* "item/5f" -> "5f" */
/* object.content is "file/ID", "link-file/ID" (it leads to another address) or "zip-item/ID/file/ID" (it comes only in a zip
 * of its item): this is the "file/ID" of it. */
const char *girder_file(const char *content);
bool girder_is(const char *id, const char *type);       /* "item/5f" is "item" */
/* Does the server fail to send a file of this name (it cannot be put into its headers)? */
bool girder_name_unservable(const char *name);

/* ---- search.c: pure ---- */
#define GIRDER_QUERY_MAX 200            /* hits of one query */
#define GIRDER_QUERY_WIDE 2000          /* hits of the whole site among which those of one directory are looked for */
struct girder_query {
	char *words;                    /* owned by who asked */
	bool prefix;                    /* mode=prefix: the beginning of a name; else words */
	unsigned types;                 /* bit of each kind, in the order of search.c's table */
	unsigned limit;
};
int girder_parse_query(const char *expr, struct girder_query *ret, char **why); /* -EINVAL with one line in *why */
int girder_id_of_url(const char *url, char **ret);      /* "TYPE/ID" of an address; -ENOENT: it has none */

/* ---- whole.c: contents that come only whole ---- */
void girder_wholes_init(struct girder *g);
void girder_wholes_tidy(struct girder *g);
void girder_wholes_done(struct girder *g);
int girder_fill_whole(struct session *s, const struct object *o, struct range range, content_sink sink, void *arg,
                      const int *cancelled);

/* ---- tree.c, content.c, meta.c, search.c: the members ---- */
int girder_lookup(struct session *s, const struct object *dir, const char *name, struct page *io);
int girder_list(struct session *s, const struct object *dir, struct page *io);
int girder_stat(struct session *s, const struct object *o, struct object *ret);
int girder_changed(struct session *s, const struct object *dir, char **fingerprint);
int girder_prepare_read(struct session *s, const struct object *o, struct read_plan *io);
int girder_get_doc(struct session *s, const struct object *o, struct doc *ret);
int girder_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret);
int girder_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why);
int girder_locate(struct session *s, const char *id, struct page *io);
int girder_resolve(struct girder *g, const char *path, struct object *ret);     /* "/collection/X/Y" by resource/lookup */

#endif
