/* The requests of a client that are not over, in the order of their numbers, which is also that of their publish ids.
 * Not thread-safe. */
#ifndef PUBSUB_PENDING_H
#define PUBSUB_PENDING_H

#include <pubsub/pubsub.h>

struct mps_pending {
    uint64_t number;       /* 1, 2, 3, ...; the last level of its topic for answers */
    uint64_t pid;
    uint64_t until_ms;     /* monotonic: when its time is over */
    uint32_t timeout_ms;
    uint32_t replies_left; /* UINT32_MAX: any number */
    bool over;             /* nothing is called back any more: only its PUBACK has to come */
    bool settled;          /* its PUBACK has come */
    void (*on_reply)(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user);
    void *user;
};

struct mps_pendings {
    struct mps_pending *list;
    size_t begin, end, cap; /* begin..end are in use */
    uint64_t last_number;
    uint64_t wake_at_ms;    /* no live one's time is over before; 0: none is live */
};

int mps_pendings_reserve(struct mps_pendings *requests); /* room for one more. Returns 0 or PUBSUB_ENOMEM */
void mps_pendings_add(struct mps_pendings *requests, const struct mps_pending *request);
void mps_pendings_free(struct mps_pendings *requests);

/* The first one from this number on that is not over; NULL: none. Valid until the list changes. */
struct mps_pending *mps_pendings_live(const struct mps_pendings *requests, uint64_t number);
/* Ends one: removes it, or keeps it for its PUBACK. */
void mps_pendings_end(struct mps_pendings *requests, struct mps_pending *request);

struct mps_pending *mps_pendings_of_pid(const struct mps_pendings *requests, uint64_t pid); /* also if it is over */
/* The publish ids first..last are settled. Returns how many of them were of requests. */
uint64_t mps_pendings_settle(struct mps_pendings *requests, uint64_t first_pid, uint64_t last_pid);

#endif
