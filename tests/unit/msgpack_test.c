/* Payloads as objects of msgpack-c: what it is given, and how much memory that takes. */
#include "client_stage.h"

#include <malloc.h>
#include <pubsub/msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void);
static size_t allocated_bytes(void)
{
    return __sanitizer_get_current_allocated_bytes();
}
#else
static size_t allocated_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
#endif

#define VALUES_MAX(memory) (((memory)-16384) / (2 * sizeof(msgpack_object) + 1))

static int unpack(const void *payload, size_t len, size_t memory_max, msgpack_unpacked *unpacked, const char **why)
{
    const struct pubsub_message message = {.topic = "t", .topic_len = 1, .payload = payload, .payload_len = len};
    return pubsub_message_unpack(&message, memory_max, unpacked, why);
}

static void expect_refused(const void *payload, size_t len, int rc, const char *words)
{
    const char *why = "";
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    size_t before = allocated_bytes();
    assert_int_equal(unpack(payload, len, 0, &unpacked, &why), rc);
    if (strstr(why, words) == NULL) fail_msg("'%s' is not in '%s'", words, why);
    assert_null(unpacked.zone);
    assert_int_equal(unpacked.data.type, MSGPACK_OBJECT_NIL);
    assert_int_equal(allocated_bytes(), before);
    if (rc == PUBSUB_EINVAL) assert_string_equal(pubsub_msgpack_check(payload, len), why);
}

static void documents_are_shown(void **state)
{
    (void)state;
    static const char text[] = "\x82\xa1t\xcb\x40\x34\x80\x00\x00\x00\x00\x00\xa4tags\x92\xa3hot\xc4\x02\x00\xff";
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(unpack(text, sizeof text - 1, 0, &unpacked, NULL), PUBSUB_OK);
    assert_int_equal(unpacked.data.type, MSGPACK_OBJECT_MAP);
    assert_int_equal(unpacked.data.via.map.size, 2);
    const msgpack_object_kv *field = unpacked.data.via.map.ptr;
    assert_true(field[0].val.via.f64 == 20.5);
    assert_int_equal(field[1].val.via.array.size, 2);
    const msgpack_object *tags = field[1].val.via.array.ptr;
    assert_ptr_equal(tags[0].via.str.ptr, text + 19); /* borrowed */
    assert_int_equal(tags[0].via.str.size, 3);
    assert_int_equal(tags[1].type, MSGPACK_OBJECT_BIN);
    assert_int_equal(unpack("\x2a", 1, 0, &unpacked, NULL), PUBSUB_OK); /* frees what it held */
    assert_int_equal(unpacked.data.via.u64, 42);
    assert_int_equal(unpack("\xc1", 1, 0, &unpacked, NULL), PUBSUB_EINVAL);
    assert_null(unpacked.zone);
    msgpack_unpacked_destroy(&unpacked);
}

static void what_is_no_document_is_not_shown_to_msgpack(void **state)
{
    (void)state;
    expect_refused("", 0, PUBSUB_EINVAL, "empty");
    expect_refused("\xc1", 1, PUBSUB_EINVAL, "c1");
    expect_refused("\x01\x02", 2, PUBSUB_EINVAL, "bytes follow");
    expect_refused("\x92\x01", 2, PUBSUB_EINVAL, "middle of a value");
    expect_refused("\xc9\xff\xff\xff\xff\xff", 6, PUBSUB_EINVAL, "middle of a value");
    expect_refused("\xc9\xff\xff\xff\xff\xff\x00", 7, PUBSUB_EINVAL, "middle of a value");
    expect_refused("\xdd\x10\x00\x00\x00", 5, PUBSUB_EINVAL, "middle of a value");
    expect_refused("\xdd\xff\xff\xff\xff", 5, PUBSUB_EINVAL, "middle of a value");
    expect_refused("\xdf\xff\xff\xff\xff\x01", 6, PUBSUB_EINVAL, "middle of a value");
    static uint8_t many[3 * 24000];
    for (size_t i = 0; i < sizeof many; i += 3) memcpy(many + i, "\xdc\xff\xff", 3);
    expect_refused(many, sizeof many, PUBSUB_EINVAL, "deeper");
}

static void depth_has_a_limit(void **state)
{
    (void)state;
    uint8_t nested[PUBSUB_MSGPACK_DEPTH_MAX + 2];
    memset(nested, 0x91, sizeof nested);
    nested[PUBSUB_MSGPACK_DEPTH_MAX] = 0xc0;
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(unpack(nested, PUBSUB_MSGPACK_DEPTH_MAX + 1, 0, &unpacked, NULL), PUBSUB_OK);
    const msgpack_object *object = &unpacked.data;
    for (int i = 0; i < PUBSUB_MSGPACK_DEPTH_MAX; i++) object = object->via.array.ptr;
    assert_int_equal(object->type, MSGPACK_OBJECT_NIL);
    msgpack_unpacked_destroy(&unpacked);
    nested[PUBSUB_MSGPACK_DEPTH_MAX] = 0x91;
    nested[PUBSUB_MSGPACK_DEPTH_MAX + 1] = 0xc0;
    expect_refused(nested, sizeof nested, PUBSUB_EINVAL, "deeper");
}

