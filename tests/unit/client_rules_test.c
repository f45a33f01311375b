/* The core judges names and messages by code of its own, because a device has no room for proto's. Both have to say the
 * same: here they are asked about things that are nearly right, at random, the same ones each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "../../client-lib/core_state.h"
#include "wire.h"

#define ROUNDS 100000

static uint64_t random_state = 88172645463325252u;

static uint32_t below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16) % limit;
}

/* Bytes that are being put together. */
struct bytes {
    uint8_t at[1024];
    uint32_t len;
};

static void put(struct bytes *bytes, const void *more, size_t len)
{
    memcpy(bytes->at + bytes->len, more, len);
    bytes->len += (uint32_t)len;
}

static void expect_same(const char *what, bool by_core, bool by_proto, const struct bytes *bytes)
{
    char text[2 * sizeof bytes->at + 1] = "";
    if (by_core == by_proto) return;
    for (uint32_t i = 0; i < bytes->len; i++) snprintf(text + 2 * i, 3, "%02x", bytes->at[i]);
    fail_msg("%s %s: the core says %d, proto %d", what, text, by_core, by_proto);
}

/* Of characters that rules are about, some of them cut. */
static void put_name(struct bytes *bytes)
{
    static const char *const pieces[] = {"a",
                                         "b",
                                         "/",
                                         "+",
                                         "#",
                                         "$",
                                         "\x7f",
                                         " ",
                                         "\t",
                                         "\xc2\x85",
                                         "\xc2\xa0",
                                         "\xc2\xad",
                                         "\xc3\xa4",
                                         "\x80",
                                         "\xc0\x80",
                                         "\xc1",
                                         "\xf5",
                                         "\xe0\x80\x80",
                                         "\xe2\x80\x8a",
                                         "\xe2\x80\x8b",
                                         "\xe2\x80\x8f",
                                         "\xe2\x80\x90",
                                         "\xe2\x80\xa8",
                                         "\xe2\x80\xae",
                                         "\xe2\x80\xaf",
                                         "\xe2\x81\x9f",
                                         "\xe2\x81\xa0",
                                         "\xe2\x81\xaf",
                                         "\xe2\x81\xb0",
                                         "\xed\x9f\xbf",
                                         "\xed\xa0\x80",
                                         "\xef\xbb\xbf",
                                         "\xf0\x9f\x98\x80",
                                         "\xf4\x90\x80\x80",
                                         "longer/topic"};
    for (uint32_t count = below(4) == 0 ? below(60) : below(7); count > 0; count--) {
        const char *piece = pieces[below(sizeof pieces / sizeof *pieces)];
        put(bytes, piece, strlen(piece) - (below(30) == 0));
        if (below(100) == 0) put(bytes, "", 1);
    }
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct bytes name = {.len = 0};
        put_name(&name);
        struct view core = {name.at, name.len};
        mps_view proto = {name.at, name.len};
        expect_same("text", mps_core_utf8(core), mps_utf8_valid(proto), &name);
        expect_same("topic", mps_core_is_name(core, false), mps_topic_error(proto) == NULL, &name);
        expect_same("pattern", mps_core_is_name(core, true), mps_pattern_error(proto) == NULL, &name);
        expect_same("id", mps_core_is_id(core), mps_id_error(proto) == NULL, &name);
    }
}

/* Keys and values that a map of properties has, or must not have. */
static void put_properties(struct bytes *bytes)
{
#define VALUE(text)           \
    {                         \
        text, sizeof text - 1 \
    }
    static const struct {
        const char *bytes;
        size_t len;
    } values[] = {VALUE("\x00"),
                  VALUE("\x07"),
                  VALUE("\xcc\x08"),
                  VALUE("\xcd\x00\x01"),
                  VALUE("\xcf\x00\x1f\xff\xff\xff\xff\xff\xff"),
                  VALUE("\xcf\x00\x20\x00\x00\x00\x00\x00\x00"),
                  VALUE("\xff"),
                  VALUE("\xd0\x05"),
                  VALUE("\xd0\x85"),
                  VALUE("\xc0"),
                  VALUE("\xc1"),
                  VALUE("\xc2"),
                  VALUE("\xa0"),
                  VALUE("\xa1x"),
                  VALUE("\xa1y"),
                  VALUE("\xa2\xc3\xa4"),
                  VALUE("\xa1\xff"),
                  VALUE("\xd9\x01x"),
                  VALUE("\xc4\x02xy"),
                  VALUE("\xc4\x19"
                        "0123456789012345678901234"),
                  VALUE("\xca\x01\x01\x01\x01"),
                  VALUE("\xd4\x01x"),
                  VALUE("\x90"),
                  VALUE("\x92\x01\xa1x"),
                  VALUE("\x91\x91\x01"),
                  VALUE("\x80"),
                  VALUE("\x81\x01\x02")};
    uint32_t pairs = below(5);
    put(bytes, &(uint8_t){(uint8_t)(0x80 | pairs)}, 1);
    for (uint32_t i = 0; i < 2 * pairs; i++) {
        uint32_t kind = below(sizeof values / sizeof *values);
        if (i % 2 == 0 && below(3) > 0) put(bytes, &(uint8_t){(uint8_t)below(10)}, 1);
        else put(bytes, values[kind].bytes, values[kind].len);
    }
}

static bool core_takes(const struct bytes *frame)
{
    static uint8_t rx[4096], tx[512];
    struct pubsub_core core;
    struct pubsub_event event;
    void *at;
    pubsub_core_init(&core, rx, sizeof rx, tx, sizeof tx);
    core.state = CORE_READY;
    core.flags = CORE_HAVE_FOR;
    assert_true(pubsub_core_input(&core, &at) >= frame->len);
    memcpy(at, frame->at, frame->len);
    pubsub_core_received(&core, frame->len);
    return pubsub_core_next(&core, &event) == PUBSUB_EVENT_MESSAGE;
}

static bool proto_takes(const struct bytes *frame)
{
    static const struct mps_limits limits = {4096, MPS_VALUES_MAX, 4096};
    struct mps_scan scan = {0};
    struct mps_msg msg;
    const char *what;
    return mps_scan(&scan, frame->at, frame->len, &limits) == MPS_SCAN_FRAME && scan.op == MPS_OP_MSG &&
           mps_decode_msg((mps_view){frame->at, scan.pos}, &msg, &what) == MPS_OK &&
           mps_topic_error(msg.topic) == NULL && (msg.props.ptr == NULL || mps_props_check(msg.props, &what) == MPS_OK);
}

static void test_messages(void **state)
{
    int taken = 0;
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct bytes frame = {.len = 0};
        put(&frame,
            "\x94\x02\xa1"
            "a",
            4);
        put_properties(&frame);
        put(&frame, "\xc4\x01p", 3);
        if (below(8) == 0) frame.at[2 + below(frame.len - 2)] = (uint8_t)below(256);
        bool takes = proto_takes(&frame);
        expect_same("message", core_takes(&frame), takes, &frame);
        taken += takes;
    }
    assert_in_range(taken, ROUNDS / 20, ROUNDS - ROUNDS / 20); /* both kinds come */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_messages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
