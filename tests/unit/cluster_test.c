/* Several brokers: what is published at one comes to subscribers of another, once, in order, or they are told that
 * something is missing; and what others may send that must not harm. */
#include "cluster_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The core's own data, to see what it keeps. */
#include "../../broker/core/cluster/cluster.h"

#define HOLE "gap 1 x? reason 14"

static struct neighbour *at(struct rig *rig, int here, int there)
{
    struct neighbour *neighbour = cluster_find(rig->at[here]->broker->cluster, mps_text(rig_name(there)));
    assert_non_null(neighbour);
    return neighbour;
}

/* Two brokers, with a publisher `p` at the first, and a subscriber `s` at the second. */
static struct rig *two(void **state)
{
    struct rig *rig = *state;
    rig_start_all(rig, 2);
    rig_client(rig, 0, 'p');
    rig_client(rig, 1, 's');
    return rig;
}

/* ---- delivery ----------------------------------------------------------------------------------------------- */

static void test_delivers(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a/b");
    rig_msg(rig, 0, 'p', "a/b", "x");
    rig_expect(rig, 1, 's', "for 1 | a/b=x");
    rig_msg(rig, 0, 'p', "a/c", "y");
    rig_expect(rig, 1, 's', "");
    assert_int_equal(at(rig, 0, 1)->messages_out, 1); /* what nobody wants does not leave */
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
    assert_int_equal(at(rig, 1, 2)->messages_out, 0);
}

static void test_wildcards(void **state)
{
    struct rig *rig = two(state);
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
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a/#");
    rig_sub(rig, 1, 's', 2, "a/b");
    rig_msg(rig, 0, 'p', "a/b", "x");
    rig_expect(rig, 1, 's', "for 2 | a/b=x | for 1 | a/b=x");
    assert_int_equal(at(rig, 0, 1)->messages_out, 1);
}

static void test_interest_is_counted(void **state)
{
    struct rig *rig = two(state);
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
    assert_int_equal(at(rig, 0, 1)->messages_out, 1);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 0);
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

static void write_msg(struct stage *stage, char link, const char *topic, const char *text)
{
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text(text)});
    stage_write(stage, link, &out);
}

static void test_a_turn_is_one_datagram(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "#");
    uint64_t before = at(rig, 0, 1)->datagrams_out;
    for (int i = 0; i < 100; i++) write_msg(rig->at[0], 'p', i % 2 ? "a" : "b", "x");
    rig_run(rig);
    assert_int_equal(at(rig, 0, 1)->datagrams_out, before + 1);
    assert_int_equal(at(rig, 1, 0)->messages_in, 100);
}

static void test_order(void **state)
{
    struct rig *rig = two(state);
    char text[16], expected[40 * 300] = "for 1";
    rig_sub(rig, 1, 's', 1, "#");
    for (int i = 0; i < 300; i++) {
        snprintf(text, sizeof text, "%d", i);
        write_msg(rig->at[0], 'p', i % 3 ? "a" : "b/c", text);
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), " | %s=%d", i % 3 ? "a" : "b/c", i);
        if (i % 70 == 0) rig_run(rig);
    }
    rig_run(rig);
    rig_expect(rig, 1, 's', expected);
}

static void test_more_than_a_datagram(void **state)
{
    struct rig *rig = two(state);
    static char text[300];
    rig_sub(rig, 1, 's', 1, "a");
    memory_bus_datagram_max(rig->bus, "one", 4096);
    rig_pass(rig, 1000); /* it polls */
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 100; i++) write_msg(rig->at[0], 'p', "a", text);
    rig_run(rig);
    assert_int_equal(at(rig, 1, 0)->messages_in, 100);
    assert_int_equal(at(rig, 1, 0)->holes, 0);
    assert_true(at(rig, 0, 1)->datagrams_out > 7);
}

/* ---- what is asked of each message -------------------------------------------------------------------------- */

