/* Bytes as vectors write them: hex pairs, "text", `*N` behind either, `( .. )*N`, `str( .. )` for a str value that holds
 * what stands inside, and `$name` for a text that has come before (PROTOCOL.md, "Conformance vectors").
 * Ownership: .at is the caller's to free. Allocation failure aborts. */
#ifndef CONFORMANCE_BYTES_H
#define CONFORMANCE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bindings.h"

struct bytes {
    uint8_t *at;
    size_t len, cap;
};

/* Appends what source says. bindings NULL: names are taken for empty texts, to see whether the source is well-formed.
 * Returns false if it isn't, or if a name has no text yet. */
bool bytes_parse(struct bytes *b, const char *source, const struct bindings *bindings);
/* Whether the source names something that has to be known first. */
bool bytes_has_names(const char *source);

#endif
