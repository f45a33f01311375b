/* Values under keys, in a bucket as NATS' tools know it: $KV.BUCKET.KIND.KEY, the last value of each stays, and one
 * that was removed leaves a mark. A value's message is the value; whose put it was stands in a header. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nats_json.h"
#include "nats_storing.h"
#include "nats_subjects.h"

#define AGAIN_MS 250
#define MARK_HEADER "Pubsub-Mark" /* life.mark */
#define HASHES (sizeof((struct puts *)0)->hashed / sizeof(struct pending_put *))
#define PUT_COST 200 /* bytes beside the key and the value */

#define MARKS_AT_A_TIME 100u
#define MARKS_EVERY_MS 250

#define JS_WRONG_LAST_SEQUENCE 10071

/* ---- what waits --------------------------------------------------------------------------------------------- */

static uint64_t cost_of(const struct pending_put *put)
{
    return sizeof *put + put->key_len + put->value_len + PUT_COST;
}

static struct pending_put **hashed_at(struct puts *puts, uint32_t kind, mps_view key)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ kind;
    for (uint32_t i = 0; i < key.len; i++) hash = (hash ^ key.ptr[i]) * UINT64_C(1099511628211);
    return &puts->hashed[(hash ^ hash >> 32) % HASHES];
}

static mps_view key_of(const struct pending_put *put)
{
    return (mps_view){put->bytes, put->key_len};
}

/* Of this key: the one that was sent, or the one that waits. NULL: there is none. */
static struct pending_put *find(struct puts *puts, uint32_t kind, mps_view key, bool is_sent)
{
    struct pending_put *put = *hashed_at(puts, kind, key);
    while (put != NULL && !(put->kind == kind && put->is_sent == is_sent && mps_view_equal(key_of(put), key)))
        put = put->next_hashed;
    return put;
}

static void take_out(struct puts *puts, struct pending_put *put)
{
    struct pending_put **at = hashed_at(puts, put->kind, key_of(put));
    while (*at != put) at = &(*at)->next_hashed;
    *at = put->next_hashed;
    if (put->prev != NULL) put->prev->next = put->next;
    else puts->first = put->next;
    if (put->next != NULL) put->next->prev = put->prev;
    else puts->last = put->prev;
    if (put == puts->next_put) puts->next_put = put->next;
    puts->bytes -= cost_of(put);
    /* The thread that sends frees it. */
    put->next = puts->garbage;
    puts->garbage = put;
}

bool puts_add(struct nats_storing *storing, const struct engine_put *engine_put)
{
    struct puts *puts = &storing->puts;
    uint32_t value_len = engine_put->value.ptr != NULL ? engine_put->value.len : 0;
    struct pending_put *old = find(puts, engine_put->kind, engine_put->key, false);
    struct pending_put *put = sure(calloc(1, sizeof *put + engine_put->key.len + value_len));
    put->kind = engine_put->kind;
    put->key_len = engine_put->key.len;
    put->value_len = value_len;
    put->is_removal = engine_put->value.ptr == NULL;
    put->expected = engine_put->expected;
    put->mark = engine_put->mark;
    if (puts->bytes - (old != NULL ? cost_of(old) : 0) + cost_of(put) > PUTS_BYTES) {
        free(put);
        return false;
    }
    memcpy(put->bytes, engine_put->key.ptr, put->key_len);
    if (value_len > 0) memcpy(put->bytes + put->key_len, engine_put->value.ptr, value_len);
    if (old != NULL) take_out(puts, old);
    put->prev = puts->last;
    if (puts->last != NULL) puts->last->next = put;
    else puts->first = put;
    puts->last = put;
    if (puts->next_put == NULL) puts->next_put = put;
    struct pending_put **at = hashed_at(puts, put->kind, key_of(put));
    put->next_hashed = *at;
    *at = put;
    puts->bytes += cost_of(put);
    return true;
}

/* ---- sending ------------------------------------------------------------------------------------------------ */