static void test_filter_no_local_and_props(void **state)
{
    struct rig *rig = two(state);
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
    struct rig *rig = two(state);
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

/* ---- acknowledgements --------------------------------------------------------------------------------------- */

static void pub(struct rig *rig, uint64_t pid, uint32_t flags)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){pid, flags | 1u << MPS_PUB_LEVEL_SHIFT});
    stage_send(rig->at[0], 'p', &out);
}

static void test_must_route(void **state)
{
    struct rig *rig = two(state);
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
    struct rig *rig = two(state);
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
    struct rig *rig = two(state);
    pub(rig, 1, 0);
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 0, 'p', "ok 1 nobody");
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 0, 'p', "ok 2");
}

/* ---- other publishers --------------------------------------------------------------------------------------- */

static void test_will(void **state)
{
    struct rig *rig = two(state);
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
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "$SYS/broker");
    rig_pass(rig, 11000);
    assert_int_equal(at(rig, 0, 1)->messages_out, 0);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 0);
}

static void test_topics(void **state)
{
    struct rig *rig = *state;
    rig->topics[0] = "shared/#";
    rig->topics[1] = "b";
    two(state);
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
    assert_int_equal(at(rig, 1, 2)->messages_out, 0);
    assert_int_equal(at(rig, 1, 0)->messages_out, 1);
}

/* ---- holes -------------------------------------------------------------------------------------------------- */

static void test_hole(void **state)
{
    struct rig *rig = *state;
    rig->topics[0] = "a/#";
    two(state);
    rig_client(rig, 1, 't');
    rig_sub(rig, 1, 's', 1, "a/b");
    rig_sub(rig, 1, 't', 1, "other"); /* is no topic that could be missing */
    rig_msg(rig, 0, 'p', "a/b", "1");
    memory_bus_lose(rig->bus, "one", "two", 1);
    rig_msg(rig, 0, 'p', "a/b", "2");
    rig_msg(rig, 0, 'p', "a/b", "3");
    rig_expect(rig, 1, 's', "for 1 | a/b=1 | " HOLE " | a/b=3");
    rig_expect(rig, 1, 't', "");
    assert_int_equal(at(rig, 1, 0)->holes, 1);
    assert_int_equal(at(rig, 1, 0)->lost, 1);
}

/* What is told a moment later is not for who came meanwhile. */
static void test_holes_of_before(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_client(rig, 1, 't');
    for (int i = 0; i < 2; i++) {
        memory_bus_lose(rig->bus, "one", "two", 1);
        rig_msg(rig, 0, 'p', "a", "lost");
        rig_msg(rig, 0, 'p', "a", "x");
    }
    assert_int_equal(at(rig, 1, 0)->holes, 2);
    stage_sub(rig->at[1], 't', 1, "b", (struct mps_sub_options){0});
    stage_sub(rig->at[1], 't', 2, "c", (struct mps_sub_options){.given = MPS_SUB_GROUP, .group = mps_text("g")});
    stage_words(rig->at[1], 't');
    rig_pass(rig, 1000);
    rig_expect(rig, 1, 't', "");
}

static void test_hole_of_the_last_message(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a/b");
    memory_bus_lose(rig->bus, "one", "two", 1);
    rig_msg(rig, 0, 'p', "a/b", "1");
    rig_expect(rig, 1, 's', "");
    rig_pass(rig, 1500);
    rig_expect(rig, 1, 's', HOLE);
}

static void test_signs_of_life_that_are_lost_are_no_hole(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    memory_bus_lose(rig->bus, "one", "two", 2);
    rig_pass(rig, 3500);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_expect(rig, 1, 's', "for 1 | a=1 | a=2");
}

static void test_twice(void **state)
{
    struct rig *rig = two(state);
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
    struct rig *rig = two(state);
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
    struct rig *rig = two(state);
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
    snprintf(expected, sizeof expected, HOLE " | for 1 | a=%s", text);
    rig_expect(rig, 1, 's', expected);
    assert_non_null(strstr(rig->at[0]->logged, "too long"));
    free(room);
}

