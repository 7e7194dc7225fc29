/* options.c - one table of options, and the values that were set. The table makes --long, -o, configuration keys and --help. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "conf/private.h"

static const struct option core[] = {
	{"allow_other", OPTION_BOOL, "no", NULL, "let other users enter the mount, as far as modes allow"},
	{"api", OPTION_STRING, NULL, NULL, "path of the API below the host, when it is not found by itself"},
	{"api_key", OPTION_SECRET, NULL, NULL, "key that scifs logs in with, again whenever a login expires"},
	{"ca", OPTION_FILE, NULL, NULL, "file with the certificates to trust, instead of the system's"},
	{"cache", OPTION_FILE, NULL, "none", "folder for blocks and documents, or none; default: $XDG_CACHE_HOME/scifs"},
	{"cache_free", OPTION_SIZE, NULL, NULL, "what must stay free on the cache's disk; default: 1 GiB or a twentieth of it, whichever is less"},
	{"cache_size", OPTION_SIZE, NULL, NULL, "disk for the cache, of all mounts that share it; default: 10 GiB or a tenth of the disk, whichever is less"},
	{"close", OPTION_CHOICE, "local", "local|remote",
	 "what close of a written file waits for: that it is safe on this machine's disk, or that the server has it"},
	{"connections", OPTION_UINT, "8", NULL, "connections to one host, at most"},
	{"connect_timeout", OPTION_DURATION, "5s", NULL, "time to get a connection"},
	{"credentials", OPTION_FILE, NULL, NULL, "file with lines token, api_key, user, password, header = value; mode 0600"},
	{"drain", OPTION_DURATION, "10m", NULL, "how long what is owed is still sent when the mount ends"},
	{"fsync", OPTION_CHOICE, "remote", "remote|local", "what fsync waits for: that the server has it, or that it is safe on this machine's disk"},
	{"full_wait", OPTION_DURATION, "60s", NULL, "how long a write waits for room while drafts fill spool_limit and none gets less"},
	{"gid", OPTION_UINT, NULL, NULL, "group of all files; default: the mounter's"},
	{"header", OPTION_SECRET, NULL, NULL, "NAME: VALUE sent with each request to the source's own host; may be given more than once"},
	{"held", OPTION_DURATION, "10m", NULL, "how long a file with the name of a half-finished one stays on this machine"},
	{"insecure", OPTION_BOOL, "no", NULL, "do not verify TLS certificates"},
	{"list_ttl", OPTION_DURATION, NULL, NULL, "how long a listing is believed; default: what suits the kind of repository"},
	{"log", OPTION_FILE, NULL, "-|syslog|journal", "where the log goes: a file, syslog, journal, or - for standard error; default: syslog, in the foreground standard error"},
	{"log_level", OPTION_CHOICE, "info", "error|warn|info|debug", "how much is logged"},
	{"memory", OPTION_SIZE, NULL, NULL, "memory for blocks, nodes and listings, 16 MiB or more; default: 256 MiB or a quarter of the cgroup's limit, whichever is less"},
	{"mtime", OPTION_CHOICE, "state", "state|meta",
	 "where a time that is set (touch, cp -p, rsync -a) is kept: on this machine, or in the metadata at the server, so that every machine that "
	 "mounts with mtime=meta sees it"},
	{"names", OPTION_CHOICE, "scifs", "scifs|girder", "how server names become file names: reversibly, or as the Girder client does"},
	{"negative_ttl", OPTION_DURATION, "5s", NULL, "how long a name that was not there stays so"},
	{"online", OPTION_BOOL, "no", NULL, "fail when the server cannot be reached, whatever is kept"},
	{"password", OPTION_SECRET, NULL, NULL, "password of user"},
	{"probe_interval", OPTION_DURATION, "2s", NULL, "how often a silent server is tried in the background"},
	{"proxy", OPTION_STRING, NULL, NULL, "URL of a proxy; default: http_proxy, https_proxy, no_proxy of the environment"},
	{"quiet", OPTION_DURATION, "1s", NULL, "how long a closed file rests before it is sent: what is written again meanwhile goes once"},
	{"read_parallel", OPTION_UINT, NULL, NULL, "downloads under way for one file, at most; default: what suits the kind of repository"},
	{"read_part", OPTION_SIZE, NULL, NULL, "length of one download of a steady reader; default: what suits the kind of repository"},
	{"retry_delay", OPTION_DURATION, "250ms", NULL, "delay before a first repeat; it doubles"},
	{"offline_wait", OPTION_DURATION, "5s", NULL,
	 "how long a source that was mounted before waits for its server before it comes up from what is kept"},
	{"ro", OPTION_BOOL, "no", NULL, "read only: every change fails with EROFS"},
	{"show_control", OPTION_BOOL, "no", NULL, "list .scifs in each directory"},
	{"slow_timeout", OPTION_DURATION, NULL, NULL, "silence allowed to a server that works on a request it has; default: stall_timeout"},
	{"soft_wait", OPTION_DURATION, "1s", NULL, "how long a known thing waits for news before what is kept answers"},
	{"spool_limit", OPTION_SIZE, NULL, NULL, "disk for what is written and not sent yet; default: half of what is free there at the mount"},
	{"stall_timeout", OPTION_DURATION, "20s", NULL, "less than 1 KiB/s for so long is a stall"},
	{"state", OPTION_FILE, NULL, NULL,
	 "folder for what is written and not sent yet, and for what is kept of files; never a cache; default: $XDG_STATE_HOME/scifs"},
	{"takeover", OPTION_DURATION, "90s", NULL, "how long a mount waits for an earlier one of the same source that is ending"},
	{"throttle_delay", OPTION_DURATION, "5s", NULL, "pause after 429 or 503 without Retry-After; it doubles"},
	{"throttle_max", OPTION_DURATION, "15m", NULL, "the longest Retry-After that is obeyed; one that is longer fails at once"},
	{"timeout", OPTION_DURATION, "60s", NULL, "the last error of a request comes after so long at most"},
	{"token", OPTION_SECRET, NULL, NULL, "login token"},
	{"ttl", OPTION_DURATION, NULL, NULL, "how long attributes are believed; default: what suits the kind of repository"},
	{"uid", OPTION_UINT, NULL, NULL, "owner of all files; default: the mounter"},
	{"upload_chunk", OPTION_SIZE, NULL, NULL, "length of one request of an upload; default: what suits the kind of repository"},
	{"upload_open", OPTION_DURATION, NULL, NULL,
	 "a file that stays open and was changed is sent every so often as it is then; default: only when it is closed"},
	{"upload_batch", OPTION_UINT, NULL, NULL, "small files sent by one request where the server takes several, at most; default: what suits it"},
	{"upload_parallel", OPTION_UINT, NULL, NULL, "uploads under way at once, at most; default: what suits the kind of repository"},
	{"upload_retry", OPTION_DURATION, "1s", NULL, "pause before an upload that failed for a passing reason is tried again; it doubles"},
	{"upload_retry_max", OPTION_DURATION, "60s", NULL, "the longest such pause"},
	{"user", OPTION_SECRET, NULL, NULL, "name to log in with"},
};
#define CORE (sizeof(core) / sizeof(core[0]))

const struct option *conf_option_at(size_t i, const char **ret_scheme)
{
	if (ret_scheme)
		*ret_scheme = NULL;
	if (i < CORE)
		return &core[i];
	i -= CORE;
	for (size_t b = 0; backends[b]; b++)
		for (const struct option *o = backends[b]->options; o && o->name; o++)
			if (i-- == 0) {
				if (ret_scheme)
					*ret_scheme = backends[b]->scheme;
				return o;
			}
	return NULL;
}

bool conf_is_secret(const char *name)
{
	const struct option *o = conf_option(name, NULL);

	return o && o->type == OPTION_SECRET;
}

const struct option *conf_option(const char *name, const char **ret_scheme)
{
	const struct option *o;

	for (size_t i = 0; (o = conf_option_at(i, ret_scheme)); i++)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

int conf_new(struct conf **ret)
{
	struct conf *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->values = map_new();
	c->from = map_new();
	if (!c->values || !c->from) {
		conf_free(c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

void conf_free(struct conf *c)
{
	struct map_iter it = {0};
	const char *key;
	void *value;

	if (!c)
		return;
	while (c->values && map_next(c->values, &it, &key, &value)) {
		explicit_bzero(value, strlen(value));
		free(value);
	}
	for (size_t i = 0; i < c->headers.n; i++) {
		explicit_bzero(c->headers.at[i], strlen(c->headers.at[i]));
		free(c->headers.at[i]);
	}
	vec_done(&c->headers);
	map_free(c->values);
	map_free(c->from);
	free(c);
}

static const char *nearest(const char *name)
{
	const struct option *o, *best = NULL;
	unsigned least = 4;

	for (size_t i = 0; (o = conf_option_at(i, NULL)); i++)
		if (str_distance(name, o->name) < least) {
			least = str_distance(name, o->name);
			best = o;
		}
	return best ? best->name : NULL;
}

/* "read_part" -> "READ_PART" */
static void variable_of(const char *option, char *ret, size_t room)
{
	size_t n = 0;

	for (; option[n] && n + 1 < room; n++)
		ret[n] = (char)toupper((unsigned char)option[n]);
	ret[n] = 0;
}

