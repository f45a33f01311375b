/* Patterns of frames, as the vectors write them: JSON with h'..' for bin, _ for any value, integers as map keys, and *
 * for "whatever else" as the last element of an array or pair of a map. See PROTOCOL.md, "Conformance vectors". */
#ifndef CONFORMANCE_PATTERN_H
#define CONFORMANCE_PATTERN_H

#include <stdbool.h>

#include "wire.h"

bool pattern_valid(const char *pattern);

/* Whether the value whose bytes these are, and nothing more, matches a valid pattern. */
bool pattern_matches(const char *pattern, mps_view bytes);

#endif
