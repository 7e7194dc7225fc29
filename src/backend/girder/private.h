/* private.h - what the files of the Girder backend share. */
#ifndef SCIFS_BACKEND_GIRDER_PRIVATE_H
#define SCIFS_BACKEND_GIRDER_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

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
	pthread_mutex_t hold_lock;      /* of what follows; taken alone */
	pthread_cond_t hold_moved;
	VEC(const char *) held;         /* ids of what is being changed; a holder's own strings */
	_Atomic long long ahead_s;      /* how far the server's clock is ahead of ours */
	char own_names[32];             /* begins the names of folders that are made for a moment; never changes */
	_Atomic unsigned own_folders;
	_Atomic bool keeps_folders;     /* the token's scope does not let it delete any */
	_Atomic bool own_shown;         /* one of them is left, and may hold something: they are listed */
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
/* A request that changes something. It is never sent twice, but after a 401 and a new login. */
struct girder_send {
	const char *method;
	const void *body;               /* or NULL */
	size_t len;
	const char *type;               /* of the body */
	bool is_file;                   /* the body are `len` bytes of `fd` from `at` on */
	int fd;
	uint64_t at;
	bool slow;                      /* the server may be long over it */
	bool any_status;                /* whatever it answers is the answer */
	const int *cancelled;           /* until it was sent whole */
	unsigned most_ms;               /* at most so long in all; 0: as the policy says */
	/* What came of it. */
	int status;                     /* 0: no answer */
	bool in_doubt;                  /* it may have been carried out: look */
	bool sent_whole;                /* else it cannot have been */
	bool asked_again;               /* girder_change() had to, the first having come to nothing */
	char words[200];                /* the server's */
};
/* `format` is a path below the API with its query. *ret (may be NULL): what it answered, an earlier value is freed. */
int girder_send(struct girder *g, struct girder_send *send, struct json **ret, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
int girder_send_raw(struct girder *g, struct girder_send *send, struct buf *ret, char **shown, const char *path);
/* Has a change been made? 1: it has, *ret is its document if it has one; 0: it has not; -errno: that cannot be seen. */
typedef int (*girder_look)(struct girder *g, const void *what, struct json **ret);
/* girder_send() of a change that ends well or not at all, as far as can be seen. Without an answer it is looked for until it is there,
 * or until nothing of it has come for a while: then it is asked for once more in what is left of its time, if its connection ended. A
 * server that is silent may still be at it: that is never asked again. send->in_doubt stays set where nobody knows. Whoever it is done
 * for may be interrupted: that ends nothing here, what came of it is still to be known. May block for as long as the request's own
 * time and the looks. */
int girder_change(struct girder *g, struct girder_send *send, girder_look look, const void *what, struct json **ret,
                  const char *format, ...) __attribute__((format(printf, 6, 7)));
/* The same of a change that `go` asks for, by one request or several that may each be sent twice; it leaves what came of the last in
 * *send, and obeys its most_ms. */
int girder_change_by(struct girder *g, struct girder_send *send, int (*go)(struct girder *g, struct girder_send *send, const void *what),
                     girder_look look, const void *what);
/* Nobody else changes these things until they are released. The strings must stay; NULL-terminated. May block for as long as a
 * request takes. -ENOMEM. */
int girder_hold(struct girder *g, const char *const ids[]);
void girder_release(struct girder *g, const char *const ids[]);
time_t girder_now(struct girder *g);                    /* the server's clock, to a second */

/* ---- parse.c: pure ---- */
#define GIRDER_MTIME_KEY "scifs_mtime"  /* in the metadata of an item or a folder: object.set_time */
/* errno of an answer that is not 2xx; body may be HTML. *message (200 bytes) gets the server's words. */
int girder_errno(int status, const char *body, size_t n, char message[200]);
bool girder_is_array(const struct buf *text);           /* an answer that begins as a list does */
int parse_folder(const struct json *j, struct object *ret);             /* also collections and users, by _modelType */
int parse_item(const struct json *j, enum items items, unsigned rights, struct object *ret);
int parse_item_dir(const struct json *j, unsigned rights, struct object *ret);  /* as `.scifs/items` shows it */
int parse_file(const struct json *j, unsigned rights, struct object *ret);
/* What an item is shown as, from its files: fills kind and content of *io (an item's object). */
int parse_classify(const struct json *files, enum items items, struct object *io);
/* Show an item (*io) as this file of its. */
int parse_merge(const struct json *file, struct object *io);
/* `s` without the blanks that the server cuts at both ends. */
void parse_trimmed(const char *s, const char **ret, size_t *ret_n);
/* The rights that a document tells by _accessLevel and public. */
unsigned parse_rights(const struct json *j);
const char *girder_id(const char *id);                  /* "item/5f" -> "5f" */
/* object.content is "file/ID", "link-file/ID" (it leads to another address) or "zip-item/ID/file/ID" (it comes only in a zip
 * of its item): this is the "file/ID" of it. */
const char *girder_file(const char *content);
bool girder_is(const char *id, const char *type);       /* "item/5f" is "item" */
/* The content of what is not there yet: a file that makes an item of its own, or one more of an item. */
#define GIRDER_NEW_ITEM "new-item"
#define GIRDER_NEW_FILE "new-file"
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
int girder_check_query(struct session *s, const struct object *dir, const char *expr, char **why);
int girder_locate(struct session *s, const char *id, struct page *io);
int girder_resolve(struct girder *g, const char *path, struct object *ret);     /* "/collection/X/Y" by resource/lookup */

/* ---- names.c: pure ---- */
/* Would the server keep this name as it is? 0, -EINVAL, -EILSEQ. */
int girder_check_name(const char *name);
const char *girder_mime_of(const char *name);           /* by its extension; "application/octet-stream" */

/* ---- upload.c, change.c, set.c, rest.c: the members of writing ---- */
int girder_plan_create(const struct session *s, const struct object *dir, const char *name, enum object_kind kind, struct object *ret);
int girder_lane(const struct session *s, const struct object *dir, const char *name, const struct object *base, char **ret);
int girder_upload(struct session *s, struct upload *u);
int girder_upload_drop(struct session *s, const char *progress);
int girder_mkdir(struct session *s, const struct object *dir, const char *name, struct object *ret);
int girder_symlink(struct session *s, const struct object *dir, const char *name, const char *target, struct object *ret);
int girder_remove(struct session *s, const struct object *dir, const struct object *o);
int girder_remove_all(struct session *s, const struct object *dir, const struct object *o);
int girder_rename(struct session *s, const struct object *o, const struct object *from, const struct object *to, const char *name,
                  const struct object *over, struct object *ret);
int girder_copy(struct session *s, const struct object *o, const struct object *dir, const char *name, struct object *ret);
int girder_set_attrs(struct session *s, const struct object *o, const struct attrs *a);
int girder_check_attr(const struct session *s, const struct object *o, const char *name);
int girder_set_doc(struct session *s, const struct object *o, const struct doc *base, const struct doc *now);
int girder_control_object(struct session *s, const struct object *about, const char *name, struct object *ret);
int girder_control_call(struct session *s, const struct object *about, const char *name, const struct buf *question,
                        struct buf *ret);

/* ---- set.c: pure ---- */
/* *ret = the object `text` after user.girder.meta.PATH was set to the attribute's text (NULL: removed, -ENODATA when it was not there);
 * path NULL: a JSON object is merged into it. -EINVAL, the words noted. */
int girder_edit_meta(const char *text, size_t n, const char *path, const char *attr, size_t len, struct buf *ret);
/* What makes one metadata object of another: members to set as an object, names to remove as an array. Emptied by
 * meta_change_done(). -EINVAL: a name that the server refuses. */
struct meta_change {
	struct buf set, removed;
	bool nulls;                     /* some are set to null */
};
int girder_diff_meta(const char *was, size_t was_n, const char *now, size_t now_n, struct meta_change *ret);
void meta_change_done(struct meta_change *c);

/* ---- rest.c: pure ---- */
/* The path below the API, with the members of a JSON object (NULL: none) as its query. -EINVAL, the words noted. */
int girder_rest_path(const char *path, const char *parameters, size_t n, struct buf *ret);

/* What changes share. */
bool girder_takes_files(const struct girder *g, const struct object *dir);      /* a folder, or a directory of an item's files */
const char *girder_item_of(const struct object *dir);  /* the id of the item whose files it holds, or NULL */
/* Whoever has this name in a folder, item or folder: 1 (its id in *ret_id as "item/ID", may be NULL), 0 free. */
int girder_name_taken(struct girder *g, const char *folder, const char *name, char **ret_id);
bool girder_created_by_us(const struct girder *g, const struct json *document);

#endif
