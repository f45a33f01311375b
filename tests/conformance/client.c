/* The client's core on a stage: A>> is what its broker sends, A<< what it sends, `A do` what its program asks of it,
 * `A==` what it tells its program, as an array: ["message", sid, flags, topic, payload], and so on as below. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pubsub/core.h>

#include "client_do.h"
#include "stage.h"
#include "wire.h"

#define BUFFER_BYTES (2u << 20) /* either way, so that a client never waits for room */
#ifndef CLIENT_SKEW_BYTES
#define CLIENT_SKEW_BYTES 0 /* how far behind an aligned address the input begins */
#endif

struct client {
    struct pubsub_core core;
    uint8_t *rx, *tx;
};

struct client_stage {
    struct stage stage; /* first: a stage is one of clients */
    struct client clients[STAGE_CONNS_COUNT];
};

static struct client *client_at(struct stage *stage, int conn)
{
    return &((struct client_stage *)stage)->clients[conn];
}

/* ---- events as arrays -------------------------------------------------------------------------------------------- */

static void put_name(struct mps_out *out, uint32_t count, const char *name)
{
    mps_put_array(out, 1 + count);
    mps_put_text(out, mps_text(name));
}

static void put_numbers(struct mps_out *out, const char *name, uint32_t count, const uint64_t *numbers)
{
    put_name(out, count, name);
    for (uint32_t i = 0; i < count; i++) mps_put_uint(out, numbers[i]);
}

#define NUMBERS(name, ...) \
    put_numbers(out, name, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), (uint64_t[]){__VA_ARGS__})

static void put_bytes(struct mps_out *out, const void *bytes, size_t len)
{
    mps_put_bin(out, (mps_view){bytes, (uint32_t)len});
}

static void put_message(struct mps_out *out, const struct pubsub_message *m)
{
    unsigned flags = (m->retained ? MPS_FOR_RETAINED : 0u) | (m->replayed ? MPS_FOR_REPLAY : 0u) |
                     (m->redelivered ? MPS_FOR_REDELIVERED : 0u);
    put_name(out, m->stream == 0 ? 4 : m->tries == 0 ? 6 : 7, "message");
    mps_put_uint(out, m->sid);
    mps_put_uint(out, flags);
    mps_put_text(out, (mps_view){(const uint8_t *)m->topic, (uint32_t)m->topic_len});
    put_bytes(out, m->payload, m->payload_len);
    if (m->stream == 0) return;
    mps_put_uint(out, m->stream);
    mps_put_uint(out, m->seq);
    if (m->tries > 0) mps_put_uint(out, m->tries);
}

static void put_gap(struct mps_out *out, const struct pubsub_gap *gap)
{
    put_name(out, gap->stream > 0 ? 6 : 3, "gap");
    mps_put_uint(out, gap->sid);
    if (gap->exact) mps_put_uint(out, gap->count);
    else mps_put_nil(out);
    mps_put_uint(out, gap->reason);
    if (gap->stream == 0) return;
    mps_put_uint(out, gap->stream);
    mps_put_uint(out, gap->first);
    mps_put_uint(out, gap->last);
}

static void put_suback(struct mps_out *out, const struct pubsub_suback *ack)
{
    put_name(out, ack->local ? 3 : 2, "suback");
    mps_put_uint(out, ack->sid);
    mps_put_uint(out, ack->code);
    if (ack->local) mps_put_text(out, mps_text("local"));
}

static void put_puback(struct mps_out *out, const struct pubsub_puback *ack)
{
    const uint64_t numbers[] = {ack->first_pid, ack->last_pid, ack->code, ack->matched,
                                ack->dropped,   ack->stream,   ack->seq};
    put_numbers(out, "puback", ack->stream > 0 ? 7 : 5, numbers);
}

static void put_welcome(struct mps_out *out, const struct pubsub_welcome *welcome)
{
    bool session = welcome->session_s > 0, inbox = welcome->inbox[0] != '\0';
    put_name(out, session ? 6 : inbox ? 3 : 2, "welcome");
    mps_put_text(out, mps_text(welcome->client_id));
    mps_put_uint(out, welcome->keepalive_s);
    if (inbox) mps_put_text(out, mps_text(welcome->inbox));
    else if (session) mps_put_nil(out);
    if (!session) return;
    mps_put_uint(out, welcome->session_s);
    mps_put_bool(out, welcome->resumed);
    mps_put_uint(out, welcome->last_pid);
}

