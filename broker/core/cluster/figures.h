/* What operators are told of the brokers that this one is joined with: under $SYS, in reports, and in metrics. Internal to
 * the core. */
#ifndef CLUSTER_FIGURES_H
#define CLUSTER_FIGURES_H

#include "cluster.h"

#define CLUSTER_FIELDS 17u   /* pairs that sys_put_cluster() puts */
#define NEIGHBOUR_FIELDS 11u

void sys_put_cluster(struct mps_out *out, const struct broker *broker); /* pairs, without the map's head; all are nil if it is alone */
void sys_put_neighbour(struct mps_out *out, const struct neighbour *neighbour); /* a map */

#endif
