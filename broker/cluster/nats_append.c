/* Messages on their way into a stream, many at a time. Each has a number, to which its acknowledgement comes, and a
 * Nats-Msg-Id, by which JetStream knows it when it is sent again.
 *
 * Order: as long as all goes well, they are sent in theirs, and JetStream stores them so. When one is not acknowledged
 * in time, or there is nobody who takes it, nothing more is sent but the oldest, again and again; once that is
 * acknowledged, all behind it are sent again. So one that was lost isn't overtaken by those that were not sent when
 * that was seen. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nats_json.h"
#include "nats_storing.h"
#include "nats_subjects.h"

#define PROBE_LEAST_MS 100 /* between attempts while something is wrong; twice as long each time */
#define PROBE_MOST_MS 2000
#define CALM_MS 500
#define LOOK_MS 100     /* for what is given up */
#define MESSAGE_COST 64 /* what a message takes beside its bytes */

#define JS_NOT_AVAILABLE 10008
#define JS_STORE_FAILED 10077
#define JS_ACCOUNT_RESOURCES 10002
#define JS_RESOURCES 10023
#define JS_MEMORY 10028
#define JS_STORAGE 10047
#define JS_MESSAGE_TOO_LONG 10054
#define JS_SEALED 10109

uint64_t append_cost(const struct engine_append *append)
{
    return sizeof(struct pending_append) + append->len + (uint64_t)append->count * MESSAGE_COST;
}

static struct flight *flight_of(struct appends *appends, uint64_t number)
{
    return &appends->flights[number % FLIGHTS];
}

void appends_add(struct nats_stream *stream, struct pending_append *append)
{
    struct appends *appends = &stream->appends;
    if (appends->flights == NULL) appends->flights = sure(calloc(FLIGHTS, sizeof *appends->flights));
    if (appends->last != NULL) appends->last->next = append;
    else appends->first = append;
    appends->last = append;
    if (appends->next_append == NULL) {
        appends->next_append = append;
        appends->next_at = appends->next_index = 0;
    }
}

/* ---- over --------------------------------------------------------------------------------------------------- */

/* Tells it. The thread that sends frees it: it may be sending it right now, once more. */
static void end(struct nats_stream *stream, struct pending_append *append)
{
    struct nats_storing *storing = stream->storing;
    const char *text = append->text != NULL ? append->text : "";
    struct storing_event *event = storing_tell(storing, EVENT_SETTLED, strlen(text) + 1);
    event->settled.token = append->token;
    event->settled.code = append->code;
    event->settled.last = append->last;
    event->settled.was_there = append->code == STORE_OK && append->were_there;
    storing_tell_text(event, text);
    atomic_fetch_sub(&storing->waiting_bytes, append->cost);
    if (atomic_fetch_sub(&storing->waiting_appends, 1) == 1) pthread_cond_broadcast(&storing->room);
    append->next = storing->garbage;
    storing->garbage = append;
}

/* In their order. One that nobody waits for, and which can't be stored yet, doesn't hold those that were given up. */
static void end_in_order(struct nats_stream *stream)
{
    struct appends *appends = &stream->appends;
    struct pending_append *before = NULL;
    bool is_held = false;
    for (struct pending_append *append = appends->first; append != NULL;) {
        struct pending_append *next = append->next;
        if (append->is_over && (!is_held || append->is_given_up)) {
            if (append->is_given_up) appends->given_up--;
            if (before != NULL) before->next = next;
            else appends->first = next;
            if (next == NULL) appends->last = before;
            end(stream, append);
        } else {
            if (append->is_waited_for || appends->given_up == 0) return;
            is_held = true;
            before = append;
        }
        append = next;
    }
}

static void fail(struct pending_append *append, enum store_code code, const char *text)
{
    if (append->code != STORE_OK) return;
    append->code = code;
    append->text = strndup(text, STORE_TEXT_MAX - 1);
}

