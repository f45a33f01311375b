/* Groups whose members are at several brokers: each message goes to one of them, to one at the same broker if there is
 * one, and what waits goes to where somebody is. */
#include "cluster_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The core's own data and frames, to see what it keeps, and to speak as a broker. */
#include "../../broker/core/cluster/cluster.h"

static struct mps_sub_options in_group(const char *name)
{
    return (struct mps_sub_options){.given = MPS_SUB_GROUP, .group = mps_text(name)};
}

static void join(struct rig *rig, int number, char link, uint32_t sid, const char *pattern, const char *group)
{
    stage_sub(rig->at[number], link, sid, pattern, in_group(group));
    rig_run(rig);
    stage_words(rig->at[number], link);
}

/* A client with a session, so that it may be away. */
static void worker(struct rig *rig, int number, char link)
{
    char id[2] = {link, '\0'};
    stage_hello(rig->at[number], link, (struct mps_hello){.id = mps_text(id), .sess_s = 60});
    rig_run(rig);
    stage_words(rig->at[number], link);
}

/* So many brokers, with a publisher `p` at the first. */
static struct rig *some(void **state, int count)
{
    struct rig *rig = *state;
    rig_start_all(rig, count);
    rig_client(rig, 0, 'p');
    return rig;
}

static void publish(struct rig *rig, const char *topic, int from, int count)
{
    char text[16];
    for (int i = from; i < from + count; i++) {
        snprintf(text, sizeof text, "%d", i);
        rig_msg(rig, 0, 'p', topic, text);
    }
}

/* All in one turn. */
static void publish_at_once(struct rig *rig, const char *topic, int count)
{
    uint8_t room[16 * 1024];
    struct mps_out out = mps_out_open(room, sizeof room);
    char text[16];
    for (int i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%d", i);
        mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text(text)});
    }
    stage_send(rig->at[0], 'p', &out);
    rig_run(rig);
}

/* Notes which of the numbers came on this link. Returns how many did. */
static int take(struct rig *rig, int number, char link, int *got, int got_count)
{
    int count = 0;
    for (const char *at = stage_words(rig->at[number], link); (at = strchr(at, '=')) != NULL; count++) {
        int value = atoi(++at);
        assert_in_range(value, 0, got_count - 1);
        got[value]++;
    }
    return count;
}

static void expect_once_each(const int *got, int count)
{
    for (int i = 0; i < count; i++)
        if (got[i] != 1) fail_msg("message %d came %d times", i, got[i]);
}

/* ---- who gets it -------------------------------------------------------------------------------------------- */

static void test_one_of_them(void **state)
{
    struct rig *rig = some(state, 3);
    int got[30] = {0};
    for (int i = 1; i < 3; i++) {
        rig_client(rig, i, 'w');
        join(rig, i, 'w', 1, "jobs/#", "g");
    }
    publish(rig, "jobs/a", 0, 30);
    assert_int_equal(take(rig, 1, 'w', got, 30), 15); /* by turns */
    assert_int_equal(take(rig, 2, 'w', got, 30), 15);
    expect_once_each(got, 30);
}

static void test_many_at_once_are_shared(void **state)
{
    struct rig *rig = some(state, 4);
    int got[301] = {0};
    for (int i = 1; i < 4; i++) {
        rig_client(rig, i, 'w');
        join(rig, i, 'w', 1, "jobs/#", "g");
    }
    publish_at_once(rig, "jobs/a", 301);
    for (int i = 1; i < 4; i++) assert_in_range(take(rig, i, 'w', got, 301), 95, 105);
    expect_once_each(got, 301);
}

static void test_local_first(void **state)
{
    struct rig *rig = some(state, 3);
    for (int i = 0; i < 3; i++) {
        rig_client(rig, i, 'w');
        join(rig, i, 'w', 1, "jobs", "g");
    }
    publish(rig, "jobs", 0, 3);
    rig_expect(rig, 0, 'w', "for 1 | jobs=0 | jobs=1 | jobs=2");
    rig_expect(rig, 1, 'w', "");
    rig_expect(rig, 2, 'w', "");
    stage_unsub(rig->at[0], 'w', 1);
    rig_run(rig);
    publish(rig, "jobs", 3, 2);
    rig_expect(rig, 0, 'w', "mark 1 4");
    int got[5] = {1, 1, 1, 0, 0};
    assert_int_equal(take(rig, 1, 'w', got, 5), 1);
    assert_int_equal(take(rig, 2, 'w', got, 5), 1);
    expect_once_each(got, 5);
    join(rig, 0, 'w', 1, "jobs", "g");
    publish(rig, "jobs", 5, 1);
    rig_expect(rig, 0, 'w', "for 1 | jobs=5");
}

