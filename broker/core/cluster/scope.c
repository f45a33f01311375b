#include "scope.h"

#include <stdlib.h>

#include "records.h"
#include "sure.h"

#define WAIT_MS 10000u     /* for all of the others */
#define AWAY_MS 2000u      /* for records, while they can't be reached */
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
    uint64_t number; /* of its ECHO */
    uint64_t begun_ms;
    uint64_t missing;  /* bits of the neighbours that have not answered yet */
    uint64_t revision; /* of the last one that somebody who has answered had put by then */
    bool is_unsure;    /* some of these are not where all brokers will get them */
    bool is_again;     /* they are asked for the second time */
    struct list waits;
};

/* A subscription whose SUBACK waits. */
struct scope_wait {
    struct list_node in_waits;
    struct scope_round *round;
    struct subscription *sub;
    struct mps_suback suback; /* with nothing that is borrowed */
    uint64_t matched;         /* messages that had matched it before */
    bool wants_values;        /* retained ones, too */
    bool drains;              /* MARK 3 is asked for */
};

/* What a neighbour has asked: it is answered when its interest of that version is known, and what had been put here up
 * to that mark is where it will get it. number 0: nothing. */
struct question {
    uint64_t number, version, mark, came_ms;
};

struct scopes {
    struct list rounds; /* who began first comes first */
    uint32_t rounds_count;
    uint64_t begun_ms;        /* when the last round was asked */
    struct scope_round *open; /* the last of them, for which nobody was asked yet; NULL: all were */
    uint64_t last_number;
    uint64_t live_ms; /* since when the engine is connected; UINT64_MAX: it isn't */
    uint64_t owed;    /* bits of the neighbours that have asked something */
    struct {
        uint64_t asked_ms;           /* it, by us, the last time */
        struct question first, last; /* of what it asked; those between are answered with the last one */
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
    } else if (wait->wants_values) {
        subscription_extend_snapshot(wait->sub, wait->round->revision);
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

void scope_wants_values(struct subscription *sub)
{
    sub->awaits->wants_values = true;
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
    round->begun_ms = cluster->broker->now_ms;
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
    wait->matched = sub->box.matched;
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

/* Those are not waited for any more. */
static void take_off(struct scopes *scopes, uint64_t bits)
{
    for (struct list_node *node = scopes->rounds.first; node != NULL; node = node->next)
        round_of(node)->missing &= ~bits;
}

static void end_late(struct scopes *scopes, uint64_t now_ms)
{
    for (struct list_node *node; (node = scopes->rounds.first) != NULL;) {
        if (now_ms < round_of(node)->begun_ms + WAIT_MS) return;
        end_round(scopes, round_of(node), MPS_SCOPE_LOCAL);
    }
}

/* ---- asking ------------------------------------------------------------------------------------------------- */

static void put_echo(struct neighbour *to, uint64_t number, uint64_t version)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_array(&out, 3);
    mps_put_uint(&out, BETWEEN_ECHO);
    mps_put_uint(&out, number);
    mps_put_uint(&out, version);
    lane_put_frame(to, &out);
}

/* What they know then is what they are told before. One question stands for all earlier ones. */
static void ask(struct cluster *cluster, uint64_t bits, uint64_t number)
{
    interest_flush(cluster);
    for (; bits != 0; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(bits);
        cluster->scopes->of[i].asked_ms = cluster->broker->now_ms;
        put_echo(cluster->neighbours[i], number, interest_version(cluster));
    }
}

static void ask_round(struct cluster *cluster, struct scope_round *round, uint64_t there)
{
    round->number = ++cluster->scopes->last_number;
    round->missing = there;
    round->is_unsure = false;
    ask(cluster, there, round->number);
}

static void ask_first(struct cluster *cluster, uint64_t there)
{
    struct scope_round *round = cluster->scopes->open;
    cluster->scopes->open = NULL;
    cluster->scopes->begun_ms = cluster->broker->now_ms;
    ask_round(cluster, round, there);
}

/* Those that have not answered for a while. Returns when to do so again. */
static uint64_t ask_again(struct cluster *cluster)
{
    struct scopes *scopes = cluster->scopes;
    uint64_t now_ms = cluster->broker->now_ms, next_ms = UINT64_MAX, missing = 0, late = 0, number = 0;
    for (struct list_node *node = scopes->rounds.first; node != NULL; node = node->next) {
        if (round_of(node) == scopes->open) continue;
        missing |= round_of(node)->missing;
        if (round_of(node)->number > number) number = round_of(node)->number;
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

/* What came meanwhile may be older than retained values that are here: of what others sent before they knew that nobody
 * here wants it any more, and that somebody does. Then it precedes the values, which are not older than that once all
 * have been asked again. Returns whether they have to be. */
static bool begin_values_anew(struct cluster *cluster, struct scope_round *round)
{
    bool has_mixed = false;
    for (struct list_node *node = round->waits.first; node != NULL; node = node->next) {
        struct scope_wait *wait = container_of(node, struct scope_wait, in_waits);
        if (wait->sub->box.matched == wait->matched) continue;
        if (!interest_was_less(cluster, subscription_pattern(wait->sub))) continue;
        subscription_begin_snapshot(wait->sub);
        has_mixed = true;
    }
    return has_mixed;
}

/* Those who don't ask for retained values wait for no records. */
static void answer_without_values(struct scope_round *round)
{
    for (struct list_node *node = round->waits.first, *next; node != NULL; node = next) {
        next = node->next;
        struct scope_wait *wait = container_of(node, struct scope_wait, in_waits);
        if (!wait->wants_values) answer(wait, MPS_SCOPE_CLUSTER);
    }
}

/* All have answered, or are gone. Returns when to look again. */
static uint64_t end_one(struct cluster *cluster, struct scope_round *round)
{
    struct scopes *scopes = cluster->scopes;
    uint64_t away_ms = round->begun_ms + AWAY_MS;
    answer_without_values(round);
    if (!round->is_again) {
        round->is_again = true;
        if (begin_values_anew(cluster, round)) {
            ask_round(cluster, round, those_there(cluster));
            if (round->missing != 0) return UINT64_MAX; /* ask_again() says it */
        }
    }
    if (round->waits.first == NULL || (!round->is_unsure && records_are_told(cluster, round->revision))) {
        end_round(scopes, round, MPS_SCOPE_CLUSTER);
    } else if (round->is_unsure || (!cluster->is_storing && cluster->broker->now_ms >= away_ms)) {
        end_round(scopes, round, MPS_SCOPE_LOCAL);
    } else {
        return cluster->is_storing ? UINT64_MAX : away_ms;
    }
    return UINT64_MAX;
}

/* Those rounds that all have answered, or that nobody waits for any more. */
static uint64_t end_answered(struct cluster *cluster)
{
    struct scopes *scopes = cluster->scopes;
    uint64_t next_ms = UINT64_MAX;
    for (struct list_node *node = scopes->rounds.first, *next; node != NULL; node = next) {
        next = node->next;
        struct scope_round *round = round_of(node);
        if (round->waits.first == NULL) end_round(scopes, round, MPS_SCOPE_CLUSTER);
        else if (round != scopes->open && round->missing == 0) next_ms = least(next_ms, end_one(cluster, round));
    }
    return next_ms;
}

static void end_all_rounds(struct scopes *scopes)
{
    for (struct list_node *node; (node = scopes->rounds.first) != NULL;)
        end_round(scopes, round_of(node), MPS_SCOPE_LOCAL);
}

/* ---- answering others --------------------------------------------------------------------------------------- */

/* revision nil: some of what was put here is not where all will get it, and can't be. */
static void put_echoed(struct neighbour *to, uint64_t number, bool is_sure)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_array(&out, 3);
    mps_put_uint(&out, BETWEEN_ECHOED);
    mps_put_uint(&out, number);
    if (is_sure) mps_put_uint(&out, records_put_revision(to->cluster));
    else mps_put_nil(&out);
    lane_put_frame(to, &out);
}

/* Answers what can be answered by now. Returns when to look again. */
static uint64_t answer_neighbour(struct neighbour *from)
{
    struct cluster *cluster = from->cluster;
    struct question *first = &cluster->scopes->of[from->number].first, *last = &cluster->scopes->of[from->number].last;
    for (; first->number != 0; *first = *last, *last = (struct question){0}) {
        uint64_t away_ms = first->came_ms + AWAY_MS;
        if (!from->knows_all || from->version < first->version) return UINT64_MAX;
        bool is_sure = records_are_put(cluster, first->mark);
        if (!is_sure && cluster->is_storing) return UINT64_MAX;
        if (!is_sure && cluster->broker->now_ms < away_ms) return away_ms;
        put_echoed(from, first->number, is_sure);
    }
    cluster->scopes->owed &= ~bit_of(from->number);
    return UINT64_MAX;
}

static uint64_t answer_all(struct cluster *cluster)
{
    uint64_t next_ms = UINT64_MAX;
    for (uint64_t owed = cluster->scopes->owed; owed != 0; owed &= owed - 1)
        next_ms = least(next_ms, answer_neighbour(cluster->neighbours[__builtin_ctzll(owed)]));
    return next_ms;
}

void scope_neighbour_known(struct cluster *cluster, struct neighbour *from)
{
    if (cluster->scopes->owed & bit_of(from->number)) answer_neighbour(from);
}

bool scope_on_echo(struct cluster *cluster, struct neighbour *from, mps_view frame)
{
    struct mps_reader r = mps_reader_open(frame);
    bool is_short = mps_read_array(&r, "frame") < 3;
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    uint64_t number = mps_read_uint(&r, MPS_NUMBER_MAX, "number");
    uint64_t version = mps_read_uint(&r, MPS_NUMBER_MAX, "version");
    if (is_short || r.bad != NULL) return false;
    if (number == 0) return true; /* nobody asks so */
    struct question *first = &cluster->scopes->of[from->number].first, *last = &cluster->scopes->of[from->number].last;
    *(first->number == 0 ? first : last) = (struct question){
        .number = number, .version = version, .mark = records_last_mark(cluster), .came_ms = cluster->broker->now_ms};
    cluster->scopes->owed |= bit_of(from->number);
    answer_neighbour(from);
    return true;
}

/* ---- by and by ----------------------------------------------------------------------------------------------- */

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
    uint64_t owed_ms = answer_all(cluster);
    if (scopes->rounds.first == NULL) return owed_ms;
    if (!cluster->is_live) { /* nobody can be asked */
        end_all_rounds(scopes);
        return owed_ms;
    }
    uint64_t there = those_there(cluster), next_ms = owed_ms;
    take_off(scopes, ~there);
    if (scopes->open != NULL) {
        if (now_ms >= begin_ms(scopes)) ask_first(cluster, there);
        else next_ms = least(next_ms, begin_ms(scopes));
    }
    next_ms = least(next_ms, end_answered(cluster));
    end_late(scopes, now_ms);
    if (scopes->rounds.first == NULL) return owed_ms;
    next_ms = least(next_ms, round_of(scopes->rounds.first)->begun_ms + WAIT_MS);
    return least(next_ms, ask_again(cluster));
}

bool scope_on_echoed(struct cluster *cluster, struct neighbour *from, mps_view frame)
{
    struct mps_reader r = mps_reader_open(frame);
    bool is_short = mps_read_array(&r, "frame") < 3;
    mps_read_uint(&r, MPS_OP_MAX, "operation");
    uint64_t number = mps_read_uint(&r, MPS_NUMBER_MAX, "number");
    bool is_unsure = mps_read_nil(&r);
    uint64_t revision = is_unsure ? 0 : mps_read_uint(&r, MPS_NUMBER_MAX, "revision");
    if (is_short || r.bad != NULL) return false;
    for (struct list_node *node = cluster->scopes->rounds.first; node != NULL; node = node->next) {
        struct scope_round *round = round_of(node);
        if ((round->missing & bit_of(from->number)) == 0 || round->number > number) continue;
        round->missing &= ~bit_of(from->number);
        round->is_unsure |= is_unsure;
        if (revision > round->revision) round->revision = revision;
    }
    end_answered(cluster);
    return true;
}

void scope_neighbour_gone(struct cluster *cluster, struct neighbour *gone)
{
    cluster->scopes->owed &= ~bit_of(gone->number);
    cluster->scopes->of[gone->number].first.number = cluster->scopes->of[gone->number].last.number = 0;
    take_off(cluster->scopes, bit_of(gone->number));
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
