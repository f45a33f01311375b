/* What a client does with messages that can't be sent: what a full outbox drops, and what a file keeps of them. */
#include "keep_stage.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- dropping ---------------------------------------------------------------------------------------------------- */

/* With room for two such messages. */
static struct pubsub_options dropping(struct stage *stage)
{
    struct pubsub_options options = stage_options(stage);
    options.outbox_policy = PUBSUB_OUTBOX_DROP_OLD;
    options.outbox_bytes = 800;
    options.on_dropped = on_dropped;
    return options;
}

static void test_the_oldest_are_dropped_and_told(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = dropping(stage);
    open_client(stage, &options);
    for (char letter = 'a'; letter <= 'f'; letter++)
        assert_int_equal(publish_letter(stage, letter, letter == 'b' ? PUBSUB_ACK_NONE : PUBSUB_ACK_ROUTED), PUBSUB_OK);
    stage_expect_log(stage, "dropped 1 1..1\ndropped 1 0..0\ndropped 1 2..2\ndropped 1 3..3\n");
    welcome(stage, "connected\n");
    stage_expect_frames(stage, "acked e, acked f, ");
    assert_int_equal(stage->first_pid, 4);
    stage_say_puback(stage, 5, MPS_OK);
    stage_wait_for_log(stage, "puback 4..5 0\n");
}

static void on_dropped_publish(pubsub *client, const struct pubsub_dropped *dropped, void *user)
{
    static const uint8_t payload[300];
    on_dropped(client, dropped, user);
    assert_int_equal(pubsub_wait(client, 0), PUBSUB_EINVAL);
    int rc = pubsub_publish(client, "more", payload, sizeof payload, NULL, NULL);
    assert_int_equal(rc, PUBSUB_EAGAIN); /* else this would never end */
}

static void test_publishing_in_the_callback_drops_nothing(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = dropping(stage);
    options.on_dropped = on_dropped_publish;
    open_client(stage, &options);
    for (char letter = 'a'; letter <= 'c'; letter++)
        assert_int_equal(publish_letter(stage, letter, PUBSUB_ACK_ROUTED), PUBSUB_OK);
    stage_expect_log(stage, "dropped 1 1..1\n");
    welcome(stage, "connected\n");
    stage_expect_frames(stage, "acked b, acked c, ");
}

/* On a connection the pids of what was dropped are used up by messages that the broker refuses: nobody is told of that.
 */
static void test_dropping_on_a_connection(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = dropping(stage);
    stage_open(stage, options, 1);
    assert_int_equal(publish_letter(stage, 'a', PUBSUB_ACK_ROUTED), PUBSUB_OK);
    stage_expect_frames(stage, "acked a, ");
    for (char letter = 'b'; letter <= 'd'; letter++) /* the window is full: they wait */
        assert_int_equal(publish_letter(stage, letter, PUBSUB_ACK_ROUTED), PUBSUB_OK);
    stage_expect_log(stage, "dropped 1 2..2\ndropped 1 3..3\n");
    stage_say_puback(stage, 1, MPS_OK);
    stage_wait_for_log(stage, "puback 1..1 0\n");
    stage_expect_frames(stage, "acked +, ");
    stage_say_puback(stage, 2, MPS_BAD_TOPIC);
    stage_expect_frames(stage, "acked +, ");
    stage_say_puback(stage, 3, MPS_BAD_TOPIC);
    stage_expect_frames(stage, "acked d, ");
    stage_say_puback(stage, 4, MPS_BAD_TOPIC); /* that one is the program's */
    stage_wait_for_log(stage, "puback 4..4 210\n");
}

static void test_what_is_written_is_not_dropped(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, dropping(stage), 10);
    for (char letter = 'a'; letter <= 'b'; letter++) {
        assert_int_equal(publish_letter(stage, letter, PUBSUB_ACK_ROUTED), PUBSUB_OK);
        stage_expect_frames(stage, letter == 'a' ? "acked a, " : "acked b, ");
    }
    assert_int_equal(publish_letter(stage, 'c', PUBSUB_ACK_ROUTED), PUBSUB_EAGAIN);
    stage_expect_log(stage, "");
}

