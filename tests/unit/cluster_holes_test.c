/* What is lost between brokers, or with one of them: subscribers are told that something is missing, and only then. */
#include "cluster_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The core's own data, to see what it keeps. */
#include "../../broker/core/cluster/cluster.h"

/* ---- holes ------------------------------------------------------------------------------------------------------- */

static void test_hole(void **state)
{
    struct rig *rig = *state;
    rig->topics[0] = "a/#";
    rig_two(state);
    rig_client(rig, 1, 't');
    rig_sub(rig, 1, 's', 1, "a/b");
    rig_sub(rig, 1, 't', 1, "other"); /* is no topic that could be missing */
    rig_msg(rig, 0, 'p', "a/b", "1");
    memory_bus_lose(rig->bus, "one", "two", 1);
    rig_msg(rig, 0, 'p', "a/b", "2");
    rig_msg(rig, 0, 'p', "a/b", "3");
    rig_expect(rig, 1, 's', "for 1 | a/b=1 | " RIG_HOLE " | a/b=3");
    rig_expect(rig, 1, 't', "");
    assert_int_equal(rig_neighbour(rig, 1, 0)->holes, 1);
    assert_int_equal(rig_neighbour(rig, 1, 0)->lost, 1);
}

/* What is told a moment later is not for who came meanwhile. */
static void test_holes_of_before(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_client(rig, 1, 't');
    for (int i = 0; i < 2; i++) {
        memory_bus_lose(rig->bus, "one", "two", 1);
        rig_msg(rig, 0, 'p', "a", "lost");
        rig_msg(rig, 0, 'p', "a", "x");
    }
    assert_int_equal(rig_neighbour(rig, 1, 0)->holes, 2);
    stage_sub(rig->at[1], 't', 1, "b", (struct mps_sub_options){0});
    stage_sub(rig->at[1], 't', 2, "c", (struct mps_sub_options){.given = MPS_SUB_GROUP, .group = mps_text("g")});
    stage_words(rig->at[1], 't');
    rig_pass(rig, 1000);
    rig_expect(rig, 1, 't', "");
}

static void test_hole_of_the_last_message(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a/b");
    memory_bus_lose(rig->bus, "one", "two", 1);
    rig_msg(rig, 0, 'p', "a/b", "1");
    rig_expect(rig, 1, 's', "");
    rig_pass(rig, 1500);
    rig_expect(rig, 1, 's', RIG_HOLE);
}

static void test_signs_of_life_that_are_lost_are_no_hole(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    memory_bus_lose(rig->bus, "one", "two", 2);
    rig_pass(rig, 3500);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_expect(rig, 1, 's', "for 1 | a=1 | a=2");
}

static void test_twice(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    memory_bus_faults(rig->bus)->twice = 1000;
    for (int i = 0; i < 5; i++) rig_msg(rig, 0, 'p', "a", "x");
    rig_pass(rig, 3000);
    rig_expect(rig, 1, 's', "for 1 | a=x | a=x | a=x | a=x | a=x");
}

static void reconnect(struct rig *rig)
{
    memory_bus_away(rig->bus, "one", true, false);
    rig_pass(rig, 1000);
    memory_bus_away(rig->bus, "one", false, false);
    rig_pass(rig, 1000);
}

/* Who sets limits learns of those that don't fit together before a message is lost by them. */
static void test_limits_that_do_not_fit(void **state)
{
    struct rig *rig = rig_two(state);
    memory_bus_datagram_max(rig->bus, "one", 5000);
    reconnect(rig);
    assert_non_null(strstr(rig->at[0]->logged, "take 5000 bytes at a time"));
    reconnect(rig);
    assert_null(strstr(rig->at[0]->logged, "at a time")); /* it was said */
    memory_bus_datagram_max(rig->bus, "one", 1u << 30);
    reconnect(rig);
    assert_null(strstr(rig->at[0]->logged, "at a time"));
}

static void test_too_long(void **state)
{
    struct rig *rig = rig_two(state);
    static char text[1900], expected[2200], long_one[5000];
    uint8_t *room = malloc(8192);
    struct mps_out out = mps_out_open(room, 8192);
    rig_sub(rig, 1, 's', 1, "a");
    memory_bus_datagram_max(rig->bus, "one", 4096);
    rig_pass(rig, 1000); /* it polls */
    memset(text, 'x', sizeof text - 1);
    mps_encode_msg(&out,
                   &(struct mps_msg){.topic = mps_text("a"), .payload = {(const uint8_t *)long_one, sizeof long_one}});
    stage_send(rig->at[0], 'p', &out);
    rig_msg(rig, 0, 'p', "a", text);
    snprintf(expected, sizeof expected, RIG_HOLE " | for 1 | a=%s", text);
    rig_expect(rig, 1, 's', expected);
    assert_non_null(strstr(rig->at[0]->logged, "too long"));
    free(room);
}

