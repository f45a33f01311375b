#include "survey_topics.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_FIRST_BYTES 1024u
#define PIECE_BYTES (64u * 1024)
/* Of a topic, besides its place: slots of the tables, at most, and its position in the result. */
#define BESIDES_BYTES (48u + 8u)
/* When a table grows, so many of its slots take the time of a look at a message. */
#define SLOTS_A_LOOK 8u
/* Memory that is given back at a time. */
#define FREE_AT_A_TIME 16

struct survey_piece {
    struct survey_piece *next;
    uint32_t used, cap;
    uint8_t bytes[];
};

struct place {
    struct hash_node in_table;
    struct list_node in_order;
    uint64_t seq;
    uint32_t len;
    uint8_t topic[];
};

static bool has_topic(const struct hash_node *node, const void *key)
{
    const struct place *place = container_of(node, struct place, in_table);
    const mps_view *topic = key;
    return place->len == topic->len && memcmp(place->topic, topic->ptr, topic->len) == 0;
}

/* NULL: that would be too much. */
static struct place *new_place(struct survey_topics *topics, uint32_t topic_len, uint64_t bytes_most)
{
    struct survey_piece *piece = topics->pieces;
    uint32_t needed = (uint32_t)((sizeof(struct place) + topic_len + 7) / 8 * 8);
    if (piece == NULL || piece->cap - piece->used < needed) {
        uint32_t cap = piece == NULL ? PIECE_FIRST_BYTES : piece->cap < PIECE_BYTES ? 2 * piece->cap : PIECE_BYTES;
        if (topics->bytes + sizeof *piece + cap + BESIDES_BYTES > bytes_most) return NULL;
        piece = malloc(sizeof *piece + cap);
        if (piece == NULL) return NULL;
        *piece = (struct survey_piece){.next = topics->pieces, .cap = cap};
        topics->pieces = piece;
        topics->bytes += sizeof *piece + cap;
    } else if (topics->bytes + BESIDES_BYTES > bytes_most) {
        return NULL;
    }
    struct place *place = (struct place *)(void *)(piece->bytes + piece->used);
    piece->used += needed;
    topics->bytes += BESIDES_BYTES;
    return place;
}

bool survey_topics_see(struct survey_topics *topics, uint64_t seq, mps_view topic, uint64_t bytes_most)
{
    uint64_t hash = hash_bytes(topics->seed, topic.ptr, topic.len);
    struct hash *table = &topics->tables[hash >> 32 & (SURVEY_TABLES - 1)]; /* the low bits are the table's own */
    struct hash_node *node = hash_find(table, hash, has_topic, &topic);
    struct place *place = node != NULL ? container_of(node, struct place, in_table) : NULL;
    if (place != NULL) {
        list_remove(&topics->order, &place->in_order);
    } else {
        place = new_place(topics, topic.len, bytes_most);
        if (place == NULL) return false;
        *place = (struct place){.len = topic.len};
        memcpy(place->topic, topic.ptr, topic.len);
        uint32_t mask = table->mask;
        hash_add(table, &place->in_table, hash);
        if (table->mask != mask) topics->work += table->mask / SLOTS_A_LOOK;
        topics->count++;
    }
    place->seq = seq;
    list_append(&topics->order, &place->in_order);
    return true;
}

uint32_t survey_topics_take(struct survey_topics *topics, uint64_t *seqs, uint32_t most)
{
    uint32_t count = 0;
    for (; count < most && topics->order.first != NULL; count++) {
        struct place *place = container_of(topics->order.first, struct place, in_order);
        list_remove(&topics->order, &place->in_order);
        seqs[count] = place->seq;
    }
    return count;
}

bool survey_topics_free_some(struct survey_topics *topics)
{
    for (uint32_t i = 0; i < SURVEY_TABLES; i++) {
        if (topics->tables[i].slots == NULL) continue;
        hash_free(&topics->tables[i]);
        return true;
    }
    for (int i = 0; i < FREE_AT_A_TIME && topics->pieces != NULL; i++) {
        struct survey_piece *piece = topics->pieces;
        topics->pieces = piece->next;
        free(piece);
    }
    return topics->pieces != NULL;
}
