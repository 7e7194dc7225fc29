/* private.h - what the files of the ReductStore backend share. */
#ifndef SCIFS_BACKEND_REDUCT_PRIVATE_H
#define SCIFS_BACKEND_REDUCT_PRIVATE_H

#include <pthread.h>

#include "backend/reduct/reduct.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/list.h"
#include "base/map.h"
#include "base/str.h"

/* ---- parse.c: the server's words; pure ---- */

#define REDUCT_TS_MAX ((uint64_t)INT64_MAX)     /* a later one ends the server when it stands in a query */

/* errno of an answer that is not 2xx, by its status and the server's words (may be ""). */
int reduct_errno(int status, const char *words);
/* The words of an error's body, {"detail": "..."}; "" when there are none. */
void parse_detail(const char *body, size_t n, char ret[200]);
/* "1.20" -> 20; -EBADMSG; -EPROTONOSUPPORT: another major version. */
int parse_api_version(const char *text, unsigned *ret_minor);

/* An entry as GET /b/BUCKET tells it. The first four figures are its stamp: they move whenever something in it changes. */
struct entry_info {
	char *name;
	uint64_t count, size, latest, blocks;
	uint64_t oldest;
	bool deleting;
};
/* GET /b/BUCKET: ordered by name (bytes), each once. */
struct bucket {
	unsigned refs;                  /* reduct.c's, with the next two */
	char *name;
	uint64_t asked_at;              /* monotonic ms */
	bool deleting;
	uint64_t size, latest;
	bool fifo;                      /* what comes pushes out the oldest, as far as that makes room in `quota` bytes */
	uint64_t quota;                 /* bytes, of either kind; 0: none */
	VEC(struct entry_info) entries;
};
void bucket_free(struct bucket *b);
/* An entry's own element of GET /b/BUCKET, the server's own bytes. -ENOENT, -EBADMSG. */
int parse_entry_slice(const char *text, size_t n, const char *name, const char **ret, size_t *ret_n);
int parse_bucket(const char *text, size_t n, struct bucket **ret);      /* -EBADMSG, json_error() says what */
/* GET /list: the buckets that are to be shown, as such (only name, size and latest are filled). */
int parse_buckets(const char *text, size_t n, struct bucket ***ret, size_t *ret_n);
void buckets_free(struct bucket **list, size_t n);

/* GET /me: who we are and what we may. Names may end in a star. */
struct me {
	char *name;
	bool full;
	char **read, **write;           /* NULL-terminated */
};
int parse_me(const char *text, size_t n, struct me *ret);
void me_done(struct me *m);
unsigned me_rights(const struct me *m, const char *bucket);     /* RIGHT_* */

/* A record as the head of a batch, or of a single answer, tells it. */
struct label {
	char *name, *value;
};
struct record {
	uint64_t ts, size;
	char *type;                     /* content type, never empty */
	VEC(struct label) labels;
	bool doubtful;                  /* its line can be read in two ways: a label may have another name than it seems */
};
struct records {
	VEC(struct record) list;
};
void label_done(struct label *l);
void record_done(struct record *r);
void records_done(struct records *r);
void records_clear(struct records *r);
/* The head of a v1 batch ("Name: value\n" lines): its records by time. Lines that cannot be read are -EBADMSG: a record that
 * is left out would be believed gone. */
int parse_batch(const char *head, size_t n, struct records *ret, bool *ret_last);
/* The head of a batch of several entries (the /io protocol): its records by entry and time. As strict. */
struct many_record {
	size_t entry;                   /* of `entries` */
	struct record record;
};
struct many {
	VEC(char *) entries;
	VEC(struct many_record) list;
};
int parse_many(const char *head, size_t n, struct many *ret, bool *ret_last);
void many_done(struct many *m);
int parse_batch_line(const char *value, size_t n, struct record *io);   /* "LEN,TYPE,NAME=VALUE..."; ts is the caller's */
int parse_single(const char *head, size_t n, struct record *ret);       /* of GET or HEAD ?ts=; without Content-Length: -EBADMSG */
const char *record_label(const struct record *r, const char *name);     /* or NULL */
bool record_is_named(const struct record *r);           /* it is a file with a name of its own */
/* A label name that no header can carry ends the server when the record is asked for alone: it is read by a query only. */
bool label_is_sendable(const char *name);
bool record_is_sendable(const struct record *r);
bool parse_mtime(const char *label, struct timespec *ret);              /* "SECONDS.NANOSECONDS" */
/* Write it as the JSON document that users see. */
int record_write_json(const struct record *r, const char *bucket, const char *entry, struct buf *b);

