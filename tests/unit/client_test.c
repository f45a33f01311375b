/* The client on a scripted broker, in one thread: this program plays the broker on the other end of the socket while it
 * lets the client work step by step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pubsub/pubsub.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

#define PATIENCE_MS 20000 /* no test waits as long as this unless something is broken */

struct stage {
    char dir[64], url[128];
    int listener, peer; /* the broker's ends; -1: none */
    pubsub *client;
    uint8_t in[1 << 17]; /* what the client wrote and was not looked at yet */
    size_t in_len;
    char log[8192];     /* callbacks, one line each */
    uint64_t first_pid; /* of the first acknowledged message on a connection, as its PUB says; 0: none yet */
    uint32_t flags;
};

__attribute__((format(printf, 2, 3))) static void note(struct stage *stage, const char *format, ...)
{
    size_t at = strlen(stage->log);
    va_list args;
    va_start(args, format);
    vsnprintf(stage->log + at, sizeof stage->log - at, format, args);
    va_end(args);
}

static void expect_log(struct stage *stage, const char *expected)
{
    assert_string_equal(stage->log, expected);
    stage->log[0] = '\0';
}

/* ---- callbacks ------------------------------------------------------------------------------------------------- */

static void on_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    static const char *const names[] = {"", "connected", "lost", "again", "ended"};
    (void)client, (void)text;
    note(user, "%s\n", names[state]);
}

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    (void)client;
    note(user, "puback %llu..%llu %u\n", (unsigned long long)ack->first_pid, (unsigned long long)ack->last_pid,
         ack->code);
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    note(user, "refusal %u op %u sid %u %s\n", refusal->code, refusal->op, refusal->sid, refusal->text);
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    note(user, "message %u %.*s %zu\n", message->sid, (int)message->topic_len, message->topic, message->payload_len);
    /* Whatever waits is refused inside a callback, everything else works. */
    assert_int_equal(pubsub_wait(client, 0), PUBSUB_EINVAL);
    assert_int_equal(pubsub_process(client), PUBSUB_EINVAL);
    assert_int_equal(pubsub_flush(client, 0), PUBSUB_EINVAL);
    pubsub_close(client, 0);
    if (message->topic_len == 4 && memcmp(message->topic, "stop", 4) == 0)
        assert_int_equal(pubsub_unsubscribe(client, message->sid), PUBSUB_OK);
}

static void on_gap(pubsub *client, const struct pubsub_gap *gap, void *user)
{
    (void)client;
    note(user, "gap %u %llu %s\n", gap->sid, (unsigned long long)gap->count, gap->reason_name);
}

static void on_mark(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user)
{
    (void)client;
    note(user, "mark %u %d\n", sid, (int)mark);
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)client;
    note(user, "granted %u\n", sid);
}

static void on_stat(pubsub *client, const struct pubsub_stat *stat, void *user)
{
    (void)client;
    note(user, "stat %u %llu\n", stat->sid, (unsigned long long)stat->matched);
}

static struct pubsub_subscribe_options callbacks(struct stage *stage)
{
    return (struct pubsub_subscribe_options){.on_message = on_message,
                                             .on_gap = on_gap,
                                             .on_mark = on_mark,
                                             .on_granted = on_granted,
                                             .on_stat = on_stat,
                                             .user = stage};
}

