/* backend.h - what repositories say: the contract between the core and each kind of repository.
 *
 * A backend describes, the core performs: no thread, no curl, no FUSE below backend/NAME/. Its functions are blocking
 * straight lines that may be called from several threads at once (fs calls them from its callers, never from a FUSE
 * worker), or pure. Nobody above asks which backend it is; they ask what it `can`, or call a member through the
 * backend_*() wrapper below, which answers for the members a backend leaves out.
 */
#ifndef SCIFS_BACKEND_BACKEND_H
#define SCIFS_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/policy.h"
#include "base/secret.h"
#include "base/vec.h"
#include "http/http.h"

struct session;

enum object_kind {
	OBJECT_UNKNOWN,         /* file or directory: the listing does not tell, stat() does */
	OBJECT_DIR,
	OBJECT_FILE,
	OBJECT_LINK,            /* a symbolic link to `target` */
};

#define RIGHT_READ   1u         /* the caller may read it */
#define RIGHT_WRITE  2u
#define RIGHT_ADMIN  4u
#define RIGHT_PUBLIC 8u         /* everybody may read it */

#define OBJECT_SIZE_UNKNOWN UINT64_MAX
#define OBJECT_SIZE_MAX (1ull << 50)    /* no repository holds a larger file: the wrapper makes such a size unknown */

/* What the repository says of one thing: a plain value that owns its strings. All strings are UTF-8; NULL is "not said". */
struct object {
	enum object_kind kind;
	unsigned rights;        /* RIGHT_* */
	uint64_t size;          /* bytes; of a directory 0 */
	struct timespec mtime, ctime;
	struct timespec listed; /* the time stamp that a listing shows of it: what stat() found out stands while this does */
	char *id;               /* identity at the server, unique in the session, stable over rename ("item/5f0c..."):
	                         * inode numbers and documents hang on it */
	char *name;             /* the server's raw name: any bytes but NUL; hostile; fs/name.c makes it a file name */
	char *version;          /* of the content: two equal ids and versions have equal bytes. NULL for directories */
	char *content;          /* what the backend needs to read or list it ("file/5f0d..."); opaque to others */
	char *digest;           /* "sha512:HEX", "md5:HEX" of the content, if the server says so */
	char *mime;             /* user.mime_type */
	char *target;           /* OBJECT_LINK: where it points, as the server has it */
	char *error;            /* user.scifs.error: a lasting fault of this thing that a user should know */
};

void object_done(struct object *o);                             /* frees the strings; NULL and zeroed ones are fine */
int object_copy(const struct object *from, struct object *ret); /* deep; -ENOMEM */
/* Its members as JSON, without the braces around them, so that others may stand beside them; and read back from such an
 * object: -EBADMSG. What is read was written by us, on this disk: no server's answer passes here. */
int object_write_json(const struct object *o, struct buf *b);
int object_read_json(const struct json *j, struct object *ret);

#define LISTING_MAX 1000000     /* entries of one directory: more is -EFBIG */

/* One page of a listing or of an answer. Zeroed at first; pages are asked for until `cursor` is NULL again. */
struct page {
	char *cursor;                   /* opaque; owned by the page */
	VEC(struct object) objects;     /* of this page only; the backend clears what it finds there */
	uint64_t total;                 /* 0: not said */
	uint64_t seen;                  /* the wrapper's own: the cursor before, as a hash */
	unsigned empty;                 /* the wrapper's own: pages in a row that brought nothing */
	uint64_t first;                 /* the wrapper's own: what the page before began with, as a hash */
	uint64_t count;                 /* the wrapper's own: what all pages brought, LISTING_MAX at most */
};
void page_done(struct page *p);

/* A document: the server's own bytes (JSON). */
struct doc {
	char *text;
	size_t len;
};
void doc_done(struct doc *d);

/* Extended attributes made from an object and its document: names without the "user." in front, values raw bytes. */
struct attr {
	char *name;
	char *value;
	size_t len;
};
struct attrs {
	VEC(struct attr) list;          /* at most ATTRS_MAX */
};
#define ATTRS_MAX 4096
int attrs_add(struct attrs *a, const char *name, const char *value, size_t len);        /* copies; -ENOMEM; -E2BIG when full */
void attrs_done(struct attrs *a);
/* Flatten a JSON value as PREFIX, PREFIX.key, PREFIX.key.key ...: strings as they are, other scalars and arrays as JSON
 * text (numbers exactly as the server wrote them), objects dotted. Bytes that cannot stand in a name are percent-encoded. */
int attrs_flatten(struct attrs *a, const char *prefix, const char *json, size_t len);

/* Bytes first .. first+count-1 of a content. */
struct range {
	uint64_t first, count;
};

