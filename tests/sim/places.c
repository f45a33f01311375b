/* Messages and gaps of streams, against what the readers are owed. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define TIME_SLACK_MS 1000   /* FOR may say a time that is so much too early */
#define EXPIRY_LAG_MS 2000   /* so long after its time a message may still come, for the broker counts by blocks; */
#define EXPIRY_EARLY_MS 2000 /* and after a restart as much too early */

uint8_t *place_mark(struct model_place *place, uint32_t entry)
{
    while (place->marks_cap <= entry) {
        uint32_t cap = place->marks_cap;
        GROW(place->marks, place->marks_cap, place->marks_cap);
        memset(place->marks + cap, 0, place->marks_cap - cap);
    }
    return &place->marks[entry];
}

struct model_place *reader_place(struct model_reader *reader, uint64_t stream)
{
    for (uint32_t i = 0; i < reader->places_count; i++)
        if (reader->places[i].log->number == stream) return &reader->places[i];
    return NULL;
}

/* In a group, what is due again is nobody's until it is sent. */
static bool may_be_nobodys(const struct model_pending *pending, const struct model_sub *sub)
{
    return sub->group != NULL && pending->due_ms <= sub->conn->model->world->now_ms;
}

/* The GAP for it may be on its way. */
static bool may_be_given_up(const struct model_place *place, const struct model_pending *pending)
{
    const struct log_entry *entry = &place->log->entries[pending->entry];
    const struct model *model = place->log->model;
    if (pending->due_ms > model->world->now_ms) return pending->is_dead;
    return pending->is_dead || pending->tries >= pending->tries_most || log_may_be_gone(place->log, entry) ||
           entry->damaged || model->messages[entry->message].ttl_ms != QUEUE_NO_TTL;
}

uint32_t place_inflight(const struct model_place *place, const struct model_sub *sub, bool surely)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < place->pending_count; i++) {
        const struct model_pending *pending = &place->pending[i];
        if (surely && (may_be_given_up(place, pending) || may_be_nobodys(pending, sub))) continue;
        count += pending->sub == sub;
    }
    return count;
}

/* ---- what is owed ------------------------------------------------------------------------------------------- */

static const struct message *message_of(const struct model_place *place, uint32_t entry)
{
    return &place->log->model->messages[place->log->entries[entry].message];
}

static bool matches(const struct model_reader *reader, const struct model_place *place, uint32_t entry, int filter)
{
    const struct message *message = message_of(place, entry);
    return name_matches(&reader->pattern, &message->topic) &&
           (entry < place->vague_until || filter_accepts(filter, &message->document, &message->topic));
}

/* Whether the entry need not come, and no GAP instead. */
static bool need_not_come(const struct model_reader *reader, struct model_place *place, uint32_t i, int filter)
{
    const struct log_entry *entry = &place->log->entries[i];
    if (entry->state == ENTRY_GONE || i < place->from || i < place->since) return true;
    if (*place_mark(place, i) & PLACE_HANDLED) return true;
    if (i < place->chosen_until && !(*place_mark(place, i) & PLACE_CHOSEN)) return true;
    bool removed = log_may_be_gone(place->log, entry);
    if (!place->asks_by_position && entry->position < place->first_owed) return true;
    bool begins = place->looks_first || place->begins_since || !place->is_told; /* perhaps only behind the hole */
    if (entry->state == ENTRY_LOST) return i < place->there_until && begins && !place->asks_by_position;
    if (entry->state != ENTRY_STORED) return false;
    if (removed && !place->asks_by_position && (!place->is_told || i < place->chosen_until)) return true;
    return i < place->vague_until || !matches(reader, place, i, filter) || entry->time_ms < place->since_ms;
}

uint32_t place_owed(const struct model_reader *reader, struct model_place *place, int filter, uint32_t until)
{
    const struct model_log *log = place->log;
    for (; place->next < until && place->next < log->count; place->next++) {
        const struct log_entry *entry = &log->entries[place->next];
        if (entry->state != ENTRY_GONE && entry->position >= log->stored) return NO_ENTRY;
        if (!need_not_come(reader, place, place->next, filter)) return place->next;
    }
    return NO_ENTRY;
}

void place_move(struct model_place *place, uint64_t position)
{
    const struct model_log *log = place->log;
    free(place->marks);
    place->marks = NULL;
    place->marks_cap = 0;
    place->asks_by_position = true;
    place->first = position > log->stored ? log->stored : position > 0 ? position : 1;
    place->next = place->from = position >= log->next ? log->count : log_from(log, position);
    place->chosen_until = place->since = 0;
    place->begins_since = false;
    place->since_ms = 0;
}

/* ---- messages ----------------------------------------------------------------------------------------------- */

