/* What brokers share by small records: retained values, places in shared streams, leases of groups, and who a client id
 * belongs to. Two or three brokers on a bus in memory. In what is read of their frames, S stands for the shared
 * stream's number. */
#include "broker_stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory_engine.h"

/* The core's own data, to see what it knows. */
#include "../../broker/core/cluster/records.h"

#define BROKERS 3
#define RETAINED 1u /* kinds of records */
#define PLACE 2u
#define LEASE 3u

struct sea {
    struct memory_bus *bus;
    struct stage *at[BROKERS];
    struct engine *engines[BROKERS]; /* NULL: the broker is not there */
    bool has_store[BROKERS];
    struct stream_config streams[2]; /* the second one is a broker's own */
    const char *patterns[2];
    const char *topics; /* of the cluster */
    char words[64 * 1024];
};

static const struct mps_sub_options plain = {0};

/* ---- the world ---------------------------------------------------------------------------------------------- */

static const char *name_of(int which)
{
    static const char *const names[BROKERS] = {"one", "two", "three"};
    return names[which];
}

static bool is_up(const struct sea *sea, int which)
{
    return sea->engines[which] != NULL;
}

/* Until nothing is on its way. */
static void flow(struct sea *sea)
{
    for (bool more = true; more;) {
        memory_bus_time(sea->bus, sea->at[0]->now_ms, sea->at[0]->wall_ms);
        for (int i = 0; i < BROKERS; i++)
            if (is_up(sea, i)) stage_settle(sea->at[i]);
        more = memory_bus_run(sea->bus) > 0;
        for (int i = 0; i < BROKERS; i++) {
            if (!is_up(sea, i) || !memory_engine_ready(sea->engines[i])) continue;
            broker_poll_cluster(sea->at[i]->broker);
            more = true;
        }
    }
}

static void pass(struct sea *sea, uint64_t ms)
{
    for (uint64_t left = ms, step; left > 0; left -= step) {
        step = left < 250 ? left : 250;
        for (int i = 0; i < BROKERS; i++) {
            if (is_up(sea, i)) {
                stage_pass(sea->at[i], step);
                continue;
            }
            sea->at[i]->now_ms += step;
            sea->at[i]->wall_ms += step;
        }
        flow(sea);
    }
}

static void start(struct sea *sea, int which)
{
    char text[STORE_TEXT_MAX];
    struct stage *stage = sea->at[which];
    bool has_store = sea->has_store[which];
    stage_start(stage);
    if (has_store) stage_open_gate(stage);
    assert_int_equal(broker_open_store(stage->broker, has_store ? &stage->gate.store : NULL, sea->streams,
                                       has_store ? 2 : 1, text, sizeof text),
                     0);
    sea->engines[which] = memory_engine_open(
        sea->bus, &(struct engine_options){.name = name_of(which), .defer_ms = 10000, .defer_bytes = 1 << 20});
    assert_int_equal(
        broker_join(stage->broker, sea->engines[which],
                    &(struct cluster_config){.name = name_of(which), .topics = &sea->topics, .topics_count = 1}, text,
                    sizeof text),
        0);
    flow(sea);
}

/* As the program ends: who has members, or clients' places, says so. */
static void stop(struct sea *sea, int which)
{
    struct engine *engine = sea->engines[which];
    struct stage *stage = sea->at[which];
    broker_stop(stage->broker);
    stage_settle(stage);
    for (int i = 0; i < STAGE_LINKS; i++)
        if (stage->links[i].session != NULL) stage_cut(stage, (char)('a' + i));
    broker_leave(stage->broker);
    engine->close(engine);
    sea->engines[which] = NULL;
    stage_stop(stage);
    flow(sea);
}

/* The process dies. */
static void crash(struct sea *sea, int which)
{
    struct engine *engine = sea->engines[which];
    memory_engine_die(engine, false);
    if (sea->has_store[which]) stage_crash(sea->at[which], true);
    else stage_stop(sea->at[which]);
    engine->close(engine);
    sea->engines[which] = NULL;
    flow(sea);
}

static int set_up(void **state)
{
    struct sea *sea = calloc(1, sizeof *sea);
    if (sea == NULL) return -1;
    sea->bus = memory_bus_new(1);
    sea->topics = "#";
    sea->patterns[0] = "o/#";
    sea->patterns[1] = "own/#";
    sea->streams[0] = (struct stream_config){
        .name = "orders", .patterns = &sea->patterns[0], .patterns_count = 1, .is_shared = true, .replicas = 3};
    sea->streams[1] = (struct stream_config){.name = "own", .patterns = &sea->patterns[1], .patterns_count = 1};
    for (int i = 0; i < BROKERS; i++) {
        void *stage;
        if (stage_set_up(&stage) != 0) return -1;
        sea->at[i] = stage;
        sea->at[i]->random += 1000u * (uint64_t)i;
    }
    *state = sea;
    return 0;
}

static int tear_down(void **state)
{
    struct sea *sea = *state;
    for (int i = 0; i < BROKERS; i++) {
        if (is_up(sea, i)) stop(sea, i);
    }
    for (int i = 0; i < BROKERS; i++) {
        void *stage = sea->at[i];
        stage_tear_down(&stage);
    }
    memory_bus_free(sea->bus);
    free(sea);
    return 0;
}

static struct sea *brokers(void **state, int count)
{
    struct sea *sea = *state;
    for (int i = 0; i < count; i++) start(sea, i);
    pass(sea, 2000);
    return sea;
}

static void away(struct sea *sea, int which, bool is_away)
{
    memory_bus_away(sea->bus, name_of(which), is_away, is_away);
    flow(sea);
}

static struct records_figures figures(const struct sea *sea, int which)
{
    struct records_figures figures;
    records_figures(sea->at[which]->broker->cluster, &figures);
    return figures;
}

/* ---- clients ------------------------------------------------------------------------------------------------ */

static const char *words(struct sea *sea, int which, char link)
{
    char digits[16];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%u", stream_shared_number("orders")), used = 0;
    const char *p = stage_words(sea->at[which], link);
    while (*p != '\0') {
        bool is_number = strncmp(p, digits, len) == 0;
        sea->words[used++] = is_number ? 'S' : *p;
        p += is_number ? len : 1;
    }
    sea->words[used] = '\0';
    return sea->words;
}

#define expect(sea, which, link, expected) assert_string_equal(words(sea, which, link), expected)

static void hello(struct sea *sea, int which, char link, struct mps_hello with)
{
    char id[2] = {link, '\0'};
    if (with.id.ptr == NULL) with.id = mps_text(id);
    stage_hello(sea->at[which], link, with);
    flow(sea);
    words(sea, which, link);
}

static void subscribe(struct sea *sea, int which, char link, const char *pattern, struct mps_sub_options options)
{
    stage_sub(sea->at[which], link, 1, pattern, options);
    flow(sea);
}

static void publish(struct sea *sea, int which, char link, const char *topic, const char *text)
{
    stage_msg(sea->at[which], link, topic, text);
    flow(sea);
}