/* ---- names.c: names, times and places; pure ---- */

/* How deep in the time tree a directory is. */
enum level { LEVEL_ENTRY, LEVEL_DAY, LEVEL_HOUR, LEVEL_MINUTE, LEVEL_SECOND };

/* A directory of the time tree: start .. end-1, in microseconds. Of LEVEL_ENTRY: all times. */
struct window {
	enum level level;
	uint64_t start, end;
};
#define WINDOW_ALL ((struct window){LEVEL_ENTRY, 0, REDUCT_TS_MAX})
struct window window_of(enum level level, uint64_t ts);         /* the one of this level that holds ts */
#define WINDOW_NAME_MAX 32
void window_name(const struct window *w, char ret[WINDOW_NAME_MAX]);    /* "2026.11.22", "13", "05.m", "09.s"; "" of all */
/* A name in the directory `in`: a window right below it. */
bool window_parse(const struct window *in, const char *name, struct window *ret);

/* What an object's id says. */
enum what {
	IS_ROOT, IS_BUCKET, IS_ENTRY, IS_TIME, IS_RECORD,
	IS_VERSIONS,                    /* `.scifs/versions` of an entry: a directory for each file name */
	IS_NAME,                        /* one of those: all records of this name */
	IS_VERSION,                     /* a record there: under its time, whatever its name is */
};
struct place {
	enum what what;
	char *bucket, *entry;           /* entry: "a/b" */
	struct window window;           /* IS_ENTRY (all times), IS_TIME */
	uint64_t ts;                    /* IS_RECORD, IS_VERSION */
	char *name;                     /* IS_NAME */
};
static inline bool place_is_of_versions(const struct place *p)
{
	return p->what >= IS_VERSIONS;
}
static inline bool place_is_record(const struct place *p)
{
	return p->what == IS_RECORD || p->what == IS_VERSION;
}
/* "root", "bucket:B", "entry:B/a/b", "time:B/a/b:2026.11.22/13", "record:B/a/b:TS"; "versions:B/a/b", "name:B/a/b:NAME" (encoded), "version:B/a/b:TS". */
int place_parse(const char *id, struct place *ret);             /* -EINVAL */
int place_id(const struct place *p, char **ret);
void place_done(struct place *p);

bool name_is_bucket(const char *name);          /* as the server allows them, those of its own ("$system") too */
bool name_is_segment(const char *name);         /* of an entry's name */
int name_encode_path(const char *path, char **ret);             /* for a URL; the slashes stay */
/* "1795353600000000.jpg" and the like: any number of digits, an extension or none. */
bool name_parse_record(const char *name, uint64_t *ret_ts);
int name_of_record(uint64_t ts, const char *type, char **ret);
const char *name_extension(const char *type);   /* of a content type, without the dot: "bin" when there is none of its own */
#define NAME_TYPE_UNKNOWN "application/octet-stream"
const char *name_type(const char *name);        /* the content type of a file, by its extension */
/* A file name as the text of the label `filename`, which is always a plain string to the server's conditions; and back (what
 * others wrote stays as it is where it is no such text, or would not be a name). */
int name_to_label(const char *name, char **ret);
bool name_is_typed(const char *word);           /* a condition would read this word as something else than text */
int name_from_label(const char *label, char **ret);

/* ---- reduct.c ---- */

/* A record whose bytes may be of two places: its neighbours moved while it was read. */
struct turned {
	char *key;
	unsigned times;
};

enum overwrite { OVERWRITE_VERSION, OVERWRITE_REPLACE, OVERWRITE_NO };

