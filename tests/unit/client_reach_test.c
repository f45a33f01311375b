/* How a client gets to a broker: one of several, over a descriptor that somebody else connected, after pauses. */
#include "client_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

/* ---- several brokers ------------------------------------------------------------------------------------------ */

/* A list whose first URL leads nowhere and whose second one is the stage's. */
static void put_list(struct stage *stage, char *list, size_t cap)
{
    assert_true((size_t)snprintf(list, cap, "unix:%s/none,%s", stage->dir, stage->url) < cap);
}

static void test_next_broker_is_tried_at_once(void **state)
{
    struct stage *stage = *state;
    char list[512];
    struct pubsub_options options = stage_options(stage);
    put_list(stage, list, sizeof list);
    options.url = list;
    options.reconnect_min_ms = options.reconnect_max_ms = 10 * PATIENCE_MS; /* no pause is part of this */
    stage_open(stage, options, 10);
    stage_publish(stage, "a", PUBSUB_ACK_NONE);
    stage_expect_frames(stage, "a, ");
}

static void test_all_are_named(void **state)
{
    struct stage *stage = *state;
    char list[640], text[1024], expected[1024];
    pubsub *client;
    snprintf(list, sizeof list, "unix:%s/1,unix:%s/2,unix:%s", stage->dir, stage->dir, stage->dir);
    struct pubsub_options options = {.url = list};
    assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_ECONNECT);
    snprintf(expected, sizeof expected,
             "cannot connect to any of 3 brokers: unix:%s/1: No such file or directory; "
             "unix:%s/2: No such file or directory; unix:%s: Connection refused",
             stage->dir, stage->dir, stage->dir);
    assert_string_equal(text, expected);
}

/* Stand before the C library's: any name has two addresses, at which nobody listens. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
    static struct sockaddr_in addresses[2];
    static struct addrinfo infos[2];
    (void)host, (void)hints;
    for (unsigned i = 0; i < 2; i++) {
        addresses[i] = (struct sockaddr_in){.sin_family = AF_INET,
                                            .sin_port = htons((uint16_t)atoi(port)),
                                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK + i)};
        infos[i] = (struct addrinfo){.ai_family = AF_INET,
                                     .ai_socktype = SOCK_STREAM,
                                     .ai_addr = (struct sockaddr *)&addresses[i],
                                     .ai_addrlen = sizeof addresses[i],
                                     .ai_next = i == 0 ? &infos[1] : NULL};
    }
    *found = infos;
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

static void test_all_addresses_are_named(void **state)
{
    struct stage *stage = *state;
    char list[256], text[1024], expected[512];
    pubsub *client;
    snprintf(list, sizeof list, "tcp://somewhere:1,unix:%s", stage->dir);
    struct pubsub_options options = {.url = list};
    assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_ECONNECT);
    snprintf(expected, sizeof expected,
             "cannot connect to any of 2 brokers: tcp://somewhere:1: 127.0.0.1: Connection refused, "
             "127.0.0.2: Connection refused; unix:%s: Connection refused",
             stage->dir);
    assert_string_equal(text, expected);
}

static void test_many_long_ones_are_all_named(void **state)
{
    char list[8 * 128] = "", text[2048];
    pubsub *client;
    (void)state;
    for (int i = 0; i < 8; i++) {
        char url[128];
        snprintf(url, sizeof url, "%sunix:/%d/%090d", i > 0 ? "," : "", i, 0);
        strcat(list, url);
    }
    struct pubsub_options options = {.url = list};
    assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_ECONNECT);
    const char *reason = text;
    for (int i = 0; i < 8; i++) {
        char url[16];
        snprintf(url, sizeof url, "unix:/%d/000", i);
        assert_non_null(strstr(text, url));
        reason = strstr(reason + 1, "0: No such file or directory");
        assert_non_null(reason);
    }
}

static void refuse_greeting(struct stage *stage, uint32_t code)
{
    stage_accept(stage);
    stage_say_bye(stage, code);
    for (int64_t until = stage_now_ms() + PATIENCE_MS; stage_now_ms() < until;) {
        char byte;
        pubsub_wait(stage->client, 1);
        if (recv(stage->peer, &byte, 1, MSG_DONTWAIT) == 0) break;
    }
    stage_hang_up(stage);
}

/* The stage's broker, as if it were two. */
static void open_with_two(struct stage *stage)
{
    char list[512];
    struct pubsub_options options = stage_options(stage);
    snprintf(list, sizeof list, "%s,%s", stage->url, stage->url);
    options.url = list;
    assert_int_equal(pubsub_open(&stage->client, &options, NULL, 0), PUBSUB_OK);
}

