/* An intrusive list, linked both ways: the owner embeds a node, and takes it out wherever it stands. One thread. */
#ifndef BROKER_LIST_H
#define BROKER_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *prev, *next;
};

struct list {
    struct list_node *first, *last;
};

/* Behind `before`; NULL: to the front. */
static inline void list_insert(struct list *list, struct list_node *before, struct list_node *node)
{
    node->prev = before;
    node->next = before ? before->next : list->first;
    if (before != NULL) before->next = node;
    else list->first = node;
    if (node->next != NULL) node->next->prev = node;
    else list->last = node;
}

static inline void list_append(struct list *list, struct list_node *node)
{
    list_insert(list, list->last, node);
}

static inline void list_remove(struct list *list, struct list_node *node)
{
    if (node->prev != NULL) node->prev->next = node->next;
    else list->first = node->next;
    if (node->next != NULL) node->next->prev = node->prev;
    else list->last = node->prev;
    node->prev = node->next = NULL;
}

#endif
