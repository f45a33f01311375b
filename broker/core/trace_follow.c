/* Traces: messages that come in, and which of them are followed. */
#include "trace_parts.h"

#include <stdlib.h>
#include <string.h>

#include "identity.h"
#include "sure.h"

/* Frames whose topics are compared with a pattern in the time of a step of broker.work. */
#define COMPARED_A_STEP 8u

static bool matches(const struct trace *trace, mps_view topic)
{
    return mps_topic_error(topic) == NULL && mps_topic_matches((mps_view){trace->pattern, trace->pattern_len}, topic);
}

static struct traced *add(struct trace *trace, struct run *run, struct part part, mps_view topic)
{
    struct traced *message = sure_zeroed(sizeof *message);
    message->trace = trace;
    message->place = run->place + part.off;
    message->len = part.len;
    message->came_us = trace_now_us(trace->broker);
    message->topic_len = (uint8_t)topic.len;
    memcpy(message->topic, topic.ptr, topic.len);
    list_append(&trace->messages, &message->in_messages);
    trace->taken++;
    run->is_traced = 1;
    return message;
}

static void add_from(struct trace *trace, const struct session *session, struct run *run, struct part part,
                     mps_view topic)
{
    struct traced *message = add(trace, run, part, topic);
    uint32_t flags = session->terms.flags;
    uint64_t now_ms = session->broker->env->now_ms(session->broker->env);
    message->origin = origin_ref(session->origin);
    message->retain = (flags & MPS_PUB_RETAIN) != 0;
    message->level = (uint8_t)((flags & MPS_PUB_LEVEL_MASK) >> MPS_PUB_LEVEL_SHIFT);
    if (session->held_since_ms < now_ms) message->held_ms = now_ms - session->held_since_ms;
}

/* Copies of what is taken up in one turn. Each costs several times what others do, and the loop waits meanwhile. */
#define COPIES_A_TURN 100000u

/* As many messages of the run as the trace wants still, and as the turn allows. Nearly all runs are of one topic. */
static void take_up(struct trace *trace, const struct session *session, const struct publish *publish)
{
    struct run *run = publish->run;
    struct tracing *tracing = trace->broker->tracing;
    uint32_t looks = 0, copies = publish->route != NULL ? publish->route->count : 0;
    for (uint32_t at = 0, end, one;
         at < run->len && trace->taken < trace->wanted && tracing->turn_copies < COPIES_A_TURN; at = end, looks++) {
        struct mps_msg msg;
        const char *what;
        end = run_frame_end(run, at, at, &one);
        mps_decode_msg((mps_view){run->bytes + at, end - at}, &msg, &what); /* accepted when it came */
        if (matches(trace, msg.topic)) {
            add_from(trace, session, run, (struct part){at, end - at, 1}, msg.topic);
            tracing->turn_copies += copies;
        } else if (!publish->is_joined) {
            break;
        }
    }
    trace->broker->work += looks / COMPARED_A_STEP;
}

void trace_came(struct session *session, const struct publish *publish)
{
    EACH_TRACE(session->broker->tracing, trace)
    if (trace->taken < trace->wanted) take_up(trace, session, publish);
}

void trace_came_from_broker(struct broker *broker, struct run *run, struct origin *origin, const char *neighbour,
                            bool retain)
{
    struct mps_msg msg;
    const char *what;
    if (broker->tracing->is_telling) return;
    mps_decode_msg((mps_view){run->bytes, run->len}, &msg, &what);
    EACH_TRACE(broker->tracing, trace)
    {
        if (trace->taken >= trace->wanted || !matches(trace, msg.topic)) continue;
        struct traced *message = add(trace, run, (struct part){0, run->len, 1}, msg.topic);
        message->origin = origin_ref(origin);
        if (neighbour != NULL) message->neighbour = sure_text(neighbour);
        message->retain = retain;
    }
}

