/* Closing a client on a libuv loop: at any moment, from anywhere. The memory is freed in the close callback. */
#include "uv_stage.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void close_now(void)
{
    pubsub_uv_close(on_loop.bus, 0, uv_stage_on_closed);
}

/* The callback comes from the loop, once, and nothing comes after it. */
static void expect_closed(struct stage *stage, const char *log)
{
    stage->client = NULL;
    uv_stage_until(stage, uv_stage_is_closed);
    for (int i = 0; i < 3; i++) stage->work(stage, 1);
    assert_int_equal(on_loop.closed_count, 1);
    stage_expect_log(stage, log);
}

/* ---- in each state of the connection -------------------------------------------------------------------------- */

static void right_after_it_was_opened(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_init(stage, &options);
    close_now();
    assert_int_equal(on_loop.closed_count, 0); /* not before the loop is back */
    assert_true(pubsub_uv_is_closing(on_loop.bus));
    assert_int_equal(pubsub_publish(stage->client, "t", NULL, 0, NULL, NULL), PUBSUB_ECLOSED);
    expect_closed(stage, "");
}

static bool is_asking(void)
{
    return uv_stage_lookups() > 0;
}

static void during_a_lookup(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    snprintf(stage->url, sizeof stage->url, "tcp://slow.test:%d", on_loop.port);
    uv_stage_gate(false);
    uv_stage_init(stage, &options);
    uv_stage_until(stage, is_asking);
    close_now();
    expect_closed(stage, ""); /* although the resolver hangs */
    uv_stage_gate(true);
    uv_run(&on_loop.loop, UV_RUN_DEFAULT); /* its answer finds nobody */
}

static void on_work(uv_work_t *request)
{
    uv_sem_wait(request->data);
}

static void on_worked(uv_work_t *request, int status)
{
    (void)request, (void)status;
}

/* All of libuv's threads are busy: the lookup waits for one, and is taken back. */
static void before_a_lookup_has_begun(void **state)
{
    struct stage *stage = *state;
    static uv_work_t busy[128]; /* libuv has 4 threads, or as many as the environment says */
    uv_sem_t go;
    const struct pubsub_options options = stage_options(stage);
    uv_sem_init(&go, 0);
    for (size_t i = 0; i < 128; i++) {
        busy[i].data = &go;
        uv_queue_work(&on_loop.loop, &busy[i], on_work, on_worked);
    }
    uv_stage_init(stage, &options);
    stage->work(stage, 1);
    close_now();
    expect_closed(stage, "");
    for (size_t i = 0; i < 128; i++) uv_sem_post(&go);
    uv_run(&on_loop.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_stage_lookups(), 0);
    uv_sem_destroy(&go);
}

/* The broker's queue of connections is full: nothing answers. */
static void while_it_connects(void **state)
{
    struct stage *stage = *state;
    int fill[16];
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)on_loop.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct pubsub_options options = stage_options(stage);
    assert_int_equal(listen(stage->listener, 0), 0);
    for (size_t i = 0; i < 16; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fill[i], (const struct sockaddr *)&address, sizeof address);
    }
    snprintf(stage->url, sizeof stage->url, "tcp://127.0.0.1:%d", on_loop.port);
    uv_stage_init(stage, &options);
    for (int i = 0; i < 3; i++) stage->work(stage, 1);
    close_now();
    expect_closed(stage, "");
    for (size_t i = 0; i < 16; i++) close(fill[i]);
}

static void before_the_welcome(void **state)
{
    struct stage *stage = *state;
    char byte;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_init(stage, &options);
    stage_accept(stage);
    close_now();
    expect_closed(stage, "");
    assert_int_equal(recv(stage->peer, &byte, 1, 0), 0);
}

static void when_it_is_connected(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    stage_publish(stage, "b", PUBSUB_ACK_NONE);
    close_now();
    expect_closed(stage, "");
    stage_expect_frames(stage, "b, BYE, "); /* what can be written at once is */
}

static bool is_tired(void)
{
    return uv_stage_lookups() >= 3;
}

