/* Streams that all brokers share: what is published to them is answered when it is stored, wherever that may be, and
 * read at each broker in one order. */
#include "sea_rig.h"

#include <stdio.h>
#include <string.h>

/* ---- publishing and reading -------------------------------------------------------------------------------------- */

static void what_is_published_at_any_broker_is_read_at_all_in_one_order(void **state)
{
    struct sea *sea = sea_two(state);
    sea_hello(sea, 0, 'q', (struct mps_hello){0});
    sea_subscribe(sea, 0, 'q', "o/#", sea_from_all);
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    sea_words(sea, 0, 'q');
    sea_expect(sea, 1, 'r', "suback 1 | mark 1 1 | mark 1 2");
    for (int i = 0; i < 3; i++) {
        sea_publish(sea, 0, 'p', "o/1", "x");
        sea_publish(sea, 1, 'r', "o/2", "y");
    }
    char at_one[1024];
    snprintf(at_one, sizeof at_one, "%s", sea_words(sea, 0, 'q'));
    sea_expect(sea, 1, 'r', "for 1 at S-1 | o/1=x | o/2=y | o/1=x | o/2=y | o/1=x | o/2=y");
    assert_string_equal(at_one, "for 1 at S-1 | o/1=x | o/2=y | o/1=x | o/2=y | o/1=x | o/2=y");
}

static void it_is_acknowledged_once_it_is_settled(void **state)
{
    struct sea *sea = sea_two(state);
    memory_bus_faults(sea->bus)->settle_ms = 100;
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_expect(sea, 0, 'p', "");
    sea_pass(sea, 99);
    sea_expect(sea, 0, 'p', "");
    sea_pass(sea, 1);
    sea_expect(sea, 0, 'p', "ok 1 nobody");
}

static void pipelined_publishes_are_answered_together(void **state)
{
    struct sea *sea = sea_two(state);
    stage_pub(sea->at[0], 'p', 1, 2);
    for (int i = 0; i < 50; i++) stage_write_msg(sea->at[0], 'p', i % 2 ? "o/1" : "o/2", "x");
    sea_flow(sea);
    sea_expect(sea, 0, 'p', "ok 50 nobody");
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){51, 2u << MPS_PUB_LEVEL_SHIFT | MPS_PUB_EACH});
    stage_write(sea->at[0], 'p', &out);
    for (int i = 0; i < 3; i++) stage_write_msg(sea->at[0], 'p', "o/1", "x");
    sea_flow(sea);
    sea_expect(sea, 0, 'p', "ok 51 nobody | ok 52 nobody | ok 53 nobody");
}

/* Answers keep the order of pids, whatever each of them waits for. */
static void answers_come_in_order_whatever_they_wait_for(void **state)
{
    struct sea *sea = *state;
    sea_start_stored(sea, 0);
    sea_hello(sea, 0, 'p', (struct mps_hello){0});
    memory_bus_faults(sea->bus)->settle_ms = 500;
    stage_pub(sea->at[0], 'p', 1, 2);
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_publish(sea, 0, 'p', "own/1", "x");
    stage_pub(sea->at[0], 'p', 3, 1);
    sea_publish(sea, 0, 'p', "else", "x");
    sea_publish(sea, 0, 'p', "bad/+", "x");
    sea_expect(sea, 0, 'p', "");
    sea_pass(sea, 500);
    sea_expect(sea, 0, 'p', "ok 1 nobody | ok 2 nobody | ok 3 nobody | refused 4 210");
    memory_store_hold(sea->at[0]->gate.inner, true, false);
    memory_bus_faults(sea->bus)->settle_ms = 0;
    stage_pub(sea->at[0], 'p', 5, 2);
    sea_publish(sea, 0, 'p', "own/1", "x");
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_expect(sea, 0, 'p', "");
    memory_store_hold(sea->at[0]->gate.inner, false, false);
    memory_store_finish_commit(sea->at[0]->gate.inner);
    sea_flow(sea);
    sea_expect(sea, 0, 'p', "ok 5 nobody | ok 7 nobody");
}

static void levels_are_what_the_stream_can_give(void **state)
{
    struct sea *sea = *state;
    sea->streams[0].replicas = 1;
    sea_start(sea, 0);
    sea_hello(sea, 0, 'p', (struct mps_hello){0});
    assert_int_equal(sea->at[0]->broker->ack_level, 2);
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_expect(sea, 0, 'p', "refused 1 216");
    sea_publish(sea, 0, 'p', "else", "x");
    sea_expect(sea, 0, 'p', "refused 2 216");
    stage_pub(sea->at[0], 'p', 3, 2);
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_expect(sea, 0, 'p', "ok 3 nobody");
}

