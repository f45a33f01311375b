/* What an application asks for, as frames: shared by the core, which writes to its output buffer, and the client, which
 * writes to its outbox. No I/O, no allocation. Returns PUBSUB_* codes; *why is static text, a clause for a person. */
#ifndef PUBSUB_REQUEST_H
#define PUBSUB_REQUEST_H

#include <pubsub/core.h>
#include <string.h>

#include "properties.h"
#include "wire.h"

#define MPS_GROUP_MAX MPS_ID_MAX /* bytes of a group's name */
#define MPS_FILTER_MAX 1024      /* bytes of a filter */

/* A message with the terms of its publishing: views of what the application lends. */
struct mps_publish {
    struct mps_msg msg;               /* without props if there are none, or they are made of the next */
    struct mps_properties properties; /* .correlation is set by the caller, before it is filled */
    uint32_t flags;                   /* of PUB */
};

/* Fills *out after judging the arguments against the protocol and payload_max bytes. ETOOBIG without *why: it is the
 * payload. */
int mps_request_message(struct mps_publish *out, const char *topic, const void *payload, size_t len,
                        const struct pubsub_publish_options *options, uint64_t payload_max, const char **why);

/* An upper bound of what mps_request_publish() writes, bytes. */
size_t mps_request_bound(const struct mps_publish *publish);

/* Writes the message, and before it PUB if the terms are not those in force. Returns its pid, 0 without ack; or
 * UINT64_MAX if it did not fit: then nothing has changed. */
uint64_t mps_request_publish(struct mps_out *out, struct pubsub_terms *terms, const struct mps_publish *publish);

/* Fills *sub with views of the arguments after judging them. */
int mps_request_subscription(struct mps_sub *sub, uint32_t sid, const char *pattern,
                             const struct pubsub_subscribe_options *options, const char **why);
size_t mps_request_sub_bound(const struct mps_sub *sub); /* bytes of its frame, at most */

/* Writes the array that stands for a will in HELLO. ETOOBIG without *why: it did not fit. */
int mps_request_will(struct mps_out *out, const struct pubsub_will *will, const char **why);

/* Writes the value that proves who the client is, and sets *auth to what HELLO calls its kind; NULL: no proof. ETOOBIG
 * without *why: it did not fit. */
int mps_request_proof(struct mps_out *out, const struct pubsub_proof *proof, const char **auth, const char **why);

static inline bool mps_flags_acked(uint32_t flags)
{
    return (flags & MPS_PUB_LEVEL_MASK) != 0;
}

/* The pid of a message under these terms, 0 without ack. */
static inline uint64_t mps_take_pid(struct pubsub_terms *terms)
{
    return mps_flags_acked(terms->flags) ? terms->next_pid++ : 0;
}

/* ---- bare messages ------------------------------------------------------------------------------------------------
 * Most are: nothing is to be written but a MSG without properties, for the terms in force are those that are asked for.
 * Here, inline, because the calls would cost more than the work. */

bool mps_request_adds_nothing(const struct pubsub_terms *terms, const struct pubsub_publish_options *options);

static inline bool mps_request_is_bare(const struct pubsub_terms *terms, const struct pubsub_publish_options *options)
{
    return options == NULL ? terms->flags == 0 : mps_request_adds_nothing(terms, options);
}

/* A topic as a view; what is longer than it may be is refused as such. */
static inline mps_view mps_topic_view(const char *topic)
{
    return (mps_view){(const uint8_t *)topic, (uint32_t)strnlen(topic, MPS_TOPIC_MAX + 1)};
}

static inline mps_view mps_payload_view(const void *payload, size_t len)
{
    return (mps_view){(const uint8_t *)(len > 0 ? payload : ""), (uint32_t)len};
}

static inline size_t mps_request_bare_bound(size_t topic_len, size_t payload_len)
{
    return topic_len + payload_len + 3 * (size_t)MPS_SMALL_FRAME_MAX;
}

/* As mps_request_message(), of a bare one. */
static inline int mps_request_bare(struct mps_msg *out, const char *topic, const void *payload, size_t len,
                                   uint64_t payload_max, const char **why)
{
    mps_view name = mps_topic_view(topic);
    *why = mps_topic_error(name);
    if (*why != NULL) return PUBSUB_EINVAL;
    if (len > payload_max) return PUBSUB_ETOOBIG;
    *out = (struct mps_msg){.topic = name, .payload = mps_payload_view(payload, len)};
    return PUBSUB_OK;
}

#endif
