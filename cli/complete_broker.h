/* Candidates that the broker knows: topics and streams. Whoever types waits for them, so the broker has half a second;
 * what is not there by then is not offered, and nothing is said about why. */
#ifndef CLI_COMPLETE_BROKER_H
#define CLI_COMPLETE_BROKER_H

#include <stdbool.h>

struct connection_options;

/* Topics that have a retained value, and what is subscribed to if we may know that. wild: also patterns of more than one
 * topic. */
void complete_topics(const struct connection_options *connection, bool wild);

void complete_streams(const struct connection_options *connection); /* by their names */

#endif
