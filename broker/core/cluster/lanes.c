#include "lanes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sure.h"
#include "trace.h"

/* Bytes of a datagram to which messages are gathered; a longer message goes alone, if the engine takes it. */
#define DATAGRAM_BYTES (256u * 1024)
#define LANE_CAP_LEAST 8192u

static uint32_t datagram_max(const struct neighbour *to)
{
    size_t max = to->cluster->engine->datagram_max;
    return (uint32_t)least(max > ENGINE_DATAGRAM_LEAST ? max : ENGINE_DATAGRAM_LEAST, UINT32_MAX / 2);
}

static uint32_t most(const struct neighbour *to)
{
    return (uint32_t)least(datagram_max(to), DATAGRAM_BYTES);
}

/* Whoever knew one of before sees that another one is new. What was gathered is not sent any more. */
static void note_last(const struct neighbour *to)
{
    if (to->cluster->broker->tracing != NULL) trace_relayed(to, false);
    if (to->lane.seq > to->cluster->last_seq) to->cluster->last_seq = to->lane.seq;
}

void lane_begin(struct neighbour *to)
{
    uint8_t *bytes = to->lane.bytes;
    uint32_t cap = to->lane.cap;
    note_last(to);
    to->lane = (struct lane){.bytes = bytes, .cap = cap, .seq = to->cluster->last_seq + 1};
}

void lane_free(struct neighbour *to)
{
    note_last(to);
    free(to->lane.bytes);
    to->lane = (struct lane){0};
}

/* Room for so many bytes behind what is in the lane; the datagram may get as long as that. False: no memory. */
static bool make_room(struct lane *lane, uint32_t len)
{
    uint32_t used = lane->len > 0 ? lane->len : BETWEEN_LANE_MAX, cap = lane->cap;
    if (cap - used >= len && lane->bytes != NULL) return true;
    if (cap < LANE_CAP_LEAST) cap = LANE_CAP_LEAST;
    while (cap - used < len) cap *= 2;
    uint8_t *bytes = realloc(lane->bytes, cap);
    if (bytes == NULL) return false;
    lane->bytes = bytes;
    lane->cap = cap;
    return true;
}

static void send(struct neighbour *to)
{
    struct cluster *cluster = to->cluster;
    struct lane *lane = &to->lane;
    uint8_t head[BETWEEN_LANE_MAX];
    struct mps_out out = mps_out_open(head, sizeof head);
    uint32_t frames_len = lane->len > 0 ? lane->len - BETWEEN_LANE_MAX : 0;
    const uint8_t *bytes = head;
    lane->seq++;
    between_encode_lane(&out, &(struct between_lane){.name = mps_text(cluster->name),
                                                     .tag = {cluster->tag, CLUSTER_TAG_BYTES},
                                                     .boot = cluster->boot,
                                                     .to_boot = to->boot,
                                                     .seq = lane->seq,
                                                     .messages = lane->messages,
                                                     .told = lane->told});
    if (frames_len > 0) bytes = memcpy(lane->bytes + BETWEEN_LANE_MAX - out.len, head, out.len);
    bool is_sent = cluster->engine->send(cluster->engine, to->name, bytes, out.len + frames_len);
    if (cluster->broker->tracing != NULL) trace_relayed(to, is_sent);
    to->dropped_out += !is_sent;
    to->datagrams_out++;
    to->messages_out += lane->messages_here;
    lane->messages += lane->messages_here;
    lane->messages_here = lane->len = 0;
    lane->has_terms = false;
    lane->sent_ms = cluster->broker->now_ms;
}

void lane_flush(struct neighbour *to)
{
    if (to->lane.len > 0) send(to);
}

void lane_beat(struct neighbour *to)
{
    send(to);
}

void lane_lose(struct neighbour *to, uint64_t messages)
{
    lane_flush(to);
    to->lane.messages += messages;
}

static void append(struct lane *lane, const uint8_t *bytes, uint32_t len)
{
    if (lane->len == 0) lane->len = BETWEEN_LANE_MAX;
    memcpy(lane->bytes + lane->len, bytes, len);
    lane->len += len;
}

