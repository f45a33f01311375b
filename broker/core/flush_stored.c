/* What is written besides queued messages: what subscriptions get from streams, and retained values. */
#include "flush.h"
#include "trace.h"

/* Retained values that the snapshots of a session may look at for one write: about 0.3 ms. Filters make a look cost
 * more: what they add to broker.work counts, too. */
#define LOOKS_MAX 4096

/* ---- from streams ------------------------------------------------------------------------------------------- */

/* The peer's idea of the time of a message may be wrong by so much, before it is told. */
#define TIME_SLACK_MS 1000u

static struct for_terms terms_of(const struct subscription *sub, const struct outlet_entry *entry)
{
    return (struct for_terms){.sid = sub->sid,
                              .flags = entry->flags | FOR_HAS_POSITION,
                              .stream = entry->reading->stream->number,
                              .seq = entry->seq,
                              .time_ms = entry->time_ms,
                              .tries = entry->tries};
}

static bool goes_on(const struct for_terms *held, const struct for_terms *terms)
{
    uint64_t apart_ms =
        held->time_ms < terms->time_ms ? terms->time_ms - held->time_ms : held->time_ms - terms->time_ms;
    return held->sid == terms->sid && held->flags == terms->flags && held->stream == terms->stream &&
           held->seq == terms->seq && held->tries == terms->tries && apart_ms <= TIME_SLACK_MS;
}

static void plan_stored_msgs(struct flush_plan *plan, struct subscription *sub, const struct outlet_entry *entry,
                             uint32_t count)
{
    struct for_terms terms = terms_of(sub, entry);
    uint32_t for_at = plan->scratch_used;
    uint8_t for_len = 0;
    if (!goes_on(&plan->held, &terms)) {
        for_len = plan_for(plan, &(struct mps_for){.sid = terms.sid,
                                                   .flags = entry->flags,
                                                   .has_position = true,
                                                   .stream = terms.stream,
                                                   .seq = terms.seq,
                                                   .time_ms = terms.time_ms,
                                                   .tries = terms.tries});
        plan->held = terms;
    }
    uint32_t len = count < entry->count ? run_skip(entry->run, entry->off, count) - entry->off : entry->len;
    struct piece *piece = plan_piece(plan, PIECE_STORED, entry->run->bytes + entry->off, len);
    piece->sub = sub;
    piece->for_at = for_at;
    piece->for_len = for_len;
    piece->count = count;
    plan->held.seq += count;
}

static void plan_stored_gap(struct flush_plan *plan, struct subscription *sub, const struct outlet_entry *entry)
{
    struct mps_out out = plan_scratch(plan);
    bool is_anew = entry->reason == MPS_GAP_RESTARTED; /* then positions mean something else */
    mps_encode_gap(&out, &(struct mps_gap){.sid = sub->sid,
                                           .has_count = entry->count_known,
                                           .count = entry->count,
                                           .reason = entry->reason,
                                           .stream = entry->reading->stream->number,
                                           .first = is_anew ? 0 : entry->seq,
                                           .last = is_anew ? 0 : entry->last});
    plan_frame(plan, PIECE_STORED_GAP, sub, &out);
}

/* Returns whether all of the outlet is planned. */
static bool plan_outlet(struct flush_plan *plan, struct subscription *sub, struct progress *progress)
{
    const struct outlet *outlet = sub->outlet;
    for (uint32_t i = 0; i < outlet->count; i++) {
        const struct outlet_entry *entry = outlet_at(outlet, i);
        if (!plan_has_room(plan)) return false;
        if (progress->credit == 0 && entry->kind != OUTLET_CAUGHT_UP) { /* that needs none */
            sub->is_starved = true;
            return false;
        }
        switch (entry->kind) {
        case OUTLET_MSGS: {
            uint64_t count = entry->count < progress->credit ? entry->count : progress->credit;
            plan_stored_msgs(plan, sub, entry, (uint32_t)count);
            progress->credit -= count;
            if (count < entry->count) {
                sub->is_starved = true;
                return false;
            }
            break;
        }
        case OUTLET_GAP: plan_stored_gap(plan, sub, entry); break;
        case OUTLET_CAUGHT_UP: plan_mark(plan, sub, PIECE_CAUGHT_UP, MPS_MARK_CAUGHT_UP); break;
        }
    }
    return true;
}

void note_stored_for(struct session *session, const struct subscription *sub)
{
    session->held = terms_of(sub, outlet_at(sub->outlet, 0));
}

/* Messages of a stream count when they go out. */
void note_stored(struct session *session, const struct piece *piece, uint32_t taken)
{
    struct subscription *sub = piece->sub;
    const struct outlet_entry *entry = outlet_at(sub->outlet, 0);
    struct reading *reading = entry->reading;
    uint32_t len = piece->len, count = piece->count;
    if (taken < len) {
        len = run_frame_end(entry->run, entry->off, entry->off + taken - 1, &count) - entry->off;
        if (taken < len) keep_cut(session, entry->run, entry->off + taken, len - taken);
    }
    session->held.seq += count;
    if (session->broker->tracing != NULL) trace_read(sub, reading->stream, entry->seq, count);
    if (reading_has_pending(reading)) pending_sent(reading, entry->seq, count);
    else reading_sent(reading, entry->seq + count);
    outlet_pop(sub->outlet, &session->broker->runs, len, count);
    sub->box.matched += count;
    sub->box.sent += count;
    session->messages_out += count;
    session->broker->figures.copies_out += count;
    cursor_sent(sub);
}

