#include <stdlib.h>
#include <string.h>

#include "cluster/group_far.h"
#include "cluster/records.h"
#include "spill.h"
#include "sure.h"
#include "trace.h"

/* What the members of one connection are given for one turn: what its link does not take comes back. It begins with
 * little, and is twice as much each time that all was taken. */
#define HAND_OUT_LEAST 4096u
#define HAND_OUT_MOST (64u * 1024)
/* Members that are looked at for one place in the line, and that go on at a time when a link takes bytes again. */
#define LOOKS_MAX 64

struct group_key {
    mps_view name, pattern;
};

static bool is_group(const struct hash_node *node, const void *key)
{
    const struct group *group = container_of(node, struct group, in_groups);
    const struct group_key *wanted = key;
    return mps_view_equal(group_name(group), wanted->name) && mps_view_equal(group_pattern(group), wanted->pattern);
}

static uint64_t group_hash(const struct broker *broker, mps_view name, mps_view pattern)
{
    return hash_bytes(hash_bytes(broker->seed, name.ptr, name.len), pattern.ptr, pattern.len);
}

struct group *group_find(const struct broker *broker, mps_view name, mps_view pattern)
{
    struct group_key key = {name, pattern};
    struct hash_node *node = hash_find(&broker->groups, group_hash(broker, name, pattern), is_group, &key);
    return node ? container_of(node, struct group, in_groups) : NULL;
}

static struct group *group_new(struct session *session, mps_view name, mps_view pattern, const struct terms *terms)
{
    struct broker *broker = session->broker;
    struct group *group = sure_zeroed(sizeof *group + name.len + pattern.len);
    mailbox_init(&group->box, broker, NULL, session->rx_max);
    group->name_len = (uint8_t)name.len;
    group->pattern_len = (uint8_t)pattern.len;
    memcpy(group->text, name.ptr, name.len);
    memcpy(group->text + name.len, pattern.ptr, pattern.len);
    mailbox_set_terms(&group->box, terms);
    hash_add(&broker->groups, &group->in_groups, group_hash(broker, name, pattern));
    topics_add(&broker->topics, group_pattern(group), &group->box.entry);
    router_pattern_changed(broker, pattern);
    list_append(&broker->groups_by_age, &group->in_age);
    broker->groups_count++;
    return group;
}

static void group_free(struct group *group)
{
    struct broker *broker = group->box.broker;
    topics_remove(&broker->topics, &group->box.entry);
    router_pattern_changed(broker, group_pattern(group));
    hash_remove(&broker->groups, &group->in_groups);
    list_remove(&broker->groups_by_age, &group->in_age);
    cursor_retire(group->box.cursor);
    cursor_free(group->box.cursor);
    if (group->is_dirty) list_remove(&broker->dirty_groups, &group->in_dirty);
    broker->figures.copies_lost += mailbox_waiting(&group->box);
    mailbox_free(&group->box);
    broker->groups_count--;
    free(group);
}

void group_dirty(struct group *group)
{
    if (group->is_dirty) return;
    group->is_dirty = true;
    list_append(&group->box.broker->dirty_groups, &group->in_dirty);
}

/* ---- members ------------------------------------------------------------------------------------------------ */

/* Members stand in the order of having been served. One who rested was as a rule served recently. */
static void enlist(struct group *group, struct subscription *sub)
{
    struct list_node *before = group->members.last;
    for (int i = 0; i < LOOKS_MAX && before != NULL; i++, before = before->prev)
        if (container_of(before, struct member, in_members)->served <= sub->member->served) break;
    list_insert(&group->members, before, &sub->member->in_members);
}

static struct list *list_of(struct group *group, const struct subscription *sub)
{
    if (sub->is_resting) return &group->resting;
    return sub->member->is_saturated ? &group->saturated : &group->members;
}

