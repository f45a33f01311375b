/* In builds without libmicrohttpd nothing is served: the configuration has refused to have an address for it. */
#include "metrics.h"

int metrics_open(struct server *server, const struct config *config, mode_t operators_umask, char *text,
                 size_t text_cap)
{
    (void)server, (void)config, (void)operators_umask, (void)text, (void)text_cap;
    return 0;
}

const char *metrics_path(const struct server *server)
{
    (void)server;
    return "";
}

int metrics_check(const struct config *config, char *text, size_t text_cap)
{
    (void)config, (void)text, (void)text_cap;
    return 0;
}

void metrics_close(struct server *server)
{
    (void)server;
}

int metrics_prepare(struct server *server, const struct config *fresh, char *text, size_t text_cap)
{
    (void)server, (void)fresh, (void)text, (void)text_cap;
    return 0;
}

void metrics_apply(struct server *server)
{
    (void)server;
}

void metrics_discard(struct server *server)
{
    (void)server;
}
