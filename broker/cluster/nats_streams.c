/* Each stream, and the bucket of records: made if it is absent, and asked how far it is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "nats_json.h"
#include "nats_storing.h"
#include "nats_subjects.h"

#define JS_NOT_FOUND 10059
#define JS_NAME_IN_USE 10058
#define SILENT_MOST 2      /* answers that don't come, until it counts as away */
#define BACKWARDS_MS 10000 /* a new leader may need a while to know what the one before it has stored */
#define CONFIG_MAX 2048    /* bytes */
#define SETTLE_MS 1000     /* a stream without messages is believed in when it has been the same one for so long: */
#define MAKE_MOST_MS \
    300               /* of several that are made at the same moment the last one stays. So nobody makes one at once */
#define SPLIT_MS 6000 /* so long what a server says stands beside what another one says; */
#define TURNS 3       /* so often by turns is more than somebody who changes the number of copies; */
#define JOIN_EVERY_MS 30000 /* so often they are asked to agree, at the most */

/* ---- what JetStream is to make ------------------------------------------------------------------------------ */

static int64_t limit(uint64_t value)
{
    return value > INT64_MAX ? -1 : (int64_t)value;
}

static int64_t age_ns(const struct nats_stream *stream)
{
    uint64_t ms = stream->is_bucket ? UINT64_MAX : stream->config.max_age_ms;
    if (ms > INT64_MAX / 1000000) return 0;
    return (int64_t)(ms < 100 ? 100 : ms) * 1000000; /* JetStream's least */
}

/* Something may be sent again as long as it waits, here, and then by its publisher at another broker. A window that is
 * there and longer stays: other brokers may wait for longer. */
static int64_t window_ns(const struct nats_stream *stream)
{
    uint64_t twice_ms = stream->is_bucket ? 0 : 2 * stream->storing->engine->options.defer_ms;
    uint64_t wanted_ns = (twice_ms > DUPLICATES_MS ? twice_ms : DUPLICATES_MS) * 1000000;
    int64_t window = (int64_t)(stream->window_ns > wanted_ns ? stream->window_ns : wanted_ns), age = age_ns(stream);
    return age > 0 && age < window ? age : window; /* JetStream wants it so */
}

static void write_config(const struct nats_stream *stream, char config[CONFIG_MAX])
{
    const struct engine_stream *wanted = &stream->config;
    bool is_bucket = stream->is_bucket;
    snprintf(config, CONFIG_MAX,
             "{\"name\":\"%s\",\"subjects\":[\"%s.>\"],\"retention\":\"limits\",\"storage\":\"file\","
             "\"max_consumers\":-1,\"max_msg_size\":-1,\"max_msgs\":%" PRId64 ",\"max_bytes\":%" PRId64
             ",\"max_age\":%" PRId64 ",\"max_msgs_per_subject\":%d,\"discard\":\"%s\",\"num_replicas\":%" PRIu32
             ",\"duplicate_window\":%" PRId64 ",\"allow_direct\":true,\"allow_rollup_hdrs\":%s}",
             stream->name, stream->subjects, is_bucket ? -1 : limit(wanted->max_msgs),
             is_bucket ? -1 : limit(wanted->max_bytes), age_ns(stream), is_bucket ? 1 : -1,
             is_bucket || wanted->refuses ? "new" : "old", wanted->replicas, window_ns(stream),
             is_bucket ? "true" : "false");
}

/* Whether what is there is what is wanted, in what operators may change. */
static bool is_as_wanted(const struct nats_stream *stream, mps_view config)
{
    static const char *const numbers[] = {"max_msgs",     "max_bytes",        "max_age",
                                          "num_replicas", "duplicate_window", "max_msgs_per_subject"};
    char text[CONFIG_MAX];
    write_config(stream, text);
    mps_view wanted = mps_text(text);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (json_uint(wanted, numbers[i], UINT64_MAX) != json_uint(config, numbers[i], UINT64_MAX)) return false;
    return json_text_is(config, "discard", stream->is_bucket || stream->config.refuses ? "new" : "old");
}

