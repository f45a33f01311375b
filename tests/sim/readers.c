#include "readers.h"

#include <stdlib.h>

#include "model.h"

#define ACK_MS 30000
#define ACK_MS_LEAST 100
#define INFLIGHT 1000
#define INFLIGHT_MOST 65536
#define TIME_SLACK_MS 1000 /* times are exact to this */
#define DUE_LAG_MS 50      /* so late a redelivery may be */

/* ---- life --------------------------------------------------------------------------------------------------- */

bool reader_is_asked(const struct sub_options *o)
{
    return o->from.kind != MPS_FROM_NEW || o->ack != MPS_ACK_NONE || o->durable;
}

bool reader_can_begin(struct model *model, const struct name *pattern, const struct sub_options *o)
{
    bool meets = false;
    for (uint32_t i = 0; i < model->logs_count; i++) meets |= log_meets(&model->logs[i], pattern);
    for (uint32_t i = 0; i < o->from.count && o->from.kind == MPS_FROM_SEQ; i++) {
        const struct model_log *log = log_by_number(model, o->from_positions[2 * i]);
        if (log == NULL || !log_meets(log, pattern)) return false;
    }
    return meets;
}

void reader_set(struct model_reader *reader, const struct sub_options *o)
{
    reader->ack = o->ack;
    reader->ack_ms = o->ack_ms == 0 ? ACK_MS : o->ack_ms > ACK_MS_LEAST ? o->ack_ms : ACK_MS_LEAST;
    reader->inflight = o->inflight == 0 ? INFLIGHT : o->inflight < INFLIGHT_MOST ? o->inflight : INFLIGHT_MOST;
    if (reader->inflight_most < reader->inflight) reader->inflight_most = reader->inflight;
    reader->max_tries = o->max_tries > 0 ? o->max_tries : UINT64_MAX;
    if (reader->tries_most < reader->max_tries) reader->tries_most = reader->max_tries;
}

bool reader_differs(const struct model_reader *reader, const struct sub_options *o)
{
    struct model_reader asked = {0};
    reader_set(&asked, o);
    if ((reader != NULL) != reader_is_asked(o)) return true;
    return reader != NULL && (reader->from != o->from.kind || reader->from_number != o->from.number ||
                              reader->ack != asked.ack || reader->ack_ms != asked.ack_ms ||
                              reader->max_tries != asked.max_tries || reader->inflight != asked.inflight);
}

void reader_free(struct model_reader *reader)
{
    if (reader == NULL) return;
    for (uint32_t i = 0; i < reader->places_count; i++) {
        struct model_place *place = &reader->places[i];
        for (uint32_t p = 0; p < place->pending_count; p++) /* it may be on its way already */
            if (place->pending[p].tries >= reader->max_tries)
                bury(reader->model, place->log, &place->pending[p], false);
        free(place->marks);
        free(place->pending);
    }
    free(reader);
}

struct model_reader *sub_reader(const struct model_sub *sub)
{
    return sub->group != NULL ? sub->group->reader : sub->reader;
}

bool reader_reads(const struct model_reader *reader, const struct model_log *log)
{
    for (uint32_t i = 0; i < reader->places_count; i++)
        if (reader->places[i].log == log) return true;
    return false;
}

bool reader_wants_snapshot_of(const struct model_reader *reader, const struct name *topic)
{
    return reader == NULL || reader->from == MPS_FROM_NEW || log_of_topic(reader->model, topic) == NULL;
}

/* ---- where it begins ---------------------------------------------------------------------------------------- */

static bool matches(const struct model_reader *reader, const struct model_log *log, uint32_t entry, int filter)
{
    const struct message *message = &reader->model->messages[log->entries[entry].message];
    return name_matches(&reader->pattern, &message->topic) &&
           filter_accepts(filter, &message->document, &message->topic);
}

/* The last n that match. Those of which it isn't sure that they can still be read count, or don't. */
static void choose_last(const struct model_reader *reader, struct model_place *place, uint64_t n, int filter)
{
    const struct model_log *log = place->log;
    uint64_t all = 0, sure = 0;
    place->looks_first = true;
    for (uint32_t i = place->chosen_until; i > 0 && sure < n; i--) {
        const struct log_entry *entry = &log->entries[i - 1];
        if (entry->state == ENTRY_GONE || entry->position < log->gone || !matches(reader, log, i - 1, filter)) continue;
        if (all++ < n) *place_mark(place, i - 1) |= PLACE_CHOSEN;
        *place_mark(place, i - 1) |= PLACE_ALLOWED;
        sure += entry->state == ENTRY_STORED && !entry->damaged;
    }
}