/* ---- retained values ---------------------------------------------------------------------------------------- */

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
        stage_hello(sea->at[which], 'p', (struct mps_hello){.id = mps_text(name_of(which))});
        stage_words(sea->at[which], 'p');
    }
    mps_encode_pub(&out, &(struct mps_pub){0, MPS_PUB_RETAIN});
    mps_encode_msg(&out, &msg);
    stage_send(sea->at[which], 'p', &out);
}

static void retain(struct sea *sea, int which, const char *topic, const char *text)
{
    write_retained(sea, which, topic, text, 0);
    flow(sea);
}

/* The values that a new subscriber gets, as words; "": none. */
static const char *values(struct sea *sea, int which, const char *pattern)
{
    static const char before[] = "suback 1", after[] = "mark 1 1";
    hello(sea, which, 'z', (struct mps_hello){0});
    subscribe(sea, which, 'z', pattern, plain);
    char *found = sea->words;
    words(sea, which, 'z');
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
    flow(sea);
    return found;
}

#define expect_values(sea, which, pattern, expected) assert_string_equal(values(sea, which, pattern), expected)

static uint64_t revision_of(const struct sea *sea, uint32_t kind, const char *key)
{
    return memory_bus_record(sea->bus, kind, mps_text(key), NULL);
}

static void a_value_is_at_all_brokers(void **state)
{
    struct sea *sea = brokers(state, 3);
    retain(sea, 0, "a/1", "x");
    retain(sea, 1, "a/2", "y");
    for (int i = 0; i < 3; i++) expect_values(sea, i, "a/#", "a/1=x | a/2=y");
    retain(sea, 2, "a/1", "z");
    for (int i = 0; i < 3; i++) expect_values(sea, i, "a/1", "a/1=z");
    retain(sea, 1, "a/1", "");
    for (int i = 0; i < 3; i++) expect_values(sea, i, "a/#", "a/2=y");
    assert_int_equal(revision_of(sea, RETAINED, "a/1"), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(figures(sea, i).waiting, 0);
}

/* What the records say; "": nothing. */
static const char *recorded(const struct sea *sea, const char *topic)
{
    static char text[256];
    mps_view value;
    text[0] = '\0';
    if (memory_bus_record(sea->bus, RETAINED, mps_text(topic), &value) == 0) return text;
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
    struct sea *sea = brokers(state, 3);
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
        flow(sea);
        pass(sea, 200);
        for (int i = 0; i < 3; i++) expect_values(sea, i, topic, recorded(sea, topic));
    }
    flow(sea);
    pass(sea, 200);
    for (int i = 0; i < 3; i++) {
        expect_values(sea, i, "a/1", recorded(sea, "a/1"));
        assert_int_equal(figures(sea, i).waiting, 0);
    }
}

static void a_value_expires_everywhere_and_then_from_the_records(void **state)
{
    struct sea *sea = brokers(state, 2);
    write_retained(sea, 0, "a/1", "x", 5000);
    flow(sea);
    pass(sea, 4000);
    for (int i = 0; i < 2; i++) expect_values(sea, i, "a/1", "a/1=x");
    pass(sea, 2000);
    for (int i = 0; i < 2; i++) expect_values(sea, i, "a/1", "");
    assert_true(revision_of(sea, RETAINED, "a/1") > 0); /* the clock of somebody else may be late */
    start(sea, 2);
    expect_values(sea, 2, "a/1", "");
    pass(sea, 61000);
    assert_int_equal(revision_of(sea, RETAINED, "a/1"), 0);
}

static void a_value_that_takes_the_place_of_an_expired_one_stays(void **state)
{
    struct sea *sea = brokers(state, 2);
    write_retained(sea, 0, "a/1", "x", 5000);
    flow(sea);
    pass(sea, 6000);
    retain(sea, 1, "a/1", "y");
    pass(sea, 70000);
    for (int i = 0; i < 2; i++) expect_values(sea, i, "a/1", "a/1=y");
    assert_string_equal(recorded(sea, "a/1"), "a/1=y");
}

static void present_subscribers_are_not_told_twice(void **state)
{
    struct sea *sea = brokers(state, 2);
    hello(sea, 1, 's', (struct mps_hello){0});
    subscribe(sea, 1, 's', "a/#", plain);
    expect(sea, 1, 's', "suback 1 | mark 1 1");
    pass(sea, 1000);
    retain(sea, 0, "a/1", "x");
    pass(sea, 1000);
    expect(sea, 1, 's', "for 1 | a/1=x");
    away(sea, 1, true);
    away(sea, 1, false);
    pass(sea, 1000);
    assert_null(strstr(words(sea, 1, 's'), "a/1"));
    expect_values(sea, 1, "a/#", "a/1=x");
}

/* ---- away and back ------------------------------------------------------------------------------------------ */

static void after_a_broker_was_away_the_last_put_holds(void **state)
{
    struct sea *sea = brokers(state, 2);
    retain(sea, 0, "a/gone", "x");
    away(sea, 0, true);
    retain(sea, 0, "a/1", "first");
    retain(sea, 0, "a/1", "last");
    retain(sea, 0, "a/2", "mine");
    retain(sea, 1, "a/1", "theirs");
    retain(sea, 1, "a/3", "theirs");
    retain(sea, 1, "a/gone", "");
    expect_values(sea, 0, "a/#", "a/gone=x | a/1=last | a/2=mine");
    expect_values(sea, 1, "a/#", "a/1=theirs | a/3=theirs");
    assert_int_equal(figures(sea, 0).waiting, 2);
    away(sea, 0, false);
    pass(sea, 2000);
    for (int i = 0; i < 2; i++) {
        expect_values(sea, i, "a/1", "a/1=last");
        expect_values(sea, i, "a/2", "a/2=mine");
        expect_values(sea, i, "a/3", "a/3=theirs");
        expect_values(sea, i, "a/gone", "");
    }
    assert_int_equal(figures(sea, 0).waiting, 0);
}

static void what_was_cleared_while_away_is_cleared(void **state)
{
    struct sea *sea = brokers(state, 2);
    retain(sea, 0, "a/1", "x");
    away(sea, 0, true);
    retain(sea, 0, "a/1", "");
    expect_values(sea, 0, "a/1", "");
    expect_values(sea, 1, "a/1", "a/1=x");
    away(sea, 0, false);
    pass(sea, 2000);
    for (int i = 0; i < 2; i++) expect_values(sea, i, "a/1", "");
}

static void values_of_lost_records_go_but_for_those_that_are_put(void **state)
{
    struct sea *sea = brokers(state, 2);
    sea->topics = "a/#";
    start(sea, 2);
    retain(sea, 0, "a/1", "x");
    retain(sea, 2, "b/1", "own");
    away(sea, 0, true);
    retain(sea, 0, "a/2", "y");
    memory_bus_lose_records(sea->bus);
    flow(sea);
    for (int i = 1; i < 3; i++) expect_values(sea, i, "a/#", "");
    expect_values(sea, 2, "b/#", "b/1=own");
    away(sea, 0, false);
    pass(sea, 2000);
    for (int i = 0; i < 3; i++) expect_values(sea, i, "a/#", "a/2=y");
}

