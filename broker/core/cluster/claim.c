#include "claim.h"

#include <stdlib.h>
#include <string.h>

#include "away.h"
#include "identity.h"
#include "lanes.h"
#include "shared_cursors.h"
#include "sure.h"

/* So long are claims remembered, of so many clients: until what their brokers say of places must have come. */
#define HEARD_MS 10000u
#define HEARD_MAX 65536u

void claim_note(struct records *records, uint64_t claim)
{
    if (claim > records->last_claim) records->last_claim = claim;
}

uint64_t claim_next(struct records *records)
{
    struct env *env = records->cluster->broker->env;
    uint64_t wall_ms = env->wall_ms(env) & MPS_NUMBER_MAX;
    records->last_claim = wall_ms > records->last_claim ? wall_ms : records->last_claim + 1;
    return records->last_claim;
}

/* ---- saying it ---------------------------------------------------------------------------------------------- */

void claim_say(struct session *session, bool clean)
{
    struct cluster *cluster = session->broker->cluster;
    uint8_t room[32 + MPS_ID_MAX + ACCESS_NAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_view user = origin_user(session->origin);
    if (session->sess_s == 0 || !session->has_own_id) return;
    if (clean) shared_cursors_forget_client(cluster, session->id);
    session->claim = claim_next(cluster->records);
    mps_put_array(&out, 5);
    mps_put_uint(&out, BETWEEN_CLAIM);
    mps_put_text(&out, session->id);
    mps_put_text(&out, user.ptr != NULL ? user : mps_text(""));
    mps_put_uint(&out, session->claim);
    mps_put_bool(&out, clean);
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++) {
        struct neighbour *to = cluster->neighbours[i];
        if (to != NULL && to->is_present) lane_put_frame(to, &out);
    }
}

/* ---- what was heard ------------------------------------------------------------------------------------------ */

static mps_view id_of(const struct heard_claim *heard)
{
    return (mps_view){heard->id, heard->id_len};
}

static bool is_clients(const struct hash_node *node, const void *id)
{
    return mps_view_equal(id_of(container_of(node, struct heard_claim, in_heard)), *(const mps_view *)id);
}

static uint64_t hash_of(const struct records *records, mps_view id)
{
    return hash_bytes(records->cluster->broker->seed, id.ptr, id.len);
}

const struct heard_claim *claim_heard(const struct records *records, mps_view id)
{
    struct hash_node *node = hash_find(&records->heard, hash_of(records, id), is_clients, &id);
    const struct heard_claim *heard = node != NULL ? container_of(node, struct heard_claim, in_heard) : NULL;
    bool is_late = heard != NULL && records->cluster->broker->now_ms - heard->came_ms <= HEARD_MS;
    return is_late ? heard : NULL;
}

static void forget(struct records *records, struct heard_claim *heard)
{
    hash_remove(&records->heard, &heard->in_heard);
    list_remove(&records->heard_by_age, &heard->in_age);
    free(heard);
}

void claims_free(struct records *records)
{
    while (records->heard_by_age.first != NULL)
        forget(records, container_of(records->heard_by_age.first, struct heard_claim, in_age));
    hash_free(&records->heard);
}

/* Those that are too old, or too many, go. */
static void hear(struct records *records, const struct neighbour *from, mps_view id, uint64_t claim)
{
    uint64_t now_ms = records->cluster->broker->now_ms;
    struct hash_node *node = hash_find(&records->heard, hash_of(records, id), is_clients, &id);
    if (node != NULL) forget(records, container_of(node, struct heard_claim, in_heard));
    for (struct list_node *oldest; (oldest = records->heard_by_age.first) != NULL;) {
        struct heard_claim *old = container_of(oldest, struct heard_claim, in_age);
        if (now_ms - old->came_ms <= HEARD_MS && records->heard.count < HEARD_MAX) break;
        forget(records, old);
    }
    struct heard_claim *heard = sure_zeroed(sizeof *heard);
    heard->claim = claim;
    heard->came_ms = now_ms;
    heard->from = from;
    heard->id_len = (uint8_t)id.len;
    memcpy(heard->id, id.ptr, id.len);
    hash_add(&records->heard, &heard->in_heard, hash_of(records, id));
    list_append(&records->heard_by_age, &heard->in_age);
}

/* ---- hearing it --------------------------------------------------------------------------------------------- */

/* Its cursors are another broker's now, which waits for the last word of where they stand; unless it begins anew. */
static void let_go(struct session *session, bool clean)
{
    for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node)) {
        struct cursor *cursor = container_of(node, struct subscription, in_subs)->box.cursor;
        if (cursor == NULL || cursor->shared == NULL) continue;
        if (!clean) shared_cursor_left(cursor);
        shared_cursor_stop(cursor->shared);
    }
}

void claim_end(struct session *session, mps_view broker, bool clean)
{
    bool is_connected = session->state != SESSION_AWAY;
    mps_view id = session->id;
    let_go(session, clean);
    session_end(session); /* one that is away is freed by that */
    if (is_connected)
        session_byef(session, MPS_TAKEN_OVER, "the client '%s' has connected to broker '%s'", printable(id),
                     printable(broker));
}

bool claim_take(struct records *records, struct neighbour *from, mps_view frame)
{
    struct mps_reader r = mps_reader_open(frame);
    uint32_t fields = mps_read_array(&r, "claim");
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    mps_view id = mps_read_text(&r, "id"), user = mps_read_text(&r, "user");
    uint64_t claim = mps_read_uint(&r, MPS_NUMBER_MAX, "claim");
    bool clean = mps_read_bool(&r, "clean");
    if (r.bad != NULL || fields < 5 || mps_id_error(id) != NULL || user.len > ACCESS_NAME_MAX) return false;
    if (user.len == 0) user = (mps_view){NULL, 0};
    claim_note(records, claim);
    hear(records, from, id, claim);
    struct session *session = session_find(records->cluster->broker, id);
    if (session == NULL || !session->has_own_id || !origin_may_follow(session->origin, user)) return true;
    bool is_tie = claim == session->claim && strcmp(from->name, records->cluster->name) > 0;
    if (claim > session->claim || is_tie) claim_end(session, mps_text(from->name), clean); /* else it came here since */
    return true;
}
