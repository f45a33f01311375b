/* The client over a table of functions for TLS that does to it what such a table may do, on a scripted broker: what is
 * sent is not encrypted, but comes and goes as sessions of TLS let it. */
#include "client_stage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pubsub/tls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE_BYTES 5 /* that a read gives at most */

/* The script, and what was seen: of all sessions, one at a time. */
static struct {
    int handshake_wants;    /* how often the handshake asks for writing before it is done */
    int handshake_failures; /* how many handshakes fail */
    bool handshake_stalls, open_fails;
    bool write_wants_read; /* writing goes on when the peer has sent a byte */
    bool write_hiccups;    /* every other write has to be repeated */
    int opens_count, closes_count, ends_count;
    char host[64];
} script;

struct session {
    int fd;
    int handshakes, writes;
    uint8_t in[65536]; /* read from the descriptor, not given away */
    size_t begin, end;
    const void *again; /* the write that has to be repeated; NULL: none */
    size_t again_len;
    uint8_t again_bytes[65536];
};

static void *fake_open(void *context, int fd, const char *host, char *text, size_t text_cap)
{
    assert_ptr_equal(context, &script);
    if (script.open_fails) {
        snprintf(text, text_cap, "no entropy today");
        return NULL;
    }
    struct session *session = calloc(1, sizeof *session);
    assert_non_null(session);
    session->fd = fd;
    script.opens_count++;
    snprintf(script.host, sizeof script.host, "%s", host);
    return session;
}

static int fake_handshake(void *given)
{
    struct session *session = given;
    if (script.handshake_failures-- > 0) return PUBSUB_TLS_FAILED;
    if (script.handshake_stalls) return PUBSUB_TLS_WANT_READ;
    return session->handshakes++ < script.handshake_wants ? PUBSUB_TLS_WANT_WRITE : 0;
}

static ptrdiff_t fake_read(void *given, void *at, size_t len)
{
    struct session *session = given;
    if (session->begin == session->end) {
        ssize_t n = recv(session->fd, session->in, sizeof session->in, 0);
        if (n < 0 && errno == EAGAIN) return PUBSUB_TLS_WANT_READ;
        if (n <= 0) return PUBSUB_TLS_FAILED; /* an end that nobody announced */
        session->begin = 0;
        session->end = (size_t)n;
    }
    size_t there = session->end - session->begin, take = there < PIECE_BYTES ? there : PIECE_BYTES;
    if (take > len) take = len;
    memcpy(at, session->in + session->begin, take);
    session->begin += take;
    return (ptrdiff_t)take;
}

/* Remembers what has to come again, and fails the test if it does not. */
static bool is_repeated(struct session *session, const void *bytes, size_t len)
{
    if (session->again != NULL) {
        assert_ptr_equal(bytes, session->again);
        assert_int_equal(len, session->again_len);
        assert_memory_equal(bytes, session->again_bytes, len);
        session->again = NULL;
        return true;
    }
    session->again = bytes;
    session->again_len = len;
    assert_true(len <= sizeof session->again_bytes);
    memcpy(session->again_bytes, bytes, len);
    return false;
}

static ptrdiff_t fake_write(void *given, const void *bytes, size_t len)
{
    struct session *session = given;
    uint8_t key;
    if (script.write_wants_read) {
        bool repeated = is_repeated(session, bytes, len);
        if (recv(session->fd, &key, 1, 0) != 1) {
            if (repeated) is_repeated(session, bytes, len);
            return PUBSUB_TLS_WANT_READ;
        }
        session->again = NULL;
        script.write_wants_read = false;
    } else if (script.write_hiccups && !is_repeated(session, bytes, len)) {
        return PUBSUB_TLS_WANT_WRITE;
    }
    ssize_t n = send(session->fd, bytes, len < 4000 ? len : 4000, MSG_NOSIGNAL);
    if (n > 0) return n;
    return n < 0 && errno == EAGAIN ? PUBSUB_TLS_WANT_WRITE : PUBSUB_TLS_FAILED;
}

static int fake_end(void *given)
{
    (void)given;
    script.ends_count++;
    return script.ends_count % 2 == 1 ? PUBSUB_TLS_WANT_WRITE : 0;
}

static const char *fake_error(void *given)
{
    (void)given;
    return "it smells of fish";
}

