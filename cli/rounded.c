#include "rounded.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define PLAIN_MAX 99999 /* what is larger than this is told in thousands */

static const char units[] = {'\0', 'k', 'm', 'g', 't', 'p', 'e'};
#define UNITS_COUNT (sizeof units / sizeof *units)

void rounded_size(char text[ROUNDED_TEXT_MAX], uint64_t bytes)
{
    double size = (double)bytes;
    size_t unit = 0;
    if (bytes < 1024) {
        snprintf(text, ROUNDED_TEXT_MAX, "%" PRIu64, bytes);
        return;
    }
    for (; size >= 1023.95 && unit + 1 < UNITS_COUNT; unit++) size /= 1024;
    unsigned tenths = (unsigned)(size * 10 + 0.5);
    bool whole = tenths >= 100 || tenths % 10 == 0;
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

/* Three digits that count, in the unit for which that is enough. */
static void put_thousands(char text[ROUNDED_TEXT_MAX], double amount)
{
    size_t unit = 0;
    for (; amount >= 999.5 && unit + 1 < UNITS_COUNT; unit++) amount /= 1000;
    int digits = amount >= 99.95 ? 0 : amount >= 9.995 ? 1 : 2;
    snprintf(text, ROUNDED_TEXT_MAX, "%.*f%c", digits, amount, units[unit]);
}

void rounded_count(char text[ROUNDED_TEXT_MAX], uint64_t count)
{
    if (count <= PLAIN_MAX) snprintf(text, ROUNDED_TEXT_MAX, "%" PRIu64, count);
    else put_thousands(text, (double)count);
}

void rounded_rate(char text[ROUNDED_TEXT_MAX], double per_s)
{
    if (per_s <= 0) snprintf(text, ROUNDED_TEXT_MAX, "0");
    else if (per_s < 0.01) snprintf(text, ROUNDED_TEXT_MAX, "<0.01");
    else if (per_s < 0.095) snprintf(text, ROUNDED_TEXT_MAX, "%.2f", per_s);
    else if (per_s < 9.95) snprintf(text, ROUNDED_TEXT_MAX, "%.1f", per_s);
    else if (per_s < PLAIN_MAX + 0.5) snprintf(text, ROUNDED_TEXT_MAX, "%.0f", per_s);
    else put_thousands(text, per_s);
}

void rounded_size_rate(char text[ROUNDED_TEXT_MAX], double per_s)
{
    const double most = 1.8e19; /* fits into 64 bits */
    rounded_size(text, per_s <= 0 ? 0 : per_s >= most ? UINT64_MAX : (uint64_t)(per_s + 0.5));
}
