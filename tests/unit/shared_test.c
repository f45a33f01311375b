/* Streams that all brokers share: two brokers on a bus in memory, which keeps them. In what is read of the brokers'
 * frames S stands for the number of the shared stream. */
#include "broker_stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory_engine.h"

/* The core's own data, to see what it knows. */
#include "../../broker/core/model.h"

#define BROKERS 2
#define DEFER_MS 10000u
#define DEFER_BYTES 4096u
#define QUESTIONS_MS 10u /* between two times that a stream is asked how far it is */

struct sea {
    struct memory_bus *bus;
    struct stage *at[BROKERS];
    struct engine *engines[BROKERS]; /* NULL: the broker is not there */
    struct stream_config streams[2]; /* the second one is the brokers' own */
    const char *patterns[2];
    char words[64 * 1024];
};

static const struct mps_sub_options from_all = {.given = MPS_SUB_FROM, .from = {.kind = MPS_FROM_ALL}};
static const struct mps_sub_options acked = {
    .given = MPS_SUB_FROM | MPS_SUB_ACK, .ack = MPS_ACK_EACH, .from = {.kind = MPS_FROM_ALL}};

/* ---- the world ---------------------------------------------------------------------------------------------- */

static const char *name_of(int which)
{
    return which == 0 ? "one" : "two";
}

/* Until nothing is on its way. */
static void flow(struct sea *sea)
{
    for (bool more = true; more;) {
        memory_bus_time(sea->bus, sea->at[0]->now_ms, sea->at[0]->wall_ms);
        for (int i = 0; i < BROKERS; i++)
            if (sea->engines[i] != NULL) stage_settle(sea->at[i]);
        more = memory_bus_run(sea->bus) > 0;
        for (int i = 0; i < BROKERS; i++) {
            if (sea->engines[i] == NULL || !memory_engine_ready(sea->engines[i])) continue;
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
            if (sea->engines[i] != NULL) {
                stage_pass(sea->at[i], step);
                continue;
            }
            sea->at[i]->now_ms += step;
            sea->at[i]->wall_ms += step;
        }
        flow(sea);
    }
}

static void start(struct sea *sea, int which, bool has_store)
{
    static const char *const topics[] = {"#"};
    char text[STORE_TEXT_MAX];
    struct stage *stage = sea->at[which];
    stage_start(stage);
    if (has_store) stage_open_gate(stage);
    assert_int_equal(broker_open_store(stage->broker, has_store ? &stage->gate.store : NULL, sea->streams,
                                       has_store ? 2 : 1, text, sizeof text),
                     0);
    sea->engines[which] = memory_engine_open(
        sea->bus, &(struct engine_options){.name = name_of(which), .defer_ms = DEFER_MS, .defer_bytes = DEFER_BYTES});
    assert_int_equal(broker_join(stage->broker, sea->engines[which],
                                 &(struct cluster_config){.name = name_of(which), .topics = topics, .topics_count = 1},
                                 text, sizeof text),
                     0);
}

static void stop(struct sea *sea, int which)
{
    struct engine *engine = sea->engines[which];
    if (engine == NULL) return;
    stage_stop(sea->at[which]);
    sea->engines[which] = NULL;
    engine->close(engine);
}

static int set_up(void **state)
{
    struct sea *sea = calloc(1, sizeof *sea);
    if (sea == NULL) return -1;
    sea->bus = memory_bus_new(1);
    sea->patterns[0] = "o/#";
    sea->patterns[1] = "own/#";
    sea->streams[0] = (struct stream_config){
        .name = "orders", .patterns = &sea->patterns[0], .patterns_count = 1, .is_shared = true, .replicas = 3};
    sea->streams[1] = (struct stream_config){.name = "own", .patterns = &sea->patterns[1], .patterns_count = 1};
    for (int i = 0; i < BROKERS; i++) {
        void *stage;
        if (stage_set_up(&stage) != 0) return -1;
        sea->at[i] = stage;
        sea->at[i]->random += (uint64_t)i;
    }
    *state = sea;
    return 0;
}

static int tear_down(void **state)
{
    struct sea *sea = *state;
    for (int i = 0; i < BROKERS; i++) {
        void *stage = sea->at[i];
        stop(sea, i);
        stage_tear_down(&stage);
    }
    memory_bus_free(sea->bus);
    free(sea);
    return 0;
}

static uint32_t number(void)
{
    return stream_shared_number("orders");
}

static struct stream *stream_at(const struct sea *sea, int which)
{
    return stream_by_number(sea->at[which]->broker, number());
}

/* ---- clients ------------------------------------------------------------------------------------------------ */

static void hello(struct sea *sea, int which, char link, struct mps_hello with)
{
    char id[2] = {link, '\0'};
    if (with.id.ptr == NULL) with.id = mps_text(id);
    stage_hello(sea->at[which], link, with);
    flow(sea);
    stage_words(sea->at[which], link);
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

static void write_msg(struct sea *sea, int which, char link, const char *topic, const char *text)
{
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text(text)});
    stage_write(sea->at[which], link, &out);
}

static void write_sub(struct sea *sea, int which, char link, uint32_t sid, const char *pattern,
                      struct mps_sub_options options)
{
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_sub(&out, &(struct mps_sub){.sid = sid, .pattern = mps_text(pattern), .options = options});
    stage_write(sea->at[which], link, &out);
}

static const char *words(struct sea *sea, int which, char link)
{
    char digits[16];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%u", number()), used = 0;
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

/* One is the publisher at the first broker, and another one reads at the second. */
static struct sea *two_brokers(void **state)
{
    struct sea *sea = *state;
    start(sea, 0, false);
    start(sea, 1, false);
    flow(sea);
    hello(sea, 0, 'p', (struct mps_hello){0});
    hello(sea, 1, 'r', (struct mps_hello){0});
    return sea;
}

/* ---- publishing and reading --------------------------------------------------------------------------------- */

static void what_is_published_at_any_broker_is_read_at_all_in_one_order(void **state)
{
    struct sea *sea = two_brokers(state);
    hello(sea, 0, 'q', (struct mps_hello){0});
    subscribe(sea, 0, 'q', "o/#", from_all);
    subscribe(sea, 1, 'r', "o/#", from_all);
    words(sea, 0, 'q');
    expect(sea, 1, 'r', "suback 1 | mark 1 1 | mark 1 2");
    for (int i = 0; i < 3; i++) {
        publish(sea, 0, 'p', "o/1", "x");
        publish(sea, 1, 'r', "o/2", "y");
    }
    char at_one[1024];
    snprintf(at_one, sizeof at_one, "%s", words(sea, 0, 'q'));
    expect(sea, 1, 'r', "for 1 at S-1 | o/1=x | o/2=y | o/1=x | o/2=y | o/1=x | o/2=y");
    assert_string_equal(at_one, "for 1 at S-1 | o/1=x | o/2=y | o/1=x | o/2=y | o/1=x | o/2=y");
}

static void it_is_acknowledged_once_it_is_settled(void **state)
{
    struct sea *sea = two_brokers(state);
    memory_bus_faults(sea->bus)->settle_ms = 100;
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "x");
    expect(sea, 0, 'p', "");
    pass(sea, 99);
    expect(sea, 0, 'p', "");
    pass(sea, 1);
    expect(sea, 0, 'p', "ok 1 nobody");
}

