/* Records that all brokers share: what the engine says of them, and who claims a session. cluster.c calls these. */
#ifndef CLUSTER_RECORDS_H
#define CLUSTER_RECORDS_H

#include "cluster.h"

int records_join(struct cluster *cluster, char *text, size_t cap); /* 0, or -1 and a sentence */
void records_leave(struct cluster *cluster);
uint64_t records_turn(struct cluster *cluster); /* returns when to call again; UINT64_MAX: not until something happens */
void records_on_connected(struct cluster *cluster, const char *text); /* cluster->is_storing has changed */
void records_on_begin(struct cluster *cluster);
void records_on_record(struct cluster *cluster, const struct engine_record *record);
void records_on_loaded(struct cluster *cluster);
void records_on_put_done(struct cluster *cluster, uint64_t mark, bool is_done, uint64_t revision);
/* A CLAIM frame came, scanned and not decoded. False: it is malformed. */
bool records_on_claim(struct cluster *cluster, struct neighbour *from, mps_view frame);

#endif
