/* Groups that read shared streams: one broker hands out at a time, and another one goes on when it goes. */
#include "sea_rig.h"

static void join(struct sea *sea, int which, char link, bool is_durable, enum mps_ack_mode mode)
{
    char id[2] = {link, '\0'};
    sea_hello(sea, which, link, sea_client(id));
    sea_subscribe(sea, which, link, "o/#", sea_member(is_durable, mode));
    sea_pass(sea, 1000);
}

static void one_broker_hands_out_and_others_stand_by(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    join(sea, 0, 'a', true, MPS_ACK_EACH);
    join(sea, 1, 'b', true, MPS_ACK_EACH);
    sea_expect(sea, 1, 'b', "suback 1 | mark 1 2"); /* it waits for no history */
    sea_write_stream(sea, 2, 1, 4);
    sea_expect_came(sea, 0, 'a', "1 2 3 4");
    sea_expect_came(sea, 1, 'b', "");
    assert_int_equal(sea_figures(sea, 0).leases, 1);
    assert_int_equal(sea_figures(sea, 1).leases, 0);
    sea_pass(sea, 60000); /* it is renewed */
    assert_int_equal(sea_figures(sea, 0).leases, 1);
    for (uint64_t seq = 1; seq <= 3; seq++) sea_ack(sea, 0, 'a', seq);
    stage_unsub(sea->at[0], 'a', 1);
    sea_flow(sea);
    sea_pass(sea, 500); /* given back, it need not run out */
    sea_expect_came(sea, 1, 'b', "4");
    sea_ack(sea, 1, 'b', 4);
    sea_write_stream(sea, 2, 5, 6);
    sea_expect_came(sea, 1, 'b', "5 6");
}

static void when_the_broker_that_hands_out_dies_another_goes_on(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    join(sea, 0, 'a', false, MPS_ACK_EACH);
    join(sea, 1, 'b', false, MPS_ACK_EACH);
    sea_write_stream(sea, 2, 1, 4);
    sea_ack(sea, 0, 'a', 1);
    sea_ack(sea, 0, 'a', 3);
    sea_pass(sea, 200);
    sea_crash(sea, 0);
    sea_words(sea, 1, 'b');
    sea_pass(sea, 5000);
    sea_expect_came(sea, 1, 'b', "");
    sea_pass(sea, 5000);
    sea_expect_came(sea, 1, 'b', "2 4");
    sea_write_stream(sea, 2, 5, 5);
    sea_expect_came(sea, 1, 'b', "5");
    assert_int_equal(sea_figures(sea, 1).leases, 1);
}

static void a_broker_that_stops_gives_its_groups_to_others(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    join(sea, 0, 'a', false, MPS_ACK_EACH);
    join(sea, 1, 'b', false, MPS_ACK_EACH);
    sea_write_stream(sea, 2, 1, 3);
    sea_expect_came(sea, 0, 'a', "1 2 3");
    sea_ack(sea, 0, 'a', 1);
    sea_words(sea, 1, 'b');
    sea_stop(sea, 0);
    sea_pass(sea, 500);
    sea_expect_came(sea, 1, 'b', "2 3");
}

