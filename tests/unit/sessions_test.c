/* Sessions that outlive their connections, on a broker without a store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_stage.h"

#define HOUR_S 3600u

static const struct mps_sub_options no_options;
/* Without retained values there is no MARK either. */
static const struct mps_sub_options plain = {.given = MPS_SUB_RETAINED, .retained = 2};

static struct mps_hello client(const char *id)
{
    return (struct mps_hello){.id = mps_text(id), .sess_s = HOUR_S};
}

static struct mps_sub_options queue_of(uint64_t msgs, enum mps_policy policy)
{
    struct mps_sub_options options = plain;
    options.given |= MPS_SUB_MAX_MSGS | MPS_SUB_POLICY;
    options.max_msgs = msgs;
    options.policy = policy;
    return options;
}

static struct mps_sub_options member_of(const char *group)
{
    struct mps_sub_options options = plain;
    options.given |= MPS_SUB_GROUP;
    options.group = mps_text(group);
    return options;
}

/* Client 'a' with a subscription to t/#, and 'p' who publishes. */
static void begin(struct stage *stage, struct mps_sub_options options)
{
    stage_start(stage);
    stage_hello(stage, 'a', client("a"));
    stage_sub(stage, 'a', 1, "t/#", options);
    stage_expect(stage, 'a', "welcome last 0 | suback 1");
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    stage_expect(stage, 'p', "welcome last 0");
}

static void publish(struct stage *stage, int from, int to)
{
    for (int i = from; i <= to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        stage_msg(stage, 'p', "t/x", text);
    }
}

static uint64_t sessions_away(const struct stage *stage)
{
    struct broker_figures figures;
    broker_figures(stage->broker, &figures);
    return figures.sessions_away;
}

static uint64_t subscriptions(const struct stage *stage)
{
    struct broker_figures figures;
    broker_figures(stage->broker, &figures);
    return figures.subscriptions;
}

/* ---- going and coming back ---------------------------------------------------------------------------------- */

static void test_what_came_meanwhile_is_sent_after_welcome(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    publish(stage, 1, 1);
    stage_expect(stage, 'a', "for 1 | t/x=1");
    stage_cut(stage, 'a');
    assert_int_equal(broker_sessions(stage->broker), 1);
    assert_int_equal(sessions_away(stage), 1);
    publish(stage, 2, 3);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=2 | t/x=3");
    assert_int_equal(sessions_away(stage), 0);
    stage_sub(stage, 'a', 1, "t/#", plain);
    publish(stage, 4, 4);
    stage_expect(stage, 'a', "suback 1 | t/x=4");
    stage_stat(stage, 'a', 1);
    stage_expect(stage, 'a', "stat 1 4 4 0 0");
    stage_sub(stage, 'a', 1, "other", plain);
    stage_expect(stage, 'a', "suback 1 refused 222");
}

static void test_without_sess_a_session_ends_with_its_connection(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_sub(stage, 'a', 1, "t/#", plain);
    stage_cut(stage, 'a');
    assert_int_equal(subscriptions(stage), 0);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome last 0");
}

static void test_a_session_ends_when_its_client_is_away_for_too_long(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    stage_cut(stage, 'a');
    stage_pass(stage, HOUR_S * 1000 - 1);
    assert_int_equal(sessions_away(stage), 1);
    assert_int_equal(subscriptions(stage), 1);
    stage_pass(stage, 1);
    assert_int_equal(sessions_away(stage), 0);
    assert_int_equal(subscriptions(stage), 0);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome last 0");
}

static void test_sess_is_capped(void **state)
{
    struct stage *stage = *state;
    stage->limits.session_max_s = 60;
    stage_start(stage);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome last 0 sess 60");
    stage_cut(stage, 'a');
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 sess 60");
    stage_cut(stage, 'a');
    stage_pass(stage, 60000);
    assert_int_equal(sessions_away(stage), 0);
}

static void test_sess_may_be_switched_off(void **state)
{
    struct stage *stage = *state;
    stage->limits.session_max_s = 0;
    stage_start(stage);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome last 0 sess 0");
    stage_cut(stage, 'a');
    assert_int_equal(sessions_away(stage), 0);
}