static void pipelined_publishes_are_answered_together(void **state)
{
    struct sea *sea = two_brokers(state);
    stage_pub(sea->at[0], 'p', 1, 2);
    for (int i = 0; i < 50; i++) write_msg(sea, 0, 'p', i % 2 ? "o/1" : "o/2", "x");
    flow(sea);
    expect(sea, 0, 'p', "ok 50 nobody");
    uint8_t room[32];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){51, 2u << MPS_PUB_LEVEL_SHIFT | MPS_PUB_EACH});
    stage_write(sea->at[0], 'p', &out);
    for (int i = 0; i < 3; i++) write_msg(sea, 0, 'p', "o/1", "x");
    flow(sea);
    expect(sea, 0, 'p', "ok 51 nobody | ok 52 nobody | ok 53 nobody");
}

/* Answers keep the order of pids, whatever each of them waits for. */
static void answers_come_in_order_whatever_they_wait_for(void **state)
{
    struct sea *sea = *state;
    start(sea, 0, true);
    flow(sea);
    hello(sea, 0, 'p', (struct mps_hello){0});
    memory_bus_faults(sea->bus)->settle_ms = 500;
    stage_pub(sea->at[0], 'p', 1, 2);
    publish(sea, 0, 'p', "o/1", "x");
    publish(sea, 0, 'p', "own/1", "x");
    stage_pub(sea->at[0], 'p', 3, 1);
    publish(sea, 0, 'p', "else", "x");
    publish(sea, 0, 'p', "bad/+", "x");
    expect(sea, 0, 'p', "");
    pass(sea, 500);
    expect(sea, 0, 'p', "ok 1 nobody | ok 2 nobody | ok 3 nobody | refused 4 210");
    memory_store_hold(sea->at[0]->gate.inner, true, false);
    memory_bus_faults(sea->bus)->settle_ms = 0;
    stage_pub(sea->at[0], 'p', 5, 2);
    publish(sea, 0, 'p', "own/1", "x");
    publish(sea, 0, 'p', "o/1", "x");
    publish(sea, 0, 'p', "o/1", "x");
    expect(sea, 0, 'p', "");
    memory_store_hold(sea->at[0]->gate.inner, false, false);
    memory_store_finish_commit(sea->at[0]->gate.inner);
    flow(sea);
    expect(sea, 0, 'p', "ok 5 nobody | ok 7 nobody");
}

static void levels_are_what_the_stream_can_give(void **state)
{
    struct sea *sea = *state;
    sea->streams[0].replicas = 1;
    start(sea, 0, false);
    flow(sea);
    hello(sea, 0, 'p', (struct mps_hello){0});
    assert_int_equal(sea->at[0]->broker->ack_level, 2);
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "x");
    expect(sea, 0, 'p', "refused 1 216");
    publish(sea, 0, 'p', "else", "x");
    expect(sea, 0, 'p', "refused 2 216");
    stage_pub(sea->at[0], 'p', 3, 2);
    publish(sea, 0, 'p', "o/1", "x");
    expect(sea, 0, 'p', "ok 3 nobody");
}

static void more_copies_give_the_highest_level(void **state)
{
    struct sea *sea = two_brokers(state);
    assert_int_equal(sea->at[0]->broker->ack_level, 3);
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "x");
    publish(sea, 0, 'p', "else", "x");
    expect(sea, 0, 'p', "ok 1 nobody | refused 2 216");
}

/* A PUBACK tells the position of the last message that it covers. */
/* What the stream is like isn't known when it is published to. */
static void one_copy_is_never_acknowledged_as_several(void **state)
{
    struct sea *sea = *state;
    sea->streams[0].replicas = 1;
    start(sea, 0, false);
    flow(sea);
    sea->streams[0].replicas = 3;
    memory_bus_away(sea->bus, "two", false, true);
    start(sea, 1, false);
    flow(sea);
    hello(sea, 1, 'p', (struct mps_hello){0});
    stage_pub(sea->at[1], 'p', 1, 3);
    publish(sea, 1, 'p', "o/1", "x");
    stage_pub(sea->at[1], 'p', 2, 2);
    publish(sea, 1, 'p', "o/1", "y");
    expect(sea, 1, 'p', "");
    memory_bus_away(sea->bus, "two", false, false);
    flow(sea);
    expect(sea, 1, 'p', "refused 1 216 | ok 2 nobody");
    assert_int_equal(stream_at(sea, 1)->next, 3);
}

static void an_answer_tells_the_position(void **state)
{
    struct sea *sea = two_brokers(state);
    mps_view frame;
    struct mps_puback puback;
    const char *what;
    publish(sea, 1, 'r', "o/1", "somebody else's");
    stage_pub(sea->at[0], 'p', 1, 3);
    for (int i = 0; i < 3; i++) write_msg(sea, 0, 'p', i == 1 ? "o/1" : "o/2", "x");
    flow(sea);
    assert_int_equal(stage_take(sea->at[0], 'p', &frame), MPS_OP_PUBACK);
    assert_int_equal(mps_decode_puback(frame, &puback, &what), MPS_OK);
    assert_int_equal(puback.pid, 3);
    assert_int_equal(puback.stream, number());
    assert_int_equal(puback.seq, 4);
}

static void a_subscriber_gets_it_at_once_and_not_from_the_stream(void **state)
{
    struct sea *sea = two_brokers(state);
    memory_bus_away(sea->bus, NULL, false, true);
    flow(sea);
    hello(sea, 0, 's', (struct mps_hello){0});
    stage_sub(sea->at[0], 's', 1, "o/#", (struct mps_sub_options){0});
    flow(sea);
    words(sea, 0, 's');
    publish(sea, 0, 'p', "o/1", "x");
    expect(sea, 0, 's', "for 1 | o/1=x");
    memory_bus_away(sea->bus, NULL, false, false);
    pass(sea, 2000);
    expect(sea, 0, 's', "");
    assert_int_equal(memory_bus_next_position(sea->bus, number()), 2);
}

/* ---- away --------------------------------------------------------------------------------------------------- */

static void while_it_is_away_answers_wait_and_other_topics_go_on(void **state)
{
    struct sea *sea = two_brokers(state);
    memory_bus_away(sea->bus, NULL, false, true);
    flow(sea);
    assert_non_null(strstr(sea->at[0]->logged, "stream 'orders' is away: "));
    hello(sea, 0, 'o', (struct mps_hello){0});
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "x");
    stage_pub(sea->at[0], 'o', 1, 1);
    publish(sea, 0, 'o', "else", "x");
    expect(sea, 0, 'o', "ok 1 nobody");
    publish(sea, 0, 'o', "o/2", "routed is enough");
    expect(sea, 0, 'o', "ok 2 nobody");
    pass(sea, DEFER_MS - 1000);
    expect(sea, 0, 'p', "");
    memory_bus_away(sea->bus, NULL, false, false);
    flow(sea);
    expect(sea, 0, 'p', "ok 1 nobody");
    subscribe(sea, 1, 'r', "o/#", from_all);
    expect(sea, 1, 'r', "suback 1 | mark 1 1 | for 1 flags 2 at S-1 | o/1=x | o/2=routed is enough | mark 1 2");
}

static void what_waits_for_too_long_is_refused_and_never_acknowledged(void **state)
{
    struct sea *sea = two_brokers(state);
    memory_bus_away(sea->bus, NULL, false, true);
    flow(sea);
    stage_pub(sea->at[0], 'p', 1, 2);
    publish(sea, 0, 'p', "o/1", "x");
    publish(sea, 0, 'p', "o/2", "y");
    pass(sea, DEFER_MS + 1000);
    expect(sea, 0, 'p', "refused 1 216 | refused 2 216");
    memory_bus_away(sea->bus, NULL, false, false);
    flow(sea);
    publish(sea, 0, 'p', "o/3", "z");
    expect(sea, 0, 'p', "ok 3 nobody");
}

