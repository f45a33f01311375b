/* What is behind a queue of policy `spill` that is full, outside of memory. Internal to the core. */
#ifndef BROKER_SPILL_H
#define BROKER_SPILL_H

#include "model.h"

uint64_t mailbox_spilled(const struct mailbox *box); /* messages */
static inline uint64_t mailbox_waiting(const struct mailbox *box) /* all that is queued */
{
    return box->queue.msgs + mailbox_spilled(box);
}
/* Puts frames there. Returns those for which there is no room. */
struct part spill_put(struct mailbox *box, struct run *run, struct part part);
void spill_lose(struct mailbox *box, enum mps_gap_reason reason, uint64_t count); /* these were to be behind it all, or the queue */
void spill_refill(struct mailbox *box);    /* the queue gets some of it, if it has room again; without accounting */
void spill_move(struct mailbox *from, struct mailbox *to); /* what is behind one queue is behind the other one now */
void spill_free(struct mailbox *box);      /* NULL is allowed */

#endif