/* Nobody may hand out the same while somebody else may still. */
static void a_broker_that_is_away_stops_before_another_begins(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    struct mps_sub_options options = sea_member(true, MPS_ACK_EACH);
    options.given |= MPS_SUB_INFLIGHT;
    options.inflight = 1;
    for (int i = 0; i < 2; i++) {
        sea_hello(sea, i, 'a', sea_client(i == 0 ? "a0" : "a1"));
        sea_subscribe(sea, i, 'a', "o/#", options);
        sea_pass(sea, 500);
        sea_words(sea, i, 'a');
    }
    sea_write_stream(sea, 2, 1, 6);
    sea_expect_came(sea, 0, 'a', "1");
    uint64_t began_ms = sea->at[0]->now_ms;
    memory_bus_away(sea->bus, "one", true, true);
    sea_flow(sea);
    sea_ack(sea, 0, 'a', 1);
    sea_expect_came(sea, 0, 'a', "2"); /* for a while it is certainly its own */
    bool is_other_on = false;
    for (uint64_t seq = 2; sea->at[0]->now_ms < began_ms + 20000; sea_pass(sea, 250)) {
        const char *text = sea_came(sea, 1, 'a');
        is_other_on |= text[0] != '\0';
        sea_ack(sea, 0, 'a', seq);
        text = sea_came(sea, 0, 'a');
        if (text[0] != '\0') assert_false(is_other_on);
        if (text[0] != '\0') seq++;
        if (sea->at[0]->now_ms < began_ms + 4500) break; /* the rest is waited for without acknowledging */
    }
    sea_pass(sea, 20000);
    assert_string_not_equal(sea_came(sea, 1, 'a'), "");
    sea_ack(sea, 0, 'a', 3);
    sea_expect_came(sea, 0, 'a', "");
    assert_int_equal(sea_figures(sea, 0).leases, 0);
    assert_int_equal(sea_figures(sea, 1).leases, 1);
    sea_away(sea, 0, false);
    sea_pass(sea, 20000);
    assert_int_equal(sea_figures(sea, 0).leases, 0);
    assert_int_equal(sea_figures(sea, 1).leases, 1);
    sea_expect_came(sea, 0, 'a', "");
}

static void members_that_are_away_hold_up_nobody(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    join(sea, 0, 'a', true, MPS_ACK_EACH);
    join(sea, 1, 'b', true, MPS_ACK_EACH);
    sea_words(sea, 1, 'b');
    stage_cut(sea->at[0], 'a');
    sea_write_stream(sea, 2, 1, 2);
    sea_pass(sea, 500);
    sea_expect_came(sea, 1, 'b', "1 2");
    stage_cut(sea->at[1], 'b');
    sea_write_stream(sea, 2, 3, 3);
    sea_hello(sea, 0, 'a', sea_client("a"));
    sea_pass(sea, 500);
    sea_ack(sea, 0, 'a', 1);
    sea_pass(sea, 100);
    struct broker_figures all;
    broker_figures(sea->at[0]->broker, &all);
    assert_int_equal(sea_figures(sea, 0).leases, 1);
}

static uint64_t group_record(const struct sea *sea, uint32_t kind)
{
    return memory_bus_record(sea->bus, kind, (mps_view){(const uint8_t *)"\0g\0o/#", 6}, NULL);
}

static void a_group_that_is_not_durable_ends_with_its_last_member(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    join(sea, 0, 'a', false, MPS_ACK_EACH);
    sea_write_stream(sea, 1, 1, 2);
    sea_expect_came(sea, 0, 'a', "1 2");
    sea_pass(sea, 200);
    assert_true(group_record(sea, SHARED_PLACE) > 0);
    assert_true(group_record(sea, SHARED_LEASE) > 0);
    stage_unsub(sea->at[0], 'a', 1);
    sea_pass(sea, 200);
    join(sea, 1, 'b', false, MPS_ACK_EACH); /* it did not stand by */
    sea_expect_came(sea, 1, 'b', "1 2");
    sea_ack(sea, 1, 'b', 1);
    sea_pass(sea, 30000);
    assert_true(group_record(sea, SHARED_PLACE) > 0);
    stage_unsub(sea->at[1], 'b', 1);
    sea_pass(sea, 11000);
    assert_int_equal(group_record(sea, SHARED_PLACE), 0);
    assert_int_equal(group_record(sea, SHARED_LEASE), 0);
    sea_words(sea, 1, 'b');
    sea_subscribe(sea, 1, 'b', "o/#", sea_member(false, MPS_ACK_EACH));
    sea_pass(sea, 1000);
    sea_expect_came(sea, 1, 'b', "1 2");
    sea_crash(sea, 1);
    sea_pass(sea, 100000); /* whoever comes much later doesn't go on */
    join(sea, 0, 'd', false, MPS_ACK_EACH);
    sea_pass(sea, 10000);
    sea_expect_came(sea, 0, 'd', "1 2");
}

