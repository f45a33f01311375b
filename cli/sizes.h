/* Sizes and times as people write them. */
#ifndef CLI_SIZES_H
#define CLI_SIZES_H

#include <stdbool.h>
#include <stdint.h>

/* "512", "64k", "1m", "2g": bytes, the letter (also large, also with a b behind) times 1024. At least 1.
 * False if it isn't one or doesn't fit; *bytes is untouched then. */
bool size_parse(const char *text, uint64_t *bytes);

/* "500ms", "10s", "1.5s", "5m", "24h", "7d", and a bare number is seconds. In ms, at most 100 years.
 * False if it isn't one; *ms is untouched then. */
bool time_parse(const char *text, uint64_t *ms);

#endif
