/* Checksums of what is kept: 64 bits of XXH3, each over the thing itself and over where it belongs, so that a block or a
 * record that turns up in another's place does not fit either. They find damage by accident, not by intent. */
#ifndef STORE_SUMS_H
#define STORE_SUMS_H

#include "store.h"

uint64_t block_head_sum(const struct store_block *block);  /* all but the bytes themselves */
uint64_t block_bytes_sum(const struct store_block *block); /* the bytes, and stream and position */
uint64_t record_sum(uint32_t kind, mps_view key, mps_view value);

/* Where a block is among those of all streams, in the order of stream and position. */
#define PLACE_BITS 48
#define POSITION_MAX ((UINT64_C(1) << PLACE_BITS) - 1)

static inline uint64_t block_place(uint32_t stream, uint64_t position)
{
    return (uint64_t)(stream - STORE_STREAM_FIRST) << PLACE_BITS | position;
}

#endif
