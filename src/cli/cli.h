/* cli.h - the subcommands. */
#ifndef SCIFS_CLI_CLI_H
#define SCIFS_CLI_CLI_H

#include <stdbool.h>

enum exit_status { EXIT_DONE, EXIT_USAGE, EXIT_REACH, EXIT_MOUNT, EXIT_PART, EXIT_OTHER };

struct command {
	const char *name, *usage, *help;
	const char *more;                       /* whole lines for "scifs NAME --help", or NULL */
	int (*run)(int argc, char **argv);      /* argv[0] is the command's name; returns an exit status */
};

extern const struct command cmd_mount, cmd_umount, cmd_sync, cmd_uploads, cmd_status, cmd_refresh, cmd_version;
/* NULL-terminated. */
extern const struct command *const commands[];

/* The whole program: argv to subcommand to exit status. */
int cli_main(int argc, char **argv);
/* One line "scifs: ..." on standard error, fit for a terminal whatever is in it. */
void cli_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Exactly one argument, which is no flag? Else *ret_status says how to leave: it has complained or, for --help, helped. */
bool cli_one_argument(const struct command *c, int argc, char **argv, int *ret_status);
/* "scifs USAGE" and what there is to say more. */
void cli_help(const struct command *c);

#endif
