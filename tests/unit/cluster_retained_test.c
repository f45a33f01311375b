/* Retained values that brokers share by records: all have the last one, whoever was away, as far as there is room. */
#include "sea_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct mps_sub_options plain = {0};

/* ---- what all have ----------------------------------------------------------------------------------------------- */

/* Publishes with retain, ttl_ms > 0: for so long. Doesn't let it get anywhere yet. */
static void write_retained(struct sea *sea, int which, const char *topic, const char *text, uint64_t ttl_ms)
{
    uint8_t room[2048], props_room[32];
    struct mps_out out = mps_out_open(room, sizeof room), props = mps_out_open(props_room, sizeof props_room);
    struct mps_msg msg = {.topic = mps_text(topic), .payload = mps_text(text)};
    if (ttl_ms > 0) {
        mps_put_map(&props, 1);
        mps_put_uint(&props, MPS_PROP_TTL_MS);
        mps_put_uint(&props, ttl_ms);
        msg.props = mps_out_view(&props);
    }
    if (sea->at[which]->links['p' - 'a'].session == NULL) {
        stage_hello(sea->at[which], 'p', (struct mps_hello){.id = mps_text(sea_name(which))});
        stage_words(sea->at[which], 'p');
    }
    mps_encode_pub(&out, &(struct mps_pub){0, MPS_PUB_RETAIN});
    mps_encode_msg(&out, &msg);
    stage_send(sea->at[which], 'p', &out);
}

static void retain(struct sea *sea, int which, const char *topic, const char *text)
{
    write_retained(sea, which, topic, text, 0);
    sea_flow(sea);
}

/* The values that a new subscriber gets, as words; "": none. */
static const char *values(struct sea *sea, int which, const char *pattern)
{
    static const char before[] = "suback 1", after[] = "mark 1 1";
    sea_hello(sea, which, 'z', (struct mps_hello){0});
    sea_subscribe(sea, which, 'z', pattern, plain);
    char *found = sea->words;
    sea_words(sea, which, 'z');
    assert_int_equal(strncmp(found, before, sizeof before - 1), 0);
    found += sizeof before - 1;
    char *end = strstr(found, after);
    assert_non_null(end);
    *end = '\0';
    stage_bye(sea->at[which], 'z', 0);
    stage_cut(sea->at[which], 'z');
    if (strncmp(found, " | ", 3) == 0) found += 3;
    size_t len = strlen(found);
    if (len >= 3) found[len - 3] = '\0';
    if (strncmp(found, "for 1 flags 1 | ", 16) == 0) found += 16;
    sea_flow(sea);
    return found;
}

#define expect_values(sea, which, pattern, expected) assert_string_equal(values(sea, which, pattern), expected)

static uint64_t revision_of(const struct sea *sea, uint32_t kind, const char *key)
{
    return memory_bus_record(sea->bus, kind, mps_text(key), NULL);
}

