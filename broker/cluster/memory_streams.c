#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory_bus.h"

#define FRAME_MAX (1024u * 1024) /* bytes of a message that a stream takes */
#define TAIL_COUNT 64u           /* messages of a block at most */
#define AGAIN_MS 1000u           /* an append whose answer does not come is sent again after this time */
#define TELL_MS 1000u            /* so often it is told how far a stream is, when that changes */

/* ---- what is kept ------------------------------------------------------------------------------------------- */

static struct shared_stream *stream_of(struct memory_bus *bus, uint32_t number)
{
    for (uint32_t i = 0; i < bus->streams_count; i++)
        if (bus->streams[i].stream.number == number) return &bus->streams[i];
    return NULL;
}

static struct kept_message *message_at(const struct shared_stream *shared, uint64_t position)
{
    if (position < shared->first || position >= shared->next) return NULL;
    struct kept_message *message = &shared->messages[position - shared->first];
    return message->bytes != NULL ? message : NULL;
}

static struct shared_stream *made(struct memory_bus *bus, const struct engine_stream *stream)
{
    struct shared_stream *shared = stream_of(bus, stream->number);
    if (shared != NULL) return shared;
    assert(bus->streams_count < MEMORY_STREAMS_MAX);
    shared = &bus->streams[bus->streams_count++];
    mps_view name = memory_copy((mps_view){(const uint8_t *)stream->name, (uint32_t)strlen(stream->name) + 1});
    *shared = (struct shared_stream){
        .stream = *stream, .is_there = true, .identity = ++bus->identities, .first = 1, .next = 1};
    shared->stream.name = (const char *)name.ptr;
    return shared;
}

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

static bool fits(const struct shared_stream *shared, uint32_t len)
{
    return shared->msgs < shared->stream.max_msgs && len <= shared->stream.max_bytes &&
           shared->bytes <= shared->stream.max_bytes - len;
}

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

/* Those of it that are not there yet. The outcome is pending's. */
static void apply(struct memory_bus *bus, struct shared_stream *shared, struct pending_append *pending)
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

static void free_append(struct pending_append *pending)
{
    free((uint8_t *)pending->append.bytes);
    free((uint8_t *)pending->append.id.ptr);
    free(pending);
}

/* ---- appends ------------------------------------------------------------------------------------------------ */

bool bus_streams_take(struct memory_engine *engine, const struct engine_append *append, char text[STORE_TEXT_MAX])
{
    const uint8_t *p = append->bytes, *end = append->bytes + append->len;
    assert(append->count > 0);
    for (uint32_t i = 0; i < append->count; i++) {
        uint32_t len = mps_msg_frame_len(p);
        assert(len <= (size_t)(end - p));
        if (len > FRAME_MAX) {
            snprintf(text, STORE_TEXT_MAX,
                     "a message of %" PRIu32 " bytes is too long for a shared stream, which takes %u", len, FRAME_MAX);
            return false;
        }
        p += len;
    }
    assert(p == end);
    if (append->len > engine->defer_bytes || engine->waiting_bytes > engine->defer_bytes - append->len) {
        snprintf(text, STORE_TEXT_MAX, "%" PRIu64 " bytes wait to be stored already, the limit is %" PRIu64,
                 engine->waiting_bytes, engine->defer_bytes);
        return false;
    }
    struct pending_append *pending = memory_zeroed(sizeof *pending), **end_of = &engine->appends;
    while (*end_of != NULL) end_of = &(*end_of)->next;
    *end_of = pending;
    pending->append = *append;
    pending->append.bytes = memory_copy((mps_view){append->bytes, append->len}).ptr;
    pending->append.id = memory_copy(append->id);
    pending->give_up_ms = append->is_waited_for ? engine->bus->now_ms + engine->defer_ms : NEVER;
    engine->waiting++;
    engine->waiting_bytes += append->len;
    return true;
}

void bus_streams_flush(struct memory_engine *engine)
{
    for (struct pending_append *pending = engine->appends; pending != NULL; pending = pending->next)
        if (pending->state == TAKEN) pending->state = WAITING;
}

