#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "sure.h"

/* Of pending messages so many are looked at in the time of one step of broker.work. */
#define LOOKS_A_STEP 16u

static struct pending *at(const struct reading *reading, uint32_t i)
{
    return &reading->pending[reading->first + i];
}

/* The first whose position is not below this one; .count: none. */
static uint32_t place_of(const struct reading *reading, uint64_t seq)
{
    uint32_t low = 0, high = reading->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (at(reading, middle)->seq < seq) low = middle + 1;
        else high = middle;
    }
    return low;
}

struct pending *pending_find(const struct reading *reading, uint64_t seq)
{
    uint32_t place = place_of(reading, seq);
    return place < reading->count && at(reading, place)->seq == seq ? at(reading, place) : NULL;
}

static bool is_due(const struct pending *pending)
{
    return pending->state == PENDING_DUE || pending->state == PENDING_DEAD;
}

static struct outlet *outlet_of(const struct pending *pending)
{
    return pending->sub != NULL ? pending->sub->outlet : NULL;
}

static void count_open(struct reading *reading, uint32_t by)
{
    reading->open_count += by;
    reading->cursor->open_count += by;
    reading->cursor->broker->pending_count += by;
}

static void discount_open(struct reading *reading, uint32_t by)
{
    reading->open_count -= by;
    reading->cursor->open_count -= by;
    reading->cursor->broker->pending_count -= by;
}

/* The one place where a state changes: who has it, and what is due, are counted by it. */
static void set_state(struct reading *reading, struct pending *pending, enum pending_state state,
                      struct subscription *sub)
{
    struct subscription *before = pending->sub;
    if (outlet_of(pending) != NULL) outlet_of(pending)->unacked--;
    reading->due_count -= is_due(pending);
    discount_open(reading, pending->state != PENDING_ACKED);
    pending->state = state;
    pending->sub = sub;
    reading->due_count += is_due(pending);
    count_open(reading, pending->state != PENDING_ACKED);
    if (is_due(pending) && pending->seq < reading->due_from) reading->due_from = pending->seq;
    if (outlet_of(pending) != NULL) outlet_of(pending)->unacked++;
    if (before != NULL && before != sub) group_member_acked(before);
}

static void make_room(struct reading *reading)
{
    if (reading->first + reading->count < reading->cap) return;
    if (reading->first >= reading->cap / 2 && reading->first > 0) {
        memmove(reading->pending, at(reading, 0), reading->count * sizeof reading->pending[0]);
        reading->first = 0;
        return;
    }
    reading->cap = reading->cap > 0 ? 2 * reading->cap : 16;
    reading->pending = sure_grown(
        reading->pending, reading->cap * sizeof reading->pending[0]); /* bounded by the inflight of those who read */
}

static void set_timer(struct cursor *cursor, uint64_t due_ms)
{
    if (due_ms < cursor->due.when_ms) timer_set(&cursor->broker->redeliveries, &cursor->due, due_ms);
}

void pending_add(struct reading *reading, uint64_t seq, struct subscription *sub)
{
    make_room(reading);
    struct pending *pending = at(reading, reading->count++);
    *pending = (struct pending){.seq = seq, .state = PENDING_QUEUED, .sub = sub};
    sub->outlet->unacked++;
    count_open(reading, 1);
}

void pending_load(struct reading *reading, uint64_t seq)
{
    make_room(reading);
    struct pending *pending = at(reading, reading->count++);
    *pending = (struct pending){.seq = seq, .state = PENDING_ACKED};
    set_state(reading, pending, PENDING_DUE, NULL);
}

/* Among many that are open, so many that aren't may stay. */
#define DONE_LEAST 64u

/* What is not here is done with, too: while one message stays open for hours, those behind it take no memory. */
static void close_up(struct reading *reading)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < reading->count; i++)
        if (at(reading, i)->state != PENDING_ACKED) *at(reading, kept++) = *at(reading, i);
    reading->count = kept;
}

