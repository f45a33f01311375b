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

#include "between.h"
#include "engine.h"
#include "model.h"

#define NEIGHBOURS_MAX 63u             /* brokers besides this one */
#define NEIGHBOUR_AWAY_MS 5000u        /* not heard of for so long: it is away */
#define HERE_MS 1000u                  /* between two signs of life */
#define CLUSTER_TAG_BYTES 3u           /* that begin the ids of a broker's inboxes */
#define INTEREST_EXACT_MAX 10000u      /* patterns that are told as they are; beyond, the first levels */
#define INBOUND_GROUPS_MAX 8u          /* of one TERMS */
#define WANTED_BY_GROUPS (UINT64_C(1) << 63) /* in route.wanted_by: groups of neighbours may want it, ask far_groups */

/* Never to become part of the hot functions around, which would grow too large to be inlined: there mostly is no cluster. */
#define CLUSTER_ASIDE __attribute__((noinline))
#define CLUSTER_COLD __attribute__((cold, noinline))

struct shared;
struct records;
struct groups_far;
struct scopes;

/* What goes to one neighbour: numbered datagrams. */
struct lane {
    uint8_t *bytes;                    /* the datagram that is being filled; NULL: there is no memory for one yet */
    uint32_t len, cap;                 /* of its frames, with the room for the LANE frame before them; len 0: there are none */
    bool has_terms;                    /* a TERMS that says something else than usual holds for what follows in .bytes */
    uint32_t messages_here;            /* in .bytes */
    uint64_t seq, messages;            /* of the last datagram that was sent; MSGs in all of them */
    uint64_t sent_ms;
    uint64_t told;                     /* version of our interest that stands in it; 0: nothing was told yet */
};

/* Another broker. Its place in cluster.neighbours is its bit in masks. */
struct neighbour {
    struct cluster *cluster;
    uint32_t number;
    char name[ENGINE_NAME_MAX + 1];
    char software[64];
    uint8_t tag[CLUSTER_TAG_BYTES];
    uint64_t boot;                     /* of its life */
    uint64_t past_boots[4];            /* what comes of these comes late */
    bool is_present;                   /* its lane was heard lately */
    bool has_left;                     /* it said that it leaves */
    bool is_missed;                    /* it is away, and did not say so */
    uint64_t begun_ms;                 /* when its life was heard of */
    uint64_t seen_ms;                  /* when anything of it was heard last: so long it is sent signs of life */
    uint64_t heard_ms;                 /* when its lane was */
    uint64_t came_ms, left_ms;         /* since when it is present, or isn't */

    /* what comes */
    uint64_t seq, messages;            /* of the last datagram; MSGs that were taken, or are known to be missing */
    uint64_t seq_before, lower_ms;     /* .seq when it was missed; since when lower ones than that come, 0: none has */
    uint64_t holes, lost;              /* times that something was missing, and how many messages that was at least */
    uint64_t malformed, messages_in, datagrams_in;

    /* what goes */
    struct lane lane;
    uint64_t messages_out, datagrams_out, dropped_out;
    uint64_t told_all_ms;              /* when it was told all of our interest last; 0: never */

    /* its interest (far.c) */
    uint64_t version;                  /* as far as it is known */
    bool knows_all;                    /* all that it had said at .version is known: messages go to it */
    bool is_telling;                   /* it has begun to tell all of it */
    uint64_t telling;                  /* the version of that */
    bool is_asked;                     /* it was asked to, and hasn't begun */
    uint64_t asked_ms;                 /* when that was; 0: never */
    bool is_anew;                      /* it wants to tell all anew, though nothing of it is missing */
    uint64_t sure_of;                  /* messages that were published here (cluster_published) when its interest was known last */
    uint32_t far_count;                /* struct far that have its bit */
};

/* A pattern that neighbours want messages for: of subscriptions, or of members of a group. */
struct far {
    struct topic_entry entry;
    struct hash_node in_patterns;
    uint64_t at;                       /* bits of the neighbours */
    uint64_t fresh;                    /* of them, those that have said so since they began to tell all anew */
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
    struct neighbour *neighbours[NEIGHBOURS_MAX]; /* .neighbours_count of them; never NULL */
    uint32_t neighbours_count;
    uint64_t listening;                /* bits of those that are present, and whose interest is known */
    uint64_t here_ms;                  /* when to say HERE again */
    uint64_t said_ms;                  /* when that was last */
    uint64_t turn_ms;                  /* of the last turn */
    uint64_t last_seq;                 /* of any lane that there was */
    bool is_live, is_storing;          /* as the engine said last */
    enum told { TOLD_NOTHING, TOLD_THERE, TOLD_AWAY } told_live, told_storing; /* what the log says of them (connection.c) */
    uint64_t told_most;                /* bytes of a datagram of which the log has said whether they are enough */
    uint64_t name_due_ms;              /* before that the log does not say once more that another one has its name */
    uint64_t own_published;            /* messages that no client sent: wills, the broker's own */
    uint64_t malformed;                /* datagrams that were none of a broker's */
    uint16_t holes;                    /* that were noticed since all mailboxes concerned were told of all (members.c) */
    uint64_t holes_ms;                 /* when that was; 0: never */

