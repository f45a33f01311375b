/* The client's core as a device has it: the smallest buffers, and messages in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pubsub/core.h>
#include <stdio.h>
#include <string.h>

#include "wire.h"

#define PAYLOAD_BYTES 1000

struct device {
    struct pubsub_core core;
    uint8_t rx[PUBSUB_CORE_RX_MIN], tx[PUBSUB_CORE_TX_MIN];
    uint8_t guard[16]; /* behind the buffers: never written */
    uint8_t sent[1024], payload[2 * PAYLOAD_BYTES];
    size_t sent_len, payload_len;
    unsigned pieces;
    char log[1024]; /* what came, each message once */
};

static void drain(struct device *device)
{
    const void *at;
    size_t len = pubsub_core_output(&device->core, &at);
    assert_true(device->sent_len + len <= sizeof device->sent);
    memcpy(device->sent + device->sent_len, at, len);
    device->sent_len += len;
    pubsub_core_written(&device->core, len);
}

static void say(struct device *device, const char *text)
{
    assert_true(strlen(device->log) + strlen(text) < sizeof device->log);
    strcat(device->log, text);
}

static void take_message(struct device *device, const struct pubsub_message *m)
{
    char text[512];
    assert_true(device->payload_len + m->payload_len <= sizeof device->payload);
    if (m->offset == 0) device->payload_len = 0;
    assert_int_equal(m->offset, device->payload_len);
    memcpy(device->payload + device->payload_len, m->payload, m->payload_len);
    device->payload_len += m->payload_len;
    device->pieces++;
    if (device->payload_len < m->total) return;
    assert_int_equal(device->payload_len, m->total);
    snprintf(text, sizeof text, "message %u %.*s %u at %u:%u props %zu, ", m->sid, (int)m->topic_len, m->topic,
             m->total, (unsigned)m->stream, (unsigned)m->seq, m->props_len);
    say(device, text);
}

static void take_events(struct device *device)
{
    struct pubsub_event event;
    char text[300];
    while (pubsub_core_next(&device->core, &event) != PUBSUB_EVENT_NONE) {
        text[0] = '\0';
        switch (event.type) {
        case PUBSUB_EVENT_NONE:
        case PUBSUB_EVENT_STAT:
        case PUBSUB_EVENT_INFO:
        case PUBSUB_EVENT_REFUSAL: break;
        case PUBSUB_EVENT_BLOCKED: break;
        case PUBSUB_EVENT_WELCOME:
            snprintf(text, sizeof text, "welcome %s %s, ", event.as.welcome.client_id, event.as.welcome.inbox);
            break;
        case PUBSUB_EVENT_MESSAGE: take_message(device, &event.as.message); break;
        case PUBSUB_EVENT_GAP:
            snprintf(text, sizeof text, "gap %u %s, ", (unsigned)event.as.gap.count, event.as.gap.reason_name);
            break;
        case PUBSUB_EVENT_PUBACK: snprintf(text, sizeof text, "puback %u, ", (unsigned)event.as.puback.last_pid); break;
        case PUBSUB_EVENT_SUBACK: snprintf(text, sizeof text, "suback %u, ", event.as.suback.code); break;
        case PUBSUB_EVENT_MARK: snprintf(text, sizeof text, "mark %u, ", event.as.mark.mark); break;
        case PUBSUB_EVENT_PONG: snprintf(text, sizeof text, "pong %zu, ", event.as.pong.len); break;
        case PUBSUB_EVENT_TOO_LARGE:
            snprintf(text, sizeof text, "too large %u at %u, ", event.as.too_large.payload_len,
                     (unsigned)event.as.too_large.seq);
            break;
        case PUBSUB_EVENT_BYE: snprintf(text, sizeof text, "bye %u, ", event.as.ending.code); break;
        case PUBSUB_EVENT_FAILED: snprintf(text, sizeof text, "failed %u, ", event.as.ending.code); break;
        }
        say(device, text);
        drain(device);
    }
    drain(device);
    for (size_t i = 0; i < sizeof device->guard; i++) assert_int_equal(device->guard[i], 0xa5);
}

