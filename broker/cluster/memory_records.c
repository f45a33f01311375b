#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "memory_bus.h"

#define VALUE_MAX (1024u * 1024) /* bytes of a value that is taken */
#define PUTS_MAX 10000u          /* that wait */

static bool is_key(const struct logged_record *record, uint32_t kind, mps_view key)
{
    return record->kind == kind && mps_view_equal(record->key, key);
}

/* The last one of this key, also one that says that it was removed. NULL: none. */
static struct logged_record *last_of(const struct memory_bus *bus, uint32_t kind, mps_view key)
{
    for (uint32_t i = bus->log_count; i-- > 0;)
        if (!bus->log[i].is_replaced && is_key(&bus->log[i], kind, key)) return &bus->log[i];
    return NULL;
}

static uint64_t revision_of(const struct logged_record *record)
{
    return record != NULL && record->value.ptr != NULL ? record->revision : 0;
}

static void log_record(struct memory_bus *bus, const struct engine_put *put, uint64_t serial)
{
    struct logged_record *last = last_of(bus, put->kind, put->key);
    if (last != NULL) last->is_replaced = true;
    if (bus->log_count == bus->log_room) {
        bus->log_room = bus->log_room == 0 ? 64 : 2 * bus->log_room;
        bus->log = realloc(bus->log, bus->log_room * sizeof *bus->log);
        if (bus->log == NULL) abort();
    }
    bus->log[bus->log_count++] = (struct logged_record){.kind = put->kind,
                                                        .key = memory_copy(put->key),
                                                        .value = memory_copy(put->value),
                                                        .revision = ++bus->revision,
                                                        .due_ms = bus->now_ms + bus->faults.record_ms,
                                                        .mark = put->mark,
                                                        .serial = serial};
}

/* ---- puts --------------------------------------------------------------------------------------------------- */

static void free_put(struct pending_put *pending)
{
    free((uint8_t *)pending->put.key.ptr);
    free((uint8_t *)pending->put.value.ptr);
    free(pending);
}

bool bus_records_take(struct memory_engine *engine, const struct engine_put *put)
{
    assert(put->kind >= 1 && put->kind <= 255 && put->key.len >= 1);
    if (put->key.len > STORE_KEY_MAX || put->value.len > VALUE_MAX || engine->puts_count >= PUTS_MAX) return false;
    struct pending_put **at = &engine->puts;
    while (*at != NULL && ((*at)->put.kind != put->kind || !mps_view_equal((*at)->put.key, put->key)))
        at = &(*at)->next;
    struct pending_put *pending = *at, *next = NULL;
    if (pending != NULL) {
        next = pending->next;
        free_put(pending);
    } else {
        engine->puts_count++;
    }
    pending = memory_zeroed(sizeof *pending);
    pending->next = next;
    pending->put = *put;
    pending->due_ms = engine->bus->now_ms + engine->bus->faults.put_ms;
    pending->put.key = memory_copy(put->key);
    pending->put.value = memory_copy(put->value);
    *at = pending;
    return true;
}

/* Of the first one that waits. */
static void do_put(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct pending_put *pending = with;
    const struct engine_put *put = &pending->put;
    uint64_t revision = revision_of(last_of(bus, put->kind, put->key));
    bool is_done = put->expected == ENGINE_PUT_ANYHOW || put->expected == revision;
    if (is_done) log_record(bus, put, engine->serial);
    if (put->mark != 0) {
        struct event *event = bus_event(engine, PUT_DONE);
        event->number = put->mark;
        event->is_done = is_done;
        event->last = is_done ? bus->revision : revision;
    }
    engine->puts = pending->next;
    engine->puts_count--;
    free_put(pending);
}

void bus_records_look(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice)
{
    if (engine->puts == NULL) return;
    uint64_t due_ms = engine->puts->due_ms > bus->now_ms ? engine->puts->due_ms : bus->now_ms;
    bus_choice_add(choice, due_ms, (struct candidate){do_put, engine, engine->puts});
}

/* ---- what is told ------------------------------------------------------------------------------------------- */

void bus_records_watch(struct memory_engine *engine, bool is_storing)
{
    struct memory_bus *bus = engine->bus;
    engine->is_watching = engine->is_loading = is_storing;
    engine->load_end = bus->log_count;
    engine->load_revision = bus->revision;
    if (!is_storing || engine->bucket == bus->bucket) return;
    engine->bucket = bus->bucket;
    engine->tells_all = true;
    engine->watch_next = 0;
    bus_event(engine, BEGIN);
}

static void tell_record(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    (void)with;
    if (engine->is_loading && engine->watch_next >= engine->load_end) {
        engine->is_loading = engine->tells_all = false;
        bus_event(engine, LOADED)->last = engine->load_revision;
        return;
    }
    const struct logged_record *record = &bus->log[engine->watch_next++];
    /* Only the last one of a key is kept, for those who were away; who begins needs not hear of what isn't there. */
    if (record->is_replaced && (engine->is_loading || bus_happens(bus, bus->faults.coalesced))) return;
    if (record->value.ptr == NULL && engine->tells_all) return;
    struct event *event = bus_event_bytes(engine, RECORD, record->key, record->value);
    event->record = (struct engine_record){.kind = record->kind,
                                           .key = {event->bytes, record->key.len},
                                           .revision = record->revision,
                                           .mark = record->serial == engine->serial ? record->mark : 0};
    if (record->value.ptr != NULL) event->record.value = (mps_view){event->bytes + record->key.len, record->value.len};
}

static void watch_again(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    (void)bus;
    (void)with;
    bus_records_watch(engine, true);
}

void bus_records_look_watch(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice)
{
    if (!engine->is_watching) return;
    uint64_t due_ms = bus->now_ms;
    if (engine->bucket != bus->bucket) {
        bus_choice_add(choice, due_ms, (struct candidate){watch_again, engine, NULL});
        return;
    }
    if (!engine->is_loading && engine->watch_next >= bus->log_count) return;
    if (engine->watch_next < bus->log_count && !engine->is_loading) due_ms = bus->log[engine->watch_next].due_ms;
    bus_choice_add(choice, due_ms, (struct candidate){tell_record, engine, NULL});
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

void bus_records_end(struct memory_engine *engine, bool kept)
{
    while (engine->puts != NULL) {
        struct pending_put *pending = engine->puts;
        if (kept && bus_stores(engine->at)) {
            do_put(engine->bus, engine, pending);
            continue;
        }
        engine->puts = pending->next;
        free_put(pending);
    }
}

static void forget_records(struct memory_bus *bus)
{
    for (uint32_t i = 0; i < bus->log_count; i++) {
        free((uint8_t *)bus->log[i].key.ptr);
        free((uint8_t *)bus->log[i].value.ptr);
    }
    bus->log_count = 0;
}

void bus_records_free(struct memory_bus *bus)
{
    forget_records(bus);
    free(bus->log);
}

/* ---- the test's side ---------------------------------------------------------------------------------------- */

uint64_t memory_bus_record(const struct memory_bus *bus, uint32_t kind, mps_view key, mps_view *value)
{
    const struct logged_record *last = last_of(bus, kind, key);
    uint64_t revision = revision_of(last);
    if (value != NULL) *value = revision > 0 ? last->value : (mps_view){0};
    return revision;
}

void memory_bus_put(struct memory_bus *bus, uint32_t kind, mps_view key, mps_view value)
{
    struct engine_put put = {.kind = kind, .key = key, .value = value};
    log_record(bus, &put, 0);
}

void memory_bus_lose_records(struct memory_bus *bus)
{
    forget_records(bus);
    bus->bucket++;
    bus->revision = 0;
}