void group_each(const struct group *group, void (*fn)(struct subscription *sub, void *arg), void *arg)
{
    const struct list lists[] = {group->members, group->saturated, group->resting};
    for (int i = 0; i < 3; i++)
        for (struct list_node *node = lists[i].first, *next; node != NULL; node = next) {
            next = node->next;
            fn(container_of(node, struct member, in_members)->sub, arg);
        }
}

static bool session_is_ready(const struct session *session)
{
    return !session->blocked && session->state == SESSION_READY && session->slow_text == NULL &&
           session->handed_bytes < session->hand_out_bytes;
}

/* It can't be given anything: because of its connection, which then knows of it, or for want of credit. */
static void rest(struct group *group, struct subscription *sub)
{
    list_remove(list_of(group, sub), &sub->member->in_members);
    sub->is_resting = true;
    sub->member->is_saturated = false;
    sub->rests_for_link = !session_is_ready(sub->session);
    list_append(&group->resting, &sub->member->in_members);
    if (sub->rests_for_link) list_append(&sub->session->resting, &sub->member->in_resting);
}

static void rise(struct group *group, struct subscription *sub)
{
    if (!sub->is_resting) return;
    sub->is_resting = false;
    list_remove(&group->resting, &sub->member->in_members);
    if (sub->rests_for_link) list_remove(&sub->session->resting, &sub->member->in_resting);
    enlist(group, sub);
}

/* It has all that it may have of streams and not acknowledge. */
static void saturate(struct group *group, struct subscription *sub)
{
    list_remove(&group->members, &sub->member->in_members);
    sub->member->is_saturated = true;
    list_append(&group->saturated, &sub->member->in_members);
}

void group_member_acked(struct subscription *sub)
{
    if (sub->member == NULL || !sub->member->is_saturated) return;
    list_remove(&sub->group->saturated, &sub->member->in_members);
    sub->member->is_saturated = false;
    enlist(sub->group, sub);
}

/* Other brokers are told whether members are there; and who hands out what shared streams have may be another one now.
 */
static void members_changed(struct group *group)
{
    struct cursor *cursor = group->box.cursor;
    if (group->box.broker->cluster == NULL) return;
    group_far_update(group);
    if (cursor != NULL && cursor->shared != NULL) shared_cursor_look(cursor);
}

void group_join(struct subscription *sub, mps_view name, const struct terms *terms)
{
    struct session *session = sub->session;
    struct group *group = group_find(session->broker, name, subscription_pattern(sub));
    if (group == NULL) group = group_new(session, name, subscription_pattern(sub), terms);
    else filter_unref(session->broker, terms->filter); /* the group has one like it */
    if (session->hand_out_bytes == 0) session->hand_out_bytes = HAND_OUT_LEAST;
    sub->group = group;
    sub->member = sure_zeroed(sizeof *sub->member); /* small, as subscriptions are */
    sub->member->sub = sub;
    sub->member->served = group->served;
    enlist(group, sub);
    group->members_count++;
    group->away_count += session->state == SESSION_AWAY;
    members_changed(group);
    group_dirty(group);
}

/* The last one leaves by and by: what the group still has is its own now. */
static void inherit(struct subscription *sub, struct group *group)
{
    struct queue *queue = &group->box.queue;
    for (uint32_t i = 0; i < queue->entries; i++) {
        const struct queue_entry *entry = queue_at(queue, i);
        struct part part = {entry->off, entry->len, (uint32_t)entry->count};
        if (entry->run == NULL) mailbox_append_gap(&sub->box, (enum mps_gap_reason)entry->off, entry->count);
        else mailbox_append(&sub->box, entry->run, part);
    }
    spill_move(&group->box, &sub->box);
    if (sub->session->broker->tracing != NULL) trace_moved_all(&group->box, &sub->box);
    mailbox_clear(&group->box);
}

static void take_from_hand(struct subscription *sub)
{
    if (!sub->is_handed) return;
    sub->is_handed = false;
    list_remove(&sub->session->handed, &sub->member->in_handed);
}

