/* What the program of a tested client asks of it, as vectors write it: the words behind `A do` (PROTOCOL.md, "Conformance
 * vectors"). */
#ifndef CONFORMANCE_CLIENT_DO_H
#define CONFORMANCE_CLIENT_DO_H

#include <stdbool.h>

#include <pubsub/core.h>

/* Does it. Returns false if the words are not understood, or the client refuses. */
bool client_do(struct pubsub_core *core, const char *what);

#endif
