/* A shared stream's messages come to a broker as long as somebody reads it there, and no longer
 * (broker/core/cluster/shared_tail.c): two brokers on a bus in memory. In what is read of the brokers' frames S stands
 * for the number of the stream. */
#include "cluster_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The core's own data, to see what it knows. */
#include "../../broker/core/model.h"

#define QUESTIONS_MS 10u /* between two times that a stream is asked how far it is */
#define TOLD_MS 1000u    /* so often it is told how far it is, when nobody asks */

static const struct mps_sub_options from_all = {.given = MPS_SUB_FROM, .from = {.kind = MPS_FROM_ALL}};
static const struct mps_sub_options from_last = {.given = MPS_SUB_FROM, .from = {.kind = MPS_FROM_LAST, .number = 1}};

/* What the engines were asked for, by broker. */
static struct {
    void (*really)(struct engine *engine, uint32_t stream, uint64_t identity, uint64_t from);
    struct engine *engine;
    uint64_t from, identity;
    unsigned calls;
} followed[2];

static void note_follow(struct engine *engine, uint32_t stream, uint64_t identity, uint64_t from)
{
    int which = engine == followed[1].engine;
    followed[which].from = from;
    followed[which].identity = identity;
    followed[which].calls++;
    followed[which].really(engine, stream, identity, from);
}

static uint32_t number(void)
{
    return stream_shared_number("orders");
}

static struct stream *stream_at(const struct rig *rig, int which)
{
    return stream_by_number(rig->at[which]->broker, number());
}

static void start(struct rig *rig, int which)
{
    static const char *const patterns[] = {"o/#"};
    const struct stream_config config = {
        .name = "orders", .patterns = patterns, .patterns_count = 1, .is_shared = true, .replicas = 3};
    char text[STORE_TEXT_MAX];
    stage_start(rig->at[which]);
    assert_int_equal(broker_open_store(rig->at[which]->broker, NULL, &config, 1, text, sizeof text), 0);
    rig_start(rig, which);
    memset(&followed[which], 0, sizeof followed[which]);
    followed[which].engine = rig->engines[which];
    followed[which].really = rig->engines[which]->follow;
    rig->engines[which]->follow = note_follow;
}

/* One is the publisher at the first broker, and another one reads at the second. */
static struct rig *two_brokers(void **state)
{
    struct rig *rig = *state;
    for (int i = 0; i < 2; i++) start(rig, i);
    rig_pass(rig, 100);
    rig_client(rig, 0, 'p');
    rig_client(rig, 1, 'r');
    return rig;
}

static void subscribe(struct rig *rig, int which, char link, uint32_t sid, struct mps_sub_options options)
{
    stage_sub(rig->at[which], link, sid, "o/#", options);
    rig_run(rig);
}

static void publish(struct rig *rig, const char *letters)
{
    for (const char *p = letters; *p != '\0'; p++) rig_msg(rig, 0, 'p', "o/1", (char[]){*p, '\0'});
}

static const char *words(struct rig *rig, int which, char link)
{
    static char said[4096];
    char digits[16];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%u", number()), used = 0;
    for (const char *p = stage_words(rig->at[which], link); *p != '\0' && used + 1 < sizeof said;) {
        bool is_number = strncmp(p, digits, len) == 0;
        said[used++] = is_number ? 'S' : *p;
        p += is_number ? len : 1;
    }
    said[used] = '\0';
    return said;
}

#define expect(rig, which, link, expected) assert_string_equal(words(rig, which, link), expected)

/* ---- what is known without it --------------------------------------------------------------------------------- */

static void what_nobody_reads_is_not_followed_and_known_all_the_same(void **state)
{
    struct rig *rig = two_brokers(state);
    rig_sub(rig, 1, 'r', 1, "o/#"); /* gets them as they are published: that isn't reading */
    stage_pub(rig->at[0], 'p', 1, 3);
    publish(rig, "abc");
    rig_expect(rig, 0, 'p', "ok 1 | ok 2 | ok 3");
    assert_int_equal(followed[0].calls + followed[1].calls, 0);
    assert_int_equal(stream_at(rig, 0)->next, 4); /* by the answers */
    assert_int_equal(stream_at(rig, 0)->stored, 4);
    rig_pass(rig, TOLD_MS);
    assert_int_equal(stream_at(rig, 1)->next, 4);
    assert_int_equal(stream_at(rig, 1)->stored, 4);
    assert_int_equal(stream_at(rig, 1)->stored_msgs, 3);
    memory_bus_delete_message(rig->bus, number(), 1);
    rig_pass(rig, TOLD_MS);
    assert_int_equal(stream_at(rig, 0)->first, 2);
    assert_int_equal(followed[0].calls + followed[1].calls, 0);
}