/* Two brokers may not agree on what they share: what is not here stays out, whatever comes. */
static void test_topics_that_are_not_shared_here(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 0);
    rig->topics[0] = "a/#";
    rig_start(rig, 1);
    rig_pass(rig, 2000);
    rig_client(rig, 0, 'p');
    rig_client(rig, 1, 's');
    rig_sub(rig, 1, 's', 1, "+/x");
    rig_msg(rig, 0, 'p', "b/x", "1");
    rig_msg(rig, 0, 'p', "a/x", "2");
    rig_msg(rig, 1, 's', "b/x", "3");
    rig_expect(rig, 1, 's', "for 1 | a/x=2 | b/x=3");
}

/* ---- coming and going -------------------------------------------------------------------------------------------- */

static void test_first_contact_is_no_hole(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    rig_client(rig, 1, 's');
    rig_sub(rig, 1, 's', 1, "a");
    rig_pass(rig, 3000);
    rig_start(rig, 0);
    rig_pass(rig, 3000);
    rig_client(rig, 0, 'p');
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 1, 's', "for 1 | a=x");
}

static void test_leaves(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "x");
    rig_leave(rig, 0);
    rig_pass(rig, 10000);
    rig_expect(rig, 1, 's', "for 1 | a=x");
    assert_false(rig_neighbour(rig, 1, 0)->is_present);
    rig_start(rig, 0);
    rig_pass(rig, 2000);
    rig_client(rig, 0, 'p');
    rig_msg(rig, 0, 'p', "a", "y");
    rig_expect(rig, 1, 's', "a=y");
}

static void test_leaves_and_the_last_words_are_lost(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    memory_bus_lose(rig->bus, "one", "two", 2);
    rig_msg(rig, 0, 'p', "a", "x");
    rig_leave(rig, 0);
    rig_pass(rig, 10000);
    rig_expect(rig, 1, 's', RIG_HOLE);
}

static void test_restarts(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "x");
    rig_crash(rig, 0);
    rig_start(rig, 0);
    rig_pass(rig, 2000);
    rig_expect(rig, 1, 's', "for 1 | a=x | " RIG_HOLE);
    rig_client(rig, 0, 'p');
    rig_msg(rig, 0, 'p', "a", "y");
    rig_expect(rig, 1, 's', "a=y");
}

static void test_crashes_and_comes_much_later(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_crash(rig, 0);
    rig_pass(rig, 10000);
    rig_expect(rig, 1, 's', RIG_HOLE);
    rig_start(rig, 0);
    rig_pass(rig, 2000);
    rig_expect(rig, 1, 's', RIG_HOLE); /* what it took until it crashed, though nobody heard of it any more */
}

static void test_subscriber_restarts(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    rig_crash(rig, 1);
    rig_start(rig, 1);
    rig_pass(rig, 2000);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 0);
    rig_client(rig, 1, 's');
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "2");
    rig_expect(rig, 1, 's', "for 1 | a=2");
}

static void test_partition(void **state)
{
    struct rig *rig = rig_two(state);
    rig_client(rig, 0, 's');
    rig_sub(rig, 0, 's', 1, "a");
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    memory_bus_side(rig->bus, "two", 1);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_pass(rig, 30000);
    assert_false(rig_neighbour(rig, 0, 1)->is_present);
    rig_msg(rig, 0, 'p', "a", "3");
    memory_bus_side(rig->bus, "two", 0);
    rig_pass(rig, 3000);
    rig_msg(rig, 0, 'p', "a", "4");
    rig_expect(rig, 0, 's', "for 1 | a=1 | a=2 | " RIG_HOLE " | a=3 | a=4"); /* nothing was published at two */
    rig_expect(rig, 1, 's', "for 1 | a=1 | " RIG_HOLE " | " RIG_HOLE " | " RIG_HOLE " | a=4");
}

/* Subscribers wait for it, and it takes messages before it knows of them. */
static void test_publishes_before_it_meets_the_others(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    rig_client(rig, 1, 's');
    rig_sub(rig, 1, 's', 1, "a");
    rig_start(rig, 0);
    rig_client(rig, 0, 'p');
    stage_msg(rig->at[0], 'p', "a", "1");
    rig_pass(rig, 2000);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_expect(rig, 1, 's', RIG_HOLE " | for 1 | a=2");
}