/* ---- what the core is told ---------------------------------------------------------------------------------- */

static void tell_state(struct nats_stream *stream, const char *text, uint64_t mark)
{
    if (stream->is_bucket) return;
    struct storing_event *event = storing_tell(stream->storing, EVENT_STATE, strlen(text) + 1);
    event->state = (struct engine_stream_state){.number = stream->config.number,
                                                .is_there = stream->is_there,
                                                .identity = stream->identity,
                                                .first = stream->first_position,
                                                .next = stream->known_next,
                                                .msgs = stream->msgs,
                                                .bytes = stream->bytes,
                                                .replicas = stream->replicas,
                                                .current = stream->current,
                                                .mark = mark};
    storing_tell_text(event, text);
}

/* It is not there. Told once: the sentence stays. */
static void is_away(struct nats_stream *stream, const char *why)
{
    char text[STORE_TEXT_MAX];
    const char *what = stream->is_bucket ? "the bucket of shared records" : "the shared stream";
    snprintf(text, sizeof text, "%s %.80s: %.150s", what, stream->name, why);
    struct nats_engine *engine = stream->storing->engine;
    if (stream->storing->is_connected && stream->is_bucket) nats_warn(engine, stream, "%s", text);
    else if (stream->storing->is_connected) nats_trouble(engine, stream, "%s", text); /* the core tells of it itself */
    stream->is_there = false;
    snprintf(stream->why_not, sizeof stream->why_not, "%s", why);
    tell_state(stream, text, 0);
}

static void is_there(struct nats_stream *stream)
{
    stream->is_there = true;
    stream->why_not[0] = '\0';
}

void stream_knows(struct nats_stream *stream, uint64_t next)
{
    if (next > stream->known_next) stream->known_next = next;
}

/* ---- what JetStream says ------------------------------------------------------------------------------------ */

static struct js_request *ask(struct nats_stream *stream, const char *what, const char *body,
                              void (*done)(struct nats_stream *, const struct js_request *, mps_view))
{
    char subject[NAME_MAX_BYTES + 64];
    snprintf(subject, sizeof subject, "$JS.API.STREAM.%s.%s", what, stream->name);
    struct js_request *request = js_ask(stream, subject, body);
    request->done = done;
    request->about = stream->known_next;
    stream->is_asking = true;
    return request;
}

static void came_to_be(struct nats_stream *stream, const struct js_request *request, mps_view answer);

static void make(struct nats_stream *stream, const char *what)
{
    char config[CONFIG_MAX];
    write_config(stream, config);
    ask(stream, what, config, came_to_be);
}

/* At a moment that others have not. */
static void make_soon(struct nats_stream *stream)
{
    uint64_t now_ms = nats_now_ms(), random = 0;
    if (stream->make_ms == 0) {
        if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random) random = now_ms;
        stream->make_ms = now_ms + random % MAKE_MOST_MS;
    }
    if (stream->make_ms > now_ms) {
        stream->ask_ms = stream->make_ms;
        return;
    }
    stream->make_ms = 0;
    make(stream, "CREATE");
}

static void take_error(struct nats_stream *stream, mps_view answer)
{
    char why[160];
    json_text(answer, "error.description", why, sizeof why);
    is_away(stream, why[0] != '\0' ? why : "JetStream gave an answer that makes no sense");
}

/* It was made, or changed, or could not be: asking for its state tells which. */
static void came_to_be(struct nats_stream *stream, const struct js_request *request, mps_view answer)
{
    (void)request;
    stream->is_asking = false;
    stream->is_checked = true;
    bool has_failed = json_find(answer, "error").ptr != NULL;
    if (has_failed && json_uint(answer, "error.err_code", 0) != JS_NAME_IN_USE) {
        if (!stream->is_there) {
            take_error(stream, answer);
            return;
        }
        char why[160];
        json_text(answer, "error.description", why, sizeof why);
        nats_warn(stream->storing->engine, &stream->config, "the stream %.80s stays as it was configured: %s",
                  stream->name, why);
        return;
    }
    stream->ask_ms = 0;
}

