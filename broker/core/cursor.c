#include <stdlib.h>
#include <string.h>

#include "cluster/records.h"
#include "cluster/shared.h"
#include "sure.h"

/* What a subscription is given at a time, and how little of it has to be left for more. */
#define OUTLET_BYTES (256u * 1024)
#define OUTLET_BYTES_LOW (64u * 1024)
#define OUTLET_ENTRIES 256u
/* What looking for more may cost at a time. */
#define WORK_A_FILL 8192u

mps_view cursor_pattern(const struct cursor *cursor)
{
    return cursor->box->session != NULL ? subscription_pattern(container_of(cursor->box, struct subscription, box))
                                        : group_pattern(container_of(cursor->box, struct group, box));
}

struct reading *cursor_reading(const struct cursor *cursor, uint64_t stream)
{
    for (uint32_t i = 0; i < cursor->readings_count; i++)
        if (cursor->readings[i].stream->number == stream) return &cursor->readings[i];
    return NULL;
}

/* ---- where it begins ---------------------------------------------------------------------------------------- */

static void begin_since(struct reading *reading, struct stream_place place)
{
    reading->next = place.position;
    reading->since_ms = place.since_ms;
    reading->since_end = place.since_end;
    if (reading->stream->is_shared && place.since_end != UINT64_MAX) reading->since_high = place.since_end;
}

static void look_first(struct reading *reading, const struct mps_from *from)
{
    const struct stream *stream = reading->stream;
    struct survey_request request = {from->kind, from->number, stream->stored};
    reading->survey = survey_new(stream->broker, &request, stream->first);
}

static void begin(struct reading *reading, const struct mps_from *from);

static void put_off(struct reading *reading, enum mps_from_kind kind, uint64_t number)
{
    reading->begins_later = true;
    reading->later_kind = kind;
    reading->later_number = number;
}

/* What isn't given yet is the next one. Of a shared stream another broker may have given it: then this one hears of it,
 * and delivers nothing twice. */
static void begin_at(struct reading *reading, uint64_t seq)
{
    const struct stream *stream = reading->stream;
    if (stream->is_shared && !stream->is_known) {
        put_off(reading, MPS_FROM_SEQ, seq);
    } else if (seq > stream->next && stream->is_shared && shared_ask(reading)) {
        reading->next = seq;
        reading->is_ahead = true;
    } else {
        reading->next = least(seq > 0 ? seq : 1, stream->next);
    }
}

/* At the place that is named for the stream, or as those begin that are not named. */
static void begin_at_position(struct reading *reading, const struct mps_from *from)
{
    mps_view pairs = from->pairs;
    uint64_t number, seq;
    while (mps_from_next(&pairs, &number, &seq)) {
        if (number != reading->stream->number) continue;
        begin_at(reading, seq);
        return;
    }
    begin(reading, &(struct mps_from){.kind = from->rest, .number = from->number});
}

/* Where the last ones begin is not known before it is known how far it is: nobody has followed it until now. */
static bool waits_to_begin(struct reading *reading, enum mps_from_kind kind)
{
    const struct stream *stream = reading->stream;
    if (!stream->is_known) return kind != MPS_FROM_SEQ;
    return (kind == MPS_FROM_LAST || kind == MPS_FROM_LAST_PER_TOPIC) && !stream->is_followed && shared_ask(reading);
}

static void begin(struct reading *reading, const struct mps_from *from)
{
    const struct stream *stream = reading->stream;
    reading->next = stream->first;
    if (stream->is_shared && waits_to_begin(reading, from->kind)) {
        put_off(reading, from->kind, from->number);
        return;
    }
    switch (from->kind) {
    case MPS_FROM_NEW: reading->next = stream->next; break;
    case MPS_FROM_ALL:
    case MPS_FROM_ACKED: break; /* nothing was acknowledged yet */
    case MPS_FROM_SEQ: begin_at_position(reading, from); break;
    case MPS_FROM_TIME: begin_since(reading, stream_at_time(stream, from->number)); break;
    case MPS_FROM_AGO: begin_since(reading, stream_at_age(stream, from->number)); break;
    case MPS_FROM_LAST:
        if (!reading->takes_all) look_first(reading, from);
        else if (stream->stored - stream->first > from->number) reading->next = stream->stored - from->number;
        break;
    case MPS_FROM_LAST_PER_TOPIC: look_first(reading, from); break;
    }
}

