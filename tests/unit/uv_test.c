/* The client on a libuv loop: that all it does goes on there, and that it never blocks it. */
#include "uv_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <pubsub/tls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void say_messages(struct stage *stage, int count)
{
    uint8_t buf[4096];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    for (int i = 0; i < count; i++)
        mps_encode_msg(&out, &(struct mps_msg){mps_text("a"), {NULL, 0}, mps_text("hello")});
    stage_say(stage, &out);
}

static void subscribe(struct stage *stage)
{
    const struct pubsub_subscribe_options options = stage_callbacks(stage);
    assert_int_equal(pubsub_subscribe(stage->client, "a", &options, NULL), PUBSUB_OK);
}

/* ---- what goes both ways -------------------------------------------------------------------------------------- */

static void on_time_publish(uv_timer_t *timer)
{
    stage_publish(timer->data, "b", PUBSUB_ACK_ROUTED);
}

/* From a callback of somebody else's, of which the client knows nothing. */
static void what_is_published_anywhere_leaves(void **state)
{
    struct stage *stage = *state;
    static uv_timer_t timer;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    uv_timer_init(&on_loop.loop, &timer);
    timer.data = stage;
    for (int i = 1; i <= 3; i++) {
        uv_timer_start(&timer, on_time_publish, 1, 0);
        stage_expect_frames(stage, "acked b, ");
        stage_say_puback(stage, (uint64_t)i, 0);
        char expected[64];
        snprintf(expected, sizeof expected, "puback %d..%d 0\n", i, i);
        stage_wait_for_log(stage, expected);
    }
    uv_close((uv_handle_t *)&timer, NULL);
}

static void messages_arrive_also_after_a_reconnect(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    subscribe(stage);
    stage_expect_frames(stage, "SUB 1 a, ");
    say_messages(stage, 1);
    stage_wait_for_log(stage, "message 1 a 5\n");
    for (int i = 0; i < 20; i++) {
        stage_hang_up(stage);
        stage_wait_for_log(stage, "lost\n");
        stage_accept(stage);
        stage_say_welcome(stage, 10, 1000);
        stage_wait_for_log(stage, "again\n");
        stage_expect_frames(stage, "SUB 1 a, ");
        say_messages(stage, 2);
        stage_wait_for_log(stage, "message 1 a 5\nmessage 1 a 5\n");
    }
}

/* More than a socket takes, so that it has to be waited for: for the output of the client and of the broker. */
static void large_output_goes_on_when_there_is_room(void **state)
{
    struct stage *stage = *state;
    static char payload[60000];
    const struct pubsub_options options = stage_options(stage);
    uv_stage_init(stage, &options);
    stage_accept(stage);
    stage_say_welcome(stage, 100, 1 << 20);
    stage_wait_for_log(stage, "connected\n");
    char expected[512] = "";
    for (int i = 0; i < 50; i++) {
        assert_int_equal(pubsub_publish(stage->client, "big", payload, sizeof payload, NULL, NULL), PUBSUB_OK);
        strcat(expected, "big, ");
    }
    for (int i = 0; i < 10; i++) stage->work(stage, 1); /* nobody reads */
    assert_true(pubsub_outbox_bytes(stage->client) > 0);
    stage_expect_frames(stage, expected);
    assert_int_equal(pubsub_outbox_bytes(stage->client), 0);
}

/* Nothing else wakes the loop when the broker has read. */
static void room_for_output_wakes_the_loop(void **state)
{
    struct stage *stage = *state;
    static char payload[60000], read[1 << 16];
    const struct pubsub_options options = stage_options(stage);
    uv_stage_init(stage, &options);
    stage_accept(stage);
    stage_say_welcome(stage, 100, 1 << 20);
    stage_wait_for_log(stage, "connected\n");
    for (int i = 0; i < 50; i++)
        assert_int_equal(pubsub_publish(stage->client, "big", payload, sizeof payload, NULL, NULL), PUBSUB_OK);
    for (int i = 0; i < 10; i++) stage->work(stage, 1);
    assert_true(pubsub_outbox_bytes(stage->client) > 0);
    while (pubsub_outbox_bytes(stage->client) > 0) {
        while (recv(stage->peer, read, sizeof read, MSG_DONTWAIT) > 0) continue;
        int64_t start = stage_now_ms();
        stage->work(stage, PATIENCE_MS);
        assert_true(stage_now_ms() - start < PATIENCE_MS / 2);
    }
}

