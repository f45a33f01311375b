/* Reads what JetStream answers: finds values in a document in place, without allocating. It is from another program: whatever the
 * bytes are, nothing behind them is read, and nothing recurses. */
#ifndef CLUSTER_NATS_JSON_H
#define CLUSTER_NATS_JSON_H

#include "wire.h"

/* The text of the value under path, names with dots between; the absent view: there is none. */
mps_view json_find(mps_view document, const char *path);
uint64_t json_uint(mps_view document, const char *path, uint64_t otherwise); /* otherwise: also for what is negative */
bool json_is_true(mps_view document, const char *path);
/* The text of a string, cut to cap with its NUL; "": there is none. What steers a terminal becomes '?'. */
void json_text(mps_view document, const char *path, char *to, size_t cap);
bool json_text_is(mps_view document, const char *path, const char *text);
/* The next element of an array's text. Begin with *at 0; false: there is none. */
bool json_next(mps_view array, uint32_t *at, mps_view *element);
/* Nanoseconds since 1970 of a string such as "2026-11-27T20:26:12.333420755Z"; 0: it is none. */
uint64_t json_time(mps_view document, const char *path);

#endif
