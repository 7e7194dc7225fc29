/* credentials.c - who logs in: the environment, a protected file, the configuration. Never the command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "conf/private.h"

#define FILE_MAX (64u << 10)

/* A copy of the variable, which is then wiped where it stood: /proc/PID/environ would show it. */
static char *take_env(const char *name)
{
	char *value = getenv(name), *copy;

	if (!value)
		return NULL;
	copy = *value ? strdup(value) : NULL;
	explicit_bzero(value, strlen(value));
	unsetenv(name);
	return copy;
}

static void wipe(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

/* -EACCES with *why unless it is a plain file of ours that nobody else may read. */
static int open_private(const char *path, int *ret_fd, char **why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const char *wrong = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		wrong = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		wrong = "it is not a plain file";
	else if (st.st_uid != geteuid() && geteuid() != 0)
		wrong = "it belongs to somebody else";
	if (wrong)
		(void)str_fmt(why, "%s: the credentials cannot be read: %s", path, wrong);
	else if (st.st_mode & 077)
		(void)str_fmt(why, "%s: it holds credentials and others may read it: chmod 600 %s", path, path);
	else {
		*ret_fd = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	return -EACCES;
}

static int take_line(struct conf *c, const char *path, int line, char *text, char **why)
{
	_cleanup_free_ char *where = NULL;
	char *value, *name;

	text = str_trim(text);
	if (!*text || *text == '#' || *text == ';')
		return 0;
	if (str_fmt(&where, "%s:%d", path, line) < 0)
		return -ENOMEM;
	value = strchr(text, '=');
	if (value)
		*value++ = 0;
	name = str_trim(text);
	if (!value || !conf_is_secret(name)) {
		(void)str_fmt(why, "%s: this line cannot be read: token, api_key, user, password or header = value", where);
		return -EINVAL;
	}
	/* Between the command line and the files: an option named this file. */
	return conf_set(c, CONF_ENVIRONMENT, where, name, str_trim(value), why);
}

static int read_file(struct conf *c, const char *path, char **why)
{
	_cleanup_close_ int fd = -1;
	char *text;
	ssize_t n;
	int r = open_private(path, &fd, why), line = 0;

	if (r < 0)
		return r;
	text = malloc(FILE_MAX + 1);
	if (!text)
		return -ENOMEM;
	n = read(fd, text, FILE_MAX + 1);       /* a plain file: it comes in one piece */
	if (n < 0 || n > (ssize_t)FILE_MAX) {
		(void)str_fmt(why, "%s: the credentials cannot be read: %s", path, n < 0 ? strerror(errno) : "it is too long");
		n = 0;
		r = -EACCES;
	}
	text[n] = 0;
	for (char *at = text, *next; r == 0 && *at; at = next) {
		next = at + strcspn(at, "\n");
		if (*next)
			*next++ = 0;
		r = take_line(c, path, ++line, at, why);
	}
	explicit_bzero(text, FILE_MAX + 1);
	free(text);
	return r;
}

/* What this option says, if it was said as near as the nearest login: ways to log in are not mixed from several places. */
static int secret_of(const struct conf *c, enum conf_from nearest, char *from_env, const char *name, const char *origin, struct secret **ret)
{
	const char *text = from_env && *from_env ? from_env : conf_given_from(c, name, nearest) ? conf_string(c, name) : NULL;

	return text && *text ? secret_new(origin, text, ret) : 0;
}

static bool has_header(const struct credentials *k, size_t n, const char *name, size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (strncasecmp(k->headers[i].name, name, len) == 0 && !k->headers[i].name[len])
			return true;
	return false;
}

/* Those of the credentials file, from `first` on, were read last and stand nearest. */
static int take_headers(const struct conf *c, size_t first, const char *origin, struct credentials *k)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->headers.n; i++) {
		const char *line = c->headers.at[(first + i) % c->headers.n], *value = strchr(line, ':') + 1;
		size_t len = strcspn(line, ":");

		if (has_header(k, n, line, len))
			continue;
		k->headers[n].name = strndup(line, len);
		if (!k->headers[n].name)
			return -ENOMEM;
		r = secret_new(origin, value + strspn(value, " \t"), &k->headers[n].value);
		n++;
	}
	return r;
}

static int fill(struct conf *c, char *token, char *key, char *password, const char *user, const char *origin, struct credentials *k, char **why)
{
	static const char *const ways[] = {"token", "api_key", "password"};
	const char *file = conf_string(c, "credentials");
	/* What the environment says wins over any file; naming a login there hides the files' other ways to log in. */
	bool env = token || key || password;
	enum conf_from nearest = env ? CONF_COMMAND : CONF_SYSTEM;
	size_t first = c->headers.n;
	int r = file ? read_file(c, file, why) : 0;

	for (size_t i = 0; i < 3; i++)
		for (enum conf_from from = CONF_SYSTEM; !env && from <= CONF_ENVIRONMENT; from++)
			if (conf_given_from(c, ways[i], from) && from > nearest)
				nearest = from;
	if (r == 0)
		r = secret_of(c, nearest, token, "token", origin, &k->token);
	if (r == 0)
		r = secret_of(c, nearest, key, "api_key", origin, &k->api_key);
	if (r == 0)
		r = secret_of(c, nearest, password, "password", origin, &k->password);
	if (r == 0 && (user || conf_string(c, "user")))
		r = str_dup(user ? user : conf_string(c, "user"), &k->user);
	return r < 0 ? r : take_headers(c, first, origin, k);
}

static void forget(struct conf *c)
{
	const struct option *o;

	for (size_t i = 0; (o = conf_option_at(i, NULL)); i++)
		if (o->type == OPTION_SECRET)
			wipe(map_remove(c->values, o->name));
	for (size_t i = 0; i < c->headers.n; i++)
		wipe(c->headers.at[i]);
	vec_done(&c->headers);
}

int conf_credentials(struct conf *c, const char *origin, struct credentials *ret, char **why)
{
	char *token = take_env("SCIFS_TOKEN"), *key = take_env("SCIFS_API_KEY"), *password = take_env("SCIFS_PASSWORD");
	char *user = take_env("SCIFS_USER");
	struct credentials k = {0};
	int r = fill(c, token, key, password, user, origin, &k, why);

	wipe(token);
	wipe(key);
	wipe(password);
	free(user);
	forget(c);
	if (r < 0) {
		credentials_done(&k);
		return r;
	}
	*ret = k;
	return 0;
}

void credentials_done(struct credentials *k)
{
	secret_unref(k->token);
	secret_unref(k->api_key);
	secret_unref(k->password);
	free(k->user);
	for (size_t i = 0; i < HTTP_OWN_HEADERS_MAX; i++) {
		free((char *)k->headers[i].name);
		secret_unref(k->headers[i].value);
	}
	*k = (struct credentials){0};
}
