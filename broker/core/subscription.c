#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "cluster/scope.h"
#include "sure.h"

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

/* The inbox is the broker's own doing, and counts nowhere. */
static bool is_counted(uint32_t sid)
{
    return sid > 0;
}

struct subscription *subscription_new(struct session *session, uint32_t sid, mps_view pattern)
{
    struct subscription *sub = sure_zeroed(sizeof *sub + pattern.len); /* small, and max_subs bounds them */
    mailbox_init(&sub->box, session->broker, session, session->rx_max);
    sub->session = session;
    sub->credit = CREDIT_UNLIMITED;
    sub->sid = sid;
    sub->pattern_len = (uint8_t)pattern.len;
    memcpy(sub->pattern, pattern.ptr, pattern.len);
    hash_add(&session->subs, &sub->in_subs, sid_hash(session, sid));
    session->broker->subscriptions_count += is_counted(sid);
    return sub;
}

void subscription_attach(struct subscription *sub)
{
    struct broker *broker = sub->session->broker;
    topics_add(&broker->topics, subscription_pattern(sub), &sub->box.entry);
    router_pattern_changed(broker, subscription_pattern(sub));
    if (broker->cluster != NULL) interest_attach(&sub->box, subscription_pattern(sub));
}

void subscription_detach(struct subscription *sub)
{
    hold_wake_all(&sub->box);
    group_leave(sub, true);
    if (sub->box.entry.node == NULL) return;
    struct broker *broker = sub->session->broker;
    topics_remove(&broker->topics, &sub->box.entry);
    router_pattern_changed(broker, subscription_pattern(sub));
    if (sub->box.is_told) interest_detach(&sub->box, subscription_pattern(sub));
}

void subscription_free(struct subscription *sub)
{
    struct session *session = sub->session;
    struct broker *broker = session->broker;
    subscription_deactivate(sub);
    if (sub->awaits != NULL) scope_forget(sub);
    subscription_end_snapshot(sub);
    group_leave(sub, false);
    subscription_detach(sub);
    cursor_free(sub->box.cursor);
    outlet_free(sub->outlet, &broker->runs);
    hash_remove(&session->subs, &sub->in_subs);
    session->filters_count -= sub->is_filtered;
    session->pattern_bytes -= sub->pattern_bytes;
    mailbox_free(&sub->box);
    broker->subscriptions_count -= is_counted(sub->sid);
    free(sub);
}

void subscription_end(struct subscription *sub)
{
    subscription_unkeep(sub);
    if (sub->box.cursor != NULL) cursor_forget(sub->box.cursor);
    subscription_free(sub);
}

void subscription_begin_snapshot(struct subscription *sub)
{
    if (sub->snapshot == NULL) sub->snapshot = sure_zeroed(sizeof *sub->snapshot);
    snapshot_begin(sub->snapshot, &sub->session->broker->retained, subscription_pattern(sub));
    queue_mark(&sub->box.queue);
    sub->is_starved = sub->awaits != NULL; /* at least the MARK may be written, but behind the SUBACK */
    subscription_activate(sub);
}

void subscription_extend_snapshot(struct subscription *sub, uint64_t revision)
{
    snapshot_extend(sub->snapshot, &sub->session->broker->retained, subscription_pattern(sub), revision);
}

void subscription_end_snapshot(struct subscription *sub)
{
    if (sub->snapshot == NULL) return;
    snapshot_end(sub->snapshot);
    free(sub->snapshot);
    sub->snapshot = NULL;
}

void subscription_add_credit(struct subscription *sub, uint64_t total, bool drain)
{
    if (sub->awaits != NULL) {
        scope_add_credit(sub, total, drain);
        return;
    }
    if (total > sub->credit) sub->credit = total;
    if (drain) sub->draining = true;
    sub->is_starved = false;
    if (sub->group != NULL) group_member_ready(sub);
    if (sub->box.cursor != NULL) cursor_dirty(sub->box.cursor);
    subscription_activate(sub);
}

static bool can_tell_drained(const struct subscription *sub)
{
    if (subscription_credit_left(sub) == 0) return true;
    if (sub->group != NULL) return group_is_empty(sub->group);
    return sub->box.cursor == NULL || cursor_is_waiting(sub->box.cursor);
}

static bool has_queued(const struct subscription *sub)
{
    return sub->box.queue.entries > 0 || sub->snapshot != NULL || (sub->outlet != NULL && sub->outlet->count > 0);
}

bool subscription_has_work(const struct subscription *sub)
{
    if (sub->draining && can_tell_drained(sub)) return true;
    if (sub->is_starved && subscription_credit_left(sub) == 0) return false;
    return has_queued(sub);
}

/* Twice for each message and subscriber: what nearly all of them are is asked first, and without a call. */
void subscription_activate(struct subscription *sub)
{
    if (sub->is_active) return;
    if (sub->draining || sub->is_starved ? !subscription_has_work(sub) : !has_queued(sub)) return;
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