static void fake_close(void *given)
{
    script.closes_count++;
    free(given);
}

static const struct pubsub_tls fake = {&script,    fake_open, fake_handshake, fake_read,
                                       fake_write, fake_end,  fake_error,     fake_close};

/* ---- a broker at a TCP address ---------------------------------------------------------------------------------- */

static int set_up(void **state)
{
    if (stage_set_up(state) != 0) return -1;
    struct stage *stage = *state;
    int port = stage_listen_tcp(stage);
    if (port < 0) return -1;
    snprintf(stage->url, sizeof stage->url, "tls://127.0.0.1:%d", port);
    memset(&script, 0, sizeof script);
    return 0;
}

static struct pubsub_options tls_options(struct stage *stage)
{
    struct pubsub_options options = stage_options(stage);
    options.tls = &fake;
    return options;
}

static void expect_failure(const struct pubsub_options *options, int error, const char *words)
{
    pubsub *client = NULL;
    char text[512] = "";
    assert_int_equal(pubsub_open(&client, options, text, sizeof text), error);
    assert_null(client);
    if (strstr(text, words) == NULL) fail_msg("'%s' is not in '%s'", words, text);
    assert_int_equal(script.opens_count, script.closes_count);
}

/* ---- tests --------------------------------------------------------------------------------------------------------
 */

static void without_tls_nothing_is_connected_to(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    expect_failure(&options, PUBSUB_EINVAL, "this program has no TLS");
    assert_true(accept(stage->listener, NULL, NULL) < 0);
}

static void handshakes_that_fail_say_why(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = tls_options(stage);
    options.retry_first = false;
    options.connect_ms = 50;
    script.open_fails = true;
    expect_failure(&options, PUBSUB_ECONNECT, ": no entropy today");
    script.open_fails = false;
    script.handshake_failures = 1;
    expect_failure(&options, PUBSUB_ECONNECT, ": it smells of fish");
    script.handshake_stalls = true;
    expect_failure(&options, PUBSUB_ECONNECT, "no answer to the TLS handshake within 50 ms");
    assert_int_equal(script.opens_count, 2);
    for (int fd; (fd = accept(stage->listener, NULL, NULL)) >= 0; close(fd)) {
        char byte;
        assert_int_equal(recv(fd, &byte, 1, 0), 0); /* nothing was said in clear */
    }
}

static void handshakes_are_tried_again(void **state)
{
    struct stage *stage = *state;
    char text[256];
    struct pubsub_options options = tls_options(stage);
    script.handshake_failures = 1;
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_OK);
    while (script.closes_count == 0) assert_true(pubsub_wait(stage->client, 10) >= 0);
    int first = accept(stage->listener, NULL, NULL);
    assert_true(first >= 0);
    close(first);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "connected\n");
    assert_string_equal(script.host, "127.0.0.1");
}

static void a_whole_session_in_small_pieces(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[2048];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    script.handshake_wants = 3;
    script.write_hiccups = true;
    stage_open(stage, tls_options(stage), 10);
    const struct pubsub_subscribe_options options = stage_callbacks(stage);
    assert_int_equal(pubsub_subscribe(stage->client, "a", &options, NULL), PUBSUB_OK);
    stage_publish(stage, "b", PUBSUB_ACK_ROUTED);
    stage_publish(stage, "c", PUBSUB_ACK_NONE);
    stage_expect_frames(stage, "SUB 1 a, acked b, c, ");
    for (int i = 0; i < 3; i++) {
        char expected[256] = "";
        mps_encode_for(&out, &(struct mps_for){.sid = 1});
        for (int k = 0; k < 20; k++) {
            mps_encode_msg(&out, &(struct mps_msg){mps_text("a"), {NULL, 0}, mps_text("hello")});
            strcat(expected, "message 1 a 5\n");
            if (strlen(expected) + 20 > sizeof expected) break;
        }
        mps_encode_ping(&out, &(struct mps_token){mps_text("tok")});
        stage_say(stage, &out); /* in one piece, and then nothing: there is no other reason to go on reading */
        stage_wait_for_log(stage, expected);
        stage_expect_frames(stage, "PONG, ");
    }
    stage_hang_up(stage);
    stage_wait_for_log(stage, "lost\n");
    assert_non_null(strstr(pubsub_error(stage->client), "the connection broke: it smells of fish"));
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "again\n");
    stage_expect_frames(stage, "SUB 1 a, acked b, ");
    assert_int_equal(script.opens_count, 2);
    assert_int_equal(script.closes_count, 1);
}

