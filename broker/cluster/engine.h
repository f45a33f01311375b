/* The seam between the broker's core and the engine that joins several brokers: it carries bytes between them, and keeps
 * the streams and records that they share. The core knows no NATS but through this table; nats_engine.c answers it in the
 * program (a module of its own, loaded only where [cluster] is configured), memory_engine.c in the tests.
 *
 *   core                                 engine
 *   send(to, datagram)               ->  the broker of that name, or all of them: .received() there. May be lost, may come
 *                                        twice; what comes from one broker comes in its order unless the link broke
 *   append(stream, frames, token)    ->  .settled(token), when a majority of the stream's replicas has them, or when that
 *                                        failed; tokens settle in their order
 *   follow(stream, from)             ->  .tail(block), in the order of positions, without a hole: what was appended by anybody,
 *                                        at each broker that follows
 *   read(request)                    ->  .read_done(request): what is in a shared stream
 *   put(kind, key, value)            ->  .record() at every broker, in one order for each key; the last one stays
 *   poll()                           ->  where the events are called from, never from elsewhere
 *
 * Thread: all calls come from the one that runs the core, and return at once, whatever the network does. When there is
 * something to poll for, the engine calls the `wake` that it was opened with, on any thread. */
#ifndef CLUSTER_ENGINE_H
#define CLUSTER_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store.h"
#include "wire.h"

#define ENGINE_NAME_MAX 64         /* bytes of a broker's name: letters, digits, '-', '_' */
#define ENGINE_DATAGRAM_LEAST 4096 /* every engine carries datagrams of so many bytes */
#define ENGINE_PUT_ANYHOW UINT64_MAX

struct engine;

/* A stream that all brokers share. Times in ms; UINT64_MAX: no limit. */
struct engine_stream {
    uint32_t number;           /* the same at every broker */
    const char *name;          /* 1..64 bytes, any but NUL. Copied */
    uint32_t replicas;         /* 1, 3 or 5 */
    uint64_t max_bytes, max_msgs, max_age_ms;
    bool refuses;              /* when it is full; else the oldest messages go */
};

/* How far a shared stream is, as it was last heard. */
struct engine_stream_state {
    uint32_t number;
    bool is_there;             /* it is known and answers; else only .text means something */
    uint64_t identity;         /* another one: it was made anew, and positions of before mean nothing */
    uint64_t first, next;      /* positions: of the oldest message that is kept; what the next one will get */
    uint64_t msgs, bytes;
    uint32_t replicas, current;/* copies that there are to be, and that are up to date */
    uint64_t mark;             /* of the last ask_state() that this answers; 0: it answers none */
    const char *text;          /* why it is not there, or what makes its copies doubtful: a sentence; "" : nothing */
};

/* Frames for a shared stream, as they came from one publisher. */
struct engine_append {
    uint32_t stream;
    uint32_t count, len;
    const uint8_t *bytes;      /* MSG frames, one behind the other. Copied */
    mps_view id;               /* of the publisher, with .boot and pids names them: sent again, they are stored once. */
    uint64_t boot, first_pid;  /* the others have the next ones. id.len 0: nobody sends them again */
    bool is_waited_for;        /* somebody waits for the answer: given up after defer_ms. Else kept as long as the engine lives */
    uint64_t token;            /* they go up by one */
};

/* A value under (kind, key) that all brokers share. Its kinds are the core's, 1 .. 255. */
struct engine_put {
    uint32_t kind;
    mps_view key, value;       /* any bytes, key 1 .. STORE_KEY_MAX. value.ptr NULL: remove it. Copied */
    uint64_t expected;         /* only if its revision is this (0: it is not there); ENGINE_PUT_ANYHOW */
    uint64_t mark;             /* comes back with .put_done() and .record(); 0: nobody wants to know */
};

struct engine_record {
    uint32_t kind;
    mps_view key, value;       /* value.ptr NULL: it was removed */
    uint64_t revision;
    uint64_t mark;             /* of our own put; 0: somebody else's, or of an earlier life */
};

/* What operators want to know. UINT64_MAX: not known. */
struct engine_figures {
    bool is_live, is_storing;  /* the connection for datagrams, that for streams and records: up */
    char server[128];          /* of the first: URL without credentials; "" while there is none */
    uint64_t rtt_us;           /* to it and back */
    uint64_t reconnects;       /* of both */
    uint64_t datagrams_out, bytes_out, datagrams_in, bytes_in;
    uint64_t dropped_out, dropped_in;         /* datagrams: a ring was full, or nobody was connected */
    uint64_t waiting_appends, waiting_bytes;  /* not settled yet */
    char text[STORE_TEXT_MAX]; /* the last trouble: a sentence; "" : none */
};

