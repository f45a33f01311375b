#include <string.h>

#include "wire.h"

static uint64_t big_endian(const uint8_t *p, unsigned bytes)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < bytes; i++) n = n << 8 | p[i];
    return n;
}

static void set_int(struct mps_head *head, int64_t number)
{
    head->type = number < 0 ? MPS_INT : MPS_UINT;
    head->number = (uint64_t)number;
}

static double float_of(uint64_t bits, bool wide)
{
    if (wide) {
        double real;
        memcpy(&real, &bits, sizeof real);
        return real;
    }
    uint32_t narrow = (uint32_t)bits;
    float real;
    memcpy(&real, &narrow, sizeof real);
    return (double)real;
}

/* Bytes that follow the first byte c0..df in the head. 255: c1, which starts nothing. */
static const uint8_t extra[32] = {
    0, 255, 0, 0,    /* nil, -, false, true */
    1, 2,   4,       /* bin 8, 16, 32 */
    2, 3,   5,       /* ext 8, 16, 32: length and type */
    4, 8,            /* float 32, 64 */
    1, 2,   4, 8,    /* uint */
    1, 2,   4, 8,    /* int */
    1, 1,   1, 1, 1, /* fixext: type */
    1, 2,   4,       /* str */
    2, 4,            /* array */
    2, 4,            /* map */
};

static void fill_wide(const uint8_t *p, unsigned more, struct mps_head *head)
{
    uint64_t n = big_endian(p + 1, more > 8 ? 8 : more);
    unsigned byte = p[0];
    switch (byte) {
    case 0xc0: head->type = MPS_NIL; break;
    case 0xc2:
    case 0xc3:
        head->type = MPS_BOOL;
        head->boolean = byte == 0xc3;
        break;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        head->type = MPS_BIN;
        head->count = (uint32_t)n;
        break;
    case 0xc7:
    case 0xc8:
    case 0xc9:
        head->type = MPS_EXT;
        head->count = (uint32_t)(n >> 8);
        head->ext_type = (int8_t)(uint8_t)n;
        break;
    case 0xca:
    case 0xcb:
        head->type = MPS_FLOAT;
        head->real = float_of(n, byte == 0xcb);
        break;
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        head->type = MPS_UINT;
        head->number = n;
        break;
    case 0xd0: set_int(head, (int8_t)(uint8_t)n); break;
    case 0xd1: set_int(head, (int16_t)(uint16_t)n); break;
    case 0xd2: set_int(head, (int32_t)(uint32_t)n); break;
    case 0xd3: set_int(head, (int64_t)n); break;
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        head->type = MPS_EXT;
        head->count = 1u << (byte - 0xd4);
        head->ext_type = (int8_t)(uint8_t)n;
        break;
    case 0xd9:
    case 0xda:
    case 0xdb:
        head->type = MPS_STR;
        head->count = (uint32_t)n;
        break;
    case 0xdc:
    case 0xdd:
        head->type = MPS_ARRAY;
        head->count = (uint32_t)n;
        break;
    case 0xde:
    case 0xdf:
        head->type = MPS_MAP;
        head->count = (uint32_t)n;
        break;
    }
}

int mps_head_read(const uint8_t *p, size_t len, struct mps_head *head)
{
    if (len == 0) return 0;
    unsigned byte = p[0];
    *head = (struct mps_head){.head_len = 1};
    if (byte < 0x80) {
        head->type = MPS_UINT;
        head->number = byte;
    } else if (byte < 0x90) {
        head->type = MPS_MAP;
        head->count = byte & 15;
    } else if (byte < 0xa0) {
        head->type = MPS_ARRAY;
        head->count = byte & 15;
    } else if (byte < 0xc0) {
        head->type = MPS_STR;
        head->count = byte & 31;
    } else if (byte >= 0xe0) {
        set_int(head, (int8_t)(uint8_t)byte);
    } else {
        unsigned more = extra[byte - 0xc0];
        if (more == 255) return -1;
        if (len < 1 + more) return 0;
        head->head_len = (uint8_t)(1 + more);
        fill_wide(p, more, head);
    }
    return 1;
}