static void a_removal_that_was_put_just_before_the_link_broke_is_not_forgotten(void **state)
{
    struct sea *sea = brokers(state, 2);
    memory_bus_faults(sea->bus)->record_ms = 1000;
    retain(sea, 0, "a/1", "x");
    retain(sea, 1, "a/1", "");
    away(sea, 0, true);
    pass(sea, 2000);
    away(sea, 0, false);
    pass(sea, 2000);
    for (int i = 0; i < 2; i++) {
        expect_values(sea, i, "a/1", "");
        assert_int_equal(figures(sea, i).waiting, 0);
    }
}

static void a_broker_that_starts_learns_all_values(void **state)
{
    struct sea *sea = brokers(state, 2);
    retain(sea, 0, "a/1", "x");
    retain(sea, 0, "a/2", "y");
    crash(sea, 0);
    retain(sea, 1, "a/2", "");
    start(sea, 0);
    expect_values(sea, 0, "a/#", "a/1=x");
    stop(sea, 1);
    stop(sea, 0);
    start(sea, 1);
    expect_values(sea, 1, "a/#", "a/1=x");
}

static void a_broker_with_a_store_has_its_values_before_it_reaches_the_others(void **state)
{
    struct sea *sea = *state;
    sea->has_store[0] = true;
    start(sea, 0);
    start(sea, 1);
    pass(sea, 1000);
    retain(sea, 0, "own/1", "x");
    retain(sea, 0, "own/2", "y");
    retain(sea, 1, "own/3", "z");
    pass(sea, 1000);
    crash(sea, 0);
    retain(sea, 1, "own/1", "");
    retain(sea, 1, "own/2", "new");
    memory_bus_away(sea->bus, "one", true, true);
    start(sea, 0);
    expect_values(sea, 0, "own/#", "own/1=x | own/2=y | own/3=z");
    away(sea, 0, false);
    pass(sea, 1000);
    expect_values(sea, 0, "own/1", "");
    expect_values(sea, 0, "own/2", "own/2=new");
    expect_values(sea, 0, "own/3", "own/3=z");
    assert_int_equal(revision_of(sea, RETAINED, "own/1"), 0); /* it was not put again */
    crash(sea, 0);
    start(sea, 0);
    pass(sea, 1000);
    expect_values(sea, 0, "own/1", "");
    expect_values(sea, 0, "own/2", "own/2=new");
}

static void values_of_a_time_when_it_was_alone_become_records(void **state)
{
    struct sea *sea = *state;
    sea->has_store[0] = true;
    sea->topics = "nothing/of/it";
    start(sea, 0);
    retain(sea, 0, "own/1", "x");
    retain(sea, 0, "own/2", "y");
    stop(sea, 0);
    sea->topics = "#";
    start(sea, 1);
    retain(sea, 1, "own/2", "theirs");
    start(sea, 0);
    pass(sea, 1000);
    for (int i = 0; i < 2; i++) {
        expect_values(sea, i, "own/1", "own/1=x");
        expect_values(sea, i, "own/2", "own/2=theirs");
    }
}

/* ---- limits ------------------------------------------------------------------------------------------------- */

static void what_has_no_room_here_is_at_the_others(void **state)
{
    struct sea *sea = *state;
    sea->at[1]->limits.max_retained_count = 2;
    brokers(state, 2);
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
    assert_int_equal(figures(sea, 1).unkept, 1);
    retain(sea, 1, "a/3", ""); /* of one that it doesn't have */
    for (int i = 0; i < 2; i++) expect_values(sea, i, "a/#", "a/1=x | a/2=x");
}

static void a_value_that_became_too_long_for_a_broker_is_none_there(void **state)
{
    struct sea *sea = *state;
    sea->at[1]->limits.max_payload = 8;
    brokers(state, 2);
    retain(sea, 0, "a/1", "short");
    retain(sea, 0, "a/1", "longer than that");
    expect_values(sea, 0, "a/1", "a/1=longer than that");
    expect_values(sea, 1, "a/1", "");
    assert_int_equal(figures(sea, 1).bad, 1);
}

/* The engine in memory takes 10,000 puts that wait, and values up to 1 MiB. */
static void what_the_engine_has_no_room_for_is_put_later(void **state)
{
    struct sea *sea = brokers(state, 2);
    char topic[32];
    away(sea, 0, true);
    for (int i = 0; i < 10100; i++) {
        snprintf(topic, sizeof topic, "a/%d", i);
        write_retained(sea, 0, topic, "x", 0);
    }
    write_retained(sea, 0, "a/10050", "", 0);
    assert_int_equal(figures(sea, 0).waiting, 10100);
    away(sea, 0, false);
    pass(sea, 3000);
    assert_int_equal(figures(sea, 0).waiting, 0);
    assert_int_equal(figures(sea, 0).unshared, 0);
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
    brokers(state, 2);
    retain(sea, 0, "a/1", "short");
    expect_values(sea, 1, "a/1", "a/1=short");
    uint8_t *room = malloc(LONG + 100), *payload = calloc(1, LONG);
    assert_non_null(room);
    assert_non_null(payload);
    struct mps_out out = mps_out_open(room, LONG + 100);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a/1"), .payload = {payload, LONG}});
    stage_send(sea->at[0], 'p', &out);
    flow(sea);
    free(room);
    free(payload);
    assert_int_equal(figures(sea, 0).unshared, 1);
    assert_non_null(strstr(sea->at[0]->logged, "other brokers do not learn of the retained value of 'a/1'"));
    expect_values(sea, 1, "a/1", ""); /* rather none than one that isn't true any more */
    retain(sea, 0, "a/1", "short again");
    expect_values(sea, 1, "a/1", "a/1=short again");
}

static void only_the_clusters_topics_are_shared(void **state)
{
    struct sea *sea = *state;
    sea->topics = "a/#";
    brokers(state, 2);
    retain(sea, 0, "a/1", "x");
    retain(sea, 0, "b/1", "x");
    expect_values(sea, 1, "#", "a/1=x");
    assert_int_equal(revision_of(sea, RETAINED, "b/1"), 0);
    memory_bus_put(sea->bus, RETAINED, mps_text("b/1"),
                   (mps_view){(const uint8_t *)"?", 1}); /* somebody's who has more topics */
    pass(sea, 1000);
    expect_values(sea, 0, "b/#", "b/1=x");
    assert_int_equal(figures(sea, 0).bad, 0);
}