static void test_clean_begins_anew(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    stage_cut(stage, 'a');
    publish(stage, 1, 1);
    struct mps_hello hello = client("a");
    hello.clean = true;
    stage_hello(stage, 'a', hello);
    stage_expect(stage, 'a', "welcome last 0");
    assert_int_equal(subscriptions(stage), 0);
    stage_cut(stage, 'a');
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0");
}

static void test_hello_without_sess_ends_the_session(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    stage_cut(stage, 'a');
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_expect(stage, 'a', "welcome last 0");
    assert_int_equal(subscriptions(stage), 0);
    assert_int_equal(sessions_away(stage), 0);
}

static void test_an_id_that_the_broker_made_up_resumes(void **state)
{
    struct stage *stage = *state;
    mps_view frame;
    struct mps_welcome welcome;
    const char *what;
    char id[65];
    stage_start(stage);
    stage_hello(stage, 'a', (struct mps_hello){.sess_s = HOUR_S});
    assert_int_equal(stage_take(stage, 'a', &frame), MPS_OP_WELCOME);
    assert_int_equal(mps_decode_welcome(frame, &welcome, &what), MPS_OK);
    snprintf(id, sizeof id, "%.*s", (int)welcome.id.len, (const char *)welcome.id.ptr);
    stage_sub(stage, 'a', 1, "t/#", plain);
    stage_cut(stage, 'a');
    stage_hello(stage, 'b', client(id));
    stage_expect(stage, 'b', "welcome resumed last 0");
    assert_int_equal(subscriptions(stage), 1);
}

static void test_the_session_that_waited_longest_goes_first(void **state)
{
    struct stage *stage = *state;
    stage->limits.max_away_count = 3;
    stage_start(stage);
    for (char name = 'a'; name <= 'd'; name++) {
        stage_hello(stage, name, client((char[]){name, '\0'}));
        stage_cut(stage, name);
    }
    assert_int_equal(sessions_away(stage), 3);
    stage_hello(stage, 'a', client("a"));
    stage_hello(stage, 'b', client("b"));
    stage_hello(stage, 'c', client("c"));
    stage_expect(stage, 'a', "welcome last 0");
    stage_expect(stage, 'b', "welcome resumed last 0");
    stage_expect(stage, 'c', "welcome resumed last 0");
}

/* ---- how a connection ends ---------------------------------------------------------------------------------- */

static void test_bye_leaves_the_session(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    stage_room(stage, 'a', 0);
    publish(stage, 1, 2);
    stage_bye(stage, 'a', 0);
    publish(stage, 3, 4); /* after the end: they wait */
    stage_room(stage, 'a', STAGE_ROOM);
    stage_expect(stage, 'a', "for 1 | t/x=1 | t/x=2 | bye 0 | end");
    stage_hello(stage, 'b', client("a"));
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 | t/x=3 | t/x=4");
}

static void test_credit_that_was_not_used_is_there_again(void **state)
{
    struct stage *stage = *state;
    struct mps_sub_options options = plain;
    options.given |= MPS_SUB_CREDIT;
    options.credit = 3;
    begin(stage, options);
    publish(stage, 1, 1);
    stage_bye(stage, 'a', 0);
    stage_expect(stage, 'a', "for 1 | t/x=1 | bye 0 | end");
    publish(stage, 2, 5);
    stage_hello(stage, 'b', client("a"));
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 | t/x=2 | t/x=3");
}

static void test_a_silent_client_leaves_its_session(void **state)
{
    struct stage *stage = *state;
    struct mps_hello hello = client("a");
    hello.ka_s = 10;
    stage_start(stage);
    stage_hello(stage, 'a', hello);
    stage_sub(stage, 'a', 1, "t/#", plain);
    stage_expect(stage, 'a', "welcome last 0 | suback 1");
    stage_pass(stage, 15000);
    stage_expect(stage, 'a', "bye 110 | end");
    assert_int_equal(subscriptions(stage), 1);
    stage_hello(stage, 'b', client("a")); /* while the old connection is closing */
    stage_expect(stage, 'b', "welcome resumed last 0");
}

static void test_the_end_of_the_stream_leaves_the_session(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    stage_end(stage, 'a');
    stage_expect(stage, 'a', "end");
    publish(stage, 1, 1);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=1");
}

