#include "model.h"

/* What a run costs besides its bytes. */
#define RUN_BYTES (sizeof(struct run) + 32)

void broker_links_hold(struct broker *broker, int64_t bytes)
{
    broker->links_bytes += (uint64_t)bytes; /* modulo 2^64 */
}

bool broker_links_are_full(const struct broker *broker)
{
    return broker->links_bytes > broker->limits.queue_total_bytes / 4;
}

/* Queues can't make room among what links hold, so that the other half is theirs in any case. Beyond a quarter each
 * link takes only little more: what isn't counted is that, times the connections. */
static uint64_t counted_of_links(const struct broker *broker)
{
    return least(broker->links_bytes, broker->limits.queue_total_bytes / 2);
}

uint64_t budget_used(const struct broker *broker)
{
    uint64_t runs = broker->runs.alive - broker->runs.stored_count - broker->retained.topics.count;
    return broker->runs.own_bytes - broker->runs.stored_bytes - broker->retained.frame_bytes +
           run_unsettled_bytes(&broker->runs) + runs * RUN_BYTES + broker->rings_bytes + counted_of_links(broker);
}

/* Memory of runs that are there only for frames that links took part of: no queue can give it up. */
static uint64_t in_flight_bytes(const struct broker *broker)
{
    uint64_t bytes = 0;
    for (const struct session *session = broker->sessions; session != NULL; session = session->next)
        if (session->cut != NULL && !session->cut->is_stored && ++session->cut->cuts == session->cut->refs)
            bytes += session->cut->own_bytes;
    for (const struct session *session = broker->sessions; session != NULL; session = session->next)
        if (session->cut != NULL) session->cut->cuts = 0;
    return bytes;
}

/* Cuts all queues down to one level, which sinks until enough is free: who owes most loses first. What a thousand
 * queues share is free only when the last of them has let it go. */
static void shed(struct broker *broker, uint64_t target_bytes)
{
    uint64_t level = 0;
    for (struct list_node *node = broker->debtors.first, *next; node != NULL; node = next) {
        struct mailbox *box = container_of(node, struct mailbox, in_debtors);
        uint64_t memory = mailbox_memory(box);
        next = node->next;
        if (memory > level) level = memory;
        if (box->queue.entries == 0) mailbox_no_debtor(box);
    }
    while (level > 0 && budget_used(broker) > target_bytes) {
        level -= level / 8 + 1;
        for (struct list_node *node = broker->debtors.first; node != NULL; node = node->next)
            mailbox_cut_down(container_of(node, struct mailbox, in_debtors), level);
    }
}

void budget_keep(struct broker *broker)
{
    uint64_t limit = broker->limits.queue_total_bytes;
    /* Without walking the runs: everything that is not settled lies in a slab. */
    uint64_t most = broker->runs.own_bytes + broker->slabs.bytes + broker->runs.alive * RUN_BYTES +
                    broker->rings_bytes + broker->links_bytes;
    if (most - broker->runs.stored_bytes - broker->retained.frame_bytes <= limit || budget_used(broker) <= limit)
        return;
    uint64_t in_flight = in_flight_bytes(broker);
    if (budget_used(broker) <= limit + in_flight) return;
    uint64_t lost = broker->figures.copies_lost;
    shed(broker, limit - limit / 16 + in_flight);
    if (broker->figures.copies_lost == lost) return;
    lost = broker->figures.copies_lost - lost;
    log_say(broker, EVENT_QUEUES_SHED, LOG_FIELDS(log_number("lost", lost)),
            "queued messages exceeded the budget of %llu bytes: the fullest queues lost %llu",
            (unsigned long long)limit, (unsigned long long)lost);
}
