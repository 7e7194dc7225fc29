/* cli.c - argv to subcommand. */
#include "cli/cli.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

#define COMPLAINT_MAX 4096
#define NEAR 3          /* letters apart, for "did you mean" */

const struct command *const commands[] = {&cmd_mount, &cmd_umount, &cmd_sync, &cmd_uploads, &cmd_status, &cmd_refresh,
                                         &cmd_version, NULL};

void cli_complain(const char *format, ...)
{
	_cleanup_free_ char *line = NULL, *safe = NULL;
	va_list ap;

	va_start(ap, format);
	(void)str_vfmt(&line, format, ap);      /* without memory it says so */
	va_end(ap);
	/* It may hold words of a server, of a file, of anybody. */
	safe = line ? str_printable(line, COMPLAINT_MAX) : NULL;
	fprintf(stderr, "scifs: %s\n", safe ? safe : "out of memory");
}

void cli_help(const struct command *c)
{
	printf("scifs %s\n%s", c->usage, c->more ? c->more : "");
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

bool cli_one_argument(const struct command *c, int argc, char **argv, int *ret_status)
{
	if (argc == 2 && is_help(argv[1])) {
		cli_help(c);
		*ret_status = EXIT_DONE;
		return false;
	}
	*ret_status = EXIT_USAGE;
	for (int i = 1; i < argc; i++)
		if (*argv[i] == '-') {
			cli_complain("%s: there is no flag \"%s\": scifs %s", c->name, argv[i], c->usage);
			return false;
		}
	if (argc != 2)
		cli_complain("%s: %s: scifs %s", c->name, argc < 2 ? "what is to be named is missing" : "one is wanted, not several", c->usage);
	return argc == 2;
}

static void help(void)
{
	puts("scifs mounts scientific data repositories as drives.\n");
	for (size_t i = 0; commands[i]; i++)
		printf("  scifs %-8s %s\n", commands[i]->name, commands[i]->help);
	puts("\n\"scifs COMMAND --help\" tells more; so do the manual pages scifs(1), scifs.conf(5) and scifs(7).");
}

static const char *nearest(const char *word)
{
	const char *best = NULL;
	unsigned least = NEAR + 1;

	for (size_t i = 0; commands[i]; i++)
		if (str_distance(word, commands[i]->name) < least) {
			least = str_distance(word, commands[i]->name);
			best = commands[i]->name;
		}
	return best;
}

int cli_main(int argc, char **argv)
{
	const char *near;

	if (argc < 2) {
		cli_complain("a command is missing: scifs --help lists them");
		return EXIT_USAGE;
	}
	if (is_help(argv[1]) || strcmp(argv[1], "help") == 0) {
		help();
		return EXIT_DONE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return cmd_version.run(1, argv + 1);
	for (size_t i = 0; commands[i]; i++)
		if (strcmp(commands[i]->name, argv[1]) == 0)
			return commands[i]->run(argc - 1, argv + 1);
	near = nearest(argv[1]);
	cli_complain("there is no command \"%s\"%s%s%s", argv[1], near ? ": did you mean \"" : ": scifs --help lists them", near ? near : "",
	             near ? "\"?" : "");
	return EXIT_USAGE;
}

static int version_run(int argc, char **argv)
{
	if (argc == 2 && is_help(argv[1])) {
		cli_help(&cmd_version);
		return EXIT_DONE;
	}
	if (argc > 1) {
		cli_complain("version: nothing else is wanted: scifs version");
		return EXIT_USAGE;
	}
	puts("scifs " SCIFS_VERSION);
	return EXIT_DONE;
}

const struct command cmd_version = {.name = "version", .usage = "version", .help = "which release this is", .run = version_run};
