/* Which brokers are there (members.c), and what comes from them (inbound.c). */
#ifndef CLUSTER_MEMBERS_H
#define CLUSTER_MEMBERS_H

#include "cluster.h"

uint64_t neighbours_turn(struct cluster *cluster); /* says HERE when it is time, notes who is away */
void neighbours_leave(struct cluster *cluster);    /* says good-bye to all */
void neighbours_free(struct cluster *cluster);
void inbound_take(struct cluster *cluster, const uint8_t *bytes, size_t len); /* a datagram */

#endif