/* At most `piece` bytes at once; 0: as many as fit. */
static void feed(struct device *device, const uint8_t *bytes, size_t len, size_t piece)
{
    while (len > 0) {
        void *at;
        size_t room = pubsub_core_input(&device->core, &at), part = len < room ? len : room;
        assert_true(room > 0);
        if (piece > 0 && piece < part) part = piece;
        memcpy(at, bytes, part);
        pubsub_core_received(&device->core, part);
        bytes += part;
        len -= part;
        take_events(device);
    }
}

static void begin(struct device *device, uint32_t payload_max)
{
    memset(device, 0, sizeof *device);
    memset(device->guard, 0xa5, sizeof device->guard);
    pubsub_core_init(&device->core, device->rx, sizeof device->rx, device->tx, sizeof device->tx);
    pubsub_core_take_pieces(&device->core, payload_max);
    assert_int_equal(pubsub_core_hello(&device->core, &(struct pubsub_core_hello){.client_id = "dev-7"}), PUBSUB_OK);
    drain(device);
}

static void welcome(struct mps_out *out)
{
    mps_encode_welcome(out, &(struct mps_welcome){.version = 1,
                                                  .id = mps_text("dev-7"),
                                                  .inbox = mps_text("$inbox/0123456789abcdef01234567"),
                                                  .epoch = UINT64_MAX,
                                                  .max_payload = 1 << 20,
                                                  .pub_window = 100,
                                                  .sw = mps_text("pubsubd 0.1.0")});
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 7 + i / 256);
}

static mps_view long_payload(size_t len)
{
    static uint8_t bytes[4 * PAYLOAD_BYTES];
    for (size_t i = 0; i < len; i++) bytes[i] = byte_at(i);
    return (mps_view){bytes, (uint32_t)len};
}

static void message(struct mps_out *out, const char *topic, mps_view payload)
{
    static const uint8_t props[] = {0x81, 0x03, 0x00};
    mps_encode_msg(out, &(struct mps_msg){mps_text(topic), {props, sizeof props}, payload});
}

static void sees_its_payload(const struct device *device)
{
    assert_int_equal(device->payload_len, PAYLOAD_BYTES);
    for (size_t i = 0; i < PAYLOAD_BYTES; i++) assert_int_equal(device->payload[i], byte_at(i));
}

/* hello, publish acknowledged, subscribe, message, gap, ack, ping: all in 256 and 128 bytes. */
static void a_session_fits_into_the_smallest_buffers(void **state)
{
    (void)state;
    for (size_t piece = 0; piece < 80; piece++) {
        struct device device;
        uint8_t bytes[1024];
        uint64_t pid;
        struct mps_out out = mps_out_open(bytes, sizeof bytes);
        begin(&device, 0);
        welcome(&out);
        mps_encode_puback(&out, &(struct mps_puback){.pid = 1, .matched = 1});
        mps_encode_suback(&out, &(struct mps_suback){.sid = 1});
        mps_encode_for(&out, &(struct mps_for){.sid = 1, .has_position = true, .stream = 64, .seq = 7});
        message(&out, "site/a/set", mps_text("on"));
        mps_encode_gap(&out, &(struct mps_gap){.sid = 1, .has_count = true, .count = 3, .reason = 1});
        mps_encode_ping(&out, &(struct mps_token){mps_text("abc")});
        mps_encode_pong(&out, &(struct mps_token){mps_text("xy")});
        mps_encode_bye(&out, &(struct mps_bye){.code = 0});
        assert_false(out.full);
        device.sent_len = 0;
        assert_int_equal(pubsub_core_subscribe(&device.core, 1, "site/a/set",
                                               &(struct pubsub_subscribe_options){.ack = PUBSUB_ACKS_EACH}),
                         PUBSUB_OK);
        assert_int_equal(pubsub_core_publish(&device.core, "site/a/temp", "\x81\xa1t\x15", 4,
                                             &(struct pubsub_publish_options){.ack = PUBSUB_ACK_STORED}, &pid),
                         PUBSUB_OK);
        assert_int_equal(pid, 1);
        assert_int_equal(pubsub_core_ack(&device.core, 1, 64, 6, PUBSUB_ACKED_ONE, 0), PUBSUB_OK);
        assert_int_equal(pubsub_core_ping(&device.core, "xy", 2), PUBSUB_OK);
        drain(&device);
        feed(&device, bytes, out.len, piece);
        assert_string_equal(device.log, "welcome dev-7 $inbox/0123456789abcdef01234567, puback 1, suback 0, "
                                        "message 1 site/a/set 2 at 64:7 props 3, gap 3 drop_old, pong 2, bye 0, ");
        static const uint8_t expected[] = "\x94\x09\x01\xaasite/a/set\x81\xa3"
                                          "ack\xa4"
                                          "each"
                                          "\x93\x03\x01\x04"
                                          "\x94\x02\xabsite/a/temp\xc0\xc4\x04\x81\xa1t\x15"
                                          "\x95\x05\x01\x40\x06\x01"
                                          "\x92\x0d\xc4\x02xy"
                                          "\x92\x0e\xc4\x03"
                                          "abc";
        assert_int_equal(device.sent_len, sizeof expected - 1);
        assert_memory_equal(device.sent, expected, sizeof expected - 1);
    }
}

