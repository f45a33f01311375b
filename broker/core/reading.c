#include <stdio.h>
#include <string.h>

#include "model.h"

/* What a place in a stream has been shown in one call: positions, and what the pattern, the filter and times say of
 * each. A look takes about as long as a step of broker.work. */
#define LOOKS_A_TURN 8192u

void reading_stop_waiting(struct reading *reading)
{
    if (reading->waits_in == NULL) return;
    list_remove(reading->waits_in, &reading->in_waiting);
    reading->waits_in = NULL;
}

void reading_wait(struct reading *reading, struct list *where)
{
    if (reading->waits_in == where) return;
    reading_stop_waiting(reading);
    reading->waits_in = where;
    list_append(where, &reading->in_waiting);
}

bool reading_stands_by(const struct reading *reading)
{
    return reading->stream->is_shared && reading->cursor->broker->now_ms >= reading->cursor->served_until_ms;
}

bool reading_is_caught_up(const struct reading *reading)
{
    return reading->next >= reading->mark_at && reading->asks_in == NULL && reading->due_count == 0 &&
           (reading->survey == NULL || survey_is_done(reading->survey));
}

void reading_sent(struct reading *reading, uint64_t next)
{
    reading->sent = next;
    cursor_advanced(reading->cursor);
}

/* ---- what is missing ---------------------------------------------------------------------------------------- */

/* Positions from .next up to the one before `to` are not there. known: all of them would have been for this reader. */
static void push_gap(struct reading *reading, struct subscription *sub, uint64_t to, enum mps_gap_reason reason,
                     bool known)
{
    outlet_push(sub->outlet, &(struct outlet_entry){.kind = OUTLET_GAP,
                                                    .reason = reason,
                                                    .count_known = known,
                                                    .count = to - reading->next,
                                                    .seq = reading->next,
                                                    .last = to - 1,
                                                    .reading = reading});
    reading->next = to;
}

static bool takes_all(const struct reading *reading)
{
    return reading->takes_all && reading->survey == NULL;
}

/* Retention was faster. What was not chosen is not missed. */
static void pass_removed(struct reading *reading, struct subscription *sub)
{
    uint64_t first = reading->stream->first;
    if (reading->survey != NULL) reading->next = survey_next(reading->survey, reading->next);
    if (reading->next < first) push_gap(reading, sub, first, MPS_GAP_RETENTION, takes_all(reading));
    if (reading->survey != NULL) reading->next = survey_next(reading->survey, reading->next);
}

/* ---- single messages ---------------------------------------------------------------------------------------- */

struct frame {
    uint64_t seq;
    uint32_t off, len;
    struct mps_msg msg;
};

static struct frame frame_at(const struct chunk *chunk, uint64_t seq, uint32_t off)
{
    struct frame frame = {.seq = seq, .off = off, .len = mps_msg_frame_len(chunk->run->bytes + off)};
    const char *what;
    mps_decode_msg((mps_view){chunk->run->bytes + off, frame.len}, &frame.msg, &what); /* accepted when it came */
    return frame;
}

static bool matches(struct reading *reading, const struct frame *frame)
{
    struct cursor *cursor = reading->cursor;
    struct broker *broker = cursor->broker;
    if (reading->takes_all) return true;
    if (cursor->box->is_guarded && !grant_receives(cursor->box->session->grant, frame->msg.topic)) return false;
    if (!mps_topic_matches(cursor_pattern(cursor), frame->msg.topic)) return false;
    if (cursor->box->filter == NULL) return true;
    broker->judged++;
    return filter_judge(broker, cursor->box->filter, frame->msg.topic, frame->msg.props, frame->msg.payload);
}

/* Of a shared stream only the Unix clock knows. */
static uint64_t age_ms(const struct chunk *chunk, uint64_t seq)
{
    struct env *env = chunk->stream->broker->env;
    if (!chunk->stream->is_shared) return stream_age_ms(chunk->stream, seq);
    uint64_t now_ms = env->wall_ms(env);
    return now_ms > chunk->time_ms ? least(now_ms - chunk->time_ms, MPS_NUMBER_MAX) : 0;
}

