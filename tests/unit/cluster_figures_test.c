/* What operators are told of the other brokers: who is there, what came and went, and what was missing. */
#include <string.h>

#include "cluster_rig.h"
#include "overview.h"

static const struct overview *look(struct rig *rig, int number)
{
    static struct overview overview;
    struct broker *broker = rig->at[number]->broker;
    broker_overview_begin(broker, &overview);
    while (!broker_overview_step(broker)) continue;
    return &overview;
}

static const struct overview_neighbour *other(const struct overview *overview, const char *name)
{
    for (size_t i = 0; i < overview->neighbours_count; i++)
        if (strcmp(overview->neighbour[i].name, name) == 0) return &overview->neighbour[i];
    fail_msg("no broker '%s'", name);
    return NULL;
}

static void test_messages_are_counted_for_each_broker(void **state)
{
    struct rig *rig = *state;
    rig_start_all(rig, 3);
    rig_client(rig, 0, 'p');
    rig_client(rig, 1, 's');
    rig_sub(rig, 1, 's', 1, "t");
    for (int i = 0; i < 5; i++) rig_msg(rig, 0, 'p', "t", "x");
    const struct overview *overview = look(rig, 0);
    assert_int_equal(overview->cluster_count, 1);
    assert_int_equal(overview->cluster[0].live, 1);
    assert_int_equal(overview->cluster[0].present, 2);
    assert_int_equal(overview->neighbours_count, 2);
    assert_int_equal(other(overview, rig_name(1))->messages_out, 5);
    assert_int_equal(other(overview, rig_name(2))->messages_out, 0);
    overview = look(rig, 1);
    assert_int_equal(other(overview, rig_name(0))->messages_in, 5);
    assert_int_equal(other(overview, rig_name(0))->holes, 0);
}

static void test_holes_are_counted(void **state)
{
    struct rig *rig = *state;
    rig_start_all(rig, 2);
    rig_client(rig, 0, 'p');
    rig_client(rig, 1, 's');
    rig_sub(rig, 1, 's', 1, "t");
    memory_bus_lose(rig->bus, rig_name(0), rig_name(1), 1);
    rig_msg(rig, 0, 'p', "t", "lost");
    rig_msg(rig, 0, 'p', "t", "x");
    const struct overview *overview = look(rig, 1);
    assert_int_equal(other(overview, rig_name(0))->holes, 1);
    assert_int_equal(other(overview, rig_name(0))->lost, 1);
}

static void test_who_is_away_is_told_as_such(void **state)
{
    struct rig *rig = *state;
    rig_start_all(rig, 2);
    rig_crash(rig, 1);
    rig_pass(rig, 10000);
    const struct overview *overview = look(rig, 0);
    assert_int_equal(overview->cluster[0].present, 0);
    assert_int_equal(other(overview, rig_name(1))->present, 0);
    memory_bus_away(rig->bus, rig_name(0), true, true);
    rig_pass(rig, 1000);
    overview = look(rig, 0);
    assert_int_equal(overview->cluster[0].live, 0);
    assert_int_equal(overview->cluster[0].storing, 0);
}

static void test_a_broker_alone_tells_nothing(void **state)
{
    struct rig *rig = *state;
    stage_start(rig->at[0]);
    const struct overview *overview = look(rig, 0);
    assert_int_equal(overview->cluster_count, 0);
    assert_int_equal(overview->neighbours_count, 0);
}

#define FIGURES_TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIGURES_TEST(test_messages_are_counted_for_each_broker),
        FIGURES_TEST(test_holes_are_counted),
        FIGURES_TEST(test_who_is_away_is_told_as_such),
        FIGURES_TEST(test_a_broker_alone_tells_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
