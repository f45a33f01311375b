#include "lanes.h"

void lane_put_frame(struct neighbour *to, const struct mps_out *frame)
{
    (void)to;
    (void)frame;
}

void lane_put_msgs(struct neighbour *to, const struct far_terms *terms, struct run *run, struct part part)
{
    (void)to;
    (void)terms;
    (void)run;
    (void)part;
}

void lane_flush(struct neighbour *to)
{
    (void)to;
}

void lanes_flush(struct cluster *cluster)
{
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++)
        if (cluster->neighbours[i] != NULL) lane_flush(cluster->neighbours[i]);
}
