/* Traces: what is told, as PROTOCOL.md, "Traces", says. */
#include "trace_parts.h"

#include <stdlib.h>

#include "audit.h"
#include "identity.h"
#include "spill.h"
#include "sure.h"
#include "sys_maps.h"

/* Of one thing that is told: a client, a pattern, a group and a filter with their keys. */
#define MAP_MAX 2048u
#define FILTER_SHOWN 256u
/* What one message to whoever traces holds, about. */
#define TOLD_BYTES (32u * 1024)

static void append(struct buffer *buffer, const struct mps_out *map)
{
    if (!map->full) buffer_append(buffer, map->buf, map->len); /* always: all that is in it is bounded */
}

static uint64_t at_us(const struct traced *message)
{
    return trace_now_us(message->trace->broker) - message->came_us;
}

/* ---- the message -------------------------------------------------------------------------------------------- */

static mps_view text_of(const char *text)
{
    return text != NULL ? mps_text(text) : (mps_view){NULL, 0};
}

static uint64_t ttl_of(mps_view props)
{
    mps_view raw = props.ptr != NULL ? mps_props_find(props, MPS_PROP_TTL_MS) : (mps_view){NULL, 0};
    if (raw.ptr == NULL) return UINT64_MAX;
    struct mps_reader r = mps_reader_open(raw);
    uint64_t ttl_ms = mps_read_uint(&r, MPS_NUMBER_MAX, "ttl");
    return r.bad == NULL ? ttl_ms : UINT64_MAX;
}

/* A path of any bytes is no text. */
static mps_view listener_of(const struct session *from)
{
    mps_view listener = from != NULL ? audit_listener(from) : (mps_view){NULL, 0};
    return mps_utf8_valid(listener) ? listener : (mps_view){NULL, 0};
}