static void test_a_client_that_is_too_slow_keeps_its_queue(void **state)
{
    struct stage *stage = *state;
    begin(stage, queue_of(2, MPS_POLICY_CLOSE));
    stage_room(stage, 'a', 0);
    publish(stage, 1, 4);
    stage_cut(stage, 'a');
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=1 | t/x=2 | gap 1 x1 reason 2 | gap 1 x1 reason 6");
}

static void test_a_frame_that_was_cut_is_not_sent_again(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    stage_room(stage, 'a', 6); /* FOR takes 3 */
    publish(stage, 1, 2);
    stage_cut(stage, 'a');
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=2");
    stage_stat(stage, 'a', 1);
    stage_expect(stage, 'a', "stat 1 2 2 0 0");
}

static void test_a_stopping_broker_ends_all(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    broker_stop(stage->broker);
    stage_settle(stage);
    stage_expect(stage, 'a', "info | bye 113 | end");
    stage_end(stage, 'a');
    stage_end(stage, 'p');
    assert_int_equal(broker_sessions(stage->broker), 0);
}

/* ---- takeover ----------------------------------------------------------------------------------------------- */

static void test_takeover_moves_the_session(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    stage_room(stage, 'a', 0);
    publish(stage, 1, 2);
    stage_hello(stage, 'b', client("a"));
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 | t/x=1 | t/x=2");
    stage_room(stage, 'a', STAGE_ROOM);
    stage_expect(stage, 'a', "bye 109 | end");
    publish(stage, 3, 3);
    stage_expect(stage, 'b', "t/x=3");
    stage_cut(stage, 'a');
    assert_int_equal(subscriptions(stage), 1);
    assert_int_equal(sessions_away(stage), 0);
}

static void test_takeover_without_sess_moves_nothing(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    stage_hello(stage, 'b', (struct mps_hello){.id = mps_text("a")});
    stage_expect(stage, 'a', "bye 109 | end");
    stage_expect(stage, 'b', "welcome last 0");
    assert_int_equal(subscriptions(stage), 0);
    stage_hello(stage, 'c', client("a")); /* the one before had no session */
    stage_expect(stage, 'b', "bye 109 | end");
    stage_expect(stage, 'c', "welcome last 0");
}

static void test_takeover_of_one_that_is_leaving(void **state)
{
    struct stage *stage = *state;
    begin(stage, plain);
    stage_room(stage, 'a', 0);
    publish(stage, 1, 1);
    stage_bye(stage, 'a', 0);
    publish(stage, 2, 2);
    stage_hello(stage, 'b', client("a"));
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 | t/x=1 | t/x=2");
}

static void test_the_inbox_is_the_connections(void **state)
{
    struct stage *stage = *state;
    mps_view frame;
    struct mps_welcome welcome;
    const char *what;
    char topic[80];
    stage_start(stage);
    stage_hello(stage, 'a', client("a"));
    assert_int_equal(stage_take(stage, 'a', &frame), MPS_OP_WELCOME);
    assert_int_equal(mps_decode_welcome(frame, &welcome, &what), MPS_OK);
    snprintf(topic, sizeof topic, "%.*s/1", (int)welcome.inbox.len, (const char *)welcome.inbox.ptr);
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    stage_room(stage, 'a', 0);
    stage_msg(stage, 'p', topic, "1");
    stage_cut(stage, 'a');
    stage_msg(stage, 'p', topic, "2");
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0");
    stage_stat(stage, 'a', 0);
    stage_expect(stage, 'a', "stat 0 0 0 0 0");
}

static void test_a_snapshot_goes_on(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){0, MPS_PUB_RETAIN});
    stage_send(stage, 'p', &out);
    stage_msg(stage, 'p', "t/1", "one");
    stage_msg(stage, 'p', "t/2", "two");
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome last 0");
    stage_room(stage, 'a', 4 + 4 + 3); /* SUBACK, FOR, and some of the first value */
    stage_sub(stage, 'a', 1, "t/#", no_options);
    stage_cut(stage, 'a');
    stage_msg(stage, 'p', "t/3", "live");
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 flags 1 | t/2=two | mark 1 1 | for 1 | t/3=live");
}

static void test_no_local_is_that_of_the_session(void **state)
{
    struct stage *stage = *state;
    struct mps_sub_options options = plain;
    options.given |= MPS_SUB_NO_LOCAL;
    options.no_local = true;
    begin(stage, options);
    stage_cut(stage, 'a');
    publish(stage, 1, 1);
    stage_hello(stage, 'a', client("a"));
    stage_msg(stage, 'a', "t/x", "own");
    publish(stage, 2, 2);
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=1 | t/x=2");
}

