#include "sure.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESERVE_BYTES (1024u * 1024)

static _Atomic(void *) reserve;

void sure_refill(void)
{
    if (atomic_load_explicit(&reserve, memory_order_relaxed) != NULL) return;
    void *none = NULL, *bytes = malloc(RESERVE_BYTES);
    if (bytes != NULL && !atomic_compare_exchange_strong(&reserve, &none, bytes)) free(bytes);
}

bool sure_is_short(void)
{
    return atomic_load_explicit(&reserve, memory_order_relaxed) == NULL;
}

static void give_up_reserve(void)
{
    free(atomic_exchange(&reserve, NULL));
}

static void end(size_t bytes)
{
    char line[80];
    int len = snprintf(line, sizeof line, "pubsubd: out of memory: there are no %zu bytes\n", bytes);
    if (write(STDERR_FILENO, line, (size_t)len) < 0) abort(); /* nobody to be told */
    abort();
}

void *sure_alloc(size_t bytes)
{
    return sure_grown(NULL, bytes);
}

void *sure_zeroed(size_t bytes)
{
    void *all = calloc(1, bytes);
    if (all != NULL) return all;
    give_up_reserve();
    all = calloc(1, bytes);
    if (all == NULL) end(bytes);
    return all;
}

void *sure_grown(void *take_old, size_t bytes)
{
    void *all = realloc(take_old, bytes);
    if (all != NULL) return all;
    give_up_reserve();
    all = realloc(take_old, bytes);
    if (all == NULL) end(bytes);
    return all;
}

char *sure_text(const char *text)
{
    size_t bytes = strlen(text) + 1;
    return memcpy(sure_alloc(bytes), text, bytes);
}

void *sure_or_null(size_t bytes)
{
    void *all = malloc(bytes);
    if (all != NULL) return all;
    give_up_reserve();
    return malloc(bytes);
}

void *sure_if_small(size_t bytes)
{
    return bytes <= SURE_BYTES_MAX ? sure_alloc(bytes) : malloc(bytes);
}
