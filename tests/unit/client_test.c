/* The client on a scripted broker: connections, callbacks, the publish window, reconnects, ends. */
#include "client_stage.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void deliveries_become_callbacks(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[512];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    stage_open(stage, stage_options(stage), 10);
    assert_string_equal(pubsub_client_id(stage->client), "given");
    assert_int_equal(pubsub_max_payload(stage->client), 1000);
    const struct pubsub_subscribe_options options = stage_callbacks(stage);
    uint32_t sid, sid2;
    assert_int_equal(pubsub_subscribe(stage->client, "a/#", &options, &sid), PUBSUB_OK);
    assert_int_equal(pubsub_subscribe(stage->client, "stop", &options, &sid2), PUBSUB_OK);
    assert_int_equal(pubsub_subscribe(stage->client, "a/#/b", &options, NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_ask_stat(stage->client, sid), PUBSUB_OK);
    assert_int_equal(pubsub_ask_stat(stage->client, 77), PUBSUB_EINVAL);
    stage_expect_frames(stage, "SUB 1 a/#, SUB 2 stop, STAT, ");
    mps_encode_suback(&out, &(struct mps_suback){.sid = 1});
    mps_encode_mark(&out, &(struct mps_mark){.sid = 1, .kind = 1});
    mps_encode_stat(&out, &(struct mps_stat){.sid = 1, .has_counts = true, .matched = 7, .sent = 7});
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("a/b"), {NULL, 0}, mps_text("xy")});
    mps_encode_gap(&out, &(struct mps_gap){.sid = 1, .has_count = true, .count = 5, .reason = 1});
    mps_encode_for(&out, &(struct mps_for){.sid = 9}); /* a subscription that we do not have */
    mps_encode_msg(&out, &(struct mps_msg){mps_text("a/b"), {NULL, 0}, mps_text("xy")});
    mps_encode_for(&out, &(struct mps_for){.sid = 2});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("stop"), {NULL, 0}, mps_text("1")});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("stop"), {NULL, 0}, mps_text("2")}); /* after our unsubscribe */
    mps_encode_err(&out, &(struct mps_err){.code = 211, .text = mps_text("not yours"), .has_op = true, .op = 2});
    mps_encode_ping(&out, &(struct mps_token){mps_text("tok")});
    stage_say(stage, &out);
    stage_wait_for_log(stage, "granted 1\nmark 1 1\nstat 1 7\nmessage 1 a/b 2\ngap 1 5 drop_old\nmessage 2 stop 1\n"
                              "refusal 211 op 2 sid 0 not yours\n");
    stage_expect_frames(stage, "PONG, UNSUB, ");
    mps_encode_mark(&out, &(struct mps_mark){.sid = 2, .kind = 4});
    mps_encode_suback(&out, &(struct mps_suback){.sid = 1, .code = 221, .text = mps_text("too many")});
    stage_say(stage, &out);
    stage_wait_for_log(stage, "mark 2 4\nrefusal 221 op 9 sid 1 too many\n");
    assert_int_equal(pubsub_unsubscribe(stage->client, 1), PUBSUB_EINVAL); /* refused: it is gone */
    assert_int_equal(pubsub_unsubscribe(stage->client, 2), PUBSUB_EINVAL);
}

