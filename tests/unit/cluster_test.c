/* Several brokers: what is published at one comes to subscribers of another, once and in order. */
#include "cluster_rig.h"

#include <stdio.h>
#include <string.h>

/* The core's own data, to see what it keeps. */
#include "../../broker/core/cluster/cluster.h"

/* ---- delivery ---------------------------------------------------------------------------------------------------- */

static void test_delivers(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a/b");
    rig_msg(rig, 0, 'p', "a/b", "x");
    rig_expect(rig, 1, 's', "for 1 | a/b=x");
    rig_msg(rig, 0, 'p', "a/c", "y");
    rig_expect(rig, 1, 's', "");
    assert_int_equal(rig_neighbour(rig, 0, 1)->messages_out, 1); /* what nobody wants does not leave */
}

static void test_delivers_both_ways_and_to_all(void **state)
{
    struct rig *rig = *state;
    rig_start_all(rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_client(rig, i, 's');
        rig_sub(rig, i, 's', 1, "a/#");
    }
    for (int i = 0; i < 3; i++) rig_msg(rig, i, 's', "a/b", rig_name(i));
    for (int i = 0; i < 3; i++) rig_expect(rig, i, 's', "for 1 | a/b=one | a/b=two | a/b=three");
}

static void test_goes_no_further(void **state)
{
    struct rig *rig = *state;
    rig_start_all(rig, 3);
    rig_client(rig, 0, 'p');
    rig_client(rig, 1, 's');
    rig_client(rig, 2, 's');
    rig_sub(rig, 1, 's', 1, "#");
    rig_sub(rig, 2, 's', 1, "#");
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 1, 's', "for 1 | a=x");
    rig_expect(rig, 2, 's', "for 1 | a=x");
    assert_int_equal(rig_neighbour(rig, 1, 2)->messages_out, 0);
}

static void test_wildcards(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "+/b");
    rig_sub(rig, 1, 's', 2, "c/#");
    rig_msg(rig, 0, 'p', "a/b", "1");
    rig_msg(rig, 0, 'p', "c", "2");
    rig_msg(rig, 0, 'p', "c/d/e", "3");
    rig_msg(rig, 0, 'p', "a/c", "4");
    rig_expect(rig, 1, 's', "for 1 | a/b=1 | for 2 | c=2 | c/d/e=3");
}

static void test_overlapping_patterns_bring_it_once_each(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a/#");
    rig_sub(rig, 1, 's', 2, "a/b");
    rig_msg(rig, 0, 'p', "a/b", "x");
    rig_expect(rig, 1, 's', "for 2 | a/b=x | for 1 | a/b=x");
    assert_int_equal(rig_neighbour(rig, 0, 1)->messages_out, 1);
}

static void test_subscribed_before_joining(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 0);
    rig_client(rig, 0, 'p');
    stage_start(rig->at[1]);
    rig_client(rig, 1, 's');
    rig_sub(rig, 1, 's', 1, "a/b");
    rig_start(rig, 1);
    rig_pass(rig, 2000);
    rig_msg(rig, 0, 'p', "a/b", "x");
    rig_expect(rig, 1, 's', "for 1 | a/b=x");
}

static void test_a_turn_is_one_datagram(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "#");
    uint64_t before = rig_neighbour(rig, 0, 1)->datagrams_out;
    for (int i = 0; i < 100; i++) stage_write_msg(rig->at[0], 'p', i % 2 ? "a" : "b", "x");
    rig_run(rig);
    assert_int_equal(rig_neighbour(rig, 0, 1)->datagrams_out, before + 1);
    assert_int_equal(rig_neighbour(rig, 1, 0)->messages_in, 100);
}

static void test_order(void **state)
{
    struct rig *rig = rig_two(state);
    char text[16], expected[40 * 300] = "for 1";
    rig_sub(rig, 1, 's', 1, "#");
    for (int i = 0; i < 300; i++) {
        snprintf(text, sizeof text, "%d", i);
        stage_write_msg(rig->at[0], 'p', i % 3 ? "a" : "b/c", text);
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), " | %s=%d", i % 3 ? "a" : "b/c", i);
        if (i % 70 == 0) rig_run(rig);
    }
    rig_run(rig);
    rig_expect(rig, 1, 's', expected);
}

