#include "scope.h"

#include <stdlib.h>

#include "sure.h"

#define WAIT_MS 10000u     /* for all of the others */
#define ASK_AGAIN_MS 1000u /* a question or its answer may get lost */
/* Rounds that wait for somebody who does not answer are looked through in each turn: when there are so many, another
 * one begins only so long after the one before, for all SUBs of that time. */
#define ROUNDS_MANY 32u
#define ROUND_MS 100u
/* So long after the connection came up the others are all known: each of them says that it is there once a second. */
#define MEET_MS (HERE_MS + 500u)

/* SUBs of one turn. */
struct scope_round {
    struct list_node in_rounds;
    uint64_t number;   /* of its ECHO */
    uint64_t until_ms; /* then SUBACK says that it could not be had */
    uint64_t missing;  /* bits of the neighbours that have not answered yet */
    struct list waits;
};

/* A subscription whose SUBACK waits. */
struct scope_wait {
    struct list_node in_waits;
    struct scope_round *round;
    struct subscription *sub;
    struct mps_suback suback; /* with nothing that is borrowed */
    bool drains;              /* MARK 3 is asked for */
};

struct scopes {
    struct list rounds; /* their numbers go up */
    uint32_t rounds_count;
    uint64_t begun_ms;        /* when the last round was asked */
    struct scope_round *open; /* the last of them, for which nobody was asked yet; NULL: all were */
    uint64_t last_number;
    uint64_t live_ms; /* since when the engine is connected; UINT64_MAX: it isn't */
    struct {
        uint64_t asked_ms; /* it, by us, the last time */
        uint64_t number,
            version; /* what it asked, and is answered when its interest is known so far; number 0: nothing */
    } of[NEIGHBOURS_MAX];
};

static uint64_t bit_of(uint32_t number)
{
    return UINT64_C(1) << number;
}

static struct scope_round *round_of(struct list_node *node)
{
    return container_of(node, struct scope_round, in_rounds);
}

/* ---- subscriptions that wait -------------------------------------------------------------------------------- */

/* What it may be sent is put aside. */
static void silence(struct scope_wait *wait)
{
    struct subscription *sub = wait->sub;
    if (sub->outlet != NULL) cursor_take_back(sub);
    if (sub->credit > sub->box.sent) {
        sub->credit_then = sub->credit;
        sub->credit = sub->box.sent;
    }
    wait->drains = sub->draining;
    sub->draining = false;
    sub->is_starved = true;
    subscription_deactivate(sub);
}

/* It waits no more, and is silent still. */
static void unlink_wait(struct scope_wait *wait)
{
    struct subscription *sub = wait->sub;
    list_remove(&wait->round->waits, &wait->in_waits);
    sub->awaits = NULL;
    sub->session->awaiting_count--;
    free(wait);
}

static void go_on(struct scope_wait *wait)
{
    struct subscription *sub = wait->sub;
    uint64_t credit = sub->credit_then > 0 ? sub->credit_then : sub->credit;
    bool drains = wait->drains;
    unlink_wait(wait);
    sub->credit_then = 0;
    subscription_add_credit(sub, credit, drains);
}

static void answer(struct scope_wait *wait, enum mps_scope scope)
{
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    if (scope == MPS_SCOPE_LOCAL) {
        wait->suback.granted.given |= MPS_SUB_SCOPE;
        wait->suback.granted.scope = scope;
    }
    mps_encode_suback(&out, &wait->suback);
    reply_frame(wait->sub->session, &out);
    go_on(wait);
}

void scope_answer(struct subscription *sub)
{
    if (sub->awaits != NULL) answer(sub->awaits, MPS_SCOPE_LOCAL);
}

void scope_forget(struct subscription *sub)
{
    if (sub->awaits != NULL) unlink_wait(sub->awaits);
}

/* Of all that wait: they may be few of many. */
static void end_all(struct session *session, void (*end)(struct subscription *sub))
{
    struct hash_node *next, *node = session->awaiting_count > 0 ? hash_first(&session->subs) : NULL;
    for (; node != NULL && session->awaiting_count > 0; node = next) {
        next = hash_next(&session->subs, node);
        end(container_of(node, struct subscription, in_subs));
    }
}

void scope_answer_all(struct session *session)
{
    end_all(session, scope_answer);
}

static void forget_one(struct subscription *sub)
{
    if (sub->awaits != NULL) go_on(sub->awaits);
}

void scope_forget_all(struct session *session)
{
    end_all(session, forget_one);
}

void scope_add_credit(struct subscription *sub, uint64_t total, bool drain)
{
    if (total > sub->credit && total > sub->credit_then) sub->credit_then = total;
    sub->awaits->drains |= drain;
}

