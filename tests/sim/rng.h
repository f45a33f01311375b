/* Repeatable random numbers: everything that a simulation decides comes from here, so that a seed replays exactly. */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng) /* splitmix64 */
{
    uint64_t z = (rng->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* 0..n-1; n > 0. */
static inline uint32_t rng_below(struct rng *rng, uint32_t n)
{
    return (uint32_t)((rng_next(rng) >> 32) * n >> 32);
}

/* least..most, both included. */
static inline uint32_t rng_between(struct rng *rng, uint32_t least, uint32_t most)
{
    return least + rng_below(rng, most - least + 1);
}

static inline bool rng_percent(struct rng *rng, uint32_t percent)
{
    return rng_below(rng, 100) < percent;
}

/* 1..most, small ones far more often: each power of two is as likely as the next. */
static inline uint32_t rng_skewed(struct rng *rng, uint32_t most)
{
    uint32_t bits = 1;
    while (bits < 31 && most >> bits != 0) bits++;
    uint32_t number = 1 + rng_below(rng, UINT32_C(1) << rng_below(rng, bits));
    return number > most ? most : number;
}

#endif
