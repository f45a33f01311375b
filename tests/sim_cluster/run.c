#include "run.h"

#include "tables.h"
#include "values.h"

#include <stdio.h>
#include <string.h>

#define MEET_MS 3000    /* until all that began together know each other */
#define HEAL_MS 20000   /* until everything that was broken is as new */
#define ARRIVE_MS 3000  /* until what was published has come */
#define PRESENT_MAX 12u /* clients at a time */
#define BURST_MAX 300u

static uint32_t present(const struct run *run)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < run->parties_count; i++) count += run->parties[i] != NULL;
    return count;
}

static void choose_topic(struct rng *rng, char topic[NAME_MAX])
{
    snprintf(topic, NAME_MAX, "%c/%c/%u",
             rng_percent(rng, 60)   ? 't'
             : rng_percent(rng, 60) ? 'u'
                                    : 's',
             'a' + (char)rng_below(rng, 3), rng_below(rng, 3));
}

static void choose_pattern(struct rng *rng, char pattern[NAME_MAX])
{
    char topic[NAME_MAX];
    choose_topic(rng, topic);
    switch (rng_below(rng, 7)) {
    case 0: snprintf(pattern, NAME_MAX, "#"); return;
    case 1: snprintf(pattern, NAME_MAX, "%c/#", topic[0]); return;
    case 2: snprintf(pattern, NAME_MAX, "+/%c/#", topic[2]); return;
    case 3: snprintf(pattern, NAME_MAX, "%c/+/%c", topic[0], topic[4]); return;
    default: memcpy(pattern, topic, NAME_MAX); return;
    }
}

/* ---- a life ------------------------------------------------------------------------------------------------- */

static void choose_troubles(struct run *run)
{
    struct rng *rng = &run->rng;
    struct memory_faults *faults = memory_bus_faults(run->town.bus);
    run->calm = rng_percent(rng, 30);
    run->pad_max = 3000;
    run->retain_percent = rng_percent(rng, 50) ? rng_percent(rng, 50) ? 10 : 50 : 0;
    faults->delay_ms = rng_percent(rng, 50) ? rng_below(rng, 20) : 0;
    faults->delay_more_ms = rng_percent(rng, 50) ? rng_skewed(rng, 200) : 0;
    if (rng_percent(rng, 50)) faults->twice = rng_below(rng, 100);
    if (rng_percent(rng, 30)) faults->settle_ms = rng_skewed(rng, 300);
    if (rng_percent(rng, 30)) faults->tail_ms = rng_skewed(rng, 300);
    if (rng_percent(rng, 30)) faults->record_ms = rng_skewed(rng, 300);
    if (rng_percent(rng, 30)) faults->put_ms = rng_skewed(rng, 300);
    if (run->calm) return;
    run->pad_max = 60000;
    run->loses = rng_percent(rng, 50);
    if (run->loses) faults->lost = rng_skewed(rng, 100);
    run->crashes = rng_percent(rng, 40);
    run->freezes = rng_percent(rng, 30);
    run->splits = rng_percent(rng, 40);
    run->goes_away = rng_percent(rng, 30);
    if (rng_percent(rng, 50)) faults->late = rng_below(rng, 1000);
    if (rng_percent(rng, 50)) faults->unheard = rng_skewed(rng, 200);
    if (rng_percent(rng, 50)) faults->coalesced = rng_below(rng, 1000);
    for (uint32_t i = 0; i < run->town.nodes_count; i++) {
        if (rng_percent(rng, 10))
            memory_bus_rings(run->town.bus, run->town.nodes[i].name, rng_skewed(rng, 64), rng_skewed(rng, 64));
        if (rng_percent(rng, 20))
            memory_bus_datagram_max(run->town.bus, run->town.nodes[i].name, ENGINE_DATAGRAM_LEAST);
    }
}

void run_open(struct run *run, uint64_t seed, bool trace)
{
    *run = (struct run){.rng = {seed ^ UINT64_C(0xc1057e12)}};
    uint32_t nodes_count = rng_between(&run->rng, 2, NODES_MAX);
    town_open(&run->town, seed, nodes_count);
    run->town.trace = trace;
    run->town.topics[0] = rng_percent(&run->rng, 70) ? "#" : "t/#";
    run->town.topics_count = 1;
    choose_troubles(run);
    ledger_open(&run->ledger, &run->town, run->calm);
    for (uint32_t i = 0; i < nodes_count; i++) node_start(&run->town.nodes[i]);
    uint32_t lost =
        memory_bus_faults(run->town.bus)->lost; /* they shall meet once: who was never heard of is not missed */
    memory_bus_faults(run->town.bus)->lost = 0;
    town_pass(&run->town, MEET_MS);
    memory_bus_faults(run->town.bus)->lost = lost;
}

