/* Reading documents in place. msgpack-c, which nobody here wrote, says what is a document and what is in it. */
#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "value.h"

#define VIEW(text) ((mps_view){(const uint8_t *)(text), sizeof(text) - 1})

/* A repeatable source of chance. */
static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void pack_random_scalar(msgpack_packer *packer, uint64_t *chance)
{
    static const char bytes[70000];
    static const size_t lengths[] = {0, 1, 2, 4, 8, 16, 17, 31, 32, 255, 256, 65535, 65536};
    uint64_t bits = random_next(chance) >> (random_next(chance) % 64);
    size_t len = lengths[random_next(chance) % (sizeof lengths / sizeof *lengths)];
    switch (random_next(chance) % 9) {
    case 0: msgpack_pack_nil(packer); break;
    case 1: msgpack_pack_true(packer); break;
    case 2: msgpack_pack_false(packer); break;
    case 3: msgpack_pack_uint64(packer, bits); break;
    case 4: msgpack_pack_int64(packer, -(int64_t)(bits >> 1)); break;
    case 5: msgpack_pack_double(packer, (double)bits / 3); break;
    case 6:
        msgpack_pack_str(packer, len);
        msgpack_pack_str_body(packer, bytes, len);
        break;
    case 7:
        msgpack_pack_bin(packer, len);
        msgpack_pack_bin_body(packer, bytes, len);
        break;
    case 8:
        msgpack_pack_ext(packer, len, (int8_t)bits);
        msgpack_pack_ext_body(packer, bytes, len);
        break;
    }
}

static void pack_random(msgpack_packer *packer, uint64_t *chance, unsigned depth)
{
    size_t count = random_next(chance) % 20 == 0 ? 17 : random_next(chance) % 4;
    uint64_t what = random_next(chance) % 3;
    if (depth == 0 || what == 0) {
        pack_random_scalar(packer, chance);
    } else if (what == 1) {
        msgpack_pack_array(packer, count);
        for (size_t i = 0; i < count; i++) pack_random(packer, chance, depth - 1);
    } else {
        msgpack_pack_map(packer, count);
        for (size_t i = 0; i < 2 * count; i++) pack_random(packer, chance, depth - 1);
    }
}

/* Packs again what a walk tells. */
static void pack_walk(msgpack_packer *packer, mps_view document)
{
    struct mps_walk walk;
    mps_walk_open(&walk, document);
    for (;;) {
        enum mps_walk_event event = mps_walk_next(&walk);
        if (event == MPS_WALK_END) break;
        if (event == MPS_WALK_CLOSE) continue;
        const struct mps_head *head = &walk.head;
        switch (head->type) {
        case MPS_NIL: msgpack_pack_nil(packer); break;
        case MPS_BOOL: head->boolean ? msgpack_pack_true(packer) : msgpack_pack_false(packer); break;
        case MPS_UINT: msgpack_pack_uint64(packer, head->number); break;
        case MPS_INT: msgpack_pack_int64(packer, (int64_t)head->number); break;
        case MPS_FLOAT:
            if (head->head_len == 5) {
                msgpack_pack_float(packer, (float)head->real);
            } else {
                msgpack_pack_double(packer, head->real);
            }
            break;
        case MPS_STR:
            msgpack_pack_str(packer, walk.body.len);
            msgpack_pack_str_body(packer, walk.body.ptr, walk.body.len);
            break;
        case MPS_BIN:
            msgpack_pack_bin(packer, walk.body.len);
            msgpack_pack_bin_body(packer, walk.body.ptr, walk.body.len);
            break;
        case MPS_EXT:
            msgpack_pack_ext(packer, walk.body.len, head->ext_type);
            msgpack_pack_ext_body(packer, walk.body.ptr, walk.body.len);
            break;
        case MPS_ARRAY: msgpack_pack_array(packer, head->count); break;
        case MPS_MAP: msgpack_pack_map(packer, head->count); break;
        }
    }
    assert_int_equal(walk.depth, 0);
    assert_ptr_equal(walk.p, walk.end);
}