void note_stored_gap(struct session *session, struct subscription *sub)
{
    const struct outlet_entry *entry = outlet_at(sub->outlet, 0);
    if (session->broker->tracing != NULL)
        trace_read_lost(sub, entry->reading->stream, entry->seq, entry->last, entry->reason);
    if (!reading_has_pending(entry->reading)) reading_sent(entry->reading, entry->last + 1);
    if (entry->count_known) {
        sub->box.matched += entry->count;
        sub->box.lost += entry->count;
        session->lost += entry->count;
        session->broker->figures.copies_lost += entry->count;
    }
    outlet_pop(sub->outlet, &session->broker->runs, 0, 0);
    cursor_sent(sub);
}

void note_caught_up(struct session *session, struct subscription *sub)
{
    outlet_pop(sub->outlet, &session->broker->runs, 0, 0);
    cursor_sent(sub);
}

/* ---- retained values ---------------------------------------------------------------------------------------- */

static void plan_retained(struct flush_plan *plan, struct subscription *sub, struct retained_value *value,
                          struct progress *progress)
{
    uint32_t rx_max = sub->session->rx_max;
    if (rx_max > 0 && value->run->len > rx_max) {
        plan_gap(plan, PIECE_RETAINED_GAP, sub, MPS_GAP_TOO_LARGE, 1)->value = value;
        return;
    }
    plan_msgs(plan, PIECE_RETAINED, sub, MPS_FOR_RETAINED, value->run->bytes, value->run->len)->value = value;
    progress->credit--;
}

/* Changes before a SUB: records of them may have come before their messages. */
#define CHANGES_BEFORE 64u

/* One that came as a record at the moment of the SUB, and comes as a message, too, is not sent before that: there may
 * be older ones. A look at a frame is much less than one at a value. */
static bool is_queued(struct subscription *sub, const struct retained_value *value)
{
    uint64_t looked = 0;
    if (!value->is_told || sub->snapshot->revision == 0) return false; /* its scope is no cluster */
    if (value->version + CHANGES_BEFORE <= sub->snapshot->since) return false;
    bool has = queue_has_frame(&sub->box.queue, (mps_view){value->run->bytes, value->run->len}, &looked);
    sub->session->broker->work += looked / 8;
    return has;
}

static bool wants_value(struct subscription *sub, const struct retained_value *value)
{
    struct broker *broker = sub->session->broker;
    mps_view topic = {value->topic, value->len};
    if (!mps_topic_matches(subscription_pattern(sub), topic) || !snapshot_has(sub->snapshot, value)) return false;
    if (is_queued(sub, value)) return false;
    if (sub->box.is_guarded && !grant_receives(sub->session->grant, topic)) return false;
    if (sub->box.cursor != NULL && sub->box.cursor->passes_retained && stream_of_topic(broker, topic) != NULL)
        return false;
    if (sub->box.filter == NULL) return true;
    struct mps_msg msg;
    const char *what;
    mps_decode_msg((mps_view){value->run->bytes, value->run->len}, &msg, &what); /* accepted when it came */
    broker->judged++;
    return filter_judge(broker, sub->box.filter, topic, msg.props, msg.payload);
}

/* Plans retained values and the MARK behind them. Returns whether the snapshot is planned to its end. */
static bool plan_snapshot(struct flush_plan *plan, struct subscription *sub, struct progress *progress)
{
    bool only = !mps_topic_is_wild(subscription_pattern(sub));
    struct retained_value *value = snapshot_value(sub->snapshot);
    uint64_t work = sub->session->broker->work;
    bool passing = true; /* nothing is planned yet: what doesn't match can be passed for good */
    for (; value != NULL && value->version <= sub->snapshot->until; plan->looks++) {
        if (!plan_has_room(plan)) return false;
        if (plan->looks + (int)(sub->session->broker->work - work) >= LOOKS_MAX) {
            plan->unfinished = true;
            return false;
        }
        struct retained_value *next = only ? NULL : value->next;
        if (wants_value(sub, value)) {
            if (progress->credit == 0) {
                sub->is_starved = true;
                return false;
            }
            plan_retained(plan, sub, value, progress);
            passing = false;
        } else if (passing) {
            snapshot_pass(sub->snapshot, value, only);
        }
        value = next;
    }
    if (!plan_has_room(plan)) return false;
    plan_mark(plan, sub, PIECE_MARK, MPS_MARK_RETAINED_DONE);
    return true;
}

void note_retained(struct session *session, const struct piece *piece)
{
    struct subscription *sub = piece->sub;
    struct broker_figures *figures = &session->broker->figures;
    bool is_sent = piece->kind == PIECE_RETAINED;
    sub->box.matched++;
    ++*(is_sent ? &sub->box.sent : &sub->box.lost);
    ++*(is_sent ? &session->messages_out : &session->lost);
    ++*(is_sent ? &figures->copies_out : &figures->copies_lost);
    snapshot_pass(sub->snapshot, piece->value, !mps_topic_is_wild(subscription_pattern(sub)));
}

bool plan_before(struct flush_plan *plan, struct subscription *sub, struct progress *progress)
{
    if (sub->snapshot != NULL &&
        (!plan_queue(plan, sub, sub->box.queue.before, progress) || !plan_snapshot(plan, sub, progress)))
        return false;
    return sub->outlet == NULL || plan_outlet(plan, sub, progress);
}
