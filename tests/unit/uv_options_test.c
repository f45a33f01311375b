/* What the options of a client mean on a libuv loop. */
#include "uv_stage.h"

static void note_dropped(pubsub *client, const struct pubsub_dropped *dropped, void *user)
{
    (void)client;
    stage_note(user, "dropped %llu\n", (unsigned long long)dropped->count);
}

static void a_full_outbox_refuses_or_drops(void **state)
{
    struct stage *stage = *state;
    static const uint8_t payload[200];
    struct pubsub_options options = stage_options(stage);
    options.on_dropped = note_dropped;
    for (int round = 0; round < 2; round++) {
        options.outbox_bytes = 800;
        options.outbox_policy = round == 0 ? PUBSUB_OUTBOX_WAIT : PUBSUB_OUTBOX_DROP_OLD;
        uv_stage_init(stage, &options);
        for (int i = 0; i < 2; i++)
            assert_int_equal(pubsub_publish(stage->client, "a", payload, sizeof payload, NULL, NULL), PUBSUB_OK);
        assert_int_equal(pubsub_publish(stage->client, "a", payload, sizeof payload, NULL, NULL),
                         round == 0 ? PUBSUB_EAGAIN : PUBSUB_OK);
        stage_expect_log(stage, round == 0 ? "" : "dropped 1\n");
        pubsub_uv_close(on_loop.bus, 0, uv_stage_on_closed);
        uv_stage_until(stage, uv_stage_is_closed);
    }
}

static void who_would_wake_it_is_refused(void **state)
{
    struct stage *stage = *state;
    struct pubsub_options options = stage_options(stage);
    options.wakes = true;
    uv_stage_init(stage, &options);
    assert_int_equal(pubsub_wake_fd(stage->client), -1);
    assert_int_equal(pubsub_wake(stage->client), PUBSUB_EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, uv_stage_set_up, uv_stage_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_full_outbox_refuses_or_drops),
        TEST(who_would_wake_it_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
