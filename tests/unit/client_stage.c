#include "client_stage.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void stage_note(struct stage *stage, const char *format, ...)
{
    size_t at = strlen(stage->log);
    va_list args;
    va_start(args, format);
    vsnprintf(stage->log + at, sizeof stage->log - at, format, args);
    va_end(args);
}

void stage_expect_log(struct stage *stage, const char *expected)
{
    assert_string_equal(stage->log, expected);
    stage->log[0] = '\0';
}

/* ---- callbacks ------------------------------------------------------------------------------------------------- */

static void on_state(pubsub *client, enum pubsub_state state, const char *text, void *user)
{
    static const char *const names[] = {"", "connected", "lost", "again", "ended"};
    (void)client, (void)text;
    stage_note(user, "%s\n", names[state]);
}

static void on_puback(pubsub *client, const struct pubsub_puback *ack, void *user)
{
    (void)client;
    stage_note(user, "puback %llu..%llu %u\n", (unsigned long long)ack->first_pid, (unsigned long long)ack->last_pid,
               ack->code);
}

static void on_refusal(pubsub *client, const struct pubsub_refusal *refusal, void *user)
{
    (void)client;
    stage_note(user, "refusal %u op %u sid %u %s\n", refusal->code, refusal->op, refusal->sid, refusal->text);
}

static void note_position(struct stage *stage, uint64_t stream, uint64_t seq)
{
    if (stream != 0) stage_note(stage, " at %llu:%llu", (unsigned long long)stream, (unsigned long long)seq);
}

static void on_message(pubsub *client, const struct pubsub_message *message, void *user)
{
    stage_note(user, "message %u %.*s %zu", message->sid, (int)message->topic_len, message->topic,
               message->payload_len);
    note_position(user, message->stream, message->seq);
    if (message->replayed) stage_note(user, " replayed");
    if (message->redelivered) stage_note(user, " try %u", message->tries);
    stage_note(user, "\n");
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
    stage_note(user, "gap %u %llu %s", gap->sid, (unsigned long long)gap->count, gap->reason_name);
    if (!gap->exact) stage_note(user, " inexact");
    note_position(user, gap->stream, gap->first);
    if (gap->stream != 0) stage_note(user, "..%llu", (unsigned long long)gap->last);
    stage_note(user, "\n");
}

static void on_mark(pubsub *client, uint32_t sid, enum pubsub_mark mark, void *user)
{
    (void)client;
    stage_note(user, "mark %u %d\n", sid, (int)mark);
}

static void on_granted(pubsub *client, uint32_t sid, void *user)
{
    (void)client;
    stage_note(user, "granted %u\n", sid);
}

static void on_stat(pubsub *client, const struct pubsub_stat *stat, void *user)
{
    (void)client;
    stage_note(user, "stat %u %llu\n", stat->sid, (unsigned long long)stat->matched);
}

struct pubsub_subscribe_options stage_callbacks(struct stage *stage)
{
    return (struct pubsub_subscribe_options){.on_message = on_message,
                                             .on_gap = on_gap,
                                             .on_mark = on_mark,
                                             .on_granted = on_granted,
                                             .on_stat = on_stat,
                                             .user = stage};
}

/* ---- the broker's side ------------------------------------------------------------------------------------------- */

int64_t stage_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int let_work(struct stage *stage, int timeout_ms)
{
    return stage->work != NULL ? stage->work(stage, timeout_ms) : pubsub_wait(stage->client, timeout_ms);
}

void stage_say(struct stage *stage, struct mps_out *out)
{
    assert_false(out->full);
    assert_int_equal(send(stage->peer, out->buf, out->len, MSG_NOSIGNAL), out->len);
    out->len = 0;
}