/* One of its messages is done with. */
static void count_down(struct nats_stream *stream, struct pending_append *append)
{
    if (append->is_over || --append->left > 0) return;
    append->is_over = true;
    end_in_order(stream);
}

static void land(struct appends *appends, struct flight *flight)
{
    flight->is_done = true;
    appends->flight_bytes -= flight->len;
    while (appends->oldest < appends->numbered && flight_of(appends, appends->oldest)->is_done) appends->oldest++;
    if (appends->send < appends->oldest) appends->send = appends->oldest;
}

/* ---- what comes back ---------------------------------------------------------------------------------------- */

/* Nothing more is sent but the oldest, and that not at once. */
static void be_careful(struct appends *appends, uint64_t now_ms)
{
    if (appends->is_probing) return;
    appends->is_probing = true;
    appends->calm_ms = 0;
    appends->wait_ms = PROBE_LEAST_MS;
    appends->again_ms = now_ms + appends->wait_ms;
}

static void be_confident(struct appends *appends)
{
    appends->is_probing = false;
    appends->calm_ms = 0;
    appends->send = appends->oldest; /* all that are not acknowledged, again */
}

static bool is_no_room(uint64_t error)
{
    return error == JS_STORE_FAILED || error == JS_ACCOUNT_RESOURCES || error == JS_RESOURCES || error == JS_MEMORY ||
           error == JS_STORAGE;
}

/* Who waits is answered in time whatever JetStream says. Others would wait for ever, and all that stand behind them. */
static bool is_refused_for_long(struct nats_stream *stream, const char *why)
{
    struct appends *appends = &stream->appends;
    struct nats_engine *engine = stream->storing->engine;
    uint64_t now_ms = nats_now_ms();
    if (appends->refused_ms == 0) appends->refused_ms = now_ms;
    snprintf(appends->refusal, sizeof appends->refusal, "%s", why);
    nats_trouble(engine, appends, "the shared stream %.80s takes no messages: %s", stream->config.name, why);
    return now_ms - appends->refused_ms >= engine->options.defer_ms;
}

static void forget_refusals(struct nats_stream *stream)
{
    struct appends *appends = &stream->appends;
    appends->stuck_ms = 0;
    if (appends->refused_ms == 0) return;
    appends->refused_ms = 0;
    appends->refusal[0] = '\0';
    nats_trouble_over(stream->storing->engine, appends);
}

/* False: it may do better if it is sent again. */
static bool was_refused(struct nats_stream *stream, struct pending_append *append, mps_view answer)
{
    char text[STORE_TEXT_MAX], why[160];
    uint64_t error = json_uint(answer, "error.err_code", 0);
    bool is_full = is_no_room(error);
    if (error == JS_NOT_AVAILABLE) return false;
    json_text(answer, "error.description", why, sizeof why);
    if (!is_full && error != JS_MESSAGE_TOO_LONG && error != JS_SEALED && !is_refused_for_long(stream, why))
        return false;
    snprintf(text, sizeof text, "the shared stream %.80s takes no more: %s", stream->config.name, why);
    fail(append, is_full ? STORE_FULL : STORE_FAILED, text);
    return true;
}

/* A subject of ours that another stream takes as well: that one may answer first. */
static bool is_strange(struct nats_stream *stream, struct pending_append *append, mps_view answer)
{
    char text[STORE_TEXT_MAX], other[80];
    if (json_text_is(answer, "stream", stream->name)) return false;
    json_text(answer, "stream", other, sizeof other);
    snprintf(text, sizeof text, "JetStream's stream %s has taken a message for %.80s: its subjects overlap", other,
             stream->name);
    fail(append, STORE_FAILED, text);
    return true;
}

