/* One simulation: a broker's core in a world of its own, with up to a few dozen random clients. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "client.h"
#include "model.h"
#include "world.h"

#define CLIENTS_MAX 32

struct run {
    struct rng rng;
    struct world world;
    struct model model;
    struct scene scene;
    struct client clients[CLIENTS_MAX];
    uint32_t clients_max;
    uint32_t numbers;   /* clients so far */
    uint32_t piece_max; /* bytes of a read, as a rule */
    uint32_t room_max;  /* bytes of a pipe, at most */
    uint32_t cut_percent, hurry_percent;
    bool exclusive; /* a session has input that waits: nobody else's is delivered before it */
};

void run_open(struct run *run, uint64_t seed, bool trace);
void run_step(struct run *run);
/* Everybody leaves, or the broker stops, or all is cut. Nothing may be left. */
void run_finish(struct run *run);
void run_close(struct run *run); /* if nothing has failed */

#endif
