/* Where durable subscriptions stand in shared streams, and who a client id belongs to: who comes to another broker goes
 * on there, gets nothing twice, and nothing of another one's. */
#include "sea_rig.h"

#include <stdio.h>
#include <string.h>

/* A client comes to a broker, with a durable subscription. */
static void come(struct sea *sea, int which, enum mps_ack_mode mode)
{
    sea_hello(sea, which, 'c', sea_client("c"));
    sea_subscribe(sea, which, 'c', "o/#", sea_durable(mode));
    sea_pass(sea, 2100); /* so long does it wait for the last word of a broker that died just before */
}

static void a_client_goes_on_at_another_broker(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    sea_write_stream(sea, 0, 1, 3);
    sea_expect_came(sea, 0, 'c', "1 2 3");
    stage_cut(sea->at[0], 'c');
    sea_write_stream(sea, 1, 4, 5);
    come(sea, 1, MPS_ACK_NONE);
    sea_expect_came(sea, 1, 'c', "4 5");
    assert_int_equal(sea_figures(sea, 0).places, 1);
    struct broker_figures all;
    broker_figures(sea->at[0]->broker, &all);
    assert_int_equal(all.sessions_away, 0);
    sea_write_stream(sea, 0, 6, 6);
    sea_expect_came(sea, 1, 'c', "6");
    sea_pass(sea, 1000);
    stage_cut(sea->at[1], 'c');
    come(sea, 0, MPS_ACK_NONE); /* and back */
    sea_expect_came(sea, 0, 'c', "");
    sea_write_stream(sea, 0, 7, 7);
    sea_expect_came(sea, 0, 'c', "7");
}

static void what_is_not_acknowledged_comes_again_at_another_broker(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    come(sea, 0, MPS_ACK_EACH);
    sea_write_stream(sea, 0, 1, 4);
    sea_expect_came(sea, 0, 'c', "1 2 3 4");
    sea_ack(sea, 0, 'c', 1);
    sea_ack(sea, 0, 'c', 3);
    sea_pass(sea, 200);
    stage_cut(sea->at[0], 'c');
    sea_write_stream(sea, 0, 5, 5);
    come(sea, 1, MPS_ACK_EACH);
    sea_expect_came(sea, 1, 'c', "2 4 5");
    sea_ack(sea, 1, 'c', 2);
    sea_ack(sea, 1, 'c', 4);
    sea_pass(sea, 200);
    sea_crash(sea, 1);
    come(sea, 0, MPS_ACK_EACH);
    sea_expect_came(sea, 0, 'c', "5");
}

/* It has hardly left one when it is at the next: who comes waits for the last word of where it was. */
static void a_client_that_hurries_gets_nothing_twice(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    memory_bus_faults(sea->bus)->record_ms = 20;
    memory_bus_faults(sea->bus)->delay_ms = 5;
    come(sea, 0, MPS_ACK_EACH);
    sea_write_stream(sea, 2, 1, 9);
    sea_expect_came(sea, 0, 'c', "1 2 3 4 5 6 7 8 9");
    for (uint64_t seq = 1; seq <= 3; seq++) sea_ack(sea, 0, 'c', seq);
    stage_cut(sea->at[0], 'c');
    sea_hello(sea, 1, 'c', sea_client("c"));
    sea_subscribe(sea, 1, 'c', "o/#", sea_durable(MPS_ACK_EACH));
    sea_expect(sea, 1, 'c', "suback 1");
    for (int i = 0; i < 10; i++) sea_pass(sea, 20);
    sea_expect_came(sea, 1, 'c', "4 5 6 7 8 9");
    for (uint64_t seq = 4; seq <= 6; seq++) sea_ack(sea, 1, 'c', seq);
    sea_hello(sea, 2, 'c', sea_client("c")); /* and without having left */
    sea_subscribe(sea, 2, 'c', "o/#", sea_durable(MPS_ACK_EACH));
    for (int i = 0; i < 10; i++) sea_pass(sea, 20);
    sea_expect_came(sea, 2, 'c', "7 8 9");
}

