/* What goes into the outbox as a message. */
#include "client.h"

bool mps_client_may_ask(const struct pubsub *client)
{
    return client->ended == 0 && !client->shutting && !client->closing;
}

int mps_client_refuse_ended(struct pubsub *client)
{
    if (client->ended != 0) return client->ended; /* pubsub_error() says why already */
    return mps_client_error(client, PUBSUB_ECLOSED, "after %s() nothing can be sent",
                            client->closing ? "pubsub_disconnect" : "pubsub_shutdown");
}

/* The outbox has no room: waits until it has, if that is what was asked for. */
static int wait_for_room(struct pubsub *client, size_t need, int rc)
{
    bool wait = client->options.outbox_policy == PUBSUB_OUTBOX_WAIT && !client->in_callback;
    while (rc == PUBSUB_EAGAIN && wait) {
        mps_client_push(client);
        rc = mps_outbox_reserve(&client->outbox, need, false);
        if (rc != PUBSUB_EAGAIN) break;
        client->callbacks = 0;
        rc = mps_client_step(client, -1);
        if (rc != PUBSUB_OK) return mps_client_error(client, rc, "interrupted by a signal or a wake");
        if (!mps_client_may_ask(client)) return mps_client_refuse_ended(client);
        rc = mps_outbox_reserve(&client->outbox, need, false);
    }
    if (rc == PUBSUB_EAGAIN)
        mps_client_error(client, rc, "the outbox is full: %zu bytes wait, the limit is %zu",
                         mps_outbox_bytes(&client->outbox), client->options.outbox_bytes);
    else if (rc != PUBSUB_OK) mps_client_error(client, rc, "out of memory");
    return rc;
}

static int refuse(struct pubsub *client, int rc, const char *topic, size_t len, const char *why)
{
    if (why == NULL)
        return mps_client_error(client, rc, "a payload of %zu bytes is over the broker's limit of %llu bytes", len,
                                (unsigned long long)client->max_payload);
    return mps_client_error(client, rc, "bad message for topic '%.*s': %s", PUBSUB_TOPIC_MAX, topic, why);
}

int mps_client_make_room(struct pubsub *client, struct mps_publish *message, const char *topic, const void *payload,
                         size_t len, const struct pubsub_publish_options *options)
{
    const char *why = NULL;
    int rc = mps_request_message(message, topic, payload, len, options, client->max_payload, &why);
    if (rc != PUBSUB_OK) return refuse(client, rc, topic, len, why);
    size_t need = mps_request_bound(message);
    rc = mps_outbox_reserve(&client->outbox, need, false);
    return rc == PUBSUB_OK ? rc : wait_for_room(client, need, rc);
}

static void write_if_due(struct pubsub *client)
{
    if (mps_outbox_writable(&client->outbox) >= client->write_at) mps_client_write(client);
}

uint64_t mps_client_queue(struct pubsub *client, const struct mps_publish *message)
{
    uint64_t pid = mps_outbox_publish(&client->outbox, message);
    write_if_due(client);
    return pid;
}

/* The short way of most messages. False: it has to go the long way, which also knows what to say if it is not valid. */
static bool publish_bare(struct pubsub *client, const char *topic, const void *payload, size_t len,
                         const struct pubsub_publish_options *options, uint64_t *pid)
{
    struct mps_outbox *box = &client->outbox;
    if (!mps_request_is_bare(&box->terms, options) ||
        !mps_outbox_publish_bare(box, topic, payload, len, client->max_payload, pid))
        return false;
    write_if_due(client);
    return true;
}

static int publish_any(struct pubsub *client, const char *topic, const void *payload, size_t len,
                       const struct pubsub_publish_options *options, uint64_t *pid)
{
    struct mps_publish message = {.properties.correlation = {NULL, 0}};
    int rc = mps_client_make_room(client, &message, topic, payload, len, options);
    if (rc == PUBSUB_OK) *pid = mps_client_queue(client, &message);
    return rc;
}

int pubsub_publish(pubsub *client, const char *topic, const void *payload, size_t len,
                   const struct pubsub_publish_options *options, uint64_t *pid)
{
    uint64_t id;
    if (!mps_client_may_ask(client)) return mps_client_refuse_ended(client);
    if (!publish_bare(client, topic, payload, len, options, &id)) {
        int rc = publish_any(client, topic, payload, len, options, &id);
        if (rc != PUBSUB_OK) return rc;
    }
    if (pid != NULL) *pid = id;
    return PUBSUB_OK;
}