/* Each group gets it, and each subscription besides; one copy of it goes to each broker. */
static void test_groups_and_others(void **state)
{
    struct rig *rig = some(state, 2);
    struct neighbour *two = cluster_find(rig->at[0]->broker->cluster, mps_text("two"));
    rig_client(rig, 1, 's');
    rig_client(rig, 1, 'v');
    rig_client(rig, 1, 'w');
    rig_sub(rig, 1, 's', 1, "jobs/#");
    join(rig, 1, 'v', 1, "jobs/+", "g");
    join(rig, 1, 'w', 1, "jobs/a", "h");
    publish(rig, "jobs/a", 0, 2);
    for (int i = 0; i < 3; i++) rig_expect(rig, 1, "svw"[i], "for 1 | jobs/a=0 | jobs/a=1");
    assert_int_equal(two->messages_out, 2);
    publish(rig, "jobs/b", 2, 1);
    rig_expect(rig, 1, 's', "jobs/b=2");
    rig_expect(rig, 1, 'v', "jobs/b=2");
    rig_expect(rig, 1, 'w', "");
    publish(rig, "jobs", 3, 1);
    rig_expect(rig, 1, 's', "jobs=3");
    rig_expect(rig, 1, 'v', "");
}

static void test_same_name_other_pattern(void **state)
{
    struct rig *rig = some(state, 2);
    rig_client(rig, 0, 'v');
    rig_client(rig, 1, 'w');
    join(rig, 0, 'v', 1, "jobs/#", "g");
    join(rig, 1, 'w', 1, "jobs/a", "g"); /* another group */
    publish(rig, "jobs/a", 0, 1);
    rig_expect(rig, 0, 'v', "for 1 | jobs/a=0");
    rig_expect(rig, 1, 'w', "for 1 | jobs/a=0");
}

static void test_more_groups_than_terms_name(void **state)
{
    struct rig *rig = some(state, 2);
    char name[8];
    rig_client(rig, 1, 's');
    rig_client(rig, 1, 'w');
    rig_sub(rig, 1, 's', 1, "jobs");
    for (uint32_t i = 1; i <= 2 * INBOUND_GROUPS_MAX + 1; i++) {
        snprintf(name, sizeof name, "g%u", i);
        join(rig, 1, 'w', i, "jobs", name);
    }
    publish(rig, "jobs", 0, 1);
    rig_expect(rig, 1, 's', "for 1 | jobs=0");
    int got[1] = {0};
    assert_int_equal(take(rig, 1, 'w', got, 1), 2 * INBOUND_GROUPS_MAX + 1);
}

static void test_must_route(void **state)
{
    struct rig *rig = some(state, 2);
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){.pid = 1, .flags = MPS_PUB_MUST_ROUTE | 1u << MPS_PUB_LEVEL_SHIFT});
    stage_send(rig->at[0], 'p', &out);
    publish(rig, "jobs", 0, 1);
    rig_expect(rig, 0, 'p', "refused 1 217");
    worker(rig, 1, 'w');
    join(rig, 1, 'w', 1, "jobs", "g");
    publish(rig, "jobs", 1, 1);
    rig_expect(rig, 0, 'p', "ok 2");
    rig_expect(rig, 1, 'w', "for 1 | jobs=1");
    stage_cut(rig->at[1], 'w');
    rig_run(rig);
    publish(rig, "jobs", 2, 1);
    rig_expect(rig, 0, 'p', "refused 3 217"); /* who is away is nobody that it goes to */
}

