/* The broker's total budget. How much memory its queues cost is the broker's own affair, so the model can't foretell
 * what goes: after each turn it takes over how many messages each queue lost, and holds against that what must always
 * be so. */
#include <stdlib.h>

#include "model.h"

/* An entry of a queue, with all that belongs to it: surely between these many bytes. */
#define ENTRY_LEAST 24
#define ENTRY_MOST 512
/* Of each queue and connection: rings, frames that are under way. */
#define QUEUE_MOST 8192
#define SHARED_MOST 70000 /* a large frame's buffer, of which a part is left */

/* What a queue cost before the turn's losses, at most, and now, at least. */
static uint64_t cost_most(const struct queue_model *queue)
{
    uint64_t entries = 0;
    for (uint32_t i = queue->first; i <= queue->end; i++) {
        const struct losses *before = i < queue->end ? &queue->items[i].before : &queue->behind;
        for (int reason = 0; reason < QUEUE_REASONS; reason++) entries += before->count[reason] > 0;
        entries += i < queue->end;
    }
    return queue->bytes + entries * ENTRY_MOST;
}

static uint64_t cost_least(const struct queue_model *queue)
{
    return queue->bytes + (queue->first < queue->end ? ENTRY_LEAST : 0);
}

struct shed {
    struct model *model;
    uint64_t before_most;       /* cost of all queues before, at most */
    uint64_t least_debtor_most; /* of those that lost something: the one that cost least, at most */
    uint64_t lost;
};

static bool take_over(const struct subscription_figures *f, void *arg)
{
    struct shed *shed = arg;
    struct conn *conn = f->link != NULL ? f->link->owner : NULL;
    struct model_sub *sub = conn != NULL ? model_find_sub(conn, f->sid) : NULL;
    if (sub == NULL) return true; /* invariants.c complains */
    sub->listed = true;
    uint64_t most = cost_most(&sub->own), due = sub->own.lost + sub->gaps_retained + sub->gaps_read;
    shed->before_most += 2 * most + QUEUE_MOST;
    if (f->lost <= due) return true;
    uint64_t lost = f->lost - due, msgs = queue_model_msgs(&sub->own);
    if (lost > msgs) {
        CONN_FAIL(conn, "sid %u: %llu messages were lost, %llu were queued", sub->sid, ULL(lost), ULL(msgs));
        return false;
    }
    if (shed->lost == 0 || most < shed->least_debtor_most) shed->least_debtor_most = most;
    shed->lost += lost;
    queue_model_cut_down(&sub->own, msgs - lost, UINT64_MAX, MPS_GAP_MEMORY);
    return true;
}

static int by_message(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

/* Bytes of all messages that are queued, each counted once. A connection that ends may have let go of its own. */
static uint64_t distinct_bytes(const struct model *model)
{
    uint32_t *messages = NULL, count = 0, cap = 0;
    for (const struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        for (uint32_t i = sub->own.first; i < sub->own.end && sub->listed; i++) {
            GROW(messages, count, cap);
            messages[count++] = sub->own.items[i].message;
        }
    }
    uint64_t bytes = 0;
    if (count > 0) qsort(messages, count, sizeof *messages, by_message);
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || messages[i] != messages[i - 1]) bytes += model->messages[messages[i]].len;
    free(messages);
    return bytes;
}

void budget_turned(struct model *model)
{
    uint64_t limit = model->limits.queue_total_bytes;
    struct shed shed = {.model = model};
    if (!model->tight_total) return;
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) sub->listed = false;
    broker_each_subscription(model->world->broker, take_over, &shed);
    if (distinct_bytes(model) > limit)
        world_fail(model->world, "messages of %llu bytes are queued, the budget is %llu", ULL(distinct_bytes(model)),
                   ULL(limit));
    if (shed.lost == 0) return;
    if (shed.before_most + SHARED_MOST < limit)
        world_fail(model->world, "%llu messages were lost to the budget of %llu bytes, all queues cost %llu at most",
                   ULL(shed.lost), ULL(limit), ULL(shed.before_most));
    for (const struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        if (!sub->listed || cost_least(&sub->own) <= shed.least_debtor_most) continue;
        CONN_FAIL(sub->conn, "sid %u: its queue costs %llu bytes, but one that cost %llu lost messages to the budget",
                  sub->sid, ULL(cost_least(&sub->own)), ULL(shed.least_debtor_most));
    }
}