static void a_full_outbox_refuses(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    options.outbox_bytes = 2000;
    options.outbox_policy = PUBSUB_OUTBOX_WAIT;
    uv_stage_init(stage, &options);
    int rc = PUBSUB_OK;
    for (int i = 0; i < 1000 && rc == PUBSUB_OK; i++)
        rc = pubsub_publish(stage->client, "t", "0123456789", 10, NULL, NULL);
    assert_int_equal(rc, PUBSUB_EAGAIN);
}

static void on_taken(uv_poll_t *poll, int status, int events)
{
    (void)poll, (void)status, (void)events;
}

static void a_descriptor_that_libuv_refuses_is_looked_after(void **state)
{
    struct stage *stage = *state;
    int pair[2];
    static uv_poll_t taken;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(uv_poll_init(&on_loop.loop, &taken, pair[0]), 0);
    assert_int_equal(uv_poll_start(&taken, UV_DISCONNECT, on_taken), 0); /* so libuv has it already */
    struct pubsub_options options = stage_options(stage);
    snprintf(stage->url, sizeof stage->url, "fd:%d", pair[0]);
    uv_stage_init(stage, &options);
    stage->peer = pair[1];
    stage_expect_frames(stage, "HELLO, ");
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "connected\n");
    subscribe(stage);
    stage_expect_frames(stage, "SUB 1 a, ");
    say_messages(stage, 1);
    stage_wait_for_log(stage, "message 1 a 5\n");
    uv_close((uv_handle_t *)&taken, NULL);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

static void names_are_looked_up_beside_the_loop(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    assert_int_equal(uv_stage_lookups(), 1);
    stage_hang_up(stage);
    stage_wait_for_log(stage, "lost\n");
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "again\n");
    assert_int_equal(uv_stage_lookups(), 2);
}

/* The second descriptor has the number of the first: what libuv knew of that must be gone. */
static void the_next_address_is_tried(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    snprintf(stage->url, sizeof stage->url, "tcp://two.test:%d", on_loop.port);
    uv_stage_connect(stage, &options);
    subscribe(stage);
    stage_expect_frames(stage, "SUB 1 a, ");
}

static bool is_asking(void)
{
    return uv_stage_lookups() > 0;
}

static void on_count(uv_timer_t *timer)
{
    ++*(int *)timer->data;
}

static void the_loop_turns_during_a_slow_lookup(void **state)
{
    struct stage *stage = *state;
    static uv_timer_t timer;
    static int count;
    const struct pubsub_options options = stage_options(stage);
    snprintf(stage->url, sizeof stage->url, "tcp://slow.test:%d", on_loop.port);
    uv_stage_gate(false);
    uv_stage_init(stage, &options);
    uv_timer_init(&on_loop.loop, &timer);
    timer.data = &count;
    uv_timer_start(&timer, on_count, 1, 1);
    uv_stage_until(stage, is_asking);
    count = 0;
    for (int64_t until = stage_now_ms() + PATIENCE_MS; count < 10 && stage_now_ms() < until;) stage->work(stage, 1);
    assert_true(count >= 10);
    uv_stage_gate(true);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "connected\n");
    uv_close((uv_handle_t *)&timer, NULL);
}

static int failures_left;
static pubsub *watched;

static bool has_failed(void)
{
    return strstr(pubsub_error(watched), "its name was not resolved within 5 ms") != NULL;
}

/* A resolver that hangs is asked once, however often the client gives up, and heard when it answers at last. */
static void a_lookup_may_take_longer_than_an_attempt(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    snprintf(stage->url, sizeof stage->url, "tcp://slow.test:%d", on_loop.port);
    options.connect_ms = 5;
    uv_stage_gate(false);
    uv_stage_init(stage, &options);
    watched = stage->client;
    uv_stage_until(stage, has_failed);
    uv_stage_until(stage, is_asking);
    for (int64_t until = stage_now_ms() + 100; stage_now_ms() < until;) stage->work(stage, 5); /* many attempts */
    assert_int_equal(uv_stage_lookups(), 1);
    uv_stage_gate(true);
    int64_t until = stage_now_ms() + PATIENCE_MS;
    int fd = -1; /* 5 ms may be too short for it, then it comes again; that it comes at all is what matters */
    while ((fd = accept(stage->listener, NULL, NULL)) < 0 && stage_now_ms() < until) stage->work(stage, 1);
    assert_true(fd >= 0);
    close(fd);
}

