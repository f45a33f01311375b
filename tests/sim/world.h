/* The virtual world around a broker's core: answers broker/core/env.h with a clock that only moves when told, random
 * numbers from a seed, and links that are byte pipes of finite room. One thread, no system calls.
 *
 * A link's way to the broker is a buffer (world_push) from which pieces are delivered (world_deliver). Its way to the
 * client holds no bytes: what the broker's send() took is shown to on_bytes at once, in order, and only its length
 * waits in the pipe until world_drain() makes room. So an observer sees the whole stream before the slowest reader
 * does.
 *
 * Every breach of the seam's contract ends in world_fail(): the first one is kept, and the run goes on to its end. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker.h"
#include "disk.h"
#include "env.h"
#include "rng.h"

#define WORLD_LINKS_MAX 64

struct world;

struct link {
    struct world *world;
    void *owner;             /* whoever opened it; NULL: nobody looks at it */
    struct session *session; /* NULL: the core knows this link no more (or never did) */
    bool in_use;

    /* to the broker */
    uint8_t *in;             /* bytes that were not delivered yet: in_off..in_len */
    size_t in_off, in_len, in_cap;
    uint64_t pushed, delivered;
    bool end_pushed, end_delivered;
    bool reading;            /* the broker wants to read */

    /* to the client */
    size_t room, room_max;   /* bytes that the pipe takes now, and when it is empty */
    uint64_t taken;          /* bytes that the broker sent in all */
    bool choosy;             /* takes only a part even when there is room */
    bool refused;            /* took less than was offered: session_writable() is due once there is room */
    bool broken;             /* send() answers -1 */
    bool ended;              /* send_end() was called */
    bool closed;             /* close() was called */
};

struct world {
    struct env env;
    struct broker *broker;
    struct rng rng;          /* of the broker's own random bytes and of the links' moods */
    struct broker_limits limits;
    uint64_t now_ms;
    int64_t wall_jump_ms;    /* what somebody has set the other clock forward in all; negative: back */
    uint64_t next_ms;        /* when the broker wants to be called again */
    struct disk disk;        /* .platter NULL: the broker keeps nothing */
    const struct stream_config *streams; /* the caller's */
    size_t streams_count;
    struct link links[WORLD_LINKS_MAX];
    /* What an observer is told; NULL: nobody looks. Only about links with an owner. */
    void (*on_bytes)(struct link *link, const uint8_t *bytes, size_t len); /* the broker sent these */
    void (*on_rest)(struct link *link, const uint8_t *bytes, size_t len);  /* it offered these behind, not all taken */
    void (*on_deliver)(struct link *link); /* the broker is about to get what .delivered and .end_delivered say */
    void (*on_turn)(struct world *world);   /* broker_turn() is about to be called */
    void (*on_turned)(struct world *world); /* it was */
    void *observer;
    bool failed;
    char failure[512];
};

/* limits NULL: the broker's defaults. */
void world_open(struct world *world, uint64_t seed, const struct broker_limits *limits);
/* All links are cut first. Checks that the broker is empty, and frees it. */
void world_close(struct world *world);
/* The broker keeps these streams from now on; their texts must stay. Right behind world_open(). */
void world_keep(struct world *world, const struct stream_config *streams, size_t count, uint64_t seed);
/* The power goes: all links break, and a broker begins anew on what is on the disk. keep: see disk_crash(). */
void world_crash(struct world *world, bool keep);
uint64_t world_wall_ms(const struct world *world); /* Unix time */
void world_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A new connection. room_max: bytes of its pipe to the client. NULL if no link is free. When the broker takes no more
 * sessions, the link has .session NULL and .closed true. */
struct link *world_connect(struct world *world, size_t room_max, void *owner);
void world_push(struct link *link, const void *bytes, size_t len); /* the client writes */
void world_push_end(struct link *link);                            /* and shuts its direction down */
/* Up to most bytes of what was pushed come to the broker in one read, if it is reading. Returns how many. */
size_t world_deliver(struct link *link, size_t most);
size_t world_deliverable(const struct link *link); /* bytes that could be delivered now */
/* The end of the stream, if it was pushed and all bytes before it are delivered. Returns whether it was told now. */
bool world_deliver_end(struct link *link);
void world_drain(struct link *link, size_t most); /* the client reads */
/* The connection breaks: send() fails, for a turn in which the core has not been told. */
void world_break(struct link *link);
void world_cut(struct link *link); /* it is gone, and the core is told */
void world_release(struct link *link); /* the link can be used again; it must be closed or cut */

/* Turns of the loop until neither the broker nor the disk has anything left to do at this moment. */
void world_turn(struct world *world);
uint64_t world_next_ms(const struct world *world); /* when one of them has; UINT64_MAX: not by itself */

#endif
