/* Memory of input that waits: what of all connections has come and is not done with is bounded by one budget, whatever
 * they do, and nobody waits for it for ever. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_stage.h"

#define KIB 1024u
#define MIB (1024u * KIB)
#define LARGE MIB /* bytes of a large message's payload */
#define OWN (16 * KIB)
#define BUDGET (4 * MIB)

static struct broker_figures figures(const struct stage *stage)
{
    struct broker_figures figures;
    broker_figures(stage->broker, &figures);
    return figures;
}

static uint64_t refused(const struct stage *stage, enum refusal refusal)
{
    return figures(stage).refused[refusal];
}

static void start(struct stage *stage)
{
    stage->limits.max_payload = LARGE;
    stage->limits.input_total_bytes = BUDGET;
    stage->limits.input_ms = 10000;
    stage_start(stage);
}

/* A client whose messages are answered. */
static void come(struct stage *stage, char link)
{
    char id[] = {link, '\0'};
    stage_hello(stage, link, (struct mps_hello){.id = mps_text(id)});
    stage_pub(stage, link, 1, 1);
    stage_expect(stage, link, "welcome last 0");
}

/* count messages of len bytes each. They don't come to the broker but by stage_pass_bytes(). */
static void write_messages(struct stage *stage, char link, const char *topic, uint32_t len, int count)
{
    struct mps_out out = mps_out_open(malloc(len + 200), len + 200);
    uint8_t *payload = calloc(1, len);
    assert_non_null(out.buf);
    assert_non_null(payload);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text(topic), .payload = {payload, len}});
    for (int i = 0; i < count; i++) stage_write(stage, link, &out);
    free(payload);
    free(out.buf);
}

/* The beginning of a large message comes, and after it nothing. */
static void begin_large(struct stage *stage, char link, size_t bytes)
{
    come(stage, link);
    stage->links[link - 'a'].pass = 0;
    write_messages(stage, link, "large", LARGE, 1);
    stage_pass_bytes(stage, link, bytes);
}

static bool is_read(const struct stage *stage, char link)
{
    return stage->links[link - 'a'].reading;
}

static void assert_is_served(struct stage *stage, char link)
{
    stage_ping(stage, link);
    stage_expect(stage, link, "pong");
}

static void cut(struct stage *stage, const char *links)
{
    for (; *links != '\0'; links++) stage_cut(stage, *links);
    assert_int_equal(figures(stage).input_bytes, 0);
}

/* Whoever came first goes on: others have their turn when there is room. */
/* Hostile 55. */
static void halves_of_large_messages_share_the_budget(void **state)
{
    struct stage *stage = *state;
    start(stage);
    come(stage, 'z');
    for (const char *link = "abcdef"; *link != '\0'; link++) {
        begin_large(stage, *link, LARGE / 2);
        assert_in_range(figures(stage).input_bytes, 1, BUDGET);
    }
    assert_true(is_read(stage, 'd'));
    assert_false(is_read(stage, 'e')); /* four fit */
    assert_false(is_read(stage, 'f'));
    assert_in_range(broker_held_bytes(stage->broker), 0, BUDGET + 7 * OWN + 2 * MIB);
    stage_msg(stage, 'z', "t", "small"); /* needs nothing of it */
    stage_expect(stage, 'z', "ok 1 nobody");
    stage_pass_bytes(stage, 'b', SIZE_MAX);
    stage_expect(stage, 'b', "ok 1 nobody");
    assert_true(is_read(stage, 'e')); /* it has b's */
    assert_false(is_read(stage, 'f'));
    stage_pass_bytes(stage, 'f', SIZE_MAX);
    stage_pass_bytes(stage, 'e', SIZE_MAX);
    stage_expect(stage, 'e', "ok 1 nobody");
    stage_expect(stage, 'f', "ok 1 nobody");
    assert_int_equal(refused(stage, REFUSED_INPUT) + refused(stage, REFUSED_INPUT_TIME), 0);
    cut(stage, "abcdefz");
}

/* They may take their time, as long as nobody needs their memory; and half messages of 4 KiB cost nothing of it. */
static void halves_that_do_not_go_on_may_stay(void **state)
{
    struct stage *stage = *state;
    start(stage);
    for (const char *link = "abcd"; *link != '\0'; link++) begin_large(stage, *link, LARGE / 2);
    uint64_t before = figures(stage).input_bytes;
    come(stage, 'e');
    write_messages(stage, 'e', "t", 4000, 1);
    stage_pass(stage, 3600000);
    stage_expect(stage, 'e', "ok 1 nobody");
    assert_int_equal(figures(stage).input_bytes, before);
    assert_int_equal(refused(stage, REFUSED_INPUT_TIME), 0);
    for (const char *link = "abcd"; *link != '\0'; link++) {
        stage_pass_bytes(stage, *link, SIZE_MAX);
        stage_expect(stage, *link, "ok 1 nobody");
    }
    cut(stage, "abcde");
}

