#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "memory_bus.h"

static struct memory_engine *of(struct engine *engine)
{
    return (struct memory_engine *)(void *)engine;
}

/* ---- events ------------------------------------------------------------------------------------------------- */

struct event *bus_event(struct memory_engine *engine, enum event_kind kind)
{
    struct event *event = memory_zeroed(sizeof *event);
    event->kind = kind;
    if (engine->events.last != NULL) engine->events.last->next = event;
    else engine->events.first = event;
    engine->events.last = event;
    if (engine->wake != NULL) engine->wake(engine->arg);
    return event;
}

struct event *bus_event_bytes(struct memory_engine *engine, enum event_kind kind, mps_view first, mps_view second)
{
    struct event *event = bus_event(engine, kind);
    event->len = (size_t)first.len + second.len;
    event->bytes = memory_zeroed(event->len);
    if (first.len > 0) memcpy(event->bytes, first.ptr, first.len);
    if (second.len > 0) memcpy(event->bytes + first.len, second.ptr, second.len);
    return event;
}

static void tell(struct memory_engine *engine, struct event *event)
{
    const struct engine_events *to = &engine->engine.events;
    switch (event->kind) {
    case RECEIVED:
        engine->events.datagrams--;
        to->received(to->arg, event->bytes, event->len);
        break;
    case CONNECTED:
        to->connected(to->arg, event->is_live, event->is_storing, event->is_live ? "" : event->text,
                      event->is_storing ? "" : event->text);
        break;
    case SETTLED: to->settled(to->arg, event->number, event->code, event->last, event->was_there, event->text); break;
    case STATE: to->stream_state(to->arg, &event->state); break;
    case TAIL: to->tail(to->arg, &event->block); break;
    case READ_DONE: {
        struct store_read *read = event->read;
        event->read = NULL;
        to->read_done(to->arg, read);
        break;
    }
    case RECORD: to->record(to->arg, &event->record); break;
    case BEGIN: to->records_begin(to->arg); break;
    case LOADED: to->records_loaded(to->arg, event->last); break;
    case PUT_DONE: to->put_done(to->arg, event->number, event->is_done, event->last); break;
    }
}

static void free_event(struct event *event)
{
    if (event->read != NULL) free(event->read->bytes);
    free(event->read);
    free(event->bytes);
    free(event);
}

static struct event *take_event(struct event_list *list)
{
    struct event *event = list->first;
    if (event == NULL) return NULL;
    list->first = event->next;
    if (list->first == NULL) list->last = NULL;
    return event;
}

/* Only what is ready by now: what the events begin is told by the next poll(). */
static void poll_engine(struct engine *engine)
{
    struct memory_engine *memory = of(engine);
    if (memory->at->is_frozen) return;
    engine->datagram_max = memory->at->datagram_max;
    const struct event *last = memory->events.last;
    for (bool more = last != NULL; more;) {
        struct event *event = take_event(&memory->events);
        more = event != last;
        tell(memory, event);
        free_event(event);
    }
}

bool memory_engine_ready(const struct engine *engine)
{
    const struct memory_engine *memory = (const struct memory_engine *)(const void *)engine;
    return memory->events.first != NULL && !memory->at->is_frozen;
}

/* ---- datagrams ---------------------------------------------------------------------------------------------- */

static bool send_datagram(struct engine *engine, const char *to, const uint8_t *bytes, size_t len)
{
    struct memory_engine *memory = of(engine);
    if (len > engine->datagram_max || memory->out.count >= memory->at->ring_out || memory->at->live_away) {
        memory->figures.dropped_out++;
        return false;
    }
    assert(to == NULL || (to[0] != '\0' && strlen(to) <= ENGINE_NAME_MAX));
    bus_datagrams_add(&memory->out, bus_datagram_new(to, bytes, len));
    return true;
}

static void flush(struct engine *engine)
{
    struct memory_engine *memory = of(engine);
    for (const struct datagram *datagram = memory->out.first; datagram != NULL; datagram = datagram->next) {
        memory->figures.datagrams_out++;
        memory->figures.bytes_out += datagram->len;
        bus_post(memory->bus, memory->at, datagram);
    }
    bus_datagrams_free(&memory->out);
    bus_appends_flush(memory);
}

/* ---- the rest of the table ---------------------------------------------------------------------------------- */

static void open_stream(struct engine *engine, const struct engine_stream *stream)
{
    bus_reading_open(of(engine), stream);
}

static void follow(struct engine *engine, uint32_t stream, uint64_t identity, uint64_t from)
{
    bus_reading_follow(of(engine), stream, identity, from);
}

