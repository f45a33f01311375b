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

/* Answers a PING. Returns as the public functions that write a frame. */
int mps_core_pong(struct pubsub_core *core, mps_view token);

#endif
