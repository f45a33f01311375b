/* Limits that need a clock of their own: how much is published in a second, how many connections a user has, and what
 * is remembered of topics that are not published any more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_stage.h"

static struct mps_hello client(const char *id)
{
    return (struct mps_hello){.id = mps_text(id)};
}

static uint64_t refused(const struct stage *stage, enum refusal refusal)
{
    struct broker_figures figures;
    broker_figures(stage->broker, &figures);
    return figures.refused[refusal];
}

static uint64_t published(const struct stage *stage)
{
    struct broker_figures figures;
    broker_figures(stage->broker, &figures);
    return figures.messages_in;
}

/* Client 'a', whose messages are answered one by one. */
static void begin(struct stage *stage, uint64_t rate, uint64_t rate_bytes, uint32_t delay_ms)
{
    stage->limits.publish_rate = rate;
    stage->limits.publish_rate_bytes = rate_bytes;
    stage->limits.publish_delay_ms = delay_ms;
    stage_start(stage);
    stage_hello(stage, 'a', client("a"));
    stage_pub(stage, 'a', 1, 1);
    stage_expect(stage, 'a', "welcome last 0");
}

static void publish(struct stage *stage, char link, int count)
{
    for (int i = 0; i < count; i++) stage_msg(stage, link, "t", "x");
}

static void test_who_publishes_too_much_is_slowed_down_to_the_rate(void **state)
{
    struct stage *stage = *state;
    begin(stage, 10, 0, 5000);
    publish(stage, 'a', 30);
    assert_in_range(published(stage), 10, 12); /* what a second brings, at once */
    uint64_t at_once = published(stage);
    stage_pass(stage, 1000);
    assert_in_range(published(stage), at_once + 9, at_once + 11);
    stage_ping(stage, 'a'); /* is answered before what is held */
    assert_non_null(strstr(stage_words(stage, 'a'), "pong"));
    stage_pass(stage, 1500);
    assert_int_equal(published(stage), 30);
    assert_null(strstr(stage_words(stage, 'a'), "refused"));
    assert_int_equal(refused(stage, REFUSED_RATE), 0);
    stage_bye(stage, 'a', 0);
}

static void test_what_is_too_much_for_too_long_is_refused(void **state)
{
    struct stage *stage = *state;
    begin(stage, 10, 0, 2000);
    publish(stage, 'a', 100);
    stage_pass(stage, 1900);
    assert_int_equal(refused(stage, REFUSED_RATE), 0);
    stage_pass(stage, 200);
    uint64_t taken = published(stage);
    assert_in_range(taken, 29, 33); /* at once, and in two seconds */
    assert_int_equal(refused(stage, REFUSED_RATE), 100 - taken);
    assert_non_null(strstr(stage_words(stage, 'a'), "refused 100 214"));
    stage_pass(stage, 60000); /* all is forgiven */
    publish(stage, 'a', 10);
    assert_int_equal(published(stage), taken + 10);
    stage_bye(stage, 'a', 0);
}

static void test_without_delay_it_is_refused_at_once(void **state)
{
    struct stage *stage = *state;
    begin(stage, 10, 0, 0);
    publish(stage, 'a', 40);
    assert_int_equal(published(stage) + refused(stage, REFUSED_RATE), 40);
    assert_in_range(published(stage), 10, 12);
    stage_bye(stage, 'a', 0);
}

static void test_bytes_are_counted_too(void **state)
{
    struct stage *stage = *state;
    char text[1001] = {0};
    memset(text, 'x', 1000);
    begin(stage, 0, 10000, 1000);
    for (int i = 0; i < 40; i++) stage_msg(stage, 'a', "t", text);
    assert_in_range(published(stage), 9, 11);
    stage_pass(stage, 999);
    assert_in_range(published(stage), 18, 21);
    stage_pass(stage, 10);
    assert_int_equal(published(stage) + refused(stage, REFUSED_RATE_BYTES), 40);
    assert_int_equal(refused(stage, REFUSED_RATE), 0);
    stage_bye(stage, 'a', 0);
}

static void test_others_are_not_slowed_down(void **state)
{
    struct stage *stage = *state;
    begin(stage, 10, 0, 5000);
    publish(stage, 'a', 100);
    uint64_t before = published(stage);
    stage_hello(stage, 'b', client("b"));
    publish(stage, 'b', 10);
    assert_int_equal(published(stage), before + 10);
    stage_cut(stage, 'a');
    stage_bye(stage, 'b', 0);
}

/* Who comes over the Unix socket as user 5 is ann. */
static void know_ann(struct stage *stage)
{
    struct access *access = access_new();
    struct access_group *all = access_add_group(access, "all");
    access_add_text(&all->lists[ACCESS_PUBLISH], "#");
    struct access_user *ann = access_add_user(access, "ann");
    access_add_text(&ann->groups, "all");
    access_add_number(&ann->uids, 5);
    strcpy(access->default_group, "all");
    broker_set_access(stage->broker, access);
    stage->peer = (struct peer){.kind = PEER_UNIX, .uid = 5};
}