struct reduct {
	struct session session;
	char *api;                      /* ".../api/v1" */
	unsigned minor;                 /* of the API: 20 of 1.20 */
	char *version;                  /* of the server, as it says; or NULL */
	enum level layout;              /* whose directories hold records, as the mount was told or by itself: LEVEL_ENTRY is layout=flat */
	bool layout_told;               /* the user said it, so entries are not asked for theirs */
	bool layout_noted;              /* and it may be written down at them */
	enum overwrite overwrite;
	bool ts_mtime, late_verify;
	_Atomic unsigned batch;         /* records that it takes at once, if fewer than usual; 0: as usual */
	unsigned batch_told;            /* the user's word: records in the head of one request or answer, at most; 0: none */
	struct object root;
	uint64_t space_at, space_used;  /* of the server: when (monotonic ms) it was asked how much it has, and what it said */
	struct secret *token;
	pthread_mutex_t lock;           /* guards what follows; never held over a call */
	struct me me;
	bool unverified;                /* it came up without the server: who is logged in is believed, not known */
	VEC(struct bucket *) buckets;   /* asked for lately, references */
	struct map *touched;            /* bucket -> struct moment *: when we changed something there */
	struct map *used;               /* "BUCKET/ENTRY" -> struct moment *: the latest time that we gave a record */
	uint64_t given_first, given_last;       /* the times that records have got from us by their names; none: first is later */
	struct map *made;               /* "BUCKET/ENTRY" -> this: a directory that only we know of, on servers that hold no empty entry */
	struct map *busy;               /* "BUCKET/ENTRY" -> this: somebody is writing there */
	struct map *found;              /* id -> char *: search.c's; or NULL */
	struct map *layouts;            /* "BUCKET/ENTRY" -> const enum level *: layout.c's */
	pthread_cond_t not_busy;
	pthread_mutex_t series_lock;    /* series.c's */
	pthread_cond_t series_moved;
	struct list series;
	pthread_mutex_t stream_lock;    /* content.c's */
	pthread_cond_t stream_moved;
	struct list streams, links, readings, holds;
	_Atomic unsigned holds_made;
	unsigned links_busy;
	uint64_t link_at;               /* monotonic ms before which no link is used */
	VEC(struct turned) turned;
	struct list secrets;            /* control.c's, under lock */
	size_t n_secrets;
};
static inline struct reduct *reduct_of(struct session *s)
{
	return (struct reduct *)s;
}

/* A request and what came of it. */
struct ask {
	const char *method;             /* NULL: GET */
	const char *body;               /* JSON, or NULL */
	const char *const *headers;     /* "Name: value", NULL-terminated; or NULL */
	const char *type;               /* of the body; NULL: JSON */
	size_t body_n;                  /* of the body; 0: as long as the text */
	bool is_file;                   /* the body are body_n bytes of fd */
	int fd;
	bool once;                      /* a page of a query: never repeated */
	bool acts;                      /* it changes something, and would change more when repeated */
	bool early;                     /* 425 is an answer like others: whoever asks knows what to do. Else it is waited for a moment, and then -EIO */
	size_t max_headers;
	unsigned patience_ms;           /* for an answer; 0: as long as the policy says */
	const int *cancelled;
	/* What came of it. */
	int status;
	unsigned attempts;
	bool in_doubt;
	struct buf head, text;          /* end with ask_done() */
};
void ask_done(struct ask *a);
/* Below the API; `format` is a path with its query. -errno of reduct_errno(); the server's words are noted. */
int reduct_ask(struct reduct *r, struct ask *a, const char *format, ...) __attribute__((format(printf, 3, 4)));
int reduct_verify(struct reduct *r);            /* before anything is asked: who are we? */
unsigned reduct_rights(struct reduct *r, const char *bucket);
unsigned reduct_rights_root(struct reduct *r);  /* RIGHT_WRITE where buckets may be made */
/* What a bucket holds, not older than this. A reference in *ret: end it with reduct_bucket_unref(). -EACCES, -ENOENT. */
int reduct_bucket(struct reduct *r, const char *name, unsigned max_age_ms, struct bucket **ret);
void reduct_bucket_unref(struct reduct *r, struct bucket *b);
/* The same if it is kept and not older, whatever we have changed since; else NULL. Never asks. */
struct bucket *reduct_bucket_known(struct reduct *r, const char *name, unsigned max_age_ms);
const struct entry_info *bucket_entry(const struct bucket *b, const char *name);        /* or NULL */
bool bucket_has_path(const struct bucket *b, const char *path); /* an entry, or the beginning of one's name */
#define BUCKET_FRESH_MS 1000

