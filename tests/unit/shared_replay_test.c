/* What was published to a stream that all brokers share is read again, from any place: until one has caught up with
 * what anybody was told to be stored, and with holes told that are in it. */
#include "sea_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_sub(struct sea *sea, int which, char link, uint32_t sid, const char *pattern,
                      struct mps_sub_options options)
{
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_sub(&out, &(struct mps_sub){.sid = sid, .pattern = mps_text(pattern), .options = options});
    stage_write(sea->at[which], link, &out);
}

/* ---- replay ------------------------------------------------------------------------------------------------------ */

static void publish_ten(struct sea *sea)
{
    char text[8], topic[8];
    for (int i = 1; i <= 10; i++) {
        snprintf(text, sizeof text, "%d", i);
        snprintf(topic, sizeof topic, "o/%d", i % 2);
        sea_publish(sea, 0, 'p', topic, text);
        sea_pass(sea, 1000);
    }
}

static void a_replay_begins_where_it_is_asked_to(void **state)
{
    struct sea *sea = sea_two(state);
    publish_ten(sea);
    uint64_t since_ms = sea->at[0]->wall_ms - 3000; /* when 8 came */
    const uint64_t positions[] = {sea_number(), 8};
    const struct mps_from froms[] = {
        {.kind = MPS_FROM_LAST, .number = 3},        {.kind = MPS_FROM_SEQ, .count = 1, .positions = positions},
        {.kind = MPS_FROM_TIME, .number = since_ms}, {.kind = MPS_FROM_AGO, .number = 3000},
        {.kind = MPS_FROM_LAST_PER_TOPIC},           {.kind = MPS_FROM_NEW}};
    static const char *const told[] = {
        "suback 1 | mark 1 1 | for 1 flags 2 at S-8 | o/0=8 | o/1=9 | for 1 flags 2 at S-10 | o/0=10 | mark 1 2",
        "suback 2 | mark 2 1 | for 2 flags 2 at S-8 | o/0=8 | o/1=9 | for 2 flags 2 at S-10 | o/0=10 | mark 2 2",
        "suback 3 | mark 3 1 | for 3 flags 2 at S-8 | o/0=8 | o/1=9 | for 3 flags 2 at S-10 | o/0=10 | mark 3 2",
        "suback 4 | mark 4 1 | for 4 flags 2 at S-8 | o/0=8 | o/1=9 | for 4 flags 2 at S-10 | o/0=10 | mark 4 2",
        "suback 5 | mark 5 1 | for 5 flags 2 at S-9 | o/1=9 | o/0=10 | mark 5 2",
        "suback 6 | mark 6 1",
    };
    for (uint32_t i = 0; i < sizeof froms / sizeof *froms; i++) {
        stage_sub(sea->at[1], 'r', i + 1, "o/#",
                  (struct mps_sub_options){.given = MPS_SUB_FROM | MPS_SUB_ACK, .ack = MPS_ACK_UPTO, .from = froms[i]});
        sea_flow(sea);
        sea_pass(sea, SEA_QUESTIONS_MS);
        sea_expect(sea, 1, 'r', told[i]);
    }
    sea_publish(sea, 0, 'p', "o/1", "new");
    assert_non_null(strstr(sea_words(sea, 1, 'r'), "for 6 at S-11 | o/1=new"));
}

/* Nothing is known of the stream until the cluster is there: then each begins where it asked to. */
static void who_comes_before_the_stream_is_known_begins_later(void **state)
{
    struct sea *sea = sea_two(state);
    publish_ten(sea);
    sea_stop(sea, 1);
    memory_bus_away(sea->bus, "two", false, true);
    sea_start(sea, 1);
    sea_hello(sea, 1, 'r', (struct mps_hello){0});
    const uint64_t positions[] = {sea_number(), 8};
    const struct mps_from froms[] = {{.kind = MPS_FROM_LAST, .number = 2},
                                     {.kind = MPS_FROM_SEQ, .count = 1, .positions = positions},
                                     {.kind = MPS_FROM_AGO, .number = 2000},
                                     {.kind = MPS_FROM_LAST_PER_TOPIC},
                                     {.kind = MPS_FROM_NEW}};
    for (uint32_t i = 0; i < sizeof froms / sizeof *froms; i++)
        stage_sub(sea->at[1], 'r', i + 1, "o/#",
                  (struct mps_sub_options){.given = MPS_SUB_FROM | MPS_SUB_ACK, .ack = MPS_ACK_UPTO, .from = froms[i]});
    sea_flow(sea);
    assert_null(strstr(sea_words(sea, 1, 'r'), "for"));
    memory_bus_away(sea->bus, "two", false, false);
    sea_flow(sea);
    const char *came = sea_words(sea, 1, 'r');
    assert_non_null(strstr(came, "for 1 flags 2 at S-9 | o/1=9 | "));
    assert_non_null(strstr(came, "for 2 flags 2 at S-8 | o/0=8 | "));
    assert_non_null(strstr(came, "for 3 flags 2 at S-9 | o/1=9 | "));
    assert_non_null(strstr(came, "for 4 flags 2 at S-9 | o/1=9 | "));
    assert_null(strstr(came, "for 5"));
    for (int i = 1; i <= 4; i++) {
        char mark[16];
        snprintf(mark, sizeof mark, "mark %d 2", i);
        assert_non_null(strstr(came, mark));
    }
    sea_publish(sea, 0, 'p', "o/1", "new");
    assert_non_null(strstr(sea_words(sea, 1, 'r'), "for 5 at S-11 | o/1=new"));
}

