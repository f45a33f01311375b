#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "slab.h"
#include "sure.h"
#include "wire.h"

#define SPARE_RUNS_MAX 4096

static struct run *take_run(struct run_pool *pool)
{
    struct run *run = pool->spare;
    if (run != NULL) {
        pool->spare = run->next;
        pool->spare_count--;
    } else {
        run = sure_alloc(sizeof *run);
    }
    *run = (struct run){.refs = 1, .expires_ms = UINT64_MAX, .place = pool->made++ << 32};
    pool->alive++;
    return run;
}

struct run *run_new(struct run_pool *pool, struct slab *slab, const uint8_t *bytes)
{
    struct run *run = take_run(pool);
    run->bytes = bytes;
    run->slab = slab;
    slab->refs++;
    run->next = pool->unsettled;
    pool->unsettled = run;
    return run;
}

static void count_own(struct run_pool *pool, struct run *run, uint32_t bytes)
{
    run->own_bytes = bytes;
    pool->own_bytes += bytes;
}

/* Copies what the run refers to into memory of its own. False: there is none for so much. */
static bool copy_bytes(struct run_pool *pool, struct run *run, const uint8_t *bytes)
{
    uint8_t *own = sure_if_small(run->len);
    if (own == NULL) return false;
    memcpy(own, bytes, run->len);
    run->bytes = own;
    run->slab = NULL;
    count_own(pool, run, run->len);
    return true;
}

/* Gives a run that outlives its turn memory of its own. A large frame's slab is that already, and any slab has to be
 * when there is no memory to copy to. */
static void settle(struct run_pool *pool, struct run *run)
{
    struct slab *slab = run->slab;
    if (slab->refs == 1 && slab != pool->slabs->shared && run->len >= slab->cap - slab->cap / 8) {
        count_own(pool, run, slab->cap);
        return;
    }
    if (copy_bytes(pool, run, run->bytes)) slab_unref(pool->slabs, slab);
    else count_own(pool, run, run->len);
}

/* With a copy of bytes of this length. NULL: there is no memory for them. */
static struct run *new_copy(struct run_pool *pool, const uint8_t *bytes, uint32_t len)
{
    struct run *run = take_run(pool);
    run->len = len;
    if (copy_bytes(pool, run, bytes)) return run;
    run_unref(pool, run);
    return NULL;
}

struct run *run_copy(struct run_pool *pool, const uint8_t *frame, uint32_t len)
{
    struct run *run = new_copy(pool, frame, len);
    if (run == NULL) return NULL;
    run->longest = run->shortest = len;
    run->count = 1;
    return run;
}

struct run *run_of_bytes(struct run_pool *pool, uint8_t *take_bytes, uint32_t len, uint32_t count)
{
    struct run *run = take_run(pool);
    run->bytes = take_bytes;
    run->len = len;
    run->count = count;
    count_own(pool, run, len);
    return run;
}

struct run *run_of_stored(struct run_pool *pool, uint8_t *take_bytes, uint32_t len, uint32_t count)
{
    struct run *run = run_of_bytes(pool, take_bytes, len, count);
    run->shortest = UINT32_MAX;
    for (uint32_t off = 0, one; off < len; off += one) {
        one = mps_msg_frame_len(take_bytes + off);
        if (one > run->longest) run->longest = one;
        if (one < run->shortest) run->shortest = one;
    }
    run->is_stored = true;
    pool->stored_bytes += len;
    pool->stored_count++;
    return run;
}

struct run *run_copy_part(struct run_pool *pool, const struct run *run, uint32_t off, uint32_t len, uint32_t count)
{
    struct run *part = new_copy(pool, run->bytes + off, len);
    if (part == NULL) return NULL;
    part->count = count;
    part->longest = run->longest;
    part->shortest = run->shortest;
    part->place = run->place + off;
    part->arrived_ms = run->arrived_ms;
    part->expires_ms = run->expires_ms;
    part->is_traced = run->is_traced;
    return part;
}

struct run *run_slice(struct run_pool *pool, struct run *run, uint32_t off, uint32_t len, uint32_t count,
                      uint32_t last_off)
{
    if (run->own_bytes > 0) return run_copy_part(pool, run, off, len, count);
    struct run *slice = run_new(pool, run->slab, run->bytes + off);
    slice->len = len;
    slice->count = count;
    slice->longest = count == 1 ? len : run->longest;
    slice->shortest = count == 1 ? len : run->shortest;
    slice->last_off = last_off - off;
    slice->place = run->place + off;
    slice->arrived_ms = run->arrived_ms;
    slice->expires_ms = run->expires_ms;
    slice->is_traced = run->is_traced;
    return run_ref(slice);
}

