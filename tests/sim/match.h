/* Whether a pattern matches a topic, written anew from PROTOCOL.md, "Topics": what the broker's trie and its route
 * cache are compared with. Both are valid. */
#ifndef SIM_MATCH_H
#define SIM_MATCH_H

#include <stdbool.h>
#include <stdint.h>

#define NAME_MAX_BYTES 255

struct name {
    uint32_t len;
    char text[NAME_MAX_BYTES + 1]; /* NUL-terminated */
};

bool name_equal(const struct name *a, const struct name *b);
bool name_matches(const struct name *pattern, const struct name *topic);
/* Of two patterns: whether some topic matches both, and whether all that match narrow match wide, level by level. */
bool names_meet(const struct name *a, const struct name *b);
bool name_covers(const struct name *wide, const struct name *narrow);

#endif