/* What is lent is lent for the call. */
struct engine_events {
    void (*received)(void *arg, const uint8_t *bytes, size_t len);
    /* One of them has changed, or there is a first reason why one is not there. Both reasons are sentences; "": it is there, or
     * there is nothing to say of it. */
    void (*connected)(void *arg, bool is_live, bool is_storing, const char *why_not_live, const char *why_not_storing);
    /* Something does not work although both are there, and operators should know: a sentence, once for each connection. */
    void (*trouble)(void *arg, const char *text);
    /* last: the position of the last of its messages. was_there: all of them had been stored before. */
    void (*settled)(void *arg, uint64_t token, enum store_code code, uint64_t last, bool was_there, const char *text);
    void (*stream_state)(void *arg, const struct engine_stream_state *state);
    /* .bytes are lent, too. From the position on that follow() named; also of what was shown before, perhaps. */
    void (*tail)(void *arg, const struct store_block *block);
    void (*read_done)(void *arg, struct store_read *read);
    void (*record)(void *arg, const struct engine_record *record);
    /* What .record() tells from here to .records_loaded() is all that there is: what was told before and isn't among it is no
     * more. For the first time, and when all was lost. */
    void (*records_begin)(void *arg);
    /* What there is came; again after each .connected() with is_storing, when what has changed since came. revision: all up to
     * this one was told, but what was removed since. */
    void (*records_loaded)(void *arg, uint64_t revision);
    void (*put_done)(void *arg, uint64_t mark, bool is_done, uint64_t revision); /* false: .expected was not what is there */
    void *arg;
};

/* What every engine begins with. */
struct engine {
    struct engine_events events; /* set by the core before anything else */
    size_t datagram_max;         /* bytes; may change in poll() */
    /* to: a broker's name, NULL: all but this one. False: it was dropped, and counted. */
    bool (*send)(struct engine *engine, const char *to, const uint8_t *bytes, size_t len);
    /* Hands over what send() and append() took. Once for each turn. */
    void (*flush)(struct engine *engine);
    /* Before the first append(); made if it isn't there. Whether it is, comes by .stream_state(). */
    void (*open_stream)(struct engine *engine, const struct engine_stream *stream);
    /* .tail() is wanted from this position on, of the stream of this identity, both as .stream_state() told them; 0: no more, though
     * some may come still. At first nothing is wanted. Where a state tells of another identity, or of a lower .next than before,
     * what is followed goes on from that .next, and is named anew. */
    void (*follow)(struct engine *engine, uint32_t stream, uint64_t identity, uint64_t from);
    /* How far is it now? .stream_state() answers with this mark (from 1 on): its .next is behind all that anybody had been told
     * to be settled. A later call may take this one's place; and while the stream is away it may never be answered. */
    void (*ask_state)(struct engine *engine, uint32_t stream, uint64_t mark);
    /* False: more waits than defer_bytes allow, or a frame is longer than the engine takes; text says which. */
    bool (*append)(struct engine *engine, const struct engine_append *append, char text[STORE_TEXT_MAX]);
    /* As of struct store. .code STORE_FAILED while the streams are away. */
    void (*read)(struct engine *engine, struct store_read *read);
    /* Tried until it is done; a later one of the same key takes the place of one that still waits. False: too much waits, or
     * it is too long. */
    bool (*put)(struct engine *engine, const struct engine_put *put);
    void (*poll)(struct engine *engine);
    void (*figures)(struct engine *engine, struct engine_figures *figures);
    /* Sends what was taken if that can be done within a second, calls no events, and frees the engine and its reads. */
    void (*close)(struct engine *engine);
};

/* How the program opens one. Texts are copied. */
struct engine_options {
    const char *name;            /* this broker's, 1 .. ENGINE_NAME_MAX */
    const char *prefix;          /* of all subjects, streams and buckets: brokers with the same one meet */
    const char *urls;            /* nats://host:port, tls://host:port, commas between */
    const char *user, *password, *token, *credentials_file; /* NULL: not given */
    const char *ca_file, *cert_file, *key_file;             /* likewise */
    uint32_t replicas;           /* of the records' buckets */
    uint64_t defer_ms;           /* so long is an append retried that somebody waits for */
    uint64_t defer_bytes;        /* of appends that are not settled */
    void (*wake)(void *arg);     /* there is something to poll for; any thread */
    void *arg;
};

/* What the module exports, under the name ENGINE_OPEN_NAME. NULL with a sentence in text: the options are no good. A cluster that
 * is away is no error. */
#define ENGINE_OPEN_NAME "pubsubd_engine_open"
typedef struct engine *engine_open_fn(const struct engine_options *options, char text[STORE_TEXT_MAX]);

#endif
