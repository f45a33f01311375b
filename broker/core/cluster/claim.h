/* One client id is at one broker: who comes with a session that outlives its connection takes the id over from the others.
 * Each of these answers, as soon as it has said where its subscriptions stand: so that who comes knows for which last words
 * to wait. Internal to cluster/; what the core calls is in records.h. */
#ifndef CLUSTER_CLAIM_H
#define CLUSTER_CLAIM_H

#include "records_parts.h"

#define CLAIM_MAX (MPS_NUMBER_MAX / 2) /* no time is so late. Whoever says so is not outdone; nothing else comes of it */
#define CLAIM_ANSWER_MS 2000u           /* who hasn't answered by then is not waited for */

/* Claims are Unix times in ms, made later where that is needed to be after all that were heard of: so clocks that differ a little
 * change nothing. */
void claim_note(struct records *records, uint64_t claim);
uint64_t claim_next(struct records *records);
/* The last one of the client that others made in the last seconds; NULL: none. */
const struct heard_claim *claim_heard(const struct records *records, mps_view id);
/* Not all who are there have answered yet whether they have had the client. */
bool claim_is_asked(const struct records *records, mps_view id);
uint64_t claims_turn(struct records *records); /* returns when to call again */
void claims_free(struct records *records);
bool claim_take(struct records *records, struct neighbour *from, mps_view frame);        /* false: it is malformed */
bool claim_take_answer(struct records *records, struct neighbour *from, mps_view frame); /* likewise */
/* The session's client is elsewhere. broker: where, by name. clean: it wants nothing of what was. Returns how many of its
 * places were said for the last time. */
uint32_t claim_end(struct session *session, mps_view broker, bool clean);

#endif
