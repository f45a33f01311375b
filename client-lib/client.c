/* Opening, closing, and what an application asks for. */
#include "client.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "request.h"

#define RX_FIRST_BYTES (64 * 1024)
#define KEEPALIVE_S 60
#define CONNECT_MS 5000
#define RECONNECT_MIN_MS 100
#define RECONNECT_MAX_MS 10000
#define OUTBOX_BYTES (8 * 1024 * 1024)

int mps_client_error(struct pubsub *client, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(client->error, sizeof client->error, format, args);
    va_end(args);
    return code;
}

/* ---- opening and closing ---------------------------------------------------------------------------------------- */

static uint32_t or_default(uint32_t value, uint32_t standard)
{
    return value != 0 ? value : standard;
}

static int take_will(struct pubsub *client, const struct pubsub_will *will)
{
    const char *why = NULL;
    client->will = malloc(MPS_HELLO_FRAME_MAX);
    if (client->will == NULL) return mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
    struct mps_out out = mps_out_open(client->will, MPS_HELLO_FRAME_MAX);
    int rc = mps_request_will(&out, will, &why);
    client->will_len = out.len;
    if (rc == PUBSUB_OK) return rc;
    return mps_client_error(client, rc, "bad will for topic '%.*s': %s", PUBSUB_TOPIC_MAX, will->topic,
                            why != NULL ? why : "it does not fit into a HELLO of 4,096 bytes");
}

/* Token and password are kept only here, in the form in which HELLO carries them. */
static int take_proof(struct pubsub *client, const struct pubsub_proof *proof)
{
    const char *why = NULL;
    client->secret = mps_secret_alloc(sizeof *client->secret);
    if (client->secret == NULL) return mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
    struct mps_out out = mps_out_open(client->secret->proof, sizeof client->secret->proof);
    int rc = mps_request_proof(&out, proof, &client->auth, &why);
    client->secret->proof_len = out.len;
    if (rc == PUBSUB_OK) return rc;
    return mps_client_error(client, rc, "bad proof of identity: %s",
                            why != NULL ? why : "it does not fit into a HELLO of 4,096 bytes");
}

static bool has_proof(const struct pubsub_proof *proof)
{
    return proof->token != NULL || proof->user != NULL || proof->password != NULL || proof->certificate;
}

static int take_id(struct pubsub *client, const char *id)
{
    const char *why = strlen(id) > MPS_ID_MAX ? "it is longer than 64 bytes" : mps_id_error(mps_text(id));
    if (why != NULL) return mps_client_error(client, PUBSUB_EINVAL, "bad client id '%.80s': %s", id, why);
    client->options.client_id = strdup(id);
    return client->options.client_id != NULL ? PUBSUB_OK : mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
}

static int take_options(struct pubsub *client, const struct pubsub_options *given)
{
    struct pubsub_options *options = &client->options;
    if (given != NULL) *options = *given;
    const char *url = options->url, *id = options->client_id, *path = options->outbox_file;
    options->url = options->client_id = options->outbox_file = NULL; /* until they are copies */
    const struct pubsub_will will = options->will;
    options->will = (struct pubsub_will){0};
    const struct pubsub_proof proof = options->proof;
    options->proof = (struct pubsub_proof){.in_clear = proof.in_clear};
    options->keepalive_s = or_default(options->keepalive_s, KEEPALIVE_S);
    options->connect_ms = or_default(options->connect_ms, CONNECT_MS);
    options->reconnect_min_ms = or_default(options->reconnect_min_ms, RECONNECT_MIN_MS);
    options->reconnect_max_ms = or_default(options->reconnect_max_ms, RECONNECT_MAX_MS);
    if (options->outbox_bytes == 0) options->outbox_bytes = OUTBOX_BYTES;
    client->outbox.limit = options->outbox_bytes;
    int rc = mps_client_take_url(client, url);
    if (rc == PUBSUB_OK && will.topic != NULL) rc = take_will(client, &will);
    if (rc == PUBSUB_OK && has_proof(&proof)) rc = take_proof(client, &proof);
    if (rc != PUBSUB_OK) return rc;
    if (id != NULL) rc = take_id(client, id);
    return rc == PUBSUB_OK && path != NULL ? mps_client_open_file(client, path) : rc;
}

