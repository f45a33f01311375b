/* What only who runs the broker may ask for: requests to topics under $SYS/request, answered by the broker itself. */
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "model.h"
#include "value.h"

#define REMOVE_TOPIC "$SYS/request/stream/remove"

bool operator_is_request(mps_view topic)
{
    return topic.len == sizeof REMOVE_TOPIC - 1 && memcmp(topic.ptr, REMOVE_TOPIC, topic.len) == 0;
}

/* ---- the answer --------------------------------------------------------------------------------------------- */

static void answer(struct broker *broker, const struct mps_msg *request, const struct mps_out *payload)
{
    uint8_t room[2048], props_room[512];
    struct mps_out props = mps_out_open(props_room, sizeof props_room), out = mps_out_open(room, sizeof room);
    struct mps_reader r = mps_reader_open(mps_props_find(request->props, MPS_PROP_REPLY_TO));
    mps_view reply_to = mps_read_text(&r, "reply-to");
    mps_view correlation = mps_props_find(request->props, MPS_PROP_CORRELATION);
    if (r.bad != NULL || mps_topic_error(reply_to) != NULL) return;
    mps_put_map(&props, correlation.ptr != NULL);
    if (correlation.ptr != NULL) {
        mps_put_uint(&props, MPS_PROP_CORRELATION);
        mps_put_raw(&props, correlation);
    }
    struct mps_msg msg = {.topic = reply_to, .props = mps_out_view(&props), .payload = mps_out_view(payload)};
    if (!props.full && !payload->full && mps_encode_msg(&out, &msg))
        publish_own(broker, run_copy(&broker->runs, out.buf, out.len), false, NULL);
}

static void answer_error(struct broker *broker, const struct mps_msg *request, const char *text)
{
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 1);
    mps_put_text(&out, mps_text("error"));
    mps_put_text(&out, mps_text(text));
    answer(broker, request, &out);
}

/* ---- removing what a stream keeps --------------------------------------------------------------------------- */

struct removal {
    mps_view stream;
    uint64_t below; /* UINT64_MAX: all */
};

/* The payload is any bytes: it is scanned before it is read. */
static bool read_removal(mps_view payload, struct removal *removal)
{
    *removal = (struct removal){.below = UINT64_MAX};
    if (mps_document_check(payload, 4, 64) != NULL) return false;
    struct mps_reader r = mps_reader_open(payload);
    uint32_t pairs = mps_read_map(&r, "request");
    for (uint32_t i = 0; i < pairs && r.bad == NULL; i++) {
        mps_view key = mps_read_text(&r, "key");
        if (mps_view_equal(key, mps_text("stream"))) removal->stream = mps_read_text(&r, "stream");
        else if (mps_view_equal(key, mps_text("below"))) removal->below = mps_read_uint(&r, MPS_NUMBER_MAX, "below");
        else mps_read_any(&r, "value");
    }
    return r.bad == NULL && removal->stream.ptr != NULL;
}

static struct stream *find_stream(const struct broker *broker, mps_view name)
{
    for (uint32_t i = 0; i < broker->streams_count; i++)
        if (mps_view_equal(mps_text(broker->streams[i]->name), name)) return broker->streams[i];
    return NULL;
}

static void remove_messages(struct session *session, const struct mps_msg *request)
{
    struct broker *broker = session->broker;
    struct removal removal;
    char text[400];
    if (!read_removal(request->payload, &removal)) {
        answer_error(broker, request,
                     "the request is not a map with 'stream', a text, and perhaps 'below', a position");
        return;
    }
    struct stream *stream = find_stream(broker, removal.stream);
    if (stream == NULL) {
        snprintf(text, sizeof text, "there is no stream '%s'", printable(removal.stream));
        answer_error(broker, request, text);
        return;
    }
    uint64_t before = stream->stored_msgs;
    stream_trim(stream, removal.below);
    snprintf(text, sizeof text, "removed %llu messages of stream '%s'",
             (unsigned long long)(before - stream->stored_msgs), stream->name);
    audit(session, AUDIT_ADMIN, 0, text);
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 1);
    mps_put_text(&out, mps_text("removed"));
    mps_put_uint(&out, before - stream->stored_msgs);
    answer(broker, request, &out);
}

const char *operator_request(struct session *session, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    bool may = session->is_operator || (session->grant != NULL && grant_has(session->grant, ACCESS_ADMIN));
    if (!may) return "only who runs the broker may, over its Unix socket, and who has the right 'admin'";
    mps_decode_msg(frame, &msg, &what); /* accepted when it came */
    if (msg.props.ptr == NULL || mps_props_find(msg.props, MPS_PROP_REPLY_TO).ptr == NULL)
        return "a request needs a reply-to";
    struct mps_reader r = mps_reader_open(mps_props_find(msg.props, MPS_PROP_REPLY_TO));
    mps_view reply_to = mps_read_text(&r, "reply-to");
    if (r.bad != NULL || mps_topic_error(reply_to) != NULL) return "the reply-to of a request is a topic";
    if (!inbox_is(reply_to) && session->grant != NULL && !grant_publishes(session->grant, reply_to))
        return "the reply-to is not an inbox, nor a topic that may be published to";
    remove_messages(session, &msg);
    return NULL;
}
