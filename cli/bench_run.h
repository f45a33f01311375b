/* The measurement itself. */
#ifndef CLI_BENCH_RUN_H
#define CLI_BENCH_RUN_H

#include "bench_report.h"

/* Connects, publishes, receives, waits for what is on the way, and fills *result, all zero before. Returns the exit
 * code; complained unless that is CLI_EXIT_DONE, CLI_EXIT_TIME or a signal's. If result->end is BENCH_RUNNING then, it
 * had not begun. */
int bench_run(const struct bench_options *options, struct bench_result *result);

#endif
