/* fs.h - the mounted tree: the only room that knows FUSE.
 *
 * Life of a mount: fs_new, fs_check (the first listing), fs_mount, fs_run (until the kernel lets go), fs_free.
 */
#ifndef SCIFS_FS_FS_H
#define SCIFS_FS_FS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cache;
struct fs;
struct http;
struct session;
struct spool;

enum fs_names { FS_NAMES_SCIFS, FS_NAMES_GIRDER };

/* Strings are copied. Zero means the default in brackets. */
struct fs_config {
	const char *source;             /* as the user named it; shown in /proc/mounts and status */
	const char *mountpoint;         /* a folder, or "/dev/fd/N" of a mount made by somebody else */
	const char *fuse_options;       /* more options for the kernel's mount ("noatime,..."), or NULL */
	const char *config_json;        /* the options in force, without secrets, for .scifs/config.json; or NULL */
	bool allow_other;               /* other users may enter, as far as modes allow */
	bool show_control;              /* list .scifs in each directory */
	bool online;                    /* fs_check fails when the server cannot be reached, whatever is kept */
	bool debug_fuse;                /* libfuse's own trace */
	enum fs_names names;
	uid_t uid;                      /* owner of everything */
	gid_t gid;
	unsigned attr_ttl_ms;           /* [policy's] */
	unsigned list_ttl_ms;           /* [policy's] */
	unsigned negative_ttl_ms;       /* [5000] a name that was not there */
	unsigned soft_wait_ms;          /* [1000] how long a known thing waits to be looked at again before what is kept answers */
	unsigned callers;               /* [32] threads for blocking backend calls */
	uint64_t memory;                /* bytes of block memory, for the share of one reader */
	bool read_only;                 /* every change of the tree is EROFS */
	bool acts;                      /* a backend's own controls may be written, also where nothing else can */
	bool close_remote;              /* close waits for the server and reports its error */
	bool fsync_local;               /* fsync only makes safe here */
	bool mtime_meta;                /* times that are set are kept in backend->mtime_attr, and read from there */
	unsigned upload_open_ms;        /* [never] how often a file that stays open is sent, if it was changed */
	unsigned drain_ms;              /* [600000] how long what is owed is sent after the unmount */
};

/* Everything borrowed must outlive fs_free(). -ENOMEM. */
/* `spool` NULL: as read_only. */
int fs_new(const struct fs_config *config, struct session *session, struct http *http, struct cache *cache, struct spool *spool,
           struct fs **ret);
/* List the root (from the server, else from what is kept unless `online`). Blocks up to the policy's timeout. *why
 * (malloc'ed, may stay NULL) is one line for the user. */
int fs_check(struct fs *fs, char **why);
/* Mount it. -errno with *why: no /dev/fuse, no right to mount, mount point in use ... */
int fs_mount(struct fs *fs, char **why);
/* Serve until unmounted or fs_stop(); then send what is owed for drain_ms at most, with lines in the log, and end what is under way at
 * http (http_stop) and spool (spool_stop). Blocks. 0; 1: something is still owed, the next mount goes on with it; -errno of the
 * FUSE session. */
int fs_run(struct fs *fs);
/* Does this -errno say nothing about a thing, only about the way to it? Then what is known of the thing stands. Pure. */
bool fs_error_is_unreachable(int err);
/* Make fs_run() end the mount, send what is owed, and return; the second time, without waiting for what is owed. Async-signal-safe. */
void fs_stop(struct fs *fs);
/* Unmount if still mounted, end the threads, free. */
void fs_free(struct fs *fs);

#endif
