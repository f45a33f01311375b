/* The sending half of the core: every function writes whole frames into the output buffer, or nothing. */
#include <string.h>

#include "core_state.h"
#include "request.h"

size_t pubsub_core_output(const struct pubsub_core *core, const void **at)
{
    *at = core->tx + core->tx_begin;
    return core->tx_end - core->tx_begin;
}

void mps_core_wipe_output(struct pubsub_core *core)
{
    volatile uint8_t *tx = core->tx; /* volatile: nobody reads it again, it is to be written all the same */
    for (size_t i = 0; i < core->tx_cap; i++) tx[i] = 0;
    core->secret = false;
}

void pubsub_core_written(struct pubsub_core *core, size_t len)
{
    core->tx_begin += len;
    if (core->tx_begin < core->tx_end) return;
    core->tx_begin = core->tx_end = 0;
    if (core->secret) mps_core_wipe_output(core);
}

static void move_output(struct pubsub_core *core)
{
    memmove(core->tx, core->tx + core->tx_begin, core->tx_end - core->tx_begin);
    core->tx_end -= core->tx_begin;
    core->tx_begin = 0;
}

/* The free part of the output buffer, as one piece. */
static inline struct mps_out output(struct pubsub_core *core)
{
    if (core->tx_begin > 0) move_output(core);
    return mps_out_open(core->tx + core->tx_end, core->tx_cap - core->tx_end);
}

/* Takes over what was written to the free part. What does not even fit into an empty buffer never will. */
static int commit(struct pubsub_core *core, const struct mps_out *out, bool fitted)
{
    if (!fitted) return core->tx_end == 0 ? PUBSUB_ETOOBIG : PUBSUB_EAGAIN;
    core->tx_end += out->len;
    return PUBSUB_OK;
}

int pubsub_core_hello(struct pubsub_core *core, const struct pubsub_core_hello *hello)
{
    if (core->state != CORE_NEW) return PUBSUB_EINVAL;
    struct mps_hello frame = {
        .magic = mps_text("mps"),
        .version = MPS_PROTOCOL_VERSION,
        .id = mps_text(hello->client_id),
        .sw = mps_text(hello->software),
        .ka_s = hello->keepalive_s,
        .sess_s = hello->session_s,
        .clean = hello->clean,
        .boot = hello->boot,
        .rx_max = hello->rx_max,
        .half = hello->half,
        .auth = mps_text(hello->auth),
    };
    if (hello->client_id != NULL && mps_id_error(frame.id) != NULL) return PUBSUB_EINVAL;
    if (hello->will.len > MPS_HELLO_FRAME_MAX || hello->proof.len > MPS_HELLO_FRAME_MAX) return PUBSUB_ETOOBIG;
    if (hello->will.len > 0) frame.will = (mps_view){hello->will.ptr, (uint32_t)hello->will.len};
    if (hello->proof.len > 0) frame.data = (mps_view){hello->proof.ptr, (uint32_t)hello->proof.len};
    core->secret = hello->proof.len > 0; /* also of what did not fit */
    struct mps_out out = output(core);
    int rc = commit(core, &out, mps_encode_hello(&out, &frame));
    if (rc != PUBSUB_OK) return rc;
    core->state = CORE_HELLO;
    core->session_s = hello->session_s;
    return rc;
}

int pubsub_core_will(const struct pubsub_will *will, void *out, size_t cap, size_t *len)
{
    const char *why;
    struct mps_out frame = mps_out_open(out, cap);
    int rc = mps_request_will(&frame, will, &why);
    *len = rc == PUBSUB_OK ? frame.len : 0;
    return rc;
}

int pubsub_core_proof(const struct pubsub_proof *proof, const char **auth, void *out, size_t cap, size_t *len)
{
    const char *why;
    struct mps_out value = mps_out_open(out, cap);
    int rc = mps_request_proof(&value, proof, auth, &why);
    *len = rc == PUBSUB_OK ? value.len : 0;
    return rc;
}

static bool may_send(const struct pubsub_core *core)
{
    return core->state == CORE_HELLO || core->state == CORE_READY;
}

int pubsub_core_subscribe(struct pubsub_core *core, uint32_t sid, const char *pattern,
                          const struct pubsub_subscribe_options *options)
{
    struct mps_sub sub;
    const char *why;
    if (!may_send(core)) return PUBSUB_ECLOSED;
    int rc = mps_request_subscription(&sub, sid, pattern, options, &why);
    if (rc != PUBSUB_OK) return rc;
    struct mps_out out = output(core);
    return commit(core, &out, mps_encode_sub(&out, &sub));
}