static void test_who_refuses_is_passed_over(void **state)
{
    struct stage *stage = *state;
    open_with_two(stage);
    refuse_greeting(stage, MPS_AUTH);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "connected\n");
}

static void test_all_refuse(void **state)
{
    struct stage *stage = *state;
    open_with_two(stage);
    refuse_greeting(stage, MPS_AUTH);
    refuse_greeting(stage, MPS_AUTH);
    stage_wait_for_log(stage, "ended\n");
    assert_int_equal(pubsub_wait(stage->client, 0), PUBSUB_EAUTH);
    assert_non_null(strstr(pubsub_error(stage->client), "cannot connect to any of 2 brokers: unix:"));
}

/* It refuses what it had accepted: then the other one is asked. */
static void test_who_refuses_later_is_left(void **state)
{
    struct stage *stage = *state;
    char list[512];
    struct pubsub_options options = stage_options(stage);
    snprintf(list, sizeof list, "%s,%s", stage->url, stage->url);
    options.url = list;
    stage_open(stage, options, 10);
    stage_say_bye(stage, MPS_AUTH);
    stage_wait_for_log(stage, "lost\n");
    stage_hang_up(stage);
    refuse_greeting(stage, MPS_AUTH);
    stage_wait_for_log(stage, "ended\n");
    assert_int_equal(pubsub_wait(stage->client, 0), PUBSUB_EAUTH);
}

/* It has the session, so it is asked first. */
static void test_the_last_one_comes_first(void **state)
{
    struct stage *stage = *state, *other;
    char list[512];
    assert_int_equal(stage_set_up((void **)&other), 0);
    struct pubsub_options options = stage_options(stage);
    put_list(other, list, sizeof list); /* nowhere, the other */
    snprintf(list + strlen(list), sizeof list - strlen(list), ",%s", stage->url);
    close(other->listener);
    options.url = list;
    stage_open(stage, options, 10); /* the third of them */
    other->listener = -1;
    stage_hang_up(stage);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "lost\nagain\n");
    assert_null(strstr(pubsub_error(stage->client), "none")); /* nobody else was asked */
    stage_tear_down((void **)&other);
}

static void expect_bad(const char *url, const char *expected)
{
    char text[512] = "";
    pubsub *client;
    struct pubsub_options options = {.url = url};
    assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_EINVAL);
    assert_string_equal(text, expected);
}

static void test_bad_lists(void **state)
{
    (void)state;
    expect_bad("unix:/a,", "bad URL '': it is none of unix:/path, tcp://host:port, tls://host:port, fd:N");
    expect_bad("unix:/a,tcp://b", "bad URL 'tcp://b': the port is missing, as in host:7717");
    expect_bad("unix:/a,fd:3", "bad URL 'fd:3': a descriptor can't be one of several");
    expect_bad("unix:/1,unix:/2,unix:/3,unix:/4,unix:/5,unix:/6,unix:/7,unix:/8,unix:/9",
               "9 URLs are more than the 8 that are possible");
    expect_bad("unix:/a,tls://b:1", "cannot connect to tls://b:1: this program has no TLS (option tls)");
}

/* ---- pauses --------------------------------------------------------------------------------------------------- */

