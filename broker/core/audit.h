/* What happened that somebody may have to look up later. Internal to the core. Nothing is written without
 * broker_limits.audit. */
#ifndef BROKER_AUDIT_H
#define BROKER_AUDIT_H

#include "identity.h"

/* One line, unless too many of its event were written in this second: then they are counted, and the next line is preceded
 * by one that says how many are missing. code 0: none; text: one sentence, or NULL. */
void audit(struct session *session, enum audit_event event, uint32_t code, const char *text);

/* Where a session comes from, as lines say it: the fields of the peer and of the listener. Own memory. */
char *audit_place(const struct peer *peer);
/* Those of a session by themselves, borrowed from it; absent: not known. */
mps_view audit_peer(const struct session *session);
mps_view audit_listener(const struct session *session);

/* What a peer is called there: "127.0.0.1,tls", "unix,uid:1000" or "unknown"; without blanks or quotes. */
#define AUDIT_PEER_MAX (PEER_ADDRESS_MAX + 8)
void audit_peer_name(const struct peer *peer, char name[AUDIT_PEER_MAX]);

#endif
