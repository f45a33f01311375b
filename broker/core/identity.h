/* Who a session is, and what follows from it for what the session has. Internal to the core. */
#ifndef BROKER_IDENTITY_H
#define BROKER_IDENTITY_H

#include "model.h"

/* Who published something, or has a session. Shared by all that came from there. */
struct origin {
    uint32_t refs;
    uint8_t user_len, id_len;
    char user[ACCESS_NAME_MAX];  /* .user_len 0: who has no name */
    uint8_t id[MPS_ID_MAX];
};

/* user absent: none. Lengths are those of valid names and ids. The caller's. */
struct origin *origin_new(mps_view user, mps_view id);
struct origin *origin_ref(struct origin *origin);  /* NULL is allowed */
void origin_unref(struct origin *origin);          /* NULL is allowed */
static inline mps_view origin_user(const struct origin *origin) /* absent: none */
{
    return origin->user_len > 0 ? (mps_view){(const uint8_t *)origin->user, origin->user_len} : (mps_view){NULL, 0};
}
static inline mps_view origin_id(const struct origin *origin)
{
    return (mps_view){origin->id, origin->id_len};
}
/* Who comes may have what that one left: it is the same user, or had no name. */
bool origin_may_follow(const struct origin *left, mps_view user);
/* What it may now. NULL: everything. The caller's. origin NULL: nobody knows who left it, as it is of a time before there were users;
 * then what somebody without a name and an id may. */
struct grant *origin_grant(struct broker *broker, const struct origin *origin);
/* As two fields of a record, and back. Both empty: nobody's. */
void origin_put(struct mps_out *out, const struct origin *origin);
struct origin *origin_read(struct mps_reader *r);  /* NULL: nobody's, or there is none */

/* A proof that is being checked. */
struct proving {
    uint32_t len;                /* of the HELLO that brought it; 0: an AUTH did */
    uint8_t frame[];
};

/* Finds out who says this HELLO. True: it is known, session->user says who. False: it was told BYE, or is being asked for: then
 * session_verified() goes on. */
bool identity_ask(struct session *session, const struct mps_hello *hello, mps_view frame);
void identity_ask_again(struct session *session, mps_view token); /* AUTH */
void identity_forget_proof(struct session *session);              /* nobody waits for the answer any more */
/* It is this user, of this id, from now on. user absent: none. */
void identity_set(struct session *session, mps_view user, mps_view id);
void identity_share(struct session *to, const struct session *from); /* the same one */
void identity_free(struct session *session);
/* What its subscriptions get, after they or what it may have changed. */
void identity_judge(struct subscription *sub);
void identity_judge_all(struct session *session);
/* Looks through the retained values for those whose publishers may not publish them any more: begins, and does some of it. True:
 * there is more to do. */
void identity_begin_recheck(struct broker *broker);
bool identity_recheck(struct broker *broker);
/* hello.c: the name is known, the HELLO is granted what it asks for. */
void hello_welcome(struct session *session, const struct mps_hello *hello);

/* Overwrites what was a secret, in memory that is only lent. */
void wipe(const void *bytes, size_t len);

#endif
