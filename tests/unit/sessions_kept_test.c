/* Sessions, subscriptions and wills that outlive the broker. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_stage.h"

#define HOUR_S 3600u
#define KEPT "d/#"
#define RECORDS_BEFORE 2 /* the epoch, and the stream */

static const struct mps_sub_options plain = {.given = MPS_SUB_RETAINED, .retained = 2};

static struct mps_hello client(const char *id)
{
    return (struct mps_hello){.id = mps_text(id), .sess_s = HOUR_S};
}

static struct mps_sub_options reader(void)
{
    struct mps_sub_options options = plain;
    options.given |= MPS_SUB_FROM;
    options.from.kind = MPS_FROM_ALL;
    return options;
}

static struct mps_sub_options member(void)
{
    struct mps_sub_options options = plain;
    options.given |= MPS_SUB_GROUP;
    options.group = mps_text("g");
    return options;
}

static void begin(struct stage *stage)
{
    stage_start_stored(stage, KEPT);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome last 0");
}

static void subscribe(struct stage *stage, uint32_t sid, const char *pattern, struct mps_sub_options options)
{
    char expected[32];
    snprintf(expected, sizeof expected, "suback %u", sid);
    stage_sub(stage, 'a', sid, pattern, options);
    assert_int_equal(strncmp(stage_words(stage, 'a'), expected, strlen(expected)), 0);
}

/* What is to be kept is on the disk, and then the broker dies and another one begins. */
static void crash(struct stage *stage)
{
    stage_pass(stage, 100);
    stage_crash(stage, false);
    stage_start_stored(stage, KEPT);
}

static uint32_t records(const struct stage *stage)
{
    return memory_disk_records(stage->disk, 0);
}

static uint64_t epoch_of(struct stage *stage, char link)
{
    mps_view frame;
    struct mps_welcome welcome;
    const char *what;
    assert_int_equal(stage_take(stage, link, &frame), MPS_OP_WELCOME);
    assert_int_equal(mps_decode_welcome(frame, &welcome, &what), MPS_OK);
    return welcome.epoch;
}

static void test_a_session_is_there_again(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe(stage, 1, "t/#", plain);
    subscribe(stage, 7, "u", plain);
    stage_msg(stage, 'a', "t/x", "1");
    stage_expect(stage, 'a', "for 1 | t/x=1");
    crash(stage);
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    stage_msg(stage, 'p', "t/x", "2");
    stage_msg(stage, 'p', "u", "3");
    stage_hello(stage, 'a', client("a"));
    const char *words = stage_words(stage, 'a');
    const char *const either[] = {
        "welcome resumed last 0 | gap 1 x? reason 9 | for 1 | t/x=2 | gap 7 x? reason 9 | for 7 | u=3",
        "welcome resumed last 0 | gap 7 x? reason 9 | for 7 | u=3 | gap 1 x? reason 9 | for 1 | t/x=2",
    };
    assert_true(strcmp(words, either[0]) == 0 || strcmp(words, either[1]) == 0);
    stage_stat(stage, 'a', 1);
    stage_expect(stage, 'a', "stat 1 1 1 0 0");
    stage_sub(stage, 'a', 1, "t/#", plain);
    stage_expect(stage, 'a', "suback 1");
}

static void test_the_epoch_stays(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, KEPT);
    stage_hello(stage, 'a', client("a"));
    uint64_t epoch = epoch_of(stage, 'a');
    stage_crash(stage, false);
    stage_start_stored(stage, KEPT);
    stage_hello(stage, 'a', client("a"));
    assert_int_equal(epoch_of(stage, 'a'), epoch);
    stage_stop(stage);
    stage_start_stored(stage, KEPT);
    stage_hello(stage, 'a', client("a"));
    assert_int_equal(epoch_of(stage, 'a'), epoch);
}

static void test_it_has_all_of_its_time_again(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe(stage, 1, "t/#", plain);
    stage_cut(stage, 'a');
    stage_pass(stage, HOUR_S * 1000 - 1000);
    crash(stage);
    stage_pass(stage, HOUR_S * 1000 - 1000);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | gap 1 x? reason 9");
}

