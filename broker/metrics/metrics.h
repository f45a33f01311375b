/* The broker's figures over HTTP: /metrics for Prometheus, /healthz (it is alive) and /readyz (it serves), at an address of
 * their own, which only this machine reaches unless the operator says otherwise. Off without [metrics] url. On the loop's
 * thread. In builds without it (PUBSUB_METRICS=OFF) the configuration has refused the url before anything here is called. */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include <sys/types.h>

#include "config.h"

struct server;

/* Serves as it is configured, if it is. umask: the operator's, for a Unix socket; also of one after a reload. Returns 0, or -1
 * and one sentence in text. */
int metrics_open(struct server *server, const struct config *config, mode_t operators_umask, char *text, size_t text_cap);
/* The Unix socket that was made; "": none was. */
const char *metrics_path(const struct server *server);
/* Whether it may be served as it is configured; nothing is opened. Returns as metrics_open(). */
int metrics_check(const struct config *config, char *text, size_t text_cap);
/* When the loop does not run any more; its handles are closed with the loop's others. */
void metrics_close(struct server *server);

/* For a reload: see reload.c. Opens the new address, if it is another one. */
int metrics_prepare(struct server *server, const struct config *fresh, char *text, size_t text_cap);
void metrics_apply(struct server *server);
void metrics_discard(struct server *server);

#endif
