/* An intrusive hash table, open and probed one slot after the other: each slot holds the hash beside the pointer, so that
 * what is not in is told by one cache line, and no entry is touched but the one that is looked for. The owner embeds a
 * node. Grows and shrinks by itself: 24 to 48 bytes an entry. One thread. */
#ifndef BROKER_HASH_H
#define BROKER_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash_node {
    uint64_t hash;
};

struct hash_slot {
    uint64_t hash;
    struct hash_node *node; /* NULL: empty */
};

struct hash {
    struct hash_slot *slots; /* NULL while nothing is in */
    uint32_t mask;           /* slots - 1 */
    uint32_t count;
    uint32_t low;            /* slots before this one are empty */
};

/* Keyed hashes, so that a peer who chooses the topics can't choose the collisions. seed is secret. */
uint64_t hash_bytes(uint64_t seed, const void *bytes, size_t len);
uint64_t hash_number(uint64_t seed, uint64_t number);

void hash_add(struct hash *table, struct hash_node *node, uint64_t hash);
void hash_remove(struct hash *table, struct hash_node *node); /* it must be in */
/* Whether an entry of equal hash is the one that is looked for. */
typedef bool (*hash_equal_fn)(const struct hash_node *node, const void *key);
struct hash_node *hash_find(const struct hash *table, uint64_t hash, hash_equal_fn equal, const void *key);
void hash_free(struct hash *table); /* its own memory, not the entries' */

/* Some entry, or NULL; for taking out all of them, one by one, in linear time altogether. */
struct hash_node *hash_any(struct hash *table);

/* An entry near the place *hand, which moves on and around: for forgetting now one, now another. NULL: there is none. */
struct hash_node *hash_at_hand(const struct hash *table, uint32_t *hand);

/* for (struct hash_node *n = hash_first(&t); n; n = hash_next(&t, n)); nothing may be added or removed meanwhile. */
struct hash_node *hash_first(const struct hash *table);
struct hash_node *hash_next(const struct hash *table, const struct hash_node *node);

/* The struct of which `node` is the member `field`. */
#define container_of(node, type, field) ((type *)(void *)((char *)(node) - offsetof(type, field)))

#endif