static void test_filter_and_policy_are_each_brokers_own(void **state)
{
    struct rig *rig = some(state, 2);
    struct mps_sub_options options = in_group("g");
    options.given |= MPS_SUB_FILTER;
    options.filter = mps_text("@topic == \"jobs/a\"");
    rig_client(rig, 1, 'w');
    stage_sub(rig->at[1], 'w', 1, "jobs/#", options);
    rig_run(rig);
    rig_expect(rig, 1, 'w', "suback 1 | mark 1 1");
    publish(rig, "jobs/a", 0, 1);
    publish(rig, "jobs/b", 1, 1);
    publish(rig, "jobs/a", 2, 1);
    rig_expect(rig, 1, 'w', "for 1 | jobs/a=0 | jobs/a=2");
}

static void test_topics_that_are_not_shared(void **state)
{
    struct rig *rig = *state;
    rig->topics[0] = "shared/#";
    some(state, 2);
    rig_client(rig, 1, 'w');
    join(rig, 1, 'w', 1, "#", "g");
    publish(rig, "mine", 0, 1);
    publish(rig, "shared", 1, 1);
    rig_expect(rig, 1, 'w', "for 1 | shared=1");
    worker(rig, 0, 'v');
    join(rig, 0, 'v', 1, "mine", "g");
    rig_client(rig, 1, 'x');
    join(rig, 1, 'x', 1, "mine", "g");
    stage_cut(rig->at[0], 'v');
    rig_run(rig);
    publish(rig, "mine", 2, 1); /* waits here, as nothing of it is shared */
    rig_expect(rig, 1, 'x', "");
    stage_hello(rig->at[0], 'v', (struct mps_hello){.id = mps_text("v"), .sess_s = 60});
    rig_run(rig);
    rig_expect(rig, 0, 'v', "welcome resumed last 0 | for 1 | mine=2");
}

/* A pattern that takes both. */
static void test_topics_of_which_some_are_shared(void **state)
{
    struct rig *rig = *state;
    rig->topics[0] = "shared/#";
    some(state, 2);
    worker(rig, 0, 'v');
    join(rig, 0, 'v', 1, "#", "g");
    stage_cut(rig->at[0], 'v');
    rig_run(rig);
    publish(rig, "mine", 0, 1);
    publish(rig, "shared/a", 1, 1);
    rig_client(rig, 1, 'w');
    join(rig, 1, 'w', 1, "#", "g");
    publish(rig, "mine", 2, 1);
    publish(rig, "shared/a", 3, 1);
    rig_expect(rig, 1, 'w', "for 1 | shared/a=3");
    stage_hello(rig->at[0], 'v', (struct mps_hello){.id = mps_text("v"), .sess_s = 60});
    rig_run(rig);
    rig_expect(rig, 0, 'v', "welcome resumed last 0 | for 1 | mine=0 | shared/a=1 | mine=2");
}

/* ---- coming and going --------------------------------------------------------------------------------------- */

/* Who is away may be back; but somebody else is there. */
static void test_members_that_are_away(void **state)
{
    struct rig *rig = some(state, 2);
    worker(rig, 0, 'v');
    join(rig, 0, 'v', 1, "jobs", "g");
    stage_cut(rig->at[0], 'v');
    rig_run(rig);
    publish(rig, "jobs", 0, 2); /* nobody anywhere: it waits here */
    rig_client(rig, 1, 'w');
    join(rig, 1, 'w', 2, "jobs", "g");
    publish(rig, "jobs", 2, 1);
    rig_expect(rig, 1, 'w', "jobs=2"); /* behind what waited, which came when it joined */
    stage_unsub(rig->at[1], 'w', 2);
    rig_run(rig);
    publish(rig, "jobs", 3, 1);
    rig_expect(rig, 1, 'w', "mark 2 4");
    stage_hello(rig->at[0], 'v', (struct mps_hello){.id = mps_text("v"), .sess_s = 60});
    rig_run(rig);
    rig_expect(rig, 0, 'v', "welcome resumed last 0 | for 1 | jobs=3");
}

