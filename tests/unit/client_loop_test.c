/* What a loop of the application's own lends to the client: names looked up elsewhere, word of descriptors that are
 * closed; and closing without waiting. */
#include "client_stage.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pubsub/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the client asked of the loop. */
struct asked {
    int lookups, cancels, forgotten;
    int forgotten_fd;
    bool at_once; /* answers from inside */
    struct sockaddr_in address;
    char host[256], port[8];
};

static void answer(struct asked *asked, pubsub *client)
{
    struct addrinfo v4 = {
        .ai_family = AF_INET, .ai_addrlen = sizeof asked->address, .ai_addr = (struct sockaddr *)&asked->address};
    struct addrinfo odd = {.ai_family = AF_UNIX, .ai_next = &v4}; /* is left out */
    pubsub_looked_up(client, &odd, NULL);
}

static void lookup(void *context, pubsub *client, const char *host, const char *port)
{
    struct asked *asked = context;
    asked->lookups++;
    snprintf(asked->host, sizeof asked->host, "%s", host);
    snprintf(asked->port, sizeof asked->port, "%s", port);
    if (asked->at_once) answer(asked, client);
}

static void cancel_lookup(void *context, pubsub *client)
{
    (void)client;
    ((struct asked *)context)->cancels++;
}

static void forget_fd(void *context, pubsub *client, int fd)
{
    (void)client;
    ((struct asked *)context)->forgotten++;
    ((struct asked *)context)->forgotten_fd = fd;
}

static struct asked asked;
static const struct pubsub_loop loop = {&asked, lookup, cancel_lookup, forget_fd};

/* A broker at a TCP port, which the URL calls by the name broker.test. */
static int set_up(void **state)
{
    if (stage_set_up(state) != 0) return -1;
    struct stage *stage = *state;
    memset(&asked, 0, sizeof asked);
    asked.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof asked.address;
    close(stage->listener);
    stage->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(stage->listener, (const struct sockaddr *)&asked.address, len) != 0) return -1;
    if (listen(stage->listener, 8) != 0) return -1;
    if (getsockname(stage->listener, (struct sockaddr *)&asked.address, &len) != 0) return -1;
    snprintf(stage->url, sizeof stage->url, "tcp://broker.test:%u", ntohs(asked.address.sin_port));
    return 0;
}

static struct pubsub_options loop_options(struct stage *stage)
{
    struct pubsub_options options = stage_options(stage);
    options.loop = &loop;
    return options;
}

static void open_client(struct stage *stage, const struct pubsub_options *options)
{
    char text[256] = "";
    if (pubsub_open(&stage->client, options, text, sizeof text) != PUBSUB_OK) fail_msg("%s", text);
}

static void welcome(struct stage *stage, const char *log)
{
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, log);
}

static void names_are_asked_of_the_loop(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = loop_options(stage);
    open_client(stage, &options);
    assert_int_equal(asked.lookups, 1);
    assert_string_equal(asked.host, "broker.test");
    assert_int_equal(atoi(asked.port), ntohs(asked.address.sin_port));
    assert_int_equal(pubsub_fd(stage->client), -1);
    assert_int_equal(pubsub_poll_events(stage->client), 0);
    assert_true(pubsub_poll_timeout_ms(stage->client) > 0);
    assert_int_equal(pubsub_process(stage->client), 0);
    answer(&asked, stage->client);
    assert_int_equal(pubsub_poll_timeout_ms(stage->client), 0);
    pubsub_looked_up(stage->client, NULL, "too late: it is answered");
    welcome(stage, "connected\n");
    pubsub_looked_up(stage->client, NULL, "nobody asked");

    int fd = pubsub_fd(stage->client);
    asked.at_once = true;
    stage_hang_up(stage);
    stage_wait_for_log(stage, "lost\n");
    assert_int_equal(asked.forgotten, 1);
    assert_int_equal(asked.forgotten_fd, fd);
    welcome(stage, "again\n");
    assert_int_equal(asked.lookups, 2);
    assert_int_equal(asked.cancels, 0);
}

static void an_answer_at_once_is_enough_for_opening(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = loop_options(stage);
    char text[256];
    options.retry_first = false;
    options.connect_ms = 50;
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_ECONNECT);
    assert_non_null(strstr(text, "its name was not resolved within 50 ms"));
    assert_int_equal(asked.cancels, 1);
    asked.at_once = true; /* but then the broker says nothing */
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_ECONNECT);
    assert_non_null(strstr(text, "no answer within 50 ms"));
    assert_int_equal(asked.cancels, 1);
    assert_int_equal(asked.forgotten, 1);
}

static void failed_lookups_are_tried_again(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = loop_options(stage);
    open_client(stage, &options);
    pubsub_looked_up(stage->client, NULL, "no such name today");
    while (asked.lookups == 1) assert_int_equal(pubsub_wait(stage->client, 10), 0);
    assert_non_null(strstr(pubsub_error(stage->client), "cannot connect to tcp://broker.test:"));
    assert_non_null(strstr(pubsub_error(stage->client), ": no such name today"));
    const struct addrinfo useless = {.ai_family = AF_UNIX};
    pubsub_looked_up(stage->client, &useless, NULL);
    while (asked.lookups == 2) assert_int_equal(pubsub_wait(stage->client, 10), 0);
    assert_non_null(strstr(pubsub_error(stage->client), "it has no address"));
    answer(&asked, stage->client);
    welcome(stage, "connected\n");
}

