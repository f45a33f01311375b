/* What came of a measurement, as a table or as JSON. */
#ifndef CLI_BENCH_REPORT_H
#define CLI_BENCH_REPORT_H

#include "bench_histogram.h"
#include "bench_options.h"

enum bench_end {
    BENCH_RUNNING,
    BENCH_END_COUNT,
    BENCH_END_TIME,
    BENCH_END_PUBLISHERS, /* those that sub received from have ended */
    BENCH_END_IDLE,
    BENCH_END_SIGNAL,
    BENCH_END_FAILURE,
};

struct bench_result {
    enum bench_end end;
    uint64_t messages, bytes; /* what was acknowledged or received */
    uint64_t lost, told;      /* lost, and what of it the broker told; pub: what was not acknowledged */
    uint64_t wrong;
    uint64_t matched;           /* pub: the fewest subscriptions that a message matched; UINT64_MAX: not known */
    uint64_t begin_ns, last_ns; /* sub: of the first message; else of the first publish, and of the last that counts */
    struct bench_histogram latency;
};

/* Prints it on standard output. Returns CLI_EXIT_DONE, or complains and returns CLI_EXIT_ERROR. */
int bench_report(const struct bench_options *options, const struct bench_result *result);

#endif
