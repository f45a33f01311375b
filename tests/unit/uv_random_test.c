/* Many clients on one libuv loop that are opened, used and closed at random moments, with a broker that does anything,
 * or nothing, on each connection. A sanitizer sees what is used after its end; the loop, what is left. */
#include "uv_stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDLES_MAX 24
#define PEERS_MAX 64
#define STEPS 1500
#define SEEDS 8

static struct {
    uint32_t seed;
    struct pubsub_uv *handles[HANDLES_MAX]; /* NULL: free */
    int peers[PEERS_MAX];                   /* -1: free */
    bool welcomed[PEERS_MAX];
    int opened, closed, connected, messages;
} world;

static uint32_t pick(uint32_t below)
{
    world.seed ^= world.seed << 13;
    world.seed ^= world.seed >> 17;
    world.seed ^= world.seed << 5;
    return world.seed % below;
}

static void on_closed(struct pubsub_uv *handle)
{
    struct pubsub_uv **slot = handle->data;
    assert_ptr_equal(*slot, handle);
    *slot = NULL;
    world.closed++;
    free(handle);
}

static void close_handle(struct pubsub_uv *handle)
{
    pubsub_uv_close(handle, pick(3) == 0 ? pick(10) : 0, on_closed);
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    assert_false(pubsub_uv_is_closing(user));
    world.messages++;
    (void)pubsub_publish(client, "echo", message->payload, message->payload_len, NULL, NULL);
    if (pick(16) == 0) close_handle(user);
}

static void on_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    (void)client, (void)text;
    assert_false(pubsub_uv_is_closing(user)); /* nobody hears of it then */
    const struct pubsub_subscribe_options subscription = {.on_message = on_message, .user = user};
    if (state == PUBSUB_CONNECTED) (void)pubsub_subscribe(client, "a", &subscription, NULL);
    world.connected += state == PUBSUB_CONNECTED;
    if (pick(4) == 0) close_handle(user);
}

static void on_reply(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user)
{
    (void)client, (void)request, (void)reply, (void)status;
    if (pick(4) == 0) close_handle(user);
}

static void open_one(void)
{
    static const char *const names[] = {"broker.test", "two.test", "slow.test", "none.test", "127.0.0.1", "127.0.0.2"};
    char url[64], text[256];
    size_t slot = pick(HANDLES_MAX);
    if (world.handles[slot] != NULL) return;
    struct pubsub_uv *handle = malloc(sizeof *handle);
    assert_non_null(handle);
    snprintf(url, sizeof url, "tcp://%s:%d", names[pick(6)], on_loop.port);
    const struct pubsub_options options = {.url = url,
                                           .connect_ms = 1 + pick(50),
                                           .reconnect_min_ms = 1,
                                           .reconnect_max_ms = 4,
                                           .no_reconnect = pick(4) == 0,
                                           .on_state = on_state,
                                           .user = handle};
    assert_int_equal(pubsub_uv_init(&on_loop.loop, handle, &options, text, sizeof text), PUBSUB_OK);
    handle->data = &world.handles[slot];
    world.handles[slot] = handle;
    world.opened++;
}

static void use_one(void)
{
    struct pubsub_uv *handle = world.handles[pick(HANDLES_MAX)];
    if (handle == NULL) return;
    pubsub *client = pubsub_uv_client(handle);
    if (client == NULL) return; /* it is closed already, and only the callback is due */
    const struct pubsub_subscribe_options subscription = {.on_message = on_message, .user = handle};
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED};
    const struct pubsub_request_options request = {.on_reply = on_reply, .timeout_ms = 1 + pick(20), .user = handle};
    switch (pick(6)) {
    case 0: close_handle(handle); break;
    case 1: (void)pubsub_subscribe(client, "a", &subscription, NULL); break;
    case 2: (void)pubsub_publish(client, "b", "x", 1, pick(2) ? &acked : NULL, NULL); break;
    case 3: (void)pubsub_request(client, "ask", "x", 1, &request, NULL); break;
    case 4:
        if (pick(8) == 0) (void)pubsub_shutdown(client, 0);
        break;
    case 5: (void)pubsub_unsubscribe(client, 1); break;
    }
}

/* ---- the broker ------------------------------------------------------------------------------------------------- */

static void accept_all(struct stage *stage)
{
    for (size_t i = 0; i < PEERS_MAX; i++) {
        if (world.peers[i] >= 0) continue;
        world.peers[i] = accept4(stage->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (world.peers[i] < 0) return;
        world.welcomed[i] = false;
    }
}

/* Mostly what is due. */
static void say_something(int peer, bool *welcomed)
{
    uint8_t buf[512];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    uint32_t what = pick(16);
    if (what == 0) {
        mps_encode_bye(&out, &(struct mps_bye){.code = pick(2) ? 0 : MPS_TAKEN_OVER, .text = mps_text("so")});
    } else if (what == 1) {
        memset(buf, 0xc1, out.len = 4);
    } else if (*welcomed) {
        mps_encode_for(&out, &(struct mps_for){.sid = 1});
        for (uint32_t i = pick(4); i > 0; i--)
            mps_encode_msg(&out, &(struct mps_msg){mps_text("a"), {NULL, 0}, mps_text("x")});
    } else {
        *welcomed = true;
        mps_encode_welcome(&out, &(struct mps_welcome){.version = 1,
                                                       .id = mps_text("given"),
                                                       .ka_s = 60,
                                                       .pub_window = 1 + pick(3),
                                                       .max_payload = 1000,
                                                       .inbox = mps_text("$inbox/x/"),
                                                       .ack = 1});
    }
    (void)send(peer, buf, out.len, MSG_NOSIGNAL);
}

static void answer_one(void)
{
    char read[4096];
    int *peer = &world.peers[pick(PEERS_MAX)];
    if (*peer < 0) return;
    switch (pick(4)) {
    case 0: (void)recv(*peer, read, sizeof read, 0); break;
    case 1:
    case 2: say_something(*peer, &world.welcomed[peer - world.peers]); break;
    case 3:
        if (pick(4) != 0) break;
        close(*peer);
        *peer = -1;
        break;
    }
}

/* ---- the test --------------------------------------------------------------------------------------------------- */

static bool all_are_closed(void)
{
    return world.opened == world.closed;
}

static void play(struct stage *stage, uint32_t seed)
{
    world.seed = seed;
    for (int i = 0; i < PEERS_MAX; i++) world.peers[i] = -1;
    for (int i = 0; i < STEPS; i++) {
        if (pick(4) == 0) open_one();
        if (pick(50) == 0) uv_stage_gate(pick(2) == 0);
        accept_all(stage);
        for (int k = 0; k < 8; k++) answer_one();
        use_one();
        stage->work(stage, pick(4) == 0);
    }
    for (int i = 0; i < HANDLES_MAX; i++)
        if (world.handles[i] != NULL) close_handle(world.handles[i]);
    uv_stage_until(stage, all_are_closed); /* whatever the resolver does */
    uv_stage_gate(true);
    for (int i = 0; i < PEERS_MAX; i++)
        if (world.peers[i] >= 0) close(world.peers[i]);
}

static void everything_ends_once_whatever_happens(void **state)
{
    memset(&world, 0, sizeof world);
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        print_message("seed %u: ", (unsigned)seed);
        play(*state, seed * 2654435761u);
        print_message("%d opened, %d connected, %d messages\n", world.opened, world.connected, world.messages);
    }
    assert_true(world.connected > 100 && world.messages > 100); /* else it shows little */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_ends_once_whatever_happens, uv_stage_set_up_tcp, uv_stage_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
