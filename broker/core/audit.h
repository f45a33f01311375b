/* What the log tells of sessions and their peers. Internal to the core. Lines of the audit log are not written without
 * broker_limits.audit. Nothing secret is in them: what peers bring as a proof never comes here. */
#ifndef BROKER_AUDIT_H
#define BROKER_AUDIT_H

#include "identity.h"

/* One line about a session: its client and user, as far as they are known, and where it comes from. code 0: none; text: one
 * sentence, or NULL. */
void audit(struct session *session, enum log_event event, uint32_t code, const char *text);
/* One line about a subscription of it. */
void log_subscription(struct session *session, enum log_event event, mps_view pattern);

/* What a peer is called there: "127.0.0.1,tls", "unix,uid:1000" or "unknown"; without blanks or quotes. */
#define AUDIT_PEER_MAX (PEER_ADDRESS_MAX + 8)
void audit_peer_name(const struct peer *peer, char name[AUDIT_PEER_MAX]);

/* Where a session comes from, as lines say it. Borrowed from it; absent: not known. */
mps_view audit_peer(const struct session *session);
mps_view audit_listener(const struct session *session);

#endif