static void test_interest_that_is_lost(void **state)
{
    struct rig *rig = two(state);
    memory_bus_lose(rig->bus, "two", "one", 1);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    rig_expect(rig, 1, 's', "");
    rig_pass(rig, 1500);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_expect(rig, 1, 's', HOLE " | for 1 | a=2"); /* it might have known */
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

/* ---- coming and going --------------------------------------------------------------------------------------- */

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
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "x");
    rig_leave(rig, 0);
    rig_pass(rig, 10000);
    rig_expect(rig, 1, 's', "for 1 | a=x");
    assert_false(at(rig, 1, 0)->is_present);
    rig_start(rig, 0);
    rig_pass(rig, 2000);
    rig_client(rig, 0, 'p');
    rig_msg(rig, 0, 'p', "a", "y");
    rig_expect(rig, 1, 's', "a=y");
}

static void test_leaves_and_the_last_words_are_lost(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a");
    memory_bus_lose(rig->bus, "one", "two", 2);
    rig_msg(rig, 0, 'p', "a", "x");
    rig_leave(rig, 0);
    rig_pass(rig, 10000);
    rig_expect(rig, 1, 's', HOLE);
}

static void test_restarts(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "x");
    rig_crash(rig, 0);
    rig_start(rig, 0);
    rig_pass(rig, 2000);
    rig_expect(rig, 1, 's', "for 1 | a=x | " HOLE);
    rig_client(rig, 0, 'p');
    rig_msg(rig, 0, 'p', "a", "y");
    rig_expect(rig, 1, 's', "a=y");
}

static void test_crashes_and_comes_much_later(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_crash(rig, 0);
    rig_pass(rig, 10000);
    rig_expect(rig, 1, 's', HOLE);
    rig_start(rig, 0);
    rig_pass(rig, 2000);
    rig_expect(rig, 1, 's', HOLE); /* what it took until it crashed, though nobody heard of it any more */
}

static void test_subscriber_restarts(void **state)
{
    struct rig *rig = two(state);
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
    struct rig *rig = two(state);
    rig_client(rig, 0, 's');
    rig_sub(rig, 0, 's', 1, "a");
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    memory_bus_side(rig->bus, "two", 1);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_pass(rig, 30000);
    assert_false(at(rig, 0, 1)->is_present);
    rig_msg(rig, 0, 'p', "a", "3");
    memory_bus_side(rig->bus, "two", 0);
    rig_pass(rig, 3000);
    rig_msg(rig, 0, 'p', "a", "4");
    rig_expect(rig, 0, 's', "for 1 | a=1 | a=2 | " HOLE " | a=3 | a=4"); /* nothing was published at two */
    rig_expect(rig, 1, 's', "for 1 | a=1 | " HOLE " | " HOLE " | " HOLE " | a=4");
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
    rig_expect(rig, 1, 's', HOLE " | for 1 | a=2");
}

/* It is cut off, takes a message, and dies: of who subscribes meanwhile nobody else can know that. */
static void test_dies_cut_off(void **state)
{
    struct rig *rig = two(state);
    memory_bus_side(rig->bus, "one", 1);
    rig_pass(rig, 10000);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    rig_crash(rig, 0);
    memory_bus_side(rig->bus, "one", 0);
    rig_start(rig, 0);
    rig_pass(rig, 3000);
    rig_expect(rig, 1, 's', HOLE);
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
    assert_false(at(rig, 1, 0)->is_present);
    rig_expect(rig, 1, 's', "");
}

static void test_dies_before_its_lane_is_heard(void **state)
{
    struct rig *rig = *state;
    dies_before_its_lane_is_heard(rig);
    rig_pass(rig, 10000);
    rig_expect(rig, 1, 's', HOLE);
}