static void test_what_waited_is_handed_over(void **state)
{
    struct rig *rig = some(state, 2);
    worker(rig, 0, 'v');
    join(rig, 0, 'v', 1, "jobs", "g");
    stage_cut(rig->at[0], 'v');
    rig_run(rig);
    publish(rig, "jobs", 0, 100);
    rig_client(rig, 1, 'w');
    int got[200] = {0};
    stage_sub(rig->at[1], 'w', 1, "jobs", in_group("g"));
    rig_run(rig);
    assert_int_equal(take(rig, 1, 'w', got, 200), 100);
    publish(rig, "jobs", 100, 100);
    assert_int_equal(take(rig, 1, 'w', got, 200), 100);
    expect_once_each(got, 200);
    worker(rig, 0, 'v'); /* and nothing is left for who is back */
    assert_int_equal(take(rig, 0, 'v', got, 200), 0);
}

/* The last one that is connected goes, and has not taken all: others get the rest. */
static void test_goes_with_messages_waiting(void **state)
{
    struct rig *rig = some(state, 3);
    struct mps_sub_options options = in_group("g");
    int got[40] = {0};
    options.given |= MPS_SUB_CREDIT;
    options.credit = 10;
    for (int how = 0; how < 2; how++) {
        worker(rig, 0, 'v');
        rig_client(rig, 1, 'w');
        rig_client(rig, 2, 'w');
        stage_sub(rig->at[0], 'v', 1, "jobs", options);
        rig_run(rig);
        join(rig, 1, 'w', 1, "jobs", "g");
        join(rig, 2, 'w', 1, "jobs", "g");
        memset(got, 0, sizeof got);
        publish_at_once(rig, "jobs", 40);
        assert_int_equal(take(rig, 0, 'v', got, 40), 10);
        if (how == 0) stage_unsub(rig->at[0], 'v', 1);
        else stage_cut(rig->at[0], 'v');
        rig_run(rig);
        assert_in_range(take(rig, 1, 'w', got, 40), 13, 17);
        assert_in_range(take(rig, 2, 'w', got, 40), 13, 17);
        expect_once_each(got, 40);
        stage_cut(rig->at[1], 'w');
        stage_cut(rig->at[2], 'w');
        if (how == 0) stage_cut(rig->at[0], 'v');
        rig_run(rig);
    }
}

/* Of a pattern that takes what is not shared, too: what is shared goes on when the last member leaves. */
static void test_goes_with_some_that_are_shared(void **state)
{
    struct rig *rig = *state;
    rig->topics[0] = "shared/#";
    some(state, 2);
    struct mps_sub_options options = in_group("g");
    options.given |= MPS_SUB_CREDIT;
    options.credit = 1;
    rig_client(rig, 0, 'v');
    stage_sub(rig->at[0], 'v', 1, "#", options);
    rig_run(rig);
    rig_client(rig, 1, 'w');
    join(rig, 1, 'w', 1, "#", "g");
    publish(rig, "shared/a", 0, 3);
    publish(rig, "mine", 3, 1);
    publish(rig, "shared/b", 4, 1);
    stage_cut(rig->at[0], 'v');
    rig_run(rig);
    rig_expect(rig, 1, 'w', "for 1 | shared/a=1 | shared/a=2 | shared/b=4");
}

/* Its client says good-bye, and takes nothing any more: members elsewhere get what waits, not the one that leaves. */
static void test_leaves_gently_with_messages_waiting(void **state)
{
    struct rig *rig = some(state, 2);
    struct mps_sub_options options = in_group("g");
    options.given |= MPS_SUB_CREDIT;
    options.credit = 1;
    rig_client(rig, 0, 'v');
    stage_sub(rig->at[0], 'v', 1, "jobs", options);
    rig_run(rig);
    rig_client(rig, 1, 'w');
    join(rig, 1, 'w', 1, "jobs", "g");
    publish(rig, "jobs", 0, 3);
    stage_bye(rig->at[0], 'v', 0);
    rig_run(rig);
    rig_expect(rig, 1, 'w', "for 1 | jobs=1 | jobs=2");
}

/* What was on its way to the last member that has just gone, and got lost. */
static void test_hole_when_members_have_just_gone(void **state)
{
    struct rig *rig = some(state, 2);
    worker(rig, 1, 'w');
    join(rig, 1, 'w', 1, "jobs", "g");
    memory_bus_lose(rig->bus, "one", "two", 1);
    stage_msg(rig->at[0], 'p', "jobs", "0");
    stage_settle(rig->at[0]);
    stage_cut(rig->at[1], 'w');
    stage_settle(rig->at[1]);
    rig_pass(rig, 1500);
    stage_hello(rig->at[1], 'w', (struct mps_hello){.id = mps_text("w"), .sess_s = 60});
    rig_run(rig);
    rig_expect(rig, 1, 'w', "welcome resumed last 0 | gap 1 x? reason 14");
}

