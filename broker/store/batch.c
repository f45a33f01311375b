#include "batch.h"

#include <assert.h>

#include "sums.h"

static void assert_stream(uint32_t stream)
{
    assert(stream >= STORE_STREAM_FIRST && stream - STORE_STREAM_FIRST < STORE_STREAMS_MAX);
}

static void assert_change(const struct store_change *change)
{
    switch (change->what) {
    case STORE_APPEND:
        assert_stream(change->block.stream);
        assert(change->block.first >= 1 && change->block.count >= 1);
        assert(change->block.first + change->block.count - 1 <= POSITION_MAX);
        assert(change->block.len >= 1 && change->block.len <= STORE_BLOCK_MAX && change->block.bytes != NULL);
        return;
    case STORE_TRIM:
        assert_stream(change->block.stream);
        assert(change->block.first <= POSITION_MAX);
        return;
    case STORE_PUT:
    case STORE_REMOVE:
        assert(change->kind >= 1 && change->kind <= 255 && change->key.len <= STORE_KEY_MAX);
        assert(change->value.len <= STORE_BLOCK_MAX);
        return;
    }
    assert(false && "a change of no kind");
}

void batch_assert(const struct store_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) assert_change(&batch->changes[i]);
}