static struct party *come(struct run *run, struct node *node, uint32_t level)
{
    if (run->parties_count == PARTIES_MAX || node->broker == NULL) return NULL;
    struct party *party = party_come(&run->ledger, node, run->parties_count, level);
    if (party != NULL) run->parties[run->parties_count++] = party;
    return party;
}

/* Who published for the stream and has no answer, most often; to whatever broker. */
static void come_back(struct run *run, const struct party *gone)
{
    struct node *node = &run->town.nodes[rng_below(&run->rng, run->town.nodes_count)];
    if (gone->level != LEVEL_REPLICATED || !party_is_unsettled(gone) || rng_percent(&run->rng, 20)) return;
    if (run->parties_count == PARTIES_MAX || node->broker == NULL) return;
    struct party *back = party_return(gone, node, run->parties_count);
    if (back != NULL) run->parties[run->parties_count++] = back;
}

/* Those whose connections are over. */
static void bury(struct run *run)
{
    for (uint32_t i = 0; i < run->parties_count; i++) {
        if (run->parties[i] == NULL) continue;
        if (run->parties[i]->link != NULL && run->parties[i]->link->ended) party_cut(run->parties[i]);
        if (run->parties[i]->link != NULL) continue;
        come_back(run, run->parties[i]);
        party_free(run->parties[i]);
        run->parties[i] = NULL;
    }
}

static struct party *anybody(struct run *run)
{
    uint32_t left = present(run);
    if (left == 0) return NULL;
    left = rng_below(&run->rng, left);
    for (uint32_t i = 0;; i++) {
        if (run->parties[i] == NULL) continue;
        if (left-- == 0) return run->parties[i]->link != NULL && !run->parties[i]->leaving ? run->parties[i] : NULL;
    }
}

static void subscribe(struct run *run, struct party *party)
{
    char pattern[NAME_MAX];
    choose_pattern(&run->rng, pattern);
    if (party->level == LEVEL_REPLICATED) return; /* whose session may be left behind */
    bool reader = rng_percent(&run->rng, 30) && mps_patterns_overlap(mps_text(pattern), mps_text(STREAM_PATTERN));
    const char *group = !reader && rng_percent(&run->rng, 25) ? (rng_percent(&run->rng, 50) ? "g" : "h") : NULL;
    if (group != NULL) snprintf(pattern, sizeof pattern, "%s", rng_percent(&run->rng, 50) ? "t/#" : "+/a/#");
    party_subscribe(party, pattern, group, rng_percent(&run->rng, 60), reader);
}

static void publish(struct run *run, struct party *party)
{
    struct rng *rng = &run->rng;
    char topic[NAME_MAX];
    bool same = rng_percent(rng, 50);
    choose_topic(rng, topic);
    for (uint32_t count = rng_skewed(rng, BURST_MAX); count > 0; count--) {
        if (!same) choose_topic(rng, topic);
        if (party->level == LEVEL_REPLICATED) topic[0] = STREAM_PATTERN[0];
        party_publish(party, topic, rng_percent(rng, 10) ? rng_skewed(rng, run->pad_max) : 0,
                      rng_percent(rng, run->retain_percent));
    }
    if (party->level == 0 || rng_percent(rng, 20)) party_ping(party);
}

static void act(struct run *run)
{
    struct rng *rng = &run->rng;
    uint32_t what = rng_below(rng, 100);
    if (what < 20) {
        static const uint32_t levels[] = {0, LEVEL_ROUTED, LEVEL_ROUTED, LEVEL_REPLICATED};
        struct node *node = &run->town.nodes[rng_below(rng, run->town.nodes_count)];
        if (present(run) < PRESENT_MAX) come(run, node, levels[rng_below(rng, 4)]);
        return;
    }
    struct party *party = anybody(run);
    if (party == NULL) return;
    if (what < 45) subscribe(run, party);
    else if (what < 90) publish(run, party);
    else if (what < 94) party_unsubscribe(party, rng_below(rng, PARTY_SUBS_MAX));
    else if (what < 97) party_cut(party);
    else if (party->level != LEVEL_REPLICATED) party_bye(party); /* whose session is to stay */
}