static void test_dies_before_its_lane_is_heard_and_is_back(void **state)
{
    struct rig *rig = *state;
    dies_before_its_lane_is_heard(rig);
    rig_pass(rig, 2000);
    rig_start(rig, 0);
    rig_pass(rig, 2000);
    rig_expect(rig, 1, 's', HOLE);
}

/* The others give it up, and somebody subscribes there. When it goes on it takes a message before it has heard of that.
 */
static void test_freezes(void **state)
{
    struct rig *rig = two(state);
    memory_bus_freeze(rig->bus, "one", true);
    for (int i = 0; i < 200; i++) { /* as rig_pass(), but one stands still */
        rig->now_ms += 50;
        rig->at[1]->now_ms = rig->now_ms;
        memory_bus_time(rig->bus, rig->now_ms, rig->at[0]->wall_ms);
        rig_run(rig);
    }
    assert_false(at(rig, 1, 0)->is_present);
    rig_sub(rig, 1, 's', 1, "a");
    rig_expect(rig, 1, 's', "");
    rig->at[0]->now_ms = rig->now_ms;
    stage_msg(rig->at[0], 'p', "a", "1");
    memory_bus_freeze(rig->bus, "one", false);
    rig_pass(rig, 2000);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_expect(rig, 1, 's', HOLE " | for 1 | a=2");
}

/* Long enough for the other to be missed, but not for the others to miss it. */
static void test_short_silence(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    memory_bus_side(rig->bus, "two", 1);
    rig_pass(rig, 3000);
    memory_bus_side(rig->bus, "two", 0);
    rig_pass(rig, 3000);
    rig_msg(rig, 0, 'p', "a", "2");
    rig_expect(rig, 1, 's', "for 1 | a=1 | a=2");
}

/* ---- what must not harm ------------------------------------------------------------------------------------- */

static void inject(struct rig *rig, const struct mps_out *out)
{
    assert_false(out->full);
    memory_bus_inject(rig->bus, "two", out->buf, out->len);
    rig_run(rig);
}

/* A LANE as broker one would send it next. */
static void put_lane(struct rig *rig, struct mps_out *out, uint64_t messages)
{
    const struct cluster *one = rig->at[0]->broker->cluster;
    struct lane *lane = &at(rig, 0, 1)->lane;
    between_encode_lane(out, &(struct between_lane){.name = mps_text("one"),
                                                    .tag = {one->tag, CLUSTER_TAG_BYTES},
                                                    .boot = one->boot,
                                                    .to_boot = rig->at[1]->broker->cluster->boot,
                                                    .seq = ++lane->seq,
                                                    .messages = messages,
                                                    .told = lane->told});
}

static void put_text_msg(struct mps_out *out, const char *topic, uint32_t number)
{
    char text[16];
    snprintf(text, sizeof text, "%u", number);
    mps_encode_msg(out, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text(text)});
}

/* A LANE as broker one would send it next, and a message. */
static void put_datagram(struct rig *rig, uint64_t messages, uint32_t number)
{
    uint8_t room[256];
    struct mps_out out = mps_out_open(room, sizeof room);
    put_lane(rig, &out, messages);
    put_text_msg(&out, "a", number);
    memory_bus_inject(rig->bus, "two", out.buf, out.len);
}

