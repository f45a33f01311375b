#include "ring.h"

#include <assert.h>
#include <stdlib.h>

void ring_init(struct ring *ring, size_t slots, uint64_t bytes_most)
{
    assert(slots > 0 && (slots & (slots - 1)) == 0);
    *ring = (struct ring){.mask = slots - 1, .bytes_most = bytes_most};
    ring->slots = calloc(slots, sizeof *ring->slots);
    if (ring->slots == NULL) abort();
}

void ring_free(struct ring *ring)
{
    free(ring->slots);
}

static bool has_room(const struct ring *ring, uint64_t pushed, size_t bytes)
{
    uint64_t count = pushed - ring->popped_seen, taken = ring->bytes_pushed - ring->bytes_popped_seen;
    return count <= ring->mask && (taken == 0 || taken + bytes <= ring->bytes_most);
}

bool ring_push(struct ring *ring, void *piece, size_t bytes)
{
    uint64_t pushed = atomic_load_explicit(&ring->pushed, memory_order_relaxed);
    if (!has_room(ring, pushed, bytes)) {
        ring->popped_seen = atomic_load_explicit(&ring->popped, memory_order_acquire);
        ring->bytes_popped_seen = atomic_load_explicit(&ring->bytes_popped, memory_order_relaxed);
        if (!has_room(ring, pushed, bytes)) return false;
    }
    ring->slots[pushed & ring->mask] = (struct ring_slot){.piece = piece, .bytes = bytes};
    ring->bytes_pushed += bytes;
    atomic_store_explicit(&ring->pushed, pushed + 1, memory_order_release);
    return true;
}

void *ring_pop(struct ring *ring)
{
    uint64_t popped = atomic_load_explicit(&ring->popped, memory_order_relaxed);
    if (popped == ring->pushed_seen) {
        ring->pushed_seen = atomic_load_explicit(&ring->pushed, memory_order_acquire);
        if (popped == ring->pushed_seen) return NULL;
    }
    struct ring_slot slot = ring->slots[popped & ring->mask];
    uint64_t bytes = atomic_load_explicit(&ring->bytes_popped, memory_order_relaxed);
    atomic_store_explicit(&ring->bytes_popped, bytes + slot.bytes, memory_order_relaxed);
    atomic_store_explicit(&ring->popped, popped + 1, memory_order_release);
    return slot.piece;
}

bool ring_is_empty(const struct ring *ring)
{
    return atomic_load(&ring->popped) == atomic_load(&ring->pushed);
}