/* Each of several names takes longer than an attempt: what is said of one is heard although another one was asked for.
 */
static void lookups_of_several_names_may_take_longer_than_an_attempt(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    snprintf(stage->url, sizeof stage->url, "tcp://late.test:%d,tcp://late-too.test:%d", on_loop.port, on_loop.port);
    options.connect_ms = 20;
    options.reconnect_min_ms = options.reconnect_max_ms = 1;
    uv_stage_init(stage, &options);
    int64_t until = stage_now_ms() + PATIENCE_MS;
    int fd = -1;
    while ((fd = accept(stage->listener, NULL, NULL)) < 0 && stage_now_ms() < until) stage->work(stage, 1);
    assert_true(fd >= 0);
    close(fd);
}

static bool has_failed_often(void)
{
    return uv_stage_lookups() >= failures_left;
}

static void names_that_do_not_exist_are_tried_again(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    snprintf(stage->url, sizeof stage->url, "tcp://none.invalid:%d", on_loop.port);
    uv_stage_init(stage, &options);
    failures_left = 3;
    uv_stage_until(stage, has_failed_often);
    assert_string_equal(stage->log, "");
    char expected[128];
    snprintf(expected, sizeof expected, "cannot connect to tcp://none.invalid:%d: unknown node or service",
             on_loop.port);
    assert_string_equal(pubsub_error(stage->client), expected);
}

/* libuv itself refuses to ask for it. */
static void names_that_cannot_be_asked_for_are_no_names(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    snprintf(stage->url, sizeof stage->url, "tcp://\xff.test:%d", on_loop.port);
    uv_stage_init(stage, &options);
    for (int i = 0; i < 20; i++) stage->work(stage, 1);
    assert_int_equal(uv_stage_lookups(), 0);
    assert_non_null(strstr(pubsub_error(stage->client), ": invalid argument"));
}

/* ---- TLS: a table that buffers what it reads, and asks for writing first ------------------------------------------
 */

struct session {
    int fd, handshakes_left;
    uint8_t in[4096];
    size_t begin, end;
};

static void *tls_open(void *context, int fd, const char *host, char *text, size_t text_cap)
{
    (void)context, (void)host, (void)text, (void)text_cap;
    struct session *session = calloc(1, sizeof *session);
    session->fd = fd;
    session->handshakes_left = 3;
    return session;
}

static int tls_handshake(void *given)
{
    struct session *session = given;
    return session->handshakes_left-- > 0 ? PUBSUB_TLS_WANT_WRITE : 0;
}

static ptrdiff_t tls_read(void *given, void *at, size_t len)
{
    struct session *session = given;
    if (session->begin == session->end) {
        ssize_t n = recv(session->fd, session->in, sizeof session->in, 0);
        if (n < 0 && errno == EAGAIN) return PUBSUB_TLS_WANT_READ;
        if (n <= 0) return PUBSUB_TLS_FAILED;
        session->begin = 0;
        session->end = (size_t)n;
    }
    size_t take = session->end - session->begin < 5 ? session->end - session->begin : 5;
    if (take > len) take = len;
    memcpy(at, session->in + session->begin, take);
    session->begin += take;
    return (ptrdiff_t)take;
}

static ptrdiff_t tls_write(void *given, const void *bytes, size_t len)
{
    ssize_t n = send(((struct session *)given)->fd, bytes, len, MSG_NOSIGNAL);
    if (n > 0) return n;
    return n < 0 && errno == EAGAIN ? PUBSUB_TLS_WANT_WRITE : PUBSUB_TLS_FAILED;
}

static int tls_end(void *session)
{
    (void)session;
    return 0;
}

static const char *tls_error(void *session)
{
    (void)session;
    return "cut off";
}

static const struct pubsub_tls tls = {NULL, tls_open, tls_handshake, tls_read, tls_write, tls_end, tls_error, free};

/* What the session has read already makes no descriptor readable: the loop has to come back for it. */
static void buffered_input_of_tls_is_handled(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    snprintf(stage->url, sizeof stage->url, "tls://broker.test:%d", on_loop.port);
    options.tls = &tls;
    uv_stage_connect(stage, &options);
    subscribe(stage);
    stage_publish(stage, "b", PUBSUB_ACK_NONE);
    stage_expect_frames(stage, "SUB 1 a, b, ");
    char expected[1024] = "";
    for (int i = 0; i < 50; i++) strcat(expected, "message 1 a 5\n");
    say_messages(stage, 50);
    stage_wait_for_log(stage, expected);
}