/* A message larger than the buffer, with one before and one behind it, cut at every byte; and in equal parts of each
 * size. */
static void a_large_message_comes_in_pieces(void **state)
{
    (void)state;
    static const char expected[] = "message 1 a/b 2 at 64:5 props 3, message 1 a/b 1000 at 64:6 props 3, "
                                   "message 1 a/c 0 at 64:7 props 3, ";
    static const uint8_t trailing[] = {0x95};
    uint8_t bytes[2048];
    for (unsigned extra = 0; extra < 2; extra++) { /* with a field behind the payload, or none */
        struct mps_out out = mps_out_open(bytes, sizeof bytes), prefix = out;
        welcome(&out);
        prefix = out;
        mps_encode_for(&out, &(struct mps_for){.sid = 1, .has_position = true, .stream = 64, .seq = 5});
        message(&out, "a/b", mps_text("xy"));
        uint32_t large_at = out.len;
        message(&out, "a/b", long_payload(PAYLOAD_BYTES));
        if (extra) {
            bytes[large_at] = trailing[0];
            mps_put_text(&out, mps_text("what comes later"));
        }
        message(&out, "a/c", mps_text(""));
        assert_false(out.full);
        for (size_t cut = prefix.len; cut < out.len; cut++) {
            struct device device;
            begin(&device, PAYLOAD_BYTES);
            feed(&device, bytes, prefix.len, 0);
            device.log[0] = '\0';
            feed(&device, bytes + prefix.len, cut - prefix.len, 0);
            feed(&device, bytes + cut, out.len - cut, 0);
            assert_string_equal(device.log, expected);
            assert_true(device.pieces >= 6);
        }
        for (size_t piece = 1; piece < 256; piece++) {
            struct device device;
            begin(&device, PAYLOAD_BYTES);
            feed(&device, bytes, prefix.len, 0);
            device.log[0] = '\0';
            feed(&device, bytes + prefix.len, large_at - prefix.len, piece);
            uint32_t end = large_at + (uint32_t)sizeof "\x94\x02\xa3" - 1 + 3 + 3 + 3 + PAYLOAD_BYTES;
            feed(&device, bytes + large_at, end - large_at, piece);
            sees_its_payload(&device);
            feed(&device, bytes + end, out.len - end, piece);
            assert_string_equal(device.log, expected);
        }
    }
}

