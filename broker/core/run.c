#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "slab.h"
#include "wire.h"

#define SPARE_RUNS_MAX 4096

static struct run *take_run(struct run_pool *pool)
{
    struct run *run = pool->spare;
    if (run != NULL) {
        pool->spare = run->next;
        pool->spare_count--;
    } else {
        run = malloc(sizeof *run);
        if (run == NULL) abort(); /* small */
    }
    *run = (struct run){.refs = 1};
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

/* Copies what the run refers to into memory of its own. */
static void copy_bytes(struct run_pool *pool, struct run *run, const uint8_t *bytes)
{
    uint8_t *own = malloc(run->len);
    if (own == NULL) abort(); /* bounded by the queues' budgets, which the operator sized */
    memcpy(own, bytes, run->len);
    run->bytes = own;
    run->slab = NULL;
    count_own(pool, run, run->len);
}

/* Gives a run that outlives its turn memory of its own. A large frame's slab is that already. */
static void settle(struct run_pool *pool, struct run *run)
{
    struct slab *slab = run->slab;
    if (slab->refs == 1 && slab != pool->slabs->shared && run->len >= slab->cap - slab->cap / 8) {
        count_own(pool, run, slab->cap);
        return;
    }
    copy_bytes(pool, run, run->bytes);
    slab_unref(pool->slabs, slab);
}

struct run *run_copy(struct run_pool *pool, const uint8_t *bytes, uint32_t len, uint32_t count)
{
    struct run *run = take_run(pool);
    run->len = len;
    run->longest = len;
    run->count = count;
    run->stride = count == 1 ? len : 0;
    copy_bytes(pool, run, bytes);
    return run;
}

void run_unref(struct run_pool *pool, struct run *run)
{
    assert(run->refs > 0);
    if (--run->refs > 0) return;
    pool->own_bytes -= run->own_bytes;
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

uint32_t run_frame_end(const struct run *run, uint32_t from, uint32_t at, uint32_t *count)
{
    if (run->stride > 0) {
        *count = (at - from) / run->stride + 1;
        return from + *count * run->stride;
    }
    uint32_t end = from, frames = 0;
    do {
        end += mps_msg_frame_len(run->bytes + end);
        frames++;
    } while (end <= at);
    *count = frames;
    return end;
}