/* What members could not be sent goes to the front again. */
static void collect(struct group *group)
{
    struct broker *broker = group->box.broker;
    uint32_t count = 0;
    struct mailbox **from = sure_alloc(group->members_count * sizeof *from); /* one pointer a member */
    for (struct list_node *node; (node = group->returning.first) != NULL;) {
        struct subscription *sub = container_of(node, struct member, in_returning)->sub;
        list_remove(&group->returning, node);
        from[count++] = &sub->box;
    }
    list_remove(&broker->returning_groups, &group->in_returning);
    mailbox_take_back(&group->box, from, count);
    for (uint32_t i = 0; i < count; i++) {
        struct subscription *sub = container_of(from[i], struct subscription, box);
        if (!subscription_has_work(sub)) subscription_deactivate(sub);
    }
    free(from);
    group_dirty(group);
}

static void give_back(struct subscription *sub)
{
    struct group *group = sub->group;
    bool has_stored = sub->outlet != NULL && sub->outlet->count > 0;
    take_from_hand(sub);
    if (group->box.cursor != NULL) cursor_take_back(sub);
    if (sub->box.queue.entries == 0 && !has_stored) return;
    if (sub->is_resting) { /* perhaps for want of credit, which it has again when this is taken back */
        rise(group, sub);
        rest(group, sub);
    }
    if (sub->box.queue.entries == 0) return;
    if (group->returning.first == NULL) list_append(&group->box.broker->returning_groups, &group->in_returning);
    list_append(&group->returning, &sub->member->in_returning);
}

void group_collect_all(struct broker *broker)
{
    while (broker->returning_groups.first != NULL)
        collect(container_of(broker->returning_groups.first, struct group, in_returning));
}

void group_leave(struct subscription *sub, bool gently)
{
    struct group *group = sub->group;
    if (group == NULL) return;
    if (sub->is_handed) give_back(sub);
    if (group->returning.first != NULL) collect(group);
    rise(group, sub);
    list_remove(list_of(group, sub), &sub->member->in_members);
    sub->member->is_saturated = false;
    cursor_release(sub);
    sub->group = NULL;
    free(sub->member);
    sub->member = NULL;
    group->away_count -= sub->session->state == SESSION_AWAY;
    if (--group->members_count > 0) {
        members_changed(group);
        return;
    }
    bool is_inherited = gently && !sub->box.is_guarded;
    if (group->box.broker->cluster != NULL) group_far_last_left(group, is_inherited); /* members elsewhere come first */
    if (is_inherited) inherit(sub, group);
    group_free(group);
}

void group_forget_place(struct group *group)
{
    if (group->box.cursor == NULL) return;
    cursor_forget(group->box.cursor);
    cursor_free(group->box.cursor);
}

/* ---- who can be given something ----------------------------------------------------------------------------- */

void group_member_ready(struct subscription *sub)
{
    struct group *group = sub->group;
    rise(group, sub);
    if (sub->draining) group->is_draining = true;
    group_dirty(group);
}

void group_member_judged(struct subscription *sub)
{
    struct group *group = sub->group;
    if (sub->box.is_guarded) {
        if (sub->is_handed) give_back(sub);
        if (group->returning.first != NULL) collect(group);
        cursor_release(sub);
    } else {
        rise(group, sub);
    }
    group_dirty(group);
}

void group_session_ready(struct session *session)
{
    if (session->resting.first == NULL || session->is_waking) return;
    session->is_waking = true;
    list_append(&session->broker->waking, &session->in_waking);
}

void group_session_gone(struct session *session)
{
    if (!session->is_waking) return;
    session->is_waking = false;
    list_remove(&session->broker->waking, &session->in_waking);
}

void group_member_away(struct subscription *sub)
{
    struct group *group = sub->group;
    if (++group->away_count == group->members_count) hold_wake_all(&group->box); /* nobody makes room */
    members_changed(group);
}

void group_member_back(struct subscription *sub)
{
    sub->group->away_count--;
    members_changed(sub->group);
}