void trace_refused(struct broker *broker, const struct run *run, struct part part, uint32_t code, const char *text)
{
    if (broker->tracing == NULL) return;
    EACH_TRACE(broker->tracing, trace)
    EACH_TRACED(trace, message)
    {
        if (message->is_taken || message->code != 0 || !traced_is_in(message, run, part.off, part.len)) continue;
        message->code = code;
        message->text = sure_text(text);
    }
}

void trace_kept(struct stream *stream, struct run *run, struct part part, uint64_t last_seq)
{
    if (stream->broker->tracing == NULL) return;
    EACH_TRACE(stream->broker->tracing, trace)
    EACH_TRACED(trace, message)
    {
        if (message->is_taken || !traced_is_in(message, run, part.off, part.len)) continue;
        uint32_t off = (uint32_t)(message->place - run->place), count;
        run_frame_end(run, off, part.off + part.len - 1, &count);
        message->stream = stream;
        message->seq = last_seq - (count - 1);
        message->waits_for_store = true;
    }
}

static uint64_t hash_of(const struct broker *broker, const uint8_t *frame, uint32_t len)
{
    return hash_bytes(broker->seed, frame, len);
}

void trace_shared(struct stream *stream, const struct run *run, struct part part, uint64_t token)
{
    if (stream->broker->tracing == NULL) return;
    EACH_TRACE(stream->broker->tracing, trace)
    EACH_TRACED(trace, message)
    {
        if (message->is_taken || !traced_is_in(message, run, part.off, part.len)) continue;
        message->stream = stream;
        message->seq = UINT64_MAX;
        message->token = token;
        message->frame_hash = hash_of(stream->broker, run->bytes + (message->place - run->place), message->len);
        message->waits_for_store = true;
    }
}

static bool is_expected(const struct traced *message, const struct stream *stream)
{
    return message->waits_for_store && message->stream == stream && message->seq == UINT64_MAX;
}

static bool any_is_expected(const struct stream *stream)
{
    EACH_TRACE(stream->broker->tracing, trace)
    EACH_TRACED(trace, message) if (is_expected(message, stream)) return true;
    return false;
}

void trace_shared_came(struct stream *stream, const uint8_t *bytes, const struct store_block *block)
{
    if (!any_is_expected(stream)) return;
    uint32_t off = 0;
    for (uint32_t i = 0; i < block->count; i++) {
        uint32_t len = mps_msg_frame_len(bytes + off);
        uint64_t hash = hash_of(stream->broker, bytes + off, len);
        off += len;
        EACH_TRACE(stream->broker->tracing, trace)
        EACH_TRACED(trace, message)
        {
            if (!is_expected(message, stream) || message->len != len || message->frame_hash != hash) continue;
            message->seq = block->first + i;
            break;
        }
    }
}

/* Its connection ended before it came to this one. */
static bool was_thrown_away(const struct traced *message, const struct session *from)
{
    return from != NULL && from->state != SESSION_READY && message->matched == 0 && message->code == 0 &&
           message->stream == NULL;
}

static void taken_up(struct traced *message, struct session *from, const struct run *run)
{
    mps_view frame = {run->bytes + (message->place - run->place), message->len};
    message->is_taken = true;
    message->number = ++message->trace->numbered;
    trace_note_head(message, from, frame);
    if (message->code == 0 || message->code == MPS_NOBODY) trace_look_at_route(message, from, frame);
}

void trace_taken(struct broker *broker, struct session *from, struct run *run, uint32_t taken)
{
    if (broker->tracing == NULL) return;
    EACH_TRACE(broker->tracing, trace)
    for (struct traced *message = traced_of(trace->messages.first), *next; message != NULL; message = next) {
        next = traced_of(message->in_messages.next);
        if (message->is_taken || !traced_is_in(message, run, 0, run->len)) continue;
        if (message->place - run->place < taken && !was_thrown_away(message, from)) {
            taken_up(message, from, run);
            continue;
        }
        trace->taken--;
        traced_free(message);
    }
}
