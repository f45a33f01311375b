/* Publishing: a message, its properties, and the terms ahead of it. */
#include "core_state.h"

#define CORRELATION_MAX 64 /* bytes */
#define PAIRS_MAX 125      /* more are more values than a frame holds */

static uint8_t flags_of(const struct pubsub_publish_options *options)
{
    if (options == NULL) return 0;
    return (uint8_t)((unsigned)options->ack << MPS_PUB_LEVEL_SHIFT | (options->retain ? MPS_PUB_RETAIN : 0) |
                     (options->must_route ? MPS_PUB_MUST_ROUTE : 0));
}

static bool makes_properties(const struct pubsub_publish_options *options)
{
    return options->raw || options->has_ttl || options->key != NULL || options->reply_to != NULL ||
           options->correlation != NULL || options->headers_count > 0;
}

#if PUBSUB_CORE_PROPERTIES
#undef OPTION_TYPE
#define OPTION_TYPE struct pubsub_publish_options
#define PROPERTIES(X) \
    X("\1", reply_to, TEXT) X("\2", correlation, BIN) X("\3", raw, ZERO) X("\4", has_ttl, TTL) X("\6", key, TEXT)
static const char property_names[] = PROPERTIES(OPTION_NAME);
static const struct option property_rows[] = {PROPERTIES(OPTION_ROW)};
enum {
    ARE_BYTES = 1 / (offsetof(struct pubsub_publish_options, correlation_len) ==
                     offsetof(struct pubsub_publish_options, correlation) + offsetof(struct pubsub_bytes, len))
};

/* The map as the options say. */
static int make_properties(struct writer *out, const struct pubsub_publish_options *options)
{
    if (options->headers_count > PAIRS_MAX) return PUBSUB_ETOOBIG;
    if ((options->correlation != NULL && options->correlation_len > CORRELATION_MAX) ||
        (options->reply_to != NULL && !mps_core_is_topic(options->reply_to, false)))
        return PUBSUB_EINVAL;
    mps_core_put_options(out, property_rows, property_names, sizeof property_rows / sizeof *property_rows, options,
                         options->headers_count);
    for (size_t i = 0; i < options->headers_count; i++) {
        const struct pubsub_header *header = &options->headers[i];
        if (header->name == NULL || header->value == NULL) return PUBSUB_EINVAL;
        mps_core_put_text(out, header->name);
        mps_core_put_text(out, header->value);
    }
    return PUBSUB_OK;
}

/* What was written is judged, whoever made it. */
static int put_properties(struct writer *out, const struct pubsub_publish_options *options)
{
    const uint8_t *map = out->at;
    int rc = PUBSUB_OK;
    if (options->props == NULL) rc = make_properties(out, options);
    else if (makes_properties(options)) rc = PUBSUB_EINVAL; /* both raw and as options */
    else mps_core_put_bytes(out, options->props, options->props_len);
    if (rc != PUBSUB_OK) return rc;
    if (out->full) return PUBSUB_OK; /* whoever takes it over sees that */
    struct view written = {map, (uint32_t)(out->at - map)};
    if (written.len > MPS_HEAD_MAX - MPS_TOPIC_MAX - MPS_SMALL_FRAME_MAX) return PUBSUB_ETOOBIG;
    return mps_core_are_properties(written, true) ? PUBSUB_OK : PUBSUB_EINVAL;
}
#else
static int put_properties(struct writer *out, const struct pubsub_publish_options *options)
{
    (void)out, (void)options;
    return PUBSUB_EINVAL;
}
#endif

static bool is_acked(unsigned flags)
{
    return (flags & MPS_PUB_LEVEL_MASK) != 0;
}

static int put_pub(struct pubsub_core *core, uint64_t pid, unsigned flags)
{
    const uint64_t numbers[] = {pid, flags};
    return mps_core_send(core, MPS_OP_PUB, numbers, 2, 2);
}