static void more_than_may_wait_is_refused_at_any_level(void **state)
{
    struct sea *sea = two_brokers(state);
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    memory_bus_away(sea->bus, NULL, false, true);
    flow(sea);
    stage_sub(sea->at[0], 'p', 1, "o/#", (struct mps_sub_options){0});
    words(sea, 0, 'p');
    for (int i = 0; i < 4; i++) publish(sea, 0, 'p', "o/1", text);
    words(sea, 0, 'p');
    publish(sea, 0, 'p', "o/1", text); /* nobody gets what is refused */
    expect(sea, 0, 'p', "err 216");
    stage_pub(sea->at[0], 'p', 1, 1);
    publish(sea, 0, 'p', "o/1", text);
    expect(sea, 0, 'p', "refused 1 216");
    stage_pub(sea->at[0], 'p', 2, 3);
    publish(sea, 0, 'p', "o/1", text);
    expect(sea, 0, 'p', "refused 2 216");
    memory_bus_away(sea->bus, NULL, false, false);
    flow(sea);
    publish(sea, 0, 'p', "o/1", "y");
    expect(sea, 0, 'p', "o/1=y | ok 3");
    assert_int_equal(memory_bus_next_position(sea->bus, number()), 6);
}

static void a_stream_that_refuses_says_that_it_is_full(void **state)
{
    struct sea *sea = *state;
    sea->streams[0].refuses = true;
    sea->streams[0].max_msgs = 2;
    two_brokers(state);
    stage_pub(sea->at[0], 'p', 1, 2);
    for (int i = 0; i < 3; i++) publish(sea, 0, 'p', "o/1", "x");
    expect(sea, 0, 'p', "ok 1 nobody | ok 2 nobody | refused 3 225");
    stage_pub(sea->at[0], 'p', 4, 1);
    publish(sea, 0, 'p', "o/1", "x"); /* nobody asked */
    expect(sea, 0, 'p', "ok 4 nobody");
    assert_int_equal(stream_at(sea, 0)->unstored, 1);
}

static void what_waits_when_a_broker_leaves_is_one_line(void **state)
{
    struct sea *sea = *state;
    two_brokers(state);
    memory_bus_away(sea->bus, "one", true, true);
    flow(sea);
    stage_pub(sea->at[0], 'p', 1, 1);
    for (int i = 0; i < 5; i++) publish(sea, 0, 'p', "o/1", "x");
    stage_words(sea->at[0], 'p');
    broker_leave(sea->at[0]->broker);
    const char *line = strstr(sea->at[0]->logged, "not known to be: 5 times");
    assert_non_null(line);
    assert_null(strstr(sea->at[0]->logged, "not known to be in stream"));
    assert_int_equal(stream_at(sea, 0)->unstored, 5);
}

/* ---- resending ---------------------------------------------------------------------------------------------- */

static void a_resend_to_another_broker_is_stored_once(void **state)
{
    struct sea *sea = *state;
    const struct mps_hello session = {.id = mps_text("dev"), .sess_s = 60, .boot = 7};
    start(sea, 0, false);
    start(sea, 1, false);
    flow(sea);
    hello(sea, 0, 'p', session);
    memory_bus_faults(sea->bus)->settle_ms = 1000;
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "a");
    publish(sea, 0, 'p', "o/1", "b");
    stage_cut(sea->at[0], 'p');
    hello(sea, 1, 'p', session);
    stage_pub(sea->at[1], 'p', 1, 3);
    publish(sea, 1, 'p', "o/1", "a");
    publish(sea, 1, 'p', "o/1", "b");
    publish(sea, 1, 'p', "o/1", "c");
    expect(sea, 1, 'p', "");
    pass(sea, 1000);
    expect(sea, 1, 'p', "ok 2 again | ok 3 nobody");
    assert_int_equal(memory_bus_next_position(sea->bus, number()), 4);
}

static void a_resend_to_the_same_broker_waits_for_the_first_one(void **state)
{
    struct sea *sea = *state;
    const struct mps_hello session = {.id = mps_text("dev"), .sess_s = 60, .boot = 7};
    start(sea, 0, false);
    flow(sea);
    hello(sea, 0, 'p', session);
    memory_bus_faults(sea->bus)->settle_ms = 1000;
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "a");
    stage_cut(sea->at[0], 'p');
    hello(sea, 0, 'p', session);
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "a");
    expect(sea, 0, 'p', "");
    pass(sea, 1000);
    expect(sea, 0, 'p', "ok 1 again");
    assert_int_equal(memory_bus_next_position(sea->bus, number()), 2);
}

static void a_resend_of_what_fails_is_refused_and_may_come_again(void **state)
{
    struct sea *sea = *state;
    const struct mps_hello session = {.id = mps_text("dev"), .sess_s = 60, .boot = 7};
    start(sea, 0, false);
    flow(sea);
    hello(sea, 0, 'p', session);
    memory_bus_away(sea->bus, NULL, false, true);
    flow(sea);
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "a");
    stage_cut(sea->at[0], 'p');
    hello(sea, 0, 'p', session);
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "a");
    pass(sea, DEFER_MS + 1000);
    expect(sea, 0, 'p', "refused 1 216");
    memory_bus_away(sea->bus, NULL, false, false);
    stage_cut(sea->at[0], 'p');
    hello(sea, 0, 'p', session);
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "a");
    expect(sea, 0, 'p', "ok 1 nobody");
}

/* A broker that dies has stored what it knows of a publisher, and the engine has what it was given, or not. */
static void after_a_crash_of_the_broker_nothing_is_taken_for_stored(void **state)
{
    struct sea *sea = *state;
    const struct mps_hello session = {.id = mps_text("dev"), .sess_s = 60, .boot = 7};
    start(sea, 0, true);
    flow(sea);
    hello(sea, 0, 'p', session);
    memory_bus_away(sea->bus, NULL, false, true);
    flow(sea);
    stage_pub(sea->at[0], 'p', 1, 2);
    publish(sea, 0, 'p', "own/1", "a");
    publish(sea, 0, 'p', "o/1", "b");
    publish(sea, 0, 'p', "own/1", "c");
    pass(sea, 200);
    expect(sea, 0, 'p', "ok 1 nobody");
    struct engine *engine = sea->engines[0];
    sea->engines[0] = NULL;
    stage_crash(sea->at[0], true);
    memory_engine_crash(engine, false);
    memory_bus_away(sea->bus, NULL, false, false);
    start(sea, 0, true);
    flow(sea);
    hello(sea, 0, 'p', session);
    stage_pub(sea->at[0], 'p', 2, 2);
    publish(sea, 0, 'p', "o/1", "b");
    publish(sea, 0, 'p', "own/1", "c");
    expect(sea, 0, 'p', "ok 2 nobody | ok 3 again");
    assert_int_equal(stream_by_number(sea->at[0]->broker, 64)->next, 3);
}

/* ---- replay ------------------------------------------------------------------------------------------------- */

static void publish_ten(struct sea *sea)
{
    char text[8], topic[8];
    for (int i = 1; i <= 10; i++) {
        snprintf(text, sizeof text, "%d", i);
        snprintf(topic, sizeof topic, "o/%d", i % 2);
        publish(sea, 0, 'p', topic, text);
        pass(sea, 1000);
    }
}

