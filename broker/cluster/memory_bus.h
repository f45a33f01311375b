/* Inside the engines in memory: the bus with its links (memory_bus.c), what all share (memory_streams.c with
 * memory_appends.c and memory_reading.c, memory_records.c), and each engine's own end (memory_engine.c). */
#ifndef CLUSTER_MEMORY_BUS_H
#define CLUSTER_MEMORY_BUS_H

#include "memory_engine.h"

#define NEVER UINT64_MAX

struct datagram {
    struct datagram *next;
    uint64_t due_ms;
    uint8_t *bytes; /* malloc of its own, so that reading behind it is found */
    size_t len;
    char to[ENGINE_NAME_MAX + 1]; /* "": all */
};
struct datagrams {
    struct datagram *first, *last;
    uint32_t count;
};
/* From one to another. */
struct bus_link {
    struct datagrams queue;
    struct datagram *again; /* comes behind the next one; NULL: none */
    uint64_t last_due_ms;
    uint32_t lose;          /* of the next ones */
};

enum event_kind { RECEIVED, CONNECTED, SETTLED, STATE, TAIL, READ_DONE, RECORD, BEGIN, LOADED, PUT_DONE };

/* What poll() will tell. */
struct event {
    struct event *next;
    enum event_kind kind;
    uint8_t *bytes;        /* our own: the datagram, the block, or the record's key with the value behind it */
    size_t len;
    bool is_live, is_storing, was_there, is_done;
    enum store_code code;
    uint64_t number, last; /* the token and the last position; the mark and the revision */
    struct engine_stream_state state;
    struct store_block block;
    struct store_read *read;
    struct engine_record record;
    char text[STORE_TEXT_MAX];
};
struct event_list {
    struct event *first, *last;
    uint32_t datagrams;
};

enum append_state { TAKEN, WAITING, STORED };

struct pending_append {
    struct pending_append *next;
    struct engine_append append; /* .bytes and .id are our own */
    enum append_state state;
    uint64_t give_up_ms, again_ms, settle_ms;
    enum store_code code;        /* of what is STORED: how that went */
    uint64_t last;
    bool was_there;
    char text[STORE_TEXT_MAX];
};

struct pending_put {
    struct pending_put *next;
    struct engine_put put; /* .key and .value are our own */
    uint64_t due_ms;
};

/* A stream as an engine knows it. */
struct opened {
    struct engine_stream stream; /* .name is our own */
    bool was_told;
    bool is_there;               /* as it was told last; likewise the others */
    uint64_t identity, first, next, msgs, told_ms;
    bool is_followed;
    uint64_t tail_from, tail_next; /* where the tail began; position that it hasn't shown yet */
    uint64_t asked, asked_ms;    /* the mark of what was asked, and when; 0: nothing was */
};

struct memory_engine {
    struct engine engine;
    struct memory_bus *bus;
    struct endpoint *at;
    uint64_t serial;             /* no two have the same */
    void (*wake)(void *arg);
    void *arg;
    uint64_t defer_ms, defer_bytes;
    size_t next_datagram_max;
    struct datagrams out;        /* until flush() */
    struct event_list events;
    bool told_live, told_storing;
    struct pending_append *appends;
    uint64_t waiting, waiting_bytes;
    struct pending_put *puts;
    uint32_t puts_count;
    struct store_read *reads, *last_read;
    struct opened opened[MEMORY_STREAMS_MAX];
    uint32_t opened_count;
    bool is_loading, is_watching, tells_all;
    uint64_t bucket;             /* of which it tells */
    uint32_t watch_next, load_end; /* in the bus's log of records */
    uint64_t load_revision;        /* the last one of what is being loaded */
    struct engine_figures figures;
};

/* A broker's place, which outlives its engines. */
struct endpoint {
    char name[ENGINE_NAME_MAX + 1];
    struct memory_engine *engine; /* NULL: nobody is there */
    uint32_t side, ring_out, ring_in;
    bool is_frozen, live_away, storing_away;
    size_t datagram_max;
    struct bus_link links[MEMORY_ENGINES_MAX]; /* to each */
};

struct kept_message {
    uint8_t *bytes; /* NULL: it was deleted */
    uint32_t len;
    uint64_t time_ms;
};
/* Who sent what, for as long as it is remembered. */
struct seen {
    uint64_t hash, position;
    uint8_t *id;
    uint32_t id_len;
    uint64_t boot, pid;
};
struct shared_stream {
    struct engine_stream stream; /* .name is our own */
    bool is_there;
    uint64_t identity, first, next, bytes, msgs;
    struct kept_message *messages; /* those from .first on */
    uint32_t count, room;
    struct seen *seen;
    uint32_t seen_count, seen_room;
};

