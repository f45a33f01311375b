#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "model.h"

#define IOVECS_MAX 256
#define PIECES_MAX 1024
/* An isolated piece shorter than this is copied: an iovec of its own costs the kernel more than the copy. */
#define COPY_MAX 512u
#define SCRATCH_BYTES (64u * 1024)
/* What one session may write in one turn before others have theirs. */
#define TURN_BYTES (1024u * 1024)
/* Retained values that the snapshots of a session may look at for one write: about 0.3 ms. Filters make a look cost
 * more: what they add to broker.work counts, too. */
#define LOOKS_MAX 4096

enum piece_kind {
    PIECE_CUT,
    PIECE_CONTROL,
    PIECE_GAP,
    PIECE_MARK,
    PIECE_DRAINED,
    PIECE_MSGS,
    PIECE_RETAINED,
    PIECE_RETAINED_GAP,
    PIECE_STORED,
    PIECE_STORED_GAP,
    PIECE_CAUGHT_UP,
};

/* One thing that is written, and what has to be noted once the link has taken it. */
struct piece {
    enum piece_kind kind;
    uint32_t len;
    const uint8_t *bytes;
    struct subscription *sub;
    union {
        struct retained_value *value; /* RETAINED, RETAINED_GAP */
        uint32_t count;               /* STORED: messages */
    };
    uint32_t for_at;            /* in the scratch memory: a FOR that goes before */
    uint8_t for_len, for_flags; /* 0: none does */
};

/* What one write would send. Nothing is taken out of a queue until the link has said how much it took. */
struct flush_plan {
    struct iovec iovecs[IOVECS_MAX];
    struct piece pieces[PIECES_MAX];
    int iovecs_count, pieces_count;
    uint32_t scratch_used;
    struct for_terms held; /* the terms that the peer will hold then */
    size_t bytes;
    int looks;                 /* at retained values */
    struct subscription *last; /* the last one that the plan came to, or NULL */
    bool unfinished;           /* snapshots have looked at enough values for one write */
    uint8_t scratch[SCRATCH_BYTES];
};

struct flush_plan *flush_plan_new(void)
{
    struct flush_plan *plan = malloc(sizeof *plan);
    if (plan == NULL) abort();
    return plan;
}

static bool has_room(const struct flush_plan *plan)
{
    /* Four of each: a GAP or a FOR and a message are added without asking in between. */
    return plan->iovecs_count + 4 <= IOVECS_MAX && plan->pieces_count + 4 <= PIECES_MAX &&
           plan->scratch_used + 4 * COPY_MAX <= SCRATCH_BYTES && plan->bytes < TURN_BYTES;
}

static const uint8_t *last_end(const struct flush_plan *plan)
{
    if (plan->iovecs_count == 0) return NULL;
    const struct iovec *last = &plan->iovecs[plan->iovecs_count - 1];
    return (const uint8_t *)last->iov_base + last->iov_len;
}

/* Goes on the last iovec if the memory goes on there. */
static void add_iovec(struct flush_plan *plan, const uint8_t *bytes, uint32_t len)
{
    if (bytes == last_end(plan)) plan->iovecs[plan->iovecs_count - 1].iov_len += len;
    else plan->iovecs[plan->iovecs_count++] = (struct iovec){(void *)bytes, len};
}

static struct piece *add_piece(struct flush_plan *plan, enum piece_kind kind, const uint8_t *bytes, uint32_t len)
{
    struct piece *piece = &plan->pieces[plan->pieces_count++];
    *piece = (struct piece){.kind = kind, .len = len, .bytes = bytes};
    plan->bytes += len;
    const uint8_t *from = bytes;
    if (bytes != last_end(plan) && len < COPY_MAX && plan->scratch_used + len <= SCRATCH_BYTES) {
        from = plan->scratch + plan->scratch_used;
        memcpy(plan->scratch + plan->scratch_used, bytes, len);
        plan->scratch_used += len;
    }
    add_iovec(plan, from, len);
    return piece;
}

