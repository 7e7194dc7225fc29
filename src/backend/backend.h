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
	char *set_time;         /* what backend->mtime_attr holds: object_set_time() reads it; hostile */
};

void object_done(struct object *o);                             /* frees the strings; NULL and zeroed ones are fine */
int object_copy(const struct object *from, struct object *ret); /* deep; -ENOMEM */
/* Its members as JSON, without the braces around them, so that others may stand beside them; and read back from such an
 * object: -EBADMSG. What is read was written by us, on this disk: no server's answer passes here. */
int object_write_json(const struct object *o, struct buf *b);
int object_read_json(const struct json *j, struct object *ret);
/* A time that a user set, as it is kept in the metadata of a thing: "SECONDS.NANOSECONDS ID VERSION", nine digits of nanoseconds. ID and
 * VERSION are those of the thing and of the content it was set for, so that it says nothing of a copy or of other content; of a
 * directory VERSION is "-". -ENODATA: it has no version that is known. */
int object_write_set_time(const struct object *o, struct timespec t, char **ret);
/* The time that o->set_time holds, if it was set for just this thing and content. Pure. */
bool object_set_time(const struct object *o, struct timespec *ret);
#define SET_TIME_MAX 512        /* bytes; what is longer is none of ours */

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
int doc_copy(const struct doc *from, struct doc *ret);   /* with a NUL behind it; -ENOMEM */

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
/* What it calls a member whose raw name (the text between the quotes) is this: malloc'ed. -ENAMETOOLONG: none is made of it. */
int attrs_key(const char *key, size_t n, char **ret);

/* Bytes first .. first+count-1 of a content. */
struct range {
	uint64_t first, count;
};

typedef int (*content_sink)(void *arg, const void *data, size_t n);     /* 0 or -errno, which ends the filling */

typedef int (*content_many_sink)(void *arg, size_t which, const void *data, size_t n);  /* the same */

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
	const int *stopped;             /* atomic; of a PLAN_REQUEST: once it is not 0, what comes is not the content any more. Or NULL */
	void (*ended)(void *arg);       /* the plan is over: read_plan_done() calls it. Or NULL */
	void *arg;
};
void read_plan_done(struct read_plan *p);

/* ---- writing ---- */

/* A content to hand over. The backend reads it with pread() from `fd`, as a straight line of calls, and resumes from `progress`. */
struct upload {
	/* What is to be done; all of it borrowed until upload() returns. */
	const struct object *dir;       /* the directory that is to hold it */
	const char *name;               /* the raw name there */
	const struct object *base;      /* what the server held when writing began, its content is replaced; NULL: a new thing */
	const char *mime;               /* or NULL: the backend guesses from the name */
	const char *digest;             /* "sha512:HEX" of the content, or NULL */
	struct timespec mtime;          /* of the last write, or as a user set it */
	bool mtime_set;                 /* by a user */
	const struct attrs *attrs;      /* what set_attrs() will be told once it is there; may go along with it: see took_attrs. NULL: none */
	int fd;
	uint64_t size;
	time_t begun;                   /* wall time of the first attempt: what was made before it is not ours */
	bool again;                     /* not the first attempt: an earlier one may have reached the server */
	const char *progress;           /* what was noted last: opaque to others; NULL at first */
	/* Write `progress` down, on the disk when it returns, before what it speaks of is sent; `sent` bytes are known to have been
	 * acknowledged. A failure must end the upload: what is not written down must not be sent. */
	int (*note)(struct upload *u, const char *progress, uint64_t sent);
	/* The same for several of one upload_many(), of which nothing was acknowledged: all or none, and the disk is waited for once. NULL: one
	 * by one. For backend_note_many(). */
	int (*note_many)(struct upload *const u[], const char *const progress[], size_t n);
	const int *cancelled;           /* looked at between requests and passed to those that may be broken off: -EINTR */
	/* What came of it. */
	struct object object;           /* on success: the thing as it is now at the server; the caller's to end */
	bool took_attrs;                /* all of `attrs` are at the server with it */
	bool took_mtime;                /* and `mtime`, where the backend keeps times by itself (mtime_own) */
	char *why;                      /* one line for a person, or NULL; malloc'ed */
};

