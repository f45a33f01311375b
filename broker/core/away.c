#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "cluster/records.h"
#include "cluster/scope.h"
#include "identity.h"
#include "pids.h"
#include "spill.h"
#include "sure.h"

/* Sessions that are looked at for one that nobody misses. */
#define LOOKS_MAX 64

/* ---- by id -------------------------------------------------------------------------------------------------- */

static bool has_id(const struct hash_node *node, const void *key)
{
    return mps_view_equal(container_of(node, struct session, in_ids)->id, *(const mps_view *)key);
}

struct session *session_find(const struct broker *broker, mps_view id)
{
    struct hash_node *node = hash_find(&broker->ids, hash_bytes(broker->seed, id.ptr, id.len), has_id, &id);
    return node ? container_of(node, struct session, in_ids) : NULL;
}

void session_set_id(struct session *session, mps_view id)
{
    struct broker *broker = session->broker;
    uint8_t *own = sure_alloc(id.len); /* at most MPS_ID_MAX bytes */
    memcpy(own, id.ptr, id.len);
    session->id = (mps_view){own, id.len};
    hash_add(&broker->ids, &session->in_ids, hash_bytes(broker->seed, id.ptr, id.len));
}

/* ---- from one to the other ---------------------------------------------------------------------------------- */

static void adopt_id(struct session *session, struct session *from)
{
    struct hash *ids = &session->broker->ids;
    uint64_t hash = from->in_ids.hash;
    hash_remove(ids, &from->in_ids);
    session->id = from->id;
    from->id = (mps_view){NULL, 0};
    hash_add(ids, &session->in_ids, hash);
    session->has_own_id = from->has_own_id;
    session->claim = from->claim;
    session->kept_hash = from->kept_hash;
    from->kept_hash = 0;
}

/* Its old connection is over, or was before. */
static void adopt_subscription(struct session *session, struct subscription *sub)
{
    sub->session = sub->box.session = session;
    if (sub->credit_then == 0) return;
    sub->credit = sub->credit_then;
    sub->credit_then = 0;
    sub->is_starved = false;
    subscription_activate(sub);
}

/* All that is the session's and not the connection's. The session has no subscriptions yet. */
static void adopt(struct session *session, struct session *from)
{
    if (from->inbox != NULL) subscription_free(from->inbox);
    from->inbox = NULL;
    if (from->awaiting_count > 0) scope_forget_all(from);
    group_session_blocked(from); /* what members were given and is not written goes back */
    group_session_gone(from);
    group_collect_all(from->broker);
    cursors_unpark(from);
    adopt_id(session, from);
    session->subs = from->subs;
    session->active = from->active;
    session->active_last = from->active_last;
    session->resting = from->resting;
    session->queued_bytes = from->queued_bytes;
    session->filters_count = from->filters_count;
    session->pattern_bytes = from->pattern_bytes;
    session->hand_out_bytes = from->hand_out_bytes;
    from->subs = (struct hash){0};
    from->active = from->active_last = NULL;
    from->resting = (struct list){0};
    from->queued_bytes = 0;
    from->filters_count = 0;
    from->pattern_bytes = 0;
    from->sess_s = 0;
    for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node))
        adopt_subscription(session, container_of(node, struct subscription, in_subs));
    pids_adopt(session, from);
}

/* ---- going -------------------------------------------------------------------------------------------------- */

/* The one that is away longest; first of all one that has no subscription, as a publisher leaves it. */
static struct session *least_missed(const struct broker *broker)
{
    struct list_node *node = broker->away.first;
    for (int i = 0; i < LOOKS_MAX && node != NULL; i++, node = node->next) {
        struct session *session = container_of(node, struct session, in_away);
        if (session->subs.count == 0) return session;
    }
    return container_of(broker->away.first, struct session, in_away);
}

static void begin_waiting(struct session *session)
{
    struct broker *broker = session->broker;
    session->blocked = true; /* nothing can be written, as on a link that is full */
    timer_set(&broker->timers, &session->timer, broker->env->now_ms(broker->env) + session->sess_s * UINT64_C(1000));
    list_append(&broker->away, &session->in_away);
    if (++broker->away_count <= broker->limits.max_away_count) return;
    struct session *oldest = least_missed(broker);
    broker_note_refusal(broker, REFUSED_SESSIONS);
    log_say(broker, EVENT_SESSION_EVICTED, LOG_FIELDS(log_value("client", oldest->id)),
            "more than %u sessions wait for their clients (max_sessions): that of '%s' ends",
            broker->limits.max_away_count, printable(oldest->id));
    session_end(oldest);
}

static struct session *new_away(struct broker *broker, uint32_t sess_s, uint32_t rx_max)
{
    struct session *session = session_alloc(broker, SESSION_AWAY);
    session->sess_s = sess_s;
    session->rx_max = rx_max;
    return session;
}