static void a_replay_begins_where_it_is_asked_to(void **state)
{
    struct sea *sea = two_brokers(state);
    publish_ten(sea);
    uint64_t since_ms = sea->at[0]->wall_ms - 3000; /* when 8 came */
    const uint64_t positions[] = {number(), 8};
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
        flow(sea);
        pass(sea, QUESTIONS_MS);
        expect(sea, 1, 'r', told[i]);
    }
    publish(sea, 0, 'p', "o/1", "new");
    assert_non_null(strstr(words(sea, 1, 'r'), "for 6 at S-11 | o/1=new"));
}

/* Nothing is known of the stream until the cluster is there: then each begins where it asked to. */
static void who_comes_before_the_stream_is_known_begins_later(void **state)
{
    struct sea *sea = two_brokers(state);
    publish_ten(sea);
    stop(sea, 1);
    memory_bus_away(sea->bus, "two", false, true);
    start(sea, 1, false);
    flow(sea);
    hello(sea, 1, 'r', (struct mps_hello){0});
    const uint64_t positions[] = {number(), 8};
    const struct mps_from froms[] = {{.kind = MPS_FROM_LAST, .number = 2},
                                     {.kind = MPS_FROM_SEQ, .count = 1, .positions = positions},
                                     {.kind = MPS_FROM_AGO, .number = 2000},
                                     {.kind = MPS_FROM_LAST_PER_TOPIC},
                                     {.kind = MPS_FROM_NEW}};
    for (uint32_t i = 0; i < sizeof froms / sizeof *froms; i++)
        stage_sub(sea->at[1], 'r', i + 1, "o/#",
                  (struct mps_sub_options){.given = MPS_SUB_FROM | MPS_SUB_ACK, .ack = MPS_ACK_UPTO, .from = froms[i]});
    flow(sea);
    assert_null(strstr(words(sea, 1, 'r'), "for"));
    memory_bus_away(sea->bus, "two", false, false);
    flow(sea);
    const char *came = words(sea, 1, 'r');
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
    publish(sea, 0, 'p', "o/1", "new");
    assert_non_null(strstr(words(sea, 1, 'r'), "for 5 at S-11 | o/1=new"));
}

/* What was acknowledged to anybody here is shown to who subscribes afterwards and wants to be caught up, however late
 * the tail is. */
static void caught_up_is_behind_what_was_acknowledged(void **state)
{
    struct sea *sea = two_brokers(state);
    memory_bus_faults(sea->bus)->tail_ms = 1000;
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "x");
    expect(sea, 0, 'p', "ok 1 nobody");
    subscribe(sea, 0, 'p', "o/#", from_all);
    expect(sea, 0, 'p', "suback 1 | mark 1 1");
    pass(sea, 1000);
    expect(sea, 0, 'p', "for 1 flags 2 at S-1 | o/1=x | mark 1 2");
}

/* Those at other brokers count as well: the second one knows nothing of the message when it is subscribed to. */
static void caught_up_is_behind_what_another_broker_acknowledged(void **state)
{
    struct sea *sea = two_brokers(state);
    memory_bus_faults(sea->bus)->tail_ms = 1000;
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "x");
    expect(sea, 0, 'p', "ok 1 nobody");
    assert_int_equal(stream_at(sea, 1)->next, 1);
    subscribe(sea, 1, 'r', "o/#", from_all);
    expect(sea, 1, 'r', "suback 1 | mark 1 1");
    pass(sea, 1000);
    expect(sea, 1, 'r', "for 1 flags 2 at S-1 | o/1=x | mark 1 2");
}

/* A client that comes from another broker has read further than this one knows. */
static void who_has_read_further_gets_nothing_twice(void **state)
{
    struct sea *sea = two_brokers(state);
    const uint64_t positions[] = {number(), 3}, far[] = {number(), 100};
    struct mps_sub_options options = {.given = MPS_SUB_FROM,
                                      .from = {.kind = MPS_FROM_SEQ, .count = 1, .positions = positions}};
    memory_bus_faults(sea->bus)->tail_ms = 1000;
    publish(sea, 0, 'p', "o/1", "a");
    publish(sea, 0, 'p', "o/1", "b");
    subscribe(sea, 1, 'r', "o/#", options);
    options.from.positions = far; /* which isn't given yet: the next one */
    stage_sub(sea->at[1], 'r', 2, "o/#", options);
    flow(sea);
    pass(sea, 1000);
    const char *came = words(sea, 1, 'r');
    assert_null(strstr(came, "o/1"));
    assert_non_null(strstr(came, "mark 1 2"));
    assert_non_null(strstr(came, "mark 2 2"));
    publish(sea, 0, 'p', "o/1", "c");
    pass(sea, 1000);
    expect(sea, 1, 'r', "for 1 at S-3 | o/1=c | for 2 at S-3 | o/1=c");
    options.from.positions = positions; /* one that has its place already */
    subscribe(sea, 1, 'r', "o/#", options);
    pass(sea, 1000);
    assert_non_null(strstr(words(sea, 1, 'r'), "o/1=c | mark 1 2"));
    publish(sea, 0, 'p', "o/1", "d");
    options.from.positions = (const uint64_t[]){number(), 5};
    subscribe(sea, 1, 'r', "o/#", options);
    pass(sea, 1000);
    came = words(sea, 1, 'r');
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
    struct sea *sea = two_brokers(state);
    ask_really = sea->engines[1]->ask_state;
    sea->engines[1]->ask_state = count_asking;
    memory_bus_faults(sea->bus)->ask_ms = 500;
    asked = 0;
    for (uint32_t sid = 1; sid <= 100; sid++) write_sub(sea, 1, 'r', sid, "o/#", from_all);
    flow(sea);
    assert_int_equal(asked, 1);
    for (uint32_t sid = 101; sid <= 200; sid++) stage_sub(sea->at[1], 'r', sid, "o/#", from_all);
    flow(sea);
    assert_int_equal(asked, 1);
    assert_null(strstr(words(sea, 1, 'r'), "mark 1 2"));
    pass(sea, 500);
    const char *came = words(sea, 1, 'r');
    assert_non_null(strstr(came, "mark 1 2"));
    assert_non_null(strstr(came, "mark 100 2"));
    assert_null(strstr(came, "mark 101 2")); /* the answer may be from before it came */
    assert_int_equal(asked, 2);
    pass(sea, 500);
    came = words(sea, 1, 'r');
    assert_non_null(strstr(came, "mark 101 2"));
    assert_non_null(strstr(came, "mark 200 2"));
    pass(sea, 5000);
    assert_int_equal(asked, 2);
}

/* A leader that is slow, or not there, holds nobody for more than a moment. */
static void who_gets_no_answer_is_caught_up_with_what_is_known_here(void **state)
{
    struct sea *sea = two_brokers(state);
    memory_bus_faults(sea->bus)->ask_ms = 3000;
    subscribe(sea, 1, 'r', "o/#", from_all);
    expect(sea, 1, 'r', "suback 1 | mark 1 1");
    pass(sea, 1750);
    expect(sea, 1, 'r', "");
    stage_sub(sea->at[1], 'r', 2, "o/#", from_all);
    flow(sea);
    pass(sea, 250);
    expect(sea, 1, 'r', "suback 2 | mark 2 1 | mark 1 2");
    pass(sea, 1750);
    expect(sea, 1, 'r', ""); /* the late answer isn't to its question */
    pass(sea, 250);
    expect(sea, 1, 'r', "mark 2 2");
    stage_sub(sea->at[1], 'r', 3, "o/#", from_all);
    flow(sea);
    expect(sea, 1, 'r', "suback 3 | mark 3 1");
    memory_bus_away(sea->bus, "two", false, true);
    flow(sea);
    expect(sea, 1, 'r', "mark 3 2");
    stage_sub(sea->at[1], 'r', 4, "o/#", from_all);
    flow(sea);
    expect(sea, 1, 'r', "suback 4 | mark 4 1 | mark 4 2");
}

