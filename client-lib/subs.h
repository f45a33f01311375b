/* The subscriptions of a client, in the order of their numbers. */
#ifndef PUBSUB_SUBS_H
#define PUBSUB_SUBS_H

#include <pubsub/pubsub.h>

#include "positions.h"
#include "wire.h"

struct mps_sub_entry {
    uint32_t sid;
    bool ended;        /* unsubscribed: waits for the broker's MARK */
    bool stat_asked;   /* and not answered: asked again after a reconnect */
    bool drain_asked;  /* likewise */
    bool caught_up;    /* the broker has said so at least once */
    bool moving;       /* asked to go on elsewhere than the session stands: what comes before SUBACK comes again */
    bool is_cluster_wide; /* the last SUBACK said so */
    bool recount;      /* the next STAT tells what the broker has counted on earlier connections of the session */
    uint64_t began_ms; /* monotonic */
    uint64_t received; /* messages, in all its life */
    int64_t uncounted; /* of them not in the broker's count, which credit is about; below 0: it has counted more */
    struct mps_positions positions;
    struct pubsub_subscribe_options options; /* what it points to is behind; .credit is the total by now */
    const char *pattern;
    uint64_t from_positions[];               /* of the options, and their texts */
};

struct mps_subs {
    struct mps_sub_entry **list; /* ascending sid */
    size_t count, cap;
    uint32_t last_sid;           /* numbers are not used again by themselves */
};

/* Adds a subscription with its number, or the next one; pattern and options were judged, the number is free. NULL: out
 * of memory or numbers. */
struct mps_sub_entry *mps_subs_add(struct mps_subs *subs, const char *pattern,
                                   const struct pubsub_subscribe_options *options, uint64_t now_ms);
struct mps_sub_entry *mps_subs_find(const struct mps_subs *subs, uint32_t sid); /* NULL: none */
void mps_subs_remove(struct mps_subs *subs, uint32_t sid);                      /* frees it */
void mps_subs_free(struct mps_subs *subs);

/* What the broker of this connection is to be told as the total that the application allows. */
uint64_t mps_subs_credit(const struct mps_sub_entry *sub);

/* A new connection. resumed: the session goes on, with its counts. same_history: positions mean what they meant. */
void mps_subs_connected(struct mps_subs *subs, bool resumed, bool same_history);

/* All of them as SUB frames (and STAT, CREDIT, where an answer is owed; or UNSUB), after mps_subs_connected(). Returns
 * 0, sets *frames (to be freed by the caller; NULL if *len is 0), or PUBSUB_ENOMEM. */
int mps_subs_encode(const struct mps_subs *subs, uint64_t now_ms, uint8_t **frames, size_t *len);

#endif
