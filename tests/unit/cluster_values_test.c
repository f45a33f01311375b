/* SUB with scope = cluster, and retained values that are set elsewhere at that moment: each of them comes, as a
 * retained value or as a message behind that, and none comes that is older than what came before. `s` subscribes at the
 * first broker, `p` publishes at the second one; records come when the test lets them. */
#include "cluster_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The core's own frames, to speak as a broker that is none. */
#include "../../broker/core/cluster/cluster.h"

static struct rig *some(void **state, int count)
{
    struct rig *rig = *state;
    rig_start_all(rig, count);
    rig_pass(rig, 3000);
    rig_client(rig, 0, 's');
    rig_client(rig, 1, 'p');
    return rig;
}

/* Its broker has it, and the others nothing yet. text "": the value goes. */
static void set(struct rig *rig, int number, char link, const char *topic, const char *text)
{
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){.flags = MPS_PUB_RETAIN});
    stage_send(rig->at[number], link, &out);
    stage_msg(rig->at[number], link, topic, text);
    stage_settle(rig->at[number]);
}

/* Likewise. */
static void ask(struct rig *rig, uint32_t sid, const char *pattern)
{
    stage_sub(rig->at[0], 's', sid, pattern,
              (struct mps_sub_options){.given = MPS_SUB_SCOPE, .scope = MPS_SCOPE_CLUSTER});
    stage_settle(rig->at[0]);
}

static struct memory_faults *faults(const struct rig *rig)
{
    return memory_bus_faults(rig->bus);
}

/* ---- what was set before the others knew of it ---------------------------------------------------------------- */

static void test_record_is_under_way(void **state)
{
    struct rig *rig = some(state, 2);
    faults(rig)->record_ms = 500;
    set(rig, 1, 'p', "a", "x");
    ask(rig, 1, "a");
    rig_pass(rig, 450);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 100);
    rig_expect(rig, 0, 's', "suback 1 | for 1 flags 1 | a=x | mark 1 1");
    rig_pass(rig, 1000);
    rig_expect(rig, 0, 's', "");
}

static void test_put_is_under_way(void **state)
{
    struct rig *rig = some(state, 2);
    faults(rig)->put_ms = 500;
    set(rig, 1, 'p', "a/b", "x");
    ask(rig, 1, "a/#");
    rig_pass(rig, 450);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 100);
    rig_expect(rig, 0, 's', "suback 1 | for 1 flags 1 | a/b=x | mark 1 1");
}

/* Others here were subscribed to it, so that it came before the SUB, and to them only. */
static void test_came_as_a_message_before(void **state)
{
    struct rig *rig = some(state, 2);
    rig_client(rig, 0, 'o');
    rig_sub(rig, 0, 'o', 1, "a");
    faults(rig)->record_ms = 500;
    set(rig, 1, 'p', "a", "x");
    rig_run(rig);
    rig_expect(rig, 0, 'o', "for 1 | a=x");
    ask(rig, 1, "a");
    rig_run(rig);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 500);
    rig_expect(rig, 0, 's', "suback 1 | for 1 flags 1 | a=x | mark 1 1");
    rig_expect(rig, 0, 'o', "");
}

static void test_another_value_is_under_way(void **state)
{
    struct rig *rig = some(state, 2);
    set(rig, 1, 'p', "a", "old");
    set(rig, 1, 'p', "b", "same");
    rig_pass(rig, 100);
    faults(rig)->record_ms = 500;
    set(rig, 1, 'p', "a", "new");
    ask(rig, 1, "#");
    rig_pass(rig, 600);
    rig_expect(rig, 0, 's', "suback 1 | for 1 flags 1 | b=same | a=new | mark 1 1");
}

static void test_removal_is_under_way(void **state)
{
    struct rig *rig = some(state, 2);
    set(rig, 1, 'p', "a", "old");
    rig_pass(rig, 100);
    faults(rig)->record_ms = 500;
    set(rig, 1, 'p', "a", "");
    ask(rig, 1, "a");
    rig_pass(rig, 400);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 100);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
}

