#include "mix.h"
#include <math.h>
#include <stdio.h>

static void make_popularity(struct mix *mix)
{
    double sum = 0, so_far = 0;
    for (uint32_t k = 0; k < MIX_TOPICS; k++) sum += 1.0 / (k + 1);
    for (uint32_t k = 0; k < MIX_TOPICS; k++) {
        so_far += 1.0 / (k + 1);
        mix->popularity[k] = (uint32_t)(so_far / sum * UINT32_MAX);
    }
    mix->popularity[MIX_TOPICS - 1] = UINT32_MAX;
}

static void make_sizes(struct mix *mix)
{
    for (uint32_t i = 0; i < MIX_SIZES; i++) {
        mix->sizes[i] = (uint32_t)lround(MIX_SMALLEST * exp2(MIX_DOUBLINGS * (i / (MIX_SIZES - 1.0))));
    }
}

/* Everything for the first subscriber and the slow one, for the others a level fixed by turns. */
static void make_pattern(struct mix *mix, const struct protocol *protocol, uint64_t seed, uint32_t subscriber)
{
    char *out = mix->patterns[subscriber], separator = protocol->separator;
    uint32_t level = scale_u32(scatter(seed + subscriber), MIX_WIDTH);
    bool all = subscriber == 0 || subscriber == MIX_SUBSCRIBERS - 1, first = subscriber % 2 == 0;
    if (all) {
        snprintf(out, TOPIC_MAX, "m%c%s", separator, protocol->any);
    } else if (first) {
        snprintf(out, TOPIC_MAX, "m%c%u%c%s", separator, level, separator, protocol->any);
    } else {
        snprintf(out, TOPIC_MAX, "m%c%s%c%u", separator, protocol->one, separator, level);
    }
    for (uint32_t k = 0; k < MIX_TOPICS; k++) {
        bool matches = all || (first ? k % MIX_WIDTH : k / MIX_WIDTH) == level;
        if (matches) mix->receivers[k] |= (uint64_t)1 << subscriber;
    }
}

void mix_make(struct mix *mix, const struct protocol *protocol, uint64_t seed)
{
    memset(mix, 0, sizeof *mix);
    make_popularity(mix);
    make_sizes(mix);
    for (uint32_t s = 0; s < MIX_SUBSCRIBERS; s++) make_pattern(mix, protocol, seed, s);
}

uint32_t mix_topic(const struct mix *mix, uint64_t random)
{
    uint32_t share = (uint32_t)(random >> 32), low = 0, high = MIX_TOPICS - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (mix->popularity[middle] < share) low = middle + 1;
        else high = middle;
    }
    return low;
}
