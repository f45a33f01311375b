#include "request.h"

#include <string.h>

#define INFLIGHT_MAX 65536
#define PAIR_BYTES_MAX 18 /* two numbers, at most */

/* What is said in the library's terms and in the protocol's has the same numbers. */
enum {
    SAME_NUMBERS =
        1 / ((int)PUBSUB_FROM_SEQ == (int)MPS_FROM_SEQ && (int)PUBSUB_FROM_TIME == (int)MPS_FROM_TIME &&
             (int)PUBSUB_FROM_LAST_PER_TOPIC == (int)MPS_FROM_LAST_PER_TOPIC &&
             (int)PUBSUB_ACKS_UPTO == (int)MPS_ACK_UPTO && (int)PUBSUB_ACKS_EACH == (int)MPS_ACK_EACH &&
             (int)PUBSUB_ACKED_NEVER == (int)MPS_ACKED_NEVER && (int)PUBSUB_SCOPE_CLUSTER == (int)MPS_SCOPE_CLUSTER)
};

static const struct pubsub_publish_options no_options = {.ack = PUBSUB_ACK_NONE};

static uint32_t flags_of(const struct pubsub_publish_options *options)
{
    uint32_t flags = (uint32_t)options->ack << MPS_PUB_LEVEL_SHIFT & MPS_PUB_LEVEL_MASK;
    if (options->retain) flags |= MPS_PUB_RETAIN;
    if (options->must_route) flags |= MPS_PUB_MUST_ROUTE;
    return flags;
}

bool mps_request_adds_nothing(const struct pubsub_terms *terms, const struct pubsub_publish_options *options)
{
    const struct mps_properties properties = {.options = options};
    return flags_of(options) == terms->flags && (unsigned)options->ack <= PUBSUB_ACK_REPLICATED &&
           options->props == NULL && mps_properties_none(&properties);
}

int mps_request_message(struct mps_publish *out, const char *topic, const void *payload, size_t len,
                        const struct pubsub_publish_options *options, uint64_t payload_max, const char **why)
{
    if (options == NULL) options = &no_options;
    out->properties.options = options;
    out->flags = flags_of(options);
    int rc = mps_request_bare(&out->msg, topic, payload, len, payload_max, why);
    if (rc != PUBSUB_OK) return rc;
    if ((unsigned)options->ack > PUBSUB_ACK_REPLICATED) {
        *why = "its acknowledgement level is not within 0..3";
        return PUBSUB_EINVAL;
    }
    rc = mps_properties_measure(&out->properties, why);
    if (rc != PUBSUB_OK || options->props == NULL) return rc;
    rc = mps_properties_check(options->props, options->props_len, MPS_DEPTH_MAX - 1, why);
    out->msg.props = (mps_view){options->props, (uint32_t)options->props_len};
    return rc;
}

size_t mps_request_bound(const struct mps_publish *publish)
{
    const struct mps_msg *msg = &publish->msg;
    size_t props = publish->properties.pairs > 0 ? publish->properties.bytes : msg->props.len;
    return mps_request_bare_bound(msg->topic.len, msg->payload.len) + props;
}

static bool put_terms(struct mps_out *out, struct pubsub_terms *terms, uint32_t flags)
{
    bool acked = mps_flags_acked(flags);
    /* Only the first PUB of a connection may skip pids, so it has to be one that carries a pid. */
    if (terms->skips && !acked && !mps_encode_pub(out, &(struct mps_pub){terms->next_pid, 1u << MPS_PUB_LEVEL_SHIFT}))
        return false;
    if (!mps_encode_pub(out, &(struct mps_pub){acked ? terms->next_pid : 0, flags})) return false;
    terms->skips = false;
    terms->flags = (uint8_t)flags;
    return true;
}

static bool put_message(struct mps_out *out, const struct mps_publish *publish)
{
    if (publish->properties.pairs == 0) return mps_encode_msg(out, &publish->msg);
    mps_put_array(out, 4);
    mps_put_uint(out, MPS_OP_MSG);
    mps_put_text(out, publish->msg.topic);
    mps_properties_put(out, &publish->properties);
    mps_put_bin(out, publish->msg.payload);
    return !out->full;
}