static void forget_done(struct reading *reading)
{
    while (reading->count > 0 && at(reading, 0)->state == PENDING_ACKED) {
        reading->first++;
        reading->count--;
    }
    if (reading->count > 2 * (uint64_t)reading->open_count + DONE_LEAST) close_up(reading);
    if (reading->count == 0) reading->first = 0;
}

void pending_done(struct reading *reading, struct pending *pending)
{
    set_state(reading, pending, PENDING_ACKED, NULL);
    forget_done(reading);
    cursor_advanced(reading->cursor);
    cursor_dirty(reading->cursor);
}

void pending_sent(struct reading *reading, uint64_t seq, uint64_t count)
{
    struct cursor *cursor = reading->cursor;
    uint64_t due_ms = cursor->broker->now_ms + cursor->terms.ack_ms;
    for (uint32_t i = place_of(reading, seq); i < reading->count && at(reading, i)->seq < seq + count; i++) {
        struct pending *pending = at(reading, i);
        if (pending->state != PENDING_QUEUED) continue;
        if (cursor->terms.ack == MPS_ACK_NONE) set_state(reading, pending, PENDING_ACKED, NULL);
        else set_state(reading, pending, PENDING_SENT, pending->sub);
        pending->tries++;
        pending->due_ms = due_ms;
    }
    forget_done(reading);
    if (cursor->terms.ack != MPS_ACK_NONE) set_timer(cursor, due_ms);
    cursor_advanced(cursor);
}

void pending_unsent(struct reading *reading, uint64_t seq)
{
    struct pending *pending = pending_find(reading, seq);
    if (pending != NULL && pending->state == PENDING_QUEUED) set_state(reading, pending, PENDING_DUE, NULL);
}

/* It is to be delivered again, unless it was often enough. */
static void again(struct reading *reading, struct pending *pending)
{
    bool enough = pending->tries >= reading->cursor->terms.max_tries;
    set_state(reading, pending, enough ? PENDING_DEAD : PENDING_DUE, NULL);
    cursor_advanced(reading->cursor);
}

void pending_release(struct reading *reading, struct subscription *sub)
{
    for (uint32_t i = 0; i < reading->count; i++) {
        struct pending *pending = at(reading, i);
        if (pending->sub != sub) continue;
        if (pending->state == PENDING_SENT) again(reading, pending);
        else if (pending->state == PENDING_QUEUED) set_state(reading, pending, PENDING_DUE, NULL);
    }
    cursor_dirty(reading->cursor);
}

void pending_cut(struct reading *reading, uint64_t from)
{
    for (uint32_t place = place_of(reading, from); reading->count > place; reading->count--)
        set_state(reading, at(reading, reading->count - 1), PENDING_ACKED, NULL);
}

uint64_t pending_floor(const struct reading *reading)
{
    return reading->count > 0 ? at(reading, 0)->seq : reading->next;
}

struct pending *pending_first_due(struct reading *reading)
{
    if (reading->due_count == 0) return NULL;
    for (uint32_t i = place_of(reading, reading->due_from); i < reading->count; i++) {
        if (!is_due(at(reading, i))) continue;
        reading->due_from = at(reading, i)->seq;
        return at(reading, i);
    }
    return NULL;
}

void pending_queued(struct reading *reading, struct pending *pending, struct subscription *sub)
{
    set_state(reading, pending, PENDING_QUEUED, sub);
}

/* ---- ACK ---------------------------------------------------------------------------------------------------- */

static const char never_sent[] = "no message with this position was sent to this subscription";

/* What is about to be sent again must not be, if it is acknowledged now. */
static void keep_from_being_sent(struct pending *pending)
{
    if (pending->state == PENDING_QUEUED && pending->tries > 0) cursor_take_back(pending->sub);
}

