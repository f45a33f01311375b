/* msgpack as the core writes it, and the output buffer. Every frame is written whole, or nothing of it. */
#include "core_state.h"

/* ---- values --------------------------------------------------------------------------------------------------- */

/* A first byte, and a number of `width` bytes behind it, big-endian. */
static void put(struct writer *out, unsigned first, uint64_t number, unsigned width)
{
    if (out->full || (size_t)(out->end - out->at) <= width) {
        out->full = true;
        return;
    }
    *out->at++ = (uint8_t)first;
    for (unsigned i = width; i > 0; i--, number >>= 8) out->at[i - 1] = (uint8_t)number;
    out->at += width;
}

CORE_LOCAL void mps_core_put_uint(struct writer *out, uint64_t number)
{
    unsigned first = 0xcc, width = 1;
    if (number < 128) {
        put(out, (unsigned)number, 0, 0);
        return;
    }
    while (width < 8 && number >> 8 * width != 0) first++, width *= 2;
    put(out, first, number, width);
}

CORE_LOCAL void mps_core_put_head(struct writer *out, unsigned kind, uint32_t len)
{
    unsigned fixed = kind >> 8, first = kind & 0xff, width = len > UINT16_MAX ? 4 : 2;
    if (fixed != 0 && len < (fixed == 0xa0 ? 32 : 16)) {
        put(out, fixed | (unsigned)len, 0, 0);
        return;
    }
    if (len <= UINT8_MAX && first < 0xdb) width = 1;
    put(out, first + (width >> 1), len, width);
}

CORE_LOCAL void mps_core_put_bytes(struct writer *out, const void *bytes, size_t len)
{
    if (out->full || (size_t)(out->end - out->at) < len) {
        out->full = true;
        return;
    }
    if (len > 0) memcpy(out->at, bytes, len);
    out->at += len;
}

CORE_LOCAL void mps_core_put_text(struct writer *out, const char *text)
{
    size_t len = strlen(text);
    mps_core_put_head(out, HEAD_STR, (uint32_t)len);
    mps_core_put_bytes(out, text, len);
}

CORE_LOCAL void mps_core_put_bin(struct writer *out, const void *bytes, size_t len)
{
    mps_core_put_head(out, HEAD_BIN, (uint32_t)len);
    mps_core_put_bytes(out, bytes, len);
}

/* ---- options --------------------------------------------------------------------------------------------------- */

CORE_LOCAL const char *mps_core_nth(const char *texts, unsigned n)
{
    while (n-- > 0 && *texts != '\0') texts += strlen(texts) + 1;
    return texts;
}

static uint64_t number_at(const void *at, unsigned size)
{
    uint8_t byte;
    uint16_t half;
    uint32_t word;
    uint64_t number;
    switch (size) {
    case 1: return memcpy(&byte, at, 1), byte;
    case 2: return memcpy(&half, at, 2), half;
    case 4: return memcpy(&word, at, 4), word;
    case 8: return memcpy(&number, at, 8), number;
    }
    return 0; /* no integer */
}

#if PUBSUB_CORE_SUBSCRIBE
static const char policies[] =
#define POLICY(number, NAME, text) text "\0"
#include "codes.def"
    ;
#endif
#if PUBSUB_CORE_STREAMS
static const char ack_modes[] =
#define ACK_MODE(number, NAME, text) text "\0"
#include "codes.def"
    ;
static const char froms[] =
#define FROM(number, NAME, text) text "\0"
#include "codes.def"
    ;

static void put_from(struct writer *out, const struct pubsub_subscribe_options *options)
{
    const char *name = mps_core_nth(froms, options->from);
    size_t count = options->from_positions_count;
    switch (options->from) {
    case PUBSUB_FROM_LAST:
    case PUBSUB_FROM_TIME:
    case PUBSUB_FROM_AGO:
        mps_core_put_head(out, HEAD_ARRAY, 2);
        mps_core_put_text(out, name);
        mps_core_put_uint(out, options->from_number);
        return;
    case PUBSUB_FROM_SEQ:
        mps_core_put_head(out, HEAD_ARRAY, (uint32_t)(1 + 2 * count));
        mps_core_put_text(out, name);
        for (size_t i = 0; i < 2 * count; i++) mps_core_put_uint(out, options->from_positions[i]);
        return;
    case PUBSUB_FROM_NEW:
    case PUBSUB_FROM_ALL:
    case PUBSUB_FROM_ACKED:
    case PUBSUB_FROM_LAST_PER_TOPIC: break;
    }
    mps_core_put_text(out, name);
}
#endif