/* ---- the broker's side ------------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void say(struct stage *stage, struct mps_out *out)
{
    assert_false(out->full);
    assert_int_equal(send(stage->peer, out->buf, out->len, MSG_NOSIGNAL), out->len);
    out->len = 0;
}

static void say_welcome(struct stage *stage, uint64_t window, uint64_t max_payload)
{
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_welcome(&out, &(struct mps_welcome){.version = 1,
                                                   .id = mps_text("given"),
                                                   .ka_s = 60,
                                                   .pub_window = window,
                                                   .max_payload = max_payload,
                                                   .ack = 1});
    say(stage, &out);
}

static void say_bye(struct stage *stage, uint32_t code)
{
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_bye(&out, &(struct mps_bye){.code = code, .text = mps_text("so it is")});
    say(stage, &out);
}

static void say_puback(struct stage *stage, uint64_t pid, uint32_t code)
{
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_puback(&out, &(struct mps_puback){.pid = pid, .code = code, .text = mps_text("no")});
    say(stage, &out);
}

static void describe_frame(struct stage *stage, mps_view frame, unsigned op, char *text, size_t cap)
{
    size_t at = strlen(text);
    const char *what;
    struct mps_sub sub;
    struct mps_msg msg;
    struct mps_pub pub;
    switch (op) {
    case MPS_OP_SUB:
        assert_int_equal(mps_decode_sub(frame, &sub, &what), MPS_OK);
        snprintf(text + at, cap - at, "SUB %u %.*s, ", sub.sid, (int)sub.pattern.len, (const char *)sub.pattern.ptr);
        return;
    case MPS_OP_PUB:
        assert_int_equal(mps_decode_pub(frame, &pub, &what), MPS_OK);
        stage->flags = pub.flags;
        if (stage->first_pid == 0) stage->first_pid = pub.pid;
        return;
    case MPS_OP_MSG:
        assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
        snprintf(text + at, cap - at, "%s%.*s, ", stage->flags != 0 ? "acked " : "", (int)msg.topic.len,
                 (const char *)msg.topic.ptr);
        return;
    }
    snprintf(text + at, cap - at, "%s, ", mps_op_name(op));
}

/* Lets the client work until what it wrote, PUB frames left out, is `expected`. */
static void expect_frames(struct stage *stage, const char *expected)
{
    static const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    char text[4096] = "";
    int64_t until = now_ms() + PATIENCE_MS;
    while (strlen(text) < strlen(expected) && now_ms() < until) {
        if (stage->client != NULL) pubsub_wait(stage->client, 1);
        ssize_t n = recv(stage->peer, stage->in + stage->in_len, sizeof stage->in - stage->in_len, MSG_DONTWAIT);
        if (n > 0) stage->in_len += (size_t)n;
        size_t at = 0;
        for (;;) {
            struct mps_scan scan = {0};
            if (mps_scan(&scan, stage->in + at, stage->in_len - at, &limits) != MPS_SCAN_FRAME) break;
            describe_frame(stage, (mps_view){stage->in + at, scan.pos}, scan.op, text, sizeof text);
            at += scan.pos;
        }
        memmove(stage->in, stage->in + at, stage->in_len - at);
        stage->in_len -= at;
    }
    assert_string_equal(text, expected);
}

static void wait_for_log(struct stage *stage, const char *expected)
{
    int64_t until = now_ms() + PATIENCE_MS;
    while (strlen(stage->log) < strlen(expected) && now_ms() < until && pubsub_wait(stage->client, 100) >= 0) continue;
    expect_log(stage, expected);
}