void stage_say_welcome(struct stage *stage, uint64_t window, uint64_t max_payload)
{
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_welcome(&out, &(struct mps_welcome){.version = 1,
                                                   .id = mps_text("given"),
                                                   .ka_s = 60,
                                                   .epoch = stage->epoch,
                                                   .resumed = stage->resumed,
                                                   .last_pid = stage->last_pid,
                                                   .pub_window = window,
                                                   .max_payload = max_payload,
                                                   .inbox = mps_text(stage->inbox),
                                                   .ack = 1});
    stage_say(stage, &out);
}

void stage_say_bye(struct stage *stage, uint32_t code)
{
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_bye(&out, &(struct mps_bye){.code = code, .text = mps_text("so it is")});
    stage_say(stage, &out);
}

void stage_say_puback(struct stage *stage, uint64_t pid, uint32_t code)
{
    uint8_t buf[256];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_puback(&out, &(struct mps_puback){.pid = pid, .code = code, .text = mps_text("no")});
    stage_say(stage, &out);
}

__attribute__((format(printf, 2, 3))) static void add(struct mps_out *text, const char *format, ...)
{
    char piece[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    assert_true(len >= 0 && (size_t)len < sizeof piece);
    mps_put_raw(text, (mps_view){(const uint8_t *)piece, (uint32_t)len});
}

/* "last:5", "seq:64,1000,65,1,all". */
static void describe_from(struct mps_out *text, const struct mps_from *from)
{
    mps_view pairs = from->pairs;
    uint64_t stream, seq;
    enum mps_from_kind kind = from->kind == MPS_FROM_SEQ ? from->rest : from->kind;
    add(text, " from=");
    if (from->kind == MPS_FROM_SEQ) add(text, "seq:");
    while (from->kind == MPS_FROM_SEQ && mps_from_next(&pairs, &stream, &seq))
        add(text, "%llu,%llu,", (unsigned long long)stream, (unsigned long long)seq);
    add(text, "%s", mps_from_name(kind));
    if (kind == MPS_FROM_LAST || kind == MPS_FROM_TIME || kind == MPS_FROM_AGO)
        add(text, ":%llu", (unsigned long long)from->number);
}

/* A subscription with the options that it names, in the order of PROTOCOL.md. */
static void describe_sub(struct mps_out *text, const struct mps_sub *sub)
{
    const struct mps_sub_options *o = &sub->options;
    add(text, "SUB %u %.*s", sub->sid, (int)sub->pattern.len, (const char *)sub->pattern.ptr);
    if (o->given & MPS_SUB_POLICY) add(text, " policy=%s", mps_policy_name(o->policy));
    if (o->given & MPS_SUB_MAX_MSGS) add(text, " max_msgs=%llu", (unsigned long long)o->max_msgs);
    if (o->given & MPS_SUB_MAX_BYTES) add(text, " max_bytes=%llu", (unsigned long long)o->max_bytes);
    if (o->given & MPS_SUB_BLOCK_MS) add(text, " block_ms=%llu", (unsigned long long)o->block_ms);
    if (o->given & MPS_SUB_THEN) add(text, " then=%s", mps_policy_name(o->then));
    if (o->given & MPS_SUB_ACK) add(text, " ack=%s", mps_ack_mode_name(o->ack));
    if (o->given & MPS_SUB_ACK_MS) add(text, " ack_ms=%llu", (unsigned long long)o->ack_ms);
    if (o->given & MPS_SUB_MAX_TRIES) add(text, " max_tries=%llu", (unsigned long long)o->max_tries);
    if (o->given & MPS_SUB_INFLIGHT) add(text, " inflight=%llu", (unsigned long long)o->inflight);
    if (o->given & MPS_SUB_CREDIT) add(text, " credit=%llu", (unsigned long long)o->credit);
    if (o->given & MPS_SUB_GROUP) add(text, " group=%.*s", (int)o->group.len, (const char *)o->group.ptr);
    if (o->given & MPS_SUB_FILTER) add(text, " filter=%.*s", (int)o->filter.len, (const char *)o->filter.ptr);
    if (o->given & MPS_SUB_FROM) describe_from(text, &o->from);
    if (o->given & MPS_SUB_RETAINED) add(text, " retained=%u", o->retained);
    if (o->given & MPS_SUB_NO_LOCAL) add(text, " no_local=%d", o->no_local);
    if (o->given & MPS_SUB_DURABLE) add(text, " durable=%d", o->durable);
    if (o->given & MPS_SUB_SCOPE) add(text, " scope=%s", mps_scope_name(o->scope));
}

static void remember_hello(struct stage *stage, mps_view frame)
{
    struct mps_hello hello;
    const char *what;
    assert_int_equal(mps_decode_hello(frame, &hello, &what), MPS_OK);
    assert_true(hello.id.len < sizeof stage->id);
    snprintf(stage->id, sizeof stage->id, "%.*s", (int)hello.id.len,
             hello.id.ptr == NULL ? "" : (const char *)hello.id.ptr);
    stage->session_s = hello.sess_s;
    stage->boot = hello.boot;
    stage->clean = hello.clean;
    snprintf(stage->auth, sizeof stage->auth, "%.*s", (int)hello.auth.len,
             hello.auth.ptr == NULL ? "" : (const char *)hello.auth.ptr);
    assert_true(hello.data.len <= sizeof stage->proof);
    stage->proof_len = hello.data.len;
    if (hello.data.len > 0) memcpy(stage->proof, hello.data.ptr, hello.data.len);
}

/* Keeps what a test may want to know of a message's properties. */
static void remember_props(struct stage *stage, mps_view props)
{
    assert_true(props.len <= sizeof stage->props);
    if (props.len > 0) memcpy(stage->props, props.ptr, props.len);
    stage->props_len = props.len;
    struct mps_reader r = mps_reader_open(mps_props_find(props, MPS_PROP_REPLY_TO));
    mps_view reply_to = mps_read_text(&r, "reply-to");
    if (r.bad == NULL)
        snprintf(stage->reply_to, sizeof stage->reply_to, "%.*s", (int)reply_to.len, (const char *)reply_to.ptr);
}

static void describe_frame(struct stage *stage, mps_view frame, unsigned op, struct mps_out *text)
{
    const char *what;
    struct mps_sub sub;
    struct mps_credit credit;
    struct mps_msg msg;
    struct mps_pub pub;
    struct mps_ack ack;
    switch (op) {
    case MPS_OP_HELLO: remember_hello(stage, frame); break;
    case MPS_OP_ACK:
        assert_int_equal(mps_decode_ack(frame, &ack, &what), MPS_OK);
        add(text, "ACK %u %llu:%llu %u", ack.sid, (unsigned long long)ack.stream, (unsigned long long)ack.seq,
            ack.kind);
        if (ack.delay_ms > 0) add(text, " in %llu ms", (unsigned long long)ack.delay_ms);
        add(text, ", ");
        return;
    case MPS_OP_SUB:
        assert_int_equal(mps_decode_sub(frame, &sub, &what), MPS_OK);
        describe_sub(text, &sub);
        add(text, ", ");
        return;
    case MPS_OP_CREDIT:
        assert_int_equal(mps_decode_credit(frame, &credit, &what), MPS_OK);
        add(text, "CREDIT %u %llu%s, ", credit.sid, (unsigned long long)credit.max_msgs, credit.drain ? " drain" : "");
        return;
    case MPS_OP_PUB:
        assert_int_equal(mps_decode_pub(frame, &pub, &what), MPS_OK);
        stage->flags = pub.flags;
        if (stage->first_pid == 0) stage->first_pid = pub.pid;
        return;
    case MPS_OP_MSG:
        assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
        remember_props(stage, msg.props);
        add(text, "%s%s%.*s, ", stage->flags & MPS_PUB_MUST_ROUTE ? "must " : "",
            stage->flags & MPS_PUB_LEVEL_MASK ? "acked " : "", (int)msg.topic.len, (const char *)msg.topic.ptr);
        return;
    }
    add(text, "%s, ", mps_op_name(op));
}

void stage_expect_frames(struct stage *stage, const char *expected)
{
    static const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    char text[4096] = "";
    struct mps_out out = mps_out_open(text, sizeof text - 1);
    int64_t until = stage_now_ms() + PATIENCE_MS;
    while (strlen(text) < strlen(expected) && stage_now_ms() < until) {
        if (stage->client != NULL) let_work(stage, 1);
        ssize_t n = recv(stage->peer, stage->in + stage->in_len, sizeof stage->in - stage->in_len, MSG_DONTWAIT);
        if (n > 0) stage->in_len += (size_t)n;
        size_t at = 0;
        for (;;) {
            struct mps_scan scan = {0};
            if (mps_scan(&scan, stage->in + at, stage->in_len - at, &limits) != MPS_SCAN_FRAME) break;
            describe_frame(stage, (mps_view){stage->in + at, scan.pos}, scan.op, &out);
            at += scan.pos;
        }
        memmove(stage->in, stage->in + at, stage->in_len - at);
        stage->in_len -= at;
    }
    assert_string_equal(text, expected);
}

void stage_wait_for_log(struct stage *stage, const char *expected)
{
    int64_t until = stage_now_ms() + PATIENCE_MS;
    while (strlen(stage->log) < strlen(expected) && stage_now_ms() < until && let_work(stage, 100) >= 0) continue;
    stage_expect_log(stage, expected);
}

void stage_accept(struct stage *stage)
{
    int64_t until = stage_now_ms() + PATIENCE_MS;
    stage->in_len = 0;
    stage->first_pid = 0;
    stage->flags = 0;
    do {
        let_work(stage, 1);
        stage->peer = accept4(stage->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (stage->peer < 0 && stage_now_ms() < until);
    assert_true(stage->peer >= 0);
    stage_expect_frames(stage, "HELLO, ");
}

void stage_hang_up(struct stage *stage)
{
    close(stage->peer);
    stage->peer = -1;
}

/* ---- stages ------------------------------------------------------------------------------------------------------ */

int stage_set_up(void **state)
{
    struct stage *stage = calloc(1, sizeof *stage);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(stage->dir, "/tmp/client_test.XXXXXX");
    if (mkdtemp(stage->dir) == NULL) return -1;
    stage->epoch = 1;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", stage->dir);
    snprintf(stage->url, sizeof stage->url, "unix:%s/s", stage->dir);
    stage->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    stage->peer = -1;
    if (bind(stage->listener, (const struct sockaddr *)&address, sizeof address) != 0) return -1;
    if (listen(stage->listener, 8) != 0) return -1;
    *state = stage;
    return 0;
}

int stage_listen_tcp(struct stage *stage)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    close(stage->listener);
    stage->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(stage->listener, (const struct sockaddr *)&address, len) != 0 || listen(stage->listener, 8) != 0)
        return -1;
    if (getsockname(stage->listener, (struct sockaddr *)&address, &len) != 0) return -1;
    return ntohs(address.sin_port);
}

int stage_tear_down(void **state)
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

struct pubsub_options stage_options(struct stage *stage)
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

void stage_open(struct stage *stage, struct pubsub_options options, uint64_t window)
{
    char text[256] = "";
    int rc = pubsub_open(&stage->client, &options, text, sizeof text);
    if (rc != PUBSUB_OK) fail_msg("%s", text);
    stage_accept(stage);
    stage_say_welcome(stage, window, 1000);
    stage_wait_for_log(stage, "connected\n");
}

void stage_publish(struct stage *stage, const char *topic, enum pubsub_ack ack)
{
    const struct pubsub_publish_options options = {.ack = ack};
    assert_int_equal(pubsub_publish(stage->client, topic, "x", 1, &options, NULL), PUBSUB_OK);
}
