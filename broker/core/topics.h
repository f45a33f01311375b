/* All patterns that are subscribed to. Those with wildcards stand in a trie, one node a level, wildcards as levels of their
 * own, down to where a pattern is alone: what is left of it is its node's tail. The others, mostly many, stand in a table of
 * whole topics. So nearly all cost one node. Subscriptions are in lists at the nodes. */
#ifndef BROKER_TOPICS_H
#define BROKER_TOPICS_H

#include "hash.h"
#include "wire.h"

struct topic_node {
    struct topic_node *plus, *rest; /* the children "+" and "#", NULL if there are none */
    struct topic_node *only;        /* the one child that is no wildcard, as long as there was never another; or NULL */
    uint32_t users;                 /* children and entries; at 0 the node goes */
    uint32_t names;                 /* children that are no wildcards */

    /* Of the last node on the way only this is looked at: one or two cache lines. */
    struct hash_node in_children;   /* in topics.children: one table for all, by parent and level */
    struct topic_node *parent;
    struct topic_entry *first;      /* subscriptions to exactly this pattern */
    uint16_t size;                  /* of its memory, in bytes */
    uint8_t len, tail_len;
    uint8_t text[];                 /* the level; then the tail, from a slash on. Who has a tail has no children */
};

/* What a subscription embeds to stand in the trie. */
struct topic_entry {
    struct topic_node *node; /* NULL: not in */
    struct topic_entry *prev, *next;
};

struct topics {
    uint64_t seed;
    struct hash children;
    struct topic_node *root;        /* of the trie */
    struct topic_node *whole;       /* whole topics are its children, as if each were one level */
    uint64_t bytes;           /* of all nodes, with their places in the table */
    uint64_t wild_generation; /* grows when a pattern with a wildcard comes or goes */
};

void topics_init(struct topics *topics, uint64_t seed);
static inline uint64_t topics_hash(const struct topics *topics, mps_view topic)
{
    return hash_bytes(topics->seed, topic.ptr, topic.len);
}
void topics_free(struct topics *topics); /* must hold no entry */
void topics_add(struct topics *topics, mps_view pattern, struct topic_entry *entry);
bool topics_has_first_level(const struct topics *topics, mps_view level); /* some pattern begins with it */
void topics_remove(struct topics *topics, struct topic_entry *entry);
/* Calls fn for each entry whose pattern matches. hash: topics_hash() of the topic. Returns how many nodes it visited: those that match a beginning of the
 * topic, which a peer can make many. */
uint64_t topics_match(const struct topics *topics, mps_view topic, uint64_t hash, void (*fn)(struct topic_entry *entry, void *arg),
                      void *arg);

#endif