/* A small frame that exists only in the scratch memory. */
static struct piece *add_frame(struct flush_plan *plan, enum piece_kind kind, struct subscription *sub,
                               struct mps_out *out)
{
    plan->scratch_used += out->len;
    struct piece *piece = &plan->pieces[plan->pieces_count++];
    *piece = (struct piece){.kind = kind, .len = out->len, .bytes = out->buf, .sub = sub};
    plan->bytes += out->len;
    add_iovec(plan, out->buf, out->len);
    return piece;
}

static struct mps_out open_scratch(struct flush_plan *plan)
{
    return mps_out_open(plan->scratch + plan->scratch_used, MPS_SMALL_FRAME_MAX);
}

/* FOR is written here and not when a message is queued, so dropping from a queue can't disturb it. Returns its length.
 */
static uint8_t plan_for(struct flush_plan *plan, const struct mps_for *terms)
{
    struct mps_out out = open_scratch(plan);
    mps_encode_for(&out, terms);
    plan->scratch_used += out.len;
    plan->bytes += out.len;
    add_iovec(plan, out.buf, out.len);
    return (uint8_t)out.len;
}

/* Without a position. */
static void hold_plain(struct for_terms *held, uint32_t sid, uint32_t flags)
{
    held->sid = sid;
    held->flags = flags;
}

/* Messages of a subscription, behind a FOR if the peer holds other terms. */
static struct piece *plan_msgs(struct flush_plan *plan, enum piece_kind kind, struct subscription *sub, uint8_t flags,
                               const uint8_t *bytes, uint32_t len)
{
    uint32_t for_at = plan->scratch_used;
    const struct for_terms *held = &plan->held;
    uint8_t for_len = 0;
    if (held->sid != sub->sid || held->flags != flags) {
        for_len = plan_for(plan, &(struct mps_for){.sid = sub->sid, .flags = flags});
        hold_plain(&plan->held, sub->sid, flags);
    }
    struct piece *piece = add_piece(plan, kind, bytes, len);
    piece->sub = sub;
    piece->for_at = for_at;
    piece->for_len = for_len;
    piece->for_flags = flags;
    return piece;
}

static struct piece *plan_gap(struct flush_plan *plan, enum piece_kind kind, struct subscription *sub, uint32_t reason,
                              uint64_t count)
{
    struct mps_out out = open_scratch(plan);
    bool has_count = reason != MPS_GAP_RESTARTED; /* nobody knows */
    mps_encode_gap(&out, &(struct mps_gap){.sid = sub->sid, .has_count = has_count, .count = count, .reason = reason});
    return add_frame(plan, kind, sub, &out);
}

/* Bytes of the first count messages of an entry. */
static uint32_t entry_len(const struct queue_entry *entry, uint64_t count)
{
    return count < entry->count ? run_skip(entry->run, entry->off, (uint32_t)count) - entry->off : entry->len;
}

/* What one subscription may still be sent, and what of its queue has been planned. */
struct progress {
    uint64_t credit;
    uint32_t entries;
};

/* Plans queue entries up to position `end`. Returns whether it got there: without credit or room it stops. */
static bool plan_queue(struct flush_plan *plan, struct subscription *sub, uint32_t end, struct progress *progress)
{
    for (; progress->entries < end; progress->entries++) {
        const struct queue_entry *entry = queue_at(&sub->box.queue, progress->entries);
        if (!has_room(plan)) return false;
        if (progress->credit == 0) {
            sub->is_starved = true;
            return false;
        }
        if (entry->run == NULL) {
            plan_gap(plan, PIECE_GAP, sub, entry->off, entry->count);
            continue;
        }
        uint64_t count = entry->count < progress->credit ? entry->count : progress->credit;
        plan_msgs(plan, PIECE_MSGS, sub, 0, entry->run->bytes + entry->off, entry_len(entry, count));
        progress->credit -= count;
        if (count == entry->count) continue;
        sub->is_starved = true;
        return false;
    }
    return true;
}

