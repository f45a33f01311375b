/* What others may send, or bring about, that must not harm a broker: bytes that mean nothing, our own name, crowds,
 * and what is late of former lives. */
#include "cluster_rig.h"

#include <stdio.h>
#include <string.h>

/* The core's own data, to see what it keeps. */
#include "../../broker/core/cluster/cluster.h"

static void inject(struct rig *rig, const struct mps_out *out)
{
    assert_false(out->full);
    memory_bus_inject(rig->bus, "two", out->buf, out->len);
    rig_run(rig);
}

/* A LANE as broker one would send it next. */
static void put_lane(struct rig *rig, struct mps_out *out, uint64_t messages)
{
    const struct cluster *one = rig->at[0]->broker->cluster;
    struct lane *lane = &rig_neighbour(rig, 0, 1)->lane;
    between_encode_lane(out, &(struct between_lane){.name = mps_text("one"),
                                                    .tag = {one->tag, CLUSTER_TAG_BYTES},
                                                    .boot = one->boot,
                                                    .to_boot = rig->at[1]->broker->cluster->boot,
                                                    .seq = ++lane->seq,
                                                    .messages = messages,
                                                    .told = lane->told});
}

static void put_text_msg(struct mps_out *out, const char *topic, uint32_t number)
{
    char text[16];
    snprintf(text, sizeof text, "%u", number);
    mps_encode_msg(out, &(struct mps_msg){.topic = mps_text(topic), .payload = mps_text(text)});
}

/* A LANE as broker one would send it next, and a message. */
static void put_datagram(struct rig *rig, uint64_t messages, uint32_t number)
{
    uint8_t room[256];
    struct mps_out out = mps_out_open(room, sizeof room);
    put_lane(rig, &out, messages);
    put_text_msg(&out, "a", number);
    memory_bus_inject(rig->bus, "two", out.buf, out.len);
}

/* One in each second datagram of one turn: who gets what comes between has it where it stands, all others once. */
static void test_many_holes_in_a_turn(void **state)
{
    enum { OTHERS = 2000, HOLES = 500 };
    struct rig *rig = rig_two(state);
    static char expected[HOLES * 40];
    char pattern[16], *end = expected;
    rig_client(rig, 1, 't');
    rig_sub(rig, 1, 's', 1, "a");
    for (uint32_t i = 1; i <= OTHERS; i++) {
        snprintf(pattern, sizeof pattern, "b/%u", i);
        stage_sub(rig->at[1], 't', i, pattern, (struct mps_sub_options){0});
    }
    rig_pass(rig, 1000);
    stage_words(rig->at[1], 't');
    uint64_t work = rig->at[1]->broker->work;
    for (uint32_t i = 1; i <= HOLES; i++) {
        put_datagram(rig, 2 * i - 1, i);
        end += sprintf(end, i == 1 ? RIG_HOLE " | for 1 | a=1" : " | " RIG_HOLE " | a=%u", i);
    }
    rig_run(rig);
    rig_expect(rig, 1, 's', expected);
    assert_int_equal(rig_neighbour(rig, 1, 0)->holes, HOLES);
    assert_in_range(rig->at[1]->broker->work - work, 1, 10 * OTHERS);
    mps_view frame;
    for (uint32_t i = 1; i <= OTHERS; i++) assert_int_equal(stage_take(rig->at[1], 't', &frame), MPS_OP_GAP);
    assert_int_equal(stage_take(rig->at[1], 't', &frame), -1);
    put_datagram(rig, 2 * HOLES + 1, 0); /* a moment later: at once for who gets something, and for the others soon */
    rig_run(rig);
    rig_expect(rig, 1, 's', RIG_HOLE " | a=0");
    assert_int_equal(stage_take(rig->at[1], 't', &frame), -1);
    rig_pass(rig, 100);
    rig_expect(rig, 1, 's', "");
    for (uint32_t i = 1; i <= OTHERS; i++) assert_int_equal(stage_take(rig->at[1], 't', &frame), MPS_OP_GAP);
    assert_int_equal(stage_take(rig->at[1], 't', &frame), -1);
}

