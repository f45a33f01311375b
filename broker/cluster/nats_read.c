/* What is in a stream. A consumer is pulled from: who reads on where another read has ended, as replays do, pays one
 * message to the server and back for each block, and nothing for what had been sent already. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nats_json.h"
#include "nats_storing.h"

#define PULL_MOST 8192u    /* messages at a time */
#define PULL_OVERHEAD 200u /* bytes that a message has beside its frame, roughly: JetStream counts them */
#define EMPTY_MOST 5u
#define EMPTY_WAIT_MS 100u
#define IDLE_NS UINT64_C(60000000000) /* a consumer that nobody pulls from goes */

/* ---- a read is over ----------------------------------------------------------------------------------------- */

static void tell(struct nats_storing *storing, struct store_read *read)
{
    storing_tell(storing, EVENT_READ, 0)->read = read;
}

void read_failed(struct nats_storing *storing, struct store_read *read, const char *text)
{
    read->code = STORE_FAILED;
    free(read->bytes);
    read->bytes = NULL;
    read->block = (struct store_block){0};
    read->damaged_first = read->damaged_last = 0;
    snprintf(read->text, sizeof read->text, "%s", text);
    tell(storing, read);
}

static void drop_first(struct cursor *cursor)
{
    struct held *held = cursor->first;
    cursor->first = held->next;
    if (cursor->first == NULL) cursor->last = NULL;
    cursor->held_bytes -= held->len;
    free(held);
}

/* Nothing is left of it. Its consumer goes by itself. */
static void forget(struct nats_stream *stream, struct cursor *cursor, const char *why)
{
    struct store_read *read = cursor->read;
    while (cursor->first != NULL) drop_first(cursor);
    *cursor = (struct cursor){0};
    if (read != NULL) read_failed(stream->storing, read, why);
}

static void delete_consumer(struct nats_stream *stream, const struct cursor *cursor)
{
    char name[64], subject[NAME_MAX_BYTES + 128];
    consumer_name(stream->storing, 'r', stream->index, cursor->number, name, sizeof name);
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DELETE.%s.%s", stream->name, name);
    js_ask(stream, subject, "");
}

static void forget_and_delete(struct nats_stream *stream, struct cursor *cursor, const char *why)
{
    delete_consumer(stream, cursor);
    forget(stream, cursor, why);
}

void cursors_forget(struct nats_stream *stream)
{
    for (uint32_t i = 0; i < CURSORS; i++) forget(stream, &stream->cursors[i], "the shared stream was made anew");
}

void reads_disconnected(struct nats_stream *stream)
{
    for (uint32_t i = 0; i < CURSORS; i++)
        forget(stream, &stream->cursors[i], "there is no connection to a server of the cluster");
}

/* ---- from what is held to a block --------------------------------------------------------------------------- */

static bool joins(const struct store_read *read, const struct held *held)
{
    const struct store_block *block = &read->block;
    return !held->is_damaged && held->position == block->first + block->count && held->position < read->end &&
           held->time_ms >= block->time_ms && held->time_ms - block->time_ms < STORE_MERGE_MS &&
           (uint64_t)block->len + held->len <= read->bytes_most;
}

static void pass_over_damaged(struct cursor *cursor, struct store_read *read)
{
    while (cursor->first != NULL && cursor->first->is_damaged && cursor->first->position < read->end) {
        if (read->damaged_first == 0) read->damaged_first = cursor->first->position;
        read->damaged_last = cursor->first->position;
        cursor->at = cursor->first->position + 1;
        drop_first(cursor);
    }
}

static void take_first(struct cursor *cursor, struct store_read *read)
{
    struct held *held = cursor->first;
    struct store_block *block = &read->block;
    memcpy(read->bytes + block->len, held->bytes, held->len);
    block->len += held->len;
    block->count++;
    if (held->expires_ms != 0 && (block->expires_ms == 0 || held->expires_ms < block->expires_ms))
        block->expires_ms = held->expires_ms;
    cursor->at = held->position + 1;
    drop_first(cursor);
}

