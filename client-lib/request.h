/* What an application asks for, as frames: shared by the core, which writes to its output buffer, and the client, which
 * writes to its outbox. No I/O, no allocation. Returns PUBSUB_* codes; *why is static text, a clause for a person. */
#ifndef PUBSUB_REQUEST_H
#define PUBSUB_REQUEST_H

#include <pubsub/core.h>

#include "wire.h"

/* Fills *msg with views of the arguments after judging them against the protocol and payload_max bytes. */
int mps_request_message(struct mps_msg *msg, const char *topic, const void *payload, size_t len,
                        const struct pubsub_publish_options *options, uint64_t payload_max, const char **why);

/* The flags of PUB for these options. */
uint32_t mps_request_flags(const struct pubsub_publish_options *options);

/* An upper bound of what mps_request_publish() writes, bytes. */
size_t mps_request_bound(const struct mps_msg *msg);

/* Writes the message, and before it PUB if the terms are not those in force. Returns its pid, 0 without ack; or
 * UINT64_MAX if it did not fit: then nothing has changed. */
uint64_t mps_request_publish(struct mps_out *out, struct pubsub_terms *terms, const struct mps_msg *msg,
                             uint32_t flags);

/* Fills *sub with views of the arguments after judging them. */
int mps_request_subscription(struct mps_sub *sub, uint32_t sid, const char *pattern,
                             const struct pubsub_subscribe_options *options, const char **why);

static inline bool mps_flags_acked(uint32_t flags)
{
    return (flags & MPS_PUB_LEVEL_MASK) != 0;
}

#endif
