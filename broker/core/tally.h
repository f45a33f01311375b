/* What comes in, by its topic: counted only while somebody asks for it, as that costs each message a look-up. The first
 * TALLY_TOPICS_MAX topics that come have a place; messages of others, and those to inboxes, are counted together. Internal to
 * the core. */
#ifndef BROKER_TALLY_H
#define BROKER_TALLY_H

#include "model.h"

/* About 1.5 MiB with the longest topics. */
#define TALLY_TOPICS_MAX 4096u

struct tally_topic {
    struct hash_node in_topics;
    uint64_t messages, bytes; /* of whole frames */
    uint32_t len;
    uint8_t topic[];
};

struct tally {
    struct hash topics;
    uint64_t seed;
    uint64_t began_ms;
    uint64_t uncounted_messages, uncounted_bytes;
    struct tally_topic *last; /* of the message before; NULL: it has no place */
};

static inline mps_view tally_topic_name(const struct tally_topic *topic)
{
    return (mps_view){topic->topic, topic->len};
}

#endif
