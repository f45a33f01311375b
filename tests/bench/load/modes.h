/* The scenarios. Each measures one thing against one running broker, prints its report, and returns the exit code. */
#pragma once
#include "options.h"

struct mode {
    const char *name;
    bool (*serves)(const struct options *options); /* can this protocol do it? */
    int (*run)(const struct options *options);
};

/* NULL if there is none of that name. */
const struct mode *mode_named(const char *name);

int mode_flow(const struct options *options);
int mode_acked(const struct options *options);
int mode_wildcards(const struct options *options);
int mode_scale_subs(const struct options *options);
int mode_scale_topics(const struct options *options);
int mode_scale_conns(const struct options *options);
int mode_pingpong(const struct options *options);
int mode_idle(const struct options *options);
int mode_stall(const struct options *options);
int mode_mixed(const struct options *options);
int mode_connects(const struct options *options);
int mode_stored(const struct options *options);
int mode_replay(const struct options *options);
int mode_readers(const struct options *options);
int mode_disk(const struct options *options);