/* What was acknowledged to anybody here is shown to who subscribes afterwards and wants to be caught up, however late
 * the tail is. */
static void caught_up_is_behind_what_was_acknowledged(void **state)
{
    struct sea *sea = sea_two(state);
    sea_hello(sea, 0, 'q', (struct mps_hello){0});
    sea_subscribe(sea, 0, 'q', "o/#", sea_from_all); /* else it is read at once */
    memory_bus_faults(sea->bus)->tail_ms = 1000;
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_expect(sea, 0, 'p', "ok 1");
    sea_subscribe(sea, 0, 'p', "o/#", sea_from_all);
    sea_expect(sea, 0, 'p', "suback 1 | mark 1 1");
    sea_pass(sea, 1000);
    sea_expect(sea, 0, 'p', "for 1 flags 2 at S-1 | o/1=x | mark 1 2");
}

/* Those at other brokers count as well: the second one knows nothing of the message when it is subscribed to. */
static void caught_up_is_behind_what_another_broker_acknowledged(void **state)
{
    struct sea *sea = sea_two(state);
    memory_bus_faults(sea->bus)->tail_ms = 1000;
    stage_pub(sea->at[0], 'p', 1, 3);
    sea_publish(sea, 0, 'p', "o/1", "x");
    sea_expect(sea, 0, 'p', "ok 1 nobody");
    assert_int_equal(sea_stream(sea, 1)->next, 1);
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    sea_expect(sea, 1, 'r', "suback 1 | mark 1 1");
    sea_pass(sea, 1000);
    sea_expect(sea, 1, 'r', "for 1 flags 2 at S-1 | o/1=x | mark 1 2");
}

/* A client that comes from another broker has read further than this one knows. */
static void who_has_read_further_gets_nothing_twice(void **state)
{
    struct sea *sea = sea_two(state);
    const uint64_t positions[] = {sea_number(), 3}, far[] = {sea_number(), 100};
    struct mps_sub_options options = {.given = MPS_SUB_FROM,
                                      .from = {.kind = MPS_FROM_SEQ, .count = 1, .positions = positions}};
    memory_bus_faults(sea->bus)->tail_ms = 1000;
    sea_publish(sea, 0, 'p', "o/1", "a");
    sea_publish(sea, 0, 'p', "o/1", "b");
    sea_subscribe(sea, 1, 'r', "o/#", options);
    options.from.positions = far; /* which isn't given yet: the next one */
    stage_sub(sea->at[1], 'r', 2, "o/#", options);
    sea_flow(sea);
    sea_pass(sea, 1000);
    const char *came = sea_words(sea, 1, 'r');
    assert_null(strstr(came, "o/1"));
    assert_non_null(strstr(came, "mark 1 2"));
    assert_non_null(strstr(came, "mark 2 2"));
    sea_publish(sea, 0, 'p', "o/1", "c");
    sea_pass(sea, 1000);
    sea_expect(sea, 1, 'r', "for 1 at S-3 | o/1=c | for 2 at S-3 | o/1=c");
    options.from.positions = positions; /* one that has its place already */
    sea_subscribe(sea, 1, 'r', "o/#", options);
    sea_pass(sea, 1000);
    assert_non_null(strstr(sea_words(sea, 1, 'r'), "o/1=c | mark 1 2"));
    sea_publish(sea, 0, 'p', "o/1", "d");
    options.from.positions = (const uint64_t[]){sea_number(), 5};
    sea_subscribe(sea, 1, 'r', "o/#", options);
    sea_pass(sea, 1000);
    came = sea_words(sea, 1, 'r');
    assert_null(strstr(came, "for 1"));
    assert_non_null(strstr(came, "mark 1 2"));
}

