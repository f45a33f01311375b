/* Counts of latencies: any number of samples in a fixed space, percentiles within 1 %.
 * Up to BENCH_HISTOGRAM_EXACT_NS each value has a bucket of its own, above that each octave has as many buckets as half
 * of these. Values over BENCH_HISTOGRAM_MAX_NS count as that; the greatest one is kept exactly. */
#ifndef CLI_BENCH_HISTOGRAM_H
#define CLI_BENCH_HISTOGRAM_H

#include <stdint.h>

#include "output.h"

enum {
    BENCH_HISTOGRAM_BITS = 7, /* a value is known by its first eight binary digits: 0.4 % */
    BENCH_HISTOGRAM_EXACT_NS = 2 << BENCH_HISTOGRAM_BITS,
    BENCH_HISTOGRAM_OCTAVES = 40 - BENCH_HISTOGRAM_BITS,
    BENCH_HISTOGRAM_BUCKETS = (BENCH_HISTOGRAM_OCTAVES + 1) << BENCH_HISTOGRAM_BITS,
};
#define BENCH_HISTOGRAM_MAX_NS ((UINT64_C(1) << 40) - 1) /* 18 minutes */

/* All zero is an empty one. */
struct bench_histogram {
    uint64_t samples, max_ns;
    uint64_t buckets[BENCH_HISTOGRAM_BUCKETS];
};

void bench_histogram_add(struct bench_histogram *histogram, uint64_t ns);

/* The least latency that at least this share (0 to 1) of the samples does not exceed. Without samples 0. */
uint64_t bench_histogram_at(const struct bench_histogram *histogram, double share);

/* A few lines of bars, each for the latencies from one of 1, 2, 5, 10, 20, ... to the next. Without samples nothing. */
void bench_histogram_draw(const struct bench_histogram *histogram, struct output *out);

/* "842 ns", "21.3 us", "1.24 ms", "12.0 s": three digits. */
#define BENCH_TIME_TEXT_MAX 32
void bench_time_text(char text[BENCH_TIME_TEXT_MAX], uint64_t ns);

#endif