static void note_takes_all(struct cursor *cursor)
{
    for (uint32_t i = 0; i < cursor->readings_count; i++)
        cursor->readings[i].takes_all = cursor->box->filter == NULL && !cursor->box->is_guarded &&
                                        stream_is_covered(cursor->readings[i].stream, cursor_pattern(cursor));
}

void cursor_filter_changed(struct cursor *cursor)
{
    note_takes_all(cursor);
}

static void add_reading(struct cursor *cursor, struct stream *stream)
{
    struct reading *reading = &cursor->readings[cursor->readings_count++];
    *reading = (struct reading){.cursor = cursor, .stream = stream, .due_from = UINT64_MAX};
    list_append(&stream->readings, &reading->in_readings);
}

struct cursor *cursor_new(struct mailbox *box, mps_view pattern, const struct cursor_terms *terms,
                          const struct mps_from *from)
{
    struct broker *broker = box->broker;
    struct cursor *cursor = sure_zeroed(sizeof *cursor); /* small, as subscriptions are */
    *cursor =
        (struct cursor){.broker = broker, .box = box, .terms = *terms, .is_fresh = true, .served_until_ms = UINT64_MAX};
    cursor->from_kind = from->kind;
    cursor->from_number = from->number;
    cursor->passes_retained = from->kind != MPS_FROM_NEW;
    timer_init(&cursor->due);
    timer_init(&cursor->keep);
    cursor->readings =
        sure_zeroed((broker->streams_count > 0 ? broker->streams_count : 1) * sizeof cursor->readings[0]);
    for (uint32_t i = 0; i < broker->streams_count; i++)
        if (stream_overlaps(broker->streams[i], pattern)) add_reading(cursor, broker->streams[i]);
    note_takes_all(cursor);
    for (uint32_t i = 0; i < cursor->readings_count; i++) {
        struct reading *reading = &cursor->readings[i];
        begin(reading, from);
        reading->sent = reading->next;
        reading->live = from->kind != MPS_FROM_NEW ? stream_accepted(reading->stream) : 0;
        reading->has_just_begun = reading->stream->is_shared && reading->live > 0;
    }
    box->cursor = cursor;
    cursor_changed(cursor);
    cursor_dirty(cursor);
    return cursor;
}

void cursor_move(struct cursor *cursor, const struct mps_from *from)
{
    if (from->kind != MPS_FROM_SEQ || cursor->terms.ack != MPS_ACK_NONE || cursor->box->session == NULL) return;
    cursor_take_back(container_of(cursor->box, struct subscription, box));
    mps_view pairs = from->pairs;
    uint64_t number, seq;
    while (mps_from_next(&pairs, &number, &seq)) {
        struct reading *reading = cursor_reading(cursor, number);
        if (reading == NULL) continue;
        reading_stop_waiting(reading);
        begin_at(reading, seq);
        reading->sent = reading->next;
        reading->since_ms = 0;
        survey_free(reading->survey);
        reading->survey = NULL;
    }
    cursor_changed(cursor);
    cursor_dirty(cursor);
}

static void begin_late(struct reading *reading)
{
    reading->begins_later = false;
    if (reading->later_kind == MPS_FROM_SEQ) begin_at(reading, reading->later_number);
    else begin(reading, &(struct mps_from){.kind = reading->later_kind, .number = reading->later_number});
    reading->sent = reading->next;
    reading->live = reading->later_kind != MPS_FROM_NEW ? stream_accepted(reading->stream) : 0;
    cursor_changed(reading->cursor);
}

/* A record may know of more than there is, and a client, too. */
static void cut_to_known(struct reading *reading)
{
    const struct stream *stream = reading->stream;
    if (reading->next > stream->next) {
        pending_cut(reading, stream->next);
        reading->next = stream->next;
        cursor_changed(reading->cursor);
    }
    reading->sent = least(reading->sent, stream->next);
    reading->live = least(reading->live, stream->next);
}

/* Of a shared stream others may have been told of more than is known here. */
static void note_mark(struct reading *reading)
{
    reading->mark_at = stream_accepted(reading->stream);
    if (reading->stream->is_shared) shared_ask(reading);
}

void cursor_heard(struct reading *reading)
{
    if (reading->is_ahead) cut_to_known(reading);
    reading->is_ahead = false;
    if (reading->begins_later) {
        begin_late(reading);
        reading_stop_waiting(reading);
    }
    reading->mark_at = stream_accepted(reading->stream);
    if (reading->has_just_begun && reading->next <= reading->live && reading->live < reading->mark_at) {
        reading->live = reading->mark_at;
        cursor_changed(reading->cursor);
    }
    reading->has_just_begun = false;
    cursor_dirty(reading->cursor);
}