/* Who says with each datagram that it is another life of that broker is not believed: each would cost a look at all. */
static void test_many_lives(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_pass(rig, 2000);
    for (uint64_t boot = 1; boot <= 100; boot++) {
        uint8_t room[256];
        struct mps_out out = mps_out_open(room, sizeof room);
        between_encode_lane(&out, &(struct between_lane){.name = mps_text("one"),
                                                         .tag = {(const uint8_t *)"abc", CLUSTER_TAG_BYTES},
                                                         .boot = boot,
                                                         .to_boot = rig->at[1]->broker->cluster->boot,
                                                         .seq = 1});
        memory_bus_inject(rig->bus, "two", out.buf, out.len);
    }
    rig_run(rig);
    assert_int_equal(rig_neighbour(rig, 1, 0)->boot, 1);
    assert_int_equal(rig_neighbour(rig, 1, 0)->holes, 1);
    rig_pass(rig, 8000); /* the true one is heard again */
    stage_words(rig->at[1], 's');
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 1, 's', "for 1 | a=x");
}

/* A datagram that is not its own, with a number that it will never come to: it is deaf to that broker for a while only.
 */
static void test_number_far_ahead(void **state)
{
    struct rig *rig = rig_two(state);
    rig_sub(rig, 1, 's', 1, "a");
    rig_msg(rig, 0, 'p', "a", "1");
    uint64_t seq = rig_neighbour(rig, 0, 1)->lane.seq;
    rig_neighbour(rig, 0, 1)->lane.seq = MPS_NUMBER_MAX - 1;
    put_datagram(rig, 7, 2);
    rig_neighbour(rig, 0, 1)->lane.seq = seq;
    rig_run(rig);
    rig_expect(rig, 1, 's', "for 1 | a=1 | " RIG_HOLE " | a=2");
    rig_msg(rig, 0, 'p', "a", "3");
    rig_pass(rig, 8000);
    assert_non_null(strstr(stage_words(rig->at[1], 's'), RIG_HOLE));
    rig_msg(rig, 0, 'p', "a", "4");
    rig_expect(rig, 1, 's', "a=4");
}

static void test_malformed(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } frames[] = {
        {"", 0},
        {"\xc1", 1},
        {"\x94", 1},
        {"\x94\x02\xa1"
         "a\xc0\xc6\xff\xff\xff\xff",
         10},                            /* a payload that is not there */
        {"\xdd\xff\xff\xff\xff\x20", 6}, /* very many fields */
        {"\x92\x22\xdd\xff\xff\xff\xff", 7},
        {"\x91\x91\x91\x91\x91\x91\x91\x91", 8}, /* deep */
        {"\x93\x01\x01\x01", 4},                 /* HELLO */
        {"\x91\x22", 2},                         /* an INTEREST without anything */
        {"\x96\x22\x01\x00\xc3\x91\xa2+a\x90", 9},
        {"\x96\x22\x01\x00\xc3\x91\xa2#a\x90", 9},     /* no pattern */
        {"\x96\x22\x01\x00\xc3\x91\xa2$a\x90", 9},     /* reserved */
        {"\x96\x22\x01\x09\xc3\x90\x90", 7},           /* no kind */
        {"\x96\x22\x01\x02\xc3\x90\x91\x91\xa1g", 10}, /* a group without a pattern */
        {"\x96\x22\x01\x02\xc3\x90\x91\x92\xa0\xa1g", 11},
        {"\x94\x02\xa1"
         "+\xc0\xc4\x00",
         7}, /* no topic */
        {"\x94\x02\xa4$SYS\xc0\xc4\x00", 10},
        {"\x94\x02\xa6$inbox\xc0\xc4\x00", 12},
        {"\x94\x02\xa1"
         "a\x81\x04\xa1x\xc4\x00",
         10},                    /* bad properties */
        {"\x92\x15\xcc\x80", 4}, /* BYE */
    };
    struct rig *rig = rig_two(state);
    uint8_t room[512];
    rig_sub(rig, 1, 's', 1, "#");
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        struct mps_out out = mps_out_open(room, sizeof room);
        mps_put_raw(&out, (mps_view){(const uint8_t *)frames[i].bytes, (uint32_t)frames[i].len});
        inject(rig, &out); /* instead of a LANE */
        out.len = 0;
        put_lane(rig, &out, 0);
        stage_write_msg(rig->at[0], 'p', "x", ""); /* makes room for the counts below to differ */
        mps_put_raw(&out, (mps_view){(const uint8_t *)frames[i].bytes, (uint32_t)frames[i].len});
        rig->at[0]->links['p' - 'a'].out_len = 0;
        inject(rig, &out); /* behind one */
    }
    rig_expect(rig, 1, 's', "");
    assert_int_equal(rig_neighbour(rig, 1, 0)->malformed,
                     sizeof frames / sizeof frames[0] - 1); /* nothing behind a LANE is good */
    assert_true(rig_neighbour(rig, 1, 0)->is_present);
    rig_pass(rig, 2000);
    rig_msg(rig, 0, 'p', "a", "fine");
    rig_expect(rig, 1, 's', "for 1 | a=fine");
}

