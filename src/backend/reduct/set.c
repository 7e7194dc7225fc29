/* set.c - labels as attributes that can be set.
 *
 * A label whose name is no header name ends the server's process when its record is asked for: only names that are harmless
 * everywhere are sent, and values that come back as they went.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backend/reduct/private.h"
#include "base/log.h"

#define PREFIX "reduct.label."
#define NAME_MAX_LABEL 128

static int refuse(int err, const char *rule)
{
	backend_note_fault(0, NULL, rule, NULL);
	return err;
}

static int check_name(const char *name)
{
	size_t n = strlen(name);

	if (!n || n > NAME_MAX_LABEL || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != n || strspn(name, "0123456789") == n)
		return refuse(-EINVAL, "a label's name has a-z, 0-9, '_', '.' and '-', at most 128 of them, and is no number");
	return 0;
}

int label_of_attr(const struct attr *a, struct label *ret)
{
	const char *name = strcmp(a->name, REDUCT_MTIME_ATTR) == 0 ? "mtime" : str_starts(a->name, PREFIX) ? a->name + strlen(PREFIX) : NULL;
	struct label l = {0};
	struct timespec t;
	char *trimmed;
	int e;

	/* Whoever copies all attributes sets these too: they say what is so anyhow. */
	if (!name || strcmp(name, "filename") == 0)
		return 0;
	e = check_name(name);
	for (size_t i = 0; e == 0 && a->value && i < a->len; i++)
		if (a->value[i] < 0x20 || a->value[i] > 0x7e)
			e = refuse(-EINVAL, "a label's value has printable ASCII characters only");
	if (e == 0 && a->value && a->len > LABELS_BYTES)
		e = refuse(-E2BIG, "the labels of a record have 64 KiB at most");
	if (e < 0)
		return e;
	if (str_dup(name, &l.name) < 0 || str_fmt(&l.value, "%.*s", a->value ? (int)a->len : 0, a->value ? a->value : "") < 0) {
		label_done(&l);
		return -ENOMEM;
	}
	trimmed = str_trim(l.value);    /* as the server does it */
	memmove(l.value, trimmed, strlen(trimmed) + 1);
	if (*l.value && strcmp(name, "mtime") == 0 && !parse_mtime(l.value, &t)) {
		label_done(&l);
		return refuse(-EINVAL, "the label mtime is a time: SECONDS.NANOSECONDS");
	}
	*ret = l;
	return 1;
}

int reduct_check_attr(const struct session *s, const struct object *o, const char *name)
{
	(void)s;
	if (o->kind != OBJECT_FILE)
		return -ENOTSUP;
	if (strcmp(name, REDUCT_MTIME_ATTR) == 0 || strcmp(name, "reduct.content_type") == 0 || strcmp(name, "reduct.ts") == 0 ||
	    strcmp(name, "reduct.entry") == 0 || strcmp(name, "reduct.bucket") == 0)
		return 0;
	return str_starts(name, PREFIX) ? check_name(name + strlen(PREFIX)) : -ENOTSUP;
}

static void set_locally(struct record *x, const struct label *l, size_t *io_bytes)
{
	*io_bytes += strlen(l->name) + strlen(l->value);
	for (size_t i = 0; i < x->labels.n; i++)
		if (strcmp(x->labels.at[i].name, l->name) == 0) {
			*io_bytes -= strlen(l->name) + strlen(x->labels.at[i].value);
			return;
		}
}

static int patch(struct reduct *r, const struct place *p, const struct label *labels, size_t n)
{
	struct ask a = {.method = "PATCH"};
	struct headers h = {0};
	_cleanup_free_ char *path = NULL;
	int e = path_of(p->bucket, p->entry, &path);

	/* An empty one removes it; curl takes the semicolon for a header without a value. */
	for (size_t i = 0; e == 0 && i < n; i++)
		e = *labels[i].value ? headers_add(&h, "x-reduct-label-%s: %s", labels[i].name, labels[i].value)
		                     : headers_add(&h, "x-reduct-label-%s;", labels[i].name);
	if (e == 0)
		e = headers_end(&h);
	a.headers = (const char *const *)h.list.at;
	if (e == 0)
		e = reduct_ask(r, &a, "b/%s?ts=%" PRIu64, path, p->ts);
	ask_done(&a);
	headers_done(&h);
	reduct_touch(r, p->bucket, p->entry, true);
	return e;
}

/* What is there, and would it be too much with these? */
static int check_now(struct reduct *r, const struct place *p, const struct object *o, const struct attrs *a, const struct label *labels, size_t n)
{
	struct record x = {0};
	size_t bytes = 0, count;
	int e = record_now(r, p, str_eq(o->content, "single"), &x);

	if (e < 0)
		return e;
	count = x.labels.n;
	for (size_t i = 0; i < x.labels.n; i++)
		bytes += strlen(x.labels.at[i].name) + strlen(x.labels.at[i].value);
	for (size_t i = 0; i < n && e == 0; i++) {
		bool there = record_label(&x, labels[i].name) != NULL;
		bool removed = true;

		for (size_t k = 0; k < a->list.n; k++)
			if (str_ends(a->list.at[k].name, labels[i].name) && a->list.at[k].value)
				removed = false;
		if (removed && !there)
			e = -ENODATA;
		count += !there;
		set_locally(&x, &labels[i], &bytes);
	}
	record_done(&x);
	if (e == 0 && (count > LABELS_MAX || bytes > LABELS_BYTES))
		e = refuse(-E2BIG, "a record has 64 labels and 64 KiB of them at most");
	return e;
}

int reduct_set_attrs(struct session *s, const struct object *o, const struct attrs *a)
{
	struct reduct *r = reduct_of(s);
	VEC(struct label) labels = {0};
	struct place p;
	bool only_time = true;
	int e = place_parse(o->id, &p);

	if (e < 0)
		return e;
	if (p.what != IS_RECORD)
		e = -ENOTSUP;
	for (size_t i = 0; e == 0 && i < a->list.n; i++) {
		const struct attr *x = &a->list.at[i];
		struct label l = {0};

		if (strcmp(x->name, "reduct.content_type") == 0 && !(x->value && str_eq(x->value, o->mime)))
			e = refuse(-EPERM, "the content type of a record cannot be changed");
		else
			e = label_of_attr(x, &l);
		if (e == 1) {
			only_time &= strcmp(x->name, REDUCT_MTIME_ATTR) == 0;
			e = vec_push(&labels, l);
			if (e < 0)
				label_done(&l);
		}
	}
	/* A time alone is set for each file of a copy: it is not worth a look. */
	if (e == 0 && labels.n && !only_time)
		e = check_now(r, &p, o, a, labels.at, labels.n);
	if (e == 0 && labels.n)
		e = entry_enter(r, p.bucket, p.entry, NULL);
	if (e == 0 && labels.n) {
		e = patch(r, &p, labels.at, labels.n);
		entry_leave(r, p.bucket, p.entry);
	}
	for (size_t i = 0; i < labels.n; i++)
		label_done(&labels.at[i]);
	vec_done(&labels);
	place_done(&p);
	return e;
}
