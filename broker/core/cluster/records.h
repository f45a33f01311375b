/* What brokers share by small records: retained values, places of durable subscriptions and groups in shared streams, and
 * leases of such groups; and who claims a session. The first functions are called by cluster.c, the others by the core, and
 * only if broker.cluster isn't NULL. */
#ifndef CLUSTER_RECORDS_H
#define CLUSTER_RECORDS_H

#include "cluster.h"

int records_join(struct cluster *cluster, char *text, size_t cap); /* 0, or -1 and a sentence */
void records_bye(struct cluster *cluster); /* what others need to go on is said */
void records_leave(struct cluster *cluster);
uint64_t records_turn(struct cluster *cluster); /* returns when to call again; UINT64_MAX: not until something happens */
void records_on_connected(struct cluster *cluster, const char *text); /* cluster->is_storing has changed */
void records_on_begin(struct cluster *cluster);
void records_on_record(struct cluster *cluster, const struct engine_record *record);
void records_on_loaded(struct cluster *cluster, uint64_t revision);
void records_on_put_done(struct cluster *cluster, uint64_t mark, bool is_done, uint64_t revision);
/* A CLAIM frame came, scanned and not decoded. False: it is malformed. */
bool records_on_claim(struct cluster *cluster, struct neighbour *from, mps_view frame);
bool records_on_claimed(struct cluster *cluster, struct neighbour *from, mps_view frame); /* likewise, the answer to one */

/* For scope.c: how far retained values are shared. */
uint64_t records_last_mark(const struct cluster *cluster);               /* of what was put here until now */
bool records_are_put(const struct cluster *cluster, uint64_t mark);      /* the values among it are where all brokers will get them */
uint64_t records_put_revision(const struct cluster *cluster);            /* of the last put of this broker that is there */
bool records_are_told(const struct cluster *cluster, uint64_t revision); /* what was put up to this one holds here, or what came after it */

/* For tests. */
struct records_figures {
    uint64_t waiting;    /* retained values, set or cleared here, of which it isn't known yet that the others have that */
    uint64_t unshared;   /* that the others will not have, for want of room at the engine */
    uint64_t unkept;     /* of others that were not kept here, for want of room */
    uint64_t bad;        /* records that meant nothing */
    uint64_t places;     /* of cursors, of all brokers */
    uint64_t leases;     /* of groups, that are held here */
};
void records_figures(const struct cluster *cluster, struct records_figures *figures);

/* shared_retained.c */
void shared_retained_set(struct cluster *cluster, struct retained_value *value);     /* by somebody here */
void shared_retained_cleared(struct cluster *cluster, mps_view topic);               /* likewise. It is about to be, */
void shared_retained_expired(struct cluster *cluster, struct retained_value *value); /* as this, */
void shared_retained_denied(struct cluster *cluster, struct retained_value *value);  /* and this: nobody may have published it */

/* shared_cursors.c: those of durable subscriptions and groups. The first is called when there is a cursor, the others if it
 * has .shared. */
void shared_cursor_begin(struct cursor *cursor);
void shared_cursor_back(struct cursor *cursor);   /* its session has a connection again */
void shared_cursor_left(struct cursor *cursor);   /* it has none any more */
void shared_cursor_moved(struct cursor *cursor);
void shared_cursor_look(struct cursor *cursor);   /* members of its group come or go */
void shared_cursor_forget(struct cursor *cursor); /* nobody is to go on where it stands */
void shared_cursor_retire(struct cursor *cursor); /* its group ends here */
void shared_cursor_free(struct cursor *cursor);

/* places.c */
/* Whether the client's id isn't another user's, by the places that are known of it. user.ptr NULL: nobody. */
bool shared_cursors_allow(const struct cluster *cluster, mps_view id, mps_view user);
void shared_cursors_forget_client(struct cluster *cluster, mps_view client); /* all of its places, wherever they are served */

/* claim.c */
/* The session's client has just come in. clean: whatever there was of it before, it doesn't want. */
void claim_say(struct session *session, bool clean);

#endif