static void who_comes_later_gets_everything(void **state)
{
    struct rig *rig = two_brokers(state);
    stage_pub(rig->at[0], 'p', 1, 3);
    publish(rig, "abc");
    subscribe(rig, 1, 'r', 1, from_all);
    assert_int_equal(followed[1].calls, 1);
    assert_int_equal(followed[1].from, 1); /* it has not been told of any */
    expect(rig, 1, 'r', "suback 1 | mark 1 1 | for 1 flags 2 at S-1 | o/1=a | o/1=b | o/1=c | mark 1 2");
    publish(rig, "de");
    expect(rig, 1, 'r', "for 1 at S-4 | o/1=d | o/1=e");
    assert_int_equal(followed[0].calls, 0);
}

/* What it had been told of is read, and what comes behind that is shown. */
static void who_comes_after_it_was_told_reads_up_to_there(void **state)
{
    struct rig *rig = two_brokers(state);
    stage_pub(rig->at[0], 'p', 1, 3);
    publish(rig, "abc");
    rig_pass(rig, TOLD_MS);
    publish(rig, "d");
    subscribe(rig, 1, 'r', 1, from_all);
    assert_int_equal(followed[1].from, 4);
    const char *came = words(rig, 1, 'r');
    for (const char *p = "abcd"; *p != '\0'; p++) assert_non_null(strstr(came, (char[]){'o', '/', '1', '=', *p, '\0'}));
    assert_non_null(strstr(came, "mark 1 2"));
}

static void who_goes_and_comes_again_misses_nothing(void **state)
{
    struct rig *rig = two_brokers(state);
    const uint64_t positions[] = {number(), 3};
    publish(rig, "a");
    subscribe(rig, 1, 'r', 1, from_all);
    subscribe(rig, 1, 'r', 2, from_all);
    publish(rig, "b");
    words(rig, 1, 'r');
    stage_unsub(rig->at[1], 'r', 1);
    rig_run(rig);
    assert_int_equal(followed[1].calls, 1); /* the other one reads on */
    stage_unsub(rig->at[1], 'r', 2);
    rig_run(rig);
    assert_int_equal(followed[1].calls, 2);
    assert_int_equal(followed[1].from, 0);
    words(rig, 1, 'r');
    publish(rig, "cd");
    rig_expect(rig, 1, 'r', "");
    subscribe(rig, 1, 'r', 1,
              (struct mps_sub_options){.given = MPS_SUB_FROM,
                                       .from = {.kind = MPS_FROM_SEQ, .count = 1, .positions = positions}});
    assert_int_equal(followed[1].calls, 3);
    publish(rig, "e");
    rig_pass(rig, QUESTIONS_MS);
    const char *came = words(rig, 1, 'r');
    assert_null(strstr(came, "o/1=b"));
    for (const char *p = "cde"; *p != '\0'; p++) assert_non_null(strstr(came, (char[]){'o', '/', '1', '=', *p, '\0'}));
}

static void whose_connection_ends_reads_no_more(void **state)
{
    struct rig *rig = two_brokers(state);
    subscribe(rig, 1, 'r', 1, from_all);
    assert_true(stream_at(rig, 1)->is_followed);
    stage_cut(rig->at[1], 'r');
    rig_pass(rig, 100);
    assert_false(stream_at(rig, 1)->is_followed);
    assert_int_equal(followed[1].from, 0);
}

static void each_broker_follows_for_its_own(void **state)
{
    struct rig *rig = two_brokers(state);
    rig_client(rig, 0, 'q');
    subscribe(rig, 0, 'q', 1, from_all);
    publish(rig, "a");
    subscribe(rig, 1, 'r', 1, from_all);
    publish(rig, "b");
    rig_pass(rig, TOLD_MS);
    for (int i = 0; i < 2; i++) {
        const char *came = words(rig, i, i == 0 ? 'q' : 'r');
        assert_non_null(strstr(came, "o/1=a"));
        assert_non_null(strstr(came, "o/1=b"));
        assert_int_equal(followed[i].calls, 1);
    }
}