static void ask_state(struct engine *engine, uint32_t stream, uint64_t mark)
{
    bus_reading_ask(of(engine), stream, mark);
}

static bool append(struct engine *engine, const struct engine_append *append, char text[STORE_TEXT_MAX])
{
    return bus_appends_take(of(engine), append, text);
}

static void begin_read(struct engine *engine, struct store_read *read)
{
    bus_reading_begin(of(engine), read);
}

static bool put(struct engine *engine, const struct engine_put *put)
{
    return bus_records_take(of(engine), put);
}

static void tell_figures(struct engine *engine, struct engine_figures *figures)
{
    const struct memory_engine *memory = of(engine);
    *figures = memory->figures;
    figures->is_live = memory->told_live;
    figures->is_storing = memory->told_storing;
    if (memory->told_live) strcpy(figures->server, "memory://bus");
    figures->rtt_us = memory->told_live ? memory->bus->faults.delay_ms * 2000 : UINT64_MAX;
    figures->waiting_appends = memory->waiting;
    figures->waiting_bytes = memory->waiting_bytes;
}

/* Nothing of it is left but itself. */
static void end(struct memory_engine *engine, bool kept)
{
    bus_appends_end(engine, kept);
    bus_reading_end(engine);
    bus_records_end(engine, kept);
    bus_datagrams_free(&engine->out);
    for (struct event *event; (event = take_event(&engine->events)) != NULL;) free_event(event);
    bus_leave(engine->bus, engine->at);
}

static void close_engine(struct engine *engine)
{
    flush(engine);
    end(of(engine), true);
    free(engine);
}

void memory_engine_crash(struct engine *engine, bool kept)
{
    end(of(engine), kept);
    free(engine);
}

/* ---- one that is dead --------------------------------------------------------------------------------------- */

static bool dead_send(struct engine *engine, const char *to, const uint8_t *bytes, size_t len)
{
    (void)engine, (void)to, (void)bytes, (void)len;
    return false;
}
static void dead_call(struct engine *engine)
{
    (void)engine;
}
static void dead_open_stream(struct engine *engine, const struct engine_stream *stream)
{
    (void)engine, (void)stream;
}
static void dead_follow(struct engine *engine, uint32_t stream, uint64_t identity, uint64_t from)
{
    (void)engine, (void)stream, (void)identity, (void)from;
}
static void dead_ask_state(struct engine *engine, uint32_t stream, uint64_t mark)
{
    (void)engine, (void)stream, (void)mark;
}
static bool dead_append(struct engine *engine, const struct engine_append *append, char text[STORE_TEXT_MAX])
{
    (void)engine, (void)append;
    strcpy(text, "the engine is dead: the test says so");
    return false;
}
static void dead_read(struct engine *engine, struct store_read *read)
{
    (void)engine;
    free(read); /* as those that were under way */
}
static bool dead_put(struct engine *engine, const struct engine_put *put)
{
    (void)engine, (void)put;
    return false;
}
static void dead_figures(struct engine *engine, struct engine_figures *figures)
{
    *figures = of(engine)->figures;
}
static void dead_close(struct engine *engine)
{
    free(engine);
}

void memory_engine_die(struct engine *engine, bool kept)
{
    end(of(engine), kept);
    engine->send = dead_send;
    engine->flush = dead_call;
    engine->open_stream = dead_open_stream;
    engine->follow = dead_follow;
    engine->ask_state = dead_ask_state;
    engine->append = dead_append;
    engine->read = dead_read;
    engine->put = dead_put;
    engine->poll = dead_call;
    engine->figures = dead_figures;
    engine->close = dead_close;
}

struct engine *memory_engine_open(struct memory_bus *bus, const struct engine_options *options)
{
    struct memory_engine *memory = memory_zeroed(sizeof *memory);
    memory->bus = bus;
    memory->at = bus_endpoint(bus, options->name);
    assert(memory->at->engine == NULL);
    memory->at->engine = memory;
    memory->serial = ++bus->serials;
    memory->wake = options->wake;
    memory->arg = options->arg;
    memory->defer_ms = options->defer_ms;
    memory->defer_bytes = options->defer_bytes;
    memory->engine = (struct engine){.datagram_max = memory->at->datagram_max,
                                     .send = send_datagram,
                                     .flush = flush,
                                     .open_stream = open_stream,
                                     .follow = follow,
                                     .ask_state = ask_state,
                                     .append = append,
                                     .read = begin_read,
                                     .put = put,
                                     .poll = poll_engine,
                                     .figures = tell_figures,
                                     .close = close_engine};
    return &memory->engine;
}