static void test_a_user_has_one_rate_over_all_connections(void **state)
{
    struct stage *stage = *state;
    stage->limits.publish_rate = 10;
    stage->limits.publish_delay_ms = 0;
    stage_start(stage);
    know_ann(stage);
    for (char link = 'a'; link <= 'd'; link++) {
        stage_hello(stage, link, client((char[]){link, '\0'}));
        publish(stage, link, 10);
    }
    assert_in_range(published(stage), 10, 12);
    for (char link = 'a'; link <= 'd'; link++) stage_bye(stage, link, 0);
}

/* Leaving and coming back is no way to publish more. */
static void test_a_users_rate_outlives_his_connections(void **state)
{
    struct stage *stage = *state;
    stage->limits.publish_rate = 10;
    stage->limits.publish_delay_ms = 0;
    stage_start(stage);
    know_ann(stage);
    for (int i = 0; i < 20; i++) {
        stage_hello(stage, 'a', client("a"));
        publish(stage, 'a', 20);
        if (i % 2 == 0) stage_bye(stage, 'a', 0);
        stage_cut(stage, 'a');
    }
    assert_in_range(published(stage), 10, 12);
    stage_pass(stage, 500);
    stage_hello(stage, 'a', client("a"));
    publish(stage, 'a', 20);
    assert_in_range(published(stage), 14, 18);
    stage_cut(stage, 'a');
    stage_pass(stage, 2000); /* nothing is left to be remembered */
    assert_int_equal(broker_turn(stage->broker), UINT64_MAX);
    stage_hello(stage, 'a', client("a"));
    publish(stage, 'a', 20);
    assert_in_range(published(stage), 24, 30);
    stage_bye(stage, 'a', 0);
}

static void test_a_user_has_so_many_connections(void **state)
{
    struct stage *stage = *state;
    stage->limits.connections_per_user = 2;
    stage_start(stage);
    know_ann(stage);
    stage_hello(stage, 'a', client("a"));
    stage_hello(stage, 'b', client("b"));
    stage_hello(stage, 'c', client("c"));
    stage_expect(stage, 'c', "bye 115 | end");
    assert_int_equal(refused(stage, REFUSED_USER), 1);
    stage->peer = (struct peer){.kind = PEER_UNIX, .uid = 6}; /* nobody in particular */
    stage_hello(stage, 'd', client("d"));
    stage_expect(stage, 'd', "welcome last 0");
    stage->peer = (struct peer){.kind = PEER_UNIX, .uid = 5};
    stage_cut(stage, 'a');
    stage_hello(stage, 'e', client("e"));
    stage_expect(stage, 'e', "welcome last 0");
    for (const char *link = "bde"; *link != '\0'; link++) stage_bye(stage, *link, 0);
    stage_cut(stage, 'c');
}

/* What a million topics leave behind. */
/* Hostile 36. */
static void topics_that_nobody_publishes_to_are_forgotten(void **state)
{
    struct stage *stage = *state;
    char topic[40];
    stage_start(stage);
    stage_hello(stage, 'a', client("a"));
    uint64_t before = broker_held_bytes(stage->broker);
    for (int i = 0; i < 60000; i++) { /* each twice: it is remembered then */
        snprintf(topic, sizeof topic, "flood/of/topics/%d", i / 2);
        stage_msg(stage, 'a', topic, "x");
    }
    assert_true(broker_held_bytes(stage->broker) > before + (2u << 20));
    for (int i = 0; i < 10; i++) stage_pass(stage, 10000);
    assert_true(broker_held_bytes(stage->broker) <= before + (1u << 20));
    stage_bye(stage, 'a', 0);
}

/* Nothing is planned when all have gone. */
/* Hostile 44. */
static void connections_that_come_and_go_leave_no_timer(void **state)
{
    struct stage *stage = *state;
    stage_start(stage);
    for (int i = 0; i < 3000; i++) {
        char link = (char)('a' + i % 26);
        stage_hello(stage, link, (struct mps_hello){.ka_s = 1 + (uint32_t)i % 60});
        if (i % 3 == 0) stage_sub(stage, link, 1, "t/#", (struct mps_sub_options){0});
        if (i % 2 == 0) stage_bye(stage, link, 0);
        stage_cut(stage, link);
    }
    stage_settle(stage);
    assert_int_equal(broker_sessions(stage->broker), 0);
    assert_int_equal(broker_turn(stage->broker), UINT64_MAX);
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_who_publishes_too_much_is_slowed_down_to_the_rate),
        STAGED(test_what_is_too_much_for_too_long_is_refused),
        STAGED(test_without_delay_it_is_refused_at_once),
        STAGED(test_bytes_are_counted_too),
        STAGED(test_others_are_not_slowed_down),
        STAGED(test_a_user_has_one_rate_over_all_connections),
        STAGED(test_a_users_rate_outlives_his_connections),
        STAGED(test_a_user_has_so_many_connections),
        STAGED(topics_that_nobody_publishes_to_are_forgotten),
        STAGED(connections_that_come_and_go_leave_no_timer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
