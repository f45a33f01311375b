/* How a fuzzer says that something is wrong: a line, and a crash that the fuzzer keeps the input of. */
#ifndef FUZZ_REQUIRE_H
#define FUZZ_REQUIRE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition, ...)                                                                                        \
    do {                                                                                                               \
        if (condition) break;                                                                                          \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fprintf(stderr, " (%s:%d: %s)\n", __FILE__, __LINE__, #condition);                                             \
        abort();                                                                                                       \
    } while (0)

/* Lengths of the pieces that an input comes in, from its first byte: 0 whole, else a repeatable mixture of sizes. */
static inline size_t piece_len(uint32_t *state, size_t left)
{
    if (*state == 0) return left;
    *state = *state * 1664525u + 1013904223u;
    if (*state == 0) *state = 1;
    size_t len = 1 + (*state >> 24) % (*state >> 31 ? 4 : 60);
    return len < left ? len : left;
}

#endif
