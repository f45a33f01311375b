#include <stdlib.h>

#include "model.h"
#include "sure.h"

struct outlet *outlet_new(void)
{
    struct outlet *outlet = sure_zeroed(sizeof *outlet); /* small, as subscriptions are */
    outlet->expires_ms = INT64_MAX;
    return outlet;
}

static void grow(struct outlet *outlet)
{
    uint32_t cap = outlet->cap > 0 ? 2 * outlet->cap : 4;
    struct outlet_entry *ring = sure_alloc(cap * sizeof *ring); /* bounded by what a subscription is given at a time */
    for (uint32_t i = 0; i < outlet->count; i++) ring[i] = *outlet_at(outlet, i);
    free(outlet->ring);
    outlet->ring = ring;
    outlet->cap = cap;
    outlet->head = 0;
}

static bool continues(const struct outlet_entry *last, const struct outlet_entry *entry)
{
    if (last->kind != entry->kind || last->reading != entry->reading || last->is_again != entry->is_again ||
        last->seq + last->count != entry->seq)
        return false;
    if (entry->kind == OUTLET_GAP) return last->count_known && entry->count_known && last->reason == entry->reason;
    return entry->kind == OUTLET_MSGS && last->run == entry->run && last->off + last->len == entry->off &&
           last->flags == entry->flags && last->tries == entry->tries;
}

void outlet_push(struct outlet *outlet, const struct outlet_entry *entry)
{
    struct outlet_entry *last = outlet->count > 0 ? outlet_at(outlet, outlet->count - 1) : NULL;
    if (entry->kind == OUTLET_MSGS) {
        outlet->msgs += entry->count;
        outlet->bytes += entry->len;
    }
    if (last != NULL && continues(last, entry)) {
        last->count += entry->count;
        last->len += entry->len;
        last->last = entry->last;
        return;
    }
    if (outlet->count == outlet->cap) grow(outlet);
    *outlet_at(outlet, outlet->count++) = *entry;
    if (entry->run != NULL) run_ref(entry->run);
}

void outlet_pop(struct outlet *outlet, struct run_pool *runs, uint32_t len, uint64_t count)
{
    struct outlet_entry *first = outlet_at(outlet, 0);
    if (first->kind == OUTLET_MSGS) {
        outlet->msgs -= count;
        outlet->bytes -= len;
        first->off += len;
        first->len -= len;
        first->seq += count;
        first->count -= count;
        if (first->count > 0) return;
        run_unref(runs, first->run);
    }
    outlet->head++;
    outlet->count--;
    if (outlet->count == 0) outlet->expires_ms = INT64_MAX;
    if (outlet->count > 0 || outlet->cap <= 4) return;
    free(outlet->ring);
    outlet->ring = NULL;
    outlet->cap = outlet->head = 0;
}

void outlet_drop_mark(struct outlet *outlet)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < outlet->count; i++)
        if (outlet_at(outlet, i)->kind != OUTLET_CAUGHT_UP) *outlet_at(outlet, kept++) = *outlet_at(outlet, i);
    outlet->count = kept;
}

void outlet_free(struct outlet *outlet, struct run_pool *runs)
{
    if (outlet == NULL) return;
    for (uint32_t i = 0; i < outlet->count; i++)
        if (outlet_at(outlet, i)->run != NULL) run_unref(runs, outlet_at(outlet, i)->run);
    free(outlet->ring);
    free(outlet);
}
