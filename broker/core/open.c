#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "identity.h"
#include "pids.h"
#include "sure.h"

/* ---- records ------------------------------------------------------------------------------------------------ */

void stream_keep(struct stream *stream)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_array(&out, 2);
    mps_put_uint(&out, stream->number);
    mps_put_uint(&out, stream->stored);
    keep_put_lazily(stream->broker, RECORD_STREAM, mps_text(stream->name), mps_out_view(&out));
}

#define IDENTITY_KEY "stream " /* and the stream's name */

static mps_view identity_key(const struct stream *stream, char room[STORE_KEY_MAX])
{
    snprintf(room, STORE_KEY_MAX, IDENTITY_KEY "%s", stream->name);
    return mps_text(room);
}

void stream_keep_identity(struct stream *stream)
{
    char key[STORE_KEY_MAX];
    uint8_t room[16];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_uint(&out, stream->identity);
    keep_put_lazily(stream->broker, RECORD_META, identity_key(stream, key), mps_out_view(&out));
}

void retained_put(struct mps_out *out, const struct broker *broker, mps_view frame, uint64_t expires_ms,
                  const struct origin *origin)
{
    uint64_t wall_ms = broker->env->wall_ms(broker->env) & MPS_NUMBER_MAX;
    uint64_t due_ms = expires_ms == UINT64_MAX ? 0 : wall_ms + (expires_ms - broker->now_ms);
    mps_put_uint(out, due_ms <= MPS_NUMBER_MAX ? due_ms : 0); /* in a hundred thousand years: never */
    mps_put_bin(out, frame);
    origin_put(out, origin);
}

struct kept *retained_record(struct broker *broker, mps_view topic, mps_view frame, uint64_t expires_ms,
                             const struct origin *origin, uint64_t revision)
{
    uint32_t cap = retained_put_most(frame) + 16;
    uint8_t *room = sure_if_small(cap);
    if (room == NULL) return NULL;
    struct mps_out out = mps_out_open(room, cap);
    mps_put_array(&out, 4 + (revision > 0));
    retained_put(&out, broker, frame, expires_ms, origin);
    if (revision > 0) mps_put_uint(&out, revision);
    struct kept *kept = keep_prepare(RECORD_RETAINED, topic, mps_out_view(&out));
    free(room);
    return kept;
}

void retained_forget(struct broker *broker, mps_view topic)
{
    uint8_t room[MPS_TOPIC_MAX]; /* the topic may be that of the value that goes */
    memcpy(room, topic.ptr, topic.len);
    topic.ptr = room;
    if (retained_clear(&broker->retained, topic)) keep_remove(broker, RECORD_RETAINED, topic);
}

static struct stream *stream_by_name(const struct broker *broker, const char *name, bool is_shared)
{
    for (uint32_t i = 0; i < broker->streams_count; i++)
        if (broker->streams[i]->is_shared == is_shared && strcmp(broker->streams[i]->name, name) == 0)
            return broker->streams[i];
    return NULL;
}

static struct stream *new_shared(struct broker *broker, const char *name)
{
    struct stream *stream = stream_new(broker, stream_shared_number(name), mps_text(name));
    stream->is_shared = true;
    return stream;
}

/* The stream that its readers' places are of. */
static bool load_identity(struct broker *broker, mps_view name, uint64_t identity)
{
    char text[STORE_KEY_MAX + 1];
    if (name.len == 0 || name.len > STORE_KEY_MAX || memchr(name.ptr, '\0', name.len) != NULL) return false;
    snprintf(text, sizeof text, "%.*s", (int)name.len, (const char *)name.ptr);
    if (stream_by_number(broker, stream_shared_number(text)) != NULL) return false;
    new_shared(broker, text)->identity = identity;
    return true;
}

static bool load_meta(struct broker *broker, mps_view key, mps_view value)
{
    struct mps_reader r = mps_reader_open(value);
    uint32_t prefix_len = (uint32_t)strlen(IDENTITY_KEY);
    bool is_identity = key.len > prefix_len && memcmp(key.ptr, IDENTITY_KEY, prefix_len) == 0;
    uint64_t number = mps_read_uint(&r, is_identity ? UINT64_MAX : MPS_NUMBER_MAX, "number");
    if (r.bad != NULL) return false;
    if (is_identity) return load_identity(broker, (mps_view){key.ptr + prefix_len, key.len - prefix_len}, number);
    broker->epoch = number;
    return true;
}

