/* config.c - the configuration files (inih). */
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "conf/private.h"

#define SECTION_MAX 49                  /* of inih's buffer */
#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

struct reading {
	struct conf *conf;
	enum conf_from from;
	const char *path;
	FILE *file;
	int line;
	const char *name;       /* what is mounted, as the user named it */
	char *url;              /* the profile's `source`; NULL: the name is none */
	const char *odd;        /* what is wrong with a line that inih would take apart silently */
	bool has_secret;
	char **why;
	int error;
};

/* inih cuts what is longer than it likes, and a cut section would apply where it should not; and it takes an indented line
 * for more of the value above, which nobody means who indents a section. */
static char *read_line(char *text, int room, void *arg)
{
	struct reading *r = arg;
	/* inih would go on behind a line that was refused. */
	char *line = r->error ? NULL : fgets(text, room, r->file);
	int c;

	if (!line)
		return NULL;
	r->line++;
	line += strspn(line, " \t");
	memmove(text, line, strlen(line) + 1);
	if (!strchr(text, '\n') && !feof(r->file)) {
		if (*text != '#' && *text != ';')
			r->odd = "this line is too long";
		while ((c = getc(r->file)) != EOF && c != '\n')
			;
	}
	if (*text == '[' && strcspn(text + 1, "]\n") > SECTION_MAX)
		r->odd = "a section's name has " STRINGIFY(SECTION_MAX) " bytes at most: give it a short name and a source = URL";
	return r->odd ? NULL : text;
}

/* Behind "girder+" and the like. */
static const char *plain(const char *url)
{
	size_t n = strcspn(url, "+:/");

	return url[n] == '+' ? url + n + 1 : url;
}

/* Is `source` this URL or something below it? Another host's name may begin alike. */
static bool is_below(const char *source, const char *section)
{
	size_t n = strlen(section);

	if (plain(section) == section)
		source = plain(source);
	return strstr(section, "://") && str_starts(source, section) &&
	       (!source[n] || source[n] == '/' || section[n - 1] == '/');
}

static bool applies(const struct reading *r, const char *section)
{
	return !*section || strcmp(section, r->name) == 0 || is_below(r->name, section) ||
	       (r->url && (strcmp(section, r->url) == 0 || is_below(r->url, section)));
}

static int on_line(void *arg, const char *section, const char *name, const char *value)
{
	struct reading *r = arg;
	_cleanup_free_ char *where = NULL;

	/* inih goes on after a line that was refused: the first one is what is told. */
	if (r->error)
		return 0;
	if (conf_is_secret(name))
		r->has_secret = true;
	if (conf_is_secret(name) && !*section) {
		(void)str_fmt(r->why, "%s:%d: %s belongs into a section: here it would go to every host", r->path, r->line, name);
		r->error = -EINVAL;
		return 0;
	}
	if (!applies(r, section) || strcmp(name, "source") == 0)
		return 1;
	if (str_fmt(&where, "%s:%d", r->path, r->line) < 0)
		return 0;
	r->error = conf_set(r->conf, r->from, where, name, value, r->why);
	return r->error == 0;
}

/* First reading: does the source name a profile? */
static int on_profile(void *arg, const char *section, const char *name, const char *value)
{
	struct reading *r = arg;

	if (strcmp(section, r->name) == 0 && strcmp(name, "source") == 0) {
		free(r->url);
		r->url = strdup(value);
		return r->url != NULL;
	}
	return 1;
}

/* All that counts for the source. */
static int read_all(struct reading *r)
{
	int bad;

	rewind(r->file);
	r->line = 0;
	r->odd = NULL;
	errno = 0;
	bad = ini_parse_stream(read_line, r, on_line, r);
	if (ferror(r->file)) {
		(void)str_fmt(r->why, "%s: it cannot be read: %s", r->path, strerror(errno));
		return -EINVAL;
	}
	/* The first of what is wrong: inih itself goes on behind a line that it cannot read. */
	if (bad > 0 && (bad < r->line || !(r->odd || r->error))) {
		free(*r->why);
		*r->why = NULL;
		(void)str_fmt(r->why, "%s:%d: this line cannot be read: it is neither [section] nor name = value", r->path, bad);
		return -EINVAL;
	}
	if (r->odd) {
		(void)str_fmt(r->why, "%s:%d: %s", r->path, r->line, r->odd);
		return -EINVAL;
	}
	return r->error;
}

int conf_read_file(struct conf *c, enum conf_from from, const char *path, char **io_source, char **why)
{
	struct reading r = {.conf = c, .from = from, .path = path, .name = *io_source, .why = why};
	struct stat st;
	int error;

	r.file = fopen(path, "re");
	if (!r.file) {
		if (errno == ENOENT || errno == ENOTDIR)
			return 0;
		(void)str_fmt(why, "%s: it cannot be read: %s", path, strerror(errno));
		return -EINVAL;
	}
	(void)ini_parse_stream(read_line, &r, on_profile, &r);  /* what is wrong with it the second reading tells */
	error = read_all(&r);
	if (error == 0 && r.has_secret && fstat(fileno(r.file), &st) == 0 && (st.st_mode & 077)) {
		(void)str_fmt(why, "%s: it holds credentials and others may read it: chmod 600 %s", path, path);
		error = -EACCES;
	}
	fclose(r.file);
	if (error == 0 && r.url) {
		free(*io_source);
		*io_source = TAKE(r.url);
	}
	free(r.url);
	return error;
}
