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

/* A message of which more comes than what is known of its length: of payload bytes, and then a field that nobody knows.
 * Returns the bytes up to its payload's end. */
static size_t write_longer(struct stage *stage, char link, uint16_t payload)
{
    static uint8_t room[UINT16_MAX + 300];
    struct mps_out out = mps_out_open(room, sizeof room);
    const uint8_t head[] = {0x95, MPS_OP_MSG, 0xa1, 't', 0xc0, 0xc5, (uint8_t)(payload >> 8), (uint8_t)payload};
    static const uint8_t field[] = {0xc6, 0, 0, 0, 200};
    memset(room, 0, sizeof room);
    memcpy(room, head, sizeof head);
    memcpy(room + sizeof head + payload, field, sizeof field);
    out.len = sizeof head + payload + sizeof field + 200;
    stage->links[link - 'a'].pass = 0;
    stage_write(stage, link, &out);
    return sizeof head + payload;
}

/* It is granted what it needs from there on, however little of the rest has come. */
static void a_frame_past_its_payload_waits_like_others(void **state)
{
    struct stage *stage = *state;
    start(stage);
    for (const char *link = "abcdz"; *link != '\0'; link++) begin_large(stage, *link, LARGE / 2);
    for (char link = 'e'; link <= 'i'; link++) { /* behind z */
        come(stage, link);
        stage_pass_bytes(stage, link,
                         write_longer(stage, link, 13000) + (size_t)(link - 'e')); /* a part of a head, too */
        assert_false(is_read(stage, link));
    }
    stage_pass_bytes(stage, 'a', SIZE_MAX);
    for (char link = 'e'; link <= 'i'; link++) {
        assert_true(is_read(stage, link));
        stage_pass_bytes(stage, link, 1);
        stage_pass_bytes(stage, link, SIZE_MAX);
        stage_expect(stage, link, "ok 1 nobody");
    }
    cut(stage, "abcdefghiz");
}

/* And if it is granted nothing, it is passed over to its end. */
static void a_frame_past_its_payload_is_refused_like_others(void **state)
{
    struct stage *stage = *state;
    stage->limits.input_ms = 1000000;
    start(stage);
    come(stage, 's');
    stage_sub(stage, 's', 1, "large", blocking());
    stage_msg(stage, 's', "large", "fills the queue");
    for (const char *link = "abcdz"; *link != '\0'; link++) begin_large(stage, *link, SIZE_MAX);
    for (char link = 'e'; link <= 'i'; link++) { /* behind z */
        come(stage, link);
        stage_pass_bytes(stage, link, write_longer(stage, link, 13000) + (size_t)(link - 'e'));
        assert_false(is_read(stage, link));
    }
    struct broker_limits now = stage->limits;
    now.input_ms = 100;
    broker_set_limits(stage->broker, &now);
    stage_pass(stage, 300);
    for (char link = 'e'; link <= 'i'; link++) {
        stage_expect(stage, link, "refused 1 214");
        stage_pass_bytes(stage, link, SIZE_MAX);
        stage_msg(stage, link, "other", "comes behind it");
        stage_expect(stage, link, "ok 2 nobody");
    }
    cut(stage, "abcdefghisz");
}

/* The first of those who wait needs nearly all of the memory: what the others behind it have sent is not in its way. */
static void the_beginnings_of_others_are_not_in_the_way(void **state)
{
    struct stage *stage = *state;
    stage->limits.max_payload = BUDGET;
    stage->limits.input_total_bytes = BUDGET;
    stage_start(stage);
    begin_large(stage, 'a', LARGE / 2);
    come(stage, 'b');
    stage->links[1].pass = 0;
    write_messages(stage, 'b', "largest", BUDGET, 1);
    stage_pass_bytes(stage, 'b', LARGE);
    assert_false(is_read(stage, 'b'));
    for (char link = 'c'; link <= 'z'; link++) begin_large(stage, link, LARGE / 2);
    stage_pass_bytes(stage, 'a', SIZE_MAX);
    stage_expect(stage, 'a', "ok 1 nobody");
    assert_true(is_read(stage, 'b'));
    stage_pass_bytes(stage, 'b', SIZE_MAX);
    stage_expect(stage, 'b', "ok 1 nobody");
    for (char link = 'c'; link <= 'z'; link++) stage_pass_bytes(stage, link, SIZE_MAX);
    for (char link = 'c'; link <= 'z'; link++) stage_expect(stage, link, "ok 1 nobody");
    cut(stage, "abcdefghijklmnopqrstuvwxyz");
}

/* What was granted is for one frame: the next one asks for itself. */
static void a_grant_is_for_one_frame(void **state)
{
    struct stage *stage = *state;
    start(stage);
    come(stage, 'a');
    stage_pass_bytes(stage, 'a', write_longer(stage, 'a', 13000));
    for (const char *link = "bcde"; *link != '\0'; link++) begin_large(stage, *link, LARGE / 2);
    write_messages(stage, 'a', "large", LARGE, 1);
    stage_pass_bytes(stage, 'a', 205 + 1000);
    stage_expect(stage, 'a', "ok 1 nobody");
    assert_in_range(figures(stage).input_bytes, 1, BUDGET);
    stage_pass_bytes(stage, 'a', OWN);
    assert_in_range(figures(stage).input_bytes, 1, BUDGET);
    assert_false(is_read(stage, 'a'));
    stage_pass_bytes(stage, 'b', SIZE_MAX);
    stage_pass_bytes(stage, 'a', SIZE_MAX);
    stage_expect(stage, 'a', "ok 2 nobody");
    cut(stage, "abcde");
}