static int prepare(struct pubsub *client, const struct pubsub_options *options)
{
    client->fd = client->wake_fd = client->file.fd = -1;
    client->max_payload = MPS_PAYLOAD_MAX;
    client->write_at = MPS_GATHER_BYTES;
    client->boot = mps_random();
    mps_outbox_init(&client->outbox, 0);
    int rc = take_options(client, options);
    if (rc != PUBSUB_OK) return rc;
    if (client->options.wakes && (rc = mps_wake_open(&client->wake_fd)) != 0)
        return mps_client_error(client, PUBSUB_ENOMEM, "cannot have a descriptor for pubsub_wake(): %s", strerror(rc));
    client->rx_cap = RX_FIRST_BYTES;
    client->rx = malloc(client->rx_cap);
    if (client->rx == NULL) return mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
    pubsub_core_init(&client->core, client->rx, client->rx_cap,
                     client->secret != NULL ? client->secret->tx : client->tx, sizeof client->tx);
    uint32_t rx_max = client->options.rx_max;
    if (rx_max != 0) /* of messages; what else the broker says needs room as well */
        pubsub_core_set_input(&client->core, client->rx, client->rx_cap, rx_max > MPS_HEAD_MAX ? rx_max : MPS_HEAD_MAX);
    rc = mps_client_hello(client); /* only to see that it fits */
    pubsub_core_restart(&client->core, 1);
    if (rc == PUBSUB_OK) return rc;
    return mps_client_error(client, rc, "will, client id and proof of identity do not fit into a HELLO of 4,096 bytes");
}

static void release(struct pubsub *client)
{
    client->closing = true;
    mps_client_end(client, PUBSUB_ECLOSED, "closed");
    mps_outbox_free(&client->outbox);
    mps_outbox_file_close(&client->file);
    mps_subs_free(&client->subs);
    mps_pendings_free(&client->requests);
    if (client->wake_fd >= 0) close(client->wake_fd);
    free(client->rx);
    free(client->will);
    mps_targets_free(&client->targets);
    mps_secret_free(client->secret, sizeof *client->secret);
    free((void *)(uintptr_t)client->options.client_id);
    free(client);
}

static bool is_up(const struct pubsub *client)
{
    return client->state == LINK_UP;
}

int pubsub_open(pubsub **client, const struct pubsub_options *options, char *text, size_t text_cap)
{
    struct pubsub *c = calloc(1, sizeof *c);
    int rc = PUBSUB_ENOMEM;
    if (c != NULL) {
        rc = prepare(c, options);
        c->opening = true;
        if (rc == PUBSUB_OK && c->options.retry_first) mps_client_connect(c);
        else if (rc == PUBSUB_OK) rc = mps_client_until(c, is_up, -1); /* bounded by connect_ms */
        c->opening = false;
        if (rc == PUBSUB_EINTR) mps_client_error(c, rc, "interrupted by a signal while connecting to %s", c->url_text);
        if (rc == PUBSUB_OK) rc = c->ended;
    }
    if (rc == PUBSUB_OK) {
        *client = c;
        return rc;
    }
    if (text_cap > 0) snprintf(text, text_cap, "%s", c != NULL ? c->error : pubsub_strerror(rc));
    if (c != NULL) release(c);
    return rc;
}

static bool is_ended(const struct pubsub *client)
{
    return client->ended != 0;
}

/* A signal does not end it: the time does. */
static void until_ended(struct pubsub *client, uint64_t until)
{
    int rc;
    do {
        uint64_t now = mps_now_ms();
        rc = mps_client_until(client, is_ended, until > now ? (int)(until - now) : 0);
    } while (rc == PUBSUB_EINTR && mps_now_ms() < until);
}

void pubsub_disconnect(pubsub *client)
{
    client->closing = client->leaving = true;
    for (size_t i = 0; i < client->subs.count; i++)
        client->subs.list[i]->ended = true; /* nothing more, from this moment */
}

