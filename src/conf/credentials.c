/* credentials.c - who logs in: the environment, a protected file, the configuration. Never the command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "conf/private.h"

#define FILE_MAX (64u << 10)

/* A copy of the variable, which is then wiped where it stood: /proc/PID/environ would show it. */
static char *take_env(const char *name)
{
	char *value = getenv(name), *copy;

	if (!value)
		return NULL;
	copy = strdup(value);
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

static int read_file(struct conf *c, const char *path, char **why)
{
	_cleanup_buf_ struct buf b = BUF_MAX(FILE_MAX);
	struct stat st;
	int r, line = 0;

	if (stat(path, &st) < 0) {
		r = -errno;
		(void)str_fmt(why, "%s: %s", path, strerror(-r));
		return -EACCES;
	}
	if (st.st_mode & 077) {
		(void)str_fmt(why, "%s: others may read it: chmod 600 %s", path, path);
		return -EACCES;
	}
	if (st.st_uid != geteuid() && geteuid() != 0) {
		(void)str_fmt(why, "%s: it belongs to somebody else", path);
		return -EACCES;
	}
	r = file_read_whole(path, &b);
	if (r < 0) {
		(void)str_fmt(why, "%s: %s", path, strerror(-r));
		return -EACCES;
	}
	for (char *at = b.data, *next; at && *at; at = next) {
		_cleanup_free_ char *where = NULL;
		char *value;

		next = at + strcspn(at, "\n");
		if (*next)
			*next++ = 0;
		line++;
		at = str_trim(at);
		if (!*at || *at == '#' || *at == ';')
			continue;
		value = strchr(at, '=');
		if (value)
			*value++ = 0;
		if (!value || !conf_is_secret(str_trim(at))) {
			(void)str_fmt(why, "%s:%d: this line cannot be read: token, api_key, user or password = value", path, line);
			explicit_bzero(b.data, b.len);
			return -EINVAL;
		}
		/* Between the environment and the files: an option named this file. */
		r = conf_set(c, CONF_ENVIRONMENT, path, str_trim(at), str_trim(value), why);
		if (r < 0)
			break;
	}
	if (b.data)
		explicit_bzero(b.data, b.len);
	return r;
}

static int secret_of(struct conf *c, char *from_env, const char *name, const char *origin, struct secret **ret)
{
	const char *text = from_env && *from_env ? from_env : conf_string(c, name);

	return text && *text ? secret_new(origin, text, ret) : 0;
}

int conf_credentials(struct conf *c, const char *origin, struct credentials *ret, char **why)
{
	char *token = take_env("SCIFS_TOKEN"), *key = take_env("SCIFS_API_KEY"), *password = take_env("SCIFS_PASSWORD");
	char *user = take_env("SCIFS_USER");
	struct credentials k = {0};
	const char *file = conf_string(c, "credentials");
	/* What the environment says wins over any file; naming a login there hides the files' other ways to log in. */
	bool env = token || key || password;
	int r = file && !env ? read_file(c, file, why) : 0;

	if (r == 0 && (token || !env))
		r = secret_of(c, token, "token", origin, &k.token);
	if (r == 0 && (key || !env))
		r = secret_of(c, key, "api_key", origin, &k.api_key);
	if (r == 0 && (password || !env))
		r = secret_of(c, password, "password", origin, &k.password);
	if (r == 0 && (user || conf_string(c, "user")))
		r = str_dup(user ? user : conf_string(c, "user"), &k.user);
	wipe(token);
	wipe(key);
	wipe(password);
	free(user);
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
	*k = (struct credentials){0};
}
