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
    records->last_claim = least(wall_ms > records->last_claim ? wall_ms : records->last_claim + 1, CLAIM_MAX);
    return records->last_claim;
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

static struct heard_claim *find_heard(const struct records *records, mps_view id)
{
    struct hash_node *node = hash_find(&records->heard, hash_of(records, id), is_clients, &id);
    return node != NULL ? container_of(node, struct heard_claim, in_heard) : NULL;
}

const struct heard_claim *claim_heard(const struct records *records, mps_view id)
{
    const struct heard_claim *heard = find_heard(records, id);
    bool is_late = heard != NULL && records->cluster->broker->now_ms - heard->came_ms <= HEARD_MS;
    return is_late ? heard : NULL;
}

static void forget(struct records *records, struct heard_claim *heard)
{
    hash_remove(&records->heard, &heard->in_heard);
    list_remove(&records->heard_by_age, &heard->in_age);
    free(heard);
}

/* Those that are too old, or too many, go. NULL: a later one was heard before. */
static struct heard_claim *hear(struct records *records, const struct neighbour *from, mps_view id, uint64_t claim)
{
    uint64_t now_ms = records->cluster->broker->now_ms;
    struct heard_claim *before = find_heard(records, id);
    if (before != NULL && before->claim > claim) return NULL;
    if (before != NULL) forget(records, before);
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
    return heard;
}

/* ---- who has not answered ------------------------------------------------------------------------------------- */

/* A client that has come in here, of which not all have answered whether they have had it. */
struct asking {
    struct hash_node in_askings;
    struct list_node in_age;
    uint64_t claim, until_ms;
    uint64_t missing; /* bits of neighbours */
    uint8_t id_len;
    uint8_t id[MPS_ID_MAX];
};

static bool is_askeds(const struct hash_node *node, const void *id)
{
    const struct asking *asking = container_of(node, struct asking, in_askings);
    return mps_view_equal((mps_view){asking->id, asking->id_len}, *(const mps_view *)id);
}

static struct asking *find_asking(const struct records *records, mps_view id)
{
    struct hash_node *node = hash_find(&records->askings, hash_of(records, id), is_askeds, &id);
    return node != NULL ? container_of(node, struct asking, in_askings) : NULL;
}

bool claim_is_asked(const struct records *records, mps_view id)
{
    return find_asking(records, id) != NULL;
}

static void stop_asking(struct records *records, struct asking *asking)
{
    hash_remove(&records->askings, &asking->in_askings);
    list_remove(&records->askings_by_age, &asking->in_age);
    free(asking);
}

static void ask(struct records *records, mps_view id, uint64_t claim, uint64_t whom)
{
    struct asking *before = find_asking(records, id);
    if (before != NULL) stop_asking(records, before);
    struct asking *asking = sure_zeroed(sizeof *asking); /* small, and soon over: of clients that have just come */
    asking->claim = claim;
    asking->until_ms = records->cluster->broker->now_ms + CLAIM_ANSWER_MS;
    asking->missing = whom;
    asking->id_len = (uint8_t)id.len;
    memcpy(asking->id, id.ptr, id.len);
    hash_add(&records->askings, &asking->in_askings, hash_of(records, id));
    list_append(&records->askings_by_age, &asking->in_age);
}

/* Its cursors need not wait for answers any more, but perhaps for last words. */
static void end_asking(struct records *records, struct asking *asking)
{
    uint8_t room[MPS_ID_MAX];
    mps_view id = {room, asking->id_len};
    memcpy(room, asking->id, asking->id_len);
    stop_asking(records, asking);
    struct session *session = session_find(records->cluster->broker, id);
    if (session != NULL) shared_cursors_answered(session);
}

uint64_t claims_turn(struct records *records)
{
    for (struct list_node *oldest; (oldest = records->askings_by_age.first) != NULL;) {
        struct asking *asking = container_of(oldest, struct asking, in_age);
        if (records->cluster->broker->now_ms < asking->until_ms) return asking->until_ms;
        end_asking(records, asking);
    }
    return UINT64_MAX;
}

/* What was before is nothing to this client. */
static void forget_all(struct records *records, mps_view id)
{
    struct heard_claim *heard = find_heard(records, id);
    struct asking *asking = find_asking(records, id);
    if (heard != NULL) forget(records, heard);
    if (asking != NULL) stop_asking(records, asking);
    shared_cursors_forget_client(records->cluster, id);
}

void claims_free(struct records *records)
{
    while (records->heard_by_age.first != NULL)
        forget(records, container_of(records->heard_by_age.first, struct heard_claim, in_age));
    while (records->askings_by_age.first != NULL)
        stop_asking(records, container_of(records->askings_by_age.first, struct asking, in_age));
    hash_free(&records->heard);
    hash_free(&records->askings);
}

/* ---- saying it ---------------------------------------------------------------------------------------------- */