/* Both packed again: objects can't be compared, for NaN equals nothing. */
static void assert_same_as_msgpack_c(mps_view document)
{
    msgpack_unpacked expected;
    msgpack_sbuffer walked, unpacked;
    msgpack_packer packer;
    size_t at = 0;
    msgpack_unpacked_init(&expected);
    assert_int_equal(msgpack_unpack_next(&expected, (const char *)document.ptr, document.len, &at),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(at, document.len);
    msgpack_sbuffer_init(&unpacked);
    msgpack_packer_init(&packer, &unpacked, msgpack_sbuffer_write);
    msgpack_pack_object(&packer, expected.data);
    msgpack_sbuffer_init(&walked);
    msgpack_packer_init(&packer, &walked, msgpack_sbuffer_write);
    pack_walk(&packer, document);
    assert_int_equal(walked.size, unpacked.size);
    assert_memory_equal(walked.data, unpacked.data, unpacked.size);
    msgpack_sbuffer_destroy(&walked);
    msgpack_sbuffer_destroy(&unpacked);
    msgpack_unpacked_destroy(&expected);
}

static void documents_of_msgpack_c_are_accepted_and_walked(void **state)
{
    (void)state;
    uint64_t chance = 42;
    for (int i = 0; i < 2000; i++) {
        msgpack_sbuffer buffer;
        msgpack_packer packer;
        msgpack_sbuffer_init(&buffer);
        msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
        pack_random(&packer, &chance, 6);
        mps_view document = {(const uint8_t *)buffer.data, (uint32_t)buffer.size};
        assert_null(mps_document_check(document, 0, UINT32_MAX));
        assert_same_as_msgpack_c(document);
        msgpack_sbuffer_destroy(&buffer);
    }
}

static void cut_documents_are_refused(void **state)
{
    (void)state;
    uint64_t chance = 7;
    for (int i = 0; i < 300; i++) {
        msgpack_sbuffer buffer;
        msgpack_packer packer;
        msgpack_sbuffer_init(&buffer);
        msgpack_packer_init(&packer, &buffer, msgpack_sbuffer_write);
        pack_random(&packer, &chance, 3);
        for (size_t len = 0; len < buffer.size; len += 1 + len / 16) {
            uint8_t *exact = malloc(len ? len : 1); /* of its own size, so that the sanitizer sees a read beyond it */
            assert_non_null(exact);
            memcpy(exact, buffer.data, len);
            assert_non_null(mps_document_check((mps_view){exact, (uint32_t)len}, 0, UINT32_MAX));
            free(exact);
        }
        msgpack_pack_nil(&packer);
        assert_non_null(
            mps_document_check((mps_view){(const uint8_t *)buffer.data, (uint32_t)buffer.size}, 0, UINT32_MAX));
        msgpack_sbuffer_destroy(&buffer);
    }
}

static void changed_documents_are_judged_as_msgpack_c_judges(void **state)
{
    (void)state;
    uint64_t chance = 99;
    int accepted = 0, refused = 0;
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[24];
        size_t len = 1 + random_next(&chance) % sizeof bytes;
        for (size_t b = 0; b < len; b++) bytes[b] = (uint8_t)random_next(&chance);
        mps_view document = {bytes, (uint32_t)len};
        if (mps_document_check(document, 0, 0)) {
            refused++;
        } else {
            accepted++;
            assert_same_as_msgpack_c(document);
        }
    }
    assert_true(accepted > 100 && refused > 1000);
}

static void assert_refused(mps_view document, const char *part)
{
    const char *why = mps_document_check(document, 0, 0);
    assert_non_null(why);
    assert_non_null(strstr(why, part));
}

static void limits_hold(void **state)
{
    (void)state;
    uint8_t nested[MPS_DOCUMENT_DEPTH_MAX + 2], many[MPS_DOCUMENT_VALUES_MAX + 3];
    memset(nested, 0x91, sizeof nested);
    nested[MPS_DOCUMENT_DEPTH_MAX] = 0xc0;
    assert_null(mps_document_check((mps_view){nested, MPS_DOCUMENT_DEPTH_MAX + 1}, 0, 0));
    assert_non_null(mps_document_check((mps_view){nested, MPS_DOCUMENT_DEPTH_MAX + 1}, 31, 0));
    nested[MPS_DOCUMENT_DEPTH_MAX] = 0x91;
    nested[MPS_DOCUMENT_DEPTH_MAX + 1] = 0xc0;
    assert_refused((mps_view){nested, sizeof nested}, "deeper");

    memset(many, 0xc0, sizeof many);
    many[0] = 0xdc;
    many[1] = (MPS_DOCUMENT_VALUES_MAX - 1) >> 8;
    many[2] = (MPS_DOCUMENT_VALUES_MAX - 1) & 255;
    assert_null(mps_document_check((mps_view){many, sizeof many - 1}, 0, 0));
    many[2]++;
    assert_refused((mps_view){many, sizeof many}, "more values");
    assert_null(mps_document_check((mps_view){many, sizeof many}, 0, UINT32_MAX));

    assert_refused((mps_view){0}, "empty");
    assert_refused(VIEW("\xc1"), "c1");
    assert_refused(VIEW("\x92\x01\xc1"), "c1");
    assert_refused(VIEW("\xdd\xff\xff\xff\xff"), "middle");
    assert_refused(VIEW("\xdf\xff\xff\xff\xff"), "middle");
    assert_refused(VIEW("\xc6\xff\xff\xff\xff"), "middle");
    assert_refused(VIEW("\xc9\xff\xff\xff\xff\xff"), "middle");
    assert_refused(VIEW("\x01\x02"), "follow");
}

