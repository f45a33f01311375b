#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory_bus.h"

struct shared_stream *bus_stream(struct memory_bus *bus, uint32_t number)
{
    for (uint32_t i = 0; i < bus->streams_count; i++)
        if (bus->streams[i].stream.number == number) return &bus->streams[i];
    return NULL;
}

struct kept_message *bus_stream_message(const struct shared_stream *shared, uint64_t position)
{
    if (position < shared->first || position >= shared->next) return NULL;
    struct kept_message *message = &shared->messages[position - shared->first];
    return message->bytes != NULL ? message : NULL;
}

struct shared_stream *bus_stream_made(struct memory_bus *bus, const struct engine_stream *stream)
{
    struct shared_stream *shared = bus_stream(bus, stream->number);
    if (shared != NULL) return shared;
    assert(bus->streams_count < MEMORY_STREAMS_MAX);
    shared = &bus->streams[bus->streams_count++];
    mps_view name = memory_copy((mps_view){(const uint8_t *)stream->name, (uint32_t)strlen(stream->name) + 1});
    *shared = (struct shared_stream){
        .stream = *stream, .is_there = true, .identity = ++bus->identities, .first = 1, .next = 1};
    shared->stream.name = (const char *)name.ptr;
    return shared;
}

/* ---- what goes ---------------------------------------------------------------------------------------------- */

static void drop_first(struct shared_stream *shared)
{
    struct kept_message *message = shared->messages;
    if (message->bytes != NULL) {
        shared->msgs--;
        shared->bytes -= message->len;
    }
    free(message->bytes);
    shared->first++;
    shared->count--;
    memmove(message, message + 1, shared->count * sizeof *message);
}

static void drop_holes(struct shared_stream *shared)
{
    while (shared->count > 0 && shared->messages[0].bytes == NULL) drop_first(shared);
}

static void age(const struct memory_bus *bus, struct shared_stream *shared)
{
    uint64_t max_ms = shared->stream.max_age_ms;
    if (max_ms == UINT64_MAX) return;
    while (shared->count > 0 && bus->wall_ms - shared->messages[0].time_ms >= max_ms) drop_first(shared);
    drop_holes(shared);
}

void bus_streams_age(struct memory_bus *bus)
{
    for (uint32_t i = 0; i < bus->streams_count; i++) age(bus, &bus->streams[i]);
}

static void forget_messages(struct shared_stream *shared)
{
    while (shared->count > 0) drop_first(shared);
    for (uint32_t i = 0; i < shared->seen_count; i++) free(shared->seen[i].id);
    shared->seen_count = 0;
}

void bus_streams_free(struct memory_bus *bus)
{
    for (uint32_t i = 0; i < bus->streams_count; i++) {
        struct shared_stream *shared = &bus->streams[i];
        forget_messages(shared);
        free(shared->messages);
        free(shared->seen);
        free((char *)shared->stream.name);
    }
}

/* ---- what was sent before ------------------------------------------------------------------------------------ */

