/* What the two halves of a mailbox share: mailbox.c keeps and loses, push.c takes in under the policies. */
#ifndef BROKER_MAILBOX_H
#define BROKER_MAILBOX_H

#include "latest.h"

/* What is counted outside of the mailbox, as it was before a change of the queue. */
struct totals {
    uint64_t bytes, ring;
};

/* What the queue costs besides its runs. */
static inline uint64_t mailbox_ring_bytes(const struct mailbox *box)
{
    return queue_ring_bytes(&box->queue) + (box->latest ? latest_bytes(box->latest) : 0);
}

static inline struct totals mailbox_totals(const struct mailbox *box)
{
    return (struct totals){box->queue.bytes, mailbox_ring_bytes(box)};
}

void mailbox_account_ring(struct mailbox *box, uint64_t was);
void mailbox_set_debtor(struct mailbox *box);

/* After the change. The hot path: a queue that takes and gives a message changes neither its ring nor the list of debtors,
 * where one that is empty stays until somebody goes through that. */
static inline void mailbox_account(struct mailbox *box, struct totals was)
{
    if (box->session != NULL) box->session->queued_bytes += box->queue.bytes - was.bytes;
    if (mailbox_ring_bytes(box) != was.ring) mailbox_account_ring(box, was.ring);
    if (!box->is_debtor && box->queue.entries > 0) mailbox_set_debtor(box);
}

void mailbox_activate(struct mailbox *box);              /* it has something for its reader */

/* The most bytes that the queue may hold now: its own limit, and what its connection's other queues leave, of which some
 * are reserved already. */
uint64_t mailbox_bytes_allowed(const struct mailbox *box, uint64_t reserved_bytes);
uint64_t mailbox_memory_allowed(uint64_t allowed_bytes);
bool mailbox_fits(const struct mailbox *box, struct part part, uint64_t allowed);

void mailbox_count_lost(struct mailbox *box, uint64_t count);
/* Messages that are not queued become a gap where they would stand. */
void mailbox_lose_here(struct mailbox *box, enum mps_gap_reason reason, uint64_t count);
void mailbox_lose_oldest(struct mailbox *box, uint64_t max_msgs, uint64_t max_bytes, enum mps_gap_reason reason);
/* Queues frames that were queued before, without counting them; those that the reader does not take any more are lost. */
void mailbox_requeue(struct mailbox *box, struct run *run, struct part part);
void mailbox_sweep(struct mailbox *box);                      /* mailbox_expire() without counting elsewhere */
void mailbox_tidy(struct mailbox *box, uint32_t limit);       /* merges neighbouring gaps */
void mailbox_note_expiry(struct mailbox *box, const struct run *run); /* the run is queued */

/* Frames of one key: only the last one is kept. */
void mailbox_push_latest(struct mailbox *box, struct run *run, struct part part, uint64_t allowed);

#endif
