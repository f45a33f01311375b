/* Subscribing and printing what comes, or handing it to a command, for `sub` and `get`. */
#ifndef CLI_RECEIVER_H
#define CLI_RECEIVER_H

#include "connect.h"
#include "print.h"
#include "worker.h"

struct receiver_terms {
    struct print_options print;
    char *const *patterns;
    int pattern_count;            /* at least 1 */
    uint64_t max_msgs, max_bytes; /* of each subscription's queue at the broker */
    enum pubsub_policy policy, then;
    uint32_t block_ms;
    const char *group;   /* NULL: none */
    const char *filter;  /* NULL: none */
    const char *command; /* gets each message on its standard input; NULL: they are printed */
    unsigned jobs;       /* how many commands at a time; 1..EXEC_JOBS_MAX */
    bool live;           /* messages that are published now */
    bool retained;       /* the topics' last values; without `live` it ends when all of them were there */
    bool no_reconnect, fail_on_gap;
    bool all_gaps;    /* also what a newer message of the same key replaced is lost */
    uint64_t count;   /* ends after so many messages; 0: no limit */
    uint64_t end_ns;  /* ends at that moment; 0: never */
    uint64_t idle_ms; /* ends after so long without a message; 0: never */
};

/* Connects, subscribes, prints and ends as the terms say. Returns the exit code; *received messages were printed. */
int receive(const struct connection_options *connection, const struct receiver_terms *terms, uint64_t *received);

#endif