static uint32_t copies_that_are_current(mps_view answer)
{
    mps_view replicas = json_find(answer, "cluster.replicas"), replica;
    uint32_t count = 1; /* who answers */
    for (uint32_t at = 0; replicas.ptr != NULL && json_next(replicas, &at, &replica);)
        if (json_is_true(replica, "current") && !json_is_true(replica, "offline")) count++;
    return count;
}

uint64_t sum_of(mps_view bytes)
{
    uint64_t sum = bytes.len + UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t i = 0; i < bytes.len; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes.ptr + i, bytes.len - i < 8 ? bytes.len - i : 8);
        sum = (sum ^ word) * UINT64_C(0xff51afd7ed558ccd);
        sum ^= sum >> 32;
    }
    return sum != 0 ? sum : 1;
}

uint64_t leader_of(mps_view answer)
{
    char name[256];
    json_text(answer, "cluster.leader", name, sizeof name);
    return name[0] != '\0' ? sum_of(mps_text(name)) : 0;
}

/* Other positions than before: a stream that was made anew, or one that has lost its end. */
static void begin_at(struct nats_stream *stream, uint64_t identity, uint64_t next)
{
    stream->identity = identity;
    stream->known_next = next;
    stream->backwards_ms = 0;
    for (struct pending_append *append = stream->appends.first; append != NULL; append = append->next) append->last = 0;
    cursors_forget(stream);
    tail_begins_at(stream, stream->is_bucket ? 0 : next);
    if (stream->is_bucket) marks_forget(stream->storing);
    tail_restart(stream);
}

/* An answer may be older than what a tail or an acknowledgement has shown since it was asked for. */
static bool goes_backwards(struct nats_stream *stream, const struct js_request *request, uint64_t next)
{
    uint64_t now_ms = nats_now_ms();
    if (next >= request->about) {
        stream->backwards_ms = 0;
        return false;
    }
    if (stream->backwards_ms == 0) stream->backwards_ms = now_ms;
    return now_ms - stream->backwards_ms >= BACKWARDS_MS;
}

/* Brokers that are started together all make it, and JetStream may take it for another one each time: what was stored
 * in the first one would be gone. */
static bool is_settled(struct nats_stream *stream, mps_view answer, uint64_t identity, uint64_t next)
{
    if (json_find(answer, "cluster").ptr == NULL) return true; /* a single server */
    uint64_t now_ms = nats_now_ms();
    if (identity != stream->seen_identity) {
        stream->seen_identity = identity;
        stream->seen_ms = now_ms;
    }
    return next > 1 || stream->is_there || now_ms - stream->seen_ms >= SETTLE_MS;
}

/* ---- a server that has it alone ------------------------------------------------------------------------------- */

/* nats-server 2.9 that is started soon after a stream was given one copy, and several again, may go on having it alone,
 * beside the others: it answers, takes and acknowledges what the one that leads them does. It is believed when nobody
 * has said for a while that others have the stream, too; and while both are heard, nothing counts as replicated. When
 * somebody changes the number of copies both are heard, too, but not by turns. */
static bool is_recent(uint64_t when_ms)
{
    return when_ms != 0 && nats_now_ms() - when_ms < SPLIT_MS;
}

static bool is_doubtful(const struct nats_stream *stream)
{
    return is_recent(stream->alone_ms) && is_recent(stream->together_ms);
}

static bool is_split(const struct nats_stream *stream)
{
    return is_doubtful(stream) && stream->turns >= TURNS;
}

static void note_who(struct nats_stream *stream, mps_view answer, bool is_alone)
{
    bool was_alone = stream->alone_ms > stream->together_ms;
    if (is_alone) stream->alone_ms = nats_now_ms();
    else stream->together_ms = nats_now_ms();
    if (is_alone) json_text(answer, "cluster.leader", stream->alone, sizeof stream->alone);
    if (!is_doubtful(stream)) stream->turns = 0;
    else if (is_alone != was_alone) stream->turns++;
}

