/* Groups that have members at several brokers. Each broker tells the others which groups have members there that are
 * connected. A message goes to those of its own broker; only if there are none, to another broker that has some, by turns;
 * and if nobody has any, it waits in the group where it was published. What waits where no member is any more, while another
 * broker has some, is handed over. */
#ifndef CLUSTER_GROUP_FAR_H
#define CLUSTER_GROUP_FAR_H

#include "cluster.h"

void group_far_join(struct cluster *cluster);
void group_far_leave(struct cluster *cluster);
uint64_t group_far_turn(struct cluster *cluster);

/* For group.c; the broker has a cluster. */
CLUSTER_COLD void group_far_update(struct group *group);    /* members came, went, or lost their connection */
/* It is going to be freed: what it has is handed over, if it can be. is_inherited: else the last member gets it. */
CLUSTER_COLD void group_far_last_left(struct group *group, bool is_inherited);

/* A neighbour's groups may have changed: far->at of this one, or of any (NULL: it went, or told all anew). far is freed
 * afterwards if nobody wants it any more. */
void group_far_changed(struct cluster *cluster, struct far *far);
/* Instead of relay_run(), for a topic that groups of neighbours may want: puts the messages into the lanes of all bits of
 * wanted_by that are listening, too. All frames are of this topic. */
void group_far_relay(struct cluster *cluster, uint64_t wanted_by, mps_view topic, struct run *run, struct part part);
/* A TERMS frame came, scanned and not decoded: sets all of in behind .from. False: it is malformed. */
bool group_far_on_terms(struct inbound *in, mps_view frame);
/* Messages came for groups that have no members here any more (in->moved): they go on to where there are some. */
void group_far_pass_on(const struct inbound *in, struct run *run);

#endif
