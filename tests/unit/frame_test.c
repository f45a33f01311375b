/* The bounded scan: every cut, every limit, and what a peer only claims. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire.h"

static const struct mps_limits defaults = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};

/* A copy in memory of its own size, so that the sanitizer sees each byte read beyond it. */
static uint8_t *exactly(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    if (len > 0) memcpy(copy, bytes, len);
    return copy;
}

static enum mps_scan_result scan_once(const uint8_t *bytes, size_t len, struct mps_scan *scan)
{
    *scan = (struct mps_scan){0};
    uint8_t *copy = exactly(bytes, len);
    enum mps_scan_result result = mps_scan(scan, copy, len, &defaults);
    free(copy);
    return result;
}

struct frame {
    const char *bytes;
    size_t len;
};
#define FRAME(text)           \
    {                         \
        text, sizeof text - 1 \
    }

static const struct frame good[] = {
    FRAME("\x94\x02\xabsite/a/temp\xc0\xc4\x04\x81\xa1t\x15"),
    FRAME("\x94\x02\xa1t\xc0\xc4\x00"),
    FRAME("\x94\x02\xd9\x01t\xc0\xc5\x00\x01x"),
    FRAME("\x94\x02\xa1t\x82\x01\xa1r\xa1h\x93\x01\xc0\xc4\x01z\xc6\x00\x00\x00\x02xy"),
    FRAME("\x95\x02\xa1t\x80\xc4\x01x\x92\xa1"
          "a\x91\xc0"),
    FRAME("\xdc\x00\x04\xcc\x02\xda\x00\x01t\xc0\xc4\x03\xff\xff\xff"),
    FRAME("\xdd\x00\x00\x00\x02\xcd\x00\x0d\xc4\x02\x01\x02"),
    FRAME("\x94\x01\xa3mps\x01\x82\xa2id\xa5"
          "dev-7\xa2ka\x3c"),
    FRAME("\x92\x0d\xc4\x00"),
    FRAME("\x93\x0d\xc4\x00\x91\x91\x91\x01"),
    FRAME("\x93\x0d\xc4\x00\x81\x01\x81\x02\x81\x03\xc0"),
    FRAME("\x94\x64\xc7\x03\x01zzz\xd8\x05zzzzzzzzzzzzzzzz\xcb\x00\x00\x00\x00\x00\x00\x00\x00"),
    FRAME("\x96\x64\xd0\xff\xd1\xff\xff\xd2\xff\xff\xff\xff\xd3\xff\xff\xff\xff\xff\xff\xff\xff\xe0"),
    FRAME("\x91\x40"),
};

static void every_cut_is_incomplete(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const uint8_t *bytes = (const uint8_t *)good[i].bytes;
        struct mps_scan scan;
        for (size_t cut = 0; cut < good[i].len; cut++) assert_int_equal(scan_once(bytes, cut, &scan), MPS_SCAN_MORE);
        assert_int_equal(scan_once(bytes, good[i].len, &scan), MPS_SCAN_FRAME);
        assert_int_equal(scan.pos, good[i].len);
    }
}

/* Two cuts, everywhere, with the scan going on where it stopped, and another frame behind. */
static void a_scan_goes_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t len = good[i].len;
        uint8_t bytes[256];
        memcpy(bytes, good[i].bytes, len);
        memcpy(bytes + len, "\x92\x0d\xc4\x00", 4);
        for (size_t a = 0; a <= len; a++) {
            for (size_t b = a; b <= len; b++) {
                struct mps_scan scan = {0};
                enum mps_scan_result first = mps_scan(&scan, bytes, a, &defaults);
                assert_int_equal(first, a == len ? MPS_SCAN_FRAME : MPS_SCAN_MORE);
                if (first == MPS_SCAN_MORE) first = mps_scan(&scan, bytes, b, &defaults);
                if (first == MPS_SCAN_MORE) first = mps_scan(&scan, bytes, len + 4, &defaults);
                assert_int_equal(first, MPS_SCAN_FRAME);
                assert_int_equal(scan.pos, len);
            }
        }
    }
}