/* ---- bad bytes ---------------------------------------------------------------------------------------------- */

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
    struct sea *sea = brokers(state, 2);
    uint8_t room[512];
    static const uint8_t claims[] = {0xdd, 0xff, 0xff, 0xff, 0xff, 40, 0},
                         deep[] = {0x92, 40, 0x91, 0x91, 0x91, 0x91, 0x91, 0};
    const mps_view bad[] = {
        {claims, sizeof claims}, {deep, sizeof deep}, {deep, 0}, {deep, 1}, {deep, 2}, {(const uint8_t *)"\xc1", 1},
    };
    uint64_t count = 0;
    for (uint32_t kind = RETAINED; kind <= LEASE; kind++)
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++, count++)
            memory_bus_put(sea->bus, kind, mps_text("a/1"), bad[i]);
    pass(sea, 1000);
    for (int i = 0; i < 2; i++) assert_int_equal(figures(sea, i).bad, count);
    mps_view good = record_of(room, 40, "a/1", "x", 5);
    for (uint32_t len = 0; len < good.len; len++, count++)
        memory_bus_put(sea->bus, RETAINED, mps_text("a/1"), (mps_view){good.ptr, len});
    memory_bus_put(sea->bus, RETAINED, mps_text("a/2"), good); /* of another topic */
    memory_bus_put(sea->bus, RETAINED, mps_text("a/+"), good); /* no topic */
    memory_bus_put(sea->bus, 77, mps_text("a/1"), good);
    memory_bus_put(sea->bus, RETAINED, mps_text("a/1"), record_of(room, 41, "a/1", "x", 5));
    memory_bus_put(sea->bus, RETAINED, mps_text("a/1"), record_of(room, 40, "a/1", "", 5)); /* nothing to retain */
    count += 5;
    pass(sea, 1000);
    for (int i = 0; i < 2; i++) assert_int_equal(figures(sea, i).bad, count);
    assert_non_null(strstr(sea->at[0]->logged, "a record of kind "));
    for (int i = 0; i < 2; i++) expect_values(sea, i, "#", "");
    memory_bus_put(sea->bus, RETAINED, mps_text("a/1"), record_of(room, 40, "a/1", "x", 5));
    pass(sea, 1000);
    for (int i = 0; i < 2; i++) expect_values(sea, i, "#", "a/1=x");
}

/* What others put later may be told before the own put is known to be done. */
static void what_comes_before_the_answer_is_not_forgotten(void **state)
{
    struct sea *sea = brokers(state, 1);
    const struct engine_events *tell = &sea->engines[0]->events;
    const struct retained *retained = &sea->at[0]->broker->retained;
    uint8_t room[512];
    struct engine_record theirs = {
        .kind = RETAINED, .key = mps_text("a/1"), .value = record_of(room, 40, "a/1", "theirs", 5), .revision = 1000};
    write_retained(sea, 0, "a/1", "mine", 0);
    tell->record(tell->arg, &theirs);
    assert_int_equal(retained_find(retained, mps_text("a/1"))->revision, 0); /* perhaps it was before the own one */
    tell->put_done(tell->arg, 1, true, 999);
    assert_int_equal(retained_find(retained, mps_text("a/1"))->revision, 1000);
    write_retained(sea, 0, "a/1", "mine again", 0);
    tell->record(tell->arg, &theirs);
    tell->put_done(tell->arg, 2, true, 1001);
    assert_int_equal(retained_find(retained, mps_text("a/1"))->revision, 1001);
    assert_int_equal(figures(sea, 0).waiting, 1);
}

/* ---- places in shared streams ------------------------------------------------------------------------------- */

#define HOUR_S 3600u

static struct mps_hello client(const char *id)
{
    return (struct mps_hello){.id = mps_text(id), .sess_s = HOUR_S};
}

static struct mps_sub_options durable(enum mps_ack_mode ack)
{
    return (struct mps_sub_options){.given = MPS_SUB_FROM | MPS_SUB_DURABLE | MPS_SUB_ACK | MPS_SUB_RETAINED,
                                    .from = {.kind = MPS_FROM_ALL},
                                    .retained = 2,
                                    .durable = true,
                                    .ack = ack};
}

static struct mps_sub_options member(bool is_durable, enum mps_ack_mode ack)
{
    struct mps_sub_options options = durable(ack);
    options.durable = is_durable;
    if (!is_durable) options.given &= ~(uint32_t)MPS_SUB_DURABLE;
    options.given |= MPS_SUB_GROUP;
    options.group = mps_text("g");
    return options;
}

/* What the messages say that came since it was asked last, with blanks between. */
static const char *came(struct sea *sea, int which, char link)
{
    static char text[4096];
    size_t len = 0;
    text[0] = '\0';
    words(sea, which, link);
    for (char *rest = sea->words, *word; (word = strtok(rest, "|")) != NULL; rest = NULL) {
        const char *payload = strchr(word, '=');
        if (payload == NULL) continue;
        for (payload++; *payload != '\0' && *payload != ' ' && len + 2 < sizeof text; payload++) text[len++] = *payload;
        text[len++] = ' ';
    }
    text[len > 0 ? len - 1 : 0] = '\0';
    return text;
}

#define expect_came(sea, which, link, expected) assert_string_equal(came(sea, which, link), expected)

static void write_to_stream(struct sea *sea, int which, int from, int to)
{
    char text[16];
    if (sea->at[which]->links['p' - 'a'].session == NULL)
        hello(sea, which, 'p', (struct mps_hello){.id = mps_text(name_of(which))});
    for (int i = from; i <= to; i++) {
        snprintf(text, sizeof text, "%d", i);
        publish(sea, which, 'p', "o/1", text);
    }
    pass(sea, 100);
}

static void ack(struct sea *sea, int which, char link, uint64_t seq)
{
    uint8_t room[64];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_ack(&out, &(struct mps_ack){.sid = 1, .stream = stream_shared_number("orders"), .seq = seq, .kind = 1});
    stage_send(sea->at[which], link, &out);
    flow(sea);
}

/* A client comes to a broker, with a durable subscription. */
static void come(struct sea *sea, int which, enum mps_ack_mode mode)
{
    hello(sea, which, 'c', client("c"));
    subscribe(sea, which, 'c', "o/#", durable(mode));
    pass(sea, 2100); /* so long does it wait for the last word of a broker that died just before */
}

static void a_client_goes_on_at_another_broker(void **state)
{
    struct sea *sea = brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    write_to_stream(sea, 0, 1, 3);
    expect_came(sea, 0, 'c', "1 2 3");
    stage_cut(sea->at[0], 'c');
    write_to_stream(sea, 1, 4, 5);
    come(sea, 1, MPS_ACK_NONE);
    expect_came(sea, 1, 'c', "4 5");
    assert_int_equal(figures(sea, 0).places, 1);
    struct broker_figures all;
    broker_figures(sea->at[0]->broker, &all);
    assert_int_equal(all.sessions_away, 0);
    write_to_stream(sea, 0, 6, 6);
    expect_came(sea, 1, 'c', "6");
    pass(sea, 1000);
    stage_cut(sea->at[1], 'c');
    come(sea, 0, MPS_ACK_NONE); /* and back */
    expect_came(sea, 0, 'c', "");
    write_to_stream(sea, 0, 7, 7);
    expect_came(sea, 0, 'c', "7");
}

static void what_is_not_acknowledged_comes_again_at_another_broker(void **state)
{
    struct sea *sea = brokers(state, 2);
    come(sea, 0, MPS_ACK_EACH);
    write_to_stream(sea, 0, 1, 4);
    expect_came(sea, 0, 'c', "1 2 3 4");
    ack(sea, 0, 'c', 1);
    ack(sea, 0, 'c', 3);
    pass(sea, 200);
    stage_cut(sea->at[0], 'c');
    write_to_stream(sea, 0, 5, 5);
    come(sea, 1, MPS_ACK_EACH);
    expect_came(sea, 1, 'c', "2 4 5");
    ack(sea, 1, 'c', 2);
    ack(sea, 1, 'c', 4);
    pass(sea, 200);
    crash(sea, 1);
    come(sea, 0, MPS_ACK_EACH);
    expect_came(sea, 0, 'c', "5");
}