/* One in each second datagram of one turn: who gets what comes between has it where it stands, all others once. */
static void test_many_holes_in_a_turn(void **state)
{
    enum { OTHERS = 2000, HOLES = 500 };
    struct rig *rig = two(state);
    static char expected[HOLES * 40];
    char pattern[16], *end = expected;
    rig_client(rig, 1, 't');
    rig_sub(rig, 1, 's', 1, "a");
    for (uint32_t i = 1; i <= OTHERS; i++) {
        snprintf(pattern, sizeof pattern, "b/%u", i);
        stage_sub(rig->at[1], 't', i, pattern, (struct mps_sub_options){0});
    }
    rig_pass(rig, 1000);
    stage_words(rig->at[1], 't');
    uint64_t work = rig->at[1]->broker->work;
    for (uint32_t i = 1; i <= HOLES; i++) {
        put_datagram(rig, 2 * i - 1, i);
        end += sprintf(end, i == 1 ? HOLE " | for 1 | a=1" : " | " HOLE " | a=%u", i);
    }
    rig_run(rig);
    rig_expect(rig, 1, 's', expected);
    assert_int_equal(at(rig, 1, 0)->holes, HOLES);
    assert_in_range(rig->at[1]->broker->work - work, 1, 10 * OTHERS);
    mps_view frame;
    for (uint32_t i = 1; i <= OTHERS; i++) assert_int_equal(stage_take(rig->at[1], 't', &frame), MPS_OP_GAP);
    assert_int_equal(stage_take(rig->at[1], 't', &frame), -1);
    put_datagram(rig, 2 * HOLES + 1, 0); /* a moment later: at once for who gets something, and for the others soon */
    rig_run(rig);
    rig_expect(rig, 1, 's', HOLE " | a=0");
    assert_int_equal(stage_take(rig->at[1], 't', &frame), -1);
    rig_pass(rig, 100);
    rig_expect(rig, 1, 's', "");
    for (uint32_t i = 1; i <= OTHERS; i++) assert_int_equal(stage_take(rig->at[1], 't', &frame), MPS_OP_GAP);
    assert_int_equal(stage_take(rig->at[1], 't', &frame), -1);
}

/* Who says with each datagram that it is another life of that broker is not believed: each would cost a look at all. */
static void test_many_lives(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_pass(rig, 2000);
    for (uint64_t boot = 1; boot <= 100; boot++) {
        uint8_t room[256];
        struct mps_out out = mps_out_open(room, sizeof room);
        between_encode_lane(&out, &(struct between_lane){.name = mps_text("one"),
                                                         .tag = {(const uint8_t *)"abc", CLUSTER_TAG_BYTES},
                                                         .boot = boot,
                                                         .to_boot = rig->at[1]->broker->cluster->boot,
                                                         .seq = 1});
        memory_bus_inject(rig->bus, "two", out.buf, out.len);
    }
    rig_run(rig);
    assert_int_equal(at(rig, 1, 0)->boot, 1);
    assert_int_equal(at(rig, 1, 0)->holes, 1);
    rig_pass(rig, 8000); /* the true one is heard again */
    stage_words(rig->at[1], 's');
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 1, 's', "for 1 | a=x");
}

/* A datagram that is not its own, with a number that it will never come to: it is deaf to that broker for a while only.
 */
static void test_number_far_ahead(void **state)
{
    struct rig *rig = two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    uint64_t seq = at(rig, 0, 1)->lane.seq;
    at(rig, 0, 1)->lane.seq = MPS_NUMBER_MAX - 1;
    put_datagram(rig, 7, 2);
    at(rig, 0, 1)->lane.seq = seq;
    rig_run(rig);
    rig_expect(rig, 1, 's', "for 1 | a=1 | " HOLE " | a=2");
    rig_msg(rig, 0, 'p', "a", "3");
    rig_pass(rig, 8000);
    assert_non_null(strstr(stage_words(rig->at[1], 's'), HOLE));
    rig_msg(rig, 0, 'p', "a", "4");
    rig_expect(rig, 1, 's', "a=4");
}

