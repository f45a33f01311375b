/* Reading a msgpack document in place: a bounded check and a walk. No allocation, no recursion, any thread.
 * A payload is opaque to the broker; whoever looks into one does it through these, and hands it to msgpack-c only after
 * mps_document_check() has accepted it. Source: PROTOCOL.md, "Payloads". */
#ifndef MPS_VALUE_H
#define MPS_VALUE_H

#include "wire.h"

#define MPS_DOCUMENT_DEPTH_MAX 32
#define MPS_DOCUMENT_VALUES_MAX 10000

/* NULL if bytes are exactly one well-formed msgpack value within the limits of depth and number of values (0: the
 * defaults above), else why not, a clause for a person. Strings need not be UTF-8. */
const char *mps_document_check(mps_view bytes, uint32_t depth_max, uint32_t values_max);

/* One step of a walk over a checked document, in the order of its bytes. */
enum mps_walk_event { MPS_WALK_END, MPS_WALK_VALUE, MPS_WALK_OPEN, MPS_WALK_CLOSE };
struct mps_walk {
    const uint8_t *p, *end;
    uint32_t depth;                                /* containers open */
    uint64_t owed[MPS_DOCUMENT_DEPTH_MAX];         /* values that each still lacks */
    bool map[MPS_DOCUMENT_DEPTH_MAX];
    struct mps_head head;                          /* of the value, or of the container that was opened */
    mps_view body;                                 /* str, bin, ext: its bytes */
    bool is_key;                                   /* the value or container is a map's key */
    bool first;                                    /* it is the first in its container */
};
void mps_walk_open(struct mps_walk *walk, mps_view checked);
enum mps_walk_event mps_walk_next(struct mps_walk *walk);

/* Finds a field of a checked document: path is map keys and array indices, "a.b[2]", with "..." for odd keys
 * (`a."odd key"`). Returns the raw value, or the absent view if there is none or the path makes no sense. */
mps_view mps_document_find(mps_view checked, const char *path, size_t path_len);

#endif