static void who_asks_may_go(void **state)
{
    struct sea *sea = two_brokers(state);
    memory_bus_faults(sea->bus)->ask_ms = 500;
    subscribe(sea, 1, 'r', "o/#", from_all);
    stage_sub(sea->at[1], 'r', 2, "o/#", from_all);
    flow(sea);
    stage_cut(sea->at[1], 'r');
    flow(sea);
    pass(sea, 3000);
    assert_null(stream_at(sea, 1)->asking.first);
    assert_null(stream_at(sea, 1)->to_ask.first);
}

static void what_retention_removed_is_told(void **state)
{
    struct sea *sea = *state;
    sea->streams[0].max_msgs = 4;
    two_brokers(state);
    publish_ten(sea);
    const uint64_t positions[] = {number(), 3};
    subscribe(sea, 1, 'r', "o/#",
              (struct mps_sub_options){.given = MPS_SUB_FROM,
                                       .from = {.kind = MPS_FROM_SEQ, .count = 1, .positions = positions}});
    expect(sea, 1, 'r',
           "suback 1 | mark 1 1 | gap 1 x4 reason 5 at S-3..6 | for 1 flags 2 at S-7 | o/1=7 | o/0=8 | for 1 flags 2 "
           "at S-9 | o/1=9 | o/0=10 | mark 1 2");
    memory_bus_delete_message(sea->bus, number(), 8);
    stop(sea, 1);
    start(sea, 1, false);
    flow(sea);
    hello(sea, 1, 'r', (struct mps_hello){0});
    subscribe(sea, 1, 'r', "o/#", from_all);
    expect(sea, 1, 'r',
           "suback 1 | mark 1 1 | for 1 flags 2 at S-7 | o/1=7 | gap 1 x1 reason 5 at S-8..8 | "
           "for 1 flags 2 at S-9 | o/1=9 | o/0=10 | mark 1 2");
}

/* In a long history the place of a moment is found by a few looks. */
static void a_moment_is_found_in_a_long_history(void **state)
{
    struct sea *sea = two_brokers(state);
    char text[12];
    for (int i = 1; i <= 3000; i++) {
        snprintf(text, sizeof text, "%d", i);
        publish(sea, 0, 'p', "o/1", text);
        if (i % 10 == 0) pass(sea, 1000);
    }
    stop(sea, 1);
    start(sea, 1, false);
    flow(sea);
    hello(sea, 1, 'r', (struct mps_hello){0});
    subscribe(sea, 1, 'r', "o/#",
              (struct mps_sub_options){.given = MPS_SUB_FROM, .from = {.kind = MPS_FROM_AGO, .number = 250000}});
    const char *begin = strstr(words(sea, 1, 'r'), "for 1 flags 2 at S-");
    assert_non_null(begin);
    assert_in_range(atoi(begin + strlen("for 1 flags 2 at S-")), 481,
                    501); /* 501 came so long ago, exact to a second */
    assert_non_null(strstr(sea->words, "o/1=3000 | mark 1 2"));
}

/* ---- another stream ----------------------------------------------------------------------------------------- */

static void a_stream_that_is_made_anew_is_told_and_read_again(void **state)
{
    struct sea *sea = two_brokers(state);
    hello(sea, 1, 's', (struct mps_hello){0});
    hello(sea, 1, 'g', (struct mps_hello){0});
    publish(sea, 0, 'p', "o/1", "a");
    publish(sea, 0, 'p', "o/1", "b");
    subscribe(sea, 1, 'r', "o/#", from_all);
    subscribe(sea, 1, 's', "o/#", acked);
    struct mps_sub_options group = acked;
    group.given |= MPS_SUB_GROUP;
    group.group = mps_text("g");
    subscribe(sea, 1, 'g', "o/#", group);
    pass(sea, QUESTIONS_MS);
    for (const char *p = "rsg"; *p != '\0'; p++) words(sea, 1, *p);
    uint64_t epoch = sea->at[1]->broker->epoch;
    memory_bus_delete_stream(sea->bus, number());
    flow(sea);
    for (const char *p = "rsg"; *p != '\0'; p++) expect(sea, 1, *p, "");
    memory_bus_remake_stream(sea->bus, number());
    flow(sea);
    publish(sea, 0, 'p', "o/1", "c");
    pass(sea, 1000);
    assert_int_not_equal(sea->at[1]->broker->epoch, epoch);
    for (const char *p = "rsg"; *p != '\0'; p++)
        expect(sea, 1, *p, "gap 1 x? reason 9 at S-0..0 | for 1 at S-1 | o/1=c");
    assert_int_equal(sea->at[1]->broker->pending_count, 2);
}

static void brokers_without_streams_of_their_own_have_one_epoch(void **state)
{
    struct sea *sea = two_brokers(state);
    uint64_t epoch = sea->at[0]->broker->epoch;
    assert_int_equal(sea->at[1]->broker->epoch, epoch);
    stop(sea, 1);
    memory_bus_away(sea->bus, "two", false, true);
    start(sea, 1, false);
    flow(sea);
    assert_int_equal(sea->at[1]->broker->epoch, 0); /* nothing that a client would have to forget its places for */
    memory_bus_away(sea->bus, "two", false, false);
    flow(sea);
    assert_int_equal(sea->at[1]->broker->epoch, epoch);
    memory_bus_delete_stream(sea->bus, number());
    memory_bus_remake_stream(sea->bus, number());
    flow(sea);
    assert_int_not_equal(sea->at[0]->broker->epoch, epoch);
    assert_int_equal(sea->at[1]->broker->epoch, sea->at[0]->broker->epoch);
    stop(sea, 1);
    start(sea, 1, true); /* positions in its own stream mean nothing elsewhere */
    flow(sea);
    assert_int_not_equal(sea->at[1]->broker->epoch, sea->at[0]->broker->epoch);
}

/* Who is away is told once. */
static void a_stream_that_is_made_anew_again_and_again_is_told_once(void **state)
{
    struct sea *sea = two_brokers(state);
    hello(sea, 1, 's', (struct mps_hello){.sess_s = 600});
    subscribe(sea, 1, 's', "o/#", acked);
    stage_cut(sea->at[1], 's');
    for (int i = 0; i < 5; i++) {
        publish(sea, 0, 'p', "o/1", "x");
        memory_bus_delete_stream(sea->bus, number());
        memory_bus_remake_stream(sea->bus, number());
        flow(sea);
    }
    publish(sea, 0, 'p', "o/1", "y");
    stage_hello(sea->at[1], 's', (struct mps_hello){.id = mps_text("s"), .sess_s = 600});
    subscribe(sea, 1, 's', "o/#", acked);
    const char *gap = strstr(words(sea, 1, 's'), "reason 9");
    assert_non_null(gap);
    assert_null(strstr(gap + 1, "reason 9"));
    assert_non_null(strstr(gap, "o/1=y"));
}

