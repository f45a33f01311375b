/* What goes out: lanes (lanes.c), and what of our own interest goes into them (interest.c). */
#ifndef CLUSTER_LANES_H
#define CLUSTER_LANES_H

#include "cluster.h"

void lane_begin(struct neighbour *to);   /* for a life of that broker */
void lane_beat(struct neighbour *to);    /* a datagram without anything, so that it hears of us, and of what it misses */
/* Something that was to go there never will: the neighbour is to see that there is a hole. */
void lane_lose(struct neighbour *to, uint64_t messages);
void lane_free(struct neighbour *to);

/* The cluster's begins with what subscriptions are there already. */
void interest_begin(struct cluster *cluster);
void interest_free(struct cluster *cluster);
void interest_tell_all(struct neighbour *to); /* it asked; not too often */

#endif