/* PINGs until so much of what answers them isn't read that nothing more is taken. Returns how many were taken. */
static int pings_until_full(struct stage *stage, char link, int most)
{
    stage_room(stage, link, 0);
    for (int count = 0; count < most; count++) {
        stage_ping(stage, link);
        if (!is_read(stage, link)) return count;
    }
    return most;
}

/* A peer that doesn't read what it is answered, and one more answer that is too much. */
static void who_is_refused_and_does_not_read_waits(void **state)
{
    struct stage *stage = *state;
    start(stage);
    come(stage, 's');
    stage_sub(stage, 's', 1, "large", blocking());
    stage_msg(stage, 's', "large", "fills the queue");
    for (const char *link = "abcd"; *link != '\0'; link++) begin_large(stage, *link, SIZE_MAX);
    come(stage, 'e');
    come(stage, 'f');
    int most = pings_until_full(stage, 'e', INT32_MAX);
    assert_int_equal(pings_until_full(stage, 'f', most - 1), most - 1);
    stage->links['f' - 'a'].pass = 0;
    write_messages(stage, 'f', "other", LARGE, 1);
    stage_msg(stage, 'f', "other", "comes behind it");
    stage_pass_bytes(stage, 'f', 100000);
    assert_false(is_read(stage, 'f'));
    stage_pass(stage, 20100);
    stage_pass_bytes(stage, 'f', SIZE_MAX);
    assert_false(is_read(stage, 'f'));
    stage_room(stage, 'f', STAGE_ROOM);
    stage_settle(stage);
    mps_view frame;
    int op;
    while ((op = stage_take(stage, 'f', &frame)) == MPS_OP_PONG) continue;
    assert_int_equal(op, MPS_OP_PUBACK);
    stage_expect(stage, 'f', "ok 2 nobody");
    cut(stage, "abcdefs");
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

static uint32_t below(uint64_t *random, uint32_t end)
{
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((*random >> 33) % end);
}

static void write_any(struct stage *stage, char link, uint64_t *random)
{
    static const uint32_t lens[] = {10, 3000, 13000, 16000, 20000, 40000, 100000, LARGE};
    const char *topic = below(random, 4) == 0 ? "large" : "t";
    size_t pass = stage->links[link - 'a'].pass;
    if (below(random, 3) == 0) write_longer(stage, link, (uint16_t)(12000 + below(random, 50000)));
    else write_messages(stage, link, topic, lens[below(random, sizeof lens / sizeof *lens)], 1);
    stage->links[link - 'a'].pass = pass;
}

static void act(struct stage *stage, char link, uint64_t *random)
{
    struct link *at = &stage->links[link - 'a'];
    if (at->session == NULL) {
        come(stage, link);
        at->pass = 0;
    }
    switch (below(random, 8)) {
    case 0:
    case 1:
    case 2:
        if (at->out_len < 3 * LARGE) write_any(stage, link, random);
        break;
    case 3: stage_pass_bytes(stage, link, 1 + below(random, 20)); break;
    case 4: stage_pass_bytes(stage, link, below(random, 20000)); break;
    case 5: stage_pass_bytes(stage, link, below(random, 2 * LARGE)); break;
    case 6: stage_pass(stage, below(random, 6000)); break;
    default:
        if (below(random, 5) == 0) stage_cut(stage, link);
    }
}

/* Whatever comes in whatever pieces: nobody waits for ever, and nothing is left that counts. */
static void whatever_comes_is_counted_and_goes_on(void **state)
{
    struct stage *stage = *state;
    uint64_t random = 1;
    start(stage);
    for (int round = 0; round < 10; round++) {
        come(stage, 's');
        struct mps_sub_options options = blocking();
        options.block_ms = 500;
        stage_sub(stage, 's', 1, "large", options);
        for (int i = 0; i < 200; i++) {
            act(stage, (char)('a' + below(&random, 10)), &random);
            assert_in_range(figures(stage).input_bytes, 0, BUDGET + 10 * MPS_HEAD_MAX);
        }
        for (char link = 'a'; link < 'a' + 10; link++) stage_pass_bytes(stage, link, SIZE_MAX);
        stage_pass(stage, 100000);
        for (char link = 'a'; link < 'a' + 10; link++) {
            struct link *at = &stage->links[link - 'a'];
            if (at->session != NULL) assert_int_equal(at->out_len, 0);
            if (at->session != NULL) stage_cut(stage, link);
        }
        cut(stage, "s");
    }
    assert_true(refused(stage, REFUSED_INPUT_TIME) > 0);
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
        STAGED(a_frame_past_its_payload_waits_like_others),
        STAGED(a_frame_past_its_payload_is_refused_like_others),
        STAGED(the_beginnings_of_others_are_not_in_the_way),
        STAGED(a_grant_is_for_one_frame),
        STAGED(who_is_refused_and_does_not_read_waits),
        STAGED(held_publishers_share_the_budget),
        STAGED(who_is_not_known_yet_has_16_kib),
        STAGED(who_can_only_leave_is_of_no_use),
        STAGED(whatever_comes_is_counted_and_goes_on),
        STAGED(what_links_hold_is_part_of_the_queues_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
