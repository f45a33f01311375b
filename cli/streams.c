#include "streams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "value.h"

#define BROKER "$SYS/broker"
#define STREAMS "$SYS/stream/+"
#define ANSWER_MS 5000 /* it is said within a second to who asks */

/* ---- one stream ---- */

static mps_view field(mps_view document, const char *name)
{
    return mps_document_find(document, name, strlen(name));
}

static uint64_t number_of(mps_view document, const char *name)
{
    mps_view raw = field(document, name);
    struct mps_head head;
    if (!raw.ptr || mps_head_read(raw.ptr, raw.len, &head) != 1 || head.type != MPS_UINT) return 0;
    return head.number;
}

static bool is_true(mps_view document, const char *name, bool otherwise)
{
    mps_view raw = field(document, name);
    struct mps_head head;
    if (!raw.ptr || mps_head_read(raw.ptr, raw.len, &head) != 1 || head.type != MPS_BOOL) return otherwise;
    return head.boolean;
}

/* The body of a str; the absent view for anything else. */
static mps_view text_of(mps_view raw)
{
    struct mps_head head;
    if (!raw.ptr || mps_head_read(raw.ptr, raw.len, &head) != 1 || head.type != MPS_STR) return (mps_view){NULL, 0};
    return (mps_view){raw.ptr + head.head_len, head.count};
}

static char *copy_text(mps_view text)
{
    char *copy = strndup((const char *)text.ptr, text.len);
    if (copy) return copy;
    complain("out of memory");
    exit(CLI_EXIT_ERROR);
}

bool stream_decode(struct stream *stream, mps_view document)
{
    if (mps_document_check(document, 0, 0)) return false;
    mps_view name = text_of(field(document, "name"));
    if (!name.ptr || !mps_utf8_valid(name) || number_of(document, "stream") == 0) return false;
    *stream = (struct stream){
        .name = copy_text(name),
        .number = number_of(document, "stream"),
        .first = number_of(document, "first"),
        .next = number_of(document, "next"),
        .messages = number_of(document, "messages"),
        .bytes = number_of(document, "bytes"),
        .max_bytes = number_of(document, "max_bytes"),
        .max_msgs = number_of(document, "max_msgs"),
        .max_age_ms = number_of(document, "max_age_ms"),
        .oldest_ms = number_of(document, "oldest_ms"),
        .readers = number_of(document, "readers"),
        .damaged = number_of(document, "damaged"),
        .unstored = number_of(document, "unstored"),
        .refuses = mps_view_equal(text_of(field(document, "full")), mps_text("refuse")),
        .away = !is_true(document, "there", true),
        .configured = is_true(document, "configured", true),
    };
    buffer_append(&stream->document, document.ptr, document.len);
    return true;
}

void stream_free(struct stream *stream)
{
    free(stream->name);
    buffer_free(&stream->document);
}

static mps_view document_of(const struct stream *stream)
{
    return (mps_view){stream->document.data, (uint32_t)stream->document.len};
}

mps_view stream_pattern(const struct stream *stream, size_t *at)
{
    char path[48];
    snprintf(path, sizeof path, "patterns[%zu]", (*at)++);
    return text_of(field(document_of(stream), path));
}

bool stream_meets(const struct stream *stream, mps_view pattern)
{
    size_t at = 0;
    mps_view own;
    while ((own = stream_pattern(stream, &at)).ptr) {
        if (!mps_pattern_error(own) && mps_patterns_overlap(own, pattern)) return true;
    }
    return false;
}

/* ---- all of them ---- */

struct question {
    struct link link;
    struct streams *streams;
    bool counted; /* the broker has said how many there are */
    uint64_t count;
    int refused; /* exit code; complained */
};

static int by_number(const void *a, const void *b)
{
    const struct stream *one = a, *other = b;
    return (one->number > other->number) - (one->number < other->number);
}

