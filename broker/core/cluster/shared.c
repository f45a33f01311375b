#include "shared.h"

int shared_join(struct cluster *cluster, char *text, size_t cap)
{
    (void)cluster;
    (void)text;
    (void)cap;
    return 0;
}

void shared_leave(struct cluster *cluster)
{
    (void)cluster;
}

uint64_t shared_turn(struct cluster *cluster)
{
    (void)cluster;
    return UINT64_MAX;
}

void shared_on_connected(struct cluster *cluster, const char *text)
{
    (void)cluster;
    (void)text;
}

void shared_on_settled(struct cluster *cluster, uint64_t token, enum store_code code, uint64_t last, bool was_there,
                       const char *text)
{
    (void)cluster;
    (void)token;
    (void)code;
    (void)last;
    (void)was_there;
    (void)text;
}

void shared_on_stream_state(struct cluster *cluster, const struct engine_stream_state *state)
{
    (void)cluster;
    (void)state;
}

void shared_on_tail(struct cluster *cluster, const struct store_block *block)
{
    (void)cluster;
    (void)block;
}

void shared_on_read_done(struct cluster *cluster, struct store_read *read)
{
    (void)cluster;
    (void)read;
}