/* What it does, all within the time that its claim and its place take to be heard of elsewhere. */
static void a_client_that_has_only_just_come_gets_nothing_twice(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    memory_bus_faults(sea->bus)->record_ms = 300;
    memory_bus_faults(sea->bus)->delay_ms = 50;
    sea_write_stream(sea, 2, 1, 9);
    sea_pass(sea, 1000);
    for (int which = 0; which < 3; which++) {
        char expected[32] = "";
        for (int i = 3 * which + 1; i <= 9; i++)
            snprintf(expected + strlen(expected), 4, "%s%d", expected[0] != '\0' ? " " : "", i);
        sea_hello(sea, which, 'c', sea_client("c"));
        sea_subscribe(sea, which, 'c', "o/#", sea_durable(MPS_ACK_EACH));
        for (int i = 0; i < (which == 0 ? 6 : 30); i++) sea_pass(sea, 20); /* until who there is has answered */
        sea_expect_came(sea, which, 'c', expected);
        for (uint64_t seq = 1; seq <= 3; seq++) sea_ack(sea, which, 'c', 3 * (uint64_t)which + seq);
        if (which != 1) stage_cut(sea->at[which], 'c');
    }
}

/* It came long ago, and reads only now. */
static void a_client_that_has_only_just_subscribed_gets_nothing_twice(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    sea_write_stream(sea, 1, 1, 3);
    sea_hello(sea, 0, 'c', sea_client("c"));
    sea_pass(sea, 12000);
    memory_bus_faults(sea->bus)->record_ms = 3000;
    sea_subscribe(sea, 0, 'c', "o/#", sea_durable(MPS_ACK_EACH));
    sea_expect_came(sea, 0, 'c', "1 2 3");
    for (uint64_t seq = 1; seq <= 2; seq++) sea_ack(sea, 0, 'c', seq);
    stage_cut(sea->at[0], 'c');
    sea_hello(sea, 1, 'c', sea_client("c"));
    sea_subscribe(sea, 1, 'c', "o/#", sea_durable(MPS_ACK_EACH));
    sea_pass(sea, 2500);
    sea_expect_came(sea, 1, 'c', ""); /* of what is known to be said, the others are waited for longer */
    sea_pass(sea, 1000);
    sea_expect_came(sea, 1, 'c', "3");
}

/* Who has answered has said all that there is: nobody waits for more. */
static void what_is_new_at_another_broker_begins_at_once(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    come(sea, 0, MPS_ACK_EACH);
    sea_write_stream(sea, 0, 1, 2);
    stage_cut(sea->at[0], 'c');
    sea_hello(sea, 1, 'c', sea_client("c"));
    stage_sub(sea->at[1], 'c', 2, "o/1", sea_durable(MPS_ACK_EACH));
    sea_pass(sea, 100);
    sea_expect_came(sea, 1, 'c', "1 2");
}

static void who_comes_takes_the_id_over_from_all_brokers(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    come(sea, 0, MPS_ACK_NONE);
    sea_expect_came(sea, 0, 'c', "");
    sea_hello(sea, 2, 'c', sea_client("c"));
    sea_pass(sea, 100);
    assert_non_null(strstr(sea_words(sea, 0, 'c'), "bye 109"));
    sea_hello(sea, 1, 'd', sea_client("d"));
    stage_cut(sea->at[1], 'd');
    sea_hello(sea, 1, 'e', sea_client("e"));
    stage_cut(sea->at[1], 'e');
    sea_hello(sea, 0, 'd', sea_client("d"));
    sea_pass(sea, 100);
    struct broker_figures all;
    broker_figures(sea->at[1]->broker, &all);
    assert_int_equal(all.sessions_away, 1); /* that of e */
    sea_words(sea, 2, 'c');
    sea_hello(sea, 2, 'f', (struct mps_hello){.id = mps_text("c")}); /* one whose session ends with its connection, */
    sea_pass(sea, 100);
    sea_expect(sea, 2, 'c', "bye 109 | end");
    sea_hello(sea, 0, 'f', (struct mps_hello){.id = mps_text("c")}); /* counts at its own broker only */
    sea_pass(sea, 100);
    sea_expect(sea, 2, 'f', "");
}

