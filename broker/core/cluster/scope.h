/* SUB with scope = cluster: its SUBACK waits until the other brokers know of it. */
#ifndef CLUSTER_SCOPE_H
#define CLUSTER_SCOPE_H

#include "cluster.h"

void scope_join(struct cluster *cluster);
void scope_leave(struct cluster *cluster);
uint64_t scope_turn(struct cluster *cluster);
void scope_neighbour_gone(struct cluster *cluster, struct neighbour *gone); /* nobody needs to wait for it */
/* The neighbour's interest is known up to neighbour->version: what waited for that can be echoed. */
void scope_neighbour_known(struct cluster *cluster, struct neighbour *from);
/* Frames that came, scanned and not decoded. False: malformed. */
bool scope_on_echo(struct cluster *cluster, struct neighbour *from, mps_view frame);
bool scope_on_echoed(struct cluster *cluster, struct neighbour *from, mps_view frame);

#endif
