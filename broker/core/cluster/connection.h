#ifndef CLUSTER_CONNECTION_H
#define CLUSTER_CONNECTION_H

#include "cluster.h"

/* The engine's connections have changed to what *cluster says now, or it has something to say of their being away: a line of the log
 * for each that was not told yet. why_*: what the trouble is, or "". */
void connection_tell(struct cluster *cluster, const char *why_not_live, const char *why_not_storing);
/* They are there, but something else does not work: a line of the log. */
void connection_trouble(struct cluster *cluster, const char *text);

#endif