static void between_attempts(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    snprintf(stage->url, sizeof stage->url, "tcp://none.invalid:%d", on_loop.port);
    uv_stage_init(stage, &options);
    uv_stage_until(stage, is_tired);
    close_now();
    expect_closed(stage, "");
}

static void after_its_end(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    stage_say_bye(stage, MPS_TAKEN_OVER);
    stage_wait_for_log(stage, "lost\nended\n");
    uv_run(&on_loop.loop, UV_RUN_DEFAULT);
    close_now();
    uv_run(&on_loop.loop, UV_RUN_DEFAULT);
    expect_closed(stage, "");
}

/* ---- from inside ---------------------------------------------------------------------------------------------- */

static void on_message_close(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)client, (void)message;
    stage_note(user, "message\n");
    close_now();
    assert_int_equal(on_loop.closed_count, 0);
}

static void in_a_message(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[512];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    struct pubsub_subscribe_options subscription = stage_callbacks(stage);
    subscription.on_message = on_message_close;
    assert_int_equal(pubsub_subscribe(stage->client, "a", &subscription, NULL), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 a, ");
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    for (int i = 0; i < 3; i++) mps_encode_msg(&out, &(struct mps_msg){mps_text("a"), {NULL, 0}, mps_text("x")});
    stage_say(stage, &out);
    expect_closed(stage, "message\n"); /* and the others are thrown away */
    stage_expect_frames(stage, "BYE, ");
}

static enum pubsub_state close_at;

static void on_state_close(pubsub *client, enum pubsub_state now, const char *text, void *user)
{
    (void)client, (void)text;
    stage_note(user, "state %d\n", (int)now);
    if (now == close_at) close_now();
}

static struct pubsub_options closing_options(struct stage *stage, enum pubsub_state at)
{
    struct pubsub_options options = stage_options(stage);
    close_at = at;
    options.on_state = on_state_close;
    return options;
}

static void when_it_hears_that_it_is_connected(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = closing_options(stage, PUBSUB_CONNECTED);
    uv_stage_init(stage, &options);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    expect_closed(stage, "state 1\n");
    stage_expect_frames(stage, "BYE, ");
}

static void when_it_hears_that_it_is_lost(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = closing_options(stage, PUBSUB_LOST);
    uv_stage_init(stage, &options);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "state 1\n");
    stage_hang_up(stage);
    expect_closed(stage, "state 2\n");
}

static void when_it_hears_that_it_has_ended(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = closing_options(stage, PUBSUB_ENDED);
    uv_stage_init(stage, &options);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "state 1\n");
    stage_say_bye(stage, MPS_TAKEN_OVER);
    expect_closed(stage, "state 2\nstate 4\n");
}

static void on_reply_close(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user)
{
    (void)client, (void)request;
    assert_null(reply);
    stage_note(user, "reply %d\n", status);
    close_now(); /* again */
}

static void with_a_request_that_waits(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    stage->inbox = "$inbox/x/";
    uv_stage_connect(stage, &options);
    const struct pubsub_request_options request = {
        .on_reply = on_reply_close, .user = stage, .timeout_ms = PATIENCE_MS};
    assert_int_equal(pubsub_request(stage->client, "ask", NULL, 0, &request, NULL), PUBSUB_OK);
    close_now();
    char expected[32];
    snprintf(expected, sizeof expected, "reply %d\n", PUBSUB_ECLOSED);
    expect_closed(stage, expected);
}

/* ---- with time to spare --------------------------------------------------------------------------------------- */

static void what_was_published_leaves_first(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_init(stage, &options);
    stage_accept(stage);
    stage_say_welcome(stage, 1, 1000);
    stage_wait_for_log(stage, "connected\n");
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    stage_publish(stage, "b", PUBSUB_ACK_ROUTED); /* the window is full before a is acknowledged */
    pubsub_uv_close(on_loop.bus, PATIENCE_MS, uv_stage_on_closed);
    stage_expect_frames(stage, "acked a, ");
    stage_say_puback(stage, 1, 0);
    stage_expect_frames(stage, "acked b, BYE, ");
    stage_say_puback(stage, 2, 0);
    for (int i = 0; i < 3; i++) stage->work(stage, 1);
    assert_int_equal(on_loop.closed_count, 0);
    stage_say_bye(stage, 0);
    expect_closed(stage, "puback 1..1 0\npuback 2..2 0\n");
}

