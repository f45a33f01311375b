/* What a subscription and a publish can ask for, on a scripted broker: options, credit over reconnects, properties, the
 * will. */
#include "client_stage.h"

#include <pubsub/core.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "value.h"

/* ---- subscriptions -------------------------------------------------------------------------------------------------
 */

static void options_are_sent_again(void **state)
{
    struct stage *stage = *state;
    char group[8] = "workers", filter[] = "t > 3";
    struct pubsub_subscribe_options all = stage_callbacks(stage), some = stage_callbacks(stage);
    all.policy = PUBSUB_BLOCK;
    all.then = PUBSUB_DROP_OLD;
    all.block_ms = 7;
    all.max_msgs = 5;
    all.max_bytes = UINT64_MAX;
    all.group = group;
    all.filter = filter;
    all.retained = 2;
    some.policy = PUBSUB_CLOSE;
    some.then = PUBSUB_CLOSE;
    some.no_local = true;
    some.scope = PUBSUB_SCOPE_CLUSTER;
    stage_open(stage, stage_options(stage), 10);
    assert_int_equal(pubsub_subscribe(stage->client, "a", &all, NULL), PUBSUB_OK);
    assert_int_equal(pubsub_subscribe(stage->client, "b", &some, NULL), PUBSUB_OK);
    some.policy = PUBSUB_LATEST;
    some.then = PUBSUB_POLICY_DEFAULT;
    assert_int_equal(pubsub_subscribe(stage->client, "c", &some, NULL), PUBSUB_OK);
    memset(group, 'x', sizeof group - 1); /* they are copied */
    memset(filter, 'x', sizeof filter - 1);
    static const char expected[] =
        "SUB 1 a policy=block max_msgs=5 max_bytes=9007199254740991 block_ms=7 then=drop_old group=workers filter=t > "
        "3 "
        "retained=2, SUB 2 b policy=close then=close no_local=1 scope=cluster, SUB 3 c policy=latest no_local=1 "
        "scope=cluster, ";
    stage_expect_frames(stage, expected);
    stage_hang_up(stage);
    stage_wait_for_log(stage, "lost\n");
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_expect_frames(stage, expected);
}