static bool load_stream(struct broker *broker, mps_view name, mps_view value)
{
    struct mps_reader r = mps_reader_open(value);
    mps_read_array(&r, "stream");
    uint64_t number = mps_read_uint(&r, STORE_STREAM_FIRST + STORE_STREAMS_MAX - 1, "number");
    uint64_t next = mps_read_uint(&r, MPS_NUMBER_MAX, "next");
    if (r.bad != NULL || number < STORE_STREAM_FIRST || stream_by_number(broker, number) != NULL) return false;
    struct stream *stream = stream_new(broker, (uint32_t)number, name);
    stream->first = stream->stored = stream->next = next;
    return true;
}

static bool load_retained(struct broker *broker, mps_view topic, mps_view value)
{
    struct mps_reader r = mps_reader_open(value);
    uint32_t fields = mps_read_array(&r, "retained");
    uint64_t expires_ms = mps_read_uint(&r, MPS_NUMBER_MAX, "expiry");
    mps_view frame = mps_read_bin(&r, "frame");
    uint64_t wall_ms = broker->env->wall_ms(broker->env);
    if (r.bad != NULL || frame.len == 0 || mps_topic_error(topic) != NULL) return false;
    if (expires_ms > 0 && expires_ms <= wall_ms) {
        keep_remove(broker, RECORD_RETAINED, topic);
        return true;
    }
    uint64_t due_ms = expires_ms > 0 ? broker->now_ms + (expires_ms - wall_ms) : UINT64_MAX;
    struct retained_value *kept = retained_set(&broker->retained, topic, frame, due_ms, UINT64_MAX);
    if (kept == NULL) return false;
    kept->is_kept = true;
    kept->origin = fields >= 4 ? origin_read(&r) : NULL;
    kept->revision = fields >= 5 ? mps_read_uint(&r, MPS_NUMBER_MAX, "revision") : 0;
    return true;
}

static bool load_record(struct broker *broker, uint32_t kind, mps_view key, mps_view value)
{
    switch ((enum record_kind)kind) {
    case RECORD_META: return load_meta(broker, key, value);
    case RECORD_STREAM: return load_stream(broker, key, value);
    case RECORD_SESSION: return session_load(broker, key, value);
    case RECORD_SUBSCRIPTION: return subscription_load(broker, key, value);
    case RECORD_CURSOR: return cursor_load(broker, key, value);
    case RECORD_RETAINED: return load_retained(broker, key, value);
    case RECORD_WILL: return will_load(broker, key, value);
    case RECORD_PUBLISHER: return pids_load(broker, key, value);
    }
    return false;
}

/* A record that can be understood only when the streams are known, and what is in them. */
struct later {
    struct later *next;
    uint32_t kind, key_len, value_len;
    uint8_t bytes[]; /* key, then value */
};

struct loading {
    struct broker *broker;
    struct later *first, *last;
};

static void take_record(struct broker *broker, uint32_t kind, mps_view key, mps_view value)
{
    if (load_record(broker, kind, key, value)) return;
    log_say(broker, EVENT_STORE_DAMAGED, NULL, "a record of kind %u in the store means nothing and is ignored", kind);
}

static void take_later(struct loading *loading, uint32_t kind, mps_view key, mps_view value)
{
    struct later *later =
        sure_alloc(sizeof *later + key.len + value.len); /* at the start; the record itself will take as much */
    *later = (struct later){.kind = kind, .key_len = key.len, .value_len = value.len};
    if (key.len > 0) memcpy(later->bytes, key.ptr, key.len);
    if (value.len > 0) memcpy(later->bytes + key.len, value.ptr, value.len);
    if (loading->last != NULL) loading->last->next = later;
    else loading->first = later;
    loading->last = later;
}

