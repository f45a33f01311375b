/* Messages on their way through the core: all else is rare. */
#include <string.h>

#include "core_state.h"
#include "plain.h"

static inline bool is_last_topic(const struct pubsub_core *core, mps_view topic)
{
    return topic.len == core->topic_len && topic.len > 0 && memcmp(topic.ptr, core->topic, topic.len) == 0;
}

static bool judge_topic(struct pubsub_core *core, mps_view topic)
{
    if (mps_topic_error(topic) != NULL) return false;
    memcpy(core->topic, topic.ptr, topic.len);
    core->topic_len = (uint16_t)topic.len;
    return true;
}

/* Judging a topic costs more than everything else about a short message, and the next one mostly has the same. */
static inline bool topic_valid(struct pubsub_core *core, mps_view topic)
{
    return is_last_topic(core, topic) || judge_topic(core, topic);
}

static void tell(struct pubsub_core *core, mps_view topic, mps_view props, mps_view payload, struct pubsub_event *event)
{
    event->type = PUBSUB_EVENT_MESSAGE;
    event->as.message = (struct pubsub_message){
        .sid = core->sid,
        .topic = (const char *)topic.ptr,
        .topic_len = topic.len,
        .payload = payload.ptr,
        .payload_len = payload.len,
        .props = props.ptr,
        .props_len = props.len,
        .retained = (core->for_flags & MPS_FOR_RETAINED) != 0,
        .replayed = (core->for_flags & MPS_FOR_REPLAY) != 0,
        .redelivered = (core->for_flags & MPS_FOR_REDELIVERED) != 0,
        .stream = core->stream,
        .seq = core->seq,
        .time_ms = core->time_ms,
        .tries = core->tries,
    };
    if (core->have_position) core->seq++;
}

enum outcome mps_core_on_msg(struct pubsub_core *core, mps_view frame, struct pubsub_event *event)
{
    struct mps_msg msg;
    const char *what;
    enum mps_code code = mps_decode_msg(frame, &msg, &what);
    if (code != MPS_OK) return mps_core_fail(core, event, code, "MSG", what);
    if (!core->have_for) return mps_core_fail(core, event, MPS_STATE, "MSG", "no FOR before it");
    if (!topic_valid(core, msg.topic)) return mps_core_fail(core, event, MPS_MALFORMED, "MSG", "topic");
    if (msg.props.ptr != NULL && mps_props_check(msg.props, &what) != MPS_OK)
        return mps_core_fail(core, event, MPS_MALFORMED, "MSG", what);
    tell(core, msg.topic, msg.props, msg.payload, event);
    return EVENT;
}

/* A whole message of the common shape needs neither a scan nor a decoder. False: it may be anything, good or bad. */
static inline bool take_plain(struct pubsub_core *core, struct pubsub_event *event)
{
    const uint8_t *frame = core->rx + core->rx_begin;
    size_t there = core->rx_end - core->rx_begin;
    struct mps_plain plain;
    if (core->scanning || !core->have_for || !mps_core_is_greeted(core) || !mps_plain_read(frame, there, &plain) ||
        plain.payload_len > there - plain.payload_at)
        return false;
    size_t len = (size_t)plain.payload_at + plain.payload_len;
    mps_view topic = {frame + plain.topic_at, plain.topic_len}, payload = {frame + plain.payload_at, plain.payload_len};
    if (len > core->frame_max || !topic_valid(core, topic)) return false;
    core->rx_begin += len;
    tell(core, topic, (mps_view){NULL, 0}, payload, event);
    return true;
}

enum pubsub_event_type pubsub_core_next(struct pubsub_core *core, struct pubsub_event *event)
{
    return take_plain(core, event) ? PUBSUB_EVENT_MESSAGE : mps_core_next_frame(core, event);
}
