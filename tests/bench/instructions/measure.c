#include "measure.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool measuring;

void measured(void (*run)(void *arg), void *arg)
{
    measuring = true;
    run(arg);
    measuring = false;
}

void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("bench_instructions: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}