static void try_append(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct pending_append *pending = with;
    (void)engine;
    apply(bus, stream_of(bus, pending->append.stream), pending);
    if (pending->code == STORE_OK && pending->append.id.len > 0 && bus_happens(bus, bus->faults.unheard)) {
        pending->again_ms = bus->now_ms + AGAIN_MS;
        return;
    }
    pending->state = STORED;
    pending->settle_ms = bus->now_ms + bus->faults.settle_ms;
}

static void settle(struct memory_engine *engine, const struct pending_append *pending)
{
    struct event *event = bus_event(engine, SETTLED);
    event->number = pending->append.token;
    event->code = pending->code;
    event->last = pending->code == STORE_OK ? pending->last : 0;
    event->was_there = pending->code == STORE_OK && pending->was_there;
    memcpy(event->text, pending->text, sizeof event->text);
    engine->waiting--;
    engine->waiting_bytes -= pending->append.len;
}

static void unlink_append(struct memory_engine *engine, const struct pending_append *pending)
{
    struct pending_append **at = &engine->appends;
    while (*at != pending) at = &(*at)->next;
    *at = pending->next;
}

static void settle_append(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct pending_append *pending = with;
    (void)bus;
    settle(engine, pending);
    unlink_append(engine, pending);
    free_append(pending);
}

static void give_up(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct pending_append *pending = with;
    bool may_come = pending->state == WAITING && bus_happens(bus, bus->faults.late);
    pending->code = STORE_FAILED;
    snprintf(pending->text, sizeof pending->text, "it was not confirmed within %" PRIu64 " ms and may have been stored",
             engine->defer_ms);
    settle(engine, pending);
    unlink_append(engine, pending);
    if (!may_come) {
        free_append(pending);
        return;
    }
    pending->next = bus->ghosts;
    bus->ghosts = pending;
}

static void store_ghost(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct pending_append *ghost = with, **at = &bus->ghosts;
    (void)engine;
    while (*at != ghost) at = &(*at)->next;
    *at = ghost->next;
    apply(bus, stream_of(bus, ghost->append.stream), ghost);
    free_append(ghost);
}

void bus_streams_look_ghosts(struct memory_bus *bus, struct choice *choice)
{
    bool can_store = false;
    for (uint32_t i = 0; i < bus->endpoints_count; i++) can_store |= bus_stores(&bus->endpoints[i]);
    for (struct pending_append *ghost = bus->ghosts; can_store && ghost != NULL; ghost = ghost->next) {
        const struct shared_stream *shared = stream_of(bus, ghost->append.stream);
        if (shared != NULL && shared->is_there)
            bus_choice_add(choice, bus->now_ms, (struct candidate){store_ghost, NULL, ghost});
    }
}

static void look_appends(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice)
{
    /* In their order: only the first one of a kind goes on to be stored, and only the first one settles. Nobody who is
     * waited for stands behind others, which may never be stored. */
    bool stored_first = true, settled_first[2] = {true, true};
    for (struct pending_append *pending = engine->appends; pending != NULL; pending = pending->next) {
        bool waited = pending->append.is_waited_for;
        const struct shared_stream *shared = stream_of(bus, pending->append.stream);
        if (settled_first[waited]) {
            if (pending->state == STORED)
                bus_choice_add(choice, pending->settle_ms, (struct candidate){settle_append, engine, pending});
            if (waited) bus_choice_add(choice, pending->give_up_ms, (struct candidate){give_up, engine, pending});
        }
        settled_first[waited] = false;
        if (pending->state != WAITING || !stored_first) continue;
        if (!bus_stores(engine->at) || shared == NULL || !shared->is_there) continue;
        bus_choice_add(choice, pending->again_ms, (struct candidate){try_append, engine, pending});
        stored_first = false;
    }
}