/* What is set after they knew comes as a message, and only so. */
static void test_set_once_more_meanwhile(void **state)
{
    struct rig *rig = some(state, 2);
    faults(rig)->record_ms = 500;
    set(rig, 1, 'p', "a", "first");
    ask(rig, 1, "a");
    rig_pass(rig, 100);
    set(rig, 1, 'p', "a", "second");
    rig_pass(rig, 450);
    rig_expect(rig, 0, 's', "suback 1 | for 1 flags 1 | a=first | mark 1 1 | for 1 | a=second");
    rig_pass(rig, 1000);
    rig_expect(rig, 0, 's', "");
}

/* The first one's record has gone before it was told. */
static void test_replaced_meanwhile(void **state)
{
    struct rig *rig = some(state, 2);
    faults(rig)->record_ms = 500;
    faults(rig)->coalesced = 1000;
    set(rig, 1, 'p', "a", "first");
    ask(rig, 1, "a");
    rig_pass(rig, 100);
    set(rig, 1, 'p', "a", "second");
    rig_pass(rig, 1000);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1 | for 1 | a=second");
}

/* The subscription has a value that is set at its own broker once, as a message. */
static void test_set_here_meanwhile(void **state)
{
    struct rig *rig = some(state, 2);
    rig_client(rig, 0, 'q');
    faults(rig)->record_ms = 500;
    set(rig, 1, 'p', "a", "far");
    ask(rig, 1, "#");
    rig_pass(rig, 100);
    set(rig, 0, 'q', "b", "near");
    rig_pass(rig, 1000);
    rig_expect(rig, 0, 's', "suback 1 | for 1 flags 1 | a=far | mark 1 1 | for 1 | b=near");
}

/* Of two that are set at once the one that comes last in the order of records is what all end with. */
static void test_conflict(void **state)
{
    struct rig *rig = some(state, 2);
    rig_client(rig, 0, 'q');
    faults(rig)->record_ms = 500;
    set(rig, 0, 'q', "a", "near");
    set(rig, 1, 'p', "a", "far");
    ask(rig, 1, "a");
    rig_pass(rig, 1000);
    rig_expect(rig, 0, 's', "suback 1 | for 1 flags 1 | a=far | mark 1 1");
}

/* Two neighbours, each with its own, and several subscriptions in one turn and in different ones. */
static void test_several(void **state)
{
    struct rig *rig = some(state, 3);
    rig_client(rig, 2, 'r');
    faults(rig)->put_ms = 200;
    set(rig, 1, 'p', "a", "1");
    ask(rig, 1, "a");
    ask(rig, 2, "+");
    rig_pass(rig, 100);
    set(rig, 2, 'r', "b", "2"); /* which one of them has as a message */
    ask(rig, 3, "b");
    rig_pass(rig, 110);
    rig_expect(rig, 0, 's',
               "suback 1 | suback 2 | for 1 flags 1 | a=1 | mark 1 1 | for 2 flags 1 | a=1 | mark 2 1 | for 2 | b=2");
    rig_pass(rig, 200);
    rig_expect(rig, 0, 's', "suback 3 | mark 3 1 | for 3 | b=2");
}

/* A message that was sent before others knew that nobody here wants it any more comes behind what is newer: the value
 * that was set when they did know, of which there was no message. */
static void test_older_message_is_under_way(void **state)
{
    struct rig *rig = some(state, 2);
    rig_client(rig, 0, 'o');
    rig_sub(rig, 0, 'o', 1, "a");
    faults(rig)->delay_ms = 200;
    set(rig, 1, 'p', "a", "older");
    faults(rig)->delay_ms = 0;
    stage_unsub(rig->at[0], 'o', 1);
    rig_run(rig);
    set(rig, 1, 'p', "a", "newer");
    rig_run(rig);
    ask(rig, 1, "a");
    ask(rig, 2, "b"); /* nothing has come for it, so that it is clear */
    rig_pass(rig, 150);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 200);
    rig_expect(rig, 0, 's', "suback 2 | mark 2 1 | suback 1 | for 1 | a=older | for 1 flags 1 | a=newer | mark 1 1");
}

/* ---- who waits, and for how long ------------------------------------------------------------------------------ */

