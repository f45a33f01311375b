/* What makes a client's waiting end: pubsub_wake(), from a signal's handler too. */
#include "client_stage.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

static pubsub *woken;

static void on_alarm(int signal)
{
    (void)signal;
    pubsub_wake(woken);
}

/* From now on, every millisecond. */
static void start_alarms(pubsub *client)
{
    woken = client;
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 1000}, {0, 1000}}, NULL);
}

static void stop_alarms(void)
{
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    signal(SIGALRM, SIG_IGN);
}

static void test_waking_before_the_wait(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    options.wakes = true;
    stage_open(stage, options, 10);
    assert_int_equal(pubsub_wake(stage->client), PUBSUB_OK);
    assert_int_equal(pubsub_wake(stage->client), PUBSUB_OK);
    assert_int_equal(pubsub_wait(stage->client, -1), 0);
    assert_int_equal(pubsub_wake(stage->client), PUBSUB_OK);
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    assert_int_equal(pubsub_flush(stage->client, -1), PUBSUB_EINTR);
    assert_string_equal(pubsub_error(stage->client), "interrupted by a signal or a wake");
    int64_t before = stage_now_ms();
    assert_int_equal(pubsub_wait(stage->client, 20), 0); /* it was taken: this one waits */
    assert_true(stage_now_ms() - before >= 19);
    stage_say_puback(stage, 1, MPS_OK);
    stage_wait_for_log(stage, "puback 1..1 0\n");
    assert_int_equal(pubsub_wake(stage->client), PUBSUB_OK);
    stage_say_bye(stage, MPS_TAKEN_OVER); /* waking hides nothing */
    while (pubsub_wait(stage->client, -1) >= 0) continue;
    stage_expect_log(stage, "lost\nended\n");
}

static void test_waking_between_connections(void **state)
{
    struct stage *stage = *state;
    char nowhere[128];
    snprintf(nowhere, sizeof nowhere, "unix:%s/none", stage->dir);
    struct pubsub_options options = {
        .url = nowhere, .wakes = true, .retry_first = true, .reconnect_min_ms = 10 * PATIENCE_MS, .outbox_bytes = 100};
    options.reconnect_max_ms = options.reconnect_min_ms;
    assert_int_equal(pubsub_open(&stage->client, &options, NULL, 0), PUBSUB_OK);
    const uint8_t payload[90] = {0};
    assert_int_equal(pubsub_publish(stage->client, "a", payload, sizeof payload, NULL, NULL), PUBSUB_OK);
    start_alarms(stage->client);
    int rc = pubsub_publish(stage->client, "a", payload, sizeof payload, NULL, NULL);
    int asked =
        pubsub_request(stage->client, "a", payload, 1,
                       &(struct pubsub_request_options){
                           .timeout_ms = 10 * PATIENCE_MS,
                           .on_reply = (void (*)(pubsub *, uint64_t, const struct pubsub_message *, int, void *))abort},
                       NULL);
    stop_alarms();
    assert_int_equal(rc, PUBSUB_EINTR);
    assert_string_equal(pubsub_error(stage->client), "interrupted by a signal or a wake");
    assert_int_equal(asked, PUBSUB_EINTR);
}

static void test_waking_a_loop_of_ones_own(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    options.wakes = true;
    stage_open(stage, options, 10);
    struct pollfd pfds[2] = {{.fd = pubsub_fd(stage->client), .events = pubsub_poll_events(stage->client)},
                             {.fd = pubsub_wake_fd(stage->client), .events = POLLIN}};
    assert_int_equal(poll(pfds, 2, 0), 0);
    errno = EXDEV;
    assert_int_equal(pubsub_wake(stage->client), PUBSUB_OK);
    assert_int_equal(errno, EXDEV);
    assert_int_equal(poll(pfds, 2, -1), 1);
    assert_int_equal(pfds[1].revents, POLLIN);
    assert_int_equal(pubsub_process(stage->client), 0);
    assert_int_equal(poll(pfds, 2, 0), 0);
    assert_int_equal(pubsub_wake_fd(stage->client), pfds[1].fd);
}

static void test_waking_has_to_be_asked_for(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, stage_options(stage), 10);
    assert_int_equal(pubsub_wake(stage->client), PUBSUB_EINVAL);
    assert_int_equal(pubsub_wake_fd(stage->client), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_waking_before_the_wait),
        TEST(test_waking_between_connections),
        TEST(test_waking_a_loop_of_ones_own),
        TEST(test_waking_has_to_be_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
