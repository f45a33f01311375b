/* Messages on their way through the core: all else is rare. */
#include "core_state.h"
#if PUBSUB_CORE_FAST
#include "plain.h"
#endif

#if PUBSUB_CORE_SUBSCRIBE

#if PUBSUB_CORE_FAST
/* Whether it is the topic of the message before this one, which is still in the buffer. Only between frames: then two
 * fields of the scan say where. */
static inline bool is_last_topic(const struct pubsub_core *core, struct view topic)
{
    return topic.len > 0 && topic.len == core->elements &&
           memcmp(topic.ptr, core->rx + core->payload_len, topic.len) == 0;
}

/* Judging a topic costs more than everything else about a short message, and the next one mostly has the same. */
static inline bool topic_valid(struct pubsub_core *core, struct view topic)
{
    if (is_last_topic(core, topic)) return true;
    if (!mps_core_is_name(topic, false)) return false;
    core->payload_len = (uint32_t)(topic.ptr - core->rx);
    core->elements = (uint8_t)topic.len;
    return true;
}
#endif

static inline void tell(const struct pubsub_core *core, struct view topic, struct view props, struct view payload,
                        struct pubsub_event *event)
{
    struct pubsub_message *m = &event->as.message;
    event->type = PUBSUB_EVENT_MESSAGE;
    m->sid = core->sid;
    m->topic = (const char *)topic.ptr;
    m->topic_len = topic.len;
    m->payload = payload.ptr;
    m->payload_len = payload.len;
    m->props = props.ptr;
    m->props_len = props.len;
    m->retained = core->for_flags & MPS_FOR_RETAINED;
    m->replayed = core->for_flags & MPS_FOR_REPLAY;
    m->redelivered = core->for_flags & MPS_FOR_REDELIVERED;
    m->stream = core->stream;
    m->seq = core->seq;
    m->time_ms = core->time_ms;
    m->tries = core->tries;
    m->offset = 0;
    m->total = payload.len;
}

/* The head holds array, operation, topic, properties and the payload's own head. */
CORE_LOCAL enum outcome mps_core_on_msg(struct pubsub_core *core, struct view head, struct view payload,
                                        struct pubsub_event *event)
{
    struct reader in = {head.ptr, head.ptr + head.len};
    struct item item = {.len = 0};
    mps_core_take(&in, &item);
    mps_core_take(&in, &item);
    struct view topic, props = {NULL, 0};
    if (!mps_core_is_greeted(core)) return CORE_FAIL(core, event, MPS_STATE, MPS_OP_MSG, "it came before WELCOME");
    if (mps_core_take(&in, &item) != ITEM_STR) goto malformed;
    topic = (struct view){in.p - item.len, item.len};
    if (*in.p != 0xc0) {
        props = mps_core_take_any(&in);
        if (!mps_core_are_properties(props, true)) goto malformed;
    }
    if (!(core->flags & CORE_HAVE_FOR)) return CORE_FAIL(core, event, MPS_STATE, MPS_OP_MSG, "no FOR before it");
    if (!mps_core_is_name(topic, false)) goto malformed;
    tell(core, topic, props, payload, event);
    if (core->flags & CORE_PIECES) {
        event->as.message.offset = core->piece_at;
        event->as.message.total = core->payload_len;
    } else {
        core->seq += core->flags & CORE_HAVE_POSITION ? 1 : 0;
    }
    return EVENT;
malformed:
    return CORE_FAIL(core, event, MPS_MALFORMED, MPS_OP_MSG, "a bad topic or properties");
}

#endif

#if PUBSUB_CORE_SUBSCRIBE && PUBSUB_CORE_FAST
/* A whole message of the common shape needs no scan. False: it may be anything, good or bad. */
static inline bool take_plain(struct pubsub_core *core, struct pubsub_event *event)
{
    const uint8_t *frame = core->rx + core->rx_begin;
    size_t there = core->rx_end - core->rx_begin;
    struct mps_plain plain;
    if (core->values > 0 || !(core->flags & CORE_HAVE_FOR) || !mps_plain_read(frame, there, &plain) ||
        plain.payload_len > there - plain.payload_at)
        return false;
    size_t len = (size_t)plain.payload_at + plain.payload_len;
    struct view topic = {frame + plain.topic_at, plain.topic_len};
    struct view payload = {frame + plain.payload_at, plain.payload_len};
    if (len > core->frame_max) return false;
    tell(core, topic, (struct view){NULL, 0}, payload, event); /* first, so that less has to be kept over the calls */
    if (!topic_valid(core, topic)) return false;
    core->rx_begin += len;
    if (core->flags & CORE_HAVE_POSITION) core->seq++;
    return true;
}

enum pubsub_event_type pubsub_core_next(struct pubsub_core *core, struct pubsub_event *event)
{
    return take_plain(core, event) ? PUBSUB_EVENT_MESSAGE : mps_core_next_frame(core, event);
}
#else
enum pubsub_event_type pubsub_core_next(struct pubsub_core *core, struct pubsub_event *event)
{
    return mps_core_next_frame(core, event);
}
#endif