/* False: it tells nothing of the stream that all have. */
static bool is_believed(struct nats_stream *stream, mps_view answer)
{
    if (json_find(answer, "cluster").ptr == NULL) return true; /* a single server */
    if (leader_of(answer) == 0) return false; /* nobody leads: any of them answers, and may be behind */
    bool is_alone = json_find(answer, "cluster.replicas").ptr == NULL;
    note_who(stream, answer, is_alone);
    return !is_alone || !is_doubtful(stream);
}

/* What it is known to be, and whether that is to be trusted. */
static void tell_all(struct nats_stream *stream, uint64_t mark)
{
    char text[STORE_TEXT_MAX] = "";
    if (is_doubtful(stream)) stream->replicas = 1;
    if (is_split(stream)) {
        snprintf(text, sizeof text, "the server %.63s has the stream %.80s alone, and others have it together",
                 stream->alone, stream->name);
        nats_trouble(stream->storing->engine, stream, "%s", text);
    } else {
        nats_trouble_over(stream->storing->engine, stream);
    }
    tell_state(stream, text, mark);
}

/* A server that led the stream when it was cut off can show messages that it has stored alone, which others replace
 * (nats-server 2.9 does, when it hears the others again). To the core that is a stream that has lost its end. */
void stream_was_rewritten(struct nats_stream *stream, uint64_t from)
{
    begin_at(stream, stream->identity, from);
    is_there(stream);
    tell_all(stream, 0);
}

/* It is asked again, soon. */
static void pass_over(struct nats_stream *stream, const struct js_request *request)
{
    stream->ask_ms = nats_now_ms() + ASK_EVERY_MS / 8;
    if (stream->wanted_mark == 0) stream->wanted_mark = request->mark;
    if (stream->is_there) tell_all(stream, 0);
}

/* Who has it alone takes part again when the stream is changed, be it to what it is. */
static void join(struct nats_stream *stream, mps_view config)
{
    uint64_t now_ms = nats_now_ms();
    if (config.len == 0 || (stream->joined_ms != 0 && now_ms - stream->joined_ms < JOIN_EVERY_MS)) return;
    char *body = sure(strndup((const char *)config.ptr, config.len));
    stream->joined_ms = now_ms;
    ask(stream, "UPDATE", body, came_to_be);
    free(body);
}

/* ---- how far it is -------------------------------------------------------------------------------------------- */

static void take_state(struct nats_stream *stream, const struct js_request *request, mps_view answer)
{
    uint64_t identity = json_time(answer, "created"), next = json_uint(answer, "state.last_seq", 0) + 1;
    if (!is_settled(stream, answer, identity, next)) return;
    if (!is_believed(stream, answer)) {
        pass_over(stream, request);
        return;
    }
    if (identity != stream->identity || goes_backwards(stream, request, next)) begin_at(stream, identity, next);
    stream_knows(stream, next);
    uint64_t first = json_uint(answer, "state.first_seq", 0);
    stream->first_position = first > 0 ? first : 1;
    if (stream->first_position > stream->known_next) stream->known_next = stream->first_position;
    stream->msgs = json_uint(answer, "state.messages", 0);
    stream->bytes = json_uint(answer, "state.bytes", 0);
    stream->replicas = (uint32_t)json_uint(answer, "config.num_replicas", 1);
    stream->current = copies_that_are_current(answer);
    stream->leader = leader_of(answer);
    tail_led_by(stream);
    is_there(stream);
    stream->make_ms = 0;
    bool knows_less = stream->backwards_ms != 0; /* what others were told to be stored as well, perhaps */
    if (knows_less && stream->wanted_mark == 0) stream->wanted_mark = request->mark;
    tell_all(stream, knows_less ? 0 : request->mark);
    if (is_split(stream)) {
        join(stream, json_find(answer, "config"));
        return;
    }
    if (stream->is_checked) return;
    stream->is_checked = true;
    stream->window_ns = json_uint(answer, "config.duplicate_window", 0);
    if (!is_as_wanted(stream, json_find(answer, "config"))) make(stream, "UPDATE");
}