static void fill(struct nats_stream *stream, struct cursor *cursor, struct store_read *read)
{
    struct held *first = cursor->first;
    if (first == NULL || first->position >= read->end) return;
    uint64_t room = cursor->held_bytes < read->bytes_most ? cursor->held_bytes : read->bytes_most;
    read->bytes = sure(malloc(room > first->len ? room : first->len));
    read->block =
        (struct store_block){.stream = stream->config.number, .first = first->position, .time_ms = first->time_ms};
    do take_first(cursor, read);
    while (cursor->first != NULL && joins(read, cursor->first));
    uint8_t *exact = realloc(read->bytes, read->block.len);
    if (exact != NULL) read->bytes = exact;
    read->block.bytes = read->bytes;
}

/* With what there is. */
static void finish(struct nats_stream *stream, struct cursor *cursor)
{
    struct store_read *read = cursor->read;
    cursor->read = NULL;
    cursor->state = CURSOR_IDLE;
    fill(stream, cursor, read);
    tell(stream->storing, read);
}

/* ---- what is asked of JetStream ------------------------------------------------------------------------------- */

static uint32_t pull_bytes(const struct store_read *read)
{
    return read->bytes_most < (4u << 20) ? 3 * read->bytes_most + 4096 : 12u << 20;
}

static void pull(struct nats_stream *stream, struct cursor *cursor)
{
    char name[64], subject[NAME_MAX_BYTES + 128], body[160];
    uint64_t count = cursor->was_too_long ? 1 : PULL_MOST;
    if (count > cursor->pending) count = cursor->pending;
    consumer_name(stream->storing, 'r', stream->index, cursor->number, name, sizeof name);
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", stream->name, name);
    if (cursor->was_too_long) snprintf(body, sizeof body, "{\"batch\":1,\"no_wait\":true}");
    else
        snprintf(body, sizeof body, "{\"batch\":%" PRIu64 ",\"max_bytes\":%" PRIu32 ",\"no_wait\":true}", count,
                 pull_bytes(cursor->read));
    /* Its answers are not one, and are looked up by this serial (cursor_status). */
    cursor->pulled = js_ask(stream, subject, body)->serial;
    cursor->left = count;
    cursor->was_too_long = false;
    cursor->state = CURSOR_PULLING;
    cursor->due_ms = nats_now_ms() + ANSWER_MS;
}

static bool holds_enough(const struct cursor *cursor)
{
    const struct held *first = cursor->first;
    return first != NULL && (!first->is_damaged || first->position >= cursor->read->end);
}

/* Nothing is there, below what a tail has shown. It was deleted, or the replica that the consumer is on lags behind: it
 * is looked again for a while. */
static void wait_for_replica(struct cursor *cursor)
{
    cursor->empty++;
    cursor->pending = PULL_MOST;
    cursor->state = CURSOR_WAITING;
    cursor->due_ms = nats_now_ms() + EMPTY_WAIT_MS;
}

/* Its copy may differ from the leader's. */
static bool is_elsewhere(const struct nats_stream *stream, const struct cursor *cursor)
{
    return stream->leader != 0 && cursor->host != 0 && cursor->host != stream->leader;
}

/* The read is answered, or more is fetched. */
static void go_on(struct nats_stream *stream, struct cursor *cursor)
{
    pass_over_damaged(cursor, cursor->read);
    if (holds_enough(cursor) || cursor->at >= cursor->read->end) finish(stream, cursor);
    else if (cursor->pending > 0) pull(stream, cursor);
    else if (cursor->empty < EMPTY_MOST) wait_for_replica(cursor);
    else if (!is_elsewhere(stream, cursor)) finish(stream, cursor);
    else forget_and_delete(stream, cursor, "the server that was read from does not have what the others have");
}

static struct cursor *cursor_of(struct nats_stream *stream, uint64_t number)
{
    for (uint32_t i = 0; i < CURSORS; i++)
        if (stream->cursors[i].state != CURSOR_NONE && stream->cursors[i].number == number) return &stream->cursors[i];
    return NULL;
}

static void make(struct nats_stream *stream, struct cursor *cursor, uint64_t from);