void group_session_written(struct session *session)
{
    if (session->handed.first != NULL && session->hand_out_bytes < HAND_OUT_MOST) session->hand_out_bytes *= 2;
    for (struct list_node *node; (node = session->handed.first) != NULL;)
        give_back(container_of(node, struct member, in_handed)->sub); /* nothing is left to give back */
    session->handed_bytes = 0;
    group_session_ready(session);
}

void group_session_blocked(struct session *session)
{
    if (session->handed.first != NULL) session->hand_out_bytes = HAND_OUT_LEAST;
    for (struct list_node *node; (node = session->handed.first) != NULL;)
        give_back(container_of(node, struct member, in_handed)->sub);
    session->handed_bytes = 0;
}

/* Those who rest because of their connection go on, some at a time: with what they are given it may be full again. */
static void wake(struct session *session)
{
    for (int i = 0; session_is_ready(session) && session->resting.first != NULL && i < LOOKS_MAX;) {
        struct subscription *sub = container_of(session->resting.first, struct member, in_resting)->sub;
        rise(sub->group, sub);
        if (group_is_empty(sub->group)) continue;
        group_dirty(sub->group);
        i++;
    }
}

/* ---- handing out -------------------------------------------------------------------------------------------- */

static bool is_ready(const struct subscription *sub)
{
    uint64_t msgs = sub->box.queue.msgs + (sub->outlet != NULL ? sub->outlet->msgs : 0);
    return session_is_ready(sub->session) && !sub->box.is_guarded && subscription_credit_left(sub) > msgs;
}

/* Of those who are not resting, who was served longest ago. */
static struct subscription *longest_waiting(const struct group *group)
{
    const struct list_node *node = group->members.first, *other = group->saturated.first;
    if (node == NULL || (other != NULL && container_of(other, struct member, in_members)->served <
                                              container_of(node, struct member, in_members)->served))
        node = other;
    return node != NULL ? container_of(node, struct member, in_members)->sub : NULL;
}

/* The ready member that was served longest ago: they take turns. Who is found not to be ready is not asked again until
 * something changes, so a thousand stalled members cost the others nothing. */
static struct subscription *choose(struct group *group)
{
    for (struct subscription *sub; (sub = longest_waiting(group)) != NULL;) {
        if (is_ready(sub)) return sub;
        rest(group, sub);
    }
    return NULL;
}

static void give_gap(struct group *group, struct subscription *sub)
{
    const struct queue_entry *entry = queue_at(&group->box.queue, 0);
    mailbox_append_gap(&sub->box, (enum mps_gap_reason)entry->off, entry->count);
    mailbox_pop_gap(&group->box);
}

/* It is the last one to be served now. */
static void note_served(struct group *group, struct subscription *sub, uint64_t bytes)
{
    struct list *list = list_of(group, sub);
    sub->session->handed_bytes += bytes;
    list_remove(list, &sub->member->in_members);
    sub->member->served = ++group->served;
    list_append(list, &sub->member->in_members);
}

static void note_handed(struct subscription *sub)
{
    if (!sub->is_handed) list_append(&sub->session->handed, &sub->member->in_handed);
    sub->is_handed = true;
}

static void give_message(struct group *group, struct subscription *sub)
{
    const struct queue_entry *entry = queue_at(&group->box.queue, 0);
    uint32_t one, len = run_frame_end(entry->run, entry->off, entry->off, &one) - entry->off;
    mailbox_append(&sub->box, entry->run, (struct part){entry->off, len, 1});
    if (entry->run->is_traced && sub->session->broker->tracing != NULL)
        trace_moved(&group->box, &sub->box, entry->run, entry->off, len);
    group->box.sent++;
    mailbox_pop(&group->box, len, 1);
    note_served(group, sub, len);
}

/* Hands out what stands at the front; a gap goes to whoever gets the message behind it. Returns false when there is
 * nothing, or nobody for it. */