static void test_more_than_a_datagram(void **state)
{
    struct rig *rig = rig_two(state);
    static char text[300];
    rig_sub(rig, 1, 's', 1, "a");
    memory_bus_datagram_max(rig->bus, "one", 4096);
    rig_pass(rig, 1000); /* it polls */
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 100; i++) stage_write_msg(rig->at[0], 'p', "a", text);
    rig_run(rig);
    assert_int_equal(rig_neighbour(rig, 1, 0)->messages_in, 100);
    assert_int_equal(rig_neighbour(rig, 1, 0)->holes, 0);
    assert_true(rig_neighbour(rig, 0, 1)->datagrams_out > 7);
}

/* ---- what is asked of each message ------------------------------------------------------------------------------- */

static void test_filter_no_local_and_props(void **state)
{
    struct rig *rig = rig_two(state);
    uint8_t props_room[32], room[128];
    stage_sub(rig->at[1], 's', 1, "a",
              (struct mps_sub_options){.given = MPS_SUB_FILTER, .filter = mps_text("bytes > 1")});
    stage_sub(rig->at[1], 's', 2, "a", (struct mps_sub_options){.given = MPS_SUB_NO_LOCAL, .no_local = true});
    rig_run(rig);
    stage_words(rig->at[1], 's');
    struct mps_out props = mps_out_open(props_room, sizeof props_room), out = mps_out_open(room, sizeof room);
    mps_put_map(&props, 1);
    mps_put_uint(&props, MPS_PROP_TTL_MS);
    mps_put_uint(&props, 1000);
    mps_encode_msg(
        &out, &(struct mps_msg){.topic = mps_text("a"), .props = mps_out_view(&props), .payload = mps_text("long")});
    mps_encode_msg(&out,
                   &(struct mps_msg){.topic = mps_text("a"), .props = mps_out_view(&props), .payload = mps_text("s")});
    stage_send(rig->at[0], 'p', &out);
    rig_run(rig);
    rig_expect(rig, 1, 's', "for 2 | a=long | a=s");
}

static void test_expires(void **state)
{
    struct rig *rig = rig_two(state);
    uint8_t props_room[32], room[128];
    rig_sub(rig, 1, 's', 1, "a");
    stage_room(rig->at[1], 's', 0);
    struct mps_out props = mps_out_open(props_room, sizeof props_room), out = mps_out_open(room, sizeof room);
    mps_put_map(&props, 1);
    mps_put_uint(&props, MPS_PROP_TTL_MS);
    mps_put_uint(&props, 1000);
    mps_encode_msg(&out,
                   &(struct mps_msg){.topic = mps_text("a"), .props = mps_out_view(&props), .payload = mps_text("x")});
    stage_send(rig->at[0], 'p', &out);
    rig_pass(rig, 2000);
    stage_room(rig->at[1], 's', STAGE_ROOM);
    rig_expect(rig, 1, 's', "gap 1 x1 reason 4");
}

/* ---- acknowledgements -------------------------------------------------------------------------------------------- */

static void pub(struct rig *rig, uint64_t pid, uint32_t flags)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){pid, flags | 1u << MPS_PUB_LEVEL_SHIFT});
    stage_send(rig->at[0], 'p', &out);
}

static void test_must_route(void **state)
{
    struct rig *rig = rig_two(state);
    pub(rig, 1, MPS_PUB_MUST_ROUTE);
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 0, 'p', "refused 1 217");
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 0, 'p', "ok 2");
    rig_expect(rig, 1, 's', "for 1 | a=x");
    rig_msg(rig, 0, 'p', "b", "x");
    rig_expect(rig, 0, 'p', "refused 3 217");
}

static void test_must_route_where_messages_are_judged(void **state)
{
    struct rig *rig = rig_two(state);
    rig_client(rig, 0, 'f');
    stage_sub(rig->at[0], 'f', 1, "a", (struct mps_sub_options){.given = MPS_SUB_FILTER, .filter = mps_text("false")});
    pub(rig, 1, MPS_PUB_MUST_ROUTE);
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 0, 'p', "refused 1 217");
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 0, 'p', "ok 2");
    rig_expect(rig, 1, 's', "for 1 | a=x");
}