static void plan_mark(struct flush_plan *plan, struct subscription *sub, enum piece_kind piece, enum mps_mark_kind kind)
{
    struct mps_out out = open_scratch(plan);
    mps_encode_mark(&out, &(struct mps_mark){.sid = sub->sid, .kind = kind});
    add_frame(plan, piece, sub, &out);
}

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
    struct piece *piece = add_piece(plan, PIECE_STORED, entry->run->bytes + entry->off, len);
    piece->sub = sub;
    piece->for_at = for_at;
    piece->for_len = for_len;
    piece->count = count;
    plan->held.seq += count;
}

static void plan_stored_gap(struct flush_plan *plan, struct subscription *sub, const struct outlet_entry *entry)
{
    struct mps_out out = open_scratch(plan);
    mps_encode_gap(&out, &(struct mps_gap){.sid = sub->sid,
                                           .has_count = entry->count_known,
                                           .count = entry->count,
                                           .reason = entry->reason,
                                           .stream = entry->reading->stream->number,
                                           .first = entry->seq,
                                           .last = entry->last});
    add_frame(plan, PIECE_STORED_GAP, sub, &out);
}

/* Returns whether all of the outlet is planned. */
static bool plan_outlet(struct flush_plan *plan, struct subscription *sub, struct progress *progress)
{
    const struct outlet *outlet = sub->outlet;
    for (uint32_t i = 0; i < outlet->count; i++) {
        const struct outlet_entry *entry = outlet_at(outlet, i);
        if (!has_room(plan)) return false;
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

static bool wants_value(struct subscription *sub, const struct retained_value *value)
{
    struct broker *broker = sub->session->broker;
    mps_view topic = {value->topic, value->len};
    if (!mps_topic_matches(subscription_pattern(sub), topic)) return false;
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
        if (!has_room(plan)) return false;
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
    if (!has_room(plan)) return false;
    plan_mark(plan, sub, PIECE_MARK, MPS_MARK_RETAINED_DONE);
    return true;
}

/* What goes before the queue's last part. Returns whether everything is planned. */
static bool plan_before(struct flush_plan *plan, struct subscription *sub, struct progress *progress)
{
    if (sub->snapshot != NULL &&
        (!plan_queue(plan, sub, sub->box.queue.before, progress) || !plan_snapshot(plan, sub, progress)))
        return false;
    return sub->outlet == NULL || plan_outlet(plan, sub, progress);
}

static void plan_drained(struct flush_plan *plan, struct subscription *sub, const struct progress *progress, bool all)
{
    bool has_more = sub->group != NULL ? !group_is_empty(sub->group)
                                       : sub->box.cursor != NULL && !cursor_is_waiting(sub->box.cursor);
    if (has_room(plan) && (sub->is_starved || (all && !(has_more && progress->credit > 0))))
        plan_mark(plan, sub, PIECE_DRAINED, MPS_MARK_DRAINED);
}

static void plan_subscription(struct flush_plan *plan, struct subscription *sub)
{
    struct progress progress = {subscription_credit_left(sub), 0};
    if (sub->outlet != NULL && sub->outlet->expires_ms <= (int64_t)sub->session->broker->now_ms) cursor_take_back(sub);
    mailbox_prepare(&sub->box, PIECES_MAX);
    sub->is_starved = false;
    bool is_plain = sub->outlet == NULL && sub->snapshot == NULL;
    bool all =
        (is_plain || plan_before(plan, sub, &progress)) && plan_queue(plan, sub, sub->box.queue.entries, &progress);
    if (sub->draining) plan_drained(plan, sub, &progress, all);
}

static void make_plan(struct flush_plan *plan, const struct session *session)
{
    plan->iovecs_count = plan->pieces_count = 0;
    plan->scratch_used = 0;
    plan->bytes = 0;
    plan->unfinished = false;
    plan->looks = 0;
    plan->last = NULL;
    if (session->held.flags & FOR_HAS_POSITION) plan->held = session->held;
    else hold_plain(&plan->held, session->held.sid, session->held.flags);
    if (session->cut != NULL) add_piece(plan, PIECE_CUT, session->cut->bytes + session->cut_off, session->cut_len);
    if (buffer_len(&session->control) > 0)
        add_piece(plan, PIECE_CONTROL, session->control.bytes + session->control.off, buffer_len(&session->control));
    struct subscription *sub = session->active;
    for (; sub != NULL && has_room(plan) && !plan->unfinished; sub = sub->next_active) {
        subscription_prefetch(sub->next_active); /* it comes while this one is planned */
        plan_subscription(plan, sub);
        plan->last = sub;
    }
}

/* The link took the first `taken` bytes of a stretch of a run: the frame that was cut is finished before all else. */
static void keep_cut(struct session *session, struct run *run, uint32_t off, uint32_t len)
{
    assert(session->cut == NULL);
    bool pins = len <= COPY_MAX && len < run->len / 2; /* a few bytes must not keep a long run */
    session->cut = pins ? run_copy(&session->broker->runs, run->bytes + off, len) : run_ref(run);
    session->cut_off = pins ? 0 : off;
    session->cut_len = len;
}

static void note_msgs(struct session *session, struct subscription *sub, uint32_t taken)
{
    const struct queue_entry *entry = queue_at(&sub->box.queue, 0);
    uint32_t len = entry->len, off = entry->off;
    uint64_t count = entry->count;
    if (taken < len) {
        uint32_t frames;
        uint32_t end = run_frame_end(entry->run, off, off + taken - 1, &frames);
        len = end - off;
        count = frames;
        if (taken < len) keep_cut(session, entry->run, off + taken, len - taken);
    }
    mailbox_pop(&sub->box, len, count);
    sub->box.sent += count;
    (sub->group ? &sub->group->box : &sub->box)->gave_up = false;
    session->broker->figures.copies_out += count;
}

/* A retained value counts when it goes out, as sent or, if it was too large for its reader, as lost. */
static void note_retained(const struct piece *piece, uint64_t *count, uint64_t *total)
{
    struct subscription *sub = piece->sub;
    sub->box.matched++;
    ++*count;
    ++*total;
    snapshot_pass(sub->snapshot, piece->value, !mps_topic_is_wild(subscription_pattern(sub)));
}

static void note_cut(struct session *session, uint32_t taken)
{
    session->cut_off += taken;
    session->cut_len -= taken;
    if (session->cut_len > 0) return;
    run_unref(&session->broker->runs, session->cut);
    session->cut = NULL;
}

/* The FOR of a piece, of which the link took a part. Returns whether that was all of it. */
static bool note_for(struct session *session, const struct flush_plan *plan, const struct piece *piece, uint32_t taken)
{
    if (piece->kind == PIECE_STORED) session->held = terms_of(piece->sub, outlet_at(piece->sub->outlet, 0));
    else hold_plain(&session->held, piece->sub->sid, piece->for_flags);
    if (taken == piece->for_len) return true;
    buffer_append(&session->control, plan->scratch + piece->for_at + taken, piece->for_len - taken);
    return false;
}

/* Messages of a stream count when they go out. */
static void note_stored(struct session *session, const struct piece *piece, uint32_t taken)
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
    if (reading_has_pending(reading)) pending_sent(reading, entry->seq, count);
    else reading_sent(reading, entry->seq + count);
    outlet_pop(sub->outlet, &session->broker->runs, len, count);
    sub->box.matched += count;
    sub->box.sent += count;
    session->broker->figures.copies_out += count;
    cursor_sent(sub);
}

static void note_stored_gap(struct session *session, struct subscription *sub)
{
    const struct outlet_entry *entry = outlet_at(sub->outlet, 0);
    if (!reading_has_pending(entry->reading)) reading_sent(entry->reading, entry->last + 1);
    if (entry->count_known) {
        sub->box.matched += entry->count;
        sub->box.lost += entry->count;
        session->broker->figures.copies_lost += entry->count;
    }
    outlet_pop(sub->outlet, &session->broker->runs, 0, 0);
    cursor_sent(sub);
}

/* A piece of which the link took `taken` bytes, at least 1. */
static void note_piece(struct session *session, const struct piece *piece, uint32_t taken)
{
    struct broker_figures *figures = &session->broker->figures;
    switch (piece->kind) {
    case PIECE_CUT: note_cut(session, taken); return;
    case PIECE_CONTROL: buffer_take(&session->control, taken); return;
    case PIECE_MSGS: note_msgs(session, piece->sub, taken); return;
    case PIECE_RETAINED:
        if (taken < piece->len) keep_cut(session, piece->value->run, taken, piece->len - taken);
        note_retained(piece, &piece->sub->box.sent, &figures->copies_out);
        return;
    case PIECE_STORED: note_stored(session, piece, taken); return;
    case PIECE_STORED_GAP: note_stored_gap(session, piece->sub); break;
    case PIECE_CAUGHT_UP:
        outlet_pop(piece->sub->outlet, &session->broker->runs, 0, 0);
        cursor_sent(piece->sub);
        break;
    case PIECE_RETAINED_GAP: note_retained(piece, &piece->sub->box.lost, &figures->copies_lost); break;
    case PIECE_GAP: mailbox_pop_gap(&piece->sub->box); break;
    case PIECE_MARK: subscription_end_snapshot(piece->sub); break;
    case PIECE_DRAINED: piece->sub->draining = false; break;
    }
    /* The rest of a small frame that was cut. Control is empty: it was written before. */
    if (taken < piece->len) buffer_append(&session->control, piece->bytes + taken, piece->len - taken);
}

static void note_taken(struct session *session, const struct flush_plan *plan, size_t taken)
{
    for (int i = 0; i < plan->pieces_count && taken > 0; i++) {
        const struct piece *piece = &plan->pieces[i];
        if (piece->for_len > 0) {
            uint32_t part = taken < piece->for_len ? (uint32_t)taken : piece->for_len;
            taken -= part;
            if (!note_for(session, plan, piece, part) || taken == 0) return;
        }
        uint32_t part = taken < piece->len ? (uint32_t)taken : piece->len;
        note_piece(session, piece, part);
        taken -= part;
    }
}

/* Of those that this write came to: who has nothing more to send leaves the list, the others go behind the rest. */
static void rotate_active(struct session *session, struct subscription *last)
{
    if (last == NULL) return;
    struct subscription *sub = session->active, *behind = last->next_active;
    session->active = behind;
    if (behind != NULL) behind->prev_active = NULL;
    else session->active_last = NULL;
    for (struct subscription *next; sub != behind; sub = next) {
        next = sub->next_active;
        sub->is_active = false;
        subscription_activate(sub); /* if it has work */
    }
}

/* Everything is written: what comes after that? */
static void all_written(struct session *session)
{
    if (session->state == SESSION_ENDING) {
        if (!acks_are_waiting(session)) session_finish_ending(session);
    } else if (session->state == SESSION_CLOSING) {
        struct env *env = session->broker->env;
        if (!session->end_sent) env->send_end(env, session->link);
        session->end_sent = true;
        if (session->read_ended) session_drop_link(session);
    }
}

static bool has_something(const struct session *session)
{
    return session->active != NULL || session->cut != NULL || buffer_len(&session->control) > 0;
}

void flush_session(struct session *session)
{
    struct broker *broker = session->broker;
    struct flush_plan *plan = broker->plan;
    if (session->state == SESSION_DEAD || session->blocked) return;
    acks_flush(session);
    for (size_t written = 0; has_something(session); written += plan->bytes) {
        if (written >= TURN_BYTES) {
            session_dirty(session);
            return;
        }
        make_plan(plan, session);
        ssize_t taken = 0;
        if (plan->pieces_count > 0)
            taken = broker->env->send(broker->env, session->link, plan->iovecs, plan->iovecs_count);
        note_taken(session, plan, taken > 0 ? (size_t)taken : 0);
        rotate_active(session, plan->last);
        if (taken < (ssize_t)plan->bytes) {
            session->blocked = true;
            group_session_blocked(session);
            return;
        }
        if (plan->unfinished) {
            session_dirty(session);
            return;
        }
        if (plan->pieces_count == 0) break; /* those that are active can't be sent anything now */
    }
    group_session_written(session);
    all_written(session);
}
