/* fs.c - the life of a mount: made, checked, mounted, served, ended in order. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "fs/private.h"

#define CALLERS_DEFAULT 32
#define CALLERS_QUEUE 65536
#define SOFT_WAIT_DEFAULT_MS 1000
#define NEGATIVE_TTL_DEFAULT_MS 5000
#define DRAIN_DEFAULT_MS (10 * 60 * 1000)
#define CLOSING_MAX_MS 60000     /* the last closes, which may have to bring the rest of an old content */
#define TELL_EVERY 10           /* lines of the log that say what is left: one in so many seconds */
#define NOTIFY_QUEUE 200000

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 13)
#include <linux/fuse.h>

/* libfuse up to 3.14 asks the kernel for parallel directory operations and then forgets the flag in its answer: the first
 * thing that is written to the kernel is that answer, so it is mended here. */
static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fs *fs = userdata;

	if (!atomic_exchange(&fs->greeted, true) && count == 2 && iov[1].iov_len >= offsetof(struct fuse_init_out, max_background))
		((struct fuse_init_out *)iov[1].iov_base)->flags |= FUSE_PARALLEL_DIROPS;
	return writev(fd, iov, count);
}

static ssize_t io_read(int fd, void *buf, size_t n, void *userdata)
{
	return read(fd, buf, n);
}

static void mend_io(struct fs *fs)
{
	static const struct fuse_custom_io io = {.writev = io_writev, .read = io_read};

	if (fuse_session_custom_io(fs->se, &io, fuse_session_fd(fs->se)) != 0)
		log_debug("parallel directory operations stay off");
}
#else
static void mend_io(struct fs *fs)
{
}
#endif

static unsigned or_default(unsigned v, unsigned fallback)
{
	return v ? v : fallback;
}

int fs_new(const struct fs_config *config, struct session *session, struct http *http, struct cache *cache, struct spool *spool,
           struct fs **ret)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	struct fs_config *c;
	int r;

	if (!fs)
		return -ENOMEM;
	fs->config = *config;
	c = &fs->config;
	fs->session = session;
	fs->http = http;
	fs->cache = cache;
	fs->spool = spool;
	fs->mounted_at = clock_wall().tv_sec;
	c->soft_wait_ms = or_default(c->soft_wait_ms, SOFT_WAIT_DEFAULT_MS);
	c->negative_ttl_ms = or_default(c->negative_ttl_ms, NEGATIVE_TTL_DEFAULT_MS);
	c->callers = or_default(c->callers, CALLERS_DEFAULT);
	atomic_store(&fs->drain_ms, or_default(c->drain_ms, DRAIN_DEFAULT_MS));
	fs->attr_ttl_ms = or_default(c->attr_ttl_ms, session->policy.attr_ttl_ms);
	fs->list_ttl_ms = or_default(c->list_ttl_ms, session->policy.list_ttl_ms);
	c->source = c->mountpoint = c->fuse_options = c->config_json = NULL;
	r = node_table_init(fs);
	if (r < 0) {
		free(fs);
		return r;
	}
	r = keep_space(fs, &fs->space);
	if (r < 0 || str_dup(config->source, (char **)&c->source) < 0 || str_dup(config->mountpoint, (char **)&c->mountpoint) < 0 ||
	    str_dup(config->fuse_options, (char **)&c->fuse_options) < 0 ||
	    str_dup(config->config_json, (char **)&c->config_json) < 0 ||
	    pool_new("scifs-caller", c->callers, CALLERS_QUEUE, &fs->callers) < 0 ||
	    pool_new("scifs-asker", c->callers, CALLERS_QUEUE, &fs->askers) < 0 ||
	    pool_new("scifs-filler", c->callers, CALLERS_QUEUE, &fs->fillers) < 0 ||
	    pool_new("scifs-notify", 1, NOTIFY_QUEUE, &fs->notifier) < 0 ||
	    pool_new("scifs-hash", 1, 4096, &fs->hasher) < 0 || documents_init(fs) < 0 ||
	    control_init(fs) < 0 || events_init(fs) < 0) {
		fs_free(fs);
		return -ENOMEM;
	}
	*ret = fs;
	return 0;
}

int fs_check(struct fs *fs, char **why)
{
	struct object o = {0};
	int r = backend_root(fs->session, &o);

	if (r == 0) {
		WITH_LOCK(&fs->lock)
			r = node_enter_locked(fs, NULL, "", &o, clock_mono_ms(), &fs->root);
	}
	object_done(&o);
	if (r == 0)
		r = dir_load(fs, fs->root, fs->list_ttl_ms);
	if (r < 0)
		(void)str_fmt(why, "%s: cannot list it: %s", fs->config.source, strerror(-r));
	return r;
}

static void escape_option(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			(void)buf_addc(b, '\\');
		(void)buf_addc(b, *s);
	}
}