    struct interest *interest;         /* our own (interest.c) */
    struct hash far_patterns;          /* struct far by group and pattern */
    struct topics far, far_groups;

    struct shared *shared;
    struct records *records;
    struct groups_far *groups;
    struct scopes *scopes;
};

/* cluster.c */
CLUSTER_COLD uint64_t cluster_turn(struct broker *broker); /* sends what is due. Returns when to call again */
CLUSTER_COLD void cluster_free(struct broker *broker);     /* without a word to anybody; cluster NULL is allowed */
uint64_t cluster_published(const struct cluster *cluster); /* messages, at this broker */
bool cluster_is_name(mps_view name);          /* it can be a broker's */
bool cluster_relays(const struct cluster *cluster, mps_view topic); /* it is one of [cluster] topics */
bool cluster_overlaps(const struct cluster *cluster, mps_view pattern); /* some topic that matches may be */
bool cluster_covers(const struct cluster *cluster, mps_view pattern);   /* all that match are */

/* members.c */
struct neighbour *cluster_find(const struct cluster *cluster, mps_view name); /* NULL: never heard of */

/* interest.c: patterns of our own clients, counted. Told with the next flush of the lanes. */
void interest_comes(struct cluster *cluster, mps_view group, mps_view pattern); /* group.len 0: of a subscription. Of a */
void interest_goes(struct cluster *cluster, mps_view group, mps_view pattern);  /* group: it has members that are there */
CLUSTER_COLD void interest_attach(struct mailbox *box, mps_view pattern); /* a subscription's box: something is to match it, */
CLUSTER_COLD void interest_detach(struct mailbox *box, mps_view pattern); /* or nothing any more */
/* It reads all that it asks for from streams of this broker: nothing that is relayed reaches it. */
bool interest_only_reads(const struct mailbox *box, mps_view pattern);
void interest_flush(struct cluster *cluster);      /* what has changed goes into the lanes now, before what follows */
uint64_t interest_version(const struct cluster *cluster); /* of what stands in the lanes */
bool interest_was_less(const struct cluster *cluster, mps_view pattern); /* lately the others were told to send less of what matches */

/* lanes.c */
/* Behind what is in the lane already. frame: whole, as it goes out. */
void lane_put_frame(struct neighbour *to, const struct mps_out *frame);
/* For which mailboxes at the receiver messages are: of subscriptions, and of these groups. */
struct far_terms {
    bool plain;
    uint32_t count;
    const struct far *const *groups;
};
/* terms NULL: for those of subscriptions. At most INBOUND_GROUPS_MAX groups. */
void lane_put_msgs(struct neighbour *to, const struct far_terms *terms, struct run *run, struct part part);
void lane_flush(struct neighbour *to);

/* relay.c */
/* Frames of a run go to those neighbours that want them. Only if route->wanted_by isn't 0. */
CLUSTER_ASIDE void relay_run(struct broker *broker, const struct route *route, struct run *run, struct part part);
CLUSTER_ASIDE uint64_t relay_wanted_by(struct cluster *cluster, mps_view topic, uint64_t hash); /* for route.wanted_by */
CLUSTER_ASIDE uint64_t relay_inbox(const struct cluster *cluster, mps_view topic);              /* likewise, of a topic below $inbox */
CLUSTER_ASIDE bool relay_is_wanted(const struct broker *broker, const struct route *route);     /* some neighbour would get it now */

/* What comes from a neighbour in one datagram. */
struct inbound {
    struct neighbour *from;
    bool plain;                        /* as the last TERMS said: messages are for subscriptions, */
    uint32_t groups_count;             /* and for these groups */
    struct group *groups[INBOUND_GROUPS_MAX];
    mps_view moved;                    /* that TERMS, if it names groups that nobody here is a member of; ptr NULL: it doesn't */
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
