/* name.c - server names to file names and back. Pure.
 *
 * A raw name may hold anything: '/', control characters, broken UTF-8, "..", 300 bytes. Its display name is the raw name with
 * the bytes that POSIX or a terminal cannot hold as %XX. A '%' is escaped only where an escape that this rule itself makes
 * would follow, so that a user's own name is stored and shown as given. The rule is reversible but for two cases that carry
 * the thing's id: names cut for their length, and twins (several things of one name), both NAME~ID8.EXT.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "fs/private.h"

#define ID_TAIL 8
#define EXT_MAX 16              /* bytes of an extension that a decorated name keeps */

static bool must_escape(const char *s, size_t n)
{
	unsigned char c = (unsigned char)*s;

	if (c == '/' || c < 32 || c == 127)
		return true;
	/* C1 controls would steer a terminal too. */
	if (c == 0xc2 && n > 1 && (unsigned char)s[1] < 0xa0)
		return true;
	return str_utf8_char(s, n) == 0;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')       /* upper case only: that is what this rule writes */
		return c - 'A' + 10;
	return -1;
}

/* Could "%XX" at p have been written by this rule? Then a literal one must be escaped. `first`: at the name's beginning. */
static bool looks_escaped(const char *p, bool first)
{
	int a = hex(p[1]), b = a < 0 ? -1 : hex(p[2]);
	unsigned char c;

	if (b < 0)
		return false;
	c = (unsigned char)(a * 16 + b);
	return c == '/' || c == '%' || c < 32 || c >= 127 || (c == '.' && first);
}

static bool is_special(const char *raw)
{
	return strcmp(raw, ".") == 0 || strcmp(raw, "..") == 0 || strcmp(raw, FS_CONTROL_NAME) == 0;
}

static int escape(const char *raw, struct buf *b)
{
	size_t n = strlen(raw);
	int r = 0;

	if (!n)
		return buf_adds(b, "%00");
	for (size_t i = 0; i < n && r == 0; ) {
		size_t l = str_utf8_char(raw + i, n - i);

		if ((i == 0 && is_special(raw)) || must_escape(raw + i, n - i)) {
			if (!l)
				l = 1;
			for (size_t k = 0; k < l && r == 0; k++)
				r = buf_addf(b, "%%%02X", (unsigned char)raw[i + k]);
		} else if (raw[i] == '%' && looks_escaped(raw + i, i == 0)) {
			r = buf_adds(b, "%25");
		} else {
			r = buf_add(b, raw + i, l);
		}
		i += l;
	}
	return r;
}

/* The official client's way: lossy. */
static int girder_name(const char *raw, struct buf *b)
{
	size_t lead = strspn(raw, "/\\");
	int r = 0;

	if (strcmp(raw, ".") == 0 || strcmp(raw, "..") == 0)
		return buf_addf(b, "_%s", raw);
	if (!*raw)
		return buf_adds(b, "_");
	if (lead)
		r = buf_adds(b, "_");
	for (const char *p = raw + lead; *p && r == 0; p++)
		r = buf_addc(b, *p == '/' ? '_' : *p);
	return r;
}

static const char *id_tail(const char *id)
{
	size_t n = strlen(id);

	return n > ID_TAIL ? id + n - ID_TAIL : id;
}

/* Where the extension begins; the end of the name if it has none worth keeping: a '~' in it would be taken for a twin's. */
static const char *extension(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && dot != name && dot[1] && strlen(dot) <= EXT_MAX && !strchr(dot, '~') ? dot : name + strlen(name);
}

static int decorate(const char *name, const char *id, char **ret)
{
	const char *ext = extension(name), *tail = id_tail(id);
	size_t stem = (size_t)(ext - name), room = FS_NAME_MAX - strlen(ext) - 1 - strlen(tail);

	if (stem > room) {
		stem = str_utf8_cut(name, room);
		if (stem > room)
			stem = room;
		/* Not through the middle of an escape. */
		for (int i = 0; i < 2 && stem > 2; i++)
			if (name[stem - 1] == '%' || (i == 0 && name[stem - 2] == '%'))
				stem -= name[stem - 1] == '%' ? 1 : 2;
	}
	return str_fmt(ret, "%.*s~%s%s", (int)stem, name, tail, ext);
}

