/* Text on the wire, without printf: numbers are written and read for each message. */
#pragma once
#include "base.h"

static inline size_t put_decimal(char *out, uint64_t number)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    for (size_t i = 0; i < count; i++) out[i] = digits[count - 1 - i];
    return count;
}

static inline size_t put_string(char *out, const char *text)
{
    size_t len = strlen(text);
    memcpy(out, text, len);
    return len;
}

/* Reads digits from *at on, and moves it behind them. False: none, or more than 18. */
static inline bool take_decimal(const uint8_t *data, size_t len, size_t *at, uint64_t *number)
{
    size_t begin = *at;
    *number = 0;
    while (*at < len && *at - begin < 19 && data[*at] >= '0' && data[*at] <= '9')
        *number = *number * 10 + (data[(*at)++] - '0');
    return *at > begin && *at - begin < 19;
}
