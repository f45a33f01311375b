/* Counts of durations in log-linear steps: 128 in each doubling, so a percentile is right within 0.8 %. */
#pragma once
#include "base.h"

enum { HISTOGRAM_STEP_BITS = 7, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS };

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total, max_ns;
};

void histogram_add(struct histogram *histogram, uint64_t ns);
void histogram_clear(struct histogram *histogram);

/* The duration that the given share (0..1) of all does not exceed, in ns: the upper end of its step, at most the
 * longest that was added. 0 when there are none. */
uint64_t histogram_at(const struct histogram *histogram, double share);
