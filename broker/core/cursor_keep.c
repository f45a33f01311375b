/* Cursors as records, so that they outlive the broker: an array that begins with whether it waits for a group that has
 * no members, and then has one array for each stream, [stream, position, [from, to, from, to ..], [position, tries,
 * position, tries ..]]. Everything below the position is done with, and what lies from `from` to before `to`; tries are
 * those of what isn't. With four more numbers in a stream's array, not all that follows is asked for: [.., since, kind,
 * n, end]. What came before this Unix time isn't; and with a kind that isn't 0 (that of `from`: last n, or
 * last_per_topic), of what lies before `end` only that. One more number at its end: what lies before it is history for
 * the reader, see reading.live.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "cluster/records.h"
#include "sure.h"

/* Bytes of a number on the wire, at most. */
#define NUMBER_BYTES 9u
/* With tens of thousands of messages that are not done with, a record has hundreds of kilobytes, and there may be
 * thousands of commits in a second: of one cursor, so much is written at most, but once a second in any case. */
#define KEEP_BYTES_A_MS 1024u
#define KEEP_REST_MS 1000u
/* Messages that a record may say are open before one that is done with. */
#define PENDING_LOAD_MAX 1000000u

static mps_view group_record_key(const struct group *group, uint8_t room[STORE_KEY_MAX])
{
    room[0] = '\0';
    memcpy(room + 1, group->text, group->name_len);
    room[1 + group->name_len] = '\0';
    memcpy(room + 2 + group->name_len, group->text + group->name_len, group->pattern_len);
    return (mps_view){room, 2u + group->name_len + group->pattern_len};
}

mps_view cursor_key(const struct cursor *cursor, uint8_t room[STORE_KEY_MAX])
{
    if (cursor->box->session == NULL) return group_record_key(container_of(cursor->box, struct group, box), room);
    const struct subscription *sub = container_of(cursor->box, struct subscription, box);
    return subscription_key(sub->session->id, sub->sid, room);
}

/* Ephemeral ones end with their connection. */
static bool is_kept(const struct cursor *cursor)
{
    if (cursor->broker->commit.store == NULL) return false;
    if (cursor->box->session == NULL) return true; /* its members may have sessions */
    return session_is_kept(cursor->box->session);
}

void cursor_changed(struct cursor *cursor)
{
    struct commit *commit = &cursor->broker->commit;
    if (cursor->shared != NULL) shared_cursor_moved(cursor);
    if (cursor->is_keeping || !is_kept(cursor)) return;
    cursor->is_keeping = true;
    list_append(&commit->keeping, &cursor->in_keeping);
    commit_lazily(cursor->broker);
}

void cursor_advanced(struct cursor *cursor)
{
    struct broker *broker = cursor->broker;
    if (cursor->shared != NULL) shared_cursor_moved(cursor);
    if (broker->now_ms >= cursor->keep_ms) cursor_changed(cursor);
    else if (!cursor->is_keeping && is_kept(cursor))
        timer_set(&broker->commit.keepings, &cursor->keep, cursor->keep_ms);
}

void cursors_keep_due(struct broker *broker)
{
    uint64_t until_ms = broker->stopping ? UINT64_MAX - 1 : broker->now_ms;
    for (struct timer *timer; (timer = timer_take_due(&broker->commit.keepings, until_ms)) != NULL;)
        cursor_changed(container_of(timer, struct cursor, keep));
}

void cursor_stop_keeping(struct cursor *cursor)
{
    timer_cancel(&cursor->broker->commit.keepings, &cursor->keep);
    if (!cursor->is_keeping) return;
    list_remove(&cursor->broker->commit.keeping, &cursor->in_keeping);
    cursor->is_keeping = false;
}