int64_t reading_expiry_ms(const struct chunk *chunk, uint64_t seq, mps_view props)
{
    if (chunk->expires_ms == 0 || props.ptr == NULL) return INT64_MAX;
    mps_view raw = mps_props_find(props, MPS_PROP_TTL_MS);
    if (raw.ptr == NULL) return INT64_MAX;
    struct mps_reader r = mps_reader_open(raw);
    int64_t ttl_ms = (int64_t)mps_read_uint(&r, MPS_NUMBER_MAX, "ttl");
    return (int64_t)chunk->stream->broker->now_ms - (int64_t)age_ms(chunk, seq) + ttl_ms;
}

uint8_t reading_replay_flag(const struct reading *reading, uint64_t seq)
{
    return seq < reading->live ? MPS_FOR_REPLAY : 0;
}

static void push_frames(struct reading *reading, struct subscription *sub, const struct chunk *chunk, struct part part,
                        uint64_t seq)
{
    outlet_push(sub->outlet, &(struct outlet_entry){.kind = OUTLET_MSGS,
                                                    .flags = reading_replay_flag(reading, seq),
                                                    .run = chunk->run,
                                                    .off = part.off,
                                                    .len = part.len,
                                                    .count = part.count,
                                                    .seq = seq,
                                                    .time_ms = chunk->time_ms,
                                                    .reading = reading});
}

bool reading_has_pending(const struct reading *reading)
{
    return reading->cursor->terms.ack != MPS_ACK_NONE || reading->cursor->box->session == NULL;
}

/* The message at .next: delivered, passed over, or lost. Returns the bytes that were queued. */
static uint32_t take_frame(struct reading *reading, struct subscription *sub, const struct chunk *chunk,
                           const struct frame *frame)
{
    uint32_t rx_max = sub->box.rx_max;
    int64_t expiry_ms = reading_expiry_ms(chunk, frame->seq, frame->msg.props);
    bool is_expired = expiry_ms <= (int64_t)reading->cursor->broker->now_ms;
    if (!matches(reading, frame)) {
        reading->next++;
        return 0;
    }
    if (is_expired || (rx_max > 0 && frame->len > rx_max)) {
        push_gap(reading, sub, frame->seq + 1, is_expired ? MPS_GAP_EXPIRED : MPS_GAP_TOO_LARGE, true);
        return 0;
    }
    push_frames(reading, sub, chunk, (struct part){frame->off, frame->len, 1}, frame->seq);
    if (expiry_ms < sub->outlet->expires_ms) sub->outlet->expires_ms = expiry_ms;
    if (reading_has_pending(reading)) pending_add(reading, frame->seq, sub);
    reading->next = frame->seq + 1;
    return frame->len;
}

/* ---- stretches ---------------------------------------------------------------------------------------------- */

/* Nobody has to look at the messages: as many as may be, at once. */
static void take_stretch(struct reading *reading, struct subscription *sub, struct chunk *chunk, uint32_t off,
                         uint32_t bytes_most, uint64_t msgs_most)
{
    struct run *run = chunk->run;
    uint64_t end = chunk->first + chunk->count;
    if (reading->next < reading->live) end = least(end, reading->live);
    uint32_t count = (uint32_t)least(end - reading->next, msgs_most), by_bytes;
    if (run->len - off > bytes_most) {
        run_frame_end(run, off, off + bytes_most, &by_bytes);
        if (by_bytes < count) count = by_bytes;
    }
    uint32_t len =
        reading->next + count == chunk->first + chunk->count ? run->len - off : run_skip(run, off, count) - off;
    push_frames(reading, sub, chunk, (struct part){off, len, count}, reading->next);
    reading->next += count;
}

static bool is_plain(const struct reading *reading, const struct subscription *sub, const struct chunk *chunk)
{
    uint32_t rx_max = sub->box.rx_max;
    return reading->takes_all && reading->survey == NULL && chunk->expires_ms == 0 && !reading_has_pending(reading) &&
           (rx_max == 0 || chunk->run->longest <= rx_max);
}

