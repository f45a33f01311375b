/* Messages that were delivered before and are due again, or never again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "sure.h"

/* Where a message goes that nobody could handle: its topic below $dead, or $dead alone if that is too long. */
static mps_view dead_topic(mps_view topic, uint8_t room[MPS_TOPIC_MAX])
{
    int len = snprintf((char *)room, MPS_TOPIC_MAX, "$dead/%.*s", (int)topic.len, (const char *)topic.ptr);
    mps_view dead = {room, (uint32_t)len};
    return len < MPS_TOPIC_MAX && mps_topic_error(dead) == NULL ? dead : mps_text("$dead");
}

static void put_text(struct mps_out *out, const char *key, mps_view text)
{
    mps_put_text(out, mps_text(key));
    mps_put_text(out, text);
}

static void put_number(struct mps_out *out, const char *key, uint64_t number)
{
    mps_put_text(out, mps_text(key));
    mps_put_uint(out, number);
}

/* The message's own properties, and why it is here. A ttl is left out: it would end here what somebody has to look at.
 * False: there is no room for all of it. */
static bool write_props(struct mps_out *out, const struct mps_msg *msg, const struct reading *reading,
                        const struct pending *pending)
{
    static const char *const ours[] = {"reason", "topic", "tries", "stream", "seq"};
    struct mps_reader r = mps_reader_open(msg->props.ptr != NULL ? msg->props : (mps_view){NULL, 0});
    uint32_t pairs = msg->props.ptr != NULL ? mps_read_map(&r, "props") : 0, kept = 0;
    uint8_t room[MPS_HEAD_MAX];
    struct mps_out own = mps_out_open(room, sizeof room);
    for (uint32_t i = 0; i < pairs; i++) {
        mps_view key = mps_read_any(&r, "key"), value = mps_read_any(&r, "value");
        bool is_ours = key.len == 1 && key.ptr[0] == MPS_PROP_TTL_MS;
        for (size_t k = 0; k < sizeof ours / sizeof ours[0]; k++)
            if (key.len == strlen(ours[k]) + 1 && memcmp(key.ptr + 1, ours[k], key.len - 1) == 0) is_ours = true;
        if (is_ours) continue;
        mps_put_raw(&own, key);
        mps_put_raw(&own, value);
        kept++;
    }
    mps_put_map(out, kept + 5);
    mps_put_raw(out, mps_out_view(&own));
    put_text(out, "reason", mps_text(pending->is_rejected ? "rejected" : "max_tries"));
    put_text(out, "topic", msg->topic);
    put_number(out, "tries", pending->tries);
    put_number(out, "stream", reading->stream->number);
    put_number(out, "seq", pending->seq);
    return !out->full && !own.full;
}

/* False: there is no memory for it. */
static bool publish_dead(struct reading *reading, const struct pending *pending, mps_view frame)
{
    struct broker *broker = reading->cursor->broker;
    struct mps_msg msg;
    const char *what;
    uint8_t props_room[MPS_HEAD_MAX - 2 * MPS_TOPIC_MAX], topic_room[MPS_TOPIC_MAX];
    mps_decode_msg(frame, &msg, &what); /* accepted when it came */
    struct mps_out props = mps_out_open(props_room, sizeof props_room);
    if (!write_props(&props, &msg, reading, pending)) { /* its own are too long: only ours then */
        struct mps_msg bare = {.topic = msg.topic};
        props = mps_out_open(props_room, sizeof props_room);
        write_props(&props, &bare, reading, pending);
    }
    uint32_t cap = MPS_HEAD_MAX + msg.payload.len;
    uint8_t *room = sure_if_small(cap);
    if (room == NULL) return false;
    struct mps_out out = mps_out_open(room, cap);
    struct mps_msg dead = {
        .topic = dead_topic(msg.topic, topic_room), .props = mps_out_view(&props), .payload = msg.payload};
    bool is_whole = mps_encode_msg(&out, &dead);
    struct stream *stream = stream_of_topic(broker, dead.topic);
    bool has_room = stream == NULL || stream_reserve(stream, out.len, out.len);
    struct run *run = is_whole && has_room ? run_copy(&broker->runs, out.buf, out.len) : NULL;
    if (run != NULL) publish_own(broker, run, false, NULL);
    free(room);
    return run != NULL || !is_whole;
}

