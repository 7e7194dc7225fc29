/* fill.c - writes the option table into a manual page or a completion, so that they cannot say something else than the program.
 *
 * fill TEMPLATE: the template on standard output, with @VERSION@ replaced anywhere, and these lines by a list made from conf's
 * table: @OPTIONS@ and @SECRETS@ (roff), @WORDS@ ("name=" or, of a switch, "name", one a line).
 */
#include <stdio.h>
#include <string.h>

#include "conf/conf.h"

#define LINE_MAX_ 4096

/* roff: a backslash is \e, a hyphen that is typed is \-, and a line may not begin with a dot or a quote. */
static void put_roff(const char *s, bool first)
{
	if (first && (*s == '.' || *s == '\''))
		fputs("\\&", stdout);
	for (; *s; s++)
		if (*s == '\\')
			fputs("\\e", stdout);
		else if (*s == '-')
			fputs("\\-", stdout);
		else
			putchar(*s);
}

static void put_row(const struct option *o, const char *scheme)
{
	fputs(".TP\n\\fB", stdout);
	put_roff(o->name, false);
	fputs("\\fR", stdout);
	if (o->type == OPTION_CHOICE) {
		fputs(" = ", stdout);
		put_roff(o->choices, false);
	} else if (o->type != OPTION_BOOL && o->type != OPTION_SECRET) {
		static const char *const types[] = {[OPTION_STRING] = "TEXT", [OPTION_SIZE] = "SIZE", [OPTION_DURATION] = "TIME",
		                                    [OPTION_UINT] = "NUMBER", [OPTION_FILE] = "PATH"};

		printf(" = \\fI%s\\fR", types[o->type]);
	}
	putchar('\n');
	put_roff(o->help, true);
	if (o->fallback) {
		fputs(" [", stdout);
		put_roff(o->fallback, false);
		putchar(']');
	}
	if (scheme)
		printf(" (%s sources only)", scheme);
	putchar('\n');
}

static void put_rows(bool secrets)
{
	const struct option *o;
	const char *scheme;

	for (size_t i = 0; (o = conf_option_at(i, &scheme)); i++)
		if ((o->type == OPTION_SECRET) == secrets)
			put_row(o, scheme);
}

static void put_words(void)
{
	const struct option *o;

	for (size_t i = 0; (o = conf_option_at(i, NULL)); i++)
		if (o->type != OPTION_SECRET)
			printf("%s%s\n", o->name, o->type == OPTION_BOOL ? "" : "=");
}

int main(int argc, char **argv)
{
	FILE *f = argc == 2 ? fopen(argv[1], "re") : NULL;
	char line[LINE_MAX_];

	if (!f) {
		fprintf(stderr, "fill: a template is wanted\n");
		return 1;
	}
	while (fgets(line, sizeof(line), f)) {
		char *at = strstr(line, "@VERSION@");

		if (strcmp(line, "@OPTIONS@\n") == 0)
			put_rows(false);
		else if (strcmp(line, "@SECRETS@\n") == 0)
			put_rows(true);
		else if (strcmp(line, "@WORDS@\n") == 0)
			put_words();
		else if (at)
			printf("%.*s%s%s", (int)(at - line), line, SCIFS_VERSION, at + strlen("@VERSION@"));
		else
			fputs(line, stdout);
	}
	fclose(f);
	return fflush(stdout) || ferror(stdout) ? 1 : 0;
}
