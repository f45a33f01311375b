/* Requests and their answers. A request is an acknowledged publish that names a topic under the connection's inbox for
 * its answers; it belongs to the connection that it was made on, because the inbox does. */
#include "client.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 5000

/* ---- what happens to requests ------------------------------------------------------------------------------------ */

/* Its last callback. why: for pubsub_error(); NULL: nothing went wrong. */
static void end_request(struct pubsub *client, struct mps_pending *request, int status, const char *why)
{
    const struct mps_pending ended = *request;
    mps_pendings_end(&client->requests, request);
    if (why != NULL) mps_client_error(client, status, "%s", why);
    mps_client_enter(client);
    ended.on_reply(client, ended.number, NULL, status, ended.user);
    mps_client_leave(client);
}

void mps_client_requests_end(struct pubsub *client, int status, const char *why)
{
    char text[MPS_ERROR_MAX];
    uint64_t number = 0;
    snprintf(text, sizeof text, "%s", why);
    for (struct mps_pending *request; (request = mps_pendings_live(&client->requests, number)) != NULL;) {
        number = request->number + 1;
        end_request(client, request, status, text);
    }
}

void mps_client_requests_expire(struct pubsub *client, uint64_t now)
{
    struct mps_pendings *requests = &client->requests;
    if (requests->wake_at_ms == 0 || requests->wake_at_ms > now) return;
    requests->wake_at_ms = 0;
    uint64_t earliest = MPS_NEVER, number = 0;
    for (struct mps_pending *request; (request = mps_pendings_live(requests, number)) != NULL;) {
        number = request->number + 1;
        if (request->until_ms > now) {
            if (request->until_ms < earliest) earliest = request->until_ms;
            continue;
        }
        char why[64];
        snprintf(why, sizeof why, "no answer within %u ms", (unsigned)request->timeout_ms);
        end_request(client, request, PUBSUB_ETIMEDOUT, why);
    }
    if (earliest != MPS_NEVER && (requests->wake_at_ms == 0 || earliest < requests->wake_at_ms))
        requests->wake_at_ms = earliest;
}

/* The number at the end of a topic for answers; 0: it is none of ours. */
static uint64_t request_of(const struct pubsub *client, const char *topic, size_t len)
{
    size_t at = strlen(client->inbox);
    if (len <= at + 1 || len - at - 1 > 19 || memcmp(topic, client->inbox, at) != 0 || topic[at] != '/') return 0;
    uint64_t number = 0; /* 19 digits can't overflow */
    for (at++; at < len; at++) {
        if (topic[at] < '0' || topic[at] > '9') return 0;
        number = 10 * number + (uint64_t)(topic[at] - '0');
    }
    return number;
}

/* The live request of exactly this number. */
static struct mps_pending *request_named(struct pubsub *client, uint64_t number)
{
    struct mps_pending *request = number != 0 ? mps_pendings_live(&client->requests, number) : NULL;
    return request != NULL && request->number == number ? request : NULL;
}

void mps_client_answer(struct pubsub *client, const struct pubsub_message *message)
{
    uint64_t number = request_of(client, message->topic, message->topic_len);
    struct mps_pending *request = request_named(client, number);
    if (request == NULL) return; /* it comes too late */
    if (request->replies_left != UINT32_MAX) request->replies_left--;
    const struct mps_pending asked = *request;
    mps_client_enter(client);
    asked.on_reply(client, number, message, PUBSUB_OK, asked.user);
    mps_client_leave(client);
    if (asked.replies_left > 0) return;
    request = request_named(client, number); /* the callback may have cancelled it */
    if (request != NULL) end_request(client, request, PUBSUB_OK, NULL);
}

static int status_of(uint32_t code)
{
    return code == MPS_NOBODY ? PUBSUB_ENOBODY : code == MPS_NOT_AUTHORISED ? PUBSUB_EAUTH : PUBSUB_EREFUSED;
}

bool mps_client_requests_puback(struct pubsub *client, const struct pubsub_puback *ack)
{
    uint64_t count = mps_pendings_settle(&client->requests, ack->first_pid, ack->last_pid);
    if (count > 0 && ack->code >= MPS_INTERNAL) {
        struct mps_pending *request = mps_pendings_of_pid(&client->requests, ack->first_pid);
        if (request != NULL) end_request(client, request, status_of(ack->code), ack->text);
    }
    return count == ack->last_pid - ack->first_pid + 1;
}

/* ---- what applications ask for ----------------------------------------------------------------------------------- */

/* An inbox is had with a connection: waits for one, if waiting is what the application chose. */
static int wait_for_inbox(struct pubsub *client, uint64_t until, uint32_t timeout_ms)
{
    bool wait = client->options.outbox_policy == PUBSUB_OUTBOX_WAIT && !client->in_callback;
    while (client->state != LINK_UP) {
        uint64_t now = mps_now_ms();
        if (!wait) return mps_client_error(client, PUBSUB_EAGAIN, "a request needs a connection: there is none now");
        if (now >= until)
            return mps_client_error(client, PUBSUB_ETIMEDOUT, "no connection within %u ms", (unsigned)timeout_ms);
        client->callbacks = 0;
        int rc = mps_client_step(client, mps_remaining_ms(until, now));
        if (rc != PUBSUB_OK) return mps_client_error(client, rc, "interrupted by a signal or a wake");
        if (!mps_client_may_ask(client)) return mps_client_refuse_ended(client);
    }
    if (client->inbox[0] != '\0') return PUBSUB_OK;
    return mps_client_error(client, PUBSUB_EREFUSED, "the broker gives no inbox for answers");
}

