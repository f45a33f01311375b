/* SUB with scope = cluster: when it is answered, with what, and that nothing of the subscription comes before that. */
#include "cluster_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The core's own frames, to speak as a broker that is none. */
#include "../../broker/core/cluster/cluster.h"

#define CLUSTER_WIDE                                       \
    {                                                      \
        .given = MPS_SUB_SCOPE, .scope = MPS_SCOPE_CLUSTER \
    }

/* So many brokers that have known each other for a while, with a subscriber `s` at the first. */
static struct rig *some(void **state, int count)
{
    struct rig *rig = *state;
    rig_start_all(rig, count);
    rig_pass(rig, 3000);
    rig_client(rig, 0, 's');
    return rig;
}

/* It has come to the broker, and nothing from there to the others. */
static void ask(struct rig *rig, uint32_t sid, const char *pattern)
{
    stage_sub(rig->at[0], 's', sid, pattern, (struct mps_sub_options)CLUSTER_WIDE);
    stage_settle(rig->at[0]);
}

/* ---- when --------------------------------------------------------------------------------------------------- */

static void test_waits_for_each(void **state)
{
    struct rig *rig = some(state, 3);
    rig_client(rig, 2, 'p');
    ask(rig, 1, "a/#");
    rig_expect(rig, 0, 's', "");
    rig_freeze(rig, 1, true);
    rig_run(rig);
    rig_expect(rig, 0, 's', ""); /* one of two */
    rig_freeze(rig, 1, false);
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
    rig_msg(rig, 2, 'p', "a/b", "x");
    rig_expect(rig, 0, 's', "for 1 | a/b=x");
}

/* What was published elsewhere meanwhile comes behind it. */
static void test_nothing_comes_before(void **state)
{
    struct rig *rig = some(state, 3);
    rig_client(rig, 0, 'q');
    rig_client(rig, 1, 'p');
    rig_freeze(rig, 2, true);
    ask(rig, 1, "a/#");
    rig_run(rig);
    rig_msg(rig, 1, 'p', "a/b", "far");
    rig_msg(rig, 0, 'q', "a/b", "near");
    rig_expect(rig, 0, 's', "");
    stage_stat(rig->at[0], 's', 1);
    stage_ping(rig->at[0], 's');
    rig_run(rig);
    rig_expect(rig, 0, 's', "stat 1 2 0 0 2 | pong"); /* which does not wait for it */
    rig_freeze(rig, 2, false);
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1 | for 1 | a/b=far | a/b=near");
}

static void retain(struct rig *rig, const char *topic, const char *text)
{
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){.flags = MPS_PUB_RETAIN});
    stage_send(rig->at[0], 'q', &out);
    stage_msg(rig->at[0], 'q', topic, text);
    stage_settle(rig->at[0]);
}

static void test_retained_values_come_behind_it(void **state)
{
    struct rig *rig = some(state, 2);
    rig_client(rig, 0, 'q');
    retain(rig, "a", "old");
    ask(rig, 1, "#");
    retain(rig, "b", "new");
    rig_expect(rig, 0, 's', "");
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | for 1 flags 1 | a=old | mark 1 1 | for 1 | b=new");
}

static void test_alone_in_a_cluster(void **state)
{
    struct rig *rig = some(state, 1);
    ask(rig, 1, "a");
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
}

/* Before all others were heard of nobody knows who has to be asked. */
static void test_just_started(void **state)
{
    struct rig *rig = *state;
    rig_start_all(rig, 2);
    rig_client(rig, 0, 's');
    ask(rig, 1, "a");
    rig_run(rig);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 1500);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
}

static void test_no_cluster(void **state)
{
    struct rig *rig = *state;
    stage_start(rig->at[0]);
    rig_client(rig, 0, 's');
    ask(rig, 1, "a");
    rig_expect(rig, 0, 's', "suback 1 local | mark 1 1");
}

static void test_cut_off(void **state)
{
    struct rig *rig = some(state, 2);
    memory_bus_away(rig->bus, "one", true, false);
    rig_run(rig);
    ask(rig, 1, "a");
    rig_expect(rig, 0, 's', "suback 1 local | mark 1 1");
}

