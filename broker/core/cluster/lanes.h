/* What goes out: lanes (lanes.c), and what of our own interest goes into them (interest.c). */
#ifndef CLUSTER_LANES_H
#define CLUSTER_LANES_H

#include "cluster.h"

void lanes_flush(struct cluster *cluster);

struct interest *interest_new(struct cluster *cluster);
void interest_free(struct cluster *cluster);

#endif