static int attempts;

static int count_attempt(pubsub *client, void *user)
{
    (void)client, (void)user;
    attempts++;
    return -ECONNREFUSED;
}

/* Each is at random between nothing and its bound, which doubles up to the largest. */
static void test_pauses_are_bounded(void **state)
{
    struct stage *stage = *state;
    int distinct = 0, last = -1;
    struct pubsub_options options = {
        .on_dial = count_attempt, .retry_first = true, .reconnect_min_ms = 8, .reconnect_max_ms = 40};
    attempts = 0;
    assert_int_equal(pubsub_open(&stage->client, &options, NULL, 0), PUBSUB_OK); /* the first attempt has failed */
    while (attempts <= 20) {
        int pause = pubsub_poll_timeout_ms(stage->client);
        assert_in_range(pause, 0, attempts > 3 ? 40 : 8 << (attempts - 1));
        distinct += pause != last;
        last = pause;
        while (pubsub_poll_timeout_ms(stage->client) > 0) poll(NULL, 0, 1);
        assert_int_equal(pubsub_process(stage->client), 0); /* tries once, or more often after pauses of nothing */
    }
    assert_true(distinct > 5);
}

/* One that is stopped, as for a restart, is no failure: if each doubled the bound, this would not end in time. */
static void test_pauses_after_restarts_do_not_grow(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    options.reconnect_max_ms = 100 * PATIENCE_MS;
    stage_open(stage, options, 10);
    for (int i = 0; i < 40; i++) {
        stage_say_bye(stage, MPS_SHUTTING_DOWN);
        stage_wait_for_log(stage, "lost\n");
        stage_hang_up(stage);
        stage_accept(stage);
        stage_say_welcome(stage, 10, 1000);
        stage_wait_for_log(stage, "again\n");
    }
}

/* ---- descriptors ---------------------------------------------------------------------------------------------- */

static int connect_pair(struct stage *stage)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    stage->peer = ends[1];
    return ends[0];
}

static void test_a_socketpair(void **state)
{
    struct stage *stage = *state;
    char url[32];
    snprintf(url, sizeof url, "fd:%d", connect_pair(stage));
    struct pubsub_options options = stage_options(stage);
    options.url = url;
    assert_int_equal(pubsub_open(&stage->client, &options, NULL, 0), PUBSUB_OK);
    stage_expect_frames(stage, "HELLO, ");
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "connected\n");
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    stage_expect_frames(stage, "acked a, ");
    stage_hang_up(stage); /* there is no other */
    stage_wait_for_log(stage, "lost\nended\n");
    assert_int_equal(pubsub_wait(stage->client, 0), PUBSUB_ELOST);
}

static int dials, dial_says;

static int dial(pubsub *client, void *user)
{
    dials++;
    assert_int_equal(pubsub_wait(client, 0), PUBSUB_EINVAL); /* it is inside a callback */
    return dial_says < 0 ? dial_says : connect_pair(user);
}

static void test_dialling(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    options.url = NULL;
    options.on_dial = dial;
    dials = dial_says = 0;
    assert_int_equal(pubsub_open(&stage->client, &options, NULL, 0), PUBSUB_OK);
    stage_expect_frames(stage, "HELLO, ");
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "connected\n");
    stage_publish(stage, "a", PUBSUB_ACK_ROUTED);
    stage_expect_frames(stage, "acked a, ");
    dial_says = -ENETDOWN;
    stage_hang_up(stage);
    stage_wait_for_log(stage, "lost\n");
    while (dials < 4) pubsub_wait(stage->client, 100);
    assert_string_equal(pubsub_error(stage->client), "cannot connect to on_dial's descriptor: Network is down");
    dial_says = 0;
    while (stage->peer < 0) pubsub_wait(stage->client, 100);
    stage_expect_frames(stage, "HELLO, ");
    stage_say_welcome(stage, 10, 1000);
    stage_expect_frames(stage, "acked a, "); /* again */
    stage_wait_for_log(stage, "again\n");
}