static void a_value_is_at_all_brokers(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    retain(sea, 0, "a/1", "x");
    retain(sea, 1, "a/2", "y");
    for (int i = 0; i < 3; i++) expect_values(sea, i, "a/#", "a/1=x | a/2=y");
    retain(sea, 2, "a/1", "z");
    for (int i = 0; i < 3; i++) expect_values(sea, i, "a/1", "a/1=z");
    retain(sea, 1, "a/1", "");
    for (int i = 0; i < 3; i++) expect_values(sea, i, "a/#", "a/2=y");
    assert_int_equal(revision_of(sea, SHARED_RETAINED, "a/1"), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(sea_figures(sea, i).waiting, 0);
}

/* What the records say; "": nothing. */
static const char *recorded(const struct sea *sea, const char *topic)
{
    static char text[256];
    mps_view value;
    text[0] = '\0';
    if (memory_bus_record(sea->bus, SHARED_RETAINED, mps_text(topic), &value) == 0) return text;
    struct mps_reader r = mps_reader_open(value);
    struct mps_msg msg;
    const char *what;
    mps_read_array(&r, "record");
    mps_read_uint(&r, 40, "operation");
    mps_read_uint(&r, MPS_NUMBER_MAX, "expiry");
    mps_view frame = mps_read_bin(&r, "frame");
    assert_null(r.bad);
    assert_int_equal(mps_decode_msg(frame, &msg, &what), MPS_OK);
    snprintf(text, sizeof text, "%s=%.*s", topic, (int)msg.payload.len, (const char *)msg.payload.ptr);
    return text;
}

/* Whoever comes last in the order of the records, all end with that. */
static void brokers_that_set_a_value_at_once_end_with_the_same(void **state)
{
    struct sea *sea = sea_brokers(state, 3);
    memory_bus_shuffle(sea->bus);
    memory_bus_faults(sea->bus)->coalesced = 300;
    for (int round = 0; round < 60; round++) {
        char text[16];
        const char *topic = round % 2 == 0 ? "a/1" : "a/2";
        memory_bus_faults(sea->bus)->record_ms = (uint64_t)(round % 3) * 40;
        for (int i = 0; i < 3; i++) {
            snprintf(text, sizeof text, "%d-%d", round, i);
            write_retained(sea, i, topic, (round + i) % 7 == 0 ? "" : text, 0);
            for (int steps = round % 5; steps > 0; steps--) memory_bus_step(sea->bus);
        }
        if (round % 4 == 0) continue;
        sea_flow(sea);
        sea_pass(sea, 200);
        for (int i = 0; i < 3; i++) expect_values(sea, i, topic, recorded(sea, topic));
    }
    sea_flow(sea);
    sea_pass(sea, 200);
    for (int i = 0; i < 3; i++) {
        expect_values(sea, i, "a/1", recorded(sea, "a/1"));
        assert_int_equal(sea_figures(sea, i).waiting, 0);
    }
}

static void a_value_expires_everywhere_and_then_from_the_records(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    write_retained(sea, 0, "a/1", "x", 5000);
    sea_flow(sea);
    sea_pass(sea, 4000);
    for (int i = 0; i < 2; i++) expect_values(sea, i, "a/1", "a/1=x");
    sea_pass(sea, 2000);
    for (int i = 0; i < 2; i++) expect_values(sea, i, "a/1", "");
    assert_true(revision_of(sea, SHARED_RETAINED, "a/1") > 0); /* the clock of somebody else may be late */
    sea_start(sea, 2);
    expect_values(sea, 2, "a/1", "");
    sea_pass(sea, 61000);
    assert_int_equal(revision_of(sea, SHARED_RETAINED, "a/1"), 0);
}

static void a_value_that_takes_the_place_of_an_expired_one_stays(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    write_retained(sea, 0, "a/1", "x", 5000);
    sea_flow(sea);
    sea_pass(sea, 6000);
    retain(sea, 1, "a/1", "y");
    sea_pass(sea, 70000);
    for (int i = 0; i < 2; i++) expect_values(sea, i, "a/1", "a/1=y");
    assert_string_equal(recorded(sea, "a/1"), "a/1=y");
}

static void present_subscribers_are_not_told_twice(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    sea_hello(sea, 1, 's', (struct mps_hello){0});
    sea_subscribe(sea, 1, 's', "a/#", plain);
    sea_expect(sea, 1, 's', "suback 1 | mark 1 1");
    sea_pass(sea, 1000);
    retain(sea, 0, "a/1", "x");
    sea_pass(sea, 1000);
    sea_expect(sea, 1, 's', "for 1 | a/1=x");
    sea_away(sea, 1, true);
    sea_away(sea, 1, false);
    sea_pass(sea, 1000);
    assert_null(strstr(sea_words(sea, 1, 's'), "a/1"));
    expect_values(sea, 1, "a/#", "a/1=x");
}

/* ---- away and back ----------------------------------------------------------------------------------------------- */

static void after_a_broker_was_away_the_last_put_holds(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    retain(sea, 0, "a/gone", "x");
    sea_away(sea, 0, true);
    retain(sea, 0, "a/1", "first");
    retain(sea, 0, "a/1", "last");
    retain(sea, 0, "a/2", "mine");
    retain(sea, 1, "a/1", "theirs");
    retain(sea, 1, "a/3", "theirs");
    retain(sea, 1, "a/gone", "");
    expect_values(sea, 0, "a/#", "a/gone=x | a/1=last | a/2=mine");
    expect_values(sea, 1, "a/#", "a/1=theirs | a/3=theirs");
    assert_int_equal(sea_figures(sea, 0).waiting, 2);
    sea_away(sea, 0, false);
    sea_pass(sea, 2000);
    for (int i = 0; i < 2; i++) {
        expect_values(sea, i, "a/1", "a/1=last");
        expect_values(sea, i, "a/2", "a/2=mine");
        expect_values(sea, i, "a/3", "a/3=theirs");
        expect_values(sea, i, "a/gone", "");
    }
    assert_int_equal(sea_figures(sea, 0).waiting, 0);
}

static void what_was_cleared_while_away_is_cleared(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    retain(sea, 0, "a/1", "x");
    sea_away(sea, 0, true);
    retain(sea, 0, "a/1", "");
    expect_values(sea, 0, "a/1", "");
    expect_values(sea, 1, "a/1", "a/1=x");
    sea_away(sea, 0, false);
    sea_pass(sea, 2000);
    for (int i = 0; i < 2; i++) expect_values(sea, i, "a/1", "");
}

static void values_of_lost_records_go_but_for_those_that_are_put(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    sea->topics = "a/#";
    sea_start(sea, 2);
    retain(sea, 0, "a/1", "x");
    retain(sea, 2, "b/1", "own");
    sea_away(sea, 0, true);
    retain(sea, 0, "a/2", "y");
    memory_bus_lose_records(sea->bus);
    sea_flow(sea);
    for (int i = 1; i < 3; i++) expect_values(sea, i, "a/#", "");
    expect_values(sea, 2, "b/#", "b/1=own");
    sea_away(sea, 0, false);
    sea_pass(sea, 2000);
    for (int i = 0; i < 3; i++) expect_values(sea, i, "a/#", "a/2=y");
}

static void a_removal_that_was_put_just_before_the_link_broke_is_not_forgotten(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    memory_bus_faults(sea->bus)->record_ms = 1000;
    retain(sea, 0, "a/1", "x");
    retain(sea, 1, "a/1", "");
    sea_away(sea, 0, true);
    sea_pass(sea, 2000);
    sea_away(sea, 0, false);
    sea_pass(sea, 2000);
    for (int i = 0; i < 2; i++) {
        expect_values(sea, i, "a/1", "");
        assert_int_equal(sea_figures(sea, i).waiting, 0);
    }
}

static void a_broker_that_starts_learns_all_values(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    retain(sea, 0, "a/1", "x");
    retain(sea, 0, "a/2", "y");
    sea_crash(sea, 0);
    retain(sea, 1, "a/2", "");
    sea_start(sea, 0);
    expect_values(sea, 0, "a/#", "a/1=x");
    sea_stop(sea, 1);
    sea_stop(sea, 0);
    sea_start(sea, 1);
    expect_values(sea, 1, "a/#", "a/1=x");
}

static void a_broker_with_a_store_has_its_values_before_it_reaches_the_others(void **state)
{
    struct sea *sea = *state;
    sea->has_store[0] = true;
    sea_start(sea, 0);
    sea_start(sea, 1);
    sea_pass(sea, 1000);
    retain(sea, 0, "own/1", "x");
    retain(sea, 0, "own/2", "y");
    retain(sea, 1, "own/3", "z");
    sea_pass(sea, 1000);
    sea_crash(sea, 0);
    retain(sea, 1, "own/1", "");
    retain(sea, 1, "own/2", "new");
    memory_bus_away(sea->bus, "one", true, true);
    sea_start(sea, 0);
    expect_values(sea, 0, "own/#", "own/1=x | own/2=y | own/3=z");
    sea_away(sea, 0, false);
    sea_pass(sea, 1000);
    expect_values(sea, 0, "own/1", "");
    expect_values(sea, 0, "own/2", "own/2=new");
    expect_values(sea, 0, "own/3", "own/3=z");
    assert_int_equal(revision_of(sea, SHARED_RETAINED, "own/1"), 0); /* it was not put again */
    sea_crash(sea, 0);
    sea_start(sea, 0);
    sea_pass(sea, 1000);
    expect_values(sea, 0, "own/1", "");
    expect_values(sea, 0, "own/2", "own/2=new");
}

static void values_of_a_time_when_it_was_alone_become_records(void **state)
{
    struct sea *sea = *state;
    sea->has_store[0] = true;
    sea->topics = "nothing/of/it";
    sea_start(sea, 0);
    retain(sea, 0, "own/1", "x");
    retain(sea, 0, "own/2", "y");
    sea_stop(sea, 0);
    sea->topics = "#";
    sea_start(sea, 1);
    retain(sea, 1, "own/2", "theirs");
    sea_start(sea, 0);
    sea_pass(sea, 1000);
    for (int i = 0; i < 2; i++) {
        expect_values(sea, i, "own/1", "own/1=x");
        expect_values(sea, i, "own/2", "own/2=theirs");
    }
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static void what_has_no_room_here_is_at_the_others(void **state)
{
    struct sea *sea = *state;
    sea->at[1]->limits.max_retained_count = 2;
    sea_brokers(state, 2);
    retain(sea, 0, "a/1", "x");
    retain(sea, 0, "a/2", "x");
    retain(sea, 0, "a/3", "x");
    expect_values(sea, 0, "a/#", "a/1=x | a/2=x | a/3=x");
    expect_values(sea, 1, "a/#", "a/1=x | a/2=x");
    assert_non_null(strstr(sea->at[1]->logged,
                           "a retained value of 'a/3', which another broker has, is not kept here: there are 2"));
    struct broker_figures all;
    broker_figures(sea->at[1]->broker, &all);
    assert_int_equal(all.refused[REFUSED_RETAINED], 1);
    assert_int_equal(sea_figures(sea, 1).unkept, 1);
    retain(sea, 1, "a/3", ""); /* of one that it doesn't have */
    for (int i = 0; i < 2; i++) expect_values(sea, i, "a/#", "a/1=x | a/2=x");
}

static void a_value_that_became_too_long_for_a_broker_is_none_there(void **state)
{
    struct sea *sea = *state;
    sea->at[1]->limits.max_payload = 8;
    sea_brokers(state, 2);
    retain(sea, 0, "a/1", "short");
    retain(sea, 0, "a/1", "longer than that");
    expect_values(sea, 0, "a/1", "a/1=longer than that");
    expect_values(sea, 1, "a/1", "");
    assert_int_equal(sea_figures(sea, 1).bad, 1);
}

/* The engine in memory takes 10,000 puts that wait, and values up to 1 MiB. */
static void what_the_engine_has_no_room_for_is_put_later(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    char topic[32];
    sea_away(sea, 0, true);
    for (int i = 0; i < 10100; i++) {
        snprintf(topic, sizeof topic, "a/%d", i);
        write_retained(sea, 0, topic, "x", 0);
    }
    write_retained(sea, 0, "a/10050", "", 0);
    assert_int_equal(sea_figures(sea, 0).waiting, 10100);
    sea_away(sea, 0, false);
    sea_pass(sea, 3000);
    assert_int_equal(sea_figures(sea, 0).waiting, 0);
    assert_int_equal(sea_figures(sea, 0).unshared, 0);
    struct broker_figures all;
    broker_figures(sea->at[1]->broker, &all);
    assert_int_equal(all.retained, 10099);
    expect_values(sea, 1, "a/10050", "");
    expect_values(sea, 1, "a/10099", "a/10099=x");
}

static void what_is_too_long_for_a_record_is_kept_here_and_said(void **state)
{
    enum { LONG = 1200 * 1024 };
    struct sea *sea = *state;
    for (int i = 0; i < 2; i++) sea->at[i]->limits.max_payload = 2 * LONG;
    sea_brokers(state, 2);
    retain(sea, 0, "a/1", "short");
    expect_values(sea, 1, "a/1", "a/1=short");
    uint8_t *room = malloc(LONG + 100), *payload = calloc(1, LONG);
    assert_non_null(room);
    assert_non_null(payload);
    struct mps_out out = mps_out_open(room, LONG + 100);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a/1"), .payload = {payload, LONG}});
    stage_send(sea->at[0], 'p', &out);
    sea_flow(sea);
    free(room);
    free(payload);
    assert_int_equal(sea_figures(sea, 0).unshared, 1);
    assert_non_null(strstr(sea->at[0]->logged, "other brokers do not learn of the retained value of 'a/1'"));
    expect_values(sea, 1, "a/1", ""); /* rather none than one that isn't true any more */
    retain(sea, 0, "a/1", "short again");
    expect_values(sea, 1, "a/1", "a/1=short again");
}

static void only_the_clusters_topics_are_shared(void **state)
{
    struct sea *sea = *state;
    sea->topics = "a/#";
    sea_brokers(state, 2);
    retain(sea, 0, "a/1", "x");
    retain(sea, 0, "b/1", "x");
    expect_values(sea, 1, "#", "a/1=x");
    assert_int_equal(revision_of(sea, SHARED_RETAINED, "b/1"), 0);
    memory_bus_put(sea->bus, SHARED_RETAINED, mps_text("b/1"),
                   (mps_view){(const uint8_t *)"?", 1}); /* somebody's who has more topics */
    sea_pass(sea, 1000);
    expect_values(sea, 0, "b/#", "b/1=x");
    assert_int_equal(sea_figures(sea, 0).bad, 0);
}

/* ---- bad bytes --------------------------------------------------------------------------------------------------- */

static mps_view record_of(uint8_t room[512], uint64_t op, const char *topic, const char *text, uint32_t fields)
{
    uint8_t frame_room[256];
    struct mps_out out = mps_out_open(room, 512), frame = mps_out_open(frame_room, sizeof frame_room);
    mps_encode_msg(&frame, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text(text)});
    mps_put_array(&out, fields);
    mps_put_uint(&out, op);
    mps_put_uint(&out, 0);
    mps_put_bin(&out, mps_out_view(&frame));
    mps_put_text(&out, mps_text(""));
    mps_put_text(&out, mps_text("somebody"));
    return mps_out_view(&out);
}

static void records_that_mean_nothing_are_ignored(void **state)
{
    struct sea *sea = sea_brokers(state, 2);
    uint8_t room[512];
    static const uint8_t claims[] = {0xdd, 0xff, 0xff, 0xff, 0xff, 40, 0},
                         deep[] = {0x92, 40, 0x91, 0x91, 0x91, 0x91, 0x91, 0};
    const mps_view bad[] = {
        {claims, sizeof claims}, {deep, sizeof deep}, {deep, 0}, {deep, 1}, {deep, 2}, {(const uint8_t *)"\xc1", 1},
    };
    uint64_t count = 0;
    for (uint32_t kind = SHARED_RETAINED; kind <= SHARED_LEASE; kind++)
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++, count++)
            memory_bus_put(sea->bus, kind, mps_text("a/1"), bad[i]);
    sea_pass(sea, 1000);
    for (int i = 0; i < 2; i++) assert_int_equal(sea_figures(sea, i).bad, count);
    mps_view good = record_of(room, 40, "a/1", "x", 5);
    for (uint32_t len = 0; len < good.len; len++, count++)
        memory_bus_put(sea->bus, SHARED_RETAINED, mps_text("a/1"), (mps_view){good.ptr, len});
    memory_bus_put(sea->bus, SHARED_RETAINED, mps_text("a/2"), good); /* of another topic */
    memory_bus_put(sea->bus, SHARED_RETAINED, mps_text("a/+"), good); /* no topic */
    memory_bus_put(sea->bus, 77, mps_text("a/1"), good);
    memory_bus_put(sea->bus, SHARED_RETAINED, mps_text("a/1"), record_of(room, 41, "a/1", "x", 5));
    memory_bus_put(sea->bus, SHARED_RETAINED, mps_text("a/1"),
                   record_of(room, 40, "a/1", "", 5)); /* nothing to retain */
    count += 5;
    sea_pass(sea, 1000);
    for (int i = 0; i < 2; i++) assert_int_equal(sea_figures(sea, i).bad, count);
    assert_non_null(strstr(sea->at[0]->logged, "a record of kind "));
    for (int i = 0; i < 2; i++) expect_values(sea, i, "#", "");
    memory_bus_put(sea->bus, SHARED_RETAINED, mps_text("a/1"), record_of(room, 40, "a/1", "x", 5));
    sea_pass(sea, 1000);
    for (int i = 0; i < 2; i++) expect_values(sea, i, "#", "a/1=x");
}