/* One by one. */
static enum reading_result take_each(struct reading *reading, struct subscription *sub, struct chunk *chunk,
                                     uint32_t off, uint32_t bytes_most, uint64_t msgs_most)
{
    struct broker *broker = reading->cursor->broker;
    uint64_t end = chunk->first + chunk->count, queued = 0, work = broker->work;
    uint32_t looks = 0;
    while (reading->next < end && queued < bytes_most && msgs_most > 0) {
        if (looks++ + (broker->work - work) >= LOOKS_A_TURN) return READING_PAUSE;
        if (reading->survey != NULL && survey_next(reading->survey, reading->next) != reading->next) break;
        struct frame frame = frame_at(chunk, reading->next, off);
        uint32_t len = take_frame(reading, sub, chunk, &frame);
        queued += len;
        msgs_most -= len > 0;
        off += frame.len;
    }
    broker->work += looks;
    return READING_SOME;
}

static uint32_t offset_of(const struct chunk *chunk, uint64_t seq)
{
    return seq == chunk->first ? 0 : run_skip(chunk->run, 0, (uint32_t)(seq - chunk->first));
}

/* ---- looking through ---------------------------------------------------------------------------------------- */

static void look_through(struct reading *reading, const struct chunk *chunk)
{
    struct broker *broker = reading->cursor->broker;
    struct survey *survey = reading->survey;
    uint64_t seq = survey_at(survey), end = chunk->first + chunk->count, work = broker->work;
    uint32_t off = offset_of(chunk, seq), looks = 0;
    for (; seq < end && looks + (broker->work - work) < LOOKS_A_TURN; seq++, looks++) {
        struct frame frame = frame_at(chunk, seq, off);
        if (matches(reading, &frame)) survey_see(survey, seq, frame.msg.topic);
        off += frame.len;
    }
    broker->work += looks;
    survey_pass(survey, seq);
}

static void tell_err(struct subscription *sub, void *text)
{
    uint8_t room[8];
    struct mps_out ref = mps_out_open(room, sizeof room);
    mps_put_uint(&ref, sub->sid);
    reply_err(sub->session, MPS_QUOTA, MPS_OP_SUB, mps_out_view(&ref), "%s", (const char *)text);
}

/* What comes is not what was asked for. */
static void tell_cut(const struct reading *reading)
{
    char text[200];
    const struct cursor *cursor = reading->cursor;
    snprintf(
        text, sizeof text,
        "the topics of all 'last_per_topic' together are over the limit of %u MiB: of stream %u come more messages "
        "than the last of each topic",
        SURVEYS_BYTES_MAX / (1024 * 1024), reading->stream->number);
    log_say(cursor->broker, EVENT_LAST_VALUES_CUT, LOG_FIELDS(log_value("stream", mps_text(reading->stream->name))),
            "%s", text);
    if (cursor->box->session != NULL) tell_err(container_of(cursor->box, struct subscription, box), text);
    else group_each(container_of(cursor->box, struct group, box), tell_err, text);
}

/* What was looked for is sent: its memory is for others. What is in the outlet may come back. */
static void drop_survey(struct reading *reading, const struct subscription *sub)
{
    if (reading->survey == NULL || sub->outlet->count > 0 || !survey_is_over(reading->survey, reading->next)) return;
    survey_free(reading->survey);
    reading->survey = NULL;
}

/* ---- all together ------------------------------------------------------------------------------------------- */

/* Of a shared stream, others remove what they like. */
enum mps_gap_reason reading_hole_reason(const struct stream *stream, uint64_t position)
{
    return stream->is_shared && !damage_is_known(stream, position) ? MPS_GAP_RETENTION : MPS_GAP_DAMAGED;
}

/* The chunk at a position that is stored. NULL: nothing is there, which was passed over or told, or it is being read.
 */
