#include "slab.h"

#include <assert.h>
#include <stdlib.h>

#include "sure.h"

#define SPARE_SLABS_MAX 4

static struct slab *begin(struct slab_pool *pool, struct slab *slab, uint32_t cap)
{
    *slab = (struct slab){.refs = 1, .cap = cap};
    pool->alive++;
    pool->bytes += cap;
    return slab;
}

struct slab *slab_new(struct slab_pool *pool, uint32_t cap)
{
    struct slab *slab = malloc(sizeof *slab + cap);
    return slab != NULL ? begin(pool, slab, cap) : NULL;
}

/* Mostly there is one for the whole broker. NULL: there is no memory. */
static struct slab *take_spare(struct slab_pool *pool)
{
    struct slab *slab = pool->spare;
    if (slab == NULL) {
        slab = sure_or_null(sizeof *slab + SLAB_BYTES);
        return slab != NULL ? begin(pool, slab, SLAB_BYTES) : NULL;
    }
    pool->spare = slab->next_spare;
    pool->spare_count--;
    slab->refs = 1;
    slab->used = 0;
    return slab;
}

struct slab *slab_for_reading(struct slab_pool *pool, uint32_t room)
{
    assert(room <= SLAB_BYTES / 2);
    if (pool->shared != NULL && pool->shared->refs == 1) pool->shared->used = 0; /* start over, cache-hot */
    if (pool->shared != NULL && pool->shared->cap - pool->shared->used < room) {
        slab_unref(pool, pool->shared);
        pool->shared = NULL;
    }
    if (pool->shared == NULL) pool->shared = take_spare(pool);
    return pool->shared;
}

void slab_unref(struct slab_pool *pool, struct slab *slab)
{
    assert(slab->refs > 0);
    if (--slab->refs > 0) return;
    if (slab->cap == SLAB_BYTES && pool->spare_count < SPARE_SLABS_MAX) {
        slab->next_spare = pool->spare;
        pool->spare = slab;
        pool->spare_count++;
        return;
    }
    pool->alive--;
    pool->bytes -= slab->cap;
    free(slab);
}

void slab_pool_free(struct slab_pool *pool)
{
    if (pool->shared != NULL) slab_unref(pool, pool->shared);
    pool->shared = NULL;
    while (pool->spare != NULL) {
        struct slab *next = pool->spare->next_spare;
        pool->bytes -= pool->spare->cap;
        free(pool->spare);
        pool->alive--;
        pool->spare = next;
    }
    pool->spare_count = 0;
}
