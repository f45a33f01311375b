/* Reports of the broker's state: what is in them, how they are made over many turns while what they speak of goes, and
 * what they may cost. proto/vectors/broker-report.txt has what is asked for and refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_stage.h"
#include "value.h"

#define REPORT "$SYS/request/report"
#define MANY 60000u

static const struct mps_sub_options plain = {.given = 0};

static void come(struct stage *stage, char link, uint32_t rx_max)
{
    char id[2] = {link, '\0'};
    stage_hello(stage, link, (struct mps_hello){.id = mps_text(id), .rx_max = rx_max});
    stage_words(stage, link);
}

/* Whoever asks has the answers sent to a topic that it is subscribed to as 1. */
static void begin(struct stage *stage)
{
    stage_start(stage);
    come(stage, 'r', 0);
    stage_sub(stage, 'r', 1, "answers", plain);
    stage_words(stage, 'r');
}

static void write_question(struct stage *stage, char link, const struct mps_out *payload)
{
    uint8_t room[1000], props[100];
    struct mps_out out = mps_out_open(room, sizeof room), map = mps_out_open(props, sizeof props);
    mps_put_map(&map, 1);
    mps_put_uint(&map, MPS_PROP_REPLY_TO);
    mps_put_text(&map, mps_text("answers"));
    assert_true(mps_encode_msg(
        &out,
        &(struct mps_msg){.topic = mps_text(REPORT), .props = mps_out_view(&map), .payload = mps_out_view(payload)}));
    stage_write(stage, link, &out);
}

/* One section, ordered by key (NULL: as it comes). */
static void write_section(struct stage *stage, char link, const char *section, uint32_t limit, const char *key)
{
    uint8_t room[200];
    struct mps_out map = mps_out_open(room, sizeof room);
    mps_put_map(&map, key != NULL ? 3 : 2);
    mps_put_text(&map, mps_text("sections"));
    mps_put_array(&map, 1);
    mps_put_text(&map, mps_text(section));
    mps_put_text(&map, mps_text("limit"));
    mps_put_uint(&map, limit);
    if (key != NULL) {
        mps_put_text(&map, mps_text("order"));
        mps_put_map(&map, 1);
        mps_put_text(&map, mps_text(section));
        mps_put_text(&map, mps_text(key));
    }
    write_question(stage, link, &map);
}

/* The next answer, valid until another frame is taken; the absent view: none has come. */
static mps_view answer(struct stage *stage, char link)
{
    mps_view frame;
    struct mps_msg msg;
    const char *what;
    for (int op; (op = stage_take(stage, link, &frame)) >= 0;) {
        if (op != MPS_OP_MSG) continue;
        assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
        assert_null(mps_document_check(msg.payload, 0, UINT32_MAX));
        return msg.payload;
    }
    return (mps_view){NULL, 0};
}

static mps_view ask(struct stage *stage, const char *section, uint32_t limit, const char *key)
{
    write_section(stage, 'r', section, limit, key);
    stage_settle(stage);
    mps_view report = answer(stage, 'r');
    assert_non_null(report.ptr);
    return report;
}

static uint64_t number(mps_view report, const char *path)
{
    mps_view raw = mps_document_find(report, path, strlen(path));
    if (raw.ptr == NULL) fail_msg("a report lacks %s", path);
    struct mps_reader r = mps_reader_open(raw);
    uint64_t value = mps_read_uint(&r, UINT64_MAX, "number");
    if (r.bad != NULL) fail_msg("%s is no number", path);
    return value;
}

static void expect_text(mps_view report, const char *path, const char *expected)
{
    mps_view raw = mps_document_find(report, path, strlen(path));
    if (raw.ptr == NULL) fail_msg("a report lacks %s", path);
    struct mps_reader r = mps_reader_open(raw);
    mps_view text = mps_read_text(&r, "text");
    assert_null(r.bad);
    if (!mps_view_equal(text, mps_text(expected)))
        fail_msg("%s is '%.*s', not '%s'", path, (int)text.len, (const char *)text.ptr, expected);
}

static uint32_t length(mps_view report, const char *path)
{
    mps_view raw = mps_document_find(report, path, strlen(path));
    assert_non_null(raw.ptr);
    struct mps_reader r = mps_reader_open(raw);
    return mps_read_array(&r, "list");
}

