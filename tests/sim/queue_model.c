#include "queue_model.h"

#include <stdlib.h>
#include <string.h>

void queue_model_free(struct queue_model *queue)
{
    free(queue->items);
    free(queue->expired);
    queue->items = NULL;
    queue->expired = NULL;
    queue->expired_count = queue->expired_cap = 0;
    queue->first = queue->end = queue->cap = 0;
    queue->bytes = 0;
    queue->behind = (struct losses){{0}};
}

uint64_t losses_sum(const struct losses *losses)
{
    uint64_t sum = 0;
    for (int reason = 0; reason < QUEUE_REASONS; reason++) sum += losses->count[reason];
    return sum;
}

struct losses *queue_model_front(struct queue_model *queue)
{
    return queue->first < queue->end ? &queue->items[queue->first].before : &queue->behind;
}

static void add_losses(struct losses *to, const struct losses *more)
{
    for (int reason = 0; reason < QUEUE_REASONS; reason++) to->count[reason] += more->count[reason];
}

static void make_room(struct queue_model *queue)
{
    if (queue->end < queue->cap) return;
    uint32_t count = queue->end - queue->first;
    if (queue->first > 0) memmove(queue->items, queue->items + queue->first, count * sizeof *queue->items);
    queue->first = 0;
    queue->end = count;
    if (2 * count < queue->cap) return;
    queue->cap = queue->cap > 0 ? 2 * queue->cap : 8;
    queue->items = realloc(queue->items, queue->cap * sizeof *queue->items);
    if (queue->items == NULL) abort();
}

/* Takes the item out. Losses before it stand before the next one then, or behind everything. */
static void take_out(struct queue_model *queue, uint32_t i)
{
    struct losses before = queue->items[i].before;
    queue->bytes -= queue->items[i].len;
    if (i == queue->first) queue->first++;
    else memmove(queue->items + i, queue->items + i + 1, (--queue->end - i) * sizeof *queue->items);
    uint32_t next = i < queue->first ? queue->first : i;
    struct losses *place = next < queue->end ? &queue->items[next].before : &queue->behind;
    add_losses(place, &before);
}

void queue_model_sent(struct queue_model *queue, uint32_t i)
{
    queue->items[i].before = (struct losses){{0}};
    take_out(queue, i);
    queue->gave_up = false;
}

void queue_model_lose(struct queue_model *queue, uint32_t i, enum mps_gap_reason reason)
{
    queue->items[i].before.count[reason]++;
    queue->lost++;
    take_out(queue, i);
}

static void lose_new(struct queue_model *queue, enum mps_gap_reason reason)
{
    queue->behind.count[reason]++;
    queue->lost++;
}

bool queue_model_expired(const struct queue_item *item, uint64_t now_ms)
{
    if (item->ttl_ms == QUEUE_NO_TTL) return false;
    return now_ms - item->came_ms >= (item->ttl_ms > 0 ? item->ttl_ms : 1);
}

static void add_expired(struct queue_model *queue, struct queue_expired one)
{
    if (queue->expired_count == queue->expired_cap) {
        queue->expired_cap = queue->expired_cap > 0 ? 2 * queue->expired_cap : 8;
        queue->expired = realloc(queue->expired, queue->expired_cap * sizeof *queue->expired);
        if (queue->expired == NULL) abort();
    }
    queue->expired[queue->expired_count++] = one;
}

void queue_model_lag(const struct queue_model *queue, uint64_t now_ms, uint64_t ms, uint64_t *msgs, uint64_t *bytes)
{
    *msgs = *bytes = 0;
    for (uint32_t i = 0; i < queue->expired_count; i++) {
        if (now_ms - queue->expired[i].died_ms > ms) continue;
        ++*msgs;
        *bytes += queue->expired[i].len;
    }
}

void queue_model_sweep(struct queue_model *queue, uint64_t now_ms)
{
    for (uint32_t i = queue->first; i < queue->end;) {
        if (!queue_model_expired(&queue->items[i], now_ms)) {
            i++;
            continue;
        }
        bool at_front = i == queue->first;
        const struct queue_item *item = &queue->items[i];
        add_expired(queue, (struct queue_expired){item->came_ms + item->ttl_ms, item->len});
        queue_model_lose(queue, i, MPS_GAP_EXPIRED);
        if (at_front) i = queue->first;
    }
}

static bool fits(const struct queue_model *queue, uint32_t len, uint64_t allowed)
{
    return queue_model_msgs(queue) + 1 <= queue->max_msgs && queue->bytes + len <= allowed;
}

bool queue_model_is_full_for(struct queue_model *queue, uint32_t len, uint32_t rx_max, uint64_t allowed,
                             uint64_t now_ms)
{
    if (len > rx_max || len > allowed) return false;
    queue_model_sweep(queue, now_ms);
    return !fits(queue, len, allowed);
}

