#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory_bus.h"

#define TAIL_COUNT 64u /* messages of a block at most */
#define TELL_MS 1000u  /* so often it is told how far a stream is, when that changes */

/* ---- blocks ------------------------------------------------------------------------------------------------- */

static bool joins(const struct store_block *block, const struct kept_message *message)
{
    return message != NULL && message->time_ms >= block->time_ms && message->time_ms - block->time_ms < STORE_MERGE_MS;
}

/* Unix time when it expires; 0: never. */
static uint64_t expiry_of(const struct kept_message *message)
{
    struct mps_msg msg;
    const char *what;
    mps_view frame = {message->bytes, message->len};
    if (mps_decode_msg(frame, &msg, &what) != MPS_OK || msg.props.ptr == NULL) return 0;
    mps_view ttl = mps_props_find(msg.props, MPS_PROP_TTL_MS);
    if (ttl.ptr == NULL) return 0;
    struct mps_reader r = mps_reader_open(ttl);
    return message->time_ms + mps_read_uint(&r, MPS_NUMBER_MAX, "ttl");
}

static uint64_t sooner(uint64_t a_ms, uint64_t b_ms) /* 0: never */
{
    if (a_ms == 0 || b_ms == 0) return a_ms + b_ms;
    return a_ms < b_ms ? a_ms : b_ms;
}

/* What begins at this position or behind it, below end: consecutive ones. .count 0: there are none. .bytes is
 * malloc'ed. */
static struct store_block gathered(const struct shared_stream *shared, uint64_t from, uint64_t end, uint32_t count_most,
                                   uint32_t bytes_most)
{
    if (from < shared->first) from = shared->first;
    if (end > shared->next) end = shared->next;
    while (from < end && bus_stream_message(shared, from) == NULL) from++;
    struct store_block block = {.stream = shared->stream.number, .first = from};
    if (from >= end) return block;
    block.time_ms = bus_stream_message(shared, from)->time_ms;
    for (uint64_t at = from; at < end && block.count < count_most; at++) {
        const struct kept_message *message = bus_stream_message(shared, at);
        if (!joins(&block, message) || (block.count > 0 && message->len > bytes_most - block.len)) break;
        if (block.count == 0 && message->len > bytes_most) bytes_most = message->len;
        block.count++;
        block.len += message->len;
        block.expires_ms = sooner(block.expires_ms, expiry_of(message));
    }
    uint8_t *bytes = memory_zeroed(block.len);
    block.bytes = bytes;
    for (uint32_t i = 0; i < block.count; i++) {
        const struct kept_message *message = bus_stream_message(shared, from + i);
        memcpy(bytes, message->bytes, message->len);
        bytes += message->len;
    }
    return block;
}

/* ---- reads -------------------------------------------------------------------------------------------------- */

void bus_reading_begin(struct memory_engine *engine, struct store_read *read)
{
    store_read_begin(read);
    read->next = NULL;
    if (engine->reads == NULL) engine->reads = read;
    else engine->last_read->next = read;
    engine->last_read = read;
}

static void finish_read(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct store_read *read = with;
    engine->reads = read->next;
    read->next = NULL;
    const struct shared_stream *shared = bus_stream(bus, read->stream);
    if (!bus_stores(engine->at) || shared == NULL || !shared->is_there) {
        read->code = STORE_FAILED;
        snprintf(read->text, sizeof read->text, "the stream can't be read: it is away");
    } else {
        struct store_block block = gathered(shared, read->from, read->end, UINT32_MAX, read->bytes_most);
        if (block.count > 0) {
            read->block = block;
            read->bytes = (uint8_t *)block.bytes;
        }
    }
    bus_event(engine, READ_DONE)->read = read;
}

void bus_reading_look(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice)
{
    if (engine->reads != NULL)
        bus_choice_add(choice, bus->now_ms, (struct candidate){finish_read, engine, engine->reads});
}

/* ---- states ------------------------------------------------------------------------------------------------- */

void bus_reading_open(struct memory_engine *engine, const struct engine_stream *stream)
{
    assert(engine->opened_count < MEMORY_STREAMS_MAX);
    struct opened *opened = &engine->opened[engine->opened_count++];
    *opened = (struct opened){.stream = *stream};
    opened->stream.name =
        (const char *)memory_copy((mps_view){(const uint8_t *)stream->name, (uint32_t)strlen(stream->name) + 1}).ptr;
}

static struct opened *opened_of(struct memory_engine *engine, uint32_t stream)
{
    for (uint32_t i = 0; i < engine->opened_count; i++)
        if (engine->opened[i].stream.number == stream) return &engine->opened[i];
    return NULL;
}

