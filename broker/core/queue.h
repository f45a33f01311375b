/* What a subscription or a group has still to get: references to runs in the order of arrival, and between them the
 * gaps, each where it arose. O(1) for each run that is pushed, however many messages it holds. */
#ifndef BROKER_QUEUE_H
#define BROKER_QUEUE_H

#include "slab.h"
#include "wire.h"

struct queue_entry {
    struct run *run;   /* NULL: a gap */
    uint64_t count;    /* messages; of a gap: how many were lost */
    uint32_t off, len; /* bytes in the run. Of a gap, .off is the reason (enum mps_gap_reason) */
};

/* What an entry costs besides its bytes, at most: itself, its run, and the allocator's own. */
#define QUEUE_ENTRY_BYTES (sizeof(struct queue_entry) + sizeof(struct run) + 32)

struct queue {
    struct queue_entry *ring;
    uint32_t cap, head, entries; /* cap is 0 or a power of two */
    uint64_t msgs;               /* gaps not counted */
    uint64_t bytes;              /* of the frames */
    uint64_t first;              /* number of the entry at the front; the others have the next ones (modulo 2^64) */
    uint32_t before;             /* entries at the front that were there when queue_mark() was called */
    bool untidy;                 /* gaps arose in the middle, and may have neighbours to be merged with */
};

/* Appends count messages, len bytes at off of the run; takes a reference of its own. */
void queue_push(struct queue *queue, struct run *run, uint32_t off, uint32_t len, uint32_t count);
/* Appends a loss behind what is queued; merges with one that stands there already for the same reason. */
void queue_push_gap(struct queue *queue, enum mps_gap_reason reason, uint64_t count);
/* Drops the oldest messages until at most these many are left, and puts the gap where they stood. Returns how many. */
uint64_t queue_drop_oldest(struct queue *queue, struct run_pool *runs, uint64_t max_msgs, uint64_t max_bytes,
                           enum mps_gap_reason reason);
/* Appends at the front what was taken from there. */
void queue_push_front(struct queue *queue, struct run *run, uint32_t off, uint32_t len, uint32_t count);
void queue_push_front_gap(struct queue *queue, enum mps_gap_reason reason, uint64_t count);
/* All messages of the entry at position i, which is a run, are lost where they stand. Its place and those of the others
 * stay: the gap may have neighbours of its kind until queue_tidy(). */
void queue_lose_at(struct queue *queue, struct run_pool *runs, uint32_t i, enum mps_gap_reason reason);
/* Merges neighbouring gaps among the first `limit` entries. moved (may be NULL) is called for each message entry of these
 * with its old and its new number. */
typedef void (*queue_moved_fn)(const struct queue_entry *entry, uint64_t from, uint64_t to, void *arg);
void queue_tidy(struct queue *queue, uint32_t limit, queue_moved_fn moved, void *arg);
/* From here on .before counts what of the entries that are there now is left, and nothing is merged with them. */
static inline void queue_mark(struct queue *queue)
{
    if (queue->before > 0) queue->untidy = true;
    queue->before = queue->entries;
}
/* How many of the oldest messages have to go for the queue to cost at most this much memory. O(1) if none have to. */
uint64_t queue_msgs_over(const struct queue *queue, uint64_t max_memory_bytes);
/* The entry at position i from the front; i < queue->entries. Borrowed until the queue changes. */
static inline struct queue_entry *queue_at(const struct queue *queue, uint32_t i)
{
    return &queue->ring[(queue->head + i) & (queue->cap - 1)];
}
/* The frame of an entry that is one message. */
static inline mps_view queue_frame(const struct queue_entry *entry)
{
    return (mps_view){entry->run->bytes + entry->off, entry->len};
}
/* Takes count messages of len bytes off the first entry, which is a run that holds at least these. */
void queue_pop(struct queue *queue, struct run_pool *runs, uint32_t len, uint64_t count);
void queue_pop_gap(struct queue *queue);                      /* the first entry, which is a gap */
void queue_clear(struct queue *queue, struct run_pool *runs); /* forgets everything and frees */
/* Whether a message behind the mark is this frame, byte by byte. looked: grows by the frames that were looked at. */
bool queue_has_frame(const struct queue *queue, mps_view frame, uint64_t *looked);
static inline uint64_t queue_ring_bytes(const struct queue *queue)
{
    return (uint64_t)queue->cap * sizeof(struct queue_entry);
}

#endif
