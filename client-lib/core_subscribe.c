/* Subscriptions: what is asked for, and what is said about them. */
#include "core_state.h"

#if PUBSUB_CORE_SUBSCRIBE

#define INFLIGHT_MAX UINT32_C(65536)
#define FILTER_MAX 1024 /* bytes */

#undef OPTION_TYPE
#define OPTION_TYPE struct pubsub_subscribe_options

#if PUBSUB_CORE_STREAMS
#define ACK_OPTIONS(X) \
    X("ack", ack, ACKS) X("ack_ms", ack_ms, NUMBER) X("max_tries", max_tries, NUMBER) X("inflight", inflight, NUMBER)
#define FROM_OPTION(X) X("from", from, FROM)
#define DURABLE_OPTION(X) X("durable", durable, TRUE)
#else
#define ACK_OPTIONS(X)
#define FROM_OPTION(X)
#define DURABLE_OPTION(X)
#endif
#if PUBSUB_CORE_CREDIT
#define CREDIT_OPTION(X) X("credit", by_credit, CREDIT)
#else
#define CREDIT_OPTION(X)
#endif
#if PUBSUB_CORE_FILTERS
#define FILTER_OPTIONS(X) X("group", group, TEXT) X("filter", filter, TEXT)
#else
#define FILTER_OPTIONS(X)
#endif
#define SUB_OPTIONS(X)                                                                                        \
    X("policy", policy, POLICY)                                                                               \
    X("max_msgs", max_msgs, LIMIT)                                                                            \
    X("max_bytes", max_bytes, LIMIT)                                                                          \
    X("block_ms", block_ms, NUMBER) X("then", then, POLICY) ACK_OPTIONS(X) CREDIT_OPTION(X) FILTER_OPTIONS(X) \
        FROM_OPTION(X) X("retained", retained, NUMBER) X("no_local", no_local, TRUE) DURABLE_OPTION(X)        \
            X("scope", scope, SCOPE)
static const char sub_names[] = SUB_OPTIONS(OPTION_NAME);
static const struct option sub_rows[] = {SUB_OPTIONS(OPTION_ROW)};

static bool is_sid(uint32_t sid)
{
    return sid > 0 && sid <= MPS_SID_MAX;
}

static bool are_queue_options(const struct pubsub_subscribe_options *o)
{
    enum pubsub_policy then = o->then;
    if ((unsigned)o->policy > PUBSUB_SPILL || (unsigned)o->retained > 2 || (unsigned)o->scope > PUBSUB_SCOPE_CLUSTER)
        return false;
    if (!PUBSUB_CORE_CREDIT ? o->by_credit || o->credit > 0 : o->credit > (o->by_credit ? MPS_NUMBER_MAX : 0))
        return false;
    return then == PUBSUB_POLICY_DEFAULT || then == PUBSUB_DROP_OLD || then == PUBSUB_DROP_NEW || then == PUBSUB_CLOSE;
}

#if PUBSUB_CORE_FILTERS
static bool are_filters(const struct pubsub_subscribe_options *o)
{
    bool closes = o->policy == PUBSUB_CLOSE || (o->policy == PUBSUB_BLOCK && o->then == PUBSUB_CLOSE);
    if (o->group != NULL && (closes || o->no_local || !mps_core_is_id(mps_core_text(o->group, MPS_ID_MAX))))
        return false;
    if (o->filter == NULL) return true;
    struct view filter = mps_core_text(o->filter, FILTER_MAX);
    return filter.len > 0 && filter.len <= FILTER_MAX && mps_core_utf8(filter);
}
#else
static bool are_filters(const struct pubsub_subscribe_options *o)
{
    return o->group == NULL && o->filter == NULL;
}
#endif

#if PUBSUB_CORE_STREAMS
static bool are_positions(const struct pubsub_subscribe_options *o)
{
    const uint64_t *pairs = o->from_positions;
    size_t count = o->from_positions_count;
    if (pairs == NULL || count == 0 || count > MPS_FROM_POSITIONS_MAX) return false;
    for (size_t i = 0; i < 2 * count; i++) {
        if (pairs[i] > MPS_NUMBER_MAX) return false;
        for (size_t j = i & 1 ? i : 0; j < i; j += 2)
            if (pairs[i] == pairs[j]) return false; /* a stream twice */
    }
    return true;
}