static bool send_one(struct pending_put *put, struct round *round)
{
    struct outgoing *out = round_add(round);
    if (out == NULL) return false;
    out->put = put;
    put->sent_ms = round->now_ms;
    return true;
}

/* Those that were sent and not answered, again. */
static void send_again(struct puts *puts, struct round *round)
{
    for (uint32_t i = 0; i < PUT_FLIGHTS && puts->flying > 0; i++) {
        struct pending_put *put = puts->flights[i];
        if (put == NULL) continue;
        uint64_t due_ms = put->sent_ms == 0 ? 0 : put->sent_ms + ACK_MS;
        if (due_ms < puts->again_ms) due_ms = puts->again_ms;
        if (due_ms > round->now_ms || !send_one(put, round)) round_again(round, due_ms);
    }
}

static bool fly(struct puts *puts, struct pending_put *put, struct round *round)
{
    struct pending_put **slot = &puts->flights[(puts->serial + 1) % PUT_FLIGHTS];
    if (*slot != NULL || !send_one(put, round)) return false;
    put->serial = ++puts->serial;
    put->is_sent = true;
    *slot = put;
    puts->flying++;
    return true;
}

/* One for each key at a time. */
void puts_work(struct nats_storing *storing, struct round *round)
{
    struct puts *puts = &storing->puts;
    if (!round->is_connected || !storing->bucket->is_there) return;
    send_again(puts, round);
    if (puts->again_ms > round->now_ms) return;
    bool is_skipping = false;
    for (struct pending_put *put = puts->next_put; put != NULL; put = put->next) {
        if (!put->is_sent && find(puts, put->kind, key_of(put), true) == NULL) {
            if (!fly(puts, put, round)) break;
        }
        if (!put->is_sent) is_skipping = true;
        if (!is_skipping) puts->next_put = put->next;
    }
}

void puts_disconnected(struct nats_storing *storing)
{
    for (uint32_t i = 0; i < PUT_FLIGHTS; i++)
        if (storing->puts.flights[i] != NULL) storing->puts.flights[i]->sent_ms = 0;
    storing->puts.again_ms = 0;
}

static natsStatus set_headers(const struct nats_storing *storing, const struct pending_put *put, natsMsg *message)
{
    char text[64];
    snprintf(text, sizeof text, ".%s.p%" PRIu64, storing->nonce, put->serial);
    natsStatus status = natsMsgHeader_Set(message, "Nats-Msg-Id", text);
    snprintf(text, sizeof text, "%s.%" PRIu64, storing->nonce, put->mark);
    if (status == NATS_OK) status = natsMsgHeader_Set(message, MARK_HEADER, text);
    if (put->expected != ENGINE_PUT_ANYHOW) {
        snprintf(text, sizeof text, "%" PRIu64, put->expected);
        if (status == NATS_OK) status = natsMsgHeader_Set(message, "Nats-Expected-Last-Subject-Sequence", text);
    }
    if (put->is_removal && status == NATS_OK) status = natsMsgHeader_Set(message, "KV-Operation", "DEL");
    return status;
}

void put_send(struct nats_storing *storing, natsConnection *connection, const struct pending_put *put)
{
    char subject[LONG_SUBJECT_MAX], rest[40], reply[128];
    natsMsg *message = NULL;
    int len = snprintf(subject, sizeof subject, "%s.%" PRIu32 ".", storing->bucket->subjects, put->kind);
    if (subject_of_key(subject + len, sizeof subject - (size_t)len, key_of(put)) == 0) abort(); /* keys are short */
    snprintf(rest, sizeof rest, "p.%" PRIu64, put->serial);
    storing_inbox(storing, 'a', rest, reply, sizeof reply);
    const char *value = (const char *)put->bytes + put->key_len;
    if (natsMsg_Create(&message, subject, reply, value, (int)put->value_len) != NATS_OK) return;
    if (set_headers(storing, put, message) == NATS_OK) natsConnection_PublishMsg(connection, message);
    natsMsg_Destroy(message);
}

/* ---- what comes back ---------------------------------------------------------------------------------------- */

