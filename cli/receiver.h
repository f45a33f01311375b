/* Subscribing and printing what comes, or handing it to a command, for `sub` and `get`. */
#ifndef CLI_RECEIVER_H
#define CLI_RECEIVER_H

#include "acks.h"
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
    enum pubsub_scope scope; /* CLUSTER: it is told where that can't be had */
    const char *group;   /* NULL: none */
    const char *filter;  /* NULL: none */
    const char *command; /* gets each message on its standard input; NULL: they are printed */
    unsigned jobs;       /* how many commands at a time; 1..EXEC_JOBS_MAX */
    enum pubsub_from from; /* where it begins in durable streams */
    uint64_t from_number;
    const uint64_t *from_positions; /* stream, position, stream, ... */
    size_t from_positions_count;    /* pairs of these */
    const struct ack_options *acks; /* NULL: nothing is acknowledged */
    uint32_t session_s;   /* how long what is kept for us outlives the connection; 0: not at all */
    bool live;           /* messages that are published now */
    bool retained;       /* the topics' last values; without `live` it ends when all of them were there */
    bool until_live; /* ends when all that had been published before has come */
    bool no_reconnect, fail_on_gap;
    bool all_gaps;    /* also what a newer message of the same key replaced is lost */
    uint64_t count;   /* ends after so many messages; 0: no limit */
    uint64_t end_ns;  /* ends at that moment; 0: never */
    uint64_t idle_ms; /* ends after so long without a message; 0: never */
};

/* Connects, subscribes, prints and ends as the terms say. Returns the exit code; *received messages were printed. */
int receive(const struct connection_options *connection, const struct receiver_terms *terms, uint64_t *received);

#endif
