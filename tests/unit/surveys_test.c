/* Readers that begin with the last n, with the last of each topic, or at a time: the stream is looked through first. */
#include "broker_stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The core's own data, to see what it remembers. */
#include "../../broker/core/model.h"

#define HOUR_S 3600u

static struct stage *with_stream(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, "d/#");
    stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
    stage_words(stage, 'p');
    return stage;
}

static struct mps_sub_options from(enum mps_from_kind kind, uint64_t number)
{
    return (struct mps_sub_options){
        .given = MPS_SUB_FROM | MPS_SUB_RETAINED, .from = {.kind = kind, .number = number}, .retained = 2};
}

/* It is sent one message. */
static struct mps_sub_options one(struct mps_sub_options options)
{
    options.given |= MPS_SUB_CREDIT;
    options.credit = 1;
    return options;
}

static void say_hello(struct stage *stage)
{
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a"), .sess_s = HOUR_S});
    stage_words(stage, 'a');
}

/* What was stored has to be read again, which takes until release_reads(). */
static void hold_reads(struct stage *stage)
{
    chunks_forget_below(stage->broker->streams[0], UINT64_MAX);
    memory_store_hold(stage->gate.inner, false, true);
}

static void release_reads(struct stage *stage)
{
    memory_store_hold(stage->gate.inner, false, false);
    while (memory_store_finish_read(stage->gate.inner, 0)) continue;
}

/* The records are on the disk, and then the broker dies and another one begins. */
static void crash(struct stage *stage)
{
    stage_pass(stage, 100);
    stage_crash(stage, false);
    stage_start_stored(stage, "d/#");
}

/* ---- last n ------------------------------------------------------------------------------------------------- */

static void the_last_n_are_exact_for_every_n(void **state)
{
    static const uint32_t numbers[] = {1, 2, 3, 255, 256, 257, 258, 259, 511, 512, 513, 800, 999, 1000, 1001, 5000};
    struct stage *stage = with_stream(state);
    uint32_t wanted[1000], count = 0;
    for (uint32_t i = 1; count < 1000; i++) { /* two or three of seven */
        bool is_wanted = i % 7 == 0 || i % 7 == 3 || i % 31 == 0;
        if (is_wanted) wanted[count++] = i;
        stage_msg(stage, 'p', is_wanted ? "d/b" : "d/a", "x");
    }
    say_hello(stage);
    for (uint32_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char expected[80];
        uint32_t n = numbers[i], first = n < count ? wanted[count - n] : wanted[0];
        snprintf(expected, sizeof expected, "suback %u | for %u flags 2 at 64-%u | d/b=x%s", i + 1, i + 1, first,
                 n == 1 ? " | mark 1 2" : "");
        stage_sub(stage, 'a', i + 1, "d/b", one(from(MPS_FROM_LAST, n)));
        stage_expect(stage, 'a', expected);
    }
    stage_sub(stage, 'a', 100, "d/b", from(MPS_FROM_LAST, 0));
    stage_expect(stage, 'a', "suback 100 | mark 100 2");
    stage_sub(stage, 'a', 101, "d/nothing", from(MPS_FROM_LAST, 3));
    stage_expect(stage, 'a', "suback 101 | mark 101 2");
}

/* It takes no memory that others could have taken before. */
static void the_last_n_do_not_depend_on_what_others_look_for(void **state)
{
    struct stage *stage = with_stream(state);
    for (int i = 0; i < 6; i++) stage_msg(stage, 'p', i % 2 == 0 ? "d/a" : "d/b", "x");
    say_hello(stage);
    stage->broker->surveys_bytes = SURVEYS_BYTES_MAX;
    stage_sub(stage, 'a', 1, "d/b", one(from(MPS_FROM_LAST, 3)));
    stage_expect(stage, 'a', "suback 1 | for 1 flags 2 at 64-2 | d/b=x");
    stage->broker->surveys_bytes -= SURVEYS_BYTES_MAX;
}

/* ---- last of each topic ------------------------------------------------------------------------------------- */

#define TOPICS 20000u

static void publish_topics(struct stage *stage, uint32_t step)
{
    for (uint32_t i = 0; i < TOPICS; i++) {
        char topic[32];
        uint8_t room[64];
        snprintf(topic, sizeof topic, "d/%u", i * step % TOPICS);
        struct mps_out out = mps_out_open(room, sizeof room);
        mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text("x")});
        stage_write(stage, 'p', &out);
        if (i % 1000 == 0) stage_settle(stage);
    }
    stage_settle(stage);
}

