/* far.c: what neighbours want. Routes that change are forgotten, and what waits for that is told. */
#ifndef CLUSTER_FAR_H
#define CLUSTER_FAR_H

#include "cluster.h"

/* An INTEREST frame came, scanned and not decoded. False: it is malformed. */
bool far_on_interest(struct neighbour *from, mps_view frame);
void far_missed(struct neighbour *from);      /* something of its lane is missing: perhaps of what it was telling */
/* Asks for all of it, if what is known is not what it has told; at most once a second. */
void far_check(struct neighbour *from, uint64_t told);
void far_forget(struct neighbour *gone);      /* it wants nothing any more */
struct far *far_find(const struct cluster *cluster, mps_view group, mps_view pattern); /* NULL: nobody wants it */

#endif
