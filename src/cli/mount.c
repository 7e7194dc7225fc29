/* mount.c - scifs mount: from words to a mount, in the background unless told otherwise.
 *
 * The parent forks before anything has a thread, waits for one line from the child over a pipe and leaves with what it says:
 * nothing is mounted that did not list its root, and a failure reaches the shell. The child then lets go of the terminal;
 * until then Ctrl-C, and whatever ends the parent, ends it too.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "cache/cache.h"
#include "cli/cli.h"
#include "cli/limits.h"
#include "cli/mountpoint.h"
#include "cli/password.h"
#include "conf/conf.h"
#include "fs/fs.h"
#include "spool/spool.h"

/* Of the memory that the user grants, blocks get so much; the rest is for nodes, listings and buffers. */
#define BLOCK_SHARE_PERCENT 75

struct mounting {
	struct conf *conf;
	char *source, *dir;
	char *url, *path;
	const struct backend *backend;
	bool foreground, debug;
	struct http *http;
	struct session *session;
	struct cache *cache;
	struct spool *spool;            /* NULL: read only */
	struct fs *fs;
};

/* The first signal ends the mount, the second also the wait for what is owed: none is lost that comes before it is up. */
static struct fs *running;
static volatile sig_atomic_t early;

static void on_signal(int sig)
{
	if (running)
		fs_stop(running);
	else
		early++;
}

static void print_option(const struct option *o, const char *scheme)
{
	printf("  %-16s %s", o->name, o->help);
	if (o->choices && o->type == OPTION_CHOICE)
		printf(" (%s)", o->choices);
	if (o->fallback)
		printf(" [%s]", o->fallback);
	printf(scheme ? " (%s only)\n" : "\n", scheme);
}

static void usage(void)
{
	const struct option *o;
	const char *scheme;

	cli_help(&cmd_mount);
	puts("\nOptions, as -o NAME=VALUE, --NAME=VALUE, SCIFS_NAME in the environment or NAME = VALUE in scifs.conf(5):");
	for (size_t i = 0; (o = conf_option_at(i, &scheme)); i++)
		if (o->type != OPTION_SECRET)
			print_option(o, scheme);
	puts("\nNever on a command line, but in the file of -o credentials=FILE (mode 0600), a section of scifs.conf(5) or, but for header,\n"
	     "as SCIFS_NAME in the environment:");
	for (size_t i = 0; (o = conf_option_at(i, &scheme)); i++)
		if (o->type == OPTION_SECRET)
			print_option(o, scheme);
}

static int fail(int status, char *why, const char *otherwise)
{
	cli_complain("%s", why ? why : otherwise);
	free(why);
	return status;
}

/* ---- words ---- */

static int take_argument(struct mounting *m, const char *arg)
{
	char **to = !m->source ? &m->source : !m->dir ? &m->dir : NULL;

	if (!to) {
		cli_complain("mount: one SOURCE and one DIR, not also \"%s\"", arg);
		return EXIT_USAGE;
	}
	*to = strdup(arg);
	return *to ? EXIT_DONE : EXIT_OTHER;
}

static int parse(struct mounting *m, int argc, char **argv)
{
	char *why = NULL;
	int r;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
			usage();
			exit(EXIT_DONE);
		} else if (strcmp(a, "-f") == 0) {
			m->foreground = true;
		} else if (strcmp(a, "-d") == 0) {
			m->foreground = m->debug = true;
		} else if (strncmp(a, "-o", 2) == 0) {
			const char *list = a[2] ? a + 2 : i + 1 < argc ? argv[++i] : NULL;

			if (!list)
				return fail(EXIT_USAGE, NULL, "mount: -o needs options");
			r = conf_set_list(m->conf, CONF_COMMAND, "-o", list, &why);
			if (r < 0)
				return fail(EXIT_USAGE, why, strerror(-r));
		} else if (strncmp(a, "--", 2) == 0 && a[2]) {
			_cleanup_free_ char *name = strdup(a + 2), *where = NULL;
			char *value = name ? strchr(name, '=') : NULL;

			if (!name)
				return EXIT_OTHER;
			if (value)
				*value++ = 0;
			for (char *p = name; *p; p++)
				if (*p == '-')
					*p = '_';
			/* Only the name is told: the value may be a secret. */
			r = str_fmt(&where, "--%s", name);
			if (r == 0)
				r = conf_set(m->conf, CONF_COMMAND, where, name, value, &why);
			if (r < 0)
				return fail(EXIT_USAGE, why, strerror(-r));
		} else if (*a == '-' && a[1]) {
			cli_complain("mount: there is no flag \"%s\": scifs mount --help", a);
			return EXIT_USAGE;
		} else if ((r = take_argument(m, a))) {
			return r;
		}
	}
	if (!m->source || !m->dir) {
		cli_complain("mount: %s is missing: scifs mount SOURCE DIR", m->source ? "DIR" : "SOURCE");
		return EXIT_USAGE;
	}
	return EXIT_DONE;
}

