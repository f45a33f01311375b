#include "sizes.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TIME_MAX_MS (UINT64_C(100) * 365 * 86400 * 1000)

struct unit {
    const char *name;
    uint64_t factor;
};

/* Of names for the same factor the first is the one that is written. */
static const struct unit size_units[] = {
    {"", 1},
    {"b", 1},
    {"k", UINT64_C(1) << 10},
    {"kb", UINT64_C(1) << 10},
    {"m", UINT64_C(1) << 20},
    {"mb", UINT64_C(1) << 20},
    {"g", UINT64_C(1) << 30},
    {"gb", UINT64_C(1) << 30},
    {NULL, 0},
};
static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};

/* A number, perhaps with a fraction, and a unit. Digits of a fraction beyond what the unit resolves are cut off. */
static bool quantity_parse(const char *text, const struct unit *units, uint64_t max, uint64_t *amount)
{
    uint64_t whole = 0, numerator = 0, denominator = 1;
    const char *p = text;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (whole > max / 10) return false;
        whole = whole * 10 + (uint64_t)(*p - '0');
    }
    if (p == text) return false;
    if (*p == '.') {
        const char *fraction = ++p;
        for (; *p >= '0' && *p <= '9'; p++) {
            if (denominator >= 1000000) continue;
            numerator = numerator * 10 + (uint64_t)(*p - '0');
            denominator *= 10;
        }
        if (p == fraction) return false;
    }
    while (units->name && strcasecmp(p, units->name) != 0) units++;
    if (!units->name || whole > max / units->factor) return false;
    uint64_t total = whole * units->factor + numerator * units->factor / denominator;
    if (total > max) return false;
    *amount = total;
    return true;
}

bool size_parse(const char *text, uint64_t *bytes)
{
    uint64_t amount;
    if (!quantity_parse(text, size_units, UINT64_MAX / 2, &amount) || amount == 0) return false;
    *bytes = amount;
    return true;
}

bool time_parse(const char *text, uint64_t *ms)
{
    return quantity_parse(text, time_units, TIME_MAX_MS, ms);
}

static void quantity_write(char text[QUANTITY_TEXT_MAX], uint64_t amount, const struct unit *units)
{
    const struct unit *best = NULL;
    for (; units->name; units++) {
        if (amount % units->factor == 0 && (!best || units->factor > best->factor)) best = units;
    }
    snprintf(text, QUANTITY_TEXT_MAX, "%" PRIu64 "%s", amount / best->factor, amount > 0 ? best->name : "");
}

void size_write(char text[QUANTITY_TEXT_MAX], uint64_t bytes)
{
    quantity_write(text, bytes, size_units);
}

void time_write(char text[QUANTITY_TEXT_MAX], uint64_t ms)
{
    quantity_write(text, ms, time_units);
}
