/* Acknowledging what comes from durable streams: the options of `sub` for that, and the acknowledgements. */
#ifndef CLI_ACKS_H
#define CLI_ACKS_H

#include <pubsub/pubsub.h>

#include "buffer.h"
#include "options.h"

struct ack_options {
    const char *durable; /* the name under which what is done is kept; NULL: it is not */
    const char *option;  /* one that goes only with acknowledging; NULL: none was given */
    bool ack; /* set by `durable`, too */
    bool forget;
    uint32_t within_ms;  /* 0: not said */
    uint32_t tries_max;  /* 0: no limit */
    uint32_t retry_ms;   /* how long a message waits after it failed for the first time; 0: not said */
};
extern const struct option_row ack_option_rows[];

#define ACK_RETRY_MS 1000       /* .retry_ms when it is not said */
#define ACK_RETRY_MAX_MS 300000 /* a message that goes on failing waits so long */

/* Whether a message that has failed, and was sent so often (0 counts as 1), is tried again; and after how long: that is
 * doubled each time. If not, it is given up, and *delay_ms is 0. */
bool ack_try_again(const struct ack_options *options, uint32_t tries, uint64_t *delay_ms);

/* What was written but is not acknowledged yet: the last position of each subscription and stream. All zero is none. */
struct acks {
    struct buffer places; /* of struct ack_place */
};
struct ack_place {
    uint32_t sid;
    uint64_t stream, seq;
};

void acks_note(struct acks *acks, const struct pubsub_message *message); /* one without position needs none */
void acks_send(struct acks *acks, pubsub *client); /* a connection that has ended is noticed by who waits on it */
void acks_free(struct acks *acks);

#endif