void trace_note_head(struct traced *message, const struct session *from, mps_view frame)
{
    uint8_t room[MAP_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    struct env *env = message->trace->broker->env;
    const struct origin *origin = message->origin;
    struct mps_msg msg;
    const char *what;
    mps_decode_msg(frame, &msg, &what); /* accepted when it came */
    uint64_t ttl_ms = ttl_of(msg.props);
    uint32_t ttls = ttl_ms != UINT64_MAX ? 1 : 0, codes = message->code != 0 ? 2 : 0,
             places = message->stream != NULL ? 2 : 0;
    mps_put_map(&out, 13 + ttls + codes + places + (message->neighbour != NULL));
    sys_put_name(&out, "event", mps_text("message"));
    sys_put_number(&out, "number", message->number);
    sys_put_name(&out, "topic", traced_topic(message));
    sys_put_number(&out, "time_ms", env->wall_ms(env) & MPS_NUMBER_MAX);
    sys_put_number(&out, "bytes", message->len);
    sys_put_number(&out, "payload_bytes", msg.payload.len);
    sys_put_flag(&out, "retain", message->retain);
    sys_put_number(&out, "level", message->level);
    sys_put_name(&out, "client", origin != NULL ? origin_id(origin) : (mps_view){NULL, 0});
    sys_put_name(&out, "user", origin != NULL ? origin_user(origin) : (mps_view){NULL, 0});
    sys_put_name(&out, "peer", from != NULL ? audit_peer(from) : (mps_view){NULL, 0});
    sys_put_name(&out, "listener", listener_of(from));
    if (message->neighbour != NULL) sys_put_name(&out, "broker", mps_text(message->neighbour));
    sys_put_number(&out, "held_ms", message->held_ms);
    if (ttl_ms != UINT64_MAX) sys_put_number(&out, "ttl_ms", ttl_ms);
    if (message->code != 0) {
        sys_put_number(&out, "code", message->code);
        sys_put_name(&out, "text", text_of(message->text));
    }
    if (message->stream != NULL) {
        sys_put_name(&out, "stream", mps_text(message->stream->name));
        sys_put_number(&out, "seq", message->seq);
    }
    append(&message->head, &out);
}

/* ---- steps -------------------------------------------------------------------------------------------------- */

#define BOX_FIELDS 3u

/* Whose a mailbox is. */
static void put_box(struct mps_out *out, const struct mailbox *box)
{
    if (box->session != NULL) {
        const struct subscription *sub = container_of(box, struct subscription, box);
        sys_put_name(out, "client", sub->session->id);
        sys_put_number(out, "sid", sub->sid);
        sys_put_name(out, "pattern", subscription_pattern(sub));
    } else {
        const struct group *group = container_of(box, struct group, box);
        sys_put_name(out, "group", group_name(group));
        sys_put_number(out, "members", group->members_count);
        sys_put_name(out, "pattern", group_pattern(group));
    }
}

void trace_note_copy(struct traced *message, const struct trace_copy *copy, const struct mailbox *box, bool reads)
{
    uint8_t room[MAP_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 3 + BOX_FIELDS + (reads ? 1 : 3));
    sys_put_name(&out, "step", mps_text(reads ? "reads" : "queued"));
    sys_put_number(&out, "copy", copy->number);
    sys_put_number(&out, "at_us", at_us(message));
    put_box(&out, box);
    sys_put_flag(&out, "away", mailbox_is_away(box));
    if (!reads) {
        sys_put_name(&out, "policy", mps_text(mps_policy_name(box->policy)));
        sys_put_number(&out, "ahead", mailbox_waiting(box));
    }
    append(&message->steps, &out);
}

void trace_note_not(struct traced *message, const struct mailbox *box, const char *why)
{
    uint8_t room[MAP_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    bool tells_filter = box->filter != NULL && mps_view_equal(mps_text(why), mps_text("filter"));
    mps_put_map(&out, 2 + BOX_FIELDS + tells_filter);
    sys_put_name(&out, "step", mps_text("not"));
    sys_put_name(&out, "why", mps_text(why));
    put_box(&out, box);
    if (tells_filter) {
        mps_view text = {box->filter->text, (uint32_t)least(box->filter->text_len, FILTER_SHOWN)};
        while (text.len > 0 && !mps_utf8_valid(text)) text.len--; /* a character that was cut */
        sys_put_name(&out, "filter", text);
    }
    append(&message->steps, &out);
}

void trace_note_step(struct traced *message, const struct trace_copy *copy, const char *step,
                     const struct subscription *sub, const char *reason, bool waited)
{
    uint8_t room[MAP_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 3u + (sub != NULL ? 2u : 0u) + (reason != NULL) + waited);
    sys_put_name(&out, "step", mps_text(step));
    sys_put_number(&out, "copy", copy->number);
    sys_put_number(&out, "at_us", at_us(message));
    if (sub != NULL) {
        sys_put_name(&out, "client", sub->session->id);
        sys_put_number(&out, "sid", sub->sid);
    }
    if (reason != NULL) sys_put_name(&out, "reason", mps_text(reason));
    if (waited) sys_put_number(&out, "waited_us", trace_now_us(message->trace->broker) - copy->since_us);
    append(&message->steps, &out);
}

void trace_note_stored(struct traced *message, bool is_stored)
{
    uint8_t room[MAP_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 4);
    sys_put_name(&out, "step", mps_text(is_stored ? "stored" : "unstored"));
    sys_put_number(&out, "at_us", at_us(message));
    sys_put_name(&out, "stream", mps_text(message->stream->name));
    sys_put_number(&out, "seq", message->seq);
    append(&message->steps, &out);
}

void trace_note_relayed(struct traced *message, const char *neighbour, bool is_sent)
{
    uint8_t room[MAP_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 3);
    sys_put_name(&out, "step", mps_text(is_sent ? "relayed" : "unrelayed"));
    sys_put_number(&out, "at_us", at_us(message));
    sys_put_name(&out, "broker", mps_text(neighbour));
    append(&message->steps, &out);
}

void trace_note_end(struct traced *message)
{
    uint8_t room[MAP_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 10);
    sys_put_name(&out, "event", mps_text("done"));
    sys_put_number(&out, "number", message->number);
    sys_put_number(&out, "matched", message->matched);
    sys_put_number(&out, "sent", message->sent);
    sys_put_number(&out, "lost", message->lost);
    sys_put_number(&out, "ended", message->ended);
    sys_put_number(&out, "told", message->copies_count);
    sys_put_number(&out, "not", message->nots_count);
    sys_put_number(&out, "near", message->near_count);
    sys_put_number(&out, "others", message->others_count);
    append(&message->end, &out);
    message->is_done = true;
    message->looks = false;
}

/* ---- to whoever traces -------------------------------------------------------------------------------------- */

static void publish(struct trace *trace, const struct mps_out *map)
{
    struct tracing *tracing = trace->broker->tracing;
    tracing->is_telling = true;
    operator_answer_to(trace->broker, trace->to, map); /* what there is no memory for is not told */
    tracing->is_telling = false;
}

static void publish_buffer(struct trace *trace, struct buffer *buffer)
{
    if (buffer_len(buffer) == 0) return;
    struct mps_out map = mps_out_open(buffer->bytes + buffer->off, buffer_len(buffer));
    map.len = map.cap;
    publish(trace, &map);
    buffer_free(buffer);
}

/* Those at the front, as many as make one message. */
static void publish_steps(struct traced *message)
{
    uint8_t head_room[64];
    struct mps_out head = mps_out_open(head_room, sizeof head_room);
    struct mps_reader r =
        mps_reader_open((mps_view){message->steps.bytes + message->steps.off, buffer_len(&message->steps)});
    const uint8_t *from = r.p;
    uint32_t count = 0;
    for (; r.p < r.end && r.p - from < TOLD_BYTES; count++) mps_read_any(&r, "step");
    uint32_t len = (uint32_t)(r.p - from), cap = sizeof head_room + len;
    mps_put_map(&head, 3);
    sys_put_name(&head, "event", mps_text("steps"));
    sys_put_number(&head, "number", message->number);
    mps_put_text(&head, mps_text("steps"));
    mps_put_array(&head, count);
    uint8_t *room = sure_alloc(cap);
    struct mps_out out = mps_out_open(room, cap);
    mps_put_raw(&out, mps_out_view(&head));
    mps_put_raw(&out, (mps_view){from, len});
    publish(message->trace, &out);
    free(room);
    buffer_take(&message->steps, len);
}

bool traced_has_news(const struct traced *message)
{
    return buffer_len(&message->head) > 0 || buffer_len(&message->steps) > 0 || buffer_len(&message->end) > 0;
}

void trace_tell(struct traced *message)
{
    publish_buffer(message->trace, &message->head);
    while (buffer_len(&message->steps) > 0) publish_steps(message);
    publish_buffer(message->trace, &message->end);
}

void trace_tell_armed(struct trace *trace, uint64_t for_ms)
{
    uint8_t room[MAP_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 4);
    sys_put_name(&out, "event", mps_text("armed"));
    sys_put_name(&out, "pattern", (mps_view){trace->pattern, trace->pattern_len});
    sys_put_number(&out, "messages", trace->wanted);
    sys_put_number(&out, "for_ms", for_ms);
    publish(trace, &out);
}

void trace_tell_end(struct trace *trace, const char *why)
{
    uint8_t room[MAP_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_map(&out, 3);
    sys_put_name(&out, "event", mps_text("end"));
    sys_put_name(&out, "why", mps_text(why));
    sys_put_number(&out, "messages", trace->taken);
    publish(trace, &out);
}
