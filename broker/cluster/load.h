/* Gets the engine that [cluster] asks for. It comes as a module, so that libnats is only where several brokers are one: in the
 * directory of the program, or else where it was installed beside it. The loop's thread. */
#ifndef CLUSTER_LOAD_H
#define CLUSTER_LOAD_H

#include "config.h"
#include "engine.h"

/* wake: any thread may call it, until the engine is closed. NULL: text has one sentence. The module stays loaded. */
struct engine *cluster_load(const struct cluster_section *cluster, void (*wake)(void *arg), void *arg, char *text,
                            size_t text_cap);
/* Whether cluster_load() would find something wrong; nobody is connected. Returns 0, or -1 and one sentence in text. */
int cluster_check(const struct cluster_section *cluster, char *text, size_t text_cap);

#endif
