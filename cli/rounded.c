#include "rounded.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

void rounded_size(char text[ROUNDED_TEXT_MAX], uint64_t bytes)
{
    static const char units[] = {'k', 'm', 'g', 't', 'p'};
    double size = (double)bytes;
    size_t unit = 0;
    if (bytes < 1024) {
        snprintf(text, ROUNDED_TEXT_MAX, "%" PRIu64, bytes);
        return;
    }
    for (size /= 1024; size >= 1023.95 && unit + 1 < sizeof units; unit++) size /= 1024;
    bool whole = size >= 9.95 || size - (double)(uint64_t)size < 0.05;
    snprintf(text, ROUNDED_TEXT_MAX, whole ? "%.0f%c" : "%.1f%c", size, units[unit]);
}

void rounded_age(char text[ROUNDED_TEXT_MAX], uint64_t ms)
{
    uint64_t seconds = ms / 1000;
    if (seconds < 120) snprintf(text, ROUNDED_TEXT_MAX, "%" PRIu64 "s", seconds);
    else if (seconds < 2 * 3600) snprintf(text, ROUNDED_TEXT_MAX, "%" PRIu64 "m", seconds / 60);
    else if (seconds < UINT64_C(2) * 86400) snprintf(text, ROUNDED_TEXT_MAX, "%" PRIu64 "h", seconds / 3600);
    else snprintf(text, ROUNDED_TEXT_MAX, "%" PRIu64 "d", seconds / 86400);
}

void rounded_lag(char text[ROUNDED_TEXT_MAX], uint64_t ms)
{
    if (ms < 1000) snprintf(text, ROUNDED_TEXT_MAX, "%" PRIu64 "ms", ms);
    else if (ms < 10000) snprintf(text, ROUNDED_TEXT_MAX, "%.1fs", (double)(ms / 100) / 10);
    else rounded_age(text, ms);
}