/* False: nobody has it, or it is not known yet who has. */
static bool take_answer(struct nats_stream *stream, struct flight *flight, mps_view answer)
{
    struct pending_append *append = flight->append;
    if (json_find(answer, "error").ptr != NULL) return was_refused(stream, append, answer);
    uint64_t position = json_uint(answer, "seq", 0);
    if (position == 0 || json_find(answer, "stream").ptr == NULL) return false;
    if (is_strange(stream, append, answer)) return true;
    if (!json_is_true(answer, "duplicate")) append->were_there = false;
    if (position > append->last) append->last = position;
    forget_refusals(stream);
    stream_knows(stream, position + 1);
    return true;
}

/* One that was stored now went through all of the log, and everything that had come before is known. But a new leader
 * knows of an old one's last messages, some of which we would send again, only a moment after it begins to answer:
 * those would be stored twice. */
static void take_probe(struct appends *appends, bool was_there)
{
    if (!was_there) be_confident(appends);
    else if (appends->calm_ms == 0) appends->calm_ms = nats_now_ms() + CALM_MS;
}

/* Said when a quarter of the room is free, not for each message. */
static bool has_room_again(struct appends *appends)
{
    if (!appends->is_full || appends->numbered - appends->oldest > FLIGHTS / 4 * 3 ||
        appends->flight_bytes > FLIGHT_BYTES / 4 * 3)
        return false;
    appends->is_full = false;
    return true;
}

void appends_acked(struct nats_stream *stream, uint64_t number, natsMsg *message)
{
    struct appends *appends = &stream->appends;
    if (number < appends->oldest || number >= appends->numbered) return;
    struct flight *flight = flight_of(appends, number);
    if (flight->is_done) return;
    int len = natsMsg_GetDataLength(message);
    mps_view answer = {(const uint8_t *)natsMsg_GetData(message), len > 0 ? (uint32_t)len : 0};
    if (natsMsg_IsNoResponders(message) || !take_answer(stream, flight, answer)) {
        be_careful(appends, nats_now_ms());
        return;
    }
    struct pending_append *append = flight->append;
    bool was_probing = appends->is_probing, was_there = json_is_true(answer, "duplicate");
    bool is_early = !was_there && number != appends->oldest; /* an older one was lost: acknowledgements come in order */
    land(appends, flight);
    if (was_probing) take_probe(appends, was_there);
    else if (is_early) be_careful(appends, nats_now_ms());
    count_down(stream, append);
    if (was_probing || has_room_again(appends)) storing_hurry(stream->storing);
}

/* ---- what is given up --------------------------------------------------------------------------------------- */

static void give_up(struct nats_stream *stream, struct pending_append *append, const char *text)
{
    struct appends *appends = &stream->appends;
    for (uint64_t number = appends->oldest; number < appends->numbered; number++) {
        struct flight *flight = flight_of(appends, number);
        if (flight->append == append && !flight->is_done) land(appends, flight);
    }
    if (appends->next_append == append) {
        appends->next_append = append->next;
        appends->next_at = appends->next_index = 0;
    }
    fail(append, STORE_FAILED, text);
    append->is_over = append->is_given_up = true;
    appends->given_up++;
}

static void give_up_late(struct nats_stream *stream, struct pending_append *append)
{
    char text[STORE_TEXT_MAX];
    uint64_t defer_ms = stream->storing->engine->options.defer_ms;
    bool says_why = stream->why_not[0] != '\0';
    if (stream->appends.refused_ms != 0)
        snprintf(text, sizeof text, "the shared stream %.80s did not take the message within %" PRIu64 " ms: %.100s",
                 stream->config.name, defer_ms, stream->appends.refusal);
    else
        snprintf(text, sizeof text,
                 "the shared stream %.64s could not be reached within %" PRIu64
                 " ms%s%.80s%s: the message may have been stored",
                 stream->config.name, defer_ms, says_why ? " (" : "", stream->why_not, says_why ? ")" : "");
    give_up(stream, append, text);
}