/* ---- the loop's life ----------------------------------------------------------------------------------------------
 */

static void wrong_options_leave_nothing_behind(void **state)
{
    struct stage *stage = *state;
    char text[256] = "";
    struct pubsub_uv bus;
    struct pubsub_options options = stage_options(stage);
    options.url = "http://example.org";
    assert_int_equal(pubsub_uv_init(&on_loop.loop, &bus, &options, text, sizeof text), PUBSUB_EINVAL);
    assert_non_null(strstr(text, "bad URL 'http://example.org'"));
    int pipe_ends[2]; /* no socket: is found out while it is being opened */
    assert_int_equal(pipe(pipe_ends), 0);
    snprintf(stage->url, sizeof stage->url, "fd:%d", pipe_ends[0]);
    options.url = stage->url;
    assert_int_equal(pubsub_uv_init(&on_loop.loop, &bus, &options, text, sizeof text), PUBSUB_ECONNECT);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    assert_int_equal(uv_loop_alive(&on_loop.loop), 0);
}

static void the_loop_ends_with_the_connection(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    stage_say_bye(stage, MPS_TAKEN_OVER);
    uv_run(&on_loop.loop, UV_RUN_DEFAULT); /* returns */
    stage_expect_log(stage, "lost\nended\n");
    assert_int_equal(pubsub_publish(stage->client, "t", NULL, 0, NULL, NULL), PUBSUB_ETAKEN);
}

static void the_loop_ends_without_those_that_do_not_count(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    pubsub_uv_unref(on_loop.bus);
    uv_run(&on_loop.loop, UV_RUN_DEFAULT); /* returns */
    pubsub_uv_ref(on_loop.bus);
    assert_int_equal(uv_loop_alive(&on_loop.loop), 1);
    pubsub_uv_unref(on_loop.bus);
    pubsub_uv_close(on_loop.bus, 0, uv_stage_on_closed);
    uv_run(&on_loop.loop, UV_RUN_DEFAULT);
    assert_int_equal(on_loop.closed_count, 1);
}

static int wakes;

static void on_check(uv_check_t *check)
{
    (void)check;
    wakes++;
}

/* A connection on which nothing happens costs nothing. */
static void an_idle_connection_does_not_wake_the_loop(void **state)
{
    struct stage *stage = *state;
    static uv_check_t check;
    const struct pubsub_options options = stage_options(stage);
    uv_stage_connect(stage, &options);
    for (int i = 0; i < 5; i++) stage->work(stage, 1);
    uv_check_init(&on_loop.loop, &check);
    uv_check_start(&check, on_check);
    wakes = 0;
    for (int i = 0; i < 3; i++) stage->work(stage, 50);
    assert_in_range(wakes, 1, 6); /* that of the test's own timer, and one to spare each */
    uv_close((uv_handle_t *)&check, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, uv_stage_set_up, uv_stage_tear_down)
#define TEST_TCP(name) cmocka_unit_test_setup_teardown(name, uv_stage_set_up_tcp, uv_stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_published_anywhere_leaves),
        TEST(messages_arrive_also_after_a_reconnect),
        TEST(large_output_goes_on_when_there_is_room),
        TEST(room_for_output_wakes_the_loop),
        TEST(a_full_outbox_refuses),
        TEST(a_descriptor_that_libuv_refuses_is_looked_after),
        TEST_TCP(names_are_looked_up_beside_the_loop),
        TEST_TCP(the_next_address_is_tried),
        TEST_TCP(the_loop_turns_during_a_slow_lookup),
        TEST_TCP(a_lookup_may_take_longer_than_an_attempt),
        TEST_TCP(lookups_of_several_names_may_take_longer_than_an_attempt),
        TEST_TCP(names_that_do_not_exist_are_tried_again),
        TEST_TCP(names_that_cannot_be_asked_for_are_no_names),
        TEST_TCP(buffered_input_of_tls_is_handled),
        TEST(wrong_options_leave_nothing_behind),
        TEST(the_loop_ends_with_the_connection),
        TEST(the_loop_ends_without_those_that_do_not_count),
        TEST(an_idle_connection_does_not_wake_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