/* The stream is known now. */
static void start(struct reading *reading)
{
    if (reading->begins_later) begin_late(reading);
    else cut_to_known(reading);
    if (reading->mark_at == UINT64_MAX) note_mark(reading);
    reading_stop_waiting(reading);
    cursor_dirty(reading->cursor);
}

void cursors_begin_late(struct stream *stream)
{
    for (struct list_node *node = stream->readings.first; node != NULL; node = node->next)
        start(container_of(node, struct reading, in_readings));
}

static void take_back(struct subscription *sub, void *arg)
{
    (void)arg;
    cursor_take_back(sub);
}

void cursor_take_all_back(struct cursor *cursor)
{
    if (cursor->box->session != NULL) cursor_take_back(container_of(cursor->box, struct subscription, box));
    else group_each(container_of(cursor->box, struct group, box), take_back, NULL);
}

/* keeps: what is below stands as it is. */
static void restart(struct reading *reading, uint64_t from, uint64_t keeps)
{
    const struct stream *stream = reading->stream;
    reading_stop_waiting(reading);
    pending_cut(reading, keeps);
    survey_free(reading->survey);
    reading->survey = NULL;
    reading->since_ms = 0;
    reading->begins_later = reading->has_just_begun = false;
    reading->next = reading->sent = from;
    reading->live = reading->mark_at = stream_accepted(stream);
}

/* It has none of before, and begins where it asked to. */
static bool has_no_place(const struct reading *reading)
{
    return reading->begins_later && reading->later_kind != MPS_FROM_SEQ;
}

static struct outlet_entry *find_restarted(const struct reading *reading)
{
    const struct outlet *returned = reading->cursor->returned;
    for (uint32_t i = 0; i < returned->count; i++) {
        struct outlet_entry *told = outlet_at(returned, i);
        if (told->reading == reading && told->reason == MPS_GAP_RESTARTED) return told;
    }
    return NULL;
}

/* Whoever is served next gets it: once, however often that happens while nobody is there. */
static void tell_restarted(struct reading *reading, uint64_t from)
{
    struct cursor *cursor = reading->cursor;
    if (cursor->returned == NULL) cursor->returned = outlet_new();
    struct outlet_entry *told = find_restarted(reading);
    if (told != NULL) told->seq = from, told->last = from - 1;
    else
        outlet_push(
            cursor->returned,
            &(struct outlet_entry){
                .kind = OUTLET_GAP, .reason = MPS_GAP_RESTARTED, .seq = from, .last = from - 1, .reading = reading});
    cursor_changed(cursor);
    cursor_dirty(cursor);
}

void cursor_restart(struct cursor *cursor, struct reading *reading)
{
    cursor_take_all_back(cursor);
    restart(reading, reading->stream->first, 0);
    tell_restarted(reading, reading->stream->first);
}

void cursors_restart(struct stream *stream)
{
    for (struct list_node *node = stream->readings.first; node != NULL; node = node->next) {
        struct reading *reading = container_of(node, struct reading, in_readings);
        if (has_no_place(reading)) start(reading);
        else cursor_restart(reading->cursor, reading);
    }
}

void cursors_go_back(struct stream *stream, uint64_t to)
{
    for (struct list_node *node = stream->readings.first; node != NULL; node = node->next) {
        struct reading *reading = container_of(node, struct reading, in_readings);
        cursor_take_all_back(reading->cursor);
        if (reading->next > to) {
            restart(reading, to, to);
            tell_restarted(reading, to);
            continue;
        }
        cut_to_known(reading);
        reading->mark_at = least(reading->mark_at, stream_accepted(stream));
        reading_stop_waiting(reading);
        cursor_dirty(reading->cursor);
    }
}

/* Among those that go, it isn't known any more which are left: as few as can be are taken to be before this one, so
 * that what is missing behind it is told. */
static uint64_t renumbered(uint64_t position, uint64_t from, uint64_t count, uint64_t left)
{
    if (position <= from) return position;
    if (position >= from + count) return position - (count - left);
    return position - from > count - left ? position - (count - left) : from;
}

/* Where what was accepted by some time ends now. If nothing of it gathers for the next commit, it ends with what is
 * stored: nobody waits for holes, which are told of only when something behind them is stored. */
static uint64_t end_of_accepted(const struct stream *stream, uint64_t end, uint64_t from, uint64_t count, uint64_t left)
{
    return end > from + count ? end - (count - left) : least(end, stream->stored);
}

