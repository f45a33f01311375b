/* The options of `pubsub top`. */
#ifndef CLI_TOP_OPTIONS_H
#define CLI_TOP_OPTIONS_H

#include "connect.h"
#include "top_state.h"

struct top_options {
    struct connection_options connection;
    uint64_t interval_ms;
    unsigned long long rows; /* that are printed of each view */
    const char *view, *sort; /* NULL: not given */
    bool once, json;
    struct top_state state;  /* as it begins */
};

enum options_result top_options_read(struct top_options *options, int argc, char **argv);

/* Whether a view is printed. */
bool top_options_show(const struct top_options *options, enum top_view_name view);

#endif