/* A backend's own name below `.scifs/`. Its kinds: */
enum control_act {
	CONTROL_TREE,                   /* a directory of ordinary things: control_object() says which object */
	CONTROL_CALL,                   /* opened for reading and writing: what is written is a question, control_call() answers it */
	/* Papers: a small tree of the backend's own, which the members paper_*() speak of. */
	CONTROL_DOC,                    /* a text, JSON when its name ends so. Written as a whole: it acts when it is closed */
	CONTROL_TEXT,                   /* a line: it acts in write(2) */
	CONTROL_PAPERS,                 /* a directory of papers, in which documents may be made, replaced and removed */
	CONTROL_LINK,                   /* a symbolic link to an object */
	CONTROL_VERB,                   /* no name, but a verb of `.scifs/action` there: paper_write() acts, its words are the text */
};
struct backend_control {
	const char *name;
	enum control_act act;
	bool root_only;                 /* in the mount's root; below others paper_stat() decides, by what they are about */
	const char *same_as;            /* CONTROL_VERB: the mount's own verb that does this to the directory where contents are written, and
	                                 * takes care of what is owed below it; NULL: paper_write() always does */
};

/* What is asked to be done with a paper: what is there is written, a new one made, or it is removed. */
enum paper_act { PAPER_WRITE, PAPER_MAKE, PAPER_REMOVE };