static void the_scope_is_what_was_granted_last(void **state)
{
    struct stage *stage = *state;
    uint8_t buf[128];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    stage_open(stage, stage_options(stage), 10);
    struct pubsub_subscribe_options options = stage_callbacks(stage);
    assert_int_equal(pubsub_subscribe(stage->client, "a", &options, NULL), PUBSUB_OK);
    options.scope = PUBSUB_SCOPE_CLUSTER;
    assert_int_equal(pubsub_subscribe(stage->client, "b", &options, NULL), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 a, SUB 2 b scope=cluster, ");
    assert_int_equal(pubsub_granted_scope(stage->client, 2), PUBSUB_SCOPE_LOCAL); /* not answered yet */
    mps_encode_suback(&out, &(struct mps_suback){.sid = 1});
    mps_encode_suback(&out, &(struct mps_suback){.sid = 2});
    stage_say(stage, &out);
    stage_wait_for_log(stage, "granted 1\ngranted 2\n");
    assert_int_equal(pubsub_granted_scope(stage->client, 1), PUBSUB_SCOPE_LOCAL);
    assert_int_equal(pubsub_granted_scope(stage->client, 2), PUBSUB_SCOPE_CLUSTER);
    assert_int_equal(pubsub_granted_scope(stage->client, 3), PUBSUB_SCOPE_LOCAL);
    mps_encode_suback(&out, &(struct mps_suback){.sid = 2, .granted = {.given = MPS_SUB_SCOPE}});
    stage_say(stage, &out);
    stage_wait_for_log(stage, "granted 2\n");
    assert_int_equal(pubsub_granted_scope(stage->client, 2), PUBSUB_SCOPE_LOCAL);
}

static void what_is_not_allowed_is_refused(void **state)
{
    struct stage *stage = *state;
    static const char id65[] = "12345678901234567890123456789012345678901234567890123456789012345";
    static char filter1025[1026];
    memset(filter1025, 'x', 1025);
    const struct {
        struct pubsub_subscribe_options options;
        const char *why;
    } cases[] = {
        {{.policy = (enum pubsub_policy)7}, "policy"},
        {{.policy = (enum pubsub_policy) - 1}, "policy"},
        {{.then = PUBSUB_LATEST}, "then"},
        {{.policy = PUBSUB_BLOCK, .then = PUBSUB_BLOCK}, "then"},
        {{.retained = 3}, "retained"},
        {{.retained = -1}, "retained"},
        {{.group = ""}, "group"},
        {{.group = id65}, "1..64 bytes"},
        {{.group = "a/b"}, "group"},
        {{.group = "$a"}, "group"},
        {{.group = "g", .policy = PUBSUB_CLOSE}, "policy close does not go with a group"},
        {{.group = "g", .policy = PUBSUB_BLOCK, .then = PUBSUB_CLOSE}, "policy close does not go with a group"},
        {{.group = "g", .no_local = true}, "no_local does not go with a group"},
        {{.filter = ""}, "filter"},
        {{.filter = filter1025}, "1..1024 bytes"},
        {{.filter = "\xff"}, "UTF-8"},
        {{.credit = 1}, "without by_credit"},
        {{.scope = (enum pubsub_scope)2}, "scope"},
        {{.by_credit = true, .credit = UINT64_C(1) << 53}, "9007199254740991"},
    };
    stage_open(stage, stage_options(stage), 10);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(pubsub_subscribe(stage->client, "t", &cases[i].options, NULL), PUBSUB_EINVAL);
        if (strstr(pubsub_error(stage->client), cases[i].why) == NULL)
            fail_msg("case %zu: '%s'", i, pubsub_error(stage->client));
    }
    filter1025[1024] = '\0'; /* the longest of each fits */
    const struct pubsub_subscribe_options longest = {.policy = PUBSUB_DROP_OLD,
                                                     .then = PUBSUB_DROP_OLD,
                                                     .block_ms = 1,
                                                     .max_msgs = UINT64_MAX,
                                                     .max_bytes = UINT64_MAX,
                                                     .group = id65 + 1,
                                                     .filter = filter1025,
                                                     .retained = 1,
                                                     .by_credit = true,
                                                     .credit = (UINT64_C(1) << 53) - 1};
    char pattern[PUBSUB_TOPIC_MAX + 1];
    memset(pattern, 'p', PUBSUB_TOPIC_MAX);
    pattern[PUBSUB_TOPIC_MAX] = '\0';
    assert_int_equal(pubsub_subscribe(stage->client, pattern, &longest, NULL), PUBSUB_OK);
    while (pubsub_outbox_bytes(stage->client) > 0) pubsub_wait(stage->client, 0);
    assert_true(pubsub_fd(stage->client) >= 0);
}

/* ---- credit
 * ---------------------------------------------------------------------------------------------------------- */

static void say_messages(struct stage *stage, uint32_t sid, int count)
{
    uint8_t buf[512];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_for(&out, &(struct mps_for){.sid = sid});
    for (int i = 0; i < count; i++) mps_encode_msg(&out, &(struct mps_msg){mps_text("t"), {NULL, 0}, mps_text("x")});
    stage_say(stage, &out);
}

static void say_drained(struct stage *stage, uint32_t sid)
{
    uint8_t buf[32];
    struct mps_out out = mps_out_open(buf, sizeof buf);
    mps_encode_mark(&out, &(struct mps_mark){.sid = sid, .kind = MPS_MARK_DRAINED});
    stage_say(stage, &out);
}

static void connect_again(struct stage *stage)
{
    stage_hang_up(stage);
    stage_wait_for_log(stage, "lost\n");
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_wait_for_log(stage, "again\n");
}