void cursors_renumber(struct stream *stream, uint64_t from, uint64_t count, uint64_t left)
{
    for (struct list_node *node = stream->readings.first; node != NULL; node = node->next) {
        struct reading *reading = container_of(node, struct reading, in_readings);
        reading->live = end_of_accepted(stream, reading->live, from, count, left);
        reading->mark_at = end_of_accepted(stream, reading->mark_at, from, count, left);
        cursor_dirty(reading->cursor);       /* that may be all that it waited for */
        if (reading->next <= from) continue; /* what was sent or recorded of it lies before, too */
        reading->next = renumbered(reading->next, from, count, left);
        reading->sent = renumbered(reading->sent, from, count, left);
        cursor_changed(reading->cursor);
    }
}

/* ---- life --------------------------------------------------------------------------------------------------- */

void cursor_dirty(struct cursor *cursor)
{
    if (cursor->is_dirty) return;
    cursor->is_dirty = true;
    list_append(&cursor->broker->dirty_cursors, &cursor->in_dirty);
}

static void not_dirty(struct cursor *cursor)
{
    if (!cursor->is_dirty) return;
    struct list *list = cursor->is_parked ? &cursor->box->session->parked : &cursor->broker->dirty_cursors;
    cursor->is_dirty = cursor->is_parked = false;
    list_remove(list, &cursor->in_dirty);
}

/* Nothing can be written for it at the moment, so nothing is fetched: what is at hand now may be far away then. */
static void park(struct cursor *cursor)
{
    cursor->is_dirty = cursor->is_parked = true;
    list_append(&cursor->box->session->parked, &cursor->in_dirty);
}

void cursors_unpark(struct session *session)
{
    while (session->parked.first != NULL) {
        struct cursor *cursor = container_of(session->parked.first, struct cursor, in_dirty);
        not_dirty(cursor);
        cursor_dirty(cursor);
    }
}

bool cursor_is_waiting(const struct cursor *cursor)
{
    if ((cursor->is_dirty && cursor->box->session != NULL) || cursor->returned != NULL) return false;
    for (uint32_t i = 0; i < cursor->readings_count; i++) {
        const struct reading *reading = &cursor->readings[i];
        if (reading_stands_by(reading) && cursor->box->session == NULL) continue; /* it is nothing to wait for */
        if (reading_stands_by(reading)) return false;
        if (reading->due_count > 0 || reading->waits_in != &reading->stream->tail) return false;
    }
    return true;
}

void cursor_free(struct cursor *cursor)
{
    if (cursor == NULL) return;
    not_dirty(cursor);
    if (cursor->shared != NULL) shared_cursor_free(cursor);
    cursor_stop_keeping(cursor);
    timer_cancel(&cursor->broker->redeliveries, &cursor->due);
    for (uint32_t i = 0; i < cursor->readings_count; i++) {
        struct reading *reading = &cursor->readings[i];
        reading_stop_waiting(reading);
        shared_stop_asking(reading);
        list_remove(&reading->stream->readings, &reading->in_readings);
        pending_cut(reading, 0);
        free(reading->pending);
        survey_free(reading->survey);
    }
    cursor->box->cursor = NULL;
    outlet_free(cursor->returned, &cursor->broker->runs);
    free(cursor->readings);
    free(cursor);
}

void cursors_wake(struct list *waiting)
{
    for (struct list_node *node; (node = waiting->first) != NULL;) {
        struct reading *reading = container_of(node, struct reading, in_waiting);
        reading_stop_waiting(reading);
        cursor_dirty(reading->cursor);
    }
}

void cursors_wake_tail(struct stream *stream)
{
    cursors_wake(&stream->tail);
}

/* ---- taking back -------------------------------------------------------------------------------------------- */

static void want_mark(struct subscription *sub)
{
    sub->wants_mark = true;
    if (sub->group != NULL) sub->group->is_marking = true;
}

/* What comes for the first time comes in order: one who reads alone goes back to it. */
static void take_entry_back(struct cursor *cursor, struct subscription *sub, const struct outlet_entry *entry)
{
    struct reading *reading = entry->reading;
    if (entry->kind == OUTLET_CAUGHT_UP) {
        want_mark(sub);
    } else if (cursor->box->session != NULL && !entry->is_again) {
        reading_stop_waiting(reading);
        pending_cut(reading, entry->seq);
        if (entry->seq < reading->next) reading->next = entry->seq;
    } else if (entry->kind == OUTLET_GAP) {
        if (cursor->returned == NULL) cursor->returned = outlet_new();
        outlet_push(cursor->returned, entry);
    } else {
        for (uint64_t i = 0; i < entry->count; i++) pending_unsent(reading, entry->seq + i);
    }
}