/* ---- queues while away -------------------------------------------------------------------------------------- */

static void expect_after_five(void **state, struct mps_sub_options options, const char *expected)
{
    struct stage *stage = *state;
    begin(stage, options);
    stage_cut(stage, 'a');
    publish(stage, 1, 5);
    stage_ping(stage, 'p');
    stage_expect(stage, 'p', "pong"); /* nobody was held */
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', expected);
}

static void test_drop_old_loses_the_oldest(void **state)
{
    expect_after_five(state, queue_of(2, MPS_POLICY_DROP_OLD),
                      "welcome resumed last 0 | gap 1 x3 reason 6 | for 1 | t/x=4 | t/x=5");
}

static void test_drop_new_loses_the_newest(void **state)
{
    expect_after_five(state, queue_of(2, MPS_POLICY_DROP_NEW),
                      "welcome resumed last 0 | for 1 | t/x=1 | t/x=2 | gap 1 x3 reason 6");
}

static void test_block_holds_nobody(void **state)
{
    expect_after_five(state, queue_of(2, MPS_POLICY_BLOCK),
                      "welcome resumed last 0 | for 1 | t/x=1 | t/x=2 | gap 1 x3 reason 6");
}

static void test_close_loses_the_newest(void **state)
{
    expect_after_five(state, queue_of(2, MPS_POLICY_CLOSE),
                      "welcome resumed last 0 | for 1 | t/x=1 | t/x=2 | gap 1 x3 reason 6");
}

static void test_latest_supersedes(void **state)
{
    expect_after_five(state, queue_of(2, MPS_POLICY_LATEST),
                      "welcome resumed last 0 | gap 1 x4 reason 3 | for 1 | t/x=5");
}

static void test_latest_has_no_room_for_more_keys(void **state)
{
    struct stage *stage = *state;
    begin(stage, queue_of(2, MPS_POLICY_LATEST));
    stage_cut(stage, 'a');
    stage_msg(stage, 'p', "t/1", "1");
    stage_msg(stage, 'p', "t/2", "2");
    stage_msg(stage, 'p', "t/3", "3");
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | gap 1 x1 reason 6 | for 1 | t/2=2 | t/3=3");
}

static void test_spill_loses_nothing(void **state)
{
    expect_after_five(state, queue_of(2, MPS_POLICY_SPILL),
                      "welcome resumed last 0 | for 1 | t/x=1 | t/x=2 | t/x=3 | t/x=4 | t/x=5");
}

static void test_what_was_spilled_may_be_too_long(void **state)
{
    struct stage *stage = *state;
    struct mps_hello hello = client("a");
    begin(stage, queue_of(1, MPS_POLICY_SPILL));
    stage_cut(stage, 'a');
    publish(stage, 1, 2);
    stage_msg(stage, 'p', "t/x", "a text that is too long for a small client");
    publish(stage, 3, 3);
    hello.rx_max = 20;
    stage_hello(stage, 'a', hello);
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=1 | t/x=2 | gap 1 x1 reason 7 | t/x=3");
    stage_stat(stage, 'a', 1);
    stage_expect(stage, 'a', "stat 1 4 3 1 0");
}

static void test_spill_has_no_room(void **state)
{
    ((struct stage *)*state)->limits.spill_bytes = 0;
    expect_after_five(state, queue_of(2, MPS_POLICY_SPILL),
                      "welcome resumed last 0 | for 1 | t/x=1 | t/x=2 | gap 1 x3 reason 6");
}

static void test_a_client_that_leaves_is_sent_what_was_spilled(void **state)
{
    struct stage *stage = *state;
    begin(stage, queue_of(1, MPS_POLICY_SPILL));
    stage_room(stage, 'a', 0);
    publish(stage, 1, 3);
    stage_bye(stage, 'a', 0);
    publish(stage, 4, 4);
    stage_room(stage, 'a', STAGE_ROOM);
    stage_expect(stage, 'a', "for 1 | t/x=1 | t/x=2 | t/x=3 | bye 0 | end");
    stage_hello(stage, 'b', client("a"));
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 | t/x=4");
}

