/* Messages through the client library and the codec, without a connection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pubsub/core.h>

#include "outbox.h"
#include "request.h"
#include "scenario.h"
#include "traffic.h"

#define TOPIC "site/a/temp"
#define PAYLOAD_BYTES 64
#define LARGE_BYTES (1024 * 1024)
#define SEGMENT_BYTES 1460 /* of TCP: what a large frame may come in */

struct client {
    uint64_t count, bytes;
    struct pubsub_core core;
    struct mps_outbox outbox;
    struct traffic traffic;
    uint64_t frame_bytes; /* of one message */
    uint8_t rx[BATCH_BYTES], tx[BATCH_BYTES];
};

static const char payload[PAYLOAD_BYTES];

static uint64_t frame_bytes(void)
{
    uint8_t frame[256];
    struct mps_out out = mps_out_open(frame, sizeof frame);
    mps_encode_msg(&out, &(struct mps_msg){mps_text(TOPIC), {NULL, 0}, {(const uint8_t *)payload, PAYLOAD_BYTES}});
    return out.len;
}

/* A core that was welcomed. */
static struct client *new_client(uint64_t count)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL) fail("no memory");
    uint8_t frame[256];
    struct mps_out out = mps_out_open(frame, sizeof frame);
    mps_encode_welcome(&out, &(struct mps_welcome){.version = 1, .id = mps_text("a"), .max_payload = MPS_PAYLOAD_MAX});
    client->count = count;
    client->frame_bytes = frame_bytes();
    pubsub_core_init(&client->core, client->rx, sizeof client->rx, client->tx, sizeof client->tx);
    struct pubsub_event event;
    void *at;
    pubsub_core_hello(&client->core, &(struct pubsub_core_hello){0});
    const void *hello;
    pubsub_core_written(&client->core, pubsub_core_output(&client->core, &hello));
    if (pubsub_core_input(&client->core, &at) < out.len) fail("no room for WELCOME");
    memcpy(at, frame, out.len);
    pubsub_core_received(&client->core, out.len);
    if (pubsub_core_next(&client->core, &event) != PUBSUB_EVENT_WELCOME) fail("the core was not welcomed");
    pubsub_core_next(&client->core, &event);
    return client;
}

static uint64_t end_client(struct client *client, uint64_t bytes_due)
{
    uint64_t count = client->count;
    if (client->bytes != bytes_due)
        fail("%llu bytes came out, %llu were due", (unsigned long long)client->bytes, (unsigned long long)bytes_due);
    traffic_free(&client->traffic);
    free(client);
    return count;
}

/* ---- publishing -------------------------------------------------------------------------------------------------- */

static void write_output(struct client *client)
{
    const void *at;
    size_t len = pubsub_core_output(&client->core, &at);
    pubsub_core_written(&client->core, len);
    client->bytes += len;
}

static void core_publish(void *arg)
{
    struct client *client = arg;
    for (uint64_t i = 0; i < client->count;) {
        int rc = pubsub_core_publish(&client->core, TOPIC, payload, PAYLOAD_BYTES, NULL, NULL);
        if (rc == PUBSUB_OK) i++;
        else if (rc == PUBSUB_EAGAIN) write_output(client);
        else fail("the core refused to publish: %s", pubsub_strerror(rc));
    }
    write_output(client);
}

static uint64_t play_core_publish(uint64_t messages, const void *arg)
{
    (void)arg;
    struct client *client = new_client(messages);
    measured(core_publish, client);
    return end_client(client, messages * client->frame_bytes);
}

/* As pubsub_publish() does it, but for the connection. */
static void publish_one(struct mps_outbox *box)
{
    struct mps_publish publish = {.flags = 0};
    const char *why;
    uint64_t pid;
    if (mps_request_is_bare(&box->terms, NULL) &&
        mps_outbox_publish_bare(box, TOPIC, payload, PAYLOAD_BYTES, MPS_PAYLOAD_MAX, &pid))
        return;
    if (mps_request_message(&publish, TOPIC, payload, PAYLOAD_BYTES, NULL, MPS_PAYLOAD_MAX, &why) != PUBSUB_OK ||
        mps_outbox_reserve(box, mps_request_bound(&publish), false) != PUBSUB_OK)
        fail("the outbox refused a message");
    mps_outbox_publish(box, &publish);
}

static void outbox_publish(void *arg)
{
    struct client *client = arg;
    struct mps_outbox *box = &client->outbox;
    for (uint64_t i = 0; i < client->count; i++) {
        publish_one(box);
        size_t len = mps_outbox_writable(box);
        if (len < BATCH_BYTES && i + 1 < client->count) continue;
        mps_outbox_written(box, len);
        client->bytes += len;
    }
}