static void test_cut_off_meanwhile(void **state)
{
    struct rig *rig = some(state, 2);
    rig_freeze(rig, 1, true);
    ask(rig, 1, "a");
    rig_pass(rig, 1000);
    rig_expect(rig, 0, 's', "");
    memory_bus_away(rig->bus, "one", true, false);
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 local | mark 1 1");
}

static void test_topics_that_are_not_shared(void **state)
{
    struct rig *rig = *state;
    rig->topics[0] = "shared/#";
    some(state, 2);
    ask(rig, 1, "mine/#");
    ask(rig, 2, "$SYS/none");
    rig_expect(rig, 0, 's', "suback 1 local | mark 1 1 | suback 2 local | mark 2 1");
    ask(rig, 3, "#");
    rig_expect(rig, 0, 's', "");
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 3 | mark 3 1");
}

/* A frozen process is given up when nothing was heard of it for a while. */
static void test_frozen(void **state)
{
    struct rig *rig = some(state, 3);
    rig_freeze(rig, 1, true);
    ask(rig, 1, "a");
    rig_pass(rig, 3500);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 2000);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1 | gap 1 x? reason 14");
}

static void test_crashed(void **state)
{
    struct rig *rig = some(state, 2);
    rig_crash(rig, 1);
    ask(rig, 1, "a");
    rig_pass(rig, 3500);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 2000);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1 | gap 1 x? reason 14");
}

static void test_leaves_meanwhile(void **state)
{
    struct rig *rig = some(state, 2);
    ask(rig, 1, "a");
    rig_leave(rig, 1);
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
}

/* A broker that says it is there, and never answers. */
static void test_one_that_does_not_answer(void **state)
{
    struct rig *rig = some(state, 2);
    uint8_t room[256];
    struct mps_out here = mps_out_open(room, sizeof room);
    between_encode_here(&here,
                        &(struct between_here){
                            .name = mps_text("deaf"), .tag = mps_text("abc"), .boot = 7, .software = mps_text("none")});
    for (int seconds = 0; seconds < 2; seconds++) {
        memory_bus_inject(rig->bus, "one", here.buf, here.len);
        rig_pass(rig, 1000);
    }
    ask(rig, 1, "a");
    for (int seconds = 0; seconds < 9; seconds++) {
        memory_bus_inject(rig->bus, "one", here.buf, here.len);
        rig_pass(rig, 1000);
        rig_expect(rig, 0, 's', "");
    }
    rig_pass(rig, 1000);
    rig_expect(rig, 0, 's', "suback 1 local | mark 1 1");
}

/* The question, what it asks about, or the answer. */
static void test_datagrams_that_are_lost(void **state)
{
    struct rig *rig = some(state, 2);
    rig_client(rig, 1, 'p');
    memory_bus_lose(rig->bus, "one", "two", 1);
    ask(rig, 1, "a");
    rig_run(rig);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 2500);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
    rig_msg(rig, 1, 'p', "a", "x");
    rig_expect(rig, 0, 's', "for 1 | a=x");
    memory_bus_lose(rig->bus, "two", "one", 1);
    ask(rig, 2, "b");
    rig_run(rig);
    rig_expect(rig, 0, 's', "");
    rig_pass(rig, 2500);
    rig_expect(rig, 0, 's', "suback 2 | mark 2 1");
}

static void test_many(void **state)
{
    enum { COUNT = 1000 };
    struct rig *rig = some(state, 3);
    uint8_t *room = malloc(COUNT * 40);
    struct mps_out out = mps_out_open(room, COUNT * 40);
    for (uint32_t sid = 1; sid <= COUNT; sid++) {
        struct mps_sub sub = {.sid = sid, .pattern = mps_text("a/#"), .options = CLUSTER_WIDE};
        sub.options.given |= MPS_SUB_RETAINED;
        sub.options.retained = 2;
        mps_encode_sub(&out, &sub);
    }
    stage_send(rig->at[0], 's', &out);
    free(room);
    rig_run(rig);
    mps_view frame;
    for (uint32_t sid = 1; sid <= COUNT; sid++) {
        struct mps_suback suback;
        const char *what;
        assert_int_equal(stage_take(rig->at[0], 's', &frame), MPS_OP_SUBACK);
        assert_int_equal(mps_decode_suback(frame, &suback, &what), MPS_OK);
        assert_true(suback.sid == sid && suback.code == MPS_OK && suback.granted.given == 0);
    }
    assert_int_equal(stage_take(rig->at[0], 's', &frame), -1);
}

