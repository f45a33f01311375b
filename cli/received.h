/* A received message that is kept beyond its callback, in one piece of memory: free() gives it back. with_payload: else
 * the copy's payload is empty. Out of memory ends the program. */
#ifndef CLI_RECEIVED_H
#define CLI_RECEIVED_H

#include <pubsub/pubsub.h>

struct pubsub_message *received_copy(const struct pubsub_message *message, bool with_payload);

#endif