static int read_files(struct mounting *m)
{
	_cleanup_free_ char *user = NULL;
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char *why = NULL;
	int r = conf_set_environment(m->conf, &why);

	if (r == 0 && config && *config)
		r = str_fmt(&user, "%s/scifs/scifs.conf", config);
	else if (r == 0 && home)
		r = str_fmt(&user, "%s/.config/scifs/scifs.conf", home);
	if (r == 0 && user)
		r = conf_read_file(m->conf, CONF_USER, user, &m->source, &why);
	if (r == 0)
		r = conf_read_file(m->conf, CONF_SYSTEM, "/etc/scifs/scifs.conf", &m->source, &why);
	if (r == 0)
		r = backend_parse_source(m->source, &m->backend, &m->url, &m->path, &why);
	if (r == 0 && conf_string(m->conf, "ca") && access(conf_string(m->conf, "ca"), R_OK) < 0) {
		r = -errno;
		(void)str_fmt(&why, "%s: the certificates of option ca cannot be read: %s", conf_string(m->conf, "ca"), strerror(-r));
	}
	return r < 0 ? fail(EXIT_USAGE, why, strerror(-r)) : EXIT_DONE;
}

/* ---- logging in ---- */

static const char *option_of(const void *config, const char *name)
{
	return conf_string(config, name);
}

static int get_credentials(struct mounting *m, struct credentials *k)
{
	_cleanup_free_ char *origin = NULL;
	char *why = NULL;
	bool host = strstr(m->url, "://") != NULL;      /* else there is nobody to log in to */
	int r = host ? http_origin(m->url, &origin) : str_dup(m->url, &origin);

	if (r < 0)
		return fail(EXIT_USAGE, NULL, "mount: the source's host cannot be read");
	r = conf_credentials(m->conf, origin, k, &why);
	if (r < 0)
		return fail(EXIT_USAGE, why, strerror(-r));
	if (host && k->user && !k->password && !k->token && !k->api_key && password_ask(k->user, origin, &k->password) < 0) {
		cli_complain("%s at %s: a user without a password: set SCIFS_PASSWORD or use -o credentials=FILE", k->user, origin);
		credentials_done(k);
		return EXIT_REACH;
	}
	return EXIT_DONE;
}

/* Who logs in, without telling anything of a secret: a session that was kept is found again by it only. */
static int mark_of(const struct credentials *k, const char *origin, char **ret)
{
	const char *text = k->token ? secret_text(k->token, origin) : k->api_key ? secret_text(k->api_key, origin) : k->user;
	struct digest *d;
	char hex[DIGEST_HEX_MAX];
	int r = digest_new("sha256", &d);

	if (r < 0)
		return r;
	r = digest_add(d, origin, strlen(origin) + 1);
	if (r == 0 && text)
		r = digest_add(d, text, strlen(text));
	if (r == 0)
		r = digest_hex(d, hex);
	digest_free(d);
	return r < 0 ? r : str_fmt(ret, "session %s", hex);
}

static const struct backend *backend_called(const char *scheme)
{
	for (size_t i = 0; scheme && backends[i]; i++)
		if (strcmp(backends[i]->scheme, scheme) == 0)
			return backends[i];
	return NULL;
}