uint64_t mps_request_publish(struct mps_out *out, struct pubsub_terms *terms, const struct mps_publish *publish)
{
    uint32_t len_before = out->len;
    struct pubsub_terms terms_before = *terms;
    if ((publish->flags == terms->flags || put_terms(out, terms, publish->flags)) && put_message(out, publish))
        return mps_take_pid(terms);
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

static const char *policies_error(const struct pubsub_subscribe_options *options)
{
    if ((unsigned)options->policy > PUBSUB_SPILL) return "the option policy is none of enum pubsub_policy";
    switch (options->then) {
    case PUBSUB_POLICY_DEFAULT:
    case PUBSUB_DROP_OLD:
    case PUBSUB_DROP_NEW:
    case PUBSUB_CLOSE: return NULL;
    case PUBSUB_LATEST:
    case PUBSUB_BLOCK:
    case PUBSUB_SPILL: break;
    }
    return "the option then is not drop_old, drop_new or close";
}

static const char *group_error(const struct pubsub_subscribe_options *options)
{
    bool closes = options->policy == PUBSUB_CLOSE || (options->policy == PUBSUB_BLOCK && options->then == PUBSUB_CLOSE);
    if (mps_id_error((mps_view){(const uint8_t *)options->group, (uint32_t)strnlen(options->group, MPS_GROUP_MAX + 1)}))
        return "the option group is not 1..64 bytes of UTF-8 without blanks, control characters, '/', '+', '#', or a "
               "'$' in front";
    if (closes) return "the policy close does not go with a group";
    return options->no_local ? "the option no_local does not go with a group" : NULL;
}

static const char *positions_error(const struct pubsub_subscribe_options *options)
{
    const uint64_t *pairs = options->from_positions;
    size_t count = options->from_positions_count;
    if (pairs == NULL || count == 0 || count > MPS_FROM_POSITIONS_MAX)
        return "the option from_positions does not name 1..64 streams";
    for (size_t i = 0; i < count; i++) {
        if (pairs[2 * i] > MPS_NUMBER_MAX || pairs[2 * i + 1] > MPS_NUMBER_MAX)
            return "the option from_positions holds a number over 9007199254740991";
        for (size_t j = 0; j < i; j++)
            if (pairs[2 * i] == pairs[2 * j]) return "the option from_positions names a stream twice";
    }
    return NULL;
}

/* Of what makes a subscription a reader. */
static const char *reader_error(const struct pubsub_subscribe_options *options)
{
    bool acks = options->ack != PUBSUB_ACKS_NONE;
    if ((unsigned)options->from > PUBSUB_FROM_LAST_PER_TOPIC) return "the option from is none of enum pubsub_from";
    if ((unsigned)options->ack > PUBSUB_ACKS_EACH) return "the option ack is none of enum pubsub_ack_mode";
    if (options->from_number > MPS_NUMBER_MAX) return "the option from_number is over 9007199254740991";
    if (!acks && options->ack_ms > 0) return "the option ack_ms is given without ack";
    if (!acks && options->max_tries > 0) return "the option max_tries is given without ack";
    if (!acks && options->inflight > 0) return "the option inflight is given without ack";
    if (options->inflight > INFLIGHT_MAX) return "the option inflight is over 65536";
    if (options->no_local && (acks || options->durable || options->from != PUBSUB_FROM_NEW))
        return "the option no_local does not go with from, ack or durable";
    return options->from == PUBSUB_FROM_SEQ ? positions_error(options) : NULL;
}

static const char *options_error(const struct pubsub_subscribe_options *options)
{
    const char *why = policies_error(options);
    if (why == NULL && options->group != NULL) why = group_error(options);
    if (why == NULL) why = reader_error(options);
    if (why != NULL) return why;
    if (options->retained < 0 || options->retained > 2) return "the option retained is not 0, 1 or 2";
    if ((unsigned)options->scope > PUBSUB_SCOPE_CLUSTER) return "the option scope is none of enum pubsub_scope";
    if (options->credit > 0 && !options->by_credit) return "the option credit is given without by_credit";
    if (options->credit > MPS_NUMBER_MAX) return "the option credit is over 9007199254740991 messages";
    if (options->filter == NULL) return NULL;
    mps_view filter = {(const uint8_t *)options->filter, (uint32_t)strnlen(options->filter, MPS_FILTER_MAX + 1)};
    if (filter.len == 0 || filter.len > MPS_FILTER_MAX) return "the option filter is not 1..1024 bytes long";
    return mps_utf8_valid(filter) ? NULL : "the option filter is not UTF-8";
}

/* The broker's default is said by saying nothing. */
static void put_policy(struct mps_sub_options *options, uint32_t given, enum mps_policy *field,
                       enum pubsub_policy policy)
{
    switch (policy) {
    case PUBSUB_POLICY_DEFAULT: return;
    case PUBSUB_DROP_OLD: *field = MPS_POLICY_DROP_OLD; break;
    case PUBSUB_DROP_NEW: *field = MPS_POLICY_DROP_NEW; break;
    case PUBSUB_LATEST: *field = MPS_POLICY_LATEST; break;
    case PUBSUB_CLOSE: *field = MPS_POLICY_CLOSE; break;
    case PUBSUB_BLOCK: *field = MPS_POLICY_BLOCK; break;
    case PUBSUB_SPILL: *field = MPS_POLICY_SPILL; break;
    }
    options->given |= given;
}

static void put_reader(struct mps_sub_options *out, const struct pubsub_subscribe_options *options)
{
    out->from = (struct mps_from){.kind = (enum mps_from_kind)options->from,
                                  .number = options->from_number,
                                  .count = (uint32_t)options->from_positions_count,
                                  .positions = options->from_positions};
    out->ack = (enum mps_ack_mode)options->ack;
    out->durable = options->durable;
    put_limit(out, MPS_SUB_ACK_MS, &out->ack_ms, options->ack_ms);
    put_limit(out, MPS_SUB_MAX_TRIES, &out->max_tries, options->max_tries);
    put_limit(out, MPS_SUB_INFLIGHT, &out->inflight, options->inflight);
    out->given |= (options->from != PUBSUB_FROM_NEW ? MPS_SUB_FROM : 0u) |
                  (options->ack != PUBSUB_ACKS_NONE ? MPS_SUB_ACK : 0u) | (options->durable ? MPS_SUB_DURABLE : 0u);
}

static void put_options(struct mps_sub_options *out, const struct pubsub_subscribe_options *options)
{
    put_reader(out, options);
    put_policy(out, MPS_SUB_POLICY, &out->policy, options->policy);
    put_policy(out, MPS_SUB_THEN, &out->then, options->then);
    put_limit(out, MPS_SUB_MAX_MSGS, &out->max_msgs, options->max_msgs);
    put_limit(out, MPS_SUB_MAX_BYTES, &out->max_bytes, options->max_bytes);
    put_limit(out, MPS_SUB_BLOCK_MS, &out->block_ms, options->block_ms);
    out->credit = options->credit;
    out->group = mps_text(options->group);
    out->filter = mps_text(options->filter);
    out->retained = (uint32_t)options->retained;
    out->no_local = options->no_local;
    out->scope = (enum mps_scope)options->scope;
    out->given |= (options->by_credit ? MPS_SUB_CREDIT : 0u) | (options->group != NULL ? MPS_SUB_GROUP : 0u) |
                  (options->filter != NULL ? MPS_SUB_FILTER : 0u) | (options->retained != 0 ? MPS_SUB_RETAINED : 0u) |
                  (options->no_local ? MPS_SUB_NO_LOCAL : 0u) |
                  (options->scope != PUBSUB_SCOPE_LOCAL ? MPS_SUB_SCOPE : 0u);
}

int mps_request_subscription(struct mps_sub *sub, uint32_t sid, const char *pattern,
                             const struct pubsub_subscribe_options *options, const char **why)
{
    *sub = (struct mps_sub){.sid = sid, .pattern = mps_topic_view(pattern)};
    *why = mps_pattern_error(sub->pattern);
    if (*why == NULL && (sid == 0 || sid > MPS_SID_MAX)) *why = "its number is not within 1..2147483647";
    if (*why == NULL && options != NULL) *why = options_error(options);
    if (*why != NULL) return PUBSUB_EINVAL;
    if (options != NULL) put_options(&sub->options, options);
    return PUBSUB_OK;
}

size_t mps_request_sub_bound(const struct mps_sub *sub)
{
    const struct mps_sub_options *options = &sub->options;
    return (size_t)sub->pattern.len + options->group.len + options->filter.len +
           (size_t)options->from.count * PAIR_BYTES_MAX + 4 * (size_t)MPS_SMALL_FRAME_MAX;
}

/* ---- wills -------------------------------------------------------------------------------------------------- */

int mps_request_will(struct mps_out *out, const struct pubsub_will *will, const char **why)
{
    mps_view topic = mps_topic_view(will->topic), props = {will->props, (uint32_t)will->props_len};
    *why = mps_topic_error(topic);
    if (*why == NULL && will->delay_ms > MPS_NUMBER_MAX) *why = "its delay is over 9007199254740991 ms";
    if (*why != NULL) return PUBSUB_EINVAL;
    if (will->payload_len > MPS_HELLO_FRAME_MAX) return PUBSUB_ETOOBIG;
    if (props.ptr != NULL) { /* within the frame, its options and the will's array: there is no room for arrays in it */
        int rc = mps_properties_check(props.ptr, will->props_len, MPS_DEPTH_MAX - 3, why);
        if (rc != PUBSUB_OK) return rc;
    }
    mps_put_array(out, props.ptr != NULL ? 5 : 4);
    mps_put_text(out, topic);
    mps_put_bin(out, mps_payload_view(will->payload, will->payload_len));
    mps_put_uint(out, will->retain ? MPS_PUB_RETAIN : 0);
    mps_put_uint(out, will->delay_ms);
    if (props.ptr != NULL) mps_put_raw(out, props);
    return out->full ? PUBSUB_ETOOBIG : PUBSUB_OK;
}

/* ---- proofs ------------------------------------------------------------------------------------------------- */

static const char *proof_error(const struct pubsub_proof *proof)
{
    int kinds = (proof->token != NULL) + (proof->user != NULL) + proof->certificate;
    if (kinds > 1) return "it is more than one of token, user and certificate";
    if (proof->token != NULL && proof->token_len == 0) return "the token is empty";
    if ((proof->user == NULL) != (proof->password == NULL)) return "user and password do not come together";
    if (proof->user == NULL) return NULL;
    if (proof->user[0] == '\0') return "the name of the user is empty";
    if (!mps_utf8_valid(mps_text(proof->user))) return "the name of the user is not UTF-8";
    return mps_utf8_valid(mps_text(proof->password)) ? NULL : "the password is not UTF-8";
}

int mps_request_proof(struct mps_out *out, const struct pubsub_proof *proof, const char **auth, const char **why)
{
    *auth = NULL;
    *why = proof_error(proof);
    if (*why != NULL) return PUBSUB_EINVAL;
    if (proof->token_len > MPS_HELLO_FRAME_MAX) return PUBSUB_ETOOBIG;
    if (proof->token != NULL) {
        *auth = "token";
        mps_put_bin(out, mps_payload_view(proof->token, proof->token_len));
    } else if (proof->user != NULL) {
        *auth = "password";
        mps_put_array(out, 2);
        mps_put_text(out, mps_text(proof->user));
        mps_put_text(out, mps_text(proof->password));
    } else if (proof->certificate) {
        *auth = "cert";
    }
    return out->full ? PUBSUB_ETOOBIG : PUBSUB_OK;
}
