#include <stdio.h>
#include <string.h>

#include "model.h"

static unsigned ack_level(const struct session *session)
{
    return (session->terms.flags & MPS_PUB_LEVEL_MASK) >> MPS_PUB_LEVEL_SHIFT;
}

/* Uses up the next publish ids, if these MSGs are acknowledged; else *first is 0. False: there are no more, BYE is
 * said. */
static bool take_pids(struct session *session, uint32_t count, uint64_t *first)
{
    *first = session->terms.pid;
    if (*first == 0) return true;
    if (*first > MPS_NUMBER_MAX - count) {
        session_bye(session, MPS_PID_ORDER, "the publish ids are used up, the limit is 2^53 - 1");
        return false;
    }
    session->terms.pid += count;
    session->next_pid = session->terms.pid;
    return true;
}

static void refuse_one(struct session *session, uint64_t pid, mps_view topic, uint32_t code, const char *text)
{
    if (pid > 0) reply_puback_error(session, pid, code, text);
    else reply_msg_err(session, code, topic, text);
}

void publish_refuse(struct session *session, mps_view topic, uint32_t code, const char *text)
{
    uint64_t pid;
    if (take_pids(session, 1, &pid)) refuse_one(session, pid, topic, code, text);
}

static void refuse_run(struct session *session, const struct publish *publish, uint64_t pid, uint32_t code,
                       const char *text)
{
    for (uint32_t i = 0; i < publish->run->count; i++)
        refuse_one(session, pid ? pid + i : 0, publish->topic, code, text);
}

/* Keeps the run's last message as the topic's value, or clears it. */
static bool retain(struct session *session, const struct publish *publish)
{
    struct broker *broker = session->broker;
    if (publish->last_payload_len == 0) {
        retained_clear(&broker->retained, publish->topic);
        return true;
    }
    return retained_set(&broker->retained, publish->topic, publish->last_frame, broker->limits.retained_bytes);
}

static void count_ack(struct session *session, uint64_t first_pid, uint32_t count, uint64_t matched, uint64_t dropped)
{
    struct ack_pending *acks = &session->acks;
    bool alone = session->terms.flags & MPS_PUB_EACH;
    if (alone) reply_acks(session);
    if (acks->count == 0 || matched < acks->matched_least) acks->matched_least = matched;
    acks->count += count;
    acks->last_pid = first_pid + count - 1;
    acks->dropped += dropped;
    if (alone) reply_acks(session);
    else session_dirty(session); /* answered together when the turn is flushed */
}

/* Why nobody may publish to this topic; NULL: everybody may. */
static const char *reserved_error(mps_view topic)
{
    if (topic.ptr[0] != '$') return NULL;
    return "topics whose first level begins with '$' are reserved";
}

void publish_run(struct session *session, const struct publish *publish)
{
    struct broker *broker = session->broker;
    struct run *run = publish->run;
    char text[400];
    const char *wrong;
    uint64_t pid;
    if (!take_pids(session, run->count, &pid)) return;
    broker->figures.messages_in += run->count;
    broker->figures.bytes_in += run->len;
    broker->work += (uint64_t)publish->props.len * publish->props.len / 64; /* its keys are compared with each other */
    if (publish->props.ptr != NULL && mps_props_check(publish->props, &wrong) != MPS_OK) {
        snprintf(text, sizeof text, "bad properties: %s", wrong);
        refuse_run(session, publish, pid, MPS_BAD_PROPS, text);
        return;
    }
    const struct route *route = router_route(broker, publish->topic, &wrong);
    if (route == NULL) {
        snprintf(text, sizeof text, "bad topic '%s': %s", printable(publish->topic), wrong);
        refuse_run(session, publish, pid, MPS_BAD_TOPIC, text);
        return;
    }
    wrong = reserved_error(publish->topic);
    if (wrong != NULL) {
        snprintf(text, sizeof text, "may not publish to '%s': %s", printable(publish->topic), wrong);
        refuse_run(session, publish, pid, MPS_NOT_AUTHORISED, text);
        return;
    }
    if (ack_level(session) > 1) {
        snprintf(text, sizeof text, "acknowledgement level %u is not available for '%s', the highest is 1 (routed)",
                 ack_level(session), printable(publish->topic));
        refuse_run(session, publish, pid, MPS_ACK_LEVEL, text);
        return;
    }
    if ((session->terms.flags & MPS_PUB_MUST_ROUTE) && route->count == 0) {
        snprintf(text, sizeof text, "nobody is subscribed to '%s'", printable(publish->topic));
        refuse_run(session, publish, pid, MPS_NOBODY, text);
        return;
    }
    if ((session->terms.flags & MPS_PUB_RETAIN) && !retain(session, publish)) {
        refuse_run(session, publish, pid, MPS_QUOTA, "the memory for retained values is used up");
        return;
    }
    broker->work += route->count;
    uint64_t dropped = router_fan_out(route, run);
    if (pid > 0) count_ack(session, pid, run->count, route->count, dropped);
}
