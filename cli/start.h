/* Where a subscription begins in durable streams: the options of `sub` for that. */
#ifndef CLI_START_H
#define CLI_START_H

#include <pubsub/pubsub.h>

#include "buffer.h"
#include "connect.h"
#include "options.h"

/* [STREAM:]N */
struct start_position {
    const char *stream; /* name or number, stream_len bytes, not NUL-terminated; NULL: not said */
    size_t stream_len;
    uint64_t seq;
};

/* All zero: with what is published from now on. */
struct start_options {
    enum pubsub_from from;
    const char *option;      /* the one that was given; NULL: none */
    uint64_t number;         /* of LAST, TIME, AGO */
    struct buffer positions; /* of struct start_position, of SEQ */
    bool until_live;
};
extern const struct option_row start_option_rows[];

void start_options_free(struct start_options *options);

/* Reads "[STREAM:]N", N from 1; *position borrows from text. False: it isn't that. */
bool start_position_read(const char *text, struct start_position *position);

/* What --from-seq means for one pattern: appends stream, position, ... (uint64_t) to pairs. Asks the broker which
 * streams it has, on a connection of its own, if a number does not say it all. Returns CLI_EXIT_DONE, or complains and
 * returns another exit code. */
int start_find_positions(const struct start_options *options, const struct connection_options *connection,
                         const char *pattern, struct buffer *pairs);

#endif