static struct run_more *more_of(struct run *run)
{
    if (run->more == NULL) run->more = sure_zeroed(sizeof *run->more);
    return run->more;
}

static void free_more(struct run_pool *pool, struct run_more *more)
{
    if (more->tail != NULL) run_unref(pool, more->tail);
    free(more->marks);
    free(more);
}

struct run *run_tail(struct run_pool *pool, struct run *run)
{
    if (run->own_bytes > 0) return run->more ? run->more->tail : NULL;
    struct run_more *more = more_of(run);
    if (more->tail == NULL)
        more->tail = run_slice(pool, run, run->last_off, run->len - run->last_off, 1, run->last_off);
    return more->tail;
}

void run_unref(struct run_pool *pool, struct run *run)
{
    assert(run->refs > 0);
    if (--run->refs > 0) return;
    pool->own_bytes -= run->own_bytes;
    if (run->is_stored) {
        pool->stored_bytes -= run->own_bytes;
        pool->stored_count--;
    }
    if (run->more != NULL) free_more(pool, run->more);
    if (run->slab != NULL) slab_unref(pool->slabs, run->slab);
    else free((uint8_t *)run->bytes);
    pool->alive--;
    if (pool->spare_count < SPARE_RUNS_MAX) {
        run->next = pool->spare;
        pool->spare = run;
        pool->spare_count++;
    } else {
        free(run);
    }
}

void run_settle_all(struct run_pool *pool)
{
    while (pool->unsettled != NULL) {
        struct run *run = pool->unsettled;
        pool->unsettled = run->next;
        run->next = NULL;
        if (run->refs > 1) settle(pool, run);
        run_unref(pool, run);
    }
}

uint64_t run_unsettled_bytes(const struct run_pool *pool)
{
    uint64_t bytes = 0;
    for (const struct run *run = pool->unsettled; run != NULL; run = run->next) bytes += run->refs > 1 ? run->len : 0;
    return bytes;
}

void run_pool_free(struct run_pool *pool)
{
    run_settle_all(pool);
    while (pool->spare != NULL) {
        struct run *next = pool->spare->next;
        free(pool->spare);
        pool->spare = next;
    }
    pool->spare_count = 0;
}

/* Places closer than this are found by walking. */
#define MARK_FRAMES 64u
#define NEAR_BYTES 1024u

static uint32_t next_frame(const struct run *run, uint32_t off)
{
    return off + mps_msg_frame_len(run->bytes + off);
}

static const uint32_t *marks_of(struct run *run)
{
    struct run_more *more = more_of(run);
    if (more->marks != NULL) return more->marks;
    uint32_t off = 0;
    more->marks =
        sure_alloc((run->count / MARK_FRAMES + 1) * sizeof more->marks[0]); /* small: a byte for each 16 frames */
    for (uint32_t i = 0; i < run->count; i++, off = next_frame(run, off))
        if (i % MARK_FRAMES == 0) more->marks[i / MARK_FRAMES] = off;
    return more->marks;
}

/* The number of the frame in which the byte lies, from 0; sets *off to where that frame begins. */
static uint32_t frame_at(struct run *run, uint32_t at, uint32_t *off)
{
    const uint32_t *marks = marks_of(run);
    uint32_t low = 0, high = (run->count - 1) / MARK_FRAMES;
    while (low < high) {
        uint32_t middle = (low + high + 1) / 2;
        if (marks[middle] <= at) low = middle;
        else high = middle - 1;
    }
    uint32_t number = low * MARK_FRAMES;
    *off = marks[low];
    for (uint32_t next; (next = next_frame(run, *off)) <= at; *off = next) number++;
    return number;
}

uint32_t run_frame_end(struct run *run, uint32_t from, uint32_t at, uint32_t *count)
{
    uint32_t stride = run_stride(run);
    if (stride > 0) {
        *count = (at - from) / stride + 1;
        return from + *count * stride;
    }
    uint32_t off = from, frames = 0;
    if (at - from > NEAR_BYTES && run->count > MARK_FRAMES) {
        uint32_t begin;
        frames = frame_at(run, at, &off) - frame_at(run, from, &begin);
    }
    do {
        off = next_frame(run, off);
        frames++;
    } while (off <= at);
    *count = frames;
    return off;
}

uint32_t run_skip(struct run *run, uint32_t from, uint32_t count)
{
    if (run_stride(run) > 0) return from + count * run->longest;
    uint32_t off = from;
    if (count > MARK_FRAMES) {
        uint32_t to = frame_at(run, from, &off) + count;
        off = to / MARK_FRAMES * MARK_FRAMES < run->count ? run->more->marks[to / MARK_FRAMES] : run->len;
        count = off < run->len ? to % MARK_FRAMES : 0;
    }
    while (count-- > 0) off = next_frame(run, off);
    return off;
}