static void a_message_tells_its_payload(void **state)
{
    (void)state;
    struct mps_scan scan;
    assert_int_equal(scan_once((const uint8_t *)good[0].bytes, good[0].len, &scan), MPS_SCAN_FRAME);
    assert_int_equal(scan.op, MPS_OP_MSG);
    assert_int_equal(scan.payload_len, 4);
    assert_memory_equal(good[0].bytes + scan.payload_at, "\x81\xa1t\x15", 4);
    assert_int_equal(scan_once((const uint8_t *)good[3].bytes, good[3].len, &scan), MPS_SCAN_FRAME);
    assert_int_equal(scan.payload_len, 2);
    assert_memory_equal(good[3].bytes + scan.payload_at, "xy", 2);
    for (size_t i = 0; i < 6; i++) { /* the messages */
        uint8_t *copy = exactly((const uint8_t *)good[i].bytes, good[i].len);
        assert_int_equal(mps_msg_frame_len(copy), good[i].len);
        free(copy);
    }
}

static void claims_are_judged_at_once(void **state)
{
    (void)state;
    static const struct {
        struct frame frame;
        enum mps_scan_result result;
    } bad[] = {
        {FRAME("\xc1"), MPS_SCAN_MALFORMED},
        {FRAME("\xc9\xff\xff\xff\xff\xff"), MPS_SCAN_MALFORMED},
        {FRAME("\xc0"), MPS_SCAN_MALFORMED},
        {FRAME("\x90"), MPS_SCAN_MALFORMED},
        {FRAME("\xdf\xff\xff\xff\xff"), MPS_SCAN_MALFORMED},
        {FRAME("\x92\xff"), MPS_SCAN_MALFORMED},
        {FRAME("\x92\xcc\x80"), MPS_SCAN_MALFORMED},
        {FRAME("\x94\x02\xa1t\xc0\xa1"), MPS_SCAN_MALFORMED},
        {FRAME("\xdd\xff\xff\xff\xff"), MPS_SCAN_LIMIT},
        {FRAME("\xdd\x10\x00\x00\x00"), MPS_SCAN_LIMIT},
        {FRAME("\x92\x0d\xdd\xff\xff\xff\xff"), MPS_SCAN_LIMIT},
        {FRAME("\x92\x0d\xdf\xff\xff\xff\xff"), MPS_SCAN_LIMIT},
        {FRAME("\x92\x0d\xdf\x80\x00\x00\x00"), MPS_SCAN_LIMIT}, /* twice this is 0 in 32 bits */
        {FRAME("\x92\x0d\xdb\xff\xff\xff\xff"), MPS_SCAN_LIMIT},
        {FRAME("\x92\x0d\xc6\xff\xff\xff\xff"), MPS_SCAN_LIMIT},
        {FRAME("\x92\x0d\xc9\xff\xff\xff\xff\x01"), MPS_SCAN_LIMIT},
        {FRAME("\x94\x02\xa1t\xc0\xc6\xff\xff\xff\xff"), MPS_SCAN_LIMIT},
        {FRAME("\x94\x02\xa1t\xc0\xc6\x00\x40\x00\x01"), MPS_SCAN_LIMIT},
        {FRAME("\x95\x02\xa1t\xc0\xc4\x00\xc6\xff\xff\xff\xff"), MPS_SCAN_LIMIT},
        {FRAME("\x93\x0d\xc4\x00\x91\x91\x91\x90"), MPS_SCAN_LIMIT},
        {FRAME("\x93\x0d\xc4\x00\x91\x91\x91\x80"), MPS_SCAN_LIMIT},
        {FRAME("\x92\x02\xda\x20\x01"), MPS_SCAN_LIMIT},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const uint8_t *bytes = (const uint8_t *)bad[i].frame.bytes;
        struct mps_scan scan;
        assert_int_equal(scan_once(bytes, bad[i].frame.len, &scan), bad[i].result);
        assert_non_null(scan.error);
        scan = (struct mps_scan){0}; /* byte by byte: the same, and not before the last byte */
        for (size_t cut = 1; cut < bad[i].frame.len; cut++)
            assert_int_equal(mps_scan(&scan, bytes, cut, &defaults), MPS_SCAN_MORE);
        assert_int_equal(mps_scan(&scan, bytes, bad[i].frame.len, &defaults), bad[i].result);
    }
}