/* A loop of one's own is told that there is more, although the descriptor has nothing. */
static void buffered_input_shows_in_the_poll_timeout(void **state)
{
    struct stage *stage = *state;
    static uint8_t buf[4096];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    stage_open(stage, tls_options(stage), 10);
    const struct pubsub_subscribe_options options = stage_callbacks(stage);
    assert_int_equal(pubsub_subscribe(stage->client, "a", &options, NULL), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 a, ");
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    for (int i = 0; i < 20; i++) mps_encode_msg(&out, &(struct mps_msg){mps_text("a"), {NULL, 0}, mps_text("hello")});
    stage_say(stage, &out);
    struct pollfd pfd = {.fd = pubsub_fd(stage->client), .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
    int received = pubsub_process(stage->client);
    assert_true(received > 0 && received < 20); /* else there is nothing to see here */
    while (received < 20) {
        assert_int_equal(poll(&pfd, 1, 0), 0);
        assert_int_equal(pubsub_poll_timeout_ms(stage->client), 0);
        int more = pubsub_process(stage->client);
        assert_true(more > 0);
        received += more;
    }
    (void)pubsub_process(stage->client);
    assert_true(pubsub_poll_timeout_ms(stage->client) > 0); /* and it does not spin when all is read */
}

static void writing_may_wait_for_reading(void **state)
{
    struct stage *stage = *state;
    stage_open(stage, tls_options(stage), 10);
    while (pubsub_poll_timeout_ms(stage->client) == 0) (void)pubsub_process(stage->client);
    assert_int_equal(pubsub_poll_events(stage->client), POLLIN);
    script.write_wants_read = true;
    stage_publish(stage, "b", PUBSUB_ACK_NONE);
    assert_int_equal(pubsub_process(stage->client), 0);
    stage_publish(stage, "c", PUBSUB_ACK_NONE); /* does not change what is said again */
    assert_int_equal(pubsub_flush(stage->client, 1), PUBSUB_ETIMEDOUT);
    assert_int_equal(pubsub_poll_events(stage->client), POLLIN); /* it can be written: that would spin */
    assert_int_equal(send(stage->peer, "k", 1, MSG_NOSIGNAL), 1);
    stage_expect_frames(stage, "b, c, ");
    assert_int_equal(pubsub_flush(stage->client, 0), PUBSUB_OK);
}

static void the_end_is_said_and_has_to_be_heard(void **state)
{
    struct stage *stage = *state;
    char byte;
    struct pubsub_options options = tls_options(stage);
    stage_open(stage, options, 10);
    assert_int_equal(pubsub_shutdown(stage->client, PATIENCE_MS), PUBSUB_OK);
    assert_int_equal(script.ends_count, 2); /* it had to be asked twice */
    stage_expect_frames(stage, "");
    assert_int_equal(recv(stage->peer, &byte, 1, 0), 0);
    stage_hang_up(stage);
    int rc;
    while ((rc = pubsub_wait(stage->client, PATIENCE_MS)) >= 0) continue;
    assert_int_equal(rc, PUBSUB_ELOST); /* not ECLOSED: who knows what was cut off */
    assert_int_equal(script.closes_count, 1);
}

static void large_messages(void **state)
{
    struct stage *stage = *state;
    static char payload[60000];
    script.write_hiccups = true;
    struct pubsub_options options = tls_options(stage);
    char text[256];
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_OK);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1 << 20);
    stage_wait_for_log(stage, "connected\n");
    assert_int_equal(pubsub_publish(stage->client, "t", payload, sizeof payload, NULL, NULL), PUBSUB_OK);
    stage_publish(stage, "b", PUBSUB_ACK_ROUTED);
    stage_expect_frames(stage, "t, acked b, ");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(without_tls_nothing_is_connected_to),
        TEST(handshakes_that_fail_say_why),
        TEST(handshakes_are_tried_again),
        TEST(a_whole_session_in_small_pieces),
        TEST(buffered_input_shows_in_the_poll_timeout),
        TEST(writing_may_wait_for_reading),
        TEST(the_end_is_said_and_has_to_be_heard),
        TEST(large_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