static void choose_last_of_topics(const struct model_reader *reader, struct model_place *place, int filter)
{
    struct model *model = reader->model;
    const struct model_log *log = place->log;
    enum { UNSEEN, UNSURE, SEEN } *seen = calloc(model->topics_count + log->count + 1, sizeof *seen);
    if (seen == NULL) abort();
    place->looks_first = true;
    for (uint32_t i = place->chosen_until; i > 0; i--) {
        const struct log_entry *entry = &log->entries[i - 1];
        if (entry->state != ENTRY_STORED || entry->position < log->gone || !matches(reader, log, i - 1, filter))
            continue;
        uint32_t topic = model_topic(model, &model->messages[entry->message].topic);
        if (seen[topic] == SEEN) continue;
        *place_mark(place, i - 1) |= PLACE_ALLOWED;
        if (seen[topic] == UNSEEN && !entry->damaged) *place_mark(place, i - 1) |= PLACE_CHOSEN;
        seen[topic] = entry->damaged ? UNSURE : SEEN;
    }
    free(seen);
}

/* The first entry whose time is not over: by the Unix clock, or as long ago as by the other one. With `sure` one that
 * is certainly still there. */
static uint32_t first_since(const struct model_log *log, bool by_age, int64_t limit_ms, bool sure)
{
    for (uint32_t i = 0; i < log->count; i++) {
        const struct log_entry *entry = &log->entries[i];
        if (sure && (entry->state == ENTRY_GONE || entry->state == ENTRY_LOST || log_may_be_gone(log, entry))) continue;
        if ((by_age ? entry->aged_ms : (int64_t)entry->time_ms) >= limit_ms) return i;
    }
    return log->count;
}

static void begin_since(struct model_place *place, bool by_age, int64_t limit_ms)
{
    const struct model_log *log = place->log;
    place->next = place->from = first_since(log, by_age, limit_ms - TIME_SLACK_MS, false);
    place->since = first_since(log, by_age, limit_ms, true);
    place->begins_since = true;
    bool is_future = !by_age && limit_ms > (int64_t)world_wall_ms(log->model->world);
    place->since_ms = is_future && place->since == log->count ? (uint64_t)limit_ms : 0;
}

static void begin(const struct model_reader *reader, struct model_place *place, const struct mps_from *from,
                  int filter);

static void begin_at_position(const struct model_reader *reader, struct model_place *place, const struct mps_from *from,
                              int filter)
{
    const struct model_log *log = place->log;
    for (uint32_t i = 0; i < from->count; i++) {
        if (from->positions[2 * i] != log->number) continue;
        uint64_t seq = from->positions[2 * i + 1];
        place->asks_by_position = true;
        place->first = seq > log->stored ? log->stored : seq > 0 ? seq : 1; /* a commit that fails moves it back */
        place->next = place->from = seq >= log->next ? log->count : log_from(log, seq);
        return;
    }
    begin(reader, place, &(struct mps_from){.kind = from->rest, .number = from->number}, filter);
}

static void begin(const struct model_reader *reader, struct model_place *place, const struct mps_from *from, int filter)
{
    const struct model_log *log = place->log;
    place->first = log->gone;
    place->first_owed = log->may_be_gone;
    place->there_until = log_from(log, log->stored);
    switch (from->kind) {
    case MPS_FROM_NEW: place->next = place->from = log->count; break;
    case MPS_FROM_ALL:
    case MPS_FROM_ACKED: break;
    case MPS_FROM_SEQ: begin_at_position(reader, place, from, filter); break;
    case MPS_FROM_TIME: begin_since(place, false, (int64_t)from->number); break;
    case MPS_FROM_AGO: begin_since(place, true, (int64_t)reader->model->world->now_ms - (int64_t)from->number); break;
    case MPS_FROM_LAST:
        place->chosen_until = place->there_until;
        choose_last(reader, place, from->number, filter);
        break;
    case MPS_FROM_LAST_PER_TOPIC:
        place->chosen_until = place->there_until;
        choose_last_of_topics(reader, place, filter);
        break;
    }
}

void readers_ask_for_mark(struct model_sub *sub, const struct sub_options *o)
{
    struct model_reader *reader = sub_reader(sub);
    if (o->from.kind == MPS_FROM_NEW || reader == NULL) return;
    sub->caught_up_due = true;
    for (uint32_t i = 0; i < reader->places_count; i++) {
        struct model_place *place = &reader->places[i];
        place->mark_until = place->log->count;
    }
}