/* Of those who keep memory that others wait for. */
/* Hostile 55. */
static void who_keeps_memory_for_too_long_is_closed(void **state)
{
    struct stage *stage = *state;
    start(stage);
    for (const char *link = "abcd"; *link != '\0'; link++) {
        begin_large(stage, *link, LARGE / 2);
        stage_pass(stage, 1000);
    }
    begin_large(stage, 'e', OWN);
    stage_pass_bytes(stage, 'e', SIZE_MAX);
    stage_expect(stage, 'e', "");
    stage_pass(stage, 5900); /* 9.9 s after the first one */
    stage_expect(stage, 'a', "");
    stage_pass(stage, 200);
    stage_expect(stage, 'a', "bye 104 | end");
    stage_expect(stage, 'e', "ok 1 nobody");
    stage_pass(stage, 3600000); /* b, c and d may: nobody waits */
    stage_expect(stage, 'b', "");
    assert_int_equal(refused(stage, REFUSED_INPUT_TIME), 1);
    assert_int_equal(refused(stage, REFUSED_INPUT), 0);
    cut(stage, "abcde");
}

/* What is known of a frame's length at first is not all: fields that nobody knows may stand behind the payload. */
static void a_frame_that_grows_keeps_its_place(void **state)
{
    struct stage *stage = *state;
    static uint8_t room[LARGE + 300];
    struct mps_out out = mps_out_open(room, sizeof room);
    static const uint8_t head[] = {0x97, MPS_OP_MSG, 0xa1, 't', 0xc0, 0xc6, 0, 0x10, 0, 0}, more[] = {0xc4, 200};
    memcpy(room, head, sizeof head);
    memcpy(room + sizeof head + LARGE, more, sizeof more);
    out.len = sizeof head + LARGE + sizeof more + 200 + 2;
    start(stage);
    for (const char *link = "abcdefg"; *link != '\0'; link++) {
        come(stage, *link);
        stage->links[*link - 'a'].pass = 0;
        stage_write(stage, *link, &out);
        stage_pass_bytes(stage, *link, OWN);
        stage_pass_bytes(stage, *link, sizeof head + LARGE - OWN);
        stage_pass_bytes(stage, *link, 1);
        stage_pass_bytes(stage, *link, 1);
        stage_pass_bytes(stage, *link, 100);
        assert_in_range(figures(stage).input_bytes, LARGE - OWN, BUDGET);
    }
    for (const char *link = "abcdefg"; *link != '\0'; link++) {
        stage_pass_bytes(stage, *link, SIZE_MAX);
        stage_expect(stage, *link, "ok 1 nobody");
    }
    cut(stage, "abcdefg");
}

static struct mps_sub_options blocking(void)
{
    return (struct mps_sub_options){.given = MPS_SUB_POLICY | MPS_SUB_CREDIT | MPS_SUB_MAX_MSGS | MPS_SUB_BLOCK_MS |
                                             MPS_SUB_RETAINED,
                                    .policy = MPS_POLICY_BLOCK,
                                    .max_msgs = 1,
                                    .block_ms = 60000,
                                    .retained = 2};
}

/* Whole messages of held publishers keep their memory as long as they are held. Others are told that there is none. */
/* Hostile 55. */
static void who_waits_in_vain_is_told(void **state)
{
    struct stage *stage = *state;
    start(stage);
    come(stage, 's');
    stage_sub(stage, 's', 1, "large", blocking());
    stage_msg(stage, 's', "large", "fills the queue");
    stage_expect(stage, 's', "suback 1 | ok 1");
    for (const char *link = "abcd"; *link != '\0'; link++) begin_large(stage, *link, SIZE_MAX);
    assert_in_range(figures(stage).input_bytes, 3 * MIB, BUDGET);
    come(stage, 'e');
    write_messages(stage, 'e', "other", LARGE, 1);
    stage_msg(stage, 'e', "other", "comes behind it");
    stage_pass(stage, 19900);
    stage_expect(stage, 'e', "");
    stage_pass(stage, 200);
    stage_expect(stage, 'e', "refused 1 214 | ok 2 nobody");
    assert_int_equal(refused(stage, REFUSED_INPUT), 1);
    assert_int_equal(refused(stage, REFUSED_INPUT_TIME), 0);
    assert_is_served(stage, 'e');
    cut(stage, "abcdes");
}

/* What is read of publishers that are held takes a half, beyond what is each one's own. */
/* Hostile 35. */
static void held_publishers_share_the_budget(void **state)
{
    struct stage *stage = *state;
    stage->limits.publish_rate = 1;
    stage->limits.publish_delay_ms = 3600000;
    start(stage);
    for (char link = 'a'; link <= 'y'; link++) {
        come(stage, link);
        write_messages(stage, link, "t", 1000, 400);
        stage_settle(stage);
        assert_in_range(figures(stage).input_bytes, 1, BUDGET / 2);
    }
    assert_in_range(figures(stage).input_bytes, BUDGET / 4, BUDGET / 2);
    assert_in_range(broker_held_bytes(stage->broker), 0, BUDGET / 2 + 25 * OWN + 2 * MIB);
    begin_large(stage, 'z', LARGE / 2); /* there is room for what is on its way */
    assert_true(is_read(stage, 'z'));
    cut(stage, "abcdefghijklmnopqrstuvwxyz");
}

