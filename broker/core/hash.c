#include "hash.h"

#include <stdlib.h>
#include <string.h>

#include "sure.h"

#define FIRST_SLOTS 4u

static inline uint64_t rotate(uint64_t n, int bits)
{
    return n << bits | n >> (64 - bits);
}

struct sip {
    uint64_t a, b, c, d;
};

static inline void sip_round(struct sip *s)
{
    s->a += s->b;
    s->b = rotate(s->b, 13) ^ s->a;
    s->a = rotate(s->a, 32);
    s->c += s->d;
    s->d = rotate(s->d, 16) ^ s->c;
    s->a += s->d;
    s->d = rotate(s->d, 21) ^ s->a;
    s->c += s->b;
    s->b = rotate(s->b, 17) ^ s->c;
    s->c = rotate(s->c, 32);
}

static struct sip sip_begin(uint64_t seed)
{
    uint64_t second = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    return (struct sip){seed ^ UINT64_C(0x736f6d6570736575), second ^ UINT64_C(0x646f72616e646f6d),
                        seed ^ UINT64_C(0x6c7967656e657261), second ^ UINT64_C(0x7465646279746573)};
}

static uint64_t sip_end(struct sip *s)
{
    s->c ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(s);
    return s->a ^ s->b ^ s->c ^ s->d;
}

static void sip_word(struct sip *s, uint64_t word)
{
    s->d ^= word;
    sip_round(s);
    s->a ^= word;
}

/* Four bytes as a number, little-endian: one load, where that is how the machine reads. */
static inline uint32_t four_bytes(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Fewer than 8 bytes as a number, little-endian, without a step for each. Different ones must never become the same
 * number, or peers could collide names whatever the seed is. */
static uint64_t tail_word(const uint8_t *p, size_t len)
{
    if (len >= 4) return four_bytes(p) | (uint64_t)four_bytes(p + len - 4) << 8 * (len - 4); /* they overlap */
    if (len == 0) return 0;
    return p[0] | (uint64_t)p[len / 2] << 8 * (len / 2) | (uint64_t)p[len - 1] << 8 * (len - 1);
}

/* SipHash-1-3 (Aumasson and Bernstein; the variant that Rust's and Python's tables use): peers choose the topics, so a
 * hash that they can collide would be a way to slow everybody down. */
uint64_t hash_bytes(uint64_t seed, const void *bytes, size_t len)
{
    struct sip s = sip_begin(seed);
    const uint8_t *p = bytes;
    uint64_t word, length = (uint64_t)len << 56;
    for (; len >= 8; len -= 8, p += 8) {
        memcpy(&word, p, 8);
        sip_word(&s, word);
    }
    sip_word(&s, length | tail_word(p, len));
    return sip_end(&s);
}

uint64_t hash_number(uint64_t seed, uint64_t number)
{
    struct sip s = sip_begin(seed);
    sip_word(&s, number);
    return sip_end(&s);
}

static void put(struct hash *table, struct hash_node *node)
{
    uint32_t at = (uint32_t)node->hash & table->mask;
    while (table->slots[at].node != NULL) at = (at + 1) & table->mask;
    table->slots[at] = (struct hash_slot){node->hash, node};
    if (at < table->low) table->low = at;
}

static void set_slots(struct hash *table, struct hash_slot *slots, uint32_t count)
{
    struct hash old = *table;
    table->slots = slots;
    table->mask = table->low = count - 1;
    for (uint32_t i = 0; old.slots != NULL && i <= old.mask; i++)
        if (old.slots[i].node != NULL) put(table, old.slots[i].node);
    free(old.slots);
}

/* To twice as many slots. Without the memory for them it is tried again with the next entry, while there is a little
 * room. */
static void grow(struct hash *table)
{
    uint32_t count = table->mask + 1;
    size_t bytes = 2 * (size_t)count * sizeof table->slots[0];
    bool can_wait = table->count + 1 < count - count / 8;
    struct hash_slot *slots = can_wait ? calloc(1, bytes) : sure_zeroed(bytes);
    if (slots != NULL) set_slots(table, slots, 2 * count);
}

/* To a quarter of the slots; without the memory for them it goes on as it is. */
static void shrink(struct hash *table)
{
    uint32_t count = (table->mask + 1) / 4;
    struct hash_slot *slots = calloc(count, sizeof *slots);
    if (slots != NULL) set_slots(table, slots, count);
}

void hash_add(struct hash *table, struct hash_node *node, uint64_t hash)
{
    if (table->slots == NULL) set_slots(table, sure_zeroed(FIRST_SLOTS * sizeof table->slots[0]), FIRST_SLOTS);
    else if (3 * (uint64_t)(table->count + 1) > 2 * ((uint64_t)table->mask + 1)) grow(table);
    node->hash = hash;
    put(table, node);
    table->count++;
}

/* The slot of an entry that is in. */
static uint32_t slot_of(const struct hash *table, const struct hash_node *node)
{
    uint32_t at = (uint32_t)node->hash & table->mask;
    while (table->slots[at].node != node) at = (at + 1) & table->mask;
    return at;
}

/* Empties a slot. Those behind it that were pushed beyond it by others move up, so that a search may end at any empty
 * one. */
static void empty_slot(struct hash *table, uint32_t hole)
{
    for (uint32_t at = (hole + 1) & table->mask; table->slots[at].node != NULL; at = (at + 1) & table->mask) {
        uint32_t home = (uint32_t)table->slots[at].hash & table->mask;
        if (((at - home) & table->mask) < ((at - hole) & table->mask)) continue;
        table->slots[hole] = table->slots[at];
        hole = at;
    }
    table->slots[hole].node = NULL;
}

void hash_remove(struct hash *table, struct hash_node *node)
{
    empty_slot(table, slot_of(table, node));
    table->count--;
    if (table->count == 0) hash_free(table);
    else if (table->mask >= 8 * FIRST_SLOTS && table->count < table->mask / 8) shrink(table);
}

struct hash_node *hash_find(const struct hash *table, uint64_t hash, hash_equal_fn equal, const void *key)
{
    if (table->slots == NULL) return NULL;
    for (uint32_t at = (uint32_t)hash & table->mask;; at = (at + 1) & table->mask) {
        const struct hash_slot *slot = &table->slots[at];
        if (slot->node == NULL) return NULL;
        if (slot->hash == hash && equal(slot->node, key)) return slot->node;
    }
}

void hash_free(struct hash *table)
{
    free(table->slots);
    *table = (struct hash){0};
}

struct hash_node *hash_at_hand(const struct hash *table, uint32_t *hand)
{
    if (table->count == 0) return NULL;
    do *hand = (*hand + 1) & table->mask;
    while (table->slots[*hand].node == NULL);
    return table->slots[*hand].node;
}

struct hash_node *hash_any(struct hash *table)
{
    if (table->count == 0) return NULL;
    while (table->slots[table->low].node == NULL) table->low++;
    return table->slots[table->low].node;
}

static struct hash_node *first_from(const struct hash *table, uint32_t at)
{
    for (; table->slots != NULL && at <= table->mask; at++) {
        if (table->slots[at].node != NULL) return table->slots[at].node;
    }
    return NULL;
}

struct hash_node *hash_first(const struct hash *table)
{
    return first_from(table, 0);
}

struct hash_node *hash_next(const struct hash *table, const struct hash_node *node)
{
    return first_from(table, slot_of(table, node) + 1);
}
