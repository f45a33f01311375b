#include "heap.h"

#include <stdlib.h>

#include "sure.h"

void timer_init(struct timer *timer)
{
    *timer = (struct timer){.when_ms = UINT64_MAX};
}

static void place(struct heap *heap, struct timer *timer, uint32_t at)
{
    heap->timers[at] = timer;
    timer->at = at;
}

/* Moves the timer from `at` to where it belongs. */
static void settle(struct heap *heap, struct timer *timer, uint32_t at)
{
    while (at > 0 && heap->timers[(at - 1) / 2]->when_ms > timer->when_ms) {
        place(heap, heap->timers[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= heap->count) break;
        if (child + 1 < heap->count && heap->timers[child + 1]->when_ms < heap->timers[child]->when_ms) child++;
        if (heap->timers[child]->when_ms >= timer->when_ms) break;
        place(heap, heap->timers[child], at);
        at = child;
    }
    place(heap, timer, at);
}

void timer_set(struct heap *heap, struct timer *timer, uint64_t when_ms)
{
    if (timer->when_ms == UINT64_MAX) {
        if (heap->count == heap->cap) {
            heap->cap = heap->cap ? 2 * heap->cap : 64;
            heap->timers = sure_grown(heap->timers, heap->cap * sizeof(struct timer *)); /* one pointer a timer */
        }
        timer->at = heap->count++;
    }
    timer->when_ms = when_ms;
    settle(heap, timer, timer->at);
}

void timer_cancel(struct heap *heap, struct timer *timer)
{
    if (timer->when_ms == UINT64_MAX) return;
    struct timer *last = heap->timers[--heap->count];
    if (last != timer) settle(heap, last, timer->at);
    timer->when_ms = UINT64_MAX;
}

struct timer *timer_take_due(struct heap *heap, uint64_t now_ms)
{
    if (heap->count == 0 || heap->timers[0]->when_ms > now_ms) return NULL;
    struct timer *due = heap->timers[0];
    timer_cancel(heap, due);
    return due;
}

uint64_t timer_next_ms(const struct heap *heap)
{
    return heap->count == 0 ? UINT64_MAX : heap->timers[0]->when_ms;
}

void heap_free(struct heap *heap)
{
    free(heap->timers);
    *heap = (struct heap){0};
}
