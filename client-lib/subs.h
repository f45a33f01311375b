/* The subscriptions of a client, in the order of their numbers. */
#ifndef PUBSUB_SUBS_H
#define PUBSUB_SUBS_H

#include <pubsub/pubsub.h>

#include "wire.h"

struct mps_sub_entry {
    uint32_t sid;
    bool ended;      /* unsubscribed: waits for the broker's MARK */
    bool stat_asked; /* and not answered: asked again after a reconnect */
    struct pubsub_subscribe_options options;
    char pattern[PUBSUB_TOPIC_MAX + 1];
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

/* All of them as SUB frames (and STAT, where an answer is owed), for a new connection. Returns 0, sets *frames (to be
 * freed by the caller; NULL if *len is 0), or PUBSUB_ENOMEM. */
int mps_subs_encode(const struct mps_subs *subs, uint8_t **frames, size_t *len);

#define MPS_SUB_FRAME_MAX (PUBSUB_TOPIC_MAX + 2 * MPS_SMALL_FRAME_MAX) /* bytes of a SUB with our options */

#endif