/* The engine says so, or not: then it is seen by positions that go back. Whoever is behind goes back as well. */
static void a_stream_that_lost_its_end_is_another_one(void **state)
{
    struct sea *sea = two_brokers(state);
    hello(sea, 1, 's', (struct mps_hello){0});
    for (int i = 0; i < 3; i++) publish(sea, 0, 'p', "o/1", "x");
    subscribe(sea, 1, 'r', "o/#", from_all);
    subscribe(sea, 1, 's', "o/#", acked);
    words(sea, 1, 'r');
    words(sea, 1, 's');
    const struct stream *stream = stream_at(sea, 1);
    sea->engines[1]->events.stream_state(
        sea->engines[1]->events.arg,
        &(struct engine_stream_state){
            .number = number(), .is_there = true, .identity = stream->identity, .first = 2, .next = 3});
    assert_non_null(strstr(sea->at[1]->logged, "is not the one that it was"));
    flow(sea);
    publish(sea, 0, 'p', "o/1", "y");
    for (const char *p = "rs"; *p != '\0'; p++)
        expect(sea, 1, *p, "gap 1 x? reason 9 at S-0..0 | for 1 at S-3 | o/1=x | o/1=y");
}

/* What is before that stands: it comes once, and is acknowledged as ever. */
static void who_is_before_the_end_that_a_stream_lost_notices_nothing(void **state)
{
    struct sea *sea = two_brokers(state);
    hello(sea, 1, 's', (struct mps_hello){0});
    for (int i = 0; i < 4; i++) publish(sea, 0, 'p', "o/1", "x");
    struct mps_sub_options one = acked;
    one.given |= MPS_SUB_INFLIGHT;
    one.inflight = 1;
    subscribe(sea, 1, 's', "o/#", one);
    words(sea, 1, 's');
    const struct stream *stream = stream_at(sea, 1);
    sea->engines[1]->events.stream_state(
        sea->engines[1]->events.arg,
        &(struct engine_stream_state){
            .number = number(), .is_there = true, .identity = stream->identity, .first = 1, .next = 4});
    flow(sea);
    expect(sea, 1, 's', "");
    assert_int_equal(sea->at[1]->broker->pending_count, 1);
}

/* A broker that keeps its sessions remembers which stream their places are of. */
static void places_of_another_stream_are_known_after_a_restart(void **state)
{
    struct sea *sea = *state;
    const struct mps_hello session = {.id = mps_text("dev"), .sess_s = 600};
    struct mps_sub_options durable = acked;
    durable.given |= MPS_SUB_DURABLE;
    durable.durable = true;
    start(sea, 0, true);
    flow(sea);
    hello(sea, 0, 'p', (struct mps_hello){0});
    hello(sea, 0, 'd', session);
    subscribe(sea, 0, 'd', "o/#", durable);
    for (int i = 0; i < 3; i++) publish(sea, 0, 'p', "o/1", "old");
    assert_non_null(strstr(words(sea, 0, 'd'), "o/1=old"));
    pass(sea, 2000);
    uint64_t epoch = sea->at[0]->broker->epoch;
    stop(sea, 0);
    start(sea, 0, true); /* the same stream: what is not acknowledged comes again, and nothing is said */
    flow(sea);
    assert_int_equal(sea->at[0]->broker->epoch, epoch);
    hello(sea, 0, 'd', session);
    flow(sea);
    pass(sea, 2000);
    stop(sea, 0);
    memory_bus_delete_stream(sea->bus, number());
    memory_bus_remake_stream(sea->bus, number());
    start(sea, 0, true);
    flow(sea);
    hello(sea, 0, 'p', (struct mps_hello){0});
    publish(sea, 0, 'p', "o/1", "new");
    assert_int_not_equal(sea->at[0]->broker->epoch, epoch);
    stage_hello(sea->at[0], 'd', session);
    flow(sea);
    assert_non_null(strstr(words(sea, 0, 'd'), "gap 1 x? reason 9 at S-0..0 | for 1 at S-1 | o/1=new"));
}

/* ---- what is no message ------------------------------------------------------------------------------------- */

static void tail(struct sea *sea, const uint8_t *bytes, uint32_t len, uint32_t count)
{
    const struct stream *stream = stream_at(sea, 1);
    sea->engines[1]->events.tail(
        sea->engines[1]->events.arg,
        &(struct store_block){
            .stream = number(), .count = count, .first = stream->stored, .time_ms = 1, .bytes = bytes, .len = len});
    stage_settle(sea->at[1]);
}

/* Who comes before it is known that the stream is another one has no place in the one before. */
static void who_is_new_at_another_stream_begins_as_it_asks(void **state)
{
    struct sea *sea = *state;
    start(sea, 0, true);
    start(sea, 1, false);
    flow(sea);
    pass(sea, 2000);
    stop(sea, 0);
    memory_bus_delete_stream(sea->bus, number());
    memory_bus_remake_stream(sea->bus, number());
    flow(sea);
    hello(sea, 1, 'p', (struct mps_hello){0});
    publish(sea, 1, 'p', "o/1", "before");
    memory_bus_away(sea->bus, "one", false, true);
    start(sea, 0, true);
    flow(sea);
    hello(sea, 0, 'r', (struct mps_hello){0});
    struct mps_sub_options options = acked;
    options.from.kind = MPS_FROM_NEW;
    subscribe(sea, 0, 'r', "o/#", options);
    memory_bus_away(sea->bus, "one", false, false);
    flow(sea);
    publish(sea, 1, 'p', "o/1", "after");
    expect(sea, 0, 'r', "suback 1 | mark 1 1 | for 1 at S-2 | o/1=after");
}

static void rubbish_is_a_hole_and_ends_nothing(void **state)
{
    struct sea *sea = two_brokers(state);
    uint8_t room[256];
    struct mps_out out = mps_out_open(room, sizeof room);
    subscribe(sea, 1, 'r', "o/#", from_all);
    words(sea, 1, 'r');
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("o/1"), .payload = mps_text("a")});
    mps_encode_ping(&out, &(struct mps_token){mps_text("no message")});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("o/+"), .payload = mps_text("no topic")});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("o/1"), .payload = mps_text("b")});
    tail(sea, room, out.len, 4);
    expect(sea, 1, 'r', "for 1 at S-1 | o/1=a | gap 1 x2 reason 12 at S-2..3 | for 1 at S-4 | o/1=b");
    static const uint8_t claims_much[] = {0x94, 0x02, 0xa1, 'o', 0xc0, 0xc6, 0xff, 0xff, 0xff, 0xff, 1};
    tail(sea, claims_much, sizeof claims_much, 3);
    tail(sea, room, mps_msg_frame_len(room), 2); /* one less than it says */
    expect(sea, 1, 'r', "gap 1 x3 reason 12 at S-5..7 | for 1 at S-8 | o/1=a | gap 1 x1 reason 12 at S-9..9");
    assert_int_equal(stream_at(sea, 1)->damaged, 6);
    for (uint32_t len = 0; len < out.len; len++) tail(sea, room, len, 4); /* cut anywhere */
    for (uint32_t at = 0; at < out.len; at++) {
        uint8_t before = room[at];
        for (int bit = 0; bit < 8; bit++) {
            room[at] = (uint8_t)(before ^ 1 << bit);
            tail(sea, room, out.len, 4);
        }
        room[at] = before;
    }
    words(sea, 1, 'r');
}

/* ---- beside others ------------------------------------------------------------------------------------------ */

static void a_group_shares_it_among_its_members(void **state)
{
    struct sea *sea = two_brokers(state);
    struct mps_sub_options group = acked;
    group.given |= MPS_SUB_GROUP;
    group.group = mps_text("g");
    hello(sea, 1, 's', (struct mps_hello){0});
    subscribe(sea, 1, 'r', "o/#", group);
    subscribe(sea, 1, 's', "o/#", group);
    words(sea, 1, 'r');
    words(sea, 1, 's');
    for (int i = 0; i < 4; i++) publish(sea, 0, 'p', "o/1", "x");
    int at_r = 0, at_s = 0;
    for (const char *p = words(sea, 1, 'r'); (p = strstr(p, "o/1=x")) != NULL; p++) at_r++;
    for (const char *p = words(sea, 1, 's'); (p = strstr(p, "o/1=x")) != NULL; p++) at_s++;
    assert_int_equal(at_r, 2);
    assert_int_equal(at_s, 2);
}