/* ---- query.c ---- */

/* Records of one entry in the order of time, a page at a time. Fill what is above the line. */
struct query {
	const char *bucket, *entry;
	uint64_t start, stop;           /* stop is exclusive */
	const char *when;               /* JSON members of a condition, or NULL */
	unsigned limit;                 /* 0: all */
	/* its own from here on */
	uint64_t id;
	bool asked, ended;
	unsigned failures;              /* in a row */
};
#define QUERY_HEAD_BYTES 200000         /* of the head of one answer, as the server counts them; libcurl takes 300 KiB */
#define QUERY_HEAD_MAX (384u << 10)
unsigned query_page(const struct reduct *r);    /* records in one such head, at most */
/* Make a query: POST FAMILY/PATH/q, of the family "b" or "io". Its number in *ret. */
int query_make(struct reduct *r, const char *family, const char *path, const char *body, uint64_t *ret);
/* The next page replaces what is in *io; empty and 0: that was all. Goes on by itself where the server has forgotten the
 * query. -ENOENT: there is no such entry. */
int query_next(struct reduct *r, struct query *q, struct records *io);
/* The first record in a window, as a listing shows it (named ones do not count): 1 and *ret, 0 none. */
int query_first(struct reduct *r, const char *bucket, const char *entry, uint64_t start, uint64_t stop, struct record *ret);
/* The record of this time, whatever its labels are: -ENOENT. */
int query_one(struct reduct *r, const char *bucket, const char *entry, uint64_t ts, struct record *ret);
/* The records of this file name, by time, added to *ret. Some may have their name as others write it, which takes a look at all
 * that have names: those too with `all`, else only if there is no other. */
int query_versions(struct reduct *r, const char *bucket, const char *entry, const char *name, bool all, struct records *ret);
/* The newest of them: 1 and *ret, 0 none. */
int query_file(struct reduct *r, const char *bucket, const char *entry, const char *name, struct record *ret);
extern const char query_named[];        /* a condition */

/* ---- series.c: what is known of an entry's times ---- */

struct hour {
	uint64_t start;
	uint32_t count;                 /* UINT32_MAX: some */
};
struct named {
	char *name;
	struct record record;           /* with its labels */
};
struct series {
	struct list link;               /* in reduct.series; the rest is guarded by series_lock until it is loaded */
	char *bucket, *entry;
	unsigned refs;
	bool loading;
	bool outdated;                  /* whatever its stamp says */
	int error;
	uint64_t used_at;
	uint64_t again_at;              /* monotonic ms; with pause_ms: it holds until then, as a record is lacking */
	bool landed;                    /* something did while it was loading */
	struct entry_info stamp;        /* without its name */
	/* What follows does not change once it is loaded. */
	unsigned pause_ms;              /* 0: nothing is lacking */
	uint64_t seen, last;            /* records that were found, with a name or without; the newest's time */
	uint64_t lost;                  /* so many of the stamp were not found, though the newest was */
	uint64_t generation;            /* another one when what was known before may not hold any more */
	bool large;                     /* only days are known, with a count of UINT32_MAX */
	VEC(struct hour) hours;         /* that have records without a name, ascending; of a large one its days */
	VEC(struct named) named;        /* by name, the newest of each */
};
/* A reference; -ENOENT, when there is no entry of this name. May take long the first time. */
int series_get(struct reduct *r, const struct bucket *b, const char *entry, struct series **ret);
/* The same if it is known already, without a request; else NULL. */
struct series *series_peek(struct reduct *r, const struct bucket *b, const char *entry);
bool series_is_kept(struct reduct *r, const char *bucket, const char *entry);   /* as of now or of some time ago */
#define SERIES_LARGE 100000u            /* records beyond which an entry is not listed whole */
void series_put(struct reduct *r, struct series *s);
void series_forget(struct reduct *r, const char *bucket, const char *entry);    /* something in it changed that its stamp may not show */
void series_landed(struct reduct *r, const char *bucket, const char *entry);    /* a record that may have been lacking is there */
const struct named *series_find(const struct series *s, const char *name);
/* Records without a name in a window; UINT64_MAX: not known. */
#define COUNT_UNKNOWN UINT64_MAX
uint64_t series_count(const struct series *s, const struct window *w);
void series_done(struct reduct *r);

