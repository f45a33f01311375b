#include "cluster_rig.h"

#include <stdlib.h>

/* The core's own calls and data, to end a broker without a word, and to see what it keeps. */
#include "../../broker/core/cluster/cluster.h"

#define STEP_MS 50u
#define ROUNDS_MAX 10000

static const char *const names[RIG_BROKERS] = {"one", "two", "three", "four"};

const char *rig_name(int number)
{
    return names[number];
}

int rig_set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);
    if (rig == NULL) return -1;
    rig->bus = memory_bus_new(1);
    rig->now_ms = 1000000;
    for (int i = 0; i < RIG_BROKERS; i++) {
        void *stage;
        if (stage_set_up(&stage) != 0) return -1;
        rig->at[i] = stage;
        rig->at[i]->random = (uint64_t)i + 1;
        rig->at[i]->now_ms = rig->now_ms;
    }
    memory_bus_time(rig->bus, rig->now_ms, rig->at[0]->wall_ms);
    *state = rig;
    return 0;
}

int rig_tear_down(void **state)
{
    struct rig *rig = *state;
    for (int i = 0; i < RIG_BROKERS; i++) {
        if (rig->engines[i] != NULL) rig_leave(rig, i);
        void *stage = rig->at[i];
        stage_tear_down(&stage);
    }
    memory_bus_free(rig->bus);
    free(rig);
    return 0;
}

void rig_start(struct rig *rig, int number)
{
    static const char *const all[] = {"#"};
    struct stage *stage = rig->at[number];
    char text[STORE_TEXT_MAX];
    struct cluster_config config = {.name = names[number], .topics = all, .topics_count = 1};
    if (rig->topics[0] != NULL) {
        config.topics = rig->topics;
        config.topics_count = 0;
        while (config.topics_count < 4 && rig->topics[config.topics_count] != NULL) config.topics_count++;
    }
    rig->engines[number] = memory_engine_open(
        rig->bus, &(struct engine_options){.name = names[number], .defer_ms = 10000, .defer_bytes = 1 << 20});
    if (stage->broker == NULL) stage_start(stage);
    assert_int_equal(broker_join(stage->broker, rig->engines[number], &config, text, sizeof text), 0);
}

void rig_start_all(struct rig *rig, int count)
{
    for (int i = 0; i < count; i++) rig_start(rig, i);
    rig_pass(rig, 100);
}

struct rig *rig_two(void **state)
{
    struct rig *rig = *state;
    rig_start_all(rig, 2);
    rig_client(rig, 0, 'p');
    rig_client(rig, 1, 's');
    return rig;
}

void rig_leave(struct rig *rig, int number)
{
    broker_leave(rig->at[number]->broker);
    rig->engines[number]->close(rig->engines[number]);
    rig->engines[number] = NULL;
    stage_stop(rig->at[number]);
}

void rig_crash(struct rig *rig, int number)
{
    cluster_free(rig->at[number]->broker);
    memory_engine_crash(rig->engines[number], false);
    rig->engines[number] = NULL;
    stage_stop(rig->at[number]);
}

void rig_freeze(struct rig *rig, int number, bool is_frozen)
{
    memory_bus_freeze(rig->bus, names[number], is_frozen);
    rig->is_frozen[number] = is_frozen;
}

void rig_run(struct rig *rig)
{
    bool more = true;
    for (int rounds = 0; more && rounds < ROUNDS_MAX; rounds++) {
        more = false;
        for (int i = 0; i < RIG_BROKERS; i++) {
            if (rig->engines[i] == NULL || rig->is_frozen[i]) continue;
            if (memory_engine_ready(rig->engines[i])) {
                broker_poll_cluster(rig->at[i]->broker);
                more = true;
            }
            stage_settle(rig->at[i]);
        }
        if (memory_bus_run(rig->bus) > 0) more = true;
    }
    assert_false(more); /* else they never come to rest */
}

static void step(struct rig *rig, uint64_t ms)
{
    rig->now_ms += ms;
    for (int i = 0; i < RIG_BROKERS; i++) {
        rig->at[i]->now_ms = rig->now_ms; /* clocks go on for all */
        rig->at[i]->wall_ms += ms;
    }
    memory_bus_time(rig->bus, rig->now_ms, rig->at[0]->wall_ms);
    rig_run(rig);
}

void rig_pass(struct rig *rig, uint64_t ms)
{
    rig_run(rig);
    for (; ms > STEP_MS; ms -= STEP_MS) step(rig, STEP_MS);
    step(rig, ms);
}

struct neighbour *rig_neighbour(struct rig *rig, int here, int there)
{
    struct neighbour *neighbour = cluster_find(rig->at[here]->broker->cluster, mps_text(rig_name(there)));
    assert_non_null(neighbour);
    return neighbour;
}

void rig_client(struct rig *rig, int number, char link)
{
    char id[2] = {link, '\0'};
    stage_hello(rig->at[number], link, (struct mps_hello){.id = mps_text(id)});
    rig_expect(rig, number, link, "welcome last 0");
}

void rig_sub(struct rig *rig, int number, char link, uint32_t sid, const char *pattern)
{
    stage_sub(rig->at[number], link, sid, pattern, (struct mps_sub_options){0});
    rig_run(rig);
    stage_words(rig->at[number], link);
}

void rig_msg(struct rig *rig, int number, char link, const char *topic, const char *text)
{
    stage_msg(rig->at[number], link, topic, text);
    rig_run(rig);
}
