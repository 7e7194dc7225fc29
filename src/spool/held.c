/* held.c - names: which are of half-finished files, and how a copy that lost a race is called. Pure.
 *
 * Programs write a file under a name of the moment and rename it when it is whole. Sending it under the first name would cost an
 * upload and, where a rename is two steps or none, more; so it stays here until it gets its real name.
 */
#include <ctype.h>
#include <string.h>

#include "base/str.h"
#include "spool/private.h"

#define NAME_BYTES_MAX 255
#define HOST_BYTES_MAX 32
#define EXTENSION_BYTES_MAX 32

/* rsync's ".NAME.XXXXXX". Its six letters are drawn from all, so one without a capital or digit is a word (".config.backup"). */
static bool is_of_rsync(const char *name)
{
	const char *dot = strrchr(name, '.');
	bool drawn = false;

	if (name[0] != '.' || !dot || dot < name + 2 || strlen(dot) != 7)
		return false;
	for (const char *p = dot + 1; *p; p++) {
		if (!isalnum((unsigned char)*p))
			return false;
		drawn |= isupper((unsigned char)*p) || isdigit((unsigned char)*p);
	}
	return drawn;
}

/* vim's ".NAME.swp", and .swo, .swn ... when there are several. */
static bool is_of_vim(const char *name)
{
	size_t n = strlen(name);

	return strcmp(name, "4913") == 0 || (name[0] == '.' && n > 5 && strncmp(name + n - 4, ".sw", 3) == 0 && islower((unsigned char)name[n - 1]));
}

enum name_fate spool_name_fate(const char *name)
{
	size_t n = strlen(name);

	if (strcmp(name, ".DS_Store") == 0 || (n > 2 && str_starts(name, "._")))
		return NAME_NEVER;
	if (is_of_rsync(name) || is_of_vim(name) || (n > 1 && str_ends(name, "~")) || (n > 5 && str_ends(name, ".part")) ||
	    (n > 8 && str_starts(name, ".~lock.") && str_ends(name, "#")))
		return NAME_HELD;
	if (str_ends(name, "-journal") || str_ends(name, "-wal") || str_ends(name, ".lock"))
		return NAME_FSYNC_LOCAL;
	return NAME_SENT;
}

int spool_conflict_name(const char *name, const char *host, time_t when, char **ret)
{
	const char *dot = strrchr(name, '.');
	size_t stem = dot && dot > name && dot[1] && strlen(dot) <= EXTENSION_BYTES_MAX ? (size_t)(dot - name) : strlen(name);
	const char *extension = name + stem;
	char clean[HOST_BYTES_MAX + 1], stamp[20], mark[80];
	struct tm tm;
	size_t n = 0, room;

	for (; host && host[n] && host[n] != '.' && n < HOST_BYTES_MAX; n++)
		clean[n] = isalnum((unsigned char)host[n]) ? host[n] : '-';
	clean[n] = 0;
	gmtime_r(&when, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &tm);
	snprintf(mark, sizeof(mark), ".conflict-%s-%s", n ? clean : "here", stamp);
	room = NAME_BYTES_MAX - strlen(mark) - strlen(extension);
	if (stem > room)
		stem = str_utf8_cut(name, room);
	return str_fmt(ret, "%.*s%s%s", (int)stem, name, mark, extension);
}