static void test_nothing_is_left_of_one_that_ended(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pass(stage, 100);
    subscribe(stage, 1, "t/#", plain);
    subscribe(stage, 2, KEPT, reader());
    stage_pub(stage, 'a', 1, 2);
    stage_pass(stage, 100);
    assert_int_equal(records(stage), RECORDS_BEFORE + 1 + 2 + 1);
    stage_cut(stage, 'a');
    stage_pass(stage, HOUR_S * 1000 + 100);
    assert_int_equal(records(stage), RECORDS_BEFORE);
    stage_crash(stage, false);
    stage_start_stored(stage, KEPT);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome last 0");
}

static void test_clean_and_sess_0_remove_it(void **state)
{
    struct stage *stage = *state;
    struct mps_hello hello = client("a");
    begin(stage);
    subscribe(stage, 1, "t/#", plain);
    hello.clean = true;
    stage_hello(stage, 'b', hello);
    crash(stage);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0");
    stage_hello(stage, 'b', (struct mps_hello){.id = mps_text("a")});
    crash(stage);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome last 0");
}

static void test_unsub_is_for_good(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe(stage, 1, "t/#", plain);
    subscribe(stage, 2, KEPT, reader());
    stage_pass(stage, 100);
    stage_unsub(stage, 'a', 1);
    stage_unsub(stage, 'a', 2);
    crash(stage);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0");
    assert_int_equal(records(stage), RECORDS_BEFORE + 1);
}

static void test_the_last_sub_counts(void **state)
{
    struct stage *stage = *state;
    struct mps_sub_options options = plain;
    begin(stage);
    subscribe(stage, 1, "t/#", options);
    options.given |= MPS_SUB_MAX_MSGS;
    options.max_msgs = 1;
    subscribe(stage, 1, "t/#", options);
    crash(stage);
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    stage_msg(stage, 'p', "t/x", "1");
    stage_msg(stage, 'p', "t/x", "2");
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | gap 1 x1 reason 6 | gap 1 x? reason 9 | for 1 | t/x=2");
}

static void test_a_graceful_stop_keeps_it_too(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe(stage, 1, "t/#", plain);
    stage_stop(stage);
    stage_start_stored(stage, KEPT);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | gap 1 x? reason 9");
}

static void test_an_ephemeral_client_leaves_no_trace(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, KEPT);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a")});
    stage_sub(stage, 'a', 1, "t/#", plain);
    stage_sub(stage, 'a', 2, KEPT, reader());
    stage_pass(stage, 100);
    assert_int_equal(records(stage), RECORDS_BEFORE);
}

/* ---- readers ------------------------------------------------------------------------------------------------ */

static void test_a_reader_goes_on_where_it_was(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe(stage, 1, KEPT, reader());
    stage_msg(stage, 'a', "d/x", "1");
    stage_pass(stage, 100);
    stage_expect(stage, 'a', "for 1 at 64-1 | d/x=1");
    crash(stage);
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    stage_msg(stage, 'p', "d/x", "2");
    stage_pass(stage, 100);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 at 64-2 | d/x=2");
}

static void test_a_reader_waits_while_its_client_is_away(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe(stage, 1, KEPT, reader());
    stage_cut(stage, 'a');
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    for (int i = 0; i < 3; i++) stage_msg(stage, 'p', "d/x", "m");
    stage_pass(stage, 100);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 at 64-1 | d/x=m | d/x=m | d/x=m");
    stage_bye(stage, 'a', 0);
    stage_msg(stage, 'p', "d/x", "4");
    stage_pass(stage, 100);
    stage_expect(stage, 'a', "bye 0 | end");
    stage_hello(stage, 'b', client("a"));
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 at 64-4 | d/x=4");
}

