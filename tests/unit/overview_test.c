/* What the broker tells of its queues to whoever watches it: who is slow is counted and ranked, and the walk through
 * the queues goes on over several steps while they come and go. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_stage.h"
#include "overview.h"

#define QUEUES_A_STEP 16384 /* of overview.c: more take more than one step */

static void begin(struct stage *stage)
{
    stage->limits.max_subs_count = 100000;
    stage_start(stage);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
}

/* A subscription that is given nothing. */
static void subscribe(struct stage *stage, char link, uint32_t sid, const char *pattern, const char *group)
{
    struct mps_sub_options options = {.given = MPS_SUB_CREDIT, .credit = 0};
    if (group != NULL) options.given |= MPS_SUB_GROUP, options.group = mps_text(group);
    stage_sub(stage, link, sid, pattern, options);
}

static struct overview *look(struct stage *stage)
{
    static struct overview overview;
    broker_overview_begin(stage->broker, &overview);
    while (!broker_overview_step(stage->broker)) continue;
    return &overview;
}

static void test_the_slowest_come_first(void **state)
{
    struct stage *stage = *state;
    char topic[20];
    begin(stage);
    for (uint32_t sid = 1; sid <= OVERVIEW_SLOW_MOST + 5; sid++) {
        snprintf(topic, sizeof topic, "t/%u", sid);
        subscribe(stage, 'a', sid, topic, NULL);
    }
    for (uint32_t sid = 1; sid <= OVERVIEW_SLOW_MOST + 5; sid++) {
        snprintf(topic, sizeof topic, "t/%u",
                 sid % 2 == 0 ? sid : OVERVIEW_SLOW_MOST + 6 - sid); /* not in their order */
        stage_msg(stage, 'p', topic, "x");
        stage_pass(stage, 100);
    }
    stage_pass(stage, 900);
    const struct overview *overview = look(stage);
    assert_int_equal(overview->slow_subscriptions, OVERVIEW_SLOW_MOST + 5);
    assert_int_equal(overview->slow_count, OVERVIEW_SLOW_MOST);
    assert_int_equal(overview->queued, OVERVIEW_SLOW_MOST + 5);
    assert_int_equal(overview->lag_ms, overview->slow[0].lag_ms);
    for (size_t i = 1; i < overview->slow_count; i++)
        assert_true(overview->slow[i - 1].lag_ms > overview->slow[i].lag_ms);
    assert_string_equal(overview->slow[0].client, "a");
    stage_bye(stage, 'a', 0);
    stage_bye(stage, 'p', 0);
}

static void test_who_waits_for_less_than_a_second_is_not_slow(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe(stage, 'a', 1, "t", NULL);
    stage_msg(stage, 'p', "t", "x");
    stage_pass(stage, 999);
    assert_int_equal(look(stage)->slow_count, 0);
    assert_int_equal(look(stage)->lag_ms, 999);
    stage_pass(stage, 1);
    assert_int_equal(look(stage)->slow_count, 1);
    stage_unsub(stage, 'a', 1);
    assert_int_equal(look(stage)->slow_count, 0);
    assert_int_equal(look(stage)->lag_ms, 0);
    stage_bye(stage, 'a', 0);
    stage_bye(stage, 'p', 0);
}

static void test_groups_stay_in_their_order(void **state)
{
    struct stage *stage = *state;
    char name[20];
    begin(stage);
    for (uint32_t sid = 1; sid <= OVERVIEW_GROUPS_MOST + 3; sid++) {
        snprintf(name, sizeof name, "g%u", sid);
        subscribe(stage, 'a', sid, "t", name);
    }
    stage_msg(stage, 'p', "t", "x");
    const struct overview *overview = look(stage);
    assert_int_equal(overview->groups, OVERVIEW_GROUPS_MOST + 3);
    assert_int_equal(overview->groups_count, OVERVIEW_GROUPS_MOST);
    assert_string_equal(overview->group[0].group, "g1");
    assert_string_equal(overview->group[0].pattern, "t");
    assert_int_equal(overview->group[0].members, 1);
    assert_int_equal(overview->group[0].queued, 1);
    stage_unsub(stage, 'a', 1);
    overview = look(stage);
    assert_string_equal(overview->group[0].group, "g2");
    assert_string_equal(overview->group[OVERVIEW_GROUPS_MOST - 1].group, "g101");
    stage_bye(stage, 'a', 0);
    stage_bye(stage, 'p', 0);
}

/* The queue that comes next in the walk, all that were looked at, and all that are left go in the middle of it. */
static void test_queues_go_while_they_are_looked_through(void **state)
{
    struct stage *stage = *state;
    static struct overview overview;
    begin(stage);
    stage_hello(stage, 'b', (struct mps_hello){.id = mps_text("b")});
    for (uint32_t sid = 1; sid <= QUEUES_A_STEP; sid++) subscribe(stage, 'a', sid, "t", NULL);
    for (uint32_t sid = 1; sid <= QUEUES_A_STEP; sid++) subscribe(stage, 'b', sid, "t", NULL);
    stage_msg(stage, 'p', "t", "x");
    broker_overview_begin(stage->broker, &overview);
    assert_false(broker_overview_step(stage->broker));
    for (uint32_t sid = 1; sid <= 100; sid++) { /* whichever of them come first in the list */
        stage_unsub(stage, 'a', sid), stage_unsub(stage, 'b', sid);
        stage_unsub(stage, 'a', QUEUES_A_STEP + 1 - sid), stage_unsub(stage, 'b', QUEUES_A_STEP + 1 - sid);
    }
    while (!broker_overview_step(stage->broker)) continue;
    assert_in_range(overview.queued, 2 * QUEUES_A_STEP - 400, 2 * QUEUES_A_STEP);
    broker_overview_begin(stage->broker, &overview);
    assert_false(broker_overview_step(stage->broker));
    stage_bye(stage, 'a', 0);
    stage_bye(stage, 'b', 0);
    while (!broker_overview_step(stage->broker)) continue;
    broker_overview_begin(stage->broker, &overview);
    broker_overview_stop(stage->broker);
    assert_int_equal(look(stage)->queued, 0);
    stage_bye(stage, 'p', 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_slowest_come_first, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(test_who_waits_for_less_than_a_second_is_not_slow, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(test_groups_stay_in_their_order, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(test_queues_go_while_they_are_looked_through, stage_set_up, stage_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