/* What others put later may be told before the own put is known to be done. */
static void what_comes_before_the_answer_is_not_forgotten(void **state)
{
    struct sea *sea = sea_brokers(state, 1);
    const struct engine_events *tell = &sea->engines[0]->events;
    const struct retained *retained = &sea->at[0]->broker->retained;
    uint8_t room[512];
    struct engine_record theirs = {.kind = SHARED_RETAINED,
                                   .key = mps_text("a/1"),
                                   .value = record_of(room, 40, "a/1", "theirs", 5),
                                   .revision = 1000};
    write_retained(sea, 0, "a/1", "mine", 0);
    tell->record(tell->arg, &theirs);
    assert_int_equal(retained_find(retained, mps_text("a/1"))->revision, 0); /* perhaps it was before the own one */
    tell->put_done(tell->arg, 1, true, 999);
    assert_int_equal(retained_find(retained, mps_text("a/1"))->revision, 1000);
    write_retained(sea, 0, "a/1", "mine again", 0);
    tell->record(tell->arg, &theirs);
    tell->put_done(tell->arg, 2, true, 1001);
    assert_int_equal(retained_find(retained, mps_text("a/1"))->revision, 1001);
    assert_int_equal(sea_figures(sea, 0).waiting, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, sea_set_up, sea_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_value_is_at_all_brokers),
        TEST(brokers_that_set_a_value_at_once_end_with_the_same),
        TEST(a_value_expires_everywhere_and_then_from_the_records),
        TEST(a_value_that_takes_the_place_of_an_expired_one_stays),
        TEST(present_subscribers_are_not_told_twice),
        TEST(after_a_broker_was_away_the_last_put_holds),
        TEST(what_was_cleared_while_away_is_cleared),
        TEST(values_of_lost_records_go_but_for_those_that_are_put),
        TEST(a_removal_that_was_put_just_before_the_link_broke_is_not_forgotten),
        TEST(a_broker_that_starts_learns_all_values),
        TEST(a_broker_with_a_store_has_its_values_before_it_reaches_the_others),
        TEST(values_of_a_time_when_it_was_alone_become_records),
        TEST(what_has_no_room_here_is_at_the_others),
        TEST(a_value_that_became_too_long_for_a_broker_is_none_there),
        TEST(what_the_engine_has_no_room_for_is_put_later),
        TEST(what_is_too_long_for_a_record_is_kept_here_and_said),
        TEST(only_the_clusters_topics_are_shared),
        TEST(records_that_mean_nothing_are_ignored),
        TEST(what_comes_before_the_answer_is_not_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
