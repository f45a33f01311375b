#include "outbox.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "outbox_frame.h"

#define FIRST_BYTES (96 * 1024) /* what gathers before it is written, and a message on top */

struct mps_frame mps_frame_at(const struct mps_outbox *box, size_t at, uint32_t flags)
{
    const uint8_t *p = box->buf + at;
    if (p[1] == MPS_OP_MSG) return (struct mps_frame){mps_msg_frame_len(p), true, false, mps_flags_acked(flags), flags};
    static const struct mps_limits any = {UINT32_MAX, MPS_VALUES_MAX, UINT32_MAX / 4};
    size_t left = box->end - at;
    struct mps_scan scan = {0};
    enum mps_scan_result found = mps_scan(&scan, p, left, &any);
    assert(found == MPS_SCAN_FRAME);
    struct mps_frame frame = {scan.pos, false, p[1] == MPS_OP_PUB, false, flags};
    struct mps_pub pub;
    const char *what;
    if (frame.is_terms && mps_decode_pub((mps_view){p, scan.pos}, &pub, &what) == MPS_OK) frame.flags = pub.flags;
    return frame;
}

void mps_outbox_init(struct mps_outbox *box, size_t limit)
{
    *box = (struct mps_outbox){.limit = limit, .terms.next_pid = 1, .begin.pid = 1, .gate.pid = 1, .offline = true};
}

void mps_outbox_free(struct mps_outbox *box)
{
    free(box->buf);
    box->buf = NULL;
}

/* ---- room ------------------------------------------------------------------------------------------------- */

/* Forgets what is no longer needed at the front: written whole, and not waiting for a PUBACK. */
static void trim(struct mps_outbox *box)
{
    if (box->sent == box->end && mps_outbox_unacked(box) == 0) { /* the common case, which needs no walk */
        box->begin = box->gate = (struct mps_place){0, box->terms.next_pid, box->terms.flags};
        box->sent = box->whole = box->end = 0;
        return;
    }
    while (box->begin.at < box->sent) {
        struct mps_frame frame = mps_frame_at(box, box->begin.at, box->begin.flags);
        if (box->begin.at + frame.len > box->sent) return;
        if (frame.acked && box->begin.pid > box->settled_pid) return;
        mps_step_over(&box->begin, &frame);
    }
}

static void move_to_front(struct mps_outbox *box)
{
    size_t by = box->begin.at;
    if (by == 0) return;
    memmove(box->buf, box->buf + by, box->end - by);
    box->begin.at = 0;
    box->sent -= by;
    box->whole -= by;
    box->gate.at -= by;
    box->end -= by;
}

static int grow(struct mps_outbox *box, size_t need)
{
    size_t cap = box->cap == 0 ? FIRST_BYTES : box->cap;
    while (cap - box->end < need) {
        if (cap > SIZE_MAX / 2) return PUBSUB_ENOMEM;
        cap *= 2;
    }
    if (cap == box->cap) return PUBSUB_OK;
    uint8_t *buf = realloc(box->buf, cap);
    if (buf == NULL) return PUBSUB_ENOMEM;
    box->buf = buf;
    box->cap = cap;
    return PUBSUB_OK;
}

static bool over_limit(const struct mps_outbox *box, size_t need)
{
    size_t used = box->end - box->begin.at;
    return used > 0 && need > box->limit - (used < box->limit ? used : box->limit);
}

static bool has_room(const struct mps_outbox *box, size_t need)
{
    return box->cap - box->end >= need && box->end - box->begin.at + need <= box->limit;
}

int mps_outbox_reserve(struct mps_outbox *box, size_t need, bool forced)
{
    if (has_room(box, need)) return PUBSUB_OK;
    trim(box);
    if (!forced && over_limit(box, need)) return PUBSUB_EAGAIN;
    /* Moving is worth it only when it frees as much as it moves, so that each byte is moved once on average. */
    if (box->cap - box->end < need && box->begin.at >= box->end - box->begin.at) move_to_front(box);
    return grow(box, need);
}

/* ---- appending ---------------------------------------------------------------------------------------------- */