static uint64_t hash_of(const struct engine_append *append, uint64_t pid)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ append->boot ^ (pid << 20);
    for (uint32_t i = 0; i < append->id.len; i++) hash = (hash ^ append->id.ptr[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t seen_at(const struct shared_stream *shared, const struct engine_append *append, uint64_t pid)
{
    uint64_t hash = hash_of(append, pid);
    for (uint32_t i = shared->seen_count; i-- > 0;) {
        const struct seen *seen = &shared->seen[i];
        if (seen->hash != hash || seen->boot != append->boot || seen->pid != pid || seen->id_len != append->id.len)
            continue;
        if (memcmp(seen->id, append->id.ptr, seen->id_len) == 0) return seen->position;
    }
    return 0;
}

static void *room_for(void *array, uint32_t count, uint32_t *room, size_t size)
{
    if (count < *room) return array;
    *room = *room == 0 ? 64 : 2 * *room;
    array = realloc(array, *room * size);
    if (array == NULL) abort();
    return array;
}

static void remember(struct shared_stream *shared, const struct engine_append *append, uint64_t pid, uint64_t position)
{
    shared->seen = room_for(shared->seen, shared->seen_count, &shared->seen_room, sizeof *shared->seen);
    shared->seen[shared->seen_count++] = (struct seen){.hash = hash_of(append, pid),
                                                       .position = position,
                                                       .id = (uint8_t *)memory_copy(append->id).ptr,
                                                       .id_len = append->id.len,
                                                       .boot = append->boot,
                                                       .pid = pid};
}

/* ---- what comes --------------------------------------------------------------------------------------------- */

static bool fits(const struct shared_stream *shared, uint32_t len)
{
    return shared->msgs < shared->stream.max_msgs && len <= shared->stream.max_bytes &&
           shared->bytes <= shared->stream.max_bytes - len;
}

/* False: it is full. */
static bool store(const struct memory_bus *bus, struct shared_stream *shared, const uint8_t *frame, uint32_t len)
{
    if (shared->stream.refuses && !fits(shared, len)) return false;
    while (shared->count > 0 && !fits(shared, len)) drop_first(shared);
    drop_holes(shared);
    shared->messages = room_for(shared->messages, shared->count, &shared->room, sizeof *shared->messages);
    shared->messages[shared->count++] =
        (struct kept_message){(uint8_t *)memory_copy((mps_view){frame, len}).ptr, len, bus->wall_ms};
    shared->next++;
    shared->msgs++;
    shared->bytes += len;
    return true;
}

void bus_stream_apply(struct memory_bus *bus, struct shared_stream *shared, struct pending_append *pending)
{
    const struct engine_append *append = &pending->append;
    const uint8_t *p = append->bytes;
    pending->code = STORE_OK;
    pending->was_there = append->count > 0;
    for (uint32_t i = 0; i < append->count; i++) {
        uint32_t len = mps_msg_frame_len(p);
        uint64_t pid = append->first_pid + i, position = append->id.len > 0 ? seen_at(shared, append, pid) : 0;
        if (position == 0) {
            if (!store(bus, shared, p, len)) {
                pending->code = STORE_FULL;
                snprintf(pending->text, sizeof pending->text, "the stream '%s' is full: it has %" PRIu64 " messages",
                         shared->stream.name, shared->msgs);
                return;
            }
            position = shared->next - 1;
            pending->was_there = false;
            if (append->id.len > 0) remember(shared, append, pid, position);
        }
        pending->last = position;
        p += len;
    }
}

/* ---- the test's side ---------------------------------------------------------------------------------------- */

void memory_bus_delete_stream(struct memory_bus *bus, uint32_t number)
{
    struct shared_stream *shared = bus_stream(bus, number);
    assert(shared != NULL);
    forget_messages(shared);
    shared->is_there = false;
}

void memory_bus_remake_stream(struct memory_bus *bus, uint32_t number)
{
    struct shared_stream *shared = bus_stream(bus, number);
    assert(shared != NULL);
    forget_messages(shared);
    shared->is_there = true;
    shared->identity = ++bus->identities;
    shared->first = shared->next = 1;
}

void memory_bus_delete_message(struct memory_bus *bus, uint32_t number, uint64_t position)
{
    struct shared_stream *shared = bus_stream(bus, number);
    struct kept_message *message = bus_stream_message(shared, position);
    assert(message != NULL);
    shared->msgs--;
    shared->bytes -= message->len;
    free(message->bytes);
    message->bytes = NULL;
    drop_holes(shared);
}

uint64_t memory_bus_first(const struct memory_bus *bus, uint32_t stream)
{
    const struct shared_stream *shared = bus_stream((struct memory_bus *)bus, stream);
    return shared != NULL && shared->is_there ? shared->first : 0;
}

uint64_t memory_bus_next_position(const struct memory_bus *bus, uint32_t stream)
{
    const struct shared_stream *shared = bus_stream((struct memory_bus *)bus, stream);
    return shared != NULL && shared->is_there ? shared->next : 0;
}

void memory_bus_append(struct memory_bus *bus, uint32_t stream, mps_view frame)
{
    struct shared_stream *shared = bus_stream(bus, stream);
    if (shared != NULL && shared->is_there) store(bus, shared, frame.ptr, frame.len);
}

bool memory_bus_message(const struct memory_bus *bus, uint32_t stream, uint64_t position, mps_view *frame)
{
    const struct shared_stream *shared = bus_stream((struct memory_bus *)bus, stream);
    const struct kept_message *message = shared != NULL ? bus_stream_message(shared, position) : NULL;
    if (message == NULL) return false;
    *frame = (mps_view){message->bytes, message->len};
    return true;
}