void cursor_take_back(struct subscription *sub)
{
    struct outlet *outlet = sub->outlet;
    struct cursor *cursor = subscription_cursor(sub);
    if (outlet == NULL || outlet->count == 0) return;
    for (uint32_t i = 0; i < outlet->count; i++) take_entry_back(cursor, sub, outlet_at(outlet, i));
    struct outlet *empty = outlet_new();
    empty->unacked = outlet->unacked;
    outlet_free(outlet, &sub->session->broker->runs);
    sub->outlet = empty;
    cursor_dirty(cursor);
}

/* Memory that outlets may keep from being used again, besides what is kept at hand anyway. */
#define OUTLETS_BYTES_MAX (UINT64_C(256) * 1024 * 1024)

void cursors_shed(struct broker *broker)
{
    if (broker->runs.stored_bytes <= OUTLETS_BYTES_MAX + broker->chunks.bytes) return;
    for (struct session *session = broker->sessions; session != NULL; session = session->next)
        for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node))
            cursor_take_back(container_of(node, struct subscription, in_subs));
}

void cursor_release(struct subscription *sub)
{
    struct cursor *cursor = subscription_cursor(sub);
    if (cursor == NULL || sub->outlet == NULL) return;
    cursor_take_back(sub);
    for (uint32_t i = 0; i < cursor->readings_count; i++) pending_release(&cursor->readings[i], sub);
}

/* ---- filling outlets ---------------------------------------------------------------------------------------- */

static bool is_full(const struct subscription *sub, uint64_t msgs_before)
{
    const struct outlet *outlet = sub->outlet;
    (void)msgs_before;
    return outlet->bytes >= OUTLET_BYTES || outlet->count >= OUTLET_ENTRIES ||
           outlet->msgs >= subscription_credit_left(sub);
}

static bool has_one_more(const struct subscription *sub, uint64_t msgs_before)
{
    return sub->outlet->msgs > msgs_before;
}

/* What all readers may have unacknowledged together: about 300 MB. Beyond, each one goes on with a few. */
#define PENDING_MOST (UINT64_C(4) * 1024 * 1024)
#define PENDING_EACH 16u

uint64_t cursor_inflight(const struct cursor *cursor)
{
    uint64_t inflight = cursor->terms.inflight;
    return cursor->broker->pending_count < PENDING_MOST ? inflight : least(inflight, PENDING_EACH);
}

/* How many messages it may be given that it hasn't had yet. What waits to be sent again counts as unacknowledged, too;
 * in a group it is nobody's. */
static uint64_t new_msgs_room(const struct cursor *cursor, const struct subscription *sub)
{
    uint64_t credit = subscription_credit_left(sub) - sub->outlet->msgs;
    uint64_t unacked = sub->group != NULL ? sub->outlet->unacked : cursor->open_count;
    uint64_t inflight = cursor_inflight(cursor);
    if (!reading_has_pending(&cursor->readings[0])) return credit;
    return unacked < inflight ? least(credit, inflight - unacked) : 0;
}

/* One message again, or some that are new. */
static enum reading_result take_some(struct reading *reading, struct subscription *sub, uint64_t msgs_most)
{
    enum reading_result again = redelivery_take(reading, sub);
    if (again == READING_WAITS) return READING_NOTHING;
    if (again != READING_NOTHING) return again;
    uint64_t room = least(msgs_most, new_msgs_room(reading->cursor, sub));
    return room > 0 ? reading_take(reading, sub, OUTLET_BYTES, room) : READING_NOTHING;
}

/* The next of the streams that has something. */
static enum reading_result take_from_any(struct cursor *cursor, struct subscription *sub, uint64_t msgs_most)
{
    for (uint32_t i = 0; i < cursor->readings_count; i++) {
        struct reading *reading = &cursor->readings[cursor->turn++ % cursor->readings_count];
        if ((reading->due_count == 0 && reading->waits_in != NULL) || reading_stands_by(reading)) continue;
        enum reading_result result = take_some(reading, sub, msgs_most);
        if (result != READING_NOTHING) return result;
    }
    return READING_NOTHING;
}