static void put_is_over(struct nats_storing *storing, struct pending_put *put, bool is_done, uint64_t revision)
{
    struct puts *puts = &storing->puts;
    if (put->mark != 0) {
        struct storing_event *event = storing_tell(storing, EVENT_PUT, 0);
        event->put.mark = put->mark;
        event->put.is_done = is_done;
        event->put.revision = revision;
    }
    puts->flights[put->serial % PUT_FLIGHTS] = NULL;
    puts->flying--;
    if (puts->is_troubled) nats_trouble_over(storing->engine, puts);
    puts->is_troubled = false;
    take_out(puts, put);
    if (puts->first == NULL) pthread_cond_broadcast(&storing->room);
    else if (puts->next_put != NULL) storing_hurry(storing);
}

void puts_acked(struct nats_storing *storing, uint64_t serial, natsMsg *message)
{
    struct puts *puts = &storing->puts;
    struct pending_put *put = puts->flights[serial % PUT_FLIGHTS];
    int len = natsMsg_GetDataLength(message);
    mps_view answer = {(const uint8_t *)natsMsg_GetData(message), len > 0 ? (uint32_t)len : 0};
    if (put == NULL || put->serial != serial) return;
    uint64_t revision = json_uint(answer, "seq", 0), error = json_uint(answer, "error.err_code", 0);
    if (error == JS_WRONG_LAST_SEQUENCE) {
        put_is_over(storing, put, false, 0);
    } else if (!natsMsg_IsNoResponders(message) && json_find(answer, "error").ptr == NULL && revision > 0) {
        put_is_over(storing, put, true, revision);
    } else {
        char why[160];
        json_text(answer, "error.description", why, sizeof why);
        nats_warn(storing->engine, puts, "a shared record could not be stored yet: %s",
                  why[0] != '\0' ? why : "nobody answers for the bucket");
        puts->is_troubled = true;
        put->sent_ms = 0;
        puts->again_ms = nats_now_ms() + AGAIN_MS;
        storing_hurry(storing);
    }
}

/* ---- marks of what was removed -------------------------------------------------------------------------------- */

/* Else records that come and go would make the bucket grow for ever. */
static void marks_add(struct marks *marks, uint64_t position)
{
    if (marks->count == MARKS_MOST) return;
    if (marks->count == marks->room) {
        uint32_t room = marks->room > 0 ? 2 * marks->room : 64;
        struct mark *list = sure(calloc(room, sizeof *list));
        for (uint32_t i = 0; i < marks->count; i++) list[i] = marks->list[(marks->first + i) % marks->room];
        free(marks->list);
        marks->list = list;
        marks->first = 0;
        marks->room = room;
    }
    marks->list[(marks->first + marks->count++) % marks->room] =
        (struct mark){position, nats_now_ms() + marks->wait_ms};
}

static void let_go(struct nats_storing *storing, struct marks *marks, struct round *round)
{
    char subject[NAME_MAX_BYTES + 64], body[64];
    snprintf(subject, sizeof subject, "$JS.API.STREAM.MSG.DELETE.%s", storing->bucket->name);
    for (uint32_t sent = 0; marks->count > 0 && sent < MARKS_AT_A_TIME; sent++) {
        const struct mark *mark = &marks->list[marks->first];
        if (mark->due_ms > round->now_ms) {
            round_again(round, mark->due_ms);
            return;
        }
        /* Where there is something newer, it is gone already, and this says so in vain. */
        snprintf(body, sizeof body, "{\"seq\":%" PRIu64 ",\"no_erase\":true}", mark->position);
        js_ask(storing->bucket, subject, body);
        marks->first = (marks->first + 1) % marks->room;
        marks->count--;
    }
}

void marks_work(struct nats_storing *storing, struct round *round)
{
    if (!round->is_connected || !storing->bucket->is_there) return;
    if (storing->marks_ms <= round->now_ms) {
        storing->marks_ms = round->now_ms + MARKS_EVERY_MS;
        let_go(storing, &storing->own_marks, round);
        let_go(storing, &storing->other_marks, round);
    }
    if (storing->own_marks.count + storing->other_marks.count > 0) round_again(round, storing->marks_ms);
}