/* ---- rounds ------------------------------------------------------------------------------------------------- */

/* Who would have to be asked: whoever was heard of lately, and did not say good-bye. */
static uint64_t those_there(const struct cluster *cluster)
{
    uint64_t there = 0, now_ms = cluster->broker->now_ms;
    for (uint32_t i = 0; i < cluster->neighbours_count; i++) {
        const struct neighbour *neighbour = cluster->neighbours[i];
        bool is_met = neighbour->seen_ms > neighbour->left_ms && now_ms < neighbour->seen_ms + NEIGHBOUR_AWAY_MS;
        if (neighbour->is_present || is_met) there |= bit_of(i);
    }
    return there;
}

static struct scope_round *open_round(struct cluster *cluster)
{
    struct scopes *scopes = cluster->scopes;
    if (scopes->open != NULL) return scopes->open;
    struct scope_round *round = sure_zeroed(sizeof *round); /* at most one a turn, and each has a subscription */
    round->number = ++scopes->last_number;
    round->until_ms = cluster->broker->now_ms + WAIT_MS;
    list_append(&scopes->rounds, &round->in_rounds);
    scopes->rounds_count++;
    return scopes->open = round;
}

bool scope_defer(struct subscription *sub, const struct mps_suback *suback)
{
    struct cluster *cluster = sub->session->broker->cluster;
    if (cluster == NULL || !cluster->is_live || !cluster_overlaps(cluster, subscription_pattern(sub))) return false;
    struct scope_wait *wait = sure_zeroed(sizeof *wait); /* small, as subscriptions are */
    wait->sub = sub;
    wait->suback = *suback;
    wait->round = open_round(cluster);
    list_append(&wait->round->waits, &wait->in_waits);
    sub->awaits = wait;
    sub->session->awaiting_count++;
    silence(wait);
    return true;
}

static void end_round(struct scopes *scopes, struct scope_round *round, enum mps_scope scope)
{
    for (struct list_node *node; (node = round->waits.first) != NULL;)
        answer(container_of(node, struct scope_wait, in_waits), scope);
    list_remove(&scopes->rounds, &round->in_rounds);
    scopes->rounds_count--;
    if (scopes->open == round) scopes->open = NULL;
    free(round);
}

/* Those rounds that all have answered, or that nobody waits for any more. */
static void end_answered(struct scopes *scopes)
{
    for (struct list_node *node = scopes->rounds.first, *next; node != NULL; node = next) {
        next = node->next;
        struct scope_round *round = round_of(node);
        if (round->waits.first == NULL || (round != scopes->open && round->missing == 0))
            end_round(scopes, round, MPS_SCOPE_CLUSTER);
    }
}

/* Those are not waited for any more, in rounds up to this one. */
static void take_off(struct scopes *scopes, uint64_t bits, uint64_t number)
{
    for (struct list_node *node = scopes->rounds.first; node != NULL; node = node->next)
        if (round_of(node)->number <= number) round_of(node)->missing &= ~bits;
}

static void end_late(struct scopes *scopes, uint64_t now_ms)
{
    for (struct list_node *node; (node = scopes->rounds.first) != NULL;) {
        if (now_ms < round_of(node)->until_ms) return;
        end_round(scopes, round_of(node), MPS_SCOPE_LOCAL);
    }
}

/* ---- asking ------------------------------------------------------------------------------------------------- */

static void put_numbers(struct neighbour *to, enum between_op op, uint64_t number, uint64_t version)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_array(&out, op == BETWEEN_ECHO ? 3 : 2);
    mps_put_uint(&out, op);
    mps_put_uint(&out, number);
    if (op == BETWEEN_ECHO) mps_put_uint(&out, version);
    lane_put_frame(to, &out);
}

/* What they know then is what they are told before. One question stands for all earlier ones. */
static void ask(struct cluster *cluster, uint64_t bits, uint64_t number)
{
    interest_flush(cluster);
    for (; bits != 0; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(bits);
        cluster->scopes->of[i].asked_ms = cluster->broker->now_ms;
        put_numbers(cluster->neighbours[i], BETWEEN_ECHO, number, interest_version(cluster));
    }
}

static void ask_first(struct cluster *cluster, uint64_t there)
{
    struct scope_round *round = cluster->scopes->open;
    cluster->scopes->open = NULL;
    cluster->scopes->begun_ms = cluster->broker->now_ms;
    round->missing = there;
    ask(cluster, there, round->number);
}