static void walk_tells_keys_and_places(void **state)
{
    (void)state;
    /* {"a": [1, 2], [3]: {}} */
    mps_view document = VIEW("\x82\xa1"
                             "a\x92\x01\x02\x91\x03\x80");
    static const struct {
        enum mps_walk_event event;
        enum mps_type type;
        bool is_key, first;
    } steps[] = {
        {MPS_WALK_OPEN, MPS_MAP, false, true},    {MPS_WALK_VALUE, MPS_STR, true, true},
        {MPS_WALK_OPEN, MPS_ARRAY, false, false}, {MPS_WALK_VALUE, MPS_UINT, false, true},
        {MPS_WALK_VALUE, MPS_UINT, false, false}, {MPS_WALK_CLOSE, MPS_ARRAY, false, false},
        {MPS_WALK_OPEN, MPS_ARRAY, true, false},  {MPS_WALK_VALUE, MPS_UINT, false, true},
        {MPS_WALK_CLOSE, MPS_ARRAY, true, false}, {MPS_WALK_OPEN, MPS_MAP, false, false},
        {MPS_WALK_CLOSE, MPS_MAP, false, false},  {MPS_WALK_CLOSE, MPS_MAP, false, false},
    };
    struct mps_walk walk;
    assert_null(mps_document_check(document, 0, 0));
    mps_walk_open(&walk, document);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(mps_walk_next(&walk), steps[i].event);
        assert_int_equal(walk.head.type, steps[i].type);
        assert_int_equal(walk.is_key, steps[i].is_key);
        assert_int_equal(walk.first, steps[i].first);
    }
    assert_int_equal(mps_walk_next(&walk), MPS_WALK_END);
    assert_int_equal(mps_walk_next(&walk), MPS_WALK_END);
}

static void assert_found(mps_view document, const char *path, mps_view expected)
{
    mps_view found = mps_document_find(document, path, strlen(path));
    if (!expected.ptr) {
        assert_null(found.ptr);
        return;
    }
    assert_non_null(found.ptr);
    assert_int_equal(found.len, expected.len);
    assert_memory_equal(found.ptr, expected.ptr, expected.len);
}

static void paths_lead_to_fields(void **state)
{
    (void)state;
    /* {"a": {"b": [7, {"c": "x"}, [8, 9]], "odd key": nil, "q\"": true}, 5: 6, "": -1, "5": 4, "a.b": 1} */
    mps_view document = VIEW("\x85\xa1"
                             "a\x83\xa1"
                             "b\x93\x07\x81\xa1"
                             "c\xa1x\x92\x08\x09\xa7odd key\xc0\xa2q\"\xc3"
                             "\x05\x06\xa0\xff\xa1"
                             "5\x04\xa3"
                             "a.b\x01");
    assert_null(mps_document_check(document, 0, 0));
    assert_found(document, "a.b[0]", VIEW("\x07"));
    assert_found(document, "a.b[1].c", VIEW("\xa1x"));
    assert_found(document, "a.b[2]", VIEW("\x92\x08\x09"));
    assert_found(document, "a.b[2][1]", VIEW("\x09"));
    assert_found(document, "a.\"odd key\"", VIEW("\xc0"));
    assert_found(document, "a.\"q\\\"\"", VIEW("\xc3"));
    assert_found(document, "\"a\".b[0]", VIEW("\x07"));
    assert_found(document, "\"a.b\"", VIEW("\x01"));
    assert_found(document, "5", VIEW("\x06"));
    assert_found(document, "\"5\"", VIEW("\x04"));
    assert_found(document, "\"\"", VIEW("\xff"));
    static const char *const nowhere[] = {
        "",      "b",   "a.c",  "a.b[3]", "a.b[-1]", "a.b[]", "a.b[0",  "a.b[0].c",
        "a.b.c", "[0]", "a..b", ".a",     "a.",      "a.\"b", "\"a\"b", "a.b[99999999999999999999]",
        "5.x",   "a[0]"};
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) assert_found(document, nowhere[i], (mps_view){0});
    assert_found((mps_view){0}, "a", (mps_view){0});
    assert_found(VIEW("\x07"), "a", (mps_view){0});
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_of_msgpack_c_are_accepted_and_walked),
        cmocka_unit_test(cut_documents_are_refused),
        cmocka_unit_test(changed_documents_are_judged_as_msgpack_c_judges),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(walk_tells_keys_and_places),
        cmocka_unit_test(paths_lead_to_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
