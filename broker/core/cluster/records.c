#include "records.h"

int records_join(struct cluster *cluster, char *text, size_t cap)
{
    (void)cluster;
    (void)text;
    (void)cap;
    return 0;
}

void records_leave(struct cluster *cluster)
{
    (void)cluster;
}

uint64_t records_turn(struct cluster *cluster)
{
    (void)cluster;
    return UINT64_MAX;
}

void records_on_connected(struct cluster *cluster, const char *text)
{
    (void)cluster;
    (void)text;
}

void records_on_begin(struct cluster *cluster)
{
    (void)cluster;
}

void records_on_record(struct cluster *cluster, const struct engine_record *record)
{
    (void)cluster;
    (void)record;
}

void records_on_loaded(struct cluster *cluster)
{
    (void)cluster;
}

void records_on_put_done(struct cluster *cluster, uint64_t mark, bool is_done, uint64_t revision)
{
    (void)cluster;
    (void)mark;
    (void)is_done;
    (void)revision;
}

bool records_on_claim(struct cluster *cluster, struct neighbour *from, mps_view frame)
{
    (void)cluster;
    (void)from;
    (void)frame;
    return true;
}
