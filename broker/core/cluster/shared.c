#include "shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pids.h"
#include "sure.h"
#include "trace.h"

/* How long an answer to how far a stream is is waited for, and how little there is between two questions at least. */
#define ASK_MS 2000u
#define ASK_APART_MS 10u

/* Frames that the engine was given, and has not settled. */
struct shared_append {
    struct hash_node in_appends; /* by token */
    uint64_t token;
    struct stream *stream;
    bool wants_copies;       /* it was to be acknowledged as replicated */
    struct session *session; /* whose answer waits for it; NULL: nobody's */
    uint64_t place;          /* of the answer in its queue */
};

struct shared {
    struct hash appends;
    uint64_t token;   /* of the last one */
    uint64_t asks;    /* how often it was asked how far a stream is */
    bool has_settled; /* something, in this poll */
};

struct stream *shared_stream(const struct cluster *cluster, uint32_t number)
{
    struct stream *stream = stream_by_number(cluster->broker, number);
    return stream != NULL && stream->is_shared ? stream : NULL;
}

/* ---- appends ------------------------------------------------------------------------------------------------ */

static bool has_token(const struct hash_node *node, const void *key)
{
    return container_of(node, struct shared_append, in_appends)->token == *(const uint64_t *)key;
}

static struct shared_append *find(const struct broker *broker, uint64_t token)
{
    if (broker->cluster == NULL || broker->cluster->shared == NULL) return NULL;
    struct hash_node *node =
        hash_find(&broker->cluster->shared->appends, hash_number(broker->seed, token), has_token, &token);
    return node != NULL ? container_of(node, struct shared_append, in_appends) : NULL;
}

static unsigned level_of(const struct session *session)
{
    return (session->terms.flags & MPS_PUB_LEVEL_MASK) >> MPS_PUB_LEVEL_SHIFT;
}

static void add(struct broker *broker, struct stream *stream, uint64_t token, bool wants_copies)
{
    struct shared_append *append = sure_zeroed(sizeof *append);
    append->token = token;
    append->stream = stream;
    append->wants_copies = wants_copies;
    hash_add(&broker->cluster->shared->appends, &append->in_appends, hash_number(broker->seed, token));
}

static void name_it(struct engine_append *append, const struct session *session)
{
    append->is_waited_for = level_of(session) > 1;
    if (session->terms.pid == 0 || pids_boot(session) == 0) return;
    append->id = session->id;
    append->boot = pids_boot(session);
    append->first_pid = session->terms.pid;
}

bool shared_append(struct stream *stream, struct session *session, const struct run *run, struct part part,
                   char text[STORE_TEXT_MAX])
{
    struct cluster *cluster = stream->broker->cluster;
    if (cluster == NULL) {
        snprintf(text, STORE_TEXT_MAX, "the broker has left the cluster that keeps stream '%s'", stream->name);
        return false;
    }
    struct engine_append append = {.stream = stream->number,
                                   .count = part.count,
                                   .len = part.len,
                                   .bytes = run->bytes + part.off,
                                   .token = cluster->shared->token + 1};
    if (session != NULL) name_it(&append, session);
    if (!cluster->engine->append(cluster->engine, &append, text)) return false;
    cluster->shared->token++;
    add(stream->broker, stream, append.token, session != NULL && level_of(session) > 2);
    if (run->is_traced) {
        shared_follow(stream);
        trace_shared(stream, run, part, append.token);
    }
    return true;
}

uint64_t shared_append_token(const struct broker *broker)
{
    return broker->cluster->shared->token;
}

void shared_append_waits(struct session *session, uint64_t token, uint64_t place)
{
    struct shared_append *append = find(session->broker, token);
    if (append == NULL) return;
    append->session = session;
    append->place = place;
}

void shared_append_forget(struct broker *broker, uint64_t token)
{
    struct shared_append *append = find(broker, token);
    if (append != NULL) append->session = NULL;
}

bool shared_append_is_waiting(const struct broker *broker, uint64_t token)
{
    return find(broker, token) != NULL;
}

/* Nobody waits for an answer to it, who could be told. */
static void note_unstored(struct stream *stream, const char *text)
{
    stream->unstored++;
    log_say(stream->broker, EVENT_MESSAGE_UNSTORED, LOG_FIELDS(log_value("stream", mps_text(stream->name))),
            "what was published without asking whether it is stored is not known to be in stream '%s': %s",
            printable(mps_text(stream->name)), text);
}

/* Who waits for it is answered. It is freed. */
static void end_append(struct cluster *cluster, struct shared_append *append, const struct shared_outcome *outcome)
{
    struct broker *broker = cluster->broker;
    if (append->session != NULL) acks_settle_shared(append->session, append->place, outcome);
    if (broker->tracing != NULL && outcome->code != STORE_OK) trace_unshared(broker, append->token);
    hash_remove(&cluster->shared->appends, &append->in_appends);
    free(append);
    cluster->shared->has_settled = true;
}

