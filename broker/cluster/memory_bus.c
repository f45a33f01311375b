#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "memory_bus.h"

#define RING_DATAGRAMS 4096u
#define FROZEN_DATAGRAMS 8192u /* that a link holds for one that takes none */
#define DATAGRAM_BYTES (64u * 1024)

void *memory_zeroed(size_t size)
{
    void *memory = calloc(1, size > 0 ? size : 1);
    if (memory == NULL) abort();
    return memory;
}

mps_view memory_copy(mps_view bytes)
{
    if (bytes.ptr == NULL) return bytes;
    uint8_t *copy = memory_zeroed(bytes.len);
    if (bytes.len > 0) memcpy(copy, bytes.ptr, bytes.len);
    return (mps_view){copy, bytes.len};
}

uint64_t bus_random(struct memory_bus *bus)
{
    uint64_t z = (bus->random += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

bool bus_happens(struct memory_bus *bus, uint32_t per_mille)
{
    return per_mille > 0 && bus_random(bus) % 1000 < per_mille;
}

/* ---- datagrams ---------------------------------------------------------------------------------------------- */

struct datagram *bus_datagram_new(const char *to, const uint8_t *bytes, size_t len)
{
    struct datagram *datagram = memory_zeroed(sizeof *datagram);
    datagram->bytes = memory_zeroed(len);
    if (len > 0) memcpy(datagram->bytes, bytes, len);
    datagram->len = len;
    if (to != NULL) memcpy(datagram->to, to, strlen(to) + 1);
    return datagram;
}

static void datagram_free(struct datagram *datagram)
{
    if (datagram == NULL) return;
    free(datagram->bytes);
    free(datagram);
}

void bus_datagrams_add(struct datagrams *list, struct datagram *datagram)
{
    datagram->next = NULL;
    if (list->last != NULL) list->last->next = datagram;
    else list->first = datagram;
    list->last = datagram;
    list->count++;
}

struct datagram *bus_datagrams_take(struct datagrams *list)
{
    struct datagram *datagram = list->first;
    if (datagram == NULL) return NULL;
    list->first = datagram->next;
    if (list->first == NULL) list->last = NULL;
    list->count--;
    return datagram;
}

void bus_datagrams_free(struct datagrams *list)
{
    for (struct datagram *datagram; (datagram = bus_datagrams_take(list)) != NULL;) datagram_free(datagram);
}

/* ---- links -------------------------------------------------------------------------------------------------- */

struct endpoint *bus_endpoint(struct memory_bus *bus, const char *name)
{
    for (uint32_t i = 0; i < bus->endpoints_count; i++)
        if (strcmp(bus->endpoints[i].name, name) == 0) return &bus->endpoints[i];
    size_t len = strlen(name);
    assert(len > 0 && len <= ENGINE_NAME_MAX && bus->endpoints_count < MEMORY_ENGINES_MAX);
    struct endpoint *made = &bus->endpoints[bus->endpoints_count++];
    memcpy(made->name, name, len + 1);
    made->ring_out = made->ring_in = RING_DATAGRAMS;
    made->datagram_max = DATAGRAM_BYTES;
    return made;
}

bool bus_stores(const struct endpoint *at)
{
    return at->engine != NULL && !at->is_frozen && !at->storing_away && at->side == 0;
}

static bool meet(const struct endpoint *a, const struct endpoint *b)
{
    return a->side == b->side && !a->live_away && !b->live_away && b->engine != NULL;
}

static void queue(struct memory_bus *bus, struct bus_link *link, struct datagram *datagram)
{
    uint64_t more_ms = bus->faults.delay_more_ms > 0 ? bus_random(bus) % (bus->faults.delay_more_ms + 1) : 0;
    datagram->due_ms = bus->now_ms + bus->faults.delay_ms + more_ms;
    if (datagram->due_ms < link->last_due_ms) datagram->due_ms = link->last_due_ms;
    link->last_due_ms = datagram->due_ms;
    bus_datagrams_add(&link->queue, datagram);
}

static void post_on(struct memory_bus *bus, struct endpoint *from, struct endpoint *to, const struct datagram *datagram)
{
    struct bus_link *link = &from->links[to - bus->endpoints];
    if (!meet(from, to) || bus_happens(bus, bus->faults.lost)) return;
    if (link->lose > 0) {
        link->lose--;
        return;
    }
    if (link->queue.count >= FROZEN_DATAGRAMS) return;
    queue(bus, link, bus_datagram_new(datagram->to, datagram->bytes, datagram->len));
    if (link->again != NULL) queue(bus, link, link->again);
    link->again = NULL;
    if (!bus_happens(bus, bus->faults.twice)) return;
    struct datagram *again = bus_datagram_new(datagram->to, datagram->bytes, datagram->len);
    if (bus_random(bus) % 2 == 0) queue(bus, link, again);
    else link->again = again;
}

void bus_post(struct memory_bus *bus, struct endpoint *from, const struct datagram *datagram)
{
    for (uint32_t i = 0; i < bus->endpoints_count; i++) {
        struct endpoint *to = &bus->endpoints[i];
        if (to == from || (datagram->to[0] != '\0' && strcmp(datagram->to, to->name) != 0)) continue;
        post_on(bus, from, to, datagram);
    }
}

void bus_leave(struct memory_bus *bus, struct endpoint *at)
{
    at->engine = NULL;
    for (uint32_t i = 0; i < bus->endpoints_count; i++) { /* what comes late does not come when its sender is another */
        datagram_free(at->links[i].again);
        at->links[i].again = NULL;
    }
}

static void receive(struct memory_engine *engine, const uint8_t *bytes, size_t len)
{
    if (engine->events.datagrams >= engine->at->ring_in) {
        engine->figures.dropped_in++;
        return;
    }
    engine->figures.datagrams_in++;
    engine->figures.bytes_in += len;
    engine->events.datagrams++;
    bus_event_bytes(engine, RECEIVED, (mps_view){bytes, (uint32_t)len}, (mps_view){0});
}

static void arrive(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    struct bus_link *link = with;
    struct datagram *datagram = bus_datagrams_take(&link->queue);
    (void)bus;
    if (engine != NULL) receive(engine, datagram->bytes, datagram->len);
    datagram_free(datagram);
}

static void look_links(struct memory_bus *bus, struct endpoint *to, struct choice *choice)
{
    if (to->is_frozen) return;
    for (uint32_t i = 0; i < bus->endpoints_count; i++) {
        struct bus_link *link = &bus->endpoints[i].links[to - bus->endpoints];
        if (link->queue.first == NULL) continue;
        bus_choice_add(choice, link->queue.first->due_ms, (struct candidate){arrive, to->engine, link});
    }
}

/* ---- steps -------------------------------------------------------------------------------------------------- */

void bus_choice_add(struct choice *choice, uint64_t due_ms, struct candidate candidate)
{
    struct memory_bus *bus = choice->bus;
    if (due_ms > bus->now_ms) {
        if (due_ms < choice->next_ms) choice->next_ms = due_ms;
        return;
    }
    choice->due_count++;
    if (choice->due_count == 1 || (bus->shuffles && bus_random(bus) % choice->due_count == 0))
        choice->chosen = candidate;
}

static void connect_engine(struct memory_bus *bus, struct memory_engine *engine, void *with)
{
    (void)bus;
    (void)with;
    const struct endpoint *at = engine->at;
    bool is_storing = bus_stores(at), was_storing = engine->told_storing;
    struct event *event = bus_event(engine, CONNECTED);
    event->is_live = engine->told_live = !at->live_away;
    event->is_storing = engine->told_storing = is_storing;
    if (is_storing != was_storing) bus_records_watch(engine, is_storing);
    if (at->live_away || !is_storing) strcpy(event->text, "the cluster is away: the test says so");
    memcpy(engine->figures.text, event->text, sizeof event->text);
}

static void look_connection(struct memory_bus *bus, struct endpoint *at, struct choice *choice)
{
    struct memory_engine *engine = at->engine;
    if (engine == NULL || at->is_frozen) return;
    if (engine->told_live == !at->live_away && engine->told_storing == bus_stores(at)) return;
    bus_choice_add(choice, bus->now_ms, (struct candidate){connect_engine, engine, NULL});
}

static void look(struct memory_bus *bus, struct choice *choice)
{
    *choice = (struct choice){.bus = bus, .next_ms = NEVER};
    struct endpoint *all = bus->endpoints;
    uint32_t count = bus->endpoints_count;
    for (uint32_t i = 0; i < count; i++) look_connection(bus, &all[i], choice);
    for (uint32_t i = 0; i < count; i++)
        if (all[i].engine != NULL) bus_reading_look_states(bus, all[i].engine, choice);
    for (uint32_t i = 0; i < count; i++) look_links(bus, &all[i], choice);
    bus_appends_look_ghosts(bus, choice);
    for (uint32_t i = 0; i < count; i++) {
        if (all[i].engine == NULL || all[i].is_frozen) continue;
        bus_appends_look(bus, all[i].engine, choice);
        bus_reading_look(bus, all[i].engine, choice);
    }
    for (uint32_t i = 0; i < count; i++)
        if (bus_stores(&all[i])) bus_records_look(bus, all[i].engine, choice);
    for (uint32_t i = 0; i < count; i++)
        if (bus_stores(&all[i])) bus_reading_look_tails(bus, all[i].engine, choice);
    for (uint32_t i = 0; i < count; i++)
        if (bus_stores(&all[i])) bus_records_look_watch(bus, all[i].engine, choice);
}

bool memory_bus_step(struct memory_bus *bus)
{
    struct choice choice;
    look(bus, &choice);
    if (choice.due_count == 0) return false;
    choice.chosen.act(bus, choice.chosen.engine, choice.chosen.with);
    return true;
}

uint32_t memory_bus_run(struct memory_bus *bus)
{
    uint32_t steps = 0;
    while (memory_bus_step(bus)) steps++;
    return steps;
}

uint64_t memory_bus_next(const struct memory_bus *bus)
{
    struct memory_bus *looked = (struct memory_bus *)bus;
    uint64_t random = bus->random; /* looking is no chance */
    struct choice choice;
    look(looked, &choice);
    looked->random = random;
    return choice.due_count > 0 ? bus->now_ms : choice.next_ms;
}

void memory_bus_time(struct memory_bus *bus, uint64_t now_ms, uint64_t wall_ms)
{
    assert(now_ms >= bus->now_ms);
    bus->now_ms = now_ms;
    bus->wall_ms = wall_ms;
    bus_streams_age(bus);
}

/* ---- the test's side ---------------------------------------------------------------------------------------- */

struct memory_bus *memory_bus_new(uint64_t seed)
{
    struct memory_bus *bus = memory_zeroed(sizeof *bus);
    bus->random = seed;
    bus->bucket = 1;
    bus->wall_ms = UINT64_C(1700000000000);
    return bus;
}

void memory_bus_free(struct memory_bus *bus)
{
    for (uint32_t i = 0; i < bus->endpoints_count; i++) {
        assert(bus->endpoints[i].engine == NULL);
        for (uint32_t k = 0; k < MEMORY_ENGINES_MAX; k++) {
            bus_datagrams_free(&bus->endpoints[i].links[k].queue);
            datagram_free(bus->endpoints[i].links[k].again);
        }
    }
    bus_appends_free(bus);
    bus_streams_free(bus);
    bus_records_free(bus);
    free(bus);
}

void memory_bus_shuffle(struct memory_bus *bus)
{
    bus->shuffles = true;
}

struct memory_faults *memory_bus_faults(struct memory_bus *bus)
{
    return &bus->faults;
}

static void empty(struct bus_link *link)
{
    bus_datagrams_free(&link->queue);
    datagram_free(link->again);
    link->again = NULL;
}

static void empty_links(struct memory_bus *bus, struct endpoint *at)
{
    for (uint32_t i = 0; i < bus->endpoints_count; i++) {
        if (bus->endpoints[i].side == at->side && !at->live_away) continue;
        empty(&bus->endpoints[i].links[at - bus->endpoints]);
        empty(&at->links[i]);
    }
}

void memory_bus_side(struct memory_bus *bus, const char *name, uint32_t side)
{
    struct endpoint *at = bus_endpoint(bus, name);
    at->side = side;
    empty_links(bus, at);
}

void memory_bus_freeze(struct memory_bus *bus, const char *name, bool is_frozen)
{
    bus_endpoint(bus, name)->is_frozen = is_frozen;
}

void memory_bus_away(struct memory_bus *bus, const char *name, bool live, bool storing)
{
    for (uint32_t i = 0; i < bus->endpoints_count; i++) {
        struct endpoint *at = &bus->endpoints[i];
        if (name != NULL && at != bus_endpoint(bus, name)) continue;
        at->live_away = live;
        at->storing_away = storing;
        empty_links(bus, at);
    }
}

void memory_bus_lose(struct memory_bus *bus, const char *from, const char *to, uint32_t count)
{
    bus_endpoint(bus, from)->links[bus_endpoint(bus, to) - bus->endpoints].lose = count;
}

void memory_bus_rings(struct memory_bus *bus, const char *name, uint32_t out, uint32_t in)
{
    struct endpoint *at = bus_endpoint(bus, name);
    at->ring_out = out;
    at->ring_in = in;
}

void memory_bus_datagram_max(struct memory_bus *bus, const char *name, size_t bytes)
{
    assert(bytes >= ENGINE_DATAGRAM_LEAST);
    bus_endpoint(bus, name)->datagram_max = bytes;
}

uint32_t memory_bus_datagrams(const struct memory_bus *bus, const char *from, const char *to)
{
    struct memory_bus *at = (struct memory_bus *)bus;
    return bus_endpoint(at, from)->links[bus_endpoint(at, to) - bus->endpoints].queue.count;
}

void memory_bus_inject(struct memory_bus *bus, const char *to, const uint8_t *bytes, size_t len)
{
    struct endpoint *at = bus_endpoint(bus, to);
    if (at->engine != NULL) receive(at->engine, bytes, len);
}