/* A stream that was known already is told once more; the newer map holds. */
static void take_stream(struct streams *streams, mps_view document)
{
    struct stream stream;
    if (!stream_decode(&stream, document)) return;
    for (size_t i = 0; i < streams->count; i++) {
        if (streams->list[i].number != stream.number) continue;
        stream_free(&streams->list[i]);
        streams->list[i] = stream;
        return;
    }
    struct stream *list = realloc(streams->list, (streams->count + 1) * sizeof *list);
    if (!list) {
        complain("out of memory");
        exit(CLI_EXIT_ERROR);
    }
    list[streams->count++] = stream;
    streams->list = list;
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client;
    struct question *question = ((struct link *)user)->owner;
    mps_view document = {message->payload, (uint32_t)message->payload_len};
    mps_view topic = {(const uint8_t *)message->topic, (uint32_t)message->topic_len};
    if (!mps_view_equal(topic, mps_text(BROKER))) {
        take_stream(question->streams, document);
    } else if (!mps_document_check(document, 0, 0)) {
        question->counted = true;
        question->count = number_of(document, "streams");
    }
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    struct question *question = ((struct link *)user)->owner;
    complain("%s", refusal->text);
    question->refused = exit_code_of_refusal(refusal->code);
}

static int subscribe(struct question *question, const char *pattern)
{
    const struct pubsub_subscribe_options options = {
        .max_msgs = UINT64_MAX,
        .retained = 2,
        .on_message = on_message,
        .user = &question->link,
    };
    return link_subscribed(&question->link, pattern, pubsub_subscribe(question->link.client, pattern, &options, NULL));
}

static int wait_for_all(struct question *question)
{
    uint64_t end_ns = now_ns() + UINT64_C(1000000) * ANSWER_MS;
    while (!question->counted || question->streams->count < question->count) {
        int64_t left = ms_until(end_ns);
        if (left == 0) {
            complain("the broker did not say within %d s which streams it has; it never does with sys_interval = 0",
                     ANSWER_MS / 1000);
            return CLI_EXIT_TIME;
        }
        int result = link_step(&question->link, NULL, 0, left);
        if (result == LINK_OVER) return CLI_EXIT_LOST;
        if (result != CLI_EXIT_DONE) return result;
        if (question->refused) return question->refused;
    }
    return CLI_EXIT_DONE;
}

int streams_read(struct streams *streams, const struct connection_options *connection)
{
    struct question question = {.link = {.owner = &question}, .streams = streams};
    struct pubsub_options client = {.no_reconnect = true, .on_refusal = on_refusal};
    /* Whoever asks with the name of a client that is connected would end that. */
    struct connection_options nameless = *connection;
    nameless.client_id = NULL;
    int result = link_open(&question.link, &nameless, &client);
    if (result == CLI_EXIT_DONE) result = subscribe(&question, BROKER);
    if (result == CLI_EXIT_DONE) result = subscribe(&question, STREAMS);
    if (result == CLI_EXIT_DONE) result = wait_for_all(&question);
    link_close(&question.link, 0);
    if (streams->count > 1) qsort(streams->list, streams->count, sizeof *streams->list, by_number);
    return result;
}

void streams_free(struct streams *streams)
{
    for (size_t i = 0; i < streams->count; i++) stream_free(&streams->list[i]);
    free(streams->list);
    *streams = (struct streams){0};
}

static bool is_number(const struct stream *stream, const char *name, size_t len)
{
    char number[24];
    int digits = snprintf(number, sizeof number, "%llu", (unsigned long long)stream->number);
    return (size_t)digits == len && memcmp(number, name, len) == 0;
}

const struct stream *streams_find(const struct streams *streams, const char *name, size_t len)
{
    for (size_t i = 0; i < streams->count; i++) {
        const struct stream *stream = &streams->list[i];
        if (strlen(stream->name) == len && memcmp(stream->name, name, len) == 0) return stream;
    }
    for (size_t i = 0; i < streams->count; i++) {
        if (is_number(&streams->list[i], name, len)) return &streams->list[i];
    }
    return NULL;
}