/* As take_from_any() until there is enough, or much was looked at and nothing of it is for this reader. */
static enum reading_result take_until(struct cursor *cursor, struct subscription *sub, uint64_t msgs_most,
                                      bool (*is_enough)(const struct subscription *sub, uint64_t msgs))
{
    struct broker *broker = cursor->broker;
    uint64_t msgs = sub->outlet->msgs, work_end = broker->work + WORK_A_FILL;
    while (!is_enough(sub, msgs)) {
        enum reading_result result = take_from_any(cursor, sub, msgs_most);
        if (result != READING_SOME) return result;
        if (broker->work >= work_end) return READING_PAUSE;
    }
    return READING_SOME;
}

void cursor_want_mark(struct cursor *cursor, struct subscription *sub)
{
    want_mark(sub);
    outlet_drop_mark(sub->outlet); /* one that is queued for an earlier SUB would answer this one too soon */
    for (uint32_t i = 0; i < cursor->readings_count; i++) note_mark(&cursor->readings[i]);
    cursor_dirty(cursor);
}

/* A subscription that stands by gets it soon, a group's member perhaps never. */
static bool is_done_with(const struct reading *reading)
{
    if (reading_stands_by(reading)) return reading->cursor->box->session == NULL;
    return reading_is_caught_up(reading);
}

void cursor_mark(struct cursor *cursor, struct subscription *sub)
{
    if (!sub->wants_mark) return;
    for (uint32_t i = 0; i < cursor->readings_count; i++)
        if (!is_done_with(&cursor->readings[i])) return;
    sub->wants_mark = false;
    outlet_push(sub->outlet, &(struct outlet_entry){.kind = OUTLET_CAUGHT_UP});
}

/* Gaps that were not told yet. */
static void push_returned(struct cursor *cursor, struct subscription *sub)
{
    if (cursor->returned == NULL) return;
    for (uint32_t i = 0; i < cursor->returned->count; i++) outlet_push(sub->outlet, outlet_at(cursor->returned, i));
    outlet_free(cursor->returned, &cursor->broker->runs);
    cursor->returned = NULL;
}

static void fill_subscription(struct cursor *cursor, struct subscription *sub)
{
    if (sub->session->state != SESSION_READY) return;
    if (sub->session->blocked) {
        park(cursor);
        return;
    }
    push_returned(cursor, sub);
    enum reading_result result = take_until(cursor, sub, UINT64_MAX, is_full);
    cursor_mark(cursor, sub);
    if (result == READING_PAUSE) cursor_dirty(cursor);
    if (sub->outlet->count > 0 && outlet_at(sub->outlet, 0)->kind == OUTLET_CAUGHT_UP && sub->awaits == NULL)
        sub->is_starved = false;
    subscription_activate(sub);
}

void cursor_sent(struct subscription *sub)
{
    struct cursor *cursor = subscription_cursor(sub);
    if (cursor != NULL && sub->outlet->bytes <= OUTLET_BYTES_LOW) cursor_dirty(cursor);
}

uint64_t cursors_turn(struct broker *broker)
{
    if (broker->streams_count == 0) return UINT64_MAX;
    uint64_t work_end = broker->work + WORK_A_TURN;
    redeliveries_turn(broker, work_end - WORK_A_TURN / 2);
    cursor_records_expire(broker);
    struct list dirty = broker->dirty_cursors;
    broker->dirty_cursors = (struct list){0};
    for (struct list_node *node; (node = dirty.first) != NULL && broker->work < work_end;) {
        struct cursor *cursor = container_of(node, struct cursor, in_dirty);
        list_remove(&dirty, node);
        cursor->is_dirty = false;
        broker->work++;
        if (cursor->box->session == NULL) group_dirty(container_of(cursor->box, struct group, box));
        else fill_subscription(cursor, container_of(cursor->box, struct subscription, box));
    }
    while (dirty.last != NULL) { /* the others keep their places before those that came since */
        struct list_node *node = dirty.last;
        list_remove(&dirty, node);
        list_insert(&broker->dirty_cursors, NULL, node);
    }
    return broker->dirty_cursors.first != NULL ? 0 : timer_next_ms(&broker->redeliveries);
}

bool cursor_serve(struct cursor *cursor, struct subscription *sub)
{
    uint32_t count = sub->outlet->count;
    uint64_t msgs = sub->outlet->msgs;
    push_returned(cursor, sub);
    enum reading_result result = take_until(cursor, sub, 1, has_one_more);
    if (result == READING_PAUSE) cursor_dirty(cursor);
    return sub->outlet->count > count || sub->outlet->msgs > msgs;
}
