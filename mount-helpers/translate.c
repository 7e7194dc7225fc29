/* translate.c - which of mount(8)'s words scifs is told, and which are spoken to others.
 *
 * An fstab line holds words for mount(8), for systemd and for the kernel's generic layer. What those mean is either done
 * before this program runs (noauto, user, nofail, _netdev, x-...), holds for each scifs mount anyway (nosuid and nodev are
 * always set, no file is executable, no access time moves), or is said to every helper, whoever asked for it (rw). They are dropped;
 * each other word is handed on, so that scifs itself refuses a misspelt one.
 */
#include "mount-helpers/translate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Exact words; one that ends with '=' begins a word with a value. */
static const char *const dropped[] = {
	"defaults", "rw", "auto", "noauto", "user", "user=", "nouser", "users", "owner", "noowner", "group", "nogroup", "_netdev",
	"nofail", "comment=", "x-", "X-",
	"suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "dirsync", "mand", "nomand", "silent", "loud",
	"atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime",
	"nolazytime", "iversion", "noiversion", "symfollow",
};

static bool is_dropped(const char *word, size_t n)
{
	for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++) {
		size_t l = strlen(dropped[i]);
		bool begins = dropped[i][l - 1] == '=' || dropped[i][l - 1] == '-';

		if ((begins ? n >= l : n == l) && strncmp(word, dropped[i], l) == 0)
			return true;
	}
	return false;
}

/* Length of the word at p: to the next comma that no backslash escapes. */
static size_t word_length(const char *p)
{
	size_t n = 0;

	while (p[n] && p[n] != ',')
		n += p[n] == '\\' && p[n + 1] ? 2 : 1;
	return n;
}

static int add_options(char **io, const char *list, const char **why, const char **what)
{
	size_t had = *io ? strlen(*io) : 0;
	char *whole = realloc(*io, had + strlen(list) + 2), *at;

	if (!whole)
		return -ENOMEM;
	*io = whole;
	at = whole + had;
	*at = 0;
	for (const char *p = list; *p; p += word_length(p), p += *p == ',') {
		size_t n = word_length(p);

		if (n == strlen("remount") && strncmp(p, "remount", n) == 0) {
			*why = "a mount cannot be changed while it lives: umount it and mount it again";
			*what = "remount";
			return -EINVAL;
		}
		if (!n || is_dropped(p, n))
			continue;
		if (at != whole)
			*at++ = ',';
		memcpy(at, p, n);
		at += n;
		*at = 0;
	}
	return 0;
}

void helper_done(struct helper *h)
{
	free(h->options);
	*h = (struct helper){0};
}

static int take(int argc, char **argv, struct helper *h, const char **why, const char **what)
{
	int r;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (*a != '-' || !a[1]) {
			const char **to = !h->source ? &h->source : !h->dir ? &h->dir : NULL;

			if (!to) {
				*why = "one SOURCE and one DIR are wanted, not also this";
				*what = a;
				return -EINVAL;
			}
			*to = a;
			continue;
		}
		for (const char *c = a + 1; *c; c++) {
			const char *value;

			if (strchr("sn", *c))
				continue;       /* -s: a misspelt word is refused all the same. -n: there is no mtab. */
			if (*c == 'f' || *c == 'v') {
				*(*c == 'f' ? &h->fake : &h->verbose) = true;
				continue;
			}
			if (*c != 'o' && *c != 't') {
				*why = "there is no such flag: mount.scifs SOURCE DIR [-sfnv] [-o option,...]";
				*what = a;
				return -EINVAL;
			}
			value = c[1] ? c + 1 : i + 1 < argc ? argv[++i] : NULL;
			if (!value) {
				*why = "it needs a value";
				*what = a;
				return -EINVAL;
			}
			r = *c == 'o' ? add_options(&h->options, value, why, what) : 0;
			if (r < 0)
				return r;
			break;
		}
	}
	if (!h->source || !h->dir) {
		*why = "SOURCE and DIR are wanted: mount.scifs SOURCE DIR [-sfnv] [-o option,...]";
		return -EINVAL;
	}
	if (h->options && !*h->options) {
		free(h->options);
		h->options = NULL;
	}
	return 0;
}

int helper_translate(int argc, char **argv, struct helper *ret, const char **why, const char **what)
{
	struct helper h = {0};
	int r;

	*why = *what = NULL;
	r = take(argc, argv, &h, why, what);
	if (r < 0) {
		helper_done(&h);
		return r;
	}
	*ret = h;
	return 0;
}

int helper_status(int status)
{
	switch (status) {
	case 0:
		return HELPER_DONE;
	case 1:
		return HELPER_USAGE;
	case 2: case 3:         /* cannot reach or log in, cannot mount here */
		return HELPER_FAILED;
	default:
		return HELPER_SYSTEM;
	}
}