static void test_what_is_unacknowledged_comes_again(void **state)
{
    struct stage *stage = *state;
    struct mps_sub_options options = reader();
    options.given |= MPS_SUB_ACK;
    options.ack = MPS_ACK_EACH;
    begin(stage);
    subscribe(stage, 1, KEPT, options);
    stage_msg(stage, 'a', "d/x", "1");
    stage_pass(stage, 100);
    stage_expect(stage, 'a', "for 1 at 64-1 | d/x=1");
    stage_hello(stage, 'b', client("a"));
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 flags 4 at 64-1 | d/x=1");
    stage_cut(stage, 'b');
    stage_hello(stage, 'b', client("a"));
    stage_expect(stage, 'b', "welcome resumed last 0 | for 1 flags 4 at 64-1 | d/x=1");
}

static void test_only_what_may_be_lost_is_a_gap(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe(stage, 1, "d/x/+", reader()); /* covered by the stream */
    subscribe(stage, 2, "#", reader());     /* and this is not */
    subscribe(stage, 3, "d/x", plain);      /* this never read it */
    crash(stage);
    stage_hello(stage, 'a', client("a"));
    const char *words = stage_words(stage, 'a');
    assert_null(strstr(words, "gap 1"));
    assert_non_null(strstr(words, "gap 2 x? reason 9"));
    assert_non_null(strstr(words, "gap 3 x? reason 9"));
}

static void test_a_reader_ends_with_the_streams_of_its_pattern(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe(stage, 1, KEPT, reader());
    subscribe(stage, 2, "t", plain);
    stage_pass(stage, 100);
    stage_crash(stage, false);
    stage_start_stored(stage, "elsewhere/#");
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome resumed last 0 | gap 2 x? reason 9");
    stage_sub(stage, 'a', 1, KEPT, reader());
    stage_expect(stage, 'a', "suback 1 refused 215");
}

/* ---- groups ------------------------------------------------------------------------------------------------- */

static void test_a_group_is_there_again(void **state)
{
    struct stage *stage = *state;
    struct mps_hello small = client("a");
    small.rx_max = 20;
    stage_start_stored(stage, KEPT);
    stage_hello(stage, 'a', small);
    stage_sub(stage, 'a', 1, "t/#", member());
    small.id = mps_text("b");
    stage_hello(stage, 'b', small);
    stage_sub(stage, 'b', 1, "t/#", member());
    crash(stage);
    small.id = mps_text("c");
    stage_hello(stage, 'c', small);
    stage_sub(stage, 'c', 1, "t/#", member());
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    stage_msg(stage, 'p', "t/x", "1");
    stage_msg(stage, 'p', "t/x", "a text that is too long for a small client");
    stage_msg(stage, 'p', "t/x", "2");
    stage_expect(stage, 'c',
                 "welcome last 0 | suback 1 | gap 1 x? reason 9 | for 1 | t/x=1 | gap 1 x1 reason 7 | t/x=2");
    small.id = mps_text("a");
    stage_hello(stage, 'a', small);
    stage_expect(stage, 'a', "welcome resumed last 0");
    stage_msg(stage, 'p', "t/x", "3");
    stage_expect(stage, 'a', "for 1 | t/x=3");
}

/* ---- wills -------------------------------------------------------------------------------------------------- */

static mps_view will(uint8_t room[64], uint64_t delay_ms)
{
    struct mps_out out = mps_out_open(room, 64);
    mps_put_array(&out, 4);
    mps_put_text(&out, mps_text("t/will"));
    mps_put_bin(&out, mps_text("gone"));
    mps_put_uint(&out, 0);
    mps_put_uint(&out, delay_ms);
    return mps_out_view(&out);
}

static void leave_a_will(struct stage *stage, char link, uint64_t delay_ms)
{
    uint8_t room[64];
    stage_hello(stage, link, (struct mps_hello){.id = mps_text("w"), .will = will(room, delay_ms)});
}

static void listen(struct stage *stage)
{
    stage_hello(stage, 's', (struct mps_hello){.id = mps_text("s")});
    stage_sub(stage, 's', 1, "t/#", plain);
    stage_expect(stage, 's', "welcome last 0 | suback 1");
}