/* ---- layout.c: which directories hold an entry's records ---- */

bool layout_of_word(const char *word, enum level *ret);         /* "flat", "day", "hour", "minute" */
const char *layout_word(enum level level);
/* The document {"layout": WORD}: 1; 0: it says nothing of it; -EBADMSG, -EMSGSIZE. Pure. */
int layout_parse(const char *text, size_t n, enum level *ret);
/* Such a document that says `level`, with all other members of what was there (n 0: nothing). Pure. */
int layout_write(const char *was, size_t n, enum level level, struct buf *ret);
/* The layout of an entry that has records. The first time it may ask the server, or leave there what the mount was told. -errno: the
 * server could not be asked. */
int layout_of(struct reduct *r, const char *bucket, const char *entry, enum level *ret);
void layout_made(struct reduct *r, const char *bucket, const char *entry);      /* by us: it has that of the mount */

/* ---- tree.c, content.c, meta.c: the members ---- */
/* A record as it is now, by itself where that is safe (record_is_sendable()), else by a query. -ENOENT. */
int record_now(struct reduct *r, const struct place *p, bool single, struct record *ret);
int reduct_root(struct session *s, struct object *ret);
int reduct_resolve(struct reduct *r, const char *path, struct object *ret);     /* "BUCKET/a/b" */
int reduct_lookup(struct session *s, const struct object *dir, const char *name, struct page *io);
int reduct_list(struct session *s, const struct object *dir, struct page *io);
int reduct_control_object(struct session *s, const struct object *about, const char *name, struct object *ret);
int reduct_locate(struct session *s, const char *id, struct page *io);
int reduct_url(const struct session *s, const struct object *o, char **ret);
bool reduct_unlisted(const struct session *s, const struct object *dir, const char *name);
int reduct_stat(struct session *s, const struct object *o, struct object *ret);
int reduct_changed(struct session *s, const struct object *dir, char **fingerprint);
int reduct_read_many(struct session *s, const struct object *const list[], size_t n, content_many_sink give, void *arg);
int reduct_prepare_read(struct session *s, const struct object *o, struct read_plan *io);
int reduct_get_doc(struct session *s, const struct object *o, struct doc *ret);
int reduct_attrs(const struct session *s, const struct object *o, const struct doc *d, struct attrs *ret);

/* ---- search.c ---- */

#define REDUCT_HITS_MAX 100000u         /* of one search: more are -EFBIG */
enum term_op { TERM_HAS, TERM_IS, TERM_IS_NOT, TERM_LESS, TERM_MORE, TERM_AT_MOST, TERM_AT_LEAST };
struct term {
	enum term_op op;
	char *label, *value;
	bool exact;                     /* the server's condition says just this: its hits need not be looked at */
};
struct search {
	uint64_t from, to;              /* to is exclusive */
	VEC(struct term) terms;         /* all of them */
	char *when;                     /* instead: the members of a condition of the server's */
	uint64_t each_n, each_us;       /* of those that match every n-th, and none sooner after the last one; 0: all */
	uint64_t limit;                 /* 0: none */
};
/* An expression. -ENOENT: it is none; -EINVAL: it is wrong, as *why (malloc'ed) says. Pure, as the next two. */
int parse_search(const char *expr, struct search *ret, char **why);
void search_done(struct search *s);
/* Do the labels of a record that the server has found match? Texts equal, or numbers; a record without the label never does. */
bool search_matches(const struct search *s, const struct record *x);
/* What the server is asked for: the members of a condition that holds for all that matches. NULL: no condition. */
int search_when(const struct search *s, char **ret);
int reduct_query(struct session *s, const struct object *dir, const char *expr, struct page *io, char **why);
int reduct_check_query(struct session *s, const struct object *dir, const char *expr, char **why);
/* What the last search found of this id: its file name, and whether that is a name of its own. -ENOENT: not known. */
int found_get(struct reduct *r, const char *id, char **ret_name, bool *ret_named);
void found_forget_locked(struct reduct *r);     /* something was removed or renamed */

