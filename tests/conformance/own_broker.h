/* A broker that is started for one playing of a case, on a Unix socket and a data directory of its own, with the streams
 * that the case names. It is killed when the case says that it dies.
 * Ownership: own_broker_stop() gives everything back, the directory too. Allocation failure aborts. */
#ifndef CONFORMANCE_OWN_BROKER_H
#define CONFORMANCE_OWN_BROKER_H

#include <stdbool.h>
#include <stddef.h>

#include "stage.h"

struct own_broker;

/* Runs the program and waits until it is ready. NULL with a sentence in error. */
struct own_broker *own_broker_start(const char *program, char *const *streams, size_t streams_count, char *error,
                                    size_t cap);
const char *own_broker_url(const struct own_broker *own); /* unix:/path, as long as it lives */
/* Kills it without warning and starts it again. False with a sentence in error. */
bool own_broker_restart(struct own_broker *own, char *error, size_t cap);
/* Ends it as it wishes to be ended. False with a sentence in error if it did not end well. */
bool own_broker_stop(struct own_broker *own, char *error, size_t cap);

#endif
