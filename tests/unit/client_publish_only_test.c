/* The client's core built without subscriptions: it publishes, and lets pass what others send to its inbox. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pubsub/core.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "wire.h"

struct device {
    struct pubsub_core core;
    uint8_t rx[PUBSUB_CORE_RX_MIN], tx[PUBSUB_CORE_TX_MIN];
    char log[256];
};

static void feed(struct device *device, const uint8_t *bytes, size_t len, size_t piece)
{
    for (size_t part; len > 0; bytes += part, len -= part) {
        void *at;
        struct pubsub_event event;
        size_t room = pubsub_core_input(&device->core, &at), used = strlen(device->log);
        assert_true(room > 0);
        part = len < room ? len : room;
        if (piece > 0 && piece < part) part = piece;
        memcpy(at, bytes, part);
        pubsub_core_received(&device->core, part);
        while (pubsub_core_next(&device->core, &event) != PUBSUB_EVENT_NONE) {
            const char *text = event.type == PUBSUB_EVENT_PUBACK ? event.as.puback.text
                               : event.type == PUBSUB_EVENT_BYE || event.type == PUBSUB_EVENT_FAILED
                                   ? event.as.ending.text
                                   : "-";
            used += (size_t)snprintf(device->log + used, sizeof device->log - used, "%d '%s' ", (int)event.type, text);
            assert_true(used < sizeof device->log);
        }
    }
}

static void begin(struct device *device)
{
    memset(device, 0, sizeof *device);
    pubsub_core_init(&device->core, device->rx, sizeof device->rx, device->tx, sizeof device->tx);
    assert_int_equal(pubsub_core_hello(&device->core, &(struct pubsub_core_hello){.client_id = "dev-7"}), PUBSUB_OK);
    pubsub_core_written(&device->core, pubsub_core_output(&device->core, &(const void *){NULL}));
}

static void publishes_and_is_answered(void **state)
{
    (void)state;
    static uint8_t large[2000];
    uint8_t bytes[4096];
    struct mps_out out = mps_out_open(bytes, sizeof bytes);
    mps_encode_welcome(&out, &(struct mps_welcome){.version = 1, .id = mps_text("dev-7"), .pub_window = 9});
    mps_encode_puback(&out, &(struct mps_puback){.pid = 1, .matched = 3});
    mps_encode_for(&out, &(struct mps_for){.sid = 0});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("$inbox/a/1"), {NULL, 0}, mps_text("x")});
    mps_encode_msg(&out, &(struct mps_msg){mps_text("$inbox/a/1"), {NULL, 0}, {large, sizeof large}});
    mps_encode_gap(&out, &(struct mps_gap){.sid = 0, .has_count = true, .count = 1, .reason = 1});
    mps_encode_puback(&out, &(struct mps_puback){.pid = 2, .code = 211, .text = mps_text("not yours\x07")});
    mps_encode_bye(&out, &(struct mps_bye){.code = 113});
    assert_false(out.full);
    for (size_t piece = 0; piece < 40; piece++) {
        struct device device;
        char expected[128];
        const void *at;
        const struct pubsub_publish_options options = {.ack = PUBSUB_ACK_STORED, .has_ttl = true, .ttl_ms = 5};
        begin(&device);
        assert_int_equal(pubsub_core_publish(&device.core, "t", "x", 1, &options, NULL), PUBSUB_OK);
        assert_int_equal(pubsub_core_publish(&device.core, "t", "y", 1, &options, NULL), PUBSUB_OK);
        static const uint8_t sent[] =
            "\x93\x03\x01\x04\x94\x02\xa1t\x81\x04\x05\xc4\x01x\x94\x02\xa1t\x81\x04\x05\xc4\x01y";
        assert_int_equal(pubsub_core_output(&device.core, &at), sizeof sent - 1);
        assert_memory_equal(at, sent, sizeof sent - 1);
        feed(&device, bytes, out.len, piece);
        snprintf(expected, sizeof expected, "%d '-' %d '' %d 'not yours?' %d '' ", PUBSUB_EVENT_WELCOME,
                 PUBSUB_EVENT_PUBACK, PUBSUB_EVENT_PUBACK, PUBSUB_EVENT_BYE);
        assert_string_equal(device.log, expected);
    }
}

static void a_broken_broker_is_left(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t len;
        bool breaks;
    } cases[] = {
        {"c1", "\xc1", 1, true},
        {"SUB, which only a broker receives",
         "\x94\x09\x01\xa1"
         "a\x80",
         6, true},
        {"operation 63", "\x91\x3f", 2, true},
        {"PUBACK of a publish that was never sent", "\x95\x08\x01\x00\x00\x00", 6, true},
        {"half of a frame", "\x95\x08\x01", 3, false},
        {"FOR, of no interest", "\x92\x04\x01", 3, false},
        {"SUBACK, of no interest", "\x94\x0a\x01\x00\x80", 5, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t bytes[256];
        char expected[64];
        struct device device;
        struct mps_out out = mps_out_open(bytes, sizeof bytes);
        mps_encode_welcome(&out, &(struct mps_welcome){.version = 1});
        begin(&device);
        assert_false(out.full);
        feed(&device, bytes, out.len, 0);
        device.log[0] = '\0';
        feed(&device, (const uint8_t *)cases[i].bytes, cases[i].len, 0);
        snprintf(expected, sizeof expected, "%d '' ", PUBSUB_EVENT_FAILED);
        if (strcmp(device.log, cases[i].breaks ? expected : "") != 0) fail_msg("%s: %s", cases[i].name, device.log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publishes_and_is_answered),
        cmocka_unit_test(a_broken_broker_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