/* JetStream puts a consumer on any server that has the stream, and can't be told which. */
static void go_to_leader(struct nats_stream *stream, struct cursor *cursor)
{
    if (cursor->tries == stream->storing->leader_tries) {
        forget_and_delete(stream, cursor, "JetStream does not let the shared stream be read where it is led");
        return;
    }
    cursor->tries++;
    delete_consumer(stream, cursor);
    make(stream, cursor, cursor->at);
}

static void made(struct nats_stream *stream, const struct js_request *request, mps_view answer)
{
    struct cursor *cursor = cursor_of(stream, request->about);
    char text[STORE_TEXT_MAX], why[160];
    if (cursor == NULL || cursor->state != CURSOR_MAKING) return;
    if (answer.ptr != NULL && json_find(answer, "error").ptr == NULL) {
        cursor->host = leader_of(answer);
        if (is_elsewhere(stream, cursor)) {
            go_to_leader(stream, cursor);
            return;
        }
        cursor->tries = 0;
        cursor->pending = json_uint(answer, "num_pending", 0);
        go_on(stream, cursor);
        return;
    }
    json_text(answer, "error.description", why, sizeof why);
    snprintf(text, sizeof text, "the shared stream %.80s can't be read: %s", stream->config.name,
             why[0] != '\0' ? why : "JetStream does not answer");
    forget_and_delete(stream, cursor, text);
}

static void make(struct nats_stream *stream, struct cursor *cursor, uint64_t from)
{
    char name[64], subject[NAME_MAX_BYTES + 128], body[NAME_MAX_BYTES + 400];
    cursor->number = ++stream->storing->serial;
    cursor->at = from;
    cursor->consumer_next = 1;
    cursor->is_fresh = true;
    cursor->state = CURSOR_MAKING;
    consumer_name(stream->storing, 'r', stream->index, cursor->number, name, sizeof name);
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.CREATE.%s.%s", stream->name, name);
    snprintf(body, sizeof body,
             "{\"stream_name\":\"%s\",\"config\":{\"name\":\"%s\",\"deliver_policy\":\"by_start_sequence\","
             "\"opt_start_seq\":%" PRIu64 ",\"ack_policy\":\"none\",\"mem_storage\":true,\"num_replicas\":1,"
             "\"inactive_threshold\":%" PRIu64 "}}",
             stream->name, name, from, IDLE_NS);
    struct js_request *request = js_ask(stream, subject, body);
    request->done = made;
    request->about = cursor->number;
    cursor->due_ms = nats_now_ms() + 2 * ANSWER_MS; /* made() comes before */
}

/* ---- what comes back ---------------------------------------------------------------------------------------- */

void cursor_message(struct nats_stream *stream, uint64_t number, const struct delivery *delivery, mps_view body)
{
    struct cursor *cursor = cursor_of(stream, number);
    if (cursor == NULL || cursor->state != CURSOR_PULLING) return;
    if (delivery->number != cursor->consumer_next || delivery->position < cursor->at) {
        forget_and_delete(stream, cursor, "messages that were read from the cluster did not come");
        return;
    }
    cursor->consumer_next++;
    cursor->pending = delivery->pending;
    cursor->due_ms = nats_now_ms() + ANSWER_MS;
    struct held *held = sure(calloc(1, sizeof *held + body.len));
    held->position = delivery->position;
    held->time_ms = delivery->time_ms;
    held->is_damaged = !frame_is_sound(body, delivery->time_ms, &held->expires_ms);
    held->len = held->is_damaged ? 0 : body.len;
    if (held->len > 0) memcpy(held->bytes, body.ptr, held->len);
    if (cursor->last != NULL) cursor->last->next = held;
    else cursor->first = held;
    cursor->last = held;
    cursor->held_bytes += held->len;
    if (--cursor->left == 0 || delivery->pending == 0) go_on(stream, cursor);
}