/* Who gets no retained values waits for the others only. */
static void test_without_values(void **state)
{
    struct rig *rig = some(state, 2);
    faults(rig)->record_ms = 500;
    set(rig, 1, 'p', "a", "x");
    ask(rig, 1, "a");
    stage_sub(
        rig->at[0], 's', 2, "a",
        (struct mps_sub_options){.given = MPS_SUB_SCOPE | MPS_SUB_RETAINED, .scope = MPS_SCOPE_CLUSTER, .retained = 2});
    stage_sub(rig->at[0], 's', 3, "a",
              (struct mps_sub_options){
                  .given = MPS_SUB_SCOPE | MPS_SUB_GROUP, .scope = MPS_SCOPE_CLUSTER, .group = mps_text("g")});
    rig_pass(rig, 400);
    rig_expect(rig, 0, 's', "suback 2 | suback 3 | mark 3 1");
    rig_pass(rig, 100);
    rig_expect(rig, 0, 's', "suback 1 | for 1 flags 1 | a=x | mark 1 1");
}

/* The values that others set meanwhile are none that were set before. */
static void test_others_go_on_setting(void **state)
{
    struct rig *rig = some(state, 2);
    faults(rig)->put_ms = 200;
    for (int i = 0; i < 20; i++) {
        char text[8];
        snprintf(text, sizeof text, "%d", i);
        set(rig, 1, 'p', i % 2 == 0 ? "a" : "b", text);
        ask(rig, (uint32_t)i + 1, "none");
        rig_pass(rig, 50);
    }
    mps_view frame;
    int answers = 0;
    for (int op; (op = stage_take(rig->at[0], 's', &frame)) >= 0;) answers += op == MPS_OP_SUBACK;
    assert_in_range(answers, 10, 19);
    rig_pass(rig, 500);
    for (int op; (op = stage_take(rig->at[0], 's', &frame)) >= 0;) answers += op == MPS_OP_SUBACK;
    assert_int_equal(answers, 20);
}

static void test_records_are_late(void **state)
{
    struct rig *rig = some(state, 2);
    faults(rig)->record_ms = 60000;
    set(rig, 1, 'p', "a", "x");
    ask(rig, 1, "a");
    rig_pass(rig, 9900);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 100);
    rig_expect(rig, 0, 's', "suback 1 local | mark 1 1");
}

/* The other one can't put what was set. Where nothing was, nobody waits. */
static void test_records_are_away_there(void **state)
{
    struct rig *rig = some(state, 2);
    memory_bus_away(rig->bus, "two", false, true);
    rig_run(rig);
    ask(rig, 1, "a");
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
    set(rig, 1, 'p', "b", "x");
    ask(rig, 2, "b");
    rig_pass(rig, 1900);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 200);
    rig_expect(rig, 0, 's', "suback 2 local | mark 2 1");
    memory_bus_away(rig->bus, "two", false, false);
    rig_run(rig);
    ask(rig, 3, "b");
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 3 | for 3 flags 1 | b=x | mark 3 1");
}

static void test_records_are_back_there(void **state)
{
    struct rig *rig = some(state, 2);
    memory_bus_away(rig->bus, "two", false, true);
    rig_run(rig);
    set(rig, 1, 'p', "a", "x");
    ask(rig, 1, "a");
    rig_pass(rig, 1000);
    rig_expect(rig, 0, 's', "");
    memory_bus_away(rig->bus, "two", false, false);
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | for 1 flags 1 | a=x | mark 1 1");
}

static void test_records_are_away_here(void **state)
{
    struct rig *rig = some(state, 2);
    memory_bus_away(rig->bus, "one", false, true);
    rig_run(rig);
    ask(rig, 1, "a");
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
    set(rig, 1, 'p', "b", "x");
    ask(rig, 2, "b");
    rig_pass(rig, 1900);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 200);
    rig_expect(rig, 0, 's', "suback 2 local | mark 2 1");
    ask(rig, 3, "b");
    rig_pass(rig, 1000);
    memory_bus_away(rig->bus, "one", false, false);
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 3 | for 3 flags 1 | b=x | mark 3 1");
}

static void test_leaves_meanwhile(void **state)
{
    struct rig *rig = some(state, 3);
    faults(rig)->put_ms = 5000;
    set(rig, 1, 'p', "a", "x");
    ask(rig, 1, "a");
    rig_pass(rig, 100);
    rig_expect(rig, 0, 's', "");
    rig_leave(rig, 1);
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
}

