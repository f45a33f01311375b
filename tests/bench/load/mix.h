/* The mixed load: 1,000 topics m/a/b with Zipf's popularity, payloads of 32 bytes to 8 KiB spread evenly over the
 * logarithm, and 50 subscribers with one pattern each (m and everything, m/a and everything, m/any/b), so that each
 * message goes to several. The last of them is the slow one. */
#pragma once
#include "plan.h"

enum { MIX_TOPICS = 1000, MIX_WIDTH = 32, MIX_SUBSCRIBERS = 50, MIX_SIZES = 256, MIX_SMALLEST = 32, MIX_DOUBLINGS = 8 };

struct mix {
    uint32_t popularity[MIX_TOPICS]; /* the share of this topic and all before it, of 2^32 */
    uint32_t sizes[MIX_SIZES];
    uint64_t receivers[MIX_TOPICS]; /* a bit for each subscriber */
    char patterns[MIX_SUBSCRIBERS][TOPIC_MAX];
};

void mix_make(struct mix *mix, const struct protocol *protocol, uint64_t seed);
uint32_t mix_topic(const struct mix *mix, uint64_t random);