static void put_option(struct writer *out, const struct option *row, uint64_t number, const uint8_t *at,
                       const void *from)
{
    const char *text;
    size_t len;
    (void)from;
    switch ((enum option_kind)row->kind) {
    case OPTION_NUMBER: mps_core_put_uint(out, number); break;
    case OPTION_TRUE: mps_core_put_bytes(out, "\xc3", 1); break;
    case OPTION_TEXT:
        memcpy(&text, at, sizeof text);
        mps_core_put_text(out, text);
        break;
    case OPTION_RAW:
        memcpy(&text, at - offsetof(struct pubsub_bytes, len), sizeof text);
        mps_core_put_bytes(out, text, (size_t)number);
        break;
#if PUBSUB_CORE_PROPERTIES
    case OPTION_BIN:
        memcpy(&text, at, sizeof text);
        memcpy(&len, at + offsetof(struct pubsub_bytes, len), sizeof len);
        mps_core_put_bin(out, text, len);
        break;
    case OPTION_ZERO: mps_core_put_uint(out, 0); break;
    case OPTION_TTL: mps_core_put_uint(out, ((const struct pubsub_publish_options *)from)->ttl_ms); break;
#else
    case OPTION_BIN:
    case OPTION_ZERO:
    case OPTION_TTL: (void)len; break;
#endif
#if PUBSUB_CORE_SUBSCRIBE
    case OPTION_LIMIT: mps_core_put_uint(out, number < MPS_NUMBER_MAX ? number : MPS_NUMBER_MAX); break;
    case OPTION_POLICY: mps_core_put_text(out, mps_core_nth(policies, (unsigned)number - 1)); break;
#else
    case OPTION_LIMIT:
    case OPTION_POLICY: break;
#endif
    case OPTION_SCOPE: mps_core_put_text(out, "cluster"); break;
#if PUBSUB_CORE_CREDIT
    case OPTION_CREDIT: mps_core_put_uint(out, ((const struct pubsub_subscribe_options *)from)->credit); break;
#else
    case OPTION_CREDIT: break;
#endif
#if PUBSUB_CORE_STREAMS
    case OPTION_ACKS: mps_core_put_text(out, mps_core_nth(ack_modes, (unsigned)number)); break;
    case OPTION_FROM: put_from(out, from); break;
#else
    case OPTION_ACKS:
    case OPTION_FROM: break;
#endif
    }
}

CORE_LOCAL void mps_core_put_options(struct writer *out, const struct option *rows, const char *names, size_t count,
                                     const void *from, size_t more)
{
    const uint8_t *bytes = from;
    for (size_t i = 0; i < count; i++) more += number_at(bytes + rows[i].at, rows[i].size) != 0;
    mps_core_put_head(out, HEAD_MAP, (uint32_t)more);
    for (; count > 0; rows++, names += strlen(names) + 1, count--) {
        uint64_t number = number_at(bytes + rows->at, rows->size); /* of a pointer: whether it is NULL */
        if (number == 0) continue;
        if (names[0] > 8) mps_core_put_text(out, names);
        else mps_core_put_uint(out, (uint8_t)names[0]);
        put_option(out, rows, number, bytes + rows->at, from);
    }
}

/* ---- the output buffer ----------------------------------------------------------------------------------------- */

size_t pubsub_core_output(const struct pubsub_core *core, const void **at)
{
    *at = core->tx;
    return core->tx_end;
}

CORE_LOCAL void mps_core_wipe_output(struct pubsub_core *core)
{
    volatile uint8_t *tx = core->tx; /* volatile: nobody reads it again, it is to be written all the same */
    for (size_t i = 0; i < core->tx_cap; i++) tx[i] = 0;
    core->flags &= (uint8_t)~CORE_SECRET;
}

void pubsub_core_written(struct pubsub_core *core, size_t len)
{
    core->tx_end -= len;
    if (core->tx_end > 0) memmove(core->tx, core->tx + len, core->tx_end);
    else if (PUBSUB_CORE_PROOF && core->flags & CORE_SECRET) mps_core_wipe_output(core);
}

CORE_LOCAL int mps_core_may_send(const struct pubsub_core *core)
{
    return core->state == CORE_HELLO || core->state == CORE_READY ? PUBSUB_OK : PUBSUB_ECLOSED;
}

CORE_LOCAL struct writer mps_core_begin(struct pubsub_core *core, unsigned fields, unsigned op)
{
    struct writer out = {core->tx + core->tx_end, core->tx + core->tx_cap, false};
    put(&out, 0x91 + fields, op, 1);
    return out;
}

CORE_LOCAL int mps_core_commit(struct pubsub_core *core, const struct writer *out)
{
    if (out->full)
        return core->tx_end == 0 ? PUBSUB_ETOOBIG : PUBSUB_EAGAIN; /* what is too big even for an empty one */
    core->tx_end = (size_t)(out->at - core->tx);
    return PUBSUB_OK;
}

CORE_LOCAL int mps_core_send(struct pubsub_core *core, unsigned op, const uint64_t *numbers, unsigned least,
                             unsigned count)
{
    while (count > least && numbers[count - 1] == 0) count--;
    struct writer out = mps_core_begin(core, count, op);
    for (; count > 0; numbers++, count--) {
        if (PUBSUB_CORE_CREDIT && *numbers == CORE_TRUE) mps_core_put_bytes(&out, "\xc3", 1);
        else mps_core_put_uint(&out, *numbers);
    }
    return mps_core_commit(core, &out);
}

CORE_LOCAL int mps_core_send_token(struct pubsub_core *core, unsigned op, const void *token, size_t len)
{
    struct writer out = mps_core_begin(core, 1, op);
    mps_core_put_bin(&out, token, len);
    return mps_core_commit(core, &out);
}