/* It has hardly left one when it is at the next: who comes waits for the last word of where it was. */
static void a_client_that_hurries_gets_nothing_twice(void **state)
{
    struct sea *sea = brokers(state, 3);
    memory_bus_faults(sea->bus)->record_ms = 20;
    memory_bus_faults(sea->bus)->delay_ms = 5;
    come(sea, 0, MPS_ACK_EACH);
    write_to_stream(sea, 2, 1, 9);
    expect_came(sea, 0, 'c', "1 2 3 4 5 6 7 8 9");
    for (uint64_t seq = 1; seq <= 3; seq++) ack(sea, 0, 'c', seq);
    stage_cut(sea->at[0], 'c');
    hello(sea, 1, 'c', client("c"));
    subscribe(sea, 1, 'c', "o/#", durable(MPS_ACK_EACH));
    expect(sea, 1, 'c', "suback 1");
    for (int i = 0; i < 10; i++) pass(sea, 20);
    expect_came(sea, 1, 'c', "4 5 6 7 8 9");
    for (uint64_t seq = 4; seq <= 6; seq++) ack(sea, 1, 'c', seq);
    hello(sea, 2, 'c', client("c")); /* and without having left */
    subscribe(sea, 2, 'c', "o/#", durable(MPS_ACK_EACH));
    for (int i = 0; i < 10; i++) pass(sea, 20);
    expect_came(sea, 2, 'c', "7 8 9");
}

/* What it does, all within the time that its claim and its place take to be heard of elsewhere. */
static void a_client_that_has_only_just_come_gets_nothing_twice(void **state)
{
    struct sea *sea = brokers(state, 3);
    memory_bus_faults(sea->bus)->record_ms = 300;
    memory_bus_faults(sea->bus)->delay_ms = 50;
    write_to_stream(sea, 2, 1, 9);
    pass(sea, 1000);
    for (int which = 0; which < 3; which++) {
        char expected[32] = "";
        for (int i = 3 * which + 1; i <= 9; i++)
            snprintf(expected + strlen(expected), 4, "%s%d", expected[0] != '\0' ? " " : "", i);
        hello(sea, which, 'c', client("c"));
        subscribe(sea, which, 'c', "o/#", durable(MPS_ACK_EACH));
        for (int i = 0; i < (which == 0 ? 6 : 30); i++) pass(sea, 20); /* until who there is has answered */
        expect_came(sea, which, 'c', expected);
        for (uint64_t seq = 1; seq <= 3; seq++) ack(sea, which, 'c', 3 * (uint64_t)which + seq);
        if (which != 1) stage_cut(sea->at[which], 'c');
    }
}

/* It came long ago, and reads only now. */
static void a_client_that_has_only_just_subscribed_gets_nothing_twice(void **state)
{
    struct sea *sea = brokers(state, 2);
    write_to_stream(sea, 1, 1, 3);
    hello(sea, 0, 'c', client("c"));
    pass(sea, 12000);
    memory_bus_faults(sea->bus)->record_ms = 3000;
    subscribe(sea, 0, 'c', "o/#", durable(MPS_ACK_EACH));
    expect_came(sea, 0, 'c', "1 2 3");
    for (uint64_t seq = 1; seq <= 2; seq++) ack(sea, 0, 'c', seq);
    stage_cut(sea->at[0], 'c');
    hello(sea, 1, 'c', client("c"));
    subscribe(sea, 1, 'c', "o/#", durable(MPS_ACK_EACH));
    pass(sea, 2500);
    expect_came(sea, 1, 'c', ""); /* of what is known to be said, the others are waited for longer */
    pass(sea, 1000);
    expect_came(sea, 1, 'c', "3");
}

/* Who has answered has said all that there is: nobody waits for more. */
static void what_is_new_at_another_broker_begins_at_once(void **state)
{
    struct sea *sea = brokers(state, 2);
    come(sea, 0, MPS_ACK_EACH);
    write_to_stream(sea, 0, 1, 2);
    stage_cut(sea->at[0], 'c');
    hello(sea, 1, 'c', client("c"));
    stage_sub(sea->at[1], 'c', 2, "o/1", durable(MPS_ACK_EACH));
    pass(sea, 100);
    expect_came(sea, 1, 'c', "1 2");
}

static void who_comes_takes_the_id_over_from_all_brokers(void **state)
{
    struct sea *sea = brokers(state, 3);
    come(sea, 0, MPS_ACK_NONE);
    expect_came(sea, 0, 'c', "");
    hello(sea, 2, 'c', client("c"));
    pass(sea, 100);
    assert_non_null(strstr(words(sea, 0, 'c'), "bye 109"));
    hello(sea, 1, 'd', client("d"));
    stage_cut(sea->at[1], 'd');
    hello(sea, 1, 'e', client("e"));
    stage_cut(sea->at[1], 'e');
    hello(sea, 0, 'd', client("d"));
    pass(sea, 100);
    struct broker_figures all;
    broker_figures(sea->at[1]->broker, &all);
    assert_int_equal(all.sessions_away, 1); /* that of e */
    words(sea, 2, 'c');
    hello(sea, 2, 'f', (struct mps_hello){.id = mps_text("c")}); /* one whose session ends with its connection, */
    pass(sea, 100);
    expect(sea, 2, 'c', "bye 109 | end");
    hello(sea, 0, 'f', (struct mps_hello){.id = mps_text("c")}); /* counts at its own broker only */
    pass(sea, 100);
    expect(sea, 2, 'f', "");
}

/* Whose client is elsewhere without its having been heard of. */
static void a_missed_claim_is_learnt_from_the_place(void **state)
{
    struct sea *sea = brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    write_to_stream(sea, 0, 1, 2);
    expect_came(sea, 0, 'c', "1 2");
    memory_bus_away(sea->bus, "one", true, false);
    pass(sea, 10000);
    come(sea, 1, MPS_ACK_NONE);
    expect_came(sea, 1, 'c', "");
    pass(sea, 1000);
    assert_non_null(strstr(words(sea, 0, 'c'), "bye 109"));
    write_to_stream(sea, 0, 3, 3);
    expect_came(sea, 1, 'c', "3");
    pass(sea, 1000);
    assert_null(strstr(words(sea, 1, 'c'), "bye"));
}

static uint64_t place_of(const struct sea *sea, const char *id)
{
    char key[64];
    int len = snprintf(key, sizeof key, "%s%c1", id, 0);
    return memory_bus_record(sea->bus, PLACE, (mps_view){(const uint8_t *)key, (uint32_t)len}, NULL);
}