static void append(struct queue_model *queue, struct queue_item *item)
{
    make_room(queue);
    item->before = queue->behind;
    queue->behind = (struct losses){{0}};
    queue->bytes += item->len;
    queue->items[queue->end++] = *item;
}

void queue_model_cut_down(struct queue_model *queue, uint64_t msgs, uint64_t bytes, enum mps_gap_reason reason)
{
    while (queue->first < queue->end && (queue_model_msgs(queue) > msgs || queue->bytes > bytes))
        queue_model_lose(queue, queue->first, reason);
}

/* The oldest make room, each with this reason. */
static enum queue_outcome push_over_old(struct queue_model *queue, struct queue_item *item, uint64_t allowed,
                                        enum mps_gap_reason reason)
{
    queue_model_cut_down(queue, queue->max_msgs - 1, allowed - item->len, reason);
    append(queue, item);
    return QUEUE_TAKEN;
}

static enum queue_outcome overflow(struct queue_model *queue)
{
    queue->lost++; /* no GAP will stand for it: everything that is queued is gone with it */
    return QUEUE_OVERFLOW;
}

static enum queue_outcome push_full(struct queue_model *queue, struct queue_item *item, uint64_t allowed,
                                    enum mps_policy policy, bool after_wait)
{
    switch (policy) {
    case MPS_POLICY_DROP_OLD:
    case MPS_POLICY_LATEST: return push_over_old(queue, item, allowed, after_wait ? MPS_GAP_BLOCKED : MPS_GAP_DROP_OLD);
    case MPS_POLICY_DROP_NEW: lose_new(queue, after_wait ? MPS_GAP_BLOCKED : MPS_GAP_DROP_NEW); return QUEUE_DROPPED;
    case MPS_POLICY_CLOSE: return overflow(queue);
    case MPS_POLICY_BLOCK: return push_full(queue, item, allowed, queue->then, true);
    case MPS_POLICY_SPILL: break;
    }
    abort(); /* no queue has it */
}

static void supersede(struct queue_model *queue, uint32_t key)
{
    for (uint32_t i = queue->first; i < queue->end; i++) {
        if (queue->items[i].key != key) continue;
        queue_model_lose(queue, i, MPS_GAP_SUPERSEDED);
        return;
    }
}

void queue_model_keep_latest(struct queue_model *queue)
{
    struct queue_model old = *queue;
    queue->items = NULL;
    queue->first = queue->end = queue->cap = 0;
    queue->bytes = 0;
    queue->behind = (struct losses){{0}};
    for (uint32_t i = old.first; i < old.end; i++) {
        struct queue_item item = old.items[i];
        supersede(queue, item.key);
        add_losses(&queue->behind, &item.before);
        append(queue, &item);
        queue_model_cut_down(queue, queue->max_msgs, UINT64_MAX, MPS_GAP_DROP_OLD);
    }
    add_losses(&queue->behind, &old.behind);
    free(old.items);
}

enum queue_outcome queue_model_push(struct queue_model *queue, struct queue_item item, uint32_t rx_max,
                                    uint64_t allowed, uint64_t now_ms)
{
    item.came_ms = now_ms;
    item.number = queue->matched++;
    if (item.len > rx_max) {
        lose_new(queue, MPS_GAP_TOO_LARGE);
        return QUEUE_TAKEN;
    }
    if (item.len > allowed) {
        if (queue->policy == MPS_POLICY_CLOSE) return overflow(queue);
        bool old = queue->policy == MPS_POLICY_DROP_OLD || queue->policy == MPS_POLICY_LATEST;
        lose_new(queue, old ? MPS_GAP_DROP_OLD : MPS_GAP_DROP_NEW);
        return QUEUE_DROPPED;
    }
    queue_model_sweep(queue, now_ms);
    if (queue->policy == MPS_POLICY_LATEST) supersede(queue, item.key);
    if (!fits(queue, item.len, allowed)) return push_full(queue, &item, allowed, queue->policy, false);
    append(queue, &item);
    return QUEUE_TAKEN;
}

void queue_model_move(struct queue_model *to, struct queue_model *from)
{
    for (uint32_t i = 0; i < from->expired_count; i++) add_expired(to, from->expired[i]);
    for (uint32_t i = from->first; i < from->end; i++) {
        struct queue_item item = from->items[i];
        add_losses(&to->behind, &item.before);
        item.number = to->matched++;
        append(to, &item);
    }
    for (int reason = 0; reason < QUEUE_REASONS; reason++) to->behind.count[reason] += from->behind.count[reason];
}

enum queue_outcome queue_model_refuse(struct queue_model *queue)
{
    queue->matched++;
    queue->lost++;
    return QUEUE_DROPPED;
}
