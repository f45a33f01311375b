/* Walking through the properties of a received message. No allocation. */
#ifndef CLI_PROPS_H
#define CLI_PROPS_H

#include <pubsub/pubsub.h>

#include "wire.h"

struct props {
    struct mps_reader reader;
    uint32_t left; /* pairs */
};

void props_open(struct props *props, const struct pubsub_message *message);
bool props_next(struct props *props, mps_view *key, mps_view *value); /* raw values, borrowed. False: no more */

/* The name of one of the protocol's own keys, a raw value: "reply_to", ...; NULL: it is none that is known. */
const char *props_name(mps_view key);

/* The value of a header, raw; absent if there is none of that name. */
mps_view props_header(const struct pubsub_message *message, mps_view name);

#endif
