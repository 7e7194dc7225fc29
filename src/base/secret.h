/* secret.h - a string bound to one origin, never printed, wiped when it is freed, kept out of core files. */
#ifndef SCIFS_BASE_SECRET_H
#define SCIFS_BASE_SECRET_H

struct secret;

/* Copies both; counted from one. `origin`: "https://host:port". -ENOMEM, -EINVAL (longer than 64 KiB). */
int secret_new(const char *origin, const char *text, struct secret **ret);
struct secret *secret_ref(struct secret *s);            /* NULL is fine */
void secret_unref(struct secret *s);                    /* NULL is fine */
/* The text for this origin, borrowed while s is held; NULL for any other origin. */
const char *secret_text(const struct secret *s, const char *origin);

#endif