static void figures_need_no_lookup(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = loop_options(stage);
    snprintf(stage->url, sizeof stage->url, "tcp://127.0.0.1:%u", ntohs(asked.address.sin_port));
    open_client(stage, &options);
    welcome(stage, "connected\n");
    assert_int_equal(asked.lookups, 0);
}

static void closing_takes_the_question_back(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = loop_options(stage);
    open_client(stage, &options);
    pubsub_close(stage->client, PATIENCE_MS);
    assert_int_equal(asked.cancels, 1);
    open_client(stage, &options);
    answer(&asked, stage->client);
    pubsub_close(stage->client, PATIENCE_MS);
    stage->client = NULL;
    assert_int_equal(asked.cancels, 1); /* it was answered */
}

/* Nobody hears a secret only because the name leads elsewhere. */
static void secrets_stay_here(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = loop_options(stage);
    options.proof.user = "ann";
    options.proof.password = "secret";
    open_client(stage, &options);
    asked.address.sin_addr.s_addr = htonl(0x0a000001);
    answer(&asked, stage->client);
    assert_int_equal(pubsub_wait(stage->client, PATIENCE_MS), PUBSUB_EINVAL);
    assert_non_null(strstr(pubsub_error(stage->client), "without encryption"));
    stage_expect_log(stage, "ended\n");
}

/* ---- closing without waiting ---------------------------------------------------------------------------------- */

static int process_until_closed(pubsub *client)
{
    int rc;
    while ((rc = pubsub_wait(client, PATIENCE_MS)) >= 0) continue;
    return rc;
}

static void what_was_published_leaves_before_the_end(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = loop_options(stage);
    asked.at_once = true;
    open_client(stage, &options);
    stage_accept(stage);
    stage_say_welcome(stage, 1, 1000);
    stage_wait_for_log(stage, "connected\n");
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    stage_publish(stage, "b", PUBSUB_ACK_ROUTED); /* does not fit into the window before a is acknowledged */
    pubsub_disconnect(stage->client);
    assert_int_equal(pubsub_publish(stage->client, "c", NULL, 0, NULL, NULL), PUBSUB_ECLOSED);
    stage_expect_frames(stage, "acked a, ");
    stage_say_puback(stage, 1, 0);
    stage_expect_frames(stage, "acked b, BYE, ");
    stage_say_puback(stage, 2, 0);
    stage_say_bye(stage, 0);
    assert_int_equal(process_until_closed(stage->client), PUBSUB_ECLOSED);
    stage_expect_log(stage, "puback 1..1 0\npuback 2..2 0\n"); /* and no state: it was asked for */
    pubsub_close(stage->client, PATIENCE_MS);
    stage->client = NULL;
    stage_expect_frames(stage, "");
}

static void disconnecting_twice_and_closing_says_bye_once(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = loop_options(stage);
    asked.at_once = true;
    open_client(stage, &options);
    welcome(stage, "connected\n");
    pubsub_disconnect(stage->client);
    assert_int_equal(pubsub_process(stage->client), 0);
    pubsub_disconnect(stage->client);
    assert_int_equal(pubsub_process(stage->client), 0);
    assert_true(pubsub_poll_timeout_ms(stage->client) > 0); /* it does not spin while it waits */
    stage_expect_frames(stage, "BYE, ");
    pubsub_close(stage->client, 0);
    stage->client = NULL;
    char byte;
    assert_int_equal(recv(stage->peer, &byte, 1, 0), 0); /* and not another one */
}

static void disconnecting_without_a_connection_is_at_once(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = loop_options(stage);
    open_client(stage, &options);
    pubsub_disconnect(stage->client);
    assert_int_equal(pubsub_poll_timeout_ms(stage->client), 0);
    assert_int_equal(pubsub_process(stage->client), PUBSUB_ECLOSED);
    assert_int_equal(asked.cancels, 1);
}

static void on_message_disconnect(pubsub *client, const struct pubsub_message *message, void *user)
{
    (void)message;
    stage_note(user, "message\n");
    pubsub_disconnect(client);
}

static void disconnecting_in_a_message_is_the_last_callback(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[512];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    struct pubsub_options options = loop_options(stage);
    asked.at_once = true;
    open_client(stage, &options);
    welcome(stage, "connected\n");
    struct pubsub_subscribe_options subscription = stage_callbacks(stage);
    subscription.on_message = on_message_disconnect;
    assert_int_equal(pubsub_subscribe(stage->client, "a", &subscription, NULL), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 a, ");
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    for (int i = 0; i < 3; i++) mps_encode_msg(&out, &(struct mps_msg){mps_text("a"), {NULL, 0}, mps_text("x")});
    stage_say(stage, &out);
    stage_expect_frames(stage, "BYE, ");
    stage_say_bye(stage, 0);
    assert_int_equal(process_until_closed(stage->client), PUBSUB_ECLOSED);
    stage_expect_log(stage, "message\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(names_are_asked_of_the_loop),
        TEST(an_answer_at_once_is_enough_for_opening),
        TEST(failed_lookups_are_tried_again),
        TEST(figures_need_no_lookup),
        TEST(closing_takes_the_question_back),
        TEST(secrets_stay_here),
        TEST(what_was_published_leaves_before_the_end),
        TEST(disconnecting_twice_and_closing_says_bye_once),
        TEST(disconnecting_in_a_message_is_the_last_callback),
        TEST(disconnecting_without_a_connection_is_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
