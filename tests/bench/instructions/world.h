/* A broker's core without sockets, clock or chance, for counting what it executes: peers only count what they are sent.
 * What the world itself does for that isn't counted either. */
#ifndef INSTRUCTIONS_WORLD_H
#define INSTRUCTIONS_WORLD_H

#include "broker.h"
#include "measure.h"
#include "wire.h"

/* What came to a peer. */
struct link {
    struct session *session; /* NULL: closed */
    bool takes_nothing;      /* as one that doesn't read, behind full socket buffers */
    bool looks;              /* frames are told apart; else only bytes are counted */
    bool reading;            /* the broker wants its bytes */
    uint64_t bytes, frames[MPS_OP_MAX + 1];
    uint64_t lost;      /* by its GAPs */
    uint64_t acked_pid; /* by its PUBACKs */
    uint8_t *kept;      /* the beginning of a frame */
    size_t kept_len, kept_cap;
    struct mps_scan scan; /* of that frame */
};

struct world;
struct world *world_new(void);
void world_free(struct world *world);
struct broker *world_broker(struct world *world);

/* Each valid until world_free(), also when it is closed. */
struct link *world_connect(struct world *world);          /* says nothing yet */
void world_greet(struct world *world, struct link *link); /* it says HELLO, and is welcomed */
struct link *world_join(struct world *world);             /* both */
void world_drop(struct link *link);                       /* the connection breaks */
void world_end(struct link *link);                        /* the peer's stream ends */

/* Subscribes; options NULL: the defaults. Nothing is retained in this world. */
void world_subscribe(struct world *world, struct link *link, uint32_t sid, const char *pattern,
                     const struct mps_sub_options *options);

/* Before anybody joins: topics of this pattern are kept, in memory. What the store itself does isn't counted. */
void world_keep(struct world *world, const char *pattern);

/* Bytes come from a peer, or none, in one read if they are at most 64 KiB. One turn follows, or as many as the broker
 * wants. */
void world_turn(struct world *world, struct link *link, const uint8_t *bytes, size_t len);

#endif