static void test_connections_count_what_goes_in_and_out(void **state)
{
    struct stage *stage = *state;
    stage->peer = (struct peer){.kind = PEER_TCP, .address = "192.0.2.7", .is_encrypted = true, .listener = "outside"};
    begin(stage);
    come(stage, 'p', 0);
    come(stage, 's', 0);
    stage_sub(stage, 's', 1, "t/#", (struct mps_sub_options){.given = MPS_SUB_MAX_MSGS, .max_msgs = 2});
    stage_words(stage, 's');
    stage_room(stage, 's', 0);
    for (int i = 0; i < 5; i++) stage_msg(stage, 'p', "t/a", "12345");
    mps_view report = ask(stage, "connections", 10, "messages_in");
    assert_int_equal(number(report, "connections.total"), 3);
    expect_text(report, "connections.list[0].client", "p");
    expect_text(report, "connections.list[0].peer", "192.0.2.7,tls");
    expect_text(report, "connections.list[0].listener", "outside");
    assert_int_equal(number(report, "connections.list[0].messages_in"), 5);
    assert_true(number(report, "connections.list[0].bytes_in") > 5 * 12);
    assert_int_equal(number(report, "connections.list[0].messages_out"), 0);
    report = ask(stage, "connections", 10, "lost");
    expect_text(report, "connections.list[0].client", "s");
    assert_int_equal(number(report, "connections.list[0].lost"), 3); /* two wait in the queue */
    assert_int_equal(number(report, "connections.list[0].subscriptions"), 1);
    assert_true(number(report, "connections.list[0].queued_bytes") > 0);
    uint64_t bytes_out = number(report, "connections.list[0].bytes_out");
    stage_room(stage, 's', STAGE_ROOM);
    stage_pass(stage, 1500);
    report = ask(stage, "connections", 10, "lost");
    assert_int_equal(number(report, "connections.list[0].messages_out"), 2);
    assert_int_equal(number(report, "connections.list[0].queued_bytes"), 0);
    assert_in_range(number(report, "connections.list[0].bytes_out"), bytes_out + 2 * 12, bytes_out + 200);
    assert_int_equal(number(report, "connections.list[0].connected_ms"), 1500);
}

static void test_slow_subscriptions_come_first(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    come(stage, 'p', 0);
    for (char link = 'a'; link <= 'e'; link++) {
        char pattern[4] = {'t', '/', link, '\0'};
        come(stage, link, 0);
        stage_sub(stage, link, 7, pattern, plain);
        stage_words(stage, link);
        stage_room(stage, link, 0);
    }
    stage_msg(stage, 'p', "t/d", "first");
    stage_pass(stage, 900);
    stage_msg(stage, 'p', "t/b", "second");
    stage_msg(stage, 'p', "t/b", "third");
    stage_pass(stage, 200);
    mps_view report = ask(stage, "subscriptions", 2, NULL); /* nobody is subscribed to $SYS, who would be told that */
    assert_int_equal(number(report, "subscriptions.total"), 6);
    assert_int_equal(length(report, "subscriptions.list"), 2);
    expect_text(report, "subscriptions.list[0].client", "d");
    assert_int_equal(number(report, "subscriptions.list[0].lag_ms"), 1100);
    mps_view slow = mps_document_find(report, "subscriptions.list[0].slow", 26);
    assert_int_equal(slow.ptr[0], 0xc3);
    expect_text(report, "subscriptions.list[1].client", "b");
    report = ask(stage, "subscriptions", 1, "queued");
    expect_text(report, "subscriptions.list[0].client", "b");
    expect_text(report, "subscriptions.list[0].pattern", "t/b");
    assert_int_equal(number(report, "subscriptions.list[0].sid"), 7);
    assert_int_equal(number(report, "subscriptions.list[0].queued"), 2);
}

static void test_topics_beyond_the_table_are_counted_together(void **state)
{
    struct stage *stage = *state;
    char topic[30];
    begin(stage);
    come(stage, 'p', 0);
    assert_int_equal(number(ask(stage, "topics", 5, NULL), "topics.total"), 0);
    for (int i = 0; i < 4100; i++) {
        snprintf(topic, sizeof topic, "t/%d", i);
        stage_msg(stage, 'p', topic, "x");
    }
    stage_msg(stage, 'p', "t/17", "again");
    mps_view report = ask(stage, "topics", 5, NULL);
    assert_int_equal(number(report, "topics.total"), 4096);
    assert_int_equal(number(report, "topics.uncounted_messages"), 4);
    assert_int_equal(number(report, "topics.uncounted_bytes"), 4 * (1 + 1 + 7 + 1 + 3));
    expect_text(report, "topics.list[0].topic", "t/17");
    assert_int_equal(number(report, "topics.list[0].messages"), 2);
    stage_pass(stage, 29999);
    report = ask(stage, "topics", 5, NULL);
    assert_int_equal(number(report, "topics.since_ms"), 29999);
    stage_pass(stage, 30001); /* it is 30 s since the last report, not since the first */
    assert_int_equal(number(ask(stage, "topics", 5, NULL), "topics.total"), 0);
}