static void test_malformed(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } frames[] = {
        {"", 0},
        {"\xc1", 1},
        {"\x94", 1},
        {"\x94\x02\xa1"
         "a\xc0\xc6\xff\xff\xff\xff",
         10},                            /* a payload that is not there */
        {"\xdd\xff\xff\xff\xff\x20", 6}, /* very many fields */
        {"\x92\x22\xdd\xff\xff\xff\xff", 7},
        {"\x91\x91\x91\x91\x91\x91\x91\x91", 8}, /* deep */
        {"\x93\x01\x01\x01", 4},                 /* HELLO */
        {"\x91\x22", 2},                         /* an INTEREST without anything */
        {"\x96\x22\x01\x00\xc3\x91\xa2+a\x90", 9},
        {"\x96\x22\x01\x00\xc3\x91\xa2#a\x90", 9},     /* no pattern */
        {"\x96\x22\x01\x00\xc3\x91\xa2$a\x90", 9},     /* reserved */
        {"\x96\x22\x01\x09\xc3\x90\x90", 7},           /* no kind */
        {"\x96\x22\x01\x02\xc3\x90\x91\x91\xa1g", 10}, /* a group without a pattern */
        {"\x96\x22\x01\x02\xc3\x90\x91\x92\xa0\xa1g", 11},
        {"\x94\x02\xa1"
         "+\xc0\xc4\x00",
         7}, /* no topic */
        {"\x94\x02\xa4$SYS\xc0\xc4\x00", 10},
        {"\x94\x02\xa6$inbox\xc0\xc4\x00", 12},
        {"\x94\x02\xa1"
         "a\x81\x04\xa1x\xc4\x00",
         10},                    /* bad properties */
        {"\x92\x15\xcc\x80", 4}, /* BYE */
    };
    struct rig *rig = two(state);
    uint8_t room[512];
    rig_sub(rig, 1, 's', 1, "#");
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        struct mps_out out = mps_out_open(room, sizeof room);
        mps_put_raw(&out, (mps_view){(const uint8_t *)frames[i].bytes, (uint32_t)frames[i].len});
        inject(rig, &out); /* instead of a LANE */
        out.len = 0;
        put_lane(rig, &out, 0);
        write_msg(rig->at[0], 'p', "x", ""); /* makes room for the counts below to differ */
        mps_put_raw(&out, (mps_view){(const uint8_t *)frames[i].bytes, (uint32_t)frames[i].len});
        rig->at[0]->links['p' - 'a'].out_len = 0;
        inject(rig, &out); /* behind one */
    }
    rig_expect(rig, 1, 's', "");
    assert_int_equal(at(rig, 1, 0)->malformed,
                     sizeof frames / sizeof frames[0] - 1); /* nothing behind a LANE is good */
    assert_true(at(rig, 1, 0)->is_present);
    rig_pass(rig, 2000);
    rig_msg(rig, 0, 'p', "a", "fine");
    rig_expect(rig, 1, 's', "for 1 | a=fine");
}

/* What stands before the bad frame is delivered, what is behind it is missing, and that is seen. */
static void test_malformed_in_the_middle(void **state)
{
    struct rig *rig = two(state);
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    rig_sub(rig, 1, 's', 1, "#");
    put_lane(rig, &out, 0);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a"), .payload = mps_text("1")});
    mps_put_raw(&out, (mps_view){(const uint8_t *)"\xc1", 1});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a"), .payload = mps_text("2")});
    at(rig, 0, 1)->lane.messages = 2;
    inject(rig, &out);
    rig_msg(rig, 0, 'p', "a", "3");
    rig_expect(rig, 1, 's', "for 1 | a=1 | " HOLE " | a=3");
}

static void test_truncated_anywhere(void **state)
{
    struct rig *rig = two(state);
    uint8_t room[1024];
    struct mps_out out = mps_out_open(room, sizeof room);
    rig_sub(rig, 1, 's', 1, "#");
    put_lane(rig, &out, 0);
    between_encode_interest(&out, &(struct between_interest){.version = 2, .kind = INTEREST_ADD, .count = 1},
                            &(struct between_item){.pattern = mps_text("a/#")});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a"), .payload = mps_text("1")});
    uint32_t len = out.len;
    for (out.len = 0; out.len < len; out.len++) inject(rig, &out);
    rig_pass(rig, 2000);
    rig_msg(rig, 0, 'p', "a", "2");
    const char *words = stage_words(rig->at[1], 's');
    assert_non_null(strstr(words, "a=2"));
    assert_null(strstr(words, "a=1"));
}