static void take_rest(struct loading *loading)
{
    for (struct later *later; (later = loading->first) != NULL; free(later)) {
        loading->first = later->next;
        mps_view key = {later->bytes, later->key_len}, value = {later->bytes + later->key_len, later->value_len};
        take_record(loading->broker, later->kind, key, value);
    }
}

static void free_rest(struct loading *loading)
{
    for (struct later *later; (later = loading->first) != NULL; free(later)) loading->first = later->next;
}

static void on_record(void *arg, uint32_t kind, mps_view key, mps_view value)
{
    struct loading *loading = arg;
    bool waits = kind > RECORD_STREAM && kind != RECORD_RETAINED;
    if (waits) take_later(loading, kind, key, value);
    else take_record(loading->broker, kind, key, value);
}

static void on_damaged(void *arg, const char *text)
{
    log_say(((struct loading *)arg)->broker, EVENT_STORE_DAMAGED, NULL, "%s", text);
}

/* How old it is by the wall's clock; what seems to come from the future has come now. */
static void on_block(void *arg, const struct store_block *block)
{
    struct broker *broker = ((struct loading *)arg)->broker;
    struct stream *stream = stream_by_number(broker, block->stream);
    char name[32];
    if (stream == NULL) { /* its record is damaged: the messages are not lost, only its name is */
        snprintf(name, sizeof name, "stream-%u", block->stream);
        stream = stream_new(broker, block->stream, mps_text(name));
    }
    if (stream->extents_count == 0) stream->first = block->first;
    int64_t age_ms = (int64_t)(broker->env->wall_ms(broker->env) - block->time_ms);
    int64_t came_ms = (int64_t)broker->now_ms - (age_ms > 0 ? age_ms : 0);
    stream_note_block(stream, block, came_ms, came_ms);
}

/* ---- configuration ------------------------------------------------------------------------------------------ */

static int pattern_error(const struct stream_config *config, const char *pattern, char *text, size_t text_cap)
{
    mps_view view = mps_text(pattern);
    const char *wrong = mps_pattern_error(view);
    if (wrong == NULL && pattern[0] == '$' && !mps_pattern_covers(mps_text("$dead/#"), view))
        wrong = "of topics whose first level begins with '$' only those under $dead can be kept";
    if (wrong == NULL) return 0;
    snprintf(text, text_cap, "bad pattern '%s' of stream '%s': %s", printable(view), config->name, wrong);
    return -1;
}

static uint32_t free_number(const struct broker *broker)
{
    uint32_t number = STORE_STREAM_FIRST;
    for (uint32_t i = 0; i < broker->streams_count; i++)
        if (!broker->streams[i]->is_shared && broker->streams[i]->number >= number)
            number = broker->streams[i]->number + 1;
    return number;
}

static mps_view copy_text(const char *text)
{
    char *own = sure_text(text);
    return mps_text(own);
}

static uint64_t limit_of(uint64_t configured)
{
    return configured > 0 ? configured : UINT64_MAX;
}

static void configure(struct stream *stream, const struct stream_config *config)
{
    stream->is_configured = true;
    stream->max_bytes = limit_of(config->max_bytes);
    stream->max_msgs = limit_of(config->max_msgs);
    stream->max_age_ms = limit_of(config->max_age_ms);
    stream->refuses = config->refuses;
    stream->replicas = config->replicas;
    stream->patterns = sure_zeroed(config->patterns_count * sizeof stream->patterns[0]); /* at the start, small */
    for (size_t i = 0; i < config->patterns_count; i++) stream->patterns[i] = copy_text(config->patterns[i]);
    stream->patterns_count = (uint32_t)config->patterns_count;
}

/* The configured ones in their order, then the others. */
static void put_in_place(struct broker *broker, struct stream *stream, uint32_t place)
{
    uint32_t at = 0;
    while (broker->streams[at] != stream) at++;
    memmove(broker->streams + place + 1, broker->streams + place, (at - place) * sizeof broker->streams[0]);
    broker->streams[place] = stream;
}

