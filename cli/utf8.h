/* UTF-8, character by character. */
#ifndef CLI_UTF8_H
#define CLI_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character at text, of which len > 0 bytes are there. Returns how many bytes it takes and sets *code, or 0 if the
 * first byte begins no well-formed character. */
size_t utf8_read(const char *text, size_t len, uint32_t *code);

/* It is not seen itself, and changes how others are shown: joiners, directions, tags. */
bool utf8_is_invisible(uint32_t code);

/* The other way round. Returns how many bytes it takes, or 0: there is no such character. */
#define UTF8_MAX 4
size_t utf8_write(char text[UTF8_MAX], uint32_t code);

#endif
