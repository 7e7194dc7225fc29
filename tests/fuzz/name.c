/* Names of a server: whatever they are, a directory shows distinct names that POSIX and a terminal can hold, and the raw ones
 * come back from them. */
#include "fuzz.h"

#include "base/str.h"
#include "fs/private.h"

#define NAMES_MAX 64

static void must_be_a_name(enum fs_names mode, const char *s)
{
	size_t n = strlen(s);

	must(n > 0 && n <= 255);
	must(strcmp(s, ".") != 0 && strcmp(s, "..") != 0 && !strchr(s, '/'));
	if (mode == FS_NAMES_GIRDER)
		return;         /* as the official client does it, who changes little else */
	must(str_utf8_valid(s, n));
	for (size_t i = 0; i < n; i++)
		must((unsigned char)s[i] >= 32 && s[i] != 127);
}

static void one(enum fs_names mode, const char *raw)
{
	char *shown = NULL, *back = NULL, *twin = NULL;

	must(name_display(mode, raw, "item/0123456789abcdef", &shown) == 0);
	must_be_a_name(mode, shown);
	if (mode == FS_NAMES_SCIFS) {
		must(strcmp(shown, FS_CONTROL_NAME) != 0);
		if (!strchr(shown, '~'))
			must(name_raw(mode, shown, &back) == 0 && strcmp(back, raw) == 0);
	}
	must(name_twin(shown, "item/0123456789abcdef", &twin) == 0);
	must_be_a_name(mode, twin);
	must(name_may_be_twin(twin));
	free(back);
	back = NULL;
	/* What a user types. */
	if (name_raw(mode, raw, &back) == 0)
		must(back);
	free(shown);
	free(back);
	free(twin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	enum fs_names mode = n && (*data & 1) ? FS_NAMES_GIRDER : FS_NAMES_SCIFS;
	char *text = fuzz_text(n ? data + 1 : data, n ? n - 1 : 0), ids[NAMES_MAX][32], *shown[NAMES_MAX];
	struct object objects[NAMES_MAX] = {{0}};
	size_t count = 0;

	one(mode, text);
	/* A directory of them: one a line. */
	for (char *at = text; at && count < NAMES_MAX; count++) {
		char *end = strchr(at, '\n');

		if (end)
			*end++ = 0;
		snprintf(ids[count], sizeof(ids[count]), "%s/%08zx%08zx", count % 3 ? "item" : "folder", count, count % 5 ? count : 7);
		objects[count].id = ids[count];
		objects[count].name = at;
		objects[count].kind = count % 3 ? OBJECT_FILE : OBJECT_DIR;
		at = end;
	}
	must(name_assign(mode, objects, count, shown) == 0);
	for (size_t i = 0; i < count; i++)
		must_be_a_name(mode, shown[i]);
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < i; k++)
			must(strcmp(shown[i], shown[k]) != 0);
	for (size_t i = 0; i < count; i++)
		free(shown[i]);
	free(text);
	return 0;
}