/* The end moves; if nothing had to wait before it, whatever the window allows may be written too. */
static void extend(struct mps_outbox *box, size_t len, uint64_t acked_count)
{
    bool open = box->gate.at == box->end;
    box->end += len;
    if (!open || box->terms.next_pid - 1 - box->settled_pid > box->window) return;
    box->gate = (struct mps_place){box->end, box->gate.pid + acked_count, box->terms.flags};
}

struct mps_out mps_outbox_open(struct mps_outbox *box)
{
    return mps_out_open(box->buf + box->end, box->cap - box->end);
}

uint64_t mps_outbox_publish(struct mps_outbox *box, const struct mps_publish *publish)
{
    struct mps_out out = mps_outbox_open(box);
    uint64_t pid = mps_request_publish(&out, &box->terms, publish);
    assert(pid != UINT64_MAX);
    extend(box, out.len, pid != 0);
    return pid;
}

static bool is_last_topic(const struct mps_outbox *box, const char *topic)
{
    const struct mps_plain *last = &box->last;
    return last->topic_len > 0 && strncmp(topic, (const char *)box->last_head + last->topic_at, last->topic_len) == 0 &&
           topic[last->topic_len] == '\0';
}

/* Writes a message that differs from the last one in its payload alone. Returns the frame's length. */
static size_t put_again(const struct mps_outbox *box, uint8_t *at, mps_view payload)
{
    memcpy(at, box->last_head, box->last.bin_at);
    struct mps_out out = mps_out_open(at + box->last.bin_at, (size_t)payload.len + MPS_SMALL_FRAME_MAX);
    mps_put_bin(&out, payload);
    return box->last.bin_at + out.len;
}

/* Writes a message and keeps its head. */
static size_t put_new(struct mps_outbox *box, uint8_t *at, size_t room, const struct mps_msg *msg)
{
    struct mps_out out = mps_out_open(at, room);
    bool fitted = mps_encode_msg(&out, msg) && mps_plain_read(at, out.len, &box->last);
    assert(fitted);
    memcpy(box->last_head, at, box->last.bin_at);
    return out.len;
}

bool mps_outbox_publish_bare(struct mps_outbox *box, const char *topic, const void *payload, size_t len,
                             uint64_t payload_max, uint64_t *pid)
{
    struct mps_msg msg;
    const char *why;
    bool again = len <= payload_max && is_last_topic(box, topic);
    if (!again && mps_request_bare(&msg, topic, payload, len, payload_max, &why) != PUBSUB_OK) return false;
    size_t need = mps_request_bare_bound(again ? box->last.topic_len : msg.topic.len, len);
    if (!has_room(box, need)) return false;
    uint8_t *at = box->buf + box->end;
    size_t frame_len = again ? put_again(box, at, mps_payload_view(payload, len)) : put_new(box, at, need, &msg);
    *pid = mps_take_pid(&box->terms);
    extend(box, frame_len, *pid != 0);
    return true;
}

void mps_outbox_add(struct mps_outbox *box, const struct mps_out *frame)
{
    extend(box, frame->len, 0);
}

/* ---- writing and settling ----------------------------------------------------------------------------------- */

size_t mps_outbox_writable(const struct mps_outbox *box)
{
    return box->gate.at - box->sent;
}

void mps_outbox_written(struct mps_outbox *box, size_t len)
{
    box->sent += len;
    assert(box->sent <= box->gate.at);
    if (box->sent > box->whole) box->whole = box->gate.at; /* somewhere in a frame: its end isn't known, this one is */
    if (box->sent == box->end && mps_outbox_unacked(box) == 0) trim(box);
}

void mps_outbox_open_gate(struct mps_outbox *box)
{
    while (box->gate.at < box->end) {
        struct mps_frame frame = mps_frame_at(box, box->gate.at, box->gate.flags);
        if (frame.acked && box->gate.pid - box->settled_pid > box->window) return;
        mps_step_over(&box->gate, &frame);
    }
}

bool mps_outbox_settle(struct mps_outbox *box, uint64_t pid)
{
    if (pid >= box->terms.next_pid) return false;
    if (pid <= box->settled_pid) return true;
    box->settled_pid = pid;
    trim(box);
    if (box->begin.pid <= pid) {
        box->settled_pid = box->begin.pid - 1;
        return false;
    }
    mps_outbox_open_gate(box);
    return true;
}

/* ---- connections --------------------------------------------------------------------------------------------- */

