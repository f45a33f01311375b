/* What the two halves of the core share. */
#ifndef PUBSUB_CORE_STATE_H
#define PUBSUB_CORE_STATE_H

#include <pubsub/core.h>

#include "wire.h"

enum core_state {
    CORE_NEW,     /* HELLO is not written yet */
    CORE_HELLO,   /* waiting for WELCOME */
    CORE_READY,
    CORE_LEAVING, /* our BYE is written: what still comes is read, nothing is sent */
    CORE_ENDED,   /* BYE came, or the broker broke the protocol */
};

/* What a frame handler says. */
enum outcome {
    HANDLED, /* no event comes of it */
    EVENT,
    LATER, /* there is no room to answer it: offer it again */
    FAILED,
};

/* Whether WELCOME has come, and no BYE. */
static inline bool mps_core_is_greeted(const struct pubsub_core *core)
{
    return core->state == CORE_READY || core->state == CORE_LEAVING;
}

/* Handles frames until there is an event, or no whole frame (core.c). */
enum pubsub_event_type mps_core_next_frame(struct pubsub_core *core, struct pubsub_event *event);

/* The handler of MSG (core_message.c). */
enum outcome mps_core_on_msg(struct pubsub_core *core, mps_view frame, struct pubsub_event *event);

/* Ends the connection because the broker broke the protocol. The BYE is written if there is room for it: it is a
 * courtesy, nothing depends on it. Returns FAILED. */
enum outcome mps_core_fail(struct pubsub_core *core, struct pubsub_event *event, enum mps_code code, const char *where,
                           const char *what);

/* Overwrites the output buffer, with what was written from it. */
void mps_core_wipe_output(struct pubsub_core *core);

/* Answers a PING. Returns as the public functions that write a frame. */
int mps_core_pong(struct pubsub_core *core, mps_view token);

#endif
