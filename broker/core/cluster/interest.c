#include "lanes.h"

#include <stdlib.h>

#include "sure.h"

struct interest {
    uint64_t version;
};

struct interest *interest_new(struct cluster *cluster)
{
    (void)cluster;
    return sure_zeroed(sizeof(struct interest));
}

void interest_free(struct cluster *cluster)
{
    free(cluster->interest);
}

void interest_comes(struct cluster *cluster, mps_view group, mps_view pattern)
{
    (void)cluster;
    (void)group;
    (void)pattern;
}

void interest_goes(struct cluster *cluster, mps_view group, mps_view pattern)
{
    (void)cluster;
    (void)group;
    (void)pattern;
}

void interest_flush(struct cluster *cluster)
{
    (void)cluster;
}

uint64_t interest_version(const struct cluster *cluster)
{
    return cluster->interest->version;
}
