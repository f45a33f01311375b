#include "request.h"

#include <string.h>

#include "value.h"

/* A frame holds at most MPS_VALUES_MAX values; array, operation, topic and payload are four of them. */
enum { PROPS_VALUES_MAX = MPS_VALUES_MAX - 4 };

static int judge_props(mps_view props, const char **why)
{
    *why = mps_document_check(props, MPS_DEPTH_MAX - 1, PROPS_VALUES_MAX);
    if (*why != NULL) return PUBSUB_EINVAL;
    if (mps_props_check(props, why) != MPS_OK) return PUBSUB_EINVAL;
    if (props.len > MPS_HEAD_MAX - MPS_TOPIC_MAX - MPS_SMALL_FRAME_MAX) {
        *why = "they are too long for a frame's head of 8,192 bytes";
        return PUBSUB_ETOOBIG;
    }
    return PUBSUB_OK;
}

int mps_request_message(struct mps_msg *msg, const char *topic, const void *payload, size_t len,
                        const struct pubsub_publish_options *options, uint64_t payload_max, const char **why)
{
    size_t topic_len = strnlen(topic, MPS_TOPIC_MAX + 1);
    msg->topic = (mps_view){(const uint8_t *)topic, (uint32_t)topic_len};
    *why = mps_topic_error(msg->topic);
    if (*why != NULL) return PUBSUB_EINVAL;
    if (len > payload_max) return PUBSUB_ETOOBIG;
    msg->payload = (mps_view){(const uint8_t *)(len > 0 ? payload : ""), (uint32_t)len};
    msg->props = (mps_view){NULL, 0};
    if (options == NULL) return PUBSUB_OK;
    if ((unsigned)options->ack > PUBSUB_ACK_REPLICATED) {
        *why = "its acknowledgement level is not within 0..3";
        return PUBSUB_EINVAL;
    }
    if (options->props == NULL) return PUBSUB_OK;
    if (options->props_len > MPS_HEAD_MAX) {
        *why = "they are too long for a frame's head of 8,192 bytes";
        return PUBSUB_ETOOBIG;
    }
    msg->props = (mps_view){options->props, (uint32_t)options->props_len};
    return judge_props(msg->props, why);
}

uint32_t mps_request_flags(const struct pubsub_publish_options *options)
{
    if (options == NULL) return 0;
    uint32_t flags = (uint32_t)options->ack << MPS_PUB_LEVEL_SHIFT & MPS_PUB_LEVEL_MASK;
    if (options->retain) flags |= MPS_PUB_RETAIN;
    if (options->must_route) flags |= MPS_PUB_MUST_ROUTE;
    return flags;
}

size_t mps_request_bound(const struct mps_msg *msg)
{
    return (size_t)msg->topic.len + msg->props.len + msg->payload.len + 3 * MPS_SMALL_FRAME_MAX;
}

static bool put_terms(struct mps_out *out, struct pubsub_terms *terms, uint32_t flags)
{
    bool acked = mps_flags_acked(flags);
    /* Only the first PUB of a connection may skip pids, so it has to be one that carries a pid. */
    if (terms->skips && !acked && !mps_encode_pub(out, &(struct mps_pub){terms->next_pid, 1u << MPS_PUB_LEVEL_SHIFT}))
        return false;
    if (!mps_encode_pub(out, &(struct mps_pub){acked ? terms->next_pid : 0, flags})) return false;
    terms->skips = false;
    terms->flags = flags;
    return true;
}

uint64_t mps_request_publish(struct mps_out *out, struct pubsub_terms *terms, const struct mps_msg *msg, uint32_t flags)
{
    uint32_t len_before = out->len;
    struct pubsub_terms terms_before = *terms;
    if ((flags == terms->flags || put_terms(out, terms, flags)) && mps_encode_msg(out, msg))
        return mps_flags_acked(flags) ? terms->next_pid++ : 0;
    out->len = len_before;
    *terms = terms_before;
    return UINT64_MAX;
}

static void put_limit(struct mps_sub_options *options, uint32_t given, uint64_t *field, uint64_t limit)
{
    if (limit == 0) return;
    options->given |= given;
    *field = limit < MPS_NUMBER_MAX ? limit : MPS_NUMBER_MAX; /* the broker caps it at what the operator allows */
}

int mps_request_subscription(struct mps_sub *sub, uint32_t sid, const char *pattern,
                             const struct pubsub_subscribe_options *options, const char **why)
{
    *sub = (struct mps_sub){0};
    sub->sid = sid;
    sub->pattern = (mps_view){(const uint8_t *)pattern, (uint32_t)strnlen(pattern, MPS_TOPIC_MAX + 1)};
    *why = mps_pattern_error(sub->pattern);
    if (*why != NULL) return PUBSUB_EINVAL;
    if (sid == 0 || sid > MPS_SID_MAX) {
        *why = "its number is not within 1..2147483647";
        return PUBSUB_EINVAL;
    }
    if (options == NULL) return PUBSUB_OK;
    if (options->retained < 0 || options->retained > 2) {
        *why = "the option retained is not 0, 1 or 2";
        return PUBSUB_EINVAL;
    }
    put_limit(&sub->options, MPS_SUB_MAX_MSGS, &sub->options.max_msgs, options->max_msgs);
    put_limit(&sub->options, MPS_SUB_MAX_BYTES, &sub->options.max_bytes, options->max_bytes);
    if (options->retained != 0) {
        sub->options.given |= MPS_SUB_RETAINED;
        sub->options.retained = (uint32_t)options->retained;
    }
    return PUBSUB_OK;
}
