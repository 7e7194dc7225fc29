/* cli.c - argv to subcommand. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

const struct command *const commands[] = {&cmd_mount, &cmd_umount, &cmd_status, &cmd_refresh, &cmd_version, NULL};

void cli_complain(const char *format, ...)
{
	va_list ap;

	fputs("scifs: ", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void help(void)
{
	puts("scifs mounts scientific data repositories as drives.\n");
	for (size_t i = 0; commands[i]; i++)
		printf("  scifs %-34s %s\n", commands[i]->usage, commands[i]->help);
	puts("\n\"scifs COMMAND --help\" tells more; so do the manual pages scifs(1), scifs.conf(5) and scifs(7).");
}

int cli_main(int argc, char **argv)
{
	if (argc < 2) {
		help();
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		help();
		return EXIT_DONE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
		return cmd_version.run(1, argv + 1);
	for (size_t i = 0; commands[i]; i++)
		if (strcmp(commands[i]->name, argv[1]) == 0)
			return commands[i]->run(argc - 1, argv + 1);
	cli_complain("there is no command \"%s\": scifs --help lists them", argv[1]);
	return EXIT_USAGE;
}
