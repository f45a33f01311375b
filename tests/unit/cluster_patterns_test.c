/* What brokers tell each other of their subscriptions: each pattern once, again when that is lost, and first levels
 * only where there are very many. */
#include "cluster_rig.h"

#include <stdio.h>

/* The core's own data, to see what it keeps. */
#include "../../broker/core/cluster/cluster.h"

static void test_interest_is_counted(void **state)
{
    struct rig *rig = rig_two(state);
    rig_client(rig, 1, 't');
    rig_sub(rig, 1, 's', 1, "a/b");
    rig_sub(rig, 1, 't', 1, "a/b");
    stage_unsub(rig->at[1], 't', 1);
    rig_run(rig);
    rig_msg(rig, 0, 'p', "a/b", "x");
    rig_expect(rig, 1, 's', "for 1 | a/b=x");
    stage_cut(rig->at[1], 's');
    rig_run(rig);
    rig_msg(rig, 0, 'p', "a/b", "y");
    assert_int_equal(rig_neighbour(rig, 0, 1)->messages_out, 1);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 0);
}

static void test_interest_that_is_lost(void **state)
{
    struct rig *rig = rig_two(state);
    memory_bus_lose(rig->bus, "two", "one", 1);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    rig_expect(rig, 1, 's', "");
    rig_pass(rig, 1500);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_expect(rig, 1, 's', RIG_HOLE " | for 1 | a=2"); /* it might have known */
}

/* What is lost while all is told anew: it is told until it has come. */
static void test_much_interest_on_a_bad_link(void **state)
{
    struct rig *rig = *state;
    char pattern[32];
    rig_start(rig, 0);
    rig_start(rig, 1);
    rig_client(rig, 0, 'p');
    rig_client(rig, 1, 's');
    for (uint32_t i = 1; i <= 2000; i++) {
        snprintf(pattern, sizeof pattern, "some/longer/%u", i);
        stage_sub(rig->at[1], 's', i, pattern, (struct mps_sub_options){0});
    }
    memory_bus_faults(rig->bus)->lost = 300;
    rig_pass(rig, 20000);
    memory_bus_faults(rig->bus)->lost = 0;
    rig_pass(rig, 4000);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 2000);
    stage_words(rig->at[1], 's');
    rig_msg(rig, 0, 'p', "some/longer/1500", "x");
    rig_expect(rig, 1, 's', "for 1500 | some/longer/1500=x");
}

/* ---- very many patterns ------------------------------------------------------------------------------------------ */

static void subscribe_many(struct rig *rig, const char *before, const char *behind, uint32_t from, uint32_t count)
{
    char pattern[64];
    for (uint32_t i = from; i < from + count; i++) {
        uint8_t room[128];
        struct mps_out out = mps_out_open(room, sizeof room);
        snprintf(pattern, sizeof pattern, "%s%u%s", before, i, behind);
        mps_encode_sub(&out, &(struct mps_sub){i, mps_text(pattern), {.given = 0}});
        stage_write(rig->at[1], 's', &out);
        if (i % 500 == 0) stage_settle(rig->at[1]);
        if (i % 500 == 0) stage_words(rig->at[1], 's');
    }
    rig_pass(rig, 3000);
    stage_words(rig->at[1], 's');
}

static void test_first_levels(void **state)
{
    struct rig *rig = rig_two(state);
    subscribe_many(rig, "a/", "", 1, 6000);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 6000);
    subscribe_many(rig, "b/", "", 6001, 6000);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 2);
    rig_msg(rig, 0, 'p', "a/17", "x");
    rig_msg(rig, 0, 'p', "c/17", "y");   /* stays */
    rig_msg(rig, 0, 'p', "b/6000", "z"); /* goes, and nobody is there */
    rig_expect(rig, 1, 's', "for 17 | a/17=x");
    assert_int_equal(rig_neighbour(rig, 0, 1)->messages_out, 2);
    for (uint32_t i = 1; i <= 7500; i++) {
        uint8_t room[32];
        struct mps_out out = mps_out_open(room, sizeof room);
        mps_encode_unsub(&out, &(struct mps_unsub){i});
        stage_write(rig->at[1], 's', &out);
        if (i % 500 > 0) continue;
        stage_settle(rig->at[1]);
        stage_words(rig->at[1], 's');
    }
    rig_pass(rig, 3000);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 4500);
    rig_msg(rig, 0, 'p', "b/9000", "w");
    stage_words(rig->at[1], 's');
    assert_int_equal(rig_neighbour(rig, 0, 1)->messages_out, 3);
}

static void test_everything(void **state)
{
    struct rig *rig = rig_two(state);
    subscribe_many(rig, "t", "/x", 1, 10001);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 1);
    rig_msg(rig, 0, 'p', "t9/x", "x");
    rig_expect(rig, 1, 's', "for 9 | t9/x=x");
}

/* No message is missing while the neighbours learn of it. */
static void test_nothing_is_missed_when_levels_are_told_instead(void **state)
{
    struct rig *rig = rig_two(state);
    subscribe_many(rig, "a/", "", 1, 10000);
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_sub(&out, &(struct mps_sub){10001, mps_text("b/x"), {.given = 0}});
    stage_send(rig->at[1], 's', &out);
    stage_words(rig->at[1], 's');
    for (int i = 0; i < 50; i++) {
        memory_bus_step(rig->bus);
        stage_msg(rig->at[0], 'p', "a/5", "x");
    }
    rig_pass(rig, 3000);
    assert_int_equal(rig_neighbour(rig, 1, 0)->messages_in, 50);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_interest_is_counted),
        TEST(test_interest_that_is_lost),
        TEST(test_much_interest_on_a_bad_link),
        TEST(test_first_levels),
        TEST(test_everything),
        TEST(test_nothing_is_missed_when_levels_are_told_instead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
