/* The subscriptions of a client, in the order of their numbers. */
#ifndef PUBSUB_SUBS_H
#define PUBSUB_SUBS_H

#include <pubsub/pubsub.h>

#include "wire.h"

struct mps_sub_entry {
    uint32_t sid;
    bool ended;        /* unsubscribed: waits for the broker's MARK */
    bool stat_asked;   /* and not answered: asked again after a reconnect */
    bool drain_asked;  /* likewise */
    uint64_t received; /* messages, in all its life */
    uint64_t received_before;                /* of them on earlier connections: the broker's count began behind them */
    struct pubsub_subscribe_options options; /* its strings are behind the pattern; .credit is the total by now */
    char pattern[];
};

struct mps_subs {
    struct mps_sub_entry **list; /* ascending sid */
    size_t count, cap;
    uint32_t last_sid;           /* numbers are not used again */
};

/* Adds a subscription with the next number; pattern and options were judged. NULL: out of memory or numbers. */
struct mps_sub_entry *mps_subs_add(struct mps_subs *subs, const char *pattern,
                                   const struct pubsub_subscribe_options *options);
struct mps_sub_entry *mps_subs_find(const struct mps_subs *subs, uint32_t sid); /* NULL: none */
void mps_subs_remove(struct mps_subs *subs, uint32_t sid);                      /* frees it */
void mps_subs_free(struct mps_subs *subs);

/* What the broker of this connection is to be told as the total that the application allows. */
uint64_t mps_subs_credit(const struct mps_sub_entry *sub);

/* All of them as SUB frames (and STAT, CREDIT, where an answer is owed), for a new connection, whose counts begin now.
 * Returns 0, sets *frames (to be freed by the caller; NULL if *len is 0), or PUBSUB_ENOMEM. */
int mps_subs_encode(struct mps_subs *subs, uint8_t **frames, size_t *len);

#endif