void cursor_forget(struct cursor *cursor)
{
    uint8_t room[STORE_KEY_MAX];
    cursor_stop_keeping(cursor);
    if (cursor->shared != NULL) shared_cursor_forget(cursor);
    if (is_kept(cursor)) keep_remove(cursor->broker, RECORD_CURSOR, cursor_key(cursor, room));
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

static const struct pending *at(const struct reading *reading, uint32_t i)
{
    return &reading->pending[reading->first + i];
}

static bool is_open(const struct pending *pending)
{
    return pending->state != PENDING_ACKED;
}

/* What is done with beyond the first open message: everything up to the next position that isn't open. */
static void put_done(struct mps_out *out, const struct reading *reading)
{
    uint32_t ranges = 0;
    for (int round = 0; round < 2; round++) {
        uint64_t from = reading->count > 0 ? at(reading, 0)->seq + 1 : reading->next;
        if (round == 1) mps_put_array(out, 2 * ranges);
        for (uint32_t i = 1; i <= reading->count; i++) {
            if (i < reading->count && !is_open(at(reading, i))) continue;
            uint64_t to = i < reading->count ? at(reading, i)->seq : reading->next;
            if (to > from && round == 0) ranges++;
            if (to > from && round == 1) {
                mps_put_uint(out, from);
                mps_put_uint(out, to);
            }
            from = to + 1;
        }
    }
}

static void put_tries(struct mps_out *out, const struct reading *reading)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < reading->count; i++) count += is_open(at(reading, i)) && at(reading, i)->tries > 0;
    mps_put_array(out, 2 * count);
    for (uint32_t i = 0; i < reading->count; i++) {
        if (!is_open(at(reading, i)) || at(reading, i)->tries == 0) continue;
        mps_put_uint(out, at(reading, i)->seq);
        mps_put_uint(out, at(reading, i)->tries);
    }
}

static uint64_t position_of(const struct reading *reading)
{
    if (reading_has_pending(reading)) return pending_floor(reading);
    const struct subscription *sub = container_of(reading->cursor->box, struct subscription, box);
    return sub->outlet != NULL && sub->outlet->count > 0 && reading->sent < reading->next ? reading->sent
                                                                                          : reading->next;
}

static bool asks_for_less(const struct reading *reading)
{
    return reading->since_ms > 0 || reading->survey != NULL;
}

static void put_request(struct mps_out *out, const struct reading *reading)
{
    static const struct survey_request everything = {.kind = MPS_FROM_NEW};
    const struct survey_request *request = reading->survey != NULL ? survey_asked(reading->survey) : &everything;
    mps_put_uint(out, reading->since_ms);
    mps_put_uint(out, request->kind);
    mps_put_uint(out, request->number);
    mps_put_uint(out, request->end);
}

/* is_brief: not what is done with behind its position. */
static void put_reading(struct mps_out *out, const struct reading *reading, bool is_brief)
{
    uint64_t position = position_of(reading);
    bool less = asks_for_less(reading), replays = position < reading->live;
    mps_put_array(out, 4u + (less ? 4u : 0u) + (replays ? 1u : 0u));
    mps_put_uint(out, reading->stream->number);
    mps_put_uint(out, position);
    if (!is_brief) put_done(out, reading);
    else mps_put_array(out, 0);
    if (!is_brief) put_tries(out, reading);
    else mps_put_array(out, 0);
    if (less) put_request(out, reading);
    if (replays) mps_put_uint(out, reading->live);
}

mps_view cursor_write(const struct cursor *cursor, bool only_shared, uint32_t values_max)
{
    uint64_t cap = 16, values = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < cursor->readings_count; i++) {
        const struct reading *reading = &cursor->readings[i];
        if (only_shared && !reading->stream->is_shared) continue;
        cap += 88 + reading->count * 4 * (uint64_t)NUMBER_BYTES;
        values += 16 + reading->count * UINT64_C(4);
        count++;
    }
    uint8_t *room = sure_alloc(cap);
    struct mps_out out = mps_out_open(room, cap);
    mps_put_array(&out, count + 1);
    mps_put_bool(&out, cursor->terms.durable);
    for (uint32_t i = 0; i < cursor->readings_count; i++)
        if (!only_shared || cursor->readings[i].stream->is_shared)
            put_reading(&out, &cursor->readings[i], values > values_max);
    assert(!out.full);
    return mps_out_view(&out);
}