static bool hand_out(struct group *group)
{
    struct queue *queue = &group->box.queue;
    if (queue->entries == 0) return false;
    struct subscription *sub = choose(group);
    if (sub == NULL) return false;
    while (queue->entries > 0 && queue_at(queue, 0)->run == NULL) give_gap(group, sub);
    if (queue->entries > 0) give_message(group, sub);
    note_handed(sub);
    return true;
}

/* As choose(), of those who have not too much that they did not acknowledge. Those have a line of their own until they
 * do: they may still be given what needs no acknowledgement. */
static struct subscription *choose_reader(struct group *group)
{
    const struct cursor *cursor = group->box.cursor;
    for (struct list_node *node; (node = group->members.first) != NULL;) {
        struct subscription *sub = container_of(node, struct member, in_members)->sub;
        group->box.broker->work++;
        if (!is_ready(sub)) rest(group, sub);
        else if (sub->outlet->unacked < cursor_inflight(cursor)) return sub;
        else saturate(group, sub);
    }
    return NULL;
}

/* Hands out the next message of the streams that the group reads. False: there is none, or nobody for it. */
static bool hand_out_stored(struct group *group)
{
    struct cursor *cursor = group->box.cursor;
    if (cursor == NULL || cursor_is_waiting(cursor)) return false;
    struct subscription *sub = choose_reader(group);
    if (sub == NULL) return false;
    uint64_t bytes = sub->outlet->bytes;
    if (!cursor_serve(cursor, sub)) return false;
    note_served(group, sub, sub->outlet->bytes - bytes);
    note_handed(sub);
    subscription_activate(sub);
    return true;
}

static void tell_drained_member(struct subscription *sub, void *any)
{
    if (!sub->draining) return;
    subscription_activate(sub);
    *(bool *)any = true;
}

/* Nothing is left for those who asked to be told so. */
static void tell_drained(struct group *group)
{
    bool any = false;
    group_each(group, tell_drained_member, &any);
    group->is_draining = any; /* until the MARK is written: something may come back before */
}

bool group_is_empty(const struct group *group)
{
    return group->box.queue.entries == 0 && (group->box.cursor == NULL || cursor_is_waiting(group->box.cursor));
}

static void mark_member(struct subscription *sub, void *any)
{
    if (!sub->wants_mark) return;
    cursor_mark(sub->group->box.cursor, sub);
    subscription_activate(sub);
    if (sub->wants_mark) *(bool *)any = true;
}

/* Who wants to know that all of the history was given to the group is told. */
static void mark_members(struct group *group)
{
    bool any = false;
    if (!group->is_marking) return;
    group_each(group, mark_member, &any);
    group->is_marking = any;
}

static void dispatch(struct group *group, uint64_t work_end)
{
    const struct broker *broker = group->box.broker;
    mailbox_expire(&group->box);
    mailbox_prepare(&group->box, UINT32_MAX);
    while (hand_out(group)) continue;
    while (broker->work < work_end && hand_out_stored(group)) continue;
    if (broker->work >= work_end && group->box.cursor != NULL) cursor_dirty(group->box.cursor); /* in the next turn */
    if (group->box.cursor != NULL) mark_members(group);
    if (group->is_draining && group_is_empty(group)) tell_drained(group);
}

void group_dispatch_all(struct broker *broker)
{
    uint64_t work_end = broker->work + WORK_A_TURN;
    for (;;) {
        while (broker->dirty_groups.first != NULL) {
            struct group *group = container_of(broker->dirty_groups.first, struct group, in_dirty);
            list_remove(&broker->dirty_groups, &group->in_dirty);
            group->is_dirty = false;
            dispatch(group, work_end);
        }
        if (broker->waking.first == NULL) return;
        struct session *session = container_of(broker->waking.first, struct session, in_waking);
        group_session_gone(session);
        wake(session);
        if (session_is_ready(session)) group_session_ready(session); /* some may rest still */
    }
}