static bool chosen(const char *choices, const char *value)
{
	size_t n = strlen(value);

	for (const char *p = choices; *p; p += strcspn(p, "|") + (p[strcspn(p, "|")] == '|'))
		if (strcspn(p, "|") == n && strncmp(p, value, n) == 0)
			return true;
	return false;
}

static int check(const struct option *o, const char *where, const char *value, char **why)
{
	const char *want = NULL;
	uint64_t n;
	bool yes;

	switch (o->type) {
	case OPTION_BOOL:
		want = str_parse_bool(value, &yes) < 0 ? "yes or no" : NULL;
		break;
	case OPTION_SIZE:
		want = str_parse_size(value, &n) < 0 ? "a size, as 64M or 1G" : NULL;
		break;
	case OPTION_DURATION:
		want = str_parse_duration(value, &n) < 0 || n > 0xffffffffu ? "a time, as 500ms, 5s or 10m" : NULL;
		break;
	case OPTION_UINT:
		want = str_parse_u64(value, &n) < 0 || n > 0xffffffffu ? "a number" : NULL;
		break;
	case OPTION_CHOICE:
		want = chosen(o->choices, value) ? NULL : o->choices;
		break;
	default:
		break;
	}
	if (!want)
		return 0;
	(void)str_fmt(why, "%s: option %s is \"%s\" but should be %s", where, o->name, value, want);
	return -EINVAL;
}