/* NULL: it can't be, and text says why. */
static struct stream *own_stream(struct broker *broker, const char *name, char *text, size_t text_cap)
{
    struct stream *stream = stream_by_name(broker, name, false);
    uint32_t number = free_number(broker);
    if (broker->commit.store == NULL) {
        snprintf(text, text_cap, "there is no store for stream '%s'", name);
    } else if (stream == NULL && number >= STORE_STREAM_FIRST + STORE_STREAMS_MAX) {
        snprintf(text, text_cap, "there is no number left for stream '%s': the store knows %u streams", name,
                 STORE_STREAMS_MAX);
    } else {
        return stream != NULL ? stream : stream_new(broker, number, mps_text(name));
    }
    return NULL;
}

static struct stream *shared_stream(struct broker *broker, const char *name, char *text, size_t text_cap)
{
    struct stream *stream = stream_by_number(broker, stream_shared_number(name));
    if (stream == NULL) return new_shared(broker, name);
    if (strcmp(stream->name, name) == 0) return stream;
    snprintf(text, text_cap, "the shared streams '%s' and '%s' would both have the number %u: rename one of them",
             stream->name, name, stream->number);
    return NULL;
}

/* What an earlier configuration shared is the others' business. */
static void forget_shared(struct broker *broker)
{
    char key[STORE_KEY_MAX];
    for (uint32_t i = broker->streams_count; i > 0; i--) {
        struct stream *stream = broker->streams[i - 1];
        if (!stream->is_shared || stream->is_configured) continue;
        keep_remove(broker, RECORD_META, identity_key(stream, key));
        stream_delete(stream);
    }
}

static void note_ack_level(struct broker *broker)
{
    if (broker->streams_count > 0) broker->ack_level = 2;
    for (uint32_t i = 0; i < broker->streams_count; i++)
        if (broker->streams[i]->is_shared && broker->streams[i]->replicas > 1) broker->ack_level = 3;
}

static int configure_all(struct broker *broker, const struct stream_config *streams, size_t count, char *text,
                         size_t text_cap)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t p = 0; p < streams[i].patterns_count; p++)
            if (pattern_error(&streams[i], streams[i].patterns[p], text, text_cap) != 0) return -1;
        struct stream *stream = streams[i].is_shared ? shared_stream(broker, streams[i].name, text, text_cap)
                                                     : own_stream(broker, streams[i].name, text, text_cap);
        if (stream == NULL) return -1;
        configure(stream, &streams[i]);
        put_in_place(broker, stream, (uint32_t)i);
        if (stream->is_shared) continue;
        stream_keep(stream);
        stream_retain(stream);
    }
    forget_shared(broker);
    note_ack_level(broker);
    return 0;
}

static void keep_epoch(struct broker *broker)
{
    uint8_t room[16];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_uint(&out, broker->epoch);
    keep_put(broker, RECORD_META, mps_text("epoch"), mps_out_view(&out));
}

void epoch_renew(struct broker *broker)
{
    uint64_t before = broker->epoch;
    while (broker->epoch == before) {
        broker->env->random(broker->env, &broker->epoch, sizeof broker->epoch);
        broker->epoch &= MPS_NUMBER_MAX;
    }
    keep_epoch(broker);
}

int broker_open_store(struct broker *broker, struct store *store, const struct stream_config *streams, size_t count,
                      char *text, size_t text_cap)
{
    char why[STORE_TEXT_MAX];
    struct loading loading = {.broker = broker};
    struct store_visitor visitor = {.record = on_record, .block = on_block, .damaged = on_damaged, .arg = &loading};
    if (store == NULL) return configure_all(broker, streams, count, text, text_cap);
    broker->commit.store = store;
    broker->keeps = true;
    store->events = (struct store_events){.committed = commit_done, .read_done = chunk_read_done, .arg = broker};
    int result = store->load(store, &visitor, why);
    if (result != 0) snprintf(text, text_cap, "%s", why);
    else result = configure_all(broker, streams, count, text, text_cap);
    if (result != 0) {
        free_rest(&loading);
        return -1;
    }
    take_rest(&loading);
    keep_epoch(broker);
    sessions_loaded(broker);
    identity_begin_recheck(broker);
    return 0;
}

void broker_poll_store(struct broker *broker)
{
    struct store *store = broker->commit.store;
    if (store == NULL) return;
    broker->now_ms = broker->env->now_ms(broker->env);
    store->poll(store);
}