static uint32_t asked;

static void (*ask_really)(struct engine *engine, uint32_t stream, uint64_t mark);

static void count_asking(struct engine *engine, uint32_t stream, uint64_t mark)
{
    asked++;
    ask_really(engine, stream, mark);
}

/* However many want to know at once, and however often: one question is under way. */
static void many_subscribers_ask_once(void **state)
{
    struct sea *sea = sea_two(state);
    ask_really = sea->engines[1]->ask_state;
    sea->engines[1]->ask_state = count_asking;
    memory_bus_faults(sea->bus)->ask_ms = 500;
    asked = 0;
    for (uint32_t sid = 1; sid <= 100; sid++) write_sub(sea, 1, 'r', sid, "o/#", sea_from_all);
    sea_flow(sea);
    assert_int_equal(asked, 1);
    for (uint32_t sid = 101; sid <= 200; sid++) stage_sub(sea->at[1], 'r', sid, "o/#", sea_from_all);
    sea_flow(sea);
    assert_int_equal(asked, 1);
    assert_null(strstr(sea_words(sea, 1, 'r'), "mark 1 2"));
    sea_pass(sea, 500);
    const char *came = sea_words(sea, 1, 'r');
    assert_non_null(strstr(came, "mark 1 2"));
    assert_non_null(strstr(came, "mark 100 2"));
    assert_null(strstr(came, "mark 101 2")); /* the answer may be from before it came */
    assert_int_equal(asked, 2);
    sea_pass(sea, 500);
    came = sea_words(sea, 1, 'r');
    assert_non_null(strstr(came, "mark 101 2"));
    assert_non_null(strstr(came, "mark 200 2"));
    sea_pass(sea, 5000);
    assert_int_equal(asked, 2);
}

/* A leader that is slow, or not there, holds nobody for more than a moment. */
static void who_gets_no_answer_is_caught_up_with_what_is_known_here(void **state)
{
    struct sea *sea = sea_two(state);
    memory_bus_faults(sea->bus)->ask_ms = 3000;
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    sea_expect(sea, 1, 'r', "suback 1 | mark 1 1");
    sea_pass(sea, 1750);
    sea_expect(sea, 1, 'r', "");
    stage_sub(sea->at[1], 'r', 2, "o/#", sea_from_all);
    sea_flow(sea);
    sea_pass(sea, 250);
    sea_expect(sea, 1, 'r', "suback 2 | mark 2 1 | mark 1 2");
    sea_pass(sea, 1750);
    sea_expect(sea, 1, 'r', ""); /* the late answer isn't to its question */
    sea_pass(sea, 250);
    sea_expect(sea, 1, 'r', "mark 2 2");
    stage_sub(sea->at[1], 'r', 3, "o/#", sea_from_all);
    sea_flow(sea);
    sea_expect(sea, 1, 'r', "suback 3 | mark 3 1");
    memory_bus_away(sea->bus, "two", false, true);
    sea_flow(sea);
    sea_expect(sea, 1, 'r', "mark 3 2");
    stage_sub(sea->at[1], 'r', 4, "o/#", sea_from_all);
    sea_flow(sea);
    sea_expect(sea, 1, 'r', "suback 4 | mark 4 1 | mark 4 2");
}

static void who_asks_may_go(void **state)
{
    struct sea *sea = sea_two(state);
    memory_bus_faults(sea->bus)->ask_ms = 500;
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    stage_sub(sea->at[1], 'r', 2, "o/#", sea_from_all);
    sea_flow(sea);
    stage_cut(sea->at[1], 'r');
    sea_flow(sea);
    sea_pass(sea, 3000);
    assert_null(sea_stream(sea, 1)->asking.first);
    assert_null(sea_stream(sea, 1)->to_ask.first);
}

static void what_retention_removed_is_told(void **state)
{
    struct sea *sea = *state;
    sea->streams[0].max_msgs = 4;
    sea_two(state);
    publish_ten(sea);
    const uint64_t positions[] = {sea_number(), 3};
    sea_subscribe(sea, 1, 'r', "o/#",
                  (struct mps_sub_options){.given = MPS_SUB_FROM,
                                           .from = {.kind = MPS_FROM_SEQ, .count = 1, .positions = positions}});
    sea_expect(
        sea, 1, 'r',
        "suback 1 | mark 1 1 | gap 1 x4 reason 5 at S-3..6 | for 1 flags 2 at S-7 | o/1=7 | o/0=8 | for 1 flags 2 "
        "at S-9 | o/1=9 | o/0=10 | mark 1 2");
    memory_bus_delete_message(sea->bus, sea_number(), 8);
    sea_stop(sea, 1);
    sea_start(sea, 1);
    sea_hello(sea, 1, 'r', (struct mps_hello){0});
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    sea_expect(sea, 1, 'r',
               "suback 1 | mark 1 1 | for 1 flags 2 at S-7 | o/1=7 | gap 1 x1 reason 5 at S-8..8 | "
               "for 1 flags 2 at S-9 | o/1=9 | o/0=10 | mark 1 2");
}