void pubsub_close(pubsub *client, int timeout_ms)
{
    if (client == NULL || client->in_callback) return;
    uint64_t until = mps_now_ms() + (timeout_ms > 0 ? (uint64_t)timeout_ms : 0);
    bool left = client->bye_said;
    pubsub_disconnect(client);
    mps_client_requests_end(client, PUBSUB_ECLOSED, "the client was closed");
    if (client->state == LINK_UP && timeout_ms > 0) {
        until_ended(client, until);
    } else if (client->state == LINK_UP && !left) {
        (void)pubsub_core_bye(&client->core, MPS_OK);
        mps_client_write(client);
    }
    release(client);
}

/* ---- subscribing ------------------------------------------------------------------------------------------------ */

/* Why a subscription can't be asked for; NULL: *frame is what asks for it. */
static const char *judge(const struct pubsub *client, struct mps_sub *frame, const char *pattern,
                         const struct pubsub_subscribe_options *options)
{
    const char *why;
    uint32_t sid = options != NULL && options->sid != 0 ? options->sid : 1;
    if (mps_request_subscription(frame, sid, pattern, options, &why) != PUBSUB_OK) return why;
    if (options == NULL) return NULL;
    if (options->sid != 0 && mps_subs_find(&client->subs, sid) != NULL) return "its number is in use";
    if (options->durable && (client->options.session_s == 0 || client->options.client_id == NULL))
        return "the option durable needs the client's options session_s and client_id";
    return NULL;
}

/* It may be one that the session has already, made by an earlier client: then it counts and stands as that left it. */
static void send_sub(struct pubsub *client, struct mps_sub_entry *sub, const struct mps_sub *frame)
{
    struct mps_out out = mps_outbox_open(&client->outbox);
    mps_encode_sub(&out, frame);
    mps_outbox_add(&client->outbox, &out);
    if (!client->resumed) return;
    sub->moving =
        sub->options.from == PUBSUB_FROM_SEQ && sub->options.ack == PUBSUB_ACKS_NONE && sub->options.group == NULL;
    if (!sub->options.by_credit) return;
    sub->recount = true;
    out = mps_outbox_open(&client->outbox);
    mps_encode_stat(&out, &(struct mps_stat){.sid = sub->sid});
    mps_outbox_add(&client->outbox, &out);
}

int pubsub_subscribe(pubsub *client, const char *pattern, const struct pubsub_subscribe_options *options, uint32_t *sid)
{
    struct mps_sub frame;
    if (!mps_client_may_ask(client)) return mps_client_refuse_ended(client);
    const char *why = judge(client, &frame, pattern, options);
    if (why != NULL)
        return mps_client_error(client, PUBSUB_EINVAL, "bad subscription to '%.*s': %s", PUBSUB_TOPIC_MAX, pattern,
                                why);
    bool up = client->state == LINK_UP; /* else it is sent with all others after WELCOME */
    size_t need = mps_request_sub_bound(&frame) + MPS_SMALL_FRAME_MAX;
    if (up && mps_outbox_reserve(&client->outbox, need, true) != PUBSUB_OK)
        return mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
    struct mps_sub_entry *sub = mps_subs_add(&client->subs, pattern, options, mps_now_ms());
    if (sub == NULL) return mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
    frame.sid = sub->sid;
    if (up) send_sub(client, sub, &frame);
    if (sid != NULL) *sid = sub->sid;
    return PUBSUB_OK;
}

/* The subscription that a call names; NULL: pubsub_error() says so. */
static struct mps_sub_entry *named(struct pubsub *client, uint32_t sid)
{
    struct mps_sub_entry *sub = mps_subs_find(&client->subs, sid);
    if (sub != NULL && !sub->ended) return sub;
    mps_client_error(client, PUBSUB_EINVAL, "there is no subscription %u", (unsigned)sid);
    return NULL;
}

int pubsub_unsubscribe(pubsub *client, uint32_t sid)
{
    struct mps_sub_entry *sub = named(client, sid);
    if (sub == NULL) return PUBSUB_EINVAL;
    if (client->state == LINK_UP && mps_client_may_ask(client)) {
        if (mps_outbox_reserve(&client->outbox, MPS_SMALL_FRAME_MAX, true) != PUBSUB_OK)
            return mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
        struct mps_out out = mps_outbox_open(&client->outbox);
        mps_encode_unsub(&out, &(struct mps_unsub){sid});
        mps_outbox_add(&client->outbox, &out);
    }
    sub->ended = true;
    return PUBSUB_OK;
}