int name_display(enum fs_names mode, const char *raw, const char *id, char **ret)
{
	_cleanup_buf_ struct buf b = BUF_MAX(64u << 20);
	int r = mode == FS_NAMES_GIRDER ? girder_name(raw, &b) : escape(raw, &b);

	if (r < 0)
		return r;
	if (b.len > FS_NAME_MAX)
		return decorate(buf_str(&b), id, ret);
	*ret = buf_take(&b);
	return *ret ? 0 : -ENOMEM;
}

int name_raw(enum fs_names mode, const char *display, char **ret)
{
	_cleanup_buf_ struct buf b = BUF_MAX(4096);
	_cleanup_free_ char *again = NULL;
	int r = 0;

	if (mode == FS_NAMES_GIRDER)
		return -EINVAL;         /* lossy: only a listing tells */
	if (strcmp(display, "%00") == 0)
		return str_dup("", ret);
	for (const char *p = display; *p && r == 0; p++) {
		if (*p == '%' && looks_escaped(p, p == display)) {
			char c = (char)(hex(p[1]) * 16 + hex(p[2]));

			if (!c)
				return -EINVAL;
			r = buf_addc(&b, c);
			p += 2;
		} else {
			r = buf_addc(&b, *p);
		}
	}
	if (r < 0)
		return r;
	/* Only what comes back as the same display name is one. */
	r = name_display(mode, buf_str(&b), "", &again);
	if (r < 0)
		return r;
	if (strcmp(again, display) != 0)
		return -EINVAL;
	*ret = buf_take(&b);
	return *ret ? 0 : -ENOMEM;
}

int name_new(enum fs_names mode, const char *display, char **ret)
{
	_cleanup_free_ char *again = NULL;
	int r;

	if (mode != FS_NAMES_GIRDER)
		return name_raw(mode, display, ret);
	/* The lossy way back is not taken: a new thing is called what it was asked to be called, if it is then shown so. */
	r = name_display(mode, display, "", &again);
	if (r < 0)
		return r;
	return strcmp(again, display) == 0 ? str_dup(display, ret) : -EINVAL;
}

int name_twin(const char *display, const char *id, char **ret)
{
	return decorate(display, id, ret);
}

bool name_may_be_twin(const char *display)
{
	const char *tilde = strrchr(display, '~');

	return tilde && strcspn(tilde + 1, ".") == ID_TAIL;
}

/* Who of two equal names keeps it: a directory, else the lowest id. */
static bool goes_before(const struct object *a, const struct object *b)
{
	if ((a->kind == OBJECT_DIR) != (b->kind == OBJECT_DIR))
		return a->kind == OBJECT_DIR;
	return strcmp(a->id, b->id) < 0;
}

int name_assign(enum fs_names mode, const struct object *o, size_t n, char **ret)
{
	struct map *first = map_new();  /* display name -> index + 1 of who keeps it */
	int r = first ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && r == 0; i++) {
		size_t other;

		r = name_display(mode, o[i].name, o[i].id, &ret[i]);
		if (r < 0)
			break;
		other = (size_t)(uintptr_t)map_get(first, ret[i]);
		if (!other || goes_before(&o[i], &o[other - 1]))
			r = map_set(first, ret[i], (void *)(uintptr_t)(i + 1));
	}
	for (size_t i = 0; i < n && r == 0; i++) {
		char *twin;

		if ((size_t)(uintptr_t)map_get(first, ret[i]) == i + 1)
			continue;
		r = name_twin(ret[i], o[i].id, &twin);
		if (r < 0)
			break;
		/* A thing may bear the very name of another one's twin, and ids may end alike: decorate until it is free. */
		for (size_t turn = 0; map_get(first, twin); turn += turn < 4 ? 1 : i + 1) {
			char *more;

			r = str_fmt(&more, "%.*s~%zu", (int)str_utf8_cut(twin, FS_NAME_MAX - 21), twin, turn + 2);
			if (r < 0)
				break;
			free(twin);
			twin = more;
		}
		if (r == 0)
			r = map_set(first, twin, (void *)(uintptr_t)(i + 1));
		free(ret[i]);
		ret[i] = twin;
	}
	map_free(first);
	return r;
}
