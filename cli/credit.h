/* The credit of a subscription that takes messages one after the other. */
#ifndef CLI_CREDIT_H
#define CLI_CREDIT_H

#include <pubsub/pubsub.h>

struct credit {
    uint32_t sid;
    uint64_t allowed, arrived; /* messages that the broker may have sent in total, and those that are here */
};

/* How many may come at first, if window of them can be worked on at a time and count (0: any number) are wanted. */
uint64_t credit_first(uint64_t window, uint64_t count);

/* A message is done with: allows another one, unless the taken ones and those under way are all that is wanted. */
void credit_another(struct credit *credit, pubsub *client, uint64_t taken, uint64_t count);

#endif