/* The properties by which its answers find their way back. */
struct return_address {
    char topic[PUBSUB_TOPIC_MAX + 1];
    uint8_t correlation[8]; /* the number once more, for those who look at it on the way */
};

static void write_address(const struct pubsub *client, uint64_t number, struct return_address *address,
                          struct pubsub_publish_options *publish)
{
    snprintf(address->topic, sizeof address->topic, "%s/%llu", client->inbox, (unsigned long long)number);
    for (unsigned i = 0; i < 8; i++) address->correlation[i] = (uint8_t)(number >> (56 - 8 * i));
    publish->ack = PUBSUB_ACK_ROUTED;
    publish->must_route = true;
    publish->reply_to = address->topic;
    publish->correlation = address->correlation;
    publish->correlation_len = sizeof address->correlation;
}

static int judge_request(struct pubsub *client, const struct pubsub_request_options *options)
{
    if (!mps_client_may_ask(client)) return mps_client_refuse_ended(client);
    if (options == NULL || options->on_reply == NULL)
        return mps_client_error(client, PUBSUB_EINVAL, "a request needs the callback on_reply");
    if (options->publish.props != NULL)
        return mps_client_error(client, PUBSUB_EINVAL, "a request's properties cannot be given raw");
    return PUBSUB_OK;
}

static int add_request(struct pubsub *client, const struct mps_publish *message, struct mps_pending *pending)
{
    if (mps_pendings_reserve(&client->requests) != PUBSUB_OK)
        return mps_client_error(client, PUBSUB_ENOMEM, "out of memory");
    int rc = mps_client_queue(client, message, true, &pending->pid);
    if (rc == PUBSUB_OK) mps_pendings_add(&client->requests, pending);
    return rc;
}

int pubsub_request(pubsub *client, const char *topic, const void *payload, size_t len,
                   const struct pubsub_request_options *options, uint64_t *request)
{
    int rc = judge_request(client, options);
    if (rc != PUBSUB_OK) return rc;
    uint32_t timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : TIMEOUT_MS;
    struct mps_pending pending = {.until_ms = mps_now_ms() + timeout_ms,
                                  .timeout_ms = timeout_ms,
                                  .replies_left = options->replies_max != 0 ? options->replies_max : 1,
                                  .on_reply = options->on_reply,
                                  .user = options->user};
    struct pubsub_publish_options publish = options->publish;
    struct return_address address;
    struct mps_publish message = {.properties.correlation = {NULL, 0}};
    uint64_t connection;
    do { /* waiting for room may take us to another connection, with another inbox, and callbacks make requests too */
        rc = wait_for_inbox(client, pending.until_ms, timeout_ms);
        if (rc != PUBSUB_OK) return rc;
        connection = client->connections_count;
        pending.number = client->requests.last_number + 1;
        write_address(client, pending.number, &address, &publish);
        rc = mps_client_make_room(client, &message, topic, payload, len, &publish);
        if (rc != PUBSUB_OK) break;
    } while (client->state != LINK_UP || connection != client->connections_count ||
             pending.number != client->requests.last_number + 1);
    if (rc == PUBSUB_OK) rc = add_request(client, &message, &pending);
    if (rc == PUBSUB_OK && request != NULL) *request = pending.number;
    mps_client_tell_dropped(client);
    return rc;
}

int pubsub_cancel_request(pubsub *client, uint64_t request)
{
    struct mps_pending *pending = request_named(client, request);
    if (pending == NULL)
        return mps_client_error(client, PUBSUB_EINVAL, "there is no request %llu", (unsigned long long)request);
    mps_pendings_end(&client->requests, pending);
    return PUBSUB_OK;
}

int pubsub_reply(pubsub *client, const struct pubsub_message *request, const void *payload, size_t len,
                 const struct pubsub_publish_options *options)
{
    char topic[PUBSUB_TOPIC_MAX + 1];
    size_t topic_len;
    const char *reply_to = pubsub_message_reply_to(request, &topic_len);
    if (reply_to == NULL || mps_topic_error((mps_view){(const uint8_t *)reply_to, (uint32_t)topic_len}) != NULL)
        return mps_client_error(client, PUBSUB_EINVAL, "the message on '%.*s' names no topic for answers",
                                (int)request->topic_len, request->topic);
    memcpy(topic, reply_to, topic_len);
    topic[topic_len] = '\0';
    if (!mps_client_may_ask(client)) return mps_client_refuse_ended(client);
    size_t raw_len;
    const void *raw = pubsub_message_correlation(request, &raw_len);
    struct mps_publish message = {.properties.correlation = {raw, (uint32_t)raw_len}};
    uint64_t pid;
    int rc = mps_client_make_room(client, &message, topic, payload, len, options);
    if (rc == PUBSUB_OK) rc = mps_client_queue(client, &message, false, &pid);
    mps_client_tell_dropped(client);
    return rc;
}
