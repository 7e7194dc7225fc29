/* Configuration files and -o lists as people write them: a value, or one line that says what is wrong. */
#include "fuzz.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf.h"

static void must_be_a_line(const char *why)
{
	must(why && *why && !strchr(why, '\n'));
}

static void list(const char *text)
{
	struct conf *c = NULL;
	char *why = NULL;

	must(conf_new(&c) == 0);
	if (conf_set_list(c, CONF_COMMAND, "-o", text, &why) < 0)
		must_be_a_line(why);
	free(why);
	conf_free(c);
}

static void file(const uint8_t *data, size_t n)
{
	_cleanup_buf_ struct buf json = BUF_MAX(16u << 20);
	struct conf *c = NULL;
	char path[64], *why = NULL, *source = strdup("lab");
	int fd = memfd_create("conf", MFD_CLOEXEC);

	must(conf_new(&c) == 0 && fd >= 0 && source);
	must(fchmod(fd, 0600) == 0 && write(fd, data, n) == (ssize_t)n);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (conf_read_file(c, CONF_USER, path, &source, &why) < 0)
		must_be_a_line(why);
	else
		must(source);
	(void)conf_ms(c, "timeout");
	(void)conf_size(c, "memory");
	(void)conf_bool(c, "insecure");
	must(conf_json(c, &json) == 0);
	free(why);
	free(source);
	conf_free(c);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text;

	if (n > 65536)
		return 0;
	text = fuzz_text(data, n);
	list(text);
	file(data, n);
	free(text);
	return 0;
}