static void credit_counts_over_reconnects(void **state)
{
    struct stage *stage = *state;
    struct pubsub_subscribe_options options = {
        .by_credit = true, .on_mark = stage_callbacks(stage).on_mark, .user = stage};
    uint32_t pull, plain;
    stage_open(stage, stage_options(stage), 10);
    assert_int_equal(pubsub_subscribe(stage->client, "t", &options, &pull), PUBSUB_OK);
    assert_int_equal(pubsub_subscribe(stage->client, "u", NULL, &plain), PUBSUB_OK);
    assert_int_equal(pubsub_credit(stage->client, 77, 1, false), PUBSUB_EINVAL);
    assert_int_equal(pubsub_credit(stage->client, plain, 5, false), PUBSUB_EINVAL);
    assert_non_null(strstr(pubsub_error(stage->client), "by credit"));
    assert_int_equal(pubsub_credit(stage->client, pull, UINT64_C(1) << 53, false), PUBSUB_EINVAL);
    assert_int_equal(pubsub_credit(stage->client, pull, 5, false), PUBSUB_OK);
    assert_int_equal(pubsub_credit(stage->client, pull, 4, true), PUBSUB_OK); /* it does not shrink */
    assert_int_equal(pubsub_credit(stage->client, plain, 0, true), PUBSUB_OK);
    stage_expect_frames(stage, "SUB 1 t credit=0, SUB 2 u, CREDIT 1 5, CREDIT 1 5 drain, CREDIT 2 0 drain, ");
    say_messages(stage, pull, 3);
    say_drained(stage, pull);
    stage_wait_for_log(stage, "mark 1 3\n");

    connect_again(stage); /* 3 of 5 have come; the drain of the other one is still owed */
    stage_expect_frames(stage, "SUB 1 t credit=2, SUB 2 u, CREDIT 2 0 drain, ");
    assert_int_equal(pubsub_credit(stage->client, pull, 8, false), PUBSUB_OK);
    stage_expect_frames(stage, "CREDIT 1 5, ");
    say_messages(stage, pull, 1);
    uint8_t large[] = {0x94, 0x02, 0xa1, 't', 0xc0, 0xc5, 0x27, 0x10}; /* a message that is too large for us */
    struct mps_out out = mps_out_open(large, sizeof large);
    out.len = sizeof large;
    stage_say(stage, &out);
    static uint8_t body[10000];
    out = mps_out_open(body, sizeof body);
    out.len = sizeof body;
    stage_say(stage, &out);
    say_drained(stage, pull);
    stage_wait_for_log(stage, "mark 1 3\n");

    stage_hang_up(stage); /* what is asked for meanwhile is told after WELCOME */
    stage_wait_for_log(stage, "lost\n");
    assert_int_equal(pubsub_credit(stage->client, pull, 9, true), PUBSUB_OK);
    stage_accept(stage);
    stage_say_welcome(stage, 10, 1000);
    stage_expect_frames(stage, "SUB 1 t credit=4, CREDIT 1 4 drain, SUB 2 u, CREDIT 2 0 drain, ");
    say_messages(stage, pull, 6); /* more than it may have: nothing is owed, and nothing wraps around */
    stage_wait_for_log(stage, "again\n");
    while (pubsub_wait(stage->client, 0) > 0) continue;
    say_drained(stage, pull);
    stage_wait_for_log(stage, "mark 1 3\n");
    connect_again(stage);
    stage_expect_frames(stage, "SUB 1 t credit=0, SUB 2 u, CREDIT 2 0 drain, ");
}

/* ---- properties
 * ------------------------------------------------------------------------------------------------------ */

static void properties_are_made_of_options(void **state)
{
    struct stage *stage = *state;
    const struct pubsub_header headers[] = {{"lang", "en"}, {"", "\xc3\xa9"}};
    const struct pubsub_publish_options options = {.raw = true,
                                                   .has_ttl = true,
                                                   .ttl_ms = 0,
                                                   .key = "k",
                                                   .reply_to = "a/b",
                                                   .correlation = "\0\1",
                                                   .correlation_len = 2,
                                                   .headers = headers,
                                                   .headers_count = 2};
    static const uint8_t expected[] = "\x87\x01\xa3"
                                      "a/b\x02\xc4\x02\0\1\x03\x00\x04\x00\x06\xa1k\xa4lang\xa2"
                                      "en"
                                      "\xa0\xa2\xc3\xa9";
    stage_open(stage, stage_options(stage), 10);
    assert_int_equal(pubsub_publish(stage->client, "t", "x", 1, &options, NULL), PUBSUB_OK);
    stage_expect_frames(stage, "t, ");
    assert_int_equal(stage->props_len, sizeof expected - 1);
    assert_memory_equal(stage->props, expected, sizeof expected - 1);
    const struct pubsub_publish_options raw = {.props = "\x81\x04\x05", .props_len = 3};
    assert_int_equal(pubsub_publish(stage->client, "t", "x", 1, &raw, NULL), PUBSUB_OK);
    stage_expect_frames(stage, "t, ");
    assert_memory_equal(stage->props, "\x81\x04\x05", 3);
}

