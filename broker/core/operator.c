#include "operator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "sure.h"
#include "trace.h"
#include "value.h"

/* ---- the answer --------------------------------------------------------------------------------------------- */

struct reply_address *reply_address_new(const struct mps_msg *request)
{
    struct mps_reader r = mps_reader_open(mps_props_find(request->props, MPS_PROP_REPLY_TO));
    mps_view topic = mps_read_text(&r, "reply-to"); /* it was judged when it came */
    mps_view correlation = mps_props_find(request->props, MPS_PROP_CORRELATION);
    struct reply_address *to = sure_if_small(sizeof *to + topic.len + correlation.len);
    if (to == NULL) return NULL;
    *to = (struct reply_address){.topic_len = topic.len, .correlation_len = correlation.len};
    memcpy(to->bytes, topic.ptr, topic.len);
    if (correlation.len > 0) memcpy(to->bytes + topic.len, correlation.ptr, correlation.len);
    return to;
}

/* What stands around a payload: the operation, the topic, and the properties but for the correlation. */
#define AROUND_BYTES (MPS_TOPIC_MAX + 64u)

uint32_t operator_answer_max(const struct session *session, const struct reply_address *to)
{
    uint32_t around = AROUND_BYTES + to->correlation_len + 16;
    if (session->rx_max == 0) return UINT32_MAX;
    return session->rx_max > around ? session->rx_max - around : 0;
}

bool operator_answer_to(struct broker *broker, const struct reply_address *to, const struct mps_out *payload)
{
    uint32_t props_cap = to->correlation_len + 16, cap = AROUND_BYTES + props_cap + payload->len;
    uint8_t *room = payload->full ? NULL : sure_if_small(props_cap + cap);
    if (room == NULL) return false;
    struct mps_out props = mps_out_open(room, props_cap), out = mps_out_open(room + props_cap, cap);
    mps_put_map(&props, to->correlation_len > 0);
    if (to->correlation_len > 0) {
        mps_put_uint(&props, MPS_PROP_CORRELATION);
        mps_put_raw(&props, (mps_view){to->bytes + to->topic_len, to->correlation_len});
    }
    struct mps_msg msg = {
        .topic = {to->bytes, to->topic_len}, .props = mps_out_view(&props), .payload = mps_out_view(payload)};
    bool fits = mps_encode_msg(&out, &msg);
    if (fits) publish_own(broker, run_copy(&broker->runs, out.buf, out.len), false, NULL);
    free(room);
    return fits;
}

void operator_answer(struct broker *broker, const struct mps_msg *request, const struct mps_out *payload)
{
    struct reply_address *to = reply_address_new(request);
    if (to != NULL) operator_answer_to(broker, to, payload);
    free(to);
}

void operator_answer_error(struct broker *broker, const struct mps_msg *request, const char *text)
{
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 1);
    mps_put_text(&out, mps_text("error"));
    mps_put_text(&out, mps_text(text));
    operator_answer(broker, request, &out);
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

/* One that is shared may have the name of one that was this broker's own, of which the stock is left. */
static struct stream *find_stream(const struct broker *broker, mps_view name)
{
    struct stream *found = NULL;
    for (uint32_t i = 0; i < broker->streams_count; i++) {
        struct stream *stream = broker->streams[i];
        if (mps_view_equal(mps_text(stream->name), name) && (found == NULL || found->is_shared)) found = stream;
    }
    return found;
}