/* An option of one kind of repository says nothing to another: who typed it meant something else. */
static int check_own_options(const struct mounting *m, char **why)
{
	const struct option *o;
	const char *scheme;

	for (size_t i = 0; (o = conf_option_at(i, &scheme)); i++)
		if (scheme && strcmp(scheme, m->backend->scheme) != 0 && conf_given_from(m->conf, o->name, CONF_COMMAND)) {
			(void)str_fmt(why, "option %s is of %s: it says nothing to %s", o->name, scheme, m->source);
			return -ENOPROTOOPT;
		}
	return 0;
}

/* Find out what answers there, and log in. */
static int connect_now(struct mounting *m, const struct login *who, char **why)
{
	int r = m->backend ? 0 : backend_probe(m->http, m->url, m->path, &m->backend, why);

	if (r == 0)
		r = check_own_options(m, why);
	return r < 0 ? r : m->backend->open(who, m->http, &m->session, why);
}

/* A source that was mounted before comes up from what was kept of its session while its server cannot be reached. */
static int connect(struct mounting *m, struct login *who, const struct credentials *k, char **why)
{
	_cleanup_free_ char *space = NULL, *key = NULL, *kept = NULL, *origin = NULL, *was = NULL;
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_buf_ struct buf b = BUF_MAX(1u << 20);
	const char *scheme = NULL;
	struct timespec stored;
	size_t n;
	int r = strstr(m->url, "://") ? http_origin(m->url, &origin) : str_dup(m->url, &origin), kept_r;

	if (r == 0)
		r = mark_of(k, origin, &space);
	if (r == 0)
		r = str_fmt(&key, "%s %s", m->source, who->api ? who->api : "");
	if (r < 0)
		return r;
	kept_r = conf_bool(m->conf, "online") ? -ENOENT
	                                      : cache_doc_load(m->cache, space, "session", key, &kept, &n, &stored);
	if (kept_r == 0)
		kept_r = json_parse(kept, n, &j);
	if (kept_r == 0)
		kept_r = json_str(j, "backend", &scheme);
	if (kept_r == 0)
		kept_r = json_str(j, "session", &who->kept);
	if (kept_r == 0 && backend_called(scheme) && (!m->backend || m->backend == backend_called(scheme))) {
		const char *from = who->kept;

		who->kept = NULL;
		who->patience_ms = conf_ms(m->conf, "offline_wait");
		r = connect_now(m, who, &was);
		if (r == 0 || !fs_error_is_unreachable(r)) {
			*why = TAKE(was);
		} else {
			log_warn("%s; it comes up from what was kept", was ? was : strerror(-r));
			m->backend = backend_called(scheme);
			who->kept = from;
			return m->backend->open(who, m->http, &m->session, why);
		}
	} else {
		who->kept = NULL;
		r = connect_now(m, who, why);
	}
	if (r == 0 && m->session->kept && buf_addf(&b, "{\"backend\": \"%s\", \"session\": ", m->backend->scheme) == 0 &&
	    json_write_str(&b, m->session->kept) == 0 && buf_adds(&b, "}") == 0)
		cache_doc_store(m->cache, space, "session", key, b.data, b.len);
	return r;
}

static int log_in(struct mounting *m, struct credentials *k)
{
	const struct conf *c = m->conf;
	struct http_config hc = {
		.connect_ms = conf_ms(c, "connect_timeout"),
		.stall_ms = conf_ms(c, "stall_timeout"),
		.deadline_ms = conf_ms(c, "timeout"),
		.retry_ms = conf_ms(c, "retry_delay"),
		.throttle_ms = conf_ms(c, "throttle_delay"),
		.throttle_max_ms = conf_ms(c, "throttle_max"),
		.probe_ms = conf_ms(c, "probe_interval"),
		.connections_host = (unsigned)conf_size(c, "connections"),
		.insecure = conf_bool(c, "insecure"),
		.ca_file = conf_string(c, "ca"),
		.proxy = conf_string(c, "proxy"),
	};
	struct policy override = {
		.fetch_long = (uint32_t)conf_size(c, "read_part"),
		.streams_file = (unsigned)conf_size(c, "read_parallel"),
		.attr_ttl_ms = conf_ms(c, "ttl"),
		.list_ttl_ms = conf_ms(c, "list_ttl"),
		.timeout_ms = conf_given(c, "timeout") ? conf_ms(c, "timeout") : 0,    /* else a slow server's backend knows better */
		.slow_ms = conf_ms(c, "slow_timeout"),
		.upload_chunk = conf_size(c, "upload_chunk"),
		.upload_parallel = (unsigned)conf_size(c, "upload_parallel"),
		.upload_batch = (unsigned)conf_size(c, "upload_batch"),
	};
	struct login who = {.url = m->url, .path = m->path, .api = conf_string(c, "api"), .token = k->token, .api_key = k->api_key,
	                    .password = k->password, .user = k->user, .option = option_of, .config = c, .override = &override, .read_only = conf_bool(c, "ro")};
	char *why = NULL;
	int r;

	memcpy(hc.headers, k->headers, sizeof(hc.headers));
	r = http_new(&hc, &m->http);
	if (r == 0)
		r = connect(m, &who, k, &why);
	return r < 0 ? fail(r == -ENOPROTOOPT ? EXIT_USAGE : EXIT_REACH, why, strerror(-r)) : EXIT_DONE;
}