static void a_million_nils_do_not_become_24_million_bytes(void **state)
{
    (void)state;
    static uint8_t nils[1 << 20] = "\xdd\x00\x0f\xff\xfb";
    memset(nils + 5, 0xc0, sizeof nils - 5);
    assert_null(pubsub_msgpack_check(nils, sizeof nils));
    expect_refused(nils, sizeof nils, PUBSUB_ETOOBIG, "more values than the limit");
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(unpack(nils, sizeof nils, 60 << 20, &unpacked, NULL), PUBSUB_OK); /* for who wants it */
    assert_int_equal(unpacked.data.via.array.size, (1 << 20) - 5);
    msgpack_unpacked_destroy(&unpacked);
}

/* ---- memory --------------------------------------------------------------------------------------------------- */

static size_t put_head(uint8_t *at, bool map, size_t count)
{
    at[0] = map ? 0xdf : 0xdd;
    for (int i = 0; i < 4; i++) at[1 + i] = (uint8_t)(count >> (24 - 8 * i));
    return 5;
}

/* An array of as many containers, each with `count` small values, as `values` allow; filled up with small values. */
static size_t shape(uint8_t *at, size_t values, bool map, size_t count)
{
    size_t len = 5, each = 1 + count, inner = (values - 1) / each, rest = (values - 1) % each;
    for (size_t i = 0; i < inner; i++) {
        len += put_head(at + len, map, map ? count / 2 : count);
        memset(at + len, 0x01, count);
        len += count;
    }
    memset(at + len, 0x01, rest);
    put_head(at, false, inner + rest);
    return len + rest;
}

static void expect_within(size_t memory_max, bool map, size_t count)
{
    static uint8_t document[1 << 17];
    const char *why = "";
    size_t values = VALUES_MAX(memory_max);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    size_t len = shape(document, values, map, count), before = allocated_bytes();
    assert_true(len < sizeof document);
    if (unpack(document, len, memory_max, &unpacked, &why) != PUBSUB_OK) fail_msg("%s", why);
    size_t took = allocated_bytes() - before;
    msgpack_unpacked_destroy(&unpacked);
    if (took > memory_max || took < values * sizeof(msgpack_object))
        fail_msg("%zu values in pieces of %zu took %zu bytes, the limit is %zu", values, count, took, memory_max);
    len = shape(document, values + 1, map, count);
    assert_int_equal(unpack(document, len, memory_max, &unpacked, &why), PUBSUB_ETOOBIG);
}

/* Just above what fills a chunk of the zone, or half of one, is what wastes most. */
static void memory_stays_within_the_limit(void **state)
{
    (void)state;
    static const size_t limits[] = {PUBSUB_MSGPACK_MEMORY_MIN, 100000, PUBSUB_MSGPACK_MEMORY_DEFAULT, 1 << 20};
    for (size_t k = 0; k < sizeof limits / sizeof *limits; k++) {
        size_t values = VALUES_MAX(limits[k]);
        for (size_t count = 2; count < values; count += count < 700 ? 2 : count / 3 * 2) {
            expect_within(limits[k], false, count);
            expect_within(limits[k], true, count);
        }
    }
    assert_true(VALUES_MAX(PUBSUB_MSGPACK_MEMORY_DEFAULT) >= 10000 || sizeof(msgpack_object) > 24);
}

static void other_wrong_uses_are_refused(void **state)
{
    (void)state;
    const char *why = "";
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    assert_int_equal(unpack("\x01", 1, PUBSUB_MSGPACK_MEMORY_MIN - 1, &unpacked, &why), PUBSUB_EINVAL);
    assert_non_null(strstr(why, "32 KiB"));
    const struct pubsub_message raw = {.payload = "\x01", .payload_len = 1, .props = "\x81\x03\x00", .props_len = 3};
    assert_int_equal(pubsub_message_unpack(&raw, 0, &unpacked, &why), PUBSUB_EINVAL);
    assert_non_null(strstr(why, "raw bytes"));
}

/* ---- publishing ----------------------------------------------------------------------------------------------- */

static void what_was_packed_is_published(void **state)
{
    struct stage *stage = *state;
    msgpack_sbuffer buffer;
    msgpack_packer packer;
    uint64_t pid = 0;
    stage_open(stage, stage_options(stage), 10);
    msgpack_sbuffer_init(&buffer);
    msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
    assert_int_equal(pubsub_publish_msgpack(stage->client, "t", &buffer, NULL, NULL), PUBSUB_EINVAL); /* empty */
    msgpack_pack_array(&packer, 2);
    msgpack_pack_int(&packer, 1);
    assert_int_equal(pubsub_publish_msgpack(stage->client, "t", &buffer, NULL, NULL), PUBSUB_EINVAL); /* half done */
    assert_int_equal(pubsub_outbox_bytes(stage->client), 0);
    msgpack_pack_int(&packer, 2);
    const struct pubsub_publish_options raw = {.raw = true}, acked = {.ack = PUBSUB_ACK_ROUTED};
    assert_int_equal(pubsub_publish_msgpack(stage->client, "t", &buffer, &raw, NULL), PUBSUB_EINVAL);
    assert_int_equal(pubsub_publish_msgpack(stage->client, "t", &buffer, &acked, &pid), PUBSUB_OK);
    msgpack_sbuffer_destroy(&buffer);
    assert_int_equal(pid, 1);
    stage_expect_frames(stage, "acked t, ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_are_shown),
        cmocka_unit_test(what_is_no_document_is_not_shown_to_msgpack),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(a_million_nils_do_not_become_24_million_bytes),
        cmocka_unit_test(memory_stays_within_the_limit),
        cmocka_unit_test(other_wrong_uses_are_refused),
        cmocka_unit_test_setup_teardown(what_was_packed_is_published, stage_set_up, stage_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
