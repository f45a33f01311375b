/* What sessions of one user share: how many connections he has, and how much he may publish. Who has no name has an account of
 * his own, if publishing is limited at all; without such limits nobody has one. Internal to the core. */
#ifndef BROKER_ACCOUNT_H
#define BROKER_ACCOUNT_H

#include "identity.h"

/* Whether one more connection of this user may come in; user absent: it may. If not, it was told BYE. */
bool account_admits(struct session *session, mps_view user);
void account_open(struct session *session);  /* its identity is known */
void account_close(struct session *session); /* if it has one */
/* Whoever is connected counts from now on, where that makes a difference now; and is not measured any more where none is. */
void accounts_limits_changed(struct broker *broker);
void account_forget_due(struct broker *broker); /* of users who are away and may publish again as if they had not */
void accounts_free(struct broker *broker);

enum account_verdict {
    ACCOUNT_TAKE,   /* the message is counted */
    ACCOUNT_WAIT,   /* the session is held until there may be room for it */
    ACCOUNT_REFUSE, /* it has waited for too long; text says for what */
};
/* Of one message that a metered session wants to publish. */
enum account_verdict account_judge(struct session *session, const struct run *run, char *text, size_t text_cap);

#endif