static void more_copies_give_the_highest_level(void **state)
{
    struct sea *sea = sea_two(state);
    assert_int_equal(sea->at[0]->broker->ack_level, 3);
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_publish(sea, 0, 'p', "else", "x");
    sea_expect(sea, 0, 'p', "ok 1 nobody | refused 2 216");
}

/* What the stream is like isn't known when it is published to. */
static void one_copy_is_never_acknowledged_as_several(void **state)
{
    struct sea *sea = *state;
    sea->streams[0].replicas = 1;
    sea_start(sea, 0);
    sea->streams[0].replicas = 3;
    memory_bus_away(sea->bus, "two", false, true);
    sea_start(sea, 1);
    sea_hello(sea, 1, 'p', (struct mps_hello){0});
    stage_pub(sea->at[1], 'p', 1, 3);
    sea_publish(sea, 1, 'p', "o/1", "x");
    stage_pub(sea->at[1], 'p', 2, 2);
    sea_publish(sea, 1, 'p', "o/1", "y");
    sea_expect(sea, 1, 'p', "");
    memory_bus_away(sea->bus, "two", false, false);
    sea_flow(sea);
    sea_expect(sea, 1, 'p', "refused 1 216 | ok 2 nobody");
    assert_int_equal(sea_stream(sea, 1)->next, 3);
}

static void an_answer_tells_the_position(void **state)
{
    struct sea *sea = sea_two(state);
    mps_view frame;
    struct mps_puback puback;
    const char *what;
    sea_publish(sea, 1, 'r', "o/1", "somebody else's");
    stage_pub(sea->at[0], 'p', 1, 3);
    for (int i = 0; i < 3; i++) stage_write_msg(sea->at[0], 'p', i == 1 ? "o/1" : "o/2", "x");
    sea_flow(sea);
    assert_int_equal(stage_take(sea->at[0], 'p', &frame), MPS_OP_PUBACK);
    assert_int_equal(mps_decode_puback(frame, &puback, &what), MPS_OK);
    assert_int_equal(puback.pid, 3);
    assert_int_equal(puback.stream, sea_number());
    assert_int_equal(puback.seq, 4);
}

static void a_subscriber_gets_it_at_once_and_not_from_the_stream(void **state)
{
    struct sea *sea = sea_two(state);
    memory_bus_away(sea->bus, NULL, false, true);
    sea_flow(sea);
    sea_hello(sea, 0, 's', (struct mps_hello){0});
    stage_sub(sea->at[0], 's', 1, "o/#", (struct mps_sub_options){0});
    sea_flow(sea);
    sea_words(sea, 0, 's');
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_expect(sea, 0, 's', "for 1 | o/1=x");
    memory_bus_away(sea->bus, NULL, false, false);
    sea_pass(sea, 2000);
    sea_expect(sea, 0, 's', "");
    assert_int_equal(memory_bus_next_position(sea->bus, sea_number()), 2);
}

/* ---- away -------------------------------------------------------------------------------------------------------- */

static void while_it_is_away_answers_wait_and_other_topics_go_on(void **state)
{
    struct sea *sea = sea_two(state);
    memory_bus_away(sea->bus, NULL, false, true);
    sea_flow(sea);
    assert_non_null(strstr(sea->at[0]->logged, "stream 'orders' is away: "));
    sea_hello(sea, 0, 'o', (struct mps_hello){0});
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "x");
    stage_pub(sea->at[0], 'o', 1, 1);
    sea_publish(sea, 0, 'o', "else", "x");
    sea_expect(sea, 0, 'o', "ok 1 nobody");
    sea_publish(sea, 0, 'o', "o/2", "routed is enough");
    sea_expect(sea, 0, 'o', "ok 2 nobody");
    sea_pass(sea, SEA_DEFER_MS - 1000);
    sea_expect(sea, 0, 'p', "");
    memory_bus_away(sea->bus, NULL, false, false);
    sea_flow(sea);
    sea_expect(sea, 0, 'p', "ok 1 nobody");
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    sea_expect(sea, 1, 'r', "suback 1 | mark 1 1 | for 1 flags 2 at S-1 | o/1=x | o/2=routed is enough | mark 1 2");
}