/* Whose client is elsewhere without its having been heard of. */
static void a_missed_claim_is_learnt_from_the_place(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    sea_write_stream(sea, 0, 1, 2);
    sea_expect_came(sea, 0, 'c', "1 2");
    memory_bus_away(sea->bus, "one", true, false);
    sea_pass(sea, 10000);
    come(sea, 1, MPS_ACK_NONE);
    sea_expect_came(sea, 1, 'c', "");
    sea_pass(sea, 1000);
    assert_non_null(strstr(sea_words(sea, 0, 'c'), "bye 109"));
    sea_write_stream(sea, 0, 3, 3);
    sea_expect_came(sea, 1, 'c', "3");
    sea_pass(sea, 1000);
    assert_null(strstr(sea_words(sea, 1, 'c'), "bye"));
}

static uint64_t place_of(const struct sea *sea, const char *id)
{
    char key[64];
    int len = snprintf(key, sizeof key, "%s%c1", id, 0);
    return memory_bus_record(sea->bus, SHARED_PLACE, (mps_view){(const uint8_t *)key, (uint32_t)len}, NULL);
}

static void what_is_unsubscribed_has_no_place(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    sea_write_stream(sea, 0, 1, 2);
    assert_true(place_of(sea, "c") > 0);
    stage_unsub(sea->at[0], 'c', 1);
    sea_flow(sea);
    assert_int_equal(place_of(sea, "c"), 0);
    stage_cut(sea->at[0], 'c');
    come(sea, 1, MPS_ACK_NONE);
    sea_expect_came(sea, 1, 'c', "1 2");
    stage_cut(sea->at[1], 'c');
    sea_flow(sea);
    sea_hello(sea, 0, 'c', (struct mps_hello){.id = mps_text("c"), .sess_s = SEA_SESSION_S, .clean = true});
    sea_pass(sea, 200);
    assert_int_equal(place_of(sea, "c"), 0); /* who wants nothing of before has nothing */
    sea_subscribe(sea, 0, 'c', "o/#", sea_durable(MPS_ACK_NONE));
    sea_pass(sea, 2100);
    sea_expect_came(sea, 0, 'c', "1 2");
}

static void places_end_with_their_sessions(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    sea_write_stream(sea, 0, 1, 2);
    stage_cut(sea->at[0], 'c');
    sea_pass(sea, SEA_SESSION_S * 1000 - 10000);
    assert_true(place_of(sea, "c") > 0);
    sea_pass(sea, 11000);
    assert_int_equal(place_of(sea, "c"), 0);
    sea_hello(sea, 0, 'd', sea_client("d"));
    sea_subscribe(sea, 0, 'd', "o/#", sea_durable(MPS_ACK_NONE));
    sea_pass(sea, 3 * SEA_SESSION_S * 1000); /* said again and again, as long as somebody is there */
    assert_true(place_of(sea, "d") > 0);
    sea_crash(sea, 0);
    sea_pass(sea, SEA_SESSION_S * 1000);
    assert_true(place_of(sea, "d") > 0);
    sea_pass(sea, 3600000); /* nobody says it any more, so others remove it */
    assert_int_equal(place_of(sea, "d"), 0);
    assert_int_equal(sea_figures(sea, 1).places, 0);
}

static void another_pattern_does_not_go_on(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    sea_write_stream(sea, 0, 1, 2);
    stage_cut(sea->at[0], 'c');
    sea_hello(sea, 1, 'c', sea_client("c"));
    sea_subscribe(sea, 1, 'c', "o/+", sea_durable(MPS_ACK_NONE));
    sea_pass(sea, 2100);
    sea_expect_came(sea, 1, 'c', "1 2");
}

static void a_broker_that_restarts_goes_on_where_others_were_meanwhile(void **state)
{
    struct sea *sea = *state;
    sea->has_store[0] = true;
    sea_brokers(state, 2);
    come(sea, 0, MPS_ACK_EACH);
    sea_write_stream(sea, 0, 1, 4);
    sea_expect_came(sea, 0, 'c', "1 2 3 4");
    sea_ack(sea, 0, 'c', 1);
    sea_pass(sea, 200);
    sea_crash(sea, 0);
    come(sea, 1, MPS_ACK_EACH);
    sea_expect_came(sea, 1, 'c', "2 3 4");
    for (uint64_t seq = 2; seq <= 4; seq++) sea_ack(sea, 1, 'c', seq);
    sea_pass(sea, 200);
    stage_cut(sea->at[1], 'c');
    sea_start(sea, 0);
    sea_pass(sea, 2000);
    sea_write_stream(sea, 1, 5, 5);
    stage_hello(sea->at[0], 'c', sea_client("c"));
    sea_flow(sea);
    sea_expect_came(sea, 0, 'c', "5"); /* the session is there again, but not its place of before */
}

