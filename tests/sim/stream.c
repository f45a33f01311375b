/* The broker's bytes to each client, cut into frames. A frame counts from its first byte on: when a link takes a part
 * of it, the rest is read from what the broker offered, and compared when it comes. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than the broker may ever send. */
static const struct mps_limits wide = {.head_max = 16384, .values_max = 4096, .payload_max = 64 * 1024 * 1024};

void stream_note(struct conn *conn, enum note_kind kind, uint64_t number)
{
    GROW(conn->notes, conn->notes_count, conn->notes_cap);
    conn->notes[conn->notes_count++] = (struct note){conn->frame_at + conn->frame_len, kind, number};
}

struct model_sub *stream_sub(const struct conn *conn, uint32_t sid)
{
    for (struct model_sub *sub = conn->model->subs; sub != NULL; sub = sub->next)
        if (sub->conn == conn && sub->shown && sub->sid == sid) return sub;
    return NULL;
}

bool stream_decoded(struct conn *conn, enum mps_code code, const char *const *what)
{
    if (code == MPS_OK) return true;
    CONN_FAIL(conn, "the broker sent a frame that does not decode: %s", *what);
    return false;
}

static void trace(const struct conn *conn, unsigned op, mps_view frame)
{
    const char *what;
    fprintf(stderr, "  client %u << %s, %u bytes", conn->number, mps_op_name(op), frame.len);
    if (op == MPS_OP_MSG) {
        const struct model *model = conn->model;
        uint32_t i = model->messages_count;
        while (i > 0 && (model->messages[i - 1].len != frame.len ||
                         memcmp(model->messages[i - 1].bytes, frame.ptr, frame.len) != 0))
            i--;
        fprintf(stderr, " #%d for %u", (int)i - 1, conn->for_sid);
        if (conn->for_stream > 0) fprintf(stderr, " at %llu:%llu", ULL(conn->for_stream), ULL(conn->for_seq));
    }
    struct mps_for terms;
    if (op == MPS_OP_FOR && mps_decode_for(frame, &terms, &what) == MPS_OK)
        fprintf(stderr, " sid %u flags %u stream %llu seq %llu tries %u", terms.sid, terms.flags, ULL(terms.stream),
                ULL(terms.seq), terms.tries);
    struct mps_gap gap;
    if (op == MPS_OP_GAP && mps_decode_gap(frame, &gap, &what) == MPS_OK)
        fprintf(stderr, " sid %u: %llu for reason %u, %llu:%llu to %llu", gap.sid, ULL(gap.count), gap.reason,
                ULL(gap.stream), ULL(gap.first), ULL(gap.last));
    struct mps_mark mark;
    if (op == MPS_OP_MARK && mps_decode_mark(frame, &mark, &what) == MPS_OK)
        fprintf(stderr, " %u sid %u", mark.kind, mark.sid);
    struct mps_puback ack;
    if (op == MPS_OP_PUBACK && mps_decode_puback(frame, &ack, &what) == MPS_OK)
        fprintf(stderr, " %llu code %u matched %llu dropped %llu", ULL(ack.pid), ack.code, ULL(ack.matched),
                ULL(ack.dropped));
    struct mps_suback suback;
    if (op == MPS_OP_SUBACK && mps_decode_suback(frame, &suback, &what) == MPS_OK)
        fprintf(stderr, " sid %u code %u %.*s", suback.sid, suback.code, (int)suback.text.len,
                (const char *)suback.text.ptr);
    struct mps_err err;
    if (op == MPS_OP_ERR && mps_decode_err(frame, &err, &what) == MPS_OK)
        fprintf(stderr, " %u for %s: %.*s", err.code, mps_op_name(err.op), (int)err.text.len,
                (const char *)err.text.ptr);
    struct mps_bye bye;
    if (op == MPS_OP_BYE && mps_decode_bye(frame, &bye, &what) == MPS_OK)
        fprintf(stderr, " %u %.*s", bye.code, (int)bye.text.len, (const char *)bye.text.ptr);
    fputc('\n', stderr);
}

static void on_frame(struct conn *conn, mps_view frame)
{
    unsigned op = mps_frame_op(frame);
    conn->frame_len = frame.len;
    if (conn->model->trace) trace(conn, op, frame);
    if (conn->bye_seen) CONN_FAIL(conn, "%s after BYE", mps_op_name(op));
    if (op == MPS_OP_MSG) deliveries_msg(conn, frame);
    else if (op == MPS_OP_FOR) deliveries_for(conn, frame);
    else if (op == MPS_OP_GAP) deliveries_gap(conn, frame);
    else answers_frame(conn, op, frame);
}

/* The length of the first frame, 0 if it is not whole. */
static uint32_t frame_length(struct conn *conn, const uint8_t *bytes, uint32_t len)
{
    if (len == 0) return 0;
    struct mps_scan scan = {0};
    enum mps_scan_result result = mps_scan(&scan, bytes, len, &wide);
    if (result == MPS_SCAN_MORE) return 0;
    if (result == MPS_SCAN_FRAME) return scan.pos;
    CONN_FAIL(conn, "the broker's stream breaks at byte %llu: %s", ULL(conn->frame_at + scan.pos), scan.error);
    return len;
}

/* The rest of a frame that was worked on already. */
static uint32_t take_ahead(struct conn *conn, const uint8_t *bytes, uint32_t len)
{
    uint32_t whole = conn->ahead_len;
    if (len < whole) return 0;
    if (memcmp(conn->ahead, bytes, whole) != 0)
        CONN_FAIL(conn, "a frame of %u bytes was changed after its first bytes were sent", whole);
    conn->ahead_len = 0;
    return whole;
}

static uint32_t take_frame(struct conn *conn, const uint8_t *bytes, uint32_t len)
{
    if (conn->ahead_len > 0) return take_ahead(conn, bytes, len);
    uint32_t whole = frame_length(conn, bytes, len);
    if (whole > 0 && !conn->model->world->failed) on_frame(conn, (mps_view){bytes, whole});
    return whole;
}

void stream_bytes(struct link *link, const uint8_t *bytes, size_t len)
{
    struct conn *conn = link->owner;
    while (conn->partial_len + len > conn->partial_cap) GROW(conn->partial, conn->partial_cap, conn->partial_cap);
    memcpy(conn->partial + conn->partial_len, bytes, len);
    conn->partial_len += (uint32_t)len;
    uint32_t at = 0;
    for (uint32_t one; (one = take_frame(conn, conn->partial + at, conn->partial_len - at)) > 0;) {
        conn->frame_at += one;
        at += one;
    }
    conn->partial_len -= at;
    memmove(conn->partial, conn->partial + at, conn->partial_len);
}

void stream_rest(struct link *link, const uint8_t *bytes, size_t len)
{
    struct conn *conn = link->owner;
    if (conn->partial_len == 0 || conn->ahead_len > 0) return;
    uint8_t *all = malloc(conn->partial_len + len);
    if (all == NULL) abort();
    memcpy(all, conn->partial, conn->partial_len);
    memcpy(all + conn->partial_len, bytes, len);
    uint32_t whole = frame_length(conn, all, conn->partial_len + (uint32_t)len);
    if (whole == 0) {
        CONN_FAIL(conn, "%u bytes of a frame were taken, of which the broker offered only %zu more", conn->partial_len,
                  len);
        free(all);
        return;
    }
    free(conn->ahead);
    conn->ahead = all;
    conn->ahead_len = whole;
    on_frame(conn, (mps_view){all, whole});
}
