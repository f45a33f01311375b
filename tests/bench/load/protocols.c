#include "protocol.h"

const struct protocol *protocol_named(const char *name)
{
    static const struct protocol *const all[] = {&protocol_mps,   &protocol_mps_cluster, &protocol_nats,
                                                 &protocol_redis, &protocol_mqtt,        &protocol_raw};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i]->name, name) == 0) return all[i];
    }
    return NULL;
}