/* ---- reads -------------------------------------------------------------------------------------------------- */

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
    while (from < end && message_at(shared, from) == NULL) from++;
    struct store_block block = {.stream = shared->stream.number, .first = from};
    if (from >= end) return block;
    block.time_ms = message_at(shared, from)->time_ms;
    for (uint64_t at = from; at < end && block.count < count_most; at++) {
        const struct kept_message *message = message_at(shared, at);
        if (!joins(&block, message) || (block.count > 0 && message->len > bytes_most - block.len)) break;
        if (block.count == 0 && message->len > bytes_most) bytes_most = message->len;
        block.count++;
        block.len += message->len;
        block.expires_ms = sooner(block.expires_ms, expiry_of(message));
    }
    uint8_t *bytes = memory_zeroed(block.len);
    block.bytes = bytes;
    for (uint32_t i = 0; i < block.count; i++) {
        const struct kept_message *message = message_at(shared, from + i);
        memcpy(bytes, message->bytes, message->len);
        bytes += message->len;
    }
    return block;
}

void bus_streams_read(struct memory_engine *engine, struct store_read *read)
{
    read->code = STORE_OK;
    read->block = (struct store_block){0};
    read->bytes = NULL;
    read->damaged_first = read->damaged_last = 0;
    read->text[0] = '\0';
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
    const struct shared_stream *shared = stream_of(bus, read->stream);
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

void bus_streams_look(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice)
{
    look_appends(bus, engine, choice);
    if (engine->reads != NULL)
        bus_choice_add(choice, bus->now_ms, (struct candidate){finish_read, engine, engine->reads});
}

/* ---- states and tails --------------------------------------------------------------------------------------- */

void bus_streams_open(struct memory_engine *engine, const struct engine_stream *stream)
{
    assert(engine->opened_count < MEMORY_STREAMS_MAX);
    struct opened *opened = &engine->opened[engine->opened_count++];
    *opened = (struct opened){.stream = *stream};
    opened->stream.name =
        (const char *)memory_copy((mps_view){(const uint8_t *)stream->name, (uint32_t)strlen(stream->name) + 1}).ptr;
}

void bus_streams_ask(struct memory_engine *engine, uint32_t stream, uint64_t mark)
{
    for (uint32_t i = 0; i < engine->opened_count; i++) {
        struct opened *opened = &engine->opened[i];
        if (opened->stream.number != stream) continue;
        opened->asked = mark;
        opened->asked_ms = engine->bus->now_ms;
    }
}

static void tell_state(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct opened *opened = with;
    bool stores = bus_stores(engine->at);
    if (stores) made(bus, &opened->stream);
    const struct shared_stream *shared = stream_of(bus, opened->stream.number);
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
    if (opened->identity != shared->identity) opened->tail_next = shared->next;
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
    const struct shared_stream *shared = stream_of(bus, opened->stream.number);
    bool is_there = bus_stores(engine->at) && (shared == NULL || shared->is_there);
    if (!opened->was_told || opened->is_there != is_there) bus_choice_add(choice, bus->now_ms, candidate);
    else if (!is_there) return;
    else if (opened->identity != shared->identity || opened->first != shared->first)
        bus_choice_add(choice, bus->now_ms, candidate);
    else if (opened->asked != 0) bus_choice_add(choice, opened->asked_ms + bus->faults.ask_ms, candidate);
    else if (opened->next != shared->next || opened->msgs != shared->msgs)
        bus_choice_add(choice, opened->told_ms + TELL_MS, candidate);
}

void bus_streams_look_states(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice)
{
    if (engine->at->is_frozen) return;
    for (uint32_t i = 0; i < engine->opened_count; i++) look_state(bus, engine, &engine->opened[i], choice);
}

static void tell_tail(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct opened *opened = with;
    const struct shared_stream *shared = stream_of(bus, opened->stream.number);
    uint32_t most = bus->shuffles ? (uint32_t)(1 + bus_random(bus) % TAIL_COUNT) : TAIL_COUNT;
    struct store_block block = gathered(shared, opened->tail_next, shared->next, most, UINT32_MAX);
    opened->tail_next = block.first + block.count;
    if (block.count == 0) return;
    struct event *event = bus_event(engine, TAIL);
    event->bytes = (uint8_t *)block.bytes;
    event->block = block;
}

void bus_streams_look_tails(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice)
{
    for (uint32_t i = 0; i < engine->opened_count; i++) {
        struct opened *opened = &engine->opened[i];
        const struct shared_stream *shared = stream_of(bus, opened->stream.number);
        if (!opened->is_there || !shared->is_there || opened->identity != shared->identity) continue;
        if (opened->tail_next >= shared->next) continue;
        uint64_t at = opened->tail_next > shared->first ? opened->tail_next : shared->first;
        const struct kept_message *message = message_at(shared, at);
        uint64_t since_ms = message != NULL && message->time_ms < bus->wall_ms ? bus->wall_ms - message->time_ms : 0;
        uint64_t tail_ms = message != NULL ? bus->faults.tail_ms : 0;
        uint64_t left_ms = since_ms < tail_ms ? tail_ms - since_ms : 0;
        bus_choice_add(choice, bus->now_ms + left_ms, (struct candidate){tell_tail, engine, opened});
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

void bus_streams_end(struct memory_engine *engine, bool kept)
{
    for (struct pending_append *pending; (pending = engine->appends) != NULL;) {
        struct shared_stream *shared = stream_of(engine->bus, pending->append.stream);
        engine->appends = pending->next;
        if (kept && pending->state == WAITING && bus_stores(engine->at) && shared != NULL && shared->is_there)
            apply(engine->bus, shared, pending);
        free_append(pending);
    }
    for (struct store_read *read; (read = engine->reads) != NULL;) {
        engine->reads = read->next;
        free(read);
    }
    for (uint32_t i = 0; i < engine->opened_count; i++) free((char *)engine->opened[i].stream.name);
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
    for (struct pending_append *ghost; (ghost = bus->ghosts) != NULL;) {
        bus->ghosts = ghost->next;
        free_append(ghost);
    }
}

/* ---- the test's side ---------------------------------------------------------------------------------------- */

void memory_bus_delete_stream(struct memory_bus *bus, uint32_t number)
{
    struct shared_stream *shared = stream_of(bus, number);
    assert(shared != NULL);
    forget_messages(shared);
    shared->is_there = false;
}

void memory_bus_remake_stream(struct memory_bus *bus, uint32_t number)
{
    struct shared_stream *shared = stream_of(bus, number);
    assert(shared != NULL);
    forget_messages(shared);
    shared->is_there = true;
    shared->identity = ++bus->identities;
    shared->first = shared->next = 1;
}

void memory_bus_delete_message(struct memory_bus *bus, uint32_t number, uint64_t position)
{
    struct shared_stream *shared = stream_of(bus, number);
    struct kept_message *message = message_at(shared, position);
    assert(message != NULL);
    shared->msgs--;
    shared->bytes -= message->len;
    free(message->bytes);
    message->bytes = NULL;
    drop_holes(shared);
}

uint64_t memory_bus_first(const struct memory_bus *bus, uint32_t stream)
{
    const struct shared_stream *shared = stream_of((struct memory_bus *)bus, stream);
    return shared != NULL && shared->is_there ? shared->first : 0;
}

uint64_t memory_bus_next_position(const struct memory_bus *bus, uint32_t stream)
{
    const struct shared_stream *shared = stream_of((struct memory_bus *)bus, stream);
    return shared != NULL && shared->is_there ? shared->next : 0;
}

void memory_bus_append(struct memory_bus *bus, uint32_t stream, mps_view frame)
{
    struct shared_stream *shared = stream_of(bus, stream);
    if (shared != NULL && shared->is_there) store(bus, shared, frame.ptr, frame.len);
}

bool memory_bus_message(const struct memory_bus *bus, uint32_t stream, uint64_t position, mps_view *frame)
{
    const struct shared_stream *shared = stream_of((struct memory_bus *)bus, stream);
    const struct kept_message *message = shared != NULL ? message_at(shared, position) : NULL;
    if (message == NULL) return false;
    *frame = (mps_view){message->bytes, message->len};
    return true;
}
