/* Any bytes as a stream of frames: the scan, every decoder, props, topics and documents. The stream is scanned whole
 * and in pieces, with equal results. The first byte is how it is cut, the second chooses the limits. */
#include <string.h>

#include "require.h"
#include "value.h"
#include "wire.h"

#define EVENTS_MAX 4096

struct event {
    enum mps_scan_result result;
    uint32_t pos, payload_at, payload_len;
    uint8_t op;
    const char *error;
};

struct log {
    struct event events[EVENTS_MAX];
    uint32_t count;
};

static void note(struct log *log, enum mps_scan_result result, const struct mps_scan *scan)
{
    if (log->count == EVENTS_MAX) return;
    log->events[log->count++] =
        (struct event){result,           scan->pos,
                       scan->payload_at, scan->payload_len,
                       scan->op,         result == MPS_SCAN_MALFORMED || result == MPS_SCAN_LIMIT ? scan->error : NULL};
}

/* Scans on with the bytes from *at to len. Returns false when the stream is broken. */
static bool scan_on(struct log *log, struct mps_scan *scan, const uint8_t *bytes, size_t *at, size_t len,
                    const struct mps_limits *limits)
{
    while (*at < len) {
        size_t used = 0;
        enum mps_scan_result result;
        if (scan->oversized) {
            result = mps_scan_skip(scan, bytes + *at, len - *at, limits, &used);
            REQUIRE(used <= len - *at, "skipped %zu of %zu bytes", used, len - *at);
            *at += used;
        } else {
            result = mps_scan(scan, bytes + *at, len - *at, limits);
            if (result == MPS_SCAN_FRAME) used = scan->pos;
            REQUIRE(used <= len - *at, "a frame of %zu bytes in %zu", used, len - *at);
            *at += used;
        }
        if (result == MPS_SCAN_MORE) return true;
        note(log, result, scan);
        if (result == MPS_SCAN_FRAME) *scan = (struct mps_scan){0};
        else if (result != MPS_SCAN_TOO_LARGE) return false;
    }
    return true;
}

static void check_topic(mps_view topic)
{
    if (mps_pattern_error(topic) != NULL) {
        REQUIRE(mps_topic_error(topic) != NULL, "a topic that is no pattern");
        return;
    }
    mps_view everything = mps_text("#");
    if (mps_topic_error(topic) != NULL) {
        REQUIRE(mps_topic_is_wild(topic), "neither a topic nor wild");
        return;
    }
    REQUIRE(mps_topic_matches(topic, topic), "a topic does not match itself");
    REQUIRE(mps_topic_matches(everything, topic) == (topic.ptr[0] != '$'), "'#' and a topic");
}

static void check_document(mps_view bytes)
{
    if (mps_document_check(bytes, 0, 0) != NULL) return;
    struct mps_walk walk;
    uint64_t steps = 0;
    int64_t depth = 0;
    mps_walk_open(&walk, bytes);
    for (enum mps_walk_event event; (event = mps_walk_next(&walk)) != MPS_WALK_END; steps++) {
        if (event == MPS_WALK_OPEN) depth++;
        if (event == MPS_WALK_CLOSE) depth--;
        REQUIRE(depth >= 0 && depth <= MPS_DOCUMENT_DEPTH_MAX, "depth %lld", (long long)depth);
        REQUIRE(steps <= 3 * MPS_DOCUMENT_VALUES_MAX, "a walk without an end");
    }
    REQUIRE(depth == 0, "a container is left open");
    static const char *const paths[] = {"a", "a.b[2]", "[0]", "\"odd key\".x", "a..b", "[99999999999]", ""};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        mps_view found = mps_document_find(bytes, paths[i], strlen(paths[i]));
        if (found.ptr == NULL) continue;
        REQUIRE(found.ptr >= bytes.ptr && found.ptr + found.len <= bytes.ptr + bytes.len,
                "found outside of the document");
        REQUIRE(mps_document_check(found, 0, 0) == NULL, "what was found is no document");
    }
}

static void check_msg(mps_view frame)
{
    struct mps_msg msg, again;
    const char *what;
    if (mps_decode_msg(frame, &msg, &what) != MPS_OK) return;
    REQUIRE(mps_msg_frame_len(frame.ptr) == frame.len, "mps_msg_frame_len() differs");
    check_topic(msg.topic);
    check_document(msg.payload);
    if (msg.props.ptr != NULL && mps_props_check(msg.props, &what) == MPS_OK) {
        for (unsigned key = 0; key < 10; key++) mps_props_find(msg.props, key);
    }
    static uint8_t room[128 * 1024];
    struct mps_out out = mps_out_open(room, sizeof room);
    if (!mps_encode_msg(&out, &msg)) return;
    REQUIRE(mps_decode_msg(mps_out_view(&out), &again, &what) == MPS_OK, "what was encoded does not decode: %s", what);
    REQUIRE(mps_view_equal(again.topic, msg.topic) && mps_view_equal(again.props, msg.props) &&
                mps_view_equal(again.payload, msg.payload),
            "what was encoded decodes to something else");
}

