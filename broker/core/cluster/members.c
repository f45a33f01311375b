#include "members.h"

#include <stdlib.h>
#include <string.h>

struct neighbour *cluster_find(const struct cluster *cluster, mps_view name)
{
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++)
        if (cluster->neighbours[i] != NULL && mps_view_equal(mps_text(cluster->neighbours[i]->name), name))
            return cluster->neighbours[i];
    return NULL;
}

uint64_t neighbours_turn(struct cluster *cluster)
{
    (void)cluster;
    return UINT64_MAX;
}

void neighbours_leave(struct cluster *cluster)
{
    (void)cluster;
}

void neighbours_free(struct cluster *cluster)
{
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++) free(cluster->neighbours[i]);
}
