/* A MSG of the shape that nearly all have: an array of 4, a topic of at most 255 bytes, no props, a payload. Read here,
 * inline, in 20 instructions, by everybody who otherwise would go through it value by value in 500. */
#ifndef PROTO_PLAIN_H
#define PROTO_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "numbers.h"

/* Offsets from the frame's first byte. */
struct mps_plain {
    uint32_t topic_at, topic_len;
    uint32_t bin_at;                  /* the payload's own head: all before it is the same in each message of a topic */
    uint32_t payload_at, payload_len; /* of which not all needs to be there */
};

/* Whether the frame at p, of which len bytes are there, has this shape, and all but its payload's body is there. */
static inline bool mps_plain_read(const uint8_t *p, size_t len, struct mps_plain *out)
{
    if (len < 4 || p[0] != 0x94 || p[1] != MPS_OP_MSG) return false;
    if ((p[2] & 0xe0) == 0xa0) out->topic_at = 3, out->topic_len = p[2] & 31u;
    else if (p[2] == 0xd9) out->topic_at = 4, out->topic_len = p[3];
    else return false;
    uint32_t at = out->topic_at + out->topic_len;
    if (len < at + 3 || p[at] != 0xc0) return false;
    const uint8_t *bin = p + ++at;
    out->bin_at = at;
    switch (bin[0]) {
    case 0xc4:
        out->payload_at = at + 2;
        out->payload_len = bin[1];
        return true;
    case 0xc5:
        if (len < at + 3) return false;
        out->payload_at = at + 3;
        out->payload_len = (uint32_t)bin[1] << 8 | bin[2];
        return true;
    case 0xc6:
        if (len < at + 5) return false;
        out->payload_at = at + 5;
        out->payload_len = (uint32_t)bin[1] << 24 | (uint32_t)bin[2] << 16 | (uint32_t)bin[3] << 8 | bin[4];
        return true;
    }
    return false;
}

#endif