static void give_up_what_is_late(struct nats_stream *stream, struct round *round)
{
    struct appends *appends = &stream->appends;
    uint64_t defer_ms = stream->storing->engine->options.defer_ms;
    bool some = false;
    if (appends->look_ms > round->now_ms) return;
    appends->look_ms = round->now_ms + LOOK_MS;
    for (struct pending_append *append = appends->first, *next; append != NULL; append = next) {
        next = append->next;
        if (round->now_ms - append->taken_ms < defer_ms) break;
        if (!append->is_waited_for || append->is_over) continue;
        give_up_late(stream, append);
        some = true;
    }
    if (some) end_in_order(stream);
}

/* The stream is there, and says nothing to the oldest message: NATS may not let us publish that one. What nobody waits
 * for would hold all others for ever. Those behind it have as long as an acknowledgement may take. */
static void give_up_what_is_stuck(struct nats_stream *stream, struct round *round)
{
    struct appends *appends = &stream->appends;
    char text[STORE_TEXT_MAX];
    uint64_t most_ms = stream->storing->stuck_ms;
    if (!appends->is_probing || appends->oldest == appends->send) return;
    if (appends->stuck_ms == 0) appends->stuck_ms = round->now_ms;
    struct pending_append *append = flight_of(appends, appends->oldest)->append;
    if (append->is_waited_for || round->now_ms - appends->stuck_ms < most_ms) return;
    snprintf(text, sizeof text,
             "the shared stream %.80s is there and has not acknowledged the message, which may have been stored",
             stream->config.name);
    give_up(stream, append, text);
    end_in_order(stream);
    if (most_ms > ACK_MS) appends->stuck_ms = round->now_ms - (most_ms - ACK_MS);
}

/* ---- sending ------------------------------------------------------------------------------------------------ */

/* The next message without a number gets one. False: there is none, or too many are under way. */
static bool number_one(struct appends *appends)
{
    struct pending_append *append = appends->next_append;
    if (append == NULL) return false;
    uint32_t len = mps_msg_frame_len(append->bytes + appends->next_at);
    appends->is_full = appends->numbered - appends->oldest == FLIGHTS ||
                       (appends->flight_bytes > 0 && appends->flight_bytes + len > FLIGHT_BYTES);
    if (appends->is_full) return false;
    *flight_of(appends, appends->numbered++) =
        (struct flight){.append = append, .at = appends->next_at, .len = len, .index = appends->next_index};
    appends->flight_bytes += len;
    appends->next_at += len;
    if (++appends->next_index == append->count) {
        appends->next_append = append->next;
        appends->next_at = appends->next_index = 0;
    }
    return true;
}

static bool send_one(struct appends *appends, uint64_t number, struct round *round)
{
    struct flight *flight = flight_of(appends, number);
    if (flight->is_done) return true;
    struct outgoing *out = round_add(round);
    if (out == NULL) return false;
    *out = (struct outgoing){
        .append = flight->append, .at = flight->at, .len = flight->len, .index = flight->index, .number = number};
    flight->sent_ms = round->now_ms;
    return true;
}

static void send_many(struct appends *appends, struct round *round)
{
    while (appends->send < appends->numbered || number_one(appends)) {
        if (!send_one(appends, appends->send, round)) return;
        appends->send++;
    }
}

static void probe(struct appends *appends, struct round *round)
{
    if (appends->oldest == appends->numbered && !number_one(appends)) return;
    if (appends->again_ms <= round->now_ms && send_one(appends, appends->oldest, round)) {
        if (appends->send == appends->oldest) appends->send++;
        appends->again_ms = round->now_ms + appends->wait_ms;
        appends->wait_ms = 2 * appends->wait_ms < PROBE_MOST_MS ? 2 * appends->wait_ms : PROBE_MOST_MS;
    }
    round_again(round, appends->again_ms);
}

