/* JSON of a server: what is accepted can be walked, printed and read again; what is not, leaves nothing behind. */
#include "fuzz.h"

#include "base/json.h"

static void walk(const struct json *j, int depth)
{
	static const char *const keys[] = {"_id", "name", "size", "created", ""};
	struct timespec when;
	const char *s;
	uint64_t u;
	int64_t i;
	bool b;

	must(depth <= JSON_DEPTH_MAX);
	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
		if (json_str(j, keys[k], &s) == 0)
			must(s && strlen(s) < JSON_LENGTH_MAX);
		(void)json_str_opt(j, keys[k], &s);
		if (json_u64(j, keys[k], &u) == 0)
			must(u <= 1ull << 63);
		(void)json_i64_opt(j, keys[k], &i);
		(void)json_bool_opt(j, keys[k], &b);
		if (json_time_opt(j, keys[k], &when) == 0 && json_text(json_get(j, keys[k])))
			must(when.tv_nsec >= 0 && when.tv_nsec < 1000000000);
	}
	for (const struct json *m = json_first(j); m; m = json_next(m)) {
		(void)json_key(m);
		walk(m, depth + 1);
	}
}

static size_t members(const struct json *j)
{
	size_t n = 0;

	for (const struct json *m = json_first(j); m; m = json_next(m))
		n++;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *text = (const char *)data, *key, *at;
	size_t pos = 0, key_n, len, count = 0;
	struct json *j = NULL, *again = NULL;
	int r = json_parse(text, n, &j), raw;
	char *printed = NULL;

	if (r < 0) {
		must(!j && json_error());
	} else {
		walk(j, 0);
		if (json_print(j, &printed) == 0)
			must(json_parse(printed, strlen(printed), &again) == 0 && members(again) == members(j));
	}
	while ((raw = json_raw_next(text, n, &pos, &key, &key_n, &at, &len)) == 1) {
		must(at >= text && len > 0 && at + len <= text + n && pos <= n);
		count++;
		if (r == 0 && json_is_object(j))
			must(key >= text && key + key_n < at);
	}
	if (r == 0 && (json_is_object(j) || json_is_array(j)))
		must(raw == 0 && count == members(j));
	/* What may be sent is JSON; a text says what it says, however it is written. */
	must(json_check(text, n) < 0 || r == 0);
	if (r == 0)
		must(json_same(text, n, printed ? printed : text, printed ? strlen(printed) : n) <= 1 && json_same(text, n, text, n) == 1);
	if (json_raw_member(text, n, "name", &at, &len) == 0)
		must(at >= text && at + len <= text + n);
	json_free(j);
	json_free(again);
	free(printed);
	return 0;
}