/* Those that have not answered for a while. Returns when to do so again. */
static uint64_t ask_again(struct cluster *cluster)
{
    struct scopes *scopes = cluster->scopes;
    uint64_t now_ms = cluster->broker->now_ms, next_ms = UINT64_MAX, missing = 0, late = 0, number = 0;
    for (struct list_node *node = scopes->rounds.first; node != NULL; node = node->next) {
        if (round_of(node) == scopes->open) break;
        missing |= round_of(node)->missing;
        number = round_of(node)->number;
    }
    for (; missing != 0; missing &= missing - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(missing);
        uint64_t again_ms = scopes->of[i].asked_ms + ASK_AGAIN_MS;
        bool is_late = now_ms >= again_ms;
        if (is_late) late |= bit_of(i);
        next_ms = least(next_ms, is_late ? now_ms + ASK_AGAIN_MS : again_ms);
    }
    if (late != 0) ask(cluster, late, number);
    return next_ms;
}

static void end_all_rounds(struct scopes *scopes)
{
    for (struct list_node *node; (node = scopes->rounds.first) != NULL;)
        end_round(scopes, round_of(node), MPS_SCOPE_LOCAL);
}

/* When the open round may begin. */
static uint64_t begin_ms(const struct scopes *scopes)
{
    uint64_t met_ms = scopes->live_ms + MEET_MS, next_ms = scopes->begun_ms + ROUND_MS;
    return scopes->rounds_count > ROUNDS_MANY && next_ms > met_ms ? next_ms : met_ms;
}

uint64_t scope_turn(struct cluster *cluster)
{
    struct scopes *scopes = cluster->scopes;
    uint64_t now_ms = cluster->broker->now_ms;
    if (!cluster->is_live) scopes->live_ms = UINT64_MAX;
    else if (scopes->live_ms == UINT64_MAX) scopes->live_ms = now_ms;
    if (scopes->rounds.first == NULL) return UINT64_MAX;
    if (!cluster->is_live) { /* nobody can be asked */
        end_all_rounds(scopes);
        return UINT64_MAX;
    }
    uint64_t there = those_there(cluster), next_ms = UINT64_MAX;
    take_off(scopes, ~there, UINT64_MAX);
    if (scopes->open != NULL) {
        if (now_ms >= begin_ms(scopes)) ask_first(cluster, there);
        else next_ms = begin_ms(scopes);
    }
    end_answered(scopes);
    end_late(scopes, now_ms);
    if (scopes->rounds.first == NULL) return UINT64_MAX;
    next_ms = least(next_ms, round_of(scopes->rounds.first)->until_ms);
    return least(next_ms, ask_again(cluster));
}

bool scope_on_echoed(struct cluster *cluster, struct neighbour *from, mps_view frame)
{
    struct mps_reader r = mps_reader_open(frame);
    bool is_short = mps_read_array(&r, "frame") < 2;
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    uint64_t number = mps_read_uint(&r, MPS_NUMBER_MAX, "number");
    if (is_short || r.bad != NULL) return false;
    take_off(cluster->scopes, bit_of(from->number), number);
    end_answered(cluster->scopes);
    return true;
}

void scope_neighbour_gone(struct cluster *cluster, struct neighbour *gone)
{
    cluster->scopes->of[gone->number].number = 0;
    take_off(cluster->scopes, bit_of(gone->number), UINT64_MAX);
}

/* ---- answering others --------------------------------------------------------------------------------------- */

void scope_neighbour_known(struct cluster *cluster, struct neighbour *from)
{
    uint64_t number = cluster->scopes->of[from->number].number;
    if (number == 0 || !from->knows_all || from->version < cluster->scopes->of[from->number].version) return;
    cluster->scopes->of[from->number].number = 0;
    put_numbers(from, BETWEEN_ECHOED, number, 0);
}

bool scope_on_echo(struct cluster *cluster, struct neighbour *from, mps_view frame)
{
    struct mps_reader r = mps_reader_open(frame);
    bool is_short = mps_read_array(&r, "frame") < 3;
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    uint64_t number = mps_read_uint(&r, MPS_NUMBER_MAX, "number");
    uint64_t version = mps_read_uint(&r, MPS_NUMBER_MAX, "version");
    if (is_short || r.bad != NULL) return false;
    cluster->scopes->of[from->number].number = number; /* it stands for those before it */
    cluster->scopes->of[from->number].version = version;
    scope_neighbour_known(cluster, from);
    return true;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

void scope_join(struct cluster *cluster)
{
    cluster->scopes = sure_zeroed(sizeof *cluster->scopes);
    cluster->scopes->live_ms = UINT64_MAX;
}

void scope_leave(struct cluster *cluster)
{
    end_all_rounds(cluster->scopes);
    free(cluster->scopes);
    cluster->scopes = NULL;
}