/* In a long history the place of a moment is found by a few looks. */
static void a_moment_is_found_in_a_long_history(void **state)
{
    struct sea *sea = sea_two(state);
    char text[12];
    for (int i = 1; i <= 3000; i++) {
        snprintf(text, sizeof text, "%d", i);
        sea_publish(sea, 0, 'p', "o/1", text);
        if (i % 10 == 0) sea_pass(sea, 1000);
    }
    sea_stop(sea, 1);
    sea_start(sea, 1);
    sea_hello(sea, 1, 'r', (struct mps_hello){0});
    sea_subscribe(sea, 1, 'r', "o/#",
                  (struct mps_sub_options){.given = MPS_SUB_FROM, .from = {.kind = MPS_FROM_AGO, .number = 250000}});
    const char *begin = strstr(sea_words(sea, 1, 'r'), "for 1 flags 2 at S-");
    assert_non_null(begin);
    assert_in_range(atoi(begin + strlen("for 1 flags 2 at S-")), 481,
                    501); /* 501 came so long ago, exact to a second */
    assert_non_null(strstr(sea->words, "o/1=3000 | mark 1 2"));
}

/* ---- what is no message ------------------------------------------------------------------------------------------ */

static void tail(struct sea *sea, const uint8_t *bytes, uint32_t len, uint32_t count)
{
    const struct stream *stream = sea_stream(sea, 1);
    sea->engines[1]->events.tail(
        sea->engines[1]->events.arg,
        &(struct store_block){
            .stream = sea_number(), .count = count, .first = stream->stored, .time_ms = 1, .bytes = bytes, .len = len});
    stage_settle(sea->at[1]);
}

static void rubbish_is_a_hole_and_ends_nothing(void **state)
{
    struct sea *sea = sea_two(state);
    uint8_t room[256];
    struct mps_out out = mps_out_open(room, sizeof room);
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    sea_words(sea, 1, 'r');
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("o/1"), .payload = mps_text("a")});
    mps_encode_ping(&out, &(struct mps_token){mps_text("no message")});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("o/+"), .payload = mps_text("no topic")});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("o/1"), .payload = mps_text("b")});
    tail(sea, room, out.len, 4);
    sea_expect(sea, 1, 'r', "for 1 at S-1 | o/1=a | gap 1 x2 reason 12 at S-2..3 | for 1 at S-4 | o/1=b");
    static const uint8_t claims_much[] = {0x94, 0x02, 0xa1, 'o', 0xc0, 0xc6, 0xff, 0xff, 0xff, 0xff, 1};
    tail(sea, claims_much, sizeof claims_much, 3);
    tail(sea, room, mps_msg_frame_len(room), 2); /* one less than it says */
    sea_expect(sea, 1, 'r', "gap 1 x3 reason 12 at S-5..7 | for 1 at S-8 | o/1=a | gap 1 x1 reason 12 at S-9..9");
    assert_int_equal(sea_stream(sea, 1)->damaged, 6);
    for (uint32_t len = 0; len < out.len; len++) tail(sea, room, len, 4); /* cut anywhere */
    for (uint32_t at = 0; at < out.len; at++) {
        uint8_t before = room[at];
        for (int bit = 0; bit < 8; bit++) {
            room[at] = (uint8_t)(before ^ 1 << bit);
            tail(sea, room, out.len, 4);
        }
        room[at] = before;
    }
    sea_words(sea, 1, 'r');
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, sea_set_up, sea_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_replay_begins_where_it_is_asked_to),
        TEST(who_comes_before_the_stream_is_known_begins_later),
        TEST(caught_up_is_behind_what_was_acknowledged),
        TEST(caught_up_is_behind_what_another_broker_acknowledged),
        TEST(who_has_read_further_gets_nothing_twice),
        TEST(many_subscribers_ask_once),
        TEST(who_gets_no_answer_is_caught_up_with_what_is_known_here),
        TEST(who_asks_may_go),
        TEST(what_retention_removed_is_told),
        TEST(a_moment_is_found_in_a_long_history),
        TEST(rubbish_is_a_hole_and_ends_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