/* It comes so early that its broker does not know yet where it stands. */
static void a_place_that_is_learnt_late_is_gone_on_from(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    come(sea, 0, MPS_ACK_EACH);
    sea_write_stream(sea, 0, 1, 3);
    for (uint64_t seq = 1; seq <= 2; seq++) sea_ack(sea, 0, 'c', seq);
    sea_pass(sea, 200);
    sea_crash(sea, 0);
    sea_stop(sea, 1);
    memory_bus_away(sea->bus, "one", true, true);
    sea_start(sea, 0);
    sea_hello(sea, 0, 'c', sea_client("c"));
    struct mps_sub_options options = sea_durable(MPS_ACK_EACH);
    options.from.kind = MPS_FROM_NEW;
    sea_subscribe(sea, 0, 'c', "o/#", options);
    sea_expect_came(sea, 0, 'c', "");
    sea_away(sea, 0, false);
    sea_pass(sea, 2000);
    sea_expect_came(sea, 0, 'c', "3");
}

/* It reaches the stream, and does not know yet where anything stands in it. */
static void nobody_begins_before_places_are_known(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    const struct engine_events *tell = &sea->engines[1]->events;
    sea_write_stream(sea, 1, 1, 3);
    memory_bus_faults(sea->bus)->record_ms = 8000;
    come(sea, 0, MPS_ACK_EACH);
    for (uint64_t seq = 1; seq <= 2; seq++) sea_ack(sea, 0, 'c', seq);
    sea_pass(sea, 200);
    sea_crash(sea, 0);
    sea_pass(sea, 6000);
    tell->connected(tell->arg, true, false, "", "gone");
    tell->connected(tell->arg, true, true, "", "");
    sea_hello(sea, 1, 'c', sea_client("c"));
    sea_subscribe(sea, 1, 'c', "o/#", sea_durable(MPS_ACK_EACH));
    sea_pass(sea, 3000);
    sea_expect_came(sea, 1, 'c', "");
    tell->records_loaded(tell->arg, 0);
    sea_pass(sea, 100);
    sea_expect_came(sea, 1, 'c', "3");
}

/* The stream was made anew meanwhile: positions of before mean nothing. */
static void a_place_in_another_stream_is_none(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    sea_write_stream(sea, 0, 1, 3);
    sea_pass(sea, 200);
    sea_crash(sea, 0);
    memory_bus_delete_stream(sea->bus, stream_shared_number("orders"));
    sea_flow(sea);
    memory_bus_remake_stream(sea->bus, stream_shared_number("orders"));
    sea_pass(sea, 2000);
    sea_write_stream(sea, 1, 11, 14);
    come(sea, 1, MPS_ACK_NONE);
    sea_expect(
        sea, 1, 'c',
        "suback 1 | gap 1 x? reason 9 at S-0..0 | for 1 flags 2 at S-1 | o/1=11 | o/1=12 | o/1=13 | o/1=14 | mark 1 2");
}

/* As somebody says by a record of this kind where the subscription 1 of c stands, which is a user's. */
static void say_place(struct sea *sea, uint32_t kind, const char *user, uint64_t claim, uint64_t next)
{
    uint8_t room[256];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_put_array(&out, 11);
    mps_put_uint(&out, 40);
    mps_put_text(&out, mps_text("elsewhere"));
    mps_put_uint(&out, 1);
    if (kind == SHARED_PLACE) mps_put_uint(&out, claim);
    else mps_put_uint(&out, 1); /* a lease is held */
    mps_put_uint(&out, sea->at[0]->wall_ms);
    mps_put_uint(&out, 100);
    mps_put_text(&out, mps_text(user));
    mps_put_text(&out, mps_text("o/#"));
    mps_put_bool(&out, true);
    mps_put_array(&out, 0);
    mps_put_array(&out, 2);
    mps_put_bool(&out, true);
    mps_put_array(&out, 4);
    mps_put_uint(&out, stream_shared_number("orders"));
    mps_put_uint(&out, next);
    mps_put_array(&out, 2); /* it says that a billion of messages are open, if next is so large */
    mps_put_uint(&out, next + 7);
    mps_put_uint(&out, next + 10);
    mps_put_array(&out, 0);
    memory_bus_put(sea->bus, kind,
                   (mps_view){(const uint8_t *)"c\0"
                                               "1",
                              3},
                   mps_out_view(&out));
    sea_pass(sea, 1000);
}