/* Who knows the name of an inbox may answer there; and a report is well-formed whatever bytes came as topics. */
static void test_topics_do_not_name_inboxes_nor_what_is_no_topic(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    come(stage, 'p', 0);
    ask(stage, "topics", 5, NULL);
    stage_msg(stage, 'p', "$inbox/00112233445566778899aabbccddeeff/1", "x");
    stage_msg(stage, 'p', "t/\xff", "x");
    stage_msg(stage, 'p', "t/#", "x");
    stage_msg(stage, 'p', "t", "x");
    mps_view report = ask(stage, "topics", 5, NULL);
    assert_int_equal(number(report, "topics.total"), 1);
    expect_text(report, "topics.list[0].topic", "t");
    assert_int_equal(number(report, "topics.uncounted_messages"), 3);
}

/* Messages of several topics that came together, and were put into one run, are counted one by one. */
static void test_topics_of_one_run(void **state)
{
    struct stage *stage = *state;
    uint8_t room[400];
    struct mps_out out = mps_out_open(room, sizeof room);
    begin(stage);
    come(stage, 'p', 0);
    ask(stage, "topics", 5, NULL);
    static const char *const topics[] = {"t/a", "t/a", "t/b", "t/a", "t/c", "t/c", "t/b", "t/a"};
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
        mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topics[i]), .payload = mps_text("x")});
    stage_send(stage, 'p', &out);
    mps_view report = ask(stage, "topics", 5, NULL);
    assert_int_equal(number(report, "topics.total"), 3);
    expect_text(report, "topics.list[0].topic", "t/a");
    assert_int_equal(number(report, "topics.list[0].messages"), 4);
    assert_int_equal(number(report, "topics.list[1].messages"), 2);
    assert_int_equal(number(report, "topics.list[2].messages"), 2);
}

/* Answers are routed between a run of requests and what comes behind it. */
static void test_what_is_behind_requests_goes_where_it_should(void **state)
{
    struct stage *stage = *state;
    uint8_t room[1000];
    struct mps_out out = mps_out_open(room, sizeof room), none = mps_out_open(room, 0);
    begin(stage);
    come(stage, 'a', 0);
    stage_sub(stage, 'a', 1, "fresh/#", plain);
    stage_words(stage, 'a');
    for (int i = 0; i < 10; i++) write_question(stage, 'r', &none); /* more than are worked on at a time */
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("fresh/topic"), .payload = mps_text("x")});
    stage_write(stage, 'r', &out);
    stage_settle(stage);
    stage_expect(stage, 'a', "for 1 | fresh/topic=x");
    assert_null(strstr(stage_words(stage, 'r'), "fresh/topic"));
}

/* Clients 'a' to 'c' with MANY subscriptions together. */
static void subscribe_many(struct stage *stage)
{
    char pattern[30];
    size_t cap = MANY / 3 * 40;
    uint8_t *room = malloc(cap);
    assert_non_null(room);
    for (char link = 'a'; link <= 'c'; link++) {
        struct mps_out out = mps_out_open(room, cap);
        come(stage, link, 0);
        for (uint32_t i = 0; i < MANY / 3; i++) {
            snprintf(pattern, sizeof pattern, "many/%c/%u", link, i);
            assert_true(mps_encode_sub(&out, &(struct mps_sub){i + 1, mps_text(pattern), plain}));
        }
        stage_send(stage, link, &out);
        stage->links[link - 'a'].in_len = 0; /* what it is told is of no interest */
    }
    free(room);
}

static void test_many_subscriptions_take_several_turns(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe_many(stage);
    write_section(stage, 'r', "subscriptions", 3, NULL);
    for (int i = 0; i < 3; i++) {
        stage_turn(stage);
        assert_null(answer(stage, 'r').ptr);
    }
    stage_settle(stage);
    mps_view report = answer(stage, 'r');
    assert_int_equal(number(report, "subscriptions.total"), MANY + 1);
    assert_int_equal(length(report, "subscriptions.list"), 3);
}

/* The connection breaks, and nothing follows from it before the next turn. */
static void break_link(struct stage *stage, char name)
{
    struct link *link = &stage->links[name - 'a'];
    session_closed(link->session);
    link->session = NULL;
}

/* What a walk comes to next may go between two turns, and so may who asked. */
static void test_what_goes_meanwhile_is_passed_over(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe_many(stage);
    write_section(stage, 'r', "subscriptions", 300, "lost");
    write_section(stage, 'r', "connections", 10000, NULL);
    stage_turn(stage);
    break_link(stage, 'a'); /* the walk is among its subscriptions */
    stage_turn(stage);
    break_link(stage, 'c');
    stage_settle(stage);
    mps_view report = answer(stage, 'r');
    assert_in_range(number(report, "subscriptions.total"), MANY / 3 + 1, MANY);
    assert_int_equal(number(answer(stage, 'r'), "connections.total"), 2);
    write_section(stage, 'r', "subscriptions", 10, NULL);
    stage_turn(stage);
    break_link(stage, 'r');
    stage_settle(stage);
}

