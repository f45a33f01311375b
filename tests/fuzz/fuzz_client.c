/* Any bytes as what a broker sends to the client's core, whole and in pieces, with equal events. What the core writes
 * meanwhile stays well-formed. The first byte is how the input is cut, the second is options. */
#include <pubsub/core.h>
#include <string.h>

#include "require.h"
#include "wire.h"

#define RX_BYTES 4096

enum {
    OPTION_WELCOMED = 1, /* the input comes after a WELCOME */
    OPTION_BUSY = 2,     /* with a subscription and publishes that wait for their answers */
    OPTION_LEAVING = 4,  /* our BYE is written */
    OPTION_NARROW = 8,   /* frame_max is smaller than the buffer */
    OPTION_SESSION = 16, /* it has a session */
    OPTION_PIECES = 32,  /* large messages come in pieces */
    OPTION_SMALL = 64,   /* the smallest buffers */
};

struct client {
    struct pubsub_core core;
    uint8_t rx[RX_BYTES], tx[RX_BYTES];
    uint64_t digest; /* of all events */
    uint64_t events;
    uint32_t piece_end, piece_total; /* of the message that is coming in pieces; 0: none */
    struct mps_scan scan;            /* of what it writes */
    uint8_t written[2 * RX_BYTES];
    size_t written_len;
};

static void digest(struct client *client, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len; i++) client->digest = (client->digest ^ p[i]) * UINT64_C(0x100000001b3);
}

static void digest_number(struct client *client, uint64_t number)
{
    digest(client, &number, sizeof number);
}

static void check_text(const char *text)
{
    REQUIRE(strlen(text) < PUBSUB_CORE_TEXT_MAX, "a text of %zu bytes", strlen(text));
    for (const char *p = text; *p != '\0'; p++)
        REQUIRE((unsigned char)*p >= ' ' && *p != 0x7f, "a control character in a text");
}

static void digest_text(struct client *client, const char *text)
{
    check_text(text);
    digest(client, text, strlen(text));
}

/* How a message is cut depends on how it came; what is told of it does not. */
static bool continues(struct client *client, const struct pubsub_message *m)
{
    REQUIRE(m->payload_len <= m->total && m->offset <= m->total - m->payload_len, "a piece beyond its payload");
    REQUIRE(m->offset == client->piece_end, "a piece at %u, where %u was due", m->offset, client->piece_end);
    REQUIRE(m->offset == 0 || m->total == client->piece_total, "a piece of another message");
    REQUIRE(m->payload_len > 0 || m->total == 0, "an empty piece");
    client->piece_end = m->offset + (uint32_t)m->payload_len == m->total ? 0 : m->offset + (uint32_t)m->payload_len;
    client->piece_total = m->total;
    return m->offset > 0;
}

static void digest_message(struct client *client, const struct pubsub_message *m)
{
    if (continues(client, m)) {
        client->events--;
        digest(client, m->payload, m->payload_len);
        return;
    }
    mps_view topic = {(const uint8_t *)m->topic, (uint32_t)m->topic_len};
    REQUIRE(mps_topic_error(topic) == NULL, "a message with a bad topic: %s", mps_topic_error(topic));
    digest_number(client, m->sid);
    digest(client, m->topic, m->topic_len);
    digest(client, m->props, m->props_len);
    digest_number(client, m->stream);
    digest_number(client, m->seq);
    digest_number(client, m->time_ms + m->tries);
    digest_number(client, m->total);
    digest(client, m->payload, m->payload_len);
}

static void take_event(struct client *client, const struct pubsub_event *e)
{
    client->events++;
    if (e->type != PUBSUB_EVENT_MESSAGE) {
        REQUIRE(client->piece_end == 0 || e->type == PUBSUB_EVENT_FAILED, "event %d amid a message", (int)e->type);
        digest_number(client, e->type);
    }
    switch (e->type) {
    case PUBSUB_EVENT_NONE:
    case PUBSUB_EVENT_BLOCKED: break;
    case PUBSUB_EVENT_WELCOME:
        digest_text(client, e->as.welcome.client_id);
        digest_number(client, e->as.welcome.last_pid + e->as.welcome.session_s + e->as.welcome.resumed);
        REQUIRE(strlen(e->as.welcome.inbox) <= PUBSUB_CORE_INBOX_MAX, "an inbox that is too long");
        digest(client, e->as.welcome.inbox, strlen(e->as.welcome.inbox));
        break;
    case PUBSUB_EVENT_MESSAGE: digest_message(client, &e->as.message); break;
    case PUBSUB_EVENT_GAP:
        digest_number(client, e->as.gap.sid + e->as.gap.count);
        digest_number(client, e->as.gap.stream + e->as.gap.first + e->as.gap.last);
        break;
    case PUBSUB_EVENT_PUBACK:
        REQUIRE(e->as.puback.first_pid <= e->as.puback.last_pid, "a PUBACK of nothing");
        REQUIRE(e->as.puback.code < 200 || e->as.puback.first_pid == e->as.puback.last_pid,
                "an error for several pids");
        digest_number(client, e->as.puback.first_pid);
        digest_number(client, e->as.puback.last_pid);
        digest_text(client, e->as.puback.text);
        break;
    case PUBSUB_EVENT_SUBACK: digest_text(client, e->as.suback.text); break;
    case PUBSUB_EVENT_MARK: digest_number(client, e->as.mark.sid); break;
    case PUBSUB_EVENT_STAT: digest_number(client, e->as.stat.matched); break;
    case PUBSUB_EVENT_PONG: digest(client, e->as.pong.ptr, e->as.pong.len); break;
    case PUBSUB_EVENT_INFO: digest(client, e->as.info.ptr, e->as.info.len); break;
    case PUBSUB_EVENT_REFUSAL: digest_text(client, e->as.refusal.text); break;
    case PUBSUB_EVENT_TOO_LARGE: digest_number(client, e->as.too_large.payload_len); break;
    case PUBSUB_EVENT_BYE: digest_text(client, e->as.ending.text); break;
    case PUBSUB_EVENT_FAILED: check_text(e->as.ending.text); break; /* which limit is met first depends on the pieces */
    }
}

