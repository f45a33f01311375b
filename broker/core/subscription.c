#include <stdlib.h>
#include <string.h>

#include "model.h"

static bool has_sid(const struct hash_node *node, const void *key)
{
    return container_of(node, struct subscription, in_subs)->sid == *(const uint32_t *)key;
}

/* sids are the client's own: what it does to its own table hurts only itself, so they need no keyed hash. */
static uint64_t sid_hash(uint32_t sid)
{
    return sid * UINT64_C(0x9e3779b97f4a7c15) >> 20;
}

struct subscription *subscription_find(const struct session *session, uint32_t sid)
{
    struct hash_node *node = hash_find(&session->subs, sid_hash(sid), has_sid, &sid);
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
    hash_add(&session->subs, &sub->in_subs, sid_hash(sid));
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
    if (session->active_last != NULL) session->active_last->next_active = sub;
    else session->active = sub;
    session->active_last = sub;
    session_dirty(session);
}

void subscription_deactivate(struct subscription *sub)
{
    if (!sub->is_active) return;
    struct session *session = sub->session;
    struct subscription *before = NULL;
    for (struct subscription *s = session->active; s != sub; s = s->next_active) before = s;
    if (before != NULL) before->next_active = sub->next_active;
    else session->active = sub->next_active;
    if (session->active_last == sub) session->active_last = before;
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

static uint64_t lose_oldest(struct subscription *sub, uint64_t max_msgs, uint64_t max_bytes)
{
    uint64_t lost = queue_drop_oldest(&sub->queue, &sub->session->broker->runs, max_msgs, max_bytes, MPS_GAP_DROP_OLD);
    sub->lost += lost;
    sub->session->broker->figures.copies_lost += lost;
    return lost;
}

/* Frames in this part of a run that are longer than limit. */
static uint64_t count_longer(const struct run *run, uint32_t off, uint32_t len, uint64_t limit)
{
    if (run->longest <= limit) return 0;
    uint64_t longer = 0;
    for (uint32_t at = off, end, one; at < off + len; at = end) {
        end = run_frame_end(run, at, at, &one);
        if (end - at > limit) longer++;
    }
    return longer;
}

/* Queues a part of a run whose frames the subscriber takes. Returns how many of them could not stay at all: frames
 * that are larger than the whole queue. Making room by dropping older ones is not refusing. */
static uint64_t push_part(struct subscription *sub, struct run *run, uint32_t off, uint32_t len, uint32_t count)
{
    struct queue *queue = &sub->queue;
    uint64_t before = queue->bytes, allowed = bytes_allowed(sub);
    queue_push(queue, run, off, len, count);
    lose_oldest(sub, sub->max_msgs, allowed);
    sub->session->queued_bytes += queue->bytes - before;
    return count_longer(run, off, len, allowed);
}

/* Frames over the subscriber's rx_max become gaps where they stood; the stretches between them are queued. */
static uint64_t push_fitting(struct subscription *sub, struct run *run)
{
    uint32_t rx_max = sub->session->rx_max, start = 0, at = 0, count = 0;
    uint64_t refused = 0;
    for (uint32_t end, one; at < run->len; at = end) {
        end = run_frame_end(run, at, at, &one);
        if (end - at <= rx_max) {
            count++;
            continue;
        }
        if (count > 0) refused += push_part(sub, run, start, at - start, count);
        queue_push_gap(&sub->queue, MPS_GAP_TOO_LARGE, 1);
        sub->lost++;
        sub->session->broker->figures.copies_lost++;
        start = end;
        count = 0;
    }
    if (count > 0) refused += push_part(sub, run, start, at - start, count);
    return refused;
}

uint64_t subscription_push(struct subscription *sub, struct run *run)
{
    sub->matched += run->count;
    uint32_t rx_max = sub->session->rx_max;
    uint64_t refused = rx_max > 0 && run->longest > rx_max ? push_fitting(sub, run) : push_part(sub, run, 0, run->len, run->count);
    subscription_activate(sub);
    return refused;
}

void subscription_set_limits(struct subscription *sub, uint64_t max_msgs, uint64_t max_bytes)
{
    sub->max_msgs = max_msgs;
    sub->max_bytes = max_bytes;
    uint64_t before = sub->queue.bytes;
    if (lose_oldest(sub, max_msgs, max_bytes) > 0) subscription_activate(sub);
    sub->session->queued_bytes -= before - sub->queue.bytes;
}