static void everything_is_taken_up_again(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, stage_options(stage), 10);
    const struct pubsub_subscribe_options options = stage_callbacks(stage);
    uint32_t sid, ended;
    assert_int_equal(pubsub_subscribe(stage->client, "s", &options, &sid), PUBSUB_OK);
    assert_int_equal(pubsub_subscribe(stage->client, "t", &options, &ended), PUBSUB_OK);
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    stage_publish(stage, "b", PUBSUB_ACK_ROUTED);
    stage_publish(stage, "c", PUBSUB_ACK_NONE);
    assert_int_equal(pubsub_ask_stat(stage->client, sid), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 s, SUB 2 t, acked a, acked b, c, STAT, ");
    stage_say_puback(stage, 1, 0);
    stage_wait_for_log(stage, "puback 1..1 0\n");
    assert_int_equal(pubsub_unsubscribe(stage->client, ended), PUBSUB_OK);
    stage_publish(stage, "d", PUBSUB_ACK_ROUTED); /* not written yet */
    stage_publish(stage, "e", PUBSUB_ACK_NONE);
    stage_hang_up(stage);
    assert_int_equal(pubsub_unacked(stage->client), 2);
    stage_wait_for_log(stage, "lost\nmark 2 4\n");
    stage_publish(stage, "f", PUBSUB_ACK_ROUTED);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "again\n");
    /* c was handed over and is gone; e never was. */
    stage_expect_frames(stage, "SUB 1 s, STAT, acked b, acked d, e, acked f, ");
    assert_int_equal(stage->first_pid, 2);
    stage_say_puback(stage, 2, 2);
    stage_say_puback(stage, 3, 210);
    stage_say_puback(stage, 4, 0);
    stage_wait_for_log(stage, "puback 2..2 2\npuback 3..3 210\npuback 4..4 0\n");
    assert_int_equal(pubsub_flush(stage->client, 0), PUBSUB_OK);
    assert_int_equal(pubsub_outbox_bytes(stage->client), 0);
}

static void window_and_flush(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, stage_options(stage), 2);
    for (char topic[2] = "a"; topic[0] <= 'd'; topic[0]++) stage_publish(stage, topic, PUBSUB_ACK_ROUTED);
    stage_expect_frames(stage, "acked a, acked b, ");
    assert_int_equal(pubsub_flush(stage->client, 1), PUBSUB_ETIMEDOUT);
    stage_say_puback(stage, 2, 1);
    stage_expect_frames(stage, "acked c, acked d, ");
    stage_say_puback(stage, 4, 0);
    assert_int_equal(pubsub_flush(stage->client, PATIENCE_MS), PUBSUB_OK);
    stage_expect_log(stage, "puback 1..2 1\npuback 3..4 0\n");
    char big[1001] = "";
    assert_int_equal(pubsub_publish(stage->client, "t", big, sizeof big, NULL, NULL), PUBSUB_ETOOBIG);
    assert_int_equal(pubsub_publish(stage->client, "#", big, 1, NULL, NULL), PUBSUB_EINVAL);
    assert_non_null(strstr(pubsub_error(stage->client), "wildcard"));
}

static void full_outbox_refuses_or_waits(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED};
    char payload[200] = "";
    options.outbox_bytes = 2000;
    options.outbox_policy = PUBSUB_OUTBOX_REFUSE;
    stage_open(stage, options, 100);
    int count = 0, rc;
    uint64_t pid = 0;
    while ((rc = pubsub_publish(stage->client, "t", payload, sizeof payload, &acked, &pid)) == PUBSUB_OK) count++;
    assert_int_equal(rc, PUBSUB_EAGAIN);
    assert_true(count > 3 && count < 10);
    assert_int_equal(pid, count);
    assert_true(pubsub_outbox_bytes(stage->client) <= 2000);
    pubsub_wait(stage->client, 0);
    stage_say_puback(stage, (uint64_t)count, 0);
    assert_int_equal(pubsub_flush(stage->client, PATIENCE_MS), PUBSUB_OK);
    assert_int_equal(pubsub_publish(stage->client, "t", payload, sizeof payload, &acked, &pid), PUBSUB_OK);
}

/* What waits for room goes on as soon as there is some, and not only when a timer wakes it. */
static void waiting_for_room_ends_with_the_room(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    static char payload[1000];
    options.outbox_bytes = 4000;
    stage_open(stage, options, 100);
    int64_t start = stage_now_ms();
    for (int i = 0; i < 20; i++)
        assert_int_equal(pubsub_publish(stage->client, "t", payload, sizeof payload, NULL, NULL), PUBSUB_OK);
    assert_int_equal(pubsub_flush(stage->client, PATIENCE_MS), PUBSUB_OK);
    assert_true(stage_now_ms() - start < PATIENCE_MS);
}