/* What stands before the bad frame is delivered, what is behind it is missing, and that is seen. */
static void test_malformed_in_the_middle(void **state)
{
    struct rig *rig = rig_two(state);
    uint8_t room[512];
    struct mps_out out = mps_out_open(room, sizeof room);
    rig_sub(rig, 1, 's', 1, "#");
    put_lane(rig, &out, 0);
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a"), .payload = mps_text("1")});
    mps_put_raw(&out, (mps_view){(const uint8_t *)"\xc1", 1});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a"), .payload = mps_text("2")});
    rig_neighbour(rig, 0, 1)->lane.messages = 2;
    inject(rig, &out);
    rig_msg(rig, 0, 'p', "a", "3");
    rig_expect(rig, 1, 's', "for 1 | a=1 | " RIG_HOLE " | a=3");
}

static void test_truncated_anywhere(void **state)
{
    struct rig *rig = rig_two(state);
    uint8_t room[1024];
    struct mps_out out = mps_out_open(room, sizeof room);
    rig_sub(rig, 1, 's', 1, "#");
    put_lane(rig, &out, 0);
    between_encode_interest(&out, &(struct between_interest){.version = 2, .kind = INTEREST_ADD, .count = 1},
                            &(struct between_item){.pattern = mps_text("a/#")});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a"), .payload = mps_text("1")});
    uint32_t len = out.len;
    for (out.len = 0; out.len < len; out.len++) inject(rig, &out);
    rig_pass(rig, 2000);
    rig_msg(rig, 0, 'p', "a", "2");
    const char *words = stage_words(rig->at[1], 's');
    assert_non_null(strstr(words, "a=2"));
    assert_null(strstr(words, "a=1"));
}

static void test_bits_that_flip(void **state)
{
    struct rig *rig = rig_two(state);
    uint8_t room[1024], broken[1024];
    struct mps_out out = mps_out_open(room, sizeof room);
    rig_sub(rig, 1, 's', 1, "#");
    put_lane(rig, &out, 0);
    between_encode_interest(
        &out, &(struct between_interest){.version = 2, .kind = INTEREST_ADD, .count = 1, .groups_count = 1},
        (struct between_item[]){{.pattern = mps_text("a/#")}, {.group = mps_text("g"), .pattern = mps_text("b")}});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a"), .payload = mps_text("1")});
    mps_encode_msg(&out, &(struct mps_msg){.topic = mps_text("a/b/c"), .payload = mps_text("22")});
    for (uint32_t bit = 0; bit < 8 * out.len; bit++) {
        struct mps_out flipped = mps_out_open(broken, sizeof broken);
        memcpy(broken, room, out.len);
        broken[bit / 8] ^= (uint8_t)(1u << bit % 8);
        flipped.len = out.len;
        inject(rig, &flipped); /* whatever it does, it stays within its memory */
    }
    assert_non_null(rig->at[1]->broker);
}

static void hear_own_name(struct rig *rig)
{
    uint8_t room[128];
    struct mps_out out = mps_out_open(room, sizeof room);
    between_encode_here(
        &out, &(struct between_here){
                  .name = mps_text("two"), .tag = {(const uint8_t *)"abc", 3}, .boot = 7, .software = mps_text("x")});
    rig->at[1]->logged[0] = '\0';
    inject(rig, &out);
}