/* What is told as lost in the group stays to be told here. */
static void test_gaps_stay(void **state)
{
    struct rig *rig = some(state, 2);
    struct mps_sub_options options = in_group("g");
    options.given |= MPS_SUB_MAX_MSGS;
    options.max_msgs = 3;
    worker(rig, 0, 'v');
    stage_sub(rig->at[0], 'v', 1, "jobs", options);
    rig_run(rig);
    stage_words(rig->at[0], 'v');
    stage_cut(rig->at[0], 'v');
    rig_run(rig);
    publish(rig, "jobs", 0, 5);
    rig_client(rig, 1, 'w');
    stage_sub(rig->at[1], 'w', 1, "jobs", in_group("g"));
    rig_run(rig);
    rig_expect(rig, 1, 'w', "suback 1 | mark 1 1 | for 1 | jobs=2 | jobs=3 | jobs=4");
    stage_hello(rig->at[0], 'v', (struct mps_hello){.id = mps_text("v"), .sess_s = 60});
    rig_run(rig);
    rig_expect(rig, 0, 'v', "welcome resumed last 0 | gap 1 x2 reason 1");
}

/* It was sent to one that is gone when it comes: from there it goes on. */
static void test_in_flight(void **state)
{
    struct rig *rig = some(state, 3);
    rig_client(rig, 1, 'w');
    rig_client(rig, 2, 'w');
    join(rig, 1, 'w', 1, "jobs", "g");
    stage_msg(rig->at[0], 'p', "jobs", "0");
    stage_settle(rig->at[0]); /* on its way to the second broker */
    stage_unsub(rig->at[1], 'w', 1);
    stage_settle(rig->at[1]);
    stage_sub(rig->at[2], 'w', 1, "jobs", in_group("g"));
    stage_settle(rig->at[2]);
    rig_run(rig);
    rig_expect(rig, 1, 'w', "mark 1 4");
    rig_expect(rig, 2, 'w', "suback 1 | mark 1 1"); /* the second did not know of it yet: gone with its group */
    join(rig, 1, 'w', 1, "jobs", "g");
    publish(rig, "jobs", 1, 1); /* to either */
    stage_words(rig->at[1], 'w');
    stage_words(rig->at[2], 'w');
    stage_msg(rig->at[0], 'p', "jobs", "2");
    stage_msg(rig->at[0], 'p', "jobs", "3");
    stage_settle(rig->at[0]);
    stage_unsub(rig->at[1], 'w', 1);
    stage_settle(rig->at[1]);
    rig_run(rig);
    int got[4] = {1, 1, 0, 0};
    assert_int_equal(take(rig, 2, 'w', got, 4), 2);
    expect_once_each(got, 4);
}

/* As before, but the group is still there, with somebody who is away. */
static void test_in_flight_to_one_that_rests(void **state)
{
    struct rig *rig = some(state, 3);
    worker(rig, 1, 'w');
    rig_client(rig, 2, 'w');
    join(rig, 1, 'w', 1, "jobs", "g");
    join(rig, 2, 'w', 1, "jobs", "g");
    for (int i = 0; i < 2; i++) stage_msg(rig->at[0], 'p', "jobs", i == 0 ? "0" : "1");
    stage_settle(rig->at[0]);
    stage_cut(rig->at[1], 'w');
    stage_settle(rig->at[1]);
    rig_run(rig);
    int got[2] = {0};
    assert_int_equal(take(rig, 2, 'w', got, 2), 2);
    expect_once_each(got, 2);
}

static void test_broker_vanishes(void **state)
{
    struct rig *rig = some(state, 3);
    int got[20] = {0};
    for (int i = 1; i < 3; i++) {
        rig_client(rig, i, 'w');
        join(rig, i, 'w', 1, "jobs", "g");
    }
    rig_crash(rig, 1);
    rig_pass(rig, 6000); /* now it is known */
    stage_words(rig->at[2], 'w');
    publish(rig, "jobs", 0, 20);
    assert_int_equal(take(rig, 2, 'w', got, 20), 20);
    expect_once_each(got, 20);
}