int pubsub_core_unsubscribe(struct pubsub_core *core, uint32_t sid)
{
    if (!may_send(core)) return PUBSUB_ECLOSED;
    if (sid == 0 || sid > MPS_SID_MAX) return PUBSUB_EINVAL;
    struct mps_out out = output(core);
    return commit(core, &out, mps_encode_unsub(&out, &(struct mps_unsub){sid}));
}

int pubsub_core_credit(struct pubsub_core *core, uint32_t sid, uint64_t max_msgs, bool drain)
{
    if (!may_send(core)) return PUBSUB_ECLOSED;
    if (sid == 0 || sid > MPS_SID_MAX || max_msgs > MPS_NUMBER_MAX) return PUBSUB_EINVAL;
    struct mps_out out = output(core);
    return commit(core, &out, mps_encode_credit(&out, &(struct mps_credit){sid, max_msgs, drain}));
}

int pubsub_core_ack(struct pubsub_core *core, uint32_t sid, uint64_t stream, uint64_t seq, enum pubsub_ack_kind kind,
                    uint64_t delay_ms)
{
    const struct mps_ack ack = {sid, stream, seq, (uint32_t)kind, delay_ms};
    if (!may_send(core)) return PUBSUB_ECLOSED;
    if (sid == 0 || sid > MPS_SID_MAX || stream > MPS_NUMBER_MAX || seq > MPS_NUMBER_MAX || delay_ms > MPS_NUMBER_MAX ||
        (unsigned)kind > MPS_ACKED_NEVER || (delay_ms > 0 && kind != PUBSUB_ACKED_AGAIN))
        return PUBSUB_EINVAL;
    struct mps_out out = output(core);
    return commit(core, &out, mps_encode_ack(&out, &ack));
}

int pubsub_core_ask_stat(struct pubsub_core *core, uint32_t sid)
{
    if (!may_send(core)) return PUBSUB_ECLOSED;
    if (sid > MPS_SID_MAX) return PUBSUB_EINVAL;
    struct mps_out out = output(core);
    return commit(core, &out, mps_encode_stat(&out, &(struct mps_stat){.sid = sid}));
}

/* A message with properties, or a PUB ahead of it. */
static int publish_with_terms(struct pubsub_core *core, const char *topic, const void *payload, size_t len,
                              const struct pubsub_publish_options *options, uint64_t *pid)
{
    struct mps_publish publish = {.properties.correlation = {NULL, 0}};
    const char *why;
    int rc = mps_request_message(&publish, topic, payload, len, options, core->broker_payload_max, &why);
    if (rc != PUBSUB_OK) return rc;
    struct mps_out out = output(core);
    uint64_t id = mps_request_publish(&out, &core->terms, &publish);
    if (pid != NULL && id != UINT64_MAX) *pid = id;
    return commit(core, &out, id != UINT64_MAX);
}

int pubsub_core_publish(struct pubsub_core *core, const char *topic, const void *payload, size_t len,
                        const struct pubsub_publish_options *options, uint64_t *pid)
{
    struct mps_msg msg;
    const char *why;
    if (!may_send(core)) return PUBSUB_ECLOSED;
    if (!mps_request_is_bare(&core->terms, options)) return publish_with_terms(core, topic, payload, len, options, pid);
    int rc = mps_request_bare(&msg, topic, payload, len, core->broker_payload_max, &why);
    if (rc != PUBSUB_OK) return rc;
    struct mps_out out = output(core);
    rc = commit(core, &out, mps_encode_msg(&out, &msg));
    if (rc != PUBSUB_OK) return rc;
    uint64_t id = mps_take_pid(&core->terms);
    if (pid != NULL) *pid = id;
    return PUBSUB_OK;
}

static mps_view view(const void *ptr, size_t len)
{
    return (mps_view){(const uint8_t *)(len > 0 ? ptr : ""), (uint32_t)len};
}

int pubsub_core_ping(struct pubsub_core *core, const void *token, size_t len)
{
    if (!may_send(core)) return PUBSUB_ECLOSED;
    if (len > MPS_TOKEN_MAX) return PUBSUB_ETOOBIG;
    struct mps_out out = output(core);
    return commit(core, &out, mps_encode_ping(&out, &(struct mps_token){view(token, len)}));
}

int mps_core_pong(struct pubsub_core *core, mps_view token)
{
    struct mps_out out = output(core);
    return commit(core, &out, mps_encode_pong(&out, &(struct mps_token){token}));
}

int pubsub_core_bye(struct pubsub_core *core, uint32_t code)
{
    if (!may_send(core)) return PUBSUB_ECLOSED;
    struct mps_out out = output(core);
    int rc = commit(core, &out, mps_encode_bye(&out, &(struct mps_bye){.code = code}));
    if (rc == PUBSUB_OK) core->state = CORE_LEAVING;
    return rc;
}