static void test_our_own_name(void **state)
{
    struct rig *rig = rig_two(state);
    uint8_t room[128];
    hear_own_name(rig);
    assert_non_null(strstr(rig->at[1]->logged, "this one's name"));
    hear_own_name(rig);
    assert_string_equal(rig->at[1]->logged, "");
    rig_pass(rig, 60000);
    hear_own_name(rig);
    assert_non_null(strstr(rig->at[1]->logged, "this one's name"));
    struct mps_out out = mps_out_open(room, sizeof room); /* one that does not say what it is */
    mps_put_array(&out, 6);
    mps_put_uint(&out, BETWEEN_HERE);
    mps_put_uint(&out, BETWEEN_VERSION);
    mps_put_text(&out, mps_text("three"));
    mps_put_uint(&out, 7);
    mps_put_bin(&out, mps_text("abc"));
    mps_put_map(&out, 0);
    inject(rig, &out);
    assert_string_equal(rig_neighbour(rig, 1, 2)->software, "");
    assert_null(cluster_find(rig->at[1]->broker->cluster, mps_text("two")));
}

static void test_a_crowd(void **state)
{
    struct rig *rig = rig_two(state);
    char name[16];
    uint8_t room[128];
    rig_sub(rig, 1, 's', 1, "a");
    for (uint32_t i = 0; i < 3 * NEIGHBOURS_MAX; i++) {
        struct mps_out out = mps_out_open(room, sizeof room);
        snprintf(name, sizeof name, "x%u", i);
        between_encode_here(&out, &(struct between_here){.name = mps_text(name),
                                                         .tag = {(const uint8_t *)"abc", 3},
                                                         .boot = 7,
                                                         .software = mps_text("x")});
        inject(rig, &out);
    }
    assert_int_equal(rig->at[1]->broker->cluster->neighbours_count, NEIGHBOURS_MAX);
    assert_true(rig_neighbour(rig, 1, 0)->is_present); /* who is there keeps its place */
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 1, 's', "for 1 | a=x");
}

static void test_what_is_late_of_a_former_life(void **state)
{
    struct rig *rig = rig_two(state);
    uint8_t room[128];
    struct mps_out out = mps_out_open(room, sizeof room);
    rig_sub(rig, 1, 's', 1, "a");
    put_lane(rig, &out, 0);
    rig_crash(rig, 0);
    rig_start(rig, 0);
    rig_pass(rig, 2000);
    rig_expect(rig, 1, 's', RIG_HOLE);
    uint64_t boot = rig_neighbour(rig, 1, 0)->boot;
    inject(rig, &out);
    assert_int_equal(rig_neighbour(rig, 1, 0)->boot, boot);
    rig_expect(rig, 1, 's', "");
}

/* It came first, and is taken for the life that the broker has: once nothing more comes of it, the true one is heard.
 */
static void test_a_former_life_that_came_too_late(void **state)
{
    struct rig *rig = rig_two(state);
    uint8_t room[128];
    struct mps_out out = mps_out_open(room, sizeof room);
    rig_sub(rig, 1, 's', 1, "a");
    rig_pass(rig, 1000);
    between_encode_here(
        &out, &(struct between_here){
                  .name = mps_text("one"), .tag = {(const uint8_t *)"abc", 3}, .boot = 7, .software = mps_text("x")});
    inject(rig, &out);
    assert_int_equal(rig_neighbour(rig, 1, 0)->boot, 7);
    rig_pass(rig, 10000);
    assert_int_equal(rig_neighbour(rig, 1, 0)->boot, rig->at[0]->broker->cluster->boot);
    stage_words(rig->at[1], 's');
    rig_msg(rig, 0, 'p', "a", "x");
    rig_expect(rig, 1, 's', "for 1 | a=x");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_set_up, rig_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_many_holes_in_a_turn),
        TEST(test_many_lives),
        TEST(test_number_far_ahead),
        TEST(test_malformed),
        TEST(test_malformed_in_the_middle),
        TEST(test_truncated_anywhere),
        TEST(test_bits_that_flip),
        TEST(test_our_own_name),
        TEST(test_a_crowd),
        TEST(test_what_is_late_of_a_former_life),
        TEST(test_a_former_life_that_came_too_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
