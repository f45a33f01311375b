#include "queue.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sure.h"
#include "trace.h"

#define FIRST_CAP 4u
#define KEPT_CAP 16u

static void set_cap(struct queue *queue, uint32_t cap)
{
    struct queue_entry *ring = sure_alloc(cap * sizeof *ring); /* small, and bounded by max_msgs */
    for (uint32_t i = 0; i < queue->entries; i++) ring[i] = *queue_at(queue, i);
    free(queue->ring);
    queue->ring = ring;
    queue->cap = cap;
    queue->head = 0;
}

static struct queue_entry *append(struct queue *queue)
{
    if (queue->entries == queue->cap) set_cap(queue, queue->cap ? queue->cap * 2 : FIRST_CAP);
    return queue_at(queue, queue->entries++);
}

static void remove_first(struct queue *queue)
{
    queue->head = (queue->head + 1) & (queue->cap - 1);
    queue->first++;
    queue->entries--;
    if (queue->before > 0) queue->before--;
    if (queue->entries > 0) return;
    if (queue->cap > KEPT_CAP) { /* a burst is over: give its memory back */
        free(queue->ring);
        queue->ring = NULL;
        queue->cap = 0;
    }
    queue->head = 0;
    queue->untidy = false;
}

static struct queue_entry *prepend(struct queue *queue)
{
    if (queue->entries == queue->cap) set_cap(queue, queue->cap ? queue->cap * 2 : FIRST_CAP);
    queue->head = (queue->head - 1) & (queue->cap - 1);
    queue->first--;
    queue->entries++;
    if (queue->before > 0) queue->before++;
    return queue_at(queue, 0);
}

void queue_push(struct queue *queue, struct run *run, uint32_t off, uint32_t len, uint32_t count)
{
    struct queue_entry *last = queue->entries > queue->before ? queue_at(queue, queue->entries - 1) : NULL;
    if (last != NULL && last->run == run && last->off + last->len == off) {
        last->len += len;
        last->count += count;
    } else {
        *append(queue) = (struct queue_entry){run_ref(run), count, off, len};
    }
    queue->msgs += count;
    queue->bytes += len;
}

void queue_push_gap(struct queue *queue, enum mps_gap_reason reason, uint64_t count)
{
    for (uint32_t i = queue->entries; i > queue->before; i--) {
        struct queue_entry *entry = queue_at(queue, i - 1);
        if (entry->run != NULL) break;
        if (entry->off != reason) continue;
        entry->count += count;
        return;
    }
    *append(queue) = (struct queue_entry){NULL, count, reason, 0};
}

void queue_push_front(struct queue *queue, struct run *run, uint32_t off, uint32_t len, uint32_t count)
{
    struct queue_entry *first = queue->entries > 0 ? queue_at(queue, 0) : NULL;
    if (first != NULL && first->run == run && off + len == first->off) {
        first->off = off;
        first->len += len;
        first->count += count;
    } else {
        *prepend(queue) = (struct queue_entry){run_ref(run), count, off, len};
    }
    queue->msgs += count;
    queue->bytes += len;
}

static uint32_t leading_gaps(const struct queue *queue)
{
    uint32_t gaps = 0, end = queue->before > 0 ? queue->before : queue->entries;
    while (gaps < end && queue_at(queue, gaps)->run == NULL) gaps++;
    return gaps;
}

void queue_push_front_gap(struct queue *queue, enum mps_gap_reason reason, uint64_t count)
{
    uint32_t gaps = leading_gaps(queue);
    for (uint32_t i = 0; i < gaps; i++) {
        struct queue_entry *entry = queue_at(queue, i);
        if (entry->off != reason) continue;
        entry->count += count;
        return;
    }
    *prepend(queue) = (struct queue_entry){NULL, count, reason, 0};
}

void queue_lose_at(struct queue *queue, struct run_pool *runs, uint32_t i, enum mps_gap_reason reason)
{
    struct queue_entry *entry = queue_at(queue, i);
    assert(entry->run != NULL);
    queue->msgs -= entry->count;
    queue->bytes -= entry->len;
    if (entry->run->is_traced) trace_lost(queue, entry->run, entry->off, entry->len, reason);
    run_unref(runs, entry->run);
    *entry = (struct queue_entry){NULL, entry->count, reason, 0};
    queue->untidy = true;
}

/* Adds the gap to one of its kind among those right behind position `begin`, before position `end`. */
static bool merge_gap(const struct queue *queue, const struct queue_entry *gap, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end; i++) {
        struct queue_entry *entry = queue_at(queue, i);
        if (entry->run != NULL) return false;
        if (entry->off != gap->off) continue;
        entry->count += gap->count;
        return true;
    }
    return false;
}

