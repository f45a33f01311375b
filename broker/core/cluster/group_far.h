/* Groups that have members at several brokers. */
#ifndef CLUSTER_GROUP_FAR_H
#define CLUSTER_GROUP_FAR_H

#include "cluster.h"

void group_far_join(struct cluster *cluster);
void group_far_leave(struct cluster *cluster);
uint64_t group_far_turn(struct cluster *cluster);
/* A neighbour's groups may have changed: far->at of this one, or of any (NULL: it went, or told all anew). far is freed
 * afterwards if nobody wants it any more. */
void group_far_changed(struct cluster *cluster, struct far *far);
/* Instead of relay_run(), for a topic that groups of neighbours may want: puts the messages into the lanes of all bits of
 * wanted_by that are listening, too. All frames are of this topic. */
void group_far_relay(struct cluster *cluster, uint64_t wanted_by, mps_view topic, struct run *run, struct part part);
/* A TERMS frame came, scanned and not decoded: sets in->plain and in->groups. False: it is malformed. */
bool group_far_on_terms(struct inbound *in, mps_view frame);

#endif
