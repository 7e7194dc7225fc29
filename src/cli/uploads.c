/* uploads.c - what is owed to the server: shown, tried again, given up. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/mountpoint.h"
#include "cli/owed.h"

#define VERB_MS 120000          /* an upload that is stopped ends the request it is at first */
#define PATH_SHOWN 4096

struct asked {
	enum { LIST, RETRY, DROP } what;
	bool json, yes;
	const char *dir, *which;
};

static int complain_usage(const char *what, const char *word)
{
	cli_complain("uploads: %s%s%s%s: scifs %s", what, word ? " \"" : "", word ? word : "", word ? "\"" : "", cmd_uploads.usage);
	return EXIT_USAGE;
}

static int parse(struct asked *a, int argc, char **argv)
{
	static const char *const acts[] = {[LIST] = "list", [RETRY] = "retry", [DROP] = "drop"};
	const char *words[3] = {0};
	unsigned n = 0, at = 0;
	uint64_t id;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			a->json = true;
		else if (strcmp(argv[i], "--yes") == 0 || strcmp(argv[i], "-y") == 0)
			a->yes = true;
		else if (*argv[i] == '-')
			return complain_usage("there is no flag", argv[i]);
		else if (n == 3)
			return complain_usage("not also", argv[i]);
		else
			words[n++] = argv[i];
	}
	for (unsigned i = 0; i < sizeof(acts) / sizeof(acts[0]) && n && !at; i++)
		if (strcmp(words[0], acts[i]) == 0) {
			a->what = i;
			at = 1;
		}
	if (at >= n)
		return complain_usage("DIR is missing", NULL);
	a->dir = words[at++];
	a->which = at < n ? words[at++] : NULL;
	if (at < n || (a->which && a->what == LIST))
		return complain_usage("not also", at < n ? words[at] : a->which);
	if (a->what != LIST && !a->which)
		return complain_usage("which one is missing: an ID of the list, or all", NULL);
	if (a->which && strcmp(a->which, "all") != 0 && str_parse_u64(a->which, &id) < 0)
		return complain_usage("an ID of the list or all is wanted, not", a->which);
	return EXIT_DONE;
}

static int complain(const char *dir, int r)
{
	cli_complain("%s: %s", dir, mountpoint_is_dead(-r) ? "the mount is dead: scifs umount it" :
	             r == -ETIMEDOUT ? "its process does not answer" : strerror(-r));
	return EXIT_OTHER;
}

static void print_row(const struct owed_upload *u)
{
	_cleanup_free_ char *path = str_printable(u->path, PATH_SHOWN), *error = u->error ? str_printable(u->error, PATH_SHOWN) : NULL;
	char size[STR_SIZE_MAX], sent[STR_SIZE_MAX];

	printf("%15llu  %-9s %10s %10s  %s%s%s\n", (unsigned long long)u->id, u->state, u->removal ? "removal" : str_format_size(u->size, size),
	       u->removal ? "-" : str_format_size(u->sent, sent), path ? path : "?", error ? ": " : "", error ? error : "");
}

static void print_rows(const struct owed_list *l)
{
	printf("%15s  %-9s %10s %10s  %s\n", "ID", "STATE", "SIZE", "SENT", "NAME");
	for (size_t i = 0; i < l->rows.n; i++)
		print_row(&l->rows.at[i]);
}

static int show(const char *dir, const char *below, bool json)
{
	_cleanup_buf_ struct buf text = BUF_MAX(256u << 20);
	_cleanup_free_ char *path = NULL;
	struct owed_list l;
	int r;

	if (json) {
		r = str_fmt(&path, "%s/.scifs/uploads.json", dir);
		if (r == 0)
			r = file_read_whole(path, &text);
		if (r < 0 && r != -ENOENT)
			return complain(dir, r);
		fputs(r == 0 ? buf_str(&text) : "[]\n", stdout);
		return EXIT_DONE;
	}
	r = owed_list(dir, below, &l);
	if (r < 0)
		return complain(dir, r);
	if (l.rows.n)
		print_rows(&l);
	else
		puts("nothing is owed");
	owed_list_done(&l);
	return EXIT_DONE;
}

/* Those that are meant: the one of that ID, or all that wait for the user's word. Others leave the list. */
static void choose(struct owed_list *l, const char *which)
{
	uint64_t id = 0;
	bool all = str_parse_u64(which, &id) < 0;
	size_t n = 0;

	for (size_t i = 0; i < l->rows.n; i++) {
		struct owed_upload u = l->rows.at[i];

		if (all ? !u.refused : u.id != id)
			continue;
		l->rows.at[i] = l->rows.at[n];
		l->rows.at[n++] = u;
	}
	for (size_t i = n; i < l->rows.n; i++) {
		free(l->rows.at[i].path);
		free(l->rows.at[i].state);
		free(l->rows.at[i].error);
	}
	l->rows.n = n;
}

static bool confirmed(const struct owed_list *l)
{
	char line[16] = "";

	print_rows(l);
	printf("What was written is deleted here, and the server never gets it; what was to be removed stays there. Give up %zu? [y/N] ", l->rows.n);
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y');
}

static int act(const struct asked *a, const char *dir, const char *below)
{
	struct owed_list l;
	int r = owed_list(dir, below, &l), status = EXIT_DONE;

	if (r < 0)
		return complain(dir, r);
	choose(&l, a->which);
	if (!l.rows.n && strcmp(a->which, "all") != 0) {
		cli_complain("%s: there is no upload %s: scifs uploads %s lists them", a->dir, a->which, a->dir);
		status = EXIT_OTHER;
	} else if (!l.rows.n) {
		puts("nothing was refused");
	} else if (a->what == DROP && !a->yes && !(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))) {
		status = complain_usage("drop deletes what was written: without a terminal to ask on, it wants --yes", NULL);
	} else if (a->what == DROP && !a->yes && !confirmed(&l)) {
		puts("nothing was given up");
	} else {
		for (size_t i = 0; i < l.rows.n; i++) {
			char verb[48];

			snprintf(verb, sizeof(verb), "%s %llu", a->what == DROP ? "drop" : "retry", (unsigned long long)l.rows.at[i].id);
			r = owed_say(dir, verb, VERB_MS);
			/* One that has ended meanwhile is fine. */
			if (r < 0 && r != -ENOENT) {
				cli_complain("%s: %s", l.rows.at[i].path, r == -ETIMEDOUT ? "the mount does not answer" : strerror(-r));
				status = EXIT_OTHER;
			}
		}
	}
	owed_list_done(&l);
	return status;
}

static int run(int argc, char **argv)
{
	_cleanup_free_ char *dir = NULL, *below = NULL;
	struct asked a = {0};
	int r;

	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		cli_help(&cmd_uploads);
		return EXIT_DONE;
	}
	r = parse(&a, argc, argv);
	if (r == EXIT_DONE)
		r = mountpoint_find(a.dir, &dir, &below);
	if (r != EXIT_DONE)
		return r;
	return a.what == LIST ? show(dir, below, a.json) : act(&a, dir, below);
}

const struct command cmd_uploads = {
	.name = "uploads",
	.usage = "uploads [list|retry|drop] [--json] [--yes] DIR [ID|all]",
	.help = "what is owed to the server",
	.more = "  list    what was written or removed below DIR and is not so at the server yet (without a word too); --json prints\n"
	        "          all as .scifs/uploads.json has it\n"
	        "  retry   try the upload or removal of this ID again, or all that were refused\n"
	        "  drop    give it up: what was written is deleted, what was removed stays. It asks first, unless --yes is given\n",
	.run = run,
};