static void nesting_costs_nothing(void **state)
{
    (void)state;
    size_t len = 100000;
    uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    struct mps_scan scan;
    memset(bytes, 0x91, len);
    assert_int_equal(scan_once(bytes, len, &scan), MPS_SCAN_MALFORMED); /* an array as operation */
    bytes[0] = 0x92;
    bytes[1] = MPS_OP_PING;
    assert_int_equal(scan_once(bytes, len, &scan), MPS_SCAN_LIMIT);
    assert_true(scan.pos < 16);
    memset(bytes + 2, 0x81, len - 2);
    assert_int_equal(scan_once(bytes, len, &scan), MPS_SCAN_LIMIT);
    assert_true(scan.pos < 16);
    free(bytes);
}

static void a_million_nils_stop_at_the_claim(void **state)
{
    (void)state;
    size_t len = 5 + (1u << 20);
    uint8_t *bytes = malloc(len);
    assert_non_null(bytes);
    memset(bytes, 0xc0, len);
    memcpy(bytes, "\xdd\x00\x10\x00\x00", 5);
    struct mps_scan scan;
    assert_int_equal(scan_once(bytes, len, &scan), MPS_SCAN_LIMIT);
    assert_int_equal(scan.values, 1);
    free(bytes);
}

static void values_are_counted(void **state)
{
    (void)state;
    uint8_t bytes[600];
    struct mps_scan scan;
    memset(bytes, 0xc0, sizeof bytes);
    memcpy(bytes, "\xdc\x00\xff\x0d", 4);
    assert_int_equal(scan_once(bytes, 4 + 254, &scan), MPS_SCAN_FRAME);
    assert_int_equal(scan.values, 256);
    memcpy(bytes, "\xdc\x01\x00\x0d", 4);
    assert_int_equal(scan_once(bytes, 4 + 255, &scan), MPS_SCAN_LIMIT);
    memcpy(bytes, "\x92\x0d\xde\x00\x7f", 5); /* array, op, map, 254 */
    assert_int_equal(scan_once(bytes, 5 + 254, &scan), MPS_SCAN_LIMIT);
    memcpy(bytes, "\x92\x0d\xde\x00\x7e", 5);
    assert_int_equal(scan_once(bytes, 5 + 252, &scan), MPS_SCAN_FRAME);
}

/* A MSG frame of this payload length, with `behind` nils after the payload. */
static uint8_t *message(uint32_t payload_len, uint8_t behind, size_t *len)
{
    uint8_t head[] = {(uint8_t)(0x94 + behind),
                      2,
                      0xa1,
                      't',
                      0xc0,
                      0xc6,
                      (uint8_t)(payload_len >> 24),
                      (uint8_t)(payload_len >> 16),
                      (uint8_t)(payload_len >> 8),
                      (uint8_t)payload_len};
    *len = sizeof head + payload_len + behind;
    uint8_t *bytes = malloc(*len);
    assert_non_null(bytes);
    memcpy(bytes, head, sizeof head);
    memset(bytes + sizeof head, 0xc1, payload_len); /* a payload is never looked into */
    memset(bytes + sizeof head + payload_len, 0xc0, behind);
    return bytes;
}