static void a_place_behind_the_end_is_the_end(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    sea_write_stream(sea, 0, 1, 3);
    say_place(sea, SHARED_PLACE, "", 1, MPS_NUMBER_MAX - 10);
    assert_int_equal(sea_figures(sea, 0).bad, 0);
    come(sea, 0, MPS_ACK_EACH);
    sea_expect_came(sea, 0, 'c', "");
    sea_write_stream(sea, 0, 4, 4);
    sea_expect_came(sea, 0, 'c', "4");
}

/* An id that has a place is its user's at each broker, as if his session were here. */
static void places_of_another_user_are_not_gone_on_from(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    sea_write_stream(sea, 0, 1, 3);
    say_place(sea, SHARED_PLACE, "ann", 1, 2);
    uint64_t revision = place_of(sea, "c");
    for (int clean = 0; clean <= 1; clean++) {
        struct mps_hello with = sea_client("c");
        with.clean = clean;
        stage_hello(sea->at[clean], 'c', with);
        sea_flow(sea);
        assert_non_null(strstr(sea_words(sea, clean, 'c'), "bye 117"));
    }
    assert_int_equal(place_of(sea, "c"), revision);
    sea_hello(sea, 1, 'd', sea_client("d"));
    sea_subscribe(sea, 1, 'd', "o/#", sea_durable(MPS_ACK_NONE));
    sea_expect_came(sea, 1, 'd', "1 2 3");
}

/* A lease of something that is no group; a claim after which there could be none. */
static void records_of_clients_that_mean_nothing_do_no_harm(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    say_place(sea, SHARED_LEASE, "", 1, 1);
    struct mps_hello with = sea_client("c");
    with.clean = true;
    sea_hello(sea, 0, 'c', with);
    sea_subscribe(sea, 0, 'c', "o/#", sea_durable(MPS_ACK_NONE));
    sea_write_stream(sea, 0, 1, 1);
    sea_pass(sea, 2100);
    sea_expect_came(sea, 0, 'c', "1");
    say_place(sea, SHARED_PLACE, "", MPS_NUMBER_MAX, 1);
    assert_int_equal(sea_figures(sea, 0).bad, 1);
    sea_write_stream(sea, 0, 2, 2);
    sea_expect_came(sea, 0, 'c', "2");
    say_place(sea, SHARED_PLACE, "", MPS_NUMBER_MAX / 2, 3);
    come(sea, 1, MPS_ACK_NONE); /* also if it has open positions that nothing has yet */
    sea_write_stream(sea, 0, 3, 3);
    sea_pass(sea, 1000);
    assert_null(strstr(sea->at[0]->logged, "malformed"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, sea_set_up, sea_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_client_goes_on_at_another_broker),
        TEST(what_is_not_acknowledged_comes_again_at_another_broker),
        TEST(a_client_that_hurries_gets_nothing_twice),
        TEST(a_client_that_has_only_just_come_gets_nothing_twice),
        TEST(a_client_that_has_only_just_subscribed_gets_nothing_twice),
        TEST(what_is_new_at_another_broker_begins_at_once),
        TEST(who_comes_takes_the_id_over_from_all_brokers),
        TEST(a_missed_claim_is_learnt_from_the_place),
        TEST(what_is_unsubscribed_has_no_place),
        TEST(places_end_with_their_sessions),
        TEST(another_pattern_does_not_go_on),
        TEST(a_broker_that_restarts_goes_on_where_others_were_meanwhile),
        TEST(a_place_that_is_learnt_late_is_gone_on_from),
        TEST(nobody_begins_before_places_are_known),
        TEST(a_place_in_another_stream_is_none),
        TEST(a_place_behind_the_end_is_the_end),
        TEST(places_of_another_user_are_not_gone_on_from),
        TEST(records_of_clients_that_mean_nothing_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
