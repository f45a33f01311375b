#include "members.h"

void inbound_take(struct cluster *cluster, const uint8_t *bytes, size_t len)
{
    (void)cluster;
    (void)bytes;
    (void)len;
}
