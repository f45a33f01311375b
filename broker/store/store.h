/* The seam between the broker's core and what is kept beyond its life: streams of messages, and small records. The core
 * knows no file and no database but through this table; sqlite_store.c answers it in the program, memory.c in the tests.
 *
 *   core                            store
 *   load()                      ->  everything that is small, once, before anything else
 *   commit(batch)               ->  makes the changes durable, all or none of them, and says so by .committed()
 *   read(request)               ->  fetches blocks of messages, and says so by .read_done()
 *   poll()                      ->  where .committed() and .read_done() are called from, never from elsewhere
 *
 * Thread: all calls come from the one that runs the core. What takes long happens elsewhere: commit() and read() return
 * at once. Everything that is read was checked against the checksum that was written with it: what does not fit is
 * treated as if it were not there, and reported. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

struct store;

enum store_code {
    STORE_OK = 0,
    STORE_FULL,   /* no room on the disk; nothing of it is kept */
    STORE_FAILED, /* anything else */
};

#define STORE_TEXT_MAX 300        /* bytes of a sentence for the operator, its NUL counted */
#define STORE_STREAMS_MAX 1024    /* streams have the numbers 64 .. 64 + this - 1 */
#define STORE_STREAM_FIRST 64u
#define STORE_KEY_MAX 1024        /* bytes of a record's key */
#define STORE_BLOCK_MAX (512u * 1024 * 1024) /* bytes of a block */
#define STORE_MERGE_MS 500u      /* blocks that came within this time of the first one are read as one */

/* Consecutive messages of one stream, as they came. */
struct store_block {
    uint32_t stream;
    uint32_t count;
    uint64_t first;        /* position of the first one, 1 .. 2^48 - 1; the others have the next ones */
    uint64_t time_ms;      /* Unix time of the first one's arrival */
    uint64_t expires_ms;   /* Unix time when the first of them expires; 0: none does */
    const uint8_t *bytes;  /* MSG frames, one behind the other */
    uint32_t len;
};

enum store_change_kind {
    STORE_APPEND,          /* .block, behind all others of its stream */
    STORE_TRIM,            /* blocks of .block.stream of which all positions are below .block.first go */
    STORE_PUT,             /* the record of .kind and .key is .value from now on */
    STORE_REMOVE,          /* ... is no more */
};

struct store_change {
    enum store_change_kind what;
    struct store_block block;
    uint32_t kind;         /* the core's own numbers, 1 .. 255 */
    mps_view key, value;   /* any bytes; a key has at most STORE_KEY_MAX */
};

/* Changes that become durable together, in their order. */
struct store_batch {
    uint64_t number;       /* they count up by one */
    struct store_change *changes;
    uint32_t count;
};

/* Asks for messages of a stream, and holds them then. */
struct store_read {
    uint32_t stream;
    uint64_t from;         /* position that is wanted */
    uint64_t end;          /* only blocks that begin below this are wanted; what is committed */
    uint32_t bytes_most;   /* more blocks are not added when that would make it longer than this */
    void *user;            /* the core's */
    struct store_read *next;

    /* The block that holds .from, or if there is none, the first one behind it; and with it those that follow without a
     * hole, and whose time is less than STORE_MERGE_MS later than the first one's, and not before it. .expires_ms is the least
     * that isn't 0. .bytes has an allocation of its own (malloc) that is the core's, NULL if .code isn't STORE_OK or there
     * is no such block below .end. */
    enum store_code code;
    struct store_block block;
    uint8_t *bytes;
    /* Positions from .from on, below .end and before .block that may have been stored, and can't be read: they did not fit
     * their checksum, or there is no way to them. 0: none. Others between .from and .block are not in the store. */
    uint64_t damaged_first, damaged_last;
    char text[STORE_TEXT_MAX];            /* of an error */
};

/* For stores: nothing is found yet, and nothing was wrong. */
static inline void store_read_begin(struct store_read *read)
{
    read->code = STORE_OK;
    read->block = (struct store_block){0};
    read->bytes = NULL;
    read->damaged_first = read->damaged_last = 0;
    read->text[0] = '\0';
}

/* What load() finds, in this order: records by kind and key, then the blocks of each stream by position. Views die with the
 * call. .bytes of a block is NULL: they are not read. */
struct store_visitor {
    void (*record)(void *arg, uint32_t kind, mps_view key, mps_view value);
    void (*block)(void *arg, const struct store_block *block);
    void (*damaged)(void *arg, const char *text); /* one sentence each; what it names was passed over */
    void *arg;
};

struct store_events {
    /* text: a sentence if code isn't STORE_OK. The batch is the core's again. */
    void (*committed)(void *arg, const struct store_batch *batch, enum store_code code, const char *text);
    void (*read_done)(void *arg, struct store_read *read);
    void *arg;
};

/* What every store begins with. */
struct store {
    struct store_events events;   /* set by the core before commit() and read() */
    /* 0, or -1 with a sentence: the store can't be read at all. */
    int (*load)(struct store *store, const struct store_visitor *visitor, char text[STORE_TEXT_MAX]);
    /* Begins to make this durable; the next one only after .committed(). The batch stays unchanged until then. */
    void (*commit)(struct store *store, const struct store_batch *batch);
    /* Begins to fetch; any number at a time. What was trimmed a moment ago may still be answered. The request stays the
     * store's until .read_done(), which is called for each, in any order. It is of malloc(). */
    void (*read)(struct store *store, struct store_read *read);
    /* Calls the events of what is done by now. */
    void (*poll)(struct store *store);
    /* Waits for the commit that has begun, calls no events, and frees the store; reads that are left are freed with their
     * bytes. */
    void (*close)(struct store *store);
};

#endif
