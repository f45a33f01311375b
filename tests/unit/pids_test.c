/* Publishing across reconnects and restarts: nothing that was acknowledged is lost, nothing is published twice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_stage.h"

#define BOOT UINT64_C(0xfeedfacecafebeef)
#define KEPT "d/#"

static const struct mps_sub_options plain = {.given = MPS_SUB_RETAINED, .retained = 2};

static void hello(struct stage *stage, char link, uint64_t boot)
{
    stage_hello(stage, link, (struct mps_hello){.id = mps_text("p"), .sess_s = 3600, .boot = boot});
}

/* The subscriber 's' of t/#, and the publisher 'a'. */
static void begin(struct stage *stage)
{
    stage_start_stored(stage, KEPT);
    stage_hello(stage, 's', (struct mps_hello){.id = mps_text("s")});
    stage_sub(stage, 's', 1, "t/#", plain);
    stage_expect(stage, 's', "welcome last 0 | suback 1");
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome last 0");
}

/* Messages of one topic that come to the broker at once. */
static void publish(struct stage *stage, char link, const char *topic, int from, int to)
{
    uint8_t room[4096];
    struct mps_out out = mps_out_open(room, sizeof room);
    for (int i = from; i <= to; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text(text)});
    }
    stage_send(stage, link, &out);
}

/* What is in the stream, as words. */
static const char *stored(struct stage *stage)
{
    struct mps_sub_options options = plain;
    options.given |= MPS_SUB_FROM;
    options.from.kind = MPS_FROM_ALL;
    stage_hello(stage, 'z', (struct mps_hello){.id = mps_text("reader")});
    stage_words(stage, 'z');
    stage_sub(stage, 'z', 1, KEPT, options);
    const char *words = stage_words(stage, 'z');
    stage_cut(stage, 'z');
    return words;
}

/* ---- on transient topics ------------------------------------------------------------------------------------ */

static void test_what_was_accepted_is_answered_again(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 1, 1);
    publish(stage, 'a', "t/x", 1, 3);
    stage_expect(stage, 's', "for 1 | t/x=1 | t/x=2 | t/x=3");
    stage_cut(stage, 'a'); /* the answer may have got lost; last_pid says that it isn't needed */
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 3");
    stage_pub(stage, 'a', 4, 1);
    publish(stage, 'a', "t/x", 4, 4);
    stage_expect(stage, 'a', "ok 4");
    stage_expect(stage, 's', "t/x=4");
}

static void test_what_is_settled_is_not_to_be_sent(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 1, 1);
    publish(stage, 'a', "t/x", 1, 3);
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_pub(stage, 'a', 3, 1);
    stage_expect(stage, 'a', "welcome resumed last 3 | bye 106 | end");
}

static void test_the_first_pid_may_skip_some(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 7, 1);
    publish(stage, 'a', "t/x", 7, 7);
    stage_expect(stage, 'a', "ok 7");
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_pub(stage, 'a', 9, 1);
    stage_cut(stage, 'a'); /* what is skipped counts as settled */
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 8");
}

static void test_another_boot_counts_anew(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 1, 1);
    publish(stage, 'a', "t/x", 1, 2);
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT + 1);
    stage_expect(stage, 'a', "welcome resumed last 0");
    stage_pub(stage, 'a', 1, 1);
    publish(stage, 'a', "t/x", 3, 3);
    stage_expect(stage, 'a', "ok 1");
    stage_expect(stage, 's', "for 1 | t/x=1 | t/x=2 | t/x=3");
    stage_cut(stage, 'a');
    hello(stage, 'a', 0);
    stage_expect(stage, 'a', "welcome resumed last 0");
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT + 1);
    stage_expect(stage, 'a', "welcome resumed last 0");
}

static void test_without_sess_there_is_no_memory(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    for (int i = 0; i < 2; i++) {
        stage_hello(stage, 'b', (struct mps_hello){.id = mps_text("b"), .boot = BOOT});
        stage_expect(stage, 'b', "welcome last 0");
        stage_pub(stage, 'b', 1, 1);
        publish(stage, 'b', "t/x", 1, 1);
        stage_expect(stage, 'b', "ok 1");
        stage_cut(stage, 'b');
    }
    stage_expect(stage, 's', "for 1 | t/x=1 | t/x=1");
}

