/* What `pubsub bench` was asked to measure. */
#ifndef CLI_BENCH_OPTIONS_H
#define CLI_BENCH_OPTIONS_H

#include <pubsub/pubsub.h>

#include "connect.h"

enum bench_kind { BENCH_PUB, BENCH_SUB, BENCH_FAN, BENCH_LATENCY };

#define BENCH_TOPIC_CAP (PUBSUB_TOPIC_MAX + 1)

struct bench_options {
    struct connection_options connection;
    enum bench_kind kind;
    const char *topic;                /* NULL: not said */
    char topic_text[BENCH_TOPIC_CAP]; /* the one that is used */
    uint64_t size;                    /* bytes of a payload; 0: not said */
    unsigned long long count;         /* messages that are published, or received by sub; 0: no limit */
    uint64_t for_ms;                  /* 0: no limit */
    uint64_t idle_ms;                 /* sub; 0: no limit */
    unsigned long long topics;        /* 0: not said, one. More than one are below `topic` */
    unsigned long long subscribers;   /* 0: not said */
    unsigned long long rate;          /* messages a second; 0: as fast as it goes */
    uint64_t window;                  /* bytes; 0: not said */
    int ack;                          /* enum pubsub_ack; -1: not said */
    bool json;
};

extern const char *const bench_kind_names[]; /* by enum bench_kind; ended by NULL */

/* Fills *options, defaults included: after OPTIONS_OK nothing is "not said". Returns OPTIONS_HELP after printing the
 * help, OPTIONS_WRONG after complaining. */
enum options_result bench_options_read(struct bench_options *options, int argc, char **argv);

/* The topic of a message: if there are more than one, round robin. */
const char *bench_topic(const struct bench_options *options, unsigned long long number, char scratch[BENCH_TOPIC_CAP]);

#endif