/* ---- control.c ---- */
extern const struct backend_control reduct_controls[];
void reduct_control_init(struct reduct *r);
void reduct_control_done(struct reduct *r);
#define ATTACHMENT_OWN "scifs"          /* the attachment that is scifs' own */
/* Make or replace an attachment of an entry. */
int attachment_write(struct reduct *r, const struct place *p, const char *key, const char *text);
int reduct_settings(unsigned minor, const char *text, size_t n, struct buf *ret, bool *ret_masked, bool *ret_token);
int reduct_paper_stat(struct session *s, const struct object *about, const char *const *path, struct paper *ret);
int reduct_paper_list(struct session *s, const struct object *about, const char *const *path, struct papers *ret);
int reduct_paper_read(struct session *s, const struct object *about, const char *const *path, struct buf *ret);
int reduct_paper_check(struct session *s, const struct object *about, const char *const *path, enum paper_act act);
int reduct_paper_write(struct session *s, const struct object *about, const char *const *path, const struct buf *text, struct buf *reply);
int reduct_paper_remove(struct session *s, const struct object *about, const char *const *path);
int dir_object(struct reduct *r, const struct place *p, const char *name, uint64_t us, struct object *ret);
/* `name`: as it is asked for, or NULL: its own. */
int record_object(struct reduct *r, const struct place *in, const struct record *x, const char *name, struct object *ret);
/* Is there a record without a name in this window? 1, 0. */
int window_exists(struct reduct *r, const struct place *in, const struct bucket *b, const struct window *w);

/* ---- content.c ---- */

void reduct_content_init(struct reduct *r);
void reduct_content_tidy(struct reduct *r);
void reduct_content_done(struct reduct *r);
/* Records of this entry were removed, perhaps some time ago: what was read of it since, and what is open of it, may be other bytes. */
void reduct_content_moved(struct reduct *r, const char *bucket, const char *entry);
/* Before and after a request of ours that removes up to n records of an entry, one at a time: in between nothing of it is read, and what
 * was read before is right. Not `sure`: nobody knows whether the server has carried it out, or still will. -ENOMEM. */
int reduct_content_hold(struct reduct *r, const char *bucket, const char *entry, uint64_t n);
void reduct_content_release(struct reduct *r, const char *bucket, const char *entry, bool sure);
/* The count of an entry fell by so many, in figures that were asked for at `asked_at`: so many of them were removed by us. */
uint64_t reduct_content_ours(struct reduct *r, const char *bucket, const char *entry, uint64_t fell, uint64_t asked_at);
/* Does somebody read there, and will want the next bytes? Never blocks. */
bool reduct_is_read(struct session *s, const struct object *dir);
/* A request that brings bytes of records of this entry, other than a stream: it begins when no removal of ours is under way (-EINTR), and
 * once it is stopped by one, what it brings must not be given out. */
struct reading;
int reading_begin(struct reduct *r, const char *bucket, const char *entry, const int *cancelled, struct reading **ret);
bool reading_is_stopped(const struct reading *x);
void reading_end(struct reading *x);
unsigned reduct_content_turns(struct reduct *r, const char *bucket, const char *entry, uint64_t ts);

/* ---- change.c: buckets, entries, records: made, moved, removed ---- */

