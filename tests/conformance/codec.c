#include "codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pattern.h"
#include "wire.h"

static const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};

/* What became of one frame. code: MPS_OK accepted. */
struct verdict {
    bool more;   /* incomplete */
    unsigned op; /* as far as it was read; 128: it never was */
    unsigned code;
    bool ignored; /* an operation that a receiver passes over */
    bool same;    /* encoding what was decoded gave the same bytes */
    const char *what;
};

/* ---- one function per operation: decode, judge the names, encode again ------------------------------------------- */

/* What is wrong with a will costs only the will, unless it is malformed. */
static enum mps_code judge_will(mps_view raw)
{
    struct mps_will will;
    const char *what;
    if (mps_decode_will(raw, &will, &what) != MPS_OK) return MPS_MALFORMED;
    if (mps_topic_error(will.topic) != NULL) return MPS_BAD_TOPIC;
    return will.props.ptr != NULL ? mps_props_check(will.props, &what) : MPS_OK;
}

static enum mps_code judge_hello(const struct mps_hello *v)
{
    if (!mps_view_equal(v->magic, mps_text("mps"))) return MPS_MALFORMED;
    if (v->id.ptr != NULL && mps_id_error(v->id) != NULL) return MPS_BAD_CLIENT_ID;
    return v->will.ptr != NULL ? judge_will(v->will) : MPS_OK;
}

static enum mps_code judge_msg(const struct mps_msg *v)
{
    const char *what;
    if (mps_topic_error(v->topic) != NULL) return MPS_BAD_TOPIC;
    return v->props.ptr != NULL ? mps_props_check(v->props, &what) : MPS_OK;
}

static enum mps_code judge_pub(const struct mps_pub *v)
{
    return (v->pid == 0) == ((v->flags & MPS_PUB_LEVEL_MASK) == 0) ? MPS_OK : MPS_PID_ORDER;
}

static enum mps_code judge_sub(const struct mps_sub *v)
{
    if (v->sid == 0 || v->sid > MPS_SID_MAX) return MPS_BAD_OPTION;
    return mps_pattern_error(v->pattern) != NULL ? MPS_BAD_TOPIC : MPS_OK;
}

typedef enum mps_code round_trip(mps_view frame, struct mps_out *out, const char **what);

#define TRIP(NAME, type, decoder, encoder, judge)                                            \
    static enum mps_code trip_##NAME(mps_view frame, struct mps_out *out, const char **what) \
    {                                                                                        \
        struct type v = {0};                                                                 \
        enum mps_code code = mps_decode_##decoder(frame, &v, what);                          \
        if (code == MPS_OK) code = judge;                                                    \
        if (code == MPS_OK) mps_encode_##encoder(out, &v);                                   \
        return code;                                                                         \
    }
TRIP(HELLO, mps_hello, hello, hello, judge_hello(&v))
TRIP(MSG, mps_msg, msg, msg, judge_msg(&v))
TRIP(PUB, mps_pub, pub, pub, judge_pub(&v))
TRIP(FOR, mps_for, for, for, MPS_OK)
TRIP(ACK, mps_ack, ack, ack, MPS_OK)
TRIP(CREDIT, mps_credit, credit, credit, MPS_OK)
TRIP(GAP, mps_gap, gap, gap, MPS_OK)
TRIP(PUBACK, mps_puback, puback, puback, MPS_OK)
TRIP(SUB, mps_sub, sub, sub, judge_sub(&v))
TRIP(SUBACK, mps_suback, suback, suback, MPS_OK)
TRIP(UNSUB, mps_unsub, unsub, unsub, MPS_OK)
TRIP(MARK, mps_mark, mark, mark, MPS_OK)
TRIP(PING, mps_token, token, ping, MPS_OK)
TRIP(PONG, mps_token, token, pong, MPS_OK)
TRIP(STAT, mps_stat, stat, stat, MPS_OK)
TRIP(AUTH, mps_auth, auth, auth, MPS_OK)
TRIP(WELCOME, mps_welcome, welcome, welcome, MPS_OK)
TRIP(ERR, mps_err, err, err, MPS_OK)
TRIP(BYE, mps_bye, bye, bye, MPS_OK)
TRIP(INFO, mps_info, info, info, MPS_OK)

static round_trip *const trips[MPS_OP_MAX + 1] = {
#define OP(number, NAME, way, fields) [number] = trip_##NAME,
#include "ops.def"
#undef OP
};

static void judge_frame(mps_view frame, struct verdict *v)
{
    v->op = mps_frame_op(frame);
    round_trip *trip = trips[v->op];
    if (trip == NULL) {
        v->ignored = v->op >= 64;
        v->code = v->ignored ? MPS_OK : MPS_UNKNOWN_OP;
        return;
    }
    uint8_t *again = malloc(frame.len);
    if (again == NULL) abort();
    struct mps_out out = mps_out_open(again, frame.len);
    v->code = trip(frame, &out, &v->what);
    v->same = v->code == MPS_OK && mps_view_equal(mps_out_view(&out), frame);
    free(again);
}

/* ---- the scan, in pieces ----------------------------------------------------------------------------------------- */

/* The operation of a frame that may be anything; 128 if it isn't there. */
static unsigned peek_op(const uint8_t *frame, size_t len)
{
    struct mps_head array, op;
    if (mps_head_read(frame, len, &array) != 1 || array.type != MPS_ARRAY || array.count == 0) return 128;
    if (mps_head_read(frame + array.head_len, len - array.head_len, &op) != 1) return 128;
    return op.type == MPS_UINT && op.number <= MPS_OP_MAX ? (unsigned)op.number : 128;
}