static void test_a_will_outlives_the_broker(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, KEPT);
    leave_a_will(stage, 'w', 5000); /* its client is there when the power goes */
    crash(stage);
    listen(stage);
    stage_pass(stage, 4999);
    stage_expect(stage, 's', "");
    stage_pass(stage, 1);
    stage_expect(stage, 's', "for 1 | t/will=gone");
    crash(stage);
    listen(stage);
    stage_pass(stage, 6000); /* it is published once */
    stage_expect(stage, 's', "");
    assert_int_equal(records(stage), RECORDS_BEFORE);
}

static void test_a_will_waits_anew_after_a_crash(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, KEPT);
    leave_a_will(stage, 'w', 5000);
    stage_cut(stage, 'w');
    stage_pass(stage, 4000);
    crash(stage);
    listen(stage);
    stage_pass(stage, 4999);
    stage_expect(stage, 's', "");
    stage_hello(stage, 'w', (struct mps_hello){.id = mps_text("w")}); /* back just in time */
    stage_pass(stage, 10000);
    stage_expect(stage, 's', "");
    assert_int_equal(records(stage), RECORDS_BEFORE);
}

static void test_a_will_that_was_dropped_stays_so(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, KEPT);
    leave_a_will(stage, 'w', 5000);
    stage_pass(stage, 100);
    assert_int_equal(records(stage), RECORDS_BEFORE + 1);
    stage_bye(stage, 'w', 0);
    crash(stage);
    assert_int_equal(records(stage), RECORDS_BEFORE);
}

static void test_a_stopping_broker_keeps_what_is_not_due(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, KEPT);
    leave_a_will(stage, 'w', 5000);
    stage_pass(stage, 100);
    stage_stop(stage);
    stage_start_stored(stage, KEPT);
    listen(stage);
    stage_pass(stage, 5000);
    stage_expect(stage, 's', "for 1 | t/will=gone");
}

static void test_a_will_without_delay_is_not_kept(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, KEPT);
    leave_a_will(stage, 'w', 0);
    stage_pass(stage, 100);
    assert_int_equal(records(stage), RECORDS_BEFORE);
}

/* ---- damage ------------------------------------------------------------------------------------------------- */

static void test_what_is_damaged_is_passed_over(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe(stage, 1, "t/#", plain);
    stage_hello(stage, 'b', client("b"));
    stage_sub(stage, 'b', 1, "t/#", plain);
    stage_pass(stage, 100);
    stage_crash(stage, false);
    assert_true(memory_disk_damage_record(stage->disk, 3, mps_text("a"))); /* its session */
    stage_start_stored(stage, KEPT);
    stage_hello(stage, 'a', client("a"));
    stage_expect(stage, 'a', "welcome last 0");
    stage_hello(stage, 'b', client("b"));
    stage_expect(stage, 'b', "welcome resumed last 0 | gap 1 x? reason 9");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_session_is_there_again),
        TEST(test_the_epoch_stays),
        TEST(test_it_has_all_of_its_time_again),
        TEST(test_nothing_is_left_of_one_that_ended),
        TEST(test_clean_and_sess_0_remove_it),
        TEST(test_unsub_is_for_good),
        TEST(test_the_last_sub_counts),
        TEST(test_a_graceful_stop_keeps_it_too),
        TEST(test_an_ephemeral_client_leaves_no_trace),
        TEST(test_a_reader_goes_on_where_it_was),
        TEST(test_a_reader_waits_while_its_client_is_away),
        TEST(test_what_is_unacknowledged_comes_again),
        TEST(test_only_what_may_be_lost_is_a_gap),
        TEST(test_a_reader_ends_with_the_streams_of_its_pattern),
        TEST(test_a_group_is_there_again),
        TEST(test_a_will_outlives_the_broker),
        TEST(test_a_will_waits_anew_after_a_crash),
        TEST(test_a_will_that_was_dropped_stays_so),
        TEST(test_a_stopping_broker_keeps_what_is_not_due),
        TEST(test_a_will_without_delay_is_not_kept),
        TEST(test_what_is_damaged_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
