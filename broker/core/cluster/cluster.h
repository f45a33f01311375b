/* Several brokers that are one to their clients: what each of them keeps of the others, and tells them. One thread.
 *
 *   broker --cluster--> neighbours: brokers that were heard of, each with a lane to it
 *                   |-- told: patterns that its own clients have, as the neighbours know them
 *                   |-- far, far_groups: patterns that neighbours want messages for
 *                   |-- shared, records, groups, scope: rooms of their own (shared.h, records.h, group_far.h, scope.h)
 *                   \-- engine: carries the bytes (engine.h)
 *
 * A message goes from publish.c by its route (route.wanted_by) into the lanes of the neighbours that want it (relay.c); at
 * the end of the turn each lane is one datagram (lanes.c). What comes is scanned, and delivered to local mailboxes only.
 * PROTOCOL.md, "Between brokers", has the frames. Internal to the core. */
#ifndef CLUSTER_CLUSTER_H
#define CLUSTER_CLUSTER_H

#include "engine.h"
#include "model.h"

#define NEIGHBOURS_MAX 63u             /* brokers besides this one */
#define NEIGHBOUR_AWAY_MS 5000u        /* not heard of for so long: it is away */
#define HERE_MS 1000u                  /* between two signs of life */
#define CLUSTER_TAG_BYTES 3u           /* that begin the ids of a broker's inboxes */
#define INTEREST_EXACT_MAX 10000u      /* patterns that are told as they are; beyond, the first levels */
#define WANTED_BY_GROUPS (UINT64_C(1) << 63) /* in route.wanted_by: groups of neighbours may want it, ask far_groups */

struct shared;
struct records;
struct groups_far;
struct scopes;

/* Operations between brokers. */
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
};

/* What goes to one neighbour: numbered datagrams. */
struct lane {
    uint8_t *bytes;                    /* the datagram that is being filled; NULL: none is */
    uint32_t len, cap;
    uint32_t frames_at;                /* behind the LANE frame */
    uint64_t seq, messages;            /* of the last datagram that was sent; MSGs in all of them */
    uint32_t messages_here;            /* in .bytes */
    bool has_terms;                    /* a TERMS holds for what follows in .bytes */
};

/* Another broker. Its place in cluster.neighbours is its bit in masks. */
struct neighbour {
    struct cluster *cluster;
    uint32_t number;
    char name[ENGINE_NAME_MAX + 1];
    char software[64];
    uint8_t tag[CLUSTER_TAG_BYTES];
    uint64_t boot;                     /* of its life */
    bool is_present;                   /* it was heard of lately: its lane works */
    uint64_t heard_ms, came_ms, left_ms; /* when its lane was heard last, when it came, when it went */

    /* what comes */
    uint64_t seq, messages;            /* of the last datagram; MSGs that were taken, or known to be missing */
    uint64_t holes, lost;              /* for operators: times that something was missing, and how many messages at least */
    uint64_t malformed;
    uint64_t messages_in, datagrams_in;

    /* what goes */
    struct lane lane;
    uint64_t messages_out, datagrams_out, dropped_out;
    uint64_t told_version;             /* of our interest; 0: it was told nothing yet */
    uint64_t resync_ms;                /* when it was last told all of it */

    /* its interest */
    uint64_t version;                  /* as far as it is known */
    bool knows_all;                    /* all that it had said at .version is known: messages go to it */
    bool is_telling;                   /* it has begun to tell all of it */
    uint64_t asked_ms;                 /* when it was last asked to */
    uint32_t patterns_count;
};

/* A pattern that neighbours want messages for: of subscriptions, or of members of a group. */
struct far {
    struct topic_entry entry;
    struct hash_node in_patterns;
    uint64_t at;                       /* bits of the neighbours */
    uint64_t fresh;                    /* of them, those that have said so since they began to tell all */
    uint64_t turn;                     /* for groups: whose it is */
    uint8_t group_len, pattern_len;    /* group_len 0: of subscriptions */
    uint8_t text[];                    /* group, then pattern */
};

struct cluster {
    struct broker *broker;
    struct engine *engine;
    char name[ENGINE_NAME_MAX + 1];
    uint64_t boot;
    uint8_t tag[CLUSTER_TAG_BYTES];
    mps_view *topics;                  /* only what matches one of these goes to other brokers */
    uint32_t topics_count;
    struct neighbour *neighbours[NEIGHBOURS_MAX]; /* NULL: none */
    uint64_t listening;                /* bits of those that are present, and whose interest is known */
    uint64_t here_ms;                  /* when to say HERE again */
    uint64_t turn_ms;                  /* of the last turn */
    bool is_live, is_storing;          /* as the engine said last */

    struct interest *interest;         /* our own (interest.c) */
    struct hash far_patterns;          /* struct far by group and pattern */
    struct topics far, far_groups;

    struct shared *shared;
    struct records *records;
    struct groups_far *groups;
    struct scopes *scopes;
};

/* cluster.c */
uint64_t cluster_turn(struct broker *broker); /* sends what is due. Returns when to call again */
void cluster_free(struct broker *broker);     /* without a word to anybody; cluster NULL is allowed */
struct neighbour *cluster_find(const struct cluster *cluster, mps_view name); /* NULL: never heard of */
bool cluster_relays(const struct cluster *cluster, mps_view topic); /* it is one of [cluster] topics */
bool cluster_overlaps(const struct cluster *cluster, mps_view pattern); /* some topic that matches may be */

/* interest.c: patterns of our own clients, counted. Told with the next flush of the lanes. */
void interest_comes(struct cluster *cluster, mps_view group, mps_view pattern); /* group.len 0: of a subscription. Of a */
void interest_goes(struct cluster *cluster, mps_view group, mps_view pattern);  /* group: it has members that are there */
void interest_flush(struct cluster *cluster);      /* what has changed goes into the lanes now, before what follows */
uint64_t interest_version(const struct cluster *cluster); /* of what stands in the lanes */

/* lanes.c */
/* Behind what is in the lane already. frame: whole, as it goes out. */
void lane_put_frame(struct neighbour *to, const struct mps_out *frame);
/* For which mailboxes at the receiver messages are: of subscriptions, and of these groups. */
struct far_terms {
    bool plain;
    uint32_t count;
    const struct far *const *groups;
};
void lane_put_msgs(struct neighbour *to, const struct far_terms *terms, struct run *run, struct part part); /* NULL: plain */
void lane_flush(struct neighbour *to);

/* relay.c */
/* Frames of a run go to those neighbours that want them. Only if route->wanted_by isn't 0. */
void relay_run(struct broker *broker, const struct route *route, struct run *run, struct part part);
uint64_t relay_wanted_by(struct cluster *cluster, mps_view topic, uint64_t hash); /* for route.wanted_by */

/* What comes from a neighbour in one datagram. */
struct inbound {
    struct neighbour *from;
    bool plain;                        /* as the last TERMS said: messages are for subscriptions, */
    uint32_t groups_count;             /* and for these groups */
    struct group *groups[16];
};

static inline mps_view far_group(const struct far *far)
{
    return (mps_view){far->text, far->group_len};
}

static inline mps_view far_pattern(const struct far *far)
{
    return (mps_view){far->text + far->group_len, far->pattern_len};
}

#endif
