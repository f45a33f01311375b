#include "sums.h"

#include <xxhash.h>

static void put_number(uint8_t *to, uint64_t number)
{
    for (int i = 0; i < 8; i++) to[i] = (uint8_t)(number >> 8 * i);
}

uint64_t block_head_sum(const struct store_block *block)
{
    const uint64_t numbers[] = {
        block_place(block->stream, block->first), block->count, block->time_ms, block->expires_ms, block->len,
    };
    uint8_t bytes[sizeof numbers];
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) put_number(bytes + 8 * i, numbers[i]);
    return XXH3_64bits(bytes, sizeof bytes);
}

uint64_t block_bytes_sum(const struct store_block *block)
{
    return XXH3_64bits_withSeed(block->bytes, block->len, block_place(block->stream, block->first));
}

uint64_t record_sum(uint32_t kind, mps_view key, mps_view value)
{
    /* The key's sum is the seed of the value's: where one ends and the other begins is part of it. */
    return XXH3_64bits_withSeed(value.ptr, value.len, XXH3_64bits_withSeed(key.ptr, key.len, kind));
}
