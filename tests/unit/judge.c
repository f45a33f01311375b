#include "judge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const struct mps_limits judge_limits = {MPS_HEAD_MAX, MPS_VALUES_MAX, MPS_PAYLOAD_MAX};
const uint64_t judge_edges[JUDGE_EDGES] = {
    0, 1, 31, 32, 128, 255, 256, 65535, 65536, 127, UINT32_MAX, UINT64_C(1) << 32, MPS_NUMBER_MAX};
msgpack_sbuffer judge_bytes;
msgpack_packer judge;

void judge_begin(size_t fields, unsigned op)
{
    msgpack_sbuffer_clear(&judge_bytes);
    msgpack_packer_init(&judge, &judge_bytes, msgpack_sbuffer_write);
    msgpack_pack_array(&judge, 1 + fields);
    msgpack_pack_unsigned_int(&judge, op);
}

void judge_uint(uint64_t number)
{
    msgpack_pack_uint64(&judge, number);
}

void judge_text(const char *text)
{
    msgpack_pack_str_with_body(&judge, text, strlen(text));
}

void judge_bin(const char *bytes, size_t len)
{
    msgpack_pack_bin_with_body(&judge, bytes, len);
}

void judge_key_uint(const char *key, uint64_t number)
{
    judge_text(key);
    judge_uint(number);
}

void judge_key_text(const char *key, const char *text)
{
    judge_text(key);
    judge_text(text);
}

void judge_key_true(const char *key)
{
    judge_text(key);
    msgpack_pack_true(&judge);
}

/* The judge's bytes as a frame, which our scan has to accept whole. */
mps_view judge_frame(void)
{
    mps_view frame = {(const uint8_t *)judge_bytes.data, (uint32_t)judge_bytes.size};
    struct mps_scan scan = {0};
    assert_int_equal(mps_scan(&scan, frame.ptr, frame.len, &judge_limits), MPS_SCAN_FRAME);
    assert_int_equal(scan.pos, frame.len);
    return frame;
}

int judge_set_up(void **state)
{
    (void)state;
    msgpack_sbuffer_init(&judge_bytes);
    return 0;
}

int judge_tear_down(void **state)
{
    (void)state;
    msgpack_sbuffer_destroy(&judge_bytes);
    return 0;
}