static const struct survey *first_survey(const struct stage *stage)
{
    const struct list_node *node = stage->broker->streams[0]->readings.first;
    return node != NULL ? container_of(node, struct reading, in_readings)->survey : NULL;
}

/* Others have their turns while many topics are put in order. */
static void many_topics_are_put_in_order_in_steps(void **state)
{
    struct stage *stage = with_stream(state);
    publish_topics(stage, 1);
    publish_topics(stage, 7); /* in another order */
    say_hello(stage);
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_sub(
        &out, &(struct mps_sub){.sid = 1, .pattern = mps_text("d/#"), .options = from(MPS_FROM_LAST_PER_TOPIC, 0)});
    stage_write(stage, 'a', &out);
    uint32_t steps = 0, count = 0;
    uint64_t position = TOPICS + 1; /* of the next message */
    for (int op = 0; op != MPS_OP_MARK;) {
        mps_view frame;
        struct mps_for terms;
        const char *what;
        stage_turn(stage);
        steps +=
            first_survey(stage) != NULL && !survey_is_done(first_survey(stage)) && !survey_looks(first_survey(stage));
        while ((op = stage_take(stage, 'a', &frame)) >= 0 && op != MPS_OP_MARK) {
            if (op == MPS_OP_FOR) {
                assert_int_equal(mps_decode_for(frame, &terms, &what), MPS_OK);
                assert_int_equal(terms.seq, position);
            }
            position += op == MPS_OP_MSG;
            count += op == MPS_OP_MSG;
        }
    }
    assert_int_equal(count, TOPICS);
    assert_in_range(steps, TOPICS / 8192, TOPICS);
    stage_msg(stage, 'p', "d/1", "x");
    assert_int_equal(stage->broker->surveys_bytes, 0); /* what was looked for is sent */
}

/* One that ends in the middle leaves nothing behind. */
static void a_survey_that_ends_too_soon_leaves_nothing(void **state)
{
    struct stage *stage = with_stream(state);
    publish_topics(stage, 1);
    say_hello(stage);
    hold_reads(stage);
    stage_sub(stage, 'a', 1, "d/#", from(MPS_FROM_LAST_PER_TOPIC, 0));
    assert_true(memory_store_finish_read(stage->gate.inner, 0));
    stage_settle(stage);
    assert_true(stage->broker->surveys_bytes > 0);
    stage_unsub(stage, 'a', 1);
    assert_int_equal(stage->broker->surveys_bytes, 0);
    release_reads(stage);
}

/* More comes than was asked for, and that is said first. */
static void too_many_topics_are_told(void **state)
{
    struct stage *stage = with_stream(state);
    const char *const topics[] = {"d/a", "d/b", "d/a", "d/c", "d/b"};
    for (int i = 0; i < 5; i++) stage_msg(stage, 'p', topics[i], "x");
    say_hello(stage);
    stage->broker->surveys_bytes = SURVEYS_BYTES_MAX;
    stage_sub(stage, 'a', 1, "d/#", from(MPS_FROM_LAST_PER_TOPIC, 0));
    stage_expect(stage, 'a',
                 "suback 1 | err 214 | for 1 flags 2 at 64-1 | d/a=x | d/b=x | d/a=x | d/c=x | d/b=x | mark 1 2");
    stage->broker->surveys_bytes -= SURVEYS_BYTES_MAX;
    stage_sub(stage, 'a', 2, "d/#", from(MPS_FROM_LAST_PER_TOPIC, 0));
    stage_expect(stage, 'a', "suback 2 | for 2 flags 2 at 64-3 | d/a=x | d/c=x | d/b=x | mark 2 2");
}

static void too_many_topics_are_told_to_all_of_a_group(void **state)
{
    struct stage *stage = with_stream(state);
    struct mps_sub_options options = from(MPS_FROM_LAST_PER_TOPIC, 0);
    options.given |= MPS_SUB_GROUP;
    options.group = mps_text("g");
    for (int i = 0; i < 2; i++) stage_msg(stage, 'p', "d/a", "x");
    say_hello(stage);
    hold_reads(stage);
    stage->broker->surveys_bytes = SURVEYS_BYTES_MAX;
    stage_sub(stage, 'a', 1, "d/#", options);
    stage_sub(stage, 'a', 2, "d/#", options);
    stage_words(stage, 'a');
    release_reads(stage);
    stage_settle(stage);
    const char *words = stage_words(stage, 'a');
    assert_int_equal(strncmp(words, "err 214 | err 214 | ", 20), 0);
    assert_non_null(strstr(words, "at 64-1"));
    stage->broker->surveys_bytes -= SURVEYS_BYTES_MAX;
}

/* ---- a broker that dies meanwhile --------------------------------------------------------------------------- */

