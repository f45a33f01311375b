/* Frames of a connection's beginning and end. */
#include "core_state.h"

#undef OPTION_TYPE
#define OPTION_TYPE struct pubsub_core_hello
#if PUBSUB_CORE_PROOF
#define PROOF_OPTIONS(X) X("auth", auth, TEXT) X("data", proof.len, RAW)
#else
#define PROOF_OPTIONS(X)
#endif
#if PUBSUB_CORE_WILL
#define WILL_OPTIONS(X) X("will", will.len, RAW)
#else
#define WILL_OPTIONS(X)
#endif
#define HELLO_OPTIONS(X)                                                                                          \
    X("id", client_id, TEXT)                                                                                      \
    PROOF_OPTIONS(X)                                                                                              \
    X("ka", keepalive_s, NUMBER) X("sess", session_s, NUMBER) X("clean", clean, TRUE) X("rx_max", rx_max, NUMBER) \
        X("boot", boot, NUMBER) WILL_OPTIONS(X) X("half", half, TRUE) X("sw", software, TEXT)
static const char hello_names[] = HELLO_OPTIONS(OPTION_NAME);
static const struct option hello_rows[] = {HELLO_OPTIONS(OPTION_ROW)};

int pubsub_core_hello(struct pubsub_core *core, const struct pubsub_core_hello *hello)
{
    if (core->state != CORE_NEW || (!PUBSUB_CORE_WILL && hello->will.len > 0) ||
        (!PUBSUB_CORE_PROOF && (hello->proof.len > 0 || hello->auth != NULL)) ||
        (hello->client_id != NULL && !mps_core_is_id(mps_core_text(hello->client_id, MPS_ID_MAX))))
        return PUBSUB_EINVAL;
    if (hello->proof.len > 0) core->flags |= CORE_SECRET; /* also of what does not fit */
    struct writer out = mps_core_begin(core, 3, MPS_OP_HELLO);
    mps_core_put_bytes(&out, "\xa3mps\x01", 5); /* the protocol's name, as a text, and its version */
    mps_core_put_options(&out, hello_rows, hello_names, sizeof hello_rows / sizeof *hello_rows, hello, 0);
    int rc = mps_core_commit(core, &out);
    if (rc != PUBSUB_OK) return rc;
    core->state = CORE_HELLO;
    core->session_s = hello->session_s;
    return rc;
}

#if PUBSUB_CORE_WILL || PUBSUB_CORE_PROOF
static struct writer open_value(void *out, size_t cap)
{
    return (struct writer){out, (uint8_t *)out + cap, false};
}

static int close_value(const struct writer *value, const void *out, size_t *len)
{
    if (value->full) return PUBSUB_ETOOBIG;
    *len = (size_t)(value->at - (const uint8_t *)out);
    return PUBSUB_OK;
}
#endif

#if PUBSUB_CORE_WILL
int pubsub_core_will(const struct pubsub_will *will, void *out, size_t cap, size_t *len)
{
    bool props = will->props != NULL;
    *len = 0;
    if (will->payload_len > PUBSUB_CORE_WILL_MAX || will->props_len > PUBSUB_CORE_WILL_MAX) return PUBSUB_ETOOBIG;
    if (!mps_core_is_topic(will->topic, false) || will->delay_ms > MPS_NUMBER_MAX ||
        (props && !mps_core_are_properties((struct view){will->props, (uint32_t)will->props_len}, false)))
        return PUBSUB_EINVAL;
    struct writer value = open_value(out, cap < PUBSUB_CORE_WILL_MAX ? cap : PUBSUB_CORE_WILL_MAX);
    mps_core_put_head(&value, HEAD_ARRAY, props ? 5 : 4);
    mps_core_put_text(&value, will->topic);
    mps_core_put_bin(&value, will->payload, will->payload_len);
    mps_core_put_uint(&value, will->retain ? MPS_PUB_RETAIN : 0);
    mps_core_put_uint(&value, will->delay_ms);
    if (props) mps_core_put_bytes(&value, will->props, will->props_len);
    return close_value(&value, out, len);
}
#endif

#if PUBSUB_CORE_PROOF
static bool is_word(const char *text)
{
    return mps_core_utf8(mps_core_text(text, PUBSUB_CORE_WILL_MAX));
}

int pubsub_core_proof(const struct pubsub_proof *proof, const char **auth, void *out, size_t cap, size_t *len)
{
    struct writer value = open_value(out, cap);
    const char *user = proof->user, *password = proof->password;
    *auth = NULL;
    *len = 0;
    if ((proof->token != NULL) + (user != NULL) + proof->certificate > 1 || (user == NULL) != (password == NULL))
        return PUBSUB_EINVAL;
    if (proof->token != NULL) {
        if (proof->token_len == 0) return PUBSUB_EINVAL;
        *auth = "token";
        mps_core_put_bin(&value, proof->token, proof->token_len);
    } else if (user != NULL) {
        if (*user == '\0' || !is_word(user) || !is_word(password)) return PUBSUB_EINVAL;
        *auth = "password";
        mps_core_put_head(&value, HEAD_ARRAY, 2);
        mps_core_put_text(&value, user);
        mps_core_put_text(&value, password);
    } else if (proof->certificate) {
        *auth = "cert";
    }
    return close_value(&value, out, len);
}
#endif

int pubsub_core_ping(struct pubsub_core *core, const void *token, size_t len)
{
    if (mps_core_may_send(core) != PUBSUB_OK) return PUBSUB_ECLOSED;
    if (len > MPS_TOKEN_MAX) return PUBSUB_ETOOBIG;
    return mps_core_send_token(core, MPS_OP_PING, token, len);
}

int pubsub_core_bye(struct pubsub_core *core, uint32_t code)
{
    uint64_t number = code;
    if (mps_core_may_send(core) != PUBSUB_OK) return PUBSUB_ECLOSED;
    int rc = mps_core_send(core, MPS_OP_BYE, &number, 1, 1);
    if (rc == PUBSUB_OK) core->state = CORE_LEAVING;
    return rc;
}