static void what_is_unsubscribed_has_no_place(void **state)
{
    struct sea *sea = brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    write_to_stream(sea, 0, 1, 2);
    assert_true(place_of(sea, "c") > 0);
    stage_unsub(sea->at[0], 'c', 1);
    flow(sea);
    assert_int_equal(place_of(sea, "c"), 0);
    stage_cut(sea->at[0], 'c');
    come(sea, 1, MPS_ACK_NONE);
    expect_came(sea, 1, 'c', "1 2");
    stage_cut(sea->at[1], 'c');
    flow(sea);
    hello(sea, 0, 'c', (struct mps_hello){.id = mps_text("c"), .sess_s = HOUR_S, .clean = true});
    pass(sea, 200);
    assert_int_equal(place_of(sea, "c"), 0); /* who wants nothing of before has nothing */
    subscribe(sea, 0, 'c', "o/#", durable(MPS_ACK_NONE));
    pass(sea, 2100);
    expect_came(sea, 0, 'c', "1 2");
}

static void places_end_with_their_sessions(void **state)
{
    struct sea *sea = brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    write_to_stream(sea, 0, 1, 2);
    stage_cut(sea->at[0], 'c');
    pass(sea, HOUR_S * 1000 - 10000);
    assert_true(place_of(sea, "c") > 0);
    pass(sea, 11000);
    assert_int_equal(place_of(sea, "c"), 0);
    hello(sea, 0, 'd', client("d"));
    subscribe(sea, 0, 'd', "o/#", durable(MPS_ACK_NONE));
    pass(sea, 3 * HOUR_S * 1000); /* said again and again, as long as somebody is there */
    assert_true(place_of(sea, "d") > 0);
    crash(sea, 0);
    pass(sea, HOUR_S * 1000);
    assert_true(place_of(sea, "d") > 0);
    pass(sea, 3600000); /* nobody says it any more, so others remove it */
    assert_int_equal(place_of(sea, "d"), 0);
    assert_int_equal(figures(sea, 1).places, 0);
}

static void another_pattern_does_not_go_on(void **state)
{
    struct sea *sea = brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    write_to_stream(sea, 0, 1, 2);
    stage_cut(sea->at[0], 'c');
    hello(sea, 1, 'c', client("c"));
    subscribe(sea, 1, 'c', "o/+", durable(MPS_ACK_NONE));
    pass(sea, 2100);
    expect_came(sea, 1, 'c', "1 2");
}

static void a_broker_that_restarts_goes_on_where_others_were_meanwhile(void **state)
{
    struct sea *sea = *state;
    sea->has_store[0] = true;
    brokers(state, 2);
    come(sea, 0, MPS_ACK_EACH);
    write_to_stream(sea, 0, 1, 4);
    expect_came(sea, 0, 'c', "1 2 3 4");
    ack(sea, 0, 'c', 1);
    pass(sea, 200);
    crash(sea, 0);
    come(sea, 1, MPS_ACK_EACH);
    expect_came(sea, 1, 'c', "2 3 4");
    for (uint64_t seq = 2; seq <= 4; seq++) ack(sea, 1, 'c', seq);
    pass(sea, 200);
    stage_cut(sea->at[1], 'c');
    start(sea, 0);
    pass(sea, 2000);
    write_to_stream(sea, 1, 5, 5);
    stage_hello(sea->at[0], 'c', client("c"));
    flow(sea);
    expect_came(sea, 0, 'c', "5"); /* the session is there again, but not its place of before */
}

/* It comes so early that its broker does not know yet where it stands. */
static void a_place_that_is_learnt_late_is_gone_on_from(void **state)
{
    struct sea *sea = brokers(state, 2);
    come(sea, 0, MPS_ACK_EACH);
    write_to_stream(sea, 0, 1, 3);
    for (uint64_t seq = 1; seq <= 2; seq++) ack(sea, 0, 'c', seq);
    pass(sea, 200);
    crash(sea, 0);
    stop(sea, 1);
    memory_bus_away(sea->bus, "one", true, true);
    start(sea, 0);
    hello(sea, 0, 'c', client("c"));
    struct mps_sub_options options = durable(MPS_ACK_EACH);
    options.from.kind = MPS_FROM_NEW;
    subscribe(sea, 0, 'c', "o/#", options);
    expect_came(sea, 0, 'c', "");
    away(sea, 0, false);
    pass(sea, 2000);
    expect_came(sea, 0, 'c', "3");
}

/* It reaches the stream, and does not know yet where anything stands in it. */
static void nobody_begins_before_places_are_known(void **state)
{
    struct sea *sea = brokers(state, 2);
    const struct engine_events *tell = &sea->engines[1]->events;
    write_to_stream(sea, 1, 1, 3);
    memory_bus_faults(sea->bus)->record_ms = 8000;
    come(sea, 0, MPS_ACK_EACH);
    for (uint64_t seq = 1; seq <= 2; seq++) ack(sea, 0, 'c', seq);
    pass(sea, 200);
    crash(sea, 0);
    pass(sea, 6000);
    tell->connected(tell->arg, true, false, "gone");
    tell->connected(tell->arg, true, true, "");
    hello(sea, 1, 'c', client("c"));
    subscribe(sea, 1, 'c', "o/#", durable(MPS_ACK_EACH));
    pass(sea, 3000);
    expect_came(sea, 1, 'c', "");
    tell->records_loaded(tell->arg);
    pass(sea, 100);
    expect_came(sea, 1, 'c', "3");
}