static void test_bits_that_flip(void **state)
{
    struct rig *rig = two(state);
    uint8_t room[1024], broken[1024];
    struct mps_out out = mps_out_open(room, sizeof room);
    rig_sub(rig, 1, 's', 1, "#");
    put_lane(rig, &out, 0);
    between_encode_interest(
        &out, &(struct between_interest){.version = 2, .kind = INTEREST_ADD, .count = 1, .groups_count = 1},
        (struct between_item[]){{.pattern = mps_text("a/#")}, {.group = mps_text("g"), .pattern = mps_text("b")}});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a"), .payload = mps_text("1")});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a/b/c"), .payload = mps_text("22")});
    for (uint32_t bit = 0; bit < 8 * out.len; bit++) {
        struct mps_out flipped = mps_out_open(broken, sizeof broken);
        memcpy(broken, room, out.len);
        broken[bit / 8] ^= (uint8_t)(1u << bit % 8);
        flipped.len = out.len;
        inject(rig, &flipped); /* whatever it does, it stays within its memory */
    }
    assert_non_null(rig->at[1]->broker);
}

static void test_our_own_name(void **state)
{
    struct rig *rig = two(state);
    uint8_t room[128];
    struct mps_out out = mps_out_open(room, sizeof room);
    between_encode_here(
        &out, &(struct between_here){
                  .name = mps_text("two"), .tag = {(const uint8_t *)"abc", 3}, .boot = 7, .software = mps_text("x")});
    inject(rig, &out);
    assert_non_null(strstr(rig->at[1]->logged, "this one's name"));
    out = mps_out_open(room, sizeof room); /* one that does not say what it is */
    mps_put_array(&out, 6);
    mps_put_uint(&out, BETWEEN_HERE);
    mps_put_uint(&out, BETWEEN_VERSION);
    mps_put_text(&out, mps_text("three"));
    mps_put_uint(&out, 7);
    mps_put_bin(&out, mps_text("abc"));
    mps_put_map(&out, 0);
    inject(rig, &out);
    assert_string_equal(at(rig, 1, 2)->software, "");
    assert_null(cluster_find(rig->at[1]->broker->cluster, mps_text("two")));
}

static void test_a_crowd(void **state)
{
    struct rig *rig = two(state);
    char name[16];
    uint8_t room[128];
    rig_sub(rig, 1, 's', 1, "a");
    for (uint32_t i = 0; i < 3 * NEIGHBOURS_MAX; i++) {
        struct mps_out out = mps_out_open(room, sizeof room);
        snprintf(name, sizeof name, "x%u", i);
        between_encode_here(&out, &(struct between_here){.name = mps_text(name),
                                                         .tag = {(const uint8_t *)"abc", 3},
                                                         .boot = 7,
                                                         .software = mps_text("x")});
        inject(rig, &out);
    }
    assert_int_equal(rig->at[1]->broker->cluster->neighbours_count, NEIGHBOURS_MAX);
    assert_true(at(rig, 1, 0)->is_present); /* who is there keeps its place */
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 1, 's', "for 1 | a=x");
}

static void test_what_is_late_of_a_former_life(void **state)
{
    struct rig *rig = two(state);
    uint8_t room[128];
    struct mps_out out = mps_out_open(room, sizeof room);
    rig_sub(rig, 1, 's', 1, "a");
    put_lane(rig, &out, 0);
    rig_crash(rig, 0);
    rig_start(rig, 0);
    rig_pass(rig, 2000);
    rig_expect(rig, 1, 's', HOLE);
    uint64_t boot = at(rig, 1, 0)->boot;
    inject(rig, &out);
    assert_int_equal(at(rig, 1, 0)->boot, boot);
    rig_expect(rig, 1, 's', "");
}

/* It came first, and is taken for the life that the broker has: once nothing more comes of it, the true one is heard.
 */
