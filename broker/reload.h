/* SIGHUP: the configuration is loaded again while the broker runs. All or nothing: what is wrong anywhere is said in one
 * line, and everything stays as it was. */
#ifndef BROKER_RELOAD_H
#define BROKER_RELOAD_H

#include "net/net.h"
#include "notify.h"
#include "options.h"

struct reload {
    uv_signal_t signal;
    struct server *server;
    struct options *options; /* whose .config is what runs */
    struct notifier *notifier;
};

/* From now on the signal is served, and told to the service manager. What is given must stay until the server is freed. */
void reload_watch(struct reload *reload, struct server *server, struct options *options, struct notifier *notifier);

#endif