static void what_was_asked_for_outlives_a_broker_that_looks_for_it(void **state)
{
    static const enum mps_from_kind kinds[] = {MPS_FROM_LAST, MPS_FROM_LAST_PER_TOPIC};
    static const char *const expected[] = {
        "welcome resumed last 0 | for 1 flags 2 at 64-8 | d/b=x | for 1 flags 2 at 64-10 | d/b=x | for 1 at 64-11 | "
        "d/b=new",
        "welcome resumed last 0 | for 1 flags 2 at 64-11 | d/b=new | for 1 at 64-12 | d/b=new",
    };
    struct stage *stage = with_stream(state);
    for (int i = 0; i < 10; i++) stage_msg(stage, 'p', i % 2 == 0 ? "d/a" : "d/b", "x");
    for (uint32_t i = 0; i < 2; i++) {
        say_hello(stage);
        hold_reads(stage);
        stage_sub(stage, 'a', 1, "d/b", from(kinds[i], 2));
        stage_expect(stage, 'a', "suback 1");
        crash(stage);
        stage_hello(stage, 'p', (struct mps_hello){.id = mps_text("p")});
        stage_msg(stage, 'p', "d/b", "new");
        stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a"), .sess_s = HOUR_S});
        stage_expect(stage, 'a', expected[i]);
        stage_unsub(stage, 'a', 1);
        stage_cut(stage, 'a');
        stage_cut(stage, 'p');
    }
}

/* Some of it was sent, and some was acknowledged. */
static void the_rest_of_what_was_asked_for_comes_after_a_restart(void **state)
{
    struct stage *stage = with_stream(state);
    const char *const topics[] = {"d/a", "d/b", "d/a", "d/c", "d/b", "d/d", "d/c"}; /* the last: 3, 5, 6, 7 */
    for (int i = 0; i < 7; i++) stage_msg(stage, 'p', topics[i], "x");
    struct mps_sub_options options = one(from(MPS_FROM_LAST_PER_TOPIC, 0));
    say_hello(stage);
    stage_sub(stage, 'a', 1, "d/#", options);
    stage_expect(stage, 'a', "suback 1 | for 1 flags 2 at 64-3 | d/a=x");
    options.given |= MPS_SUB_ACK;
    options.ack = MPS_ACK_EACH;
    stage_sub(stage, 'a', 2, "d/#", options);
    stage_expect(stage, 'a', "suback 2 | for 2 flags 2 at 64-3 | d/a=x");
    crash(stage);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a"), .sess_s = HOUR_S});
    stage_words(stage, 'a');
    options.credit = 100;
    stage_sub(stage, 'a', 2, "d/#", options);
    stage_expect(stage, 'a', "suback 2 | for 2 flags 2 at 64-5 | d/b=x | d/d=x | d/c=x | mark 2 2");
    options.given &= ~(uint32_t)MPS_SUB_ACK;
    options.ack = MPS_ACK_NONE;
    stage_sub(stage, 'a', 1, "d/#", options);
    stage_expect(stage, 'a', "suback 1 | for 1 flags 2 at 64-6 | d/d=x | d/c=x | mark 1 2");
}

/* So many commits that the broker knows the time of every second one only. */
static void what_came_before_a_time_does_not_come_after_a_restart(void **state)
{
    struct stage *stage = with_stream(state);
    uint64_t time_ms = 0;
    for (uint32_t i = 1; i <= 1100; i++) {
        if (i == 4) time_ms = stage->wall_ms;
        stage_msg(stage, 'p', "d/a", "x");
        stage_pass(stage, 2000);
    }
    say_hello(stage);
    hold_reads(stage);
    stage_sub(stage, 'a', 1, "d/#", one(from(MPS_FROM_TIME, time_ms)));
    stage_expect(stage, 'a', "suback 1");
    crash(stage);
    stage_hello(stage, 'a', (struct mps_hello){.id = mps_text("a"), .sess_s = HOUR_S});
    stage_expect(stage, 'a', "welcome resumed last 0 | for 1 flags 2 at 64-4 | d/a=x");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_last_n_are_exact_for_every_n),
        TEST(the_last_n_do_not_depend_on_what_others_look_for),
        TEST(many_topics_are_put_in_order_in_steps),
        TEST(a_survey_that_ends_too_soon_leaves_nothing),
        TEST(too_many_topics_are_told),
        TEST(too_many_topics_are_told_to_all_of_a_group),
        TEST(what_was_asked_for_outlives_a_broker_that_looks_for_it),
        TEST(the_rest_of_what_was_asked_for_comes_after_a_restart),
        TEST(what_came_before_a_time_does_not_come_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