/* What is written is frames, and only those that a client may send. */
static void check_output(struct client *client)
{
    static const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    const void *at;
    size_t len = pubsub_core_output(&client->core, &at);
    REQUIRE(client->written_len + len <= sizeof client->written, "%zu bytes of output", len);
    memcpy(client->written + client->written_len, at, len);
    client->written_len += len;
    pubsub_core_written(&client->core, len);
    size_t done = 0;
    while (done < client->written_len) {
        enum mps_scan_result result =
            mps_scan(&client->scan, client->written + done, client->written_len - done, &limits);
        REQUIRE(result >= 0, "the core wrote what is no frame: %s", client->scan.error);
        if (result == MPS_SCAN_MORE) break;
        done += client->scan.pos;
        client->scan = (struct mps_scan){0};
    }
    client->written_len -= done;
    memmove(client->written, client->written + done, client->written_len);
}

static void take_events(struct client *client)
{
    struct pubsub_event event;
    for (enum pubsub_event_type type; (type = pubsub_core_next(&client->core, &event)) != PUBSUB_EVENT_NONE;) {
        REQUIRE(type == event.type, "event %d is %d", (int)type, (int)event.type);
        if (type == PUBSUB_EVENT_BLOCKED) REQUIRE(client->core.tx_end > 0, "blocked by nothing");
        else take_event(client, &event);
        check_output(client);
    }
    check_output(client);
}

static void feed(struct client *client, const uint8_t *bytes, size_t len, uint32_t cut)
{
    for (size_t at = 0; at < len;) {
        void *to = NULL;
        size_t room = pubsub_core_input(&client->core, &to);
        if (room == 0) return; /* a frame larger than the buffer, or the connection has ended */
        size_t piece = piece_len(&cut, len - at);
        if (piece > room) piece = room;
        memcpy(to, bytes + at, piece);
        pubsub_core_received(&client->core, piece);
        at += piece;
        take_events(client);
    }
}

static void run(struct client *client, unsigned options, const uint8_t *bytes, size_t len, uint32_t cut)
{
    static const uint8_t welcome[] = "\x93\x13\x01\x82\xa2"
                                     "id"
                                     "\xa1"
                                     "a"
                                     "\xaapub_window\x64";
    memset(client, 0, sizeof *client);
    size_t rx_cap = options & OPTION_SMALL ? PUBSUB_CORE_RX_MIN : sizeof client->rx;
    pubsub_core_init(&client->core, client->rx, rx_cap, client->tx,
                     options & OPTION_SMALL ? PUBSUB_CORE_TX_MIN : sizeof client->tx);
    if (options & OPTION_NARROW) pubsub_core_set_input(&client->core, client->rx, rx_cap, 64);
    if (options & OPTION_PIECES) pubsub_core_take_pieces(&client->core, 3000);
    struct pubsub_core_hello hello = {.client_id = "fuzz", .keepalive_s = 60};
    if (options & OPTION_SESSION) hello.session_s = 3600, hello.boot = UINT64_MAX;
    pubsub_core_hello(&client->core, &hello);
    check_output(client);
    if (options & OPTION_WELCOMED) feed(client, welcome, sizeof welcome - 1, 0);
    if (options & OPTION_BUSY) {
        struct pubsub_publish_options acknowledged = {.ack = PUBSUB_ACK_ROUTED};
        pubsub_core_subscribe(&client->core, 1, "#", NULL);
        pubsub_core_credit(&client->core, 1, 5, true);
        pubsub_core_ack(&client->core, 1, 64, 5, PUBSUB_ACKED_AGAIN, 100);
        for (int i = 0; i < 5; i++) pubsub_core_publish(&client->core, "t", "x", 1, &acknowledged, NULL);
        check_output(client);
    }
    if (options & OPTION_LEAVING) pubsub_core_bye(&client->core, 0);
    check_output(client);
    feed(client, bytes, len, cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct client whole, pieces;
    if (size < 2) return 0;
    run(&whole, data[1], data + 2, size - 2, 0);
    run(&pieces, data[1], data + 2, size - 2, data[0] * 2654435761u + 1);
    REQUIRE(whole.events == pieces.events && whole.digest == pieces.digest,
            "whole gives %llu events, pieces give %llu, or other ones", (unsigned long long)whole.events,
            (unsigned long long)pieces.events);
    return 0;
}