static void give_up(struct reading *reading, struct pending *pending, struct subscription *sub,
                    enum mps_gap_reason reason)
{
    if (!pending->is_rejected)
        outlet_push(sub->outlet, &(struct outlet_entry){.kind = OUTLET_GAP,
                                                        .reason = reason,
                                                        .count_known = true,
                                                        .is_again = true,
                                                        .count = 1,
                                                        .seq = pending->seq,
                                                        .last = pending->seq,
                                                        .reading = reading});
    pending_done(reading, pending);
}

/* What its reader may not receive any more. */
static bool is_denied(const struct reading *reading, mps_view frame)
{
    const struct mailbox *box = reading->cursor->box;
    struct mps_msg msg;
    const char *what;
    if (!box->is_guarded) return false;
    mps_decode_msg(frame, &msg, &what); /* accepted when it came */
    return !grant_receives(box->session->grant, msg.topic);
}

static int64_t expiry_ms(const struct chunk *chunk, uint64_t seq, mps_view frame)
{
    struct mps_msg msg;
    const char *what;
    if (chunk->expires_ms == 0) return INT64_MAX;
    mps_decode_msg(frame, &msg, &what); /* accepted when it came */
    return reading_expiry_ms(chunk, seq, msg.props);
}

static void push_again(struct reading *reading, struct pending *pending, struct subscription *sub,
                       const struct chunk *chunk, uint32_t off, uint32_t len)
{
    bool before = pending->tries > 0;
    int64_t expires_ms = expiry_ms(chunk, pending->seq, (mps_view){chunk->run->bytes + off, len});
    if (expires_ms < sub->outlet->expires_ms) sub->outlet->expires_ms = expires_ms;
    outlet_push(sub->outlet, &(struct outlet_entry){.kind = OUTLET_MSGS,
                                                    .flags = before ? MPS_FOR_REDELIVERED
                                                                    : reading_replay_flag(reading, pending->seq),
                                                    .is_again = true,
                                                    .tries = before ? pending->tries + 1 : 0,
                                                    .run = chunk->run,
                                                    .off = off,
                                                    .len = len,
                                                    .count = 1,
                                                    .seq = pending->seq,
                                                    .time_ms = chunk->time_ms,
                                                    .reading = reading});
    pending_queued(reading, pending, sub);
}

enum reading_result redelivery_take(struct reading *reading, struct subscription *sub)
{
    struct pending *pending = pending_first_due(reading);
    if (pending == NULL) return READING_NOTHING;
    uint64_t hole_end = 0;
    struct chunk *chunk = NULL;
    if (pending->seq >= reading->stream->first) chunk = chunk_at(reading->stream, pending->seq, &hole_end);
    else hole_end = reading->stream->first;
    if (chunk == NULL && hole_end == 0) {
        reading_wait(reading, &reading->stream->loading);
        return READING_WAITS;
    }
    if (chunk == NULL) {
        bool is_removed = pending->seq < reading->stream->first;
        give_up(reading, pending, sub,
                is_removed ? MPS_GAP_RETENTION : reading_hole_reason(reading->stream, pending->seq));
        return READING_SOME;
    }
    uint32_t off = run_skip(chunk->run, 0, (uint32_t)(pending->seq - chunk->first));
    uint32_t len = mps_msg_frame_len(chunk->run->bytes + off);
    mps_view frame = {chunk->run->bytes + off, len};
    if (pending->state == PENDING_DEAD) {
        if (!publish_dead(reading, pending, frame)) {
            chunk_retry_later(reading->stream);
            reading_wait(reading, &reading->stream->loading);
            return READING_WAITS;
        }
        give_up(reading, pending, sub, MPS_GAP_GAVE_UP);
    } else if (is_denied(reading, frame)) {
        give_up(reading, pending, sub, MPS_GAP_FORBIDDEN);
    } else if (expiry_ms(chunk, pending->seq, frame) <= (int64_t)reading->cursor->broker->now_ms) {
        give_up(reading, pending, sub, MPS_GAP_EXPIRED);
    } else {
        push_again(reading, pending, sub, chunk, off, len);
    }
    return READING_SOME;
}