static void test_takeover_keeps_the_counters(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 1, 1);
    publish(stage, 'a', "t/x", 1, 2);
    hello(stage, 'b', BOOT);
    stage_expect(stage, 'b', "welcome resumed last 2");
}

static void test_a_refusal_that_may_have_got_lost_does_not_settle(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 1, 1);
    publish(stage, 'a', "t/x", 1, 1);
    publish(stage, 'a', "t/+", 2, 3); /* no topic */
    publish(stage, 'a', "t/x", 4, 5);
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 1");
    stage_pub(stage, 'a', 2, 1);
    publish(stage, 'a', "t/+", 2, 3); /* still none */
    publish(stage, 'a', "t/x", 4, 6);
    stage_expect(stage, 'a', "refused 2 210 | refused 3 210 | ok 5 again | ok 6");
    stage_expect(stage, 's', "for 1 | t/x=1 | t/x=4 | t/x=5 | t/x=6");
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_pub(stage, 'a', 7, 1); /* it knows of the refusals */
    publish(stage, 'a', "t/x", 7, 7);
    stage_expect(stage, 'a', "welcome resumed last 1 | ok 7");
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 7");
}

static void test_what_was_refused_may_be_accepted_later(void **state)
{
    struct stage *stage = *state;
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    begin(stage);
    mps_encode_pub(&out, &(struct mps_pub){1, 1 << MPS_PUB_LEVEL_SHIFT | MPS_PUB_MUST_ROUTE});
    stage_send(stage, 'a', &out);
    publish(stage, 'a', "t/x", 1, 1);
    publish(stage, 'a', "u/x", 2, 3);
    publish(stage, 'a', "t/x", 4, 4);
    stage_expect(stage, 'a', "ok 1 | refused 2 217 | refused 3 217 | ok 4");
    stage_cut(stage, 'a');
    stage_sub(stage, 's', 2, "u/#", plain);
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 1");
    out.len = 0;
    mps_encode_pub(&out, &(struct mps_pub){2, 1 << MPS_PUB_LEVEL_SHIFT | MPS_PUB_MUST_ROUTE});
    stage_send(stage, 'a', &out);
    publish(stage, 'a', "u/x", 2, 3);
    publish(stage, 'a', "t/x", 4, 5);
    stage_expect(stage, 'a', "ok 3 | ok 4 again | ok 5");
    stage_expect(stage, 's', "for 1 | t/x=1 | t/x=4 | suback 2 | for 2 | u/x=2 | u/x=3 | for 1 | t/x=5");
}

/* Every second one of many was refused, of which the client was not told: what was accepted is not published twice, and
 * nothing is said to be published that was refused. */
static void refuse_every_second(void **state, bool crashes)
{
    struct stage *stage = *state;
    char expected[64];
    uint32_t again = 0, refused = 0, fresh = 0;
    begin(stage);
    stage_pub(stage, 'a', 1, 2);
    for (int pid = 1; pid <= 400; pid++) publish(stage, 'a', pid % 2 == 0 ? "d/x" : "d/+", pid, pid);
    stage_pass(stage, 100);
    if (crashes) {
        stage_crash(stage, false);
        stage_start_stored(stage, KEPT);
    } else {
        stage_cut(stage, 'a');
    }
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 0");
    stage_pub(stage, 'a', 1, 2);
    for (int pid = 1; pid <= 400; pid++) publish(stage, 'a', "d/x", pid, pid);
    stage_pass(stage, 100);
    const char *words = stage_words(stage, 'a');
    uint64_t settled = 0;
    for (const char *word = words; word != NULL && *word != '\0';
         word = strchr(word, '|') ? strchr(word, '|') + 2 : NULL) {
        unsigned long long pid = 0;
        bool is_refused = sscanf(word, "refused %llu 214", &pid) == 1;
        if (!is_refused) assert_int_equal(sscanf(word, "ok %llu", &pid), 1);
        snprintf(expected, sizeof expected, "ok %llu again", pid);
        bool is_again = !is_refused && strncmp(word, expected, strlen(expected)) == 0;
        refused += is_refused;
        again += is_again;
        fresh += !is_refused && !is_again;
        if (is_again) assert_int_equal(pid % 2, 0);
        if (!is_refused && !is_again) assert_int_equal(pid % 2, 1);
        assert_int_equal(pid, settled + 1); /* each one alone */
        settled = pid;
    }
    assert_int_equal(settled, 400);
    assert_in_range(refused, 1, 400 - 2 * 60);
    assert_in_range(fresh, 60, 70);
    stage_hello(stage, 'z', (struct mps_hello){.id = mps_text("z")});
    stage_sub(stage, 'z', 1, KEPT, (struct mps_sub_options){.given = MPS_SUB_FROM, .from = {.kind = MPS_FROM_ALL}});
    uint32_t count = 0;
    mps_view frame;
    for (int op; (op = stage_take(stage, 'z', &frame)) >= 0;) count += op == MPS_OP_MSG;
    assert_int_equal(count, 200 + fresh);
}