/* Every decoder on every frame: the wrong ones have to complain, no more. */
static void decode(mps_view frame)
{
    union {
        struct mps_hello hello;
        struct mps_pub pub;
        struct mps_for terms;
        struct mps_ack ack;
        struct mps_credit credit;
        struct mps_gap gap;
        struct mps_puback puback;
        struct mps_sub sub;
        struct mps_suback suback;
        struct mps_unsub unsub;
        struct mps_mark mark;
        struct mps_token token;
        struct mps_stat stat;
        struct mps_auth auth;
        struct mps_welcome welcome;
        struct mps_err err;
        struct mps_bye bye;
        struct mps_info info;
    } out;
    const char *what;
    uint8_t room[256];
    REQUIRE(mps_frame_op(frame) <= MPS_OP_MAX, "operation %u", mps_frame_op(frame));
    check_msg(frame);
    if (mps_decode_hello(frame, &out.hello, &what) == MPS_OK) mps_id_error(out.hello.id);
    mps_decode_pub(frame, &out.pub, &what);
    if (mps_decode_for(frame, &out.terms, &what) == MPS_OK) {
        struct mps_out to = mps_out_open(room, sizeof room);
        REQUIRE(mps_encode_for(&to, &out.terms), "FOR does not fit");
    }
    mps_decode_ack(frame, &out.ack, &what);
    mps_decode_credit(frame, &out.credit, &what);
    mps_decode_gap(frame, &out.gap, &what);
    mps_decode_puback(frame, &out.puback, &what);
    if (mps_decode_sub(frame, &out.sub, &what) == MPS_OK) check_topic(out.sub.pattern);
    mps_decode_suback(frame, &out.suback, &what);
    mps_decode_unsub(frame, &out.unsub, &what);
    mps_decode_mark(frame, &out.mark, &what);
    mps_decode_token(frame, &out.token, &what);
    mps_decode_stat(frame, &out.stat, &what);
    mps_decode_auth(frame, &out.auth, &what);
    mps_decode_welcome(frame, &out.welcome, &what);
    mps_decode_err(frame, &out.err, &what);
    mps_decode_bye(frame, &out.bye, &what);
    mps_decode_info(frame, &out.info, &what);
}

static void scan_whole(struct log *log, const uint8_t *bytes, size_t len, const struct mps_limits *limits)
{
    struct mps_scan scan = {0};
    size_t at = 0;
    log->count = 0;
    scan_on(log, &scan, bytes, &at, len, limits);
    at = 0;
    for (uint32_t i = 0; i < log->count && log->events[i].result == MPS_SCAN_FRAME; i++) {
        decode((mps_view){bytes + at, log->events[i].pos});
        at += log->events[i].pos;
    }
}

/* Each piece is looked at in memory of its own, so that reading beyond what is there shows. */
static void scan_pieces(struct log *log, const uint8_t *bytes, size_t len, const struct mps_limits *limits,
                        uint32_t cut)
{
    struct mps_scan scan = {0};
    size_t at = 0, have = 0;
    log->count = 0;
    for (bool well = true; well && have < len;) {
        have += piece_len(&cut, len - have);
        uint8_t *copy = malloc(have - at);
        if (copy == NULL) abort();
        memcpy(copy, bytes + at, have - at);
        size_t used = 0;
        well = scan_on(log, &scan, copy, &used, have - at, limits);
        at += used;
        free(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct log whole, pieces;
    if (size < 2) return 0;
    struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    if (data[1] & 1) limits = (struct mps_limits){64, 16, 20};
    const uint8_t *bytes = data + 2;
    size_t len = size - 2;
    check_document((mps_view){bytes, (uint32_t)len});
    scan_whole(&whole, bytes, len, &limits);
    scan_pieces(&pieces, bytes, len, &limits, data[0] * 2654435761u + 1);
    REQUIRE(whole.count == pieces.count, "whole gives %u results, pieces give %u", whole.count, pieces.count);
    for (uint32_t i = 0; i < whole.count; i++) {
        const struct event *a = &whole.events[i], *b = &pieces.events[i];
        REQUIRE(a->result == b->result && a->pos == b->pos && a->payload_at == b->payload_at &&
                    a->payload_len == b->payload_len && a->op == b->op && a->error == b->error,
                "result %u: whole %d at %u '%s', pieces %d at %u '%s'", i, a->result, a->pos, a->error ? a->error : "",
                b->result, b->pos, b->error ? b->error : "");
    }
    return 0;
}