typedef int (*content_sink)(void *arg, const void *data, size_t n);     /* 0 or -errno, which ends the filling */

/* How to get a range of a content. The backend fills it; what it points to belongs to the plan. */
struct read_plan {
	enum {
		PLAN_REQUEST,   /* http.request, with url and headers: fs submits it */
		PLAN_FILL,      /* call `fill` on a caller: a blocking function that gives the bytes of `range` in order */
	} kind;
	struct range range;             /* in: wanted; out: what the plan gives. May be longer at both ends, never shorter */
	char *url;
	char *headers[8];               /* NULL-terminated */
	const char *auth_header, *auth_prefix;  /* static strings */
	struct secret *auth;            /* a reference of the plan's own, or NULL */
	bool cache_redirect;
	int (*fill)(struct session *s, const struct object *o, struct range r, content_sink sink, void *arg,
	            const int *cancelled);
};
void read_plan_done(struct read_plan *p);

/* Who logs in where. Filled by conf, borrowed by backend->open. */
struct login {
	const char *url;                /* http(s)://host[:port] without a path, or "memory:" */
	const char *path;               /* what followed the host, "" or "/..." : prefix of the API, then subtree */
	const char *api;                /* -o api=, or NULL: find it */
	struct secret *token, *api_key, *password;      /* each may be NULL; bound to the origin */
	const char *user;
	const char *(*option)(const void *config, const char *name);    /* value of one of the backend's own options; NULL: not given */
	const void *config;
	const struct policy *override;  /* fields that the user set: nonzero ones win */
	unsigned patience_ms;           /* how long open() may wait for the server; 0: as long as the policy says */
	const char *kept;               /* session->kept of an earlier session: come up from it and ask nobody; NULL: ask */
};

/* One row of the option table; conf has those of the core. OPTION_SECRET: files and environment only, never shown. */
enum option_type { OPTION_STRING, OPTION_BOOL, OPTION_SIZE, OPTION_DURATION, OPTION_UINT, OPTION_CHOICE, OPTION_FILE, OPTION_SECRET };
struct option {
	const char *name;
	enum option_type type;
	const char *fallback;           /* the default, as a user would write it; NULL: none */
	const char *choices;            /* OPTION_CHOICE: "auto|dir|file"; OPTION_FILE: words that are no path */
	const char *help;               /* one line for --help and the manual */
};

#define CAN_RANGE  1u           /* parts of a content can be read */
#define CAN_SEARCH 2u
#define CAN_BYID   4u

/* Each session begins with this. */
struct session {
	const struct backend *backend;
	struct policy policy;
	struct http *http;              /* NULL for memory: */
	char *origin;                   /* scheme://host[:port] */
	char *identity;                 /* who is logged in, as the server says ("user/5f..", "anonymous"): part of cache keys */
	char *view;                     /* which of its options shape the tree ("items=dir"): listings are kept under it; NULL: none */
	char *kept;                     /* what open() needs to come up again while the server is silent: a JSON object without
	                                 * secrets; NULL: it never needs a server, or cannot */
	char *server_json;              /* what is known of server and login, a JSON object, for .scifs/server.json; no secrets */
};

struct backend {
	const char *scheme;             /* "girder": in URLs, attribute names, logs */
	unsigned can;
	struct policy policy;
	const struct option *options;   /* ends with name NULL; or NULL */

	/* Set by a backend without a host, whose sources are written "scheme:WORDS": can these words be understood? -EINVAL with
	 * one line in *why. Pure. NULL: its sources are URLs. */
	int (*check_source)(const char *source, char **why);

	/* Log in and find the root. May block. -EACCES wrong or missing login, -EPROTO not such a server, -ENOENT the
	 * subtree does not exist, transport errors. *why (may be set; malloc'ed) is one line for the user. */
	int (*open)(const struct login *who, struct http *http, struct session **ret, char **why);
	void (*close)(struct session *s);
	/* Does this origin look like one of ours? Returns 1 yes, 0 no, -errno. NULL: cannot be probed. */
	int (*probe)(struct http *http, const char *url, const char *path);
	int (*root)(struct session *s, struct object *ret);
	/* The children of `dir` whose raw name is `name`: none is an empty page, not an error; twins are several. */
	int (*lookup)(struct session *s, const struct object *dir, const char *name, struct page *io);
	/* All children of `dir`, a page at a time, in an order that the server keeps. */
	int (*list)(struct session *s, const struct object *dir, struct page *io);