static void test_many_that_were_refused_are_not_published_twice(void **state)
{
    refuse_every_second(state, false);
}

static void test_many_that_were_refused_are_not_published_twice_after_a_crash(void **state)
{
    refuse_every_second(state, true);
}

/* They are settled only when what they wait for then is stored. */
static void test_what_is_published_anew_is_not_settled_yet(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    memory_store_fail_commits(stage->gate.inner, STORE_FULL, 1);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    publish(stage, 'a', "t/+", 3, 3);
    stage_cut(stage, 'a');
    memory_store_hold(stage->gate.inner, true, false);
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 0");
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 0");
}

/* Of one run of messages some were refused, some accepted, and some are new. */
static void test_a_run_is_taken_apart(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 1, 1);
    publish(stage, 'a', "t/x", 1, 1);
    publish(stage, 'a', "t/+", 2, 3);
    publish(stage, 'a', "t/x", 4, 6);
    publish(stage, 'a', "t/+", 7, 7);
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 1");
    stage_pub(stage, 'a', 2, 1);
    publish(stage, 'a', "t/x", 2, 9); /* now all of them have a topic */
    stage_expect(stage, 'a', "ok 3 | ok 6 again | ok 9");
    stage_expect(stage, 's', "for 1 | t/x=1 | t/x=4 | t/x=5 | t/x=6 | t/x=2 | t/x=3 | t/x=7 | t/x=8 | t/x=9");
}

static void test_many_refusals_are_remembered(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 1, 1);
    for (int i = 1; i <= 200; i++) publish(stage, 'a', i % 2 == 0 ? "t/+" : "t/x", i, i);
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 1");
    stage_words(stage, 's');
    stage_pub(stage, 'a', 170, 1);
    publish(stage, 'a', "t/x", 170, 175);
    stage_expect(stage, 'a', "ok 170 | ok 171 again | ok 172 | ok 173 again | ok 174 | ok 175 again");
    stage_expect(stage, 's', "t/x=170 | t/x=172 | t/x=174");
}

/* ---- while a commit is under way ---------------------------------------------------------------------------- */

static struct store *inner(struct stage *stage)
{
    return stage->gate.inner;
}

static void test_a_resend_waits_for_the_same_commit(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    memory_store_hold(inner(stage), true, false);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    publish(stage, 'a', "d/y", 3, 3); /* in the next one */
    stage_expect(stage, 'a', "");
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 0");
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    publish(stage, 'a', "d/y", 3, 4);
    stage_expect(stage, 'a', "");
    memory_store_hold(inner(stage), false, false);
    assert_true(memory_store_finish_commit(inner(stage)));
    stage_settle(stage);
    stage_expect(stage, 'a', "ok 2 again | ok 3 again | ok 4 nobody");
    assert_string_equal(stored(stage), "suback 1 | for 1 flags 2 at 64-1 | d/x=1 | d/x=2 | d/y=3 | d/y=4 | mark 1 2");
}

static void test_what_is_settled_meanwhile_is_told_at_hello(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    memory_store_hold(inner(stage), true, false);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    stage_cut(stage, 'a');
    memory_store_hold(inner(stage), false, false);
    assert_true(memory_store_finish_commit(inner(stage)));
    stage_settle(stage);
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 2");
}

static void test_a_failed_commit_refuses_what_waits_for_it(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    memory_store_hold(inner(stage), true, false);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    publish(stage, 'a', "d/y", 3, 3); /* in the next one, which succeeds */
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    publish(stage, 'a', "d/y", 3, 3);
    memory_store_fail_commits(inner(stage), STORE_FULL, 1);
    memory_store_hold(inner(stage), false, false);
    assert_true(memory_store_finish_commit(inner(stage)));
    stage_pass(stage, 1000);
    stage_expect(stage, 'a', "welcome resumed last 0 | refused 1 225 | refused 2 225 | ok 3 again");
    assert_string_equal(stored(stage), "suback 1 | for 1 flags 2 at 64-1 | d/y=3 | mark 1 2");
}

