/* replay.c - a fuzz target without a fuzzer: FILE and FOLDER arguments are given to it one after the other. */
#include <dirent.h>

#include "fuzz.h"

static int replay(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = NULL;
	long n;

	if (!f || fseek(f, 0, SEEK_END) < 0 || (n = ftell(f)) < 0 || !(data = malloc((size_t)n + 1))) {
		perror(path);
		return -1;
	}
	rewind(f);
	/* Exactly as long as it is, so that a read past its end is seen. */
	data = realloc(data, n ? (size_t)n : 1);
	must(fread(data, 1, (size_t)n, f) == (size_t)n);
	fclose(f);
	(void)LLVMFuzzerTestOneInput(data, (size_t)n);
	free(data);
	printf("ok %s\n", path);
	fflush(stdout);
	return 0;
}

static int replay_folder(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	int r = 0, count = 0;

	if (!d)
		return replay(folder);
	while (r == 0 && (e = readdir(d))) {
		char path[4096];

		if (*e->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		r = replay(path);
		count++;
	}
	closedir(d);
	if (r == 0 && !count)
		fprintf(stderr, "%s: there is nothing in it\n", folder);
	return count ? r : -1;
}

int main(int argc, char **argv)
{
	int bad = argc < 2;

	for (int i = 1; i < argc; i++)
		bad |= replay_folder(argv[i]) < 0;
	return bad;
}
