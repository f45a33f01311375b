/* JSON to msgpack. Integers keep all 64 bits, signed or unsigned; other numbers are doubles. Refused, with a reason: an
 * integer that needs more bits, a number beyond a double, a key that is there twice, nesting deeper than
 * MPS_DOCUMENT_DEPTH_MAX, text that isn't UTF-8, more than one value. */
#ifndef CLI_JSON_IN_H
#define CLI_JSON_IN_H

#include <stdbool.h>
#include <stddef.h>

#include "buffer.h"

/* Appends the document to out. False: error holds a clause for a person, and out is as it was. */
bool json_in(const char *text, size_t len, struct buffer *out, char *error, size_t error_cap);

#endif
