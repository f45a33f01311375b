/* Sizes and times as people write them. */
#ifndef COMMON_SIZES_H
#define COMMON_SIZES_H

#include <stdbool.h>
#include <stdint.h>

#define QUANTITY_TEXT_MAX 32 /* bytes of a written size or time, with its NUL */

/* "512", "64k", "1m", "2g": bytes, the letter (also large, also with a b behind) times 1024. At least 1.
 * False if it isn't one or doesn't fit; *bytes is untouched then. */
bool size_parse(const char *text, uint64_t *bytes);

/* "500ms", "10s", "1.5s", "5m", "24h", "7d", and a bare number is seconds. In ms, at most 100 years.
 * False if it isn't one; *ms is untouched then. */
bool time_parse(const char *text, uint64_t *ms);

/* The other way round, in the largest unit that says it exactly: "64k", "1000"; "500ms", "5m". */
void size_write(char text[QUANTITY_TEXT_MAX], uint64_t bytes);
void time_write(char text[QUANTITY_TEXT_MAX], uint64_t ms);

#endif
