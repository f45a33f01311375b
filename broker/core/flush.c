#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "flush.h"
#include "sure.h"
#include "trace.h"

struct flush_plan *flush_plan_new(void)
{
    struct flush_plan *plan = sure_alloc(sizeof *plan);
    return plan;
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

struct piece *plan_piece(struct flush_plan *plan, enum piece_kind kind, const uint8_t *bytes, uint32_t len)
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
struct piece *plan_frame(struct flush_plan *plan, enum piece_kind kind, struct subscription *sub, struct mps_out *out)
{
    plan->scratch_used += out->len;
    struct piece *piece = &plan->pieces[plan->pieces_count++];
    *piece = (struct piece){.kind = kind, .len = out->len, .bytes = out->buf, .sub = sub};
    plan->bytes += out->len;
    add_iovec(plan, out->buf, out->len);
    return piece;
}

/* FOR is written here and not when a message is queued, so dropping from a queue can't disturb it. Returns its length.
 */
uint8_t plan_for(struct flush_plan *plan, const struct mps_for *terms)
{
    struct mps_out out = plan_scratch(plan);
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
struct piece *plan_msgs(struct flush_plan *plan, enum piece_kind kind, struct subscription *sub, uint8_t flags,
                        const uint8_t *bytes, uint32_t len)
{
    uint32_t for_at = plan->scratch_used;
    const struct for_terms *held = &plan->held;
    uint8_t for_len = 0;
    if (held->sid != sub->sid || held->flags != flags) {
        for_len = plan_for(plan, &(struct mps_for){.sid = sub->sid, .flags = flags});
        hold_plain(&plan->held, sub->sid, flags);
    }
    struct piece *piece = plan_piece(plan, kind, bytes, len);
    piece->sub = sub;
    piece->for_at = for_at;
    piece->for_len = for_len;
    piece->for_flags = flags;
    return piece;
}

struct piece *plan_gap(struct flush_plan *plan, enum piece_kind kind, struct subscription *sub, uint32_t reason,
                       uint64_t count)
{
    struct mps_out out = plan_scratch(plan);
    bool has_count = reason != MPS_GAP_RESTARTED && reason != MPS_GAP_BETWEEN; /* nobody knows */
    mps_encode_gap(&out, &(struct mps_gap){.sid = sub->sid, .has_count = has_count, .count = count, .reason = reason});
    return plan_frame(plan, kind, sub, &out);
}

/* Bytes of the first count messages of an entry. */
static uint32_t entry_len(const struct queue_entry *entry, uint64_t count)
{
    return count < entry->count ? run_skip(entry->run, entry->off, (uint32_t)count) - entry->off : entry->len;
}

bool plan_queue(struct flush_plan *plan, struct subscription *sub, uint32_t end, struct progress *progress)
{
    for (; progress->entries < end; progress->entries++) {
        const struct queue_entry *entry = queue_at(&sub->box.queue, progress->entries);
        if (!plan_has_room(plan)) return false;
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

void plan_mark(struct flush_plan *plan, struct subscription *sub, enum piece_kind piece, enum mps_mark_kind kind)
{
    struct mps_out out = plan_scratch(plan);
    mps_encode_mark(&out, &(struct mps_mark){.sid = sub->sid, .kind = kind});
    plan_frame(plan, piece, sub, &out);
}

static void plan_drained(struct flush_plan *plan, struct subscription *sub, const struct progress *progress, bool all)
{
    bool has_more = sub->group != NULL ? !group_is_empty(sub->group)
                                       : sub->box.cursor != NULL && !cursor_is_waiting(sub->box.cursor);
    if (plan_has_room(plan) && (sub->is_starved || (all && !(has_more && progress->credit > 0))))
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

static inline void make_plan(struct flush_plan *plan, const struct session *session)
{
    plan->iovecs_count = plan->pieces_count = 0;
    plan->scratch_used = 0;
    plan->bytes = 0;
    plan->unfinished = false;
    plan->looks = 0;
    plan->last = NULL;
    if (session->held.flags & FOR_HAS_POSITION) plan->held = session->held;
    else hold_plain(&plan->held, session->held.sid, session->held.flags);
    if (session->cut != NULL) plan_piece(plan, PIECE_CUT, session->cut->bytes + session->cut_off, session->cut_len);
    if (buffer_len(&session->control) > 0)
        plan_piece(plan, PIECE_CONTROL, session->control.bytes + session->control.off, buffer_len(&session->control));
    struct subscription *sub = session->active;
    for (; sub != NULL && plan_has_room(plan) && !plan->unfinished; sub = sub->next_active) {
        subscription_prefetch(sub->next_active); /* it comes while this one is planned */
        plan_subscription(plan, sub);
        plan->last = sub;
    }
}

/* The link took the first `taken` bytes of a stretch of a run: the frame that was cut is finished before all else. */
void keep_cut(struct session *session, struct run *run, uint32_t off, uint32_t len)
{
    assert(session->cut == NULL);
    bool pins = len <= COPY_MAX && len < run->len / 2; /* a few bytes must not keep a long run */
    struct run *copy = pins ? run_copy(&session->broker->runs, run->bytes + off, len) : NULL;
    session->cut = copy != NULL ? copy : run_ref(run);
    session->cut_off = copy != NULL ? 0 : off;
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
    if (entry->run->is_traced && session->broker->tracing != NULL) trace_sent(sub, entry->run, off, len);
    mailbox_pop(&sub->box, len, count);
    sub->box.sent += count;
    (sub->group ? &sub->group->box : &sub->box)->gave_up = false;
    session->messages_out += count;
    session->broker->figures.copies_out += count;
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
    if (piece->kind == PIECE_STORED) note_stored_for(session, piece->sub);
    else hold_plain(&session->held, piece->sub->sid, piece->for_flags);
    if (taken == piece->for_len) return true;
    buffer_append(&session->control, plan->scratch + piece->for_at + taken, piece->for_len - taken);
    return false;
}

/* A piece of which the link took `taken` bytes, at least 1. */
static void note_piece(struct session *session, const struct piece *piece, uint32_t taken)
{
    switch (piece->kind) {
    case PIECE_CUT: note_cut(session, taken); return;
    case PIECE_CONTROL: buffer_take(&session->control, taken); return;
    case PIECE_MSGS: note_msgs(session, piece->sub, taken); return;
    case PIECE_RETAINED:
        if (taken < piece->len) keep_cut(session, piece->value->run, taken, piece->len - taken);
        note_retained(session, piece);
        return;
    case PIECE_STORED: note_stored(session, piece, taken); return;
    case PIECE_STORED_GAP: note_stored_gap(session, piece->sub); break;
    case PIECE_CAUGHT_UP: note_caught_up(session, piece->sub); break;
    case PIECE_RETAINED_GAP: note_retained(session, piece); break;
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
        if (taken > 0) session->bytes_out += (size_t)taken;
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
