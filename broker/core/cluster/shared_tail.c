/* What comes from a shared stream: its messages as they come, as long as somebody here reads it, and what is read of
 * those of before. */
#include <stdlib.h>
#include <string.h>

#include "shared.h"
#include "sure.h"
#include "trace.h"

/* Of a message: the most that any configuration allows. */
#define PAYLOAD_MAX (256u * 1024 * 1024)

/* ---- whether it is followed --------------------------------------------------------------------------------- */

/* To send each message to each broker is the larger part of what a server does for it. Who traces wants to see it come.
 */
static bool is_wanted(const struct stream *stream)
{
    return stream->readings.first != NULL || stream->broker->tracing != NULL;
}

void shared_follow(struct stream *stream)
{
    struct engine *engine = stream->broker->cluster->engine;
    if (!stream->is_known) return;
    if (is_wanted(stream)) {
        if (stream->is_followed && stream->is_followed_from) return;
        stream->is_followed = stream->is_followed_from = true;
        engine->follow(engine, stream->number, stream->identity, stream->stored);
    } else if (stream->is_followed) {
        stream->is_followed = false;
        engine->follow(engine, stream->number, stream->identity, 0);
        shared_knows(stream, stream->next);
    }
}

/* What nobody follows can be read as soon as it is heard of: a read goes to where the stream is led. */
void shared_knows(struct stream *stream, uint64_t next)
{
    stream->next = next;
    if (!stream->is_followed) stream->stored = next;
}

/* ---- what comes --------------------------------------------------------------------------------------------- */

/* The length of the frame, 0: that can't be known. is_message: somebody may have published it. */
static uint32_t judge(const uint8_t *p, uint32_t len, bool *is_message, uint64_t *ttl_ms)
{
    struct mps_scan scan = {0};
    struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, PAYLOAD_MAX};
    struct mps_msg msg;
    const char *what;
    *is_message = false;
    if (mps_scan(&scan, p, len, &limits) != MPS_SCAN_FRAME) return 0;
    if (scan.op != MPS_OP_MSG || mps_decode_msg((mps_view){p, scan.pos}, &msg, &what) != MPS_OK) return scan.pos;
    if (mps_topic_error(msg.topic) != NULL) return scan.pos;
    if (msg.props.ptr == NULL) {
        *is_message = true;
        return scan.pos;
    }
    if (mps_props_check(msg.props, &what) != MPS_OK) return scan.pos;
    *is_message = true;
    mps_view raw = mps_props_find(msg.props, MPS_PROP_TTL_MS);
    if (raw.ptr == NULL) return scan.pos;
    struct mps_reader r = mps_reader_open(raw);
    uint64_t value = mps_read_uint(&r, MPS_NUMBER_MAX, "ttl");
    if (r.bad == NULL && value < *ttl_ms) *ttl_ms = value;
    return scan.pos;
}

/* Messages of a block that stand one behind the other. */
struct stretch {
    uint64_t first;
    uint32_t off, len, count;
    uint64_t ttl_ms; /* the shortest */
};

static void take_stretch(struct stream *stream, const struct store_block *block, const uint8_t *bytes,
                         const struct stretch *stretch)
{
    uint8_t *own = stretch->count > 0 ? malloc(stretch->len) : NULL;
    if (own == NULL) return; /* without memory: who wants it reads it later */
    memcpy(own, bytes + stretch->off, stretch->len);
    struct store_block part = {.stream = stream->number,
                               .count = stretch->count,
                               .first = stretch->first,
                               .time_ms = least(block->time_ms, MPS_NUMBER_MAX),
                               .len = stretch->len};
    if (stretch->ttl_ms != UINT64_MAX) part.expires_ms = part.time_ms + stretch->ttl_ms + 1;
    if (stream->broker->tracing != NULL) trace_shared_came(stream, own, &part);
    chunk_of_bytes(stream, &part, own);
}

static void note_rubbish(struct stream *stream, uint64_t first, uint64_t last)
{
    chunk_note_hole(stream, first, last + 1);
    if (damage_note(stream, first, last) == 0) return;
    log_say(
        stream->broker, EVENT_STREAM_DAMAGED,
        LOG_FIELDS(log_value("stream", mps_text(stream->name)), log_number("first", first), log_number("last", last)),
        "stream '%s' holds what is no message: positions %llu to %llu", printable(mps_text(stream->name)),
        (unsigned long long)first, (unsigned long long)last);
}

void shared_take_block(struct stream *stream, const struct store_block *block, const uint8_t *bytes)
{
    struct stretch stretch = {.first = block->first, .ttl_ms = UINT64_MAX};
    uint64_t end = block->first + block->count;
    uint32_t off = 0;
    for (uint64_t at = block->first; at < end; at++) {
        bool is_message;
        uint32_t len = judge(bytes + off, block->len - off, &is_message, &stretch.ttl_ms);
        if (is_message) {
            stretch.len += len;
            stretch.count++;
            off += len;
            continue;
        }
        take_stretch(stream, block, bytes, &stretch);
        note_rubbish(stream, at, len > 0 ? at : end - 1);
        if (len == 0) return;
        off += len;
        stretch = (struct stretch){.first = at + 1, .off = off, .ttl_ms = UINT64_MAX};
    }
    take_stretch(stream, block, bytes, &stretch);
}

void shared_on_tail(struct cluster *cluster, const struct store_block *block)
{
    struct stream *stream = shared_stream(cluster, block->stream);
    if (stream == NULL || block->first == 0 || block->first > MPS_NUMBER_MAX - block->count) return;
    uint64_t end = block->first + block->count;
    shared_take_block(stream, block, block->bytes);
    if (end <= stream->stored) return;
    stream->stored = end;
    if (stream->next < end) stream->next = end;
    stream->stored_msgs += block->count; /* until it is heard anew */
    stream->stored_bytes += block->len;
    cursors_wake_tail(stream);
    cursors_wake(&stream->loading); /* who waits for what came just now */
}
