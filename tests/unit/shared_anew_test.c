/* A stream that all brokers share may be made anew, or lose its end: positions of before mean nothing then, and readers
 * are told. */
#include "sea_rig.h"

#include <string.h>

static void a_stream_that_is_made_anew_is_told_and_read_again(void **state)
{
    struct sea *sea = sea_two(state);
    sea_hello(sea, 1, 's', (struct mps_hello){0});
    sea_hello(sea, 1, 'g', (struct mps_hello){0});
    sea_publish(sea, 0, 'p', "o/1", "a");
    sea_publish(sea, 0, 'p', "o/1", "b");
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    sea_subscribe(sea, 1, 's', "o/#", sea_acked);
    struct mps_sub_options group = sea_acked;
    group.given |= MPS_SUB_GROUP;
    group.group = mps_text("g");
    sea_subscribe(sea, 1, 'g', "o/#", group);
    sea_pass(sea, SEA_QUESTIONS_MS);
    for (const char *p = "rsg"; *p != '\0'; p++) sea_words(sea, 1, *p);
    uint64_t epoch = sea->at[1]->broker->epoch;
    memory_bus_delete_stream(sea->bus, sea_number());
    sea_flow(sea);
    for (const char *p = "rsg"; *p != '\0'; p++) sea_expect(sea, 1, *p, "");
    memory_bus_remake_stream(sea->bus, sea_number());
    sea_flow(sea);
    sea_publish(sea, 0, 'p', "o/1", "c");
    sea_pass(sea, 1000);
    assert_int_not_equal(sea->at[1]->broker->epoch, epoch);
    for (const char *p = "rsg"; *p != '\0'; p++)
        sea_expect(sea, 1, *p, "gap 1 x? reason 9 at S-0..0 | for 1 at S-1 | o/1=c");
    assert_int_equal(sea->at[1]->broker->pending_count, 2);
}

static void brokers_without_streams_of_their_own_have_one_epoch(void **state)
{
    struct sea *sea = sea_two(state);
    uint64_t epoch = sea->at[0]->broker->epoch;
    assert_int_equal(sea->at[1]->broker->epoch, epoch);
    sea_stop(sea, 1);
    memory_bus_away(sea->bus, "two", false, true);
    sea_start(sea, 1);
    assert_int_equal(sea->at[1]->broker->epoch, 0); /* nothing that a client would have to forget its places for */
    memory_bus_away(sea->bus, "two", false, false);
    sea_flow(sea);
    assert_int_equal(sea->at[1]->broker->epoch, epoch);
    memory_bus_delete_stream(sea->bus, sea_number());
    memory_bus_remake_stream(sea->bus, sea_number());
    sea_flow(sea);
    assert_int_not_equal(sea->at[0]->broker->epoch, epoch);
    assert_int_equal(sea->at[1]->broker->epoch, sea->at[0]->broker->epoch);
    sea_stop(sea, 1);
    sea_start_stored(sea, 1); /* positions in its own stream mean nothing elsewhere */
    assert_int_not_equal(sea->at[1]->broker->epoch, sea->at[0]->broker->epoch);
}

/* Who is away is told once. */
static void a_stream_that_is_made_anew_again_and_again_is_told_once(void **state)
{
    struct sea *sea = sea_two(state);
    sea_hello(sea, 1, 's', (struct mps_hello){.sess_s = 600});
    sea_subscribe(sea, 1, 's', "o/#", sea_acked);
    stage_cut(sea->at[1], 's');
    for (int i = 0; i < 5; i++) {
        sea_publish(sea, 0, 'p', "o/1", "x");
        memory_bus_delete_stream(sea->bus, sea_number());
        memory_bus_remake_stream(sea->bus, sea_number());
        sea_flow(sea);
    }
    sea_publish(sea, 0, 'p', "o/1", "y");
    stage_hello(sea->at[1], 's', (struct mps_hello){.id = mps_text("s"), .sess_s = 600});
    sea_subscribe(sea, 1, 's', "o/#", sea_acked);
    const char *gap = strstr(sea_words(sea, 1, 's'), "reason 9");
    assert_non_null(gap);
    assert_null(strstr(gap + 1, "reason 9"));
    assert_non_null(strstr(gap, "o/1=y"));
}

/* The engine says so, or not: then it is seen by positions that go back. Whoever is behind goes back as well. */
static void a_stream_that_lost_its_end_is_another_one(void **state)
{
    struct sea *sea = sea_two(state);
    sea_hello(sea, 1, 's', (struct mps_hello){0});
    for (int i = 0; i < 3; i++) sea_publish(sea, 0, 'p', "o/1", "x");
    sea_subscribe(sea, 1, 'r', "o/#", sea_from_all);
    sea_subscribe(sea, 1, 's', "o/#", sea_acked);
    sea_words(sea, 1, 'r');
    sea_words(sea, 1, 's');
    const struct stream *stream = sea_stream(sea, 1);
    sea->engines[1]->events.stream_state(
        sea->engines[1]->events.arg,
        &(struct engine_stream_state){
            .number = sea_number(), .is_there = true, .identity = stream->identity, .first = 2, .next = 3});
    assert_non_null(strstr(sea->at[1]->logged, "is not the one that it was"));
    sea_flow(sea);
    sea_publish(sea, 0, 'p', "o/1", "y");
    for (const char *p = "rs"; *p != '\0'; p++)
        sea_expect(sea, 1, *p, "gap 1 x? reason 9 at S-0..0 | for 1 at S-3 | o/1=x | o/1=y");
}