static uint64_t play_outbox(uint64_t messages, const void *arg)
{
    (void)arg;
    struct client *client = new_client(messages);
    mps_outbox_init(&client->outbox, 8 * BATCH_BYTES);
    if (mps_outbox_connected(&client->outbox, 1000, NULL, 0) != 0) fail("no memory");
    measured(outbox_publish, client);
    mps_outbox_free(&client->outbox);
    return end_client(client, messages * client->frame_bytes);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

SEPARATE void uncounted_receive(void *to, const void *from, size_t len);
SEPARATE void uncounted_receive(void *to, const void *from, size_t len)
{
    memcpy(to, from, len);
}

static void take_events(struct client *client)
{
    struct pubsub_event event;
    enum pubsub_event_type type;
    while ((type = pubsub_core_next(&client->core, &event)) != PUBSUB_EVENT_NONE) {
        if (type != PUBSUB_EVENT_MESSAGE) fail("the core tells of something else than a message");
        client->bytes += event.as.message.payload_len;
    }
}

static void core_receive(void *arg)
{
    struct client *client = arg;
    const uint8_t *p = client->traffic.bytes, *end = p + client->traffic.len;
    while (p < end) {
        void *at;
        size_t room = pubsub_core_input(&client->core, &at), left = (size_t)(end - p), len = left < room ? left : room;
        uncounted_receive(at, p, len);
        pubsub_core_received(&client->core, len);
        p += len;
        take_events(client);
    }
}

static void add_messages(struct client *client)
{
    for (uint64_t i = 0; i < client->count; i++)
        traffic_message(&client->traffic, TOPIC, (mps_view){NULL, 0}, payload, PAYLOAD_BYTES);
}

static uint64_t play_core_receive(uint64_t messages, const void *arg)
{
    (void)arg;
    struct client *client = new_client(messages);
    struct mps_out out = traffic_open(&client->traffic, MPS_SMALL_FRAME_MAX);
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    traffic_add(&client->traffic, &out);
    add_messages(client);
    measured(core_receive, client);
    return end_client(client, messages * PAYLOAD_BYTES);
}

/* ---- the codec --------------------------------------------------------------------------------------------------- */

static void encode_messages(void *arg)
{
    struct client *client = arg;
    const struct mps_msg msg = {mps_text(TOPIC), {NULL, 0}, {(const uint8_t *)payload, PAYLOAD_BYTES}};
    for (uint64_t i = 0; i < client->count; i++) {
        struct mps_out out = mps_out_open(client->tx, sizeof client->tx);
        if (mps_encode_msg(&out, &msg)) client->bytes += out.len;
    }
}

static uint64_t play_encode(uint64_t messages, const void *arg)
{
    (void)arg;
    struct client *client = new_client(messages);
    measured(encode_messages, client);
    return end_client(client, messages * client->frame_bytes);
}

static void decode_messages(void *arg)
{
    static const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    struct client *client = arg;
    const uint8_t *p = client->traffic.bytes, *end = p + client->traffic.len;
    while (p < end) {
        struct mps_scan scan = {0};
        struct mps_msg msg;
        const char *what;
        if (mps_scan(&scan, p, (size_t)(end - p), &limits) != MPS_SCAN_FRAME ||
            mps_decode_msg((mps_view){p, scan.pos}, &msg, &what) != MPS_OK)
            fail("a message can't be decoded");
        client->bytes += msg.payload.len;
        p += scan.pos;
    }
}

static uint64_t play_decode(uint64_t messages, const void *arg)
{
    (void)arg;
    struct client *client = new_client(messages);
    add_messages(client);
    measured(decode_messages, client);
    return end_client(client, messages * PAYLOAD_BYTES);
}

/* One large frame, again and again, as far as it has come each time. */
static void scan_large(void *arg)
{
    static const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    struct client *client = arg;
    for (uint64_t i = 0; i < client->count; i++) {
        struct mps_scan scan = {0};
        enum mps_scan_result result = MPS_SCAN_MORE;
        for (size_t there = SEGMENT_BYTES; result == MPS_SCAN_MORE; there += SEGMENT_BYTES) {
            size_t len = there < client->traffic.len ? there : client->traffic.len;
            result = mps_scan(&scan, client->traffic.bytes, len, &limits);
        }
        if (result != MPS_SCAN_FRAME) fail("a large frame can't be scanned");
        client->bytes += scan.payload_len;
    }
}

static uint64_t play_scan_large(uint64_t messages, const void *arg)
{
    (void)arg;
    struct client *client = new_client(messages);
    void *body = calloc(1, LARGE_BYTES);
    if (body == NULL) fail("no memory");
    traffic_message(&client->traffic, TOPIC, (mps_view){NULL, 0}, body, LARGE_BYTES);
    free(body);
    measured(scan_large, client);
    return end_client(client, messages * LARGE_BYTES);
}

const struct scenario client_scenarios[] = {
    {"client_core_publish", 100000, play_core_publish, NULL, "published"},
    {"client_outbox_publish", 100000, play_outbox, NULL, "published"},
    {"client_core_receive", 100000, play_core_receive, NULL, "received"},
    {"proto_encode_msg", 100000, play_encode, NULL, "encoded"},
    {"proto_decode_msg", 100000, play_decode, NULL, "decoded"},
    {"proto_scan_large", 200, play_scan_large, NULL, "scanned"},
    {NULL, 0, NULL, NULL, NULL},
};