/* What is left moves towards the end: so the front can be tidied without touching the rest. */
void queue_tidy(struct queue *queue, uint32_t limit, queue_moved_fn moved, void *arg)
{
    if (!queue->untidy) return;
    if (limit >= queue->entries) {
        limit = queue->entries;
        queue->untidy = false;
    }
    uint32_t to = limit, end = limit < queue->before ? queue->before : queue->entries;
    for (uint32_t i = limit; i > 0; i--) {
        if (i == queue->before) end = to; /* nothing is merged across the mark */
        struct queue_entry entry = *queue_at(queue, i - 1);
        if (entry.run == NULL && merge_gap(queue, &entry, to, end)) continue;
        *queue_at(queue, --to) = entry;
        if (entry.run != NULL && moved != NULL && to != i - 1)
            moved(&entry, queue->first + i - 1, queue->first + to, arg);
    }
    queue->head = (queue->head + to) & (queue->cap - 1);
    queue->first += to;
    queue->entries -= to;
    if (queue->before > 0) queue->before = queue->before >= limit ? queue->before - to : end - to;
}

/* The first entry that is a run is taken to the front, gaps before it are kept in `kept`, merged by reason. */
static uint32_t lift_gaps(struct queue *queue, struct queue_entry *kept, uint32_t count)
{
    while (queue->entries > 0 && queue_at(queue, 0)->run == NULL) {
        struct queue_entry gap = *queue_at(queue, 0);
        remove_first(queue);
        uint32_t i = 0;
        while (i < count && kept[i].off != gap.off) i++;
        if (i == count) kept[count++] = gap;
        else kept[i].count += gap.count;
    }
    return count;
}

/* Bytes and messages of the first entry of messages that have to go. */
static void first_excess(const struct queue *queue, const struct queue_entry *entry, uint64_t max_msgs,
                         uint64_t max_bytes, uint32_t *len, uint64_t *count)
{
    *len = entry->len;
    *count = entry->count;
    if (queue->msgs - entry->count >= max_msgs || queue->bytes - entry->len >= max_bytes) return; /* all of it */
    uint64_t msgs_over = queue->msgs > max_msgs ? queue->msgs - max_msgs : 0;
    uint64_t bytes_over = queue->bytes > max_bytes ? queue->bytes - max_bytes : 0;
    uint32_t frames = 0;
    uint32_t end = bytes_over > 0
                       ? run_frame_end(entry->run, entry->off, entry->off + (uint32_t)bytes_over - 1, &frames)
                       : entry->off;
    if (frames < msgs_over) {
        frames = (uint32_t)msgs_over;
        end = run_skip(entry->run, entry->off, frames);
    }
    *len = end - entry->off;
    *count = frames;
}

/* What is left of a run must not keep much more memory than it needs: less than half of a large one, which nobody else
 * holds, gets memory of its own. */
static void unpin(struct queue_entry *entry, struct run_pool *runs)
{
    struct run *run = entry->run;
    if (run->len < PINNED_MIN || entry->len >= run->len / 2 || !run_has_one_holder(run)) return;
    struct run *part = run_copy_part(runs, run, entry->off, entry->len, (uint32_t)entry->count);
    if (part == NULL) return;
    run_unref(runs, run);
    entry->run = part;
    entry->off = 0;
}

/* Takes len bytes, count messages, off an entry; if nothing is left of it, returns true: it is to be removed. */
static bool shorten(struct queue *queue, struct run_pool *runs, struct queue_entry *entry, uint32_t len, uint64_t count)
{
    queue->msgs -= count;
    queue->bytes -= len;
    entry->off += len;
    entry->len -= len;
    entry->count -= count;
    if (entry->count > 0) {
        unpin(entry, runs);
        return false;
    }
    run_unref(runs, entry->run);
    return true;
}

/* What a stalled reader meets with each run, a thousand of them a thousand times: the gap stands at the front already,
 * and grows by what is behind it. Returns how many messages went; there may be more to drop. */
static uint64_t grow_front_gap(struct queue *queue, struct run_pool *runs, uint64_t max_msgs, uint64_t max_bytes,
                               enum mps_gap_reason reason)
{
    uint64_t dropped = 0;
    while ((queue->msgs > max_msgs || queue->bytes > max_bytes) && queue->before == 0) {
        struct queue_entry *gap = queue_at(queue, 0), *entry = queue_at(queue, 1);
        if (gap->run != NULL || gap->off != reason || entry->run == NULL) break;
        uint32_t len;
        uint64_t count;
        first_excess(queue, entry, max_msgs, max_bytes, &len, &count);
        bool next_is_gap = queue->entries > 2 && queue_at(queue, 2)->run == NULL;
        if (count == entry->count && next_is_gap) break; /* with which it may have to be merged */
        gap->count += count;
        dropped += count;
        if (entry->run->is_traced) trace_lost(queue, entry->run, entry->off, len, reason);
        if (!shorten(queue, runs, entry, len, count)) continue;
        *entry = *gap;
        remove_first(queue);
    }
    return dropped;
}

