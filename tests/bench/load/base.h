/* What every part of the load generator uses: how it fails, clocks, little-endian words, repeatable randomness. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { EXIT_MEASUREMENT = 1, EXIT_USAGE = 2 };
#define NS_PER_S 1000000000U

/* Prints "bench_load: SENTENCE" on stderr and ends the program with the given code. */
_Noreturn void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Memory or the end of the program; zeroed. */
void *allocate(size_t count, size_t size);

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) < 0) return 0;
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static inline uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t seconds_ns(double seconds)
{
    return (uint64_t)(seconds * NS_PER_S);
}

static inline uint64_t load_u64(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static inline void store_u64(uint8_t *to, uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    memcpy(to, &word, sizeof word);
}

/* splitmix64: what is random is a function of what it is for, so that the receiver can say what was due. */
static inline uint64_t scatter(uint64_t x)
{
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

/* A whole number in 0..range-1 out of a random word. */
static inline uint32_t scale_u32(uint64_t random, uint32_t range)
{
    return (uint32_t)(((random >> 32) * range) >> 32);
}