static void a_group_and_who_acknowledges_read_as_well(void **state)
{
    struct rig *rig = two_brokers(state);
    struct mps_sub_options group = from_all;
    group.given |= MPS_SUB_GROUP;
    group.group = mps_text("g");
    subscribe(rig, 1, 'r', 1, group);
    publish(rig, "a");
    assert_non_null(strstr(words(rig, 1, 'r'), "o/1=a"));
    stage_unsub(rig->at[1], 'r', 1);
    rig_run(rig);
    assert_false(stream_at(rig, 1)->is_followed);
    words(rig, 1, 'r');
    subscribe(rig, 1, 'r', 2, (struct mps_sub_options){.given = MPS_SUB_ACK, .ack = MPS_ACK_EACH});
    assert_true(stream_at(rig, 1)->is_followed);
    publish(rig, "b");
    rig_pass(rig, TOLD_MS);
    assert_non_null(strstr(words(rig, 1, 'r'), "o/1=b"));
}

/* ---- where the last ones are ---------------------------------------------------------------------------------- */

/* The second broker knows of none of them, and was not told yet. */
static void the_last_one_is_the_last_that_anybody_was_told_of(void **state)
{
    struct rig *rig = two_brokers(state);
    memory_bus_faults(rig->bus)->ask_ms = 200;
    stage_pub(rig->at[0], 'p', 1, 3);
    publish(rig, "abc");
    assert_int_equal(stream_at(rig, 1)->next, 1);
    subscribe(rig, 1, 'r', 1, from_last);
    expect(rig, 1, 'r', "suback 1 | mark 1 1"); /* whatever the tail shows meanwhile */
    rig_pass(rig, 300);
    expect(rig, 1, 'r', "for 1 flags 2 at S-3 | o/1=c | mark 1 2");
    publish(rig, "d");
    expect(rig, 1, 'r', "for 1 at S-4 | o/1=d");
}

/* The answer comes before what the tail has to show. */
static void the_last_one_does_not_wait_for_the_tail(void **state)
{
    struct rig *rig = two_brokers(state);
    memory_bus_faults(rig->bus)->tail_ms = 200;
    stage_pub(rig->at[0], 'p', 1, 3);
    publish(rig, "abc");
    assert_int_equal(stream_at(rig, 1)->next, 1);
    subscribe(rig, 1, 'r', 1, from_last);
    rig_pass(rig, QUESTIONS_MS);
    expect(rig, 1, 'r', "suback 1 | mark 1 1 | for 1 flags 2 at S-3 | o/1=c | mark 1 2");
    publish(rig, "d");
    rig_pass(rig, 300);
    expect(rig, 1, 'r', "for 1 at S-4 | o/1=d");
}

/* Who leaves while it is asked begins with what is known, and that ends. */
static void the_last_one_when_the_broker_leaves(void **state)
{
    struct rig *rig = two_brokers(state);
    memory_bus_faults(rig->bus)->ask_ms = 200;
    stage_pub(rig->at[0], 'p', 1, 3);
    publish(rig, "abc");
    subscribe(rig, 1, 'r', 1, from_last);
    broker_leave(rig->at[1]->broker);
    rig_run(rig);
    expect(rig, 1, 'r', "suback 1 | mark 1 1 | for 1 flags 2 at S-3 | o/1=c | mark 1 2");
    assert_null(rig->at[1]->broker->cluster);
    assert_false(stream_at(rig, 1)->is_there);
}

static void without_an_answer_it_is_the_last_that_is_known(void **state)
{
    struct rig *rig = two_brokers(state);
    publish(rig, "ab");
    rig_pass(rig, TOLD_MS);
    memory_bus_away(rig->bus, NULL, false, true);
    rig_run(rig);
    subscribe(rig, 1, 'r', 1, from_last);
    memory_bus_away(rig->bus, NULL, false, false);
    rig_pass(rig, 3000);
    const char *came = words(rig, 1, 'r');
    assert_null(strstr(came, "o/1=a"));
    assert_non_null(strstr(came, "o/1=b"));
    assert_non_null(strstr(came, "mark 1 2"));
}

/* ---- another stream ------------------------------------------------------------------------------------------- */