static void what_waits_for_too_long_is_refused_and_never_acknowledged(void **state)
{
    struct sea *sea = sea_two(state);
    memory_bus_away(sea->bus, NULL, false, true);
    sea_flow(sea);
    stage_pub(sea->at[0], 'p', 1, 2);
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_publish(sea, 0, 'p', "o/2", "y");
    sea_pass(sea, SEA_DEFER_MS + 1000);
    sea_expect(sea, 0, 'p', "refused 1 216 | refused 2 216");
    memory_bus_away(sea->bus, NULL, false, false);
    sea_flow(sea);
    sea_publish(sea, 0, 'p', "o/3", "z");
    sea_expect(sea, 0, 'p', "ok 3 nobody");
}

static void more_than_may_wait_is_refused_at_any_level(void **state)
{
    struct sea *sea = sea_two(state);
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    memory_bus_away(sea->bus, NULL, false, true);
    sea_flow(sea);
    stage_sub(sea->at[0], 'p', 1, "o/#", (struct mps_sub_options){0});
    sea_words(sea, 0, 'p');
    for (int i = 0; i < 4; i++) sea_publish(sea, 0, 'p', "o/1", text);
    sea_words(sea, 0, 'p');
    sea_publish(sea, 0, 'p', "o/1", text); /* nobody gets what is refused */
    sea_expect(sea, 0, 'p', "err 216");
    stage_pub(sea->at[0], 'p', 1, 1);
    sea_publish(sea, 0, 'p', "o/1", text);
    sea_expect(sea, 0, 'p', "refused 1 216");
    stage_pub(sea->at[0], 'p', 2, 3);
    sea_publish(sea, 0, 'p', "o/1", text);
    sea_expect(sea, 0, 'p', "refused 2 216");
    memory_bus_away(sea->bus, NULL, false, false);
    sea_flow(sea);
    sea_publish(sea, 0, 'p', "o/1", "y");
    sea_expect(sea, 0, 'p', "o/1=y | ok 3");
    assert_int_equal(memory_bus_next_position(sea->bus, sea_number()), 6);
}

static void a_stream_that_refuses_says_that_it_is_full(void **state)
{
    struct sea *sea = *state;
    sea->streams[0].refuses = true;
    sea->streams[0].max_msgs = 2;
    sea_two(state);
    stage_pub(sea->at[0], 'p', 1, 2);
    for (int i = 0; i < 3; i++) sea_publish(sea, 0, 'p', "o/1", "x");
    sea_expect(sea, 0, 'p', "ok 1 nobody | ok 2 nobody | refused 3 225");
    stage_pub(sea->at[0], 'p', 4, 1);
    sea_publish(sea, 0, 'p', "o/1", "x"); /* nobody asked */
    sea_expect(sea, 0, 'p', "ok 4 nobody");
    assert_int_equal(sea_stream(sea, 0)->unstored, 1);
}

static void what_waits_when_a_broker_leaves_is_one_line(void **state)
{
    struct sea *sea = *state;
    sea_two(state);
    memory_bus_away(sea->bus, "one", true, true);
    sea_flow(sea);
    stage_pub(sea->at[0], 'p', 1, 1);
    for (int i = 0; i < 5; i++) sea_publish(sea, 0, 'p', "o/1", "x");
    stage_words(sea->at[0], 'p');
    broker_leave(sea->at[0]->broker);
    const char *line = strstr(sea->at[0]->logged, "not known to be: 5 times");
    assert_non_null(line);
    assert_null(strstr(sea->at[0]->logged, "not known to be in stream"));
    assert_int_equal(sea_stream(sea, 0)->unstored, 5);
}

/* ---- resending --------------------------------------------------------------------------------------------------- */

static void a_resend_to_another_broker_is_stored_once(void **state)
{
    struct sea *sea = *state;
    const struct mps_hello session = {.id = mps_text("dev"), .sess_s = 60, .boot = 7};
    sea_start(sea, 0);
    sea_start(sea, 1);
    sea_hello(sea, 0, 'p', session);
    memory_bus_faults(sea->bus)->settle_ms = 1000;
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "a");
    sea_publish(sea, 0, 'p', "o/1", "b");
    stage_cut(sea->at[0], 'p');
    sea_hello(sea, 1, 'p', session);
    stage_pub(sea->at[1], 'p', 1, 3);
    sea_publish(sea, 1, 'p', "o/1", "a");
    sea_publish(sea, 1, 'p', "o/1", "b");
    sea_publish(sea, 1, 'p', "o/1", "c");
    sea_expect(sea, 1, 'p', "");
    sea_pass(sea, 1000);
    sea_expect(sea, 1, 'p', "ok 2 again | ok 3 nobody");
    assert_int_equal(memory_bus_next_position(sea->bus, sea_number()), 4);
}