/* What is longer than was asked for, or begins behind the end of the buffer, is passed over, and is said to be. */
static void what_does_not_fit_is_passed_over(void **state)
{
    (void)state;
    char long_name[251];
    memset(long_name, 'n', 250);
    long_name[250] = '\0';
    uint8_t bytes[4096];
    struct mps_out out = mps_out_open(bytes, sizeof bytes);
    welcome(&out);
    mps_encode_for(&out, &(struct mps_for){.sid = 1, .has_position = true, .stream = 64, .seq = 1});
    message(&out, "a", long_payload(PAYLOAD_BYTES + 1));
    message(&out, long_name, long_payload(50));
    message(&out, "a", mps_text("x"));
    assert_false(out.full);
    for (size_t piece = 0; piece < 256; piece++) {
        struct device device;
        begin(&device, PAYLOAD_BYTES);
        feed(&device, bytes, out.len, piece);
        assert_string_equal(device.log, "welcome dev-7 $inbox/0123456789abcdef01234567, too large 1001 at 1, "
                                        "too large 50 at 2, message 1 a 1 at 64:3 props 3, ");
    }
}

/* Four times what we take is no mistake of a publisher any more. */
static void a_claim_of_too_much_ends_the_connection(void **state)
{
    (void)state;
    static const uint8_t claim[] = {0x92, 0x04, 0x01, 0x94, 0x02, 0xa1, 'a', 0xc0, 0xc6, 0x00, 0x00, 0x0f, 0xa1};
    uint8_t bytes[256];
    struct device device;
    struct mps_out out = mps_out_open(bytes, sizeof bytes);
    welcome(&out);
    begin(&device, PAYLOAD_BYTES);
    feed(&device, bytes, out.len, 0);
    device.log[0] = '\0';
    feed(&device, claim, sizeof claim, 0);
    assert_string_equal(device.log, "failed 104, ");
}

/* A broker that breaks the protocol amid a message, or behind its payload. */
static void nonsense_behind_a_piece_ends_the_connection(void **state)
{
    (void)state;
    uint8_t bytes[2048];
    struct mps_out out = mps_out_open(bytes, sizeof bytes);
    welcome(&out);
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    uint32_t at = out.len;
    message(&out, "a", long_payload(PAYLOAD_BYTES));
    bytes[at] = 0x95; /* one field more */
    bytes[out.len++] = 0xc1;
    for (size_t piece = 0; piece < 64; piece++) {
        struct device device;
        begin(&device, PAYLOAD_BYTES);
        feed(&device, bytes, out.len, piece);
        assert_string_equal(device.log, "welcome dev-7 $inbox/0123456789abcdef01234567, "
                                        "message 1 a 1000 at 0:0 props 3, failed 101, ");
    }
}

/* The next connection knows nothing of a message that was cut off. */
static void a_message_in_pieces_ends_with_its_connection(void **state)
{
    (void)state;
    uint8_t bytes[2048];
    struct device device;
    struct mps_out out = mps_out_open(bytes, sizeof bytes);
    welcome(&out);
    mps_encode_for(&out, &(struct mps_for){.sid = 1});
    message(&out, "a", long_payload(PAYLOAD_BYTES));
    begin(&device, PAYLOAD_BYTES);
    feed(&device, bytes, out.len - 500, 0);
    assert_true(device.pieces > 1);
    device.log[0] = '\0';
    pubsub_core_restart(&device.core, 1);
    assert_int_equal(pubsub_core_hello(&device.core, &(struct pubsub_core_hello){.client_id = "dev-7"}), PUBSUB_OK);
    drain(&device);
    feed(&device, bytes, out.len, 0);
    sees_its_payload(&device);
    assert_string_equal(device.log, "welcome dev-7 $inbox/0123456789abcdef01234567, message 1 a 1000 at 0:0 props 3, ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_fits_into_the_smallest_buffers),
        cmocka_unit_test(a_large_message_comes_in_pieces),
        cmocka_unit_test(what_does_not_fit_is_passed_over),
        cmocka_unit_test(a_claim_of_too_much_ends_the_connection),
        cmocka_unit_test(nonsense_behind_a_piece_ends_the_connection),
        cmocka_unit_test(a_message_in_pieces_ends_with_its_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