static void put_event(struct mps_out *out, const struct pubsub_event *event)
{
    switch (event->type) {
    case PUBSUB_EVENT_NONE:
    case PUBSUB_EVENT_BLOCKED: break;
    case PUBSUB_EVENT_WELCOME: put_welcome(out, &event->as.welcome); break;
    case PUBSUB_EVENT_MESSAGE: put_message(out, &event->as.message); break;
    case PUBSUB_EVENT_GAP: put_gap(out, &event->as.gap); break;
    case PUBSUB_EVENT_PUBACK: put_puback(out, &event->as.puback); break;
    case PUBSUB_EVENT_SUBACK: put_suback(out, &event->as.suback); break;
    case PUBSUB_EVENT_MARK: NUMBERS("mark", event->as.mark.sid, event->as.mark.mark); break;
    case PUBSUB_EVENT_STAT:
        NUMBERS("stat", event->as.stat.sid, event->as.stat.matched, event->as.stat.sent, event->as.stat.lost,
                event->as.stat.queued, event->as.stat.queued_bytes);
        break;
    case PUBSUB_EVENT_PONG:
        put_name(out, 1, "pong");
        put_bytes(out, event->as.pong.ptr, event->as.pong.len);
        break;
    case PUBSUB_EVENT_INFO: put_name(out, 0, "info"); break;
    case PUBSUB_EVENT_REFUSAL: NUMBERS("refusal", event->as.refusal.code, event->as.refusal.op); break;
    case PUBSUB_EVENT_TOO_LARGE: NUMBERS("too_large", event->as.too_large.sid, event->as.too_large.payload_len); break;
    case PUBSUB_EVENT_BYE: NUMBERS("bye", event->as.ending.code); break;
    case PUBSUB_EVENT_FAILED: NUMBERS("failed", event->as.ending.code); break;
    }
}

/* ---- bytes either way -------------------------------------------------------------------------------------------- */

static void take_output(struct stage *stage, int conn)
{
    struct client *client = client_at(stage, conn);
    const void *at;
    size_t len;
    while ((len = pubsub_core_output(&client->core, &at)) > 0) {
        inbox_add(&stage->inbox[conn], at, len);
        pubsub_core_written(&client->core, len);
    }
}

static void take_events(struct stage *stage, int conn)
{
    struct client *client = client_at(stage, conn);
    struct pubsub_event event;
    while (pubsub_core_next(&client->core, &event) != PUBSUB_EVENT_NONE) {
        size_t cap = 1024 + (event.type == PUBSUB_EVENT_MESSAGE ? event.as.message.payload_len : 0);
        uint8_t *room = malloc(cap);
        if (room == NULL) abort();
        struct mps_out out = mps_out_open(room, cap);
        put_event(&out, &event);
        inbox_add(&stage->events[conn], room, out.len);
        free(room);
        take_output(stage, conn);
        if (event.type == PUBSUB_EVENT_BYE || event.type == PUBSUB_EVENT_FAILED) stage->inbox[conn].ended = true;
    }
    take_output(stage, conn);
}

static bool client_connect(struct stage *stage, int conn)
{
    struct client *client = client_at(stage, conn);
    client->rx = malloc(BUFFER_BYTES + CLIENT_SKEW_BYTES);
    client->tx = malloc(BUFFER_BYTES);
    if (client->rx == NULL || client->tx == NULL) abort();
    pubsub_core_init(&client->core, client->rx + CLIENT_SKEW_BYTES, BUFFER_BYTES, client->tx, BUFFER_BYTES);
    return true;
}

static void client_send(struct stage *stage, int conn, const uint8_t *bytes, size_t len)
{
    struct client *client = client_at(stage, conn);
    while (len > 0) {
        void *at;
        size_t cap = pubsub_core_input(&client->core, &at);
        if (cap == 0 || stage->inbox[conn].ended) return; /* it has ended: nobody reads this */
        size_t part = len < cap ? len : cap;
        memcpy(at, bytes, part);
        pubsub_core_received(&client->core, part);
        bytes += part;
        len -= part;
        take_events(stage, conn);
    }
}

static bool client_wait(struct stage *stage, int conn)
{
    (void)stage;
    (void)conn;
    return false; /* a core answers at once or never */
}

static void client_poll(struct stage *stage, int conn)
{
    (void)stage;
    (void)conn;
}

static bool client_act(struct stage *stage, int conn, const char *what)
{
    bool done = client_do(&client_at(stage, conn)->core, what);
    if (done && strncmp(what, "restart", strlen("restart")) == 0) stage->inbox[conn].ended = false;
    take_output(stage, conn);
    return done;
}

static bool client_close(struct stage *stage, char *error, size_t cap)
{
    (void)error;
    (void)cap;
    for (int i = 0; i < STAGE_CONNS_COUNT; i++) {
        free(client_at(stage, i)->rx);
        free(client_at(stage, i)->tx);
        free(stage->inbox[i].at);
        free(stage->events[i].at);
    }
    free(stage);
    return true;
}

struct stage *client_open(void)
{
    struct client_stage *clients = calloc(1, sizeof *clients);
    if (clients == NULL) abort();
    clients->stage = (struct stage){.connect = client_connect,
                                    .send = client_send,
                                    .wait = client_wait,
                                    .poll = client_poll,
                                    .act = client_act,
                                    .close = client_close};
    return &clients->stage;
}