/* What stands at a path below the `.scifs/` of something. */
struct paper {
	enum control_act act;           /* a DOC, TEXT, PAPERS or LINK */
	char *name;                     /* the raw name, the last of its path */
	char *target;                   /* CONTROL_LINK: the id of the object that it leads to, for locate() ... */
	char *below;                    /* ... or the way to it from the directory: raw names without slashes, slashes between */
	bool writable;                  /* writing it, or making things in it, is an act that there is; paper_check() says who may */
	bool secret;                    /* for the mounter alone, and kept nowhere */
};
struct papers {
	VEC(struct paper) list;
};
#define PAPERS_MAX 10000u               /* of one directory: more is -EFBIG */
#define PAPERS_DEPTH 8                  /* names of a path */
#define PAPER_MAX (1u << 20)            /* bytes of a text that is written, and of a reply */
#define PAPER_READ_MAX (64u << 20)      /* and of one that is read */
void paper_done(struct paper *p);
int paper_say(struct paper *ret, enum control_act act, const char *name, bool writable);        /* fills it anew; copies. -ENOMEM */
void papers_done(struct papers *p);
int papers_add(struct papers *p, enum control_act act, const char *name, bool writable);       /* copies. -ENOMEM */

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
	bool read_only;                 /* nothing is to be written at the server, not even what only helps other mounts */
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
#define CAN_WRITE  8u           /* something can be written: without it every change is EROFS */

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
	_Atomic bool reads_only;        /* what we log in with may not write, whoever we are: the wrappers take RIGHT_WRITE from all objects */
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
	/* Can lookup() find this name in `dir` though a whole listing of it has none such? Pure. NULL: never. */
	bool (*unlisted)(const struct session *s, const struct object *dir, const char *name);
	/* Look at one thing again by its id: kind, version, size. -ENOENT gone. *ret is filled anew. */
	int (*stat)(struct session *s, const struct object *o, struct object *ret);
	/* Cheap: may `dir`'s listing have changed since this fingerprint? *fingerprint is replaced (malloc'ed). 1 yes, 0 no. */
	int (*changed)(struct session *s, const struct object *dir, char **fingerprint);
	int (*prepare_read)(struct session *s, const struct object *o, struct read_plan *io);   /* must not block */
	/* The whole contents of several small files of one directory, by as few requests as may be: give() gets each that comes, once,
	 * whole. What is gone, or is not what its object says any more, is left out. -ENOTSUP: this server cannot. May block. */
	int (*read_many)(struct session *s, const struct object *const list[], size_t n, content_many_sink give, void *arg);
	int (*get_doc)(struct session *s, const struct object *o, struct doc *ret);
	int (*attrs)(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret);  /* pure */
	/* Search below dir (the root object: everywhere). Each found object carries its id and name; locate() tells where it is,
	 * and what lies outside of the mounted subtree is left out. -EINVAL: an expression that is wrong, or that the server refuses, its
	 * words in *why; -ENOENT: none at all, such as programs look for everywhere; -EFBIG: more than policy.hits_max, where
	 * some of them alone would mislead. */
	int (*query)(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why);
	/* Would query() take this expression there? What can be told without a search: 0 too where it cannot be told now. -EINVAL, -ENOENT as
	 * query(). May block. NULL: it takes any that is not blank. */
	int (*check_query)(struct session *s, const struct object *dir, const char *expr, char **why);
	/* Where a thing is: the objects from a child of the mount's root down to it, in io->objects (id and name are filled, more
	 * is not asked); none: it is the root. `id` is an object's own, or what else people know it by: a bare id, an address.
	 * -ENOENT; -EXDEV: outside of the mounted subtree; -EISDIR: no id, but ids begin so with a slash behind ("item"). */
	int (*locate)(struct session *s, const char *id, struct page *io);
	/* The address a person would open, or NULL. malloc'ed. */
	int (*url)(const struct session *s, const struct object *o, char **ret);
	/* Renew what expires. Called every now and then on a caller; *ret_next_s: seconds until it wants to be called. */
	int (*work)(struct session *s, unsigned *ret_next_s);
	/* Bytes used and in all (0: nobody says how many there may be) below the mount, if the server tells cheaply. Asked for when it is mounted,
	 * and then as often as `work`. */
	int (*space)(struct session *s, uint64_t *ret_used, uint64_t *ret_total);

	/* Writing. What fails has changed nothing, or says so in the words noted; a request whose answer did not come is looked after
	 * before an error is returned: done is 0, undone is the error. -EACCES: no right. -ENOENT: what it is about is gone. */

	/* May `dir` get a child of this raw name and kind? Pure, no network. *ret: what it would be before anything is at the server
	 * (kind, rights, name, mime; no id). -EACCES, -EPERM (no such thing can be there), -EINVAL (the server would change the name). */
	int (*plan_create)(const struct session *s, const struct object *dir, const char *name, enum object_kind kind,
	                   struct object *ret);
	/* May the content of this file be replaced, by somebody with the right to write? -EPERM: here never. Pure. NULL: it may. */
	int (*check_write)(const struct session *s, const struct object *o);
	/* Uploads with equal lanes go one after the other. malloc'ed; NULL: alone in its lane. Pure. */
	int (*lane)(const struct session *s, const struct object *dir, const char *name, const struct object *base, char **ret);
	/* Hand a content over. -ESTALE: the server's content is not base's any more; -EEXIST: a new thing's name is taken by
	 * somebody else; -EINTR: cancelled; -EDQUOT, -ENOSPC, -EFBIG, -EINVAL, -EACCES, -ENOENT (its directory is gone): refused; others:
	 * try again later. An attempt that may have reached the server is looked after first (u->again). */
	int (*upload)(struct session *s, struct upload *u);
	/* The same of several small ones of one lane at once, by fewer requests (policy.upload_batch): ret[i] is what became of u[i], whose
	 * `why` says more. Each is noted before anything of it is sent, and one that is refused fails alone. */
	void (*upload_many)(struct session *s, struct upload *const u[], size_t n, int ret[]);
	/* What an upload left at the server under `progress` is not wanted any more. Best effort. */
	int (*upload_drop)(struct session *s, const char *progress);
	int (*mkdir)(struct session *s, const struct object *dir, const char *name, struct object *ret);       /* -EEXIST */
	/* A symbolic link: -EPERM where this target cannot be one. */
	int (*symlink)(struct session *s, const struct object *dir, const char *name, const char *target, struct object *ret);
	/* A file, a link, or an empty directory (-ENOTEMPTY). */
	int (*remove)(struct session *s, const struct object *dir, const struct object *o);
	/* Files of one directory, by fewer requests (policy.remove_defer_ms, upload_batch). ret[i] is what became of o[i]; a refusal means that it
	 * was not taken together with the others: remove() of it alone tells why, or does it. */
	void (*remove_many)(struct session *s, const struct object *dir, const struct object *const o[], size_t n, int ret[]);
	/* Does somebody read through this session what a removal from `dir` would interrupt? Then one that can wait does so for a while.
	 * Never blocks. NULL: a removal interrupts nobody. */
	bool (*is_read)(struct session *s, const struct object *dir);
	/* A directory with everything in it, in a few requests, however much that is. */
	int (*remove_all)(struct session *s, const struct object *dir, const struct object *o);
	/* From directory `from` to `to` (they may be equal), under `name`. `over`: what has this name there and goes, without a moment
	 * in which the name is missing, or NULL: nothing is known to have it (-EEXIST when something has). *ret: it as it is now. */
	int (*rename)(struct session *s, const struct object *o, const struct object *from, const struct object *to, const char *name,
	              const struct object *over, struct object *ret);
	/* A directory whose id was `was` has got the id `now` by rename(): what is the thing below it called now that was called `id`?
	 * malloc'ed; -ENOENT: it is not below. Pure. NULL: ids do not change with those of directories around. */
	int (*moved_id)(const char *was, const char *now, const char *id, char **ret);
	/* A copy of a file, made by the server, under a name that nothing has (-EEXIST). */
	int (*copy)(struct session *s, const struct object *o, const struct object *dir, const char *name, struct object *ret);
	/* Set extended attributes (names without "user."), or remove those whose value is NULL: all of them or none, in one request
	 * where the server can. -ENOTSUP: not one of ours, or not of this kind of thing; -EINVAL: refused; -ENODATA: removed what was not
	 * there. Computed ones are accepted and left alone. */
	int (*set_attrs)(struct session *s, const struct object *o, const struct attrs *a);
	/* Can set_attrs() set it, on this kind of thing? 0, or its error. Pure. */
	int (*check_attr)(const struct session *s, const struct object *o, const char *name);
	/* Make the document of `o` what `now` says: fields that cannot be written are to be as in `base`, the document as it was when it
	 * was opened. -EINVAL, -ESTALE (somebody changed it meanwhile). */
	int (*set_doc)(struct session *s, const struct object *o, const struct doc *base, const struct doc *now);
	/* The attribute of set_attrs() in which a time that a user set is kept with -o mtime=meta: a text, which each object carries as
	 * set_time, in listings too. NULL: there is no place for it. check_attr() tells which things have it. */
	const char *mtime_attr;
	/* The server keeps a time for each file: uploads bring it, mtime_attr (then "SECONDS.NANOSECONDS" alone) sets it, whatever -o mtime=
	 * says, and object.mtime is it. Nothing is kept beside it for files. */
	bool mtime_own;
	const struct backend_control *controls;         /* ends with name NULL; or NULL */
	int (*control_object)(struct session *s, const struct object *about, const char *name, struct object *ret);
	/* -EINVAL: no question of this kind. What the server answers is an answer, whatever its status. */
	int (*control_call)(struct session *s, const struct object *about, const char *name, const struct buf *question,
	                    struct buf *ret);

	/* Papers. `path` is raw names, the first one that of a row in `controls`, NULL behind the last; `about` is the directory
	 * whose `.scifs/` it is in. */

	/* What stands there; -ENOENT: nothing. Of a row alone it is decided by what `about` is, without a request, but for a link. */
	int (*paper_stat)(struct session *s, const struct object *about, const char *const *path, struct paper *ret);
	/* All that stands in a CONTROL_PAPERS. -EACCES. */
	int (*paper_list)(struct session *s, const struct object *about, const char *const *path, struct papers *ret);
	/* The text of it, as the server has it now. -ENODATA: it has none, and what a write answered last is shown. */
	int (*paper_read)(struct session *s, const struct object *about, const char *const *path, struct buf *ret);
	/* May this be done? What is known without a request, before a byte is accepted: 0; -EACCES: no right; -EPERM: no
	 * such act; -EINVAL: no such name can be. NULL: as `writable` says. */
	int (*paper_check)(struct session *s, const struct object *about, const char *const *path, enum paper_act act);
	/* Make it what the text says. What the server made of it (an id), if anything, goes into `reply`: no secrets. */
	int (*paper_write)(struct session *s, const struct object *about, const char *const *path, const struct buf *text, struct buf *reply);
	int (*paper_remove)(struct session *s, const struct object *about, const char *const *path);
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

