/* Who gets a message. */

#include "model.h"

/* Whether it comes through the queue. */
static bool takes(const struct model_sub *sub, const struct conn *from, const struct message *message)
{
    const struct model_reader *reader = sub->matches ? sub_reader(sub) : NULL;
    if (reader != NULL && log_of_topic(reader->model, &message->topic) != NULL) return false;
    return sub->matches && !(sub->no_local && sub->conn == from) && name_matches(&sub->pattern, &message->topic) &&
           filter_accepts(sub->filter, &message->document, &message->topic);
}

/* The next subscription that gets the message, or a member of the next group; after NULL: the first. */
static struct model_sub *next_target(struct model *model, struct model_sub *after, const struct conn *from,
                                     uint32_t message)
{
    if (after == NULL) model->stamp++;
    struct model_sub *sub = after == NULL ? model->subs : after->next;
    for (; sub != NULL; sub = sub->next) {
        if (!takes(sub, from, &model->messages[message])) continue;
        if (sub->group == NULL) return sub;
        if (sub->group->stamp == model->stamp) continue;
        sub->group->stamp = model->stamp;
        return sub;
    }
    return NULL;
}

/* Readers of the stream that keeps the message, whatever their filters; groups count once. */
static uint64_t count_readers(struct model *model, uint32_t message)
{
    const struct name *topic = &model->messages[message].topic;
    const struct model_log *log = log_of_topic(model, topic);
    uint64_t count = 0;
    model->stamp++;
    for (struct model_sub *sub = log != NULL ? model->subs : NULL; sub != NULL; sub = sub->next) {
        const struct model_reader *reader = sub_reader(sub);
        if (!sub->matches || reader == NULL || !reader_reads(reader, log) || !name_matches(&sub->pattern, topic))
            continue;
        if (sub->group != NULL && sub->group->stamp == model->stamp) continue;
        if (sub->group != NULL) sub->group->stamp = model->stamp;
        count++;
    }
    return count;
}

uint64_t routing_matched(struct model *model, const struct conn *from, uint32_t message)
{
    uint64_t matched = 0;
    struct model_sub *sub = NULL;
    while ((sub = next_target(model, sub, from, message)) != NULL) matched++;
    return matched + count_readers(model, message);
}

static bool is_full_for(struct model_sub *sub, const struct message *message)
{
    struct queue_model *queue = sub_queue(sub);
    return queue->policy == MPS_POLICY_BLOCK && !queue->gave_up &&
           queue_model_is_full_for(queue, message->len, sub_rx_max(sub), sub_allowed(sub),
                                   sub->conn->model->world->now_ms);
}

bool routing_is_full(struct conn *from, uint32_t message)
{
    struct model_sub *sub = NULL;
    while ((sub = next_target(from->model, sub, from, message)) != NULL)
        if (is_full_for(sub, &from->model->messages[message])) return true;
    return false;
}

static uint64_t patience_ms(const struct conn *from, const struct queue_model *queue)
{
    bool keepalive = from->ka_ms > 0 && from->ka_ms / 2 < queue->block_ms;
    return keepalive ? from->ka_ms / 2 : queue->block_ms;
}

uint64_t routing_deadline_ms(struct conn *from, uint32_t message)
{
    struct model_sub *sub = NULL;
    uint64_t least_ms = NOT_DUE;
    while ((sub = next_target(from->model, sub, from, message)) != NULL) {
        if (!is_full_for(sub, &from->model->messages[message])) continue;
        uint64_t due_ms = from->held_ms + patience_ms(from, sub_queue(sub));
        if (due_ms < least_ms) least_ms = due_ms;
    }
    return least_ms;
}

bool routing_time_is_up(struct conn *from, uint32_t message)
{
    return routing_deadline_ms(from, message) <= from->model->world->now_ms;
}

bool routing_must_wait(struct conn *from, uint32_t message)
{
    bool waits = false;
    struct model_sub *sub = NULL;
    uint64_t waited_ms = from->held ? from->model->world->now_ms - from->held_ms : 0;
    while ((sub = next_target(from->model, sub, from, message)) != NULL) {
        if (!is_full_for(sub, &from->model->messages[message])) continue;
        struct queue_model *queue = sub_queue(sub);
        if (waited_ms < patience_ms(from, queue)) waits = true;
        else queue->gave_up = true;
    }
    return waits;
}

/* A connection that is to be closed may refuse all copies of its publisher's turn, as the broker came to them. */
static void any_dropped(const struct conn *from)
{
    for (uint32_t i = from->pubacks_next; i < from->pubacks_count; i++) from->pubacks[i].dropped_most = UINT32_MAX;
}

struct routed routing_push(struct model *model, const struct conn *from, uint32_t index, uint64_t batch)
{
    struct routed routed = {.matched = count_readers(model, index)};
    struct model_sub *sub = NULL;
    bool overflow = false;
    while ((sub = next_target(model, sub, from, index)) != NULL) {
        const struct message *message = &model->messages[index];
        struct queue_item item = {
            .message = index, .len = message->len, .key = message->key, .ttl_ms = message->ttl_ms, .batch = batch};
        struct queue_model *queue = sub_queue(sub);
        struct conn *reader = sub->group == NULL ? sub->conn : NULL;
        bool over = reader != NULL && reader->too_slow;
        enum queue_outcome outcome =
            over ? queue_model_refuse(queue)
                 : queue_model_push(queue, item, sub_rx_max(sub), sub_allowed(sub), model->world->now_ms);
        if (outcome == QUEUE_OVERFLOW) sub->conn->too_slow = true;
        overflow |= outcome == QUEUE_OVERFLOW;
        routed.matched++;
        routed.dropped_least += outcome != QUEUE_TAKEN && !over;
        routed.dropped_most += outcome != QUEUE_TAKEN;
    }
    if (overflow && from != NULL) any_dropped(from);
    if (overflow) routed.dropped_most = UINT32_MAX;
    return routed;
}