/* It was taken before it was known that there are no other copies. */
static bool is_alone(const struct shared_append *append)
{
    return append->wants_copies && append->stream->replicas <= 1;
}

static void settle(struct cluster *cluster, struct shared_append *append, const struct shared_outcome *outcome)
{
    struct stream *stream = append->stream;
    if (outcome->last >= stream->next && outcome->last < MPS_NUMBER_MAX) /* 0, if it isn't known */
        shared_knows(stream, outcome->last + 1);
    if (append->session == NULL && outcome->code != STORE_OK) note_unstored(stream, outcome->text);
    end_append(cluster, append, outcome);
}

void shared_on_settled(struct cluster *cluster, uint64_t token, enum store_code code, uint64_t last, bool was_there,
                       const char *text)
{
    struct shared_append *append = find(cluster->broker, token);
    struct shared_outcome outcome = {token, code, last, was_there, text};
    if (append == NULL) return;
    if (code == STORE_OK && is_alone(append)) {
        outcome.code = STORE_FAILED;
        outcome.text = "it is stored, but there is one copy of the stream";
    }
    settle(cluster, append, &outcome);
}

void shared_polled(struct cluster *cluster)
{
    if (!cluster->shared->has_settled) return;
    cluster->shared->has_settled = false;
    acks_answer_all(cluster->broker);
}

/* ---- reading ------------------------------------------------------------------------------------------------ */

/* As the engine has it, and which stream was meant. */
struct shared_read {
    struct store_read read;
    uint64_t identity;
};

bool shared_read(struct stream *stream, uint64_t position, uint32_t bytes_most)
{
    struct cluster *cluster = stream->broker->cluster;
    if (cluster == NULL) return false;
    struct shared_read *shared = sure_zeroed(sizeof *shared);
    shared->read = (struct store_read){
        .stream = stream->number, .from = position, .end = stream->stored, .bytes_most = bytes_most, .user = stream};
    shared->identity = stream->identity;
    cluster->engine->read(cluster->engine, &shared->read);
    return true;
}

void shared_on_read_done(struct cluster *cluster, struct store_read *read)
{
    const struct shared_read *shared = (const struct shared_read *)read;
    const struct stream *stream = read->user;
    if (shared->identity != stream->identity) { /* it speaks of the one before */
        free(read->bytes);
        free(read);
        return;
    }
    chunk_read_done(cluster->broker, read);
}

/* ---- asking how far it is ----------------------------------------------------------------------------------- */

/* Nobody can say more now than what is known here. */
static bool is_silent(const struct stream *stream)
{
    return stream->broker->cluster == NULL || !stream->is_known || !stream->is_there;
}

void shared_stop_asking(struct reading *reading)
{
    if (reading->asks_in == NULL) return;
    list_remove(reading->asks_in, &reading->in_asking);
    reading->asks_in = NULL;
}

static void ask_in(struct reading *reading, struct list *where)
{
    shared_stop_asking(reading);
    reading->asks_in = where;
    list_append(where, &reading->in_asking);
}

bool shared_ask(struct reading *reading)
{
    if (is_silent(reading->stream)) {
        shared_stop_asking(reading);
        return false;
    }
    ask_in(reading, &reading->stream->to_ask); /* what is asked already may be answered from before */
    return true;
}

static void hear(struct list *asking)
{
    for (struct list_node *node; (node = asking->first) != NULL;) {
        struct reading *reading = container_of(node, struct reading, in_asking);
        shared_stop_asking(reading);
        cursor_heard(reading);
    }
}

static void hear_all(struct stream *stream)
{
    stream->ask_mark = 0;
    hear(&stream->asking);
    hear(&stream->to_ask);
}

static void ask(struct stream *stream)
{
    struct cluster *cluster = stream->broker->cluster;
    for (struct list_node *node; (node = stream->to_ask.first) != NULL;)
        ask_in(container_of(node, struct reading, in_asking), &stream->asking);
    stream->ask_mark = ++cluster->shared->asks;
    stream->asked_ms = stream->broker->now_ms;
    cluster->engine->ask_state(cluster->engine, stream->number, stream->ask_mark);
}

/* One question at a time. Returns when to look again. */
static uint64_t ask_turn(struct stream *stream)
{
    uint64_t now_ms = stream->broker->now_ms;
    if (stream->ask_mark != 0 && now_ms - stream->asked_ms >= ASK_MS) {
        stream->ask_mark = 0;
        hear(&stream->asking);
    }
    if (stream->ask_mark != 0) return stream->asked_ms + ASK_MS;
    if (stream->to_ask.first == NULL) return UINT64_MAX;
    if (stream->asked_ms > 0 && now_ms - stream->asked_ms < ASK_APART_MS) return stream->asked_ms + ASK_APART_MS;
    ask(stream);
    return stream->asked_ms + ASK_MS;
}