static uint64_t drop_first(struct queue *queue, struct run_pool *runs, uint64_t max_msgs, uint64_t max_bytes,
                           enum mps_gap_reason reason)
{
    struct queue_entry kept[16]; /* one of each reason */
    uint32_t gaps = 0;
    uint64_t dropped = 0;
    bool had_before = queue->before > 0;
    while (queue->msgs > max_msgs || queue->bytes > max_bytes) {
        gaps = lift_gaps(queue, kept, gaps);
        uint32_t len;
        uint64_t count;
        const struct queue_entry *entry = queue_at(queue, 0);
        first_excess(queue, entry, max_msgs, max_bytes, &len, &count);
        if (entry->run->is_traced) trace_lost(queue, entry->run, entry->off, len, reason);
        queue_pop(queue, runs, len, count);
        dropped += count;
    }
    uint32_t left = queue->entries;
    if (had_before && queue->before == 0) {
        uint32_t i = 0;
        while (i < gaps && kept[i].off != reason) i++;
        if (i == gaps) kept[gaps++] = (struct queue_entry){NULL, 0, reason, 0};
        kept[i].count += dropped;
        while (gaps > 0) *prepend(queue) = kept[--gaps];
        queue->before = queue->entries - left;
        return dropped;
    }
    while (gaps > 0) {
        gaps--;
        queue_push_front_gap(queue, (enum mps_gap_reason)kept[gaps].off, kept[gaps].count);
    }
    queue_push_front_gap(queue, reason, dropped);
    /* Of what was there at the mark nothing may be left but the loss: that is told before what came since. */
    if (had_before && queue->before == 0) queue->before = queue->entries - left;
    return dropped;
}

uint64_t queue_drop_oldest(struct queue *queue, struct run_pool *runs, uint64_t max_msgs, uint64_t max_bytes,
                           enum mps_gap_reason reason)
{
    uint64_t dropped = grow_front_gap(queue, runs, max_msgs, max_bytes, reason);
    if (queue->msgs <= max_msgs && queue->bytes <= max_bytes) return dropped;
    return dropped + drop_first(queue, runs, max_msgs, max_bytes, reason);
}

void queue_pop(struct queue *queue, struct run_pool *runs, uint32_t len, uint64_t count)
{
    struct queue_entry *entry = queue_at(queue, 0);
    assert(entry->run != NULL && entry->len >= len && entry->count >= count);
    if (shorten(queue, runs, entry, len, count)) remove_first(queue);
}

void queue_pop_gap(struct queue *queue)
{
    assert(queue_at(queue, 0)->run == NULL);
    remove_first(queue);
}

uint64_t queue_msgs_over(const struct queue *queue, uint64_t max_memory_bytes)
{
    uint64_t memory = queue->bytes + (uint64_t)queue->entries * QUEUE_ENTRY_BYTES, msgs = 0;
    for (uint32_t i = 0; i < queue->entries && memory > max_memory_bytes; i++) {
        const struct queue_entry *entry = queue_at(queue, i);
        if (entry->run == NULL) continue;
        msgs += entry->count;
        memory -= entry->len + QUEUE_ENTRY_BYTES;
    }
    return msgs;
}

void queue_clear(struct queue *queue, struct run_pool *runs)
{
    while (queue->entries > 0) {
        struct queue_entry *entry = queue_at(queue, 0);
        if (entry->run != NULL) run_unref(runs, entry->run);
        remove_first(queue);
    }
    free(queue->ring);
    *queue = (struct queue){0};
}

static bool entry_has_frame(const struct queue_entry *entry, mps_view frame, uint64_t *looked)
{
    const uint8_t *p = entry->run->bytes + entry->off, *end = p + entry->len;
    uint32_t stride = run_stride(entry->run), len;
    ++*looked;
    if (stride > 0 && stride != frame.len) return false;
    for (; p < end; p += len, ++*looked) {
        len = mps_msg_frame_len(p);
        if (len == frame.len && memcmp(p, frame.ptr, len) == 0) return true;
    }
    return false;
}

bool queue_has_frame(const struct queue *queue, mps_view frame, uint64_t *looked)
{
    for (uint32_t i = queue->before; i < queue->entries; i++) {
        const struct queue_entry *entry = queue_at(queue, i);
        if (entry->run != NULL && entry_has_frame(entry, frame, looked)) return true;
    }
    return false;
}