struct coming {
    struct conn *conn;
    struct model_sub *sub;
    struct model_reader *reader;
    struct model_place *place;
    uint32_t entry;
    uint64_t position;
    int filter;
};

#define COMING_FAIL(c, format, ...)                                                                           \
    CONN_FAIL((c)->conn, "sid %u: %s %llu " format, (c)->sub->sid, (c)->place->log->name, ULL((c)->position), \
              __VA_ARGS__)

static bool has_expired(const struct log_entry *entry, const struct message *message, uint64_t now_ms)
{
    return message->ttl_ms != QUEUE_NO_TTL && entry->stored_ms + message->ttl_ms + EXPIRY_LAG_MS <= now_ms;
}

/* All before it has come, or need not. */
static void check_order(const struct coming *c, bool is_gap)
{
    struct model_place *place = c->place;
    if (c->reader->is_shared) return; /* who was given something before may have given it back */
    if (c->entry < place->next && !is_gap) {
        COMING_FAIL(c, "came after what stands behind it%s", "");
        return;
    }
    uint32_t owed = place_owed(c->reader, place, c->filter, c->entry);
    if (owed != NO_ENTRY)
        COMING_FAIL(c, "came, but not what stands at %llu, nor a GAP", ULL(place->log->entries[owed].position));
}

static void first_time(const struct coming *c)
{
    struct model_place *place = c->place;
    const struct log_entry *entry = &place->log->entries[c->entry];
    uint64_t now_ms = c->conn->model->world->now_ms;
    uint32_t flags = c->conn->for_flags, replay = c->entry < place->live_from ? MPS_FOR_REPLAY : 0;
    if (flags != replay || c->conn->for_tries != 0)
        COMING_FAIL(c, "came with flags %u and tries %u, due are %u", flags, c->conn->for_tries, replay);
    if (*place_mark(place, c->entry) & PLACE_HANDLED) COMING_FAIL(c, "came again, or after its GAP%s", "");
    if (!matches(c->reader, place, c->entry, c->filter)) COMING_FAIL(c, "came, but does not match%s", "");
    bool is_chosen = c->entry >= place->chosen_until || c->entry < place->vague_until ||
                     (*place_mark(place, c->entry) & (PLACE_CHOSEN | PLACE_ALLOWED));
    if (c->entry < place->from || !is_chosen) COMING_FAIL(c, "came, but is before what was asked for%s", "");
    if (has_expired(entry, message_of(place, c->entry), now_ms)) COMING_FAIL(c, "came after its time%s", "");
    check_order(c, false);
    place->is_told = true;
    *place_mark(place, c->entry) |= PLACE_HANDLED;
    if (c->reader->ack == MPS_ACK_NONE) return;
    GROW(place->pending, place->pending_count, place->pending_cap);
    uint64_t due_ms = now_ms + c->reader->ack_ms;
    place->pending[place->pending_count++] = (struct model_pending){.entry = c->entry,
                                                                    .tries = 1,
                                                                    .tries_most = c->reader->max_tries,
                                                                    .due_ms = due_ms,
                                                                    .must_ms = due_ms,
                                                                    .sub = c->sub};
}

static void once_more(const struct coming *c, struct model_pending *pending)
{
    uint64_t now_ms = c->conn->model->world->now_ms;
    uint32_t flags = c->conn->for_flags & ~(uint32_t)MPS_FOR_REPLAY;
    c->conn->model->redelivered_out++;
    if (flags != MPS_FOR_REDELIVERED || c->conn->for_tries != pending->tries + 1)
        COMING_FAIL(c, "came again with flags %u and tries %u, it is the delivery %u", c->conn->for_flags,
                    c->conn->for_tries, pending->tries + 1);
    if (pending->due_ms > now_ms) COMING_FAIL(c, "came again %llu ms before it was due", ULL(pending->due_ms - now_ms));
    if (pending->tries >= c->reader->tries_most)
        COMING_FAIL(c, "came for the %u. time, max_tries is %llu", pending->tries + 1, ULL(c->reader->tries_most));
    pending->tries++;
    pending->tries_most = c->reader->max_tries;
    pending->sub = c->sub;
    pending->due_ms = pending->must_ms = now_ms + c->reader->ack_ms;
}

static void check_inflight(const struct coming *c)
{
    uint64_t inflight = 0;
    for (uint32_t i = 0; i < c->reader->places_count; i++)
        inflight += place_inflight(&c->reader->places[i], c->sub, true);
    if (c->reader->ack != MPS_ACK_NONE && inflight > c->reader->inflight_most)
        COMING_FAIL(c, "came, with it %llu are unacknowledged, inflight is %llu", ULL(inflight),
                    ULL(c->reader->inflight_most));
}

