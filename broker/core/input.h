/* What works on incoming bytes shares: input.c finds the frames, messages.c makes runs of those that are messages. */
#ifndef BROKER_INPUT_H
#define BROKER_INPUT_H

#include "model.h"

/* Bytes being worked on, and the run of messages that is growing. */
struct input {
    struct session *session;
    struct slab *slab;
    const uint8_t *p, *end;
    uint32_t frames;
    struct publish publish; /* .run NULL: none is growing */
    const uint8_t *head;    /* of its last frame */
    uint32_t head_len;      /* up to the payload's own head; 0: it can't grow */
    bool waits;             /* the message at .p can't be queued yet, or the share of the turn is used up */
    uint64_t work_end;      /* broker.work then */
};

static inline bool takes_input(const struct session *session)
{
    return session->state == SESSION_NEW || session->state == SESSION_READY;
}

/* Publishes the run that was growing. False: nothing more is to be done, because what is at .p has to wait, or the
 * session ends. */
bool messages_finish_run(struct input *in);
static inline bool messages_finish(struct input *in) /* asked before each frame, and mostly there is none */
{
    return in->publish.run != NULL ? messages_finish_run(in) : takes_input(in->session);
}
/* Takes as many messages at .p as have the same head as the one before; false: none. */
bool messages_grow(struct input *in);
/* Takes one message of the common shape at .p; false: it isn't one, or not all there. */
bool messages_take_plain(struct input *in);
/* Takes any message at .p, which the scan has been through. */
void messages_take(struct input *in, const struct mps_scan *scan);

#endif