static void test_a_held_publisher_goes_on_when_its_reader_goes(void **state)
{
    struct stage *stage = *state;
    struct mps_sub_options options = queue_of(1, MPS_POLICY_BLOCK);
    options.given |= MPS_SUB_BLOCK_MS;
    options.block_ms = 60000;
    begin(stage, options);
    stage_room(stage, 'a', 0);
    stage_pub(stage, 'p', 1, 1);
    publish(stage, 1, 4);
    stage_pass(stage, 1000);
    stage_expect(stage, 'p', "ok 1");
    stage_cut(stage, 'a');
    stage_expect(stage, 'p', "ok 4");
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=1 | gap 1 x3 reason 6");
}

static void test_queues_of_those_who_are_away_count_in_the_budget(void **state)
{
    struct stage *stage = *state;
    stage->limits.queue_total_bytes = 64 * 1024;
    begin(stage, plain);
    stage_cut(stage, 'a');
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    for (int i = 0; i < 100; i++) stage_msg(stage, 'p', "t/x", text);
    stage_hello(stage, 'a', client("a"));
    assert_non_null(strstr(stage_words(stage, 'a'), " reason 11 | for 1 | t/x="));
}

static void test_a_connection_that_takes_less(void **state)
{
    struct stage *stage = *state;
    struct mps_hello hello = client("a");
    begin(stage, plain);
    stage_cut(stage, 'a');
    stage_msg(stage, 'p', "t/x", "short");
    stage_msg(stage, 'p', "t/x", "a text that is too long for a small client");
    stage_msg(stage, 'p', "t/x", "brief");
    hello.rx_max = 20;
    stage_hello(stage, 'a', hello);
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=short | gap 1 x1 reason 7 | t/x=brief");
    stage_msg(stage, 'p', "t/x", "a text that is too long for a small client");
    stage_expect(stage, 'a', "gap 1 x1 reason 7");
    stage_stat(stage, 'a', 1);
    stage_expect(stage, 'a', "stat 1 4 2 2 0");
    stage_cut(stage, 'a');
    stage_hello(stage, 'a', client("a")); /* and then all again */
    stage_msg(stage, 'p', "t/x", "a text that is too long for a small client");
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=a text that is too long for a small client");
}

static void test_latest_on_a_connection_that_takes_less(void **state)
{
    struct stage *stage = *state;
    struct mps_hello hello = client("a");
    begin(stage, queue_of(10, MPS_POLICY_LATEST));
    stage_cut(stage, 'a');
    stage_msg(stage, 'p', "t/1", "short");
    stage_msg(stage, 'p', "t/2", "a text that is too long for a small client");
    stage_msg(stage, 'p', "t/3", "brief");
    hello.rx_max = 20;
    stage_room(stage, 'a', 0);
    stage_hello(stage, 'a', hello);
    stage_room(stage, 'a', 0);
    stage_msg(stage, 'p', "t/2", "now short");
    stage_room(stage, 'a', STAGE_ROOM);
    stage_expect(stage, 'a',
                 "welcome resumed last 0 | for 1 | t/1=short | gap 1 x1 reason 7 | t/3=brief | t/2=now short");
}

/* ---- groups ------------------------------------------------------------------------------------------------- */

static void begin_group(struct stage *stage, struct mps_sub_options options)
{
    begin(stage, options);
    stage_hello(stage, 'b', client("b"));
    stage_sub(stage, 'b', 1, "t/#", options);
    stage_expect(stage, 'b', "welcome last 0 | suback 1");
}

static void test_members_rest_while_they_are_away(void **state)
{
    struct stage *stage = *state;
    begin_group(stage, member_of("g"));
    stage_cut(stage, 'a');
    publish(stage, 1, 4);
    stage_expect(stage, 'b', "for 1 | t/x=1 | t/x=2 | t/x=3 | t/x=4");
    stage_cut(stage, 'b');
    publish(stage, 5, 6); /* the group collects */
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=5 | t/x=6");
    stage_hello(stage, 'b', client("b"));
    publish(stage, 7, 8);
    stage_expect(stage, 'a', "t/x=8");
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 | t/x=7");
}

