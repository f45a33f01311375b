/* What goes into the outbox as a message. */
#include "client.h"

#include <string.h>

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

/* What a message needs: bytes in the outbox, and room in its file if it is acknowledged. */
struct need {
    size_t bytes;
    bool kept;
};

static struct need needed(const struct pubsub *client, const struct mps_publish *message)
{
    bool kept = mps_outbox_file_is_open(&client->file) && mps_flags_acked(message->flags);
    return (struct need){mps_request_bound(message), kept};
}

/* Returns 0, or EAGAIN when the outbox or its file is full, or ENOMEM. */
static int reserve(struct pubsub *client, const struct need *need)
{
    struct mps_outbox *box = &client->outbox;
    int rc = mps_outbox_reserve(box, need->bytes, false);
    if (rc != PUBSUB_OK || !need->kept) return rc;
    return mps_outbox_file_has_room(&client->file, box, need->bytes, false) ? rc : PUBSUB_EAGAIN;
}

/* Makes room at the cost of older messages. */
static int drop_for(struct pubsub *client, const struct need *need)
{
    int rc = PUBSUB_EAGAIN;
    if (client->telling) return rc;
    do { /* the file may need more than the outbox */
        if (mps_client_drop(client, need->bytes) != PUBSUB_OK) return PUBSUB_EAGAIN;
        rc = reserve(client, need);
    } while (rc == PUBSUB_EAGAIN);
    return rc;
}

/* The outbox has no room: waits until it has, or drops, if that is what was asked for. */
static int make_room(struct pubsub *client, const struct need *need, int rc)
{
    enum pubsub_outbox_policy policy = client->options.outbox_policy;
    bool wait = policy == PUBSUB_OUTBOX_WAIT && !client->in_callback;
    if (rc == PUBSUB_EAGAIN && policy == PUBSUB_OUTBOX_DROP_OLD) rc = drop_for(client, need);
    while (rc == PUBSUB_EAGAIN && wait) {
        mps_client_push(client);
        rc = reserve(client, need);
        if (rc != PUBSUB_EAGAIN) break;
        client->callbacks = 0;
        rc = mps_client_step(client, -1);
        if (rc != PUBSUB_OK) return mps_client_error(client, rc, "interrupted by a signal or a wake");
        if (!mps_client_may_ask(client)) return mps_client_refuse_ended(client);
        rc = reserve(client, need);
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
    const struct need need = needed(client, message);
    if (need.kept && !mps_outbox_file_has_room(&client->file, &client->outbox, need.bytes, true))
        return mps_client_error(client, PUBSUB_ETOOBIG, "a message of %zu bytes is too large for an outbox file of %zu",
                                need.bytes, client->file.limit);
    rc = reserve(client, &need);
    return rc == PUBSUB_OK ? rc : make_room(client, &need, rc);
}

static void write_if_due(struct pubsub *client)
{
    if (mps_outbox_writable(&client->outbox) >= client->write_at) mps_client_write(client);
}

/* Writes the message behind `mark` down, or takes it back. */
static int keep(struct pubsub *client, const struct mps_outbox_end *mark, uint64_t pid, bool is_request)
{
    int error = mps_outbox_file_add(&client->file, &client->outbox, mark, pid, is_request);
    if (error == 0) return PUBSUB_OK;
    mps_outbox_take_back(&client->outbox, mark);
    return mps_client_error(client, PUBSUB_EFILE, "cannot write the outbox file '%.255s': %s", client->file.path,
                            strerror(error));
}

int mps_client_queue(struct pubsub *client, const struct mps_publish *message, bool is_request, uint64_t *pid)
{
    struct mps_outbox_end mark = mps_outbox_mark(&client->outbox);
    *pid = mps_outbox_publish(&client->outbox, message);
    bool kept = *pid != 0 && mps_outbox_file_is_open(&client->file);
    int rc = kept ? keep(client, &mark, *pid, is_request) : PUBSUB_OK;
    if (rc == PUBSUB_OK) write_if_due(client);
    return rc;
}

/* The short way of most messages. False: it has to go the long way, which also knows what to say if it is not valid. */
static bool publish_bare(struct pubsub *client, const char *topic, const void *payload, size_t len,
                         const struct pubsub_publish_options *options, uint64_t *pid)
{
    struct mps_outbox *box = &client->outbox;
    if (mps_outbox_file_is_open(&client->file) || !mps_request_is_bare(&box->terms, options) ||
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
    if (rc == PUBSUB_OK) rc = mps_client_queue(client, &message, false, pid);
    mps_client_tell_dropped(client);
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