/* ---- how far it is ------------------------------------------------------------------------------------------ */

static void note_away(struct stream *stream, const char *text)
{
    if (!stream->is_away)
        log_say(stream->broker, EVENT_STREAM_AWAY, LOG_FIELDS(log_value("stream", mps_text(stream->name))),
                "stream '%s' is away: %s", printable(mps_text(stream->name)), text);
    stream->is_there = false;
    stream->is_away = true;
    hear_all(stream);
}

static void note_there(struct stream *stream)
{
    if (stream->is_away)
        log_say(stream->broker, EVENT_STREAM_BACK, LOG_FIELDS(log_value("stream", mps_text(stream->name))),
                "stream '%s' is there again", printable(mps_text(stream->name)));
    stream->is_there = true;
    stream->is_away = false;
}

/* What is published meanwhile may be in one of several copies only. */
static void note_split(struct stream *stream, const char *text)
{
    bool is_split = text != NULL && text[0] != '\0';
    if (is_split && !stream->is_split)
        log_say(stream->broker, EVENT_STREAM_SPLIT, LOG_FIELDS(log_value("stream", mps_text(stream->name))),
                "stream '%s' acknowledges nothing as replicated: %s", printable(mps_text(stream->name)), text);
    if (!is_split && stream->is_split)
        log_say(stream->broker, EVENT_STREAM_BACK, LOG_FIELDS(log_value("stream", mps_text(stream->name))),
                "stream '%s' is one again", printable(mps_text(stream->name)));
    stream->is_split = is_split;
}

/* Everything that was known of its messages is void. */
static void forget_messages(struct stream *stream, const struct engine_stream_state *state)
{
    chunks_forget(stream);
    stream->damages_count = 0;
    stream->identity = state->identity;
    stream->first = state->first;
    stream->stored = stream->next = state->next;
    stream->is_followed_from = false;
}

/* A broker without a store of its own has only what all have: its epoch is that of all of them, so that clients that
 * come from another one go on. 0, which says nothing, until they are known: who comes before that has its places still.
 */
static void take_common_epoch(struct broker *broker)
{
    uint64_t epoch = 0;
    if (broker->commit.store != NULL || broker->streams_count == 0) return;
    broker->epoch = 0;
    for (uint32_t i = 0; i < broker->streams_count; i++) {
        const struct stream *stream = broker->streams[i];
        if (stream->identity == 0) return;
        uint64_t mixed = (stream->identity ^ stream->number) * UINT64_C(0x9e3779b97f4a7c15);
        epoch += mixed ^ mixed >> 32; /* whatever their order */
    }
    broker->epoch = epoch & MPS_NUMBER_MAX;
}

static bool is_another(const struct stream *stream, const struct engine_stream_state *state)
{
    return stream->identity != 0 &&
           (state->identity != stream->identity || (stream->is_known && state->next < stream->next));
}

/* Somebody has deleted it, or it has lost its end: then what is before that stands. Positions that clients remember
 * mean something else from now on, and they see that by the epoch. */
static void begin_anew(struct stream *stream, const struct engine_stream_state *state)
{
    char name[128];
    bool has_lost_end = state->identity == stream->identity;
    snprintf(name, sizeof name, "%s", printable(mps_text(stream->name)));
    log_say(stream->broker, EVENT_STREAM_REPLACED,
            LOG_FIELDS(log_value("stream", mps_text(stream->name)), log_number("before", stream->next),
                       log_number("next", state->next)),
            "stream '%s' is not the one that it was: its next position was %llu or more, and is %llu now; its readers "
            "%s, and what was acknowledged in between may be lost",
            name, (unsigned long long)stream->next, (unsigned long long)state->next,
            has_lost_end ? "go back to there" : "begin again");
    forget_messages(stream, state);
    stream->is_known = true;
    epoch_renew(stream->broker);
    if (has_lost_end) cursors_go_back(stream, state->next);
    else cursors_restart(stream);
}

static void get_to_know(struct stream *stream, const struct engine_stream_state *state)
{
    forget_messages(stream, state);
    stream->is_known = true;
    cursors_begin_late(stream);
}

/* Retention goes on, and others publish. */
static void move_on(struct stream *stream, const struct engine_stream_state *state)
{
    if (state->next > stream->next) shared_knows(stream, state->next);
    if (state->first <= stream->first) return;
    stream->first = state->first;
    chunks_forget_below(stream, stream->first);
    if (stream->first <= stream->stored) return;
    stream->stored = stream->first; /* nothing is left of what the tail has not shown yet */
    cursors_wake_tail(stream);
    cursors_wake(&stream->loading);
}