/* What libfuse says, in our log: its own lines would stand between ours. */
static void on_fuse_log(enum fuse_log_level level, const char *format, va_list ap)
{
	char line[1024];

	vsnprintf(line, sizeof(line), format, ap);
	line[strcspn(line, "\n")] = 0;
	log_line(level <= FUSE_LOG_WARNING ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "%s", line);
}

int fs_mount(struct fs *fs, char **why)
{
	_cleanup_buf_ struct buf o = BUF_MAX(65536);
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int r = -ENOMEM;

	fuse_set_log_func(on_fuse_log);
	(void)buf_adds(&o, "default_permissions,subtype=scifs,fsname=");
	escape_option(&o, fs->config.source);
	if (fs->config.allow_other)
		(void)buf_adds(&o, ",allow_other");
	if (fs->config.fuse_options)
		(void)buf_addf(&o, ",%s", fs->config.fuse_options);
	if (fuse_opt_add_arg(&args, "scifs") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
	    fuse_opt_add_arg(&args, buf_str(&o)) == 0 && (!fs->config.debug_fuse || fuse_opt_add_arg(&args, "-d") == 0))
		fs->se = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), fs);
	fuse_opt_free_args(&args);
	if (!fs->se) {
		(void)str_fmt(why, "the kernel's options were refused: %s", buf_str(&o));
		return r;
	}
	if (fuse_session_mount(fs->se, fs->config.mountpoint) != 0) {
		r = access("/dev/fuse", R_OK | W_OK) < 0 ? -errno : -EPERM;
		(void)str_fmt(why, "%s: cannot mount here%s", fs->config.mountpoint,
		              r == -ENOENT ? ": /dev/fuse is missing (modprobe fuse)" :
		              r == -EACCES ? ": no right to use /dev/fuse" : "");
		return r;
	}
	mend_io(fs);
	return 0;
}

static void tell(void *arg, unsigned left, uint64_t bytes)
{
	unsigned *seconds = arg;

	if ((*seconds)++ % TELL_EVERY == 0)
		log_info("unmounted; %u files, %llu bytes, are still to be sent", left, (unsigned long long)bytes);
}

/* What is owed goes out, or stays for the next mount. 1: something is left. */
static int drain(struct fs *fs)
{
	unsigned left = 0, refused = 0, seconds = 0;
	uint64_t bytes = 0;

	if (!fs->spool)
		return 0;
	/* What the kernel closed when it let go is made safe before it is counted. */
	WITH_LOCK(&fs->lock)
		(void)fs_wait_changed_locked(fs, &fs->closing, CLOSING_MAX_MS);
	if (atomic_load(&fs->drain_ms)) {
		spool_release_held(fs->spool);
		(void)spool_drain(fs->spool, atomic_load(&fs->drain_ms), &fs->hurried, tell, &seconds);
	}
	spool_owed(fs->spool, &left, &bytes, &refused);
	spool_stop(fs->spool);
	return left > 0;
}

int fs_run(struct fs *fs)
{
	struct fuse_loop_config loop = {.clone_fd = 0, .max_idle_threads = 10};
	int r = write_begin(fs), left;

	if (r < 0)
		return r;
	house_start(fs);
	r = fuse_session_loop_mt(fs->se, &loop);
	/* After a signal it is still mounted: who looks there must not wait for what is to be sent. */
	fuse_session_unmount(fs->se);
	left = drain(fs);
	/* Nobody is left to answer: whoever still waits for a server, waits no longer. */
	if (fs->http)
		http_stop(fs->http);
	house_stop(fs);
	return r < 0 ? r : left;
}

void fs_stop(struct fs *fs)
{
	if (atomic_fetch_add(&fs->stops, 1))
		__atomic_store_n(&fs->hurried, 1, __ATOMIC_RELAXED);
	if (fs->se)
		fuse_session_exit(fs->se);
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	if (fs->se)
		fuse_session_unmount(fs->se);
	if (fs->spool)
		spool_stop(fs->spool);
	if (fs->http)
		http_stop(fs->http);    /* no transfer may end in what is freed here */
	/* They hand work to each other: all of them stop before any is freed. */
	pool_stop(fs->callers);
	pool_stop(fs->askers);
	pool_stop(fs->fillers);
	pool_stop(fs->hasher);
	if (fs->root) {
		file_release_all(fs);
		keep_write(fs, true);
	}
	fs->mounted = false;
	pool_free(fs->callers);
	pool_free(fs->askers);
	pool_free(fs->fillers);
	pool_free(fs->hasher);
	pool_free(fs->notifier);
	events_done(fs);
	documents_done(fs);
	if (fs->se)
		fuse_session_destroy(fs->se);
	node_table_done(fs);
	control_done(fs);
	free(fs->space);
	free((char *)fs->config.source);
	free((char *)fs->config.mountpoint);
	free((char *)fs->config.fuse_options);
	free((char *)fs->config.config_json);
	free(fs);
}
