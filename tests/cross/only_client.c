/* The stages of the conformance vectors that need a broker, where there is none: such vectors fail. */
#include <stdio.h>

#include "stage.h"

struct stage *bench_open(const char *limits, char *const *streams, size_t streams_count, char *error, size_t cap)
{
    (void)limits, (void)streams, (void)streams_count;
    snprintf(error, cap, "this program was built without a broker");
    return NULL;
}

struct stage *live_open(const char *url)
{
    (void)url;
    return NULL;
}

struct stage *live_start(const char *program, char *const *streams, size_t streams_count, char *error, size_t cap)
{
    (void)program;
    return bench_open(NULL, streams, streams_count, error, cap);
}