struct session *session_new_away(struct broker *broker, mps_view id, mps_view user, uint32_t sess_s, uint32_t rx_max)
{
    struct session *session = new_away(broker, sess_s, rx_max);
    session_set_id(session, id);
    identity_set(session, user, id);
    session->has_own_id = true;
    begin_waiting(session);
    return session;
}

static void leave(struct subscription *sub)
{
    hold_wake_all(&sub->box);
    if (sub->group != NULL) group_member_away(sub);
    cursor_release(sub);
    if (sub->box.cursor != NULL && sub->box.cursor->shared != NULL) shared_cursor_left(sub->box.cursor);
}

void session_leave(struct session *session)
{
    if (session->sess_s == 0) return;
    struct session *away = new_away(session->broker, session->sess_s, session->rx_max);
    identity_share(away, session);
    adopt(away, session);
    for (struct hash_node *node = hash_first(&away->subs); node != NULL; node = hash_next(&away->subs, node))
        leave(container_of(node, struct subscription, in_subs));
    begin_waiting(away);
}

void session_leave_soon(struct session *session)
{
    for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node)) {
        struct subscription *sub = container_of(node, struct subscription, in_subs);
        uint64_t end = sub->box.sent + mailbox_waiting(&sub->box);
        hold_wake_all(&sub->box);
        if (sub->credit <= end) continue;
        sub->credit_then = sub->credit;
        sub->credit = end;
    }
}

/* ---- coming back -------------------------------------------------------------------------------------------- */

/* A member can't go on if its connection takes shorter frames than the group gives, or longer ones: when the client
 * sends its SUB again, that is answered. */
static void fit_group(struct subscription *sub)
{
    struct group *group = sub->group;
    if (group->box.rx_max == sub->session->rx_max) return;
    if (group->members_count == 1) mailbox_set_rx_max(&group->box, sub->session->rx_max);
    else subscription_end(sub);
}

static void set_rx_max(struct session *session)
{
    struct subscription **members =
        sure_alloc((session->subs.count + 1) * sizeof *members); /* one pointer a subscription */
    uint32_t count = 0;
    for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node)) {
        struct subscription *sub = container_of(node, struct subscription, in_subs);
        mailbox_set_rx_max(&sub->box, session->rx_max);
        if (sub->group != NULL) members[count++] = sub;
    }
    for (uint32_t i = 0; i < count; i++) fit_group(members[i]);
    free(members);
}

static void come_back(struct subscription *sub, bool was_away)
{
    if (!was_away) cursor_release(sub);
    else if (sub->group != NULL) group_member_back(sub);
    struct cursor *cursor = subscription_cursor(sub);
    if (cursor == NULL) return;
    if (cursor->shared != NULL) shared_cursor_back(cursor);
    cursor_dirty(cursor);
}

static void free_away(struct session *session)
{
    struct broker *broker = session->broker;
    list_remove(&broker->away, &session->in_away);
    broker->away_count--;
    timer_cancel(&broker->timers, &session->timer);
    acks_free(session);
    pids_free(session);
    group_session_gone(session);
    identity_free(session);
    if (session->id.ptr != NULL) {
        hash_remove(&broker->ids, &session->in_ids);
        free((uint8_t *)session->id.ptr);
    }
    hash_free(&session->subs);
    session_unlink(session);
    free(session);
}

void session_resume(struct session *session, struct session *from)
{
    bool was_away = from->state == SESSION_AWAY, other_rx_max = from->rx_max != session->rx_max;
    adopt(session, from);
    for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node))
        come_back(container_of(node, struct subscription, in_subs), was_away);
    if (other_rx_max) set_rx_max(session);
    identity_judge_all(session);
    if (was_away) free_away(from);
    group_session_ready(session);
    session_dirty(session);
}

/* ---- ending ------------------------------------------------------------------------------------------------- */

void session_end(struct session *session)
{
    for (struct hash_node *node; (node = hash_any(&session->subs)) != NULL;)
        subscription_end(container_of(node, struct subscription, in_subs));
    session->inbox = NULL;
    session_unkeep(session);
    session->sess_s = 0;
    pids_free(session);
    if (session->state == SESSION_AWAY) free_away(session);
}

void session_give_up(struct session *session)
{
    for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node)) {
        struct subscription *sub = container_of(node, struct subscription, in_subs);
        subscription_unkeep(sub);
        if (sub->box.cursor != NULL) cursor_forget(sub->box.cursor);
    }
    session_unkeep(session);
    session->sess_s = 0;
}

void session_away_due(struct session *session)
{
    session_end(session);
}

void sessions_free(struct broker *broker)
{
    while (broker->away.first != NULL) {
        struct session *session = container_of(broker->away.first, struct session, in_away);
        session_forget_subs(session);
        free_away(session);
    }
}