/* ---- the file: what it is for ---------------------------------------------------------------------------------- */

static void test_what_was_not_settled_survives(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    open_client(stage, &options);
    stage_publish(stage, "a", PUBSUB_ACK_STORED);
    stage_publish(stage, "lost", PUBSUB_ACK_NONE);
    stage_publish(stage, "b", PUBSUB_ACK_ROUTED);
    welcome(stage, "connected\n");
    uint64_t boot = stage->boot;
    stage_expect_frames(stage, "acked a, lost, acked b, ");
    stage_say_puback(stage, 1, MPS_OK);
    stage_wait_for_log(stage, "puback 1..1 0\n");
    stage_publish(stage, "c", PUBSUB_ACK_STORED);
    close_client(stage);
    stage->log[0] = '\0';

    open_client(stage, &options);
    assert_int_equal(pubsub_unacked(stage->client), 2);
    stage_publish(stage, "d", PUBSUB_ACK_STORED);
    welcome(stage, "connected\n");
    assert_true(stage->boot == boot && boot != 0);
    stage_expect_frames(stage, "acked b, acked c, acked d, ");
    assert_int_equal(stage->first_pid, 2);
    stage_say_puback(stage, 4, MPS_OK);
    stage_wait_for_log(stage, "puback 2..4 0\n");
    close_client(stage);
    stage->log[0] = '\0';

    stage->last_pid = 4;
    open_client(stage, &options);
    assert_int_equal(pubsub_unacked(stage->client), 0);
    uint64_t pid;
    const struct pubsub_publish_options stored = {.ack = PUBSUB_ACK_STORED};
    assert_int_equal(pubsub_publish(stage->client, "e", "x", 1, &stored, &pid), PUBSUB_OK);
    assert_int_equal(pid, 5); /* ids go on counting over restarts as well */
    welcome(stage, "connected\n");
    stage_expect_frames(stage, "acked e, ");
    assert_int_equal(stage->first_pid, 5);
}

/* The session knows more than the file: the answer got lost with the program. */
static void test_what_the_session_settled_is_forgotten(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_options options = file_options(stage);
    open_client(stage, &options);
    for (char topic[2] = "a"; topic[0] <= 'c'; topic[0]++) stage_publish(stage, topic, PUBSUB_ACK_STORED);
    close_client(stage);
    stage->last_pid = 2;
    open_client(stage, &options);
    welcome(stage, "connected\npuback 1..2 2\n");
    stage_expect_frames(stage, "acked c, ");
    close_client(stage);
    stage->log[0] = '\0';
    open_client(stage, &options);
    assert_int_equal(pubsub_unacked(stage->client), 1);
}

/* Requests use up pids, which the next program must not give to something else; but they are not its own. */
static void ignore_reply(pubsub *client, uint64_t request, const struct pubsub_message *reply, int status, void *user)
{
    (void)client, (void)request, (void)reply, (void)status, (void)user;
}

static void test_requests_leave_their_pids(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = file_options(stage);
    const struct pubsub_request_options request = {.on_reply = ignore_reply};
    stage->inbox = "$inbox/0";
    options.outbox_file_bytes = 4096;
    stage_open(stage, options, 100);
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    assert_int_equal(pubsub_request(stage->client, "r", "x", 1, &request, NULL), PUBSUB_OK);
    stage_publish(stage, "b", PUBSUB_ACK_ROUTED);
    close_client(stage);
    stage->log[0] = '\0';
    open_client(stage, &options);
    assert_int_equal(pubsub_unacked(stage->client), 3);
    welcome(stage, "connected\n");
    stage_expect_frames(stage, "acked a, must acked +, acked b, ");
    stage_say_puback(stage, 1, MPS_OK);
    stage_say_puback(stage, 2, MPS_BAD_TOPIC);
    stage_say_puback(stage, 3, MPS_OK);
    stage_wait_for_log(stage, "puback 1..1 0\npuback 3..3 0\n");
}