/* Who begins with the last ones, and has asked where they are, begins there: the tail may show them later, but they can
 * be read. */
static void show_to_beginners(struct stream *stream)
{
    bool begins = false;
    for (struct list_node *node = stream->asking.first; node != NULL; node = node->next)
        begins |= container_of(node, struct reading, in_asking)->begins_later;
    if (!begins || stream->stored == stream->next) return;
    stream->stored = stream->next;
    cursors_wake_tail(stream);
}

static bool is_sane(const struct engine_stream_state *state)
{
    return state->identity != 0 && state->first > 0 && state->first <= state->next && state->next <= MPS_NUMBER_MAX;
}

void shared_on_stream_state(struct cluster *cluster, const struct engine_stream_state *state)
{
    struct stream *stream = shared_stream(cluster, state->number);
    if (stream == NULL) return;
    if (!state->is_there || !is_sane(state)) {
        note_away(stream, state->text != NULL ? state->text : "it says nothing of itself");
        return;
    }
    bool keeps_identity = state->identity == stream->identity;
    note_there(stream);
    note_split(stream, state->text);
    if (is_another(stream, state)) begin_anew(stream, state);
    else if (!stream->is_known) get_to_know(stream, state);
    else move_on(stream, state);
    if (!keeps_identity) {
        stream_keep_identity(stream);
        take_common_epoch(cluster->broker);
    }
    stream->stored_msgs = state->msgs;
    stream->stored_bytes = state->bytes;
    stream->replicas = state->replicas;
    stream->current = state->current;
    if (state->mark == 0 || state->mark != stream->ask_mark) return;
    stream->ask_mark = 0;
    show_to_beginners(stream);
    hear(&stream->asking);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static void open_stream(struct cluster *cluster, const struct stream *stream)
{
    cluster->engine->open_stream(cluster->engine, &(struct engine_stream){.number = stream->number,
                                                                          .name = stream->name,
                                                                          .replicas = stream->replicas,
                                                                          .max_bytes = stream->max_bytes,
                                                                          .max_msgs = stream->max_msgs,
                                                                          .max_age_ms = stream->max_age_ms,
                                                                          .refuses = stream->refuses});
}

int shared_join(struct cluster *cluster, char *text, size_t cap)
{
    struct broker *broker = cluster->broker;
    (void)text, (void)cap;
    cluster->shared = sure_zeroed(sizeof *cluster->shared);
    for (uint32_t i = 0; i < broker->streams_count; i++)
        if (broker->streams[i]->is_shared) open_stream(cluster, broker->streams[i]);
    take_common_epoch(broker);
    return 0;
}

/* What is not settled will not be: nobody is told that it is stored. It may be very much, and is one line of the log.
 */
static void give_up_all(struct cluster *cluster)
{
    uint64_t untold = 0;
    for (struct hash_node *node; (node = hash_any(&cluster->shared->appends)) != NULL;) {
        struct shared_append *append = container_of(node, struct shared_append, in_appends);
        struct shared_outcome outcome = {append->token, STORE_FAILED, 0, false, "the broker leaves the cluster"};
        bool is_waited_for = append->session != NULL;
        untold += !is_waited_for;
        append->stream->unstored += !is_waited_for;
        end_append(cluster, append, &outcome);
    }
    if (untold == 0) return;
    log_say(cluster->broker, EVENT_MESSAGE_UNSTORED, LOG_FIELDS(log_number("count", untold)),
            "the broker leaves the cluster, and what was published without asking whether it is stored is not known to "
            "be: %llu times",
            (unsigned long long)untold);
}

void shared_leave(struct cluster *cluster)
{
    struct shared *shared = cluster->shared;
    if (shared == NULL) return;
    give_up_all(cluster);
    shared_polled(cluster);
    for (uint32_t i = 0; i < cluster->broker->streams_count; i++) {
        struct stream *stream = cluster->broker->streams[i];
        if (!stream->is_shared) continue;
        memset(stream->loads, 0, sizeof stream->loads);
        stream->is_there = stream->is_followed = false; /* nobody is asked any more */
        hear_all(stream);
    }
    hash_free(&shared->appends);
    free(shared);
    cluster->shared = NULL;
}

uint64_t shared_turn(struct cluster *cluster)
{
    const struct broker *broker = cluster->broker;
    uint64_t next_ms = UINT64_MAX;
    for (uint32_t i = 0; i < broker->streams_count; i++) {
        if (!broker->streams[i]->is_shared) continue;
        shared_follow(broker->streams[i]);
        next_ms = least(next_ms, ask_turn(broker->streams[i]));
    }
    return next_ms;
}