/* ---- the mount ---- */

static uint64_t block_memory(const struct mounting *m)
{
	return limit_memory(conf_size(m->conf, "memory")) / 100 * BLOCK_SHARE_PERCENT;
}

static int make_cache(struct mounting *m)
{
	const struct conf *c = m->conf;
	_cleanup_free_ char *dir = NULL;
	struct cache_config cc = {.memory = block_memory(m)};
	int r = limit_cache(conf_string(c, "cache"), conf_size(c, "cache_size"), conf_size(c, "cache_free"), &dir, &cc.disk,
	                    &cc.disk_free_min);

	cc.dir = dir;
	if (r == 0)
		r = cache_new(&cc, &m->cache);
	return r < 0 ? fail(EXIT_OTHER, NULL, strerror(-r)) : EXIT_DONE;
}

/* To the rooms 0 is "the default"; who says quiet=0 means none. */
static unsigned some_ms(const struct conf *c, const char *name)
{
	unsigned ms = conf_ms(c, name);

	return ms ? ms : 1;
}

static bool keeps_times_there(const struct mounting *m)
{
	const struct backend *b = m->session->backend;

	return b->mtime_own || (str_eq(conf_string(m->conf, "mtime"), "meta") && b->mtime_attr);
}

/* Where what is written is safe until the server has it. What an earlier mount left there is read, and waited for if that one is
 * still at it. */
static int open_spool(struct mounting *m)
{
	const struct conf *c = m->conf;
	_cleanup_free_ char *state = NULL, *why = NULL;
	struct spool_config sc = {
		.limit = conf_size(c, "spool_limit"),
		.quiet_ms = some_ms(c, "quiet"),
		.held_ms = some_ms(c, "held"),
		.full_wait_ms = some_ms(c, "full_wait"),
		.retry_ms = some_ms(c, "upload_retry"),
		.retry_max_ms = some_ms(c, "upload_retry_max"),
		.takeover_ms = some_ms(c, "takeover"),
		.mtime_meta = keeps_times_there(m),
	};
	int r;

	if (conf_bool(c, "ro") || !backend_can_write(m->session))
		return EXIT_DONE;
	r = limit_state(conf_string(c, "state"), &state);
	/* For .scifs/config.json: who asks what is owed is told where it lies. */
	if (r == 0)
		r = conf_set(m->conf, CONF_SYSTEM, "state", "state", state, &why);
	if (r < 0)
		return fail(EXIT_OTHER, TAKE(why), strerror(-r));
	sc.state = state;
	r = spool_open(&sc, m->session, &m->spool, &why);
	if (r < 0) {
		cli_complain("%s%s%s: -o state=DIR keeps what is written elsewhere, -o ro mounts for reading only", why ? why : state,
		             why ? "" : ": ", why ? "" : strerror(-r));
		return r == -ENOMEM ? EXIT_OTHER : EXIT_MOUNT;
	}
	if (limit_is_remote(state))
		log_warn("%s lies on the network: what is written is as safe as that is; -o state=DIR names a folder of this machine", state);
	return EXIT_DONE;
}

static void handle_signals(void)
{
	struct sigaction stop = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};

	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGHUP, &stop, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

