/* password.h - ask a person at the terminal. */
#ifndef SCIFS_CLI_PASSWORD_H
#define SCIFS_CLI_PASSWORD_H

#include "base/secret.h"

/* Ask on the terminal, which shows nothing of what is typed and is itself again whatever ends the question: a signal that
 * comes meanwhile (Ctrl-C) is raised anew after that. Blocks until something was typed. -ENOKEY: no terminal, or nothing typed. */
int password_ask(const char *user, const char *origin, struct secret **ret);

#endif
