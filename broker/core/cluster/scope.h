/* SUB with scope = cluster: its SUBACK waits until the other brokers know of it. They are asked by an ECHO behind the
 * interest, on the same lane, once for all SUBs of a turn. Meanwhile nothing of the subscription is sent: it has no credit.
 *
 * Retained values that were set there before are records when they answer, and they say up to which revision: SUBACK waits
 * until these have come, and they belong to what is retained behind it. What is set later comes as messages. */
#ifndef CLUSTER_SCOPE_H
#define CLUSTER_SCOPE_H

#include "cluster.h"

/* For subscribe.c and the ends of sessions; also without a cluster. */
/* The SUBACK is sent by and by. False: it can be sent at once, as no others are there that could be waited for. */
CLUSTER_COLD bool scope_defer(struct subscription *sub, const struct mps_suback *suback);
CLUSTER_COLD void scope_wants_values(struct subscription *sub);       /* retained ones, too: of one that waits */
CLUSTER_COLD void scope_answer(struct subscription *sub);             /* now, with scope = local: something of the sid follows */
CLUSTER_COLD void scope_answer_all(struct session *session);          /* likewise, all that wait */
CLUSTER_COLD void scope_forget(struct subscription *sub);             /* nobody waits for the answer any more; it goes on as before */
CLUSTER_COLD void scope_forget_all(struct session *session);
CLUSTER_COLD void scope_add_credit(struct subscription *sub, uint64_t total, bool drain); /* of one that waits, for later */

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
