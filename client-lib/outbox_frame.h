/* The frames of an outbox as they stand in its buffer, for the files that walk over them. */
#ifndef PUBSUB_OUTBOX_FRAME_H
#define PUBSUB_OUTBOX_FRAME_H

#include "outbox.h"

/* All of them are ours: fixarrays with the operation in the second byte. */
struct mps_frame {
    size_t len;
    bool is_message, is_terms, acked; /* acked: a message that is */
    uint32_t flags;                   /* in force after it */
};

/* The frame that begins at box->buf + at, where these flags are in force. */
struct mps_frame mps_frame_at(const struct mps_outbox *box, size_t at, uint32_t flags);

static inline void mps_step_over(struct mps_place *place, const struct mps_frame *frame)
{
    place->at += frame->len;
    place->flags = frame->flags;
    if (frame->acked) place->pid++;
}

/* What takes the place of a message that is not to be published, because its pid has to be used up: one to a topic that
 * nobody can publish to, which the broker refuses (210). No message is shorter. */
#define MPS_VOID_LEN 7
void mps_void_write(uint8_t *at);
bool mps_void_is(const uint8_t *frame, size_t len);

/* Lets what the window allows be written. */
void mps_outbox_open_gate(struct mps_outbox *box);

#endif