struct logged_record {
    uint32_t kind;
    mps_view key, value; /* our own */
    uint64_t revision, due_ms, mark, serial; /* of the engine whose put it is */
    bool is_replaced;
};

struct memory_bus {
    struct memory_faults faults;
    uint64_t random, now_ms, wall_ms, serials, identities, revision;
    bool shuffles;
    struct endpoint endpoints[MEMORY_ENGINES_MAX];
    uint32_t endpoints_count;
    struct shared_stream streams[MEMORY_STREAMS_MAX];
    uint32_t streams_count;
    uint64_t bucket;               /* another number: the records of before are gone */
    struct logged_record *log;
    uint32_t log_count, log_room;
    struct pending_append *ghosts; /* given up by who sent them, and stored all the same */
};

/* Something that can go on, at a moment. */
struct candidate {
    void (*act)(struct memory_bus *bus, struct memory_engine *engine, void *with);
    struct memory_engine *engine;
    void *with;
};
/* Those that were looked at, of which one is chosen. */
struct choice {
    struct memory_bus *bus;
    struct candidate chosen;
    uint32_t due_count;
    uint64_t next_ms; /* of those that are not due yet */
};
void bus_choice_add(struct choice *choice, uint64_t due_ms, struct candidate candidate);

/* ---- memory_bus.c */
uint64_t bus_random(struct memory_bus *bus);
bool bus_happens(struct memory_bus *bus, uint32_t per_mille);
struct endpoint *bus_endpoint(struct memory_bus *bus, const char *name); /* made if it is new */
struct datagram *bus_datagram_new(const char *to, const uint8_t *bytes, size_t len);
void bus_datagrams_add(struct datagrams *list, struct datagram *datagram);
struct datagram *bus_datagrams_take(struct datagrams *list); /* NULL: it is empty */
void bus_datagrams_free(struct datagrams *list);
void bus_post(struct memory_bus *bus, struct endpoint *from, const struct datagram *datagram);
void bus_leave(struct memory_bus *bus, struct endpoint *at); /* its engine is no more */
bool bus_stores(const struct endpoint *at); /* its streams and records can be reached */
void *memory_zeroed(size_t size);           /* never NULL */
mps_view memory_copy(mps_view bytes);       /* never NULL but for NULL */

/* ---- memory_engine.c */
struct event *bus_event(struct memory_engine *engine, enum event_kind kind); /* behind all others */
struct event *bus_event_bytes(struct memory_engine *engine, enum event_kind kind, mps_view first, mps_view second);

/* ---- memory_streams.c: what the streams have, whoever it came from */
struct shared_stream *bus_stream(struct memory_bus *bus, uint32_t number); /* NULL: there is none of that number */
struct shared_stream *bus_stream_made(struct memory_bus *bus, const struct engine_stream *stream); /* if it was none yet */
struct kept_message *bus_stream_message(const struct shared_stream *shared, uint64_t position); /* NULL: it isn't there */
/* Stores those of its messages that are not there yet. The outcome is pending's. */
void bus_stream_apply(struct memory_bus *bus, struct shared_stream *shared, struct pending_append *pending);
void bus_streams_age(struct memory_bus *bus);
void bus_streams_free(struct memory_bus *bus);

/* ---- memory_appends.c: the way of what engines append, from being taken to being settled or given up */
bool bus_appends_take(struct memory_engine *engine, const struct engine_append *append, char text[STORE_TEXT_MAX]);
void bus_appends_flush(struct memory_engine *engine);
void bus_appends_look(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice);
void bus_appends_look_ghosts(struct memory_bus *bus, struct choice *choice);
void bus_appends_end(struct memory_engine *engine, bool kept); /* what waits is stored, if it may be; all is freed */
void bus_appends_free(struct memory_bus *bus);

/* ---- memory_reading.c: what engines are told of the streams: how far they are, their tails, and what was asked for */
void bus_reading_open(struct memory_engine *engine, const struct engine_stream *stream);
void bus_reading_follow(struct memory_engine *engine, uint32_t stream, uint64_t identity, uint64_t from);
void bus_reading_ask(struct memory_engine *engine, uint32_t stream, uint64_t mark);
void bus_reading_begin(struct memory_engine *engine, struct store_read *read);
void bus_reading_look(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice); /* at its reads */
void bus_reading_look_states(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice);
void bus_reading_look_tails(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice);
void bus_reading_end(struct memory_engine *engine);

/* ---- memory_records.c */
void bus_records_look(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice);
void bus_records_look_watch(struct memory_bus *bus, struct memory_engine *engine, struct choice *choice);
bool bus_records_take(struct memory_engine *engine, const struct engine_put *put);
void bus_records_watch(struct memory_engine *engine, bool is_storing);
void bus_records_end(struct memory_engine *engine, bool kept);
void bus_records_free(struct memory_bus *bus);

#endif