/* The first message behind a FOR has its time. */
static void check_time(const struct coming *c)
{
    uint64_t said_ms = c->conn->for_time_ms, time_ms = c->place->log->entries[c->entry].time_ms;
    if (!c->conn->for_is_fresh) return;
    c->conn->for_is_fresh = false;
    if (said_ms > time_ms || said_ms + TIME_SLACK_MS < time_ms)
        COMING_FAIL(c, "came with the time %llu, it is of %llu", ULL(said_ms), ULL(time_ms));
}

static int filter_of(const struct model_sub *sub)
{
    return sub->group != NULL ? sub->group->filter : sub->filter;
}

static bool same_bytes(const struct message *message, mps_view frame)
{
    return message->len == frame.len && memcmp(message->bytes, frame.ptr, frame.len) == 0;
}

void places_msg(struct conn *conn, struct model_sub *sub, mps_view frame)
{
    struct coming c = {.conn = conn, .sub = sub, .reader = sub_reader(sub), .position = conn->for_seq++};
    c.place = c.reader != NULL ? reader_place(c.reader, conn->for_stream) : NULL;
    if (c.place == NULL) {
        CONN_FAIL(conn, "sid %u: a message of stream %llu came, which it does not read", sub->sid,
                  ULL(conn->for_stream));
        return;
    }
    c.entry = log_at(c.place->log, c.position);
    c.filter = filter_of(sub);
    if (c.entry == NO_ENTRY || c.place->log->entries[c.entry].state != ENTRY_STORED) {
        COMING_FAIL(&c, "came, where nothing is stored%s", "");
        return;
    }
    if (!same_bytes(message_of(c.place, c.entry), frame)) {
        COMING_FAIL(&c, "is message #%u, another one came", c.place->log->entries[c.entry].message);
        return;
    }
    conn->model->stored_out++;
    check_time(&c);
    struct model_pending *pending = pending_of(c.place, c.entry);
    if (pending != NULL) once_more(&c, pending);
    else first_time(&c);
    if (pending == NULL) check_inflight(&c); /* what comes again counts already */
}

/* ---- gaps --------------------------------------------------------------------------------------------------- */

/* Whether this position may be missing for this reason. */
static bool may_miss(const struct coming *c, uint32_t reason)
{
    const struct model_log *log = c->place->log;
    uint64_t now_ms = c->conn->model->world->now_ms;
    if (reason == MPS_GAP_RETENTION) return c->position < log->may_be_gone;
    if (c->entry == NO_ENTRY) return false;
    const struct log_entry *entry = &log->entries[c->entry];
    const struct message *message = message_of(c->place, c->entry);
    if (reason == MPS_GAP_DAMAGED) return entry->state == ENTRY_LOST || entry->damaged;
    if (entry->state != ENTRY_STORED || !matches(c->reader, c->place, c->entry, c->filter)) return false;
    if (reason == MPS_GAP_TOO_LARGE) return c->conn->rx_max > 0 && message->len > c->conn->rx_max;
    uint64_t early_ms = entry->came_ms < c->conn->model->started_ms ? EXPIRY_EARLY_MS : 0;
    return reason == MPS_GAP_EXPIRED && message->ttl_ms != QUEUE_NO_TTL &&
           entry->came_ms + message->ttl_ms <= now_ms + early_ms;
}

static void miss_one(const struct coming *c, const struct mps_gap *gap)
{
    struct model_place *place = c->place;
    if (c->entry != NO_ENTRY && (*place_mark(place, c->entry) & PLACE_LATE)) return; /* it was on its way */
    if (!may_miss(c, gap->reason)) COMING_FAIL(c, "is told as missing for reason %u, which isn't so", gap->reason);
    if (c->entry == NO_ENTRY) return;
    bool is_hole = place->log->entries[c->entry].state == ENTRY_LOST;
    if (gap->has_count && !is_hole && !matches(c->reader, place, c->entry, c->filter))
        COMING_FAIL(c, "does not match, but is counted as lost for reason %u", gap->reason);
    if (*place_mark(place, c->entry) & PLACE_HANDLED) COMING_FAIL(c, "is told as missing, but came%s", "");
    if (c->entry < place->from && !is_hole && !place->asks_by_position && !place->begins_since)
        COMING_FAIL(c, "is told as missing, but is before what was asked for%s", "");
    *place_mark(place, c->entry) |= PLACE_HANDLED;
}

static void check_count(const struct coming *c, const struct mps_gap *gap)
{
    bool single = gap->reason == MPS_GAP_EXPIRED || gap->reason == MPS_GAP_TOO_LARGE || gap->reason == MPS_GAP_GAVE_UP;
    bool all = single || (log_is_covered(c->place->log, &c->reader->pattern) && c->filter == NO_FILTER &&
                          !c->place->looks_first && log_from(c->place->log, gap->first) >= c->place->vague_until);
    if (gap->has_count && gap->count != gap->last - gap->first + 1)
        COMING_FAIL(c, "to %llu: a GAP with the count %llu", ULL(gap->last), ULL(gap->count));
    if (!gap->has_count && all) COMING_FAIL(c, "to %llu: a GAP without a count", ULL(gap->last));
}