/* Lets the client connect, and is the broker that it finds. */
static void accept_client(struct stage *stage)
{
    int64_t until = now_ms() + PATIENCE_MS;
    stage->in_len = 0;
    stage->first_pid = 0;
    stage->flags = 0;
    do {
        pubsub_wait(stage->client, 1);
        stage->peer = accept4(stage->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (stage->peer < 0 && now_ms() < until);
    assert_true(stage->peer >= 0);
    expect_frames(stage, "HELLO, ");
}

static void hang_up(struct stage *stage)
{
    close(stage->peer);
    stage->peer = -1;
}

/* ---- stages ------------------------------------------------------------------------------------------------------ */

static int set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(stage->dir, "/tmp/client_test.XXXXXX");
    if (mkdtemp(stage->dir) == NULL) return -1;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", stage->dir);
    snprintf(stage->url, sizeof stage->url, "unix:%s/s", stage->dir);
    stage->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    stage->peer = -1;
    if (bind(stage->listener, (const struct sockaddr *)&address, sizeof address) != 0) return -1;
    if (listen(stage->listener, 8) != 0) return -1;
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;
    char path[96];
    pubsub_close(stage->client, 0);
    if (stage->peer >= 0) close(stage->peer);
    close(stage->listener);
    snprintf(path, sizeof path, "%s/s", stage->dir);
    unlink(path);
    rmdir(stage->dir);
    free(stage);
    return 0;
}

static struct pubsub_options options_of(struct stage *stage)
{
    return (struct pubsub_options){.url = stage->url,
                                   .retry_first = true,
                                   .reconnect_min_ms = 1,
                                   .reconnect_max_ms = 5,
                                   .connect_ms = PATIENCE_MS,
                                   .on_state = on_state,
                                   .on_puback = on_puback,
                                   .on_refusal = on_refusal,
                                   .user = stage};
}

/* A client that is connected, with that window. */
static void open_stage(struct stage *stage, struct pubsub_options options, uint64_t window)
{
    char text[256] = "";
    int rc = pubsub_open(&stage->client, &options, text, sizeof text);
    if (rc != PUBSUB_OK) fail_msg("%s", text);
    accept_client(stage);
    say_welcome(stage, window, 1000);
    wait_for_log(stage, "connected\n");
}

static void publish(struct stage *stage, const char *topic, enum pubsub_ack ack)
{
    const struct pubsub_publish_options options = {.ack = ack};
    assert_int_equal(pubsub_publish(stage->client, topic, "x", 1, &options, NULL), PUBSUB_OK);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void deliveries_become_callbacks(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[512];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    open_stage(stage, options_of(stage), 10);
    assert_string_equal(pubsub_client_id(stage->client), "given");
    assert_int_equal(pubsub_max_payload(stage->client), 1000);
    const struct pubsub_subscribe_options options = callbacks(stage);
    uint32_t sid, sid2;
    assert_int_equal(pubsub_subscribe(stage->client, "a/#", &options, &sid), PUBSUB_OK);
    assert_int_equal(pubsub_subscribe(stage->client, "stop", &options, &sid2), PUBSUB_OK);
    assert_int_equal(pubsub_subscribe(stage->client, "a/#/b", &options, NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_ask_stat(stage->client, sid), PUBSUB_OK);
    assert_int_equal(pubsub_ask_stat(stage->client, 77), PUBSUB_EINVAL);
    expect_frames(stage, "SUB 1 a/#, SUB 2 stop, STAT, ");
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
    say(stage, &out);
    wait_for_log(stage, "granted 1\nmark 1 1\nstat 1 7\nmessage 1 a/b 2\ngap 1 5 drop_old\nmessage 2 stop 1\n"
                        "refusal 211 op 2 sid 0 not yours\n");
    expect_frames(stage, "PONG, UNSUB, ");
    mps_encode_mark(&out, &(struct mps_mark){.sid = 2, .kind = 4});
    mps_encode_suback(&out, &(struct mps_suback){.sid = 1, .code = 221, .text = mps_text("too many")});
    say(stage, &out);
    wait_for_log(stage, "mark 2 4\nrefusal 221 op 9 sid 1 too many\n");
    assert_int_equal(pubsub_unsubscribe(stage->client, 1), PUBSUB_EINVAL); /* refused: it is gone */
    assert_int_equal(pubsub_unsubscribe(stage->client, 2), PUBSUB_EINVAL);
}

static void everything_is_taken_up_again(void **state)
{
    struct stage *stage = *state;
    open_stage(stage, options_of(stage), 10);
    const struct pubsub_subscribe_options options = callbacks(stage);
    uint32_t sid, ended;
    assert_int_equal(pubsub_subscribe(stage->client, "s", &options, &sid), PUBSUB_OK);
    assert_int_equal(pubsub_subscribe(stage->client, "t", &options, &ended), PUBSUB_OK);
    publish(stage, "a", PUBSUB_ACK_ROUTED);
    publish(stage, "b", PUBSUB_ACK_ROUTED);
    publish(stage, "c", PUBSUB_ACK_NONE);
    assert_int_equal(pubsub_ask_stat(stage->client, sid), PUBSUB_OK);
    expect_frames(stage, "SUB 1 s, SUB 2 t, acked a, acked b, c, STAT, ");
    say_puback(stage, 1, 0);
    wait_for_log(stage, "puback 1..1 0\n");
    assert_int_equal(pubsub_unsubscribe(stage->client, ended), PUBSUB_OK);
    publish(stage, "d", PUBSUB_ACK_ROUTED); /* not written yet */
    publish(stage, "e", PUBSUB_ACK_NONE);
    hang_up(stage);
    assert_int_equal(pubsub_unacked(stage->client), 2);
    wait_for_log(stage, "lost\nmark 2 4\n");
    publish(stage, "f", PUBSUB_ACK_ROUTED);
    accept_client(stage);
    say_welcome(stage, 10, 1000);
    wait_for_log(stage, "again\n");
    /* c was handed over and is gone; e never was. */
    expect_frames(stage, "SUB 1 s, STAT, acked b, acked d, e, acked f, ");
    assert_int_equal(stage->first_pid, 2);
    say_puback(stage, 2, 2);
    say_puback(stage, 3, 210);
    say_puback(stage, 4, 0);
    wait_for_log(stage, "puback 2..2 2\npuback 3..3 210\npuback 4..4 0\n");
    assert_int_equal(pubsub_flush(stage->client, 0), PUBSUB_OK);
    assert_int_equal(pubsub_outbox_bytes(stage->client), 0);
}

static void window_and_flush(void **state)
{
    struct stage *stage = *state;
    open_stage(stage, options_of(stage), 2);
    for (char topic[2] = "a"; topic[0] <= 'd'; topic[0]++) publish(stage, topic, PUBSUB_ACK_ROUTED);
    expect_frames(stage, "acked a, acked b, ");
    assert_int_equal(pubsub_flush(stage->client, 1), PUBSUB_ETIMEDOUT);
    say_puback(stage, 2, 1);
    expect_frames(stage, "acked c, acked d, ");
    say_puback(stage, 4, 0);
    assert_int_equal(pubsub_flush(stage->client, PATIENCE_MS), PUBSUB_OK);
    expect_log(stage, "puback 1..2 1\npuback 3..4 0\n");
    char big[1001] = "";
    assert_int_equal(pubsub_publish(stage->client, "t", big, sizeof big, NULL, NULL), PUBSUB_ETOOBIG);
    assert_int_equal(pubsub_publish(stage->client, "#", big, 1, NULL, NULL), PUBSUB_EINVAL);
    assert_non_null(strstr(pubsub_error(stage->client), "wildcard"));
}

static void full_outbox_refuses_or_waits(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = options_of(stage);
    const struct pubsub_publish_options acked = {.ack = PUBSUB_ACK_ROUTED};
    char payload[200] = "";
    options.outbox_bytes = 2000;
    options.outbox_policy = PUBSUB_OUTBOX_REFUSE;
    open_stage(stage, options, 100);
    int count = 0, rc;
    uint64_t pid = 0;
    while ((rc = pubsub_publish(stage->client, "t", payload, sizeof payload, &acked, &pid)) == PUBSUB_OK) count++;
    assert_int_equal(rc, PUBSUB_EAGAIN);
    assert_true(count > 3 && count < 10);
    assert_int_equal(pid, count);
    assert_true(pubsub_outbox_bytes(stage->client) <= 2000);
    pubsub_wait(stage->client, 0);
    say_puback(stage, (uint64_t)count, 0);
    assert_int_equal(pubsub_flush(stage->client, PATIENCE_MS), PUBSUB_OK);
    assert_int_equal(pubsub_publish(stage->client, "t", payload, sizeof payload, &acked, &pid), PUBSUB_OK);
}

/* What waits for room goes on as soon as there is some, and not only when a timer wakes it. */
static void waiting_for_room_ends_with_the_room(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = options_of(stage);
    static char payload[1000];
    options.outbox_bytes = 4000;
    open_stage(stage, options, 100);
    int64_t start = now_ms();
    for (int i = 0; i < 20; i++)
        assert_int_equal(pubsub_publish(stage->client, "t", payload, sizeof payload, NULL, NULL), PUBSUB_OK);
    assert_int_equal(pubsub_flush(stage->client, PATIENCE_MS), PUBSUB_OK);
    assert_true(now_ms() - start < PATIENCE_MS);
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
        open_stage(stage, options_of(stage), 10);
        say_bye(stage, cases[i].code);
        hang_up(stage);
        wait_for_log(stage, cases[i].error != 0 ? "lost\nended\n" : "lost\n");
        if (cases[i].error != 0) {
            assert_int_equal(pubsub_wait(stage->client, -1), cases[i].error);
            assert_int_equal(pubsub_publish(stage->client, "t", "", 0, NULL, NULL), cases[i].error);
            assert_int_equal(pubsub_fd(stage->client), -1);
            assert_non_null(strstr(pubsub_error(stage->client), "so it is"));
        } else {
            accept_client(stage);
            say_welcome(stage, 10, 1000);
            wait_for_log(stage, "again\n");
            hang_up(stage);
        }
        pubsub_close(stage->client, 0);
        stage->client = NULL;
        stage->log[0] = '\0';
    }
}

static void broken_broker_ends_it(void **state)
{
    struct stage *stage = *state;
    open_stage(stage, options_of(stage), 10);
    assert_int_equal(send(stage->peer, "\x91\x3f", 2, MSG_NOSIGNAL), 2);
    wait_for_log(stage, "lost\nended\n");
    assert_int_equal(pubsub_wait(stage->client, -1), PUBSUB_EPROTO);
    assert_int_equal(recv(stage->peer, stage->in, sizeof stage->in, 0), 3);
    assert_memory_equal(stage->in, "\x92\x15\x67", 3); /* BYE 103 */
}

/* A PUBACK for what waits behind the window, which nobody can have seen. */
static void early_puback_ends_it(void **state)
{
    struct stage *stage = *state;
    open_stage(stage, options_of(stage), 1);
    publish(stage, "a", PUBSUB_ACK_ROUTED);
    publish(stage, "b", PUBSUB_ACK_ROUTED);
    expect_frames(stage, "acked a, ");
    say_puback(stage, 2, 0);
    wait_for_log(stage, "lost\nended\n");
    assert_int_equal(pubsub_wait(stage->client, -1), PUBSUB_EPROTO);
}

static void shutdown_keeps_reading(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    open_stage(stage, options_of(stage), 10);
    const struct pubsub_subscribe_options options = callbacks(stage);
    assert_int_equal(pubsub_subscribe(stage->client, "s", &options, NULL), PUBSUB_OK);
    publish(stage, "a", PUBSUB_ACK_NONE);
    assert_int_equal(pubsub_shutdown(stage->client, PATIENCE_MS), PUBSUB_OK);
    assert_int_equal(pubsub_publish(stage->client, "t", "", 0, NULL, NULL), PUBSUB_ECLOSED);
    expect_frames(stage, "SUB 1 s, a, ");
    assert_int_equal(recv(stage->peer, stage->in, 1, 0), 0);
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("s"), {NULL, 0}, mps_text("1")});
    say(stage, &out);
    wait_for_log(stage, "message 1 s 1\n");
    hang_up(stage);
    assert_int_equal(pubsub_wait(stage->client, PATIENCE_MS), PUBSUB_ECLOSED);
    expect_log(stage, "ended\n");
}