/* For open(), of servers whose API is PREFIX/api/v1: find it below the prefixes of `path`, the longest first, or where `given` (-o api=, or
 * NULL) or the path itself names it. `is_there`: 1 yes, 0 no, -errno, which ends it. Answers as that does. *ret_api (malloc'ed) is
 * set with 1, and where it was named; *ret_used: what of the path leads to it. */
int backend_find_api(const char *url, const char *path, const char *given, int (*is_there)(void *arg, const char *api), void *arg,
                     char **ret_api, size_t *ret_used);
/* Make s->kept of what it needs to come up again: its API, identity and server_json, the root, and `more`: further members, each with a
 * comma in front. */
int backend_write_kept(struct session *s, const char *api, const char *more, const struct object *root);
/* And the way back, without a request; *ret (the caller's to free) has the further members. -EBADMSG: also when its API is not of s->origin: a
 * secret goes nowhere else. */
int backend_read_kept(struct session *s, const char *kept, char **ret_api, struct object *ret_root, struct json **ret);

/* The wrappers that fs calls: trace at debug level, check what came back (in a page an object without id or name is left
 * out with a log line, alone it is -EBADMSG; so are pages that do not end), answer for members that are NULL (-ENOTSUP;
 * changed: 1).
 * They log an error once, naming the call, the object and the server's words, and hand the words on: *why (may be
 * NULL) is malloc'ed. May block up to policy.timeout_ms. */