/* One that was sent before, and is to be sent again. */
static void give_up(const struct coming *c, struct model_pending *pending, const struct mps_gap *gap)
{
    uint64_t now_ms = c->conn->model->world->now_ms;
    bool enough = pending->is_dead || pending->tries >= c->reader->max_tries || pending->tries >= pending->tries_most;
    if (gap->reason == MPS_GAP_GAVE_UP ? !enough : !may_miss(c, gap->reason))
        COMING_FAIL(c, "is given up for reason %u after %u deliveries", gap->reason, pending->tries);
    if (pending->due_ms > now_ms && !pending->is_dead)
        COMING_FAIL(c, "is given up %llu ms before it was due", ULL(pending->due_ms - now_ms));
    if (gap->reason == MPS_GAP_GAVE_UP) bury(c->conn->model, c->place->log, pending, false);
    pending_forget(c->place, pending);
}

void places_gap(struct conn *conn, struct model_sub *sub, const struct mps_gap *gap)
{
    struct coming c = {.conn = conn, .sub = sub, .reader = sub_reader(sub), .position = gap->first};
    c.place = c.reader != NULL ? reader_place(c.reader, gap->stream) : NULL;
    if (c.place == NULL || gap->first == 0 || gap->last < gap->first || gap->last >= c.place->log->stored) {
        CONN_FAIL(conn, "sid %u: GAP %llu to %llu of stream %llu", sub->sid, ULL(gap->first), ULL(gap->last),
                  ULL(gap->stream));
        return;
    }
    c.filter = filter_of(sub);
    check_count(&c, gap);
    for (bool is_first = true; c.position <= gap->last && !conn->model->world->failed; c.position++) {
        c.entry = log_at(c.place->log, c.position);
        struct model_pending *pending = c.entry != NO_ENTRY ? pending_of(c.place, c.entry) : NULL;
        if (pending != NULL) {
            give_up(&c, pending, gap);
            continue;
        }
        if (is_first && c.position < c.place->first)
            COMING_FAIL(&c, "is told as missing, it began at %llu", ULL(c.place->first));
        if (is_first && c.entry != NO_ENTRY) check_order(&c, true);
        is_first = false;
        c.place->is_told = true;
        miss_one(&c, gap);
    }
}

/* ---- marks -------------------------------------------------------------------------------------------------- */

void places_drained(struct conn *conn, struct model_sub *sub)
{
    struct model_reader *reader = sub->group == NULL ? sub->reader : NULL;
    for (uint32_t i = 0; reader != NULL && reader->ack == MPS_ACK_NONE && i < reader->places_count; i++) {
        struct model_place *place = &reader->places[i];
        uint32_t owed = place_owed(reader, place, sub->filter, place->drain_until);
        if (owed != NO_ENTRY)
            CONN_FAIL(conn, "sid %u: MARK 3 came before what stands at %s %llu", sub->sid, place->log->name,
                      ULL(place->log->entries[owed].position));
    }
}

/* An entry that must come before MARK 2, if it isn't stored yet when it is; or NO_ENTRY. */
static uint32_t owed_before_mark(const struct model_reader *reader, struct model_place *place, int filter)
{
    for (uint32_t i = place->next; i < place->mark_until; i++) {
        enum entry_state state = place->log->entries[i].state;
        bool waits = state == ENTRY_WAITS || state == ENTRY_RUNS;
        if (waits && i >= place->from && matches(reader, place, i, filter)) return i;
        if (state == ENTRY_STORED && !need_not_come(reader, place, i, filter)) return i;
    }
    return NO_ENTRY;
}

void places_caught_up(struct conn *conn, uint32_t sid)
{
    struct model_sub *sub = stream_sub(conn, sid);
    struct model_reader *reader = sub != NULL ? sub_reader(sub) : NULL;
    if (reader == NULL || !sub->caught_up_due) {
        CONN_FAIL(conn, "sid %u: MARK 2 without a SUB that asked for it", sid);
        return;
    }
    for (uint32_t i = 0; i < reader->places_count && !reader->is_shared; i++) {
        struct model_place *place = &reader->places[i];
        uint32_t owed = owed_before_mark(reader, place, filter_of(sub));
        if (owed != NO_ENTRY)
            CONN_FAIL(conn, "sid %u: MARK 2 came before what stands at %s %llu", sid, place->log->name,
                      ULL(place->log->entries[owed].position));
    }
    conn->model->caught_up_out++;
    sub->caught_up_due = false;
}