struct model_reader *reader_new(struct model *model, const struct name *pattern, const struct sub_options *o)
{
    struct model_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) abort();
    *reader = (struct model_reader){.model = model,
                                    .pattern = *pattern,
                                    .from = o->from.kind,
                                    .from_number = o->from.number,
                                    .is_shared = o->group[0] != '\0'};
    struct mps_from from = o->from;
    from.positions = o->from_positions;
    reader_set(reader, o);
    for (uint32_t i = 0; i < model->logs_count; i++) {
        if (!log_meets(&model->logs[i], pattern)) continue;
        struct model_place *place = &reader->places[reader->places_count++];
        place->log = &model->logs[i];
        place->live_from = o->from.kind != MPS_FROM_NEW ? place->log->count : 0;
        begin(reader, place, &from, o->filter);
    }
    model->readers_out++;
    return reader;
}

void reader_change(struct model_reader *reader, const struct sub_options *o, bool filter_changed)
{
    enum mps_ack_mode ack = reader->ack;
    reader_set(reader, o);
    reader->ack = ack;
    bool moves = o->from.kind == MPS_FROM_SEQ && ack == MPS_ACK_NONE && !reader->is_shared;
    for (uint32_t i = 0; i < reader->places_count; i++) {
        struct model_place *place = &reader->places[i];
        if (filter_changed) place->vague_until = place->log->count;
        for (uint32_t p = 0; p < o->from.count && moves; p++)
            if (o->from_positions[2 * p] == place->log->number) place_move(place, o->from_positions[2 * p + 1]);
    }
}

void reader_release(struct model_reader *reader, struct model_sub *sub)
{
    for (uint32_t i = 0; i < reader->places_count; i++) {
        struct model_place *place = &reader->places[i];
        for (uint32_t p = 0; p < place->pending_count; p++) {
            if (place->pending[p].sub != sub) continue;
            place->pending[p].sub = NULL;
            place->pending[p].due_ms = place->pending[p].must_ms = reader->model->world->now_ms;
        }
    }
}

void readers_drain(struct model_sub *sub)
{
    struct model_reader *reader = sub_reader(sub);
    for (uint32_t i = 0; reader != NULL && i < reader->places_count; i++)
        reader->places[i].drain_until = log_from(reader->places[i].log, reader->places[i].log->stored);
}

/* ---- at rest ------------------------------------------------------------------------------------------------ */

bool reader_has_room(const struct model_reader *reader, const struct model_sub *sub)
{
    uint64_t inflight = 0;
    for (uint32_t i = 0; i < reader->places_count; i++) inflight += place_inflight(&reader->places[i], sub, false);
    return inflight < reader->inflight;
}

static void check_pending(const struct model_sub *sub, struct model_place *place)
{
    uint64_t now_ms = sub->conn->model->world->now_ms;
    for (uint32_t i = 0; i < place->pending_count; i++) {
        const struct model_pending *pending = &place->pending[i];
        if (pending->must_ms + DUE_LAG_MS < now_ms)
            CONN_FAIL(sub->conn, "sid %u: %s %llu has been due again for %llu ms, and doesn't come", sub->sid,
                      place->log->name, ULL(place->log->entries[pending->entry].position),
                      ULL(now_ms - pending->must_ms));
    }
}

/* Something that comes before MARK 2 may still be stored. */
static bool waits_for_disk(const struct model_reader *reader)
{
    for (uint32_t i = 0; i < reader->places_count; i++)
        if (reader->places[i].log->runs_from < reader->places[i].mark_until) return true;
    return false;
}

/* The link takes more, and nothing is being read: all that is stored must have come. */
static void check_reader(struct model_sub *sub, struct model_reader *reader)
{
    for (uint32_t i = 0; i < reader->places_count; i++) {
        struct model_place *place = &reader->places[i];
        if (reader->is_shared && !reader_has_room(reader, sub)) return; /* it may be another one's turn */
        check_pending(sub, place);
        if (!reader_has_room(reader, sub)) return;
        uint32_t owed = place_owed(reader, place, reader->is_shared ? sub->group->filter : sub->filter, NO_ENTRY);
        if (owed == NO_ENTRY) continue;
        const struct log_entry *entry = &place->log->entries[owed];
        CONN_FAIL(sub->conn, "sid %u: the link takes more, but what stands at %s %llu (message #%u, %s) doesn't come",
                  sub->sid, place->log->name, ULL(entry->position), entry->message,
                  entry->state == ENTRY_STORED ? "stored" : "lost");
    }
    if (sub->caught_up_due && !waits_for_disk(reader))
        CONN_FAIL(sub->conn, "sid %u: the link takes more, but MARK 2 does not come", sub->sid);
}

void readers_check(struct model *model)
{
    const struct disk *disk = &model->world->disk;
    if (model->logs_count == 0 || disk_is_reading(disk) || model->world->now_ms < disk->retry_ms) return;
    for (struct model_sub *sub = model->subs; sub != NULL; sub = sub->next) {
        struct model_reader *reader = sub_reader(sub);
        if (reader != NULL && sub_is_ready(sub) && sub->conn->state == CONN_READY) check_reader(sub, reader);
    }
}