int pubsub_credit(pubsub *client, uint32_t sid, uint64_t max_msgs, bool drain)
{
    struct mps_sub_entry *sub = named(client, sid);
    if (sub == NULL) return PUBSUB_EINVAL;
    bool by_credit = sub->options.by_credit;
    if (!by_credit && !drain)
        return mps_client_error(client, PUBSUB_EINVAL, "subscription %u does not go by credit", (unsigned)sid);
    if (by_credit && max_msgs > MPS_NUMBER_MAX)
        return mps_client_error(client, PUBSUB_EINVAL, "a credit of %llu messages is over the limit of %llu",
                                (unsigned long long)max_msgs, (unsigned long long)MPS_NUMBER_MAX);
    if (!mps_client_may_ask(client)) return mps_client_refuse_ended(client);
    if (client->state == LINK_UP && mps_outbox_reserve(&client->outbox, MPS_SMALL_FRAME_MAX, true) != PUBSUB_OK)
        return mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
    if (by_credit && max_msgs > sub->options.credit) sub->options.credit = max_msgs;
    if (drain) sub->drain_asked = true;
    if (client->state != LINK_UP || sub->recount) return PUBSUB_OK; /* it is said after WELCOME, or when that is done */
    struct mps_out out = mps_outbox_open(&client->outbox);
    mps_encode_credit(&out, &(struct mps_credit){sid, mps_subs_credit(sub), drain});
    mps_outbox_add(&client->outbox, &out);
    return PUBSUB_OK;
}

int pubsub_ask_stat(pubsub *client, uint32_t sid)
{
    struct mps_sub_entry *sub = named(client, sid);
    if (sub == NULL) return PUBSUB_EINVAL;
    if (!mps_client_may_ask(client)) return mps_client_refuse_ended(client);
    if (client->state == LINK_UP) { /* else it is asked after WELCOME */
        if (mps_outbox_reserve(&client->outbox, MPS_SMALL_FRAME_MAX, true) != PUBSUB_OK)
            return mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
        struct mps_out out = mps_outbox_open(&client->outbox);
        mps_encode_stat(&out, &(struct mps_stat){.sid = sid});
        mps_outbox_add(&client->outbox, &out);
    }
    sub->stat_asked = true;
    return PUBSUB_OK;
}

/* ---- figures ---------------------------------------------------------------------------------------------------- */

size_t pubsub_outbox_bytes(const pubsub *client)
{
    return mps_outbox_bytes(&client->outbox);
}

uint64_t pubsub_unacked(const pubsub *client)
{
    return mps_outbox_unacked(&client->outbox);
}

const char *pubsub_client_id(const pubsub *client)
{
    return client->client_id;
}

uint64_t pubsub_max_payload(const pubsub *client)
{
    return client->max_payload;
}

uint32_t pubsub_session_s(const pubsub *client)
{
    return client->session_s;
}

enum pubsub_scope pubsub_granted_scope(const pubsub *client, uint32_t sid)
{
    const struct mps_sub_entry *sub = mps_subs_find(&client->subs, sid);
    return sub != NULL && sub->is_cluster_wide ? PUBSUB_SCOPE_CLUSTER : PUBSUB_SCOPE_LOCAL;
}

bool pubsub_resumed(const pubsub *client)
{
    return client->resumed;
}

const char *pubsub_inbox(const pubsub *client)
{
    return client->inbox;
}

const char *pubsub_error(const pubsub *client)
{
    return client->error;
}

const char *pubsub_strerror(int error)
{
    switch (error) {
    case PUBSUB_OK: return "ok";
#define ERROR(NAME, number, text) \
    case number:                  \
        return text;
#include <pubsub/errors.def>
#undef ERROR
    }
    return "unknown error";
}

const char *pubsub_version(void)
{
    return PUBSUB_VERSION;
}