/* Who is dead is waited for until that is known. */
static void test_crashes_meanwhile(void **state)
{
    struct rig *rig = some(state, 2);
    faults(rig)->put_ms = 60000;
    set(rig, 1, 'p', "a", "x");
    ask(rig, 1, "a");
    rig_pass(rig, 100);
    rig_crash(rig, 1);
    rig_pass(rig, 3000);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 2500);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1 | gap 1 x? reason 14");
}

/* ---- revisions that never come -------------------------------------------------------------------------------- */

/* Who begins is not told what was removed before. */
static void test_removed_before_it_began(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    rig_client(rig, 1, 'p');
    rig_pass(rig, 100);
    set(rig, 1, 'p', "a", "x");
    set(rig, 1, 'p', "a", "");
    rig_pass(rig, 100);
    rig_start(rig, 0);
    rig_client(rig, 0, 's');
    rig_pass(rig, 3000);
    ask(rig, 1, "a");
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
}

/* All are gone, and their numbers begin anew. */
static void test_records_are_lost(void **state)
{
    struct rig *rig = some(state, 2);
    for (int i = 0; i < 5; i++) set(rig, 1, 'p', "a", "x");
    rig_pass(rig, 100);
    memory_bus_lose_records(rig->bus);
    rig_pass(rig, 100);
    ask(rig, 1, "a");
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
    faults(rig)->record_ms = 500;
    set(rig, 1, 'p', "b", "y");
    ask(rig, 2, "b");
    rig_pass(rig, 400);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 100);
    rig_expect(rig, 0, 's', "suback 2 | for 2 flags 1 | b=y | mark 2 1");
}

/* ---- who comes back ------------------------------------------------------------------------------------------- */

/* A datagram of before, when its broker was missed since. */
static void test_old_datagram_of_who_was_missed(void **state)
{
    struct rig *rig = some(state, 2);
    rig_sub(rig, 0, 's', 1, "a");
    const struct cluster *one = rig->at[0]->broker->cluster, *two = rig->at[1]->broker->cluster;
    const struct neighbour *from = cluster_find(one, mps_text("two"));
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    between_encode_lane(&out, &(struct between_lane){.name = mps_text("two"),
                                                     .tag = {two->tag, CLUSTER_TAG_BYTES},
                                                     .boot = two->boot,
                                                     .to_boot = one->boot,
                                                     .seq = from->seq + 1,
                                                     .messages = from->messages,
                                                     .told = from->version});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a"), .payload = mps_text("x")});
    rig_msg(rig, 1, 'p', "a", "x");
    rig_expect(rig, 0, 's', "for 1 | a=x");
    rig_freeze(rig, 1, true);
    rig_pass(rig, 6000);
    rig_expect(rig, 0, 's', "gap 1 x? reason 14");
    memory_bus_inject(rig->bus, "one", out.buf, out.len);
    rig_run(rig);
    rig_expect(rig, 0, 's', "");
    rig_freeze(rig, 1, false);
    rig_pass(rig, 2000);
    rig_msg(rig, 1, 'p', "a", "y");
    rig_expect(rig, 0, 's', "gap 1 x? reason 14 | a=y");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_record_is_under_way),
        TEST(test_put_is_under_way),
        TEST(test_came_as_a_message_before),
        TEST(test_another_value_is_under_way),
        TEST(test_removal_is_under_way),
        TEST(test_set_once_more_meanwhile),
        TEST(test_replaced_meanwhile),
        TEST(test_set_here_meanwhile),
        TEST(test_conflict),
        TEST(test_several),
        TEST(test_older_message_is_under_way),
        TEST(test_without_values),
        TEST(test_others_go_on_setting),
        TEST(test_records_are_late),
        TEST(test_records_are_away_there),
        TEST(test_records_are_back_there),
        TEST(test_records_are_away_here),
        TEST(test_leaves_meanwhile),
        TEST(test_crashes_meanwhile),
        TEST(test_removed_before_it_began),
        TEST(test_records_are_lost),
        TEST(test_old_datagram_of_who_was_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
