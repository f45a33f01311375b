/* Random and damaged frames: what our scan accepts, msgpack-c unpacks to the same length. And what is read out of raw
 * maps: keys that stand twice, props, names of numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "judge.h"

/* ---- random frames ----------------------------------------------------------------------------------------------- */

static uint32_t seed = 4711;

static uint32_t next_random(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

/* Packs a random value and tells what it costs: values counted, containers deep. */
static void random_value(int depth, uint32_t *values, int *deepest)
{
    static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz 0123456789abcdefghijklmnopqrstuvwxyz";
    ++*values;
    uint32_t kind = next_random(depth < 6 ? 9 : 7);
    uint32_t count = next_random(8);
    switch (kind) {
    case 0: msgpack_pack_nil(&judge); break;
    case 1: msgpack_pack_true(&judge); break;
    case 2: judge_uint(judge_edges[next_random(JUDGE_EDGES)]); break;
    case 3: msgpack_pack_int64(&judge, -(int64_t)judge_edges[next_random(JUDGE_EDGES)]); break;
    case 4: msgpack_pack_double(&judge, 1.5); break;
    case 5: msgpack_pack_str_with_body(&judge, text, next_random(sizeof text)); break;
    case 6: judge_bin(text, next_random(sizeof text)); break;
    case 7:
    case 8:
        if (depth + 1 > *deepest) *deepest = depth + 1;
        if (kind == 7) msgpack_pack_array(&judge, count);
        else msgpack_pack_map(&judge, count);
        for (uint32_t i = 0; i < (kind == 7 ? count : 2 * count); i++) random_value(depth + 1, values, deepest);
        break;
    }
}

/* Unpacks what our scan has accepted; returns how many bytes the judge took, 0 if it refuses. */
static size_t judge_takes(const uint8_t *bytes, size_t len)
{
    size_t taken = 0;
    msgpack_unpacked result;
    msgpack_unpacked_init(&result);
    msgpack_unpack_return code = msgpack_unpack_next(&result, (const char *)bytes, len, &taken);
    bool array = code == MSGPACK_UNPACK_SUCCESS && result.data.type == MSGPACK_OBJECT_ARRAY;
    msgpack_unpacked_destroy(&result);
    return array ? taken : 0;
}

static void random_frames(void **state)
{
    (void)state;
    unsigned accepted = 0, refused = 0;
    for (int round = 0; round < 20000; round++) {
        uint32_t values = 2, fields = next_random(6);
        int deepest = 1;
        judge_begin(fields, 64 + next_random(64));
        for (uint32_t i = 0; i < fields; i++) random_value(1, &values, &deepest);
        struct mps_scan scan = {0};
        enum mps_scan_result result =
            mps_scan(&scan, (const uint8_t *)judge_bytes.data, judge_bytes.size, &judge_limits);
        bool fits = values <= MPS_VALUES_MAX && deepest <= MPS_DEPTH_MAX && judge_bytes.size <= MPS_HEAD_MAX;
        assert_int_equal(result, fits ? MPS_SCAN_FRAME : MPS_SCAN_LIMIT);
        if (fits) assert_int_equal(scan.pos, judge_bytes.size);
        if (fits) assert_int_equal(scan.values, values);
        *(fits ? &accepted : &refused) += 1;
    }
    assert_true(accepted > 1000 && refused > 1000);
}

/* One byte of a good frame is another: whatever our scan still accepts, the judge accepts to the same length. */
static void changed_frames(void **state)
{
    (void)state;
    unsigned accepted = 0, refused = 0;
    for (int round = 0; round < 50000; round++) {
        uint32_t values = 2, fields = next_random(4);
        int deepest = 1;
        judge_begin(fields, next_random(128));
        for (uint32_t i = 0; i < fields; i++) random_value(3, &values, &deepest);
        uint8_t *bytes = malloc(judge_bytes.size);
        assert_non_null(bytes);
        memcpy(bytes, judge_bytes.data, judge_bytes.size);
        bytes[next_random((uint32_t)judge_bytes.size)] = (uint8_t)next_random(256);
        struct mps_scan scan = {0};
        enum mps_scan_result result = mps_scan(&scan, bytes, judge_bytes.size, &judge_limits);
        if (result == MPS_SCAN_FRAME) assert_int_equal(judge_takes(bytes, scan.pos), scan.pos);
        *(result == MPS_SCAN_FRAME ? &accepted : &refused) += 1;
        free(bytes);
    }
    assert_true(accepted > 1000 && refused > 1000);
}

static void duplicate_keys(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        bool twice;
    } maps[] = {
#define MAP(text, twice) {text, sizeof text - 1, twice}
        MAP("\x80", false),
        MAP("\x82\xa1"
            "a\x01\xa1"
            "b\x01",
            false),
        MAP("\x82\xa1"
            "a\x01\xa1"
            "a\x02",
            true),
        MAP("\x82\xa1"
            "a\x01\xd9\x01"
            "a\x02",
            true),
        MAP("\x82\x07\x01\xcd\x00\x07\x02", true),
        MAP("\x82\x07\x01\xa1\x37\x02", false),
        MAP("\x82\xa1"
            "a\x01\xc4\x01"
            "a\x02",
            false),
        MAP("\x82\xc0\x01\xc0\x02", true),
        MAP("\x82\xc2\x01\xc3\x02", false),
        MAP("\x82\xff\x01\xd0\xff\x02", true),
        MAP("\x83\x01\xc0\x02\xc0\xd3\x00\x00\x00\x00\x00\x00\x00\x01\xc0", true),
        MAP("\x91\x01", true),
        MAP("\x82\x01\x01", true), /* no map, or cut short */
#undef MAP
    };
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        mps_view map = {(const uint8_t *)maps[i].bytes, (uint32_t)maps[i].len};
        assert_int_equal(mps_map_has_duplicates(map), maps[i].twice);
    }
}

static void props_are_found(void **state)
{
    (void)state;
    static const uint8_t props[] = {0x83, 0xa1, 'h', 0x01, 0xcc, 0x04, 0xcd, 0x03, 0xe8, 0x01, 0xa2, 'r', '1'};
    mps_view map = {props, sizeof props}, found;
    const char *what;
    assert_int_equal(mps_props_check(map, &what), MPS_OK);
    found = mps_props_find(map, MPS_PROP_TTL_MS);
    assert_true(found.len == 3 && found.ptr == props + 6);
    found = mps_props_find(map, MPS_PROP_REPLY_TO);
    assert_true(found.len == 3 && found.ptr == props + 10);
    assert_null(mps_props_find(map, MPS_PROP_KEY).ptr);
    assert_null(mps_props_find((mps_view){NULL, 0}, MPS_PROP_KEY).ptr);
}

static void names_of_numbers(void **state)
{
    (void)state;
    assert_string_equal(mps_op_name(2), "MSG");
    assert_string_equal(mps_op_name(16), "unknown");
    assert_string_equal(mps_gap_reason_name(1), "drop_old");
    assert_string_equal(mps_policy_name(2), "latest");
    assert_string_equal(mps_mark_name(4), "ended");
    assert_string_equal(mps_code_text(999), "unknown");
    assert_string_equal(mps_ack_mode_name(2), "each");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_frames),   cmocka_unit_test(changed_frames),   cmocka_unit_test(duplicate_keys),
        cmocka_unit_test(props_are_found), cmocka_unit_test(names_of_numbers),
    };
    return cmocka_run_group_tests(tests, judge_set_up, judge_tear_down);
}
