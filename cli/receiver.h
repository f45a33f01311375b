/* Subscribing and printing what comes, for `sub` and `get`. */
#ifndef CLI_RECEIVER_H
#define CLI_RECEIVER_H

#include "connect.h"
#include "print.h"

struct receiver_terms {
    struct print_options print;
    char *const *patterns;
    int pattern_count;            /* at least 1 */
    uint64_t max_msgs, max_bytes; /* of each subscription's queue at the broker */
    bool live;                    /* messages that are published now */
    bool retained;                /* the topics' last values; without `live` it ends when all of them were there */
    bool no_reconnect, fail_on_gap;
    uint64_t count;   /* ends after so many messages; 0: no limit */
    uint64_t end_ns;  /* ends at that moment; 0: never */
    uint64_t idle_ms; /* ends after so long without a message; 0: never */
};

struct receiver {
    struct link link;
    const struct receiver_terms *terms;
    struct printer printer;
    uint32_t *sids;    /* one for each pattern, in their order */
    uint64_t received; /* printed messages */
    uint64_t last_ns;  /* when the last one came; the start before that */
    int snapshots;     /* patterns whose retained values are all there */
    bool done;         /* nothing more is to be handled; exit_code says why */
    int exit_code;
};

/* Connects, subscribes, prints and ends as the terms say. Returns the exit code; *received messages were printed. */
int receive(const struct connection_options *connection, const struct receiver_terms *terms, uint64_t *received);

#endif
