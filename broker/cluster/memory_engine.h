/* Engines in memory, for tests: any number of them meet on a bus, in one thread and without a clock of their own. What a
 * real cluster does to brokers happens when the test says so, or by chance of a seed: the same calls give the same results.
 *
 *   bus = memory_bus_new(1);
 *   engine = memory_engine_open(bus, &(struct engine_options){.name = "one", .defer_ms = 10000, .defer_bytes = 1 << 20});
 *   ... send(), append(), put(), flush() ...
 *   memory_bus_run(bus);                                    everything that is due goes its way, up to the engines
 *   if (memory_engine_ready(engine)) engine->poll(engine);  and from there to who polls
 *
 * What the options say of servers is not looked at. Names are copied. */
#ifndef CLUSTER_MEMORY_ENGINE_H
#define CLUSTER_MEMORY_ENGINE_H

#include "engine.h"

#define MEMORY_ENGINES_MAX 16 /* names that a bus has ever seen */
#define MEMORY_STREAMS_MAX 16 /* streams that it has */

struct memory_bus;

struct memory_bus *memory_bus_new(uint64_t seed);
void memory_bus_free(struct memory_bus *bus); /* no engine may be open */

/* One at a time for a name. Only .name, .defer_ms, .defer_bytes, .wake (may be NULL) and .arg of the options are used. */
struct engine *memory_engine_open(struct memory_bus *bus, const struct engine_options *options);
/* The process dies: frees the engine without events. kept: what was flushed is stored all the same. */
void memory_engine_crash(struct engine *engine, bool kept);
/* The same for a core that lives on for a moment, so that it can be freed: the engine does nothing any more, and close()
 * frees it. Its name is free for another one. */
void memory_engine_die(struct engine *engine, bool kept);
bool memory_engine_ready(const struct engine *engine); /* poll() has something to tell */

/* ---- when things are done ----------------------------------------------------------------------------------- */

void memory_bus_time(struct memory_bus *bus, uint64_t now_ms, uint64_t wall_ms); /* it is now; never back */
bool memory_bus_step(struct memory_bus *bus);     /* one thing that is due goes on; false: nothing is */
uint32_t memory_bus_run(struct memory_bus *bus);  /* until nothing is. Returns the steps */
uint64_t memory_bus_next(const struct memory_bus *bus); /* ms: when the next thing is due; UINT64_MAX: nothing will be */
/* From now on each step takes any of the things that are due, by the seed. Else they go in a fixed order: connections,
 * streams' states, datagrams, appends, their answers, puts, reads, tails, records. */
void memory_bus_shuffle(struct memory_bus *bus);

/* ---- faults ------------------------------------------------------------------------------------------------- */

/* All zero at first. */
struct memory_faults {
    uint32_t lost, twice;        /* of 1000 datagrams. The second one comes at once, or behind the next of its link */
    uint32_t late;               /* of 1000 appends that were given up: they are stored all the same, later */
    uint32_t unheard;            /* of 1000 appends: stored, but the answer is lost, and the engine appends again */
    uint32_t coalesced;          /* of 1000 records that were replaced before they were told: never told */
    uint64_t delay_ms, delay_more_ms; /* datagrams take so long, and up to so much more; those of a link stay in order */
    uint64_t settle_ms, tail_ms, record_ms; /* from being stored to .settled(), .tail(), .record() */
    uint64_t put_ms;             /* from put() until it is done */
    uint64_t ask_ms;             /* from ask_state() until that is looked at and told */
};
struct memory_faults *memory_bus_faults(struct memory_bus *bus);

/* Those on different sides don't reach each other; all begin on 0. Streams and records are on the side of 0. What is on
 * its way between sides is lost. */
void memory_bus_side(struct memory_bus *bus, const char *name, uint32_t side);
/* As a stopped process: nothing reaches it, datagrams for it pile up to a bound, and go on when it does. The test doesn't
 * poll it, nor run its core. */
void memory_bus_freeze(struct memory_bus *bus, const char *name, bool is_frozen);
/* Its connections are lost: for datagrams, for streams and records. NULL: everybody's. Both false: they are back. */
void memory_bus_away(struct memory_bus *bus, const char *name, bool live, bool storing);
void memory_bus_lose(struct memory_bus *bus, const char *from, const char *to, uint32_t count); /* the next datagrams */
/* Rings' bounds in datagrams, at first 4096; one that comes when its ring is full is dropped. */
void memory_bus_rings(struct memory_bus *bus, const char *name, uint32_t out, uint32_t in);
void memory_bus_datagram_max(struct memory_bus *bus, const char *name, size_t bytes); /* with its next poll(). At first 64 KiB */

/* A stream is deleted under the brokers: it is not there, until it is made anew, with another identity and from position
 * 1 on. What is appended in between waits. */
void memory_bus_delete_stream(struct memory_bus *bus, uint32_t number);
void memory_bus_remake_stream(struct memory_bus *bus, uint32_t number);
void memory_bus_delete_message(struct memory_bus *bus, uint32_t number, uint64_t position); /* leaves a hole */

/* All records are lost, as when their bucket was deleted: everybody is told from the beginning. */
void memory_bus_lose_records(struct memory_bus *bus);

/* ---- what a test wants to know, or does in the place of others ----------------------------------------------- */

uint32_t memory_bus_datagrams(const struct memory_bus *bus, const char *from, const char *to); /* on their way */
uint64_t memory_bus_first(const struct memory_bus *bus, uint32_t stream); /* 0: there is no such stream */
uint64_t memory_bus_next_position(const struct memory_bus *bus, uint32_t stream);
/* False: it is not there. The frame is lent until the bus goes on. */
bool memory_bus_message(const struct memory_bus *bus, uint32_t stream, uint64_t position, mps_view *frame);
/* Its revision; 0: it is not there. The value is lent until the bus goes on. */
uint64_t memory_bus_record(const struct memory_bus *bus, uint32_t kind, mps_view key, mps_view *value);
/* As somebody who is no broker. value.ptr NULL: removed. */
void memory_bus_put(struct memory_bus *bus, uint32_t kind, mps_view key, mps_view value);
/* A frame is appended to a stream that is there; else nothing happens. */
void memory_bus_append(struct memory_bus *bus, uint32_t stream, mps_view frame);
/* Bytes that come to this one as a datagram, from nobody. */
void memory_bus_inject(struct memory_bus *bus, const char *to, const uint8_t *bytes, size_t len);

#endif
