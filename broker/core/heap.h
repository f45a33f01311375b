/* Timers: a binary heap of intrusive entries, earliest first. One thread. */
#ifndef BROKER_HEAP_H
#define BROKER_HEAP_H

#include <stdint.h>

struct timer {
    uint64_t when_ms; /* monotonic; UINT64_MAX: not set */
    uint32_t at;      /* place in the heap */
};

struct heap {
    struct timer **timers;
    uint32_t count, cap;
};

void timer_init(struct timer *timer);
void timer_set(struct heap *heap, struct timer *timer, uint64_t when_ms); /* also moves one that is set */
void timer_cancel(struct heap *heap, struct timer *timer);                /* also one that is not set */
/* Takes out and returns a timer that is due at now_ms, or NULL. */
struct timer *timer_take_due(struct heap *heap, uint64_t now_ms);
uint64_t timer_next_ms(const struct heap *heap); /* UINT64_MAX: none */
void heap_free(struct heap *heap);

#endif
