/* Sessions that outlive their connections, and sessions and what belongs to them as records. Internal to the core. */
#ifndef BROKER_AWAY_H
#define BROKER_AWAY_H

#include "model.h"

struct session *session_find(const struct broker *broker, mps_view id); /* by its client's id; NULL: there is none */
void session_set_id(struct session *session, mps_view id);
/* The connection is over: what outlives it waits for the client from now on. The session has nothing left then. */
void session_leave(struct session *session);
/* The connection is about to end: of what its subscriptions are still to get, only what is queued by now is sent. */
void session_leave_soon(struct session *session);
/* The client is back: all that was the other one's is this one's, its id too. A session that was away is gone then. */
void session_resume(struct session *session, struct session *from);
/* Ends for good, with its subscriptions and records. A session that was away is gone then. */
void session_end(struct session *session);
void session_give_up(struct session *session);        /* it will end with its connection */
void session_away_due(struct session *session);    /* the client did not come back in time */
struct session *session_new_away(struct broker *broker, mps_view id, mps_view user, uint32_t sess_s,
                                 uint32_t rx_max);
void sessions_free(struct broker *broker);         /* those that are away; their records stay */

/* keep.c: sessions and subscriptions as records */
bool session_is_kept(const struct session *session); /* it is, and what belongs to it is in the store */
/* Keys of records. Views of room. */
mps_view subscription_key(mps_view id, uint32_t sid, uint8_t room[STORE_KEY_MAX]);
struct subscription *subscription_of_key(const struct broker *broker, mps_view key); /* NULL: there is none */
void session_keep(struct session *session);        /* it is this from now on */
void session_unkeep(struct session *session);
void subscription_keep(struct subscription *sub, mps_view frame); /* this is its SUB */
void subscription_unkeep(struct subscription *sub);

/* What the store holds at the start, record by record: false if it means nothing. They come by kind, in the order of enum
 * record_kind; sessions_loaded() when all have. */
bool session_load(struct broker *broker, mps_view key, mps_view value);
bool subscription_load(struct broker *broker, mps_view key, mps_view value);
bool cursor_load(struct broker *broker, mps_view key, mps_view value);
bool will_load(struct broker *broker, mps_view key, mps_view value);
bool pids_load(struct broker *broker, mps_view key, mps_view value);
void sessions_loaded(struct broker *broker);

#endif