/* What makes a subscription a reader. */
static bool are_reader_options(const struct pubsub_subscribe_options *o)
{
    if ((unsigned)o->from > PUBSUB_FROM_LAST_PER_TOPIC || (unsigned)o->ack > PUBSUB_ACKS_EACH ||
        o->from_number > MPS_NUMBER_MAX || o->inflight > INFLIGHT_MAX)
        return false;
    if (o->ack == PUBSUB_ACKS_NONE && (o->ack_ms | o->max_tries | o->inflight) != 0) return false;
    if (o->no_local && (o->ack != PUBSUB_ACKS_NONE || o->durable || o->from != PUBSUB_FROM_NEW)) return false;
    return o->from != PUBSUB_FROM_SEQ || are_positions(o);
}
#else
static bool are_reader_options(const struct pubsub_subscribe_options *o)
{
    return o->from == PUBSUB_FROM_NEW && o->ack == PUBSUB_ACKS_NONE && !o->durable;
}
#endif

int pubsub_core_subscribe(struct pubsub_core *core, uint32_t sid, const char *pattern,
                          const struct pubsub_subscribe_options *options)
{
    if (mps_core_may_send(core) != PUBSUB_OK) return PUBSUB_ECLOSED;
    if (!is_sid(sid) || !mps_core_is_topic(pattern, true) ||
        (options != NULL && (!are_queue_options(options) || !are_filters(options) || !are_reader_options(options))))
        return PUBSUB_EINVAL;
    struct writer out = mps_core_begin(core, 3, MPS_OP_SUB);
    mps_core_put_uint(&out, sid);
    mps_core_put_text(&out, pattern);
    if (options == NULL) mps_core_put_head(&out, HEAD_MAP, 0);
    else mps_core_put_options(&out, sub_rows, sub_names, sizeof sub_rows / sizeof *sub_rows, options, 0);
    return mps_core_commit(core, &out);
}

/* A frame of numbers about a subscription, the first of which is its sid. */
static int say(struct pubsub_core *core, unsigned op, const uint64_t *numbers, unsigned least, unsigned count,
               bool valid)
{
    if (mps_core_may_send(core) != PUBSUB_OK) return PUBSUB_ECLOSED;
    for (unsigned i = 0; i < count; i++)
        if (numbers[i] > (i == 0 ? MPS_SID_MAX : MPS_NUMBER_MAX) && numbers[i] != CORE_TRUE) valid = false;
    return valid ? mps_core_send(core, op, numbers, least, count) : PUBSUB_EINVAL;
}

int pubsub_core_unsubscribe(struct pubsub_core *core, uint32_t sid)
{
    const uint64_t numbers[] = {sid};
    return say(core, MPS_OP_UNSUB, numbers, 1, 1, sid > 0);
}

#if PUBSUB_CORE_CREDIT
int pubsub_core_credit(struct pubsub_core *core, uint32_t sid, uint64_t max_msgs, bool drain)
{
    const uint64_t numbers[] = {sid, max_msgs, drain ? CORE_TRUE : 0};
    return say(core, MPS_OP_CREDIT, numbers, 2, 3, sid > 0 && max_msgs != CORE_TRUE);
}
#endif

#if PUBSUB_CORE_STREAMS
int pubsub_core_ack(struct pubsub_core *core, uint32_t sid, uint64_t stream, uint64_t seq, enum pubsub_ack_kind kind,
                    uint64_t delay_ms)
{
    const uint64_t numbers[] = {sid, stream, seq, (unsigned)kind, delay_ms};
    return say(core, MPS_OP_ACK, numbers, 3, 5,
               sid > 0 && stream != CORE_TRUE && seq != CORE_TRUE && delay_ms != CORE_TRUE &&
                   (unsigned)kind <= PUBSUB_ACKED_NEVER && (delay_ms == 0 || kind == PUBSUB_ACKED_AGAIN));
}
#endif

#if PUBSUB_CORE_STAT
int pubsub_core_ask_stat(struct pubsub_core *core, uint32_t sid)
{
    const uint64_t numbers[] = {sid};
    return say(core, MPS_OP_STAT, numbers, 1, 1, true);
}
#endif

#else

/* clang-format off: nothing of this is in a client that only publishes, but C wants a file to hold something */
enum { CORE_ONLY_PUBLISHES = 1 };
/* clang-format on */

#endif
