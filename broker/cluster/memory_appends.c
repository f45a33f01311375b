#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory_bus.h"

#define FRAME_MAX (1024u * 1024) /* bytes of a message that a stream takes */
#define AGAIN_MS 1000u           /* an append whose answer does not come is sent again after this time */

static void free_append(struct pending_append *pending)
{
    free((uint8_t *)pending->append.bytes);
    free((uint8_t *)pending->append.id.ptr);
    free(pending);
}

/* ---- taken -------------------------------------------------------------------------------------------------- */

bool bus_appends_take(struct memory_engine *engine, const struct engine_append *append, char text[STORE_TEXT_MAX])
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

void bus_appends_flush(struct memory_engine *engine)
{
    for (struct pending_append *pending = engine->appends; pending != NULL; pending = pending->next)
        if (pending->state == TAKEN) pending->state = WAITING;
}

/* ---- stored, and settled ------------------------------------------------------------------------------------- */

static void try_append(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct pending_append *pending = with;
    (void)engine;
    bus_stream_apply(bus, bus_stream(bus, pending->append.stream), pending);
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

void bus_appends_look(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice)
{
    /* In their order: only the first one of a kind goes on to be stored, and only the first one settles. Nobody who is
     * waited for stands behind others, which may never be stored. */
    bool stored_first = true, settled_first[2] = {true, true};
    for (struct pending_append *pending = engine->appends; pending != NULL; pending = pending->next) {
        bool waited = pending->append.is_waited_for;
        const struct shared_stream *shared = bus_stream(bus, pending->append.stream);
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

/* ---- given up, and stored all the same ----------------------------------------------------------------------- */

static void store_ghost(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct pending_append *ghost = with, **at = &bus->ghosts;
    (void)engine;
    while (*at != ghost) at = &(*at)->next;
    *at = ghost->next;
    bus_stream_apply(bus, bus_stream(bus, ghost->append.stream), ghost);
    free_append(ghost);
}

void bus_appends_look_ghosts(struct memory_bus *bus, struct choice *choice)
{
    bool can_store = false;
    for (uint32_t i = 0; i < bus->endpoints_count; i++) can_store |= bus_stores(&bus->endpoints[i]);
    for (struct pending_append *ghost = bus->ghosts; can_store && ghost != NULL; ghost = ghost->next) {
        const struct shared_stream *shared = bus_stream(bus, ghost->append.stream);
        if (shared != NULL && shared->is_there)
            bus_choice_add(choice, bus->now_ms, (struct candidate){store_ghost, NULL, ghost});
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

void bus_appends_end(struct memory_engine *engine, bool kept)
{
    for (struct pending_append *pending; (pending = engine->appends) != NULL;) {
        struct shared_stream *shared = bus_stream(engine->bus, pending->append.stream);
        engine->appends = pending->next;
        if (kept && pending->state == WAITING && bus_stores(engine->at) && shared != NULL && shared->is_there)
            bus_stream_apply(engine->bus, shared, pending);
        free_append(pending);
    }
}

void bus_appends_free(struct memory_bus *bus)
{
    for (struct pending_append *ghost; (ghost = bus->ghosts) != NULL;) {
        bus->ghosts = ghost->next;
        free_append(ghost);
    }
}
