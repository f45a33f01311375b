#include "overview.h"

#include <string.h>

#include "spill.h"
#include "sys_maps.h"

/* Queues that are looked at in one step. */
#define QUEUES_A_STEP 16384u

void broker_overview_begin(struct broker *broker, struct overview *overview)
{
    *overview = (struct overview){0};
    broker->overview = overview;
    broker->overview_at = broker->debtors.first;
    broker->overview_left =
        broker->subscriptions_count + broker->groups_count; /* who comes meanwhile may be left out */
}

void broker_overview_stop(struct broker *broker)
{
    broker->overview = NULL;
    broker->overview_at = NULL;
}

void overview_pass_debtor(struct mailbox *box)
{
    struct broker *broker = box->broker;
    if (broker->overview_at == &box->in_debtors) broker->overview_at = box->in_debtors.next;
}

/* ---- queues ------------------------------------------------------------------------------------------------- */

static void copy(char room[OVERVIEW_NAME_MAX + 1], mps_view name)
{
    size_t len = name.len < OVERVIEW_NAME_MAX ? name.len : OVERVIEW_NAME_MAX;
    memcpy(room, name.ptr, len);
    room[len] = '\0';
}

static void describe(struct overview_queue *queue, const struct mailbox *box)
{
    queue->matched = box->matched;
    queue->sent = box->sent;
    queue->lost = box->lost;
    queue->queued = mailbox_waiting(box);
    queue->queued_bytes = box->queue.bytes;
    queue->lag_ms = mailbox_lag_ms(box);
}

static void describe_group(struct overview_queue *queue, const struct group *group)
{
    *queue = (struct overview_queue){.members = group->members_count};
    describe(queue, &group->box);
    copy(queue->group, group_name(group));
    copy(queue->pattern, group_pattern(group));
}

static void describe_subscription(struct overview_queue *queue, const struct subscription *sub)
{
    *queue = (struct overview_queue){.sid = sub->sid};
    describe(queue, &sub->box);
    copy(queue->client, sub->session->id);
    copy(queue->pattern, subscription_pattern(sub));
    if (sub->group != NULL) copy(queue->group, group_name(sub->group));
}

/* Into the list of the slowest, if it is one of them. */
static void rank(struct overview *overview, const struct subscription *sub, uint64_t lag_ms)
{
    struct overview_queue *slow = overview->slow;
    size_t at = overview->slow_count;
    while (at > 0 && slow[at - 1].lag_ms < lag_ms) at--;
    if (at == OVERVIEW_SLOW_MOST) return;
    if (overview->slow_count < OVERVIEW_SLOW_MOST) overview->slow_count++;
    memmove(slow + at + 1, slow + at, (overview->slow_count - 1 - at) * sizeof *slow);
    describe_subscription(&slow[at], sub);
}

static void see(struct overview *overview, const struct mailbox *box)
{
    uint64_t lag_ms = mailbox_lag_ms(box);
    overview->queued += mailbox_waiting(box);
    if (lag_ms > overview->lag_ms) overview->lag_ms = lag_ms;
    if (lag_ms < SLOW_MS) return;
    if (box->session == NULL) {
        overview->slow_groups++;
        return;
    }
    const struct subscription *sub = container_of(box, struct subscription, box);
    if (sub->sid == 0 || sub->session->id.ptr == NULL) return; /* an inbox; one whose connection is ending */
    overview->slow_subscriptions++;
    rank(overview, sub, lag_ms);
}

/* ---- what is bounded anyway --------------------------------------------------------------------------------- */

static void list_groups(const struct broker *broker, struct overview *overview)
{
    overview->groups = broker->groups_count;
    for (struct list_node *node = broker->groups_by_age.first;
         node != NULL && overview->groups_count < OVERVIEW_GROUPS_MOST; node = node->next)
        describe_group(&overview->group[overview->groups_count++], container_of(node, struct group, in_age));
}

static uint64_t done_below(const struct reading *reading)
{
    if (reading_has_pending(reading)) return pending_floor(reading);
    const struct subscription *sub = container_of(reading->cursor->box, struct subscription, box);
    bool has_all = sub->outlet == NULL || sub->outlet->count == 0; /* that was found for it */
    return has_all ? reading->next : reading->sent;
}

static void look_at_readers(struct overview_stream *of, const struct stream *stream)
{
    for (struct list_node *node = stream->readings.first; node != NULL && of->readers < OVERVIEW_READERS_MOST;
         node = node->next) {
        const struct reading *reading = container_of(node, struct reading, in_readings);
        uint64_t done = done_below(reading);
        if (done < stream->first) done = stream->first; /* what is between them is gone */
        if (done < stream->stored && stream->stored - done > of->behind) of->behind = stream->stored - done;
        of->readers++;
    }
}

static void list_streams(const struct broker *broker, struct overview *overview)
{
    for (uint32_t i = 0; i < broker->streams_count && overview->streams_count < OVERVIEW_STREAMS_MOST; i++) {
        const struct stream *stream = broker->streams[i];
        struct overview_stream *of = &overview->stream[overview->streams_count++];
        *of = (struct overview_stream){
            .name = stream->name,
            .messages = stream->stored_msgs,
            .bytes = stream->stored_bytes,
            .waiting_bytes = stream->waiting_bytes,
            .stored = stream->stored - 1,
            .max_messages = stream->max_msgs,
            .max_bytes = stream->max_bytes,
            .max_age_ms = stream->max_age_ms,
            .oldest_ms = stream_oldest_ms(stream),
            .damaged = stream->damaged,
            .unstored = stream->unstored,
        };
        look_at_readers(of, stream);
    }
}

static void complete(struct broker *broker)
{
    struct overview *overview = broker->overview;
    broker_figures(broker, &overview->figures);
    overview->uptime_ms = broker->now_ms - broker->started_ms;
    overview->queued_bytes = budget_used(broker);
    overview->store_failing = broker_store_is_failing(broker);
    list_groups(broker, overview);
    list_streams(broker, overview);
    cluster_overview(broker, overview);
    broker_overview_stop(broker);
}

bool broker_overview_step(struct broker *broker)
{
    broker->now_ms = broker->env->now_ms(broker->env);
    for (uint32_t i = 0; i < QUEUES_A_STEP && broker->overview_at != NULL && broker->overview_left > 0; i++) {
        struct mailbox *box = container_of(broker->overview_at, struct mailbox, in_debtors);
        broker->overview_at = box->in_debtors.next;
        broker->overview_left--;
        if (box->queue.entries == 0) mailbox_no_debtor(box);
        else see(broker->overview, box);
    }
    if (broker->overview_at != NULL && broker->overview_left > 0) return false;
    complete(broker);
    return true;
}
