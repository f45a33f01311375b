/* What the record of a place says: where the cursor of a durable subscription, or of a group, stands in shared streams.
 * [40, broker, boot, claim, time, lifetime, user, pattern, left, [stream, identity, ..], cursor]: who says so, in which of
 * its lives; which time the client has come to another broker (claim.c), of groups 0; when, as Unix time in ms; for how many
 * s nobody need ask for it; whose it is; the pattern; whether the client has gone since, so that this is the last word from
 * there; the streams' identities, without which positions mean nothing; and the cursor as in the store (cursor_keep.c), of
 * shared streams only. Internal to cluster/. */
#ifndef CLUSTER_PLACE_RECORD_H
#define CLUSTER_PLACE_RECORD_H

#include "shared_cursors.h"

#define PLACE_BYTES_MAX (1024u * 1024) /* of one */
/* A record goes when nobody has said it again for its lifetime and this. Who serves says it four times in that. */
#define PLACE_GRACE_MS 600000u

/* Its views are of the bytes it was read from. */
struct place {
    mps_view broker, user, pattern; /* user.len 0: nobody's */
    bool is_left;
    uint64_t boot, claim, said_ms, lifetime_s;
    mps_view identities; /* an array of streams' numbers and identities, its head not counted */
    uint32_t identities_count;
    mps_view cursor;
};

bool place_read(mps_view value, struct place *place); /* of bytes that were scanned; false: they are no place */
mps_view place_write(const struct shared_cursor *shared); /* as it stands now; the caller frees .ptr */
/* Of the stream as it was when that was said; 0: it isn't said. */
uint64_t place_identity(const struct place *place, uint64_t stream);
uint64_t place_lifetime_s(const struct shared_cursor *shared); /* that it says */
mps_view place_user(const struct shared_cursor *shared);       /* likewise; "": nobody */

#endif