static int store(struct conf *c, enum conf_from from, const char *name, const char *value)
{
	char *copy = strdup(value), *old = map_get(c->values, name);
	uintptr_t had = (uintptr_t)map_get(c->from, name);

	if (!copy)
		return -ENOMEM;
	if (had > (uintptr_t)from + 1) {
		free(copy);
		return 0;       /* a nearer source has spoken */
	}
	if (map_set(c->values, name, copy) < 0 || map_set(c->from, name, (void *)((uintptr_t)from + 1)) < 0) {
		free(copy);
		return -ENOMEM;
	}
	free(old);
	return 0;
}

/* Who mounts stands somewhere, and the mount leaves for "/": a path is made whole where it is read. */
static int whole_path(enum conf_from from, const char *where, const struct option *o, const char *value, char **ret, char **why)
{
	const char *home = getenv("HOME");
	char cwd[PATH_MAX];

	if (*value == '/' || (o->choices && chosen(o->choices, value)))
		return str_dup(value, ret);
	if (str_starts(value, "~/") && home)
		return str_fmt(ret, "%s%s", home, value + 1);
	if (*value && (from == CONF_COMMAND || from == CONF_ENVIRONMENT) && getcwd(cwd, sizeof(cwd)))
		return str_fmt(ret, "%s/%s", cwd, value);
	(void)str_fmt(why, "%s: option %s is \"%s\" but should be a path from / or ~/ on", where, o->name, value);
	return -EINVAL;
}

/* "Name: value". A nearer source's header of the same name was there first, and stays alone. */
static int add_header(struct conf *c, const char *where, const char *value, char **why)
{
	size_t name = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");
	size_t n = strlen(value);
	char *copy;

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)value[i] < 32 || value[i] == 127)
			name = 0;
	if (!name || value[name] != ':') {
		(void)str_fmt(why, "%s: option header should be NAME: VALUE", where);
		return -EINVAL;
	}
	if (c->headers.n >= CONF_HEADERS_MAX) {
		(void)str_fmt(why, "%s: option header: %d are the most that can be", where, CONF_HEADERS_MAX);
		return -EINVAL;
	}
	copy = strdup(value);
	if (!copy || vec_push(&c->headers, copy) < 0) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

static int set_secret(struct conf *c, enum conf_from from, const char *where, const char *name, const char *value, char **why)
{
	char variable[80];

	if (from == CONF_COMMAND && strcmp(name, "header") == 0) {
		(void)str_fmt(why, "%s: header does not belong on a command line, where others can see it: write it into the "
		              "configuration or a file for -o credentials=FILE", where);
		return -EINVAL;
	}
	if (from == CONF_COMMAND) {
		variable_of(name, variable, sizeof(variable));
		(void)str_fmt(why, "%s: %s does not belong on a command line, where others can see it: use SCIFS_%s or -o credentials=FILE",
		              where, name, variable);
		return -EINVAL;
	}
	if (!value || !*value) {
		(void)str_fmt(why, "%s: option %s needs a value", where, name);
		return -EINVAL;
	}
	return strcmp(name, "header") == 0 ? add_header(c, where, value, why) : store(c, from, name, value);
}