/* Lets an oversized frame pass, as it would arrive; what is not used is offered again. */
static enum mps_scan_result skip_oversized(struct mps_scan *scan, const uint8_t *frame, size_t there, size_t len,
                                           size_t cut)
{
    size_t begin = 0, used;
    for (;;) {
        enum mps_scan_result result = mps_scan_skip(scan, frame + begin, there - begin, &limits, &used);
        begin += used;
        if (result != MPS_SCAN_MORE) return result == MPS_SCAN_FRAME && begin != len ? MPS_SCAN_MALFORMED : result;
        if (there == len) return MPS_SCAN_MORE;
        there = len - there < cut ? len : there + cut;
    }
}

static void judge(const uint8_t *frame, size_t len, size_t cut, struct verdict *v)
{
    struct mps_scan scan = {0};
    *v = (struct verdict){.op = peek_op(frame, len)};
    if (cut == 0) cut = len;
    enum mps_scan_result result = MPS_SCAN_MORE;
    size_t there = 0;
    while (result == MPS_SCAN_MORE && there < len) {
        there = len - there < cut ? len : there + cut;
        result = mps_scan(&scan, frame, there, &limits);
    }
    v->what = scan.error;
    switch (result) {
    case MPS_SCAN_MORE: v->more = true; return;
    case MPS_SCAN_MALFORMED: v->code = MPS_MALFORMED; return;
    case MPS_SCAN_LIMIT: v->code = MPS_LIMIT; return;
    case MPS_SCAN_TOO_LARGE:
        result = skip_oversized(&scan, frame, there, len, cut);
        v->code = result == MPS_SCAN_FRAME ? MPS_TOO_LARGE : MPS_INTERNAL;
        v->what = "an oversized frame was not passed over to its end";
        return;
    case MPS_SCAN_FRAME: break;
    }
    if (scan.pos != len) {
        v->code = MPS_INTERNAL;
        v->what = "the frame was taken for another length";
        return;
    }
    judge_frame((mps_view){frame, (uint32_t)len}, v);
}

/* Every beginning of an accepted frame is an incomplete frame. Of long frames, the cuts near both ends. */
static bool cuts_are_incomplete(const uint8_t *frame, size_t len, size_t *where)
{
    for (size_t cut = 0; cut < len; cut++) {
        if (cut == 2000 && len > 4000) cut = len - 2000;
        uint8_t *part = malloc(cut + 1); /* a copy of its own, so that reading beyond it is noticed */
        if (part == NULL) abort();
        memcpy(part, frame, cut);
        struct mps_scan scan = {0};
        enum mps_scan_result result = mps_scan(&scan, part, cut, &limits);
        free(part);
        *where = cut;
        if (result != MPS_SCAN_MORE) return false;
    }
    return true;
}

/* ---- one case ---------------------------------------------------------------------------------------------------- */

static void describe(const struct verdict *v, char *text, size_t cap)
{
    if (v->more) snprintf(text, cap, "more");
    else if (v->ignored) snprintf(text, cap, "ignore");
    else if (v->code != MPS_OK) snprintf(text, cap, "reject %u", v->code);
    else snprintf(text, cap, "ok %s%s", mps_op_name(v->op), v->same ? " same" : "");
}

static bool check_verdict(const struct step *frame, const struct step *wanted, size_t cut,
                          struct codec_coverage *coverage, char *error, size_t cap)
{
    struct verdict v;
    judge(frame->bytes, frame->len, cut, &v);
    char got[64];
    describe(&v, got, sizeof got);
    if (strcmp(got, wanted->text) != 0) {
        snprintf(error, cap, "line %u: wanted '%s', got '%s'%s%s", wanted->line, wanted->text, got, v.what ? ": " : "",
                 v.what ? v.what : "");
        return false;
    }
    size_t where;
    if (v.code == MPS_OK && !v.more && !cuts_are_incomplete(frame->bytes, frame->len, &where)) {
        snprintf(error, cap, "line %u: its first %zu bytes were not taken for an incomplete frame", frame->line, where);
        return false;
    }
    if (coverage == NULL || v.more || v.op > MPS_OP_MAX) return true;
    if (v.code == MPS_OK) coverage->accepted[v.op]++;
    else coverage->rejected[v.op]++;
    return true;
}

bool codec_play(const struct vector_case *c, size_t cut, struct codec_coverage *coverage, char *error, size_t cap)
{
    const struct step *frame = NULL;
    for (size_t i = 0; i < c->step_count; i++) {
        const struct step *step = &c->steps[i];
        if (step->kind == STEP_FRAME && frame == NULL) {
            frame = step;
        } else if (step->kind == STEP_IS && frame != NULL) {
            if (!pattern_matches(step->text, (mps_view){frame->bytes, (uint32_t)frame->len}, NULL)) {
                snprintf(error, cap, "line %u: the bytes are not %s", step->line, step->text);
                return false;
            }
        } else if (step->kind == STEP_VERDICT && frame != NULL) {
            if (!check_verdict(frame, step, cut, coverage, error, cap)) return false;
            frame = NULL;
        } else {
            snprintf(error, cap, "line %u: does not belong here: a codec case is frame, is, verdict", step->line);
            return false;
        }
    }
    if (frame == NULL && c->step_count > 0) return true;
    snprintf(error, cap, "a frame has no verdict");
    return false;
}