/* What is before that stands: it comes once, and is acknowledged as ever. */
static void who_is_before_the_end_that_a_stream_lost_notices_nothing(void **state)
{
    struct sea *sea = sea_two(state);
    sea_hello(sea, 1, 's', (struct mps_hello){0});
    for (int i = 0; i < 4; i++) sea_publish(sea, 0, 'p', "o/1", "x");
    struct mps_sub_options one = sea_acked;
    one.given |= MPS_SUB_INFLIGHT;
    one.inflight = 1;
    sea_subscribe(sea, 1, 's', "o/#", one);
    sea_words(sea, 1, 's');
    const struct stream *stream = sea_stream(sea, 1);
    sea->engines[1]->events.stream_state(
        sea->engines[1]->events.arg,
        &(struct engine_stream_state){
            .number = sea_number(), .is_there = true, .identity = stream->identity, .first = 1, .next = 4});
    sea_flow(sea);
    sea_expect(sea, 1, 's', "");
    assert_int_equal(sea->at[1]->broker->pending_count, 1);
}

/* A broker that keeps its sessions remembers which stream their places are of. */
static void places_of_another_stream_are_known_after_a_restart(void **state)
{
    struct sea *sea = *state;
    const struct mps_hello session = {.id = mps_text("dev"), .sess_s = 600};
    struct mps_sub_options durable = sea_acked;
    durable.given |= MPS_SUB_DURABLE;
    durable.durable = true;
    sea_start_stored(sea, 0);
    sea_hello(sea, 0, 'p', (struct mps_hello){0});
    sea_hello(sea, 0, 'd', session);
    sea_subscribe(sea, 0, 'd', "o/#", durable);
    for (int i = 0; i < 3; i++) sea_publish(sea, 0, 'p', "o/1", "old");
    assert_non_null(strstr(sea_words(sea, 0, 'd'), "o/1=old"));
    sea_pass(sea, 2000);
    uint64_t epoch = sea->at[0]->broker->epoch;
    sea_stop(sea, 0);
    sea_start_stored(sea, 0); /* the same stream: what is not acknowledged comes again, and nothing is said */
    assert_int_equal(sea->at[0]->broker->epoch, epoch);
    sea_hello(sea, 0, 'd', session);
    sea_flow(sea);
    sea_pass(sea, 2000);
    sea_stop(sea, 0);
    memory_bus_delete_stream(sea->bus, sea_number());
    memory_bus_remake_stream(sea->bus, sea_number());
    sea_start_stored(sea, 0);
    sea_hello(sea, 0, 'p', (struct mps_hello){0});
    sea_publish(sea, 0, 'p', "o/1", "new");
    assert_int_not_equal(sea->at[0]->broker->epoch, epoch);
    stage_hello(sea->at[0], 'd', session);
    sea_flow(sea);
    assert_non_null(strstr(sea_words(sea, 0, 'd'), "gap 1 x? reason 9 at S-0..0 | for 1 at S-1 | o/1=new"));
}

/* Who comes before it is known that the stream is another one has no place in the one before. */
static void who_is_new_at_another_stream_begins_as_it_asks(void **state)
{
    struct sea *sea = *state;
    sea_start_stored(sea, 0);
    sea_start(sea, 1);
    sea_pass(sea, 2000);
    sea_stop(sea, 0);
    memory_bus_delete_stream(sea->bus, sea_number());
    memory_bus_remake_stream(sea->bus, sea_number());
    sea_flow(sea);
    sea_hello(sea, 1, 'p', (struct mps_hello){0});
    sea_publish(sea, 1, 'p', "o/1", "before");
    memory_bus_away(sea->bus, "one", false, true);
    sea_start_stored(sea, 0);
    sea_hello(sea, 0, 'r', (struct mps_hello){0});
    struct mps_sub_options options = sea_acked;
    options.from.kind = MPS_FROM_NEW;
    sea_subscribe(sea, 0, 'r', "o/#", options);
    memory_bus_away(sea->bus, "one", false, false);
    sea_flow(sea);
    sea_publish(sea, 1, 'p', "o/1", "after");
    sea_expect(sea, 0, 'r', "suback 1 | mark 1 1 | for 1 at S-2 | o/1=after");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, sea_set_up, sea_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_stream_that_is_made_anew_is_told_and_read_again),
        TEST(brokers_without_streams_of_their_own_have_one_epoch),
        TEST(a_stream_that_is_made_anew_again_and_again_is_told_once),
        TEST(a_stream_that_lost_its_end_is_another_one),
        TEST(who_is_before_the_end_that_a_stream_lost_notices_nothing),
        TEST(places_of_another_stream_are_known_after_a_restart),
        TEST(who_is_new_at_another_stream_begins_as_it_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