int backend_root(struct session *s, struct object *ret);
int backend_lookup(struct session *s, const struct object *dir, const char *name, struct page *io);
int backend_list(struct session *s, const struct object *dir, struct page *io);
int backend_stat(struct session *s, const struct object *o, struct object *ret);
bool backend_unlisted(const struct session *s, const struct object *dir, const char *name);
int backend_changed(struct session *s, const struct object *dir, char **fingerprint);
int backend_prepare_read(struct session *s, const struct object *o, struct read_plan *io);
/* Carry out a PLAN_FILL. On a caller; may block for long. */
int backend_fill(struct session *s, const struct object *o, const struct read_plan *p, content_sink sink, void *arg,
                 const int *cancelled);
int backend_read_many(struct session *s, const struct object *const list[], size_t n, content_many_sink give, void *arg);
int backend_get_doc(struct session *s, const struct object *o, struct doc *ret);
int backend_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret);
int backend_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why);
int backend_check_query(struct session *s, const struct object *dir, const char *expr, char **why);
int backend_locate(struct session *s, const char *id, struct page *io);
int backend_url(const struct session *s, const struct object *o, char **ret);
int backend_work(struct session *s, unsigned *ret_next_s);
int backend_space(struct session *s, uint64_t *ret_used, uint64_t *ret_total);
/* Those of writing: -EROFS where the backend does not write at all, else -ENOTSUP for a member that it leaves out (symlink, mkdir:
 * -EPERM). An object that comes back is checked as that of backend_stat(). */
bool backend_can_write(const struct session *s);
int backend_plan_create(const struct session *s, const struct object *dir, const char *name, enum object_kind kind, struct object *ret);
int backend_check_write(const struct session *s, const struct object *o);
/* The text that sets a time by mtime_attr: malloc'ed. -ENODATA: of this thing there can be none. Pure. */
int backend_write_time(const struct session *s, const struct object *o, struct timespec t, char **ret);
int backend_lane(const struct session *s, const struct object *dir, const char *name, const struct object *base, char **ret);
int backend_upload(struct session *s, struct upload *u);        /* u->why has the server's words when it fails */
/* Without upload_many() one after the other. */
void backend_upload_many(struct session *s, struct upload *const u[], size_t n, int ret[]);
int backend_upload_drop(struct session *s, const char *progress);
int backend_mkdir(struct session *s, const struct object *dir, const char *name, struct object *ret);
int backend_symlink(struct session *s, const struct object *dir, const char *name, const char *target, struct object *ret);
int backend_remove(struct session *s, const struct object *dir, const struct object *o, char **why);
/* -ENOTSUP of all without remove_many(). A failure is not noted: that of remove(), which follows, is. */
void backend_remove_many(struct session *s, const struct object *dir, const struct object *const o[], size_t n, int ret[]);
bool backend_is_read(struct session *s, const struct object *dir);
int backend_remove_all(struct session *s, const struct object *dir, const struct object *o, char **why);
int backend_rename(struct session *s, const struct object *o, const struct object *from, const struct object *to, const char *name,
                   const struct object *over, struct object *ret);
int backend_moved_id(const struct session *s, const char *was, const char *now, const char *id, char **ret);
int backend_copy(struct session *s, const struct object *o, const struct object *dir, const char *name, struct object *ret);
int backend_set_attrs(struct session *s, const struct object *o, const struct attrs *a, char **why);
int backend_check_attr(const struct session *s, const struct object *o, const char *name);
int backend_set_doc(struct session *s, const struct object *o, const struct doc *base, const struct doc *now, char **why);
int backend_control_object(struct session *s, const struct object *about, const char *name, struct object *ret);
int backend_control_call(struct session *s, const struct object *about, const char *name, const struct buf *question, struct buf *ret);
/* Papers can be written also where contents cannot (backend_can_write() does not matter). Names that no file can have, by length or
 * emptiness, are left out of a listing; a text that is no JSON, by its name or length, is refused here: -EINVAL, -EFBIG. */
bool backend_has_papers(const struct session *s);
int backend_paper_stat(struct session *s, const struct object *about, const char *const *path, struct paper *ret);
int backend_paper_list(struct session *s, const struct object *about, const char *const *path, struct papers *ret);
int backend_paper_read(struct session *s, const struct object *about, const char *const *path, struct buf *ret);
int backend_paper_check(struct session *s, const struct object *about, const char *const *path, enum paper_act act);
int backend_paper_write(struct session *s, const struct object *about, const char *const *path, const struct buf *text, struct buf *reply,
                        char **why);
int backend_paper_remove(struct session *s, const struct object *about, const char *const *path, char **why);

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

/* For upload_many(): write these down, of which nothing was sent. A failure is that of all of them. */
int backend_note_many(struct upload *const u[], const char *const progress[], size_t n);
/* For upload_many(): what was noted last is why this one failed, and says nothing of the next. */
void backend_blame(struct upload *u);

#endif
