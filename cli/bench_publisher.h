/* The publishing half of a measurement: numbered messages, as fast as rate and window allow, and what of them the
 * broker has acknowledged. */
#ifndef CLI_BENCH_PUBLISHER_H
#define CLI_BENCH_PUBLISHER_H

#include "bench_histogram.h"
#include "bench_options.h"
#include "buffer.h"
#include "connect.h"

struct bench_publisher {
    struct link link;
    const struct bench_options *options;
    struct bench_histogram *latency; /* pub: until the acknowledgement */
    struct pubsub_publish_options terms;
    uint8_t *payload;
    uint16_t host;
    uint32_t run;
    uint64_t published;
    uint64_t acknowledged; /* messages: those that came before an acknowledged one are there, too */
    uint64_t matched;      /* the fewest subscriptions that an acknowledged message matched; UINT64_MAX: none was */
    uint64_t window;       /* messages that may be on the way */
    uint64_t batch;        /* messages that are published at a time, and get the same time of sending */
    uint64_t start_ns;     /* when the first was published; 0: not yet */
    uint64_t acked_ns;     /* when `acknowledged` last grew */
    struct buffer stamps;  /* of struct stamp, defined in bench_publisher.c: batches that are not acknowledged yet */
    size_t first_stamp;    /* the earlier ones are */
    bool full;             /* the library had no room for the next message */
    bool end_sent;
    int failure; /* exit code because of what was refused; CLI_EXIT_DONE if nothing was */
};

/* Connects. Returns CLI_EXIT_DONE, or complains and returns another exit code; bench_publisher_close() in
 * any case. */
int bench_publisher_open(struct bench_publisher *publisher, const struct bench_options *options,
                         const struct connection_options *connection, struct bench_histogram *latency);
void bench_publisher_close(struct bench_publisher *publisher);

/* Publishes what may be published now; `settled` messages are not on the way any more. What is wrong is in .failure.
 * Returns how many ms later it may go on: 0 at once, -1 when something on a connection has changed. */
int64_t bench_publisher_work(struct bench_publisher *publisher, uint64_t settled);

/* Publishes the last word, which says how many messages there were, if it is not published yet and there is room. */
void bench_publisher_end(struct bench_publisher *publisher);

#endif
