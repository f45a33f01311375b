#include "histogram.h"
#include <math.h>

enum { STEPS = 1 << HISTOGRAM_STEP_BITS };

static unsigned bucket_of(uint64_t ns)
{
    if (ns < STEPS) return (unsigned)ns;
    unsigned shift = 63U - (unsigned)__builtin_clzll(ns) - HISTOGRAM_STEP_BITS;
    return ((shift + 1) << HISTOGRAM_STEP_BITS) + (unsigned)((ns >> shift) & (STEPS - 1));
}

static uint64_t upper_end(unsigned bucket)
{
    if (bucket < STEPS) return bucket;
    unsigned shift = (bucket >> HISTOGRAM_STEP_BITS) - 1;
    return (((uint64_t)STEPS + (bucket & (STEPS - 1)) + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->counts[bucket_of(ns)]++;
    histogram->total++;
    if (ns > histogram->max_ns) histogram->max_ns = ns;
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

uint64_t histogram_at(const struct histogram *histogram, double share)
{
    uint64_t due = (uint64_t)ceil(share * (double)histogram->total), sum = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        sum += histogram->counts[i];
        if (sum == 0 || sum < due) continue;
        uint64_t end = upper_end(i);
        return end < histogram->max_ns ? end : histogram->max_ns;
    }
    return histogram->max_ns;
}