static void bad_properties_are_refused(void **state)
{
    struct stage *stage = *state;
    static const struct pubsub_header twice[] = {{"a", "1"}, {"b", "2"}, {"a", "3"}}, unnamed[] = {{NULL, "1"}},
                                      no_text[] = {{"a", "\xff"}};
    static struct pubsub_header many[126];
    static char names[126][4], huge[9000];
    for (unsigned i = 0; i < 126; i++) {
        snprintf(names[i], sizeof names[i], "%u", i);
        many[i] = (struct pubsub_header){names[i], ""};
    }
    memset(huge, 'h', sizeof huge - 1);
    const struct {
        struct pubsub_publish_options options;
        int error;
        const char *why;
    } cases[] = {
        {{.props = "\x80", .props_len = 1, .raw = true}, PUBSUB_EINVAL, "both raw and as options"},
        {{.has_ttl = true, .ttl_ms = UINT64_C(1) << 53}, PUBSUB_EINVAL, "ttl"},
        {{.key = "\xff"}, PUBSUB_EINVAL, "key"},
        {{.reply_to = ""}, PUBSUB_EINVAL, "topic for answers"},
        {{.reply_to = "a/+"}, PUBSUB_EINVAL, "topic for answers"},
        {{.correlation = huge, .correlation_len = 65}, PUBSUB_EINVAL, "64 bytes"},
        {{.headers = twice, .headers_count = 3}, PUBSUB_EINVAL, "twice"},
        {{.headers = unnamed, .headers_count = 1}, PUBSUB_EINVAL, "lacks its name"},
        {{.headers = no_text, .headers_count = 1}, PUBSUB_EINVAL, "UTF-8"},
        {{.headers = many, .headers_count = 126}, PUBSUB_ETOOBIG, "125"},
        {{.key = huge}, PUBSUB_ETOOBIG, "too long"},
    };
    stage_open(stage, stage_options(stage), 10);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(pubsub_publish(stage->client, "t", "", 0, &cases[i].options, NULL), cases[i].error);
        if (strstr(pubsub_error(stage->client), cases[i].why) == NULL)
            fail_msg("case %zu: '%s'", i, pubsub_error(stage->client));
    }
    /* As much as fits, fits: also into the frame of the broker's limits. */
    huge[7700] = '\0';
    const struct pubsub_publish_options most = {.key = huge}, all = {.headers = many, .headers_count = 125};
    assert_int_equal(pubsub_publish(stage->client, "t", "", 0, &most, NULL), PUBSUB_OK);
    assert_int_equal(pubsub_publish(stage->client, "t", "", 0, &all, NULL), PUBSUB_OK);
    while (pubsub_outbox_bytes(stage->client) > 0) pubsub_wait(stage->client, 0);
}

/* ---- wills
 * ----------------------------------------------------------------------------------------------------------- */

static void hello_carries_the_will(void **state)
{
    (void)state;
    uint8_t rx[PUBSUB_CORE_RX_MIN], tx[PUBSUB_CORE_TX_MIN], will[64];
    const void *at;
    struct pubsub_core core;
    struct pubsub_core_hello hello = {.client_id = "dev-7"};
    const struct pubsub_will last = {.topic = "gone",
                                     .payload = "x",
                                     .payload_len = 1,
                                     .props = "\x81\x04\x05",
                                     .props_len = 3,
                                     .retain = true,
                                     .delay_ms = 300};
    pubsub_core_init(&core, rx, sizeof rx, tx, sizeof tx);
    hello.will.ptr = will;
    assert_int_equal(pubsub_core_will(&last, will, 5, &hello.will.len), PUBSUB_ETOOBIG);
    assert_int_equal(pubsub_core_will(&last, will, sizeof will, &hello.will.len), PUBSUB_OK);
    assert_int_equal(pubsub_core_hello(&core, &hello), PUBSUB_OK);
    static const uint8_t expected[] = "\x94\x01\xa3mps\x01\x82\xa2id\xa5"
                                      "dev-7\xa4will\x95\xa4gone\xc4\x01x\x01\xcd\x01\x2c"
                                      "\x81\x04\x05";
    assert_int_equal(pubsub_core_output(&core, &at), sizeof expected - 1);
    assert_memory_equal(at, expected, sizeof expected - 1);
}