static void byes_end_or_reconnect(void **state)
{
    struct stage *stage = *state;
    static const struct {
        uint32_t code;
        int error;
    } cases[] = {
        {108, PUBSUB_EAUTH},
        {109, PUBSUB_ETAKEN},
        {117, PUBSUB_EREFUSED},
        {102, PUBSUB_EREFUSED},
        {101, PUBSUB_EREFUSED},
        {113, 0},
        {112, 0},
        {0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        stage_open(stage, stage_options(stage), 10);
        stage_say_bye(stage, cases[i].code);
        stage_hang_up(stage);
        stage_wait_for_log(stage, cases[i].error != 0 ? "lost\nended\n" : "lost\n");
        if (cases[i].error != 0) {
            assert_int_equal(pubsub_wait(stage->client, -1), cases[i].error);
            assert_int_equal(pubsub_publish(stage->client, "t", "", 0, NULL, NULL), cases[i].error);
            assert_int_equal(pubsub_fd(stage->client), -1);
            assert_non_null(strstr(pubsub_error(stage->client), "so it is"));
        } else {
            stage_accept(stage);
            stage_say_welcome(stage, 10, 1000);
            stage_wait_for_log(stage, "again\n");
            stage_hang_up(stage);
        }
        pubsub_close(stage->client, 0);
        stage->client = NULL;
        stage->log[0] = '\0';
    }
}

static void broken_broker_ends_it(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, stage_options(stage), 10);
    assert_int_equal(send(stage->peer, "\x91\x3f", 2, MSG_NOSIGNAL), 2);
    stage_wait_for_log(stage, "lost\nended\n");
    assert_int_equal(pubsub_wait(stage->client, -1), PUBSUB_EPROTO);
    assert_int_equal(recv(stage->peer, stage->in, sizeof stage->in, 0), 3);
    assert_memory_equal(stage->in, "\x92\x15\x67", 3); /* BYE 103 */
}

/* A PUBACK for what waits behind the window, which nobody can have seen. */
static void early_puback_ends_it(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, stage_options(stage), 1);
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    stage_publish(stage, "b", PUBSUB_ACK_ROUTED);
    stage_expect_frames(stage, "acked a, ");
    stage_say_puback(stage, 2, 0);
    stage_wait_for_log(stage, "lost\nended\n");
    assert_int_equal(pubsub_wait(stage->client, -1), PUBSUB_EPROTO);
}

static void shutdown_keeps_reading(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    stage_open(stage, stage_options(stage), 10);
    const struct pubsub_subscribe_options options = stage_callbacks(stage);
    assert_int_equal(pubsub_subscribe(stage->client, "s", &options, NULL), PUBSUB_OK);
    stage_publish(stage, "a", PUBSUB_ACK_NONE);
    assert_int_equal(pubsub_shutdown(stage->client, PATIENCE_MS), PUBSUB_OK);
    assert_int_equal(pubsub_publish(stage->client, "t", "", 0, NULL, NULL), PUBSUB_ECLOSED);
    stage_expect_frames(stage, "SUB 1 s, a, ");
    assert_int_equal(recv(stage->peer, stage->in, 1, 0), 0);
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("s"), {NULL, 0}, mps_text("1")});
    stage_say(stage, &out);
    stage_wait_for_log(stage, "message 1 s 1\n");
    stage_hang_up(stage);
    assert_int_equal(pubsub_wait(stage->client, PATIENCE_MS), PUBSUB_ECLOSED);
    stage_expect_log(stage, "ended\n");
}

static void large_messages_grow_the_buffer(void **state)
{
    struct stage *stage = *state;
    static uint8_t buf[400000], payload[300000];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    char text[256];
    struct pubsub_options options = stage_options(stage);
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_OK);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 300000);
    stage_wait_for_log(stage, "connected\n");
    const struct pubsub_subscribe_options sub = stage_callbacks(stage);
    assert_int_equal(pubsub_subscribe(stage->client, "s", &sub, NULL), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 s, ");
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("s"), {NULL, 0}, {payload, sizeof payload}});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("s"), {NULL, 0}, {payload, 5}});
    size_t sent = 0;
    int64_t until = stage_now_ms() + PATIENCE_MS;
    while (sent < out.len && stage_now_ms() < until) {
        ssize_t n = send(stage->peer, buf + sent, out.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) sent += (size_t)n;
        assert_true(pubsub_wait(stage->client, 0) >= 0);
    }
    stage_wait_for_log(stage, "message 1 s 300000\nmessage 1 s 5\n");
}

