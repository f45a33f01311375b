#include "check.h"

#include "access/verifier.h"
#include "cluster/load.h"
#include "log.h"
#include "metrics/metrics.h"
#include "net/net.h"
#include "privileges.h"

static int check_listeners(const struct config *config, bool somebody_has_a_name, char *text, size_t text_cap)
{
    for (int i = 0; i < config->listeners_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        if (listener->address.is_tls && tls_check(listener, text, text_cap) != 0) return -1;
        if (listener_check(listener, somebody_has_a_name, text, text_cap) != 0) return -1;
    }
    return 0;
}

int check_start(const struct config *config, char *text, size_t text_cap)
{
    struct privileges user;
    bool somebody_has_a_name;
    if (privileges_find(&user, config->user, text, text_cap) != 0 || privileges_act_as(&user, text, text_cap) != 0)
        return -1;
    int result = log_check(&config->log, text, text_cap);
    if (result == 0) result = verifier_check(config, &somebody_has_a_name, text, text_cap);
    if (result == 0) result = cluster_check(&config->cluster, text, text_cap);
    privileges_act_as_root(&user);
    if (result != 0 || check_listeners(config, somebody_has_a_name, text, text_cap) != 0) return -1;
    return metrics_check(config, text, text_cap);
}
