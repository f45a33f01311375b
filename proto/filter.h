/* Content filters: an expression over a message, compiled once and judged in place. No allocation, no recursion;
 * bounded time on any bytes, about 2 ms at most where a small map takes 50 ns. Any thread. Source: PROTOCOL.md,
 * "Filters". */
#ifndef MPS_FILTER_H
#define MPS_FILTER_H

#include "wire.h"

#define MPS_FILTER_TEXT_MAX 1024 /* bytes of an expression */
#define MPS_FILTER_NODES_MAX 64  /* operators, paths and literals together */

struct mps_filter; /* opaque: a program and its texts in one piece of the caller's memory, which must stay in place */

struct mps_filter_error {
    uint32_t column; /* 1-based, in bytes of the text */
    char text[120];  /* a clause for a person: "expected a value, found ')'" */
};

/* Bytes of memory that a compiled filter of this text needs at most; aligned as malloc() aligns. */
size_t mps_filter_size(mps_view text);

/* Compiles text into memory of mps_filter_size() bytes, which then is the filter: it refers to nothing else. Returns
 * memory, or NULL and *error. Takes 30 KiB of stack. */
struct mps_filter *mps_filter_compile(void *memory, mps_view text, struct mps_filter_error *error);

/* Whether the message matches. topic and props (raw map or absent) were checked; the payload is any bytes. */
bool mps_filter_matches(const struct mps_filter *filter, mps_view topic, mps_view props, mps_view payload);

#endif