static void test_few_reports_are_made_at_a_time(void **state)
{
    struct stage *stage = *state;
    begin(stage);
    subscribe_many(stage);
    for (int i = 0; i < 5; i++) write_section(stage, 'r', "subscriptions", 1, NULL);
    stage_settle(stage);
    expect_text(answer(stage, 'r'), "error", "too many reports are being made: ask again later");
    for (int i = 0; i < 4; i++) assert_int_equal(number(answer(stage, 'r'), "subscriptions.total"), MANY + 1);
    assert_null(answer(stage, 'r').ptr);
    assert_int_equal(number(ask(stage, "subscriptions", 1, NULL), "subscriptions.total"), MANY + 1);
}

/* A report has no more in its lists than the asker takes in a message, and what matters most of it. */
static void test_a_report_fits_into_a_message(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    come(stage, 'r', 10000);
    stage_sub(stage, 'r', 1, "answers", plain);
    come(stage, 's', 0);
    for (uint32_t i = 1; i <= 200; i++) stage_sub(stage, 's', i, i == 77 ? "t/#" : "u/#", plain);
    stage_msg(stage, 'r', "t/1", "x");
    mps_view report = ask(stage, "subscriptions", 10000, "matched");
    assert_int_equal(number(report, "subscriptions.total"), 201);
    assert_in_range(report.len, 2000, 10000);
    assert_in_range(length(report, "subscriptions.list"), 5, 100);
    assert_int_equal(number(report, "subscriptions.list[0].sid"), 77);
    stage_cut(stage, 'r');
    come(stage, 'r', 600);
    stage_sub(stage, 'r', 1, "answers", plain);
    report = ask(stage, "broker", 1, NULL);
    mps_view error = mps_document_find(report, "error", 5);
    assert_non_null(error.ptr);
    report = ask(stage, "subscriptions", 10000, NULL);
    assert_int_equal(number(report, "subscriptions.total"), 201);
    assert_int_equal(length(report, "subscriptions.list"), 0);
}

/* A broker for small messages reports all the same. */
static void test_a_report_may_be_longer_than_what_is_published(void **state)
{
    struct stage *stage = *state;
    stage->limits.max_payload = 200;
    begin(stage);
    assert_true(number(ask(stage, "broker", 1, NULL), "broker.connections") == 1);
    assert_int_equal(length(ask(stage, "connections", 1, NULL), "connections.list"), 1);
}

static void test_groups_and_streams(void **state)
{
    struct stage *stage = *state;
    stage_start_stored(stage, "kept/#");
    come(stage, 'r', 0);
    stage_sub(stage, 'r', 1, "answers", plain);
    come(stage, 'm', 0);
    stage_sub(stage, 'm', 1, "work/#", (struct mps_sub_options){.given = MPS_SUB_GROUP, .group = mps_text("workers")});
    stage_msg(stage, 'm', "kept/1", "x");
    stage_settle(stage);
    mps_view report = ask(stage, "groups", 10, NULL);
    assert_int_equal(number(report, "groups.total"), 1);
    expect_text(report, "groups.list[0].group", "workers");
    assert_int_equal(number(report, "groups.list[0].members"), 1);
    report = ask(stage, "streams", 10, NULL);
    assert_int_equal(number(report, "streams.total"), 1);
    expect_text(report, "streams.list[0].name", "kept");
    assert_int_equal(number(report, "streams.list[0].messages"), 1);
    report = ask(stage, "subscriptions", 10, "sent");
    assert_int_equal(number(report, "subscriptions.total"), 2);
}

int main(void)
{
#define REPORTS_TEST(fn) cmocka_unit_test_setup_teardown(fn, stage_set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        REPORTS_TEST(test_connections_count_what_goes_in_and_out),
        REPORTS_TEST(test_slow_subscriptions_come_first),
        REPORTS_TEST(test_topics_beyond_the_table_are_counted_together),
        REPORTS_TEST(test_topics_do_not_name_inboxes_nor_what_is_no_topic),
        REPORTS_TEST(test_what_is_behind_requests_goes_where_it_should),
        REPORTS_TEST(test_topics_of_one_run),
        REPORTS_TEST(test_many_subscriptions_take_several_turns),
        REPORTS_TEST(test_what_goes_meanwhile_is_passed_over),
        REPORTS_TEST(test_few_reports_are_made_at_a_time),
        REPORTS_TEST(test_a_report_fits_into_a_message),
        REPORTS_TEST(test_a_report_may_be_longer_than_what_is_published),
        REPORTS_TEST(test_groups_and_streams),
    };
#undef REPORTS_TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