static void silence(struct nats_stream *stream)
{
    if (++stream->silent < SILENT_MOST) return;
    if (stream->silent == SILENT_MOST || stream->is_there)
        is_away(stream, "JetStream does not answer for it: it may have no leader, or not be enabled");
}

static void answered(struct nats_stream *stream, const struct js_request *request, mps_view answer)
{
    stream->is_asking = false;
    if (answer.ptr == NULL) {
        silence(stream);
        return;
    }
    stream->silent = 0;
    if (json_uint(answer, "error.err_code", 0) == JS_NOT_FOUND) {
        if (stream->is_there) is_away(stream, "it was deleted");
        make_soon(stream);
    } else if (json_find(answer, "error").ptr != NULL || json_time(answer, "created") == 0) {
        take_error(stream, answer);
    } else {
        take_state(stream, request, answer);
    }
}

static void ask_how_far(struct nats_stream *stream)
{
    struct js_request *request = ask(stream, "INFO", "", answered);
    request->mark = stream->wanted_mark;
    stream->wanted_mark = 0;
}

void stream_work(struct nats_stream *stream, struct round *round)
{
    if (!stream->is_asking && stream->ask_ms <= round->now_ms) {
        /* Until it is there, it is asked for more often. */
        uint64_t often_ms = stream->tail.wish == TAIL_UNWANTED ? ASK_UNFOLLOWED_MS : ASK_EVERY_MS;
        stream->ask_ms = round->now_ms + (stream->is_there ? often_ms : ASK_EVERY_MS / 8);
        ask_how_far(stream);
    }
    if (!stream->is_asking) round_again(round, stream->ask_ms);
}

void stream_disconnected(struct nats_stream *stream)
{
    stream->is_asking = false;
    stream->silent = 0;
    stream->ask_ms = 0;
    tail_disconnected(stream);
    reads_disconnected(stream);
    appends_disconnected(stream);
    is_away(stream, "there is no connection to a server");
}

/* ---- life --------------------------------------------------------------------------------------------------- */

/* JetStream takes no '.' in the name of a stream, and in that of a bucket nothing but letters, digits, '-' and '_'. */
static bool name_it(struct nats_stream *stream, const char *prefix)
{
    char safe[NAME_MAX_BYTES / 2], token[NAME_MAX_BYTES / 2];
    if (subject_of_token(safe, sizeof safe, mps_text(prefix)) == 0) return false;
    if (stream->is_bucket) {
        for (char *p = safe; *p != '\0'; p++)
            if (*p == '=') *p = '_';
        snprintf(stream->name, sizeof stream->name, "KV_%s-records", safe);
        snprintf(stream->subjects, sizeof stream->subjects, "$KV.%s-records", safe);
        return true;
    }
    if (subject_of_token(token, sizeof token, mps_text(stream->config.name)) == 0) return false;
    int name = snprintf(stream->name, sizeof stream->name, "%s-stream-%s", safe, token);
    int subjects = snprintf(stream->subjects, sizeof stream->subjects, "%s.stream.%s", prefix, token);
    return name < (int)sizeof stream->name && subjects < (int)sizeof stream->subjects;
}

struct nats_stream *stream_new(struct nats_storing *storing, const struct engine_stream *config, bool is_bucket)
{
    struct nats_stream *stream = sure(calloc(1, sizeof *stream));
    *stream = (struct nats_stream){
        .storing = storing, .config = *config, .is_bucket = is_bucket, .index = storing->streams_count};
    stream->config.name = sure(strdup(config->name));
    stream->tail.is_loading = is_bucket;
    stream->tail.wish = is_bucket ? TAIL_WANTED : TAIL_UNWANTED;
    if (!name_it(stream, storing->engine->options.prefix)) {
        stream_free(stream);
        return NULL;
    }
    struct nats_stream **at = &storing->streams;
    while (*at != NULL) at = &(*at)->next;
    *at = stream;
    storing->streams_count++;
    return stream;
}

void stream_free(struct nats_stream *stream)
{
    cursors_forget(stream);
    appends_free(stream);
    free(stream->tail.shown);
    free((char *)stream->config.name);
    free(stream);
}
