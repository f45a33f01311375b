/* What happened that somebody may have to look up later. Internal to the core. Nothing is written without
 * broker_limits.audit. */
#ifndef BROKER_AUDIT_H
#define BROKER_AUDIT_H

#include "identity.h"

#define AUDIT_PEER_MAX (PEER_ADDRESS_MAX + 8)

/* One line, unless too many of its event were written in this second: then they are counted, and the next line is preceded
 * by one that says how many are missing. code 0: none; text: one sentence, or NULL. */
void audit(struct session *session, enum audit_event event, uint32_t code, const char *text);

/* Where a session comes from, as lines name it; own memory. NULL: nothing is written. */
char *audit_peer_name(const struct broker *broker, const struct peer *peer);

#endif