static void a_silent_broker_is_not_waited_for_longer(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    int64_t start = stage_now_ms();
    pubsub_uv_close(on_loop.bus, 50, uv_stage_on_closed);
    expect_closed(stage, "");
    assert_true(stage_now_ms() - start >= 48); /* libuv's clock may be a tick behind */
    stage_expect_frames(stage, "BYE, ");
}

static void a_connection_that_breaks_meanwhile_ends_it(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    pubsub_uv_close(on_loop.bus, PATIENCE_MS, uv_stage_on_closed);
    stage_hang_up(stage);
    int64_t start = stage_now_ms();
    expect_closed(stage, "");
    assert_true(stage_now_ms() - start < PATIENCE_MS);
}

static void on_closed_never(struct pubsub_uv *bus)
{
    (void)bus;
    fail();
}

static void closing_again_only_hurries(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    pubsub_uv_close(on_loop.bus, PATIENCE_MS, uv_stage_on_closed);
    pubsub_uv_close(on_loop.bus, 10 * PATIENCE_MS, on_closed_never);
    stage_expect_frames(stage, "BYE, ");
    assert_int_equal(on_loop.closed_count, 0);
    pubsub_uv_close(on_loop.bus, 0, on_closed_never);
    expect_closed(stage, "");
}

/* ---- the memory ------------------------------------------------------------------------------------------------- */

static struct pubsub_options again_options;
static int again_count;

static void on_closed_again(struct pubsub_uv *bus)
{
    char text[256];
    assert_ptr_equal(bus, on_loop.bus);
    again_count++;
    assert_int_equal(pubsub_uv_init(&on_loop.loop, bus, &again_options, text, sizeof text), PUBSUB_OK);
}

static bool is_open_again(void)
{
    return again_count > 0;
}

static void the_memory_can_be_used_again_at_once(void **state)
{
    struct stage *stage = *state;
    again_options = stage_options(stage);
    again_count = 0;
    uv_stage_connect(stage, &again_options);
    pubsub_uv_close(on_loop.bus, 0, on_closed_again);
    uv_stage_until(stage, is_open_again);
    stage_expect_frames(stage, "BYE, ");
    close(stage->peer);
    stage->client = pubsub_uv_client(on_loop.bus);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "connected\n");
    assert_int_equal(again_count, 1);
}

static void nobody_needs_to_hear_of_it(void **state)
{
    struct stage *stage = *state;
    static struct pubsub_uv bus;
    char text[256];
    const struct pubsub_options options = stage_options(stage);
    assert_int_equal(pubsub_uv_init(&on_loop.loop, &bus, &options, text, sizeof text), PUBSUB_OK);
    pubsub_uv_close(&bus, 0, NULL);
    uv_run(&on_loop.loop, UV_RUN_DEFAULT);
    assert_null(pubsub_uv_client(&bus));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, uv_stage_set_up, uv_stage_tear_down)
#define TEST_TCP(name) cmocka_unit_test_setup_teardown(name, uv_stage_set_up_tcp, uv_stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(right_after_it_was_opened),
        TEST_TCP(during_a_lookup),
        TEST_TCP(before_a_lookup_has_begun),
        TEST_TCP(while_it_connects),
        TEST(before_the_welcome),
        TEST(when_it_is_connected),
        TEST_TCP(between_attempts),
        TEST(after_its_end),
        TEST(in_a_message),
        TEST(when_it_hears_that_it_is_connected),
        TEST(when_it_hears_that_it_is_lost),
        TEST(when_it_hears_that_it_has_ended),
        TEST(with_a_request_that_waits),
        TEST(what_was_published_leaves_first),
        TEST(a_silent_broker_is_not_waited_for_longer),
        TEST(a_connection_that_breaks_meanwhile_ends_it),
        TEST(closing_again_only_hurries),
        TEST(the_memory_can_be_used_again_at_once),
        TEST(nobody_needs_to_hear_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