static void test_what_a_failed_commit_refused_is_published_anew(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    memory_store_fail_commits(inner(stage), STORE_FULL, 1);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    stage_cut(stage, 'a');
    hello(stage, 'a', BOOT);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 3);
    stage_pass(stage, 1000);
    stage_expect(stage, 'a', "welcome resumed last 0 | ok 3 nobody");
    assert_string_equal(stored(stage), "suback 1 | for 1 flags 2 at 64-1 | d/x=1 | d/x=2 | d/x=3 | mark 1 2");
}

static void test_a_publisher_that_does_not_read_is_told_as_well(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_room(stage, 'a', 0);
    stage_ping(stage, 'a');
    memory_store_fail_commits(inner(stage), STORE_FAILED, 1);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 1);
    stage_pass(stage, 1000);
    publish(stage, 'a', "d/x", 2, 2);
    stage_room(stage, 'a', STAGE_ROOM);
    stage_expect(stage, 'a', "pong | refused 1 100 | ok 2 nobody");
}

/* ---- after a crash ------------------------------------------------------------------------------------------ */

static void test_pids_are_stored_with_the_messages(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    publish(stage, 'a', "d/+", 3, 3);
    publish(stage, 'a', "d/x", 4, 4);
    memory_store_hold(inner(stage), true, false);
    publish(stage, 'a', "d/x", 5, 5);
    stage_crash(stage, false);
    stage_start_stored(stage, KEPT);
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 2");
    stage_pub(stage, 'a', 3, 2);
    publish(stage, 'a', "d/x", 3, 5);
    stage_expect(stage, 'a', "ok 3 nobody | ok 4 again | ok 5 nobody");
    assert_string_equal(stored(stage),
                        "suback 1 | for 1 flags 2 at 64-1 | d/x=1 | d/x=2 | d/x=4 | d/x=3 | d/x=5 | mark 1 2");
}

static void test_a_commit_that_nobody_heard_of(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    memory_store_hold(inner(stage), true, false);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    stage_crash(stage, true);
    stage_start_stored(stage, KEPT);
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 2");
    assert_string_equal(stored(stage), "suback 1 | for 1 flags 2 at 64-1 | d/x=1 | d/x=2 | mark 1 2");
}

static void test_level_1_is_recorded_too(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 1, 1);
    publish(stage, 'a', "d/x", 1, 2);
    stage_pass(stage, 100);
    stage_crash(stage, false);
    stage_start_stored(stage, KEPT);
    hello(stage, 'a', BOOT);
    stage_expect(stage, 'a', "welcome resumed last 2");
}

static void test_after_a_crash_another_boot_counts_anew(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    stage_pub(stage, 'a', 1, 2);
    publish(stage, 'a', "d/x", 1, 2);
    stage_crash(stage, false);
    stage_start_stored(stage, KEPT);
    hello(stage, 'a', BOOT + 1);
    stage_expect(stage, 'a', "welcome resumed last 0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_was_accepted_is_answered_again),
        TEST(test_what_is_settled_is_not_to_be_sent),
        TEST(test_the_first_pid_may_skip_some),
        TEST(test_another_boot_counts_anew),
        TEST(test_without_sess_there_is_no_memory),
        TEST(test_takeover_keeps_the_counters),
        TEST(test_a_refusal_that_may_have_got_lost_does_not_settle),
        TEST(test_what_was_refused_may_be_accepted_later),
        TEST(test_many_that_were_refused_are_not_published_twice),
        TEST(test_many_that_were_refused_are_not_published_twice_after_a_crash),
        TEST(test_what_is_published_anew_is_not_settled_yet),
        TEST(test_a_run_is_taken_apart),
        TEST(test_many_refusals_are_remembered),
        TEST(test_a_resend_waits_for_the_same_commit),
        TEST(test_what_is_settled_meanwhile_is_told_at_hello),
        TEST(test_a_failed_commit_refuses_what_waits_for_it),
        TEST(test_what_a_failed_commit_refused_is_published_anew),
        TEST(test_a_publisher_that_does_not_read_is_told_as_well),
        TEST(test_pids_are_stored_with_the_messages),
        TEST(test_a_commit_that_nobody_heard_of),
        TEST(test_level_1_is_recorded_too),
        TEST(test_after_a_crash_another_boot_counts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
