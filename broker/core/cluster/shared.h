/* Streams that all brokers share: what the engine says of them. cluster.c calls these. */
#ifndef CLUSTER_SHARED_H
#define CLUSTER_SHARED_H

#include "cluster.h"

int shared_join(struct cluster *cluster, char *text, size_t cap); /* 0, or -1 and a sentence */
void shared_leave(struct cluster *cluster);
uint64_t shared_turn(struct cluster *cluster); /* returns when to call again; UINT64_MAX: not until something happens */
void shared_on_connected(struct cluster *cluster, const char *text); /* cluster->is_storing has changed */
void shared_on_settled(struct cluster *cluster, uint64_t token, enum store_code code, uint64_t last, bool was_there,
                       const char *text);
void shared_on_stream_state(struct cluster *cluster, const struct engine_stream_state *state);
void shared_on_tail(struct cluster *cluster, const struct store_block *block);
void shared_on_read_done(struct cluster *cluster, struct store_read *read);

#endif
