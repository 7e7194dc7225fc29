/* config.c - the configuration files (inih). */
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "conf/private.h"

struct reading {
	struct conf *conf;
	enum conf_from from;
	const char *path;
	FILE *file;
	int line;
	char *source;           /* what is mounted: a URL once the profile told it */
	bool is_profile;        /* looking for [SOURCE]'s own `source` */
	bool has_secret;
	char **why;
	int error;
};

static char *read_line(char *text, int room, void *arg)
{
	struct reading *r = arg;

	r->line++;
	return fgets(text, room, r->file);
}

static bool applies(const struct reading *r, const char *section)
{
	return !*section || strcmp(section, r->source) == 0 || (strstr(section, "://") && str_starts(r->source, section));
}

static int on_line(void *arg, const char *section, const char *name, const char *value)
{
	struct reading *r = arg;
	_cleanup_free_ char *where = NULL;

	if (conf_is_secret(name))
		r->has_secret = true;
	if (!applies(r, section) || strcmp(name, "source") == 0)
		return 1;
	if (str_fmt(&where, "%s:%d", r->path, r->line) < 0)
		return 0;
	r->error = conf_set(r->conf, r->from, where, name, value, r->why);
	return r->error == 0;
}

/* First pass: does the source name a profile? */
static int on_profile(void *arg, const char *section, const char *name, const char *value)
{
	struct reading *r = arg;

	if (strcmp(section, r->source) == 0 && strcmp(name, "source") == 0) {
		char *url = strdup(value);

		if (!url)
			return 0;
		free(r->source);
		r->source = url;
		r->is_profile = true;
	}
	return 1;
}

static int pass(struct reading *r, ini_handler handler)
{
	int bad;

	rewind(r->file);
	r->line = 0;
	bad = ini_parse_stream(read_line, r, handler, r);
	if (bad > 0 && r->error == 0) {
		(void)str_fmt(r->why, "%s:%d: this line cannot be read: it is neither [section] nor name = value", r->path, bad);
		return -EINVAL;
	}
	return r->error;
}

int conf_read_file(struct conf *c, enum conf_from from, const char *path, char **io_source, char **why)
{
	struct reading r = {.conf = c, .from = from, .path = path, .why = why};
	struct reading profile;
	struct stat st;
	int error;

	r.file = fopen(path, "re");
	if (!r.file) {
		if (errno == ENOENT || errno == ENOTDIR)
			return 0;
		(void)str_fmt(why, "%s: %s", path, strerror(errno));
		return -EINVAL;
	}
	r.source = strdup(*io_source);
	if (!r.source) {
		fclose(r.file);
		return -ENOMEM;
	}
	profile = r;
	error = pass(&profile, on_profile);
	if (error == 0) {
		/* A section of a profile's name applies, and those of its URL. */
		r.source = strdup(*io_source);
		error = r.source ? pass(&r, on_line) : -ENOMEM;
		if (error == 0 && profile.is_profile) {
			free(r.source);
			r.source = strdup(profile.source);
			error = r.source ? pass(&r, on_line) : -ENOMEM;
		}
		free(r.source);
	}
	if (error == 0 && r.has_secret && fstat(fileno(r.file), &st) == 0 && (st.st_mode & 077)) {
		(void)str_fmt(why, "%s: it holds credentials and others may read it: chmod 600 %s", path, path);
		error = -EACCES;
	}
	fclose(r.file);
	if (error == 0 && profile.is_profile) {
		free(*io_source);
		*io_source = profile.source;
	} else {
		free(profile.source);
	}
	return error;
}