static void wills_are_judged_when_the_client_is_opened(void **state)
{
    struct stage *stage = *state;
    static char large[4096];
    const struct {
        struct pubsub_will will;
        int error;
        const char *why;
    } cases[] = {
        {{.topic = "a/#"}, PUBSUB_EINVAL, "bad will for topic 'a/#'"},
        {{.topic = "t", .delay_ms = UINT64_MAX}, PUBSUB_EINVAL, "delay"},
        {{.topic = "t", .props = "\x81\x01", .props_len = 2}, PUBSUB_EINVAL, "middle of a value"},
        {{.topic = "t", .props = "\x81\xa1x\x90", .props_len = 4}, PUBSUB_EINVAL, "nested"},
        {{.topic = "t", .payload = large, .payload_len = 4096}, PUBSUB_ETOOBIG, "4,096 bytes"},
        {{.topic = "t", .payload = large, .payload_len = 4060}, PUBSUB_ETOOBIG, "4,096 bytes"},
        {{.topic = "t", .payload = large, .payload_len = SIZE_MAX}, PUBSUB_ETOOBIG, "4,096 bytes"},
    };
    struct pubsub_options options = stage_options(stage);
    char text[256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options.will = cases[i].will;
        pubsub *client = NULL;
        assert_int_equal(pubsub_open(&client, &options, text, sizeof text), cases[i].error);
        if (strstr(text, cases[i].why) == NULL) fail_msg("case %zu: '%s'", i, text);
        assert_null(client);
    }
    options.will = (struct pubsub_will){.topic = "t", .payload = large, .payload_len = 4000};
    stage_open(stage, options, 10);
}

/* ---- the core
 * -------------------------------------------------------------------------------------------------------- */

static void core_tells_the_inbox(void **state)
{
    (void)state;
    char inbox[PUBSUB_CORE_INBOX_MAX + 2];
    memset(inbox, 'i', sizeof inbox);
    const struct {
        size_t len;
        enum pubsub_event_type type;
    } cases[] = {{PUBSUB_CORE_INBOX_MAX, PUBSUB_EVENT_WELCOME},
                 {PUBSUB_CORE_INBOX_MAX + 1, PUBSUB_EVENT_FAILED},
                 {0, PUBSUB_EVENT_FAILED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t rx[512], tx[PUBSUB_CORE_TX_MIN], frame[512];
        struct pubsub_core core;
        struct pubsub_event event;
        void *at;
        pubsub_core_init(&core, rx, sizeof rx, tx, sizeof tx);
        assert_int_equal(pubsub_core_hello(&core, &(struct pubsub_core_hello){.client_id = "a"}), PUBSUB_OK);
        struct mps_out out = mps_out_open(frame, sizeof frame);
        mps_encode_welcome(&out, &(struct mps_welcome){.version = 1,
                                                       .id = mps_text("a"),
                                                       .inbox = {(const uint8_t *)inbox, (uint32_t)cases[i].len}});
        assert_true(pubsub_core_input(&core, &at) >= out.len);
        memcpy(at, frame, out.len);
        pubsub_core_received(&core, out.len);
        assert_int_equal(pubsub_core_next(&core, &event), cases[i].type);
        if (event.type != PUBSUB_EVENT_WELCOME) continue;
        assert_int_equal(strlen(event.as.welcome.inbox), cases[i].len);
        assert_int_equal(pubsub_core_credit(&core, 0, 1, false), PUBSUB_EINVAL);
        assert_int_equal(pubsub_core_credit(&core, 1, UINT64_MAX, false), PUBSUB_EINVAL);
        assert_int_equal(pubsub_core_credit(&core, 1, 5, true), PUBSUB_OK);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, stage_set_up, stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(options_are_sent_again),
        TEST(the_scope_is_what_was_granted_last),
        TEST(what_is_not_allowed_is_refused),
        TEST(credit_counts_over_reconnects),
        TEST(properties_are_made_of_options),
        TEST(bad_properties_are_refused),
        cmocka_unit_test(hello_carries_the_will),
        TEST(wills_are_judged_when_the_client_is_opened),
        cmocka_unit_test(core_tells_the_inbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
