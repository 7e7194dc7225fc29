/* list.h - an intrusive doubly linked list; the head is a node of its own. No locks. */
#ifndef SCIFS_BASE_LIST_H
#define SCIFS_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

struct list {
	struct list *prev, *next;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_insert_after(struct list *at, struct list *l)
{
	l->prev = at;
	l->next = at->next;
	at->next->prev = l;
	at->next = l;
}

static inline void list_append(struct list *head, struct list *l)
{
	list_insert_after(head->prev, l);
}

static inline void list_prepend(struct list *head, struct list *l)
{
	list_insert_after(head, l);
}

/* Leaves l empty, so that it may be removed again. */
static inline void list_remove(struct list *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	list_init(l);
}

#define list_first(head, type, member) (list_empty(head) ? NULL : container_of((head)->next, type, member))
#define list_last(head, type, member) (list_empty(head) ? NULL : container_of((head)->prev, type, member))
/* i may be removed and freed inside, no other member may. */
#define list_for_each_safe(i, head, type, member) list_for_each_as(i, head, type, member, UNIQUE(_l), UNIQUE(_n))
#define list_for_each_as(i, head, type, member, l, n)   \
	for (struct list *l = (head)->next, *n = l->next; \
	     l != (head) && ((i) = container_of(l, type, member), 1); l = n, n = l->next)

#endif