static void payload_limits(void **state)
{
    (void)state;
    static const struct mps_limits small = {MPS_HEAD_MAX, MPS_VALUES_MAX, 1000};
    static const struct {
        uint32_t len;
        enum mps_scan_result result;
    } cases[] = {{0, MPS_SCAN_FRAME},        {999, MPS_SCAN_FRAME},      {1000, MPS_SCAN_FRAME},
                 {1001, MPS_SCAN_TOO_LARGE}, {4000, MPS_SCAN_TOO_LARGE}, {4001, MPS_SCAN_LIMIT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len;
        uint8_t *bytes = message(cases[i].len, 0, &len);
        struct mps_scan scan = {0};
        assert_int_equal(mps_scan(&scan, bytes, len, &small), cases[i].result);
        scan = (struct mps_scan){0}; /* the head alone is enough, unless the frame is fine */
        enum mps_scan_result early =
            cases[i].result == MPS_SCAN_FRAME && cases[i].len > 0 ? MPS_SCAN_MORE : cases[i].result;
        assert_int_equal(mps_scan(&scan, bytes, 10, &small), early);
        free(bytes);
    }
}

/* Passes an oversized frame over in pieces, keeping what was not used; another frame stands behind it. */
static void skip_in_pieces(size_t piece, uint8_t behind)
{
    static const struct mps_limits small = {MPS_HEAD_MAX, MPS_VALUES_MAX, 1000};
    size_t frame_len;
    uint8_t *frame = message(2500, behind, &frame_len);
    size_t len = frame_len + 4;
    frame = realloc(frame, len);
    assert_non_null(frame);
    memcpy(frame + frame_len, "\x92\x0d\xc4\x00", 4);

    struct mps_scan scan = {0};
    size_t there = 0, begin = 0;
    enum mps_scan_result result = MPS_SCAN_MORE;
    while (result == MPS_SCAN_MORE) {
        there += piece;
        assert_true(there <= len);
        result = mps_scan(&scan, frame, there, &small);
    }
    assert_int_equal(result, MPS_SCAN_TOO_LARGE);
    assert_true(scan.oversized);
    for (;;) {
        size_t used;
        result = mps_scan_skip(&scan, frame + begin, there - begin, &small, &used);
        assert_true(used <= there - begin);
        begin += used;
        if (result != MPS_SCAN_MORE) break;
        assert_true(there - begin < 16); /* nothing is kept but the beginning of one value's head */
        assert_true(there < len);
        there = there + piece > len ? len : there + piece;
    }
    assert_int_equal(result, MPS_SCAN_FRAME);
    assert_int_equal(begin, frame_len);
    free(frame);
}

static void oversized_frames_are_passed_over(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 2, 3, 7, 10, 64, 1000, 2504, 2510};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        skip_in_pieces(pieces[i], 0);
        skip_in_pieces(pieces[i], 5);
    }
}

static void rubbish_behind_an_oversized_payload(void **state)
{
    (void)state;
    static const struct mps_limits small = {MPS_HEAD_MAX, MPS_VALUES_MAX, 1000};
    size_t len, used;
    uint8_t *frame = message(2000, 1, &len);
    frame[len - 1] = 0xc1;
    struct mps_scan scan = {0};
    assert_int_equal(mps_scan(&scan, frame, len, &small), MPS_SCAN_TOO_LARGE);
    assert_int_equal(mps_scan_skip(&scan, frame, len, &small, &used), MPS_SCAN_MALFORMED);
    free(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_is_incomplete),
        cmocka_unit_test(a_scan_goes_on),
        cmocka_unit_test(a_message_tells_its_payload),
        cmocka_unit_test(claims_are_judged_at_once),
        cmocka_unit_test(nesting_costs_nothing),
        cmocka_unit_test(a_million_nils_stop_at_the_claim),
        cmocka_unit_test(values_are_counted),
        cmocka_unit_test(payload_limits),
        cmocka_unit_test(oversized_frames_are_passed_over),
        cmocka_unit_test(rubbish_behind_an_oversized_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