static void that_it_was_removed_is_noticed_by_who_does_not_follow(void **state)
{
    struct rig *rig = two_brokers(state);
    publish(rig, "abc");
    rig_pass(rig, TOLD_MS);
    uint64_t epoch = rig->at[1]->broker->epoch;
    memory_bus_delete_stream(rig->bus, number());
    rig_run(rig);
    assert_non_null(strstr(rig->at[1]->logged, "is away"));
    memory_bus_remake_stream(rig->bus, number());
    rig_pass(rig, TOLD_MS);
    assert_non_null(strstr(rig->at[1]->logged, "is not the one that it was"));
    assert_int_not_equal(rig->at[1]->broker->epoch, epoch);
    assert_int_equal(stream_at(rig, 1)->next, 1);
    assert_int_equal(followed[1].calls, 0);
    publish(rig, "d");
    subscribe(rig, 1, 'r', 1, from_all);
    expect(rig, 1, 'r', "suback 1 | mark 1 1 | for 1 flags 2 at S-1 | o/1=d | mark 1 2");
}

static void another_one_is_followed_from_its_beginning(void **state)
{
    struct rig *rig = two_brokers(state);
    publish(rig, "abc");
    subscribe(rig, 1, 'r', 1, from_all);
    uint64_t identity = followed[1].identity;
    words(rig, 1, 'r');
    memory_bus_delete_stream(rig->bus, number());
    rig_run(rig);
    memory_bus_remake_stream(rig->bus, number());
    rig_pass(rig, TOLD_MS);
    assert_int_equal(followed[1].from, 1);
    assert_int_not_equal(followed[1].identity, identity);
    publish(rig, "d");
    expect(rig, 1, 'r', "gap 1 x? reason 9 at S-0..0 | for 1 at S-1 | o/1=d");
    stage_unsub(rig->at[1], 'r', 1); /* that it is another one doesn't hold it */
    memory_bus_delete_stream(rig->bus, number());
    memory_bus_remake_stream(rig->bus, number());
    rig_pass(rig, TOLD_MS);
    assert_int_equal(followed[1].from, 0);
}

/* Nobody is there who could be told; who comes is to begin where it ends now. */
static void that_it_lost_its_end_is_noticed_too(void **state)
{
    struct rig *rig = two_brokers(state);
    publish(rig, "abcd");
    rig_pass(rig, TOLD_MS);
    struct engine_events *events = &rig->engines[1]->events;
    events->stream_state(
        events->arg,
        &(struct engine_stream_state){
            .number = number(), .is_there = true, .identity = stream_at(rig, 1)->identity, .first = 1, .next = 3});
    assert_non_null(strstr(rig->at[1]->logged, "is not the one that it was"));
    assert_int_equal(stream_at(rig, 1)->stored, 3);
    assert_int_equal(stream_at(rig, 1)->next, 3);
}

/* ---- beside it ------------------------------------------------------------------------------------------------ */

static void while_it_is_away_readers_wait_and_get_all(void **state)
{
    struct rig *rig = two_brokers(state);
    memory_bus_away(rig->bus, "two", false, true);
    rig_run(rig);
    publish(rig, "ab");
    subscribe(rig, 1, 'r', 1, from_all);
    rig_pass(rig, 500);
    words(rig, 1, 'r');
    memory_bus_away(rig->bus, "two", false, false);
    rig_pass(rig, 3000);
    publish(rig, "c");
    const char *came = words(rig, 1, 'r');
    for (const char *p = "abc"; *p != '\0'; p++) assert_non_null(strstr(came, (char[]){'o', '/', '1', '=', *p, '\0'}));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_nobody_reads_is_not_followed_and_known_all_the_same),
        TEST(who_comes_later_gets_everything),
        TEST(who_comes_after_it_was_told_reads_up_to_there),
        TEST(who_goes_and_comes_again_misses_nothing),
        TEST(whose_connection_ends_reads_no_more),
        TEST(each_broker_follows_for_its_own),
        TEST(a_group_and_who_acknowledges_read_as_well),
        TEST(the_last_one_is_the_last_that_anybody_was_told_of),
        TEST(the_last_one_does_not_wait_for_the_tail),
        TEST(the_last_one_when_the_broker_leaves),
        TEST(without_an_answer_it_is_the_last_that_is_known),
        TEST(that_it_was_removed_is_noticed_by_who_does_not_follow),
        TEST(another_one_is_followed_from_its_beginning),
        TEST(that_it_lost_its_end_is_noticed_too),
        TEST(while_it_is_away_readers_wait_and_get_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
