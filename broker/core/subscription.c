#include <stdlib.h>
#include <string.h>

#include "model.h"

/* Small messages of many topics cost more to keep than they are long: a queue may take twice its max_bytes and this. */
#define OVERHEAD_BYTES (1024u * 1024)

static bool has_sid(const struct hash_node *node, const void *key)
{
    return container_of(node, struct subscription, in_subs)->sid == *(const uint32_t *)key;
}

static uint64_t sid_hash(const struct session *session, uint32_t sid)
{
    return hash_number(session->broker->seed, sid);
}

struct subscription *subscription_find(const struct session *session, uint32_t sid)
{
    struct hash_node *node = hash_find(&session->subs, sid_hash(session, sid), has_sid, &sid);
    return node ? container_of(node, struct subscription, in_subs) : NULL;
}

struct subscription *subscription_new(struct session *session, uint32_t sid, mps_view pattern)
{
    struct subscription *sub = calloc(1, sizeof *sub + pattern.len);
    if (sub == NULL) abort(); /* small, and max_subs bounds them */
    sub->session = session;
    sub->sid = sid;
    sub->pattern_len = (uint8_t)pattern.len;
    memcpy(sub->pattern, pattern.ptr, pattern.len);
    hash_add(&session->subs, &sub->in_subs, sid_hash(session, sid));
    topics_add(&session->broker->topics, pattern, &sub->entry);
    router_pattern_changed(session->broker, pattern);
    session->broker->subscriptions_count++;
    return sub;
}

void subscription_detach(struct subscription *sub)
{
    if (sub->entry.node == NULL) return;
    topics_remove(&sub->session->broker->topics, &sub->entry);
    router_pattern_changed(sub->session->broker, subscription_pattern(sub));
}

void subscription_free(struct subscription *sub)
{
    struct session *session = sub->session;
    struct broker *broker = session->broker;
    subscription_deactivate(sub);
    snapshot_end(&sub->snapshot);
    subscription_detach(sub);
    hash_remove(&session->subs, &sub->in_subs);
    session->queued_bytes -= sub->queue.bytes;
    queue_clear(&sub->queue, &broker->runs);
    broker->subscriptions_count--;
    free(sub);
}

void subscription_begin_snapshot(struct subscription *sub)
{
    snapshot_begin(&sub->snapshot, &sub->session->broker->retained, subscription_pattern(sub));
    sub->snapshot_matched = sub->matched;
    subscription_activate(sub);
}

void subscription_activate(struct subscription *sub)
{
    if (sub->is_active) return;
    struct session *session = sub->session;
    sub->is_active = true;
    sub->next_active = NULL;
    sub->prev_active = session->active_last;
    if (session->active_last != NULL) session->active_last->next_active = sub;
    else session->active = sub;
    session->active_last = sub;
    session_dirty(session);
}

void subscription_deactivate(struct subscription *sub)
{
    if (!sub->is_active) return;
    struct session *session = sub->session;
    if (sub->prev_active != NULL) sub->prev_active->next_active = sub->next_active;
    else session->active = sub->next_active;
    if (sub->next_active != NULL) sub->next_active->prev_active = sub->prev_active;
    else session->active_last = sub->prev_active;
    sub->is_active = false;
}

/* The most bytes that this queue may hold now: its own limit, and what its connection's other queues leave. */
static uint64_t bytes_allowed(const struct subscription *sub)
{
    const struct session *session = sub->session;
    uint64_t others = session->queued_bytes - sub->queue.bytes;
    uint64_t budget = session->broker->limits.session_queue_bytes;
    uint64_t left = budget > others ? budget - others : 0;
    return left < sub->max_bytes ? left : sub->max_bytes;
}

static uint64_t lose_oldest(struct subscription *sub, uint64_t max_msgs, uint64_t max_bytes, enum mps_gap_reason reason)
{
    uint64_t lost = queue_drop_oldest(&sub->queue, &sub->session->broker->runs, max_msgs, max_bytes, reason);
    sub->lost += lost;
    sub->session->broker->figures.copies_lost += lost;
    return lost;
}

/* Queues a part of a run; the oldest make room. */
static void push_part(struct subscription *sub, struct run *run, uint32_t off, uint32_t len, uint32_t count,
                      uint64_t allowed)
{
    uint64_t before = sub->queue.bytes;
    queue_push(&sub->queue, run, off, len, count);
    lose_oldest(sub, sub->max_msgs, allowed, MPS_GAP_DROP_OLD);
    uint64_t over = queue_msgs_over(&sub->queue, 2 * allowed + OVERHEAD_BYTES);
    if (over > 0) lose_oldest(sub, sub->queue.msgs - over, allowed, MPS_GAP_MEMORY);
    sub->session->queued_bytes += sub->queue.bytes - before;
}

/* A frame that can't be queued becomes a gap where it stood. */
static void lose_here(struct subscription *sub, enum mps_gap_reason reason)
{
    queue_push_gap(&sub->queue, reason, 1);
    sub->lost++;
    if (sub->snapshot.active) sub->snapshot_matched++; /* matched since, but it doesn't stand in the queue */
    sub->session->broker->figures.copies_lost++;
}

/* Queues the frames of a run that the subscriber takes (rx_max) and that its whole queue could hold (allowed). Returns
 * how many the queue refused: one that is too large for it doesn't drive out all others only to be lost itself. */
static uint64_t push_fitting(struct subscription *sub, struct run *run, uint32_t rx_max, uint64_t allowed)
{
    uint32_t start = 0, count = 0;
    uint64_t refused = 0;
    for (uint32_t at = 0, end, one; at < run->len; at = end) {
        end = run_frame_end(run, at, at, &one);
        uint32_t len = end - at;
        if (len <= rx_max && len <= allowed) {
            count++;
            continue;
        }
        if (count > 0) push_part(sub, run, start, at - start, count, allowed);
        lose_here(sub, len > rx_max ? MPS_GAP_TOO_LARGE : MPS_GAP_DROP_OLD);
        if (len <= rx_max) refused++;
        start = end;
        count = 0;
    }
    if (count > 0) push_part(sub, run, start, run->len - start, count, allowed);
    return refused;
}

uint64_t subscription_push(struct subscription *sub, struct run *run)
{
    uint32_t rx_max = sub->session->rx_max > 0 ? sub->session->rx_max : UINT32_MAX;
    uint64_t allowed = bytes_allowed(sub), refused = 0;
    sub->matched += run->count;
    if (run->longest <= rx_max && run->longest <= allowed) push_part(sub, run, 0, run->len, run->count, allowed);
    else refused = push_fitting(sub, run, rx_max, allowed);
    subscription_activate(sub);
    return refused;
}

void subscription_set_limits(struct subscription *sub, uint64_t max_msgs, uint64_t max_bytes)
{
    sub->max_msgs = max_msgs;
    sub->max_bytes = max_bytes;
    uint64_t before = sub->queue.bytes;
    if (lose_oldest(sub, max_msgs, max_bytes, MPS_GAP_DROP_OLD) > 0) subscription_activate(sub);
    sub->session->queued_bytes -= before - sub->queue.bytes;
}