static void a_durable_group_goes_on_whenever_somebody_comes(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    sea_hello(sea, 0, 'a', (struct mps_hello){.id = mps_text("a")});
    sea_subscribe(sea, 0, 'a', "o/#", sea_member(true, MPS_ACK_EACH));
    sea_pass(sea, 1000);
    sea_write_stream(sea, 1, 1, 3);
    sea_ack(sea, 0, 'a', 1);
    sea_pass(sea, 200);
    stage_cut(sea->at[0], 'a');
    sea_pass(sea, 3 * 3600000);
    join(sea, 1, 'b', true, MPS_ACK_EACH);
    sea_expect_came(sea, 1, 'b', "2 3");
    stage_unsub(sea->at[1], 'b', 1);
    sea_pass(sea, 200);
    sea_subscribe(sea, 1, 'b', "o/#", sea_member(true, MPS_ACK_EACH));
    sea_pass(sea, 200);
    sea_expect_came(sea, 1, 'b', "1 2 3");
    stage_unsub(sea->at[1], 'b', 1);
    sea_pass(sea, 11000);
    assert_int_equal(group_record(sea, SHARED_PLACE), 0);
}

static void a_durable_group_is_not_over_while_members_are_away(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    join(sea, 0, 'a', true, MPS_ACK_EACH);
    sea_write_stream(sea, 2, 1, 3);
    for (uint64_t seq = 1; seq <= 2; seq++) sea_ack(sea, 0, 'a', seq);
    sea_pass(sea, 200);
    stage_cut(sea->at[0], 'a');
    join(sea, 1, 'b', true, MPS_ACK_EACH);
    sea_expect_came(sea, 1, 'b', "3");
    stage_unsub(sea->at[1], 'b', 1);
    sea_pass(sea, 60000);
    sea_hello(sea, 0, 'a', sea_client("a"));
    sea_pass(sea, 1000);
    sea_ack(sea, 0, 'a', 3);
    sea_write_stream(sea, 2, 4, 4);
    sea_expect_came(sea, 0, 'a', "4");
}

/* A frozen process finds out that it has lost the lease before it hands out anything. */
static void a_broker_that_was_frozen_does_not_go_on(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    join(sea, 0, 'a', true, MPS_ACK_NONE);
    join(sea, 1, 'b', true, MPS_ACK_NONE);
    sea_words(sea, 0, 'a');
    sea_words(sea, 1, 'b');
    struct engine *engine = sea->engines[0];
    memory_bus_freeze(sea->bus, "one", true);
    sea->engines[0] = NULL;
    sea_pass(sea, 20000);
    sea_write_stream(sea, 2, 1, 3);
    sea_expect_came(sea, 1, 'b', "1 2 3");
    memory_bus_freeze(sea->bus, "one", false);
    sea->engines[0] = engine;
    sea_flow(sea);
    sea_pass(sea, 5000);
    sea_expect_came(sea, 0, 'a', "");
    sea_write_stream(sea, 2, 4, 4);
    sea_expect_came(sea, 1, 'b', "4");
    sea_expect_came(sea, 0, 'a', "");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, sea_set_up, sea_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(one_broker_hands_out_and_others_stand_by),
        TEST(when_the_broker_that_hands_out_dies_another_goes_on),
        TEST(a_broker_that_stops_gives_its_groups_to_others),
        TEST(a_broker_that_is_away_stops_before_another_begins),
        TEST(members_that_are_away_hold_up_nobody),
        TEST(a_group_that_is_not_durable_ends_with_its_last_member),
        TEST(a_durable_group_goes_on_whenever_somebody_comes),
        TEST(a_durable_group_is_not_over_while_members_are_away),
        TEST(a_broker_that_was_frozen_does_not_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