void marks_forget(struct nats_storing *storing)
{
    struct marks *all[] = {&storing->own_marks, &storing->other_marks};
    for (size_t i = 0; i < 2; i++) {
        free(all[i]->list);
        *all[i] = (struct marks){.wait_ms = all[i]->wait_ms};
    }
}

/* ---- the watch ---------------------------------------------------------------------------------------------- */

static bool read_subject(const struct nats_stream *bucket, const char *subject, uint32_t *kind, uint8_t *key,
                         uint32_t *len)
{
    size_t begin = strlen(bucket->subjects);
    uint64_t number = 0;
    if (strncmp(subject, bucket->subjects, begin) != 0 || subject[begin] != '.') return false;
    for (subject += begin + 1; *subject >= '0' && *subject <= '9' && number <= 255; subject++)
        number = number * 10 + (uint64_t)(*subject - '0');
    if (*subject != '.' || number < 1 || number > 255) return false;
    *kind = (uint32_t)number;
    return key_of_subject(mps_text(subject + 1), key, STORE_KEY_MAX, len);
}

/* False: it isn't our put. */
static bool is_own(const struct nats_storing *storing, natsMsg *message, uint64_t *mark)
{
    const char *text = NULL;
    size_t len = strlen(storing->nonce);
    *mark = 0;
    if (natsMsgHeader_Get(message, MARK_HEADER, &text) != NATS_OK || strncmp(text, storing->nonce, len) != 0)
        return false;
    if (text[len] == '.') *mark = strtoull(text + len + 1, NULL, 10);
    return true;
}

/* Removed, also in the way that tools have. */
static bool is_removed(natsMsg *message)
{
    const char *operation = NULL;
    return natsMsgHeader_Get(message, "KV-Operation", &operation) == NATS_OK &&
           (strcmp(operation, "DEL") == 0 || strcmp(operation, "PURGE") == 0);
}

void record_came(struct nats_stream *bucket, const struct delivery *delivery, natsMsg *message)
{
    struct nats_storing *storing = bucket->storing;
    uint8_t key[STORE_KEY_MAX];
    uint32_t kind, key_len;
    uint64_t mark;
    bool ours = is_own(storing, message, &mark), removed = is_removed(message);
    if (removed) marks_add(ours ? &storing->own_marks : &storing->other_marks, delivery->position);
    if (!read_subject(bucket, natsMsg_GetSubject(message), &kind, key, &key_len)) return; /* somebody else's */
    int len = natsMsg_GetDataLength(message);
    uint32_t value_len = len > 0 ? (uint32_t)len : 0;
    struct storing_event *event = storing_tell(storing, EVENT_RECORD, (size_t)key_len + value_len + 1);
    uint8_t *bytes = (uint8_t *)event->text;
    memcpy(bytes, key, key_len);
    if (value_len > 0) memcpy(bytes + key_len, natsMsg_GetData(message), value_len);
    event->record = (struct engine_record){.kind = kind,
                                           .key = {bytes, key_len},
                                           .value = {bytes + key_len, value_len},
                                           .revision = delivery->position,
                                           .mark = mark};
    if (removed) event->record.value = (mps_view){NULL, 0};
    storing->event_bytes += sizeof *event + key_len + value_len;
}

void records_all_came(struct nats_stream *bucket)
{
    const struct tail *tail = &bucket->tail;
    struct storing_event *event = storing_tell(bucket->storing, EVENT_LOADED, 0);
    event->loaded.connection = bucket->storing->connection;
    event->loaded.revision = (tail->next > tail->load_next ? tail->next : tail->load_next) - 1;
}

void puts_free(struct nats_storing *storing)
{
    for (struct pending_put *put; (put = storing->puts.first) != NULL;) {
        storing->puts.first = put->next;
        free(put);
    }
}
