/* Retained values: the last message of each topic that was published with retain. Kept in the order of their last
 * change, so that a subscription's snapshot is a walk from the front that stops at what changed since it began: those
 * come as live messages. */
#ifndef BROKER_RETAINED_H
#define BROKER_RETAINED_H

#include "hash.h"
#include "heap.h"
#include "slab.h"
#include "wire.h"

struct snapshot;
struct origin;

struct retained_value {
    struct hash_node in_topics;
    struct retained_value *prev, *next; /* in the order of .version */
    struct snapshot *parked;            /* snapshots that go on from here */
    uint64_t version;                   /* when it was set: a count of all changes */
    struct run *run;                    /* the MSG frame */
    struct timer expiry;                /* in .expiries, if its time is limited */
    struct origin *origin;              /* who published it; NULL: the broker, or nobody knows. The value's */
    uint64_t revision;                  /* of the record that all brokers share (cluster/shared_retained.c); 0: it is none yet */
    bool is_kept;                       /* it is a record in the store, too */
    bool is_told;                       /* another broker set it, and a record has told of it */
    uint8_t load;                       /* which load of the shared records it was last seen in */
    uint8_t len;
    uint8_t topic[];
};

/* A walk over the retained values as they were when it began. A subscription has one until it is told that all were sent. */
struct snapshot {
    uint64_t until;                     /* versions up to this belong to it; */
    uint64_t since, revision;           /* of those after .since only what records have told up to .revision */
    struct retained_value *at;          /* the next one to look at; NULL: at the end */
    struct snapshot *prev, *next;       /* others that are parked at the same value */
};

struct retained {
    uint64_t seed;
    struct hash topics;
    struct retained_value *oldest, *newest;
    uint64_t version;
    uint64_t bytes;                     /* all values, with what it costs to keep them */
    uint64_t frame_bytes;               /* of them in runs */
    struct heap expiries;
    struct run_pool *runs;
};

void retained_init(struct retained *retained, struct run_pool *runs, uint64_t seed);
void retained_free(struct retained *retained);
/* Keeps a copy of this MSG frame as the topic's value; a value that was there goes. Returns NULL, and keeps the old
 * one, if the whole would exceed bytes_max. expires_ms: when it goes by itself; UINT64_MAX: never. Of one that was there
 * is_kept and the origin stay. */
struct retained_value *retained_set(struct retained *retained, mps_view topic, mps_view frame, uint64_t expires_ms, uint64_t bytes_max);
struct retained_value *retained_find(const struct retained *retained, mps_view topic); /* NULL: there is none */
bool retained_has(const struct retained *retained, mps_view topic);
bool retained_fits(const struct retained *retained, mps_view topic, uint32_t frame_len, uint64_t bytes_max);
bool retained_clear(struct retained *retained, mps_view topic); /* returns whether the value was a record, too */
struct retained_value *retained_due(struct retained *retained, uint64_t now_ms); /* one that is to go; NULL: none is */

/* Begins a walk at the front, or for a topic without wildcard at its value. */
void snapshot_begin(struct snapshot *snapshot, struct retained *retained, mps_view pattern);
/* Of one that nothing was taken from yet: what records have told since belongs to it, too. */
void snapshot_extend(struct snapshot *snapshot, struct retained *retained, mps_view pattern, uint64_t revision);
bool snapshot_has(const struct snapshot *snapshot, const struct retained_value *value); /* up to .until */
/* The value to look at now, or NULL: done. */
struct retained_value *snapshot_value(const struct snapshot *snapshot);
/* On to what stands behind this value, which is the one to look at or a later one. `only`: there was but one. */
void snapshot_pass(struct snapshot *snapshot, struct retained_value *value, bool only);
void snapshot_skip(struct snapshot *snapshot); /* to the end: no value is wanted */
void snapshot_end(struct snapshot *snapshot);

#endif