/* Each in a turn of its own, while somebody does not answer: what waits is not looked through, nor is asked, a thousand
 * times. */
static void test_many_one_by_one(void **state)
{
    enum { COUNT = 1000 };
    struct rig *rig = some(state, 2);
    rig_freeze(rig, 1, true);
    const struct neighbour *two = cluster_find(rig->at[0]->broker->cluster, mps_text("two"));
    uint64_t before = two->datagrams_out;
    for (uint32_t sid = 1; sid <= COUNT; sid++) {
        ask(rig, sid, "a/#");
        rig_run(rig);
    }
    assert_in_range(two->datagrams_out - before, 1, 50);
    rig_expect(rig, 0, 's', "");
    rig_freeze(rig, 1, false);
    rig_pass(rig, 2000);
    mps_view frame;
    int answers = 0;
    for (int op; (op = stage_take(rig->at[0], 's', &frame)) >= 0;) answers += op == MPS_OP_SUBACK;
    assert_int_equal(answers, COUNT);
}

/* ---- what may happen meanwhile ------------------------------------------------------------------------------ */

static void test_unsub(void **state)
{
    struct rig *rig = some(state, 2);
    ask(rig, 1, "a");
    stage_unsub(rig->at[0], 's', 1);
    stage_settle(rig->at[0]);
    rig_expect(rig, 0, 's', "suback 1 local | mark 1 4");
    rig_run(rig);
    rig_expect(rig, 0, 's', "");
}

static void test_upsert(void **state)
{
    struct rig *rig = some(state, 2);
    ask(rig, 1, "a");
    ask(rig, 1, "a");
    rig_expect(rig, 0, 's', "suback 1 local");
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
    ask(rig, 1, "a");
    stage_sub(rig->at[0], 's', 1, "a", (struct mps_sub_options){.given = MPS_SUB_RETAINED, .retained = 2});
    stage_settle(rig->at[0]);
    rig_expect(rig, 0, 's', "suback 1 local | suback 1 | mark 1 1");
    ask(rig, 1, "a");
    stage_sub(rig->at[0], 's', 1, "b", (struct mps_sub_options){0});
    stage_settle(rig->at[0]);
    rig_expect(rig, 0, 's', "suback 1 local | suback 1 refused 222 | mark 1 1");
}

static void test_bye(void **state)
{
    struct rig *rig = some(state, 2);
    rig_client(rig, 0, 'q');
    ask(rig, 1, "a");
    rig_msg(rig, 0, 'q', "a", "x");
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1 | for 1 | a=x");
    rig_freeze(rig, 1, true);
    ask(rig, 2, "b");
    stage_msg(rig->at[0], 'q', "b", "y");
    stage_bye(rig->at[0], 's', 0);
    stage_settle(rig->at[0]);
    rig_expect(rig, 0, 's', "suback 2 local | mark 2 1 | for 2 | b=y | bye 0 | end");
    rig_freeze(rig, 1, false);
}

static void test_end_of_stream(void **state)
{
    struct rig *rig = some(state, 2);
    ask(rig, 1, "a");
    stage_end(rig->at[0], 's');
    stage_settle(rig->at[0]);
    rig_expect(rig, 0, 's', "suback 1 local | mark 1 1 | end");
}

static void test_connection_breaks(void **state)
{
    struct rig *rig = some(state, 2);
    ask(rig, 1, "a");
    stage_cut(rig->at[0], 's');
    rig_run(rig);
    rig_pass(rig, 2000);
    rig_client(rig, 0, 's');
    rig_expect(rig, 0, 's', "");
}

