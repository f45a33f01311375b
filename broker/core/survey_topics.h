/* The last position of each of many topics. They stand in the order of these positions all the time, and their memory
 * comes in pieces, so that nothing about a million of them takes long at once. Internal to the core. One thread. */
#ifndef BROKER_SURVEY_TOPICS_H
#define BROKER_SURVEY_TOPICS_H

#include "hash.h"
#include "list.h"
#include "wire.h"

/* Each table takes its share of the topics, so that it costs little when one of them grows. */
#define SURVEY_TABLES 64u

struct survey_piece;

struct survey_topics {
    uint64_t seed;               /* of the hashes */
    struct hash tables[SURVEY_TABLES];
    struct list order;           /* by position */
    struct survey_piece *pieces; /* the newest one first */
    uint64_t count, bytes;       /* bytes: of memory, the result's positions too */
    uint64_t work;               /* what growing has cost so far, in looks at a message */
};

/* The topic was seen at a position behind all others. False: that would take more than bytes_most. */
bool survey_topics_see(struct survey_topics *topics, uint64_t seq, mps_view topic, uint64_t bytes_most);
/* Takes up to so many positions off, the lowest first. Returns how many; nothing may be seen afterwards. */
uint32_t survey_topics_take(struct survey_topics *topics, uint64_t *seqs, uint32_t most);
/* Gives back some of the memory: nothing else may be done with it from then on. False: there is none any more. */
bool survey_topics_free_some(struct survey_topics *topics);

#endif
