#include "modes.h"

static bool everybody(const struct options *options)
{
    (void)options;
    return true;
}

static bool brokers(const struct options *options)
{
    return options->protocol->can_subscribe;
}

static bool who_acknowledges(const struct options *options)
{
    return options->protocol->can_ack;
}

static bool who_stores(const struct options *options)
{
    return options->protocol->can_store;
}

static bool who_replays(const struct options *options)
{
    return options->protocol->read != NULL;
}

static const struct mode modes[] = {
    {"flow", everybody, mode_flow},
    {"acked", who_acknowledges, mode_acked},
    {"wildcards", brokers, mode_wildcards},
    {"mixed", brokers, mode_mixed},
    {"pingpong", everybody, mode_pingpong},
    {"idle", brokers, mode_idle},
    {"stall", brokers, mode_stall},
    {"scale-subs", brokers, mode_scale_subs},
    {"scale-topics", brokers, mode_scale_topics},
    {"scale-conns", everybody, mode_scale_conns},
    {"connects", brokers, mode_connects},
    {"stored", who_stores, mode_stored},
    {"replay", who_replays, mode_replay},
    {"readers", who_replays, mode_readers},
    {"disk", everybody, mode_disk},
};

const struct mode *mode_named(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].name, name) == 0) return &modes[i];
    }
    return NULL;
}
