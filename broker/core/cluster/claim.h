/* One client id is at one broker: who comes with a session that outlives its connection takes the id over from the others.
 * Internal to cluster/; what the core calls is in records.h. */
#ifndef CLUSTER_CLAIM_H
#define CLUSTER_CLAIM_H

#include "records_parts.h"

/* Claims are Unix times in ms, made later where that is needed to be after all that were heard of: so clocks that differ a little
 * change nothing. */
void claim_note(struct records *records, uint64_t claim);
uint64_t claim_next(struct records *records);
/* The last one of the client that others made in the last seconds; NULL: none. */
const struct heard_claim *claim_heard(const struct records *records, mps_view id);
void claims_free(struct records *records);
bool claim_take(struct records *records, struct neighbour *from, mps_view frame); /* false: it is malformed */
/* The session's client is elsewhere. broker: where, by name. clean: it wants nothing of what was. */
void claim_end(struct session *session, mps_view broker, bool clean);

#endif
