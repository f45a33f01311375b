/* Cursors of durable subscriptions, and of groups, in shared streams: each is served by one broker at a time, which says by a
 * record (place_record.h) where it stands, so that another one can go on from there. A subscription's is the broker where its
 * client is (claim.c); a group's is the one that holds its lease (lease.c). Internal to cluster/. */
#ifndef CLUSTER_SHARED_CURSORS_H
#define CLUSTER_SHARED_CURSORS_H

#include "known.h"

/* What the cursor of a durable subscription, or a group, that reads shared streams has besides. */
struct shared_cursor {
    struct records *records;
    struct cursor *cursor;
    struct list_node in_cursors; /* of records */
    struct timer say;            /* in records.sayings: when its place is put */
    uint64_t rest_ms;            /* not before this time */
    uint64_t claim;              /* of its session's client, when it came (claim.c) */
    bool is_ours;                /* it is served here: what others say of its place doesn't matter */
    bool is_coming;              /* its client is here: it waits for the last word of where it was, until .look */
    uint64_t come_ms;            /* since when */
    bool is_left;                /* its client has gone, and nothing more happens to it here */
    bool is_new;                 /* it never was */
    bool is_restored;            /* it was there before this broker joined the others, with a place from the store */
    bool is_unsure;              /* it begins, and it wasn't known whether there is a record of where it stands */
    struct timer look;           /* in records.looks: until its last word is waited for; of a group, when its lease is due */

    /* of a group: the lease */
    uint64_t asked_ms;           /* when it was asked for, and there is no answer yet; 0: it wasn't */
    uint64_t renewed_ms;         /* when what is held was asked for */
    bool is_held;                /* until cursor.served_until_ms */
    bool may_go_on;              /* from the place, when it is held */
    bool stood_by;               /* while another broker had it */
};

/* shared_cursors.c */
bool shared_cursor_is_group(const struct shared_cursor *shared);
mps_view shared_cursor_key(const struct shared_cursor *shared, uint8_t room[STORE_KEY_MAX]);
struct shared_cursor *shared_cursor_of_key(const struct broker *broker, mps_view key); /* NULL: none */
void shared_cursor_say(struct shared_cursor *shared);     /* puts its place now */
void shared_cursor_say_soon(struct shared_cursor *shared);
void shared_cursor_come(struct shared_cursor *shared);    /* its client is here: served once no last word is to be waited for */
void shared_cursor_serve(struct shared_cursor *shared);   /* it waited long enough */
void shared_cursors_answered(struct session *session);    /* nobody is to say any more whether he has had the client */
/* Its last word is put. */
static inline bool shared_cursor_has_left(const struct shared_cursor *shared)
{
    return shared->is_ours && shared->is_left;
}
/* It is served here from now on; may_go_on: from where the record says, if there is one. */
void shared_cursor_take_place(struct shared_cursor *shared, bool may_go_on);
void shared_cursor_stop(struct shared_cursor *shared);    /* nobody here is served from shared streams any more */

/* lease.c */
void lease_give_back(struct shared_cursor *shared);       /* whoever else has members, or comes, has it now */
void lease_leave(struct shared_cursor *shared);           /* likewise: the group goes */
void lease_forget(struct shared_cursor *shared);          /* likewise; if nobody has, nobody is to go on where it stands */
bool lease_is_over(const struct known_record *known);     /* if nobody has by now */
void lease_look(struct shared_cursor *shared);
void lease_look_soon(struct shared_cursor *shared);

#endif