static uint32_t left_of(const struct neighbour *to, uint32_t max)
{
    uint32_t used = to->lane.len > 0 ? to->lane.len : BETWEEN_LANE_MAX;
    return used < max ? max - used : 0;
}

void lane_put_frame(struct neighbour *to, const struct mps_out *frame)
{
    if (frame->len > left_of(to, most(to))) lane_flush(to);
    if (make_room(&to->lane, frame->len)) append(&to->lane, frame->buf, frame->len);
    else to->lane.seq++; /* a hole */
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

/* What has to stand before messages with these terms; of the usual ones only behind others. */
static void encode_terms(struct mps_out *out, const struct far_terms *terms)
{
    struct between_item groups[INBOUND_GROUPS_MAX];
    uint32_t count = terms != NULL ? terms->count : 0;
    for (uint32_t i = 0; i < count; i++)
        groups[i] = (struct between_item){far_group(terms->groups[i]), far_pattern(terms->groups[i])};
    between_encode_terms(out, terms == NULL || terms->plain, groups, count);
}

static void put_too_long(struct neighbour *to, const struct run *run, struct part one)
{
    const uint32_t len = one.len;
    if (run->is_traced) trace_unrelayed(to, run, one);
    struct broker *broker = to->cluster->broker;
    log_say(broker, EVENT_CLUSTER_TOO_LONG, LOG_FIELDS(log_word("to", to->name), log_number("bytes", len)),
            "a message of %u bytes is too long to go to broker '%s': a datagram has at most %u bytes", len, to->name,
            datagram_max(to));
    lane_lose(to, 1);
}

/* The first frames of a part that fit into so many bytes; none: count 0. */
static struct part fitting(struct run *run, struct part part, uint32_t room)
{
    uint32_t count;
    if (part.len <= room) return part;
    run_frame_end(run, part.off, part.off + room, &count); /* the first one that does not fit, and those before it */
    uint32_t end = count > 1 ? run_skip(run, part.off, count - 1) : part.off;
    return (struct part){part.off, end - part.off, count - 1};
}

/* Puts as many as go into the datagram. Returns which; none: it has to be flushed first. */
static struct part put_some(struct neighbour *to, const struct mps_out *terms, struct run *run, struct part part,
                            uint32_t max)
{
    struct lane *lane = &to->lane;
    uint32_t before = terms->len, room = left_of(to, max);
    struct part some = fitting(run, part, room > before ? room - before : 0);
    if (some.count == 0) return some;
    if (!make_room(lane, before + some.len)) {
        if (run->is_traced) trace_unrelayed(to, run, some);
        lane_lose(to, some.count);
        return some;
    }
    if (before > 0) append(lane, terms->buf, before);
    append(lane, run->bytes + some.off, some.len);
    lane->messages_here += some.count;
    if (run->is_traced) trace_relaying(to, run, some);
    return some;
}

void lane_put_msgs(struct neighbour *to, const struct far_terms *terms, struct run *run, struct part part)
{
    uint8_t room[INBOUND_GROUPS_MAX * (MPS_ID_MAX + MPS_TOPIC_MAX + 8) + 16];
    struct mps_out before = mps_out_open(room, sizeof room);
    if (terms != NULL || to->lane.has_terms) encode_terms(&before, terms);
    while (part.count > 0) {
        struct part some = put_some(to, &before, run, part, most(to));
        if (some.count > 0) {
            to->lane.has_terms = terms != NULL && to->lane.len > 0;
        } else if (to->lane.len > 0) {
            lane_flush(to);
            continue;
        } else {
            uint32_t one, end = run_frame_end(run, part.off, part.off, &one);
            some = (struct part){part.off, end - part.off, 1};
            if (put_some(to, &before, run, some, datagram_max(to)).count == 0) put_too_long(to, run, some);
            else lane_flush(to);
        }
        part = (struct part){part.off + some.len, part.len - some.len, part.count - some.count};
    }
}