/* The oldest was sent too long ago. */
static bool is_overdue(struct appends *appends, struct round *round)
{
    if (appends->oldest >= appends->send) return false;
    uint64_t due_ms = flight_of(appends, appends->oldest)->sent_ms + ACK_MS;
    if (due_ms > round->now_ms) round_again(round, due_ms);
    return due_ms <= round->now_ms;
}

void appends_work(struct nats_stream *stream, struct round *round)
{
    struct appends *appends = &stream->appends;
    if (appends->first == NULL) return;
    give_up_what_is_late(stream, round);
    round_again(round, appends->look_ms);
    /* What is not known to be there may be a stream that is about to be replaced. */
    if (!round->is_connected || !stream->is_there) forget_refusals(stream);
    if (!round->is_connected || !stream->is_there || appends->first == NULL) return;
    give_up_what_is_stuck(stream, round);
    if (appends->first == NULL) return;
    if (is_overdue(appends, round)) be_careful(appends, round->now_ms);
    if (appends->calm_ms != 0 && appends->calm_ms <= round->now_ms) be_confident(appends);
    if (appends->calm_ms != 0) round_again(round, appends->calm_ms);
    else if (appends->is_probing) probe(appends, round);
    else send_many(appends, round);
}

void appends_disconnected(struct nats_stream *stream)
{
    struct appends *appends = &stream->appends;
    be_careful(appends, nats_now_ms());
    appends->calm_ms = 0;
    appends->wait_ms = PROBE_LEAST_MS;
    appends->again_ms = 0;
}

/* ---- a message: on the thread that sends, without the lock ----------------------------------------------------- */

/* What JetStream knows it by: id.boot.pid, or, when nobody would send it again but we, .life.number. */
static void write_id(const struct nats_storing *storing, const struct outgoing *out, char *to, size_t cap)
{
    const struct pending_append *append = out->append;
    if (append->id_len == 0) {
        snprintf(to, cap, ".%s.%" PRIu64, storing->nonce, out->number);
        return;
    }
    size_t len = subject_of_token(to, cap, (mps_view){append->bytes + append->len, append->id_len});
    snprintf(to + len, cap - len, ".%" PRIu64 ".%" PRIu64, append->boot, append->first_pid + out->index);
}

static bool write_subject(const struct nats_stream *stream, mps_view frame, char *to, size_t cap)
{
    struct mps_msg msg;
    const char *what;
    if (mps_decode_msg(frame, &msg, &what) != MPS_OK) return false;
    int len = snprintf(to, cap, "%s.", stream->subjects);
    return len > 0 && (size_t)len < cap && subject_of_topic(to + len, cap - (size_t)len, msg.topic) > 0;
}

void append_send(natsConnection *connection, const struct outgoing *out)
{
    const struct nats_stream *stream = out->append->stream;
    char subject[LONG_SUBJECT_MAX], rest[48], reply[128], id[300];
    mps_view frame = {out->append->bytes + out->at, out->len};
    natsMsg *message = NULL;
    if (!write_subject(stream, frame, subject, sizeof subject)) abort(); /* the core has judged it */
    snprintf(rest, sizeof rest, "%" PRIu32 ".%" PRIu64, stream->index, out->number);
    storing_inbox(stream->storing, 'a', rest, reply, sizeof reply);
    write_id(stream->storing, out, id, sizeof id);
    /* What fails here is not acknowledged, and sent again. */
    if (natsMsg_Create(&message, subject, reply, (const char *)frame.ptr, (int)frame.len) != NATS_OK) return;
    if (natsMsgHeader_Set(message, "Nats-Msg-Id", id) == NATS_OK) natsConnection_PublishMsg(connection, message);
    natsMsg_Destroy(message);
}

void appends_free(struct nats_stream *stream)
{
    for (struct pending_append *append; (append = stream->appends.first) != NULL;) {
        stream->appends.first = append->next;
        free(append->text);
        free(append);
    }
    free(stream->appends.flights);
}