static int put_terms(struct pubsub_core *core, uint8_t flags)
{
    struct pubsub_terms *terms = &core->terms;
    bool acked = is_acked(flags);
    int rc = PUBSUB_OK;
    if (flags == terms->flags) return rc;
    /* Only the first PUB of a connection may skip pids, so it has to be one that carries a pid. */
    if (terms->skips && !acked) rc = put_pub(core, terms->next_pid, 1u << MPS_PUB_LEVEL_SHIFT);
    if (rc == PUBSUB_OK) rc = put_pub(core, acked ? terms->next_pid : 0, flags);
    terms->skips = false;
    terms->flags = flags;
    return rc;
}

static int put_message(struct pubsub_core *core, const char *topic, const void *payload, size_t len,
                       const struct pubsub_publish_options *options)
{
    int rc = PUBSUB_OK;
    struct writer out = mps_core_begin(core, 3, MPS_OP_MSG);
    mps_core_put_text(&out, topic);
    if (options != NULL && (options->props != NULL || makes_properties(options))) rc = put_properties(&out, options);
    else mps_core_put_bytes(&out, "\xc0", 1);
    if (rc != PUBSUB_OK) return rc;
    mps_core_put_bin(&out, payload, len);
    return mps_core_commit(core, &out);
}

#if PUBSUB_CORE_FAST
/* A message without properties under the terms in force: one check of the room for all of it, then stores. False: it is
 * not one, or there may be no room for it. */
static inline bool put_plain(struct pubsub_core *core, const char *topic, const void *payload, size_t len,
                             const struct pubsub_publish_options *options)
{
    uint8_t *p = core->tx + core->tx_end;
    size_t topic_len = strlen(topic), room = core->tx_cap - core->tx_end,
           heads = 9; /* at most: array, operation, topic's, nil, payload's */
    if (options == NULL ? core->terms.flags != 0
                        : core->terms.flags != flags_of(options) || options->props != NULL || makes_properties(options))
        return false;
    if (room < heads + topic_len || room - heads - topic_len < len || len > UINT16_MAX) return false;
    *p++ = 0x94;
    *p++ = MPS_OP_MSG;
    if (topic_len > 31) *p++ = 0xd9;
    *p++ = (uint8_t)(topic_len > 31 ? topic_len : 0xa0 | topic_len);
    memcpy(p, topic, topic_len);
    p += topic_len;
    *p++ = 0xc0;
    *p++ = len > UINT8_MAX ? 0xc5 : 0xc4;
    if (len > UINT8_MAX) *p++ = (uint8_t)(len >> 8);
    *p++ = (uint8_t)len;
    if (len > 0) memcpy(p, payload, len);
    core->tx_end = (size_t)(p - core->tx) + len;
    return true;
}
#endif

static int publish_with_terms(struct pubsub_core *core, const char *topic, const void *payload, size_t len,
                              const struct pubsub_publish_options *options)
{
    uint8_t flags_before = core->terms.flags;
    bool skips_before = core->terms.skips;
    size_t end_before = core->tx_end;
    int rc = put_terms(core, flags_of(options));
    if (rc == PUBSUB_OK) rc = put_message(core, topic, payload, len, options);
    if (rc == PUBSUB_OK) return rc;
    core->terms.flags = flags_before;
    core->terms.skips = skips_before;
    core->tx_end = end_before;
    return rc == PUBSUB_EAGAIN && end_before == 0 ? PUBSUB_ETOOBIG : rc;
}

int pubsub_core_publish(struct pubsub_core *core, const char *topic, const void *payload, size_t len,
                        const struct pubsub_publish_options *options, uint64_t *pid)
{
    if (mps_core_may_send(core) != PUBSUB_OK) return PUBSUB_ECLOSED;
    if (!mps_core_is_topic(topic, false) || (options != NULL && (unsigned)options->ack > PUBSUB_ACK_REPLICATED))
        return PUBSUB_EINVAL;
    if (len > core->broker_payload_max) return PUBSUB_ETOOBIG;
#if PUBSUB_CORE_FAST
    if (!put_plain(core, topic, payload, len, options))
#endif
    {
        int rc = publish_with_terms(core, topic, payload, len, options);
        if (rc != PUBSUB_OK) return rc;
    }
    uint64_t id = is_acked(core->terms.flags) ? core->terms.next_pid++ : 0;
    if (pid != NULL) *pid = id;
    return PUBSUB_OK;
}