static void test_a_former_life_that_came_too_late(void **state)
{
    struct rig *rig = two(state);
    uint8_t room[128];
    struct mps_out out = mps_out_open(room, sizeof room);
    rig_sub(rig, 1, 's', 1, "a");
    rig_pass(rig, 1000);
    between_encode_here(
        &out, &(struct between_here){
                  .name = mps_text("one"), .tag = {(const uint8_t *)"abc", 3}, .boot = 7, .software = mps_text("x")});
    inject(rig, &out);
    assert_int_equal(at(rig, 1, 0)->boot, 7);
    rig_pass(rig, 10000);
    assert_int_equal(at(rig, 1, 0)->boot, rig->at[0]->broker->cluster->boot);
    stage_words(rig->at[1], 's');
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 1, 's', "for 1 | a=x");
}

/* ---- very many patterns ------------------------------------------------------------------------------------- */

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
    struct rig *rig = two(state);
    subscribe_many(rig, "a/", "", 1, 6000);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 6000);
    subscribe_many(rig, "b/", "", 6001, 6000);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 2);
    rig_msg(rig, 0, 'p', "a/17", "x");
    rig_msg(rig, 0, 'p', "c/17", "y");   /* stays */
    rig_msg(rig, 0, 'p', "b/6000", "z"); /* goes, and nobody is there */
    rig_expect(rig, 1, 's', "for 17 | a/17=x");
    assert_int_equal(at(rig, 0, 1)->messages_out, 2);
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
    assert_int_equal(at(rig, 0, 1)->messages_out, 3);
}

static void test_everything(void **state)
{
    struct rig *rig = two(state);
    subscribe_many(rig, "t", "/x", 1, 10001);
    assert_int_equal(rig->at[0]->broker->cluster->far_patterns.count, 1);
    rig_msg(rig, 0, 'p', "t9/x", "x");
    rig_expect(rig, 1, 's', "for 9 | t9/x=x");
}

/* No message is missing while the neighbours learn of it. */
static void test_nothing_is_missed_when_levels_are_told_instead(void **state)
{
    struct rig *rig = two(state);
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
    assert_int_equal(at(rig, 1, 0)->messages_in, 50);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_delivers),
        TEST(test_delivers_both_ways_and_to_all),
        TEST(test_goes_no_further),
        TEST(test_wildcards),
        TEST(test_overlapping_patterns_bring_it_once_each),
        TEST(test_interest_is_counted),
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
        TEST(test_hole),
        TEST(test_holes_of_before),
        TEST(test_hole_of_the_last_message),
        TEST(test_signs_of_life_that_are_lost_are_no_hole),
        TEST(test_twice),
        TEST(test_limits_that_do_not_fit),
        TEST(test_too_long),
        TEST(test_interest_that_is_lost),
        TEST(test_much_interest_on_a_bad_link),
        TEST(test_topics_that_are_not_shared_here),
        TEST(test_many_holes_in_a_turn),
        TEST(test_many_lives),
        TEST(test_number_far_ahead),
        TEST(test_first_contact_is_no_hole),
        TEST(test_leaves),
        TEST(test_leaves_and_the_last_words_are_lost),
        TEST(test_restarts),
        TEST(test_crashes_and_comes_much_later),
        TEST(test_subscriber_restarts),
        TEST(test_partition),
        TEST(test_short_silence),
        TEST(test_publishes_before_it_meets_the_others),
        TEST(test_dies_cut_off),
        TEST(test_dies_before_its_lane_is_heard),
        TEST(test_dies_before_its_lane_is_heard_and_is_back),
        TEST(test_freezes),
        TEST(test_a_former_life_that_came_too_late),
        TEST(test_malformed),
        TEST(test_malformed_in_the_middle),
        TEST(test_truncated_anywhere),
        TEST(test_bits_that_flip),
        TEST(test_our_own_name),
        TEST(test_a_crowd),
        TEST(test_what_is_late_of_a_former_life),
        TEST(test_first_levels),
        TEST(test_everything),
        TEST(test_nothing_is_missed_when_levels_are_told_instead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
