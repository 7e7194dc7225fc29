/* status.c - status and refresh: they read a control file and set an attribute, as any user could. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/mountpoint.h"
#include "cli/owed.h"

/* Is it in a mount of ours? Else it complains. */
static int check(const char *path)
{
	int r = mountpoint_holds(path);

	if (r == 1)
		return EXIT_DONE;
	cli_complain("%s: %s", path, r == 0 ? "it is not in a scifs mount" : mountpoint_is_dead(-r) ? "the mount is dead: scifs umount it" : strerror(-r));
	return EXIT_MOUNT;
}

static void print_owed(const struct json *status)
{
	char count[OWED_COUNT_MAX], room[STR_SIZE_MAX];
	struct owed o = {0};
	bool writable = true;

	owed_read(status, &o);
	(void)json_bool_opt(status, "writable", &writable);
	if (!writable && !o.files) {
		puts("uploads        none: it is read only");
		return;
	}
	printf("%-14s %s", "uploads", o.files ? owed_count(o.files, o.bytes, count) : "nothing is owed");
	if (o.refused)
		printf(", %llu refused", (unsigned long long)o.refused);
	if (o.held)
		printf(", %llu held", (unsigned long long)o.held);
	printf("; room for %s\n", str_format_size(o.room, room));
}

static int status_run(int argc, char **argv)
{
	_cleanup_buf_ struct buf text = BUF_MAX(1u << 20);
	_cleanup_(json_freep) struct json *j = NULL;
	_cleanup_free_ char *path = NULL;
	bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
	int r;

	if (json) {
		argv++;
		argc--;
	}
	if (!cli_one_argument(&cmd_status, argc, argv, &r))
		return r;
	r = check(argv[1]);
	if (r)
		return r;
	r = str_fmt(&path, "%s/.scifs/status.json", argv[1]);
	if (r == 0)
		r = file_read_whole(path, &text);
	if (r < 0) {
		cli_complain("%s: %s", argv[1], r == -ENOENT ? "name the directory on which scifs is mounted" :
		             mountpoint_is_dead(-r) ? "the mount is dead: scifs umount it" : strerror(-r));
		return EXIT_MOUNT;
	}
	if (json) {
		fputs(buf_str(&text), stdout);
		return EXIT_DONE;
	}
	r = json_parse(buf_str(&text), text.len, &j);
	if (r < 0) {
		cli_complain("%s: its status cannot be read: %s", argv[1], json_error());
		return EXIT_OTHER;
	}
	for (const struct json *m = json_first(j); m; m = json_next(m)) {
		_cleanup_free_ char *value = NULL;

		if (strcmp(json_key(m), "uploads") == 0)
			print_owed(j);
		else if (json_text(m))
			printf("%-14s %s\n", json_key(m), json_text(m));
		else if (json_print(m, &value) == 0)
			printf("%-14s %s\n", json_key(m), value);
	}
	return EXIT_DONE;
}

const struct command cmd_status = {
	.name = "status",
	.usage = "status [--json] DIR",
	.help = "what a mount does",
	.more = "DIR is where it is mounted. --json prints DIR/.scifs/status.json as it is.\n",
	.run = status_run,
};

static int refresh_run(int argc, char **argv)
{
	int r;

	if (!cli_one_argument(&cmd_refresh, argc, argv, &r))
		return r;
	r = check(argv[1]);
	if (r)
		return r;
	if (lsetxattr(argv[1], "user.scifs.refresh", "", 0, 0) < 0) {
		cli_complain("%s: %s", argv[1], strerror(errno));
		return EXIT_OTHER;
	}
	return EXIT_DONE;
}

const struct command cmd_refresh = {
	.name = "refresh",
	.usage = "refresh PATH",
	.help = "look at the server again",
	.more = "What is kept of PATH, a file or a directory with its listing, is not believed any more.\n",
	.run = refresh_run,
};