static void test_what_a_member_could_not_be_sent_goes_to_others(void **state)
{
    struct stage *stage = *state;
    begin_group(stage, member_of("g"));
    stage_room(stage, 'a', 0);
    stage_room(stage, 'b', 0);
    publish(stage, 1, 4);
    stage_cut(stage, 'a');
    stage_room(stage, 'b', STAGE_ROOM);
    stage_expect(stage, 'b', "for 1 | t/x=1 | t/x=2 | t/x=3 | t/x=4");
}

static void test_a_group_of_those_who_are_away_holds_nobody(void **state)
{
    struct stage *stage = *state;
    struct mps_sub_options options = member_of("g");
    options.given |= MPS_SUB_POLICY | MPS_SUB_MAX_MSGS | MPS_SUB_BLOCK_MS;
    options.policy = MPS_POLICY_BLOCK;
    options.max_msgs = 1;
    options.block_ms = 60000;
    begin_group(stage, options);
    stage_room(stage, 'b', 0);
    stage_cut(stage, 'a');
    stage_pub(stage, 'p', 1, 1);
    publish(stage, 1, 4);
    stage_expect(stage, 'p', "ok 1");
    stage_cut(stage, 'b');
    stage_expect(stage, 'p', "ok 4");
    stage_hello(stage, 'b', client("b"));
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 | t/x=1 | gap 1 x3 reason 10");
}

static void test_a_member_that_is_back_makes_publishers_wait(void **state)
{
    struct stage *stage = *state;
    struct mps_sub_options options = member_of("g");
    options.given |= MPS_SUB_POLICY | MPS_SUB_MAX_MSGS | MPS_SUB_BLOCK_MS;
    options.policy = MPS_POLICY_BLOCK;
    options.max_msgs = 1;
    options.block_ms = 60000;
    begin(stage, options);
    stage_cut(stage, 'a');
    stage_hello(stage, 'a', client("a"));
    stage_room(stage, 'a', 0);
    stage_pub(stage, 'p', 1, 1);
    publish(stage, 1, 3);
    stage_expect(stage, 'p', "ok 1");
    stage_room(stage, 'a', STAGE_ROOM);
    stage_expect(stage, 'p', "ok 2 | ok 3");
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 | t/x=1 | t/x=2 | t/x=3");
}

/* A snapshot that looks through many values takes its connection more than one turn. */
static void test_what_a_member_has_in_hand_goes_back(void **state)
{
    struct stage *stage = *state;
    uint8_t room[256];
    struct mps_out out = mps_out_open(room, sizeof room);
    begin(stage, member_of("g"));
    mps_encode_pub(&out, &(struct mps_pub){0, MPS_PUB_RETAIN});
    stage_send(stage, 'p', &out);
    for (int i = 0; i < 5000; i++) {
        char topic[16];
        snprintf(topic, sizeof topic, "r/%d", i);
        stage_msg(stage, 'p', topic, "v");
    }
    out.len = 0;
    mps_encode_sub(&out, &(struct mps_sub){2, mps_text("q/#"), no_options});
    stage_write(stage, 'a', &out);
    out.len = 0;
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("t/x"), .payload = mps_text("1")});
    stage_write(stage, 'p', &out);
    stage_turn(stage);
    stage_hello(stage, 'b', client("a"));
    stage_expect(stage, 'b', "welcome resumed last 0 | mark 2 1 | for 1 | t/x=1");
    stage_stat(stage, 'b', 1);
    stage_expect(stage, 'b', "stat 1 1 1 0 0");
}

static void test_a_group_ends_with_the_last_session(void **state)
{
    struct stage *stage = *state;
    begin_group(stage, member_of("g"));
    stage_cut(stage, 'a');
    stage_cut(stage, 'b');
    publish(stage, 1, 2);
    stage_pass(stage, HOUR_S * 1000);
    assert_int_equal(subscriptions(stage), 0);
    stage_pub(stage, 'p', 1, 1);
    publish(stage, 3, 3);
    stage_expect(stage, 'p', "ok 1 nobody");
}