static void remove_messages(struct session *session, const struct mps_msg *request)
{
    struct broker *broker = session->broker;
    struct removal removal;
    char text[400];
    if (!read_removal(request->payload, &removal)) {
        operator_answer_error(broker, request,
                              "the request is not a map with 'stream', a text, and perhaps 'below', a position");
        return;
    }
    struct stream *stream = find_stream(broker, removal.stream);
    if (stream == NULL) {
        snprintf(text, sizeof text, "there is no stream '%s'", printable(removal.stream));
        operator_answer_error(broker, request, text);
        return;
    }
    if (stream->is_shared) {
        snprintf(
            text, sizeof text,
            "stream '%s' is kept by NATS JetStream for all brokers: what it holds is removed there, with NATS' tools",
            stream->name);
        operator_answer_error(broker, request, text);
        return;
    }
    uint64_t before = stream->stored_msgs;
    stream_trim(stream, removal.below);
    snprintf(text, sizeof text, "removed %llu messages of stream '%s'",
             (unsigned long long)(before - stream->stored_msgs), stream->name);
    audit(session, EVENT_ADMIN, 0, text);
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 1);
    mps_put_text(&out, mps_text("removed"));
    mps_put_uint(&out, before - stream->stored_msgs);
    operator_answer(broker, request, &out);
}

/* ---- the requests ------------------------------------------------------------------------------------------- */

struct request {
    const char *topic;
    enum access_right right; /* of those besides the operator who may ask for it */
    bool is_guarded;         /* without users and groups nobody but the operator may; else everybody may */
    void (*handle)(struct session *session, const struct mps_msg *request);
};

static const struct request requests[] = {
    {"$SYS/request/stream/remove", ACCESS_ADMIN, true, remove_messages},
    {"$SYS/request/report", ACCESS_SYS, false, report_request},
    {TRACE_REQUEST, ACCESS_SYS, false, trace_request},
};
#define REQUESTS_COUNT (sizeof requests / sizeof requests[0])

static const struct request *find_request(mps_view topic)
{
    for (size_t i = 0; i < REQUESTS_COUNT; i++)
        if (mps_view_equal(topic, mps_text(requests[i].topic))) return &requests[i];
    return NULL;
}

bool operator_is_request(mps_view topic)
{
    return find_request(topic) != NULL;
}

/* Why the session may not ask for this; NULL: it may. */
static const char *denied_error(const struct session *session, const struct request *request)
{
    bool may = session->grant != NULL ? grant_has(session->grant, request->right) : !request->is_guarded;
    if (session->is_operator || may) return NULL;
    return request->right == ACCESS_SYS
               ? "that needs the right 'sys'"
               : "only who runs the broker may, over its Unix socket, and who has the right 'admin'";
}

/* Why the session may not have answers sent there; NULL: it may. */
static const char *reply_to_error(const struct session *session, mps_view reply_to)
{
    if (inbox_is_inside(reply_to)) return NULL;
    bool is_reserved = reply_to.ptr[0] == '$';
    bool may = !is_reserved && (session->grant == NULL || grant_publishes(session->grant, reply_to));
    return may ? NULL : "the reply-to is not an inbox, nor a topic that may be published to";
}

bool operator_may_answer(const struct session *session, const struct reply_address *to)
{
    return reply_to_error(session, (mps_view){to->bytes, to->topic_len}) == NULL;
}

bool operator_still_may(const struct session *session, const char *topic, const struct reply_address *to)
{
    return denied_error(session, find_request(mps_text(topic))) == NULL && operator_may_answer(session, to);
}

const char *operator_request(struct session *session, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    mps_decode_msg(frame, &msg, &what); /* accepted when it came */
    const struct request *request = find_request(msg.topic);
    const char *denied = denied_error(session, request);
    if (denied != NULL) return denied;
    if (msg.props.ptr == NULL || mps_props_find(msg.props, MPS_PROP_REPLY_TO).ptr == NULL)
        return "a request needs a reply-to";
    struct mps_reader r = mps_reader_open(mps_props_find(msg.props, MPS_PROP_REPLY_TO));
    mps_view reply_to = mps_read_text(&r, "reply-to");
    if (r.bad != NULL || mps_topic_error(reply_to) != NULL) return "the reply-to of a request is a topic";
    const char *wrong = reply_to_error(session, reply_to);
    if (wrong != NULL) return wrong;
    request->handle(session, &msg);
    return NULL;
}
