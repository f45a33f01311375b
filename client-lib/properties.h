/* A message's properties, made of publish options where no raw map is given: judged and measured before there is room
 * for them, then written where they belong. No I/O, no allocation. */
#ifndef PUBSUB_PROPERTIES_H
#define PUBSUB_PROPERTIES_H

#include <pubsub/pubsub.h>

#include "wire.h"

#define MPS_CORRELATION_MAX 64 /* bytes of one that an application gives */

struct mps_properties {
    const struct pubsub_publish_options *options; /* borrowed */
    mps_view correlation; /* one raw value that stands instead of options->correlation; absent: none */
    uint32_t pairs;       /* 0: no properties, or raw ones */
    uint32_t bytes;       /* at most, of the map */
};

/* Judges raw properties. Returns 0, PUBSUB_EINVAL or ETOOBIG; *why is static text. */
int mps_properties_check(const void *props, size_t len, uint32_t depth_max, const char **why);

/* Judges options and correlation and sets the rest. Returns as mps_properties_check(). */
int mps_properties_measure(struct mps_properties *properties, const char **why);

/* Whether the options and the correlation ask for none: most messages. */
static inline bool mps_properties_none(const struct mps_properties *properties)
{
    const struct pubsub_publish_options *options = properties->options;
    return properties->correlation.ptr == NULL && !options->raw && !options->has_ttl && options->key == NULL &&
           options->reply_to == NULL && options->correlation == NULL && options->headers_count == 0;
}

/* Writes the map. */
void mps_properties_put(struct mps_out *out, const struct mps_properties *properties);

#endif
