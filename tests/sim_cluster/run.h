/* One simulation: up to four brokers that are one to their clients, who come, go, publish and subscribe by chance, while the
 * network and the brokers suffer what the seed has for them. In the end everything heals, and all is judged. */
#ifndef SIM_CLUSTER_RUN_H
#define SIM_CLUSTER_RUN_H

#include "party.h"

struct run {
    struct rng rng;
    struct town town;
    struct ledger ledger;
    struct party *parties[PARTIES_MAX]; /* NULL: it is over */
    uint32_t parties_count;
    /* what may happen in this life */
    bool calm, loses, crashes, freezes, splits, goes_away;
    uint32_t pad_max, retain_percent;
};

void run_open(struct run *run, uint64_t seed, bool trace);
void run_step(struct run *run);
void run_finish(struct run *run);
void run_close(struct run *run);
/* Of all that clients were sent: the same for the same seed. */
uint64_t run_digest(const struct run *run);

#endif