static int build(struct mounting *m)
{
	const struct conf *c = m->conf;
	_cleanup_buf_ struct buf json = BUF_MAX(1u << 20);
	struct fs_config fc = {
		.source = m->source,
		.mountpoint = m->dir,
		.allow_other = conf_bool(c, "allow_other"),
		.show_control = conf_bool(c, "show_control"),
		.online = conf_bool(c, "online"),
		.names = str_eq(conf_string(c, "names"), "girder") ? FS_NAMES_GIRDER : FS_NAMES_SCIFS,
		.uid = conf_given(c, "uid") ? (uid_t)conf_size(c, "uid") : getuid(),
		.gid = conf_given(c, "gid") ? (gid_t)conf_size(c, "gid") : getgid(),
		.negative_ttl_ms = conf_ms(c, "negative_ttl"),
		.soft_wait_ms = conf_ms(c, "soft_wait"),
		.memory = block_memory(m),
		.read_only = !m->spool,
		.acts = !conf_bool(c, "ro"),
		.close_remote = str_eq(conf_string(c, "close"), "remote"),
		.fsync_local = str_eq(conf_string(c, "fsync"), "local"),
		.mtime_meta = keeps_times_there(m),
		.upload_open_ms = conf_ms(c, "upload_open"),
		.drain_ms = some_ms(c, "drain"),
	};
	char *why = NULL;
	int r = conf_json(c, &json);

	fc.config_json = buf_str(&json);
	if (str_eq(conf_string(c, "mtime"), "meta") && !fc.mtime_meta)
		log_warn("%s has no place for times that are set: they are kept on this machine, as with mtime=state", m->source);
	if (r == 0)
		r = fs_new(&fc, m->session, m->http, m->cache, m->spool, &m->fs);
	if (r < 0)
		return fail(EXIT_OTHER, NULL, strerror(-r));
	r = fs_check(m->fs, &why);
	if (r < 0)
		return fail(EXIT_REACH, why, strerror(-r));
	/* From here on a signal must not leave a mount behind. */
	handle_signals();
	r = fs_mount(m->fs, &why);
	return r < 0 ? fail(EXIT_MOUNT, why, strerror(-r)) : EXIT_DONE;
}

/* From here on signals reach fs; so do those that came earlier. */
static void let_signals_in(struct mounting *m)
{
	sigset_t ours, old;

	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ours, &old);
	running = m->fs;
	for (; early > 0; early--)
		fs_stop(m->fs);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* What fs_run() could not send stays where it is safe. */
static void log_owed(struct mounting *m)
{
	char size[STR_SIZE_MAX];
	unsigned n = 0, refused = 0;
	uint64_t bytes = 0;

	spool_owed(m->spool, &n, &bytes, &refused);
	log_warn("%u uploads (%s, %u of them refused) are still owed to %s: they are kept in %s, and the next mount goes on with them", n,
	         str_format_size(bytes, size), refused, m->source, conf_string(m->conf, "state"));
}

static void tear_down(struct mounting *m)
{
	running = NULL;
	fs_free(m->fs);
	spool_free(m->spool);
	if (m->session)
		m->backend->close(m->session);
	http_free(m->http);
	cache_free(m->cache);
	m->fs = NULL;
	m->spool = NULL;
	m->session = NULL;
	m->http = NULL;
	m->cache = NULL;
}

static void guard(void)
{
	struct rlimit none = {0, 0};

	/* Secrets are in this memory: no core file, no debugger of another process. */
	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_CORE, &none);
	umask(077);
	/* Freed memory goes back: the budget is meant. */
	mallopt(M_ARENA_MAX, 2);
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