static void test_what_was_dropped_stays_so(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = file_options(stage);
    options.outbox_policy = PUBSUB_OUTBOX_DROP_OLD;
    options.outbox_bytes = 800;
    open_client(stage, &options);
    for (char letter = 'a'; letter <= 'c'; letter++)
        assert_int_equal(publish_letter(stage, letter, PUBSUB_ACK_ROUTED), PUBSUB_OK);
    stage_expect_log(stage, "dropped 1 1..1\n");
    close_client(stage);
    stage->log[0] = '\0';
    open_client(stage, &options);
    assert_int_equal(pubsub_unacked(stage->client), 2);
    stage_accept(stage);
    stage_say_welcome(stage, 1, 1000);
    stage_wait_for_log(stage, "connected\n");
    stage_expect_frames(stage, "acked b, "); /* c waits */
    assert_int_equal(publish_letter(stage, 'd', PUBSUB_ACK_ROUTED), PUBSUB_OK);
    stage_expect_log(stage, "dropped 1 3..3\n");
    close_client(stage);
    stage->log[0] = '\0';
    open_client(stage, &options);
    welcome(stage, "connected\n");
    stage_expect_frames(stage, "acked b, acked +, acked d, ");
    assert_int_equal(stage->first_pid, 2);
}

static void test_its_bound(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = file_options(stage);
    struct stat st;
    unsigned sent = 0;
    options.outbox_policy = PUBSUB_OUTBOX_REFUSE;
    options.outbox_file_bytes = 4096;
    stage_open(stage, options, 100);
    for (int round = 0; round < 40; round++) {
        char frames[256] = "";
        for (; publish_letter(stage, 'a', PUBSUB_ACK_ROUTED) == PUBSUB_OK; sent++) strcat(frames, "acked a, ");
        assert_string_not_equal(frames, "");
        assert_non_null(strstr(pubsub_error(stage->client), "outbox"));
        stage_expect_frames(stage, frames);
        assert_int_equal(stat(path, &st), 0);
        assert_in_range(st.st_size, 1, 4096);
        stage_say_puback(stage, sent, MPS_OK);
        while (pubsub_unacked(stage->client) > 0) pubsub_wait(stage->client, 100);
        stage->log[0] = '\0';
    }
    static const uint8_t large[2000];
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED};
    assert_int_equal(pubsub_publish(stage->client, "a", large, 900, &acked, NULL), PUBSUB_OK);
    close_client(stage);
    stage->log[0] = '\0';
    open_client(stage, &options);
    assert_int_equal(pubsub_publish(stage->client, "a", large, sizeof large, &acked, NULL), PUBSUB_ETOOBIG);
    assert_int_equal(pubsub_unacked(stage->client), 1);
}

static void test_options(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = file_options(stage);
    char text[256];
    options.client_id = NULL;
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_EINVAL);
    assert_string_equal(text, "the option outbox_file needs session_s and client_id");
    options = file_options(stage);
    options.clean = true;
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_EINVAL);
    assert_string_equal(text, "the options outbox_file and clean exclude each other");
    options.clean = false;
    options.outbox_file_bytes = 4095;
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_EINVAL);
    assert_string_equal(text, "outbox_file_bytes is 4095, the least is 4096");
    assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, keep_set_up, keep_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_the_oldest_are_dropped_and_told),
        TEST(test_publishing_in_the_callback_drops_nothing),
        TEST(test_dropping_on_a_connection),
        TEST(test_what_is_written_is_not_dropped),
        TEST(test_what_was_not_settled_survives),
        TEST(test_what_the_session_settled_is_forgotten),
        TEST(test_requests_leave_their_pids),
        TEST(test_what_was_dropped_stays_so),
        TEST(test_its_bound),
        TEST(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