static int set(struct conf *c, enum conf_from from, const char *where, const char *name, const char *value, char **why)
{
	const struct option *o = conf_option(name, NULL);
	_cleanup_free_ char *path = NULL;
	const char *near;
	int r;

	if (!o) {
		near = nearest(name);
		(void)str_fmt(why, "%s: there is no option \"%s\"%s%s%s", where, name, near ? ": did you mean \"" : ": scifs mount --help lists them",
		              near ? near : "", near ? "\"?" : "");
		return -EINVAL;
	}
	if (o->type == OPTION_SECRET)
		return set_secret(c, from, where, name, value, why);
	if (!value && o->type != OPTION_BOOL) {
		(void)str_fmt(why, "%s: option %s needs a value", where, name);
		return -EINVAL;
	}
	if (!value)
		value = "yes";
	r = check(o, where, value, why);
	if (r == 0 && o->type == OPTION_FILE) {
		r = whole_path(from, where, o, value, &path, why);
		value = path;
	}
	return r < 0 ? r : store(c, from, name, value);
}

int conf_set(struct conf *c, enum conf_from from, const char *where, const char *name, const char *value, char **why)
{
	int r = set(c, from, where, name, value, why);

	/* It quotes what was given, which may hold line ends and worse. */
	if (r < 0)
		str_make_printable(why);
	return r;
}

int conf_set_list(struct conf *c, enum conf_from from, const char *where, const char *list, char **why)
{
	_cleanup_buf_ struct buf one = BUF_MAX(65536);
	int r = 0;

	for (const char *p = list; r == 0; p++) {
		if (*p == '\\' && p[1]) {
			r = buf_addc(&one, *++p);
		} else if (*p && *p != ',') {
			r = buf_addc(&one, *p);
		} else {
			if (one.len) {
				char *name = one.data, *value = strchr(name, '=');

				if (value)
					*value++ = 0;
				r = conf_set(c, from, where, name, value, why);
			}
			buf_clear(&one);
			if (!*p)
				break;
		}
	}
	return r;
}

#define PREFIX "SCIFS_"

int conf_set_environment(struct conf *c, char **why)
{
	const struct option *o;

	for (size_t i = 0; (o = conf_option_at(i, NULL)); i++) {
		char name[80] = PREFIX;
		const char *value;
		int r;

		variable_of(o->name, name + strlen(PREFIX), sizeof(name) - strlen(PREFIX));
		value = getenv(name);
		if (!value || !*value)
			continue;
		if (o->type == OPTION_SECRET && strcmp(o->name, "header") != 0)
			continue;       /* credentials.c takes them, and wipes them there */
		if (o->type == OPTION_SECRET) {
			(void)str_fmt(why, "%s: it is not read from the environment: write header = into the configuration or a file "
			              "for -o credentials=FILE", name);
			return -EINVAL;
		}
		r = conf_set(c, CONF_ENVIRONMENT, name, o->name, value, why);
		if (r < 0)
			return r;
	}
	return 0;
}

const char *conf_string(const struct conf *c, const char *name)
{
	const char *v = map_get(c->values, name);
	const struct option *o = v ? NULL : conf_option(name, NULL);

	return v ? v : o ? o->fallback : NULL;
}

bool conf_given(const struct conf *c, const char *name)
{
	return map_get(c->values, name) != NULL;
}

bool conf_given_from(const struct conf *c, const char *name, enum conf_from from)
{
	return (uintptr_t)map_get(c->from, name) == (uintptr_t)from + 1;
}

bool conf_bool(const struct conf *c, const char *name)
{
	const char *v = conf_string(c, name);
	bool yes = false;

	(void)(v && str_parse_bool(v, &yes));   /* checked when it was set */
	return yes;
}

uint64_t conf_size(const struct conf *c, const char *name)
{
	const char *v = conf_string(c, name);
	uint64_t n = 0;

	(void)(v && str_parse_size(v, &n));
	return n;
}

unsigned conf_ms(const struct conf *c, const char *name)
{
	const char *v = conf_string(c, name);
	uint64_t n = 0;

	(void)(v && str_parse_duration(v, &n));
	return (unsigned)n;
}

int conf_json(const struct conf *c, struct buf *ret)
{
	const struct option *o;
	bool first = true;
	int r = buf_addc(ret, '{');

	for (size_t i = 0; r == 0 && (o = conf_option_at(i, NULL)); i++) {
		const char *v = o->type == OPTION_SECRET ? NULL : conf_string(c, o->name);

		if (!v)
			continue;
		r = buf_addf(ret, "%s\"%s\": ", first ? "" : ", ", o->name);
		if (r == 0)
			r = json_write_str(ret, v);
		first = false;
	}
	return r < 0 ? r : buf_adds(ret, "}\n");
}