/* The identity of a state that was not told yet: that one's .next counts, and it is said anew. */
void bus_reading_follow(struct memory_engine *engine, uint32_t stream, uint64_t identity, uint64_t from)
{
    struct opened *opened = opened_of(engine, stream);
    if (opened == NULL) return;
    bool goes_on = opened->is_followed && from >= opened->tail_from;
    opened->is_followed = from > 0;
    if (from > 0 && identity == opened->identity && !goes_on) opened->tail_from = opened->tail_next = from;
}

void bus_reading_ask(struct memory_engine *engine, uint32_t stream, uint64_t mark)
{
    struct opened *opened = opened_of(engine, stream);
    if (opened == NULL) return;
    opened->asked = mark;
    opened->asked_ms = engine->bus->now_ms;
}

static void tell_state(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct opened *opened = with;
    bool stores = bus_stores(engine->at);
    if (stores) bus_stream_made(bus, &opened->stream);
    const struct shared_stream *shared = bus_stream(bus, opened->stream.number);
    struct event *event = bus_event(engine, STATE);
    opened->was_told = true;
    opened->told_ms = bus->now_ms;
    opened->is_there = stores && shared->is_there;
    event->state = (struct engine_stream_state){.number = opened->stream.number, .is_there = opened->is_there};
    if (opened->asked != 0 && opened->asked_ms + bus->faults.ask_ms <= bus->now_ms) {
        event->state.mark = opened->asked;
        opened->asked = 0;
    }
    if (!opened->is_there) {
        event->state.text =
            stores ? "the stream was deleted: the test says so" : "the cluster is away: the test says so";
        return;
    }
    if (opened->identity != shared->identity) opened->tail_from = opened->tail_next = shared->next;
    opened->identity = event->state.identity = shared->identity;
    opened->first = event->state.first = shared->first;
    opened->next = event->state.next = shared->next;
    opened->msgs = event->state.msgs = shared->msgs;
    event->state.bytes = shared->bytes;
    event->state.replicas = event->state.current = shared->stream.replicas;
}

static void look_state(struct memory_bus *bus, struct memory_engine *engine, struct opened *opened,
                       struct choice *choice)
{
    struct candidate candidate = {tell_state, engine, opened};
    const struct shared_stream *shared = bus_stream(bus, opened->stream.number);
    bool is_there = bus_stores(engine->at) && (shared == NULL || shared->is_there);
    if (!opened->was_told || opened->is_there != is_there) bus_choice_add(choice, bus->now_ms, candidate);
    else if (!is_there) return;
    else if (opened->identity != shared->identity || opened->first != shared->first)
        bus_choice_add(choice, bus->now_ms, candidate);
    else if (opened->asked != 0) bus_choice_add(choice, opened->asked_ms + bus->faults.ask_ms, candidate);
    else if (opened->next != shared->next || opened->msgs != shared->msgs)
        bus_choice_add(choice, opened->told_ms + TELL_MS, candidate);
}

void bus_reading_look_states(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice)
{
    if (engine->at->is_frozen) return;
    for (uint32_t i = 0; i < engine->opened_count; i++) look_state(bus, engine, &engine->opened[i], choice);
}

/* ---- tails -------------------------------------------------------------------------------------------------- */

static void tell_tail(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct opened *opened = with;
    const struct shared_stream *shared = bus_stream(bus, opened->stream.number);
    uint32_t most = bus->shuffles ? (uint32_t)(1 + bus_random(bus) % TAIL_COUNT) : TAIL_COUNT;
    struct store_block block = gathered(shared, opened->tail_next, shared->next, most, UINT32_MAX);
    opened->tail_next = block.first + block.count;
    if (block.count == 0) return;
    struct event *event = bus_event(engine, TAIL);
    event->bytes = (uint8_t *)block.bytes;
    event->block = block;
}

void bus_reading_look_tails(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice)
{
    for (uint32_t i = 0; i < engine->opened_count; i++) {
        struct opened *opened = &engine->opened[i];
        const struct shared_stream *shared = bus_stream(bus, opened->stream.number);
        if (!opened->is_followed || !opened->is_there || !shared->is_there || opened->identity != shared->identity)
            continue;
        if (opened->tail_next >= shared->next) continue;
        uint64_t at = opened->tail_next > shared->first ? opened->tail_next : shared->first;
        const struct kept_message *message = bus_stream_message(shared, at);
        uint64_t since_ms = message != NULL && message->time_ms < bus->wall_ms ? bus->wall_ms - message->time_ms : 0;
        uint64_t tail_ms = message != NULL ? bus->faults.tail_ms : 0;
        uint64_t left_ms = since_ms < tail_ms ? tail_ms - since_ms : 0;
        bus_choice_add(choice, bus->now_ms + left_ms, (struct candidate){tell_tail, engine, opened});
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

void bus_reading_end(struct memory_engine *engine)
{
    for (struct store_read *read; (read = engine->reads) != NULL;) {
        engine->reads = read->next;
        free(read);
    }
    for (uint32_t i = 0; i < engine->opened_count; i++) free((char *)engine->opened[i].stream.name);
}