static void test_all_vanish_and_it_waits(void **state)
{
    struct rig *rig = some(state, 2);
    worker(rig, 0, 'v');
    rig_client(rig, 1, 'w');
    join(rig, 0, 'v', 1, "jobs", "g");
    join(rig, 1, 'w', 1, "jobs", "g");
    stage_cut(rig->at[0], 'v');
    rig_run(rig);
    publish(rig, "jobs", 0, 1);
    rig_expect(rig, 1, 'w', "for 1 | jobs=0");
    rig_crash(rig, 1);
    rig_pass(rig, 6000);
    publish(rig, "jobs", 1, 1);
    stage_hello(rig->at[0], 'v', (struct mps_hello){.id = mps_text("v"), .sess_s = 60});
    rig_run(rig);
    rig_expect(rig, 0, 'v', "welcome resumed last 0 | for 1 | jobs=1");
}

static void test_leaves(void **state)
{
    struct rig *rig = some(state, 3);
    int got[10] = {0};
    for (int i = 1; i < 3; i++) {
        rig_client(rig, i, 'w');
        join(rig, i, 'w', 1, "jobs", "g");
    }
    rig_leave(rig, 1);
    rig_run(rig);
    publish(rig, "jobs", 0, 10);
    assert_int_equal(take(rig, 2, 'w', got, 10), 10);
    expect_once_each(got, 10);
}

/* A broker that leaves the cluster keeps its own members, and what is published there. */
static void test_goes_on_alone(void **state)
{
    struct rig *rig = some(state, 2);
    worker(rig, 0, 'v');
    rig_client(rig, 1, 'w');
    join(rig, 0, 'v', 1, "jobs", "g");
    join(rig, 1, 'w', 1, "jobs", "g");
    stage_cut(rig->at[0], 'v');
    rig_run(rig);
    broker_leave(rig->at[0]->broker);
    rig->engines[0]->close(rig->engines[0]);
    rig->engines[0] = NULL;
    stage_msg(rig->at[0], 'p', "jobs", "0");
    stage_settle(rig->at[0]);
    stage_hello(rig->at[0], 'v', (struct mps_hello){.id = mps_text("v"), .sess_s = 60});
    stage_settle(rig->at[0]);
    rig_expect(rig, 0, 'v', "welcome resumed last 0 | for 1 | jobs=0");
    stage_stop(rig->at[0]);
}

/* A datagram that is lost is said to members, too. */
static void test_hole(void **state)
{
    struct rig *rig = some(state, 2);
    rig_client(rig, 1, 'w');
    join(rig, 1, 'w', 1, "jobs", "g");
    publish(rig, "jobs", 0, 1);
    memory_bus_lose(rig->bus, "one", "two", 1);
    publish(rig, "jobs", 1, 2);
    rig_expect(rig, 1, 'w', "for 1 | jobs=0 | gap 1 x? reason 14 | jobs=2");
}

/* Everybody joins, goes and comes back at random while messages are published; those that were published while somebody
 * was there come once. */
static void test_at_random(void **state)
{
    enum { MESSAGES = 2000 };
    struct rig *rig = some(state, 4);
    static int got[MESSAGES];
    bool is_in[4] = {false};
    uint32_t random = 1;
    memset(got, 0, sizeof got);
    for (int i = 0; i < 4; i++) rig_client(rig, i, 'w');
    join(rig, 3, 'w', 1, "jobs", "g"); /* stays */
    for (int number = 0; number < MESSAGES; number++) {
        char text[16];
        snprintf(text, sizeof text, "%d", number);
        random = random * 1664525 + 1013904223;
        int who = (int)(random >> 24) % 3;
        if ((random >> 16) % 4 == 0) {
            if (is_in[who]) stage_unsub(rig->at[who], 'w', 1);
            else stage_sub(rig->at[who], 'w', 1, "jobs", in_group("g"));
            is_in[who] = !is_in[who];
            stage_settle(rig->at[who]); /* the others have not heard of it */
        }
        stage_msg(rig->at[0], 'p', "jobs", text);
        stage_settle(rig->at[0]);
        if ((random >> 8) % 3 == 0) rig_run(rig);
        for (int i = 0; i < 4; i++) take(rig, i, 'w', got, MESSAGES);
    }
    rig_pass(rig, 2000);
    for (int i = 0; i < 4; i++) take(rig, i, 'w', got, MESSAGES);
    expect_once_each(got, MESSAGES);
}