static void a_resend_to_the_same_broker_waits_for_the_first_one(void **state)
{
    struct sea *sea = *state;
    const struct mps_hello session = {.id = mps_text("dev"), .sess_s = 60, .boot = 7};
    sea_start(sea, 0);
    sea_hello(sea, 0, 'p', session);
    memory_bus_faults(sea->bus)->settle_ms = 1000;
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "a");
    stage_cut(sea->at[0], 'p');
    sea_hello(sea, 0, 'p', session);
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "a");
    sea_expect(sea, 0, 'p', "");
    sea_pass(sea, 1000);
    sea_expect(sea, 0, 'p', "ok 1 again");
    assert_int_equal(memory_bus_next_position(sea->bus, sea_number()), 2);
}

static void a_resend_of_what_fails_is_refused_and_may_come_again(void **state)
{
    struct sea *sea = *state;
    const struct mps_hello session = {.id = mps_text("dev"), .sess_s = 60, .boot = 7};
    sea_start(sea, 0);
    sea_hello(sea, 0, 'p', session);
    memory_bus_away(sea->bus, NULL, false, true);
    sea_flow(sea);
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "a");
    stage_cut(sea->at[0], 'p');
    sea_hello(sea, 0, 'p', session);
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "a");
    sea_pass(sea, SEA_DEFER_MS + 1000);
    sea_expect(sea, 0, 'p', "refused 1 216");
    memory_bus_away(sea->bus, NULL, false, false);
    stage_cut(sea->at[0], 'p');
    sea_hello(sea, 0, 'p', session);
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "a");
    sea_expect(sea, 0, 'p', "ok 1 nobody");
}

/* A broker that dies has stored what it knows of a publisher, and the engine has what it was given, or not. */
static void after_a_crash_of_the_broker_nothing_is_taken_for_stored(void **state)
{
    struct sea *sea = *state;
    const struct mps_hello session = {.id = mps_text("dev"), .sess_s = 60, .boot = 7};
    sea_start_stored(sea, 0);
    sea_hello(sea, 0, 'p', session);
    memory_bus_away(sea->bus, NULL, false, true);
    sea_flow(sea);
    stage_pub(sea->at[0], 'p', 1, 2);
    sea_publish(sea, 0, 'p', "own/1", "a");
    sea_publish(sea, 0, 'p', "o/1", "b");
    sea_publish(sea, 0, 'p', "own/1", "c");
    sea_pass(sea, 200);
    sea_expect(sea, 0, 'p', "ok 1 nobody");
    struct engine *engine = sea->engines[0];
    sea->engines[0] = NULL;
    stage_crash(sea->at[0], true);
    memory_engine_crash(engine, false);
    memory_bus_away(sea->bus, NULL, false, false);
    sea_start_stored(sea, 0);
    sea_hello(sea, 0, 'p', session);
    stage_pub(sea->at[0], 'p', 2, 2);
    sea_publish(sea, 0, 'p', "o/1", "b");
    sea_publish(sea, 0, 'p', "own/1", "c");
    sea_expect(sea, 0, 'p', "ok 2 nobody | ok 3 again");
    assert_int_equal(stream_by_number(sea->at[0]->broker, 64)->next, 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, sea_set_up, sea_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_published_at_any_broker_is_read_at_all_in_one_order),
        TEST(it_is_acknowledged_once_it_is_settled),
        TEST(pipelined_publishes_are_answered_together),
        TEST(answers_come_in_order_whatever_they_wait_for),
        TEST(levels_are_what_the_stream_can_give),
        TEST(more_copies_give_the_highest_level),
        TEST(one_copy_is_never_acknowledged_as_several),
        TEST(an_answer_tells_the_position),
        TEST(a_subscriber_gets_it_at_once_and_not_from_the_stream),
        TEST(while_it_is_away_answers_wait_and_other_topics_go_on),
        TEST(what_waits_for_too_long_is_refused_and_never_acknowledged),
        TEST(more_than_may_wait_is_refused_at_any_level),
        TEST(a_stream_that_refuses_says_that_it_is_full),
        TEST(what_waits_when_a_broker_leaves_is_one_line),
        TEST(a_resend_to_another_broker_is_stored_once),
        TEST(a_resend_to_the_same_broker_waits_for_the_first_one),
        TEST(a_resend_of_what_fails_is_refused_and_may_come_again),
        TEST(after_a_crash_of_the_broker_nothing_is_taken_for_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