/* All that it was sent up to this position; of a group, all that this member has. */
static void ack_upto(struct reading *reading, uint64_t seq, const struct subscription *sub)
{
    reading->cursor->broker->work += place_of(reading, seq) / LOOKS_A_STEP;
    for (uint32_t i = 0; i < reading->count && at(reading, i)->seq <= seq; i++)
        if (sub->group == NULL || at(reading, i)->sub == sub) keep_from_being_sent(at(reading, i));
    for (uint32_t i = 0; i < reading->count && at(reading, i)->seq <= seq; i++) {
        struct pending *pending = at(reading, i);
        if (sub->group != NULL && pending->sub != sub) continue;
        if (pending->tries == 0) continue;
        set_state(reading, pending, PENDING_ACKED, NULL);
    }
    forget_done(reading);
    cursor_advanced(reading->cursor);
    cursor_dirty(reading->cursor);
}

const char *pending_ack(struct reading *reading, const struct mps_ack *ack, struct subscription *sub)
{
    struct cursor *cursor = reading->cursor;
    if (cursor->terms.ack == MPS_ACK_NONE) return "this subscription is not acknowledged";
    if (ack->seq == 0 || ack->seq >= reading->next) return never_sent;
    if (ack->kind == 0) {
        ack_upto(reading, ack->seq, sub);
        return NULL;
    }
    struct pending *pending = pending_find(reading, ack->seq);
    if (pending == NULL || pending->state == PENDING_ACKED || pending->state == PENDING_DEAD) return NULL; /* done */
    if (pending->tries == 0) return never_sent;
    if (ack->kind == 1 || ack->kind == 3) keep_from_being_sent(pending);
    if (ack->kind == 1) {
        pending_done(reading, pending);
    } else if (ack->kind == 3) {
        pending->is_rejected = true;
        set_state(reading, pending, PENDING_DEAD, NULL);
        cursor_dirty(cursor);
    } else if (pending->state != PENDING_QUEUED) { /* one that is about to be sent again is soon enough */
        again(reading, pending);
        if (pending->state == PENDING_DUE && ack->delay_ms > 0) {
            set_state(reading, pending, PENDING_DELAYED, NULL);
            pending->due_ms = cursor->broker->now_ms + ack->delay_ms;
            set_timer(cursor, pending->due_ms);
        }
        cursor_dirty(cursor);
    }
    return NULL;
}

/* ---- time --------------------------------------------------------------------------------------------------- */

/* What is due of a place in a stream. Returns when the next one is. */
static uint64_t reading_due(struct reading *reading, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    for (uint32_t i = 0; i < reading->count; i++) {
        struct pending *pending = at(reading, i);
        if (pending->state != PENDING_SENT && pending->state != PENDING_DELAYED) continue;
        if (pending->due_ms > now_ms) {
            if (pending->due_ms < next_ms) next_ms = pending->due_ms;
        } else if (pending->state == PENDING_SENT) {
            again(reading, pending);
        } else {
            set_state(reading, pending, PENDING_DUE, NULL);
        }
    }
    reading->cursor->broker->work += 1 + reading->count / LOOKS_A_STEP;
    return next_ms;
}

/* Looked at in steps: thousands of messages that were sent one after the other are due one after the other. */
#define STEP_MS 10u

void redeliveries_turn(struct broker *broker, uint64_t work_end)
{
    while (broker->work < work_end) {
        struct timer *timer = timer_take_due(&broker->redeliveries, broker->now_ms);
        if (timer == NULL) return;
        struct cursor *cursor = container_of(timer, struct cursor, due);
        uint64_t next_ms = UINT64_MAX;
        for (uint32_t i = 0; i < cursor->readings_count; i++) {
            uint64_t due_ms = reading_due(&cursor->readings[i], broker->now_ms);
            if (due_ms < next_ms) next_ms = due_ms;
        }
        if (next_ms != UINT64_MAX) timer_set(&broker->redeliveries, timer, next_ms + STEP_MS - 1 - next_ms % STEP_MS);
        cursor_dirty(cursor);
    }
}
