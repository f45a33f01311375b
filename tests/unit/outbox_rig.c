#include "outbox_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void publish(struct mps_outbox *box, const char *topic, uint32_t flags)
{
    static unsigned calls;
    uint64_t pid;
    if (calls++ % 2 == 0 && flags == box->terms.flags && mps_outbox_publish_bare(box, topic, "payload", 7, 100, &pid))
        return;
    const struct mps_publish message = {.msg = {mps_text(topic), {NULL, 0}, mps_text("payload")}, .flags = flags};
    assert_int_equal(mps_outbox_reserve(box, mps_request_bound(&message), false), PUBSUB_OK);
    mps_outbox_publish(box, &message);
}

void request(struct mps_outbox *box, const char *topic)
{
    const struct pubsub_publish_options options = {
        .ack = PUBSUB_ACK_ROUTED, .must_route = true, .reply_to = "$inbox/0/1"};
    struct mps_publish message = {.flags = 0};
    const char *why;
    assert_int_equal(mps_request_message(&message, topic, "payload", 7, &options, 100, &why), PUBSUB_OK);
    assert_int_equal(mps_outbox_reserve(box, mps_request_bound(&message), false), PUBSUB_OK);
    assert_int_equal(mps_outbox_publish(box, &message) % 2, 0);
}

bool is_void(uint64_t pid, const void *user)
{
    return user != NULL && pid % 2 == 0;
}

void unsubscribe(struct mps_outbox *box)
{
    assert_int_equal(mps_outbox_reserve(box, MPS_SMALL_FRAME_MAX, true), PUBSUB_OK);
    struct mps_out out = mps_outbox_open(box);
    mps_encode_unsub(&out, &(struct mps_unsub){1});
    mps_outbox_add(box, &out);
}

__attribute__((format(printf, 2, 3))) static void note(struct broker *broker, const char *format, ...)
{
    size_t at = strlen(broker->text);
    va_list args;
    va_start(args, format);
    vsnprintf(broker->text + at, sizeof broker->text - at, format, args);
    va_end(args);
}

static void take_pub(struct broker *broker, mps_view frame)
{
    struct mps_pub pub;
    const char *what;
    assert_int_equal(mps_decode_pub(frame, &pub, &what), MPS_OK);
    assert_int_equal(pub.pid != 0, mps_flags_acked(pub.flags));
    if (pub.pid != 0) assert_int_equal(pub.pid, broker->next_pid);
    broker->flags = pub.flags;
}

/* In topics that are numbered, the number is the pid, or goes up. */
static void check_numbered(struct broker *broker, mps_view topic)
{
    char text[16];
    snprintf(text, sizeof text, "%.*s", (int)topic.len, (const char *)topic.ptr);
    unsigned number = (unsigned)strtoul(text + 1, NULL, 10);
    if (number == 0) return;
    if (text[0] == 'm') assert_int_equal(number, broker->next_pid);
    if (text[0] == 'u') assert_true(number > broker->last_plain);
    if (text[0] == 'u') broker->last_plain = number;
    if (broker->on_numbered != NULL) broker->on_numbered(text[0], number);
}

void broker_read(struct broker *broker)
{
    static const struct mps_limits limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
    size_t at = 0;
    for (;;) {
        struct mps_scan scan = {0};
        if (mps_scan(&scan, broker->bytes + at, broker->len - at, &limits) != MPS_SCAN_FRAME) break;
        mps_view frame = {broker->bytes + at, scan.pos};
        struct mps_msg msg;
        const char *what;
        if (scan.op == MPS_OP_PUB) {
            take_pub(broker, frame);
        } else if (scan.op == MPS_OP_MSG) {
            assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
            check_numbered(broker, msg.topic);
            note(broker, "%.*s", (int)msg.topic.len, (const char *)msg.topic.ptr);
            if (mps_flags_acked(broker->flags)) note(broker, "%u", (unsigned)broker->next_pid++);
            if (broker->flags & MPS_PUB_RETAIN) note(broker, "r");
            note(broker, " ");
        } else {
            note(broker, "%s ", mps_op_name(scan.op));
        }
        at += scan.pos;
    }
    memmove(broker->bytes, broker->bytes + at, broker->len - at);
    broker->len -= at;
}

void broker_new_connection(struct broker *broker, const struct mps_outbox *box)
{
    broker->len = 0;
    broker->text[0] = '\0';
    broker->flags = 0;
    broker->next_pid = box->settled_pid + 1;
}

void write_some(struct mps_outbox *box, struct broker *broker, size_t max)
{
    size_t n = mps_outbox_writable(box);
    if (n > max) n = max;
    assert_true(n <= sizeof broker->bytes - broker->len);
    if (n > 0) memcpy(broker->bytes + broker->len, box->buf + box->sent, n);
    broker->len += n;
    mps_outbox_written(box, n);
    broker_read(broker);
}

void connect_to(struct mps_outbox *box, struct broker *broker, uint64_t window)
{
    broker_new_connection(broker, box);
    assert_int_equal(mps_outbox_connected(box, window, NULL, 0), PUBSUB_OK);
}