struct moment {
	uint64_t at;
};
void reduct_change_init(struct reduct *r);
void reduct_change_done(struct reduct *r);
uint64_t reduct_touched_locked(const struct reduct *r, const char *bucket);     /* monotonic ms; 0: never */
/* We changed something there: what was asked for before is not believed any more. `moved`: records went or got other labels,
 * or came elsewhere than at the end. */
void reduct_touch(struct reduct *r, const char *bucket, const char *entry, bool moved);
bool reduct_is_made(struct reduct *r, const char *bucket, const char *entry);
/* One request that changes records of an entry at a time: two at once lose records. Blocks; -EINTR. */
int entry_enter(struct reduct *r, const char *bucket, const char *entry, const int *cancelled);
void entry_leave(struct reduct *r, const char *bucket, const char *entry);
/* Remove records by their times, up to the first error; what is not there is removed. The entry is entered. */
int records_remove(struct reduct *r, const char *bucket, const char *entry, const uint64_t *ts, size_t n);
/* The times of all records of a file name, ascending; freed by the caller. */
int records_named(struct reduct *r, const char *bucket, const char *entry, const char *name, uint64_t **ret, size_t *ret_n);
int path_of(const char *bucket, const char *entry, char **ret);         /* for a URL below b/ */
#define BATCH_RECORDS 80                /* the server takes 100 headers of any kind */
unsigned batch_most(struct reduct *r, unsigned too_many);       /* how many it takes; `too_many` (0: none) were more than that */
/* The head of a batch's answer: what it says of this record. 0, or its error; *ret_words (200 bytes) the server's. */
int batch_result(const struct buf *head, uint64_t ts, char *ret_words);
struct headers {
	VEC(char *) list;               /* ends with NULL once headers_end() was called */
};
int headers_add(struct headers *h, const char *format, ...) __attribute__((format(printf, 2, 3)));
int headers_end(struct headers *h);
void headers_done(struct headers *h);
int reduct_mkdir(struct session *s, const struct object *dir, const char *name, struct object *ret);
int reduct_remove(struct session *s, const struct object *dir, const struct object *o);
void reduct_remove_many(struct session *s, const struct object *dir, const struct object *const o[], size_t n, int ret[]);
int reduct_remove_all(struct session *s, const struct object *dir, const struct object *o);
int reduct_moved_id(const char *was, const char *now, const char *id, char **ret);
int reduct_rename(struct session *s, const struct object *o, const struct object *from, const struct object *to, const char *name,
                  const struct object *over, struct object *ret);

/* ---- upload.c ---- */

/* What a file of this name is in a directory. Pure. */
struct target {
	bool by_time;                   /* its name is its time: `ts` */
	uint64_t ts;
	bool named;                     /* it has a label `filename` */
};
/* -EINVAL, -EPERM: nothing of this name can be there, *ret_why says the rule. */
int target_of(const struct place *in, const char *name, struct target *ret, const char **ret_why);
/* May a record of this time be written, as far as is known? -EPERM: this server would lose it. */
int reduct_check_late(const struct reduct *r, const struct entry_info *e, uint64_t ts);
int reduct_plan_create(const struct session *s, const struct object *dir, const char *name, enum object_kind kind, struct object *ret);
int reduct_check_write(const struct session *s, const struct object *o);
int reduct_lane(const struct session *s, const struct object *dir, const char *name, const struct object *base, char **ret);
int reduct_upload(struct session *s, struct upload *u);
void reduct_upload_many(struct session *s, struct upload *const u[], size_t n, int ret[]);
int reduct_upload_drop(struct session *s, const char *progress);

/* ---- set.c: labels ---- */

#define REDUCT_MTIME_ATTR "reduct.mtime"
#define LABELS_MAX 64
#define LABELS_BYTES (64u << 10)
/* The label that an attribute is, trimmed value and all: 1; 0: a computed one, to be left alone; -EINVAL, with the rule noted. */
int label_of_attr(const struct attr *a, struct label *ret);
int reduct_check_attr(const struct session *s, const struct object *o, const char *name);
int reduct_set_attrs(struct session *s, const struct object *o, const struct attrs *a);

#endif