static void test_somebody_elsewhere_is_somebody(void **state)
{
    struct rig *rig = rig_two(state);
    pub(rig, 1, 0);
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 0, 'p', "ok 1 nobody");
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 0, 'p', "ok 2");
}

/* ---- other publishers -------------------------------------------------------------------------------------------- */

static void test_will(void **state)
{
    struct rig *rig = rig_two(state);
    uint8_t room[64];
    struct mps_out will = mps_out_open(room, sizeof room);
    mps_put_array(&will, 4);
    mps_put_text(&will, mps_text("gone"));
    mps_put_bin(&will, mps_text("w"));
    mps_put_uint(&will, 0);
    mps_put_uint(&will, 0);
    rig_sub(rig, 1, 's', 1, "gone");
    stage_hello(rig->at[0], 'w', (struct mps_hello){.id = mps_text("w"), .will = mps_out_view(&will)});
    rig_expect(rig, 0, 'w', "welcome last 0");
    stage_cut(rig->at[0], 'w');
    rig_run(rig);
    rig_expect(rig, 1, 's', "for 1 | gone=w");
}

static void test_sys_stays(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "$SYS/broker");
    rig_pass(rig, 11000);
    assert_int_equal(rig_neighbour(rig, 0, 1)->messages_out, 0);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 0);
}

static void test_topics(void **state)
{
    struct rig *rig = *state;
    rig->topics[0] = "shared/#";
    rig->topics[1] = "b";
    rig_two(state);
    rig_sub(rig, 1, 's', 1, "#");
    rig_sub(rig, 1, 's', 2, "own/#");
    rig_msg(rig, 0, 'p', "own/a", "1");
    rig_msg(rig, 0, 'p', "shared/a", "2");
    rig_msg(rig, 0, 'p', "b", "3");
    rig_expect(rig, 1, 's', "for 1 | shared/a=2 | b=3");
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 1); /* own/# concerns nobody else */
}

static void inbox_of(struct stage *stage, char link, char inbox[64])
{
    struct mps_hello hello = {.id = mps_text("asks")};
    struct mps_welcome welcome;
    const char *what;
    mps_view frame;
    stage_hello(stage, link, hello);
    assert_int_equal(stage_take(stage, link, &frame), MPS_OP_WELCOME);
    assert_int_equal(mps_decode_welcome(frame, &welcome, &what), MPS_OK);
    assert_true(welcome.inbox.len < 64);
    memcpy(inbox, welcome.inbox.ptr, welcome.inbox.len);
    inbox[welcome.inbox.len] = '\0';
}

static void test_inbox(void **state)
{
    struct rig *rig = *state;
    char inbox[64], topic[80], expected[100];
    rig_start_all(rig, 3);
    inbox_of(rig->at[0], 'q', inbox);
    rig_client(rig, 1, 'r');
    pub(rig, 1, 0); /* nobody: there is no such client at all */
    snprintf(topic, sizeof topic, "%s/7", inbox);
    rig_msg(rig, 1, 'r', topic, "answer");
    snprintf(expected, sizeof expected, "for 0 | %s=answer", topic);
    rig_expect(rig, 0, 'q', expected);
    assert_int_equal(rig_neighbour(rig, 1, 2)->messages_out, 0);
    assert_int_equal(rig_neighbour(rig, 1, 0)->messages_out, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_delivers),
        TEST(test_delivers_both_ways_and_to_all),
        TEST(test_goes_no_further),
        TEST(test_wildcards),
        TEST(test_overlapping_patterns_bring_it_once_each),
        TEST(test_subscribed_before_joining),
        TEST(test_a_turn_is_one_datagram),
        TEST(test_order),
        TEST(test_more_than_a_datagram),
        TEST(test_filter_no_local_and_props),
        TEST(test_expires),
        TEST(test_must_route),
        TEST(test_must_route_where_messages_are_judged),
        TEST(test_somebody_elsewhere_is_somebody),
        TEST(test_will),
        TEST(test_sys_stays),
        TEST(test_topics),
        TEST(test_inbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