bool cursor_has_begun(const struct cursor *cursor)
{
    for (uint32_t i = 0; i < cursor->readings_count; i++)
        if (cursor->readings[i].begins_later) return false;
    return true;
}

void cursor_keep(struct cursor *cursor)
{
    uint8_t room[STORE_KEY_MAX];
    cursor_stop_keeping(cursor);
    if (!cursor_has_begun(cursor)) return; /* that will change it */
    mps_view value = cursor_write(cursor, false, UINT32_MAX);
    uint64_t rest_ms = value.len / KEEP_BYTES_A_MS;
    cursor->keep_ms = cursor->broker->now_ms + (rest_ms < KEEP_REST_MS ? rest_ms : KEEP_REST_MS);
    keep_put_lazily(cursor->broker, RECORD_CURSOR, cursor_key(cursor, room), value);
    free((uint8_t *)value.ptr);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

/* Messages from .next up to `to` are open again. */
static void open_up_to(struct reading *reading, uint64_t to)
{
    for (; reading->next < to; reading->next++) pending_load(reading, reading->next);
}

static void load_done(struct reading *reading, struct mps_reader *r, uint32_t ranges)
{
    for (uint32_t i = 0; i + 1 < ranges; i += 2) {
        uint64_t from = mps_read_uint(r, MPS_NUMBER_MAX, "from"), to = mps_read_uint(r, MPS_NUMBER_MAX, "to");
        if (r->bad != NULL || reading == NULL || from < reading->next || to < from) continue;
        if (from - reading->next > PENDING_LOAD_MAX - reading->open_count) continue;
        open_up_to(reading, from);
        reading->next = to;
    }
}

static void load_tries(struct reading *reading, struct mps_reader *r, uint32_t numbers)
{
    for (uint32_t i = 0; i + 1 < numbers; i += 2) {
        uint64_t seq = mps_read_uint(r, MPS_NUMBER_MAX, "seq"), tries = mps_read_uint(r, UINT32_MAX, "tries");
        struct pending *pending = r->bad == NULL && reading != NULL ? pending_find(reading, seq) : NULL;
        if (pending == NULL && r->bad == NULL && reading != NULL && seq == reading->next) {
            open_up_to(reading, seq + 1);
            pending = pending_find(reading, seq);
        }
        if (pending != NULL) pending->tries = (uint32_t)tries;
    }
}

static bool has_key(const struct hash_node *node, const void *key)
{
    const struct cursor_record *record = container_of(node, struct cursor_record, in_records);
    const mps_view *wanted = key;
    return record->key_len == wanted->len && memcmp(record->bytes, wanted->ptr, wanted->len) == 0;
}

static struct cursor_record *record_find(const struct broker *broker, mps_view key)
{
    uint64_t hash = hash_bytes(broker->seed, key.ptr, key.len);
    struct hash_node *node = hash_find(&broker->cursor_records, hash, has_key, &key);
    return node != NULL ? container_of(node, struct cursor_record, in_records) : NULL;
}

/* What all of them may take: those that have waited longest go, if there are more. */
#define RECORDS_BYTES_MAX (64u * 1024 * 1024)

static uint64_t record_cost(const struct cursor_record *record)
{
    return sizeof *record + record->key_len + record->value_len;
}

static void record_free(struct broker *broker, struct cursor_record *record)
{
    broker->cursor_records_bytes -= record_cost(record);
    hash_remove(&broker->cursor_records, &record->in_records);
    timer_cancel(&broker->cursor_expiries, &record->expiry);
    free(record);
}

/* Nobody has this cursor at the moment: it waits for somebody, as long as a session may. */
static void record_add(struct broker *broker, mps_view key, mps_view value)
{
    struct cursor_record *record = sure_alloc(sizeof *record + key.len + value.len);
    *record = (struct cursor_record){.key_len = key.len, .value_len = value.len};
    memcpy(record->bytes, key.ptr, key.len);
    memcpy(record->bytes + key.len, value.ptr, value.len);
    timer_init(&record->expiry);
    hash_add(&broker->cursor_records, &record->in_records, hash_bytes(broker->seed, key.ptr, key.len));
    timer_set(&broker->cursor_expiries, &record->expiry,
              broker->now_ms + (uint64_t)broker->limits.session_max_s * 1000);
    broker->cursor_records_bytes += record_cost(record);
}

static void record_end(struct broker *broker, struct timer *timer)
{
    struct cursor_record *record = container_of(timer, struct cursor_record, expiry);
    keep_remove(broker, RECORD_CURSOR, (mps_view){record->bytes, record->key_len});
    record_free(broker, record);
}

void cursor_records_expire(struct broker *broker)
{
    struct heap *expiries = &broker->cursor_expiries;
    for (struct timer *timer; (timer = timer_take_due(expiries, broker->now_ms)) != NULL;) record_end(broker, timer);
    if (broker->cursor_records_bytes <= RECORDS_BYTES_MAX) return;
    log_say(broker, EVENT_PLACES_EVICTED, NULL,
            "places of groups without members take more than %u bytes: the oldest end", RECORDS_BYTES_MAX);
    while (broker->cursor_records_bytes > RECORDS_BYTES_MAX)
        record_end(broker, timer_take_due(expiries, UINT64_MAX - 1));
}

void cursor_records_free(struct broker *broker)
{
    for (struct hash_node *node; (node = hash_any(&broker->cursor_records)) != NULL;)
        record_free(broker, container_of(node, struct cursor_record, in_records));
    hash_free(&broker->cursor_records);
    heap_free(&broker->cursor_expiries);
}

/* A group's cursor outlives its last member, a session's its connection by living on in it. What is not stored yet may
 * still lose its position, of which nobody would tell a record. */
void cursor_retire(struct cursor *cursor)
{
    uint8_t room[STORE_KEY_MAX];
    if (cursor == NULL || cursor->box->session != NULL) return;
    if (cursor->shared != NULL) shared_cursor_retire(cursor);
    if (!is_kept(cursor)) return;
    if (!cursor->terms.durable) {
        cursor_forget(cursor);
        return;
    }
    for (uint32_t i = 0; i < cursor->readings_count; i++) {
        struct reading *reading = &cursor->readings[i];
        if (!reading->stream->is_shared && reading->next > reading->stream->stored)
            reading->next = reading->stream->stored;
    }
    mps_view key = cursor_key(cursor, room), value = cursor_write(cursor, false, UINT32_MAX);
    keep_put_lazily(cursor->broker, RECORD_CURSOR, key, value);
    record_add(cursor->broker, key, value);
    free((uint8_t *)value.ptr);
}

/* Whatever a record says of it may be so. */
static bool is_unknown(const struct stream *stream)
{
    return stream->is_shared && !stream->is_known;
}

static void load_request(struct reading *reading, struct mps_reader *r, uint64_t position)
{
    struct survey_request request;
    uint64_t since_ms = mps_read_uint(r, MPS_NUMBER_MAX, "since"), kind = mps_read_uint(r, UINT32_MAX, "kind");
    request.number = mps_read_uint(r, MPS_NUMBER_MAX, "n");
    request.end = mps_read_uint(r, MPS_NUMBER_MAX, "end");
    if (r->bad != NULL || reading == NULL) return;
    const struct stream *stream = reading->stream;
    request.kind = (enum mps_from_kind)kind;
    if (request.end > stream->stored && !is_unknown(stream)) request.end = stream->stored;
    if (position < stream->first) position = stream->first;
    reading->since_ms = since_ms;
    if (is_unknown(stream)) reading->since_end = UINT64_MAX;
    if ((kind == MPS_FROM_LAST || kind == MPS_FROM_LAST_PER_TOPIC) && position < request.end)
        reading->survey = survey_new(stream->broker, &request, position);
}

/* What was accepted and not stored is lost: another message has its position. */
static void load_live(struct reading *reading, struct mps_reader *r)
{
    uint64_t live = mps_read_uint(r, MPS_NUMBER_MAX, "live");
    if (r->bad != NULL || reading == NULL) return;
    reading->live = is_unknown(reading->stream) ? live : least(live, stream_accepted(reading->stream));
}

bool cursor_restore(struct cursor *cursor, mps_view value)
{
    struct mps_reader r = mps_reader_open(value);
    uint32_t parts = mps_read_array(&r, "cursor");
    mps_read_bool(&r, "durable");
    for (uint32_t i = 1; i < parts && r.bad == NULL; i++) {
        uint32_t fields = mps_read_array(&r, "stream");
        if (fields != 4 && fields != 5 && fields != 8 && fields != 9) return false;
        uint64_t number = mps_read_uint(&r, MPS_NUMBER_MAX, "number");
        uint64_t position = mps_read_uint(&r, MPS_NUMBER_MAX, "position");
        struct reading *reading = cursor_reading(cursor, number);
        if (reading != NULL) {
            survey_free(reading->survey);
            reading->survey = NULL;
            reading->since_ms = reading->live = 0;
            reading->begins_later = reading->has_just_begun = false;
            pending_cut(reading, 0);
            reading->next = reading->sent = position;
        }
        load_done(reading, &r, mps_read_array(&r, "done"));
        load_tries(reading, &r, mps_read_array(&r, "tries"));
        if (fields >= 8) load_request(reading, &r, position);
        if (fields == 5 || fields == 9) load_live(reading, &r);
    }
    cursor->is_fresh = false;
    return r.bad == NULL;
}

/* Nobody of the group is there. */
static bool load_retired(struct broker *broker, mps_view key, mps_view value)
{
    struct mps_reader r = mps_reader_open(value);
    mps_read_array(&r, "cursor");
    bool durable = mps_read_bool(&r, "durable");
    if (r.bad != NULL) return false;
    if (durable) record_add(broker, key, value);
    else keep_remove(broker, RECORD_CURSOR, key);
    return true;
}

static struct group *group_of_key(const struct broker *broker, mps_view key)
{
    const uint8_t *end = key.len > 1 ? memchr(key.ptr + 1, '\0', key.len - 1) : NULL;
    if (end == NULL) return NULL;
    mps_view name = {key.ptr + 1, (uint32_t)(end - key.ptr - 1)};
    return group_find(broker, name, (mps_view){end + 1, key.len - name.len - 2});
}

struct cursor *cursor_of_key(const struct broker *broker, mps_view key)
{
    if (key.len > 0 && key.ptr[0] != '\0') {
        struct subscription *sub = subscription_of_key(broker, key);
        return sub != NULL ? sub->box.cursor : NULL;
    }
    struct group *group = group_of_key(broker, key);
    return group != NULL ? group->box.cursor : NULL;
}

bool cursor_load(struct broker *broker, mps_view key, mps_view value)
{
    struct cursor *cursor = cursor_of_key(broker, key);
    if (cursor == NULL && (key.len == 0 || key.ptr[0] == '\0')) return load_retired(broker, key, value);
    return cursor != NULL && cursor_restore(cursor, value);
}

void cursor_resume(struct cursor *cursor)
{
    uint8_t room[STORE_KEY_MAX];
    if (!is_kept(cursor)) return;
    struct cursor_record *record = record_find(cursor->broker, cursor_key(cursor, room));
    if (record == NULL) return;
    cursor_restore(cursor, (mps_view){record->bytes + record->key_len, record->value_len});
    record_free(cursor->broker, record);
}

/* What is behind the end of a stream is not there, whatever a record says; where there was no record, what comes from
 * now on is new. */
void cursors_loaded(struct broker *broker)
{
    for (uint32_t i = 0; i < broker->streams_count; i++) {
        struct stream *stream = broker->streams[i];
        for (struct list_node *node = stream->readings.first; node != NULL; node = node->next) {
            struct reading *reading = container_of(node, struct reading, in_readings);
            if (is_unknown(stream)) {
                if (reading->cursor->is_fresh) reading->later_kind = MPS_FROM_NEW;
                continue;
            }
            if (reading->cursor->is_fresh || reading->next > stream->next) reading->next = stream->next;
            if (reading->cursor->is_fresh || reading->sent > stream->next) reading->sent = stream->next;
        }
    }
}
