/* Where a subscription stands in the streams that it reads: what its program was given, what of that it has not
 * acknowledged yet, and what it has. Not thread-safe. Calls that return int: 0 or PUBSUB_ENOMEM. */
#ifndef PUBSUB_POSITIONS_H
#define PUBSUB_POSITIONS_H

#include <pubsub/pubsub.h>

#include "wire.h"

#define MPS_SETTLED_MAX 1024 /* acknowledgements of each stream that are remembered */

struct mps_stream_place {
    uint64_t stream;
    uint64_t end;         /* behind the highest that the program was given */
    uint64_t sure;        /* all before this one and before end was given to it, or is gone, or not for it */
    uint64_t reached;     /* the subscription, as it was made last, has come so far: before end, things come again */
    uint64_t *unsettled;  /* given and not acknowledged, ascending: begin..end_at are in use */
    size_t begin, end_at, cap;
    uint64_t *settled;    /* the last ones that were, as a ring: twice the position, and one if it is "never again" */
    size_t settled_count; /* in all */
};

struct mps_positions {
    struct mps_stream_place *list; /* in the order in which they were met */
    size_t count;
};

void mps_positions_free(struct mps_positions *positions); /* and forgets all */

int mps_positions_begin(struct mps_positions *positions, uint64_t stream, uint64_t seq); /* the program asked for it */
/* The broker will not send first..last (again): nothing of them is to be acknowledged. */
int mps_positions_gone(struct mps_positions *positions, uint64_t stream, uint64_t first, uint64_t last);
/* The stream is another one: nothing is known of it any more, and it is read from its beginning. */
void mps_positions_restart(struct mps_positions *positions, uint64_t stream);
/* The program is given this one, and nothing is to be acknowledged. */
int mps_positions_pass(struct mps_positions *positions, uint64_t stream, uint64_t seq);
/* The program is given this one and has to acknowledge it. */
int mps_positions_hand(struct mps_positions *positions, uint64_t stream, uint64_t seq);

/* The program acknowledges (not: wants it again). Returns the position that the broker is to be told of; 0: none, because
 * nothing is unsettled, or what is has yet to come again. */
uint64_t mps_positions_settle(struct mps_positions *positions, uint64_t stream, uint64_t seq, enum pubsub_ack_kind kind);
/* Whether the broker waits for this one. */
bool mps_positions_is_unsettled(const struct mps_positions *positions, uint64_t stream, uint64_t seq);
/* Whether the program has acknowledged this one already, as far as that is remembered, and how: ONE or NEVER. */
bool mps_positions_was_settled(const struct mps_positions *positions, uint64_t stream, uint64_t seq,
                               enum pubsub_ack_kind *kind);

/* The session goes on: what the last connection swallowed will be sent again, perhaps behind what is new. */
void mps_positions_resumed(struct mps_positions *positions);
/* The session is gone: the first that is unsettled, and all behind it, will be asked for again. */
void mps_positions_rewind(struct mps_positions *positions);
/* Others of the group have got what is unsettled. */
void mps_positions_hand_over(struct mps_positions *positions);

/* Where to go on: writes stream, position, stream, position, ..., at most MPS_FROM_POSITIONS_MAX of them; returns how
 * many. */
uint32_t mps_positions_resume(const struct mps_positions *positions, uint64_t *pairs);

#endif
