/* Frames between brokers, written and read: PROTOCOL.md, "Between brokers". What is decoded was scanned before. Views
 * borrow from the frame. */
#ifndef CLUSTER_BETWEEN_H
#define CLUSTER_BETWEEN_H

#include "wire.h"

#define BETWEEN_VERSION 1u
#define BETWEEN_FRAME_MAX 3800u /* bytes of one of these frames: with a LANE it fits into any engine's datagram */
#define BETWEEN_LANE_MAX 192u   /* of a LANE frame */
#define BETWEEN_ITEMS_MAX 60u   /* patterns of one INTEREST */

/* Operations. Those from 32 to 63 are for brokers among themselves; who does not know one passes over it. */
enum between_op {
    BETWEEN_HERE = 32,
    BETWEEN_LANE = 33,
    BETWEEN_INTEREST = 34,
    BETWEEN_TERMS = 35,
    BETWEEN_ECHO = 36,
    BETWEEN_ECHOED = 37,
    BETWEEN_CLAIM = 38,
    BETWEEN_RESYNC = 39,
    BETWEEN_LEAVE = 40,
    BETWEEN_CLAIMED = 41,
    BETWEEN_LAST = 63,
};

enum interest_kind {
    INTEREST_ALL,    /* the beginning of all that is wanted */
    INTEREST_MORE,   /* it goes on */
    INTEREST_ADD,    /* these, too */
    INTEREST_REMOVE, /* these no more */
    INTEREST_ANEW,   /* it is to be asked for anew; what was wanted still is */
};

struct between_here {
    mps_view name, tag, software;
    uint64_t boot;
};

struct between_lane {
    mps_view name, tag;
    uint64_t boot, to_boot;
    uint64_t seq, messages; /* of this datagram; MSGs in those before it */
    uint64_t told;          /* version of the sender's interest, this datagram's INTERESTs counted */
};

struct between_interest {
    uint64_t version;
    enum interest_kind kind;
    bool is_last;           /* ALL and MORE: that was all */
    uint32_t count, groups_count;
    mps_view items;         /* the patterns, then the groups, for between_next_item() */
};

/* A pattern, and whose it is. group.len 0: of subscriptions. */
struct between_item {
    mps_view group, pattern;
};

bool between_encode_here(struct mps_out *out, const struct between_here *in);
bool between_encode_lane(struct mps_out *out, const struct between_lane *in);
bool between_encode_interest(struct mps_out *out, const struct between_interest *in, const struct between_item *items);
bool between_encode_bare(struct mps_out *out, enum between_op op); /* of one that has no fields */
bool between_encode_terms(struct mps_out *out, bool plain, const struct between_item *groups, uint32_t count);

/* False: malformed, or of another version. */
bool between_decode_here(mps_view frame, struct between_here *out);
bool between_decode_lane(mps_view frame, struct between_lane *out);
bool between_decode_interest(mps_view frame, struct between_interest *out); /* the items are not judged yet */
/* The next one, and past it; number counts from 0. False: it is malformed. */
bool between_next_item(struct between_interest *interest, uint32_t number, struct between_item *out);

#endif