/* 404: there is nothing more; 408, 409: it is over, as the next one would be too much, or the consumer is gone. */
void cursor_status(struct nats_storing *storing, uint64_t serial, natsMsg *message)
{
    for (struct nats_stream *stream = storing->streams; stream != NULL; stream = stream->next) {
        for (uint32_t i = 0; i < CURSORS; i++) {
            struct cursor *cursor = &stream->cursors[i];
            const char *status = NULL, *why = NULL;
            if (cursor->state != CURSOR_PULLING || cursor->pulled != serial) continue;
            if (natsMsgHeader_Get(message, "Status", &status) != NATS_OK) return;
            natsMsgHeader_Get(message, "Description", &why);
            if (strcmp(status, "404") == 0) cursor->pending = 0;
            if (strcmp(status, "404") == 0 || cursor->first != NULL) {
                go_on(stream, cursor);
            } else if (strcmp(status, "409") == 0 && why != NULL && strstr(why, "MaxBytes") != NULL) {
                cursor->was_too_long = true;
                go_on(stream, cursor);
            } else if (!cursor->is_fresh) {
                make(stream, cursor, cursor->at);
            } else {
                forget(stream, cursor, "the server has lost what reads the shared stream");
            }
            return;
        }
    }
}

/* ---- which consumer reads ------------------------------------------------------------------------------------- */

/* NULL: all are busy. */
static struct cursor *cursor_for(struct nats_stream *stream, uint64_t from)
{
    struct cursor *best = NULL;
    for (uint32_t i = 0; i < CURSORS; i++) {
        struct cursor *cursor = &stream->cursors[i];
        if (cursor->state == CURSOR_IDLE && is_elsewhere(stream, cursor)) forget_and_delete(stream, cursor, "");
        if (cursor->state == CURSOR_IDLE && cursor->at == from) return cursor;
        if (cursor->state != CURSOR_NONE && cursor->state != CURSOR_IDLE) continue;
        if (best == NULL || cursor->used_ms < best->used_ms) best = cursor;
    }
    if (best != NULL && best->state == CURSOR_IDLE) forget_and_delete(stream, best, "");
    return best;
}

static struct nats_stream *stream_of(const struct nats_storing *storing, uint32_t number)
{
    struct nats_stream *stream = storing->streams;
    while (stream != NULL && (stream->is_bucket || stream->config.number != number)) stream = stream->next;
    return stream;
}

/* False: it has to wait. */
static bool begin(struct nats_storing *storing, struct store_read *read, uint64_t now_ms)
{
    struct nats_stream *stream = stream_of(storing, read->stream);
    if (stream == NULL || !stream->is_there) {
        char text[STORE_TEXT_MAX];
        snprintf(text, sizeof text, "the shared stream %.80s is away", stream != NULL ? stream->config.name : "");
        read_failed(storing, read, text);
        return true;
    }
    if (read->from >= read->end) {
        tell(storing, read);
        return true;
    }
    struct cursor *cursor = cursor_for(stream, read->from);
    if (cursor == NULL) return false;
    bool is_new = cursor->state == CURSOR_NONE;
    cursor->read = read;
    cursor->used_ms = now_ms;
    cursor->is_fresh = false;
    cursor->empty = 0;
    if (cursor->pending == 0) cursor->pending = PULL_MOST; /* there may be more by now */
    if (is_new) make(stream, cursor, read->from);
    else go_on(stream, cursor);
    return true;
}

void reads_work(struct nats_storing *storing, struct round *round)
{
    for (struct store_read **at = &storing->reads; *at != NULL;) {
        struct store_read *read = *at, *next = read->next;
        read->next = NULL;
        if (begin(storing, read, round->now_ms)) {
            *at = next;
        } else {
            read->next = next;
            at = &read->next;
        }
    }
    for (struct nats_stream *stream = storing->streams; stream != NULL; stream = stream->next) {
        for (uint32_t i = 0; i < CURSORS; i++) {
            struct cursor *cursor = &stream->cursors[i];
            if (cursor->read == NULL) continue;
            if (cursor->due_ms > round->now_ms) round_again(round, cursor->due_ms);
            else if (cursor->state == CURSOR_WAITING) pull(stream, cursor);
            else forget_and_delete(stream, cursor, "JetStream did not send what was to be read in time");
        }
    }
}