/* The session goes on, as if the answer had been lost on its way. */
static void test_session_goes_on(void **state)
{
    struct rig *rig = some(state, 2);
    struct mps_hello hello = {.id = mps_text("t"), .sess_s = 60};
    rig_client(rig, 0, 'q');
    stage_hello(rig->at[0], 't', hello);
    stage_words(rig->at[0], 't');
    rig_freeze(rig, 1, true);
    stage_sub(rig->at[0], 't', 1, "a", (struct mps_sub_options)CLUSTER_WIDE);
    rig_msg(rig, 0, 'q', "a", "x");
    rig_expect(rig, 0, 't', "");
    stage_cut(rig->at[0], 't');
    stage_settle(rig->at[0]);
    stage_hello(rig->at[0], 't', hello);
    stage_settle(rig->at[0]);
    rig_expect(rig, 0, 't', "welcome resumed last 0 | mark 1 1 | for 1 | a=x");
    stage_sub(rig->at[0], 't', 1, "a", (struct mps_sub_options)CLUSTER_WIDE);
    rig_msg(rig, 0, 'q', "a", "y");
    rig_expect(rig, 0, 't', "");
    stage_hello(rig->at[0], 'u', hello); /* taken over */
    stage_settle(rig->at[0]);
    rig_expect(rig, 0, 't', "bye 109 | end");
    rig_expect(rig, 0, 'u', "welcome resumed last 0 | mark 1 1 | for 1 | a=y");
    rig_freeze(rig, 1, false);
    rig_run(rig);
    rig_expect(rig, 0, 'u', "");
}

static void credit(struct rig *rig, uint64_t total, bool drain)
{
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_credit(&out, &(struct mps_credit){.sid = 1, .max_msgs = total, .drain = drain});
    stage_send(rig->at[0], 's', &out);
    stage_settle(rig->at[0]);
}

static void test_credit(void **state)
{
    struct rig *rig = some(state, 2);
    struct mps_sub_options options = CLUSTER_WIDE;
    options.given |= MPS_SUB_CREDIT;
    options.credit = 1;
    rig_client(rig, 0, 'q');
    rig_freeze(rig, 1, true);
    stage_sub(rig->at[0], 's', 1, "a", options);
    for (int i = 0; i < 5; i++) rig_msg(rig, 0, 'q', "a", "x");
    credit(rig, 2, false);
    credit(rig, 3, true);
    rig_expect(rig, 0, 's', "");
    rig_freeze(rig, 1, false);
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1 | for 1 | a=x | a=x | a=x | mark 1 3");
    options.credit = 0;
    stage_sub(rig->at[0], 's', 1, "a", options); /* none shrinks */
    credit(rig, 4, false);
    rig_expect(rig, 0, 's', "");
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | a=x"); /* the mark stands behind what was queued */
}

/* A subscription that has sent something goes on where it was. */
static void test_upsert_of_one_that_is_at_work(void **state)
{
    struct rig *rig = some(state, 2);
    rig_client(rig, 0, 'q');
    rig_sub(rig, 0, 's', 1, "a");
    rig_msg(rig, 0, 'q', "a", "1");
    rig_expect(rig, 0, 's', "for 1 | a=1");
    rig_freeze(rig, 1, true);
    ask(rig, 1, "a");
    rig_msg(rig, 0, 'q', "a", "2");
    rig_expect(rig, 0, 's', "");
    rig_freeze(rig, 1, false);
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1 | a=2");
}

static void test_member_of_a_group(void **state)
{
    struct rig *rig = some(state, 2);
    struct mps_sub_options options = CLUSTER_WIDE;
    options.given |= MPS_SUB_GROUP;
    options.group = mps_text("g");
    rig_client(rig, 0, 'q');
    rig_client(rig, 0, 't');
    stage_sub(rig->at[0], 't', 1, "a", (struct mps_sub_options){.given = MPS_SUB_GROUP, .group = mps_text("g")});
    rig_run(rig);
    rig_expect(rig, 0, 't', "suback 1 | mark 1 1");
    rig_freeze(rig, 1, true);
    stage_sub(rig->at[0], 's', 1, "a", options);
    for (int i = 0; i < 4; i++) rig_msg(rig, 0, 'q', "a", "x");
    rig_expect(rig, 0, 's', "");
    rig_expect(rig, 0, 't', "for 1 | a=x | a=x | a=x | a=x"); /* the others go on */
    rig_freeze(rig, 1, false);
    rig_run(rig);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
    for (int i = 0; i < 4; i++) rig_msg(rig, 0, 'q', "a", "y");
    rig_expect(rig, 0, 's', "for 1 | a=y | a=y");
    rig_expect(rig, 0, 't', "a=y | a=y");
}