static void test_dialling_fails(void **state)
{
    struct stage *stage = *state;
    char text[256];
    struct pubsub_options options = {.on_dial = dial, .user = stage};
    dial_says = -ECONNREFUSED;
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_ECONNECT);
    assert_string_equal(text, "cannot connect to on_dial's descriptor: Connection refused");
    options.url = stage->url;
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_EINVAL);
    assert_string_equal(text, "the options url and on_dial exclude each other");
}

static void expect_unusable(int fd, const char *why)
{
    char url[32], text[256], expected[256];
    pubsub *client;
    struct pubsub_options options = {.url = url};
    snprintf(url, sizeof url, "fd:%d", fd);
    assert_int_equal(pubsub_open(&client, &options, text, sizeof text), PUBSUB_ECONNECT);
    snprintf(expected, sizeof expected, "cannot connect to %s: %s", url, why);
    assert_string_equal(text, expected);
    close(fd);
}

static void test_what_is_no_connection(void **state)
{
    struct stage *stage = *state;
    char path[128];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    expect_unusable(ends[0], "Socket operation on non-socket");
    close(ends[1]);
    expect_unusable(socket(AF_INET, SOCK_DGRAM, 0), "Protocol wrong type for socket");
    snprintf(path, sizeof path, "%s/file", stage->dir);
    expect_unusable(open(path, O_CREAT | O_RDWR, 0600), "Socket operation on non-socket");
    unlink(path);
    expect_unusable(open("/dev/null", O_RDWR), "the broker closed the connection without an answer");
}

/* Echo, line editing and the translation of line ends would ruin the frames. */
static void test_a_terminal_becomes_raw(void **state)
{
    struct stage *stage = *state;
    int line, terminal;
    char url[32];
    struct termios mode;
    assert_int_equal(openpty(&line, &terminal, NULL, NULL, NULL), 0);
    assert_int_equal(tcgetattr(terminal, &mode), 0);
    assert_true(mode.c_lflag & ECHO);
    assert_int_equal(cfsetspeed(&mode, B19200), 0);
    assert_int_equal(tcsetattr(terminal, TCSANOW, &mode), 0);
    snprintf(url, sizeof url, "fd:%d", terminal);
    struct pubsub_options options = {.url = url, .retry_first = true};
    assert_int_equal(pubsub_open(&stage->client, &options, NULL, 0), PUBSUB_OK);
    assert_int_equal(tcgetattr(line, &mode), 0);
    assert_int_equal(mode.c_lflag & (ECHO | ICANON | ISIG), 0);
    assert_int_equal(mode.c_oflag & OPOST, 0);
    assert_int_equal(mode.c_iflag & (ICRNL | IXON), 0);
    assert_int_equal(cfgetospeed(&mode), B19200);
    uint8_t hello[4];
    assert_int_equal(read(line, hello, sizeof hello), sizeof hello);
    assert_int_equal(hello[1], MPS_OP_HELLO);
    close(line); /* hung up */
    for (int rc = 0; rc >= 0; rc = pubsub_wait(stage->client, 100)) continue;
    assert_int_equal(fcntl(terminal, F_GETFD), -1); /* it was the client's */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_next_broker_is_tried_at_once),
        TEST(test_all_are_named),
        TEST(test_all_addresses_are_named),
        TEST(test_many_long_ones_are_all_named),
        TEST(test_who_refuses_is_passed_over),
        TEST(test_all_refuse),
        TEST(test_who_refuses_later_is_left),
        TEST(test_the_last_one_comes_first),
        TEST(test_bad_lists),
        TEST(test_pauses_are_bounded),
        TEST(test_pauses_after_restarts_do_not_grow),
        TEST(test_a_socketpair),
        TEST(test_dialling),
        TEST(test_dialling_fails),
        TEST(test_what_is_no_connection),
        TEST(test_a_terminal_becomes_raw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