static void close_waits_for_the_brokers_bye(void **state)
{
    struct stage *stage = *state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    stage->peer = pair[1];
    stage_say_welcome(stage, 10, 1000);
    char url[16], text[256];
    snprintf(url, sizeof url, "fd:%d", pair[0]);
    struct pubsub_options options = stage_options(stage);
    options.url = url;
    options.retry_first = false;
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_OK);
    stage_expect_log(stage, "connected\n");
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    pubsub_wait(stage->client, 0);
    stage_publish(stage, "b", PUBSUB_ACK_NONE);
    stage_say_puback(stage, 1, 0);
    stage_say_bye(stage, 0);
    pubsub *client = stage->client;
    stage->client = NULL;
    pubsub_close(client, PATIENCE_MS);
    stage_expect_log(stage, "puback 1..1 0\n"); /* and nothing of states */
    stage_expect_frames(stage, "HELLO, acked a, b, BYE, ");
    assert_int_equal(recv(stage->peer, stage->in, 1, 0), 0);
}

static void first_connection_fails_with_a_reason(void **state)
{
    struct stage *stage = *state;
    char text[256] = "";
    struct pubsub_options options = stage_options(stage);
    pubsub *client = NULL;
    options.retry_first = false;
    options.connect_ms = 50;
    assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_ECONNECT); /* nobody says WELCOME */
    assert_non_null(strstr(text, "no answer within 50 ms"));
    char path[96];
    snprintf(path, sizeof path, "%s/s", stage->dir);
    unlink(path);
    assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_ECONNECT);
    assert_non_null(strstr(text, "No such file"));
    options.url = "tcp://nowhere";
    assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_EINVAL);
    assert_non_null(strstr(text, "the port is missing"));
    options.url = "fd:0x";
    assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_EINVAL);
    options.url = stage->url;
    options.client_id = "a/b";
    assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_EINVAL);
    assert_null(client);
    stage_expect_log(stage, "");
}

static void open_with_keepalive(struct stage *stage, uint32_t keepalive_s)
{
    char text[256] = "";
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    struct pubsub_options options = stage_options(stage);
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_OK);
    stage_accept(stage);
    mps_encode_welcome(&out, &(struct mps_welcome){.version = 1, .id = mps_text("given"), .ka_s = keepalive_s});
    stage_say(stage, &out);
    stage_wait_for_log(stage, "connected\n");
}

static void silent_connection_is_lost(void **state)
{
    struct stage *stage = *state;
    int64_t start = stage_now_ms(); /* before its clock begins */
    open_with_keepalive(stage, 1);
    stage_expect_frames(stage, "PING, ");
    assert_true(stage_now_ms() - start >= 400);
    stage_wait_for_log(stage, "lost\n"); /* no PONG came */
    assert_true(stage_now_ms() - start >= 1400);
}

/* On a slow line a message takes longer than the keepalive, and the PING waits behind it. */
static void slow_connection_is_lost_when_nothing_moves(void **state)
{
    struct stage *stage = *state;
    static char payload[1 << 20], taken[1 << 16];
    open_with_keepalive(stage, 4); /* so long that a pause of this process is not taken for silence */
    for (int i = 0; i < 3; i++)
        assert_int_equal(pubsub_publish(stage->client, "t", payload, sizeof payload, NULL, NULL), PUBSUB_OK);
    for (int64_t start = stage_now_ms(); stage_now_ms() - start < 9000;) {
        assert_true(recv(stage->peer, taken, sizeof taken, 0) > 0);
        assert_true(pubsub_wait(stage->client, 400) >= 0);
    }
    stage_expect_log(stage, "");
    stage_wait_for_log(stage, "lost\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(deliveries_become_callbacks),
        TEST(everything_is_taken_up_again),
        TEST(window_and_flush),
        TEST(full_outbox_refuses_or_waits),
        TEST(waiting_for_room_ends_with_the_room),
        TEST(byes_end_or_reconnect),
        TEST(broken_broker_ends_it),
        TEST(early_puback_ends_it),
        TEST(shutdown_keeps_reading),
        TEST(large_messages_grow_the_buffer),
        TEST(close_waits_for_the_brokers_bye),
        TEST(first_connection_fails_with_a_reason),
        TEST(silent_connection_is_lost),
        TEST(slow_connection_is_lost_when_nothing_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