	/* Optional from here on. */
	/* Look at one thing again by its id: kind, version, size. -ENOENT gone. *ret is filled anew. */
	int (*stat)(struct session *s, const struct object *o, struct object *ret);
	/* Cheap: may `dir`'s listing have changed since this fingerprint? *fingerprint is replaced (malloc'ed). 1 yes, 0 no. */
	int (*changed)(struct session *s, const struct object *dir, char **fingerprint);
	int (*prepare_read)(struct session *s, const struct object *o, struct read_plan *io);   /* must not block */
	int (*get_doc)(struct session *s, const struct object *o, struct doc *ret);
	int (*attrs)(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret);  /* pure */
	/* Search below dir (the root object: everywhere). Each found object carries its id and name; locate() tells where it is,
	 * and what lies outside of the mounted subtree is left out. -EINVAL: an expression the server refuses, its words in *why. */
	int (*query)(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why);
	/* Where a thing is: the objects from a child of the mount's root down to it, in io->objects (id and name are filled, more
	 * is not asked); none: it is the root. `id` is an object's own, or what else people know it by: a bare id, an address.
	 * -ENOENT; -EXDEV: outside of the mounted subtree; -EISDIR: no id, but ids begin so with a slash behind ("item"). */
	int (*locate)(struct session *s, const char *id, struct page *io);
	/* The address a person would open, or NULL. malloc'ed. */
	int (*url)(const struct session *s, const struct object *o, char **ret);
	/* Renew what expires. Called every now and then on a caller; *ret_next_s: seconds until it wants to be called. */
	int (*work)(struct session *s, unsigned *ret_next_s);
	/* Bytes used and in all below the mount, if the server tells cheaply. */
	int (*space)(struct session *s, uint64_t *ret_used, uint64_t *ret_total);
};

/* NULL-terminated table of all backends. */
extern const struct backend *const backends[];

/* SOURCE -> backend and parts. "girder+https://h:1/p" -> girder, "https://h:1", "/p"; "memory:?x" -> memory;
 * "https://h" -> *ret_backend NULL (to be probed). -EINVAL with one line in *why. Pure. */
int backend_parse_source(const char *source, const struct backend **ret_backend, char **ret_url, char **ret_path, char **why);
/* For open(): a user's own values win over the backend's. o may be NULL. */
void backend_override(struct policy *p, const struct policy *o);
/* Ask each backend's probe; -EPROTO when none knows the host. *why (malloc'ed) is one line for the user. May block. */
int backend_probe(struct http *http, const char *url, const char *path, const struct backend **ret, char **why);
/* For open(): the line for a user whose server could not be reached: the wire's words and, where there is one, the remedy. */
void backend_unreachable(const char *url, int err, const char *words, char **why);

/* The wrappers that fs calls: trace at debug level, check what came back (in a page an object without id or name is left
 * out with a log line, alone it is -EBADMSG; so are pages that do not end), answer for members that are NULL (-ENOTSUP;
 * changed: 1).
 * They log an error once, naming the call, the object and the server's words, and hand the words on: *why (may be
 * NULL) is malloc'ed. May block up to policy.timeout_ms. */
int backend_root(struct session *s, struct object *ret);
int backend_lookup(struct session *s, const struct object *dir, const char *name, struct page *io);
int backend_list(struct session *s, const struct object *dir, struct page *io);
int backend_stat(struct session *s, const struct object *o, struct object *ret);
int backend_changed(struct session *s, const struct object *dir, char **fingerprint);
int backend_prepare_read(struct session *s, const struct object *o, struct read_plan *io);
/* Carry out a PLAN_FILL. On a caller; may block for long. */
int backend_fill(struct session *s, const struct object *o, const struct read_plan *p, content_sink sink, void *arg,
                 const int *cancelled);
int backend_get_doc(struct session *s, const struct object *o, struct doc *ret);
int backend_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret);
int backend_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why);
int backend_locate(struct session *s, const char *id, struct page *io);
int backend_url(const struct session *s, const struct object *o, char **ret);
int backend_work(struct session *s, unsigned *ret_next_s);
int backend_space(struct session *s, uint64_t *ret_used, uint64_t *ret_total);

/* Errors as one JSON line for .scifs/errors: what the wrapper logs is handed to this hook too (any thread, must not
 * block; strings are borrowed). `class` may be NULL. One hook a process's mount; set before any call. */
struct fault {
	const char *op, *id, *class_, *message, *request;
	int err;                /* positive errno */
	int status;             /* HTTP, or 0 */
};
void backend_set_fault_hook(void (*hook)(void *arg, const struct fault *f), void *arg);
/* For fs, of a read whose request it made itself: hand this to the hook, the request's URL without its secrets. */
void backend_report_fault(const char *op, const char *id, int err, int status, const char *message, const char *request);
/* For backends: note the server's own words of the failure that is about to be returned. Thread-local; cleared by the
 * wrapper before each call; all strings copied, made printable, cut at 500 bytes; secrets of a URL left out. */
void backend_note_fault(int status, const char *class_, const char *message, const char *request);

#endif