static struct chunk *chunk_for(struct reading *reading, struct subscription *sub, uint64_t position, bool looking)
{
    uint64_t hole_end;
    struct stream *stream = reading->stream;
    struct chunk *chunk = chunk_at(stream, position, &hole_end);
    if (chunk == NULL && hole_end == 0) reading_wait(reading, &stream->loading);
    else if (chunk == NULL && looking) survey_pass(reading->survey, hole_end);
    else if (chunk == NULL) push_gap(reading, sub, hole_end, reading_hole_reason(stream, position), takes_all(reading));
    return chunk;
}

/* A step of looking for what is of interest. Until that is known, nothing is told. */
static enum reading_result look(struct reading *reading, struct subscription *sub)
{
    struct survey *survey = reading->survey;
    survey_pass(survey, reading->stream->first);
    reading_stop_waiting(reading);
    if (survey_looks(survey)) {
        struct chunk *chunk = chunk_for(reading, sub, survey_at(survey), true);
        if (chunk != NULL) look_through(reading, chunk);
        else if (reading->waits_in != NULL) return READING_NOTHING;
    } else {
        survey_step(survey);
    }
    if (survey_is_done(survey) && survey_is_cut(survey)) tell_cut(reading);
    return READING_PAUSE;
}

/* Of a shared stream nobody remembers what came when: the place is found by halves, before anything is delivered. What
 * stands this close to it is looked through. */
#define SEEK_NEAR 256u

static bool seeks(const struct reading *reading)
{
    return reading->since_high > 0 && reading->since_ms > 0 && reading->next + SEEK_NEAR < reading->since_high;
}

/* A step of that. */
static enum reading_result seek(struct reading *reading)
{
    struct stream *stream = reading->stream;
    if (reading->next < stream->first) reading->next = stream->first; /* retention was faster: that wasn't asked for */
    if (reading->since_high > stream->stored) reading->since_high = stream->stored;
    reading_stop_waiting(reading);
    if (!seeks(reading)) return READING_PAUSE;
    uint64_t middle = reading->next + (reading->since_high - reading->next) / 2, hole_end;
    struct chunk *chunk = chunk_at(stream, middle, &hole_end);
    if (chunk == NULL && hole_end == 0) {
        reading_wait(reading, &stream->loading);
        return READING_NOTHING;
    }
    reading->cursor->broker->work++;
    if (chunk != NULL && chunk->time_ms + STREAM_TIME_SLACK_MS <= reading->since_ms)
        reading->next = least(chunk->first + chunk->count, reading->since_high);
    else reading->since_high = chunk != NULL && chunk->first > reading->next ? chunk->first : middle;
    return READING_PAUSE;
}

enum reading_result reading_take(struct reading *reading, struct subscription *sub, uint32_t bytes_most,
                                 uint64_t msgs_most)
{
    struct stream *stream = reading->stream;
    if (reading->begins_later) {
        reading_wait(reading, &stream->tail);
        return READING_NOTHING;
    }
    drop_survey(reading, sub);
    if (reading->survey != NULL && !survey_is_done(reading->survey)) return look(reading, sub);
    if (seeks(reading)) return seek(reading);
    pass_removed(reading, sub);
    uint64_t position = reading->next;
    if (position >= stream->stored) {
        reading_wait(reading, &stream->tail);
        return READING_NOTHING;
    }
    reading_stop_waiting(reading);
    struct chunk *chunk = chunk_for(reading, sub, position, false);
    if (chunk == NULL) return reading->waits_in != NULL ? READING_NOTHING : READING_SOME;
    if (chunk->time_ms + STREAM_TIME_SLACK_MS <= reading->since_ms && position < reading->since_end) {
        reading->next = chunk->first + chunk->count;
        return READING_PAUSE;
    }
    reading->since_ms = 0;
    if (position == chunk->first) chunk_prefetch(stream, chunk->first + chunk->count);
    uint32_t off = offset_of(chunk, position);
    if (!is_plain(reading, sub, chunk)) return take_each(reading, sub, chunk, off, bytes_most, msgs_most);
    take_stretch(reading, sub, chunk, off, bytes_most, msgs_most);
    return READING_SOME;
}
