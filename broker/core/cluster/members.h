/* Which brokers are there (members.c), and what comes from them (inbound.c). */
#ifndef CLUSTER_MEMBERS_H
#define CLUSTER_MEMBERS_H

#include "cluster.h"

/* A broker of this name lives, in this life of it. NULL: it is of no interest, and nothing of it is to be looked at. */
struct neighbour *neighbour_hear(struct cluster *cluster, mps_view name, uint64_t boot, mps_view tag);
void neighbour_heard_lane(struct neighbour *from); /* and now on its lane: it is present */
/* It is not there any more. is_clean: nothing of what it sent is missing. */
void neighbour_gone(struct neighbour *gone, bool is_clean);
void neighbour_note_hole(struct neighbour *from, uint64_t messages); /* so many are missing, at least: subscribers are told */
/* Messages from other brokers are about to come to these mailboxes: holes stand before what follows them. */
void neighbours_tell_holes(struct cluster *cluster, struct mailbox *const *boxes, uint32_t count);
uint64_t neighbours_turn(struct cluster *cluster); /* signs of life; who is away. Returns when to call again */
void neighbours_leave(struct cluster *cluster);    /* says good-bye to all */
void neighbours_free(struct cluster *cluster);

void inbound_take(struct cluster *cluster, const uint8_t *bytes, size_t len); /* a datagram */

#endif