void claim_say(struct session *session, bool clean)
{
    struct cluster *cluster = session->broker->cluster;
    uint64_t asked = 0;
    uint8_t room[32 + MPS_ID_MAX + ACCESS_NAME_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_view user = origin_user(session->origin);
    if (session->sess_s == 0 || !session->has_own_id) return;
    session->claim = claim_next(cluster->records);
    if (clean) forget_all(cluster->records, session->id);
    mps_put_array(&out, 5);
    mps_put_uint(&out, BETWEEN_CLAIM);
    mps_put_text(&out, session->id);
    mps_put_text(&out, user.ptr != NULL ? user : mps_text(""));
    mps_put_uint(&out, session->claim);
    mps_put_bool(&out, clean);
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++) {
        struct neighbour *to = cluster->neighbours[i];
        if (to == NULL || !to->is_present) continue;
        lane_put_frame(to, &out);
        asked |= UINT64_C(1) << i;
    }
    if (!clean && asked != 0) ask(cluster->records, session->id, session->claim, asked);
}

/* ---- hearing it --------------------------------------------------------------------------------------------- */

/* Its cursors are another broker's now, which waits for the last word of where they stand; unless it begins anew.
 * Returns how many such words there are; NOT_KNOWN: some waited for other brokers' last words themselves. */
#define NOT_KNOWN UINT32_MAX
static uint32_t let_go(struct session *session, bool clean)
{
    uint32_t words = 0, waiting = 0;
    for (struct hash_node *node = hash_first(&session->subs); node != NULL; node = hash_next(&session->subs, node)) {
        struct cursor *cursor = container_of(node, struct subscription, in_subs)->box.cursor;
        if (cursor == NULL || cursor->shared == NULL) continue;
        waiting += cursor->shared->is_coming;
        if (!clean) shared_cursor_left(cursor);
        words += shared_cursor_has_left(cursor->shared);
        shared_cursor_stop(cursor->shared);
    }
    return waiting > 0 ? NOT_KNOWN : words;
}

uint32_t claim_end(struct session *session, mps_view broker, bool clean)
{
    bool is_connected = session->state != SESSION_AWAY;
    mps_view id = session->id;
    uint32_t words = let_go(session, clean);
    session_end(session); /* one that is away is freed by that */
    if (is_connected)
        session_byef(session, MPS_TAKEN_OVER, "the client '%s' has connected to broker '%s'", printable(id),
                     printable(broker));
    return words;
}

/* had: the claim with which the client was here; 0: it wasn't, or it isn't known what there is to wait for. */
static void answer(struct neighbour *to, mps_view id, uint64_t claim, uint64_t had, uint32_t words)
{
    uint8_t room[64 + MPS_ID_MAX];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_array(&out, 5);
    mps_put_uint(&out, BETWEEN_CLAIMED);
    mps_put_text(&out, id);
    mps_put_uint(&out, claim);
    mps_put_uint(&out, had);
    mps_put_uint(&out, words);
    lane_put_frame(to, &out);
}

bool claim_take(struct records *records, struct neighbour *from, mps_view frame)
{
    struct mps_reader r = mps_reader_open(frame);
    uint32_t fields = mps_read_array(&r, "claim");
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    mps_view id = mps_read_text(&r, "id"), user = mps_read_text(&r, "user");
    uint64_t claim = mps_read_uint(&r, CLAIM_MAX, "claim");
    bool clean = mps_read_bool(&r, "clean");
    if (r.bad != NULL || fields < 5 || mps_id_error(id) != NULL || user.len > ACCESS_NAME_MAX) return false;
    if (user.len == 0) user = (mps_view){NULL, 0};
    claim_note(records, claim);
    hear(records, from, id, claim);
    struct session *session = session_find(records->cluster->broker, id);
    bool may_take = session != NULL && session->has_own_id && origin_may_follow(session->origin, user);
    bool is_tie = may_take && claim == session->claim && strcmp(from->name, records->cluster->name) > 0;
    uint64_t had = 0;
    uint32_t words = 0;
    if (may_take && (claim > session->claim || is_tie)) { /* else it came here since */
        had = session->claim;
        words = claim_end(session, mps_text(from->name), clean);
    }
    answer(from, id, claim, words != NOT_KNOWN ? had : 0, words != NOT_KNOWN ? words : 0);
    return true;
}

bool claim_take_answer(struct records *records, struct neighbour *from, mps_view frame)
{
    struct mps_reader r = mps_reader_open(frame);
    uint32_t fields = mps_read_array(&r, "answer");
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    mps_view id = mps_read_text(&r, "id");
    uint64_t claim = mps_read_uint(&r, CLAIM_MAX, "claim"), had = mps_read_uint(&r, CLAIM_MAX, "claim before");
    uint32_t words = (uint32_t)mps_read_uint(&r, UINT32_MAX, "words");
    if (r.bad != NULL || fields < 5 || mps_id_error(id) != NULL) return false;
    struct asking *asking = find_asking(records, id);
    uint64_t bit = UINT64_C(1) << from->number;
    if (asking == NULL || asking->claim != claim || !(asking->missing & bit)) return true; /* it comes too late */
    struct heard_claim *heard = had > 0 && had < claim ? hear(records, from, id, had) : NULL;
    if (heard != NULL) {
        heard->is_told = true;
        heard->words = words;
    }
    asking->missing &= ~bit;
    if (asking->missing == 0) end_asking(records, asking);
    return true;
}
