/* Patterns of frames, as the vectors write them: JSON with h'..' for bin, < .. > for a bin that holds one value, _ for
 * any value, ~".." for a text that holds this one, $name for a text or a number to remember, integers as map keys, and * for
 * "whatever else" as the last element of an array or pair of a map. See PROTOCOL.md, "Conformance vectors". */
#ifndef CONFORMANCE_PATTERN_H
#define CONFORMANCE_PATTERN_H

#include <stdbool.h>

#include "bindings.h"
#include "wire.h"

bool pattern_valid(const char *pattern);

/* Whether the value whose bytes these are, and nothing more, matches a valid pattern. Then the pattern's new names are
 * bound to the texts that stood in their places; bindings NULL: no name matches. */
bool pattern_matches(const char *pattern, mps_view bytes, struct bindings *bindings);

#endif
