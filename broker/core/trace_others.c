/* Traces: who does not get a message, and why. */
#include "trace_parts.h"

/* Comparing a pattern in all the ways in which it may be near takes as long as so many steps of broker.work. */
#define LOOK_WORK 4u

struct look {
    struct traced *message;
    struct delivery delivery;
    mps_view payload;
};

static const char *why_not(struct broker *broker, const struct mailbox *box, const struct look *look)
{
    switch (fanout_judge(broker, box, &look->delivery, look->payload)) {
    case FANOUT_TAKES: break;
    case FANOUT_OWN: return "no_local";
    case FANOUT_FORBIDDEN: return "not_allowed";
    case FANOUT_FILTERED: return "filter";
    }
    return NULL;
}

static void look_at(struct topic_entry *entry, void *arg)
{
    struct look *look = arg;
    struct traced *message = look->message;
    struct mailbox *box = container_of(entry, struct mailbox, entry);
    if (trace_copy_find(message, box) != NULL) return;
    const char *why = why_not(box->broker, box, look);
    if (why != NULL) {
        if (message->nots_count++ < TRACE_NOTS_MAX) trace_note_not(message, box, why);
        return;
    }
    if (message->stream == NULL || box->cursor == NULL || message->code != 0) return;
    struct trace_copy *copy = trace_copy_add(message, box);
    message->matched++;
    if (copy == NULL) return;
    copy->reads = true;
    trace_note_copy(message, copy, box, true);
}

void trace_look_at_route(struct traced *message, struct session *from, mps_view frame)
{
    struct broker *broker = message->trace->broker;
    struct mps_msg msg;
    const char *what;
    mps_decode_msg(frame, &msg, &what); /* accepted when it came */
    struct look look = {
        .message = message, .delivery = {.topic = msg.topic, .props = msg.props, .from = from}, .payload = msg.payload};
    broker->judged++;
    broker->work += topics_match(&broker->topics, msg.topic, topics_hash(&broker->topics, msg.topic), look_at, &look);
    message->looks = broker->boxes.first != NULL;
    message->at = broker->boxes.first;
}

/* ---- by and by ---------------------------------------------------------------------------------------------- */

/* A member's box stands in no trie, its group's does; an inbox is nobody's business. */
static mps_view pattern_of(const struct mailbox *box)
{
    if (box->session == NULL) return group_pattern(container_of(box, struct group, box));
    const struct subscription *sub = container_of(box, struct subscription, box);
    return sub->group != NULL || sub->sid == 0 ? (mps_view){NULL, 0} : subscription_pattern(sub);
}

static void look_at_other(struct traced *message, const struct mailbox *box)
{
    mps_view pattern = pattern_of(box);
    if (pattern.ptr == NULL || mps_topic_matches(pattern, traced_topic(message))) return;
    if (message->near_count < TRACE_NEAR_MAX && trace_is_near(pattern, traced_topic(message))) {
        message->near_count++;
        trace_note_not(message, box, "pattern");
    } else {
        message->others_count++;
    }
}

void trace_look_on(struct broker *broker, uint64_t work_end)
{
    EACH_TRACE(broker->tracing, trace)
    EACH_TRACED(trace, message)
    {
        while (message->looks && broker->work < work_end) {
            if (message->at == NULL) {
                message->looks = false;
                break;
            }
            broker->work += LOOK_WORK;
            const struct mailbox *box = container_of(message->at, struct mailbox, in_boxes);
            message->at = message->at->next;
            look_at_other(message, box);
        }
    }
}

void trace_others_box_gone(struct mailbox *box)
{
    EACH_TRACE(box->broker->tracing, trace)
    EACH_TRACED(trace, message) if (message->at == &box->in_boxes) message->at = box->in_boxes.next;
}
