/* In builds without libnats there is no module: the configuration has refused to have a cluster. */
#include "load.h"

struct engine *cluster_load(const struct cluster_section *cluster, void (*wake)(void *arg), void *arg, char *text,
                            size_t text_cap)
{
    (void)cluster, (void)wake, (void)arg;
    snprintf(text, text_cap, "this pubsubd was built without [cluster]");
    return NULL;
}

int cluster_check(const struct cluster_section *cluster, char *text, size_t text_cap)
{
    (void)cluster, (void)text, (void)text_cap;
    return 0;
}