/* The stream was made anew meanwhile: positions of before mean nothing. */
static void a_place_in_another_stream_is_none(void **state)
{
    struct sea *sea = brokers(state, 2);
    come(sea, 0, MPS_ACK_NONE);
    write_to_stream(sea, 0, 1, 3);
    pass(sea, 200);
    crash(sea, 0);
    memory_bus_delete_stream(sea->bus, stream_shared_number("orders"));
    flow(sea);
    memory_bus_remake_stream(sea->bus, stream_shared_number("orders"));
    pass(sea, 2000);
    write_to_stream(sea, 1, 11, 14);
    come(sea, 1, MPS_ACK_NONE);
    expect(
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
    if (kind == PLACE) mps_put_uint(&out, claim);
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
    pass(sea, 1000);
}

static void a_place_behind_the_end_is_the_end(void **state)
{
    struct sea *sea = brokers(state, 2);
    write_to_stream(sea, 0, 1, 3);
    say_place(sea, PLACE, "", 1, MPS_NUMBER_MAX - 10);
    assert_int_equal(figures(sea, 0).bad, 0);
    come(sea, 0, MPS_ACK_EACH);
    expect_came(sea, 0, 'c', "");
    write_to_stream(sea, 0, 4, 4);
    expect_came(sea, 0, 'c', "4");
}

/* An id that has a place is its user's at each broker, as if his session were here. */
static void places_of_another_user_are_not_gone_on_from(void **state)
{
    struct sea *sea = brokers(state, 2);
    write_to_stream(sea, 0, 1, 3);
    say_place(sea, PLACE, "ann", 1, 2);
    uint64_t revision = place_of(sea, "c");
    for (int clean = 0; clean <= 1; clean++) {
        struct mps_hello with = client("c");
        with.clean = clean;
        stage_hello(sea->at[clean], 'c', with);
        flow(sea);
        assert_non_null(strstr(words(sea, clean, 'c'), "bye 117"));
    }
    assert_int_equal(place_of(sea, "c"), revision);
    hello(sea, 1, 'd', client("d"));
    subscribe(sea, 1, 'd', "o/#", durable(MPS_ACK_NONE));
    expect_came(sea, 1, 'd', "1 2 3");
}

/* A lease of something that is no group; a claim after which there could be none. */
static void records_of_clients_that_mean_nothing_do_no_harm(void **state)
{
    struct sea *sea = brokers(state, 2);
    say_place(sea, LEASE, "", 1, 1);
    struct mps_hello with = client("c");
    with.clean = true;
    hello(sea, 0, 'c', with);
    subscribe(sea, 0, 'c', "o/#", durable(MPS_ACK_NONE));
    write_to_stream(sea, 0, 1, 1);
    pass(sea, 2100);
    expect_came(sea, 0, 'c', "1");
    say_place(sea, PLACE, "", MPS_NUMBER_MAX, 1);
    assert_int_equal(figures(sea, 0).bad, 1);
    write_to_stream(sea, 0, 2, 2);
    expect_came(sea, 0, 'c', "2");
    say_place(sea, PLACE, "", MPS_NUMBER_MAX / 2, 3);
    come(sea, 1, MPS_ACK_NONE); /* also if it has open positions that nothing has yet */
    write_to_stream(sea, 0, 3, 3);
    pass(sea, 1000);
    assert_null(strstr(sea->at[0]->logged, "malformed"));
}

/* ---- groups ------------------------------------------------------------------------------------------------- */

static void join(struct sea *sea, int which, char link, bool is_durable, enum mps_ack_mode mode)
{
    char id[2] = {link, '\0'};
    hello(sea, which, link, client(id));
    subscribe(sea, which, link, "o/#", member(is_durable, mode));
    pass(sea, 1000);
}

static void one_broker_hands_out_and_others_stand_by(void **state)
{
    struct sea *sea = brokers(state, 3);
    join(sea, 0, 'a', true, MPS_ACK_EACH);
    join(sea, 1, 'b', true, MPS_ACK_EACH);
    expect(sea, 1, 'b', "suback 1 | mark 1 2"); /* it waits for no history */
    write_to_stream(sea, 2, 1, 4);
    expect_came(sea, 0, 'a', "1 2 3 4");
    expect_came(sea, 1, 'b', "");
    assert_int_equal(figures(sea, 0).leases, 1);
    assert_int_equal(figures(sea, 1).leases, 0);
    pass(sea, 60000); /* it is renewed */
    assert_int_equal(figures(sea, 0).leases, 1);
    for (uint64_t seq = 1; seq <= 3; seq++) ack(sea, 0, 'a', seq);
    stage_unsub(sea->at[0], 'a', 1);
    flow(sea);
    pass(sea, 500); /* given back, it need not run out */
    expect_came(sea, 1, 'b', "4");
    ack(sea, 1, 'b', 4);
    write_to_stream(sea, 2, 5, 6);
    expect_came(sea, 1, 'b', "5 6");
}

static void when_the_broker_that_hands_out_dies_another_goes_on(void **state)
{
    struct sea *sea = brokers(state, 3);
    join(sea, 0, 'a', false, MPS_ACK_EACH);
    join(sea, 1, 'b', false, MPS_ACK_EACH);
    write_to_stream(sea, 2, 1, 4);
    ack(sea, 0, 'a', 1);
    ack(sea, 0, 'a', 3);
    pass(sea, 200);
    crash(sea, 0);
    words(sea, 1, 'b');
    pass(sea, 5000);
    expect_came(sea, 1, 'b', "");
    pass(sea, 5000);
    expect_came(sea, 1, 'b', "2 4");
    write_to_stream(sea, 2, 5, 5);
    expect_came(sea, 1, 'b', "5");
    assert_int_equal(figures(sea, 1).leases, 1);
}

static void a_broker_that_stops_gives_its_groups_to_others(void **state)
{
    struct sea *sea = brokers(state, 3);
    join(sea, 0, 'a', false, MPS_ACK_EACH);
    join(sea, 1, 'b', false, MPS_ACK_EACH);
    write_to_stream(sea, 2, 1, 3);
    expect_came(sea, 0, 'a', "1 2 3");
    ack(sea, 0, 'a', 1);
    words(sea, 1, 'b');
    stop(sea, 0);
    pass(sea, 500);
    expect_came(sea, 1, 'b', "2 3");
}

/* Nobody may hand out the same while somebody else may still. */
static void a_broker_that_is_away_stops_before_another_begins(void **state)
{
    struct sea *sea = brokers(state, 3);
    struct mps_sub_options options = member(true, MPS_ACK_EACH);
    options.given |= MPS_SUB_INFLIGHT;
    options.inflight = 1;
    for (int i = 0; i < 2; i++) {
        hello(sea, i, 'a', client(i == 0 ? "a0" : "a1"));
        subscribe(sea, i, 'a', "o/#", options);
        pass(sea, 500);
        words(sea, i, 'a');
    }
    write_to_stream(sea, 2, 1, 6);
    expect_came(sea, 0, 'a', "1");
    uint64_t began_ms = sea->at[0]->now_ms;
    memory_bus_away(sea->bus, "one", true, true);
    flow(sea);
    ack(sea, 0, 'a', 1);
    expect_came(sea, 0, 'a', "2"); /* for a while it is certainly its own */
    bool is_other_on = false;
    for (uint64_t seq = 2; sea->at[0]->now_ms < began_ms + 20000; pass(sea, 250)) {
        const char *text = came(sea, 1, 'a');
        is_other_on |= text[0] != '\0';
        ack(sea, 0, 'a', seq);
        text = came(sea, 0, 'a');
        if (text[0] != '\0') assert_false(is_other_on);
        if (text[0] != '\0') seq++;
        if (sea->at[0]->now_ms < began_ms + 4500) break; /* the rest is waited for without acknowledging */
    }
    pass(sea, 20000);
    assert_string_not_equal(came(sea, 1, 'a'), "");
    ack(sea, 0, 'a', 3);
    expect_came(sea, 0, 'a', "");
    assert_int_equal(figures(sea, 0).leases, 0);
    assert_int_equal(figures(sea, 1).leases, 1);
    away(sea, 0, false);
    pass(sea, 20000);
    assert_int_equal(figures(sea, 0).leases, 0);
    assert_int_equal(figures(sea, 1).leases, 1);
    expect_came(sea, 0, 'a', "");
}

static void members_that_are_away_hold_up_nobody(void **state)
{
    struct sea *sea = brokers(state, 3);
    join(sea, 0, 'a', true, MPS_ACK_EACH);
    join(sea, 1, 'b', true, MPS_ACK_EACH);
    words(sea, 1, 'b');
    stage_cut(sea->at[0], 'a');
    write_to_stream(sea, 2, 1, 2);
    pass(sea, 500);
    expect_came(sea, 1, 'b', "1 2");
    stage_cut(sea->at[1], 'b');
    write_to_stream(sea, 2, 3, 3);
    hello(sea, 0, 'a', client("a"));
    pass(sea, 500);
    ack(sea, 0, 'a', 1);
    pass(sea, 100);
    struct broker_figures all;
    broker_figures(sea->at[0]->broker, &all);
    assert_int_equal(figures(sea, 0).leases, 1);
}

static uint64_t group_record(const struct sea *sea, uint32_t kind)
{
    return memory_bus_record(sea->bus, kind, (mps_view){(const uint8_t *)"\0g\0o/#", 6}, NULL);
}

static void a_group_that_is_not_durable_ends_with_its_last_member(void **state)
{
    struct sea *sea = brokers(state, 2);
    join(sea, 0, 'a', false, MPS_ACK_EACH);
    write_to_stream(sea, 1, 1, 2);
    expect_came(sea, 0, 'a', "1 2");
    pass(sea, 200);
    assert_true(group_record(sea, PLACE) > 0);
    assert_true(group_record(sea, LEASE) > 0);
    stage_unsub(sea->at[0], 'a', 1);
    pass(sea, 200);
    join(sea, 1, 'b', false, MPS_ACK_EACH); /* it did not stand by */
    expect_came(sea, 1, 'b', "1 2");
    ack(sea, 1, 'b', 1);
    pass(sea, 30000);
    assert_true(group_record(sea, PLACE) > 0);
    stage_unsub(sea->at[1], 'b', 1);
    pass(sea, 11000);
    assert_int_equal(group_record(sea, PLACE), 0);
    assert_int_equal(group_record(sea, LEASE), 0);
    words(sea, 1, 'b');
    subscribe(sea, 1, 'b', "o/#", member(false, MPS_ACK_EACH));
    pass(sea, 1000);
    expect_came(sea, 1, 'b', "1 2");
    crash(sea, 1);
    pass(sea, 100000); /* whoever comes much later doesn't go on */
    join(sea, 0, 'd', false, MPS_ACK_EACH);
    pass(sea, 10000);
    expect_came(sea, 0, 'd', "1 2");
}

static void a_durable_group_goes_on_whenever_somebody_comes(void **state)
{
    struct sea *sea = brokers(state, 2);
    hello(sea, 0, 'a', (struct mps_hello){.id = mps_text("a")});
    subscribe(sea, 0, 'a', "o/#", member(true, MPS_ACK_EACH));
    pass(sea, 1000);
    write_to_stream(sea, 1, 1, 3);
    ack(sea, 0, 'a', 1);
    pass(sea, 200);
    stage_cut(sea->at[0], 'a');
    pass(sea, 3 * 3600000);
    join(sea, 1, 'b', true, MPS_ACK_EACH);
    expect_came(sea, 1, 'b', "2 3");
    stage_unsub(sea->at[1], 'b', 1);
    pass(sea, 200);
    subscribe(sea, 1, 'b', "o/#", member(true, MPS_ACK_EACH));
    pass(sea, 200);
    expect_came(sea, 1, 'b', "1 2 3");
    stage_unsub(sea->at[1], 'b', 1);
    pass(sea, 11000);
    assert_int_equal(group_record(sea, PLACE), 0);
}

static void a_durable_group_is_not_over_while_members_are_away(void **state)
{
    struct sea *sea = brokers(state, 3);
    join(sea, 0, 'a', true, MPS_ACK_EACH);
    write_to_stream(sea, 2, 1, 3);
    for (uint64_t seq = 1; seq <= 2; seq++) ack(sea, 0, 'a', seq);
    pass(sea, 200);
    stage_cut(sea->at[0], 'a');
    join(sea, 1, 'b', true, MPS_ACK_EACH);
    expect_came(sea, 1, 'b', "3");
    stage_unsub(sea->at[1], 'b', 1);
    pass(sea, 60000);
    hello(sea, 0, 'a', client("a"));
    pass(sea, 1000);
    ack(sea, 0, 'a', 3);
    write_to_stream(sea, 2, 4, 4);
    expect_came(sea, 0, 'a', "4");
}

/* A frozen process finds out that it has lost the lease before it hands out anything. */
static void a_broker_that_was_frozen_does_not_go_on(void **state)
{
    struct sea *sea = brokers(state, 3);
    join(sea, 0, 'a', true, MPS_ACK_NONE);
    join(sea, 1, 'b', true, MPS_ACK_NONE);
    words(sea, 0, 'a');
    words(sea, 1, 'b');
    struct engine *engine = sea->engines[0];
    memory_bus_freeze(sea->bus, "one", true);
    sea->engines[0] = NULL;
    pass(sea, 20000);
    write_to_stream(sea, 2, 1, 3);
    expect_came(sea, 1, 'b', "1 2 3");
    memory_bus_freeze(sea->bus, "one", false);
    sea->engines[0] = engine;
    flow(sea);
    pass(sea, 5000);
    expect_came(sea, 0, 'a', "");
    write_to_stream(sea, 2, 4, 4);
    expect_came(sea, 1, 'b', "4");
    expect_came(sea, 0, 'a', "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_value_is_at_all_brokers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(brokers_that_set_a_value_at_once_end_with_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_expires_everywhere_and_then_from_the_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_that_takes_the_place_of_an_expired_one_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(present_subscribers_are_not_told_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_a_broker_was_away_the_last_put_holds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_cleared_while_away_is_cleared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(values_of_lost_records_go_but_for_those_that_are_put, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_removal_that_was_put_just_before_the_link_broke_is_not_forgotten, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_broker_that_starts_learns_all_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broker_with_a_store_has_its_values_before_it_reaches_the_others, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(values_of_a_time_when_it_was_alone_become_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_has_no_room_here_is_at_the_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_that_became_too_long_for_a_broker_is_none_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_engine_has_no_room_for_is_put_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_long_for_a_record_is_kept_here_and_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_the_clusters_topics_are_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_that_mean_nothing_are_ignored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_comes_before_the_answer_is_not_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_goes_on_at_another_broker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_acknowledged_comes_again_at_another_broker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_hurries_gets_nothing_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_has_only_just_come_gets_nothing_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_has_only_just_subscribed_gets_nothing_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_new_at_another_broker_begins_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_comes_takes_the_id_over_from_all_brokers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missed_claim_is_learnt_from_the_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_unsubscribed_has_no_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(places_end_with_their_sessions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_pattern_does_not_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broker_that_restarts_goes_on_where_others_were_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_place_that_is_learnt_late_is_gone_on_from, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_begins_before_places_are_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_place_in_another_stream_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_place_behind_the_end_is_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(places_of_another_user_are_not_gone_on_from, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_of_clients_that_mean_nothing_do_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_broker_hands_out_and_others_stand_by, set_up, tear_down),
        cmocka_unit_test_setup_teardown(when_the_broker_that_hands_out_dies_another_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broker_that_stops_gives_its_groups_to_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broker_that_is_away_stops_before_another_begins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(members_that_are_away_hold_up_nobody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_group_that_is_not_durable_ends_with_its_last_member, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_durable_group_goes_on_whenever_somebody_comes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_durable_group_is_not_over_while_members_are_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broker_that_was_frozen_does_not_go_on, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