static void test_a_member_with_other_frames_has_to_ask_again(void **state)
{
    struct stage *stage = *state;
    struct mps_hello hello = client("a");
    begin_group(stage, member_of("g"));
    stage_cut(stage, 'a');
    hello.rx_max = 20;
    stage_hello(stage, 'a', hello);
    stage_expect(stage, 'a', "welcome resumed last 0");
    stage_sub(stage, 'a', 1, "t/#", member_of("g"));
    stage_expect(stage, 'a', "suback 1 refused 223");
    stage_cut(stage, 'b');
    hello.id = mps_text("b"); /* the only one: it may */
    stage_hello(stage, 'b', hello);
    publish(stage, 1, 1);
    stage_msg(stage, 'p', "t/x", "a text that is too long for a small client");
    publish(stage, 2, 2);
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 | t/x=1 | gap 1 x1 reason 7 | t/x=2");
}

/* ---- wills -------------------------------------------------------------------------------------------------- */

static void test_a_will_is_the_connections(void **state)
{
    struct stage *stage = *state;
    uint8_t room[64];
    struct mps_out will = mps_out_open(room, sizeof room);
    mps_put_array(&will, 4);
    mps_put_text(&will, mps_text("t/will"));
    mps_put_bin(&will, mps_text("gone"));
    mps_put_uint(&will, 0);
    mps_put_uint(&will, 1000);
    struct mps_hello hello = client("w");
    hello.will = mps_out_view(&will);
    begin(stage, plain);
    stage_hello(stage, 'b', hello);
    stage_cut(stage, 'b');
    stage_pass(stage, 999);
    stage_expect(stage, 'a', "");
    stage_hello(stage, 'b', client("w")); /* back in time, without one */
    stage_cut(stage, 'b');
    stage_pass(stage, 2000);
    stage_expect(stage, 'a', "");
    stage_hello(stage, 'b', hello);
    stage_cut(stage, 'b');
    stage_pass(stage, 1000);
    stage_expect(stage, 'a', "for 1 | t/will=gone");
    assert_int_equal(sessions_away(stage), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_came_meanwhile_is_sent_after_welcome),
        TEST(test_without_sess_a_session_ends_with_its_connection),
        TEST(test_a_session_ends_when_its_client_is_away_for_too_long),
        TEST(test_sess_is_capped),
        TEST(test_sess_may_be_switched_off),
        TEST(test_clean_begins_anew),
        TEST(test_hello_without_sess_ends_the_session),
        TEST(test_an_id_that_the_broker_made_up_resumes),
        TEST(test_the_session_that_waited_longest_goes_first),
        TEST(test_bye_leaves_the_session),
        TEST(test_credit_that_was_not_used_is_there_again),
        TEST(test_a_silent_client_leaves_its_session),
        TEST(test_the_end_of_the_stream_leaves_the_session),
        TEST(test_a_client_that_is_too_slow_keeps_its_queue),
        TEST(test_a_frame_that_was_cut_is_not_sent_again),
        TEST(test_a_stopping_broker_ends_all),
        TEST(test_takeover_moves_the_session),
        TEST(test_takeover_without_sess_moves_nothing),
        TEST(test_takeover_of_one_that_is_leaving),
        TEST(test_the_inbox_is_the_connections),
        TEST(test_a_snapshot_goes_on),
        TEST(test_no_local_is_that_of_the_session),
        TEST(test_drop_old_loses_the_oldest),
        TEST(test_drop_new_loses_the_newest),
        TEST(test_block_holds_nobody),
        TEST(test_close_loses_the_newest),
        TEST(test_latest_supersedes),
        TEST(test_latest_has_no_room_for_more_keys),
        TEST(test_spill_loses_nothing),
        TEST(test_what_was_spilled_may_be_too_long),
        TEST(test_spill_has_no_room),
        TEST(test_a_client_that_leaves_is_sent_what_was_spilled),
        TEST(test_a_held_publisher_goes_on_when_its_reader_goes),
        TEST(test_queues_of_those_who_are_away_count_in_the_budget),
        TEST(test_a_connection_that_takes_less),
        TEST(test_latest_on_a_connection_that_takes_less),
        TEST(test_members_rest_while_they_are_away),
        TEST(test_what_a_member_could_not_be_sent_goes_to_others),
        TEST(test_a_group_of_those_who_are_away_holds_nobody),
        TEST(test_a_member_that_is_back_makes_publishers_wait),
        TEST(test_what_a_member_has_in_hand_goes_back),
        TEST(test_a_group_ends_with_the_last_session),
        TEST(test_a_member_with_other_frames_has_to_ask_again),
        TEST(test_a_will_is_the_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