static void a_reader_of_two_streams_of_which_one_is_the_brokers_own(void **state)
{
    struct sea *sea = *state;
    start(sea, 0, true);
    flow(sea);
    hello(sea, 0, 'p', (struct mps_hello){0});
    hello(sea, 0, 'r', (struct mps_hello){0});
    stage_pub(sea->at[0], 'p', 1, 2);
    publish(sea, 0, 'p', "own/1", "a");
    publish(sea, 0, 'p', "o/1", "b");
    publish(sea, 0, 'p', "own/1", "c");
    expect(sea, 0, 'p', "ok 1 nobody | ok 2 nobody | ok 3 nobody");
    memory_bus_away(sea->bus, NULL, false, true);
    flow(sea);
    subscribe(sea, 0, 'r', "#", from_all);
    const char *came = words(sea, 0, 'r');
    assert_non_null(strstr(came, "for 1 flags 2 at 64-1 | own/1=a"));
    assert_non_null(strstr(came, "own/1=c"));
    publish(sea, 0, 'p', "own/1", "d"); /* goes on */
    expect(sea, 0, 'p', "ok 4");
    memory_bus_away(sea->bus, NULL, false, false);
    pass(sea, 2000);
    publish(sea, 0, 'p', "o/1", "e");
    assert_non_null(strstr(words(sea, 0, 'r'), "o/1=e"));
}

static void wills_go_there_too(void **state)
{
    struct sea *sea = two_brokers(state);
    uint8_t room[64];
    struct mps_out will = mps_out_open(room, sizeof room);
    mps_put_array(&will, 4);
    mps_put_text(&will, mps_text("o/will"));
    mps_put_bin(&will, mps_text("gone"));
    mps_put_uint(&will, 0);
    mps_put_uint(&will, 0);
    hello(sea, 0, 'w', (struct mps_hello){.will = mps_out_view(&will)});
    subscribe(sea, 1, 'r', "o/#", from_all);
    words(sea, 1, 'r');
    stage_cut(sea->at[0], 'w');
    flow(sea);
    expect(sea, 1, 'r', "for 1 at S-1 | o/will=gone");
}

static void a_ttl_goes_on_in_the_stream(void **state)
{
    struct sea *sea = two_brokers(state);
    uint8_t room[64], props_room[16];
    struct mps_out out = mps_out_open(room, sizeof room), props = mps_out_open(props_room, sizeof props_room);
    mps_put_map(&props, 1);
    mps_put_uint(&props, MPS_PROP_TTL_MS);
    mps_put_uint(&props, 5000);
    mps_encode_msg(&out, &(struct mps_msg){mps_text("o/1"), mps_out_view(&props), mps_text("x")});
    stage_send(sea->at[0], 'p', &out);
    flow(sea);
    pass(sea, 4000);
    subscribe(sea, 1, 'r', "o/#", from_all);
    expect(sea, 1, 'r', "suback 1 | mark 1 1 | for 1 flags 2 at S-1 | o/1=x | mark 1 2");
    pass(sea, 2000);
    hello(sea, 0, 'r', (struct mps_hello){0});
    subscribe(sea, 0, 'r', "o/#", from_all);
    expect(sea, 0, 'r', "suback 1 | mark 1 1 | gap 1 x1 reason 4 at S-1..1 | mark 1 2");
}

/* Asks the broker for something, whose answer goes to 'told'. */
static void request(struct sea *sea, char link, const char *topic, const struct mps_out *payload)
{
    uint8_t room[256], props_room[32];
    struct mps_out out = mps_out_open(room, sizeof room), props = mps_out_open(props_room, sizeof props_room);
    mps_put_map(&props, 1);
    mps_put_uint(&props, MPS_PROP_REPLY_TO);
    mps_put_text(&props, mps_text("told"));
    mps_encode_msg(&out, &(struct mps_msg){mps_text(topic), mps_out_view(&props), mps_out_view(payload)});
    stage_send(sea->at[0], link, &out);
}

/* An operator, who is told. */
static void begin_to_ask(struct sea *sea, char link)
{
    sea->at[0]->peer.is_own = true;
    hello(sea, 0, link, (struct mps_hello){0});
    sea->at[0]->peer.is_own = false;
    subscribe(sea, 0, link, "told", (struct mps_sub_options){0});
    words(sea, 0, link);
}

/* Whether a text stands in what came. It takes all of it. */
static bool was_told(struct sea *sea, char link, const char *text, size_t len)
{
    mps_view frame;
    bool is_there = false;
    while (stage_take(sea->at[0], link, &frame) >= 0)
        if (memmem(frame.ptr, frame.len, text, len) != NULL) is_there = true;
    return is_there;
}

static void a_trace_knows_the_position_once_it_is_stored(void **state)
{
    struct sea *sea = two_brokers(state);
    uint8_t room[64];
    struct mps_out payload = mps_out_open(room, sizeof room);
    subscribe(sea, 0, 'p', "o/#", from_all);
    begin_to_ask(sea, 't');
    mps_put_map(&payload, 1);
    mps_put_text(&payload, mps_text("pattern"));
    mps_put_text(&payload, mps_text("o/#"));
    for (int i = 0; i < 3; i++) publish(sea, 1, 'r', "o/1", "x"); /* the same bytes */
    request(sea, 't', "$SYS/request/trace", &payload);
    memory_bus_faults(sea->bus)->tail_ms = 500;
    publish(sea, 0, 'p', "o/1", "x");
    static const char unknown[] = "\xa3seq\xc0", stored[] = "\xa6stored", known[] = "\xa3seq\x04";
    assert_true(was_told(sea, 't', unknown, sizeof unknown - 1));
    pass(sea, 500);
    mps_view frame;
    bool is_stored = false, is_known = false, is_sent = false;
    while (stage_take(sea->at[0], 't', &frame) >= 0) {
        is_stored |= memmem(frame.ptr, frame.len, stored, sizeof stored - 1) != NULL;
        is_known |= memmem(frame.ptr, frame.len, known, sizeof known - 1) != NULL;
        is_sent |= memmem(frame.ptr, frame.len, "sent", 4) != NULL;
    }
    assert_true(is_stored && is_known && is_sent);
    memory_bus_away(sea->bus, NULL, false, true);
    flow(sea);
    request(sea, 't', "$SYS/request/trace", &payload);
    stage_pub(sea->at[0], 'p', 1, 2);
    publish(sea, 0, 'p', "o/1", "y");
    pass(sea, DEFER_MS + 1000);
    assert_true(was_told(sea, 't', "unstored", 8));
}