static const uint8_t nothing[MPS_VOID_LEN] = {0x94, MPS_OP_MSG, 0xa1, '+', 0xc0, 0xc4, 0x00};

void mps_void_write(uint8_t *at)
{
    memcpy(at, nothing, sizeof nothing);
}

bool mps_void_is(const uint8_t *frame, size_t len)
{
    return len == sizeof nothing && memcmp(frame, nothing, sizeof nothing) == 0;
}

void mps_outbox_lost(struct mps_outbox *box, bool (*is_void)(uint64_t pid, const void *user), const void *user)
{
    trim(box);
    struct mps_place from = box->begin;
    size_t to = 0, last_terms = SIZE_MAX; /* of a PUB that nothing follows yet: another one replaces it */
    while (from.at < box->end) {
        struct mps_frame frame = mps_frame_at(box, from.at, from.flags);
        bool kept = frame.is_terms || (frame.is_message && (frame.acked || from.at + frame.len > box->sent));
        if (kept) {
            if (frame.is_terms && last_terms != SIZE_MAX) to = last_terms;
            last_terms = frame.is_terms ? to : SIZE_MAX;
            memmove(box->buf + to, box->buf + from.at, frame.len);
            bool forget = frame.acked && is_void(from.pid, user);
            if (forget) mps_void_write(box->buf + to);
            to += forget ? MPS_VOID_LEN : frame.len;
        }
        mps_step_over(&from, &frame);
    }
    box->begin.at = 0;
    box->gate = box->begin;
    box->sent = box->whole = 0;
    box->end = to;
    box->offline = true;
}

bool mps_outbox_forget(struct mps_outbox *box, uint64_t pid)
{
    struct mps_place place = box->begin;
    if (pid >= box->terms.next_pid) return false;
    if (pid <= box->settled_pid) return true;
    while (place.pid <= pid) {
        struct mps_frame frame = mps_frame_at(box, place.at, place.flags);
        if (!frame.acked && !frame.is_terms) return false; /* kept because it was not written, nor what follows */
        mps_step_over(&place, &frame);
    }
    box->settled_pid = pid;
    box->begin = box->gate = place;
    box->sent = box->whole = place.at;
    move_to_front(box);
    return true;
}

/* The terms that what was kept begins with. The first PUB of a connection names the first pid that is not settled; if
 * unacknowledged messages come first, a PUB ahead of theirs has to do that. */
static void put_first_terms(const struct mps_outbox *box, struct mps_out *out)
{
    uint64_t pid = box->settled_pid + 1;
    bool acked = mps_flags_acked(box->begin.flags);
    if (acked || pid > 1)
        mps_encode_pub(out, &(struct mps_pub){pid, acked ? box->begin.flags : 1u << MPS_PUB_LEVEL_SHIFT});
    if (!acked && (pid > 1 || box->begin.flags != 0)) mps_encode_pub(out, &(struct mps_pub){0, box->begin.flags});
}

int mps_outbox_connected(struct mps_outbox *box, uint64_t window, const uint8_t *frames, size_t len)
{
    uint8_t terms[2 * MPS_SMALL_FRAME_MAX];
    struct mps_out out = mps_out_open(terms, sizeof terms);
    put_first_terms(box, &out);
    size_t front = len + out.len;
    move_to_front(box); /* what was dropped meanwhile */
    int rc = grow(box, front);
    if (rc != PUBSUB_OK) return rc;
    memmove(box->buf + front, box->buf, box->end);
    if (len > 0) memcpy(box->buf, frames, len);
    memcpy(box->buf + len, terms, out.len);
    box->end += front;
    box->begin = box->gate = (struct mps_place){0, box->settled_pid + 1, 0};
    box->window = window;
    box->offline = false;
    mps_outbox_open_gate(box);
    return PUBSUB_OK;
}

/* ---- figures ------------------------------------------------------------------------------------------------- */

bool mps_outbox_all_written(const struct mps_outbox *box)
{
    return box->sent == box->end;
}

uint64_t mps_outbox_unacked(const struct mps_outbox *box)
{
    return box->terms.next_pid - 1 - box->settled_pid;
}

size_t mps_outbox_bytes(const struct mps_outbox *box)
{
    return box->end - (mps_outbox_unacked(box) == 0 ? box->sent : box->begin.at);
}
