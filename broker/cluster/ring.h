/* Hands pieces from one thread to another, in their order, without a lock: one thread pushes, one other pops. It has room for a
 * number of pieces, which is allocated at the beginning, and for so many bytes of them; what does not fit is refused, at once.
 * Whose the pieces are goes with them. */
#ifndef CLUSTER_RING_H
#define CLUSTER_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring_slot {
    void *piece;
    size_t bytes;
};

/* The indices count pushes and pops, without end. What one side writes lies apart from what the other does: a line of the
 * cache that both write goes from one to the other each time. */
struct ring {
    struct ring_slot *slots;
    size_t mask;               /* slots - 1 */
    uint64_t bytes_most;
    _Alignas(64) _Atomic uint64_t pushed;
    uint64_t bytes_pushed;     /* the pusher's own, as the next two, which it saw last */
    uint64_t popped_seen, bytes_popped_seen;
    _Alignas(64) _Atomic uint64_t popped;
    _Atomic uint64_t bytes_popped;
    uint64_t pushed_seen;      /* the popper's own */
};

/* slots: a power of two. */
void ring_init(struct ring *ring, size_t slots, uint64_t bytes_most);
/* Nobody uses it any more, and nothing is in it. */
void ring_free(struct ring *ring);

/* False: it is full. A piece is taken, however long it is, when there is no other. */
bool ring_push(struct ring *ring, void *piece, size_t bytes);
/* NULL: it is empty. */
void *ring_pop(struct ring *ring);
/* Whether it is empty, for the one that pops. */
bool ring_is_empty(const struct ring *ring);

#endif