/* It is cut off, takes a message, and dies: of who subscribes meanwhile nobody else can know that. */
static void test_dies_cut_off(void **state)
{
    struct rig *rig = rig_two(state);
    memory_bus_side(rig->bus, "one", 1);
    rig_pass(rig, 10000);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    rig_crash(rig, 0);
    memory_bus_side(rig->bus, "one", 0);
    rig_start(rig, 0);
    rig_pass(rig, 3000);
    rig_expect(rig, 1, 's', RIG_HOLE);
}

/* It is heard of, but nothing more, and dies: what it took is missing, whether it comes back or not. */
static void dies_before_its_lane_is_heard(struct rig *rig)
{
    rig_start(rig, 1);
    rig_client(rig, 1, 's');
    rig_sub(rig, 1, 's', 1, "a");
    rig_start(rig, 0);
    rig_client(rig, 0, 'p');
    rig->now_ms += 1;
    rig->at[0]->now_ms = rig->now_ms;
    stage_msg(rig->at[0], 'p', "a", "1");
    stage_settle(rig->at[0]); /* says HERE */
    while (cluster_find(rig->at[1]->broker->cluster, mps_text("one")) == NULL) {
        memory_bus_step(rig->bus);
        if (memory_engine_ready(rig->engines[1])) broker_poll_cluster(rig->at[1]->broker);
    }
    rig_crash(rig, 0);
    rig_run(rig);
    assert_false(rig_neighbour(rig, 1, 0)->is_present);
    rig_expect(rig, 1, 's', "");
}

static void test_dies_before_its_lane_is_heard(void **state)
{
    struct rig *rig = *state;
    dies_before_its_lane_is_heard(rig);
    rig_pass(rig, 10000);
    rig_expect(rig, 1, 's', RIG_HOLE);
}

static void test_dies_before_its_lane_is_heard_and_is_back(void **state)
{
    struct rig *rig = *state;
    dies_before_its_lane_is_heard(rig);
    rig_pass(rig, 2000);
    rig_start(rig, 0);
    rig_pass(rig, 2000);
    rig_expect(rig, 1, 's', RIG_HOLE);
}

/* The others give it up, and somebody subscribes there. When it goes on it takes a message before it has heard of that.
 */
static void test_freezes(void **state)
{
    struct rig *rig = rig_two(state);
    memory_bus_freeze(rig->bus, "one", true);
    for (int i = 0; i < 200; i++) { /* as rig_pass(), but one stands still */
        rig->now_ms += 50;
        rig->at[1]->now_ms = rig->now_ms;
        memory_bus_time(rig->bus, rig->now_ms, rig->at[0]->wall_ms);
        rig_run(rig);
    }
    assert_false(rig_neighbour(rig, 1, 0)->is_present);
    rig_sub(rig, 1, 's', 1, "a");
    rig_expect(rig, 1, 's', "");
    rig->at[0]->now_ms = rig->now_ms;
    stage_msg(rig->at[0], 'p', "a", "1");
    memory_bus_freeze(rig->bus, "one", false);
    rig_pass(rig, 2000);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_expect(rig, 1, 's', RIG_HOLE " | for 1 | a=2");
}

/* Long enough for the other to be missed, but not for the others to miss it. */
static void test_short_silence(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    memory_bus_side(rig->bus, "two", 1);
    rig_pass(rig, 3000);
    memory_bus_side(rig->bus, "two", 0);
    rig_pass(rig, 3000);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_expect(rig, 1, 's', "for 1 | a=1 | a=2");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_hole),
        TEST(test_holes_of_before),
        TEST(test_hole_of_the_last_message),
        TEST(test_signs_of_life_that_are_lost_are_no_hole),
        TEST(test_twice),
        TEST(test_limits_that_do_not_fit),
        TEST(test_too_long),
        TEST(test_topics_that_are_not_shared_here),
        TEST(test_first_contact_is_no_hole),
        TEST(test_leaves),
        TEST(test_leaves_and_the_last_words_are_lost),
        TEST(test_restarts),
        TEST(test_crashes_and_comes_much_later),
        TEST(test_subscriber_restarts),
        TEST(test_partition),
        TEST(test_publishes_before_it_meets_the_others),
        TEST(test_dies_cut_off),
        TEST(test_dies_before_its_lane_is_heard),
        TEST(test_dies_before_its_lane_is_heard_and_is_back),
        TEST(test_freezes),
        TEST(test_short_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