static void suffer(struct run *run)
{
    struct rng *rng = &run->rng;
    struct town *town = &run->town;
    struct node *node = &town->nodes[rng_below(rng, town->nodes_count)];
    if (node->broker == NULL) {
        node_start(node);
        return;
    }
    switch (rng_below(rng, 4)) {
    case 0:
        if (run->crashes && !node->frozen && rng_percent(rng, 50)) node_stop(node);
        else if (run->crashes) node_crash(node, rng_percent(rng, 50));
        break;
    case 1:
        if (run->freezes) node_freeze(node, !node->frozen);
        break;
    case 2:
        if (!run->splits) break;
        uint32_t side = rng_below(rng, 2);
        town_tell(town, "%s is on side %u", node->name, side);
        memory_bus_side(town->bus, node->name, side);
        break;
    case 3:
        if (!run->goes_away) break;
        bool live = rng_percent(rng, 50), storing = rng_percent(rng, 50);
        town_tell(town, "%s is away: %d %d", node->name, live, storing);
        memory_bus_away(town->bus, rng_percent(rng, 20) ? NULL : node->name, live, storing);
        break;
    }
}

static uint64_t some_ms(struct rng *rng)
{
    if (rng_percent(rng, 60)) return rng_below(rng, 20);
    return rng_percent(rng, 80) ? rng_below(rng, 400) : rng_below(rng, 8000);
}

void run_step(struct run *run)
{
    for (uint32_t count = rng_between(&run->rng, 1, 5); count > 0; count--) act(run);
    if (rng_percent(&run->rng, 15)) suffer(run);
    town_pass(&run->town, some_ms(&run->rng));
    bury(run);
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

static void heal(struct run *run)
{
    struct town *town = &run->town;
    struct memory_faults *faults = memory_bus_faults(town->bus);
    town_tell(town, "everything heals%s", "");
    faults->lost = faults->late = faults->unheard = 0;
    memory_bus_away(town->bus, NULL, false, false);
    for (uint32_t i = 0; i < town->nodes_count; i++) {
        struct node *node = &town->nodes[i];
        memory_bus_side(town->bus, node->name, 0);
        memory_bus_rings(town->bus, node->name, 4096, 4096);
        memory_bus_datagram_max(town->bus, node->name, 64 * 1024);
        node_freeze(node, false);
        if (node->broker == NULL) node_start(node);
    }
    town_pass(town, HEAL_MS);
    bury(run);
}

/* What is published everywhere now comes to everybody, without a GAP. */
static void close_round(struct run *run)
{
    struct town *town = &run->town;
    ledger_all_hear(&run->ledger);
    run->ledger.calm = true;
    for (uint32_t i = 0; i < town->nodes_count; i++) {
        struct party *party = come(run, &town->nodes[i], LEVEL_ROUTED);
        for (uint32_t k = 0; party != NULL && k < 27; k++) {
            char topic[NAME_MAX];
            snprintf(topic, sizeof topic, "%c/%c/%u", "tus"[k / 9], 'a' + (char)(k / 3 % 3), k % 3);
            party_publish(party, topic, 0, false);
        }
    }
    town_pass(town, ARRIVE_MS);
}

/* What is retained is the same everywhere. */
static void compare_values(struct run *run)
{
    struct town *town = &run->town;
    struct party *witnesses[NODES_MAX] = {0};
    for (uint32_t i = 0; i < town->nodes_count; i++) {
        witnesses[i] = come(run, &town->nodes[i], 0);
        if (witnesses[i] != NULL) party_subscribe(witnesses[i], "#", NULL, false, false);
    }
    town_pass(town, ARRIVE_MS);
    if (!town->failed) values_judge(&run->ledger, witnesses);
    if (!town->failed && witnesses[0] != NULL) values_judge_views(&run->ledger, witnesses[0]);
}

void run_finish(struct run *run)
{
    heal(run);
    bool was_calm = run->ledger.calm;
    if (!run->town.failed) tables_judge(&run->ledger);
    if (!run->town.failed) close_round(run);
    if (!run->town.failed) compare_values(run);
    run->ledger.calm = was_calm;
    if (!run->town.failed) ledger_judge_rest(&run->ledger);
}

void run_close(struct run *run)
{
    for (uint32_t i = 0; i < run->parties_count; i++) {
        if (run->parties[i] == NULL) continue;
        if (run->parties[i]->link != NULL) town_cut(run->parties[i]->link);
        party_free(run->parties[i]);
    }
    town_close(&run->town);
    ledger_close(&run->ledger);
}

uint64_t run_digest(const struct run *run)
{
    return run->town.digest;
}
