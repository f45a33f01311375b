/* One subscribing connection of a measurement, and what has come on it. */
#ifndef CLI_BENCH_SUBSCRIBER_H
#define CLI_BENCH_SUBSCRIBER_H

#include "bench_options.h"
#include "bench_tally.h"
#include "connect.h"

struct bench_subscriber {
    struct link link;
    const struct bench_options *options;
    struct bench_histogram *latency;
    struct bench_tally tally;
    uint16_t host;
    bool granted; /* the subscription is in force */
    int failure;  /* exit code because the broker refused it; CLI_EXIT_DONE if it did not */
};

/* Connects and subscribes. run: of the publisher that will be received from its first message on; NULL: whoever
 * publishes. Returns CLI_EXIT_DONE, or complains and returns another exit code; bench_subscriber_close() in any case.
 */
int bench_subscriber_open(struct bench_subscriber *subscriber, const struct bench_options *options,
                          const struct connection_options *connection, const uint32_t *run,
                          struct bench_histogram *latency);
void bench_subscriber_close(struct bench_subscriber *subscriber);

#endif