static enum verify_answer verify_later(struct env *env, struct link *link, struct session *session,
                                       const struct proof *proof, struct verdict *verdict)
{
    (void)env, (void)link, (void)session, (void)proof, (void)verdict;
    return VERIFY_LATER;
}

static const uint8_t token[] = {0xc4, 3, 'a', 'b', 'c'};

static void hello_with_token(struct stage *stage, char link, bool half)
{
    stage_hello(stage, link,
                (struct mps_hello){.auth = mps_text("token"), .data = {token, sizeof token}, .half = half});
}

static void who_is_not_known_yet_has_16_kib(void **state)
{
    struct stage *stage = *state;
    uint8_t room[200];
    struct mps_out out = mps_out_open(room, sizeof room);
    start(stage);
    stage->env.verify = verify_later;
    stage_open(stage, 'a');
    stage->links[0].pass = 0;
    mps_encode_hello(
        &out, &(struct mps_hello){
                  .magic = mps_text("mps"), .version = 1, .auth = mps_text("token"), .data = {token, sizeof token}});
    stage_write(stage, 'a', &out);
    write_messages(stage, 'a', "t", 1000, 400);
    size_t all = stage->links[0].out_len;
    stage_pass_bytes(stage, 'a', SIZE_MAX);
    assert_false(is_read(stage, 'a'));
    assert_int_equal(all - stage->links[0].out_len, OWN);
    assert_int_equal(figures(stage).input_bytes, 0);
    assert_false(session_is_useless(stage->links[0].session)); /* what came behind its HELLO is to be worked on */
    cut(stage, "a");
}

/* Whose proof is being checked, and whose stream has ended. */
static void who_can_only_leave_is_of_no_use(void **state)
{
    struct stage *stage = *state;
    start(stage);
    stage_open(stage, 'a');
    assert_false(session_is_useless(stage->links[0].session)); /* it is read from */
    stage_cut(stage, 'a');
    stage->env.verify = verify_later;
    hello_with_token(stage, 'a', false);
    assert_true(session_is_useless(stage->links[0].session));
    hello_with_token(stage, 'b', true); /* what its session gets would still be delivered */
    assert_false(session_is_useless(stage->links[1].session));
    cut(stage, "ab");
}

static uint64_t queued_bytes(struct stage *stage)
{
    return figures(stage).run_bytes;
}

/* What links hold counts, but leaves the queues a half. */
/* Hostile 35. */
static void what_links_hold_is_part_of_the_queues_budget(void **state)
{
    struct stage *stage = *state;
    stage->limits.queue_total_bytes = BUDGET;
    start(stage);
    come(stage, 's');
    stage_sub(stage, 's', 1, "large",
              (struct mps_sub_options){.given = MPS_SUB_CREDIT | MPS_SUB_RETAINED, .retained = 2});
    come(stage, 'a');
    write_messages(stage, 'a', "large", 100 * KIB, 35);
    stage_settle(stage);
    assert_in_range(queued_bytes(stage), 3 * MIB, BUDGET);
    assert_false(broker_links_are_full(stage->broker));
    broker_links_hold(stage->broker, 3 * MIB / 2);
    assert_true(broker_links_are_full(stage->broker));
    stage_settle(stage);
    assert_in_range(queued_bytes(stage), 2 * MIB, BUDGET - 3 * MIB / 2);
    broker_links_hold(stage->broker, 100 * MIB);
    stage_settle(stage);
    assert_in_range(queued_bytes(stage), 3 * MIB / 2, 2 * MIB);
    assert_int_equal(figures(stage).links_bytes, 100 * MIB + 3 * MIB / 2);
    broker_links_hold(stage->broker, -(int64_t)(100 * MIB + 3 * MIB / 2));
    assert_false(broker_links_are_full(stage->broker));
    assert_int_equal(figures(stage).links_bytes, 0);
    cut(stage, "as");
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, stage_set_up, stage_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(halves_of_large_messages_share_the_budget),
        STAGED(halves_that_do_not_go_on_may_stay),
        STAGED(who_keeps_memory_for_too_long_is_closed),
        STAGED(a_frame_that_grows_keeps_its_place),
        STAGED(who_waits_in_vain_is_told),
        STAGED(held_publishers_share_the_budget),
        STAGED(who_is_not_known_yet_has_16_kib),
        STAGED(who_can_only_leave_is_of_no_use),
        STAGED(what_links_hold_is_part_of_the_queues_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