static void test_leaves_the_cluster(void **state)
{
    struct rig *rig = some(state, 2);
    rig_freeze(rig, 1, true);
    ask(rig, 1, "a");
    broker_leave(rig->at[0]->broker);
    stage_settle(rig->at[0]);
    rig_expect(rig, 0, 's', "suback 1 local | mark 1 1");
    rig->engines[0]->close(rig->engines[0]);
    rig->engines[0] = NULL;
    stage_stop(rig->at[0]);
    rig_freeze(rig, 1, false);
}

/* ---- what others send --------------------------------------------------------------------------------------- */

/* Numbers that nobody asked for, and frames that lack something. */
static void test_bad_echoes(void **state)
{
    static const struct {
        const char *bytes;
        uint32_t len;
        bool is_bad;
    } frames[] = {
        {"\x91\x24", 2, true},          {"\x92\x24\x01", 3, true},
        {"\x93\x24\xff\x01", 4, true},  {"\x93\x24\xc0\xc0", 4, true},
        {"\x91\x25", 2, true},          {"\x92\x25\xa1x", 4, true},
        {"\x93\x24\x00\x00", 4, false}, {"\x93\x24\x05\xcd\xff\xff", 6, false},
        {"\x92\x25\x05", 3, true},      {"\x93\x25\x05\xff", 4, true},
        {"\x93\x25\x05\xc0", 4, false}, {"\x93\x25\xcf\x00\x1f\xff\xff\xff\xff\xff\xff\x01", 12, false},
        {"\x93\x25\x05\xcf\x00\x1f\xff\xff\xff\xff\xff\xff", 12, false},
        {"\x93\x25\x05\xcf\x00\x2f\xff\xff\xff\xff\xff\xff", 12, true},
    };
    struct rig *rig = some(state, 2);
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        struct neighbour *from = cluster_find(rig->at[0]->broker->cluster, mps_text("two"));
        const struct cluster *two = rig->at[1]->broker->cluster;
        uint8_t room[256];
        struct mps_out out = mps_out_open(room, sizeof room);
        uint64_t malformed = from->malformed;
        between_encode_lane(&out, &(struct between_lane){.name = mps_text("two"),
                                                         .tag = {two->tag, CLUSTER_TAG_BYTES},
                                                         .boot = two->boot,
                                                         .to_boot = rig->at[0]->broker->cluster->boot,
                                                         .seq = from->seq + 1,
                                                         .messages = from->messages,
                                                         .told = from->version});
        mps_put_raw(&out, (mps_view){(const uint8_t *)frames[i].bytes, frames[i].len});
        cluster_find(two, mps_text("one"))->lane.seq = from->seq + 1; /* the real one goes on behind it */
        memory_bus_inject(rig->bus, "one", out.buf, out.len);
        rig_run(rig);
        if (from->malformed - malformed != frames[i].is_bad) fail_msg("frame %zu", i);
    }
    ask(rig, 1, "a");
    rig_expect(rig, 0, 's', ""); /* what was answered before it was asked is no answer */
    rig_pass(rig, 3000);
    rig_expect(rig, 0, 's', "suback 1 | mark 1 1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_waits_for_each),
        TEST(test_nothing_comes_before),
        TEST(test_retained_values_come_behind_it),
        TEST(test_alone_in_a_cluster),
        TEST(test_just_started),
        TEST(test_no_cluster),
        TEST(test_cut_off),
        TEST(test_cut_off_meanwhile),
        TEST(test_topics_that_are_not_shared),
        TEST(test_frozen),
        TEST(test_crashed),
        TEST(test_leaves_meanwhile),
        TEST(test_one_that_does_not_answer),
        TEST(test_datagrams_that_are_lost),
        TEST(test_many),
        TEST(test_many_one_by_one),
        TEST(test_unsub),
        TEST(test_upsert),
        TEST(test_bye),
        TEST(test_end_of_stream),
        TEST(test_connection_breaks),
        TEST(test_session_goes_on),
        TEST(test_credit),
        TEST(test_upsert_of_one_that_is_at_work),
        TEST(test_member_of_a_group),
        TEST(test_leaves_the_cluster),
        TEST(test_bad_echoes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