static void operators_see_it_and_cant_remove_what_all_share(void **state)
{
    struct sea *sea = two_brokers(state);
    uint8_t room[64];
    struct mps_out payload = mps_out_open(room, sizeof room), nothing = mps_out_open(room, 0);
    begin_to_ask(sea, 'o');
    publish(sea, 1, 'r', "o/1", "x");
    pass(sea, 2000);
    request(sea, 'o', "$SYS/request/report", &nothing);
    static const char figures[] = "\xa8replicas\x03\xa7"
                                  "current\x03\xa5there\xc3",
                      next[] = "\xa4next\x02\xa8messages\x01";
    stage_settle(sea->at[0]);
    mps_view frame;
    bool has_figures = false, has_next = false;
    while (stage_take(sea->at[0], 'o', &frame) >= 0) {
        has_figures |= memmem(frame.ptr, frame.len, figures, sizeof figures - 1) != NULL;
        has_next |= memmem(frame.ptr, frame.len, next, sizeof next - 1) != NULL;
    }
    assert_true(has_figures && has_next);
    mps_put_map(&payload, 1);
    mps_put_text(&payload, mps_text("stream"));
    mps_put_text(&payload, mps_text("orders"));
    request(sea, 'o', "$SYS/request/stream/remove", &payload);
    static const char refused[] = "is kept by NATS JetStream for all brokers";
    assert_true(was_told(sea, 'o', refused, sizeof refused - 1));
    assert_int_equal(memory_bus_first(sea->bus, number()), 1);
}

/* A route on which messages are looked at one by one. */
static void it_goes_on_beside_a_filter(void **state)
{
    struct sea *sea = two_brokers(state);
    hello(sea, 0, 'f', (struct mps_hello){0});
    subscribe(sea, 0, 'f', "o/#", (struct mps_sub_options){.given = MPS_SUB_FILTER, .filter = mps_text("temp > 30")});
    expect(sea, 0, 'f', "suback 1 | mark 1 1");
    stage_pub(sea->at[0], 'p', 1, 2);
    for (int i = 0; i < 4; i++) write_msg(sea, 0, 'p', i < 2 ? "o/1" : "o/2", "x");
    flow(sea);
    expect(sea, 0, 'p', "ok 4 nobody");
    assert_int_equal(memory_bus_next_position(sea->bus, number()), 5);
    memory_bus_away(sea->bus, NULL, false, true);
    flow(sea);
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 5; i++) publish(sea, 0, 'p', "o/1", text);
    expect(sea, 0, 'p', "");
    pass(sea, DEFER_MS + 1000);
    expect(sea, 0, 'p', "refused 5 216 | refused 6 216 | refused 7 216 | refused 8 216 | refused 9 216");
}

static void publish_retained(struct sea *sea, const char *text)
{
    uint8_t room[2048];
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_pub(&out, &(struct mps_pub){0, MPS_PUB_RETAIN});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("o/1"), .payload = mps_text(text)});
    stage_send(sea->at[0], 'p', &out);
    flow(sea);
}

/* What is refused is not retained, either; and what could not be retained is not stored. */
static void a_value_is_retained_with_its_message_or_not_at_all(void **state)
{
    struct sea *sea = *state;
    sea->at[0]->limits.max_retained_count = 1;
    two_brokers(state);
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int picky = 0; picky < 2; picky++) {
        hello(sea, 0, 's', (struct mps_hello){0});
        if (picky) subscribe(sea, 0, 's', "o/#", (struct mps_sub_options){.given = MPS_SUB_NO_LOCAL, .no_local = true});
        publish_retained(sea, "first");
        memory_bus_away(sea->bus, NULL, false, true);
        flow(sea);
        for (int i = 0; i < 5; i++) publish_retained(sea, text);
        assert_non_null(strstr(words(sea, 0, 'p'), "err 216"));
        uint64_t next = memory_bus_next_position(sea->bus, number());
        memory_bus_away(sea->bus, NULL, false, false);
        pass(sea, 3000);
        assert_int_equal(memory_bus_next_position(sea->bus, number()), next + 4);
        stage_cut(sea->at[0], 's');
    }
    uint8_t room[64];
    uint64_t next = memory_bus_next_position(sea->bus, number());
    struct mps_out out = mps_out_open(room, sizeof room);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("o/2"), .payload = mps_text("one too many")});
    stage_send(sea->at[0], 'p', &out);
    flow(sea);
    expect(sea, 0, 'p', "err 214");
    assert_int_equal(memory_bus_next_position(sea->bus, number()), next);
}

static void what_is_not_settled_when_the_broker_leaves_is_refused(void **state)
{
    struct sea *sea = two_brokers(state);
    memory_bus_away(sea->bus, NULL, false, true);
    flow(sea);
    stage_pub(sea->at[0], 'p', 1, 3);
    publish(sea, 0, 'p', "o/1", "x");
    broker_leave(sea->at[0]->broker);
    stage_settle(sea->at[0]);
    stage_msg(sea->at[0], 'p', "o/1", "x");
    expect(sea, 0, 'p', "refused 1 216 | refused 2 216");
}

static void two_names_with_one_number_are_an_error(void **state)
{
    struct sea *sea = *state;
    char text[STORE_TEXT_MAX];
    sea->streams[0].name = "stream-15512";
    sea->streams[1] = sea->streams[0];
    sea->streams[1].name = "stream-33955";
    assert_int_equal(stream_shared_number("stream-15512"), stream_shared_number("stream-33955"));
    stage_start(sea->at[0]);
    assert_int_equal(broker_open_store(sea->at[0]->broker, NULL, sea->streams, 2, text, sizeof text), -1);
    assert_string_equal(text, "the shared streams 'stream-15512' and 'stream-33955' would both have the number "
                              "1813018361: rename one of them");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_published_at_any_broker_is_read_at_all_in_one_order),
        TEST(it_is_acknowledged_once_it_is_settled),
        TEST(pipelined_publishes_are_answered_together),
        TEST(answers_come_in_order_whatever_they_wait_for),
        TEST(levels_are_what_the_stream_can_give),
        TEST(more_copies_give_the_highest_level),
        TEST(one_copy_is_never_acknowledged_as_several),
        TEST(an_answer_tells_the_position),
        TEST(a_subscriber_gets_it_at_once_and_not_from_the_stream),
        TEST(while_it_is_away_answers_wait_and_other_topics_go_on),
        TEST(what_waits_for_too_long_is_refused_and_never_acknowledged),
        TEST(more_than_may_wait_is_refused_at_any_level),
        TEST(a_stream_that_refuses_says_that_it_is_full),
        TEST(what_waits_when_a_broker_leaves_is_one_line),
        TEST(a_resend_to_another_broker_is_stored_once),
        TEST(a_resend_to_the_same_broker_waits_for_the_first_one),
        TEST(a_resend_of_what_fails_is_refused_and_may_come_again),
        TEST(after_a_crash_of_the_broker_nothing_is_taken_for_stored),
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
        TEST(a_stream_that_is_made_anew_is_told_and_read_again),
        TEST(a_stream_that_is_made_anew_again_and_again_is_told_once),
        TEST(brokers_without_streams_of_their_own_have_one_epoch),
        TEST(a_stream_that_lost_its_end_is_another_one),
        TEST(who_is_before_the_end_that_a_stream_lost_notices_nothing),
        TEST(places_of_another_stream_are_known_after_a_restart),
        TEST(who_is_new_at_another_stream_begins_as_it_asks),
        TEST(rubbish_is_a_hole_and_ends_nothing),
        TEST(a_group_shares_it_among_its_members),
        TEST(a_reader_of_two_streams_of_which_one_is_the_brokers_own),
        TEST(wills_go_there_too),
        TEST(a_ttl_goes_on_in_the_stream),
        TEST(a_trace_knows_the_position_once_it_is_stored),
        TEST(operators_see_it_and_cant_remove_what_all_share),
        TEST(it_goes_on_beside_a_filter),
        TEST(a_value_is_retained_with_its_message_or_not_at_all),
        TEST(what_is_not_settled_when_the_broker_leaves_is_refused),
        TEST(two_names_with_one_number_are_an_error),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