static int serve(struct mounting *m, struct credentials *k, int ready_fd)
{
	int status = make_cache(m), r;

	if (status == EXIT_DONE)
		status = log_in(m, k);
	credentials_done(k);
	if (status == EXIT_DONE)
		status = open_spool(m);
	if (status == EXIT_DONE)
		status = build(m);
	if (status != EXIT_DONE) {
		tear_down(m);
		return status;
	}
	log_info("%s is mounted on %s", m->source, m->dir);
	if (ready_fd >= 0) {
		int null = open("/dev/null", O_RDWR);
		ssize_t n;

		setsid();
		prctl(PR_SET_PDEATHSIG, 0);
		n = write(ready_fd, "+", 1);
		(void)n;        /* a parent that is gone does not need it */
		close(ready_fd);
		if (null >= 0) {
			dup2(null, STDIN_FILENO);
			dup2(null, STDOUT_FILENO);
			dup2(null, STDERR_FILENO);
			if (null > STDERR_FILENO)
				close(null);
		}
		if (chdir("/") < 0)
			log_debug("cannot leave the current directory");
	}
	let_signals_in(m);
	r = fs_run(m->fs);
	log_info("%s is unmounted from %s", m->source, m->dir);
	if (r > 0)
		log_owed(m);
	tear_down(m);
	return r < 0 ? EXIT_OTHER : r > 0 ? EXIT_PART : EXIT_DONE;
}

static int in_background(struct mounting *m, struct credentials *k)
{
	int pipe_fd[2], status = 0;
	pid_t parent = getpid();
	char c;
	pid_t pid;
	ssize_t n;

	if (pipe2(pipe_fd, O_CLOEXEC) < 0)
		return fail(EXIT_OTHER, NULL, strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return fail(EXIT_OTHER, NULL, strerror(errno));
	if (pid == 0) {
		close(pipe_fd[0]);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(EXIT_OTHER);
		if (!conf_given(m->conf, "log") && log_open("syslog") < 0)
			log_debug("no syslog");
		_exit(serve(m, k, pipe_fd[1]));
	}
	close(pipe_fd[1]);
	credentials_done(k);
	while ((n = read(pipe_fd[0], &c, 1)) < 0 && errno == EINTR)
		;
	close(pipe_fd[0]);
	if (n == 1)
		return EXIT_DONE;
	/* It said on standard error why. */
	if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
		return WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_OTHER;
	return fail(EXIT_OTHER, NULL, "mount: the background process died");
}

/* mount(8) hides HOME from its helper, also when a user calls it. Root without one mounts for the system. */
static void find_home(void)
{
	const struct passwd *who = getenv("HOME") || geteuid() == 0 ? NULL : getpwuid(geteuid());

	if (who && who->pw_dir && *who->pw_dir == '/')
		setenv("HOME", who->pw_dir, 0);
}

static int run(int argc, char **argv)
{
	struct mounting m = {0};
	struct credentials k = {0};
	enum log_level level = LOG_LEVEL_INFO;
	int status = EXIT_OTHER, r;

	guard();
	find_home();
	if (conf_new(&m.conf) < 0)
		return fail(EXIT_OTHER, NULL, "out of memory");
	status = parse(&m, argc, argv);
	if (status == EXIT_DONE)
		status = read_files(&m);
	if (status == EXIT_DONE) {
		(void)log_parse_level(conf_string(m.conf, "log_level"), &level);
		log_set_level(m.debug ? LOG_LEVEL_DEBUG : level);
		r = conf_given(m.conf, "log") ? log_open(conf_string(m.conf, "log")) : 0;
		if (r < 0) {
			cli_complain("%s: the log cannot be written: %s", conf_string(m.conf, "log"), strerror(-r));
			status = EXIT_USAGE;
		}
	}
	if (status == EXIT_DONE)
		status = mountpoint_check(&m.dir, conf_bool(m.conf, "allow_other"));
	if (status == EXIT_DONE)
		status = get_credentials(&m, &k);
	if (status == EXIT_DONE)
		status = m.foreground ? serve(&m, &k, -1) : in_background(&m, &k);
	credentials_done(&k);
	conf_free(m.conf);
	free(m.source);
	free(m.dir);
	free(m.url);
	free(m.path);
	return status;
}

const struct command cmd_mount = {
	.name = "mount",
	.usage = "mount SOURCE DIR [-f] [-d] [-o option,...] [--option=value ...]",
	.help = "mount a repository",
	.more = "  SOURCE  girder+https://host[/collection/NAME/...], reduct+https://host[/BUCKET], https://host (asked which kind it is),\n"
	        "          memory: (a sample, without a server), or a profile of scifs.conf(5)\n"
	        "  DIR     an empty directory, or /dev/fd/N: a mount of /dev/fuse that was handed down\n"
	        "  -f      stay in the foreground\n"
	        "  -d      the same, with the debug log\n",
	.run = run,
};