/* ---- what others send --------------------------------------------------------------------------------------- */

static void test_bad_terms(void **state)
{
    static const struct {
        const char *bytes;
        uint32_t len;
        bool is_bad;
    } frames[] = {
        {"\x91\x23", 2, true},
        {"\x93\x23\x01\x90", 4, true},
        {"\x93\x23\xc3\x91\xa1g", 6, true},
        {"\x93\x23\xc3\x91\x91\xa1g", 7, true},
        {"\x93\x23\xc3\x91\x92\xa1g\x01", 8, true},
        {"\x93\x23\xc3\x99\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0\xc0", 13, true},
        {"\x93\x23\xc2\x91\x92\xa1g\xa1#", 9, false}, /* a group that nobody has */
        {"\x93\x23\xc2\x91\x92\xa0\xa0", 7, false},
        {"\x93\x23\xc2\x92\x92\xa1g\xa4jobs\x92\xa1g\xa4jobs", 20, false}, /* twice */
    };
    struct rig *rig = some(state, 2);
    rig_client(rig, 1, 'w');
    join(rig, 1, 'w', 1, "jobs", "g");
    struct neighbour *one = cluster_find(rig->at[1]->broker->cluster, mps_text("one"));
    const struct cluster *theirs = rig->at[0]->broker->cluster;
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        uint8_t room[256];
        struct mps_out out = mps_out_open(room, sizeof room);
        uint64_t malformed = one->malformed;
        struct lane *lane = &cluster_find(theirs, mps_text("two"))->lane;
        between_encode_lane(&out, &(struct between_lane){.name = mps_text("one"),
                                                         .tag = {theirs->tag, CLUSTER_TAG_BYTES},
                                                         .boot = theirs->boot,
                                                         .to_boot = rig->at[1]->broker->cluster->boot,
                                                         .seq = one->seq + 1,
                                                         .messages = one->messages,
                                                         .told = one->version});
        mps_put_raw(&out, (mps_view){(const uint8_t *)frames[i].bytes, frames[i].len});
        mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("jobs"), .payload = mps_text("1")});
        lane->seq = one->seq + 1; /* the real one goes on behind it */
        lane->messages = one->messages + 1;
        memory_bus_inject(rig->bus, "two", out.buf, out.len);
        rig_run(rig);
        if (one->malformed - malformed != frames[i].is_bad) fail_msg("frame %zu", i);
        one->messages = lane->messages;
        bool is_for_us = i + 1 == sizeof frames / sizeof frames[0];
        rig_expect(rig, 1, 'w', is_for_us ? "for 1 | jobs=1" : "");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_of_them),
        TEST(test_many_at_once_are_shared),
        TEST(test_local_first),
        TEST(test_groups_and_others),
        TEST(test_same_name_other_pattern),
        TEST(test_more_groups_than_terms_name),
        TEST(test_must_route),
        TEST(test_filter_and_policy_are_each_brokers_own),
        TEST(test_topics_that_are_not_shared),
        TEST(test_topics_of_which_some_are_shared),
        TEST(test_members_that_are_away),
        TEST(test_what_waited_is_handed_over),
        TEST(test_goes_with_messages_waiting),
        TEST(test_goes_with_some_that_are_shared),
        TEST(test_leaves_gently_with_messages_waiting),
        TEST(test_hole_when_members_have_just_gone),
        TEST(test_gaps_stay),
        TEST(test_in_flight),
        TEST(test_in_flight_to_one_that_rests),
        TEST(test_broker_vanishes),
        TEST(test_all_vanish_and_it_waits),
        TEST(test_leaves),
        TEST(test_goes_on_alone),
        TEST(test_hole),
        TEST(test_at_random),
        TEST(test_bad_terms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