static void large_messages_grow_the_buffer(void **state)
{
    struct stage *stage = *state;
    static uint8_t buf[400000], payload[300000];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    char text[256];
    struct pubsub_options options = options_of(stage);
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_OK);
    accept_client(stage);
    say_welcome(stage, 10, 300000);
    wait_for_log(stage, "connected\n");
    const struct pubsub_subscribe_options sub = callbacks(stage);
    assert_int_equal(pubsub_subscribe(stage->client, "s", &sub, NULL), PUBSUB_OK);
    expect_frames(stage, "SUB 1 s, ");
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("s"), {NULL, 0}, {payload, sizeof payload}});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("s"), {NULL, 0}, {payload, 5}});
    size_t sent = 0;
    int64_t until = now_ms() + PATIENCE_MS;
    while (sent < out.len && now_ms() < until) {
        ssize_t n = send(stage->peer, buf + sent, out.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) sent += (size_t)n;
        assert_true(pubsub_wait(stage->client, 0) >= 0);
    }
    wait_for_log(stage, "message 1 s 300000\nmessage 1 s 5\n");
}

static void close_waits_for_the_brokers_bye(void **state)
{
    struct stage *stage = *state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    stage->peer = pair[1];
    say_welcome(stage, 10, 1000);
    char url[16], text[256];
    snprintf(url, sizeof url, "fd:%d", pair[0]);
    struct pubsub_options options = options_of(stage);
    options.url = url;
    options.retry_first = false;
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_OK);
    expect_log(stage, "connected\n");
    publish(stage, "a", PUBSUB_ACK_ROUTED);
    pubsub_wait(stage->client, 0);
    publish(stage, "b", PUBSUB_ACK_NONE);
    say_puback(stage, 1, 0);
    say_bye(stage, 0);
    pubsub *client = stage->client;
    stage->client = NULL;
    pubsub_close(client, PATIENCE_MS);
    expect_log(stage, "puback 1..1 0\n"); /* and nothing of states */
    expect_frames(stage, "HELLO, acked a, b, BYE, ");
    assert_int_equal(recv(stage->peer, stage->in, 1, 0), 0);
}

static void first_connection_fails_with_a_reason(void **state)
{
    struct stage *stage = *state;
    char text[256] = "";
    struct pubsub_options options = options_of(stage);
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
    expect_log(stage, "");
}

static void silent_connection_is_lost(void **state)
{
    struct stage *stage = *state;
    char text[256] = "";
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    struct pubsub_options options = options_of(stage);
    assert_int_equal(pubsub_open(&stage->client, &options, text, sizeof text), PUBSUB_OK);
    accept_client(stage);
    mps_encode_welcome(&out, &(struct mps_welcome){.version = 1, .id = mps_text("given"), .ka_s = 1});
    say(stage, &out);
    wait_for_log(stage, "connected\n");
    int64_t start = now_ms();
    expect_frames(stage, "PING, ");
    assert_true(now_ms() - start >= 400);
    wait_for_log(stage, "lost\n"); /* no PONG came */
    assert_true(now_ms() - start >= 1400);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
